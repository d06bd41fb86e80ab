"""Contracts of the sequencer's engine: for any words that its memory might hold."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.layouts.instructions import (
    CALL_LEVELS,
    PROGRAM_DEPTH,
    TIMEOUT_TICKS,
    VERDICT_TICKS,
    NopWord,
    Op,
    UntilWord,
    WaitWord,
)
from quantacore.gateware.sequencer.engine import Engine
from quantacore.sim.bench.formal import prove, prove_bounded

#: Registers and stacks hold anything, and something else whenever they are read; and they are
#: as if they had been cleared, so that a program may begin at once.
_FREE = ("delete t:$mem_v2; setundef -undriven -expose; "
         "setattr -set init 1'0 w:*clearing*; opt_clean")
_FREE_MODULES = "cutpoint */t:$mem_v2; setattr -set init 1'0 */w:clearing"
_WAITS = (Op.WAITTRIG, Op.BARRIER, Op.BRH, Op.DEC)
#: Ticks from one in which nothing was issued that should have been to the end of the program.
_END_TICKS = 3


class _AnyProgram(wiring.Component):
    """An engine that finds any word whenever it reads, in any world, started and stopped at will.
    """

    start: In(1)
    stop: In(1)
    start_pc: In(range(PROGRAM_DEPTH))
    word: In(64)
    triggers: In(8)
    peers: In(8)
    verdict_valid: In(1)
    verdict: In(4)
    clicked: In(32)
    sites: In(16)
    herald_frame: In(8)
    attempt: In(32)
    frame_valid: In(2)
    frame_last: In(2)
    delta: In(signed(32))

    def engine(self, m):
        m.submodules.engine = engine = Engine()
        held, read = Signal(64), Signal()
        m.d.sync += [read.eq(engine.read), held.eq(engine.data)]
        m.d.comb += engine.data.eq(Mux(read, self.word, held))
        for name in ("start", "stop", "start_pc", "triggers", "peers", "verdict_valid", "verdict",
                     "clicked", "sites", "herald_frame", "attempt", "frame_valid", "frame_last",
                     "delta"):
            m.d.comb += getattr(engine, name).eq(getattr(self, name))
        m.d.sync += engine.tick.eq(engine.tick + 1)
        return engine


class NeverLate(_AnyProgram):
    """An instruction with dwell d is followed by one d ticks later, no sooner and no later, or the
    program has ended; DELAY by its register later; a wait with a timeout by its timeout at most;
    WAITUNTIL exactly at its time."""

    def elaborate(self, platform):
        m = Module()
        engine = self.engine(m)
        command = engine.command.payload
        valid = engine.command.valid
        nop, wait, until = NopWord(command.word), WaitWord(command.word), UntilWord(command.word)

        # What is due: `left` ticks from now, exactly or at most; or at a time.
        left, pending = Signal(48), Signal()
        exact, timed, over = Signal(), Signal(), Signal()
        time = Signal(64)
        is_wait = Signal()
        m.d.comb += is_wait.eq(sum(nop.op == op for op in _WAITS) != 0)
        dwell = Signal(48)
        m.d.comb += dwell.eq(nop.dwell)
        with m.If(nop.op == Op.NOP):
            m.d.comb += dwell.eq(Cat(nop.dwell, nop.more))
        with m.Elif(nop.op == Op.DELAY):
            m.d.comb += dwell.eq(nop.dwell + command.a)
        with m.Elif(is_wait):
            m.d.comb += dwell.eq(wait.timeout + max(TIMEOUT_TICKS, VERDICT_TICKS))

        now = engine.tick - 1
        m.d.sync += left.eq(left - 1)
        with m.If(valid):
            m.d.sync += [
                left.eq(dwell - 1), pending.eq((nop.op != Op.WAITUNTIL)
                                               & ~(is_wait & (wait.timeout == 0))),
                exact.eq(~is_wait), timed.eq(nop.op == Op.WAITUNTIL), over.eq(nop.op == Op.HALT),
                time.eq(Mux(until.registers, Cat(command.b, command.a),
                            engine.started + until.time)),
            ]
            with m.If(nop.op == Op.HALT):
                m.d.sync += pending.eq(0)
            m.d.comb += Assert(~over)
            with m.If(pending):
                m.d.comb += Assert(~exact | (left == 0))
            with m.If(timed):
                m.d.comb += Assert(now[:64] == time)
        with m.If(~engine.running):
            m.d.sync += [pending.eq(0), timed.eq(0), over.eq(0)]

        missed = Signal(_END_TICKS)
        m.d.sync += missed.eq(Mux(engine.running, Cat(pending & (left == 0) & ~valid, missed), 0))
        m.d.comb += Assert(~(missed[-1] & engine.running))
        return m


class CallsInRange(_AnyProgram):
    """There are never more calls than levels."""

    def elaborate(self, platform):
        m = Module()
        engine = self.engine(m)
        m.d.comb += Assert(engine.calls <= CALL_LEVELS)
        return m


class NeverLateStart(NeverLate):
    """The same of a program that is started at once and not stopped: further into it."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        begun = Signal()
        m.d.sync += begun.eq(1)
        m.d.comb += [Assume(self.start == ~begun), Assume(~self.stop)]
        return m


def test_no_program_makes_the_engine_late():
    prove_bounded(NeverLateStart(), "sequencer_never_late", depth=13, passes=_FREE)


def test_stops_and_starts_make_it_no_later():
    prove_bounded(NeverLate(), "sequencer_stops", depth=12, passes=_FREE)


def test_calls_stay_in_range():
    prove(CallsInRange(), "sequencer_calls", depth=3, passes=_FREE_MODULES)
