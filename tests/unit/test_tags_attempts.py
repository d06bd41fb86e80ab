"""Records of the herald unit: attempts of tags, verdicts, event ids, and what is lost."""

import random

import numpy as np
import pytest

from quantacore.gateware.layouts.herald import (
    AttemptRecord,
    HeraldRecord,
    HeraldRecordKind,
    Outcome,
)
from quantacore.gateware.layouts.tags import EpochRecord, LossCause, LostRecord, TagKind, TagRecord
from quantacore.host.tags import files
from quantacore.host.tags.attempts import attempt_numbers, decode_attempts, event_ids
from quantacore.host.tags.decode import Columns, DecodeState, TagStreamError, decode
from quantacore.sim.bench.cosim import seed_from_environment


def tag(ticks, channel=0, fine=0, falling=0):
    return TagRecord.const({"coarse": ticks % (1 << 40), "fine": fine, "channel": channel,
                            "falling": falling}).as_bits()


def epoch(number):
    return EpochRecord.const({"epoch": number, "kind": TagKind.EPOCH}).as_bits()


def missing(count, cause=LossCause.BUFFER):
    return LostRecord.const({"count": count, "cause": cause, "kind": TagKind.LOST}).as_bits()


def attempt(ticks, number, lost=0):
    return AttemptRecord.const({"coarse": ticks % (1 << 32), "number": number % (1 << 23),
                                "pause": number == 0, "lost": lost,
                                "kind": HeraldRecordKind.ATTEMPT}).as_bits()


def herald(number, *, clicked=0, pattern=0, outcome=Outcome.SUCCESS, lost=0):
    return HeraldRecord.const({"clicked": clicked, "number": number % (1 << 16),
                               "pattern": pattern, "outcome": outcome, "lost": lost,
                               "kind": HeraldRecordKind.HERALD}).as_bits()


def read(*words):
    state = DecodeState()
    return decode(np.array(words, np.uint64), state), state


def numbers(*words, **kwargs):
    columns, state = read(*words)
    return attempt_numbers(columns, state, **kwargs).tolist()


def test_tags_are_in_the_attempt_that_began_last():
    assert numbers(epoch(0), tag(99, fine=8191), attempt(100, 1), tag(100), tag(149),
                   attempt(150, 0), tag(150), attempt(200, 7), tag(201)) == [0, 1, 1, 0, 7]


def test_order_in_the_stream_does_not_matter():
    assert numbers(epoch(0), attempt(100, 1), attempt(150, 0), attempt(200, 7),
                   tag(99), tag(149), tag(150), tag(200)) == [0, 1, 0, 7]
    assert numbers(epoch(0), tag(99), tag(149), tag(150), tag(200),
                   attempt(100, 1), attempt(150, 0), attempt(200, 7)) == [0, 1, 0, 7]


def test_batches_may_be_cut_anywhere():
    words = [epoch(0), tag(99), attempt(100, 1), tag(100), herald(1), attempt(150, 0), tag(160),
             attempt(300, 2), tag(300)]
    expected = numbers(*words)
    for cut in range(len(words) + 1):
        state = DecodeState()
        columns = Columns.join([decode(np.array(words[:cut], np.uint64), state),
                                decode(np.array(words[cut:], np.uint64), state)])
        assert attempt_numbers(columns, state).tolist() == expected
        assert (state.records, state.tags, state.others) == (5, 4, 4)


def test_delays_are_taken_off():
    words = epoch(0), attempt(100, 1), tag(99, channel=3), tag(101, channel=4)
    assert numbers(*words) == [0, 1]
    assert numbers(*words, delays=[0, 0, 0, -(2 << 13), 2 << 13]) == [1, 0]


def test_ticks_beyond_32_bits():
    base = (1 << 41) + (7 << 32) - 50
    words = [epoch(2), attempt(base - 10, 1), tag(base), attempt(base + 100, 2), tag(base + 100)]
    columns, state = read(*words)
    assert attempt_numbers(columns, state).tolist() == [1, 2]
    assert decode_attempts(state, columns.times).ticks.tolist() == [base - 10, base + 100]


def test_record_that_begins_after_the_next_tag_of_the_stream():
    base = 5 << 32
    columns, state = read(epoch(0), attempt(base, 0), tag(base - 20), tag(base + 5))
    assert attempt_numbers(columns, state).tolist() == [0, 0]
    assert decode_attempts(state, columns.times).ticks.tolist() == [base]
    columns, state = read(epoch(0), tag(base - 30), attempt(base, 4), tag(base - 20), tag(base + 5))
    assert attempt_numbers(columns, state).tolist() == [0, 0, 4]


