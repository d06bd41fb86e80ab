"""TAG records of virtual edges, put between the records of a tagger."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.edge import LOSS_BITS, Edge
from quantacore.gateware.layouts.tags import (
    COARSE_BITS,
    EPOCH_BITS,
    EpochRecord,
    LossCause,
    LostRecord,
    TagKind,
    TagRecord,
)

__all__ = ["RecordInserter"]


class RecordInserter(wiring.Component):
    """Passes a tagger's records on, and puts TAG records of other edges between them.

    An edge of another epoch than the tagger's last gets an EPOCH ahead of it, and the tagger's
    epoch is repeated behind it. Nothing is put inside an overflow (OVERFLOW_BEGIN to
    OVERFLOW_END). While both have something, they take turns. Edges that were lost on the way
    here are reported in LOST records with the cause VIRTUAL, as soon as no edge waits.

    Latency of the tagger's records: none; an edge takes 3 clocks, 5 with a change of epoch.

    Members
    -------
    i : stream of 64-bit records
        Of one :class:`~quantacore.gateware.herald.writer.Writer`.
    edges : stream of Edge
    lost : In(1)
        High for one clock for each edge lost.
    o : stream of 64-bit records
    """

    i: In(stream.Signature(64))
    edges: In(stream.Signature(Edge))
    lost: In(1)
    o: Out(stream.Signature(64))

    def elaborate(self, platform):
        m = Module()
        record = TagRecord(self.i.payload)
        epoch, known, overflow = Signal(EPOCH_BITS), Signal(), Signal()
        passed = Signal()
        with m.If(passed):
            with m.Switch(record.kind):
                with m.Case(TagKind.EPOCH):
                    m.d.sync += [epoch.eq(EpochRecord(self.i.payload).epoch), known.eq(1)]
                with m.Case(TagKind.OVERFLOW_BEGIN):
                    m.d.sync += overflow.eq(1)
                with m.Case(TagKind.OVERFLOW_END):
                    m.d.sync += overflow.eq(0)

        # What comes from block RAM comes late in the clock. It stays until it has been sent.
        edge = Signal(Edge)
        m.d.sync += edge.eq(self.edges.payload)
        missing, some_missing = Signal(LOSS_BITS), Signal()
        told = Signal()
        m.d.sync += some_missing.eq(missing.any())
        with m.If(told):
            m.d.sync += [missing.eq(self.lost), some_missing.eq(0)]
        with m.Elif(self.lost & ~missing.all()):
            m.d.sync += missing.eq(missing + 1)

        inserted, foreign = Signal(64), Signal()
        with m.FSM() as fsm:
            with m.State("PASS"):
                m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                             passed.eq(self.i.valid & self.o.ready)]
                # What has been offered must stay. An overflow that begins now is known of later.
                begins = self.i.valid & (record.kind == TagKind.OVERFLOW_BEGIN)
                with m.If((passed | ~self.i.valid) & ~overflow & ~begins):
                    with m.If(self.edges.valid):
                        m.next = "WEIGH"
                    with m.Elif(some_missing):
                        m.next = "TELL"
            with m.State("WEIGH"):
                m.d.sync += foreign.eq(~known | (edge.tick[COARSE_BITS:] != epoch))
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                with m.If(foreign):
                    m.d.sync += inserted.eq(_epoch(edge.tick[COARSE_BITS:]))
                    m.next = "EPOCH"
                with m.Else():
                    m.d.sync += inserted.eq(_tag(edge))
                    m.next = "TAG"
            with m.State("EPOCH"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += inserted.eq(_tag(edge))
                    m.next = "TAG"
            with m.State("TAG"):
                m.d.comb += [self.o.valid.eq(1), self.edges.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.d.sync += inserted.eq(_epoch(epoch))
                    m.next = "PASS"
                    # A tagger that has sent no epoch sends one before its first tag.
                    with m.If(foreign & known):
                        m.next = "RESTORE"
            with m.State("RESTORE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "PASS"
            with m.State("TELL"):
                m.d.comb += told.eq(1)
                m.d.sync += inserted.eq(_lost(missing))
                m.next = "TOLD"
            with m.State("TOLD"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "PASS"
            m.d.comb += self.o.payload.eq(
                Mux(fsm.ongoing("PASS"), self.i.payload, inserted))
        return m


def _epoch(epoch):
    return Cat(epoch, C(0, EpochRecord.as_shape()["kind"].offset - EPOCH_BITS),
               C(TagKind.EPOCH.value, 4))


def _tag(edge):
    return Cat(edge.fine, edge.tick[:COARSE_BITS], edge.falling, edge.channel,
               C(TagKind.TAG.value, 4))


def _lost(count):
    cause = LostRecord.as_shape()["cause"].offset
    return Cat(count, C(0, cause - LOSS_BITS), C(LossCause.VIRTUAL.value, 6),
               C(TagKind.LOST.value, 4))
