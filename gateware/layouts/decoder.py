"""Words of the syndrome decoder: the build's shape, the image's tables, and the image file.

A decoder keeps a *list of defects* and knows the detector graph only through tables. A node of
the graph is a pair (space, layer): ``space`` numbers the detectors of one basis inside one layer
(one round), ``layer`` counts rounds. In the periodic bulk of a memory circuit the distance of two
nodes depends on their spaces and the difference of their layers alone, so one table of
(space, space, difference) holds every distance. A model without a period (measured weights, say)
is one layer that holds all its detectors, with ``delta_bits`` = 0.

Weights are integers, 0 to 254; 255 (:data:`NONE`) means that there is no such path.
"""

import dataclasses
import json
import struct
import zlib

from amaranth.hdl import Shape, signed
from amaranth.lib import data, enum

__all__ = [
    "NONE", "WEIGHT_BITS", "DELTA_EDGE_BITS", "OFFSET_BITS", "COUNT_BITS", "MAX_HOPS", "WALK_AHEAD",
    "NEAR_CAPACITY", "BUCKET_BITS", "GROWTH_SHIFT", "BASES", "ROUND_BITS", "Table", "PartnerKind",
    "Stage", "DecoderRecordKind", "WindowFlags", "VerdictRecord", "TimingRecord", "MatchRecord",
    "EscapeRecord", "DecoderShape", "DecoderImage", "ImageError",
]

#: Bits of a weight in every table.
WEIGHT_BITS = 8
#: The weight that says "no path".
NONE = (1 << WEIGHT_BITS) - 1
#: Bits of the layer difference of an edge's ends.
DELTA_EDGE_BITS = 2
#: Bits of the signed layer offset of a shortcut's end, from the edge that caused it.
OFFSET_BITS = 4
#: Bits of the number of shortcuts that an edge causes.
COUNT_BITS = 6
#: Edges of one path that are followed at most; a longer one means a damaged image.
MAX_HOPS = 31
#: Layers behind the commit layers whose matches still cause shortcuts; those of later ones would
#: cost time and hardly change what is committed.
WALK_AHEAD = 2
#: Defects near each end of a shortcut that are considered.
NEAR_CAPACITY = 8
#: log2 of the number of growth steps (buckets) of a window.
BUCKET_BITS = 6
#: Weight units per growth step, log2.
GROWTH_SHIFT = WEIGHT_BITS - BUCKET_BITS
#: Bases of a CSS code; each has its own tables, list and engine.
BASES = 2
#: Bits of a round number.
ROUND_BITS = 32


class Table(enum.Enum, shape=3):
    """Tables of an image, each once per basis."""

    #: Distance and parity of two nodes, address {earlier space, later space, layer difference}.
    PAIR = 0
    #: First edge of that shortest path, seen from the earlier node; the same address.
    HOP = 1
    #: Distance, parity and first edge to the boundary, address space.
    BOUND = 2
    #: Edges of the graph, one period, address edge number.
    EDGE = 3
    #: Shortcuts that edges (into the other basis) and erasures (into this one) cause.
    SHORT = 4
    #: Which shortcuts an erasure site causes, address site.
    ERASE = 5


class PartnerKind(enum.Enum, shape=2):
    """What a defect was matched with."""

    #: Another defect.
    SLOT = 0
    #: The boundary.
    BOUNDARY = 1
    #: Nothing: its cluster was too large or has no matching; the host decodes it.
    ESCAPED = 2


class Stage(enum.Enum, shape=4):
    """What an engine is doing."""

    LOAD = 0
    FILL = 1
    ERASE = 2
    GROW = 3
    MATCH = 4
    #: Shortcuts to and from the other engine; waits for it.
    EXCHANGE = 5
    GROW_AGAIN = 6
    MATCH_AGAIN = 7
    COMMIT = 8


class DecoderRecordKind(enum.Enum, shape=4):
    """What a 64-bit record of the decoder says; the values are apart from those of ``TagKind``."""

    #: A window of one basis is committed: :class:`VerdictRecord`. Its matches and escapes came
    #: before it.
    VERDICT = 8
    #: How long that window took: :class:`TimingRecord`, right after the verdict.
    TIMING = 9
    #: A committed match: :class:`MatchRecord`. Only where these records are switched on.
    MATCH = 10
    #: A defect that the host has to decode: :class:`EscapeRecord`. All escapes of one window and
    #: basis are decoded together, as one syndrome, and flip the observables once.
    ESCAPE = 11


