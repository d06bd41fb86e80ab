"""Many counters in one memory."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.logic import any_of
from quantacore.gateware.ram import RAM

__all__ = ["CounterBank"]

_GROUP = 8
#: Clocks from a visit's look at a cell to the store of its count, rounded up: the shortest walk.
_SHORTEST = 8


class CounterBank(wiring.Component):
    """Counts of many cells, each with an increment of its own in every clock; none is ever lost.

    A walker visits one cell per clock and adds what it counted since the last visit to its count
    in RAM. The small counter of each cell is wide enough for its largest increment in every clock
    of a walk.

    A count read is what it was between one and two walks before (``walk`` + 8 clocks hold every
    increment). A read in the very clock in which its count is stored gives the one before, and
    puts the storing off to the next walk. The high word that is read next after the low word of
    the same count belongs to that low word.

    After ``clear`` and after a reset all counts read 0 ``walk`` + 8 clocks later, but for what has
    been counted since; increments in the clock of ``clear`` don't count.

    Parameters
    ----------
    widths : sequence of int
        Bits of each cell's increment, from 1.
    count_bits : int
        Bits of a count, an even number up to 64; counts wrap.

    Members
    -------
    increments : In(max(widths)).array(cells)
        Of each only the lowest ``widths[i]`` bits are looked at.
    clear : In(1)
    address : In(range(2 * cells))
        Low word of cell ``i`` at ``2 * i``, high word at ``2 * i + 1``.
    read : In(1)
        ``address`` is that of a word to read.
    data : Out(count_bits // 2)
        That word, two clocks later and until the next read.
    """

    def __init__(self, widths, *, count_bits=64):
        widths = tuple(widths)
        if not widths:
            raise ValueError("Counter bank must have at least one cell")
        for width in widths:
            if not isinstance(width, int):
                raise TypeError(f"Width of an increment must be an integer, not {width!r}")
            if width < 1:
                raise ValueError(f"Width of an increment must be at least 1, not {width}")
        if not isinstance(count_bits, int):
            raise TypeError(f"Count bits must be an integer, not {count_bits!r}")
        self.widths = widths
        self.count_bits = count_bits
        if count_bits % 2 or not 2 * max(self.small_bits) <= count_bits <= 64:
            raise ValueError(f"Count bits must be an even number from {2 * max(self.small_bits)} "
                             f"to 64, not {count_bits}")
        super().__init__({
            "increments": In(max(widths)).array(len(widths)),
            "clear": In(1),
            "address": In(range(2 * len(widths))),
            "read": In(1),
            "data": Out(count_bits // 2),
        })

    @property
    def walk(self):
        """Clocks from one visit of a cell to the next."""
        return max(len(self.widths), _SHORTEST)

    @property
    def small_bits(self):
        """Bits of each cell's small counter: it counts a walk of largest increments."""
        return tuple((self.walk * ((1 << width) - 1)).bit_length() for width in self.widths)

    def elaborate(self, platform):
        m = Module()
        cells, half = len(self.widths), self.count_bits // 2
        widest = max(self.small_bits)

        # Small counters are never emptied: the lowest bits of a count in RAM are where its small
        # counter stood at the last visit.
        smalls = []
        for i, (width, bits) in enumerate(zip(self.widths, self.small_bits, strict=True)):
            small = Signal(bits, name=f"small_{i}")
            m.d.sync += small.eq(small + self.increments[i][:width])
            with m.If(self.clear):
                m.d.sync += small.eq(0)
            smalls.append(small)

        # Until each cell has been visited, what the RAM holds is of before the clear.
        slot, stale = Signal(range(self.walk)), Signal(init=1)
        left = Signal(range(self.walk + 1), init=self.walk)
        m.d.sync += [slot.eq(slot + 1), left.eq(left - 1)]
        with m.If(slot == self.walk - 1):
            m.d.sync += slot.eq(0)
        with m.If(left == 1):
            m.d.sync += stale.eq(0)
        with m.If(self.clear):
            m.d.sync += [left.eq(self.walk), stale.eq(1)]

        # Visit: 0 looks at the cell and its count, 1 chooses the group, 2 takes the difference,
        # 3 and 4 add it to the halves of the count, 5 stores.
        address_bits = max(1, (cells - 1).bit_length())
        slots = [slot]
        for i in range(1, 6):
            slots.append(Signal.like(slot, name=f"slot_{i}"))
            m.d.sync += slots[i].eq(slots[i - 1])
        groups, stale_1 = [], Signal()
        m.d.sync += stale_1.eq(stale)
        for first in range(0, cells, _GROUP):
            members = smalls[first:first + _GROUP]
            group = Signal(max(len(member) for member in members), name=f"group_{first}")
            m.d.sync += group.eq(_choose(slot[:3], members))
            groups.append(group)
        now_2, mask_2, old_2 = Signal(widest), Signal(widest), Signal(self.count_bits)
        m.submodules.counts = counts = RAM(width=self.count_bits, depth=1 << address_bits)
        m.d.comb += [counts.read.eq(1), counts.read_address.eq(slot)]
        m.d.sync += [
            now_2.eq(any_of(group & (slots[1][3:] == i).replicate(len(group))
                            for i, group in enumerate(groups))),
            mask_2.eq(_mask(slots[1], self.small_bits)),
            old_2.eq(counts.read_data),
        ]
        with m.If(stale_1):
            m.d.sync += old_2.eq(0)
        more_3, old_3 = Signal(widest), Signal(self.count_bits)
        low_4, carry_4, high_4 = Signal(half), Signal(), Signal(half)
        new_5 = Signal(self.count_bits)
        m.d.sync += [
            more_3.eq((now_2 - old_2) & mask_2), old_3.eq(old_2),
            Cat(low_4, carry_4).eq(old_3[:half] + more_3), high_4.eq(old_3[half:]),
            new_5.eq(Cat(low_4, (high_4 + carry_4)[:half])),
        ]

        # The host's copy: the walker needs the port of its own memory. What is read and written
        # in the same clock would be neither the old nor the new count.
        m.submodules.copies = copies = RAM(width=self.count_bits, depth=1 << address_bits)
        collides = self.read & (self.address[1:] == slots[5])
        for store, hold in ((counts, 0), (copies, collides)):
            m.d.comb += [store.write_address.eq(slots[5]), store.write_data.eq(new_5),
                         store.write.eq((slots[5] < cells) & ~hold)]
        m.d.comb += [copies.read.eq(self.read), copies.read_address.eq(self.address[1:])]
        word, high, index, whole = (Signal(self.count_bits), Signal(), Signal(address_bits),
                                    Signal())
        fetch, high_1 = Signal(), Signal()
        m.d.sync += fetch.eq(0)
        with m.If(self.read):
            m.d.sync += [
                # A high word that comes next after its low word is there already.
                fetch.eq(~(whole & self.address[0] & (self.address[1:] == index))),
                whole.eq(~self.address[0]), index.eq(self.address[1:]),
                high_1.eq(self.address[0]),
            ]
        m.d.sync += high.eq(high_1)
        with m.If(fetch):
            m.d.sync += word.eq(copies.read_data)
        m.d.comb += self.data.eq(Mux(high, word[half:], word[:half]))
        return m


def _choose(index, values):
    """``values[index]`` as a tree, or any of them."""
    for bit in index:
        values = [Mux(bit, values[i + 1], values[i]) if i + 1 < len(values) else values[i]
                  for i in range(0, len(values), 2)]
    return values[0]


def _mask(slot, bits):
    """Ones in as many bits as the small counter of cell ``slot`` has."""
    return Cat(any_of(slot == i for i, number in enumerate(bits) if number > bit)
               if bit >= min(bits) else C(1) for bit in range(max(bits)))
