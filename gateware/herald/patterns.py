"""Clicked cells to patterns to a verdict: three look-ups in three ticks."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.tables import TableWrite, table_memory
from quantacore.gateware.layouts.herald import (
    COUNT_SETS,
    PATTERNS,
    WINDOWS,
    HeraldTable,
    PatternEntry,
)

__all__ = ["PatternMatcher"]

_COMBINATIONS = 1 << WINDOWS
_PART_BITS = 3
_SUM_BITS = 4


def _all_of(values):
    """Bitwise and of all values, as a balanced tree."""
    values = list(values)
    while len(values) > 1:
        values = [values[i] & values[i + 1] if i + 1 < len(values) else values[i]
                  for i in range(0, len(values), 2)]
    return values[0]


def _two_of(m, values):
    """Two numbers with the sum of all, by carry-save adders: no carry runs."""
    values = list(values)
    while len(values) > 2:
        left = []
        for i in range(0, len(values) - 2, 3):
            a, b, c = values[i:i + 3]
            width = max(len(a), len(b), len(c))
            total, carry = Signal(width, name="total"), Signal(width + 1, name="carry")
            m.d.comb += [total.eq(a ^ b ^ c), carry.eq(Cat(0, (a & b) | (a & c) | (b & c)))]
            left += [total, carry]
        values = left + values[len(values) // 3 * 3:]
    return (*values, C(0, 1))[:2]


class PatternMatcher(wiring.Component):
    """Looks clicked cells up, in every tick.

    Parameters
    ----------
    detectors : int

    Members
    -------
    write_valid : In(1), write : In(TableWrite)
        Tables ``ACCEPT``, ``CONTRIBUTION``, ``COUNT`` and ``PATTERN``; others are not looked at.
        A word acts two ticks later.
    start : In(1), windows : In(4)
        An attempt starts, with these windows: the patterns that may take part are known in the
        next tick.
    cells_1 : In(4 * detectors)
        What is clicked, in any tick.
    timed_2, last_2, void_2 : In(1)
        A tick later: early patterns may decide, all others too, or none may.
    found_3 : Out(1), pattern_3 : Out(4)
        Another tick later: a pattern holds and may decide, and the lowest that does.
    code_3 : Out(4)
        Its code; 0 if there is none.
    pauli_index : In(4), pauli : Out(8)
        What a pattern does to the Pauli frame, in the same tick.
    """

    def __init__(self, *, detectors):
        self.detectors = detectors
        super().__init__({
            "write_valid": In(1), "write": In(TableWrite),
            "start": In(1), "windows": In(WINDOWS),
            "cells_1": In(WINDOWS * detectors),
            "timed_2": In(1), "last_2": In(1), "void_2": In(1),
            "found_3": Out(1), "pattern_3": Out(range(PATTERNS)), "code_3": Out(4),
            "pauli_index": In(range(PATTERNS)), "pauli": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        # Where a word goes is found a tick before it is written.
        index, word = Signal(4), Signal.like(self.write.data)
        m.d.sync += [index.eq(self.write.index), word.eq(self.write.data)]

        def strobe(kind, condition, name):
            now = Signal(name=f"write_{name}")
            m.d.sync += now.eq(self.write_valid & (self.write.table == kind) & condition)
            return now

        def table(kind, name, *, width, number=0):
            """Entries 16 * number and 15 more of a table; its read port."""
            write, (read,) = table_memory(m, name, width=width, depth=16)
            m.d.comb += [
                write.addr.eq(index), write.data.eq(word),
                write.en.eq(strobe(kind, self.write.index[4:] == number, name)),
            ]
            return read

        # First tick: what detectors accept, and what they add to the sums.
        accepted, parts = [], [[] for _ in range(COUNT_SETS)]
        for i in range(self.detectors):
            combination = self.cells_1[i * WINDOWS:(i + 1) * WINDOWS]
            accept = table(HeraldTable.ACCEPT, f"accept_{i}", width=PATTERNS, number=i)
            adds = table(HeraldTable.CONTRIBUTION, f"contribution_{i}",
                         width=COUNT_SETS * _PART_BITS, number=i)
            m.d.comb += [accept.addr.eq(combination), adds.addr.eq(combination)]
            accepted.append(accept.data)
            for k, part in enumerate(parts):
                part.append(adds.data[k * _PART_BITS:(k + 1) * _PART_BITS])
        entry = PatternEntry(word[:PatternEntry.as_shape().size])
        takes_part, early = Signal(PATTERNS), Signal(PATTERNS)
        for i in range(PATTERNS):
            enabled, needs = Signal(name=f"enabled_{i}"), Signal(WINDOWS, name=f"needs_{i}")
            with m.If(strobe(HeraldTable.PATTERN, self.write.index == i, f"pattern_{i}")):
                m.d.sync += [enabled.eq(entry.enabled), needs.eq(entry.windows),
                             early[i].eq(entry.early)]
            with m.If(self.start):
                m.d.sync += takes_part[i].eq(enabled & ~(needs & ~self.windows).any())
        accepted_2 = Signal(PATTERNS)
        m.d.sync += accepted_2.eq(takes_part & _all_of(accepted))

        # Second tick: the sums, what they are looked up as, and which patterns may decide now.
        counted = []
        for k, part in enumerate(parts):
            halves = []
            for j, half in enumerate(_two_of(m, part)):
                # No sum is more than 7 for each of 8 detectors.
                half_2 = Signal(6, name=f"sum_{k}_{j}")
                m.d.sync += half_2.eq(half)
                halves.append(half_2)
            total = Signal(6, name=f"total_{k}")
            m.d.comb += total.eq(halves[0] + halves[1])
            count = table(HeraldTable.COUNT, f"count_{k}", width=PATTERNS, number=k)
            m.d.comb += count.addr.eq(
                total[:_SUM_BITS] | total[_SUM_BITS:].any().replicate(_SUM_BITS))
            counted.append(count.data)
        may = Signal(PATTERNS)
        m.d.comb += may.eq(
            ~self.void_2.replicate(PATTERNS)
            & (self.last_2.replicate(PATTERNS)
               | (early & self.timed_2.replicate(PATTERNS))))
        holds_3 = Signal(PATTERNS)
        m.d.sync += holds_3.eq(accepted_2 & may & _all_of(counted))

        # Third tick: the lowest, in groups of four.
        groups = [holds_3[i:i + 4] for i in range(0, PATTERNS, 4)]
        some = Signal(len(groups))
        group, places = Signal(range(len(groups))), [Signal(2, name=f"place_{i}") for i in range(4)]
        m.d.comb += [some.eq(Cat(bits.any() for bits in groups)), self.found_3.eq(some.any())]

        def lowest(signal, bits):
            m.d.comb += signal.eq(Cat((bits[1] | bits[3]) & ~bits[0] & (bits[1] | ~bits[2]),
                                      (bits[2] | bits[3]) & ~bits[0] & ~bits[1]))

        for place, bits in zip(places, groups, strict=True):
            lowest(place, bits)
        lowest(group, some)
        m.d.comb += self.pattern_3.eq(Cat(Array(places)[group], group))
        # The codes of all four are looked up while it is found out which it is.
        codes = []
        for i, place in enumerate(places):
            code = table(HeraldTable.PATTERN, f"code_{i}", width=PatternEntry)
            m.d.comb += code.addr.eq(Cat(place, C(i, 2)))
            codes.append(PatternEntry(code.data).code)
        pauli = table(HeraldTable.PATTERN, "pauli", width=PatternEntry)
        m.d.comb += [
            self.code_3.eq(Mux(self.found_3, Array(codes)[group], 0)),
            pauli.addr.eq(self.pauli_index), self.pauli.eq(PatternEntry(pauli.data).pauli),
        ]
        return m