class WindowFlags(data.Struct):
    """What happened in a window."""

    #: More defects than the list holds; all of them were handed to the host.
    overflow: 1
    #: A cluster was too large to be matched exactly, or has no matching.
    escaped: 1
    #: The event memory was full; clusters may be smaller than they should be.
    events_dropped: 1
    #: A path in the tables has no end: the image is damaged.
    walk_error: 1
    #: Rounds were missing; they were taken as free of defects.
    gap: 1
    #: The last window of a shot.
    last: 1
    #: The second pass was run: shortcuts of the other basis changed a distance.
    second_pass: 1
    reserved: 1


class VerdictRecord(data.Struct):
    """What one window of one basis commits."""

    #: Observables that the committed matches flip.
    obs: 8
    flags: WindowFlags
    #: Defects in the largest cluster; 15 for 15 or more.
    largest: 4
    #: Layers committed.
    layers: 6
    basis: 1
    reserved: 1
    #: Round of the window's first layer, from the first round of the shot.
    round: ROUND_BITS
    kind: DecoderRecordKind


class TimingRecord(data.Struct):
    """How long a window took, in clocks."""

    #: From the arrival of the last round that the window needs to its verdict; saturates.
    latency: 16
    #: From the load of the window's last layer to its verdict; saturates.
    clocks: 18
    #: Rounds that wait in the queue now; saturates.
    backlog: 12
    #: Defects in the window.
    defects: 7
    basis: 1
    reserved: 6
    kind: DecoderRecordKind


class MatchRecord(data.Struct):
    """Two defects, or a defect and the boundary, that were matched."""

    space: 8
    #: Low bits of the first defect's round.
    round: 24
    #: Space of the second defect, which has the same or a later round.
    other_space: 8
    #: Rounds between them.
    delta: 5
    boundary: 1
    #: Observables that this match flips.
    obs: 8
    basis: 1
    reserved: 5
    kind: DecoderRecordKind


class EscapeRecord(data.Struct):
    """A defect that leaves undecoded."""

    space: 8
    round: ROUND_BITS
    basis: 1
    reserved: 19
    kind: DecoderRecordKind


