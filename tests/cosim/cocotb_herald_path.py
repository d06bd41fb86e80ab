"""The herald unit's click path, driven directed and at random, against its golden model.

A bench writes what every line shows down by the tick, and everything that the path shows. When a
run is over, the golden model says from the words what should have been seen, and when.
"""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from quantacore.gateware.layouts.herald import (
    CELLS,
    DETECTORS,
    HeraldTable,
    Outcome,
)
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.herald_path import Seen, TableWord, fields_of, word_bits
from quantacore.sim.bench.herald_random import (
    Pattern,
    compile_patterns,
    random_settings,
    random_tables,
    set_windows,
)
from quantacore.sim.bench.herald_speed import control_of, dead_ticks_of
from quantacore.sim.golden.herald import (
    HeraldSettings,
    HeraldTables,
    Start,
    lines_of_words,
    run_attempts,
)

SAMPLES = int(os.environ["QC_SAMPLES"])
FINE = bool(int(os.environ["QC_FINE"]))
RUNS = int(os.environ["QC_RUNS"])
LINES = DETECTORS + 1
ALL_ON = (1 << SAMPLES) - 1
SEEN = fields_of(Seen)
NO_FINES = [[0] * SAMPLES] * LINES
#: From a word to what is counted of it, and from a verdict to sites and frame.
WORD_DELAY, AFTER = 4, 2


def field(bits, name):
    offset, mask, signed = SEEN[name]
    value = bits >> offset & mask
    return value - (mask + 1) if signed and value > mask >> 1 else value


