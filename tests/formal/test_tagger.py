"""Contracts of the tagger: its queues and serialiser lose nothing in silence, and keep order."""

import pytest
from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.herald.rows import RowQueue
from quantacore.gateware.herald.serialiser import Serialiser
from quantacore.gateware.herald.writer import Writer
from quantacore.gateware.layouts.tags import LossCause, LostRecord, TagKind, TagRecord
from quantacore.gateware.stream import Queue
from quantacore.sim.bench.formal import prove


class QueueEqualsModel(wiring.Component):
    """A queue equals a shift register that is written at the first free place."""

    def __init__(self):
        super().__init__({"valid": In(1), "payload": In(3), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        depth = 3
        m.submodules.queue = queue = Queue(3, depth=depth)
        m.d.comb += [queue.i.valid.eq(self.valid), queue.i.payload.eq(self.payload),
                     queue.o.ready.eq(self.ready)]
        model = Array(Signal(3, name=f"model_{i}") for i in range(depth + 1))
        level = Signal(range(depth + 2))
        into, out = queue.i.valid & queue.i.ready, queue.o.valid & queue.o.ready
        m.d.sync += level.eq(level + into - out)
        with m.If(out):
            for i in range(depth):
                m.d.sync += model[i].eq(model[i + 1])
        with m.If(into):
            m.d.sync += model[(level - out)[:2]].eq(queue.i.payload)
        m.d.comb += [
            Assert(queue.level == level),
            Assert(level <= depth),
            Assert(~queue.o.valid | (level != 0)),
            Assert(~queue.o.valid | (queue.o.payload == model[0])),
            Assert(queue.i.ready | (level == depth)),
        ]
        return m


class RowsAddUp(wiring.Component):
    """Edges in = edges out + reported lost + held + pending, and the register counts the lost."""

    def __init__(self):
        super().__init__({"valid": In(1), "count": In(2), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = RowQueue(channels=2, samples=1, fine=False, depth=4)
        # The count goes along as edges, so that what comes out can be counted.
        m.d.comb += [
            rows.i.valid.eq(self.valid), rows.count.eq(self.count), rows.o.ready.eq(self.ready),
            rows.i.payload.edges[0].eq(self.count != 0), rows.i.payload.edges[1].eq(self.count[1]),
            rows.i.payload.occupied.eq(1),
            Assume(~self.valid | ((self.count != 0) & (self.count != 3))),
        ]
        # Sums modulo 32 are as good as sums, in this few clocks, and much easier to prove.
        into, out, lost = Signal(5), Signal(5), Signal(5)
        with m.If(self.valid):
            m.d.sync += into.eq(into + self.count)
        with m.If(rows.o.valid & rows.o.ready):
            with m.If(rows.o.payload.occupied):
                m.d.sync += out.eq(out + rows.o.payload.edges[0] + rows.o.payload.edges[1])
            with m.If(rows.o.payload.has_lost):
                m.d.sync += lost.eq(lost + rows.o.payload.lost)
                m.d.comb += Assert(rows.o.payload.lost != 0)
        quiet = Signal(range(16))
        with m.If(self.valid | ~self.ready):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != 15):
            m.d.sync += quiet.eq(quiet + 1)
        # After a while at rest everything is out, and out is everything.
        with m.If(quiet >= 9):
            m.d.comb += [Assert(into == (out + lost)[:5]), Assert(rows.lost[:5] == lost)]
        return m


class SerialiserIsExact(wiring.Component):
    """Against a list of the edges of at most two rows: each exactly once, in order."""

    def __init__(self):
        super().__init__({"valid": In(1), "edges": In(4), "lost": In(1), "enable": In(1)})

    def elaborate(self, platform):
        m = Module()
        channels, samples = 2, 2
        m.submodules.serialiser = dut = Serialiser(channels=channels, samples=samples, fine=False)
        given = Signal(2)
        bits = [self.edges[c * samples + s] for s in range(samples) for c in range(channels)]
        m.d.comb += [
            dut.i.valid.eq(self.valid & ~given[1]), dut.enable.eq(self.enable),
            dut.i.payload.edges[0].eq(self.edges[:2]), dut.i.payload.edges[1].eq(self.edges[2:]),
            dut.i.payload.occupied.eq(self.edges[:2] | self.edges[2:]),
            dut.i.payload.has_lost.eq(self.lost), dut.i.payload.lost.eq(9),
            dut.i.payload.tick.eq(given),
            Assume((self.edges != 0) | self.lost),
        ]
        # What is still to come, the next first: five places per row (the loss, four edges).
        todo = Signal(10)
        take = dut.i.valid & dut.i.ready
        row = Cat(self.lost, *bits)
        expected = Signal(10)
        m.d.comb += expected.eq(todo)
        with m.If(dut.o.valid):
            m.d.comb += [Assert(todo != 0), expected.eq(todo & (todo - 1))]
            for place in range(10):
                number, inside = divmod(place, 5)
                with m.If(todo[place] & ~todo[:place].any()):
                    edge = dut.o.payload.edge
                    m.d.comb += Assert(dut.o.payload.lost == (inside == 0))
                    if inside:
                        sample, channel = divmod(inside - 1, channels)
                        m.d.comb += [Assert(edge.channel == channel), Assert(edge.tick == number),
                                     Assert(edge.fine == sample * 4096)]
                    else:
                        m.d.comb += Assert(edge.tick[:32] == 9)
        m.d.sync += todo.eq(expected)
        with m.If(take):
            m.d.sync += [given.eq(given + 1),
                         todo.eq(expected | Mux(given == 0, Cat(row, C(0, 5)),
                                                Cat(C(0, 5), row)))]
        # Nothing is kept back: with `enable` high all is out a few clocks after the second row.
        idle = Signal(range(16))
        with m.If(take | ~self.enable):
            m.d.sync += idle.eq(0)
        with m.Elif(idle != 15):
            m.d.sync += idle.eq(idle + 1)
        with m.If(idle == 14):
            m.d.comb += Assert(todo == 0)
        return m


class WriterAddsUp(wiring.Component):
    """Edges taken = TAG records + LOST counts + what is pending; nothing is pending for ever."""

    def __init__(self):
        super().__init__({"valid": In(1), "is_loss": In(1), "tick": In(1), "full": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = dut = Writer(buffer_depth=16)
        m.d.comb += [
            dut.i.valid.eq(self.valid), dut.i.payload.lost.eq(self.is_loss),
            dut.i.payload.edge.tick.eq(Mux(self.is_loss, 3, Cat(C(0, 40), self.tick))),
            dut.records.ready.eq(1), dut.buffer_level.eq(Mux(self.full, 15, 0)),
        ]
        into, out, buffer_out, burst_in, burst_out = (Signal(8, name=name) for name in (
            "into", "out", "buffer_out", "burst_in", "burst_out"))
        with m.If(dut.i.valid & dut.i.ready):
            with m.If(self.is_loss):
                m.d.sync += burst_in.eq(burst_in + 3)
            with m.Else():
                m.d.sync += into.eq(into + 1)
        tag = TagRecord(dut.records.payload)
        lost = LostRecord(dut.records.payload)
        inside, known = Signal(), Signal()
        with m.If(dut.records.valid):
            with m.Switch(Value.cast(tag.kind)):
                with m.Case(TagKind.TAG.value):
                    m.d.sync += out.eq(out + 1)
                    m.d.comb += [Assert(~inside), Assert(known)]
                with m.Case(TagKind.EPOCH.value):
                    m.d.sync += known.eq(1)
                with m.Case(TagKind.OVERFLOW_BEGIN.value):
                    m.d.sync += inside.eq(1)
                    m.d.comb += [Assert(~inside), Assert(known)]
                with m.Case(TagKind.OVERFLOW_END.value):
                    m.d.sync += inside.eq(0)
                    m.d.comb += [Assert(inside), Assert(known)]
                with m.Case(TagKind.LOST.value):
                    m.d.comb += [Assert(~inside), Assert(lost.count != 0)]
                    with m.If(lost.cause == LossCause.BUFFER):
                        m.d.sync += buffer_out.eq(buffer_out + lost.count)
                    with m.Else():
                        m.d.sync += burst_out.eq(burst_out + lost.count)
                with m.Default():
                    m.d.comb += Assert(0)
        rest = Signal(range(16))
        with m.If(self.valid | self.full):
            m.d.sync += rest.eq(0)
        with m.Elif(rest != 15):
            m.d.sync += rest.eq(rest + 1)
        with m.If(rest == 14):
            m.d.comb += [
                Assert(into == (out + buffer_out)[:8]), Assert(burst_in == burst_out),
                Assert(dut.recorded == out), Assert(dut.lost == buffer_out), Assert(~inside),
            ]
        return m


@pytest.mark.parametrize("contract, name, depth", [
    (QueueEqualsModel, "queue_equals_model", 14),
    (RowsAddUp, "rows_add_up", 20),
    (SerialiserIsExact, "serialiser_is_exact", 22),
    (WriterAddsUp, "writer_adds_up", 26),
])
def test_contract_holds_from_reset(contract, name, depth):
    prove(contract(), name, depth=depth, mode="bmc", passes="memory_map; opt -full")
