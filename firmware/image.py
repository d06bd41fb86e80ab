"""Images: what is loaded into a slot, as a file, and the words that a loader writes.

``docs/firmware.md`` has the grammar and a worked example.
"""

import dataclasses
import json
import struct
import zlib
from fractions import Fraction
from pathlib import Path

from quantacore.firmware.assembly import (
    Assembly,
    DecoderRate,
    EnvelopeEntry,
    Interval,
    Parameter,
    WaveEntry,
)
from quantacore.firmware.diagnostics import Line
from quantacore.gateware.layouts.instructions import isa_crc
from quantacore.gateware.layouts.sequencer import SLOTS, LoadTarget, SequencerLoadAddress, Wave

__all__ = ["Image", "ImageError", "Upload", "upload_words", "MAGIC", "FORMAT_VERSION",
           "SectionKind"]

#: First bytes of an image file.
MAGIC = b"QCFW"
FORMAT_VERSION = 1
#: magic, version, number of sections, instruction set, bytes of the whole file
_HEADER = struct.Struct("<4sHHII")
#: kind, channel, zero, bytes of the content
_SECTION = struct.Struct("<BBHI")


class SectionKind:
    """Kinds of sections. Those from 128 on may be skipped by who doesn't know them."""

    META = 1
    PROGRAM = 2
    WAVES = 3
    ENVELOPE = 4
    #: Reserved: algorithm (u16), key id (u16), then the signature of all bytes before the section.
    SIGNATURE = 128


class ImageError(ValueError):
    """A file is no image, is damaged, or is made for another instruction set."""


