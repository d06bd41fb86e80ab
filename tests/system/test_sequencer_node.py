"""Programs on a virtual node with a sequencer: assembler, link, registers, gateware, driver."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from quantacore.firmware import Image, assemble, prove
from quantacore.firmware.image import upload_words
from quantacore.gateware.layouts.frames import MAX_PAYLOAD_WORDS
from quantacore.gateware.layouts.instructions import (
    DELAY_TICKS,
    TIMEOUT_TICKS,
    TRIGGER_TICKS,
)
from quantacore.gateware.layouts.sequencer import DAC_LATENCY, TTL_LATENCY, SlotState
from quantacore.gateware.node import Node
from quantacore.host import sync
from quantacore.host.cli import quantacore
from quantacore.host.driver.errors import NodeResetError, UnmappedError
from quantacore.host.driver.registers import Fault, SequencerState
from quantacore.host.driver.sequencer import (
    EmergencyError,
    ImageRefusedError,
    ProgramFaultError,
    SequencerBusyError,
    SequencerMissingError,
    StaleImageError,
    StartLateError,
    StartRefusedError,
    TrialFailedError,
)
from quantacore.host.tags.decode import DecodeState, decode
from quantacore.host.transport.base import open_transport
from quantacore.host.transport.faulty import FaultRates, FaultyTransport
from quantacore.sim.node.build import port_header
from quantacore.sim.node.options import node_options

NODE = "virtual:?channels=2&samples=1&fine=no&train=no&sequencer=2"

COUNT = """
.name count
.param n r1 in 1..1000 = 3 "marks"
.param gap r2 in 80ns..100us = 800ns "between marks"
    tag 7
    loop n
        tag 9
        delay gap
    end
    halt 42
"""
FOREVER = """
.name forever
    set 0xffff, 0x00f0
    switch 5
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
TRIGGER = """
.name trigger
    waittrig r3, rise, 0b10000, 10ms, else none
    tag 1
    waittrig r4, rise, 0b0001, 2us, else none
    halt 1
none:
    tag 2
    halt 2
"""
PULSES = """
.name pulses
.envelope 0,1 bell gaussian(points=64, sigma=6)
.wave w bell length=400ns
    set 0x0003, 0x0003
    pulse 1, w, 0.5
    nop for 1us
    pulse 0, w, 0.5
    set 0x0003, 0x0000
    switch 3
    nop for 1us
    halt 1
"""


def image_of(text):
    assembly = assemble(text)
    return Image.from_assembly(assembly, prove(assembly))


COUNT, FOREVER, DEEP, TRIGGER, PULSES = map(image_of, (COUNT, FOREVER, DEEP, TRIGGER, PULSES))


@pytest.fixture(scope="module")
def running_node():
    with sync.connect(NODE) as node:
        yield node


@pytest.fixture
def node(running_node):
    """One node for all tests, each with it as after a reset but for its slots."""
    yield running_node
    sequencer = running_node.sequencer
    sequencer.reset_sequencer()
    sequencer.release()
    sequencer.configure_ttl(safe=[], hold=[], fast=[])
    sequencer.set_safe_route(0)
    sequencer.clear_flags()
    sequencer.unset()


def engine(node, function):
    """Call a function of the engine between two ticks."""
    return node._worker.call(node._driver.client.transport.call, function)


def wait_until(question):
    for _ in range(10_000):
        if question():
            return
    raise AssertionError("it does not happen")


def test_a_run_with_parameters(node):
    with node.sequencer as sequencer:
        assert sequencer.info().channels == 2
        sequencer.load(COUNT)
        result = sequencer.run().check()
        assert (result.halt_code, result.issued, result.flags) == (42, 9, {})
        assert result.marks.codes.tolist() == [7, 9, 9, 9]
        assert result.marks.ticks[0] == result.started
        # TAG, and DELAY with its least dwell and 100 ticks.
        assert np.diff(result.marks.ticks)[1:].tolist() == [1 + DELAY_TICKS + 100] * 2
        sequencer.set(n=200, gap="1us")
        result = sequencer.run().check()
        assert len(result.marks) == result.marks_asked == 201 and result.marks_lost == 0
        assert set(np.diff(result.marks.ticks)[1:].tolist()) == {1 + DELAY_TICKS + 125}
        assert sequencer.data("gap") == 125
        assert result.stopped == result.marks.ticks[-1] + 1 + DELAY_TICKS + 125


