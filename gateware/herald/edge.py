"""The word that runs through the tagger: one edge with its full time."""

from amaranth.lib import data

from quantacore.gateware.layouts.tags import FINE_BITS

__all__ = ["Edge"]


class Edge(data.Struct):
    """One edge of one channel."""

    #: Fraction of a tick, fine units.
    fine: FINE_BITS
    tick: 64
    #: 1 for a falling edge.
    falling: 1
    channel: 6
