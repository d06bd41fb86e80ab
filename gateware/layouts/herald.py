"""Registers, tables and records of the herald unit: windows, patterns, attempts.

An *attempt* starts in a tick that is called its start. Every detector has :data:`WINDOWS` windows;
a detector and one of its windows is a *cell*, number ``4 * detector + window``. A cell is *clicked*
in an attempt if at least one edge fell in its window. When the last window has closed, the clicked
cells are looked up in tables, which say for each of :data:`PATTERNS` patterns whether it holds; the
lowest that does is the verdict.

A pattern holds if every detector accepts it and every count set accepts it:

- ``ACCEPT`` says, for each detector and each combination of its four clicked cells, which patterns
  it accepts. "Must click", "must not click" (veto) and "don't care" are all of that form, and so
  are "in exactly one of its windows" and every other condition on one detector.
- ``CONTRIBUTION`` says, for each detector and combination, what it adds to each of
  :data:`COUNT_SETS` sums; ``COUNT`` says which patterns accept a sum. "Exactly n of these cells" is
  of that form, and so are "at least" and "at most".

Times in windows are counted from the start of the attempt, or from the reference pulse in it, in
units of an eighth of a tick (1 ns at 125 MHz), and act with the resolution of a sample.
"""

from amaranth.lib import data, enum

from quantacore.gateware.layouts.registers import (
    Access,
    Block,
    Memory,
    Register,
    sticky_registers,
)
from quantacore.gateware.layouts.tags import MAX_CHANNELS

__all__ = [
    "DETECTORS", "WINDOWS", "CELLS", "PATTERNS", "COUNT_SETS", "SITES", "EIGHTHS", "WINDOW_BITS",
    "TICK_BITS", "WINDOW_LEAD", "VERDICT_LATENCY", "ARM_TICKS", "NO_CLICK", "ATTEMPT_BITS",
    "RECORD_DEPTH", "HEARTBEAT_ATTEMPTS", "HeraldTable", "HeraldAddress", "PatternEntry",
    "SiteEntry", "Role", "Outcome", "HeraldControl", "HeraldCodes", "HeraldAction",
    "HeraldStatus", "HeraldFlags", "HeraldRecordKind", "AttemptRecord", "HeraldRecord",
    "HeraldCount", "count_index", "COUNTS", "HERALD",
]

#: Detectors that windows exist for.
DETECTORS = MAX_CHANNELS
#: Windows of a detector.
WINDOWS = 4
#: Cells: a detector and one of its windows.
CELLS = DETECTORS * WINDOWS
#: Patterns.
PATTERNS = 16
#: Sums of clicked cells that patterns may ask for.
COUNT_SETS = 4
#: Photonic qubits whose measurement the unit reads.
SITES = 8
#: Parts of a tick that window edges count in.
EIGHTHS = 8
#: Bits of the ticks in an attempt.
TICK_BITS = 16
#: Bits of a window's edge, in eighths of a tick.
WINDOW_BITS = TICK_BITS + 3
#: A window opens at least so many ticks after what it is counted from.
WINDOW_LEAD = 4
#: From the tick of the sample word that decides to the tick in which the verdict is known.
VERDICT_LATENCY = 4
#: From an ``ARM`` to the start of its attempt, where no peer has to agree.
ARM_TICKS = 4
#: ``LDT`` of a cell that was not clicked: the most negative number.
NO_CLICK = -(1 << 31)
#: Bits of an attempt's number in its record.
ATTEMPT_BITS = 23
#: Records of attempts and verdicts that may wait for the record stream.
RECORD_DEPTH = 64
#: Attempts after which there is a record even if nothing clicked, so that numbers never wrap
#: unseen.
HEARTBEAT_ATTEMPTS = 1 << 20


class HeraldTable(enum.Enum, shape=4):
    """What a write to ``table_data`` sets; the number in brackets is the index."""

    #: [cell] When the window opens, eighths of a tick. A window that doesn't close after it opens
    #: is off.
    OPEN = 0
    #: [cell] When it closes: the first eighth that is outside.
    CLOSE = 1
    #: [detector * 16 + clicked cells of the detector] Patterns that accept it, a bit each.
    ACCEPT = 2
    #: [detector * 16 + clicked cells of the detector] What it adds to each count set, 3 bits each.
    CONTRIBUTION = 3
    #: [set * 16 + sum, or 15 for more] Patterns that accept it, a bit each.
    COUNT = 4
    #: [pattern] :class:`PatternEntry`.
    PATTERN = 5
    #: [windows of the ``ARM``] When such an attempt is decided: the close of its last window, in
    #: eighths of a tick; ``WINDOW_LEAD`` ticks at least.
    DECIDE = 6
    #: [site] :class:`SiteEntry`.
    SITE = 7


class HeraldAddress(data.Struct):
    """Where the next word of ``table_data`` goes; the index then grows by one."""

    index: 8
    table: HeraldTable


