"""The decoder's gateware, compiled, against its golden model: record by record, in long runs."""

import os

import numpy as np
import pytest

from quantacore.host.qec import compile_circuit, shot_heralds, shot_layers
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.decoder import FastDecoder, Fate, round_words
from quantacore.sim.bench.decoder_equality import assert_equal, decode_both, decode_with_losses
from quantacore.sim.bench.decoder_random import random_image
from quantacore.sim.golden.decoder.fast import decode_shots
from quantacore.sim.qec.circuits import erasure_circuit, memory_circuit

SOAK = bool(os.environ.get("QUANTACORE_SOAK"))
BUILDS = {3: {"capacity": 16, "cluster": 10, "event_bits": 8},
          5: {"capacity": 32, "cluster": 12, "event_bits": 9},
          7: {"capacity": 64, "cluster": 14, "event_bits": 10}}
#: Of one basis, in a layer of distance 3.
SPACES = 4
#: Rounds that are decoded by both before they are compared.
BLOCK = 5_000


def soak(*values):
    """Parameters of a test, or a test, for ``make soak`` alone."""
    mark = pytest.mark.skipif(not SOAK, reason="takes minutes: make soak")
    return pytest.param(*values, marks=mark) if values else mark


def circuit(distance, p, rounds):
    return memory_circuit(distance, rounds, p)


def image_of(distance, p=0.003, **options):
    return compile_circuit(lambda rounds: circuit(distance, p, rounds),
                           **{**BUILDS[distance], **options})


@pytest.fixture
def rng():
    seed = seed_from_environment()
    print(f"QUANTACORE_SEED={seed}")
    return np.random.default_rng(seed)


