"""Virtual channels: edges made from the tagger's edges, for the histogram and the tag stream."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.herald.coincidences import CoincidenceFinder
from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.herald.inserter import RecordInserter
from quantacore.gateware.herald.sorter import Sorter
from quantacore.gateware.layouts.virtual import VIRTUAL, VIRTUAL_CHANNELS, VirtualFlags
from quantacore.gateware.stream import Queue, connect_streams
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["EdgeMerge", "Virtual"]


class EdgeMerge(wiring.Component):
    """A stream of edges that can't wait, and one that can, in one: nothing is lost.

    Members
    -------
    i : stream of Edge, always ready
        Goes first.
    others : stream of Edge
        Goes where ``i`` has nothing.
    o : stream of Edge, always ready
        One clock behind.
    """

    i: In(stream.Signature(Edge, always_ready=True))
    others: In(stream.Signature(Edge))
    o: Out(stream.Signature(Edge, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.others.ready.eq(~self.i.valid)
        m.d.sync += [self.o.valid.eq(self.i.valid | self.others.valid),
                     self.o.payload.eq(Mux(self.i.valid, self.i.payload, self.others.payload))]
        return m


class Virtual(wiring.Component):
    """Makes the edges of the virtual channels.

    It stands between a tagger and what comes behind it. The tagger's edges and records pass
    through unchanged; virtual edges come between them. All virtual edges go to ``merged``; those
    of channels with ``record`` also to ``records``, or are counted and reported as lost:
    generated = sent + lost + on their way, and all that ``lost`` counts is in LOST records.

    Exact for edges that come within ``hold`` - 8 ticks of their time while no queue is full; all
    others are counted and raise a flag. ``merged`` gets a virtual edge ``hold`` ticks late: a
    histogram goes by times, and remembers a number of edges of each channel.

    Throughput: an edge of the tagger in 13 to 40 clocks, and bursts of up to ``depth`` edges of
    each detector.

    Parameters
    ----------
    depth : int
        Edges of each detector that may wait, a power of two from 4.
    record_depth : int
        Virtual edges that may wait for the record stream, at least 2.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.virtual.VIRTUAL`.
    tick : In(64)
        Tick counter.
    edges : stream of Edge, always ready
        The tagger's.
    merged : stream of Edge, always ready
        These and the virtual edges, 1 clock later.
    i : stream of 64-bit records
        The tagger's.
    records : stream of 64-bit records
        These and those of virtual edges.
    """

    def __init__(self, *, depth=64, record_depth=64):
        self.depth = depth
        self.record_depth = record_depth
        self._sorter = Sorter(depth=depth)
        self._queue = Queue(Edge, depth=record_depth)
        self.bank = RegisterBank(VIRTUAL)
        super().__init__({
            "csr": In(CsrSignature(self.bank.bus.signature.flip().address_width)),
            "tick": In(64),
            "edges": In(stream.Signature(Edge, always_ready=True)),
            "merged": Out(stream.Signature(Edge, always_ready=True)),
            "i": In(stream.Signature(64)),
            "records": Out(stream.Signature(64)),
        })

    def elaborate(self, platform):
        m = Module()
        clear = Signal()
        m.submodules.bank = bank = self.bank
        sorter, finder, queue = self._sorter, CoincidenceFinder(), self._queue
        m.submodules.sorter = ResetInserter(clear)(sorter)
        m.submodules.finder = ResetInserter(clear)(finder)
        m.submodules.queue = queue
        m.submodules.merge = merge = EdgeMerge()
        m.submodules.inserter = inserter = RecordInserter()
        m.submodules.flags = flags = StickyFlags(len(VirtualFlags.as_shape().members))
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        connect_streams(m, wiring.flipped(self.i), inserter.i)
        connect_streams(m, inserter.o, wiring.flipped(self.records))
        connect_streams(m, sorter.o, finder.i)
        connect_streams(m, merge.o, wiring.flipped(self.merged))
        connect_streams(m, queue.o, inserter.edges)

        # Writing 1 to `clear` acts a clock later, on everything at once.
        m.d.sync += clear.eq(bank.clear_written & bank.clear[0])
        m.d.comb += [
            sorter.edges.valid.eq(self.edges.valid), sorter.edges.payload.eq(self.edges.payload),
            merge.i.valid.eq(self.edges.valid), merge.i.payload.eq(self.edges.payload),
            sorter.tick.eq(self.tick), sorter.hold.eq(bank.hold),
        ]
        for v in range(VIRTUAL_CHANNELS):
            m.d.comb += [
                finder.channels[v].eq(bank.channels[v]), finder.window[v].eq(bank.window[v]),
                finder.guard_before[v].eq(bank.guard_before[v]),
                finder.guard_after[v].eq(bank.guard_after[v]),
            ]

        # The histogram waits for nobody; the record stream may stand still.
        made, channel = Signal(), finder.o.payload.channel[:2]
        record = Array(settings.record for settings in bank.channels)[channel]
        lost, sent = Signal(), Signal()
        m.d.comb += [
            merge.others.valid.eq(finder.o.valid), finder.o.ready.eq(merge.others.ready),
            merge.others.payload.eq(finder.o.payload),
            made.eq(finder.o.valid & finder.o.ready),
            queue.i.valid.eq(made & record), queue.i.payload.eq(finder.o.payload),
            sent.eq(queue.o.valid & queue.o.ready),
        ]
        m.d.sync += lost.eq(made & record & ~queue.i.ready)
        m.d.comb += inserter.lost.eq(lost)

        counts = [(bank.sent, sent), (bank.lost, lost), (bank.edges_lost, sorter.lost),
                  (bank.edges_late, sorter.late)]
        counts += [(bank.generated[v], made & (channel == v)) for v in range(VIRTUAL_CHANNELS)]
        for count, event in counts:
            total, was = Signal(48), Signal()
            m.d.sync += was.eq(event)
            m.d.comb += count.eq(total)
            with m.If(clear):
                m.d.sync += [total.eq(0), was.eq(0)]
            with m.Elif(was):
                m.d.sync += total.eq(total + 1)
        events = {"edge_lost": sorter.lost, "edge_late": sorter.late, "tag_lost": lost}
        m.d.comb += [
            flags.now.eq(self.tick),
            flags.events.eq(Cat(events[name] for name, _ in VirtualFlags.as_shape())),
            bank.flags.eq(flags.flags),
        ]
        # Registered, because the bank gives it straight from its address decoder.
        m.d.sync += flags.clear.eq(bank.flags_clear)
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