class PatternEntry(data.Struct):
    """What a pattern is worth."""

    enabled: 1
    #: Verdict as soon as it holds, not only when the last window has closed.
    early: 1
    #: Windows it looks at: it takes no part in an attempt that was armed without one of them.
    windows: WINDOWS
    #: Number that the sequencer's ``BRH`` gets.
    code: 4
    #: XORed to the Pauli frame.
    pauli: 8


class SiteEntry(data.Struct):
    """A photonic qubit: a click in one of two cells is its value, none or both is an erasure."""

    enabled: 1
    zero: 5
    one: 5


class Role(enum.Enum, shape=2):
    """Who starts attempts and who decides."""

    #: This node alone.
    SOLO = 0
    #: This node, together with peers that follow.
    STATION = 1
    #: A station: this node's attempts start on its trigger and end with its verdict.
    FOLLOWER = 2


class Outcome(enum.Enum, shape=2):
    """How an attempt ended."""

    #: A pattern held.
    SUCCESS = 0
    #: All windows closed and none did.
    FAILED = 1
    #: It does not count: a reference was missing or double, it was aborted, a route moved, a peer
    #: was not there.
    VOID = 2


class HeraldControl(data.Struct):
    """Switches of the herald unit."""

    #: Attempts may be armed.
    enable: 1
    #: Windows are counted from a reference pulse, not from the start.
    by_reference: 1
    #: Detector that carries the reference; :data:`DETECTORS` is the reference input.
    reference: 4
    role: Role
    #: The start of an attempt is seen by ``WAITTRIG`` on input ``trigger_line``.
    trigger: 1
    trigger_line: 3
    #: Which attempts get a record of their verdict.
    record_success: 1
    record_failed: 1
    record_void: 1
    #: Detectors whose clicks are falling edges.
    falling: DETECTORS


class HeraldCodes(data.Struct):
    """Verdicts that are no pattern, for ``BRH``: each is given only if its bit is set."""

    #: The limit of attempts or of time was reached.
    limit: 4
    #: ``reinitialise_after`` attempts were made.
    reinitialise: 4
    #: An ``ARM`` was refused: a route moves, a detector is saturated, the unit is off.
    refused: 4
    #: The attempt was void.
    void: 4
    #: All windows closed and no pattern held.
    failed: 4
    give_limit: 1
    give_reinitialise: 1
    give_refused: 1
    give_void: 1
    give_failed: 1


class HeraldAction(data.Struct):
    """Things to do, a bit each."""

    #: Zero all counts, and the attempts and time that limits are counted from.
    clear: 1
    #: Zero what limits are counted from: a new run.
    run: 1
    #: End the attempt in progress, void.
    abort: 1
    #: Zero the Pauli frame.
    clear_frame: 1


class HeraldStatus(data.Struct):
    """What the unit is doing."""

    #: An attempt is in progress.
    busy: 1
    #: An ``ARM`` waits for the station's trigger, or for the followers.
    waits: 1
    #: Why the next ``ARM`` would be refused.
    off: 1
    settling: 1
    saturated: 1
    limit: 1
    reinitialise: 1
    #: Detectors that are saturated now.
    detectors: DETECTORS


class HeraldFlags(data.Struct):
    """Things that went wrong."""

    #: No reference pulse between ``reference_earliest`` and ``reference_latest``.
    missing_reference: 1
    #: More than one reference pulse in an attempt.
    double_reference: 1
    #: An ``ARM`` while an attempt was in progress: that one is void.
    aborted: 1
    #: A route began to move in an attempt: it is void.
    route_moved: 1
    #: A detector clicked more often than ``saturation_clicks`` in a gate.
    saturated: 1
    #: An ``ARM`` was refused.
    refused: 1
    #: A record found its queue full.
    record_lost: 1
    #: A table was written while an attempt was in progress; the write was not done.
    table_busy: 1
    #: The other side did not answer in time.
    peer_lost: 1


class HeraldRecordKind(enum.Enum, shape=4):
    """Records of the herald unit; the values are apart from those of ``TagKind`` and others."""

    #: :class:`AttemptRecord`.
    ATTEMPT = 6
    #: :class:`HeraldRecord`.
    HERALD = 7


class AttemptRecord(data.Struct):
    """All edges from here on, up to the next such record's time, are in this attempt.

    There is one for each attempt, and for each pause between attempts, in which a level changed,
    and one every :data:`HEARTBEAT_ATTEMPTS` attempts.
    """

    #: Lowest bits of the tick of its start.
    coarse: 32
    #: Lowest bits of its number; attempts count from 1. 0 for a pause.
    number: ATTEMPT_BITS
    #: There is no attempt from here on.
    pause: 1
    #: Records lost before this one, at most 15.
    lost: 4
    kind: HeraldRecordKind


