"""Registers of the clock: ticks, triggers, the disciplined virtual clock, synchronisation outputs.

The virtual clock counts nominal ticks. Each fabric tick it advances by ``1 + rate * 2**-44``,
where ``rate`` is a signed 32-bit word (range +-122 ppm, step 0.057 ppt); a proportional-integral
loop steers ``rate`` so that the reference's edges fall on multiples of ``period``.
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from quantacore.gateware.layouts.registers import Access, Block, Register, sticky_registers

__all__ = ["RATE_FRACTION_BITS", "TRIGGERS", "SYNC_OUTPUTS", "LoopState", "Reference",
           "TimingControl", "LoopGains", "TimingFlags", "TIMING"]

#: The rate word counts 2**-44 virtual ticks per tick.
RATE_FRACTION_BITS = 44
#: Timed triggers.
TRIGGERS = 4
#: Periodic synchronisation outputs.
SYNC_OUTPUTS = 2


class LoopState(enum.Enum, shape=3):
    """What the discipline loop is doing."""

    #: Not disciplined; the virtual clock runs at the rate word as the host wrote it.
    FREE = 0
    #: Waiting for the first reference edge, on which the virtual clock's phase is set.
    ACQUIRE = 1
    #: Steering; the phase error is not yet within the lock threshold.
    PULL_IN = 2
    LOCKED = 3
    #: The reference is missing; the rate is held.
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

    At each reference edge with phase error ``e`` (fine units, positive if the virtual clock is
    late) the integral part of the rate grows by ``e * 2**(31 - integral)`` and the rate is the
    integral part plus ``e * 2**(31 - proportional)``, in units of ``2**-RATE_FRACTION_BITS``
    per tick; both saturate.
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
    #: The loop left LOCKED.
    lock_lost: 1
    #: A trigger was armed for a tick that was past; it fired at once.
    trigger_late: 1
    #: The rate word hit its limit.
    rate_limited: 1


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
                 unit="2^-44 virtual ticks per tick", doc="Rate word at the snapshot."),
        Register(name="control", shape=TimingControl, doc="Switches."),
        Register(name="gains", shape=LoopGains, doc="Gains of the loop.",
                 init=0x2C_1D_28_1A),
        Register(name="period", shape=64, init=125_000_000, unit="ticks",
                 doc="Nominal distance of two reference edges, after the divider."),
        Register(name="divider", init=1,
                 doc="Every so many edges of the reference count (1 for PPS)."),
        Register(name="window", init=125_000, unit="ticks",
                 doc="A reference edge is accepted so far from where it is expected."),
        Register(name="lock_threshold", init=8192, unit="fine units",
                 doc="LOCKED while phase errors stay within this."),
        Register(name="lock_count", shape=8, init=8, unit="edges",
                 doc="Edges in a row within (or outside) the threshold that change LOCKED."),
        Register(name="rate_write", shape=signed(32), access=Access.WRITE_ONLY,
                 unit="2^-44 virtual ticks per tick",
                 doc="Set the rate word (and the loop's integral part)."),
        Register(name="virtual_load", shape=64, access=Access.WRITE_ONLY, unit="virtual ticks",
                 doc="Set the virtual clock's whole part; the fraction becomes 0."),
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
                 doc="Reference edges that did not come."),
        Register(name="holdover_ticks", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="How long the present hold-over has lasted; 0 when there is none."),
        Register(name="trigger_time", shape=64, count=TRIGGERS, unit="ticks",
                 doc="When each trigger fires. Writing the high word arms it."),
        Register(name="trigger_armed", shape=TRIGGERS, access=Access.READ_ONLY,
                 doc="One bit per trigger that has not fired yet."),
        Register(name="trigger_disarm", shape=TRIGGERS, access=Access.WRITE_ONLY,
                 doc="Ones disarm triggers."),
        Register(name="sync_period", shape=64, count=SYNC_OUTPUTS, unit="virtual ticks",
                 doc="Distance of the output's pulses on the virtual clock; 0 is off."),
        Register(name="sync_next", shape=64, count=SYNC_OUTPUTS, unit="virtual ticks",
                 doc="Virtual time of the first pulse; writing it (re)starts the output."),
        Register(name="sync_width", count=SYNC_OUTPUTS, init=125, unit="ticks",
                 doc="Length of a pulse."),
        *sticky_registers(TimingFlags),
    ),
)
