"""The pulse channels, sample by sample: what the gateware computes, and what it should.

Commands go in as a list, samples come out as arrays: first every channel's history is written down
(which pulse, frequency, phase and offset hold from which sample on), then each sample is computed
from it, all at once. :func:`play` is exact to the bit, :func:`ideal` is what a converter without
steps would be given.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

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
    SLOTS,
    STEP_FRACTION_BITS,
    WAVES,
    Wave,
)

__all__ = ["Issued", "Image", "Played", "play", "ideal", "cosine_units", "sigma_delta",
           "parallel_words", "spi_frame"]

_TURN = 1 << PHASE_BITS
_FORMATS = {op.value: (op, word) for op, word in (
    (Op.PULSE, PulseWord), (Op.FREQ, FreqWord), (Op.PHASE, PhaseWord), (Op.OFFSET, OffsetWord))}


@dataclass(frozen=True)
class Issued:
    """An instruction and the tick in which it was issued, with its registers ``ra`` and ``rb``."""

    tick: int
    word: int
    a: int = 0
    b: int = 0


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a slot holds of waves and envelopes.

    Parameters
    ----------
    waves : ndarray of uint64, shape (512,)
        Bits of :class:`~quantacore.gateware.layouts.sequencer.Wave`.
    envelopes : ndarray of int16, shape (8, 1024)
    """

    waves: np.ndarray = field(default_factory=lambda: np.zeros(WAVES, np.uint64))
    envelopes: np.ndarray = field(
        default_factory=lambda: np.zeros((CHANNELS, ENVELOPE_POINTS), np.int16))


@dataclass(frozen=True, kw_only=True)
class Played:
    """What came out.

    Parameters
    ----------
    samples : ndarray of int16, shape (channels, number)
        Samples ``start`` to ``stop - 1``; floats in units of the former from :func:`ideal`.
    active : ndarray of bool, same shape
        The sample is a pulse's.
    begun, overlaps : list of (int, int)
        Sample and channel of each pulse's beginning, and of each that cut one short or took its
        place; ordered, and of all time up to ``stop``.
    """

    samples: np.ndarray
    active: np.ndarray
    begun: list
    overlaps: list


@dataclass
class _Pulse:
    begin: int
    wave: int
    amplitude: int
    slot: int

    def __post_init__(self):
        wave = Wave.from_bits(int(self.wave))
        self.step, self.base = wave.step, wave.base
        #: First sample after it, as it was asked for; None is never.
        self.end = self.begin + wave.length if wave.length else None


@dataclass
class _History:
    """From which sample on what holds; each a list of (sample, ...) in order."""

    pulses: list = field(default_factory=list)
    oscillator: list = field(default_factory=lambda: [(0, 0, 0)])
    phase: list = field(default_factory=lambda: [(0, 0)])
    offset: list = field(default_factory=lambda: [(0, 0)])
    begun: list = field(default_factory=list)
    overlaps: set = field(default_factory=set)


def _signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


