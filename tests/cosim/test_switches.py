"""Photonic switches as Verilog against their golden models."""

from pathlib import Path

from quantacore.gateware.network.switches import SwitchUnit
from quantacore.sim.bench.cosim import run_cocotb


def test_switches_equal_golden_models():
    run_cocotb(SwitchUnit(switches=5), "switches", Path(__file__).with_name("cocotb_switches.py"),
               parameters={"switches": 5}, ports_alone=True)
