"""The switches behind their registers: every tick's outputs are the golden model's."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.switches import (
    CHANGE_TICKS,
    FAILOVER_TICKS,
    MAX_SWITCHES,
    MONITOR_TICKS,
    ROUTE_WORDS,
    ROUTES,
    SAFE_TICKS,
    SWITCHES,
    Refusal,
    RefusedRequest,
    RouteAddress,
    RouteLoad,
    RouteState,
    SwitchAction,
    SwitchControl,
    SwitchFlags,
    SwitchStatus,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.golden.switches import Route, RouteTableModel, SwitchesModel

COUNT = int(os.environ["QC_SWITCHES"])
REGISTERS = {register.name: (offset, register) for offset, register in SWITCHES.offsets()}
FLAGS = [name for name, _ in SwitchFlags.as_shape()]
#: From a write on the block's bus to the tick in which it acts.
ACTS = 2
#: From the tick in which start_time acts to the first in which its request can be.
ARMS = 2
#: From a write to the table, or its address, to the tick in which it can be read back.
READS = 8


class Bench:
    """The unit and its models, tick by tick."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        self.level, self.emergency = 0, False
        self.monitors = [0] * COUNT
        self.wrong = set()

    async def reset(self):
        self.level, self.emergency = 0, False
        self.table = RouteTableModel(COUNT)
        self.model = SwitchesModel(switches=COUNT, routes=self.table.routes, timeout=125_000,
                                   debounce=125)
        self.acts, self.later = {}, {}
        self.start_route, self.fires = 0, {}
        self.late, self.refused, self.emergencies = 0, 0, 0
        self.was_emergency = False
        dut = self.dut
        dut.csr__read.value = dut.csr__write.value = 0
        dut.route.value = dut.emergency.value = 0
        dut.rst.value = 1
        for _ in range(2):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        await FallingEdge(dut.clk)

    @property
    def now(self):
        return self.model.now

    def show(self):
        """Put what the monitors read at the inputs: in range, but for switches that are wrong."""
        route = self.model._route
        for k in range(COUNT):
            low, high = (0, 0) if route is None else route.ranges[k]
            if k in self.wrong:
                value = high + 1 if high < 0xFFFF else max(low - 1, 0)
            else:
                value = low if self.now & 1 else high
            if value != self.monitors[k]:
                self.monitors[k] = value
                getattr(self.dut, f"monitors__{k}").value = value

    async def tick(self):
        """One tick; outputs are compared with the model's."""
        dut, model, now = self.dut, self.model, self.now
        inputs = {}
        for name, value in self.acts.pop(now, ()):
            if name in ("host", "park", "clear"):
                inputs[name] = value
            elif name == "clear_counts":
                # The counts are a tick behind.
                pass
            elif name == "start_route":
                self.start_route = value
            elif name == "start_time":
                # One that is due in the next tick can't be called back.
                self.fires = {at: late for at, late in self.fires.items() if at <= now + 1}
                self.fires[max(value, now + ARMS)] = value < now + ARMS
            elif name == "disarm":
                self.fires = {at: late for at, late in self.fires.items() if at <= now}
            elif name == "safe":
                model.safe[value[0]] = value[1]
            else:
                setattr(model, name, value)
        if now in self.fires:
            inputs.update(timed=self.start_route, late=self.fires.pop(now))
            self.late += inputs["late"]
        self.emergencies += self.emergency and not self.was_emergency
        self.was_emergency = self.emergency
        self.show()
        dut.tick.value = now
        dut.route.value = self.level
        dut.emergency.value = self.emergency
        await RisingEdge(dut.clk)
        shown = (tuple(int(getattr(dut, f"drives__{k}").value) for k in range(COUNT)),
                 bool(dut.settling.value), RouteState(int(dut.state.value)))
        done = int(dut.csr__done.value), int(dut.csr__r_data.value)
        status = Status(int(dut.csr__status.value))
        expected = model.tick(level=self.level, emergency=self.emergency,
                              monitors=self.monitors, **inputs)
        assert shown == expected, f"tick {now}: {shown} is not {expected}"
        for name, value in self.later.pop(now, ()):
            getattr(self.table, name)(value)
        await FallingEdge(dut.clk)
        if done[0]:
            assert status is Status.ACK
        return done

    async def ticks(self, number):
        for _ in range(number):
            await self.tick()

    async def until(self, state, most=5000):
        """Until the model is in a state."""
        for _ in range(most):
            if self.model.state is state:
                return
            await self.tick()
        raise AssertionError(f"{state} did not come in {most} ticks")

    # Registers.

    async def word(self, address, value, effects=(), table=()):
        self.dut.csr__address.value = address
        self.dut.csr__w_data.value = value
        self.dut.csr__write.value = 1
        at = self.now + ACTS
        self.acts.setdefault(at, []).extend(effects)
        self.later.setdefault(at, []).extend(table)
        await self.tick()
        self.dut.csr__write.value = 0
        await self.ticks(3)

    async def write(self, name, bits, index=0):
        """Write a register; what it does is told to the models."""
        offset, register = REGISTERS[name]
        effects, table = [], []
        if name == "control":
            control = SwitchControl.from_bits(bits)
            effects = [(part, bool(getattr(control, part)))
                       for part in ("enable", "failover", "hold")]
        elif name == "action":
            action = SwitchAction.from_bits(bits)
            effects = [(part, True) for part in ("clear", "park", "disarm")
                       if getattr(action, part)]
        elif name == "request":
            effects = [("host", bits)]
        elif name == "safe":
            effects = [("safe", (index, bits))] if index < COUNT else []
        elif name in ("timeout", "debounce", "start_route", "start_time"):
            effects = [(name, bits)]
        elif name in ("load", "table_address", "table_data"):
            table = [({"load": "load", "table_address": "address", "table_data": "word"}[name],
                      bits)]
        if register.words == 2:
            await self.word(offset + 2 * index, bits & 0xFFFF_FFFF)
            await self.word(offset + 2 * index + 1, bits >> 32, effects)
        else:
            await self.word(offset + index, bits, effects, table)

    async def read(self, name, index=0):
        offset, register = REGISTERS[name]
        value = 0
        for part in range(register.words):
            self.dut.csr__address.value = offset + index * register.words + part
            self.dut.csr__read.value = 1
            await self.tick()
            self.dut.csr__read.value = 0
            for _ in range(5):
                done, data = await self.tick()
                if done:
                    value |= data << 32 * part
        return value

    async def action(self, **bits):
        await self.write("action", SwitchAction.const(bits).as_bits())

    async def control(self, **bits):
        await self.write("control", SwitchControl.const(bits).as_bits())

    async def load(self, number, route, *, commit=True):
        await self.write("load", RouteLoad.const({"begin": 1, "route": number}).as_bits())
        for word, value in sorted(route.words(COUNT).items()):
            await self.write("table_address", RouteAddress.const(
                {"route": number, "word": word}).as_bits())
            await self.write("table_data", value)
        if commit:
            await self.write("load", RouteLoad.const({"commit": 1, "route": number}).as_bits())
            assert number in self.model.routes

    async def compare(self):
        """Everything that registers show, at rest."""
        model = self.model
        status = SwitchStatus.from_bits(await self.read("status"))
        assert (RouteState(status.state), status.route, bool(status.there), status.requested,
                bool(status.failed_over)) == (
            model.state, model.present, model.there, model.requested,
            model.failed_over and model.there)
        for name, count in vars(model.counts).items():
            assert await self.read(name) == count, name
        refused = RefusedRequest.from_bits(await self.read("refused_last"))
        assert (refused.route, Refusal(refused.reason)) == model.refused_last
        assert await self.read("settle_last") == model.settle_last
        assert await self.read("settle_max") == model.settle_max
        assert await self.read("loaded") == self.table.loaded
        counts = {f"stuck_{k}": n for k, n in enumerate(model.stuck)} | {
            "failed_over": model.counts.failovers, "fault": model.faults,
            "refused": model.counts.refused, "late": self.late,
            "load_refused": self.table.refused, "emergency": self.emergencies}
        flags = await self.read("flags")
        for i, name in enumerate(FLAGS):
            assert await self.read("flag_counts", i) == counts.get(name, 0), name
            assert flags >> i & 1 == (counts.get(name, 0) > 0), name
        for k in range(COUNT):
            assert await self.read("drives", k) == model.drives[k]


