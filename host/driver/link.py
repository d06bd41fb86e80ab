"""The host's end of the link: sessions, requests in flight, retries, record streams.

The client owns one task, which reads. Requests go out from the coroutine that makes them, up to
``WINDOW`` at a time; the rest wait their turn, so coroutines that run at the same time share the
round trip. Time is the event loop's clock, so a loop with a simulated clock simulates time-outs.
"""

import asyncio
import logging
import secrets
import struct
from collections import deque
from dataclasses import asdict, dataclass

import numpy as np

from quantacore.gateware.layouts.frames import (
    LINK_VERSION,
    MAX_PAYLOAD_WORDS,
    WINDOW,
    Channel,
    Op,
    Status,
)
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.host.driver.errors import (
    REFUSALS,
    LinkError,
    LinkTimeoutError,
    NodeBusyError,
    NodeResetError,
    NotANodeError,
    RefusedError,
    SessionLostError,
)
from quantacore.host.driver.framing import HEADER, decode_frame, encode_frame
from quantacore.host.transport.base import Transport, TransportError

__all__ = ["Driver", "LinkStatistics", "LinkClient", "RecordStream"]

_log = logging.getLogger(__name__)

_SYNC, _READ, _READ_FIXED, _WRITE, _WRITE_FIXED, _RMW, _WRITE_AT, _CREDIT, _PING, _STREAM = (
    op.value for op in (Op.SYNC, Op.READ, Op.READ_FIXED, Op.WRITE, Op.WRITE_FIXED, Op.RMW,
                        Op.WRITE_AT, Op.CREDIT, Op.PING, Op.STREAM))
_TAGS = Channel.TAGS.value
_BAD_FRAME, _NO_SESSION, _OUT_OF_ORDER, _BUSY, _BAD_VERSION = (
    s.value for s in (Status.BAD_FRAME, Status.NO_SESSION, Status.OUT_OF_ORDER, Status.BUSY,
                      Status.BAD_VERSION))
_WITH_ADDRESS = tuple(s.value for s in (Status.UNMAPPED, Status.READ_ONLY, Status.WRITE_ONLY))
_MESSAGES = {
    "UNMAPPED": "there is no register at {where}; the map has {nearby}",
    "READ_ONLY": "{where} can only be read",
    "WRITE_ONLY": "{where} can only be written",
    "BAD_CHANNEL": "the node has no such channel",
    "BAD_OP": "the node does not know this operation",
    "BAD_LENGTH": "the payload has a wrong length",
    "LATE": "the tick is past, or too near: it arrived at tick {tick}; ask for a later one",
    "QUEUE_FULL": "the queue of timed writes is full; wait for some to be done",
    "UNORDERED": "a timed write that is later, or too near, is queued already; send them in "
                 "order of time and apart",
    "OUT_OF_RANGE": "an index is outside the node's buffer",
}
#: No frame is as long as this without a zero byte.
_MAX_REST = 600
_M16, _M32 = 0xFFFF, 0xFFFFFFFF
_CREDIT_REWIND, _CREDIT_KEEP = 1, 2


class Driver:
    """Base of everything that drives a node; the synchronous facade wraps its subclasses."""


@dataclass
class LinkStatistics:
    """Counts of one client since it was made."""

    #: Requests that were given a number.
    requests: int = 0
    #: Requests that have had their answer.
    answers: int = 0
    #: Frames sent again, for whatever reason.
    retries: int = 0
    #: Times when nothing came for so long that everything in flight was sent again.
    timeouts: int = 0
    #: BAD_FRAME hints from the node: frames damaged on the way there.
    hints: int = 0
    #: OUT_OF_ORDER answers: frames lost on the way there.
    out_of_order: int = 0
    #: Frames damaged on the way here.
    bad_frames: int = 0
    #: Answers that came again, or to nothing.
    duplicates: int = 0
    #: Stream frames used.
    stream_frames: int = 0
    #: Times that stream records were asked for again.
    rewinds: int = 0
    keep_alives: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class _Request:
    __slots__ = ("op", "argument", "payload", "frame", "done", "sent_at", "hurried")

    def __init__(self, op, argument, payload, done):
        self.op = op
        self.argument = argument
        self.payload = payload
        self.done = done  # a future, or a function of (argument, payload)
        self.frame = None
        self.sent_at = 0.0
        self.hurried = False


