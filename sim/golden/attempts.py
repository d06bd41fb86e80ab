"""Attempts: what starts, how it ends, what is counted, recorded and told.

Written from the contract of the attempts' controller: one call for each tick, with what comes in
it, and at the end the records that must have come, found from whole lists.
"""

from collections import Counter
from dataclasses import dataclass, field

from quantacore.gateware.layouts.herald import (
    ARM_TICKS,
    ATTEMPT_BITS,
    DETECTORS,
    VERDICT_LATENCY,
    AttemptRecord,
    HeraldRecord,
    HeraldRecordKind,
    Outcome,
    Role,
)

__all__ = ["Settings", "Decision", "Attempt", "SaturationModel", "AttemptsModel",
           "attempt_records", "herald_records", "check_records"]

#: From ``ARM`` to when it is judged.
_JUDGED = 3


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Registers, constant from reset on."""

    role: Role = Role.SOLO
    #: Peers take part.
    shared: bool = False
    enable: bool = True
    #: ``{"limit": code, "refused": code, ...}`` of the codes that are given.
    codes: dict = field(default_factory=dict)
    attempts_limit: int = 0
    time_limit: int = 0
    reinitialise_after: int = 0
    saturation_gate: int = 1000
    saturation_clicks: int = 0
    backoff: int = 0
    #: Outcomes that get a record.
    recorded: frozenset = frozenset(Outcome)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the path says when it decides."""

    outcome: Outcome
    pattern: int = 0
    code: int = 0
    missing: bool = False
    double: bool = False


@dataclass(kw_only=True)
class Attempt:
    """One attempt."""

    number: int
    #: Tick from which windows are counted; ``None`` if it never came to that.
    start: int | None = None
    #: Last tick of its words, plus ``VERDICT_LATENCY``.
    over: int | None = None
    end: int | None = None
    outcome: Outcome | None = None
    #: Why it was void.
    why: str = ""
    pattern: int = 0
    clicked: int = 0
    decision: Decision | None = None


class SaturationModel:
    """Which detectors are saturated, and whether attempts are held back."""

    #: Ticks from a click to the mark.
    LAG = 4

    def __init__(self, *, gate, limit, backoff):
        self._gate, self._limit, self._backoff = max(gate, 1), limit, backoff
        self._clicks = []
        self._gate_clicks = [0] * DETECTORS
        self.detectors = [False] * DETECTORS
        self._quiet_since = None
        self.blocked = False
        self.events = 0

    def tick(self, clicks):
        """To the next tick; ``clicks`` are those of this one."""
        self._clicks.append(list(clicks))
        now = len(self._clicks)  # the tick that `detectors` will be about
        # A tick after the mark attempts are held back, and so until `backoff` after the last.
        if any(self.detectors):
            self._quiet_since = now - 1
            self.blocked = True
        else:
            self.blocked = (self._quiet_since is not None
                            and now - 1 - self._quiet_since <= self._backoff)
        at = now - self.LAG
        if at < 0:
            return
        if at % self._gate == 0:
            self._gate_clicks = [0] * DETECTORS
        last = (at + 1) % self._gate == 0
        fresh = False
        for d in range(DETECTORS):
            self._gate_clicks[d] += self._clicks[at][d]
            over = bool(self._limit) and self._gate_clicks[d] > self._limit
            fresh |= over and not self.detectors[d]
            if over:
                self.detectors[d] = True
            elif last:
                self.detectors[d] = False
        self.events += fresh


