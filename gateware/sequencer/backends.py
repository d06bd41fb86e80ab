"""From a channel's samples to pins: parallel words, an SPI converter, one bit of sigma-delta."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.sequencer import SAMPLE_BITS

__all__ = ["ParallelDac", "SpiDac", "SigmaDelta"]


def _check(owner, **ranges):
    """Each of ``ranges`` is name=(value, least, most)."""
    for name, (value, least, most) in ranges.items():
        words = name.replace("_", " ")
        if not isinstance(value, int):
            raise TypeError(f"{owner} {words} must be an integer, not {value!r}")
        if not least <= value <= most:
            raise ValueError(f"{owner} {words} must be between {least} and {most}, not {value}")


class ParallelDac(wiring.Component):
    """A sample's upper bits, rounded to the nearest (halves up) and never wrapped around.

    A word each clock, one clock after its sample.

    Parameters
    ----------
    width : int
        Bits of the converter, 2 to 16.
    offset_binary : bool
        0 is the most negative output; otherwise two's complement.

    Members
    -------
    sample : In(signed(16))
    word : Out(width)
    """

    def __init__(self, *, width, offset_binary=True):
        _check("ParallelDac", width=(width, 2, SAMPLE_BITS))
        self.width = width
        self.offset_binary = bool(offset_binary)
        super().__init__({"sample": In(signed(SAMPLE_BITS)),
                          "word": Out(width, init=1 << width - 1 if offset_binary else 0)})

    def elaborate(self, platform):
        m = Module()
        drop = SAMPLE_BITS - self.width
        word = Signal(signed(self.width))
        if drop:
            m.d.comb += word.eq(self.sample >> drop)
            # Only the largest word would not hold the next one up.
            largest = ~word[-1] & word[:-1].all()
            up = self.sample[drop - 1] & ~largest
        else:
            m.d.comb += word.eq(self.sample)
            up = C(0, 1)
        flip = C(int(self.offset_binary) << self.width - 1, self.width)
        m.d.sync += self.word.eq((word + up)[:self.width] ^ flip)
        return m


class SpiDac(wiring.Component):
    """Frames for a serial converter: command bits, then the sample, then zeros.

    Frames follow each other without end. Each carries the sample that was there two clocks before
    ``sync_n`` fell; those in between are not sent, so that a converter gets a sample every
    ``frame_ticks`` clocks. It has all bits when ``sync_n`` rises, ``frame_ticks - 2 * half_period``
    clocks after that fell.

    Parameters
    ----------
    frame_bits : int
        2 to 64.
    command_bits, command : int
        Bits that come first, and what they are.
    width : int
        Bits of the sample, 2 to 16, rounded as by :class:`ParallelDac`.
    offset_binary : bool
    half_period : int
        Clocks for which ``sclk`` is low, and for which it is high: 1 to 256.

    Members
    -------
    sample : In(signed(16))
    sclk : Out(1)
        Low between frames. Bits change as it rises, and are taken as it falls.
    sync_n : Out(1)
        Low during a frame; high for two half periods between frames.
    mosi : Out(1)
        Highest bit first.
    Attributes
    ----------
    frame_ticks : int
        Clocks from one sample to the next.
    """

    def __init__(self, *, frame_bits=24, command_bits=8, command=0, width=16, offset_binary=True,
                 half_period=1):
        _check("SpiDac", frame_bits=(frame_bits, 2, 64), command_bits=(command_bits, 0, 62),
               width=(width, 2, SAMPLE_BITS), half_period=(half_period, 1, 256))
        if command_bits + width > frame_bits:
            raise ValueError(f"SpiDac frame must have room for {command_bits} command bits and "
                             f"{width} sample bits, not {frame_bits} bits in all")
        _check("SpiDac", command=(command, 0, (1 << command_bits) - 1))
        self.frame_bits = frame_bits
        self.command_bits = command_bits
        self.command = command
        self.width = width
        self.offset_binary = bool(offset_binary)
        self.half_period = half_period
        self.frame_ticks = 2 * half_period * (frame_bits + 1)
        super().__init__({
            "sample": In(signed(SAMPLE_BITS)), "sclk": Out(1), "sync_n": Out(1, init=1),
            "mosi": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.word = word = ParallelDac(width=self.width, offset_binary=self.offset_binary)
        m.d.comb += word.sample.eq(self.sample)
        # `phase` counts clocks of a half period, `half` half periods of a frame and its pause.
        last_half = 2 * self.frame_bits + 1
        phase = Signal(range(self.half_period + 1))
        half = Signal(range(last_half + 1), init=last_half)
        shift = Signal(self.frame_bits)
        step, begins = Signal(), Signal()
        m.d.comb += [
            step.eq(phase == self.half_period - 1),
            begins.eq(step & (half == last_half)),
            self.mosi.eq(shift[-1]),
        ]
        frame = Cat(C(0, self.frame_bits - self.command_bits - self.width), word.word,
                    C(self.command, self.command_bits))
        m.d.sync += phase.eq(phase + 1)
        with m.If(step):
            m.d.sync += [phase.eq(0), half.eq(half + 1)]
            with m.If(begins):
                m.d.sync += [half.eq(0), shift.eq(frame), self.sync_n.eq(0), self.sclk.eq(1)]
            with m.Elif(half >= 2 * self.frame_bits - 1):
                m.d.sync += [self.sync_n.eq(1), self.sclk.eq(0)]
            with m.Else():
                m.d.sync += self.sclk.eq(~self.sclk)
                with m.If(half[0]):
                    m.d.sync += shift.eq(shift << 1)
        return m


class SigmaDelta(wiring.Component):
    """One bit whose mean is the sample's: a pin and a low-pass are a converter.

    A bit each clock, two clocks after its sample; full scale is a pin that is always high or always
    low. The error of each bit is fed back to the next ones: once (first order: noise rises with
    frequency), or twice, less the one before (second order: with its square). A second-order
    modulator needs room: its error is limited to eight full scales, which samples of up to 0.7 of
    full scale do not reach; above, the mean may be off for a while.

    Parameters
    ----------
    order : int
        1 or 2.

    Members
    -------
    sample : In(signed(16))
    bit : Out(1)
    """

    def __init__(self, *, order=1):
        _check("SigmaDelta", order=(order, 1, 2))
        self.order = order
        super().__init__({"sample": In(signed(SAMPLE_BITS)), "bit": Out(1)})

    def elaborate(self, platform):
        m = Module()
        full = 1 << SAMPLE_BITS - 1
        # The first order's error is within full scale by itself.
        limit = 8 * full
        error = Signal(signed(SAMPLE_BITS + 3))
        # The part that does not need the last error is ready a clock early.
        ready = Signal(signed(SAMPLE_BITS + 4))
        wanted, made = Signal(signed(SAMPLE_BITS + 5)), Signal(signed(SAMPLE_BITS + 6))
        if self.order == 1:
            m.d.sync += ready.eq(self.sample)
            m.d.comb += wanted.eq(ready + error)
        else:
            m.d.sync += ready.eq(self.sample - error)
            m.d.comb += wanted.eq(ready + (error << 1))
        m.d.comb += made.eq(Mux(wanted < 0, wanted + full, wanted - full))
        m.d.sync += [self.bit.eq(wanted >= 0),
                     error.eq(Mux(made < -limit, -limit, Mux(made >= limit, limit - 1, made)))]
        return m
