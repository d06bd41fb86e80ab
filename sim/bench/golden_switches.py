"""A golden node with golden switches behind its registers, for tests of the host.

Each piece of traffic takes :data:`TRAFFIC_TICKS`, in which the models run tick by tick, with a
plant of switches between drives and monitors.
"""

from quantacore.gateware.layouts.identity import Capabilities
from quantacore.gateware.layouts.switches import (
    DRIVE_BITS,
    MONITOR_BITS,
    ROUTE_BITS,
    RefusedRequest,
    RouteLoading,
    SwitchAction,
    SwitchControl,
    SwitchFlags,
    SwitchSizes,
    SwitchStatus,
)
from quantacore.sim.golden.endpoint import GoldenEndpoint
from quantacore.sim.golden.switches import RouteTableModel, SwitchesModel
from quantacore.sim.photonics.switches import MachZehnder, SwitchPlant

__all__ = ["TRAFFIC_TICKS", "GoldenSwitchesEndpoint"]

#: Ticks that pass with each piece of traffic.
TRAFFIC_TICKS = 25
_FLAGS = [name for name, _ in SwitchFlags.as_shape()]


class GoldenSwitchesEndpoint(GoldenEndpoint):
    """A golden endpoint whose node has switches.

    Parameters
    ----------
    plant : SwitchPlant, optional
        Eight thermo-optic Mach-Zehnder interferometers by default.

    Attributes
    ----------
    level, emergency
        The sequencer's route, and the emergency input.
    """

    def __init__(self, plant=None, **options):
        self.plant = plant or SwitchPlant([MachZehnder(time_constant_ticks=40)] * 8)
        self.switches = len(self.plant.devices)
        super().__init__(**options)
        self.on_write = self._written

    def reset(self):
        """As of a node; no route is known."""
        super().reset()
        self.set("identity.capabilities", self.get("identity.capabilities")
                 | 1 << Capabilities.as_shape()["switches"].offset)
        self.level, self.emergency = 0, False
        self.table = RouteTableModel(self.switches)
        self.unit = SwitchesModel(switches=self.switches, routes=self.table.routes,
                                   timeout=self.get("switches.timeout"),
                                   debounce=self.get("switches.debounce"))
        self.readings = self.plant.step(self.unit.drives, 0)
        self.armed = None
        self._late = self._emergencies = 0
        self._next = {}
        self._flagged, self._events = dict.fromkeys(_FLAGS, 0), None
        self.set("switches.sizes", SwitchSizes.const({
            "switches": self.switches, "routes_log2": ROUTE_BITS, "drive_bits": DRIVE_BITS,
            "monitor_bits": MONITOR_BITS}).as_bits())

    @property
    def settling(self):
        """Whether attempts wait for a route."""
        return self.unit.state.name not in ("OFF", "HOLDING")

    # Time.

    def feed(self, data):
        self.step(TRAFFIC_TICKS)
        return super().feed(data)

    def step(self, ticks):
        """Let time pass."""
        for _ in range(ticks):
            self.tick = self.tick + 1
            inputs, self._next = self._next, {}
            if self.armed is not None and self.tick >= self.armed[0]:
                inputs["timed"], inputs["late"] = self.get("switches.start_route"), self.armed[1]
                self._late += self.armed[1]
                self.armed = None
            before = self.unit.state
            self.readings = self.plant.step(self.unit.drives)
            self.unit.tick(level=self.level, emergency=self.emergency, monitors=self.readings,
                            **inputs)
            self._emergencies += (before.name != "EMERGENCY"
                                  and self.unit.state.name == "EMERGENCY")
            self._raise_flags()

    def _raise_flags(self):
        unit = self.unit
        events = (sum(unit.stuck), unit.counts.failovers, unit.faults, unit.counts.refused,
                  self._late, self.table.refused, self._emergencies)
        if events == self._events:
            return
        self._events = events
        counts = {f"stuck_{k}": number for k, number in enumerate(unit.stuck)} | {
            "failed_over": unit.counts.failovers, "fault": unit.faults,
            "refused": unit.counts.refused, "late": self._late,
            "load_refused": self.table.refused, "emergency": self._emergencies}
        for bit, name in enumerate(_FLAGS):
            new = counts.get(name, 0) - self._flagged[name]
            if new > 0:
                flags = self.get("switches.flags")
                if not flags >> bit & 1:
                    self.set("switches.flags", flags | 1 << bit)
                    self.set("switches.flag_times", self.tick, bit)
                self.set("switches.flag_counts", self.get("switches.flag_counts", bit) + new, bit)
            self._flagged[name] = counts.get(name, 0)

    # Registers.

    def get(self, name, index=0):
        block, _, register = name.partition(".")
        show = getattr(self, f"_show_{register}", None) if block == "switches" else None
        return super().get(name, index) if show is None else show(index)

    def _show_status(self, _index):
        unit = self.unit
        return SwitchStatus.const({
            "state": unit.state, "settling": self.settling,
            "route": unit.present, "there": unit.there, "armed": self.armed is not None,
            "failed_over": unit.failed_over and unit.there, "requested": unit.requested,
            "out": sum(1 << k for k in unit.out_now())}).as_bits()

    def _show_drives(self, index):
        return self.unit.drives[index] if index < self.switches else 0

    def _show_monitors(self, index):
        return self.readings[index] if index < self.switches else 0

    def _show_loaded(self, _index):
        return self.table.loaded

    def _show_loading(self, _index):
        return RouteLoading.const({"active": self.table.loading is not None,
                                   "route": self.table.loading or 0}).as_bits()

    def _show_table_readback(self, _index):
        return self.table.readback() or 0

    def _show_settle_last(self, _index):
        return self.unit.settle_last

    def _show_settle_max(self, _index):
        return self.unit.settle_max

    def _show_refused_last(self, _index):
        route, reason = self.unit.refused_last
        return RefusedRequest.const({"route": route, "reason": reason}).as_bits()

    def __getattr__(self, name):
        # The counts have the registers' names.
        if name.startswith("_show_") and "unit" in vars(self):
            count = name.removeprefix("_show_")
            if hasattr(self.unit.counts, count):
                return lambda _index: getattr(self.unit.counts, count)
        raise AttributeError(name)

    def _written(self, name, index, value):
        block, _, register = name.partition(".")
        if block != "switches":
            if (others := getattr(super(), "_written", None)) is not None:
                others(name, index, value)
        elif register == "control":
            control = SwitchControl.from_bits(value)
            for part in ("enable", "failover", "hold"):
                setattr(self.unit, part, bool(getattr(control, part)))
        elif register == "action":
            action = SwitchAction.from_bits(value)
            self._next.update({part: True for part in ("park", "clear") if getattr(action, part)})
            if action.disarm:
                self.armed = None
            if action.clear_counts:
                self.unit.clear_counts()
                self._flagged.update(refused=0, failed_over=0)
        elif register == "request":
            self._next["host"] = value
        elif register == "start_time":
            self.armed = (value, value <= self.tick)
        elif register in ("timeout", "debounce"):
            setattr(self.unit, register, value)
        elif register == "safe" and index < self.switches:
            self.unit.safe[index] = value
        elif register in ("load", "table_address", "table_data"):
            getattr(self.table, {"load": "load", "table_address": "address",
                                 "table_data": "word"}[register])(value)
