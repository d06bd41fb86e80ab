"""Place and route by wheels, on a design of a few cells."""

import json

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from quantacore.boards import ecp5
from quantacore.boards.ecp5 import ShiftWrapper, ToolFailed, place_and_route


class Counter(wiring.Component):
    """A block with wide ports, and a stream that is always ready."""

    step: In(6)
    i: In(stream.Signature(4, always_ready=True))
    count: Out(24)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.i.valid):
            m.d.sync += self.count.eq(self.count + self.step + self.i.payload)
        return m


def place(component, folder, **options):
    # The smallest part loads in seconds.
    return place_and_route(component, "small", folder=folder, device="12k", seeds=(1,), **options)


def test_wrapper_needs_a_component():
    with pytest.raises(TypeError, match=r"^ShiftWrapper needs a component, not 3$"):
        ShiftWrapper(3)


def test_wrapper_passes_everything_through():
    wrapper = ShiftWrapper(Counter())
    simulator = Simulator(wrapper)
    simulator.add_clock(8e-9)

    async def testbench(ctx):
        ports = [(port, {6: 5, 4: 2, 1: 1}[len(port)]) for port in wrapper._ports(In)]
        bits = [value >> i & 1 for port, value in ports for i in range(len(port))]
        assert len(bits) == 6 + 4 + 1
        for bit in reversed(bits):  # the first bit goes furthest
            ctx.set(wrapper.i, bit)
            await ctx.tick()
        assert [ctx.get(port) for port, _value in ports] == [value for _port, value in ports]
        before = ctx.get(wrapper.block.count)
        await ctx.tick()
        assert ctx.get(wrapper.block.count) == before + 5 + 2
        ctx.set(wrapper.load, 1)  # the output registers are a clock behind
        await ctx.tick()
        ctx.set(wrapper.load, 0)
        out = 0
        for _ in range(24):
            out = out << 1 | ctx.get(wrapper.o)
            await ctx.tick()
        assert out == before

    simulator.add_testbench(testbench)
    simulator.run()


def test_block_is_counted_without_its_wrapper(tmp_path):
    placed = place(ShiftWrapper(Counter()), tmp_path)
    assert placed.dff == 24
    assert placed.bram == placed.dsp == 0
    assert 24 <= placed.lut4 <= 80
    assert placed.met and placed.fmax_hz > 125e6


def test_answer_is_kept(tmp_path, monkeypatch):
    first = place(ShiftWrapper(Counter()), tmp_path)

    def never(*_arguments, **_words):
        raise AssertionError("ran a tool again")

    monkeypatch.setattr(ecp5, "_run", never)
    assert place(ShiftWrapper(Counter()), tmp_path) == first


def test_missed_clock_is_not_met(tmp_path):
    placed = place(ShiftWrapper(Counter()), tmp_path, target_hz=2_000_000_000)
    assert not placed.met
    assert 0 < placed.fmax_hz < 2e9


@pytest.fixture
def router(monkeypatch):
    """Stands for the tools: ``router(plain, torn)`` sets what each way of routing reaches, in
    MHz; returns the list of runs."""
    def install(plain, torn):
        runs = []

        def run(command, folder, _log, enough=None):
            again = "--tmg-ripup" in command
            runs.append("torn" if again else "plain")
            reached = torn if again else plain
            report = folder / command[command.index("--report") + 1]
            report.write_text(json.dumps({"fmax": {"clk": {"achieved": reached}}}))
            return int(reached < 125), ""

        monkeypatch.setattr(ecp5, "_run", run)
        monkeypatch.setattr(ecp5, "_synthesised", lambda *_arguments: {
            "lut4": 1, "dff": 1, "bram": 0, "dsp": 0})
        return runs

    return install


def test_near_miss_is_routed_harder(tmp_path, router):
    runs = router(plain=115.0, torn=125.5)
    placed = place_and_route(ShiftWrapper(Counter()), "small", folder=tmp_path)
    assert runs == ["plain", "torn"]
    assert placed.met and placed.fmax_hz == 125.5e6


def test_wide_miss_is_not_routed_harder(tmp_path, router):
    runs = router(plain=80.0, torn=125.5)
    placed = place_and_route(ShiftWrapper(Counter()), "small", folder=tmp_path, seeds=(1, 2))
    assert runs == ["plain", "plain"]
    assert not placed.met and placed.fmax_hz == 80e6


def test_best_of_all_tries_counts(tmp_path, router):
    router(plain=118.0, torn=117.0)
    placed = place_and_route(ShiftWrapper(Counter()), "small", folder=tmp_path, seeds=(1, 2))
    assert not placed.met and placed.fmax_hz == 118e6 and placed.seed == 1


def test_tool_is_ended_when_its_log_says_enough(tmp_path):
    command = ["sh", "-c", "echo round 1; exec sleep 60"]
    code, end = ecp5._run(command, tmp_path, "log", enough=lambda log: "round" in log)
    assert code != 0 and end == "round 1\n"


def test_design_that_does_not_fit_says_so(tmp_path):
    class Wide(wiring.Component):
        i: In(300)
        o: Out(300)

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.o.eq(~self.i)
            return m

    with pytest.raises(ToolFailed, match="nextpnr does not place small"):
        place(Wide(), tmp_path)


def test_missing_tool_says_how_to_get_it():
    with pytest.raises(ToolFailed, match=r"needs no-such-tool: pip install 'quantacore\[boards\]'"):
        ecp5.tool("no-such-tool")
