"""COBS, the record ring and the receiver in Amaranth's simulator; construction errors."""

import random

import pytest
from amaranth.sim import Simulator

from quantacore.gateware.layouts.frames import MAX_FRAME_BYTES, STREAM_RECORDS, Op
from quantacore.gateware.link.cobs import CobsDecoder, CobsEncoder
from quantacore.gateware.link.link import Link
from quantacore.gateware.link.receiver import FrameReceiver
from quantacore.gateware.link.window import FLUSH_TICKS, RecordWindow
from quantacore.sim.golden.framing import Frame, FrameDecoder, cobs_encode, encode


def run(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


def frames(rng, number):
    def one(length):
        zeros = rng.choice((0, 1, 50, 100))
        return bytes(0 if rng.randrange(100) < zeros else rng.randrange(1, 256)
                     for _ in range(length))

    return [one(rng.choice((1, 2, 14, 253, 254))) for _ in range(number)]


def encoded(data, *, stall, seed):
    """What the encoder makes of frames, with a line that stalls."""
    dut = CobsEncoder()
    rng = random.Random(seed)
    got = bytearray()
    total = sum(len(frame) + 2 for frame in data)

    async def drive(ctx):
        for frame in data:
            for i, byte in enumerate(frame):
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.p, {"data": byte, "last": i == len(frame) - 1})
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)

    async def watch(ctx):
        while len(got) < total:
            ctx.set(dut.o.ready, rng.random() >= stall)
            _, _, valid, ready, byte = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                got.append(byte)

    run(dut, drive, watch)
    return bytes(got)


@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_encoder(stall):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed:#x}")
    data = frames(random.Random(seed), 12) + [bytes(range(1, 255)), bytes(254), b"\0"]
    assert encoded(data, stall=stall, seed=seed) == b"".join(
        cobs_encode(frame) + b"\0" for frame in data)


def decoded(data):
    """Frames that the decoder finds; ``None`` is a bad one."""
    dut = CobsDecoder()
    found, current = [], bytearray()

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for byte in [*data, None]:
            ctx.set(dut.i.valid, byte is not None)
            ctx.set(dut.i.payload, byte or 0)
            _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            take(valid, item)
        take(ctx.get(dut.o.valid), ctx.get(dut.o.payload))

    def take(valid, item):
        if valid and item.end:
            found.append(None if item.bad else bytes(current))
            current.clear()
        elif valid:
            current.append(item.data)
            assert len(current) <= MAX_FRAME_BYTES

    run(dut, bench)
    return found


@pytest.mark.parametrize("text, wanted", [
    ("00 00 00", []),
    ("01 00", [b""]),
    ("03 11 22 02 33 00", [bytes.fromhex("11220033")]),
    ("05 11 00 02 11 00", [None, b"\x11"]),
    ("02 00 00 02 07 00", [None, b"\x07"]),
    ("ff" + "11" * 254 + "00 02 22 00", [b"\x11" * 254, b"\x22"]),
    ("ff" + "11" * 254 + "01 00 02 22 00", [None, b"\x22"]),
    ("ff" + "11" * 254 + "02 11 00 02 22 00", [None, b"\x22"]),
    ("01" * 255 + "00 01 01 00", [bytes(254), b"\0"]),
    ("01" * 256 + "00 01 01 00", [None, b"\0"]),
    ("05" * 2000 + "00 02 22 00", [None, b"\x22"]),
])
def test_decoder(text, wanted):
    assert decoded(bytes.fromhex(text)) == wanted


def received(data, clocks=40):
    """``(good, bad)`` flags of the frames that the receiver stores, with nobody taking them."""
    dut = FrameReceiver()
    counts = [0, 0]

    async def bench(ctx):
        at = 0
        for _ in range(len(data) + clocks):
            ctx.set(dut.i.valid, at < len(data))
            ctx.set(dut.i.payload, data[at] if at < len(data) else 0)
            _, _, ready, good, bad = await ctx.tick().sample(
                dut.i.ready, dut.received, dut.dropped)
            at += ready and at < len(data)
            counts[0] += good
            counts[1] += bad

    run(dut, bench)
    return tuple(counts)


def test_receiver_checks_every_bit():
    good = encode(Frame(session=5, seq=6, payload=(7,)))
    assert received(good + good) == (2, 0)
    for position in (0, 3, 8, 12, len(good) - 2):
        bad = bytearray(good)
        bad[position] ^= 0x10
        assert received(bytes(bad) + good) == (1, 1)


def test_receiver_holds_four_frames_and_then_the_line():
    assert received(encode(Frame()) * 6) == (4, 0)


def test_partial_frame_waits_and_goes():
    dut = RecordWindow(depth=16)
    numbers = []

    async def bench(ctx):
        ctx.set(dut.credit.p, {"acknowledged": 0, "limit": 100, "flags": {"rewind": 0}})
        ctx.set(dut.credit.valid, 1)
        await ctx.tick().until(dut.credit.ready)
        ctx.set(dut.credit.valid, 0)
        await ctx.tick().repeat(12)
        ctx.set(dut.records.valid, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.records.valid, 0)
        for _ in range(FLUSH_TICKS + 20):
            numbers.append(ctx.get(dut.number))
            await ctx.tick()

    run(dut, bench)
    assert set(numbers) == {0, 3}
    assert abs(numbers.index(3) - FLUSH_TICKS) < 8


def test_full_stream_frames_follow_each_other():
    """29 records in 257 clocks, sustained."""
    dut = Link(buffer_depth=256)
    requests = bytearray(
        encode(Frame(session=5, seq=1, op=Op.SYNC.value, payload=(5,)))
        + encode(Frame(session=5, seq=2, op=Op.CREDIT.value, argument=1, payload=(0, 232, 0))))
    ends = []

    async def bench(ctx):
        decoder = FrameDecoder()
        ctx.set(dut.tx.ready, 1)
        ctx.set(dut.records.valid, 1)
        ctx.set(dut.records.payload, 0x0123456789ABCDEF)
        for tick in range(2800):
            ctx.set(dut.rx.valid, bool(requests))
            ctx.set(dut.rx.payload, requests[0] if requests else 0)
            _, _, ready, valid, byte = await ctx.tick().sample(
                dut.rx.ready, dut.tx.valid, dut.tx.payload)
            if ready and requests:
                requests.pop(0)
            for frame in decoder.feed(bytes([byte]) if valid else b""):
                if frame.op == Op.STREAM.value:
                    assert len(frame.payload) == 1 + 2 * STREAM_RECORDS
                    ends.append(tick)

    run(dut, bench)
    assert len(ends) == 8
    assert {after - before for before, after in zip(ends[1:], ends[2:], strict=False)} == {257}


@pytest.mark.parametrize("make, error, message", [
    (lambda: RecordWindow(depth=100), ValueError,
     "Record ring depth must be a power of two from 16 to 32768, not 100"),
    (lambda: Link(buffer_depth=8), ValueError,
     "Record ring depth must be a power of two from 16 to 32768, not 8"),
    (lambda: Link(buffer_depth="8"), TypeError, "Record ring depth must be an integer, not '8'"),
    (lambda: CobsEncoder(max_bytes=255), ValueError,
     "Longest frame must be 1 to 254 bytes, not 255"),
    (lambda: CobsEncoder(max_bytes=2.0), TypeError,
     "Longest frame must be an integer, not 2.0"),
])
def test_construction_errors(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message
