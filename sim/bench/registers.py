"""A register map on its bus with everything behind it observable, for tests of ``csr.py``."""

from amaranth import *
from amaranth.lib import enum, memory, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrDecoder, CsrSignature, RegisterBank
from quantacore.gateware.layouts.registers import (
    Access,
    Block,
    Memory,
    Register,
    RegisterMap,
)

__all__ = ["EXAMPLE_MAP", "RegisterExerciser", "mask_of", "memory_word"]


class _Colour(enum.Enum, shape=3):
    RED = 0
    BLUE = 5


def _block(name, *registers):
    return Block(name=name, doc="For tests.", registers=registers)


#: Every kind of register in every size, a block of one word, gaps, and a memory whose depth is
#: not a power of two.
EXAMPLE_MAP = RegisterMap(blocks=(
    _block("one", Register(name="only", shape=7, init=0x55, doc="")),
    _block("kinds",
           Register(name="rw", init=0xDEADBEEF, doc=""),
           Register(name="colour", shape=_Colour, init=5, doc=""),
           Register(name="negative", shape=signed(12), init=0xFFF, doc=""),
           Register(name="wide", shape=64, init=0x0123456789ABCDEF, doc=""),
           Register(name="odd", shape=40, count=3, doc=""),
           Register(name="ro", access=Access.READ_ONLY, doc=""),
           Register(name="ro_wide", shape=64, access=Access.READ_ONLY, count=2, doc=""),
           Register(name="ro_48", shape=signed(48), access=Access.READ_ONLY, doc=""),
           Register(name="wo", shape=5, access=Access.WRITE_ONLY, count=2, doc=""),
           Register(name="wo_wide", shape=64, access=Access.WRITE_ONLY, doc=""),
           Register(name="flags", shape=9, access=Access.CLEAR_BY_ONE, doc=""),
           Register(name="flags_wide", shape=40, access=Access.CLEAR_BY_ONE, doc=""),
           Register(name="last", shape=1, doc="")),
    _block("stored",
           Register(name="level", access=Access.READ_ONLY, doc=""),
           Memory(name="words", depth=19, doc="")),
))


def mask_of(number):
    """What the value of read-only register ``number`` differs by from the others', 64 bits."""
    return (number * 0x9E3779B97F4A7C15 + 0x1234567) & (1 << 64) - 1


def memory_word(index):
    """Content of word ``index`` of every memory."""
    return (index * 0x01000193 + 0x811C9DC5) & 0xFFFF_FFFF


class RegisterExerciser(wiring.Component):
    """Decoder, banks, and behind them values that change on every clock.

    Elements of registers are numbered in the order of their addresses. Element ``n`` shows
    ``Cat(counter, counter) ^ mask_of(n)`` where it is read-only; flags are all raised by
    ``raise_flags``; memories hold :func:`memory_word`.

    Parameters
    ----------
    register_map : RegisterMap

    Members
    -------
    bus : In(CsrSignature(16))
    raise_flags : In(1)
    counter : Out(32)
    strobes : Out(8)
        How many registers were written or cleared in this clock.
    event, value : Out(16), Out(64)
        Number and new value of the one that was.
    """

    bus: In(CsrSignature(16))
    raise_flags: In(1)
    counter: Out(32)
    strobes: Out(8)
    event: Out(16)
    value: Out(64)

    def __init__(self, register_map):
        self.register_map = register_map
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.bus_decoder = decoder = CsrDecoder(self.register_map)
        wiring.connect(m, wiring.flipped(self.bus), decoder.bus)
        m.d.sync += self.counter.eq(self.counter + 1)
        number = 0
        strobes, events, values = [], [], []
        for block in self.register_map.blocks:
            bank = RegisterBank(block)
            m.submodules[block.name] = bank
            wiring.connect(m, getattr(decoder, block.name), bank.bus)
            for register in block.registers:
                if isinstance(register, Memory):
                    store = memory.Memory(shape=32, depth=register.depth,
                                          init=[memory_word(i) for i in range(register.depth)])
                    m.submodules[f"{block.name}_{register.name}"] = store
                    port = store.read_port()
                    m.d.comb += port.addr.eq(getattr(bank, f"{register.name}_address"))
                    m.d.sync += getattr(bank, f"{register.name}_data").eq(port.data)
                    number += register.depth
                    continue
                for index in range(register.count or 1):
                    def port(suffix="", bank=bank, register=register, index=index):
                        value = getattr(bank, register.name + suffix)
                        return Value.cast(value if register.count is None else value[index])

                    strobe, value = None, port()
                    if register.access is Access.READ_ONLY:
                        m.d.comb += value.eq(
                            Cat(self.counter, self.counter) ^ mask_of(number))
                    elif register.access is Access.CLEAR_BY_ONE:
                        flags = Signal(register.width, name=f"{register.name}_{index}_state")
                        m.d.sync += flags.eq(flags & ~port("_clear"))
                        with m.If(self.raise_flags):
                            m.d.sync += flags.eq(~0)
                        m.d.comb += value.eq(flags)
                        strobe, value = port("_clear").any(), port("_clear")
                    else:
                        strobe = port("_written")
                    if strobe is not None:
                        strobes.append(strobe)
                        events.append(Mux(strobe, number, 0))
                        values.append(Mux(strobe, value.as_unsigned(), 0))
                    number += 1
        for output, parts in ((self.event, events), (self.value, values)):
            merged = 0
            for part in parts:
                merged = merged | part
            m.d.comb += output.eq(merged)
        m.d.comb += self.strobes.eq(sum(strobes))
        return m
