"""What a decoder changes in a node's ports and configuration."""

import pytest

from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.gateware.node import Node, NodeConfig, UARTNode

SHAPE = DecoderShape(space_bits=2)


@pytest.mark.parametrize("make", [Node, lambda config: UARTNode(config, baud=3_000_000)])
def test_a_node_has_a_frame_port_if_it_has_a_decoder(make):
    assert "frame" not in make(NodeConfig()).signature.members
    members = make(NodeConfig(decoder=SHAPE)).signature.members
    assert members["frame"].dimensions == members["frame_valid"].dimensions == (2,)


def test_decoder_must_be_a_shape():
    with pytest.raises(TypeError, match="^Decoder must be a DecoderShape or None, not 5$"):
        NodeConfig(decoder=5)
