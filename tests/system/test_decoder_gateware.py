"""The decoder's gateware, compiled, against its golden model: record by record, in long runs."""

import os

import numpy as np
import pytest
import stim

from quantacore.host.qec import compile_circuit, shot_heralds, shot_layers
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.decoder import FastDecoder
from quantacore.sim.bench.decoder_equality import assert_equal, decode_both

SOAK = bool(os.environ.get("QUANTACORE_SOAK"))
BUILDS = {3: {"capacity": 16, "cluster": 10, "event_bits": 8},
          5: {"capacity": 32, "cluster": 12, "event_bits": 9},
          7: {"capacity": 64, "cluster": 14, "event_bits": 10}}
#: Rounds of the soak test at each distance: 10**7 in all.
SOAK_ROUNDS = {3: 5_000_000, 5: 3_000_000, 7: 2_000_000}
#: Rounds that are decoded by both before they are compared.
BLOCK = 50_000


def circuit(distance, p, rounds, basis="z"):
    """A memory experiment with uniform depolarizing noise."""
    return stim.Circuit.generated(
        f"surface_code:rotated_memory_{basis}", distance=distance, rounds=rounds,
        after_clifford_depolarization=p, before_round_data_depolarization=p,
        before_measure_flip_probability=p, after_reset_flip_probability=p)


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


@pytest.mark.parametrize("distance", [3, 5, 7])
def test_records_equal_the_golden_model(rng, distance):
    image = image_of(distance)
    decoder = FastDecoder(image)
    rounds = SOAK_ROUNDS[distance] if SOAK else 10_000
    done = 0
    # Short shots, long ones, and rates at which windows escape and overflow.
    for p, share in ((0.003, 0.5), (0.001, 0.2), (0.008, 0.2), (0.02, 0.1)):
        for length in (3 * distance, 41 * distance):
            model = circuit(distance, p, length)
            for shots in blocks(rng, image, model, int(rounds * share / 2)):
                count = shots.shape[0] * shots.shape[2]
                records, golden = decode_both(decoder, shots, gaps=random_gaps(rng, count))
                assert_equal(records, golden)
                assert records.sent == count
                done += count
    assert done >= rounds
    counts = decoder.counts()
    assert (counts["accepted"], counts["lost"]) == (done, 0)


@pytest.mark.parametrize("distance", [3, 5, 7])
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


# Every pattern of a window -------------------------------------------------------------------

LAYERS, SPACES = 4, 4
PATTERNS = 1 << LAYERS * SPACES
#: Scatters the patterns of the other basis, so that each basis sees all of them.
SCATTER = 40_503
#: Of them, in a short run: one of eleven, which takes in every residue of each layer.
SAMPLED = slice(None, None, 11)


@pytest.mark.parametrize("behind, correlation", [(0, True), (2, True), (2, False)])
def test_every_pattern_of_a_window_equals_the_golden_model(behind, correlation):
    """All defects that four layers of distance 3 can have: as a whole shot, and as a window that
    commits two layers and keeps what it may."""
    image = image_of(3)
    assert [len(spaces) for spaces in image.about["spaces"]] == [SPACES, SPACES]
    decoder = FastDecoder(image, commit=2, buffer=2, correlation=correlation)
    patterns = np.arange(PATTERNS)
    both = np.stack([patterns, patterns * SCATTER % PATTERNS], axis=1)
    shots = np.zeros((PATTERNS, 2, LAYERS + behind, SPACES), np.uint8)
    shots[:, :, :LAYERS] = (both[:, :, None] >> np.arange(LAYERS * SPACES) & 1).reshape(
        PATTERNS, 2, LAYERS, SPACES)
    if not SOAK:
        shots = shots[SAMPLED]
    for block in np.array_split(shots, 16):
        assert_equal(*decode_both(decoder, block, correlation=correlation))


# Other builds --------------------------------------------------------------------------------

def with_heralds(rounds, p=0.003, loss=0.02):
    """Distance 3 whose data qubits may be lost, and are seen to be, before every round."""
    result, renumbered, made = stim.Circuit(), [], 0
    for item in circuit(3, p, rounds).flattened():
        if item.name == "DEPOLARIZE1" and len(item.targets_copy()) == 9:
            result.append("HERALDED_ERASE", item.targets_copy(), loss)
            made += 9
        if item.name in ("DETECTOR", "OBSERVABLE_INCLUDE"):
            item = stim.CircuitInstruction(
                item.name, [stim.target_rec(renumbered[target.value] - made)
                            for target in item.targets_copy()], item.gate_args_copy())
        for _ in range(item.num_measurements):
            renumbered.append(made)
            made += 1
        result.append(item)
    return result


@pytest.mark.parametrize("correlation", [True, False])
def test_erasures_equal_the_golden_model(rng, correlation):
    image = compile_circuit(with_heralds(14), **BUILDS[3])
    assert image.shape.sites == 9
    decoder = FastDecoder(image, correlation=correlation)
    model = with_heralds(21)
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


@pytest.mark.parametrize("options", [{}, {"delta_bits": 3}], ids=["two bits", "three bits"])
def test_build_without_correlation_equals_the_golden_model(rng, options):
    image = image_of(3, correlation=False, **options)
    assert not image.shape.correlation
    # The switch has nothing to switch on.
    decoder = FastDecoder(image, correlation=True)
    for p in (0.003, 0.02):
        for shots in blocks(rng, image, circuit(3, p, 15), 5_000):
            assert_equal(*decode_both(decoder, shots))


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
