"""Pulse sheets: what is walked, and what is drawn."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from quantacore.firmware import assemble, prove
from quantacore.firmware.sheet import sheet_html, sheet_svg
from quantacore.firmware.timeline import walk, wave_shape
from quantacore.gateware.layouts.instructions import (
    BRANCH_TICKS,
    DELAY_TICKS,
    TIMEOUT_TICKS,
    TRIGGER_TICKS,
)

HEAD = """
.channel stokes 0
.line shutter 3
.envelope 0, 1 bell gaussian(points=65)
.envelope 0, 1 level flat
.wave w bell length=1us
.wave on level length=forever
.param gap r1 in 10..100 = 50
"""


def shown(text, kind, **options):
    return [s for s in walk(assemble(HEAD + text), **options).shown if s.kind == kind]


def test_pulses_have_times_and_amplitudes():
    found = shown("nop for 10\npulse 0, w, 0.5, defer=5\ndelay gap\npulse 1, w, -0.5\nhalt",
                  "pulse")
    assert [(s.lane, s.begin, s.end, s.value) for s in found] == [
        (0, 15, 140, 16384), (1, 61 + DELAY_TICKS, 186 + DELAY_TICKS, -16384)]


def test_a_pulse_that_is_cut_ends_there():
    found = shown("pulse 0, w, 0.5 for 50\npulse 0, on, 0.5 for 30\npulse 0, w, 0.5\nhalt", "pulse")
    assert [(s.begin, s.end) for s in found] == [(0, 50), (50, 80), (80, 205)]


def test_a_pulse_without_end_lasts_to_the_end():
    found = shown("pulse 0, on, 0.5\nnop for 99\nhalt", "pulse")
    assert (found[0].begin, found[0].end) == (0, 100)


def test_loops_are_folded_and_say_how_often():
    found = shown("loop 1000\nloop 7\npulse 0, w, 0.5 for 200\nend\nend\nhalt", "loop")
    assert [(s.value, s.depth, s.begin, s.end) for s in found] == [
        (1000, 0, BRANCH_TICKS, 2 * BRANCH_TICKS + 200),
        (7, 1, 2 * BRANCH_TICKS, 2 * BRANCH_TICKS + 200)]
    assert len(shown("loop 9\npulse 0, w, 0.5 for 200\nend\nhalt", "pulse", unfold=3)) == 3


@pytest.mark.parametrize("choices, codes", [
    ({}, [1]), ({"there": "taken"}, [2]), ({0: "taken"}, [2])])
def test_branches_are_taken_if_chosen(choices, codes):
    text = "there: beq r2, 0, x\ntag 1\nhalt\nx: tag 2\nhalt"
    assert [s.value for s in shown(text, "mark", choices=choices)] == codes


def test_waits_and_timeouts():
    text = "here: waittrig r2, rise, 1, 100, x\ntag 1\nhalt\nx: tag 2\nhalt"
    wait, = shown(text, "wait")
    assert (wait.begin, wait.end, wait.value) == (0, 25, 100)
    assert shown(text, "mark")[0].begin == 25 + TRIGGER_TICKS
    assert shown(text, "mark", choices={"here": 60})[0].begin == 60 + TRIGGER_TICKS
    late = shown(text, "mark", choices={"here": "timeout"})[0]
    assert (late.value, late.begin) == (2, 100 + TIMEOUT_TICKS)


def test_a_program_that_repeats_is_cut():
    timeline = walk(assemble(HEAD + "x: tag 1\njmp x"))
    assert timeline.reason == "repeats" and len(timeline.shown) == 3


def test_subroutines_lines_and_routes():
    timeline = walk(assemble(HEAD + "call s\nlow 3\nhalt\ns: high 3\nswitch 5\nret"))
    assert [(s.kind, s.value) for s in timeline.shown] == [
        ("set", 1), ("route", 5), ("set", 0), ("halt", None)]


@pytest.mark.parametrize("options, text", [
    ({"entry": "x"}, "no entry 'x'; there are main"),
    ({"choices": {"nowhere": "taken"}}, "no label or word 'nowhere'"),
    ({"choices": {99: "taken"}}, "no label or word 99")])
def test_wrong_choices(options, text):
    with pytest.raises(ValueError, match=text):
        walk(assemble("halt"), **options)


def test_shape_is_the_envelope():
    shape = wave_shape(assemble(HEAD + "halt"), 0, 0, 65)
    assert shape[0] == (0.0, 0.0) and shape[-1][1] == pytest.approx(0, abs=1e-3)
    assert max(v for _, v in shape) == pytest.approx(1, abs=1e-3)


PROGRAM = HEAD + """
high 3
loop 100
  pulse stokes, w, 0.5, defer=3
  pulse 1, w, -0.25 for 1us
  phase 1, 90deg
end
nop for 1ms
switch 2
tag 7
here: waittrig r2, rise, 1, 10us, x
x: pulse stokes, on, 0.1 for 80ns
low 3
halt
"""


@pytest.mark.parametrize("standalone", [True, False])
def test_sheet_shows_everything(standalone):
    assembly = assemble(PROGRAM, name="demo & more")
    text = sheet_svg(assembly) if standalone else sheet_html(assembly, proof=prove(assembly))
    for part in ("stokes", "channel 1", "shutter", "route", "waits", "marks",
                 "\N{MULTIPLICATION SIGN} 100", "waittrig \N{LESS-THAN OR EQUAL TO} 10 \u00b5s",
                 "demo &amp; more", "amplitude -0.25 (-8192)", "without anything"):
        assert part in text, part
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(src|href)=|@import|url\((?!#)", text)


def test_sheet_is_well_formed():
    root = ElementTree.fromstring(sheet_svg(assemble(PROGRAM)))
    assert root.tag.endswith("svg") and root.get("aria-label")
    numbers = [float(n) for path in root.iter() if path.get("class") == "pulse p0"
               for n in re.findall(r"-?\d+\.?\d*", path.get("d"))]
    assert numbers and all(-1 <= n < 1100 for n in numbers)


def test_tooltips_name_the_line():
    assert "pulse stokes, w, 0.5, defer=3" in sheet_svg(assemble(PROGRAM))


def test_page_has_slack_and_script():
    assembly = assemble(PROGRAM)
    page = sheet_html(assembly, proof=prove(assembly), title="<b>")
    assert "<h3>Proven</h3>" in page and "addEventListener" in page and "&lt;b&gt;" in page


def test_empty_programs_have_a_sheet():
    for text in ("halt", "nop for 100\nhalt"):
        ElementTree.fromstring(sheet_svg(assemble(text)))
        sheet_html(assemble(text))
