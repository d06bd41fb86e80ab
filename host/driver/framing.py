"""Link frames at the host's speed: COBS, CRC and header with C-coded bytes methods.

The format is declared in :mod:`quantacore.gateware.layouts.frames`.
"""

import struct
import zlib

from quantacore.gateware.layouts.frames import HEADER_BYTES, LINK_VERSION, MAX_FRAME_BYTES

__all__ = ["HEADER", "encode_frame", "decode_frame"]

#: version, channel, session, seq, op | answer << 7, count, argument
HEADER = struct.Struct("<BBHHBBH")
#: CRC-32 of anything followed by its own CRC-32.
_RESIDUE = 0x2144DF1C
_CODES = [bytes([i]) for i in range(256)]


def encode_frame(session, seq, op, argument=0, payload=b"", *, channel=0):
    """A request as it goes over the line, final zero included. ``payload`` is bytes."""
    body = HEADER.pack(LINK_VERSION, channel, session, seq, op, len(payload) >> 2, argument)
    body += payload
    body += zlib.crc32(body).to_bytes(4, "little")
    # A frame fits one COBS block, so each run between zeros has a code of its own length + 1.
    return b"".join([_CODES[len(run) + 1] + run for run in body.split(b"\0")]) + b"\0"


def decode_frame(data):
    """Header, payload and CRC of a frame without its final zero; ``None`` if it is damaged.

    Gives the frame before COBS as bytes: ``HEADER.unpack_from`` reads the header, the payload is
    ``[HEADER_BYTES:-CRC_BYTES]``.
    """
    length = len(data)
    if not HEADER_BYTES + 5 <= length <= MAX_FRAME_BYTES + 2:
        return None
    body = bytearray(data)
    if body[0] == 0xFF and length == MAX_FRAME_BYTES + 2 and body[-1] == 1:
        body.pop()  # an encoder that ends a full block with an empty one
        length -= 1
    at = 0
    while at < length:
        code = body[at]
        if not code:
            return None
        body[at] = 0
        at += code
    if at != length or zlib.crc32(memoryview(body)[1:]) != _RESIDUE:
        return None
    if (length - 1 - HEADER_BYTES - 4) != body[8] << 2:
        return None
    return bytes(body[1:])
