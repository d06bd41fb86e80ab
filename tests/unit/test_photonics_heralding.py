"""Heralded entanglement: closed forms against published numbers, draws against closed forms."""

import math

import numpy as np
import pytest

from quantacore.sim.photonics.detectors import Detector
from quantacore.sim.photonics.heralding import (
    Arm,
    Emitter,
    Fibre,
    Midpoint,
    dark_probability,
    kept_fraction,
    overlap,
    single_click,
    single_click_attempts,
    two_click,
    two_click_attempts,
)

#: Two-sided bounds, in standard deviations; generators have fixed seeds.
SIGMAS = 5
WINDOW_PS = 60_000
BRIGHT_ARMS = (Arm(emitter=Emitter(efficiency=0.6, lifetime_ps=12_000)),
               Arm(emitter=Emitter(efficiency=0.5, lifetime_ps=12_000)))
DETECTORS = (Detector(efficiency=0.8, dark_hz=2e5), Detector(efficiency=0.8, dark_hz=2e5))


def rng(seed=1):
    return np.random.default_rng(seed)


def agrees(hits, trials, probability):
    deviation = math.sqrt(trials * probability * (1 - probability))
    assert abs(hits - trials * probability) <= SIGMAS * deviation + 1, \
        f"{hits} of {trials}, expected {trials * probability:.1f} +- {deviation:.1f}"


def efficiencies(arms=BRIGHT_ARMS, detector=DETECTORS[0], window_ps=WINDOW_PS):
    return [arm.efficiency * detector.efficiency
            * kept_fraction(window_ps, arm.emitter.lifetime_ps) for arm in arms]


# P. Dhara, midswap_dual_rail.m and midswap_single_rail.m (QuantumSavory repository), whose
# single-rail visibility is that of the amplitude; threshold values: a brute-force Fock model.
@pytest.mark.parametrize("a, b, dark, visibility, probability, fidelity, threshold", [
    (0.3, 0.2, 1e-2, 0.9, 0.0364116951, 0.8040120050, 0.793249),
    (0.01, 0.01, 1e-4, 0.9, 5.397801128e-5, 0.8981528547, 0.898000),
    (0.7, 0.05, 1e-3, 0.8, 0.0187871667, 0.8530482599, None),
])
def test_two_click_has_the_published_numbers(a, b, dark, visibility, probability, fidelity,
                                             threshold):
    settings = {"first": a, "second": b, "dark": dark, "visibility": visibility}
    got = two_click(**settings, resolving=True)
    assert got.probability == pytest.approx(probability, rel=1e-9, abs=1e-10)
    assert got.fidelity == pytest.approx(fidelity, abs=1e-10)
    if threshold:
        assert two_click(**settings).fidelity == pytest.approx(threshold, abs=1e-6)


@pytest.mark.parametrize("efficiency, alpha, dark, probability, fidelity, digits", [
    (4e-4, 0.05, 5e-7, 4.0999e-5, 0.88166, 5e-5), (4e-4, 0.1, 5e-7, 8.0997e-5, 0.84559, 5e-5),
    (4e-4, 0.3, 5e-7, 2.4097e-4, 0.66319, 5e-5), (0.3, 0.2, 1e-2, 0.12805056, 0.7153636813, 1e-9),
])
def test_single_click_has_the_published_numbers(efficiency, alpha, dark, probability, fidelity,
                                                digits):
    got = single_click(alpha=alpha, first=efficiency, second=efficiency, dark=dark,
                       visibility=0.9**2, resolving=True)
    assert got.probability == pytest.approx(probability, rel=digits)
    assert got.fidelity == pytest.approx(fidelity, abs=digits)


def test_limits_of_the_closed_forms():
    got = two_click(first=0.3, second=0.2, visibility=0.7)
    assert got.probability == pytest.approx(0.3 * 0.2 / 2)
    assert (got.correct, got.fidelity) == pytest.approx((1, (1 + 0.7) / 2))
    got = single_click(alpha=0.05, first=1e-5, second=1e-5)
    assert got.probability == pytest.approx(2 * 0.05 * 1e-5, rel=1e-4)
    assert got.fidelity == pytest.approx(1 - 0.05, rel=1e-4)
    # Phase noise takes from the coherence alone.
    noisy = single_click(alpha=0.05, first=1e-5, second=1e-5, phase_rad=0.3)
    assert noisy.fidelity == pytest.approx(0.95 * (1 + math.exp(-0.045)) / 2, rel=1e-4)
    assert two_click(first=0, second=0).fidelity == 0


