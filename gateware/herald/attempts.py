"""Attempts: who may start one, how it ends, what is counted and what the program is told."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.attempt_records import AttemptRecords
from quantacore.gateware.herald.saturation import Saturation
from quantacore.gateware.layouts.herald import (
    CELLS,
    DETECTORS,
    HEARTBEAT_ATTEMPTS,
    RECORD_DEPTH,
    HeraldCodes,
    HeraldControl,
    HeraldFlags,
    HeraldStatus,
    Outcome,
    Role,
)
from quantacore.gateware.layouts.instructions import ArmWord, Op
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.stream import connect_streams

__all__ = ["NUMBER_BITS", "PeersSignature", "AttemptController"]

#: Bits of an attempt's number that peers tell each other.
NUMBER_BITS = 24


class PeersSignature(wiring.Signature):
    """What the attempts' controller and the peers tell each other, seen from the controller.

    Members
    -------
    shared : In(1)
        Attempts are shared with peers; the others are the node's own. Constant in an attempt.
    up : In(1)
        All peers that take part answer.
    armed : Out(1)
        An ``ARM`` waits for ``go``.
    go : In(1), number : In(24)
        Only with ``armed``: the attempt begins. ``number`` is what a station calls it.
    start : In(1)
        Some ticks after ``go``: windows are counted from here.
    ran : Out(1)
        In the tick of ``start``: it was done.
    in_progress : Out(1)
        From the tick after ``go`` to that of the attempt's end.
    confirmed : In(1)
        Station: all followers made this attempt.
    void : In(1)
        The attempt can't be shared any more.
    verdict : In(1), verdict_outcome, verdict_code
        Follower: the station's verdict about this attempt.
    ended : Out(1), outcome, code
        How the attempt ended, a tick after its end.
    attempt : Out(32)
        Number of the last attempt.
    restart : Out(1)
        Numbers begin anew.
    """

    def __init__(self):
        super().__init__({
            "shared": In(1), "up": In(1), "armed": Out(1), "go": In(1), "number": In(NUMBER_BITS),
            "start": In(1), "ran": Out(1), "in_progress": Out(1), "confirmed": In(1),
            "void": In(1), "verdict": In(1), "verdict_outcome": In(Outcome),
            "verdict_code": In(4), "ended": Out(1), "outcome": Out(Outcome), "code": Out(4),
            "attempt": Out(32), "restart": Out(1),
        })

    def __eq__(self, other):
        return isinstance(other, PeersSignature)


class AttemptController(wiring.Component):
    """Starts attempts that a program arms, and ends each of them once.

    An ``ARM`` issued in tick T is judged in tick T + 3: the unit is off or the program over; a
    route moves; a detector is saturated, or was not long ago; a limit is reached;
    ``reinitialise_after`` attempts were made. If nothing of that is so its attempt starts in tick
    T + ``ARM_TICKS``, or, with peers, when they are ready. Else it starts nothing and is counted as
    refused. In tick T + ``ARM_TICKS`` it also ends what was armed before: the attempt in progress
    (void), or another ``ARM`` that waits (refused). An ``ARM`` 1 or 2 ticks before another
    is refused, too. No attempt starts in a tick in which ``settling`` is high.

    ===================  ===================================================================
    the attempt ends     in the tick u, first of
    ===================  ===================================================================
    success, failed      of ``decided``; with peers: when all have confirmed, at ``decided`` or
                         later; for a follower: of the station's verdict
    void, reference      of ``decided`` with ``missing`` or ``double``
    void, route          in which ``settling`` is high
    void, aborted        of the next ``ARM``'s T + ``ARM_TICKS``, of ``abort`` or ``clear``, the
                         one after that in which the program is over or the unit is off
    void, peer           in which ``peers.void`` is high, or a station's verdict is void
    ===================  ===================================================================

    The program's verdict comes in tick u itself for the node's own success, and a tick after u for
    all else that has a code; the code for an ``ARM`` that started nothing in T + ``ARM_TICKS`` + 1.
    Nothing that an ``ARM`` left behind comes after the next one.

    Time and attempts of a run: an ``ARM`` of tick T is over the limit if T - S >= ``time_limit``,
    where S is the start of the run's first attempt, or if ``attempts_limit`` attempts were made.
    ``run`` in tick u acts on every ``ARM`` that is judged later.

    Counters come two ticks after the event, and so does ``status.busy``, so that attempts =
    succeeded + failed + void + in progress at any time. ``clear`` zeroes all, with the attempt in
    progress. After reset there is no attempt and all counts are zero.

    Parameters
    ----------
    record_depth, heartbeat : int
        See :class:`~quantacore.gateware.herald.attempt_records.AttemptRecords`.

    Members
    -------
    commands : In(stream of Command)
        An instruction of tick T is here in T + 1.
    sequencer_running : In(1)
        Without a program there are no attempts.
    tick : In(64)
    settling : In(1)
        A switch moves.
    control, codes, attempts_limit, time_limit, reinitialise_after, saturation_gate, \
