"""Filler, walker and applier as Verilog against plain models: many random windows."""

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from quantacore.gateware.decoder.ports import bound_write, pair_address, pair_write, partner_word
from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.decoder_tables import (
    BOUNDARY,
    ESCAPED,
    SLOT,
    ApplierBench,
    FillerBench,
    WalkerBench,
    World,
    apply,
    fill,
    walk,
)

SHAPE = DecoderShape(**json.loads(os.environ["QC_SHAPE"]))
UNIT = os.environ["QC_UNIT"]
WINDOWS = int(os.environ["QC_WINDOWS"])
INPUTS = {
    "Filler": ("start", "count", "complete", "row_data", "column_data", "lowest_data", "table_data",
               "bound_table_data"),
    "Walker": ("start", "count", "known", "partner_data", "row_data", "column_data", "hop_data",
               "bound_table_data", "edge_data", "short_data", "shortcuts__ready"),
    "Applier": ("window_layers", "reach", "hold", "shortcuts__valid", "shortcuts__payload", "clear",
                "list_data", "first_data", "u_table_data", "v_table_data", "bound_table_data",
                "lowest_data", "pair_weight", "bound_weight", "cross_weight",
                "scan_weight"),
}[UNIT]


async def begin(dut):
    cocotb.log.info("seed %#x", seed_from_environment())
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for name in INPUTS:
        getattr(dut, name).value = 0
    await reset(dut)
    return random.Random(random.getrandbits(64))


async def reset(dut):
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0


async def run(dut, bench, *, clocks=100_000):
    """Until the bench is done, or for so many clocks."""
    for _ in range(clocks):
        await FallingEdge(dut.clk)
        values = bench.clock(lambda name: int(getattr(dut, name).value))
        if bench.done:
            return
        await RisingEdge(dut.clk)
        for name, value in values.items():
            getattr(dut, name).value = value


def make_world(rng):
    """Noise or a line; ties, nones, corners of the window."""
    count = rng.choice([0, 1, 2, 3, SHAPE.capacity // 4, SHAPE.capacity // 2, SHAPE.capacity])
    full_table = SHAPE.delta_bits == 0
    if not full_table and rng.random() < 0.5:
        return World.line(SHAPE, rng, defects=count)
    return World.random(SHAPE, rng, defects=count, top=1 if full_table else None,
                        heaviest=rng.choice([3, 40, 254]), none=rng.choice([0, 0.1, 0.6]))


def make_shortcuts(world, rng):
    sent, limit = [], 1 << SHAPE.time_bits + 1
    scale = rng.choice([3, 30, 255])
    for _ in range(rng.randrange(1, 60)):
        space, layer = rng.choice(world.nodes) if world.nodes else (0, 0)
        if sent and rng.random() < 0.5:
            space, layer = sent[-1][:2]
        u_layer = layer + rng.choice([0, 0, 0, 0, 1, -1, 2, -20])
        v_layer = u_layer + rng.choice([0, 0, 1, -1, 3])
        u, v = (space if rng.random() < 0.5 else rng.randrange(1 << SHAPE.space_bits)
                for _ in "uv")
        sent.append((u, max(-limit, min(limit - 1, u_layer)),
                     v, max(-limit, min(limit - 1, v_layer)), int(rng.random() < 0.2),
                     rng.randint(0, scale), rng.randrange(1 << SHAPE.observables)))
    return sent


def make_partners(world, rng):
    number = len(world.nodes)
    return [(rng.choice([SLOT, SLOT, BOUNDARY, ESCAPED]), rng.randrange(number))
            for _ in range(number)]


def pace(rng):
    share = rng.choice([0.05, 0.5, 1, 1])
    return lambda clock: rng.random() < share


class Window:
    """A bench for the unit under test, and what has to come out of it."""

    def __init__(self, rng):
        world = self.world = make_world(rng)
        if UNIT == "Filler":
            self.bench = FillerBench(world, (pair_write(SHAPE), bound_write(SHAPE)),
                                     growing=rng.choice([None, pace(rng)]))
        elif UNIT == "Walker":
            self.partners = make_partners(world, rng)
            order = rng.sample(range(len(world.nodes)), len(world.nodes))
            self.bench = WalkerBench(world, self.partners, partner_word(SHAPE), patience=pace(rng),
                                     order=rng.choice([None, order]), knowing=pace(rng))
        else:
            self.filled = fill(world)[:2]
            self.shortcuts = make_shortcuts(world, rng)
            self.bench = ApplierBench(
                world, list(self.filled[0]), dict(self.filled[1]), self.shortcuts,
                rng.choice([0, 10, 60, 120, 254, 255]),
                (pair_address(SHAPE), pair_write(SHAPE), bound_write(SHAPE)), keenness=pace(rng),
                hold=rng.choice([0, 0, 40, 400]))

    def check(self, dut):
        bench = self.bench
        assert bench.done
        if UNIT == "Filler":
            assert (bench.bounds, bench.pairs, bench.events) == fill(self.world)
        elif UNIT == "Walker":
            sent, error = walk(self.world, self.partners)
            assert bench.sent == sent
            assert int(dut.walk_error.value) == error
        else:
            stores, events, _ = apply(self.world, *self.filled, self.shortcuts, bench.reach)
            assert bench.stores == stores
            assert bench.events == events
            assert bench.changed == bool(stores)


@cocotb.test()
async def random_windows(dut):
    rng = await begin(dut)
    clocks = 0
    for _ in range(WINDOWS):
        window = Window(rng)
        await run(dut, window.bench)
        window.check(dut)
        clocks += window.bench.clocks
    cocotb.log.info("%d clocks", clocks)


@cocotb.test()
async def reset_in_the_middle(dut):
    rng = await begin(dut)
    for _ in range(10):
        await run(dut, Window(rng).bench, clocks=rng.randrange(3, 60))
        for name in INPUTS:
            getattr(dut, name).value = 0
        await reset(dut)
        window = Window(rng)
        await run(dut, window.bench)
        window.check(dut)
