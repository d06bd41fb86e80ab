"""Random valid programs for the sequencer, and random worlds for them to run in.

Every program comes to an end by itself within a number of ticks that is known beforehand, or in a
fault that was put there on purpose; the exceptions are waits without a timeout, which a stop ends.
"""

from dataclasses import dataclass, field

from quantacore.gateware.layouts.instructions import (
    BRANCH_TICKS,
    BRH_ENTRIES,
    CALL_LEVELS,
    DATA_TICKS,
    DELAY_TICKS,
    LDT_TICKS,
    LOOP_LEVELS,
    MUL_TICKS,
    PROGRAM_DEPTH,
    SHORT_LOOP,
    TIMEOUT_TICKS,
    UNTIL_TICKS,
    VERDICT_TICKS,
    AluFunction,
    AnyInstruction,
    BranchWord,
    Condition,
    Fault,
    Op,
    Source,
    WaitWord,
    least_dwell,
)
from quantacore.sim.bench.sequencer_probe import NEVER
from quantacore.sim.golden.sequencer import World, encode

__all__ = ["RandomRun", "Batch", "random_batch", "random_program", "random_world", "FAULTS"]

#: Faults that programs are made to end in.
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
#: From a start to when `release` may come: the first instruction must have been fetched.
_ARMED_TICKS = 12
_MASK = PROGRAM_DEPTH - 1
_PLAIN = [op for op in (Op.NOP, Op.SET, Op.PULSE, Op.FREQ, Op.PHASE, Op.OFFSET, Op.SWITCH, Op.TAG,
                        Op.ARM, Op.SYN)]
#: Plain operations by the number of random bits that choose one; ARM and SYN clear latches, and
#: FREQ lasts long, so these are rare.
_CHOICE = [Op.NOP, Op.SET, Op.SET, Op.PULSE, Op.PULSE, Op.PHASE, Op.OFFSET, Op.SWITCH, Op.TAG,
           Op.TAG, Op.NOP, Op.SET, Op.PULSE, Op.FREQ, Op.ARM, Op.SYN]
_QUICK = [op for op in _CHOICE if least_dwell(op) == 1]
_LEAST = {op: least_dwell(op) for op in Op}
#: Offsets of fields that are filled in afterwards.
_DWELL, _TARGET, _WAIT_TARGET = (layout.as_shape()[name].offset for layout, name in (
    (AnyInstruction, "dwell"), (BranchWord, "target"), (WaitWord, "target")))
#: Everything above the dwell; a NOP's `more` is left 0.
_FREE = ((1 << 44) - 1) << 20
_NOP_FREE = ((1 << 12) - 1) << 52
_WAITS = (Op.WAITTRIG, Op.WAITTRIG, Op.BARRIER, Op.DEC)
#: Most ticks from the end of a wait to the next instruction.
_WAIT_TICKS = max(TIMEOUT_TICKS, VERDICT_TICKS)


@dataclass
class RandomRun:
    """One run of a program in a world.

    ``events`` are ``(time, triggers, peers, verdict or None, frames)`` from the tick of the start
    strobe on, ``frames`` a pair of ``None`` or ``(obs, last)``. ``stop`` and ``release`` are
    ``None`` for a run without; ``preset`` is ``None`` or ``(index, value)``. ``fault`` is what the
    program was made to end in if it comes so far, ``limit`` how long it takes at most.
    """

    pc: int
    events: list
    fault: Fault = Fault.NONE
    limit: int = NEVER
    stop: int | None = None
    release: int | None = None
    preset: tuple | None = None
    gap: int = 0

    def world(self, begun, delta, herald=None):
        """The golden model's :class:`World` of this run, started in tick ``begun``."""
        return World(
            triggers=[(begun + time, triggers) for time, triggers, *_ in self.events],
            peers=[(begun + time, peers) for time, _, peers, *_ in self.events],
            verdicts=[(begun + time, verdict) for time, _, _, verdict, _ in self.events
                      if verdict is not None],
            frames=[[(begun + time, *frames[basis]) for time, *_, frames in self.events
                     if frames[basis] is not None] for basis in range(2)],
            delta=delta, herald=herald)


