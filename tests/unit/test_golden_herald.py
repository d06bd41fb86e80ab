"""The herald unit's golden model: cases worked by hand, and the fast form against the plain one.

An edge is written as (tick, eighth of a tick) unless fine units are what it is about.
"""

import random

import numpy as np
import pytest

from quantacore.gateware.layouts.herald import (
    DETECTORS,
    NO_CLICK,
    HeraldCount,
    HeraldTable,
    Outcome,
    SiteEntry,
    count_index,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.herald_random import (
    Pattern,
    compile_patterns,
    random_settings,
    random_tables,
    random_tapes,
    set_windows,
)
from quantacore.sim.golden.herald import (
    HeraldSettings,
    HeraldTables,
    Start,
    lines_of_words,
    run_attempts,
)
from quantacore.sim.golden.herald_fast import decide_tapes, dense_words

REFERENCE = DETECTORS


def run(edges, *, starts=((10, 15),), patterns=(), windows=None, samples=8, aborts=(), sites=(),
        tables=None, **settings):
    """``edges``: line to rising edges; detector 0 and 1 have windows of 5 to 7 and 8 to 10 ticks,
    unless others are given."""
    if tables is None:
        tables = HeraldTables()
        set_windows(tables, windows or {0: (40, 56), 1: (64, 80), 4: (40, 56), 5: (64, 80)})
        compile_patterns(tables, patterns)
        for number, (zero, one) in enumerate(sites):
            tables.write(HeraldTable.SITE, number, SiteEntry.const(
                {"enabled": 1, "zero": zero, "one": one}).as_bits())
    lines = []
    for line in range(DETECTORS + 1):
        times = [edge if isinstance(edge, int) else edge[0] * 8192 + edge[1] * 1024
                 for edge in edges.get(line, ())]
        lines.append((times, [False] * len(times)))
    return run_attempts(lines, [Start(tick, armed, tables) for tick, armed in starts],
                        samples=samples, settings=HeraldSettings(**settings), aborts=aborts)


def only(result):
    assert len(result.verdicts) == 1
    return result.verdicts[0]


BOTH = Pattern(must=frozenset({0, 4}), code=9, pauli=0x21)


def test_two_clicks_are_a_verdict_four_ticks_after_the_last_word():
    verdict = only(run({0: [(15, 0)], 1: [(16, 7)]}, patterns=[BOTH]))
    # The last window closes 10 ticks after tick 10: its last word is that of tick 19.
    assert verdict.tick == 23
    assert (verdict.outcome, verdict.pattern, verdict.code) == (Outcome.SUCCESS, 0, 9)
    assert verdict.clicked == 0b10001
    assert verdict.frame == 0x21
    assert verdict.first == {0: 5 * 8192, 4: 6 * 8192 + 7 * 1024}
    assert verdict.delta(4, 0) == 8192 + 7 * 1024
    assert verdict.delta(0, 5) == NO_CLICK


@pytest.mark.parametrize("edge, inside", [
    ((14, 7), False), ((15, 0), True), ((16, 7), True), ((17, 0), False)])
def test_window_has_its_opening_and_not_its_close(edge, inside):
    result = run({0: [edge], 1: [(15, 0)]}, patterns=[BOTH])
    assert (only(result).outcome is Outcome.SUCCESS) == inside
    assert result.counts[count_index(HeraldCount.STRAY, 0)] == (not inside)


def test_window_acts_with_the_resolution_of_a_sample():
    # A sample is inside if its first eighth is.
    for windows, sample, inside in (
            ({0: (41, 48)}, 0, False), ({0: (41, 48)}, 1, True), ({0: (40, 41)}, 0, True),
            ({0: (40, 44)}, 1, False), ({0: (40, 45)}, 1, True)):
        verdict = only(run({0: [15 * 8192 + sample * 4096 + 4095]}, windows=windows, samples=2))
        assert verdict.clicked == inside


def test_verdict_waits_for_the_last_eighth():
    for closes, tick in ((64, 21), (65, 22), (72, 22)):
        assert only(run({}, windows={0: (40, closes)})).tick == tick


def test_window_that_opens_too_soon_never_does():
    assert only(run({0: [(14, 0)]}, windows={0: (32, 48)})).clicked == 1
    assert only(run({0: [(14, 0)]}, windows={0: (31, 48)})).clicked == 0


def test_attempt_without_windows_is_decided_after_the_lead():
    assert only(run({}, starts=[(10, 0)])).tick == 10 + 3 + 4


def test_windows_that_were_not_armed_are_shut():
    verdict = only(run({0: [(15, 0), (18, 0)]}, starts=[(10, 2)]))
    assert verdict.clicked == 0b10
    assert only(run({0: [(15, 0), (18, 0)]}, starts=[(10, 1)])).tick == 10 + 6 + 4


def test_pattern_takes_no_part_without_its_windows():
    pattern = Pattern(windows=0b10)
    assert only(run({}, starts=[(10, 1)], patterns=[pattern])).outcome is Outcome.FAILED
    assert only(run({}, starts=[(10, 3)], patterns=[pattern])).outcome is Outcome.SUCCESS


def test_lowest_pattern_wins():
    patterns = [Pattern(must=frozenset({5})), Pattern(must=frozenset({0})), Pattern()]
    assert only(run({0: [(15, 0)]}, patterns=patterns)).pattern == 1


def test_veto():
    pattern = Pattern(must=frozenset({0}), veto=frozenset({5}))
    assert only(run({0: [(15, 0)]}, patterns=[pattern])).outcome is Outcome.SUCCESS
    assert only(run({0: [(15, 0)], 1: [(18, 0)]}, patterns=[pattern])).outcome is Outcome.FAILED


@pytest.mark.parametrize("clicks, holds", [(0, False), (1, False), (2, True), (3, False)])
def test_exactly_two_of_four(clicks, holds):
    pattern = Pattern(count={frozenset({0, 1, 4, 5}): 2})
    edges = [(0, (15, 0)), (1, (18, 0)), (0, (18, 0))][:clicks]
    lines = {line: [edge for where, edge in edges if where == line] for line in (0, 1)}
    verdict = only(run(lines, patterns=[pattern]))
    assert (verdict.outcome is Outcome.SUCCESS) == holds


def test_second_click_in_a_window_is_the_same_cell():
    pattern = Pattern(count={frozenset({0, 1, 4, 5}): 1})
    verdict = only(run({0: [(15, 1), (15, 5), (16, 0)]}, patterns=[pattern]))
    assert verdict.outcome is Outcome.SUCCESS
    assert verdict.first == {0: 5 * 8192 + 1024}


def test_early_pattern_ends_the_attempt():
    early = Pattern(must=frozenset({0}), early=True)
    late = Pattern(must=frozenset({0, 5}))
    result = run({0: [(15, 3)], 1: [(16, 0), (18, 0)]}, patterns=[late, early])
    verdict = only(result)
    assert (verdict.tick, verdict.pattern, verdict.clicked) == (19, 1, 1)
    assert result.counts[count_index(HeraldCount.STRAY, 1)] == 0
    # In the last word the lower one is first, early or not.
    verdict = only(run({0: [(15, 3)], 1: [(16, 0)]}, windows={0: (40, 48), 5: (40, 48)},
                       patterns=[Pattern(), early]))
    assert (verdict.tick, verdict.pattern) == (19, 0)


def test_sites():
    sites = [(0, 1), (4, 5), (0, 4), (1, 5)]
    verdict = only(run({0: [(15, 0)], 1: [(18, 0)]}, sites=sites))
    assert verdict.values & 0b1111 == 0b1010
    assert verdict.erased == 0
    verdict = only(run({0: [(15, 0), (18, 0)]}, sites=sites))
    assert verdict.erased == 0b0011


def test_void_attempt_erases_all_sites_that_there_are():
    verdict = only(run({}, sites=[(0, 1)] * 3, by_reference=True, reference_latest=3))
    assert verdict.erased == 0b111


def test_dead_time_is_in_whole_words():
    for dead_ticks, ticks in ((0, 5), (1, 3), (2, 2), (3, 1)):
        result = run({0: [(15, 0), (15, 4), (16, 0), (17, 0), (17, 7)]},
                     dead_ticks=(dead_ticks,) + (0,) * 7)
        assert result.counts[count_index(HeraldCount.CLICK, 0)] == ticks
        assert result.counts[count_index(HeraldCount.DEAD, 0)] == 5 - ticks


def test_dead_time_is_not_made_longer_by_edges_in_it():
    result = run({0: [(15, 0), (16, 0), (17, 0)]}, dead_ticks=(2,) + (0,) * 7)
    assert result.counts[count_index(HeraldCount.CLICK, 0)] == 2


def test_click_before_the_attempt_blinds_the_window():
    verdict = only(run({0: [(14, 7), (15, 0)]}, dead_ticks=(2,) + (0,) * 7))
    assert verdict.clicked == 0


# -- references ------------------------------------------------------------------------------------

def test_windows_are_counted_from_the_reference():
    edges = {REFERENCE: [(12, 3)], 0: [(17, 3)], 1: [(17, 2)]}
    verdict = only(run(edges, by_reference=True))
    assert verdict.clicked == 1
    # Ten ticks after tick 12 and three eighths: the last eighth is in tick 22.
    assert verdict.tick == 26
    assert verdict.first == {0: 7 * 8192 + 3 * 1024}


@pytest.mark.parametrize("tick, seen", [(11, False), (12, True), (14, True), (15, False)])
def test_reference_has_a_range(tick, seen):
    verdict = only(run({REFERENCE: [(tick, 7)]}, by_reference=True, reference_earliest=2,
                       reference_latest=4))
    assert verdict.missing == (not seen)
    assert verdict.tick == (tick + 10 + 4 if seen else 18)


def test_missing_reference_leaves_no_window():
    result = run({0: [(15, 0), (22, 0)]}, starts=[(10, 15)], by_reference=True,
                 reference_latest=20)
    verdict = only(result)
    assert (verdict.outcome, verdict.clicked, verdict.tick) == (Outcome.VOID, 0, 34)
    assert result.counts[count_index(HeraldCount.STRAY, 0)] == 2
    assert result.counts[count_index(HeraldCount.CELL, 0)] == 0


def test_reference_of_the_last_attempt_is_nobodys():
    result = run({REFERENCE: [(12, 0)], 0: [(17, 0), (42, 0)]}, starts=[(10, 15), (37, 15)],
                 by_reference=True, reference_latest=20)
    assert [verdict.clicked for verdict in result.verdicts] == [1, 0]
    assert result.verdicts[1].missing


@pytest.mark.parametrize("second, tick", [((12, 5), 16), ((13, 0), 17), ((21, 7), 25)])
def test_second_reference_makes_it_void(second, tick):
    verdict = only(run({REFERENCE: [(12, 0), second], 0: [(17, 0)]}, by_reference=True,
                       patterns=[Pattern(must=frozenset({0}))]))
    assert (verdict.double, verdict.outcome, verdict.tick) == (True, Outcome.VOID, tick)


def test_reference_after_the_last_word_is_none_of_it():
    verdict = only(run({REFERENCE: [(12, 0), (22, 0)], 0: [(17, 0)]}, by_reference=True,
                       patterns=[Pattern(must=frozenset({0}))]))
    assert verdict.outcome is Outcome.SUCCESS


def test_reference_detector_makes_no_clicks():
    result = run({1: [(12, 0)]}, by_reference=True, reference=1)
    assert only(result).outcome is Outcome.FAILED
    assert result.counts[count_index(HeraldCount.CLICK, 1)] == 0
    assert result.active == {12}


# -- ends ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("tick, decided", [(22, False), (23, True)])
def test_abort_lets_a_verdict_in_its_tick_stand(tick, decided):
    assert len(run({}, aborts=[tick]).verdicts) == decided
    assert len(run({}, starts=[(10, 15), (tick, 15)]).verdicts) == 1 + decided


def test_abort_in_the_tick_of_a_start_leaves_the_new_attempt():
    result = run({}, starts=[(10, 15), (12, 15)], aborts=[12])
    assert [verdict.start for verdict in result.verdicts] == [12]


def test_frame_is_all_verdicts():
    result = run({0: [(15, 0), (45, 0)], 1: [(15, 0), (45, 0)]},
                 starts=[(10, 15), (23, 15), (40, 15)], patterns=[BOTH])
    assert [verdict.frame for verdict in result.verdicts] == [0x21, 0x21, 0]


def test_edges_of_words():
    levels = np.zeros((3, 9), np.uint8)
    levels[1, 2] = 0b1100
    levels[2, 2] = 0b0001
    fines = np.zeros((3, 9, 4), np.uint16)
    fines[1, 2, 2] = 77
    times, falling = lines_of_words(levels, fines, samples=4, first_tick=100)[2]
    assert times.tolist() == [101 * 8192 + 2 * 2048 + 77, 102 * 8192 + 2048]
    assert falling.tolist() == [False, True]


def test_settings_are_checked():
    with pytest.raises(ValueError, match="Reference must be a detector, or 8 for the reference "
                                         "input, not 9"):
        HeraldSettings(reference=9)
    with pytest.raises(ValueError, match="There must be 8 dead times, not 2"):
        HeraldSettings(dead_ticks=(1, 2))


def test_patterns_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="There may be 16 patterns, not 17"):
        compile_patterns(HeraldTables(), [Pattern()] * 17)
    with pytest.raises(ValueError, match="There may be 4 sets of cells to count in, not 5"):
        compile_patterns(HeraldTables(), [Pattern(count={frozenset({n}): 1}) for n in range(5)])


