"""Growth of clusters around defects: what has to be matched together is found."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.priority import lowest_set
from quantacore.gateware.layouts.decoder import BUCKET_BITS, DecoderShape

__all__ = ["Growth"]

#: Growth steps of a window, and with it buckets of the queue.
_BUCKETS = 1 << BUCKET_BITS
_LAST = _BUCKETS - 1
#: Steps after which two clusters that both rest look at each other again, at least.
_REST = 4
_BANKS = 4


class _SlotMemory(wiring.Component):
    """Look-up table memory of one word per slot, with ``reads`` ports that need no clock.

    Its words can be set four at a time: that is how a pass starts in a few clocks.
    """

    def __init__(self, shape, *, depth, reads):
        self.shape = shape
        self.depth = depth
        self.reads = reads
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(shape),
            "fill": In(1), "fill_row": In(range(depth // _BANKS)),
            "fill_data": In(shape).array(_BANKS),
            "address": In(range(depth)).array(reads), "data": Out(shape).array(reads),
        })

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.shape).width
        words = [[] for _ in range(self.reads)]
        for bank in range(_BANKS):
            m.submodules[f"bank{bank}"] = store = memory.Memory(
                shape=width, depth=self.depth // _BANKS, init=[],
                attrs={"ram_style": "distributed"})
            write = store.write_port()
            m.d.comb += [
                write.en.eq(self.fill | (self.write & (self.write_address[:2] == bank))),
                write.addr.eq(Mux(self.fill, self.fill_row, self.write_address[2:])),
                write.data.eq(Mux(self.fill, Value.cast(self.fill_data[bank]),
                                  Value.cast(self.write_data))),
            ]
            for port in range(self.reads):
                read = store.read_port(domain="comb")
                m.d.comb += read.addr.eq(self.address[port][2:])
                words[port].append(read.data)
        for port in range(self.reads):
            low, high = (Mux(self.address[port][0], words[port][k + 1], words[port][k])
                         for k in (0, 2))
            m.d.comb += Value.cast(self.data[port]).eq(Mux(self.address[port][1], high, low))
        return m


class _BlockMemory(wiring.Component):
    """Block RAM whose output is held while ``read`` is low.

    A read in the very clock of the write to that address gives the old or the new word; see
    :class:`~quantacore.gateware.ram.RAM` for why the port is written like this.
    """

    def __init__(self, shape, *, depth):
        self.shape = shape
        self.depth = depth
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(shape),
            "read": In(1), "address": In(range(depth)), "data": Out(shape),
        })

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.shape).width
        m.submodules.memory = store = memory.Memory(
            shape=width, depth=self.depth, init=[],
            attrs={"ram_style": "block", "no_rw_check": 1})
        write = store.write_port()
        read = store.read_port(domain="comb")
        word = Signal(width, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_address),
            write.data.eq(Value.cast(self.write_data)),
            read.addr.eq(self.address), Value.cast(self.data).eq(word),
        ]
        with m.If(self.read):
            m.d.sync += word.eq(read.data)
        return m


class _Heads(wiring.Component):
    """Where the chain of each bucket starts."""

    def __init__(self, event_bits):
        self.event_bits = event_bits
        super().__init__({
            "write": In(1), "write_address": In(BUCKET_BITS), "write_data": In(event_bits),
            "address": In(BUCKET_BITS), "data": Out(event_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.event_bits, depth=_BUCKETS, init=[], attrs={"ram_style": "distributed"})
        write = store.write_port()
        read = store.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.address), self.data.eq(read.data),
        ]
        return m


class Growth(wiring.Component):
    """Finds the clusters of defects that have to be matched together.

    A ball grows around every defect, a step at a time, in all clusters that hold an odd number
    of defects and have not met the boundary. Where two balls meet, their clusters become one.
    Nothing is looked at in every step: pushed *events* (two defects, or a defect and the boundary,
    and how far they are apart) wait in a queue of 64 buckets until the earliest step in which the
    balls could meet; if they did not, the event goes back to a later bucket. The queue's order
    is exact: lowest bucket first; in a bucket the events that came back in this pass before those
    that were pushed, the last one in first.

    Pushed events are kept, so that a second pass starts from all of them again.

    Time: 3 clocks for an event that leads to nothing, or comes back later; 5 where two clusters
    become one, and one more for each member of the one that is moved (a single one is free); up to
    5 more where the next event is one that came back. A pass takes some 10 clocks and a quarter of
    ``count`` on top.

    Resources: clusters are kept in look-up table memory, as one label, one offset of the radius and
    the ring of members per slot, so that the size does not grow with the capacity as it would with
    a processing element per slot; a merge touches the members of one cluster, in turn.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    clear : In(1)
        A new window: forget the pushed events, and ``events_dropped``. Events may be pushed from
        the next clock on.
    push : In(stream.Signature(shape.event, always_ready=True))
        An event that is kept, in any clock while not ``busy``. ``distance`` is the weight divided
        by 4, rounded up. Events beyond ``2**event_bits - capacity`` are dropped, and flagged,
    filling : In(1)
        but for boundary events that come while this is high: at most one per slot.
    count : In(range(capacity + 1))
        Defects in the list; stable while ``busy``.
    start : In(1)
        Starts a pass over all events pushed up to now, while not ``busy``.
    busy : Out(1)
        High from the next clock on until the clusters are found.
    query : In(slot_bits)
        While not ``busy``: a slot below ``count``,
    members : Out(capacity)
        and 2 clocks later a bit for every slot of its cluster.
    events_dropped : Out(1)
        An event found no room, of those pushed or of the ``2**event_bits`` per pass that may come
        back: clusters may be smaller than they should be. High until ``clear``.
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"Growth needs a DecoderShape, not {shape!r}")
        self.shape = shape
        super().__init__({
            "clear": In(1),
            "push": In(stream.Signature(shape.event, always_ready=True)),
            "filling": In(1),
            "count": In(range(shape.capacity + 1)),
            "start": In(1),
            "busy": Out(1),
            "query": In(shape.slot_bits),
            "members": Out(shape.capacity),
            "events_dropped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        events = 1 << shape.event_bits
        chained = data.StructLayout({"event": shape.event, "next": shape.event_bits, "last": 1})
        # radius = slot.offset + cluster.offset + (step, if the cluster is active), modulo 64.
        slot_layout = data.StructLayout({
            "label": shape.slot_bits, "offset": BUCKET_BITS, "next": shape.slot_bits})
        cluster_layout = data.StructLayout({"offset": BUCKET_BITS, "odd": 1, "bound": 1})

        m.submodules.slots = slots = _SlotMemory(slot_layout, depth=shape.capacity, reads=3)
        m.submodules.clusters = clusters = _SlotMemory(
            cluster_layout, depth=shape.capacity, reads=2)
        m.submodules.kept = kept = _BlockMemory(chained, depth=events)
        m.submodules.kept_heads = kept_heads = _Heads(shape.event_bits)
        m.submodules.back = back = _BlockMemory(chained, depth=events)
        m.submodules.back_heads = back_heads = _Heads(shape.event_bits)
        m.submodules.masks = masks = _BlockMemory(shape.capacity, depth=shape.capacity)

        # Kept events: pushed in one clock, linked into their chain in the next.
        filled = Signal(_BUCKETS)
        pushed_count = Signal(shape.event_bits + 1)
        pushed = Signal(shape.event)
        pushed_valid = Signal()
        pushed_always = Signal()
        pushed_bucket = Signal(BUCKET_BITS)
        arrived = self.push.payload
        m.d.sync += [
            pushed.eq(arrived),
            pushed_valid.eq(self.push.valid),
            pushed_always.eq(self.filling & arrived.boundary),
            pushed_bucket.eq(Mux(arrived.boundary,
                                 Mux(arrived.distance[BUCKET_BITS], _LAST, arrived.distance),
                                 (arrived.distance + 1)[1:])),
        ]
        link = Signal()
        m.d.comb += link.eq(pushed_valid
                            & (pushed_always | (pushed_count < events - shape.capacity)))
        m.d.comb += [
            kept.write.eq(link), kept.write_address.eq(pushed_count),
            kept.write_data.event.eq(pushed),
            kept.write_data.next.eq(kept_heads.data),
            kept.write_data.last.eq(~filled.bit_select(pushed_bucket, 1)),
            kept_heads.write.eq(link), kept_heads.write_address.eq(pushed_bucket),
            kept_heads.write_data.eq(pushed_count),
        ]
        with m.If(link):
            m.d.sync += pushed_count.eq(pushed_count + 1)
            m.d.sync += filled.bit_select(pushed_bucket, 1).eq(1)
        with m.If(pushed_valid & ~link):
            m.d.sync += self.events_dropped.eq(1)

        # The kept events of a pass come in an order that nothing can change, so they are fetched
        # ahead: one waits in `ahead`, and the next one at the output of the memory.
        arm = Signal()
        working = Signal()
        armed = Signal()
        fetching = Signal()
        first = Signal()
        exhausted = Signal()
        left = Signal(_BUCKETS)
        left_lowest = Signal(BUCKET_BITS)
        left_any = Signal()
        raw_valid = Signal()
        raw_bucket = Signal(BUCKET_BITS)
        ahead = Signal(chained)
        ahead_valid = Signal()
        ahead_bucket = Signal(BUCKET_BITS)
        take_ahead = Signal()
        can_fetch = Signal()
        from_head = Signal()
        fetch = Signal()
        load = Signal()
        m.d.sync += [
            armed.eq(arm), left_lowest.eq(lowest_set(m, left)), left_any.eq(left.any()),
        ]
        with m.If(armed):
            m.d.sync += fetching.eq(1)  # the encoder has seen `left`
        m.d.comb += [
            can_fetch.eq(fetching & ~raw_valid & ~exhausted & (first | ahead_valid)),
            from_head.eq(first | ahead.last),
            fetch.eq(can_fetch & (~from_head | left_any)),
            load.eq(raw_valid & (~ahead_valid | take_ahead)),
            kept_heads.address.eq(Mux(working, left_lowest, pushed_bucket)),
            kept.address.eq(Mux(from_head, kept_heads.data, ahead.next)),
            kept.read.eq(fetch),
        ]
        m.d.sync += [
            raw_valid.eq(fetch | (raw_valid & ~load)),
            ahead_valid.eq(load | (ahead_valid & ~take_ahead)),
        ]
        with m.If(can_fetch & ~fetch):
            m.d.sync += exhausted.eq(1)
        with m.If(fetch):
            m.d.sync += [raw_bucket.eq(Mux(from_head, left_lowest, ahead_bucket)), first.eq(0)]
            with m.If(from_head):
                m.d.sync += left.bit_select(left_lowest, 1).eq(0)
        with m.If(load):
            m.d.sync += [ahead.eq(kept.data), ahead_bucket.eq(raw_bucket)]
        with m.If(arm):
            m.d.sync += [
                left.eq(filled), fetching.eq(0), first.eq(1), exhausted.eq(0),
                raw_valid.eq(0), ahead_valid.eq(0),
            ]

        # Events that came back: `top` is a copy of the one that is due first. An event goes to a
        # bucket later than the one that is being emptied, so a chain that has been begun does not
        # change, and its links are followed without the head.
        waiting = Signal(_BUCKETS)
        waiting_lowest = Signal(BUCKET_BITS)
        waiting_any = Signal()
        back_count = Signal(shape.event_bits + 1)
        top = Signal(chained)
        top_bucket = Signal(BUCKET_BITS)
        top_exists = Signal()   # and its bucket is known
        top_valid = Signal()
        back_known = Signal()
        take_top = Signal()
        at_head, head = Signal(), Signal(shape.event_bits)
        insert = Signal()
        inserted = Signal(chained)
        insert_bucket = Signal(BUCKET_BITS)
        m.d.sync += [waiting_lowest.eq(lowest_set(m, waiting)), waiting_any.eq(waiting.any()),
                     at_head.eq(0)]
        m.d.comb += [
            inserted.next.eq(back_heads.data),
            inserted.last.eq(~waiting.bit_select(insert_bucket, 1)),
            back.write.eq(insert), back.write_address.eq(back_count), back.write_data.eq(inserted),
            back_heads.write.eq(insert), back_heads.write_address.eq(insert_bucket),
            back_heads.write_data.eq(back_count),
            back.address.eq(Mux(at_head, head, top.next)),
            back.read.eq(1),
        ]
        with m.FSM(name="back_fsm"):
            with m.State("KNOWN"):
                m.d.comb += [back_known.eq(1), back_heads.address.eq(insert_bucket)]
                with m.If(insert & (~top_exists | (insert_bucket <= top_bucket))):
                    m.d.sync += [top.eq(inserted), top_bucket.eq(insert_bucket),
                                 top_exists.eq(1), top_valid.eq(1)]
                with m.If(take_top):
                    m.d.sync += top_valid.eq(0)
                    with m.If(top.last):
                        m.d.sync += top_exists.eq(0)
                        m.next = "CLEAR"
                    with m.Else():
                        m.next = "FOLLOW"
            with m.State("CLEAR"):
                m.d.sync += waiting.bit_select(top_bucket, 1).eq(0)
                m.next = "ENCODE"
            with m.State("ENCODE"):
                m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += back_heads.address.eq(waiting_lowest)
                m.d.sync += [
                    top_bucket.eq(waiting_lowest), top_exists.eq(waiting_any),
                    head.eq(back_heads.data), at_head.eq(1),
                ]
                with m.If(waiting_any):
                    m.next = "READ"
                with m.Else():
                    m.next = "KNOWN"
            with m.State("READ"):
                m.next = "FOLLOW"
            with m.State("FOLLOW"):
                m.d.comb += back_known.eq(1)
                m.d.sync += [top.eq(back.data), top_valid.eq(1)]
                m.next = "KNOWN"
        with m.If(insert):
            m.d.sync += back_count.eq(back_count + 1)
            m.d.sync += waiting.bit_select(insert_bucket, 1).eq(1)

        # Judging. Two events are in work: P, the best candidate, still in the queue, whose
        # clusters are read; and A, taken, which is decided. Three clocks move each on: SELECT
        # (choose P; what A lacks to meet), READ (slots and clusters of P; decide A), SUM (radii
        # of P; carry A out, P becomes A). An event that comes back and is due before P takes P's
        # place; a merge sends P back to READ.
        event_p = Signal(shape.event)
        step_p = Signal(BUCKET_BITS)
        valid_p = Signal()
        back_p = Signal()
        slot_p = Signal(data.ArrayLayout(slot_layout, 2))
        cluster_p = Signal(data.ArrayLayout(cluster_layout, 2))

        side = data.StructLayout({
            "place": shape.slot_bits, "slot": slot_layout, "cluster": cluster_layout,
            "growth": BUCKET_BITS})
        event_a = Signal(shape.event)
        step_a = Signal(BUCKET_BITS)
        valid_a = Signal()
        last_a = Signal()       # the last step: whatever waits meets
        same_a = Signal()
        keep_a = Signal(side)   # the cluster that gives its label
        move_a = Signal(side)
        radii_a = Signal(data.ArrayLayout(BUCKET_BITS, 2))
        gap_a = Signal(signed(BUCKET_BITS + 3))

        decide_back = Signal()
        decide_merge = Signal()
        decide_touch = Signal()
        shift = Signal(BUCKET_BITS)
        odd = Signal()
        bound = Signal()
        active = Signal(range(shape.capacity + 1))
        active_next = Signal.like(active)
        ring = Signal(shape.slot_bits)
        moved = Signal(slot_layout)
        moved_place = Signal(shape.slot_bits)
        moved_valid = Signal()
        row = Signal(range(shape.capacity // _BANKS))
        for bank in range(_BANKS):
            own = Cat(Const(bank, 2), row)
            m.d.comb += [
                slots.fill_data[bank].label.eq(own), slots.fill_data[bank].next.eq(own),
                clusters.fill_data[bank].odd.eq(1),
            ]

        use_top = Signal()
        full = Signal()
        displaced = Signal()
        new_active = Signal()
        joining = Signal()
        m.d.comb += [
            use_top.eq(top_exists & (~ahead_valid | (top_bucket <= ahead_bucket))),
            full.eq(back_count[shape.event_bits]),
            displaced.eq(decide_back & ~full & (~valid_p | (insert_bucket <= step_p))),
            inserted.event.eq(event_a),
            new_active.eq(odd & ~bound),
            # The way through both memories is the longest one: nothing else looks up there.
            slots.address[0].eq(event_p.i), slots.address[1].eq(event_p.j),
            slots.address[2].eq(Mux(working, ring, self.query)),
            slots.write_address.eq(moved_place),
            slots.write_data.label.eq(keep_a.slot.label),
            slots.write_data.offset.eq(moved.offset + shift),
            slots.write_data.next.eq(moved.next),
            slots.fill_row.eq(row), clusters.fill_row.eq(row),
            clusters.address[0].eq(slots.data[0].label),
            clusters.address[1].eq(slots.data[1].label),
            clusters.write_address.eq(keep_a.slot.label),
            clusters.write_data.odd.eq(odd), clusters.write_data.bound.eq(bound),
            clusters.write_data.offset.eq(keep_a.growth - Mux(new_active, step_a, 0)),
        ]

        def is_active(cluster):
            return cluster.odd & ~cluster.bound

        mask_idle = Signal()
        merged = Signal()
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "ARM"
            with m.State("ARM"):
                m.d.comb += arm.eq(1)
                m.d.sync += [
                    working.eq(1), joining.eq(0),
                    active.eq(self.count), row.eq(0), valid_a.eq(0), valid_p.eq(0),
                    waiting.eq(0), back_count.eq(0), top_exists.eq(0), top_valid.eq(0),
                ]
                with m.If(self.count == 0):
                    m.next = "FINISH"
                with m.Else():
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += [slots.fill.eq(1), clusters.fill.eq(1)]
                m.d.sync += row.eq(row + 1)
                with m.If(row == (self.count - 1)[2:]):
                    m.next = "SELECT"
            with m.State("SELECT"):
                m.d.sync += gap_a.eq(event_a.distance - radii_a[0] - radii_a[1])
                with m.If((ahead_valid | exhausted) & back_known & (~use_top | top_valid)):
                    m.d.sync += [
                        valid_p.eq(ahead_valid | top_exists), back_p.eq(use_top),
                        event_p.eq(Mux(use_top, top.event, ahead.event)),
                        step_p.eq(Mux(use_top, top_bucket, ahead_bucket)),
                    ]
                    m.next = "READ"
            with m.State("READ"):
                for port, place in enumerate((event_p.i, event_p.j)):
                    m.d.sync += [slot_p[port].eq(slots.data[port]),
                                 cluster_p[port].eq(clusters.data[port])]
                    with m.If(joining & (place == keep_a.place)):
                        m.d.sync += slot_p[port].next.eq(move_a.slot.next)
                # After a merge: the rings are joined where the kept one was met.
                m.d.comb += [
                    slots.write.eq(joining), slots.write_address.eq(keep_a.place),
                    slots.write_data.offset.eq(keep_a.slot.offset),
                    slots.write_data.next.eq(move_a.slot.next),
                ]
                m.d.sync += joining.eq(0)
                grows = [is_active(keep_a.cluster), is_active(move_a.cluster)]
                met = (gap_a <= 0) | last_a
                meets = Signal()
                wait = Signal(BUCKET_BITS + 1)
                due = Signal(BUCKET_BITS + 1)
                with m.If(event_a.boundary):
                    m.d.comb += wait.eq(gap_a)
                    m.d.sync += [
                        decide_touch.eq(valid_a & grows[0] & met), decide_merge.eq(0),
                        decide_back.eq(valid_a & grows[0] & ~met),
                        odd.eq(keep_a.cluster.odd), bound.eq(1), active_next.eq(active - 1),
                    ]
                with m.Else():
                    m.d.comb += meets.eq(met & (grows[0] | grows[1]))
                    with m.If(grows[0] & grows[1]):
                        m.d.comb += wait.eq((gap_a + 1) >> 1)
                    with m.Elif(grows[0] | grows[1] | (gap_a > _REST)):
                        m.d.comb += wait.eq(gap_a)
                    with m.Else():
                        m.d.comb += wait.eq(_REST)
                    both_odd = keep_a.cluster.odd ^ move_a.cluster.odd
                    any_bound = keep_a.cluster.bound | move_a.cluster.bound
                    m.d.sync += [
                        decide_touch.eq(0), decide_merge.eq(valid_a & ~same_a & meets),
                        decide_back.eq(valid_a & ~same_a & ~meets & ~last_a),
                        odd.eq(both_odd), bound.eq(any_bound),
                        active_next.eq(active - Mux(
                            grows[0] & grows[1], 2, Mux(both_odd & ~any_bound, 0, 1))),
                    ]
                m.d.comb += due.eq(step_a + wait)
                m.d.sync += [
                    insert_bucket.eq(Mux(due[BUCKET_BITS], _LAST, due)),
                    shift.eq(move_a.growth - keep_a.growth),
                ]
                with m.If((active == 0) | ~(valid_p | valid_a)):
                    m.next = "FINISH"
                with m.Else():
                    m.next = "SUM"
            with m.State("SUM"):
                growth = [cluster_p[k].offset + Mux(is_active(cluster_p[k]), step_p, 0)
                          for k in range(2)]
                sides = [Signal(side, name=f"side{k}") for k in range(2)]
                for k, place in enumerate((event_p.i, event_p.j)):
                    m.d.comb += [sides[k].place.eq(place), sides[k].slot.eq(slot_p[k]),
                                 sides[k].cluster.eq(cluster_p[k]), sides[k].growth.eq(growth[k])]
                # A single slot is quicker to move than a cluster.
                swap = (~event_p.boundary & (slot_p[0].next == event_p.i)
                        & (slot_p[1].next != event_p.j))
                with m.If(decide_merge):
                    m.d.comb += [
                        merged.eq(1), clusters.write.eq(1),
                        slots.write.eq(1), slots.write_address.eq(move_a.place),
                        slots.write_data.offset.eq(move_a.slot.offset + shift),
                        slots.write_data.next.eq(keep_a.slot.next),
                    ]
                    m.d.sync += [valid_a.eq(0), active.eq(active_next), ring.eq(move_a.slot.next),
                                 moved_valid.eq(0)]
                    with m.If(move_a.slot.next == move_a.place):
                        m.d.sync += joining.eq(1)
                        m.next = "READ"
                    with m.Else():
                        m.next = "MOVE"
                with m.Elif(decide_touch):
                    m.d.comb += clusters.write.eq(1)
                    m.d.sync += [valid_a.eq(0), active.eq(active_next)]
                    m.next = "READ"
                with m.Else():
                    m.d.comb += insert.eq(decide_back & ~full)
                    with m.If(decide_back & full):
                        m.d.sync += self.events_dropped.eq(1)
                    with m.If(displaced):
                        m.d.sync += [
                            event_p.eq(event_a), step_p.eq(insert_bucket), valid_p.eq(1),
                            back_p.eq(1), valid_a.eq(0),
                        ]
                        m.next = "READ"
                    with m.Elif(valid_p):
                        m.d.comb += [take_top.eq(back_p), take_ahead.eq(~back_p)]
                        m.d.sync += [
                            event_a.eq(event_p), step_a.eq(step_p), valid_a.eq(1),
                            last_a.eq(step_p == _LAST),
                            same_a.eq(slot_p[0].label == slot_p[1].label),
                            keep_a.eq(Mux(swap, sides[1], sides[0])),
                            move_a.eq(Mux(swap, sides[0], sides[1])),
                            radii_a[0].eq(slot_p[0].offset + growth[0]),
                            radii_a[1].eq(Mux(event_p.boundary, 0, slot_p[1].offset + growth[1])),
                        ]
                        m.next = "SELECT"
                    with m.Else():
                        m.next = "FINISH"
            with m.State("MOVE"):
                # One member is read, and the one before it written.
                m.d.comb += slots.write.eq(moved_valid)
                m.d.sync += [
                    moved.eq(slots.data[2]), moved_place.eq(ring), moved_valid.eq(1),
                    ring.eq(slots.data[2].next),
                ]
                with m.If(slots.data[2].next == move_a.place):
                    m.next = "MOVE_LAST"
            with m.State("MOVE_LAST"):
                m.d.comb += slots.write.eq(1)
                m.d.sync += joining.eq(1)
                m.next = "READ"
            with m.State("FINISH"):
                m.d.sync += working.eq(0)
                with m.If(mask_idle):
                    m.next = "IDLE"

        # Masks of members, by label; a slot that is alone needs none. A query takes the same way
        # as a merge, which reads two, joins them and writes one behind the judge's back.
        alone = Signal()
        label = Signal(shape.slot_bits)
        mask = Signal(shape.capacity)
        write_label = Signal(shape.slot_bits)
        m.d.comb += [
            masks.read.eq(1), masks.write_address.eq(write_label),
            masks.write_data.eq(self.members),
            mask.eq(Mux(alone, Const(1, shape.capacity) << label, masks.data)),
        ]
        m.d.sync += label.eq(masks.address)
        with m.FSM(name="mask_fsm"):
            with m.State("QUERY"):
                m.d.comb += [mask_idle.eq(1), masks.address.eq(slots.data[2].label)]
                m.d.sync += [alone.eq(slots.data[2].next == self.query), self.members.eq(mask)]
                with m.If(merged):
                    m.next = "KEEP"
            with m.State("KEEP"):
                m.d.comb += masks.address.eq(keep_a.slot.label)
                m.d.sync += [alone.eq(keep_a.slot.next == keep_a.place),
                             write_label.eq(keep_a.slot.label)]
                m.next = "MOVE"
            with m.State("MOVE"):
                m.d.comb += masks.address.eq(move_a.slot.label)
                m.d.sync += [alone.eq(move_a.slot.next == move_a.place), self.members.eq(mask)]
                m.next = "JOIN"
            with m.State("JOIN"):
                m.d.sync += self.members.eq(self.members | mask)
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += masks.write.eq(1)
                m.next = "QUERY"

        with m.If(self.clear):
            m.d.sync += [filled.eq(0), pushed_count.eq(0), self.events_dropped.eq(0)]
        return m
