"""COBS: frames on a byte stream. A zero byte ends a frame and is nowhere else."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from quantacore.gateware.layouts.frames import MAX_FRAME_BYTES
from quantacore.gateware.ram import RAM

__all__ = ["FrameByte", "FrameItem", "CobsDecoder", "CobsEncoder"]


class FrameByte(data.Struct):
    """One byte of a frame to be encoded."""

    data: 8
    #: This is the frame's last byte.
    last: 1


class FrameItem(data.Struct):
    """What a decoder finds: a byte of a frame, or its end."""

    #: The byte; means nothing in an end.
    data: 8
    #: The frame is over; every frame has one such item, the last.
    end: 1
    #: With ``end``: these bytes are no frame, forget them.
    bad: 1


def _longest(max_bytes):
    if not isinstance(max_bytes, int):
        raise TypeError(f"Longest frame must be an integer, not {max_bytes!r}")
    if not 1 <= max_bytes <= 254:
        raise ValueError(f"Longest frame must be 1 to 254 bytes, not {max_bytes}")
    return max_bytes


class CobsDecoder(wiring.Component):
    """Takes the line's bytes apart into frames.

    One byte per clock; ``o`` follows one clock after ``i``. A lone zero byte gives nothing. A
    frame with a zero byte inside a block, or of more than ``max_bytes``, ends bad at its zero
    byte; the next frame is not touched by it. At most ``max_bytes`` bytes are given out per
    frame.

    Parameters
    ----------
    max_bytes : int
        Longest frame, 1 to 254 bytes.

    Members
    -------
    i : In(stream of bytes)
    o : Out(stream of FrameItem)
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(FrameItem))

    def __init__(self, *, max_bytes=MAX_FRAME_BYTES):
        self.max_bytes = _longest(max_bytes)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        byte = self.i.payload
        left = Signal(8)  # bytes of the block still to come
        begun = Signal()  # the frame has had its first code byte
        full = Signal()  # the block has code 0xff: no zero follows it
        bad = Signal()
        length = Signal(range(self.max_bytes + 1))
        at_limit = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            at_limit.eq(length == self.max_bytes),
        ]

        def give(value):
            m.d.sync += [self.o.valid.eq(1), self.o.p.data.eq(value), length.eq(length + 1)]

        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(0), self.o.p.end.eq(0), self.o.p.bad.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            with m.If(byte == 0):
                m.d.sync += [
                    self.o.valid.eq(begun), self.o.p.end.eq(1), self.o.p.bad.eq(bad | (left != 0)),
                    left.eq(0), begun.eq(0), full.eq(0), bad.eq(0), length.eq(0),
                ]
            with m.Elif(~bad):
                with m.If(left == 0):
                    m.d.sync += [left.eq(byte - 1), full.eq(byte == 0xFF), begun.eq(1)]
                    with m.If(begun):
                        with m.If(at_limit):
                            m.d.sync += bad.eq(1)
                        with m.Elif(~full):
                            give(0)
                with m.Else():
                    m.d.sync += left.eq(left - 1)
                    with m.If(at_limit):
                        m.d.sync += bad.eq(1)
                    with m.Else():
                        give(byte)
        return m


