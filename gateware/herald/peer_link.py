"""A session with the node at the other end of a line."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.peer import (
    HELD_BITS,
    PEER_NUMBER_BITS,
    SESSION_BITS,
    PeerEcho,
    PeerKind,
    PeerMessage,
)

__all__ = ["PeerLink"]

#: Repetitions from one ping to the next, in a session.
_PING_EVERY = 8


class PeerLink(wiring.Component):
    """Finds out who is there, how far away, and whether it still is what it was.

    Each side has a number for its session, and changes it whenever something is not as it should
    be; it believes only messages that carry both sides' present numbers. It is in a session
    (``up``) from when an answer to its own ping came that carries its number. It leaves it if it
    hears of another session of the other side, if the other side does not know its own any more,
    or if nothing came for 2 x round trip + ``margin``.

    After reset numbers begin again, so for ``quiet`` ticks nothing is sent and nothing is heard.

    Parameters
    ----------
    overhead : int
        Ticks from ``send`` of a message to its arrival at ``rx`` of a link with no line
        between them.

    Members
    -------
    send : Out(1), message : Out(PeerMessage), idle : In(1)
        To the port.
    rx : In(stream of PeerMessage), always ready
    enable, restart : In(1)
        Not enabled it is silent. ``restart`` begins a new session.
    margin, retry : In(16), quiet : In(24)
        Ticks.
    say : In(PeerMessage)
        What there is to say in a session, but for the sessions' numbers; sent every ``retry``
        ticks, and when ``news`` was high.
    news : In(1)
    trigger : In(1)
        ``say`` goes out in this tick. Only with ``hold``, and if ``idle``.
    hold : In(1)
        Begin no other message.
    up : Out(1)
    opened : Out(1)
        High in the first tick of ``up``.
    heard : Out(stream of PeerMessage), always ready
        What the other side says in the session: all but pings and their answers.
    own, other : Out(SESSION_BITS)
    silent : Out(1)
        Waits after reset.
    round_trip : Out(24)
        Ticks on the line, there and back; known when ``up``.
    measured : Out(1)
        High for one tick with a new ``round_trip``.
    timed_out, restarted, foreign, repeated : Out(1)
        High for one tick each.
    """

    def __init__(self, *, overhead):
        if not isinstance(overhead, int):
            raise TypeError(f"Overhead must be an integer, not {overhead!r}")
        self.overhead = overhead
        super().__init__({
            "send": Out(1), "message": Out(PeerMessage), "idle": In(1),
            "rx": In(stream.Signature(PeerMessage, always_ready=True)),
            "enable": In(1), "restart": In(1), "margin": In(16), "retry": In(16), "quiet": In(24),
            "say": In(PeerMessage), "news": In(1), "trigger": In(1), "hold": In(1),
            "up": Out(1), "opened": Out(1),
            "heard": Out(stream.Signature(PeerMessage, always_ready=True)),
            "own": Out(SESSION_BITS, init=1), "other": Out(SESSION_BITS), "silent": Out(1),
            "round_trip": Out(24), "measured": Out(1), "timed_out": Out(1), "restarted": Out(1),
            "foreign": Out(1), "repeated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        # Time, and the silence after reset. A link that is switched on begins like one after reset.
        time, waited, settled = Signal(PEER_NUMBER_BITS), Signal(24), Signal()
        active = Signal()
        m.d.sync += time.eq(time + 1)
        with m.If(~self.enable):
            m.d.sync += [waited.eq(0), settled.eq(0)]
        with m.Elif(~settled):
            m.d.sync += [waited.eq(waited + 1), settled.eq(waited >= self.quiet)]
        m.d.comb += [active.eq(settled & self.enable), self.silent.eq(self.enable & ~settled)]

        # What came, and a tick later whose it is.
        came, message = Signal(), Signal(PeerMessage)
        to_own, fits, from_other = Signal(), Signal(), Signal()
        is_ping, is_echo = Signal(), Signal()
        rx = self.rx.payload
        mine, theirs = rx.receiver == self.own, rx.sender == self.other
        m.d.sync += [
            came.eq(self.rx.valid & active & (rx.sender != 0)), message.eq(rx),
            to_own.eq(mine), from_other.eq(theirs), fits.eq(mine & theirs),
            is_ping.eq(rx.kind == PeerKind.PING), is_echo.eq(rx.kind == PeerKind.ECHO),
        ]

        # The session. In the tick after a change of numbers nothing is believed, for it was
        # compared with the old ones.
        changed, drop, begin, late = Signal(), Signal(), Signal(), Signal()
        next_own = Mux(self.own.all(), 1, self.own + 1)
        good = came & ~changed
        echoed = good & is_echo & to_own
        accepted = good & fits & self.up
        m.d.comb += [
            begin.eq(~self.up & echoed),
            drop.eq(~active | self.restart | (self.up & (late | (good & ~fits)))),
        ]
        m.d.sync += [self.opened.eq(0), self.timed_out.eq(0), self.restarted.eq(0),
                     self.foreign.eq(0), changed.eq(0)]
        with m.If(drop):
            m.d.sync += [
                self.up.eq(0), changed.eq(1),
                self.timed_out.eq(self.up & late),
                self.restarted.eq(self.up & good & ~fits & ~late),
            ]
            with m.If(self.up | self.restart):
                m.d.sync += self.own.eq(next_own)
            m.d.sync += self.other.eq(Mux(good & active & ~self.restart, message.sender, 0))
        with m.Elif(begin):
            m.d.sync += [self.up.eq(1), self.opened.eq(1), self.other.eq(message.sender)]
            m.d.sync += changed.eq(~from_other)
        with m.Elif(good & ~self.up):
            m.d.sync += [self.other.eq(message.sender), changed.eq(~from_other)]
        with m.If(good & self.up & ~fits):
            m.d.sync += self.foreign.eq(1)
        m.d.comb += [
            self.heard.valid.eq(accepted & ~is_ping & ~is_echo),
            self.heard.payload.eq(message),
        ]

        # The round trip: time since the ping without what the answer was held, on either side.
        echo = PeerEcho(message)
        age, gone, usable = Signal(24), Signal(24), Signal()
        m.d.sync += [
            age.eq(time - rx.number), gone.eq(age - echo.held),
            usable.eq(echoed & ~echo.held.all()), self.measured.eq(usable),
        ]
        with m.If(usable):
            m.d.sync += self.round_trip.eq(gone - 2 * self.overhead)

        # Nothing came for too long?
        patience, quiet_for = Signal(25), Signal(25)
        known = Signal()
        m.d.sync += [patience.eq((self.round_trip << 1) + self.margin),
                     late.eq(known & (quiet_for > patience))]
        with m.If(~self.up):
            m.d.sync += known.eq(0)
        with m.Elif(self.measured):
            m.d.sync += known.eq(1)
        with m.If(~self.up | accepted):
            m.d.sync += quiet_for.eq(0)
        with m.Elif(~quiet_for[-1]):
            m.d.sync += quiet_for.eq(quiet_for + 1)
        with m.If(~self.up | accepted | drop):
            m.d.sync += late.eq(0)

        # What is to be sent.
        say_due, ping_due, echo_due = Signal(), Signal(), Signal()
        echo_number, held = Signal(PEER_NUMBER_BITS), Signal(HELD_BITS)
        since, again, turns = Signal(16), Signal(), Signal(range(_PING_EVERY))
        free, sent = Signal(), PeerMessage(self.message)
        reply = PeerEcho(self.message)
        m.d.comb += [
            free.eq(self.idle & ~self.hold),
            sent.eq(self.say), sent.sender.eq(self.own), sent.receiver.eq(self.other),
        ]
        # Under `hold` there is nothing but the trigger: what is sent hangs on `hold` alone.
        with m.If(self.hold):
            m.d.comb += self.send.eq(self.trigger)
        with m.Elif(echo_due):
            m.d.comb += [self.send.eq(free), reply.kind.eq(PeerKind.ECHO),
                         reply.number.eq(echo_number), reply.held.eq(held)]
            m.d.sync += echo_due.eq(~free)
        with m.Elif(say_due):
            m.d.comb += self.send.eq(free)
            m.d.sync += say_due.eq(~free)
        with m.Elif(ping_due):
            m.d.comb += [self.send.eq(free), sent.kind.eq(PeerKind.PING), sent.number.eq(time)]
            m.d.sync += ping_due.eq(~free)

        m.d.sync += [since.eq(Mux(again, 0, since + 1)),
                     again.eq((since >= self.retry) & ~again),
                     self.repeated.eq(again & self.up & ~self.say.done)]
        with m.If(again):
            m.d.sync += turns.eq(turns + 1)
            with m.If(self.up):
                m.d.sync += say_due.eq(1)
            with m.If(~self.up | (turns == 0)):
                m.d.sync += ping_due.eq(1)
        with m.If(good & ~self.up & ~from_other):
            m.d.sync += ping_due.eq(1)
        with m.If((self.news & self.up) | begin):
            m.d.sync += say_due.eq(1)
        with m.If(good & is_ping):
            m.d.sync += [echo_due.eq(1), echo_number.eq(message.number), held.eq(2)]
        with m.Elif(~held.all()):
            m.d.sync += held.eq(held + 1)
        with m.If(drop):
            m.d.sync += say_due.eq(0)
        with m.If(~active):
            m.d.sync += [say_due.eq(0), ping_due.eq(0), echo_due.eq(0)]
        return m