async def begin(dut):
    cocotb.log.info("seed %#x", seed_from_environment())
    cocotb.start_soon(Clock(dut.clk, 8, unit="ns").start())
    dut.csr__address.value = dut.csr__w_data.value = 0
    for k in range(COUNT):
        getattr(dut, f"monitors__{k}").value = 0
    bench = Bench(dut, random.Random(random.getrandbits(64)))
    await bench.reset()
    return bench


def random_route(rng, *, alternate=None, settle=None, used=None):
    ranges = []
    for _ in range(COUNT):
        low = rng.randrange(1, 0xFFF0)
        ranges.append((low, rng.choice([low, low + 1, rng.randrange(low, 0xFFFF)])))
    return Route(drives=tuple(rng.getrandbits(16) for _ in range(COUNT)), ranges=tuple(ranges),
                 settle=rng.choice([0, 1, 2, 3, rng.randrange(60)]) if settle is None else settle,
                 used=frozenset(k for k in range(COUNT) if rng.random() < 0.7)
                 if used is None else frozenset(used), alternate=alternate)


async def three_routes(dut, **control):
    """Route 1, its alternate 2, and 3 without one; enabled."""
    bench = await begin(dut)
    rng = bench.rng
    await bench.load(1, random_route(rng, alternate=2, settle=20, used={0, 3}))
    await bench.load(2, random_route(rng, settle=10, used={1, 3}, alternate=1))
    await bench.load(3, random_route(rng, settle=5, used=range(COUNT)))
    for k in range(COUNT):
        await bench.write("safe", 0x1000 + k, k)
    await bench.write("timeout", 30)
    await bench.write("debounce", 4)
    await bench.control(enable=1, failover=1, **control)
    await bench.until(RouteState.IDLE)
    return bench


