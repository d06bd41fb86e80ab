"""The herald unit's click path for millions of attempts, one after the other.

Equal to :mod:`~quantacore.sim.golden.herald` attempt by attempt, and written apart from it: it goes
through the words in which lines change, once. Needs numba, which is imported with the first call.

What the lines show is given for each attempt apart, from its start on, for when it starts depends
on when the one before is decided: a *tape* of words that holds until the next start cuts it off.
"""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from quantacore.gateware.layouts.herald import (
    CELLS,
    COUNT_SETS,
    COUNTS,
    DETECTORS,
    EIGHTHS,
    NO_CLICK,
    PATTERNS,
    SITES,
    VERDICT_LATENCY,
    WINDOW_LEAD,
    WINDOWS,
    HeraldCount,
    HeraldTable,
    Outcome,
    PatternEntry,
    SiteEntry,
)
from quantacore.gateware.layouts.tags import FINE_PER_TICK

__all__ = ["Tapes", "Verdicts", "decide_tapes", "dense_words"]

_LINES = DETECTORS + 1


@dataclass(frozen=True)
class Tapes:
    """What lines show in each attempt, and what is asked.

    At the start of an attempt all lines go low; a line keeps the level of its last sample in words
    that are not here. The arrays ``word`` (ticks since the start), ``line`` (the reference input
    is the last), ``level`` (uint8, bit *i* is sample *i*) and ``fine`` ((words, 8) uint16) have an
    entry for each word, sorted by attempt, word and line; those of attempt *k* are ``begin[k]``
    to ``begin[k + 1]``. For each attempt, ``windows`` are armed, ``gap`` is the number of ticks
    from its verdict to the next start, and ``first`` and ``second`` are cells whose difference is
    asked for.
    """

    begin: np.ndarray
    word: np.ndarray
    line: np.ndarray
    level: np.ndarray
    fine: np.ndarray
    windows: np.ndarray
    gap: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Verdicts:
    """Arrays with an entry for each attempt; ``pattern`` and ``code`` are 0 where none held.

    ``tick`` is that of the verdict, with the first attempt's start in tick 0. ``counts`` are those
    of memory ``counts``.
    """

    tick: np.ndarray
    outcome: np.ndarray
    pattern: np.ndarray
    code: np.ndarray
    missing: np.ndarray
    double: np.ndarray
    clicked: np.ndarray
    delta: np.ndarray
    values: np.ndarray
    erased: np.ndarray
    frame: np.ndarray
    counts: np.ndarray

    def differences(self, other):
        """Attempts in which anything differs (bool), and whether the counts do."""
        differ = np.zeros(len(self.tick), bool)
        for each in fields(self):
            if each.name != "counts":
                differ |= getattr(self, each.name) != getattr(other, each.name)
        return differ, not np.array_equal(self.counts, other.counts)


def dense_words(tapes, starts, end, *, samples):
    """``(levels, fines)`` of all lines in the ticks before ``end``, as
    :func:`~quantacore.sim.golden.herald.lines_of_words` takes them.

    ``starts`` are the ticks in which the attempts started.
    """
    levels = np.zeros((end, _LINES), np.uint8)
    fines = np.zeros((end, _LINES, 8), np.uint16)
    edges = [*starts, end]
    for number, start in enumerate(starts):
        low, high = tapes.begin[number], tapes.begin[number + 1]
        levels[start:edges[number + 1]] = 0
        for at in range(low, high):
            tick, line = start + int(tapes.word[at]), int(tapes.line[at])
            if tick < edges[number + 1]:
                level = int(tapes.level[at])
                # What stands behind it is overwritten by the next word of this line.
                levels[tick:edges[number + 1], line] = (
                    (1 << samples) - 1) * (level >> samples - 1)
                levels[tick, line] = level
                fines[tick, line] = tapes.fine[at]
    return levels, fines