@dataclasses.dataclass(frozen=True)
class Image:
    """An image.

    Attributes
    ----------
    words : list of int
        The program.
    waves : list of int
        Words of 64 bits.
    envelopes : dict
        Channel -> list of points, signed.
    meta : dict
        ``name``, ``tick_s`` (text of a fraction), ``entries``, ``parameters``, ``assumptions``,
        ``source`` (digest), ``proof`` and what the tools need to show the program again.
    isa : int
        CRC-32 of the instruction set that it was made for.
    signature : bytes
        Content of the signature section, which nobody checks yet.
    """

    words: list
    waves: list
    envelopes: dict
    meta: dict
    isa: int = dataclasses.field(default_factory=isa_crc)
    signature: bytes = b""

    @property
    def name(self):
        return self.meta.get("name", "")

    @property
    def entries(self):
        """Name -> word at which a start may begin."""
        return dict(self.meta["entries"])

    @property
    def parameters(self):
        """Name -> :class:`Parameter`."""
        return {name: Parameter(**p) for name, p in self.meta["parameters"].items()}

    @property
    def proof(self):
        """Summary of the proof, or ``None`` if the image was made without one."""
        return self.meta.get("proof")

    @classmethod
    def from_assembly(cls, assembly, proof=None):
        """Pack a program.

        Parameters
        ----------
        assembly : Assembly
        proof : Proof, optional
            Its summary goes into the image.

        Raises
        ------
        ValueError
            It is too large for a slot.
        """
        assembly.check_sizes()
        # Names alone: where they were is of no use elsewhere.
        names = [Path(line.file).name for line in assembly.lines]
        files = sorted(set(names))
        meta = {
            "name": assembly.name, "tick_s": str(assembly.tick_s), "entries": assembly.entries,
            "parameters": {name: dataclasses.asdict(p) for name, p in assembly.parameters.items()},
            "assumptions": {str(r): [i.low, i.high] for r, i in assembly.assumptions.items()},
            "ahead": {str(pc): [i.low, i.high] for pc, i in assembly.ahead.items()},
            "labels": assembly.labels, "settle_ticks": assembly.settle_ticks,
            "decoder": dataclasses.asdict(assembly.decoder) if assembly.decoder else None,
            "channels": {str(n): name for n, name in assembly.channels.items()},
            "ttl_lines": {str(n): name for n, name in assembly.ttl_lines.items()},
            "waves": [[w.name, list(w.channels)] for w in assembly.waves],
            "envelopes": [[e.name, list(e.channels), e.base, e.points]
                          for e in assembly.allocations],
            "files": files,
            "lines": [[files.index(name), line.number]
                      for name, line in zip(names, assembly.lines, strict=True)],
            "source": assembly.source,
            "proof": proof.summary() if proof is not None else None,
        }
        return cls(words=list(assembly.words), waves=[w.word for w in assembly.waves],
                   envelopes={c: list(p) for c, p in assembly.envelopes.items() if p}, meta=meta)

    def to_assembly(self):
        """The program again, for the disassembler, the prover and the sheet."""
        meta, fields = self.meta, dict(Wave.as_shape())

        def part(word, name):
            return word >> fields[name].offset & ((1 << fields[name].width) - 1)

        waves = [WaveEntry(name, part(word, "step"), part(word, "base"), part(word, "length"),
                           tuple(channels))
                 for word, (name, channels) in zip(self.waves, meta["waves"], strict=True)]
        return Assembly(
            name=meta["name"], words=list(self.words),
            lines=[Line(meta["files"][file], number, "") for file, number in meta["lines"]],
            waves=waves, envelopes={c: list(p) for c, p in self.envelopes.items()},
            allocations=[EnvelopeEntry(name, tuple(channels), base, points)
                         for name, channels, base, points in meta["envelopes"]],
            entries=self.entries, labels=dict(meta["labels"]), parameters=self.parameters,
            assumptions={int(r): Interval(*i) for r, i in meta["assumptions"].items()},
            ahead={int(pc): Interval(*i) for pc, i in meta["ahead"].items()},
            settle_ticks=meta["settle_ticks"],
            decoder=DecoderRate(**meta["decoder"]) if meta["decoder"] else None,
            channels={int(n): name for n, name in meta["channels"].items()},
            ttl_lines={int(n): name for n, name in meta["ttl_lines"].items()},
            tick_s=Fraction(meta["tick_s"]), source=meta["source"])

    def to_bytes(self):
        """The file."""
        sections = [(SectionKind.META, 0, json.dumps(
            self.meta, sort_keys=True, separators=(",", ":")).encode()),
            (SectionKind.PROGRAM, 0, struct.pack(f"<{len(self.words)}Q", *self.words))]
        if self.waves:
            sections.append((SectionKind.WAVES, 0,
                             struct.pack(f"<{len(self.waves)}Q", *self.waves)))
        for channel, points in sorted(self.envelopes.items()):
            sections.append((SectionKind.ENVELOPE, channel,
                             struct.pack(f"<{len(points)}h", *points)))
        if self.signature:
            sections.append((SectionKind.SIGNATURE, 0, self.signature))
        body = b"".join(_SECTION.pack(kind, channel, 0, len(content)) + content
                        + bytes(-len(content) % 4) for kind, channel, content in sections)
        length = _HEADER.size + len(body) + 4
        out = _HEADER.pack(MAGIC, FORMAT_VERSION, len(sections), self.isa, length) + body
        return out + struct.pack("<I", zlib.crc32(out))

    @classmethod
    def from_bytes(cls, content, *, isa=None):
        """Read a file.

        Parameters
        ----------
        content : bytes
        isa : int, optional
            CRC-32 of the instruction set that it must be for; that of this installation by
            default. A driver gives the node's.

        Raises
        ------
        ImageError
            No image, another version, truncated, damaged, or stale.
        """
        if content[:4] != MAGIC[:len(content[:4])] or not content:
            raise ImageError(f"This is no firmware image: it begins with {content[:4]!r}, not with "
                             f"{MAGIC!r}; quantacore fw asm makes one")
        if len(content) < _HEADER.size + 4:
            raise ImageError(f"This image is truncated: {len(content)} bytes are not even the "
                             f"header; copy it again")
        _, version, count, made_for, length = _HEADER.unpack_from(content)
        if version != FORMAT_VERSION:
            raise ImageError(f"This image has format version {version}, this program reads "
                             f"{FORMAT_VERSION}; assemble it again")
        if len(content) != length:
            what = "is truncated" if len(content) < length else "has too much at its end"
            raise ImageError(f"This image {what}: {len(content)} bytes, its header says {length}; "
                             f"copy it again")
        if zlib.crc32(content[:-4]) != struct.unpack("<I", content[-4:])[0]:
            raise ImageError("This image is damaged: its CRC-32 is wrong; copy it again, or "
                             "assemble it again")
        expected = isa_crc() if isa is None else isa
        if made_for != expected:
            raise ImageError(f"This is a stale image: made for ISA {made_for:08x}, this is "
                             f"{expected:08x}; assemble it again")
        return cls(isa=made_for, **_sections(content, count))