@cocotb.test()
async def a_request_of_the_sequencer_takes_its_ticks(dut):
    bench = await three_routes(dut)
    await bench.until(RouteState.IDLE)
    at = bench.now
    bench.level = 1
    await bench.ticks(CHANGE_TICKS - 1)
    assert bench.model.drives != bench.model.routes[1].drives
    await bench.tick()
    assert bench.model.drives == bench.model.routes[1].drives
    await bench.until(RouteState.HOLDING)
    # The monitors of the first tick after the settle time end it.
    assert bench.now == at + CHANGE_TICKS + 20 + MONITOR_TICKS
    assert bench.model.settle_last == bench.now - at
    await bench.compare()


@cocotb.test()
async def monitors_that_come_late_end_settling(dut):
    bench = await three_routes(dut)
    bench.wrong = {3}
    bench.level = 1
    await bench.ticks(CHANGE_TICKS + 20 + 25)
    assert bench.model.state is RouteState.SETTLING
    bench.wrong = set()
    at = bench.now
    await bench.until(RouteState.HOLDING)
    assert bench.now == at + MONITOR_TICKS
    await bench.compare()


@cocotb.test()
async def a_switch_that_is_not_used_does_not_matter(dut):
    bench = await three_routes(dut)
    bench.wrong = {1, 2, 4}
    bench.level = 1
    await bench.until(RouteState.HOLDING)
    await bench.ticks(50)
    assert bench.model.state is RouteState.HOLDING and not any(bench.model.stuck)
    await bench.compare()


