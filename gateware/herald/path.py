"""From sample words to the verdict on an attempt."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.herald.clicks import CLICK_BITS, Clicks, edges_of
from quantacore.gateware.herald.gate import WINDOW_MARKS, WindowGate
from quantacore.gateware.herald.patterns import PatternMatcher
from quantacore.gateware.herald.rows import check_geometry
from quantacore.gateware.herald.sites import Sites
from quantacore.gateware.herald.tables import TableWrite
from quantacore.gateware.herald.timer import AttemptTimer
from quantacore.gateware.herald.times import ClickTimes
from quantacore.gateware.layouts.herald import (
    CELLS,
    DETECTORS,
    EIGHTHS,
    PATTERNS,
    SITES,
    TICK_BITS,
    WINDOW_BITS,
    WINDOW_LEAD,
    WINDOWS,
    HeraldControl,
    HeraldTable,
    Outcome,
    SiteEntry,
)
from quantacore.gateware.layouts.tags import sample_word
from quantacore.gateware.logic import any_of

__all__ = ["HeraldPath"]


class HeraldPath(wiring.Component):
    """Detectors' samples in, verdict out: four ticks after the word that decides.

    *Word s* is the one that is present at the inputs in tick s. An attempt that starts in tick S
    has words S, S + 1, ... and ends with its last word s, of which ``decided`` tells in tick s + 4.
    That is the first word with which one of these comes true:

    - There is a second reference edge, or none up to word S + ``reference_latest``: VOID, whatever
      else is true of this word.
    - An enabled pattern with ``early`` set holds: SUCCESS. Not before word S + 1, nor the word that
      holds the reference, where there is one.
    - The word holds the last eighth before ``DECIDE`` of the attempt's windows: SUCCESS if any
      pattern that takes part holds, FAILED if none does. What is below ``WINDOW_LEAD`` ticks stands
      for these. All clicks in windows in this word count, even those in its samples behind that
      eighth.

    Times count from the first sample of word S, or from the sample with the reference edge. A
    sample is in a window if its first eighth is: ``OPEN <= eighth < CLOSE``. A window whose
    ``OPEN`` is below ``WINDOW_LEAD`` ticks never opens. Windows of one detector with less than a
    tick between them are not told apart in a word that they share: a click is in both.

    A click is an edge that is no reference and not in dead time. Dead time runs always. Reference
    edges are counted as they are, dead time or not.

    A reset forgets windows, patterns and sites (all off), and keeps what accepts, contributions,
    counts, ``DECIDE``, codes and Pauli bits were written.

    Parameters
    ----------
    samples, fine
        See :func:`~quantacore.gateware.layouts.tags.sample_word`.
    channels : int
        Detectors that are there, 1 to 8.

    Members
    -------
    detectors : In(sample_word).array(channels)
    reference : In(sample_word)
        The separate input for a reference; its rising edges count.
    start : In(1), windows : In(4)
        An attempt with these windows begins with this tick's word. One that is in progress ends
        without a word.
    abort : In(1)
        An attempt in progress is over: this tick's word is not in it, and it is not decided in any
        tick after this. With ``start`` in the same tick a new one begins nevertheless.
    control : In(HeraldControl)
        ``by_reference``, ``reference`` and ``falling`` are looked at. A change acts two ticks
        later, and may not be made in an attempt. A ``reference`` that there isn't never comes.
    reference_earliest, reference_latest : In(16)
    dead_ticks : In(8).array(channels)
        The same.
    tables : In(stream of TableWrite), always ready
        A word acts on attempts that start four ticks later.
    busy : Out(1)
        From S + 1 to the tick of ``decided``.
    decided : Out(1)
        With ``outcome``, ``pattern`` and ``code`` (0 but for SUCCESS), ``missing`` and ``double``
        (why it is VOID).
    clicked : Out(4 * channels)
        What was clicked up to the last word, from ``decided`` until the next.
    first, second : In(5), delta : Out(signed(32))
        Cells, and three ticks later the time of the first click in the first minus that in the
        second, in fine units, or ``NO_CLICK``. From ``decided`` until the next attempt's start.
    values, erased : Out(8)
        Sites, from two ticks after ``decided`` on. 0 where no site is enabled.
    frame : Out(8), clear_frame : In(1)
        XOR of the Pauli bits of all verdicts, from the tick after ``decided`` on. Clearing in that
        tick leaves the verdict's own.
    activity : Out(1)
        In tick s + 1: the level of a detector or of the reference input changed in word s.
    cells : Out(4 * channels), patterns : Out(16)
        For counters: in the tick after ``decided``, unless VOID, the clicked cells and the
        verdict.
    clicks, dead, stray : Out(3).array(channels)
        For counters: in tick s + 4, how many clicks, edges in dead time, and clicks in an attempt
        but in none of its windows there are in word s.
    """

    def __init__(self, *, samples, fine, channels=DETECTORS):
        check_geometry(channels, samples)
        self.samples = samples
        self.fine = fine
        self.channels = channels
        word = sample_word(samples, fine=fine)
        super().__init__({
            "detectors": In(word).array(channels), "reference": In(word),
            "start": In(1), "windows": In(WINDOWS), "abort": In(1),
            "control": In(HeraldControl),
            "reference_earliest": In(TICK_BITS), "reference_latest": In(TICK_BITS),
            "dead_ticks": In(8).array(channels),
            "tables": In(stream.Signature(TableWrite, always_ready=True)),
            "busy": Out(1), "decided": Out(1), "outcome": Out(Outcome),
            "pattern": Out(range(PATTERNS)), "code": Out(4), "missing": Out(1), "double": Out(1),
            "clicked": Out(WINDOWS * channels),
            "first": In(5), "second": In(5), "delta": Out(signed(32)),
            "values": Out(SITES), "erased": Out(SITES),
            "frame": Out(8), "clear_frame": In(1),
            "activity": Out(1), "cells": Out(WINDOWS * channels), "patterns": Out(PATTERNS),
            "clicks": Out(CLICK_BITS).array(channels), "dead": Out(CLICK_BITS).array(channels),
            "stray": Out(CLICK_BITS).array(channels),
        })

    def elaborate(self, platform):
        m = Module()
        samples, channels = self.samples, self.channels
        m.submodules.timer = timer = AttemptTimer(samples=samples)
        m.submodules.matcher = matcher = PatternMatcher(detectors=channels)
        m.submodules.times = times = ClickTimes(detectors=channels)
        m.submodules.sites = sites = Sites()

        # Table words, and window edges in samples, rounded up. Where they go is found a tick before
        # they are written.
        write, write_valid, word = Signal(TableWrite), Signal(), Signal(32)
        m.d.sync += [write.eq(self.tables.payload), write_valid.eq(self.tables.valid),
                     word.eq(write.data)]

        def strobes(table, number):
            one = Signal(number, name=f"write_{table.name.lower()}")
            here = write_valid & (write.table == table)
            m.d.sync += one.eq(Cat(here & (write.index == i) for i in range(number)))
            return one

        opens, closes = strobes(HeraldTable.OPEN, CELLS), strobes(HeraldTable.CLOSE, CELLS)
        edge, early, marks = Signal(TICK_BITS + exact_log2(samples)), Signal(), Signal(WINDOW_MARKS)
        sample_eighths = EIGHTHS // samples
        first = Signal.like(edge)
        m.d.comb += first.eq(
            (write.data[:WINDOW_BITS] + sample_eighths - 1) >> exact_log2(sample_eighths))
        m.d.sync += [
            edge.eq(first), early.eq(write.data[:WINDOW_BITS] < WINDOW_LEAD * EIGHTHS),
            marks.eq(Cat(first[exact_log2(samples):] == WINDOW_LEAD + i
                         for i in range(WINDOW_MARKS))),
        ]
        m.d.comb += [
            timer.write.eq(write_valid & (write.table == HeraldTable.DECIDE)
                           & (write.index[WINDOWS:] == 0)),
            timer.write_index.eq(write.index), timer.write_data.eq(write.data),
            matcher.write_valid.eq(write_valid), matcher.write.eq(write),
            sites.write.eq(strobes(HeraldTable.SITE, SITES)),
            sites.entry.eq(SiteEntry(word[:SiteEntry.as_shape().size])),
        ]

        # Where the reference is, and its edges.
        carries = Signal(DETECTORS + 1)
        falling = Signal(channels)
        m.d.sync += [
            carries.eq(Cat(self.control.by_reference & (self.control.reference == i)
                           for i in range(DETECTORS + 1))),
            falling.eq(self.control.falling),
        ]
        reference_before = Signal()
        reference = self.reference.level
        m.d.sync += reference_before.eq(reference[-1])
        edges = [edges_of(reference, reference_before, C(0, 1))
                 & carries[DETECTORS].replicate(samples)]
        changes = [(reference ^ Cat(reference_before, reference)[:samples]).any()]

        # Per detector: windows, clicks.
        cells, then, takes = [], [], []
        counted = {name: [] for name in ("clicks", "dead", "stray")}
        for i, word in enumerate(self.detectors):
            m.submodules[f"gate_{i}"] = gate = WindowGate(samples=samples)
            m.submodules[f"clicks_{i}"] = clicks = Clicks(samples=samples, fine=self.fine)
            own = slice(WINDOWS * i, WINDOWS * (i + 1))
            m.d.comb += [
                gate.write_open.eq(opens[own]), gate.write_close.eq(closes[own]),
                gate.edge.eq(edge), gate.marks.eq(marks), gate.early.eq(early),
                gate.none.eq(carries[i]),
                gate.start.eq(self.start), gate.windows.eq(self.windows),
                gate.begin.eq(timer.begin), gate.shift.eq(timer.shift),
                clicks.word.eq(word), clicks.falling.eq(falling[i]), clicks.none.eq(carries[i]),
                clicks.dead_ticks.eq(self.dead_ticks[i]), clicks.start.eq(self.start),
                clicks.mask.eq(gate.mask), clicks.cells.eq(gate.cells),
                times.keep[i].eq(clicks.first), times.cell[i].eq(clicks.first_cell),
                times.fine[i].eq(clicks.first_fine),
            ]
            edges.append(clicks.edges & carries[i].replicate(samples))
            changes.append(clicks.changed)
            cells.append(clicks.clicked)
            then.append(clicks.then)
            takes.append(clicks.take)
            for name, numbers in counted.items():
                numbers.append(getattr(clicks, name))
        m.d.sync += [timer.edges_1.eq(any_of(edges)), self.activity.eq(any_of(changes))]

        # The attempt: the cells of the word that may decide, three ticks later.
        cells_1, cells_2, cells_3 = Cat(cells), Signal(CELLS), Signal(CELLS)
        age_2 = Signal.like(timer.age_1)
        m.d.comb += [
            timer.start.eq(self.start), timer.windows.eq(self.windows),
            timer.abort.eq(self.abort), timer.by_reference.eq(self.control.by_reference),
            timer.earliest.eq(self.reference_earliest), timer.latest.eq(self.reference_latest),
            timer.found_3.eq(matcher.found_3),
            matcher.start.eq(self.start), matcher.windows.eq(self.windows),
            matcher.then.eq(Cat(then)), matcher.take.eq(Cat(takes)),
            matcher.timed_2.eq(timer.timed_2),
            matcher.last_2.eq(timer.last_2), matcher.void_2.eq(timer.void_2),
            times.age.eq(age_2),
            self.busy.eq(timer.busy), self.decided.eq(timer.decided),
            self.outcome.eq(timer.outcome), self.missing.eq(timer.missing),
            self.double.eq(timer.double),
        ]
        m.d.sync += [
            cells_2.eq(cells_1), cells_3.eq(cells_2), age_2.eq(timer.age_1),
            self.pattern.eq(matcher.pattern_3), self.code.eq(matcher.code_3),
        ]
        with m.If(timer.decides_3):
            m.d.sync += self.clicked.eq(cells_3)

        # What follows from a verdict.
        success, counts = Signal(), Signal()
        m.d.comb += [
            success.eq(self.decided & (self.outcome == Outcome.SUCCESS)),
            counts.eq(self.decided & (self.outcome != Outcome.VOID)),
            matcher.pauli_index.eq(self.pattern),
            sites.decided.eq(self.decided), sites.void.eq(self.outcome == Outcome.VOID),
            sites.clicked.eq(self.clicked),
            self.values.eq(sites.values), self.erased.eq(sites.erased),
            times.clicked.eq(self.clicked), times.first.eq(self.first),
            times.second.eq(self.second), self.delta.eq(times.delta),
        ]
        m.d.sync += [
            self.frame.eq(Mux(self.clear_frame, 0, self.frame) ^ Mux(success, matcher.pauli, 0)),
            self.cells.eq(self.clicked & counts.replicate(len(self.clicked))),
            self.patterns.eq(Cat(success & (self.pattern == i) for i in range(PATTERNS))),
        ]
        for i in range(channels):
            for name, numbers in counted.items():
                late = Signal(CLICK_BITS, name=f"{name}_{i}_3")
                # By gates: as a reset it would have come late.
                m.d.sync += [late.eq(numbers[i]), getattr(self, name)[i].eq(
                    late & timer.within_3.replicate(CLICK_BITS) if name == "stray" else late)]
        return m
