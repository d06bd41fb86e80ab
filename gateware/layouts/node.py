"""The register map of a node: the one list of blocks."""

from quantacore.gateware.layouts.decoder_registers import DECODER
from quantacore.gateware.layouts.herald import HERALD
from quantacore.gateware.layouts.identity import IDENTITY
from quantacore.gateware.layouts.link import LINK
from quantacore.gateware.layouts.peer import PEERS
from quantacore.gateware.layouts.registers import RegisterMap
from quantacore.gateware.layouts.sequencer import SEQUENCER
from quantacore.gateware.layouts.switches import SWITCHES
from quantacore.gateware.layouts.tagger import HISTOGRAM, TAGGER
from quantacore.gateware.layouts.timing import TIMING
from quantacore.gateware.layouts.virtual import VIRTUAL

__all__ = ["NODE_MAP"]

NODE_MAP = RegisterMap(blocks=(IDENTITY, LINK, TIMING, TAGGER, HISTOGRAM, DECODER, SEQUENCER,
                               HERALD, SWITCHES, VIRTUAL, PEERS))
