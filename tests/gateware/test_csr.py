"""Register banks and the decoder: construction, and what each kind of register does."""

import re

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from quantacore.gateware.csr import LATENCY, CsrDecoder, CsrSignature, RegisterBank
from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import Access, Block, Memory, Register, RegisterMap

ONE = Block(name="one", doc="", registers=(Register(name="only", shape=7, init=0x55, doc=""),))
TWO = Block(name="two", doc="", registers=(
    Register(name="wide", shape=64, doc=""),
    Register(name="other", shape=64, doc=""),
    Register(name="now", shape=64, access=Access.READ_ONLY, doc=""),
    Register(name="go", shape=4, access=Access.WRITE_ONLY, doc=""),
    Register(name="flags", shape=4, access=Access.CLEAR_BY_ONE, doc="")))


class System(wiring.Component):
    bus: In(CsrSignature(16))

    def __init__(self, *blocks):
        self.map = RegisterMap(blocks=blocks)
        self.banks = {block.name: RegisterBank(block) for block in blocks}
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CsrDecoder(self.map)
        wiring.connect(m, wiring.flipped(self.bus), decoder.bus)
        for name, bank in self.banks.items():
            m.submodules[name] = bank
            wiring.connect(m, getattr(decoder, name), bank.bus)
        return m


async def request(ctx, bus, address, word=None):
    """One transaction; ``(status, word, clocks from request to done)``."""
    strobe = bus.read if word is None else bus.write
    ctx.set(strobe, 1)
    ctx.set(bus.address, address)
    ctx.set(bus.w_data, word or 0)
    await ctx.tick()
    ctx.set(strobe, 0)
    clocks = 1
    while not ctx.get(bus.done):
        assert clocks < 10, "no answer"
        await ctx.tick()
        clocks += 1
    return ctx.get(bus.status), ctx.get(bus.r_data), clocks


def run(system, testbench):
    simulator = Simulator(system)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def test_bank_needs_a_block():
    with pytest.raises(TypeError, match=r"^Register bank must be made from a Block, not 3$"):
        RegisterBank(3)


def test_decoder_needs_a_map():
    with pytest.raises(TypeError, match=r"^Decoder must be made from a RegisterMap, not 'x'$"):
        CsrDecoder("x")


def test_map_larger_than_the_bus_is_refused():
    big = Block(name="big", doc="", registers=(Memory(name="m", depth=1 << 17, doc=""),))
    with pytest.raises(ValueError, match=re.escape("The map needs 17 address bits, and the bus "
                                                   "has 16; make memories smaller")):
        CsrDecoder(RegisterMap(blocks=(big,)))


def test_signatures_compare_by_width():
    assert CsrSignature(4) == CsrSignature(4)
    assert CsrSignature(4) != CsrSignature(5)
    assert repr(CsrSignature(4)) == "CsrSignature(4)"


@pytest.mark.parametrize("block", NODE_MAP.blocks, ids=lambda block: block.name)
def test_every_block_of_the_node_has_a_bank(block):
    bank = RegisterBank(block)
    for register in block.registers:
        suffix = "_data" if isinstance(register, Memory) else ""
        assert hasattr(bank, register.name + suffix)


def test_done_comes_after_latency():
    system = System(ONE, TWO)

    async def testbench(ctx):
        for address in (0, 1, 2, 17, 0xFFFF):
            assert (await request(ctx, system.bus, address))[2] == LATENCY

    run(system, testbench)


def test_block_of_one_word_at_an_odd_address():
    system = System(ONE, Block(name="next", doc="", registers=(
        Register(name="only", init=3, doc=""),)), TWO)

    async def testbench(ctx):
        assert (await request(ctx, system.bus, 0))[:2] == (Status.ACK, 0x55)
        assert (await request(ctx, system.bus, 1))[:2] == (Status.ACK, 3)
        assert (await request(ctx, system.bus, 2))[0] == Status.UNMAPPED

    run(system, testbench)


def test_write_takes_effect_with_the_high_word():
    system = System(TWO)

    async def testbench(ctx):
        await request(ctx, system.bus, 0, 0x11111111)
        assert ctx.get(system.banks["two"].wide) == 0
        await request(ctx, system.bus, 1, 0x22222222)
        assert ctx.get(system.banks["two"].wide) == 0x22222222_11111111

    run(system, testbench)


def test_halves_of_two_registers_do_not_mix():
    system = System(TWO)

    async def testbench(ctx):
        for address, word in ((0, 1), (2, 3), (3, 4), (1, 2)):
            await request(ctx, system.bus, address, word)
        assert ctx.get(system.banks["two"].wide) == 2 << 32 | 1
        assert ctx.get(system.banks["two"].other) == 4 << 32 | 3

    run(system, testbench)


def test_high_word_after_its_low_word_is_the_copy():
    system = System(TWO)

    async def testbench(ctx):
        now = system.banks["two"].now
        ctx.set(now, 1 << 32 | 2)
        assert (await request(ctx, system.bus, 4))[1] == 2
        ctx.set(now, 3 << 32 | 4)
        assert (await request(ctx, system.bus, 5))[1] == 1

    run(system, testbench)


def test_high_word_alone_is_as_it_stands():
    system = System(TWO)

    async def testbench(ctx):
        now = system.banks["two"].now
        ctx.set(now, 1 << 32 | 2)
        await request(ctx, system.bus, 4)
        await request(ctx, system.bus, 0)
        ctx.set(now, 3 << 32 | 4)
        assert (await request(ctx, system.bus, 5))[1] == 3

    run(system, testbench)


def test_refusals_say_why():
    system = System(TWO)

    async def testbench(ctx):
        assert (await request(ctx, system.bus, 4, 1))[0] == Status.READ_ONLY
        assert (await request(ctx, system.bus, 6))[:2] == (Status.WRITE_ONLY, 0)
        assert (await request(ctx, system.bus, 7, 1))[0] == Status.ACK
        assert (await request(ctx, system.bus, 9))[:2] == (Status.UNMAPPED, 0)

    run(system, testbench)


def test_strobes_last_one_clock():
    system = System(TWO)
    bank = system.banks["two"]
    seen = {"wide": 0, "go": 0, "clear": 0}

    async def watch(ctx):
        async for _clk, _rst, wide, go, clear in ctx.tick().sample(
                bank.wide_written, bank.go_written, bank.flags_clear):
            seen["wide"] += wide
            seen["go"] += go
            seen["clear"] += clear

    async def testbench(ctx):
        for address in (0, 1):
            await request(ctx, system.bus, address, 1)
        await request(ctx, system.bus, 6, 5)
        await request(ctx, system.bus, 7, 0b100)
        await ctx.tick().repeat(4)

    simulator = Simulator(system)
    simulator.add_clock(8e-9)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen == {"wide": 1, "go": 1, "clear": 0b100}
