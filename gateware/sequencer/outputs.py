"""TTL lines and the photonic route: what holds them, and what makes them safe."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import Op, SetWord, SwitchWord
from quantacore.gateware.layouts.sequencer import DAC_LATENCY, TTL_LATENCY, TTL_LINES
from quantacore.gateware.sequencer.command import Command

__all__ = ["Outputs"]


class Outputs(wiring.Component):
    """Levels that instructions set, and that stay.

    They are apart from the engine: its reset does not reach them but as ``rest``.

    Members
    -------
    commands : In(stream of Command)
    rest : In(1)
        A program is over: lines take their safe level, but for those of ``hold``.
    emergency : In(1)
        All lines and the route are safe, at once and until it is low; then they stay so until they
        are set.
    safe, hold, fast : In(16)
        See the registers ``ttl_safe``, ``ttl_hold`` and ``ttl_fast``.
    route_safe : In(8)
    write : In(1), write_value, write_mask : In(16)
        Set lines by hand. An instruction that comes in the same clock prevails on its lines.
    route_write : In(1), route_value : In(8)
    ttl : Out(16)
        A fast line changes TTL_LATENCY ticks after its ``SET``, the others DAC_LATENCY ticks.
    route : Out(8)
        Changes TTL_LATENCY ticks after ``SWITCH``.
    """

    commands: In(stream.Signature(Command, always_ready=True))
    rest: In(1)
    emergency: In(1)
    safe: In(TTL_LINES)
    hold: In(TTL_LINES)
    fast: In(TTL_LINES)
    route_safe: In(8)
    write: In(1)
    write_value: In(TTL_LINES)
    write_mask: In(TTL_LINES)
    route_write: In(1)
    route_value: In(8)
    ttl: Out(TTL_LINES)
    route: Out(8)

    def elaborate(self, platform):
        m = Module()
        command = self.commands.payload
        op, set_, switch = command.word[:6], SetWord(command.word), SwitchWord(command.word)
        levels, level = Signal(TTL_LINES), Signal(TTL_LINES)
        mask = Signal(TTL_LINES)
        with m.If(self.commands.valid & (op == Op.SET.value)):
            m.d.comb += mask.eq(set_.mask)
        m.d.comb += level.eq(levels)
        with m.If(self.write):
            m.d.comb += level.eq((levels & ~self.write_mask)
                                 | (self.write_value & self.write_mask))
        m.d.sync += levels.eq((level & ~mask) | (set_.value & mask))
        with m.If(self.rest):
            m.d.sync += levels.eq((levels & self.hold) | (self.safe & ~self.hold))
        with m.If(self.emergency):
            m.d.sync += levels.eq(self.safe)

        # The others wait as long as a pulse does.
        late = levels
        for i in range(DAC_LATENCY - TTL_LATENCY):
            before, late = late, Signal(TTL_LINES, name=f"late_{i}")
            m.d.sync += late.eq(before)
            with m.If(self.emergency):
                m.d.sync += late.eq(self.safe)
        m.d.comb += self.ttl.eq(Mux(
            self.emergency, self.safe, (levels & self.fast) | (late & ~self.fast)))

        route = Signal(8)
        with m.If(self.route_write):
            m.d.sync += route.eq(self.route_value)
        with m.If(self.commands.valid & (op == Op.SWITCH.value)):
            m.d.sync += route.eq(Mux(switch.register, command.a, switch.route))
        with m.If(self.emergency):
            m.d.sync += route.eq(self.route_safe)
        m.d.comb += self.route.eq(Mux(self.emergency, self.route_safe, route))
        return m
