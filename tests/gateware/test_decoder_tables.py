"""Filler, walker and applier in Amaranth's simulator, against plain models."""

import random

import pytest
from amaranth import Value
from amaranth.sim import Simulator

from quantacore.gateware.decoder.applier import Applier
from quantacore.gateware.decoder.filler import Filler
from quantacore.gateware.decoder.ports import bound_write, pair_address, pair_write, partner_word
from quantacore.gateware.decoder.walker import Walker
from quantacore.gateware.layouts.decoder import DecoderShape
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

SHAPES = {
    "small": DecoderShape(space_bits=2, delta_bits=2, capacity=16, cluster=8, edge_bits=4,
                          shortcut_bits=7, time_bits=4),
    "one_layer": DecoderShape(space_bits=5, delta_bits=0, observables=3, capacity=32, cluster=8,
                              edge_bits=7, shortcut_bits=7, time_bits=1),
    "large": DecoderShape(space_bits=3, delta_bits=3, observables=2, capacity=64, edge_bits=6,
                          shortcut_bits=8),
    "whole_window": DecoderShape(space_bits=2, delta_bits=3, capacity=32, cluster=8, edge_bits=5,
                                 shortcut_bits=7, time_bits=3),
}


def port(dut, name):
    for part in name.split("__"):
        dut = getattr(dut, part)
    return Value.cast(dut)