@dataclass
class Batch:
    """A memory full of programs, and runs of them."""

    words: list
    runs: list = field(default_factory=list)


@dataclass
class _Routine:
    """Something to call: what it takes at most, and calls and loops inside it."""

    address: int
    ticks: int
    depth: int
    levels: int


class _Writer:
    """Writes one program from address ``base`` on, routines first.

    ``ticks`` is the most time that the program, or the routine, can have taken to come to where
    the writer is; ``times`` is how often that place is run at most.
    """

    def __init__(self, rng, base, budget, *, words):
        self.random = rng.random
        self.bits = rng.getrandbits
        self.base = base
        self.room = words
        self.words = []
        self.budget = budget
        self.ticks = 0
        self.times = 1
        self.levels = self.deepest = 0
        self.routines = []
        self.depth = 0
        self.is_main = False
        self.endless = False

    def below(self, n):
        return int(self.random() * n)

    def here(self):
        return self.base + len(self.words) & _MASK

    def put(self, word, ticks):
        self.words.append(word)
        self.ticks += ticks * self.times

    def more_than(self, least):
        """A dwell, mostly the least one."""
        r = self.random()
        if r < 0.6:
            return least
        return least + (self.bits(2) if r < 0.95 else self.bits(5))

    def left(self):
        """Ticks that there still are for one word here."""
        return (self.budget - self.ticks) // self.times

    # -- words that simply go on -------------------------------------------------------------------

    def plain(self):
        op = _CHOICE[self.bits(4)]
        dwell = self.more_than(_LEAST[op])
        free = self.bits(64) & (_NOP_FREE if op is Op.NOP else _FREE)
        self.put(op.value | dwell << _DWELL | free, dwell)

    def rush(self):
        """Words without a gap."""
        for _ in range(4 + self.bits(3)):
            op = _QUICK[self.below(len(_QUICK))]
            free = self.bits(64) & (_NOP_FREE if op is Op.NOP else _FREE)
            self.put(op.value | 1 << _DWELL | free, 1)

    def data(self):
        r = self.random()
        free = self.bits(64)
        if r < 0.25:
            dwell = self.more_than(DATA_TICKS)
            self.put(Op.LI.value | dwell << _DWELL | free & _FREE, dwell)
        elif r < 0.8:
            function = self.below(len(AluFunction))
            dwell = self.more_than(MUL_TICKS if function == AluFunction.MUL.value else DATA_TICKS)
            free = free & _FREE & ~(15 << 56)
            self.put(Op.ALU.value | dwell << _DWELL | free | function << 56, dwell)
        elif r < 0.93:
            dwell = self.more_than(DATA_TICKS)
            free = free & _FREE & ~(15 << 60)
            self.put(Op.GET.value | dwell << _DWELL | free | self.below(len(Source)) << 60, dwell)
        else:
            dwell = self.more_than(LDT_TICKS)
            self.put(Op.LDT.value | dwell << _DWELL | free & _FREE, dwell)

    def show(self):
        """Registers on the command bus."""
        for _ in range(1 + self.bits(1)):
            self.put(Op.TAG.value | 1 << _DWELL | self.bits(16) << 48, 1)

    def delay(self):
        value, rd = self.bits(4), self.bits(4)
        self.put(encode(Op.LI, dwell=DATA_TICKS, rd=rd, value=value), DATA_TICKS)
        dwell = self.more_than(DELAY_TICKS)
        self.put(encode(Op.DELAY, dwell=dwell, ra=rd) | self.bits(40) << 20, dwell + value)

    # -- waits -------------------------------------------------------------------------------------

    def timeout(self):
        r = self.random()
        if r < 0.03 and self.times == 1 and self.is_main:
            self.endless = True
            return 0
        return 1 + (self.bits(2) if r < 0.3 else self.bits(5))

    def wait(self):
        """A wait whose timeout leads past a few words that follow, or not."""
        at = len(self.words)
        op = _WAITS[self.bits(2)]
        timeout = self.timeout()
        mask = self.bits(8) if self.random() < 0.6 else 1 << self.bits(3)
        if op is Op.BARRIER and self.random() < 0.8:
            mask = 1 << self.bits(3)
        word = encode(op, mode=self.bits(2), timeout=timeout, rd=self.bits(4), mask=mask)
        self.put(word, timeout + _WAIT_TICKS)
        for _ in range(self.bits(1) * self.bits(1)):
            self.plain()
        self.words[at] |= self.here() << _WAIT_TARGET
        self.plain()

    def herald(self):
        """ARM, perhaps something else, and a table: words one after the other, or ways out."""
        dwell = self.more_than(1)
        if self.random() < 0.7:
            self.put(encode(Op.ARM, dwell=dwell, windows=self.bits(4)), dwell)
        for _ in range(self.bits(1) * self.bits(1)):
            self.plain()
        stride = 0 if self.random() < 0.8 else 1
        timeout = self.timeout()
        # Bits that mean nothing may be anything.
        self.put(encode(Op.BRH, mode=self.bits(2), timeout=timeout, rd=self.bits(4),
                        target=self.here() + 1 & _MASK, mask=stride | self.bits(2) << 6),
                 timeout + _WAIT_TICKS)
        size = (BRH_ENTRIES - 1 << stride) + 1
        ways_out = self.random() < 0.3
        end = self.here() + size & _MASK
        for k in range(size):
            if ways_out and not k & stride:
                self.put(encode(Op.JMP, dwell=BRANCH_TICKS, target=end), 0)
            else:
                self.put(Op.TAG.value | 1 << _DWELL | self.bits(16) << 48, 1)
        self.ticks += BRANCH_TICKS * self.times
        self.plain()

    def attempts(self):
        """A loop of attempts: its last word is a BRH that goes on, or leaves it for a table."""
        count = 1 + self.bits(2)
        times, levels = self.times, self.levels
        if self.left() < count * 40 + 40 or levels == LOOP_LEVELS:
            return self.plain()
        at = len(self.words)
        self.put(0, 0)
        self.times, self.levels = times * count, levels + 1
        self.deepest = max(self.deepest, levels + 1)
        if self.random() < 0.8:
            self.put(encode(Op.ARM, dwell=1, windows=self.bits(4)), 1)
        for _ in range(self.bits(1) + self.bits(1)):
            self.item()
        if self.random() < 0.3 and levels + 1 < LOOP_LEVELS:
            # Two loops end at the BRH, and are left at once.
            inner = len(self.words)
            turns = 1 + self.bits(1)
            self.put(0, BRANCH_TICKS)
            self.times *= turns
            self.deepest = max(self.deepest, levels + 2)
            self.plain()
        else:
            inner = None
        timeout = 1 + self.bits(3)
        brh = len(self.words)
        self.put(encode(Op.BRH, mode=1, timeout=timeout, rd=self.bits(4),
                        mask=(1 if inner is None else 2) << 3), timeout + _WAIT_TICKS)
        self.times, self.levels = times, levels
        if inner is not None:
            self.words[inner] = encode(Op.LOOP, dwell=BRANCH_TICKS, span=brh - inner, count=turns)
        self.words[at] = encode(Op.LOOP, dwell=BRANCH_TICKS, span=brh - at, count=count)
        self.ticks += BRANCH_TICKS * times
        self.show()
        self.words[brh] |= self.here() << _WAIT_TARGET
        for _ in range(BRH_ENTRIES - 1):
            self.put(Op.TAG.value | 1 << _DWELL | self.bits(16) << 48, 1)
        self.plain()
        return None

    def until(self):
        """A time that is not past, whatever happened before."""
        if not self.levels and self.is_main and not self.endless and self.random() < 0.6:
            time = self.ticks + UNTIL_TICKS + (self.bits(3) if self.bits(1) else 0)
            if time > self.budget:
                return self.plain()
            self.put(encode(Op.WAITUNTIL, time=time) | self.bits(9) << 7, 0)
            self.ticks = time
            return None
        low = self.bits(4)
        high = low ^ 1 + self.below(15)
        ahead = 3 * DATA_TICKS + UNTIL_TICKS + (self.bits(3) if self.bits(1) else 0)
        for word in (encode(Op.GET, dwell=DATA_TICKS, source=Source.TICK_LOW, rd=low),
                     encode(Op.GET, dwell=DATA_TICKS, source=Source.TICK_HIGH, rd=high),
                     encode(Op.ALU, dwell=DATA_TICKS, function=AluFunction.ADD, immediate=1,
                            value=ahead, ra=low, rd=low)):
            self.put(word, 0)
        self.put(Op.WAITUNTIL.value | 1 << 6 | high << 60 | low << 48, ahead)
        return None

    # -- flow --------------------------------------------------------------------------------------

    def jump(self):
        """Over words that are none."""
        skip = self.bits(1) * self.bits(2)
        dwell = self.more_than(BRANCH_TICKS)
        self.put(encode(Op.JMP, dwell=dwell, target=self.here() + 1 + skip & _MASK), dwell)
        for _ in range(skip):
            self.put(self.bits(64), 0)
        self.plain()

    def branch(self):
        at = len(self.words)
        dwell = self.more_than(BRANCH_TICKS)
        word = (Op.BR.value | dwell << _DWELL
                | self.bits(64) & _FREE & ~(0xFFF << 20 | 7 << 52 | 7 << 56)
                | self.below(len(Condition)) << 56)
        if self.random() < 0.3:
            # Compare a register with itself: often equal.
            ra = self.bits(4)
            word = word & ~(15 << 60 | 1 << 59 | 15 << 48) | ra << 60 | ra << 48
        self.put(word, dwell)
        for _ in range(self.bits(1) + self.bits(1)):
            self.item()
        self.words[at] |= self.here() << _TARGET
        self.plain()

    def leave(self, ends):
        """Leave some of the loops that this routine is in."""
        pop = 1 + self.below(len(ends))
        at = len(self.words)
        dwell = self.more_than(BRANCH_TICKS)
        if self.random() < 0.75:
            word = (Op.BR.value | dwell << _DWELL | pop << 52 | self.below(len(Condition)) << 56
                    | self.bits(16) << 32 | self.bits(5) << 59)
        else:
            word = encode(Op.JMP, dwell=dwell, pop=pop)
        self.put(word, dwell)
        ends[-pop].append(at)
        self.plain()

    def call(self):
        fit = [routine for routine in self.routines
               if routine.ticks + 12 < self.left() and self.levels + routine.levels <= LOOP_LEVELS]
        if fit:
            routine = fit[self.below(len(fit))]
            dwell = self.more_than(BRANCH_TICKS)
            self.put(encode(Op.CALL, dwell=dwell, target=routine.address), dwell + routine.ticks)
            self.depth = max(self.depth, routine.depth)
            self.deepest = max(self.deepest, self.levels + routine.levels)
        self.plain()

    def routine(self):
        """A routine, which may call those before it."""
        address = self.here()
        self.ticks, self.depth, self.deepest = 0, 0, 0
        for _ in range(1 + self.bits(2)):
            self.item()
        dwell = self.more_than(BRANCH_TICKS)
        self.put(encode(Op.RET, dwell=dwell) | self.bits(44) << 20, dwell)
        if self.depth < CALL_LEVELS - 1:
            self.routines.append(_Routine(address, self.ticks, self.depth + 1, self.deepest))

    def loop(self, ends):
        count = 1 + self.bits(2)
        if self.random() < 0.2 and self.left() > 120:
            count += self.bits(3)
        at = len(self.words)
        register = self.random() < 0.3
        rd = self.bits(4)
        if register:
            self.put(encode(Op.LI, dwell=DATA_TICKS, rd=rd, value=count), DATA_TICKS)
            at += 1
        self.put(0, 0)
        times, levels = self.times, self.levels
        self.times, self.levels = times * count, levels + 1
        self.deepest = max(self.deepest, levels + 1)
        mine, wait = [], None
        single = self.random() < 0.2
        if single:
            wait = self.plain() if self.bits(1) else self.last_word()
        else:
            for _ in range(1 + self.bits(1) + self.bits(1)):
                self.item([*ends, mine])
                if self.left() < 10:
                    break
            if levels + 1 < LOOP_LEVELS and self.random() < 0.3 and self.left() > 20:
                self.loop([*ends, mine])
            elif self.random() < 0.15:
                wait = self.last_word()
        self.times, self.levels = times, levels
        span = len(self.words) - at - 1
        least = BRANCH_TICKS if span < SHORT_LOOP else DATA_TICKS if register else 1
        dwell = self.more_than(least)
        self.ticks += dwell * times
        if register:
            word = (encode(Op.LOOP, dwell=dwell, span=span, register=1) | rd << 60
                    | self.bits(24) << 36)
        else:
            word = encode(Op.LOOP, dwell=dwell, span=span, count=count)
        self.words[at] = word
        if wait is not None:
            self.put(encode(Op.JMP, dwell=BRANCH_TICKS, target=self.here() + 2 & _MASK),
                     BRANCH_TICKS)
            self.words[wait] |= self.here() << _WAIT_TARGET
            self.put(encode(Op.JMP, dwell=BRANCH_TICKS, target=self.here() + 1 & _MASK, pop=1),
                     BRANCH_TICKS)
            self.plain()
        if mine:
            for branch in mine:
                self.words[branch] |= self.here() << _TARGET
            self.plain()

    def last_word(self):
        """The last word of a loop that is none of the plain ones.

        Returns the place of a wait whose timeout must go where the loop is left.
        """
        if self.random() < 0.5:
            # A branch that is not taken: a register is not unequal to itself.
            dwell = self.more_than(BRANCH_TICKS)
            ra = self.bits(4)
            self.put(Op.BR.value | dwell << _DWELL | self.bits(28) << _TARGET | ra << 60 | ra << 48
                     | Condition.NE.value << 56, dwell)
            return None
        timeout = 8 + self.bits(4)
        self.put(encode(Op.WAITTRIG if self.bits(1) else Op.BARRIER, mode=self.bits(2),
                        timeout=timeout, rd=self.bits(4), mask=self.bits(8) & self.bits(8)),
                 timeout + _WAIT_TICKS)
        return len(self.words) - 1

    def item(self, ends=()):
        r = self.random()
        left = self.left()
        if left < 60 or len(self.words) > self.room:
            return self.plain() if left < 12 or r < 0.6 else self.show()
        if r < 0.30:
            return self.plain()
        if r < 0.38:
            return self.rush()
        if r < 0.54:
            return self.data()
        if r < 0.58:
            return self.show()
        if r < 0.60:
            return self.delay()
        if r < 0.69:
            return self.wait()
        if r < 0.70:
            return self.herald()
        if r < 0.71:
            return self.attempts()
        if r < 0.73:
            return self.until()
        if r < 0.77:
            return self.jump()
        if r < 0.83:
            return self.branch()
        if r < 0.87:
            return self.call()
        if r < 0.91 and ends:
            return self.leave(list(ends))
        if self.levels < LOOP_LEVELS:
            return self.loop(list(ends))
        return self.plain()

    # -- ends --------------------------------------------------------------------------------------

    def break_law(self, fault):
        """Words that end in ``fault``, at the top of the program."""
        here = self.here()
        dwell = self.more_than(BRANCH_TICKS)
        if fault is Fault.ILLEGAL:
            op = [op for op in Op if _LEAST[op]][self.below(20)]
            short = Op.LOOP.value | self.below(BRANCH_TICKS) << _DWELL | self.bits(2) << 24
            self.put([
                0, self.bits(58) << 6 | [0, 12, 15, 22, 31, 35, 43, 63][self.bits(3)],
                op.value | self.below(_LEAST[op]) << _DWELL
                | self.bits(64) & (_NOP_FREE if op is Op.NOP else _FREE),
                Op.ALU.value | dwell << _DWELL | (9 + self.below(7)) << 56,
                Op.ALU.value | self.below(MUL_TICKS) << _DWELL | AluFunction.MUL.value << 56,
                Op.BR.value | dwell << _DWELL | (6 + self.bits(1)) << 56,
                Op.GET.value | dwell << _DWELL | (len(Source) + self.below(16 - len(Source))) << 60,
                short | 1 << 36,
            ][self.bits(3)], 0)
        elif fault is Fault.CALL_OVERFLOW:
            self.put(encode(Op.CALL, dwell=dwell, target=here), dwell * (CALL_LEVELS + 1))
        elif fault is Fault.CALL_UNDERFLOW:
            self.put(encode(Op.RET, dwell=dwell), dwell)
        elif fault is Fault.LOOP_OVERFLOW:
            if self.bits(1):
                # Round and round, one level deeper each time.
                self.put(encode(Op.LOOP, dwell=dwell, span=3, count=2), dwell * 5)
                self.put(encode(Op.JMP, dwell=dwell, target=here), dwell * 5)
            else:
                for k in range(LOOP_LEVELS + 1):
                    self.put(encode(Op.LOOP, dwell=BRANCH_TICKS, span=9 - k,
                                    count=1 + self.bits(2)), BRANCH_TICKS)
        elif fault is Fault.LOOP_EMPTY:
            kind = self.below(3)
            if kind == 0:
                self.put(encode(Op.LOOP, dwell=dwell, span=1 + self.bits(3), count=0), dwell)
            elif kind == 1:
                self.put(encode(Op.LOOP, dwell=dwell, span=0, count=3), dwell)
            else:
                self.put(encode(Op.LI, dwell=DATA_TICKS, rd=5), DATA_TICKS)
                self.put(encode(Op.LOOP, dwell=dwell, span=self.bits(4), count=7, register=1)
                         | 5 << 60, dwell)
        elif fault is Fault.LOOP_UNDERFLOW:
            pop = 1 + self.below(7)
            depth = min(self.below(pop), LOOP_LEVELS)
            for k in range(depth):
                self.put(encode(Op.LOOP, dwell=BRANCH_TICKS, span=2 + depth - k, count=2),
                         BRANCH_TICKS)
            way = self.below(3)
            if way == 0:
                self.put(encode(Op.JMP, dwell=dwell, pop=pop, target=self.bits(12)), dwell)
            elif way == 1:
                timeout = 1 + self.bits(3)
                self.put(encode(Op.BRH, timeout=timeout, mask=pop << 3, target=self.bits(12)),
                         timeout + _WAIT_TICKS)
            else:
                ra = self.bits(4)
                self.put(encode(Op.BR, dwell=dwell, pop=pop, target=self.bits(12), ra=ra, rb=ra,
                                condition=Condition.EQ), dwell)
        else:
            # The most that the start can be ago is not the least.
            self.put(encode(Op.WAITUNTIL, time=self.below(UNTIL_TICKS)), 0)

    def write(self, items, fault, *, long=False):
        """The whole program."""
        calls = (0, 0, 1, 2)[self.bits(2)] if self.random() < 0.95 else CALL_LEVELS
        for _ in range(calls):
            self.routine()
        self.start = self.here()
        self.ticks, self.is_main = 0, True
        if long:
            dwell = self.bits(14)
            self.budget += 1 << 15
            self.put(encode(Op.NOP, dwell=dwell, more=1), (1 << 14) + dwell)
        room = len(self.words) + self.room
        breaks = self.below(items + 1) if fault is not Fault.NONE else items
        for _ in range(min(items, breaks)):
            self.item()
            if len(self.words) > room:
                break
        if fault is not Fault.NONE:
            self.break_law(fault)
        for _ in range(self.bits(2)):
            self.show()
        self.put(encode(Op.HALT, code=self.bits(16)) | self.bits(42) << 6, 0)


