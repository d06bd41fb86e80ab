"""Recordings that a model writes, for demonstrations and tests without an instrument."""

import numpy as np

from quantacore.sim.photonics.detectors import Detected, Detector
from quantacore.sim.photonics.sources import AntibunchedEmitter

__all__ = ["hbt_recording"]


def hbt_recording(*, duration_ps, seed=0, pulse_period_ps=3128, lifetime_ps=400.0):
    """Clicks of a blinking single-photon source in a Hanbury Brown-Twiss setup.

    A two-level emitter under a pulsed laser, a beam splitter, and two detectors with 78 ns of
    dead time, 60 ps of jitter and 300 dark counts per second each: about 2e5 clicks per second
    and detector.

    Parameters
    ----------
    duration_ps : int
    seed : int
    pulse_period_ps : int
        Of the laser.
    lifetime_ps : float
        Of the emitter.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        int64 picoseconds, ascending, from 0; uint8 channels 0 and 1.
    """
    if duration_ps <= 0:
        raise ValueError(f"Duration must be positive, not {duration_ps} ps")
    source_rng, detector_rng = np.random.default_rng(seed).spawn(2)
    emitter = AntibunchedEmitter(
        lifetime_ps=lifetime_ps, pulse_period_ps=pulse_period_ps, excitation_probability=0.02,
        efficiency=0.25, on_ps=1e6, off_ps=3e6, rng=source_rng)
    detector = Detector(efficiency=1.0, dark_hz=300, dead_time_ps=78_000, jitter_ps=60.0)
    clicks = Detected(emitter, {0: detector, 1: detector}, rng=detector_rng)
    times_ps, channels = clicks.batches(duration_ps)
    return times_ps, channels.astype(np.uint8)
