"""The whole sequencer, run through its registers: every sample and line of the shipped programs."""

from pathlib import Path

import numpy as np
import pytest

from quantacore import firmware
from quantacore.gateware.layouts.instructions import COMMAND_LATENCY
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    DAC_LATENCY,
    ENVELOPE_POINTS,
    WAVES,
    SequencerState,
)
from quantacore.sim.bench.sequencer_unit import SequencerBench
from quantacore.sim.golden.channels import Image, Issued, play
from quantacore.sim.golden.sequencer import SequencerModel, World
from quantacore.sim.golden.sequencer_parts import OutputsModel

#: Ticks of a program that are compared.
LONGEST = 40_000
PROGRAMS = Path(firmware.__file__).parent / "programs"


@pytest.fixture(scope="module")
def built():
    return SequencerBench()


@pytest.fixture
def bench(built):
    """As after power on: what was played, and at which frequency, is forgotten."""
    built.restart()
    return built


def image_of(assembly):
    """An assembly's waves and envelopes as the golden channels take them."""
    image = Image()
    for number, wave in enumerate(assembly.waves):
        image.waves[number] = wave.word
    assert len(assembly.waves) <= WAVES
    for channel, points in assembly.envelopes.items():
        assert len(points) <= ENVELOPE_POINTS
        image.envelopes[channel, :len(points)] = points
    return image


def ticks_of(assembly, presets):
    """How long a program takes, or as much of it as is compared."""
    model = SequencerModel(assembly.words)
    for register, value in presets.items():
        model.registers[register] = value
    model.start(0, World())
    model.advance(LONGEST)
    return model.stopped if model.state is SequencerState.HALTED else LONGEST


def compare(bench, assembly, presets):
    """Load, run and record a program; compare all that it puts out; return the model."""
    clocks = ticks_of(assembly, presets) + 100
    # Nothing falls silent, so that all of the recording is the program's.
    bench.registers.write("channel_hold", 0xFF)
    bench.registers.write("ttl_hold", 0xFFFF)
    bench.load(assembly)
    for register, value in presets.items():
        bench.registers.write("preset", value, index=register)
    bench.action(start=1)
    ticks, columns = bench.record(clocks, ["issued", "word", "a", "b", "samples", "ttl", "route"])
    ended = clocks < LONGEST
    assert bench.state() is (SequencerState.HALTED if ended else SequencerState.RUNNING)

    started = bench.registers.read("started")
    model = SequencerModel(assembly.words)
    for register, value in presets.items():
        model.registers[register] = value
    model.start(started, World())
    model.advance(int(ticks[-1]) - COMMAND_LATENCY)
    assert (model.state is SequencerState.HALTED) == ended
    at = np.flatnonzero(columns["issued"])
    halves = columns["word"][at].astype(object)
    found = [(int(tick) - COMMAND_LATENCY, int(low | high << 32), int(a), int(b))
             for tick, (low, high), a, b in zip(ticks[at], halves, columns["a"][at],
                                                columns["b"][at], strict=True)]
    assert found == model.commands

    first = int(ticks[0])
    samples = columns["samples"].astype("<u4").view("<i2")
    expected = play([Issued(*command) for command in model.commands], image_of(assembly),
                    start=started, stop=int(ticks[-1]) - DAC_LATENCY + 1, channels=CHANNELS)
    got = samples[started + DAC_LATENCY - first:].T
    assert (got == expected.samples).all()

    outputs = OutputsModel()
    by_tick = {tick + COMMAND_LATENCY: (word, a) for tick, word, a, _ in model.commands}
    for tick, ttl, route in zip(ticks.tolist(), columns["ttl"].tolist(),
                                columns["route"].tolist(), strict=True):
        assert (ttl, route) == outputs.tick(command=by_tick.get(tick), hold=0xFFFF)
    return model, expected


@pytest.mark.parametrize("name, chosen", [
    ("stirap_transfer", {}), ("stirap_photon", {}), ("raman", {}), ("rabi", {"shots": 1}),
    ("ramsey", {"shots": 1}), ("echo", {"shots": 1}), ("switch_hold", {}),
])
def test_shipped_programs_play_as_the_golden_models_say(bench, name, chosen):
    assembly = firmware.assemble_file(PROGRAMS / f"{name}.qcs")
    presets = {parameter.register: chosen.get(key, parameter.default)
               for key, parameter in assembly.parameters.items()}
    model, played = compare(bench, assembly, presets)
    assert len(model.commands) > 10
    if name != "switch_hold":
        assert played.active.any() and not played.overlaps


def test_what_does_not_hold_falls_silent_when_a_program_is_over(bench):
    bench.load("""
.envelope 0, 1 flat flat
.wave long flat length=forever
offset 0, 0.25
offset 1, 0.25
pulse 0, long, 0.5
pulse 1, long, 0.5
set 0xff, 0xff
nop for 100
halt
""")
    write = bench.registers.write
    write("channel_hold", 0b10)
    write("ttl_hold", 0x0F)
    write("ttl_safe", 0x80)
    write("offset_safe", 1234, index=0)
    bench.action(start=1)
    _, columns = bench.record(300, ["samples", "ttl"])
    samples = columns["samples"].astype("<u4").view("<i2")
    assert samples[120, 0] == samples[120, 1] > 20_000
    assert columns["ttl"][120] == 0xFF
    assert (samples[-1, 0], samples[-1, 1]) == (1234, samples[120, 1])
    assert columns["ttl"][-1] == 0x8F


def test_an_emergency_is_safe_at_once_and_until_it_is_released(bench):
    write = bench.registers.write
    write("ttl_safe", 0x5)
    write("route_safe", 9)
    write("ttl_hold", 0xFFFF)
    write("channel_hold", 0xFF)
    write("offset_safe", 0, index=0)
    bench.load(".envelope 0 flat flat\n.wave long flat length=forever\npulse 0, long, 0.5\n"
               "set 0xffff, 0xf0f0\nswitch 3\nnop for 5000\nhalt")
    bench.action(start=1)
    bench.replay.step(100)
    bench.replay.set("emergency", 1)
    _, columns = bench.record(3, ["samples", "ttl", "route"])
    samples = columns["samples"].astype("<u4").view("<i2")
    assert columns["ttl"].tolist() == [5] * 3 and columns["route"].tolist() == [9] * 3
    assert (samples[:, 0] == 0).all()
    bench.replay.set("emergency", 0)
    bench.replay.step(50)
    assert bench.state() is SequencerState.EMERGENCY
    bench.action(start=1)
    bench.replay.step(50)
    assert bench.state() is SequencerState.EMERGENCY
    bench.action(release=1)
    bench.replay.step(50)
    assert bench.state() is SequencerState.IDLE
    _, columns = bench.record(50, ["samples", "ttl", "route"])
    assert set(columns["ttl"].tolist()) == {5} and set(columns["route"].tolist()) == {9}


def test_a_timed_start_is_exact_and_a_late_one_does_not_happen(bench):
    bench.load("set 1, 1\nhalt")
    now = bench.replay.get("tick")
    bench.registers.write("start_time", now + 500)
    bench.action(start=1, timed=1)
    assert bench.state() is SequencerState.ARMED
    bench.replay.step(600)
    assert bench.registers.read("started") == now + 502
    bench.registers.write("start_time", now)
    bench.action(start=1, timed=1)
    bench.replay.step(50)
    assert bench.state() is SequencerState.IDLE
    assert bench.registers.read("started") == now + 502
    assert bench.registers.read("flags") >> 8 & 1
