"""Sample words and tag records: what a detector front end hands over, and what the host receives.

Time inside the fabric is a tick count (one tick is one period of the ``sync`` clock) plus a
13-bit fraction. One unit of that fraction, a *fine unit*, is 2**-13 of a tick: 0.977 ps at
125 MHz, so a time in whole picoseconds survives the trip to fine units and back unchanged.
"""

from amaranth.lib import data, enum
from amaranth.utils import exact_log2

__all__ = [
    "FINE_BITS", "FINE_PER_TICK", "COARSE_BITS", "EPOCH_BITS", "MAX_CHANNELS",
    "SAMPLES_PER_CLOCK", "sample_word", "TagKind", "LossCause", "TagRecord", "EpochRecord",
    "LostRecord",
]

#: Bits of the fraction of a tick in every time.
FINE_BITS = 13
#: Fine units in a tick.
FINE_PER_TICK = 1 << FINE_BITS
#: Bits of the tick counter that a record carries; the rest is the epoch.
COARSE_BITS = 40
#: Bits of the tick counter above :data:`COARSE_BITS`.
EPOCH_BITS = 64 - COARSE_BITS
#: Channels that registers exist for.
MAX_CHANNELS = 8
#: Allowed numbers of samples per clock.
SAMPLES_PER_CLOCK = (1, 2, 4, 8)


def sample_word(samples, *, fine=True):
    """Layout of one clock's worth of samples of one input.

    ``level[i]`` is the input's level at sample *i*, oldest first. An *edge* in sample *i* is a
    difference between ``level[i]`` and the sample before it (the last sample of the previous
    word for *i* = 0). ``fine[i]``, present if ``fine`` is true, is where inside sample *i* that
    edge fell, in fine units; it means nothing where there is no edge. A front end without a
    delay line drives zero.

    Parameters
    ----------
    samples : int
        1, 2, 4 or 8.
    fine : bool
        Whether the front end measures inside a sample.
    """
    if samples not in SAMPLES_PER_CLOCK:
        raise ValueError(f"Samples per clock must be one of {SAMPLES_PER_CLOCK}, not {samples!r}")
    members = {"level": samples}
    if fine:
        members["fine"] = data.ArrayLayout(FINE_BITS - exact_log2(samples), samples)
    return data.StructLayout(members)


class TagKind(enum.Enum, shape=4):
    """What a 64-bit record of the tag stream says."""

    #: One edge: :class:`TagRecord`.
    TAG = 0
    #: The upper bits of all times that follow: :class:`EpochRecord`.
    EPOCH = 1
    #: The record buffer is full; this is the first edge that is lost. A :class:`TagRecord`.
    OVERFLOW_BEGIN = 2
    #: There is room again; this was the last edge that was lost, and a LOST record follows. A
    #: :class:`TagRecord`.
    OVERFLOW_END = 3
    #: How many edges are missing before this record: :class:`LostRecord`.
    LOST = 4


class LossCause(enum.Enum, shape=6):
    """Where edges were lost (the ``channel`` field of a LOST record)."""

    #: The record buffer was full: the host granted too little credit or read too slowly.
    BUFFER = 0
    #: More edges at once than the row queue behind the front end holds.
    BURST = 1
    #: The virtual channels' queue was full; these edges are no detector's.
    VIRTUAL = 2


class TagRecord(data.Struct):
    """An edge, or the begin or end of an overflow."""

    fine: FINE_BITS
    coarse: COARSE_BITS
    #: 1 for a falling edge.
    falling: 1
    channel: 6
    kind: TagKind


class EpochRecord(data.Struct):
    """Bits 40 to 63 of the tick counter for every record that follows."""

    epoch: EPOCH_BITS
    reserved: FINE_BITS + COARSE_BITS + 1 - EPOCH_BITS + 6
    kind: TagKind


class LostRecord(data.Struct):
    """A number of edges that were seen and are not in the stream."""

    count: 32
    reserved: FINE_BITS + COARSE_BITS + 1 - 32
    cause: LossCause
    kind: TagKind
