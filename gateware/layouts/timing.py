"""Registers of the clock: ticks, triggers, the disciplined virtual clock, synchronisation outputs.

The virtual clock counts nominal ticks. Each fabric tick it advances by ``1 + rate * 2**-44``,
where ``rate`` is a signed 32-bit word (range +-122 ppm, step 0.057 ppt); a proportional-integral
loop steers ``rate`` so that the reference's edges fall where they are expected: at
``acquire_virtual`` plus multiples of ``period``.

Latencies are part of the contract and are named here. They count fabric clocks. A register write
that is on the block's bus in clock *w* acts from clock ``w + WRITE_LATENCY`` on.
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from quantacore.gateware.layouts.registers import Access, Block, Register, sticky_registers

__all__ = ["RATE_FRACTION_BITS", "INTEGRAL_BITS", "TRIGGERS", "SYNC_OUTPUTS", "WRITE_LATENCY",
           "TICK_LOAD_LATENCY", "DECISION_LATENCY", "EDGE_CLOCKS", "MISS_CLOCKS", "COMMAND_CLOCKS",
           "RATE_LATENCY", "VIRTUAL_LOAD_LATENCY", "TRIGGER_LATENCY", "SYNC_RECOVERY", "LoopState",
           "Reference", "TimingControl", "LoopGains", "TimingFlags", "TIMING"]

#: The rate word counts 2**-44 virtual ticks per tick.
RATE_FRACTION_BITS = 44
#: Bits below the rate word's that the loop's integral part keeps.
INTEGRAL_BITS = 16
#: From a register write on the block's bus to its effect.
WRITE_LATENCY = 2
#: From ``tick_load`` on the block's bus until ``tick`` reads the value.
TICK_LOAD_LATENCY = 5
#: From a reference edge's sample word, or from the tick at which an edge is overdue, until the
#: loop takes it up.
DECISION_LATENCY = 4
#: How long the loop works on a reference edge; its results are visible at the end. Two reference
#: edges closer than this: the second is spurious.
EDGE_CLOCKS = 26
#: How long the loop works on a missing edge.
MISS_CLOCKS = 6
#: How long the loop works on a command of the host (rate, virtual time, discipline on or off).
COMMAND_CLOCKS = 12
#: From a new rate word to the first tick that is counted with it.
RATE_LATENCY = 4
#: From the begin of the loop's work until the virtual clock reads the value loaded.
VIRTUAL_LOAD_LATENCY = 10
#: From the write that arms a trigger to the first tick at which it can fire.
TRIGGER_LATENCY = WRITE_LATENCY + 2
#: Least distance of two pulses of a synchronisation output.
SYNC_RECOVERY = 4
#: Timed triggers.
TRIGGERS = 4
#: Periodic synchronisation outputs.
SYNC_OUTPUTS = 2


class LoopState(enum.Enum, shape=3):
    """What the discipline loop is doing."""

    #: Not disciplined; the virtual clock runs at the rate word as the host wrote it.
    FREE = 0
    #: Waiting for the first reference edge, on which the virtual clock is set.
    ACQUIRE = 1
    #: Steering; the phase error has not yet stayed within the lock threshold.
    PULL_IN = 2
    LOCKED = 3
    #: The reference is missing; the rate is held at the loop's integral part.
    HOLDOVER = 4


class Reference(enum.Enum, shape=1):
    """Which input disciplines the clock."""

    PPS = 0
    #: The 10 MHz input, divided by ``divider``.
    CLOCK = 1


class TimingControl(data.Struct):
    """Switches of the clock."""

    #: Let the loop steer.
    discipline: 1
    reference: Reference


class LoopGains(data.Struct):
    """Loop gains as negative powers of two, for the two phases of the loop.

    At each accepted reference edge with phase error ``e`` (fine units, positive if the virtual
    clock is late) the integral part grows by ``e * 2**(31 - integral)`` and the rate is the
    integral part plus ``e * 2**(31 - proportional)``, in units of ``2**-RATE_FRACTION_BITS``
    per tick. The integral part keeps :data:`INTEGRAL_BITS` more bits than the rate; both terms
    and the rate are rounded down. A gain of 64 or more switches that term off. Where the sum
    exceeds the rate word, the rate takes its limit and the integral part stays as it was.

    With edges every ``period`` ticks, the loop corrects the fraction ``period * 2**-proportional``
    of the error until the next edge: see docs/timing.md for how to choose.
    """

    pull_in_proportional: 8
    pull_in_integral: 8
    locked_proportional: 8
    locked_integral: 8


class TimingFlags(data.Struct):
    """Things that go wrong with time."""

    #: A reference edge did not come.
    reference_missing: 1
    #: A reference edge came where none was expected, and was ignored.
    reference_spurious: 1
    #: The loop left LOCKED, to PULL_IN or to HOLDOVER.
    lock_lost: 1
    #: A trigger fired after its time: it was armed too late, or the tick counter was loaded.
    trigger_late: 1
    #: The rate word hit its limit.
    rate_limited: 1
    #: A synchronisation output was started for a time that was past; it stays off.
    sync_late: 1


TIMING = Block(
    name="timing",
    doc="The node's time base.",
    registers=(
        Register(name="tick", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="The tick counter, now."),
        Register(name="tick_load", shape=64, access=Access.WRITE_ONLY, unit="ticks",
                 doc="Set the tick counter (for tests, and to bring nodes together)."),
        Register(name="snapshot", shape=1, access=Access.WRITE_ONLY,
                 doc="Write 1 to take all snapshot_* registers in the same tick."),
        Register(name="snapshot_tick", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="Tick of the snapshot."),
        Register(name="snapshot_virtual", shape=64, access=Access.READ_ONLY, unit="virtual ticks",
                 doc="Virtual clock at the snapshot, whole part."),
        Register(name="snapshot_fraction", shape=64, access=Access.READ_ONLY,
                 unit="2^-44 virtual ticks", doc="Virtual clock at the snapshot, fraction."),
        Register(name="snapshot_rate", shape=signed(32), access=Access.READ_ONLY,
                 unit="2^-44 virtual ticks per tick",
                 doc="Rate word with which the virtual clock goes on from the snapshot's tick."),
        Register(name="control", shape=TimingControl,
                 doc="Switches. Change the reference only while discipline is 0."),
        Register(name="gains", shape=LoopGains, init=0x25_1F_1C_1B,
                 doc="Gains of the loop; the initial ones are for 1PPS at 125 MHz. For 10 MHz "
                 "divided by 10000: 0x1B151211."),
        Register(name="period", init=125_000_000, unit="virtual ticks",
                 doc="Distance of two reference edges, after the divider. More than two windows, "
                 "and at least 64. A change takes effect with the next edge."),
        Register(name="acquire_virtual", shape=64, unit="virtual ticks",
                 doc="What the virtual clock is to read at the first reference edge in ACQUIRE."),
        Register(name="divider", init=1, unit="edges",
                 doc="Every so many rising edges of the reference count (1 for PPS; 0 is 1), "
                 "beginning with the first in ACQUIRE."),
        Register(name="window", shape=18, init=125_000, unit="virtual ticks",
                 doc="A reference edge is accepted so far from where it is expected."),
        Register(name="lock_threshold", init=131_072, unit="fine units",
                 doc="LOCKED while phase errors stay within this."),
        Register(name="lock_count", shape=8, init=8, unit="edges",
                 doc="Edges in a row within (or outside) the threshold that make (or end) LOCKED."),
        Register(name="rate_write", shape=signed(32), access=Access.WRITE_ONLY,
                 unit="2^-44 virtual ticks per tick",
                 doc="Set the rate word (and the loop's integral part)."),
        Register(name="virtual_load", shape=64, access=Access.WRITE_ONLY, unit="virtual ticks",
                 doc="Set the virtual clock's whole part; the fraction becomes 0. A loop that is "
                 "disciplining goes back to ACQUIRE."),
        Register(name="state", shape=LoopState, access=Access.READ_ONLY,
                 doc="What the loop is doing."),
        Register(name="phase_error", shape=signed(32), access=Access.READ_ONLY,
                 unit="fine units", doc="At the last reference edge: where it was expected minus "
                 "where the virtual clock stood; positive if the virtual clock is late."),
        Register(name="reference_tick", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="Tick of the last accepted reference edge."),
        Register(name="reference_edges", access=Access.READ_ONLY, unit="edges",
                 doc="Accepted reference edges."),
        Register(name="reference_missed", access=Access.READ_ONLY, unit="edges",
                 doc="Reference edges that did not come when expected."),
        Register(name="holdover_ticks", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="How long the present hold-over has lasted; 0 when there is none."),
        Register(name="trigger_time", shape=64, count=TRIGGERS, unit="ticks",
                 doc="When each trigger fires; writing it arms the trigger. One that is past fires "
                 "at once and raises trigger_late."),
        Register(name="trigger_armed", shape=TRIGGERS, access=Access.READ_ONLY,
                 doc="One bit per trigger that has not fired yet."),
        Register(name="trigger_disarm", shape=TRIGGERS, access=Access.WRITE_ONLY,
                 doc="Ones disarm triggers."),
        Register(name="sync_period", shape=64, count=SYNC_OUTPUTS, unit="virtual ticks",
                 doc="Distance of the output's pulses on the virtual clock, from 8 up; 0 is off."),
        Register(name="sync_next", shape=64, count=SYNC_OUTPUTS, unit="virtual ticks",
                 doc="Virtual time of the first pulse; writing it (re)starts the output. Setting "
                 "the virtual clock, by the host or in ACQUIRE, stops it."),
        Register(name="sync_width", count=SYNC_OUTPUTS, init=125, unit="ticks",
                 doc="Length of a pulse."),
        *sticky_registers(TimingFlags),
    ),
)
