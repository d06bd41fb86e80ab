"""The tagger as Verilog against its golden model."""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.tagger import TAGGER, TaggerFlags
from quantacore.gateware.layouts.tags import LossCause, TagKind
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.golden import tagger as golden
from quantacore.sim.golden.samples import pack_words

CHANNELS = int(os.environ["QC_CHANNELS"])
SAMPLES = int(os.environ["QC_SAMPLES"])
FINE = bool(int(os.environ["QC_FINE"]))
DEPTH = int(os.environ["QC_BUFFER_DEPTH"])
ALL_ON = (1 << SAMPLES) - 1
REST = np.zeros((CHANNELS, SAMPLES), int)
REGISTERS = {register.name: (offset, register) for offset, register in TAGGER.offsets()}


class Bench:
    """Drives words and the register bus, takes records, and logs what the tagger was shown.

    ``ready`` and ``drain`` are probabilities: that a record is taken, and that the reader of the
    modelled record buffer takes one out in a clock.
    """

    def __init__(self, dut, *, first_tick=0):
        self.dut = dut
        self.rng = np.random.default_rng(random.getrandbits(64))
        self.coin = random.Random(random.getrandbits(64)).random
        self.tick = first_tick
        self.first_tick = first_tick
        self.ready, self.drain = 1.0, 1.0
        self.lines = [getattr(dut, f"detectors__{channel}") for channel in range(CHANNELS)]

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 8, unit="ns").start())
        for name in ("csr__read", "csr__write", "csr__address", "csr__w_data", "buffer_level",
                     "records__ready"):
            getattr(self.dut, name).value = 0
        await self.reset()

    async def reset(self):
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.held = [0] * CHANNELS
        self.driven = [0] * CHANNELS
        for line in self.lines:
            line.value = 0
        self.log, self.records, self.taken_at, self.edges = [], [], [], []
        self.first_tick = self.tick
        self.level, self.highest = 0, 0

    async def clock(self, words=None):
        """One clock. ``words``: levels, fine codes and packed words of all channels; without,
        every line is at rest."""
        dut = self.dut
        if words is None:
            levels = [ALL_ON * level for level in self.held]
            fines, packed = REST, levels
        else:
            levels, fines, packed = words
        for channel in range(CHANNELS):
            if packed[channel] != self.driven[channel]:
                self.lines[channel].value = packed[channel]
        self.driven = packed
        dut.tick.value = self.tick
        ready = self.level < DEPTH and self.coin() < self.ready
        dut.records__ready.value = int(ready)
        dut.buffer_level.value = self.level
        await FallingEdge(dut.clk)
        self.log.append((levels, fines, int(dut.running.value)))
        if ready and dut.records__valid.value == 1:
            self.records.append(int(dut.records__payload.value))
            self.taken_at.append(len(self.log) - 1)
            self.level += 1
            self.highest = max(self.highest, self.level)
        if dut.edges__valid.value == 1:
            self.edges.append(int(dut.edges__payload.value))
        if self.level and self.coin() < self.drain:
            self.level -= 1
        self.held = [level >> (SAMPLES - 1) & 1 for level in levels]
        self.tick += 1
        await RisingEdge(dut.clk)

    async def random_words(self, clocks, probability):
        """Each line toggles in each sample with ``probability``."""
        toggles = self.rng.random((clocks, CHANNELS, SAMPLES)) < probability
        toggles[-1] = False
        bits = (np.cumsum(toggles.transpose(1, 0, 2).reshape(CHANNELS, -1), axis=1)
                + np.array(self.held)[:, None]) & 1
        levels = (bits.reshape(CHANNELS, clocks, SAMPLES) << np.arange(SAMPLES)).sum(axis=2)
        fines = self.rng.integers(0, 8192 // SAMPLES, (clocks, CHANNELS, SAMPLES)) * FINE
        await self.words(levels.T, fines)

    async def words(self, levels, fines):
        """One clock for each row of ``levels`` (clocks, channels) and of ``fines``."""
        packed = [pack_words(levels[:, channel].astype(np.uint8),
                             fines[:, channel].astype(np.uint16), samples=SAMPLES,
                             fine=FINE).astype(object) for channel in range(CHANNELS)]
        packed = [sum(pieces[:, i] << 32 * i for i in range(pieces.shape[1])).tolist()
                  for pieces in packed]
        for row in zip(levels.tolist(), fines, zip(*packed, strict=True), strict=True):
            await self.clock(row)

    async def square(self, clocks):
        """All lines change in every clock, at the beginning of the word."""
        levels = np.arange(clocks)[:, None] % 2 == np.array(self.held)
        await self.words(levels * ALL_ON, np.zeros((clocks, CHANNELS, SAMPLES), int))

    async def access(self, address, strobe, value=0):
        self.dut.csr__address.value = address
        self.dut.csr__w_data.value = value
        getattr(self.dut, f"csr__{strobe}").value = 1
        await self.clock()
        getattr(self.dut, f"csr__{strobe}").value = 0
        while self.dut.csr__done.value == 0:
            await self.clock()
        assert int(self.dut.csr__status.value) == Status.ACK.value
        return int(self.dut.csr__r_data.value)

    async def write(self, name, value, index=0):
        offset, register = REGISTERS[name]
        await self.access(offset + index * register.words, "write",
                          int(value) & ((1 << register.width) - 1))

    async def read(self, name, index=0):
        offset, register = REGISTERS[name]
        words = [await self.access(offset + index * register.words + word, "read")
                 for word in range(register.words)]
        return sum(word << 32 * i for i, word in enumerate(words))

    async def configure(self, *, select=None, dead_time=None, delay=None):
        self.select = [3] * CHANNELS if select is None else select
        self.dead_time = [0] * CHANNELS if dead_time is None else dead_time
        self.delay = [0] * CHANNELS if delay is None else delay
        for channel in range(CHANNELS):
            await self.write("edges", self.select[channel], channel)
            await self.write("dead_time", self.dead_time[channel], channel)
            await self.write("delay", self.delay[channel], channel)

    async def flush(self, limit=20000):
        """At rest with a fast reader, until nothing comes for 200 clocks.

        No record comes of the edges in a dead time, one of which is looked at in a clock.
        """
        self.ready = self.drain = 1.0
        quiet, wanted = 0, 200 + (max(self.dead_time) // 8192 + 1) * CHANNELS * SAMPLES
        for _ in range(limit):
            before = len(self.records)
            await self.clock()
            quiet = 0 if len(self.records) != before else quiet + 1
            if quiet > wanted:
                return
        raise AssertionError("records keep coming")

    def seen(self):
        """Edges that the golden model finds in the log, while running."""
        levels = np.array([entry[0] for entry in self.log], np.uint8).T
        fines = np.array([entry[1] for entry in self.log]).transpose(1, 0, 2)
        running = np.array([entry[2] for entry in self.log], bool)
        edges = golden.edges_from_words(levels, fines, samples=SAMPLES, select=self.select,
                                        first_tick=self.first_tick)
        keep = running[edges[0] // 8192 - self.first_tick]
        return tuple(column[keep] for column in edges)

    def kept(self):
        """The same, after dead time and delay, and the number dropped per channel."""
        times, channels, falling = self.seen()
        keep = golden.apply_dead_time(times, channels, self.dead_time)
        dropped = np.bincount(channels[~keep], minlength=CHANNELS)
        times = golden.apply_delay(times, channels, self.delay)
        return (times[keep], channels[keep], falling[keep]), dropped

    async def check_registers(self, parsed):
        """Registers agree with the stream and with the edges that there were."""
        _, channels, _ = self.seen()
        seen = np.bincount(channels, minlength=CHANNELS)
        dead = 0
        for channel in range(CHANNELS):
            assert await self.read("seen", channel) == seen[channel]
            dead += await self.read("in_dead_time", channel)
        assert await self.read("recorded") == len(parsed.times)
        assert await self.read("lost_burst") == parsed.lost(LossCause.BURST)
        assert await self.read("lost_buffer") == parsed.lost(LossCause.BUFFER)
        lost = parsed.lost(LossCause.BURST) + parsed.lost(LossCause.BUFFER)
        assert len(parsed.times) + lost + dead == seen.sum()


async def begin(dut, **kwargs):
    cocotb.log.info("seed %#x", seed_from_environment())
    bench = Bench(dut, **kwargs)
    await bench.start()
    return bench


def random_settings(rng):
    return {
        "select": rng.integers(0, 4, CHANNELS).tolist(),
        "dead_time": (rng.integers(0, 50000, CHANNELS)
                      * rng.integers(0, 2, CHANNELS)).tolist(),
        "delay": rng.integers(-(1 << 23), 1 << 23, CHANNELS).tolist(),
    }


@cocotb.test()
async def random_edges_equal_the_golden_stream(dut):
    bench = await begin(dut, first_tick=(3 << 40) - 600)  # an epoch changes on the way
    await bench.configure(**random_settings(bench.rng))
    await bench.write("control", 1)
    bench.ready = 0.95
    for _ in range(4):
        await bench.random_words(400, 0.3 / (CHANNELS * SAMPLES))
        await bench.random_words(8, 0.5)
    await bench.flush()
    kept, dropped = bench.kept()
    assert bench.records == golden.write_records(*kept).tolist()
    for channel in range(CHANNELS):
        assert await bench.read("in_dead_time", channel) == dropped[channel]
    await bench.check_registers(golden.parse_records(bench.records))
    assert len(bench.edges) == len(kept[0])


@cocotb.test()
async def an_edge_in_every_sample_is_kept(dut):
    bench = await begin(dut, first_tick=1000)
    await bench.configure()
    await bench.write("control", 1)
    await bench.random_words(40, 1.1)
    await bench.flush()
    kept, _ = bench.kept()
    assert len(kept[0]) == 39 * CHANNELS * SAMPLES
    assert bench.records == golden.write_records(*kept).tolist()


@cocotb.test()
async def one_tag_per_clock_leaves_without_a_gap(dut):
    bench = await begin(dut, first_tick=1000)
    await bench.configure(select=[3] + [0] * (CHANNELS - 1))
    await bench.write("control", 1)
    await bench.square(300)
    await bench.flush()
    tags = bench.taken_at[1:]
    assert len(tags) == 300 and tags[-1] - tags[0] == 299


@cocotb.test()
async def a_stalled_reader_loses_what_is_reported(dut):
    bench = await begin(dut, first_tick=1000)
    await bench.configure(**random_settings(bench.rng))
    await bench.write("control", 1)
    for ready in (0.2, 0.0, 0.5, 0.05):
        bench.ready = ready
        await bench.random_words(500, 0.4 / (CHANNELS * SAMPLES))
    await bench.random_words(200, 0)
    await bench.flush()
    kept, _ = bench.kept()
    await bench.check_registers(golden.audit(bench.records, *kept))


@cocotb.test()
async def a_full_record_buffer_is_marked_and_counted(dut):
    bench = await begin(dut, first_tick=1000)
    await bench.configure()
    await bench.write("control", 1)
    bench.drain = 0.1
    await bench.random_words(3000, 0.5 / (CHANNELS * SAMPLES))
    await bench.flush()
    kept, _ = bench.kept()
    parsed = golden.audit(bench.records, *kept)
    await bench.check_registers(parsed)
    begins = [mark for mark in parsed.marks if mark[0] is TagKind.OVERFLOW_BEGIN]
    assert parsed.lost(LossCause.BURST) == 0
    assert 2 <= len(begins)
    # Hysteresis: between two overflows lies a stretch of the buffer, not single tags.
    stretches = np.diff([position for _, position, _ in begins])
    assert stretches.min() >= DEPTH // 8
    assert bench.highest < DEPTH
    flags = TaggerFlags.const({"buffer_overflow": 1, "burst_overflow": 0}).as_bits()
    assert await bench.read("flags") == flags
    assert await bench.read("flag_counts", 0) == len(begins)


@cocotb.test()
async def a_full_row_queue_is_counted(dut):
    bench = await begin(dut, first_tick=1000)
    await bench.configure()
    await bench.write("control", 1)
    await bench.random_words(1500, min(1.1, 4 / (CHANNELS * SAMPLES)))
    await bench.random_words(100, 0.4 / (CHANNELS * SAMPLES))
    await bench.flush()
    kept, _ = bench.kept()
    parsed = golden.audit(bench.records, *kept)
    if CHANNELS * SAMPLES > 1:
        assert parsed.lost(LossCause.BURST) > 0
    assert parsed.lost(LossCause.BUFFER) == 0
    await bench.check_registers(parsed)


@cocotb.test()
async def both_queues_overflow_at_once(dut):
    bench = await begin(dut, first_tick=(1 << 40) - 1000)
    await bench.configure(delay=bench.rng.integers(-(1 << 23), 1 << 23, CHANNELS).tolist())
    await bench.write("control", 1)
    for ready, drain, probability in ((1, 0.3, 0.5), (0.5, 0.02, 0.9), (1, 1, 0.01),
                                      (0.3, 0.2, 0.5)):
        bench.ready, bench.drain = ready, drain
        await bench.random_words(400, probability)
    await bench.flush()
    kept, _ = bench.kept()
    await bench.check_registers(golden.audit(bench.records, *kept))


@cocotb.test()
async def reset_in_the_middle_leaves_nothing(dut):
    bench = await begin(dut, first_tick=1000)
    await bench.configure()
    await bench.write("control", 1)
    bench.drain = 0.2
    await bench.random_words(400, 0.5)
    await bench.reset()
    bench.drain = 1.0
    await bench.flush()
    assert bench.records == [] and bench.edges == []
    await bench.configure(dead_time=[300] * CHANNELS)
    await bench.write("control", 1)
    await bench.random_words(300, 0.3 / (CHANNELS * SAMPLES))
    await bench.flush()
    kept, _ = bench.kept()
    assert bench.records == golden.write_records(*kept).tolist()


@cocotb.test()
async def every_run_is_flushed_and_starts_with_an_epoch(dut):
    bench = await begin(dut, first_tick=5 << 40)
    await bench.configure(**random_settings(bench.rng))
    before, expected = 0, []
    for _ in range(4):
        await bench.write("control", 1)
        await bench.random_words(60, 0.8 / (CHANNELS * SAMPLES))
        await bench.write("control", 0)
        await bench.random_words(30, 0.3)
        kept, _ = bench.kept()
        expected += golden.write_records(*(column[before:] for column in kept)).tolist()
        before = len(kept[0])
    await bench.flush()
    assert bench.records == expected
    await bench.check_registers(golden.parse_records(bench.records))


@cocotb.test()
async def rates_count_whole_gates(dut):
    bench = await begin(dut)
    await bench.configure()
    await bench.write("control", 1)
    for gate in (100, 7, 1):
        await bench.write("rate_gate", gate)
        await bench.square(250)
        bench.dut.csr__address.value = REGISTERS["rate"][0]
        bench.dut.csr__read.value = 1
        await bench.square(1)
        bench.dut.csr__read.value = 0
        while bench.dut.csr__done.value == 0:
            await bench.square(1)
        assert int(bench.dut.csr__r_data.value) == gate


@cocotb.test()
async def clear_zeroes_the_counts(dut):
    bench = await begin(dut)
    await bench.configure(dead_time=[100000] * CHANNELS)
    await bench.write("control", 1)
    await bench.random_words(200, 0.5)
    await bench.write("control", 0)
    await bench.flush()
    await bench.write("clear", 1)
    for name in ("recorded", "lost_burst", "lost_buffer"):
        assert await bench.read(name) == 0
    for channel in range(CHANNELS):
        assert await bench.read("seen", channel) == 0
        assert await bench.read("in_dead_time", channel) == 0
