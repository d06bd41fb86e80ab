"""The benchmark of the herald's latency: where its clock is from, and what it adds up."""

import json
from types import SimpleNamespace

import pytest


@pytest.fixture
def latency(script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return script("herald_latency")


def test_clock_stands_beside_the_figures(latency, tmp_path):
    rows = [{"name": "herald_area/path_8x4x16/lut4", "figure": 5},
            {"name": "herald_area/path_8x4x16/fmax", "figure": 130.5}]
    (tmp_path / "herald_area.json").write_text(json.dumps(rows))
    options = SimpleNamespace(json=str(tmp_path / "herald_latency.json"))
    assert latency.placed_hz(options)[0] == 130.5e6


def test_a_quick_run_of_the_area_has_no_clock(latency, tmp_path):
    (tmp_path / "herald_area.json").write_text(json.dumps(
        [{"name": "herald_area/path_8x4x16/lut4_synthesised", "figure": 5}]))
    options = SimpleNamespace(json=str(tmp_path / "herald_latency.json"))
    assert latency.placed_hz(options) == (None, None)
    assert latency.placed_hz(SimpleNamespace(json=None)) == (None, None)


def test_least_and_most_ticks(latency):
    found = [{"word": 4, "line": 16}, {"word": 5, "line": 16}]
    assert latency.spans(found, "word", "line") == (11, 12)
