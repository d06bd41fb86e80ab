"""The sequencer's driver, over a golden node with a golden sequencer."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner

import quantacore.host.sync
from quantacore.firmware import Image, assemble, prove
from quantacore.firmware.image import ImageError, upload_words
from quantacore.gateware.layouts.instructions import DELAY_TICKS, isa_crc
from quantacore.gateware.layouts.sequencer import (
    LoadTarget,
    MarkRecord,
    SequencerRecordKind,
    SlotState,
)
from quantacore.host.cli import quantacore as command
from quantacore.host.driver import sequencer as driver
from quantacore.host.driver.errors import AchievedValueWarning
from quantacore.host.driver.node import Node
from quantacore.host.driver.registers import Fault, SequencerState
from quantacore.host.driver.sequencer import (
    EmergencyError,
    ImageRefusedError,
    ProgramFaultError,
    SequencerBusyError,
    SequencerError,
    SequencerMissingError,
    StaleImageError,
    StartLateError,
    StartRefusedError,
    StillRunningError,
    TrialFailedError,
)
from quantacore.host.tags.decode import DecodeState, TagStreamError, decode
from quantacore.host.tags.marks import Marks, decode_marks, split_marks
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.bench.golden_sequencer import GoldenSequencerEndpoint
from quantacore.sim.golden.endpoint import GoldenEndpoint

COUNT = """
.name count
.param n r1 in 1..1000 = 3 "marks"
.param gap r2 in 80ns..100us = 800ns "between marks"
.param gain r3 in -1.0..1.0 = 0.5
.param turn r4 in -0.5turn..0.25turn = 0.125turn
.entry main
.entry late there
    tag 7
    loop n
        tag 9
        delay gap
    end
    halt 42
there:
    tag 8
    halt 43
"""
FOREVER = """
.name forever
.entry main
again:
    nop for 1us
    jmp again
"""
DEEP = """
.name deep
again:
    call again
    halt 1
"""
PULSES = """
.name pulses
.envelope 0,1 bell gaussian(points=64, sigma=6)
.wave w bell length=400ns
    pulse 1, w, 0.5
    nop for 1us
    halt 1
