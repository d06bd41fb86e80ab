import os
from pathlib import Path

import pytest

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.sequencer_probe import SequencerProbe

MODULE = Path(__file__).with_name("cocotb_sequencer.py")
SOAK = bool(os.environ.get("QUANTACORE_SOAK"))


@pytest.mark.parametrize("testcase", [
    "every_operation", "every_loop", "every_end_of_a_wait", "every_fault", "stop_in_every_tick",
    "timed_starts", "reset_in_the_middle", "random_programs"])
def test_engine_equals_golden_model(testcase):
    run_cocotb(SequencerProbe(), "sequencer", MODULE, testcase=testcase, ports_alone=True,
               parameters={"programs": 100_000 if SOAK else 20_000,
                           "ticks": 10_000_000 if SOAK else 0})
