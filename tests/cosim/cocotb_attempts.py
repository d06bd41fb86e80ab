"""The attempts' controller against its golden model, on a path that decides what it likes."""

import os
import random
from collections import Counter
from dataclasses import replace

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from quantacore.gateware.layouts.herald import (
    ARM_TICKS,
    DETECTORS,
    VERDICT_LATENCY,
    HeraldCodes,
    HeraldControl,
    HeraldFlags,
    HeraldStatus,
    Outcome,
    Role,
)
from quantacore.gateware.layouts.instructions import ArmWord, NopWord, Op
from quantacore.gateware.sequencer.command import Command
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.golden.attempts import (
    AttemptsModel,
    Decision,
    Settings,
    attempt_records,
    check_records,
    herald_records,
)

HEARTBEAT = int(os.environ["QC_HEARTBEAT"])
DEPTH = int(os.environ["QC_RECORD_DEPTH"])
CODES = {"limit": 11, "reinitialise": 12, "refused": 13, "void": 14, "failed": 15}
COUNTS = ("attempts", "succeeded", "failed", "void_reference", "void_aborted", "void_route",
          "void_peer", "refused")
NAMES = {"success": "succeeded"}
STROBES = ("settling", "clear", "run", "abort", "decided", "activity", "peers__up", "peers__go",
           "peers__start", "peers__confirmed", "peers__void", "peers__verdict")
#: Ticks until everything has come through.
DRAIN = 60


def arm_word(windows):
    return ArmWord.const({"op": Op.ARM, "dwell": 1, "windows": windows}).as_bits()


NOP = NopWord.const({"op": Op.NOP, "dwell": 1}).as_bits()


class Path:
    """A path by its ports' contract: one attempt at most, and it decides sooner or later."""

    def __init__(self, rng, *, longest, void=0.1):
        self._rng, self._longest, self._void = rng, longest, void
        self._due = None
        self.clicked = 0

    def decides(self, now):
        """What it decides in this tick, if anything."""
        if self._due != now:
            return None
        self._due = None
        rng = self._rng
        self.clicked = rng.getrandbits(32)
        if rng.random() < self._void:
            missing = rng.random() < 0.5
            return Decision(outcome=Outcome.VOID, missing=missing, double=not missing)
        success = rng.random() < 0.4
        return Decision(outcome=Outcome.SUCCESS if success else Outcome.FAILED,
                        pattern=rng.getrandbits(4), code=rng.randrange(11))

    def follow(self, now, *, started, aborted):
        if aborted:
            self._due = None
        if started:
            self._due = now + VERDICT_LATENCY + self._rng.randrange(self._longest)