def random_program(rng, base=0, *, fault=Fault.NONE, words=40, items=None, long=False):
    """A program.

    Parameters
    ----------
    rng : random.Random
    base : int
        Address of its first word; it goes on at address 0 after the last one.
    fault : Fault
        What it shall end in, if it is not a HALT.
    words : int
        About how many words it may have.
    items : int or None
        Pieces that it is made of; random if left out.
    long : bool
        Begin with more than 2**14 ticks in which nothing is issued.

    Returns
    -------
    (list of int, int, int, bool)
        Its words, where it begins, how many ticks it takes at most, and whether it may wait for
        ever.
    """
    budget = (60, 120, 150, 200, 250, 300, 400, 500)[rng.getrandbits(3)]
    writer = _Writer(rng, base, budget, words=words)
    if items is None:
        items = 3 + rng.getrandbits(4) + rng.getrandbits(3)
    writer.write(items, fault, long=long)
    return writer.words, writer.start, writer.ticks, writer.endless


def random_world(rng, limit):
    """Events up to about tick ``limit``, as of :class:`RandomRun`."""
    random, bits = rng.random, rng.getrandbits
    events = []
    gap = 3 + bits(4)
    triggers, peers = bits(8), bits(8) if bits(1) else 0
    time = 0
    while time < limit:
        verdict, frame_0, frame_1 = None, None, None
        what = random()
        if what < 0.4:
            triggers ^= bits(8) & bits(8) if bits(1) else 1 << bits(3)
        elif what < 0.7:
            peers ^= 0xFF if bits(1) else bits(8)
        elif what < 0.85:
            verdict = bits(4)
        else:
            which = bits(4)
            if which & 3 != 1:
                frame_0 = bits(8), which >> 2 & 1
            if which & 3:
                frame_1 = bits(8), which >> 3
        events.append((time, triggers, peers, verdict, (frame_0, frame_1)))
        time += 1 + int(random() * gap)
    return events


