"""Marks of the sequencer (``TAG``): apart from other records, and to columns."""

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Shape

from quantacore.gateware.layouts.sequencer import MarkRecord, SequencerRecordKind

__all__ = ["Marks", "split_marks", "decode_marks"]

_PLACES = {name: (np.uint64(f.offset), np.uint64((1 << Shape.cast(f.shape).width) - 1))
           for name, f in MarkRecord.as_shape()}
_KIND = np.uint64(SequencerRecordKind.MARK.value)
_COARSE = _PLACES["coarse"][1]


@dataclass(kw_only=True)
class Marks:
    """Marks in the order in which they were made.

    Attributes
    ----------
    ticks : numpy.ndarray
        int64, tick in which each ``TAG`` was issued.
    codes : numpy.ndarray
        int64.
    lost : numpy.ndarray
        int64, marks that were lost before each one; 15 stands for 15 or more.
    """

    ticks: np.ndarray
    codes: np.ndarray
    lost: np.ndarray

    def __len__(self):
        return len(self.ticks)

    @classmethod
    def join(cls, batches):
        """One :class:`Marks` of several, in their order."""
        batches = list(batches)
        empty = [np.empty(0, np.int64)]
        return cls(**{name: np.concatenate([getattr(b, name) for b in batches] or empty)
                      for name in ("ticks", "codes", "lost")})


def split_marks(records):
    """``(others, marks)``: both ``numpy.uint64``, each in the order of the stream."""
    records = np.ascontiguousarray(records, np.uint64)
    ours = records >> _PLACES["kind"][0] == _KIND
    return records[~ours], records[ours]


def decode_marks(records, now):
    """Fields of mark records.

    A mark holds the lowest 40 bits of its tick. The others don't come from the stream's EPOCH
    records, which only a running tagger sends, but from the time of reading.

    Parameters
    ----------
    records : numpy.ndarray
        uint64, marks only.
    now : int
        The node's tick counter, read after the records: none of them is later. They are taken to
        be less than 2**40 ticks old (2.4 hours at 125 MHz).

    Returns
    -------
    Marks
    """
    records = np.ascontiguousarray(records, np.uint64)
    fields = {name: records >> at & mask for name, (at, mask) in _PLACES.items()}
    age = np.uint64(now) - fields["coarse"] & _COARSE
    ticks = (np.uint64(now) - age).astype(np.int64)
    return Marks(ticks=ticks, codes=fields["code"].astype(np.int64),
                 lost=fields["lost"].astype(np.int64))