class Bench:
    """The controller beside its model, from a reset to the next."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        self.seen = Counter()
        self._driven = {}

    def _drive(self, name, value):
        """Set an input, if it is something else than before."""
        value = int(getattr(value, "value", value))
        if self._driven.get(name) != value:
            self._driven[name] = value
            getattr(self.dut, name).value = value

    async def begin(self, settings, *, longest=30):
        dut, self.settings = self.dut, settings
        for name in (*STROBES, "commands__valid", "outcome", "pattern", "code", "missing",
                     "double", "clicked", "peers__number", "peers__verdict_outcome",
                     "peers__verdict_code"):
            self._drive(name, 0)
        for d in range(DETECTORS):
            self._drive(f"clicks__{d}", 0)
        values = {"role": settings.role, "enable": settings.enable}
        for outcome in settings.recorded:
            values[f"record_{outcome.name.lower()}"] = 1
        codes = {}
        for name, code in settings.codes.items():
            codes |= {name: code, f"give_{name}": 1}
        self._drive("control", HeraldControl.const(values).as_bits())
        self._drive("codes", HeraldCodes.const(codes).as_bits())
        for name in ("attempts_limit", "time_limit", "reinitialise_after", "saturation_gate",
                     "saturation_clicks", "backoff"):
            self._drive(name, getattr(settings, name))
        self._drive("peers__shared", settings.shared)
        self._drive("sequencer_running", 1)
        self._drive("records__ready", 1)
        dut.rst.value = 1
        for _ in range(2):
            await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        self.first = self.rng.getrandbits(40)
        self.now = 0
        self.path = Path(self.rng, longest=longest,
                         void=0.1 if Outcome.VOID in settings.recorded else 0)
        self.model = AttemptsModel(settings)
        self.records, self.active = [], []
        self.raised = Counter()
        self.level_changed = False

    async def tick(self, *, arm=None, other=False, running=True, clicks=None, ready=True,
                   active=False, number=0, peer_verdict=None, **strobes):
        """One tick: drive, compare what is told in it."""
        dut, model = self.dut, self.model
        decided = self.path.decides(self.now)
        self._drive("tick", self.first + self.now)
        self._drive("commands__valid", arm is not None or other)
        if arm is not None or other:
            word = arm_word(arm) if arm is not None else NOP
            self._drive("commands__payload", Command.const({"word": word}).as_bits())
        self._drive("sequencer_running", running)
        self._drive("records__ready", ready)
        self._drive("decided", decided is not None)
        if decided:
            for name in ("outcome", "pattern", "code", "missing", "double"):
                self._drive(name, getattr(decided, name))
            self._drive("clicked", self.path.clicked)
        self._drive("activity", self.level_changed)
        self.level_changed = active
        if active:
            self.active.append(self.now)
        if clicks is not None:
            for d, value in enumerate(clicks):
                self._drive(f"clicks__{d}", value)
        self._drive("peers__number", number)
        self._drive("peers__verdict", peer_verdict is not None)
        if peer_verdict:
            self._drive("peers__verdict_outcome", peer_verdict[0].value)
            self._drive("peers__verdict_code", peer_verdict[1])
        settings = {"up": True} | strobes
        ports = {"up": "peers__up", "go": "peers__go", "peer_start": "peers__start",
                 "confirmed": "peers__confirmed", "peer_void": "peers__void"}
        for name, value in settings.items():
            self._drive(ports.get(name, name), value)
        for name in ("settling", "clear", "run", "abort", "go", "peer_start", "confirmed",
                     "peer_void"):
            if name not in settings:
                self._drive(ports.get(name, name), 0)
        model.tick(arm=arm, running=running, decided=decided, clicked=self.path.clicked,
                   clicks=clicks or (0,) * DETECTORS, number=number, peer_verdict=peer_verdict,
                   **settings)
        await RisingEdge(dut.clk)
        started = bool(dut.start.value)
        shown = (int(dut.windows.value) if started else None,
                 int(dut.verdict.value) if dut.verdict_valid.value else None,
                 bool(dut.abort_path.value), bool(dut.peers__armed.value),
                 bool(dut.peers__ran.value))
        expected = model.start, model.verdict, model.aborts_path, model.armed, model.ran
        assert shown == expected, f"tick {self.now}: {shown} is not {expected}"
        assert dut.trigger.value == dut.start.value
        if ready and dut.records__valid.value:
            self.records.append(int(dut.records__payload.value))
        if bits := int(dut.events.value):
            events = HeraldFlags.from_bits(bits)
            for name, _ in HeraldFlags.as_shape():
                self.raised[name] += getattr(events, name)
        self.path.follow(self.now, started=started, aborted=shown[2])
        if self.now % 7 == 0:
            self.invariant()
        await FallingEdge(dut.clk)
        self.now += 1

    def invariant(self):
        count = {name: int(getattr(self.dut, name).value) for name in COUNTS}
        busy = HeraldStatus.from_bits(int(self.dut.status.value)).busy
        ended = sum(count[name] for name in COUNTS if name not in ("attempts", "refused"))
        assert count["attempts"] == ended + busy, f"tick {self.now}: {count}, busy {busy}"

    async def finish(self):
        """Let all that is on its way come; compare accounts and records."""
        for _ in range(DRAIN):
            await self.tick(clicks=(0,) * DETECTORS)
        model, dut = self.model, self.dut
        counts = Counter({NAMES.get(k, k): v for k, v in model.counts.items()})
        shown = {name: int(getattr(dut, name).value) for name in COUNTS}
        assert shown == {name: counts[name] for name in COUNTS}
        assert int(dut.attempt.value) == model.number
        lost = int(dut.records_lost.value)
        if "clear" not in self.seen:
            check_records(
                self.records, lost=lost,
                attempts=attempt_records(
                    [self._late(one) for one in model.attempts],
                    [tick + self.first for tick in self.active], heartbeat=HEARTBEAT),
                heralds=herald_records(
                    [one for one in model.attempts if one.end is not None],
                    recorded=self.settings.recorded))
            assert self.raised["record_lost"] == lost
        events = {name: self.raised[name] for name, _ in HeraldFlags.as_shape()
                  if name not in ("record_lost", "peer_lost", "table_busy")}
        assert events == {**{name: model.events[name] for name in events},
                          "saturated": model.saturation.events}
        self.seen.update({name: value for name, value in shown.items() if value})
        return shown

    def _late(self, attempt):
        """The attempt in the node's own time."""
        first = self.first
        return replace(attempt, start=None if attempt.start is None else attempt.start + first,
                       over=None if attempt.over is None else attempt.over + first)


async def bench(dut):
    cocotb.log.info("seed %#x", seed_from_environment())
    cocotb.start_soon(Clock(dut.clk, 8, unit="ns").start())
    return Bench(dut, random.Random(random.getrandbits(64)))


def some_settings(rng, **fixed):
    """Settings in which things happen within some hundred ticks."""
    return Settings(**{
        "codes": {name: code for name, code in CODES.items() if rng.random() < 0.7},
        "attempts_limit": rng.choice([0, 0, rng.randrange(1, 20)]),
        "time_limit": rng.choice([0, 0, rng.randrange(1, 600)]),
        "reinitialise_after": rng.choice([0, 0, rng.randrange(1, 6)]),
        "saturation_gate": rng.choice([0, 1, 2, 7, 50]),
        "saturation_clicks": rng.choice([0, rng.randrange(1, 60)]),
        "backoff": rng.choice([0, 1, rng.randrange(60)]),
        "recorded": frozenset(one for one in Outcome if rng.random() < 0.7),
    } | fixed)


