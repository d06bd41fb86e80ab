"""Shipped programs: what they assemble to, that they are proven, and what they do."""

from pathlib import Path

import pytest

from quantacore.firmware import (
    AssemblyError,
    Image,
    assemble,
    assemble_file,
    decode,
    disassemble,
    prove,
)
from quantacore.firmware.documents import listings, programs, sheets, with_tables
from quantacore.firmware.timeline import walk
from quantacore.gateware.layouts.instructions import DELAY_TICKS, Op

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
NAMES = sorted(programs())
AGAIN = "run: make docs"


def program(name, **defines):
    return assemble_file(programs()[name], defines=defines)


def test_all_that_was_asked_for_is_there():
    assert set(NAMES) >= {"stirap_transfer", "stirap_photon", "raman", "rabi", "ramsey", "echo",
                          "optical_pumping", "readout", "entangle", "entangle_peer",
                          "syndrome_round", "switch_hold"}


def test_listings_are_those_of_the_repository():
    made = listings()
    assert {path.name for path in (HERE / "listings").glob("*.txt")} == set(made), AGAIN
    for name, text in made.items():
        assert (HERE / "listings" / name).read_text(encoding="utf-8") == text, f"{name}: {AGAIN}"


def test_sheets_are_those_of_the_documents():
    made = sheets()
    assert {path.name for path in (DOCS / "img").glob("sheet-*.svg")} == set(made), AGAIN
    for name, text in made.items():
        assert (DOCS / "img" / name).read_text(encoding="utf-8") == text, f"{name}: {AGAIN}"
        assert len(text) < 60_000


@pytest.mark.parametrize("page", ["sequencer.md", "firmware.md"])
def test_tables_of_the_documents_are_the_layouts(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert with_tables(text) == text, AGAIN


@pytest.mark.parametrize("name", NAMES)
def test_program_is_proven(name):
    assembly = program(name)
    proof = prove(assembly).check()
    assert not proof.warnings and not assembly.warnings
    assert proof.entries["main"].halts
    assert assemble(disassemble(assembly)).words == assembly.words
    image = Image.from_assembly(assembly, proof)
    assert Image.from_bytes(image.to_bytes()) == image


@pytest.mark.parametrize("name", NAMES)
def test_program_says_what_it_is(name):
    first = programs()[name].read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("; ") and len(first) > 20


def pulses(name, **options):
    assembly = program(name)
    found = walk(assembly, **options).shown
    return [(assembly.channels[s.lane], s.begin, s.end, s.value) for s in found
            if s.kind == "pulse"]


def test_stirap_has_stokes_first_and_the_delay_asked_for():
    found = {channel: begin for channel, begin, *_ in pulses("stirap_transfer")}
    # The instructions between, and the parameter's 320 ns.
    assert found["pump_ch"] - found["stokes_ch"] == 1 + DELAY_TICKS + 40


def test_photon_ends_with_the_reversed_order():
    found = [(channel, begin) for channel, begin, *_ in pulses("stirap_photon")
             if channel in ("stokes_ch", "pump_ch")]
    assert [channel for channel, _ in found] == ["stokes_ch", "pump_ch", "pump_ch", "stokes_ch"]
    assert found[1][1] - found[0][1] == found[3][1] - found[2][1] == 100


@pytest.mark.parametrize("arguments, text", [
    ("0, 1, w, 1us, -80ns", "puts the pump pulse before the Stokes pulse"),
    ("0, 1, w, 1us, 0", "at least one tick"),
    ("0, 1, w, 1us, 1us", "no overlap"),
])
def test_stirap_macro_refuses(arguments, text):
    source = (".include \"plan.inc.qcs\"\n.include \"pulses.inc.qcs\"\n.envelope 0, 1 e sin2(9)\n"
              ".wave w e length=1us\n")
    with pytest.raises(AssemblyError, match=text):
        assemble(f"{source}stirap {arguments}\nhalt")
    assemble(f"{source}stirap 0, 1, w, 1us, 80ns, reverse=1\nhalt")


def test_rabi_goes_to_full_scale():
    found = [value for channel, _, _, value in pulses("rabi", unfold=40) if channel == "raman_a_ch"]
    amplitudes = sorted(set(found))
    assert len(amplitudes) == 40 and amplitudes[0] == 0 and amplitudes[-1] == 39 * 819
    assert prove(program("rabi", steps=20)).ok


def test_raman_steps_by_the_frequency_asked_for():
    words = [decode(word) for word in program("raman").words]
    step = next(i["value"] for i in words if i.op is Op.LI and str(i["rd"]) == "r4")
    # The upper 32 of 48 bits, at 125 MHz.
    assert step / 2**32 * 125e6 == pytest.approx(20e3, rel=1e-4)


def test_ramsey_waits_longer_with_each_step():
    gaps, found = [], pulses("ramsey", unfold=3)
    turns = [(begin, end) for channel, begin, end, _ in found if channel == "raman_a_ch"]
    gaps = [b[0] - a[1] for a, b in zip(turns[::2], turns[1::2], strict=True)]
    assert sorted(set(gaps)) == [gaps[0] + 25 * n for n in range(3)]


def test_echo_is_symmetric():
    found = [(b, e, v) for channel, b, e, v in pulses("echo") if channel == "raman_a_ch"]
    first, middle, last = found
    assert middle[0] - first[1] == last[0] - middle[1]
    assert middle[2] == 2 * first[2] == 2 * last[2]


def test_readout_ends_early_when_it_is_bright():
    bright = walk(program("readout"))
    dark = walk(program("readout"), choices={"answer": "timeout"})
    assert [s.value for s in bright.shown if s.kind == "mark"][0] == 10
    assert [s.value for s in dark.shown if s.kind == "mark"][0] == 11
    assert dark.ticks > bright.ticks


@pytest.mark.parametrize("pattern, reason", [
    *[(code, "halt") for code in range(4)], (12, "halt 1"), (13, "halt 2"), (14, "halt 1"),
    (15, "halt 1"), (7, "halt 3"), ("timeout", "halt 1")])
def test_entangle_goes_by_the_pattern(pattern, reason):
    timeline = walk(program("entangle"), choices={"herald": pattern})
    assert timeline.reason == reason
    assert (2 in [s.value for s in timeline.shown if s.kind == "mark"]) == (reason == "halt")


def test_syndrome_rounds_are_first_others_last():
    words = [decode(word) for word in program("syndrome_round").words]
    rounds = [(i["push"], i["first"], i["last"]) for i in words if i.op is Op.SYN]
    assert rounds == [(1, 1, 0), (1, 0, 0), (1, 0, 1)]
    assert prove(program("syndrome_round")).entries["main"].rounds == (15, 15)
    lost = walk(program("syndrome_round"), choices={"frame": "timeout"})
    assert lost.reason == "halt 1" and lost.shown[-2].value == 0xdead


def test_switch_settles_before_the_windows_open():
    proof = prove(program("switch_hold"))
    assert 0 <= proof.slack["settle"].margin < 10
    source = programs()["switch_hold"].read_text(encoding="utf-8")
    hasty = assemble(source.replace("nop for settle - 8ns", "nop for settle - 80ns"))
    assert "before the route has settled" in str(prove(hasty).errors[0])


def test_constants_can_be_replaced():
    assert walk(program("stirap_transfer", T="2us")).ticks > walk(program("stirap_transfer")).ticks