saturation_clicks, backoff
        As the registers of block ``herald``.
    clear, run, abort : In(1)
        As the fields of ``action``, one tick each.
    start, abort_path : Out(1), windows : Out(4)
        To the path's ``start``, ``abort`` and ``windows``.
    decided, outcome, pattern, code, missing, double, clicked, clicks, activity
        From the path.
    verdict_valid : Out(1), verdict : Out(4)
        To the sequencer.
    trigger : Out(1)
        High in the tick of a start.
    peers : PeersSignature
        Tie ``shared`` to 0 where there are none.
    records : Out(stream of 64-bit records)
    status, attempt, attempts, succeeded, failed, void_reference, void_aborted, void_route, \
void_peer, refused, records_lost
        For the registers.
    events : Out(HeraldFlags)
        High for a tick each; ``table_busy`` and ``peer_lost`` are of others.
    """

    def __init__(self, *, record_depth=RECORD_DEPTH, heartbeat=HEARTBEAT_ATTEMPTS):
        self.record_depth = record_depth
        self.heartbeat = heartbeat
        #: What formal contracts look at inside: where an ARM is, whether the path has an attempt,
        #: whether any ARM's fate is open.
        self.probe = Signal(data.StructLayout({"first": 1, "second": 1, "now": 1, "runs": 1,
                                               "open": 1}))
        super().__init__({
            "commands": In(stream.Signature(Command, always_ready=True)),
            "sequencer_running": In(1), "tick": In(64), "settling": In(1),
            "control": In(HeraldControl), "codes": In(HeraldCodes),
            "attempts_limit": In(32), "time_limit": In(48), "reinitialise_after": In(32),
            "saturation_gate": In(24), "saturation_clicks": In(16), "backoff": In(32),
            "clear": In(1), "run": In(1), "abort": In(1),
            "start": Out(1), "windows": Out(4), "abort_path": Out(1),
            "decided": In(1), "outcome": In(Outcome), "pattern": In(4), "code": In(4),
            "missing": In(1), "double": In(1), "clicked": In(CELLS),
            "clicks": In(3).array(DETECTORS), "activity": In(1),
            "verdict_valid": Out(1), "verdict": Out(4), "trigger": Out(1),
            "peers": Out(PeersSignature()),
            "records": Out(stream.Signature(64)),
            "status": Out(HeraldStatus), "attempt": Out(32),
            **{name: Out(48) for name in (
                "attempts", "succeeded", "failed", "void_reference", "void_aborted", "void_route",
                "void_peer", "refused", "records_lost")},
            "events": Out(HeraldFlags),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.saturation = saturation = Saturation()
        m.submodules.records = records = AttemptRecords(
            depth=self.record_depth, heartbeat=self.heartbeat)
        connect_streams(m, records.records, wiring.flipped(self.records))
        m.d.comb += [
            saturation.gate.eq(self.saturation_gate), saturation.limit.eq(self.saturation_clicks),
            saturation.backoff.eq(self.backoff),
        ]
        for d in range(DETECTORS):
            m.d.comb += saturation.clicks[d].eq(self.clicks[d])
        peers, codes = self.peers, self.codes

        # What an ARM is refused for, a tick ago.
        stopped, full = Signal(init=1), Signal()
        made_full, timed_out, worn = Signal(), Signal(), Signal()
        made, since, lasts, elapsed = Signal(32), Signal(32), Signal(), Signal(48)
        time_high, time_equal, time_low = Signal(), Signal(), Signal()
        begun = Signal()
        m.d.sync += [
            stopped.eq(~self.sequencer_running | ~self.control.enable),
            made_full.eq((made >= self.attempts_limit) & (self.attempts_limit != 0)),
            worn.eq((since >= self.reinitialise_after) & (self.reinitialise_after != 0)),
            time_high.eq(elapsed[24:] > self.time_limit[24:]),
            time_equal.eq(elapsed[24:] == self.time_limit[24:]),
            time_low.eq(elapsed[:24] >= self.time_limit[:24]),
            timed_out.eq((time_high | (time_equal & time_low)) & lasts & (self.time_limit != 0)),
        ]
        m.d.comb += full.eq(made_full | timed_out)

        # T + 1: the command. T + 2, T + 3: on its way, and forgotten if another one comes. T + 4:
        # `now`, with what was found.
        arm, first, second, now = Signal(), Signal(), Signal(), Signal()
        word = ArmWord(self.commands.payload.word)
        windows_1, windows_2 = Signal(4), Signal(4)
        may, off, over_limit, over_worn = Signal(), Signal(), Signal(), Signal()
        m.d.comb += arm.eq(self.commands.valid & (word.op == Op.ARM))
        m.d.sync += [
            first.eq(arm), windows_1.eq(word.windows),
            second.eq(first & ~arm), windows_2.eq(windows_1),
            now.eq(second & ~arm),
        ]
        killed = Signal()
        m.d.comb += killed.eq(arm & (first | second))
        barred = stopped | self.settling | saturation.blocked | (peers.shared & ~peers.up)
        with m.If(second & ~arm):
            m.d.sync += self.windows.eq(windows_2)
        m.d.sync += [
            off.eq(barred), over_limit.eq(~barred & full), over_worn.eq(~barred & ~full & worn),
            may.eq(second & ~arm & ~barred & ~full & ~worn),
        ]

        # The state: nothing, or an ARM that waits for peers, or an attempt, first without windows
        # (`leads`), then with them (`runs`), then without the followers' word (`asks`).
        waits, leads, runs, asks = (Signal(name=name) for name in ("waits", "leads", "runs",
                                                                   "asks"))
        in_progress = Signal()
        m.d.comb += in_progress.eq(leads | runs | asks)
        follows = Signal()
        m.d.comb += follows.eq(self.control.role == Role.FOLLOWER)

        # What stops everything.
        halted, cut, withdrawn = Signal(), Signal(), Signal()
        m.d.comb += [
            halted.eq(self.abort | self.clear | stopped), cut.eq(now | halted),
            withdrawn.eq(waits & (cut | ~peers.up)),
            peers.armed.eq(waits & ~cut & peers.up & ~self.settling),
        ]

        # A start.
        may_own, begins, goes = Signal(), Signal(), Signal()
        m.d.comb += [
            may_own.eq(may & ~peers.shared & ~self.settling & ~halted),
            goes.eq(peers.go & peers.armed),
            begins.eq(leads & peers.start & ~self.settling & ~cut & ~peers.void
                      & ~(follows & peers.verdict)),
            self.start.eq(may_own | begins), self.trigger.eq(self.start),
            peers.ran.eq(begins),
        ]

        # An end. What the path decided stands, whatever else comes in that tick.
        decides, judged, ends = Signal(), Signal(), Signal()
        outcome, own = Signal(Outcome), Signal()
        why = Signal(4)
        reference, route, aborted, peer = why
        kept, kept_pattern, kept_code = Signal(Outcome), Signal(4), Signal(4)
        pattern, code = Signal(4), Signal(4)
        m.d.comb += [
            own.eq(runs & self.decided & ~peers.shared),
            decides.eq(runs & self.decided & peers.shared & ~follows),
            # A follower knows the station's code, not its pattern.
            pattern.eq(Mux(asks, kept_pattern,
                           Mux(follows, peers.verdict_code, self.pattern))),
            code.eq(Mux(asks, kept_code, self.code)),
        ]
        with m.If(decides):
            m.d.sync += [kept.eq(self.outcome), kept_pattern.eq(self.pattern),
                         kept_code.eq(self.code)]
        decision = Signal(Outcome)
        m.d.comb += decision.eq(Mux(asks, kept, self.outcome))
        void = Signal()
        with m.If(own | (decides & (self.outcome == Outcome.VOID))):
            m.d.comb += [judged.eq(1), outcome.eq(self.outcome),
                         reference.eq(self.outcome == Outcome.VOID)]
        with m.Elif((decides | asks) & peers.confirmed):
            m.d.comb += [judged.eq(1), outcome.eq(decision)]
        with m.Elif(follows & peers.shared & peers.verdict & in_progress):
            m.d.comb += [judged.eq(1), outcome.eq(peers.verdict_outcome),
                         peer.eq(peers.verdict_outcome == Outcome.VOID)]
        with m.Else():
            m.d.comb += [void.eq(self.settling | cut | peers.void & peers.shared),
                         outcome.eq(Outcome.VOID)]
            with m.If(self.settling):
                m.d.comb += route.eq(1)
            with m.Elif(cut):
                m.d.comb += aborted.eq(1)
            with m.Else():
                m.d.comb += peer.eq(1)
        m.d.comb += [
            ends.eq(in_progress & (judged | void)),
            self.abort_path.eq(ends & runs & ~self.decided),
        ]

        with m.If(ends):
            m.d.sync += [leads.eq(0), runs.eq(0), asks.eq(0)]
        with m.Else():
            with m.If(begins):
                m.d.sync += [leads.eq(0), runs.eq(1)]
            with m.If(decides):
                m.d.sync += [runs.eq(0), asks.eq(1)]
        with m.If(may_own):
            m.d.sync += runs.eq(1)
        with m.If(goes):
            m.d.sync += [waits.eq(0), leads.eq(1)]
        with m.If(withdrawn):
            m.d.sync += waits.eq(0)
        with m.If(may & peers.shared & ~halted):
            m.d.sync += waits.eq(1)

        # Numbers, limits.
        m.d.comb += begun.eq(may_own | goes)
        with m.If(goes & follows):
            m.d.sync += self.attempt.eq(peers.number)
        with m.Elif(begun):
            m.d.sync += self.attempt.eq(self.attempt + 1)
        with m.If(self.clear):
            m.d.sync += self.attempt.eq(0)
        anew = Signal()
        m.d.comb += anew.eq(self.clear | self.run)
        m.d.sync += elapsed.eq(elapsed + lasts)
        with m.If(begun):
            m.d.sync += [made.eq(made + 1), since.eq(since + 1), lasts.eq(1)]
            with m.If(~lasts):
                m.d.sync += elapsed.eq(0)
        with m.If(now & over_worn):
            m.d.sync += since.eq(0)
        with m.If(anew):
            # An attempt that starts in the same tick is of the new run.
            m.d.sync += [made.eq(begun), since.eq(begun), lasts.eq(begun), elapsed.eq(0),
                         timed_out.eq(0), made_full.eq(0), worn.eq(0), time_high.eq(0),
                         time_low.eq(0)]

        # Verdicts. In an ARM's T + 1 to T + 4 nothing counts that was before it.
        newer = Signal()
        m.d.comb += newer.eq(arm | first | second)
        answers, answer, direct = Signal(), Signal(4), Signal()
        refuses = Signal()
        m.d.comb += refuses.eq(now & (
            off | (may & (halted | (~peers.shared & self.settling)))))
        limit_hit, worn_hit = now & over_limit, now & over_worn
        lost_hit = waits & ~peers.up & ~cut
        m.d.sync += answers.eq(0)
        with m.If(~newer):
            with m.If(refuses | (lost_hit & ~now)):
                m.d.sync += [answers.eq(codes.give_refused), answer.eq(codes.refused)]
            with m.Elif(limit_hit):
                m.d.sync += [answers.eq(codes.give_limit), answer.eq(codes.limit)]
            with m.Elif(worn_hit):
                m.d.sync += [answers.eq(codes.give_reinitialise), answer.eq(codes.reinitialise)]
            with m.Elif(ends & ~now):
                with m.If(outcome == Outcome.VOID):
                    m.d.sync += [answers.eq(codes.give_void), answer.eq(codes.void)]
                with m.Elif(outcome == Outcome.FAILED):
                    m.d.sync += [answers.eq(codes.give_failed), answer.eq(codes.failed)]
                with m.Elif(peers.shared):
                    m.d.sync += [answers.eq(1),
                                 answer.eq(Mux(follows, peers.verdict_code, code))]
        m.d.comb += [
            direct.eq(own & (self.outcome == Outcome.SUCCESS) & ~first & ~second & ~now),
            self.verdict_valid.eq((direct | answers) & ~arm),
            self.verdict.eq(Mux(answers, answer, self.code)),
        ]

        # For the peers.
        m.d.sync += [
            peers.ended.eq(ends), peers.outcome.eq(outcome), peers.code.eq(code),
        ]
        m.d.comb += [peers.in_progress.eq(in_progress), peers.attempt.eq(self.attempt),
                     peers.restart.eq(self.clear)]

        # Records.
        control = self.control
        wanted = Signal()
        with m.Switch(outcome):
            with m.Case(Outcome.SUCCESS):
                m.d.comb += wanted.eq(control.record_success)
            with m.Case(Outcome.FAILED):
                m.d.comb += wanted.eq(control.record_failed)
            with m.Default():
                m.d.comb += wanted.eq(control.record_void)
        closes = ends | (runs & self.decided)
        m.d.comb += [
            records.tick.eq(self.tick), records.activity.eq(self.activity),
            records.start.eq(self.start), records.over.eq(closes),
            records.number.eq(self.attempt), records.clear.eq(self.clear),
            self.records_lost.eq(records.lost),
        ]
        # A tick later: the path keeps its cells.
        counts = Signal()
        m.d.sync += [
            records.herald.eq(ends & wanted), records.outcome.eq(outcome),
            records.herald_number.eq(self.attempt), counts.eq(judged),
            records.pattern.eq(Mux(outcome == Outcome.SUCCESS, pattern, 0)),
        ]
        m.d.comb += records.clicked.eq(Mux(counts, self.clicked, 0))

        # Counts and flags, a tick later. A clear takes along what is on its way.
        cleared = Signal()
        counted = {"attempts": begun, "succeeded": ends & (outcome == Outcome.SUCCESS),
                   "failed": ends & (outcome == Outcome.FAILED),
                   "void_reference": ends & reference, "void_route": ends & route,
                   "void_aborted": ends & aborted, "void_peer": ends & peer}
        m.d.sync += cleared.eq(self.clear)
        for name, strobe in counted.items():
            add, count = Signal(name=f"add_{name}"), getattr(self, name)
            m.d.sync += add.eq(strobe)
            with m.If(cleared):
                m.d.sync += count.eq(0)
            with m.Else():
                m.d.sync += count.eq(count + add)
        refusals = Signal(2)
        m.d.sync += refusals.eq((refuses | limit_hit | worn_hit) + withdrawn + killed)
        with m.If(cleared):
            m.d.sync += self.refused.eq(0)
        with m.Else():
            m.d.sync += self.refused.eq(self.refused + refusals)
        m.d.sync += [
            self.events.missing_reference.eq(ends & reference & self.missing),
            self.events.double_reference.eq(ends & reference & self.double),
            self.events.aborted.eq(ends & aborted & now),
            self.events.route_moved.eq(ends & route),
            self.events.saturated.eq(saturation.event),
            self.events.refused.eq(refuses | withdrawn | killed),
        ]
        m.d.comb += self.events.record_lost.eq(records.overflow)

        if platform == "formal":
            m.d.comb += [
                self.probe.eq(Cat(first, second, now, runs,
                                  first | second | now | waits | in_progress | answers)),
                Assert(waits + leads + runs + asks <= 1),
                Assert(peers.shared | ~(waits | leads | asks)),
                Assert(~(asks & kept.as_value()[1])),
                Assert(~may | (now & ~off & ~over_limit & ~over_worn)),
            ]
        m.d.sync += [
            self.status.busy.eq(in_progress), self.status.waits.eq(waits),
            self.status.off.eq(stopped), self.status.settling.eq(self.settling),
            self.status.saturated.eq(saturation.blocked), self.status.limit.eq(full),
            self.status.reinitialise.eq(worn),
            self.status.detectors.eq(saturation.detectors),
        ]
        return m
