"""TimingUnit on Verilator against the golden model: every change of every word, clock for clock."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, Timer, ValueChange
from cocotb.utils import get_sim_time

from quantacore.gateware.layouts.tags import FINE_BITS, FINE_PER_TICK, sample_word
from quantacore.gateware.layouts.timing import TIMING, LoopGains, LoopState, Reference, TimingFlags
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.timing import Telemetry
from quantacore.sim.golden.timing import TimingModel, rising_edges

SAMPLES = int(os.environ.get("QC_SAMPLES", 4))
FINE = bool(int(os.environ.get("QC_FINE", 1)))
WORD = sample_word(SAMPLES, fine=FINE)
PERIOD_NS = 8
OFFSETS = {register.name: (offset, register) for offset, register in TIMING.offsets()}
#: Fine units that one sample, or the least step of a front end, covers.
STEP = 1 if FINE else FINE_PER_TICK // SAMPLES


def gains(*values):
    names = [name for name, _ in LoopGains.as_shape()]
    return LoopGains.const(dict(zip(names, values, strict=True))).as_bits()


class Bench:
    """Drives the unit and the model with the same edges and register accesses, and compares."""

    def __init__(self, dut):
        self.dut = dut
        self.clock = 0
        self.model = TimingModel()
        self.seen = []
        self.waiting = {Reference.PPS: [], Reference.CLOCK: []}
        self.high = {Reference.PPS: (0, 0), Reference.CLOCK: (0, 0)}
        self.actions = {}
        self.last = Telemetry.from_bits(0)
        self.watched = -1

    async def reset(self):
        dut = self.dut
        dut.rst.value = 1
        for name in ("csr__address", "csr__read", "csr__write", "csr__w_data", "pps", "clock"):
            getattr(dut, name).value = 0
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        self.clock = 0
        self.model = TimingModel()
        self.seen = []
        self.last = Telemetry.from_bits(0)
        self.watched = -1
        for edges in self.waiting.values():
            edges.clear()
        self.high = {source: (0, 0) for source in self.high}

    def _word(self, source):
        """The sample word of this clock; pulses are at least four clocks long."""
        edges = self.waiting[source]
        rise, fall = self.high[source]
        while edges and edges[0] < (self.clock + 1) * FINE_PER_TICK:
            rise = edges.pop(0)
            fall = rise + 4 * FINE_PER_TICK
            self.high[source] = rise, fall
            if rise // FINE_PER_TICK == self.clock:
                self.model.edge(self.clock, rise % FINE_PER_TICK, source)
        level, fine = 0, [0] * SAMPLES
        sample = FINE_PER_TICK // SAMPLES
        for i in range(SAMPLES):
            # The level at the end of a sample shows an edge inside it.
            end = self.clock * FINE_PER_TICK + (i + 1) * sample
            if rise < end <= fall:
                level |= 1 << i
            if end - sample <= rise < end:
                fine[i] = rise % sample
        bits = level
        for i in range(SAMPLES if FINE else 0):
            bits |= fine[i] << SAMPLES + i * (FINE_BITS - (SAMPLES - 1).bit_length())
        return bits

    def pulse(self, time, source=Reference.PPS):
        """A reference edge at ``time`` fine units since reset (rounded down to what is seen)."""
        self.waiting[source].append(int(time) // STEP * STEP)
        self.waiting[source].sort()

    async def step(self, clocks=1):
        """Run; inputs change at the falling edge, outputs are looked at before the rising one."""
        dut = self.dut
        word = dict.fromkeys(self.waiting, 0)
        for _ in range(clocks):
            for source, signal in ((Reference.PPS, dut.pps), (Reference.CLOCK, dut.clock)):
                bits = self._word(source)
                if bits != word[source] or bits:
                    signal.value = bits
                    word[source] = bits
            self._watch()
            await FallingEdge(dut.clk)
            self.clock += 1
        for signal in (dut.pps, dut.clock):
            signal.value = 0

    def _watch(self):
        bits = self.dut.telemetry.value.to_unsigned()
        now = Telemetry.from_bits(bits)
        if self.watched == self.clock or bits == self.last.as_bits() and not now.triggers:
            return
        self.watched = self.clock
        for name in ("state", "phase_error", "rate", "reference_tick", "reference_edges",
                     "reference_missed"):
            value = getattr(now, name)
            if value != getattr(self.last, name):
                if name in ("phase_error", "rate"):
                    value -= (value & 1 << 31) << 1
                self.seen.append((self.clock, name, value))
        if now.flags.as_bits() != self.last.flags.as_bits():
            self.seen.append((self.clock, "flags", now.flags.as_bits()))
        for i in range(4):
            if now.triggers >> i & 1:
                self.seen.append((self.clock, f"trigger{i}", self.dut.tick.value.to_unsigned()))
        for i in range(2):
            if (now.sync ^ self.last.sync) >> i & 1:
                self.seen.append((self.clock, f"sync{i}", now.sync >> i & 1))
        self.last = now

    async def run_to(self, clock):
        """Free-run to ``clock`` where nothing is to be driven: far fewer Python calls."""
        while self.clock < clock:
            coming = [edges[0] // FINE_PER_TICK for edges in self.waiting.values() if edges]
            busy = any(fall > self.clock * FINE_PER_TICK for _rise, fall in self.high.values())
            if busy or coming and min(coming) <= self.clock + 1:
                await self.step(1)
                continue
            until = min([clock, *coming])
            self._watch()
            # Not quite to the falling edge: a timer and an edge at one time have no order.
            target = Timer((until - self.clock) * PERIOD_NS - 1, "ns")
            start = get_sim_time("ns")
            await First(target, ValueChange(self.dut.telemetry))
            await FallingEdge(self.dut.clk)
            now = get_sim_time("ns")
            self.clock += round((now - start) / PERIOD_NS)
            self._watch()

    async def _access(self, name, index, word, value):
        dut = self.dut
        offset, register = OFFSETS[name]
        dut.csr__address.value = offset + index * register.words + word
        if value is None:
            dut.csr__read.value = 1
        else:
            dut.csr__write.value = 1
            dut.csr__w_data.value = value
        await self.step()
        # What is read is what stands one clock after the request.
        self.model.advance(self.clock)
        expected = self.model.read(name, index) if value is None else None
        dut.csr__read.value = 0
        dut.csr__write.value = 0
        await self.step(2)
        assert dut.csr__done.value == 1
        assert dut.csr__status.value.to_unsigned() == 0, (name, dut.csr__status.value)
        return dut.csr__r_data.value.to_unsigned(), expected

    async def write(self, name, value, index=0):
        _offset, register = OFFSETS[name]
        value &= (1 << register.width) - 1
        for word in range(register.words):
            if word == register.words - 1:
                self.model.write(name, value, clock=self.clock, index=index)
            await self._access(name, index, word, value >> 32 * word & 0xFFFFFFFF)

    async def read(self, name, index=0):
        """Read; the model must hold the same value."""
        _offset, register = OFFSETS[name]
        total, expected = 0, None
        for word in range(register.words):
            value, held = await self._access(name, index, word, None)
            expected = held if word == 0 else expected
            total |= value << 32 * word
        assert total == expected & (1 << register.width) - 1, (
            f"{name}[{index}] at clock {self.clock}: got {total:#x}, the model says {expected:#x}")
        return total - ((total >> 31 & 1) << 32) if register.signed else total

    def check_clocks(self):
        self.model.advance(self.clock)
        tick = self.dut.tick.value.to_unsigned()
        virtual = self.dut.virtual.value.to_unsigned()
        assert tick == self.model.tick_at(self.clock)
        expected = self.model.virtual_at(self.clock) % (1 << 108)
        assert virtual == expected, (
            f"clock {self.clock}: virtual {virtual / 2**44}, the model {expected / 2**44}")

    def check(self):
        """Everything seen so far equals what the model says."""
        self._watch()
        self.check_clocks()
        expected = [(clock, name, value.value if isinstance(value, LoopState) else value)
                    for clock, name, value in self.model.changes if clock <= self.clock]
        seen = [(clock, name, value.value if isinstance(value, LoopState) else value)
                for clock, name, value in self.seen]
        # Changes in one clock have no order.
        for got, want in zip(sorted(seen), sorted(expected), strict=False):
            assert got == want, (f"unit {got}, model {want}\n{sorted(seen)[-12:]}\n"
                                 f"{sorted(expected)[-12:]}")
        assert len(seen) == len(expected), (sorted(seen)[-3:], sorted(expected)[-3:])

    def times(self, name):
        return [clock for clock, n, value in self.seen if n == name]

    def states(self):
        return [LoopState(value) for _clock, name, value in self.seen if name == "state"]

    async def discipline(self, *, period, window, threshold, count=4, divider=1, fast=None,
                         reference=Reference.PPS):
        bits = period.bit_length()
        await self.write("period", period)
        await self.write("window", window)
        await self.write("lock_threshold", threshold)
        await self.write("lock_count", count)
        await self.write("divider", divider)
        await self.write("gains", fast or gains(bits, bits + 1, bits + 4, bits + 10))
        await self.write("control", 1 | reference.value << 1)


async def start(dut):
    Clock(dut.clk, PERIOD_NS, "ns").start()
    bench = Bench(dut)
    await bench.reset()
    return bench


@cocotb.test()
async def tick_load_and_snapshot_across_carries(dut):
    bench = await start(dut)
    for value in (0xFFFFFFF0, 0xFFFFFFFF_FFFFFFE0, 0x7FFFFFFF_FFFFFFF8, 0x1_FFFFFFE0):
        await bench.write("tick_load", value)
        await bench.write("virtual_load", value - 8)
        for _ in range(12):
            await bench.write("snapshot", 1)
            for name in ("snapshot_tick", "snapshot_virtual", "snapshot_fraction",
                         "snapshot_rate", "tick"):
                await bench.read(name)
            bench.check_clocks()
    bench.check()


@cocotb.test()
async def virtual_clock_follows_the_rate(dut):
    bench = await start(dut)
    for rate in (1, -1, 0x7FFFFFFF, -0x80000000, 123456789, -987654321, 0):
        await bench.write("virtual_load", 0xFFFFFFFF_FFFFFFF8 if rate & 1 else 0xFFFFFF80)
        await bench.write("rate_write", rate)
        for _ in range(40):
            await bench.step(5)
            bench.check_clocks()
        await bench.write("snapshot", 1)
        assert await bench.read("snapshot_rate") == rate
        await bench.read("snapshot_fraction")
    bench.check()


@cocotb.test()
async def triggers_fire_at_their_tick(dut):
    bench = await start(dut)
    for base in (1000, 0x1_0000_0000 - 40, 0x5_FFFFFFFF_00000000 >> 4):
        await bench.write("tick_load", base)
        for i, ahead in enumerate((60, 61, 200, 90)):
            await bench.write("trigger_time", base + ahead, i)
        await bench.read("trigger_armed")
        await bench.write("trigger_disarm", 0b1000)
        await bench.step(250)
        await bench.read("trigger_armed")
        bench.check()
    assert len(bench.times("trigger0")) == 3 and not bench.times("trigger3")
    assert await bench.read("flags") == 0


@cocotb.test()
async def late_trigger_fires_at_once_and_is_flagged(dut):
    bench = await start(dut)
    await bench.step(100)
    await bench.write("trigger_time", 50, 2)
    await bench.step(10)
    assert len(bench.times("trigger2")) == 1
    assert TimingFlags.from_bits(await bench.read("flags")).trigger_late
    assert await bench.read("flag_counts", 3) == 1
    await bench.read("flag_times", 3)
    # A jump of the counter past the time is late too; one to the time is not.
    await bench.write("flags", 0x3F)
    await bench.write("trigger_time", 100_000, 0)
    await bench.write("trigger_time", 200_000, 1)
    await bench.write("tick_load", 100_000)
    await bench.step(20)
    assert await bench.read("flags") == 0
    await bench.write("tick_load", 200_001)
    await bench.step(20)
    assert await bench.read("flag_counts", 3) == 1
    # Margins around now: on time from TRIGGER_LATENCY on.
    for margin in range(0, 16):
        now = bench.model.tick_at(bench.clock)
        await bench.write("trigger_time", now + margin, 3)
        await bench.step(20)
        await bench.read("flag_counts", 3)
    bench.check()


@cocotb.test()
async def sync_outputs_follow_the_virtual_clock(dut):
    bench = await start(dut)
    await bench.write("rate_write", 0x7FFFFFFF)
    for i, (period, width) in enumerate(((25, 3), (8, 1))):
        await bench.write("sync_period", period, i)
        await bench.write("sync_width", width, i)
        await bench.write("sync_next", 200 + i, i)
    await bench.step(1500)
    bench.check()
    assert len(bench.times("sync0")) > 80
    # Setting the virtual clock stops both.
    await bench.write("virtual_load", 0xFFFFFFF0)
    await bench.step(50)
    bench.check()
    stopped = len(bench.times("sync0"))
    await bench.step(200)
    assert len(bench.times("sync0")) == stopped
    # Too late, switched off, wider than the period, faster than the output can.
    await bench.write("sync_next", 10, 0)
    await bench.step(10)
    assert TimingFlags.from_bits(await bench.read("flags")).sync_late
    await bench.write("sync_width", 100, 0)
    await bench.write("sync_next", 0x1_0000_0000 + 600, 0)
    await bench.write("sync_period", 2, 1)
    await bench.write("sync_next", 0x1_0000_0000 + 500, 1)
    await bench.step(700)
    await bench.write("sync_period", 0, 0)
    await bench.write("sync_period", 0, 1)
    await bench.step(200)
    bench.check()


async def lock(bench, *, period, offset_ppm=50.0, edges=60, window=None,
               threshold=4 * STEP + 300, first=300, **more):
    """Reference edges as a local clock with a frequency offset sees them, from now on."""
    await bench.discipline(period=period, window=window or period // 8, threshold=threshold,
                           **more)
    begin = bench.clock + first
    local = period / (1 + offset_ppm * 1e-6) * FINE_PER_TICK
    times = [begin * FINE_PER_TICK + 1234 + k * local for k in range(edges)]
    for time in times:
        bench.pulse(time)
    return times


@cocotb.test()
async def loop_locks(dut):
    bench = await start(dut)
    await bench.write("acquire_virtual", 0x12_3456_7000)
    times = await lock(bench, period=2000, threshold=2 * STEP + 3000)
    await bench.run_to(int(times[-1]) // FINE_PER_TICK + 50)
    bench.check()
    assert bench.states() == [LoopState.ACQUIRE, LoopState.PULL_IN, LoopState.LOCKED]
    for name in ("state", "phase_error", "reference_tick", "reference_edges", "flags"):
        await bench.read(name)
    await bench.write("snapshot", 1)
    await bench.read("snapshot_virtual")


@cocotb.test()
async def missing_edges_lead_to_holdover_and_back(dut):
    bench = await start(dut)
    times = await lock(bench, period=1500, edges=90, threshold=4 * STEP + 300)
    kept = bench.waiting[Reference.PPS]
    del kept[40:47], kept[60]
    await bench.run_to(int(times[43]) // FINE_PER_TICK + 400)
    assert await bench.read("state") == LoopState.HOLDOVER.value
    assert await bench.read("holdover_ticks") > 1500
    await bench.run_to(int(times[80]) // FINE_PER_TICK)
    assert await bench.read("holdover_ticks") == 0
    await bench.read("reference_missed")
    await bench.run_to(int(times[-1]) // FINE_PER_TICK + 50)
    bench.check()
    assert LoopState.HOLDOVER in bench.states() and bench.states()[-1] is LoopState.LOCKED
    flags = TimingFlags.from_bits(await bench.read("flags"))
    assert flags.reference_missing and flags.lock_lost and not flags.reference_spurious


@cocotb.test()
async def spurious_edges_are_ignored(dut):
    bench = await start(dut)
    times = await lock(bench, period=1200, edges=40, offset_ppm=0)
    for k in (20, 21, 25, 30):
        bench.pulse(times[k] + 600 * FINE_PER_TICK)
        bench.pulse(times[k] + 9 * FINE_PER_TICK)    # while the real one is being worked on
        bench.pulse(times[k] + 620 * FINE_PER_TICK)
    await bench.run_to(int(times[-1]) // FINE_PER_TICK + 100)
    bench.check()
    assert await bench.read("flag_counts", 1) == 12
    assert await bench.read("reference_edges") == 40


@cocotb.test()
async def glitch_instead_of_the_first_edge_is_forgotten(dut):
    bench = await start(dut)
    times = await lock(bench, period=1200, edges=30, first=800)
    bench.pulse(times[0] - 500 * FINE_PER_TICK)
    await bench.run_to(int(times[-1]) // FINE_PER_TICK + 50)
    bench.check()
    assert bench.states()[-1] is LoopState.LOCKED
    assert bench.states().count(LoopState.ACQUIRE) == 2


@cocotb.test()
async def loss_of_lock_and_saturation(dut):
    bench = await start(dut)
    times = await lock(bench, period=1000, edges=40, threshold=300 + 4 * STEP)
    last = times[-1]
    # The reference steps by 60 ticks, then runs 200 ppm off: more than the rate word can do.
    for k in range(1, 40):
        bench.pulse(last + (60 + 1000 * k) * FINE_PER_TICK)
    last += (60 + 39_000) * FINE_PER_TICK
    for k in range(1, 60):
        bench.pulse(last + 1000.2 * k * FINE_PER_TICK)
    await bench.run_to(int(last) // FINE_PER_TICK + 60_000)
    bench.check()
    flags = TimingFlags.from_bits(await bench.read("flags"))
    assert flags.lock_lost and flags.rate_limited


@cocotb.test()
async def ten_megahertz_through_the_divider(dut):
    bench = await start(dut)
    await bench.discipline(period=1250, window=600, threshold=2000 + 2 * STEP, divider=100,
                           reference=Reference.CLOCK)
    begin = bench.clock + 20
    for k in range(2600):
        bench.pulse((begin + 12.5 * k) * FINE_PER_TICK + 77, Reference.CLOCK)
    bench.pulse((begin + 3000) * FINE_PER_TICK)  # the other input is not listened to
    await bench.step(int(12.5 * 2600) + 100)
    bench.check()
    assert bench.states()[-1] is LoopState.LOCKED
    assert await bench.read("reference_edges") == 26


@cocotb.test()
async def commands_while_disciplining(dut):
    bench = await start(dut)
    times = await lock(bench, period=1000, edges=60, offset_ppm=20)
    await bench.run_to(int(times[20]) // FINE_PER_TICK - 7)
    await bench.write("rate_write", -1234567)
    await bench.run_to(int(times[25]) // FINE_PER_TICK + 3)
    await bench.write("virtual_load", 5_000_000)   # back to ACQUIRE
    await bench.run_to(int(times[40]) // FINE_PER_TICK - 500)
    await bench.write("control", 0)
    await bench.run_to(int(times[43]) // FINE_PER_TICK + 500)
    bench.check()
    await bench.write("control", 1)
    await bench.run_to(int(times[-1]) // FINE_PER_TICK + 50)
    bench.check()
    assert bench.states()[-1] is LoopState.LOCKED
    assert bench.states().count(LoopState.FREE) == 1


@cocotb.test()
async def sync_outputs_start_anew_in_any_tick(dut):
    """Also in the tick before a pulse, which is on its way then."""
    bench = await start(dut)
    await bench.write("sync_period", 25, 0)
    await bench.write("sync_width", 3, 0)
    for offset in range(30):
        await bench.write("sync_next", bench.model.virtual_at(bench.clock) // 2**44 + 40, 0)
        await bench.step(70 + offset)
        bench.check()


@cocotb.test()
async def random_jitter_loss_and_glitches(dut):
    seed = seed_from_environment()
    rng = random.Random(seed)
    bench = await start(dut)
    for _ in range(6):
        await bench.reset()
        period = rng.randrange(1000, 5000)
        jitter = rng.choice((0, 100, 3000, 30_000))
        offset = rng.uniform(-120e-6, 120e-6)
        bits = period.bit_length()
        await bench.write("acquire_virtual", rng.getrandbits(64) >> rng.choice((0, 30)))
        await bench.discipline(
            period=period, window=rng.choice((period // 4, period // 20 + 10)),
            threshold=rng.choice((500, 8192, 40_000)), count=rng.choice((0, 1, 3, 8)),
            fast=gains(bits + rng.randrange(-1, 3), bits + rng.randrange(0, 4),
                       bits + rng.randrange(0, 5), rng.choice((bits + 7, 64, 255))))
        begin = bench.clock + rng.randrange(10, 400)
        for k in range(70):
            if rng.random() < 0.1:
                continue
            bench.pulse((begin + k * period * (1 + offset)) * FINE_PER_TICK
                        + abs(rng.gauss(0, jitter)))
            if rng.random() < 0.05:
                bench.pulse((begin + (k + rng.random()) * period) * FINE_PER_TICK)
        while bench.clock < begin + 70 * period:
            await bench.run_to(bench.clock + rng.randrange(3000, 20_000))
            kind = rng.randrange(6)
            if kind == 0:
                await bench.write("trigger_time",
                                  bench.model.tick_at(bench.clock) + rng.randrange(-20, 400),
                                  rng.randrange(4))
            elif kind == 1:
                i = rng.randrange(2)
                await bench.write("sync_period", rng.randrange(200, 900), i)
                await bench.write("sync_next", bench.model.virtual_at(bench.clock) // 2**44
                                  + rng.randrange(-5, 300), i)
            elif kind == 2:
                await bench.write("snapshot", 1)
                await bench.read("snapshot_virtual")
                await bench.read("snapshot_rate")
            elif kind == 3:
                await bench.write("rate_write", rng.randrange(-2**31, 2**31))
            elif kind == 4:
                await bench.write("flags", rng.getrandbits(6))
            else:
                await bench.read("holdover_ticks")
                await bench.read("flag_times", rng.randrange(6))
            bench.model.advance(bench.clock)
        bench.check()


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = await start(dut)
    for clocks in (5_000, 12_345, 20_001):
        await bench.write("sync_period", 100)
        await bench.write("sync_next", 500)
        await bench.write("trigger_time", 1 << 40)
        await lock(bench, period=1000, edges=20)
        await bench.run_to(clocks)
        bench.check()
        await bench.reset()
        bench.check()
        assert await bench.read("state") == LoopState.FREE.value
        assert await bench.read("flags") == 0
        assert await bench.read("trigger_armed") == 0
    bench.check()


@cocotb.test()
async def edge_finder_of_the_model_agrees_with_the_words(dut):
    """The model's own search of edges in sample words gives the edges that the bench fed."""
    bench = await start(dut)
    await bench.discipline(period=500, window=200, threshold=8192)
    begin = bench.clock
    words = []
    for k in range(8):
        bench.pulse((begin + 40 + 500 * k) * FINE_PER_TICK + 999 * k)
    fed = list(bench.waiting[Reference.PPS])
    for _ in range(4_000):
        bits = bench._word(Reference.PPS)
        word = WORD.from_bits(bits)
        words.append((word.level, [int(f) for f in word.fine] if FINE else []))
        dut.pps.value = bits
        bench._watch()
        await FallingEdge(dut.clk)
        bench.clock += 1
    found = list(rising_edges(words, samples=SAMPLES, start=begin))
    assert [clock * FINE_PER_TICK + fine for clock, fine in found] == fed
    bench.check()