class _Channel:
    """Writes down one channel's history, event by event."""

    def __init__(self):
        self.history = _History()
        self.current = None
        self.waiting = None
        self.silent = False

    def advance(self, tick):
        """Let the pulse that waits begin, if its sample is before ``tick``."""
        if self.waiting is not None and self.waiting.begin < tick:
            pulse, self.waiting = self.waiting, None
            self._begin(pulse)

    def _begin(self, pulse):
        history = self.history
        if self.current is not None:
            end = self.current.end
            if end is None:
                self.current.end = pulse.begin
            elif end > pulse.begin:
                history.overlaps.add(pulse.begin)
                self.current.end = pulse.begin
        history.begun.append(pulse.begin)
        history.pulses.append(pulse)
        self.current = pulse

    def pulse(self, tick, pulse):
        if self.silent:
            return
        at_once = pulse.begin == tick
        if self.waiting is not None and self.waiting.begin == tick and not at_once:
            self.advance(tick + 1)
        if self.waiting is not None:
            self.history.overlaps.add(tick)
            self.waiting = None
        if at_once:
            self._begin(pulse)
        else:
            self.waiting = pulse

    def silence(self, tick, on, safe):
        self.advance(tick)
        if on:
            self.waiting = None
            if self.current is not None and (self.current.end is None or self.current.end > tick):
                self.current.end = tick
            self.history.offset.append((tick, safe))
        self.silent = on

    def frequency(self, sample, word, continuous):
        before = self.history.oscillator[-1]
        phase = word * sample
        if continuous:
            phase = before[1] + before[2] * (sample - before[0])
        self.history.oscillator.append((sample, phase % _TURN, word))

    def phase(self, sample, value, add):
        before = self.history.phase[-1][1] if add else 0
        self.history.phase.append((sample, (before + value) % (1 << 32)))

    def offset(self, sample, value):
        if not self.silent:
            self.history.offset.append((sample, value))

    def close(self, tick):
        self.advance(tick)
        return self.history


def _histories(commands, images, channels, slots, silences, offset_safe, stop):
    """One :class:`_History` for each channel."""
    states = [_Channel() for _ in range(channels)]
    events = [(command.tick, 1, command) for command in commands]
    # Silence in a tick is in time for the command that is on the bus in that tick.
    events += [(tick - COMMAND_LATENCY, 0, mask) for tick, mask in silences]
    slot_ticks = [tick for tick, _slot in slots]
    for tick, kind, event in sorted(events, key=lambda entry: entry[:2]):
        if tick >= stop:
            break
        if kind == 0:
            for k, state in enumerate(states):
                state.silence(tick, bool(event >> k & 1), offset_safe[k])
            continue
        if event.word & 63 not in _FORMATS:
            continue
        op, shape = _FORMATS[event.word & 63]
        word = shape.from_bits(event.word)
        if word.channel >= channels:
            continue
        state = states[word.channel]
        state.advance(tick)
        if op is Op.PULSE:
            slot = slots[bisect_right(slot_ticks, tick) - 1][1]
            index = event.a % WAVES if word.wave_register else word.wave
            amplitude = _signed(event.b, 16) if word.amplitude_register else word.amplitude
            state.pulse(tick, _Pulse(tick + word.defer, images[slot].waves[index], amplitude,
                                     slot))
        elif op is Op.FREQ:
            value = word.word << PHASE_BITS - 36
            if word.registers:
                value = event.a << 16 | event.b >> 16
            state.frequency(tick + FREQ_TICKS, value, word.continuous)
        elif op is Op.PHASE:
            state.phase(tick, event.a if word.register else word.value, word.add)
        else:
            state.offset(tick, _signed(event.a, 16) if word.register else word.value)
    return [state.close(stop) for state in states]


def _held(history, start, stop):
    """Spans ``(slice, entry)`` of a history's list that lie in ``start`` to ``stop``."""
    for k, entry in enumerate(history):
        begin = max(entry[0], start)
        end = min(history[k + 1][0] if k + 1 < len(history) else stop, stop)
        if begin < end:
            yield slice(begin - start, end - start), entry


def _phases(history, start, stop):
    """Phase of each sample in 2**-48 turns."""
    samples = np.arange(start, stop, dtype=np.uint64)
    phase = np.zeros(stop - start, np.uint64)
    # Arithmetic modulo 2**64 is also right modulo 2**48.
    for span, (sample, base, word) in _held(history.oscillator, start, stop):
        phase[span] = (samples[span] - np.uint64(sample)) * np.uint64(word) + np.uint64(base)
    for span, (_sample, offset) in _held(history.phase, start, stop):
        phase[span] += np.uint64(offset << PHASE_BITS - 32)
    return phase & np.uint64(_TURN - 1)


