"""Growth of clusters, against a plain model of the rule."""

import random

import pytest
from amaranth.sim import Simulator

from quantacore.gateware.decoder.growth import Growth
from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench.clusters import GrowthModel, random_events


class Bench:
    """A component in the simulator, driven clock by clock."""

    def __init__(self, shape, ctx, dut):
        self.shape = shape
        self.ctx = ctx
        self.dut = dut
        self.model = None

    async def clear(self):
        self.model = GrowthModel(self.shape.event_bits, self.shape.capacity)
        self.ctx.set(self.dut.clear, 1)
        await self.ctx.tick()
        self.ctx.set(self.dut.clear, 0)

    async def push(self, events, *, filling):
        self.ctx.set(self.dut.filling, filling)
        for i, j, distance in events:
            self.model.push(i, j, distance, always=filling and j is None)
            self.ctx.set(self.dut.push.valid, 1)
            self.ctx.set(self.dut.push.payload, {
                "i": i, "j": j or 0, "boundary": j is None, "distance": distance})
            await self.ctx.tick()
            self.ctx.set(self.dut.push.valid, 0)

    async def grow(self, count):
        """Clocks that a pass takes; its clusters are the model's."""
        self.ctx.set(self.dut.count, count)
        self.ctx.set(self.dut.start, 1)
        await self.ctx.tick()
        self.ctx.set(self.dut.start, 0)
        clocks = 0
        while self.ctx.get(self.dut.busy):
            await self.ctx.tick()
            clocks += 1
            assert clocks < 20000
        expected = self.model.grow(count)
        for slot in range(count):
            self.ctx.set(self.dut.query, slot)
            await self.ctx.tick().repeat(2)
            members = self.ctx.get(self.dut.members)
            assert {i for i in range(64) if members >> i & 1} == expected[slot]
        assert self.ctx.get(self.dut.events_dropped) == self.model.dropped
        return clocks


def simulate(shape, test):
    dut = Growth(shape)

    async def testbench(ctx):
        await test(Bench(shape, ctx, dut))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("capacity", [8, 16, 64])
def test_random_lists(capacity):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed:#x}")
    rng = random.Random(seed)
    taken = clocks = 0

    async def test(bench):
        nonlocal taken, clocks
        for _ in range(30):
            count = rng.randint(0, capacity)
            largest = rng.choice((3, 12, 40, 64))
            events = random_events(rng, count, density=rng.choice((0.05, 0.3, 1)) * 8 / capacity,
                                   largest=largest, bound=rng.choice((0, 0.3, 1)))
            await bench.clear()
            await bench.push(events, filling=1)
            clocks += await bench.grow(count)
            taken += bench.model.taken

    simulate(DecoderShape(space_bits=4, capacity=capacity), test)
    print(f"{taken} events in {clocks} clocks")


def test_second_pass_starts_from_all_events():
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed:#x}")
    rng = random.Random(seed)

    async def test(bench):
        for _ in range(15):
            count = rng.randint(2, 16)
            await bench.clear()
            await bench.push(random_events(rng, count, density=0.5, largest=40), filling=1)
            await bench.grow(count)
            await bench.grow(count)
            await bench.push(random_events(rng, count, density=0.2, largest=20), filling=0)
            await bench.grow(count)

    simulate(DecoderShape(space_bits=4, capacity=16), test)


def test_events_are_dropped_and_flagged():
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed:#x}")
    rng = random.Random(seed)
    dropped = []

    async def test(bench):
        for density in (0, 0.1, 0.2, 0.5, 1, 0):
            for later in (0, 0.03):
                count = rng.randint(8, 16)
                await bench.clear()
                assert not bench.ctx.get(bench.dut.events_dropped)
                await bench.push(random_events(rng, count, density=density, largest=64), filling=1)
                await bench.push(random_events(rng, count, density=later, largest=64,
                                               bound=later), filling=0)
                await bench.grow(count)
                dropped.append(bench.model.dropped)

    simulate(DecoderShape(space_bits=4, capacity=16, event_bits=5), test)
    assert len(set(dropped)) == 2


def test_events_that_come_back_are_dropped_and_flagged():
    """Two pairs that rest keep on coming back while a third cluster grows."""
    async def test(bench):
        await bench.clear()
        pairs = [(1, 0, 1), (3, 2, 1), (5, 4, 1), (7, 6, 1)]
        far = [(i, j, 64) for i in range(2, 8) for j in range(i & ~1)]
        await bench.push(pairs + far[:20], filling=1)
        await bench.push([], filling=0)
        await bench.grow(9)
        assert bench.model.dropped

    simulate(DecoderShape(space_bits=4, capacity=8 * 2, event_bits=5), test)


def test_nothing_and_one():
    async def test(bench):
        await bench.clear()
        assert await bench.grow(0) < 8
        await bench.grow(1)
        await bench.push([(0, None, 64)], filling=1)
        await bench.grow(1)

    simulate(DecoderShape(space_bits=4, capacity=8), test)


def test_last_step_meets_all_that_waits():
    async def test(bench):
        await bench.clear()
        # Slots 0 and 1 rest against the boundary at once; 2 reaches nothing before the last step.
        await bench.push([(0, None, 0), (1, None, 0), (2, 0, 64), (2, 1, 64), (1, 0, 64)],
                         filling=1)
        await bench.grow(3)

    simulate(DecoderShape(space_bits=4, capacity=8), test)


def test_distance_by_the_clock():
    """Two defects that meet cost what the contract says."""
    clocks = []

    async def test(bench):
        for events in ([], [(1, 0, 2)], [(1, 0, 2), (2, None, 5)]):
            await bench.clear()
            await bench.push(events, filling=1)
            clocks.append(await bench.grow(3))

    simulate(DecoderShape(space_bits=4, capacity=8), test)
    assert clocks[0] <= 8
    assert clocks[1] - clocks[0] <= 12


def test_reset_in_the_middle_of_a_pass():
    rng = random.Random(5)

    async def test(bench):
        for clocks in range(1, 40, 3):
            await bench.clear()
            await bench.push(random_events(rng, 16, density=0.5, largest=40), filling=1)
            bench.ctx.set(bench.dut.count, 16)
            bench.ctx.set(bench.dut.start, 1)
            await bench.ctx.tick()
            bench.ctx.set(bench.dut.start, 0)
            await bench.ctx.tick().repeat(clocks)
            bench.ctx.set(bench.reset, 1)
            await bench.ctx.tick()
            bench.ctx.set(bench.reset, 0)
            assert not bench.ctx.get(bench.dut.busy)
            await bench.clear()
            await bench.push(random_events(rng, 12, density=0.5, largest=40), filling=1)
            await bench.grow(12)

    from amaranth import Module, ResetInserter, Signal

    shape = DecoderShape(space_bits=4, capacity=16)
    dut = Growth(shape)
    reset = Signal()

    async def testbench(ctx):
        bench = Bench(shape, ctx, dut)
        bench.reset = reset
        await test(bench)

    top = Module()
    top.submodules.dut = ResetInserter(reset)(dut)
    simulator = Simulator(top)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


def test_shape_is_checked():
    with pytest.raises(TypeError, match="Growth needs a DecoderShape, not 7"):
        Growth(7)
