"""The way from samples to a verdict in Amaranth's simulator: directed cases."""

from dataclasses import dataclass, field

import pytest
from amaranth import *
from amaranth.sim import Simulator

from quantacore.gateware.herald.gate import WindowGate
from quantacore.gateware.herald.path import HeraldPath
from quantacore.gateware.layouts.herald import (
    DETECTORS,
    NO_CLICK,
    VERDICT_LATENCY,
    HeraldTable,
    Outcome,
    PatternEntry,
    SiteEntry,
)

SAMPLES = 4
#: Detectors that are built.
CHANNELS = 3
#: The input that is no detector.
REFERENCE = DETECTORS
#: A bit for each pattern.
ALL = 0xFFFF
#: Tables that a reset does not change.
KEPT = (HeraldTable.ACCEPT, HeraldTable.CONTRIBUTION, HeraldTable.COUNT, HeraldTable.DECIDE)


@dataclass
class Case:
    """What is set, and what arrives; samples and ticks count from the first start.

    ``pulses[d]`` are one sample long; ``(sample, fine)`` has a fine code. Windows are
    ``(detector, number): (open, close)`` in eighths of a tick. Patterns are ``number: (entry,
    {detector: clicked combinations that it accepts})``, of all detectors that aren't named any.
    """

    pulses: dict = field(default_factory=dict)
    windows: dict = field(default_factory=lambda: {(0, 0): (32, 64), (1, 0): (32, 64)})
    patterns: dict = field(default_factory=lambda: {3: ({}, {0: [1], 1: [1]})})
    decide: int = 64
    arm: int = 15
    starts: tuple = (0,)
    aborts: tuple = ()
    control: dict = field(default_factory=dict)
    earliest: int = 1
    latest: int = 20
    dead: int = 0
    contributions: dict = field(default_factory=dict)
    counts: dict = field(default_factory=dict)
    sites: dict = field(default_factory=dict)
    look: tuple = (0, 4)
    clear_frame: tuple = ()
    ticks: int = 40

    def tables(self):
        for (detector, window), (opens, closes) in self.windows.items():
            cell = 4 * detector + window
            yield HeraldTable.OPEN, cell, opens
            yield HeraldTable.CLOSE, cell, closes
        for number, (entry, _accepts) in self.patterns.items():
            fields = {"enabled": 1, "windows": 1, "code": number, "pauli": 1 << (number % 8)}
            yield HeraldTable.PATTERN, number, PatternEntry.const(fields | entry).as_bits()
        for detector in range(CHANNELS):
            for clicked in range(16):
                accept = sum(1 << number for number, (_entry, accepts) in self.patterns.items()
                             if clicked in accepts.get(detector, range(16)))
                yield HeraldTable.ACCEPT, detector * 16 + clicked, accept
        for index in range(16 * CHANNELS):
            yield HeraldTable.CONTRIBUTION, index, self.contributions.get(index, 0)
        for index in range(64):
            yield HeraldTable.COUNT, index, self.counts.get(index, ALL)
        yield HeraldTable.DECIDE, self.arm, self.decide
        for site, entry in self.sites.items():
            yield HeraldTable.SITE, site, SiteEntry.const({"enabled": 1} | entry).as_bits()

    def words(self, channel, samples):
        """Level and fine codes of each word, by tick."""
        words = {}
        for pulse in self.pulses.get(channel, ()):
            sample, fine = pulse if isinstance(pulse, tuple) else (pulse, 0)
            level, fines = words.setdefault(sample // samples, (0, [0] * samples))
            fines[sample % samples] = fine
            words[sample // samples] = level | 1 << (sample % samples), fines
        return words


OUTPUTS = ("busy", "decided", "outcome", "pattern", "code", "missing", "double", "clicked",
           "delta", "values", "erased", "frame", "activity", "cells", "patterns")


class Bench:
    """A path that is compiled once, and reset before each case; memories keep what they hold."""

    def __init__(self, samples=SAMPLES, channels=CHANNELS):
        self.dut = HeraldPath(samples=samples, fine=True, channels=channels)
        self.reset = Signal()
        self.simulator = Simulator(ResetInserter(self.reset)(self.dut))
        self.simulator.add_clock(8e-9)
        self.simulator.add_testbench(self.testbench)
        self.case, self.trace, self.written = None, [], {}

    async def testbench(self, ctx):
        while True:
            if self.case is not None:
                await self.attempt(ctx, self.case)
                self.case = None
            await ctx.tick()

    async def attempt(self, ctx, case):
        dut = self.dut
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)
        ctx.set(dut.tables.valid, 1)
        for table, index, word in case.tables():
            if self.written.get((table, index), 0) == word and table in KEPT:
                continue
            self.written[table, index] = word
            ctx.set(dut.tables.payload, {"table": table, "index": index, "data": word})
            await ctx.tick()
        ctx.set(dut.tables.valid, 0)
        ctx.set(dut.control, {"reference": REFERENCE} | case.control)
        ctx.set(dut.reference_earliest, case.earliest)
        ctx.set(dut.reference_latest, case.latest)
        for dead in dut.dead_ticks:
            ctx.set(dead, case.dead)
        ctx.set(dut.first, case.look[0])
        ctx.set(dut.second, case.look[1])
        samples = dut.samples
        idle = (1 << samples) - 1 if case.control.get("falling") else 0
        channels = [(word, case.words(i, samples), idle if i < DETECTORS else 0)
                    for i, word in [*enumerate(dut.detectors), (REFERENCE, dut.reference)]]
        for tick in range(-8, case.ticks):
            for port, words, idle in channels:
                level, fine = words.get(tick, (0, [0] * samples))
                ctx.set(port, {"level": level ^ idle, "fine": fine})
            ctx.set(dut.start, tick in case.starts)
            ctx.set(dut.windows, case.arm)
            ctx.set(dut.abort, tick in case.aborts)
            ctx.set(dut.clear_frame, tick in case.clear_frame)
            if tick >= 0:
                now = {name: ctx.get(getattr(dut, name)) for name in OUTPUTS}
                for name in ("clicks", "dead", "stray"):
                    now[name] = [ctx.get(number) for number in getattr(dut, name)]
                self.trace.append(now)
            await ctx.tick()

    def run(self, case):
        """All outputs, a dictionary for each tick from the first start on."""
        self.case, self.trace = case, []
        while self.case is not None:
            self.simulator.advance()
        return self.trace


@pytest.fixture(scope="module")
def run():
    return Bench().run


def verdicts(trace):
    """``(tick, outcome, pattern)`` of each verdict; the pattern is None if there is none."""
    return [(tick, now["outcome"],
             now["pattern"] if now["outcome"] == Outcome.SUCCESS else None)
            for tick, now in enumerate(trace) if now["decided"]]


def total(trace, name):
    """Clicks and so on of each detector, in all words."""
    return [sum(now[name][i] for now in trace) for i in range(CHANNELS)]


def only(trace):
    """The one verdict: its tick and the outputs then."""
    ((tick, _outcome, _pattern),) = verdicts(trace)
    return tick, trace[tick]


def test_clicks_in_both_windows_succeed_four_ticks_after_the_last_word(run):
    tick, now = only(trace := run(Case({0: [16], 1: [31]})))
    assert verdicts(trace) == [(7 + VERDICT_LATENCY, Outcome.SUCCESS, 3)]
    assert (now["code"], now["clicked"], now["missing"], now["double"]) == (3, 0x11, 0, 0)
    assert [at for at, then in enumerate(trace) if then["busy"]] == list(range(1, tick + 1))
    assert trace[tick + 1]["cells"] == 0x11 and trace[tick + 1]["patterns"] == 1 << 3
    assert sum(then["cells"] for then in trace) == 0x11


@pytest.mark.parametrize("sample, inside", [(15, False), (16, True), (31, True), (32, False)])
def test_windows_begin_and_end_with_a_sample(run, sample, inside):
    outcome = Outcome.SUCCESS if inside else Outcome.FAILED
    trace = run(Case({0: [20], 1: [sample]}, decide=80))
    assert verdicts(trace)[0][1] is outcome
    assert sum(now["stray"][1] for now in trace) == (not inside)


@pytest.mark.parametrize("edge, first", [(40, 20), (41, 21), (42, 21), (43, 22)])
def test_a_sample_is_where_its_first_eighth_is(run, edge, first):
    for sample in (first - 1, first):
        _tick, now = only(run(Case({0: [sample]}, windows={(0, 0): (edge, 64)})))
        assert now["clicked"] == (sample >= first)
        _tick, now = only(run(Case({0: [sample]}, windows={(0, 0): (32, edge)})))
        assert now["clicked"] == (sample < first)


@pytest.mark.parametrize("opens, closes", [(48, 48), (48, 40), (48, 33), (48, 0), (16, 64)])
def test_windows_that_close_first_or_open_too_soon_are_off(run, opens, closes):
    case = Case({0: list(range(8, 40, 2))}, windows={(0, 0): (opens, closes)})
    assert only(run(case))[1]["clicked"] == 0


@pytest.mark.parametrize("decide, last", [(0, 3), (1, 3), (24, 3), (31, 3), (32, 3), (33, 4),
                                          (40, 4), (41, 5), (100, 12)])
def test_decided_after_the_word_with_the_last_eighth(run, decide, last):
    assert only(run(Case(decide=decide)))[0] == last + VERDICT_LATENCY


@pytest.mark.parametrize("decide, sample, last", [
    (0, 0, 3), (0, 1, 4), (8, 0, 3), (8, 1, 4), (24, 3, 4), (32, 3, 4), (34, 3, 4), (35, 3, 5),
    (64, 0, 7), (64, 3, 8), (58, 3, 7), (59, 3, 8)])
def test_the_reference_moves_the_last_word(run, decide, sample, last):
    case = Case({REFERENCE: [20 + sample]}, decide=decide, control={"by_reference": 1})
    tick, now = only(run(case))
    assert (tick, now["outcome"]) == (5 + last + VERDICT_LATENCY, Outcome.FAILED)


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_other_numbers_of_samples(samples):
    run = Bench(samples, channels=1).run
    # The reference is in the last sample of word 5; the window goes on for two ticks and 3/8.
    reference = 6 * samples - 1
    opens, closes = 40 * samples // 8, -(-59 * samples // 8)
    for offset in (opens - 1, opens, closes - 1, closes):
        inside = opens <= offset < closes
        case = Case({REFERENCE: [reference], 0: [(reference + offset, 5)]}, decide=72,
                    windows={(0, 2): (40, 59)}, patterns={4: ({"windows": 4}, {0: [4]})},
                    control={"by_reference": 1}, look=(2, 2), dead=3)
        assert verdicts(trace := run(case)) == [
            (5 + (8 if samples == 1 else 9) + VERDICT_LATENCY,
             Outcome.SUCCESS if inside else Outcome.FAILED, 4 if inside else None)]
        assert trace[-1]["delta"] == (0 if inside else NO_CLICK)
        assert sum(now["stray"][0] for now in trace) == (not inside)


def test_windows_that_were_not_armed_are_shut(run):
    case = Case({0: [20], 1: [20]}, arm=2)
    assert only(run(case))[1]["clicked"] == 0
    assert total(run(case), "stray") == [1, 1, 0]


def test_a_pattern_needs_its_windows_armed(run):
    case = Case({0: [20], 1: [20]}, arm=1, patterns={
        0: ({"windows": 3}, {}), 1: ({"enabled": 0}, {}), 5: ({}, {}), 6: ({}, {})})
    assert verdicts(run(case)) == [(11, Outcome.SUCCESS, 5)]


def test_an_early_pattern_decides_with_the_word_that_makes_it_true(run):
    case = Case({0: [21], 1: [18, 25]}, decide=160, windows={(0, 0): (32, 64), (1, 1): (32, 64)},
                patterns={2: ({"early": 1}, {0: [1], 1: [2]}), 0: ({}, {})}, look=(0, 5))
    tick, now = only(trace := run(case))
    assert (tick, now["pattern"], now["clicked"]) == (5 + VERDICT_LATENCY, 2, 0x21)
    # What comes later is not in the attempt, and the time is still there.
    assert trace[-1]["clicked"] == 0x21 and trace[-1]["delta"] == 3 * 2048


def test_all_clicks_after_an_early_verdict_are_no_strays(run):
    case = Case({0: [21], 2: [4, 22, 24, 27, 30, 33, 60]}, decide=160,
                patterns={2: ({"early": 1}, {0: [1]})})
    assert total(trace := run(case), "stray") == [0, 0, 2]
    assert total(trace, "clicks") == [1, 0, 7]


def test_exactly_two_of_three_by_count(run):
    # Set 1 adds the first window of each detector.
    contributions = {16 * d + c: (c & 1) << 3 for d in range(3) for c in range(16)}
    counts = {16 + n: ALL if n == 2 else 0 for n in range(16)}
    for clicked, outcome in (((0, 2), Outcome.SUCCESS), ((0, 1, 2), Outcome.FAILED),
                             ((1,), Outcome.FAILED)):
        case = Case({d: [20] for d in clicked}, patterns={9: ({}, {})}, counts=counts,
                    windows={(d, 0): (32, 64) for d in range(3)}, contributions=contributions)
        assert verdicts(run(case))[0][1] is outcome


@pytest.mark.parametrize("clicked", [(0,), (0, 1), (0, 1, 2)])
def test_sums_of_fifteen_and_more_are_looked_up_as_fifteen(run, clicked):
    contributions = {16 * d + 1: 7 << 9 for d in range(3)}
    counts = {48 + n: 1 << min(n, 15) for n in range(16)}
    case = Case({d: [20] for d in clicked}, patterns={7: ({}, {}), 14: ({}, {}), 15: ({}, {})},
                windows={(d, 0): (32, 64) for d in range(3)}, counts=counts,
                contributions=contributions)
    assert verdicts(run(case))[0][2] == min(7 * len(clicked), 15)


@pytest.mark.parametrize("sample", range(SAMPLES))
def test_windows_move_with_the_reference_sample(run, sample):
    reference = 40 + sample
    for offset, clicked in ((15, 0), (16, 1), (31, 1), (32, 0)):
        case = Case({REFERENCE: [reference], 0: [reference + offset]}, decide=72,
                    control={"by_reference": 1})
        assert only(run(case))[1]["clicked"] == clicked


@pytest.mark.parametrize("sample", range(SAMPLES))
def test_windows_a_tick_apart_are_told_apart_after_a_shift(run, sample):
    # The first ends and the second begins inside a word.
    case = Case({REFERENCE: [20 + sample]}, control={"by_reference": 1}, decide=100,
                windows={(0, 0): (32, 38), (0, 3): (46, 52)})
    for offset, clicked in ((18, 1), (19, 0), (22, 0), (23, 8), (25, 8), (26, 0)):
        case.pulses[0] = [20 + sample + offset]
        assert only(run(case))[1]["clicked"] == clicked


def test_without_a_reference_no_window_opens(run):
    case = Case({0: list(range(-8, 140, 2))}, control={"by_reference": 1}, latest=20, ticks=60,
                patterns={0: ({"early": 1}, {})})
    tick, now = only(run(case))
    assert (tick, now["outcome"]) == (20 + VERDICT_LATENCY, Outcome.VOID)
    assert (now["missing"], now["double"], now["clicked"], now["pattern"]) == (1, 0, 0, 0)


def test_the_reference_of_the_last_attempt_is_forgotten(run):
    case = Case({REFERENCE: [21], 0: [45]}, starts=(0, 20), latest=8, ticks=60,
                control={"by_reference": 1})
    case.pulses[0] += range(80, 150, 3)
    assert [(tick, outcome) for tick, outcome, _ in verdicts(run(case))] == [
        (5 + 8 + VERDICT_LATENCY, Outcome.FAILED), (28 + VERDICT_LATENCY, Outcome.VOID)]


@pytest.mark.parametrize("word, counts", [(2, False), (3, True), (6, True), (7, False)])
def test_the_reference_counts_in_its_words_only(run, word, counts):
    for sample in (0, 3):
        case = Case({REFERENCE: [4 * word + sample]}, earliest=3, latest=6,
                    control={"by_reference": 1})
        assert only(run(case))[1]["missing"] == (not counts)


def test_a_reference_may_come_with_the_first_word(run):
    case = Case({REFERENCE: [2], 0: [18]}, earliest=0, latest=0, control={"by_reference": 1})
    tick, now = only(run(case))
    assert (tick, now["missing"], now["clicked"]) == (8 + VERDICT_LATENCY, 0, 1)
    case.pulses = {REFERENCE: [4], 0: [20]}
    assert only(run(case))[0] == VERDICT_LATENCY


@pytest.mark.parametrize("second, word", [(22, 5), (24, 6), (40, 10), (51, 12)])
def test_a_second_reference_voids_the_attempt_at_once(run, second, word):
    case = Case({REFERENCE: [8, 20, second], 0: [38]}, earliest=3, decide=64,
                patterns={0: ({}, {})}, control={"by_reference": 1})
    tick, now = only(run(case))
    assert (tick, now["outcome"]) == (word + VERDICT_LATENCY, Outcome.VOID)
    assert (now["missing"], now["double"]) == (0, 1)


def test_a_second_reference_after_the_last_word_is_nobodys(run):
    case = Case({REFERENCE: [20, 52]}, decide=64, control={"by_reference": 1})
    assert verdicts(run(case))[0][:2] == (12 + VERDICT_LATENCY, Outcome.FAILED)


def test_a_detector_may_carry_the_reference_and_never_clicks(run):
    case = Case({2: [20], 0: [37]}, windows={(0, 0): (32, 64), (2, 0): (32, 640)}, decide=64,
                control={"by_reference": 1, "reference": 2})
    tick, now = only(trace := run(case))
    assert (tick, now["clicked"]) == (12 + VERDICT_LATENCY, 1)
    assert total(trace, "clicks") == [1, 0, 0]
    case.control["by_reference"] = 0
    assert total(run(case), "clicks") == [1, 0, 1]


def test_falling_edges_when_asked_for(run):
    case = Case({0: [20], 1: [21]}, control={"falling": 7})
    assert verdicts(run(case)) == [(11, Outcome.SUCCESS, 3)]


@pytest.mark.parametrize("dead, clicks, lost", [(0, 6, 0), (1, 5, 1), (2, 4, 2), (3, 3, 3),
                                                (255, 1, 5)])
def test_dead_time_runs_in_words_from_the_last_click(run, dead, clicks, lost):
    # In words 1 (twice), 2, 3, 5 and 30.
    case = Case({0: [4, 7, 9, 12, 20, 120]}, dead=dead)
    trace = run(case)
    assert (total(trace, "clicks")[0], total(trace, "dead")[0]) == (clicks, lost)
    assert trace[1 + 4]["clicks"][0] == (1 if dead else 2)


def test_a_click_before_the_window_makes_the_one_in_it_dead(run):
    assert only(run(Case({0: [15, 16]}, dead=0)))[1]["clicked"] == 0
    assert only(run(Case({0: [14, 16]}, dead=0)))[1]["clicked"] == 1
    assert only(run(Case({0: [14, 16]}, dead=2)))[1]["clicked"] == 0


def test_the_time_between_the_first_clicks_of_two_cells(run):
    case = Case({0: [(22, 100), (26, 3)], 1: [(17, 7), (19, 500)]})
    tick, _now = only(trace := run(case))
    assert trace[tick + 3]["delta"] == 5 * 2048 + 100 - 7
    assert [now["delta"] for now in trace[:tick + 3]] == [NO_CLICK] * (tick + 3)


def test_no_click_no_time(run):
    assert run(Case({0: [22]}))[-1]["delta"] == NO_CLICK
    assert run(Case({1: [22]}))[-1]["delta"] == NO_CLICK
    assert run(Case({1: [22]}, look=(4, 4)))[-1]["delta"] == 0


def test_sites(run):
    sites = {0: {"zero": 0, "one": 4}, 1: {"zero": 4, "one": 0}, 3: {"zero": 0, "one": 1},
             5: {"zero": 8, "one": 9}, 6: {"zero": 4, "one": 0, "enabled": 0},
             7: {"zero": 1, "one": 4}}
    # Clicked is cell 0 alone.
    tick, _now = only(trace := run(Case({0: [20]}, sites=sites)))
    assert (trace[tick + 2]["values"], trace[tick + 2]["erased"]) == (1 << 1, 0b1010_0000)
    both = run(Case({0: [20], 1: [20]}, sites=sites))[-1]
    assert (both["values"], both["erased"]) == (0b1000_0011, 0b0010_0011)
    void = run(Case({0: [20]}, sites=sites, control={"by_reference": 1}, latest=6))[-1]
    assert void["erased"] == 0b1010_1011


def test_the_frame_takes_the_bits_of_each_verdict(run):
    case = Case({0: [20, 100], 1: [20]}, starts=(0, 20), patterns={
        1: ({"pauli": 0x35}, {0: [1], 1: [1]}), 2: ({"pauli": 0x11}, {0: [1]})})
    trace = run(case)
    assert [trace[t]["frame"] for t in (11, 12, 31, 32)] == [0, 0x35, 0x35, 0x24]
    # A verdict in the tick of clearing is not lost.
    case.clear_frame = (31,)
    assert run(case)[32]["frame"] == 0x11


@pytest.mark.parametrize("abort", [0, 1, 5, 7, 8, 9, 10, 11])
def test_after_an_abort_there_is_no_verdict(run, abort):
    trace = run(Case({0: [20], 1: [20]}, aborts=(abort,)))
    # In the same tick as the start, or with the verdict there: too early, too late.
    assert len(verdicts(trace)) == (abort in (0, 11))
    assert not trace[12]["busy"] and trace[abort + 1]["busy"] == (abort == 0)


@pytest.mark.parametrize("second", [1, 4, 7, 8, 10, 11, 12])
def test_a_start_takes_the_place_of_the_attempt_in_progress(run, second):
    trace = run(Case({0: [20], 1: [20]}, starts=(0, second), ticks=60))
    assert [tick for tick, _, _ in verdicts(trace)] == (
        [second + 11] if second < 11 else [11, second + 11])
    # Windows count from the second start.
    assert trace[second + 11]["clicked"] == (0x11 if second == 1 else 0)


def test_a_click_in_the_last_attempts_window_is_a_stray_of_the_next(run):
    assert total(run(Case({0: [20]}, starts=(0, 5), ticks=60)), "stray")[0] == 1
    assert total(run(Case({0: [20]}, starts=(0, 6), ticks=60)), "stray")[0] == 0


@pytest.mark.parametrize("abort", range(5, 10))
def test_what_follows_a_deciding_word_is_no_stray_even_if_it_is_aborted(run, abort):
    case = Case({0: [20], 2: range(16, 100, 2)}, patterns={1: ({"early": 1}, {0: [1]})},
                decide=200)
    for case.aborts, case.starts in (((abort,), (0,)), ((), (0, abort))):
        strays = [now["stray"][2] for now in run(case)][8:]
        # Word 4, and word 5 with which it is decided if it is in the attempt.
        first = [2, 2] if abort > 5 else [2]
        if case.aborts:
            assert strays == first + [0] * (len(strays) - len(first))
        else:
            assert strays[:abort - 4] == first + [0] * (abort - 4 - len(first))
            assert strays[abort - 4:abort] == [2] * 4


def test_activity_is_any_change_of_level(run):
    trace = run(Case({1: [7], REFERENCE: [41]}))
    # The pulses end in the first sample of the next word, and in the same one.
    assert [t for t, now in enumerate(trace) if now["activity"]] == [2, 3, 11]


@pytest.mark.parametrize("samples", [0, 3, 16])
def test_samples_that_nobody_has(samples):
    with pytest.raises(ValueError, match=r"Samples per clock must be one of \(1, 2, 4, 8\)"):
        HeraldPath(samples=samples, fine=True)
    with pytest.raises(ValueError, match=r"Samples per clock must be one of \(1, 2, 4, 8\)"):
        WindowGate(samples=samples)


@pytest.mark.parametrize("channels", [0, 9])
def test_channels_that_nobody_has(channels):
    with pytest.raises(ValueError, match=f"Channels must be 1 to 8, not {channels}"):
        HeraldPath(samples=4, fine=True, channels=channels)
