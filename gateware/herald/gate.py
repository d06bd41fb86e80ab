"""The windows of a detector: which samples of a word lie in one of them, and in which."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.layouts.herald import TICK_BITS, WINDOW_LEAD, WINDOWS
from quantacore.gateware.layouts.tags import SAMPLES_PER_CLOCK
from quantacore.gateware.logic import any_of

__all__ = ["WINDOW_MARKS", "WindowGate"]

#: Ticks from the first one in which a window may open, in which edges are known by a mark.
WINDOW_MARKS = 3
_HALF = TICK_BITS // 2


class WindowGate(wiring.Component):
    """Says for every word which of its samples lie in a window of the detector.

    Windows are found ahead, so none opens less than ``WINDOW_LEAD`` ticks after what it is counted
    from: it stays shut. Windows of a detector that share a word make a click count in all of them.

    Parameters
    ----------
    samples : int
        Samples in a word.

    Members
    -------
    write_open, write_close : In(4)
        Set a window's edge, two ticks later.
    edge : In(16 bits and those of a sample)
        The first sample in it, or behind it.
    marks : In(WINDOW_MARKS)
        It is in tick ``WINDOW_LEAD``, in the tick after that, ...
    early : In(1)
        It is less than ``WINDOW_LEAD`` ticks after what windows are counted from.
    none : In(1)
        An attempt that starts has no windows here.
    start : In(1), windows : In(4)
        A new attempt with these windows: all are shut until ``begin``, and those not armed stay so.
    begin : In(1)
        The word that windows are counted from was there two ticks ago.
    shift : In(range(samples))
        Sample of that word that they are counted from; from ``begin`` on.
    counting : Out(1)
        It was there, and ticks are compared.
    mask : Out(samples)
        Samples of this tick's word that lie in a window.
    cells : Out(4)
        The window that they lie in.
    """

    def __init__(self, *, samples):
        if samples not in SAMPLES_PER_CLOCK:
            raise ValueError(f"Samples per clock must be one of {SAMPLES_PER_CLOCK}, "
                             f"not {samples!r}")
        self.samples = samples
        super().__init__({
            "write_open": In(WINDOWS), "write_close": In(WINDOWS),
            "edge": In(TICK_BITS + exact_log2(samples)),
            "marks": In(WINDOW_MARKS), "early": In(1), "none": In(1),
            "start": In(1), "windows": In(WINDOWS),
            "begin": In(1), "shift": In(range(samples)),
            "counting": Out(1), "mask": Out(samples), "cells": Out(WINDOWS),
        })

    def elaborate(self, platform):
        m = Module()
        samples = self.samples
        # What is written waits here for a tick, for it has come a long way.
        write_open, write_close = Signal(WINDOWS), Signal(WINDOWS)
        edge, marks, early = Signal.like(self.edge), Signal(WINDOW_MARKS), Signal()
        m.d.sync += [write_open.eq(self.write_open), write_close.eq(self.write_close)]
        with m.If((self.write_open | self.write_close).any()):
            m.d.sync += [edge.eq(self.edge), marks.eq(self.marks), early.eq(self.early)]
        low, tick = edge[:exact_log2(samples)], edge[exact_log2(samples):]
        # Samples from the edge on; the last one always is.
        behind = Cat(*(low <= i for i in range(samples - 1)), C(1, 1))

        # Ticks are compared a tick before it is known of a word what begins and ends in it, and
        # every detector has its own counter, for there are many edges to compare it with. That is
        # too late for the first words in which there may be an edge: it is marked as such.
        begun, count, counting = Signal(WINDOW_MARKS - 1), Signal(TICK_BITS), self.counting
        begins = Cat(self.begin, begun)
        m.d.sync += [begun.eq(begins), count.eq(count + 1)]
        with m.If(begins[1]):
            m.d.sync += [counting.eq(1), count.eq(WINDOW_LEAD + WINDOW_MARKS)]
        with m.Elif(count.all()):
            m.d.sync += counting.eq(0)
        with m.If(self.start):
            m.d.sync += [begun.eq(0), counting.eq(0)]

        # The samples of a word as if the reference were at its beginning, window by window.
        inside = []
        for i in range(WINDOWS):
            hits, from_edge, past = [], [], []
            for name, write in (("open", write_open[i]), ("close", write_close[i])):
                at = Signal(TICK_BITS, name=f"{name}_tick_{i}")
                mark = Signal(WINDOW_MARKS, name=f"{name}_mark_{i}")
                thermometer = Signal(samples, name=f"{name}_samples_{i}",
                                     init=1 << (samples - 1))
                with m.If(write):
                    m.d.sync += [at.eq(tick), mark.eq(marks), thermometer.eq(behind)]
                halves = Signal(2, name=f"{name}_next_{i}")
                hit, was = Signal(name=f"{name}_now_{i}"), Signal(name=f"{name}_past_{i}")
                m.d.sync += [
                    halves.eq(Cat(counting & (at[:_HALF] == count[:_HALF]),
                                  at[_HALF:] == count[_HALF:])),
                    hit.eq(halves.all() | (begins & mark).any()),
                    was.eq(was | hit),
                ]
                hits += [halves, hit]
                past.append(was)
                from_edge.append(was.replicate(samples) | (hit.replicate(samples) & thermometer))
            # A window that closes before it can open is off; so it is until it is written.
            off = Signal(init=1, name=f"off_{i}")
            with m.If(write_close[i]):
                m.d.sync += off.eq(early)
            with m.If(self.start):
                m.d.sync += [hit.eq(0) for hit in hits]
                m.d.sync += [past[0].eq(0), past[1].eq(off | self.none | ~self.windows[i])]
            inside.append(from_edge[0] & ~from_edge[1])

        # Shifted to where the reference was: the last `shift` samples of the word before come
        # first. Two windows never share a word, so if there are any of those they say which.
        word, before, before_cells = any_of(inside), Signal(samples), Signal(WINDOWS)
        cells = Cat(window.any() for window in inside)
        both = Cat(before, word)
        shifted = Signal(samples)
        older = Signal()
        with m.Switch(self.shift):
            for shift in range(samples):
                with m.Case(shift):
                    m.d.comb += [
                        shifted.eq(both[samples - shift:2 * samples - shift]),
                        older.eq(before[samples - shift:].any() if shift else 0),
                    ]
        m.d.sync += [
            before.eq(word), before_cells.eq(cells),
            self.mask.eq(shifted), self.cells.eq(Mux(older, before_cells, cells)),
        ]
        with m.If(self.start):
            m.d.sync += [before.eq(0), before_cells.eq(0), self.mask.eq(0), self.cells.eq(0)]
        return m
