"""Dead time and delay of each channel."""

from amaranth import *
from amaranth.hdl import signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.edge import Item
from quantacore.gateware.herald.rows import check_geometry, choose
from quantacore.gateware.layouts.tags import FINE_BITS
from quantacore.gateware.ram import RAM

__all__ = ["LATENCY", "Filter"]

#: Clocks from an item in to the item out.
LATENCY = 8
_TIME_BITS = 64 + FINE_BITS


class Filter(wiring.Component):
    """Drops edges that follow their channel's last kept edge too closely, then shifts times.

    An edge is dropped if it comes less than ``dead_time`` after the last edge of its channel that
    was kept (so the dead time is not extended by dropped edges; 0 is off; an edge exactly
    ``dead_time`` later is kept). Both times are those of the input: the delay, which differs
    between channels only, does not change what is dropped. The last kept edge is remembered while
    the tagger is off. A new ``dead_time`` holds for the edges that come after it.

    The delay is added to the time of the kept edge, modulo 2**64 ticks. Items keep their order.

    Latency: :data:`LATENCY` clocks; one item per clock.

    Parameters
    ----------
    channels : int

    Members
    -------
    i : stream of Item, always ready
        Times of a channel must ascend.
    o : stream of Item, always ready
    dead_time : In(32).array(channels)
        Fine units.
    delay : In(signed(24)).array(channels)
        Fine units.
    clear : In(1)
        Zero the counters.
    in_dead_time : Out(48).array(channels)
        Edges dropped.
    """

    def __init__(self, *, channels):
        check_geometry(channels, 1)
        self.channels = channels
        super().__init__({
            "i": In(stream.Signature(Item, always_ready=True)),
            "o": Out(stream.Signature(Item, always_ready=True)),
            "dead_time": In(32).array(channels),
            "delay": In(signed(24)).array(channels),
            "clear": In(1),
            "in_dead_time": Out(48).array(channels),
        })

    def elaborate(self, platform):
        m = Module()
        channel_bits = max(1, (self.channels - 1).bit_length())

        class Stage:
            """An item on its way, one per clock of the pipeline."""

            def __init__(self, number, previous=None):
                self.valid = Signal(name=f"valid_{number}")
                self.item = Signal(Item, name=f"item_{number}")
                if previous is not None:
                    m.d.sync += [self.valid.eq(previous.valid), self.item.eq(previous.item)]
                self.is_edge = self.valid & ~self.item.lost
                self.time = Cat(self.item.edge.fine, self.item.edge.tick)
                self.channel = self.item.edge.channel[:channel_bits]

        inputs = Stage("in")
        m.d.comb += [inputs.valid.eq(self.i.valid), inputs.item.eq(self.i.payload)]
        stages = [inputs]
        for number in range(1, LATENCY):
            stages.append(Stage(number, stages[-1]))
        s = stages

        # The end of the dead time that each edge would start if it were kept: 1 selects the dead
        # time, 2 adds it. `ends[k]` belongs to the item in stage k.
        dead_1, ends = Signal(32), {}
        m.d.sync += dead_1.eq(choose(inputs.channel, self.dead_time))
        for number in (2, 3, 4, 5):
            ends[number] = Signal(_TIME_BITS, name=f"end_{number}")
        m.d.sync += ends[2].eq(s[1].time + dead_1)
        for number in (3, 4, 5):
            m.d.sync += ends[number].eq(ends[number - 1])

        # The end of each channel's dead time is fetched in stage 2, compared in stage 3 and
        # replaced in stage 4. What the two items ahead do to it after the fetch is added by
        # comparing with them as well. A later edge's dead time ends later, so any of the three
        # comparisons is reason enough to drop; so it does not matter whether the fetch sees what
        # is replaced in the same clock.
        m.submodules.table = table = RAM(
            width=_TIME_BITS, depth=max(2, self.channels), block=False)
        has_until, has_until_3 = Signal(self.channels), Signal()
        in_table_4, in_first_4, in_second_4 = Signal(), Signal(), Signal()
        same_first_3, same_second_3 = Signal(), Signal()
        kept_5, kept_6 = Signal(), Signal()
        keep_4 = Signal()
        m.d.sync += [
            has_until_3.eq(has_until.bit_select(s[2].channel, 1)),
            same_first_3.eq(s[2].channel == s[3].channel),
            same_second_3.eq(s[2].channel == s[4].channel),
            in_table_4.eq((s[3].time < table.read_data) & has_until_3),
            in_first_4.eq((s[3].time < ends[4]) & same_first_3),
            in_second_4.eq((s[3].time < ends[5]) & same_second_3),
        ]
        m.d.comb += [
            table.read.eq(1), table.read_address.eq(s[2].channel),
            table.write.eq(keep_4), table.write_address.eq(s[4].channel),
            table.write_data.eq(ends[4]),
        ]
        m.d.comb += keep_4.eq(s[4].is_edge & ~(in_table_4 | (in_first_4 & kept_5)
                                               | (in_second_4 & kept_6)))
        m.d.sync += [kept_5.eq(keep_4), kept_6.eq(kept_5)]
        drop_5 = Signal()
        m.d.sync += drop_5.eq(s[4].is_edge & ~keep_4)
        for i in range(self.channels):
            with m.If(keep_4 & (s[4].channel == i)):
                m.d.sync += has_until[i].eq(1)
            with m.If(drop_5 & (s[5].channel == i)):
                m.d.sync += self.in_dead_time[i].eq(self.in_dead_time[i] + 1)
            with m.If(self.clear):
                m.d.sync += self.in_dead_time[i].eq(0)

        # A dropped edge leaves its mark of a new run to the next item.
        pass_6, start_6, start_waits = Signal(), Signal(), Signal()
        m.d.sync += [pass_6.eq(s[5].valid & ~drop_5),
                     start_6.eq(s[5].item.start | start_waits)]
        with m.If(s[5].valid):
            m.d.sync += start_waits.eq(drop_5 & (s[5].item.start | start_waits))

        # Delay, in two halves.
        half = 40
        delay_6 = Signal(signed(24))
        low_7, carry_7, minus_7 = Signal(half), Signal(), Signal()
        pass_7, start_7 = Signal(), Signal()
        is_edge_5 = ~s[5].item.lost
        with m.If(is_edge_5):
            m.d.sync += delay_6.eq(choose(s[5].channel, self.delay))
        with m.Else():
            m.d.sync += delay_6.eq(0)
        extended = Signal(signed(half))
        m.d.comb += extended.eq(delay_6)
        m.d.sync += [
            Cat(low_7, carry_7).eq(s[6].time[:half] + extended.as_unsigned()),
            minus_7.eq(delay_6 < 0), pass_7.eq(pass_6), start_7.eq(start_6),
        ]
        high = s[7].time[half:]
        m.d.sync += [
            self.o.valid.eq(pass_7),
            self.o.payload.eq(s[7].item),
            self.o.payload.start.eq(start_7),
            Cat(self.o.payload.edge.fine, self.o.payload.edge.tick).eq(
                Cat(low_7, (high + carry_7 - minus_7)[:_TIME_BITS - half])),
        ]
        return m
