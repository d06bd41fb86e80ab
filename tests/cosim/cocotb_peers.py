"""Shared attempts against the promises: resets at every phase, losses, damage, delays."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from quantacore.gateware.layouts.herald import Outcome
from quantacore.gateware.layouts.peer import PEERS, PeerControl, PeerStatus, follower_ticks
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.peer_network import Seen
from quantacore.sim.golden.peers import PeersChecker

FOLLOWERS, LANES = int(os.environ["QC_FOLLOWERS"]), int(os.environ["QC_LANES"])
SOAK = 10 if os.environ.get("QUANTACORE_SOAK") else 1
NODES = FOLLOWERS + 1
OFFSETS = {register.name: offset for offset, register in PEERS.offsets()}
RETRY, MARGIN = 50, 250


class Bench:
    """The network, its checker, and the faults."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        self.now = 0
        self.delay = [[0, 0] for _ in range(FOLLOWERS)]
        self.checker = PeersChecker(
            followers=FOLLOWERS,
            flight=lambda i: follower_ticks(LANES) + self.delay[i][0])
        self.seen = []
        #: Chance in a tick that bits turn over, and that the line goes dead for a while.
        self.damage = self.loss = 0.0
        self._flipped = self._cut = None
        self._in_reset = set()

    def _set(self, name, value):
        getattr(self.dut, name).value = value

    async def begin(self):
        for name in ("node_reset", "run", "patience", "gap", "window", "outcome", "code",
                     "settling", "csr__{}__read", "csr__{}__write", "csr__{}__address",
                     "csr__{}__w_data"):
            for i in range(NODES):
                self._set(name.format(i) if "{" in name else f"{name}__{i}", 0)
        for i in range(FOLLOWERS):
            for way in range(2):
                for name in ("delay", "flip", "cut"):
                    self._set(f"{name}__{i}__{way}", 0)
        self.dut.rst.value = 1
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for i in range(NODES):
            self._set(f"patience__{i}", 60_000 if i else 30_000)
            self._set(f"window__{i}", 20)
            self._set(f"gap__{i}", 4)

    async def ticks(self, number=1, until=None):
        """So many ticks, or fewer if ``until`` (of the nodes' events) comes true."""
        dut, rng = self.dut, self.rng
        for _ in range(number):
            if self.damage or self.loss or self._flipped or self._cut:
                self._faults()
            await RisingEdge(dut.clk)
            self.seen = []
            if dut.eventful.value:
                for i in range(NODES):
                    # What a node shows in a tick of its reset has no effect any more.
                    if i in self._in_reset:
                        self.seen.append(Seen.from_bits(0))
                        continue
                    seen = Seen.from_bits(int(getattr(dut, f"seen__{i}").value))
                    self.checker.event(self.now, i, seen)
                    self.seen.append(seen)
                    if seen.go or seen.arm:
                        outcome = rng.choice([Outcome.SUCCESS, Outcome.FAILED, Outcome.FAILED])
                        self._set(f"outcome__{i}", outcome.value)
                        self._set(f"code__{i}", rng.randrange(12))
            self.now += 1
            if until is not None and self.seen and until(self.seen):
                return True
        return False

    def _faults(self):
        rng = self.rng
        if self._flipped:
            self._set(self._flipped, 0)
            self._flipped = None
        if self._cut:
            name, left = self._cut
            self._cut = (name, left - 1) if left else None
            if not left:
                self._set(name, 0)
        place = f"{rng.randrange(FOLLOWERS)}__{rng.randrange(2)}"
        # One tick's bits, or the line that says that there is a message: the check finds it all.
        if rng.random() < self.damage:
            self._flipped = f"flip__{place}"
            self._set(self._flipped, rng.randrange(1, 2 << LANES))
        elif rng.random() < self.loss and not self._cut:
            self._cut = f"cut__{place}", rng.randrange(40)
            self._set(self._cut[0], 1)

    async def access(self, node, address, value=None):
        kind = "read" if value is None else "write"
        self._set(f"csr__{node}__address", address)
        self._set(f"csr__{node}__{kind}", 1)
        self._set(f"csr__{node}__w_data", value or 0)
        await self.ticks()
        self._set(f"csr__{node}__{kind}", 0)
        await self.ticks(2)
        await self.ticks()
        # Just after the edge: the values are still those of the tick that it ended.
        assert getattr(self.dut, f"csr__{node}__done").value == 1
        return int(getattr(self.dut, f"csr__{node}__r_data").value)

    async def read(self, node, name, index=0):
        return await self.access(node, OFFSETS[name] + index)

    async def configure(self, node):
        longest = max(sum(each) for each in self.delay)
        quiet = 3 * longest + MARGIN + 200
        for name, value in (("retry", RETRY), ("margin", MARGIN), ("quiet", quiet),
                            ("start_delay", 5 if node else 5 + self.delay[0][0]),
                            ("control", PeerControl.const(
                                {"enable": 1 if node else (1 << FOLLOWERS) - 1}).as_bits())):
            await self.access(node, OFFSETS[name], value)

    def set_delays(self, choose):
        for i in range(FOLLOWERS):
            for way in range(2):
                self.delay[i][way] = choose()
                self._set(f"delay__{i}__{way}", self.delay[i][way])

    def run(self, on=True):
        for i in range(NODES):
            self._set(f"run__{i}", int(on))

    async def reset(self, *nodes):
        for node in nodes:
            self._set(f"node_reset__{node}", 1)
            # Its program begins when its host has set it up again.
            self._set(f"run__{node}", 0)
            self._in_reset.add(node)
            self.checker.forget(node)
        await self.ticks(2)
        for node in nodes:
            self._set(f"node_reset__{node}", 0)
        self._in_reset.clear()
        for node in nodes:
            await self.configure(node)
            self._set(f"run__{node}", 1)

    @property
    def round_trip(self):
        return max(sum(each) for each in self.delay)

    @property
    def recovery(self):
        """Ticks in which nodes find each other again, and finish an attempt, on whole lines."""
        quiet = 3 * self.round_trip + MARGIN + 200
        return 2 * quiet + 12 * self.round_trip + 10 * RETRY + 20_000

    async def attempt_ends(self, limit=None):
        """Until the station ended an attempt that all made."""
        ended = await self.ticks(
            limit or self.recovery,
            until=lambda seen: seen[0].ended and seen[0].outcome != Outcome.VOID.value)
        assert ended, f"tick {self.now}: no attempt was made in {limit or self.recovery} ticks"

    async def settle_and_compare(self):
        """Stop; when all is quiet the counts of both sides must agree."""
        self.damage = self.loss = 0.0
        self.run(False)
        await self.ticks(self.round_trip * 6 + MARGIN * 2 + RETRY * 4 + 600)
        for i in range(FOLLOWERS):
            ours = PeerStatus.from_bits(await self.read(0, "status", i))
            theirs = PeerStatus.from_bits(await self.read(i + 1, "status"))
            assert ours.up and theirs.up, f"tick {self.now}: no session"
            assert (ours.own, ours.other) == (theirs.other, theirs.own)
            triggers = await self.read(0, "session_triggers", i)
            started = await self.read(i + 1, "session_started")
            missed = await self.read(i + 1, "session_missed")
            assert triggers == started + missed, (
                f"tick {self.now}: {triggers} triggered, {started} started, {missed} missed")
            assert started == self.checker.begun[i + 1]
            assert await self.read(0, "round_trip", i) == sum(self.delay[i])
            assert await self.read(i + 1, "round_trip") == sum(self.delay[i])
        for i in range(NODES):
            attempts = int(getattr(self.dut, f"attempts__{i}").value)
            assert attempts == int(getattr(self.dut, f"ended__{i}").value)
        self.run()

    async def start(self):
        for i in range(NODES):
            await self.configure(i)
        self.run()
        await self.attempt_ends()


