"""Random programs for the sequencer are valid, end in time, and leave nothing out."""

import random
from collections import Counter

import pytest

from quantacore.gateware.layouts.instructions import PROGRAM_DEPTH, Fault, Op
from quantacore.gateware.layouts.sequencer import SequencerState
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.sequencer_probe import delta
from quantacore.sim.bench.sequencer_random import (
    FAULTS,
    RandomRun,
    random_batch,
    random_program,
    random_world,
)
from quantacore.sim.golden.sequencer import SequencerModel

_START = 1000
_FOREVER = 1 << 60


@pytest.fixture
def rng():
    seed = seed_from_environment()
    print(f"QUANTACORE_SEED={seed}")
    return random.Random(seed)


def run(rng, words, pc, limit):
    model = SequencerModel(words)
    world = RandomRun(pc, random_world(rng, limit + 20)).world(_START, delta)
    model.start(_START, world, pc=pc)
    model.advance(_FOREVER)
    return model


def test_valid_programs_halt_within_their_limit(rng):
    waiting = 0
    for _ in range(1500):
        words, pc, limit, endless = random_program(rng)
        model = run(rng, words, pc, limit)
        assert model.fault is Fault.NONE
        if endless and model.waiting:
            waiting += 1
            continue
        assert model.state is SequencerState.HALTED
        assert endless or model.stopped - _START <= limit
        assert model.loops == [] and model.calls == []
    assert waiting < 150


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_programs_end_in_their_fault(rng, fault):
    for _ in range(60):
        words, pc, limit, endless = random_program(rng, fault=fault)
        model = run(rng, words, pc, limit)
        assert model.fault is fault or endless and model.waiting


def test_every_operation_comes(rng):
    seen = Counter()
    batch = random_batch(rng)
    for _ in range(4):
        model = SequencerModel(batch.words)
        for one in batch.runs:
            model.start(_START, one.world(_START, delta), pc=one.pc)
            model.advance(_START + (one.stop or _FOREVER))
            seen.update(command[1] & 63 for command in model.commands)
        batch = random_batch(rng)
    assert set(seen) == {op.value for op in Op}


def test_same_seed_gives_the_same_batch():
    assert random_batch(random.Random(5)) == random_batch(random.Random(5))


def test_batch_fits_its_memories(rng):
    batch = random_batch(rng)
    assert len(batch.words) == PROGRAM_DEPTH
    assert 40 < len(batch.runs) <= 100
    assert sum(len(one.events) + 1 for one in batch.runs) <= PROGRAM_DEPTH
