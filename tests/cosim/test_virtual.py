"""The virtual channels on Verilator against their golden model."""

from pathlib import Path

from quantacore.gateware.herald.virtual import Virtual
from quantacore.sim.bench.cosim import run_cocotb


def test_virtual():
    parameters = {"depth": 64, "record_depth": 64}
    run_cocotb(Virtual(**parameters), "virtual_channels",
               Path(__file__).with_name("cocotb_virtual.py"), parameters=parameters)
