"""The whole sequencer, Verilated, driven through its registers as a host does."""

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.firmware import Image, assemble, prove, upload_words
from quantacore.gateware.csr import CsrSignature
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    SEQUENCER,
    SequencerAction,
    SequencerState,
    SequencerStatus,
    SlotCommand,
    SlotState,
    SlotStatus,
)
from quantacore.gateware.sequencer.unit import SequencerUnit
from quantacore.gateware.timing.counter import TickCounter
from quantacore.sim.bench.csr_replay import ReplayRegisters
from quantacore.sim.bench.replay import Replay

__all__ = ["TickingSequencer", "SequencerBench"]


class TickingSequencer(wiring.Component):
    """A sequencer with a tick counter, and its outputs as plain vectors.

    Parameters
    ----------
    channels : int

    Members
    -------
    csr : In(CsrSignature)
    emergency : In(1), triggers : In(8)
    tick : Out(64)
    ttl : Out(16), route : Out(8)
    samples : Out(16 * channels)
    issued : Out(1), word : Out(64), a, b : Out(32)
        The command bus.
    """

    def __init__(self, *, channels):
        self.unit = SequencerUnit(channels=channels)
        super().__init__({
            "csr": In(CsrSignature(self.unit.csr.signature.address_width)),
            "emergency": In(1), "triggers": In(8), "tick": Out(64),
            "ttl": Out(16), "route": Out(8), "samples": Out(16 * channels),
            "issued": Out(1), "word": Out(64), "a": Out(32), "b": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.counter = counter = TickCounter()
        wiring.connect(m, wiring.flipped(self.csr), unit.csr)
        command = unit.commands.payload
        m.d.comb += [
            unit.tick.eq(counter.tick), self.tick.eq(counter.tick),
            unit.emergency.eq(self.emergency), unit.triggers.eq(self.triggers),
            self.ttl.eq(unit.ttl), self.route.eq(unit.route),
            self.samples.eq(Cat(unit.samples)), unit.records.ready.eq(1),
            self.issued.eq(unit.commands.valid), self.word.eq(command.word),
            self.a.eq(command.a), self.b.eq(command.b),
        ]
        return m


class SequencerBench:
    """Loads programs and runs them.

    Parameters
    ----------
    channels : int
        Pulse channels of the build.
    """

    def __init__(self, *, channels=CHANNELS):
        self.channels = channels
        self.replay = Replay(TickingSequencer(channels=channels), f"sequencer_{channels}")
        self.registers = ReplayRegisters(self.replay, SEQUENCER)

    def restart(self):
        """Reset it; what is in its memories stays, but no slot is valid."""
        self.replay.set("rst", 1)
        self.replay.step(2)
        self.replay.set("rst", 0)
        self.replay.step(20)

    def load(self, source, *, slot=0):
        """Assemble (text, or an ``Assembly``), prove, load, activate; return that and the proof."""
        assembly = assemble(source) if isinstance(source, str) else source
        proof = prove(assembly)
        proof.check()
        upload = upload_words(Image.from_assembly(assembly, proof), slot)
        write = self.registers.write
        write("slot", SlotCommand.const({"begin": 1, "slot": slot}).as_bits())
        for address, words in upload.bursts:
            write("load_address", address)
            for word in words:
                write("load_data", word)
        write("slot_words", upload.words)
        write("slot_crc", upload.crc)
        write("slot", SlotCommand.const({"commit": 1, "slot": slot}).as_bits())
        state = SlotStatus.from_bits(self.registers.read("slots")).state[slot]
        if SlotState(state) is not SlotState.VALID:
            raise RuntimeError(f"The image became {SlotState(state).name}, not VALID")
        write("slot", SlotCommand.const({"activate": 1, "slot": slot}).as_bits())
        return assembly, proof

    def action(self, **fields):
        self.registers.write("action", SequencerAction.const(fields).as_bits())

    def state(self):
        return SequencerState(
            SequencerStatus.from_bits(self.registers.read("status")).state)

    def record(self, clocks, outputs, *, valid=None):
        """Outputs in the clocks that come, while ``valid`` is high.

        Returns
        -------
        ticks : (n,) int64
        columns : dict
            By name: (n,) uint32, or (n, pieces) where an output has more than 32 bits.
        """
        names = ["tick", *outputs]
        _, values = self.replay.run(np.zeros((clocks, 0), np.uint32), [], names, valid=valid)
        columns, at = {}, 0
        for name in names:
            pieces = self.replay.words(name)
            columns[name] = values[:, at] if pieces == 1 else values[:, at:at + pieces]
            at += pieces
        tick = columns.pop("tick").astype(np.int64)
        return tick[:, 0] + (tick[:, 1] << 32), columns
