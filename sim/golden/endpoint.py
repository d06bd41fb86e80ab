"""Golden model of a node's end of the link: frames in, frames out, registers, record ring.

Written from the protocol's description alone. It shares no code with the gateware and no code
with the host's driver, so each of the three can be compared with the others. What the protocol
leaves to the node is decided here and listed in :class:`GoldenEndpoint`.
"""

import struct
import zlib

from quantacore.gateware.layouts.export import map_crc
from quantacore.gateware.layouts.frames import (
    CRC_BYTES,
    HEADER_BYTES,
    LINK_VERSION,
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_WORDS,
    STREAM_RECORDS,
    WINDOW,
    Channel,
    Op,
    Status,
)
from quantacore.gateware.layouts.identity import LAYOUT_VERSION, MAGIC
from quantacore.gateware.layouts.link import LINK
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import Access, Memory

__all__ = ["TIMED_WRITE_MARGIN", "TIMED_WRITE_DEPTH", "TIMED_WRITE_GAP", "CREDIT_REWIND",
           "CREDIT_KEEP", "GoldenEndpoint", "cobs_encode", "cobs_decode", "frame_bytes",
           "request_frame", "parse_frame"]

#: A timed write must be this many ticks ahead of its arrival.
TIMED_WRITE_MARGIN = 16
#: Timed writes that can wait.
TIMED_WRITE_DEPTH = 16
#: Ticks between two timed writes: one must be over on the register bus before the next.
TIMED_WRITE_GAP = 8
#: CREDIT flag: the next record to send is the acknowledged one.
CREDIT_REWIND = 1
#: CREDIT flag: leave the acknowledged index and the limit as they are (a host that opens a
#: session does not know them; the answer tells).
CREDIT_KEEP = 2

_HEADER = struct.Struct("<BBHHBBH")
_M16, _M32, _M64 = 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1


def cobs_encode(data):
    """Consistent overhead byte stuffing, without the final zero."""
    out, block = bytearray(), bytearray()
    for byte in data:
        if byte:
            block.append(byte)
        if not byte or len(block) == 254:
            out += bytes([len(block) + 1]) + block
            full = byte != 0
            block.clear()
    if not data or block or data[-1] == 0 or not full:
        out += bytes([len(block) + 1]) + block
    return bytes(out)


def cobs_decode(data):
    """Undo :func:`cobs_encode`; ``None`` if a code points past the end."""
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        if code == 0 or at + code > len(data):
            return None
        out += data[at + 1:at + code]
        at += code
        if code != 0xFF and at < len(data):
            out.append(0)
    return bytes(out)


def frame_bytes(*, session, seq, op, answer, payload=(), argument=0,
                channel=Channel.REGISTER.value, version=LINK_VERSION):
    """A whole frame as it goes over the line, final zero included. ``payload`` is words."""
    body = _HEADER.pack(version, channel, session, seq, op | answer << 7, len(payload), argument)
    body += struct.pack(f"<{len(payload)}I", *payload)
    return cobs_encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


def request_frame(op, *, session, seq, argument=0, payload=(), **kwargs):
    """A request as the host sends it."""
    return frame_bytes(session=session, seq=seq, op=op.value, answer=0, argument=argument,
                       payload=payload, **kwargs)


def parse_frame(data):
    """A frame without its final zero as a dictionary; ``None`` if it is damaged."""
    body = cobs_decode(data)
    if body is None or not HEADER_BYTES + CRC_BYTES <= len(body) <= MAX_FRAME_BYTES:
        return None
    version, channel, session, seq, op, count, argument = _HEADER.unpack_from(body)
    if len(body) != HEADER_BYTES + 4 * count + CRC_BYTES:
        return None
    if zlib.crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
        return None
    return {"version": version, "channel": channel, "session": session, "seq": seq,
            "op": op & 0x7F, "answer": op >> 7, "argument": argument,
            "payload": struct.unpack_from(f"<{count}I", body, HEADER_BYTES)}


class _Block:
    """What the words of one block share: the halves of 64-bit accesses under way."""

    def __init__(self):
        self.low_half = 0
        self.high_half = 0