def test_long_pause_before_an_attempt():
    late = (3 << 32) + 1000
    assert numbers(epoch(0), attempt(5, 1), tag(10), attempt(60, 0), attempt(late, 2),
                   tag(late + 3)) == [1, 2]


def test_no_tags_no_numbers():
    columns, state = read(attempt(5, 1))
    assert attempt_numbers(columns, state).tolist() == []
    assert decode_attempts(state, columns.times).ticks.tolist() == [5]


def test_lost_records_make_numbers_unknown_up_to_the_next():
    assert numbers(epoch(0), tag(5), attempt(10, 1), tag(11), attempt(20, 4, lost=2), tag(21),
                   attempt(30, 5), tag(31)) == [0, -1, 4, 5]


def test_lost_record_that_a_herald_tells_of():
    assert numbers(epoch(0), attempt(10, 1), tag(11), herald(3, lost=1), tag(15),
                   attempt(20, 4), tag(21)) == [-1, -1, 4]


def test_lost_before_the_first_attempt():
    assert numbers(epoch(0), tag(5), attempt(20, 4, lost=15), tag(21)) == [-1, 4]


def test_numbers_beyond_the_bits_of_a_record():
    step = 1 << 20
    count = 40
    words = [epoch(0)]
    for i in range(1, count):
        words += [attempt(1000 * i, i * step), tag(1000 * i + 1)]
    assert numbers(*words) == [i * step for i in range(1, count)]


def test_cleared_count_begins_anew():
    assert numbers(epoch(0), attempt(10, (1 << 23) - 1), tag(10), attempt(20, (1 << 23) + 4),
                   tag(20), attempt(30, 0), tag(30), attempt(40, 1), tag(40),
                   attempt(50, 2), tag(50)) == [(1 << 23) - 1, (1 << 23) + 4, 0, 1, 2]


def test_attempts_that_go_back_are_refused():
    columns, state = read(epoch(0), attempt(100, 1), tag(100), attempt(50, 2), tag(101))
    with pytest.raises(TagStreamError, match=r"^Attempt record 1 is of tick 50, before the one "
                                             r"ahead of it \(100\): was the tick counter set "
                                             r"back\?$"):
        attempt_numbers(columns, state)


def test_times_must_be_all():
    _, state = read(epoch(0), attempt(100, 1), tag(100))
    with pytest.raises(ValueError, match=r"^Times must be those of all 1 tags of the stream, "
                                         r"not of 0$"):
        decode_attempts(state, [])


def test_event_ids_count_what_was_lost():
    columns, state = read(epoch(0), tag(1), tag(2, channel=33), missing(5), tag(3),
                          missing(2, LossCause.BURST), missing(9, LossCause.VIRTUAL), tag(4))
    assert event_ids(columns, state).tolist() == [0, -1, 6, 9]


def test_random_stream_against_a_walk():
    seed = seed_from_environment()
    print(f"QUANTACORE_SEED={seed}")
    rng = random.Random(seed)
    now, number = rng.getrandbits(35), 0
    words, wanted, current = [epoch(0)], [], 0
    for _ in range(400):
        now += rng.choice([3, 20, 1000, 1 << 20])
        kind = rng.randrange(4)
        if kind == 0:
            number += rng.choice([1, 2, 1000, 1 << 20])
            current = number
            words.append(attempt(now, number))
        elif kind == 1:
            current = 0
            words.append(attempt(now, 0))
        else:
            words.append(tag(now))
            wanted.append(current)
    assert numbers(*words) == wanted


def test_recording_keeps_attempts_and_events(tmp_path):
    path = tmp_path / "run.qct"
    words = [epoch(0), attempt(100, 1), tag(101), tag(105, falling=1), missing(2), tag(160),
             attempt(150, 0), tag(140)]
    path.write_bytes(files.qct_header(8000, 1) + np.array(words, "<u8").tobytes())
    tags = files.read_tags(path)
    assert tags.times_ps.tolist() == [101 * 8000, 140 * 8000, 160 * 8000]
    assert tags.attempts.tolist() == [1, 1, 0]
    assert tags.events.tolist() == [0, 5, 4]
    first = tags.first(150 * 8000)
    assert (first.attempts.tolist(), first.events.tolist()) == ([1, 1], [0, 5])


def test_recording_without_a_herald_unit_has_no_attempts(tmp_path):
    path = tmp_path / "run.qct"
    path.write_bytes(files.qct_header(8000, 1) + np.array([epoch(0), tag(1)], "<u8").tobytes())
    tags = files.read_tags(path)
    assert tags.attempts is None
    assert tags.events.tolist() == [0]
