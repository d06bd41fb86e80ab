"""Messages between nodes that make attempts together, and registers of the peers.

A message is 48 bits and a check of 8 bits, sent over 1, 4 or 8 lines, lowest bits first, while a
further line says that there is one. ``docs/peers.md`` has the protocol.
"""

from amaranth.lib import data, enum

from quantacore.gateware.layouts.herald import Outcome
from quantacore.gateware.layouts.registers import Access, Block, Register, sticky_registers

__all__ = [
    "PEER_PORTS", "PEER_LANES", "peer_word", "PEER_NUMBER_BITS", "SESSION_BITS", "MESSAGE_BITS",
    "CHECK_BITS", "CHECK_POLYNOMIAL", "CHECK_INITIAL", "HELD_BITS", "PeerKind", "PeerMessage",
    "PeerEcho", "message_words", "message_ticks", "follower_ticks", "PeerControl", "PeerStatus",
    "PeerSizes", "PeerAction", "PeerFlags", "PEERS",
]

#: Ports of a node: a station has up to so many followers.
PEER_PORTS = 2
#: Lines for data that a port may have.
PEER_LANES = (1, 4, 8)
#: Bits of an attempt's number in a message.
PEER_NUMBER_BITS = 24
#: Bits of a session's number.
SESSION_BITS = 6
#: Bits of a message, and of its check.
MESSAGE_BITS, CHECK_BITS = 48, 8
#: x^8 + x^5 + x^3 + x^2 + x + 1, the highest power left out: in messages of this length it finds
#: every error of up to 3 bits, and every one within 8 bits in a row.
CHECK_POLYNOMIAL = 0x2F
#: The check's register before the first bit.
CHECK_INITIAL = 0xFF
#: Bits of the ticks that an answer was held.
HELD_BITS = 9


def peer_word(lanes):
    """Layout of what is on the lines of a port in one tick.

    Parameters
    ----------
    lanes : int
        Data lines: 1, 4 or 8.
    """
    if lanes not in PEER_LANES:
        raise ValueError(f"Lanes of a peer's port must be 1, 4 or 8, not {lanes!r}")
    return data.StructLayout({"data": lanes, "valid": 1})


class PeerKind(enum.Enum, shape=3):
    """What a message says."""

    #: Station: attempt ``number`` begins now. Sent once; too late it would be wrong.
    TRIGGER = 1
    #: Station: what is known of attempt ``number``, the last that was triggered. Repeated.
    VERDICT = 2
    #: Follower: what became of attempt ``number``, and whether it waits for the next. Repeated.
    REPORT = 3
    #: Either: ``number`` is the sender's time.
    PING = 4
    #: Either: the answer to a ping, with its ``number``: a :class:`PeerEcho`.
    ECHO = 5


class PeerMessage(data.Struct):
    """A message; the check follows it."""

    kind: PeerKind
    #: The follower waits for a trigger.
    ready: 1
    #: The follower made the attempt: its windows were counted from its own start.
    ran: 1
    #: The attempt is over; ``outcome`` and ``code`` say how.
    done: 1
    outcome: Outcome
    #: Of the station's pattern.
    code: 4
    number: PEER_NUMBER_BITS
    #: Session of the sender; never 0.
    sender: SESSION_BITS
    #: Session of the other side, as the sender knows it; 0: it doesn't.
    receiver: SESSION_BITS


class PeerEcho(data.Struct):
    """A message of kind ``ECHO``."""

    kind: PeerKind
    #: Ticks from the ping's arrival until this answer was sent; all ones: as many or more.
    held: HELD_BITS
    number: PEER_NUMBER_BITS
    sender: SESSION_BITS
    receiver: SESSION_BITS


def message_words(lanes):
    """Ticks that a message is on the line."""
    return (MESSAGE_BITS + CHECK_BITS) // lanes


def message_ticks(lanes):
    """From the tick in which a port takes a message to the tick in which one without any line
    between them says that it came."""
    return message_words(lanes) + 4


def follower_ticks(lanes):
    """How much later than the station's a follower's windows begin, with equal ``start_delay`` and
    no line between them."""
    return message_ticks(lanes) + 2


