"""The histogram as Verilog against its golden model."""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.layouts.tagger import HISTOGRAM, HISTOGRAM_BINS, HistogramControl
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.csr_bus import access_register
from quantacore.sim.golden import histogram as golden

LARGEST = (1 << int(os.environ["QC_COUNT_BITS"])) - 1
QUEUE_DEPTH = int(os.environ["QC_QUEUE_DEPTH"])
REGISTERS = {register.name: (offset, register) for offset, register in HISTOGRAM.offsets()}
START, STOP = 1, 4


class Bench:
    """Drives edges and the register bus."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = np.random.default_rng(random.getrandbits(64))

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 8, unit="ns").start())
        for name in ("csr__read", "csr__write", "csr__address", "csr__w_data", "tick",
                     "edges__valid", "edges__payload"):
            getattr(self.dut, name).value = 0
        await self.reset()

    async def reset(self):
        self.dut.rst.value = 1
        await self.clocks(2)
        self.dut.rst.value = 0

    async def clocks(self, number):
        await ClockCycles(self.dut.clk, number)

    async def write(self, name, value):
        await access_register(self.dut, REGISTERS[name][0], "write", value)

    async def read(self, name, index=0):
        return await access_register(self.dut, REGISTERS[name][0] + index, "read")

    async def clear(self):
        """Block RAM has no reset: it is cleared like this."""
        await self.write("clear", 1)
        await self.clocks(HISTOGRAM_BINS + 60)
        assert await self.read("busy") == 0

    async def control(self, **fields):
        self.settings = {"run": 1, "start_channel": START, "stop_channel": STOP, **fields}
        await self.write("control", HistogramControl.const(self.settings).as_bits())

    async def bins(self, expected):
        """The bins that should not be empty and a few others; the rest by their sum."""
        bins = np.zeros(HISTOGRAM_BINS, int)
        for index in {*np.flatnonzero(expected).tolist(),
                      *self.rng.integers(0, HISTOGRAM_BINS, 50).tolist()}:
            bins[index] = await self.read("bins", index)
        assert await self.read("pairs") == bins.sum()
        return bins

    async def put(self, times, channels, gaps):
        """Each edge, with ``gaps`` clocks to the next."""
        for time, channel, gap in zip(times.tolist(), channels.tolist(), gaps.tolist(),
                                      strict=True):
            self.dut.edges__payload.value = Edge.const(
                {"fine": time & 8191, "tick": time >> 13, "channel": channel}).as_bits()
            self.dut.edges__valid.value = 1
            await self.clocks(1)
            self.dut.edges__valid.value = 0
            if gap > 1:
                await self.clocks(gap - 1)

    async def settle(self):
        await self.clocks(40 * QUEUE_DEPTH)

    def edges(self, number, mean_ticks, *, skew=0, start=1 << 50):
        """Random edges of three channels; start edges come with times ``skew`` later."""
        raw = start + np.cumsum(self.rng.exponential(mean_ticks * 8192, number).astype(int) + 1)
        channels = self.rng.choice([START, STOP, 6], number)
        return raw + skew * (channels == START), channels

    async def compare(self, times, channels):
        """Bins and counters are the golden model's; nothing was lost."""
        starts = times[channels == self.settings["start_channel"]]
        stops = times[channels == self.settings["stop_channel"]]
        same = self.settings["start_channel"] == self.settings["stop_channel"]
        model = golden.all_pairs if self.settings["mode"] else golden.start_stop
        expected = model(starts, stops, bin_shift=self.settings["bin_shift"], same=same)
        expected = np.minimum(expected, LARGEST)
        bins = await self.bins(expected)
        assert np.flatnonzero(bins != expected).tolist() == []
        assert await self.read("starts") == len(starts)
        assert await self.read("stops") == len(stops)
        assert await self.read("edges_lost") == 0
        return bins


async def begin(dut):
    cocotb.log.info("seed %#x", seed_from_environment())
    bench = Bench(dut)
    await bench.start()
    await bench.clear()
    return bench


CASES = {
    "start_stop": {"mode": 0, "bin_shift": 11, "skew": 0},
    "start_stop_with_stops_that_come_early": {"mode": 0, "bin_shift": 10, "skew": -3000000},
    "start_stop_with_starts_that_come_early": {"mode": 0, "bin_shift": 10, "skew": 3000000},
    "all_pairs": {"mode": 1, "bin_shift": 11, "skew": 0},
    "all_pairs_with_skewed_edges": {"mode": 1, "bin_shift": 9, "skew": 2000000},
    "autocorrelation": {"mode": 1, "bin_shift": 9, "skew": 0, "stop_channel": START},
    "start_stop_of_one_channel": {"mode": 0, "bin_shift": 9, "skew": 0, "stop_channel": START},
    "widest_bins": {"mode": 1, "bin_shift": 31, "skew": 0, "mean_ticks": 5e7},
    "narrowest_bins": {"mode": 1, "bin_shift": 0, "skew": 0, "mean_ticks": 0.05},
}


