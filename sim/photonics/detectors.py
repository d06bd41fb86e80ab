"""Single-photon detectors between a source and the node's inputs."""

from dataclasses import dataclass

import numpy as np

from quantacore.sim.photonics.sources import Source, keep_apart

__all__ = ["Detector", "Detected"]

_SIGMAS = 6
_STEP_PS = 10**9


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What a detector does to the photons of one channel.

    Parameters
    ----------
    efficiency : float
        Probability of a click for a photon that finds the detector ready.
    dark_hz : float
        Rate of clicks without a photon.
    dead_time_ps : int
        After a click, blind for so long (not extended by photons in that time), so that a rate n
        of photons gives ``n / (1 + n * dead_time)``.
    jitter_ps : float
        Standard deviation of the click's time (Gaussian, cut at 6).
    """

    efficiency: float = 1.0
    dark_hz: float = 0.0
    dead_time_ps: int = 0
    jitter_ps: float = 0.0

    def __post_init__(self):
        if not 0 <= self.efficiency <= 1:
            raise ValueError(f"Efficiency must be 0 to 1, not {self.efficiency!r}")
        for name in ("dark_hz", "dead_time_ps", "jitter_ps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        if not isinstance(self.dead_time_ps, int):
            raise TypeError(f"Dead time must be an integer number of picoseconds, "
                            f"not {self.dead_time_ps!r}")


class Detected(Source):
    """The clicks of detectors that look at a source.

    Parameters
    ----------
    source : Source
    detectors : dict of int to Detector
        By channel. Photons on a channel that is not listed are not detected.
    rng : numpy.random.Generator
    """

    def __init__(self, source, detectors, *, rng):
        super().__init__()
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"Detectors draw from a numpy.random.Generator, not {rng!r}")
        if not detectors:
            raise ValueError("Detected needs at least one detector")
        self.source = source
        self.detectors = dict(detectors)
        self._rngs = dict(zip(self.detectors, rng.spawn(len(self.detectors)), strict=True))
        self._busy_until = dict.fromkeys(self.detectors, 0)
        self._until = 0
        self._margin = int(max(_SIGMAS * d.jitter_ps for d in self.detectors.values())) + 1

    def _block(self):
        begin, self._until = self._until, self._until + _STEP_PS
        times, channels = self.source.batches(self._until)
        clicks, labels = [], []
        for channel, detector in self.detectors.items():
            rng = self._rngs[channel]
            mine = times[channels == channel]
            if detector.efficiency < 1:
                mine = mine[rng.random(len(mine)) < detector.efficiency]
            if detector.dark_hz:
                darks = rng.poisson(detector.dark_hz * _STEP_PS / 1e12)
                mine = np.sort(np.concatenate([mine, rng.integers(begin, self._until, darks)]))
            if detector.dead_time_ps:
                keep, self._busy_until[channel] = keep_apart(
                    mine, mine + detector.dead_time_ps, self._busy_until[channel])
                mine = mine[keep]
            if detector.jitter_ps:
                spread = rng.standard_normal(len(mine)).clip(-_SIGMAS, _SIGMAS)
                mine = mine + np.rint(spread * detector.jitter_ps).astype(np.int64)
                # Nothing clicks before time begins.
                mine = np.maximum(mine, 0)
            clicks.append(mine)
            labels.append(np.full(len(mine), channel, dtype=np.uint8))
        done = self.source.exhausted and not any(d.dark_hz for d in self.detectors.values())
        return (np.concatenate(clicks), np.concatenate(labels),
                None if done else max(0, self._until - self._margin))
