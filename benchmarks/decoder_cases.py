"""Codes and builds that the decoder's benchmarks share."""

from quantacore.boards.ecp5 import ShiftWrapper, place_and_route
from quantacore.gateware.decoder.decoder import Decoder
from quantacore.host.qec import compile_circuit
from quantacore.sim.qec.circuits import memory_circuit

__all__ = ["CLOCK_HZ", "build_shape", "decoder_of", "placed"]

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
