"""A component with the ports of a node that talks to peers: tests networks of virtual nodes."""

from dataclasses import dataclass
from fractions import Fraction

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.tags import sample_word
from quantacore.gateware.stream import Queue

__all__ = ["ProbeConfig", "PeerProbe", "Seen", "decode_seen"]


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """The part of a node's configuration that the harness reads."""

    channels: int = 2
    samples: int = 4
    fine: bool = True
    clock_hz: Fraction | int = 125_000_000
    lanes: int = 4
    peers: int = 2

    @property
    def tick_ps(self):
        """Length of a tick in picoseconds, exact."""
        return Fraction(10**12) / Fraction(self.clock_hz)


class Seen(enum.Enum, shape=4):
    """What a :class:`PeerProbe` reports."""

    #: A word came from peer ``number``.
    WORD = 1
    #: Detector ``number`` rose, in sample ``value``.
    CLICK = 2
    #: Input ``peers`` changed to ``value``.
    BARRIER = 3


class _Report(data.Struct):
    tick: 48
    value: 8
    kind: Seen
    number: 4


_WORD_BYTES = _Report.as_shape().size // 8


class PeerProbe(wiring.Component):
    """Sends what the host says to its peers, raises lines, and reports what it sees.

    A byte from the host is a command in its upper half and a number in its lower half: 0: running
    is bit 0 of the number. 1 + k: the number goes to peer k, for one tick. 8: TTL lines, for one
    tick. 9: level of ``barrier``. 10: with a number n > 0, TTL line 0 is raised and n goes to peer
    0 every 128 ticks, from a tick divisible by 128.

    Parameters
    ----------
    config : ProbeConfig
    """

    def __init__(self, config):
        self.config = config
        word = sample_word(config.samples, fine=config.fine)
        lanes = data.StructLayout({"data": config.lanes, "valid": 1})
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "detectors": In(word).array(config.channels),
            "pps": In(word),
            "clock": In(word),
            "running": Out(1),
            "ttl": Out(4),
            "barrier": Out(1),
            "peers": In(2),
            "peer_i": In(lanes).array(config.peers),
            "peer_o": Out(lanes).array(config.peers),
        })

    def elaborate(self, platform):
        m = Module()
        tick = Signal(48)
        m.d.sync += tick.eq(tick + 1)

        beat = Signal(4)
        m.d.comb += self.rx.ready.eq(1)
        m.d.sync += [self.ttl.eq(0), *(Value.cast(peer).eq(0) for peer in self.peer_o)]
        with m.If(beat.any() & tick[:7].all()):
            m.d.sync += [self.ttl.eq(1), self.peer_o[0].data.eq(beat), self.peer_o[0].valid.eq(1)]
        with m.If(self.rx.valid):
            number = self.rx.payload[:4]
            with m.Switch(self.rx.payload[4:]):
                with m.Case(0):
                    m.d.sync += self.running.eq(number[0])
                for k, peer in enumerate(self.peer_o):
                    with m.Case(1 + k):
                        m.d.sync += [peer.data.eq(number), peer.valid.eq(1)]
                with m.Case(8):
                    m.d.sync += self.ttl.eq(number)
                with m.Case(9):
                    m.d.sync += self.barrier.eq(number[0])
                with m.Case(10):
                    m.d.sync += beat.eq(number)

        events = []
        for k, peer in enumerate(self.peer_i):
            events.append((peer.valid, Seen.WORD, k, peer.data))
        for k, detector in enumerate(self.detectors):
            last = Signal(name=f"last_{k}")
            m.d.sync += last.eq(detector.level[-1])
            rises = detector.level & ~Cat(last, detector.level)[:len(detector.level)]
            sample = Signal(range(len(detector.level) + 1), name=f"sample_{k}")
            for i in reversed(range(len(detector.level))):
                with m.If(rises[i]):
                    m.d.comb += sample.eq(i)
            events.append((rises.any(), Seen.CLICK, k, sample))
        peers = Signal(len(self.peers))
        m.d.sync += peers.eq(self.peers)
        events.append((peers != self.peers, Seen.BARRIER, 0, self.peers))

        # What comes in one tick waits in a queue of its own kind.
        queues = []
        for k, (happens, kind, number, value) in enumerate(events):
            m.submodules[f"queue_{k}"] = queue = Queue(_Report, depth=64)
            report = Signal(_Report, name=f"report_{k}")
            m.d.comb += [report.tick.eq(tick), report.kind.eq(kind), report.number.eq(number),
                         report.value.eq(value), queue.i.payload.eq(report),
                         queue.i.valid.eq(happens)]
            queues.append(queue)
        shift = Signal(8 * _WORD_BYTES)
        left = Signal(range(_WORD_BYTES + 1))
        m.d.comb += [self.tx.valid.eq(left != 0), self.tx.payload.eq(shift[:8])]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += [shift.eq(shift >> 8), left.eq(left - 1)]
        with m.If(left == 0):
            for k, queue in enumerate(queues):
                with m.If(queue.o.valid) if k == 0 else m.Elif(queue.o.valid):
                    m.d.comb += queue.o.ready.eq(1)
                    m.d.sync += [shift.eq(Value.cast(queue.o.payload)), left.eq(_WORD_BYTES)]
        return m


def decode_seen(received):
    """What a :class:`PeerProbe` sent, in order: ``(tick, Seen, number, value)`` each."""
    if len(received) % _WORD_BYTES:
        raise ValueError(f"Reports have {_WORD_BYTES} bytes, and {len(received)} came")
    reports = []
    for at in range(0, len(received), _WORD_BYTES):
        report = _Report.from_bits(int.from_bytes(received[at:at + _WORD_BYTES], "little"))
        reports.append((report.tick, report.kind, report.number, report.value))
    return sorted(reports, key=lambda report: report[0])
