"""One basis of the decoder: its tables, its list, and what works on them."""

import itertools

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.applier import Applier
from quantacore.gateware.decoder.committer import Committer, committed
from quantacore.gateware.decoder.eraser import CHUNK, Eraser, chunks
from quantacore.gateware.decoder.filler import Filler
from quantacore.gateware.decoder.growth import Growth
from quantacore.gateware.decoder.loader import Loader
from quantacore.gateware.decoder.matcher import Matcher
from quantacore.gateware.decoder.memory import TableMemory
from quantacore.gateware.decoder.ports import exchange_word
from quantacore.gateware.decoder.walker import Walker
from quantacore.gateware.layouts.decoder import (
    ROUND_BITS,
    WALK_AHEAD,
    DecoderRecordKind,
    DecoderShape,
    EscapeRecord,
    MatchRecord,
    PartnerKind,
    Stage,
    Table,
    TimingRecord,
    VerdictRecord,
)
from quantacore.gateware.stream import Queue, connect_streams

__all__ = ["Engine", "frame_word", "table_load"]

#: Shortcuts that wait for the other engine to match; when there are more, this one waits too.
_SHORTCUTS_WAITING = 256


def table_load(shape):
    """Layout of a word on its way into a table."""
    width = max(Shape.cast(shape.table_word(table)).width for table in Table)
    return data.StructLayout({
        "basis": 1, "table": Table, "address": max(shape.pair_bits, shape.edge_bits,
                                                   shape.shortcut_bits, shape.site_bits),
        "data": width})


def frame_word(shape):
    """Layout of one basis' Pauli frame after a window.

    ``round`` is the window's first, ``layers`` how many it committed; ``last``: the shot is over.
    """
    return data.StructLayout({"obs": shape.observables, "round": ROUND_BITS,
                              "layers": shape.time_bits + 1, "last": 1})