@cache
def _kernel():
    import numba

    # Names that are not constants would be frozen anyway.
    success, failed, void = (Outcome.SUCCESS.value, Outcome.FAILED.value, Outcome.VOID.value)
    stray_at, dead_at, click_at = (HeraldCount.STRAY.value, HeraldCount.DEAD.value,
                                   HeraldCount.CLICK.value)
    pattern_at = HeraldCount.PATTERN.value
    mask = (1 << WINDOWS) - 1

    @numba.njit(cache=False)
    def verdict_of(clicked, armed, end, accept, contribution, count, enabled, early, needs):
        holds = np.uint32((1 << PATTERNS) - 1)
        sums = np.zeros(COUNT_SETS, np.int64)
        for detector in range(DETECTORS):
            index = detector * (mask + 1) + (clicked >> WINDOWS * detector & mask)
            holds &= accept[index]
            for each in range(COUNT_SETS):
                sums[each] += contribution[index] >> 3 * each & 7
        for each in range(COUNT_SETS):
            holds &= count[16 * each + min(sums[each], 15)]
        for number in range(PATTERNS):
            if (holds >> number & 1 and enabled[number] and (end or early[number])
                    and needs[number] & armed == needs[number]):
                return number
        return -1

    @numba.njit(cache=False)
    def run(samples, by_reference, reference, falling, earliest, latest, dead_ticks, opens, closes,
            accept, contribution, count, enabled, early, needs, codes, paulis, decide, site_on,
            site_zero, site_one, begin, word, line, level, fine, windows, gap, first_cell,
            second_cell, tick_out, outcome_out, pattern_out, code_out, missing_out, double_out,
            clicked_out, delta_out, values_out, erased_out, frame_out, counts):
        unit = FINE_PER_TICK // samples
        held = np.zeros(_LINES, np.uint8)
        alive = np.zeros(DETECTORS, np.int64)
        first = np.zeros(CELLS, np.int64)
        present = np.zeros(_LINES, np.int64)
        start = 0
        frame = 0
        for k in range(len(begin) - 1):
            armed = windows[k]
            at, stop = begin[k], begin[k + 1]
            zero = -1 if by_reference else 0  # in samples
            last = latest if by_reference else (decide[armed] - 1) // EIGHTHS
            clicked = 0
            decided = False
            pattern = -1
            missing = double = False
            due = True  # what is early may hold without a click
            now = 0
            end_word = 1 << 40  # of the tape: where the next attempt starts
            while now < end_word:
                # Everything in word `now`.
                for n in range(_LINES):
                    present[n] = -1
                while at < stop and word[at] == now:
                    present[line[at]] = at
                    at += 1
                in_attempt = not decided
                fresh = False
                if by_reference and in_attempt and now >= earliest:
                    # Nothing opens within the word of the reference: it may go first.
                    n = reference
                    bits = level[present[n]] if present[n] >= 0 else (
                        0 if now == 0 or not held[n] else (1 << samples) - 1)
                    before = held[n]
                    fall = n < DETECTORS and falling >> n & 1
                    for i in range(samples):
                        here = bits >> i & 1
                        if here != before and here != fall:
                            if zero < 0:
                                if now <= latest:
                                    zero = now * samples + i
                                    last = (now * EIGHTHS + i * EIGHTHS // samples
                                            + decide[armed] - 1) // EIGHTHS
                            else:
                                double = True
                        before = here
                for n in range(DETECTORS):
                    bits = level[present[n]] if present[n] >= 0 else (
                        0 if now == 0 or not held[n] else (1 << samples) - 1)
                    if by_reference and n == reference:
                        held[n] = bits >> (samples - 1) & 1
                        continue
                    before = held[n]
                    fall = falling >> n & 1
                    for i in range(samples):
                        here = bits >> i & 1
                        if here != before and here != fall:
                            if start + now < alive[n]:
                                counts[dead_at + n] += 1
                            else:
                                counts[click_at + n] += 1
                                alive[n] = start + now + dead_ticks[n]
                                found = False
                                if in_attempt and zero >= 0:
                                    since = now * samples + i - zero
                                    for w in range(WINDOWS):
                                        cell = n * WINDOWS + w
                                        if (armed >> w & 1 and since >= opens[cell]
                                                and since < closes[cell]):
                                            found = True
                                            if not clicked >> cell & 1:
                                                clicked |= 1 << cell
                                                first[cell] = now * FINE_PER_TICK + i * unit
                                                if present[n] >= 0:
                                                    first[cell] += fine[present[n], i]
                                                fresh = True
                                if in_attempt and not found:
                                    counts[stray_at + n] += 1
                        before = here
                    held[n] = before
                n = DETECTORS
                held[n] = (level[present[n]] >> (samples - 1) & 1) if present[n] >= 0 else (
                    0 if now == 0 else held[n])

                if in_attempt:
                    if by_reference and zero < 0:
                        missing = decided = now == latest
                    elif double:
                        decided = True
                    elif now == last:
                        decided = True
                        pattern = verdict_of(clicked, armed, True, accept, contribution, count,
                                             enabled, early, needs)
                    elif (fresh or due) and now > 0 and zero >= 0:
                        due = False
                        pattern = verdict_of(clicked, armed, False, accept, contribution, count,
                                             enabled, early, needs)
                        decided = pattern >= 0
                    if decided:
                        lost = missing or double
                        tick_out[k] = start + now + VERDICT_LATENCY
                        missing_out[k], double_out[k] = missing, double
                        outcome_out[k] = void if lost else failed if pattern < 0 else success
                        if pattern >= 0:
                            pattern_out[k], code_out[k] = pattern, codes[pattern]
                            frame ^= paulis[pattern]
                            counts[pattern_at + pattern] += 1
                        frame_out[k] = frame
                        clicked_out[k] = clicked
                        if not lost:
                            for cell in range(CELLS):
                                counts[cell] += clicked >> cell & 1
                        one, two = first_cell[k], second_cell[k]
                        both = clicked >> one & clicked >> two & 1
                        delta_out[k] = first[one] - first[two] if both else NO_CLICK
                        for s in range(SITES):
                            a, b = clicked >> site_zero[s] & 1, clicked >> site_one[s] & 1
                            if site_on[s]:
                                values_out[k] |= b << s
                                if lost or a == b:
                                    erased_out[k] |= 1 << s
                        end_word = now + VERDICT_LATENCY + gap[k]
                # On to the next word in which anything happens.
                step = end_word
                if at < stop:
                    step = min(step, word[at])
                if not decided:
                    step = min(step, last)
                    if due and zero >= 0:
                        step = now + 1
                now = max(step, now + 1)
            start += end_word
        return start

    return run


