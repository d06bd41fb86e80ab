"""Rounds at any spacing, in any order: what reaches the engines, and what is counted."""

import random

import pytest
from amaranth.sim import Simulator

from quantacore.gateware.decoder.intake import Intake
from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench.cosim import seed_from_environment

SHAPE = DecoderShape(space_bits=3, capacity=16)
SPACES = 8


class Model:
    """What the intake should do, told one round at a time."""

    def __init__(self, references):
        self.references = references
        self.open = False
        self.due = 0
        self.previous = (0, 0)

    def take(self, word, room):
        """Returns (slices, accepted, lost, duplicate, missing)."""
        slices = []
        if word["first"] and self.open:
            if not room:
                return [], 0, 1, 0, 0
            slices.append(((0, 0), 1, 0))
            self.open = False
        if not word["first"] and (not self.open or word["number"] < self.due):
            return slices, 0, 0, 1, 0
        if not room:
            return slices, 0, 1, 0, 0
        skipped = 0 if word["first"] else word["number"] - self.due
        if skipped > 255:
            self.open = False
            return [((0, 0), 1, 0)], 0, 1, 0, 255
        bits = word["bits"]
        if word["raw"]:
            if word["first"]:
                events = tuple(b if self.references >> k & 1 else 0 for k, b in enumerate(bits))
            else:
                events = tuple(b ^ p for b, p in zip(bits, self.previous, strict=True))
        else:
            events = bits
        self.previous = bits
        self.due = word["number"] + 1
        self.open = not word["last"]
        slices.append((events, word["last"], skipped))
        return slices, 1, 0, 0, skipped


def run(words, *, references=0b01, ready=lambda: 1, gap=lambda: 2):
    """Send ``words``; returns (slices, counts, and the ready level each word met)."""
    dut = Intake(SHAPE)
    slices = []
    counts = dict.fromkeys(("accepted", "lost", "duplicate", "missing"), 0)
    met = []

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        ctx.set(dut.references, references)

        async def clock(room):
            for port in dut.slices:
                ctx.set(port.ready, room)
            if all(ctx.get(port.valid) for port in dut.slices) and room:
                first, second = (ctx.get(port.payload) for port in dut.slices)
                assert (first.last, first.skipped) == (second.last, second.skipped)
                slices.append(((first.bits, second.bits), first.last, first.skipped))
            for name in ("accepted", "lost", "duplicate"):
                counts[name] += ctx.get(getattr(dut, name))
            if ctx.get(dut.missing):
                counts["missing"] += ctx.get(dut.missing_count)
            await ctx.tick()

        for word in words:
            room = ready()
            met.append(room)
            ctx.set(dut.rounds.payload, {
                "bits": list(word["bits"]), "number": word["number"], "first": word["first"],
                "last": word["last"], "raw": word["raw"]})
            ctx.set(dut.rounds.valid, 1)
            await clock(room)
            ctx.set(dut.rounds.valid, 0)
            for _ in range(gap()):
                await clock(room)
        for _ in range(3):
            await clock(1)

    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    return slices, counts, met


def word(number, bits=(0, 0), *, first=0, last=0, raw=0):
    return {"number": number, "bits": bits, "first": first, "last": last, "raw": raw}


def test_raw_rounds_are_compared_with_those_before():
    slices, counts, _ = run([
        word(0, (0b101, 0b011), first=1, raw=1), word(1, (0b100, 0b011), raw=1),
        word(2, (0b100, 0b111), last=1, raw=1)])
    assert slices == [((0b101, 0), 0, 0), ((0b001, 0), 0, 0), ((0, 0b100), 1, 0)]
    assert counts["accepted"] == 3


def test_detection_events_pass_unchanged():
    slices, _, _ = run([word(0, (3, 5), first=1), word(1, (6, 7), last=1)])
    assert slices == [((3, 5), 0, 0), ((6, 7), 1, 0)]


