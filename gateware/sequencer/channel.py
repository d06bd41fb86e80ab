"""One pulse channel: a pulse's envelope times a carrier, a sample in each clock."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.sequencer import (
    DAC_LATENCY,
    ENVELOPE_POINTS,
    PHASE_BITS,
    SAMPLE_BITS,
    SLOTS,
    STEP_FRACTION_BITS,
    Wave,
)
from quantacore.gateware.ram import RAM
from quantacore.gateware.sequencer.sine import COSINE_BITS, COSINE_PHASE_BITS, Cosine, delayed

__all__ = ["PULSE_STAGE", "PHASE_STAGE", "FREQUENCY_STAGE", "OFFSET_STAGE", "Pulse", "Channel"]

#: A pulse issued in tick T is at a channel's input in tick T + PULSE_STAGE, its first sample's
#: position is known in the tick after.
PULSE_STAGE = 4
#: The same of a phase offset for sample T,
PHASE_STAGE = 5
#: of the frequency from sample T on,
FREQUENCY_STAGE = 5
#: and of a direct offset for sample T.
OFFSET_STAGE = 15

_POSITION_BITS = (ENVELOPE_POINTS - 1).bit_length() + STEP_FRACTION_BITS
#: Bits between two envelope points that interpolation goes by.
_FRACTION_BITS = 17
#: Bits that envelopes have below those of a point, until the output rounds.
_GUARD_BITS = 2


class Pulse(data.Struct):
    """A pulse that was asked for."""

    wave: Wave
    amplitude: signed(SAMPLE_BITS)
    #: Ticks until it begins.
    defer: 8


class Channel(wiring.Component):
    """Pulses from an envelope memory, on a carrier, with an offset; see :class:`Channels`.

    Sample n is at the output in tick n + DAC_LATENCY. Inputs that act on sample n come in tick
    n + their stage. Two block RAMs of envelope points, even ones and odd ones, so that both ends of
    a line are read at once; two for the carrier; four multipliers.

    Members
    -------
    pulse_valid, pulse : In(Pulse)
        Begin ``pulse.defer`` ticks later. PULSE_STAGE; not with ``silence``.
    pulse_at_once : In(1)
        With ``pulse_valid`` and a ``pulse.defer`` of 0.
    silence : In(1)
        No pulse. PULSE_STAGE.
    phase_set, phase_add : In(1), phase : In(32)
        Set the phase offset; add to it. PHASE_STAGE.
    frequency_set, coherent : In(1), frequency, start : In(48)
        Set the frequency, and with ``coherent`` the phase. FREQUENCY_STAGE.
    offset_set : In(1), offset : In(signed(16))
        OFFSET_STAGE.
    slot : In(1)
        Envelope slot that is played.
    points_write : In(1), points_address : In(10), points : In(32)
        Write a pair of points, the even one low. The top bit of the address is the slot.
    sample : Out(signed(16))
    active : Out(1)
        The sample is a pulse's.
    begun, overlap : Out(1)
        A pulse began with sample n; one was cut short or never began: in tick n + 5.
    """

    pulse_valid: In(1)
    pulse: In(Pulse)
    pulse_at_once: In(1)
    silence: In(1)
    phase_set: In(1)
    phase_add: In(1)
    phase: In(32)
    frequency_set: In(1)
    coherent: In(1)
    frequency: In(PHASE_BITS)
    start: In(PHASE_BITS)
    offset_set: In(1)
    offset: In(signed(SAMPLE_BITS))
    slot: In(range(SLOTS))
    points_write: In(1)
    points_address: In(range(SLOTS * ENVELOPE_POINTS // 2))
    points: In(2 * SAMPLE_BITS)
    sample: Out(signed(SAMPLE_BITS))
    active: Out(1)
    begun: Out(1)
    overlap: Out(1)

    def elaborate(self, platform):
        m = Module()
        position, amplitude, active = self._pulses(m)
        envelope = self._envelope(m, position)
        carrier = self._carrier(m)

        # 9: the carrier's sign goes into the gain. 13, 14: gain. Only -1 times -1 is too large.
        # Before each multiplier is a register that only waits: a sum and the way to a multiplier,
        # of which there are few, do not fit one clock.
        gain = delayed(m, Mux(active, amplitude, 0), 3, "amplitude")
        turned = Signal(signed(SAMPLE_BITS + 1))
        m.d.sync += turned.eq((gain ^ carrier.minus.replicate(SAMPLE_BITS + 1)) + carrier.minus)
        gain = delayed(m, turned, 3, "gain", free=True)
        scaled_product = Signal(signed(SAMPLE_BITS + _GUARD_BITS + SAMPLE_BITS), reset_less=True)
        m.d.sync += scaled_product.eq(envelope * gain)
        scaled = Signal(signed(SAMPLE_BITS + _GUARD_BITS))
        rounded = Signal(signed(SAMPLE_BITS + _GUARD_BITS + 1))
        too_large = scaled_product[-2] & ~scaled_product[-1]
        m.d.comb += rounded.eq(((scaled_product >> SAMPLE_BITS - 2) + 1) >> 1)
        m.d.sync += scaled.eq(Mux(too_large, (1 << len(scaled) - 1) - 1, rounded))

        # 16: carrier. 17: offset, and rounding with the same addition. 18: saturation.
        scaled = delayed(m, scaled, 1, "scaled", free=True)
        magnitude = delayed(m, carrier.magnitude, 1, "magnitude", free=True)
        offset = Signal(signed(SAMPLE_BITS))
        with m.If(self.offset_set):
            m.d.sync += offset.eq(self.offset)
        product = Signal(signed(len(scaled) + COSINE_BITS), reset_less=True)
        m.d.sync += product.eq(scaled * magnitude)
        total = Signal(signed(SAMPLE_BITS + 2))
        fraction_bits = len(scaled) - 1 + COSINE_BITS - 1 - (SAMPLE_BITS - 1)
        m.d.sync += total.eq(
            ((product >> fraction_bits - 1) + Cat(C(1, 1), offset).as_signed()) >> 1)
        inside = (total[SAMPLE_BITS - 1:] == 0) | total[SAMPLE_BITS - 1:].all()
        sign = total[-1]
        m.d.sync += self.sample.eq(Mux(
            inside, total[:SAMPLE_BITS], Cat((~sign).replicate(SAMPLE_BITS - 1), sign)))
        m.d.comb += self.active.eq(delayed(m, active, DAC_LATENCY - PULSE_STAGE - 1, "active"))
        return m

    def _pulses(self, m):
        """Position in the envelope, amplitude, and whether there is a pulse: 5 ticks after n."""
        waiting, waits, due = Signal(Pulse), Signal(), Signal()
        arrives, at_once = self.pulse_valid, self.pulse_at_once
        begins = Signal()
        m.d.comb += begins.eq(at_once | (due & ~self.silence))
        m.d.sync += [waiting.defer.eq(waiting.defer - 1), due.eq(waits & (waiting.defer == 2))]
        with m.If(arrives):
            m.d.sync += [waiting.eq(self.pulse), waits.eq(~at_once),
                         due.eq(self.pulse.defer == 1)]
        with m.Elif(due | self.silence):
            m.d.sync += [waits.eq(0), due.eq(0)]

        chosen = Signal(Pulse)
        m.d.comb += chosen.eq(Mux(at_once, self.pulse, waiting))
        position = Signal(_POSITION_BITS)
        step, left = Signal.like(chosen.wave.step), Signal.like(chosen.wave.length)
        amplitude, active = Signal(signed(SAMPLE_BITS)), Signal()
        # Whether a pulse is endless is known a tick after it began; in its first tick it is not
        # yet over, unless its length is 1.
        first, endless, last = self.begun, Signal(), Signal()
        m.d.comb += last.eq((left == 1) & (first | ~endless))
        m.d.sync += first.eq(begins)
        with m.If(first):
            m.d.sync += endless.eq(left == 0)
        with m.If(begins):
            m.d.sync += [
                position.eq(chosen.wave.base << STEP_FRACTION_BITS), step.eq(chosen.wave.step),
                left.eq(chosen.wave.length), amplitude.eq(chosen.amplitude), active.eq(1),
            ]
        with m.Else():
            m.d.sync += [position.eq(position + step), left.eq(left - 1)]
            with m.If(last | self.silence):
                m.d.sync += active.eq(0)
        # What was cut, if it was not over: here `endless` is still about that one.
        cut, over, dropped = Signal(), Signal(), Signal()
        m.d.sync += [cut.eq(begins & active), over.eq(last),
                     dropped.eq((arrives & waits & ~due) | (at_once & due))]
        m.d.comb += self.overlap.eq((cut & ~over & ~endless) | dropped)
        return position, amplitude, active

    def _envelope(self, m, position):
        """Envelope at a position, 7 ticks later."""
        whole = position[STEP_FRACTION_BITS:]
        half = len(whole) - 1
        # 6: block RAM. 7: a register, for block RAM is slow.
        even_address, odd_address = Signal(half), Signal(half)
        m.d.comb += [even_address.eq(whole[1:] + whole[0]), odd_address.eq(whole[1:])]
        ends = []
        for k, (name, address) in enumerate((("even", even_address), ("odd", odd_address))):
            m.submodules[name] = bank = RAM(width=SAMPLE_BITS, depth=SLOTS * ENVELOPE_POINTS // 2)
            end = Signal(signed(SAMPLE_BITS), name=name, reset_less=True)
            m.d.comb += [
                bank.write.eq(self.points_write), bank.write_address.eq(self.points_address),
                bank.write_data.eq(self.points.word_select(k, SAMPLE_BITS)),
                bank.read.eq(1), bank.read_address.eq(Cat(address, self.slot)),
            ]
            m.d.sync += end.eq(bank.read_data)
            ends.append(end)
        even, odd = ends
        from_odd = delayed(m, whole[0], 2, "from_odd")
        fraction = delayed(m, position[STEP_FRACTION_BITS - _FRACTION_BITS:STEP_FRACTION_BITS],
                           4, "fraction", free=True)
        # 8: the line's beginning and slope. 10: along it. 11: sum.
        begin, slope = Signal(signed(SAMPLE_BITS)), Signal(signed(SAMPLE_BITS + 1))
        first, second = Mux(from_odd, odd, even), Mux(from_odd, even, odd)
        m.d.sync += [begin.eq(first), slope.eq(second - first)]
        slope = delayed(m, slope, 1, "slope", free=True)
        product = Signal(signed(len(slope) + len(fraction)), reset_less=True)
        m.d.sync += product.eq(slope * fraction)
        begin = delayed(m, begin, 2, "begin")
        envelope = Signal(signed(SAMPLE_BITS + _GUARD_BITS))
        drop = _FRACTION_BITS - _GUARD_BITS - 1
        m.d.sync += envelope.eq(((product >> drop)
                                 + Cat(C(1, _GUARD_BITS + 1), begin).as_signed()) >> 1)
        return delayed(m, envelope, 1, "envelope", free=True)

    def _carrier(self, m):
        """Cosine of the phase: its sign 8 ticks after n, its magnitude 14 ticks after n."""
        # 6: what all channels are told is kept nearby, by the one that is meant.
        frequency_set = delayed(m, self.frequency_set, 1, "frequency_set")
        coherent, told, start = Signal(), Signal(PHASE_BITS), Signal(PHASE_BITS)
        with m.If(self.frequency_set):
            m.d.sync += [coherent.eq(self.coherent), told.eq(self.frequency),
                         start.eq(self.start)]
        phase_set = delayed(m, self.phase_set, 1, "phase_set")
        phase_add = delayed(m, self.phase_add, 1, "phase_add")
        turn = Signal(32)
        with m.If(self.phase_set | self.phase_add):
            m.d.sync += turn.eq(self.phase)
        # 7: phase of the oscillator.
        frequency, phase = Signal(PHASE_BITS), Signal(PHASE_BITS)
        m.d.sync += phase.eq(phase + frequency)
        with m.If(frequency_set):
            m.d.sync += frequency.eq(told)
            with m.If(coherent):
                m.d.sync += phase.eq(start)
        # 8: with the offset, whose unit is 2**16 of the oscillator's.
        offset = Signal(32)
        with m.If(phase_set):
            m.d.sync += offset.eq(turn)
        with m.Elif(phase_add):
            m.d.sync += offset.eq(offset + turn)
        total = Signal(32)
        m.d.sync += total.eq(phase[PHASE_BITS - 32:] + offset)
        m.submodules.cosine = cosine = Cosine()
        m.d.comb += cosine.phase.eq(total[-COSINE_PHASE_BITS:])
        return cosine
