"""The golden node endpoint answers as the protocol says."""

import pytest

from quantacore.gateware.layouts.frames import MAX_FRAME_BYTES, Channel, Op, Status
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.sim.golden.endpoint import (
    CREDIT_KEEP,
    CREDIT_REWIND,
    GoldenEndpoint,
    cobs_decode,
    cobs_encode,
    parse_frame,
    request_frame,
)

SCRATCH = NODE_MAP["identity.scratch"].address
WIDE = NODE_MAP["timing.acquire_virtual"].address


def answers(data):
    return [parse_frame(chunk) for chunk in data.split(b"\0") if chunk]


class Host:
    """Sends one request at a time and looks at the answer."""

    def __init__(self, endpoint, session=7, seq=100):
        self.endpoint, self.session, self.seq = endpoint, session, seq

    def sync(self, replaced=0):
        return self.raw(Op.SYNC, payload=[self.session | replaced << 16])

    def raw(self, op, argument=0, payload=(), **kwargs):
        frame = request_frame(op, session=self.session, seq=self.seq, argument=argument,
                              payload=payload, **kwargs)
        return answers(self.endpoint.feed(frame))[0]

    def ask(self, op, argument=0, payload=()):
        self.seq = self.seq + 1 & 0xFFFF
        return self.raw(op, argument, payload)


@pytest.fixture
def node():
    return GoldenEndpoint()


@pytest.fixture
def host(node):
    host = Host(node)
    assert host.sync()["argument"] == 0
    return host


def status(answer):
    return Status(answer["argument"] & 0xFF)


@pytest.mark.parametrize("data, encoded", [
    (b"", b"\x01"), (b"\0", b"\x01\x01"), (b"\x11\x22\0\x33", b"\x03\x11\x22\x02\x33"),
    (b"\x11\0\0\0", b"\x02\x11\x01\x01\x01"), (b"\1" * 254, b"\xff" + b"\1" * 254),
    (b"\1" * 255, b"\xff" + b"\1" * 254 + b"\x02\1"), (b"\0" * 3, b"\1" * 4),
])
def test_cobs_examples(data, encoded):
    assert cobs_encode(data) == encoded
    assert cobs_decode(encoded) == data


def test_write_then_read(host):
    assert status(host.ask(Op.WRITE, SCRATCH, [0x12345678])) is Status.ACK
    assert host.ask(Op.READ, SCRATCH, [1])["payload"] == (0x12345678,)


def test_repeated_request_is_not_done_again(host, node):
    host.ask(Op.WRITE, SCRATCH, [1])
    first = host.ask(Op.RMW, SCRATCH, [0xFF, 2])
    node.set("identity.scratch", 9)
    assert host.raw(Op.RMW, SCRATCH, [0xFF, 2]) == first
    assert node.get("identity.scratch") == 9
    assert node.get("link.requests_repeated") == 1


def test_sync_again_keeps_expected_number(host):
    host.ask(Op.PING)
    seq, host.seq = host.seq, 100
    assert status(host.sync()) is Status.ACK
    host.seq = seq
    assert status(host.ask(Op.PING)) is Status.ACK


def test_number_too_far_is_refused_with_the_expected_one(host):
    host.seq += 1
    answer = host.ask(Op.PING)
    assert status(answer) is Status.OUT_OF_ORDER and answer["payload"] == (101,)


def test_old_number_outside_memory_is_refused(host):
    for _ in range(5):
        host.ask(Op.PING)
    host.seq = 101
    assert status(host.raw(Op.PING)) is Status.OUT_OF_ORDER


def test_second_host_is_refused_then_takes_over(host, node):
    other = Host(node, session=9)
    answer = other.sync()
    assert status(answer) is Status.BUSY and answer["payload"] == (7,)
    assert status(other.sync(replaced=7)) is Status.ACK
    answer = host.ask(Op.PING)
    assert status(answer) is Status.NO_SESSION and answer["payload"] == (9,)


def test_second_host_after_lease(host, node):
    node.tick = node.get("link.lease")
    assert node.get("link.flags") >> 4 & 1 and node.get("link.flag_times", 4) == node.tick
    assert status(Host(node, session=9).sync()) is Status.ACK


def test_lease_zero_is_for_ever(host, node):
    host.ask(Op.WRITE, NODE_MAP["link.lease"].address, [0])
    node.tick = 1 << 60
    assert status(Host(node, session=9).sync()) is Status.BUSY


def test_reset_forgets_session(host, node):
    node.reset()
    assert status(host.ask(Op.PING)) is Status.NO_SESSION


def test_damage_is_answered_with_expected_number(host, node):
    frame = bytearray(request_frame(Op.PING, session=7, seq=101))
    frame[4] ^= 0x40
    [answer] = answers(node.feed(bytes(frame)))
    assert status(answer) is Status.BAD_FRAME
    assert (answer["op"], answer["seq"], answer["session"]) == (0, 101, 7)
    assert node.get("link.frames_bad") == 1 and node.get("link.flags") & 1


def test_endless_frame_is_one_bad_frame(host, node):
    for _ in range(100):
        assert node.feed(b"\x02\x05" * MAX_FRAME_BYTES) == b""
    assert [status(a) for a in answers(node.feed(b"\0"))] == [Status.BAD_FRAME]
    assert status(host.ask(Op.PING)) is Status.ACK


def test_bad_version_takes_no_number(host):
    host.seq += 1
    answer = host.raw(Op.PING, version=2)
    assert status(answer) is Status.BAD_VERSION and answer["payload"] == (1,)
    assert status(host.raw(Op.PING)) is Status.ACK


