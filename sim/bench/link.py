"""A link with a few registers behind it, to be driven by tests."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrDecoder, RegisterBank
from quantacore.gateware.layouts.link import LINK
from quantacore.gateware.layouts.registers import Access, Block, Register, RegisterMap
from quantacore.gateware.link.link import Link
from quantacore.gateware.stream import connect_streams

__all__ = ["PLAIN", "BENCH_MAP", "LinkBench"]

#: One of everything that a register can be.
PLAIN = Block(
    name="plain",
    doc="Registers of a testbench.",
    registers=(
        Register(name="words", count=8, doc="Plain words."),
        Register(name="pair", shape=64, doc="Two words that change together."),
        Register(name="fixed", access=Access.READ_ONLY, doc="Reads the low tick at that time."),
        Register(name="shout", access=Access.WRITE_ONLY, doc="Write only."),
    ),
)

BENCH_MAP = RegisterMap(blocks=(PLAIN, LINK))


class LinkBench(wiring.Component):
    """A :class:`Link`, its registers, and the ``PLAIN`` block with a log of what is written.

    Members
    -------
    rx, tx, records, records_level
        Of the link.
    tick : Out(64)
        Counts from 0 at reset.
    bus_write, bus_address, bus_data
        The bus as the link drives it.
    shout : Out(32)
    shouted : Out(1)
        A word was written to ``plain.shout``.
    words : Out(256)
        ``plain.words``, the first in the low bits.
    pair : Out(64)
    """

    def __init__(self, *, buffer_depth=64):
        self.buffer_depth = buffer_depth
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "records": In(stream.Signature(64)),
            "records_level": Out(16),
            "tick": Out(64),
            "bus_write": Out(1),
            "bus_address": Out(16),
            "bus_data": Out(32),
            "shout": Out(32),
            "shouted": Out(1),
            "words": Out(256),
            "pair": Out(64),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = Link(buffer_depth=self.buffer_depth)
        m.submodules.decoder = decoder = CsrDecoder(BENCH_MAP)
        m.submodules.plain = plain = RegisterBank(PLAIN)
        wiring.connect(m, link.bus, decoder.bus)
        wiring.connect(m, decoder.plain, plain.bus)
        wiring.connect(m, decoder.link, link.csr)
        connect_streams(m, wiring.flipped(self.rx), link.rx)
        connect_streams(m, link.tx, wiring.flipped(self.tx))
        connect_streams(m, wiring.flipped(self.records), link.records)
        m.d.sync += self.tick.eq(self.tick + 1)
        m.d.comb += [
            link.tick.eq(self.tick),
            plain.fixed.eq(self.tick[:32]),
            self.records_level.eq(link.records_level),
            self.bus_write.eq(link.bus.write),
            self.bus_address.eq(link.bus.address),
            self.bus_data.eq(link.bus.w_data),
            self.shout.eq(plain.shout),
            self.shouted.eq(plain.shout_written),
            self.words.eq(Cat(*plain.words)),
            self.pair.eq(plain.pair),
        ]
        return m
