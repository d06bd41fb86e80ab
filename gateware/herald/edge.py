"""The words that run through the tagger: one edge with its full time, and what surrounds it."""

from amaranth.lib import data

from quantacore.gateware.layouts.tags import FINE_BITS

__all__ = ["LOSS_BITS", "Edge", "Item"]

#: Bits of the number of edges that one gap behind the front end may have.
LOSS_BITS = 32


class Edge(data.Struct):
    """One edge of one channel."""

    #: Fraction of a tick, fine units.
    fine: FINE_BITS
    tick: 64
    #: 1 for a falling edge.
    falling: 1
    channel: 6


class Item(data.Struct):
    """One thing in the ordered stream inside the tagger: an edge or a gap."""

    edge: Edge
    #: 1: no edge, but a number of edges that are missing here: the low 32 bits of ``edge.tick``.
    lost: 1
    #: 1: the first item since the tagger was switched on.
    start: 1
