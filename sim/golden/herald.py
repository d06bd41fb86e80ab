"""The herald unit's click path: which attempts are decided, when and how, from edges alone.

Nothing here runs by the tick. The edges of a whole run are known, and each attempt is decided by
looking at those that concern it, in the order of their times. All times are in fine units since
tick 0; an edge in sample *i* of a word lies in that part of the word's tick.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, replace

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
    WINDOW_BITS,
    WINDOW_LEAD,
    WINDOWS,
    HeraldCount,
    HeraldTable,
    Outcome,
    PatternEntry,
    SiteEntry,
    count_index,
)
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.sim.golden.samples import decode_words

__all__ = ["HeraldSettings", "HeraldTables", "Start", "Verdict", "WordCounts", "HeraldRun",
           "run_attempts", "lines_of_words", "TABLE_DEPTHS", "TABLE_BITS"]

#: Words of each table.
TABLE_DEPTHS = {
    HeraldTable.OPEN: CELLS,
    HeraldTable.CLOSE: CELLS,
    HeraldTable.ACCEPT: DETECTORS << WINDOWS,
    HeraldTable.CONTRIBUTION: DETECTORS << WINDOWS,
    HeraldTable.COUNT: COUNT_SETS * 16,
    HeraldTable.PATTERN: PATTERNS,
    HeraldTable.DECIDE: 1 << WINDOWS,
    HeraldTable.SITE: SITES,
}
#: Bits of a word of each table.
TABLE_BITS = {
    HeraldTable.OPEN: WINDOW_BITS,
    HeraldTable.CLOSE: WINDOW_BITS,
    HeraldTable.ACCEPT: PATTERNS,
    HeraldTable.CONTRIBUTION: 3 * COUNT_SETS,
    HeraldTable.COUNT: PATTERNS,
    HeraldTable.PATTERN: PatternEntry.as_shape().size,
    HeraldTable.DECIDE: WINDOW_BITS,
    HeraldTable.SITE: SiteEntry.as_shape().size,
}
_LARGEST_SUM = 15
_EIGHTH = FINE_PER_TICK // EIGHTHS


@dataclass(frozen=True, kw_only=True)
class HeraldSettings:
    """Registers that the path reads; constant during a run.

    ``reference`` is a detector, or :data:`DETECTORS` for the reference input; it means something
    only ``by_reference``. ``falling`` has a bit for each detector.
    """

    by_reference: bool = False
    reference: int = DETECTORS
    falling: int = 0
    reference_earliest: int = 1
    reference_latest: int = 125
    dead_ticks: tuple = (0,) * DETECTORS

    def __post_init__(self):
        if not 0 <= self.reference <= DETECTORS:
            raise ValueError(f"Reference must be a detector, or {DETECTORS} for the reference "
                             f"input, not {self.reference!r}")
        if len(self.dead_ticks) != DETECTORS:
            raise ValueError(f"There must be {DETECTORS} dead times, not {len(self.dead_ticks)}")


class HeraldTables:
    """What was written to the tables; all words are 0 at first."""

    def __init__(self):
        self._words = {table: [0] * depth for table, depth in TABLE_DEPTHS.items()}

    def __getitem__(self, table):
        return self._words[table]

    def write(self, table, index, data):
        """One word of ``table_data``; bits that the table does not have are dropped."""
        self._words[table][index] = data & (1 << TABLE_BITS[table]) - 1

    def copy(self):
        """These words, to be changed apart."""
        other = HeraldTables()
        for table, words in self._words.items():
            other._words[table] = list(words)
        return other

    def words(self):
        """``(table, index, data)`` of every word."""
        return [(table, index, data) for table, words in self._words.items()
                for index, data in enumerate(words)]

    # -- what they mean ----------------------------------------------------------------------------

    def window(self, detector, window):
        """``(open, close)`` in eighths of a tick."""
        cell = detector * WINDOWS + window
        return self[HeraldTable.OPEN][cell], self[HeraldTable.CLOSE][cell]

    def decide(self, windows):
        """Eighths of a tick after which an attempt with these windows is decided."""
        return max(self[HeraldTable.DECIDE][windows], WINDOW_LEAD * EIGHTHS)

    def holding(self, clicked):
        """Patterns that these clicked cells fit, enabled or not, as a mask."""
        holds = (1 << PATTERNS) - 1
        sums = [0] * COUNT_SETS
        for detector in range(DETECTORS):
            combination = clicked >> WINDOWS * detector & (1 << WINDOWS) - 1
            index = detector << WINDOWS | combination
            holds &= self[HeraldTable.ACCEPT][index]
            for each in range(COUNT_SETS):
                sums[each] += self[HeraldTable.CONTRIBUTION][index] >> 3 * each & 7
        for each, total in enumerate(sums):
            holds &= self[HeraldTable.COUNT][16 * each + min(total, _LARGEST_SUM)]
        return holds

    def pattern(self, number):
        """:class:`PatternEntry` of a pattern."""
        return PatternEntry.from_bits(self[HeraldTable.PATTERN][number])

    def verdict(self, clicked, windows, *, end):
        """The lowest pattern that holds, or ``None``; before the ``end`` only early ones count."""
        holds = self.holding(clicked)
        for number in range(PATTERNS):
            entry = self.pattern(number)
            if (holds >> number & 1 and entry.enabled and not entry.windows & ~windows
                    and (end or entry.early)):
                return number
        return None

    def sites(self, clicked, *, void):
        """``(values, erased)``, a bit for each site that is enabled."""
        values = erased = 0
        for number in range(SITES):
            entry = SiteEntry.from_bits(self[HeraldTable.SITE][number])
            zero, one = clicked >> entry.zero & 1, clicked >> entry.one & 1
            values |= (entry.enabled & one) << number
            erased |= (entry.enabled & (void or zero == one)) << number
        return values, erased


@dataclass(frozen=True)
class Start:
    """An attempt starts in ``tick``, with these windows of these tables."""

    tick: int
    windows: int
    tables: HeraldTables


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An attempt that was decided.

    ``tick`` is that of ``decided``. ``pattern`` and ``code`` are ``None`` unless it succeeded.
    ``first`` has the time of the first click of each clicked cell, from the start of the attempt.
    ``frame`` is the Pauli frame with this verdict in it, if nobody ever cleared it.
    """

    start: int
    windows: int
    tick: int
    outcome: Outcome
    pattern: int | None = None
    code: int | None = None
    pauli: int = 0
    missing: bool = False
    double: bool = False
    clicked: int = 0
    first: dict = field(default_factory=dict)
    values: int = 0
    erased: int = 0
    frame: int = 0

    def delta(self, first, second):
        """What ``LDT`` gives for two cells."""
        if first not in self.first or second not in self.first:
            return NO_CLICK
        return self.first[first] - self.first[second]