def test_a_timed_start_is_exact(node):
    with node.sequencer as sequencer:
        sequencer.load(COUNT)
        at = node.timing.tick() + 150_000
        sequencer.start(at_tick=at)
        assert sequencer.status().state is SequencerState.ARMED
        result = sequencer.wait()
        assert result.started == at == result.marks.ticks[0]
        with pytest.raises(StartLateError, match="was past"):
            sequencer.start(at_tick=at)
        assert not sequencer.running()


def test_a_trigger_of_the_timing_unit(node):
    with node.sequencer as sequencer:
        sequencer.load(TRIGGER)
        first = node.timing.tick() + 50_000
        fire = first + 12_345
        node.timing.arm(0, fire)
        result = sequencer.run(at_tick=first)
        # Input 4 is trigger 0; the second wait sees nothing.
        waited = sequencer.data(3)
        assert result.halt_code == 2 and result.marks.codes.tolist() == [1, 2]
        assert 0 <= first + waited - fire <= 2
        assert result.marks.ticks[0] == first + waited + TRIGGER_TICKS
        assert result.waited == sequencer.data(4) == 250
        assert result.marks.ticks[1] == result.marks.ticks[0] + 1 + 250 + TIMEOUT_TICKS
        # Now there is somebody on input 0.
        node.timing.arm(0, node.timing.tick() + 100_000)
        sequencer.start()
        engine(node, lambda e: e.set_pin("inputs", 1))
        engine(node, lambda e: e.set_pin("inputs", 0))
        assert sequencer.inputs() == 0
        assert sequencer.wait().halt_code == 2


def test_a_fault_stops_and_is_named(node):
    with node.sequencer as sequencer:
        sequencer.load(DEEP)
        result = sequencer.run()
        assert (result.state, result.fault) == (SequencerState.FAULT, Fault.CALL_OVERFLOW)
        with pytest.raises(ProgramFaultError, match=r"word 0 \(<text>, line 4\): CALL_OVERFLOW"):
            result.check()
        assert result.flags["fault"][0] == 1
        with pytest.raises(ProgramFaultError, match="was stopped; .* 1 times"):
            sequencer.check_flags()


def test_lines_pulses_and_route(node):
    with node.sequencer as sequencer:
        sequencer.load(PULSES)
        sequencer.configure_ttl(fast=[0])
        engine(node, lambda e: e.take_outputs())
        result = sequencer.run().check()
        assert result.pulses == 2 and result.flags == {}
        ticks, lines, levels = engine(node, lambda e: e.take_outputs())
        names = engine(node, lambda e: e.output_lines)
    seen = {(names[line], level): tick - result.started for tick, line, level in
            zip(ticks.tolist(), lines.tolist(), levels.tolist(), strict=True)}
    again = 1 + 1 + 125 + 1
    assert seen["ttl[0]", 1] == TTL_LATENCY and seen["ttl[1]", 1] == DAC_LATENCY
    assert seen["ttl[0]", 0] == again + TTL_LATENCY and seen["ttl[1]", 0] == again + DAC_LATENCY
    assert seen["route[0]", 1] == seen["route[1]", 1] == again + 1 + TTL_LATENCY


def test_stale_images_never_leave_the_host(node):
    sequencer = node.sequencer
    before = sequencer.slots()
    with pytest.raises(StaleImageError, match="made for ISA 00000001"):
        sequencer.load(dataclasses.replace(COUNT, isa=1))
    assert sequencer.slots() == before


@pytest.mark.parametrize("missing, crc", [(1, 0), (2, 0), (0, 1)])
def test_a_truncated_or_wrong_upload_is_refused(node, missing, crc):
    sequencer, registers = node.sequencer, node.regs.sequencer
    upload = upload_words(PULSES, 1)
    sequencer.load(COUNT, 0)
    registers.slot.write(begin=1, slot=1)
    for address, words in upload.bursts:
        registers.load_address.write(address)
        for at in range(0, len(words), MAX_PAYLOAD_WORDS):
            part = words[at:at + MAX_PAYLOAD_WORDS]
            last = address == upload.bursts[-1][0] and at + len(part) == len(words)
            part = part[:len(part) - missing] if last else part
            node.client.write_fixed(registers.load_data.address, part)
    with pytest.raises(ImageRefusedError, match="REFUSED"):
        sequencer.commit(1, words=upload.words, crc=upload.crc ^ crc)
    assert sequencer.slots()[1].state is SlotState.REFUSED
    with pytest.raises(StartRefusedError, match="it is REFUSED"):
        sequencer.activate(1)
    assert sequencer.run().halt_code == 42  # slot 0 is as it was
    assert sequencer.load(PULSES, 1) == 1 and sequencer.run().halt_code == 1


