"""The counter bank on Verilator against plain sums."""

from pathlib import Path

import pytest

from quantacore.gateware.layouts.herald import CELLS, DETECTORS, PATTERNS
from quantacore.gateware.telemetry.counters import CounterBank
from quantacore.sim.bench.cosim import run_cocotb


@pytest.mark.parametrize("widths, count_bits", [
    ((1,) * (CELLS + PATTERNS) + (3,) * 3 * DETECTORS, 64),
    ((2, 1, 5), 16),
], ids=["herald", "narrow"])
def test_counters(widths, count_bits):
    run_cocotb(CounterBank(widths, count_bits=count_bits), "counter_bank",
               Path(__file__).with_name("cocotb_counters.py"),
               parameters={"widths": " ".join(map(str, widths)), "count_bits": count_bits})
