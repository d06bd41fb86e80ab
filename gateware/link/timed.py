"""Register writes that happen at a tick."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.frames import TIMED_WRITE_DEPTH

__all__ = ["TimedWrite", "BusWrite", "TimedWrites"]

#: No other register traffic begins within so many ticks before a timed write.
_CLEAR = 64
#: Clocks from a difference to the write strobe: the difference, its comparison, the strobe.
_LEAD = 3


class TimedWrite(data.Struct):
    """A register write and its tick."""

    value: 32
    address: 16
    tick: 64


class BusWrite(data.Struct):
    """A write for the register bus."""

    value: 32
    address: 16


class TimedWrites(wiring.Component):
    """Queue of timed writes, strictly in the order of their ticks.

    A write leaves by ``o`` such that a bus driven from a register has its strobe while the tick
    counter reads the asked tick. Its caller sees to ``TIMED_WRITE_MARGIN`` and
    ``TIMED_WRITE_GAP``. A write whose tick is missed all the same (the counter jumped) leaves at
    once: nothing waits for ever.

    Parameters
    ----------
    depth : int
        Writes that can wait, a power of two.

    Members
    -------
    tick : In(64)
    i : In(stream of TimedWrite)
        Not ready with ``depth`` writes in wait.
    o : Out(stream of BusWrite, always_ready)
        Valid for one clock, in the tick before the asked one.
    level : Out(range(depth + 1))
        Writes in wait.
    clear : Out(1)
        No write will leave within 32 ticks, and the last one that left is done.
    """

    def __init__(self, *, depth=TIMED_WRITE_DEPTH):
        if not isinstance(depth, int):
            raise TypeError(f"Depth of timed writes must be an integer, not {depth!r}")
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"Depth of timed writes must be a power of two from 2 up, "
                             f"not {depth}")
        self.depth = depth
        super().__init__({
            "tick": In(64),
            "i": In(stream.Signature(TimedWrite)),
            "o": Out(stream.Signature(BusWrite, always_ready=True)),
            "level": Out(range(depth + 1)),
            "clear": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(
            shape=TimedWrite, depth=self.depth, init=[])
        write = store.write_port()
        read = store.read_port(domain="comb")
        into, out_of = Signal(range(self.depth)), Signal(range(self.depth))
        stored = Signal(range(self.depth + 1))  # not counting the head
        head = Signal(TimedWrite)
        head_valid, load, due = Signal(), Signal(), Signal()

        m.d.comb += [
            self.i.ready.eq(~self.level[-1]),
            write.addr.eq(into), write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
            read.addr.eq(out_of),
            load.eq(~head_valid & (stored != 0)),
        ]
        m.d.sync += [
            into.eq(into + write.en), out_of.eq(out_of + load),
            stored.eq(stored + write.en - load),
            self.level.eq(self.level + write.en - self.o.valid),
        ]
        with m.If(load):
            m.d.sync += [head.eq(read.data), head_valid.eq(1)]

        # Clock 1: ticks to go. Clock 2: is it now, is it far off?
        to_go = Signal(signed(65))
        compared, far = Signal(), Signal()
        m.d.sync += [
            to_go.eq(head.tick - self.tick),
            compared.eq(head_valid & ~due),
            due.eq(compared & head_valid & ~due & (to_go <= _LEAD)),
            far.eq(compared & head_valid & ~due & (to_go >= _CLEAR)),
        ]
        m.d.comb += [
            self.o.valid.eq(due), self.o.p.value.eq(head.value),
            self.o.p.address.eq(head.address),
        ]
        with m.If(due):
            m.d.sync += [head_valid.eq(0), compared.eq(0)]

        # The bus is busy with a write for some clocks after it left.
        busy = Signal(3)
        with m.If(due):
            m.d.sync += busy.eq(7)
        with m.Elif(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        m.d.sync += self.clear.eq((busy == 0) & ~due & ~write.en &
                                  ((self.level == 0) | (far & head_valid)))
        return m
