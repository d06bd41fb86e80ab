"""The timeline prover: whatever the inputs do, nothing overlaps, is late, or overruns.

The program is interpreted once for all its runs. A state holds, instead of values, what bounds
them: for each register an interval; for each channel how long its pulse lasts yet, at most; how
long the mark queue and the decoder need yet, at most; ticks and instructions so far, at least and
at most. An instruction changes these by simple rules, where paths meet the wider bound is taken,
and each check compares a bound with what is allowed.

A ``LOOP`` is not unrolled. All that can accumulate from one turn to the next is a register that
grows by a constant (recognised, and multiplied by the number of turns), a queue (bounded by its
growth in one turn), and the time (one turn's, times the turns); the rest comes to rest after two
or three turns of the analysis. So 10**9 turns cost as much as three.

What is not known is taken to be the worst. A proof holds if at the start no channel has a pulse,
no mark waits, the route has settled, registers are what the program declares, the tagger takes a
mark every ``MARK_TICKS``, and the decoder takes rounds as declared.
"""

import dataclasses
import heapq
import math

from quantacore.firmware.assembly import wave_reach
from quantacore.firmware.diagnostics import Diagnostic
from quantacore.firmware.words import R, WordError, decode, least
from quantacore.gateware.layouts.instructions import (
    BRH_ENTRIES,
    CALL_LEVELS,
    LOOP_LEVELS,
    PROGRAM_DEPTH,
    TIMEOUT_TICKS,
    TRIGGER_TICKS,
    UNTIL_TICKS,
    VERDICT_TICKS,
    AluFunction,
    Condition,
    Op,
    Source,
)
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    ENVELOPE_POINTS,
    MARK_DEPTH,
    MARK_TICKS,
    WAVES,
)

__all__ = ["prove", "Proof", "EntryProof", "Slack", "Finding", "ProofError"]

INF = math.inf
_LOW, _HIGH = -2**31, 2**31 - 1
_TOP = (_LOW, _HIGH)
# Indices of what runs out with time.
_PENDING, _MARKS, _ROUNDS, _SETTLE = CHANNELS, 2 * CHANNELS, 2 * CHANNELS + 1, 2 * CHANNELS + 2
_IDLE = [-INF] * (2 * CHANNELS) + [0, 0, -INF]
# Indices of what is counted.
_INSTRUCTIONS, _OUTPUTS, _TAGS, _SYNDROMES, _PULSES = 0, 1, 2, 3, 4
_BUSY = _PULSES + CHANNELS
_COUNTS = _BUSY + CHANNELS
_OUTPUT_OPS = (Op.SET, Op.PULSE, Op.FREQ, Op.PHASE, Op.OFFSET, Op.SWITCH)
#: Visits of a backward jump's target until bounds that still grow are given up.
_PATIENCE = 4
#: Turns of the analysis of a loop, at most.
_ROUNDS_LIMIT = 40


