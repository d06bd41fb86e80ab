"""The pulse channels on Verilator against their golden model."""

from pathlib import Path

from quantacore.sim.bench.channels import ChannelsBench
from quantacore.sim.bench.cosim import run_cocotb

CHANNELS = 3


def test_channels():
    run_cocotb(ChannelsBench(channels=CHANNELS), "channels",
               Path(__file__).with_name("cocotb_channels.py"), parameters={"channels": CHANNELS})