def run(dut, *benches, limit=20000):
    """Each bench in turn, without a reset between them."""
    async def testbench(ctx):
        for bench in benches:
            while not bench.done:
                assert bench.clocks < limit, "it does not end"
                values = bench.clock(lambda name: ctx.get(port(dut, name)))
                await ctx.tick()
                for name, value in values.items():
                    ctx.set(port(dut, name), value)

    simulator = Simulator(dut)
    simulator.add_clock(10e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def seeded(*key):
    return random.Random(repr(key))


def defects(shape, rng):
    return rng.choice([0, 1, 2, shape.capacity // 2, shape.capacity])


# Filler

def check_fill(world, **options):
    bench = FillerBench(world, (pair_write(world.shape), bound_write(world.shape)), **options)
    run(Filler(world.shape), bench)
    bounds, pairs, events = fill(world)
    assert bench.bounds == bounds
    assert bench.pairs == pairs
    assert bench.events == events
    return bench


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_filler_stores_and_pushes_what_the_tables_say(name, seed):
    rng = seeded(name, seed)
    shape = SHAPES[name]
    check_fill(World.random(shape, rng, defects=defects(shape, rng), top=1 + seed * 5
                            if name != "one_layer" else 1))


def test_filler_keeps_ties_with_the_boundary_out():
    world = World.random(SHAPES["small"], seeded("ties"), defects=16, heaviest=2, none=0)
    _, pairs, events = fill(world)
    assert any((i, j) not in {event[:2] for event in events} for i, j in pairs)
    check_fill(world)


def test_filler_without_any_way_to_the_boundary():
    world = World.random(SHAPES["small"], seeded("none"), defects=16, none=0)
    world.bound = [(255, 0, 0, 0)] * len(world.bound)
    bench = check_fill(world)
    assert len(bench.events) == len(bench.pairs) > 0


@pytest.mark.parametrize("share", [0.1, 0.4, 1])
def test_filler_waits_for_slots(share):
    rng = seeded("growing", share)
    world = World.random(SHAPES["small"], rng, defects=16)
    bench = check_fill(world, growing=lambda clock: rng.random() < share)
    assert bench.clocks > 16


def test_filler_takes_one_clock_per_distance():
    world = World.random(SHAPES["large"], seeded("speed"), defects=64, top=20)
    bench = check_fill(world)
    rows = [max(3, 1 + i - world.lowest(i)) for i in range(64)]
    assert bench.clocks <= sum(rows) + 20


def test_filler_runs_again():
    rng = seeded("again")
    shape = SHAPES["small"]
    worlds = [World.random(shape, rng, defects=n) for n in (16, 0, 3, 16)]
    benches = [FillerBench(world, (pair_write(shape), bound_write(shape))) for world in worlds]
    run(Filler(shape), *benches)
    for bench, world in zip(benches, worlds, strict=True):
        assert (bench.bounds, bench.pairs, bench.events) == fill(world)


# Walker

def random_partners(world, rng):
    """A matching, some with the boundary and some escaped."""
    slots = list(range(len(world.nodes)))
    rng.shuffle(slots)
    partners = [None] * len(slots)
    while slots:
        i = slots.pop()
        kind = rng.choice([SLOT, SLOT, BOUNDARY, ESCAPED])
        partners[i] = (kind, rng.randrange(world.shape.capacity))
        if kind == SLOT:
            near = [j for j in slots if abs(world.nodes[i][1] - world.nodes[j][1])
                    < 1 << world.shape.delta_bits]
            if near:
                j = rng.choice(near)
                slots.remove(j)
                partners[i], partners[j] = (SLOT, j), (SLOT, i)
            else:
                partners[i] = (BOUNDARY, 0)
    return partners


def check_walk(world, rng, **options):
    partners = random_partners(world, rng)
    bench = WalkerBench(world, partners, partner_word(world.shape), **options)
    dut = Walker(world.shape)
    errors = []

    class Watch:
        done, clocks = False, 0

        def clock(self, get):
            errors.append(get("walk_error"))
            self.done = True
            return {}

    run(dut, bench, Watch())
    sent, error = walk(world, partners, options.get("before"))
    assert bench.sent == sent
    assert errors == [error]
    return bench, error


@pytest.mark.parametrize("name", ["small", "large", "whole_window"])
@pytest.mark.parametrize("seed", range(3))
def test_walker_walks_to_the_partner(name, seed):
    rng = seeded("walk", name, seed)
    world = World.line(SHAPES[name], rng, defects=SHAPES[name].capacity // 2)
    bench, error = check_walk(world, rng)
    assert bench.sent and not error


@pytest.mark.parametrize("before", [0, 1, 3])
def test_walker_leaves_out_matches_far_ahead(before):
    rng = seeded("ahead", before)
    world = World.line(SHAPES["large"], rng, defects=SHAPES["large"].capacity // 2)
    everything, _ = check_walk(world, rng)
    some, _ = check_walk(world, rng, before=before)
    assert len(some.sent) < len(everything.sent)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_walker_gives_up_on_a_damaged_image(name, seed):
    rng = seeded("damaged", name, seed)
    world = World.random(SHAPES[name], rng, defects=SHAPES[name].capacity // 2,
                         top=1 if name == "one_layer" else None)
    for edge in world.edge:
        edge["boundary"] = 0
    _, error = check_walk(world, rng)
    assert error


@pytest.mark.parametrize("readiness", [0.1, 0.5, 0.9])
def test_walker_waits_for_its_sink(readiness):
    rng = seeded("wait", readiness)
    world = World.line(SHAPES["small"], rng, defects=10)
    check_walk(world, rng, patience=lambda clock: rng.random() < readiness)


@pytest.mark.parametrize("share", [0.05, 0.3, 1])
def test_walker_waits_for_partners(share):
    rng = seeded("known", share)
    world = World.line(SHAPES["small"], rng, defects=10)
    check_walk(world, rng, order=rng.sample(range(10), 10),
               knowing=lambda clock: rng.random() < share)


def test_walker_sends_one_shortcut_per_clock():
    rng = seeded("speed")
    world = World.line(SHAPES["small"], rng, defects=12)
    for edge in world.edge:
        edge.update(start=3, count=40)
    bench, _ = check_walk(world, rng)
    # Runs of one path follow each other without a gap.
    paths = sum(kind != ESCAPED for kind, _ in random_partners(world, rng))
    assert bench.clocks < len(bench.sent) + 14 * paths + 3 * 12 + 20


def test_walker_with_nothing_to_walk():
    world = World.line(SHAPES["small"], seeded(0), defects=0)
    bench, error = check_walk(world, seeded(0))
    assert bench.sent == [] and not error and bench.clocks < 10


# Applier

def random_shortcuts(world, rng, number):
    """Mostly around defects, in bunches that meet the same ones; some outside of the window."""
    shape, sent = world.shape, []
    for _ in range(number):
        space, layer = rng.choice(world.nodes) if world.nodes else (0, 0)
        if sent and rng.random() < 0.4:
            space, layer = sent[-1][0], sent[-1][1]
        step = rng.choice([0, 0, 1, 1, -1, 2, 4])
        u_layer = layer + rng.choice([0, 0, 0, 1, -1, 3, -9])
        limit = 1 << shape.time_bits + 1
        sent.append((
            space if rng.random() < 0.7 else rng.randrange(1 << shape.space_bits),
            max(-limit, min(limit - 1, u_layer)),
            rng.randrange(1 << shape.space_bits),
            max(-limit, min(limit - 1, u_layer + step)),
            int(rng.random() < 0.15), rng.choice([0, 0, 3, 20, 90, 255]),
            rng.randrange(1 << shape.observables)))
    return sent


def check_apply(world, shortcuts, reach, **options):
    shape = world.shape
    bounds, pairs, _ = fill(world)
    bench = ApplierBench(world, list(bounds), dict(pairs), shortcuts, reach,
                         (pair_address(shape), pair_write(shape), bound_write(shape)), **options)
    run(Applier(shape), bench)
    stores, events, effective = apply(world, bounds, pairs, shortcuts, reach)
    assert bench.stores == stores
    assert bench.events == events
    assert (bench.bounds, bench.pairs) == (bounds, pairs)
    assert bench.changed == bool(stores)
    return bench, effective


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_applier_shortens_what_the_shortcuts_shorten(name, seed):
    rng = seeded("apply", name, seed)
    shape = SHAPES[name]
    world = World.random(shape, rng, defects=[4, shape.capacity // 2, shape.capacity][seed % 3],
                         top=1 if name == "one_layer" else None)
    check_apply(world, random_shortcuts(world, rng, 80), rng.choice([30, 80, 254, 255]))


@pytest.mark.parametrize("seed", range(2))
def test_applier_with_weights_full_of_ties(seed):
    rng = seeded("apply ties", seed)
    world = World.random(SHAPES["small"], rng, defects=16, heaviest=30, none=0.2)
    shortcuts = [(*cut[:5], cut[5] % 4, cut[6]) for cut in random_shortcuts(world, rng, 100)]
    check_apply(world, shortcuts, 12)


def test_applier_takes_no_more_than_eight_near_defects():
    rng = seeded("crowd")
    world = World.random(SHAPES["one_layer"], rng, defects=32, top=1, heaviest=20, none=0)
    cut = (3, 0, 4, 0, 0, 0, 1)
    bench, effective = check_apply(world, [cut, cut], 254)
    assert effective == 2 and len({store[0] for store in bench.stores}) <= 16


def test_applier_repeats_a_shortcut_without_effect():
    rng = seeded("repeat")
    world = World.random(SHAPES["small"], rng, defects=16, top=6)
    cuts = random_shortcuts(world, rng, 10)
    once, _ = check_apply(world, cuts, 200)
    twice, _ = check_apply(world, [cut for cut in cuts for _ in range(4)], 200)
    assert twice.bounds == once.bounds and len(once.stores) > 0


def test_applier_without_defects():
    world = World.random(SHAPES["small"], seeded(0), defects=0)
    bench, _ = check_apply(world, [(0, 0, 1, 0, 0, 5, 0)] * 50, 255)
    assert bench.clocks < 130


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_applier_with_a_slow_source(share):
    rng = seeded("slow", share)
    world = World.random(SHAPES["small"], rng, defects=16)
    check_apply(world, random_shortcuts(world, rng, 30), 100,
                keenness=lambda clock: rng.random() < share)


def test_applier_costs_a_clock_per_defect_around_or_pair():
    rng = seeded("cost")
    shape = DecoderShape(space_bits=5, delta_bits=3)
    world = World.random(shape, rng, defects=21, top=21, heaviest=254, none=0)
    world.nodes = [(rng.randrange(32), layer) for layer in range(21)]
    layers = [rng.randrange(1, 19) for _ in range(100)]
    cuts = [(rng.randrange(32), t, rng.randrange(32), t + rng.randrange(2), 0, 200, 0)
            for t in layers]
    bench, effective = check_apply(world, cuts, 110)
    around = sum(sum(min(c[1], c[3]) - 1 <= t <= max(c[1], c[3]) + 1 for _, t in world.nodes)
                 for c in cuts)
    assert effective > 20 and bench.clocks < around + 60


@pytest.mark.parametrize("component", [Filler, Walker, Applier])
def test_shape_is_checked(component):
    with pytest.raises(TypeError, match=r"^Shape must be a DecoderShape, not 5$"):
        component(5)


@pytest.mark.parametrize("hold", [20, 200, 1000])
def test_applier_leaves_the_distances_alone_on_hold(hold):
    rng = seeded("hold", hold)
    world = World.random(SHAPES["small"], rng, defects=16)
    bench, effective = check_apply(world, random_shortcuts(world, rng, 80), 120, hold=hold)
    assert effective > 32 and bench.clocks > hold
