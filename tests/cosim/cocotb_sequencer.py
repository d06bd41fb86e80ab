"""The sequencer's engine on Verilog against the golden model, program after program."""

import os
import random
import time

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer, with_timeout

from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.sequencer_equality import (
    BatchModel,
    batch_rows,
    show_command,
    unpack_results,
    unpack_trace,
)
from quantacore.sim.bench.sequencer_probe import RESULTS_SHOWN, TRACE_DEPTH, TRACE_SHOWN
from quantacore.sim.bench.sequencer_random import random_batch

PERIOD_NS = 8
PROGRAMS = int(os.environ.get("QC_PROGRAMS", 2000))
SECONDS = float(os.environ.get("QC_SECONDS", 0))


class Bench:
    """A probe and the model beside it."""

    def __init__(self, dut):
        self.dut = dut
        self.golden = BatchModel()

    async def reset(self):
        dut = self.dut
        for name in ("tick_load", "row_write", "go", "clear", "results_address", "kept_address",
                     "data_index"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        self.golden = BatchModel()

    async def set_tick(self, tick):
        self.dut.tick_value.value = tick
        self.dut.tick_load.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.tick_load.value = 0

    async def load(self, batch):
        dut = self.dut
        dut.row_write.value = 1
        for target, address, row in batch_rows(batch):
            dut.row_target.value = target.value
            dut.row_address.value = address
            dut.row.value = row
            await FallingEdge(dut.clk)
        dut.row_write.value = 0

    async def begin(self, count):
        self.dut.count.value = count
        self.dut.go.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.go.value = 0

    async def results(self, count):
        found = []
        for address in range(-(-count // RESULTS_SHOWN)):
            self.dut.results_address.value = address
            await Timer(1, "ns")
            found += unpack_results(int(self.dut.results.value),
                                    min(RESULTS_SHOWN, count - RESULTS_SHOWN * address))
        await FallingEdge(self.dut.clk)
        return found

    async def trace(self):
        count = min(int(self.dut.commands.value), TRACE_DEPTH)
        found = []
        for address in range(-(-count // TRACE_SHOWN)):
            self.dut.kept_address.value = address
            await Timer(1, "ns")
            found += unpack_trace(int(self.dut.kept.value),
                                  min(TRACE_SHOWN, count - TRACE_SHOWN * address))
        await FallingEdge(self.dut.clk)
        return found

    async def run(self, batch, *, trace=False):
        """Run a batch, and compare: every command with its tick, and how every run ended."""
        await self.load(batch)
        await self.begin(len(batch.runs))
        await with_timeout(RisingEdge(self.dut.done), 1 << 24, "ns")
        await FallingEdge(self.dut.clk)
        results = await self.results(len(batch.runs))
        differing = self.golden.differences(batch, results)
        if trace or differing:
            commands = [(tick & 0xFFFFFFFF, *more) for tick, *more in self.golden.commands]
            for i, (got, want) in enumerate(zip(await self.trace(), commands, strict=False)):
                if got != want:
                    def show(command):
                        places = [k for k, word in enumerate(batch.words) if word == command[1]]
                        return f"{show_command(command)} at {places}"

                    differing += [*map(show, commands[max(i - 12, 0):i]), f"engine {show(got)}",
                                  f"model  {show(want)}"]
                    break
        assert not differing, "\n".join(differing)
        return results


async def start(dut):
    Clock(dut.clk, PERIOD_NS, "ns").start()
    bench = Bench(dut)
    await bench.reset()
    return bench


@cocotb.test()
async def random_programs(dut):
    rng = random.Random(seed_from_environment())
    bench = await start(dut)
    begun = time.perf_counter()
    first = True
    while bench.golden.runs < PROGRAMS or time.perf_counter() - begun < SECONDS:
        if rng.random() < 0.3:
            # Where the halves of a tick's number part.
            await bench.set_tick((rng.getrandbits(31) << 32) - rng.getrandbits(14) & (1 << 63) - 1)
        await bench.run(random_batch(rng), trace=first)
        first = False
    golden = bench.golden
    dut._log.info("%d programs, %d commands, %d ticks in %.1f s", golden.runs, golden.issued,
                  golden.ticks, time.perf_counter() - begun)
