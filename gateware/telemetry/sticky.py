"""Sticky, counted, time-stamped flags."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StickyFlags"]


class StickyFlags(wiring.Component):
    """Remembers that something happened, how often, and when first.

    Drives the three registers of
    :func:`~quantacore.gateware.layouts.registers.sticky_registers`. An event in the clock in which
    its flag is cleared is not lost: it raises the flag anew.

    Parameters
    ----------
    number : int
        Number of flags.

    Members
    -------
    events : In(number)
        One clock high is one event.
    clear : In(number)
        Forget these flags, with counts and times.
    now : In(64)
        Tick counter.
    flags : Out(number)
        High from the first event on, one clock after it.
    counts : Out(32).array(number)
        Events since the flag was cleared; stops at the largest number.
    times : Out(64).array(number)
        ``now`` at the first event since the flag was cleared.
    """

    def __init__(self, number):
        if not isinstance(number, int):
            raise TypeError(f"Number of flags must be an integer, not {number!r}")
        if not 1 <= number <= 32:
            raise ValueError(f"Number of flags must be 1 to 32, not {number}")
        self.number = number
        super().__init__({
            "events": In(number),
            "clear": In(number),
            "now": In(64),
            "flags": Out(number),
            "counts": Out(32).array(number),
            "times": Out(64).array(number),
        })

    def elaborate(self, platform):
        m = Module()
        for i in range(self.number):
            fresh = ~self.flags[i] | self.clear[i]
            with m.If(self.events[i]):
                m.d.sync += self.flags[i].eq(1)
                with m.If(fresh):
                    m.d.sync += [self.counts[i].eq(1), self.times[i].eq(self.now)]
                with m.Elif(~self.counts[i].all()):
                    m.d.sync += self.counts[i].eq(self.counts[i] + 1)
            with m.Elif(self.clear[i]):
                m.d.sync += [self.flags[i].eq(0), self.counts[i].eq(0), self.times[i].eq(0)]
        return m
