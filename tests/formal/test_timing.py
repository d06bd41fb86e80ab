"""Contracts of the time base: for all time, or for every short history."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.telemetry.sticky import StickyFlags
from quantacore.gateware.timing.counter import SplitCounter, TickCounter
from quantacore.gateware.timing.triggers import Trigger
from quantacore.sim.bench.formal import prove


class NaiveCounter(wiring.Component):
    """The split counter equals a 64-bit register that counts."""

    load: In(1)
    value: In(64)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = SplitCounter(init=0xFFFFFFFE)
        naive = Signal(64, init=0xFFFFFFFE)
        m.d.comb += [dut.load.eq(self.load), dut.value.eq(self.value)]
        m.d.sync += naive.eq(Mux(self.load, self.value, naive + 1))
        m.d.comb += Assert(dut.count == naive)
        return m


class LeadHolds(wiring.Component):
    """``tick`` reads what ``ahead`` read two clocks before, and both count by one."""

    load: In(1)
    value: In(64)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = TickCounter()
        m.d.comb += [dut.load.eq(self.load), dut.value.eq(self.value)]
        before, before_2, loaded = Signal(64, init=1), Signal(64), Signal(3)
        m.d.sync += [before.eq(dut.ahead), before_2.eq(before),
                     loaded.eq(Cat(self.load, loaded))]
        m.d.comb += Assert(dut.tick == before_2)
        last = Signal(64)
        running = Signal()
        m.d.sync += [last.eq(dut.tick), running.eq(1)]
        with m.If(running & ~loaded[2]):
            m.d.comb += Assert(dut.tick == (last + 1)[:64])
        return m


class FiresOnce(wiring.Component):
    """From armed to armed a trigger fires at most once, never early, never when disarmed."""

    time: In(64)
    arm: In(1)
    disarm: In(1)
    load: In(1)
    value: In(64)

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = TickCounter()
        m.submodules.dut = dut = Trigger()
        time = Signal(64)
        # The register takes a new time in the clock in which it arms.
        m.d.comb += time.eq(Mux(self.arm, self.time, dut_time := Signal(64, name="held")))
        m.d.sync += dut_time.eq(time)
        m.d.comb += [
            counter.load.eq(self.load), counter.value.eq(self.value),
            dut.ahead.eq(counter.ahead), dut.time.eq(time), dut.arm.eq(self.arm),
            dut.disarm.eq(self.disarm),
        ]
        armings, fires = Signal(8), Signal(8)
        m.d.sync += [armings.eq(armings + self.arm), fires.eq(fires + dut.fire)]
        m.d.comb += Assert(fires + dut.fire <= armings)

        # Time for which it is armed; one that is armed anew in its last clock fires the old one.
        held_1, held_2 = Signal(64), Signal(64)
        m.d.sync += [held_1.eq(time), held_2.eq(held_1)]
        disarmed = Signal()
        m.d.sync += disarmed.eq(self.disarm)
        with m.If(dut.fire):
            m.d.comb += [
                Assert(counter.tick >= held_2),
                Assert(dut.late == (counter.tick > held_2)),
                Assert(~disarmed),
            ]
        with m.Else():
            m.d.comb += Assert(~dut.late)
        # A trigger that is due and not touched does not stay armed.
        due = Signal(2)
        quiet = ~self.arm & ~self.disarm
        m.d.sync += due.eq(Cat(quiet & dut.armed & (counter.ahead >= time), due[0] & quiet))
        m.d.comb += Assert(~(due[1] & dut.armed))
        return m


class StickyContract(wiring.Component):
    """Count, first time and flag equal what a naive observer writes down."""

    events: In(2)
    clear: In(2)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = StickyFlags(2)
        now = Signal(64)
        m.d.sync += now.eq(now + 1)
        m.d.comb += [dut.events.eq(self.events), dut.clear.eq(self.clear), dut.now.eq(now)]
        for i in range(2):
            count, first = Signal(33, name=f"count_{i}"), Signal(64, name=f"first_{i}")
            kept = Mux(self.clear[i], 0, count)
            m.d.comb += Assume(~count[32])
            m.d.sync += count.eq(kept + self.events[i])
            with m.If(self.events[i] & (kept == 0)):
                m.d.sync += first.eq(now)
            with m.Elif(self.clear[i]):
                m.d.sync += first.eq(0)
            m.d.comb += [
                Assert(dut.flags[i] == (count != 0)),
                Assert(dut.counts[i] == count),
                Assert(dut.times[i] == first),
            ]
        return m


def test_split_counter_equals_a_naive_one():
    prove(NaiveCounter(), "split_counter", depth=2)


def test_tick_follows_ahead_and_counts_by_one():
    prove(LeadHolds(), "tick_counter", depth=5)


def test_trigger_fires_once_on_time_or_late():
    prove(FiresOnce(), "trigger", depth=12, mode="bmc")


def test_sticky_flags_equal_a_naive_observer():
    prove(StickyContract(), "sticky_flags", depth=3)
