"""What moves the switches: requests, settling, fail-over, emergencies."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.switches import (
    CHANGE_TICKS,
    DEBOUNCE_BITS,
    DRIVE_BITS,
    MAX_SWITCHES,
    MONITOR_BITS,
    ROUTE_BITS,
    SETTLE_BITS,
    Refusal,
    RouteState,
)
from quantacore.gateware.network.monitors import WATCH_TICKS, RangeWatch
from quantacore.gateware.network.routes import check_switches, route_layout

__all__ = ["RouteMover"]


class RouteMover(wiring.Component):
    """Carries requests for routes out, and watches over the route in force.

    A request in tick u is looked up in u + 1 and decided in u + 2; the drives have the route's
    codes from u + CHANGE_TICKS on. Requests may come in every tick: each is carried out after the
    same time, so that the newest stands in the end. ``settling`` is high from u on until the route
    holds; for a request that is refused, until that is known.

    What decides in a tick is, in this order: the emergency, ``enable``, a request that is carried
    out, ``park``, a stuck switch, the end of settling, ``clear``.

    Parameters
    ----------
    switches : int

    Members
    -------
    enable, failover, hold : In(1)
        See :class:`~quantacore.gateware.layouts.switches.SwitchControl`.
    safe : In(16).array(switches)
    timeout : In(32), debounce : In(24)
        See the registers of the same names. They count as they stand at a change, and in the last
        tick in range.
    emergency : In(1)
    level : In(8)
        The sequencer's route: a change of it is a request. In an emergency, and while not enabled,
        it is none.
    host : In(1), host_route : In(8)
    timed : In(1), timed_route : In(8), late : In(1)
    clear, park : In(1)
    look : Out(1), route : Out(8), idle : In(4), known : In(1), found : In(route_layout(switches))
        To :class:`~quantacore.gateware.network.routes.RouteTable`.
    monitors : In(16).array(switches)
    drives : Out(16).array(switches)
        Registered; all change in the same tick.
    settling : Out(1)
        No attempt may start. Follows ``level`` and ``emergency`` in the same tick. Low while not
        enabled.
    state : Out(RouteState)
    present : Out(4), there : Out(1), failed_over : Out(1), requested : Out(8), out : Out(8)
        See :class:`~quantacore.gateware.layouts.switches.SwitchStatus`.
    settle_ticks : Out(32)
        Ticks of the present settling, up to and with the next one; stops at the largest number.
    asked : Out(2), changed, restarted, refused, took_over, settled, faulted : Out(1)
        Events: requests in a tick (0 to 3), and high for one clock each.
    superseded : Out(2)
        Requests in this tick that another one in it prevailed over.
    stuck : Out(8)
        Switches that were found stuck in this tick.
    refused_route : Out(8), reason : Out(Refusal)
        With ``refused``.
    """

    def __init__(self, *, switches):
        check_switches(switches)
        self.switches = switches
        layout = route_layout(switches)
        super().__init__({
            "enable": In(1), "failover": In(1), "hold": In(1),
            "safe": In(DRIVE_BITS).array(switches),
            "timeout": In(SETTLE_BITS), "debounce": In(DEBOUNCE_BITS),
            "emergency": In(1), "level": In(8), "host": In(1), "host_route": In(8),
            "timed": In(1), "timed_route": In(8), "late": In(1), "clear": In(1), "park": In(1),
            "look": Out(1), "route": Out(8), "idle": In(ROUTE_BITS), "known": In(1),
            "found": In(layout),
            "monitors": In(MONITOR_BITS).array(switches),
            "drives": Out(DRIVE_BITS).array(switches),
            "settling": Out(1), "state": Out(RouteState),
            "present": Out(ROUTE_BITS), "there": Out(1), "failed_over": Out(1),
            "requested": Out(8), "out": Out(MAX_SWITCHES), "settle_ticks": Out(SETTLE_BITS),
            "asked": Out(2), "superseded": Out(2), "changed": Out(1), "restarted": Out(1),
            "refused": Out(1), "took_over": Out(1), "settled": Out(1), "faulted": Out(1),
            "stuck": Out(MAX_SWITCHES), "refused_route": Out(8), "reason": Out(Refusal),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.watch = watch = RangeWatch(switches=self.switches)
        state, found = self.state, self.found

        def state_is(*states):
            return Cat(state == each for each in states).any()

        # Tick u: who asks for what.
        before, on = Signal(8), Signal()
        m.d.sync += before.eq(self.level)
        m.d.comb += on.eq(state != RouteState.OFF)
        moved, external = Signal(), Signal()
        first_valid, first_own, first_route = Signal(), Signal(), Signal(8)
        first_reason = Signal(Refusal)
        second_valid, second_own, second_route = Signal(), Signal(), Signal(8)
        second_reason = Signal(Refusal)
        instead, alternate = Signal(), Signal(ROUTE_BITS)
        m.d.comb += [
            moved.eq((self.level != before) & on & ~self.emergency),
            external.eq(moved | self.timed | self.host),
            self.asked.eq(moved + self.timed + self.host),
            self.superseded.eq(Mux(external, self.asked - 1, 0)),
        ]
        can_fail_over = Signal()
        clear_way = Signal()
        m.d.comb += clear_way.eq((state == RouteState.FAILING) & ~first_valid & ~second_valid)
        m.d.comb += instead.eq(clear_way & can_fail_over & ~external)
        m.d.sync += [first_valid.eq(external | instead), first_own.eq(~external),
                     first_reason.eq(Refusal.NONE)]
        with m.If(moved):
            m.d.sync += first_route.eq(self.level)
        with m.Elif(self.timed):
            m.d.sync += first_route.eq(self.timed_route)
        with m.Elif(self.host):
            m.d.sync += first_route.eq(self.host_route)
        with m.Elif(clear_way):
            m.d.sync += first_route.eq(alternate)
        with m.Else():
            m.d.sync += first_route.eq(self.idle)
        with m.If(~on):
            m.d.sync += first_reason.eq(Refusal.OFF)
        with m.Elif(self.emergency):
            m.d.sync += first_reason.eq(Refusal.EMERGENCY)
        with m.Elif(self.timed & self.late & ~moved):
            m.d.sync += first_reason.eq(Refusal.LATE)

        # Tick u + 1: is there such a route?
        second_good = Signal()
        m.d.comb += [self.look.eq(first_valid), self.route.eq(first_route)]
        m.d.sync += [second_valid.eq(first_valid), second_own.eq(first_own),
                     second_route.eq(first_route), second_reason.eq(first_reason),
                     second_good.eq(0)]
        with m.If(first_reason == Refusal.NONE):
            with m.If(self.emergency):
                m.d.sync += second_reason.eq(Refusal.EMERGENCY)
            with m.Elif(~on):
                m.d.sync += second_reason.eq(Refusal.OFF)
            with m.Elif(~self.known):
                m.d.sync += second_reason.eq(Refusal.UNKNOWN)
            with m.Else():
                m.d.sync += second_good.eq(first_valid)

        # Tick u + 2: may it be?
        reason, change = Signal(Refusal), Signal()
        failing, fault = Signal(), Signal()
        m.d.comb += [
            failing.eq(state == RouteState.FAILING), fault.eq(state == RouteState.FAULT),
            reason.eq(second_reason),
            change.eq(second_good & ~self.emergency & self.enable & on
                      & Mux(second_own, failing, ~fault)),
        ]
        with m.If(second_good):
            with m.If(self.emergency):
                m.d.comb += reason.eq(Refusal.EMERGENCY)
            with m.Elif(~self.enable | ~on):
                m.d.comb += reason.eq(Refusal.OFF)
            with m.Elif(fault):
                m.d.comb += reason.eq(Refusal.FAULT)
        # A request that is on its way may still be the way out.
        gives_up = Signal()
        m.d.comb += [
            gives_up.eq(failing & ~first_valid
                        & Mux(second_valid, second_own & ~second_good, ~can_fail_over)),
            self.changed.eq(change & ~second_own), self.took_over.eq(change & second_own),
            self.restarted.eq(self.changed & (state == RouteState.SETTLING)),
            self.refused.eq(second_valid & ~second_own & ~change),
            self.refused_route.eq(second_route), self.reason.eq(reason),
        ]

        # Tick u + 3: the route is in force.
        ranges, used = Signal(found.ranges.shape()), Signal(self.switches)
        has_alternate = Signal()
        remaining, due = Signal(SETTLE_BITS), Signal()
        patience, last = Signal(SETTLE_BITS), Signal()
        # Without waiting for what is decided: where the route may be, but is not to, there is none
        # whose monitors matter.
        third_good = Signal()
        m.d.sync += third_good.eq(second_good)
        with m.If(third_good):
            m.d.sync += [
                ranges.eq(found.ranges), used.eq(found.entry.used),
                alternate.eq(found.entry.alternate), has_alternate.eq(found.entry.has_alternate),
                remaining.eq(found.settle), due.eq(found.settle == 0),
                patience.eq(self.timeout), last.eq(self.timeout == 0),
                # Counted from the request, and one ahead.
                self.settle_ticks.eq(CHANGE_TICKS + 1),
            ]
        with m.Else():
            with m.If(~self.settle_ticks.all()):
                m.d.sync += self.settle_ticks.eq(self.settle_ticks + 1)
            with m.If(~due):
                m.d.sync += [remaining.eq(remaining - 1), due.eq(remaining[1:] == 0)]
            with m.Elif(~last):
                m.d.sync += [patience.eq(patience - 1), last.eq(patience[1:] == 0)]
        with m.If(change):
            m.d.sync += [self.present.eq(second_route), self.failed_over.eq(second_own)]
        with m.If(self.changed):
            m.d.sync += self.requested.eq(second_route)
        m.d.comb += can_fail_over.eq(self.failover & has_alternate & ~self.failed_over)

        # Monitors of a tick, and whether they count, come to be judged together; those of before a
        # change never do.
        judged, final = Signal(WATCH_TICKS), Signal(WATCH_TICKS)
        before_change = second_good | third_good
        m.d.sync += [
            judged.eq(Mux(before_change, 0, Cat(due, judged))),
            final.eq(Mux(before_change, 0, Cat(due & last, final))),
        ]
        m.d.comb += [watch.ranges.eq(ranges), watch.used.eq(used)]
        m.d.comb += [ours.eq(theirs) for ours, theirs in
                     zip(watch.monitors, self.monitors, strict=True)]
        left, none_left = Signal(DEBOUNCE_BITS), Signal()
        wrong, right = Signal(), Signal()
        m.d.comb += [wrong.eq(judged[-1] & watch.any), right.eq(judged[-1] & ~watch.any)]
        with m.If(wrong & (state == RouteState.HOLDING)):
            m.d.sync += [left.eq(left - 1), none_left.eq(left[1:] == 0)]
        with m.Else():
            m.d.sync += [left.eq(self.debounce), none_left.eq(self.debounce == 0)]
        stuck = Signal()
        m.d.comb += [
            stuck.eq(wrong & ((state == RouteState.SETTLING) & final[-1]
                              | (state == RouteState.HOLDING) & none_left)),
            self.settled.eq(right & (state == RouteState.SETTLING)),
            self.stuck.eq(watch.out & stuck.replicate(self.switches)),
            self.out.eq(Mux(
                judged[-1] & state_is(RouteState.SETTLING, RouteState.HOLDING), watch.out, 0)),
        ]

        # What becomes of it.
        safe = Signal()
        m.d.comb += safe.eq(self.emergency | on & ~self.enable | self.park & ~change & self.enable
                            | gives_up & ~self.hold & ~self.park & self.enable)
        with m.If(self.emergency):
            m.d.sync += state.eq(Mux(self.enable, RouteState.EMERGENCY, RouteState.OFF))
        with m.Elif(~self.enable):
            m.d.sync += state.eq(RouteState.OFF)
        with m.Elif(change):
            m.d.sync += state.eq(RouteState.SETTLING)
        with m.Elif(self.park):
            m.d.sync += state.eq(RouteState.IDLE)
        with m.Elif(state_is(RouteState.OFF, RouteState.EMERGENCY)):
            m.d.sync += state.eq(RouteState.IDLE)
        with m.Elif(stuck):
            m.d.sync += state.eq(RouteState.FAILING)
        with m.Elif(gives_up):
            m.d.comb += self.faulted.eq(1)
            m.d.sync += state.eq(RouteState.FAULT)
        with m.Elif(self.settled):
            m.d.sync += state.eq(RouteState.HOLDING)
        with m.Elif(fault & self.clear):
            m.d.sync += state.eq(RouteState.IDLE)

        # All drives change a tick after it was decided, because they are many.
        staged, to_route, to_safe = Signal(found.drives.shape()), Signal(), Signal()
        m.d.sync += [staged.eq(found.drives), to_route.eq(change), to_safe.eq(safe)]
        with m.If(safe):
            m.d.sync += self.there.eq(0)
        with m.Elif(change):
            m.d.sync += self.there.eq(1)
        with m.If(to_safe):
            m.d.sync += [drive.eq(code) for drive, code in
                         zip(self.drives, self.safe, strict=True)]
        with m.Elif(to_route):
            m.d.sync += [drive.eq(staged[k]) for k, drive in enumerate(self.drives)]
        m.d.comb += self.settling.eq(
            on & (external | self.emergency | first_valid | second_valid
                  | (state != RouteState.HOLDING)))
        return m
