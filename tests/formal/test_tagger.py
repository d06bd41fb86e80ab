"""Contracts of the tagger: its queues and serialiser lose nothing in silence, and keep order."""

import pytest
from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.herald import writer as writer_module
from quantacore.gateware.herald.rows import RowQueue, lowest, several
from quantacore.gateware.herald.serialiser import Serialiser
from quantacore.gateware.herald.writer import Writer
from quantacore.gateware.layouts.tags import LossCause, LostRecord, TagKind, TagRecord
from quantacore.gateware.stream import Queue
from quantacore.sim.bench.formal import prove_bounded


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
        with m.If(quiet >= 10):
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
            dut.i.payload.several.eq(self.edges[:2] & self.edges[2:]),
            dut.i.payload.first.eq(lowest(dut.i.payload.occupied)),
            dut.i.payload.single.eq(~several(dut.i.payload.occupied)),
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
        # Nothing is kept back: with `enable` high all is out a few clocks after a single row.
        idle = Signal(range(16))
        with m.If(take | ~self.enable):
            m.d.sync += idle.eq(0)
        with m.Elif(idle != 15):
            m.d.sync += idle.eq(idle + 1)
        with m.If((idle == 10) & (given == 1)):
            m.d.comb += Assert(todo == 0)
        return m


class WriterAddsUp(wiring.Component):
    """Edges are numbered. Each TAG, and each OVERFLOW_BEGIN, has as its number how many TAG
    records came before and how many edges LOST records reported; each LOST reports exactly the
    edges up to the one in its OVERFLOW_END."""

    def __init__(self):
        super().__init__({"valid": In(1), "is_loss": In(1), "tick": In(1), "full": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = dut = Writer(buffer_depth=16)
        bits = 5
        into, reported, ended = Signal(bits), Signal(bits), Signal(bits)
        burst_in, burst_out = Signal(bits), Signal(bits)
        m.d.comb += [
            dut.i.valid.eq(self.valid), dut.i.payload.lost.eq(self.is_loss),
            dut.i.payload.edge.fine.eq(into),
            dut.i.payload.edge.tick.eq(Mux(self.is_loss, 3, Cat(C(0, 40), self.tick))),
            dut.records.ready.eq(1), dut.buffer_level.eq(Mux(self.full, 15, 0)),
        ]
        with m.If(dut.i.valid & dut.i.ready):
            with m.If(self.is_loss):
                m.d.sync += burst_in.eq(burst_in + 3)
            with m.Else():
                m.d.sync += into.eq(into + 1)
        tag = TagRecord(dut.records.payload)
        lost = LostRecord(dut.records.payload)
        inside, closing, known = Signal(), Signal(), Signal()
        with m.If(dut.records.valid):
            with m.Switch(Value.cast(tag.kind)):
                with m.Case(TagKind.TAG.value):
                    m.d.sync += reported.eq(reported + 1)
                    m.d.comb += [Assert(~inside & ~closing & known),
                                 Assert(tag.fine == reported)]
                with m.Case(TagKind.EPOCH.value):
                    m.d.sync += known.eq(1)
                with m.Case(TagKind.OVERFLOW_BEGIN.value):
                    m.d.sync += inside.eq(1)
                    m.d.comb += [Assert(~inside & ~closing & known),
                                 Assert(tag.fine == reported)]
                with m.Case(TagKind.OVERFLOW_END.value):
                    m.d.sync += [inside.eq(0), closing.eq(1), ended.eq(tag.fine + 1)]
                    m.d.comb += Assert(inside & known)
                with m.Case(TagKind.LOST.value):
                    m.d.comb += [Assert(~inside), Assert(lost.count != 0)]
                    with m.If(lost.cause == LossCause.BUFFER):
                        m.d.sync += [reported.eq(reported + lost.count), closing.eq(0)]
                        m.d.comb += [Assert(closing),
                                     Assert((reported + lost.count)[:bits] == ended)]
                    with m.Else():
                        m.d.sync += burst_out.eq(burst_out + lost.count)
                        m.d.comb += Assert(~closing)
                with m.Default():
                    m.d.comb += Assert(0)
        # The registers run ahead of the stream by what is on its way, and no further.
        on_the_way = Signal(bits)
        m.d.comb += [on_the_way.eq(into - dut.recorded - dut.lost), Assert(on_the_way <= 3)]
        return m


@pytest.mark.parametrize("contract, name, depth", [
    (QueueEqualsModel, "queue_equals_model", 20),
    (RowsAddUp, "rows_add_up", 16),
    (SerialiserIsExact, "serialiser_is_exact", 14),
    (WriterAddsUp, "writer_adds_up", 16),
])
def test_contract_holds_from_reset(contract, name, depth, monkeypatch):
    # The writer's own queue, as small as its margins allow: the proof walks through all of it.
    monkeypatch.setattr(writer_module, "_OUT_DEPTH", 8)
    monkeypatch.setattr(writer_module, "_OUT_ROOM", 2)
    monkeypatch.setattr(writer_module, "_OUT_FULL", 4)
    prove_bounded(contract(), name, depth=depth)
