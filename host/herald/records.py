"""Verdict records of the herald unit: apart from other records, to columns, to a matrix."""

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Shape

from quantacore.gateware.layouts.herald import (
    ATTEMPT_BITS,
    CELLS,
    PATTERNS,
    AttemptRecord,
    HeraldRecord,
    HeraldRecordKind,
    Outcome,
)

__all__ = ["Verdicts", "VerdictState", "places_of", "split_verdicts", "decode_verdicts"]


def places_of(struct):
    """Name -> (first bit, mask) of each field of a record, as ``numpy.uint64``."""
    return {name: (np.uint64(f.offset), np.uint64((1 << Shape.cast(f.shape).width) - 1))
            for name, f in struct.as_shape()}


_HERALD, _ATTEMPT = places_of(HeraldRecord), places_of(AttemptRecord)
_KIND = _HERALD["kind"][0]
_LOW_BITS = Shape.cast(HeraldRecord.as_shape()["number"].shape).width
_LOW = 1 << _LOW_BITS
#: Records of neighbouring attempts may be out of order by no more than this.
_BACK = 64


@dataclass(kw_only=True)
class Verdicts:
    """How attempts ended, in the order of the stream.

    Attributes
    ----------
    attempts : numpy.ndarray
        int64, number of each attempt, counted from 1.
    outcomes : numpy.ndarray
        uint8, values of :class:`~quantacore.gateware.layouts.herald.Outcome`.
    patterns : numpy.ndarray
        uint8, number of the pattern; means nothing unless the outcome is a success.
    clicked : numpy.ndarray
        uint32, clicked cells, a bit each.
    lost : numpy.ndarray
        uint8, records that were lost before each one; 15 stands for 15 or more.
    """

    attempts: np.ndarray
    outcomes: np.ndarray
    patterns: np.ndarray
    clicked: np.ndarray
    lost: np.ndarray

    def __len__(self):
        return len(self.attempts)

    @classmethod
    def join(cls, batches):
        """One :class:`Verdicts` of several, in their order."""
        batches = list(batches)
        types = {"attempts": np.int64, "outcomes": np.uint8, "patterns": np.uint8,
                 "clicked": np.uint32, "lost": np.uint8}
        return cls(**{name: np.concatenate([np.empty(0, kind), *(getattr(b, name)
                                                                for b in batches)])
                      for name, kind in types.items()})

    def successes(self):
        """Those in which a pattern held."""
        good = self.outcomes == Outcome.SUCCESS.value
        return Verdicts(**{name: getattr(self, name)[good] for name in
                           ("attempts", "outcomes", "patterns", "clicked", "lost")})

    def matrix(self):
        """Successes by pattern and clicked cell.

        Returns
        -------
        (matrix, totals)
            int64, ``matrix[pattern, cell]`` successes of that pattern in which the cell was
            clicked, and ``totals[pattern]`` successes.
        """
        good = self.successes()
        bits = good.clicked[:, None] >> np.arange(CELLS, dtype=np.uint32) & np.uint32(1)
        matrix = np.zeros((PATTERNS, CELLS), np.int64)
        np.add.at(matrix, good.patterns, bits.astype(np.int64))
        return matrix, np.bincount(good.patterns, minlength=PATTERNS).astype(np.int64)


@dataclass
class VerdictState:
    """What is carried from one batch of a stream to the next: the number of the last attempt.

    ``number`` is where to begin: 0 after the node's counts were cleared, else what its register
    ``attempt`` said when the stream was opened.
    """

    number: int = 0
    started: bool = False


def split_verdicts(records):
    """``(others, verdicts)``: both ``numpy.uint64``, each in the order of the stream."""
    records = np.ascontiguousarray(records, np.uint64)
    ours = records >> _KIND == np.uint64(HeraldRecordKind.HERALD.value)
    return records[~ours], records[ours]


def decode_verdicts(records, state=None):
    """Verdicts of one batch of a stream.

    A record holds the lowest 16 bits of its attempt's number. What is above them is counted along
    the stream, and taken from the records of attempts between them, which hold 23 bits; the node
    sends one for each attempt in which something clicked.

    Parameters
    ----------
    records : numpy.ndarray
        uint64, as they came; other kinds are passed over.
    state : VerdictState, optional
        Carried along the stream, and updated.

    Returns
    -------
    Verdicts
    """
    state = VerdictState() if state is None else state
    records = np.ascontiguousarray(records, np.uint64)
    kinds = records >> _KIND
    is_verdict = kinds == np.uint64(HeraldRecordKind.HERALD.value)
    place, mask = _ATTEMPT["pause"]
    is_attempt = ((kinds == np.uint64(HeraldRecordKind.ATTEMPT.value))
                  & (records >> place & mask == 0))
    place, mask = _ATTEMPT["number"]
    number = records >> place & mask
    place, mask = _HERALD["number"]
    number = np.where(is_verdict, records >> place & mask, number)
    keep = is_verdict | is_attempt
    numbers = _numbers(number[keep].astype(np.int64), is_attempt[keep], state)
    verdicts = records[is_verdict]
    fields = {name: verdicts >> at & mask for name, (at, mask) in _HERALD.items()}
    return Verdicts(
        attempts=numbers[is_verdict[keep]], outcomes=fields["outcome"].astype(np.uint8),
        patterns=fields["pattern"].astype(np.uint8),
        clicked=fields["clicked"].astype(np.uint32), lost=fields["lost"].astype(np.uint8))


def _forward(steps, size, back):
    """Steps modulo ``size`` as numbers from ``-back`` on."""
    return (steps + back) % size - back


def _numbers(low, wide, state):
    """Whole numbers of attempts: ``low`` has 23 bits where ``wide``, else 16."""
    if not len(low):
        return low
    steps = _forward(np.diff(low % _LOW, prepend=state.number % _LOW), _LOW, _BACK)
    if not state.started:  # what waited in the node may be older than the register
        steps[0] = _forward(steps[0], _LOW, _LOW >> 1)
        state.started = True
    numbers = state.number + np.cumsum(steps)
    # Where all bits are known they show how many times the lowest went round unseen.
    size = 1 << ATTEMPT_BITS
    at = np.flatnonzero(wide)
    missing = (low[at] - numbers[at]) % size
    rounds = np.cumsum(_forward(np.diff(missing, prepend=0), size, _LOW))
    numbers = numbers + np.concatenate([[0], rounds])[np.searchsorted(at, np.arange(len(low)),
                                                                     side="right")]
    state.number = int(numbers[-1])
    return numbers
