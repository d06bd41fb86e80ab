"""Filler, walker and applier on Verilator against plain models."""

import dataclasses
import json
from pathlib import Path

import pytest

from quantacore.gateware.decoder.applier import Applier
from quantacore.gateware.decoder.filler import Filler
from quantacore.gateware.decoder.walker import Walker
from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench.cosim import run_cocotb

SHAPES = {
    "window": DecoderShape(space_bits=3, delta_bits=2, capacity=32, edge_bits=6, shortcut_bits=8,
                           time_bits=4, observables=2),
    "one_layer": DecoderShape(space_bits=6, delta_bits=0, capacity=16, edge_bits=7,
                              shortcut_bits=8, time_bits=1),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("component", [Filler, Walker, Applier])
def test_decoder_tables(component, name):
    run_cocotb(component(SHAPES[name]), f"{component.__name__.lower()}_{name}",
               Path(__file__).with_name("cocotb_decoder_tables.py"),
               parameters={"shape": json.dumps(dataclasses.asdict(SHAPES[name])),
                           "unit": component.__name__, "windows": 30})