@dataclasses.dataclass(frozen=True)
class Slack:
    """How near a check came to its limit.

    Attributes
    ----------
    check : str
    margin : int
        What is left; below 0 the check failed.
    unit : str
    pc : int
        Where; -1 if the whole program.
    line : Line or None
    """

    check: str
    margin: int
    unit: str
    pc: int
    line: object

    def __str__(self):
        where = f" at {self.line}" if self.line is not None else ""
        return f"{self.check}: {self.margin} {self.unit} to spare{where}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A reason why the program is not proven, or a warning.

    Attributes
    ----------
    check : str
    pc : int
    message, fix : str
    line : Line
    severity : str
    """

    check: str
    pc: int
    message: str
    fix: str
    line: object
    severity: str = "error"

    def __str__(self):
        where = f" (word {self.pc})" if self.pc >= 0 else ""
        return str(Diagnostic(self.line, 0, 0, f"{self.message}{where}", self.fix, self.severity))


@dataclasses.dataclass(frozen=True)
class EntryProof:
    """What a run from one entry does. Pairs are least and most; the most may be infinite.

    Attributes
    ----------
    halts : bool
        Whether a run can come to a ``HALT``. If not, the pairs count up to the stop by the host,
        and the most of each is infinite.
    ticks, instructions, outputs, marks, rounds : (int, int)
    pulses, busy_ticks : list of (int, int)
        For each channel.
    duty : list of (float, float) or None
        For each channel, the part of the time that it has a pulse; ``None`` if it has one without
        an end.
    """

    halts: bool
    ticks: tuple
    instructions: tuple
    outputs: tuple
    marks: tuple
    rounds: tuple
    pulses: list
    busy_ticks: list
    duty: list


@dataclasses.dataclass(frozen=True)
class Proof:
    """What :func:`prove` found.

    Attributes
    ----------
    ok : bool
    errors, warnings : list of Finding
    slack : dict
        Check -> :class:`Slack`, the smallest margin of each.
    entries : dict
        Name -> :class:`EntryProof`.
    """

    errors: list
    warnings: list
    slack: dict
    entries: dict

    @property
    def ok(self):
        return not self.errors

    @property
    def events(self):
        """Instructions that a run executes, ``(least, most)`` over all entries."""
        pairs = [entry.instructions for entry in self.entries.values()]
        return (min(p[0] for p in pairs), max(p[1] for p in pairs)) if pairs else (0, 0)

    def summary(self):
        """What an image keeps of it."""
        def pair(values):
            return [None if v == INF else v for v in values]

        return {
            "ok": self.ok,
            "slack": {name: {"margin": s.margin, "unit": s.unit, "word": s.pc}
                      for name, s in self.slack.items()},
            "entries": {name: {"halts": e.halts, "ticks": pair(e.ticks),
                               "instructions": pair(e.instructions), "marks": pair(e.marks)}
                        for name, e in self.entries.items()},
        }

    def check(self):
        """Raise if the program is not proven.

        Raises
        ------
        ProofError
        """
        if not self.ok:
            raise ProofError(self)
        return self


class ProofError(ValueError):
    """A program is not proven.

    Attributes
    ----------
    proof : Proof
    """

    def __init__(self, proof):
        self.proof = proof
        count = len(proof.errors)
        super().__init__("\n".join(map(str, proof.errors))
                         + f"\nnot proven: {count} reason{'s' if count > 1 else ''}")


def prove(assembly):
    """Prove a program's timeline.

    Parameters
    ----------
    assembly : Assembly

    Returns
    -------
    Proof
        With ``ok`` false if anything could go wrong in any run, or is not known.
    """
    return _Prover(assembly).run()


class _State:
    """Bounds at one place of the program, counted from where the region began."""

    __slots__ = ("low", "high", "regs", "left", "least", "most")

    def __init__(self, regs, left):
        self.low = self.high = 0
        #: (low, high, register that it was at the region's beginning or None, plus low, high)
        self.regs = regs
        self.left = left
        self.least, self.most = [0] * _COUNTS, [0] * _COUNTS

    def copy(self):
        new = _State.__new__(_State)
        new.low, new.high = self.low, self.high
        new.regs, new.left = list(self.regs), list(self.left)
        new.least, new.most = list(self.least), list(self.most)
        return new

    def values(self):
        return tuple(r[:2] for r in self.regs)

    def key(self):
        return (self.low, self.high, tuple(self.regs), tuple(self.left), tuple(self.least),
                tuple(self.most))

    def pass_time(self, least, most):
        self.low += least
        self.high += most
        left = [x - least for x in self.left]
        # Queues stay empty.
        if left[_MARKS] < 0:
            left[_MARKS] = 0
        if left[_ROUNDS] < 0:
            left[_ROUNDS] = 0
        self.left = left

    def count(self, index, least=1, most=1):
        self.least[index] += least
        self.most[index] += most

    def begin(self):
        """The same place as the beginning of a region."""
        return _State([(r[0], r[1], i, 0, 0) for i, r in enumerate(self.regs)], list(self.left))

    def after(self, inner, times=(1, 1)):
        """This state, and then what a region did that began here, as a new state."""
        new = inner.copy()
        new.low = self.low + inner.low
        new.high = self.high + inner.high
        new.least = [a + b for a, b in zip(self.least, inner.least, strict=True)]
        new.most = [a + b for a, b in zip(self.most, inner.most, strict=True)]
        for i, (low, high, of, plus, plus_high) in enumerate(inner.regs):
            if of is not None:
                was = self.regs[of]
                if was[2] is None:
                    new.regs[i] = (low, high, None, 0, 0)
                else:
                    new.regs[i] = (low, high, was[2], was[3] + plus, was[4] + plus_high)
        return new


def _join(a, b):
    """The bounds of either."""
    if a is None or b is None:
        return a or b
    new = a.copy()
    new.low, new.high = min(a.low, b.low), max(a.high, b.high)
    for i, (x, y) in enumerate(zip(a.regs, b.regs, strict=True)):
        if x != y:
            same = x[2] is not None and x[2] == y[2]
            new.regs[i] = (min(x[0], y[0]), max(x[1], y[1]), x[2] if same else None,
                           min(x[3], y[3]) if same else 0, max(x[4], y[4]) if same else 0)
    new.left = [max(x, y) for x, y in zip(a.left, b.left, strict=True)]
    new.least = [min(x, y) for x, y in zip(a.least, b.least, strict=True)]
    new.most = [max(x, y) for x, y in zip(a.most, b.most, strict=True)]
    return new


@dataclasses.dataclass
class _Result:
    """How a region is left, each as a state counted from its beginning (or ``None``)."""

    end: object = None
    returns: object = None
    halts: object = None
    #: (loops to leave, target) -> state
    escapes: dict = dataclasses.field(default_factory=dict)

    def escape(self, key, state):
        self.escapes[key] = _join(self.escapes.get(key), state)


@dataclasses.dataclass(frozen=True)
class _Region:
    """A stretch of the program that is looked at by itself.

    ``kind`` is "program", "loop" or "subroutine"; ``loops`` and ``calls`` are those around it;
    ``last`` of the loop that is innermost where a subroutine is called may not be met in it.
    """

    kind: str
    first: int
    last: int
    loops: int = 0
    calls: tuple = ()
    outer_last: int = -1


def _clip(low, high):
    return (low, high) if low >= _LOW and high <= _HIGH else _TOP


class _Prover:
    def __init__(self, assembly):
        self.assembly, self.words = assembly, assembly.words
        self.found, self.warned, self.slack = {}, {}, {}
        self.instructions, self.memo, self.visited = {}, {}, set()
        self.endless = set()
        self.reach = [wave_reach(wave) for wave in assembly.waves]
        self.wave_bounds = {}
        self.uses_time = False
        self.targets, self.thresholds = set(), {_LOW, _HIGH, 0, 1}
        for pc, word in enumerate(self.words):
            try:
                instruction = decode(word)
            except WordError:
                continue
            self.instructions[pc] = instruction
            given = instruction.operands
            if instruction.op is Op.BRH:
                self.targets |= {given["target"] + (i << given["size"])
                                 for i in range(BRH_ENTRIES - given["next"])}
            elif "target" in given:
                self.targets.add(given["target"])
            if instruction.op is Op.WAITUNTIL and isinstance(given["time"], int):
                self.uses_time = True
            constant = given.get("operand", given.get("value"))
            if isinstance(constant, int) and not isinstance(constant, R):
                signed = constant - 2**32 if constant >= 2**31 else constant
                self.thresholds |= {signed - 1, signed, signed + 1}
        self.thresholds = sorted(t for t in self.thresholds if _LOW <= t <= _HIGH)

    # Findings.

    def fail(self, check, pc, message, fix):
        self.found.setdefault((check, pc), Finding(check, pc, message, fix,
                                                   self.assembly.line(max(pc, 0))))

    def warn(self, check, pc, message, fix):
        self.warned.setdefault((check, pc), Finding(check, pc, message, fix,
                                                    self.assembly.line(max(pc, 0)), "warning"))

    def margin(self, check, pc, margin, unit):
        if margin == INF:
            return
        old = self.slack.get(check)
        if old is None or margin < old.margin:
            line = self.assembly.line(pc) if pc >= 0 else None
            self.slack[check] = Slack(check, margin if margin == -INF else int(margin), unit, pc,
                                      line)

    # The whole.

    def run(self):
        self.memory()
        entries = {}
        for name, pc in self.assembly.entries.items():
            regs = []
            for register in range(16):
                interval = self.assembly.assumptions.get(register)
                low, high = (interval.low, interval.high) if interval else _TOP
                if low > _HIGH:
                    low, high = low - 2**32, high - 2**32
                regs.append((*_clip(low, high), register, 0, 0))
            result = self.region(_Region("program", pc, len(self.words) - 1),
                                 _State(regs, list(_IDLE)), (0, 0))
            entries[name] = self.entry(result.halts)
        self.unreachable()
        errors = sorted(self.found.values(), key=lambda f: (f.pc, f.check))
        warnings = sorted(self.warned.values(), key=lambda f: (f.pc, f.check))
        return Proof(errors, warnings, dict(sorted(self.slack.items())), entries)

    def entry(self, state):
        halts = state is not None
        if not halts:
            state = _State([], list(_IDLE))
            state.high, state.most = INF, [INF] * _COUNTS

        def pair(index):
            return state.least[index], state.most[index]

        duty = []
        for channel in range(CHANNELS):
            low, high = pair(_BUSY + channel)
            if channel in self.endless:
                duty.append(None)
            elif high == 0:
                duty.append((0.0, 0.0))
            else:
                # The most busy run may be the longest one, too: a part is at most 1.
                least = low / state.high if state.high not in (0, INF) else 0.0
                most = high / state.low if state.low and high != INF else 1.0
                duty.append((min(least, 1.0), min(most, 1.0)))
        return EntryProof(halts, (state.low, state.high), pair(_INSTRUCTIONS), pair(_OUTPUTS),
                          pair(_TAGS), pair(_SYNDROMES),
                          [pair(_PULSES + c) for c in range(CHANNELS)],
                          [pair(_BUSY + c) for c in range(CHANNELS)], duty)

    def memory(self):
        a = self.assembly
        for check, used, room, unit in (
                ("program memory", len(a.words), PROGRAM_DEPTH, "words"),
                ("wave memory", len(a.waves), WAVES, "waves"),
                ("envelope memory", max(map(len, a.envelopes.values()), default=0),
                 ENVELOPE_POINTS, "points")):
            self.margin(check, -1, room - used, unit)
            if used > room:
                self.fail(check, -1, f"{used} {unit} do not fit the {room} of a slot",
                          "make it smaller: loops for repetitions, one envelope for several waves")
        if not a.words:
            self.fail("flow", -1, "the program has no instruction", "the least is halt")

    def unreachable(self):
        pcs = [pc for pc in range(len(self.words)) if pc not in self.visited
               and not self.assembly.line(pc).text.startswith("; fills")]
        start = None
        for index, pc in enumerate(pcs):
            if start is None:
                start = pc
            if index + 1 == len(pcs) or pcs[index + 1] != pc + 1:
                what = f"words {start} to {pc} are" if pc > start else f"word {start} is"
                self.warn("unreachable", start, f"{what} never reached",
                          "remove what no entry and no jump leads to")
                start = None

    # Regions.

    def region(self, region, entry, base):
        """What a region does, from ``entry`` on, which is ``base`` ticks after the start."""
        key = (region, entry.values(), tuple(entry.left), base if self.uses_time else None)
        if key not in self.memo:
            self.memo[key] = self.interpret(region, entry, base)
        return self.memo[key]

    def interpret(self, region, entry, base):
        result = _Result()
        arrived = {region.first: entry}
        visits, queue, queued = {}, [region.first], {region.first}

        def go(source, target, state, *, jump=True):
            """Follow an edge to ``target`` inside the region."""
            if jump and not (region.first <= target <= region.last or (
                    region.kind != "loop" and 0 <= target < len(self.words))):
                if target >= len(self.words):
                    self.fail("flow", source, f"this goes to word {target}, behind the program's "
                                              f"end", "give it a target in the program")
                else:
                    self.fail("loop levels", source,
                              f"this leaves a loop's body (to word {target}) and keeps the loop "
                              f"in use", "leave it by jmp or a branch with pop, from inside")
                return
            old = arrived.get(target)
            if old is None:
                new = state
            else:
                new = _join(old, state)
                if new.key() == old.key():
                    return
                if target <= source:
                    visits[target] = visits.get(target, 0) + 1
                    if visits[target] > _PATIENCE:
                        self.widen(old, new, visits[target] > 4 * _PATIENCE)
            arrived[target] = new
            if target not in queued:
                queued.add(target)
                heapq.heappush(queue, target)

        while queue:
            pc = heapq.heappop(queue)
            queued.discard(pc)
            state = arrived[pc].copy()
            # Straight on while nobody else can come in.
            while True:
                following = self.step(region, pc, state, base, result, go)
                if following is None:
                    break
                if following == region.last + 1 and region.kind == "loop":
                    result.end = _join(result.end, state)
                    break
                if following == region.outer_last + 1 and region.kind == "subroutine":
                    self.fail("loop levels", pc, "a subroutine runs through the end of a loop's "
                              "body that its caller is in", "put it outside of the loop")
                    break
                if following >= len(self.words):
                    self.fail("flow", pc, "the program runs off its end",
                              "end it with halt, jmp or ret")
                    break
                if following in self.targets or following in arrived:
                    go(pc, following, state, jump=False)
                    break
                pc = following
        return result

    def widen(self, old, new, hard):
        """Give up what still grows at a place that is met again and again."""
        if new.high > old.high:
            new.high = INF
        new.most = [INF if b > a else b for a, b in zip(old.most, new.most, strict=True)]
        if new.low < old.low:
            new.low = 0
        new.least = [0 if b < a else b for a, b in zip(old.least, new.least, strict=True)]
        new.left = [INF if b > a else b for a, b in zip(old.left, new.left, strict=True)]
        for i, (a, b) in enumerate(zip(old.regs, new.regs, strict=True)):
            if a == b:
                continue
            low, high = b[0], b[1]
            if low < a[0]:
                low = _LOW if hard else max(t for t in self.thresholds if t <= low)
            if high > a[1]:
                high = _HIGH if hard else min(t for t in self.thresholds if t >= high)
            new.regs[i] = (low, high, None, 0, 0)

    # One instruction.

    def step(self, region, pc, state, base, result, go):
        """Change ``state`` by one instruction; the word after it, or ``None`` if it goes."""
        self.visited.add(pc)
        instruction = self.instructions.get(pc)
        if instruction is None:
            try:
                decode(self.words[pc])
            except WordError as error:
                self.fail("words", pc, str(error), "assemble the program again")
            return None
        op, given = instruction.op, instruction.operands
        state.count(_INSTRUCTIONS)
        if op in _OUTPUT_OPS:
            state.count(_OUTPUTS)
        low = least(op, given)
        if low:
            self.margin("dwell", pc, instruction.dwell - low, "ticks")
        handler = _HANDLERS.get(op)
        if handler is not None:
            return getattr(self, handler)(region, pc, state, instruction, base, result, go)
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1

    def pulse(self, region, pc, state, instruction, base, result, go):
        given = instruction.operands
        channel, defer, wave = given["channel"], given["defer"], given["wave"]
        if isinstance(wave, R):
            low, high = state.regs[wave][:2]
            if low < 0 or high >= len(self.reach):
                what = "is not known" if (low, high) == _TOP else f"may be {low}..{high}"
                self.fail("wave memory", pc, f"the wave's number in {wave} {what}, and the "
                          f"program has {len(self.reach)} waves",
                          f"declare .assume {wave} in 0..{len(self.reach) - 1}")
                low, high = 0, len(self.reach) - 1
        else:
            low = high = wave
            if wave >= len(self.reach):
                self.fail("wave memory", pc, f"there is no wave {wave}; the program has "
                          f"{len(self.reach)}", "declare it with .wave")
                high = -1
        if isinstance(given["amplitude"], R):
            bounds = state.regs[given["amplitude"]][:2]
            if bounds[0] < -2**15 or bounds[1] >= 2**15:
                self.warn("amplitude", pc, f"the amplitude in {given['amplitude']} may be beyond "
                          f"full scale, and wraps around",
                          f"declare .assume {given['amplitude']} in -1.0..1.0")
        busy, pending = state.left[channel], state.left[_PENDING + channel]
        self.margin("overlap", pc, defer - busy, "ticks")
        if busy > defer:
            by = "an unknown time" if busy == INF else f"{busy - defer} ticks"
            self.fail("overlap", pc, f"a pulse on channel {channel} may begin while the one before "
                      f"lasts for {by} yet",
                      "wait longer before it, shorten the one before, or bound the register that "
                      "chooses its wave" if busy != INF else
                      "put the pulse where the program knows how long ago the last one was")
        elif pending > 0:
            self.fail("overlap", pc, f"a pulse on channel {channel} may be issued while a deferred "
                      f"one has not begun", f"wait {pending} ticks longer before it")
        if high >= low:
            shortest, longest, endless = self.waves_between(channel, pc, low, high)
            if endless:
                self.endless.add(channel)
            state.left[channel] = defer + longest
            state.left[_PENDING + channel] = defer + 1
            state.count(_PULSES + channel)
            state.count(_BUSY + channel, shortest, longest)
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1

    def waves_between(self, channel, pc, low, high):
        """Shortest and longest of some waves, and whether one has no end."""
        key = channel, low, high
        if key not in self.wave_bounds:
            have = len(self.assembly.envelopes.get(channel, ()))
            room = INF
            for number in range(low, high + 1):
                wave = self.assembly.waves[number]
                if have == ENVELOPE_POINTS:
                    continue
                left = have - wave.base - self.reach[number]
                room = min(room, left)
                if left < 0:
                    self.fail("envelope range", pc, f"wave {wave.name!r} reads points {wave.base} "
                              f"to {wave.base + self.reach[number] - 1} of channel {channel}, "
                              f"which has {have}",
                              f"declare its envelope for channel {channel}")
            lengths = [self.assembly.waves[n].length for n in range(low, high + 1)]
            self.wave_bounds[key] = min(lengths), max(lengths), 0 in lengths, room
        *bounds, room = self.wave_bounds[key]
        self.margin("envelope range", pc, room, "points")
        return bounds

    def delay(self, region, pc, state, instruction, base, result, go):
        low, high = state.regs[instruction["ra"]][:2]
        if low < 0:
            low, high = (low + 2**32, high + 2**32) if high < 0 else (0, 2**32 - 1)
        state.pass_time(instruction.dwell + low, instruction.dwell + high)
        return pc + 1

    def until(self, region, pc, state, instruction, base, result, go):
        time = instruction["time"]
        if not isinstance(time, int):
            ahead = self.assembly.ahead.get(pc)
            if ahead is None:
                self.fail("late", pc, f"nothing is known about the time in {time}",
                          f"declare it: waituntil {time}, ahead=1us..10us")
                return None
            self.margin("late", pc, ahead.low - UNTIL_TICKS, "ticks")
            if ahead.low < UNTIL_TICKS:
                self.fail("late", pc, f"a time {ahead.low} ticks ahead is too near",
                          f"the least is {UNTIL_TICKS}")
                return None
            state.pass_time(ahead.low, ahead.high)
            return pc + 1
        earliest, latest = base[0] + state.low, base[1] + state.high
        spare = time - latest - UNTIL_TICKS
        self.margin("late", pc, spare, "ticks")
        if spare < 0:
            when = "at no known time" if latest == INF else f"up to tick {latest}"
            self.fail("late", pc, f"waituntil {time} may be issued {when} after the start",
                      f"it has to be issued {UNTIL_TICKS} ticks before its time: choose a later "
                      f"one, or bound what is before it")
            return None
        state.pass_time(max(time - latest, UNTIL_TICKS), time - earliest)
        # The time is exact now, as long as the region began at an exact one.
        state.low, state.high = time - base[1], time - base[0]
        return pc + 1

    def wait(self, region, pc, state, instruction, base, result, go):
        op, given = instruction.op, instruction.operands
        timeout = self.timeout(pc, instruction)
        # Timeout first: it leaves from the state as it is.
        if timeout != INF:
            late = state.copy()
            late.pass_time(timeout + TIMEOUT_TICKS, timeout + TIMEOUT_TICKS)
            value = 0 if op is Op.DEC else timeout
            value = value - 2**32 if value >= 2**31 else value
            late.regs[given["rd"]] = (value, value, None, 0, 0)
            go(pc, given["target"], late)
        state.pass_time(1 + TRIGGER_TICKS, timeout + TRIGGER_TICKS)
        bounds = (0, 255) if op is Op.DEC else _clip(1, min(timeout, 2**32))
        state.regs[given["rd"]] = (*bounds, None, 0, 0)
        return pc + 1

    def timeout(self, pc, instruction):
        """The most ticks that a wait may take."""
        timeout = instruction["timeout"] or INF
        if timeout == INF:
            self.fail("timeout", pc, f"{instruction.op.name.lower()} may wait for ever",
                      "give it a timeout and a place to go to then")
        return timeout

    def herald(self, region, pc, state, instruction, base, result, go):
        given = instruction.operands
        timeout = self.timeout(pc, instruction)

        def to_table(entry, least, most):
            branch = state.copy()
            branch.pass_time(least, most)
            branch.regs[given["rd"]] = (entry, entry, None, 0, 0)
            self.leave(region, pc, given["pop"], given["target"] + (entry << given["size"]),
                       branch, result, go)

        for pattern in range(BRH_ENTRIES - 1):
            to_table(pattern, 1 + VERDICT_TICKS, timeout + VERDICT_TICKS)
        missed = BRH_ENTRIES - 1
        if timeout == INF:
            return None
        if not given["next"]:
            to_table(missed, timeout + TIMEOUT_TICKS, timeout + TIMEOUT_TICKS)
            return None
        state.pass_time(timeout + TRIGGER_TICKS, timeout + TRIGGER_TICKS)
        state.regs[given["rd"]] = (missed, missed, None, 0, 0)
        return pc + 1

    def loop(self, region, pc, state, instruction, base, result, go):
        count, span = instruction["count"], instruction["span"]
        if isinstance(count, R):
            low, high = state.regs[count][:2]
            if low <= 0 <= high:
                known = "is not known" if (low, high) == _TOP else f"may be {low}..{high}"
                self.fail("loop count", pc, f"the loop's count in {count} {known}; it may be 0",
                          f"declare .assume {count} in 1..1000 (its real range)")
                low, high = 1, max(1, high)
            elif high < 0:
                low, high = low + 2**32, high + 2**32
        else:
            low = high = count
        body_last = pc + span
        levels = region.loops + 1
        self.margin("loop levels", pc, LOOP_LEVELS - levels, "levels")
        if not span or not low:
            self.fail("loop count", pc, f"a loop of {span} words, {low} times, is refused",
                      "it needs a word and a turn at least")
            return None
        if levels > LOOP_LEVELS:
            self.fail("loop levels", pc, f"more than {LOOP_LEVELS} loops inside each other",
                      "put the inner ones into one, or call from fewer loops")
            return None
        if body_last > region.last or body_last >= len(self.words):
            self.fail("loop levels", pc, f"the loop's body ends at word {body_last}, outside of "
                      f"what it is in (it ends at {min(region.last, len(self.words) - 1)})",
                      "let it end inside")
            return None
        if region.kind == "subroutine" and pc <= region.outer_last <= body_last:
            self.fail("loop levels", pc, "a subroutine's loop holds the end of its caller's",
                      "put it outside of the loop")
            return None
        state.pass_time(instruction.dwell, instruction.dwell)
        body = _Region("loop", pc + 1, body_last, levels, region.calls)
        outcome = self.turns(pc, body, state, low, high,
                             (base[0] + state.low, base[1] + state.high))
        if outcome.halts is not None:
            result.halts = _join(result.halts, outcome.halts)
        for (pop, target), escaped in outcome.escapes.items():
            if pop == 1:
                go(pc, target, escaped)
            elif region.kind == "loop":
                result.escape((pop - 1, target), escaped)
            else:
                self.fail("loop levels", pc, f"a jump to word {target} leaves more loops than "
                          f"there are", "leave as many as it is in")
        if outcome.end is None:
            return None
        end = outcome.end
        state.low, state.high, state.regs, state.left = end.low, end.high, end.regs, end.left
        state.least, state.most = end.least, end.most
        if body_last == region.last and region.kind == "loop":
            return region.last + 1
        if region.kind == "subroutine" and body_last == region.outer_last:
            return region.outer_last + 1
        return body_last + 1

    def turns(self, pc, body, state, low, high, base):
        """All turns of a loop's body, from ``state`` on: ends, halts and escapes from the outside.
        """
        entry = state.begin()
        first = done = self.region(body, entry, base)
        bounds, plus = entry, {}
        turns = high - 1
        if first.end is not None and turns:
            bounds, plus, done = self.settle(pc, body, entry, first, turns, base)
        more_low, more_high = (done.end.low, done.end.high) if done.end is not None else (0, 0)
        outcome = _Result()

        def shifted(inner):
            """A state of any turn, seen from the loop's beginning."""
            new = state.after(inner)
            new.high += _times(more_high, turns)
            if done.end is not None:
                new.most = [a + _times(b, turns) for a, b in
                            zip(new.most, done.end.most, strict=True)]
            if turns:
                for i, r in enumerate(new.regs):
                    if plus.get(i, (None,)) != (0, 0) or inner.regs[i][2] != i:
                        new.regs[i] = (r[0], r[1], None, 0, 0)
            return new

        if done.returns is not None:
            self.fail("loop levels", pc, "ret inside a loop's body leaves the loop in use",
                      "jump out of the loop first")
        if done.halts is not None:
            outcome.halts = shifted(done.halts)
        outcome.escapes = {key: shifted(inner) for key, inner in done.escapes.items()}
        if first.end is None:
            return outcome
        end = state.after(done.end)
        end.low = state.low + first.end.low + (low - 1) * more_low
        end.high = state.high + first.end.high + _times(more_high, turns)
        end.least = [a + b + (low - 1) * c for a, b, c in
                     zip(state.least, first.end.least, done.end.least, strict=True)]
        end.most = [a + b + _times(c, turns) for a, b, c in
                    zip(state.most, first.end.most, done.end.most, strict=True)]
        if turns:
            for i, r in enumerate(done.end.regs):
                if plus.get(i) is None:
                    end.regs[i] = (r[0], r[1], None, 0, 0)
                    continue
                less, more = plus[i]
                less, more = (min(less * low, less * high), max(more * low, more * high))
                was = state.regs[i]
                bounds_now = was[0] + less, was[1] + more
                if bounds_now[0] < _LOW or bounds_now[1] > _HIGH:
                    end.regs[i] = (*_TOP, None, 0, 0)
                elif was[2] is None:
                    end.regs[i] = (*bounds_now, None, 0, 0)
                else:
                    end.regs[i] = (*bounds_now, was[2], was[3] + less, was[4] + more)
        outcome.end = end
        return outcome

    def settle(self, pc, body, entry, first, turns, base):
        """Bounds that hold at the beginning of every turn.

        Returns
        -------
        (_State, dict, _Result)
            The bounds; for each register that only grows by a constant what it grows by in a
            turn, else ``None``; what a turn from the bounds does.
        """
        bounds, done, last_time = entry, first, None
        plus = {i: (0, 0) for i in range(16)}
        seen_plus = {}
        for number in range(_ROUNDS_LIMIT):
            if done.end is None:
                # Only where a check failed, which is noted: any bounds will do.
                return entry, {i: None for i in range(16)}, first
            regs = []
            for i, r in enumerate(done.end.regs):
                was, now = entry.regs[i], bounds.regs[i]
                if plus[i] is not None and r[2] == i:
                    old = seen_plus.get(i)
                    step = (r[3], r[4]) if old is None else (min(old[0], r[3]), max(old[1], r[4]))
                    seen_plus[i] = plus[i] = step
                    low = was[0] + min(0, step[0] * turns)
                    high = was[1] + max(0, step[1] * turns)
                    low, high = _clip(low, high)
                    if (low, high) == _TOP and step != (0, 0) and (was[:2]) != _TOP:
                        plus[i] = None
                else:
                    plus[i] = None
                    low, high = min(now[0], r[0], was[0]), max(now[1], r[1], was[1])
                    if number > _PATIENCE and (low < now[0] or high > now[1]):
                        low, high = _TOP
                regs.append((low, high, i, 0, 0))
            left = [max(a, b) for a, b in zip(bounds.left, done.end.left, strict=True)]
            growth = {q: done.end.left[q] - bounds.left[q] if bounds.left[q] != INF else 0
                      for q in (_MARKS, _ROUNDS)}
            calm = all(a <= b for i, (a, b) in enumerate(zip(left, bounds.left, strict=True))
                       if i not in (_MARKS, _ROUNDS)) and regs == bounds.regs
            until = base[1] + _times(done.end.high, turns)
            time = (base[0], until) if self.uses_time else base
            if calm and all(g <= 0 for g in growth.values()) and (
                    not self.uses_time or time == last_time):
                return bounds, plus, done
            if calm and number >= _PATIENCE and any(g > 0 for g in growth.values()):
                # A queue grows by no more in any turn than it did in this one, from less.
                for q, g in growth.items():
                    if g > 0:
                        left[q] = bounds.left[q] + g * turns
                bounds = _State(regs, left)
                done = self.region(body, bounds, time)
                return bounds, plus, done if done.end is not None else first
            if number > 2 * _PATIENCE:
                for i, (a, b) in enumerate(zip(left, bounds.left, strict=True)):
                    if a > b and i not in (_MARKS, _ROUNDS):
                        left[i] = INF
            bounds, last_time = _State(regs, left), time
            done = self.region(body, bounds, time)
        self.fail("flow", pc, "the prover finds no bounds for this loop",
                  "make what changes from turn to turn simpler")
        return bounds, {i: None for i in range(16)}, done

    def jump(self, region, pc, state, instruction, base, result, go):
        state.pass_time(instruction.dwell, instruction.dwell)
        self.leave(region, pc, instruction["pop"], instruction["target"], state, result, go)

    def leave(self, region, pc, pop, target, state, result, go):
        if pop == 0:
            go(pc, target, state)
        elif region.kind == "loop":
            result.escape((pop, target), state.copy())
        else:
            self.fail("loop levels", pc, f"this leaves {pop} loops more than there are",
                      "leave as many as it is in" if region.kind == "program" else
                      "a subroutine may not leave the loops of its caller")

    def call(self, region, pc, state, instruction, base, result, go):
        target = instruction["target"]
        state.pass_time(instruction.dwell, instruction.dwell)
        self.margin("calls", pc, CALL_LEVELS - len(region.calls) - 1, "levels")
        if target in region.calls:
            self.fail("calls", pc, f"the subroutine at word {target} calls itself",
                      "use a loop; the call stack has 8 levels")
            return None
        if len(region.calls) == CALL_LEVELS:
            self.fail("calls", pc, f"more than {CALL_LEVELS} calls inside each other",
                      "put the innermost ones in line")
            return None
        if pc == region.last and region.kind == "loop":
            self.fail("loop levels", pc, "call as the last word of a loop's body: its return "
                      "misses the loop's end", "put a nop behind it")
            return None
        if target >= len(self.words):
            self.fail("flow", pc, f"there is no word {target}", "call a label")
            return None
        inner_last = region.last if region.kind == "loop" else region.outer_last
        sub = _Region("subroutine", target, len(self.words) - 1, region.loops,
                      (*region.calls, target), inner_last)
        outcome = self.region(sub, state.begin(), (base[0] + state.low, base[1] + state.high))
        if outcome.halts is not None:
            result.halts = _join(result.halts, state.after(outcome.halts))
        if outcome.returns is None:
            return None
        after = state.after(outcome.returns)
        state.low, state.high, state.regs, state.left = (after.low, after.high, after.regs,
                                                         after.left)
        state.least, state.most = after.least, after.most
        return pc + 1

    def ret(self, region, pc, state, instruction, base, result, go):
        state.pass_time(instruction.dwell, instruction.dwell)
        if region.kind == "subroutine":
            result.returns = _join(result.returns, state.copy())
        elif region.kind == "loop":
            self.fail("loop levels", pc, "ret inside a loop's body leaves the loop in use",
                      "jump out of the loop first")
        else:
            self.fail("calls", pc, "ret without a call", "halt, or jump")

    def branch(self, region, pc, state, instruction, base, result, go):
        state.pass_time(instruction.dwell, instruction.dwell)
        ra, operand = instruction["ra"], instruction["operand"]
        other = state.regs[operand][:2] if isinstance(operand, R) else (operand, operand)
        yes, no = _refine(state.regs[ra][:2], other, instruction["condition"],
                          same=isinstance(operand, R) and operand == ra)
        if yes is not None:
            taken = state.copy()
            taken.regs[ra] = (*yes, *state.regs[ra][2:])
            self.leave(region, pc, instruction["pop"], instruction["target"], taken, result, go)
        if no is None:
            return None
        state.regs[ra] = (*no, *state.regs[ra][2:])
        return pc + 1

    def halt(self, region, pc, state, instruction, base, result, go):
        result.halts = _join(result.halts, state.copy())

    def switch(self, region, pc, state, instruction, base, result, go):
        if self.assembly.settle_ticks is not None:
            state.left[_SETTLE] = self.assembly.settle_ticks
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1

    def arm(self, region, pc, state, instruction, base, result, go):
        left = state.left[_SETTLE]
        self.margin("settle", pc, -left, "ticks")
        if left > 0:
            self.fail("settle", pc, f"arm comes up to {left} ticks before the route has settled",
                      f"wait {left} ticks longer after switch")
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1

    def tag(self, region, pc, state, instruction, base, result, go):
        waiting = state.left[_MARKS] + MARK_TICKS
        state.left[_MARKS] = waiting
        state.count(_TAGS)
        room = MARK_DEPTH * MARK_TICKS
        self.margin("mark queue", pc,
                    -INF if waiting == INF else (room - waiting) // MARK_TICKS, "marks")
        if waiting > room:
            self.fail("mark queue", pc, f"marks may come faster than they leave, and find the "
                      f"queue of {MARK_DEPTH} full",
                      f"a mark leaves every {MARK_TICKS} ticks: set fewer, or wait between")
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1

    def syn(self, region, pc, state, instruction, base, result, go):
        if instruction["push"]:
            state.count(_SYNDROMES)
            rate = self.assembly.decoder
            if rate is None:
                self.fail("decoder queue", pc, "nothing is known about the decoder's speed",
                          "declare .decoder every=1us, depth=8 (a round each, room for rounds)")
            else:
                waiting = state.left[_ROUNDS] + rate.ticks
                state.left[_ROUNDS] = waiting
                room = rate.depth * rate.ticks
                self.margin("decoder queue", pc, -INF if waiting == INF
                            else (room - waiting) // rate.ticks, "rounds")
                if waiting > room:
                    self.fail("decoder queue", pc, f"rounds may come faster than one in "
                              f"{rate.ticks} ticks, and find the queue of {rate.depth} full",
                              "wait longer between rounds")
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1

    def data(self, region, pc, state, instruction, base, result, go):
        op, given = instruction.op, instruction.operands
        if op is Op.LI:
            value = given["value"]
            value -= 2**32 if value >= 2**31 else 0
            new = (value, value, None, 0, 0)
        elif op is Op.GET:
            new = (*{Source.INPUTS: (0, 255), Source.VERDICT: (0, 31),
                     Source.FRAME: (0, 65535), Source.SITES: (0, 65535),
                     Source.HERALD_FRAME: (0, 255)}.get(given["source"], _TOP), None, 0, 0)
        elif op is Op.LDT:
            new = (*_TOP, None, 0, 0)
        else:
            operand = given["operand"]
            other = state.regs[operand] if isinstance(operand, R) else (
                operand, operand, None, 0, 0)
            new = _alu(given["function"], state.regs[given["ra"]], other, given["shift"])
        state.regs[given["rd"]] = new
        state.pass_time(instruction.dwell, instruction.dwell)
        return pc + 1


def _times(value, turns):
    """A product in which nothing is nothing, whatever the other is."""
    return 0 if not turns or not value else value * turns


_HANDLERS = {
    Op.PULSE: "pulse", Op.DELAY: "delay", Op.WAITUNTIL: "until", Op.WAITTRIG: "wait",
    Op.BARRIER: "wait", Op.BRH: "herald", Op.DEC: "wait", Op.LOOP: "loop", Op.JMP: "jump",
    Op.CALL: "call", Op.RET: "ret", Op.BR: "branch", Op.HALT: "halt", Op.SWITCH: "switch",
    Op.ARM: "arm", Op.TAG: "tag", Op.SYN: "syn", Op.LI: "data", Op.ALU: "data", Op.GET: "data",
    Op.LDT: "data",
}


def _refine(a, b, condition, same=False):
    """Bounds of ``a`` if ``a condition b`` holds, and if not; ``None`` where that cannot be."""
    (low, high), (least_b, most_b) = a, b
    if same:
        holds = condition in (Condition.EQ, Condition.GE, Condition.GEU)
        return (a, None) if holds else (None, a)
    if condition in (Condition.LTU, Condition.GEU):
        if low < 0 or least_b < 0:
            return a, a
        condition = Condition.LT if condition is Condition.LTU else Condition.GE
    if condition in (Condition.EQ, Condition.NE):
        equal = max(low, least_b), min(high, most_b)
        other = a
        if least_b == most_b:
            other = (low + (low == least_b), high - (high == least_b))
        pairs = equal, other
        yes, no = pairs if condition is Condition.EQ else pairs[::-1]
    else:
        less, rest = (low, min(high, most_b - 1)), (max(low, least_b), high)
        yes, no = (less, rest) if condition is Condition.LT else (rest, less)
    return tuple(x if x[0] <= x[1] else None for x in (yes, no))


def _alu(function, a, b, shift):
    """Bounds of a result."""
    (al, ah), (bl, bh) = a[:2], b[:2]
    top = (*_TOP, None, 0, 0)

    def known(low, high):
        return (low, high, None, 0, 0) if _LOW <= low and high <= _HIGH else top

    if function in (AluFunction.ADD, AluFunction.SUB):
        if function is AluFunction.SUB:
            bl, bh = -bh, -bl
        if al + bl < _LOW or ah + bh > _HIGH:
            return top
        if a[2] is not None:
            return (al + bl, ah + bh, a[2], a[3] + bl, a[4] + bh)
        if b[2] is not None and function is AluFunction.ADD:
            return (al + bl, ah + bh, b[2], b[3] + al, b[4] + ah)
        return (al + bl, ah + bh, None, 0, 0)
    if function is AluFunction.MUL:
        corners = [x * y >> shift for x in (al, ah) for y in (bl, bh)]
        return known(min(corners), max(corners))
    if function in (AluFunction.SHL, AluFunction.SHR, AluFunction.SAR):
        if bl != bh:
            # Any shift: only a shift to the right of what is not negative stays known.
            if function is not AluFunction.SHL and al >= 0:
                return known(0, ah)
            return top
        by = bl & 31
        if function is AluFunction.SHL:
            return known(al << by, ah << by)
        if function is AluFunction.SAR or al >= 0:
            return known(al >> by, ah >> by)
        return known(0, (2**32 - 1) >> by) if by else (al, ah, None, 0, 0)
    if al == ah and bl == bh:
        value = {AluFunction.AND: al & bl, AluFunction.OR: al | bl,
                 AluFunction.XOR: al ^ bl}[function]
        return known(value, value)
    if function is AluFunction.AND:
        if al >= 0 or bl >= 0:
            return known(0, min(ah if al >= 0 else _HIGH, bh if bl >= 0 else _HIGH))
        return top
    if al >= 0 and bl >= 0:
        most = (1 << max(ah, bh).bit_length()) - 1
        return known(max(al, bl) if function is AluFunction.OR else 0, most)
    return top