class _Word:
    """One word of the address space."""

    __slots__ = ("block", "register", "name", "index", "word", "last", "access", "mask", "key",
                 "high", "memory")

    def __init__(self, block, placed, index, word):
        register = placed.register
        self.block = block
        self.register = register
        self.name = placed.name
        self.index = index
        self.word = word
        self.last = word == register.words - 1
        self.access = register.access
        self.mask = (1 << register.width) - 1
        self.key = (placed.name, index)
        self.high = register.words == 2
        self.memory = isinstance(register, Memory)


class GoldenEndpoint:
    """A node's end of the link, with a dictionary for a register file.

    Bytes from the host go into :meth:`feed`, which gives the bytes the node sends back: the
    answers in the order of the requests, then the stream frames that credit allows. Time stands
    still until :attr:`tick` is set.

    What the protocol leaves open and this model decides:

    - An answer repeats channel, session, number and operation of its request; only the BAD_FRAME
      hint carries the node's own session and expected number.
    - SYNC counts as such only on the register channel without the answer bit. With other than
      one payload word it is refused with BAD_LENGTH, with session 0 or a payload that disagrees
      with the header with OUT_OF_RANGE; neither opens anything.
    - Session and number are checked before channel and operation: a frame for an unknown channel
      (BAD_CHANNEL) or with the answer bit or an unknown operation (BAD_OP) takes its number.
    - A lease that has run out leaves the session in place until another host asks: a host that
      was silent and speaks again keeps its session. ``lease_expired`` is raised once a silence,
      in the tick in which the lease runs out.
    - Every frame with a right CRC adds to exactly one of ``requests_done`` (first ACK),
      ``requests_repeated`` (answered from memory, or a repeated SYNC) and ``requests_refused``
      (first NAK); ``frames_received`` is their sum. A register read sees the counts before its
      own request is added to those three.
    - The refusals of WRITE_AT are tried in the order LATE, QUEUE_FULL, UNORDERED. Its address is
      not tried before its tick; a write that is then refused is done without effect (and raises
      ``timed_refused`` where the map has that flag).
    - CREDIT for a channel without a stream is refused with BAD_CHANNEL. The flag
      :data:`CREDIT_KEEP` leaves acknowledged index and limit as they are.
    - Opening a session leaves the record indexes alone and sets the limit to the next index to
      send.

    Parameters
    ----------
    register_map : RegisterMap
    buffer_depth : int
        Records in the ring.
    timed_write_depth, timed_write_margin, timed_write_gap : int
        See :data:`TIMED_WRITE_DEPTH`, :data:`TIMED_WRITE_MARGIN`, :data:`TIMED_WRITE_GAP`.
    """

    def __init__(self, register_map=NODE_MAP, buffer_depth=2048, *,
                 timed_write_depth=TIMED_WRITE_DEPTH, timed_write_margin=TIMED_WRITE_MARGIN,
                 timed_write_gap=TIMED_WRITE_GAP):
        if buffer_depth < 1:
            raise ValueError(f"Buffer depth must be at least 1, not {buffer_depth!r}")
        self.register_map = register_map
        self.buffer_depth = buffer_depth
        self.timed_write_depth = timed_write_depth
        self.timed_write_margin = timed_write_margin
        self.timed_write_gap = timed_write_gap
        self.map_crc = map_crc(register_map)
        self._words = {}
        self._placed = {placed.name: placed for placed in register_map.placed()}
        self._blocks = {block.name: _Block() for block in register_map.blocks}
        for placed in register_map.placed():
            for index in range(placed.register.size // placed.register.words):
                for word in range(placed.register.words):
                    self._words[placed.element(index) + word] = _Word(
                        self._blocks[placed.block], placed, index, word)
        self._flag_names = [name for name, *_ in
                            next(r for r in LINK.registers if r.name == "flags").fields()]
        #: Called as ``on_write(name, index, value)`` after each write that took effect.
        self.on_write = None
        self.reset()

    def reset(self):
        """What the node's reset does: no session, initial register values, an empty ring."""
        self._tick = 0
        self._values = {}
        for name, placed in self._placed.items():
            if placed.register.init:
                for index in range(placed.register.count or 1):
                    self._values[name, index] = placed.register.init
        for block in self._blocks.values():
            block.low_half = block.high_half = 0
        self._set_identity()
        self.session = 0
        self.expected = 0
        self._kept = {}
        self._last_heard = 0
        self._lease_reported = False
        self._received = bytearray()
        self._too_long = False
        self._queue = []
        self._ring = []
        #: Record numbers since reset: freed up to, next to send, sent at most, credit, written.
        self.acked = self.next_to_send = self.sent_highwater = self.limit = self.written = 0
        self._stream_seq = 0

    def _set_identity(self):
        for name, value in (
            ("magic", MAGIC), ("protocol", LINK_VERSION | LAYOUT_VERSION << 8),
            ("map_crc", self.map_crc), ("capabilities", 0b10111),
            ("build_id", 0x474F4C44454E), ("tick_numerator", 8000), ("tick_denominator", 1),
            ("geometry", 8 | 4 << 8 | (self.buffer_depth.bit_length() - 1) << 16 | 12 << 24),
        ):
            if f"identity.{name}" in self._placed:
                self._values[f"identity.{name}", 0] = value

    # Registers, from the node's side.

    def get(self, name, index=0):
        """Bits of a register, whatever its access."""
        if name == "timing.tick":
            return self._tick
        if name == "link.session":
            return self.session
        if name == "link.timed_writes_pending":
            return len(self._queue)
        if name == "tagger.buffer_level":
            return self.records_level
        return self._values.get((name, index), 0)

    def set(self, name, value, index=0):
        """Set a register from the gateware's side, whatever its access. Signed values allowed."""
        placed = self._placed.get(name)
        if placed is None:
            raise KeyError(f"The map has no register {name!r}")
        placed.element(index)
        self._values[name, index] = value & (1 << placed.register.width) - 1

    def _count(self, name, number=1):
        key = (f"link.{name}", 0)
        self._values[key] = (self._values.get(key, 0) + number) & _M32

    def _raise_flag(self, name, when):
        bit = self._flag_names.index(name)
        flags = self.get("link.flags")
        if flags >> bit & 1:
            count = self.get("link.flag_counts", bit)
            self._values["link.flag_counts", bit] = min(count + 1, _M32)
        else:
            self._values["link.flags", 0] = flags | 1 << bit
            self._values["link.flag_counts", bit] = 1
            self._values["link.flag_times", bit] = when

    @property
    def tick(self):
        """The tick counter. Setting it carries out timed writes and lets the lease run."""
        return self._tick

    @tick.setter
    def tick(self, value):
        if not 0 <= value <= _M64:
            raise ValueError(f"Tick must fit 64 bits, not {value!r}")
        while self._queue and self._queue[0][0] <= value:
            tick, address, word = self._queue.pop(0)
            self._expire(tick)
            self._tick = tick
            refused = self._write_word(address, word) is not Status.ACK
            self._count("timed_writes_done")
            if refused and "timed_refused" in self._flag_names:
                self._raise_flag("timed_refused", tick)
        self._expire(value)
        self._tick = value

    def _expire(self, now):
        lease = self.get("link.lease")
        if (self.session and lease and not self._lease_reported
                and now - self._last_heard >= lease):
            self._lease_reported = True
            self._raise_flag("lease_expired", self._last_heard + lease)

    @property
    def session_alive(self):
        """Whether a session is open whose host was heard within the lease."""
        lease = self.get("link.lease")
        return bool(self.session) and (lease == 0 or self._tick - self._last_heard < lease)

    # The register bus: (status, value).

    def _read_word(self, address):
        word = self._words.get(address)
        if word is None:
            return Status.UNMAPPED, 0
        block = word.block
        if word.access is Access.WRITE_ONLY:
            if word.high and word.word == 0:
                block.high_half = 0
            return Status.WRITE_ONLY, 0
        if word.word:
            return Status.ACK, block.high_half
        value = self.get(*word.key)
        if word.high:
            block.high_half = value >> 32
        return Status.ACK, value & _M32

    def _write_word(self, address, value):
        word = self._words.get(address)
        if word is None:
            return Status.UNMAPPED
        block = word.block
        low, block.low_half = block.low_half, value
        if word.access is Access.READ_ONLY:
            return Status.READ_ONLY
        if not word.last:
            return Status.ACK
        if word.high:
            value = low | value << 32
        value &= word.mask
        if word.access is Access.CLEAR_BY_ONE:
            self._clear_flags(word.name, value)
        elif word.access is Access.READ_WRITE:
            self._values[word.key] = value
        elif word.name == "timing.tick_load":
            self._tick = value
        if self.on_write is not None:
            self.on_write(word.name, word.index, value)
        return Status.ACK

    def _clear_flags(self, name, ones):
        self._values[name, 0] = self._values.get((name, 0), 0) & ~ones
        block = name.split(".")[0]
        bit = 0
        while ones >> bit:
            if ones >> bit & 1:
                self._values[f"{block}.flag_counts", bit] = 0
                self._values[f"{block}.flag_times", bit] = 0
            bit += 1

    # The record ring.

    @property
    def records_level(self):
        """Records held, sent and not acknowledged ones included."""
        return self.written - self.acked & _M32

    def push_records(self, records):
        """Put 64-bit records into the ring while there is room; return how many went in."""
        room = self.buffer_depth - len(self._ring)
        taken = [int(record) & _M64 for record in records[:room]]
        self._ring += taken
        self.written = self.written + len(taken) & _M32
        return len(taken)

    def poll(self):
        """Stream frames that may be sent now, the last one perhaps not full."""
        out = []
        while self.session:
            waiting = self.written - self.next_to_send & _M32
            credit = self.limit - self.next_to_send & _M32
            if credit >> 31:
                credit = 0
            number = min(waiting, credit, STREAM_RECORDS)
            if not number:
                break
            start = self.next_to_send - self.acked & _M32
            payload = [self.next_to_send]
            for record in self._ring[start:start + number]:
                payload += (record & _M32, record >> 32)
            out.append(self._send(frame_bytes(
                channel=Channel.TAGS.value, session=self.session, seq=self._stream_seq,
                op=Op.STREAM.value, answer=1, payload=payload)))
            self._stream_seq = self._stream_seq + 1 & _M16
            self.next_to_send = self.next_to_send + number & _M32
            if not (self.next_to_send - self.sent_highwater & _M32) >> 31:
                self.sent_highwater = self.next_to_send
        return b"".join(out)

    # Frames.

    def _send(self, frame):
        self._count("frames_sent")
        self._count("bytes_sent", len(frame))
        return frame

    def feed(self, data):
        """Take bytes from the line; return the bytes that go back on it."""
        out = []
        first, *rest = bytes(data).split(b"\0")
        self._take(first)
        for chunk in rest:
            self._count("bytes_received")
            if self._received or self._too_long:
                frame = None if self._too_long else parse_frame(self._received)
                self._received.clear()
                self._too_long = False
                out.append(self._send(self._bad_frame() if frame is None else self._answer(frame)))
            self._take(chunk)
        out.append(self.poll())
        return b"".join(out)

    def _take(self, chunk):
        self._count("bytes_received", len(chunk))
        self._received += chunk
        if len(self._received) > 2 * MAX_FRAME_BYTES:  # whatever it is, it is no frame
            self._too_long = True
            self._received.clear()

    def _bad_frame(self):
        self._count("frames_bad")
        self._raise_flag("bad_frame", self._tick)
        return frame_bytes(session=self.session, seq=self.expected, op=0, answer=1,
                           argument=Status.BAD_FRAME.value)

    def _answer(self, frame):
        self._count("frames_received")

        def reply(status, payload=(), done=0):
            return frame_bytes(channel=frame["channel"], session=frame["session"],
                               seq=frame["seq"], op=frame["op"], answer=1, payload=payload,
                               argument=status.value | done << 8)

        def refuse(status, payload=()):
            self._count("requests_refused")
            return reply(status, payload)

        if frame["version"] != LINK_VERSION:
            return refuse(Status.BAD_VERSION, [LINK_VERSION])
        if (frame["channel"] == Channel.REGISTER.value and frame["op"] == Op.SYNC.value
                and not frame["answer"]):
            return self._sync(frame, reply, refuse)
        if not self.session or frame["session"] != self.session:
            return refuse(Status.NO_SESSION, [self.session])
        self._last_heard = self._tick
        self._lease_reported = False
        seq = frame["seq"]
        if seq == self.expected:
            status, payload, done = self._execute(frame)
            self._count("requests_done" if status is Status.ACK else "requests_refused")
            answer = reply(status, payload, done)
            self._kept[seq] = answer
            self._kept.pop(seq - WINDOW & _M16, None)
            self.expected = seq + 1 & _M16
            return answer
        if seq in self._kept:
            self._count("requests_repeated")
            return self._kept[seq]
        return refuse(Status.OUT_OF_ORDER, [self.expected])

    def _sync(self, frame, reply, refuse):
        if len(frame["payload"]) != 1:
            return refuse(Status.BAD_LENGTH)
        new, replaced = frame["payload"][0] & _M16, frame["payload"][0] >> 16
        if new == 0 or new != frame["session"]:
            return refuse(Status.OUT_OF_RANGE)
        if new == self.session:
            self._count("requests_repeated")
        elif not self.session_alive or replaced == self.session:
            self._count("requests_done")
            self.session = new
            self.expected = frame["seq"] + 1 & _M16
            self._kept = {}
            self.limit = self.next_to_send
        else:
            return refuse(Status.BUSY, [self.session])
        self._last_heard = self._tick
        self._lease_reported = False
        return reply(Status.ACK, [self.map_crc, WINDOW | MAX_PAYLOAD_WORDS << 8])

    def _execute(self, frame):
        """Carry a request out: (status, payload, words done before a refusal)."""
        if frame["channel"] != Channel.REGISTER.value:
            return Status.BAD_CHANNEL, (), 0
        action = None if frame["answer"] else self._ACTIONS.get(frame["op"])
        if action is None:
            return Status.BAD_OP, (), 0
        return action(self, frame["argument"], frame["payload"])

    def _read(self, address, payload, step=1):
        if len(payload) != 1 or not 1 <= payload[0] <= MAX_PAYLOAD_WORDS:
            return Status.BAD_LENGTH, (), 0
        words = []
        for _ in range(payload[0]):
            status, value = self._read_word(address)
            if status is not Status.ACK:
                return status, [*words, address], len(words)
            words.append(value)
            address = address + step & _M16
        return Status.ACK, words, 0

    def _read_fixed(self, address, payload):
        return self._read(address, payload, step=0)

    def _write(self, address, payload, step=1):
        if not payload:
            return Status.BAD_LENGTH, (), 0
        for done, value in enumerate(payload):
            status = self._write_word(address, value)
            if status is not Status.ACK:
                return status, [address], done
            address = address + step & _M16
        return Status.ACK, (), 0

    def _write_fixed(self, address, payload):
        return self._write(address, payload, step=0)

    def _rmw(self, address, payload):
        if len(payload) != 2:
            return Status.BAD_LENGTH, (), 0
        mask, value = payload
        status, old = self._read_word(address)
        if status is Status.ACK:
            status = self._write_word(address, old & ~mask | value & mask)
        if status is not Status.ACK:
            return status, [address], 0
        return Status.ACK, [old], 0

    def _write_at(self, address, payload):
        if len(payload) != 3:
            return Status.BAD_LENGTH, (), 0
        tick = payload[0] | payload[1] << 32
        if tick < self._tick + self.timed_write_margin:
            self._raise_flag("late_write", self._tick)
            return Status.LATE, [self._tick & _M32, self._tick >> 32], 0
        if len(self._queue) >= self.timed_write_depth:
            return Status.QUEUE_FULL, (), 0
        if self._queue and tick < self._queue[-1][0] + self.timed_write_gap:
            return Status.UNORDERED, (), 0
        self._queue.append((tick, address, payload[2]))
        return Status.ACK, (), 0

    def _credit(self, channel, payload):
        if len(payload) != 3:
            return Status.BAD_LENGTH, (), 0
        if channel != Channel.TAGS.value:
            return Status.BAD_CHANNEL, (), 0
        acked, limit, flags = payload
        if not flags & CREDIT_KEEP:
            freed = acked - self.acked & _M32
            if freed > (self.sent_highwater - self.acked & _M32):
                return Status.OUT_OF_RANGE, (), 0
            if (self.next_to_send - self.acked & _M32) < freed:
                # Sending again had not yet come this far: what is acknowledged needs no sending.
                self.next_to_send = acked
            del self._ring[:freed]
            self.acked = acked
            self.limit = limit
        if flags & CREDIT_REWIND:
            self.next_to_send = self.acked
        return Status.ACK, [self.next_to_send, self.written], 0

    def _ping(self, _argument, payload):
        if payload:
            return Status.BAD_LENGTH, (), 0
        return Status.ACK, [self._tick & _M32, self._tick >> 32], 0

    _ACTIONS = {
        Op.READ.value: _read, Op.READ_FIXED.value: _read_fixed, Op.WRITE.value: _write,
        Op.WRITE_FIXED.value: _write_fixed, Op.RMW.value: _rmw, Op.WRITE_AT.value: _write_at,
        Op.CREDIT.value: _credit, Op.PING.value: _ping,
    }
