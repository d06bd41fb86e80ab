"""Edge lists to sample words and back: what a detector front end does, exactly.

A front end samples a line ``samples`` times in a tick and, where it has a delay line, measures
where inside a sample the line changed. Times here are integers in *fine units*, 2**-13 of a tick
(:data:`~quantacore.gateware.layouts.tags.FINE_PER_TICK` in a tick), or integer picoseconds.
"""

from dataclasses import dataclass

import numpy as np

from quantacore.gateware.layouts.tags import FINE_PER_TICK, SAMPLES_PER_CLOCK, sample_word

__all__ = ["fine_from_ps", "ps_from_fine", "SampleWords", "encode_edges", "decode_words",
           "pack_words"]


def _divide_rounded(numerator, denominator):
    """Nearest integer, halves up; exact for Python integers and for arrays that do not overflow."""
    return (2 * numerator + denominator) // (2 * denominator)


def fine_from_ps(times_ps, *, tick_ps=8000):
    """Fine units of whole picoseconds, rounded to the nearest.

    With a tick of at least 8192 ps no two picoseconds share a fine unit; with 8000 ps (a fine
    unit of 0.977 ps) the trip through :func:`ps_from_fine` is exact.

    Parameters
    ----------
    times_ps : int or int64 array
        Magnitudes up to 2**49 ps (nine minutes) in arrays; no limit for Python integers.
    tick_ps : int
        Length of a tick.
    """
    if isinstance(times_ps, np.ndarray):
        ticks, rest = np.divmod(times_ps.astype(np.int64), tick_ps)
        return ticks * FINE_PER_TICK + _divide_rounded(rest * FINE_PER_TICK, tick_ps)
    return _divide_rounded(int(times_ps) * FINE_PER_TICK, tick_ps)


def ps_from_fine(times, *, tick_ps=8000):
    """Whole picoseconds nearest to times in fine units; the inverse of :func:`fine_from_ps`."""
    if isinstance(times, np.ndarray):
        ticks, rest = np.divmod(times.astype(np.int64), FINE_PER_TICK)
        return ticks * tick_ps + _divide_rounded(rest * tick_ps, FINE_PER_TICK)
    return _divide_rounded(int(times) * tick_ps, FINE_PER_TICK)


def _check_samples(samples):
    if samples not in SAMPLES_PER_CLOCK:
        raise ValueError(f"Samples per clock must be one of {SAMPLES_PER_CLOCK}, not {samples!r}")


