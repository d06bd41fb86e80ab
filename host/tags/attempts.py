"""Attempts of the herald unit: which tag belongs to which. How each ended is told by
:mod:`quantacore.host.herald.records`.

All of it works on the whole stream: a tag may come before or after the record of its attempt.
"""

from dataclasses import dataclass

import numpy as np

from quantacore.gateware.layouts.herald import (
    ATTEMPT_BITS,
    AttemptRecord,
    HeraldRecord,
    HeraldRecordKind,
)
from quantacore.gateware.layouts.tags import FINE_BITS, LossCause
from quantacore.gateware.layouts.virtual import FIRST_VIRTUAL
from quantacore.host.herald.records import places_of
from quantacore.host.tags.decode import TagStreamError

__all__ = ["UNKNOWN", "Attempts", "decode_attempts", "attempt_numbers", "event_ids"]

#: Number of the attempt of a tag where records were lost.
UNKNOWN = -1


_ATTEMPT, _HERALD = places_of(AttemptRecord), places_of(HeraldRecord)
_COARSE_BITS = int(_ATTEMPT["coarse"][1]).bit_length()
#: Ticks by which the order of records and tags in the stream may be off: queues, delays.
_SKEW = 1 << 24


@dataclass(kw_only=True)
class Attempts:
    """From when on which attempt was in progress.

    Attributes
    ----------
    ticks : numpy.ndarray
        int64, ascending: when each began.
    numbers : numpy.ndarray
        int64; 0 is a pause between attempts. They begin anew where the node's count was cleared.
    unknown : numpy.ndarray
        bool: records were lost before the next one, so that edges up to that may be in other
        attempts.
    first_unknown : bool
        The same for edges before the first.
    """

    ticks: np.ndarray
    numbers: np.ndarray
    unknown: np.ndarray
    first_unknown: bool

    def __len__(self):
        return len(self.ticks)

    def at(self, times):
        """Number of the attempt at each time (int64, fine units): 0 for none, or -1.

        -1 (:data:`UNKNOWN`) is where a lost record could tell of another attempt.
        """
        times = np.asarray(times, np.int64)
        numbers = np.concatenate(([UNKNOWN if self.first_unknown else 0],
                                  np.where(self.unknown, UNKNOWN, self.numbers)))
        return numbers[np.searchsorted(self.ticks << FINE_BITS, times, side="right")]


def _columns(state):
    records, after = state.herald_records()
    kinds = records >> _ATTEMPT["kind"][0]
    return records, after, kinds == HeraldRecordKind.ATTEMPT.value


def _fields(records, places):
    return {name: (records >> at & mask).astype(np.int64) for name, (at, mask) in places.items()}


def _unwrapped(numbers, pauses):
    """Whole numbers of attempts from their lowest bits; 0 for pauses.

    Numbers grow by far less than half of what the bits hold, for there are heartbeats; where they
    grow by more, or fall, the count was cleared.
    """
    whole = numbers.copy()
    attempts = np.flatnonzero(~pauses)
    if len(attempts):
        low = numbers[attempts]
        step = np.diff(low, prepend=low[0])
        forward = step % (1 << ATTEMPT_BITS) < 1 << ATTEMPT_BITS - 1
        wraps = np.cumsum(forward & (step < 0))
        begin = np.maximum.accumulate(np.where(forward, 0, np.arange(len(low))))
        whole[attempts] = low + (wraps - wraps[begin] << ATTEMPT_BITS)
    return whole


def decode_attempts(state, times):
    """The attempts of a stream.

    A record has the lowest 32 bits of its tick. The others come from the tags next to it in the
    stream, so attempts without a tag for longer than 17 s (at 125 MHz) may be in the wrong place.

    Parameters
    ----------
    state : DecodeState
        After the last batch.
    times : numpy.ndarray
        Times of all tags of the stream, as they came (:attr:`Columns.times`).

    Returns
    -------
    Attempts

    Raises
    ------
    ValueError
        If these are not all tags of the stream.
    TagStreamError
        If attempts go back in time.
    """
    times = np.asarray(times, np.int64)
    if len(times) != state.tags:
        raise ValueError(f"Times must be those of all {state.tags} tags of the stream, "
                         f"not of {len(times)}")
    records, after, is_attempt = _columns(state)
    columns = _fields(records[is_attempt], _ATTEMPT)
    after_attempt = after[is_attempt]
    coarse = columns["coarse"]
    ticks = coarse.copy()
    if len(times):
        edges = times >> FINE_BITS
        # The latest tick with these bits that is not after the next tag, unless it is then before
        # the tag before: then it is soon after.
        behind, ahead = edges[np.maximum(after_attempt - 1, 0)], \
            edges[np.minimum(after_attempt, len(edges) - 1)]
        ticks = ahead - (ahead - coarse) % (1 << _COARSE_BITS)
        has_behind = after_attempt > 0
        early = np.where(has_behind, ticks < behind - _SKEW,
                         ahead - ticks > (1 << _COARSE_BITS) - _SKEW)
        ticks += early.astype(np.int64) << _COARSE_BITS
    if (np.diff(ticks) < 0).any():
        place = int(np.flatnonzero(np.diff(ticks) < 0)[0]) + 1
        raise TagStreamError(f"Attempt record {place} is of tick {ticks[place]}, before the one "
                             f"ahead of it ({ticks[place - 1]}): was the tick counter set back?")

    # Where a record of either kind tells of lost ones, these came after the last attempt's.
    lost = _fields(records, _ATTEMPT)["lost"]
    lost[~is_attempt] = _fields(records[~is_attempt], _HERALD)["lost"]
    ahead_of = np.cumsum(is_attempt) - is_attempt
    unknown = np.zeros(len(coarse) + 1, bool)
    unknown[ahead_of[lost > 0]] = True
    return Attempts(ticks=ticks, numbers=_unwrapped(columns["number"], columns["pause"] == 1),
                    unknown=unknown[1:], first_unknown=bool(unknown[0]))


def attempt_numbers(columns, state, *, delays=None):
    """The number of the attempt in which each tag's edge was.

    Parameters
    ----------
    columns : Columns
        All tags of the stream.
    state : DecodeState
    delays : sequence of int, optional
        What the tagger has added to the times of each channel, fine units: attempts go by the
        times at the node's inputs.

    Returns
    -------
    numpy.ndarray
        int64: from 1, 0 for an edge that was in no attempt, -1 for unknown (records were lost).
    """
    times = columns.times
    if delays is not None:
        offsets = np.zeros(256, np.int64)
        offsets[:len(delays)] = delays
        times = times - offsets[columns.channels]
    return decode_attempts(state, columns.times).at(times)


def event_ids(columns, state):
    """Which of all the detectors' edges each tag is, counting those that were lost.

    Parameters
    ----------
    columns : Columns
        All tags of the stream.
    state : DecodeState

    Returns
    -------
    numpy.ndarray
        int64, from 0 in the order of the stream; -1 for edges of virtual channels.
    """
    real = columns.channels < FIRST_VIRTUAL
    losses = [loss for loss in state.losses if loss.cause is not LossCause.VIRTUAL]
    lost = np.zeros(len(real) + 1, np.int64)
    np.add.at(lost, [loss.after_tags for loss in losses], [loss.count for loss in losses])
    return np.where(real, np.cumsum(real) - 1 + np.cumsum(lost[:-1]), -1)