def _case(name, skew, mean_ticks=200.0, **fields):
    async def test(dut):
        bench = await begin(dut)
        await bench.control(**fields)
        times, channels = bench.edges(500, mean_ticks, skew=skew)
        await bench.put(times, channels, np.full(500, 40))
        await bench.settle()
        bins = await bench.compare(times, channels)
        assert bins.sum() > 10
        assert await bench.read("pairs_lost") == 0 or "one" in name or "auto" in name

    test.__name__ = test.__qualname__ = name
    return cocotb.test(test)


for _name, _fields in CASES.items():
    globals()[_name] = _case(_name, **_fields)


@cocotb.test()
async def differences_of_either_sign_and_the_limits_of_the_range(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=4)
    at = 1 << 40
    for tau in (0, -1, 1, 15, 16, -16, -17, 2048 * 16 - 1, 2048 * 16, -2048 * 16, -2048 * 16 - 1):
        times, channels = np.array([at, at + tau]), np.array([START, STOP])
        order = np.argsort(times, kind="stable")
        await bench.put(times[order], channels[order], np.array([3, 60]))
        at += 1 << 20
    await bench.settle()
    expected = np.zeros(HISTOGRAM_BINS, int)
    expected[[2048, 2047, 2049, 2046, 4095, 0]] = (3, 2, 1, 1, 1, 1)
    assert (await bench.bins(expected)).tolist() == expected.tolist()


@cocotb.test()
async def the_same_bin_again_and_again(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=31)
    times = (1 << 40) + np.arange(16) * 8
    channels = np.array([STOP] * 15 + [START])
    await bench.put(times, channels, np.full(16, 40))
    await bench.settle()
    assert await bench.read("bins", 2047) == 15 == await bench.read("pairs")


@cocotb.test()
async def bins_stop_at_the_largest_number(dut):
    if LARGEST > 100:
        return  # the small build shows it
    bench = await begin(dut)
    await bench.control(mode=0, bin_shift=31)
    times = (1 << 40) + np.arange(80) * 8192
    channels = np.where(np.arange(80) % 2, STOP, START)
    await bench.put(times, channels, np.full(80, 30))
    await bench.settle()
    assert await bench.read("bins", 0) == LARGEST
    assert await bench.read("pairs") == LARGEST
    assert await bench.read("flags") == 0b100


@cocotb.test()
async def a_burst_beyond_the_queue_is_counted(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=0)
    number = QUEUE_DEPTH + 200
    times = (1 << 40) + np.arange(number) * 8192
    await bench.put(times, np.full(number, START), np.ones(number, int))
    await bench.settle()
    assert await bench.read("starts") == number
    lost = await bench.read("edges_lost")
    assert 0 < lost < 200
    assert await bench.read("flags") & 1
    assert await bench.read("flag_counts", 0) == lost


@cocotb.test()
async def forgotten_partners_are_counted(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=31)
    times = (1 << 40) + np.arange(21) * 8192
    channels = np.array([START] * 20 + [STOP])
    await bench.put(times, channels, np.full(21, 40))
    await bench.settle()
    assert await bench.read("pairs_lost") == 4
    assert await bench.read("pairs") + (await bench.read("flag_counts", 2)) == 16
    assert await bench.read("flags") & 2


@cocotb.test()
async def clear_while_running_starts_anew(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=12)
    times, channels = bench.edges(200, 100)
    await bench.put(times, channels, np.full(200, 15))
    await bench.write("clear", 1)
    assert await bench.read("busy") == 1
    later, channels_2 = bench.edges(100, 100, start=int(times[-1]))
    await bench.put(later, channels_2, np.full(100, 2))  # ignored
    while await bench.read("busy"):
        pass
    assert (await bench.bins(np.ones(HISTOGRAM_BINS))).sum() == 0
    times, channels = bench.edges(200, 100, start=int(later[-1]))
    await bench.put(times, channels, np.full(200, 40))
    await bench.settle()
    await bench.compare(times, channels)


@cocotb.test()
async def runs_do_not_mix(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=31)
    await bench.put(np.array([1 << 40]), np.array([START]), np.array([1]))
    await bench.control(mode=1, bin_shift=31, run=0)
    await bench.settle()
    await bench.control(mode=1, bin_shift=31)
    await bench.put(np.array([(1 << 40) + 5]), np.array([STOP]), np.array([1]))
    await bench.settle()
    assert await bench.read("pairs") == 0


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = await begin(dut)
    await bench.control(mode=1, bin_shift=12)
    times, channels = bench.edges(100, 100)
    await bench.put(times, channels, np.full(100, 3))
    await bench.reset()
    for name in ("starts", "stops", "pairs", "edges_lost", "busy", "control"):
        assert await bench.read(name) == 0
    await bench.clear()
    await bench.control(mode=1, bin_shift=12)
    times, channels = bench.edges(200, 100)
    await bench.put(times, channels, np.full(200, 40))
    await bench.settle()
    await bench.compare(times, channels)