@pytest.mark.parametrize("visibility", [0.0, 0.85, 1.0])
@pytest.mark.parametrize("alpha", [0.1, 0.6])
def test_drawn_single_clicks_agree_with_the_closed_form(alpha, visibility):
    attempts = 300_000
    drawn = single_click_attempts(BRIGHT_ARMS, DETECTORS, attempts, alpha=alpha,
                                  visibility=visibility, window_ps=WINDOW_PS,
                                  rng=rng(int(10 * alpha)))
    first, second = efficiencies()
    theory = single_click(alpha=alpha, first=first, second=second, visibility=visibility,
                          dark=dark_probability(2e5, WINDOW_PS))
    agrees(drawn.success.sum(), attempts, theory.probability)
    agrees((drawn.success & drawn.correct).sum(), drawn.success.sum(), theory.correct)


@pytest.mark.parametrize("visibility", [0.0, 0.9])
def test_drawn_two_clicks_agree_with_the_closed_form(visibility):
    attempts = 300_000
    drawn = two_click_attempts(BRIGHT_ARMS, DETECTORS, attempts, visibility=visibility,
                               window_ps=WINDOW_PS, rng=rng())
    first, second = efficiencies()
    theory = two_click(first=first, second=second, visibility=visibility,
                       dark=dark_probability(2e5, WINDOW_PS))
    agrees(drawn.success.sum(), attempts, theory.probability)
    agrees((drawn.success & drawn.correct).sum(), drawn.success.sum(), theory.correct)


def test_events_agree_with_the_closed_form_whatever_the_fibres():
    """Arms of very different length: all of one arm's events come long before the other's."""
    arms = (Arm(emitter=Emitter(efficiency=0.9, lifetime_ps=12_000), fibre=Fibre(length_m=3000)),
            Arm(emitter=Emitter(efficiency=0.5, lifetime_ps=12_000), fibre=Fibre(length_m=10)))
    attempts, period = 100_000, 1_000_000
    midpoint = Midpoint(arms, (Detector(efficiency=0.8),) * 2, bright=0.6, visibility=0.9,
                        rng=rng(4))
    clicks = np.zeros((attempts, 2), dtype=bool)
    bright = np.zeros((attempts, 2), dtype=bool)
    order = sorted((n * period - arms[arm].fibre.delay_ps, n, arm)
                   for n in range(attempts) for arm in range(2))
    for time, n, arm in order:
        bright[n, arm] = midpoint.prepare(arm)
        click = midpoint.excite(arm, time)
        if click is not None:
            detector, at = click
            assert at >= time + arms[arm].fibre.delay_ps
            clicks[n, detector] |= at - n * period < WINDOW_PS
    success = clicks.sum(axis=1) == 1
    first, second = efficiencies(arms)
    theory = single_click(alpha=0.6, first=first, second=second, visibility=0.9)
    agrees(success.sum(), attempts, theory.probability)
    agrees((success & (bright[:, 0] != bright[:, 1])).sum(), success.sum(), theory.correct)
    assert midpoint.excited == [attempts] * 2
    agrees(midpoint.arrived[0], bright[:, 0].sum(), arms[0].efficiency)


@pytest.mark.parametrize("offset_ps", [0, 3000, 12_000, 10**6])
def test_photons_that_come_apart_interfere_less(offset_ps):
    midpoint = Midpoint((Arm(emitter=Emitter(lifetime_ps=12_000)),) * 2, bright=1, rng=rng(7))
    trials, together = 20_000, 0
    for n in range(trials):
        for arm in range(2):
            midpoint.prepare(arm)
        first, _ = midpoint.excite(0, n * 10**8)
        second, _ = midpoint.excite(1, n * 10**8 + offset_ps)
        together += first == second
    agrees(together, trials, (1 + overlap(offset_ps, 12_000)) / 2)


def test_a_flip_exchanges_bright_and_dark():
    midpoint = Midpoint((Arm(), Arm()), bright=0, rng=rng())
    midpoint.prepare(0)
    assert midpoint.excite(0, 0) is None
    midpoint.flip(0)
    assert midpoint.states == [True, False]
    assert midpoint.excite(0, 0) is not None
    assert midpoint.excite(1, 0) is None


