"""What is proven, in the golden interpreter: no faults, no overlaps, times as promised.

The interpreter shares nothing with the firmware package but the layouts.
"""

import functools
import random
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from quantacore.firmware import assemble, assemble_file, prove
from quantacore.firmware.documents import programs
from quantacore.gateware.layouts.instructions import Fault, Op
from quantacore.gateware.layouts.sequencer import MARK_DEPTH, MARK_TICKS, SequencerState
from quantacore.sim.bench.sequencer_random import random_world
from quantacore.sim.golden.sequencer import SequencerModel, World, fields

START = 1000


@functools.cache
def prover_test():
    """The prover's own test, for its programs."""
    path = Path(__file__).with_name("test_firmware_prover.py")
    spec = spec_from_file_location("firmware_prover_programs", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def world(rng, ticks):
    events = [(START + t, *rest) for t, *rest in random_world(rng, ticks)]
    return World(
        triggers=[(t, triggers) for t, triggers, *_ in events],
        peers=[(t, peers) for t, _, peers, *_ in events],
        verdicts=[(t, verdict) for t, _, _, verdict, _ in events if verdict is not None],
        frames=[[(t, *frame[basis]) for t, *_, frame in events if frame[basis] is not None]
                for basis in range(2)],
        delta=lambda first, second, tick: (tick * 7919) % 4001 - 2000)


def check_commands(assembly, commands):
    """The timeline that was issued: pulses, marks, routes."""
    pulses, marks, mark_end, switched = {}, [], 0, None
    for tick, word, a, _ in commands:
        op, f = fields(word)
        if op is Op.PULSE:
            number = a if f["wave_register"] else f["wave"]
            begin = tick + f["defer"]
            before = pulses.get(f["channel"])
            assert before is None or before[0] <= tick and before[1] <= begin, (tick, before)
            pulses[f["channel"]] = begin, begin + assembly.waves[number].length
        elif op is Op.TAG:
            marks = [end for end in marks if end > tick]
            assert len(marks) < MARK_DEPTH
            mark_end = max(mark_end, tick) + MARK_TICKS
            marks.append(mark_end)
        elif op is Op.SWITCH:
            switched = tick
        elif op is Op.ARM and switched is not None and assembly.settle_ticks:
            assert tick - switched >= assembly.settle_ticks


def play(assembly, proof, rng, ticks=4000):
    model = SequencerModel(assembly.words)
    model.registers = [rng.getrandbits(32) for _ in range(16)]
    for register, interval in assembly.assumptions.items():
        model.registers[register] = rng.randint(interval.low, interval.high) & 0xffffffff
    model.start(START, world(rng, ticks))
    model.advance(START + ticks)
    assert model.fault is Fault.NONE
    check_commands(assembly, model.commands)
    if model.state is SequencerState.HALTED:
        entry = proof.entries["main"]
        assert entry.ticks[0] <= model.stopped - model.started <= entry.ticks[1]
        assert entry.instructions[0] <= len(model.commands) <= entry.instructions[1]
    return model


def test_random_programs_do_as_proven():
    halted = proven = 0
    for seed in range(120):
        rng = random.Random(seed)
        assembly = assemble(prover_test().Writer(rng).program())
        proof = prove(assembly)
        if not proof.ok:
            continue
        proven += 1
        for _ in range(2):
            halted += play(assembly, proof, rng).state is SequencerState.HALTED
    assert proven > 60 and halted > 80


@pytest.mark.parametrize("name", sorted(programs()))
def test_shipped_programs_do_as_proven(name):
    assembly = assemble_file(programs()[name])
    proof = prove(assembly)
    rng = random.Random(name)
    for _ in range(3):
        model = play(assembly, proof, rng, 20_000)
        assert len(model.commands) > 5


def test_exact_time_of_a_long_program():
    """Five hundred photons: the golden interpreter and the prover count the same ticks."""
    assembly = assemble_file(programs()["stirap_photon"], defines={"turns": 500})
    proof = prove(assembly)
    low, high = proof.entries["main"].ticks
    assert low == high
    model = SequencerModel(assembly.words)
    model.start(START, World())
    model.advance(START + high + 1)
    assert model.state is SequencerState.HALTED
    assert model.stopped - model.started == low
    assert len(model.commands) == proof.events[0] == proof.events[1]
