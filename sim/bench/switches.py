"""The switches' gateware, Verilated, driven through its registers and its ports."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature
from quantacore.gateware.layouts.switches import (
    SWITCHES,
    RouteAddress,
    RouteLoad,
    SwitchControl,
)
from quantacore.gateware.network.switches import SwitchUnit
from quantacore.gateware.timing.counter import TickCounter
from quantacore.sim.bench.csr_replay import ReplayRegisters
from quantacore.sim.bench.replay import Replay

__all__ = ["TickingSwitches", "SwitchBench"]


class TickingSwitches(wiring.Component):
    """Switches with a tick counter.

    Parameters
    ----------
    switches : int

    Members
    -------
    csr : In(CsrSignature)
    route : In(8), emergency : In(1), monitors : In(16).array(switches)
    tick : Out(64)
    drives : Out(16 * switches), settling : Out(1)
    """

    def __init__(self, *, switches):
        self.unit = SwitchUnit(switches=switches)
        super().__init__({
            "csr": In(CsrSignature(self.unit.csr.signature.address_width)),
            "route": In(8), "emergency": In(1), "monitors": In(16 * switches),
            "tick": Out(64), "drives": Out(16 * switches), "settling": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.counter = counter = TickCounter()
        wiring.connect(m, wiring.flipped(self.csr), unit.csr)
        m.d.comb += [
            unit.tick.eq(counter.tick), self.tick.eq(counter.tick), unit.route.eq(self.route),
            unit.emergency.eq(self.emergency), Cat(*unit.monitors).eq(self.monitors),
            self.drives.eq(Cat(*unit.drives)), self.settling.eq(unit.settling),
        ]
        return m


class SwitchBench:
    """Loads routes, requests them, and looks at what comes out, tick by tick.

    Parameters
    ----------
    switches : int
    """

    def __init__(self, switches):
        self.switches = switches
        self.replay = Replay(TickingSwitches(switches=switches), f"switches_{switches}")
        self.registers = ReplayRegisters(self.replay, SWITCHES)
        self.write, self.read = self.registers.write, self.registers.read
        self.step = self.replay.step

    @property
    def now(self):
        """The tick whose inputs can still be set."""
        return self.replay.get("tick")

    @property
    def settling(self):
        """In this tick."""
        return bool(self.replay.get("settling"))

    def drives(self):
        """Codes in this tick."""
        value = self.replay.get("drives")
        return tuple(value >> 16 * k & 0xFFFF for k in range(self.switches))

    def monitors(self, values):
        """Readings from this tick on."""
        self.replay.set("monitors", sum(value << 16 * k for k, value in enumerate(values)))

    def route(self, number):
        """The sequencer's route from this tick on."""
        self.replay.set("route", number)

    def emergency(self, level):
        """The emergency input from this tick on."""
        self.replay.set("emergency", level)

    def until(self, condition, most=10_000):
        """The first tick, from this one on, in which the condition holds."""
        for _ in range(most):
            # Outputs with the inputs that were just set.
            self.step(0)
            if condition():
                return self.now
            self.step()
        raise RuntimeError(f"It did not come in {most} ticks")

    def changes(self, ticks):
        """The tick in which each drive changes first, within so many ticks."""
        before, found = self.drives(), {}
        for _ in range(ticks):
            self.step()
            for k, (old, new) in enumerate(zip(before, self.drives(), strict=True)):
                if old != new:
                    found.setdefault(k, self.now)
        return list(found.values())

    def load(self, number, route):
        """Load a golden :class:`~quantacore.sim.golden.switches.Route`, and commit it."""
        self.write("load", RouteLoad.const({"begin": 1, "route": number}).as_bits())
        for word, value in sorted(route.words(self.switches).items()):
            self.write("table_address", RouteAddress.const(
                {"route": number, "word": word}).as_bits())
            self.write("table_data", value)
        self.write("load", RouteLoad.const({"commit": 1, "route": number}).as_bits())

    def enable(self, *, failover=True, hold=False):
        """Enable the switches."""
        self.write("control", SwitchControl.const(
            {"enable": 1, "failover": failover, "hold": hold}).as_bits())
