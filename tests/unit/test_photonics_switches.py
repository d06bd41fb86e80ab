"""The plant of switches: where they settle, how fast, and what their monitors say."""

import math

import numpy as np
import pytest

from quantacore.sim.photonics.switches import MachZehnder, Ring, SwitchPlant


def test_a_mach_zehnder_splits_as_its_phase_says():
    device = MachZehnder(time_constant_ticks=0, pi_code=1000)
    assert [device.transmission(code) for code in (0, 500, 1000, 2000)] == pytest.approx(
        [0, 0.5, 1, 0])


def test_a_ring_drops_half_at_half_its_width():
    device = Ring(time_constant_ticks=0, resonance_code=5000, width_code=200)
    assert [device.transmission(code) for code in (5000, 5100, 4900, 6000)] == pytest.approx(
        [1, 0.5, 0.5, 1 / 101])


def test_a_step_is_exponential_however_it_is_cut():
    plants = [SwitchPlant([MachZehnder(time_constant_ticks=40)]) for _ in range(2)]
    plants[0].step([10_000], 40)
    for _ in range(40):
        plants[1].step([10_000])
    assert plants[0].positions == pytest.approx([10_000 * (1 - math.exp(-1))])
    assert plants[1].positions == pytest.approx(plants[0].positions)


def test_without_a_time_constant_it_is_there_at_once():
    assert SwitchPlant([Ring(time_constant_ticks=0)]).step([32768]) == [60_000]


def test_settle_ticks_are_enough_and_one_less_is_not():
    plant = SwitchPlant([MachZehnder(time_constant_ticks=123.4)])
    ticks = plant.settle_ticks(0, 50, step=30_000)
    plant.step([30_000], ticks - 1)
    assert abs(plant.positions[0] - 30_000) > 50
    plant.step([30_000])
    assert abs(plant.positions[0] - 30_000) <= 50


def test_a_stuck_switch_stays_where_it_is():
    plant = SwitchPlant([MachZehnder(time_constant_ticks=10)] * 2)
    plant.step([30_000, 30_000], 5)
    plant.stick(1)
    before = plant.positions[1]
    plant.step([0, 0], 1000)
    assert plant.positions == pytest.approx([0, before])
    plant.release(1)
    plant.step([0, 0], 1000)
    assert plant.positions[1] == pytest.approx(0)


def test_a_range_is_around_the_reading():
    plant = SwitchPlant([MachZehnder(time_constant_ticks=0)], dark=100, bright=60_100)
    assert plant.range_for(0, 16384, 499.5) == (29_601, 30_599)
    assert plant.range_for(0, 0, 500) == (0, 600)
    assert plant.step([16384]) == [30_100]


def test_noise_is_as_broad_as_it_says():
    plant = SwitchPlant([MachZehnder(time_constant_ticks=0)], noise=100.0,
                        rng=np.random.default_rng(5))
    readings = [plant.step([16384])[0] for _ in range(4000)]
    # Five standard errors of a standard deviation from so many.
    assert abs(np.std(readings) - 100) < 5 * 100 / math.sqrt(2 * 4000)


@pytest.mark.parametrize(("make", "text"), [
    (lambda: SwitchPlant([]), "at least one switch"),
    (lambda: SwitchPlant([Ring(time_constant_ticks=1)], dark=5, bright=5), "dark < bright"),
    (lambda: MachZehnder(time_constant_ticks=-1), "time_constant_ticks must be at least 0"),
    (lambda: MachZehnder(time_constant_ticks=1, pi_code=0), "pi_code must be above 0"),
    (lambda: Ring(time_constant_ticks=1, width_code=math.nan), "width_code must be above 0"),
    (lambda: SwitchPlant([Ring(time_constant_ticks=1)]).stick(1), "Switch must be 0 to 0, not 1"),
])
def test_what_can_not_be(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_noise_needs_a_generator():
    with pytest.raises(TypeError, match="numpy.random.Generator"):
        SwitchPlant([Ring(time_constant_ticks=1)], noise=1.0)
