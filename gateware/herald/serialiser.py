"""From rows of edges to one edge per clock, in the order of time."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.herald.edge import LOSS_BITS, Item
from quantacore.gateware.herald.rows import check_geometry, row_layout
from quantacore.gateware.herald.skid import Skid
from quantacore.gateware.layouts.tags import FINE_BITS

__all__ = ["Serialiser"]


def _lowest(m, domain, target, bits, values):
    """Assign to ``target`` the value that belongs to the lowest set bit."""
    with m.If(bits[0]):
        domain += target.eq(values[0])
    for bit, value in list(zip(bits, values, strict=True))[1:]:
        with m.Elif(bit):
            domain += target.eq(value)


def _without_lowest(bits):
    """The set bits but the lowest."""
    return Cat(bits[i] & bits[:i].any() for i in range(len(bits)))


def _several(bits):
    """Whether more than one bit is set."""
    return _without_lowest(bits).any()


class Serialiser(wiring.Component):
    """Takes rows apart: sample by sample, and inside a sample by channel.

    Stage A cuts a row into its samples that hold edges, one per clock; stage B emits the edges of
    such a slice, one per clock. Neither waits for the other's reload, so edges leave without a
    gap as long as rows wait. A row's count of lost edges leaves ahead of its edges and takes one
    clock.

    Latency: 5 clocks.

    Parameters
    ----------
    channels, samples, fine
        See :class:`~quantacore.gateware.herald.tagger.Tagger`.

    Members
    -------
    i : stream of rows
    enable : In(1)
        While low, nothing leaves from the next clock on.
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
        m.submodules.rows = rows = Skid(layout)
        m.submodules.parts = parts = Skid(part_layout)
        wiring.connect(m, wiring.flipped(self.i), rows.i)

        # Stage A. `left` are the samples of the row that have not become a slice.
        row, left, row_valid = Signal(layout), Signal(self.samples), Signal()
        last = Signal()
        m.d.comb += [
            rows.o.ready.eq(~row_valid | (parts.i.ready & last)),
            parts.i.valid.eq(row_valid),
            parts.i.payload.tick.eq(row.tick),
            parts.i.payload.lost.eq(row.lost),
            parts.i.payload.has_lost.eq(row.has_lost),
            parts.i.payload.start.eq(row.start),
        ]
        slices = []
        for j in range(self.samples):
            bits = Cat(row.edges[i][j] for i in range(self.channels))
            levels = Cat(row.levels[i][j] for i in range(self.channels))
            fine = Cat(row.fine[i][j] for i in range(self.channels)) if self.fine else C(0, 0)
            slices.append(Cat(bits, levels, C(j, exact_log2(self.samples)), fine))
        targets = [parts.i.payload.edges, parts.i.payload.levels, parts.i.payload.sample]
        if self.fine:
            targets.append(Value.cast(parts.i.payload.fine))
        _lowest(m, m.d.comb, Cat(targets), left, slices)
        with m.If(parts.i.ready):
            # What comes before the row comes before its first slice only.
            m.d.sync += [row.has_lost.eq(0), row.start.eq(0), left.eq(_without_lowest(left)),
                         last.eq(~_several(_without_lowest(left)))]
        with m.If(rows.o.ready):
            m.d.sync += [row.eq(rows.o.payload), left.eq(rows.o.payload.occupied),
                         last.eq(~_several(rows.o.payload.occupied)),
                         row_valid.eq(rows.o.valid)]

        # Stage B.
        part, part_valid, part_done = Signal(part_layout), Signal(), Signal()
        m.d.comb += parts.o.ready.eq(~part_valid | part_done)
        # Whether the slice ends with what it emits now is known beforehand.
        go, final = Signal(), Signal()
        m.d.comb += [go.eq(part_valid & self.enable), part_done.eq(self.enable & final)]
        m.d.sync += [
            self.o.valid.eq(go),
            self.o.payload.edge.tick.eq(Mux(part.has_lost, part.lost, part.tick)),
            self.o.payload.lost.eq(part.has_lost),
            self.o.payload.start.eq(part.start),
        ]
        fines = [part.fine[i] if self.fine else C(0, code_bits) for i in range(self.channels)]
        _lowest(m, m.d.sync,
                Cat(self.o.payload.edge.fine, self.o.payload.edge.falling,
                    self.o.payload.edge.channel),
                part.edges,
                [Cat(fines[i], part.sample if self.samples > 1 else C(0, 0), ~part.levels[i],
                     C(i, 6)) for i in range(self.channels)])
        with m.If(go & ~final):
            m.d.sync += [part.has_lost.eq(0), part.start.eq(0)]
            with m.If(part.has_lost):
                m.d.sync += final.eq(~_several(part.edges))
            with m.Else():
                m.d.sync += [part.edges.eq(_without_lowest(part.edges)),
                             final.eq(~_several(_without_lowest(part.edges)))]
        with m.If(parts.o.ready):
            following = parts.o.payload
            m.d.sync += [part.eq(following), part_valid.eq(parts.o.valid),
                         final.eq(Mux(following.has_lost, ~following.edges.any(),
                                      ~_several(following.edges)))]
        return m
