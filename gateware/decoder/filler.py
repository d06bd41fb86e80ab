"""The filler: distances of a window's defects, from the tables into the working memories."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.ports import bound_write, check_shape, growth_steps, pair_write
from quantacore.gateware.layouts.decoder import NONE, WEIGHT_BITS

__all__ = ["Filler"]

#: Clocks from the addresses of the list to the outputs.
_LATENCY = 8


class Filler(wiring.Component):
    """Looks up the distance of every two defects of the list, and of each to the boundary.

    For each slot i, ascending: its distance to the boundary, then its distances to the slots
    i - 1 down to ``lowest[i]``. Each is stored, and pushed as a growth event where it can matter:
    to the boundary if there is a way, between two slots if that is shorter than the way of both
    to the boundary. Events are pushed in this order.

    The list may still grow meanwhile: rows wait for their slot.

    One distance per clock; a slot takes at least 3 clocks. 13 clocks more from ``start`` to the
    end. Data of every memory are expected two clocks after the address. ``start`` while busy is
    ignored.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    start : In(1)
        Begin.
    busy : Out(1)
        High from the clock after ``start`` until the last write and push are done.
    count : In(slot_bits + 1)
        Defects in the list. A slot may be counted two clocks after it was stored.
    complete : In(1)
        ``count`` is final. Where it is less than it was, its rows are worthless, and soon over.
    row_address, row_data, column_address, column_data
        Two ports of the list (data: node).
    lowest_address : Out(slot_bits), lowest_data : In(slot_bits)
        Lowest slot that slot i has a distance to; i itself if there is none.
    table_address, table_data, bound_table_address, bound_table_data
        Tables PAIR and BOUND.
    pair_write, bound_write : Out
        Stores of distances, with a ``valid`` bit.
    push : Out, stream of events, always ready
    """

    def __init__(self, shape):
        check_shape(shape)
        self.shape = shape
        super().__init__({
            "start": In(1), "busy": Out(1), "count": In(shape.slot_bits + 1),
            "complete": In(1),
            "row_address": Out(shape.slot_bits), "row_data": In(shape.node),
            "column_address": Out(shape.slot_bits), "column_data": In(shape.node),
            "lowest_address": Out(shape.slot_bits), "lowest_data": In(shape.slot_bits),
            "table_address": Out(shape.pair_bits), "table_data": In(shape.pair_word),
            "bound_table_address": Out(shape.space_bits),
            "bound_table_data": In(shape.bound_word),
            "pair_write": Out(pair_write(shape)), "bound_write": Out(bound_write(shape)),
            "push": Out(stream.Signature(shape.event, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        item = data.StructLayout({"valid": 1, "boundary": 1,
                                  "i": shape.slot_bits, "j": shape.slot_bits})
        stages = Array(Signal(item, name=f"item_{n}") for n in range(_LATENCY + 1))
        issue = stages[0]
        for before, after in zip(stages, list(stages)[1:], strict=False):
            m.d.sync += after.eq(before)

        # Stage 0 walks over the triangle. The boundary's turn has j == i, so that every row ends
        # at j == lowest[i]. The next row's lowest slot is looked up during this row: a row can't
        # end before it is here.
        ahead = Signal(shape.slot_bits + 1)
        low = Signal(shape.slot_bits)
        settled = Signal(2)
        m.d.comb += [
            self.row_address.eq(issue.i), self.column_address.eq(issue.j),
            self.lowest_address.eq(ahead),
            self.busy.eq(1),
        ]
        m.d.sync += settled.eq(Cat(1, settled))
        with m.FSM(name="rows"):
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                m.d.sync += [ahead.eq(0), settled.eq(0), issue.j.eq(0), low.eq(0)]
                with m.If(self.start):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += issue.valid.eq(0)
                with m.If(issue.j != low):
                    m.d.sync += [issue.valid.eq(1), issue.boundary.eq(0), issue.j.eq(issue.j - 1)]
                with m.Elif(settled[-1]):
                    with m.If(ahead < self.count):
                        m.d.sync += [
                            issue.valid.eq(1), issue.boundary.eq(1),
                            issue.i.eq(ahead), issue.j.eq(ahead), low.eq(self.lowest_data),
                            ahead.eq(ahead + 1), settled.eq(0),
                        ]
                    with m.Elif(self.complete):
                        m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(~Cat(stage.valid for stage in stages).any()):
                    m.next = "IDLE"

        # Stage 2: nodes are here. Stage 3: table addresses. Stage 5: table data.
        delta = (self.row_data.layer - self.column_data.layer)[:shape.delta_bits]
        m.d.sync += [
            self.table_address.eq(Cat(delta, self.row_data.space, self.column_data.space)),
            self.bound_table_address.eq(self.row_data.space),
        ]

        # Stage 6: the distance, and the ways of both slots to the boundary. Those of earlier rows
        # are kept here, because the boundary's distances have a single port outside.
        m.submodules.bounds = bounds = memory.Memory(
            shape=WEIGHT_BITS, depth=shape.capacity, init=[], attrs={"ram_style": "distributed"})
        bounds_write, bounds_read = bounds.write_port(), bounds.read_port()
        row_bound = Signal(WEIGHT_BITS)
        word = [Signal(shape.pair_word, name=f"word_{n}") for n in (6, 7, 8)]
        m.d.comb += [
            bounds_write.addr.eq(stages[5].i), bounds_write.data.eq(self.bound_table_data.weight),
            bounds_write.en.eq(stages[5].valid & stages[5].boundary),
            bounds_read.addr.eq(stages[5].j), bounds_read.en.eq(1),
        ]
        with m.If(stages[5].valid & stages[5].boundary):
            m.d.sync += row_bound.eq(self.bound_table_data.weight)
        with m.If(stages[5].boundary):
            m.d.sync += [word[0].weight.eq(self.bound_table_data.weight),
                         word[0].obs.eq(self.bound_table_data.obs)]
        with m.Else():
            m.d.sync += word[0].eq(self.table_data)

        # Stage 7: what a pair must stay below (no way to the boundary, 255, is above any distance
        # by itself). Stage 8: the outputs.
        limit = Signal(WEIGHT_BITS + 1)
        steps = Signal(shape.event["distance"].shape)
        push = Signal()
        m.d.sync += [
            limit.eq(row_bound + bounds_read.data),
            word[1].eq(word[0]),
            word[2].eq(word[1]),
            steps.eq(growth_steps(word[1].weight)),
            push.eq((word[1].weight != NONE)
                    & (stages[7].boundary | (word[1].weight < limit))),
        ]
        last = stages[_LATENCY]
        m.d.comb += [
            self.pair_write.valid.eq(last.valid & ~last.boundary),
            self.pair_write.i.eq(last.i), self.pair_write.j.eq(last.j),
            self.pair_write.weight.eq(word[2].weight), self.pair_write.obs.eq(word[2].obs),
            self.bound_write.valid.eq(last.valid & last.boundary),
            self.bound_write.slot.eq(last.i),
            self.bound_write.weight.eq(word[2].weight), self.bound_write.obs.eq(word[2].obs),
            self.push.valid.eq(last.valid & push),
            self.push.payload.i.eq(last.i),
            self.push.payload.j.eq(Mux(last.boundary, 0, last.j)),
            self.push.payload.boundary.eq(last.boundary),
            self.push.payload.distance.eq(steps),
        ]
        return m
