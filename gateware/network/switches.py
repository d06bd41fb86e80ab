"""The photonic switches as a block of a node."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.layouts.switches import (
    DRIVE_BITS,
    MAX_SWITCHES,
    MONITOR_BITS,
    ROUTE_BITS,
    SWITCHES,
    RouteState,
    SwitchFlags,
)
from quantacore.gateware.network.mover import RouteMover
from quantacore.gateware.network.routes import RouteTable
from quantacore.gateware.telemetry.sticky import StickyFlags
from quantacore.gateware.timing.triggers import Trigger

__all__ = ["SwitchUnit"]


class SwitchUnit(wiring.Component):
    """Photonic switches behind registers: routes, settle interlock, fail-over.

    After a reset drives are 0 and nothing is loaded; while ``control.enable`` is 0 drives have
    their safe codes, requests are refused, and ``settling`` is low.

    Parameters
    ----------
    switches : int
        1 to 8.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.switches.SWITCHES`. A write to
        ``request`` that is on the register bus in tick T is a request in T + 3.
    tick : In(64)
        Tick counter.
    route : In(8)
        The sequencer's. A change in tick u is a request in u.
    emergency : In(1)
        While it is high drives are safe, from SAFE_TICKS ticks later on. Then there is no route
        until the next request.
    monitors : In(16).array(switches)
        Power monitors, in the fabric clock's domain; each is compared in every tick.
    drives : Out(16).array(switches)
        Change CHANGE_TICKS ticks after a request, all in the same one. Registered.
    settling : Out(1)
        No attempt may start: from the very tick of a request until its route holds, and whenever
        there is none that does. Combinational from ``route`` and ``emergency``.
    state : Out(RouteState)
    """

    def __init__(self, *, switches=MAX_SWITCHES):
        self._mover = RouteMover(switches=switches)
        self.switches = switches
        self.bank = RegisterBank(SWITCHES)
        super().__init__({
            "csr": In(CsrSignature(len(self.bank.bus.address))),
            "tick": In(64), "route": In(8), "emergency": In(1),
            "monitors": In(MONITOR_BITS).array(switches),
            "drives": Out(DRIVE_BITS).array(switches),
            "settling": Out(1), "state": Out(RouteState),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.mover = mover = self._mover
        m.submodules.table = table = RouteTable(switches=self.switches)
        m.submodules.start = trigger = Trigger()
        m.submodules.flags = flags = StickyFlags(len(SwitchFlags.as_shape().members))
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)

        # Strobes of the bank come straight from its address decoder.
        action = Signal.like(bank.action)
        m.d.sync += [
            Value.cast(action).eq(Mux(bank.action_written, Value.cast(bank.action), 0)),
            flags.clear.eq(bank.flags_clear),
            mover.host.eq(bank.request_written), mover.host_route.eq(bank.request),
            table.load_valid.eq(bank.load_written), table.load.eq(bank.load),
            table.address_valid.eq(bank.table_address_written),
            table.address.eq(bank.table_address),
            table.word_valid.eq(bank.table_data_written), table.word.eq(bank.table_data),
        ]
        ahead = Signal(64)
        m.d.sync += ahead.eq(self.tick + 3)
        m.d.comb += [
            trigger.ahead.eq(ahead), trigger.time.eq(bank.start_time),
            trigger.arm.eq(bank.start_time_written), trigger.disarm.eq(action.disarm),
        ]

        # The mover.
        control = bank.control
        m.d.comb += [
            mover.enable.eq(control.enable), mover.failover.eq(control.failover),
            mover.hold.eq(control.hold), mover.timeout.eq(bank.timeout),
            mover.debounce.eq(bank.debounce), mover.emergency.eq(self.emergency),
            mover.level.eq(self.route), mover.timed.eq(trigger.fire), mover.late.eq(trigger.late),
            mover.timed_route.eq(bank.start_route), mover.clear.eq(action.clear),
            mover.park.eq(action.park),
            mover.idle.eq(table.idle), table.look.eq(mover.look), table.route.eq(mover.route),
            mover.known.eq(table.known), mover.found.eq(table.found),
            self.settling.eq(mover.settling), self.state.eq(mover.state),
        ]
        for k in range(self.switches):
            m.d.comb += [
                mover.safe[k].eq(bank.safe[k]), mover.monitors[k].eq(self.monitors[k]),
                self.drives[k].eq(mover.drives[k]),
                bank.drives[k].eq(mover.drives[k]), bank.monitors[k].eq(self.monitors[k]),
            ]

        # What the host sees.
        status = Signal.like(bank.status)
        m.d.sync += Value.cast(bank.status).eq(Value.cast(status))
        m.d.comb += [
            status.state.eq(mover.state), status.settling.eq(mover.settling),
            status.route.eq(mover.present), status.there.eq(mover.there),
            status.failed_over.eq(mover.failed_over & mover.there),
            status.armed.eq(trigger.armed), status.requested.eq(mover.requested),
            status.out.eq(mover.out),
            bank.loading.eq(table.loading), bank.loaded.eq(table.loaded),
            bank.table_readback.eq(table.readback),
            bank.sizes.switches.eq(self.switches), bank.sizes.routes_log2.eq(ROUTE_BITS),
            bank.sizes.drive_bits.eq(DRIVE_BITS), bank.sizes.monitor_bits.eq(MONITOR_BITS),
        ]
        for name, event in (("requests", mover.asked), ("superseded", mover.superseded),
                            ("changes", mover.changed), ("restarts", mover.restarted),
                            ("refused", mover.refused), ("failovers", mover.took_over)):
            number, total = Signal(len(event), name=f"{name}_now"), Signal(32, name=name)
            m.d.sync += [number.eq(event), total.eq(total + number)]
            with m.If(action.clear_counts):
                m.d.sync += total.eq(0)
            m.d.comb += getattr(bank, name).eq(total)
        with m.If(mover.refused):
            m.d.sync += [bank.refused_last.route.eq(mover.refused_route),
                         bank.refused_last.reason.eq(mover.reason)]
        settle_last, settle_max, fresh = Signal(32), Signal(32), Signal()
        m.d.sync += fresh.eq(mover.settled)
        with m.If(mover.settled):
            m.d.sync += settle_last.eq(mover.settle_ticks)
        with m.If(action.clear_counts):
            m.d.sync += settle_max.eq(0)
        with m.Elif(fresh & (settle_last > settle_max)):
            m.d.sync += settle_max.eq(settle_last)
        m.d.comb += [bank.settle_last.eq(settle_last), bank.settle_max.eq(settle_max)]

        was_emergency = Signal()
        m.d.sync += was_emergency.eq(self.emergency)
        events = {
            **{f"stuck_{k}": mover.stuck[k] for k in range(MAX_SWITCHES)},
            "failed_over": mover.took_over, "fault": mover.faulted, "refused": mover.refused,
            "late": trigger.fire & trigger.late, "load_refused": table.refused,
            "emergency": self.emergency & ~was_emergency,
        }
        # Registered: they come from far apart.
        raised = Signal(flags.number)
        m.d.sync += raised.eq(Cat(events[name] for name, _ in SwitchFlags.as_shape()))
        m.d.comb += [flags.now.eq(self.tick), flags.events.eq(raised), bank.flags.eq(flags.flags)]
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
