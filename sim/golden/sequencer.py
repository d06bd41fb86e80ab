"""Golden model of the sequencer's engine: what a program does, tick for tick.

The model goes from instruction to instruction and works out when a wait ends from lists of what
happens in the world, so ticks in which nothing is issued cost nothing. It knows of the gateware
only what ``quantacore.gateware.layouts.instructions`` promises.
"""

from bisect import bisect_left, bisect_right

from amaranth.hdl import Shape

from quantacore.gateware.layouts.instructions import (
    CALL_LEVELS,
    FORMATS,
    LOOP_LEVELS,
    PROGRAM_DEPTH,
    REGISTERS,
    SHORT_LOOP,
    TIMEOUT_TICKS,
    TRIGGER_TICKS,
    UNTIL_TICKS,
    VERDICT_TICKS,
    AluFunction,
    AnyInstruction,
    Condition,
    Fault,
    Op,
    Source,
    TriggerMode,
    least_dwell,
)
from quantacore.gateware.layouts.sequencer import SequencerState

__all__ = ["SequencerModel", "World", "fields", "encode"]

_LAST_PC = PROGRAM_DEPTH - 1
_WORD = (1 << 32) - 1
_SIGN = 1 << 31
_NEVER = 1 << 80
#: LDT looks at the difference so many ticks after its issue.
_DELTA_TICKS = 4
#: No time is further ahead.
_LONGEST = 1 << 48
#: Bit of a BRH's mode: go on with the next word at a timeout.
_ONWARD = 1
#: What GET reads of the herald unit.
_HERALD = (Source.CLICKED, Source.SITES, Source.HERALD_FRAME, Source.ATTEMPT)
#: The entry of a BRH table that a timeout takes, and what it puts into ``rd``.
_NO_VERDICT = 16

_FIELDS = {op: {name: (field.offset, Shape.cast(field.shape).width, Shape.cast(field.shape).signed)
                for name, field in layout.as_shape()}
           for op, layout in FORMATS.items()}
_ANY = {name: (field.offset, (1 << Shape.cast(field.shape).width) - 1)
        for name, field in AnyInstruction.as_shape()}
_OPS = {op.value: op for op in Op}


def fields(word):
    """Operation and fields of an instruction: ``(Op, dict of int)``; ``(None, {})`` if unknown."""
    op = _OPS.get(word >> _ANY["op"][0] & _ANY["op"][1])
    found = {}
    if op is not None:
        for name, (offset, width, signed) in _FIELDS[op].items():
            value = word >> offset & (1 << width) - 1
            if signed and value >> width - 1:
                value -= 1 << width
            found[name] = value
    return op, found


def encode(op, **values):
    """Word of operation ``op`` with these fields (ints or enumeration members), the others 0.

    Raises
    ------
    KeyError
        The operation has no such field.
    ValueError
        A value does not fit its field.
    """
    word = op.value
    for name, value in values.items():
        offset, width, signed = _FIELDS[op][name]
        value = getattr(value, "value", value)
        low = -(1 << width - 1) if signed else 0
        if not low <= value < low + (1 << width):
            raise ValueError(f"{name} of {op.name} must be between {low} and "
                             f"{low + (1 << width) - 1}, not {value}")
        word |= (value & (1 << width) - 1) << offset
    return word


class World:
    """What the sequencer sees of the world, as lists in the order of time.

    Parameters
    ----------
    triggers, peers : iterable of (tick, int)
        Levels of all inputs from a tick on; 0 before the first.
    verdicts : iterable of (tick, index)
        Strobes of the herald unit, at most one per tick.
    frames : two iterables of (tick, obs, last)
        Strobes of the decoder for each basis, at most one per tick.
    delta : function of (first, second, tick)
        Difference of two photons' times that the input shows in a tick; 0 if left out.
    herald : function of (Source, tick)
        What CLICKED, SITES, HERALD_FRAME or ATTEMPT shows in a tick; 0 if left out.
    """

    def __init__(self, *, triggers=(), peers=(), verdicts=(), frames=((), ()), delta=None,
                 herald=None):
        self.triggers = self._levels(triggers)
        self.peers = self._levels(peers)
        self.verdicts = self._columns(verdicts, 2)
        self.frames = [self._columns(strobes, 3) for strobes in frames]
        self.last_frames = [[tick for tick, _, last in zip(*strobes, strict=True) if last]
                            for strobes in self.frames]
        self.delta = delta or (lambda first, second, tick: 0)
        self.herald = herald or (lambda source, tick: 0)

    @staticmethod
    def _columns(rows, count):
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
        if any(a >= b for a, b in zip(columns[0], columns[0][1:], strict=False)):
            raise ValueError("What happens in the world must be in the order of time, at most "
                             f"once per tick: got ticks {columns[0]}")
        return columns

    @classmethod
    def _levels(cls, changes):
        ticks, levels = cls._columns(changes, 2)
        return [-1, *ticks], [0, *levels]


