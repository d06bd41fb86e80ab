"""A stage that cuts the path of ``ready``."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Two places in registers: neither ``ready`` nor data pass through in the same clock.

    Latency: 1 clock; one transfer per clock.

    Parameters
    ----------
    shape : shape-like
        Payload.

    Members
    -------
    i, o : stream
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare, spare_valid, free = Signal(self.shape), Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~spare_valid), free.eq(~self.o.valid | self.o.ready)]
        with m.If(~spare_valid):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(self.i.valid & ~free)]
        with m.Elif(free):
            m.d.sync += spare_valid.eq(0)
        with m.If(free):
            m.d.sync += [
                self.o.payload.eq(Mux(spare_valid, Value.cast(spare), Value.cast(self.i.payload))),
                self.o.valid.eq(spare_valid | self.i.valid),
            ]
        return m
