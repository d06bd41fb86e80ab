"""Contracts of the photonic switches: for any table, monitors, requests and emergencies."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.layouts.switches import (
    CHANGE_TICKS,
    DRIVE_BITS,
    MAX_SWITCHES,
    MONITOR_BITS,
    MONITOR_TICKS,
    ROUTE_BITS,
    ROUTE_WORDS,
    ROUTES,
    RouteAddress,
    RouteLoad,
    RouteState,
    RouteWord,
)
from quantacore.gateware.network.mover import RouteMover
from quantacore.gateware.network.routes import RouteTable, route_layout
from quantacore.sim.bench.formal import prove, prove_bounded

_SWITCHES = 2


class _AnyWorld(wiring.Component):
    """A mover in any world, whose table answers anything."""

    enable: In(1)
    failover: In(1)
    hold: In(1)
    safe: In(DRIVE_BITS).array(_SWITCHES)
    timeout: In(32)
    debounce: In(24)
    emergency: In(1)
    level: In(8)
    host: In(1)
    host_route: In(8)
    timed: In(1)
    timed_route: In(8)
    late: In(1)
    clear: In(1)
    park: In(1)
    known: In(1)
    found: In(route_layout(_SWITCHES))
    monitors: In(MONITOR_BITS).array(_SWITCHES)

    def mover(self, m):
        m.submodules.mover = mover = RouteMover(switches=_SWITCHES)
        for name in type(self).__mro__[1].__annotations__:
            ours, theirs = getattr(self, name), getattr(mover, name)
            if name in ("safe", "monitors"):
                m.d.comb += [b.eq(a) for a, b in zip(ours, theirs, strict=True)]
            else:
                m.d.comb += theirs.eq(ours)
        # A request as everybody may see it.
        before, asked = Signal(8), Signal()
        m.d.sync += before.eq(self.level)
        on = mover.state != RouteState.OFF
        m.d.comb += asked.eq((self.level != before) & on & ~self.emergency
                             | self.timed | self.host)
        return mover, asked, on


class Together(_AnyWorld):
    """All drives change in the same tick, and what they change to is one whole route, or the safe
    codes, never some of each."""

    def elaborate(self, platform):
        m = Module()
        mover, _, _ = self.mover(m)
        drives = Cat(mover.drives)
        was, found, route, safe = (Signal(_SWITCHES * DRIVE_BITS) for _ in range(4))
        begun, decided, changed = Signal(), Signal(), Signal()
        m.d.sync += [was.eq(drives), found.eq(Cat(*self.found.drives)), route.eq(found),
                     safe.eq(Cat(*self.safe)), begun.eq(1), changed.eq(decided),
                     decided.eq(mover.changed | mover.took_over)]
        with m.If(begun):
            m.d.comb += Assert((drives == was) | changed & (drives == route) | (drives == safe))
            # Once there is something to be carried out, it is.
            m.d.comb += Assert(~changed | (drives == route))
        with m.Else():
            m.d.comb += Assert(drives == 0)
        return m


class InTime(_AnyWorld):
    """A request is carried out, or refused, after its ticks, whatever else comes: never both,
    never neither; and nothing else is."""

    def elaborate(self, platform):
        m = Module()
        mover, asked, on = self.mover(m)
        decides = CHANGE_TICKS - 2
        history, safe = Signal(decides), Signal(decides)
        m.d.sync += [history.eq(Cat(asked, history)), safe.eq(Cat(self.emergency | ~on, safe))]
        m.d.comb += [
            Assert(history[-1] == (mover.changed | mover.refused)),
            Assert(~(mover.changed & mover.refused)),
            Assert(~(mover.took_over & (mover.changed | mover.refused))),
            # No route in an emergency, from the tick of its request on.
            Assert(~((safe.any() | self.emergency | ~self.enable) & mover.changed)),
            Assert(~((self.emergency | ~self.enable) & mover.took_over)),
        ]
        return m


class Interlock(_AnyWorld):
    """``settling`` is high in the tick of a request, and from then on without a gap until the
    settle time is over and all monitors that the route uses were in range; while it is low and the
    switches are enabled, a route holds."""

    def elaborate(self, platform):
        m = Module()
        mover, asked, on = self.mover(m)
        # The route in force as a bystander sees it, and how long it has been.
        route, age, there = Signal.like(self.found), Signal(8), Signal()
        change, changing = mover.changed | mover.took_over, Signal()
        m.d.sync += changing.eq(change)
        # The drives change a tick after that, and with them the ranges that count.
        with m.If(change):
            m.d.sync += there.eq(1)
        with m.If(changing):
            m.d.sync += [route.eq(self.found), age.eq(0)]
        with m.Elif(~age.all()):
            m.d.sync += age.eq(age + 1)
        # The last ticks' monitors were right, by this route's ranges.
        right = Cat((self.monitors[k] >= route.ranges[k].low)
                    & (self.monitors[k] <= route.ranges[k].high) | ~route.entry.used[k]
                    for k in range(_SWITCHES)).all()
        rights = Signal(MONITOR_TICKS)
        m.d.sync += rights.eq(Mux(change | changing, 0,
                                  Cat(right & (age >= route.settle), rights)))

        # Open: some tick since the change has found all right; and no request is on its way.
        opened, under_way = Signal(), Signal(CHANGE_TICKS - 2)
        m.d.sync += under_way.eq(Cat(asked, under_way))
        with m.If(change | ~on):
            m.d.sync += opened.eq(0)
        with m.Elif(rights[MONITOR_TICKS - 2]):
            m.d.sync += opened.eq(1)
        with m.If(on):
            m.d.comb += [
                Assert(mover.settling | there & opened),
                Assert(mover.settling | ~(asked | under_way.any() | self.emergency)),
                Assert(mover.settling | (mover.state == RouteState.HOLDING)),
            ]
        with m.Else():
            m.d.comb += Assert(~mover.settling)
        # What can be told of in so few ticks.
        m.d.comb += Assume(self.found.settle < 8)
        return m


class Once(_AnyWorld):
    """An alternate takes over at most once for each request that is carried out, and only after a
    switch was stuck."""

    def elaborate(self, platform):
        m = Module()
        mover, _, _ = self.mover(m)
        already, stuck = Signal(), Signal()
        with m.If(mover.changed):
            m.d.sync += [already.eq(0), stuck.eq(0)]
        with m.Elif(mover.took_over):
            m.d.sync += [already.eq(1), stuck.eq(0)]
        with m.Elif(mover.stuck.any()):
            m.d.sync += stuck.eq(1)
        m.d.comb += [
            Assert(~(mover.took_over & already)), Assert(~(mover.took_over & ~stuck)),
            Assert(already == mover.failed_over),
            Assert(stuck | (mover.state != RouteState.FAILING)),
        ]
        return m


class Whole(wiring.Component):
    """A route becomes known only by a commit after all its words; its ``begin`` makes it unknown,
    with no word there; and no word is ever taken for a route that is known."""

    look: In(1)
    route: In(8)
    load_valid: In(1)
    load: In(RouteLoad)
    address_valid: In(1)
    address: In(RouteAddress)
    word_valid: In(1)
    word: In(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = RouteTable(switches=1)
        for name in type(self).__annotations__:
            m.d.comb += getattr(table, name).eq(getattr(self, name))
        loading = table.loading
        # Registers are written one at a time.
        m.d.comb += Assume(self.load_valid + self.address_valid + self.word_valid <= 1)
        begun, word_before, committed, begins = Signal(), Signal(), Signal(), Signal()
        loaded_before, words_before = Signal(ROUTES), Signal(ROUTE_WORDS)
        route_before = Signal(ROUTE_BITS)
        complete = loading.active & loading.words.all() & (loading.route == self.load.route)
        m.d.sync += [
            begun.eq(1), word_before.eq(self.word_valid), route_before.eq(self.load.route),
            begins.eq(self.load_valid & self.load.begin),
            committed.eq(self.load_valid & ~self.load.begin & self.load.commit & complete),
            loaded_before.eq(table.loaded), words_before.eq(loading.words),
        ]
        new = Signal(ROUTES)
        m.d.comb += new.eq(table.loaded & ~loaded_before)
        absent = sum(1 << first + k for first in (RouteWord.DRIVE.value, RouteWord.RANGE.value)
                     for k in range(1, MAX_SWITCHES))
        with m.If(begun):
            m.d.comb += Assert((new == 0) | committed & (new == 1 << route_before))
            with m.If(begins):
                m.d.comb += [Assert(~table.loaded.bit_select(route_before, 1)),
                             Assert(loading.words == absent)]
            with m.If(word_before & ~table.refused):
                m.d.comb += [Assert(loading.active),
                             Assert(~table.loaded.bit_select(loading.route, 1))]
            with m.Elif(~begins):
                m.d.comb += Assert(loading.words == words_before)
        with m.Else():
            m.d.comb += Assert(table.loaded == 0)
        m.d.comb += Assert(~(loading.active & table.loaded.bit_select(loading.route, 1)))
        m.d.comb += Assert(table.known == ((self.route < ROUTES)
                                           & table.loaded.bit_select(self.route[:ROUTE_BITS], 1)))
        return m


def test_drives_change_together_and_never_mix_routes():
    prove_bounded(Together(), "switches_together", depth=9)


def test_every_request_is_decided_in_time():
    prove(InTime(), "switches_in_time", depth=4)


def test_no_attempt_may_start_while_a_switch_moves():
    prove_bounded(Interlock(), "switches_interlock", depth=12)


def test_an_alternate_takes_over_once():
    prove(Once(), "switches_once", depth=6)


def test_a_route_is_known_only_as_a_whole():
    prove(Whole(), "switches_whole", depth=3, passes="delete t:$mem_v2; opt_clean")
