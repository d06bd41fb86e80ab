"""Registers of the link: statistics and the session."""

from amaranth.lib import data

from quantacore.gateware.layouts.registers import Access, Block, Register, sticky_registers

__all__ = ["LinkFlags", "LINK"]


class LinkFlags(data.Struct):
    """Things that go wrong on a link."""

    #: A frame with a wrong CRC, COBS code or length.
    bad_frame: 1
    #: A byte arrived with nowhere to put it.
    overrun: 1
    #: A UART stop bit was not there.
    framing: 1
    #: A timed write was asked for too late and refused.
    late_write: 1
    #: The host was silent for a lease: from now on another one may take its session over.
    lease_expired: 1
    #: A timed write came to an address where nothing can be written.
    timed_refused: 1


def _count(name, doc):
    return Register(name=name, access=Access.READ_ONLY, doc=doc, unit="frames")


LINK = Block(
    name="link",
    doc="The host link. All counts wrap and start at reset.",
    registers=(
        Register(name="session", shape=16, access=Access.READ_ONLY,
                 doc="The open session; 0 is none."),
        Register(name="lease", init=125_000_000, unit="ticks",
                 doc="A session whose host says nothing for so long may be replaced; 0 is for "
                     "ever."),
        _count("frames_received", "Frames with a right CRC."),
        _count("frames_bad", "Frames dropped for their CRC, COBS code or length."),
        _count("requests_done", "Requests carried out."),
        _count("requests_repeated", "Requests answered again from memory, not carried out again."),
        _count("requests_refused", "Requests answered with a NAK."),
        _count("frames_sent", "Frames sent, answers and streams."),
        Register(name="bytes_received", access=Access.READ_ONLY, unit="bytes",
                 doc="Bytes taken from the line."),
        Register(name="bytes_sent", access=Access.READ_ONLY, unit="bytes",
                 doc="Bytes put on the line."),
        Register(name="timed_writes_pending", shape=8, access=Access.READ_ONLY,
                 doc="WRITE_AT requests that wait for their tick."),
        Register(name="timed_writes_done", access=Access.READ_ONLY,
                 doc="WRITE_AT requests that were carried out at their tick."),
        *sticky_registers(LinkFlags),
    ),
)
