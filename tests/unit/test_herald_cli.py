"""``quantacore herald``, runs of attempts and their page."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from quantacore.host.cli import quantacore
from quantacore.host.herald.plan import read_plan
from quantacore.host.herald.run import HeraldRun, HistogramResult, wilson
from quantacore.host.plot import MatrixFigure
from quantacore.sim.bench.golden_herald import GoldenHeraldEndpoint
from quantacore.sim.bench.golden_node import GoldenTransport

PROGRAM = """
.name attempts
.param rounds r1 in 1..1000 = 60
again:
    loop rounds
        nop for 40us
    end
    halt 7
"""
FOREVER = "again:\n    nop for 1us\n    jmp again\n"
EARLY_C, LATE_C, EARLY_D, LATE_D = 1 << 0, 1 << 1, 1 << 4, 1 << 5


def call(*arguments):
    return CliRunner().invoke(quantacore, ["herald", *map(str, arguments)])


def said(result):
    return " ".join(result.output.split())


@pytest.fixture
def port(monkeypatch):
    from quantacore.host.driver import node

    endpoint = GoldenHeraldEndpoint(peers=True)

    def connect(transport, record=None):
        endpoint.session = 0  # its lease would not run out: time stands still
        return GoldenTransport(endpoint)

    monkeypatch.setattr(node, "open_transport", connect)
    return endpoint


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "attempts.qcs"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize("name", ["", "check", "load", "run", "rates", "peers", "histogram",
                                  "matrix", "report"])
def test_help_teaches(name):
    result = call(*([name] if name else []), "--help")
    assert result.exit_code == 0 and "Examples:" in result.output
    assert f"quantacore herald {name}".strip() in result.output


def test_check_explains_a_plan():
    result = call("check", "entangle", "--clicks", "c.early,d.late")
    assert result.exit_code == 0
    for text in ("d.early 4 1 120 320", "minus_cd: c.early, d.late; not c.late, d.early",
                 "ARM 0b0011 early, late 128 ticks, 1,024 ns", "void 12",
                 "Clicks in c.early, d.late: minus_cd"):
        assert text in said(result)
    assert "no pattern holds" in said(call("check", "entangle", "--clicks", "c.early"))
    assert "there is no cell 'x'; there are c.early, c.late" in said(
        call("check", "entangle", "--clicks", "x"))


def test_check_shows_the_route(tmp_path):
    plan = {**read_plan("entangle").source, "switches": {"route": 2}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert "Photonic switches: route 2, which the node has already" in said(
        call("check", tmp_path / "plan.json"))
    plan["switches"]["plan"] = "routes.json"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "routes.json").write_text(json.dumps({"routes": {
        number: {"drives": [0], "settle_s": 0} for number in ("2", "7")}}))
    assert "Photonic switches: route 2, loaded with routes 2, 7" in said(
        call("check", tmp_path / "plan.json"))


def test_check_for_another_node():
    result = call("check", "entangle", "--samples", "1", "--tick", "10")
    assert "warning: $.windows.early.to: 'to' of early is" not in result.output
    assert "warning: $.windows.late.from: 'from' of late is 740 ns instead of 736 ns" in said(
        result)
    result = call("check", "time_bin", "--inputs", "2")
    assert result.exit_code == 1 and "this node has inputs 0 to 1, not 2" in said(result)


def test_check_lists_and_prints(tmp_path):
    assert "time_bin" in call("check", "--list").output
    assert json.loads(call("check", "--schema").output)["title"]
    found = json.loads(call("check", "entangle", "--json").output)
    assert found["tables"]["OPEN"][:2] == [120, 736] and found["control"]["role"] == 0
    assert "name a PLAN" in said(call("check"))
    result = call("check", tmp_path / "none.json")
    assert result.exit_code == 1 and "No such file" in result.output


def test_check_tells_every_error(tmp_path):
    plan = read_plan("entangle").source
    plan["patterns"]["plus_c"]["must"] = ["c.noon", "e.early"]
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(plan))
    result = call("check", path)
    assert result.exit_code == 1
    assert "Plan wrong.json is wrong:" in result.output
    assert "$.patterns.plus_c.must[0]: 'c.noon': there is no window 'noon'" in result.output
    assert "$.patterns.plus_c.must[1]: 'e.early': there is no detector" in result.output


def test_check_against_a_node(port):
    assert "minus_cd" in call("check", "entangle", "--node", "golden").output
    assert not any(port.tables.values())


def test_load(port):
    result = call("load", "entangle", "--verify")
    assert result.exit_code == 0 and "attempts may be armed: yes" in said(result)
    assert port.get("herald.codes")
    assert "armed: no" in said(call("load", "entangle", "--disabled", "--keep-counts"))


def test_load_says_what_came_of_a_time(port, tmp_path):
    plan = tmp_path / "plan.json"
    source = read_plan("entangle").source
    plan.write_text(json.dumps({**source, "windows": {
        **source["windows"], "early": {"from": "120.1ns", "to": "320ns"}}}))
    result = call("load", plan)
    assert result.exit_code == 0
    assert said(result).count("warning: $.windows.early.from") == 1


def test_run_counts_and_report(port, program, tmp_path):
    port.schedule = [(EARLY_C | LATE_D, 3), (EARLY_C | LATE_D, 3), (0, 3), (EARLY_D | LATE_D, 3),
                     "missing_reference"]
    out, page = tmp_path / "run.json", tmp_path / "run.html"
    result = call("run", "entangle", "--program", program, "--out", out, "--report", page,
                  "--hom", "c,d", "--bin", "2")
    assert result.exit_code == 0, result.output
    for text in ("Program attempts HALTED", "Halt code 7", "Attempts 5 ", "Successes 3",
                 "Void: reference 1", "minus_cd 2 0.5", "plus_d 1 0.25", "missing_reference 1"):
        assert text in said(result)
    run = HeraldRun.read(out)
    assert run.counts["patterns"] == {"minus_cd": 2, "minus_dc": 0, "plus_c": 0, "plus_d": 1}
    rows, columns, matrix, totals = run.success_matrix()
    assert totals.tolist() == [2, 0, 0, 1]
    assert dict(zip(columns, matrix[0].tolist(), strict=True)) == {
        "c.early": 2, "c.late": 0, "d.early": 0, "d.late": 2}
    assert run.histograms[0].start == "c" and len(run.histograms[0].counts) == 4096
    assert run.rates and run.node["samples"] == 8
    text = page.read_text()
    assert "All 2 comparisons agree" in text and "<script" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)
    assert call("matrix", out, "--out", tmp_path / "m.svg").exit_code == 0
    ET.parse(tmp_path / "m.svg")
    result = call("report", out, "-o", tmp_path / "again.html", "--title", "Mine")
    assert result.exit_code == 0 and "<h1>Mine" in (tmp_path / "again.html").read_text()
    run.counts["failed"] += 1
    out.write_text(run.to_json())
    assert call("report", out, "-o", tmp_path / "bad.html").exit_code == 3


def test_run_as_json(port, program):
    port.schedule = [(EARLY_C | LATE_C, 3)]
    result = call("run", "entangle", "--program", program, "--set", "rounds=3", "--json",
                  "--start-stop", "c,d")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["counts"]["patterns"]["plus_c"] == 1 and found["program"]["halt_code"] == 7


def test_run_that_takes_too_long(port, tmp_path):
    path = tmp_path / "forever.qcs"
    path.write_text(FOREVER)
    result = call("run", "entangle", "--program", path, "--timeout", "0.003", "--out",
                  tmp_path / "run.json")
    assert result.exit_code == 1
    assert "stopped now; --timeout gives it longer" in said(result)
    assert HeraldRun.read(tmp_path / "run.json").program["state"] == "IDLE"


def test_saturated_detector_is_shown(port):
    port.set("herald.control", 1)
    port.saturated = 2
    result = call("rates", "--plan", "entangle", "--seconds", "0.0005")
    assert result.exit_code == 0
    assert "Armed attempts are refused saturated" in said(result)
    assert "Saturated detectors d" in said(result)


def test_rates(port):
    result = call("rates", "--seconds", "0.001", "--json")
    found = json.loads(result.stdout)
    assert found["rates"]["attempts_hz"] == 0 and found["status"]["refuses"] == ["off"]


def test_histogram(port, tmp_path):
    result = call("histogram", "entangle", "c", "d", "--seconds", "0.0001", "--out",
                  tmp_path / "h.svg")
    assert result.exit_code == 0, result.output
    ET.parse(tmp_path / "h.svg")
    assert port.get("tagger.edges", 0) == port.get("tagger.edges", 1) == 1
    result = call("histogram", "entangle", "c", "x")
    assert "the plan has no detector 'x'; it has c, d" in said(result)


def test_peers(port, program, tmp_path):
    plan = tmp_path / "station.json"
    plan.write_text(json.dumps({**read_plan("entangle").source, "role": "station",
                                "peers": {"ports": [0]}}))
    assert call("load", plan).exit_code == 0
    result = call("peers")
    assert "port 0 no answer" in said(result) and "port 1 not used" in said(result)
    result = call("peers", "--wait", "0.001")
    assert result.exit_code == 1 and "No answer from the peer on port 0" in said(result)
    result = call("run", plan, "--program", program, "--timeout", "0.001")
    assert result.exit_code == 1 and "No answer from the peer on port 0" in said(result)


def test_histogram_with_a_virtual_channel(port, tmp_path):
    plan = tmp_path / "pairs.json"
    plan.write_text(json.dumps({**read_plan("entangle").source, "virtual": {
        "pair": {"kind": "coincidence", "of": ["c", "d"], "window": "4ns"}}}))
    result = call("histogram", plan, "c", "pair", "--seconds", "0.0001", "--start-stop")
    assert result.exit_code == 0, result.output
    assert port.get("tagger.edges", 0) == port.get("tagger.edges", 1) == 1


@pytest.fixture
def pairs(tmp_path):
    """A plan with a virtual channel."""
    plan = tmp_path / "pairs.json"
    plan.write_text(json.dumps({**read_plan("entangle").source, "virtual": {
        "pair": {"kind": "coincidence", "of": ["c", "d"], "window": "4ns"}}}))
    return plan


@pytest.mark.parametrize("histogram", [(), ("--hom", "c,c")])
def test_run_counts_virtual_channels(port, program, pairs, tmp_path, histogram):
    port.schedule = [[(100_000, 0), (101_000, 1)], (EARLY_C | LATE_D, 3),
                     [(300_000, 0), (400_000, 1), (401_000, 0)]]
    out, page = tmp_path / "run.json", tmp_path / "run.html"
    result = call("run", pairs, "--program", program, "--out", out, "--report", page, *histogram)
    assert result.exit_code == 0, result.output
    for text in ("pair 2", "Virtual edges in the tag stream 2", "Attempts 1 "):
        assert text in said(result)
    assert HeraldRun.read(out).virtual == {
        "edges": {"pair": 2}, "sent": 2, "lost": 0, "edges_lost": 0, "edges_late": 0}
    assert "Virtual channels" in page.read_text()
    assert not port.get("tagger.control") & 1


def test_run_tells_what_virtual_channels_lost(port, program, pairs):
    port.raise_flag("virtual", 1)
    result = call("run", pairs, "--program", program)
    assert "virtual.edge_late" not in said(result)  # of before

    def late(edges):
        type(port).detect(port, edges, late=1)

    port.detect = late
    port.schedule = [[(100_000, 0), (101_000, 1)]]
    result = call("run", pairs, "--program", program)
    assert "virtual.edge_late 1" in said(result) and "came too late 1" in said(result)


def test_rates_of_virtual_channels(port, pairs):
    port.set("virtual.generated", 12_345)
    port.set("virtual.lost", 6)
    result = call("rates", "--plan", pairs, "--seconds", "0.0005")
    for text in ("virtual channel edges per second pair 0", "pair 12 345", "Lost there 6"):
        assert text in said(result)
    found = json.loads(call("rates", "--plan", pairs, "--seconds", "0.0005", "--json").stdout)
    assert found["virtual"]["edges"] == {"pair": 12_345} and found["virtual"]["lost"] == 6


@pytest.mark.parametrize("arguments, text", [
    (("run", "entangle", "--program", "rabi", "--hom", "c,d", "--start-stop", "c,d"),
     "a node has one histogram"),
    (("run", "entangle", "--program", "rabi", "--hom", "c"), "'c' is not two detectors"),
    (("run", "entangle", "--program", "rabi", "--out", "x.txt"), "ends in .json, not '.txt'"),
    (("run", "entangle", "--program", "nothing"), "no shipped program of this name"),
    (("matrix", "/dev/null"), "is a directory"),
])
def test_bad_arguments(arguments, text, tmp_path):
    if text == "is a directory":
        arguments = ("matrix", tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2 and text in said(result)


def test_files_that_are_no_runs(tmp_path):
    path = tmp_path / "x.json"
    for text, told in (("{", "not JSON"), ("[]", "herald run --out writes them"),
                       ('{"format": "quantacore-herald-run-1", "more": 1}', "another release")):
        path.write_text(text)
        result = call("matrix", path)
        assert result.exit_code == 1 and told in said(result)


def test_a_node_without_a_herald_unit(monkeypatch):
    from quantacore.host.driver import node

    monkeypatch.setattr(node, "open_transport", lambda *a, **k: GoldenTransport())
    result = call("load", "entangle")
    assert result.exit_code == 1 and "built without a herald unit" in said(result)


def test_wilson_interval():
    assert wilson(0, 0) == (0, 1)
    low, high = wilson(0, 100)
    assert low == 0 and 0.009 < high < 0.011
    low, high = wilson(5000, 10_000)
    assert low == pytest.approx(0.495, abs=1e-5) and high == pytest.approx(0.505, abs=1e-5)


def test_report_without_verdicts():
    counts = {name: 0 for name in (
        "attempts", "succeeded", "failed", "void_reference", "void_aborted", "void_route",
        "void_peer", "refused", "records_lost")}
    counts |= {name: {} for name in ("patterns", "cells", "stray", "dead", "clicks")}
    run = HeraldRun(plan=read_plan("time_bin").source, counts=counts, seconds=0.0)
    run.histograms = [HistogramResult("c1", "d1", "start_stop", [0, 1e-9], [0], 3)]
    page = run.report()
    assert page.passed and "3 edges or pairs were lost" in page.html()


def test_matrix_figure():
    svg = MatrixFigure([[0, 2], [1, 0.5]], ["a<b", "c"], ["x", "y"], title="t").svg(
        standalone=True)
    texts = [e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "t" and {"a<b", "c", "x", "y", "2", "0.5"} <= set(texts)
    opacity = [float(r.get("opacity")) for r in
               ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect")]
    assert np.argmax(opacity) == 1
    ET.fromstring(MatrixFigure(np.zeros((0, 0)), [], []).svg())
    with pytest.raises(ValueError, match="its labels are for"):
        MatrixFigure([[1]], [], [])
    with pytest.raises(ValueError, match="not negative"):
        MatrixFigure([[-1]], ["a"], ["b"])
