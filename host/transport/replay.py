"""Play a recorded conversation: the node's answers again, for the same requests.

The recording (:mod:`quantacore.host.transport.record`) is taken apart into requests, answers and
records. What depends on chance or time is not compared: session and request numbers, retries,
keep-alives, the host's credits. What is compared is the sequence of register requests; coroutines
that ran side by side make it depend on time, so record programs that ask one thing after another.
"""

import asyncio
import json
from pathlib import Path

from quantacore.gateware.layouts.frames import (
    HEADER_BYTES,
    STREAM_RECORDS,
    Channel,
    Op,
    Status,
)
from quantacore.host.driver.framing import HEADER as FRAME_HEADER
from quantacore.host.driver.framing import decode_frame, encode_frame
from quantacore.host.transport.base import (
    DisconnectedError,
    PortNotFoundError,
    ReplayMismatchError,
    Transport,
    TransportError,
)
from quantacore.host.transport.record import HEADER

__all__ = ["ReplayTransport", "load_recording"]

_ANSWER = 0x80
_TAGS = Channel.TAGS.value
_M32 = 0xFFFFFFFF
_NOT_CARRIED_OUT = (Status.BAD_FRAME.value, Status.BAD_VERSION.value, Status.NO_SESSION.value,
                    Status.BUSY.value, Status.OUT_OF_ORDER.value)


