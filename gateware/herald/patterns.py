"""Clicked cells to patterns to a verdict: three look-ups in four ticks."""

from amaranth import *
from amaranth.lib import data, wiring
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


def _all_of(values):
    """Bitwise and of all values, as a balanced tree."""
    values = list(values)
    while len(values) > 1:
        values = [values[i] & values[i + 1] if i + 1 < len(values) else values[i]
                  for i in range(0, len(values), 2)]
    return values[0]


def _looked_up(function, *inputs):
    """A number below 8 that depends on a few bits: a look-up table for each of its bits."""
    bits = Cat(inputs)
    entries = []
    for place in range(1 << len(bits)):
        numbers = []
        for each in inputs:
            numbers.append(place & (1 << len(each)) - 1)
            place >>= len(each)
        entries.append(function(*numbers) & 7)
    return Cat(C(sum((entry >> k & 1) << place for place, entry in enumerate(entries)),
                 len(entries)).bit_select(bits, 1) for k in range(3))


def _sum_of_four(values):
    """Sum of up to four numbers of three bits, as five bits: column by column, three look-ups."""
    columns = [_looked_up(lambda bits: bits.bit_count(), Cat(value[i] for value in values))
               if values else C(0, 3) for i in range(_PART_BITS)]
    low = columns[0][0]
    middle = _looked_up(lambda above, here: above + here, columns[0][1:], columns[1])
    high = _looked_up(lambda above, here: above + here, middle[1:], columns[2])
    return Cat(low, middle[0], high)


class _Sum(data.Struct):
    """Sum of two numbers of five bits, on its way to four bits: what is left are few gates."""

    bit_0: 1
    bit_1: 1
    #: Into bit 2, and what bit 2 adds and makes.
    carry_2: 1
    differs_2: 1
    both_2: 1
    differs_3: 1
    #: Bit 3, if none is carried there.
    any_3: 1
    #: More than four bits hold, whatever is carried.
    more: 1

    @staticmethod
    def begin(a, b):
        """Values of the fields, in their order."""
        both = a & b
        return Cat(a[0] ^ b[0], a[1] ^ b[1] ^ both[0], both[1] | ((a[1] | b[1]) & both[0]),
                   a[2] ^ b[2], both[2], a[3] ^ b[3], a[3] | b[3] | a[4] | b[4],
                   a[4] | b[4] | both[3])

    def finish(self):
        """The sum, or 15 if it is more."""
        carry_3 = self.both_2 | (self.differs_2 & self.carry_2)
        more = self.more | (self.differs_3 & carry_3)
        return Cat(self.bit_0 | more, self.bit_1 | more, (self.differs_2 ^ self.carry_2) | more,
                   self.any_3 | carry_3)


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
    take : In(detectors), then : In(4 * detectors)
        What is clicked of a detector is ``then`` from the next tick on. To be given a tick after
        ``start``, too.
    timed_2, last_2, void_2 : In(1)
        Two ticks after a word: early patterns may decide, all others too, or none may. None may
        for the word of ``start``.
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
            "take": In(detectors), "then": In(WINDOWS * detectors),
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

        # First tick: what detectors accept, and what they add to the sums. It is looked up before
        # it is known whether there is a click.
        accepted, parts = [], [[] for _ in range(COUNT_SETS)]
        for i in range(self.detectors):
            combination = self.then[i * WINDOWS:(i + 1) * WINDOWS]
            accept = table(HeraldTable.ACCEPT, f"accept_{i}", width=PATTERNS, number=i)
            adds = table(HeraldTable.CONTRIBUTION, f"contribution_{i}",
                         width=COUNT_SETS * _PART_BITS, number=i)
            accept_1 = Signal(PATTERNS, name=f"accept_{i}_1")
            adds_1 = Signal(COUNT_SETS * _PART_BITS, name=f"contribution_{i}_1")
            m.d.comb += [accept.addr.eq(combination), adds.addr.eq(combination)]
            with m.If(self.take[i]):
                m.d.sync += [accept_1.eq(accept.data), adds_1.eq(adds.data)]
            accepted.append(accept_1)
            for k, part in enumerate(parts):
                part.append(adds_1[k * _PART_BITS:(k + 1) * _PART_BITS])
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

        # Second tick: most of the sums. Third: what they are looked up as, and which patterns may
        # decide now.
        counted = []
        for k, part in enumerate(parts):
            sum_2 = Signal(_Sum, name=f"sum_{k}")
            m.d.sync += Value.cast(sum_2).eq(_Sum.begin(_sum_of_four(part[::2]),
                                                        _sum_of_four(part[1::2])))
            count = table(HeraldTable.COUNT, f"count_{k}", width=PATTERNS, number=k)
            m.d.comb += count.addr.eq(sum_2.finish())
            counted.append(count.data)
        may = Signal(PATTERNS)
        m.d.comb += may.eq(
            ~self.void_2.replicate(PATTERNS)
            & (self.last_2.replicate(PATTERNS)
               | (early & self.timed_2.replicate(PATTERNS))))
        holds_3 = Signal(PATTERNS)
        m.d.sync += holds_3.eq(accepted_2 & may & _all_of(counted))

        # Fourth tick: the lowest, in groups of four.
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
