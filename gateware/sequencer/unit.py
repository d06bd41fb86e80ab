"""The sequencer as a block of a node: registers, images, engine, channels, outputs."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.layouts.decoder import BASES, DecoderShape
from quantacore.gateware.layouts.herald import CELLS, SITES
from quantacore.gateware.layouts.instructions import (
    PROGRAM_DEPTH,
    REGISTERS,
    Fault,
    Op,
    SynWord,
    isa_crc,
)
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    ENVELOPE_POINTS,
    PEERS,
    SAMPLE_BITS,
    SEQUENCER,
    SLOTS,
    TRIGGER_INPUTS,
    TTL_LINES,
    WAVES,
    SequencerFlags,
    SequencerState,
)
from quantacore.gateware.ram import RAM
from quantacore.gateware.sequencer.channels import Channels
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.sequencer.engine import Engine
from quantacore.gateware.sequencer.marks import Marks
from quantacore.gateware.sequencer.outputs import Outputs
from quantacore.gateware.sequencer.slots import Slots
from quantacore.gateware.sequencer.syndrome import SyndromePort
from quantacore.gateware.stream import connect_streams
from quantacore.gateware.telemetry.sticky import StickyFlags
from quantacore.gateware.timing.triggers import Trigger

__all__ = ["SequencerUnit"]


class SequencerUnit(wiring.Component):
    """The pulse sequencer behind registers.

    Outputs are safe after a reset of the node, in an emergency, and, but for lines and channels
    that are to hold, when no program runs.

    Parameters
    ----------
    channels : int
        Pulse channels, 1 to 8.
    decoder : DecoderShape or None
        The decoder that ``SYN`` and ``DEC`` talk to.
    herald : bool
        Whether a herald unit is there for ``ARM``, ``BRH`` and ``LDT``.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.sequencer.SEQUENCER`.
    tick : In(64)
        Tick counter.
    emergency : In(1)
        The emergency stop's pin. What it does stays until the host releases it.
    triggers, peers, barrier, verdict_valid, verdict, delta, clicked, sites, herald_frame, attempt
        See :class:`~quantacore.gateware.sequencer.engine.Engine`.
    frame, frame_valid, frame_last : In
        The decoder's Pauli frames, as for the engine.
    commands : Out(stream of Command)
        Every instruction, COMMAND_LATENCY ticks after its own.
    running : Out(1)
        A program runs, or waits for its start time.
    in_emergency : Out(1)
        From ``emergency``, or the host's, until the host's release.
    ttl : Out(16), route : Out(8)
        See :class:`~quantacore.gateware.sequencer.outputs.Outputs`.
    samples : Out(signed(16)).array(channels)
        See :class:`~quantacore.gateware.sequencer.channels.Channels`.
    records : Out(stream of 64-bit records)
        Marks.
    rounds : Out(stream of rounds)
        With a decoder only: rounds that ``SYN`` pushed.
    """

    def __init__(self, *, channels=CHANNELS, decoder=None, herald=False):
        if not isinstance(decoder, DecoderShape | None):
            raise TypeError(f"decoder must be a DecoderShape or None, not {decoder!r}")
        self._channels = Channels(channels=channels)
        self.channels = channels
        self.decoder = decoder
        self.herald = bool(herald)
        self.bank = RegisterBank(SEQUENCER)
        super().__init__({
            "csr": In(CsrSignature(len(self.bank.bus.address))),
            "tick": In(64),
            "emergency": In(1),
            "triggers": In(TRIGGER_INPUTS), "peers": In(PEERS), "barrier": Out(1),
            "verdict_valid": In(1), "verdict": In(4), "delta": In(signed(32)),
            "clicked": In(CELLS), "sites": In(2 * SITES), "herald_frame": In(8),
            "attempt": In(32),
            "frame": In(8).array(BASES), "frame_valid": In(BASES), "frame_last": In(BASES),
            "commands": Out(stream.Signature(Command, always_ready=True)), "running": Out(1),
            "in_emergency": Out(1),
            "ttl": Out(TTL_LINES), "route": Out(8),
            "samples": Out(signed(SAMPLE_BITS)).array(channels),
            "records": Out(stream.Signature(64)),
            **({} if decoder is None else {
                "rounds": Out(stream.Signature(decoder.round_word, always_ready=True))}),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.engine = engine = Engine()
        m.submodules.channels = channels = self._channels
        m.submodules.outputs = outputs = Outputs()
        m.submodules.slots = slots = Slots(channels=self.channels)
        m.submodules.marks = marks = Marks()
        m.submodules.program = program = RAM(width=64, depth=SLOTS * PROGRAM_DEPTH)
        m.submodules.start_trigger = trigger = Trigger()
        m.submodules.flags = flags = StickyFlags(len(SequencerFlags.as_shape().members))
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        connect_streams(m, marks.records, wiring.flipped(self.records))

        # Strobes of the bank come straight from its address decoder.
        action = Signal.like(bank.action)
        m.d.sync += Value.cast(action).eq(
            Mux(bank.action_written, Value.cast(bank.action), 0))
        m.d.sync += [
            flags.clear.eq(bank.flags_clear),
            outputs.write.eq(bank.ttl_write_written),
            outputs.write_value.eq(bank.ttl_write.value),
            outputs.write_mask.eq(bank.ttl_write.mask),
            outputs.route_write.eq(bank.route_write_written),
            outputs.route_value.eq(bank.route_write),
            slots.address_valid.eq(bank.load_address_written),
            slots.address.eq(bank.load_address),
            slots.word_valid.eq(bank.load_data_written), slots.word.eq(bank.load_data),
            slots.command_valid.eq(bank.slot_written), slots.command.eq(bank.slot),
            engine.preset.eq(Cat(bank.preset_written).any()),
            engine.preset_value.eq(bank.preset[0]),
        ]
        for i in range(REGISTERS):
            with m.If(bank.preset_written[i]):
                m.d.sync += engine.preset_index.eq(i)

        # Emergency: from the pin or from the host, until the host releases it.
        stopped = Signal()
        emergency_now = self.emergency | action.emergency
        with m.If(emergency_now):
            m.d.sync += stopped.eq(1)
        with m.Elif(action.release):
            m.d.sync += stopped.eq(0)
        emergency = Signal()
        m.d.comb += [emergency.eq(stopped | emergency_now), self.in_emergency.eq(emergency)]

        # Start. What plays is chosen at the start, and stays whatever becomes of the slots.
        start, waits = Signal(), Signal()
        playing = Signal(range(SLOTS))
        with m.If(~engine.running & ~start):
            m.d.sync += playing.eq(slots.status.active)
        can_start = slots.ready & ~engine.running & ~start & ~emergency
        m.d.sync += start.eq(action.start & can_start)
        with m.If(action.start):
            m.d.sync += waits.eq(action.timed)
        was_armed, holds = Signal(), Signal()
        with m.If(start):
            m.d.sync += holds.eq(waits)
        with m.Elif(engine.release | ~engine.running):
            m.d.sync += holds.eq(0)
        ahead = Signal(64)
        m.d.sync += [was_armed.eq(engine.armed), ahead.eq(self.tick + 3)]
        m.d.comb += [
            engine.tick.eq(self.tick), engine.start.eq(start), engine.timed.eq(waits),
            engine.start_pc.eq(bank.start_pc),
            trigger.ahead.eq(ahead), trigger.time.eq(bank.start_time),
            trigger.arm.eq(engine.armed & ~was_armed), trigger.disarm.eq(~engine.armed),
            engine.release.eq(trigger.fire & ~trigger.late),
        ]
        start_late = trigger.fire & trigger.late
        m.d.comb += [
            engine.stop.eq(action.stop | action.reset | emergency | start_late | slots.reverted),
            engine.clear.eq(action.reset),
        ]

        # The program's memory.
        m.d.comb += [
            program.write.eq(slots.program.valid),
            program.write_address.eq(Cat(slots.program.payload.index,
                                         slots.program.payload.slot)),
            program.write_data.eq(slots.program.payload.word),
            program.read.eq(engine.read), program.read_address.eq(Cat(engine.address, playing)),
            engine.data.eq(program.read_data),
        ]
        connect_streams(m, slots.waves, channels.waves)
        connect_streams(m, slots.points, channels.points)

        # The world.
        m.d.comb += [
            engine.triggers.eq(self.triggers), engine.peers.eq(self.peers),
            self.barrier.eq(engine.barrier), self.running.eq(engine.running),
            engine.verdict_valid.eq(self.verdict_valid), engine.verdict.eq(self.verdict),
            engine.delta.eq(self.delta),
            engine.clicked.eq(self.clicked), engine.sites.eq(self.sites),
            engine.herald_frame.eq(self.herald_frame), engine.attempt.eq(self.attempt),
            engine.frame_valid.eq(self.frame_valid), engine.frame_last.eq(self.frame_last),
        ]
        for basis in range(BASES):
            m.d.comb += engine.frame[basis].eq(self.frame[basis])

        # Commands.
        followers = [channels.commands, outputs.commands, marks.commands]
        if self.decoder is not None:
            m.submodules.syndrome = syndrome = SyndromePort(self.decoder)
            followers.append(syndrome.commands)
            m.d.comb += syndrome.erased.eq(self.sites[SITES:])
            connect_streams(m, syndrome.rounds, wiring.flipped(self.rounds))
        for follower in (self.commands, *followers):
            m.d.comb += [follower.valid.eq(engine.command.valid),
                         follower.payload.eq(engine.command.payload)]
        m.d.comb += [channels.tick.eq(self.tick), channels.slot.eq(playing),
                     marks.tick.eq(self.tick), marks.clear.eq(action.clear)]

        # At rest, and in an emergency.
        resting, was_running, was_emergency = Signal(init=1), Signal(), Signal()
        m.d.sync += [was_running.eq(engine.running), was_emergency.eq(emergency)]
        over = was_running & ~engine.running
        faulted = over & (engine.fault != Fault.NONE)
        emergency_begins = emergency & ~was_emergency
        with m.If(start):
            m.d.sync += resting.eq(0)
        with m.Elif(over | action.reset):
            m.d.sync += resting.eq(1)
        m.d.comb += [
            outputs.rest.eq(over | action.reset), outputs.emergency.eq(emergency),
            outputs.safe.eq(bank.ttl_safe), outputs.hold.eq(bank.ttl_hold),
            outputs.fast.eq(bank.ttl_fast), outputs.route_safe.eq(bank.route_safe),
            self.ttl.eq(outputs.ttl), self.route.eq(outputs.route),
            channels.silence.eq(~bank.channel_hold & resting.replicate(CHANNELS)
                                | emergency.replicate(CHANNELS)),
        ]
        for k in range(self.channels):
            m.d.comb += [
                channels.offset_safe[k].eq(bank.offset_safe[k]),
                # At once: what is in the channel's pipeline takes its time.
                self.samples[k].eq(Mux(emergency, bank.offset_safe[k], channels.samples[k])),
            ]

        # Slots.
        failed = Signal()
        m.d.sync += failed.eq(emergency_begins | action.reset | faulted)
        m.d.comb += [
            slots.words.eq(bank.slot_words), slots.crc.eq(bank.slot_crc),
            slots.trial_ticks.eq(bank.trial_ticks), slots.running.eq(engine.running),
            slots.failed.eq(failed),
            Value.cast(bank.slots).eq(Value.cast(slots.status)),
            bank.slot_loaded.eq(slots.loaded),
        ]
        for i in range(SLOTS):
            m.d.comb += bank.slot_image[i].eq(slots.images[i])

        # What the host sees.
        status = bank.status
        m.d.comb += [
            status.fault.eq(engine.fault), status.pc.eq(engine.pc),
            status.slot.eq(slots.status.active), status.trial.eq(slots.status.trial),
            status.active.eq(channels.active),
        ]
        with m.If(emergency):
            m.d.comb += status.state.eq(SequencerState.EMERGENCY)
        with m.Elif(engine.running & holds):
            m.d.comb += status.state.eq(SequencerState.ARMED)
        with m.Elif(engine.running):
            m.d.comb += status.state.eq(SequencerState.RUNNING)
        with m.Elif(engine.fault != Fault.NONE):
            m.d.comb += status.state.eq(SequencerState.FAULT)
        with m.Elif(engine.halted):
            m.d.comb += status.state.eq(SequencerState.HALTED)

        issued, pulses, begun = Signal(64), Signal(48), Signal(range(CHANNELS + 1))
        m.d.sync += [
            issued.eq(issued + engine.command.valid), begun.eq(sum(channels.begun)),
            pulses.eq(pulses + begun),
        ]
        with m.If(action.clear):
            m.d.sync += [issued.eq(0), pulses.eq(0)]
        data_index, data_value = Signal(range(REGISTERS)), Signal(32)
        m.d.sync += [data_index.eq(bank.data_address), data_value.eq(engine.data_value)]
        m.d.comb += [
            engine.data_index.eq(data_index), bank.data_data.eq(data_value),
            bank.started.eq(engine.started), bank.stopped.eq(engine.stopped),
            bank.halt_code.eq(engine.halt_code), bank.waited.eq(engine.waited),
            bank.issued.eq(issued), bank.pulses.eq(pulses),
            bank.marks.eq(marks.asked), bank.marks_lost.eq(marks.lost),
            bank.ttl.eq(outputs.ttl), bank.route.eq(outputs.route),
            bank.inputs.eq(self.triggers), bank.isa.eq(isa_crc()),
            bank.sizes.channels.eq(self.channels),
            bank.sizes.program_log2.eq(exact_log2(PROGRAM_DEPTH)),
            bank.sizes.waves_log2.eq(exact_log2(WAVES)),
            bank.sizes.envelope_log2.eq(exact_log2(ENVELOPE_POINTS)),
            bank.sizes.sample_bits.eq(SAMPLE_BITS),
            bank.sizes.decoder.eq(self.decoder is not None),
            bank.sizes.herald.eq(self.herald),
        ]

        syn_lost = Signal()
        if self.decoder is None:
            syn = SynWord(engine.command.payload.word)
            m.d.comb += syn_lost.eq(engine.command.valid & (syn.op == Op.SYN) & syn.push)
        events = {
            "fault": faulted, "overlap": channels.overlap.any(), "mark_lost": marks.overflow,
            "load_refused": slots.load_refused, "image_refused": slots.image_refused,
            "reverted": slots.reverted, "emergency": emergency_begins,
            "start_refused": action.start & ~can_start | slots.activate_refused,
            "start_late": start_late, "syndrome_lost": syn_lost,
        }
        # Registered: they come from far apart.
        raised = Signal(flags.number)
        m.d.sync += raised.eq(Cat(events[name] for name, _ in SequencerFlags.as_shape()))
        m.d.comb += [flags.now.eq(self.tick), flags.events.eq(raised), bank.flags.eq(flags.flags)]
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