@cocotb.test()
async def a_stuck_switch_makes_the_alternate_take_over(dut):
    bench = await three_routes(dut)
    bench.wrong = {0}
    bench.level = 1
    # The last monitors that may be wrong are those of the time-out.
    last = bench.now + CHANGE_TICKS + 20 + 30
    await bench.until(RouteState.FAILING)
    while bench.model.drives != bench.model.routes[2].drives:
        await bench.tick()
    assert bench.now == last + FAILOVER_TICKS
    assert bench.model.stuck[0] == 1 and bench.model.counts.failovers == 1
    await bench.until(RouteState.HOLDING)
    assert (bench.model.present, bench.model.requested) == (2, 1)
    await bench.compare()


@cocotb.test()
async def a_route_that_is_lost_while_it_holds(dut):
    bench = await three_routes(dut)
    bench.level = 1
    await bench.until(RouteState.HOLDING)
    # As many ticks as the debounce allows, and then one more.
    bench.wrong = {3}
    await bench.ticks(4)
    bench.wrong = set()
    await bench.ticks(20)
    assert bench.model.state is RouteState.HOLDING
    bench.wrong = {3, 0}
    await bench.ticks(5)
    bench.wrong = set()
    await bench.ticks(20)
    assert bench.model.stuck[3] == bench.model.stuck[0] == 1
    await bench.until(RouteState.HOLDING)
    assert bench.model.present == 2
    await bench.compare()


async def _both_fail(dut, **control):
    bench = await three_routes(dut, **control)
    bench.wrong = {3}
    bench.level = 1
    await bench.until(RouteState.FAULT)
    assert bench.model.counts.failovers == 1 and bench.model.stuck[3] == 2
    bench.wrong = set()
    await bench.ticks(100)
    # Whoever asks.
    bench.level = 3
    await bench.ticks(10)
    await bench.write("request", 3)
    await bench.ticks(10)
    assert bench.model.state is RouteState.FAULT
    assert bench.model.refused_last == (3, Refusal.FAULT)
    return bench


@cocotb.test()
async def an_alternate_that_fails_too_is_a_fault(dut):
    bench = await _both_fail(dut)
    assert bench.model.drives == tuple(0x1000 + k for k in range(COUNT))
    await bench.compare()
    await bench.action(clear=1)
    assert bench.model.state is RouteState.IDLE
    bench.level = 1
    await bench.until(RouteState.HOLDING)
    await bench.compare()


@cocotb.test()
async def a_fault_may_hold_the_drives(dut):
    bench = await _both_fail(dut, hold=1)
    assert bench.model.drives == bench.model.routes[2].drives
    await bench.compare()
    await bench.action(park=1)
    assert bench.model.state is RouteState.IDLE
    assert bench.model.drives == tuple(0x1000 + k for k in range(COUNT))


@cocotb.test()
async def an_alternate_that_is_not_there_is_a_fault(dut):
    bench = await three_routes(dut)
    await bench.write("load", RouteLoad.const({"discard": 1, "route": 2}).as_bits())
    bench.wrong = {0}
    bench.level = 1
    await bench.until(RouteState.FAULT)
    assert bench.model.counts.failovers == 0
    await bench.compare()


@cocotb.test()
async def unknown_routes_are_refused(dut):
    bench = await three_routes(dut)
    bench.level = 1
    await bench.until(RouteState.HOLDING)
    await bench.load(5, random_route(bench.rng), commit=False)
    for number in (5, 4, 17, 255):
        bench.level = number
        await bench.ticks(CHANGE_TICKS + 2)
        assert bench.model.refused_last == (number, Refusal.UNKNOWN)
        assert bench.model.state is RouteState.HOLDING and bench.model.present == 1
    await bench.compare()