async def bench(dut, choose=lambda: 0):
    cocotb.log.info("seed %#x", seed_from_environment())
    cocotb.start_soon(Clock(dut.clk, 8, unit="ns").start())
    it = Bench(dut, random.Random(random.getrandbits(64)))
    await it.begin()
    it.set_delays(choose)
    await it.start()
    return it


@cocotb.test()
async def attempts_are_made_together(dut):
    it = await bench(dut)
    for _ in range(20):
        await it.attempt_ends(400)
    assert not it.checker.outcomes[Outcome.VOID]
    await it.settle_and_compare()
    assert await it.read(0, "session_triggers", 0) == it.checker.begun[0]
    assert await it.read(1, "session_missed") == 0
    assert it.checker.verdicts == FOLLOWERS * sum(it.checker.outcomes.values())


@cocotb.test()
async def a_long_line_is_no_failure(dut):
    it = await bench(dut, lambda: 2000)
    for _ in range(2):
        await it.attempt_ends(10_000)
    assert not it.checker.outcomes[Outcome.VOID]
    await it.settle_and_compare()
    assert await it.read(0, "timeouts", 0) == 0


@cocotb.test()
async def each_node_is_reset_at_every_phase(dut):
    it = await bench(dut, lambda: 7)
    rng, step = it.rng, 1 if SOAK > 1 else 19 * FOLLOWERS
    for node in range(NODES):
        for phase in range(rng.randrange(step), 190, step):
            await it.ticks(it.recovery, until=lambda seen: seen[0].go)
            await it.ticks(phase)
            await it.reset(node)
            await it.attempt_ends()
            await it.settle_and_compare()
            await it.attempt_ends()


