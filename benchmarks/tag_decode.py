"""How fast the host turns a node's 64-bit records into columns of times, channels and edges.

The stream is the one a node sends: an epoch first and whenever the upper bits change, overflows
with their counts now and then. Decoded in batches as a link delivers them and as a file does,
and by a plain loop over the words, which must give the same.
"""

import time

import numpy as np
from common import Row, arguments, report

from quantacore.gateware.layouts.tags import (
    EpochRecord,
    LossCause,
    LostRecord,
    TagKind,
    TagRecord,
)
from quantacore.host.tags.decode import Columns, DecodeState, decode

ULTRA = (82e6, "Swabian Time Tagger Ultra, 82 MTags/s over USB: the vendor's figure, for transfer")
TAGGER20 = (9.2e6, "Swabian Time Tagger 20, 9.2 MTags/s over USB: the vendor's figure")


def stream(tags, generator):
    """Records of ``tags`` edges on 8 channels, with an overflow every 100 000."""
    times = np.cumsum(generator.integers(1, 200_000, tags)).astype(np.uint64)
    records = times | generator.integers(0, 8, tags).astype(np.uint64) << np.uint64(54)
    records |= generator.integers(0, 2, tags).astype(np.uint64) << np.uint64(53)

    def word(struct, **fields):
        return np.uint64(struct.const(fields).as_bits())

    parts = [np.array([word(EpochRecord, epoch=1, kind=TagKind.EPOCH)])]
    for begin in range(0, tags, 100_000):
        part = records[begin:begin + 100_000]
        edge = (int(part[-1]) & (1 << 53) - 1)
        parts += [part, np.array([
            word(TagRecord, fine=edge & 8191, coarse=edge >> 13, kind=TagKind.OVERFLOW_BEGIN),
            word(TagRecord, fine=edge & 8191, coarse=(edge >> 13) + 1, kind=TagKind.OVERFLOW_END),
            word(LostRecord, count=7, cause=LossCause.BUFFER, kind=TagKind.LOST),
        ])]
    return np.concatenate(parts)


def word_by_word(records):
    """The same by a loop, written for this comparison."""
    times, channels, falling, base = [], [], [], 0
    for record in records.tolist():
        kind = record >> 60
        if kind == 0:
            times.append(base + (record & 0x1F_FFFF_FFFF_FFFF))
            channels.append(record >> 54 & 63)
            falling.append(record >> 53 & 1)
        elif kind == 1:
            base = (record & 0xFF_FFFF) << 53
    return Columns(times=np.array(times, np.int64), channels=np.array(channels, np.uint8),
                   falling=np.array(falling, bool))


def rate(function, number, repeat):
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return number / best


def main():
    options = arguments(__doc__)
    generator = np.random.default_rng(options.seed)
    number = 2_000_000 if options.quick else 10_000_000
    records = stream(number, generator)

    def batches(size):
        state = DecodeState()
        return [decode(records[at:at + size], state) for at in range(0, len(records), size)]

    loop = records[:200_000]
    fast, slow = decode(loop), word_by_word(loop)
    for name in ("times", "channels", "falling"):
        if not np.array_equal(getattr(fast, name), getattr(slow, name)):
            raise SystemExit(f"Column {name} differs from the word-by-word decoder")
    if not np.array_equal(Columns.join(batches(4096)).times, decode(records).times):
        raise SystemExit("Batches and the whole differ")

    repeat = 3 if options.quick else 5
    plain = rate(lambda: word_by_word(loop), len(loop), 3)
    whole = rate(lambda: decode(records), number, repeat)
    report([
        Row(name="tag_decode/whole_file/tags_per_second", figure=whole, unit="1/s",
            anchor=ULTRA[0], anchor_source=ULTRA[1]),
        Row(name="tag_decode/batches_of_4096/tags_per_second",
            figure=rate(lambda: batches(4096), number, repeat), unit="1/s",
            anchor=TAGGER20[0], anchor_source=TAGGER20[1]),
        Row(name="tag_decode/batches_of_512/tags_per_second",
            figure=rate(lambda: batches(512), number, repeat), unit="1/s",
            anchor=TAGGER20[0], anchor_source=TAGGER20[1]),
        Row(name="tag_decode/against_word_by_word/tags_per_second", figure=whole, unit="1/s",
            anchor=plain, anchor_source="plain Python loop over the words, measured in this run"),
    ], options)


if __name__ == "__main__":
    main()
