"""Queues, and connections that compare shapes."""

import pytest
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from quantacore.gateware.stream import Queue, connect_streams


class Here(data.Struct):
    x: 8
    y: 8


class There(data.Struct):
    y: 8
    x: 8


class Port(wiring.Component):
    def __init__(self, flow, shape, **kwargs):
        super().__init__({"s": flow(stream.Signature(shape, **kwargs))})

    def elaborate(self, platform):
        return Module()


def test_equal_shapes_connect():
    connect_streams(Module(), Port(Out, Here).s, Port(In, Here).s)


def test_other_structure_of_the_same_width_is_refused():
    with pytest.raises(TypeError, match=r"^Can't connect a stream of .*Here.* to one of .*There"):
        connect_streams(Module(), Port(Out, Here).s, Port(In, There).s)


def test_always_ready_sink_is_another_signature():
    with pytest.raises(TypeError, match="^Can't connect a stream"):
        connect_streams(Module(), Port(Out, 8).s, Port(In, 8, always_ready=True).s)


@pytest.mark.parametrize("depth, error, message", [
    (1, ValueError, "Queue depth must be at least 2, not 1"),
    ("8", TypeError, "Queue depth must be an integer, not '8'"),
])
def test_queue_checks_its_depth(depth, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        Queue(8, depth=depth)


def run_queue(queue, testbench):
    simulator = Simulator(queue)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def test_queue_keeps_order_and_counts():
    queue = Queue(Here, depth=4)

    async def testbench(ctx):
        sent = 0
        ctx.set(queue.i.valid, 1)
        for _ in range(12):  # nobody takes anything: it fills and stops
            ctx.set(queue.i.payload, {"x": sent, "y": 255 - sent})
            ready = ctx.get(queue.i.ready)
            await ctx.tick()
            sent += ready
        assert sent == ctx.get(queue.level) == 4
        ctx.set(queue.i.valid, 0)
        ctx.set(queue.o.ready, 1)
        for expected in range(4):
            assert ctx.get(queue.o.valid)
            assert ctx.get(queue.o.payload.x) == expected
            assert ctx.get(queue.o.payload.y) == 255 - expected
            await ctx.tick()
        assert not ctx.get(queue.o.valid)
        assert ctx.get(queue.level) == 0

    run_queue(queue, testbench)


def test_queue_latency_and_throughput():
    queue = Queue(16, depth=8)

    async def testbench(ctx):
        ctx.set(queue.i.valid, 1)
        ctx.set(queue.o.ready, 1)
        received = []
        for clock in range(20):
            ctx.set(queue.i.payload, clock)
            assert ctx.get(queue.i.ready)
            if ctx.get(queue.o.valid):
                received.append((clock, ctx.get(queue.o.payload)))
            await ctx.tick()
        assert received == [(sent + 2, sent) for sent in range(18)]

    run_queue(queue, testbench)
