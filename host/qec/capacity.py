"""What a decoder image takes of a part's block RAM, and what else would fit."""

from dataclasses import dataclass, replace

from amaranth.hdl import Shape

from quantacore.gateware.layouts.decoder import BASES, BUCKET_BITS, WEIGHT_BITS, Table
from quantacore.host.qec.compiler import DecoderCapacityError

__all__ = ["PARTS", "Memory", "FitReport", "fit"]

#: Block RAM of the parts: (blocks, shapes of one block as (words, bits)). Figures of the iCE40
#: UltraPlus, iCE40 LP/HX and ECP5 family data sheets; single-port RAM of the UP5K not counted.
PARTS = {
    "iCE40UP5K": (30, ((256, 16), (512, 8), (1024, 4), (2048, 2))),
    "iCE40HX8K": (32, ((256, 16), (512, 8), (1024, 4), (2048, 2))),
    "LFE5U-25F": (56, ((1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))),
    "LFE5U-45F": (108, ((1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))),
    "LFE5U-85F": (208, ((1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))),
}
#: A memory of fewer bits than this is made of logic.
_SMALL = 2048


@dataclass(frozen=True)
class Memory:
    """One memory of a decoder, over both bases: ``copies`` counts the bases too."""

    name: str
    words: int
    width: int
    copies: int

    @property
    def bits(self):
        """Bits of all copies."""
        return self.words * self.width * self.copies

    def blocks(self, part):
        """Blocks of ``part`` that all copies take."""
        if self.words * self.width < _SMALL:
            return 0
        return self.copies * min(-(-self.width // width) * -(-self.words // words)
                                 for words, width in PARTS[part][1])


@dataclass(frozen=True)
class FitReport:
    """What :func:`fit` found.

    Attributes
    ----------
    memories : tuple of Memory
    bits : int
        Of all memories.
    blocks : dict
        Part -> blocks the image takes.
    fits : dict
        Part -> whether it has as many.
    largest_distance : dict
        Part -> the largest distance of a rotated code with the same kind of tables that fits,
        0 for none; None for a full table.
    """

    memories: tuple
    bits: int
    blocks: dict
    fits: dict
    largest_distance: dict

    def __str__(self):
        lines = [f"{'memory':<10} {'words':>8} {'bits':>5} {'copies':>6} {'kbit':>8}"]
        lines += [f"{m.name:<10} {m.words:>8} {m.width:>5} {m.copies:>6} {m.bits / 1024:>8.1f}"
                  for m in self.memories]
        lines.append(f"{'total':<10} {self.bits / 1024:>30.1f}")
        lines.append(f"{'part':<10} {'blocks':>8} {'of':>5} {'fits':>6} {'largest d':>9}")
        for part, blocks in self.blocks.items():
            distance = self.largest_distance[part]
            lines.append(f"{part:<10} {blocks:>8} {PARTS[part][0]:>5} "
                         f"{'yes' if self.fits[part] else 'no':>6} "
                         f"{'-' if not distance else distance:>9}")
        return "\n".join(lines)


def _memories(shape, pair_copies):
    found = []
    for table in Table:
        words = shape.table_depth(table)
        if words:
            copies = BASES * (pair_copies if table is Table.PAIR else 1)
            found.append(Memory(table.name, words, Shape.cast(shape.table_word(table)).width,
                                copies))
    pair = WEIGHT_BITS + shape.observables
    found.append(Memory("distances", shape.capacity ** 2, pair, BASES))
    event = 2 * shape.slot_bits + BUCKET_BITS + 2
    found.append(Memory("events", 2 << shape.event_bits, event + shape.event_bits, BASES))
    return tuple(found)


def _blocks(shape, part, pair_copies):
    return sum(memory.blocks(part) for memory in _memories(shape, pair_copies))


def _scaled(shape, spaces, wanted):
    """``shape`` for another number of spaces; edges and shortcuts grow with it. None: no such."""
    def grown(bits, used):
        return max(1, (-(-used * wanted // spaces) - 1).bit_length()) if used else bits
    space_bits = max(1, (wanted - 1).bit_length())
    edges, shorts = grown(shape.edge_bits, 1 << shape.edge_bits), grown(
        shape.shortcut_bits, 1 << shape.shortcut_bits)
    if space_bits > 8 or edges > 13 or shorts > 14:
        return None
    return replace(shape, space_bits=space_bits, edge_bits=edges, shortcut_bits=shorts)


def fit(image, part=None, *, pair_copies=None):
    """Count an image's memories against block RAM.

    Parameters
    ----------
    image : DecoderImage
    part : str, optional
        A part of :data:`PARTS` that it has to fit.
    pair_copies : int, optional
        Copies of the PAIR table per basis. Default 2 with correlation (two look-ups a clock), 1
        without.

    Returns
    -------
    FitReport
        Tables are exact; ``distances`` and ``events`` are the engine's own memories.

    Raises
    ------
    DecoderCapacityError
        The image does not fit ``part``; the message says what would.
    """
    if part is not None and part not in PARTS:
        raise ValueError(f"Unknown part {part!r}: {', '.join(PARTS)}")
    shape = image.shape
    if pair_copies is None:
        pair_copies = 2 if shape.correlation else 1
    memories = _memories(shape, pair_copies)
    blocks = {name: sum(memory.blocks(name) for memory in memories) for name in PARTS}
    largest = {}
    for name, (available, _) in PARTS.items():
        if image.about["kind"] != "periodic":
            largest[name] = None
            continue
        spaces = max(len(known) for known in image.about["spaces"])
        largest[name] = 0
        for distance in range(3, 23, 2):
            other = _scaled(shape, spaces, (distance * distance - 1) // 2)
            if other is not None and _blocks(other, name, pair_copies) <= available:
                largest[name] = distance
    fits = {name: blocks[name] <= PARTS[name][0] for name in PARTS}
    report = FitReport(memories, sum(memory.bits for memory in memories), blocks, fits, largest)
    if part is not None and not fits[part]:
        others = [name for name in PARTS if fits[name]]
        advice = [f"{', '.join(others)} would hold it"] if others else []
        if largest[part]:
            advice.append(f"distance {largest[part]} would fit")
        if shape.correlation:
            plain = _blocks(replace(shape, correlation=False), part, 1)
            if plain <= PARTS[part][0]:
                advice.append("without correlation it would fit")
        raise DecoderCapacityError(
            f"The image takes {blocks[part]} blocks of block RAM; {part} has {PARTS[part][0]}"
            + (": " + "; ".join(advice) if advice else ". No part of the list holds it"))
    return report
