"""Power monitors against the ranges of a route."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.switches import MONITOR_BITS, MonitorRange
from quantacore.gateware.network.routes import check_switches

__all__ = ["WATCH_TICKS", "RangeWatch"]

#: From monitors to what is said of them.
WATCH_TICKS = 3


class RangeWatch(wiring.Component):
    """Says which switches are out of range, WATCH_TICKS ticks after their monitors.

    Ranges and ``used`` count as they stand a tick, and two ticks, after the monitors.

    Parameters
    ----------
    switches : int

    Members
    -------
    monitors : In(16).array(switches)
    ranges : In(switches of MonitorRange)
    used : In(switches)
        Switches that matter.
    out : Out(switches)
        Used ones that are out of range,
    any : Out(1)
        and whether there are any.
    """

    def __init__(self, *, switches):
        check_switches(switches)
        self.switches = switches
        super().__init__({
            "monitors": In(MONITOR_BITS).array(switches),
            "ranges": In(data.ArrayLayout(MonitorRange, switches)),
            "used": In(switches), "out": Out(switches), "any": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        below, above = Signal(self.switches), Signal(self.switches)
        for k in range(self.switches):
            reading = Signal(MONITOR_BITS, name=f"reading_{k}")
            m.d.sync += [
                reading.eq(self.monitors[k]),
                below[k].eq(reading < self.ranges[k].low),
                above[k].eq(reading > self.ranges[k].high),
            ]
        out = Signal(self.switches)
        m.d.comb += out.eq((below | above) & self.used)
        m.d.sync += [self.out.eq(out), self.any.eq(out.any())]
        return m