class AttemptsModel:
    """The controller, tick by tick.

    After :meth:`tick` the attributes tell of that tick: ``start`` (windows or ``None``),
    ``verdict`` (number or ``None``), ``armed``, ``ran``. ``attempts`` has all attempts of this
    life; ``counts`` those since the last clear.
    """

    def __init__(self, settings):
        self.settings = settings
        self.saturation = SaturationModel(gate=settings.saturation_gate,
                                          limit=settings.saturation_clicks,
                                          backoff=settings.backoff)
        self.attempts, self.current = [], None
        self.number = 0
        self.counts, self.events = Counter(), Counter()
        self._now = -1
        self._off = True
        #: ARMs on their way: tick of issue, windows.
        self._arms = []
        #: The last ARM that was judged and not refused before its tick.
        self._judged = None
        self._waiting = None
        self._windows = 0
        self._answer = self._flagged = None
        self._run_starts = []
        self._since = []

    def tick(self, *, arm=None, running=True, settling=False, clear=False, run=False, abort=False,
             decided=None, clicked=0, clicks=(0,) * DETECTORS, up=True, go=False, number=0,
             peer_start=False, confirmed=False, peer_void=False, peer_verdict=None):
        """One tick. ``arm``: windows of an ``ARM`` that was issued in the tick before."""
        s = self.settings
        self._now += 1
        now = self._now
        self.start = self.verdict = None
        self.ran = self.aborts_path = False
        answer, self._answer = self._answer, None
        stopped = self._off
        blocked = self.saturation.blocked

        # Verdicts of before stop counting as soon as there is a new ARM.
        on_the_way = bool(self._arms) or arm is not None
        if arm is not None:
            issued = now - 1
            late = [one for one in self._arms if issued - one[0] < ARM_TICKS - 1]
            for one in late:
                self._arms.remove(one)
                self._refuse(flag=True)
            self._arms.append((issued, arm))

        # The ARM whose tick this is, and what was found a tick ago.
        mine, found = None, self._judged
        self._judged = None
        if self._arms and self._arms[0][0] + ARM_TICKS == now:
            mine = self._arms.pop(0)
            self._windows = mine[1]
        halted = abort or clear or stopped
        cut = mine is not None or halted
        newer = bool(self._arms)

        self.armed = self._waiting is not None and not cut and up and not settling
        answers = []
        if self._waiting is not None and (cut or not up):
            self._waiting = None
            self._refuse(flag=True)
            if not cut:
                answers.append("refused")

        # The attempt's end.
        old, ended = self.current, None
        if old is not None:
            ended = self._ending(old, decided, clicked, settling, cut, confirmed, peer_void,
                                 peer_verdict)
            if old.start is not None and old.over is None and (decided or ended):
                old.over = now
            if ended:
                self.aborts_path = (old.start is not None and not decided
                                    and old.decision is None)
                outcome, why, code = ended
                old.outcome, old.why, old.end = outcome, why, now
                old.clicked = clicked if not why or why in ("reference", "verdict") else 0
                self.counts[outcome.name.lower() if outcome is not Outcome.VOID
                            else "void_" + {"verdict": "peer"}.get(why, why)] += 1
                self.current = None
                if why == "reference":
                    self.events["missing_reference"] += old.decision.missing
                    self.events["double_reference"] += old.decision.double
                elif why == "route":
                    self.events["route_moved"] += 1
                elif why == "aborted" and mine:
                    self.events["aborted"] += 1
                if outcome is Outcome.SUCCESS and not s.shared:
                    if not on_the_way:
                        self.verdict = code
                elif outcome is Outcome.SUCCESS:
                    answers.append(code)
                else:
                    answers.append(outcome.name.lower())
        if self.current is not None and self.current.start is None and peer_start:
            self.current.start = now
            self.start, self.ran = self._windows, True

        # What becomes of the ARM.
        if mine is not None:
            answers = []
            bad = found == "" and (halted or (settling and not s.shared))
            if bad or found == "refused":
                self._refuse(flag=True)
                answers = ["refused"]
            elif found:
                self._refuse(flag=False)
                answers = [found]
                if found == "reinitialise":
                    self._since = []
            elif s.shared:
                self._waiting = mine
            else:
                self.start = self._windows
                self._begin(self.number + 1, start=now)
        if go and self.armed:
            self._waiting = None
            self._begin(number if s.role is Role.FOLLOWER else self.number + 1)

        # The ARM that is judged in this tick is found as things stand now.
        for issued, _ in self._arms:
            if issued + _JUDGED == now:
                self._judged = self._find(issued, stopped or settling or blocked
                                          or (s.shared and not up))
        if run or clear:
            begun = [tick for tick in self._run_starts if tick == now]
            self._run_starts, self._since = list(begun), list(begun)
        if clear:
            self.number = 0
            self.counts.clear()

        # What is told a tick later, if there is no newer ARM.
        if answers and not newer and arm is None:
            self._answer = answers[0] if isinstance(answers[0], int) else s.codes.get(answers[0])
        if answer is not None and arm is None:
            self.verdict = answer

        self._off = not (running and s.enable)
        self.saturation.tick(clicks)

    def _find(self, issued, barred):
        s = self.settings
        made = [tick for tick in self._run_starts if tick <= issued + 1]
        since = [tick for tick in self._since if tick <= issued + 1]
        if barred:
            return "refused"
        if s.attempts_limit and len(made) >= s.attempts_limit:
            return "limit"
        if s.time_limit and made and issued - made[0] >= s.time_limit:
            return "limit"
        if s.reinitialise_after and len(since) >= s.reinitialise_after:
            return "reinitialise"
        return ""

    def _begin(self, number, start=None):
        self.number = number
        self.current = Attempt(number=number, start=start)
        self.attempts.append(self.current)
        self._run_starts.append(self._now)
        self._since.append(self._now)
        self.counts["attempts"] += 1

    def _refuse(self, *, flag):
        self.counts["refused"] += 1
        # A flag counts ticks: two that are refused in one are one event.
        if flag and self._flagged != self._now:
            self._flagged = self._now
            self.events["refused"] += 1

    def _ending(self, attempt, decided, clicked, settling, cut, confirmed, peer_void,
                peer_verdict):
        """``(outcome, why, code)`` if it ends now."""
        s = self.settings
        if not s.shared or s.role is Role.STATION:
            if decided and attempt.start is not None and attempt.decision is None:
                attempt.decision = decided
                if decided.outcome is Outcome.SUCCESS:
                    attempt.pattern = decided.pattern
                if decided.outcome is Outcome.VOID:
                    return Outcome.VOID, "reference", 0
            if attempt.decision and (confirmed or not s.shared):
                return attempt.decision.outcome, "", attempt.decision.code
        elif peer_verdict:
            outcome, code = peer_verdict
            attempt.pattern = code
            return outcome, "verdict" if outcome is Outcome.VOID else "", code
        if settling:
            return Outcome.VOID, "route", 0
        if cut:
            return Outcome.VOID, "aborted", 0
        if peer_void and s.shared:
            return Outcome.VOID, "peer", 0
        return None


