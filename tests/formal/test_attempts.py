"""Contracts of the attempts' controller: for all time, whatever path, peers and program do."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.herald.attempts import AttemptController
from quantacore.gateware.layouts.herald import HeraldCodes, HeraldControl, Outcome, Role
from quantacore.gateware.layouts.instructions import Op
from quantacore.sim.bench.formal import prove

#: Numbers, limits and records play no part here; they are anything, at any time.
_FREE = "delete t:$mem_v2; setundef -undriven -expose; opt_clean"


class _AnyWorld(wiring.Component):
    """A controller whose inputs are anything in any tick; the role stays."""

    armed: In(1)
    running: In(1)
    settling: In(1)
    control: In(HeraldControl)
    codes: In(HeraldCodes)
    limit: In(4)
    worn: In(4)
    clear: In(1)
    run: In(1)
    abort: In(1)
    decided: In(1)
    outcome: In(Outcome)
    code: In(4)
    up: In(1)
    go: In(1)
    number: In(24)
    peer_start: In(1)
    confirmed: In(1)
    void: In(1)
    verdict: In(1)
    verdict_outcome: In(Outcome)
    role: In(2)
    shared: In(1)

    def controller(self, m):
        m.submodules.dut = dut = AttemptController(record_depth=2, heartbeat=2)
        peers = dut.peers
        role, shared, begun = Signal(2), Signal(), Signal()
        m.d.sync += begun.eq(1)
        with m.If(~begun):
            m.d.sync += [role.eq(self.role), shared.eq(self.shared)]
        m.d.comb += [
            dut.commands.valid.eq(self.armed & begun),
            dut.commands.payload.word.eq(Op.ARM.value),
            dut.sequencer_running.eq(self.running), dut.settling.eq(self.settling),
            dut.control.eq(self.control), dut.codes.eq(self.codes),
            dut.attempts_limit.eq(self.limit), dut.reinitialise_after.eq(self.worn),
            dut.clear.eq(self.clear), dut.run.eq(self.run), dut.abort.eq(self.abort),
            dut.decided.eq(self.decided), dut.outcome.eq(self.outcome), dut.code.eq(self.code),
            peers.up.eq(self.up), peers.go.eq(self.go & peers.armed), peers.number.eq(self.number),
            peers.start.eq(self.peer_start), peers.confirmed.eq(self.confirmed),
            peers.void.eq(self.void), peers.verdict.eq(self.verdict),
            peers.verdict_outcome.eq(self.verdict_outcome),
        ]
        m.d.comb += [
            Value.cast(dut.control)[6:8].eq(role), peers.shared.eq(shared),
            Assume(self.outcome.as_value() != 3), Assume(self.verdict_outcome.as_value() != 3),
        ]
        return dut, role, shared


class AllAccountedFor(_AnyWorld):
    """attempts = succeeded + failed + void + in progress, in every tick, by the registers."""

    def elaborate(self, platform):
        m = Module()
        dut, _, _ = self.controller(m)
        total = sum(getattr(dut, name)[:8] for name in (
            "succeeded", "failed", "void_reference", "void_aborted", "void_route", "void_peer"))
        m.d.comb += Assert(dut.attempts[:8] == (total + dut.status.busy)[:8])
        return m


class ArmedFirst(_AnyWorld):
    """No attempt and no verdict without its own ``ARM``: never more starts, or answers, than
    ``ARM`` before them; and no start in a tick in which a switch moves."""

    def elaborate(self, platform):
        m = Module()
        dut, role, shared = self.controller(m)
        arm = dut.commands.valid
        owed = Signal()
        with m.If(arm):
            m.d.sync += owed.eq(1)
        with m.Elif(dut.verdict_valid):
            m.d.sync += owed.eq(0)
        m.d.comb += [
            Assert(~dut.probe.open | owed),
            Assert(~dut.verdict_valid | (owed & ~arm)),
            Assert(~dut.start | (owed & ~dut.settling)),
        ]
        return m


class NumbersGrow(_AnyWorld):
    """Numbers grow by one at each attempt, and change at no other time, but for a follower's."""

    def elaborate(self, platform):
        m = Module()
        dut, role, shared = self.controller(m)
        last, cleared = Signal(32), Signal(2)
        goes = dut.peers.go | (dut.start & ~shared)
        went = Signal()
        m.d.sync += [last.eq(dut.attempt), went.eq(goes), cleared.eq(Cat(dut.clear, cleared))]
        follower = role == Role.FOLLOWER.value
        with m.If(cleared[0]):
            m.d.comb += Assert(dut.attempt == 0)
        with m.Elif(went & ~(follower & shared)):
            m.d.comb += Assert(dut.attempt == (last + 1)[:32])
        with m.Elif(~went):
            m.d.comb += Assert(dut.attempt == last)
        return m


class NothingFromBefore(_AnyWorld):
    """A verdict of the path's reaches the program in the same tick, and only if the attempt is
    that of the program's last ``ARM``."""

    def elaborate(self, platform):
        m = Module()
        dut, role, shared = self.controller(m)
        # Ticks since the last ARM's command, and whether its attempt is the path's.
        mine, age, probe = Signal(), Signal(3, init=7), dut.probe
        m.d.sync += age.eq(Mux(dut.commands.valid, 1, Mux(age == 7, 7, age + 1)))
        with m.If(dut.commands.valid):
            m.d.sync += mine.eq(0)
        with m.Elif(dut.start):
            m.d.sync += mine.eq(1)
        with m.Elif(dut.decided):
            m.d.sync += mine.eq(0)
        m.d.comb += [
            Assert(probe.first == (age == 1)), Assert(probe.second == (age == 2)),
            Assert(probe.now == (age == 3)),
            Assert(~(probe.runs & ~shared & (age > 3)) | mine),
        ]
        fast = dut.decided & (dut.outcome == Outcome.SUCCESS) & ~shared
        # Where nothing else is told, a verdict is the path's.
        quiet = Value.cast(dut.codes)[-5:] == 0
        silent = Signal(2)
        m.d.sync += silent.eq(Cat(quiet, silent))
        with m.If(dut.verdict_valid & silent.all() & quiet & ~shared):
            m.d.comb += Assert(fast & mine & ~dut.commands.valid & (dut.verdict == dut.code))
        return m


def test_attempts_are_all_accounted_for():
    prove(AllAccountedFor(), "attempts_accounted", depth=6, passes=_FREE)


def test_no_verdict_without_an_armed_attempt():
    prove(ArmedFirst(), "attempts_armed_first", depth=8, passes=_FREE)


def test_numbers_grow_by_one():
    prove(NumbersGrow(), "attempts_numbers", depth=4, passes=_FREE)


def test_nothing_from_before_an_arm():
    prove(NothingFromBefore(), "attempts_before", depth=8, passes=_FREE)