class LinkClient(Driver):
    """A session with a node over a transport.

    Parameters
    ----------
    transport : Transport
        Owned from now on: closing the client closes it.
    register_map : RegisterMap
        For the names in messages.
    timeout_s : float
        First time-out of a request; afterwards it follows the measured round trip, and doubles
        with each retry.
    retries : int
        Time-outs in a row before a request fails.
    keep_alive_s : float
        A PING goes out after so much silence; 0 is never. Keep it below the node's lease.
    session : int or None
        Session number, 1 to 65535; drawn at random by default.

    Raises
    ------
    LinkTimeoutError, NodeBusyError, NodeResetError, SessionLostError, RefusedError
        From requests, all of them :class:`LinkError`.
    TransportError
        From requests, once the transport has failed.
    """

    def __init__(self, transport, *, register_map=NODE_MAP, timeout_s=0.25, retries=8,
                 keep_alive_s=0.3, session=None):
        if not isinstance(transport, Transport):
            raise TypeError(f"Link client needs a Transport, not {transport!r}")
        if timeout_s <= 0:
            raise ValueError(f"Time-out must be positive, not {timeout_s!r}")
        if retries < 0:
            raise ValueError(f"Retries must be 0 or more, not {retries!r}")
        if session is not None and not 1 <= session <= _M16:
            raise ValueError(f"Session must be 1 to 65535, not {session!r}")
        self.transport = transport
        self.register_map = register_map
        self.timeout_s = timeout_s
        self.retries = retries
        self.keep_alive_s = keep_alive_s
        self.statistics = LinkStatistics()
        self.map_crc = None
        self._fixed_session = session
        self.session = 0
        self._failure = LinkError("The link is not open; use `await client.open()`")
        self._reader = self._loop = self._timer = self._send_task = None
        self._streams = {}
        self._sending = self._kicked = False
        self._forget()

    def _forget(self):
        self._seq = secrets.randbits(16)
        self._queue = deque()
        self._outstanding = {}  # seq -> _Request, oldest first
        self._again = {}  # seq -> None: frames to send again
        self._attempts = 0
        self._rto = self.timeout_s
        self._round_trip = None
        self._good_frames = 0
        self._opening = False

    # Opening and closing.

    async def open(self, *, takeover=False):
        """Open transport and session.

        Parameters
        ----------
        takeover : bool
            End another host's session instead of raising :class:`NodeBusyError`.
        """
        if self._reader is not None:
            return
        self._loop = asyncio.get_running_loop()
        await self.transport.open()
        self._failure = None
        self._reader = self._loop.create_task(self._read_frames(), name="quantacore link")
        try:
            await self._open_session(takeover)
        except BaseException:
            await self.close()
            raise

    async def reconnect(self, *, takeover=False):
        """Open a new session after :class:`SessionError` or a time-out.

        The node's registers are as they are (after a reset: initial); streams are closed.
        """
        transport_failed = not isinstance(self._failure, LinkError | None)
        if self._reader is None or self._reader.done() or transport_failed:
            await self.close()
            await self.open(takeover=takeover)
            return
        self._fail(LinkError("The link was reconnected while this request waited"))
        self._failure = None
        await self._open_session(takeover)

    async def _open_session(self, takeover):
        self._forget()
        for stream in self._streams.values():
            stream._open = False
            stream._wake()
        self._streams.clear()
        replaced = 0
        for _ in range(4):
            self.session = self._fixed_session or secrets.randbelow(_M16) + 1
            if self.session == replaced:
                continue
            self._opening = True
            try:
                argument, payload = await self._exchange(
                    _SYNC, 0, struct.pack("<I", self.session | replaced << 16))
            finally:
                self._opening = False
            status = argument & 0xFF
            if status == Status.ACK.value:
                words = _words(payload)
                if len(words) != 2:
                    raise NotANodeError(f"The node opened a session with {len(words)} words, not "
                                        f"2; its protocol is not this host's")
                self.map_crc = words[0]
                if words[1] & 0xFF < WINDOW or words[1] >> 8 & 0xFF < MAX_PAYLOAD_WORDS:
                    raise NotANodeError(
                        f"The node takes {words[1] & 0xFF} requests of {words[1] >> 8 & 0xFF} "
                        f"words at a time; this host needs {WINDOW} of {MAX_PAYLOAD_WORDS}")
                self._arm()
                return
            if status != _BUSY:
                raise self._refusal(_SYNC, 0, argument, payload)
            [replaced] = _words(payload) or [0]
            if not takeover:
                raise NodeBusyError(
                    f"The node at {self.transport.url} is in use by another host (session "
                    f"{replaced:#06x}). End that program and wait a second, or take the node over "
                    f"with takeover=True: the other host will get SessionLostError")
            self._forget()
        raise NodeBusyError(f"The node at {self.transport.url} changed hands each time it was "
                            f"taken over; end the other host's program")

    async def close(self):
        """Close session and transport. Whatever waits raises :class:`LinkError`."""
        self._fail(LinkError("The link was closed"))
        tasks = [task for task in (self._reader, self._send_task) if task is not None]
        self._reader = self._send_task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tasks:
            task.cancel()
        await self.transport.close()
        for task in tasks:
            try:
                await task
            except (asyncio.CancelledError, TransportError):
                pass

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_exception):
        await self.close()

    @property
    def failure(self):
        """The error that ended the session, or ``None``."""
        return self._failure

    def _fail(self, error):
        """End the session: everything that waits, and everything to come, raises ``error``."""
        if self._failure is None:
            self._failure = error
            _log.debug("link failed: %s", error)
        waiting = [*self._outstanding.values(), *self._queue]
        self._outstanding.clear()
        self._queue.clear()
        self._again.clear()
        for request in waiting:
            if isinstance(request.done, asyncio.Future) and not request.done.done():
                request.done.set_exception(error)
        for stream in self._streams.values():
            stream._wake()

    # Requests.

    async def _exchange(self, op, argument, payload):
        """One request: ``(answer's argument, answer's payload)``."""
        if self._failure is not None:
            raise self._failure
        if not 0 <= argument <= _M16:
            raise ValueError(f"Address must be 0 to {_M16}, not {argument!r}")
        if len(payload) > 4 * MAX_PAYLOAD_WORDS or len(payload) & 3:
            raise ValueError(f"A request carries up to {MAX_PAYLOAD_WORDS} whole words, not "
                             f"{len(payload)} bytes")
        done = self._loop.create_future()
        self._queue.append(_Request(op, argument, payload, done))
        if not self._kicked and len(self._outstanding) < WINDOW:
            # Once around the loop first: coroutines that wake together send together.
            self._kicked = True
            self._loop.call_soon(self._kick)
        return await done

    async def request(self, op, argument=0, payload=b""):
        """Make any request; return the answer's payload as bytes.

        Raises
        ------
        RefusedError
            If the node refuses; its subclass says why.
        """
        result, data = await self._exchange(op, argument, payload)
        if result:
            raise self._refusal(op, argument, result, data)
        return data

    def _post(self, op, argument, payload, callback):
        """Queue a request from inside the reader or the timer."""
        self._queue.append(_Request(op, argument, payload, callback))

    def _refusal(self, op, argument, result, data):
        status, done = result & 0xFF, result >> 8
        words = _words(data)
        name = Op(op).name
        if status == _NO_SESSION:
            return self._no_session(words)
        if status == _BAD_VERSION:
            return NotANodeError(f"The node speaks version {words[0] if words else '?'} of the "
                                 f"link, this host version {LINK_VERSION}; bring host and "
                                 f"gateware to the same release")
        cls = REFUSALS.get(status, RefusedError)
        values = {"where": self.describe(argument), "nearby": "", "tick": "?"}
        if status in _WITH_ADDRESS and words:
            values["where"] = self.describe(words[-1])
            values["nearby"] = self._nearby(words[-1])
        if len(words) >= 2:
            values["tick"] = words[0] | words[1] << 32
        known = cls.status.name if cls.status is not None else ""
        text = _MESSAGES.get(known, f"status {status}").format(**values)
        after = f" after {done} words" if done else ""
        return cls(f"The node refused {name} at {self.describe(argument)}{after}: {text}",
                   done=done)

    def describe(self, address):
        """An address in words: the register's name, element and number."""
        for placed in self.register_map.placed():
            register = placed.register
            if placed.address <= address < placed.address + register.size:
                element = (address - placed.address) // register.words
                index = f"[{element}]" if register.size > register.words else ""
                return f"{placed.name}{index} (address {address:#06x})"
        return f"address {address:#06x}"

    def _nearby(self, address):
        below = [p for p in self.register_map.placed() if p.address <= address]
        if not below:
            return "nothing below"
        last = below[-1]
        return f"{last.name} up to {last.address + last.register.size - 1:#06x} before it"

    async def read(self, address, count=1):
        """Read ``count`` words from ``address`` up, as a list; long runs in several requests."""
        if count <= MAX_PAYLOAD_WORDS:
            return _words(await self.request(_READ, address, struct.pack("<I", count)))
        parts = [self.request(_READ, address + at,
                              struct.pack("<I", min(MAX_PAYLOAD_WORDS, count - at)))
                 for at in range(0, count, MAX_PAYLOAD_WORDS)]
        return _words(b"".join(await asyncio.gather(*parts)))

    async def read_word(self, address):
        """Read one word."""
        return int.from_bytes(await self.request(_READ, address, b"\1\0\0\0"), "little")

    async def read_fixed(self, address, count):
        """Read the same register ``count`` times (1 to 60), as a list."""
        return _words(await self.request(_READ_FIXED, address, struct.pack("<I", count)))

    async def write(self, address, words):
        """Write words from ``address`` up, in order; long runs in several requests."""
        words = list(words)
        if len(words) <= MAX_PAYLOAD_WORDS:
            await self.request(_WRITE, address, struct.pack(f"<{len(words)}I", *words))
            return
        for at in range(0, len(words), MAX_PAYLOAD_WORDS):
            await self.write(address + at, words[at:at + MAX_PAYLOAD_WORDS])

    async def write_word(self, address, value):
        """Write one word."""
        await self.request(_WRITE, address, value.to_bytes(4, "little"))

    async def write_fixed(self, address, words):
        """Write words (1 to 60) to the same register one after the other."""
        await self.request(_WRITE_FIXED, address, struct.pack(f"<{len(words)}I", *words))

    async def modify(self, address, mask, value):
        """Replace the bits in ``mask`` by those of ``value``; return the word as it was."""
        return int.from_bytes(await self.request(_RMW, address, struct.pack("<II", mask, value)),
                              "little")

    async def write_at(self, tick, address, value):
        """Write a word at a tick.

        Raises
        ------
        LateError, QueueFullError, UnorderedError
        """
        await self.request(_WRITE_AT, address, struct.pack("<QI", tick, value))

    async def ping(self):
        """The node's tick counter, about now."""
        return int.from_bytes(await self.request(_PING), "little")

    # Sending.

    async def _flush(self):
        """Send what may be sent. Whoever comes while one sends leaves it to that one."""
        if self._sending:
            return
        self._sending = True
        try:
            while self._failure is None:
                out = []
                now = self._loop.time()
                if self._again:
                    # A zero first, so that a frame whose own was lost is over and done with.
                    out.append(b"\0")
                    for seq in self._again:
                        request = self._outstanding.get(seq)
                        if request is not None:
                            out.append(request.frame)
                            request.sent_at = 0.0  # its round trip can't be told any more
                            self.statistics.retries += 1
                    self._again.clear()
                while self._queue and self._may_send():
                    request = self._queue.popleft()
                    if isinstance(request.done, asyncio.Future) and request.done.done():
                        continue  # cancelled before it had a number
                    seq = self._seq
                    self._seq = seq + 1 & _M16
                    request.frame = encode_frame(self.session, seq, request.op, request.argument,
                                                 request.payload)
                    request.sent_at = now
                    self._outstanding[seq] = request
                    self.statistics.requests += 1
                    out.append(request.frame)
                if not out:
                    return
                data = b"".join(out)
                self._last_sent = now
                self.statistics.bytes_sent += len(data)
                if self._timer is None or self._timer.when() > now + 2 * self._rto:
                    self._arm()
                await self.transport.write(data)
        except TransportError as error:
            self._fail(error)
            raise
        finally:
            self._sending = False

    def _may_send(self):
        outstanding = self._outstanding
        if not outstanding:
            return True
        # The node keeps the last WINDOW answers: the oldest request not answered must be one.
        return self._seq - next(iter(outstanding)) & _M16 < WINDOW

    def _kick(self):
        """Send from where nothing can be awaited."""
        self._kicked = False
        if not self._sending and (self._again or self._queue):
            self._send_task = self._loop.create_task(self._flush_quietly())

    async def _flush_quietly(self):
        try:
            await self._flush()
        except TransportError:
            pass  # told to everyone who waits
        except Exception as error:  # a bug must not look like a silent node
            self._fail(error)
            _log.exception("sending on the link failed")

    # Time.

    def _arm(self):
        if self._timer is not None:
            self._timer.cancel()
        delay = self._rto if self._outstanding else self.keep_alive_s or self.timeout_s
        for stream in self._streams.values():
            delay = min(delay, stream.poll_s)
        self._last_sent = self._last_progress = self._loop.time()
        self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self):
        self._timer = None
        if self._failure is not None:
            return
        now = self._loop.time()
        delay = self.keep_alive_s or self.timeout_s
        if self._outstanding:
            # Measured from the last sign of life, so that a full window is not sent again while
            # its answers are still coming in.
            due = max(self._last_sent, self._last_progress) + self._rto
            if now >= due:
                self._timed_out()
                if self._failure is not None:
                    return
                due = now + self._rto
            delay = min(delay, due - now)
        elif self.keep_alive_s and now - self._last_sent >= self.keep_alive_s:
            self.statistics.keep_alives += 1
            self._post(_PING, 0, b"", _ignore)
            delay = min(delay, self._rto)
        for stream in self._streams.values():
            stream._poll(now)
            delay = min(delay, stream.poll_s)
        self._timer = self._loop.call_later(max(delay, 1e-4), self._on_timer)
        self._kick()

    def _timed_out(self):
        self._attempts += 1
        if self._attempts > self.retries:
            self._fail(LinkTimeoutError(self._timeout_message()))
            return
        self.statistics.timeouts += 1
        self._rto = min(2 * self._rto, max(1.0, self.timeout_s))
        for request in self._outstanding.values():
            request.hurried = False
        self._again.update(dict.fromkeys(self._outstanding))
        _log.debug("no answer, sending %d requests again", len(self._again))

    def _timeout_message(self):
        statistics = self.statistics
        request = next(iter(self._outstanding.values()))
        what = Op(request.op).name
        if request.op in (_READ, _WRITE, _RMW, _READ_FIXED, _WRITE_FIXED, _WRITE_AT):
            what += f" at {self.describe(request.argument)}"
        text = f"{self.transport.url}: no answer to {what} after {self._attempts} tries"
        if not self._good_frames and statistics.bytes_received:
            return (f"{text}; {statistics.bytes_received} bytes came, none of them a frame: this "
                    f"looks like a wrong baud rate (give the node's: serial:PORT?baud=RATE) or "
                    f"like another device")
        if not statistics.bytes_received:
            return f"{text}; nothing came at all: " + (
                self.transport.hint() or "check that the node runs")
        return (f"{text}; it answered before ({statistics.answers} answers, "
                f"{statistics.bad_frames} bad frames): "
                + (self.transport.hint() or "check that the node still runs"))

    # Receiving.

    async def _read_frames(self):
        statistics = self.statistics
        read = self.transport.read
        rest = b""
        try:
            while True:
                data = await read(65536)
                statistics.bytes_received += len(data)
                chunks = data.split(b"\0")
                chunks[0] = rest + chunks[0]
                rest = chunks.pop()
                if len(rest) > _MAX_REST:
                    rest = rest[:_MAX_REST]  # still too long for a frame: bad at its zero
                for chunk in chunks:
                    if chunk:
                        frame = decode_frame(chunk)
                        if frame is None:
                            self._bad_frame()
                        else:
                            self._good_frames += 1
                            self._frame(frame)
                if self._again or self._queue:
                    await self._flush()
        except TransportError as error:
            self._fail(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a bug must not look like a silent node
            self._fail(error)
            _log.exception("the link's reader failed")

    def _bad_frame(self):
        """It may have been an answer: ask again for what is oldest, once."""
        self.statistics.bad_frames += 1
        for seq, request in self._outstanding.items():
            if not request.hurried:
                request.hurried = True
                self._again[seq] = None
            break

    def _frame(self, frame):
        version, channel, session, seq, op, _count, argument = HEADER.unpack_from(frame)
        statistics = self.statistics
        if version != LINK_VERSION or not op & 0x80:
            statistics.duplicates += 1
            return
        if session != self.session:
            # To a session before this one, or a hint that knows no session yet.
            if self._opening and op == 0x80 and argument == _BAD_FRAME:
                statistics.hints += 1
                self._hurry_from(next(iter(self._outstanding), 0))
            else:
                statistics.duplicates += 1
            return
        if channel:
            stream = self._streams.get(channel)
            if stream is not None and op & 0x7F == _STREAM:
                stream._take(frame)
            return
        status = argument & 0xFF
        outstanding = self._outstanding
        if status == _BAD_FRAME:
            statistics.hints += 1
            if seq in outstanding:
                self._hurry_from(seq)
            elif self._opening and outstanding:
                self._hurry_from(next(iter(outstanding)))
            return
        request = outstanding.get(seq)
        if request is None or request.op != op & 0x7F:
            statistics.duplicates += 1
            return
        payload = frame[10:-4]
        if status == _OUT_OF_ORDER:
            statistics.out_of_order += 1
            expected = _words(payload)[0] & _M16
            oldest = outstanding.get(expected)
            if oldest is not None and not oldest.hurried:
                oldest.hurried = True
                self._hurry_from(expected)
            return
        if status == _NO_SESSION:
            self._fail(self._no_session(_words(payload)))
            return
        now = self._loop.time()
        if request.sent_at:
            trip = now - request.sent_at
            self._round_trip = trip if self._round_trip is None else (
                0.875 * self._round_trip + 0.125 * trip)
            # Four round trips, and a little for an operating system that looks elsewhere.
            self._rto = min(4 * self._round_trip + 0.005, self.timeout_s)
        self._attempts = 0
        self._last_progress = now
        del outstanding[seq]
        self._again.pop(seq, None)
        statistics.answers += 1
        done = request.done
        if isinstance(done, asyncio.Future):
            if not done.done():
                done.set_result((argument, payload))
        else:
            done(argument, payload)
        # Answers come in order, so whatever is older and open has lost its answer on the way.
        for older, missing in outstanding.items():
            if not (seq - older & _M16) < 0x8000:
                break
            if not missing.hurried:
                missing.hurried = True
                self._again[older] = None

    def _hurry_from(self, seq):
        """Send everything from ``seq`` on again: the node has not got it."""
        for other in self._outstanding:
            if (other - seq & _M16) < 0x8000:
                self._again[other] = None

    def _no_session(self, words):
        current = words[0] if words else 0
        if current:
            return SessionLostError(
                f"Another host (session {current:#06x}) took over the node at "
                f"{self.transport.url}; reconnect(takeover=True) takes it back")
        return NodeResetError(
            f"The node at {self.transport.url} was reset: all settings are lost. Call "
            f"reconnect() and configure it again")

    def records(self, channel=_TAGS, **kwargs):
        """A :class:`RecordStream` on a channel; use it with ``async with``."""
        return RecordStream(self, channel, **kwargs)

    def statistics_dict(self):
        """The counts as a dictionary."""
        return asdict(self.statistics)


def _words(data):
    return list(struct.unpack(f"<{len(data) >> 2}I", data))


def _after(a, b):
    """Whether record number ``a`` comes after ``b``; both wrap at 32 bits."""
    return 0 < (a - b & _M32) < 1 << 31


def _ignore(_argument, _payload):
    pass


class RecordStream(Driver):
    """Records of a node's ring, in order, none twice and none missing.

    The node keeps every record until it is acknowledged, so damage on the line costs time, never
    records. What the node itself had to drop (the host granted no credit for too long) it says in
    the stream, with records of kind OVERFLOW and LOST.

    Parameters
    ----------
    client : LinkClient
    channel : int
    buffer_records : int
        Records that may wait here for the reader.
    when_full : str
        ``"hold"``: grant no more credit, so that the node's buffer fills and then counts its
        losses. ``"drop"``: forget the oldest records that wait here, counted in ``dropped``.
    keep_backlog : bool
        Whether records that were in the node's buffer before are wanted.
    acknowledge_every : int
        Records per acknowledgement; keep it well below the node's buffer.
    poll_s : float
        After so much silence the node is asked whether the last frame was lost.

    Attributes
    ----------
    received, dropped : int
        Records taken over from the node; of those, dropped here.
    """

    def __init__(self, client, channel=_TAGS, *, buffer_records=1 << 20, when_full="hold",
                 keep_backlog=False, acknowledge_every=256, poll_s=0.05):
        if when_full not in ("hold", "drop"):
            raise ValueError(f'when_full must be "hold" or "drop", not {when_full!r}')
        if buffer_records < 2 * acknowledge_every:
            raise ValueError(f"buffer_records must be at least {2 * acknowledge_every} (twice "
                             f"acknowledge_every), not {buffer_records!r}")
        self.client = client
        self.channel = channel
        self.buffer_records = buffer_records
        self.when_full = when_full
        self.keep_backlog = keep_backlog
        self.acknowledge_every = acknowledge_every
        self.poll_s = poll_s
        self.received = self.dropped = 0
        self._open = False
        self._blocks = deque()
        self._waiting = 0
        self._waiter = None

    async def open(self):
        """Find where the node's ring stands and grant credit."""
        if self._open:
            return
        client = self.client
        if client._streams.get(self.channel) is not None:
            raise LinkError(f"Channel {self.channel} has a stream already; close that one first")
        payload = await client.request(_CREDIT, self.channel, struct.pack(
            "<III", 0, 0, _CREDIT_KEEP | _CREDIT_REWIND))
        self._expected, self._written = _words(payload)
        self._acked = self._expected
        self._skip = 0 if self.keep_backlog else self._written - self._expected & _M32
        self._busy = False
        self._gap = False
        self._last_activity = client._loop.time()
        self._open = True
        client._streams[self.channel] = self
        self._grant()
        client._kick()
        client._arm()

    async def close(self):
        """Withdraw the credit. Records not read here and acknowledged are gone, others stay."""
        if not self._open:
            return
        self._open = False
        client = self.client
        read = self._expected - self._waiting & _M32
        if _after(read, self._acked):
            self._acked = read
        if client._streams.get(self.channel) is self:
            del client._streams[self.channel]
        self._wake()
        if client.failure is None:
            await client.request(_CREDIT, self.channel, struct.pack(
                "<III", self._acked, self._acked, _CREDIT_REWIND))

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_exception):
        try:
            await self.close()
        except (LinkError, TransportError):
            if _exception[0] is None:
                raise

    def _wake(self):
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # From the node.

    def _take(self, frame):
        index = int.from_bytes(frame[10:14], "little")
        records = (len(frame) - 18) >> 3
        behind = self._expected - index & _M32
        if behind >= 1 << 31:
            # Records in between are missing; what comes is dropped until they do.
            if not self._gap:
                self._gap = True
                self._grant(_CREDIT_REWIND)
            return
        self.client.statistics.stream_frames += 1
        if behind >= records:
            return
        fresh = records - behind
        data = frame[14 + 8 * behind:-4]
        self._gap = False
        self._expected = self._expected + fresh & _M32
        self._last_activity = self.client._loop.time()
        if self._skip:
            skipped = min(self._skip, fresh)
            self._skip -= skipped
            data = data[8 * skipped:]
            fresh -= skipped
        if fresh:
            self.received += fresh
            self._waiting += fresh
            self._blocks.append(data)
            if self.when_full == "drop":
                while self._waiting > self.buffer_records:
                    old = len(self._blocks.popleft()) >> 3
                    self._waiting -= old
                    self.dropped += old
            self._wake()
        if (self._expected - self._acked & _M32) >= self.acknowledge_every:
            self._grant()

    def _room(self):
        if self.when_full == "drop":
            return self.buffer_records
        return max(0, self.buffer_records - self._waiting)

    def _grant(self, flags=0):
        """Acknowledge, and grant credit for what there is room for. One at a time."""
        if flags & _CREDIT_REWIND:
            self.client.statistics.rewinds += 1
        elif self._busy:
            return
        self._busy = True
        self._acked = acked = self._expected
        self._credited = self._room()
        limit = acked + self._credited & _M32

        def answered(argument, payload):
            self._busy = False
            if argument or not self._open:
                return
            following, self._written = _words(payload)
            if flags & _CREDIT_REWIND:
                self._gap = False
            elif _after(following, self._expected) and not self._gap:
                # The node has sent further than has come, and frames come before answers.
                self._gap = True
                self._grant(_CREDIT_REWIND)
            self._wake()

        self.client._post(_CREDIT, self.channel, struct.pack("<III", acked, limit, flags),
                          answered)

    def _poll(self, now):
        if self._open and not self._busy and now - self._last_activity >= self.poll_s:
            self._last_activity = now
            self._grant()

    # To the user.

    async def read(self):
        """All records that have come, at least one, as ``numpy.uint64``."""
        while not self._blocks:
            if self.client.failure is not None:
                raise self.client.failure
            if not self._open:
                raise LinkError("The record stream is closed")
            self._waiter = waiter = self.client._loop.create_future()
            await waiter
        return await self._give()

    async def _give(self):
        # Read-only views of bytes would surprise; one copy makes a plain array of them.
        block = np.frombuffer(bytearray().join(self._blocks), "<u8").astype(np.uint64, copy=False)
        self._blocks.clear()
        self._waiting = 0
        if self.when_full == "hold" and self._open and self._credited < self.buffer_records // 2:
            self._grant()
            await self.client._flush()
        return block

    async def read_pending(self):
        """Everything that the node had recorded when this was called and was not read yet."""
        client = self.client
        payload = await client.request(_CREDIT, self.channel, struct.pack(
            "<III", 0, 0, _CREDIT_KEEP))
        target = _words(payload)[1]
        parts = []
        while True:
            if self._blocks:
                parts.append(await self._give())
            if not _after(target, self._expected):
                break
            if client.failure is not None:
                raise client.failure
            if not self._open:
                raise LinkError("The record stream is closed")
            self._waiter = waiter = client._loop.create_future()
            await waiter
        return np.concatenate(parts) if parts else np.empty(0, np.uint64)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.read()
        except LinkError:
            if not self._open:
                raise StopAsyncIteration from None
            raise
