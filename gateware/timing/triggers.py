"""Timed triggers."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Trigger", "reached"]


def reached(m, now, time, name):
    """Register whether ``now >= time`` and ``now == time`` (64 bits): two bits, one clock later."""
    low_less, high_less, low_same, high_same = (
        Signal(name=f"{name}_{part}")
        for part in ("low_less", "high_less", "low_same", "high_same"))
    m.d.sync += [
        low_less.eq(now[:32] < time[:32]),
        high_less.eq(now[32:] < time[32:]),
        low_same.eq(now[:32] == time[:32]),
        high_same.eq(now[32:] == time[32:]),
    ]
    return ~(high_less | high_same & low_less), high_same & low_same


class Trigger(wiring.Component):
    """Fires once, in the first tick at or after its time.

    ``fire`` is high in the clock in which the tick counter reads ``time``. If the counter is
    past it when the trigger is armed (earliest: the second clock after ``arm``), or jumps past
    it, the trigger fires at once and ``late`` is high with ``fire``.

    Members
    -------
    ahead : In(64)
        :class:`~quantacore.gateware.timing.counter.TickCounter` two clocks ahead.
    time : In(64)
        When to fire.
    arm : In(1)
        Arm, in the first clock in which ``time`` stands. An armed trigger starts over.
    disarm : In(1)
        Forget; ``arm`` in the same clock prevails.
    armed : Out(1)
    fire : Out(1)
        High for one clock.
    late : Out(1)
        High with ``fire`` if the time was past.
    """

    ahead: In(64)
    time: In(64)
    arm: In(1)
    disarm: In(1)
    armed: Out(1)
    fire: Out(1)
    late: Out(1)

    def elaborate(self, platform):
        m = Module()
        due, exact = reached(m, self.ahead, self.time, "due")
        hit = Signal()
        m.d.comb += hit.eq(self.armed & due & ~self.disarm)
        m.d.sync += [self.fire.eq(hit), self.late.eq(hit & ~exact)]
        with m.If(self.arm):
            m.d.sync += self.armed.eq(1)
        with m.Elif(hit | self.disarm):
            m.d.sync += self.armed.eq(0)
        return m
