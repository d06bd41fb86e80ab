"""Exact matching inside each cluster."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.priority import lowest_set
from quantacore.gateware.layouts.decoder import NONE, WEIGHT_BITS, DecoderShape, PartnerKind

__all__ = ["Matcher"]

#: Bits of the weight of a matching: 14 defects of 254, and all ones for "not possible".
_SUM_BITS = 12
_INFINITE = (1 << _SUM_BITS) - 1
#: Clocks from a candidate's address to its weight in the comparison.
_DEPTH = 3


def _first(count, total):
    """A mask of ``total`` bits (a power of two) of which the lowest ``count`` are set."""
    mask = [Const(0, 1)]
    for bit in count[:-1]:
        mask = [m | bit for m in mask] + [m & bit for m in mask]
    return Cat(m | count[-1] for m in mask)[:total]


class Matcher(wiring.Component):
    """Matches the defects of every cluster at least total weight, with each other or the boundary.

    Clusters come in the order of their lowest slot. One of up to ``shape.cluster`` defects is
    matched exactly, by dynamic programming over its subsets: the best matching of a subset whose
    highest member is h sends h to the boundary, or to a lower member j, and is the best of the
    rest otherwise. Of equal ones the boundary comes first, then the lowest j. A larger cluster,
    and one that has no matching, escapes.

    Time: 4 clocks for a single defect, 9 for two; from three on one clock per candidate, six more
    per member and three per match: 32 for three, 47 for four, 69 for five, 6339 for fourteen. One
    less behind a cluster of two or more.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    start : In(1)
        Matches slots 0 to ``count`` - 1, while not ``busy``.
    count : In(range(capacity + 1))
        Stable from the clock before ``start``, and while ``busy``.
    busy : Out(1)
        High from the next clock until the last result was given.
    query : Out(slot_bits), members : In(capacity)
        The slots of a slot's cluster, 2 clocks later.
    pair_address : Out, pair_weight : In(8)
        Distance of the slots i > j, 2 clocks later; looked at only for j not below ``lowest[i]``.
    bound_address : Out(slot_bits), bound_weight : In(8), bound_lowest : In(slot_bits)
        Distance of a slot to the boundary, and ``lowest`` of it, 2 clocks later.
    result_valid : Out(1)
        High for one clock per slot: ``result_slot`` is matched with ``result_partner`` if
        ``result_kind`` is ``SLOT``; otherwise ``result_partner`` means nothing.
    largest : Out(range(capacity + 1))
        Members of the largest cluster since ``start``.
    escaped : Out(1)
        A cluster escaped since ``start``.
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"Matcher needs a DecoderShape, not {shape!r}")
        self.shape = shape
        super().__init__({
            "start": In(1),
            "count": In(range(shape.capacity + 1)),
            "busy": Out(1),
            "query": Out(shape.slot_bits),
            "members": In(shape.capacity),
            "pair_address": Out(data.StructLayout(
                {"i": shape.slot_bits, "j": shape.slot_bits})),
            "pair_weight": In(WEIGHT_BITS),
            "bound_address": Out(shape.slot_bits),
            "bound_weight": In(WEIGHT_BITS),
            "bound_lowest": In(shape.slot_bits),
            "result_valid": Out(1),
            "result_slot": Out(shape.slot_bits),
            "result_partner": Out(shape.slot_bits),
            "result_kind": Out(PartnerKind),
            "largest": Out(range(shape.capacity + 1)),
            "escaped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        cluster = min(shape.cluster, shape.capacity)
        rank_bits = (cluster - 1).bit_length()
        rank = range(cluster)

        # Members of the cluster, by rank.
        places = self._table(m, "places", shape.slot_bits, cluster, reads=2)
        facts_layout = data.StructLayout({"weight": WEIGHT_BITS, "lowest": shape.slot_bits})
        facts = self._table(m, "facts", facts_layout.size, cluster, reads=1)

        # The one subset with the highest rank is the whole cluster, which is kept aside: the
        # memory holds subsets of all the others. Subset 0 costs nothing and is never written.
        choice_layout = data.StructLayout({"rank": rank_bits, "bound": 1})
        best_layout = data.StructLayout({"sum": _SUM_BITS, "choice": choice_layout})
        m.submodules.bests = bests = memory.Memory(
            shape=best_layout.size, depth=1 << (cluster - 1), init=[],
            attrs={"ram_style": "block", "no_rw_check": 1})
        bests_write = bests.write_port()
        bests_read = bests.read_port(domain="comb")
        bests_raw = Signal(best_layout, reset_less=True)
        bests_data = Signal(best_layout, reset_less=True)
        m.d.sync += [Value.cast(bests_raw).eq(bests_read.data), bests_data.eq(bests_raw)]

        # Picking slots out of a mask, lowest first.
        unmatched = Signal(shape.capacity)
        cluster_mask = Signal(shape.capacity)
        rest = Signal(shape.capacity)
        rest_lowest = lowest_set(m, rest)
        rest_others = rest & (rest - 1)
        picked = Signal(shape.slot_bits)
        # Masks are long ways: this one is made before it is needed,
        everyone = Signal(shape.capacity)
        m.d.sync += everyone.eq(_first(self.count, shape.capacity))
        # and these are known a clock after `unmatched`.
        next_root = Signal(shape.slot_bits)
        next_exists = Signal()
        m.d.sync += [next_root.eq(lowest_set(m, unmatched)), next_exists.eq(unmatched.any())]

        root = Signal(shape.slot_bits)
        members = Signal(range(shape.capacity + 1))
        gathered = Signal()
        place_delay = Signal(2)
        arrived = Signal(range(shape.capacity + 1))
        bound_0 = Signal(_SUM_BITS)
        size = Signal(range(cluster + 1))

        def widened(weight):
            return Mux(weight == NONE, _INFINITE, weight)

        def added(a, b):
            return Mux((a == _INFINITE) | (b == _INFINITE), _INFINITE, a + b)

        def give(slot, kind, partner=0):
            m.d.sync += [
                self.result_valid.eq(1), self.result_slot.eq(slot), self.result_kind.eq(kind),
                self.result_partner.eq(partner),
            ]

        # What arrives of a member two clocks after its slot was asked for.
        m.d.comb += [facts.write.addr.eq(arrived)]
        m.d.sync += place_delay.eq(Cat(gathered, place_delay))
        with m.If(place_delay[1]):
            m.d.comb += [
                facts.write.en.eq(arrived < cluster),
                facts.write.data.eq(Cat(self.bound_weight, self.bound_lowest)),
            ]
            m.d.sync += arrived.eq(arrived + 1)

        # Candidates: subsets with the highest rank h, in an order that needs no table: C is what
        # they lack of the ranks below h, and no subset that lacks more than `slack` is ever used.
        high = Signal(rank)
        below = Signal(cluster)         # a mask of the ranks below h
        bound_high = Signal(_SUM_BITS)
        lowest_high = Signal(shape.slot_bits)
        place_high = Signal(shape.slot_bits)
        slack = Signal(rank)
        lacking = Signal(cluster)
        partners = Signal(cluster)      # those of the subset that are still to be tried with h
        to_bound = Signal()             # the boundary is to be tried
        running = Signal()

        subset = Signal(cluster)        # without h
        lacking_next = Signal(cluster + 1)
        may_lack_more = Signal()
        partners_rest = Signal(cluster)
        partner = Signal(rank_bits)
        last_candidate = Signal()
        m.d.comb += [
            subset.eq(below & ~lacking),
            partner.eq(lowest_set(m, partners)),
            partners_rest.eq(partners & (partners - 1)),
            last_candidate.eq(Mux(to_bound, ~subset.any(), ~partners_rest.any())),
        ]
        # All subsets but the last, which is h alone, have two candidates or more: so what follows a
        # subset is known one clock late, and whether that may lack more when it begins.
        with m.If(may_lack_more):
            m.d.sync += lacking_next.eq(lacking + 1)
        with m.Else():
            m.d.sync += lacking_next.eq(lacking + (lacking & -lacking))
        exhausted = Signal()
        m.d.comb += exhausted.eq((slack == 0) | to_bound
                                 | (lacking_next & ~Cat(below, Const(0, 1))).any())

        stage_layout = data.StructLayout({
            "valid": 1, "first": 1, "store": 1, "subset": cluster, "choice": choice_layout})
        stages = [Signal(stage_layout, name=f"stage{k}") for k in range(_DEPTH + 1)]
        address = Signal(cluster - 1)
        partner_place = Signal(shape.slot_bits)
        partner_known = Signal(_DEPTH - 1)
        sum_now = Signal(_SUM_BITS)
        best = Signal(best_layout)
        better = Signal(best_layout)
        m.d.comb += [
            places.read[0].addr.eq(partner),
            self.pair_address.i.eq(Mux(gathered, picked, place_high)),
            self.pair_address.j.eq(Mux(gathered, root, partner_place)),
            bests_read.addr.eq(address),
        ]
        m.d.sync += [
            stages[0].valid.eq(running), stages[0].first.eq(to_bound),
            stages[0].store.eq(running & last_candidate & (high + 1 != size)),
            stages[0].subset.eq(subset | (below + 1)),
            stages[0].choice.rank.eq(partner), stages[0].choice.bound.eq(to_bound),
            partner_place.eq(places.read[0].data),
            partner_known.eq(Cat(partner_place >= lowest_high, partner_known)),
            sum_now.eq(added(bests_data.sum, Mux(
                stages[2].choice.bound, bound_high,
                Mux(partner_known[-1], widened(self.pair_weight), _INFINITE)))),
        ]
        m.d.sync += [stages[k + 1].eq(stages[k]) for k in range(_DEPTH)]
        with m.If(running):
            m.d.sync += address.eq(Mux(to_bound, subset,
                                       subset & ~(Const(1, cluster) << partner)))
            m.d.sync += to_bound.eq(0)
            with m.If(to_bound):
                m.d.sync += partners.eq(subset)
            with m.Else():
                m.d.sync += partners.eq(partners_rest)
            with m.If(last_candidate):
                m.d.sync += [
                    lacking.eq(lacking_next), to_bound.eq(1),
                    may_lack_more.eq(sum(lacking_next[k] for k in rank) < slack),
                ]
                with m.If(exhausted):
                    m.d.sync += running.eq(0)
        end = stages[_DEPTH]
        m.d.comb += better.eq(best)
        with m.If(end.first | (sum_now < best.sum)):
            m.d.comb += [better.sum.eq(sum_now), better.choice.eq(end.choice)]
        with m.If(end.valid):
            m.d.sync += best.eq(better)
        drained = Signal()
        m.d.comb += [
            # The last subset will be written just before the next rank's first read.
            drained.eq(~running & ~stages[0].valid),
            bests_write.addr.eq(end.subset),
            bests_write.data.eq(better),
            bests_write.en.eq(end.store),
        ]

        trace = Signal(cluster)
        trace_rest = Signal(cluster)
        trace_high = Signal(rank)
        trace_lowest = lowest_set(m, trace[::-1])   # from above
        choice = Signal(choice_layout)
        second = Signal()
        pair_together, pair_apart = Signal(), Signal()
        trace_slots = [Signal(shape.slot_bits, name=f"trace_slot{k}") for k in range(2)]

        # The next root is asked for whenever the ports are free. What arrives is its own two clocks
        # after it is known.
        asked = Signal()
        m.d.comb += [self.query.eq(next_root), self.bound_address.eq(next_root)]
        m.d.sync += [self.result_valid.eq(0), asked.eq(1)]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [self.largest.eq(0), self.escaped.eq(0)]
                    m.d.sync += unmatched.eq(everyone)
                    m.next = "BEFORE_PICK"
            with m.State("BEFORE_PICK"):
                m.d.sync += asked.eq(0)
                m.next = "PICK"
            with m.State("PICK"):
                m.d.sync += root.eq(next_root)
                m.next = "WAIT"
                with m.If(asked):
                    m.next = "TAKE"
                with m.If(~next_exists):
                    m.next = "IDLE"
            with m.State("WAIT"):
                m.next = "TAKE"
            with m.State("TAKE"):
                # The lowest unmatched slot is the lowest of its cluster.
                m.d.sync += [
                    cluster_mask.eq(self.members), rest.eq(self.members & (self.members - 1)),
                    unmatched.eq(unmatched & ~self.members),
                    bound_0.eq(widened(self.bound_weight)),
                    members.eq(1), arrived.eq(1),
                ]
                m.d.comb += [
                    places.write.en.eq(1), places.write.addr.eq(0), places.write.data.eq(root),
                    facts.write.en.eq(1), facts.write.addr.eq(0),
                    facts.write.data.eq(Cat(self.bound_weight, self.bound_lowest)),
                ]
                m.next = "FIRST"
            with m.State("FIRST"):
                m.d.sync += [picked.eq(rest_lowest), rest.eq(rest_others), asked.eq(0)]
                with m.If(self.largest == 0):
                    m.d.sync += self.largest.eq(1)
                with m.If(rest.any()):
                    m.d.sync += gathered.eq(1)
                    m.next = "GATHER"
                with m.Elif(bound_0 == _INFINITE):
                    give(root, PartnerKind.ESCAPED)
                    m.d.sync += self.escaped.eq(1)
                    m.next = "PICK"
                with m.Else():
                    give(root, PartnerKind.BOUNDARY)
                    m.next = "PICK"
            with m.State("GATHER"):
                m.d.comb += [
                    self.bound_address.eq(picked),
                    places.write.en.eq(members < cluster), places.write.addr.eq(members),
                    places.write.data.eq(picked),
                ]
                m.d.sync += [rest.eq(rest_others), members.eq(members + 1)]
                with m.If(rest.any()):
                    m.d.sync += picked.eq(rest_lowest)
                with m.Else():
                    m.d.sync += gathered.eq(0)
                    m.next = "GATHERED"
            with m.State("GATHERED"):
                m.d.sync += [rest.eq(cluster_mask), size.eq(members)]
                with m.If(members > self.largest):
                    m.d.sync += self.largest.eq(members)
                with m.If(members > cluster):
                    m.next = "ESCAPE"
                with m.Elif(members == 2):
                    m.next = "PAIR"
                with m.Else():
                    m.next = "BEGIN"
            with m.State("PAIR"):
                # What was asked for in GATHER is here now.
                together, apart = Signal(), Signal()
                m.d.comb += apart.eq((bound_0 != _INFINITE) & (self.bound_weight != NONE))
                m.d.comb += together.eq(
                    (root >= self.bound_lowest) & (self.pair_weight != NONE)
                    & (~apart | (self.pair_weight < bound_0[:WEIGHT_BITS] + self.bound_weight)))
                m.d.sync += [pair_together.eq(together), pair_apart.eq(apart)]
                m.next = "PAIR_DECIDED"
            with m.State("PAIR_DECIDED"):
                with m.If(pair_together):
                    give(root, PartnerKind.SLOT, picked)
                    m.next = "PAIR_SLOT"
                with m.Elif(pair_apart):
                    give(root, PartnerKind.BOUNDARY)
                    m.next = "PAIR_BOUNDARY"
                with m.Else():
                    m.next = "ESCAPE"
            with m.State("PAIR_SLOT"):
                give(picked, PartnerKind.SLOT, root)
                m.next = "PICK"
            with m.State("PAIR_BOUNDARY"):
                give(picked, PartnerKind.BOUNDARY)
                m.next = "PICK"
            with m.State("ESCAPE"):
                m.d.sync += [picked.eq(rest_lowest), rest.eq(rest_others),
                             self.escaped.eq(1)]
                m.next = "ESCAPE_NEXT"
            with m.State("ESCAPE_NEXT"):
                give(picked, PartnerKind.ESCAPED)
                m.d.sync += [picked.eq(rest_lowest), rest.eq(rest_others)]
                with m.If(~rest.any()):
                    m.next = "PICK"
            with m.State("BEGIN"):
                # Rank 0 alone goes to the boundary.
                m.d.comb += [
                    bests_write.en.eq(1), bests_write.addr.eq(1),
                    bests_write.data.eq(Cat(bound_0, Const(0, rank_bits), Const(1, 1))),
                ]
                m.d.sync += [high.eq(1), below.eq(1)]
                m.next = "RANK"
            with m.State("RANK"):
                m.d.comb += [facts.read[0].addr.eq(high), places.read[1].addr.eq(high)]
                fact = data.View(facts_layout, facts.read[0].data)
                room = Signal(range(cluster + 1))
                m.d.comb += room.eq(size - 1 - high)
                m.d.sync += [
                    bound_high.eq(widened(fact.weight)), lowest_high.eq(fact.lowest),
                    place_high.eq(places.read[1].data), lacking.eq(0), to_bound.eq(1),
                    may_lack_more.eq(1),
                    slack.eq(Mux(room < high, room, high)), running.eq(1),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(drained):
                    with m.If(high + 1 != size):
                        m.d.sync += [high.eq(high + 1), below.eq(Cat(1, below))]
                        m.next = "RANK"
                    with m.Elif(~Cat(stage.valid for stage in stages).any()):
                        m.d.sync += [trace.eq(below), trace_high.eq(high), choice.eq(best.choice)]
                        with m.If(best.sum == _INFINITE):
                            m.next = "ESCAPE"
                        with m.Else():
                            m.next = "MATCH"
            with m.State("MATCH"):
                m.d.comb += [
                    places.read[0].addr.eq(choice.rank), places.read[1].addr.eq(trace_high),
                    trace_rest.eq(Mux(choice.bound, trace,
                                      trace & ~(Const(1, cluster) << choice.rank))),
                ]
                m.d.sync += [
                    trace_slots[0].eq(places.read[1].data), trace_slots[1].eq(places.read[0].data),
                    second.eq(~choice.bound), trace.eq(trace_rest),
                    address.eq(trace_rest),
                ]
                m.next = "GIVE"
            with m.State("GIVE"):
                with m.If(second):
                    give(trace_slots[0], PartnerKind.SLOT, trace_slots[1])
                with m.Else():
                    give(trace_slots[0], PartnerKind.BOUNDARY)
                # The highest of what is left.
                m.d.sync += trace_high.eq(cluster - 1 - trace_lowest)
                m.next = "GIVE_SECOND"
            with m.State("GIVE_SECOND"):
                with m.If(second):
                    give(trace_slots[1], PartnerKind.SLOT, trace_slots[0])
                m.d.sync += [choice.eq(bests_raw.choice),
                             trace.eq(trace & ~(Const(1, cluster) << trace_high))]
                with m.If(trace.any()):
                    m.next = "MATCH"
                with m.Else():
                    m.next = "PICK"
        return m

    @staticmethod
    def _table(m, name, width, depth, *, reads):
        """A small memory that is read in the same clock: its ports."""
        m.submodules[name] = store = memory.Memory(
            shape=width, depth=depth, init=[], attrs={"ram_style": "distributed"})

        class Ports:
            write = store.write_port()
            read = [store.read_port(domain="comb") for _ in range(reads)]

        return Ports
