"""The link as Verilog against the golden endpoint."""

from pathlib import Path

import pytest

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.link import LinkBench

_MODULE = Path(__file__).with_name("cocotb_link.py")


@pytest.mark.parametrize("case", [
    "every_operation", "random_requests", "random_requests_with_stalls", "random_faults",
    "timed_writes_at_their_tick", "margin_of_timed_writes", "records_with_credit_and_rewind",
    "a_full_ring_stops_records_and_nothing_else", "throughput", "a_line_that_stands_still",
    "reset_in_the_middle",
])
def test_link(case):
    run_cocotb(LinkBench(buffer_depth=64), "link_bench", _MODULE, parameters={"depth": 64},
               testcase=case)