def test_the_other_slot_is_loaded_while_one_runs(node):
    with node.sequencer as sequencer:
        sequencer.load(FOREVER, 0)
        sequencer.start()
        with pytest.raises(SequencerBusyError, match="Slot 0 runs"):
            sequencer.load(COUNT, 0)
        sequencer.clear_flags()
        issued = node.regs.sequencer.issued.read()
        assert sequencer.load(COUNT, activate=False, force=True) == 1
        assert sequencer.running() and node.regs.sequencer.issued.read() > issued
        with pytest.raises(SequencerBusyError, match="while a program runs in slot 0"):
            sequencer.activate(1)
        sequencer.stop()
        assert sequencer.wait().state is SequencerState.IDLE
        sequencer.activate(1)
        assert sequencer.run().halt_code == 42


def test_trials(node):
    with node.sequencer as sequencer:
        sequencer.load(COUNT, 0)
        # Confirmed: it stays.
        sequencer.load(FOREVER, 1, activate=False)
        sequencer.activate(1, trial=True, trial_s=5e-3)
        sequencer.start()
        sequencer.confirm()
        end = node.timing.tick() + 700_000
        wait_until(lambda: node.timing.tick() > end)
        assert sequencer.running()
        sequencer.stop()
        # Not confirmed in time: the other one is back, and what runs is stopped.
        sequencer.activate(0)
        sequencer.activate(1, trial=True, trial_s=1e-3)
        sequencer.start()
        sequencer.wait(1)
        slots = sequencer.slots()
        assert slots[0].active and slots[1].state is SlotState.REJECTED
        with pytest.raises(TrialFailedError, match="slot 0 is active again"):
            sequencer.confirm()
        # A fault.
        sequencer.load(DEEP, 1, activate=False)
        sequencer.activate(1, trial=True)
        assert sequencer.run().fault is Fault.CALL_OVERFLOW
        slots = sequencer.slots()
        assert slots[0].active and slots[1].state is SlotState.REJECTED
        assert "reverted" in sequencer.flags()
        assert sequencer.run().halt_code == 42


@pytest.mark.parametrize("pin", [False, True])
def test_an_emergency_makes_everything_safe(node, pin):
    with node.sequencer as sequencer:
        sequencer.configure_ttl(safe=[0, 6], hold=[4])
        sequencer.set_safe_route(9)
        sequencer.load(FOREVER)
        sequencer.start()
        wait_until(lambda: sequencer.ttl() == 0xf0)
        assert sequencer.route() == 5
        if pin:
            engine(node, lambda e: e.set_pin("emergency", 1))
        else:
            sequencer.emergency_stop()
        result = sequencer.wait()
        assert (sequencer.ttl(), sequencer.route()) == (0x41, 9)
        with pytest.raises(EmergencyError, match="ended the program"):
            result.check()
        if pin:
            # It is not the host's to release while the pin is high.
            sequencer.release()
            assert sequencer.status().state is SequencerState.EMERGENCY
            engine(node, lambda e: e.set_pin("emergency", 0))
            assert sequencer.status().state is SequencerState.EMERGENCY
        with pytest.raises(EmergencyError, match="release"):
            sequencer.start()
        sequencer.release()
        assert (sequencer.ttl(), sequencer.route()) == (0x41, 9)
        sequencer.start()
        wait_until(lambda: sequencer.ttl() == 0xf0)
        sequencer.stop()
        wait_until(lambda: sequencer.ttl() == 0x51)  # line 4 holds


def test_tags_and_marks_share_the_link():
    with sync.connect(NODE + "&source=poisson:2e6,ch0&seed=3") as node:
        node.tagger.enable(0)
        with node.sequencer as sequencer:
            sequencer.load(COUNT)
            sequencer.set(n=1000, gap="4us")
            node.tagger.run()
            result = sequencer.run().check()
            node.tagger.stop()
            sequencer.marks()
            recorded = node.tagger.counters().recorded
            tags = np.concatenate(sequencer.other_records)
    assert len(result.marks) == 1001 and result.marks_lost == 0
    assert set(np.diff(result.marks.ticks)[1:].tolist()) == {1 + DELAY_TICKS + 500}
    columns = decode(tags, DecodeState())
    assert len(columns) == recorded > 1000
    assert (np.diff(columns.times) > 0).all()