@dataclasses.dataclass(frozen=True)
class DecoderShape:
    """Sizes that a decoder is built with; an image must fit them.

    Parameters
    ----------
    space_bits : int
        Bits of a node's space: up to ``2**space_bits`` detectors of one basis in a layer.
    delta_bits : int
        The distance table covers layer differences below ``2**delta_bits``; farther defects are
        never matched with each other. 0 for a model of one layer.
    observables : int
        Logical observables that are followed, 1 to 8.
    capacity : int
        Defects of one basis in a window: 8, 16, 32 or 64.
    cluster : int
        Largest cluster that is matched exactly, 2 to 14; a larger one escapes to the host.
    edge_bits, shortcut_bits : int
        Address bits of the edge table and of the shortcut table.
    time_bits : int
        Bits of a layer inside the window; a window holds at most ``2**time_bits`` layers.
    event_bits : int
        log2 of the growth events that a window may hold.
    sites : int
        Erasure flags that come with a round, 0 to 256.
    correlation : bool
        Whether the second pass (shortcuts from the other basis) is built.
    """

    space_bits: int
    delta_bits: int = 2
    observables: int = 1
    capacity: int = 64
    cluster: int = 12
    edge_bits: int = 8
    shortcut_bits: int = 11
    time_bits: int = 5
    event_bits: int = 10
    sites: int = 0
    correlation: bool = True

    def __post_init__(self):
        limits = {"space_bits": (1, 8), "delta_bits": (0, 5), "observables": (1, 8),
                  "cluster": (2, 14), "edge_bits": (1, 13), "shortcut_bits": (1, 14),
                  "time_bits": (1, 5), "event_bits": (5, 12), "sites": (0, 256)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value}")
        if self.capacity not in (8, 16, 32, 64):
            raise ValueError(f"capacity must be 8, 16, 32 or 64, not {self.capacity!r}")
        if self.delta_bits > self.time_bits:
            raise ValueError(f"delta_bits ({self.delta_bits}) can't exceed time_bits "
                             f"({self.time_bits})")

    @property
    def slot_bits(self):
        """Bits of a defect's place in the list."""
        return self.capacity.bit_length() - 1

    @property
    def pair_bits(self):
        """Address bits of the PAIR and HOP tables."""
        return 2 * self.space_bits + self.delta_bits

    @property
    def site_bits(self):
        """Address bits of the ERASE table."""
        return max(1, (self.sites - 1).bit_length())

    @property
    def node(self):
        """Layout of a node: a place in the list's own window."""
        return data.StructLayout({"space": self.space_bits, "layer": self.time_bits})

    @property
    def pair_word(self):
        """Word of the PAIR table."""
        return data.StructLayout({"weight": WEIGHT_BITS, "obs": self.observables})

    @property
    def hop_word(self):
        """Word of the HOP table. ``at_b``: the node is the edge's end b, not a."""
        return data.StructLayout({"edge": self.edge_bits, "at_b": 1})

    @property
    def bound_word(self):
        """Word of the BOUND table."""
        return data.StructLayout({"weight": WEIGHT_BITS, "obs": self.observables,
                                  "edge": self.edge_bits, "at_b": 1})

    @property
    def edge_word(self):
        """Word of the EDGE table: ends a (the earlier) and b, ``delta`` layers later.

        ``boundary``: the edge ends on the boundary, b means nothing. ``count`` shortcuts from
        ``start`` in the SHORT table.
        """
        return data.StructLayout({
            "a": self.space_bits, "b": self.space_bits, "delta": DELTA_EDGE_BITS, "boundary": 1,
            "start": self.shortcut_bits, "count": COUNT_BITS})

    @property
    def short_word(self):
        """Word of the SHORT table: an edge u-v (or u-boundary) that has become likely.

        Layers are relative to end a of the edge (to the round of the erasure) that caused it.
        """
        return data.StructLayout({
            "u": self.space_bits, "u_layer": signed(OFFSET_BITS),
            "v": self.space_bits, "v_layer": signed(OFFSET_BITS),
            "boundary": 1, "weight": WEIGHT_BITS, "obs": self.observables})

    @property
    def erase_word(self):
        """Word of the ERASE table."""
        return data.StructLayout({"start": self.shortcut_bits, "count": COUNT_BITS})

    @property
    def shortcut(self):
        """A shortcut with layers of the window, as it travels between the engines."""
        return data.StructLayout({
            "u": self.space_bits, "u_layer": signed(self.time_bits + 2),
            "v": self.space_bits, "v_layer": signed(self.time_bits + 2),
            "boundary": 1, "weight": WEIGHT_BITS, "obs": self.observables})

    @property
    def round_word(self):
        """A round at the decoder's input: bits of both bases, bit *s* for space *s*.

        ``number`` counts the rounds of a shot, which begins with ``first`` and ends with
        ``last``. ``raw``: the bits are measurement outcomes and the decoder makes detection
        events of them, by XOR with the round before; otherwise they are detection events.
        ``erased``: bit *k* says that erasure site *k* was heralded in this round.
        """
        return data.StructLayout({
            "bits": data.ArrayLayout(1 << self.space_bits, BASES), "number": ROUND_BITS,
            "first": 1, "last": 1, "raw": 1, "erased": self.sites})

    @property
    def round_slice(self):
        """One basis of one round, as it waits for its window.

        ``skipped`` missing rounds come before it; ``stamp`` is when it arrived.
        """
        return data.StructLayout({"bits": 1 << self.space_bits, "last": 1, "skipped": 8,
                                  "stamp": 16, "erased": self.sites})

    @property
    def event(self):
        """A growth event: slots i > j, or i and the boundary, at ``distance`` growth steps."""
        return data.StructLayout({
            "i": self.slot_bits, "j": self.slot_bits, "boundary": 1, "distance": BUCKET_BITS + 1})

    def table_word(self, table):
        """Layout of a word of ``table``."""
        return {Table.PAIR: self.pair_word, Table.HOP: self.hop_word, Table.BOUND: self.bound_word,
                Table.EDGE: self.edge_word, Table.SHORT: self.short_word,
                Table.ERASE: self.erase_word}[Table(table)]

    def table_depth(self, table):
        """Words of ``table``; 0 where this build has none."""
        return {Table.PAIR: 1 << self.pair_bits,
                Table.HOP: 1 << self.pair_bits if self.correlation else 0,
                Table.BOUND: 1 << self.space_bits,
                Table.EDGE: 1 << self.edge_bits if self.correlation else 0,
                Table.SHORT: 1 << self.shortcut_bits if self.correlation or self.sites else 0,
                Table.ERASE: 1 << self.site_bits if self.sites else 0}[Table(table)]


