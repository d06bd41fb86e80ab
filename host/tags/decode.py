"""A node's 64-bit records to columns, with numpy, by the offsets of the shared layouts.

Times come out in *fine units* (2**-13 tick) as int64. That holds tick counts below 2**50, which
is 104 days at 125 MHz; a record beyond it raises :class:`TagStreamError`.
"""

from dataclasses import dataclass, field
from math import gcd

import numpy as np

from quantacore.gateware.layouts.decoder import DecoderRecordKind
from quantacore.gateware.layouts.herald import HeraldRecordKind
from quantacore.gateware.layouts.sequencer import SequencerRecordKind
from quantacore.gateware.layouts.tags import (
    COARSE_BITS,
    FINE_BITS,
    FINE_PER_TICK,
    EpochRecord,
    LossCause,
    LostRecord,
    TagKind,
    TagRecord,
)

__all__ = ["TagStreamError", "DecodeState", "Columns", "Overflow", "Loss", "decode",
           "ticks_to_ps", "ps_to_fine"]


def _field(struct, name):
    place = struct.as_shape()[name]
    return np.uint64(place.offset), np.uint64((1 << place.width) - 1)


_KIND = _field(TagRecord, "kind")
_CHANNEL = _field(TagRecord, "channel")
_FALLING = _field(TagRecord, "falling")
_EPOCH = _field(EpochRecord, "epoch")
_COUNT = _field(LostRecord, "count")
_CAUSE = _field(LostRecord, "cause")
# Fraction and tick count are neighbours, so that a time is one field; a layout in which they are
# not would need another line in `_times`, and fails here instead of decoding nonsense.
if (_field(TagRecord, "fine")[0], _field(TagRecord, "coarse")[0]) != (0, FINE_BITS):
    raise ImportError("The time fields of TagRecord have moved; decode.py must follow")
_TIME_BITS = FINE_BITS + COARSE_BITS
_TIME_MASK = np.uint64((1 << _TIME_BITS) - 1)
_MAX_EPOCH = (1 << 63 - _TIME_BITS) - 1
_CAUSES = {cause.value: cause.name for cause in LossCause}
_OTHERS = np.array([kind.value for kinds in (DecoderRecordKind, SequencerRecordKind,
                                             HeraldRecordKind) for kind in kinds], np.uint64)
_HERALDS = np.array([kind.value for kind in HeraldRecordKind], np.uint64)
_KIND_NAMES = {kind.value: kind.name for kind in TagKind}
# Small enough that a chunk and its columns stay in the second-level cache.
_CHUNK = 1 << 15


class TagStreamError(ValueError):
    """A sequence of records that no node sends. The message says which record and why."""


