"""Registers in gateware: the bus, a bank made from a block's description, the address decoder.

Why not amaranth-soc: the package of that name on PyPI is empty, the one that carries the code is
a USB project's fork pinned to its own needs, and it has no exporter. What is needed here (one
master, 32-bit words, refusals that say why) is this file.

Transactions: the master raises ``read`` or ``write`` for one clock with ``address`` (and
``w_data``); ``done`` follows a constant :data:`LATENCY` clocks later, for one clock, with
``status`` and, after a read, ``r_data``. One transaction at a time.
"""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.registers import WORD_BITS, Access, Block, Memory, RegisterMap
from quantacore.gateware.logic import any_of

__all__ = ["LATENCY", "CsrSignature", "RegisterBank", "AbsentBank", "CsrDecoder"]

#: Clocks from a request at the decoder to ``done``.
LATENCY = 4
#: Words that one stage of a bank's read multiplexer selects from.
_GROUP = 8
#: Bits of a word address in a frame.
_ADDRESS_BITS = 16
_WORD = (1 << WORD_BITS) - 1


class CsrSignature(wiring.Signature):
    """The register bus, seen from the master.

    Parameters
    ----------
    address_width : int
        Bits of the word address.
    """

    def __init__(self, address_width):
        self.address_width = address_width
        super().__init__({
            "address": Out(address_width),
            "read": Out(1),
            "write": Out(1),
            "w_data": Out(WORD_BITS),
            "done": In(1),
            "status": In(Status),
            "r_data": In(WORD_BITS),
        })

    def __eq__(self, other):
        return isinstance(other, CsrSignature) and self.address_width == other.address_width

    def __repr__(self):
        return f"CsrSignature({self.address_width})"


