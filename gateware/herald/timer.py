"""The course of an attempt: its reference, the ticks since, its last word, and its outcome."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.herald.rows import several
from quantacore.gateware.herald.tables import table_memory
from quantacore.gateware.layouts.herald import (
    EIGHTHS,
    TICK_BITS,
    WINDOW_BITS,
    WINDOW_LEAD,
    WINDOWS,
    Outcome,
)

__all__ = ["AGE_BITS", "AttemptTimer"]

#: Bits of the ticks since the start: a reference may come late, and windows long after it.
AGE_BITS = TICK_BITS + 1


class AttemptTimer(wiring.Component):
    """Follows an attempt from its start to its outcome.

    What it says of the word of tick s it says in s+1 (``_1``), s+2 (``_2``) or s+3 (``_3``).

    Parameters
    ----------
    samples : int
        Samples in a word.

    Members
    -------
    start : In(1), windows : In(4), abort : In(1)
    by_reference : In(1), earliest, latest : In(16)
        As of :class:`~quantacore.gateware.herald.path.HeraldPath`; the first is taken at the
        start, the others act on the words of the next tick on.
    edges_1 : In(samples)
        Edges of the reference.
    found_3 : In(1)
        A pattern that may decide holds.
    write : In(1), write_index : In(4), write_data : In(19)
        An entry of table ``DECIDE``; it acts two ticks later.
    begin : Out(1), shift : Out(range(samples))
        For :class:`~quantacore.gateware.herald.gate.WindowGate`.
    age_1 : Out(17)
        Ticks since the start.
    live : Out(3)
        The words of the last three ticks, newest first, may still be decided.
    timed_2 : Out(1)
        Windows are counted from this word or one before, and it is not the attempt's first.
    last_2, void_2 : Out(1)
        With this word the attempt is over: all windows closed, or the reference is missing or a
        second one.
    decides_3 : Out(1)
        This word is the one that decides: ``decided`` is high in the next tick.
    within_3 : Out(1)
        It is in an attempt, be it aborted later or not.
    busy, decided : Out(1), outcome : Out(Outcome), missing, double : Out(1)
    """

    def __init__(self, *, samples):
        self.samples = samples
        super().__init__({
            "start": In(1), "windows": In(WINDOWS), "abort": In(1),
            "by_reference": In(1), "earliest": In(TICK_BITS), "latest": In(TICK_BITS),
            "edges_1": In(samples), "found_3": In(1),
            "write": In(1), "write_index": In(WINDOWS), "write_data": In(WINDOW_BITS),
            "begin": Out(1), "shift": Out(range(samples)),
            "age_1": Out(AGE_BITS), "live": Out(3), "timed_2": Out(1), "last_2": Out(1),
            "void_2": Out(1), "decides_3": Out(1), "within_3": Out(1),
            "busy": Out(1), "decided": Out(1), "outcome": Out(Outcome),
            "missing": Out(1), "double": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        samples, edges = self.samples, self.edges_1
        active_1, live_2, live_3 = self.live
        sample_eighths = EIGHTHS // samples

        # The last eighth that counts, by the windows armed. Whether it is the least there is, is
        # found when it is written.
        entry = data.StructLayout({"eighth": WINDOW_BITS, "short": 1})
        least = EIGHTHS * WINDOW_LEAD
        write, (read,) = table_memory(m, "decide", width=entry, depth=1 << WINDOWS,
                                      init=[{"eighth": least - 1, "short": 1}] * (1 << WINDOWS))
        short, word, place = Signal(), Signal(entry), Signal(WINDOWS)
        write_now = Signal()
        m.d.comb += [
            short.eq(self.write_data <= least), read.addr.eq(self.windows),
            write.en.eq(write_now), write.addr.eq(place), write.data.eq(word),
        ]
        m.d.sync += [
            write_now.eq(self.write), place.eq(self.write_index), word.short.eq(short),
            word.eighth.eq(Mux(short, least - 1, self.write_data - 1)),
        ]
        last = Signal(entry)
        last_tick, last_part = last.eighth[3:], last.eighth[:3]
        by_reference, begun = Signal(), Signal()
        m.d.sync += begun.eq(self.start)
        with m.If(self.start):
            m.d.sync += [last.eq(read.data), by_reference.eq(self.by_reference)]

        # Which words the reference counts in: their numbers are compared a tick ahead.
        before_earliest, before_latest = Signal(TICK_BITS), Signal(TICK_BITS)
        from_first, only_first = Signal(), Signal()
        at_earliest, at_latest, past_earliest = Signal(), Signal(), Signal()
        age = self.age_1
        m.d.sync += [
            before_earliest.eq(self.earliest - 1), from_first.eq(self.earliest == 0),
            before_latest.eq(self.latest - 1), only_first.eq(self.latest == 0),
            age.eq(age + 1), past_earliest.eq(past_earliest | at_earliest),
            at_earliest.eq(age == before_earliest), at_latest.eq(age == before_latest),
        ]
        with m.If(self.start):
            m.d.sync += [age.eq(0), past_earliest.eq(0), at_earliest.eq(from_first),
                         at_latest.eq(only_first)]

        # The word that windows are counted from, and the sample in it.
        found_before, found, timed = Signal(), Signal(), Signal()
        sample = Signal(range(samples))
        for i in reversed(range(samples)):
            with m.If(edges[i]):
                m.d.comb += sample.eq(i)
        counts = Signal()
        m.d.comb += [
            counts.eq(active_1 & by_reference & edges.any()),
            found.eq(counts & ~found_before & (at_earliest | past_earliest)),
            timed.eq(found | (begun & ~by_reference)),
        ]
        double, missing = Signal(), Signal()
        m.d.comb += [
            double.eq(counts & (found_before | (found & several(edges)))),
            missing.eq(active_1 & by_reference & at_latest & ~found_before & ~found),
        ]
        # `count` speaks of the word two ticks later, from WINDOW_LEAD ticks after that one on.
        count, counting = Signal(TICK_BITS), Signal()
        m.d.sync += [found_before.eq(found_before | found), self.begin.eq(timed),
                     count.eq(count + 1)]
        with m.If(timed):
            m.d.sync += [counting.eq(1), count.eq(WINDOW_LEAD),
                         self.shift.eq(Mux(by_reference, sample, 0))]
        with m.Elif(count.all()):
            m.d.sync += counting.eq(0)
        with m.If(self.start):
            m.d.sync += [found_before.eq(0), self.begin.eq(0), counting.eq(0)]

        # The last word, a word later if the shift says so. The shortest attempts are over before
        # `count` speaks of their last word; `soon[i]` is for the word after i more.
        part, late = Signal(4), Signal()
        m.d.comb += [
            part.eq(last_part + Mux(by_reference, sample << exact_log2(sample_eighths), 0)),
            late.eq(part[3]),
        ]
        later, soon = Signal(), Signal(WINDOW_LEAD)
        ahead, closes = Signal(4), Signal()
        m.d.sync += [
            soon.eq(soon[1:]),
            ahead.eq(Cat(counting & (count == last_tick), ahead)),
        ]
        with m.If(timed):
            m.d.sync += [later.eq(late), soon[-2:].eq(Cat(last.short & ~late, last.short & late))]
        with m.If(self.start):
            m.d.sync += [soon.eq(0), ahead.eq(0)]
        # `count` speaks of the word that is told of here three ticks later.
        m.d.comb += closes.eq(active_1 & (soon[0] | Mux(later, ahead[3], ahead[2])))

        # What is not live is not decided. `within` is not undone by an abort or a start, but by
        # what ends the attempt, be it told or not: up to the word that the next one begins with.
        kill, done, over_2, ends = Signal(), Signal(), Signal(), Signal()
        missing_2, double_2, within_2, begun_2 = Signal(), Signal(), Signal(), Signal()
        over_3, missing_3, double_3 = Signal(), Signal(), Signal()
        m.d.comb += [
            kill.eq(self.start | self.abort), over_2.eq(self.last_2 | self.void_2),
            done.eq(live_3 & (self.found_3 | over_3)),
            ends.eq(self.within_3 & (self.found_3 | over_3) & ~begun_2),
            self.void_2.eq(missing_2 | double_2), self.decides_3.eq(done & ~kill),
        ]
        m.d.sync += [
            active_1.eq(self.start | (active_1 & (begun | ~over_2) & ~self.abort & ~done)),
            live_2.eq(active_1 & (begun | ~over_2) & ~kill & ~done),
            live_3.eq(live_2 & ~kill & ~done),
            begun_2.eq(begun), within_2.eq(active_1 & (begun | ~(ends | over_2))),
            self.within_3.eq(within_2 & ~ends),
            self.timed_2.eq((~by_reference | found_before | found) & ~begun),
            self.last_2.eq(closes), missing_2.eq(missing), double_2.eq(double),
            over_3.eq(over_2), missing_3.eq(missing_2), double_3.eq(double_2),
            self.decided.eq(self.decides_3), self.missing.eq(missing_3),
            self.double.eq(double_3),
        ]
        with m.If(self.found_3):
            m.d.sync += self.outcome.eq(Outcome.SUCCESS)
        with m.Elif(missing_3 | double_3):
            m.d.sync += self.outcome.eq(Outcome.VOID)
        with m.Else():
            m.d.sync += self.outcome.eq(Outcome.FAILED)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.Elif(self.abort | self.decided):
            m.d.sync += self.busy.eq(0)
        return m
