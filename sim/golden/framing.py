"""Golden model of the link's frames: COBS, CRC-32, and the fields of a frame.

Written from ``docs/link.md``; shares only the layouts with the gateware.
"""

import zlib
from dataclasses import dataclass

from quantacore.gateware.layouts.frames import (
    CRC_BYTES,
    HEADER_BYTES,
    LINK_VERSION,
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_WORDS,
    STREAM_RECORDS,
    Channel,
    FrameHeader,
    Op,
)

__all__ = ["Frame", "BadFrame", "CobsError", "FrameDecoder", "cobs_decode", "cobs_encode",
           "crc32", "decode", "encode", "frame_bytes", "parse_frame", "stream_frame",
           "stream_records"]


class CobsError(ValueError):
    """Bytes that no COBS encoder makes; the message says where."""


def cobs_encode(data):
    """COBS without the delimiter, in its shortest form: a last block of 254 bytes ends alone.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    bytes
        ``len(data) + 1`` bytes for up to 254, none of them zero.
    """
    blocks = []
    rest = bytes(data)
    while True:
        zero = rest.find(0)
        length = len(rest) if zero < 0 else zero
        if length >= 254:
            blocks.append(b"\xff" + rest[:254])
            rest = rest[254:]
            if not rest:
                break
            continue
        blocks.append(bytes([length + 1]) + rest[:length])
        if zero < 0:
            break
        rest = rest[length + 1:]
    return b"".join(blocks)


def cobs_decode(data):
    """Inverse of :func:`cobs_encode`; ``data`` is what stands before the delimiter.

    Raises
    ------
    CobsError
        A zero byte inside, a block that is longer than what is left, or nothing at all.
    """
    if not data:
        raise CobsError("an empty frame has no COBS code")
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        block = data[at + 1:at + code]
        if code == 0 or 0 in block:
            raise CobsError(f"zero byte inside the frame, in the block at byte {at}")
        if len(block) != code - 1:
            raise CobsError(f"the block at byte {at} should have {code - 1} bytes, "
                            f"{len(block)} are left")
        out += block
        at += code
        if code != 0xFF and at < len(data):
            out.append(0)
    return bytes(out)


