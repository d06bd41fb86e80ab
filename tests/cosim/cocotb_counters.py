"""The counter bank as Verilog against plain sums."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from quantacore.sim.bench.cosim import seed_from_environment

WIDTHS = [int(width) for width in os.environ["QC_WIDTHS"].split()]
COUNT_BITS = int(os.environ["QC_COUNT_BITS"])
HALF = COUNT_BITS // 2
WALK = max(len(WIDTHS), 8)
#: From an increment until every read shows it, reads in between or not.
SETTLE = 2 * WALK + 8


class Bench:
    """Drives increments, and counts them as they are."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(seed_from_environment())
        self.totals = [0] * len(WIDTHS)
        cocotb.log.info("seed %#x", seed_from_environment())

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 8, unit="ns").start())
        for name in ("clear", "read", "address"):
            getattr(self.dut, name).value = 0
        self.put([0] * len(WIDTHS))
        await self.reset()

    async def reset(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0
        self.totals = [0] * len(WIDTHS)

    def put(self, values):
        self.values = values
        for cell, value in enumerate(values):
            getattr(self.dut, f"increments__{cell}").value = value

    async def clock(self, clear=0):
        self.dut.clear.value = clear
        await ClockCycles(self.dut.clk, 1)
        self.totals = [0 if clear else total + value
                       for total, value in zip(self.totals, self.values, strict=True)]

    async def run(self, clocks, density):
        """Random increments in a share of all clocks; 1 is the largest in every clock."""
        for _ in range(clocks):
            self.put([(1 << width) - 1 if density == 1 else
                      self.rng.getrandbits(width) if self.rng.random() < density else 0
                      for width in WIDTHS])
            await self.clock()
        self.put([0] * len(WIDTHS))

    async def read(self, address):
        self.dut.address.value, self.dut.read.value = address, 1
        await self.clock()
        self.dut.read.value, self.dut.address.value = 0, self.rng.randrange(2 * len(WIDTHS))
        await self.clock()
        await FallingEdge(self.dut.clk)
        return int(self.dut.data.value)

    async def count(self, cell):
        low = await self.read(2 * cell)
        await self.clock()
        return low | await self.read(2 * cell + 1) << HALF

    async def compare(self):
        for _ in range(SETTLE):
            await self.clock()
        cells = list(range(len(WIDTHS)))
        self.rng.shuffle(cells)
        for cell in cells:
            assert await self.count(cell) == self.totals[cell] % (1 << COUNT_BITS), cell


@cocotb.test()
async def every_rate_is_counted(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.compare()
    for density in (0.02, 0.5, 1):
        await bench.run(3 * WALK + bench.rng.randrange(WALK), density)
        await bench.compare()


@cocotb.test()
async def clear_and_reset_come_in_the_middle(dut):
    bench = Bench(dut)
    await bench.start()
    for step in range(4):
        await bench.run(WALK + bench.rng.randrange(2 * WALK), 0.7)
        bench.put([1] * len(WIDTHS))
        if step % 2:
            await bench.reset()
        else:
            await bench.clock(clear=1)
        await bench.run(bench.rng.randrange(2 * WALK), 0.7)
        await bench.compare()


@cocotb.test()
async def reads_in_between_belong_together_and_never_go_back(dut):
    """A count is read while it runs; a narrow one carries into its high word meanwhile."""
    bench = Bench(dut)
    await bench.start()
    cell = max(range(len(WIDTHS)), key=WIDTHS.__getitem__)
    most = (1 << WIDTHS[cell]) - 1
    bench.put([most if i == cell else 0 for i in range(len(WIDTHS))])
    last = 0
    for _ in range(100):
        # Far enough from the last reads that one store in between is not put off.
        for _ in range(2 * WALK + bench.rng.randrange(40)):
            await bench.clock()
        before = bench.totals[cell]
        low = await bench.read(2 * cell)
        for _ in range(bench.rng.randrange(4)):
            await bench.clock()
        count = low | await bench.read(2 * cell + 1) << HALF
        # Narrow counts wrap. They say how far they are behind, if that is less than a wrap.
        behind = (before - count) % (1 << COUNT_BITS)
        assert behind <= most * SETTLE
        assert last <= before - behind
        last = before - behind
