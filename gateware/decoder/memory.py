"""Memories of the decoder: one write port, read ports with two clocks from address to data."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TableMemory"]

#: Depth up to which a memory is built of look-up tables.
_DISTRIBUTED = 64


class TableMemory(wiring.Component):
    """A memory with registered outputs.

    A read address driven in clock t gives its data in clock t + 2. What was written in clock t is
    seen by reads whose address is driven in clock t + 1 or later; a read in the very clock of the
    write gives the old or the new word. Contents are undefined on silicon until written, 0 in
    simulation. Not reset.

    Deep memories go to block RAM (whose own register is the first clock; see
    :class:`~quantacore.gateware.ram.RAM` for why the port is written this way), small
    ones to look-up tables (whose address register is the first clock).

    Parameters
    ----------
    shape : shape-like
        Word.
    depth : int
        Words.
    reads : int
        Read ports; each further one is a copy of the memory on parts whose blocks have two ports.

    Members
    -------
    write, write_address, write_data
        A word is stored with the clock in which ``write`` is high.
    address : In(range(depth)).array(reads)
    data : Out(shape).array(reads)
    """

    def __init__(self, shape, *, depth, reads=1):
        if not isinstance(depth, int):
            raise TypeError(f"Memory depth must be an integer, not {depth!r}")
        if depth < 2:
            raise ValueError(f"Memory depth must be at least 2, not {depth}")
        if reads < 1:
            raise ValueError(f"A memory needs at least one read port, not {reads}")
        self.shape = shape
        self.depth = depth
        self.reads = reads
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(shape),
            "address": In(range(depth)).array(reads), "data": Out(shape).array(reads),
        })

    def elaborate(self, platform):
        m = Module()
        block = self.depth > _DISTRIBUTED
        width = Shape.cast(self.shape).width
        # One memory per port: a block of an ECP5 or iCE40 has one write and one read port here.
        for index in range(self.reads):
            attrs = {"ram_style": "block", "no_rw_check": 1} if block else {
                "ram_style": "distributed", "no_rw_check": 1}
            m.submodules[f"copy{index}"] = store = memory.Memory(
                shape=width, depth=self.depth, init=[], attrs=attrs)
            write = store.write_port()
            read = store.read_port(domain="comb")
            data = Signal(width, reset_less=True)
            m.d.comb += [
                write.en.eq(self.write), write.addr.eq(self.write_address),
                write.data.eq(Value.cast(self.write_data)),
                Value.cast(self.data[index]).eq(data),
            ]
            if block:
                first = Signal(width, reset_less=True)
                m.d.comb += read.addr.eq(self.address[index])
                m.d.sync += [first.eq(read.data), data.eq(first)]
            else:
                address = Signal(range(self.depth), reset_less=True)
                m.d.comb += read.addr.eq(address)
                m.d.sync += [address.eq(self.address[index]), data.eq(read.data)]
        return m
