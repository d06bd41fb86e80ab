"""Photon sources: sorted integer-picosecond times with a channel for each.

A source is asked for everything up to a time, and then for more. What it returns depends on its
parameters and its generator alone, not on where the questions cut the time axis: random numbers
are drawn in blocks of fixed size.
"""

import numpy as np

__all__ = ["Source", "Poisson", "Pulsed", "AntibunchedEmitter", "Replay", "Merged",
           "keep_apart"]

_BLOCK = 1 << 14
_PS_PER_S = 10**12
#: Gaussian spreads are cut here, so that a block has an end (the cut is 2e-9 of all).
_SIGMAS = 6


def keep_apart(starts, ends, busy_until):
    """Which of a sequence of intervals take place if one can't begin before the last has ended.

    Parameters
    ----------
    starts, ends : int64 arrays
        Sorted by start.
    busy_until : int
        End of the last interval before these.

    Returns
    -------
    bool array, int
        The kept ones, and the end of the last kept (or ``busy_until``).
    """
    keep = np.ones(len(starts), dtype=bool)
    if not len(starts):
        return keep, busy_until
    # Intervals that begin after everything before them has ended are kept, whatever became of
    # the others; only the clusters between them need a walk.
    reach = np.maximum.accumulate(np.concatenate([[busy_until], ends]))[:-1]
    free = starts >= reach
    walk = np.flatnonzero(~free)
    until, previous = busy_until, -1
    for k in walk.tolist():
        if k - 1 != previous and k > 0:
            until = int(ends[k - 1])
        previous = k
        if starts[k] < until:
            keep[k] = False
        else:
            until = int(ends[k])
    last = int(np.flatnonzero(keep)[-1]) if keep.any() else None
    return keep, busy_until if last is None else int(ends[last])


def _positive(name, value, unit, *, zero=False):
    if not value > 0 and not (zero and value == 0):
        raise ValueError(f"{name} must be positive ({unit}), not {value!r}")
    return value


def _channel(value):
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"Channel must be an integer, not {value!r}")
    if not 0 <= value < 64:
        raise ValueError(f"Channel must be 0 to 63, not {value}")
    return int(value)


def _generator(rng):
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"A source draws from a numpy.random.Generator that it is given "
                        f"(numpy.random.default_rng(seed)), not {rng!r}")
    return rng


class Source:
    """What all sources share. A source implements :meth:`_block`."""

    def __init__(self):
        self._times = np.empty(0, dtype=np.int64)
        self._channels = np.empty(0, dtype=np.uint8)
        self._known_ps = 0
        self._ended = False

    def _block(self):
        """The next photons in any order, and the time before which no other will come.

        Returns
        -------
        int64 array, uint8 array, int or None
            Times, channels, and that time; None means there are no more.
        """
        raise NotImplementedError

    @property
    def exhausted(self):
        """Whether every photon this source will ever emit has been returned."""
        return self._ended and not len(self._times)

    def batches(self, until_ps):
        """Every photon before ``until_ps`` that has not been returned yet.

        Returns
        -------
        times_ps : int64 array, sorted, not negative
        channel : uint8 array
        """
        if self._known_ps < until_ps and not self._ended:
            times, channels = [self._times], [self._channels]
            while self._known_ps < until_ps and not self._ended:
                more, channel, known = self._block()
                times.append(more)
                channels.append(channel)
                if known is None:
                    self._ended = True
                else:
                    self._known_ps = known
            self._times = np.concatenate(times)
            self._channels = np.concatenate(channels)
            order = np.argsort(self._times, kind="stable")
            self._times, self._channels = self._times[order], self._channels[order]
        cut = np.searchsorted(self._times, until_ps, side="left")
        result = self._times[:cut], self._channels[:cut]
        self._times, self._channels = self._times[cut:], self._channels[cut:]
        return result


class _Renewal:
    """Sums of random gaps as integers: fractions are carried, so rates have no bias."""

    def __init__(self):
        self._base = 0
        self._fraction = 0.0

    def times(self, gaps):
        total = np.cumsum(gaps) + self._fraction
        whole = np.floor(total).astype(np.int64)
        times = self._base + whole
        self._base += int(whole[-1])
        self._fraction = float(total[-1] - whole[-1])
        return times


class Poisson(Source):
    """Coherent or thermal light of long coherence: independent photons.

    Parameters
    ----------
    rate_hz : float
        Mean rate.
    channel : int
    rng : numpy.random.Generator
    """

    def __init__(self, rate_hz, *, rng, channel=0):
        super().__init__()
        self.rate_hz = _positive("Rate", rate_hz, "Hz")
        self.channel = _channel(channel)
        self._rng = _generator(rng)
        self._sum = _Renewal()

    def _block(self):
        times = self._sum.times(self._rng.exponential(_PS_PER_S / self.rate_hz, _BLOCK))
        return times, np.full(_BLOCK, self.channel, dtype=np.uint8), int(times[-1])


