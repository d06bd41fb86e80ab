"""Carries requests out: sessions, retries, register traffic, timed writes, credits."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature
from quantacore.gateware.layouts.frames import (
    HEADER_BYTES,
    LINK_VERSION,
    MAX_PAYLOAD_WORDS,
    TIMED_WRITE_GAP,
    TIMED_WRITE_MARGIN,
    WINDOW,
    Channel,
    FrameHeader,
    Op,
    Status,
)
from quantacore.gateware.link.receiver import StoredFrame
from quantacore.gateware.link.timed import TimedWrites
from quantacore.gateware.link.transmitter import NOTICE, SLOTS, AnswerByte, Post
from quantacore.gateware.link.window import Credit

__all__ = ["LinkEvents", "Executor"]


class LinkEvents(data.Struct):
    """What happened, each for one clock."""

    #: A request was carried out and answered with ACK.
    done: 1
    #: A request was answered again, and not carried out again.
    repeated: 1
    #: A request was answered with a NAK.
    refused: 1
    late_write: 1
    lease_expired: 1
    #: A timed write was carried out at its tick.
    timed_done: 1
    #: A timed write met no register that can be written.
    timed_refused: 1


class _Next(enum.Enum, shape=3):
    """What to do with the words that were fetched."""

    SYNC = 0
    READ = 1
    WRITE = 2
    RMW = 3
    WRITE_AT = 4
    CREDIT = 5


class Executor(wiring.Component):
    """Takes checked frames one after the other; each gets exactly one answer.

    An answer is complete in its slot before it is posted, and a slot is not touched before its
    last answer has left. A request waits for its slot, so a line that takes no answers stops the
    requests, in the end; timed writes, leases and records go on.

    Clocks from the end of a request to the begin of its answer on the line: 75 for PING, 11 n + 70
    for READ of n words, 7 n + 66 for WRITE. Register traffic waits while a timed
    write is due within 64 ticks, so timed writes that are queued 64 ticks apart or closer put it
    off by up to 1100 ticks.

    Parameters
    ----------
    map_crc : int
        Goes into the answer to SYNC.

    Members
    -------
    frames : In(stream of StoredFrame)
    address : Out(8)
    data : In(8)
        From the receiver.
    writes : Out(stream of AnswerByte, always_ready)
    posts : Out(stream of Post)
    busy : In(SLOTS)
        To the transmitter.
    bus : Out(CsrSignature(16))
        Master of the register bus.
    credit, credit_done, credit_ok, next, written
        To the record ring.
    tick : In(64)
    lease : In(32)
        Ticks of silence after which the session may be replaced; 0 is never.
    lease_written : In(1)
        A new lease counts from now.
    session : Out(16)
        0 is none.
    pending : Out(8)
        Timed writes in wait.
    events : Out(LinkEvents)
    """

    def __init__(self, *, map_crc):
        self.map_crc = map_crc
        super().__init__({
            "frames": In(stream.Signature(StoredFrame)),
            "address": Out(8),
            "data": In(8),
            "writes": Out(stream.Signature(AnswerByte, always_ready=True)),
            "posts": Out(stream.Signature(Post)),
            "busy": In(SLOTS),
            "bus": Out(CsrSignature(16)),
            "credit": Out(stream.Signature(Credit)),
            "credit_done": In(1),
            "credit_ok": In(1),
            "next": In(32),
            "written": In(32),
            "tick": In(64),
            "lease": In(32),
            "lease_written": In(1),
            "session": Out(16),
            "pending": Out(8),
            "events": Out(LinkEvents),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.timed = timed = TimedWrites()
        m.d.comb += [timed.tick.eq(self.tick), self.pending.eq(timed.level)]
        m.d.sync += self.events.eq(0)

        header = Signal(FrameHeader)
        count = Signal(range(MAX_PAYLOAD_WORDS + 2))  # words of the answer
        status = Signal(Status)
        slot = Signal(range(SLOTS))
        kept = Signal()  # the answer stays in its slot for retries

        # The session. `expired` lets another host take over; the host of the session goes on
        # where it was if it comes first.
        expected = Signal(16)
        valid = Signal(WINDOW)
        counts = Array(Signal.like(count, name=f"count_{i}") for i in range(WINDOW))
        silence = Signal(32)
        renew, expired, open_session = Signal(), Signal(), Signal()
        heard, changed = Signal(), Signal()
        m.d.sync += [heard.eq(renew), changed.eq(self.lease_written)]
        with m.If(heard | changed):
            m.d.sync += silence.eq(self.lease)
        with m.Elif(silence != 0):
            m.d.sync += silence.eq(silence - 1)
            with m.If((silence == 1) & open_session):
                m.d.sync += [expired.eq(1), self.events.lease_expired.eq(~expired)]
        with m.If(heard):
            m.d.sync += expired.eq(0)
        m.d.comb += open_session.eq(self.session != 0)

        # Fetch a payload word: 6 clocks, while other things go on.
        fetch, use, have, fetching = Signal(), Signal(), Signal(), Signal()
        step = Signal(range(6))
        at = Signal(8)
        word, word_1, word_0 = Signal(32), Signal(32), Signal(32)
        m.d.comb += self.address.eq(at)
        with m.If(use):
            m.d.sync += have.eq(0)
        with m.If(fetching):
            m.d.sync += step.eq(step + 1)
            with m.If(step < 4):
                m.d.sync += at.eq(at + 1)
            with m.If(step >= 2):
                m.d.sync += word.eq(Cat(word[8:], self.data))
            with m.If(step == 5):
                m.d.sync += [fetching.eq(0), have.eq(1)]
        with m.If(fetch):
            m.d.sync += [fetching.eq(1), step.eq(0), word_1.eq(word), word_0.eq(word_1)]

        # Put a word into the answer: 4 clocks, while other things go on.
        put, putting = Signal(), Signal()
        put_word = Signal(32)
        put_left = Signal(range(4))
        rest = Signal(32)
        put_at = Signal(8)
        m.d.sync += [self.writes.valid.eq(0), self.writes.p.slot.eq(slot),
                     self.writes.p.at.eq(put_at), self.writes.p.data.eq(rest[:8])]
        with m.If(put):
            m.d.sync += [rest.eq(put_word), putting.eq(1), put_left.eq(3), count.eq(count + 1)]
        with m.Elif(putting):
            m.d.sync += [self.writes.valid.eq(1), put_at.eq(put_at + 1), rest.eq(rest[8:]),
                         put_left.eq(put_left - 1)]
            with m.If(put_left == 0):
                m.d.sync += putting.eq(0)

        # The register bus. A timed write takes it when its tick comes; `timed.clear` keeps
        # requests away from there.
        access, access_write = Signal(), Signal()
        access_data = Signal(32)
        register = Signal(16)
        timed_access = Signal()
        m.d.sync += [self.bus.read.eq(0), self.bus.write.eq(0)]
        with m.If(timed.o.valid):
            m.d.sync += [self.bus.write.eq(1), self.bus.address.eq(timed.o.p.address),
                         self.bus.w_data.eq(timed.o.p.value), timed_access.eq(1)]
        with m.Elif(access):
            m.d.sync += [self.bus.write.eq(access_write), self.bus.read.eq(~access_write),
                         self.bus.address.eq(register), self.bus.w_data.eq(access_data),
                         timed_access.eq(0)]
        with m.If(self.bus.done & timed_access):
            m.d.sync += [
                timed_access.eq(0),
                self.events.timed_done.eq(self.bus.status == Status.ACK),
                self.events.timed_refused.eq(self.bus.status != Status.ACK),
            ]
        got = Signal(32)
        got_status = Signal(Status)
        with m.If(self.bus.done):
            m.d.sync += [got.eq(self.bus.r_data), got_status.eq(self.bus.status)]

        # The timed write that is asked for, against now and against the last one queued.
        arrival, horizon, after_last = Signal(64), Signal(64), Signal(64)
        late, early = Signal(), Signal()
        target = Cat(word_0, word_1)
        m.d.sync += [horizon.eq(arrival + TIMED_WRITE_MARGIN), late.eq(target < horizon),
                     early.eq(target < after_last)]
        m.d.comb += [
            timed.i.p.value.eq(word), timed.i.p.address.eq(header.argument),
            timed.i.p.tick.eq(target),
        ]
        m.d.comb += [
            self.credit.p.acknowledged.eq(word_0), self.credit.p.limit.eq(word_1),
            self.credit.p.flags.eq(word[:2]),
        ]

        is_sync = Signal()
        version_ok, is_register, mine, ahead = Signal(), Signal(), Signal(), Signal(16)
        is_next, is_old, known = Signal(), Signal(), Signal()
        same, replaces = Signal(), Signal()
        # Registered where they can be: the state machine is deep enough without them.
        slot_free, word_bad, sync_bad = Signal(), Signal(), Signal()
        m.d.sync += [
            slot_free.eq(~self.busy.bit_select(slot, 1)),
            word_bad.eq((word == 0) | (word > MAX_PAYLOAD_WORDS)),
            sync_bad.eq((word[:16] == 0) | (word[:16] != header.session)),
        ]
        length_ok, op_ok = Signal(), Signal()
        then, then_op = Signal(_Next), Signal(_Next)
        needed, words_op = Signal(2), Signal(2)
        remaining = Signal(range(MAX_PAYLOAD_WORDS + 1))
        writing, fixed, is_rmw = Signal(), Signal(), Signal()
        second = Signal()
        out = Signal(64)
        out_words = Signal(2)
        waited = Signal(2)
        place = Signal(range(HEADER_BYTES + 2))
        words_done = Signal(8)

        def answer(code, *words):
            """Finish with these words and this status."""
            m.d.sync += [status.eq(code), out.eq(Cat(*words) if words else 0),
                         out_words.eq(len(words))]
            m.next = "PUT"

        def refuse(code, *words):
            """Answer with a status that is not kept, and that uses no request number."""
            m.d.sync += [status.eq(code), out.eq(Cat(*words) if words else 0),
                         out_words.eq(len(words)), slot.eq(NOTICE), kept.eq(0)]
            m.next = "CHOSEN"

        # HEADER..JUDGE say what a frame is; SLOT waits for a place for its answer; RUN and what
        # follows carries it out; PUT, FINISH, STAMP, POST write the answer and send it.
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [at.eq(0), place.eq(0), count.eq(0), put_at.eq(HEADER_BYTES),
                             have.eq(0), second.eq(0), waited.eq(0), words_done.eq(0)]
                with m.If(self.frames.valid):
                    m.next = "HEADER"
                    with m.If(self.frames.p.bad):
                        m.d.sync += [
                            header.session.eq(self.session), header.seq.eq(expected),
                            Value.cast(header.op).eq(0),
                            header.channel.eq(Channel.REGISTER.value),
                        ]
                        refuse(Status.BAD_FRAME)
            with m.State("HEADER"):
                m.d.sync += place.eq(place + 1)
                with m.If(place < HEADER_BYTES):
                    m.d.sync += at.eq(at + 1)
                with m.If(place >= 2):
                    m.d.sync += Value.cast(header).eq(Cat(Value.cast(header)[8:], self.data))
                with m.If(place == HEADER_BYTES + 1):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [
                    version_ok.eq(header.version == LINK_VERSION),
                    is_register.eq(header.channel == Channel.REGISTER.value),
                    mine.eq((header.session == self.session) & open_session),
                    ahead.eq(header.seq - expected),
                    register.eq(header.argument),
                    remaining.eq(header.count),
                    fixed.eq((header.op == Op.READ_FIXED) | (header.op == Op.WRITE_FIXED)),
                    is_rmw.eq(header.op == Op.RMW),
                    is_sync.eq((header.op == Op.SYNC) & ~header.answer &
                               (header.channel == Channel.REGISTER.value)),
                    slot.eq(header.seq[:2]),
                    kept.eq(0),
                    length_ok.eq(0), op_ok.eq(1), words_op.eq(0), then_op.eq(_Next.READ),
                ]
                with m.Switch(header.op):
                    for op, words, what in (
                            (Op.SYNC, 1, _Next.SYNC), (Op.READ, 1, _Next.READ),
                            (Op.READ_FIXED, 1, _Next.READ), (Op.RMW, 2, _Next.RMW),
                            (Op.WRITE_AT, 3, _Next.WRITE_AT), (Op.CREDIT, 3, _Next.CREDIT),
                            (Op.PING, 0, _Next.READ)):
                        with m.Case(op):
                            m.d.sync += [length_ok.eq(header.count == words), then_op.eq(what),
                                         words_op.eq(words)]
                    with m.Case(Op.WRITE, Op.WRITE_FIXED):
                        m.d.sync += [length_ok.eq(header.count != 0), then_op.eq(_Next.WRITE),
                                     words_op.eq(1)]
                    with m.Default():
                        m.d.sync += op_ok.eq(0)
                m.next = "CLASSIFY"
            with m.State("CLASSIFY"):
                m.d.sync += [
                    is_next.eq(ahead == 0),
                    is_old.eq(ahead >= (1 << 16) - WINDOW),
                    known.eq(valid.bit_select(header.seq[:2], 1)),
                    then.eq(then_op), needed.eq(words_op),
                ]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                with m.If(~version_ok):
                    refuse(Status.BAD_VERSION, C(LINK_VERSION, 32))
                with m.Elif(is_sync):
                    m.d.sync += slot.eq(NOTICE)
                    m.next = "CHOSEN"
                    with m.If(~length_ok):
                        refuse(Status.BAD_LENGTH)
                    with m.Else():
                        m.d.sync += [status.eq(Status.ACK), out_words.eq(0)]
                with m.Elif(~mine):
                    refuse(Status.NO_SESSION, Cat(self.session, C(0, 16)))
                with m.Else():
                    m.d.comb += renew.eq(1)
                    with m.If(is_next):
                        m.d.sync += [kept.eq(1), status.eq(Status.ACK)]
                        m.next = "CHOSEN"
                    with m.Elif(is_old & known):
                        m.next = "REPEAT"
                    with m.Else():
                        refuse(Status.OUT_OF_ORDER, Cat(expected, C(0, 16)))
            with m.State("REPEAT"):
                with m.If(slot_free):
                    m.d.sync += [count.eq(counts[slot[:2]]), self.events.repeated.eq(1)]
                    m.next = "POST"

            with m.State("CHOSEN"):
                m.next = "SLOT"
            with m.State("SLOT"):
                with m.If(slot_free):
                    m.next = "PUT"
                    with m.If(status == Status.ACK):
                        m.next = "RUN"
            with m.State("RUN"):
                with m.If(~is_register):
                    answer(Status.BAD_CHANNEL)
                with m.Elif(~op_ok | header.answer):
                    answer(Status.BAD_OP)
                with m.Elif(~length_ok):
                    answer(Status.BAD_LENGTH)
                with m.Elif(needed == 0):
                    answer(Status.ACK, self.tick)
                    m.d.sync += out_words.eq(2)
                with m.Else():
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += fetch.eq(1)
                m.d.sync += needed.eq(needed - 1)
                m.next = "FETCHING"
            with m.State("FETCHING"):
                with m.If(have):
                    m.d.comb += use.eq(1)
                    m.next = "FETCH"
                    with m.If(needed == 0):
                        m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.sync += [
                    arrival.eq(self.tick),
                    writing.eq(then == _Next.WRITE),
                    same.eq((word[:16] == self.session) & open_session),
                    replaces.eq(~open_session | expired | (word[16:] == self.session)),
                ]
                with m.Switch(then):
                    with m.Case(_Next.SYNC):
                        m.next = "SYNC"
                    with m.Case(_Next.READ):
                        m.d.sync += remaining.eq(word)
                        m.next = "ACCESS"
                        with m.If(word_bad):
                            answer(Status.BAD_LENGTH)
                    with m.Case(_Next.WRITE):
                        m.d.sync += have.eq(1)
                        m.next = "ACCESS"
                    with m.Case(_Next.RMW):
                        m.next = "ACCESS"
                    with m.Case(_Next.WRITE_AT):
                        m.next = "TIMED"
                    with m.Case(_Next.CREDIT):
                        m.next = "CREDIT"
                        with m.If(header.argument != Channel.TAGS.value):
                            answer(Status.BAD_CHANNEL)

            with m.State("SYNC"):
                with m.If(sync_bad):
                    answer(Status.OUT_OF_RANGE)
                with m.Elif(same):
                    m.d.comb += renew.eq(1)
                    answer(Status.ACK, C(self.map_crc, 32),
                           C(WINDOW | MAX_PAYLOAD_WORDS << 8, 32))
                with m.Elif(replaces):
                    # Streaming stops at once: the new host has not said where it wants to begin.
                    m.d.comb += [self.credit.valid.eq(1), self.credit.p.revoke.eq(1)]
                    with m.If(self.credit.ready):
                        m.d.comb += renew.eq(1)
                        m.d.sync += [self.session.eq(word[:16]), expected.eq(header.seq + 1),
                                     valid.eq(0), second.eq(1)]
                        m.next = "REVOKED"
                with m.Else():
                    answer(Status.BUSY, Cat(self.session, C(0, 16)))
            with m.State("REVOKED"):
                with m.If(self.credit_done):
                    answer(Status.ACK, C(self.map_crc, 32),
                           C(WINDOW | MAX_PAYLOAD_WORDS << 8, 32))

            # Reads and writes of registers, one after the other. RMW goes round twice, and keeps
            # the bus to itself: `timed.clear` promises long enough.
            with m.State("ACCESS"):
                m.d.comb += [
                    access_write.eq(writing | second),
                    access_data.eq(word),
                ]
                with m.If(is_rmw):
                    m.d.comb += access_data.eq((got & ~word_1) | (word & word_1))
                with m.If((timed.clear & (have | ~writing)) | (is_rmw & second)):
                    m.d.comb += access.eq(1)
                    with m.If(writing):
                        m.d.comb += [use.eq(1), fetch.eq(remaining != 1)]
                    m.next = "ACCESSING"
            with m.State("ACCESSING"):
                with m.If(self.bus.done):
                    m.d.sync += remaining.eq(remaining - 1)
                    m.next = "ACCESSED"
            with m.State("ACCESSED"):
                with m.If(got_status != Status.ACK):
                    answer(got_status, Cat(register, C(0, 16)))
                with m.Elif(is_rmw):
                    m.d.sync += second.eq(1)
                    m.next = "ACCESS"
                    with m.If(~second):
                        m.d.sync += out[:32].eq(got)
                    with m.Else():
                        m.d.sync += out_words.eq(1)
                        m.next = "PUT"
                with m.Elif(writing | ~putting):
                    with m.If(~writing):
                        m.d.comb += [put.eq(1), put_word.eq(got)]
                    with m.If(~fixed):
                        m.d.sync += register.eq(register + 1)
                    m.d.sync += words_done.eq(words_done + 1)
                    m.next = "ACCESS"
                    with m.If(remaining == 0):
                        m.d.sync += out_words.eq(0)
                        m.next = "PUT"

            with m.State("TIMED"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == 2):
                    with m.If(late):
                        m.d.sync += self.events.late_write.eq(1)
                        answer(Status.LATE, arrival)
                        m.d.sync += out_words.eq(2)
                    with m.Elif(~timed.i.ready):
                        answer(Status.QUEUE_FULL)
                    with m.Elif(early & (timed.level != 0)):
                        answer(Status.UNORDERED)
                    with m.Else():
                        m.d.comb += timed.i.valid.eq(1)
                        m.d.sync += after_last.eq(target + TIMED_WRITE_GAP)
                        answer(Status.ACK)
            with m.State("CREDIT"):
                m.d.comb += self.credit.valid.eq(1)
                with m.If(self.credit.ready):
                    m.next = "CREDITED"
            with m.State("CREDITED"):
                with m.If(self.credit_done):
                    with m.If(self.credit_ok):
                        answer(Status.ACK, self.next, self.written)
                    with m.Else():
                        answer(Status.OUT_OF_RANGE)

            with m.State("PUT"):
                with m.If(~putting):
                    with m.If(out_words != 0):
                        m.d.comb += [put.eq(1), put_word.eq(out[:32])]
                        m.d.sync += [out.eq(out[32:]), out_words.eq(out_words - 1)]
                    with m.Else():
                        m.next = "FINISH"
            with m.State("FINISH"):
                m.d.sync += [
                    header.version.eq(LINK_VERSION),
                    header.answer.eq(1), header.count.eq(count),
                    header.argument.eq(Cat(status, Mux(status == Status.ACK, 0, words_done))),
                    put_at.eq(0), place.eq(0),
                ]
                with m.If(status == Status.ACK):
                    m.d.sync += [self.events.done.eq(kept | second),
                                 self.events.repeated.eq(~kept & ~second)]
                with m.Elif(status != Status.BAD_FRAME):
                    m.d.sync += self.events.refused.eq(1)
                with m.If(kept):
                    m.d.sync += expected.eq(expected + 1)
                    for i in range(WINDOW):
                        with m.If(slot == i):
                            m.d.sync += [valid[i].eq(1), counts[i].eq(count)]
                m.next = "STAMP"
            with m.State("STAMP"):
                m.d.sync += [
                    place.eq(place + 1), put_at.eq(put_at + 1),
                    self.writes.valid.eq(1), self.writes.p.data.eq(Value.cast(header)[:8]),
                    Value.cast(header).eq(Value.cast(header)[8:]),
                ]
                with m.If(place == HEADER_BYTES - 1):
                    m.next = "POST"
            with m.State("POST"):
                m.d.comb += [self.posts.valid.eq(1), self.posts.p.slot.eq(slot),
                             self.posts.p.count.eq(count)]
                with m.If(self.posts.ready):
                    m.next = "RELEASE"
            with m.State("RELEASE"):
                m.d.comb += self.frames.ready.eq(1)
                m.next = "IDLE"
        return m