def _offsets(history, start, stop):
    offset = np.zeros(stop - start, np.int64)
    for span, (_sample, value) in _held(history.offset, start, stop):
        offset[span] = value
    return offset


def _quarter():
    """Points of a quarter wave: values in 1/16 and slopes in 1/64 of the cosine's unit."""
    angle = np.linspace(0, np.pi / 2, 513)
    width = np.pi / 1024
    # Half the greatest distance between arc and chord, width**2 / 8 times the sine there.
    lifted = np.sin(angle[:-1]) + np.sin(angle[:-1] + width / 2) * width**2 / 16
    values = np.floor((131071 * lifted + 0.5) * 16 + 0.5).astype(np.int64)
    slopes = np.floor(131071 * 64 * np.diff(np.sin(angle)) + 0.5).astype(np.int64)
    return values, slopes


_VALUES, _SLOPES = _quarter()


def cosine_units(phase):
    """Cosine of phases, as the table has it.

    Parameters
    ----------
    phase : ndarray of uint64
        In 2**-24 turns.

    Returns
    -------
    ndarray of int64
        In units of 2**-17.
    """
    phase = np.asarray(phase).astype(np.int64)
    quarter, within = phase >> 22 & 3, phase & (1 << 22) - 1
    # The cosine of the first and third quarter is the sine of the rest of that quarter.
    within = np.where(quarter % 2 == 0, (1 << 22) - 1 - within, within)
    point, fraction = within >> 13, within & 0x1FFF
    size = (_VALUES[point] * 2**15 + _SLOPES[point] * fraction) // 2**19
    return np.where((quarter == 1) | (quarter == 2), -size, size)


def _round(value, bits):
    """``value / 2**bits`` to the nearest, halves up."""
    return value + (1 << bits - 1) >> bits


def _exact_envelope(points, pulse, ticks, sign):
    """Envelope in quarters of a point's unit, times gain and sign, in units of 2**-17."""
    position = (pulse.base << STEP_FRACTION_BITS) + ticks * pulse.step
    index = position >> STEP_FRACTION_BITS
    fraction = position % (1 << STEP_FRACTION_BITS) >> STEP_FRACTION_BITS - 17
    here = points[index % ENVELOPE_POINTS].astype(np.int64)
    there = points[(index + 1) % ENVELOPE_POINTS].astype(np.int64)
    envelope = _round(here * 2**17 + (there - here) * fraction, 15)
    return np.minimum(_round(envelope * (pulse.amplitude * sign), 15), (1 << 17) - 1)


def _ideal_envelope(points, pulse, ticks, sign):
    """Envelope times gain without any rounding, as a fraction of full scale."""
    whole = (pulse.base << STEP_FRACTION_BITS) + ticks * pulse.step
    index = whole >> STEP_FRACTION_BITS
    fraction = (whole % (1 << STEP_FRACTION_BITS)) / (1 << STEP_FRACTION_BITS)
    here = points[index % ENVELOPE_POINTS].astype(float)
    there = points[(index + 1) % ENVELOPE_POINTS].astype(float)
    return (here + (there - here) * fraction) / 2**15 * pulse.amplitude / 2**15 * sign


def _envelopes(history, points_of, start, stop, compute, sign, dtype):
    envelope = np.zeros(stop - start, dtype)
    active = np.zeros(stop - start, bool)
    for pulse in history.pulses:
        begin = max(pulse.begin, start)
        end = stop if pulse.end is None else min(pulse.end, stop)
        if begin < end:
            ticks = np.arange(begin - pulse.begin, end - pulse.begin, dtype=np.int64)
            span = slice(begin - start, end - start)
            envelope[span] = compute(points_of(pulse.slot), pulse, ticks, sign[span])
            active[span] = True
    return envelope, active


