"""Edges of virtual channels from sorted edges of detectors."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.herald.sorter import Sorted
from quantacore.gateware.layouts.tags import FINE_BITS, MAX_CHANNELS
from quantacore.gateware.layouts.virtual import (
    FIRST_VIRTUAL,
    VIRTUAL_CHANNELS,
    WINDOW_BITS,
    VirtualChannel,
    VirtualKind,
)
from quantacore.gateware.logic import any_of
from quantacore.gateware.ram import RAM

__all__ = ["CoincidenceFinder"]

_TIME_BITS = 64 + FINE_BITS
#: Window, one more, and a guard.
_SPAN_BITS = WINDOW_BITS + 2
#: Where the times of open groups are, behind those of the detectors' last edges.
_GROUPS = MAX_CHANNELS


class CoincidenceFinder(wiring.Component):
    """Looks at each edge with what it knows of the edges before, for all virtual channels.

    What an edge of a virtual channel is says
    :class:`~quantacore.gateware.layouts.virtual.VirtualKind`. An edge that ends a group, because
    it comes after the window, may open the next. A combination comes out when an edge or a mark
    behind its ``guard_after`` comes in.

    An edge takes 21 clocks, 3 for each virtual edge that it makes and 1 for each group that it
    opens; a mark 2 if no group is open.

    Members
    -------
    i : stream of Sorted
    channels : In(VirtualChannel).array(4)
        A channel that is switched off forgets what it has seen.
    window, guard_before, guard_after : In(24).array(4)
        Fine units.
    o : stream of Edge
        Rising edges, times of a channel ascending.
    """

    i: In(stream.Signature(Sorted))
    channels: In(VirtualChannel).array(VIRTUAL_CHANNELS)
    window: In(WINDOW_BITS).array(VIRTUAL_CHANNELS)
    guard_before: In(WINDOW_BITS).array(VIRTUAL_CHANNELS)
    guard_after: In(WINDOW_BITS).array(VIRTUAL_CHANNELS)
    o: Out(stream.Signature(Edge))

    def elaborate(self, platform):
        m = Module()
        number = range(VIRTUAL_CHANNELS)
        m.submodules.times = times = RAM(width=_TIME_BITS, depth=16, block=False)
        item, here = Signal(Sorted), Signal(MAX_CHANNELS)
        known = Signal(MAX_CHANNELS)
        fresh = [Signal(MAX_CHANNELS, name=f"fresh_{v}") for v in number]
        members = [Signal(MAX_CHANNELS, name=f"members_{v}") for v in number]
        is_open = Signal(VIRTUAL_CHANNELS)

        # Spans in which something is near: less than these.
        inside, ends = ([Signal(_SPAN_BITS, name=f"{name}_{v}") for v in number]
                        for name in ("inside", "end"))
        for v in number:
            m.d.sync += [inside[v].eq(self.window[v] + 1),
                         ends[v].eq(inside[v] + self.guard_after[v])]

        # How long ago each remembered time was, a time per clock, against two spans of each
        # virtual channel: the window, and the guard before (of detectors) or the end of the guard
        # after (of groups).
        last_step = _GROUPS + VIRTUAL_CHANNELS - 1
        step, looking = Signal(range(16)), Signal()
        at, busy = [step], [looking]
        for i in range(1, 5):
            at.append(Signal.like(step, name=f"step_{i}"))
            busy.append(Signal(name=f"looking_{i}"))
            m.d.sync += [at[i].eq(at[i - 1]), busy[i].eq(busy[i - 1])]
        age_2, low_3, far_3 = Signal(_TIME_BITS), Signal(_SPAN_BITS), Signal()
        m.d.sync += [
            age_2.eq(item.time - times.read_data),
            low_3.eq(age_2), far_3.eq(age_2[_SPAN_BITS:].any()),
        ]
        near, close = ([Signal(16, name=f"{name}_{v}") for v in number]
                       for name in ("near", "close"))
        for v in number:
            span_3 = Signal(_SPAN_BITS, name=f"span_3_{v}")
            near_4, close_4 = Signal(name=f"near_4_{v}"), Signal(name=f"close_4_{v}")
            m.d.sync += [
                span_3.eq(Mux(at[2] >= _GROUPS, ends[v], self.guard_before[v])),
                near_4.eq(~far_3 & (low_3 < inside[v])), close_4.eq(~far_3 & (low_3 < span_3)),
            ]
            with m.If(busy[4]):
                m.d.sync += [near[v].bit_select(at[4], 1).eq(near_4),
                             close[v].bit_select(at[4], 1).eq(close_4)]

        # What that means for each channel, in two clocks.
        hit, takes, watches, blocked, in_window, before_end, whole = (
            Signal(VIRTUAL_CHANNELS, name=name) for name in
            ("hit", "takes", "watches", "blocked", "in_window", "before_end", "whole"))
        emits, opens = Signal(VIRTUAL_CHANNELS), Signal(VIRTUAL_CHANNELS)
        is_edge = ~item.mark
        for v in number:
            channel = self.channels[v]
            coincidence = channel.enable & (channel.kind == VirtualKind.COINCIDENCE)
            combination = channel.enable & (channel.kind == VirtualKind.COMBINATION)
            missing = channel.detectors & ~here & ~(fresh[v] & near[v][:MAX_CHANNELS])
            m.d.sync += [
                takes[v].eq(coincidence & is_edge & (channel.detectors & here).any()),
                hit[v].eq(~missing.any()),
                watches[v].eq(combination & is_edge & (channel.watched & here).any()),
                blocked[v].eq((known & channel.watched & close[v][:MAX_CHANNELS]).any()),
                in_window[v].eq(near[v][_GROUPS + v]), before_end[v].eq(close[v][_GROUPS + v]),
                whole[v].eq(members[v] == channel.detectors),
            ]
            with m.If(~coincidence):
                m.d.sync += fresh[v].eq(0)
            with m.If(~combination):
                m.d.sync += is_open[v].eq(0)

        def decide():
            m.d.sync += known.eq(known | Mux(item.mark, 0, here))
            for v in number:
                joins = is_open[v] & in_window[v]
                leaves = is_open[v] & Mux(item.mark, ~before_end[v], watches[v] & ~in_window[v])
                m.d.sync += [
                    emits[v].eq((takes[v] & hit[v]) | (leaves & ~before_end[v] & whole[v])),
                    opens[v].eq(watches[v] & ~joins & ~blocked[v]),
                ]
                with m.If(takes[v]):
                    m.d.sync += fresh[v].eq(Mux(hit[v], 0, fresh[v] | here))
                with m.If(leaves):
                    m.d.sync += is_open[v].eq(0)
                with m.If(watches[v] & joins):
                    m.d.sync += members[v].eq(members[v] | here)
                with m.Elif(watches[v] & ~blocked[v]):
                    m.d.sync += [members[v].eq(here), is_open[v].eq(1)]

        def lowest(some):
            return Cat(any_of(some[v] & ~some[:v].any() for v in number if v >> bit & 1)
                       for bit in range((VIRTUAL_CHANNELS - 1).bit_length()))

        chosen, from_group = Signal(range(VIRTUAL_CHANNELS)), Signal()
        kinds = Array(channel.kind == VirtualKind.COMBINATION for channel in self.channels)
        m.d.comb += [times.read.eq(1), times.read_address.eq(step),
                     times.write_data.eq(item.time)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [item.eq(self.i.payload), here.eq(1 << self.i.payload.channel),
                             step.eq(Mux(self.i.payload.mark, _GROUPS, 0))]
                with m.If(self.i.valid & (~self.i.payload.mark | is_open.any())):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += looking.eq(1)
                m.d.sync += step.eq(step + 1)
                with m.If(step == last_step):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(~Cat(busy).any()):
                    m.next = "WEIGH"
            with m.State("WEIGH"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                decide()
                m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += times.read_address.eq(_GROUPS | lowest(emits))
                m.d.sync += [chosen.eq(lowest(emits)), from_group.eq(kinds[lowest(emits)])]
                with m.If(emits.any()):
                    m.next = "FETCH"
                with m.Else():
                    m.d.comb += [times.write.eq(is_edge), times.write_address.eq(item.channel)]
                    m.next = "OPEN"
            with m.State("FETCH"):
                m.d.sync += [
                    emits.bit_select(chosen, 1).eq(0), self.o.valid.eq(1),
                    self.o.payload.channel.eq(FIRST_VIRTUAL | chosen),
                    Cat(self.o.payload.fine, self.o.payload.tick).eq(
                        Mux(from_group, times.read_data, item.time)),
                ]
                m.next = "GIVE"
            with m.State("GIVE"):
                with m.If(self.o.ready):
                    m.d.sync += self.o.valid.eq(0)
                    m.next = "EMIT"
            with m.State("OPEN"):
                m.d.comb += [times.write.eq(opens.any()),
                             times.write_address.eq(_GROUPS | lowest(opens))]
                with m.If(opens.any()):
                    m.d.sync += opens.bit_select(lowest(opens), 1).eq(0)
                with m.Else():
                    m.next = "IDLE"
        return m