@cocotb.test()
async def the_newest_request_wins(dut):
    bench = await three_routes(dut)
    bench.level = 1
    await bench.tick()
    bench.level = 3
    await bench.tick()
    bench.level = 2
    await bench.ticks(CHANGE_TICKS + 3)
    bench.level = 3
    await bench.until(RouteState.HOLDING)
    assert bench.model.present == 3
    assert (bench.model.counts.changes, bench.model.counts.restarts) == (4, 3)
    await bench.compare()


@cocotb.test()
async def a_request_at_a_time(dut):
    bench = await three_routes(dut)
    at = bench.now + 40
    await bench.write("start_route", 3)
    await bench.write("start_time", at)
    while bench.model.drives != bench.model.routes[3].drives:
        await bench.tick()
    assert bench.now == at + CHANGE_TICKS
    await bench.until(RouteState.HOLDING)
    await bench.write("start_time", bench.now - 1)
    await bench.ticks(10)
    assert bench.model.refused_last == (3, Refusal.LATE) and bench.late == 1
    # One that is forgotten.
    await bench.write("start_time", bench.now + 40)
    assert SwitchStatus.from_bits(await bench.read("status")).armed
    await bench.action(disarm=1)
    await bench.ticks(60)
    assert bench.model.counts.requests == 2
    # All three at once.
    at = bench.now + 20
    await bench.write("start_time", at)
    await bench.ticks(at - ACTS - bench.now)
    bench.dut.csr__address.value = REGISTERS["request"][0]
    bench.dut.csr__w_data.value = 2
    bench.dut.csr__write.value = 1
    bench.acts.setdefault(at, []).append(("host", 2))
    await bench.tick()
    bench.dut.csr__write.value = 0
    await bench.ticks(ACTS - 1)
    bench.level = 1
    await bench.ticks(10)
    assert bench.model.counts.superseded == 2 and bench.model.present == 1
    await bench.compare()


@cocotb.test()
async def an_emergency_is_safe_at_once(dut):
    bench = await three_routes(dut)
    safe = tuple(0x1000 + k for k in range(COUNT))
    bench.level = 1
    await bench.until(RouteState.HOLDING)
    bench.emergency = True
    await bench.ticks(SAFE_TICKS)
    assert bench.model.drives == safe
    # The sequencer makes its own route safe then.
    bench.level = 2
    await bench.ticks(20)
    await bench.write("request", 3)
    bench.emergency = False
    await bench.ticks(20)
    assert bench.model.state is RouteState.IDLE and bench.model.drives == safe
    assert bench.model.refused_last == (3, Refusal.EMERGENCY)
    # An emergency of one tick, with requests before, in and behind it.
    bench.level = 1
    await bench.tick()
    bench.level = 2
    await bench.tick()
    bench.level, bench.emergency = 3, True
    await bench.tick()
    bench.emergency = False
    await bench.ticks(10)
    assert bench.model.state is RouteState.IDLE and bench.model.drives == safe
    assert bench.model.counts.refused == 3
    bench.level = 1
    await bench.until(RouteState.HOLDING)
    await bench.compare()


@cocotb.test()
async def a_reset_in_the_middle(dut):
    bench = await three_routes(dut)
    for ticks in (1, 2, 3, 4, 15, 40, 60, 90):
        bench.wrong = {3} if ticks > 40 else set()
        bench.level = 1
        await bench.ticks(ticks)
        await bench.reset()
        assert bench.model.drives == (0,) * COUNT
        await bench.ticks(10)
        await bench.control(enable=1, failover=1)
        # The table's words may still be there, but it knows no route.
        bench.level = 1
        await bench.ticks(20)
        assert bench.model.state is RouteState.IDLE
        assert bench.model.refused_last == (1, Refusal.UNKNOWN)
        await bench.compare()
        await bench.load(1, random_route(bench.rng, alternate=1, settle=20, used={3}))


