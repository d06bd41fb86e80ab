import random

import pytest
from amaranth.sim import Simulator

from quantacore.gateware.layouts.timing import TIMING, TimingFlags
from quantacore.gateware.telemetry.sticky import StickyFlags
from quantacore.gateware.timing.counter import SplitCounter, TickCounter
from quantacore.gateware.timing.discipline import ReferenceEdges
from quantacore.gateware.timing.sync_out import SyncOutput
from quantacore.gateware.timing.unit import TimingUnit
from quantacore.gateware.timing.virtual import VirtualClock
from quantacore.sim.golden.timing import rising_edges


def run(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def test_split_counter_crosses_its_carry():
    dut = SplitCounter(init=0xFFFFFFFD)

    async def testbench(ctx):
        for expected in range(0xFFFFFFFD, 0x1_00000003):
            assert ctx.get(dut.count) == expected
            await ctx.tick()

    run(dut, testbench)


def test_split_counter_refuses_bad_init():
    with pytest.raises(TypeError, match="Initial count must be an integer, not '3'"):
        SplitCounter(init="3")
    with pytest.raises(ValueError, match="Initial count must fit 64 bits, not -1"):
        SplitCounter(init=-1)


def test_tick_counter_starts_at_zero_and_leads_by_two():
    dut = TickCounter()

    async def testbench(ctx):
        for expected in range(5):
            assert (ctx.get(dut.tick), ctx.get(dut.ahead)) == (expected, expected + 2)
            await ctx.tick()
        ctx.set(dut.load, 1)
        ctx.set(dut.value, 1000)
        await ctx.tick()
        ctx.set(dut.load, 0)
        for ahead, tick in ((1000, 6), (1001, 7), (1002, 1000), (1003, 1001)):
            assert (ctx.get(dut.tick), ctx.get(dut.ahead)) == (tick, ahead)
            await ctx.tick()

    run(dut, testbench)


@pytest.mark.parametrize("rate", [0, 1, -1, 0x7FFFFFFF, -0x80000000])
def test_virtual_clock_adds_its_rate(rate):
    dut = VirtualClock()

    async def testbench(ctx):
        assert ctx.get(dut.whole) == 0
        ctx.set(dut.rate, rate)
        ctx.set(dut.load, 1)
        ctx.set(dut.load_whole, 0xFFFFFFFC)
        ctx.set(dut.load_fraction, 12345)
        await ctx.tick()
        ctx.set(dut.load, 0)
        await ctx.tick().repeat(VirtualClock.LATENCY)
        value = 0xFFFFFFFC << 44 | 12345
        for _ in range(20):
            assert ctx.get(dut.whole) << 44 | ctx.get(dut.fraction) == value
            assert ctx.get(dut.active_rate) == rate
            value += (1 << 44) + rate
            await ctx.tick()

    run(dut, testbench)


@pytest.mark.parametrize("samples, fine", [(1, False), (2, True), (4, True), (8, False)])
def test_reference_edges_and_divider(samples, fine):
    dut = ReferenceEdges(samples=samples, fine=fine)
    rng = random.Random(samples)
    step = 8192 // samples
    words = [(rng.getrandbits(samples), [rng.randrange(step) for _ in range(samples)])
             for _ in range(200)]
    expected = list(rising_edges(words, samples=samples) if fine
                    else rising_edges(((w, ()) for w, _ in words), samples=samples))[::3]

    async def testbench(ctx):
        ctx.set(dut.divider, 3)
        ctx.set(dut.enable, 1)
        seen = []
        for clock in range(len(words) + 3):
            level, offsets = words[clock] if clock < len(words) else (0, [0] * samples)
            ctx.set(dut.word.level, level)
            if fine:
                for i, offset in enumerate(offsets):
                    ctx.set(dut.word.fine[i], offset)
            if ctx.get(dut.edge):
                seen.append((clock - 3, ctx.get(dut.phase)))
            await ctx.tick()
        assert seen == [edge for edge in expected]

    run(dut, testbench)


def test_reference_edges_refuse_odd_sample_counts():
    with pytest.raises(ValueError, match=r"Samples per clock must be one of .*, not 3"):
        ReferenceEdges(samples=3, fine=True)


def test_sync_output_rises_on_its_time():
    dut = SyncOutput()

    async def testbench(ctx):
        ctx.set(dut.first, 10)
        ctx.set(dut.period, 9)
        ctx.set(dut.width, 2)
        ctx.set(dut.ahead, 2)
        await ctx.tick()
        high = []
        for now in range(1, 60):
            ctx.set(dut.ahead, now + 2)
            ctx.set(dut.start, now == 3)
            if ctx.get(dut.output):
                high.append(now)
            await ctx.tick()
        assert high == [t + d for t in range(10, 58, 9) for d in (0, 1) if t + d < 60]

    run(dut, testbench)


def test_unit_counts_from_reset():
    dut = TimingUnit(samples=2, fine=False)

    async def testbench(ctx):
        for expected in range(10):
            assert ctx.get(dut.tick) == expected
            await ctx.tick()

    run(dut, testbench)


def test_sticky_flags_count_and_stamp():
    dut = StickyFlags(2)

    async def testbench(ctx):
        async def clock(now, events=0, clear=0):
            ctx.set(dut.now, now)
            ctx.set(dut.events, events)
            ctx.set(dut.clear, clear)
            await ctx.tick()
            return ctx.get(dut.flags), ctx.get(dut.counts[0]), ctx.get(dut.times[0])

        assert await clock(5) == (0, 0, 0)
        assert await clock(6, events=1) == (1, 1, 6)
        assert await clock(7, events=3) == (3, 2, 6)
        assert await clock(8, events=1, clear=1) == (3, 1, 8)  # not lost
        assert await clock(9, clear=1) == (2, 0, 0)
        assert await clock(10) == (2, 0, 0)

    run(dut, testbench)


@pytest.mark.parametrize("number, error, message", [
    ("2", TypeError, "Number of flags must be an integer, not '2'"),
    (0, ValueError, "Number of flags must be 1 to 32, not 0"),
    (33, ValueError, "Number of flags must be 1 to 32, not 33"),
])
def test_sticky_flags_refuse(number, error, message):
    with pytest.raises(error, match=message):
        StickyFlags(number)


def test_flags_of_the_block_fit_the_register():
    names = [name for name, _ in TimingFlags.as_shape()]
    assert names == ["reference_missing", "reference_spurious", "lock_lost", "trigger_late",
                     "rate_limited", "sync_late"]
    assert {r.name: r for r in TIMING.registers}["flag_counts"].count == len(names)
