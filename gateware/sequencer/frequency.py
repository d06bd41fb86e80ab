"""Where a channel's phase would be, had it always run at a frequency."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.sequencer import PHASE_BITS

__all__ = ["PhaseProduct"]

_LIMB = 16


class PhaseProduct(wiring.Component):
    """``frequency * tick`` modulo a turn: lowest 48 bits of a product of 48 bits.

    A product each clock, 4 clocks after its factors. Six multipliers of 16 by 16 bits.

    Members
    -------
    frequency : In(48)
        2**48 is a turn a tick.
    tick : In(48)
    phase : Out(48)
        2**48 is a turn.
    """

    frequency: In(PHASE_BITS)
    tick: In(PHASE_BITS)
    phase: Out(PHASE_BITS)

    def elaborate(self, platform):
        m = Module()
        a = [self.frequency.word_select(k, _LIMB) for k in range(3)]
        b = [self.tick.word_select(k, _LIMB) for k in range(3)]

        # 1: products of limbs that have something below bit 48.
        def product(i, j):
            found = Signal(2 * _LIMB if i + j < 2 else _LIMB, name=f"product_{i}{j}")
            m.d.sync += found.eq(a[i] * b[j])
            return found

        low, middle_a, middle_b = product(0, 0), product(0, 1), product(1, 0)
        high_a, high_b, high_c = product(0, 2), product(1, 1), product(2, 0)
        # 2 to 4: their sum, two at a time.
        first, middle, high = Signal(PHASE_BITS), Signal(2 * _LIMB), Signal(_LIMB)
        m.d.sync += [first.eq(Cat(low, high_a)), middle.eq(middle_a + middle_b),
                     high.eq(high_b + high_c)]
        first_3, upper = Signal.like(first), Signal.like(middle)
        m.d.sync += [first_3.eq(first), upper.eq(middle + (high << _LIMB))]
        m.d.sync += [self.phase[:_LIMB].eq(first_3), self.phase[_LIMB:].eq(
            first_3[_LIMB:] + upper)]
        return m
