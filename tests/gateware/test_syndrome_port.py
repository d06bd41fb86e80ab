"""Rounds that SYN puts together, and the erasures that go with them."""

from amaranth.sim import Simulator

from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.gateware.layouts.instructions import Op
from quantacore.gateware.sequencer.syndrome import SyndromePort
from quantacore.sim.golden.sequencer import encode


def rounds(commands, *, sites, run_ticks=3):
    """Rounds that come of ``(word, a, b, erased)``, one in each tick: values of their fields."""
    port = SyndromePort(DecoderShape(
        space_bits=3, capacity=16, correlation=False, sites=sites))
    found = []

    async def bench(ctx):
        for word, a, b, erased in [*commands, *[(0, 0, 0, 0xFF)] * run_ticks]:
            ctx.set(port.commands.valid, int(word != 0))
            ctx.set(port.commands.payload, {"word": word, "a": a, "b": b})
            ctx.set(port.erased, erased)
            await ctx.tick()
            if ctx.get(port.rounds.valid):
                round_ = ctx.get(port.rounds.payload)
                found.append((round_.number, int(round_.bits[0]), int(round_.bits[1]),
                              int(round_.erased)))

    simulator = Simulator(port)
    simulator.add_clock(8e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def syn(**flags):
    return encode(Op.SYN, dwell=1, **flags)


def test_erasures_are_those_of_the_tick_of_the_command():
    assert rounds([(syn(push=1, first=1, erasures=1), 5, 6, 0b1010_0101),
                   (syn(push=1, erasures=1), 1, 2, 0b0000_0011)], sites=8) == [
        (0, 5, 6, 0b1010_0101), (1, 1, 2, 0b0000_0011)]


def test_without_erasures_nothing_is_erased():
    assert rounds([(syn(push=1, first=1, erasures=1), 5, 6, 0xFF), (syn(push=1), 1, 2, 0xFF)],
                  sites=8) == [(0, 5, 6, 0xFF), (1, 1, 2, 0)]


def test_every_syn_of_a_round_may_add_its_own():
    assert rounds([(syn(first=1, erasures=1), 7, 7, 0b0001), (syn(), 7, 7, 0b1000),
                   (syn(push=1, first=1, erasures=1), 5, 6, 0b0010), (syn(push=1), 0, 0, 0)],
                  sites=8) == [(0, 5, 6, 0b0011), (1, 0, 0, 0)]


def test_a_decoder_with_few_sites_takes_the_first():
    assert rounds([(syn(push=1, first=1, erasures=1), 5, 6, 0xFF)], sites=3) == [(0, 5, 6, 7)]


def test_a_decoder_with_many_sites_has_the_others_whole():
    assert rounds([(syn(push=1, first=1, erasures=1), 5, 6, 0xFF)], sites=40) == [(0, 5, 6, 0xFF)]


def test_a_decoder_without_sites_takes_none():
    assert rounds([(syn(push=1, first=1, erasures=1), 5, 6, 0xFF)], sites=0) == [(0, 5, 6, 0)]
