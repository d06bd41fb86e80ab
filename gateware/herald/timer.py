"""The course of an attempt: its reference, the ticks since, its last word, and why it is void."""

from amaranth import *
from amaranth.lib import wiring
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
)

__all__ = ["AGE_BITS", "AttemptTimer"]

#: Bits of the ticks since the start: a reference may come late, and windows long after it.
AGE_BITS = TICK_BITS + 1


class AttemptTimer(wiring.Component):
    """Follows an attempt from its start to its last word.

    What it says of the word of tick s it says in s+1 (``_1``) or in s+2 (``_2``).

    Parameters
    ----------
    samples : int
        Samples in a word.

    Members
    -------
    start : In(1), windows : In(4)
        An attempt begins with the word of this tick.
    stop : In(1)
        It is over: the word of this tick is not in it. A ``start`` in the same tick begins the
        next.
    by_reference : In(1), earliest, latest : In(16)
        As of the block :data:`~quantacore.gateware.layouts.herald.HERALD`; the first is taken at
        the start, the others act on the words of the next tick on.
    edges_1 : In(samples)
        Edges of the reference.
    write : In(1), write_index : In(4), write_data : In(19)
        An entry of table ``DECIDE``.
    counting : Out(1), count : Out(16), shift : Out(range(samples))
        For :class:`~quantacore.gateware.herald.gate.WindowGate`; from ``WINDOW_LEAD`` ticks on.
    age_1 : Out(17)
        Ticks since the start.
    active_1 : Out(1)
        The word is in an attempt.
    timed_2 : Out(1)
        Windows are counted from this word or one before.
    last_2, missing_2, double_2 : Out(1)
        With this word the attempt is over: all windows closed, the reference is missing, or there
        is a second one.
    """

    def __init__(self, *, samples):
        self.samples = samples
        super().__init__({
            "start": In(1), "windows": In(WINDOWS), "stop": In(1),
            "by_reference": In(1), "earliest": In(TICK_BITS), "latest": In(TICK_BITS),
            "edges_1": In(samples),
            "write": In(1), "write_index": In(WINDOWS), "write_data": In(WINDOW_BITS),
            "counting": Out(1), "count": Out(TICK_BITS), "shift": Out(range(samples)),
            "age_1": Out(AGE_BITS), "active_1": Out(1), "timed_2": Out(1),
            "last_2": Out(1), "missing_2": Out(1), "double_2": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        samples, edges = self.samples, self.edges_1
        sample_eighths = EIGHTHS // samples

        # The last eighth that counts, whatever the windows: 0 stands for the least there is.
        least = EIGHTHS * WINDOW_LEAD
        write, (read,) = table_memory(m, "decide", width=WINDOW_BITS, depth=1 << WINDOWS,
                                      init=[least - 1] * (1 << WINDOWS))
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_index), read.addr.eq(self.windows),
            write.data.eq(Mux(self.write_data == 0, least - 1, self.write_data - 1)),
        ]
        last_eighth = Signal(WINDOW_BITS)
        last_tick, last_part = last_eighth[3:], last_eighth[:3]
        by_reference, begun = Signal(), Signal()
        m.d.sync += begun.eq(self.start)
        with m.If(self.start):
            m.d.sync += [last_eighth.eq(read.data), by_reference.eq(self.by_reference)]

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
            counts.eq(self.active_1 & by_reference & edges.any()),
            found.eq(counts & ~found_before & (at_earliest | past_earliest)),
            timed.eq(found | (begun & ~by_reference)),
        ]
        double, missing = Signal(), Signal()
        m.d.comb += [
            double.eq(counts & (found_before | (found & several(edges)))),
            missing.eq(self.active_1 & by_reference & at_latest & ~found_before & ~found),
        ]
        # The word after that is told of two ticks from now, with number WINDOW_LEAD.
        m.d.sync += [found_before.eq(found_before | found), self.count.eq(self.count + 1)]
        with m.If(timed):
            m.d.sync += [self.counting.eq(1), self.count.eq(WINDOW_LEAD),
                         self.shift.eq(Mux(by_reference, sample, 0))]
        with m.Elif(self.count.all()):
            m.d.sync += self.counting.eq(0)
        with m.If(self.start):
            m.d.sync += [found_before.eq(0), self.counting.eq(0)]

        # The last word, a word later if the shift says so. Short attempts are over before `count`
        # speaks of their last word; `soon[i]` is for the word after i more.
        part = Signal(4)
        m.d.comb += part.eq(last_part + Mux(by_reference, sample << exact_log2(sample_eighths), 0))
        later, now = Signal(), Signal()
        words, soon = Signal(WINDOW_LEAD + 1), Signal(WINDOW_LEAD)
        ahead, last = Signal(4), Signal()
        with m.If(last_tick < WINDOW_LEAD):
            m.d.comb += words.eq(C(1) << (last_tick[:2] + part[3]))
        m.d.sync += [
            soon.eq(soon[1:]),
            ahead.eq(Cat(self.counting & (self.count == last_tick), ahead)),
        ]
        with m.If(timed):
            m.d.comb += now.eq(words[0])
            m.d.sync += [later.eq(part[3]), soon.eq(words[1:])]
        with m.If(self.start):
            m.d.sync += [soon.eq(0), ahead.eq(0)]
        # `count` speaks of the word that is told of here three ticks later.
        m.d.comb += last.eq(self.active_1 & (now | soon[0] | Mux(later, ahead[3], ahead[2])))

        over = last | missing | double
        m.d.sync += [
            self.active_1.eq(self.start | (self.active_1 & ~over & ~self.stop)),
            self.timed_2.eq(~by_reference | found_before | found),
            self.last_2.eq(last), self.missing_2.eq(missing), self.double_2.eq(double),
        ]
        return m
