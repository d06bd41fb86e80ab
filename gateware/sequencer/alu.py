"""Arithmetic and logic of the sequencer."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import AluFunction, Condition
from quantacore.gateware.logic import any_of

__all__ = ["Alu", "Comparator"]


class Alu(wiring.Component):
    """One operation at a time, in pieces that fit a clock each.

    Members
    -------
    start : In(1)
        Operands and function are there.
    function : In(AluFunction), shift : In(5), x, y : In(32)
        Function and shift are there a clock before ``start``, and held until the result is.
    valid : Out(1), result : Out(32)
        High for one clock: one clock after ``start``, or five for a multiplication. The result
        is 0 at all other times.
    """

    start: In(1)
    function: In(AluFunction)
    shift: In(5)
    x: In(32)
    y: In(32)
    valid: Out(1)
    result: Out(32)

    def elaborate(self, platform):
        m = Module()
        x, y, function = self.x, self.y, self.function

        # Sums, shifts and bits each in a register of their own; those not asked for are 0.
        # To the left is to the right of the bits in reverse; the far part of a shift comes later.
        total, bits, shifted = Signal(32), Signal(32), Signal(32)
        minus = Signal()
        m.d.sync += minus.eq(function == AluFunction.SUB)
        near, far, reverse = Signal(signed(33)), Signal(3), Signal()
        moved = (near >> (far << 2))[:32]
        m.d.comb += shifted.eq(Mux(reverse, moved[::-1], moved))
        m.d.sync += [total.eq(0), bits.eq(0), near.eq(0)]
        with m.If(self.start):
            with m.Switch(function):
                with m.Case(AluFunction.ADD, AluFunction.SUB):
                    m.d.sync += total.eq(x + (y ^ minus.replicate(32)) + minus)
                with m.Case(AluFunction.AND):
                    m.d.sync += bits.eq(x & y)
                with m.Case(AluFunction.OR):
                    m.d.sync += bits.eq(x | y)
                with m.Case(AluFunction.XOR):
                    m.d.sync += bits.eq(x ^ y)
                with m.Case(AluFunction.SHL, AluFunction.SHR, AluFunction.SAR):
                    left = function == AluFunction.SHL
                    m.d.sync += [
                        far.eq(y[2:5]), reverse.eq(left),
                        near.eq(Cat(Mux(left, x[::-1], x),
                                    (function == AluFunction.SAR) & x[-1]).as_signed() >> y[:2]),
                    ]
        # A product of halves, each of which one multiplier makes: (xh 2^16 + xl)(yh 2^16 + yl).
        def halves(value):
            return value[:16], value[16:].as_signed()

        # The factors have registers that nothing else reads, next to the multipliers.
        factor_x, factor_y = Signal(32), Signal(32)
        m.d.sync += [factor_x.eq(x), factor_y.eq(y)]
        (xl, xh), (yl, yh) = halves(factor_x), halves(factor_y)
        low, high = Signal(32), Signal(signed(32))
        cross_1, cross_2 = Signal(signed(33)), Signal(signed(33))
        m.d.sync += [low.eq(xl * yl), high.eq(xh * yh), cross_1.eq(xl * yh), cross_2.eq(xh * yl)]
        cross, outer = Signal(signed(34)), Signal(64)
        m.d.sync += [cross.eq(cross_1 + cross_2), outer.eq(Cat(low, high))]
        product = Signal(signed(64))
        m.d.sync += product.eq(Cat(outer[:16], (outer[16:] + cross)[:48]))
        steps = Signal(4)
        scaled = Signal(32)
        m.d.sync += scaled.eq(0)
        with m.If(steps[-1]):
            m.d.sync += scaled.eq(product >> self.shift)

        multiplies = function == AluFunction.MUL
        quick, product_valid = Signal(), Signal()
        m.d.sync += [steps.eq(Cat(self.start & multiplies, steps)), product_valid.eq(steps[-1]),
                     quick.eq(self.start & ~multiplies)]
        m.d.comb += [
            self.valid.eq(quick | product_valid),
            self.result.eq(any_of([total, bits, shifted, scaled])),
        ]
        return m


class Comparator(wiring.Component):
    """Whether two numbers compare so, one clock later.

    Members
    -------
    condition : In(Condition)
        Held for both clocks.
    x, y : In(32)
    holds : Out(1)
    """

    condition: In(Condition)
    x: In(32)
    y: In(32)
    holds: Out(1)

    def elaborate(self, platform):
        m = Module()
        x, y = self.x, self.y
        equal, below, signs = Signal(), Signal(), Signal()
        # Numbers of different sign: the negative one is the lower, which unsigned is the greater.
        m.d.sync += [equal.eq(x == y), below.eq(x < y), signs.eq(x[-1] ^ y[-1])]
        with m.Switch(self.condition):
            with m.Case(Condition.EQ):
                m.d.comb += self.holds.eq(equal)
            with m.Case(Condition.NE):
                m.d.comb += self.holds.eq(~equal)
            with m.Case(Condition.LT):
                m.d.comb += self.holds.eq(below ^ signs)
            with m.Case(Condition.GE):
                m.d.comb += self.holds.eq(~(below ^ signs))
            with m.Case(Condition.LTU):
                m.d.comb += self.holds.eq(below)
            with m.Case(Condition.GEU):
                m.d.comb += self.holds.eq(~below)
        return m
