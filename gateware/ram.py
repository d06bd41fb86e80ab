"""A memory of words with nothing around it."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RAM"]


class RAM(wiring.Component):
    """Words in RAM: one written and one read in every clock.

    Reading an address in the clock in which it is written gives the old or the new word, as the
    device pleases (in simulation the old one): for users who read only what was written before.

    Why not a synchronous read port of :class:`amaranth.lib.memory.Memory`: that promises the old
    word, and Yosys keeps the promise on an ECP5 by delaying the write and by a multiplexer behind
    the slowest output of the device, 5.8 ns after the clock. ``no_rw_check`` lifts the promise,
    but Yosys looks at it only where it makes the port synchronous itself, from a register. What
    is read from block RAM should meet nothing but a register.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words. 2048 bytes, or 512 words of 36 bits, are one ECP5 block.
    block : bool
        Use block RAM however small it is; otherwise the tools choose.

    Members
    -------
    write, write_address, write_data
        A word is stored with the clock in which ``write`` is high.
    read, read_address
        The address is looked up in each clock in which ``read`` is high,
    read_data : Out(width)
        and its word is here from the next clock on. Not reset.
    """

    def __init__(self, *, width, depth, block=True):
        for name, value, least in (("width", width, 1), ("depth", depth, 2)):
            if not isinstance(value, int):
                raise TypeError(f"RAM {name} must be an integer, not {value!r}")
            if value < least:
                raise ValueError(f"RAM {name} must be at least {least}, not {value}")
        self.width = width
        self.depth = depth
        self.block = block
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(width),
            "read": In(1), "read_address": In(range(depth)), "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.width, depth=self.depth, init=[],
            attrs={"no_rw_check": 1, **({"ram_style": "block"} if self.block else {})})
        write = store.write_port()
        read = store.read_port(domain="comb")
        data = Signal(self.width, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address), self.read_data.eq(data),
        ]
        with m.If(self.read):
            m.d.sync += data.eq(read.data)
        return m
