"""From answers and records to bytes on the line."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.frames import (
    HEADER_BYTES,
    LINK_VERSION,
    MAX_PAYLOAD_WORDS,
    STREAM_RECORDS,
    WINDOW,
    Channel,
    Op,
)
from quantacore.gateware.link.cobs import CobsEncoder
from quantacore.gateware.link.crc import CRC32
from quantacore.gateware.ram import RAM
from quantacore.gateware.stream import Queue, connect_streams

__all__ = ["SLOTS", "NOTICE", "Post", "AnswerByte", "Transmitter"]

#: Places for answers: one for each request of the window, and one for refusals that are not kept.
SLOTS = WINDOW + 1
#: The last of them.
NOTICE = WINDOW


class Post(data.Struct):
    """An answer that is complete in its slot."""

    slot: range(SLOTS)
    count: range(MAX_PAYLOAD_WORDS + 1)


class AnswerByte(data.Struct):
    """A byte of an answer, for its slot."""

    data: 8
    at: 8
    slot: range(SLOTS)


class Transmitter(wiring.Component):
    """Holds the answers, makes stream frames, and sends both, whole frame after whole frame.

    Answers go first, in the order in which they were posted. A frame is begun only when there is
    room for all of it, so nothing here is held for longer than about 300 clocks by a line that
    does not move, except what is complete and waits.

    The encoder behind sends one byte per clock while the next frame is made. With the line always
    ready full stream frames, 29 records in 252 bytes, leave every 257 clocks.

    Members
    -------
    writes : In(stream of AnswerByte, always_ready, always there when valid)
        Puts a byte into a slot that is not ``busy``.
    posts : In(stream of Post)
        Slots to send. A slot must not be posted while it is busy.
    busy : Out(SLOTS)
        Slots that are posted and not read to their end.
    session : In(16)
        For the headers of stream frames.
    number, next, take, reading, read_index, read_data
        To the record ring, see :class:`~quantacore.gateware.link.window.RecordWindow`.
    o : Out(stream of bytes)
        The line.
    sent : Out(1)
        High for one clock for each frame whose delimiter was taken.
    """

    def __init__(self, *, depth):
        self.depth = depth
        super().__init__({
            "writes": In(stream.Signature(AnswerByte, always_ready=True)),
            "posts": In(stream.Signature(Post)),
            "busy": Out(SLOTS),
            "session": In(16),
            "number": In(range(STREAM_RECORDS + 1)),
            "next": In(32),
            "take": Out(1),
            "reading": Out(1),
            "read_index": Out(range(depth)),
            "read_data": In(64),
            "o": Out(stream.Signature(8)),
            "sent": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.answers = answers = RAM(width=8, depth=256 * SLOTS)
        m.submodules.queue = queue = Queue(Post, depth=8)
        m.submodules.crc = check = CRC32()
        m.submodules.encoder = encoder = CobsEncoder()
        connect_streams(m, wiring.flipped(self.posts), queue.i)
        connect_streams(m, encoder.o, wiring.flipped(self.o))

        position = Signal(8)
        last_at = Signal(8)
        slot = Signal(range(SLOTS))
        m.d.comb += [
            answers.write_address.eq(Cat(self.writes.p.at, self.writes.p.slot)),
            answers.write_data.eq(self.writes.p.data), answers.write.eq(self.writes.valid),
            answers.read_address.eq(Cat(position, slot)), answers.read.eq(1),
            self.sent.eq(encoder.sent),
        ]
        released = Signal()
        for i in range(SLOTS):
            with m.If(self.posts.valid & self.posts.ready & (self.posts.p.slot == i)):
                m.d.sync += self.busy[i].eq(1)
            with m.Elif(released & (slot == i)):
                m.d.sync += self.busy[i].eq(0)

        # Clock 0: position. 1: the answer memory's output, or the stream's byte. 2: both in
        # registers, because the memory is slow. 3: the one that is sent.
        issue, ends, from_answer = Signal(), Signal(), Signal()
        stream_byte, stream_byte_2, answer_byte = Signal(8), Signal(8), Signal(8)
        valid, last = Signal(3), Signal(3)
        body = Signal(8)
        m.d.sync += [
            valid.eq(Cat(issue, valid)), last.eq(Cat(ends, last)),
            stream_byte_2.eq(stream_byte), answer_byte.eq(answers.read_data),
            body.eq(Mux(from_answer, answer_byte, stream_byte_2)),
        ]

        number = Signal.like(self.number)
        frame = Signal(16)
        index = Signal(32)
        left = Signal.like(self.number)
        part = Signal(range(8))
        record = Signal(56)
        m.d.comb += self.reading.eq(0)

        done = Signal()
        # A clock late, which is as good: it falls only after a frame of this very machine.
        room = Signal()
        m.d.sync += room.eq(encoder.free)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [position.eq(0), slot.eq(queue.o.p.slot),
                             last_at.eq(HEADER_BYTES - 1 + 4 * queue.o.p.count),
                             index.eq(self.next), number.eq(self.number), left.eq(self.number),
                             part.eq(0)]
                with m.If(room):
                    with m.If(queue.o.valid):
                        m.d.comb += queue.o.ready.eq(1)
                        m.d.sync += from_answer.eq(1)
                        m.next = "ANSWER"
                    with m.Elif(self.number != 0):
                        m.d.comb += self.take.eq(1)
                        m.d.sync += [from_answer.eq(0), self.read_index.eq(self.next)]
                        m.next = "STREAM"
            with m.State("ANSWER"):
                m.d.comb += issue.eq(1)
                m.d.sync += position.eq(position + 1)
                with m.If(position == last_at):
                    m.d.comb += [ends.eq(1), released.eq(1)]
                    m.next = "FINISH"
            with m.State("STREAM"):
                m.d.comb += [issue.eq(1), self.reading.eq(1)]
                m.d.sync += position.eq(position + 1)
                header = (
                    LINK_VERSION, Channel.TAGS.value, self.session[:8], self.session[8:],
                    frame[:8], frame[8:], 0x80 | Op.STREAM.value, Cat(C(1, 1), number),
                    0, 0, *(index[i:i + 8] for i in range(0, 32, 8)),
                )
                with m.Switch(position):
                    for i, value in enumerate(header):
                        with m.Case(i):
                            m.d.sync += stream_byte.eq(value)
                with m.If(position == len(header) - 1):
                    m.next = "RECORDS"
            with m.State("RECORDS"):
                m.d.comb += [issue.eq(1), self.reading.eq(1)]
                m.d.sync += part.eq(part + 1)
                with m.If(part == 0):
                    m.d.sync += [Cat(stream_byte, record).eq(self.read_data), left.eq(left - 1),
                                 self.read_index.eq(self.read_index + 1)]
                with m.Else():
                    m.d.sync += Cat(stream_byte, record).eq(record)
                with m.If((part == 7) & (left == 0)):
                    m.d.comb += ends.eq(1)
                    m.d.sync += frame.eq(frame + 1)
                    m.next = "FINISH"
            with m.State("FINISH"):
                with m.If(done):
                    m.next = "IDLE"

        # Behind the last byte of the body goes its CRC.
        crc_at = Signal(range(4))
        m.d.comb += [
            check.data.eq(body), check.valid.eq(valid[2]),
            encoder.i.payload.data.eq(body), encoder.i.valid.eq(valid[2]),
        ]
        with m.FSM(name="crc_fsm"):
            with m.State("BODY"):
                with m.If(valid[2] & last[2]):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [encoder.i.valid.eq(1), encoder.i.p.last.eq(crc_at == 3),
                             encoder.i.p.data.eq(check.crc.word_select(crc_at, 8))]
                m.d.sync += crc_at.eq(crc_at + 1)
                with m.If(crc_at == 3):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                # The encoder closes the frame in 2 clocks; the one after may begin then.
                m.d.comb += [check.start.eq(1), done.eq(1)]
                m.next = "BODY"
        return m