class RegisterBank(wiring.Component):
    """The registers of one block.

    For a register ``r`` (an array where it has a ``count``) the bank has the ports

    ==============  ==================================================================
    read-write      ``r``: Out, ``r_written``: Out(1), high for one clock with the new value
    read-only       ``r``: In
    write-only      ``r``: Out with the word written, ``r_written``: Out(1)
    clear by one    ``r``: In, the flags as they stand; ``r_clear``: Out, ones written
    memory          ``r_address``: Out, ``r_read``: Out(1), high with the address of a word
                    that is read; ``r_data``: In, two clocks later
    ==============  ==================================================================

    A read-write register has its new value 2 clocks after the request on the bus, a write-only
    register's and a clear's strobe comes 1 clock after it.

    64-bit registers are atomic. Reading the low word copies the high half; the copy is what the
    next read in this bank returns if that is the register's high word (writes may come between),
    any other read of a high word is of the value as it stands. Writing the high word takes effect
    with what was last written to the low word of that very register, whatever else was written
    between.

    Parameters
    ----------
    block : Block

    Members
    -------
    bus : In(CsrSignature)
        ``done`` follows 3 clocks after a request. One transaction at a time.
    """

    def __init__(self, block):
        if not isinstance(block, Block):
            raise TypeError(f"Register bank must be made from a Block, not {block!r}")
        self.block = block
        members = {"bus": In(CsrSignature(max(1, (block.size - 1).bit_length())))}
        for register in block.registers:
            def member(flow, shape, register=register, **kwargs):
                port = flow(shape, **kwargs)
                return port if register.count is None else port.array(register.count)

            name = register.name
            if isinstance(register, Memory):
                members[f"{name}_address"] = Out(range(register.depth))
                members[f"{name}_read"] = Out(1)
                members[f"{name}_data"] = In(register.shape)
            elif register.access is Access.READ_WRITE:
                members[name] = member(Out, register.shape, init=self._init(register))
                members[f"{name}_written"] = member(Out, 1)
            elif register.access is Access.WRITE_ONLY:
                members[name] = member(Out, register.shape)
                members[f"{name}_written"] = member(Out, 1)
            elif register.access is Access.READ_ONLY:
                members[name] = member(In, register.shape)
            else:
                members[name] = member(In, register.shape)
                members[f"{name}_clear"] = member(Out, register.width)
        super().__init__(members)

    @staticmethod
    def _init(register):
        shape = register.shape
        if hasattr(shape, "from_bits") and isinstance(shape, type):
            return shape.from_bits(register.init)
        if hasattr(shape, "__members__"):
            return shape(register.init)
        if register.signed and register.init >> (register.width - 1):
            return register.init - (1 << register.width)
        return register.init

    @staticmethod
    def _status(register, write):
        """The answer to a request for this register."""
        if register.access is Access.READ_ONLY or isinstance(register, Memory):
            return Mux(write, Status.READ_ONLY, Status.ACK)
        if register.access is Access.WRITE_ONLY:
            return Mux(write, Status.ACK, Status.WRITE_ONLY)
        return Status.ACK

    def _elements(self):
        """``(offset, register, port getter)`` for each element of each register."""
        for offset, register in self.block.offsets():
            if isinstance(register, Memory):
                continue
            for index in range(register.count or 1):
                def port(suffix="", register=register, index=index):
                    value = getattr(self, register.name + suffix)
                    return value if register.count is None else value[index]
                yield offset + index * register.words, register, port

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        # Clock 1: the request, registered, and what it means. Each word has a bit of its own, so
        # that nothing behind has to look at the address, and one for each direction, because what
        # is written and what is read lie far apart. Everything that happens on a request stands
        # inside one condition: a bank is idle nearly always, and a simulator then passes it by.
        read_hits, write_hits = {}, {}
        for offset, register, _port in self._elements():
            for word in range(offset, offset + register.words):
                if register.access is not Access.WRITE_ONLY:
                    read_hits[word] = Signal(name=f"read_hit_{word}")
                if register.access is not Access.READ_ONLY:
                    write_hits[word] = Signal(name=f"write_hit_{word}")
        w_data = Signal(WORD_BITS)
        read, write = Signal(), Signal()
        status_1, has_high_1, from_copy_1 = Signal(Status), Signal(), Signal()
        in_memory_1 = Signal()
        copied, copy_address = Signal(), Signal.like(bus.address)
        m.d.sync += [read.eq(bus.read), write.eq(bus.write)]
        with m.If(bus.read | bus.write):
            m.d.sync += [
                w_data.eq(bus.w_data), status_1.eq(Status.UNMAPPED), has_high_1.eq(0),
                in_memory_1.eq(0), from_copy_1.eq(copied & (bus.address == copy_address)),
            ]
            with m.Switch(bus.address):
                for offset, register, _port in self._elements():
                    for word in range(register.words):
                        with m.Case(offset + word):
                            m.d.sync += status_1.eq(self._status(register, bus.write))
                            if register.words == 2 and word == 0:
                                m.d.sync += has_high_1.eq(register.access is not Access.WRITE_ONLY)
            for offset, register in self.block.offsets():
                if isinstance(register, Memory):
                    with m.If((bus.address >= offset) & (bus.address < offset + register.depth)):
                        m.d.sync += [in_memory_1.eq(1),
                                     status_1.eq(self._status(register, bus.write))]
        for strobe, hits in ((bus.read, read_hits), (bus.write, write_hits)):
            with m.If(strobe):
                m.d.sync += [hit.eq(bus.address == word) for word, hit in hits.items()]
        # The copy of a high half is for the next read in this bank, and only if that reads the
        # other word of the same register.
        with m.If(bus.read):
            m.d.sync += [copied.eq(0), copy_address.eq(bus.address + 1)]
        with m.If(read):
            m.d.sync += copied.eq(has_high_1)

        # What can be read at each word, and what each word does when it is written.
        words, highs, written = {}, {}, {}
        for offset, register, port in self._elements():
            if register.access is not Access.WRITE_ONLY:
                value = Value.cast(port()).as_unsigned()
                words[offset] = value[:WORD_BITS]
                if register.words == 2:
                    highs[offset] = words[offset + 1] = value[WORD_BITS:]
            if register.access is Access.READ_ONLY:
                continue
            data = w_data
            if register.words == 2:
                # One for each register: a timed write to another register may come between the
                # two words of a burst.
                low_half = Signal(WORD_BITS, name=f"{register.name}_{offset}_low",
                                  init=register.init & _WORD)
                written[offset] = [low_half.eq(w_data)], []
                data = Cat(low_half, w_data)
            data = data[:register.width]
            if register.access is Access.READ_WRITE:
                m.d.sync += port("_written").eq(0)
                commit = [Value.cast(port()).eq(data), port("_written").eq(1)], []
            elif register.access is Access.WRITE_ONLY:
                m.d.comb += Value.cast(port()).eq(data)
                commit = [], [port("_written").eq(1)]
            else:
                commit = [], [port("_clear").eq(data)]
            written[offset + register.words - 1] = commit
        with m.If(write):
            for offset, (sync, comb) in written.items():
                with m.If(write_hits[offset]):
                    m.d.sync += sync
                    m.d.comb += comb

        # Clock 2: the word, if it is in the group, else zero. The high half of a 64-bit register
        # is selected in the same clock as its low half, so that the two belong together.
        def grouped(table, name):
            offsets = list(table)
            for first in range(0, len(offsets), _GROUP):
                group = Signal(WORD_BITS, name=f"{name}_{first // _GROUP}")
                with m.If(read):
                    m.d.sync += group.eq(any_of(
                        table[offset] & read_hits[offset].replicate(len(table[offset]))
                        for offset in offsets[first:first + _GROUP]))
                yield group

        low_words, high_words = list(grouped(words, "group")), list(grouped(highs, "group_high"))
        from_copy, has_high, in_memory = Signal(), Signal(), Signal()
        read_2, done_2, status_2 = Signal(), Signal(), Signal(Status)
        m.d.sync += [read_2.eq(read), done_2.eq(read | write)]
        with m.If(read | write):
            m.d.sync += [from_copy.eq(from_copy_1), has_high.eq(has_high_1),
                         in_memory.eq(in_memory_1), status_2.eq(status_1)]
        memory_data = C(0, WORD_BITS)
        for offset, register in self.block.offsets():
            if isinstance(register, Memory):
                # From the request itself: there is a clock more for a slow memory.
                m.d.comb += [
                    getattr(self, f"{register.name}_address").eq(bus.address),
                    getattr(self, f"{register.name}_read").eq(
                        bus.read & (bus.address >= offset)
                        & (bus.address < offset + register.depth)),
                ]
                memory_data = Value.cast(getattr(self, f"{register.name}_data"))

        # Clock 3: one group.
        high_half = Signal(WORD_BITS)
        m.d.sync += [bus.done.eq(done_2), bus.status.eq(status_2), bus.r_data.eq(0)]
        with m.If(read_2):
            with m.If(has_high):
                m.d.sync += high_half.eq(any_of(high_words))
            with m.If(in_memory):
                m.d.sync += bus.r_data.eq(memory_data)
            with m.Elif(from_copy):
                m.d.sync += bus.r_data.eq(high_half)
            with m.Else():
                m.d.sync += bus.r_data.eq(any_of(low_words))
        return m


