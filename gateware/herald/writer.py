"""From edges to 64-bit records: epochs, and the account of what the record buffer lost."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.edge import LOSS_BITS, Item
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

    Latency: 4 clocks from an item to its record; one record per clock. Losses and
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

        # Two items, registered, the next one ready to step up. Whether an item needs a new epoch
        # (`differs`) is known when it is taken in, and found anew after each change of epoch.
        item, valid, fresh, take = Signal(Item), Signal(), Signal(), Signal()
        spare, spare_valid = Signal(Item), Signal()
        differs, spare_differs = Signal(), Signal()
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
        m.d.sync += spare_differs.eq(spare_epoch != epoch)
        with m.If(free & spare_valid):
            m.d.sync += [item.eq(spare), valid.eq(1), fresh.eq(spare.start),
                         differs.eq(spare_differs)]
        with m.Elif(free):
            m.d.sync += [item.eq(self.i.payload), valid.eq(self.i.valid),
                         fresh.eq(self.i.payload.start & self.i.valid),
                         differs.eq(epoch_bits(self.i.payload) != epoch)]

        # The record that leaves in the next clock; the queue always has a place for it.
        record, written = Signal(64), Signal()
        m.d.sync += written.eq(0)
        m.d.comb += [out.i.payload.eq(record), out.i.valid.eq(written)]

        def tag(time, kind):
            layout = data.View(TagRecord, record)
            return [
                written.eq(1), layout.fine.eq(time.fine), layout.coarse.eq(time.tick),
                layout.falling.eq(time.falling), layout.channel.eq(time.channel),
                layout.kind.eq(kind),
            ]

        def lost(count, cause):
            layout = data.View(LostRecord, record)
            return [written.eq(1), record.eq(0), layout.count.eq(count), layout.cause.eq(cause),
                    layout.kind.eq(TagKind.LOST)]

        def epoch_of(time):
            layout = data.View(EpochRecord, record)
            return [written.eq(1), record.eq(0), layout.epoch.eq(time.tick[COARSE_BITS:]),
                    layout.kind.eq(TagKind.EPOCH),
                    epoch.eq(time.tick[COARSE_BITS:]), known.eq(1)]

        # The edge of OVERFLOW_BEGIN, later the last one lost.
        mark = Signal(Item.as_shape()["edge"].shape)
        mark_epoch = Signal()
        new_epoch = Signal()
        m.d.comb += new_epoch.eq(fresh | ~known | differs)

        buffer_count = Signal(_PENDING_BITS)
        burst_count = Signal(_PENDING_BITS)
        is_edge = Signal()
        m.d.comb += is_edge.eq(valid & ~item.lost)
        count_lost, count_written = Signal(), Signal()
        m.d.sync += self.overflow.eq(0)

        # KEEP writes, after SETTLE for a new epoch. DROP counts. CLOSE, BUFFER and BURST write the
        # end of an overflow while the input waits. Whatever needs an epoch writes that first and
        # then comes by again.
        with m.FSM():
            with m.State("KEEP"):
                with m.If(valid & slot):
                    with m.If(item.lost):
                        m.d.comb += take.eq(1)
                        m.d.sync += lost(item.edge.tick[:LOSS_BITS], LossCause.BURST)
                    with m.Elif(new_epoch):
                        m.d.sync += epoch_of(item.edge)
                        m.d.sync += [fresh.eq(0), differs.eq(0)]
                        m.next = "SETTLE"
                    with m.Elif(room):
                        m.d.comb += [take.eq(1), count_written.eq(1)]
                        m.d.sync += tag(item.edge, TagKind.TAG)
                    with m.Else():
                        m.d.comb += [take.eq(1), count_lost.eq(1)]
                        m.d.sync += tag(item.edge, TagKind.OVERFLOW_BEGIN)
                        m.d.sync += self.overflow.eq(1)
                        m.next = "DROP"
            with m.State("SETTLE"):
                # `spare_differs` is found with the new epoch before anything steps up.
                with m.If(valid):
                    m.d.sync += differs.eq(epoch_bits(item) != epoch)
                m.next = "KEEP"
            with m.State("DROP"):
                with m.If(resume):
                    m.next = "COMPARE"
                with m.Else():
                    m.d.comb += [take.eq(1), count_lost.eq(is_edge)]
                    with m.If(valid & item.lost):
                        m.d.sync += burst_count.eq(burst_count + item.edge.tick[:LOSS_BITS])
            with m.State("COMPARE"):
                m.d.sync += mark_epoch.eq(~known | (mark.tick[COARSE_BITS:] != epoch))
                m.next = "CLOSE"
            with m.State("CLOSE"):
                with m.If(slot):
                    with m.If(mark_epoch):
                        m.d.sync += epoch_of(mark)
                        m.d.sync += mark_epoch.eq(0)
                    with m.Else():
                        m.d.sync += tag(mark, TagKind.OVERFLOW_END)
                        m.next = "BUFFER"
            for state, count, cause, after in (("BUFFER", buffer_count, LossCause.BUFFER, "BURST"),
                                               ("BURST", burst_count, LossCause.BURST, "SETTLE")):
                with m.State(state):
                    low, high = count[:LOSS_BITS], count[LOSS_BITS:]
                    with m.If(count == 0):
                        m.next = after
                    with m.Elif(slot):
                        with m.If(high.any()):
                            m.d.sync += lost(C(-1, LOSS_BITS), cause)
                            m.d.sync += count.eq(count - ((1 << LOSS_BITS) - 1))
                        with m.Else():
                            m.d.sync += lost(low, cause)
                            m.d.sync += count.eq(0)

        with m.If(count_lost):
            m.d.sync += [mark.eq(item.edge), buffer_count.eq(buffer_count + 1)]
        # An epoch belongs to a run: the mark of a new one must not leave with what is not timed.
        with m.If(take & fresh & (item.lost | count_lost)):
            m.d.sync += known.eq(0)
        lost_1, written_1 = Signal(), Signal()
        m.d.sync += [lost_1.eq(count_lost), written_1.eq(count_written)]
        with m.If(lost_1):
            m.d.sync += self.lost.eq(self.lost + 1)
        with m.If(written_1):
            m.d.sync += self.recorded.eq(self.recorded + 1)
        with m.If(self.clear):
            m.d.sync += [self.lost.eq(0), self.recorded.eq(0)]
        return m