def load_recording(path):
    """The conversation as a list of ``(microseconds, direction, bytes)``."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise PortNotFoundError(f"There is no recording {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TransportError(f"{path} is not a link recording ({error})") from error
    if not lines:
        raise TransportError(f"{path} is empty; a link recording has a header line")
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if number == 1:
                if {key: entry.get(key) for key in HEADER} != HEADER:
                    raise ValueError(f"its header is {line[:60]!r}")
                continue
            us, direction, text = entry
            if direction not in (">", "<") or not isinstance(us, int):
                raise ValueError(f"neither time nor direction in {line[:60]!r}")
            entries.append((us, direction, bytes.fromhex(text)))
        except (ValueError, TypeError, AttributeError) as error:
            raise TransportError(f"{path}, line {number}: this is not a link recording of version "
                                 f"{HEADER['version']}: {error}") from error
    return entries


def _frames(entries):
    """Whole, undamaged frames in the order of their ends: ``(direction, frame)``."""
    rest = {">": b"", "<": b""}
    for _us, direction, data in entries:
        *chunks, rest[direction] = (rest[direction] + data).split(b"\0")
        for chunk in chunks:
            frame = decode_frame(chunk) if chunk else None
            if frame is not None:
                yield direction, frame


def _body(frame):
    return frame[HEADER_BYTES:-4]


class ReplayTransport(Transport):
    """A recording in place of a node.

    Register requests must come in the recorded order and get the recorded answers. Records of a
    stream are sent, under the host's credit, once the requests that were answered before them
    have been made again. A PING is answered with tick 0 where none was recorded.

    Raises
    ------
    ReplayMismatchError
        From ``write`` (and from every call after it), with the place and both requests, if the
        host asks something else or more than was recorded.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.url = f"replay:{path}"
        self._open = False
        self._steps = None

    async def open(self):
        if self._open:
            return
        self._load()
        self._open = True
        self._error = None
        self._waiter = None
        self._received = bytearray()
        self._rest = b""
        self._at = 0
        self._expected = None
        self._kept = {}
        self._acked = self._next = self._limit = self._first
        self._release()

    def _load(self):
        # Requests in the order in which they were first made: on a bad line, answers may have
        # come in another.
        asked, answers, self._records = {}, {}, []
        self._sync, self._ping, self._first = None, bytes(8), 0
        last = None
        for direction, frame in _frames(load_recording(self.path)):
            _version, channel, session, seq, op, _count, argument = FRAME_HEADER.unpack_from(frame)
            if direction == ">":
                asked.setdefault((session, seq), (op, argument, _body(frame)))
            elif op == Op.STREAM.value | _ANSWER and channel == _TAGS:
                index = int.from_bytes(frame[HEADER_BYTES:HEADER_BYTES + 4], "little")
                data = frame[HEADER_BYTES + 4:-4]
                if not self._records and last is None:
                    self._first = last = index
                known = last - index & _M32  # records that came before, in a frame sent twice
                if known < len(data) >> 3:
                    self._records.append((len(answers), data[8 * known:]))
                    last = last + (len(data) >> 3) - known & _M32
            elif argument & 0xFF not in _NOT_CARRIED_OUT and (session, seq) in asked:
                kind = asked[session, seq][0]
                if kind == Op.SYNC.value:
                    self._sync = (argument, _body(frame))
                elif kind == Op.PING.value:
                    self._ping = _body(frame)
                elif kind != Op.CREDIT.value:
                    answers.setdefault((session, seq), (argument, _body(frame)))
        if self._sync is None:
            raise TransportError(f"{self.path} has no opening of a session in it; record from the "
                                 f"start of the connection")
        self._steps = [(request, answers[key]) for key, request in asked.items()
                       if key in answers]
        self._data = bytearray()

    def _release(self):
        """Records whose time has come."""
        while self._records and self._records[0][0] <= self._at:
            self._data += self._records.pop(0)[1]

    def _wake(self):
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def close(self):
        if self._open:
            self._open = False
            self._error = self._error or DisconnectedError(f"{self.url} is closed")
            self._wake()

    async def read(self, limit=65536):
        while not self._open or not self._received:
            if not self._open or self._error is not None:
                raise self._error or DisconnectedError(f"{self.url} is not open")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._received[:limit])
        del self._received[:limit]
        return data

    async def write(self, data):
        if not self._open:
            raise DisconnectedError(f"{self.url} is not open")
        if self._error is not None:
            raise self._error
        *chunks, self._rest = (self._rest + data).split(b"\0")
        for chunk in chunks:
            frame = decode_frame(chunk) if chunk else None
            if frame is not None:
                self._answer(frame)
        self._stream()
        self._wake()

    def _answer(self, frame):
        _version, channel, session, seq, op, _count, argument = FRAME_HEADER.unpack_from(frame)
        if op == Op.SYNC.value:
            result = self._sync
            self._session = session
            self._expected = seq + 1 & 0xFFFF
        elif seq != self._expected:
            self._received += self._kept.get(seq, b"")
            return
        else:
            self._expected = seq + 1 & 0xFFFF
            if op == Op.PING.value:
                result = 0, self._ping
            elif op == Op.CREDIT.value:
                result = self._credit(_body(frame))
            else:
                result = self._step((op, argument, _body(frame)))
        answer = encode_frame(session, seq, op | _ANSWER, result[0], result[1], channel=channel)
        self._kept[seq] = answer
        self._kept.pop(seq - 8 & 0xFFFF, None)
        self._received += answer

    def _step(self, request):
        recorded = self._steps[self._at][0] if self._at < len(self._steps) else None
        if request != recorded:
            self._error = ReplayMismatchError(
                f"The host departs from {self.url} at request {self._at + 1} of "
                f"{len(self._steps)}: recorded is {_show(recorded)}, now comes {_show(request)}. "
                f"A replay needs the same program with the same settings; record anew if it has "
                f"changed")
            self._wake()
            raise self._error
        self._at += 1
        self._release()
        return self._steps[self._at - 1][1]

    def _written(self):
        return self._first + (len(self._data) >> 3) & _M32

    def _credit(self, payload):
        acked, limit, flags = (int.from_bytes(payload[i:i + 4], "little") for i in (0, 4, 8))
        if not flags & 2:
            self._acked, self._limit = acked, limit
        if flags & 1:
            self._next = self._acked
        return 0, self._next.to_bytes(4, "little") + self._written().to_bytes(4, "little")

    def _stream(self):
        while True:
            number = min(self._written() - self._next & _M32, self._limit - self._next & _M32,
                         STREAM_RECORDS)
            if not 0 < number <= STREAM_RECORDS or (self._limit - self._next & _M32) >> 31:
                return
            at = 8 * (self._next - self._first & _M32)
            self._received += encode_frame(
                self._session, 0, Op.STREAM.value | _ANSWER, 0,
                self._next.to_bytes(4, "little") + self._data[at:at + 8 * number], channel=_TAGS)
            self._next = self._next + number & _M32


def _show(request):
    if request is None:
        return "nothing more"
    op, argument, payload = request
    name = Op(op).name if op in {member.value for member in Op} else f"operation {op}"
    return f"{name} at {argument:#06x} with {payload[:16].hex(' ', 4) or 'no words'}"
