"""Growth and matching of clusters on Verilator against plain models."""

from pathlib import Path

import pytest

from quantacore.gateware.decoder.growth import Growth
from quantacore.gateware.decoder.matcher import Matcher
from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench.cosim import run_cocotb


@pytest.mark.parametrize("capacity, event_bits", [(16, 5), (64, 10)])
def test_growth(capacity, event_bits):
    parameters = {"space_bits": 5, "capacity": capacity, "event_bits": event_bits}
    run_cocotb(Growth(DecoderShape(**parameters)), "growth",
               Path(__file__).with_name("cocotb_growth.py"), parameters=parameters)


@pytest.mark.parametrize("capacity, cluster", [(8, 4), (64, 14)])
def test_matcher(capacity, cluster):
    parameters = {"space_bits": 5, "capacity": capacity, "cluster": cluster}
    run_cocotb(Matcher(DecoderShape(**parameters)), "matcher",
               Path(__file__).with_name("cocotb_matcher.py"), parameters=parameters)