class Bench:
    """Drives and writes down."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng

    async def reset(self):
        dut = self.dut
        for name in ("words", "start", "windows", "cancel", "clear_frame", "first", "second",
                     "control", "reference_earliest", "reference_latest", "dead_ticks",
                     "entry_valid", "entry"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        for _ in range(3):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        await FallingEdge(dut.clk)
        self.tables = HeraldTables()
        self.settings = HeraldSettings()
        self.restart()

    def restart(self):
        """A new record, and lines that are low."""
        self.levels, self.fines, self.log = [], [], []
        self.starts, self.aborts, self.clears, self.asked = [], [], [], []
        self.toggles = [{} for _ in range(LINES)]
        self.held = [0] * LINES
        self.driven = 0

    @property
    def now(self):
        return len(self.levels)

    async def begin(self, settings, tables, *, again=False):
        """Reset, settings, tables, and a new record; all words but zeros if they were written
        before."""
        await self.reset()
        await self.prepare(settings, [word for word in tables.words() if word[2] or not again])
        self.restart()

    async def prepare(self, settings, words):
        """Settings and tables."""
        self.settings = settings
        self.dut.control.value = control_of(settings)
        self.dut.reference_earliest.value = settings.reference_earliest
        self.dut.reference_latest.value = settings.reference_latest
        self.dut.dead_ticks.value = dead_ticks_of(settings)
        for table, index, data in words:
            await self.write(table, index, data)
        await self.ticks(4)

    # -- what the lines show -----------------------------------------------------------------------

    def toggle(self, line, sample):
        """A change of a line's level in a sample, counted from the record's first."""
        tick, sample = divmod(sample, SAMPLES)
        if tick >= self.now:
            changes = self.toggles[line]
            changes[tick] = changes.get(tick, 0) ^ 1 << sample

    def pulse(self, line, sample, length):
        """An edge of the kind that counts in this sample, and the way back."""
        falls = line < DETECTORS and self.settings.falling >> line & 1
        self.toggle(line, sample)
        self.toggle(line, sample - length if falls else sample + length)

    def _word(self, line, changes):
        level, word = self.held[line], 0
        for sample in range(SAMPLES):
            level ^= changes >> sample & 1
            word |= level << sample
        self.held[line] = level
        return word

    async def tick(self, *, start=None, abort=False, clear=False, entry=None):
        """One tick; returns what the path shows in it."""
        dut, rng, now = self.dut, self.rng, self.now
        changes = [self.toggles[line].pop(now, 0) for line in range(LINES)]
        fines = NO_FINES
        if any(changes):
            levels = [self._word(line, bits) if bits else ALL_ON * self.held[line]
                      for line, bits in enumerate(changes)]
            if FINE:
                # Also where there is no edge, and they mean nothing.
                fines = [[int(rng.random() * (FINE_PER_TICK // SAMPLES)) for _ in range(SAMPLES)]
                         if bits else NO_FINES[0] for bits in changes]
        else:
            levels = [ALL_ON * level for level in self.held]
        self.levels.append(levels)
        self.fines.append(fines)
        words = word_bits(levels, fines, samples=SAMPLES, fine=FINE)
        if words != self.driven:
            dut.words.value = self.driven = words
        if start is not None:
            dut.start.value, dut.windows.value = 1, start
            self.starts.append(Start(now, start, self.tables.copy()))
        if abort:
            dut.cancel.value = 1
            self.aborts.append(now)
        if clear:
            dut.clear_frame.value = 1
            self.clears.append(now)
        if entry is not None:
            dut.entry_valid.value, dut.entry.value = 1, entry
        pair = None
        if rng.random() < 0.25:
            pair = int(rng.random() * CELLS), int(rng.random() * CELLS)
            dut.first.value, dut.second.value = pair
        else:
            pair = self.asked[-1] if self.asked else (0, 0)
            if not self.asked:
                dut.first.value, dut.second.value = pair
        self.asked.append(pair)
        await RisingEdge(dut.clk)
        seen = int(dut.seen.value)
        self.log.append(seen)
        await FallingEdge(dut.clk)
        for name, was in (("start", start is not None), ("cancel", abort), ("clear_frame", clear),
                          ("entry_valid", entry is not None)):
            if was:
                getattr(dut, name).value = 0
        return seen

    async def ticks(self, number):
        for _ in range(number):
            await self.tick()

    def decided(self):
        """Whether there is a verdict in the tick that begins."""
        return int(self.dut.seen.value) & 1

    async def write(self, table, index, data):
        self.tables.write(table, index, data)
        await self.tick(entry=TableWord.const(
            {"table": table, "index": index, "data": data}).as_bits())

    async def attempt(self, windows=15, *, limit=600):
        """A start, and all ticks up to the one after the verdict, or up to the limit."""
        await self.tick(start=windows)
        for _ in range(limit):
            if field(await self.tick(), "decided"):
                break

    # -- was it right ------------------------------------------------------------------------------

    def golden(self):
        levels = np.array(self.levels, np.uint8)
        fines = np.array(self.fines, np.uint16) if FINE else None
        return run_attempts(lines_of_words(levels, fines, samples=SAMPLES), self.starts,
                            samples=SAMPLES, settings=self.settings, aborts=self.aborts)

    async def check(self):
        """Compare the record with the golden model; return its verdicts."""
        await self.ticks(12)
        run, log = self.golden(), self.log
        end = len(log)

        def same(tick, name, wanted):
            got = field(log[tick], name)
            assert got == wanted, f"model: {name} in tick {tick} is {wanted}, not {got}"

        verdicts = {verdict.tick: verdict for verdict in run.verdicts if verdict.tick < end}
        # Up to which tick an attempt that was not decided is in progress.
        busy = [False] * end
        starts = [start.tick for start in self.starts] + [end]
        ends = {verdict.start: verdict.tick for verdict in run.verdicts}
        for start, following in zip(starts, starts[1:], strict=False):
            last = min([following] + [tick for tick in self.aborts if tick > start])
            last = min(ends.get(start, last), last)
            for tick in range(start + 1, min(last, end - 1) + 1):
                busy[tick] = True

        verdict, frame, clicked, fresh = None, 0, 0, None
        for tick, bits in enumerate(log):
            same(tick, "decided", tick in verdicts)
            same(tick, "busy", busy[tick])
            same(tick, "activity", tick - 1 in run.active)
            same(tick, "cells", verdict.clicked if verdict and verdict.tick == tick - 1
                 and verdict.outcome is not Outcome.VOID else 0)
            same(tick, "patterns", 1 << verdict.pattern if verdict and verdict.tick == tick - 1
                 and verdict.pattern is not None else 0)
            if tick in verdicts:
                verdict = fresh = verdicts[tick]
                clicked = verdict.clicked
                same(tick, "outcome", verdict.outcome.value)
                same(tick, "missing", verdict.missing)
                same(tick, "double", verdict.double)
                if verdict.pattern is not None:
                    same(tick, "pattern", verdict.pattern)
                    same(tick, "code", verdict.code)
            same(tick, "clicked", clicked)
            # A verdict is in the frame a tick later, and stays if that is when it is cleared.
            same(tick, "frame", frame)
            frame = 0 if tick in self.clears else frame
            if tick in verdicts:
                frame ^= verdict.pauli
            if verdict and tick >= verdict.tick + AFTER:
                same(tick, "values", verdict.values)
                same(tick, "erased", verdict.erased)
                # Asked for before the next attempt starts.
                if fresh and tick - 3 >= fresh.tick:
                    same(tick, "delta", fresh.delta(*self.asked[tick - 3]))
            if tick in starts:
                fresh = None
            if tick >= WORD_DELAY:
                for detector in range(DETECTORS):
                    word = run.words.get((tick - WORD_DELAY, detector))
                    for name in ("clicks", "dead", "stray"):
                        wanted = getattr(word, name) if word else 0
                        got = field(bits, name) >> 3 * detector & 7
                        assert got == wanted, (
                            f"model: {name} of detector {detector} in the word of tick "
                            f"{tick - WORD_DELAY} are {wanted}, not {got}")
        return run.verdicts


async def begin(dut):
    cocotb.log.info("seed %#x", seed_from_environment())
    cocotb.start_soon(Clock(dut.clk, 8, unit="ns").start())
    bench = Bench(dut, random.Random(random.getrandbits(64)))
    await bench.reset()
    return bench


async def run_attempts_at_random(bench, attempts, *, noise):
    """Attempts with everything that can come between; ``noise`` is the number of pulses of each
    line in a tick."""
    rng, settings = bench.rng, bench.settings
    wanted = settings.reference if settings.by_reference else None
    busy, made = False, 0
    begin_at, ready_at, cut_at = rng.randrange(12), 0, None
    writes = []
    while made < attempts or busy:
        now = bench.now
        assert now < 2000 * attempts, "model: attempts are decided"
        for line in range(LINES):
            if rng.random() < (noise if line != wanted else noise / 20):
                bench.pulse(line, now * SAMPLES + rng.randrange(SAMPLES),
                            rng.randint(1, 2 * SAMPLES))
        if busy and bench.decided():
            busy, cut_at = False, None
            begin_at = now + rng.choice([0, 0, 1, 2, 3, 4, rng.randrange(20)])
            if rng.random() < 0.1:
                # Tables are written in a pause, up to three ticks before the start.
                writes = random_writes(bench)
                ready_at = now + len(writes) + 2
        arguments = {"clear": rng.random() < 0.02}
        if writes:
            arguments["entry"] = writes.pop(0)
        if busy and now == cut_at or rng.random() < 0.004:
            # Another start, or an abort, or both.
            kind = rng.randrange(3) if made < attempts else 2
            if kind < 2:
                begin_at = now
            if kind > 0:
                arguments["abort"] = True
            if kind == 2:
                busy, begin_at = False, now + rng.randint(1, 6)
        if begin_at is not None and now >= max(begin_at, ready_at) and made < attempts:
            windows = rng.choice([15, 15, rng.getrandbits(4)])
            arguments["start"] = windows
            schedule(bench)
            busy, made, begin_at = True, made + 1, None
            cut_at = now + 1 + rng.randrange(40) if rng.random() < 0.12 else None
        await bench.tick(**arguments)


def random_writes(bench):
    """A few words of a new set of tables, as the probe's port takes them."""
    rng = bench.rng
    words = random_tables(rng, samples=SAMPLES).words()
    edges = HeraldTable.OPEN, HeraldTable.CLOSE
    if rng.random() < 0.2:
        # All windows: a few might come too near to others.
        words = [word for word in words if word[0] in edges]
    else:
        words = rng.sample([word for word in words if word[0] not in edges], rng.randint(1, 6))
    for table, index, data in words:
        bench.tables.write(table, index, data)
    return [TableWord.const({"table": table, "index": index, "data": data}).as_bits()
            for table, index, data in words]


