"""The herald unit's click path as Verilog against its golden model."""

import os
from pathlib import Path

import pytest

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.herald_path import HeraldPathProbe

MODULE = Path(__file__).with_name("cocotb_herald_path.py")
#: Samples in a tick, and whether there are fine codes.
BUILDS = [(4, True), (8, True), (2, False), (1, False)]
#: Those that are built in every run.
ALWAYS = BUILDS[:1]


@pytest.mark.parametrize("samples, fine", BUILDS)
def test_path_equals_golden_model(samples, fine):
    soak = bool(os.environ.get("QUANTACORE_SOAK"))
    if (samples, fine) not in ALWAYS and not soak:
        pytest.skip("takes a build of its own: make soak")
    run_cocotb(HeraldPathProbe(samples=samples, fine=fine), "herald_path", MODULE,
               ports_alone=True, parameters={"samples": samples, "fine": int(fine),
                                             "runs": 60 if soak else 8})