def decide_tapes(tapes, *, tables, settings, samples):
    """Decide all attempts.

    Parameters
    ----------
    tapes : Tapes
    tables : HeraldTables
    settings : HeraldSettings
    samples : int

    Returns
    -------
    Verdicts
    """
    count = len(tapes.windows)
    entries = [PatternEntry.from_bits(bits) for bits in tables[HeraldTable.PATTERN]]
    sites = [SiteEntry.from_bits(bits) for bits in tables[HeraldTable.SITE]]

    def array(values, dtype=np.int64):
        return np.array([int(value) for value in values], dtype)

    def edges(table):
        # In samples; one that begins before an edge is before it.
        return -(-array(tables[table]) * samples // EIGHTHS)

    out = [np.zeros(count, dtype) for dtype in (
        np.int64, np.uint8, np.uint8, np.uint8, np.uint8, np.uint8, np.uint32, np.int32, np.uint8,
        np.uint8, np.uint8)]
    counts = np.zeros(COUNTS, np.int64)
    closes = np.where(array(tables[HeraldTable.OPEN]) < WINDOW_LEAD * EIGHTHS, 0,
                      edges(HeraldTable.CLOSE))
    _kernel()(
        samples, settings.by_reference, settings.reference, settings.falling,
        settings.reference_earliest, settings.reference_latest, array(settings.dead_ticks),
        edges(HeraldTable.OPEN), closes,
        array(tables[HeraldTable.ACCEPT], np.uint32), array(tables[HeraldTable.CONTRIBUTION]),
        array(tables[HeraldTable.COUNT], np.uint32), array(entry.enabled for entry in entries),
        array(entry.early for entry in entries), array(entry.windows for entry in entries),
        array(entry.code for entry in entries), array(entry.pauli for entry in entries),
        np.maximum(array(tables[HeraldTable.DECIDE]), WINDOW_LEAD * EIGHTHS),
        array(site.enabled for site in sites), array(site.zero for site in sites),
        array(site.one for site in sites), tapes.begin, tapes.word, tapes.line, tapes.level,
        tapes.fine, tapes.windows.astype(np.int64), tapes.gap.astype(np.int64),
        tapes.first.astype(np.int64), tapes.second.astype(np.int64), *out, counts)
    return Verdicts(*out, counts)
