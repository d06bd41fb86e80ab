"""Other nodes that attempts are made with: are they there, how far away, does everybody count the
same?

::

    await node.herald.configure("my_station.json")      # sets peers too
    await node.peers.wait_up()
    print([port.round_trip_s for port in await node.peers.ports()])

docs/peers.md has the protocol.
"""

import asyncio
from dataclasses import dataclass

from quantacore.gateware.layouts.peer import PEER_PORTS
from quantacore.host.driver.block import CheckedBlockDriver
from quantacore.host.driver.errors import LinkError

__all__ = ["PeersDriver", "PeersError", "PeersMissingError", "PeerSilentError",
           "PeerRestartedError", "PeerCheckError", "PeerMissedError", "FLAG_ERRORS", "PeerPort",
           "PeerCounts"]


class PeersError(LinkError):
    """Base of what goes wrong between nodes."""


class PeersMissingError(PeersError):
    """The node was built without ports to peers."""


class PeerSilentError(PeersError):
    """A peer does not answer."""


class PeerRestartedError(PeersError):
    """A peer was reset, or lost this node, and began a new session."""


class PeerCheckError(PeersError):
    """A message came damaged."""


class PeerMissedError(PeersError):
    """A trigger came while no attempt was armed here, or did not come."""


#: Exception of each sticky flag, for :meth:`PeersDriver.check_flags`.
FLAG_ERRORS = {"lost": PeerSilentError, "restarted": PeerRestartedError, "check": PeerCheckError,
               "missed": PeerMissedError}


@dataclass(frozen=True)
class PeerPort:
    """A port to another node.

    Attributes
    ----------
    port : int
    enabled, up : bool
        It takes part; both sides are in one session, and the round trip is known.
    quiet : bool
        It is silent after a reset, so that what is on the line dies.
    ready, ran : bool
        A follower waits for a trigger; it made the last attempt.
    round_trip_s, round_trip_min_s, round_trip_max_s : float
        On the line, there and back: the last one, and the extremes since they were cleared.
    session_triggers, sent, received, check_errors, foreign, repeats, timeouts : int
        See docs/registers.md.
    """

    port: int
    enabled: bool
    up: bool
    quiet: bool
    ready: bool
    ran: bool
    round_trip_s: float
    round_trip_min_s: float
    round_trip_max_s: float
    session_triggers: int
    sent: int
    received: int
    check_errors: int
    foreign: int
    repeats: int
    timeouts: int


@dataclass(frozen=True)
class PeerCounts:
    """Attempts that were shared with other nodes."""

    triggers: int
    started: int
    missed: int
    session_triggers: tuple
    session_started: int
    session_missed: int

    def agrees(self, follower, port=0):
        """Whether this station's count and a follower's, on this port, are of the same attempts.

        Both are to be read in one session, with no attempt in progress.
        """
        return self.session_triggers[port] == follower.session_started + follower.session_missed


class PeersDriver(CheckedBlockDriver):
    """The ports to other nodes."""

    flag_errors = FLAG_ERRORS

    def there(self):
        """Raise :class:`PeersMissingError` if the node has no ports."""
        if not self.node.identity.peers:
            raise PeersMissingError(
                "This node was built without ports to peers; build one with "
                "NodeConfig(herald=True, lanes=8, ...), or start a virtual node with "
                "virtual:?herald=yes&sequencer=8&lanes=8")

    async def configure(self, settings):
        """Write registers by name, as :attr:`CompiledPlan.peers
        <quantacore.host.herald.compile.CompiledPlan.peers>` has them."""
        self.there()
        for name, value in settings.items():
            if name != "control":
                await getattr(self.registers, name).write(value)
        await self.registers.control.write(settings["control"])

    async def ports(self):
        """:class:`PeerPort` of each port."""
        self.there()
        registers = self.registers
        names = ("round_trip", "round_trip_min", "round_trip_max", "session_triggers", "sent",
                 "received", "check_errors", "foreign", "repeats", "timeouts")
        control, status, *columns = await asyncio.gather(
            registers.control.read(), registers.status.read(),
            *(getattr(registers, name).read() for name in names))
        result = []
        for port in range(PEER_PORTS):
            values = [column[port] for column in columns]
            result.append(PeerPort(
                port, bool(int(control) >> port & 1), *(
                    bool(getattr(status[port], name)) for name in ("up", "quiet", "ready", "ran")),
                *map(self.units.ticks_s, values[:3]), *values[3:]))
        return result

    async def counts(self):
        """:class:`PeerCounts`."""
        self.there()
        registers = self.registers
        names = ("triggers", "started", "missed", "session_started", "session_missed")
        *values, sessions = await asyncio.gather(
            *(getattr(registers, name).read() for name in names),
            registers.session_triggers.read())
        return PeerCounts(*values[:3], tuple(sessions), *values[3:])

    async def wait_up(self, timeout_s=0.02):
        """Wait until all enabled ports are in a session; return :meth:`ports`.

        Parameters
        ----------
        timeout_s : float
            How long at most, in the node's time.

        Raises
        ------
        PeerSilentError
            Which one does not answer, and what came from it.
        """
        end = await self.node.timing.tick() + self.units.ticks(timeout_s)
        while True:
            ports = await self.ports()
            down = [p for p in ports if p.enabled and not p.up]
            if not down:
                return ports
            if await self.node.timing.tick() > end:
                what = "; ".join(f"port {p.port}: {p.received} messages came, {p.check_errors} "
                                 f"damaged, {p.foreign} of another session, "
                                 f"{p.timeouts} time-outs" for p in down)
                raise PeerSilentError(
                    f"No answer from {' and '.join(f'the peer on port {p.port}' for p in down)} "
                    f"in {timeout_s:g} s ({what}). Is the line there, is that node on, and does "
                    f"its plan have role and port?")

    async def clear(self):
        """Zero counts, but those of the session, and the extremes of the round trip."""
        self.there()
        await self.registers.action.write(clear=1)

    async def restart(self):
        """Begin new sessions with all peers."""
        self.there()
        await self.registers.action.write(restart=1)
