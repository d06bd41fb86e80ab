"""A station and its followers on Verilator, over lines that delay, damage and lose messages."""

from pathlib import Path

import pytest

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.peer_network import PeerNetwork


@pytest.mark.parametrize("followers, lanes", [(1, 8), (2, 4)])
def test_peers(followers, lanes):
    run_cocotb(PeerNetwork(followers=followers, lanes=lanes), "peer_network",
               Path(__file__).with_name("cocotb_peers.py"), ports_alone=True,
               parameters={"followers": followers, "lanes": lanes})