@dataclass
class WordCounts:
    """Of one detector in one word."""

    clicks: int = 0
    dead: int = 0
    stray: int = 0


@dataclass
class HeraldRun:
    """What happened: verdicts in order, the counts as in memory ``counts``, and the parts of them
    that come by the word, by ``(tick, detector)``. ``active`` are the ticks of words in which any
    line changed."""

    verdicts: list
    counts: list
    words: dict
    active: set


def lines_of_words(levels, fines, *, samples, first_tick=0, initial=0):
    """Edges of dense sample words, as :func:`run_attempts` takes them.

    Parameters
    ----------
    levels : (ticks, lines) uint8
        Bit *i* is sample *i*.
    fines : (ticks, lines, samples) uint16 or None
        Fine units inside each sample.
    samples, first_tick : int
    initial : int
        Bit *i* is the level of line *i* before the first word.
    """
    ticks = np.arange(first_tick, first_tick + len(levels))
    lines = []
    for line in range(levels.shape[1]):
        lines.append(decode_words(levels[:, line], None if fines is None else fines[:, line],
                                  samples=samples, ticks=ticks, initial=initial >> line & 1))
    return lines


def _word(time):
    return time // FINE_PER_TICK


def _between(times, begin, end):
    """Times in the words from ``begin`` on, before ``end``."""
    return times[bisect_left(times, begin * FINE_PER_TICK):
                 None if end is None else bisect_left(times, end * FINE_PER_TICK)]


def _clicks(edges, dead_ticks):
    """``(clicks, dead)``: edges of the click's kind, apart by the dead time."""
    clicks, dead = [], []
    alive = None
    for time in edges:
        if alive is not None and _word(time) < alive:
            dead.append(time)
        else:
            clicks.append(time)
            alive = _word(time) + dead_ticks
    return clicks, dead


