"""The command bus: every instruction as it is issued, with the registers it names."""

from amaranth.lib import data

__all__ = ["Command"]


class Command(data.Struct):
    """An issued instruction, ``COMMAND_LATENCY`` ticks after its tick."""

    #: The instruction, in one of the formats of :mod:`~quantacore.gateware.layouts.instructions`.
    word: 64
    #: Data register ``ra`` of the word.
    a: 32
    #: Data register ``rb`` of the word.
    b: 32
