"""Bench of the pulse channels: all outputs in one word, so that recording costs one read a tick."""

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import FreqWord, OffsetWord, Op, PhaseWord, PulseWord
from quantacore.gateware.layouts.sequencer import CHANNELS, SAMPLE_BITS, Wave
from quantacore.gateware.sequencer.channels import Channels, PointsLoad, WaveLoad
from quantacore.gateware.sequencer.command import Command

__all__ = ["ChannelsBench", "unpack", "pulse", "freq", "phase", "offset", "wave_bits"]


class ChannelsBench(wiring.Component):
    """Channels with a tick counter.

    Parameters
    ----------
    channels : int

    Members
    -------
    tick_set : In(1), tick : In(64)
        Set the counter: it has this value in the next clock.
    command_valid, command, silence, offset_safe, slot
        As :class:`~quantacore.gateware.sequencer.channels.Channels` has them.
    wave_valid, wave, points_valid, points
        Its loads.
    record : Out
        Samples, then ``active``, ``begun`` and ``overlap``; see :func:`unpack`.
    """

    def __init__(self, *, channels):
        self.channels = channels
        super().__init__({
            "tick_set": In(1), "tick": In(64),
            "command_valid": In(1), "command": In(Command),
            "silence": In(CHANNELS), "offset_safe": In(channels * SAMPLE_BITS), "slot": In(1),
            "wave_valid": In(1), "wave": In(WaveLoad),
            "points_valid": In(1), "points": In(PointsLoad),
            "record": Out(channels * SAMPLE_BITS + 3 * CHANNELS),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.channels = channels = Channels(channels=self.channels)
        tick = Signal(64)
        m.d.sync += tick.eq(Mux(self.tick_set, self.tick, tick + 1))
        m.d.comb += [
            channels.tick.eq(tick), channels.silence.eq(self.silence), channels.slot.eq(self.slot),
            channels.commands.valid.eq(self.command_valid),
            channels.commands.payload.eq(self.command),
            channels.waves.valid.eq(self.wave_valid), channels.waves.payload.eq(self.wave),
            channels.points.valid.eq(self.points_valid), channels.points.payload.eq(self.points),
            self.record.eq(Cat(*channels.samples, channels.active, channels.begun,
                               channels.overlap)),
        ]
        m.d.comb += [safe.eq(self.offset_safe.word_select(k, SAMPLE_BITS))
                     for k, safe in enumerate(channels.offset_safe)]
        return m


def unpack(records, channels):
    """Words of ``record``, one a tick, as columns.

    Returns
    -------
    ndarray of int16, shape (channels, number)
    tuple of 3 ndarray of bool, shape (8, number)
        ``active``, ``begun`` and ``overlap``.
    """
    size = channels * SAMPLE_BITS // 8
    rows = np.frombuffer(b"".join(value.to_bytes(size + 3, "little") for value in records),
                         np.uint8).reshape(-1, size + 3)
    samples = rows[:, :size].copy().view("<i2").T
    flags = [np.unpackbits(rows[:, size + k:size + k + 1], axis=1, bitorder="little").T.astype(bool)
             for k in range(3)]
    return samples, tuple(flags)


def _word(shape, op, fields):
    return shape.const({"op": op, "dwell": 1, **fields}).as_bits()


def pulse(channel, wave, *, amplitude=32767, defer=0, wave_register=None, amplitude_register=None):
    """Bits of ``PULSE``; with registers, their numbers stand where wave and amplitude would."""
    if wave_register is not None:
        wave = wave_register << 5
    bits = _word(PulseWord, Op.PULSE, {
        "channel": channel, "wave": wave, "amplitude": amplitude, "defer": defer,
        "wave_register": wave_register is not None,
        "amplitude_register": amplitude_register is not None})
    if amplitude_register is not None:
        bits = bits & ~(15 << 48) | amplitude_register << 48
    return bits


def freq(channel, word, *, continuous=False, registers=False):
    """Bits of ``FREQ``; ``word`` in 2**-36 turns a tick."""
    return _word(FreqWord, Op.FREQ, {"channel": channel, "word": word, "continuous": continuous,
                                     "registers": registers})


def phase(channel, value, *, add=False, register=False):
    """Bits of ``PHASE``."""
    return _word(PhaseWord, Op.PHASE, {"channel": channel, "value": value, "add": add,
                                       "register": register})


def offset(channel, value, *, register=False):
    """Bits of ``OFFSET``."""
    return _word(OffsetWord, Op.OFFSET, {"channel": channel, "value": value,
                                         "register": register})


def wave_bits(step, base, length):
    """Bits of a wave."""
    return Wave.const({"step": step, "base": base, "length": length}).as_bits()
