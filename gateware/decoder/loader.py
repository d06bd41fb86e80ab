"""Fills the list of defects of a window from the rounds that wait."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.eraser import CHUNK, chunks
from quantacore.gateware.layouts.decoder import DecoderShape

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Makes the list of a window: the defects that the last one kept, then those of new rounds.

    Defects stand in the list by layer, then by space. For every layer the loader notes its first
    slot, and for every slot the first slot that is near enough in time to be matched with it.

    A defect that the list has no room for overflows the window: every defect of the window leaves
    on ``escapes`` (the list first, in its order), and the list is empty.

    Time: a clock for each kept defect and each kept layer; for each new layer two clocks and one
    for each of its defects.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    fresh : In(1)
        With ``start``: a new shot begins, nothing is kept.
    kept_write, kept_slot, kept_layer
        The layer of each defect that is kept for the next window, written before ``start``.
    kept, loaded : In
        How many defects and layers are kept.
    window : In
        Layers that a window needs (commit and buffer).
    rounds : In(stream)
        One transfer per round.
    list_write, list_slot, list_node
        New entry of the list.
    lowest_write, lowest_slot, lowest_data
        First slot that may be matched with ``lowest_slot``.
    first_write, first_layer, first_slot
        First slot of a layer; for the layer after the last one, the number of defects.
    list_address, list_data
        Reads the list (2 clocks), for the escapes of an overflow only.
    flags_write, flags_layer, flags_chunk, flags_data
        Erasure flags of each new layer; only where the shape has sites.
    escapes : Out(stream)
        Nodes of a window that overflowed.
    count, layers : Out
        Defects and layers of the window, once ``busy`` is low.
    last, gap, overflow : Out(1)
        The window ends with a shot's last round; rounds were missing; the list was too small.
    stamp : Out(16)
        When the last round of the window arrived.
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        self.shape = shape
        slot, count = shape.slot_bits, shape.slot_bits + 1
        layers = shape.time_bits + 1
        super().__init__({
            "start": In(1), "busy": Out(1), "fresh": In(1),
            "kept_write": In(1), "kept_slot": In(slot), "kept_layer": In(shape.time_bits),
            "kept": In(count), "loaded": In(layers), "window": In(layers),
            "rounds": In(stream.Signature(shape.round_slice)),
            "list_write": Out(1), "list_slot": Out(slot), "list_node": Out(shape.node),
            "lowest_write": Out(1), "lowest_slot": Out(slot), "lowest_data": Out(slot),
            "first_write": Out(1), "first_layer": Out(layers), "first_slot": Out(count),
            "list_address": Out(slot), "list_data": In(shape.node),
            "escapes": Out(stream.Signature(shape.node)),
            **({"flags_write": Out(1), "flags_layer": Out(shape.time_bits),
                "flags_chunk": Out(range(chunks(shape))), "flags_data": Out(CHUNK)}
               if shape.sites else {}),
            "count": Out(count), "layers": Out(layers),
            "last": Out(1), "gap": Out(1), "overflow": Out(1), "stamp": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        spaces = 1 << shape.space_bits

        m.submodules.layers_kept = layers_kept = Memory(
            shape=shape.time_bits, depth=shape.capacity, init=[],
            attrs={"ram_style": "distributed"})
        write, read = layers_kept.write_port(), layers_kept.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.kept_write), write.addr.eq(self.kept_slot),
            write.data.eq(self.kept_layer),
        ]

        #: Slots in the list so far.
        slots = Signal(shape.slot_bits + 1)
        layer = Signal(shape.time_bits + 1)
        kept = Signal.like(self.kept)
        loaded = Signal.like(self.loaded)
        m.d.comb += read.addr.eq(slots)

        # First slots of this layer and of those before it; 0 before the window.
        reach = 1 << shape.delta_bits
        firsts = Signal(reach * len(slots))
        oldest = firsts[-len(slots):]

        def begin_layer():
            """The next entry is the first of ``layer``."""
            m.d.comb += [
                self.first_write.eq(1), self.first_layer.eq(layer), self.first_slot.eq(slots),
            ]
            m.d.sync += firsts.eq(Cat(slots, firsts[:-len(slots)] if reach > 1 else Const(0, 0)))

        pending = Signal(spaces)
        chosen = Signal(spaces)
        some_chosen = Signal()
        full = slots[shape.slot_bits]  # the capacity is a power of two

        def choose():
            m.d.sync += [
                chosen.eq(pending & -pending), pending.eq(pending & (pending - 1)),
                some_chosen.eq(pending.any()),
            ]

        space = Signal(shape.space_bits)
        for index in range(shape.space_bits):
            m.d.comb += space[index].eq(
                Cat(chosen[bit] for bit in range(spaces) if bit >> index & 1).any())
        # Of the missing rounds before the one that waits: they may fill more than one window.
        skipped = Signal(8)
        round_ = self.rounds.payload
        dump = Signal(shape.slot_bits + 1)
        wait = Signal(2)

        m.d.comb += [
            self.busy.eq(1),
            self.count.eq(slots), self.layers.eq(layer),
            self.list_slot.eq(slots), self.list_node.space.eq(space),
            self.list_node.layer.eq(layer),
            self.lowest_slot.eq(slots), self.lowest_data.eq(oldest),
        ]

        # Erasure flags of the layer, a word at a time.
        erased = Signal(CHUNK * chunks(shape))
        chunk = Signal(range(max(2, chunks(shape))))
        empty = Signal()

        def layer_is(taken):
            """Go on with the defects of a round that was taken, or with the next layer."""
            if taken:
                with m.If(self.overflow):
                    m.next = "escape_rest"
                with m.Else():
                    m.next = "new_defects"
            else:
                m.d.sync += layer.eq(layer + 1)
                m.next = "new_layer"

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [
                        slots.eq(0), layer.eq(0), firsts.eq(0),
                        kept.eq(self.kept), loaded.eq(self.loaded),
                        self.overflow.eq(0), self.last.eq(0), self.gap.eq(0),
                    ]
                    with m.If(self.fresh):
                        m.d.sync += [kept.eq(0), loaded.eq(0)]
                    m.next = "old_layer"

            with m.State("old_layer"):
                with m.If(layer == loaded):
                    m.next = "new_layer"
                with m.Else():
                    begin_layer()
                    m.next = "old_defects"

            with m.State("old_defects"):
                with m.If((slots != kept) & (read.data == layer)):
                    m.d.comb += self.lowest_write.eq(1)
                    m.d.sync += slots.eq(slots + 1)
                with m.Else():
                    m.d.sync += layer.eq(layer + 1)
                    m.next = "old_layer"

            with m.State("new_layer"):
                with m.If((layer == self.window) | self.last):
                    m.d.comb += [
                        self.first_write.eq(1), self.first_layer.eq(layer),
                        self.first_slot.eq(slots),
                    ]
                    m.next = "idle"
                with m.Elif(self.rounds.valid):
                    begin_layer()
                    m.d.sync += chunk.eq(0)
                    with m.If(skipped != round_.skipped):
                        m.d.sync += [skipped.eq(skipped + 1), self.gap.eq(1)]
                        if shape.sites:
                            m.d.sync += [erased.eq(0), empty.eq(1)]
                            m.next = "erasures"
                        else:
                            layer_is(taken=False)
                    with m.Else():
                        m.d.comb += self.rounds.ready.eq(1)
                        m.d.sync += [
                            skipped.eq(0), pending.eq(round_.bits), some_chosen.eq(0),
                            self.last.eq(round_.last), self.stamp.eq(round_.stamp),
                        ]
                        if shape.sites:
                            m.d.sync += [erased.eq(round_.erased), empty.eq(0)]
                            m.next = "erasures"
                        else:
                            layer_is(taken=True)

            if shape.sites:
                with m.State("erasures"):
                    m.d.comb += [
                        self.flags_write.eq(1), self.flags_layer.eq(layer),
                        self.flags_chunk.eq(chunk), self.flags_data.eq(erased[:CHUNK]),
                    ]
                    m.d.sync += [erased.eq(erased >> CHUNK), chunk.eq(chunk + 1)]
                    with m.If(chunk == chunks(shape) - 1):
                        with m.If(empty):
                            layer_is(taken=False)
                        with m.Else():
                            layer_is(taken=True)

            with m.State("new_defects"):
                # One is taken out of the round while the one before it goes to the list.
                choose()
                with m.If(some_chosen):
                    with m.If(full):
                        m.d.sync += [
                            self.overflow.eq(1), dump.eq(0), wait.eq(0),
                            # Both that were taken go back.
                            pending.eq(pending | chosen),
                        ]
                        m.next = "escape_list"
                    with m.Else():
                        m.d.comb += [self.list_write.eq(1), self.lowest_write.eq(1)]
                        m.d.sync += slots.eq(slots + 1)
                with m.If(~pending.any() & ~(some_chosen & full)):
                    m.d.sync += layer.eq(layer + 1)
                    m.next = "new_layer"

            with m.State("escape_list"):
                m.d.comb += [
                    self.list_address.eq(dump), self.escapes.payload.eq(self.list_data),
                    self.escapes.valid.eq(wait == 2),
                ]
                with m.If(wait != 2):
                    m.d.sync += wait.eq(wait + 1)
                with m.Elif(self.escapes.ready):
                    m.d.sync += [wait.eq(0), dump.eq(dump + 1)]
                    with m.If(dump == shape.capacity - 1):
                        m.d.sync += [slots.eq(0), some_chosen.eq(0)]
                        m.next = "escape_rest"

            with m.State("escape_rest"):
                m.d.comb += [
                    self.escapes.payload.space.eq(space),
                    self.escapes.payload.layer.eq(layer),
                    self.escapes.valid.eq(some_chosen),
                ]
                with m.If(~some_chosen | self.escapes.ready):
                    choose()
                    with m.If(~pending.any()):
                        m.d.sync += layer.eq(layer + 1)
                        m.next = "new_layer"
        return m
