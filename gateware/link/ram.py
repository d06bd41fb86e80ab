"""A byte-wide block RAM with nothing around it."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ByteRAM"]


class ByteRAM(wiring.Component):
    """Bytes in block RAM: one written and one read in every clock.

    Reading an address in the clock in which it is written gives the old or the new byte, as the
    device pleases (in simulation the old one): for users who read only what was written before.

    Why not a synchronous read port of :class:`amaranth.lib.memory.Memory`: that promises the old
    byte, and Yosys keeps the promise on an ECP5 by delaying the write and by a multiplexer behind
    the slowest output of the device, 5.8 ns after the clock. ``no_rw_check`` lifts the promise,
    but Yosys looks at it only where it makes the port synchronous itself, from a register.

    Parameters
    ----------
    depth : int
        Bytes; up to 2048 are one ECP5 block.

    Members
    -------
    write, write_address, write_data
        A byte is stored with the clock in which ``write`` is high.
    read, read_address
        The address is looked up in each clock in which ``read`` is high,
    read_data : Out(8)
        and its byte is here from the next clock on. Not reset.
    """

    def __init__(self, *, depth):
        if not isinstance(depth, int):
            raise TypeError(f"RAM depth must be an integer, not {depth!r}")
        if depth < 2:
            raise ValueError(f"RAM depth must be at least 2, not {depth}")
        self.depth = depth
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(8),
            "read": In(1), "read_address": In(range(depth)), "read_data": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=8, depth=self.depth, init=[],
            attrs={"ram_style": "block", "no_rw_check": 1})
        write = store.write_port()
        read = store.read_port(domain="comb")
        data = Signal(8, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address), self.read_data.eq(data),
        ]
        with m.If(self.read):
            m.d.sync += data.eq(read.data)
        return m
