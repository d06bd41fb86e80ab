"""Codes and builds that the decoder's benchmarks share."""

import stim

from quantacore.boards.ecp5 import ShiftWrapper, place_and_route
from quantacore.gateware.decoder.decoder import Decoder
from quantacore.host.qec import compile_circuit

__all__ = ["CLOCK_HZ", "build_shape", "memory_circuit", "decoder_of", "placed"]

#: List of defects and largest exact cluster by distance; see docs/decoder.md for the choice.
_BUILDS = {3: {"capacity": 16, "cluster": 10, "event_bits": 8},
           5: {"capacity": 32, "cluster": 12, "event_bits": 9},
           7: {"capacity": 64, "cluster": 12, "event_bits": 10},
           9: {"capacity": 64, "cluster": 12, "event_bits": 10},
           13: {"capacity": 64, "cluster": 12, "event_bits": 11}}
#: Clock that place and route aims at: what the largest build about reaches. The router tries a
#: near miss again, and gives a far one up.
CLOCK_HZ = 90_000_000


def build_shape(distance):
    """Options of the compiler for the build of ``distance``."""
    return dict(_BUILDS[distance])


def memory_circuit(distance, rounds, p, basis="z"):
    """Stim's rotated surface code with the same probability everywhere."""
    return stim.Circuit.generated(
        f"surface_code:rotated_memory_{basis}", distance=distance, rounds=rounds,
        after_clifford_depolarization=p, before_round_data_depolarization=p,
        before_measure_flip_probability=p, after_reset_flip_probability=p)


def decoder_of(distance, **options):
    """The decoder that is built for ``distance``, and the image that it is sized by."""
    image = compile_circuit(lambda r: memory_circuit(distance, r, 0.003),
                            **{**build_shape(distance), **options})
    return Decoder(image.shape, rounds_waiting=512), image


def placed(distance, *, folder, progress=lambda text: None):
    """Place and route that decoder on an ECP5-85F, speed grade 6."""
    component, _ = decoder_of(distance)
    return place_and_route(ShiftWrapper(component), f"decoder_d{distance}", folder=folder,
                           target_hz=CLOCK_HZ, seeds=(1,), progress=progress)