class HeraldRecord(data.Struct):
    """How an attempt ended."""

    clicked: CELLS
    #: Lowest bits of its number.
    number: 16
    pattern: 4
    outcome: Outcome
    #: Records lost before this one, at most 15.
    lost: 4
    reserved: 2
    kind: HeraldRecordKind


class HeraldCount(enum.Enum, shape=7):
    """First word of each group in the memory ``counts``; see :func:`count_index`."""

    #: [cell] Attempts that count (not void) in which it was clicked.
    CELL = 0
    #: [pattern] Verdicts.
    PATTERN = CELLS
    #: [detector] Clicks in an attempt outside all windows.
    STRAY = CELLS + PATTERNS
    #: [detector] Edges of the click's kind that came in the dead time of another.
    DEAD = CELLS + PATTERNS + DETECTORS
    #: [detector] Clicks, in an attempt or not, dead time taken away.
    CLICK = CELLS + PATTERNS + 2 * DETECTORS


#: Counts in the memory.
COUNTS = CELLS + PATTERNS + 3 * DETECTORS


def count_index(kind, number=0):
    """Which count: the memory has its low word at twice that, its high word after it."""
    return HeraldCount(kind).value + number


def _count(name, doc):
    return Register(name=name, shape=48, access=Access.READ_ONLY, unit="attempts", doc=doc)


HERALD = Block(
    name="herald",
    doc="The herald unit. attempts = succeeded + failed + void (+ 1 in progress).",
    registers=(
        Register(name="control", shape=HeraldControl, doc="Switches."),
        Register(name="codes", shape=HeraldCodes, doc="Verdicts that are no pattern."),
        Register(name="action", shape=HeraldAction, access=Access.WRITE_ONLY, doc="Things to do."),
        Register(name="status", shape=HeraldStatus, access=Access.READ_ONLY, doc="State."),
        Register(name="reference_earliest", shape=TICK_BITS, init=1, unit="ticks",
                 doc="The reference counts from this tick of the attempt on."),
        Register(name="reference_latest", shape=TICK_BITS, init=125, unit="ticks",
                 doc="Without a reference up to this tick of the attempt, it is missing."),
        Register(name="dead_ticks", shape=8, count=DETECTORS, unit="ticks",
                 doc="Edges closer than this to the last click, counted in whole ticks, are no "
                     "clicks; 0: all are."),
        Register(name="attempts_limit", shape=32, unit="attempts",
                 doc="Attempts in a run; 0: no limit."),
        Register(name="time_limit", shape=48, unit="ticks",
                 doc="Ticks in a run, from its first attempt; 0: no limit."),
        Register(name="reinitialise_after", shape=32, unit="attempts",
                 doc="Attempts after which one ARM is answered with the code `reinitialise` "
                     "instead; 0: never."),
        Register(name="saturation_gate", shape=24, init=12_500, unit="ticks",
                 doc="Gate of the rate that saturation is judged by."),
        Register(name="saturation_clicks", shape=16, unit="clicks",
                 doc="More clicks than this in a gate saturate a detector; 0: never."),
        Register(name="backoff", shape=32, init=125_000, unit="ticks",
                 doc="No attempts for so long after a detector was saturated."),
        Register(name="table_address", shape=HeraldAddress, access=Access.WRITE_ONLY,
                 doc="Where the next word of table_data goes, and what table_readback shows."),
        Register(name="table_data", access=Access.WRITE_ONLY,
                 doc="A word for the tables; refused in an attempt, see flag table_busy."),
        Register(name="table_readback", access=Access.READ_ONLY,
                 doc="The word last written at table_address."),
        Register(name="attempt", shape=32, access=Access.READ_ONLY,
                 doc="Number of the last attempt; they count from 1."),
        Register(name="frame", shape=8, access=Access.READ_ONLY,
                 doc="XOR of the Pauli bits of all verdicts."),
        Register(name="clicked", shape=CELLS, access=Access.READ_ONLY,
                 doc="Clicked cells of the last attempt that was decided."),
        _count("attempts", "Attempts started."),
        _count("succeeded", "Attempts in which a pattern held."),
        _count("failed", "Attempts whose windows closed without."),
        _count("void_reference", "Attempts with a missing or double reference."),
        _count("void_aborted", "Attempts that an ARM, the host or the end of a program cut off."),
        _count("void_route", "Attempts in which a route began to move."),
        _count("void_peer", "Attempts that a peer did not make or did not confirm."),
        Register(name="refused", shape=48, access=Access.READ_ONLY, unit="ARMs",
                 doc="ARMs that started no attempt."),
        Register(name="records_lost", shape=48, access=Access.READ_ONLY, unit="records",
                 doc="Records that found their queue full."),
        *sticky_registers(HeraldFlags),
        Memory(name="counts", depth=256,
               doc="64-bit counts, low word first; HeraldCount has their places."),
    ),
)