def test_duplicate_is_dropped_and_counted():
    slices, counts, _ = run([word(0, first=1), word(1, (1, 1)), word(1, (2, 2)), word(0, (4, 4)),
                             word(2, (8, 8), last=1)])
    assert slices == [((0, 0), 0, 0), ((1, 1), 0, 0), ((8, 8), 1, 0)]
    assert counts["duplicate"] == 2


def test_missing_rounds_are_announced_and_counted():
    slices, counts, _ = run([word(0, first=1), word(4, (1, 1), last=1)])
    assert slices == [((0, 0), 0, 0), ((1, 1), 1, 3)]
    assert counts["missing"] == 3


def test_shot_without_an_end_is_ended_by_the_next():
    slices, counts, _ = run([word(0, first=1), word(1, (1, 2)), word(0, (3, 4), first=1)])
    assert slices == [((0, 0), 0, 0), ((1, 2), 0, 0), ((0, 0), 1, 0), ((3, 4), 0, 0)]
    assert counts["accepted"] == 3


def test_more_missing_rounds_than_can_be_counted_end_the_shot():
    slices, counts, _ = run([word(0, first=1), word(256, (1, 1)), word(512, (1, 1))])
    assert slices == [((0, 0), 0, 0), ((1, 1), 0, 255), ((1, 1), 0, 255)]
    slices, counts, _ = run([word(0, first=1), word(257, (1, 1)), word(258, (1, 1)),
                             word(0, (2, 2), first=1)])
    assert slices == [((0, 0), 0, 0), ((0, 0), 1, 0), ((2, 2), 0, 0)]
    assert counts == {"accepted": 2, "lost": 1, "duplicate": 1, "missing": 255}


def test_shot_whose_first_round_is_lost_after_an_end_is_left_out():
    # There is room for the end of the shot before, and no more.
    dut = Intake(SHAPE)
    seen = []

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        for number, first in ((0, 1), (1, 0), (0, 1), (2, 0)):
            ctx.set(dut.rounds.payload, {"number": number, "first": first})
            ctx.set(dut.rounds.valid, 1)
            for _ in range(4):
                for port in dut.slices:
                    ctx.set(port.ready, 1 not in seen)
                if ctx.get(dut.slices[0].valid):
                    seen.append(ctx.get(dut.slices[0].payload.last))
                seen.extend(name for name in ("lost", "duplicate") if ctx.get(getattr(dut, name)))
                await ctx.tick()
                ctx.set(dut.rounds.valid, 0)

    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen == [0, 0, 1, "lost", "duplicate"]


def test_round_outside_a_shot_is_dropped():
    slices, counts, _ = run([word(7, (1, 1))])
    assert slices == [] and counts["duplicate"] == 1


@pytest.mark.parametrize("congested", [0.0, 0.3])
def test_random_rounds_equal_the_model(congested):
    seed = seed_from_environment()
    print(f"QUANTACORE_SEED={seed}")
    rng = random.Random(seed)
    words = []
    number = 0
    for _ in range(600):
        first = rng.random() < 0.1
        number = 0 if first else max(0, number + rng.choice([1, 1, 1, 1, 1, 0, 3, -2, 300]))
        words.append(word(number, (rng.randrange(256), rng.randrange(256)), first=int(first),
                          last=int(rng.random() < 0.1), raw=rng.randrange(2)))
    slices, counts, met = run(words, ready=lambda: int(rng.random() >= congested),
                              gap=lambda: rng.randint(2, 4))
    model = Model(0b01)
    expected = []
    totals = dict.fromkeys(counts, 0)
    for item, room in zip(words, met, strict=True):
        new, accepted, lost, duplicate, missing = model.take(item, room)
        expected += new
        totals["accepted"] += accepted
        totals["lost"] += lost
        totals["duplicate"] += duplicate
        totals["missing"] += missing
    assert slices == expected
    assert counts == totals
    assert totals["accepted"] + totals["lost"] + totals["duplicate"] == len(words)
