"""Bit-exact model of the time tagger: sample words to edges to the record stream, and its audit.

Edges are three arrays of the same length: ``times`` (int64, fine units), ``channels`` (int64) and
``falling`` (bool), in the order of the stream: by tick, in a tick by sample, in a sample by
channel. What the buffers lose depends on how fast the host reads; :func:`audit` proves a stream
with losses against the edges that there were, gap by gap.
"""

from dataclasses import dataclass, field

import numpy as np

from quantacore.gateware.layouts.tags import (
    COARSE_BITS,
    EPOCH_BITS,
    FINE_BITS,
    FINE_PER_TICK,
    EpochRecord,
    LossCause,
    LostRecord,
    TagKind,
    TagRecord,
)
from quantacore.sim.golden.samples import decode_words

__all__ = ["edges_from_words", "apply_dead_time", "apply_delay", "write_records", "tag_records",
           "StreamError", "ParsedStream", "parse_records", "audit"]

_TIME_BITS = FINE_BITS + COARSE_BITS


def _offset(layout, name):
    return np.uint64(layout.as_shape()[name].offset)


def _field(words, layout, name):
    piece = layout.as_shape()[name]
    return (words >> np.uint64(piece.offset)) & np.uint64((1 << piece.width) - 1)


def edges_from_words(levels, fines=None, *, samples, first_tick=0, select=None, initial=None):
    """Selected edges of all channels, in the order of the stream.

    Parameters
    ----------
    levels : (channels, clocks) uint8
        Bit *i* is sample *i*; one word per tick from ``first_tick`` on.
    fines : (channels, clocks, samples) uint16 or None
    samples : int
    select : sequence of int or None
        2 bits per channel as in ``layouts.tagger.Edges``: bit 0 for rising, bit 1 for falling
        edges. ``None``: both, of all channels.
    initial : sequence of int or None
        Level of each channel before the first word; default 0.

    Returns
    -------
    times, channels, falling
    """
    parts = []
    ticks = first_tick + np.arange(np.shape(levels)[1])
    for channel, words in enumerate(levels):
        times, falling = decode_words(
            words, None if fines is None else fines[channel], samples=samples, ticks=ticks,
            initial=0 if initial is None else initial[channel])
        wanted = 3 if select is None else int(select[channel])
        keep = np.where(falling, wanted & 2, wanted & 1).astype(bool)
        parts.append((times[keep], np.full(keep.sum(), channel), falling[keep]))
    times, channels, falling = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    order = np.lexsort((channels, times // (FINE_PER_TICK // samples)))
    return times[order].astype(np.int64), channels[order], falling[order]


def apply_dead_time(times, channels, dead_time, last=None):
    """Which edges are kept.

    Parameters
    ----------
    times, channels
    dead_time : sequence of int
        Fine units, per channel.
    last : dict or None
        Time of each channel's last kept edge before these; updated.

    Returns
    -------
    (n,) bool
    """
    keep = np.ones(len(times), bool)
    last = {} if last is None else last
    for channel in np.unique(channels).tolist():
        dead = int(dead_time[channel])
        where = np.flatnonzero(channels == channel)
        mine = times[where].tolist()
        kept = last.get(channel)
        if dead:
            for index, time in zip(where.tolist(), mine, strict=True):
                if kept is not None and time - kept < dead:
                    keep[index] = False
                else:
                    kept = time
        else:
            kept = mine[-1]
        last[channel] = kept
    return keep


def apply_delay(times, channels, delay):
    """Times with each channel's delay added (fine units; a negative time stays negative)."""
    return times + np.asarray(delay, np.int64)[channels]


def tag_records(times, channels, falling, kind=TagKind.TAG):
    """TAG records, without epochs, as uint64."""
    times = np.asarray(times, np.int64)
    words = (times & ((1 << _TIME_BITS) - 1)).astype(np.uint64)
    words |= np.asarray(falling).astype(np.uint64) << _offset(TagRecord, "falling")
    words |= np.asarray(channels).astype(np.uint64) << _offset(TagRecord, "channel")
    return words | np.uint64(kind.value) << _offset(TagRecord, "kind")


def write_records(times, channels, falling):
    """The record stream of one run in which nothing is lost, as uint64.

    An EPOCH record comes first, and again wherever the upper bits of the time change.
    """
    tags = tag_records(times, channels, falling)
    if not len(tags):
        return tags
    epochs = (np.asarray(times, np.int64) >> _TIME_BITS) & ((1 << EPOCH_BITS) - 1)
    new = np.flatnonzero(np.concatenate([[True], epochs[1:] != epochs[:-1]]))
    words = epochs[new].astype(np.uint64) << _offset(EpochRecord, "epoch")
    words |= np.uint64(TagKind.EPOCH.value) << _offset(EpochRecord, "kind")
    return np.insert(tags, new, words)


class StreamError(ValueError):
    """The record stream breaks its grammar or does not add up."""


@dataclass(kw_only=True)
class ParsedStream:
    """A record stream, taken apart.

    ``times``, ``channels``, ``falling`` of the TAG records. ``marks`` is a list of ``(kind,
    position, value)`` of all other records except EPOCH: position is the number of TAG records
    before it; value is ``(time, channel, falling)``, or ``(count, cause)`` of a LOST record.
    """

    times: list = field(default_factory=list)
    channels: list = field(default_factory=list)
    falling: list = field(default_factory=list)
    marks: list = field(default_factory=list)
    epochs: int = 0

    def lost(self, cause):
        """Sum of the LOST records of one cause."""
        return sum(value[0] for kind, _, value in self.marks
                   if kind is TagKind.LOST and value[1] is cause)


def parse_records(records):
    """Decode a record stream and check its grammar.

    Grammar: ``(LOST(BURST) | EPOCH | TAG | BEGIN [EPOCH] END LOST(BUFFER)+ LOST(BURST)*)*``, with
    an EPOCH somewhere before the first record that has a time. A stream may end inside an
    overflow.
    """
    parsed = ParsedStream()
    epoch = None
    overflow = None  # None, "begun" (no TAG may come), "ended" (LOST(BUFFER) must come)
    for number, word in enumerate(np.asarray(records, np.uint64)):
        try:
            kind = TagKind(int(_field(word, TagRecord, "kind")))
        except ValueError:
            raise StreamError(f"Record {number} is of no known kind: {int(word):#018x}") from None
        if kind is TagKind.EPOCH:
            new = int(_field(word, EpochRecord, "epoch"))
            if new >> (EPOCH_BITS - 1):
                new -= 1 << EPOCH_BITS
            epoch = new
            parsed.epochs += 1
            if int(_field(word, EpochRecord, "reserved")):
                raise StreamError(f"Record {number} has reserved bits set: {int(word):#018x}")
            continue
        if kind is TagKind.LOST:
            count = int(_field(word, LostRecord, "count"))
            cause = LossCause(int(_field(word, LostRecord, "cause")))
            if not count:
                raise StreamError(f"Record {number} reports no loss")
            if overflow == "begun" or (cause is LossCause.BUFFER) != (overflow == "ended"):
                if not (cause is LossCause.BUFFER and parsed.marks
                        and parsed.marks[-1][0] is TagKind.LOST and overflow is None):
                    raise StreamError(f"Record {number} is a LOST({cause.name}) out of place")
            if overflow == "ended":
                overflow = None
            parsed.marks.append((kind, len(parsed.times), (count, cause)))
            continue
        if epoch is None:
            raise StreamError(f"Record {number} has a time, but no EPOCH came before it")
        time = (epoch << _TIME_BITS) | int(word & np.uint64((1 << _TIME_BITS) - 1))
        edge = (time, int(_field(word, TagRecord, "channel")),
                bool(_field(word, TagRecord, "falling")))
        if kind is TagKind.TAG:
            if overflow:
                raise StreamError(f"Record {number} is a TAG inside an overflow")
            parsed.times.append(edge[0])
            parsed.channels.append(edge[1])
            parsed.falling.append(edge[2])
            continue
        if (kind is TagKind.OVERFLOW_BEGIN) != (overflow is None) or overflow == "ended":
            raise StreamError(f"Record {number} is an {kind.name} out of place")
        overflow = "begun" if kind is TagKind.OVERFLOW_BEGIN else "ended"
        parsed.marks.append((kind, len(parsed.times), edge))
    return parsed


def audit(records, times, channels, falling):
    """Prove a finished record stream against the edges that there were.

    Every TAG record is one of the edges, in their order and once; between two TAG records (and
    before the first and after the last) exactly as many edges are missing as LOST records say;
    the marks of an overflow carry the first and the last edge that it lost.

    Parameters
    ----------
    records : array of uint64
    times, channels, falling
        The edges that reached the writer or the row queue, in the order of the stream, delays
        applied.

    Returns
    -------
    ParsedStream

    Raises
    ------
    StreamError
    """
    parsed = parse_records(records)
    edges = list(zip(np.asarray(times).tolist(), np.asarray(channels).tolist(),
                     np.asarray(falling).tolist(), strict=True))
    place = {edge: index for index, edge in enumerate(edges)}
    tags = list(zip(parsed.times, parsed.channels, parsed.falling, strict=True))
    gaps = {}
    for mark in parsed.marks:
        gaps.setdefault(mark[1], []).append(mark)
    before = -1
    for position in range(len(tags) + 1):
        if position < len(tags):
            at = place.get(tags[position])
            if at is None:
                raise StreamError(f"TAG {position} is no edge that there was: {tags[position]}")
        else:
            at = len(edges)
        if at <= before:
            raise StreamError(f"TAG {position} is out of order or twice: {tags[position]}")
        missing = range(before + 1, at)
        marks = gaps.get(position, [])
        counts = [value for kind, _, value in marks if kind is TagKind.LOST]
        if sum(count for count, _ in counts) != len(missing):
            raise StreamError(f"Before TAG {position} {len(missing)} edges are missing, and "
                              f"{counts} are reported lost")
        bounds = [place.get(value) for kind, _, value in marks if kind is not TagKind.LOST]
        if any(bound not in missing for bound in bounds) or bounds != sorted(bounds):
            raise StreamError(f"The overflow before TAG {position} has wrong limits: {marks}")
        if bounds and all(cause is LossCause.BUFFER for _, cause in counts):
            if (bounds[0], bounds[-1]) != (missing[0], missing[-1]):
                raise StreamError(f"The overflow before TAG {position} has wrong limits: {marks}")
        before = at
    return parsed