def _sections(content, count):
    found, at, end = {"envelopes": {}, "waves": []}, _HEADER.size, len(content) - 4
    for _ in range(count):
        if at + _SECTION.size > end:
            raise ImageError("This image is damaged: a section begins behind its end")
        kind, channel, _, length = _SECTION.unpack_from(content, at)
        at += _SECTION.size
        if at + length > end:
            raise ImageError(f"This image is damaged: section {kind} has {length} bytes, "
                             f"{end - at} are left")
        part = content[at:at + length]
        at += length + -length % 4
        if kind == SectionKind.META:
            try:
                found["meta"] = json.loads(part)
            except ValueError as error:
                raise ImageError(f"This image is damaged: its metadata are no JSON "
                                 f"({error})") from None
        elif kind in (SectionKind.PROGRAM, SectionKind.WAVES):
            if length % 8:
                raise ImageError(f"This image is damaged: {length} bytes of words of 8")
            name = "words" if kind == SectionKind.PROGRAM else "waves"
            found[name] = list(struct.unpack(f"<{length // 8}Q", part))
        elif kind == SectionKind.ENVELOPE:
            if length % 2:
                raise ImageError(f"This image is damaged: {length} bytes of points of 2")
            found["envelopes"][channel] = list(struct.unpack(f"<{length // 2}h", part))
        elif kind == SectionKind.SIGNATURE:
            found["signature"] = part
        elif kind < SectionKind.SIGNATURE:
            raise ImageError(f"This image has a section of kind {kind}, which this program does "
                             f"not know; use the program that made it")
    if at != end or "meta" not in found or "words" not in found:
        raise ImageError("This image is damaged: sections are missing or do not fill it")
    return found


@dataclasses.dataclass(frozen=True)
class Upload:
    """What a loader writes.

    Attributes
    ----------
    bursts : list of (int, list of int)
        Value for ``load_address``, and the words for ``load_data`` after it.
    words : int
        All words of ``load_data``: for ``slot_words``.
    crc : int
        Their CRC-32: for ``slot_crc``.
    """

    bursts: list
    words: int
    crc: int


def _address(target, slot, channel=0):
    fields = {name: field.offset for name, field in SequencerLoadAddress.as_shape()}
    return (target.value << fields["target"] | channel << fields["channel"]
            | slot << fields["slot"])


def upload_words(image, slot):
    """The words that put an image into a slot.

    Parameters
    ----------
    image : Image
    slot : int
        0 or 1.

    Returns
    -------
    Upload
    """
    if not 0 <= slot < SLOTS:
        raise ValueError(f"Slots are 0 to {SLOTS - 1}, not {slot}")

    def halves(words):
        return [half for word in words for half in (word & 0xffffffff, word >> 32)]

    bursts = [(_address(LoadTarget.PROGRAM, slot), halves(image.words))]
    if image.waves:
        bursts.append((_address(LoadTarget.WAVES, slot), halves(image.waves)))
    for channel, points in sorted(image.envelopes.items()):
        even = [point & 0xffff for point in [*points, 0][:len(points) + len(points) % 2]]
        bursts.append((_address(LoadTarget.ENVELOPE, slot, channel),
                       [low | high << 16 for low, high in zip(even[::2], even[1::2],
                                                              strict=True)]))
    data = [word for _, words in bursts for word in words]
    return Upload(bursts, len(data), zlib.crc32(struct.pack(f"<{len(data)}I", *data)))