class Pulsed(Source):
    """A pulsed laser: a Poisson number of photons in each pulse of Gaussian shape.

    Parameters
    ----------
    period_ps : int
        Distance of pulses; the first is at one half of it.
    mean : float
        Photons per pulse.
    width_ps : float
        Standard deviation of a photon's time in its pulse (pulse length and detector jitter),
        cut at 6 standard deviations; at most a twelfth of the period.
    channel : int
    rng : numpy.random.Generator
    """

    def __init__(self, period_ps, *, mean, rng, width_ps=0, channel=0):
        super().__init__()
        if not isinstance(period_ps, int):
            raise TypeError(f"Period must be an integer number of picoseconds, not {period_ps!r}")
        self.period_ps = _positive("Period", period_ps, "ps")
        self.mean = _positive("Photons per pulse", mean, "number")
        self.width_ps = _positive("Pulse width", width_ps, "ps", zero=True)
        if 2 * _SIGMAS * width_ps > period_ps:
            raise ValueError(f"A pulse width of {width_ps} ps is more than 1/12 of the period of "
                             f"{period_ps} ps: pulses would overlap")
        self.channel = _channel(channel)
        self._rng = _generator(rng)
        self._pulse = 0

    def _block(self):
        counts = self._rng.poisson(self.mean, _BLOCK)
        numbers = np.repeat(np.arange(self._pulse, self._pulse + _BLOCK), counts)
        times = numbers * self.period_ps + self.period_ps // 2
        if self.width_ps:
            spread = self._rng.standard_normal(len(times)).clip(-_SIGMAS, _SIGMAS)
            times = times + np.rint(spread * self.width_ps).astype(np.int64)
        self._pulse += _BLOCK
        return (times, np.full(len(times), self.channel, dtype=np.uint8),
                self._pulse * self.period_ps)


