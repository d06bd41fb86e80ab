"""Correlations against the definition by brute force, and against the real recording's facts."""

import os
from pathlib import Path

import numpy as np
import pytest

from quantacore.host.tags.correlate import (
    all_pairs,
    coincidences,
    normalise,
    pulse_period,
    pulsed_peaks,
    shortest_interval,
    start_stop,
)
from quantacore.host.tags.files import read_tags


def brute_all_pairs(starts, stops, width, bins, first):
    counts = np.zeros(bins, int)
    for start in starts:
        for stop in stops:
            index = (int(stop) - int(start) - first) // width
            if 0 <= index < bins:
                counts[index] += 1
    return counts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first", [-160, 0, 7])
def test_all_pairs_equals_the_definition(seed, first):
    generator = np.random.default_rng(seed)
    starts, stops = (np.sort(generator.integers(0, 3000, 120)) for _ in range(2))
    counts = all_pairs(starts, stops, 16, 20, first=first)
    np.testing.assert_array_equal(counts, brute_all_pairs(starts, stops, 16, 20, first))
    assert counts.sum() == coincidences(starts, stops, first, first + 320)


def test_bins_are_closed_below_and_open_above():
    assert all_pairs([0], [0, 15, 16, 31, 32], 16, 2).tolist() == [2, 2]


def test_all_pairs_in_chunks_equals_the_whole(monkeypatch):
    generator = np.random.default_rng(1)
    starts, stops = (np.sort(generator.integers(0, 10**6, 5000)) for _ in range(2))
    whole = all_pairs(starts, stops, 10, 1000, first=-5000)
    monkeypatch.setattr("quantacore.host.tags.correlate._PAIRS_AT_ONCE", 100)
    np.testing.assert_array_equal(all_pairs(starts, stops, 10, 1000, first=-5000), whole)


def test_start_stop_takes_the_first_stop_at_or_after_each_start():
    assert start_stop([0, 5, 10, 90], [5, 12, 300], 5, 4).tolist() == [2, 1, 0, 0]


@pytest.mark.parametrize("function", [all_pairs, start_stop])
def test_no_tags_give_no_counts(function):
    assert function([], [], 16, 4).tolist() == [0] * 4
    assert function([1], [], 16, 4).tolist() == [0] * 4


@pytest.mark.parametrize(("arguments", "message"), [
    (([2, 1], [1], 16, 4), "starts must ascend"),
    (([1], [2, 1], 16, 4), "stops must ascend"),
    (([1], [1], 0, 4), "Bin must be a whole number of at least 1, not 0"),
    (([1], [1], 1.5, 4), "not 1.5"),
    (([1], [1], 1, 0), "Number of bins must be at least 1"),
    (([[1]], [1], 1, 1), "one column"),
])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        all_pairs(*arguments)


def test_g2_of_uncorrelated_light_is_one():
    seed = 12
    generator = np.random.default_rng(seed)
    duration, number = 10**10, 20_000
    starts, stops = (np.sort(generator.integers(0, duration, number)) for _ in range(2))
    counts = all_pairs(starts, stops, 10_000, 200, first=-10**6)
    result = normalise(counts, 10_000, starts=number, stops=number, duration=duration,
                       first=-10**6)
    assert result.expected == 400
    # 200 bins of 400 counts: chi square of 200 +- 20, five standard deviations either way.
    chi = float((((result.g2 - 1) / result.error) ** 2).sum())
    assert 100 < chi < 300, f"seed {seed}"
    assert result.tau[0] == -10**6 + 5000


def test_g2_without_starts():
    with pytest.raises(ValueError, match="0 starts"):
        normalise([1], 1, starts=0, stops=1, duration=1)


def pulsed(generator, *, period, pulses, efficiency, skew, single=True):
    """A pulsed source on a beam splitter; ``single`` sends each photon to one side only."""
    pulse = np.arange(pulses) * period
    side = generator.integers(0, 2, pulses)
    found = generator.random((2, pulses)) < efficiency
    if single:
        found &= np.stack([side == 0, side == 1])
    starts, stops = (np.rint(pulse[found[k]] + generator.normal(0, 60, found[k].sum()) + k * skew)
                     .astype(np.int64) for k in (0, 1))
    return np.sort(starts), np.sort(stops)


@pytest.mark.parametrize("period", [3128.146, 12_495.5, 50_000.0])
def test_period_of_pulses_is_found(period):
    starts, stops = pulsed(np.random.default_rng(8), period=period, pulses=200_000,
                           efficiency=0.1, skew=23_936)
    assert pulse_period(starts, stops) == pytest.approx(period, rel=2e-6)


def test_no_period_in_uncorrelated_light():
    generator = np.random.default_rng(9)
    starts, stops = (np.sort(generator.integers(0, 10**9, 3000)) for _ in range(2))
    assert pulse_period(starts, stops) is None


def test_single_photon_source_has_one_empty_peak():
    starts, stops = pulsed(np.random.default_rng(10), period=3128.0, pulses=400_000,
                           efficiency=0.2, skew=23_936)
    peaks = pulsed_peaks(starts, stops, 3128.0, peaks=20)
    assert peaks.zero == pytest.approx(23_936, abs=10)
    assert peaks.suppressed == 0
    # Each of 400 000 pulses pairs with its neighbour with probability (0.2 / 2)^2.
    assert abs(peaks.side_mean - 4000) < 5 * np.sqrt(4000 / 40)


def test_laser_light_has_no_empty_peak():
    starts, stops = pulsed(np.random.default_rng(11), period=3128.0, pulses=400_000,
                           efficiency=0.1, skew=0, single=False)
    peaks = pulsed_peaks(starts, stops, 3128.0, peaks=20)
    assert 0.9 < peaks.g2_zero < 1.0  # the lowest of 41 peaks of 4000 +- 63


def test_shortest_interval():
    assert shortest_interval([1, 5, 7, 20]) == 2
    assert shortest_interval([1]) is None


def real_run():
    folder = Path(os.environ.get("QUANTACORE_DATA") or Path(__file__).parents[3] / "shared/data")
    path = folder / "timetags_hbt/200204_HH400_T2_320MHz_HBT.timeres.xz"
    if not path.exists():
        pytest.skip("needs the HydraHarp run in ../shared/data or QUANTACORE_DATA")
    pytest.importorskip("ptufile", reason="reads PTU files: pip install 'quantacore[files]'")
    return path


def test_real_run_all_pairs():
    tags = read_tags(real_run())
    first, second = tags.channel(0), tags.channel(1)
    assert all_pairs(first, second, 16, 10_000).sum() == 24_928
    assert all_pairs(second, first, 16, 10_000).sum() == 24_663


def test_real_run_single_photon_figures():
    tags = read_tags(real_run())
    first, second = tags.channel(0), tags.channel(1)
    period = pulse_period(first, second)
    # The published 319.680 MHz is what 160 ns of differences resolve; 0.1 ms resolve 319.6782.
    assert 1e6 / period == pytest.approx(319.680, abs=0.005)
    peaks = pulsed_peaks(first, second, period, peaks=52)
    assert peaks.zero == pytest.approx(23_936, abs=16)
    assert peaks.suppressed == 2
    assert peaks.side_mean == pytest.approx(491.2, abs=0.05)
    assert (round(peaks.g2_zero, 3), round(peaks.error, 3)) == (0.004, 0.003)


def test_real_run_dead_time():
    tags = read_tags(real_run())
    assert min(shortest_interval(tags.channel(k)) for k in (0, 1)) == 77_959
