"""Patterns in words, their tables, and random ones, for tests of the herald unit."""

from dataclasses import dataclass, field

import numpy as np

from quantacore.gateware.layouts.herald import (
    CELLS,
    COUNT_SETS,
    DETECTORS,
    EIGHTHS,
    PATTERNS,
    SITES,
    WINDOW_LEAD,
    WINDOWS,
    HeraldTable,
    PatternEntry,
    SiteEntry,
)
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.sim.golden.herald import (
    TABLE_BITS,
    TABLE_DEPTHS,
    HeraldSettings,
    HeraldTables,
)
from quantacore.sim.golden.herald_fast import Tapes
from quantacore.sim.golden.samples import encode_edges

__all__ = ["Pattern", "compile_patterns", "set_windows", "random_windows", "random_patterns",
           "random_tables", "random_settings", "random_tapes"]

_COMBINATIONS = 1 << WINDOWS


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A herald: cells are numbers, ``4 * detector + window``.

    All of ``must`` and none of ``veto`` are clicked, and of the cells of each entry of ``count``,
    a dict from sets of cells to numbers, so many. All others don't matter.
    """

    must: frozenset = frozenset()
    veto: frozenset = frozenset()
    count: dict = field(default_factory=dict)
    windows: int = (1 << WINDOWS) - 1
    early: bool = False
    code: int = 0
    pauli: int = 0


def set_windows(tables, windows):
    """Write windows, ``{cell: (open, close)}`` in eighths of a tick, and when attempts with them
    are decided; all other windows are shut."""
    for cell in range(CELLS):
        opens, closes = windows.get(cell, (0, 0))
        tables.write(HeraldTable.OPEN, cell, opens)
        tables.write(HeraldTable.CLOSE, cell, closes)
    for armed in range(1 << WINDOWS):
        last = max((closes for cell, (_, closes) in windows.items()
                    if armed >> cell % WINDOWS & 1), default=0)
        tables.write(HeraldTable.DECIDE, armed, last)


def compile_patterns(tables, patterns):
    """Write the tables that say which patterns hold.

    Parameters
    ----------
    tables : HeraldTables
    patterns : sequence of Pattern
        At most :data:`PATTERNS`, which count over at most :data:`COUNT_SETS` sets of cells.
    """
    if len(patterns) > PATTERNS:
        raise ValueError(f"There may be {PATTERNS} patterns, not {len(patterns)}")
    sets = sorted({cells for pattern in patterns for cells in pattern.count}, key=sorted)
    if len(sets) > COUNT_SETS:
        raise ValueError(f"There may be {COUNT_SETS} sets of cells to count in, not {len(sets)}")
    for detector in range(DETECTORS):
        for combination in range(_COMBINATIONS):
            index = detector * _COMBINATIONS + combination
            own = range(WINDOWS * detector, WINDOWS * (detector + 1))
            clicked = {cell for cell in own if combination >> cell % WINDOWS & 1}
            accept = 0
            for number, pattern in enumerate(patterns):
                accept |= (pattern.must & set(own) <= clicked
                           and not pattern.veto & clicked) << number
            tables.write(HeraldTable.ACCEPT, index, accept)
            tables.write(HeraldTable.CONTRIBUTION, index,
                         sum(len(cells & clicked) << 3 * each for each, cells in enumerate(sets)))
    for each in range(COUNT_SETS):
        for total in range(16):
            accept = 0
            for number, pattern in enumerate(patterns):
                wanted = pattern.count.get(sets[each]) if each < len(sets) else None
                accept |= (wanted is None or wanted == total) << number
            tables.write(HeraldTable.COUNT, 16 * each + total, accept)
    for number in range(PATTERNS):
        entry = 0
        if number < len(patterns):
            pattern = patterns[number]
            entry = PatternEntry.const({
                "enabled": 1, "early": pattern.early, "windows": pattern.windows,
                "code": pattern.code, "pauli": pattern.pauli}).as_bits()
        tables.write(HeraldTable.PATTERN, number, entry)


def random_windows(rng, *, samples, longest=8, chance=0.8):
    """Windows of all detectors, those of one at least a tick apart: ``{cell: (open, close)}``."""
    # Mostly at the edges of samples.
    step = EIGHTHS // samples if rng.random() < 0.8 else 1
    windows = {}
    for detector in range(DETECTORS):
        at = WINDOW_LEAD * EIGHTHS
        for window in rng.sample(range(WINDOWS), WINDOWS):
            if rng.random() > chance:
                continue
            opens = at + rng.choice([0, rng.randrange(24)]) // step * step
            closes = opens + step * rng.choice([1, rng.randint(1, longest * samples)])
            windows[WINDOWS * detector + window] = opens, closes
            # No word is in two of them.
            at = -(-closes // EIGHTHS) * EIGHTHS + EIGHTHS
    return windows


def random_patterns(rng, cells):
    """Patterns over these cells, some of which hold often."""
    cells = sorted(cells)
    groups = [frozenset(rng.sample(cells, rng.randint(1, len(cells))))
              for _ in range(rng.randint(1, COUNT_SETS))]
    patterns = []
    for _ in range(rng.randint(1, PATTERNS)):
        chosen = rng.sample(cells, min(len(cells), rng.randint(0, 4)))
        split = rng.randint(0, len(chosen))
        count = {group: rng.randint(0, min(5, len(group)))
                 for group in groups if rng.random() < 0.3}
        must = frozenset(chosen[:split])
        patterns.append(Pattern(
            must=must, veto=frozenset(chosen[split:]), count=count,
            windows=rng.choice([0, rng.getrandbits(WINDOWS), (1 << WINDOWS) - 1]),
            # One that holds before anything clicked ends attempts at once.
            early=rng.random() < (0.4 if must or any(count.values()) else 0.05),
            code=rng.getrandbits(4), pauli=rng.getrandbits(8)))
    return patterns


def random_tables(rng, *, samples, wild=0.3):
    """Tables for everything; ``wild`` is the chance that patterns are random bits."""
    tables = HeraldTables()
    windows = random_windows(rng, samples=samples)
    set_windows(tables, windows)
    for armed in range(1 << WINDOWS):
        # Now and then attempts end before their windows close, or long after.
        if rng.random() < 0.1:
            tables.write(HeraldTable.DECIDE, armed, rng.randrange(400))
    if windows and rng.random() > wild:
        compile_patterns(tables, random_patterns(rng, windows))
    else:
        for table in (HeraldTable.ACCEPT, HeraldTable.COUNT):
            for index in range(TABLE_DEPTHS[table]):
                # So that the sixteen rows or so that a pattern has to pass let some through.
                bits = [rng.getrandbits(TABLE_BITS[table]) for _ in range(4)]
                tables.write(table, index, bits[0] | bits[1] | bits[2] | bits[3])
        for index in range(TABLE_DEPTHS[HeraldTable.CONTRIBUTION]):
            tables.write(HeraldTable.CONTRIBUTION, index, rng.getrandbits(12))
        at_once = tables.holding(0)
        for number in range(PATTERNS):
            tables.write(HeraldTable.PATTERN, number, PatternEntry.const({
                "enabled": rng.random() < 0.8,
                "early": rng.random() < (0.03 if at_once >> number & 1 else 0.3),
                "windows": rng.getrandbits(4) & rng.getrandbits(4),
                "code": rng.getrandbits(4), "pauli": rng.getrandbits(8)}).as_bits())
    for site in range(SITES):
        tables.write(HeraldTable.SITE, site, SiteEntry.const({
            "enabled": rng.random() < 0.7, "zero": rng.randrange(CELLS),
            "one": rng.randrange(CELLS)}).as_bits())
    return tables


def random_settings(rng, *, latest=24):
    """Settings; in half of them windows are counted from a reference."""
    earliest = rng.choice([0, 1, rng.randrange(8)])
    return HeraldSettings(
        by_reference=rng.random() < 0.5,
        reference=rng.choice([DETECTORS, DETECTORS, rng.randrange(DETECTORS)]),
        falling=rng.choice([0, 0, rng.getrandbits(DETECTORS)]),
        reference_earliest=earliest,
        reference_latest=rng.choice([earliest, earliest + rng.randrange(latest)]),
        dead_ticks=tuple(rng.choice([0, 0, 1, 2, rng.randrange(12)]) for _ in range(DETECTORS)))


def random_tapes(rng, attempts, *, tables, settings, samples, fine=True, longest_gap=4,
                 light=0.3, jitter_ticks=0.4, dark=0.5, afterpulses=0.15, missing=0.01,
                 double=0.01):
    """What the lines show in attempts with photons, jitter, dark counts and afterpulses.

    Parameters
    ----------
    rng : numpy.random.Generator
    attempts : int
    tables, settings, samples, fine
        Of the path.
    longest_gap : int
        Ticks from a verdict to the next start: 0 to this.
    light : float
        Chance of a photon for each window.
    jitter_ticks : float
        Standard deviation of photons and references.
    dark : float
        Dark counts in an attempt, all detectors together.
    afterpulses : float
        Chance that a click is followed by another soon.
    missing, double : float
        Chance that a reference is missing, or comes twice.

    Returns
    -------
    Tapes
    """
    decides = [tables.decide(windows) for windows in range(1 << WINDOWS)]
    length = settings.reference_latest + -(-max(decides) // EIGHTHS) + 8
    earliest, latest = settings.reference_earliest, settings.reference_latest
    zero = np.zeros(attempts)
    pulses = []  # attempt, line, time in ticks
    everyone = np.arange(attempts)
    if settings.by_reference:
        wanted = settings.reference
        # Some are outside the range, and so missing or not the first.
        zero = np.clip(rng.normal((earliest + latest + 1) / 2,
                                  min(jitter_ticks, (latest + 1 - earliest) / 4), attempts), 0,
                       length - 2)
        there = rng.random(attempts) >= missing
        pulses.append((everyone[there], wanted, zero[there]))
        for low, high in ((0, earliest), (earliest, length - 1), (0, 2)):
            more = rng.random(attempts) < double / (1 if low else 2)
            again = rng.uniform(low, high, attempts)
            if (low, high) == (0, 2):
                # Close behind, often in the same word.
                again = np.minimum(zero + again, length - 2)
            pulses.append((everyone[more], wanted, again[more]))
    for cell in range(CELLS):
        opens, closes = tables.window(*divmod(cell, WINDOWS))
        if closes > opens:
            shines = everyone[rng.random(attempts) < light]
            middle = zero[shines] + rng.uniform(opens, closes, len(shines)) / EIGHTHS
            pulses.append((shines, cell // WINDOWS,
                           middle + rng.normal(0, jitter_ticks, len(shines))))
    number = rng.poisson(dark * attempts)
    pulses.append((rng.integers(0, attempts, number), rng.integers(0, DETECTORS, number),
                   rng.uniform(0, length - 1, number)))
    which = np.concatenate([each for each, _, _ in pulses])
    lines = np.concatenate([np.broadcast_to(line, len(each)) for each, line, _ in pulses])
    times = np.concatenate([time for _, _, time in pulses])
    again = (rng.random(len(which)) < afterpulses) & (lines != (
        settings.reference if settings.by_reference else -1))
    which = np.concatenate([which, which[again]])
    lines = np.concatenate([lines, lines[again]])
    times = np.concatenate([times, times[again] + rng.exponential(3, again.sum())])

    # The edge that counts is where it was put; the other is as far away as the pulse is long.
    falls = np.array([settings.falling >> line & 1 for line in range(DETECTORS + 1)])[lines]
    other = times + np.where(falls, -1, 1) * rng.uniform(0.1, 1.5, len(times))
    # Every line of every attempt is a stretch of one long line, low at its ends.
    stretch = (which * (DETECTORS + 1) + lines) * length * FINE_PER_TICK
    edges = np.concatenate([
        stretch + np.clip(each * FINE_PER_TICK, 0, length * FINE_PER_TICK - 1).astype(np.int64)
        for each in (times, other)])
    words = encode_edges(np.sort(edges), samples=samples, fine=fine)
    stretch, word = np.divmod(words.ticks, length)
    which, lines = np.divmod(stretch, DETECTORS + 1)
    order = np.lexsort((lines, word, which))
    fines = np.zeros((len(order), 8), np.uint16)
    fines[:, :samples] = words.fines[order]
    return Tapes(
        begin=np.searchsorted(which[order], np.arange(attempts + 1)).astype(np.int64),
        word=word[order], line=lines[order], level=words.levels[order], fine=fines,
        windows=np.where(rng.random(attempts) < 0.7, 15, rng.integers(0, 16, attempts)),
        gap=rng.integers(0, longest_gap + 1, attempts), first=rng.integers(0, CELLS, attempts),
        second=rng.integers(0, CELLS, attempts))
