"""The time tagger: sample words in, records and edges out."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.herald.edge import Edge, Item
from quantacore.gateware.herald.filter import Filter
from quantacore.gateware.herald.front import FrontEnd
from quantacore.gateware.herald.rows import RowQueue
from quantacore.gateware.herald.serialiser import Serialiser
from quantacore.gateware.herald.writer import Writer
from quantacore.gateware.layouts.tagger import TAGGER, TaggerFlags
from quantacore.gateware.layouts.tags import sample_word
from quantacore.gateware.stream import Queue, connect_streams
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["Tagger"]

_WRITER_QUEUE = 32
#: Level of the writer's queue at which the serialiser stops; the rest of the queue takes what is
#: then on its way.
_WRITER_HIGH = 8


class Tagger(wiring.Component):
    """Tags every selected edge of every channel and accounts for each one that it can't keep.

    For every run, once all is written: TAG records + the counts of LOST records + ``in_dead_time``
    = ``seen``, exactly. Order of records: by sample, in one sample by channel, before delays.

    Throughput: one edge per clock without end, and bursts of up to ``row_depth`` clocks with any
    number of edges. Latency from a sample word to the record of its first edge: 25 clocks (27 if
    an epoch goes first), to ``edges``: 18. When ``run`` falls, what is on its way still comes out.

    Parameters
    ----------
    channels : int
        1 to 8.
    samples : int
        Samples per clock: 1, 2, 4 or 8.
    fine : bool
        Whether sample words carry fine codes.
    row_depth : int
        Clocks with edges that may wait to be serialised.
    buffer_depth : int
        Places in the record buffer behind ``records``.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.tagger.TAGGER`.
    tick : In(64)
        Tick counter.
    detectors : In(sample_word).array(channels)
        The words of this tick.
    edges : stream of Edge, always ready
        What passed dead time and delay, also where ``records`` loses it.
    records : stream of 64-bit records
    buffer_level : In(16)
        Records in the buffer behind ``records``.
    running : Out(1)
        Edges in the words of this tick are tagged.
    """

    def __init__(self, *, channels, samples, fine, row_depth, buffer_depth):
        self.channels = channels
        self.samples = samples
        self.fine = fine
        self.row_depth = row_depth
        self.buffer_depth = buffer_depth
        geometry = {"channels": channels, "samples": samples, "fine": fine}
        self._front = FrontEnd(**geometry)
        self._rows = RowQueue(**geometry, depth=row_depth)
        self._serialiser = Serialiser(**geometry)
        self._filter = Filter(channels=channels)
        self._writer = Writer(buffer_depth=buffer_depth)
        self.bank = RegisterBank(TAGGER)
        address_width = self.bank.bus.signature.flip().address_width
        super().__init__({
            "csr": In(CsrSignature(address_width)),
            "tick": In(64),
            "detectors": In(sample_word(samples, fine=fine)).array(channels),
            "edges": Out(stream.Signature(Edge, always_ready=True)),
            "records": Out(stream.Signature(64)),
            "buffer_level": In(16),
            "running": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.front = front = self._front
        m.submodules.rows = rows = self._rows
        m.submodules.serialiser = serialiser = self._serialiser
        m.submodules.filter = edge_filter = self._filter
        m.submodules.queue = queue = Queue(Item, depth=_WRITER_QUEUE)
        m.submodules.writer = writer = self._writer
        m.submodules.flags = flags = StickyFlags(len(TaggerFlags.as_shape().members))
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)

        connect_streams(m, front.o, rows.i)
        connect_streams(m, rows.o, serialiser.i)
        connect_streams(m, serialiser.o, edge_filter.i)
        connect_streams(m, queue.o, writer.i)
        connect_streams(m, writer.records, wiring.flipped(self.records))

        events = {"buffer_overflow": writer.overflow, "burst_overflow": rows.overflow}
        # Writing 1 to `clear` acts a clock later, on all counters at once.
        clear = Signal()
        m.d.sync += clear.eq(bank.clear_written & bank.clear[0])
        m.d.sync += serialiser.enable.eq(queue.level < _WRITER_HIGH)
        m.d.comb += [
            self.running.eq(bank.control.run),
            front.tick.eq(self.tick),
            front.run.eq(bank.control.run),
            front.rate_gate.eq(bank.rate_gate),
            front.clear.eq(clear),
            rows.count.eq(front.count),
            rows.started.eq(front.started),
            rows.clear.eq(clear),
            edge_filter.clear.eq(clear),
            queue.i.payload.eq(edge_filter.o.payload),
            queue.i.valid.eq(edge_filter.o.valid),
            self.edges.payload.eq(edge_filter.o.payload.edge),
            self.edges.valid.eq(edge_filter.o.valid & ~edge_filter.o.payload.lost),
            writer.buffer_level.eq(self.buffer_level),
            writer.clear.eq(clear),
            bank.recorded.eq(writer.recorded),
            bank.lost_burst.eq(rows.lost),
            bank.lost_buffer.eq(writer.lost),
            bank.buffer_level.eq(self.buffer_level),
            flags.now.eq(self.tick),
            flags.events.eq(Cat(events[name] for name, _ in TaggerFlags.as_shape())),
            bank.flags.eq(flags.flags),
        ]
        # Registered, because the bank gives it straight from its address decoder.
        m.d.sync += flags.clear.eq(bank.flags_clear)
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        for i in range(self.channels):
            m.d.comb += [
                Value.cast(front.detectors[i]).eq(Value.cast(self.detectors[i])),
                front.edges[i].eq(bank.edges[i]),
                edge_filter.dead_time[i].eq(bank.dead_time[i]),
                edge_filter.delay[i].eq(bank.delay[i]),
                bank.seen[i].eq(front.seen[i]),
                bank.rate[i].eq(front.rate[i]),
                bank.in_dead_time[i].eq(edge_filter.in_dead_time[i]),
            ]
        return m
