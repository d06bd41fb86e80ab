"""The decoder as Verilog against its golden model, record by record."""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from quantacore.gateware.decoder.engine import table_load
from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderImage,
    DecoderRecordKind,
    EscapeRecord,
    MatchRecord,
    Table,
    TimingRecord,
    VerdictRecord,
    WindowFlags,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.decoder import columns
from quantacore.sim.golden.decoder.fast import decode_shots

IMAGE = DecoderImage.from_bytes(Path(os.environ["QC_IMAGE"]).read_bytes())
SHAPE = IMAGE.shape
COMMIT = int(os.environ.get("QC_COMMIT", IMAGE.settings["commit"]))
BUFFER = int(os.environ.get("QC_BUFFER", IMAGE.settings["buffer"]))
REACH = IMAGE.settings["reach"]
WAITING = int(os.environ["QC_ROUNDS_WAITING"])
SPACES = 1 << SHAPE.space_bits


def pack(layout, **values):
    """A word of ``layout``."""
    word = 0
    for name, value in values.items():
        field = layout[name]
        width = field.width
        assert 0 <= value < 1 << width, (name, value)
        word |= value << field.offset
    return word


class Bench:
    """Loads the image, sends rounds, keeps records."""

    def __init__(self, dut):
        self.dut = dut
        self.seed = seed_from_environment()
        dut._log.info("QUANTACORE_SEED=%d", self.seed)
        self.rng = random.Random(self.seed)
        self.records = []
        self.lost = 0
        self.clocks = 0

    async def start(self, *, correlation=1):
        dut = self.dut
        self.clock = Clock(dut.clk, 10, unit="ns")
        cocotb.start_soon(self.clock.start())
        for name in ("enable", "load", "load_valid", "rounds__valid", "rounds__payload",
                     "references"):
            getattr(dut, name).value = 0
        dut.commit.value, dut.buffer.value, dut.reach.value = COMMIT, BUFFER, REACH
        dut.correlation.value, dut.matches.value, dut.records__ready.value = correlation, 1, 1
        await self.reset()
        await self.load()
        dut.enable.value = 1
        cocotb.start_soon(self.monitor())
        cocotb.start_soon(self.count_lost())

    async def reset(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0

    async def load(self):
        layout = table_load(SHAPE)
        self.dut.load_valid.value = 1
        for basis in range(BASES):
            for table in Table:
                if not SHAPE.table_depth(table):
                    continue
                for address, word in enumerate(IMAGE.words(basis, table)):
                    self.dut.load.value = pack(layout, basis=basis, table=table.value,
                                               address=address, data=word)
                    await RisingEdge(self.dut.clk)
        self.dut.load_valid.value = 0

    async def monitor(self):
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            if dut.records__valid.value != 1:
                await RisingEdge(dut.records__valid)
                await FallingEdge(dut.clk)
            if dut.records__valid.value == 1 and dut.records__ready.value == 1:
                self.records.append(int(dut.records__payload.value))

    async def count_lost(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.lost)
            while True:
                await FallingEdge(dut.clk)
                if dut.lost.value != 1:
                    break
                self.lost += 1

    async def send(self, shots, *, gap, erasures=None, numbers=None):
        """Send ``shots`` (shots, bases, layers, spaces), each round ``gap()`` clocks after the
        one before, later where the queue is nearly full."""
        dut = self.dut
        layout = SHAPE.round_word
        weights = 1 << np.arange(shots.shape[3], dtype=object)
        for shot in range(shots.shape[0]):
            rounds = shots.shape[2]
            bits = shots[shot].astype(object) @ weights
            for layer in range(rounds):
                word = pack(layout, number=layer, first=int(layer == 0),
                            last=int(layer == rounds - 1),
                            bits=int(bits[0, layer]) | int(bits[1, layer]) << SPACES)
                if erasures is not None:
                    flags = erasures[shot, layer].astype(object) @ (
                        1 << np.arange(erasures.shape[2], dtype=object))
                    word |= int(flags) << layout["erased"].offset
                dut.rounds__payload.value = word
                dut.rounds__valid.value = 1
                await RisingEdge(dut.clk)
                dut.rounds__valid.value = 0
                wait = gap()
                if wait:
                    await ClockCycles(dut.clk, wait)
                while int(dut.backlog.value) >= WAITING - 4:
                    await ClockCycles(dut.clk, 50)

    async def settle(self, windows):
        """Wait until ``windows`` timing records are here."""
        quiet = 0
        seen = -1
        while quiet < 40:
            await ClockCycles(self.dut.clk, 2000)
            quiet = quiet + 1 if len(self.records) == seen else 0
            seen = len(self.records)
            if sum(record >> 60 == DecoderRecordKind.TIMING.value
                   for record in self.records[-8:]) and self.windows() >= windows:
                return
        raise AssertionError(f"{self.windows()} of {windows} windows came")

    def windows(self):
        return sum(record >> 60 == DecoderRecordKind.TIMING.value for record in self.records)


def compare(records, golden, shots):
    """Compare the records of whole shots with the golden model's."""
    words = np.array(records, np.uint64)
    kinds = (words >> np.uint64(60)).astype(int)
    for basis in range(BASES):
        def of(kind, layout, basis=basis):
            found = columns(layout, words[kinds == kind.value])
            mine = found["basis"] == basis
            return {name: column[mine] for name, column in found.items()}

        verdicts = of(DecoderRecordKind.VERDICT, VerdictRecord.as_shape())
        flags = columns(WindowFlags.as_shape(), verdicts["flags"])
        expected = golden.windows[golden.windows[:, 1] == basis]
        assert len(verdicts["obs"]) == len(expected)
        # Rows of the golden model: shot, basis, first layer, committed layers, last, flips,
        # overflow, events_dropped, walk_error, largest cluster, defects, weight.
        np.testing.assert_array_equal(verdicts["round"], expected[:, 2])
        np.testing.assert_array_equal(verdicts["layers"], expected[:, 3])
        np.testing.assert_array_equal(flags["last"], expected[:, 4])
        np.testing.assert_array_equal(flags["overflow"], expected[:, 6])
        np.testing.assert_array_equal(verdicts["obs"], expected[:, 5])
        np.testing.assert_array_equal(flags["events_dropped"], expected[:, 7])
        np.testing.assert_array_equal(flags["walk_error"], expected[:, 8])
        np.testing.assert_array_equal(verdicts["largest"], np.minimum(expected[:, 9], 15))
        assert not flags["gap"].any()

        matches = of(DecoderRecordKind.MATCH, MatchRecord.as_shape())
        expected = golden.matches[golden.matches[:, 1] == basis]
        boundary = expected[:, 5] < 0
        np.testing.assert_array_equal(matches["round"], expected[:, 2])
        np.testing.assert_array_equal(matches["space"], expected[:, 3])
        np.testing.assert_array_equal(matches["boundary"], boundary)
        np.testing.assert_array_equal(matches["delta"],
                                      np.where(boundary, 0, expected[:, 4] - expected[:, 2]))
        np.testing.assert_array_equal(matches["other_space"],
                                      np.where(boundary, 0, expected[:, 5]))
        np.testing.assert_array_equal(matches["obs"], expected[:, 6])

        escapes = of(DecoderRecordKind.ESCAPE, EscapeRecord.as_shape())
        expected = golden.escapes[golden.escapes[:, 1] == basis]
        np.testing.assert_array_equal(escapes["round"], expected[:, 2])
        np.testing.assert_array_equal(escapes["space"], expected[:, 3])
    # Nothing is lost: every defect is in a match or an escape.
    paired = (golden.matches[:, 5] >= 0).sum()
    assert len(golden.matches) + paired + len(golden.escapes) == shots.sum()


def random_shots(rng, shots, layers, density):
    """Defects at random: denser and less matchable than any circuit makes them."""
    generator = np.random.default_rng(rng.getrandbits(64))
    spaces = int(os.environ["QC_SPACES"])
    return (generator.random((shots, BASES, layers, spaces)) < density).astype(np.uint8)


async def run(bench, shots, *, gap, correlation=True, erasures=None):
    golden = decode_shots(IMAGE, shots, commit=COMMIT, buffer=BUFFER, reach=REACH,
                          correlation=correlation, records=True, erasures=erasures)
    bench.records.clear()
    await bench.send(shots, gap=gap, erasures=erasures)
    await bench.settle(len(golden.windows))
    compare(bench.records, golden, shots)
    return golden


@cocotb.test()
async def circuit_shots_equal_the_golden_model(dut):
    """Shots of the circuit that the image was compiled from."""
    bench = Bench(dut)
    await bench.start()
    shots = np.load(os.environ["QC_SHOTS"])
    golden = await run(bench, shots, gap=lambda: bench.rng.choice([0, 0, 1, 20, 120]))
    timing = np.array([r for r in bench.records if r >> 60 == DecoderRecordKind.TIMING.value],
                      np.uint64)
    clocks = columns(TimingRecord.as_shape(), timing)["clocks"]
    layers = golden.windows[:, 3].sum() / BASES
    dut._log.info("%d rounds, clocks a round %.1f, of a window %.0f (99.9 %%: %.0f, worst %d)",
                  layers, clocks.sum() / BASES / layers, clocks.mean(),
                  np.quantile(clocks, 0.999), clocks.max())
    assert bench.lost == 0


@cocotb.test()
async def plain_mode_equals_the_golden_model(dut):
    """Without the second pass."""
    bench = Bench(dut)
    await bench.start(correlation=0)
    shots = np.load(os.environ["QC_SHOTS"])[:100]
    golden = await run(bench, shots, gap=lambda: 0, correlation=False)
    assert not golden.statistics.counters["second_passes"]


@cocotb.test()
async def dense_defects_overflow_and_escape_as_in_the_golden_model(dut):
    """Densities up to all ones."""
    bench = Bench(dut)
    await bench.start()
    escapes = overflows = 0
    for density in (0.02, 0.1, 0.3, 0.6, 1.0):
        shots = random_shots(bench.rng, 6, 3 * (COMMIT + BUFFER) + 1, density)
        golden = await run(bench, shots, gap=lambda: bench.rng.randrange(3))
        escapes += len(golden.escapes)
        overflows += golden.statistics.counters["overflows"]
    dut._log.info("%d defects escaped, %d windows overflowed", escapes, overflows)
    assert escapes


@cocotb.test()
async def stalled_records_lose_nothing(dut):
    """The reader stops at random; decoding waits, and goes on."""
    bench = Bench(dut)
    await bench.start()
    stop = []

    async def stall():
        while not stop:
            dut.records__ready.value = bench.rng.randrange(2)
            await ClockCycles(dut.clk, bench.rng.choice([1, 2, 7, 300]))
        dut.records__ready.value = 1

    cocotb.start_soon(stall())
    await run(bench, np.load(os.environ["QC_SHOTS"])[:40], gap=lambda: 0)
    stop.append(1)


@cocotb.test()
async def reset_in_the_middle_leaves_nothing_behind(dut):
    """After a reset at any time the next shot is decoded as the first."""
    bench = Bench(dut)
    await bench.start()
    shots = np.load(os.environ["QC_SHOTS"])[:6]
    for _ in range(8):
        sending = cocotb.start_soon(bench.send(shots, gap=lambda: 2))
        await ClockCycles(dut.clk, bench.rng.randrange(20, 900))
        sending.cancel()
        dut.rounds__valid.value = 0
        await bench.reset()
        await ClockCycles(dut.clk, 5)
        await run(bench, shots[:2], gap=lambda: 0)


@cocotb.test()
async def rounds_that_find_no_room_are_counted(dut):
    """Rounds in every clock: some are lost, all are accounted for, and the stream goes on."""
    bench = Bench(dut)
    await bench.start()
    accepted = missing = 0
    shots = random_shots(bench.rng, 1, 40, 0.05)
    dut.records__ready.value = 0
    layout = SHAPE.round_word
    total = 4 * WAITING     # fewer are lost than end a shot (256)
    for number in range(total):
        dut.rounds__payload.value = pack(
            layout, number=number, first=int(number == 0),
            bits=int(shots[0, 0, number % 40].astype(object)
                     @ (1 << np.arange(shots.shape[3], dtype=object))))
        dut.rounds__valid.value = 1
        await RisingEdge(dut.clk)
        dut.rounds__valid.value = 0
        await FallingEdge(dut.clk)
        accepted += int(dut.accepted.value)
        if dut.missing.value == 1:
            missing += int(dut.missing_count.value)
    dut.records__ready.value = 1
    await ClockCycles(dut.clk, 60000)
    assert bench.lost and accepted + bench.lost == total
    # The end of the shot: what was lost shows as missing before the next round that is taken.
    dut.rounds__payload.value = pack(layout, number=total, last=1)
    dut.rounds__valid.value = 1
    await RisingEdge(dut.clk)
    dut.rounds__valid.value = 0
    await FallingEdge(dut.clk)
    assert dut.accepted.value == 1
    if dut.missing.value == 1:
        missing += int(dut.missing_count.value)
    assert missing == bench.lost
    await ClockCycles(dut.clk, 60000)
    bench.records.clear()
    await run(bench, np.load(os.environ["QC_SHOTS"])[:4], gap=lambda: 30)
