"""A node: every block, joined. Pins are ports here; boards and simulators drive them."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.csr import AbsentBank, CsrDecoder, RegisterBank
from quantacore.gateware.herald.histogram import Histogram
from quantacore.gateware.herald.tagger import Tagger
from quantacore.gateware.layouts import identity, peer
from quantacore.gateware.layouts.decoder import BASES, DecoderShape
from quantacore.gateware.layouts.decoder_registers import DECODER
from quantacore.gateware.layouts.export import map_crc
from quantacore.gateware.layouts.frames import LINK_VERSION
from quantacore.gateware.layouts.herald import HERALD
from quantacore.gateware.layouts.identity import IDENTITY
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.peer import PEER_LANES, PEER_PORTS, peer_word
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    PEERS,
    SAMPLE_BITS,
    SEQUENCER,
    TRIGGER_INPUTS,
    TTL_LINES,
)
from quantacore.gateware.layouts.switches import (
    DRIVE_BITS,
    MAX_SWITCHES,
    MONITOR_BITS,
    SWITCHES,
)
from quantacore.gateware.layouts.tagger import HISTOGRAM_BINS
from quantacore.gateware.layouts.tags import MAX_CHANNELS, SAMPLES_PER_CLOCK, sample_word
from quantacore.gateware.layouts.timing import SYNC_OUTPUTS, TRIGGERS
from quantacore.gateware.layouts.virtual import VIRTUAL
from quantacore.gateware.link.link import Link
from quantacore.gateware.link.uart import UART
from quantacore.gateware.stream import Merge, connect_streams
from quantacore.gateware.timing.unit import TimingUnit

__all__ = ["NodeConfig", "Node", "UARTNode"]


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """What is chosen when a node is built.

    Parameters
    ----------
    channels : int
        Detector inputs, 1 to 8.
    samples : int
        Samples per clock of every input: 1, 2, 4 or 8.
    fine : bool
        Whether front ends measure inside a sample.
    clock_hz : Fraction or int
        Frequency of the fabric clock, exact.
    buffer_depth : int
        Records held for the host, a power of two.
    row_depth : int
        Clocks with edges that may wait to be serialised.
    simulated : bool
        Sets the capability bit of that name: there is no hardware behind the pins.
    decoder : DecoderShape or None
        The syndrome decoder to build; None leaves it out.
    sequencer : int or None
        Pulse channels of the sequencer to build, 1 to 8; None leaves it out.
    herald : bool
        Build the herald unit, which needs a sequencer, and virtual channels.
    switches : int or None
        Photonic switches to control, 1 to 8; None leaves their control out.
    lanes : int or None
        Data lines of the herald unit's two ports to peers: 1, 4 or 8; None leaves the ports out.
    """

    channels: int = MAX_CHANNELS
    samples: int = 4
    fine: bool = True
    clock_hz: Fraction | int = 125_000_000
    buffer_depth: int = 2048
    row_depth: int = 512
    simulated: bool = False
    decoder: DecoderShape | None = None
    sequencer: int | None = None
    herald: bool = False
    switches: int | None = None
    lanes: int | None = None

    def __post_init__(self):
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"Channels must be 1 to {MAX_CHANNELS}, not {self.channels!r}")
        if self.samples not in SAMPLES_PER_CLOCK:
            raise ValueError(f"Samples per clock must be one of {SAMPLES_PER_CLOCK}, "
                             f"not {self.samples!r}")
        for name in ("buffer_depth", "row_depth"):
            value = getattr(self, name)
            if value < 16 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two from 16 up, not {value!r}")
        if self.clock_hz <= 0:
            raise ValueError(f"Clock frequency must be positive, not {self.clock_hz!r}")
        if not isinstance(self.decoder, DecoderShape | None):
            raise TypeError(f"Decoder must be a DecoderShape or None, not {self.decoder!r}")
        if self.sequencer is not None and not 1 <= self.sequencer <= CHANNELS:
            raise ValueError(f"A sequencer has 1 to {CHANNELS} channels, not {self.sequencer!r}; "
                             f"None leaves it out")
        if self.switches is not None and not 1 <= self.switches <= MAX_SWITCHES:
            raise ValueError(f"A node has 1 to {MAX_SWITCHES} switches, not {self.switches!r}; "
                             f"None leaves their control out")
        if self.lanes is not None and (self.lanes not in PEER_LANES or not self.herald):
            raise ValueError(f"Ports to peers have one of {PEER_LANES} lanes and belong to a "
                             f"herald unit (herald=True); not lanes={self.lanes!r}, "
                             f"herald={self.herald!r}")
        if self.herald and self.sequencer is None:
            raise ValueError("A herald unit takes its attempts from a sequencer: give "
                             "sequencer=1 to 8 too")

    @property
    def tick_ps(self):
        """Length of a tick in picoseconds, exact."""
        return Fraction(10**12) / Fraction(self.clock_hz)


def _build_id(config):
    """First 8 bytes of a SHA-256 over the gateware's sources and the node's parameters."""
    digest = hashlib.sha256(repr(config).encode())
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "big")


class _Identity(wiring.Component):
    """The identity block: constants, and a scratch register."""

    def __init__(self, config, *, uart):
        self.config = config
        self.uart = uart
        self.bank = RegisterBank(IDENTITY)
        super().__init__({"csr": In(self.bank.signature.members["bus"].signature.flip())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        config = self.config
        m.d.comb += [
            bank.magic.eq(identity.MAGIC),
            bank.protocol.link.eq(LINK_VERSION),
            bank.protocol.layout.eq(identity.LAYOUT_VERSION),
            bank.map_crc.eq(map_crc()),
            bank.capabilities.fine.eq(config.fine),
            bank.capabilities.histogram.eq(1),
            bank.capabilities.discipline.eq(1),
            bank.capabilities.uart.eq(self.uart),
            bank.capabilities.simulated.eq(config.simulated),
            bank.capabilities.decoder.eq(config.decoder is not None),
            bank.capabilities.sequencer.eq(config.sequencer is not None),
            bank.capabilities.herald.eq(config.herald),
            bank.capabilities.switches.eq(config.switches is not None),
            bank.capabilities.peers.eq(config.lanes is not None),
            bank.build_id.eq(_build_id(config)),
            bank.geometry.channels.eq(config.channels),
            bank.geometry.samples.eq(config.samples),
            bank.geometry.buffer_depth_log2.eq(exact_log2(config.buffer_depth)),
            bank.geometry.bins_log2.eq(exact_log2(HISTOGRAM_BINS)),
            bank.tick_numerator.eq(config.tick_ps.numerator),
            bank.tick_denominator.eq(config.tick_ps.denominator),
        ]
        return m


def _frame_members(config):
    if config.decoder is None:
        return {}
    from quantacore.gateware.decoder.engine import frame_word

    return {"frame": Out(frame_word(config.decoder)).array(BASES),
            "frame_valid": Out(1).array(BASES)}


def _sequencer_members(config):
    if config.sequencer is None:
        return {}
    return {"inputs": In(TRIGGER_INPUTS - TRIGGERS), "emergency": In(1),
            "peers": In(PEERS), "barrier": Out(1), "ttl": Out(TTL_LINES), "route": Out(8),
            "pulses": Out(signed(SAMPLE_BITS)).array(config.sequencer)}


def _herald_members(config):
    if not config.herald:
        return {}
    members = {"reference": In(sample_word(config.samples, fine=config.fine))}
    if config.lanes is not None:
        word = peer_word(config.lanes)
        members |= {"peer_i": In(word).array(PEER_PORTS), "peer_o": Out(word).array(PEER_PORTS)}
    return members


def _switch_members(config):
    if config.switches is None:
        return {}
    return {"monitors": In(MONITOR_BITS).array(config.switches),
            "drives": Out(DRIVE_BITS).array(config.switches)}


class Node(wiring.Component):
    """The gateware of one node behind a byte stream.

    Parameters
    ----------
    config : NodeConfig

    Members
    -------
    rx, tx : stream of bytes
        The host link.
    detectors : In(sample_word).array(channels)
        Detector inputs. A word that is present while the tick counter reads T covers tick T.
    pps, clock : In(sample_word)
        Reference inputs: pulse per second, and 10 MHz.
    triggers : Out(4)
        High for one clock at each armed time.
    sync : Out(2)
        Periodic pulses on the virtual clock.
    running : Out(1)
        The tagger is tagging; simulators start their sources on it.
    framing, overrun : In(1)
        With ``uart`` only: errors of the UART, for the link's flags.
    frame, frame_valid : Out, one for each basis
        With a decoder only: the Pauli frame after each window; see
        :class:`~quantacore.gateware.decoder.decoder.Decoder`.
    inputs : In(4)
        With a sequencer only: inputs 0 to 3 of its ``WAITTRIG``; 4 to 7 are ``triggers``.
    emergency, peers, barrier, ttl, route, pulses
        With a sequencer only; see
        :class:`~quantacore.gateware.sequencer.unit.SequencerUnit` (``pulses``: its samples).
    reference : In(sample_word)
        With a herald unit only: reference pulses for its windows.
    peer_i, peer_o : In, Out(peer_word).array(2)
        With ``lanes`` only: lines from and to peers.
    monitors, drives
        With switches only; see :class:`~quantacore.gateware.network.switches.SwitchUnit`.
    """

    def __init__(self, config, *, uart=False):
        if not isinstance(config, NodeConfig):
            raise TypeError(f"Node needs a NodeConfig, not {config!r}")
        self.config = config
        self._uart = uart
        word = sample_word(config.samples, fine=config.fine)
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            **({"framing": In(1), "overrun": In(1)} if uart else {}),
            "detectors": In(word).array(config.channels),
            "pps": In(word),
            "clock": In(word),
            "triggers": Out(TRIGGERS),
            "sync": Out(SYNC_OUTPUTS),
            "running": Out(1),
            **_frame_members(config),
            **_sequencer_members(config),
            **_herald_members(config),
            **_switch_members(config),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # Whoever has records for the host.
        sources = []
        m.submodules.link = link = Link(buffer_depth=config.buffer_depth)
        m.submodules.decoder = decoder = CsrDecoder(NODE_MAP)
        m.submodules.identity = ident = _Identity(config, uart=self._uart)
        m.submodules.timing = timing = TimingUnit(samples=config.samples, fine=config.fine)
        m.submodules.tagger = tagger = Tagger(
            channels=config.channels, samples=config.samples, fine=config.fine,
            row_depth=config.row_depth, buffer_depth=config.buffer_depth)
        m.submodules.histogram = histogram = Histogram()

        connect_streams(m, wiring.flipped(self.rx), link.rx)
        connect_streams(m, link.tx, wiring.flipped(self.tx))
        wiring.connect(m, link.bus, decoder.bus)
        for name, block in (("identity", ident), ("link", link), ("timing", timing),
                            ("tagger", tagger), ("histogram", histogram)):
            wiring.connect(m, getattr(decoder, name), block.csr)

        if self._uart:
            m.d.comb += [link.framing.eq(self.framing), link.overrun.eq(self.overrun)]
        if config.decoder is None:
            m.submodules.no_syndromes = absent = AbsentBank(DECODER)
            wiring.connect(m, decoder.decoder, absent.bus)
        else:
            # Imported here: most nodes have no decoder.
            from quantacore.gateware.decoder.unit import DecoderUnit

            m.submodules.syndromes = unit = DecoderUnit(config.decoder)
            wiring.connect(m, decoder.decoder, unit.csr)
            sources.append(unit.records)
            m.d.comb += unit.tick.eq(timing.tick)
            for basis in range(BASES):
                m.d.comb += [self.frame[basis].eq(unit.frame[basis]),
                             self.frame_valid[basis].eq(unit.frame_valid[basis])]
        if config.sequencer is None:
            m.submodules.no_pulses = absent = AbsentBank(SEQUENCER)
            wiring.connect(m, decoder.sequencer, absent.bus)
        else:
            from quantacore.gateware.sequencer.unit import SequencerUnit

            # Inputs on which the herald unit shows starts of attempts.
            starts = Signal(TRIGGER_INPUTS)
            m.submodules.sequencer = pulses = SequencerUnit(
                channels=config.sequencer, decoder=config.decoder, herald=config.herald)
            wiring.connect(m, decoder.sequencer, pulses.csr)
            sources.append(pulses.records)
            m.d.comb += [
                pulses.tick.eq(timing.tick), pulses.emergency.eq(self.emergency),
                pulses.triggers.eq(Cat(self.inputs, timing.triggers) | starts),
                pulses.peers.eq(self.peers), self.barrier.eq(pulses.barrier),
                self.ttl.eq(pulses.ttl), self.route.eq(pulses.route),
            ]
            m.d.comb += [ours.eq(theirs) for ours, theirs in
                         zip(self.pulses, pulses.samples, strict=True)]
            if config.decoder is not None:
                connect_streams(m, pulses.rounds, unit.rounds)
                for basis in range(BASES):
                    frame = unit.frame[basis]
                    m.d.comb += [pulses.frame[basis].eq(frame.obs),
                                 pulses.frame_last[basis].eq(frame.last),
                                 pulses.frame_valid[basis].eq(unit.frame_valid[basis])]
        settling = Signal()
        if config.switches is None:
            m.submodules.no_switches = absent = AbsentBank(SWITCHES)
            wiring.connect(m, decoder.switches, absent.bus)
        else:
            from quantacore.gateware.network.switches import SwitchUnit

            m.submodules.switches = switches = SwitchUnit(switches=config.switches)
            wiring.connect(m, decoder.switches, switches.csr)
            m.d.comb += [switches.tick.eq(timing.tick), settling.eq(switches.settling)]
            for k in range(config.switches):
                m.d.comb += [switches.monitors[k].eq(self.monitors[k]),
                             self.drives[k].eq(switches.drives[k])]
            if config.sequencer is not None:
                m.d.comb += [switches.route.eq(pulses.route),
                             switches.emergency.eq(pulses.in_emergency)]
        if not config.herald:
            m.submodules.no_heralds = absent = AbsentBank(HERALD)
            wiring.connect(m, decoder.herald, absent.bus)
        else:
            from quantacore.gateware.herald.unit import HeraldUnit

            m.submodules.heralds = heralds = HeraldUnit(
                channels=config.channels, samples=config.samples, fine=config.fine,
                lanes=config.lanes)
            wiring.connect(m, decoder.herald, heralds.csr)
            sources.append(heralds.records)
            connect_streams(m, pulses.commands, heralds.commands)
            m.d.comb += [
                heralds.tick.eq(timing.tick), heralds.settling.eq(settling),
                heralds.sequencer_running.eq(pulses.running),
                Value.cast(heralds.reference).eq(Value.cast(self.reference)),
                pulses.verdict_valid.eq(heralds.verdict_valid),
                pulses.verdict.eq(heralds.verdict), pulses.delta.eq(heralds.delta),
                pulses.clicked.eq(heralds.clicked), pulses.sites.eq(heralds.sites),
                pulses.herald_frame.eq(heralds.frame), pulses.attempt.eq(heralds.attempt),
                starts.eq(heralds.triggers),
            ]
            for ours, theirs in zip(self.detectors, heralds.detectors, strict=True):
                m.d.comb += Value.cast(theirs).eq(Value.cast(ours))
            if config.lanes is not None:
                wiring.connect(m, decoder.peers, heralds.peers_csr)
                for k in range(PEER_PORTS):
                    m.d.comb += [
                        Value.cast(heralds.peer_i[k]).eq(Value.cast(self.peer_i[k])),
                        Value.cast(self.peer_o[k]).eq(Value.cast(heralds.peer_o[k]))]
        if config.lanes is None:
            m.submodules.no_peers = absent = AbsentBank(peer.PEERS)
            wiring.connect(m, decoder.peers, absent.bus)
        records, edges = tagger.records, tagger.edges
        if not config.herald:
            m.submodules.no_virtual = absent = AbsentBank(VIRTUAL)
            wiring.connect(m, decoder.virtual, absent.bus)
        else:
            from quantacore.gateware.herald.virtual import Virtual

            m.submodules.virtual = virtual = Virtual()
            wiring.connect(m, decoder.virtual, virtual.csr)
            connect_streams(m, records, virtual.i)
            connect_streams(m, edges, virtual.edges)
            m.d.comb += virtual.tick.eq(timing.tick)
            records, edges = virtual.records, virtual.merged
        for i, source in enumerate(sources):
            m.submodules[f"records_{i}"] = merge = Merge(64)
            connect_streams(m, records, merge.i[0])
            connect_streams(m, source, merge.i[1])
            records = merge.o
        connect_streams(m, records, link.records)
        connect_streams(m, edges, histogram.edges)
        m.d.comb += [
            tagger.buffer_level.eq(link.records_level),
            link.tick.eq(timing.tick),
            tagger.tick.eq(timing.tick),
            histogram.tick.eq(timing.tick),
            timing.pps.eq(self.pps),
            timing.clock.eq(self.clock),
            self.triggers.eq(timing.triggers),
            self.sync.eq(timing.sync),
            self.running.eq(tagger.running),
        ]
        for ours, theirs in zip(self.detectors, tagger.detectors, strict=True):
            m.d.comb += Value.cast(theirs).eq(Value.cast(ours))
        return m


class UARTNode(wiring.Component):
    """A node behind a UART.

    Parameters
    ----------
    config : NodeConfig
    baud : int
        Bits per second on the line.

    Members
    -------
    rxd : In(1)
        Line in, not synchronised.
    txd : Out(1)
        Line out.

    The other members are those of :class:`Node`.
    """

    def __init__(self, config, *, baud):
        self.node = Node(config, uart=True)
        self.uart = UART(clock_hz=config.clock_hz, baud=baud)
        self.baud = baud
        members = {name: member for name, member in self.node.signature.members.items()
                   if name not in ("rx", "tx", "framing", "overrun")}
        super().__init__({**members, "rxd": In(1, init=1), "txd": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.node = node = self.node
        m.submodules.uart = uart = self.uart
        connect_streams(m, uart.o, node.rx)
        connect_streams(m, node.tx, uart.i)
        m.d.comb += [uart.rxd.eq(self.rxd), self.txd.eq(uart.txd),
                     node.framing.eq(uart.framing), node.overrun.eq(uart.overrun)]
        for ours, theirs in zip(self.detectors, node.detectors, strict=True):
            m.d.comb += Value.cast(theirs).eq(Value.cast(ours))
        for name in ("pps", "clock", *(["reference"] if node.config.herald else [])):
            m.d.comb += Value.cast(getattr(node, name)).eq(Value.cast(getattr(self, name)))
        for name in ("triggers", "sync", "running"):
            m.d.comb += getattr(self, name).eq(getattr(node, name))
        if node.config.decoder is not None:
            for basis in range(BASES):
                m.d.comb += [self.frame[basis].eq(node.frame[basis]),
                             self.frame_valid[basis].eq(node.frame_valid[basis])]
        if node.config.lanes is not None:
            for k in range(PEER_PORTS):
                m.d.comb += [Value.cast(node.peer_i[k]).eq(Value.cast(self.peer_i[k])),
                             Value.cast(self.peer_o[k]).eq(Value.cast(node.peer_o[k]))]
        if node.config.switches is not None:
            for k in range(node.config.switches):
                m.d.comb += [node.monitors[k].eq(self.monitors[k]),
                             self.drives[k].eq(node.drives[k])]
        if node.config.sequencer is not None:
            for name in ("inputs", "emergency", "peers"):
                m.d.comb += getattr(node, name).eq(getattr(self, name))
            for name in ("barrier", "ttl", "route"):
                m.d.comb += getattr(self, name).eq(getattr(node, name))
            m.d.comb += [ours.eq(theirs) for ours, theirs in
                         zip(self.pulses, node.pulses, strict=True)]
        return m