def test_an_attenuator_takes_its_part():
    midpoint = Midpoint((Arm(), Arm()), bright=1, rng=rng())
    midpoint.open[1] = 0.25
    trials = 10_000
    for n in range(trials):
        for arm in range(2):
            midpoint.prepare(arm)
            midpoint.excite(arm, n * 10**9)
    assert midpoint.arrived[0] == trials
    agrees(midpoint.arrived[1], trials, 0.25)


def test_arrival_times_follow_the_wavepacket():
    emitter = Emitter(lifetime_ps=5000)
    delays = emitter.delays(200_000, rng())
    assert abs(delays.mean() - 5000) < SIGMAS * 5000 / math.sqrt(len(delays))
    packet = Emitter(wavepacket_ps=(100, 200, 200))
    assert set(packet.delays(1000, rng()).tolist()) == {100, 200}
    midpoint = Midpoint((Arm(emitter=packet), Arm()), (Detector(jitter_ps=3),) * 2, bright=1,
                        rng=rng())
    times = []
    for n in range(4000):
        midpoint.prepare(0)
        times.append(midpoint.excite(0, n * 10**6)[1] - n * 10**6)
    times = np.array(times)
    assert (np.abs(times - np.where(times < 150, 100, 200)) <= 18).all()
    agrees((times > 150).sum(), len(times), 2 / 3)
    # Jitter has its width: the variance of n normal values has a deviation of sqrt(2/n).
    near = times[times > 150] - 200
    assert abs(near.var() / 9 - 1) < SIGMAS * math.sqrt(2 / len(near)) + 1 / 108


def test_dark_counts_do_not_depend_on_how_they_are_asked_for():
    def collect(step):
        midpoint = Midpoint((Arm(), Arm()), (Detector(dark_hz=3e4), Detector()), rng=rng(3))
        until, found = 0, []
        while until < 10**10:
            times, until = midpoint.darks(until + step)
            assert not len(times[1])
            found.append(times[0][times[0] < 10**10])
        return np.concatenate(found)

    times = collect(10**7)
    assert (np.diff(times) >= 0).all()
    assert times.tolist() == collect(3 * 10**9 + 1).tolist()
    assert abs(len(times) - 300) < SIGMAS * math.sqrt(300)


def test_same_seed_same_photons():
    def clicks(seed):
        midpoint = Midpoint((Arm(), Arm()), bright=0.5, rng=rng(seed))
        found = []
        for n in range(200):
            midpoint.prepare(n % 2)
            found.append(midpoint.excite(n % 2, n * 10**6))
        return found

    assert clicks(1) == clicks(1) != clicks(2)


def test_fibre():
    fibre = Fibre(length_m=25_000, attenuation_db_per_km=0.2)
    assert fibre.transmission == pytest.approx(10**-0.5)
    # 5 microseconds per kilometre, near enough.
    assert fibre.delay_ps == pytest.approx(25 * 4.897e6, rel=1e-3)
    assert Fibre().transmission == 1 and Fibre().delay_ps == 0
    assert Arm(emitter=Emitter(efficiency=0.5), fibre=fibre).efficiency \
        == pytest.approx(0.5 * 10**-0.5)
    midpoint = Midpoint((Arm(fibre=fibre), Arm(fibre=Fibre(length_m=1000))),
                        (Detector(jitter_ps=50), Detector()), rng=rng())
    assert midpoint.least_delay_ps == Fibre(length_m=1000).delay_ps - 300


@pytest.mark.parametrize("make, error, message", [
    (lambda: Emitter(efficiency=1.2), ValueError, "Efficiency must be 0 to 1, not 1.2"),
    (lambda: Emitter(lifetime_ps=0), ValueError, "Lifetime must be positive"),
    (lambda: Emitter(wavepacket_ps=(-1,)), ValueError, "none of them negative"),
    (lambda: Fibre(length_m=-1), ValueError, "length_m must not be negative, not -1"),
    (lambda: Fibre(group_index=0.9), ValueError, "Group index must be at least 1"),
    (lambda: single_click(alpha=2, first=0, second=0), ValueError, "alpha must be 0 to 1"),
    (lambda: two_click(first=0, second=-1), ValueError, "Efficiency must be 0 to 1, not -1"),
    (lambda: Midpoint((Arm(),), rng=rng()), ValueError, "two arms and two detectors, not 1 and 2"),
    (lambda: Midpoint((Arm(), Arm()), rng=1), TypeError, "numpy.random.Generator, not 1"),
])
def test_construction_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
