"""The identity block: what a host reads first, at address 0, whatever else has changed."""

from amaranth.lib import data

from quantacore.gateware.layouts.registers import Access, Block, Register

__all__ = ["MAGIC", "LAYOUT_VERSION", "Protocol", "Capabilities", "Geometry", "IDENTITY"]

#: "QCOR" in ASCII, first letter in the top byte.
MAGIC = 0x51434F52
#: Raised when the meaning of the map changes in a way that its CRC alone would not explain.
LAYOUT_VERSION = 1


class Protocol(data.Struct):
    """Versions that both sides must agree on."""

    link: 8
    layout: 8
    reserved: 16


class Capabilities(data.Struct):
    """Which optional blocks this build has."""

    fine: 1
    histogram: 1
    discipline: 1
    uart: 1
    simulated: 1
    decoder: 1
    sequencer: 1
    herald: 1
    switches: 1
    peers: 1
    reserved: 22


class Geometry(data.Struct):
    """Sizes of this build."""

    channels: 8
    samples: 8
    #: Logarithm of the tag buffer's depth in records.
    buffer_depth_log2: 8
    #: Logarithm of the histogram's number of bins.
    bins_log2: 8


IDENTITY = Block(
    name="identity",
    doc="Who this node is. The first words never move.",
    registers=(
        Register(name="magic", access=Access.READ_ONLY, doc="0x51434F52, \"QCOR\"."),
        Register(name="protocol", shape=Protocol, access=Access.READ_ONLY,
                 doc="Versions of the link frames and of the layouts."),
        Register(name="map_crc", access=Access.READ_ONLY,
                 doc="CRC-32 of the layouts' JSON; the host refuses another one."),
        Register(name="capabilities", shape=Capabilities, access=Access.READ_ONLY,
                 doc="Optional blocks in this build."),
        Register(name="build_id", shape=64, access=Access.READ_ONLY,
                 doc="Identifies the gateware: first 8 bytes of the SHA-256 of its netlist's "
                     "parameters and sources."),
        Register(name="geometry", shape=Geometry, access=Access.READ_ONLY,
                 doc="Number of channels, samples per clock and buffer sizes."),
        Register(name="scratch", doc="Does nothing; for link tests.", init=0),
        Register(name="tick_numerator", access=Access.READ_ONLY, unit="ps",
                 doc="One tick is numerator / denominator picoseconds, exactly."),
        Register(name="tick_denominator", access=Access.READ_ONLY,
                 doc="See tick_numerator."),
    ),
)
