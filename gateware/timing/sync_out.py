"""Periodic pulses on the virtual clock."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.timing.triggers import reached

__all__ = ["SyncOutput"]


class SyncOutput(wiring.Component):
    """Raises its output whenever the virtual clock passes a multiple of a period.

    The output rises in the first tick in which the virtual clock reads ``first`` or more, then
    ``first + period`` or more, and so on without drift, at least 4 ticks apart.

    Members
    -------
    ahead : In(64)
        The virtual clock's whole part two clocks ahead.
    first : In(64)
        Virtual time of the first pulse.
    period : In(64)
        Virtual ticks from pulse to pulse; 0 switches off.
    width : In(32)
        Ticks for which the output stays high; a new pulse before that prolongs it.
    start : In(1)
        (Re)start, in the first clock in which ``first`` stands. If the virtual clock is at or
        past ``first`` two clocks later, the output stays off and ``late`` is raised.
    stop : In(1)
        Switch off after the pulse of this clock, if any.
    output : Out(1)
    late : Out(1)
        High for one clock.
    """

    ahead: In(64)
    first: In(64)
    period: In(64)
    width: In(32)
    start: In(1)
    stop: In(1)
    output: Out(1)
    late: Out(1)

    def elaborate(self, platform):
        m = Module()
        next_time = Signal(64)
        running, fresh = Signal(), Signal()
        # The sum takes two clocks and the comparison with it one more.
        wait = Signal(3)
        low_sum, high_sum = Signal(33), Signal(32)
        # The comparison in the clock of `start` is with the new time already.
        time = Signal(64)
        m.d.comb += time.eq(Mux(self.start, self.first, next_time))
        due, _exact = reached(m, self.ahead, time, "due")

        hit = Signal()
        m.d.comb += hit.eq(running & due & ~wait.any())
        m.d.sync += [
            self.late.eq(hit & fresh),
            fresh.eq(0),
            wait.eq(wait << 1),
            low_sum.eq(next_time[:32] + self.period[:32]),
            high_sum.eq(next_time[32:] + self.period[32:]),
        ]
        with m.If(wait[0]):
            m.d.sync += next_time.eq(
                Cat(low_sum[:32], high_sum + low_sum[32]))
        with m.If(hit):
            m.d.sync += wait.eq(1)

        period_set = Signal()
        m.d.sync += period_set.eq(self.period.any())
        with m.If(self.start):
            m.d.sync += [next_time.eq(self.first), running.eq(1), fresh.eq(1), wait.eq(0)]
        with m.Elif(self.stop | ~period_set | hit & fresh):
            m.d.sync += running.eq(0)

        left = Signal(32)
        last = Signal()
        with m.If(hit & ~fresh):
            m.d.sync += [left.eq(self.width), self.output.eq(self.width.any()),
                         last.eq(self.width == 1)]
        with m.Else():
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            with m.If(last):
                m.d.sync += self.output.eq(0)
        return m
