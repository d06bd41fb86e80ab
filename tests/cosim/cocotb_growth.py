"""Growth of clusters, as Verilog, against a plain model of the rule."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench.clusters import GrowthModel, random_events
from quantacore.sim.bench.cosim import seed_from_environment

SHAPE = DecoderShape(**{name: int(os.environ[f"QC_{name.upper()}"])
                        for name in ("space_bits", "capacity", "event_bits")})
WINDOWS = 800 // SHAPE.capacity + 40


class Bench:
    """Changes inputs and looks at outputs in the middle of the clock."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(seed_from_environment())
        self.model = None
        self.taken = self.clocks = self.windows_dropped = 0

    async def start(self):
        cocotb.log.info("seed %#x", seed_from_environment())
        for name in ("clear", "push__valid", "push__payload", "filling", "count", "start", "query"):
            getattr(self.dut, name).value = 0
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        await self.reset()

    async def tick(self):
        await FallingEdge(self.dut.clk)

    async def reset(self):
        self.dut.rst.value = 1
        await self.tick()
        await self.tick()
        self.dut.rst.value = 0

    async def pulse(self, name):
        getattr(self.dut, name).value = 1
        await self.tick()
        getattr(self.dut, name).value = 0

    async def clear(self):
        self.model = GrowthModel(SHAPE.event_bits, SHAPE.capacity)
        await self.pulse("clear")

    async def push(self, events, *, filling, gaps=0.0):
        self.dut.filling.value = filling
        for i, j, distance in events:
            while self.rng.random() < gaps:
                self.dut.push__payload.value = 0
                await self.tick()
            self.model.push(i, j, distance, always=filling and j is None)
            self.dut.push__payload.value = SHAPE.event.const({
                "i": i, "j": j or 0, "boundary": j is None, "distance": distance}).as_bits()
            await self.pulse("push__valid")

    async def grow(self, count):
        self.dut.count.value = count
        await self.pulse("start")
        waited = 0
        while int(self.dut.busy.value):
            await self.tick()
            waited += 1
            assert waited < 1 << 16
        expected = self.model.grow(count)
        self.clocks += waited
        self.taken += self.model.taken
        asked = [None, None]
        for slot in [*range(count), None, None]:
            if slot is not None:
                self.dut.query.value = slot
            asked.append(slot)
            if asked[-3] is not None:
                members = int(self.dut.members.value)
                assert {i for i in range(64) if members >> i & 1} == expected[asked[-3]]
            await self.tick()
        assert int(self.dut.events_dropped.value) == self.model.dropped

    def events(self, count, share=1.0):
        rng = self.rng
        return random_events(rng, count, density=share * min(1, rng.choice((1, 3, 8)) / count),
                             largest=rng.choice((2, 10, 30, 64)),
                             bound=share * rng.choice((0.1, 0.6, 1)))


@cocotb.test()
async def windows_of_one_to_three_passes(dut):
    bench = Bench(dut)
    await bench.start()
    rng = bench.rng
    for _ in range(WINDOWS):
        count = rng.randint(1, SHAPE.capacity)
        await bench.clear()
        await bench.push(bench.events(count), filling=1, gaps=rng.choice((0, 0.5)))
        await bench.grow(count)
        for _ in range(rng.randint(0, 2)):
            await bench.push(bench.events(count, 0.3), filling=0)
            await bench.grow(count)
        bench.windows_dropped += bench.model.dropped
    cocotb.log.info("%d events in %d clocks; events dropped in %d windows", bench.taken,
                    bench.clocks, bench.windows_dropped)


@cocotb.test()
async def lists_of_all_events(dut):
    """Every pair is an event: the queue fills up."""
    bench = Bench(dut)
    await bench.start()
    for largest in (4, 20, 64):
        count = SHAPE.capacity
        await bench.clear()
        await bench.push(random_events(bench.rng, count, density=1, largest=largest), filling=1)
        await bench.grow(count)
        await bench.grow(count)
        if SHAPE.capacity == 64:
            assert bench.model.dropped


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = Bench(dut)
    await bench.start()
    count = SHAPE.capacity
    for _ in range(30):
        await bench.clear()
        await bench.push(bench.events(count), filling=1)
        dut.count.value = count
        await bench.pulse("start")
        for _ in range(bench.rng.randint(0, 60)):
            await bench.tick()
        await bench.reset()
        assert not int(dut.busy.value) and not int(dut.events_dropped.value)
        await bench.clear()
        await bench.push(bench.events(count), filling=1)
        await bench.grow(count)