@dataclass(frozen=True, kw_only=True)
class Overflow:
    """A span in which the node's record buffer was full. Times in fine units."""

    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Edges that are missing at one place of the stream."""

    cause: LossCause
    count: int
    #: Tags of the stream (all batches) before the place.
    after_tags: int


@dataclass(kw_only=True)
class DecodeState:
    """What is carried from one batch of a stream to the next, and the account of losses.

    ``records``, ``tags`` and ``lost`` count from the start of the stream; ``overflows`` are the
    closed spans, ``open_overflow`` is the begin of one that has not ended, or None. ``others``
    counts records of the node's decoder, sequencer and herald unit, which are passed over and not
    in ``records``. Those of the herald unit are kept, with the number of tags before each, for
    :mod:`quantacore.host.tags.attempts`.
    """

    epoch: int | None = None
    records: int = 0
    tags: int = 0
    others: int = 0
    overflows: list = field(default_factory=list)
    open_overflow: int | None = None
    losses: list = field(default_factory=list)
    heralds: list = field(default_factory=list)

    def herald_records(self):
        """Records of the herald unit and the tags before each: ``uint64``, ``int64``."""
        empty = (np.empty(0, np.uint64), np.empty(0, np.int64))
        return tuple(np.concatenate(parts) for parts in zip(empty, *self.heralds, strict=True))

    @property
    def lost(self):
        """Edges lost, all causes."""
        return sum(loss.count for loss in self.losses)

    def lost_by(self, cause):
        """Edges lost for one :class:`LossCause`."""
        return sum(loss.count for loss in self.losses if loss.cause is cause)


@dataclass(kw_only=True)
class Columns:
    """Tags of one batch, in the order of the stream.

    Attributes
    ----------
    times : numpy.ndarray
        int64, fine units.
    channels : numpy.ndarray
        uint8.
    falling : numpy.ndarray
        bool, True for falling edges.
    """

    times: np.ndarray
    channels: np.ndarray
    falling: np.ndarray

    def __len__(self):
        return len(self.times)

    @classmethod
    def join(cls, batches):
        """One :class:`Columns` of several, in their order."""
        batches = list(batches)
        if not batches:
            return cls(times=np.empty(0, np.int64), channels=np.empty(0, np.uint8),
                       falling=np.empty(0, bool))
        return cls(times=np.concatenate([b.times for b in batches]),
                   channels=np.concatenate([b.channels for b in batches]),
                   falling=np.concatenate([b.falling for b in batches]))


def decode(records, state=None):
    """Decode one batch of a stream.

    Parameters
    ----------
    records : numpy.ndarray
        uint64, as they came. Batches may be cut anywhere between records. Records of the node's
        decoder (:mod:`quantacore.host.driver.verdicts`), sequencer
        (:mod:`quantacore.host.tags.marks`) and herald unit
        (:mod:`quantacore.host.tags.attempts`) may stand between them.
    state : DecodeState, optional
        Carried along a stream and updated here; a new stream starts with a new one. If this
        raises, the state is as before the call.

    Returns
    -------
    Columns

    Raises
    ------
    TagStreamError
        For a TAG before the first EPOCH, an unknown kind of record, a TAG inside an overflow, an
        overflow that begins twice or ends without a begin, a time beyond int64.
    """
    records = np.ascontiguousarray(records, dtype=np.uint64)
    state = DecodeState() if state is None else state
    kinds = records >> _KIND[0]
    others = np.isin(kinds, _OTHERS) if (kinds >= _OTHERS.min()).any() else None
    heralds = None
    if others is not None:
        ours = np.flatnonzero(np.isin(kinds, _HERALDS))
        if len(ours):
            before = np.cumsum(kinds == TagKind.TAG.value)[ours]
            heralds = records[ours], state.tags + before.astype(np.int64)
        records, kinds = records[~others], kinds[~others]
    size = len(records)
    times = np.empty(size, np.int64)
    channels = np.empty(size, np.uint8)
    falling = np.empty(size, bool)

    # The few records that are not tags split the batch in runs of tags of one epoch.
    special = np.flatnonzero(kinds != TagKind.TAG.value)
    epoch, open_overflow = state.epoch, state.open_overflow
    overflows, losses = [], []
    filled = begin = 0
    for end in (*special.tolist(), size):
        if end > begin:
            if epoch is None or open_overflow is not None:
                raise _out_of_place(TagKind.TAG, state.records + begin, epoch)
            run = end - begin
            _columns(records[begin:end], epoch, times[filled:filled + run],
                     channels[filled:filled + run], falling[filled:filled + run])
            filled += run
        begin = end + 1
        if end == size:
            break
        record, place = int(records[end]), state.records + end
        kind = record >> int(_KIND[0])
        if kind == TagKind.EPOCH.value:
            epoch = _bits(record, _EPOCH)
            if epoch > _MAX_EPOCH:
                raise TagStreamError(
                    f"Record {place} sets epoch {epoch}; times fit 64 bits up to epoch "
                    f"{_MAX_EPOCH} (2**50 ticks): load a smaller tick count into the node")
        elif kind == TagKind.OVERFLOW_BEGIN.value:
            if epoch is None or open_overflow is not None:
                raise _out_of_place(TagKind.OVERFLOW_BEGIN, place, epoch)
            open_overflow = _time(record, epoch)
        elif kind == TagKind.OVERFLOW_END.value:
            if epoch is None or open_overflow is None:
                raise _out_of_place(TagKind.OVERFLOW_END, place, epoch)
            overflows.append(Overflow(begin=open_overflow, end=_time(record, epoch)))
            open_overflow = None
        elif kind == TagKind.LOST.value:
            cause = _bits(record, _CAUSE)
            if cause not in _CAUSES:
                raise TagStreamError(f"Record {place} tells of a loss for cause {cause}, which is "
                                     f"none of {_CAUSES}: the stream is of a newer gateware")
            losses.append(Loss(cause=LossCause(cause),
                               count=_bits(record, _COUNT), after_tags=state.tags + filled))
        else:
            raise TagStreamError(f"Record {place} ({record:#018x}) is of kind {kind}, which is "
                                 f"none of {_KIND_NAMES}: this is not a tag stream, or of a newer "
                                 f"gateware")
    state.epoch, state.open_overflow = epoch, open_overflow
    state.records += size
    state.others += 0 if others is None else int(others.sum())
    state.tags += filled
    state.overflows += overflows
    state.losses += losses
    state.heralds += [] if heralds is None else [heralds]
    return Columns(times=times[:filled], channels=channels[:filled], falling=falling[:filled])


def _columns(records, epoch, times, channels, falling):
    base = np.int64(epoch << _TIME_BITS)
    for begin in range(0, len(records), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        word = records[part]
        np.bitwise_and(word, _TIME_MASK, out=times[part].view(np.uint64))
        times[part] += base
        channels[part] = word >> _CHANNEL[0] & _CHANNEL[1]
        falling[part] = word >> _FALLING[0] & _FALLING[1]


def _bits(record, place):
    return record >> int(place[0]) & int(place[1])


def _time(record, epoch):
    return (epoch << _TIME_BITS) + (record & int(_TIME_MASK))


def _out_of_place(kind, place, epoch):
    if epoch is None:
        why = "before the first EPOCH, so its time is unknown: the begin of the stream is missing"
    elif kind is TagKind.OVERFLOW_END:
        why = "without an OVERFLOW_BEGIN before it: records are missing"
    else:
        why = "inside an overflow: records are missing"
    return TagStreamError(f"Record {place} is {kind.name} {why}")


def ticks_to_ps(times, numerator, denominator):
    """Fine units to the nearest picosecond, exactly.

    Parameters
    ----------
    times : array-like
        int64, fine units.
    numerator, denominator : int
        One tick in picoseconds, as the node's identity block gives it (8000 / 1 at 125 MHz).

    Returns
    -------
    numpy.ndarray
        int64. A time of whole picoseconds that :func:`ps_to_fine` made comes back unchanged as
        long as a fine unit is shorter than a picosecond (clocks above 122.07 MHz).
    """
    _check_tick(numerator, denominator)
    return _ratio(times, numerator, denominator * FINE_PER_TICK)


def ps_to_fine(times_ps, numerator, denominator):
    """Whole picoseconds to the nearest fine unit, exactly; see :func:`ticks_to_ps`."""
    _check_tick(numerator, denominator)
    return _ratio(times_ps, denominator * FINE_PER_TICK, numerator)


def _check_tick(numerator, denominator):
    if numerator <= 0 or denominator <= 0:
        raise ValueError(f"A tick must be a positive ratio, not {numerator} / {denominator}")


def _ratio(values, up, down):
    """``round(values * up / down)`` with halves up, without leaving 64 bits."""
    divisor = gcd(up, down)
    up, down = up // divisor, down // divisor
    if 2 * up * down + down >= 1 << 63:
        # Beyond what the split below can do in 64 bits: exact Python integers.
        exact = [(2 * int(value) * up + down) // (2 * down) for value in np.ravel(values)]
        return np.array(exact, dtype=np.int64).reshape(np.shape(values))
    whole, rest = np.divmod(np.asarray(values, dtype=np.int64), np.int64(down))
    return whole * np.int64(up) + (rest * np.int64(2 * up) + np.int64(down)) // np.int64(2 * down)
