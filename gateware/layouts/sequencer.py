"""Registers of the sequencer, and what is loaded into it beside the program: waves, envelopes.

A *slot* holds a whole image: program, waves and envelopes. There are two, so that one can be
written while the other runs.
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from quantacore.gateware.layouts.instructions import REGISTERS, Fault
from quantacore.gateware.layouts.registers import (
    Access,
    Block,
    Memory,
    Register,
    sticky_registers,
)

__all__ = [
    "CHANNELS", "TTL_LINES", "TRIGGER_INPUTS", "PEERS", "SLOTS", "WAVES", "ENVELOPE_POINTS",
    "STEP_FRACTION_BITS", "SAMPLE_BITS", "PHASE_BITS", "TTL_LATENCY", "DAC_LATENCY",
    "START_TICKS", "MARK_DEPTH", "MARK_TICKS", "Wave", "LoadTarget", "SequencerLoadAddress",
    "SequencerState", "SequencerStatus", "SequencerAction", "SlotState", "SlotStatus",
    "SlotCommand", "SequencerSizes", "SequencerFlags", "SequencerRecordKind", "MarkRecord",
    "SEQUENCER",
]

#: Pulse channels that instructions can name.
CHANNELS = 8
#: TTL outputs.
TTL_LINES = 16
#: Trigger inputs of ``WAITTRIG``.
TRIGGER_INPUTS = 8
#: Peers of ``BARRIER``.
PEERS = 8
#: Images that the sequencer holds.
SLOTS = 2
#: Waves of a slot.
WAVES = 512
#: Envelope points of a channel in a slot: signed numbers, in units of 2**-15.
ENVELOPE_POINTS = 1024
#: Bits below one envelope point in :class:`Wave`'s step.
STEP_FRACTION_BITS = 24
#: Bits of an envelope point, an amplitude and an output sample.
SAMPLE_BITS = 16
#: Bits of a phase accumulator.
PHASE_BITS = 48
#: From an instruction's tick to the tick in which a fast TTL line has its new level.
TTL_LATENCY = 2
#: From an instruction's tick to the tick in which its sample is at a channel's output. TTL lines
#: that are not fast wait as long.
DAC_LATENCY = 18
#: From ``start_time`` to the first instruction's tick.
START_TICKS = 2
#: Marks that may wait for the record stream.
MARK_DEPTH = 64
#: Ticks in which a mark may be relied upon to leave, with an idle tagger.
MARK_TICKS = 4


class Wave(data.Struct):
    """How a pulse goes through a channel's envelope points.

    In tick n of its ``length`` (0: until the next pulse) a pulse has the envelope at
    ``base + n * step / 2**24`` points, linear between two points. Points are a ring of
    :data:`ENVELOPE_POINTS`.
    """

    step: 30
    base: 10
    length: 24


class LoadTarget(enum.Enum, shape=2):
    """Which memory of a slot is loaded."""

    #: Instructions, two words of ``load_data`` each, low one first.
    PROGRAM = 0
    #: :class:`Wave`, two words each.
    WAVES = 1
    #: Envelope points of a channel, two in a word, the even one low.
    ENVELOPE = 2


class SequencerLoadAddress(data.Struct):
    """Where the next words of ``load_data`` go."""

    #: Instruction, wave, or pair of envelope points.
    address: 16
    target: LoadTarget
    channel: 3
    reserved: 10
    slot: 1


class SequencerState(enum.Enum, shape=3):
    """What the sequencer is doing."""

    IDLE = 0
    #: Waits for ``start_time``.
    ARMED = 1
    RUNNING = 2
    #: A program came to its ``HALT``.
    HALTED = 3
    #: A program did what it may not; see the status' ``fault``.
    FAULT = 4
    #: The emergency stop is on.
    EMERGENCY = 5


class SequencerStatus(data.Struct):
    """State, and why."""

    state: SequencerState
    reserved: 1
    fault: Fault
    #: The instruction issued last, or the one that was refused.
    pc: 12
    #: Slot that a start runs.
    slot: 1
    #: That slot is on trial.
    trial: 1
    #: Channels with a pulse.
    active: CHANNELS


class SequencerAction(data.Struct):
    """Things to do, a bit each."""

    #: Start the program of the active slot at ``start_pc``.
    start: 1
    #: With ``start``: wait for ``start_time``.
    timed: 1
    #: Stop the program; outputs do as ``hold`` says.
    stop: 1
    #: Stop, and clear the data registers. Outputs do as ``hold`` says.
    reset: 1
    #: Stop, and put all outputs into their safe states until ``release``.
    emergency: 1
    release: 1
    #: Clear all counts of this block.
    clear: 1


class SlotState(enum.Enum, shape=3):
    """How far an image is."""

    EMPTY = 0
    #: Words are being loaded; a reset of the node makes EMPTY of it.
    WRITING = 1
    #: Length and CRC were right.
    VALID = 2
    #: They were not.
    REFUSED = 3
    #: It failed its trial.
    REJECTED = 4


class SlotStatus(data.Struct):
    """Both slots."""

    state: data.ArrayLayout(SlotState, SLOTS)
    #: Slot that a start runs.
    active: 1
    #: The active slot has not been confirmed.
    trial: 1


class SlotCommand(data.Struct):
    """What to do with a slot; of several, the first in this order."""

    #: Forget what is in the slot and take words for it.
    begin: 1
    #: All words are there: compare with ``slot_words`` and ``slot_crc``.
    commit: 1
    #: Run this slot from the next start on.
    activate: 1
    #: With ``activate``: go back to the other slot at a fault, an emergency stop, a reset of the
    #: sequencer, or when ``trial_ticks`` have passed without ``confirm``.
    trial: 1
    #: Keep the active slot.
    confirm: 1
    reserved: 2
    slot: 1


class SequencerSizes(data.Struct):
    """What this build has; all 0 where there is no sequencer."""

    channels: 4
    program_log2: 4
    waves_log2: 4
    envelope_log2: 4
    sample_bits: 5
    #: ``SYN`` and ``DEC`` have a decoder to talk to.
    decoder: 1
    #: ``ARM``, ``BRH`` and ``LDT`` have a herald unit to talk to.
    herald: 1
    reserved: 9


class SequencerFlags(data.Struct):
    """Things that go wrong."""

    #: The program was stopped; the status says why.
    fault: 1
    #: A pulse began before the one on its channel was over, and cut it short.
    overlap: 1
    #: A mark found its queue full.
    mark_lost: 1
    #: A word was loaded into the slot that runs, or outside any memory, or not after ``begin``.
    load_refused: 1
    #: ``commit`` found another length or CRC.
    image_refused: 1
    #: A trial failed; the other slot is active again.
    reverted: 1
    #: The emergency stop came.
    emergency: 1
    #: A start, or ``activate``, could not be: no valid image, already running, or emergency.
    start_refused: 1
    #: ``start_time`` was past when it was armed; the program did not start.
    start_late: 1
    #: ``SYN`` pushed a round with no decoder to take it.
    syndrome_lost: 1


class SequencerRecordKind(enum.Enum, shape=4):
    """Records of the sequencer; the values are apart from those of ``TagKind`` and the decoder's.
    """

    #: :class:`MarkRecord`
    MARK = 5


class MarkRecord(data.Struct):
    """A mark of ``TAG``."""

    code: 16
    #: Lowest 40 bits of the tick in which ``TAG`` was issued.
    coarse: 40
    #: Marks lost before this one; stops at 15.
    lost: 4
    kind: SequencerRecordKind


SEQUENCER = Block(
    name="sequencer",
    doc="The pulse sequencer. All registers read 0, and none can be written, where the build has "
        "none.",
    registers=(
        Register(name="sizes", shape=SequencerSizes, access=Access.READ_ONLY,
                 doc="What this build has."),
        Register(name="isa", access=Access.READ_ONLY,
                 doc="CRC-32 of the instruction set; an image made for another one is refused."),
        Register(name="action", shape=SequencerAction, access=Access.WRITE_ONLY,
                 doc="Start, stop, reset, emergency stop."),
        Register(name="status", shape=SequencerStatus, access=Access.READ_ONLY,
                 doc="What it is doing."),
        Register(name="start_pc", shape=12, unit="words",
                 doc="Where a start begins."),
        Register(name="start_time", shape=64, unit="ticks",
                 doc="When a timed start begins; the first instruction follows START_TICKS later."),
        Register(name="started", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="Tick of the first instruction of the program."),
        Register(name="stopped", shape=64, access=Access.READ_ONLY, unit="ticks",
                 doc="Tick of the HALT, or of the instruction that was refused."),
        Register(name="halt_code", shape=16, access=Access.READ_ONLY,
                 doc="Code of the last HALT."),
        Register(name="issued", shape=64, access=Access.READ_ONLY, unit="instructions",
                 doc="Instructions issued since the last clear."),
        Register(name="waited", shape=32, access=Access.READ_ONLY, unit="ticks",
                 doc="Ticks that the last wait took."),
        Register(name="preset", count=REGISTERS, access=Access.WRITE_ONLY,
                 doc="Data registers: parameters of a program. Write while it does not run."),
        Register(name="ttl", shape=TTL_LINES, access=Access.READ_ONLY,
                 doc="Levels of the TTL lines."),
        Register(name="ttl_write", shape=data.StructLayout({"value": TTL_LINES, "mask": TTL_LINES}),
                 access=Access.WRITE_ONLY,
                 doc="Set lines by hand: low half levels, high half which lines."),
        Register(name="ttl_safe", shape=TTL_LINES, doc="Safe levels of the TTL lines."),
        Register(name="ttl_hold", shape=TTL_LINES,
                 doc="Lines that keep their level when a program halts, is stopped or faults, or "
                     "the sequencer is reset; the others take their safe level. In an emergency "
                     "all do."),
        Register(name="ttl_fast", shape=TTL_LINES,
                 doc="Lines that change TTL_LATENCY ticks after SET; the others change with the "
                     "channels' outputs, DAC_LATENCY after it."),
        Register(name="channel_hold", shape=CHANNELS,
                 doc="Channels whose pulse and offset go on when a program halts, is stopped or "
                     "faults, or the sequencer is reset; the others fall silent. In an emergency "
                     "all do."),
        Register(name="offset_safe", shape=signed(SAMPLE_BITS), count=CHANNELS,
                 doc="Output of a silent channel."),
        Register(name="route", shape=8, access=Access.READ_ONLY, doc="The photonic route."),
        Register(name="route_write", shape=8, access=Access.WRITE_ONLY,
                 doc="Set the route by hand."),
        Register(name="route_safe", shape=8, doc="The route in an emergency."),
        Register(name="inputs", shape=TRIGGER_INPUTS, access=Access.READ_ONLY,
                 doc="Levels of the trigger inputs."),
        Register(name="load_address", shape=SequencerLoadAddress, access=Access.WRITE_ONLY,
                 doc="Where the next words of load_data go."),
        Register(name="load_data", access=Access.WRITE_ONLY,
                 doc="Words of the slot that is being written, one after the other."),
        Register(name="slot_words", unit="words",
                 doc="For commit: words of load_data that the image has."),
        Register(name="slot_crc",
                 doc="For commit: CRC-32 (that of Ethernet and zlib) over all words of load_data, "
                     "in the order in which they were written, bytes low first."),
        Register(name="slot", shape=SlotCommand, access=Access.WRITE_ONLY,
                 doc="Begin, commit, activate, confirm."),
        Register(name="slots", shape=SlotStatus, access=Access.READ_ONLY,
                 doc="State of the slots."),
        Register(name="slot_image", count=SLOTS, access=Access.READ_ONLY,
                 doc="CRC-32 of each slot's image, 0 where there is no valid one."),
        Register(name="slot_loaded", access=Access.READ_ONLY, unit="words",
                 doc="Words loaded since begin."),
        Register(name="trial_ticks", shape=64, unit="ticks",
                 doc="How long a trial may last without confirm; 0 is for ever."),
        Register(name="marks", shape=48, access=Access.READ_ONLY, unit="marks",
                 doc="Marks that programs have asked for since the last clear."),
        Register(name="marks_lost", shape=48, access=Access.READ_ONLY, unit="marks",
                 doc="Marks that found their queue full."),
        Register(name="pulses", shape=48, access=Access.READ_ONLY, unit="pulses",
                 doc="Pulses begun since the last clear."),
        *sticky_registers(SequencerFlags),
        Memory(name="data", depth=REGISTERS, doc="The data registers."),
    ),
)
