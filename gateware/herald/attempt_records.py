"""Records of attempts and of how they ended."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.layouts.herald import (
    CELLS,
    HEARTBEAT_ATTEMPTS,
    RECORD_DEPTH,
    VERDICT_LATENCY,
    AttemptRecord,
    HeraldRecord,
    HeraldRecordKind,
    Outcome,
)
from quantacore.gateware.stream import Queue, connect_streams

__all__ = ["AttemptRecords"]


class AttemptRecords(wiring.Component):
    """Writes an :class:`AttemptRecord` where a level changed, and the :class:`HeraldRecord`
    that are asked for.

    A word belongs to an attempt from the tick of ``start`` on, up to and including the word
    ``VERDICT_LATENCY`` ticks before ``over``: an attempt that is over sooner has no words. What is
    between attempts is a pause; its time is the tick after the attempt's last word. There is
    nothing about what came before the first attempt.

    Latency: an attempt's record leaves ``VERDICT_LATENCY`` + 3 ticks after the first word that it
    is for, a herald record 3 ticks after ``herald``, or later if others wait. A record that finds
    the queue full is lost and counted; the next one says so.

    Parameters
    ----------
    depth : int
        Records that may wait.
    heartbeat : int
        Attempts, a power of two: each whose number is a multiple has a record in any case.

    Members
    -------
    tick : In(64)
    activity : In(1)
        In tick s + 1: a level changed in the word of tick s.
    start : In(1)
        At least 3 ticks apart.
    over : In(1)
        With a ``start`` it is about the attempt before.
    number : In(32)
        Of the last attempt, from the tick after its ``start`` on.
    herald : In(1), herald_number, outcome, pattern, clicked
        Write a herald record. At most two in the time between two starts.
    clear : In(1)
        Zero ``lost``.
    records : Out(stream of 64-bit records)
    lost : Out(48)
    overflow : Out(1)
        High for one tick for each record lost.
    """

    def __init__(self, *, depth=RECORD_DEPTH, heartbeat=HEARTBEAT_ATTEMPTS):
        if not isinstance(depth, int) or not isinstance(heartbeat, int):
            raise TypeError(f"Depth and heartbeat must be integers, not {depth!r}, {heartbeat!r}")
        if depth < 2:
            raise ValueError(f"Depth of the records' queue must be at least 2, not {depth}")
        if not 2 <= heartbeat <= HEARTBEAT_ATTEMPTS or heartbeat & heartbeat - 1:
            raise ValueError(f"Heartbeat must be a power of two from 2 to {HEARTBEAT_ATTEMPTS}, "
                             f"not {heartbeat}")
        self.depth = depth
        self.heartbeat = heartbeat
        super().__init__({
            "tick": In(64), "activity": In(1), "start": In(1), "over": In(1), "number": In(32),
            "herald": In(1), "herald_number": In(16), "outcome": In(Outcome), "pattern": In(4),
            "clicked": In(CELLS), "clear": In(1), "records": Out(stream.Signature(64)),
            "lost": Out(48), "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(64, depth=self.depth)
        connect_streams(m, queue.o, wiring.flipped(self.records))

        # Everything about words is looked at VERDICT_LATENCY ticks late, when it is known whether
        # the attempt was over with the word.
        late = Signal(VERDICT_LATENCY - 1)
        active = late[-1]
        coming = Signal(VERDICT_LATENCY)
        m.d.sync += [
            late.eq(Cat(self.activity, late)),
            coming.eq(Cat(self.start, coming & ~self.over.replicate(VERDICT_LATENCY))),
        ]
        inside, within, seen = Signal(), Signal(), Signal()
        begins = coming[-1]
        m.d.comb += within.eq(inside | begins)
        m.d.sync += inside.eq(within & ~self.over)
        started, paused, began = Signal(32), Signal(32), Signal()
        now = Signal(32)
        m.d.sync += now.eq(self.tick)
        with m.If(self.start):
            m.d.sync += started.eq(self.tick)
        with m.If(within & self.over):
            m.d.sync += [paused.eq(now - (VERDICT_LATENCY - 2)), began.eq(1)]

        beat, due, fresh = Signal(), Signal(), Signal()
        m.d.sync += beat.eq(self.number[:exact_log2(self.heartbeat)] == 0)
        m.d.comb += [
            fresh.eq(begins | ~seen),
            due.eq((active & fresh & (within | began)) | (begins & beat)),
        ]
        m.d.sync += seen.eq((due | ~fresh) & ~(within & self.over))

        # Attempts' records go first; a herald record waits for them. Of each kind there are at
        # most two in the time between two starts.
        attempt, attempt_waits = Signal(AttemptRecord), Signal()
        herald, herald_waits = Signal(HeraldRecord), Signal()
        second, second_waits = Signal(HeraldRecord), Signal()
        take = Signal()
        m.d.sync += attempt_waits.eq(due)
        m.d.sync += [
            attempt.number.eq(Mux(within, self.number, 0)), attempt.pause.eq(~within),
            attempt.coarse.eq(Mux(within, started, paused)),
        ]
        new = Signal(HeraldRecord)
        m.d.comb += [
            new.clicked.eq(self.clicked), new.number.eq(self.herald_number),
            new.pattern.eq(self.pattern), new.outcome.eq(self.outcome),
            new.kind.eq(HeraldRecordKind.HERALD), take.eq(herald_waits & ~attempt_waits),
        ]
        with m.If(take | ~herald_waits):
            m.d.sync += [herald.eq(Mux(second_waits, second, new)),
                         herald_waits.eq(second_waits | self.herald),
                         second.eq(new), second_waits.eq(second_waits & self.herald)]
        with m.Elif(self.herald):
            m.d.sync += [second.eq(new), second_waits.eq(1)]

        gap, write = Signal(4), Signal()
        first = AttemptRecord(Value.cast(attempt))
        record = Signal(64)
        m.d.comb += write.eq(attempt_waits | herald_waits)
        with m.If(attempt_waits):
            m.d.comb += record.eq(Cat(first.coarse, first.number, first.pause, gap,
                                      C(HeraldRecordKind.ATTEMPT.value, 4)))
        with m.Else():
            m.d.comb += record.eq(Cat(herald.clicked, herald.number, herald.pattern,
                                      herald.outcome, gap, herald.reserved, herald.kind))
        m.d.comb += [queue.i.valid.eq(write), queue.i.payload.eq(record)]
        m.d.sync += self.overflow.eq(write & ~queue.i.ready)
        with m.If(write):
            with m.If(queue.i.ready):
                m.d.sync += gap.eq(0)
            with m.Else():
                m.d.sync += [self.lost.eq(self.lost + 1), gap.eq(Mux(gap.all(), gap, gap + 1))]
        with m.If(self.clear):
            m.d.sync += self.lost.eq(0)
        return m
