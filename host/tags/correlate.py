"""Coincidences, start-stop intervals and g2, counted exactly in integers.

Every function takes sorted int64 times in one unit of the caller's choice (picoseconds or fine
units) and counts in bins that are closed below and open above: bin ``k`` of a histogram holds
the differences ``first + k * bin <= stop - start < first + (k + 1) * bin``.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["coincidences", "all_pairs", "start_stop", "Correlation", "normalise",
           "pulse_period", "PulsedPeaks", "pulsed_peaks", "shortest_interval"]

# Differences held in memory at a time (two int64 arrays of this length).
_PAIRS_AT_ONCE = 1 << 21


def _sorted(times, name):
    times = np.asarray(times, dtype=np.int64)
    if times.ndim != 1:
        raise ValueError(f"{name} must be one column, not an array of shape {list(times.shape)}")
    if len(times) and np.any(times[1:] < times[:-1]):
        raise ValueError(f"{name} must ascend; sort them first")
    return times


def _check_bins(bin_width, bins):
    if int(bin_width) != bin_width or bin_width < 1:
        raise ValueError(f"Bin must be a whole number of at least 1, not {bin_width}")
    if int(bins) != bins or bins < 1:
        raise ValueError(f"Number of bins must be at least 1, not {bins}")


def coincidences(starts, stops, low, high):
    """Count the pairs with ``low <= stop - start < high``.

    Returns
    -------
    int
    """
    starts, stops = _sorted(starts, "starts"), _sorted(stops, "stops")
    if high <= low:
        return 0
    return int((np.searchsorted(stops, starts + np.int64(high))
                - np.searchsorted(stops, starts + np.int64(low))).sum())


def _differences(starts, stops, low, high):
    """Yield ``stop - start`` of all pairs with ``low <= stop - start < high``, in chunks."""
    begins = np.searchsorted(stops, starts + np.int64(low))
    counts = np.searchsorted(stops, starts + np.int64(high)) - begins
    total = np.concatenate(([0], np.cumsum(counts)))
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(total, total[first] + _PAIRS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), len(starts))
        number = counts[first:last]
        pairs = int(total[last] - total[first])
        if pairs:
            # Index of each pair's stop: the start's first stop plus a count from 0.
            offset = np.arange(pairs) - np.repeat(total[first:last] - total[first], number)
            stop = np.repeat(begins[first:last], number) + offset
            yield stops[stop] - np.repeat(starts[first:last], number)
        first = last


def all_pairs(starts, stops, bin_width, bins, *, first=0):
    """Histogram of the differences of every start with every stop.

    Parameters
    ----------
    starts, stops : array-like
        Sorted times. The two may be the same array; each tag then also pairs with itself, at
        difference 0.
    bin_width : int
    bins : int
    first : int
        Lower edge of bin 0, negative for stops before their starts.

    Returns
    -------
    numpy.ndarray
        int64 counts, shape (bins,).
    """
    starts, stops = _sorted(starts, "starts"), _sorted(stops, "stops")
    _check_bins(bin_width, bins)
    counts = np.zeros(bins, dtype=np.int64)
    for difference in _differences(starts, stops, first, first + bin_width * bins):
        counts += np.bincount((difference - first) // bin_width, minlength=bins)
    return counts


def start_stop(starts, stops, bin_width, bins):
    """Histogram of the time from each start to the first stop at or after it.

    Every start counts once, if its stop lies within range: a stop may end several starts.

    Returns
    -------
    numpy.ndarray
        int64 counts, shape (bins,); bin 0 begins at a difference of 0.
    """
    starts, stops = _sorted(starts, "starts"), _sorted(stops, "stops")
    _check_bins(bin_width, bins)
    index = np.searchsorted(stops, starts)
    met = index < len(stops)
    difference = stops[index[met]] - starts[met]
    difference = difference[difference < bin_width * bins]
    return np.bincount(difference // bin_width, minlength=bins)


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A normalised histogram: 1 is what uncorrelated light of the same rates gives.

    Attributes
    ----------
    tau : numpy.ndarray
        Middles of the bins, float64, in the unit of the times.
    counts : numpy.ndarray
        Pairs in each bin.
    g2, error : numpy.ndarray
        Normalised counts and their Poisson standard errors; an empty bin has the error of one
        count.
    expected : float
        Pairs per bin that uncorrelated light gives.
    """

    tau: np.ndarray
    counts: np.ndarray
    g2: np.ndarray
    error: np.ndarray
    expected: float


