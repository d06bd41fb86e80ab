"""Contracts of the herald unit: no verdict without an attempt, and no window of another's."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.herald.clicks import Clicks
from quantacore.gateware.herald.gate import WINDOW_MARKS, WindowGate
from quantacore.gateware.herald.path import HeraldPath
from quantacore.gateware.herald.tables import TableWrite
from quantacore.gateware.herald.timer import AttemptTimer
from quantacore.gateware.layouts.herald import Outcome
from quantacore.sim.bench.formal import prove, prove_bounded

SAMPLES = 2
#: Tables hold anything, and something else whenever they are read.
_FREE_TABLES = "delete t:$mem_v2; setundef -undriven -expose; opt_clean"
_FREE_MODULES = "cutpoint */t:$mem_v2"


class _Attempts(wiring.Component):
    """A timer that is started, aborted and told of patterns and references at will."""

    start: In(1)
    windows: In(4)
    abort: In(1)
    by_reference: In(1)
    earliest: In(16)
    latest: In(16)
    edges: In(SAMPLES)
    found: In(1)

    def timer(self, m):
        m.submodules.timer = timer = AttemptTimer(samples=SAMPLES)
        m.d.comb += [
            timer.start.eq(self.start), timer.windows.eq(self.windows),
            timer.abort.eq(self.abort), timer.by_reference.eq(self.by_reference),
            timer.earliest.eq(self.earliest), timer.latest.eq(self.latest),
            timer.edges_1.eq(self.edges), timer.found_3.eq(self.found),
        ]
        return timer


class OneVerdictForEachStart(_Attempts):
    """``decided`` only after a ``start``, once, and not after an ``abort``."""

    def elaborate(self, platform):
        m = Module()
        timer = self.timer(m)
        armed = Signal()
        with m.If(self.start):
            m.d.sync += armed.eq(1)
        with m.Elif(self.abort | timer.decided):
            m.d.sync += armed.eq(0)
        m.d.comb += [
            Assert(~timer.decided | armed),
            Assert(timer.busy == armed),
            # For the induction: nothing may be decided any more, but in an attempt.
            Assert(~timer.live.any() | armed),
            Assert(~(timer.decided & timer.live.any())),
        ]
        return m


class NoStaleWindow(_Attempts):
    """By reference, and none since the start: no cell is clicked, whatever arrives."""

    level: In(SAMPLES)
    write_open: In(4)
    write_close: In(4)
    edge: In(17)
    marks: In(WINDOW_MARKS)
    early: In(1)

    def elaborate(self, platform):
        m = Module()
        timer = self.timer(m)
        m.submodules.gate = gate = WindowGate(samples=SAMPLES)
        m.submodules.clicks = clicks = Clicks(samples=SAMPLES, fine=False)
        m.d.comb += [
            gate.start.eq(self.start), gate.windows.eq(self.windows),
            gate.write_open.eq(self.write_open), gate.write_close.eq(self.write_close),
            gate.edge.eq(self.edge), gate.marks.eq(self.marks), gate.early.eq(self.early),
            gate.begin.eq(timer.begin), gate.shift.eq(timer.shift), clicks.start.eq(self.start),
            clicks.mask.eq(gate.mask), clicks.cells.eq(gate.cells),
            clicks.word.level.eq(self.level),
        ]
        # An attempt by reference in which none has come.
        waits = Signal()
        m.d.sync += waits.eq(self.start & self.by_reference
                             | waits & ~self.start & ~self.edges.any())
        m.d.comb += Assert(~waits | ~(timer.begin | gate.counting | gate.mask.any()
                                      | clicks.clicked.any()))
        return m


class NoVerdictWithoutReference(wiring.Component):
    """The whole path: by reference, and none since the start, an attempt is VOID."""

    def __init__(self):
        super().__init__({
            "start": In(1), "windows": In(4), "abort": In(1), "level": In(1), "reference": In(1),
            "earliest": In(16), "latest": In(16), "write": In(1), "table": In(TableWrite),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.path = path = HeraldPath(samples=1, fine=False, channels=1)
        m.d.comb += [
            path.detectors[0].level.eq(self.level), path.reference.level.eq(self.reference),
            path.start.eq(self.start), path.windows.eq(self.windows), path.abort.eq(self.abort),
            path.control.by_reference.eq(1), path.control.reference.eq(8),
            path.reference_earliest.eq(self.earliest), path.reference_latest.eq(self.latest),
            path.tables.valid.eq(self.write), path.tables.payload.eq(self.table),
        ]
        before, came = Signal(), Signal()
        edge = self.reference & ~before
        m.d.sync += [before.eq(self.reference), came.eq(edge | came & ~self.start)]
        with m.If(path.decided & ~came):
            m.d.comb += [
                Assert((path.outcome == Outcome.VOID) & path.missing & ~path.double),
                Assert(path.clicked == 0),
            ]
        return m


def test_no_verdict_without_an_armed_attempt():
    prove(OneVerdictForEachStart(), "herald_armed", depth=3, passes=_FREE_MODULES)


def test_no_window_opens_without_its_reference():
    prove(NoStaleWindow(), "herald_stale", depth=5, passes=_FREE_MODULES)


def test_no_verdict_without_a_reference():
    prove_bounded(NoVerdictWithoutReference(), "herald_missing", depth=12, passes=_FREE_TABLES)