class Engine(wiring.Component):
    """Decodes the rounds of one basis, window after window.

    Load and fill, (apply erasures,) grow, match; the matches' edges go to the other engine as
    shortcuts as soon as they are found, and those of the other are taken in meanwhile and applied
    when all is matched; grow and match again where anything has changed; commit. An engine waits
    for the end of the other's shortcuts, and so is a window ahead of it at most.

    Parameters
    ----------
    shape : DecoderShape
    basis : int
        Which one; it stands in the records.
    rounds_waiting : int
        Rounds that may wait while a window is decoded.

    Members
    -------
    enable, commit, buffer, reach, correlation, matches : In
        Settings; they may change while ``idle``. ``enable`` = 0 empties the engine.
    load, load_valid : In
        A word for a table.
    rounds : In(stream)
        Rounds; ready while there is room.
    shortcuts, others : Out, In (streams)
        Shortcuts to, and from, the other engine; after those of a window its end.
    records : Out(stream)
        64-bit records; each window ends with its verdict and its timing.
    frame, frame_valid, timing, timing_valid : Out
        What a window did to the Pauli frame, and how long it took; for one clock.
    backlog : Out
        Rounds that wait.
    stage : Out
        What the engine is doing, for profiles.
    """

    def __init__(self, shape, *, basis, rounds_waiting=512):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        self.shape = shape
        self.basis = basis
        self.rounds_waiting = rounds_waiting
        layers = shape.time_bits + 1
        super().__init__({
            "enable": In(1), "commit": In(layers), "buffer": In(layers), "reach": In(8),
            "correlation": In(1), "matches": In(1),
            "load": In(table_load(shape)), "load_valid": In(1),
            "rounds": In(stream.Signature(shape.round_slice)),
            "now": In(16),
            "shortcuts": Out(stream.Signature(exchange_word(shape))),
            "others": In(stream.Signature(exchange_word(shape))),
            "records": Out(stream.Signature(64)),
            "backlog": Out(range(rounds_waiting + 1)),
            "frame": Out(frame_word(shape)), "frame_valid": Out(1),
            "timing": Out(TimingRecord), "timing_valid": Out(1),
            "idle": Out(1), "stage": Out(Stage),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        slot_bits = shape.slot_bits

        m.submodules.queue = queue = Queue(shape.round_slice, depth=self.rounds_waiting)
        m.submodules.loader = loader = Loader(shape)
        m.submodules.filler = filler = Filler(shape)
        m.submodules.growth = growth = Growth(shape)
        m.submodules.matcher = matcher = Matcher(shape)
        m.submodules.committer = committer = Committer(shape)
        if shape.correlation:
            m.submodules.walker = walker = Walker(shape)
        if shape.correlation or shape.sites:
            m.submodules.applier = applier = Applier(shape)
        second = bool(shape.correlation or shape.sites)
        if shape.sites:
            m.submodules.eraser = eraser = Eraser(shape)

        # Tables.
        tables = {}
        reads = {Table.PAIR: 2 if second else 1, Table.HOP: 1,
                 Table.BOUND: 2 if second else 1, Table.EDGE: 1, Table.SHORT: 1, Table.ERASE: 1}
        for table in Table:
            depth = shape.table_depth(table)
            if not depth:
                continue
            tables[table] = memory = TableMemory(shape.table_word(table), depth=depth,
                                                 reads=reads[table])
            m.submodules[f"table_{table.name.lower()}"] = memory
            m.d.comb += [
                memory.write.eq(self.load_valid & (self.load.basis == self.basis)
                                & (self.load.table == table)),
                memory.write_address.eq(self.load.address),
                Value.cast(memory.write_data).eq(self.load.data),
            ]

        # What is known of this window.
        distance = data.StructLayout({"weight": 8, "obs": shape.observables})
        partner = data.StructLayout({"kind": PartnerKind, "slot": slot_bits})
        m.submodules.list = nodes = TableMemory(shape.node, depth=shape.capacity,
                                                reads=3 if second else 2)
        m.submodules.lowest = lowest = TableMemory(slot_bits, depth=shape.capacity,
                                                   reads=2 if second else 1)
        m.submodules.first = first = TableMemory(slot_bits + 1, depth=2 << shape.time_bits)
        m.submodules.bounds = bounds = TableMemory(distance, depth=shape.capacity,
                                                   reads=2 if second else 1)
        m.submodules.pairs = pairs = TableMemory(distance, depth=shape.capacity ** 2,
                                                 reads=2 if second else 1)
        m.submodules.partners = partners = TableMemory(partner, depth=shape.capacity)

        count = loader.count
        live = Signal()  # the list is to be worked on: there was no overflow
        base = Signal(32)
        limit = Signal(shape.time_bits + 1)
        fresh = Signal(init=1)
        pass_two = Signal()
        exchanges = Signal()  # the first pass is followed by an exchange
        clocks = Signal(18)
        flags = Signal(VerdictRecord.as_shape()["flags"].shape)

        # Who reads what, by stage. Stages that share a memory never overlap. The flags are
        # registers, because multiplexers of addresses are long ways.
        loading, filling, matching, committing = (
            Signal(name=name) for name in ("loading", "filling", "matching", "committing"))
        accepting = Signal()  # shortcuts of the other engine

        def go(stage, accept=0):
            m.next = stage
            m.d.sync += [
                loading.eq(stage == "load"), filling.eq(stage in ("load", "fill", "settle")),
                matching.eq(stage == "match"), committing.eq(stage == "commit"),
                accepting.eq(accept),
            ]

        m.d.comb += [
            loader.list_data.eq(nodes.data[0]),
            filler.row_data.eq(nodes.data[0]), filler.column_data.eq(nodes.data[1]),
            committer.row_data.eq(nodes.data[0]), committer.column_data.eq(nodes.data[1]),
            filler.table_data.eq(tables[Table.PAIR].data[0]),
            filler.bound_table_data.eq(tables[Table.BOUND].data[0]),
            filler.lowest_data.eq(lowest.data[0]),
            matcher.bound_weight.eq(bounds.data[0].weight),
            matcher.bound_lowest.eq(lowest.data[0]),
            matcher.pair_weight.eq(pairs.data[0].weight),
            committer.pair_obs.eq(pairs.data[0].obs),
            committer.bound_obs.eq(bounds.data[0].obs),
            committer.partner_data.eq(partners.data[0]),
            growth.query.eq(matcher.query), matcher.members.eq(growth.members),
            growth.filling.eq(filling),
        ]
        with m.If(committing):
            m.d.comb += [
                nodes.address[0].eq(committer.row_address),
                nodes.address[1].eq(committer.column_address),
                pairs.address[0].eq(Value.cast(committer.pair_address)),
                bounds.address[0].eq(committer.bound_address),
                partners.address[0].eq(committer.partner_address),
            ]
        with m.Elif(loader.overflow & loading):
            m.d.comb += nodes.address[0].eq(loader.list_address)
        with m.Elif(matching):
            m.d.comb += [
                pairs.address[0].eq(Cat(matcher.pair_address.j, matcher.pair_address.i)),
                bounds.address[0].eq(matcher.bound_address),
                lowest.address[0].eq(matcher.bound_address),
            ]
        with m.Elif(filling):
            m.d.comb += [
                nodes.address[0].eq(filler.row_address),
                nodes.address[1].eq(filler.column_address),
                lowest.address[0].eq(filler.lowest_address),
            ]
        m.d.comb += [
            tables[Table.PAIR].address[0].eq(filler.table_address),
            tables[Table.BOUND].address[0].eq(filler.bound_table_address),
        ]
        if second:
            with m.If(~filling):
                m.d.comb += [
                    tables[Table.PAIR].address[0].eq(applier.u_table_address),
                    tables[Table.BOUND].address[0].eq(applier.bound_table_address),
                ]
            with m.If(~filling & ~matching & ~committing):
                m.d.comb += [
                    pairs.address[0].eq(Cat(applier.pair_address.j, applier.pair_address.i)),
                    bounds.address[0].eq(applier.bound_address),
                ]
            m.d.comb += [
                tables[Table.PAIR].address[1].eq(applier.v_table_address),
                nodes.address[2].eq(applier.list_address),
                first.address[0].eq(applier.first_address),
                applier.u_table_data.eq(tables[Table.PAIR].data[0]),
                applier.v_table_data.eq(tables[Table.PAIR].data[1]),
                applier.bound_table_data.eq(tables[Table.BOUND].data[0]),
                lowest.address[1].eq(applier.lowest_address),
                applier.lowest_data.eq(lowest.data[1]),
                applier.list_data.eq(nodes.data[2]),
                applier.first_data.eq(first.data[0]),
                applier.pair_weight.eq(pairs.data[0].weight),
                applier.bound_weight.eq(bounds.data[0].weight),
                pairs.address[1].eq(Cat(applier.cross_address.j, applier.cross_address.i)),
                applier.cross_weight.eq(pairs.data[1].weight),
                bounds.address[1].eq(applier.scan_address),
                applier.scan_weight.eq(bounds.data[1].weight), applier.hold.eq(matching),
                applier.window_layers.eq(Mux(live, loader.layers, 0)),
                applier.reach.eq(self.reach),
            ]
        if shape.correlation:
            with m.If(~committing & ~filling):
                m.d.comb += [
                    nodes.address[0].eq(walker.row_address),
                    nodes.address[1].eq(walker.column_address),
                    partners.address[0].eq(walker.partner_address),
                ]
            m.d.comb += [
                tables[Table.BOUND].address[1].eq(walker.bound_table_address),
                tables[Table.HOP].address[0].eq(walker.hop_address),
                tables[Table.EDGE].address[0].eq(walker.edge_address),
                tables[Table.SHORT].address[0].eq(walker.short_address),
                walker.row_data.eq(nodes.data[0]), walker.column_data.eq(nodes.data[1]),
                walker.partner_data.eq(partners.data[0]),
                walker.bound_table_data.eq(tables[Table.BOUND].data[1]),
                walker.hop_data.eq(tables[Table.HOP].data[0]),
                walker.edge_data.eq(tables[Table.EDGE].data[0]),
                walker.short_data.eq(tables[Table.SHORT].data[0]),
                walker.count.eq(count), walker.limit.eq(limit),
            ]
            known = Signal(shape.capacity)
            m.d.comb += walker.known.eq(known)
            with m.If(matcher.result_valid):
                m.d.sync += known.bit_select(matcher.result_slot, 1).eq(1)

        erasing = Signal()
        if shape.sites:
            # Layers stand in a ring, so that those of the buffer need not be moved.
            ring = Signal(shape.time_bits)
            words = 1 << (chunks(shape) - 1).bit_length() if chunks(shape) > 1 else 1
            m.submodules.flags = marks = TableMemory(CHUNK, depth=words << shape.time_bits)

            def place(layer, chunk):
                row = (ring + layer)[:shape.time_bits]
                return Cat(chunk, row) if words > 1 else row

            m.d.comb += [
                marks.write.eq(loader.flags_write), marks.write_data.eq(loader.flags_data),
                marks.write_address.eq(place(loader.flags_layer, loader.flags_chunk)),
                marks.address[0].eq(place(eraser.flags_layer, eraser.flags_chunk)),
                eraser.flags_data.eq(marks.data[0]), eraser.layers.eq(applier.window_layers),
                tables[Table.ERASE].address[0].eq(eraser.erase_address),
                eraser.erase_data.eq(tables[Table.ERASE].data[0]),
                eraser.short_data.eq(tables[Table.SHORT].data[0]),
            ]
            with m.If(erasing):
                m.d.comb += tables[Table.SHORT].address[0].eq(eraser.short_address)

        # Who writes what; the list a clock later, which nobody reads so soon.
        m.d.sync += [
            nodes.write.eq(loader.list_write | committer.list_write),
            nodes.write_address.eq(Mux(loading, loader.list_slot, committer.list_slot)),
            nodes.write_data.eq(Mux(loading, loader.list_node, committer.list_node)),
            lowest.write.eq(loader.lowest_write), lowest.write_address.eq(loader.lowest_slot),
            lowest.write_data.eq(loader.lowest_data),
            first.write.eq(loader.first_write), first.write_address.eq(loader.first_layer),
            first.write_data.eq(loader.first_slot),
        ]
        m.d.comb += [
            partners.write.eq(matcher.result_valid),
            partners.write_address.eq(matcher.result_slot),
            partners.write_data.kind.eq(matcher.result_kind),
            partners.write_data.slot.eq(matcher.result_partner),
            loader.kept_write.eq(committer.list_write), loader.kept_slot.eq(committer.list_slot),
            loader.kept_layer.eq(committer.list_node.layer),
        ]

        def writes(source):
            return [
                pairs.write.eq(source.pair_write.valid),
                pairs.write_address.eq(Cat(source.pair_write.j, source.pair_write.i)),
                pairs.write_data.weight.eq(source.pair_write.weight),
                pairs.write_data.obs.eq(source.pair_write.obs),
                bounds.write.eq(source.bound_write.valid),
                bounds.write_address.eq(source.bound_write.slot),
                bounds.write_data.weight.eq(source.bound_write.weight),
                bounds.write_data.obs.eq(source.bound_write.obs),
                growth.push.valid.eq(source.push.valid),
                growth.push.payload.eq(source.push.payload),
            ]

        if second:
            with m.If(filling):
                m.d.comb += writes(filler)
            with m.Else():
                m.d.comb += writes(applier)
        else:
            m.d.comb += writes(filler)
        m.d.comb += [
            growth.count.eq(count), matcher.count.eq(count),
            committer.count.eq(count), committer.commit.eq(self.commit),
            committer.last.eq(loader.last),
            loader.fresh.eq(fresh),
            loader.kept.eq(committer.kept),
        ]
        # The filler may read a slot two clocks after it was stored.
        stored = [count, *(Signal.like(count, name=f"stored_{n}") for n in range(3))]
        m.d.sync += [after.eq(before) for before, after in itertools.pairwise(stored)]
        complete = Signal(2)
        m.d.sync += complete.eq(Cat(~loading, complete))
        m.d.comb += [filler.count.eq(stored[-1]), filler.complete.eq(complete[-1])]
        loaded = Signal.like(loader.layers)
        m.d.comb += loader.loaded.eq(loaded)
        m.d.sync += loader.window.eq(self.commit + self.buffer)
        m.d.sync += limit.eq(Mux(loader.last, loader.layers, self.commit + WALK_AHEAD))

        queue_has_room = Signal(init=1)
        # Rounds. A register on either side of the queue: their number is checked late in the clock,
        # and the memory's output comes late. One is on its way in while the level is looked at.
        m.d.comb += self.rounds.ready.eq(queue_has_room)
        m.d.sync += [
            queue_has_room.eq(queue.level < self.rounds_waiting - 2),
            queue.i.valid.eq(self.rounds.valid & self.rounds.ready),
            queue.i.payload.eq(self.rounds.payload),
        ]
        waits = Signal()
        next_round = Signal(shape.round_slice)
        m.d.comb += [
            loader.rounds.valid.eq(waits), loader.rounds.payload.eq(next_round),
            queue.o.ready.eq(~waits),
        ]
        with m.If(~waits):
            m.d.sync += [waits.eq(queue.o.valid), next_round.eq(queue.o.payload)]
        with m.Elif(loader.rounds.ready):
            m.d.sync += waits.eq(0)
        m.d.comb += self.backlog.eq(queue.level)

        # Shortcuts: out through a queue, so that a stall of the other engine is not mine.
        if shape.correlation:
            m.submodules.sent = sent = Queue(exchange_word(shape), depth=_SHORTCUTS_WAITING)
            connect_streams(m, sent.o, wiring.flipped(self.shortcuts))
            end_due, end_seen = Signal(), Signal()
            end = end_due & ~walker.busy
            m.d.comb += [
                sent.i.valid.eq(walker.shortcuts.valid | end),
                sent.i.payload.shortcut.eq(walker.shortcuts.payload), sent.i.payload.end.eq(end),
                walker.shortcuts.ready.eq(sent.i.ready),
            ]
            with m.If(end & sent.i.ready):
                m.d.sync += end_due.eq(0)

        # Records. A window writes at most one for each defect, so that with room for them before
        # it commits nothing behind it ever waits.
        depth = 2 * shape.capacity + 4
        m.submodules.records = records = Queue(64, depth=depth)
        connect_streams(m, records.o, wiring.flipped(self.records))
        room = Signal()
        offered, offer, taken = Signal(), Signal(64), Signal()
        m.d.comb += taken.eq(records.i.ready | ~records.i.valid)
        with m.If(taken):
            m.d.sync += [records.i.valid.eq(offered), records.i.payload.eq(offer)]
        m.d.sync += room.eq(records.level <= depth - shape.capacity - 4)

        match = Signal(MatchRecord)
        escape = Signal(EscapeRecord)
        verdict = Signal(VerdictRecord)
        timing = Signal(TimingRecord)
        found = Signal(committed(shape))
        found_valid = Signal()
        delta = Signal(shape.time_bits)
        near, far = found.node, found.other
        m.d.sync += [found.eq(committer.o.payload), found_valid.eq(committer.o.valid)]
        m.d.comb += [
            # The list is in order of layers, so that the lower slot is the earlier one.
            delta.eq(far.layer - near.layer),
            match.space.eq(near.space), match.round.eq(base + near.layer),
            match.other_space.eq(Mux(found.boundary, 0, far.space)),
            match.delta.eq(Mux(found.boundary, 0, delta)),
            match.boundary.eq(found.boundary), match.obs.eq(found.obs),
            match.basis.eq(self.basis), match.kind.eq(DecoderRecordKind.MATCH),
            escape.space.eq(Mux(found_valid, found.node.space, loader.escapes.payload.space)),
            escape.round.eq(base + Mux(found_valid, found.node.layer,
                                       loader.escapes.payload.layer)),
            escape.basis.eq(self.basis), escape.kind.eq(DecoderRecordKind.ESCAPE),
        ]
        latency = Signal(16)
        saturated = Signal()
        largest = Signal(range(shape.capacity + 1))
        m.d.comb += [
            flags.overflow.eq(loader.overflow), flags.gap.eq(loader.gap),
            flags.last.eq(loader.last), flags.second_pass.eq(pass_two),
            flags.events_dropped.eq(growth.events_dropped),
            verdict.obs.eq(committer.obs), verdict.flags.eq(flags),
            verdict.largest.eq(Mux(largest > 15, 15, largest)),
            verdict.layers.eq(Mux(loader.last, loader.layers, self.commit)),
            verdict.basis.eq(self.basis), verdict.round.eq(base),
            verdict.kind.eq(DecoderRecordKind.VERDICT),
            timing.latency.eq(Mux(saturated, 0xffff, latency)),
            timing.clocks.eq(clocks), timing.defects.eq(count),
            timing.backlog.eq(Mux(queue.level > 4095, 4095, queue.level)),
            timing.basis.eq(self.basis), timing.kind.eq(DecoderRecordKind.TIMING),
        ]
        escaped = Signal()
        m.d.comb += flags.escaped.eq(escaped)
        if shape.correlation:
            m.d.comb += flags.walk_error.eq(walker.walk_error)
        # The stamp counts modulo 2**16; the clocks of the window say whether that is enough.
        m.d.sync += [latency.eq(self.now - loader.stamp),
                     saturated.eq(saturated | (latency == 0xfff0) | clocks[16:].any())]

        frame = Signal(shape.observables)
        running = Signal()
        with m.If(running & ~clocks.all()):
            m.d.sync += clocks.eq(clocks + 1)

        m.d.comb += [self.idle.eq(0), self.stage.eq(Stage.COMMIT)]
        m.d.sync += growth.clear.eq(0)
        with m.FSM():
            with m.State("begin"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += growth.clear.eq(1)
                if second:
                    m.d.comb += applier.clear.eq(1)
                m.d.sync += [
                    live.eq(1), pass_two.eq(0), clocks.eq(0), escaped.eq(0), largest.eq(0),
                    exchanges.eq(self.correlation & int(shape.correlation)),
                    *(number.eq(0) for number in stored[1:]), complete.eq(0),
                ]
                with m.If(self.enable):
                    m.d.comb += [loader.start.eq(1), filler.start.eq(1)]
                    go("load")
            with m.State("load"):
                m.d.comb += self.stage.eq(Stage.LOAD)
                m.d.comb += self.idle.eq(1)
                m.d.comb += [
                    offered.eq(loader.escapes.valid), offer.eq(escape),
                    loader.escapes.ready.eq(taken),
                ]
                with m.If(~loader.busy):
                    m.d.sync += [running.eq(1), saturated.eq(0), live.eq(~loader.overflow)]
                    go("fill")
            with m.State("fill"):
                m.d.comb += self.stage.eq(Stage.FILL)
                # After an overflow the list is empty: what was pushed before is void.
                m.d.sync += growth.clear.eq(~live)
                with m.If(~filler.busy):
                    if shape.sites:
                        m.d.comb += eraser.start.eq(1)
                        go("erase")
                    else:
                        go("settle")
            if shape.sites:
                with m.State("erase"):
                    m.d.comb += self.stage.eq(Stage.ERASE)
                    m.d.comb += erasing.eq(1)
                    with m.If(~eraser.busy & applier.idle):
                        go("settle")
            with m.State("settle"):
                m.d.comb += self.stage.eq(Stage.FILL)
                # The last push and the last distance are stored.
                m.d.comb += growth.start.eq(1)
                go("grow")
            with m.State("grow"):
                m.d.comb += self.stage.eq(Mux(pass_two, Stage.GROW_AGAIN, Stage.GROW))
                with m.If(~growth.busy):
                    m.d.comb += matcher.start.eq(1)
                    if shape.correlation:
                        m.d.sync += known.eq(0)
                        with m.If(exchanges & ~pass_two):
                            m.d.comb += [walker.start.eq(1), applier.clear.eq(1)]
                            m.d.sync += end_due.eq(1)
                    go("match", accept=exchanges & ~pass_two)
            with m.State("match"):
                m.d.comb += self.stage.eq(Mux(pass_two, Stage.MATCH_AGAIN, Stage.MATCH))
                with m.If(~matcher.busy):
                    m.d.sync += [largest.eq(matcher.largest), escaped.eq(matcher.escaped)]
                    go("room")
                    if shape.correlation:
                        with m.If(exchanges & ~pass_two):
                            go("exchange", accept=1)
            if shape.correlation:
                with m.State("exchange"):
                    m.d.comb += self.stage.eq(Stage.EXCHANGE)
                    with m.If(end_seen & applier.idle & ~end_due):
                        m.d.sync += end_seen.eq(0)
                        go("exchanged")
                with m.State("exchanged"):
                    m.d.comb += self.stage.eq(Stage.EXCHANGE)
                    with m.If(applier.changed & live):
                        m.d.sync += pass_two.eq(1)
                        m.d.comb += growth.start.eq(1)
                        go("grow")
                    with m.Else():
                        go("room")
            with m.State("room"):
                with m.If(room):
                    m.d.comb += committer.start.eq(1)
                    go("commit")
            with m.State("commit"):
                m.d.comb += [
                    offered.eq(found_valid & (found.escape | self.matches)),
                    offer.eq(Mux(found.escape, escape, match)),
                ]
                with m.If(~committer.busy & ~found_valid):
                    go("verdict")
            with m.State("verdict"):
                m.d.comb += [offered.eq(1), offer.eq(verdict)]
                m.d.sync += frame.eq(committer.obs ^ Mux(fresh, 0, frame))
                go("timing")
            with m.State("timing"):
                m.d.comb += [
                    offered.eq(1), offer.eq(timing),
                    self.timing.eq(timing), self.timing_valid.eq(1), self.frame_valid.eq(1),
                    self.frame.obs.eq(frame), self.frame.round.eq(base),
                    self.frame.layers.eq(verdict.layers), self.frame.last.eq(loader.last),
                ]
                m.d.sync += [
                    running.eq(0), fresh.eq(loader.last),
                    base.eq(Mux(loader.last, 0, base + self.commit)),
                    loaded.eq(loader.layers - self.commit),
                    *([ring.eq(ring + self.commit)] if shape.sites else []),
                ]
                go("begin")
        if second:
            # The other engine may be ahead: its shortcuts wait until this one has grown, and those
            # behind the end until the next window.
            taking = accepting & ~end_seen if shape.correlation else Const(0)
            m.d.comb += [
                applier.shortcuts.valid.eq(self.others.valid & taking & ~self.others.payload.end),
                applier.shortcuts.payload.eq(self.others.payload.shortcut),
                self.others.ready.eq(applier.shortcuts.ready & taking),
            ]
        if shape.correlation:
            with m.If(self.others.valid & self.others.ready & self.others.payload.end):
                m.d.sync += end_seen.eq(1)
        if shape.sites:
            with m.If(erasing):
                m.d.comb += [
                    applier.shortcuts.valid.eq(eraser.shortcuts.valid),
                    applier.shortcuts.payload.eq(eraser.shortcuts.payload),
                    eraser.shortcuts.ready.eq(applier.shortcuts.ready),
                ]
        with m.If(~live):
            m.d.comb += growth.push.valid.eq(0)
        with m.If(~self.enable):
            m.d.sync += [fresh.eq(1), base.eq(0)]
        return m