@pytest.mark.parametrize("op, argument, payload, expected", [
    (Op.READ, 31, [1], (Status.UNMAPPED, (31,), 0)),
    (Op.READ, SCRATCH + 1, [3], (Status.UNMAPPED, (8000, 1, 10), 2)),
    (Op.READ, 130, [1], (Status.WRITE_ONLY, (130,), 0)),
    (Op.WRITE, SCRATCH, [1, 2], (Status.READ_ONLY, (SCRATCH + 1,), 1)),
    (Op.RMW, 0, [1, 1], (Status.READ_ONLY, (0,), 0)),
    (Op.READ, 0, [0], (Status.BAD_LENGTH, (), 0)),
    (Op.READ, 0, [61], (Status.BAD_LENGTH, (), 0)),
    (Op.WRITE, SCRATCH, [], (Status.BAD_LENGTH, (), 0)),
    (Op.PING, 0, [1], (Status.BAD_LENGTH, (), 0)),
    (Op.STREAM, 0, [1], (Status.BAD_OP, (), 0)),
    (Op.CREDIT, 0, [0, 0, 0], (Status.BAD_CHANNEL, (), 0)),
    (Op.CREDIT, 1, [1, 0, 0], (Status.OUT_OF_RANGE, (), 0)),
])
def test_refusals_take_a_number(host, op, argument, payload, expected):
    answer = host.ask(op, argument, payload)
    assert (status(answer), answer["payload"], answer["argument"] >> 8) == expected
    assert status(host.ask(Op.PING)) is Status.ACK


def test_unknown_channel(host):
    host.seq += 1
    assert status(host.raw(Op.PING, channel=5)) is Status.BAD_CHANNEL


def test_64_bit_register_is_atomic(host, node):
    host.ask(Op.WRITE, WIDE, [5])
    assert node.get("timing.acquire_virtual") == 0
    host.ask(Op.WRITE, WIDE + 1, [6])
    assert node.get("timing.acquire_virtual") == 5 | 6 << 32
    host.ask(Op.READ, WIDE, [1])
    node.set("timing.acquire_virtual", 0)
    assert host.ask(Op.READ, WIDE + 1, [1])["payload"] == (6,)


def test_timed_writes(host, node):
    def at(tick, value):
        return status(host.ask(Op.WRITE_AT, SCRATCH, [tick, 0, value]))

    node.tick = 1000
    assert at(1000 + node.timed_write_margin - 1, 1) is Status.LATE
    assert at(2000, 2) is Status.ACK
    assert at(2000 + node.timed_write_gap - 1, 3) is Status.UNORDERED
    for i in range(node.timed_write_depth - 1):
        assert at(2008 + 8 * i, i) is Status.ACK
    assert at(9000, 4) is Status.QUEUE_FULL
    node.tick = 1999
    assert node.get("identity.scratch") == 0
    node.tick = 2000
    assert node.get("identity.scratch") == 2
    assert node.get("link.timed_writes_pending") == node.timed_write_depth - 1


def credit(host, acked, limit, flags=0):
    host.seq = host.seq + 1 & 0xFFFF
    frame = request_frame(Op.CREDIT, session=host.session, seq=host.seq,
                          argument=Channel.TAGS.value, payload=[acked, limit, flags])
    first, *rest = answers(host.endpoint.feed(frame))
    records = []
    for frame in rest:
        index, *words = frame["payload"]
        records += [(index + i, words[2 * i] | words[2 * i + 1] << 32)
                    for i in range(len(words) // 2)]
    return first, records


def test_stream_under_credit_and_rewind(host, node):
    values = [i << 40 | 17 for i in range(100)]
    assert node.push_records(values) == 100
    first, records = credit(host, 0, 40)
    assert first["payload"] == (0, 100)
    assert records == list(enumerate(values))[:40]
    first, records = credit(host, 30, 50, CREDIT_REWIND)
    assert first["payload"] == (30, 100)
    assert records == list(enumerate(values))[30:50]
    assert status(credit(host, 51, 60)[0]) is Status.OUT_OF_RANGE
    assert status(credit(host, 29, 60)[0]) is Status.OUT_OF_RANGE
    assert node.records_level == 70


def test_new_session_stops_stream_and_loses_nothing(host, node):
    node.push_records(list(range(60)))
    credit(host, 0, 20)
    credit(host, 10, 20)
    other = Host(node, session=11)
    other.sync(replaced=7)
    assert node.poll() == b""
    first, records = credit(other, 0, 0, CREDIT_KEEP | CREDIT_REWIND)
    assert first["payload"] == (10, 60)
    assert [r for r, _ in records] == list(range(10, 20))
    assert [r for r, _ in credit(other, 20, 60)[1]] == list(range(20, 60))


def test_ring_takes_what_fits():
    node = GoldenEndpoint(buffer_depth=16)
    assert node.push_records(list(range(20))) == 16
    assert node.push_records([1]) == 0


def test_statistics_add_up(host, node):
    for argument in (0, 31):
        host.ask(Op.READ, argument, [1])
    host.raw(Op.READ, 31, [1])
    host.seq += 5
    host.raw(Op.PING)
    done, repeated, refused, received = (node.get(f"link.{name}") for name in (
        "requests_done", "requests_repeated", "requests_refused", "frames_received"))
    assert (done, repeated, refused, received) == (2, 1, 2, 5)
    assert node.get("link.frames_sent") == 5
