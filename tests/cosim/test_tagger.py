"""The tagger on Verilator against its golden model, for every number of samples per clock."""

from pathlib import Path

import pytest

from quantacore.gateware.herald.tagger import Tagger
from quantacore.sim.bench.cosim import run_cocotb


@pytest.mark.parametrize("channels, samples, fine", [
    (8, 4, True), (2, 8, True), (3, 2, False), (1, 1, True),
])
def test_tagger(channels, samples, fine):
    geometry = {"channels": channels, "samples": samples, "fine": fine, "buffer_depth": 128}
    run_cocotb(Tagger(**geometry, row_depth=64), "tagger",
               Path(__file__).with_name("cocotb_tagger.py"),
               parameters={**geometry, "fine": int(fine)})