class CobsEncoder(wiring.Component):
    """Makes frames into bytes for the line, each with a zero byte at its end.

    A code byte counts the bytes to the next zero, so a frame is stored before it is sent. There
    are two stores: one is filled while the other is sent. Every byte needs one memory write: a
    byte that is not zero is stored, a zero byte stores the code of the block that it ends.

    Takes one byte per clock and 2 clocks more per frame; gives one per clock. The first byte
    comes 5 clocks after a frame's last. Once :attr:`free` is high a whole frame is taken without
    a stall.

    Parameters
    ----------
    max_bytes : int
        Longest frame, 1 to 254 bytes: one code byte covers a frame.

    Members
    -------
    i : In(stream of FrameByte)
        Frames of 1 to ``max_bytes`` bytes; more is the caller's error.
    o : Out(stream of bytes)
    free : Out(1)
        A store is free for a frame, or is being filled.
    sent : Out(1)
        High for one clock when the end of a frame has been taken from ``o``.
    """

    i: In(stream.Signature(FrameByte))
    o: Out(stream.Signature(8))
    free: Out(1)
    sent: Out(1)

    def __init__(self, *, max_bytes=MAX_FRAME_BYTES):
        self.max_bytes = _longest(max_bytes)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        bits = ceil_log2(self.max_bytes + 2)
        m.submodules.store = store = RAM(width=8, depth=2 << bits)

        # Filling. Position 0 is the first code byte; byte n of the frame is at n + 1.
        fill = Signal()  # which store
        position = Signal(bits, init=1)
        code_at = Signal(bits)
        full = Signal(2)
        ends = Array(Signal(bits, name=f"end_{i}") for i in range(2))
        filled, emptied = Signal(), Signal()
        stage = Signal(8)
        stage_at = Signal(bits + 1)
        stage_en = Signal()
        m.d.comb += [
            store.write.eq(stage_en), store.write_address.eq(stage_at),
            store.write_data.eq(stage),
        ]
        m.d.sync += stage_en.eq(0)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [self.free.eq(~full.bit_select(fill, 1)), self.i.ready.eq(self.free)]
                with m.If(self.i.valid & self.free):
                    m.d.sync += [stage_en.eq(1), position.eq(position + 1)]
                    with m.If(self.i.p.data == 0):
                        m.d.sync += [stage_at.eq(Cat(code_at, fill)),
                                     stage.eq(position - code_at), code_at.eq(position)]
                    with m.Else():
                        m.d.sync += [stage_at.eq(Cat(position, fill)), stage.eq(self.i.p.data)]
                    with m.If(self.i.p.last):
                        m.next = "CODE"
            with m.State("CODE"):
                m.d.sync += [stage_en.eq(1), stage_at.eq(Cat(code_at, fill)),
                             stage.eq(position - code_at)]
                m.next = "DELIMITER"
            with m.State("DELIMITER"):
                m.d.sync += [stage_en.eq(1), stage_at.eq(Cat(position, fill)), stage.eq(0),
                             ends[fill].eq(position), position.eq(1), code_at.eq(0),
                             fill.eq(~fill)]
                m.d.comb += filled.eq(1)
                m.next = "TAKE"

        # Sending: address, memory, output register. A store is free again when its last byte has
        # left the memory.
        drain = Signal()
        at = Signal(bits)
        at_end = Signal()
        in_memory, memory_last = Signal(), Signal()
        last = Signal()
        step_out, step_memory, reading = Signal(), Signal(), Signal()
        m.d.comb += [
            step_out.eq(~self.o.valid | self.o.ready),
            step_memory.eq(~in_memory | step_out),
            reading.eq(full.bit_select(drain, 1)),
            at_end.eq(at == ends[drain]),
            store.read_address.eq(Cat(at, drain)),
            store.read.eq(step_memory & reading),
            emptied.eq(step_memory & reading & at_end),
            self.sent.eq(self.o.valid & self.o.ready & last),
        ]
        with m.If(step_memory):
            m.d.sync += [in_memory.eq(reading), memory_last.eq(at_end)]
            with m.If(reading):
                m.d.sync += at.eq(at + 1)
                with m.If(at_end):
                    m.d.sync += [at.eq(0), drain.eq(~drain)]
        with m.If(step_out):
            m.d.sync += [self.o.valid.eq(in_memory), self.o.payload.eq(store.read_data),
                         last.eq(memory_last)]
        for i in range(2):
            with m.If(filled & (fill == i)):
                m.d.sync += full[i].eq(1)
            with m.Elif(emptied & (drain == i)):
                m.d.sync += full[i].eq(0)
        return m
