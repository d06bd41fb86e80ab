"""Streams: typed queues and a connection that compares shapes."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.ram import RAM

__all__ = ["connect_streams", "Queue", "Merge"]


def connect_streams(m, source, sink):
    """Connect an output stream to an input stream of the very same signature.

    :func:`amaranth.lib.wiring.connect` compares widths, so two different 64-bit structures would
    connect in silence. This raises :exc:`TypeError` unless payload shape, ``always_valid`` and
    ``always_ready`` agree.
    """
    if source.signature != sink.signature.flip():
        raise TypeError(f"Can't connect a stream of {source.signature!r} to one of "
                        f"{sink.signature!r}")
    wiring.connect(m, source, sink)


class Queue(wiring.Component):
    """First-in first-out queue in RAM, one transfer per clock in and out.

    Where the RAM is a block RAM the output's payload comes late in the clock: it should meet
    nothing but a register.

    Parameters
    ----------
    shape : shape-like
        Payload.
    depth : int
        Entries.

    Members
    -------
    i, o : stream
        Input and output. Latency is 2 clocks from an empty queue.
    level : Out(range(depth + 1))
        Entries held.
    """

    def __init__(self, shape, *, depth):
        if not isinstance(depth, int):
            raise TypeError(f"Queue depth must be an integer, not {depth!r}")
        if depth < 2:
            raise ValueError(f"Queue depth must be at least 2, not {depth}")
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.shape).width
        # One entry stands at the output: the word that the memory was last asked for.
        address_bits = max(1, (self.depth - 2).bit_length())
        m.submodules.store = store = RAM(width=width, depth=1 << address_bits, block=False)
        into, out, fetch = Signal(), Signal(), Signal()
        full = Signal()
        # Entries in the memory, and whether there are any.
        stored, some = Signal(range(self.depth)), Signal()
        m.d.comb += [
            into.eq(self.i.valid & self.i.ready), out.eq(self.o.valid & self.o.ready),
            fetch.eq(some & (~self.o.valid | self.o.ready)),
            self.i.ready.eq(~full),
            store.write.eq(into), store.write_data.eq(Value.cast(self.i.payload)),
            store.read.eq(fetch), Value.cast(self.o.payload).eq(store.read_data),
        ]
        with m.If(into):
            m.d.sync += store.write_address.eq(store.write_address + 1)
        with m.If(fetch):
            m.d.sync += [store.read_address.eq(store.read_address + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(into & ~fetch):
            m.d.sync += [stored.eq(stored + 1), some.eq(1)]
        with m.Elif(fetch & ~into):
            m.d.sync += [stored.eq(stored - 1), some.eq(stored != 1)]
        with m.If(into & ~out):
            m.d.sync += [self.level.eq(self.level + 1), full.eq(self.level == self.depth - 1)]
        with m.Elif(out & ~into):
            m.d.sync += [self.level.eq(self.level - 1), full.eq(0)]
        return m


class Merge(wiring.Component):
    """Two streams into one: nothing is lost, each keeps its order, and neither waits for long.

    Where both have something they take turns. No latency, a transfer per clock. A transfer that
    has been offered at ``o`` stays until it is taken.

    Parameters
    ----------
    shape : shape-like
        Payload.

    Members
    -------
    i : In(stream).array(2)
    o : Out(stream)
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)).array(2),
                          "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        first, second = self.i
        # Who went last, and whether its transfer is still being offered.
        last, held = Signal(), Signal()
        choice = Signal()
        m.d.comb += choice.eq(Mux(held, last, Mux(last, ~first.valid, second.valid)))
        m.d.sync += [last.eq(choice), held.eq(self.o.valid & ~self.o.ready)]
        m.d.comb += [
            self.o.valid.eq(Mux(choice, second.valid, first.valid)),
            self.o.payload.eq(Mux(choice, second.payload, first.payload)),
            first.ready.eq(self.o.ready & ~choice),
            second.ready.eq(self.o.ready & choice),
        ]
        return m
