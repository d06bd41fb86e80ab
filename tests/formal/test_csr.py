"""The bus for ever: one answer for each request, at its time; never two registers at once."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.csr import LATENCY, CsrSignature
from quantacore.sim.bench.formal import prove
from quantacore.sim.bench.registers import EXAMPLE_MAP, RegisterExerciser


class BusContract(wiring.Component):
    """Any master that waits for ``done`` before it asks again."""

    bus: In(CsrSignature(16))
    raise_flags: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.subject = subject = RegisterExerciser(EXAMPLE_MAP)
        wiring.connect(m, wiring.flipped(self.bus), subject.bus)
        m.d.comb += subject.raise_flags.eq(self.raise_flags)

        request = Signal()
        # Requests of the last clocks, the latest in bit 0.
        history = Signal(LATENCY)
        m.d.comb += request.eq(self.bus.read | self.bus.write)
        m.d.sync += history.eq(Cat(request, history))
        m.d.comb += [
            Assume(~(self.bus.read & self.bus.write)),
            # `done` may be answered with the next request at once.
            Assume(~(request & history[:-1].any())),
            Assert(self.bus.done == history[-1]),
            Assert(subject.strobes <= 1),
            # What is written was asked for: the strobe of a write-only register comes 2 clocks
            # after a request at the decoder, of a read-write register 3.
            Assert((subject.strobes == 0) | history[1] | history[2]),
        ]
        return m


def test_every_request_is_answered_once_and_in_time():
    prove(BusContract(), "csr_contract", depth=LATENCY + 3)
