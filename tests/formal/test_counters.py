"""Contract of the counter bank: what went in is what can be read."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.telemetry.counters import CounterBank
from quantacore.sim.bench.formal import prove_bounded

_BITS = 10


class CountsAddUp(wiring.Component):
    """A model counts at once; at rest, what is read of any cell is the model's.

    Increments and clears come at any time, two reads too. A high word read after its low word is
    that of then, whatever was counted between.
    """

    def __init__(self):
        super().__init__({"increments": In(3), "clear": In(1), "read": In(1), "address": In(2)})

    def elaborate(self, platform):
        m = Module()
        widths = (1, 2)
        m.submodules.bank = bank = CounterBank(widths, count_bits=_BITS)
        increments = (self.increments[0], self.increments[1:])
        totals = [Signal(_BITS, name=f"total_{i}") for i in range(len(widths))]
        for cell, (increment, total) in enumerate(zip(increments, totals, strict=True)):
            m.d.comb += bank.increments[cell].eq(increment)
            m.d.sync += total.eq(total + increment)
            with m.If(self.clear):
                m.d.sync += total.eq(0)
        m.d.comb += [bank.clear.eq(self.clear), bank.read.eq(self.read),
                     bank.address.eq(self.address)]

        # Nothing read and nothing changed for long: two walks and what a visit takes.
        long = 2 * bank.walk + 6
        quiet = Signal(range(long + 1))
        with m.If(self.increments.any() | self.clear):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != long):
            m.d.sync += quiet.eq(quiet + 1)
        # Two reads, as far apart as the bus has them at least, and not in step with the walk.
        since, apart = Signal(range(bank.walk + 1), init=bank.walk), bank.walk
        reads = Signal(2)
        m.d.sync += [since.eq(Mux(self.read, 0, Mux(since == apart, apart, since + 1))),
                     reads.eq(reads + self.read)]
        m.d.comb += Assume(~self.read | ((since == apart) & (reads != 2)))

        # What a read should give, if that is known, and when it gives it.
        half = _BITS // 2
        known, expected, due = Signal(), Signal(half), Signal(2)
        low_known, low_cell, low_high = Signal(), Signal(), Signal(half)
        follows = Signal()
        total = Array(totals)[self.address[1]]
        m.d.sync += due.eq(Cat(self.read, due[0]))
        with m.If(self.read):
            m.d.sync += [follows.eq(~self.address[0]), low_cell.eq(self.address[1]),
                         low_known.eq(quiet == long), low_high.eq(total[half:])]
            with m.If(follows & self.address[0] & (low_cell == self.address[1])):
                m.d.sync += [known.eq(low_known), expected.eq(low_high)]
            with m.Else():
                m.d.sync += [known.eq(quiet == long),
                             expected.eq(Mux(self.address[0], total[half:], total[:half]))]
        m.d.comb += Assert(~due[1] | ~known | (bank.data == expected))
        return m


def test_sum_in_is_sum_out():
    prove_bounded(CountsAddUp(), "counters_add_up", depth=36)
