"""The walker: follows the matched paths, and sends the shortcuts that their edges cause."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.ports import check_shape, partner_word
from quantacore.gateware.layouts.decoder import COUNT_BITS, MAX_HOPS, PartnerKind
from quantacore.gateware.stream import Queue

__all__ = ["Walker"]

#: A layer on the way: a path of a damaged image leaves the window as far as ``MAX_HOPS`` edges of
#: 3 layers, and shortcuts reach 8 farther.
_LAYER = signed(9)
#: Shortcuts between the table and the output.
_QUEUE_DEPTH = 8


class Walker(wiring.Component):
    """Walks from every defect to its partner, edge by edge, and sends each edge's shortcuts.

    For each slot i, ascending, that is matched with the boundary or with a lower slot: the edges
    of the shortest path by the tables BOUND or HOP, from the earlier end (of two in the same
    layer: slot i's); and for each edge its run of the table SHORT, with the layers of the window.

    It may start before the matching is done: each slot is waited for until it is ``known``.

    7 clocks an edge or one per shortcut, whichever is longer; 3 clocks per slot, and 3 more per
    path. Data of every memory are expected two clocks after the address. ``start`` while busy is
    ignored.

    A path may leave the window for a while. An end in a layer that a shortcut has no bits for is
    sent as one of the lowest layer that it has, which is outside of the window, too.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    start : In(1)
        Begin; ``count`` must stay until ``busy`` has fallen.
    busy : Out(1)
        High from the clock after ``start`` until the last shortcut is taken.
    count : In(slot_bits + 1)
        Defects in the list.
    known : In(capacity)
        Slots whose partner is stored.
    limit : In(time_bits + 1)
        Matches with no end before this layer are left out.
    partner_address, partner_data
        Partners (data: :func:`~quantacore.gateware.decoder.ports.partner_word`).
    row_address, row_data, column_address, column_data
        Two ports of the list (data: node).
    hop_address, hop_data, bound_table_address, bound_table_data, edge_address, edge_data,
    short_address, short_data
        Tables HOP, BOUND, EDGE and SHORT.
    shortcuts : Out, stream of shortcuts
    walk_error : Out(1)
        A path was given up, after ``MAX_HOPS`` edges or where its ends were farther apart than
        the table covers: the image is damaged. Until ``start``.
    """

    def __init__(self, shape):
        check_shape(shape)
        self.shape = shape
        super().__init__({
            "start": In(1), "busy": Out(1), "count": In(shape.slot_bits + 1),
            "known": In(shape.capacity), "limit": In(shape.time_bits + 1),
            "partner_address": Out(shape.slot_bits), "partner_data": In(partner_word(shape)),
            "row_address": Out(shape.slot_bits), "row_data": In(shape.node),
            "column_address": Out(shape.slot_bits), "column_data": In(shape.node),
            "hop_address": Out(shape.pair_bits), "hop_data": In(shape.hop_word),
            "bound_table_address": Out(shape.space_bits),
            "bound_table_data": In(shape.bound_word),
            "edge_address": Out(shape.edge_bits), "edge_data": In(shape.edge_word),
            "short_address": Out(shape.shortcut_bits), "short_data": In(shape.short_word),
            "shortcuts": Out(stream.Signature(shape.shortcut)),
            "walk_error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        node = data.StructLayout({"space": shape.space_bits, "layer": _LAYER})
        m.submodules.sender = sender = _Sender(shape)
        wiring.connect(m, sender.shortcuts, wiring.flipped(self.shortcuts))
        m.d.comb += [
            self.short_address.eq(sender.short_address), sender.short_data.eq(self.short_data),
        ]

        slot = Signal(shape.slot_bits + 1)
        a, b = Signal(node), Signal(node)       # where the walk from slot i, from j has come to
        to_boundary = Signal()
        hops = Signal(range(MAX_HOPS + 1))
        # Both differences: the sign of the first picks one a clock later.
        forth, back = Signal(_LAYER), Signal(_LAYER)
        m.d.sync += [forth.eq(b.layer - a.layer), back.eq(a.layer - b.layer)]
        a_late = forth[-1]
        m.d.comb += [
            self.busy.eq(1),
            self.partner_address.eq(slot), self.row_address.eq(slot),
            self.column_address.eq(self.partner_data.slot),
        ]

        # The edge at hand leaves the node `early` for `other`.
        edge, first = self.edge_data, Signal(shape.hop_word)
        early, other = Signal(node), Signal(node)
        m.d.comb += [
            first.edge.eq(Mux(to_boundary, self.bound_table_data.edge, self.hop_data.edge)),
            first.at_b.eq(Mux(to_boundary, self.bound_table_data.at_b, self.hop_data.at_b)),
            self.edge_address.eq(first.edge),
            other.space.eq(Mux(first.at_b, edge.a, edge.b)),
            other.layer.eq(Mux(first.at_b, early.layer - edge.delta, early.layer + edge.delta)),
            sender.run.payload.layer.eq(
                Mux(first.at_b, early.layer - edge.delta, early.layer)),
            sender.run.payload.start.eq(edge.start),
            sender.run.payload.count.eq(edge.count),
        ]
        early_is_b = Signal()

        with m.FSM(name="walk"):
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [slot.eq(0), self.walk_error.eq(0)]
                    m.next = "PARTNER"
            with m.State("PARTNER"):
                with m.If(slot == self.count):
                    m.next = "DRAIN"
                with m.Elif(self.known.bit_select(slot[:shape.slot_bits], 1)):
                    m.next = "PARTNER_WAIT"
            with m.State("PARTNER_WAIT"):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    a.space.eq(self.row_data.space), a.layer.eq(self.row_data.layer),
                    hops.eq(0),
                    to_boundary.eq(self.partner_data.kind == PartnerKind.BOUNDARY),
                ]
                with m.If((self.partner_data.kind == PartnerKind.BOUNDARY)
                          & (self.row_data.layer < self.limit)):
                    m.next = "COMPARE"
                with m.Elif((self.partner_data.kind == PartnerKind.SLOT)
                            & (self.partner_data.slot < slot)):
                    m.next = "NODE"
                with m.Else():
                    m.d.sync += slot.eq(slot + 1)
                    m.next = "PARTNER"
            with m.State("NODE"):
                m.next = "NODE_WAIT"
            with m.State("NODE_WAIT"):
                m.d.sync += [b.space.eq(self.column_data.space),
                             b.layer.eq(self.column_data.layer)]
                m.next = "COMPARE"
                # Slot j is the earlier one.
                with m.If(self.column_data.layer >= self.limit):
                    m.d.sync += slot.eq(slot + 1)
                    m.next = "PARTNER"
            with m.State("COMPARE"):
                m.next = "ADDRESS"
                with m.If(~to_boundary & (a == b)):
                    m.d.sync += slot.eq(slot + 1)
                    m.next = "PARTNER"
                with m.Elif(hops == MAX_HOPS):
                    m.d.sync += [slot.eq(slot + 1), self.walk_error.eq(1)]
                    m.next = "PARTNER"
            with m.State("ADDRESS"):
                delta = Signal(_LAYER)
                m.d.comb += delta.eq(Mux(a_late, back, forth))
                m.d.sync += [
                    early_is_b.eq(a_late & ~to_boundary),
                    hops.eq(hops + 1),
                    self.bound_table_address.eq(a.space),
                    self.hop_address.eq(Cat(delta[:shape.delta_bits],
                                            Mux(a_late, a.space, b.space),
                                            Mux(a_late, b.space, a.space))),
                ]
                m.next = "HOP"
                with m.If(~to_boundary & delta[shape.delta_bits:].any()):
                    m.d.sync += [slot.eq(slot + 1), self.walk_error.eq(1)]
                    m.next = "PARTNER"
            with m.State("HOP"):
                m.d.sync += early.eq(Mux(early_is_b, b, a))
                m.next = "HOP_WAIT"
            with m.State("HOP_WAIT"):
                m.next = "EDGE"
            with m.State("EDGE"):
                m.next = "EDGE_WAIT"
            with m.State("EDGE_WAIT"):
                m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += sender.run.valid.eq(1)
                with m.If(sender.run.ready):
                    with m.If(early_is_b):
                        m.d.sync += b.eq(other)
                    with m.Else():
                        m.d.sync += a.eq(other)
                    m.next = "COMPARE"
                    with m.If(to_boundary & edge.boundary):
                        m.d.sync += slot.eq(slot + 1)
                        m.next = "PARTNER"
            with m.State("DRAIN"):
                with m.If(~sender.busy):
                    m.next = "IDLE"
        return m


class _Sender(wiring.Component):
    """Reads runs of the table SHORT and sends them, one shortcut per clock."""

    def __init__(self, shape):
        self.shape = shape
        run = data.StructLayout({"start": shape.shortcut_bits, "count": COUNT_BITS,
                                 "layer": _LAYER})
        super().__init__({
            "run": In(stream.Signature(run)), "busy": Out(1),
            "short_address": Out(shape.shortcut_bits), "short_data": In(shape.short_word),
            "shortcuts": Out(stream.Signature(shape.shortcut)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(self.shape.shortcut, depth=_QUEUE_DEPTH)
        wiring.connect(m, queue.o, wiring.flipped(self.shortcuts))

        # An address goes out only when its shortcut has a place in the queue, so nothing has to
        # wait on the way there.
        left = Signal(COUNT_BITS)
        room = Signal(range(_QUEUE_DEPTH + 1), init=_QUEUE_DEPTH)
        layer = [Signal.like(self.run.payload.layer, name=f"layer_{n}") for n in range(3)]
        sent = [Signal(name=f"sent_{n}") for n in range(4)]
        taken = Signal()
        m.d.comb += [
            sent[0].eq((left != 0) & (room != 0)),
            taken.eq(self.shortcuts.valid & self.shortcuts.ready),
            self.run.ready.eq((left == 0) | (left == 1) & sent[0]),
            self.busy.eq((left != 0) | (room != _QUEUE_DEPTH)),
        ]
        m.d.sync += [
            room.eq(room - sent[0] + taken),
            Cat(sent[1:]).eq(Cat(sent[:-1])),
            layer[1].eq(layer[0]), layer[2].eq(layer[1]),
        ]
        with m.If(sent[0]):
            m.d.sync += [left.eq(left - 1), self.short_address.eq(self.short_address + 1)]
        with m.If(self.run.valid & self.run.ready):
            m.d.sync += [
                left.eq(self.run.payload.count), layer[0].eq(self.run.payload.layer),
                self.short_address.eq(self.run.payload.start),
            ]

        short, word = self.short_data, Signal(self.shape.shortcut)
        m.d.sync += [
            word.u.eq(short.u), word.v.eq(short.v), word.boundary.eq(short.boundary),
            word.weight.eq(short.weight), word.obs.eq(short.obs),
        ]
        for name in ("u_layer", "v_layer"):
            end, sent_as = Signal(_LAYER, name=name), word[name]
            width = len(sent_as)
            m.d.comb += end.eq(layer[2] + short[name])
            m.d.sync += sent_as.eq(end)
            with m.If(end[width - 1:].any() & ~end[width - 1:].all()):
                m.d.sync += sent_as.eq(-1 << width - 1)
        m.d.comb += [queue.i.payload.eq(word), queue.i.valid.eq(sent[3])]
        return m