# Kinds of decoded instructions, most frequent first: the order in which the interpreter asks.
(_PLAIN, _ALU, _LI, _LOOP, _BR, _JMP, _CALL, _RET, _DELAY, _GET, _TRIGGER, _BARRIER, _BRH, _DEC,
 _UNTIL, _ARM, _SYN, _LDT, _HALT, _ILLEGAL) = range(20)
_WAITS = {Op.WAITTRIG: _TRIGGER, Op.BARRIER: _BARRIER, Op.BRH: _BRH, Op.DEC: _DEC}
_FLOW = {Op.JMP: _JMP, Op.CALL: _CALL, Op.RET: _RET}
_KINDS = _WAITS | _FLOW | {
    Op.DELAY: _DELAY, Op.WAITUNTIL: _UNTIL, Op.LOOP: _LOOP, Op.BR: _BR, Op.HALT: _HALT,
    Op.ARM: _ARM, Op.LDT: _LDT, Op.LI: _LI, Op.ALU: _ALU, Op.GET: _GET, Op.SYN: _SYN,
}


def _decode(word):
    """``(kind, word, ra, rb, dwell, arguments)`` of an instruction."""
    op, f = fields(word)
    ra, rb = word >> _ANY["ra"][0] & _ANY["ra"][1], word >> _ANY["rb"][0] & _ANY["rb"][1]
    illegal = _ILLEGAL, word, ra, rb, 0, ()
    if op is None:
        return illegal
    dwell = f.get("dwell", 0) + (f.get("more", 0) << 14)
    multiply = op is Op.ALU and f["function"] == AluFunction.MUL.value
    if (op is Op.ALU and f["function"] > max(function.value for function in AluFunction)
            or op is Op.BR and f["condition"] > max(condition.value for condition in Condition)
            or op is Op.GET and f["source"] > max(source.value for source in Source)
            or dwell < least_dwell(op, multiply=multiply,
                                   short=op is Op.LOOP and f["span"] < SHORT_LOOP,
                                   register=op is Op.LOOP and bool(f["register"]))):
        return illegal
    kind = _KINDS.get(op, _PLAIN)
    arguments = ()
    if kind == _ALU:
        operand = f["value"] & _WORD if f["immediate"] else None
        arguments = AluFunction(f["function"]), f["rd"], operand, f["shift"]
    elif kind == _LI:
        arguments = f["rd"], f["value"]
    elif kind == _LOOP:
        arguments = f["span"], f["count"], f["register"]
    elif kind == _BR:
        operand = f["value"] & _WORD if f["immediate"] else None
        arguments = Condition(f["condition"]), operand, f["pop"], f["target"]
    elif op in _FLOW:
        arguments = f["pop"], f["target"]
    elif kind == _GET:
        arguments = Source(f["source"]), f["rd"]
    elif op in _WAITS:
        arguments = f["mode"], f["mask"], f["timeout"], f["target"], f["rd"]
    elif kind == _UNTIL:
        arguments = f["registers"], f["time"]
    elif kind == _SYN:
        arguments = (f["first"],)
    elif kind == _LDT:
        arguments = f["first"], f["second"], f["rd"]
    elif kind == _HALT:
        arguments = (f["code"],)
    return kind, word, ra, rb, dwell, arguments


def _signed(value):
    return value - ((value & _SIGN) << 1)


def _alu(function, a, b, shift):
    if function is AluFunction.ADD:
        return a + b & _WORD
    if function is AluFunction.SUB:
        return a - b & _WORD
    if function is AluFunction.AND:
        return a & b
    if function is AluFunction.OR:
        return a | b
    if function is AluFunction.XOR:
        return a ^ b
    if function is AluFunction.SHL:
        return a << (b & 31) & _WORD
    if function is AluFunction.SHR:
        return a >> (b & 31)
    if function is AluFunction.SAR:
        return _signed(a) >> (b & 31) & _WORD
    return _signed(a) * _signed(b) >> shift & _WORD


