"""UART: bytes to and from an asynchronous serial line, eight data bits, no parity."""

from fractions import Fraction

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from quantacore.gateware.stream import Queue, connect_streams

__all__ = ["UART"]

#: Bits of the phase accumulators: the bit rate is right to 1 part in 2**9 at the lowest rate.
_PHASE_BITS = 24
#: Clocks per bit at least: with fewer, one clock of edge uncertainty and 2 % of clock error use up
#: the half bit that there is.
_MIN_CLOCKS = 8
_MAX_CLOCKS = 1 << 15
_DEPTH = 16


class UART(wiring.Component):
    """Eight data bits, no parity, one stop bit, with any ratio of clock to bit rate.

    Bits are timed by a phase accumulator, so the rate need not divide the clock: 12 Mbaud at
    125 MHz is 10.42 clocks per bit, and each bit is right to one clock. The receiver samples once
    in the middle of each bit and tolerates 2 % of difference between the two ends' clocks.

    Latency: ``o`` is valid at most 6 clocks after the middle of the stop bit; the start bit leaves
    2 clocks after a byte is accepted at ``i``. Throughput: the line's.

    Parameters
    ----------
    clock_hz : int or Fraction
        Frequency of the ``sync`` clock.
    baud : int or Fraction
        Bits per second; 8 to 32768 clocks per bit.

    Members
    -------
    rxd : In(1)
        Line in; synchronised here.
    txd : Out(1)
        Line out, from a register.
    i : In(stream of bytes)
        To the line.
    o : Out(stream of bytes)
        From the line, through a queue of 16.
    framing : Out(1)
        High for one clock when a stop bit was not there. That byte is dropped, and so is all else
        until the line is idle.
    overrun : Out(1)
        High for one clock when a byte came with the queue full. That byte is dropped.

    Raises
    ------
    ValueError
        The line rate is impossible with this clock.
    """

    def __init__(self, *, clock_hz, baud):
        for name, value in (("Clock frequency", clock_hz), ("Baud", baud)):
            if not isinstance(value, int | Fraction):
                raise TypeError(f"{name} must be an integer or a Fraction, not {value!r}")
            if value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        low, high = -(-clock_hz // _MAX_CLOCKS), clock_hz // _MIN_CLOCKS
        if not low <= baud <= high:
            raise ValueError(f"A clock of {clock_hz} Hz allows {low} to {high} baud, not {baud}")
        self.clock_hz = clock_hz
        self.baud = baud
        self._step = round(Fraction(baud) / Fraction(clock_hz) * (1 << _PHASE_BITS))
        super().__init__({
            "rxd": In(1, init=1),
            "txd": Out(1, init=1),
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "framing": Out(1),
            "overrun": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        self._receive(m)
        self._transmit(m)
        return m

    def _receive(self, m):
        m.submodules.queue = queue = Queue(8, depth=_DEPTH)
        connect_streams(m, queue.o, wiring.flipped(self.o))

        rxd = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rxd, rxd, init=1)

        phase = Signal(_PHASE_BITS)
        sample = Signal()
        bits = Signal(8)
        number = Signal(range(8))
        write = Signal()
        m.d.sync += [write.eq(0), Cat(phase, sample).eq(phase + self._step)]
        m.d.comb += [queue.i.payload.eq(bits), queue.i.valid.eq(write),
                     self.overrun.eq(write & ~queue.i.ready)]
        m.d.sync += self.framing.eq(0)

        with m.FSM(init="BREAK"):
            with m.State("IDLE"):
                with m.If(~rxd):
                    # Half a bit from the edge; the clock that `sample` takes is in the half.
                    m.d.sync += [phase.eq((1 << _PHASE_BITS - 1) + self._step), sample.eq(0)]
                    m.next = "START"
            with m.State("START"):
                m.d.sync += number.eq(0)
                with m.If(sample):
                    m.next = "DATA"
                    with m.If(rxd):  # a glitch
                        m.next = "IDLE"
            with m.State("DATA"):
                with m.If(sample):
                    m.d.sync += [bits.eq(Cat(bits[1:], rxd)), number.eq(number + 1)]
                    with m.If(number == 7):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(sample):
                    m.d.sync += [write.eq(rxd), self.framing.eq(~rxd)]
                    m.next = "IDLE"
                    with m.If(~rxd):
                        m.next = "BREAK"
            with m.State("BREAK"):
                with m.If(rxd):
                    m.next = "IDLE"

    def _transmit(self, m):
        phase = Signal(_PHASE_BITS)
        bit_done = Signal()
        bits = Signal(9, init=0x1FF)
        left = Signal(range(11))
        m.d.comb += self.i.ready.eq(left == 0)
        m.d.sync += self.txd.eq(bits[0])
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [bits.eq(Cat(C(0, 1), self.i.payload)), left.eq(10), phase.eq(self._step),
                         bit_done.eq(0)]
        with m.Else():
            m.d.sync += Cat(phase, bit_done).eq(phase + self._step)
            with m.If(bit_done & (left != 0)):
                m.d.sync += [bits.eq(Cat(bits[1:], C(1, 1))), left.eq(left - 1)]
