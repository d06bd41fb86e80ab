"""The time base with its inner signals on ports, so that tests can watch every clock."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.tags import sample_word
from quantacore.gateware.layouts.timing import SYNC_OUTPUTS, TRIGGERS, LoopState, TimingFlags
from quantacore.gateware.timing.unit import TimingUnit

__all__ = ["Telemetry", "TimingProbe"]


class Telemetry(data.Struct):
    """What the loop and the outputs show, in one vector that changes rarely."""

    state: LoopState
    phase_error: 32
    rate: 32
    reference_tick: 64
    reference_edges: 32
    reference_missed: 32
    flags: TimingFlags
    triggers: TRIGGERS
    sync: SYNC_OUTPUTS


class TimingProbe(wiring.Component):
    """A :class:`~quantacore.gateware.timing.unit.TimingUnit` to look into.

    Parameters
    ----------
    samples : int
    fine : bool

    Members
    -------
    csr, pps, clock, tick :
        Those of the unit.
    telemetry : Out(Telemetry)
    virtual : Out(108)
        The virtual clock in units of 2**-44.
    """

    def __init__(self, *, samples, fine):
        self.unit = TimingUnit(samples=samples, fine=fine)
        word = sample_word(samples, fine=fine)
        super().__init__({
            "csr": self.unit.signature.members["csr"],
            "pps": In(word),
            "clock": In(word),
            "tick": Out(64),
            "telemetry": Out(Telemetry),
            "virtual": Out(108),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        wiring.connect(m, wiring.flipped(self.csr), unit.csr)
        telemetry = self.telemetry
        m.d.comb += [
            unit.pps.eq(self.pps),
            unit.clock.eq(self.clock),
            self.tick.eq(unit.tick),
            self.virtual.eq(Cat(unit.virtual.fraction, unit.virtual.whole)),
            telemetry.state.eq(unit.loop.state),
            telemetry.phase_error.eq(unit.loop.phase_error),
            telemetry.rate.eq(unit.loop.rate),
            telemetry.reference_tick.eq(unit.loop.reference_tick),
            telemetry.reference_edges.eq(unit.loop.reference_edges),
            telemetry.reference_missed.eq(unit.loop.reference_missed),
            telemetry.flags.eq(unit.bank.flags),
            telemetry.triggers.eq(unit.triggers),
            telemetry.sync.eq(unit.sync),
        ]
        return m
