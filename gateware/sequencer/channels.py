"""All pulse channels, on the sequencer's command bus."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import (
    COMMAND_LATENCY,
    FREQ_TICKS,
    FreqWord,
    OffsetWord,
    Op,
    PhaseWord,
    PulseWord,
)
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    ENVELOPE_POINTS,
    PHASE_BITS,
    SAMPLE_BITS,
    SLOTS,
    WAVES,
    Wave,
)
from quantacore.gateware.ram import RAM
from quantacore.gateware.sequencer.channel import (
    FREQUENCY_STAGE,
    OFFSET_STAGE,
    PHASE_STAGE,
    PULSE_STAGE,
    Channel,
    Pulse,
)
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.sequencer.frequency import PhaseProduct
from quantacore.gateware.sequencer.sine import delayed

__all__ = ["WaveLoad", "PointsLoad", "Channels", "check_channels"]


def check_channels(channels):
    """Raise :exc:`TypeError` or :exc:`ValueError` unless so many channels can be built."""
    if not isinstance(channels, int):
        raise TypeError(f"Number of channels must be an integer, not {channels!r}")
    if not 1 <= channels <= CHANNELS:
        raise ValueError(f"Number of channels must be between 1 and {CHANNELS}, not {channels}")


class WaveLoad(data.Struct):
    """A wave to be stored."""

    wave: Wave
    index: range(WAVES)
    slot: range(SLOTS)


class PointsLoad(data.Struct):
    """Two envelope points of a channel to be stored: those of index ``2 * pair`` and the next."""

    even: signed(SAMPLE_BITS)
    odd: signed(SAMPLE_BITS)
    pair: range(ENVELOPE_POINTS // 2)
    slot: range(SLOTS)
    channel: range(CHANNELS)


class Channels(wiring.Component):
    """Turns ``PULSE``, ``FREQ``, ``PHASE`` and ``OFFSET`` into samples, one each tick and channel.

    Sample n is a function of the commands issued in ticks up to n (``FREQ``: n - FREQ_TICKS), and
    is at the output in tick n + DAC_LATENCY, always. It is::

        envelope * amplitude / 2**15 * cos(2 pi phase) + offset

    rounded, and saturated to 16 bits. Envelope points are signed, in units of 2**-15, as is the
    output. Outside pulses the envelope is 0. The phase, in 2**-48 turns, is ``frequency * n`` since
    a coherent ``FREQ`` (that of a channel which never had one is 0), and goes on from where it was
    since a continuous one; the phase offset is added.

    ``PULSE`` with ``defer`` begins with sample T + defer, and one may wait on each channel. Where a
    pulse begins while another is not over, that one ends. Where a ``PULSE`` is issued before the
    waiting one has begun, that one never does. Either raises ``overlap``.

    Commands for channels that are not there are ignored. Reset ends all pulses and zeroes
    frequencies, phases and offsets, not the memories; it has to last 8 clocks.

    Parameters
    ----------
    channels : int
        1 to 8.

    Members
    -------
    tick : In(64)
        The node's time.
    commands : In(stream of Command)
        What was issued COMMAND_LATENCY ticks ago.
    silence : In(8)
        A channel that is silent has no pulse, and ``offset_safe`` as offset (which stays afterwards
        until ``OFFSET``). In the tick in which an instruction's command is here, this silences the
        instruction's sample and those that follow.
    offset_safe : In(signed(16)).array(channels)
        Changes only while the channel is not silent.
    slot : In(1)
        What is played; changes only while there is no pulse.
    waves, points : In(stream of WaveLoad, of PointsLoad)
        Writes the memories, whatever is played. What is being written must not be played.
    samples : Out(signed(16)).array(channels)
    active : Out(8)
        Channels whose sample is a pulse's, at the same time as the sample.
    begun, overlap : Out(8)
        A pulse began with sample n; one was cut short, or never began, by what was issued or began
        in tick n: in tick n + 5.
    """

    def __init__(self, *, channels=CHANNELS):
        check_channels(channels)
        self.channels = channels
        super().__init__({
            "tick": In(64),
            "commands": In(stream.Signature(Command, always_ready=True)),
            "silence": In(CHANNELS),
            "offset_safe": In(signed(SAMPLE_BITS)).array(channels),
            "slot": In(range(SLOTS)),
            "waves": In(stream.Signature(WaveLoad, always_ready=True)),
            "points": In(stream.Signature(PointsLoad, always_ready=True)),
            "samples": Out(signed(SAMPLE_BITS)).array(channels),
            "active": Out(CHANNELS),
            "begun": Out(CHANNELS),
            "overlap": Out(CHANNELS),
        })

    def elaborate(self, platform):
        m = Module()
        # The command is here in tick T + 1 and decoded in T + 2.
        decoded = COMMAND_LATENCY + 1
        command = self.commands.payload
        numbers = range(self.channels)

        def named(op, when=True):
            """A bit for each channel: the command is ``op`` for it."""
            strobes = Signal(self.channels, name=f"is_{op.name.lower()}")
            for k in numbers:
                m.d.sync += strobes[k].eq(
                    self.commands.valid & (command.word[:6] == op.value)
                    & (PulseWord(command.word).channel == k))
            return strobes

        pulse, frequency = PulseWord(command.word), FreqWord(command.word)
        phase, offset = PhaseWord(command.word), OffsetWord(command.word)

        # Pulses: the wave is looked up, and the rest waits for it.
        wave = Signal(range(WAVES))
        asked, asked_3, played = Signal(Pulse), Signal(Pulse), Signal(Pulse)
        m.d.sync += [
            wave.eq(Mux(pulse.wave_register, command.a, pulse.wave)),
            asked.amplitude.eq(Mux(pulse.amplitude_register, command.b[:SAMPLE_BITS],
                                   pulse.amplitude)),
            asked.defer.eq(pulse.defer),
        ]
        m.submodules.waves = waves = RAM(width=Shape.cast(Wave).width, depth=SLOTS * WAVES)
        load = self.waves.payload
        m.d.comb += [
            waves.write.eq(self.waves.valid), waves.write_address.eq(Cat(load.index, load.slot)),
            waves.write_data.eq(Value.cast(load.wave)),
            waves.read.eq(1), waves.read_address.eq(Cat(wave, self.slot)),
        ]
        wave_bits = Signal(Shape.cast(Wave).width, reset_less=True)
        asked_4 = Signal(Pulse)
        m.d.sync += [
            asked_3.eq(asked), asked_4.eq(asked_3),
            wave_bits.eq(waves.read_data),
        ]
        m.d.comb += [played.eq(asked_4), Value.cast(played.wave).eq(wave_bits)]
        # Every channel has its own strobes, of which nothing is left to be decided.
        silence_3 = delayed(m, self.silence[:self.channels], PULSE_STAGE - 1 - COMMAND_LATENCY,
                            "silence")
        pulse_3 = delayed(m, named(Op.PULSE), PULSE_STAGE - 1 - decoded, "pulse")
        silence, pulse_valid = Signal(self.channels), Signal(self.channels)
        at_once = Signal(self.channels)
        m.d.sync += [
            silence.eq(silence_3), pulse_valid.eq(pulse_3 & ~silence_3),
            at_once.eq(pulse_3 & ~silence_3 & (asked_3.defer == 0).replicate(self.channels)),
        ]

        # Frequencies: the product needs the tick of the first sample at the new one.
        word, start_tick = Signal(PHASE_BITS), Signal(PHASE_BITS)
        shape = Signal(1)
        m.d.sync += [
            word.eq(Mux(frequency.registers, Cat(command.b[16:], command.a),
                        frequency.word << PHASE_BITS - len(frequency.word))),
            shape.eq(frequency.continuous),
            start_tick.eq(self.tick + (FREQ_TICKS - COMMAND_LATENCY)),
        ]
        m.submodules.product = product = PhaseProduct()
        m.d.comb += [product.frequency.eq(word), product.tick.eq(start_tick)]
        wait = FREQUENCY_STAGE + FREQ_TICKS - decoded
        assert wait >= 4, "the product takes four ticks"
        frequency_set = delayed(m, named(Op.FREQ), wait, "frequency_set")
        continuous = delayed(m, shape, wait, "continuous")
        frequency_word = delayed(m, word, wait, "frequency")
        start = delayed(m, product.phase, wait - 4, "start")

        # Phase offsets.
        turn, adds = Signal(32), Signal()
        m.d.sync += [turn.eq(Mux(phase.register, command.a, phase.value)), adds.eq(phase.add)]
        phases = named(Op.PHASE)
        phase_set = delayed(m, phases & ~adds.replicate(self.channels), PHASE_STAGE - decoded,
                            "phase_set")
        phase_add = delayed(m, phases & adds.replicate(self.channels), PHASE_STAGE - decoded,
                            "phase_add")
        turn = delayed(m, turn, PHASE_STAGE - decoded, "phase")

        # Direct offsets.
        level = Signal(signed(SAMPLE_BITS))
        m.d.sync += level.eq(Mux(offset.register, command.a[:SAMPLE_BITS], offset.value))
        offset_set = delayed(m, named(Op.OFFSET), OFFSET_STAGE - decoded, "offset_set")
        level = delayed(m, level, OFFSET_STAGE - decoded, "offset")
        offset_silence = delayed(m, silence, OFFSET_STAGE - PULSE_STAGE, "offset_silence")

        points = self.points.payload
        for k in numbers:
            m.submodules[f"channel_{k}"] = channel = Channel()
            m.d.comb += [
                channel.pulse_valid.eq(pulse_valid[k]), channel.pulse.eq(played),
                channel.pulse_at_once.eq(at_once[k]), channel.silence.eq(silence[k]),
                channel.frequency_set.eq(frequency_set[k]), channel.coherent.eq(~continuous),
                channel.frequency.eq(frequency_word), channel.start.eq(start),
                channel.phase_set.eq(phase_set[k]), channel.phase_add.eq(phase_add[k]),
                channel.phase.eq(turn),
                channel.offset_set.eq(offset_set[k] | offset_silence[k]),
                channel.offset.eq(Mux(offset_silence[k], self.offset_safe[k], level)),
                channel.slot.eq(self.slot),
                channel.points_write.eq(self.points.valid & (points.channel == k)),
                channel.points_address.eq(Cat(points.pair, points.slot)),
                channel.points.eq(Cat(points.even, points.odd)),
                self.samples[k].eq(channel.sample), self.active[k].eq(channel.active),
                self.begun[k].eq(channel.begun), self.overlap[k].eq(channel.overlap),
            ]
        return m
