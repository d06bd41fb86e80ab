"""The ULX3S: front ends, and pins that are used once."""

import pytest
from amaranth.lib import io
from amaranth.sim import Simulator

from quantacore.boards import ulx3s


def test_front_end_refuses_other_rates():
    with pytest.raises(ValueError, match=r"^This front end takes 1 or 2 samples a clock, not 4$"):
        ulx3s.FrontEnd(io.SimulationPort("i", 1), samples=4)


def test_one_sample_a_clock_comes_after_two_flip_flops():
    port = io.SimulationPort("i", 3)
    front = ulx3s.FrontEnd(port, samples=1)
    simulator = Simulator(front)
    simulator.add_clock(8e-9)

    async def testbench(ctx):
        ctx.set(port.i, 0b101)
        await ctx.tick()
        assert [ctx.get(level) for level in front.levels] == [0, 0, 0]
        await ctx.tick()
        assert [ctx.get(level) for level in front.levels] == [1, 0, 1]

    simulator.add_testbench(testbench)
    simulator.run()


def test_every_pin_is_used_once():
    pins = []

    def collect(ios):
        for one in ios:
            if hasattr(one, "names"):
                pins.extend(one.names)
            elif hasattr(one, "ios"):
                collect(one.ios)

    collect(ulx3s.ULX3S85F.resources)
    assert len(pins) == 1 + 1 + 2 + 8 + 1 + 1 + 4 + 2
    assert len(pins) == len(set(pins))
