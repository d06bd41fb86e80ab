"""Would the tests notice? Bugs planted in the decoder's gateware make it differ from the golden
model on a few hundred shots."""

import os

import numpy as np
import pytest

from quantacore.host.qec import compile_circuit, shot_layers
from quantacore.sim.bench import compiled
from quantacore.sim.bench.decoder import FastDecoder
from quantacore.sim.bench.decoder_equality import decode_both, differences
from quantacore.sim.bench.decoder_random import random_image
from quantacore.sim.bench.mutants import plant
from quantacore.sim.qec.circuits import memory_circuit

_PACKAGE = "quantacore.gateware.decoder"
#: Bug: module, what stands there once, and what is to stand there.
MUTANTS = {
    "a pair wins a tie against the boundary": (
        "matcher", "(self.pair_weight < bound_0[:WEIGHT_BITS] + self.bound_weight)",
        "(self.pair_weight <= bound_0[:WEIGHT_BITS] + self.bound_weight)"),
    "the last of equal matchings wins": (
        "matcher", "(sum_now < best.sum)", "(sum_now <= best.sum)"),
    "tracing back reads the subset before": (
        "matcher", "address.eq(trace_rest),", "address.eq(trace),"),
    "an event comes back a step late": (
        "growth", "wait.eq((gap_a + 1) >> 1)", "wait.eq(((gap_a + 1) >> 1) + 1)"),
    "a merged cluster's radius jumps": (
        "growth", "keep_a.growth - Mux(new_active, step_a, 0)", "keep_a.growth"),
    "flips add up instead of cancelling": (
        "committer", "self.obs ^ d_obs", "self.obs | d_obs"),
    "what is kept moves a layer short": (
        "committer", "d_node.layer - self.commit", "d_node.layer - self.commit + 1"),
    "only defects of one layer are matched": (
        "loader", "oldest = firsts[-len(slots):]", "oldest = firsts[:len(slots)]"),
    "shorter ways to the boundary are not stored": (
        "applier", "self.bound_write.valid.eq(stored.valid & result.boundary)",
        "self.bound_write.valid.eq(0)"),
    "one defect too few is near": (
        "applier", "valid & (before != NEAR_CAPACITY)", "valid & (before != NEAR_CAPACITY - 1)"),
    "a walk goes back where it came from": (
        "walker", "Mux(first.at_b, edge.a, edge.b)", "Mux(first.at_b, edge.b, edge.a)"),
    "the whole buffer causes shortcuts": (
        "engine", "self.commit + WALK_AHEAD", "loader.layers"),
}
#: Those that are tried in every run; each takes a build of its own.
ALWAYS = ("a pair wins a tie against the boundary", "what is kept moves a layer short")
_SEED = 20_241


def plant_in_decoder(monkeypatch, name, old, new):
    plant(monkeypatch, _PACKAGE, name, old, new)
    # Compiled decoders are found by the gateware's files, and those are as they were.
    files = compiled.gateware_digest()
    monkeypatch.setattr(compiled, "gateware_digest", lambda: f"{files} {name} {old} {new}")


def circuit(p, rounds):
    return memory_circuit(3, rounds, p)


def cases():
    """Image, settings and shots: of a circuit, dense ones, and on tables that make many ties."""
    image = compile_circuit(lambda rounds: circuit(0.003, rounds), capacity=16, cluster=10,
                            event_bits=8)
    rng = np.random.default_rng(_SEED)
    spaces = len(image.about["spaces"][0])

    def random_shots(count, layers, density):
        return (rng.random((count, 2, layers, spaces)) < density).astype(np.uint8)

    sets = [shot_layers(image, circuit(p, 20), circuit(p, 20).compile_detector_sampler(
        seed=_SEED).sample(100)) for p in (0.004, 0.012)]
    sets += [random_shots(80, 12, density) for density in (0.1, 0.2)]
    for settings in ({}, {"commit": 1, "buffer": 6, "reach": 254}):
        for shots in sets:
            yield image, settings, shots
    for _ in range(10):
        yield (random_image(rng, shape=image.shape), {"commit": 2, "buffer": 2, "reach": 254},
               random_shots(60, 6, 0.6))


def found(optimisation):
    """The first difference, or ``None``."""
    for image, settings, shots in cases():
        decoder = FastDecoder(image, optimisation=optimisation, **settings)
        limit = 50_000 + 3_000 * shots.shape[0] * shots.shape[2]
        try:
            differing = differences(*decode_both(decoder, shots, limit=limit))
        except RuntimeError as error:
            # It came to a halt; there is no use in going on.
            return str(error)
        if differing:
            return differing[0]
    return None


def test_gateware_as_it_is_does_not_differ():
    # By the library that other tests have built.
    assert found(optimisation=1) is None


@pytest.mark.parametrize("bug", MUTANTS)
def test_planted_bug_is_found(bug, monkeypatch):
    if bug not in ALWAYS and not os.environ.get("QUANTACORE_SOAK"):
        pytest.skip("takes a build of its own: make soak")
    plant_in_decoder(monkeypatch, *MUTANTS[bug])
    differing = found(optimisation=0)
    print(f"{bug}: {differing}")
    assert differing
