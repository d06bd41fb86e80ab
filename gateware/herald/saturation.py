"""Detectors that click too often, and for how long attempts then wait."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.herald import DETECTORS

__all__ = ["Saturation"]

#: Bits of a detector's clicks in a gate; the count stops when the highest is set.
_COUNT_BITS = 17


class Saturation(wiring.Component):
    """Judges each detector's rate by gates of constant length, and holds attempts back.

    A detector is saturated from when it has clicked more than ``limit`` times in a gate until the
    end of the first gate in which it has not. ``blocked`` is high meanwhile, and for ``backoff``
    ticks more.

    Latency: clicks of tick u show in ``detectors`` in tick u + 4, in ``blocked`` in u + 5.

    Members
    -------
    clicks : In(3).array(DETECTORS)
        Clicks of this tick.
    gate : In(24)
        Ticks of a gate; 0 counts as 1.
    limit : In(16)
        Clicks that are still in order in a gate; 0: any number.
    backoff : In(32)
        Ticks.
    detectors : Out(DETECTORS)
        Saturated now.
    blocked : Out(1)
        No attempt may begin.
    event : Out(1)
        High for one tick when a detector became saturated.
    """

    clicks: In(3).array(DETECTORS)
    gate: In(24, init=1)
    limit: In(16)
    backoff: In(32)
    detectors: Out(DETECTORS)
    blocked: Out(1)
    event: Out(1)

    def elaborate(self, platform):
        m = Module()
        left, ends, ended = Signal(24), Signal(), Signal()
        m.d.sync += [ends.eq(left == 0), ended.eq(ends)]
        with m.If(left == 0):
            m.d.sync += left.eq(Mux(self.gate == 0, 0, self.gate - 1))
        with m.Else():
            m.d.sync += left.eq(left - 1)

        # `over` is what the count of the tick before says: at `ended`, the whole gate's.
        over, judged = Signal(DETECTORS), Signal()
        m.d.sync += judged.eq(self.limit != 0)
        for d in range(DETECTORS):
            clicks, count = Signal(3, name=f"clicks_{d}"), Signal(_COUNT_BITS, name=f"count_{d}")
            m.d.sync += [clicks.eq(self.clicks[d]), over[d].eq((count > self.limit) & judged)]
            with m.If(ends):
                m.d.sync += count.eq(clicks)
            with m.Elif(~count[-1]):
                m.d.sync += count.eq(count + clicks)
        waits = Signal(32)
        m.d.sync += [
            self.detectors.eq(over | (self.detectors & ~ended.replicate(DETECTORS))),
            self.event.eq((over & ~self.detectors).any()),
            self.blocked.eq(self.detectors.any() | waits.any()),
        ]
        with m.If(self.detectors.any()):
            m.d.sync += waits.eq(self.backoff)
        with m.Elif(waits.any()):
            m.d.sync += waits.eq(waits - 1)
        return m
