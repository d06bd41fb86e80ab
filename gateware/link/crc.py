"""The frame check: CRC-32 of IEEE 802.3, a byte or more per clock."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CRC32"]

#: The polynomial, lowest power in the top bit, as the register is.
_POLYNOMIAL = 0xEDB88320
#: What stays in the register behind a message and its CRC.
_RESIDUE = 0xDEBB20E3


def _step(value, bits):
    for _ in range(bits):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


class CRC32(wiring.Component):
    """CRC-32 as in Ethernet, zlib and PNG.

    The same as ``amaranth.lib.crc`` with ``CRC32_ETHERNET``, but written by words, not bit by bit,
    so that a simulator has few operations to do.

    Parameters
    ----------
    width : int
        Bits taken in a clock, first byte lowest: 8, 16 or 32.

    Members
    -------
    start : In(1)
        Begin anew. A byte that comes in the same clock is the first.
    valid : In(1)
        Take ``data``.
    data : In(width)
    crc : Out(32)
        CRC of the bytes so far, one clock after the last of them; lowest byte goes first.
    match_detected : Out(1)
        The bytes so far end with the CRC of those before.
    """

    def __init__(self, width=8):
        if width not in (8, 16, 32):
            raise ValueError(f"Width of a CRC-32 must be 8, 16 or 32, not {width!r}")
        self.width = width
        super().__init__({"start": In(1), "valid": In(1), "data": In(width), "crc": Out(32),
                          "match_detected": Out(1)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(32, init=0xFFFFFFFF)
        before = Signal(32)
        m.d.comb += [
            before.eq(Mux(self.start, 0xFFFFFFFF, state)),
            self.crc.eq(~state),
            self.match_detected.eq(state == _RESIDUE),
        ]
        low = Signal(self.width)
        m.d.comb += low.eq(before[:self.width] ^ self.data)
        after = before >> self.width
        for bit in range(self.width):
            after = after ^ (low[bit].replicate(32) & _step(1 << bit, self.width))
        with m.If(self.valid):
            m.d.sync += state.eq(after)
        with m.Elif(self.start):
            m.d.sync += state.eq(before)
        return m