class PeerControl(data.Struct):
    """Switches of the peers."""

    #: Ports that take part. A station's followers; a follower has its station on port 0.
    enable: PEER_PORTS


class PeerStatus(data.Struct):
    """A port."""

    #: Both sides know each other's session, and the round trip was measured.
    up: 1
    #: Waits after reset, so that what is still on the line dies.
    quiet: 1
    #: The follower waits for a trigger.
    ready: 1
    #: The follower made the last attempt.
    ran: 1
    #: This side's session, and the other side's.
    own: SESSION_BITS
    other: SESSION_BITS


class PeerSizes(data.Struct):
    """What was built."""

    ports: 4
    lanes: 4


class PeerAction(data.Struct):
    """Things to do, a bit each."""

    #: Zero all counts but those of the session, and the extremes of the round trip.
    clear: 1
    #: Begin new sessions.
    restart: 1


class PeerFlags(data.Struct):
    """Things that went wrong."""

    #: A peer said nothing for 2 x round trip + ``margin``.
    lost: 1
    #: A peer began a new session by itself: it was reset, or it lost this side.
    restarted: 1
    #: A message's check was wrong, or its length.
    check: 1
    #: A trigger came while no ``ARM`` waited, or did not come.
    missed: 1


def _count(name, doc, *, bits=48, ports=True, unit="messages"):
    return Register(name=name, shape=bits, access=Access.READ_ONLY, unit=unit, doc=doc,
                    count=PEER_PORTS if ports else None)


PEERS = Block(
    name="peers",
    doc="Other nodes that attempts are made with. In a session that both sides are in, with no "
        "attempt in progress, session_triggers of the station = session_started + session_missed "
        "of the follower.",
    registers=(
        Register(name="control", shape=PeerControl, doc="Switches."),
        Register(name="action", shape=PeerAction, access=Access.WRITE_ONLY, doc="Things to do."),
        Register(name="sizes", shape=PeerSizes, access=Access.READ_ONLY, doc="What was built."),
        Register(name="start_delay", shape=16, unit="ticks",
                 doc="From the trigger, sent or received, to the start of the attempt's windows."),
        Register(name="margin", shape=16, init=4096, unit="ticks",
                 doc="What a time-out has beyond 2 x round trip. At least 4 x retry."),
        Register(name="retry", shape=16, init=256, unit="ticks",
                 doc="What a side has to say is said again after so long."),
        Register(name="quiet", shape=24, init=131_072, unit="ticks",
                 doc="Silence after a reset. Longer than 2.5 x round trip + margin, so that no "
                     "message from before a reset is taken for one from after it."),
        Register(name="status", shape=PeerStatus, access=Access.READ_ONLY, count=PEER_PORTS,
                 doc="Ports."),
        _count("round_trip", "Ticks on the line, there and back, the last measurement.", bits=24,
               unit="ticks"),
        _count("round_trip_min", "Least since it was cleared.", bits=24, unit="ticks"),
        _count("round_trip_max", "Most since it was cleared.", bits=24, unit="ticks"),
        _count("session_triggers", "Station: attempts triggered in this session.", bits=32,
               unit="attempts"),
        _count("session_started", "Follower: attempts that a trigger began in this session.",
               bits=32, ports=False, unit="attempts"),
        _count("session_missed", "Follower: attempts in this session that it took no part in.",
               bits=32, ports=False, unit="attempts"),
        _count("triggers", "Station: attempts triggered.", ports=False, unit="attempts"),
        _count("started", "Follower: attempts that a trigger began.", ports=False,
               unit="attempts"),
        _count("missed", "Follower: attempts that it took no part in.", ports=False,
               unit="attempts"),
        _count("sent", "Messages sent.", bits=32),
        _count("received", "Messages with a right check.", bits=32),
        _count("check_errors", "Messages with a wrong check, or too short or too long.", bits=32),
        _count("foreign", "Messages of another session.", bits=32),
        _count("repeats", "Messages repeated while an attempt was in progress.", bits=32),
        _count("timeouts", "Sessions that ended because nothing came.", bits=32, unit="sessions"),
        *sticky_registers(PeerFlags),
    ),
)
