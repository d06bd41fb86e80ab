"""The frame check against zlib."""

import random
import zlib

from amaranth.sim import Simulator

from quantacore.gateware.link.crc import CRC32


def crc_of(messages):
    """CRC and match flag behind each message, one byte per clock, started with the first byte."""
    dut, results = CRC32(), []

    async def testbench(ctx):
        for message in messages:
            for k, byte in enumerate(message):
                ctx.set(dut.start, k == 0)
                ctx.set(dut.valid, 1)
                ctx.set(dut.data, byte)
                await ctx.tick()
            ctx.set(dut.valid, 0)
            results.append((ctx.get(dut.crc), ctx.get(dut.match_detected)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return results


def test_equals_zlib():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    messages = [b"123456789", *(rng.randbytes(rng.randint(1, 40)) for _ in range(30))]
    assert [crc for crc, _ in crc_of(messages)] == [zlib.crc32(data) for data in messages]


def test_match_only_behind_the_right_crc():
    body = b"a frame"
    good = body + zlib.crc32(body).to_bytes(4, "little")
    damaged = bytes([good[0] ^ 0x10]) + good[1:]
    assert [match for _, match in crc_of([good, damaged, body, good])] == [1, 0, 0, 1]


def test_start_without_a_byte_begins_anew():
    dut = CRC32()

    async def testbench(ctx):
        ctx.set(dut.valid, 1)
        ctx.set(dut.data, 0x55)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert ctx.get(dut.crc) == 0
        ctx.set(dut.valid, 1)
        ctx.set(dut.data, ord("x"))
        await ctx.tick()
        assert ctx.get(dut.crc) == zlib.crc32(b"x")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
