from pathlib import Path

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.sequencer_probe import SequencerProbe

MODULE = Path(__file__).with_name("cocotb_sequencer.py")


def test_engine_equals_golden_model():
    run_cocotb(SequencerProbe(), "sequencer", MODULE, testcase="random_programs",
               ports_alone=True)
