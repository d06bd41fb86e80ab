"""Fetches instructions ahead of time, and follows loops while it does."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import LOOP_LEVELS, PROGRAM_DEPTH
from quantacore.gateware.logic import any_of

__all__ = ["Fetcher"]


class _Turn(data.Struct):
    """What loops did on the way to an instruction: a bit for each level."""

    #: Went back to the loop's first word.
    iterate: LOOP_LEVELS
    #: Left the loop.
    drop: LOOP_LEVELS


class Fetcher(wiring.Component):
    """Keeps the next instruction ready: two clocks from an address to its word, one every clock.

    Loops cost nothing: when the address comes to a loop's last word, the next one is the loop's
    first. That happens up to three words before the instruction is issued, so there are two sets of
    loop counters: one *ahead*, that addresses follow, and one that goes with the instructions
    taken. A ``redirect`` throws the words on their way away, and brings the first in line with the
    second.

    Members
    -------
    address : Out(12), read : Out(1), data : In(64)
        The program's memory: ``data`` is the word at ``address`` from the clock after ``read`` on,
        until the next ``read``.
    redirect : In(1), target : In(12)
        Go on at ``target``: its word is at ``word`` three clocks later.
    flush : In(1)
        Stop fetching, and forget all loops.
    valid : Out(1), word : Out(64), pc : Out(12)
        The next instruction.
    take : In(1)
        It is taken; only with ``valid``. The next one is there in the clock after, if nothing was
        redirected in the last three.
    push : In(1), first, last : In(12)
        Enter a loop, in the first clock of its ``LOOP``.
    count_valid : In(1), count : In(32)
        How often the loop pushed in the clock before is run; not 0.
    pop : In(1), pop_levels : In(3)
        Leave loops; in the clock before ``redirect``.
    active : Out(4)
        Loops that instructions taken are in, outermost first.
    """

    address: Out(range(PROGRAM_DEPTH))
    read: Out(1)
    data: In(64)
    redirect: In(1)
    target: In(range(PROGRAM_DEPTH))
    flush: In(1)
    valid: Out(1)
    word: Out(64)
    pc: Out(range(PROGRAM_DEPTH))
    take: In(1)
    push: In(1)
    first: In(range(PROGRAM_DEPTH))
    last: In(range(PROGRAM_DEPTH))
    count_valid: In(1)
    count: In(32)
    pop: In(1)
    pop_levels: In(3)
    active: Out(LOOP_LEVELS)

    def elaborate(self, platform):
        m = Module()
        levels = range(LOOP_LEVELS)

        def address(name):
            return Signal(range(PROGRAM_DEPTH), name=name)

        def each(name, shape=1):
            return [Signal(shape, name=f"{name}_{k}") for k in levels]

        # Levels. `more` says that `count`, the rounds that are left, is not 0.
        firsts, seconds, lasts = (each(name, range(PROGRAM_DEPTH))
                                  for name in ("first", "second", "last"))
        count, ahead_count = each("count", 32), each("ahead_count", 32)
        more, ahead_more = Signal(LOOP_LEVELS), Signal(LOOP_LEVELS)
        ahead_active = Signal(LOOP_LEVELS)
        #: Whether a level's first word is another's last one.
        same = [Signal(LOOP_LEVELS, name=f"same_{k}") for k in levels]

        # The address, the one after it, and whether it is the last one of a level.
        place, after = address("place"), address("after")
        at_last = Signal(LOOP_LEVELS)
        turn = Signal(_Turn)
        fetching = Signal()

        # Words on their way: in the memory's output, and ready to be taken.
        coming, coming_pc, coming_turn = Signal(), address("coming_pc"), Signal(_Turn)
        here_turn = Signal(_Turn)
        move_here, move = Signal(), Signal()
        m.d.comb += [
            move_here.eq(~self.valid | self.take),
            move.eq(fetching & (~coming | move_here)),
            self.address.eq(place), self.read.eq(move),
        ]
        with m.If(move_here):
            m.d.sync += [self.valid.eq(coming), self.word.eq(self.data), self.pc.eq(coming_pc),
                         here_turn.eq(coming_turn)]
        with m.If(move):
            m.d.sync += [coming_pc.eq(place), coming_turn.eq(turn)]
        with m.If(move | move_here):
            m.d.sync += coming.eq(move)

        # Where next: inner loops that end here and are over make way for the next one out.
        hit, over = Signal(LOOP_LEVELS), Signal(LOOP_LEVELS)
        inner_over = Signal(LOOP_LEVELS)
        step = Signal(_Turn)
        m.d.comb += [hit.eq(at_last & ahead_active), over.eq(~ahead_active | hit & ~ahead_more)]
        for k in levels:
            m.d.comb += inner_over[k].eq(over[k + 1:].all())
        m.d.comb += [step.iterate.eq(hit & ahead_more & inner_over),
                     step.drop.eq(hit & ~ahead_more & inner_over)]
        again = step.iterate.any()

        def chosen(values):
            return any_of(value & step.iterate[k].replicate(len(value))
                          for k, value in enumerate(values))

        for k in levels:
            at_target = Mux(self.redirect, self.target, place) == lasts[k]
            at_next = Mux(again, any_of(same[j][k] & step.iterate[j] for j in levels),
                          after == lasts[k])
            m.d.sync += at_last[k].eq(Mux(move & ~self.redirect, at_next, at_target))
        with m.If(self.redirect):
            m.d.sync += [place.eq(self.target), after.eq(self.target + 1), turn.eq(0),
                         fetching.eq(1), coming.eq(0), self.valid.eq(0),
                         ahead_active.eq(self.active), ahead_more.eq(more)]
            m.d.sync += [theirs.eq(ours) for ours, theirs in zip(count, ahead_count, strict=True)]
        with m.Elif(move):
            m.d.sync += [
                place.eq(Mux(again, chosen(firsts), after)),
                after.eq(Mux(again, chosen(seconds), after + 1)),
                turn.eq(step), ahead_active.eq(ahead_active & ~step.drop),
            ]
            for k in levels:
                with m.If(step.iterate[k]):
                    m.d.sync += [ahead_count[k].eq(ahead_count[k] - 1),
                                 ahead_more[k].eq(ahead_count[k] != 1)]

        # What goes with the instructions taken.
        with m.If(self.take):
            m.d.sync += self.active.eq(self.active & ~here_turn.drop)
            for k in levels:
                with m.If(here_turn.iterate[k]):
                    m.d.sync += [count[k].eq(count[k] - 1), more[k].eq(count[k] != 1)]
        with m.If(self.pop):
            m.d.sync += self.active.eq(self.active >> self.pop_levels)

        # A loop entered. What was looked up for its level before means nothing.
        pushed, fresh = Signal(LOOP_LEVELS), Signal(LOOP_LEVELS)
        m.d.comb += fresh.eq(~self.active & Cat(C(1, 1), self.active))
        m.d.sync += pushed.eq(fresh)
        with m.If(self.push):
            for k in levels:
                with m.If(fresh[k]):
                    m.d.sync += [
                        firsts[k].eq(self.first), seconds[k].eq(self.first + 1),
                        lasts[k].eq(self.last), self.active[k].eq(1), ahead_active[k].eq(1),
                        at_last[k].eq(0),
                    ]
                    m.d.sync += [same[k][j].eq(self.first == (self.last if j == k else lasts[j]))
                                 for j in range(k + 1)]
        with m.If(self.count_valid):
            for k in levels:
                with m.If(pushed[k]):
                    m.d.sync += [count[k].eq(self.count - 1), ahead_count[k].eq(self.count - 1),
                                 more[k].eq(self.count != 1), ahead_more[k].eq(self.count != 1)]

        with m.If(self.flush):
            m.d.sync += [fetching.eq(0), coming.eq(0), self.valid.eq(0), turn.eq(0),
                         self.active.eq(0), ahead_active.eq(0)]
        return m
