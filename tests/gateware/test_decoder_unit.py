"""The decoder's registers, words of rounds and tables, and counts, in Amaranth's simulator.

The decoder itself is played by the test.
"""

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from quantacore.gateware.csr import AbsentBank
from quantacore.gateware.decoder.engine import frame_word, table_load
from quantacore.gateware.decoder.unit import DecoderUnit
from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderRecordKind,
    DecoderShape,
    EscapeRecord,
    MatchRecord,
    Table,
    TimingRecord,
    VerdictRecord,
)
from quantacore.gateware.layouts.decoder_registers import (
    DECODER,
    DecoderControl,
    DecoderFlags,
    DecoderSizes,
    FrameState,
    LoadAddress,
    RoundHeader,
    sizes_of,
)
from quantacore.gateware.layouts.frames import Status

OFFSETS = {register.name: offset for offset, register in DECODER.offsets()}
WORDS = {register.name: register.words for _, register in DECODER.offsets()}
FLAGS = [name for name, _ in DecoderFlags.as_shape()]
SMALL = DecoderShape(space_bits=2, capacity=16, cluster=8, edge_bits=5, shortcut_bits=8)
#: Two words of bits for each basis, erasure words, tables of two words.
LARGE = DecoderShape(space_bits=6, observables=8, sites=40, delta_bits=1, shortcut_bits=13)


class Played(wiring.Component):
    """The ports of a decoder, and nothing behind them."""

    def __init__(self, shape):
        layers = shape.time_bits + 1
        super().__init__({
            "enable": In(1), "commit": In(layers), "buffer": In(layers), "reach": In(8),
            "correlation": In(1), "matches": In(1), "references": In(BASES),
            "load": In(table_load(shape)), "load_valid": In(1),
            "rounds": In(stream.Signature(shape.round_word, always_ready=True)),
            "records": Out(stream.Signature(64)),
            "frame": Out(frame_word(shape)).array(BASES), "frame_valid": Out(1).array(BASES),
            "accepted": Out(1), "lost": Out(1), "duplicates": Out(1), "missing": Out(1),
            "missing_count": Out(8), "backlog": Out(10), "idle": Out(1),
        })

    def elaborate(self, platform):
        return Module()


