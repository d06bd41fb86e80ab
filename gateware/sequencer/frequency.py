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
        # 1: registers of their own, for multipliers are slow and want their factors near.
        factor_a = Signal(PHASE_BITS, reset_less=True)
        factor_b = Signal(PHASE_BITS, reset_less=True)
        m.d.sync += [factor_a.eq(self.frequency), factor_b.eq(self.tick)]
        a = [factor_a.word_select(k, _LIMB) for k in range(3)]
        b = [factor_b.word_select(k, _LIMB) for k in range(3)]

        # 2: products of limbs that have something below bit 48.
        def product(i, j):
            found = Signal(2 * _LIMB if i + j < 2 else _LIMB, name=f"product_{i}{j}",
                           reset_less=True)
            m.d.sync += found.eq(a[i] * b[j])
            return found

        low, middle_a, middle_b = product(0, 0), product(0, 1), product(1, 0)
        high_a, high_b, high_c = product(0, 2), product(1, 1), product(2, 0)
        # 3, 4: their sum.
        first, middle, high = Signal(PHASE_BITS), Signal(2 * _LIMB), Signal(_LIMB)
        m.d.sync += [
            first.eq(Cat(low, high_a)), middle.eq(middle_a + middle_b), high.eq(high_b + high_c),
            self.phase.eq(Cat(first[:_LIMB], (first[_LIMB:] + middle + (high << _LIMB))[:32])),
        ]
        return m
