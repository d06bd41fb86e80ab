"""The virtual clock: ticks scaled by a rate word."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.timing import RATE_FRACTION_BITS

__all__ = ["VirtualClock"]


class VirtualClock(wiring.Component):
    """A clock that advances by ``1 + rate * 2**-44`` per tick, exactly. It reads 0 after reset.

    The sum is 108 bits wide and skewed over three stages (fraction, low and high half of the
    whole part); the stages are lined up again at the outputs, so that all bits of a reading
    belong to one tick.

    Latency: a rate that stands in clock *c* is what the clock advances by from clock *c* + 4 to
    *c* + 5; a value loaded in clock *c* is read in clock *c* + 5.

    Members
    -------
    rate : In(signed(32))
        In units of 2**-44.
    load : In(1)
        Set the clock.
    load_whole : In(64)
        The whole part is set to this. Must stand for three clocks from ``load`` on.
    load_fraction : In(44)
        The fraction is set to this.
    whole : Out(64)
    fraction : Out(44)
        The clock's reading.
    active_rate : Out(signed(32))
        The rate with which the clock goes on from this reading to the next.
    whole_ahead : Out(64)
        What ``whole`` will read two clocks from now.
    """

    #: Clocks from a rate word to the reading it is added to.
    LATENCY = 4

    rate: In(signed(32))
    load: In(1)
    load_whole: In(64)
    load_fraction: In(RATE_FRACTION_BITS)
    whole: Out(64)
    fraction: Out(RATE_FRACTION_BITS)
    active_rate: Out(signed(32))
    whole_ahead: Out(64)

    def elaborate(self, platform):
        m = Module()

        # Stage 1, the fraction. A negative rate is 2**44 + rate with no whole tick added.
        fraction = Signal(RATE_FRACTION_BITS)
        carry, step = Signal(), Signal(init=1)
        total = Signal(RATE_FRACTION_BITS + 1)
        addend = Signal(RATE_FRACTION_BITS)
        m.d.comb += [
            addend.eq(self.rate),
            total.eq(fraction + addend),
        ]
        m.d.sync += [Cat(fraction, carry).eq(total), step.eq(~self.rate[-1])]
        with m.If(self.load):
            m.d.sync += [fraction.eq(self.load_fraction), carry.eq(0), step.eq(0)]

        # Stage 2, the low half: it grows by 0, 1 or 2.
        low = Signal(32, init=3)  # three stages on, the output reads 0 at reset
        carry_high = Signal()
        load_low = Signal()
        m.d.sync += [
            load_low.eq(self.load),
            Cat(low, carry_high).eq(low + Cat(carry ^ step, carry & step)),
        ]
        with m.If(load_low):
            m.d.sync += [low.eq(self.load_whole[:32]), carry_high.eq(0)]

        # Stage 3, the high half.
        high = Signal(32)
        load_high = Signal()
        m.d.sync += [load_high.eq(load_low), high.eq(high + carry_high)]
        with m.If(load_high):
            m.d.sync += high.eq(self.load_whole[32:])

        def delay(value, clocks, name, init=0):
            for i in range(clocks):
                later = Signal.like(value, name=f"{name}_{i + 1}", init=max(0, init - i))
                m.d.sync += later.eq(value)
                value = later
            return value

        m.d.comb += [
            self.whole_ahead.eq(Cat(delay(low, 1, "low", init=2), high)),
            self.whole.eq(delay(self.whole_ahead, 2, "whole", init=1)),
            self.fraction.eq(delay(fraction, 4, "fraction")),
            self.active_rate.eq(delay(self.rate, self.LATENCY, "rate")),
        ]
        return m