async def at_random(it, settings, ticks, *, ready_rate=1.0, clears=0.0):
    """Everything at random for a while; a reset ends it anywhere."""
    rng = it.rng
    await it.begin(settings, longest=rng.choice([1, 3, 30]))
    arm_rate, calm = rng.choice([0.02, 0.1, 0.4]), rng.choice([0.0, 0.002, 0.02])
    settling = running = up = True
    number = 0
    for _ in range(ticks):
        settling = rng.random() < (0.9 if settling else calm)
        running = rng.random() >= (0.5 if not running else calm)
        up = rng.random() >= (0.5 if not up else calm)
        loud = rng.random() < 0.1
        clear = rng.random() < clears
        if clear:
            it.seen["clear"] += 1
        number = number + 1 & 0xFFFFFF
        await it.tick(
            arm=rng.getrandbits(4) if rng.random() < arm_rate else None,
            other=rng.random() < 0.1, running=running, settling=settling, clear=clear, up=up,
            run=rng.random() < calm, abort=rng.random() < calm,
            clicks=[rng.randrange(5) * loud for _ in range(DETECTORS)],
            ready=rng.random() < ready_rate, active=rng.random() < 0.15,
            go=rng.random() < 0.3, number=number, peer_start=rng.random() < 0.3,
            confirmed=rng.random() < 0.2, peer_void=rng.random() < 0.02,
            peer_verdict=(rng.choice(list(Outcome)), rng.getrandbits(4))
            if rng.random() < 0.1 else None)
    if not rng.randrange(4):
        return None  # reset in the middle
    return await it.finish()


@cocotb.test()
async def own_attempts_at_random(dut):
    it = await bench(dut)
    for _ in range(12):
        it.seen.clear()
        await at_random(it, some_settings(it.rng), 500)


@cocotb.test()
async def counts_are_cleared_at_random(dut):
    it = await bench(dut)
    for _ in range(3):
        await at_random(it, some_settings(it.rng), 400, clears=0.03)


@cocotb.test()
async def shared_attempts_at_random(dut):
    it = await bench(dut)
    for role in (Role.STATION, Role.FOLLOWER):
        for _ in range(6):
            it.seen.clear()
            await at_random(it, some_settings(it.rng, role=role, shared=True), 500)


@cocotb.test()
async def records_that_wait_and_are_lost(dut):
    it = await bench(dut)
    for rate in (0.3, 0.05, 0.0):
        it.seen.clear()
        await at_random(it, some_settings(it.rng, recorded=frozenset(Outcome)), 600,
                        ready_rate=rate)
    # As many as the queue holds, and no more.
    await it.begin(Settings(), longest=1)
    for _ in range(40):
        await it.tick(arm=1, ready=False)
        for _ in range(12):
            await it.tick(ready=False)
    assert int(dut.records_lost.value) == 40 + 40 // HEARTBEAT - DEPTH
    it.seen.clear()
    await it.finish()


@cocotb.test()
async def everything_that_can_be_refused(dut):
    it = await bench(dut)
    # Off, and no program.
    for settings, values in ((Settings(enable=False, codes=CODES), {}),
                             (Settings(codes=CODES), {"running": False}),
                             (Settings(codes=CODES), {"settling": True})):
        await it.begin(settings)
        await it.tick(**values)
        await it.tick(arm=3, **values)
        for _ in range(9):
            await it.tick(**values)
        it.seen.clear()
        assert (await it.finish())["refused"] == 1
    # The second of three, and a fourth after the run.
    await it.begin(Settings(codes=CODES, attempts_limit=2))
    for i in range(5):
        await it.tick(arm=1)
        for _ in range(60):
            await it.tick()
        if i == 3:
            await it.tick(run=True)
    counts = await it.finish()
    assert (counts["attempts"], counts["refused"]) == (3, 2)


@cocotb.test()
async def a_start_comes_arm_ticks_after_its_arm(dut):
    it = await bench(dut)
    await it.begin(Settings())
    # The command is there a tick after its instruction.
    await it.tick(arm=5)
    for after in range(2, ARM_TICKS + 1):
        assert it.model.start is None
        await it.tick()
        assert (it.model.start == 5) == (after == ARM_TICKS)


@cocotb.test()
async def a_route_that_moves_at_any_tick_of_an_attempt(dut):
    it = await bench(dut)
    for when in range(3, 22):
        await it.begin(Settings(codes=CODES), longest=1)
        for now in range(26):
            await it.tick(arm=1 if now == 5 else None, settling=now == when)
        it.seen.clear()
        counts = await it.finish()
        assert counts["attempts"] + counts["refused"] == 1
