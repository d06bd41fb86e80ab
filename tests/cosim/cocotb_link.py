"""Drives LinkBench with frames good and bad, and compares with the golden endpoint."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from quantacore.gateware.layouts.export import map_crc
from quantacore.gateware.layouts.frames import (
    TIMED_WRITE_GAP,
    TIMED_WRITE_MARGIN,
    WINDOW,
    Channel,
    Op,
    Status,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.link import BENCH_MAP
from quantacore.sim.golden.endpoint import GoldenEndpoint
from quantacore.sim.golden.framing import BadFrame, Frame, FrameDecoder, encode, stream_records

DEPTH = int(os.environ.get("QC_DEPTH", "64"))
WORDS = BENCH_MAP["plain.words"].address
PAIR = BENCH_MAP["plain.pair"].address
FIXED = BENCH_MAP["plain.fixed"].address
SHOUT = BENCH_MAP["plain.shout"].address
LEASE = BENCH_MAP["link.lease"].address
UNMAPPED = 0x7000


class Line:
    """The link's byte streams: sends what it is given, decodes what comes, with stalls."""

    def __init__(self, dut, rng):
        self.dut = dut
        self.rng = rng
        self.rx_gap = 0.0
        self.tx_stall = 0.0
        self.out = bytearray()
        self.decoder = FrameDecoder()
        self.answers = []
        self.streams = []
        self.raw = bytearray()
        self.bus_log = []
        self.shouts = []
        self.records = []
        self.record_gap = 0.0
        self.accepted = []

    async def run(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            # Values of the clock that just ended, sampled before anything moved.
            rx = self.rx_valid and self.rx_ready and self.out  # a test may clear `out`
            if rx:
                self.out.pop(0)
            if self.rec_valid and self.rec_ready and self.records:
                self.accepted.append(self.records.pop(0))
            if self.tx_valid and self.tx_ready:
                self._take(self.tx_byte)
            self.rx_valid = bool(self.out) and (
                (self.rx_valid and not rx) or self.rng.random() >= self.rx_gap)
            dut.rx__valid.value = int(self.rx_valid)
            if self.rx_valid:
                dut.rx__payload.value = self.out[0]
            self.tx_ready = self.rng.random() >= self.tx_stall
            dut.tx__ready.value = int(self.tx_ready)
            self.rec_valid = bool(self.records) and (
                self.record_gap == 0 or self.rng.random() >= self.record_gap)
            dut.records__valid.value = int(self.rec_valid)
            if self.rec_valid:
                dut.records__payload.value = self.records[0]
            await ReadOnly()
            self.rx_ready = int(dut.rx__ready.value)
            self.rec_ready = int(dut.records__ready.value)
            self.tx_valid = int(dut.tx__valid.value)
            if self.tx_valid:
                self.tx_byte = int(dut.tx__payload.value)
            if int(dut.bus_write.value):
                self.bus_log.append((int(dut.tick.value), int(dut.bus_address.value),
                                     int(dut.bus_data.value)))
            if int(dut.shouted.value):
                self.shouts.append(int(dut.shout.value))

    def _take(self, byte):
        self.raw.append(byte)
        for frame in self.decoder.feed(bytes([byte])):
            assert not isinstance(frame, BadFrame), frame
            (self.streams if frame.channel == Channel.TAGS.value and frame.op == Op.STREAM.value
             and frame.answer else self.answers).append(frame)

    async def reset(self):
        dut = self.dut
        dut.rst.value = 1
        for _ in range(2):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        self.rx_valid = self.tx_valid = self.tx_ready = self.rec_valid = False
        self.rx_ready = self.rec_ready = 0
        self.decoder = FrameDecoder()

    async def wait(self, answers, limit=40000):
        """Until there are so many answers since the last time; return them."""
        for _ in range(limit):
            if len(self.answers) >= answers:
                break
            await RisingEdge(self.dut.clk)
        else:
            raise AssertionError(f"only {len(self.answers)} of {answers} answers came: "
                                 f"{self.answers}")
        found, self.answers = self.answers[:answers], self.answers[answers:]
        return found

    async def idle(self, clocks):
        for _ in range(clocks):
            await RisingEdge(self.dut.clk)


class Host:
    """Asks, with session and request number."""

    def __init__(self, line, session=0x5A5A):
        self.line = line
        self.session = session
        self.seq = 0x1000

    def frame(self, op, argument=0, payload=(), **kwargs):
        values = {"session": self.session, "seq": self.seq, "op": getattr(op, "value", op),
                  "argument": argument, "payload": tuple(payload), **kwargs}
        return Frame(**values)

    async def ask(self, op, argument=0, payload=(), *, consumes=True, **kwargs):
        request = self.frame(op, argument, payload, **kwargs)
        if consumes:
            self.seq = self.seq + 1 & 0xFFFF
        self.line.out += encode(request)
        answer, = await self.line.wait(1)
        return answer

    async def sync(self, replaced=0):
        answer = await self.ask(Op.SYNC, payload=[self.session | replaced << 16])
        return answer


async def start(dut):
    cocotb.start_soon(Clock(dut.clk, 8, unit="ns").start())
    seed = seed_from_environment()
    dut._log.info("seed %#x", seed)
    line = Line(dut, random.Random(seed))
    for name in ("rx__valid", "rx__payload", "tx__ready", "records__valid", "records__payload"):
        getattr(dut, name).value = 0
    await line.reset()
    cocotb.start_soon(line.run())
    return line


def is_(answer, status, payload=(), done=0):
    assert (Status(answer.status), answer.done, answer.payload) == (status, done, tuple(payload)), \
        answer


@cocotb.test()
async def every_operation(dut):
    line = await start(dut)
    host = Host(line)
    is_(await host.sync(), Status.ACK, [map_crc(), WINDOW | 60 << 8])
    is_(await host.ask(Op.WRITE, WORDS, [1, 2, 3, 4, 5, 6, 7, 8]), Status.ACK)
    is_(await host.ask(Op.READ, WORDS, [8]), Status.ACK, range(1, 9))
    is_(await host.ask(Op.READ_FIXED, WORDS + 2, [3]), Status.ACK, [3, 3, 3])
    is_(await host.ask(Op.WRITE_FIXED, SHOUT, [11, 12, 13]), Status.ACK)
    assert line.shouts == [11, 12, 13]
    is_(await host.ask(Op.RMW, WORDS, [0xFF00, 0xABCDEF]), Status.ACK, [1])
    is_(await host.ask(Op.READ, WORDS, [1]), Status.ACK, [0xCD01])
    is_(await host.ask(Op.WRITE, PAIR, [0x11111111, 0x22222222]), Status.ACK)
    is_(await host.ask(Op.READ, PAIR, [2]), Status.ACK, [0x11111111, 0x22222222])
    answer = await host.ask(Op.PING)
    assert abs(answer.payload[0] - int(dut.tick.value)) < 400 and answer.payload[1] == 0
    # Refusals that take their number.
    is_(await host.ask(Op.READ, UNMAPPED, [1]), Status.UNMAPPED, [UNMAPPED])
    answer = await host.ask(Op.READ, FIXED, [3])
    assert (Status(answer.status), answer.done, answer.payload[1:]) == \
        (Status.WRITE_ONLY, 1, (SHOUT,))
    is_(await host.ask(Op.WRITE, PAIR, [1, 2, 3, 4]), Status.READ_ONLY, [FIXED], 2)
    is_(await host.ask(Op.RMW, FIXED, [1, 1]), Status.READ_ONLY, [FIXED])
    is_(await host.ask(Op.RMW, SHOUT, [1, 1]), Status.WRITE_ONLY, [SHOUT])
    for op, payload in ((Op.READ, []), (Op.READ, [0]), (Op.READ, [61]), (Op.READ, [1 << 31]),
                        (Op.READ, [1, 1]), (Op.WRITE, []), (Op.RMW, [1]), (Op.WRITE_AT, [1, 2]),
                        (Op.CREDIT, [1]), (Op.PING, [1])):
        is_(await host.ask(op, WORDS, payload), Status.BAD_LENGTH)
    is_(await host.ask(99), Status.BAD_OP)
    is_(await host.ask(Op.STREAM), Status.BAD_OP)
    is_(await host.ask(Op.PING, answer=True), Status.BAD_OP)
    is_(await host.ask(Op.PING, channel=7), Status.BAD_CHANNEL)
    is_(await host.ask(Op.CREDIT, 2, [0, 0, 0]), Status.BAD_CHANNEL)
    is_(await host.ask(Op.CREDIT, 1, [5, 0, 0]), Status.OUT_OF_RANGE)
    is_(await host.ask(Op.CREDIT, 1, [0, 0, 0]), Status.ACK, [0, 0])
    # Refusals that do not.
    is_(await host.ask(Op.PING, consumes=False, version=9), Status.BAD_VERSION, [1])
    is_(await host.ask(Op.PING, consumes=False, session=3), Status.NO_SESSION, [host.session])
    is_(await host.ask(Op.PING, consumes=False, seq=host.seq + 1), Status.OUT_OF_ORDER,
        [host.seq])
    is_(await host.ask(Op.PING, consumes=False, seq=host.seq - WINDOW - 1 & 0xFFFF),
        Status.OUT_OF_ORDER, [host.seq])
    is_(await host.ask(Op.SYNC, payload=[7], session=7, consumes=False), Status.BUSY,
        [host.session])
    is_(await host.ask(Op.SYNC, payload=[0], session=0, consumes=False), Status.OUT_OF_RANGE)
    is_(await host.ask(Op.SYNC, payload=[], session=0, consumes=False), Status.BAD_LENGTH)
    line.out += b"\x05\x01\x00"
    answer, = await line.wait(1)
    is_(answer, Status.BAD_FRAME)
    assert (answer.session, answer.seq, answer.op) == (host.session, host.seq, 0)
    # The lease: after it another host gets in.
    is_(await host.ask(Op.WRITE, LEASE, [300]), Status.ACK)
    await line.idle(400)
    other = Host(line, 0x77)
    assert Status((await other.sync()).status) is Status.ACK
    is_(await host.ask(Op.PING), Status.NO_SESSION, [0x77])


def random_request(rng, host):
    """A request that the golden endpoint answers without knowing the time."""
    op = rng.choice((Op.READ, Op.READ, Op.WRITE, Op.WRITE, Op.READ_FIXED, Op.WRITE_FIXED, Op.RMW,
                     Op.RMW, Op.SYNC, 55))
    # Pairs are read and written from their low word on; what a lone high word does is the bank's
    # affair. No read reaches the register that tells the time.
    word = WORDS + rng.randrange(8)
    address = rng.choice((word, word, PAIR, SHOUT, UNMAPPED))
    if op is Op.READ:
        payload = [rng.choice((0, 61, 1)) if address in (SHOUT, UNMAPPED)
                   else rng.randrange(0, FIXED - address + 1)]
    elif op is Op.READ_FIXED:
        payload = [rng.randrange(0, 62)]
    elif op in (Op.WRITE, Op.WRITE_FIXED):
        payload = [rng.choice((0, rng.getrandbits(32))) for _ in range(rng.randrange(0, 14))]
    elif op is Op.RMW:
        address = rng.choice((WORDS + rng.randrange(8), SHOUT, UNMAPPED))
        payload = [rng.getrandbits(32), rng.getrandbits(32)]
    else:
        payload = [rng.getrandbits(8)]
    if op is Op.SYNC:
        payload = [host.session if rng.random() < 0.7 else rng.randrange(0x8000)]
        return host.frame(op, 0, payload, session=rng.choice((payload[0], 1)))
    return host.frame(op, address, payload)


def damaged(rng, data):
    """What a bad line makes of a frame: bytes that are to go out."""
    data = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[rng.randrange(len(data))]
    elif kind == 2:
        data = data[:rng.randrange(len(data))]
    elif kind == 3:
        data = data * 2
    else:
        data[rng.randrange(len(data)):0] = bytes(rng.randrange(256) for _ in range(rng.choice(
            (1, 3, 300))))
    return data


async def random_run(dut, *, requests, faults, rx_gap, tx_stall):
    line = await start(dut)
    rng = line.rng
    host = Host(line)
    model = GoldenEndpoint(BENCH_MAP, DEPTH)
    model.map_crc = map_crc()  # the link's answer names the node's map
    expected = FrameDecoder()
    line.rx_gap, line.tx_stall = rx_gap, tx_stall
    history = []
    open_request = host.frame(Op.SYNC, payload=[host.session])
    host.seq += 1
    sent = [open_request]
    line.out += encode(open_request)
    wanted = expected.feed(model.feed(encode(open_request)))
    compared = 0
    for _ in range(requests):
        what = rng.random()
        if what < 0.15 and history:
            request = rng.choice(history[-6:])  # doubled, or delayed
        elif what < 0.2:
            request = host.frame(Op.READ, WORDS, [1], seq=rng.getrandbits(16),
                                 session=rng.choice((host.session, rng.getrandbits(16))))
        else:
            request = random_request(rng, host)
            host.seq = model.expected
            if request.op != Op.SYNC.value:
                request = Frame(**{**request.__dict__, "seq": host.seq})
        data = encode(request)
        if rng.random() < faults:
            data = damaged(rng, data)
        else:
            history.append(request)
        line.out += data
        sent.append(request)
        wanted += expected.feed(model.feed(data))
        # The model has no queue, so compare before too much is on the way.
        if len(wanted) - compared > 20:
            got = await line.wait(len(wanted) - compared, 200000)
            for a, b in zip(got, wanted[compared:], strict=True):
                assert a == b, (a, b)
            compared = len(wanted)
    line.out += b"\0"
    wanted += expected.feed(model.feed(b"\0"))
    got = await line.wait(len(wanted) - compared, 200000)
    for a, b in zip(got, wanted[compared:], strict=True):
        assert a == b, (a, b)
    await line.idle(600)
    assert not line.answers
    assert int(dut.words.value) == sum(
        model.get("plain.words", i) << 32 * i for i in range(8))
    assert int(dut.pair.value) == model.get("plain.pair")
    # Every count, from the registers; the read itself is in both.
    model_names = ("frames_received", "frames_bad", "requests_done", "requests_repeated",
                   "requests_refused", "frames_sent", "bytes_received", "bytes_sent")
    host.seq = model.expected
    request = host.frame(Op.READ, BENCH_MAP["link.frames_received"].address, [len(model_names)])
    line.out += encode(request)
    theirs, = expected.feed(model.feed(encode(request)))
    ours, = await line.wait(1)
    assert ours == theirs, dict(zip(model_names, zip(ours.payload, theirs.payload, strict=True),
                                    strict=True))


@cocotb.test()
async def random_requests(dut):
    await random_run(dut, requests=250, faults=0, rx_gap=0, tx_stall=0)


@cocotb.test()
async def random_requests_with_stalls(dut):
    await random_run(dut, requests=150, faults=0, rx_gap=0.6, tx_stall=0.6)


@cocotb.test()
async def random_faults(dut):
    await random_run(dut, requests=250, faults=0.4, rx_gap=0.1, tx_stall=0.2)


@cocotb.test()
async def timed_writes_at_their_tick(dut):
    line = await start(dut)
    rng = line.rng
    host = Host(line)
    await host.sync()
    for _ in range(4):
        wanted = []
        line.bus_log.clear()
        at = int(dut.tick.value) + 4000
        for _ in range(16):
            at += rng.choice((TIMED_WRITE_GAP, TIMED_WRITE_GAP + 1, 40, 300))
            address, value = WORDS + rng.randrange(8), rng.getrandbits(32)
            is_(await host.ask(Op.WRITE_AT, address, [at & 0xFFFFFFFF, at >> 32, value]),
                Status.ACK)
            wanted.append((at, address, value))
        is_(await host.ask(Op.WRITE_AT, WORDS, [at + 100, 0, 0]), Status.QUEUE_FULL)
        while int(dut.tick.value) < wanted[2][0]:
            await RisingEdge(dut.clk)
        is_(await host.ask(Op.WRITE_AT, WORDS, [at + TIMED_WRITE_GAP - 1, 0, 0]),
            Status.UNORDERED)
        # Other traffic in the meantime does not move them, and is not disturbed.
        while int(dut.tick.value) < at:
            value = rng.getrandbits(64)
            words = [value & 0xFFFFFFFF, value >> 32]
            is_(await host.ask(Op.WRITE, PAIR, words), Status.ACK)
            is_(await host.ask(Op.READ, PAIR, [2]), Status.ACK, words)
        assert [entry for entry in line.bus_log if WORDS <= entry[1] < WORDS + 8] == wanted
    answer = await host.ask(Op.WRITE_AT, WORDS, [5, 0, 0])
    assert Status(answer.status) is Status.LATE
    assert answer.payload[0] > at
    is_(await host.ask(Op.WRITE_AT, UNMAPPED, [int(dut.tick.value) + 1000, 0, 0]), Status.ACK)
    await line.idle(1100)
    answer = await host.ask(Op.READ, BENCH_MAP["link.timed_writes_pending"].address, [3])
    assert answer.payload == (0, 64, 0b101000)


@cocotb.test()
async def margin_of_timed_writes(dut):
    """Just late enough is carried out, at its tick."""
    line = await start(dut)
    host = Host(line)
    await host.sync()
    accepted = refused = 0
    for ahead in range(60, 220):
        at = int(dut.tick.value) + ahead
        line.bus_log.clear()
        answer = await host.ask(Op.WRITE_AT, WORDS, [at, 0, ahead])
        await line.idle(160)
        if Status(answer.status) is Status.LATE:
            refused += 1
            assert at < answer.payload[0] + TIMED_WRITE_MARGIN
            assert line.bus_log == []
        else:
            accepted += 1
            assert line.bus_log == [(at, WORDS, ahead)]
    assert accepted > 20 and refused > 20


@cocotb.test()
async def records_with_credit_and_rewind(dut):
    """A host with a bad memory gets every record once in order, whatever it asks again."""
    line = await start(dut)
    rng = line.rng
    host = Host(line)
    await host.sync()
    line.tx_stall, line.record_gap = 0.1, 0.9
    records = [rng.getrandbits(64) for _ in range(900)]
    line.records = list(records)
    got, limit, next_stream = [], 0, 0
    while len(got) < len(records):
        rewind = rng.random() < 0.3
        limit = len(got) + rng.choice((0, 1, 5, 40, 64, 200))
        answer = await host.ask(Op.CREDIT, 1, [len(got), limit, int(rewind)])
        assert Status(answer.status) is Status.ACK, answer
        sent, written = answer.payload
        assert len(got) <= sent <= written <= len(line.accepted)
        assert written - len(got) <= DEPTH
        await line.idle(rng.choice((10, 100, 700)))
        assert int(dut.records_level.value) <= DEPTH
        for frame in line.streams:
            assert frame.session == host.session and frame.seq == next_stream & 0xFFFF
            next_stream += 1
            index, found = stream_records(frame)
            assert tuple(records[index:index + len(found)]) == found, index
            if index <= len(got) < index + len(found) and rng.random() < 0.8:
                got += found[len(got) - index:]
        line.streams.clear()
        if rng.random() < 0.1:
            is_(await host.ask(Op.CREDIT, 1, [len(line.accepted) + 5, limit, 0]),
                Status.OUT_OF_RANGE)
    assert got == records == line.accepted


@cocotb.test()
async def a_full_ring_stops_records_and_nothing_else(dut):
    line = await start(dut)
    host = Host(line)
    await host.sync()
    line.records = list(range(DEPTH + 50))
    await line.idle(DEPTH + 100)
    assert len(line.accepted) == DEPTH and int(dut.records_level.value) == DEPTH
    is_(await host.ask(Op.WRITE, WORDS, [5]), Status.ACK)
    # The limit is kept to the record.
    is_(await host.ask(Op.CREDIT, 1, [0, 33, 0]), Status.ACK, [0, DEPTH])
    await line.idle(1200)
    assert sum(len(stream_records(frame)[1]) for frame in line.streams) == 33
    is_(await host.ask(Op.CREDIT, 1, [33, 33, 0]), Status.ACK, [33, DEPTH])
    await line.idle(100)
    assert len(line.accepted) == DEPTH + 33
    # A new session takes the credit back, and keeps the records.
    is_(await host.ask(Op.CREDIT, 1, [33, 40, 0]), Status.ACK, [33, DEPTH + 33])
    await line.idle(600)
    other = Host(line, 0x4444)
    assert Status((await other.sync(replaced=host.session)).status) is Status.ACK
    line.streams.clear()
    await line.idle(600)
    assert not line.streams
    is_(await other.ask(Op.CREDIT, 1, [9999, 0, 2]), Status.ACK, [40, DEPTH + 33])
    is_(await other.ask(Op.CREDIT, 1, [9999, 0, 3]), Status.ACK, [33, DEPTH + 33])
    is_(await other.ask(Op.CREDIT, 1, [33, 35, 1]), Status.ACK, [33, DEPTH + 33])
    await line.idle(600)
    # The third request went back with the limit as it was, the fourth with two records of credit.
    assert [stream_records(frame) for frame in line.streams] == [
        (33, tuple(range(33, 40))), (33, (33, 34))]


@cocotb.test()
async def throughput(dut):
    """The numbers of the docstrings."""
    line = await start(dut)
    host = Host(line)
    await host.sync()
    for op, payload in ((Op.PING, ()), (Op.READ, (1,)), (Op.READ, (8,)), (Op.READ_FIXED, (60,)),
                        (Op.WRITE, (1,)), (Op.WRITE_FIXED, range(60))):
        data = encode(host.frame(op, WORDS, payload))
        host.seq += 1
        line.out += data
        while line.out:
            await RisingEdge(dut.clk)
        begin = int(dut.tick.value)
        line.raw.clear()
        while not line.raw:
            await RisingEdge(dut.clk)
        first = int(dut.tick.value) - begin
        await line.wait(1)
        dut._log.info("%s %s: answer begins %d clocks after the request, ends %d", op.name,
                      list(payload)[:3], first, int(dut.tick.value) - begin)
        assert first < 1000


@cocotb.test()
async def a_line_that_stands_still(dut):
    """Answers wait, nothing is lost, and all goes on when the line moves again."""
    line = await start(dut)
    host = Host(line)
    await host.sync()
    line.tx_stall = 1.0
    line.records = list(range(5))
    for i in range(WINDOW):
        line.out += encode(host.frame(Op.WRITE, WORDS + i, [i + 100]))
        host.seq += 1
    await line.idle(2000)
    assert not line.out and not line.answers  # all taken, all carried out
    assert [entry[1:] for entry in line.bus_log] == [(WORDS + i, i + 100) for i in range(WINDOW)]
    line.tx_stall = 0.0
    for answer in await line.wait(WINDOW):
        is_(answer, Status.ACK)


@cocotb.test()
async def reset_in_the_middle(dut):
    """Whatever was under way, the node starts afresh; a half frame does nothing."""
    line = await start(dut)
    rng = line.rng
    for cut in list(range(1, 40, 6)) + [60, 120, 200]:
        host = Host(line, rng.randrange(1, 1 << 16))
        assert Status((await host.sync()).status) is Status.ACK
        line.records = list(range(20))
        line.out += encode(host.frame(Op.WRITE, WORDS, range(20, 28)))
        await line.idle(cut)
        left = bytes(line.out)
        line.out.clear()
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rx__valid.value = 0
        line.records = []
        await line.reset()
        line.decoder = FrameDecoder()
        line.answers.clear()
        line.bus_log.clear()
        line.out += left
        await line.idle(400)
        assert line.bus_log == []
        if left:
            line.out += b"\0"
            for answer in await line.wait(1 if left.strip(b"\0") else 0):
                assert Status(answer.status) in (Status.BAD_FRAME, Status.NO_SESSION)
        await line.idle(300)
        line.answers.clear()
        is_(await host.ask(Op.PING), Status.NO_SESSION, [0])
        assert int(dut.words.value) == 0
