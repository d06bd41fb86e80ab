from pathlib import Path

import pytest

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.timing import TimingProbe

MODULE = Path(__file__).with_name("cocotb_timing.py")


@pytest.mark.parametrize("samples, fine", [(4, True), (1, False)])
def test_timing_unit_equals_golden_model(samples, fine):
    run_cocotb(TimingProbe(samples=samples, fine=fine), f"timing_{samples}_{int(fine)}", MODULE,
               parameters={"samples": samples, "fine": int(fine)})
