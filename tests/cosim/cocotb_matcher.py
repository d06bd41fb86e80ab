"""Matching inside clusters, as Verilog, against a plain model of the rule."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from quantacore.gateware.layouts.decoder import DecoderShape, PartnerKind
from quantacore.sim.bench.clusters import MatchCase, match, random_clusters
from quantacore.sim.bench.cosim import seed_from_environment

SHAPE = DecoderShape(**{name: int(os.environ[f"QC_{name.upper()}"])
                        for name in ("space_bits", "capacity", "cluster")})
WINDOWS = 800 // SHAPE.capacity + 40


class Bench:
    """Stands for the memories and for the clusters, two clocks from question to answer."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(seed_from_environment())
        self.clocks = 0

    async def start(self):
        cocotb.log.info("seed %#x", seed_from_environment())
        for name in ("start", "count", "members", "pair_weight", "bound_weight", "bound_lowest"):
            getattr(self.dut, name).value = 0
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        await self.reset()

    async def reset(self):
        self.dut.rst.value = 1
        await FallingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def run(self, case, *, limit=1 << 16):
        """Results by slot; ends early after ``limit`` clocks."""
        dut = self.dut
        masks = [case.members(slot) for slot in range(case.count)]
        dut.count.value = case.count
        await FallingEdge(dut.clk)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        slot_mask = SHAPE.capacity - 1
        answers, result = [(0, 0, 0, 0)], {}
        for _ in range(limit):
            if not int(dut.busy.value):
                return result
            query, bound = int(dut.query.value), int(dut.bound_address.value)
            pair = int(dut.pair_address.value)
            known = bound < case.count
            answers.append((
                masks[query] if query < case.count else 0,
                case.bound[bound] if known else 0, case.lowest[bound] if known else 0,
                case.memory.get((pair & slot_mask, pair >> SHAPE.slot_bits), 0)))
            await FallingEdge(dut.clk)
            self.clocks += 1
            (dut.members.value, dut.bound_weight.value, dut.bound_lowest.value,
             dut.pair_weight.value) = answers[-2]
            if int(dut.result_valid.value):
                slot, kind = int(dut.result_slot.value), PartnerKind(int(dut.result_kind.value))
                assert slot not in result
                result[slot] = {PartnerKind.SLOT: int(dut.result_partner.value),
                                PartnerKind.BOUNDARY: "boundary",
                                PartnerKind.ESCAPED: "escaped"}[kind]
        return None

    async def compare(self, case):
        result = await self.run(case)
        expected, largest = match(case.clusters, case.bound, case.pair, SHAPE.cluster)
        assert result == expected
        assert int(self.dut.largest.value) == largest
        assert int(self.dut.escaped.value) == ("escaped" in expected.values())

    def case(self, sizes):
        rng = self.rng
        clusters = random_clusters(rng, rng.randint(0, SHAPE.capacity), sizes)
        return MatchCase(rng, clusters, largest=rng.choice((1, 5, 60, 254)),
                         none=rng.choice((0, 0.2, 0.5, 0.8)), far=rng.choice((0, 0.3)))


@cocotb.test()
async def lists_of_small_clusters(dut):
    bench = Bench(dut)
    await bench.start()
    for _ in range(WINDOWS):
        await bench.compare(bench.case((1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6)))
    cocotb.log.info("%d clocks", bench.clocks)


@cocotb.test()
async def clusters_up_to_the_largest_and_beyond(dut):
    bench = Bench(dut)
    await bench.start()
    for size in range(7, SHAPE.cluster + 1):
        await bench.compare(bench.case((size, 1)))
    await bench.compare(bench.case((SHAPE.cluster, SHAPE.cluster + 1)))
    await bench.compare(bench.case((SHAPE.cluster + 1, SHAPE.capacity)))
    await bench.compare(bench.case((SHAPE.capacity,)))


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = Bench(dut)
    await bench.start()
    for _ in range(30):
        await bench.run(bench.case((1, 2, 3, 4, 5)), limit=bench.rng.randint(1, 150))
        await bench.reset()
        assert not int(dut.busy.value)
        await bench.compare(bench.case((1, 2, 3, 4)))
