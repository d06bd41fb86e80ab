"""Contracts of streams: a merge loses nothing, keeps order, and is fair."""

from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.stream import Merge
from quantacore.sim.bench.formal import prove

_BITS = 4


class MergeContract(wiring.Component):
    """Each source counts what it sends; so does who receives."""

    def __init__(self):
        super().__init__({"valid": In(2), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.subject = subject = Merge(_BITS + 1)
        o = subject.o
        m.d.comb += o.ready.eq(self.ready)
        taken, payload_was, stalled, offered = Signal(), Signal.like(o.payload), Signal(), Signal(2)
        m.d.comb += taken.eq(o.valid & o.ready)
        waited = [Signal(2, name=f"waited_{k}") for k in range(2)]
        for k, i in enumerate(subject.i):
            sent = Signal(_BITS, name=f"sent_{k}")
            expected = Signal(_BITS, name=f"expected_{k}")
            m.d.comb += [i.valid.eq(self.valid[k]), i.payload.eq(Cat(sent, Const(k, 1)))]
            with m.If(i.valid & i.ready):
                m.d.sync += sent.eq(sent + 1)
            with m.If(taken & (o.payload[-1] == k)):
                m.d.comb += [Assert(o.payload[:-1] == expected), Assert(i.valid & i.ready)]
                m.d.sync += expected.eq(expected + 1)
            # Nothing between: what is sent is received in the same clock.
            m.d.comb += Assert(sent == expected)
            # Transfers of the other one while this one waits.
            with m.If(i.valid & ~i.ready & taken):
                m.d.sync += waited[k].eq(waited[k] + 1)
            with m.Elif(taken | ~i.valid):
                m.d.sync += waited[k].eq(0)
            m.d.comb += Assert(waited[k] <= 1)
            # A source keeps what it offers.
            m.d.sync += offered[k].eq(i.valid & ~i.ready)
            m.d.comb += Assume(~offered[k] | i.valid)
        m.d.sync += [payload_was.eq(o.payload), stalled.eq(o.valid & ~o.ready)]
        with m.If(stalled):
            m.d.comb += [Assert(o.valid), Assert(o.payload == payload_was)]
        m.d.comb += Assert(o.valid == self.valid.any())
        return m


def test_merge_loses_nothing_keeps_order_and_is_fair():
    # The state is two bits, and the contract's own counts wrap after 16 transfers.
    prove(MergeContract(), "merge_contract", depth=18, mode="bmc")
