"""Verilog that computes by need."""

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.sim.node.activity import CannotSchedule, to_activity_verilog


class Echo(wiring.Component):
    def __init__(self, *, registered=True, loop=False):
        super().__init__({"a": In(8), "b": Out(8)})
        self._registered, self._loop = registered, loop

    def elaborate(self, platform):
        m = Module()
        if self._registered and not self._loop:
            m.d.sync += self.b.eq(self.a + 1)
        elif not self._loop:
            count = Signal(8)
            m.d.sync += count.eq(count + 1)
            m.d.comb += self.b.eq(count + self.a)
        if self._loop:
            # No loop of bits, but one of the cell that holds them.
            chain = Signal(2)
            total = Signal(2)
            m.d.comb += [total.eq(~chain), chain[0].eq(self.a[0])]
            with m.If(self.a[1]):
                m.d.comb += chain[1].eq(total[0])
            m.d.sync += self.b.eq(total)
        return m


def test_same_text_every_time():
    assert to_activity_verilog(Echo(), "top") == to_activity_verilog(Echo(), "top")


def test_output_that_is_no_register_is_refused():
    with pytest.raises(CannotSchedule, match="Output b is not a register"):
        to_activity_verilog(Echo(registered=False), "top")


def test_value_that_depends_on_its_own_bits_is_refused():
    with pytest.raises(CannotSchedule, match="depends on its own bits"):
        to_activity_verilog(Echo(loop=True), "top")


class Watched(wiring.Component):
    """A counter, its parity, and a product that only a port shows."""

    def __init__(self):
        super().__init__({"count": Out(8), "odd": Out(1), "product": Out(16)})

    def elaborate(self, platform):
        m = Module()
        product = Signal(16)
        m.d.sync += [self.count.eq(self.count + 1), product.eq(self.count * self.count)]
        m.d.comb += [self.odd.eq(self.count[0] ^ 1), self.product.eq(product)]
        return m


def test_output_that_nobody_sees_is_not_computed():
    text = to_activity_verilog(Watched(), "top", passed=["odd"])
    assert "product" in text and "*" in text
    text = to_activity_verilog(Watched(), "top", passed=["odd"], unseen=["product"])
    assert "product" not in text and " * " not in text and "output odd" in text


def test_output_that_shows_the_tick_before_may_be_no_register():
    with pytest.raises(CannotSchedule, match="Output odd is not a register"):
        to_activity_verilog(Watched(), "top")