class AbsentBank(wiring.Component):
    """Stands where a build has no such block: every register reads 0, writes are refused.

    Reads of words that the block doesn't have, and all writes, are answered with
    ``Status.UNMAPPED``.

    Parameters
    ----------
    block : Block

    Members
    -------
    bus : In(CsrSignature)
        As of :class:`RegisterBank`.
    """

    def __init__(self, block):
        if not isinstance(block, Block):
            raise TypeError(f"Absent bank must be made from a Block, not {block!r}")
        self.block = block
        super().__init__({"bus": In(CsrSignature(max(1, (block.size - 1).bit_length())))})

    def elaborate(self, platform):
        m = Module()
        address = Signal.like(self.bus.address)
        read, read_2, done, done_2, there = (Signal(name=name) for name in
                                             ("read", "read_2", "done", "done_2", "there"))
        m.d.sync += [
            address.eq(self.bus.address), read.eq(self.bus.read), read_2.eq(read & there),
            done.eq(self.bus.read | self.bus.write), done_2.eq(done), self.bus.done.eq(done_2),
            self.bus.status.eq(Mux(read_2, Status.ACK, Status.UNMAPPED)),
        ]
        for offset, register in self.block.offsets():
            if register.access is not Access.WRITE_ONLY:
                with m.If((address >= offset) & (address < offset + register.size)):
                    m.d.comb += there.eq(1)
        return m


class CsrDecoder(wiring.Component):
    """Joins the banks of a map into one bus.

    A request at an address where no block lives is answered with ``Status.UNMAPPED``.

    Parameters
    ----------
    register_map : RegisterMap

    Members
    -------
    bus : In(CsrSignature)
        From the master. ``done`` follows :data:`LATENCY` clocks after a request.
    <block name> : Out(CsrSignature)
        To each bank.
    """

    def __init__(self, register_map):
        if not isinstance(register_map, RegisterMap):
            raise TypeError(f"Decoder must be made from a RegisterMap, not {register_map!r}")
        if register_map.addr_width > _ADDRESS_BITS:
            raise ValueError(f"The map needs {register_map.addr_width} address bits, and the bus "
                             f"has {_ADDRESS_BITS}; make memories smaller")
        self.register_map = register_map
        members = {"bus": In(CsrSignature(_ADDRESS_BITS))}
        for block in register_map.blocks:
            members[block.name] = Out(CsrSignature(max(1, (block.size - 1).bit_length())))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        nobody = Signal()
        m.d.comb += nobody.eq(1)
        for base, block in self.register_map.bases():
            port = getattr(self, block.name)
            bits = (block.size - 1).bit_length()
            selected = Signal(name=f"{block.name}_selected")
            m.d.comb += selected.eq(self.bus.address[bits:] == base >> bits)
            with m.If(selected):
                m.d.comb += nobody.eq(0)
            m.d.sync += [
                port.address.eq(self.bus.address[:bits]),
                port.w_data.eq(self.bus.w_data),
                port.read.eq(self.bus.read & selected),
                port.write.eq(self.bus.write & selected),
            ]

        # The answer for addresses in no block keeps the same time as a bank's.
        refusals = Signal(LATENCY)
        m.d.sync += refusals.eq(Cat((self.bus.read | self.bus.write) & nobody, refusals))
        m.d.comb += self.bus.done.eq(refusals[-1])
        with m.If(refusals[-1]):
            m.d.comb += self.bus.status.eq(Status.UNMAPPED)
        for block in self.register_map.blocks:
            port = getattr(self, block.name)
            with m.If(port.done):
                m.d.comb += [
                    self.bus.done.eq(1),
                    self.bus.status.eq(port.status),
                    self.bus.r_data.eq(port.r_data),
                ]
        return m
