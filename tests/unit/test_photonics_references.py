"""References are exact where they should be and random where they should be."""

from fractions import Fraction

import numpy as np
import pytest

from quantacore.sim.photonics.exact import scaled_round
from quantacore.sim.photonics.references import ReferenceClock

S = 10**12


def test_edges_are_exact_for_a_thousand_seconds():
    source = ReferenceClock(S, offset_ppm="3.7", phase_ps=17)
    times, _ = source.batches(1000 * S)
    apparent = Fraction(S) * (1 + Fraction("3.7") / 10**6)
    assert times.tolist() == [17 + round(n * apparent) for n in range(len(times))]
    assert len(times) == 1000


def test_cutting_time_elsewhere_changes_nothing():
    def make():
        return ReferenceClock(100_000, jitter_ps=500, rng=np.random.default_rng(1))

    whole, _ = make().batches(10**9)
    source = make()
    parts = [source.batches(cut)[0] for cut in range(0, 10**9 + 1, 12_345_000)]
    parts.append(source.batches(10**9)[0])
    assert np.array_equal(np.concatenate(parts), whole)
    assert (np.diff(whole) > 0).all()


def test_jitter_has_its_width():
    source = ReferenceClock(100_000, jitter_ps=500, phase_ps=10_000,
                            rng=np.random.default_rng(2))
    times, _ = source.batches(10**10)
    spread = times - 10_000 - np.arange(len(times)) * 100_000
    assert abs(spread.std() - 500) < 5.5 * 500 / np.sqrt(2 * len(times)) + 0.1


def test_lost_edges_and_their_return():
    source = ReferenceClock(S, lost=[(2 * S, 4 * S)])
    assert source.batches(6 * S)[0].tolist() == [0, S, 4 * S, 5 * S]


def test_recorded_deviations_end():
    source = ReferenceClock(S, phase_ps=100, deviations_ps=[5, -7, 0])
    assert source.batches(10 * S)[0].tolist() == [105, S + 93, 2 * S + 100]
    assert source.exhausted


def test_scaling_is_exact_with_long_fractions():
    values = np.array([0, 1, 10**15, 123_456_789_012_345])
    for ratio in (Fraction(128, 125), Fraction(10**12 + 39, 10**12 + 61), Fraction(1, 3)):
        exact = [int(Fraction(int(v)) * ratio + Fraction(1, 2)) for v in values]
        assert scaled_round(values, ratio).tolist() == exact


@pytest.mark.parametrize("options, error, message", [
    ({"period_ps": 0}, ValueError, "Period must be positive"),
    ({"period_ps": 100, "jitter_ps": 10}, ValueError, "edges would change places"),
    ({"period_ps": 100_000, "jitter_ps": 10}, TypeError, "Jitter needs a numpy.random.Generator"),
    ({"period_ps": 100, "phase_ps": -1}, ValueError, "Phase must not be negative"),
    ({"period_ps": 100, "offset_ppm": 200_000}, ValueError, "below 100 000 ppm"),
])
def test_wrong_arguments(options, error, message):
    with pytest.raises(error) as caught:
        ReferenceClock(**options)
    assert message in str(caught.value)