# -- the fast form ---------------------------------------------------------------------------------

def test_fast_form_equals_the_plain_one():
    seed = seed_from_environment()
    print(f"seed {seed:#x} (QUANTACORE_SEED repeats it)")
    rng = random.Random(seed)
    attempts = 60
    for number in range(40):
        samples = (1, 2, 4, 8)[number % 4]
        settings = random_settings(rng)
        tables = random_tables(rng, samples=samples)
        tapes = random_tapes(np.random.default_rng(rng.getrandbits(64)), attempts, tables=tables,
                             settings=settings, samples=samples, fine=number % 3 > 0,
                             missing=0.1, double=0.1)
        fast = decide_tapes(tapes, tables=tables, settings=settings, samples=samples)
        starts = np.concatenate([[0], fast.tick + tapes.gap])
        end = int(starts[-1])
        levels, fines = dense_words(tapes, starts[:-1], end, samples=samples)
        plain = run_attempts(
            lines_of_words(levels, fines, samples=samples),
            [Start(int(tick), int(windows), tables)
             for tick, windows in zip(starts, tapes.windows, strict=False)],
            samples=samples, settings=settings)
        assert len(plain.verdicts) == attempts
        for k, verdict in enumerate(plain.verdicts):
            want = (verdict.tick, verdict.outcome.value, verdict.pattern or 0, verdict.code or 0,
                    verdict.missing, verdict.double, verdict.clicked,
                    verdict.delta(int(tapes.first[k]), int(tapes.second[k])), verdict.values,
                    verdict.erased, verdict.frame)
            got = tuple(int(getattr(fast, name)[k]) for name in (
                "tick", "outcome", "pattern", "code", "missing", "double", "clicked", "delta",
                "values", "erased", "frame"))
            assert got == want, f"case {number}, attempt {k}: {got} is not {want}"
        assert fast.counts.tolist() == plain.counts
