"""UART: bytes survive the line at every rate, and with clocks that differ."""

from fractions import Fraction

import pytest
from amaranth import *
from amaranth.sim import Simulator

from quantacore.gateware.link.uart import UART

_CLOCK = 125_000_000
_BYTES = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7E, 0x31])


def receive(data, *, baud, error=0.0, stop=1, ready=True):
    """Bytes, framing errors and overruns that a receiver counts of ``data`` on a line."""
    dut = UART(clock_hz=_CLOCK, baud=baud)
    clocks = _CLOCK / baud * (1 + error)
    line = [1.0] * 3
    for byte in data:
        line += [0, *(byte >> i & 1 for i in range(8)), stop]
    line += [1] * 12
    got, framing, overrun = [], 0, 0

    async def bench(ctx):
        nonlocal framing, overrun
        ctx.set(dut.o.ready, ready)
        for tick in range(int(len(line) * clocks) - 1):
            ctx.set(dut.rxd, int(line[int(tick / clocks)]))
            _, _, valid, value, bad, lost = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.framing, dut.overrun)
            if valid and ready:
                got.append(value)
            framing += bad
            overrun += lost

    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return bytes(got), framing, overrun


@pytest.mark.parametrize("baud", [1_000_000, 3_000_000, 8_000_000, 12_000_000])
@pytest.mark.parametrize("error", [-0.02, 0.0, 0.02])
def test_receives_with_two_percent_of_clock_error(baud, error):
    assert receive(_BYTES, baud=baud, error=error) == (_BYTES, 0, 0)


def test_missing_stop_bit():
    """A byte without its stop bit is dropped, and the receiver waits for an idle line."""
    assert receive(b"\x0f", baud=3_000_000, stop=0) == (b"", 1, 0)


def test_glitch_is_no_start_bit():
    dut = UART(clock_hz=_CLOCK, baud=1_000_000)
    seen = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for tick in range(2000):
            ctx.set(dut.rxd, not 20 <= tick < 60)
            _, _, valid, bad = await ctx.tick().sample(dut.o.valid, dut.framing)
            seen.append(valid or bad)

    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert not any(seen)


def test_overrun_is_counted():
    got, framing, overrun = receive(bytes(range(1, 25)), baud=12_000_000, ready=False)
    assert (got, framing) == (b"", 0)
    assert 24 - 18 <= overrun <= 24 - 16


@pytest.mark.parametrize("baud", [1_000_000, 12_000_000])
def test_loopback_takes_the_line_time(baud):
    """What is sent comes back; back-to-back bytes take ten bits each."""
    dut = UART(clock_hz=_CLOCK, baud=baud)
    got, starts = [], []

    async def send(ctx):
        for tick in range(int(11 * len(_BYTES) * _CLOCK / baud)):
            ctx.set(dut.rxd, ctx.get(dut.txd))
            done = len(starts)
            ctx.set(dut.i.valid, done < len(_BYTES))
            if done < len(_BYTES):
                ctx.set(dut.i.payload, _BYTES[done])
            ctx.set(dut.o.ready, 1)
            _, _, ready, valid, value = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, dut.o.payload)
            if ready and done < len(_BYTES):
                starts.append(tick)
            if valid:
                got.append(value)

    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(send)
    simulator.run()
    assert bytes(got) == _BYTES
    per_byte = (starts[-1] - starts[0]) / (len(_BYTES) - 1)
    assert 10 * _CLOCK / baud <= per_byte <= 10 * _CLOCK / baud + 2


@pytest.mark.parametrize("arguments, error, message", [
    ({"clock_hz": _CLOCK, "baud": 20_000_000}, ValueError,
     "A clock of 125000000 Hz allows 3815 to 15625000 baud, not 20000000"),
    ({"clock_hz": _CLOCK, "baud": 300}, ValueError,
     "A clock of 125000000 Hz allows 3815 to 15625000 baud, not 300"),
    ({"clock_hz": _CLOCK, "baud": 0}, ValueError, "Baud must be positive, not 0"),
    ({"clock_hz": 1.25e8, "baud": 10**6}, TypeError,
     "Clock frequency must be an integer or a Fraction, not 125000000.0"),
])
def test_construction_errors(arguments, error, message):
    with pytest.raises(error) as caught:
        UART(**arguments)
    assert str(caught.value) == message


def test_a_fractional_clock_is_fine():
    assert UART(clock_hz=Fraction(375_000_000, 3), baud=10**6).baud == 10**6
