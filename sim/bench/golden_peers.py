"""A line between two golden nodes with herald units, as far as hosts can tell.

There are no messages: sessions open and end, triggers arrive or are lost, and the nodes' registers
say so. A follower that may make attempts is always ready for one.
"""

from quantacore.gateware.layouts.herald import HeraldControl, Outcome, Role
from quantacore.gateware.layouts.peer import PEER_NUMBER_BITS, PeerFlags, PeerStatus

__all__ = ["GoldenLine"]

_FLAGS = [name for name, _ in PeerFlags.as_shape()]
#: Messages that each side sends to open a session, and for an attempt: the trigger or report that
#: it began, and the verdict or report that the next is waited for.
_GREETING, _ATTEMPT = 3, 2
_OUTCOMES = {Outcome.SUCCESS: "succeeded", Outcome.FAILED: "failed", Outcome.VOID: "void_peer"}


class _End:
    """A node's end of the line: a port of its block ``peers``."""

    def __init__(self, node, port):
        self.node, self.port = node, port
        self.own = 1

    @property
    def enabled(self):
        return bool(self.node.get("peers.control") >> self.port & 1)

    @property
    def up(self):
        return bool(PeerStatus.from_bits(self.node.get("peers.status", self.port)).up)

    @property
    def control(self):
        return HeraldControl.from_bits(self.node.get("herald.control"))

    def add(self, name, number=1, *, index=None):
        index = self.port if index is None else index
        self.node.set(f"peers.{name}", self.node.get(f"peers.{name}", index) + number, index)

    def flag(self, name):
        self.node.raise_flag("peers", _FLAGS.index(name))

    def show(self, other=0, **status):
        self.node.set("peers.status", PeerStatus.const(
            {"own": self.own, "other": other, **status}).as_bits(), self.port)

    def end(self):
        self.own = self.own % 63 + 1
        self.show()


class GoldenLine:
    """Joins a port of a station and port 0 of a follower, which it registers with both.

    Parameters
    ----------
    station, follower : GoldenHeraldEndpoint
        With ``peers=True``.
    port : int
        Of the station.
    delay_ticks, back_ticks : int
        To the follower, and back; the same by default.

    Attributes
    ----------
    lose : int
        So many triggers to come are lost.
    """

    def __init__(self, station, follower, *, port=0, delay_ticks=0, back_ticks=None):
        self.round_trip = delay_ticks + (delay_ticks if back_ticks is None else back_ticks)
        self.station, self.follower = _End(station, port), _End(follower, 0)
        self._ends = self.station, self.follower
        self._open = self._cut = self._ran = False
        self.lose = 0
        station.lines[port] = follower.lines[0] = self

    @property
    def up(self):
        """Whether both sides are in one session."""
        return all(end.up for end in self._ends)

    def look(self):
        """Do what enabling, disabling and resets of the nodes ask for."""
        if self._open and not self.up:
            # A reset forgets the session, and what number it had.
            for end in self._ends:
                if end.up:
                    end.add("timeouts")
                    end.flag("lost")
                    end.node.lost_peer()
                    end.end()
                else:
                    end.own = 1
            self._open = False
        if self._open and not all(end.enabled for end in self._ends):
            self._silence([end for end in self._ends if end.enabled])
        if not self._open and not self._cut and all(end.enabled for end in self._ends):
            self._begin()
        if self._open:
            self._show()

    def _show(self):
        one, other = self._ends
        one.show(up=1, other=other.own, ready=self.ready, ran=self._ran)

    def _begin(self):
        one, other = self._ends
        one.show(up=1, other=other.own)
        other.show(up=1, other=one.own)
        for end in self._ends:
            for name in ("round_trip", "round_trip_min", "round_trip_max"):
                end.node.set(f"peers.{name}", self.round_trip, end.port)
            end.node.set("peers.session_triggers", 0, end.port)
            end.add("sent", _GREETING)
            end.add("received", _GREETING)
        for name in ("session_started", "session_missed"):
            self.follower.node.set(f"peers.{name}", 0)
        self._open, self._ran = True, False

    def _silence(self, sides):
        for end in self._ends:
            if end in sides:
                end.add("timeouts")
                end.flag("lost")
                end.node.lost_peer()
            end.end()
        self._open = False

    def cut(self):
        """Let nothing through any more."""
        self._cut = True
        if self._open:
            self._silence(self._ends)

    def mend(self):
        """Let everything through again."""
        self._cut = False

    def restart(self, node):
        """End the session because one side's host wants it."""
        if self._open:
            for end in self._ends:
                if end.node is not node:
                    end.flag("restarted")
                end.end()
            self._open = False

    # Attempts.

    @property
    def ready(self):
        """Whether the follower waits for a trigger."""
        control = self.follower.control
        return self.up and bool(control.enable) and control.role == Role.FOLLOWER

    def trigger(self, number):
        """Send the trigger of an attempt; whether it arrived."""
        station, follower = self._ends
        station.add("session_triggers")
        for end in self._ends:
            end.add("sent", _ATTEMPT)
            end.add("received", _ATTEMPT)
        came = not self.lose
        name = "started" if came else "missed"
        for count in (name, f"session_{name}"):
            follower.add(count, index=0)
        if came:
            follower.node.add("attempts")
            follower.node.set("herald.attempt", number & (1 << PEER_NUMBER_BITS) - 1)
        else:
            self.lose -= 1
            follower.flag("missed")
            follower.add("received", -1)
        self._ran = came
        self._show()
        return came

    def verdict(self, outcome):
        """Tell the follower how the attempt that it began in ended."""
        self.follower.node.add(_OUTCOMES[outcome])
