import os
from pathlib import Path

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.sequencer_probe import SequencerProbe

MODULE = Path(__file__).with_name("cocotb_sequencer.py")
SOAK = bool(os.environ.get("QUANTACORE_SOAK"))


def test_engine_equals_golden_model():
    """Every operation, loop, end of a wait, fault and stop, and random programs."""
    run_cocotb(SequencerProbe(), "sequencer", MODULE, ports_alone=True,
               parameters={"programs": 100_000 if SOAK else 20_000,
                           "ticks": 10_000_000 if SOAK else 0})