@cocotb.test()
async def words_that_come_in_the_wrong_order(dut):
    bench = await begin(dut)
    rng, table = bench.rng, bench.table
    for _ in range(1200):
        what = rng.random()
        route = rng.choice([0, 5, 15])
        if what < 0.1:
            bits = RouteLoad.const({rng.choice(["begin", "commit", "commit", "discard"]): 1,
                                    "route": route}).as_bits()
            await bench.write("load", bits)
        elif what < 0.35:
            await bench.write("table_address", RouteAddress.const(
                {"route": route, "word": rng.randrange(ROUTE_WORDS + 3)}).as_bits())
        elif what < 0.4 and table.loading is not None:
            # All of it.
            await bench.write("table_address", RouteAddress.const(
                {"route": table.loading}).as_bits())
            for _ in range(ROUTE_WORDS):
                await bench.write("table_data", rng.getrandbits(32))
            if rng.random() < 0.5:
                await bench.write("load", RouteLoad.const(
                    {"commit": 1, "route": table.loading}).as_bits())
        else:
            await bench.write("table_data", rng.getrandbits(32))
        expected = table.readback()
        if expected is not None and rng.random() < 0.3:
            await bench.ticks(READS)
            assert await bench.read("table_readback") == expected
        assert await bench.read("loaded") == table.loaded
    assert table.refused > 0
    await bench.compare()


@cocotb.test()
async def at_random(dut):
    bench = await begin(dut)
    rng = bench.rng
    for number in range(ROUTES):
        if number != 11:
            await bench.load(number, random_route(
                rng, alternate=rng.choice([None, rng.randrange(ROUTES), rng.randrange(ROUTES)])))
    await bench.write("timeout", rng.randrange(20))
    await bench.write("debounce", rng.randrange(5))
    await bench.control(enable=1, failover=1)
    for _ in range(4):
        for _ in range(350):
            # Bursts of whatever can happen, at any distance.
            what = rng.random()
            if what < 0.30:
                bench.level = rng.choice([rng.randrange(ROUTES), rng.randrange(ROUTES),
                                          rng.randrange(256)])
                await bench.ticks(rng.choice([1, 1, 2, 3, 4, 5, 30, 100]))
            elif what < 0.40:
                await bench.write("request", rng.randrange(ROUTES + 2))
            elif what < 0.46:
                await bench.write("start_route", rng.randrange(ROUTES))
                await bench.write("start_time", bench.now + rng.randrange(2, 20))
            elif what < 0.80:
                bench.wrong ^= {rng.randrange(COUNT)}
                if rng.random() < 0.5:
                    bench.wrong = set()
                await bench.ticks(rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 30]))
            elif what < 0.84:
                bench.emergency = True
                await bench.ticks(rng.choice([1, 1, 2, 3, 10]))
                bench.emergency = False
                if rng.random() < 0.5:
                    await bench.tick()
            elif what < 0.90:
                await bench.action(clear=1, disarm=rng.getrandbits(1))
            elif what < 0.92:
                await bench.action(park=1)
            elif what < 0.95:
                await bench.control(enable=rng.random() < 0.6, failover=rng.random() < 0.8,
                                    hold=rng.getrandbits(1))
            elif what < 0.97:
                await bench.control(enable=1, failover=1)
            elif what < 0.98:
                await bench.write("safe", rng.getrandbits(16), rng.randrange(MAX_SWITCHES))
            elif what < 0.99:
                await bench.write(rng.choice(["timeout", "debounce"]), rng.randrange(20))
            else:
                await bench.write("load", RouteLoad.const(
                    {"discard": 1, "route": rng.randrange(ROUTES)}).as_bits())
                await bench.load(rng.randrange(ROUTES), random_route(
                    rng, alternate=rng.randrange(ROUTES)))
        bench.wrong = set()
        await bench.ticks(200)
        await bench.compare()