def pack_words(levels, fines, *, samples, fine=True):
    """Sample words as bits, in 32-bit pieces with the lowest first.

    Parameters
    ----------
    levels : (words,) uint8
        Bit *i* is sample *i*.
    fines : (words, samples) uint16
        Fine units inside each sample; ignored if ``fine`` is false.

    Returns
    -------
    (words, pieces) uint32
        Bits as in :func:`~quantacore.gateware.layouts.tags.sample_word`.
    """
    _check_samples(samples)
    layout = sample_word(samples, fine=fine)
    pieces = -(-layout.size // 32)
    packed = np.zeros((len(levels), pieces + 1), np.uint64)
    packed[:, 0] = levels
    if fine:
        base, width = layout["fine"].offset, layout["fine"].width // samples
        for i in range(samples):
            piece, shift = divmod(base + i * width, 32)
            bits = fines[:, i].astype(np.uint64) << np.uint64(shift)
            packed[:, piece] |= bits & np.uint64(0xFFFFFFFF)
            packed[:, piece + 1] |= bits >> np.uint64(32)
    return packed[:, :pieces].astype(np.uint32)


@dataclass(frozen=True, kw_only=True)
class SampleWords:
    """The sample words of one line in which it changes; in all others it keeps its level.

    ``ticks`` (words,) int64, ``levels`` (words,) uint8 with bit *i* for sample *i*, ``fines``
    (words, samples) uint16. ``initial`` is the level before the first word. ``unresolved`` are
    the indexes, in the list given to :func:`encode_edges`, of edges that no word shows.
    """

    samples: int
    fine: bool
    initial: int
    ticks: np.ndarray
    levels: np.ndarray
    fines: np.ndarray
    unresolved: np.ndarray

    def dense(self, first_tick, clocks):
        """``(levels, fines)`` of ``clocks`` words, one per tick from ``first_tick`` on."""
        all_on = (1 << self.samples) - 1
        after = (self.levels >> (self.samples - 1)) & 1
        last = np.searchsorted(self.ticks, np.arange(first_tick, first_tick + clocks),
                               side="right") - 1
        idle = np.where(last >= 0, after[last] if len(after) else 0, self.initial)
        levels = (idle * all_on).astype(np.uint8)
        fines = np.zeros((clocks, self.samples), np.uint16)
        inside = (self.ticks >= first_tick) & (self.ticks < first_tick + clocks)
        at = self.ticks[inside] - first_tick
        levels[at] = self.levels[inside]
        fines[at] = self.fines[inside]
        return levels, fines

    def packed(self, first_tick=None, clocks=None):
        """:func:`pack_words` of the words that change, or of a dense range if one is given."""
        levels, fines = ((self.levels, self.fines) if first_tick is None
                         else self.dense(first_tick, clocks))
        return pack_words(levels, fines, samples=self.samples, fine=self.fine)


def encode_edges(times, *, samples, fine=True, initial=0):
    """Sample words of a line that changes its level at each of ``times``.

    A sample shows the level at its end, so an edge belongs to the sample in which it falls. Of
    several edges inside one sample a front end can show one at most: with an odd number the line
    did change, and the word carries the time of the first; with an even number it shows nothing.
    All others are reported as ``unresolved``.

    Parameters
    ----------
    times : (n,) int64
        Fine units since tick 0, not negative, in ascending order. Edges alternate in direction.
    samples : int
    fine : bool
        Without, the position inside a sample is not kept.
    initial : int
        Level before the first edge.

    Returns
    -------
    SampleWords
    """
    _check_samples(samples)
    if initial not in (0, 1):
        raise ValueError(f"Initial level must be 0 or 1, not {initial!r}")
    times = np.asarray(times, np.int64)
    if times.ndim != 1:
        raise ValueError(f"Times must be a list, not an array of shape {times.shape}")
    if len(times) and times[0] < 0:
        raise ValueError(f"Times must not be negative, the first is {int(times[0])}")
    late = np.flatnonzero(times[1:] < times[:-1])
    if len(late):
        raise ValueError(f"Times must ascend: number {int(late[0]) + 1} is before the one ahead "
                         f"of it; sort them first")
    unit = FINE_PER_TICK // samples
    where, first, count = np.unique(times // unit, return_index=True, return_counts=True)
    visible = (count & 1).astype(bool)
    shown = np.zeros(len(times), bool)
    shown[first[visible]] = True
    where, position = where[visible], times[first[visible]] % unit

    ticks, word = np.unique(where // samples, return_inverse=True)
    toggles = np.zeros((len(ticks), samples), np.int64)
    fines = np.zeros((len(ticks), samples), np.uint16)
    toggles[word, where % samples] = 1
    if fine:
        fines[word, where % samples] = position
    before = (initial + np.concatenate([[0], np.cumsum(toggles.sum(axis=1))])[:-1]) & 1
    bits = (before[:, None] + np.cumsum(toggles, axis=1)) & 1
    levels = (bits << np.arange(samples)).sum(axis=1).astype(np.uint8)
    return SampleWords(samples=samples, fine=fine, initial=initial, ticks=ticks, levels=levels,
                       fines=fines, unresolved=np.flatnonzero(~shown))


def decode_words(levels, fines=None, *, samples, ticks=None, initial=0):
    """Edges that sample words show.

    Parameters
    ----------
    levels : (words,) uint8
    fines : (words, samples) uint16 or None
        ``None``: no delay line.
    samples : int
    ticks : (words,) int64 or None
        Ticks of the words, ascending; between them the line keeps its level. ``None``: one word
        per tick from tick 0 on.
    initial : int
        Level before the first word.

    Returns
    -------
    times : (n,) int64
        Fine units.
    falling : (n,) bool
    """
    _check_samples(samples)
    levels = np.asarray(levels, np.uint8)
    ticks = np.arange(len(levels)) if ticks is None else np.asarray(ticks, np.int64)
    bits = ((levels[:, None] >> np.arange(samples)) & 1).reshape(-1)
    changed = np.flatnonzero(bits != np.concatenate([[initial], bits])[:-1])
    word, sample = np.divmod(changed, samples)
    times = ticks[word] * FINE_PER_TICK + sample * (FINE_PER_TICK // samples)
    if fines is not None:
        times = times + np.asarray(fines)[word, sample]
    return times, bits[changed] == 0
