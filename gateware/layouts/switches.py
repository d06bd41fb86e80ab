"""Registers and tables of the photonic switches: routes, their ranges, and what becomes of them.

A *route* is a drive code for every switch and the range that the power monitor of each switch that
matters must be in. A *request* (of the sequencer, of the host, at a time) names a route; all drives
change :data:`CHANGE_TICKS` ticks after it, in one tick. Then the route *settles*: its settle time
passes, and all its monitors come into range; until then no attempt may start. From then on it
*holds*, and its monitors are watched.
"""

from amaranth.lib import data, enum

from quantacore.gateware.layouts.registers import Access, Block, Register, sticky_registers

__all__ = [
    "MAX_SWITCHES", "ROUTES", "ROUTE_BITS", "DRIVE_BITS", "MONITOR_BITS", "SETTLE_BITS",
    "DEBOUNCE_BITS", "CHANGE_TICKS", "MONITOR_TICKS", "FAILOVER_TICKS", "SAFE_TICKS",
    "ROUTE_WORDS", "RouteWord", "MonitorRange", "RouteEntry", "RouteAddress", "RouteLoad",
    "RouteLoading", "RouteState", "Refusal", "SwitchSizes", "SwitchControl", "SwitchAction",
    "SwitchStatus", "RefusedRequest", "SwitchFlags", "SWITCHES",
]

#: Switches that a build has at most.
MAX_SWITCHES = 8
ROUTE_BITS = 4
#: Routes in the table.
ROUTES = 1 << ROUTE_BITS
#: Bits of a drive code (what they stand for is the driver stage's matter).
DRIVE_BITS = 16
#: Bits of a power monitor's reading.
MONITOR_BITS = 16
#: Bits of a settle time and of its time-out.
SETTLE_BITS = 32
#: Bits of the debounce time.
DEBOUNCE_BITS = 24
#: From the tick of a request to the first tick in which the drives have the new codes.
CHANGE_TICKS = 4
#: From the tick of the monitors that end a route's settling to the first tick in which ``settling``
#: is low.
MONITOR_TICKS = 4
#: From the tick of the monitors that prove a switch stuck to the first tick in which the drives
#: have the alternate route's codes.
FAILOVER_TICKS = MONITOR_TICKS + CHANGE_TICKS
#: From a tick in which the emergency input is high to the first in which the drives are safe.
SAFE_TICKS = 2


class RouteWord(enum.Enum, shape=5):
    """First word of each kind in a route's part of the table."""

    #: [switch] Drive code.
    DRIVE = 0
    #: [switch] :class:`MonitorRange`.
    RANGE = MAX_SWITCHES
    #: Settle time in ticks, from the change of the drives.
    SETTLE = 2 * MAX_SWITCHES
    #: :class:`RouteEntry`.
    ENTRY = 2 * MAX_SWITCHES + 1


#: Words of a route.
ROUTE_WORDS = 2 * MAX_SWITCHES + 2


class MonitorRange(data.Struct):
    """Where the monitor of a switch is when the switch is where it should be; both ends are in."""

    low: MONITOR_BITS
    high: MONITOR_BITS


class RouteEntry(data.Struct):
    """What else there is to know of a route."""

    #: Switches whose monitors must be in range.
    used: MAX_SWITCHES
    #: Route to go to if a switch of this one is stuck.
    alternate: ROUTE_BITS
    has_alternate: 1


class RouteAddress(data.Struct):
    """Where the next word of ``table_data`` goes; the word's number then grows by one.

    ``word`` is a :class:`RouteWord`, plus the switch where it has one for each.
    """

    word: 5
    route: ROUTE_BITS


class RouteLoad(data.Struct):
    """What to do with a route of the table; of several, the first in this order."""

    #: Forget what the table has there, and take words for it. What is in force stays.
    begin: 1
    #: All words are there: it may be requested from now on.
    commit: 1
    #: Forget what the table has there.
    discard: 1
    reserved: 1
    route: ROUTE_BITS


class RouteLoading(data.Struct):
    """What is being loaded."""

    #: Words written since ``begin``, a bit each.
    words: ROUTE_WORDS
    route: ROUTE_BITS
    #: There was a ``begin``, and no ``commit`` since.
    active: 1


class RouteState(enum.Enum, shape=3):
    """What the switches are doing."""

    #: Not enabled: drives have their safe codes, and attempts don't wait for switches.
    OFF = 0
    #: No route was requested, or none any more.
    IDLE = 1
    #: The drives were changed; settle time or monitors are not there yet.
    SETTLING = 2
    #: The route is as it should be.
    HOLDING = 3
    #: A switch is stuck; the alternate route is on its way.
    FAILING = 4
    #: A switch is stuck and there is no way out, until the host clears.
    FAULT = 5
    #: The emergency input is high.
    EMERGENCY = 6


class Refusal(enum.Enum, shape=3):
    """Why a request was refused."""

    NONE = 0
    #: No such route in the table, or not completely loaded.
    UNKNOWN = 1
    #: A stuck switch has not been cleared.
    FAULT = 2
    EMERGENCY = 3
    #: Not enabled.
    OFF = 4
    #: ``start_time`` was past when it was written.
    LATE = 5


class SwitchSizes(data.Struct):
    """What this build has; all 0 where there are no switches."""

    switches: 4
    routes_log2: 4
    drive_bits: 5
    monitor_bits: 5


class SwitchControl(data.Struct):
    """Switches of the switches."""

    enable: 1
    #: A stuck switch makes the route's alternate take over.
    failover: 1
    #: In a fault the drives keep their codes; otherwise they take their safe ones.
    hold: 1


