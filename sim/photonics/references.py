"""Reference signals: a pulse per second, a 10 MHz clock, with their faults."""

from fractions import Fraction

import numpy as np

from quantacore.sim.photonics.exact import scaled_round
from quantacore.sim.photonics.sources import Source

__all__ = ["ReferenceClock"]


class ReferenceClock(Source):
    """Rising edges of a periodic reference, in the time of the node that looks at it.

    Edge *n* comes at ``phase_ps + n * period_ps * (1 + offset_ppm / 10**6)``, computed exactly and
    rounded once, plus its deviation and jitter.

    Parameters
    ----------
    period_ps : int or Fraction
        True period: 10**12 for a pulse per second, 100_000 for 10 MHz.
    offset_ppm : int, str, Fraction or float
        How much faster than nominal the node's clock runs, taken as an exact fraction; by a fast
        clock the reference's period looks too long.
    phase_ps : int
        Time of edge 0.
    jitter_ps : float
        Standard deviation of every edge (Gaussian, cut at 6); at most a twelfth of the period.
    deviations_ps : array_like of int or None
        Deviation of each edge, as recorded from a real reference; the signal ends with it.
    lost : sequence of (int, int)
        Time windows [from, to) in picoseconds whose edges are missing.
    rng : numpy.random.Generator or None
        Needed for jitter.
    """

    def __init__(self, period_ps, *, offset_ppm=0, phase_ps=0, jitter_ps=0, deviations_ps=None,
                 lost=(), rng=None):
        super().__init__()
        self.period_ps = Fraction(period_ps)
        if self.period_ps <= 0:
            raise ValueError(f"Period must be positive (ps), not {period_ps!r}")
        self.offset_ppm = Fraction(offset_ppm)
        if abs(self.offset_ppm) >= 10**5:
            raise ValueError(f"Offset must be below 100 000 ppm, not {offset_ppm!r}")
        if phase_ps < 0:
            raise ValueError(f"Phase must not be negative, not {phase_ps!r}")
        if jitter_ps and 12 * jitter_ps > self.period_ps:
            raise ValueError(f"Jitter of {jitter_ps} ps is more than 1/12 of the period: edges "
                             f"would change places")
        if jitter_ps and not isinstance(rng, np.random.Generator):
            raise TypeError(f"Jitter needs a numpy.random.Generator, not {rng!r}")
        self.phase_ps = phase_ps
        self.jitter_ps = jitter_ps
        self.deviations_ps = None if deviations_ps is None \
            else np.asarray(deviations_ps, dtype=np.int64)
        self.lost = tuple((int(begin), int(end)) for begin, end in lost)
        self._rng = rng
        self._apparent = self.period_ps * (1 + self.offset_ppm / 10**6)
        # A block lasts a second or a thousand edges, whichever is longer.
        self._size = max(1000, int(Fraction(10**11) / self.period_ps))
        self._n = 0

    def _block(self):
        numbers = np.arange(self._n, self._n + self._size)
        self._n += self._size
        ended = False
        if self.deviations_ps is not None:
            numbers = numbers[numbers < len(self.deviations_ps)]
            ended = self._n >= len(self.deviations_ps)
        nominal = self.phase_ps + scaled_round(numbers, self._apparent)
        times = nominal
        if self.deviations_ps is not None:
            times = times + self.deviations_ps[numbers]
        if self.jitter_ps:
            spread = self._rng.standard_normal(len(times)).clip(-6, 6)
            times = times + np.rint(spread * self.jitter_ps).astype(np.int64)
        keep = times >= 0
        for begin, end in self.lost:
            keep &= (nominal < begin) | (nominal >= end)
        next_edge = self.phase_ps + int(scaled_round(self._n, self._apparent))
        known = next_edge - int(6 * self.jitter_ps) - 1
        if self.deviations_ps is not None and not ended:
            known += int(self.deviations_ps[self._n:].min())
        return times[keep], np.zeros(int(keep.sum()), dtype=np.uint8), None if ended else known
