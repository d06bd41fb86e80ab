"""Contracts of the decoder's window bookkeeping: rounds stay in order and every one is counted;
every defect of a window is kept, committed or handed to the host, once, and none is moved."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.decoder.committer import Committer
from quantacore.gateware.decoder.intake import Intake
from quantacore.gateware.decoder.loader import Loader
from quantacore.gateware.layouts.decoder import DecoderShape, PartnerKind
from quantacore.sim.bench.formal import prove_bounded

_BITS = 5


def constant(m, port):
    """``port``, which is free but never changes.

    An input, because the solver would take undefined bits for a free constant's.
    """
    first, was = Signal(init=1), Signal.like(port)
    m.d.sync += [first.eq(0), was.eq(port)]
    m.d.comb += Assume(first | (port == was))
    return port


class IntakeContract(wiring.Component):
    """Every round that is offered is accepted, lost or a duplicate; slices say where they are.

    A round carries the low bits of its number as its defects, so whoever takes the slices can
    tell whether it finds the round where it should be.
    """

    def __init__(self):
        self.shape = DecoderShape(space_bits=2, capacity=8)
        super().__init__({
            "valid": In(1), "word": In(self.shape.round_word), "room": In(2)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.subject = subject = Intake(self.shape)
        word, (first, second) = self.word, subject.slices
        m.d.comb += [
            subject.enable.eq(1), subject.rounds.valid.eq(self.valid),
            subject.rounds.payload.eq(word),
            first.ready.eq(self.room[0]), second.ready.eq(self.room[1]),
            Assume(~word.raw), Assume(word.bits[0] == word.number[:4]),
            Assume(word.bits[1] == ~word.number[:4]),
        ]

        # Both queues take the same rounds.
        taken = first.valid & first.ready
        m.d.comb += [
            Assert(first.valid == second.valid), Assert(~first.valid | self.room.all()),
            Assert(first.payload.last == second.payload.last),
            Assert(first.payload.skipped == second.payload.skipped),
        ]

        # Counts.
        offered, counted = Signal(_BITS), Signal(_BITS)
        quiet = Signal(2)
        m.d.sync += [
            offered.eq(offered + self.valid),
            counted.eq(counted + subject.accepted + subject.lost + subject.duplicate),
        ]
        with m.If(self.valid):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != 3):
            m.d.sync += quiet.eq(quiet + 1)
        m.d.comb += Assert(counted <= offered)
        with m.If(quiet >= 2):
            m.d.comb += Assert(counted == offered)

        # Order: a slice stands where its round belongs, as many places on as rounds are missing.
        running, due = Signal(), Signal(4)
        ending = first.payload.last & ~subject.accepted
        with m.If(taken):
            m.d.sync += [running.eq(~first.payload.last), due.eq(first.payload.bits + 1)]
            with m.If(ending):
                m.d.comb += [Assert(running), Assert(first.payload.bits == 0),
                             Assert(first.payload.skipped == 0)]
            with m.Else():
                m.d.comb += [Assert(subject.accepted),
                             Assert(second.payload.bits == ~first.payload.bits)]
                with m.If(running):
                    m.d.comb += Assert(
                        first.payload.bits == (due + first.payload.skipped)[:4])
                with m.Else():
                    m.d.comb += Assert(first.payload.skipped == 0)
        with m.If(subject.accepted):
            m.d.comb += [
                Assert(taken), Assert(subject.missing == (first.payload.skipped != 0)),
                Assert(subject.missing_count == first.payload.skipped),
            ]
        return m


class CommitterContract(wiring.Component):
    """Any list with any matching that makes sense; the space of a defect says which slot it has.

    ``defects`` of them at most. Reads take two clocks, and see what has been written.
    """

    def __init__(self, defects):
        self.defects = defects
        self.shape = DecoderShape(space_bits=3, capacity=8, time_bits=2, delta_bits=1)
        super().__init__({
            "count": In(4), "commit": In(3), "last": In(1), "pairs": In(defects ** 2),
            "bounds": In(defects), "layers": In(2).array(defects), "kinds": In(2).array(defects),
            "partners": In(3).array(defects)})

    def elaborate(self, platform):
        m = Module()
        shape, number = self.shape, self.defects
        m.submodules.subject = subject = Committer(shape)
        begun, started = Signal(), Signal()
        m.d.sync += [begun.eq(1), started.eq(begun)]
        m.d.comb += subject.start.eq(begun & ~started)

        count, commit, last, pairs, bounds = (
            constant(m, port) for port in
            (self.count, self.commit, self.last, self.pairs, self.bounds))
        layers, kinds, partners = ([constant(m, port) for port in ports] for ports in
                                   (self.layers, self.kinds, self.partners))
        m.d.comb += [Assume(count <= number), Assume(commit >= 1), Assume(commit <= 4)]
        for i in range(number):
            if i:
                m.d.comb += Assume(layers[i - 1] <= layers[i])
            m.d.comb += Assume(kinds[i] != 3)
            with m.If((i < count) & (kinds[i] == PartnerKind.SLOT.value)):
                m.d.comb += [Assume(partners[i] != i), Assume(partners[i] < count)]
                for j in range(number):
                    with m.If(partners[i] == j):
                        m.d.comb += [Assume(kinds[j] == PartnerKind.SLOT.value),
                                     Assume(partners[j] == i)]

        # Memories.
        nodes = Array(Signal(shape.node, name=f"node_{i}") for i in range(8))
        with m.If(~begun):
            for i in range(number):
                m.d.sync += [nodes[i].space.eq(i), nodes[i].layer.eq(layers[i])]
        with m.If(subject.list_write):
            m.d.sync += nodes[subject.list_slot].eq(subject.list_node)

        def read(value, data):
            at = Signal.like(data)
            m.d.sync += [Value.cast(at).eq(value), Value.cast(data).eq(at)]

        kind = Array([*kinds, *[Const(0, 2)] * (8 - number)])
        partner = Array([*partners, *[Const(0, 3)] * (8 - number)])
        for address, data in ((subject.row_address, subject.row_data),
                              (subject.column_address, subject.column_data)):
            word = Signal(shape.node)
            m.d.comb += word.eq(nodes[address])
            read(Value.cast(word), data)
        read(Cat(kind[subject.partner_address], partner[subject.partner_address]),
             subject.partner_data)
        pair_at = subject.pair_address.i * number + subject.pair_address.j
        read(pairs.bit_select(pair_at[:len(range(number * number)).bit_length()], 1),
             subject.pair_obs)
        read(bounds.bit_select(subject.bound_address, 1), subject.bound_obs)
        m.d.comb += [subject.count.eq(count), subject.commit.eq(commit), subject.last.eq(last)]

        # Where each defect has gone.
        left, kept = Signal(8), Signal(8)
        out, node, other = subject.o, subject.o.payload.node, subject.o.payload.other
        match_two = ~out.payload.boundary & ~out.payload.escape
        with m.If(out.valid):
            going = (Const(1, 8) << node.space) | Mux(match_two, Const(1, 8) << other.space, 0)
            m.d.comb += [Assert(~(left & going).any()), Assert(~(kept & going).any())]
            m.d.sync += left.eq(left | going[:8])
            for i in range(number):
                with m.If(node.space == i):
                    m.d.comb += [
                        Assert(node.layer == layers[i]),
                        Assert(out.payload.boundary == (kinds[i] == PartnerKind.BOUNDARY.value)),
                        Assert(out.payload.escape == (kinds[i] == PartnerKind.ESCAPED.value)),
                        Assert(~match_two | (other.space == partners[i])),
                        Assert(~match_two | (other.space > i)),
                    ]
                with m.If(match_two & (other.space == i)):
                    m.d.comb += Assert(other.layer == layers[i])
        order = Signal(4)
        with m.If(subject.list_write):
            space = subject.list_node.space
            m.d.comb += [
                Assert(space >= order), Assert(~left.bit_select(space, 1)),
                Assert(subject.list_slot == subject.kept),
            ]
            m.d.sync += [order.eq(space + 1), kept.eq(kept | (Const(1, 8) << space)[:8])]
            for i in range(number):
                with m.If(space == i):
                    m.d.comb += [Assert(layers[i] >= commit),
                                 Assert(subject.list_node.layer == layers[i] - commit)]

        # At the end: each defect once, and only what had to.
        early = [last | (layer < commit) for layer in layers]
        escapes = [(i < count) & (kinds[i] == PartnerKind.ESCAPED.value) for i in range(number)]
        some_escape = Cat(e & early[i] for i, e in enumerate(escapes)).any()
        flips = Signal()
        parity = Const(0)
        for i in range(number):
            partner_early = Const(0)
            pair = Const(0)
            for j in range(number):
                partner_early = Mux(partners[i] == j, early[j], partner_early)
                if j > i:
                    pair = Mux(partners[i] == j, pairs[j * number + i], pair)
            is_slot = kinds[i] == PartnerKind.SLOT.value
            is_bound = kinds[i] == PartnerKind.BOUNDARY.value
            leaves = Signal(name=f"leaves_{i}")
            m.d.comb += leaves.eq((i < count) & Mux(
                escapes[i], some_escape, early[i] | (is_slot & partner_early)))
            parity = parity ^ (leaves & Mux(
                is_bound, bounds[i], is_slot & (partners[i] > i) & pair))
            with m.If(started & ~subject.busy & ~subject.start):
                m.d.comb += [Assert(left[i] == leaves),
                             Assert(kept[i] == ((i < count) & ~leaves))]
        m.d.comb += flips.eq(parity)
        with m.If(started & ~subject.busy):
            m.d.comb += [Assert(subject.kept == sum(kept[i] for i in range(8))),
                         Assert(subject.obs == flips)]
        # It comes to an end in the time that it states.
        age = Signal(6)
        with m.If(started):
            m.d.sync += age.eq(age + 1)
        m.d.comb += Assert((age < number + 8) | ~subject.busy)
        return m


class LoaderContract(wiring.Component):
    """Any rounds for one window of three layers, behind up to two kept defects of one layer."""

    def __init__(self):
        self.shape = DecoderShape(space_bits=2, capacity=8, time_bits=2, delta_bits=1)
        super().__init__({"round": In(self.shape.round_slice), "room": In(1),
                          "kept": In(4)})

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        m.submodules.subject = subject = Loader(shape)
        kept = constant(m, self.kept)
        clock = Signal(7)
        m.d.sync += clock.eq(clock + (clock != 127))
        m.d.comb += [
            Assume(kept <= 2), subject.window.eq(3), subject.kept.eq(kept),
            subject.loaded.eq(kept != 0),
            # The layers of what was kept are written before the start: all are 0.
            subject.kept_write.eq(clock < 2), subject.kept_slot.eq(clock),
            subject.start.eq(clock == 2),
            subject.rounds.valid.eq(1), subject.rounds.payload.eq(self.round),
            Assume(self.round.skipped <= 1), subject.escapes.ready.eq(self.room),
        ]
        nodes = Array(Signal(shape.node, name=f"node_{i}") for i in range(8))
        with m.If(clock == 0):
            m.d.sync += nodes[1].space.eq(3)
        with m.If(subject.list_write):
            m.d.sync += nodes[subject.list_slot].eq(subject.list_node)
        word, at = Signal(shape.node), Signal(shape.node)
        m.d.comb += word.eq(nodes[subject.list_address])
        m.d.sync += [at.eq(word), subject.list_data.eq(at)]

        # A round waits until it is taken.
        waiting, was = Signal(), Signal.like(self.round)
        m.d.sync += [waiting.eq(~subject.rounds.ready), was.eq(self.round)]
        with m.If(waiting & (clock != 0)):
            m.d.comb += Assume(self.round == was)

        # Defects that came, and where they went.
        arrived, written, escaped = (Signal(5, name=name)
                                     for name in ("arrived", "written", "escaped"))
        taken = subject.rounds.valid & subject.rounds.ready
        with m.If(taken):
            m.d.sync += arrived.eq(arrived + sum(self.round.bits[k] for k in range(4)))
        m.d.sync += [written.eq(written + subject.list_write),
                     escaped.eq(escaped + (subject.escapes.valid & subject.escapes.ready))]
        # New entries are in order of layer and space, and so are escapes.
        entry, entry_before = Signal(5), Signal(5)
        m.d.comb += entry.eq(Cat(subject.list_node.space, subject.list_node.layer) + 1)
        with m.If(subject.list_write):
            m.d.comb += [Assert(entry > entry_before), Assert(~subject.overflow),
                         Assert(subject.list_slot == kept + written),
                         Assert(subject.lowest_write)]
            m.d.sync += entry_before.eq(entry)
        escape, escape_before = Signal(5), Signal(5)
        m.d.comb += escape.eq(
            Cat(subject.escapes.payload.space, subject.escapes.payload.layer) + 1)
        with m.If(subject.escapes.valid & subject.escapes.ready):
            m.d.comb += [Assert(escape > escape_before), Assert(subject.overflow)]
            m.d.sync += escape_before.eq(escape)

        done = (clock > 3) & ~subject.busy
        with m.If(done):
            with m.If(subject.overflow):
                m.d.comb += [Assert(escaped == kept + arrived), Assert(escaped > 8),
                             Assert(subject.count == 0)]
            with m.Else():
                m.d.comb += [Assert(subject.count == kept + arrived), Assert(escaped == 0),
                             Assert(written == arrived)]
            m.d.comb += Assert(subject.last | (subject.layers == 3))
        with m.If(subject.first_write):
            m.d.comb += Assert(subject.first_slot == subject.count)
        return m


def test_intake_counts_every_round_and_keeps_their_order():
    prove_bounded(IntakeContract(), "intake_contract", depth=9)


def test_committer_leaves_every_defect_in_one_place():
    prove_bounded(CommitterContract(3), "committer_contract", depth=15)


def test_loader_lists_every_defect_or_hands_all_of_them_over():
    prove_bounded(LoaderContract(), "loader_contract", depth=30)
