"""Dictionary model of the registers behind a node's bus."""

from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.registers import WORD_BITS, Access, Memory

__all__ = ["RegisterModel"]

_WORD = (1 << WORD_BITS) - 1


class RegisterModel:
    """What reads and writes of a register map do, a transaction at a time.

    Parameters
    ----------
    register_map : RegisterMap
    sample : callable
        ``sample(placed, index)`` is what the gateware shows in a read-only register, a memory
        word or flags, as bits, when it is read.
    """

    def __init__(self, register_map, *, sample):
        self._sample = sample
        self._bases = tuple(register_map.bases())
        self._at = {}
        for placed in register_map.placed():
            register = placed.register
            for index in range(register.size // register.words):
                for word in range(register.words):
                    self._at[placed.element(index) + word] = (placed, index, word)
        self.reset()

    def reset(self):
        """Back to initial values, with nothing copied."""
        self._value = {}
        self._low = {}
        #: Per block: the address that a copied high half is for, and the half.
        self._copy = {}
        for placed, index, _word in self._at.values():
            self._value[placed.name, index] = placed.register.init
            self._low[placed.name, index] = placed.register.init & _WORD

    def _bits(self, placed, index):
        if placed.register.access is Access.READ_WRITE:
            return self._value[placed.name, index]
        return self._sample(placed, index)

    def read(self, address):
        """``(status, word)`` of a read; the word of a refused one is 0."""
        if address not in self._at:
            self._forget(address)
            return Status.UNMAPPED, 0
        placed, index, word = self._at[address]
        expected, high = self._copy.pop(placed.block, (None, 0))
        if placed.register.access is Access.WRITE_ONLY:
            return Status.WRITE_ONLY, 0
        if word == 1:
            return Status.ACK, high if expected == address else self._bits(placed, index) >> 32
        bits = self._bits(placed, index)
        if placed.register.words == 2:
            self._copy[placed.block] = (address + 1, bits >> 32)
        return Status.ACK, bits & _WORD

    def _forget(self, address):
        # A read in a gap of a block is one of that block; between blocks it is nobody's.
        for base, block in self._bases:
            if base <= address < base + block.size:
                self._copy.pop(block.name, None)

    def write(self, address, word):
        """``(status, event)``; the event is ``(placed, index, bits)`` where one takes effect."""
        if address not in self._at:
            return Status.UNMAPPED, None
        placed, index, part = self._at[address]
        register = placed.register
        if isinstance(register, Memory) or register.access is Access.READ_ONLY:
            return Status.READ_ONLY, None
        if part == 0 and register.words == 2:
            self._low[placed.name, index] = word
            return Status.ACK, None
        bits = word if part == 0 else self._low[placed.name, index] | word << 32
        bits &= (1 << register.width) - 1
        if register.access is Access.READ_WRITE:
            self._value[placed.name, index] = bits
        elif register.access is Access.CLEAR_BY_ONE and not bits:
            return Status.ACK, None
        return Status.ACK, (placed, index, bits)