def attempt_records(attempts, active, *, heartbeat):
    """``(number, pause, coarse)`` of each record there must be.

    Parameters
    ----------
    attempts : list of Attempt
        In order; the last may still be in progress.
    active : list of int
        Ticks of words in which a level changed, in order.
    heartbeat : int
    """
    stretches = []
    for attempt in attempts:
        if attempt.start is None:
            continue
        last = None if attempt.over is None else attempt.over - VERDICT_LATENCY
        if last is not None and last < attempt.start:
            continue
        stretches.append((attempt.start, attempt.number))
        if last is not None:
            stretches.append((last + 1, 0))
    records = []
    words = iter([*active, None])
    word = next(words)
    for i, (begin, number) in enumerate(stretches):
        end = stretches[i + 1][0] if i + 1 < len(stretches) else None
        while word is not None and word < begin:
            word = next(words)
        inside = word is not None and (end is None or word < end)
        if inside or (number and number % heartbeat == 0):
            records.append((number % (1 << ATTEMPT_BITS), not number, begin % 2**32))
    return records


def herald_records(attempts, *, recorded):
    """``(number, outcome, pattern, clicked)`` of each record there must be."""
    return [(one.number % 2**16, one.outcome, one.pattern if one.outcome is Outcome.SUCCESS else 0,
             one.clicked) for one in attempts if one.outcome in recorded]


def check_records(records, *, attempts, heralds, lost):
    """Compare the records that came with those that must have; raise :exc:`AssertionError`.

    ``attempts`` and ``heralds`` are from the functions above. What is missing must be counted in
    ``lost`` and said by the records that follow.
    """
    wanted = {HeraldRecordKind.ATTEMPT: list(attempts), HeraldRecordKind.HERALD: list(heralds)}
    at = dict.fromkeys(wanted, 0)
    said, all_said = 0, True
    for bits in records:
        kind = HeraldRecordKind(bits >> 60)
        if kind is HeraldRecordKind.ATTEMPT:
            record = AttemptRecord.from_bits(bits)
            value = record.number, bool(record.pause), record.coarse
        else:
            record = HeraldRecord.from_bits(bits)
            value = record.number, Outcome(record.outcome), record.pattern, record.clicked
        said, all_said = said + record.lost, all_said and record.lost < 15
        rest = wanted[kind][at[kind]:]
        assert value in rest, f"{kind.name} {value} is out of order or was never due"
        skipped = rest.index(value)
        assert not skipped or lost, f"{kind.name}: {rest[:skipped]} did not come before {value}"
        at[kind] += skipped + 1
    came = len(records)
    due = sum(map(len, wanted.values()))
    assert came + lost == due, f"{came} records came and {lost} were lost, of {due}"
    if not lost:
        assert at == {kind: len(all_) for kind, all_ in wanted.items()}
    assert said <= lost
    return all_said