def normalise(counts, bin_width, *, starts, stops, duration, first=0):
    """Normalise an all-pairs histogram to g2.

    Parameters
    ----------
    counts : array-like
    bin_width, first : int
        As given to :func:`all_pairs`.
    starts, stops : int
        How many starts and stops the recording has.
    duration : int
        How long it is, in the unit of the times.

    Returns
    -------
    Correlation
    """
    if starts < 1 or stops < 1 or duration <= 0:
        raise ValueError(f"g2 needs starts, stops and a duration, not {starts} starts, {stops} "
                         f"stops in {duration}")
    counts = np.asarray(counts)
    expected = starts * stops * bin_width / duration
    tau = first + (np.arange(len(counts)) + 0.5) * bin_width
    return Correlation(tau=tau, counts=counts, g2=counts / expected,
                       error=np.sqrt(np.maximum(counts, 1)) / expected, expected=expected)


def shortest_interval(times):
    """The shortest distance of two neighbours: a channel's dead time, seen from outside.

    Returns
    -------
    int or None
        None for fewer than two tags.
    """
    times = _sorted(times, "times")
    return int(np.diff(times).min()) if len(times) > 1 else None


def pulse_period(starts, stops, *, shortest=1_000, longest=100_000, span=None):
    """Find the repetition period of pulsed light from two channels' differences.

    The histogram of differences up to ``span`` has a peak at each multiple of the period; its
    spectrum gives the period roughly, and the phase of ever longer differences makes it exact
    (relative error about 1e-6 where the clock of the recording is that steady).

    Parameters
    ----------
    starts, stops : array-like
        Sorted times.
    shortest, longest : int
        Where to look for the period.
    span : int, optional
        Differences to begin with; 16 times ``longest`` if not given, so that two harmonics can
        be told apart.

    Returns
    -------
    float or None
        None if there is no periodicity stronger than chance (a Rayleigh test at 1e-6).
    """
    starts, stops = _sorted(starts, "starts"), _sorted(stops, "stops")
    span = 16 * longest if span is None else span
    if not 0 < shortest < longest < span:
        raise ValueError(f"Periods must satisfy 0 < shortest < longest < span, not {shortest}, "
                         f"{longest}, {span}")
    width = max(1, shortest // 16)
    bins = 2 * (span // width)
    counts = all_pairs(starts, stops, width, bins, first=-bins // 2 * width)
    total = int(counts.sum())
    if total < 16:
        return None
    # Zero padding by four keeps the loss between two lines of the spectrum small.
    spectrum = np.abs(np.fft.rfft(counts - counts.mean(), n=4 * bins)) ** 2 / total
    frequency = np.arange(len(spectrum)) / (4 * bins * width)
    inside = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    power = np.where(inside, spectrum, 0)
    best = int(power.argmax())
    if power[best] < np.log(inside.sum() / 1e-6):
        return None
    # Pulses much shorter than their period have strong harmonics: take the lowest strong line.
    while True:
        for divisor in (2, 3, 5):
            centre = round(best / divisor)
            near = np.arange(max(centre - 4, 0), centre + 5)
            near = near[inside[near]]
            if len(near) and power[near].max() > 0.5 * power[best]:
                best = int(near[power[near].argmax()])
                break
        else:
            break
    estimate = frequency[best]
    # Now the phase: the longer the differences, the finer the step in frequency.
    for reach in (span, 8 * span, 64 * span):
        sample = _sample_differences(starts, stops, reach)
        if len(sample) < 16:
            break
        width = (1 / (8 * span) if reach == span else 4 / reach)
        for _ in range(4):
            grid = estimate + np.linspace(-width, width, 41)
            power = [abs(np.exp(2j * np.pi * ((sample * f) % 1)).sum()) for f in grid]
            estimate = float(grid[int(np.argmax(power))])
            width /= 10
    return 1 / estimate


def _sample_differences(starts, stops, reach, limit=50_000):
    """Some differences up to ``reach`` either way, spread over the recording."""
    parts, size = [], 0
    step = max(1, len(starts) // 4096)
    for chunk in _differences(starts[::step], stops, -reach, reach):
        parts.append(chunk)
        size += len(chunk)
        if size > 8 * limit:
            break
    if not parts:
        return np.empty(0)
    every = np.concatenate(parts)
    return every[::max(1, len(every) // limit)].astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class PulsedPeaks:
    """The peaks of a pulsed source's coincidences and the suppressed one among them.

    Attributes
    ----------
    period : float
    zero : float
        Difference at which the suppressed peak lies (cable and electronics skew).
    centres : numpy.ndarray
        Where all peaks lie.
    counts : numpy.ndarray
        Pairs in each peak's window.
    suppressed : int
        Pairs in the suppressed one.
    side_mean : float
        Mean of all others.
    g2_zero, error : float
        ``suppressed / side_mean`` and its Poisson standard error.
    """

    period: float
    zero: float
    centres: np.ndarray
    counts: np.ndarray
    suppressed: int
    side_mean: float
    g2_zero: float
    error: float


def pulsed_peaks(starts, stops, period, *, peaks=52, window=None):
    """Find the suppressed peak of a pulsed single-photon source and count its neighbours.

    Parameters
    ----------
    starts, stops : array-like
    period : float
        Of the pulses, as :func:`pulse_period` finds it.
    peaks : int
        Peaks to count on either side of the suppressed one; it is looked for at differences of
        at most so many periods.
    window : float, optional
        Width of the window around each peak; the whole period if not given.

    Returns
    -------
    PulsedPeaks or None
        None if there are no pairs in range.
    """
    starts, stops = _sorted(starts, "starts"), _sorted(stops, "stops")
    window = period if window is None else window
    if not 0 < window <= period:
        raise ValueError(f"Window must be positive and no wider than the period, not {window}")
    if peaks < 1:
        raise ValueError(f"Peaks on either side must be at least 1, not {peaks}")
    reach = int((2 * peaks + 1) * period)
    differences = np.concatenate([np.empty(0, np.int64),
                                  *_differences(starts, stops, -reach, reach)])
    if not len(differences):
        return None
    # Where in a period the peaks lie: the circular mean.
    skew = np.angle(np.exp(2j * np.pi * ((differences / period) % 1)).sum()) * period / (2 * np.pi)
    number = np.rint((differences - skew) / period).astype(np.int64)
    inside = np.abs(differences - skew - number * period) <= window / 2
    counts = np.bincount(number[inside & (np.abs(number) <= 2 * peaks)] + 2 * peaks,
                         minlength=4 * peaks + 1)
    centre = peaks + int(counts[peaks:3 * peaks + 1].argmin())
    counts = counts[centre - peaks:centre + peaks + 1]
    side = float(np.delete(counts, peaks).mean())
    if not side:
        return None
    zero = skew + (centre - 2 * peaks) * period
    suppressed = int(counts[peaks])
    return PulsedPeaks(
        period=period, zero=float(zero), centres=zero + np.arange(-peaks, peaks + 1) * period,
        counts=counts, suppressed=suppressed, side_mean=side, g2_zero=suppressed / side,
        error=float(np.sqrt(max(suppressed, 1)) / side))