def random_batch(rng, *, runs=100, faulty=0.08, long=0.004):
    """Programs until the memory is full or there are enough, each with a world.

    Parameters
    ----------
    rng : random.Random
    runs : int
        Programs, at most.
    faulty : float
        Share of programs that end in a fault.
    long : float
        Share of programs that begin with a NOP of more than 2**14 ticks.
    """
    batch = Batch([0] * PROGRAM_DEPTH)
    base = rng.getrandbits(12)
    words_left = events_left = PROGRAM_DEPTH
    while len(batch.runs) < runs:
        fault = rng.choice(FAULTS) if rng.random() < faulty else Fault.NONE
        program, pc, limit, endless = random_program(rng, base, fault=fault,
                                                     long=rng.random() < long)
        events = random_world(rng, min(limit, 400) + 20)
        words_left -= len(program)
        events_left -= len(events) + 1
        if words_left < 0 or events_left < 0:
            break
        for k, word in enumerate(program):
            batch.words[base + k & _MASK] = word
        run = RandomRun(pc, events, fault=fault, limit=limit)
        if endless:
            run.stop = limit + 300
        elif rng.random() < 0.03:
            run.stop = 1 + int(rng.random() * (limit + 20))
        if rng.random() < 0.1:
            run.release = _ARMED_TICKS + rng.getrandbits(5)
        if rng.random() < 0.2:
            run.preset = rng.getrandbits(4), rng.getrandbits(32)
        if rng.random() < 0.3:
            run.gap = rng.getrandbits(4)
        batch.runs.append(run)
        base = base + len(program) & _MASK
    return batch
