"""Heralded erasures: known places where an edge costs nothing."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.decoder import DecoderShape

__all__ = ["CHUNK", "Eraser", "chunks"]

#: Erasure flags in a word of the engine's memory of them.
CHUNK = 32


def chunks(shape):
    """Words of erasure flags of one layer."""
    return -(-shape.sites // CHUNK)


class Eraser(wiring.Component):
    """Sends the shortcuts of every erasure in the window, by layer, then by site.

    Time: four clocks for each word of flags; for each erasure five, and three per shortcut.

    Parameters
    ----------
    shape : DecoderShape
        With ``sites`` > 0.

    Members
    -------
    start, busy, layers
    flags_layer, flags_chunk : Out
        Address of a word of flags, whose ``flags_data`` comes 2 clocks later.
    erase_address, erase_data, short_address, short_data
        Read ports (2 clocks) of the ERASE and SHORT tables.
    shortcuts : Out(stream)
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        if not shape.sites:
            raise ValueError("This decoder is built without erasure sites (sites=0)")
        self.shape = shape
        super().__init__({
            "start": In(1), "busy": Out(1), "layers": In(shape.time_bits + 1),
            "flags_layer": Out(shape.time_bits), "flags_chunk": Out(range(chunks(shape))),
            "flags_data": In(CHUNK),
            "erase_address": Out(shape.site_bits), "erase_data": In(shape.erase_word),
            "short_address": Out(shape.shortcut_bits), "short_data": In(shape.short_word),
            "shortcuts": Out(stream.Signature(shape.shortcut)),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        layer = Signal(shape.time_bits + 1)
        chunk = Signal(range(chunks(shape)))
        wait = Signal(2)
        flags = Signal(CHUNK)
        chosen = Signal(CHUNK)
        site = Signal(5)
        for index in range(5):
            m.d.comb += site[index].eq(
                Cat(chosen[bit] for bit in range(CHUNK) if bit >> index & 1).any())
        left = Signal(shape.erase_word["count"].shape)
        pointer = Signal(shape.shortcut_bits)
        short = self.short_data
        m.d.comb += [
            self.busy.eq(1), self.flags_layer.eq(layer), self.flags_chunk.eq(chunk),
            self.short_address.eq(pointer),
            self.shortcuts.payload.u.eq(short.u),
            self.shortcuts.payload.u_layer.eq(short.u_layer + layer),
            self.shortcuts.payload.v.eq(short.v),
            self.shortcuts.payload.v_layer.eq(short.v_layer + layer),
            self.shortcuts.payload.boundary.eq(short.boundary),
            self.shortcuts.payload.weight.eq(short.weight),
            self.shortcuts.payload.obs.eq(short.obs),
        ]
        address = Signal(shape.site_bits)
        m.d.comb += self.erase_address.eq(address)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [layer.eq(0), chunk.eq(0), wait.eq(0)]
                    m.next = "flags"
            with m.State("flags"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(layer == self.layers):
                    m.next = "idle"
                with m.Elif(wait == 2):
                    m.d.sync += [flags.eq(self.flags_data), wait.eq(0)]
                    m.next = "choose"
            with m.State("choose"):
                m.d.sync += [chosen.eq(flags & -flags), flags.eq(flags & (flags - 1))]
                with m.If(flags.any()):
                    m.next = "site"
                with m.Else():
                    with m.If(chunk == chunks(shape) - 1):
                        m.d.sync += [chunk.eq(0), layer.eq(layer + 1)]
                    with m.Else():
                        m.d.sync += chunk.eq(chunk + 1)
                    m.next = "flags"
            with m.State("site"):
                m.d.sync += [address.eq(Cat(site, chunk)), wait.eq(0)]
                m.next = "table"
            with m.State("table"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == 2):
                    m.d.sync += [pointer.eq(self.erase_data.start),
                                 left.eq(self.erase_data.count), wait.eq(0)]
                    m.next = "shortcut"
            with m.State("shortcut"):
                with m.If(left == 0):
                    m.d.sync += wait.eq(0)
                    m.next = "choose"
                with m.Elif(wait != 2):
                    m.d.sync += wait.eq(wait + 1)
                with m.Else():
                    m.d.comb += self.shortcuts.valid.eq(1)
                    with m.If(self.shortcuts.ready):
                        m.d.sync += [pointer.eq(pointer + 1), left.eq(left - 1), wait.eq(0)]
        return m