def schedule(bench):
    """Pulses for an attempt that starts now: references, and clicks near windows' edges."""
    rng, settings, tables = bench.rng, bench.settings, bench.tables
    zero = bench.now * SAMPLES
    if settings.by_reference:
        earliest = settings.reference_earliest * SAMPLES
        end = (settings.reference_latest + 1) * SAMPLES
        kind = rng.random()
        if kind < 0.7:
            zero += earliest + rng.randrange(max(1, end - earliest))
        elif kind < 0.8:
            zero += rng.choice([earliest, earliest - 1, end - 1, end])
        elif kind < 0.9:
            zero += rng.randrange(end + 40)
        if kind < 0.9:
            bench.pulse(settings.reference, zero, rng.randint(1, SAMPLES))
            if rng.random() < 0.12:
                bench.pulse(settings.reference, zero + rng.choice(
                    [2, rng.randrange(2, 4 * SAMPLES), rng.randrange(30 * SAMPLES)]), 1)
    # As if there were a few photons, or many.
    light = rng.choice([0.1, 0.3, 0.7])
    for cell in range(CELLS):
        if rng.random() < light:
            opens, closes = tables.window(*divmod(cell, 4))
            opens, closes = opens * SAMPLES // 8, closes * SAMPLES // 8
            at = rng.choice([opens - 1, opens, closes - 1, closes,
                             rng.randint(opens - 1, max(opens, closes))])
            bench.pulse(cell // 4, zero + at, rng.choice([1, rng.randint(1, 2 * SAMPLES)]))


@cocotb.test()
async def attempts_at_random(dut):
    bench = await begin(dut)
    for number in range(RUNS):
        settings = random_settings(bench.rng)
        await bench.begin(settings, random_tables(bench.rng, samples=SAMPLES))
        await run_attempts_at_random(bench, 30, noise=(0.0, 0.02, 0.2)[number % 3])
        verdicts = await bench.check()
        cocotb.log.info("%s: %s", settings, [
            sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome])


@cocotb.test()
async def a_reset_in_the_middle_leaves_nothing(dut):
    bench = await begin(dut)
    tables = HeraldTables()
    set_windows(tables, {0: (40, 56), 5: (40, 72)})
    # A herald of nothing, so that every attempt succeeds.
    compile_patterns(tables, [Pattern(pauli=3, code=5)])
    words = [word for word in tables.words() if word[2]]
    await bench.begin(HeraldSettings(), tables)
    for settings in (HeraldSettings(), HeraldSettings(by_reference=True, dead_ticks=(30,) * 8)):
        for ticks in range(settings.by_reference, 18, 2):
            await bench.begin(settings, tables, again=True)
            bench.pulse(DETECTORS, SAMPLES, 1)
            for detector in range(DETECTORS):
                bench.pulse(detector, 6 * SAMPLES, SAMPLES)
            await bench.tick(start=15)
            await bench.ticks(ticks)
            # From here on: the attempt that was has no verdict, no click is left, no dead time.
            await bench.reset()
            await bench.prepare(settings, words)
            for detector in range(DETECTORS):
                bench.pulse(detector, (bench.now + 6) * SAMPLES, SAMPLES)
            bench.pulse(DETECTORS, (bench.now + 1) * SAMPLES, 1)
            await bench.attempt()
            verdicts = await bench.check()
            assert [verdict.outcome for verdict in verdicts] == [Outcome.SUCCESS]


@cocotb.test()
async def attempts_follow_each_other_without_a_gap(dut):
    bench = await begin(dut)
    tables = HeraldTables()
    set_windows(tables, {cell: (32, 40) for cell in range(0, CELLS, 4)})
    compile_patterns(tables, [Pattern(must=frozenset({cell})) for cell in range(0, CELLS, 4)])
    await bench.begin(HeraldSettings(), tables)
    for gap in (0, 1, 2, 3, 4, 0, 0, 0):
        detector = bench.rng.randrange(DETECTORS)
        bench.pulse(detector, (bench.now + 4) * SAMPLES + SAMPLES // 2, SAMPLES)
        await bench.tick(start=15)
        while not bench.decided():
            await bench.tick()
        await bench.ticks(gap)
    verdicts = await bench.check()
    assert len(verdicts) == 8
    assert {verdict.outcome for verdict in verdicts} == {Outcome.SUCCESS}
    # Five words and the verdict's time: the next start is in the tick of the verdict.
    assert verdicts[-1].start - verdicts[-2].start == 8


@cocotb.test()
async def a_click_just_before_the_start_is_no_click_of_it(dut):
    bench = await begin(dut)
    tables = HeraldTables()
    set_windows(tables, {cell: (32, 48) for cell in range(0, CELLS, 4)})
    await bench.begin(HeraldSettings(), tables)
    for ahead in range(-6, 8):
        await bench.ticks(12)
        for detector in range(DETECTORS):
            bench.pulse(detector, (bench.now + 6 + ahead) * SAMPLES, 1)
        await bench.ticks(6)
        await bench.attempt()
    verdicts = await bench.check()
    assert [bool(verdict.clicked) for verdict in verdicts] == [
        4 <= ahead < 6 for ahead in range(-6, 8)]


@cocotb.test()
async def aborts_and_starts_in_every_tick_of_an_attempt(dut):
    bench = await begin(dut)
    tables = HeraldTables()
    set_windows(tables, {cell: (32, 48) for cell in range(0, CELLS, 4)})
    compile_patterns(tables, [Pattern(count={frozenset(range(CELLS)): 1}, early=True, pauli=1),
                              Pattern(pauli=2)])
    for settings in (HeraldSettings(), HeraldSettings(by_reference=True, reference_earliest=0)):
        await bench.begin(settings, tables)
        for again in (False, True):
            for click in (False, True):
                for tick in range(1, 13):
                    bench.pulse(DETECTORS, bench.now * SAMPLES, 1)
                    if click:
                        bench.pulse(3, (bench.now + 4) * SAMPLES, 1)
                    await bench.tick(start=15)
                    await bench.ticks(tick - 1)
                    if again:
                        bench.pulse(DETECTORS, bench.now * SAMPLES, 1)
                    await bench.tick(abort=not again, start=15 if again else None)
                    await bench.ticks(12)
        await bench.check()