"""


def image_of(text, **changes):
    assembly = assemble(text)
    image = Image.from_assembly(assembly, prove(assembly))
    return dataclasses.replace(image, **changes)


IMAGE = image_of(COUNT)
FOREVER_IMAGE = image_of(FOREVER)


def on_sequencer(scenario, **options):
    async def main():
        golden = GoldenTransport(GoldenSequencerEndpoint(**options))
        async with await Node.connect(golden) as node:
            return await scenario(node.sequencer, golden.endpoint)

    return run_in_simulated_time(main())


# Records.

def mark(code, coarse, lost=0):
    return MarkRecord.const({"code": code, "coarse": coarse, "lost": lost,
                             "kind": SequencerRecordKind.MARK}).as_bits()


def test_marks_are_parted_and_counted():
    records = np.array([1 << 60, mark(3, 100), 0, mark(4, 2**40 - 1, 5)], np.uint64)
    others, ours = split_marks(records)
    assert others.tolist() == [1 << 60, 0]
    marks = decode_marks(ours, 7 * 2**40 + 1000)
    assert marks.codes.tolist() == [3, 4] and marks.lost.tolist() == [0, 5]
    # The later one is of the epoch before: nothing is later than now.
    assert marks.ticks.tolist() == [7 * 2**40 + 100, 7 * 2**40 - 1]
    assert len(Marks.join([marks, marks])) == 4 and len(Marks.join([])) == 0


def test_tag_decoder_passes_marks_over():
    state = DecodeState()
    assert len(decode(np.array([1 << 60, mark(1, 5), 3, mark(2, 6)], np.uint64), state)) == 1
    assert (state.tags, state.others) == (1, 2)
    with pytest.raises(TagStreamError, match="kind 12"):
        decode(np.array([12 << 60], np.uint64))


# What there is.

def test_a_node_without_a_sequencer_says_so():
    async def main():
        async with await Node.connect(GoldenTransport(GoldenEndpoint())) as node:
            with pytest.raises(SequencerMissingError, match=r"NodeConfig\(sequencer=8\)"):
                await node.sequencer.load(IMAGE)

    run_in_simulated_time(main())


def test_info_and_empty_slots():
    async def scenario(sequencer, golden):
        info = await sequencer.info()
        assert (info.channels, info.program_words, info.waves, info.envelope_points) == (
            2, 4096, 512, 1024)
        assert info.isa == isa_crc()
        first, second = await sequencer.slots()
        assert first.active and not second.active
        assert first.state is second.state is SlotState.EMPTY
        with pytest.raises(StartRefusedError, match="slot 0 is EMPTY, not VALID; load"):
            await sequencer.start()
        with pytest.raises(SequencerError, match=r"not known here \(EMPTY"):
            await sequencer.parameters()

    on_sequencer(scenario, channels=2)


# Loading.

def test_load_brings_every_word(tmp_path):
    path = tmp_path / "pulses.qcfw"
    image = image_of(PULSES)
    path.write_bytes(image.to_bytes())

    async def scenario(sequencer, golden):
        seen = []
        slot = await sequencer.load(path, progress=lambda *step: seen.append(step))
        assert slot == 1
        memory = golden.memory[1]
        assert list(memory[LoadTarget.PROGRAM].values()) == image.words
        assert list(memory[LoadTarget.WAVES].values()) == image.waves
        points = memory[LoadTarget.ENVELOPE]
        for channel, expected in image.envelopes.items():
            found = [points[channel, k >> 1] >> 16 * (k & 1) & 0xFFFF
                     for k in range(len(expected))]
            assert found == [point & 0xFFFF for point in expected]
        assert seen[-1][0] == seen[-1][1] == upload_words(image, 1).words
        # The node has it: nothing is sent again, and the slot is found.
        seen.clear()
        assert await sequencer.load(image, progress=lambda *_: seen.append(1)) == 1
        assert not seen
        assert await sequencer.load(image, 1, force=True, progress=lambda *_: seen.append(1)) == 1
        assert seen
        assert (await sequencer.slots())[1].name == "pulses"

    on_sequencer(scenario)


def test_an_image_for_another_isa_is_refused():
    stale = dataclasses.replace(IMAGE, isa=0x12345678)

    async def scenario(sequencer, golden):
        with pytest.raises(StaleImageError, match=f"made for ISA 12345678, the node has "
                                                  f"{isa_crc():08x}; assemble it again"):
            await sequencer.load(stale)
        assert isinstance(StaleImageError(""), ImageError)
        assert golden.states == [SlotState.EMPTY] * 2

    on_sequencer(scenario)


def test_an_image_for_other_ticks_is_refused():
    slow = dataclasses.replace(IMAGE, meta={**IMAGE.meta, "tick_s": str(Fraction(1, 10**8))})

    async def scenario(sequencer, golden):
        with pytest.raises(ImageError, match=r"ticks of 10 ns, the node's are 8 ns.*\.tick 8ns"):
            await sequencer.load(slow)

    on_sequencer(scenario)


@pytest.mark.parametrize("change, text", [
    ({"words": [1 << 6 | 1] * 4097}, "4097 words, this build has room for 4096; split"),
    ({"waves": [0] * 513}, "513 waves"),
    ({"envelopes": {0: [0] * 1025}}, "1025 envelope points on channel 0"),
    ({}, r"uses channel 1 at word 0 \(<text>, line \d+\), this build has channels 0 to 0"),
    ({"words": [], "envelopes": {3: [1]}}, "an envelope for channel 3"),
])
def test_an_image_that_does_not_fit_is_refused(change, text):
    async def scenario(sequencer, golden):
        with pytest.raises(ImageError, match=text):
            await sequencer.load(dataclasses.replace(image_of(PULSES), **change))

    on_sequencer(scenario, channels=1)


def test_an_image_that_needs_what_the_build_lacks_is_told(caplog):
    image = image_of("    arm 1\n    halt 0\n")

    async def scenario(sequencer, golden):
        await sequencer.load(image)

    on_sequencer(scenario)
    assert "uses ARM, and this build has no herald unit" in caplog.text


@pytest.mark.parametrize("change, text", [
    ({"words": 1}, "[0-9]+ of [0-9]+ words came"), ({"crc": 1}, "another CRC")])
def test_what_is_not_whole_is_refused(monkeypatch, change, text):
    def wrong(image, slot):
        upload = upload_words(image, slot)
        return dataclasses.replace(upload, **{name: getattr(upload, name) + value
                                              for name, value in change.items()})

    async def scenario(sequencer, golden):
        with pytest.raises(ImageRefusedError, match=rf"(?s){text}.*REFUSED.*load it again"):
            await sequencer.load(IMAGE)
        with pytest.raises(StartRefusedError, match="can't become active: it is REFUSED"):
            await sequencer.activate(1)
        assert "image_refused" in await sequencer.flags()
        with pytest.raises(ImageRefusedError, match="not the image"):
            await sequencer.check_flags()
        monkeypatch.undo()
        await sequencer.load(IMAGE)

    monkeypatch.setattr(driver, "upload_words", wrong)
    on_sequencer(scenario)


def test_a_commit_without_begin_is_refused():
    async def scenario(sequencer, golden):
        await sequencer.info()
        with pytest.raises(ImageRefusedError, match="nothing was begun"):
            await sequencer.commit(0, words=0, crc=0)

    on_sequencer(scenario)


# Parameters.

def test_parameters_in_physical_units():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        values = await sequencer.parameters()
        assert {name: p.value for name, p in values.items()} == {
            "n": 3, "gap": pytest.approx(800e-9), "gain": 0.5, "turn": 0.125}
        assert {p.unit for p in values.values()} == {"count", "s", "full scale", "turns"}
        sequencer.set(n=5, gap=1e-6, gain=-1, turn="-0.25turn")
        values = await sequencer.parameters()
        assert [p.number for p in values.values()] == [5, 125, -32768, -(1 << 30)]
        sequencer.set(gap="2us", gain="0.25", turn=-0.5)
        values = await sequencer.parameters()
        assert [p.number for p in values.values()] == [5, 250, 8192, -(1 << 31)]
        await sequencer.run()
        assert golden.model.registers[1:5] == [5, 250, 8192, 1 << 31]
        assert await sequencer.data("gap") == 250 and (await sequencer.data())[3] == 8192
        with pytest.raises(ValueError, match="There is no parameter 'x'; there are n, gap"):
            await sequencer.data("x")
        sequencer.unset("gap")
        assert (await sequencer.parameters())["gap"].number == 100
        sequencer.unset()
        assert (await sequencer.parameters())["n"].number == 3

    on_sequencer(scenario)


@pytest.mark.parametrize("values, text", [
    ({"n": 0}, "Parameter n must be 1 to 1000 count, not 0: the program is proven for nothing"),
    ({"n": 1.5}, "Parameter n takes whole numbers, not 1.5"),
    ({"gap": 1}, "Parameter gap must be 8e-08 to 0.0001 s, not 1"),
    ({"gap": "3ns"}, "Parameter gap: 3ns is not a whole number of ticks"),
    ({"gap": "soon"}, "Parameter gap: 'soon' is no number"),
    ({"gain": 1.5}, "Parameter gain must be -1 to"),
    ({"what": 1}, "Image 'count' has no parameter 'what'; it has n, gap, gain, turn"),
])
def test_parameters_out_of_their_range_are_refused(values, text):
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        sequencer.set(**values)
        with pytest.raises(ValueError, match=text):
            await sequencer.start()
        assert golden.state.name == "IDLE"

    on_sequencer(scenario)


def test_a_rounded_time_warns():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        sequencer.set(gap=1.001e-6)
        with pytest.warns(AchievedValueWarning, match="gap is 1e-06 s instead of the 1.001e-06"):
            assert (await sequencer.parameters())["gap"].number == 125

    on_sequencer(scenario)


# Running.

def test_run_gives_result_and_marks():
    async def scenario(sequencer, golden):
        async with sequencer:
            await sequencer.load(IMAGE)
            sequencer.set(n=4)
            result = (await sequencer.run()).check()
            assert result.state is SequencerState.HALTED and result.halt_code == 42
            assert result.fault is Fault.NONE and result.flags == {}
            assert result.where == "word 4 (<text>, line 14)"
            assert result.marks.codes.tolist() == [7, 9, 9, 9, 9]
            assert set(np.diff(result.marks.ticks)[1:].tolist()) == {1 + DELAY_TICKS + 100}
            assert result.marks.ticks[0] == result.started
            assert result.marks_asked == len(result.marks) + result.marks_lost == 5
            assert result.issued == 11 and result.stopped == golden.model.stopped
            assert result.duration_s == pytest.approx((result.stopped - result.started) * 8e-9)
            again = await sequencer.run("late")
            assert (again.halt_code, again.marks.codes.tolist()) == (43, [8])
            with pytest.raises(ValueError, match="no entry 'x'; it has main, late"):
                await sequencer.start("x")
            assert (await sequencer.run(6)).halt_code == 43

    on_sequencer(scenario)


def test_marks_need_the_stream():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        result = await sequencer.run()
        assert result.marks is None and result.marks_asked == 4
        with pytest.raises(SequencerError, match="async with node.sequencer"):
            await sequencer.marks()

    on_sequencer(scenario)


def test_marks_of_a_full_node_are_counted():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        sequencer.set(n=500, gap="80ns")
        await sequencer.run()
        lost = (await sequencer.run()).marks_lost
        assert lost > 0
        with pytest.raises(driver.MarksLostError, match="times, first"):
            await sequencer.check_flags()

    on_sequencer(scenario, buffer_depth=256)


def test_records_of_others_are_kept():
    async def scenario(sequencer, golden):
        async with sequencer:
            await sequencer.load(IMAGE)
            golden.push_records([1 << 60, 5])
            await sequencer.start()
            while await sequencer.running():
                pass
            marks = await sequencer.marks()
            assert len(marks) == 4
            assert np.concatenate(sequencer.other_records).tolist() == [1 << 60, 5]

    on_sequencer(scenario)


def test_timed_start():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        at = golden.tick + 200_000
        await sequencer.start(at_tick=at)
        assert (await sequencer.status()).state is SequencerState.ARMED
        assert (await sequencer.wait()).started == at
        assert (await sequencer.run(at_s=(at + 10**6) * 8e-9)).started == at + 10**6
        with pytest.raises(StartLateError, match=r"tick 100 was past, it is \d+ now"):
            await sequencer.start(at_tick=100)
        with pytest.raises(ValueError, match="give one"):
            await sequencer.start(at_tick=1, at_s=1)

    on_sequencer(scenario)


def test_a_program_that_goes_on_is_told_and_stopped():
    async def scenario(sequencer, golden):
        async with sequencer:
            await sequencer.load(FOREVER_IMAGE)
            with pytest.raises(StillRunningError, match=r"RUNNING after 0.0001 s, at word \d "
                                                        r"\(<text>, line \d\); stop"):
                await sequencer.run(timeout_s=100e-6)
            with pytest.raises(SequencerBusyError, match="runs already in slot 1"):
                await sequencer.start()
            with pytest.raises(SequencerBusyError, match=r"Slot 1 runs; stop\(\) it, or load the "
                                                         r"other one \(0\)"):
                await sequencer.load(IMAGE, 1)
            # The other slot takes one meanwhile, but does not become active.
            assert await sequencer.load(IMAGE, activate=False) == 0
            with pytest.raises(SequencerBusyError, match="while a program runs in slot 1"):
                await sequencer.activate(0)
            assert await sequencer.running()
            await sequencer.stop()
            result = await sequencer.wait()
            assert result.state is SequencerState.IDLE
            with pytest.raises(SequencerError, match="stopped at word .* before its HALT"):
                result.check()
            await sequencer.start()
        # Leaving the context stops it.
        assert golden.state.name == "IDLE"

    on_sequencer(scenario)


def test_a_fault_is_named():
    image = Image.from_assembly(assemble(DEEP))

    async def scenario(sequencer, golden):
        await sequencer.load(image)
        result = await sequencer.run()
        assert (result.state, result.fault, result.pc) == (
            SequencerState.FAULT, Fault.CALL_OVERFLOW, 0)
        with pytest.raises(ProgramFaultError, match=r"at word 0 \(<text>, line 4\): CALL_OVERFLOW,"
                                                    r" CALL with the call stack full") as caught:
            result.check()
        assert caught.value.result is result
        with pytest.raises(ProgramFaultError, match="1 times"):
            await sequencer.check_flags()
        await sequencer.clear_flags()
        await sequencer.check_flags()

    on_sequencer(scenario)


def test_emergency():
    async def scenario(sequencer, golden):
        await sequencer.load(FOREVER_IMAGE)
        await sequencer.configure_ttl(safe=[0, 3], hold=[5])
        await sequencer.set_safe_route(9)
        await sequencer.set_ttl({5: True, 6: True})
        await sequencer.set_route(2)
        assert (await sequencer.ttl(), await sequencer.route()) == (0b1100000, 2)
        assert await sequencer.ttl_settings() == driver.TtlSettings(9, 32, 0)
        await sequencer.start()
        await sequencer.emergency_stop()
        result = await sequencer.wait()
        with pytest.raises(EmergencyError, match="emergency stop ended the program"):
            result.check()
        assert (await sequencer.ttl(), await sequencer.route()) == (0b1001, 9)
        with pytest.raises(EmergencyError, match=r"release\(\) ends it"):
            await sequencer.start()
        await sequencer.release()
        await sequencer.start()
        assert await sequencer.running()
        await sequencer.reset_sequencer()
        assert not await sequencer.running()
        assert await sequencer.ttl() == 0b1001

    on_sequencer(scenario)


@pytest.mark.parametrize("lines", [[16], [-1], [True]])
def test_lines_that_are_none(lines):
    async def scenario(sequencer, golden):
        with pytest.raises(ValueError, match="TTL lines are 0 to 15"):
            await sequencer.configure_ttl(safe=lines)

    on_sequencer(scenario)


def test_offsets_of_silent_channels():
    async def scenario(sequencer, golden):
        assert await sequencer.set_safe_offset(1, 0.25) == 0.25
        assert await sequencer.set_safe_offset(0, 1) == pytest.approx(1, abs=1e-4)
        assert await sequencer.safe_offsets() == [32767 / 32768, 0.25]
        with pytest.raises(ValueError, match="Channel must be 0 to 1, not 2"):
            await sequencer.set_safe_offset(2, 0)
        with pytest.raises(ValueError, match="-1 to 1 of full scale"):
            await sequencer.set_safe_offset(0, 1.1)
        await sequencer.hold_channels(1)
        assert golden.get("sequencer.channel_hold") == 2

    on_sequencer(scenario, channels=2)


# Slots on trial.

def test_a_trial_that_is_confirmed_stays():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        slot = await sequencer.load(FOREVER_IMAGE, activate=False)
        await sequencer.activate(slot, trial=True, trial_s=1)
        assert (await sequencer.slots())[slot].trial
        await sequencer.start()
        await sequencer.confirm()
        assert (await sequencer.status()).slot == slot
        await sequencer.emergency_stop()
        assert (await sequencer.status()).slot == slot
        with pytest.raises(SequencerError, match="not on trial"):
            await sequencer.confirm()

    on_sequencer(scenario)


def test_a_trial_that_fails_gives_way():
    broken = Image.from_assembly(assemble(DEEP))

    async def scenario(sequencer, golden):
        good = await sequencer.load(IMAGE)
        slot = await sequencer.load(broken, activate=False)
        await sequencer.activate(slot, trial=True)
        result = await sequencer.run()
        assert result.fault is Fault.CALL_OVERFLOW
        # Lines are those of the program that failed.
        assert result.where == "word 0 (<text>, line 4)"
        found = await sequencer.slots()
        assert found[good].active and found[slot].state is SlotState.REJECTED
        with pytest.raises(TrialFailedError, match=rf"slot {good} is active again"):
            await sequencer.confirm()
        assert (await sequencer.run()).halt_code == 42
        # In time, or not at all.
        slot = await sequencer.load(FOREVER_IMAGE, slot, activate=False)
        await sequencer.activate(slot, trial=True, trial_s=100e-6)
        await sequencer.start()
        await sequencer.wait()
        found = await sequencer.slots()
        assert found[good].active and found[slot].state is SlotState.REJECTED

    on_sequencer(scenario)


@pytest.mark.parametrize("options, text", [
    ({"slot": 2}, "Slots are 0 to 1, not 2"), ({"slot": 0, "trial_s": 1}, "goes with trial=True"),
    ({"slot": 0, "trial": True, "trial_s": 0}, "at least a tick")])
def test_activations_that_make_no_sense(options, text):
    async def scenario(sequencer, golden):
        with pytest.raises(ValueError, match=text):
            await sequencer.activate(**options)

    on_sequencer(scenario)


def test_reset_of_the_node_forgets_the_images():
    async def scenario(sequencer, golden):
        await sequencer.load(IMAGE)
        golden.states = [SlotState.EMPTY] * 2
        golden._show()
        assert [s.name for s in await sequencer.slots()] == [None, None]
        with pytest.raises(StartRefusedError, match="EMPTY"):
            await sequencer.start()

    on_sequencer(scenario)


def test_an_image_that_somebody_else_loaded(tmp_path):
    path = tmp_path / "count.qcfw"
    path.write_bytes(IMAGE.to_bytes())

    async def main():
        endpoint = GoldenSequencerEndpoint()
        async with await Node.connect(GoldenTransport(endpoint)) as node:
            slot = await node.sequencer.load(IMAGE)
        async with await Node.connect(GoldenTransport(endpoint), takeover=True) as node:
            with pytest.raises(SequencerError, match="entries of this image are not known"):
                await node.sequencer.start("late")
            node.sequencer.attach(path, slot)
            assert (await node.sequencer.run("late")).halt_code == 43

    run_in_simulated_time(main())


# Without await, and from the command line.

def test_the_synchronous_driver():
    with quantacore.host.sync.connect(GoldenTransport(GoldenSequencerEndpoint())) as node:
        with node.sequencer as sequencer:
            sequencer.load(IMAGE)
            sequencer.set(n=2)
            assert sequencer.run().check().marks.codes.tolist() == [7, 9, 9]


@pytest.fixture
def port(monkeypatch):
    from quantacore.host.driver import node

    endpoint = GoldenSequencerEndpoint()

    def connect(transport, record=None):
        endpoint.session = 0  # its lease would not run out: time stands still
        return GoldenTransport(endpoint)

    monkeypatch.setattr(node, "open_transport", connect)
    return endpoint


def call(*arguments):
    return CliRunner().invoke(command, ["fw", *map(str, arguments)])


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "count.qcs"
    path.write_text(COUNT)
    return path


def test_command_runs(port, program, tmp_path):
    out = tmp_path / "marks.csv"
    result = call("run", program, "--set", "n=2", "--set", "gap=2us", "--out", out)
    assert result.exit_code == 0, result.output
    for text in ("HALTED", "42", "Parameter gap", "2e-06 s", "mark after", "Marks lost"):
        assert text in result.output
    rows = out.read_text().splitlines()
    assert rows[0] == "tick,after_s,code,lost_before"
    assert [row.split(",")[2] for row in rows[1:]] == ["7", "9", "9"]


def test_command_prints_json(port, program):
    result = call("run", program, "--json", "--set", "n=2", "--entry", "main")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["state"], report["halt_code"]) == ("HALTED", 42)
    assert [m["code"] for m in report["marks"]] == [7, 9, 9]
    assert report["marks"][2]["after_ticks"] - report["marks"][1]["after_ticks"] == \
        1 + DELAY_TICKS + 100
    assert report["parameters"]["n"] == 2 and report["data"][1] == 2


def test_command_refuses_what_is_not_proven(port, tmp_path):
    path = tmp_path / "bad.qcs"
    path.write_text(DEEP)
    result = call("run", path)
    assert result.exit_code == 1 and "not proven" in result.output
    assert port.states == [SlotState.EMPTY] * 2
    result = call("run", path, "--unproven")
    assert result.exit_code == 1
    assert "FAULT" in result.output and "CALL with the call stack full" in result.output


def test_command_stops_what_takes_too_long(port, tmp_path):
    path = tmp_path / "forever.qcs"
    path.write_text(FOREVER)
    result = call("run", path, "--timeout", "0.0001", "--after", "0.0001")
    assert result.exit_code == 1
    assert "IDLE" in result.output and "stopped now; --timeout" in result.output


def test_command_loads_tries_and_confirms(port, program, tmp_path):
    result = call("load", program, "--no-activate")
    assert result.exit_code == 0, result.output
    assert "VALID" in result.output and "count" in result.output
    forever = tmp_path / "forever.qcs"
    forever.write_text(FOREVER)
    assert call("slots", "--activate", "1").exit_code == 0
    result = call("load", forever, "--trial", "1")
    assert result.exit_code == 0 and "on trial" in result.output
    result = call("slots", "--confirm")
    assert result.exit_code == 0 and "on trial" not in result.output and "4 096" in result.output \
        or "4096 words" in result.output
    result = call("slots", "--confirm")
    assert result.exit_code == 1 and "not on trial" in result.output
    assert "--no-activate out" in call("load", program, "--no-activate", "--trial", "1").output


def test_command_stops(port):
    assert "EMERGENCY" in call("stop", "--emergency").output
    assert "emergency" in call("slots").output
    assert "IDLE" in call("stop", "--release").output
    assert call("stop").exit_code == 0
    assert "give one" in call("stop", "--release", "--emergency").output


def test_set_takes_names_and_values(port, program):
    assert "'n' is not NAME=VALUE" in call("run", program, "--set", "n").output
    result = call("run", program, "--set", "n=0")
    assert result.exit_code == 1 and "must be 1 to 1000" in result.output
