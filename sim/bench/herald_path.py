"""The herald unit's click path behind few wide ports, for a bench that is to be fast."""

from amaranth import *
from amaranth.hdl import Shape, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.path import HeraldPath
from quantacore.gateware.layouts.herald import (
    CELLS,
    DETECTORS,
    PATTERNS,
    SITES,
    TICK_BITS,
    WINDOWS,
    HeraldControl,
    HeraldTable,
    Outcome,
)
from quantacore.gateware.layouts.tags import sample_word

__all__ = ["Seen", "TableWord", "HeraldPathProbe", "word_bits", "fields_of"]


class Seen(data.Struct):
    """What the path shows in a tick."""

    decided: 1
    busy: 1
    outcome: Outcome
    pattern: 4
    code: 4
    missing: 1
    double: 1
    activity: 1
    clicked: CELLS
    delta: signed(32)
    values: SITES
    erased: SITES
    frame: 8
    cells: CELLS
    patterns: PATTERNS
    clicks: data.ArrayLayout(3, DETECTORS)
    dead: data.ArrayLayout(3, DETECTORS)
    stray: data.ArrayLayout(3, DETECTORS)


class TableWord(data.Struct):
    """A write to the tables."""

    table: HeraldTable
    index: 8
    data: 32


def fields_of(layout):
    """``{name: (offset, mask, signed)}`` of a struct, to take it apart at speed."""
    return {name: (entry.offset, (1 << Shape.cast(entry.shape).width) - 1,
                   Shape.cast(entry.shape).signed) for name, entry in layout.as_shape()}


def word_bits(levels, fines, *, samples, fine):
    """The nine words of a tick as port ``words`` takes them: ``levels`` has a number for each
    line, ``fines`` a list of numbers for each line."""
    layout = sample_word(samples, fine=fine)
    width = layout["fine"].width // samples if fine else 0
    bits = 0
    for line in reversed(range(DETECTORS + 1)):
        word = levels[line]
        for sample in range(samples if fine else 0):
            word |= fines[line][sample] << samples + sample * width
        bits = bits << layout.size | word
    return bits


class HeraldPathProbe(wiring.Component):
    """:class:`~quantacore.gateware.herald.path.HeraldPath` behind wide ports.

    Parameters
    ----------
    samples, fine
        As the path's.

    Members
    -------
    words : In(...)
        Words of the detectors and, highest, of the reference input; see :func:`word_bits`.
    dead_ticks : In(8 * DETECTORS)
    entry_valid, entry : In(1), In(TableWord)
        A write to the tables.
    seen : Out(Seen)
    start, windows, clear_frame, first, second, control, reference_earliest, reference_latest
        The path's.
    cancel : In(1)
        The path's ``abort``, which is a function in C++.
    """

    def __init__(self, *, samples, fine):
        self.samples, self.fine = samples, fine
        super().__init__({
            "words": In((DETECTORS + 1) * sample_word(samples, fine=fine).size),
            "start": In(1), "windows": In(WINDOWS), "cancel": In(1), "clear_frame": In(1),
            "first": In(5), "second": In(5), "control": In(HeraldControl),
            "reference_earliest": In(TICK_BITS), "reference_latest": In(TICK_BITS),
            "dead_ticks": In(8 * DETECTORS), "entry_valid": In(1), "entry": In(TableWord),
            "seen": Out(Seen),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.path = path = HeraldPath(samples=self.samples, fine=self.fine)
        size = sample_word(self.samples, fine=self.fine).size
        for line, word in enumerate([*path.detectors, path.reference]):
            m.d.comb += Value.cast(word).eq(self.words.word_select(line, size))
        m.d.comb += path.abort.eq(self.cancel)
        for name in ("start", "windows", "clear_frame", "first", "second", "control",
                     "reference_earliest", "reference_latest"):
            m.d.comb += Value.cast(getattr(path, name)).eq(Value.cast(getattr(self, name)))
        m.d.comb += path.tables.valid.eq(self.entry_valid)
        for name in ("table", "index", "data"):
            m.d.comb += Value.cast(getattr(path.tables.payload, name)).eq(
                Value.cast(getattr(self.entry, name)))
        for number in range(DETECTORS):
            m.d.comb += path.dead_ticks[number].eq(self.dead_ticks.word_select(number, 8))
            for name in ("clicks", "dead", "stray"):
                m.d.comb += getattr(self.seen, name)[number].eq(getattr(path, name)[number])
        for name in ("decided", "busy", "outcome", "pattern", "code", "missing", "double",
                     "activity", "clicked", "delta", "values", "erased", "frame", "cells",
                     "patterns"):
            m.d.comb += Value.cast(getattr(self.seen, name)).eq(
                Value.cast(getattr(path, name)))
        return m
