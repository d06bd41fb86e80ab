"""From edges to 64-bit records: epochs, and the account of what the record buffer lost."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.edge import LOSS_BITS, Edge, Item
from quantacore.gateware.layouts.tags import (
    COARSE_BITS,
    EpochRecord,
    LossCause,
    LostRecord,
    TagKind,
    TagRecord,
)
from quantacore.gateware.stream import Queue

__all__ = ["Writer"]

_OUT_DEPTH = 32
#: Records that may wait for `records.ready` before edges are lost.
_OUT_ROOM = 16
#: From this level on nothing is written. Between the two is space for what ends a kept stretch.
_OUT_FULL = 26
_PENDING_BITS = 48


class Writer(wiring.Component):
    """Writes the record stream and keeps its books.

    An overflow begins when the next edge finds no room: fewer than ``reserve`` places free in the
    record buffer, or the way there stalled. OVERFLOW_BEGIN, with the time of that first lost
    edge, goes into the reserve at once. The overflow ends when the buffer is back at
    ``resume_level`` or below, so that a slow reader gets long whole stretches: OVERFLOW_END, with
    the time of the last lost edge, then LOST with their number. It ends by itself, without
    waiting for another edge.

    Latency: 5 clocks from an item to its record; one record per clock. Losses and
    overflow marks take a clock each, epochs two, in which the input waits.

    Parameters
    ----------
    buffer_depth : int
        Places in the record buffer, from 16.

    Members
    -------
    i : stream of Item
        Waits only for records other than TAG, and not for ``records``.
    records : stream of 64-bit records
    buffer_level : In(16)
        Records in the buffer. It may lag behind ``records`` by 4 clocks.
    clear : In(1)
        Zero the counters.
    recorded : Out(48)
        TAG records written.
    lost : Out(48)
        Edges lost for want of room.
    overflow : Out(1)
        High for one clock with each OVERFLOW_BEGIN.
    """

    def __init__(self, *, buffer_depth):
        if not isinstance(buffer_depth, int):
            raise TypeError(f"Record buffer depth must be an integer, not {buffer_depth!r}")
        if not 16 <= buffer_depth < 1 << 16:
            raise ValueError(f"Record buffer depth must be 16 to 65535, not {buffer_depth}")
        self.buffer_depth = buffer_depth
        super().__init__({
            "i": In(stream.Signature(Item)),
            "records": Out(stream.Signature(64)),
            "buffer_level": In(16),
            "clear": In(1),
            "recorded": Out(48),
            "lost": Out(48),
            "overflow": Out(1),
        })

    @property
    def reserve(self):
        """Places of the buffer that TAG records leave free."""
        return min(16, self.buffer_depth // 2)

    @property
    def resume_level(self):
        """Level of the buffer at which an overflow ends."""
        return (self.buffer_depth - self.reserve) * 3 // 4

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = Queue(64, depth=_OUT_DEPTH)
        wiring.connect(m, out.o, wiring.flipped(self.records))

        room, slot, resume = Signal(), Signal(), Signal()
        m.d.sync += [
            slot.eq(out.level < _OUT_FULL),
            room.eq((out.level < _OUT_ROOM)
                    & (self.buffer_level < self.buffer_depth - self.reserve)),
            resume.eq((out.level <= 2) & (self.buffer_level <= self.resume_level)),
        ]

        # Two items, registered, the next one ready to step up. Whether an item needs an EPOCH ahead
        # of it (`needs`) is known when it is taken in, and found anew, in the state SETTLE, after
        # each change of `epoch` and `known`.
        item, valid, fresh, take = Signal(Item), Signal(), Signal(), Signal()
        spare, spare_valid = Signal(Item), Signal()
        needs, spare_needs = Signal(), Signal()
        epoch, known = Signal(64 - COARSE_BITS), Signal()

        def epoch_bits(some):
            return some.edge.tick[COARSE_BITS:]

        free = ~valid | take
        m.d.comb += self.i.ready.eq(~spare_valid)
        with m.If(~spare_valid):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(self.i.valid & ~free)]
        with m.Elif(free):
            m.d.sync += spare_valid.eq(0)
        spare_epoch = Mux(spare_valid, epoch_bits(spare), epoch_bits(self.i.payload))
        m.d.sync += spare_needs.eq((spare_epoch != epoch) | ~known)
        with m.If(free & spare_valid):
            m.d.sync += [item.eq(spare), valid.eq(1), fresh.eq(spare.start),
                         needs.eq(spare_needs | spare.start)]
        with m.Elif(free):
            m.d.sync += [item.eq(self.i.payload), valid.eq(self.i.valid),
                         fresh.eq(self.i.payload.start & self.i.valid),
                         needs.eq((epoch_bits(self.i.payload) != epoch) | ~known
                                  | self.i.payload.start)]

        # What to write is decided in one clock, put together in the next and queued in the third;
        # `slot` leaves enough places for what is on its way.
        write, kind_1, cause_1 = Signal(), Signal(TagKind), Signal(LossCause)
        write_1, tail_1 = Signal(), Signal()
        time_1, count_1 = Signal(Edge), Signal(LOSS_BITS)
        record, written = Signal(64), Signal()
        m.d.sync += [write_1.eq(write), written.eq(write_1)]
        m.d.comb += [out.i.payload.eq(record), out.i.valid.eq(written)]
        tag_1 = TagRecord(Signal(64, name="tag_1"))
        epoch_1 = EpochRecord(Signal(64, name="epoch_1"))
        lost_1 = LostRecord(Signal(64, name="lost_1"))
        m.d.comb += [
            tag_1.fine.eq(time_1.fine), tag_1.coarse.eq(time_1.tick),
            tag_1.falling.eq(time_1.falling), tag_1.channel.eq(time_1.channel),
            tag_1.kind.eq(kind_1),
            epoch_1.epoch.eq(time_1.tick[COARSE_BITS:]), epoch_1.kind.eq(kind_1),
            lost_1.count.eq(Mux(tail_1, count_1, time_1.tick[:LOSS_BITS])),
            lost_1.cause.eq(cause_1), lost_1.kind.eq(kind_1),
        ]
        with m.If(kind_1 == TagKind.EPOCH):
            m.d.sync += record.eq(epoch_1)
        with m.Elif(kind_1 == TagKind.LOST):
            m.d.sync += record.eq(lost_1)
        with m.Else():
            m.d.sync += record.eq(tag_1)

        def emit(kind, cause=LossCause.BURST):
            m.d.comb += write.eq(1)
            m.d.sync += [kind_1.eq(kind), cause_1.eq(cause)]

        def emit_epoch(time):
            emit(TagKind.EPOCH)
            m.d.sync += [epoch.eq(time.tick[COARSE_BITS:]), known.eq(1)]

        # The edge of OVERFLOW_BEGIN, later the last one lost.
        mark = Signal(Edge)
        mark_epoch = Signal()
        # `take` reaches far: it is made of as little as possible, with a bit for each state that
        # takes.
        in_keep, in_drop = Signal(init=1), Signal()
        m.d.comb += take.eq((in_keep & valid & slot & (item.lost | ~needs))
                            | (in_drop & ~resume))

        buffer_count, burst_count = Signal(_PENDING_BITS), Signal(_PENDING_BITS)
        # What the LOST records at the end of an overflow still have to say.
        tail, tail_cause = Signal(_PENDING_BITS), Signal(LossCause)
        tail_empty, tail_big = Signal(), Signal()
        closing = Signal()
        count_lost, count_burst, count_written = Signal(), Signal(), Signal()
        m.d.sync += [
            time_1.eq(Mux(closing, Value.cast(mark), Value.cast(item.edge))),
            count_1.eq(Mux(tail_big, C(-1, LOSS_BITS), tail[:LOSS_BITS])),
            self.overflow.eq(0),
        ]

        # KEEP writes, after SETTLE for a new epoch. DROP counts. The rest write the end of an
        # overflow while the input waits. Whatever needs an epoch writes that first and then comes
        # by again.
        with m.FSM() as fsm:
            with m.State("KEEP"):
                with m.If(valid & slot):
                    with m.If(item.lost):
                        emit(TagKind.LOST)
                        # An epoch belongs to a run; its mark must not leave with what is not
                        # timed.
                        with m.If(fresh):
                            m.d.sync += [known.eq(0), in_keep.eq(0)]
                            m.next = "SETTLE"
                    with m.Elif(needs):
                        emit_epoch(item.edge)
                        m.d.sync += [fresh.eq(0), in_keep.eq(0)]
                        m.next = "SETTLE"
                    with m.Elif(room):
                        m.d.comb += count_written.eq(1)
                        emit(TagKind.TAG)
                    with m.Else():
                        m.d.comb += count_lost.eq(1)
                        emit(TagKind.OVERFLOW_BEGIN)
                        m.d.sync += [self.overflow.eq(1), in_keep.eq(0), in_drop.eq(1)]
                        m.next = "DROP"
            with m.State("SETTLE"):
                # `spare_needs` is found with the new epoch before anything steps up.
                with m.If(valid):
                    m.d.sync += needs.eq((epoch_bits(item) != epoch) | ~known | fresh)
                m.d.sync += in_keep.eq(1)
                m.next = "KEEP"
            with m.State("DROP"):
                with m.If(resume):
                    m.d.sync += in_drop.eq(0)
                    m.next = "COMPARE"
                with m.Else():
                    m.d.comb += [count_lost.eq(valid & ~item.lost),
                                 count_burst.eq(valid & item.lost)]
                    with m.If(valid & fresh):
                        m.d.sync += known.eq(0)
            with m.State("COMPARE"):
                m.d.sync += mark_epoch.eq(~known | (mark.tick[COARSE_BITS:] != epoch))
                m.next = "CLOSE"
            with m.State("CLOSE"):
                with m.If(slot):
                    with m.If(mark_epoch):
                        emit_epoch(mark)
                        m.d.sync += mark_epoch.eq(0)
                    with m.Else():
                        emit(TagKind.OVERFLOW_END)
                        m.d.sync += [tail.eq(buffer_count), tail_cause.eq(LossCause.BUFFER),
                                     buffer_count.eq(0)]
                        m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += [tail_empty.eq(tail == 0), tail_big.eq(tail[LOSS_BITS:].any())]
                m.next = "TAIL"
            with m.State("TAIL"):
                with m.If(~tail_empty):
                    with m.If(slot):
                        emit(TagKind.LOST, tail_cause)
                        m.d.sync += tail.eq(
                            Mux(tail_big, tail - ((1 << LOSS_BITS) - 1), 0))
                        m.next = "SIZE"
                with m.Elif(tail_cause == LossCause.BUFFER):
                    m.d.sync += [tail.eq(burst_count), tail_cause.eq(LossCause.BURST),
                                 burst_count.eq(0)]
                    m.next = "SIZE"
                with m.Else():
                    m.next = "SETTLE"
            m.d.comb += closing.eq(fsm.ongoing("CLOSE"))
            m.d.sync += tail_1.eq(fsm.ongoing("TAIL"))

        # Counted a clock later, when `time_1` is what the item was.
        counted_lost, counted_burst, counted_written = Signal(), Signal(), Signal()
        m.d.sync += [counted_lost.eq(count_lost), counted_burst.eq(count_burst),
                     counted_written.eq(count_written)]
        with m.If(counted_lost):
            m.d.sync += [mark.eq(time_1), buffer_count.eq(buffer_count + 1),
                         self.lost.eq(self.lost + 1)]
        with m.If(counted_burst):
            m.d.sync += burst_count.eq(burst_count + time_1.tick[:LOSS_BITS])
        with m.If(counted_written):
            m.d.sync += self.recorded.eq(self.recorded + 1)
        with m.If(self.clear):
            m.d.sync += [self.lost.eq(0), self.recorded.eq(0)]
        return m
