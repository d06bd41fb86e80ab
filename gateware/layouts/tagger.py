"""Registers of the time tagger and of the in-gateware histogram."""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from quantacore.gateware.layouts.registers import Access, Block, Memory, Register, sticky_registers
from quantacore.gateware.layouts.tags import MAX_CHANNELS

__all__ = ["Edges", "TaggerControl", "TaggerFlags", "TAGGER", "HISTOGRAM_BINS", "HistogramMode",
           "HistogramControl", "HistogramFlags", "HISTOGRAM"]

#: Bins of the histogram.
HISTOGRAM_BINS = 4096


class Edges(enum.Enum, shape=2):
    """Which edges of a channel are tagged."""

    NONE = 0
    RISING = 1
    FALLING = 2
    BOTH = 3


class TaggerControl(data.Struct):
    """Switches of the tagger."""

    #: Tag edges. While 0 every edge is ignored and nothing is counted.
    run: 1


class TaggerFlags(data.Struct):
    """Losses."""

    #: The record buffer was full.
    buffer_overflow: 1
    #: The row queue behind the front end was full.
    burst_overflow: 1


def _per_channel(name, doc, **kwargs):
    return Register(name=name, count=MAX_CHANNELS, doc=doc, **kwargs)


TAGGER = Block(
    name="tagger",
    doc="The time tagger. For every channel: edges seen = edges recorded + edges lost + edges in "
        "their dead time (+ those still on their way).",
    registers=(
        Register(name="control", shape=TaggerControl, doc="Switches."),
        Register(name="clear", shape=1, access=Access.WRITE_ONLY,
                 doc="Write 1 to clear all counts of this block."),
        _per_channel("edges", "Which edges are tagged.", shape=Edges),
        _per_channel("dead_time", "Edges closer than this to the last kept edge of the channel "
                     "are dropped and counted.", unit="fine units", shape=32),
        _per_channel("delay", "Added to every time of the channel (deskew).",
                     unit="fine units", shape=signed(24)),
        _per_channel("seen", "Selected edges at the input.", access=Access.READ_ONLY, shape=48,
                     unit="edges"),
        _per_channel("rate", "Selected edges in the last whole rate gate.",
                     access=Access.READ_ONLY, unit="edges"),
        Register(name="rate_gate", init=12_500_000, unit="ticks",
                 doc="Length of the gate of the rate counters."),
        _per_channel("in_dead_time", "Edges dropped for their dead time.",
                     access=Access.READ_ONLY, shape=48, unit="edges"),
        Register(name="recorded", shape=48, access=Access.READ_ONLY, unit="edges",
                 doc="TAG records written to the buffer."),
        Register(name="lost_burst", shape=48, access=Access.READ_ONLY, unit="edges",
                 doc="Edges lost in the row queue."),
        Register(name="lost_buffer", shape=48, access=Access.READ_ONLY, unit="edges",
                 doc="Edges lost because the record buffer was full."),
        Register(name="buffer_level", shape=16, access=Access.READ_ONLY, unit="records",
                 doc="Records in the buffer, sent and not acknowledged ones included."),
        *sticky_registers(TaggerFlags),
    ),
)


class HistogramMode(enum.Enum, shape=1):
    """What the histogram counts."""

    #: From each start to the first stop after it; bin 0 is a difference of zero.
    START_STOP = 0
    #: Every pair of a start and a stop whose difference, of either sign, falls in the range;
    #: a difference of zero is the lower edge of the middle bin.
    ALL_PAIRS = 1


class HistogramControl(data.Struct):
    """Switches and settings of the histogram."""

    run: 1
    mode: HistogramMode
    start_channel: 6
    stop_channel: 6
    #: A bin is 2**bin_shift fine units wide.
    bin_shift: 5


class HistogramFlags(data.Struct):
    """Things that make a histogram incomplete."""

    #: An edge came while the queue of edges to correlate was full.
    edge_lost: 1
    #: An edge was forgotten while it could still have made a pair.
    pair_lost: 1
    #: A bin reached the largest number and stays there.
    bin_full: 1


HISTOGRAM = Block(
    name="histogram",
    doc="Start-stop or all-pairs histogram of two channels, in block RAM.",
    registers=(
        Register(name="control", shape=HistogramControl,
                 doc="Switches and settings; change settings only while run is 0."),
        Register(name="clear", shape=1, access=Access.WRITE_ONLY,
                 doc="Write 1 to clear all bins and counts; takes one tick per bin."),
        Register(name="busy", shape=1, access=Access.READ_ONLY, doc="1 while bins are cleared."),
        Register(name="starts", access=Access.READ_ONLY, unit="edges", doc="Starts seen."),
        Register(name="stops", access=Access.READ_ONLY, unit="edges", doc="Stops seen."),
        Register(name="pairs", access=Access.READ_ONLY, unit="pairs", doc="Pairs counted."),
        Register(name="edges_lost", access=Access.READ_ONLY, unit="edges",
                 doc="Starts and stops that were not correlated."),
        Register(name="pairs_lost", access=Access.READ_ONLY, unit="edges",
                 doc="Edges forgotten while a partner could still have come."),
        *sticky_registers(HistogramFlags),
        Memory(name="bins", depth=HISTOGRAM_BINS, unit="pairs",
               doc="The counts. Reading while the histogram runs is allowed."),
    ),
)
