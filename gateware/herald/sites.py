"""Photonic qubits: which of two cells was clicked, or an erasure."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.herald import CELLS, SITES, SiteEntry

__all__ = ["Sites"]


class Sites(wiring.Component):
    """Reads the sites of an attempt two ticks after it was decided.

    Members
    -------
    write : In(8), entry : In(SiteEntry)
        Set a site.
    decided, void : In(1)
        ``clicked`` is new, and does not count.
    clicked : In(32)
        Stays from ``decided`` until the next one, which comes two ticks later at the earliest.
    values, erased : Out(8)
        Two ticks after ``decided``, until two ticks after the next. Both are 0 where no site is
        enabled.
    """

    write: In(SITES)
    entry: In(SiteEntry)
    decided: In(1)
    void: In(1)
    clicked: In(CELLS)
    values: Out(SITES)
    erased: Out(SITES)

    def elaborate(self, platform):
        m = Module()
        # The cells of a site are looked at one after the other.
        second, void = Signal(), Signal()
        m.d.sync += second.eq(self.decided)
        with m.If(self.decided):
            m.d.sync += void.eq(self.void)
        for i in range(SITES):
            site = Signal(SiteEntry, name=f"site_{i}")
            with m.If(self.write[i]):
                m.d.sync += site.eq(self.entry)
            zero, cell = Signal(name=f"zero_{i}"), Signal.like(site.zero, name=f"cell_{i}")
            m.d.sync += cell.eq(Mux(self.decided, site.one, site.zero))
            seen = self.clicked.bit_select(cell, 1)
            with m.If(self.decided):
                m.d.sync += zero.eq(seen)
            with m.If(second):
                m.d.sync += [self.values[i].eq(site.enabled & seen),
                             self.erased[i].eq(site.enabled & (void | (zero == seen)))]
        return m
