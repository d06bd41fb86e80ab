"""The applier: shortens the distances of a window's defects by the shortcuts that come in."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.decoder.ports import (
    bound_write,
    check_shape,
    growth_steps,
    pair_address,
    pair_write,
)
from quantacore.gateware.layouts.decoder import NEAR_CAPACITY, NONE, WEIGHT_BITS
from quantacore.gateware.ram import RAM
from quantacore.gateware.stream import Queue

__all__ = ["Applier"]

#: Shortcuts between the input and the scan of the list.
_WAITING = 8
#: Shortcuts whose near defects are held.
_BANKS = 32
#: Improvements that wait to be checked once more: what Cross finds while Improve has to wait.
_CANDIDATES = 64
#: Bits of the sum of two weights, and of three.
_TWO, _THREE = WEIGHT_BITS + 1, WEIGHT_BITS + 2


class Applier(wiring.Component):
    """Applies shortcuts, in order, to the working memories of one engine.

    A shortcut joins two nodes of the graph at a new, lower weight (or a node and the boundary).
    The defects near each end, at most ``NEAR_CAPACITY``, may have become closer to the boundary,
    or to one near the other end: what became shorter is stored and pushed as a growth event.

    Shortcuts pass a row of units that work at the same time. *Lookup* finds the range of slots in
    the layers around, at one shortcut per 2 clocks, and drops shortcuts outside of the window or
    without defects around. *Scan* measures one defect per clock. *Cross* adds up one pair per
    clock and compares it with the distance that holds. *Improve* takes what seems shorter,
    2 clocks each, and decides. So a shortcut costs its defects around, or its pairs, whichever
    are more. The first result of a shortcut comes about 30 clocks after it.

    While ``hold`` is high Improve rests, so that no distance changes. The others work on, as long
    as there is room for what seems shorter.

    The comparisons in Scan and Cross may meet distances that an earlier shortcut, still on its
    way, is going to shorten. Distances only ever become shorter, so they let too much pass and
    never too little, and Improve, which takes one candidate after the other and knows what it has
    stored, makes the results those of one shortcut after the other.

    Data of every memory are expected two clocks after the address.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    window_layers : In(time_bits + 1)
        Layers loaded. Shortcuts with an end beyond, or before layer 0, are dropped.
    reach : In(8)
        Defects up to this distance of an end are near it.
    shortcuts : In, stream of shortcuts
    hold : In(1)
        Somebody else uses the distances.
    idle : Out(1)
        Nothing is in work. Low from the clock after a shortcut is taken until its last store.
    clear : In(1)
        Forget ``changed``. Only while idle.
    changed : Out(1)
        Something has become shorter since ``clear``.
    list_address, list_data
        The list (data: node).
    first_address : Out(time_bits + 1), first_data : In(slot_bits + 1)
        First slot of a layer or of any above; at ``window_layers`` the number of defects.
    u_table_address, u_table_data, v_table_address, v_table_data
        Two ports of the table PAIR.
    bound_table_address, bound_table_data
        Table BOUND.
    lowest_address, lowest_data
        Lowest slot that a slot has a distance to.
    pair_address, pair_weight, bound_address, bound_weight
        The working memories as they are; not used while ``hold`` is high.
    cross_address, cross_weight, scan_address, scan_weight
        A second port of each.
    pair_write, bound_write : Out
        Stores of distances, with a ``valid`` bit.
    push : Out, stream of events, always ready
    """

    def __init__(self, shape):
        check_shape(shape)
        self.shape = shape
        super().__init__({
            "window_layers": In(shape.time_bits + 1),
            "reach": In(WEIGHT_BITS),
            "shortcuts": In(stream.Signature(shape.shortcut)), "hold": In(1),
            "idle": Out(1, init=1), "clear": In(1), "changed": Out(1),
            "list_address": Out(shape.slot_bits), "list_data": In(shape.node),
            "first_address": Out(shape.time_bits + 1), "first_data": In(shape.slot_bits + 1),
            "u_table_address": Out(shape.pair_bits), "u_table_data": In(shape.pair_word),
            "v_table_address": Out(shape.pair_bits), "v_table_data": In(shape.pair_word),
            "bound_table_address": Out(shape.space_bits),
            "bound_table_data": In(shape.bound_word),
            "lowest_address": Out(shape.slot_bits), "lowest_data": In(shape.slot_bits),
            "pair_address": Out(pair_address(shape)), "pair_weight": In(WEIGHT_BITS),
            "bound_address": Out(shape.slot_bits), "bound_weight": In(WEIGHT_BITS),
            "cross_address": Out(pair_address(shape)), "cross_weight": In(WEIGHT_BITS),
            "scan_address": Out(shape.slot_bits), "scan_weight": In(WEIGHT_BITS),
            "pair_write": Out(pair_write(shape)), "bound_write": Out(bound_write(shape)),
            "push": Out(stream.Signature(shape.event, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.lookup = lookup = _Lookup(self.shape)
        m.submodules.scan = scan = _Scan(self.shape)
        m.submodules.cross = cross = _Cross(self.shape)
        m.submodules.candidates = queue = Queue(_candidate(self.shape), depth=_CANDIDATES)
        m.submodules.improve = improve = _Improve(self.shape)
        wiring.connect(m, wiring.flipped(self.shortcuts), lookup.shortcuts)
        wiring.connect(m, lookup.ranges, scan.ranges)
        wiring.connect(m, scan.jobs, cross.jobs)
        wiring.connect(m, queue.o, improve.candidates)
        m.d.comb += [
            lookup.window_layers.eq(self.window_layers),
            self.first_address.eq(lookup.first_address), lookup.first_data.eq(self.first_data),
            self.bound_table_address.eq(lookup.bound_table_address),
            lookup.bound_table_data.eq(self.bound_table_data),

            scan.reach.eq(self.reach),
            self.list_address.eq(scan.list_address), scan.list_data.eq(self.list_data),
            self.u_table_address.eq(scan.u_table_address),
            scan.u_table_data.eq(self.u_table_data),
            self.v_table_address.eq(scan.v_table_address),
            scan.v_table_data.eq(self.v_table_data),
            self.scan_address.eq(scan.bound_address), scan.bound_weight.eq(self.scan_weight),
            scan.released.eq(cross.released),

            cross.bank.eq(scan.bank), cross.u_store.eq(scan.u_store),
            cross.v_store.eq(scan.v_store),
            self.cross_address.eq(cross.pair_address), cross.pair_weight.eq(self.cross_weight),
            self.lowest_address.eq(cross.pair_address.i), cross.lowest_data.eq(self.lowest_data),
            queue.i.valid.eq(cross.found.valid), queue.i.payload.eq(cross.found.payload),

            improve.hold.eq(self.hold),
            improve.pair_weight.eq(self.pair_weight), improve.bound_weight.eq(self.bound_weight),
            self.pair_address.eq(improve.pair_address),
            self.bound_address.eq(improve.bound_address),
            self.pair_write.eq(improve.pair_write), self.bound_write.eq(improve.bound_write),
            self.push.valid.eq(improve.push.valid), self.push.payload.eq(improve.push.payload),
        ]
        # Queues answer late; what is on its way into this one still fits.
        m.d.sync += cross.full.eq(queue.level > _CANDIDATES - 7)
        with m.If(self.clear):
            m.d.sync += self.changed.eq(0)
        with m.Elif(improve.pair_write.valid | improve.bound_write.valid):
            m.d.sync += self.changed.eq(1)
        m.d.sync += self.idle.eq(~(
            (self.shortcuts.valid & self.shortcuts.ready) | lookup.busy | scan.busy | cross.busy
            | (queue.level != 0) | improve.busy))
        return m


def _ends(shape):
    """Ends of a shortcut inside the window, and its two sums: see :class:`_Lookup`."""
    return {"u": shape.space_bits, "u_layer": shape.time_bits,
            "v": shape.space_bits, "v_layer": shape.time_bits}


def _costs(shape):
    """What is added to the distances of near defects.

    ``weight``, ``obs``: from one end to the other. ``u_weight``, ``u_obs``: from end u over the
    shortcut to the boundary; at least 511 if there is no way. ``v_weight``, ``v_obs``: from v.
    """
    return {"boundary": 1, "weight": WEIGHT_BITS, "obs": shape.observables,
            "u_weight": _TWO, "u_obs": shape.observables,
            "v_weight": _TWO, "v_obs": shape.observables}


def _range(shape):
    """A shortcut, and the ``number`` > 0 of slots from ``begin`` in the layers around it."""
    return data.StructLayout({
        **_ends(shape), **_costs(shape),
        "begin": shape.slot_bits, "number": shape.slot_bits + 1})


def _near(shape):
    """A defect near an end."""
    return data.StructLayout({
        "slot": shape.slot_bits, "weight": WEIGHT_BITS, "obs": shape.observables})


def _store(shape):
    """A store of a near defect: which bank, which place."""
    return data.StructLayout({
        "valid": 1, "place": exact_log2(NEAR_CAPACITY), "near": _near(shape)})


def _job(shape):
    """A shortcut with near defects: how many, and whose way to the boundary seems shorter."""
    return data.StructLayout({
        **_costs(shape),
        "u_number": range(NEAR_CAPACITY + 1), "v_number": range(NEAR_CAPACITY + 1),
        "u_flags": NEAR_CAPACITY, "v_flags": NEAR_CAPACITY})


def _candidate(shape):
    """A distance that seems to be shorter than the one that holds."""
    return data.StructLayout({
        "boundary": 1, "i": shape.slot_bits, "j": shape.slot_bits,
        "weight": WEIGHT_BITS, "obs": shape.observables})


class _Lookup(wiring.Component):
    """Finds the slots around a shortcut, and its ends' ways to the boundary.

    Both ends go one after the other through the same port, so a shortcut takes 2 clocks. The
    bits that are not looked up follow in three registers, each of which holds for 2 clocks.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "window_layers": In(shape.time_bits + 1),
            "shortcuts": In(stream.Signature(shape.shortcut)),
            "first_address": Out(shape.time_bits + 1), "first_data": In(shape.slot_bits + 1),
            "bound_table_address": Out(shape.space_bits),
            "bound_table_data": In(shape.bound_word),
            "ranges": Out(stream.Signature(_range(shape))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        m.submodules.queue = queue = Queue(_range(shape), depth=_WAITING)
        wiring.connect(m, queue.o, wiring.flipped(self.ranges))

        # A shortcut is taken only when it has a place in the queue.
        room = Signal(range(_WAITING + 1), init=_WAITING)
        taken = Signal()
        here = [Signal(name=f"here_{n}") for n in range(9)]
        keep = [Signal(name=f"keep_{n}") for n in range(9)]
        dropped = Signal()
        m.d.comb += [
            self.shortcuts.ready.eq((room != 0) & ~here[1]),
            taken.eq(self.shortcuts.valid & self.shortcuts.ready),
            here[0].eq(taken), keep[0].eq(1),
            dropped.eq(here[8] & ~keep[8]),
            self.busy.eq(room != _WAITING),
        ]
        m.d.sync += [
            Cat(here[1:]).eq(Cat(here[:-1])), Cat(keep[1:]).eq(Cat(keep[:-1])),
            room.eq(room - taken + dropped + (self.ranges.valid & self.ranges.ready)),
        ]

        # Clock 1: the layers' order. Clock 2: the first and the last layer around.
        first, second, third = (Signal(shape.shortcut, name=f"shortcut_{n}") for n in (1, 3, 5))
        with m.If(taken):
            m.d.sync += first.eq(self.shortcuts.payload)
        with m.If(here[2]):
            m.d.sync += second.eq(first)
        with m.If(here[4]):
            m.d.sync += third.eq(second)
        low, high = Signal(shape.time_bits), Signal(shape.time_bits)
        v_first = (first.v_layer < first.u_layer) & ~first.boundary
        v_last = (first.v_layer > first.u_layer) & ~first.boundary
        u_out = (first.u_layer < 0) | (first.u_layer >= self.window_layers)
        v_out = (first.v_layer < 0) | (first.v_layer >= self.window_layers)
        m.d.sync += [
            low.eq(Mux(v_first, first.v_layer, first.u_layer)),
            high.eq(Mux(v_last, first.v_layer, first.u_layer)),
            keep[2].eq(keep[1] & ~u_out & (first.boundary | ~v_out)),
        ]
        end = Signal(shape.time_bits + 1)
        above = Signal(shape.time_bits + 1)
        m.d.comb += above.eq(high + 1)
        m.d.sync += self.first_address.eq(end)
        m.d.sync += self.bound_table_address.eq(second.v)
        with m.If(here[2]):
            m.d.sync += [
                self.first_address.eq(Mux(low == 0, 0, low - 1)),
                end.eq(Mux(above >= self.window_layers, self.window_layers, high + 2)),
                self.bound_table_address.eq(first.u),
            ]

        # Clock 5: the first slot, u's boundary. Clock 6: the slot beyond the last, v's boundary.
        begin, beyond = Signal(shape.slot_bits + 1), Signal(shape.slot_bits + 1)
        u_bound, found = Signal(shape.bound_word), Signal(_range(shape))
        bound = self.bound_table_data
        with m.If(here[5]):
            m.d.sync += [begin.eq(self.first_data), u_bound.eq(bound)]
        none = (1 << _TWO) - 1
        with m.If(here[6]):
            m.d.sync += [
                beyond.eq(self.first_data),
                found.u.eq(third.u), found.u_layer.eq(third.u_layer),
                found.v.eq(third.v), found.v_layer.eq(third.v_layer),
                found.boundary.eq(third.boundary),
                found.weight.eq(third.weight), found.obs.eq(third.obs),
                found.begin.eq(begin),
                found.u_weight.eq(third.weight + bound.weight),
                found.u_obs.eq(third.obs ^ bound.obs),
                found.v_weight.eq(third.weight + u_bound.weight),
                found.v_obs.eq(third.obs ^ u_bound.obs),
            ]
            with m.If(third.boundary):
                m.d.sync += [found.u_weight.eq(third.weight), found.u_obs.eq(third.obs)]
            with m.Elif(bound.weight == NONE):
                m.d.sync += found.u_weight.eq(none)
            with m.If(u_bound.weight == NONE):
                m.d.sync += found.v_weight.eq(none)

        # Clock 7: the number of slots.
        ranged = Signal(_range(shape))
        m.d.sync += [
            ranged.eq(found), ranged.number.eq(beyond - begin),
            keep[8].eq(keep[7] & (beyond != begin)),
        ]
        m.d.comb += [queue.i.valid.eq(here[8] & keep[8]), queue.i.payload.eq(ranged)]
        return m


class _Scan(wiring.Component):
    """Measures the distance of each defect around to both ends, one per clock.

    Near ones are stored in banks, one bank per shortcut, in a ring. A shortcut is begun when a
    bank is sure to be free at the end; one with no defect near an end gives its bank back.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "reach": In(WEIGHT_BITS),
            "ranges": In(stream.Signature(_range(shape))),
            "list_address": Out(shape.slot_bits), "list_data": In(shape.node),
            "u_table_address": Out(shape.pair_bits), "u_table_data": In(shape.pair_word),
            "v_table_address": Out(shape.pair_bits), "v_table_data": In(shape.pair_word),
            "bound_address": Out(shape.slot_bits), "bound_weight": In(WEIGHT_BITS),
            "bank": Out(range(_BANKS)),
            "u_store": Out(_store(shape)), "v_store": Out(_store(shape)),
            "jobs": Out(stream.Signature(_job(shape))),
            "released": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        m.submodules.queue = queue = Queue(_job(shape), depth=_BANKS)
        wiring.connect(m, queue.o, wiring.flipped(self.jobs))

        # Stage 0 counts through the range; the next one follows without a gap.
        stages = [Signal(data.StructLayout({
            "valid": 1, "last": 1, "slot": shape.slot_bits,
            "ends": data.StructLayout(_ends(shape)), "costs": data.StructLayout(_costs(shape)),
        }), name=f"stage_{n}") for n in range(9)]
        for before, after in zip(stages, stages[1:], strict=False):
            m.d.sync += after.eq(before)
        issue = stages[0]
        used = Signal(range(_BANKS + 1))
        left = Signal(shape.slot_bits + 1)
        begun, rejected = Signal(), Signal()
        m.d.comb += [
            self.ranges.ready.eq((~issue.valid | issue.last) & (used != _BANKS)),
            begun.eq(self.ranges.valid & self.ranges.ready),
            self.list_address.eq(issue.slot),
            self.busy.eq(used != 0),
        ]
        m.d.sync += used.eq(used + begun - rejected - self.released)
        with m.If(begun):
            new = self.ranges.payload
            m.d.sync += [
                issue.valid.eq(1), issue.slot.eq(new.begin), issue.last.eq(new.number == 1),
                left.eq(new.number),
                *(issue.ends[name].eq(new[name]) for name in _ends(shape)),
                *(issue.costs[name].eq(new[name]) for name in _costs(shape)),
            ]
        with m.Else():
            m.d.sync += [
                issue.valid.eq(issue.valid & ~issue.last), issue.slot.eq(issue.slot + 1),
                issue.last.eq(left == 2), left.eq(left - 1),
            ]

        near, weight, obs, sums = {}, {}, {}, {}
        for name, address, word in (("u", self.u_table_address, self.u_table_data),
                                    ("v", self.v_table_address, self.v_table_data)):
            # Stage 2: the node. Stage 3: both differences; the sign picks one, and the order.
            ends, defect = stages[2].ends, Signal(shape.node, name=f"{name}_defect")
            width = signed(shape.time_bits + 1)
            forth = Signal(width, name=f"{name}_forth")
            back = Signal(width, name=f"{name}_back")
            m.d.sync += [
                defect.eq(self.list_data),
                forth.eq(ends[f"{name}_layer"] - self.list_data.layer),
                back.eq(self.list_data.layer - ends[f"{name}_layer"]),
            ]
            late, space = forth[-1], stages[3].ends[name]  # the defect is the later node
            delta = Signal(shape.time_bits, name=f"{name}_delta")
            m.d.comb += delta.eq(Mux(late, back, forth))
            m.d.sync += address.eq(Cat(delta[:shape.delta_bits],
                                       Mux(late, defect.space, space),
                                       Mux(late, space, defect.space)))
            # Stage 4: the table's address, and what is too far in time for the table.
            far = [Signal(name=f"{name}_far_{n}") for n in (4, 5, 6)]
            m.d.sync += [far[0].eq(delta[shape.delta_bits:].any()),
                         far[1].eq(far[0]), far[2].eq(far[1])]
            # Stage 6: the distance; stage 7: near or not; stage 8: shorter to the boundary?
            close = Signal(name=f"{name}_close")
            sums[name] = Signal(_THREE, name=f"{name}_sum")
            weight[name] = Signal(WEIGHT_BITS, name=f"{name}_weight")
            obs[name] = Signal(shape.observables, name=f"{name}_obs")
            m.d.sync += [
                close.eq((word.weight <= self.reach) & (word.weight != NONE) & ~far[2]),
                weight[name].eq(word.weight), obs[name].eq(word.obs),
                sums[name].eq(word.weight + stages[6].costs[f"{name}_weight"]),
            ]
            near[name] = close

        # The distances to the boundary that hold now, for stage 6.
        bound = Signal(WEIGHT_BITS)
        m.d.comb += self.bound_address.eq(stages[4].slot)
        m.d.sync += bound.eq(self.bound_weight)

        # Stage 7 decides, stage 8 stores.
        job = Signal(_job(shape))
        number = {"u": job.u_number, "v": job.v_number}
        flags = {"u": job.u_flags, "v": job.v_flags}
        end = stages[8]
        for name, store in (("u", self.u_store), ("v", self.v_store)):
            valid, short = Signal(name=f"{name}_valid"), Signal(name=f"{name}_short")
            relevant = 1 if name == "u" else ~stages[7].costs.boundary
            kept = Signal(_near(shape), name=f"{name}_near")
            m.d.sync += [
                valid.eq(stages[7].valid & near[name] & relevant),
                short.eq(sums[name] < bound),
                kept.slot.eq(stages[7].slot), kept.weight.eq(weight[name]),
                kept.obs.eq(obs[name]),
            ]
            before = Signal(range(NEAR_CAPACITY + 1), name=f"{name}_before")
            flagged = Signal(NEAR_CAPACITY, name=f"{name}_flagged")
            m.d.comb += [
                store.valid.eq(valid & (before != NEAR_CAPACITY)),
                store.place.eq(before), store.near.eq(kept),
                number[name].eq(before + store.valid),
                flags[name].eq(flagged | ((store.valid & short) << store.place)),
            ]
            m.d.sync += [before.eq(number[name]), flagged.eq(flags[name])]
            with m.If(end.valid & end.last):
                m.d.sync += [before.eq(0), flagged.eq(0)]
        done, both = Signal(), Signal()
        m.d.comb += [
            done.eq(end.valid & end.last),
            both.eq((job.u_number != 0) & (end.costs.boundary | (job.v_number != 0))),
            rejected.eq(done & ~both),
            *(job[name].eq(end.costs[name]) for name in _costs(shape)),
            queue.i.valid.eq(done & both), queue.i.payload.eq(job),
        ]
        with m.If(done & both):
            m.d.sync += self.bank.eq(self.bank + 1)
        return m


class _Cross(wiring.Component):
    """Adds up the new distances of near defects, and picks those that seem shorter.

    First the ways to the boundary that Scan has flagged (u's, then v's), then every pair, one per
    clock. Nothing moves on while ``full``.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "bank": In(range(_BANKS)),
            "u_store": In(_store(shape)), "v_store": In(_store(shape)),
            "jobs": In(stream.Signature(_job(shape))),
            "released": Out(1),
            "pair_address": Out(pair_address(shape)), "pair_weight": In(WEIGHT_BITS),
            "lowest_data": In(shape.slot_bits),
            "found": Out(stream.Signature(_candidate(shape), always_ready=True)),
            "full": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        advance = ~self.full

        memories = {}
        for name, store in (("u", self.u_store), ("v", self.v_store)):
            m.submodules[f"{name}_near"] = memories[name] = memory = RAM(
                width=_near(shape).size, depth=_BANKS * NEAR_CAPACITY)
            m.d.comb += [
                memory.write.eq(store.valid),
                memory.write_address.eq(Cat(store.place, self.bank)),
                memory.write_data.eq(Value.cast(store.near)),
            ]

        # What to add up next.
        job, working, bank = Signal(_job(shape)), Signal(), Signal(range(_BANKS))
        x, y = (Signal(range(NEAR_CAPACITY), name=name) for name in "xy")
        finishing, x_last, y_last = Signal(), Signal(), Signal()
        flagged = job.u_flags.any() | job.v_flags.any()
        m.d.comb += [
            x_last.eq(x + 1 == job.u_number), y_last.eq(y + 1 == job.v_number),
            finishing.eq(working & ~flagged & (job.boundary | (x_last & y_last))),
            self.jobs.ready.eq(advance & (~working | finishing)),
        ]
        sum_of = data.StructLayout({
            "valid": 1, "boundary": 1, "at_v": 1, "weight": _TWO, "obs": shape.observables})
        step = Signal(data.StructLayout({
            "sum": sum_of, "last": 1, "bank": range(_BANKS),
            "u_place": exact_log2(NEAR_CAPACITY), "v_place": exact_log2(NEAR_CAPACITY)}))
        lowest = {name: Signal(NEAR_CAPACITY, name=f"{name}_lowest_flag") for name in "uv"}
        for name, flags in (("u", job.u_flags), ("v", job.v_flags)):
            m.d.comb += lowest[name].eq(flags & (~flags + 1))
        place = {name: Cat(Cat(bit for n, bit in enumerate(lowest[name]) if n >> k & 1).any()
                           for k in range(exact_log2(NEAR_CAPACITY))) for name in "uv"}
        with m.If(advance):
            m.d.sync += [
                step.sum.valid.eq(working & (flagged | ~job.boundary)), step.last.eq(finishing),
                step.bank.eq(bank), step.sum.boundary.eq(flagged),
                step.sum.at_v.eq(~job.u_flags.any()),
                step.u_place.eq(x), step.v_place.eq(y),
                step.sum.weight.eq(job.weight), step.sum.obs.eq(job.obs),
            ]
            with m.If(job.u_flags.any()):
                m.d.sync += [
                    step.u_place.eq(place["u"]), job.u_flags.eq(job.u_flags & ~lowest["u"]),
                    step.sum.weight.eq(job.u_weight), step.sum.obs.eq(job.u_obs),
                ]
            with m.Elif(job.v_flags.any()):
                m.d.sync += [
                    step.v_place.eq(place["v"]), job.v_flags.eq(job.v_flags & ~lowest["v"]),
                    step.sum.weight.eq(job.v_weight), step.sum.obs.eq(job.v_obs),
                ]
            with m.Elif(working):
                m.d.sync += y.eq(y + 1)
                with m.If(y_last):
                    m.d.sync += [y.eq(0), x.eq(x + 1)]
            with m.If(finishing):
                m.d.sync += [working.eq(0), bank.eq(bank + 1)]
            with m.If(self.jobs.valid & self.jobs.ready):
                m.d.sync += [working.eq(1), job.eq(self.jobs.payload), x.eq(0), y.eq(0)]
        m.d.comb += [
            self.released.eq(advance & step.last),
            *(memory.read.eq(advance) for memory in memories.values()),
            *(memory.read_address.eq(Cat(step[f"{name}_place"], step.bank))
              for name, memory in memories.items()),
        ]

        # A way to the boundary is a pair whose second defect adds nothing.
        near = [Signal(_near(shape), name=f"near_{n}") for n in range(2)]
        kinds = data.StructLayout({"valid": 1, "boundary": 1})
        kind = [Signal(kinds, name=f"kind_{n}") for n in range(6)]
        base = [Signal(_TWO, name=f"base_{n}") for n in range(2)]
        obs = [Signal(shape.observables, name=f"obs_{n}") for n in range(6)]
        slots = [Signal(pair_address(shape), name=f"slots_{n}") for n in range(5)]
        two = Signal(_TWO)
        sums = [Signal(_THREE, name=f"sum_{n}") for n in range(4)]
        read = Signal(sum_of)
        with m.If(advance):
            u, v = memories["u"].read_data, memories["v"].read_data
            m.d.sync += [
                read.eq(step.sum),
                near[0].eq(Mux(read.boundary & read.at_v, v, u)),
                near[1].eq(Mux(read.boundary, 0, v)),
                kind[0].valid.eq(read.valid), kind[0].boundary.eq(read.boundary),
                base[0].eq(read.weight), obs[0].eq(read.obs),
            ]
            descending = near[0].slot > near[1].slot
            m.d.sync += [
                slots[0].i.eq(Mux(descending | kind[0].boundary, near[0].slot, near[1].slot)),
                slots[0].j.eq(Mux(descending | kind[0].boundary, near[1].slot, near[0].slot)),
                kind[1].valid.eq(
                    kind[0].valid & (kind[0].boundary | (near[0].slot != near[1].slot))),
                kind[1].boundary.eq(kind[0].boundary),
                two.eq(near[0].weight + near[1].weight),
                base[1].eq(base[0]), obs[1].eq(obs[0] ^ near[0].obs ^ near[1].obs),
            ]
            m.d.sync += [
                slots[1].eq(slots[0]), kind[2].eq(kind[1]),
                sums[0].eq(two + base[1]), obs[2].eq(obs[1]),
            ]

        # The distance that holds is asked for, and is there two clocks later.
        m.d.comb += self.pair_address.eq(slots[1])
        m.d.sync += [
            kind[3].eq(kind[2]), kind[3].valid.eq(kind[2].valid & advance), kind[4].eq(kind[3]),
            sums[1].eq(sums[0]), sums[2].eq(sums[1]),
            obs[3].eq(obs[2]), obs[4].eq(obs[3]),
            slots[2].eq(slots[1]), slots[3].eq(slots[2]),
        ]
        shorter = (sums[2] < self.pair_weight) & (slots[3].j >= self.lowest_data)
        m.d.sync += [
            kind[5].valid.eq(kind[4].valid & (kind[4].boundary | shorter)),
            kind[5].boundary.eq(kind[4].boundary),
            sums[3].eq(sums[2]), obs[5].eq(obs[4]), slots[4].eq(slots[3]),
        ]
        m.d.comb += [
            self.found.valid.eq(kind[5].valid & (sums[3] < NONE)),
            self.found.payload.boundary.eq(kind[5].boundary),
            self.found.payload.i.eq(slots[4].i), self.found.payload.j.eq(slots[4].j),
            self.found.payload.weight.eq(sums[3]), self.found.payload.obs.eq(obs[5]),
            self.busy.eq(working | step.sum.valid | step.last | read.valid
                         | Cat(k.valid for k in kind).any()),
        ]
        return m


class _Improve(wiring.Component):
    """Compares candidates with what holds, one after the other, and stores the shorter ones.

    2 clocks each, the store 4 clocks after it is taken; the event follows 2 clocks later. The next
    candidate looks at the memories a clock before that store, and is told of it. None is begun on
    ``hold``.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "hold": In(1), "candidates": In(stream.Signature(_candidate(shape))),
            "pair_address": Out(pair_address(shape)), "pair_weight": In(WEIGHT_BITS),
            "bound_address": Out(shape.slot_bits), "bound_weight": In(WEIGHT_BITS),
            "pair_write": Out(pair_write(shape)), "bound_write": Out(bound_write(shape)),
            "push": Out(stream.Signature(shape.event, always_ready=True)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        stage = data.StructLayout({"valid": 1, "new": _candidate(shape)})
        compared, stored, limited, pushed = (
            Signal(stage, name=name) for name in ("compared", "stored", "limited", "pushed"))

        # Clock 0: i and j are asked for, and i's way to the boundary. Clock 1: j's. They begin in
        # every other clock only, so that a store is either seen or the one before.
        asking = Signal(stage)
        new = asking.new
        second = Signal()
        m.d.comb += [
            self.pair_address.i.eq(new.i), self.pair_address.j.eq(new.j),
            self.bound_address.eq(Mux(second, new.j, new.i)),
            self.candidates.ready.eq(second & ~self.hold),
        ]
        m.d.sync += [
            second.eq(~second), compared.valid.eq(asking.valid & second), compared.new.eq(new),
        ]
        with m.If(second):
            m.d.sync += [asking.valid.eq(self.candidates.valid & ~self.hold),
                         asking.new.eq(self.candidates.payload)]

        # What the candidate before this one stores in clock 1 counts in place of what was read.
        before = stored.new
        stored_same, stored_i, stored_j = Signal(), Signal(), Signal()
        m.d.sync += [
            stored_same.eq(stored.valid & (before.boundary == new.boundary) & (before.i == new.i)
                           & (new.boundary | (before.j == new.j))),
            stored_i.eq(stored.valid & before.boundary & (before.i == new.i)),
            stored_j.eq(stored.valid & before.boundary & (before.i == new.j)),
        ]

        # Clock 2: the comparison.
        last = limited.new.weight
        holds, i_bound = Signal(WEIGHT_BITS), Signal(WEIGHT_BITS)
        m.d.comb += holds.eq(Mux(compared.new.boundary, self.bound_weight, self.pair_weight))
        with m.If(stored_same):
            m.d.comb += holds.eq(last)
        j_stored, j_bound = Signal(), Signal(WEIGHT_BITS)
        m.d.sync += [
            stored.valid.eq(compared.valid & (compared.new.weight < holds)),
            stored.new.eq(compared.new),
            i_bound.eq(Mux(stored_i, last, self.bound_weight)),
            j_stored.eq(stored_j), j_bound.eq(last),
        ]

        # Clock 3: the store. Clock 4: an event matters where the pair is closer than both are to
        # the boundary.
        result = stored.new
        m.d.comb += [
            self.pair_write.valid.eq(stored.valid & ~result.boundary),
            self.pair_write.i.eq(result.i), self.pair_write.j.eq(result.j),
            self.pair_write.weight.eq(result.weight), self.pair_write.obs.eq(result.obs),
            self.bound_write.valid.eq(stored.valid & result.boundary),
            self.bound_write.slot.eq(result.i),
            self.bound_write.weight.eq(result.weight), self.bound_write.obs.eq(result.obs),
        ]
        limit = Signal(_TWO)
        m.d.sync += [
            limited.eq(stored), limit.eq(i_bound + Mux(j_stored, j_bound, self.bound_weight)),
            pushed.new.eq(limited.new),
            pushed.valid.eq(
                limited.valid & (limited.new.boundary | (limited.new.weight < limit))),
        ]
        m.d.comb += [
            self.push.valid.eq(pushed.valid),
            self.push.payload.i.eq(pushed.new.i), self.push.payload.j.eq(pushed.new.j),
            self.push.payload.boundary.eq(pushed.new.boundary),
            self.push.payload.distance.eq(growth_steps(pushed.new.weight)),
            self.busy.eq(self.candidates.valid | asking.valid | compared.valid | stored.valid
                         | limited.valid | pushed.valid),
        ]
        return m
