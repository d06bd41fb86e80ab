"""The clicks of a detector: edges, dead time, clicked cells, the first click of each."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.layouts.herald import WINDOWS
from quantacore.gateware.layouts.tags import FINE_BITS, sample_word
from quantacore.gateware.logic import any_of, sum_of

__all__ = ["CLICK_BITS", "Clicks", "edges_of"]

#: Bits of a number of clicks in a word: there is at most one in two samples.
CLICK_BITS = 3


def edges_of(level, before, falling):
    """Samples of a word that hold an edge: rising, or falling if ``falling``."""
    previous = Cat(before, level)[:len(level)]
    return (level ^ previous) & (level ^ falling.replicate(len(level)))


class Clicks(wiring.Component):
    """Takes the clicks of a detector and remembers which cells they were in.

    Parameters
    ----------
    samples, fine
        See :func:`~quantacore.gateware.layouts.tags.sample_word`.

    Members
    -------
    word : In(sample_word)
    falling : In(1)
        Clicks are falling edges.
    none : In(1)
        The detector carries something else: no edge is a click, and there are no windows.
    dead_ticks : In(8)
        Acts on the words of the next tick on.
    start : In(1)
        No cell is clicked any more.
    mask : In(samples), cells : In(4)
        As of :class:`~quantacore.gateware.herald.gate.WindowGate`.
    edges : Out(samples)
        Edges of the kind of a click, in this tick.
    changed : Out(1)
        The level changes in the word of this tick.
    clicked : Out(4)
        Cells; a click in the word of tick s is in it from s+1 on.
    take : Out(1), then : Out(4)
        With ``take`` a click lies in a window, or the attempt began a tick ago, and ``clicked`` is
        ``then`` in the next tick, unless there is a ``start``. ``then`` is there long before it.
    first : Out(1), first_cell : Out(2), first_fine : Out(13)
        A cell is clicked for the first time: in the word of tick s, said in s+2. With it, the part
        of the tick in which that was, in fine units.
    clicks, dead, stray : Out(3)
        Clicks, edges in dead time and clicks in no window, in the word of tick s, said in s+2.
    """

    def __init__(self, *, samples, fine):
        layout = sample_word(samples, fine=fine)
        self.samples = samples
        self.fine = fine
        super().__init__({
            "word": In(layout), "falling": In(1), "none": In(1), "dead_ticks": In(8),
            "start": In(1), "mask": In(samples), "cells": In(WINDOWS),
            "edges": Out(samples), "changed": Out(1), "clicked": Out(WINDOWS),
            "take": Out(1), "then": Out(WINDOWS),
            "first": Out(1), "first_cell": Out(range(WINDOWS)), "first_fine": Out(FINE_BITS),
            "clicks": Out(CLICK_BITS), "dead": Out(CLICK_BITS), "stray": Out(CLICK_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        samples = self.samples
        level, before = self.word.level, Signal()
        m.d.sync += before.eq(level[-1])
        m.d.comb += [
            self.edges.eq(edges_of(level, before, self.falling)),
            self.changed.eq((level ^ Cat(before, level)[:samples]).any()),
        ]

        # Words in dead time. `one`: only the first edge of a word is a click; `more`: words after
        # it are dead too.
        dead_ticks, one, more = Signal(8), Signal(), Signal()
        m.d.sync += [dead_ticks.eq(self.dead_ticks), one.eq(self.dead_ticks != 0),
                     more.eq(self.dead_ticks > 1)]
        left, dead = Signal(8), Signal()
        with m.If(dead):
            m.d.sync += [left.eq(left - 1), dead.eq(left != 2)]
        with m.Elif(self.edges.any()):
            m.d.sync += [left.eq(dead_ticks), dead.eq(more)]
        # Of two edges of the same kind the second is at least two samples behind the first.
        clicks = Cat(self.edges[i] & ~dead & ~(one & self.edges[:max(0, i - 1)].any())
                     for i in range(samples))

        # First: what lies in windows. The cell's number, and so the word, may be told from what
        # the word before left.
        inside, fresh = Signal(samples), Signal()
        clicked_before = Signal(WINDOWS)
        m.d.comb += [
            inside.eq(clicks & self.mask), self.take.eq(inside.any() | fresh),
            self.then.eq(self.clicked | self.cells),
        ]
        m.d.sync += [fresh.eq(self.start), clicked_before.eq(self.clicked)]
        with m.If(self.take):
            m.d.sync += self.clicked.eq(self.then)
        word_1, own_1, clicks_1, inside_1 = (
            Signal.like(self.word), Signal(samples), Signal(samples), Signal(samples))
        own = ~self.none.replicate(samples)
        m.d.sync += [word_1.eq(self.word), own_1.eq(self.edges & own), clicks_1.eq(clicks & own),
                     inside_1.eq(inside)]
        # This tick's windows are still those of another attempt.
        with m.If(self.start):
            m.d.sync += [self.clicked.eq(0), inside_1.eq(0)]

        new = Signal(WINDOWS)
        m.d.comb += new.eq(self.clicked & ~clicked_before)
        m.d.sync += [
            self.first.eq(new.any()), self.first_cell.eq(Cat(new[1] | new[3], new[2] | new[3])),
            self.clicks.eq(sum_of(clicks_1)), self.dead.eq(sum_of(own_1 & ~clicks_1)),
            self.stray.eq(sum_of(clicks_1 & ~inside_1)),
        ]
        fines = []
        for i in range(samples):
            place = C(i, FINE_BITS) << (FINE_BITS - exact_log2(samples))
            fine = place | (word_1.fine[i] if self.fine else 0)
            earliest = inside_1[i] & ~inside_1[:i].any()
            fines.append(fine & earliest.replicate(FINE_BITS))
        m.d.sync += self.first_fine.eq(any_of(fines))
        return m
