"""From sample words to rows of edges, and the counters that see every edge."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.rows import check_geometry, lowest, row_layout, several
from quantacore.gateware.layouts.tagger import Edges
from quantacore.gateware.layouts.tags import sample_word
from quantacore.gateware.logic import sum_of

__all__ = ["FrontEnd"]


class FrontEnd(wiring.Component):
    """Finds the selected edges of all channels, clock by clock, and counts them.

    An edge in sample *i* is a level that differs from the sample before. The level is followed
    while the tagger is off, so switching on makes no edge.

    Latency: 4 clocks from a sample word to its row; one row per clock.

    Parameters
    ----------
    channels, samples, fine
        See :class:`~quantacore.gateware.herald.tagger.Tagger`.

    Members
    -------
    tick : In(64)
        Tick counter.
    detectors : In(sample_word).array(channels)
        The words of this tick.
    run : In(1)
        Take edges from the words of this tick.
    edges : In(Edges).array(channels)
        Which edges count; valid from the second clock after a change.
    rate_gate : In(32)
        Ticks over which ``rate`` counts; 0 counts as 1.
    clear : In(1)
        Zero the counters.
    o : stream of rows, always ready
        One for each clock in which there are selected edges.
    count : Out(range(channels * samples + 1))
        Edges in the row at ``o``.
    started : Out(1)
        High for one clock with the first word, or row, since ``run`` rose.
    seen : Out(48).array(channels)
    rate : Out(32).array(channels)
    """

    def __init__(self, *, channels, samples, fine):
        check_geometry(channels, samples)
        self.channels = channels
        self.samples = samples
        self.fine = fine
        super().__init__({
            "tick": In(64),
            "detectors": In(sample_word(samples, fine=fine)).array(channels),
            "run": In(1),
            "edges": In(Edges).array(channels),
            "rate_gate": In(32),
            "clear": In(1),
            "o": Out(stream.Signature(row_layout(channels, samples, fine), always_ready=True)),
            "count": Out(range(channels * samples + 1)),
            "started": Out(1),
            "seen": Out(48).array(channels),
            "rate": Out(32).array(channels),
        })

    def elaborate(self, platform):
        m = Module()
        layout = row_layout(self.channels, self.samples, self.fine)

        # Clock 1: the words, with the sample before each.
        tick, run, was_run, started_1 = Signal(64), Signal(), Signal(), Signal()
        m.d.sync += [tick.eq(self.tick), run.eq(self.run), was_run.eq(self.run),
                     started_1.eq(self.run & ~was_run)]
        words = [Signal.like(word, name=f"word_{i}") for i, word in enumerate(self.detectors)]
        before = Signal(self.channels)
        for i, word in enumerate(words):
            m.d.sync += [word.eq(self.detectors[i]), before[i].eq(word.level[-1])]

        # Clock 2: which samples hold a selected edge.
        row_2, started_2 = Signal(layout), Signal()
        m.d.sync += [row_2.tick.eq(tick), started_2.eq(started_1)]
        for i, word in enumerate(words):
            select = Value.cast(self.edges[i])
            previous = Cat(before[i], word.level)[:self.samples]
            for j in range(self.samples):
                wanted = Mux(word.level[j], select[0], select[1])
                m.d.sync += row_2.edges[i][j].eq((word.level[j] ^ previous[j]) & wanted & run)
            m.d.sync += row_2.levels[i].eq(word.level)
            if self.fine:
                m.d.sync += row_2.fine[i].eq(word.fine)

        # Clock 3: how many per channel, and in which samples. Clock 4: how many at all.
        row_3, counts_3, started_3 = Signal(layout), [], Signal()
        m.d.sync += [row_3.eq(row_2), started_3.eq(started_2)]
        for j in range(self.samples):
            bits = Cat(row_2.edges[i][j] for i in range(self.channels))
            m.d.sync += [row_3.occupied[j].eq(bits.any()), row_3.several[j].eq(several(bits))]
        for i in range(self.channels):
            count = Signal(range(self.samples + 1), name=f"count_{i}")
            m.d.sync += count.eq(sum_of(row_2.edges[i][j] for j in range(self.samples)))
            counts_3.append(count)
        m.d.sync += [
            self.o.payload.eq(row_3),
            self.o.payload.first.eq(lowest(row_3.occupied)),
            self.o.payload.single.eq(~several(row_3.occupied)),
            self.o.valid.eq(row_3.occupied.any()),
            self.count.eq(sum_of(counts_3)),
            self.started.eq(started_3),
        ]

        # The gate is counted once for all channels; a new length starts a new gate.
        # `end` is found ahead, so that no path holds more than one comparison.
        left, gate, changed, near = Signal(32), Signal(32), Signal(), Signal()
        end, tiny = Signal(), Signal()
        m.d.sync += [gate.eq(self.rate_gate), changed.eq(gate != self.rate_gate),
                     tiny.eq(gate[1:] == 0), near.eq(left == 2), end.eq(near | tiny)]
        with m.If(near | tiny | changed):
            m.d.sync += left.eq(gate)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        for i, count in enumerate(counts_3):
            so_far = Signal(32, name=f"rate_so_far_{i}")
            m.d.sync += [self.seen[i].eq(self.seen[i] + count), so_far.eq(so_far + count)]
            with m.If(end):
                m.d.sync += [self.rate[i].eq(so_far), so_far.eq(count)]
            with m.If(self.clear):
                m.d.sync += [self.seen[i].eq(0), self.rate[i].eq(0), so_far.eq(0)]
        return m
