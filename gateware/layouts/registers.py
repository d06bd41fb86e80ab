"""Registers, blocks and maps: the words that a register description is made of.

Addresses count 32-bit words and are derived: a block gets the next place that is aligned to its
size, a register the next free word in it. Nothing here generates hardware; ``gateware/csr.py``
does that from these descriptions, and so do the JSON export, the documents and the host's typed
registers.
"""

import enum as py_enum
from dataclasses import dataclass, field

from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data
from amaranth.utils import ceil_log2

__all__ = ["Access", "Register", "Memory", "Block", "RegisterMap", "PlacedRegister", "WORD_BITS",
           "sticky_registers"]

WORD_BITS = 32


class Access(py_enum.Enum):
    """What the host may do with a register."""

    #: Read and written by the host, read by the gateware.
    READ_WRITE = "rw"
    #: Written by the gateware only.
    READ_ONLY = "ro"
    #: A write is an event for the gateware; reads are refused.
    WRITE_ONLY = "wo"
    #: Bits set by the gateware, cleared by the host writing ones.
    CLEAR_BY_ONE = "w1c"


@dataclass(frozen=True, kw_only=True)
class Register:
    """One register, or ``count`` of them in a row.

    A 64-bit register takes two words, low word first. Reading the low word also takes a copy of
    the high word for the next read in the block, and a write takes effect with the high word and
    what this register's low word was last written with, so that both are atomic.

    Parameters
    ----------
    name : str
        Identifier in lower case.
    shape : shape-like
        Up to 64 bits: an ``int``, a :class:`~amaranth.lib.data.Struct` or an enumeration.
    access : Access
    doc : str
        What it holds, for the manual.
    unit : str
        Unit of the value ("ticks", "fine units", ...), empty where it has none.
    init : int
        Value after reset, as bits (``READ_WRITE`` only).
    count : int or None
        Length of an array of registers; ``None`` is a single one.
    """

    name: str
    shape: object = 32
    access: Access = Access.READ_WRITE
    doc: str
    unit: str = ""
    init: int = 0
    count: int | None = None

    def __post_init__(self):
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"Register name must be a lower-case identifier, not {self.name!r}")
        if not 1 <= self.width <= 2 * WORD_BITS:
            raise ValueError(f"Register {self.name!r} must have 1 to 64 bits, not {self.width}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"Register {self.name!r} must have a count of at least 1, "
                             f"not {self.count}")
        if not 0 <= self.init < 1 << self.width:
            raise ValueError(f"Initial value of register {self.name!r} must fit {self.width} bits, "
                             f"not {self.init:#x}")
        if self.init and self.access is not Access.READ_WRITE:
            raise ValueError(f"Register {self.name!r} is {self.access.value!r} and can't have an "
                             f"initial value")

    @property
    def width(self):
        return Shape.cast(self.shape).width

    @property
    def signed(self):
        return not isinstance(self.shape, ShapeCastable | type) and Shape.cast(self.shape).signed

    @property
    def words(self):
        """Words that one element takes."""
        return -(-self.width // WORD_BITS)

    @property
    def size(self):
        """Words that all elements take."""
        return self.words * (self.count or 1)

    def fields(self):
        """Named parts as ``(name, offset, width, enumeration or None)``, or an empty list."""
        if isinstance(self.shape, type) and issubclass(self.shape, data.Struct):
            return [
                (name, f.offset, Shape.cast(f.shape).width,
                 f.shape if isinstance(f.shape, py_enum.EnumMeta) else None)
                for name, f in self.shape.as_shape()
            ]
        if isinstance(self.shape, py_enum.EnumMeta):
            return [("value", 0, self.width, self.shape)]
        return []


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A range of words that the host reads, such as a histogram."""

    name: str
    depth: int
    doc: str
    unit: str = ""
    shape: object = 32

    access = Access.READ_ONLY
    init = 0
    count = None
    words = 1

    @property
    def width(self):
        return Shape.cast(self.shape).width

    signed = False

    @property
    def size(self):
        return self.depth

    def fields(self):
        return []


@dataclass(frozen=True, kw_only=True)
class PlacedRegister:
    """A register at its address (in words, from the start of the map)."""

    block: str
    register: Register | Memory
    address: int

    @property
    def name(self):
        return f"{self.block}.{self.register.name}"

    def element(self, index):
        """Address of element ``index`` of an array or memory."""
        if not 0 <= index < self.register.size // self.register.words:
            raise IndexError(f"{self.name} has {self.register.size // self.register.words} "
                             f"elements, there is no number {index}")
        return self.address + index * self.register.words


@dataclass(frozen=True, kw_only=True)
class Block:
    """The registers of one gateware block. A memory, if any, comes last."""

    name: str
    doc: str
    registers: tuple = field(default_factory=tuple)

    def __post_init__(self):
        names = [r.name for r in self.registers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Block {self.name!r} has two registers called {name!r}")

    def offsets(self):
        """``(offset in words, register)`` for each register. Memories are aligned to their size."""
        offset = 0
        for register in self.registers:
            if isinstance(register, Memory):
                align = 1 << ceil_log2(register.depth)
                offset = -(-offset // align) * align
            yield offset, register
            offset += register.size

    @property
    def size(self):
        """Words that the block takes, a power of two."""
        return 1 << ceil_log2(max(offset + r.size for offset, r in self.offsets()))


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """Blocks in the order of their addresses; the first starts at address 0."""

    blocks: tuple

    def bases(self):
        """``(base address in words, block)`` for each block."""
        base = 0
        for block in self.blocks:
            base = -(-base // block.size) * block.size
            yield base, block
            base += block.size

    @property
    def addr_width(self):
        return ceil_log2(max(base + block.size for base, block in self.bases()))

    def base(self, name):
        for base, block in self.bases():
            if block.name == name:
                return base
        raise KeyError(f"The map has no block {name!r}")

    def placed(self):
        """Every register with its address, in the order of addresses."""
        return [
            PlacedRegister(block=block.name, register=register, address=base + offset)
            for base, block in self.bases()
            for offset, register in block.offsets()
        ]

    def __getitem__(self, name):
        """Look a register up as ``"block.register"``."""
        for placed in self.placed():
            if placed.name == name:
                return placed
        raise KeyError(f"The map has no register {name!r}")


def sticky_registers(flags):
    """The three registers of a set of sticky, counted, time-stamped flags.

    Parameters
    ----------
    flags : type[amaranth.lib.data.Struct]
        One-bit fields, one per flag.

    Returns
    -------
    tuple of Register
        ``flags``, ``flag_counts`` and ``flag_times``; ``telemetry.StickyFlags`` drives them.
    """
    names = ", ".join(name for name, _ in flags.as_shape())
    number = Shape.cast(flags).width
    return (
        Register(name="flags", shape=flags, access=Access.CLEAR_BY_ONE,
                 doc="Sticky errors and warnings; write ones to clear them, with their counts."),
        Register(name="flag_counts", access=Access.READ_ONLY, count=number, unit="events",
                 doc=f"How often each flag was raised since it was cleared; stops at the largest "
                     f"number. In order: {names}."),
        Register(name="flag_times", shape=64, access=Access.READ_ONLY, count=number, unit="ticks",
                 doc="When each flag was first raised since it was cleared."),
    )
