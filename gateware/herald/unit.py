"""The herald unit as a block of a node: registers, tables, path, attempts, counts."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.herald.attempts import AttemptController
from quantacore.gateware.herald.path import HeraldPath
from quantacore.gateware.herald.peers import Peers
from quantacore.gateware.layouts.herald import (
    CELLS,
    DETECTORS,
    HERALD,
    PATTERNS,
    SITES,
    HeraldAddress,
    HeraldFlags,
    HeraldTable,
)
from quantacore.gateware.layouts.instructions import LdtWord
from quantacore.gateware.layouts.peer import PEER_PORTS, peer_word
from quantacore.gateware.layouts.sequencer import TRIGGER_INPUTS
from quantacore.gateware.layouts.tags import sample_word
from quantacore.gateware.ram import RAM
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.stream import connect_streams
from quantacore.gateware.telemetry.counters import CounterBank
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["HeraldUnit"]

_TABLES = len(HeraldTable)


class HeraldUnit(wiring.Component):
    """Windows, patterns and attempts behind registers.

    A click's word in tick s makes a verdict in tick s + 4; see
    :class:`~quantacore.gateware.herald.path.HeraldPath` and
    :class:`~quantacore.gateware.herald.attempts.AttemptController`.

    Parameters
    ----------
    channels, samples, fine
        See :class:`~quantacore.gateware.herald.path.HeraldPath`.
    lanes : int or None
        Data lines of the ports to peers: 1, 4 or 8; None leaves the ports out.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.herald.HERALD`.
    tick : In(64)
    detectors : In(sample_word).array(channels), reference : In(sample_word)
    commands : In(stream of Command), sequencer_running : In(1)
        From the sequencer: ``ARM``, ``LDT``.
    settling : In(1)
        A switch moves.
    verdict_valid : Out(1), verdict : Out(4), delta : Out(signed(32))
        To the sequencer.
    clicked : Out(32), sites : Out(16), frame : Out(8), attempt : Out(32)
        For its ``GET``. ``sites``: values low, erasures high.
    triggers : Out(8)
        To the sequencer's trigger inputs: an attempt starts.
    records : Out(stream of 64-bit records)
        Attempts and how they ended.
    peers_csr : In(CsrSignature), peer_i : In(peer_word).array(2), peer_o : Out(peer_word).array(2)
        With ``lanes`` only: registers of the block
        :data:`~quantacore.gateware.layouts.peer.PEERS`, and the lines from and to peers.
    """

    def __init__(self, *, channels=DETECTORS, samples, fine, lanes=None):
        self._path = HeraldPath(channels=channels, samples=samples, fine=fine)
        self.channels = channels
        self.samples = samples
        self.fine = fine
        self.lanes = lanes
        self._peers = None if lanes is None else Peers(lanes=lanes)
        self.bank = RegisterBank(HERALD)
        word = sample_word(samples, fine=fine)
        super().__init__({
            "csr": In(CsrSignature(len(self.bank.bus.address))),
            "tick": In(64),
            "detectors": In(word).array(channels), "reference": In(word),
            "commands": In(stream.Signature(Command, always_ready=True)),
            "sequencer_running": In(1), "settling": In(1),
            "verdict_valid": Out(1), "verdict": Out(4), "delta": Out(signed(32)),
            "clicked": Out(CELLS), "sites": Out(2 * SITES), "frame": Out(8), "attempt": Out(32),
            "triggers": Out(TRIGGER_INPUTS),
            "records": Out(stream.Signature(64)),
            **({} if lanes is None else {
                "peers_csr": In(CsrSignature(self._peers.address_width)),
                "peer_i": In(peer_word(lanes)).array(PEER_PORTS),
                "peer_o": Out(peer_word(lanes)).array(PEER_PORTS)}),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.path = path = self._path
        m.submodules.attempts = attempts = AttemptController()
        m.submodules.counts = counts = CounterBank(
            [1] * (CELLS + PATTERNS) + [3] * (3 * DETECTORS))
        m.submodules.flags = flags = StickyFlags(len(HeraldFlags.as_shape().members))
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        connect_streams(m, attempts.records, wiring.flipped(self.records))

        # Strobes of the bank come straight from its address decoder.
        action = Signal.like(bank.action)
        m.d.sync += Value.cast(action).eq(
            Mux(bank.action_written, Value.cast(bank.action), 0))

        # Tables. What was written is kept for the host to read back.
        m.submodules.written = written = RAM(width=32, depth=_TABLES << 8)
        address, word, writes = Signal(HeraldAddress), Signal(32), Signal()
        busy = Signal()
        m.d.sync += [word.eq(bank.table_data), writes.eq(bank.table_data_written)]
        with m.If(bank.table_address_written):
            m.d.sync += address.eq(bank.table_address)
        with m.Elif(writes):
            m.d.sync += address.index.eq(address.index + 1)
        place = Cat(address.index, Value.cast(address.table)[:_TABLES.bit_length() - 1])
        takes = writes & ~busy & (Value.cast(address.table) < _TABLES)
        m.d.comb += [
            busy.eq(path.busy | attempts.start),
            path.tables.valid.eq(takes), path.tables.payload.table.eq(address.table),
            path.tables.payload.index.eq(address.index), path.tables.payload.data.eq(word),
            written.write.eq(takes), written.write_address.eq(place), written.write_data.eq(word),
            written.read.eq(1), written.read_address.eq(place),
            bank.table_readback.eq(written.read_data),
        ]

        # Samples to verdict.
        m.d.comb += [
            Value.cast(path.reference).eq(Value.cast(self.reference)),
            path.control.eq(bank.control),
            path.reference_earliest.eq(bank.reference_earliest),
            path.reference_latest.eq(bank.reference_latest),
            path.start.eq(attempts.start), path.windows.eq(attempts.windows),
            path.abort.eq(attempts.abort_path), path.clear_frame.eq(action.clear_frame),
        ]
        for d in range(self.channels):
            m.d.comb += [Value.cast(path.detectors[d]).eq(Value.cast(self.detectors[d])),
                         path.dead_ticks[d].eq(bank.dead_ticks[d]),
                         attempts.clicks[d].eq(path.clicks[d])]
        ldt = LdtWord(self.commands.payload.word)
        m.d.comb += [path.first.eq(ldt.first), path.second.eq(ldt.second),
                     self.delta.eq(path.delta)]

        # Attempts.
        connect_streams(m, wiring.flipped(self.commands), attempts.commands)
        m.d.comb += [
            attempts.sequencer_running.eq(self.sequencer_running), attempts.tick.eq(self.tick),
            attempts.settling.eq(self.settling), attempts.control.eq(bank.control),
            attempts.codes.eq(bank.codes), attempts.clear.eq(action.clear),
            attempts.run.eq(action.run), attempts.abort.eq(action.abort),
        ]
        for name in ("attempts_limit", "time_limit", "reinitialise_after", "saturation_gate",
                     "saturation_clicks", "backoff"):
            m.d.comb += getattr(attempts, name).eq(getattr(bank, name))
        for name in ("decided", "outcome", "pattern", "code", "missing", "double", "clicked",
                     "activity"):
            m.d.comb += getattr(attempts, name).eq(getattr(path, name))
        for name in ("attempt", "attempts", "succeeded", "failed", "void_reference",
                     "void_aborted", "void_route", "void_peer", "refused", "records_lost"):
            m.d.comb += getattr(bank, name).eq(getattr(attempts, name))
        with m.If(bank.control.trigger & attempts.trigger):
            m.d.comb += self.triggers.bit_select(bank.control.trigger_line, 1).eq(1)
        m.d.comb += [
            self.verdict_valid.eq(attempts.verdict_valid), self.verdict.eq(attempts.verdict),
            self.clicked.eq(path.clicked), self.sites.eq(Cat(path.values, path.erased)),
            self.frame.eq(path.frame), self.attempt.eq(attempts.attempt),
            Value.cast(bank.status).eq(Value.cast(attempts.status)),
            bank.frame.eq(path.frame), bank.clicked.eq(path.clicked),
        ]

        # Peers.
        peer_lost = C(0)
        if self.lanes is not None:
            m.submodules.peers = peers = self._peers
            wiring.connect(m, wiring.flipped(self.peers_csr), peers.csr)
            wiring.connect(m, attempts.peers, peers.attempts)
            m.d.comb += [peers.tick.eq(self.tick), peers.role.eq(bank.control.role)]
            peer_lost = peers.lost
            for lines, i, o in zip(peers.lines, self.peer_i, self.peer_o, strict=True):
                m.d.comb += [lines.data_i.eq(i.data), lines.valid_i.eq(i.valid),
                             o.data.eq(lines.data_o), o.valid.eq(lines.valid_o)]

        # Counts, in the order of HeraldCount.
        increments = [*path.cells] + [0] * (CELLS - len(path.cells)) + [*path.patterns]
        for group in (path.stray, path.dead, path.clicks):
            increments += [group[d] if d < self.channels else 0 for d in range(DETECTORS)]
        m.d.comb += [
            *(port.eq(value) for port, value in zip(counts.increments, increments, strict=True)),
            counts.clear.eq(action.clear), counts.address.eq(bank.counts_address),
            counts.read.eq(bank.counts_read), bank.counts_data.eq(counts.data),
        ]

        # Flags.
        raised = Signal(HeraldFlags)
        m.d.sync += [raised.eq(attempts.events), raised.table_busy.eq(writes & ~takes),
                     raised.peer_lost.eq(peer_lost),
                     flags.clear.eq(bank.flags_clear)]
        m.d.comb += [flags.now.eq(self.tick), flags.events.eq(raised),
                     bank.flags.eq(flags.flags)]
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
