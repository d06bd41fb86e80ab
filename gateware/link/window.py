"""The record ring: keeps records until the host has acknowledged them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.layouts.frames import STREAM_RECORDS, CreditFlags
from quantacore.gateware.ram import RAM

__all__ = ["FLUSH_TICKS", "Credit", "RecordWindow"]

#: Fewer records than a frame holds wait so long for more.
FLUSH_TICKS = 256


class Credit(data.Struct):
    """What a CREDIT request says."""

    acknowledged: 32
    limit: 32
    flags: CreditFlags
    #: Take back all credit (the limit becomes ``next``) and ignore the other fields.
    revoke: 1


class RecordWindow(wiring.Component):
    """Ring of records in block RAM with four indexes, all mod 2**32 since reset.

    ``acknowledged <= next <= written``; what was sent reaches up to a high-water mark, which is
    ahead of ``next`` after a rewind. Records from ``acknowledged`` up are never overwritten, and
    ``records`` is not ready while the ring is full of them. Records are offered for sending while
    ``next`` is before the limit that the host granted.

    ``records`` takes one per clock; a record can be sent 5 clocks after it was taken.

    Parameters
    ----------
    depth : int
        Records held, a power of two from 16 to 32768.

    Members
    -------
    records : In(stream of 64 bits)
    level : Out(16)
        Records held, those that are sent and not acknowledged included.
    credit : In(stream of Credit)
        One at a time. ``credit_done`` follows, 5 clocks later or once a frame has been read, with
        ``credit_ok``; 0 means an acknowledged index outside acknowledged .. high-water, and that
        nothing changed. Acknowledging beyond ``next`` moves ``next`` there.
    number : Out(range(STREAM_RECORDS + 1))
        Records to send in the next frame: 0 if there is nothing to send or it is worth waiting.
    next, written : Out(32)
        The index of the next record to send, and of the next record to be written.
    take : In(1)
        A frame with ``number`` records from ``next`` on begins; they count as sent at once.
    reading : In(1)
        A frame's records are being read; acknowledging waits.
    read_index : In(range(depth))
        Record to read.
    read_data : Out(64)
        It, 2 clocks later.
    """

    def __init__(self, *, depth):
        if not isinstance(depth, int):
            raise TypeError(f"Record ring depth must be an integer, not {depth!r}")
        if not 16 <= depth <= 32768 or depth & (depth - 1):
            raise ValueError(f"Record ring depth must be a power of two from 16 to 32768, "
                             f"not {depth}")
        self.depth = depth
        super().__init__({
            "records": In(stream.Signature(64)),
            "level": Out(16),
            "credit": In(stream.Signature(Credit)),
            "credit_done": Out(1),
            "credit_ok": Out(1),
            "number": Out(range(STREAM_RECORDS + 1)),
            "next": Out(32),
            "written": Out(32),
            "take": In(1),
            "reading": In(1),
            "read_index": In(range(depth)),
            "read_data": Out(64),
        })

    def elaborate(self, platform):
        m = Module()
        # One memory per byte: each is one block RAM up to 2048 records, so no multiplexer comes
        # between a slow memory and the register behind it.
        bits = exact_log2(self.depth)
        push = Signal()
        for i in range(0, 64, 8):
            m.submodules[f"ring_{i // 8}"] = ring = RAM(width=8, depth=self.depth)
            m.d.comb += [
                ring.write_address.eq(self.written[:bits]), ring.write.eq(push),
                ring.write_data.eq(self.records.payload[i:i + 8]),
                ring.read_address.eq(self.read_index), ring.read.eq(1),
            ]
            m.d.sync += self.read_data[i:i + 8].eq(ring.read_data)

        # `number` is right some clocks after an index moved; until then it is 0.
        settle = Signal(3)
        hold = Signal()
        applied = Signal()
        stage = Signal(4)
        asked, accept = Signal(), Signal()
        taken = Signal(2)
        m.d.comb += hold.eq(taken.any() | asked | stage.any())
        with m.If(hold):
            m.d.sync += settle.eq(7)
        with m.Elif(settle != 0):
            m.d.sync += settle.eq(settle - 1)

        # Writing.
        level = Signal(bits + 1)
        freed = Signal(bits + 1)
        m.d.comb += [
            self.records.ready.eq(~level[-1]),
            push.eq(self.records.valid & self.records.ready),
            self.level.eq(level),
        ]
        m.d.sync += [
            self.written.eq(self.written + push),
            level.eq(level + push - Mux(applied, freed, 0)),
        ]

        # How many to send: distances, each cut down to a frame, the lesser of the two. A part of
        # a frame waits for more, unless the host's limit is what keeps it short.
        limit = Signal(32)
        waiting = Signal(bits + 1)
        granted = Signal(32)
        most = STREAM_RECORDS
        waiting_cut, granted_cut = Signal(range(most + 1)), Signal(range(most + 1))
        age = Signal(range(FLUSH_TICKS + 1))
        m.d.sync += [
            waiting.eq((self.written - self.next)[:bits + 1]),
            granted.eq(limit - self.next),
            waiting_cut.eq(Mux(waiting >= most, most, waiting[:5])),
            granted_cut.eq(Mux(granted[5:].any() | (granted[:5] >= most), most, granted[:5])),
            self.number.eq(0),
        ]
        with m.If(granted[-1]):
            m.d.sync += granted_cut.eq(0)
        with m.If(hold | (settle != 0) | (waiting_cut == 0)):
            m.d.sync += age.eq(0)
        with m.Elif(age != FLUSH_TICKS):
            m.d.sync += age.eq(age + 1)
        with m.If(~hold & (settle == 0)):
            with m.If(granted_cut <= waiting_cut):
                m.d.sync += self.number.eq(granted_cut)
            with m.Elif((waiting_cut == most) | (age == FLUSH_TICKS)):
                m.d.sync += self.number.eq(waiting_cut)

        # The indexes.
        acknowledged, sent = Signal(32), Signal(32)
        command = Signal(Credit)
        ahead, held, from_next = Signal(32), Signal(32), Signal(32)
        after = Signal(32)
        short = Signal(32)
        m.d.comb += after.eq(self.next + self.number)
        m.d.sync += [taken.eq(Cat(self.take, taken)), short.eq(sent - self.next)]
        with m.If(self.take):
            m.d.sync += self.next.eq(after)
        # The mark moves with `next` where that passes it.
        with m.If(taken[1] & short[-1]):
            m.d.sync += sent.eq(self.next)

        m.d.comb += [
            self.credit.ready.eq(~asked),
            accept.eq(asked & ~self.reading & ~self.take & (taken == 0) & (stage == 0)),
        ]
        m.d.sync += stage.eq(Cat(accept, stage))
        with m.If(self.credit.valid & self.credit.ready):
            m.d.sync += [command.eq(self.credit.payload), asked.eq(1)]
        with m.If(stage[3]):
            m.d.sync += asked.eq(0)
        m.d.sync += [
            ahead.eq(command.acknowledged - acknowledged),
            held.eq(sent - acknowledged),
            from_next.eq(self.next - acknowledged),
        ]
        inside, passes = Signal(), Signal()
        m.d.sync += [inside.eq(ahead <= held), passes.eq(ahead > from_next)]
        m.d.comb += [
            applied.eq(stage[2] & (inside | command.flags.keep) & ~command.revoke),
            freed.eq(Mux(command.flags.keep, 0, ahead[:bits + 1])),
            self.credit_done.eq(stage[3]),
        ]
        m.d.sync += self.credit_ok.eq(inside | command.flags.keep)
        with m.If(stage[2] & command.revoke):
            m.d.sync += limit.eq(self.next)
        with m.If(applied):
            with m.If(~command.flags.keep):
                m.d.sync += [acknowledged.eq(command.acknowledged), limit.eq(command.limit)]
            with m.If(command.flags.keep & command.flags.rewind):
                m.d.sync += self.next.eq(acknowledged)
            with m.Elif(~command.flags.keep & (command.flags.rewind | passes)):
                m.d.sync += self.next.eq(command.acknowledged)
        return m
