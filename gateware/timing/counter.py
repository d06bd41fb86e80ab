"""The tick counter, and counters built like it."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SplitCounter", "TickCounter"]


class SplitCounter(wiring.Component):
    """A 64-bit counter with short carry chains.

    Counts by one in every clock, exactly, through every carry: the carry into the high half is
    found one clock ahead, from the low half that comes before the one that wraps.

    Parameters
    ----------
    init : int
        Value after reset.

    Members
    -------
    load : In(1)
        Take ``value`` instead of counting; the next clock reads it.
    value : In(64)
    count : Out(64)
    """

    def __init__(self, *, init=0):
        if not isinstance(init, int):
            raise TypeError(f"Initial count must be an integer, not {init!r}")
        if not 0 <= init < 1 << 64:
            raise ValueError(f"Initial count must fit 64 bits, not {init}")
        self.init = init
        super().__init__({"load": In(1), "value": In(64), "count": Out(64, init=init)})

    def elaborate(self, platform):
        m = Module()
        low, high = self.count[:32], self.count[32:]
        # High exactly while the low half is all ones.
        wraps = Signal(init=self.init & 0xFFFFFFFF == 0xFFFFFFFF)
        with m.If(self.load):
            m.d.sync += [self.count.eq(self.value), wraps.eq(self.value[:32].all())]
        with m.Else():
            m.d.sync += [
                low.eq(low + 1),
                wraps.eq(low == 0xFFFFFFFE),
                high.eq(high + wraps),
            ]
        if platform == "formal":
            # Inductive only together with what the carry bit stands for.
            m.d.comb += Assert(wraps == low.all())
        return m


class TickCounter(wiring.Component):
    """The node's time: a 64-bit counter of clocks, with a copy that runs ahead of it.

    What must happen at an exact tick is compared with ``ahead``, two clocks early; because
    ``tick`` is ``ahead`` delayed, this holds across loads too.

    Members
    -------
    load : In(1)
        Set the counter: ``ahead`` reads ``value`` in the next clock, ``tick`` two clocks later.
    value : In(64)
    tick : Out(64)
        Zero in the first clock after reset.
    ahead : Out(64)
        What ``tick`` will read two clocks from now.
    """

    #: Clocks by which ``ahead`` leads.
    LEAD = 2

    load: In(1)
    value: In(64)
    tick: Out(64)
    ahead: Out(64)

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = SplitCounter(init=self.LEAD)
        between = Signal(64, init=1)
        m.d.comb += [
            counter.load.eq(self.load),
            counter.value.eq(self.value),
            self.ahead.eq(counter.count),
        ]
        m.d.sync += [between.eq(counter.count), self.tick.eq(between)]
        return m
