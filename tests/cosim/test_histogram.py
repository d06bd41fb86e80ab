"""The histogram on Verilator against its golden model."""

from pathlib import Path

import pytest

from quantacore.gateware.herald.histogram import Histogram
from quantacore.sim.bench.cosim import run_cocotb


@pytest.mark.parametrize("count_bits, queue_depth", [(32, 512), (4, 64)])
def test_histogram(count_bits, queue_depth):
    parameters = {"count_bits": count_bits, "queue_depth": queue_depth}
    run_cocotb(Histogram(**parameters), "histogram",
               Path(__file__).with_name("cocotb_histogram.py"), parameters=parameters)
