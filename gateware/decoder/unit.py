"""The syndrome decoder as a block of a node: registers, rounds from the link, counts."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.decoder.engine import frame_word, table_load
from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderRecordKind,
    DecoderShape,
    EscapeRecord,
    Table,
    TimingRecord,
    VerdictRecord,
)
from quantacore.gateware.layouts.decoder_registers import (
    DECODER,
    LATENCY_BINS,
    DecoderFlags,
    LoadAddress,
    RoundHeader,
    erasure_words,
    load_words,
    round_words,
    sizes_of,
)
from quantacore.gateware.layouts.registers import WORD_BITS
from quantacore.gateware.stream import Queue, connect_streams
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["DecoderUnit"]


class _RoundReader(wiring.Component):
    """Puts rounds together from words: a header, the bits of each basis, erasure flags."""

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "word": In(WORD_BITS), "valid": In(1),
            "rounds": Out(stream.Signature(shape.round_word)),
            "partial": Out(1), "lost": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        each, erasures = round_words(shape), erasure_words(shape)
        header = RoundHeader(self.word)
        round_ = self.rounds.payload
        complete = self.rounds.valid
        # The number of the next word, 0 for a header, and how many there are after it.
        place, total = Signal(range(BASES * each + erasures + 1)), Signal.like(
            Signal(range(BASES * each + erasures + 1)))
        m.d.comb += self.partial.eq(place != 0)

        def part(field, number):
            """Bits of ``field`` that word ``number`` of it brings."""
            bits = Value.cast(field)
            return bits[number * WORD_BITS:(number + 1) * WORD_BITS]

        with m.If(self.rounds.ready):
            m.d.sync += complete.eq(0)
        with m.If(self.valid):
            with m.Switch(place):
                with m.Case(0):
                    m.d.comb += self.lost.eq(complete & ~self.rounds.ready)
                    m.d.sync += [
                        round_.number.eq(header.number), round_.first.eq(header.first),
                        round_.last.eq(header.last), round_.raw.eq(header.raw),
                        total.eq(BASES * each + Mux(header.erased, erasures, 0)),
                        place.eq(1), complete.eq(0),
                    ]
                    if shape.sites:
                        m.d.sync += round_.erased.eq(0)
                for basis in range(BASES):
                    for number in range(each):
                        with m.Case(1 + basis * each + number):
                            target = part(round_.bits[basis], number)
                            m.d.sync += target.eq(self.word)
                for number in range(erasures):
                    with m.Case(1 + BASES * each + number):
                        target = part(round_.erased, number)
                        m.d.sync += target.eq(self.word)
            with m.If(place != 0):
                m.d.sync += place.eq(place + 1)
                with m.If(place == total):
                    m.d.sync += [place.eq(0), complete.eq(1)]
        return m


class _Loader(wiring.Component):
    """Words of tables: from 32-bit words to table words, with an address that counts."""

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "word": In(WORD_BITS), "valid": In(1),
            "start": In(1), "address": In(LoadAddress),
            "load": Out(table_load(shape)), "load_valid": Out(1),
            "refused": Out(1), "count": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        place = Signal(LoadAddress)
        first = Signal(WORD_BITS)
        high = Signal()
        two, inside = Signal(), Signal()
        with m.Switch(place.table):
            for table in Table:
                with m.Case(table):
                    m.d.comb += two.eq(load_words(shape, table) == 2)
                    m.d.comb += inside.eq(place.address < shape.table_depth(table))

        m.d.sync += [self.load_valid.eq(0), self.refused.eq(0)]
        with m.If(self.start):
            m.d.sync += [place.eq(self.address), high.eq(0), self.count.eq(0)]
        with m.Elif(self.valid):
            with m.If(two & ~high):
                m.d.sync += [first.eq(self.word), high.eq(1)]
            with m.Else():
                m.d.sync += [
                    high.eq(0), self.load_valid.eq(inside), self.refused.eq(~inside),
                    self.load.basis.eq(place.basis), self.load.table.eq(place.table),
                    self.load.address.eq(place.address),
                    self.load.data.eq(Mux(two, Cat(first, self.word), self.word)),
                ]
                with m.If(inside):
                    m.d.sync += [place.address.eq(place.address + 1),
                                 self.count.eq(self.count + 1)]
        return m


class _Latencies(wiring.Component):
    """Histogram of latencies: ``layers`` are added to the bin of ``latency``.

    Two clocks after ``valid`` it is counted; one in every clock. Clears itself after reset.
    """

    latency: In(16)
    layers: In(6)
    valid: In(1)
    shift: In(4)
    clear: In(1)
    clearing: Out(1, init=1)
    address: In(range(LATENCY_BINS))
    data: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bins = bins = memory.Memory(
            shape=32, depth=LATENCY_BINS, init=[], attrs={"ram_style": "distributed"})
        write = bins.write_port()
        read, host = bins.read_port(domain="comb"), bins.read_port()
        # The bank wants its data two clocks after the address.
        m.d.comb += [host.addr.eq(self.address), host.en.eq(1)]
        m.d.sync += self.data.eq(host.data)

        scaled = Signal(16)
        m.d.comb += scaled.eq(self.latency >> self.shift)
        bin_, layers, valid = Signal(range(LATENCY_BINS)), Signal.like(self.layers), Signal()
        m.d.sync += [
            bin_.eq(Mux(scaled >= LATENCY_BINS, LATENCY_BINS - 1, scaled)),
            layers.eq(self.layers), valid.eq(self.valid),
        ]
        total = Signal(33)
        sweep = Signal(range(LATENCY_BINS))
        m.d.comb += [
            read.addr.eq(bin_), total.eq(read.data + layers),
            write.addr.eq(Mux(self.clearing, sweep, bin_)),
            write.data.eq(Mux(self.clearing, 0, Mux(total[-1], 0xFFFF_FFFF, total[:32]))),
            write.en.eq(valid | self.clearing),
        ]
        with m.If(self.clearing):
            m.d.sync += sweep.eq(sweep + 1)
            with m.If(sweep == LATENCY_BINS - 1):
                m.d.sync += self.clearing.eq(0)
        with m.If(self.clear):
            m.d.sync += [self.clearing.eq(1), sweep.eq(0)]
        return m


class DecoderUnit(wiring.Component):
    """The streaming decoder behind registers.

    Rounds come from inside the node (``rounds``) and over the link, in words of the register
    ``rounds`` (docs/decoder-link.md has their grammar). Where both come at once, the ones from
    inside go first.

    A round of the link reaches the decoder 2 clocks after the request with its last word reaches
    the bank; one from inside at once. A record leaves one clock after the decoder writes it.
    Writing ``reset`` forgets all rounds, lists, frames and records on their way; the tables, the
    settings and the counts stay.

    Parameters
    ----------
    shape : DecoderShape
    rounds_waiting : int
        Rounds that may wait.
    decoder : Component, optional
        With the ports of :class:`~quantacore.gateware.decoder.decoder.Decoder`; for tests.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.decoder_registers.DECODER`.
    tick : In(64)
        Tick counter.
    rounds : In(stream of rounds, always ready)
        Rounds from inside the node.
    records : Out(stream of 64-bit records)
    frame, frame_valid : Out, one for each basis
        Pauli frame; see :class:`~quantacore.gateware.decoder.decoder.Decoder`.
    """

    def __init__(self, shape, *, rounds_waiting=512, decoder=None):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        if decoder is None:
            from quantacore.gateware.decoder.decoder import Decoder

            decoder = Decoder(shape, rounds_waiting=rounds_waiting)
        self.shape = shape
        self.rounds_waiting = rounds_waiting
        self._decoder = decoder
        self.bank = RegisterBank(DECODER)
        super().__init__({
            "csr": In(CsrSignature(len(self.bank.bus.address))),
            "tick": In(64),
            "rounds": In(stream.Signature(shape.round_word, always_ready=True)),
            "records": Out(stream.Signature(64)),
            "frame": Out(frame_word(shape)).array(BASES), "frame_valid": Out(1).array(BASES),
        })

    def elaborate(self, platform):
        m = Module()
        shape, decoder = self.shape, self._decoder
        # Everything that has to do with a shot is reset together.
        forget = Signal()
        reset = ResetInserter(forget)
        m.submodules.bank = bank = self.bank
        m.submodules.decoder = reset(decoder)
        m.submodules.reader = reset(reader := _RoundReader(shape))
        m.submodules.leaving = reset(leaving := Queue(64, depth=4))
        m.submodules.loader = loader = _Loader(shape)
        m.submodules.latencies = latencies = _Latencies()
        m.submodules.flags = flags = StickyFlags(len(DecoderFlags.as_shape().members))
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)

        # Strobes of the bank come straight from its address decoder.
        clear = Signal()
        word = Signal(WORD_BITS)
        m.d.sync += [
            forget.eq(bank.reset_written & bank.reset[0]),
            clear.eq(bank.clear_written & bank.clear[0]),
            word.eq(bank.rounds), reader.valid.eq(bank.rounds_written),
            loader.valid.eq(bank.load_data_written), loader.start.eq(bank.load_address_written),
            loader.address.eq(bank.load_address),
            flags.clear.eq(bank.flags_clear),
        ]
        m.d.comb += [reader.word.eq(word), loader.word.eq(word)]

        # Settings, tables, rounds.
        m.d.comb += [
            decoder.enable.eq(bank.control.enable),
            decoder.correlation.eq(bank.control.correlation),
            decoder.matches.eq(bank.control.matches),
            decoder.references.eq(bank.control.references),
            decoder.commit.eq(bank.commit), decoder.buffer.eq(bank.buffer),
            decoder.reach.eq(bank.reach),
            decoder.load.eq(loader.load), decoder.load_valid.eq(loader.load_valid),
            decoder.rounds.valid.eq(self.rounds.valid | reader.rounds.valid),
            decoder.rounds.payload.eq(Mux(self.rounds.valid, Value.cast(self.rounds.payload),
                                          Value.cast(reader.rounds.payload))),
            reader.rounds.ready.eq(~self.rounds.valid),
        ]
        connect_streams(m, decoder.records, leaving.i)
        connect_streams(m, leaving.o, wiring.flipped(self.records))
        for basis in range(BASES):
            m.d.comb += [self.frame[basis].eq(decoder.frame[basis]),
                         self.frame_valid[basis].eq(decoder.frame_valid[basis])]

        # Records tell all that is counted, one per clock at most.
        record, recorded = Signal(64), Signal()
        m.d.sync += [record.eq(decoder.records.payload),
                     recorded.eq(decoder.records.valid & decoder.records.ready)]
        verdict, timing = VerdictRecord(record), TimingRecord(record)
        is_kind = {kind: Signal(name=f"is_{kind.name.lower()}") for kind in DecoderRecordKind}
        for kind, signal in is_kind.items():
            m.d.comb += signal.eq(recorded & (EscapeRecord(record).kind == kind))
        is_verdict = is_kind[DecoderRecordKind.VERDICT]
        is_timing = is_kind[DecoderRecordKind.TIMING]
        layers = Array(Signal(6, name=f"layers_{basis}") for basis in range(BASES))
        with m.If(is_verdict):
            m.d.sync += layers[verdict.basis].eq(verdict.layers)
        m.d.comb += [
            latencies.valid.eq(is_timing), latencies.latency.eq(timing.latency),
            latencies.layers.eq(layers[timing.basis]), latencies.shift.eq(bank.latency_shift),
            latencies.clear.eq(clear), latencies.address.eq(bank.latency_address),
            bank.latency_data.eq(latencies.data),
        ]

        link_round = Signal()
        m.d.comb += link_round.eq(reader.rounds.valid & reader.rounds.ready)
        counts = {
            "link_rounds": link_round, "accepted": decoder.accepted, "lost": decoder.lost,
            "duplicates": decoder.duplicates, "verdicts": is_verdict,
            "missing": Mux(decoder.missing, decoder.missing_count, 0),
            "second_passes": is_verdict & verdict.flags.second_pass,
            "escaped_windows": is_verdict & verdict.flags.escaped,
            "overflows": is_verdict & verdict.flags.overflow,
            "escapes": is_kind[DecoderRecordKind.ESCAPE],
            "matches": is_kind[DecoderRecordKind.MATCH],
        }
        for name, event in counts.items():
            # The event waits a clock: the adder then starts from registers.
            total, step = Signal(32, name=f"{name}_total"), Signal(len(Value.cast(event)),
                                                                    name=f"{name}_step")
            larger = Signal(33, name=f"{name}_larger")
            m.d.comb += [larger.eq(total + step), getattr(bank, name).eq(total)]
            m.d.sync += [step.eq(event), total.eq(Mux(larger[-1], 0xFFFF_FFFF, larger[:32]))]
            with m.If(clear):
                m.d.sync += [total.eq(0)]

        def largest(register, value, when):
            most = Signal(len(register), name=f"{register.name}_most")
            m.d.comb += register.eq(most)
            with m.If(clear):
                m.d.sync += most.eq(0)
            with m.Elif(when & (value > most)):
                m.d.sync += most.eq(value)

        backlog = Signal(16)
        m.d.sync += backlog.eq(decoder.backlog)
        m.d.comb += bank.backlog.eq(backlog)
        largest(bank.backlog_max, backlog, Const(1))
        largest(bank.latency_max, timing.latency, is_timing)
        largest(bank.clocks_max, timing.clocks, is_timing)
        largest(bank.defects_max, timing.defects, is_timing)

        for basis in range(BASES):
            state, frame = bank.frame[basis], decoder.frame[basis]
            held = Signal.like(state, name=f"frame_{basis}")
            m.d.comb += state.eq(held)
            with m.If(decoder.frame_valid[basis]):
                m.d.sync += [
                    held.obs.eq(frame.obs), held.last.eq(frame.last),
                    held.windows.eq(held.windows + 1), held.rounds.eq(frame.round + frame.layers),
                ]
            with m.If(forget):
                m.d.sync += Value.cast(held).eq(0)

        events = {
            "round_lost": decoder.lost, "round_missing": decoder.missing,
            "round_duplicate": decoder.duplicates,
            "list_overflow": is_verdict & verdict.flags.overflow,
            "events_dropped": is_verdict & verdict.flags.events_dropped,
            "walk_error": is_verdict & verdict.flags.walk_error,
            "load_refused": loader.refused, "link_round_lost": reader.lost,
        }
        m.d.comb += [
            flags.now.eq(self.tick),
            flags.events.eq(Cat(events[name] for name, _ in DecoderFlags.as_shape())),
            bank.flags.eq(flags.flags),
            bank.status.idle.eq(decoder.idle), bank.status.clearing.eq(latencies.clearing),
            bank.status.partial_round.eq(reader.partial),
            bank.rounds_waiting.eq(self.rounds_waiting),
            bank.load_count.eq(loader.count),
        ]
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        for name, value in sizes_of(shape).items():
            m.d.comb += getattr(bank.shape, name).eq(value)
        return m