def blocks(rng, image, model, rounds):
    """Shots of ``model``, a block at a time, until ``rounds`` rounds are out."""
    sampler = model.compile_detector_sampler(seed=int(rng.integers(1 << 32)))
    layers = shot_layers(image, model, sampler.sample(1)).shape[2]
    while rounds > 0:
        shots = -(-min(rounds, BLOCK) // layers)
        yield shot_layers(image, model, sampler.sample(shots))
        rounds -= shots * layers


def random_gaps(rng, rounds):
    """Bursts, and waits of up to some hundred clocks."""
    return np.where(rng.random(rounds) < 0.7, 0, rng.integers(0, 300, rounds))


# 10**7 rounds in the soak test.
@pytest.mark.parametrize("distance, rounds", [
    (3, 100_000), (5, 10_000), soak(5, 100_000), soak(7, 100_000),
    soak(3, 5_000_000), soak(5, 3_000_000), soak(7, 2_000_000)])
def test_records_equal_the_golden_model(rng, distance, rounds):
    image = image_of(distance)
    decoder = FastDecoder(image)
    done = resets = overflows = 0
    # Short shots, long ones, and rates at which windows escape and overflow.
    for p, share in ((0.003, 0.5), (0.001, 0.2), (0.008, 0.2), (0.02, 0.08),
                     (0.07, 0.02)):
        for length in (3 * distance, 41 * distance):
            model = circuit(distance, p, length)
            for shots in blocks(rng, image, model, int(rounds * share / 2)):
                count = shots.shape[0] * shots.shape[2]
                if rng.random() < 0.3:
                    stop_in_the_middle(decoder, shots, int(rng.integers(20_000)))
                    resets += 1
                before = decoder.counts()["accepted"]
                records, golden = decode_both(
                    decoder, shots, gaps=random_gaps(rng, count),
                    stall=rng.choice([0, 0.003, 0.03]), seed=int(rng.integers(1 << 32)))
                assert_equal(records, golden)
                assert (records.fates == Fate.ACCEPTED).all()
                assert decoder.counts()["accepted"] - before == records.sent == count
                done += count
                overflows += golden.statistics.counters["overflows"]
    print(f"{done} rounds, {resets} resets, {overflows} windows overflowed, "
          f"{decoder.clocks} clocks")
    assert done >= rounds
    assert resets and overflows


def stop_in_the_middle(decoder, shots, clocks):
    """Decode for some clocks, then reset."""
    with pytest.raises(RuntimeError, match="verdicts came"):
        decoder.run(round_words(decoder.shape, shots), windows=1 << 20, limit=clocks + 1)
    decoder.reset()


@pytest.mark.parametrize("distance, rounds", [
    (3, 20_000), (5, 5_000), soak(3, 300_000), soak(5, 200_000), soak(7, 100_000)])
def test_lost_rounds_count_as_free_of_defects(rng, distance, rounds):
    """More rounds than can be decoded: some find the queue full, and some come twice."""
    image = image_of(distance)
    decoder = FastDecoder(image)
    lost = gone = 0
    model = circuit(distance, 0.006, 5_000)
    for shots in blocks(rng, image, model, rounds):
        for shot in shots:
            before = decoder.counts()
            records, golden, losses = decode_with_losses(
                decoder, shot, rng=rng, gaps=rng.integers(1, 20 * distance, len(shot[0])))
            assert_equal(records, golden)
            assert np.array_equal(records.verdicts["gap"], gaps_seen(decoder, records, losses))
            counts = {name: now - before[name] for name, now in decoder.counts().items()}
            fates = np.bincount(records.fates, minlength=4)
            assert fates[Fate.UNKNOWN] == 0
            assert (counts["accepted"], counts["lost"], counts["duplicates"]) == tuple(fates[1:])
            assert counts["missing"] == losses.sum()
            lost += losses.sum()
            gone += fates[Fate.DUPLICATE]
    print(f"{lost} rounds lost, {gone} duplicates dropped")
    assert lost and gone


def gaps_seen(decoder, records, losses):
    """Of each verdict, whether its window took in a layer that was lost."""
    seen = []
    for first in records.verdicts["round"]:
        begin = first + decoder.buffer if first else 0
        seen.append(losses[begin:first + decoder.commit + decoder.buffer].any())
    return np.array(seen)


@pytest.mark.parametrize("missing", [1, 255, 256, 300])
def test_only_a_gap_of_256_rounds_ends_a_shot(rng, missing):
    image = image_of(3)
    decoder = FastDecoder(image)
    rounds, before = 400, 10
    shots = (rng.random((1, 2, rounds, SPACES)) < 0.05).astype(np.uint8)
    words = round_words(decoder.shape, shots)
    kept = np.r_[:before, before + missing:rounds]
    # What the gap leaves of the shot: rounds free of defects in its place, or one, and the end.
    shots[:, :, before:before + missing] = 0
    if missing > 255:
        shots = shots[:, :, :before + 1]
    golden = decode_shots(image, shots, records=True)
    records = decoder.run(words[kept], windows=len(golden.windows))
    assert_equal(records, golden)
    assert records.sent == len(kept)
    fates = np.full(len(kept), Fate.ACCEPTED)
    if missing > 255:
        fates[before:] = Fate.DUPLICATE
        fates[before] = Fate.LOST
    assert np.array_equal(records.fates, fates)
    assert decoder.counts()["missing"] == min(missing, 255)
    # The next shot is as good as any.
    assert_equal(*decode_both(decoder, (rng.random((3, 2, 20, SPACES)) < 0.05).astype(np.uint8)))


@pytest.mark.parametrize("distance", [3, soak(5), soak(7)])
def test_dense_defects_equal_the_golden_model(rng, distance):
    image = image_of(distance)
    decoder = FastDecoder(image)
    spaces = len(image.about["spaces"][0])
    escapes = overflows = 0
    for density in (0.01, 0.03, 0.06, 0.1, 0.2, 0.4, 0.7, 1.0):
        for rounds in (1, 2, 9, 41):
            shots = (rng.random((200 if SOAK else 10, 2, rounds, spaces))
                     < density).astype(np.uint8)
            records, golden = decode_both(decoder, shots)
            assert_equal(records, golden)
            escapes += len(golden.escapes)
            overflows += golden.statistics.counters["overflows"]
    print(f"{escapes} defects escaped, {overflows} windows overflowed")
    assert escapes and overflows


@pytest.mark.parametrize("distance", [3, 5])
def test_plain_mode_equals_the_golden_model(rng, distance):
    image = image_of(distance)
    decoder = FastDecoder(image, correlation=False)
    for shots in blocks(rng, image, circuit(distance, 0.006, 5 * distance), 5_000):
        records, golden = decode_both(decoder, shots, correlation=False)
        assert_equal(records, golden)
        assert not records.verdicts["second_pass"].any()


@pytest.mark.parametrize("commit, buffer, reach", [(1, 0, 100), (1, 3, 30), (2, 2, 254),
                                                   (7, 1, 0), (5, 3, 120)])
def test_any_window_equals_the_golden_model(rng, commit, buffer, reach):
    image = image_of(3)
    decoder = FastDecoder(image, commit=commit, buffer=buffer, reach=reach)
    for shots in blocks(rng, image, circuit(3, 0.006, 30), 4_000):
        assert_equal(*decode_both(decoder, shots))


def test_random_tables_equal_the_golden_model(rng):
    """Ties at every turn, walks that never end, shortcuts out of the window."""
    shape = image_of(3).shape
    seen = dict.fromkeys(("overflows", "walk_errors", "escapes", "second_passes"), 0)
    for _ in range(3_000 if SOAK else 30):
        image = random_image(rng, shape=shape)
        commit = int(rng.integers(1, 7))
        decoder = FastDecoder(image, commit=commit, buffer=int(rng.integers(0, 9 - commit)),
                              reach=int(rng.integers(0, 255)))
        shots = (rng.random((30, 2, int(rng.integers(1, 14)), SPACES))
                 < rng.choice([0.05, 0.2, 0.5])).astype(np.uint8)
        records, golden = decode_both(decoder, shots)
        assert_equal(records, golden)
        for name in seen:
            seen[name] += golden.statistics.counters[name]
    print(seen)
    assert all(seen.values())


# Every pattern of a window -------------------------------------------------------------------

LAYERS = 4
PATTERNS = 1 << LAYERS * SPACES
#: Scatters the patterns of basis 1, so that each meets one that has nothing to do with it.
SCATTER = 40_503


@pytest.mark.parametrize("behind, correlation, step", [
    (0, True, 1), (2, True, 41), (2, False, 41), soak(2, True, 1), soak(2, False, 1)])
def test_every_pattern_of_a_window_equals_the_golden_model(behind, correlation, step):
    """All defects that four layers of distance 3 can have: as a whole shot, and as a window that
    commits two layers and keeps what it may. Each is decoded once, half of them as basis 0 and
    the others as basis 1; in the soak test all of them as both."""
    image = image_of(3)
    assert [len(spaces) for spaces in image.about["spaces"]] == [SPACES, SPACES]
    decoder = FastDecoder(image, commit=2, buffer=2, correlation=correlation)
    first = np.arange(PATTERNS)
    if SOAK:
        second = first * SCATTER % PATTERNS
    else:
        first, second = np.split(first * SCATTER % PATTERNS, 2)
    if step == 1:
        seen = [first, second] if SOAK else [np.r_[first, second]]
        assert all(len(np.unique(patterns)) == PATTERNS for patterns in seen)
    both = np.stack([first[::step], second[::step]], axis=1)
    shots = np.zeros((len(both), 2, LAYERS + behind, SPACES), np.uint8)
    shots[:, :, :LAYERS] = (both[:, :, None] >> np.arange(LAYERS * SPACES) & 1).reshape(
        -1, 2, LAYERS, SPACES)
    for block in np.array_split(shots, 16):
        assert_equal(*decode_both(decoder, block, correlation=correlation))
    print(f"{both.size} patterns of {LAYERS} layers, {decoder.clocks} clocks")


# Other builds --------------------------------------------------------------------------------

@pytest.mark.parametrize("correlation", [True, False])
def test_erasures_equal_the_golden_model(rng, correlation):
    image = compile_circuit(erasure_circuit(3, 14, 0.003, 0.02), **BUILDS[3])
    assert image.shape.sites == 9
    decoder = FastDecoder(image, correlation=correlation)
    model = erasure_circuit(3, 21, 0.003, 0.02)
    changed = 0
    for _ in range(40 if SOAK else 2):
        measured = model.compile_sampler(seed=int(rng.integers(1 << 32))).sample(150)
        shots = shot_layers(image, model, model.compile_m2d_converter().convert(
            measurements=measured, append_observables=False))
        true = shot_heralds(image, model, measured)
        _, without = decode_both(decoder, shots, correlation=correlation)
        # Heralds as they were, and others that have nothing to do with the defects.
        for erasures in (true, rng.random(true.shape) < 0.1, rng.random(true.shape) < 0.5):
            records, golden = decode_both(decoder, shots, correlation=correlation,
                                          erasures=erasures.astype(np.uint8))
            assert_equal(records, golden)
            changed += (golden.flips != without.flips).sum()
    assert changed


@pytest.mark.parametrize("options", [
    pytest.param({}, id="two bits"),
    pytest.param({"delta_bits": 3}, id="three bits", marks=soak())])
def test_build_without_correlation_equals_the_golden_model(rng, options):
    image = image_of(3, correlation=False, **options)
    assert not image.shape.correlation
    # The switch has nothing to switch on.
    decoder = FastDecoder(image, correlation=True)
    for p in (0.003, 0.02):
        for shots in blocks(rng, image, circuit(3, p, 15), 5_000):
            assert_equal(*decode_both(decoder, shots))


@soak()
def test_full_table_equals_the_golden_model(rng):
    model = circuit(3, 0.005, 5)
    image = compile_circuit(model, kind="full", capacity=32)
    assert image.shape.delta_bits == 0
    decoder = FastDecoder(image)
    for p in (0.005, 0.02, 0.05):
        for shots in blocks(rng, image, circuit(3, p, 5), 2_000):
            assert shots.shape[2] == 1
            records, golden = decode_both(decoder, shots)
            assert_equal(records, golden)
    assert records.verdicts["second_pass"].any()