class Bench:
    """A unit in a simulator, with its bus; what the decoder is given is listed."""

    def __init__(self, shape=SMALL):
        self.decoder = Played(shape)
        self.unit = DecoderUnit(shape, decoder=self.decoder)
        self.rounds, self.loads, self.records = [], [], []
        self._stopped = False

    async def _request(self, ctx, address, word=None):
        bus = self.unit.csr
        ctx.set(bus.address, address)
        ctx.set(bus.read, word is None)
        ctx.set(bus.write, word is not None)
        ctx.set(bus.w_data, word or 0)
        await ctx.tick()
        ctx.set(bus.read, 0)
        ctx.set(bus.write, 0)
        data, status = await ctx.tick().sample(bus.r_data, bus.status).until(bus.done)
        return data, status

    async def write(self, ctx, name, value, index=0):
        _, status = await self._request(ctx, OFFSETS[name] + index, value)
        assert status == Status.ACK

    async def read(self, ctx, name, index=0):
        at, value = OFFSETS[name] + index * WORDS[name], 0
        for word in range(WORDS[name]):
            data, status = await self._request(ctx, at + word)
            assert status == Status.ACK
            value |= data << 32 * word
        return value

    async def record(self, ctx, layout, **fields):
        """The decoder writes a record."""
        ctx.set(self.decoder.records.payload, layout.const(fields).as_bits())
        ctx.set(self.decoder.records.valid, 1)
        await ctx.tick().until(self.decoder.records.ready)
        ctx.set(self.decoder.records.valid, 0)

    async def pulse(self, ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    def run(self, testbench):
        unit, decoder = self.unit, self.decoder

        async def watch(ctx):
            async for _, _, valid, round_, loads, load, taken, record in ctx.tick().sample(
                    decoder.rounds.valid, decoder.rounds.payload, decoder.load_valid,
                    decoder.load, unit.records.valid & unit.records.ready, unit.records.payload):
                if valid:
                    self.rounds.append({
                        "number": round_.number, "first": round_.first, "last": round_.last,
                        "raw": round_.raw, "bits": [round_.bits[0], round_.bits[1]],
                        **({"erased": round_.erased} if unit.shape.sites else {})})
                if loads:
                    self.loads.append((load.basis, load.table, load.address, load.data))
                if taken:
                    self.records.append(record)

        async def body(ctx):
            ctx.set(unit.records.ready, 1)
            await testbench(ctx)
            await ctx.tick().repeat(4)

        simulator = Simulator(unit)
        simulator.add_clock(8e-9)
        simulator.add_process(watch)
        simulator.add_testbench(body)
        simulator.run()
        return self


def header(number, **fields):
    return RoundHeader.const({"number": number, **fields}).as_bits()


def test_shape_of_the_build_can_be_read():
    bench = Bench(LARGE)

    async def testbench(ctx):
        sizes = DecoderSizes.from_bits(await bench.read(ctx, "shape"))
        assert {name: getattr(sizes, name) for name, _ in DecoderSizes.as_shape()} == \
            sizes_of(LARGE)
        assert await bench.read(ctx, "rounds_waiting") == 512

    bench.run(testbench)


def test_settings_reach_the_decoder():
    bench = Bench()

    async def testbench(ctx):
        for name, value in (("commit", 14), ("buffer", 7), ("reach", 80)):
            await bench.write(ctx, name, value)
            assert ctx.get(getattr(bench.decoder, name)) == value
        await bench.write(ctx, "control", DecoderControl.const(
            {"enable": 1, "matches": 1, "references": 2}).as_bits())
        assert [ctx.get(getattr(bench.decoder, name)) for name in
                ("enable", "correlation", "matches", "references")] == [1, 0, 1, 2]

    bench.run(testbench)


def test_a_round_is_a_header_and_the_bits_of_both_bases():
    bench = Bench()

    async def testbench(ctx):
        for word in (header(0, first=1, raw=1), 0b1010, 0b0011, header(1, last=1), 0xFFFF_FFF5, 6):
            await bench.write(ctx, "rounds", word)
        assert await bench.read(ctx, "link_rounds") == 2

    assert bench.run(testbench).rounds == [
        {"number": 0, "first": 1, "last": 0, "raw": 1, "bits": [0b1010, 0b0011]},
        # Bits beyond the spaces mean nothing.
        {"number": 1, "first": 0, "last": 1, "raw": 0, "bits": [5, 6]}]


def test_a_large_round_has_more_words_and_erasures_if_it_says_so():
    bench = Bench(LARGE)

    async def testbench(ctx):
        for word in (header(5, erased=1), 1, 2, 3, 4, 0x8000_0001, 0x81, header(6), 5, 6, 7, 8):
            await bench.write(ctx, "rounds", word)

    assert bench.run(testbench).rounds == [
        {"number": 5, "first": 0, "last": 0, "raw": 0, "bits": [1 | 2 << 32, 3 | 4 << 32],
         "erased": 0x81_8000_0001},
        {"number": 6, "first": 0, "last": 0, "raw": 0, "bits": [5 | 6 << 32, 7 | 8 << 32],
         "erased": 0}]


def test_rounds_from_inside_go_first():
    bench = Bench()

    async def testbench(ctx):
        ctx.set(bench.unit.rounds.payload, {"number": 100})
        ctx.set(bench.unit.rounds.valid, 1)
        for word in (header(1), 1, 2):
            await bench.write(ctx, "rounds", word)
        await ctx.tick().repeat(8)
        assert await bench.read(ctx, "link_rounds") == 0
        ctx.set(bench.unit.rounds.valid, 0)
        await ctx.tick().repeat(3)
        assert await bench.read(ctx, "link_rounds") == 1

    numbers = [round_["number"] for round_ in bench.run(testbench).rounds]
    assert numbers[-1] == 1
    assert set(numbers[:-1]) == {100}


def test_a_round_of_the_link_that_never_finds_a_gap_is_told_of():
    bench = Bench()

    async def testbench(ctx):
        ctx.set(bench.unit.rounds.valid, 1)
        for word in (header(1), 1, 2, header(2), 3, 4):
            await bench.write(ctx, "rounds", word)
        assert await bench.read(ctx, "flags") == 1 << FLAGS.index("link_round_lost")

    bench.run(testbench)


def test_reset_forgets_half_a_round():
    bench = Bench()

    async def testbench(ctx):
        for word in (header(1), 7):
            await bench.write(ctx, "rounds", word)
        assert await bench.read(ctx, "status") >> 2 == 1
        await bench.write(ctx, "reset", 1)
        assert await bench.read(ctx, "status") >> 2 == 0
        for word in (header(9), 1, 2):
            await bench.write(ctx, "rounds", word)

    assert [round_["number"] for round_ in bench.run(testbench).rounds] == [9]


def test_table_words_go_to_counting_addresses():
    bench = Bench()

    async def testbench(ctx):
        await bench.write(ctx, "load_address", LoadAddress.const(
            {"address": 6, "table": Table.PAIR, "basis": 1}).as_bits())
        for word in (0x1FF, 0x0AB, 0x012):
            await bench.write(ctx, "load_data", word)
        assert await bench.read(ctx, "load_count") == 3

    assert bench.run(testbench).loads == [
        (1, Table.PAIR, 6, 0x1FF), (1, Table.PAIR, 7, 0x0AB), (1, Table.PAIR, 8, 0x012)]


def test_a_wide_table_word_takes_two_words():
    bench = Bench(LARGE)
    wide = LARGE.short_word.const({"u": 63, "v": 1, "weight": 254, "obs": 0x81}).as_bits()
    assert wide >> 32

    async def testbench(ctx):
        await bench.write(ctx, "load_address", LoadAddress.const(
            {"address": 2, "table": Table.SHORT}).as_bits())
        for word in (wide & 0xFFFF_FFFF, wide >> 32, 3, 0):
            await bench.write(ctx, "load_data", word)
        # An address begins anew, also after half a word.
        await bench.write(ctx, "load_data", 1)
        await bench.write(ctx, "load_address", LoadAddress.const(
            {"address": 0, "table": Table.SHORT}).as_bits())
        for word in (5, 0):
            await bench.write(ctx, "load_data", word)

    assert bench.run(testbench).loads == [
        (0, Table.SHORT, 2, wide), (0, Table.SHORT, 3, 3), (0, Table.SHORT, 0, 5)]


@pytest.mark.parametrize("table, address", [(Table.BOUND, 4), (Table.ERASE, 0)])
def test_a_word_outside_the_tables_is_refused(table, address):
    bench = Bench()

    async def testbench(ctx):
        await bench.write(ctx, "load_address", LoadAddress.const(
            {"address": address, "table": table}).as_bits())
        await bench.write(ctx, "load_data", 1)
        await ctx.tick().repeat(3)
        assert await bench.read(ctx, "flags") == 1 << FLAGS.index("load_refused")
        assert await bench.read(ctx, "load_count") == 0

    assert bench.run(testbench).loads == []


def test_records_pass_in_order_and_are_counted():
    bench = Bench()
    records = [
        (EscapeRecord, {"space": 3, "round": 9, "kind": DecoderRecordKind.ESCAPE}),
        (MatchRecord, {"space": 1, "kind": DecoderRecordKind.MATCH}),
        (EscapeRecord, {"space": 1, "kind": DecoderRecordKind.ESCAPE}),
        (VerdictRecord, {"obs": 1, "layers": 5, "kind": DecoderRecordKind.VERDICT,
                         "flags": {"escaped": 1, "second_pass": 1}}),
        (TimingRecord, {"latency": 77, "clocks": 70, "defects": 8,
                        "kind": DecoderRecordKind.TIMING}),
        (VerdictRecord, {"layers": 5, "basis": 1, "kind": DecoderRecordKind.VERDICT,
                         "flags": {"overflow": 1, "walk_error": 1, "events_dropped": 1}}),
        (TimingRecord, {"latency": 30, "clocks": 99, "defects": 2, "basis": 1,
                        "kind": DecoderRecordKind.TIMING}),
    ]

    async def testbench(ctx):
        for layout, fields in records:
            await bench.record(ctx, layout, **fields)
        await ctx.tick().repeat(6)
        for name, value in (("verdicts", 2), ("second_passes", 1), ("escaped_windows", 1),
                            ("overflows", 1), ("escapes", 2), ("matches", 1),
                            ("latency_max", 77), ("clocks_max", 99), ("defects_max", 8)):
            assert await bench.read(ctx, name) == value, name
        assert await bench.read(ctx, "flags") == sum(
            1 << FLAGS.index(name) for name in ("list_overflow", "events_dropped", "walk_error"))
        await bench.write(ctx, "clear", 1)
        await ctx.tick().repeat(4)
        for name in ("verdicts", "escapes", "latency_max", "defects_max"):
            assert await bench.read(ctx, name) == 0, name

    expected = [layout.const(fields).as_bits() for layout, fields in records]
    assert bench.run(testbench).records == expected


def test_rounds_are_counted():
    bench = Bench()

    async def testbench(ctx):
        decoder = bench.decoder
        for signal, times in ((decoder.accepted, 3), (decoder.lost, 2), (decoder.duplicates, 1)):
            for _ in range(times):
                await bench.pulse(ctx, signal)
        ctx.set(decoder.missing_count, 200)
        await bench.pulse(ctx, decoder.missing)
        ctx.set(decoder.missing_count, 100)
        await bench.pulse(ctx, decoder.missing)
        ctx.set(decoder.backlog, 17)
        await ctx.tick().repeat(4)
        ctx.set(decoder.backlog, 3)
        await ctx.tick().repeat(4)
        for name, value in (("accepted", 3), ("lost", 2), ("duplicates", 1), ("missing", 300),
                            ("backlog", 3), ("backlog_max", 17)):
            assert await bench.read(ctx, name) == value, name
        assert await bench.read(ctx, "flags") == sum(
            1 << FLAGS.index(name) for name in ("round_lost", "round_missing", "round_duplicate"))
        assert await bench.read(ctx, "flag_counts", FLAGS.index("round_lost")) == 2

    bench.run(testbench)


def test_latencies_are_counted_by_committed_layers():
    bench = Bench()
    windows = [(0, 100, 5), (1, 101, 3), (0, 0, 2), (1, 65535, 7), (0, 96, 1), (1, 127, 4)]

    async def testbench(ctx):
        await ctx.tick().repeat(70)  # it clears itself first
        await bench.write(ctx, "latency_shift", 5)
        # Both bases at once: their records are not always apart.
        for basis, latency, layers in windows:
            await bench.record(ctx, VerdictRecord, layers=layers, basis=basis,
                               kind=DecoderRecordKind.VERDICT)
            await bench.record(ctx, TimingRecord, latency=latency, basis=basis,
                               kind=DecoderRecordKind.TIMING)
        await ctx.tick().repeat(5)
        found = {}
        for bin_ in range(64):
            value = await bench.read(ctx, "latency", bin_)
            if value:
                found[bin_] = value
        assert found == {0: 2, 3: 5 + 3 + 1 + 4, 63: 7}
        await bench.write(ctx, "clear", 1)
        while await bench.read(ctx, "status") >> 1 & 1:
            pass
        assert [await bench.read(ctx, "latency", bin_) for bin_ in (0, 3, 63)] == [0, 0, 0]

    bench.run(testbench)


def test_frames_are_kept_and_forgotten():
    bench = Bench()

    async def testbench(ctx):
        decoder = bench.decoder
        ctx.set(decoder.frame[1], {"obs": 1, "round": 10, "layers": 5, "last": 1})
        await bench.pulse(ctx, decoder.frame_valid[1])
        await bench.pulse(ctx, decoder.frame_valid[1])
        state = FrameState.from_bits(await bench.read(ctx, "frame", 1))
        assert (state.obs, state.rounds, state.last, state.windows) == (1, 15, 1, 2)
        assert await bench.read(ctx, "frame", 0) == 0
        await bench.write(ctx, "reset", 1)
        assert await bench.read(ctx, "frame", 1) == 0

    bench.run(testbench)


def test_shape_is_checked():
    with pytest.raises(TypeError, match="^shape must be a DecoderShape, not 5$"):
        DecoderUnit(5)


def test_an_absent_block_reads_zero_and_refuses_writes():
    bank = AbsentBank(DECODER)

    async def testbench(ctx):
        async def request(address, *, write):
            ctx.set(bank.bus.address, address)
            ctx.set(bank.bus.write if write else bank.bus.read, 1)
            await ctx.tick()
            ctx.set(bank.bus.write, 0)
            ctx.set(bank.bus.read, 0)
            clocks = 1
            while not ctx.get(bank.bus.done):
                await ctx.tick()
                clocks += 1
            assert clocks == 3
            return ctx.get(bank.bus.status), ctx.get(bank.bus.r_data)

        for name in ("control", "shape", "image_id", "latency"):
            assert await request(OFFSETS[name], write=False) == (Status.ACK, 0)
            assert (await request(OFFSETS[name], write=True))[0] == Status.UNMAPPED
        for name in ("rounds", "load_data"):
            assert (await request(OFFSETS[name], write=False))[0] == Status.UNMAPPED

    simulator = Simulator(bank)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()