def _run(commands, images, start, stop, channels, slots, silences, offset_safe, *, exact):
    if isinstance(images, Image):
        images = (images,) * SLOTS
    histories = _histories(commands, images, channels, slots, silences, offset_safe, stop)
    rows, actives = [], []
    for k, history in enumerate(histories):
        def points_of(slot, k=k):
            return images[slot].envelopes[k]

        phase = _phases(history, start, stop)
        offset = _offsets(history, start, stop)
        if exact:
            # The carrier's sign turns the gain before anything is rounded.
            cosine = cosine_units(phase >> np.uint64(24))
            envelope, active = _envelopes(history, points_of, start, stop, _exact_envelope,
                                          np.where(cosine < 0, -1, 1), np.int64)
            carried = _round(envelope * np.abs(cosine), 19)
            samples = np.clip(carried + offset, -(1 << 15), (1 << 15) - 1).astype(np.int16)
        else:
            envelope, active = _envelopes(history, points_of, start, stop, _ideal_envelope,
                                          np.ones(stop - start), float)
            angle = phase.astype(np.float64) * (2 * np.pi / _TURN)
            samples = envelope * np.cos(angle) * 2**15 + offset
        rows.append(samples)
        actives.append(active)
    return Played(
        samples=np.stack(rows), active=np.stack(actives),
        begun=sorted((n, k) for k, h in enumerate(histories) for n in h.begun),
        overlaps=sorted((n, k) for k, h in enumerate(histories) for n in h.overlaps))


def play(commands, images, *, start=0, stop, channels=CHANNELS, slots=((0, 0),), silences=(),
         offset_safe=(0,) * CHANNELS):
    """The samples of commands, exactly as the gateware computes them.

    Parameters
    ----------
    commands : iterable of Issued
        Any instructions, from the reset on, at most one a tick.
    images : Image or pair of Image
        Of both slots.
    start, stop : int
        Samples wanted; the histories begin at sample 0.
    channels : int
    slots : sequence of (int, int)
        From which tick on which slot is played.
    silences : sequence of (int, int)
        From which tick on which channels are held silent: a mask.
    offset_safe : sequence of int
        Output of a silent channel.

    Returns
    -------
    Played
    """
    return _run(commands, images, start, stop, channels, slots, silences, offset_safe, exact=True)


def ideal(commands, images, *, start=0, stop, channels=CHANNELS, slots=((0, 0),), silences=(),
          offset_safe=(0,) * CHANNELS):
    """The same with exact interpolation, products and cosine, and without saturation.

    Parameters are those of :func:`play`. Samples are floats in units of the output's last bit.
    """
    return _run(commands, images, start, stop, channels, slots, silences, offset_safe, exact=False)


def parallel_words(samples, *, width, offset_binary=True):
    """Words of a converter of fewer bits, rounded to the nearest (halves up), never wrapped."""
    samples = np.asarray(samples).astype(np.int64)
    words = samples if width == 16 else _round(samples, 16 - width)
    words = np.minimum(words, (1 << width - 1) - 1)
    return words + (1 << width - 1) if offset_binary else words & (1 << width) - 1


def spi_frame(sample, *, frame_bits, command, command_bits, width, offset_binary=True):
    """Bits of a frame, as a number whose top bit is sent first."""
    word = int(parallel_words([sample], width=width, offset_binary=offset_binary)[0])
    return (command << width | word) << frame_bits - command_bits - width


def sigma_delta(samples, *, order):
    """Bits of a modulator of first or second order, one for each sample.

    The quantiser's error is fed back: once for the first order; twice, less the one before, for
    the second. Errors stop at plus and minus eight full scales.

    Returns
    -------
    ndarray of uint8
    """
    full = 1 << 15
    last, before = 0, 0
    bits = np.zeros(len(samples), np.uint8)
    for n, sample in enumerate(np.asarray(samples).tolist()):
        wanted = sample + (last if order == 1 else 2 * last - before)
        bits[n] = wanted >= 0
        error = wanted - (full if wanted >= 0 else -full)
        last, before = max(-8 * full, min(8 * full - 1, error)), last
    return bits