class SwitchAction(data.Struct):
    """Things to do, a bit each."""

    #: End a fault. Drives stay as they are, and there is no route until the next request.
    clear: 1
    #: Drives take their safe codes; there is no route until the next request, and no fault.
    park: 1
    #: Forget ``start_time``.
    disarm: 1
    #: Zero all counts, and the longest settle time.
    clear_counts: 1


class SwitchStatus(data.Struct):
    """What the switches are doing."""

    state: RouteState
    #: As the output: no attempt may start.
    settling: 1
    #: Route that the drives were last set to.
    route: ROUTE_BITS
    #: There is one: the drives have not been made safe since.
    there: 1
    #: It came in place of the one requested.
    failed_over: 1
    #: A request waits for ``start_time``.
    armed: 1
    reserved: 5
    #: Route of the last request that was carried out.
    requested: 8
    #: Switches that the route uses whose monitors are out of range now.
    out: MAX_SWITCHES


class RefusedRequest(data.Struct):
    """The last request that was refused."""

    route: 8
    reason: Refusal


class SwitchFlags(data.Struct):
    """Things that went wrong."""

    #: The switch was out of range at the end of the time-out, or for longer than the debounce.
    stuck_0: 1
    stuck_1: 1
    stuck_2: 1
    stuck_3: 1
    stuck_4: 1
    stuck_5: 1
    stuck_6: 1
    stuck_7: 1
    #: An alternate route took over.
    failed_over: 1
    #: There was none to take over.
    fault: 1
    #: A request was refused; see ``refused_last``.
    refused: 1
    #: ``start_time`` was past when it was written; the request was refused.
    late: 1
    #: A word came to a route that was not begun, or ``commit`` with words missing.
    load_refused: 1
    #: The emergency input was high.
    emergency: 1


def _count(name, doc, unit="requests"):
    return Register(name=name, access=Access.READ_ONLY, unit=unit, doc=doc)


SWITCHES = Block(
    name="switches",
    doc="Photonic switches. requests = changes + refused + superseded (+ those on their way). All "
        "registers read 0, and none can be written, where the build has none.",
    registers=(
        Register(name="sizes", shape=SwitchSizes, access=Access.READ_ONLY,
                 doc="What this build has."),
        Register(name="control", shape=SwitchControl, doc="Switches of the switches."),
        Register(name="action", shape=SwitchAction, access=Access.WRITE_ONLY, doc="Things to do."),
        Register(name="status", shape=SwitchStatus, access=Access.READ_ONLY, doc="State."),
        Register(name="request", shape=8, access=Access.WRITE_ONLY,
                 doc="Request a route now."),
        Register(name="start_route", shape=8, doc="Route that is requested at start_time."),
        Register(name="start_time", shape=64, unit="ticks",
                 doc="Writing it arms a request at exactly that tick; the drives change "
                     "CHANGE_TICKS later."),
        Register(name="timeout", shape=SETTLE_BITS, init=125_000, unit="ticks",
                 doc="Monitors that are out of range so long after the settle time are stuck."),
        Register(name="debounce", shape=DEBOUNCE_BITS, init=125, unit="ticks",
                 doc="A route that holds may be out of range in so many ticks in a row; in one "
                     "more, switches are stuck."),
        Register(name="safe", shape=DRIVE_BITS, count=MAX_SWITCHES,
                 doc="Safe drive codes: of an emergency, of a fault, when parked, when not "
                     "enabled. They act from the next such event on."),
        Register(name="load", shape=RouteLoad, access=Access.WRITE_ONLY,
                 doc="Begin, commit, discard a route of the table."),
        Register(name="table_address", shape=RouteAddress, access=Access.WRITE_ONLY,
                 doc="Where the next word of table_data goes, and what table_readback shows."),
        Register(name="table_data", access=Access.WRITE_ONLY,
                 doc="A word of the route that was begun."),
        Register(name="table_readback", access=Access.READ_ONLY,
                 doc="The word at table_address, as the table has it."),
        Register(name="loading", shape=RouteLoading, access=Access.READ_ONLY,
                 doc="What is being loaded."),
        Register(name="loaded", shape=ROUTES, access=Access.READ_ONLY,
                 doc="Routes that may be requested, a bit each."),
        Register(name="drives", shape=DRIVE_BITS, count=MAX_SWITCHES, access=Access.READ_ONLY,
                 doc="Drive codes as they are."),
        Register(name="monitors", shape=MONITOR_BITS, count=MAX_SWITCHES, access=Access.READ_ONLY,
                 doc="Readings of the power monitors."),
        Register(name="settle_last", shape=SETTLE_BITS, access=Access.READ_ONLY, unit="ticks",
                 doc="From the last request whose route settled to the end of settling."),
        Register(name="settle_max", shape=SETTLE_BITS, access=Access.READ_ONLY, unit="ticks",
                 doc="The longest such time since the counts were cleared."),
        _count("requests", "Requests of the sequencer, the host and at a time."),
        _count("changes", "Requests that were carried out."),
        _count("restarts", "Of these, those that came while another route settled."),
        _count("refused", "Requests that were refused."),
        _count("superseded", "Requests in the tick of another: the sequencer's goes first, then "
                             "the one at a time, then the host's."),
        _count("failovers", "Alternate routes that took over.", "changes"),
        Register(name="refused_last", shape=RefusedRequest, access=Access.READ_ONLY,
                 doc="The last request that was refused."),
        *sticky_registers(SwitchFlags),
    ),
)
