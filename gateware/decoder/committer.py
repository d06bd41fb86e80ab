"""Commits the matches of a window, and keeps the rest for the next one."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.decoder import DecoderShape, PartnerKind

__all__ = ["Committer", "committed"]


def committed(shape):
    """Layout of a committed match (or of an escape): two nodes, or a node and the boundary."""
    return data.StructLayout({"node": shape.node, "other": shape.node, "boundary": 1, "escape": 1,
                              "obs": shape.observables})


class Committer(wiring.Component):
    """Goes once through the list: commits or keeps each match whole.

    A match is committed if one of its ends lies in the first ``commit`` layers, or if the window
    is the last. Defects that have no match leave as escapes, all of the window or none: with the
    first of them. What is kept moves to the front of the list, ``commit`` layers earlier.

    Time: one clock for each defect and 8 more. ``o`` must take one transfer per clock.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    start, busy, count, commit, last
    row_*, column_*, partner_*, pair_*, bound_*
        Read ports (2 clocks) of the list, of the partners, and of the observables of distances.
    list_write, list_slot, list_node
        Kept entries.
    kept : Out
        How many were kept, once ``busy`` is low.
    obs : Out
        Observables that were flipped.
    o : Out(stream)
        Matches at the lower slot of each, and escapes.
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        self.shape = shape
        slot, count = shape.slot_bits, shape.slot_bits + 1
        partner = data.StructLayout({"kind": PartnerKind, "slot": slot})
        pair = data.StructLayout({"j": slot, "i": slot})
        super().__init__({
            "start": In(1), "busy": Out(1), "count": In(count),
            "commit": In(shape.time_bits + 1), "last": In(1),
            "row_address": Out(slot), "row_data": In(shape.node),
            "column_address": Out(slot), "column_data": In(shape.node),
            "partner_address": Out(slot), "partner_data": In(partner),
            "pair_address": Out(pair), "pair_obs": In(shape.observables),
            "bound_address": Out(slot), "bound_obs": In(shape.observables),
            "list_write": Out(1), "list_slot": Out(slot), "list_node": Out(shape.node),
            "kept": Out(count), "obs": Out(shape.observables),
            "o": Out(stream.Signature(committed(shape), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        slot = Signal(shape.slot_bits + 1)
        run = Signal()

        # A defect every clock: its partner two clocks after its slot, its partner's node and the
        # observables two clocks later. The decision needs those of lower slots, taken before it.
        stages = 5
        valid = Signal(stages)
        slots = [slot[:shape.slot_bits]]
        nodes = [None, None, self.row_data]
        partners = [None, None, self.partner_data]
        for stage in range(1, stages):
            later = Signal(shape.slot_bits, name=f"slot_{stage}")
            m.d.sync += later.eq(slots[-1])
            slots.append(later)
        for stage in range(3, stages):
            node = Signal(shape.node, name=f"node_{stage}")
            partner = Signal.like(self.partner_data, name=f"partner_{stage}")
            m.d.sync += [node.eq(nodes[-1]), partner.eq(partners[-1])]
            nodes.append(node)
            partners.append(partner)
        m.d.sync += valid.eq(Cat(run & (slot != self.count), valid[:-1]))
        issue = run & (slot != self.count)
        with m.If(issue):
            m.d.sync += slot.eq(slot + 1)

        m.d.comb += [
            self.row_address.eq(slots[0]), self.partner_address.eq(slots[0]),
            self.column_address.eq(partners[2].slot), self.bound_address.eq(slots[2]),
        ]
        with m.If(slots[2] > partners[2].slot):
            m.d.comb += [self.pair_address.i.eq(slots[2]),
                         self.pair_address.j.eq(partners[2].slot)]
        with m.Else():
            m.d.comb += [self.pair_address.i.eq(partners[2].slot),
                         self.pair_address.j.eq(slots[2])]

        # Decision, with everything in registers first.
        here = Signal()
        slot_, node, partner = slots[4], nodes[4], partners[4]
        early = Signal()
        other_early = Signal()
        m.d.comb += [
            here.eq(valid[3]),
            early.eq(node.layer < self.commit),
            other_early.eq(self.column_data.layer < self.commit),
        ]
        decided = Signal()
        d_slot = Signal.like(slot_)
        d_node = Signal(shape.node)
        d_other = Signal(shape.node)
        d_partner = Signal.like(self.partner_data)
        d_early = Signal()
        d_either = Signal()
        d_obs = Signal(shape.observables)
        m.d.sync += [
            decided.eq(here), d_slot.eq(slot_), d_node.eq(node), d_other.eq(self.column_data),
            d_partner.eq(partner), d_early.eq(early | self.last),
            d_either.eq(early | other_early | self.last),
            d_obs.eq(Mux(partner.kind == PartnerKind.BOUNDARY, self.bound_obs, self.pair_obs)),
        ]

        gone = Signal(shape.capacity)
        escape_known = Signal()
        escape_leaves = Signal()
        leaves = Signal()
        upper = Signal()
        m.d.comb += upper.eq((d_partner.kind == PartnerKind.SLOT) & (d_partner.slot < d_slot))
        with m.Switch(d_partner.kind):
            with m.Case(PartnerKind.SLOT):
                m.d.comb += leaves.eq(Mux(upper, gone.bit_select(d_partner.slot, 1), d_either))
            with m.Case(PartnerKind.BOUNDARY):
                m.d.comb += leaves.eq(d_early)
            with m.Default():
                m.d.comb += leaves.eq(Mux(escape_known, escape_leaves, d_early))
        with m.If(decided):
            m.d.sync += gone.bit_select(d_slot, 1).eq(leaves)
            with m.If(d_partner.kind == PartnerKind.ESCAPED):
                m.d.sync += [escape_known.eq(1), escape_leaves.eq(leaves)]
            with m.If(leaves):
                m.d.comb += self.o.valid.eq(~upper)
                with m.If(~upper & (d_partner.kind != PartnerKind.ESCAPED)):
                    m.d.sync += self.obs.eq(self.obs ^ d_obs)
            with m.Else():
                m.d.comb += self.list_write.eq(1)
                m.d.sync += self.kept.eq(self.kept + 1)
        m.d.comb += [
            self.o.payload.node.eq(d_node), self.o.payload.other.eq(d_other),
            self.o.payload.boundary.eq(d_partner.kind == PartnerKind.BOUNDARY),
            self.o.payload.escape.eq(d_partner.kind == PartnerKind.ESCAPED),
            self.o.payload.obs.eq(d_obs),
            self.list_slot.eq(self.kept), self.list_node.space.eq(d_node.space),
            self.list_node.layer.eq(d_node.layer - self.commit),
            self.busy.eq(run),
        ]

        with m.If(self.start):
            m.d.sync += [
                run.eq(1), slot.eq(0), self.kept.eq(0), self.obs.eq(0), escape_known.eq(0)]
        with m.Elif((slot == self.count) & ~valid.any() & ~decided):
            m.d.sync += run.eq(0)
        return m