class AntibunchedEmitter(Source):
    """A two-level emitter behind a beam splitter with a detector at each exit (HBT).

    Excited, it emits one photon after an exponential time of mean ``lifetime_ps``; in its ground
    state it is excited again at rate ``excitation_hz``, or by each pulse of a laser with
    probability ``excitation_probability``. For continuous excitation
    ``g2(tau) = 1 - exp(-|tau| (W + Gamma))`` with W the excitation rate and Gamma the inverse of
    the lifetime.

    Parameters
    ----------
    lifetime_ps : float
    excitation_hz : float or None
        Continuous excitation.
    pulse_period_ps : int or None
        Pulsed excitation; exactly one of the two is given.
    excitation_probability : float
        Per pulse.
    efficiency : float
        Probability that an emitted photon reaches a detector; the others cost time to draw, so
        an emitter far brighter than its detectors is slow to simulate.
    transmission : float
        Of the beam splitter, into the second channel.
    on_ps, off_ps : float or None
        Blinking: mean of the exponential times for which the emitter shines and is dark.
    channels : (int, int)
    rng : numpy.random.Generator
    """

    def __init__(self, *, lifetime_ps, rng, excitation_hz=None, pulse_period_ps=None,
                 excitation_probability=1.0, efficiency=1.0, transmission=0.5, on_ps=None,
                 off_ps=None, channels=(0, 1)):
        super().__init__()
        if (excitation_hz is None) == (pulse_period_ps is None):
            raise ValueError("An emitter is excited continuously (excitation_hz) or by pulses "
                             "(pulse_period_ps): give one of the two")
        if (on_ps is None) != (off_ps is None):
            raise ValueError("Blinking needs both on_ps and off_ps")
        self.lifetime_ps = _positive("Lifetime", lifetime_ps, "ps")
        self.excitation_hz = excitation_hz and _positive("Excitation rate", excitation_hz, "Hz")
        if pulse_period_ps is not None and not isinstance(pulse_period_ps, int):
            raise TypeError(f"Pulse period must be an integer number of picoseconds, "
                            f"not {pulse_period_ps!r}")
        self.pulse_period_ps = pulse_period_ps and _positive("Pulse period", pulse_period_ps,
                                                             "ps")
        for name, value in (("Excitation probability", excitation_probability),
                            ("Efficiency", efficiency), ("Transmission", transmission)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {value!r}")
        self.excitation_probability = excitation_probability
        self.efficiency = efficiency
        self.transmission = transmission
        self.on_ps = on_ps and _positive("on_ps", on_ps, "ps")
        self.off_ps = off_ps and _positive("off_ps", off_ps, "ps")
        self.channels = tuple(_channel(channel) for channel in channels)
        self._rng, self._blink_rng = _generator(rng).spawn(2)
        self._sum = _Renewal()
        self._pulse = 0
        self._excited_until = 0
        # Times at which blinking switches off, on, off ...; it starts on.
        self._switches = np.empty(0, dtype=np.int64)
        self._switch_sum = _Renewal()
        self._dark = False

    def _emissions(self):
        rng = self._rng
        if self.excitation_hz is not None:
            wait = rng.exponential(_PS_PER_S / self.excitation_hz, _BLOCK)
            times = self._sum.times(wait + rng.exponential(self.lifetime_ps, _BLOCK))
            return times, int(times[-1])
        fires = np.flatnonzero(rng.random(_BLOCK) < self.excitation_probability)
        starts = (self._pulse + fires) * self.pulse_period_ps
        delay = rng.exponential(self.lifetime_ps, len(starts))
        ends = starts + np.floor(delay).astype(np.int64)
        # A pulse does nothing to an emitter that is still excited. Emissions after the last
        # pulse's period wait in the buffer for those of the next block.
        keep, self._excited_until = keep_apart(starts, ends, self._excited_until)
        self._pulse += _BLOCK
        return ends[keep], self._pulse * self.pulse_period_ps

    def _shining(self, times):
        while not len(self._switches) or self._switches[-1] <= times.max():
            pairs = np.empty((256, 2))
            pairs[:, 0] = self._blink_rng.exponential(self.on_ps, 256)
            pairs[:, 1] = self._blink_rng.exponential(self.off_ps, 256)
            self._switches = np.concatenate([self._switches,
                                             self._switch_sum.times(pairs.ravel())])
        passed = np.searchsorted(self._switches, times, side="right")
        on = (passed + self._dark) % 2 == 0
        # Emissions of later blocks may lie a little earlier than the last of this one, so only
        # switches before the first are forgotten.
        gone = int(passed.min())
        self._dark = bool((gone + self._dark) % 2)
        self._switches = self._switches[gone:]
        return on

    def _block(self):
        times, known = self._emissions()
        if self.on_ps is not None and len(times):
            times = times[self._shining(times)]
        if self.efficiency < 1:
            times = times[self._rng.random(len(times)) < self.efficiency]
        second = self._rng.random(len(times)) < self.transmission
        first, other = self.channels
        return times, np.where(second, other, first).astype(np.uint8), known


class Replay(Source):
    """Photons from arrays, as a file reader returns them.

    Parameters
    ----------
    times_ps : array_like of int
        Sorted, not negative.
    channels : array_like of int, or int
        One for each photon, or one for all.
    """

    def __init__(self, times_ps, channels=0):
        super().__init__()
        times = np.asarray(times_ps)
        if times.size and times.dtype.kind not in "iu":
            raise TypeError(f"Times are integer picoseconds, not {times.dtype}; round them first")
        times = times.astype(np.int64)
        channels = np.broadcast_to(np.asarray(channels), times.shape)
        if times.ndim != 1:
            raise ValueError(f"Times must be a one-dimensional array, not of shape {times.shape}")
        if len(times) and (np.diff(times) < 0).any():
            at = int(np.flatnonzero(np.diff(times) < 0)[0])
            raise ValueError(f"Times must be sorted: photon {at + 1} at {times[at + 1]} ps comes "
                             f"after {times[at]} ps; sort them and their channels first")
        if len(times) and times[0] < 0:
            raise ValueError(f"Times start at 0, the first is {times[0]} ps; subtract it")
        if channels.size and (channels.min() < 0 or channels.max() >= 64):
            raise ValueError(f"Channels must be 0 to 63, not {channels.min()} to "
                             f"{channels.max()}")
        self._times = times
        self._channels = channels.astype(np.uint8)
        self._ended = True


class Merged(Source):
    """Several sources as one, for example two light fields on one set of detectors.

    Parameters
    ----------
    sources : Source
    """

    _STEP_PS = 10**9

    def __init__(self, *sources):
        super().__init__()
        self.sources = sources
        self._until = 0

    def _block(self):
        self._until += self._STEP_PS
        parts = [source.batches(self._until) for source in self.sources]
        times = np.concatenate([times for times, _ in parts] or [self._times])
        channels = np.concatenate([channels for _, channels in parts] or [self._channels])
        done = all(source.exhausted for source in self.sources)
        return times, channels, None if done else self._until
