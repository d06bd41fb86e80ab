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
    push : In(1), first, last : In(12), single : In(1)
        Enter a loop, in the first clock of its ``LOOP``; ``single`` if ``first`` is ``last``.
    count_valid : In(1), count : In(32)
        How often the loop pushed two clocks before is run; not 0.
    pop : In(1), pop_levels : In(3)
        Leave loops with the ``redirect`` of the clock after. In the clock before a ``redirect``
        nothing is taken or pushed.
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
    single: In(1)
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

        # Levels, and whether a level's first word is another's last one.
        firsts, seconds, lasts = (each(name, range(PROGRAM_DEPTH))
                                  for name in ("first", "second", "last"))
        same = [Signal(LOOP_LEVELS, name=f"same_{k}") for k in levels]

        # Rounds that are left, as of the instructions taken.
        count, counting = each("count", 32), Signal(LOOP_LEVELS)
        some, several = Signal(LOOP_LEVELS), Signal(LOOP_LEVELS)
        # The same, ahead. What happened in the clock before is still to be subtracted, but the
        # two flags, any and more than one, are of this clock.
        ahead_count, ahead_counting = each("ahead_count", 32), Signal(LOOP_LEVELS)
        ahead_some, ahead_several = Signal(LOOP_LEVELS), Signal(LOOP_LEVELS)
        ahead_active = Signal(LOOP_LEVELS)

        # The address, the one after it, how it was reached, and what loops do behind it.
        place, after = address("place"), address("after")
        turn, step = Signal(_Turn), Signal(_Turn)
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

        # The next address. Which loops end at it, and so what they will do behind it, is worked
        # out in the same clock: inner loops that end there and are over make way for the next one
        # out.
        again = step.iterate.any()

        def chosen(values):
            return any_of(value & step.iterate[k].replicate(len(value))
                          for k, value in enumerate(values))

        # Both for an address that moves on and for one that stays, because whether it moves is
        # known last.
        left = Signal(LOOP_LEVELS)
        m.d.sync += left.eq(Mux(self.pop, self.active >> self.pop_levels, self.active))
        stay, on = {}, {}
        stay["active"] = Mux(self.redirect, left, ahead_active)
        stay["some"] = Mux(self.redirect, some, ahead_some)
        stay["at"] = [Mux(self.redirect, self.target, place) == lasts[k] for k in levels]
        on["active"] = ahead_active & ~step.drop
        on["some"] = ahead_some & ~step.iterate | ahead_several & step.iterate
        on["at"] = [Mux(again, any_of(same[j][k] & step.iterate[j] for j in levels),
                        after == lasts[k]) for k in levels]

        def named(value, name):
            signal = Signal(LOOP_LEVELS, name=name)
            m.d.comb += signal.eq(value)
            return signal

        for name, case in (("stay", stay), ("on", on)):
            active, more = named(case["active"], f"{name}_active"), named(case["some"],
                                                                          f"{name}_some")
            ends = named(Cat(case["at"]) & active, f"{name}_ends")
            over = named(~active | ends & ~more, f"{name}_over")
            reached = ends & Cat(over[k + 1:].all() for k in levels)
            case["iterate"] = named(reached & more, f"{name}_iterate")
            case["drop"] = named(reached & ~more, f"{name}_drop")
            case["active"], case["some"] = active, more
        moves = move & ~self.redirect
        for target, part in ((step.iterate, "iterate"), (step.drop, "drop"),
                             (ahead_active, "active"), (ahead_some, "some")):
            m.d.sync += target.eq(Mux(moves, on[part], stay[part]))
        m.d.sync += ahead_counting.eq(0)
        with m.If(self.redirect):
            m.d.sync += [place.eq(self.target), after.eq(self.target + 1), turn.eq(0),
                         fetching.eq(1), coming.eq(0), self.valid.eq(0),
                         ahead_several.eq(several)]
            m.d.sync += [theirs.eq(ours) for ours, theirs in zip(count, ahead_count, strict=True)]
        with m.Else():
            for k in levels:
                with m.If(ahead_counting[k]):
                    m.d.sync += ahead_count[k].eq(ahead_count[k] - 1)
            with m.If(move):
                m.d.sync += [
                    place.eq(Mux(again, chosen(firsts), after)),
                    after.eq(Mux(again, chosen(seconds), after + 1)),
                    turn.eq(step), ahead_counting.eq(step.iterate),
                ]
                for k in levels:
                    # More than one is left when one of three or more, or, if one has still to be
                    # subtracted, of four or more, is gone.
                    low, high = ahead_count[k][:2], ahead_count[k][2:].any()
                    with m.If(step.iterate[k]):
                        m.d.sync += ahead_several[k].eq(high | (low == 3) & ~ahead_counting[k])

        # What goes with the instructions taken.
        m.d.sync += counting.eq(here_turn.iterate & self.take.replicate(LOOP_LEVELS))
        with m.If(self.take):
            m.d.sync += self.active.eq(self.active & ~here_turn.drop)
        for k in levels:
            with m.If(counting[k]):
                m.d.sync += count[k].eq(count[k] - 1)
            m.d.sync += [some[k].eq(count[k].any()), several[k].eq(count[k][1:].any())]
        with m.If(self.redirect):
            m.d.sync += self.active.eq(left)

        # A loop entered.
        fresh = Signal(LOOP_LEVELS)
        pushing, pushed = Signal(LOOP_LEVELS), Signal(LOOP_LEVELS)
        m.d.comb += fresh.eq(~self.active & Cat(C(1, 1), self.active))
        m.d.sync += [pushing.eq(fresh), pushed.eq(pushing)]
        with m.If(self.push):
            for k in levels:
                with m.If(fresh[k]):
                    m.d.sync += [
                        firsts[k].eq(self.first), seconds[k].eq(self.first + 1),
                        lasts[k].eq(self.last), self.active[k].eq(1), ahead_active[k].eq(1),
                        same[k][k].eq(self.single),
                    ]
                    m.d.sync += [same[k][j].eq(self.first == lasts[j]) for j in range(k)]
        with m.If(self.count_valid):
            rounds = self.count - 1
            for k in levels:
                with m.If(pushed[k]):
                    m.d.sync += [
                        count[k].eq(rounds), ahead_count[k].eq(rounds),
                        some[k].eq(self.count != 1), ahead_some[k].eq(self.count != 1),
                        several[k].eq(self.count[1:].any() & (self.count != 2)),
                        ahead_several[k].eq(self.count[1:].any() & (self.count != 2)),
                    ]

        with m.If(self.flush):
            m.d.sync += [fetching.eq(0), coming.eq(0), self.valid.eq(0), turn.eq(0), step.eq(0),
                         self.active.eq(0), ahead_active.eq(0)]
        return m