def _holds(condition, a, b):
    if condition is Condition.EQ:
        return a == b
    if condition is Condition.NE:
        return a != b
    if condition is Condition.LTU:
        return a < b
    if condition is Condition.GEU:
        return a >= b
    if condition is Condition.LT:
        return a ^ _SIGN < b ^ _SIGN
    return a ^ _SIGN >= b ^ _SIGN


def _triggered(mode, mask, before, now):
    if mode is TriggerMode.RISE:
        return now & ~before & mask != 0
    if mode is TriggerMode.FALL:
        return before & ~now & mask != 0
    if mode is TriggerMode.HIGH:
        return now & mask != 0
    return now & mask == mask


class SequencerModel:
    """A node's sequencer from its reset on; programs are run one after the other.

    :meth:`start` a program, then :meth:`advance` to a tick. Attributes say what stands then; a
    program that is stopped from outside is one that is not advanced any further.

    Parameters
    ----------
    program : sequence of int
        64-bit words from address 0 on; memory behind them holds 0.

    Attributes
    ----------
    commands : list of (tick, word, a, b)
        Every command since the start, with the tick in which it was *issued*.
    state : SequencerState
        RUNNING, HALTED or FAULT; IDLE before the first start.
    fault : Fault
    pc : int
        Address of the instruction issued last, or of the one that was refused; 0 before any.
    tick : int
        While RUNNING the tick of the next issue, if ``waiting`` that of the wait that was issued.
    waiting : bool
        A wait has been issued and not ended.
    started, stopped : int
        Tick of the first instruction, and of the one that ended the program.
    wait_ended : int
        The tick that ended the last wait. A fault at a ``BRH`` that leaves too many loops comes
        after it, though ``stopped`` is the tick of the ``BRH``.
    halt_code, waited, barrier : int
    registers : list of int
        Unsigned. Results stand in them from issue on.
    loops : list of [first, last, remaining]
    calls : list of int
    """

    def __init__(self, program=()):
        self.load(program)
        self.registers = [0] * REGISTERS
        self.commands = []
        self.state = SequencerState.IDLE
        self.fault = Fault.NONE
        self.pc = self.tick = self.started = self.stopped = 0
        self.halt_code = self.waited = self.barrier = self.wait_ended = 0
        self.waiting = False
        self.loops, self.calls = [], []
        self._high = 0
        self._verdict = 0
        self._frame = [0, 0]
        self._next_pc = 0
        # Strobes before these ticks are forgotten.
        self._verdict_from = self._armed = 0
        self._frame_from = [0, 0]
        self._world = World()

    def load(self, program):
        """Put ``program`` into memory from address 0 on; the rest of the memory holds 0."""
        if len(program) > PROGRAM_DEPTH:
            raise ValueError(f"A program has at most {PROGRAM_DEPTH} words, not {len(program)}")
        self._program = [*program, *[0] * (PROGRAM_DEPTH - len(program))]
        self._code = [None] * PROGRAM_DEPTH

    def start(self, tick, world, *, pc=0, since=None):
        """Let the first instruction, that at ``pc``, be issued in ``tick``.

        Registers stay as the last program left them; loops, calls, the barrier, the verdict and
        the frames do not: of verdicts and frames only those from tick ``since`` on count, which is
        ``tick`` if left out. ``world`` takes the place of the one before, whose strobes before
        ``since`` GET can still find, unless :meth:`leave` said another tick.
        """
        since = tick if since is None else since
        self.leave(since)
        self._world = world
        self.commands = []
        self.state = SequencerState.RUNNING
        self.fault = Fault.NONE
        self.tick = self.started = tick
        self._next_pc = pc
        self.waiting = False
        self.barrier = 0
        self.loops, self.calls = [], []
        self._verdict_from = self._armed = since
        self._frame_from = [since, since]

    def leave(self, until):
        """Nothing more happens in this world from tick ``until`` on."""
        ticks, indices = self._world.verdicts
        if i := bisect_left(ticks, until):
            self._verdict = indices[i - 1]
        for basis, (ticks, obs, _) in enumerate(self._world.frames):
            if i := bisect_left(ticks, until):
                self._frame[basis] = obs[i - 1]
        self._world = World()

    # -- the world ---------------------------------------------------------------------------------

    def _wait_level(self, changes, tick, last, holds):
        """First tick from ``tick + 1`` to ``last`` in which levels do as ``holds(before, now)``."""
        ticks, levels = changes
        i = bisect_right(ticks, tick)
        before = levels[i - 1]
        now_tick = tick + 1
        while now_tick <= last:
            now = before
            if i < len(ticks) and ticks[i] == now_tick:
                now = levels[i]
                i += 1
            if holds(before, now):
                return now_tick
            before = now
            if i == len(ticks):
                break
            now_tick = ticks[i]
        return None

    @staticmethod
    def _wait_strobe(ticks, tick, last, since):
        """First tick from ``tick + 1`` to ``last`` at which there was a strobe from ``since`` on.
        """
        i = bisect_left(ticks, since)
        if i == len(ticks) or ticks[i] > last:
            return None
        return max(ticks[i], tick + 1)

    def _frame_at(self, basis, tick):
        ticks, obs, _ = self._world.frames[basis]
        i = bisect_right(ticks, tick)
        return obs[i - 1] if i else self._frame[basis]

    def _verdict_at(self, tick):
        """Pattern of the last verdict up to ``tick``, and whether it came after the last ARM."""
        ticks, indices = self._world.verdicts
        i = bisect_right(ticks, tick)
        if not i:
            return self._verdict, False
        return indices[i - 1], ticks[i - 1] >= self._armed

    def _source(self, source, tick):
        if source is Source.TICK_LOW:
            self._high = tick >> 32 & _WORD
            return tick & _WORD
        if source is Source.TICK_HIGH:
            return self._high
        if source is Source.WAITED:
            return self.waited
        if source is Source.INPUTS:
            ticks, levels = self._world.triggers
            return levels[bisect_right(ticks, tick) - 1]
        if source is Source.VERDICT:
            index, valid = self._verdict_at(tick)
            return index | valid << 4
        if source in _HERALD:
            return self._world.herald(source, tick)
        return self._frame_at(0, tick) | self._frame_at(1, tick) << 8

    def _end_wait(self, kind, tick, arguments, until):
        """End the wait issued in ``tick``, if it ends before ``until``.

        Returns
        -------
        (int, int or None, int) or None
            Tick of the next issue; where, if that is not the word that follows; loops that are left
            on the way there.
        """
        mode, mask, timeout, target, rd = arguments
        last = tick + timeout if timeout else _NEVER
        world = self._world
        if kind == _TRIGGER:
            end = self._wait_level(world.triggers, tick, last,
                                   lambda before, now: _triggered(TriggerMode(mode), mask, before,
                                                                  now))
        elif kind == _BARRIER:
            mine = mask * self.barrier
            end = self._wait_level(world.peers, tick, last,
                                   lambda before, now: now & mask == mine)
        elif kind == _BRH:
            end = self._wait_strobe(world.verdicts[0], tick, last, self._verdict_from)
        else:
            basis = mask & 1
            strobes = world.last_frames[basis] if mask & 2 else world.frames[basis][0]
            end = self._wait_strobe(strobes, tick, last, self._frame_from[basis])
        if (last if end is None else end) >= until:
            return None
        self.wait_ended = last if end is None else end
        pop = mask >> 3 & 7 if kind == _BRH else 0
        if end is None:
            self.waited = timeout
            self.registers[rd] = {_BRH: _NO_VERDICT, _DEC: 0}.get(kind, timeout)
            if kind == _BRH:
                if mode & _ONWARD:
                    return last + TRIGGER_TICKS, None, 0
                target += _NO_VERDICT << (mask & 7)
            return last + TIMEOUT_TICKS, target & _LAST_PC, pop
        self.waited = end - tick & _WORD
        if kind == _BRH:
            index, _ = self._verdict_at(end)
            self._verdict_from = end + 1
            self.registers[rd] = index
            return end + VERDICT_TICKS, target + (index << (mask & 7)) & _LAST_PC, pop
        if kind == _DEC:
            self._frame_from[basis] = end + 1
            self.registers[rd] = self._frame_at(basis, end)
        else:
            self.registers[rd] = self.waited
        return end + TRIGGER_TICKS, None, 0

    # -- the interpreter ---------------------------------------------------------------------------

    def advance(self, until):
        """Go on to tick ``until``: what is issued before it is in ``commands``.

        What happens in the world in ticks before ``until`` must be known by then.
        """
        if self.state is not SequencerState.RUNNING:
            return
        code, registers, commands = self._code, self.registers, self.commands
        loops = self.loops
        tick, pc, at = self.tick, self._next_pc, self.pc
        last = loops[-1][1] if loops else -1
        fault = Fault.NONE
        while True:
            if self.waiting:
                pc = at
                instruction = code[pc]
                kind, word, ra, rb, dwell, arguments = instruction
            else:
                if tick >= until:
                    break
                at = pc
                instruction = code[pc]
                if instruction is None:
                    instruction = code[pc] = _decode(self._program[pc])
                kind, word, ra, rb, dwell, arguments = instruction
                if kind == _ILLEGAL:
                    fault = Fault.ILLEGAL
                    break
                commands.append((tick, word, registers[ra], registers[rb]))

            if kind == _PLAIN:
                tick += dwell
            elif kind == _ALU:
                function, rd, operand, shift = arguments
                registers[rd] = _alu(function, registers[ra],
                                     registers[rb] if operand is None else operand, shift)
                tick += dwell
            elif kind == _LI:
                registers[arguments[0]] = arguments[1]
                tick += dwell
            elif kind == _LOOP:
                span, count, register = arguments
                if register:
                    count = registers[ra]
                if not count or not span:
                    fault = Fault.LOOP_EMPTY
                    break
                if len(loops) == LOOP_LEVELS:
                    fault = Fault.LOOP_OVERFLOW
                    break
                last = pc + span & _LAST_PC
                loops.append([pc + 1 & _LAST_PC, last, count])
                tick += dwell
            elif kind == _BR:
                condition, operand, pop, target = arguments
                taken = _holds(condition, registers[ra],
                               registers[rb] if operand is None else operand)
                if taken and pop > len(loops):
                    fault = Fault.LOOP_UNDERFLOW
                    break
                tick += dwell
                if taken:
                    if pop:
                        del loops[-pop:]
                        last = loops[-1][1] if loops else -1
                    pc = target
                    continue
            elif kind == _JMP:
                pop, target = arguments
                if pop > len(loops):
                    fault = Fault.LOOP_UNDERFLOW
                    break
                if pop:
                    del loops[-pop:]
                    last = loops[-1][1] if loops else -1
                tick += dwell
                pc = target
                continue
            elif kind == _CALL:
                if len(self.calls) == CALL_LEVELS:
                    fault = Fault.CALL_OVERFLOW
                    break
                self.calls.append(pc + 1 & _LAST_PC)
                tick += dwell
                pc = arguments[1]
                continue
            elif kind == _RET:
                if not self.calls:
                    fault = Fault.CALL_UNDERFLOW
                    break
                tick += dwell
                pc = self.calls.pop()
                continue
            elif kind == _DELAY:
                tick += dwell + registers[ra]
            elif kind == _GET:
                registers[arguments[1]] = self._source(arguments[0], tick)
                tick += dwell
            elif kind == _UNTIL:
                absolute, time = arguments
                then = (registers[ra] << 32 | registers[rb]) if absolute else self.started + time
                if not UNTIL_TICKS <= then - tick <= _LONGEST:
                    fault = Fault.LATE
                    break
                tick = then
            elif kind == _ARM:
                self._verdict_from = self._armed = tick + 1
                tick += dwell
            elif kind == _SYN:
                if arguments[0]:
                    self._frame_from = [tick + 1, tick + 1]
                tick += dwell
            elif kind == _LDT:
                first, second, rd = arguments
                registers[rd] = self._world.delta(first, second, tick + _DELTA_TICKS) & _WORD
                tick += dwell
            elif kind == _HALT:
                self.halt_code = arguments[0]
                self.state = SequencerState.HALTED
                self.stopped = tick
                break
            else:
                if kind == _BARRIER and not self.waiting:
                    self.barrier ^= 1
                ended = self._end_wait(kind, tick, arguments, until)
                self.waiting = ended is None
                if self.waiting:
                    break
                then, target, pop = ended
                if pop > len(loops):
                    fault = Fault.LOOP_UNDERFLOW
                    break
                tick = then
                if target is not None:
                    if pop:
                        del loops[-pop:]
                        last = loops[-1][1] if loops else -1
                    pc = target
                    continue

            # The word that follows, unless it lies behind the end of loops.
            if pc == last:
                while loops and loops[-1][1] == pc:
                    level = loops[-1]
                    level[2] -= 1
                    if level[2]:
                        pc = level[0]
                        break
                    loops.pop()
                else:
                    pc = pc + 1 & _LAST_PC
                last = loops[-1][1] if loops else -1
            else:
                pc = pc + 1 & _LAST_PC
        if fault is not Fault.NONE:
            self.state = SequencerState.FAULT
            self.fault = fault
            self.stopped = tick
        self.tick, self.pc, self._next_pc = tick, at, pc
