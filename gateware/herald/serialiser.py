"""From rows of edges to one edge per clock, in the order of time."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.herald.edge import LOSS_BITS, Item
from quantacore.gateware.herald.rows import (
    check_geometry,
    choose,
    lowest,
    row_layout,
    several,
    without_lowest,
)
from quantacore.gateware.layouts.tags import FINE_BITS

__all__ = ["Serialiser"]


class Serialiser(wiring.Component):
    """Takes rows apart: sample by sample, and inside a sample by channel.

    Stage A cuts a row into its samples that hold edges, one per clock; stage B sends out the
    edges of such a slice, one per clock. Neither waits for the other's reload, so edges leave
    without a gap as long as rows wait. A row's count of lost edges leaves ahead of its edges and
    takes one clock.

    Latency: 4 clocks.

    Parameters
    ----------
    channels, samples, fine
        See :class:`~quantacore.gateware.herald.tagger.Tagger`.

    Members
    -------
    i : stream of rows
    enable : In(1)
        While low, nothing leaves from the second clock on.
    o : stream of Item, always ready
        An edge's ``fine`` is its place in the tick: sample times samples' length plus fine code.
    """

    def __init__(self, *, channels, samples, fine):
        check_geometry(channels, samples)
        self.channels = channels
        self.samples = samples
        self.fine = fine
        super().__init__({
            "i": In(stream.Signature(row_layout(channels, samples, fine))),
            "enable": In(1),
            "o": Out(stream.Signature(Item, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        layout = row_layout(self.channels, self.samples, self.fine)
        code_bits = FINE_BITS - exact_log2(self.samples)
        members = {"edges": self.channels, "levels": self.channels, "tick": 64,
                   "sample": range(self.samples), "lost": LOSS_BITS, "has_lost": 1, "start": 1}
        if self.fine:
            members["fine"] = data.ArrayLayout(code_bits, self.channels)
        part_layout = data.StructLayout(members)

        # Stage A. A row comes late in the clock, from block RAM, and goes straight to `row`. What
        # is to be known at once about a fresh one comes with it: `first` and `single`. Later
        # slices are looked up beforehand, in `left`.
        row, row_valid, fresh = Signal(layout, reset_less=True), Signal(), Signal()
        left_later, sample_later, last_later = (
            Signal(self.samples), Signal(range(self.samples)), Signal())
        left, sample, last = Signal(self.samples), Signal(range(self.samples)), Signal()
        part, part_valid = Signal(part_layout, reset_less=True), Signal()
        # Whether the slice ends with what stage B emits now is known beforehand.
        go, final, part_ready = Signal(), Signal(), Signal()
        m.d.comb += [
            go.eq(part_valid & self.enable),
            part_ready.eq(~part_valid | (self.enable & final)),
            self.i.ready.eq(~row_valid | (part_ready & last)),
            left.eq(without_lowest(Mux(fresh, row.occupied, left_later))),
            sample.eq(Mux(fresh, row.first, sample_later)),
            last.eq(Mux(fresh, row.single, last_later)),
        ]
        with m.If(part_ready):
            m.d.sync += [fresh.eq(0), left_later.eq(left), sample_later.eq(lowest(left)),
                         last_later.eq(~several(left))]
        with m.If(self.i.ready):
            m.d.sync += [row.eq(self.i.payload), row_valid.eq(self.i.valid), fresh.eq(1)]

        # Stage B. What comes before the row comes before its first slice only.
        has_lost = fresh & row.has_lost
        slices = []
        for j in range(self.samples):
            bits = Cat(row.edges[i][j] for i in range(self.channels))
            levels = Cat(row.levels[i][j] for i in range(self.channels))
            fine = Cat(row.fine[i][j] for i in range(self.channels)) if self.fine else C(0, 0)
            slices.append(Cat(bits, levels, fine))
        targets = [part.edges, part.levels]
        if self.fine:
            targets.append(Value.cast(part.fine))
        with m.If(go & ~final):
            m.d.sync += [part.has_lost.eq(0), part.start.eq(0)]
            with m.If(part.has_lost):
                m.d.sync += final.eq(~several(part.edges))
            with m.Else():
                m.d.sync += [part.edges.eq(without_lowest(part.edges)),
                             final.eq(~several(without_lowest(part.edges)))]
        with m.If(part_ready):
            m.d.sync += [
                Cat(targets).eq(choose(sample, slices)),
                part.sample.eq(sample), part.tick.eq(row.tick), part.lost.eq(row.lost),
                part.has_lost.eq(has_lost), part.start.eq(fresh & row.start),
                part_valid.eq(row_valid),
                final.eq(Mux(has_lost, ~row.occupied.any(), ~choose(sample, row.several))),
            ]

        # Stage C. Which channel leaves is found in one clock, what there is to say about it is
        # fetched in the next.
        leaving, leaving_valid = Signal(part_layout, reset_less=True), Signal()
        channel = Signal(range(self.channels))
        m.d.sync += [
            leaving.eq(part), leaving_valid.eq(go), channel.eq(lowest(part.edges)),
            self.o.valid.eq(leaving_valid),
            self.o.payload.edge.tick.eq(Mux(leaving.has_lost, leaving.lost, leaving.tick)),
            self.o.payload.lost.eq(leaving.has_lost),
            self.o.payload.start.eq(leaving.start),
            self.o.payload.edge.channel.eq(channel),
            self.o.payload.edge.falling.eq(~choose(channel, leaving.levels)),
            self.o.payload.edge.fine.eq(Cat(
                choose(channel, leaving.fine) if self.fine else C(0, code_bits),
                leaving.sample)),
        ]
        return m
