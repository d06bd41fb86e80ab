"""Registers on the bus, as Verilog, against the dictionary model."""

from pathlib import Path

import pytest

from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.registers import EXAMPLE_MAP, RegisterExerciser


@pytest.mark.parametrize("name", ["example", "node"])
def test_registers_match_model(name):
    register_map = {"example": EXAMPLE_MAP, "node": NODE_MAP}[name]
    run_cocotb(RegisterExerciser(register_map), f"csr_{name}",
               Path(__file__).with_name("cocotb_csr.py"), parameters={"map": name})
