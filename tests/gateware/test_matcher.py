"""Matching inside clusters, against a plain model of the rule."""

import random

import pytest
from amaranth.sim import Simulator

from quantacore.gateware.decoder.matcher import Matcher
from quantacore.gateware.layouts.decoder import NONE, DecoderShape, PartnerKind
from quantacore.sim.bench.clusters import MatchCase, match, random_clusters


class Bench:
    def __init__(self, shape, ctx, dut):
        self.shape = shape
        self.ctx = ctx
        self.dut = dut

    async def run(self, case):
        """Clocks that the matcher takes; its results are the model's."""
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.count, case.count)
        await ctx.tick()
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        members, bounds, pairs = [0, 0], [(0, 0)] * 2, [0, 0]
        result, clocks = {}, 0
        while ctx.get(dut.busy):
            query, bound = ctx.get(dut.query), ctx.get(dut.bound_address)
            pair = ctx.get(dut.pair_address)
            members.append(case.members(query))
            bounds.append((case.bound[bound], case.lowest[bound]) if bound < case.count
                          else (0, 0))
            pairs.append(case.memory.get((pair.i, pair.j), 0))
            await ctx.tick()
            clocks += 1
            assert clocks < 20000
            ctx.set(dut.members, members[-2])
            ctx.set(dut.bound_weight, bounds[-2][0])
            ctx.set(dut.bound_lowest, bounds[-2][1])
            ctx.set(dut.pair_weight, pairs[-2])
            if ctx.get(dut.result_valid):
                slot, kind = ctx.get(dut.result_slot), ctx.get(dut.result_kind)
                assert slot not in result
                result[slot] = {PartnerKind.SLOT: ctx.get(dut.result_partner),
                                PartnerKind.BOUNDARY: "boundary",
                                PartnerKind.ESCAPED: "escaped"}[kind]
        expected, largest = match(case.clusters, case.bound, case.pair, self.shape.cluster)
        assert result == expected
        assert ctx.get(dut.largest) == largest
        assert ctx.get(dut.escaped) == ("escaped" in expected.values())
        return clocks


def simulate(shape, test):
    dut = Matcher(shape)

    async def testbench(ctx):
        await test(Bench(shape, ctx, dut))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


def seeded():
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed:#x}")
    return random.Random(seed)


@pytest.mark.parametrize("capacity, cluster", [(8, 2), (8, 4), (16, 9), (16, 14), (64, 4)])
def test_random_clusters(capacity, cluster):
    rng = seeded()

    async def test(bench):
        for _ in range(25):
            clusters = random_clusters(rng, rng.randint(0, capacity), (1, 1, 2, 2, 3, 4, 5, 6, 7))
            # Small weights: many ties.
            await bench.run(MatchCase(rng, clusters, largest=rng.choice((1, 5, 254)),
                                 none=rng.choice((0, 0.3, 0.6)), far=rng.choice((0, 0.3))))

    simulate(DecoderShape(space_bits=4, capacity=capacity, cluster=cluster), test)


@pytest.mark.parametrize("size", [8, 11, 14])
def test_large_cluster(size):
    rng = seeded()

    async def test(bench):
        for none in (0, 0.5):
            case = MatchCase(rng, [list(range(size))], largest=254, none=none)
            print(size, await bench.run(case), "clocks")

    simulate(DecoderShape(space_bits=4, capacity=16), test)


def test_heaviest_weights_do_not_overflow():
    rng = seeded()

    async def test(bench):
        case = MatchCase(rng, [list(range(14))], largest=0)
        case.bound = [254] * 14
        case.memory = dict.fromkeys(case.memory, NONE)
        case.pair = case.memory
        await bench.run(case)
        case.bound[3] = NONE
        await bench.run(case)

    simulate(DecoderShape(space_bits=4, capacity=16), test)


@pytest.mark.parametrize("bound, pair", [
    ((5, NONE), 7), ((5, 6), 11), ((5, 6), 10), ((5, 6), NONE), ((NONE, 6), NONE),
    ((NONE, NONE), 254), ((NONE, NONE), NONE), ((0, 0), 0), ((254, 254), NONE)])
def test_two(bound, pair):
    rng = seeded()

    async def test(bench):
        case = MatchCase(rng, [[0, 1]], largest=0)
        case.bound, case.memory, case.pair = list(bound), {(1, 0): pair}, {(1, 0): pair}
        await bench.run(case)

    simulate(DecoderShape(space_bits=4, capacity=8), test)


def test_time_by_the_size():
    """The documentation's figures."""
    clocks = []

    async def test(bench):
        for size in range(6):
            case = MatchCase(random.Random(size), [list(range(size))] if size else [], largest=0)
            clocks.append(await bench.run(case))

    simulate(DecoderShape(space_bits=4, capacity=8), test)
    print(clocks)
    assert clocks[0] == 2
    assert [total - 2 for total in clocks[1:]] == [4, 9, 32, 47, 69]


def test_shape_is_checked():
    with pytest.raises(TypeError, match="Matcher needs a DecoderShape, not None"):
        Matcher(None)