def _decide(start, clicks, references, settings, samples):
    """The verdict that comes if nobody interrupts, and the clicks outside windows.

    ``clicks`` is a list of times for each detector, ``references`` one of reference edges or
    ``None``. Returns ``(Verdict, [(word, detector) of strays])``.
    """
    unit = FINE_PER_TICK // samples
    tables, begin = start.tables, start.tick
    missing, double = False, None
    zero = begin * FINE_PER_TICK
    if references is not None:
        after = [time for time in references
                 if _word(time) >= begin + settings.reference_earliest]
        missing = not after or _word(after[0]) > begin + settings.reference_latest
        if not missing:
            zero = after[0] // unit * unit
            if len(after) > 1:
                double = _word(after[1])
    if missing:
        last = begin + settings.reference_latest
    else:
        last = _word(zero + tables.decide(start.windows) * _EIGHTH - 1)
    doubled = double is not None and double <= last
    if doubled:
        last = double

    # Which cells are clicked when: (time, detector, cells).
    events = []
    for detector, times in enumerate(clicks):
        for time in times:
            if begin <= _word(time) <= last:
                cells = 0
                since = (time // unit * unit - zero) // _EIGHTH
                for window in range(WINDOWS):
                    opens, closes = tables.window(detector, window)
                    if (start.windows >> window & 1 and not missing
                            and WINDOW_LEAD * EIGHTHS <= opens <= since < closes):
                        cells |= 1 << detector * WINDOWS + window
                events.append((time, detector, cells))
    events.sort()

    def clicked_until(word):
        cells = 0
        for time, _, each in events:
            if _word(time) <= word:
                cells |= each
        return cells

    # An early pattern decides after the first word with which it holds, but not the start's.
    pattern = None
    if not missing:
        for word in sorted({max(_word(zero), begin + 1)}
                           | {_word(time) for time, _, cells in events if cells}):
            if word < last and pattern is None:
                pattern = tables.verdict(clicked_until(word), start.windows, end=False)
                if pattern is not None:
                    last, doubled = word, False
                    break
    clicked = clicked_until(last)
    void = missing or doubled
    if pattern is None and not void:
        pattern = tables.verdict(clicked, start.windows, end=True)

    first, strays = {}, []
    for time, detector, cells in events:
        if _word(time) > last:
            continue
        if not cells:
            strays.append((_word(time), detector))
        for cell in range(CELLS):
            if cells >> cell & 1:
                first.setdefault(cell, time - begin * FINE_PER_TICK)
    values, erased = tables.sites(clicked, void=void)
    entry = None if pattern is None else tables.pattern(pattern)
    verdict = Verdict(
        start=begin, windows=start.windows, tick=last + VERDICT_LATENCY,
        outcome=Outcome.VOID if void else Outcome.FAILED if entry is None else Outcome.SUCCESS,
        pattern=pattern, code=None if entry is None else entry.code,
        pauli=0 if entry is None else entry.pauli, missing=missing, double=doubled,
        clicked=clicked, first=first, values=values, erased=erased)
    return verdict, strays


def run_attempts(lines, starts, *, samples, settings, aborts=()):
    """Decide the attempts of a run.

    Parameters
    ----------
    lines : sequence of (times, falling)
        Edges of the detectors and, last, of the reference input: times in fine units, ascending.
    starts : sequence of Start
        In the order of their ticks.
    samples : int
        Samples in a tick: the resolution of windows.
    settings : HeraldSettings
    aborts : sequence of int
        Ticks. An abort ends the attempt that started before; one in the tick of a start, or of a
        verdict, does nothing to that.

    Returns
    -------
    HeraldRun
    """
    wanted = [[int(time) for time, falls in zip(times, falling, strict=True)
               if bool(falls) == bool(settings.falling >> number & 1)]
              for number, (times, falling) in enumerate(lines)]
    references = None
    if settings.by_reference:
        references = wanted[settings.reference]
        wanted[settings.reference] = []
    run = HeraldRun(verdicts=[], counts=[0] * COUNTS, words={},
                    active={int(_word(time)) for times, _ in lines for time in times})

    def of_word(word, detector):
        return run.words.setdefault((word, detector), WordCounts())

    clicks = []
    for detector in range(DETECTORS):
        accepted, dead = _clicks(wanted[detector], settings.dead_ticks[detector])
        clicks.append(accepted)
        for time in accepted:
            of_word(_word(time), detector).clicks += 1
        for time in dead:
            of_word(_word(time), detector).dead += 1

    frame = 0
    for number, start in enumerate(starts):
        ends = [tick for tick in aborts if tick > start.tick]
        if number + 1 < len(starts):
            ends.append(starts[number + 1].tick)
        cut = min(ends, default=None)
        nearby = [_between(times, start.tick, cut) for times in clicks]
        marks = None if references is None else _between(references, start.tick, cut)
        verdict, strays = _decide(start, nearby, marks, settings, samples)
        for word, detector in strays:
            if cut is None or word < cut:
                of_word(word, detector).stray += 1
        if cut is not None and verdict.tick > cut:
            continue
        frame ^= verdict.pauli
        run.verdicts.append(replace(verdict, frame=frame))
        if verdict.outcome is not Outcome.VOID:
            for cell in range(CELLS):
                run.counts[count_index(HeraldCount.CELL, cell)] += verdict.clicked >> cell & 1
        if verdict.pattern is not None:
            run.counts[count_index(HeraldCount.PATTERN, verdict.pattern)] += 1
    for (_, detector), word in run.words.items():
        run.counts[count_index(HeraldCount.CLICK, detector)] += word.clicks
        run.counts[count_index(HeraldCount.DEAD, detector)] += word.dead
        run.counts[count_index(HeraldCount.STRAY, detector)] += word.stray
    return run
