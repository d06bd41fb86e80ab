"""A decoder's 64-bit records: apart from time tags, to columns, and to shots.

The ring of a node carries the records of all its blocks. :func:`split_records` parts these from
the others (tags, and marks of a sequencer: :mod:`quantacore.host.tags.marks`),
:func:`decoder_columns` gives the decoder's fields as arrays, and :class:`ShotAssembler` puts
windows and shots together.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Shape

from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderRecordKind,
    EscapeRecord,
    MatchRecord,
    TimingRecord,
    VerdictRecord,
    WindowFlags,
)

__all__ = ["split_records", "decoder_columns", "DecodedMatch", "DecodedWindow", "DecodedShot",
           "ShotAssembler", "VerdictError"]

_LAYOUTS = {
    DecoderRecordKind.VERDICT: VerdictRecord, DecoderRecordKind.TIMING: TimingRecord,
    DecoderRecordKind.MATCH: MatchRecord, DecoderRecordKind.ESCAPE: EscapeRecord,
}
_KIND_AT = np.uint64(VerdictRecord.as_shape()["kind"].offset)
if any(layout.as_shape()["kind"].offset != _KIND_AT for layout in _LAYOUTS.values()):
    raise ImportError("The kinds of decoder records stand at different places; verdicts.py must "
                      "follow")
_KINDS = np.array([kind.value for kind in DecoderRecordKind], np.uint64)
_MATCH_ROUNDS = (1 << Shape.cast(MatchRecord.as_shape()["round"].shape).width) - 1
_FLAGS = {name: f.offset for name, f in WindowFlags.as_shape() if name != "reserved"}


class VerdictError(ValueError):
    """A sequence of records that no decoder sends."""


def split_records(records):
    """``(others, decoder's)``: both ``numpy.uint64``, each in the order of the stream."""
    records = np.ascontiguousarray(records, np.uint64)
    ours = np.isin(records >> _KIND_AT, _KINDS)
    return records[~ours], records[ours]


def decoder_columns(records):
    """Fields of decoder records.

    Parameters
    ----------
    records : numpy.ndarray
        uint64, of the decoder only.

    Returns
    -------
    dict
        By :class:`~quantacore.gateware.layouts.decoder.DecoderRecordKind`: a dictionary of int64
        columns by field, and ``"at"``, the records' places. Flags of verdicts stand under their
        own names too.
    """
    records = np.ascontiguousarray(records, np.uint64)
    kinds = records >> _KIND_AT
    result = {}
    for kind, layout in _LAYOUTS.items():
        at = np.flatnonzero(kinds == kind.value)
        words = records[at]
        columns = {"at": at}
        for name, f in layout.as_shape():
            mask = np.uint64((1 << Shape.cast(f.shape).width) - 1)
            columns[name] = (words >> np.uint64(f.offset) & mask).astype(np.int64)
        if kind is DecoderRecordKind.VERDICT:
            for name, offset in _FLAGS.items():
                columns[name] = columns["flags"] >> offset & 1
        result[kind] = columns
    return result


class DecodedMatch(NamedTuple):
    """Two defects that were matched; nodes are ``(round, space)``.

    ``other`` is None for the boundary. ``flips`` is the mask of observables that this flips.
    """

    basis: int
    node: tuple
    other: tuple | None
    flips: int


@dataclass(frozen=True)
class DecodedWindow:
    """What one window of one basis committed.

    Attributes
    ----------
    basis : int
    round, layers : int
        First round, counted from the first one of the shot, and rounds committed.
    flips : int
        Mask of the observables that its matches flip.
    escapes : tuple of (round, space)
        Defects that are left to the host; they are decoded together.
    matches : tuple of DecodedMatch
        Only where matches are recorded.
    last, overflow, escaped, events_dropped, walk_error, gap, second_pass : bool
        See :class:`~quantacore.gateware.layouts.decoder.WindowFlags`.
    largest, defects : int
        Defects in the largest cluster (15 for more), and in the window.
    latency_ticks, clocks, backlog : int
        From the arrival of its last round to the verdict; worked on; rounds that waited then.
    """

    basis: int
    round: int
    layers: int
    flips: int
    escapes: tuple
    matches: tuple
    last: bool
    overflow: bool
    escaped: bool
    events_dropped: bool
    walk_error: bool
    gap: bool
    second_pass: bool
    largest: int
    defects: int
    latency_ticks: int
    clocks: int
    backlog: int


@dataclass(frozen=True)
class DecodedShot:
    """What a decoder says of one shot.

    Attributes
    ----------
    number : int
        Counts the shots since the reset of the decoder.
    windows : tuple of DecodedWindow
        Of both bases.
    """

    number: int
    windows: tuple

    @cached_property
    def flips(self):
        """Mask of the observables that the node's matches flip, both bases; escapes come on
        top."""
        mask = 0
        for window in self.windows:
            mask ^= window.flips
        return mask

    @property
    def complete(self):
        """Whether nothing is left to the host, so that ``flips`` is all."""
        return not any(window.escapes for window in self.windows)

    @property
    def matches(self):
        """Matches of both bases, where they are recorded."""
        return tuple(match for window in self.windows for match in window.matches)

    @property
    def rounds(self):
        """Rounds of the shot."""
        return sum(window.layers for window in self.windows if window.basis == 0)

    def observables(self, number):
        """``flips`` as a bool array of ``number`` observables."""
        return (self.flips >> np.arange(number) & 1).astype(bool)


class _Basis:
    def __init__(self):
        self.shots = []  # windows of ended shots
        self.begin()

    def begin(self):
        self.windows, self.verdict, self.matches, self.escapes = [], None, [], []


class ShotAssembler:
    """Puts records of one decoder together to shots; carried along a stream.

    It begins at a reset of the decoder, where no window is under way.
    """

    def __init__(self):
        self._bases = [_Basis() for _ in range(BASES)]
        self.shots = 0

    @property
    def windows_under_way(self):
        """Windows of shots that have not ended."""
        return sum(len(basis.windows) for basis in self._bases)

    def feed(self, records):
        """Take records (of the decoder only); return the shots that they complete.

        Raises
        ------
        VerdictError
            The records are not those of a decoder from its reset on.
        """
        columns = decoder_columns(records)
        order = []
        for kind, found in columns.items():
            names = [name for name in found if name not in ("at", "flags", "kind", "reserved")]
            rows = zip(*(found[name].tolist() for name in names), strict=True)
            order += [(at, kind, dict(zip(names, row, strict=True)))
                      for at, row in zip(found["at"].tolist(), rows, strict=True)]
        order.sort(key=lambda entry: entry[0])
        for _, kind, row in order:
            basis = self._bases[row["basis"]]
            if kind is DecoderRecordKind.ESCAPE:
                basis.escapes.append((row["round"], row["space"]))
            elif kind is DecoderRecordKind.MATCH:
                basis.matches.append(row)
            elif kind is DecoderRecordKind.VERDICT:
                if basis.verdict is not None:
                    raise VerdictError(f"Two verdicts of basis {row['basis']} without a timing "
                                       f"between: records are missing")
                basis.verdict = row
            else:
                self._window(basis, row)
        done = []
        while all(basis.shots for basis in self._bases):
            windows = [basis.shots.pop(0) for basis in self._bases]
            done.append(DecodedShot(self.shots, tuple(windows[0] + windows[1])))
            self.shots += 1
        return done

    def _window(self, basis, timing):
        verdict = basis.verdict
        if verdict is None:
            raise VerdictError(f"A timing of basis {timing['basis']} without a verdict: records "
                               f"are missing")
        expected = sum(window.layers for window in basis.windows)
        if verdict["round"] != expected:
            raise VerdictError(f"A window of basis {timing['basis']} begins at round "
                               f"{verdict['round']}, not at {expected}: records are missing, or "
                               f"the decoder was not reset before")
        first = verdict["round"]
        matches = []
        for row in basis.matches:
            # A match may begin before the window only by what was kept: never.
            at = first + (row["round"] - first & _MATCH_ROUNDS)
            other = None if row["boundary"] else (at + row["delta"], row["other_space"])
            matches.append(DecodedMatch(row["basis"], (at, row["space"]), other, row["obs"]))
        basis.windows.append(DecodedWindow(
            basis=verdict["basis"], round=first, layers=verdict["layers"], flips=verdict["obs"],
            escapes=tuple(basis.escapes), matches=tuple(matches),
            **{name: bool(verdict[name]) for name in _FLAGS}, largest=verdict["largest"],
            defects=timing["defects"], latency_ticks=timing["latency"], clocks=timing["clocks"],
            backlog=timing["backlog"]))
        if verdict["last"]:
            basis.shots.append(basis.windows)
            basis.windows = []
        basis.verdict, basis.matches, basis.escapes = None, [], []