def crc32(data):
    """The CRC-32 of Ethernet and zlib."""
    return zlib.crc32(data)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame. ``channel`` and ``op`` are integers, so that unknown ones can be written down.

    ``op`` has 7 bits, ``payload`` is a tuple of 32-bit words; ``argument`` is 16 bits: an address
    in a request, ``status | done << 8`` in an answer.
    """

    channel: int = Channel.REGISTER.value
    session: int = 0
    seq: int = 0
    op: int = Op.PING.value
    answer: bool = False
    argument: int = 0
    payload: tuple = ()
    version: int = LINK_VERSION

    @property
    def status(self):
        """Status code of an answer (an integer)."""
        return self.argument & 0xFF

    @property
    def done(self):
        """Words that a refused burst did."""
        return self.argument >> 8


@dataclass(frozen=True)
class BadFrame:
    """Bytes between two delimiters that are no frame; ``reason`` is cobs, long, length or crc."""

    reason: str
    detail: str = ""


def frame_bytes(frame):
    """Header, payload and CRC of a frame, before COBS."""
    if len(frame.payload) > MAX_PAYLOAD_WORDS:
        raise ValueError(f"A frame holds at most {MAX_PAYLOAD_WORDS} payload words, "
                         f"not {len(frame.payload)}")
    shape = FrameHeader.as_shape()
    values = {
        "version": frame.version, "channel": frame.channel, "session": frame.session,
        "seq": frame.seq, "op": frame.op, "answer": int(frame.answer),
        "count": len(frame.payload), "argument": frame.argument,
    }
    bits = 0
    for name, field in shape:
        width = field.width
        if not 0 <= values[name] < 1 << width:
            raise ValueError(f"Field {name} must fit {width} bits, not {values[name]!r}")
        bits |= values[name] << field.offset
    body = bits.to_bytes(HEADER_BYTES, "little")
    body += b"".join(word.to_bytes(4, "little") for word in frame.payload)
    return body + crc32(body).to_bytes(CRC_BYTES, "little")


def encode(frame):
    """The bytes of a frame on the line, with the delimiter."""
    return cobs_encode(frame_bytes(frame)) + b"\0"


def parse_frame(data):
    """The :class:`Frame` in ``data`` (after COBS decoding), or a :class:`BadFrame`."""
    if len(data) > MAX_FRAME_BYTES:
        return BadFrame("long", f"{len(data)} bytes")
    if len(data) < HEADER_BYTES + CRC_BYTES:
        return BadFrame("length", f"{len(data)} bytes are fewer than a header and a CRC")
    count = data[FrameHeader.as_shape()["count"].offset // 8]
    if len(data) != HEADER_BYTES + 4 * count + CRC_BYTES:
        return BadFrame("length", f"{len(data)} bytes, count says {count} words")
    body, crc = data[:-CRC_BYTES], int.from_bytes(data[-CRC_BYTES:], "little")
    if crc32(body) != crc:
        return BadFrame("crc", f"{crc:#010x} is not {crc32(body):#010x}")
    bits = int.from_bytes(body[:HEADER_BYTES], "little")
    values = {name: bits >> field.offset & ((1 << field.width) - 1)
              for name, field in FrameHeader.as_shape()}
    values.pop("count")
    values["answer"] = bool(values["answer"])
    payload = tuple(int.from_bytes(body[at:at + 4], "little")
                    for at in range(HEADER_BYTES, len(body), 4))
    return Frame(payload=payload, **values)


def decode(data):
    """The :class:`Frame` or :class:`BadFrame` in the bytes that stand before one delimiter."""
    if len(data) > MAX_FRAME_BYTES + 1:
        return BadFrame("long", f"{len(data)} bytes without a delimiter")
    try:
        raw = cobs_decode(data)
    except CobsError as error:
        return BadFrame("cobs", str(error))
    return parse_frame(raw)


class FrameDecoder:
    """Takes bytes as they come, gives frames as they end.

    A lone delimiter is nothing. A frame without an end is found bad when its delimiter comes at
    last; no more than one frame's bytes are kept.
    """

    def __init__(self):
        self._bytes = bytearray()
        self._long = False

    def feed(self, data):
        """Take bytes in; return a list of :class:`Frame` and :class:`BadFrame` that ended."""
        found = []
        for byte in bytes(data):
            if byte:
                if len(self._bytes) <= MAX_FRAME_BYTES:
                    self._bytes.append(byte)
                else:
                    self._long = True
                continue
            if self._long:
                found.append(BadFrame("long", f"over {MAX_FRAME_BYTES + 1} bytes without a "
                                              f"delimiter"))
            elif self._bytes:
                found.append(decode(bytes(self._bytes)))
            self._bytes.clear()
            self._long = False
        return found


def stream_frame(*, session, seq, index, records, channel=Channel.TAGS.value):
    """The STREAM frame with ``records`` (64-bit integers), the first of them number ``index``."""
    if not 1 <= len(records) <= STREAM_RECORDS:
        raise ValueError(f"A stream frame holds 1 to {STREAM_RECORDS} records, "
                         f"not {len(records)}")
    payload = [index & 0xFFFFFFFF]
    for record in records:
        payload += [record & 0xFFFFFFFF, record >> 32]
    return Frame(channel=channel, session=session, seq=seq & 0xFFFF, op=Op.STREAM.value,
                 answer=True, argument=0, payload=tuple(payload))


def stream_records(frame):
    """``(index of the first record, records)`` of a STREAM frame."""
    words = frame.payload
    if len(words) < 3 or len(words) % 2 == 0:
        raise ValueError(f"A stream frame has an index and pairs of words, not {len(words)} words")
    return words[0], tuple(words[i] | words[i + 1] << 32 for i in range(1, len(words), 2))