@cocotb.test()
async def all_nodes_are_reset_at_once(dut):
    it = await bench(dut, lambda: 11)
    for _ in range(2):
        await it.ticks(it.rng.randrange(300))
        await it.reset(*range(NODES))
        await it.attempt_ends()
        await it.settle_and_compare()


@cocotb.test()
async def lines_that_damage_and_lose(dut):
    it = await bench(dut, lambda: 20)
    for _ in range(3 * SOAK):
        it.damage = it.rng.choice([0.0, 0.001, 0.01, 0.03])
        it.loss = it.rng.choice([0.0, 0.001, 0.01])
        await it.ticks(3000)
        await it.settle_and_compare()
        await it.attempt_ends()


@cocotb.test()
async def delays_losses_and_resets_at_random(dut):
    it = await bench(dut)
    rng = it.rng
    for _ in range(2 * SOAK):
        it.run(False)
        await it.ticks(it.round_trip * 2 + 1000)
        longest = rng.choice([0, 3, 100, 2000])
        it.set_delays(lambda longest=longest: rng.randint(0, longest))
        for node in range(NODES):
            await it.configure(node)
        it.run()
        for _ in range(4):
            it.damage = rng.choice([0.0, 0.002, 0.01])
            it.loss = rng.choice([0.0, 0.002, 0.01])
            await it.ticks(rng.randrange(1500))
            await it.reset(rng.randrange(NODES))
        it.damage = it.loss = 0.0
        await it.attempt_ends()
        await it.settle_and_compare()


@cocotb.test()
async def a_peer_that_stops_answering(dut):
    it = await bench(dut)
    await it.ticks(400, until=lambda seen: seen[0].go)
    await it.ticks(it.rng.randrange(60))
    before = it.checker.outcomes[Outcome.VOID]
    # The line to the station is cut: the attempt ends, void, and the program hears of it.
    dut.cut__0__1.value = 1
    told = await it.ticks(4000, until=lambda seen: seen[0].told and seen[0].code == 14)
    refused = told or await it.ticks(4000, until=lambda seen: seen[0].told)
    assert refused
    assert it.checker.outcomes[Outcome.VOID] <= before + 1
    await it.ticks(2000)
    assert await it.read(0, "timeouts", 0) == 1
    dut.cut__0__1.value = 0
    await it.attempt_ends()
    await it.settle_and_compare()