class ImageError(ValueError):
    """An image is damaged, or is not one for this build."""


_MAGIC = b"QCDI"
_VERSION = 1


@dataclasses.dataclass
class DecoderImage:
    """What a decoder is loaded with.

    Parameters
    ----------
    shape : DecoderShape
    tables : dict of (int, Table) to list of int
        Words by basis and table; a table may be shorter than the shape allows (the rest is 0).
    settings : dict
        Integers for the run-time registers: ``commit``, ``buffer`` (layers), ``reach`` (weight).
    about : dict
        JSON data for the host: where it comes from, and which detector is which node.

    Notes
    -----
    File: ``"QCDI"``, version (u16), reserved (u16), length of the JSON header (u32), the header
    (shape, settings, about, and the tables' lengths in order), every word as u64, and the CRC-32
    of everything before it (u32). All little-endian.
    """

    shape: DecoderShape
    tables: dict
    settings: dict
    about: dict

    def words(self, basis, table):
        """All words of a table, filled up with 0 (PAIR and BOUND: with :data:`NONE`)."""
        table = Table(table)
        words = list(self.tables.get((basis, table), ()))
        fill = NONE if table in (Table.PAIR, Table.BOUND) else 0
        return words + [fill] * (self.shape.table_depth(table) - len(words))

    def check(self):
        """Raise :exc:`ImageError` where a table does not fit the shape."""
        for (basis, table), words in self.tables.items():
            depth = self.shape.table_depth(table)
            if basis not in range(BASES) or len(words) > depth:
                raise ImageError(f"Table {Table(table).name} of basis {basis} has {len(words)} "
                                 f"words; this build holds {depth}")
            width = Shape.cast(self.shape.table_word(table)).width
            for address, word in enumerate(words):
                if not 0 <= word < 1 << width:
                    raise ImageError(f"Word {address} of table {Table(table).name}, basis {basis}, "
                                     f"is {word}; it has {width} bits")

    def to_bytes(self):
        """The file's contents."""
        self.check()
        keys = sorted(self.tables, key=lambda key: (key[0], Table(key[1]).value))
        header = json.dumps({
            "shape": dataclasses.asdict(self.shape), "settings": self.settings,
            "about": self.about,
            "tables": [[basis, Table(table).name, len(self.tables[basis, table])]
                       for basis, table in keys]}, sort_keys=True).encode()
        words = [word for key in keys for word in self.tables[key]]
        body = (_MAGIC + struct.pack("<HHI", _VERSION, 0, len(header)) + header
                + struct.pack(f"<{len(words)}Q", *words))
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, content):
        """Read :meth:`to_bytes` back.

        Raises
        ------
        ImageError
            Not an image, another version, cut or damaged.
        """
        content = bytes(content)
        if len(content) < 16 or content[:4] != _MAGIC:
            raise ImageError(f"Not a decoder image: it starts with {content[:4]!r}, not {_MAGIC!r}")
        version, _, length = struct.unpack_from("<HHI", content, 4)
        if version != _VERSION:
            raise ImageError(f"Decoder image of version {version}; this software reads version "
                             f"{_VERSION}: compile it again")
        if zlib.crc32(content[:-4]) != struct.unpack("<I", content[-4:])[0]:
            raise ImageError("Decoder image is damaged (wrong CRC): compile or copy it again")
        header = json.loads(content[12:12 + length])
        at = 12 + length
        tables = {}
        for basis, name, count in header["tables"]:
            tables[basis, Table[name]] = list(struct.unpack_from(f"<{count}Q", content, at))
            at += 8 * count
        image = cls(DecoderShape(**header["shape"]), tables, header["settings"], header["about"])
        image.check()
        return image
