"""The engine's UART against the gateware's, bit by bit."""

from fractions import Fraction

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.link.uart import UART
from quantacore.gateware.stream import connect_streams
from quantacore.sim.bench.word_recorder import RecorderConfig, WordRecorder, decode_words
from quantacore.sim.node.engine import Engine

CONFIG = RecorderConfig(channels=1, samples=1, fine=False)


class UARTRecorder(wiring.Component):
    """A recorder behind the node's UART, joined as in UARTNode."""

    def __init__(self, baud):
        self.recorder = WordRecorder(CONFIG, queue=4)
        self.uart = UART(clock_hz=CONFIG.clock_hz, baud=baud)
        members = {name: member for name, member in self.recorder.signature.members.items()
                   if name not in ("rx", "tx")}
        super().__init__({**members, "rxd": In(1, init=1), "txd": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.recorder = recorder = self.recorder
        m.submodules.uart = uart = self.uart
        connect_streams(m, uart.o, recorder.rx)
        connect_streams(m, recorder.tx, uart.i)
        m.d.comb += [uart.rxd.eq(self.rxd), self.txd.eq(uart.txd)]
        return m


@pytest.mark.parametrize("baud", [1_000_000, 3_000_000, 12_000_000])
def test_echo_of_every_byte_value(baud):
    data = bytes(range(2, 256)) * 2
    with Engine(CONFIG, component=UARTRecorder(baud), baud=baud) as engine:
        engine.send(data)
        # Half a second of patience; two bytes come back for each.
        engine.advance(2_000_000, want=2 * len(data))
        assert decode_words(engine.receive(), CONFIG)[0] == data
        assert engine.statistics["framing_errors"] == 0
        # Bytes leave at the line's rate, but for a few ticks between two of them.
        bits = Fraction(engine.tick) * baud / CONFIG.clock_hz
        gap = 3 * Fraction(baud, CONFIG.clock_hz)
        assert 2 * len(data) * 10 <= bits <= 2 * len(data) * (10 + gap) + 60


def test_a_host_with_the_wrong_rate_is_not_understood():
    with Engine(CONFIG, component=UARTRecorder(3_000_000), baud=3_000_000,
                host_baud=2_000_000) as engine:
        engine.send(b"hello")
        engine.advance(20_000)
        received = engine.receive()
        assert b"h" not in received
        assert engine.statistics["framing_errors"] > 0 or received != b"\xech\xece\xecl\xecl\xeco"


def test_a_host_two_percent_off_is_understood():
    with Engine(CONFIG, component=UARTRecorder(3_000_000), baud=3_000_000,
                host_baud=3_060_000) as engine:
        for text in (b"hello", bytes([0x55, 0xAA, 0xFF, 0x02])):
            engine.send(text)
            engine.advance(100_000, flush=2000)
            assert decode_words(engine.receive(), CONFIG)[0] == text


def test_a_uart_host_without_room_loses_bytes_and_the_count_is_known():
    with Engine(CONFIG, component=UARTRecorder(3_000_000), baud=3_000_000, stall="line",
                host_bytes=10) as engine:
        engine.send(bytes([5] * 20))
        engine.advance(50_000)
        assert engine.available == 10
        assert engine.statistics["line_lost"] == 30
        assert engine.statistics["bytes_to_host"] == 40


def test_a_rate_above_the_clock_is_refused():
    with pytest.raises(ValueError, match="must last at least 2"):
        Engine(CONFIG, component=UARTRecorder(3_000_000), baud=100_000_000)
