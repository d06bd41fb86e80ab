"""The words that travel: every size and offset, pinned."""

import pytest
from amaranth.hdl import Shape

from quantacore.gateware.layouts import frames, identity, tagger, tags, timing
from quantacore.gateware.layouts.link import LinkFlags

#: Structure: bits, then (field, offset, bits).
STRUCTS = {
    tags.TagRecord: (64, [("fine", 0, 13), ("coarse", 13, 40), ("falling", 53, 1),
                          ("channel", 54, 6), ("kind", 60, 4)]),
    tags.EpochRecord: (64, [("epoch", 0, 24), ("reserved", 24, 36), ("kind", 60, 4)]),
    tags.LostRecord: (64, [("count", 0, 32), ("reserved", 32, 22), ("cause", 54, 6),
                           ("kind", 60, 4)]),
    frames.FrameHeader: (80, [("version", 0, 8), ("channel", 8, 8), ("session", 16, 16),
                              ("seq", 32, 16), ("op", 48, 7), ("answer", 55, 1),
                              ("count", 56, 8), ("argument", 64, 16)]),
    identity.Protocol: (32, [("link", 0, 8), ("layout", 8, 8), ("reserved", 16, 16)]),
    frames.CreditFlags: (2, [("rewind", 0, 1), ("keep", 1, 1)]),
    identity.Capabilities: (32, [("fine", 0, 1), ("histogram", 1, 1), ("discipline", 2, 1),
                                 ("uart", 3, 1), ("simulated", 4, 1), ("reserved", 5, 27)]),
    identity.Geometry: (32, [("channels", 0, 8), ("samples", 8, 8), ("buffer_depth_log2", 16, 8),
                             ("bins_log2", 24, 8)]),
}

#: Enumeration: bits, values.
ENUMS = {
    tags.TagKind: (4, {"TAG": 0, "EPOCH": 1, "OVERFLOW_BEGIN": 2, "OVERFLOW_END": 3, "LOST": 4}),
    tags.LossCause: (6, {"BUFFER": 0, "BURST": 1}),
    frames.Channel: (8, {"REGISTER": 0, "TAGS": 1}),
    frames.Op: (7, {"SYNC": 1, "READ": 2, "READ_FIXED": 3, "WRITE": 4, "WRITE_FIXED": 5, "RMW": 6,
                    "WRITE_AT": 7, "CREDIT": 8, "PING": 9, "STREAM": 16}),
    frames.Status: (8, {"ACK": 0, "BAD_FRAME": 1, "BAD_VERSION": 2, "BAD_CHANNEL": 3, "BAD_OP": 4,
                        "BAD_LENGTH": 5, "UNMAPPED": 6, "READ_ONLY": 7, "WRITE_ONLY": 8,
                        "NO_SESSION": 9, "BUSY": 10, "OUT_OF_ORDER": 11, "LATE": 12,
                        "QUEUE_FULL": 13, "UNORDERED": 14, "OUT_OF_RANGE": 15}),
    timing.LoopState: (3, {"FREE": 0, "ACQUIRE": 1, "PULL_IN": 2, "LOCKED": 3, "HOLDOVER": 4}),
    timing.Reference: (1, {"PPS": 0, "CLOCK": 1}),
    tagger.Edges: (2, {"NONE": 0, "RISING": 1, "FALLING": 2, "BOTH": 3}),
    tagger.HistogramMode: (1, {"START_STOP": 0, "ALL_PAIRS": 1}),
}


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_fields_of_struct(struct):
    bits, fields = STRUCTS[struct]
    assert Shape.cast(struct).width == bits
    assert [(name, f.offset, Shape.cast(f.shape).width)
            for name, f in struct.as_shape()] == fields


@pytest.mark.parametrize("enumeration", ENUMS, ids=lambda enumeration: enumeration.__name__)
def test_values_of_enumeration(enumeration):
    bits, values = ENUMS[enumeration]
    assert Shape.cast(enumeration).width == bits
    assert {member.name: member.value for member in enumeration} == values


@pytest.mark.parametrize("module", [tags, frames, identity])
def test_every_public_word_is_pinned(module):
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type):
            assert value in STRUCTS or value in ENUMS, f"{name} has no row in this table"


@pytest.mark.parametrize("flags", [LinkFlags, timing.TimingFlags, tagger.TaggerFlags,
                                   tagger.HistogramFlags], ids=lambda flags: flags.__name__)
def test_flags_are_single_bits_without_gaps(flags):
    assert [(f.offset, Shape.cast(f.shape).width) for _name, f in flags.as_shape()] == [
        (i, 1) for i in range(Shape.cast(flags).width)]


def test_constants():
    assert (tags.FINE_BITS, tags.FINE_PER_TICK, tags.COARSE_BITS, tags.EPOCH_BITS) == (
        13, 8192, 40, 24)
    assert (tags.MAX_CHANNELS, tags.SAMPLES_PER_CLOCK) == (8, (1, 2, 4, 8))
    assert (frames.LINK_VERSION, frames.WINDOW, frames.MAX_PAYLOAD_WORDS) == (1, 4, 60)
    assert (frames.HEADER_BYTES, frames.CRC_BYTES, frames.MAX_FRAME_BYTES) == (10, 4, 254)
    assert frames.STREAM_RECORDS == 29
    assert identity.MAGIC.to_bytes(4, "big") == b"QCOR"


def test_header_is_as_long_as_it_says():
    assert Shape.cast(frames.FrameHeader).width == 8 * frames.HEADER_BYTES


def test_frame_fits_one_cobs_block():
    assert frames.MAX_FRAME_BYTES <= 254


@pytest.mark.parametrize("samples, fine, expected", [
    (1, True, {"level": (0, 1), "fine": (1, 13)}),
    (2, True, {"level": (0, 2), "fine": (2, 24)}),
    (4, True, {"level": (0, 4), "fine": (4, 44)}),
    (8, True, {"level": (0, 8), "fine": (8, 80)}),
    (4, False, {"level": (0, 4)}),
])
def test_sample_word(samples, fine, expected):
    word = tags.sample_word(samples, fine=fine)
    assert {name: (f.offset, Shape.cast(f.shape).width) for name, f in word} == expected


def test_sample_word_refuses_other_widths():
    with pytest.raises(ValueError, match=r"^Samples per clock must be one of \(1, 2, 4, 8\), "
                                         r"not 3$"):
        tags.sample_word(3)


def test_picoseconds_survive_fine_units():
    for ps in range(8000):
        fine = round(ps * tags.FINE_PER_TICK / 8000)
        assert round(fine * 8000 / tags.FINE_PER_TICK) == ps


