"""The row queue: where all channels' edges of one clock wait to be serialised."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.herald.edge import LOSS_BITS
from quantacore.gateware.layouts.tags import FINE_BITS, MAX_CHANNELS, SAMPLES_PER_CLOCK
from quantacore.gateware.stream import Queue

__all__ = ["check_geometry", "choose", "lowest", "row_layout", "several", "without_lowest",
           "RowQueue"]


def check_geometry(channels, samples):
    """Raise :exc:`TypeError` or :exc:`ValueError` unless both numbers can be built."""
    if not isinstance(channels, int):
        raise TypeError(f"Channels must be an integer, not {channels!r}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"Channels must be 1 to {MAX_CHANNELS}, not {channels}")
    if samples not in SAMPLES_PER_CLOCK:
        raise ValueError(f"Samples per clock must be one of {SAMPLES_PER_CLOCK}, not {samples!r}")


def row_layout(channels, samples, fine):
    """All edges of one clock.

    ``edges[c][i]`` is set if channel *c* has a selected edge in sample *i*, to level
    ``levels[c][i]``, at ``fine[c][i]`` inside the sample (where ``fine`` is true). ``occupied[i]``
    is set if any channel has, ``several[i]`` if more than one has. ``first`` is the first occupied
    sample, and ``single`` says that no other is. ``lost`` edges, if ``has_lost``, are missing
    before this row, and ``start`` marks the first row since the tagger was switched on.
    """
    members = {
        "tick": 64,
        "edges": data.ArrayLayout(samples, channels),
        "levels": data.ArrayLayout(samples, channels),
        "occupied": samples,
        "several": samples,
        "first": exact_log2(samples),
        "single": 1,
        "lost": LOSS_BITS,
        "has_lost": 1,
        "start": 1,
    }
    if fine:
        code = data.ArrayLayout(FINE_BITS - exact_log2(samples), samples)
        members["fine"] = data.ArrayLayout(code, channels)
    return data.StructLayout(members)


def without_lowest(bits):
    """The set bits but the lowest."""
    return Cat(bits[i] & bits[:i].any() for i in range(len(bits)))


def several(bits):
    """Whether more than one bit is set."""
    return without_lowest(bits).any()


def lowest(bits):
    """Number of the lowest set bit; the highest number if there is none."""
    number = C(len(bits) - 1, range(len(bits)))
    for i in reversed(range(len(bits) - 1)):
        number = Mux(bits[i], i, number)
    return number


def choose(number, values):
    """``values[number]``, as a tree of multiplexers."""
    values = [Value.cast(value) for value in values]
    for bit in Value.cast(number):
        values = [Mux(bit, *reversed(values[i:i + 2])) if i + 1 < len(values) else values[i]
                  for i in range(0, len(values), 2)]
    return values[0]


class RowQueue(wiring.Component):
    """Queue of rows that never stalls its input: what does not fit is counted, in band.

    When the queue is full, rows are dropped whole until a quarter of it is free again. The number
    of edges dropped goes out with the next row that is kept; if none comes, a row without edges
    carries it.

    Latency: 2 clocks from an empty queue; one row per clock.

    Parameters
    ----------
    channels, samples, fine
        See :class:`~quantacore.gateware.herald.tagger.Tagger`.
    depth : int
        Rows.

    Members
    -------
    i : stream of rows, always ready
    count : In(range(channels * samples + 1))
        Edges in the row at ``i``.
    started : In(1)
        The row at ``i``, or the next one, is the first since the tagger was switched on.
    o : stream of rows
    clear : In(1)
        Zero ``lost``.
    lost : Out(48)
        Edges dropped since ``clear``; what ``o`` still has to report is not forgotten by it.
    overflow : Out(1)
        High for one clock when the queue became full.
    """

    def __init__(self, *, channels, samples, fine, depth):
        check_geometry(channels, samples)
        if not isinstance(depth, int):
            raise TypeError(f"Row queue depth must be an integer, not {depth!r}")
        if depth < 4:
            raise ValueError(f"Row queue depth must be at least 4, not {depth}")
        self.channels = channels
        self.samples = samples
        self.fine = fine
        self.depth = depth
        layout = row_layout(channels, samples, fine)
        super().__init__({
            "i": In(stream.Signature(layout, always_ready=True)),
            "count": In(range(channels * samples + 1)),
            "started": In(1),
            "o": Out(stream.Signature(layout)),
            "clear": In(1),
            "lost": Out(48),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        layout = row_layout(self.channels, self.samples, self.fine)
        m.submodules.queue = queue = Queue(layout, depth=self.depth)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        # `dropping` is decided a clock before it acts, so it keeps one place in reserve.
        dropping, pending, has_pending = Signal(), Signal(LOSS_BITS), Signal()
        start_waits = Signal()
        with m.If(dropping):
            m.d.sync += dropping.eq(queue.level > self.depth * 3 // 4)
        with m.Else():
            m.d.sync += dropping.eq(queue.level >= self.depth - 2)
        m.d.sync += self.overflow.eq(0)

        m.d.comb += [
            queue.i.payload.eq(self.i.payload),
            queue.i.payload.lost.eq(pending),
            queue.i.payload.has_lost.eq(has_pending),
            queue.i.payload.start.eq(self.started | start_waits),
            queue.i.valid.eq(~dropping & (self.i.valid | has_pending)),
        ]
        with m.If(~self.i.valid):
            m.d.comb += [queue.i.payload.occupied.eq(0), queue.i.payload.single.eq(1)]
        with m.If(queue.i.valid):
            m.d.sync += [pending.eq(0), has_pending.eq(0), start_waits.eq(0)]
        with m.Else():
            with m.If(self.started):
                m.d.sync += start_waits.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [
                    pending.eq(pending + self.count), has_pending.eq(1),
                    self.lost.eq(self.lost + self.count),
                    self.overflow.eq(~has_pending),
                ]
        with m.If(self.clear):
            m.d.sync += self.lost.eq(0)
        return m
