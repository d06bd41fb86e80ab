"""Parts of the virtual channels; as a whole they are tested in tests/cosim."""

import re

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.herald.histogram import Histogram
from quantacore.gateware.herald.sorter import Sorter
from quantacore.gateware.herald.tagger import Tagger
from quantacore.gateware.herald.virtual import EdgeMerge, Virtual
from quantacore.gateware.layouts.tagger import HISTOGRAM, HistogramControl, HistogramMode
from quantacore.gateware.layouts.virtual import FIRST_VIRTUAL, VIRTUAL, VirtualChannel
from quantacore.gateware.stream import connect_streams


@pytest.mark.parametrize("depth, error, text", [
    ("8", TypeError, "Sorter depth must be an integer, not '8'"),
    (2, ValueError, "Sorter depth must be a power of two from 4 up, not 2"),
    (48, ValueError, "Sorter depth must be a power of two from 4 up, not 48"),
])
def test_bad_depths_are_refused(depth, error, text):
    for block in (Sorter, Virtual):
        with pytest.raises(error, match=f"^{re.escape(text)}$"):
            block(depth=depth)


def test_it_fits_between_tagger_and_histogram():
    m = Module()
    tagger = Tagger(channels=2, samples=1, fine=False, row_depth=16, buffer_depth=16)
    virtual, histogram = Virtual(depth=4), Histogram()
    connect_streams(m, tagger.edges, virtual.edges)
    connect_streams(m, tagger.records, virtual.i)
    connect_streams(m, virtual.merged, histogram.edges)
    assert virtual.records.signature == tagger.records.signature


def simulate(component, *testbenches):
    simulator = Simulator(component)
    simulator.add_clock(8e-9)
    for testbench in testbenches:
        simulator.add_testbench(testbench, background=testbench is not testbenches[0])
    simulator.run()


def test_two_edges_in_one_clock_both_come_out():
    merge = EdgeMerge()
    seen = []

    async def testbench(ctx):
        ctx.set(merge.others.payload, Edge.const({"tick": 5, "channel": 32}))
        ctx.set(merge.others.valid, 1)
        for tick in (7, 8):
            ctx.set(merge.i.payload, Edge.const({"tick": tick, "channel": 1}))
            ctx.set(merge.i.valid, 1)
            assert not ctx.get(merge.others.ready)
            await ctx.tick()
        ctx.set(merge.i.valid, 0)
        assert ctx.get(merge.others.ready)
        await ctx.tick()
        ctx.set(merge.others.valid, 0)
        await ctx.tick().repeat(2)

    async def watch(ctx):
        async for _, _, valid, edge in ctx.tick().sample(merge.o.valid, merge.o.payload):
            if valid:
                seen.append((edge.channel, edge.tick))

    simulate(merge, testbench, watch)
    assert seen == [(1, 7), (1, 8), (32, 5)]


class _Joined(wiring.Component):
    """Virtual channels, and the histogram behind them."""

    edges: In(stream.Signature(Edge, always_ready=True))
    tick: Out(64)

    def __init__(self):
        super().__init__()
        self.virtual, self.histogram = Virtual(depth=8), Histogram(queue_depth=16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.virtual = virtual = self.virtual
        m.submodules.histogram = histogram = self.histogram
        connect_streams(m, wiring.flipped(self.edges), virtual.edges)
        connect_streams(m, virtual.merged, histogram.edges)
        m.d.sync += self.tick.eq(self.tick + 1)
        m.d.comb += [virtual.tick.eq(self.tick), histogram.tick.eq(self.tick)]
        return m


@pytest.mark.parametrize("start, stop, difference", [
    (4, FIRST_VIRTUAL + 2, 30), (FIRST_VIRTUAL + 2, 4, -30)])
def test_histogram_takes_a_virtual_channel(start, stop, difference):
    """Channel 4, then a coincidence of 0 and 1, 30 fine units later."""
    joined = _Joined()

    async def access(ctx, csr, block, name, value=None, index=0):
        offset = next(at for at, register in block.offsets() if register.name == name)
        ctx.set(csr.address, offset + index)
        strobe = csr.read if value is None else csr.write
        ctx.set(csr.w_data, value or 0)
        ctx.set(strobe, 1)
        await ctx.tick()
        ctx.set(strobe, 0)
        while not ctx.get(csr.done):
            await ctx.tick()
        word = ctx.get(csr.r_data)
        await ctx.tick()
        return word

    async def testbench(ctx):
        virtual, histogram = joined.virtual.csr, joined.histogram.csr
        await access(ctx, virtual, VIRTUAL, "hold", 32)
        await access(ctx, virtual, VIRTUAL, "window", 100, index=2)
        await access(ctx, virtual, VIRTUAL, "channels", VirtualChannel.const(
            {"enable": 1, "detectors": 0b11}).as_bits(), index=2)
        await access(ctx, histogram, HISTOGRAM, "control", HistogramControl.const(
            {"run": 1, "mode": HistogramMode.ALL_PAIRS, "start_channel": start,
             "stop_channel": stop}).as_bits())
        tick = ctx.get(joined.tick)
        for fine, channel in ((50, 4), (20, 0), (80, 1)):
            ctx.set(joined.edges.payload,
                    Edge.const({"tick": tick, "fine": fine, "channel": channel}))
            ctx.set(joined.edges.valid, 1)
            await ctx.tick()
        ctx.set(joined.edges.valid, 0)
        await ctx.tick().repeat(300)
        assert await access(ctx, histogram, HISTOGRAM, "pairs") == 1
        bins = next(register.depth for register in HISTOGRAM.registers if register.name == "bins")
        assert await access(ctx, histogram, HISTOGRAM, "bins", index=bins // 2 + difference) == 1

    simulate(joined, testbench)
