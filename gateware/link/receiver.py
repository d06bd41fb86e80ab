"""Frames from the line: stored whole and checked before anybody acts on them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.frames import (
    CRC_BYTES,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    FrameHeader,
)
from quantacore.gateware.link.cobs import CobsDecoder
from quantacore.gateware.link.crc import CRC32
from quantacore.gateware.ram import RAM
from quantacore.gateware.stream import connect_streams

__all__ = ["StoredFrame", "FrameReceiver"]

_FRAMES = 4
_COUNT_AT = FrameHeader.as_shape()["count"].offset // 8


class StoredFrame(data.Struct):
    """A frame that waits in the receiver."""

    #: Its COBS, length or CRC is wrong; its bytes mean nothing.
    bad: 1


class FrameReceiver(wiring.Component):
    """Decodes COBS, stores up to 4 frames, checks length and CRC of each.

    One byte per clock while a store is free; ``i`` stalls with the end of a frame for which there
    is none. A frame is seen 3 clocks after its delimiter was taken.

    Members
    -------
    i : In(stream of bytes)
        The line.
    frames : Out(stream of StoredFrame)
        The oldest frame; accepting it frees its store.
    address : In(8)
        Byte of the oldest frame to look at.
    data : Out(8)
        That byte, 2 clocks later.
    received, dropped : Out(1)
        High for one clock for each right frame, each bad one.
    """

    i: In(stream.Signature(8))
    frames: Out(stream.Signature(StoredFrame))
    address: In(8)
    data: Out(8)
    received: Out(1)
    dropped: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.cobs = cobs = CobsDecoder()
        connect_streams(m, wiring.flipped(self.i), cobs.i)
        m.submodules.crc = check = CRC32()
        m.submodules.store = store = RAM(width=8, depth=256 * _FRAMES)

        fill, oldest = Signal(range(_FRAMES)), Signal(range(_FRAMES))
        held = Signal(range(_FRAMES + 1))
        bad = Signal(_FRAMES)
        length = Signal(range(MAX_FRAME_BYTES + 1))
        expected = Signal(range(HEADER_BYTES + CRC_BYTES + 4 * 255 + 1))
        ended, freed = Signal(), Signal()

        item = cobs.o.p
        is_byte = Signal()
        wrong = Signal()
        m.d.comb += [
            cobs.o.ready.eq(~held[-1]),
            is_byte.eq(cobs.o.valid & cobs.o.ready & ~item.end),
            ended.eq(cobs.o.valid & cobs.o.ready & item.end),
            store.write_address.eq(Cat(length[:8], fill)), store.write_data.eq(item.data),
            store.write.eq(is_byte),
            check.data.eq(item.data), check.valid.eq(is_byte), check.start.eq(ended),
            wrong.eq(item.bad | (length != expected) | ~check.match_detected),
        ]
        with m.If(is_byte):
            m.d.sync += length.eq(length + 1)
            with m.If(length == _COUNT_AT):
                m.d.sync += expected.eq(item.data * 4 + HEADER_BYTES + CRC_BYTES)
        m.d.sync += [self.received.eq(ended & ~wrong), self.dropped.eq(ended & wrong)]
        with m.If(ended):
            # A frame that ends before its count is compared with a length that no frame has.
            m.d.sync += [length.eq(0), expected.eq(0), fill.eq(fill + 1)]
            for i in range(_FRAMES):
                with m.If(fill == i):
                    m.d.sync += bad[i].eq(wrong)
        m.d.comb += [
            self.frames.valid.eq(held != 0),
            self.frames.p.bad.eq(bad.bit_select(oldest, 1)),
            freed.eq(self.frames.valid & self.frames.ready),
            store.read_address.eq(Cat(self.address, oldest)),
            store.read.eq(1),
        ]
        with m.If(freed):
            m.d.sync += oldest.eq(oldest + 1)
        m.d.sync += [held.eq(held + ended - freed), self.data.eq(store.read_data)]
        return m
