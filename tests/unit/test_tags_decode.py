"""Records to columns: values, spans, losses, batches, and sequences that no node sends."""

import numpy as np
import pytest

from quantacore.gateware.layouts.tags import EpochRecord, LossCause, LostRecord, TagKind, TagRecord
from quantacore.host.tags.decode import (
    Columns,
    DecodeState,
    Overflow,
    TagStreamError,
    decode,
    ps_to_fine,
    ticks_to_ps,
)


def tag(ticks, fine=0, channel=0, falling=0, kind=TagKind.TAG):
    return TagRecord.const({"coarse": ticks, "fine": fine, "channel": channel, "falling": falling,
                            "kind": kind}).as_bits()


def epoch(number):
    return EpochRecord.const({"epoch": number, "kind": TagKind.EPOCH}).as_bits()


def lost(count, cause=LossCause.BUFFER):
    return LostRecord.const({"count": count, "cause": cause, "kind": TagKind.LOST}).as_bits()


def begin(ticks):
    return tag(ticks, kind=TagKind.OVERFLOW_BEGIN)


def end(ticks):
    return tag(ticks, kind=TagKind.OVERFLOW_END)


def words(*records):
    return np.array(records, dtype=np.uint64)


def test_every_field_of_a_tag():
    columns = decode(words(epoch(3), tag((1 << 40) - 1, 8191, 63, 1)))
    assert columns.times.tolist() == [(3 << 53) + (1 << 53) - 1]
    assert columns.channels.tolist() == [63]
    assert columns.falling.tolist() == [True]
    assert (columns.times.dtype, columns.channels.dtype) == (np.int64, np.uint8)


def test_epoch_holds_until_the_next():
    columns = decode(words(epoch(0), tag(7), epoch(1), tag(7), tag(8), epoch(0), tag(9)))
    assert columns.times.tolist() == [7 << 13, (1 << 53) + (7 << 13), (1 << 53) + (8 << 13),
                                      9 << 13]


def test_overflow_span_and_loss_account():
    state = DecodeState()
    columns = decode(words(epoch(0), tag(1), begin(2), end(9), lost(5), tag(10),
                           lost(2, LossCause.BURST)), state)
    assert len(columns) == 2
    assert state.overflows == [Overflow(begin=2 << 13, end=9 << 13)]
    assert state.lost == 7
    assert (state.lost_by(LossCause.BUFFER), state.lost_by(LossCause.BURST)) == (5, 2)
    assert [loss.after_tags for loss in state.losses] == [1, 2]


def test_epoch_may_change_inside_an_overflow():
    state = DecodeState()
    decode(words(epoch(0), begin(2), epoch(1), end(1), lost(1)), state)
    assert state.overflows == [Overflow(begin=2 << 13, end=(1 << 53) + (1 << 13))]


def test_batches_cut_anywhere_give_the_same():
    seed = 5
    generator = np.random.default_rng(seed)
    records = [epoch(0)]
    for number in range(300):
        records.append(tag(10 * number + 1, int(generator.integers(8192)), number % 8, number % 2))
        if number % 50 == 49:
            records += [begin(10 * number + 2), end(10 * number + 3), lost(number)]
    records = words(*records)
    whole_state = DecodeState()
    whole = decode(records, whole_state)
    for _ in range(20):
        cuts = np.sort(generator.integers(0, len(records) + 1, 5))
        state = DecodeState()
        parts = Columns.join([decode(part, state) for part in np.split(records, cuts)])
        for name in ("times", "channels", "falling"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name),
                                          err_msg=f"seed {seed}, cuts {cuts}")
        assert state == whole_state


def test_nothing_decodes_to_nothing():
    assert len(decode(words())) == 0
    assert len(Columns.join([])) == 0


@pytest.mark.parametrize(("records", "message"), [
    ((tag(1),), "Record 0 is TAG before the first EPOCH"),
    ((begin(1),), "Record 0 is OVERFLOW_BEGIN before the first EPOCH"),
    ((epoch(0), tag(1), end(2)), "Record 2 is OVERFLOW_END without an OVERFLOW_BEGIN"),
    ((epoch(0), begin(1), begin(2)), "Record 2 is OVERFLOW_BEGIN inside an overflow"),
    ((epoch(0), begin(1), tag(2)), "Record 2 is TAG inside an overflow"),
    ((epoch(1 << 10),), "Record 0 sets epoch 1024"),
    ((epoch(0), 14 << 60), "Record 1 .* is of kind 14"),
    ((5 << 54 | 4 << 60,), "Record 0 tells of a loss for cause 5"),
])
def test_impossible_sequences(records, message):
    with pytest.raises(TagStreamError, match=message):
        decode(words(*records))


def test_state_survives_an_error():
    state = DecodeState()
    decode(words(epoch(0), tag(1)), state)
    with pytest.raises(TagStreamError, match="Record 3 is OVERFLOW_END"):
        decode(words(tag(2), end(3)), state)
    assert (state.records, state.tags) == (2, 1)
    assert decode(words(tag(2)), state).times.tolist() == [2 << 13]


def test_whole_picoseconds_survive_at_125_mhz():
    times = np.random.default_rng(3).integers(0, 10**15, 100_000)
    np.testing.assert_array_equal(ticks_to_ps(ps_to_fine(times, 8000, 1), 8000, 1), times)


@pytest.mark.parametrize(("numerator", "denominator"), [(8000, 1), (25_000, 3), (7813, 1),
                                                        (2**31 + 11, 268_435)])
def test_conversion_equals_exact_integers(numerator, denominator):
    times = np.random.default_rng(4).integers(0, 1 << 50, 200)
    expected = [(2 * int(t) * numerator + denominator * 8192) // (2 * denominator * 8192)
                for t in times]
    assert ticks_to_ps(times, numerator, denominator).tolist() == expected


def test_tick_without_length():
    with pytest.raises(ValueError, match="positive ratio, not 0 / 1"):
        ticks_to_ps([1], 0, 1)


def test_records_of_the_decoder_are_passed_over():
    state = DecodeState()
    columns = decode(words(8 << 60, epoch(0), 11 << 60, tag(1), 9 << 60, 10 << 60, tag(2)), state)
    assert columns.times.tolist() == [1 << 13, 2 << 13]
    assert (state.records, state.tags, state.others) == (3, 2, 4)
