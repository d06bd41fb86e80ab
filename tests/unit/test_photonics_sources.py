"""Photon sources against theory, two-sided, with bounds from the sample size."""

import numpy as np
import pytest

from quantacore.sim.photonics.detectors import Detected, Detector
from quantacore.sim.photonics.sources import (
    AntibunchedEmitter,
    Merged,
    Poisson,
    Pulsed,
    Replay,
    keep_apart,
)

S = 10**12
#: Bounds are so many standard deviations: all tests here together fail by chance once in 10**5.
SIGMAS = 5.5


def rng(seed=1):
    return np.random.default_rng(seed)


def differences(first, second, reach):
    """All ``second - first`` within +-reach, of two sorted arrays."""
    begin = np.searchsorted(second, first - reach)
    end = np.searchsorted(second, first + reach, side="right")
    counts = end - begin
    index = np.repeat(begin - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) \
        + np.arange(counts.sum())
    return second[index] - np.repeat(first, counts)


def within(count, expected, sigmas=SIGMAS):
    return abs(count - expected) <= sigmas * np.sqrt(expected)


SOURCES = {
    "poisson": lambda: Poisson(3e6, rng=rng()),
    "pulsed": lambda: Pulsed(12_500, mean=0.1, width_ps=100, rng=rng()),
    "continuous emitter": lambda: AntibunchedEmitter(lifetime_ps=3000, excitation_hz=1e8,
                                                     efficiency=0.1, rng=rng()),
    "pulsed emitter": lambda: AntibunchedEmitter(lifetime_ps=3000, pulse_period_ps=12_500,
                                                 efficiency=0.1, rng=rng()),
    "blinking emitter": lambda: AntibunchedEmitter(
        lifetime_ps=3000, excitation_hz=1e8, on_ps=2e6, off_ps=1e6, rng=rng()),
    "detected": lambda: Detected(
        AntibunchedEmitter(lifetime_ps=3000, excitation_hz=1e7, rng=rng()),
        dict.fromkeys((0, 1), Detector(efficiency=0.5, dark_hz=1e4, dead_time_ps=50_000,
                                       jitter_ps=300)), rng=rng(2)),
    "merged": lambda: Merged(Poisson(1e6, rng=rng(3)), Poisson(1e6, channel=1, rng=rng(4))),
}


@pytest.mark.parametrize("name", SOURCES)
def test_cutting_time_elsewhere_changes_nothing(name):
    until = S // 200
    times, channels = SOURCES[name]().batches(until)
    again = SOURCES[name]()
    cuts = np.append(np.sort(rng(9).integers(0, until, 300)), until)
    pieces = [again.batches(int(cut)) for cut in cuts]
    assert np.array_equal(np.concatenate([t for t, _ in pieces]), times)
    assert np.array_equal(np.concatenate([c for _, c in pieces]), channels)
    assert times.dtype == np.int64
    assert len(times) > 500
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0 and times[-1] < until


def test_poisson_rate_and_gaps():
    times, channels = Poisson(1e6, rng=rng(), channel=3).batches(S)
    assert within(len(times), 1e6)
    assert (channels == 3).all()
    # Exponential gaps: 1/e are longer than the mean; binomial bound.
    longer = (np.diff(times) > 10**6).sum()
    p = np.exp(-1)
    assert abs(longer - p * len(times)) < SIGMAS * np.sqrt(len(times) * p * (1 - p))


