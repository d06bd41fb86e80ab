"""Edges in order of their times."""

from amaranth import *
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.layouts.tags import FINE_BITS, MAX_CHANNELS
from quantacore.gateware.logic import any_of
from quantacore.gateware.ram import RAM

__all__ = ["Sorted", "Sorter"]

_TIME_BITS = 64 + FINE_BITS
_CHANNEL_BITS = exact_log2(MAX_CHANNELS)


class Sorted(data.Struct):
    """An edge in order, or a mark: no edge before ``time`` comes any more."""

    time: _TIME_BITS
    channel: _CHANNEL_BITS
    mark: 1


class Sorter(wiring.Component):
    """Puts edges in order of their times, those of one time in order of their channels.

    Each edge waits in the queue of its channel until it is ``hold`` ticks old. The output never
    goes back in time: an edge that would is dropped and counted, and so is one that finds its
    channel's queue full. All others come out, and in the right order, if each comes within
    ``hold`` - 8 ticks of its time. While no edge is due there are marks.

    Times are signed: an edge that a delay has put before tick 0 is an early one. A reset forgets
    all edges.

    An edge takes 13 clocks and 2 more for each channel of which edges wait.

    Parameters
    ----------
    depth : int
        Edges of each channel that may wait, a power of two from 4.

    Members
    -------
    edges : stream of Edge, always ready
        Of channels below 8. Times of a channel should ascend.
    tick : In(64)
        Tick counter.
    hold : In(16)
        Ticks.
    o : stream of Sorted
    lost, late : Out(1)
        High for one clock for each edge dropped.
    """

    def __init__(self, *, depth):
        if not isinstance(depth, int):
            raise TypeError(f"Sorter depth must be an integer, not {depth!r}")
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"Sorter depth must be a power of two from 4 up, not {depth}")
        self.depth = depth
        super().__init__({
            "edges": In(stream.Signature(Edge, always_ready=True)),
            "tick": In(64),
            "hold": In(16),
            "o": Out(stream.Signature(Sorted)),
            "lost": Out(1),
            "late": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        bits = exact_log2(self.depth)
        m.submodules.store = store = RAM(width=_TIME_BITS, depth=MAX_CHANNELS * self.depth)
        # A bit more than addresses have, to tell full from empty. What is known of the queues
        # lags by a clock: two places stay free for what comes meanwhile.
        into = Array(Signal(bits + 1, name=f"into_{i}") for i in range(MAX_CHANNELS))
        out = Array(Signal(bits + 1, name=f"out_{i}") for i in range(MAX_CHANNELS))
        some, full = Signal(MAX_CHANNELS), Signal(MAX_CHANNELS)
        for i in range(MAX_CHANNELS):
            m.d.sync += [some[i].eq(into[i] != out[i]),
                         full[i].eq((into[i] - out[i])[:bits + 1] >= self.depth - 2)]

        valid, edge = Signal(), Signal(_TIME_BITS)
        channel = Signal(_CHANNEL_BITS)
        drop = full.bit_select(channel, 1)
        m.d.sync += [
            valid.eq(self.edges.valid), channel.eq(self.edges.payload.channel),
            edge.eq(Cat(self.edges.payload.fine, self.edges.payload.tick)),
            self.lost.eq(valid & drop),
        ]
        # The word follows its place a clock later.
        m.d.sync += [
            store.write.eq(valid & ~drop), store.write_data.eq(edge),
            store.write_address.eq(Cat(into[channel][:bits], channel)),
        ]
        for i in range(MAX_CHANNELS):
            with m.If(valid & ~drop & (channel == i)):
                m.d.sync += into[i].eq(into[i] + 1)

        # A round looks at the first edge of each queue that has any, an edge every other clock,
        # and keeps the earliest. Edges that come after the round's begin are not earlier than
        # `horizon`, or late.
        todo, horizon = Signal(MAX_CHANNELS), Signal(signed(64))
        lowest = Signal(MAX_CHANNELS)
        m.d.comb += lowest.eq(todo & -todo)
        picked = Cat(any_of(lowest[i] for i in range(MAX_CHANNELS) if i >> bit & 1)
                     for bit in range(_CHANNEL_BITS))
        issue, wait = Signal(), Signal()
        steps = [issue]
        picks = [picked]
        for i in range(1, 6):
            steps.append(Signal(name=f"step_{i}"))
            picks.append(Signal(_CHANNEL_BITS, name=f"pick_{i}"))
            m.d.sync += [steps[i].eq(steps[i - 1]), picks[i].eq(picks[i - 1])]
        address = Signal(range(store.depth))
        entry, best = Signal(signed(_TIME_BITS)), Signal(signed(_TIME_BITS))
        have, earlier, best_channel = Signal(), Signal(), Signal(_CHANNEL_BITS)
        m.d.comb += [store.read.eq(1), store.read_address.eq(address)]
        m.d.sync += address.eq(Cat(out[picks[1]][:bits], picks[1]))
        with m.If(steps[3]):
            m.d.sync += entry.eq(store.read_data)
        m.d.sync += earlier.eq((entry < best) | ~have)
        with m.If(steps[5] & earlier):
            m.d.sync += [best.eq(entry), best_channel.eq(picks[5]), have.eq(1)]

        due, back = Signal(), Signal()
        candidate, last = Signal(signed(_TIME_BITS)), Signal(signed(_TIME_BITS))
        has_last = Signal()
        free = ~self.o.valid | self.o.ready
        m.d.sync += self.late.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.sync += [todo.eq(some), horizon.eq(self.tick - self.hold), have.eq(0),
                             wait.eq(0)]
                m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += issue.eq(~wait & todo.any())
                m.d.sync += wait.eq(issue)
                with m.If(issue):
                    m.d.sync += todo.eq(todo & ~lowest)
                with m.Elif(~wait & ~Cat(steps).any()):
                    m.next = "DUE"
            with m.State("DUE"):
                m.d.sync += due.eq(have & (best[FINE_BITS:].as_signed() < horizon))
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                m.d.sync += candidate.eq(Mux(due, best, Cat(C(0, FINE_BITS), horizon).as_signed()))
                m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += back.eq(has_last & (candidate < last))
                m.next = "GIVE"
            with m.State("GIVE"):
                with m.If(due & back):
                    m.d.sync += self.late.eq(1)
                    m.next = "DROP"
                with m.Elif(back):
                    m.next = "BEGIN"
                with m.Elif(free):
                    m.d.sync += [
                        self.o.valid.eq(1), self.o.payload.time.eq(candidate),
                        self.o.payload.channel.eq(best_channel), self.o.payload.mark.eq(~due),
                        last.eq(candidate), has_last.eq(1),
                    ]
                    m.next = "DROP"
            with m.State("DROP"):
                for i in range(MAX_CHANNELS):
                    with m.If(due & (best_channel == i)):
                        m.d.sync += out[i].eq(out[i] + 1)
                m.next = "REST"
            with m.State("REST"):
                # So that `some` knows of it.
                m.next = "BEGIN"
        return m
