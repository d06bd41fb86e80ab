"""Images: file and back, what is refused, what a loader writes."""

import struct
import zlib

import pytest

from quantacore.firmware import Image, ImageError, assemble, disassemble, upload_words
from quantacore.gateware.layouts.instructions import isa_crc

SOURCE = """
.name "demo"
.envelope 0, 2 bell gaussian(points=9, sigma=6)
.wave short bell length=200ns
.param gap r1 in 40ns..400ns = 80ns "between pulses"
.param amp r5 in -0.5..1.0 = 0.25
.param angle r6 in 0turn..0.25turn = 45deg
.param count r7 in 1..9
.assume r2 in 0..7
.settle 2us
.decoder every=1us, depth=4
.entry main
    pulse 0, short, 0.5
    delay gap
    pulse 2, short, r2
    waituntil r3:r4, ahead=1us..2us
.entry other
    halt 3
"""


@pytest.fixture(scope="module")
def image():
    return Image.from_assembly(assemble(SOURCE))


def test_file_and_back(image):
    assert Image.from_bytes(image.to_bytes()) == image
    assert image.entries == {"main": 0, "other": 4}
    assert image.parameters["gap"].default == 10 and image.parameters["gap"].unit == "ticks"


def test_program_and_back(image):
    assembly = image.to_assembly()
    assert Image.from_assembly(assembly) == image
    again = assemble(disassemble(assembly))
    for name in ("words", "envelopes", "entries", "assumptions", "parameters", "ahead",
                 "settle_ticks", "decoder", "tick_s", "name"):
        assert getattr(again, name) == getattr(assembly, name), name
    assert [w.word for w in again.waves] == image.waves


def test_header(image):
    content = image.to_bytes()
    assert struct.unpack_from("<4sHHII", content) == (b"QCFW", 1, 5, isa_crc(), len(content))
    assert len(content) % 4 == 0
    assert zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little")


def sealed(content):
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4]))


def test_stale_image_is_refused(image):
    content = image.to_bytes()
    with pytest.raises(ImageError, match=f"stale image: made for ISA {isa_crc():08x}, this is "
                                         "00001234; assemble it again"):
        Image.from_bytes(content, isa=0x1234)


@pytest.mark.parametrize("change, text", [
    (lambda c: b"", "no firmware image"),
    (lambda c: b"QCD" + c[3:], "no firmware image: it begins with b'QCDF'"
     .replace("QCDF", "QCDW")),
    (lambda c: c[:10], "truncated: 10 bytes are not even the header"),
    (lambda c: c[:-1], "is truncated"),
    (lambda c: c + b"x", "has too much at its end"),
    (lambda c: c[:4] + b"\2" + c[5:], "format version 2, this program reads 1"),
    (lambda c: c[:40] + bytes([c[40] ^ 1]) + c[41:], "damaged: its CRC-32 is wrong"),
    (lambda c: sealed(c[:16] + b"\x09" + c[17:]), "a section of kind 9, which"),
    (lambda c: sealed(c[:20] + b"\xff\xff" + c[22:]), "damaged: section 1 has"),
    (lambda c: sealed(c[:6] + b"\x04" + c[7:]), "sections are missing or do not fill it"),
])
def test_wrong_files_are_refused(image, change, text):
    with pytest.raises(ImageError, match=text):
        Image.from_bytes(change(image.to_bytes()))


def test_every_damaged_byte_is_found(image):
    content = image.to_bytes()
    for at in range(0, len(content), 7):
        with pytest.raises(ImageError):
            Image.from_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1:])


def test_every_truncation_is_found(image):
    content = image.to_bytes()
    for length in range(0, len(content), 11):
        with pytest.raises(ImageError):
            Image.from_bytes(content[:length])


def test_signature_and_what_may_be_skipped(image):
    import dataclasses

    signed = dataclasses.replace(image, signature=b"\1\0\0\0abc")
    assert Image.from_bytes(signed.to_bytes()) == signed
    content = image.to_bytes()
    extra = content[:-4] + struct.pack("<BBHI", 200, 0, 0, 3) + b"abc\0" + bytes(4)
    extra = extra[:6] + b"\6\0" + extra[8:12] + struct.pack("<I", len(extra)) + extra[16:]
    assert Image.from_bytes(sealed(extra)) == image


@pytest.mark.parametrize("slot", [0, 1])
def test_upload(image, slot):
    upload = upload_words(image, slot)
    top = slot << 31
    assert [address for address, _ in upload.bursts] == [
        top, 1 << 16 | top, 2 << 16 | top, 2 << 16 | 2 << 18 | top]
    program, waves, even, odd = (words for _, words in upload.bursts)
    assert [low | high << 32 for low, high in zip(program[::2], program[1::2], strict=True)] == (
        image.words)
    assert waves == [image.waves[0] & 0xffffffff, image.waves[0] >> 32]
    points = [half for word in even for half in (word & 0xffff, word >> 16)]
    assert points == [*image.envelopes[0], 0] and even == odd
    data = program + waves + even + odd
    assert upload.words == len(data)
    assert upload.crc == zlib.crc32(b"".join(word.to_bytes(4, "little") for word in data))


def test_upload_of_negative_points():
    image = Image([21], [], {3: [-1, -32768, 5]}, {})
    assert upload_words(image, 0).bursts[1] == (2 << 16 | 3 << 18, [0x8000ffff, 5])


def test_there_are_two_slots(image):
    with pytest.raises(ValueError, match="Slots are 0 to 1, not 2"):
        upload_words(image, 2)


def test_what_no_slot_can_hold():
    assembly = assemble("halt")
    assembly.words = [21] * 4097
    with pytest.raises(ValueError, match="4097 words, a slot has room for 4096"):
        Image.from_assembly(assembly)
