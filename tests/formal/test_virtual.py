"""Contract of the virtual channels' records: the stream around them stays what it was."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.herald.inserter import RecordInserter
from quantacore.gateware.layouts.tags import (
    COARSE_BITS,
    EPOCH_BITS,
    EpochRecord,
    LossCause,
    LostRecord,
    TagKind,
    TagRecord,
)
from quantacore.gateware.layouts.virtual import FIRST_VIRTUAL
from quantacore.sim.bench.formal import prove_bounded


class StreamStaysWhole(wiring.Component):
    """What a reader of the stream finds out about each record.

    The tagger's records come out as they went in, each under the epoch that the tagger gave it.
    An edge's record is a TAG under its own epoch, outside overflows. At rest, all losses have been
    told of. What is offered stays.
    """

    def __init__(self):
        # Few bits of each word, or a proof would take minutes.
        super().__init__({"i_valid": In(1), "i_epoch": In(2), "i_kind": In(4), "edge_valid": In(1),
                          "edge_coarse": In(1), "edge_epoch": In(2), "lost": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.subject = subject = RecordInserter()
        i, edges, o = subject.i, subject.edges, subject.o
        m.d.comb += [
            i.valid.eq(self.i_valid), i.payload.eq(Cat(self.i_epoch, C(0, 58), self.i_kind)),
            edges.valid.eq(self.edge_valid), edges.payload.channel.eq(FIRST_VIRTUAL),
            edges.payload.tick.eq(Cat(self.edge_coarse, C(0, COARSE_BITS - 1), self.edge_epoch)),
            subject.lost.eq(self.lost), o.ready.eq(self.ready),
        ]
        for name, source in (("i", i), ("edge", edges)):
            waits, was = Signal(name=f"{name}_waits"), Signal(len(Value.cast(source.payload)),
                                                              name=f"{name}_was")
            m.d.sync += [waits.eq(source.valid & ~source.ready), was.eq(source.payload)]
            m.d.comb += Assume(~waits | (source.valid & (was == Value.cast(source.payload))))

        # What the tagger means, and what a reader takes it for.
        said, has_said, overflow = Signal(EPOCH_BITS), Signal(), Signal()
        read, has_read = Signal(EPOCH_BITS), Signal()
        passed, sent = Signal(), Signal()
        m.d.comb += [passed.eq(i.valid & i.ready), sent.eq(o.valid & o.ready)]
        record, out = TagRecord(i.payload), TagRecord(o.payload)
        m.d.comb += Assume((record.kind == TagKind.TAG) | (record.kind == TagKind.EPOCH)
                           | (record.kind == TagKind.OVERFLOW_BEGIN)
                           | (record.kind == TagKind.OVERFLOW_END))
        with m.If(record.kind != TagKind.EPOCH):
            m.d.comb += Assume(~i.valid | has_said)
        m.d.comb += Assume(~i.valid | (overflow == (record.kind == TagKind.OVERFLOW_END))
                           | (record.kind == TagKind.EPOCH))
        with m.If(passed):
            m.d.comb += [Assert(sent), Assert(o.payload == i.payload)]
            with m.If(record.kind == TagKind.EPOCH):
                m.d.sync += [said.eq(EpochRecord(i.payload).epoch), has_said.eq(1)]
            with m.Else():
                m.d.comb += Assert(has_read & (read == said))
                m.d.sync += overflow.eq(record.kind == TagKind.OVERFLOW_BEGIN)
        with m.If(sent & (out.kind == TagKind.EPOCH)):
            m.d.sync += [read.eq(EpochRecord(o.payload).epoch), has_read.eq(1)]

        missing, told = Signal(5), Signal(5)
        edge = edges.payload
        m.d.sync += missing.eq(missing + self.lost)
        m.d.comb += Assert(~(edges.valid & edges.ready) | (sent & (out.kind == TagKind.TAG)))
        with m.If(sent & ~passed):
            m.d.comb += Assert(~overflow)
            with m.If(out.kind == TagKind.TAG):
                m.d.comb += [
                    Assert(edges.valid & edges.ready), Assert(out.fine == edge.fine),
                    Assert(Cat(out.coarse, read) == edge.tick), Assert(has_read),
                    Assert(out.channel == edge.channel), Assert(out.falling == edge.falling),
                ]
            with m.Elif(out.kind == TagKind.LOST):
                lost = LostRecord(o.payload)
                m.d.comb += [Assert(lost.cause == LossCause.VIRTUAL), Assert(lost.count != 0)]
                m.d.sync += told.eq(told + lost.count)
            with m.Else():
                m.d.comb += Assert(out.kind == TagKind.EPOCH)
        rest = Signal(3)
        with m.If(self.lost | overflow | self.edge_valid | self.i_valid | ~self.ready):
            m.d.sync += rest.eq(0)
        with m.Elif(~rest.all()):
            m.d.sync += rest.eq(rest + 1)
        m.d.comb += Assert((rest < 6) | (told == missing))

        stays, offered = Signal(), Signal(64)
        m.d.sync += [stays.eq(o.valid & ~o.ready), offered.eq(o.payload)]
        m.d.comb += Assert(~stays | (o.valid & (o.payload == offered)))
        return m


def test_stream_stays_whole():
    prove_bounded(StreamStaysWhole(), "virtual_stream_stays_whole", depth=14)
