"""Contracts of the link's parts: framing, the record ring, timed writes.

All are searches of every behaviour up to a bounded time from reset: the parts are small where they
matter (frames of 4 bytes, a ring of 16), so that bound covers each kind of event several times.
"""

from amaranth import *
from amaranth.hdl import Assume, Cover
from amaranth.lib import wiring

from quantacore.gateware.layouts.frames import TIMED_WRITE_GAP, TIMED_WRITE_MARGIN
from quantacore.gateware.link.cobs import CobsDecoder, CobsEncoder
from quantacore.gateware.link.timed import TimedWrites
from quantacore.gateware.link.window import RecordWindow
from quantacore.sim.bench.formal import prove

#: What no assertion looks at, such as the data of records, is thrown away.
_FLAT = "flatten\nopt -full\nopt_clean -purge"
#: The same with memories as registers, so that bits that never move vanish.
_MAPPED = "flatten\nmemory_map\nopt -full\nopt_clean -purge"


class RoundTrip(wiring.Component):
    """What goes into the encoder comes out of the decoder, with any stalls; no zero inside."""

    def __init__(self, most):
        self.most = most
        super().__init__({
            "data": wiring.In(8), "last": wiring.In(1), "offer": wiring.In(1),
            "pass_": wiring.In(1), "take": wiring.In(1), "watched": wiring.In(4),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder = encoder = CobsEncoder(max_bytes=self.most)
        m.submodules.decoder = decoder = CobsDecoder()
        started = Signal()
        watched = Signal.like(self.watched)
        m.d.sync += started.eq(1)
        with m.If(~started):
            m.d.sync += watched.eq(self.watched)
        # The line between them stalls as it likes.
        m.d.comb += [
            encoder.i.p.data.eq(self.data), encoder.i.p.last.eq(self.last),
            encoder.i.valid.eq(self.offer & started),
            decoder.i.payload.eq(encoder.o.payload),
            decoder.i.valid.eq(encoder.o.valid & self.pass_),
            encoder.o.ready.eq(decoder.i.ready & self.pass_),
            decoder.o.ready.eq(self.take),
        ]
        # The first frame, and one byte of it that the solver chooses.
        went, came = Signal(5), Signal(5)
        closed, ended, sent = Signal(), Signal(), Signal()
        value = Signal(8)
        with m.If(encoder.i.valid & encoder.i.ready & ~closed):
            m.d.sync += [went.eq(went + 1), closed.eq(self.last)]
            with m.If(went == watched):
                m.d.sync += value.eq(self.data)
            m.d.comb += Assume((went < self.most - 1) | self.last)
        with m.If(encoder.o.valid & encoder.o.ready & ~sent):
            m.d.comb += Assert((encoder.o.payload == 0) == encoder.sent)
            m.d.sync += sent.eq(encoder.sent)
        with m.If(decoder.o.valid & decoder.o.ready & ~ended):
            m.d.comb += Assert(closed)
            with m.If(decoder.o.p.end):
                m.d.comb += [Assert(~decoder.o.p.bad), Assert(came == went), Cover(went == 4)]
                m.d.sync += ended.eq(1)
            with m.Else():
                m.d.sync += came.eq(came + 1)
                with m.If(came == watched):
                    m.d.comb += Assert(decoder.o.p.data == value)
        return m


def test_cobs_round_trip():
    prove(RoundTrip(4), "cobs_round_trip", depth=14, mode="bmc", passes=_FLAT)


def test_cobs_round_trip_happens():
    prove(RoundTrip(4), "cobs_round_trip", depth=24, mode="cover", passes=_FLAT)


class Resync(wiring.Component):
    """After a zero byte a decoder does what a fresh one does, whatever came before."""

    byte: wiring.In(8)
    offer: wiring.In(1)
    now: wiring.In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.old = old = CobsDecoder()
        m.submodules.fresh = fresh = CobsDecoder()
        zero, joined = Signal(), Signal()
        m.d.comb += [
            old.i.payload.eq(self.byte), old.i.valid.eq(self.offer), old.o.ready.eq(1),
            fresh.i.payload.eq(self.byte), fresh.i.valid.eq(self.offer & joined),
            fresh.o.ready.eq(1),
        ]
        with m.If(self.offer):
            m.d.sync += zero.eq(self.byte == 0)
        with m.If(zero & self.now & ~self.offer):
            m.d.sync += joined.eq(1)
        with m.If(joined):
            m.d.comb += Assert(old.o.valid == fresh.o.valid)
            with m.If(old.o.valid):
                m.d.comb += [
                    Assert(old.o.p.end == fresh.o.p.end),
                    Assert(~old.o.p.end | (old.o.p.bad == fresh.o.p.bad)),
                    Assert(old.o.p.end | (old.o.p.data == fresh.o.p.data)),
                ]
        return m


def test_cobs_decoder_is_in_step_after_any_zero():
    prove(Resync(), "cobs_resync", depth=11, mode="bmc", passes=_FLAT)


class Decoder(wiring.Component):
    """Of any bytes, a frame gives at most the bytes allowed, and an offered item stays."""

    byte: wiring.In(8)
    offer: wiring.In(1)
    take: wiring.In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder(max_bytes=3)
        items = Signal(4)
        was, ready = Signal(), Signal(init=1)
        payload = Signal.like(Value.cast(decoder.o.payload))
        m.d.comb += [decoder.i.payload.eq(self.byte), decoder.i.valid.eq(self.offer),
                     decoder.o.ready.eq(self.take)]
        m.d.sync += [was.eq(decoder.o.valid), ready.eq(self.take),
                     payload.eq(Value.cast(decoder.o.payload))]
        with m.If(decoder.o.valid & decoder.o.ready):
            m.d.sync += items.eq(Mux(decoder.o.p.end, 0, items + 1))
        # The count inside the decoder, seen from outside: what is out plus what waits.
        m.d.comb += Assert(items + (decoder.o.valid & ~decoder.o.p.end) <= 3)
        with m.If(was & ~ready):  # an offered item stays as it is
            m.d.comb += [Assert(decoder.o.valid),
                         Assert(Value.cast(decoder.o.payload) == payload)]
        return m


def test_cobs_decoder_items():
    prove(Decoder(), "cobs_items", depth=12, mode="bmc", passes=_FLAT)


class Ring(wiring.Component):
    """The ring against naive indexes: holds what is not acknowledged, stays inside its limit."""

    def __init__(self):
        super().__init__({
            "record": wiring.In(64), "offer": wiring.In(1),
            "acknowledged": wiring.In(32), "limit": wiring.In(32), "flags": wiring.In(2),
            "revoke": wiring.In(1), "ask": wiring.In(1), "send": wiring.In(1),
            "watched": wiring.In(32),
        })

    def elaborate(self, platform):
        m = Module()
        depth = 16
        m.submodules.window = window = RecordWindow(depth=depth)
        started, reading, asked = Signal(), Signal(3), Signal()
        acknowledged, limit = Signal(32), Signal(32)
        sent = Signal(32)
        command = Signal.like(window.credit.payload)
        m.d.sync += started.eq(1)
        m.d.comb += [
            window.records.payload.eq(self.record), window.records.valid.eq(self.offer),
            window.credit.p.acknowledged.eq(self.acknowledged),
            window.credit.p.limit.eq(self.limit),
            window.credit.p.flags.eq(self.flags),
            window.credit.p.revoke.eq(self.revoke),
            window.credit.valid.eq(self.ask),
            window.take.eq(self.send & (window.number != 0) & (reading == 0)),
            window.reading.eq(reading != 0),
        ]
        with m.If(window.take):
            m.d.sync += reading.eq(3)
        with m.Elif(reading != 0):
            m.d.sync += reading.eq(reading - 1)

        # Naive: what a CREDIT does, at the time at which it is done.
        with m.If(window.credit.valid & window.credit.ready):
            m.d.sync += [command.eq(window.credit.payload), asked.eq(1)]
            m.d.comb += Assert(~asked)
        with m.If(window.credit_done):
            m.d.sync += asked.eq(0)
            m.d.comb += Assert(asked)
        inside = Signal()
        m.d.comb += inside.eq((command.acknowledged - acknowledged)[:32]
                              <= (sent - acknowledged)[:32])
        done = Signal()
        m.d.comb += done.eq(window.credit_done & ~command.revoke)
        after = Signal(32)
        m.d.comb += after.eq(acknowledged)
        with m.If(done):
            m.d.comb += Assert(window.credit_ok == (inside | command.flags.keep))
            with m.If(inside & ~command.flags.keep):
                m.d.comb += after.eq(command.acknowledged)
                m.d.sync += [acknowledged.eq(command.acknowledged), limit.eq(command.limit)]
            m.d.comb += Assert(~window.credit_ok | ~command.flags.rewind | (window.next == after))
        with m.If(window.credit_done & command.revoke):
            m.d.sync += limit.eq(window.next)

        end = Signal(32)
        m.d.comb += end.eq(window.next + window.number)
        with m.If(window.take):
            m.d.comb += [
                Assert((limit - end)[31] == 0),
                Assert((window.written - end)[31] == 0),
            ]
            with m.If((end - sent)[31] == 0):
                m.d.sync += sent.eq(end)
        # What is held: written, and not acknowledged by what has been done so far.
        with m.If(~asked):
            m.d.comb += [
                Assert(window.level == (window.written - acknowledged)[:32]),
                Assert((window.next - acknowledged)[:32] <= window.level),
            ]
        m.d.comb += [
            Assert(window.level <= depth),
            Assert(window.records.ready == (window.level != depth)),
            Cover(started & (acknowledged == 2) & (window.next == 3)),
        ]
        return m


def test_ring():
    prove(Ring(), "link_ring", depth=13, mode="bmc", passes=_FLAT)


def test_ring_moves():
    prove(Ring(), "link_ring", depth=30, mode="cover", passes=_FLAT)


class Timed(wiring.Component):
    """Timed writes leave in order, unchanged, and in the tick before theirs.

    The tick counts from 0 in 8 bits, for the solver's sake; simulation covers the rest.
    """

    def __init__(self):
        super().__init__({
            "value": wiring.In(1), "address": wiring.In(1), "at": wiring.In(8),
            "offer": wiring.In(1), "watched": wiring.In(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.timed = timed = TimedWrites(depth=2)
        started = Signal()
        tick = Signal(8)
        watched = Signal.like(self.watched)
        after = Signal(8)
        any_queued = Signal()
        m.d.sync += [started.eq(1), tick.eq(tick + 1)]
        with m.If(~started):
            m.d.sync += watched.eq(self.watched)
        m.d.comb += [
            timed.tick.eq(tick),
            timed.i.p.value.eq(self.value), timed.i.p.address.eq(self.address),
            timed.i.p.tick.eq(self.at), timed.i.valid.eq(self.offer & started),
        ]
        went, came = Signal(5), Signal(5)
        kept = Signal.like(timed.i.payload)
        with m.If(timed.i.valid & timed.i.ready):
            # What the executor sees to; it asks 3 clocks before.
            m.d.comb += [Assume(self.at >= tick + TIMED_WRITE_MARGIN - 4),
                         Assume(self.at < 120),
                         Assume(~any_queued | (self.at >= after))]
            m.d.sync += [went.eq(went + 1), after.eq(self.at + TIMED_WRITE_GAP), any_queued.eq(1)]
            with m.If(went == watched):
                m.d.sync += kept.eq(timed.i.payload)
        with m.If(timed.o.valid):
            m.d.sync += came.eq(came + 1)
            m.d.comb += Assert(came < went)
            with m.If(came == watched):
                m.d.comb += [
                    Assert(timed.o.p.value == kept.value),
                    Assert(timed.o.p.address == kept.address),
                    Assert(tick + 1 == kept.tick),
                ]
        m.d.comb += [Assert(timed.level == went - came), Cover(came == 2)]
        return m


def test_timed_writes():
    prove(Timed(), "timed_writes", depth=19, mode="bmc", passes=_MAPPED)


def test_timed_writes_happen():
    prove(Timed(), "timed_writes", depth=36, mode="cover", passes=_MAPPED)
