"""The attempts' controller on Verilator against its golden model, on a path driven at random."""

from pathlib import Path

from quantacore.gateware.herald.attempts import AttemptController
from quantacore.sim.bench.cosim import run_cocotb


def test_attempts():
    run_cocotb(AttemptController(record_depth=8, heartbeat=16), "attempt_controller",
               Path(__file__).with_name("cocotb_attempts.py"), ports_alone=True,
               parameters={"heartbeat": 16, "record_depth": 8})