def test_pulsed_rate_width_and_grid():
    times, _ = Pulsed(12_500, mean=0.05, width_ps=200, rng=rng()).batches(S // 10)
    assert within(len(times), 0.05 * S / 10 / 12_500)
    offsets = times % 12_500 - 6250
    # Standard error of a standard deviation from n values is sigma / sqrt(2 n).
    assert abs(offsets.std() - 200) < SIGMAS * 200 / np.sqrt(2 * len(times)) + 0.1
    assert abs(offsets.mean()) < SIGMAS * 200 / np.sqrt(len(times))


def test_g2_of_the_continuous_emitter():
    """Every bin of g2 within its Poisson bound of 1 - exp(-|tau| (W + Gamma))."""
    lifetime, excitation = 4000.0, 1e8
    source = AntibunchedEmitter(lifetime_ps=lifetime, excitation_hz=excitation, rng=rng(5))
    duration = S // 20
    times, channels = source.batches(duration)
    rate = excitation / 1e12 + 1 / lifetime
    mean = 1 / (1 / (excitation / 1e12) + lifetime)
    # A renewal process of two exponential stages is more regular than Poisson, so this is wide.
    assert within(len(times), duration * mean)
    first, second = times[channels == 0], times[channels == 1]
    width, bins = 500, 100
    edges = np.arange(-bins // 2, bins // 2 + 1) * width
    tau = differences(first, second, bins // 2 * width)
    counts, _ = np.histogram(tau + 0.5, edges)
    level = len(first) * len(second) / duration * width
    low, high = np.abs(edges[:-1]), np.abs(edges[1:])
    low, high = np.minimum(low, high), np.maximum(low, high)
    expected = level * (1 - (np.exp(-rate * low) - np.exp(-rate * high)) / (rate * width))
    assert expected.min() > 200
    # The counts of two halves of one stream share fluctuations of the rate: allow 1.5 x Poisson.
    assert (np.abs(counts - expected) < 1.5 * SIGMAS * np.sqrt(expected)).all()
    middle = counts[bins // 2 - 1:bins // 2 + 1].sum()
    assert middle < 0.25 * 2 * level


def test_pulsed_emitter_has_no_central_peak_and_equal_side_peaks():
    period = 100_000
    source = AntibunchedEmitter(lifetime_ps=1500, pulse_period_ps=period, efficiency=0.4,
                                excitation_probability=0.9, rng=rng(6))
    duration = S // 20
    times, channels = source.batches(duration)
    assert within(len(times), duration / period * 0.9 * 0.4)
    first, second = times[channels == 0], times[channels == 1]
    tau = differences(first, second, 5 * period + period // 2)
    peaks = np.bincount((tau + 5 * period + period // 2) // period, minlength=11)[:11]
    pulses = duration / period
    expected = pulses * (0.9 * 0.4 / 2) ** 2
    sides = np.delete(peaks, 5)
    assert peaks[5] == 0
    assert (np.abs(sides - expected) < SIGMAS * np.sqrt(expected)).all()


def test_a_pulse_does_not_excite_an_excited_emitter():
    """With a lifetime as long as the period, emission per pulse has a closed form."""
    period, lifetime = 10_000, 10_000.0
    source = AntibunchedEmitter(lifetime_ps=lifetime, pulse_period_ps=period, rng=rng(7))
    pulses = 100_000
    times, _ = source.batches(pulses * period)
    # At each pulse the emitter is (left) excited with probability exp(-1); it is always excited
    # after a pulse, so it emits in each period with probability 1 - exp(-1).
    p = 1 - np.exp(-1)
    assert abs(len(times) - pulses * p) < SIGMAS * np.sqrt(pulses * p * (1 - p))


def test_blinking_bunches():
    """g2 of the blinking rises to 1 + off/on well inside an on period."""
    on, off = 3e8, 1e8
    source = AntibunchedEmitter(lifetime_ps=1000, excitation_hz=2e6, on_ps=on, off_ps=off,
                                rng=rng(8))
    duration = 2 * S
    times, channels = source.batches(duration)
    first, second = times[channels == 0], times[channels == 1]
    reach = 1_000_000
    pairs = len(differences(first, second, reach))
    g2 = pairs / (len(first) * len(second) / duration * 2 * reach)
    # The rate itself fluctuates: some duration/(on + off) = 5000 independent on periods.
    bound = SIGMAS * 2 * (off / on) / np.sqrt(duration / (on + off)) + SIGMAS / np.sqrt(pairs)
    decay = np.exp(-reach / 2 * (1 / on + 1 / off))
    assert abs(g2 - (1 + off / on * decay)) < bound
    share = len(times) / (duration * 2e6 / 1e12 / (1 + 2e6 * 1e-9))
    assert abs(share - on / (on + off)) < SIGMAS / np.sqrt(duration / (on + off))


def test_dead_time_corrected_rate():
    """A detector that is blind for td after a click sees n / (1 + n td)."""
    n, dead = 5e6, 100_000
    detected = Detected(Poisson(n, rng=rng(10)), {0: Detector(dead_time_ps=dead)}, rng=rng(11))
    times, _ = detected.batches(S // 4)
    load = n * dead / 1e12
    expected = n / (1 + load) / 4
    assert np.diff(times).min() >= dead
    # Counts of a renewal process: variance is the Poisson one / (1 + n td)^2.
    assert abs(len(times) - expected) < SIGMAS * np.sqrt(expected) / (1 + load) + 2


def test_efficiency_dark_counts_and_jitter():
    pulses = Pulsed(1_000_000, mean=0.5, rng=rng(12))
    detector = Detector(efficiency=0.3, jitter_ps=250)
    times, _ = Detected(pulses, {0: detector}, rng=rng(13)).batches(S // 2)
    assert within(len(times), 500_000 * 0.5 * 0.3)
    offsets = times % 1_000_000 - 500_000
    assert abs(offsets.std() - 250) < SIGMAS * 250 / np.sqrt(2 * len(times)) + 0.1
    dark = Detected(Replay([]), {0: Detector(dark_hz=1e5), 1: Detector(dark_hz=2e5)}, rng=rng(14))
    times, channels = dark.batches(S)
    assert within((channels == 0).sum(), 1e5)
    assert within((channels == 1).sum(), 2e5)


def test_replay_ends():
    source = Replay([1, 5, 5, 9], [0, 1, 0, 1])
    assert [list(part) for part in source.batches(6)] == [[1, 5, 5], [0, 1, 0]]
    assert not source.exhausted
    assert source.batches(9)[0].tolist() == []
    assert source.batches(10)[0].tolist() == [9]
    assert source.exhausted
    assert Detected(Replay([1, 2]), {0: Detector()}, rng=rng()).batches(S)[0].tolist() == [1, 2]


def test_keep_apart_equals_a_plain_loop():
    generator = rng(15)
    for _ in range(200):
        count = int(generator.integers(0, 40))
        starts = np.sort(generator.integers(0, 100, count))
        ends = starts + generator.integers(0, 12, count)
        busy = until = int(generator.integers(0, 30))
        expected = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            expected.append(start >= until)
            if start >= until:
                until = end
        keep, last = keep_apart(starts, ends, busy)
        assert keep.tolist() == expected
        assert last == until


@pytest.mark.parametrize("make, error, message", [
    (lambda: Poisson(0, rng=rng()), ValueError, "Rate must be positive (Hz), not 0"),
    (lambda: Poisson(1, rng=3), TypeError, "draws from a numpy.random.Generator"),
    (lambda: Poisson(1, rng=rng(), channel=64), ValueError, "Channel must be 0 to 63, not 64"),
    (lambda: Pulsed(1.5, mean=1, rng=rng()), TypeError, "must be an integer number"),
    (lambda: Pulsed(100, mean=1, width_ps=9, rng=rng()), ValueError, "pulses would overlap"),
    (lambda: AntibunchedEmitter(lifetime_ps=1, rng=rng()), ValueError, "give one of the two"),
    (lambda: AntibunchedEmitter(lifetime_ps=1, excitation_hz=1, on_ps=1, rng=rng()), ValueError,
     "Blinking needs both"),
    (lambda: AntibunchedEmitter(lifetime_ps=1, excitation_hz=1, efficiency=2, rng=rng()),
     ValueError, "Efficiency must be 0 to 1, not 2"),
    (lambda: Replay([5, 3]), ValueError, "photon 1 at 3 ps comes after 5 ps"),
    (lambda: Replay([-5]), ValueError, "the first is -5 ps"),
    (lambda: Replay([0.5]), TypeError, "Times are integer picoseconds, not float64"),
    (lambda: Replay([1], 70), ValueError, "Channels must be 0 to 63"),
    (lambda: Detector(efficiency=-1), ValueError, "Efficiency must be 0 to 1, not -1"),
    (lambda: Detector(dead_time_ps=1.5), TypeError, "Dead time must be an integer"),
])
def test_wrong_arguments(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
