"""A component with the ports of a node that reports the words it sees: tests the harness itself."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.tags import FINE_BITS, sample_word
from quantacore.gateware.stream import Queue

__all__ = ["RecorderConfig", "WordRecorder", "decode_words", "edges_of_words"]


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """The part of a node's configuration that the harness reads."""

    channels: int = 2
    samples: int = 4
    fine: bool = True
    clock_hz: Fraction | int = 125_000_000

    @property
    def tick_ps(self):
        """Length of a tick in picoseconds, exact."""
        return Fraction(10**12) / Fraction(self.clock_hz)


def _report(config):
    word = sample_word(config.samples, fine=config.fine)
    body = data.StructLayout({"tick": 48, "words": data.ArrayLayout(word, config.channels + 2)})
    return data.StructLayout({"body": body, "pad": -body.size % 8})


class WordRecorder(wiring.Component):
    """Echo bytes, and send every set of input words in which a level changes.

    On the line, ``0xEC b`` is the echo of byte ``b`` and ``0xED`` begins a report: tick, then the
    words of all detectors, ``pps`` and ``clock``, little-endian. The byte 0x01 raises ``running``
    and 0x00 drops it. ``sync`` counts ticks divided by 64, ``triggers`` is the last byte received.
    ``queue`` reports are held while the line is busy; more than that are lost (a test that sees
    this has stimulated too fast).

    Parameters
    ----------
    config : RecorderConfig
    queue : int
        Depth of the report queue.
    """

    def __init__(self, config, *, queue=512):
        self.config = config
        self.queue = queue
        word = sample_word(config.samples, fine=config.fine)
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "detectors": In(word).array(config.channels),
            "pps": In(word),
            "clock": In(word),
            "triggers": Out(4),
            "sync": Out(2),
            "running": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = _report(self.config)
        tick = Signal(48)
        m.d.sync += tick.eq(tick + 1)
        m.d.comb += self.sync.eq(tick[6:8])
        words = [*self.detectors, self.pps, self.clock]

        changed = Signal(len(words))
        report = Signal(shape)
        m.submodules.reports = reports = Queue(shape, depth=self.queue)
        m.d.comb += [reports.i.valid.eq(changed.any()), reports.i.payload.eq(report),
                     report.body.tick.eq(tick)]
        for k, word in enumerate(words):
            last = Signal(name=f"last_{k}")
            m.d.sync += last.eq(word.level[-1])
            m.d.comb += [
                changed[k].eq((word.level ^ Cat(last, word.level)[:len(word.level)]).any()),
                Value.cast(report.body.words[k]).eq(Value.cast(word)),
            ]

        m.submodules.echoes = echoes = Queue(8, depth=512)
        with m.If(self.rx.valid & self.rx.ready):
            m.d.sync += self.triggers.eq(self.rx.payload)
            with m.If(self.rx.payload < 2):
                m.d.sync += self.running.eq(self.rx.payload)
        m.d.comb += [
            echoes.i.valid.eq(self.rx.valid),
            echoes.i.payload.eq(self.rx.payload),
            self.rx.ready.eq(echoes.i.ready),
        ]

        # A frame of the line goes out as one shift register.
        size = Shape.cast(shape).width // 8 + 1
        shift = Signal(8 * size)
        left = Signal(range(size + 1))
        m.d.comb += [self.tx.valid.eq(left != 0), self.tx.payload.eq(shift[:8])]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += [shift.eq(shift >> 8), left.eq(left - 1)]
        with m.If(left == 0):
            with m.If(echoes.o.valid):
                m.d.comb += echoes.o.ready.eq(1)
                m.d.sync += [shift.eq(Cat(C(0xEC, 8), echoes.o.payload)), left.eq(2)]
            with m.Elif(reports.o.valid):
                m.d.comb += reports.o.ready.eq(1)
                m.d.sync += [shift.eq(Cat(C(0xED, 8), Value.cast(reports.o.payload))),
                             left.eq(size)]
        return m


def decode_words(received, config):
    """Split what a :class:`WordRecorder` sent into echoed bytes and reports.

    Returns
    -------
    bytes, list of (int, list of int)
        The echo, and per report its tick and the word of every input.
    """
    shape = _report(config)
    size = Shape.cast(shape).width // 8
    width = sample_word(config.samples, fine=config.fine).size
    echo, reports, at = bytearray(), [], 0
    while at < len(received):
        if received[at] == 0xEC:
            echo.append(received[at + 1])
            at += 2
        elif received[at] == 0xED:
            value = int.from_bytes(received[at + 1:at + 1 + size], "little")
            words = [value >> 48 + k * width & (1 << width) - 1
                     for k in range(config.channels + 2)]
            reports.append((value & (1 << 48) - 1, words))
            at += 1 + size
        else:
            raise ValueError(f"Neither an echo nor a report at byte {at}: {received[at]:#x}")
    return bytes(echo), reports


def edges_of_words(reports, config):
    """Times of all edges in reports: per input an array of (fine-unit time, 1 if falling)."""
    samples = config.samples
    fine_width = FINE_BITS - samples.bit_length() + 1
    levels = [0] * (config.channels + 2)
    edges = [[] for _ in levels]
    for tick, words in reports:
        for k, word in enumerate(words):
            for i in range(samples):
                level = word >> i & 1
                if level != levels[k]:
                    fine = 0
                    if config.fine:
                        fine = word >> samples + i * fine_width & (1 << fine_width) - 1
                    edges[k].append(((tick * samples + i << fine_width) + fine, 1 - level))
                levels[k] = level
    return [np.array(found, dtype=np.int64).reshape(-1, 2) for found in edges]