def test_damage_on_the_line_does_not_reach_the_image():
    line = FaultyTransport(open_transport(NODE), FaultRates(flip=1e-3, drop=1e-3), seed=5)
    with sync.connect(line) as node:
        with node.sequencer as sequencer:
            big = dataclasses.replace(PULSES, words=[*PULSES.words, *range(2000)])
            slot = sequencer.load(big)
            assert sequencer.slots()[slot].image == upload_words(big, slot).crc
            assert sequencer.run().check().pulses == 2
        assert line.injected["drop"] and line.injected["flip"]


@pytest.mark.parametrize("committed", [False, True])
def test_a_power_cut_leaves_nothing_that_runs(committed):
    with sync.connect(NODE) as node:
        sequencer, registers = node.sequencer, node.regs.sequencer
        if committed:
            sequencer.load(COUNT, 0)
        else:
            upload = upload_words(COUNT, 0)
            registers.slot.write(begin=1, slot=0)
            registers.load_address.write(upload.bursts[0][0])
            node.client.write_fixed(registers.load_data.address, upload.bursts[0][1][:5])
            assert sequencer.slots()[0].state is SlotState.WRITING
        engine(node, lambda e: e.power_cycle(10_000))
        with pytest.raises(NodeResetError):
            sequencer.slots()
        node.reconnect()
        assert [s.state for s in sequencer.slots()] == [SlotState.EMPTY] * 2
        assert [s.image for s in sequencer.slots()] == [0, 0]
        with pytest.raises(StartRefusedError, match="slot 0 is EMPTY"):
            sequencer.start()
        # Words that come without a begin are refused, and what is there is no image.
        registers.load_data.write(1)
        assert "load_refused" in sequencer.flags()
        with pytest.raises(ImageRefusedError, match="nothing was begun"):
            sequencer.commit(0, words=1, crc=0)
        assert sequencer.load(COUNT) == 1
        assert sequencer.run().halt_code == 42


def test_command_runs_a_program(tmp_path):
    path = tmp_path / "count.qcs"
    path.write_text("""
.name count
.param n r1 in 1..1000 = 3
    loop n
        tag 9
        nop for 1us
    end
    halt 42
""")
    arguments = ["fw", "run", str(path), "--port", NODE, "--set", "n=5"]
    reports = []
    for _ in range(2):
        result = CliRunner().invoke(quantacore, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        reports.append(json.loads(result.stdout))
    assert reports[0]["halt_code"] == 42 and reports[0]["data"][1] == 5
    assert [m["code"] for m in reports[0]["marks"]] == [9] * 5
    # The same in every run, counted from the start.
    for name in ("marks", "duration_s", "issued", "data"):
        assert reports[0][name] == reports[1][name]
    result = CliRunner().invoke(quantacore, arguments)
    assert result.exit_code == 0 and "HALTED" in result.output
    result = CliRunner().invoke(quantacore, ["fw", "slots", "--port", NODE])
    assert result.exit_code == 0 and "EMPTY" in result.output


@pytest.mark.parametrize("sequencer, distance, lines, kind", [
    (None, None, 7, "uint32_t"), (8, None, 32, "uint32_t"), (8, 3, 34, "uint64_t")])
def test_lines_and_pins_of_the_harness(sequencer, distance, lines, kind):
    options = node_options(channels=1, samples=1, sequencer=sequencer, distance=distance)
    header, info = port_header(Node(options["config"]))
    assert len(info["outputs"]) == lines and f"using Lines = {kind};" in header
    assert info["pins"] == (["inputs", "emergency", "peers"] if sequencer else [])
    assert "pulses" not in header


def test_a_node_without_a_sequencer_reads_zero():
    with sync.connect("virtual:") as node:
        assert not node.identity.sequencer
        values = node.regs.sequencer.read_all()
        assert all(int(value) == 0 for held in values.values() for value in
                   (held if isinstance(held, list) else [held]))
        with pytest.raises(UnmappedError):
            node.regs.sequencer.start_pc.write(3)
        with pytest.raises(SequencerMissingError, match="built without a sequencer"):
            node.sequencer.info()
