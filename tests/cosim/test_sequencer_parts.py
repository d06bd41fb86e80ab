"""TTL lines, marks and slots as Verilog against their golden models."""

from pathlib import Path

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.sequencer_parts import SequencerParts


def test_parts_equal_golden_models():
    run_cocotb(SequencerParts(mark_depth=8, channels=3), "sequencer_parts",
               Path(__file__).with_name("cocotb_sequencer_parts.py"),
               parameters={"mark_depth": 8, "channels": 3})
