"""The golden framing model against examples worked by hand and against itself."""

import random

import pytest

from quantacore.gateware.layouts.frames import MAX_FRAME_BYTES, MAX_PAYLOAD_WORDS, Channel, Op
from quantacore.sim.golden.framing import (
    BadFrame,
    CobsError,
    Frame,
    FrameDecoder,
    cobs_decode,
    cobs_encode,
    encode,
    frame_bytes,
    stream_frame,
    stream_records,
)


@pytest.mark.parametrize("plain, coded", [
    ("", "01"),
    ("00", "0101"),
    ("0000", "010101"),
    ("11220033", "0311220233"),
    ("11223344", "0511223344"),
    ("11000000", "0211010101"),
])
def test_cobs_examples(plain, coded):
    assert cobs_encode(bytes.fromhex(plain)).hex() == coded
    assert cobs_decode(bytes.fromhex(coded)).hex() == plain


def test_cobs_of_254_bytes_without_a_zero_is_one_block():
    data = bytes(range(1, 255))
    assert cobs_encode(data) == b"\xff" + data
    assert cobs_decode(b"\xff" + data) == data


def test_cobs_round_trip():
    rng = random.Random(1)
    for length in list(range(20)) + [253, 254, 255, 256, 509, 600]:
        for zeros in (0, 1, 4):
            data = bytes(0 if rng.randrange(8) < zeros else rng.randrange(1, 256)
                         for _ in range(length))
            coded = cobs_encode(data)
            assert 0 not in coded
            assert cobs_decode(coded) == data


@pytest.mark.parametrize("coded", ["", "02", "0511", "030011"])
def test_cobs_refuses(coded):
    with pytest.raises(CobsError):
        cobs_decode(bytes.fromhex(coded))


def test_a_ping_byte_for_byte():
    frame = Frame(session=0x1234, seq=7, op=Op.PING.value)
    assert frame_bytes(frame)[:10].hex() == "01003412070009000000"


def test_frames_come_back_from_any_chopping():
    rng = random.Random(2)
    frames = [Frame(channel=rng.choice((0, 1)), session=rng.getrandbits(16),
                    seq=rng.getrandbits(16), op=rng.randrange(1, 17), answer=rng.random() < 0.5,
                    argument=rng.getrandbits(16),
                    payload=tuple(rng.choice((0, rng.getrandbits(32)))
                                  for _ in range(rng.randrange(MAX_PAYLOAD_WORDS + 1))))
              for _ in range(50)]
    data = b"\0".join(encode(frame) for frame in frames)
    decoder, found = FrameDecoder(), []
    while data:
        cut = rng.randrange(1, 40)
        found += decoder.feed(data[:cut])
        data = data[cut:]
    assert found == frames


def test_a_flipped_bit_is_a_bad_frame():
    data = bytearray(encode(Frame(session=1, seq=1, payload=(5, 6, 7))))
    good = bytes(data)
    for position in range(len(data) - 1):
        for bit in range(8):
            data[:] = good
            data[position] ^= 1 << bit
            found = FrameDecoder().feed(data)
            assert all(isinstance(item, BadFrame) for item in found)


def test_an_endless_frame_is_bad_once_and_forgotten():
    decoder = FrameDecoder()
    assert decoder.feed(b"\x05" * 1000) == []
    good = Frame(session=3)
    first, second = decoder.feed(b"\0" + encode(good))
    assert first.reason == "long" and second == good


def test_the_longest_frame_is_right():
    frame = Frame(channel=Channel.TAGS.value, session=0x1111, seq=0x2222, argument=0x3333,
                  payload=(0x01010101,) * MAX_PAYLOAD_WORDS)
    assert len(frame_bytes(frame)) == MAX_FRAME_BYTES
    assert FrameDecoder().feed(encode(frame)) == [frame]


def test_stream_frame_round_trip():
    frame = stream_frame(session=1, seq=2, index=3, records=[1, 1 << 63])
    assert stream_records(frame) == (3, (1, 1 << 63))


def test_too_many_payload_words():
    with pytest.raises(ValueError, match="^A frame holds at most 60 payload words, not 61$"):
        frame_bytes(Frame(payload=(0,) * 61))
