"""Link frames: what travels between host and node, before COBS.

A frame is a :class:`FrameHeader`, ``count`` payload words of 32 bits, and a CRC-32 (the one of
Ethernet and zlib) over both, all little-endian. COBS removes the zero bytes and one zero byte
ends a frame; a lone zero byte is an empty frame and ignored. ``docs/link.md`` has the grammar,
worked examples and the reasons.
"""

from amaranth.lib import data, enum

__all__ = [
    "LINK_VERSION", "MAX_PAYLOAD_WORDS", "MAX_FRAME_BYTES", "HEADER_BYTES", "CRC_BYTES",
    "WINDOW", "STREAM_RECORDS", "TIMED_WRITE_DEPTH", "TIMED_WRITE_MARGIN", "TIMED_WRITE_GAP",
    "Channel", "Op", "Status", "CreditFlags", "FrameHeader",
]

#: Version of the frame format; the first byte of every frame.
LINK_VERSION = 1
#: Payload words in a frame at most.
MAX_PAYLOAD_WORDS = 60
HEADER_BYTES = 10
CRC_BYTES = 4
#: Longest frame before COBS; fits one COBS block, so encoding adds two bytes (code, delimiter).
MAX_FRAME_BYTES = HEADER_BYTES + 4 * MAX_PAYLOAD_WORDS + CRC_BYTES
#: Requests that may be unanswered at a time, and answers that a node keeps for retries.
WINDOW = 4
#: 64-bit records in a stream frame at most (one payload word is the record index).
STREAM_RECORDS = (MAX_PAYLOAD_WORDS - 1) // 2
#: Timed writes that can wait.
TIMED_WRITE_DEPTH = 16
#: A timed write must be asked for at least so many ticks ahead; else it is LATE.
TIMED_WRITE_MARGIN = 16
#: Two timed writes are at least so many ticks apart; else the second is UNORDERED.
TIMED_WRITE_GAP = 8


class Channel(enum.Enum, shape=8):
    """Who a frame is for."""

    REGISTER = 0
    TAGS = 1


class Op(enum.Enum, shape=7):
    """What a request asks for; its answer has the same code and ``answer`` set.

    "a" is the header's ``argument``; "n" is its ``count``.
    """

    #: Open a session. Payload: low half new session number, high half the session it replaces
    #: (0: none). Answer: map CRC, then ``WINDOW | MAX_PAYLOAD_WORDS << 8``.
    SYNC = 1
    #: Payload: number of words. Answer: that many registers from address a up.
    READ = 2
    #: Payload: number of words. Answer: register a, read that many times.
    READ_FIXED = 3
    #: Payload: n words, written from address a up.
    WRITE = 4
    #: Payload: n words, written to register a one after the other.
    WRITE_FIXED = 5
    #: Payload: mask, value. Register a becomes ``(old & ~mask) | (value & mask)``. Answer: old.
    RMW = 6
    #: Payload: tick low, tick high, value. Register a is written at that tick.
    WRITE_AT = 7
    #: Stream a: payload acknowledged record index, limit index, :class:`CreditFlags`. Answer: next
    #: index to send, next index to be written.
    CREDIT = 8
    #: Keep the session alive. Answer: tick low, tick high.
    PING = 9
    #: Node to host only: payload record index, then 64-bit records, low word first.
    STREAM = 16


class Status(enum.Enum, shape=8):
    """Whether a request was carried out, in the low byte of an answer's ``argument``."""

    ACK = 0
    #: A frame arrived whose CRC, COBS or length is wrong. Not the answer to a request: ``seq`` is
    #: the request number the node expects next.
    BAD_FRAME = 1
    #: The frame's version byte is not this node's; payload: the node's version.
    BAD_VERSION = 2
    BAD_CHANNEL = 3
    BAD_OP = 4
    #: The payload has the wrong number of words for the operation, or too many are asked for.
    BAD_LENGTH = 5
    #: No register at that address; payload: the address.
    UNMAPPED = 6
    #: Payload: the address.
    READ_ONLY = 7
    #: Payload: the address.
    WRITE_ONLY = 8
    #: The session is not the node's; payload: the node's session (0: none, as after a reset).
    NO_SESSION = 9
    #: SYNC while another session is alive; payload: that session.
    BUSY = 10
    #: A request number beyond the one expected; payload: the one expected.
    OUT_OF_ORDER = 11
    #: WRITE_AT for a tick that is past; payload: tick low, tick high of its arrival.
    LATE = 12
    #: WRITE_AT with its queue full.
    QUEUE_FULL = 13
    #: WRITE_AT earlier than ``TIMED_WRITE_GAP`` ticks after the one queued last.
    UNORDERED = 14
    #: A value that the operation does not accept (for CREDIT: an index outside the buffer).
    OUT_OF_RANGE = 15


class CreditFlags(data.Struct):
    """The third word of a CREDIT request."""

    #: The next record to send is the acknowledged one.
    rewind: 1
    #: Leave acknowledged index and limit as they are; the request's are ignored.
    keep: 1


class FrameHeader(data.Struct):
    """The first ten bytes of a frame."""

    version: 8
    channel: 8
    session: 16
    #: Request number; an answer repeats it. In a stream frame, the frame number.
    seq: 16
    op: Op
    #: 1 from node to host.
    answer: 1
    #: Payload words.
    count: 8
    #: Request: word address or stream channel. Answer: :class:`Status` in the low byte; the high
    #: byte is the number of words done before a burst failed.
    argument: 16
