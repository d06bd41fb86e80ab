"""The golden loop against the ideal one: quantisation is all that parts them."""

import numpy as np
import pytest

from quantacore.gateware.layouts.timing import DECISION_LATENCY, EDGE_CLOCKS, TIMING, LoopState
from quantacore.sim.golden.timing import TimingModel, ideal_loop

INITS = {register.name: register.init for register in TIMING.registers}
PERIOD = INITS["period"]


@pytest.mark.parametrize("offset_ppm", [-50, 0, 50])
def test_golden_loop_follows_the_ideal_one(offset_ppm):
    rng = np.random.default_rng(7)
    deviation = (np.arange(300) * PERIOD * offset_ppm * 1e-6
                 + rng.normal(0, 1.5, 300))
    deviation[0] = 0.0
    deviation[150:153] = np.nan
    model = TimingModel()
    model.write("control", 1, clock=0)
    number = {}
    for k, ticks in enumerate(deviation):
        if np.isfinite(ticks):
            fine = (1000 + k * PERIOD) * 8192 + round(ticks * 8192)
            model.edge(fine >> 13, fine & 8191)
            number[fine >> 13] = k
            model.advance(fine >> 13)
    model.advance(model.clock + 100)
    errors, _rates, locked = ideal_loop(
        deviation, period=PERIOD, lock_threshold=INITS["lock_threshold"],
        lock_count=INITS["lock_count"], gains=INITS["gains"])
    assert model.reference_missed == 3 and len(model.edges) == 296
    for clock, error, _rate, state in model.edges:
        k = number[clock - DECISION_LATENCY - EDGE_CLOCKS]
        assert (state is LoopState.LOCKED) == locked[k]
        # A rate step of 2**-44 is 0.06 fine units per period, the integral part is finer.
        assert abs(error / 8192 - errors[k]) < 0.02 + 1e-4 * abs(errors[k])


def test_model_refuses_to_go_back():
    model = TimingModel()
    model.advance(10)
    with pytest.raises(ValueError, match="it can't go back to 5"):
        model.advance(5)
    with pytest.raises(ValueError, match="The model is at clock 10, 3 is past"):
        model.edge(3)
