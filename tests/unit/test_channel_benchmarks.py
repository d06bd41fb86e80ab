"""What the benchmarks of the pulse channels reckon with, where the answer is known."""

import numpy as np
import pytest


def test_purity_of_a_tone_with_a_spur_and_noise(script):
    dds = script("dds")
    n = np.arange(dds.LENGTH)
    wave = 2 * np.pi * n / dds.LENGTH
    spurred = 1000 * np.cos(33 * wave) + np.cos(77 * wave) + 5
    assert dds.purity(spurred, 33) == pytest.approx((60, 60))
    both = spurred + np.cos(78 * wave)
    assert dds.purity(both, 33) == pytest.approx((60, 60 - 10 * np.log10(2)))


def test_rounding_a_tone_costs_what_it_should(script):
    dds = script("dds")
    _spur, snr = dds.ideal_purity(4099, amplitude=32767, width=14, start_phase=12345)
    assert snr == pytest.approx(6.02 * 14 + 1.76, abs=0.3)


def test_transfer_program_has_its_delay(script):
    pytest.importorskip("qutip")
    stirap = script("stirap_quantisation")
    shape = stirap.SHAPES[0]
    pump, stokes = stirap.played(shape, 1e-6, 1.43)
    time = np.arange(len(pump))
    centre = [(time * pulse).sum() / pulse.sum() for pulse in (stokes, pump)]
    assert (centre[1] - centre[0]) * stirap.TICK_S == pytest.approx(1.43e-6, abs=1e-11)
    assert pump.max() == pytest.approx(stirap.AREA / 1e-6, rel=1e-3)


def test_solver_knows_sine_and_cosine_pulses(script):
    pytest.importorskip("qutip")
    stirap = script("stirap_quantisation")
    (row,) = stirap.sanity_rows()
    assert row.figure < 1e-8


def test_both_solvers_of_held_samples_agree(script):
    pytest.importorskip("qutip")
    stirap = script("stirap_quantisation")
    rng = np.random.default_rng(1)
    pump, stokes = rng.uniform(-3, 3, (2, 50))
    assert stirap.held(pump, stokes, 0.7) == pytest.approx(
        stirap.rotations(pump, stokes, 0.7), abs=1e-12)
