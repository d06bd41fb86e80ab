"""A node: what it is, and a driver for each of its blocks, in physical units."""

import asyncio
import math
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from quantacore.gateware.layouts.frames import LINK_VERSION
from quantacore.gateware.layouts.identity import LAYOUT_VERSION, MAGIC
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.gateware.layouts.timing import RATE_FRACTION_BITS
from quantacore.gateware.layouts.virtual import FIRST_VIRTUAL, VIRTUAL_CHANNELS
from quantacore.host.driver.block import EXACT, BlockDriver
from quantacore.host.driver.decoder import DecoderDriver
from quantacore.host.driver.errors import (
    AchievedValueWarning,
    LinkError,
    MapMismatchError,
    NotANodeError,
    RefusedError,
)
from quantacore.host.driver.herald import HeraldDriver
from quantacore.host.driver.link import Driver, LinkClient
from quantacore.host.driver.peers import PeersDriver
from quantacore.host.driver.registers import (
    MAP_CRC,
    Edges,
    HistogramMode,
    NodeRegisters,
    Reference,
)
from quantacore.host.driver.sequencer import SequencerDriver
from quantacore.host.driver.switches import SwitchesDriver
from quantacore.host.driver.virtual import VirtualDriver
from quantacore.host.transport.base import open_transport

__all__ = ["Identity", "Node", "TimeUnits", "TimingDriver", "TimingSnapshot", "TaggerDriver",
           "TaggerCounters", "HistogramDriver", "HistogramData", "LinkDriver"]

#: Where things are that never move, whatever the map.
_MAGIC_ADDRESS, _PROTOCOL_ADDRESS, _MAP_CRC_ADDRESS = 0, 1, 2


class TimeUnits:
    """Seconds to ticks and fine units and back, exactly.

    Parameters
    ----------
    tick_ps : Fraction
        Length of a tick in picoseconds.
    """

    def __init__(self, tick_ps):
        self.tick_ps = Fraction(tick_ps)
        self.fine_ps = self.tick_ps / FINE_PER_TICK

    def fine(self, seconds):
        """Fine units nearest to a time in seconds."""
        return round(Fraction(seconds) * 10**12 / self.fine_ps)

    def fine_s(self, fine):
        """Seconds of some fine units."""
        return float(fine * self.fine_ps / 10**12)

    def ticks(self, seconds):
        """Ticks nearest to a time in seconds."""
        return round(Fraction(seconds) * 10**12 / self.tick_ps)

    def ticks_s(self, ticks):
        """Seconds of some ticks."""
        return float(ticks * self.tick_ps / 10**12)


@dataclass(frozen=True)
class Identity:
    """Who a node is.

    Attributes
    ----------
    tick_ps : Fraction
        Length of a tick in picoseconds, exact.
    channels, samples, buffer_depth, bins : int
        Detector inputs, samples per tick, records in the buffer, bins of the histogram.
    fine, histogram, discipline, uart, simulated, decoder, sequencer, herald, switches, peers : bool
        What this build has.
    """

    link_version: int
    layout_version: int
    map_crc: int
    build_id: int
    tick_ps: Fraction
    channels: int
    samples: int
    buffer_depth: int
    bins: int
    fine: bool
    histogram: bool
    discipline: bool
    uart: bool
    simulated: bool
    decoder: bool
    sequencer: bool
    herald: bool
    switches: bool
    peers: bool

    @property
    def clock_hz(self):
        """Frequency of the fabric clock, exact."""
        return Fraction(10**12) / self.tick_ps


def _finite(what, value):
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction | np.number):
        raise TypeError(f"{what} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite, not {value!r}")
    return Fraction(value.item() if isinstance(value, np.number) else value)


def _flags_dict(flags):
    return {name: bool(getattr(flags, name)) for name in flags.LAYOUT}


@dataclass(frozen=True)
class TimingSnapshot:
    """All of the clock in one tick.

    ``tick``; ``virtual``: virtual clock in nominal ticks, exact; ``rate``: its rate minus one.
    """

    tick: int
    virtual: Fraction
    rate: float


class TimingDriver(BlockDriver):
    """The node's time: tick counter, triggers, the disciplined virtual clock."""

    async def tick(self):
        """The tick counter, about now."""
        return await self.registers.tick.read()

    async def time_s(self):
        """The tick counter in seconds, about now."""
        return self.units.ticks_s(await self.tick())

    async def snapshot(self):
        """Tick counter and virtual clock of the same tick: :class:`TimingSnapshot`."""
        registers = self.registers
        await registers.snapshot.write(1)
        tick, virtual, fraction, rate = await asyncio.gather(
            registers.snapshot_tick.read(), registers.snapshot_virtual.read(),
            registers.snapshot_fraction.read(), registers.snapshot_rate.read())
        scale = 1 << RATE_FRACTION_BITS
        return TimingSnapshot(tick, virtual + Fraction(fraction, scale), rate / scale)

    async def arm(self, trigger, tick):
        """Let a trigger fire at a tick. One that is past fires at once and raises a flag."""
        await self.registers.trigger_time[trigger].write(tick)

    async def armed(self):
        """Numbers of the triggers that have not fired yet."""
        bits = await self.registers.trigger_armed.read()
        return [i for i in range(len(self.registers.trigger_time)) if bits >> i & 1]

    async def disarm(self, *triggers):
        """Disarm triggers, all by default."""
        number = len(self.registers.trigger_time)
        for trigger in triggers:
            if not 0 <= trigger < number:
                raise ValueError(f"Trigger must be 0 to {number - 1}, not {trigger!r}")
        await self.registers.trigger_disarm.write(
            sum(1 << t for t in set(triggers or range(number))))

    async def discipline(self, reference="pps", *, period_s=1, divider=1, window_s=None,
                         lock_threshold_s=None, lock_count=None):
        """Steer the virtual clock by a reference.

        Parameters
        ----------
        reference : str or None
            ``"pps"``, ``"clock"`` (the 10 MHz input) or ``None`` to stop steering.
        period_s : float
            Distance of two reference edges after the divider.
        divider : int
            Every so many edges count.
        window_s : float or None
            Edges are accepted so far from where they are expected; ``None`` keeps the setting.
        lock_threshold_s : float or None
            Largest phase error that counts as locked.
        lock_count : int or None
            Edges in a row that change the lock.
        """
        registers, units = self.registers, self.units
        if reference is None:
            await registers.control.modify(discipline=0)
            return
        names = {"pps": Reference.PPS, "clock": Reference.CLOCK}
        if reference not in names:
            raise ValueError(f'Reference must be "pps", "clock" or None, not {reference!r}')
        tick_s = units.tick_ps / 10**12
        settings = []
        for register, what, value in ((registers.period, "Period", period_s),
                                      (registers.window, "Window", window_s)):
            if value is not None:
                value = _finite(what, value)
                ticks = units.ticks(value)
                settings.append((register, self._quantised(
                    what, value, tick_s, ticks, ticks * tick_s, 1,
                    register.register.limits[1])))
        if lock_threshold_s is not None:
            value = _finite("Lock threshold", lock_threshold_s)
            step = units.fine_ps / 10**12
            number = units.fine(value)
            settings.append((registers.lock_threshold, self._quantised(
                "Lock threshold", value, step, number, number * step, 0,
                registers.lock_threshold.register.limits[1])))
        if divider < 1:
            raise ValueError(f"Divider must be 1 or more, not {divider!r}")
        settings.append((registers.divider, divider))
        if lock_count is not None:
            settings.append((registers.lock_count, lock_count))
        await registers.control.modify(discipline=0)
        for register, value in settings:
            await register.write(value)
        await registers.control.write(discipline=1, reference=names[reference])

    async def state(self):
        """What the loop is doing: :class:`~quantacore.host.driver.registers.LoopState`."""
        return await self.registers.state.read()

    async def phase_error_s(self):
        """Phase error at the last reference edge; positive if the virtual clock is late."""
        return self.units.fine_s(await self.registers.phase_error.read())

    async def sync_output(self, output, *, period_s, first_s=None, width_s=None):
        """Pulse an output periodically on the virtual clock; a period of 0 switches it off."""
        registers, units = self.registers, self.units
        number = len(registers.sync_period)
        if not 0 <= output < number:
            raise ValueError(f"Output must be 0 to {number - 1}, not {output!r}")
        tick_s = units.tick_ps / 10**12
        settings = []
        for register, what, value in ((registers.sync_width, "Pulse width", width_s),
                                      (registers.sync_period, "Period", period_s),
                                      (registers.sync_next, "First pulse", first_s)):
            if value is None:
                continue
            value = _finite(what, value)
            ticks = units.ticks(value)
            settings.append((register[output], self._quantised(
                what, value, tick_s, ticks, ticks * tick_s, 0, register.register.limits[1])))
        for register, value in settings:
            await register.write(value)


@dataclass(frozen=True)
class TaggerCounters:
    """The tagger's account. ``seen = recorded + lost + in dead time (+ on their way)``.

    ``seen``, ``in_dead_time`` and ``rate_hz`` are lists by channel.
    """

    seen: list
    in_dead_time: list
    rate_hz: list
    recorded: int
    lost_buffer: int
    lost_burst: int
    buffer_level: int

    @property
    def lost(self):
        """Edges lost, whatever the reason."""
        return self.lost_buffer + self.lost_burst


_EDGES = {"none": Edges.NONE, "rising": Edges.RISING, "falling": Edges.FALLING,
          "both": Edges.BOTH}


class TaggerDriver(BlockDriver):
    """The time tagger."""

    def _channel(self, channel):
        channels = self.node.identity.channels
        if isinstance(channel, bool) or not isinstance(channel, int) or not (
                0 <= channel < channels):
            raise ValueError(f"Channel must be 0 to {channels - 1}, not {channel!r}")
        return channel

    async def enable(self, *channels, edges="rising"):
        """Tag the edges of some channels: ``"rising"``, ``"falling"``, ``"both"``, ``"none"``.

        All channels of the node if none is named.
        """
        if edges not in _EDGES:
            raise ValueError(f"Edges must be one of {', '.join(_EDGES)}, not {edges!r}")
        for channel in [self._channel(c) for c in channels] or range(self.node.identity.channels):
            await self.registers.edges[channel].write(_EDGES[edges])

    async def disable(self, *channels):
        """Stop tagging some channels, all if none is named."""
        await self.enable(*channels, edges="none")

    async def enabled(self):
        """Edges that are tagged, by channel."""
        values = await self.registers.edges.read()
        return [value.name.lower() for value in values[:self.node.identity.channels]]

    async def _set(self, what, register, channel, seconds):
        seconds = _finite(what, seconds)
        step = self.units.fine_ps / 10**12
        number = self.units.fine(seconds)
        low, high = register.register.limits
        self._quantised(f"{what} of channel {self._channel(channel)}", seconds, step, number,
                        number * step, low, high)
        await register[channel].write(number)
        return self.units.fine_s(number)

    async def set_dead_time(self, channel, seconds):
        """Drop edges closer than this to the last kept one; return the value achieved.

        Warns :class:`AchievedValueWarning` where that is another than asked for.
        """
        return await self._set("Dead time", self.registers.dead_time, channel, seconds)

    async def dead_time(self, channel):
        """Dead time in seconds."""
        return self.units.fine_s(await self.registers.dead_time[self._channel(channel)].read())

    async def set_delay(self, channel, seconds):
        """Add this to every time of the channel; return the value achieved (see
        :meth:`set_dead_time`)."""
        return await self._set("Delay", self.registers.delay, channel, seconds)

    async def delay(self, channel):
        """Delay in seconds."""
        return self.units.fine_s(await self.registers.delay[self._channel(channel)].read())

    async def set_rate_gate(self, seconds):
        """Length of the gate of the rate counters."""
        seconds = _finite("Rate gate", seconds)
        step = self.units.tick_ps / 10**12
        ticks = self.units.ticks(seconds)
        register = self.registers.rate_gate
        self._quantised("Rate gate", seconds, step, ticks, ticks * step, 1,
                        register.register.limits[1])
        await register.write(ticks)
        return self.units.ticks_s(ticks)

    async def run(self):
        """Start tagging."""
        await self.registers.control.modify(run=1)

    async def stop(self):
        """Stop tagging. What is in the buffer stays there."""
        await self.registers.control.modify(run=0)

    async def running(self):
        """Whether the tagger is tagging."""
        return bool((await self.registers.control.read()).run)

    async def clear(self):
        """Set all counts of the tagger to zero."""
        await self.registers.clear.write(1)

    async def counters(self):
        """The account: :class:`TaggerCounters`."""
        registers = self.registers
        gate, seen, rate, dead, recorded, burst, buffer, level = await asyncio.gather(
            registers.rate_gate.read(), registers.seen.read(), registers.rate.read(),
            registers.in_dead_time.read(), registers.recorded.read(),
            registers.lost_burst.read(), registers.lost_buffer.read(),
            registers.buffer_level.read())
        channels = self.node.identity.channels
        gate_s = self.units.ticks_s(max(gate, 1))
        return TaggerCounters(seen[:channels], dead[:channels],
                              [count / gate_s for count in rate[:channels]], recorded, buffer,
                              burst, level)

    def stream(self, **kwargs):
        """Tag records as they come: a :class:`~quantacore.host.driver.link.RecordStream`.

        ``async with node.tagger.stream() as records: async for block in records: ...``
        """
        kwargs.setdefault("acknowledge_every", max(1, self.node.identity.buffer_depth // 8))
        return self.node.client.records(**kwargs)


@dataclass(frozen=True)
class HistogramData:
    """A histogram as it was read.

    Attributes
    ----------
    counts : numpy.ndarray
        int64, shape (bins,).
    edges_s : numpy.ndarray
        float64, shape (bins + 1,): bin i is from ``edges_s[i]`` to ``edges_s[i + 1]``.
    first_edge_fine, bin_fine : int
        The same exactly: bin i begins at ``first_edge_fine + i * bin_fine`` fine units.
    fine_ps : Fraction
        A fine unit in picoseconds.
    starts, stops, pairs, edges_lost, pairs_lost : int
    """

    counts: np.ndarray
    edges_s: np.ndarray
    first_edge_fine: int
    bin_fine: int
    fine_ps: Fraction
    starts: int
    stops: int
    pairs: int
    edges_lost: int
    pairs_lost: int

    def edge_ps(self, index):
        """Lower edge of a bin in picoseconds, exact."""
        return (self.first_edge_fine + index * self.bin_fine) * self.fine_ps


class HistogramDriver(BlockDriver):
    """The histogram of differences of two channels, made in the node."""

    async def configure(self, *, start, stop, bin_s, mode="all_pairs"):
        """Choose channels, bin width and mode, and clear; return the bin width achieved.

        Parameters
        ----------
        start, stop : int
            Channels; of a node with a herald unit also its virtual ones, from 32 on.
        bin_s : float
            Bin width; the node does powers of two of a fine unit, the nearest is taken (with an
            :class:`AchievedValueWarning` if it is another).
        mode : str
            ``"start_stop"``: to the first stop after each start. ``"all_pairs"``: every pair,
            of either sign.
        """
        modes = {"start_stop": HistogramMode.START_STOP, "all_pairs": HistogramMode.ALL_PAIRS}
        if mode not in modes:
            raise ValueError(f"Mode must be one of {', '.join(modes)}, not {mode!r}")
        for what, channel in (("Start", start), ("Stop", stop)):
            virtual = self.node.identity.herald and \
                0 <= channel - FIRST_VIRTUAL < VIRTUAL_CHANNELS
            if not 0 <= channel < self.node.identity.channels and not virtual:
                raise ValueError(f"{what} channel must be 0 to "
                                 f"{self.node.identity.channels - 1}, not {channel!r}")
        seconds = _finite("Bin width", bin_s)
        step = self.units.fine_ps / 10**12
        shift = round(math.log2(seconds / step)) if seconds > 0 else -1
        if not 0 <= shift <= 31:
            raise ValueError(f"Bin width must be {float(step):g} to {float(step * 2**31):g} s, "
                             f"not {float(seconds):g} s")
        achieved = step * (1 << shift)
        if abs(achieved - seconds) > step * EXACT:
            warnings.warn(
                f"Bin width is {float(achieved):.15g} s instead of the {float(seconds):.15g} s "
                f"asked for (powers of two of {float(step):.6g} s)", AchievedValueWarning,
                stacklevel=2)
        control = self.registers.control
        await control.modify(run=0)
        await control.write(mode=modes[mode], start_channel=start, stop_channel=stop,
                            bin_shift=shift)
        await self.clear()
        return float(achieved)

    async def clear(self):
        """Clear bins and counts, and wait until it is done."""
        await self.registers.clear.write(1)
        for _ in range(1000):
            if not await self.registers.busy.read():
                return
        raise LinkError("The histogram stays busy clearing its bins; reset the node")

    async def run(self):
        """Start counting."""
        await self.registers.control.modify(run=1)

    async def stop(self):
        """Stop counting."""
        await self.registers.control.modify(run=0)

    async def read(self):
        """Counts and bin edges: :class:`HistogramData`. Allowed while it runs."""
        registers = self.registers
        control = await registers.control.read()
        words = await registers.bins.read(0, self.node.identity.bins)
        starts, stops, pairs, edges_lost, pairs_lost = await asyncio.gather(
            registers.starts.read(), registers.stops.read(), registers.pairs.read(),
            registers.edges_lost.read(), registers.pairs_lost.read())
        width = 1 << control.bin_shift
        bins = len(words)
        first = -(bins // 2) * width if control.mode == HistogramMode.ALL_PAIRS else 0
        fine = first + width * np.arange(bins + 1, dtype=np.int64)
        return HistogramData(np.array(words, np.int64), fine * float(self.units.fine_ps) * 1e-12,
                             first, width, self.units.fine_ps, starts, stops, pairs, edges_lost,
                             pairs_lost)


class LinkDriver(BlockDriver):
    """The link as both sides count it."""

    async def statistics(self):
        """The node's counts, by register name."""
        values = await self.registers.read_all()
        return {name: value for name, value in values.items()
                if not name.startswith("flag") and name not in ("session", "lease")}

    def host_statistics(self):
        """This host's counts: retries, bad frames, ... (see
        :class:`~quantacore.host.driver.link.LinkStatistics`)."""
        return self.node.client.statistics_dict()

    async def set_lease(self, seconds):
        """After so long a silence another host may take over; 0 is never."""
        seconds = _finite("Lease", seconds)
        step = self.units.tick_ps / 10**12
        ticks = self.units.ticks(seconds)
        register = self.registers.lease
        self._quantised("Lease", seconds, step, ticks, ticks * step, 0,
                        register.register.limits[1])
        await register.write(ticks)

    async def ping(self):
        """The node's tick counter, about now."""
        return await self.node.client.ping()


class Node(Driver):
    """A node and the drivers of its blocks.

    Use :meth:`connect`. Attributes: ``identity`` (:class:`Identity`), ``regs`` (every register,
    typed), ``timing``, ``tagger``, ``virtual``, ``histogram``, ``decoder``, ``sequencer``,
    ``switches``, ``herald``, ``peers``, ``link``, ``client``.
    """

    def __init__(self, client, identity):
        self.client = client
        self.identity = identity
        self.units = TimeUnits(identity.tick_ps)
        self.regs = NodeRegisters(client)
        self.timing = TimingDriver(self, self.regs.timing)
        self.tagger = TaggerDriver(self, self.regs.tagger)
        self.virtual = VirtualDriver(self, self.regs.virtual)
        self.histogram = HistogramDriver(self, self.regs.histogram)
        self.decoder = DecoderDriver(self, self.regs.decoder)
        self.sequencer = SequencerDriver(self, self.regs.sequencer)
        self.switches = SwitchesDriver(self, self.regs.switches)
        self.herald = HeraldDriver(self, self.regs.herald)
        self.peers = PeersDriver(self, self.regs.peers)
        self.link = LinkDriver(self, self.regs.link)

    @classmethod
    async def connect(cls, transport, *, takeover=False, record=None, **options):
        """Open the link, read who is there, and refuse what this host does not know.

        Parameters
        ----------
        transport : Transport or str
            See :func:`~quantacore.host.transport.base.open_transport`.
        takeover : bool
            End another host's session.
        record : path or None
            Record the conversation.
        **options
            For :class:`~quantacore.host.driver.link.LinkClient`.

        Raises
        ------
        TransportError, LinkTimeoutError, NodeBusyError, NotANodeError, MapMismatchError
        """
        client = LinkClient(open_transport(transport, record=record), **options)
        await client.open(takeover=takeover)
        try:
            return cls(client, await cls._identify(client))
        except BaseException:
            await client.close()
            raise

    @staticmethod
    async def _identify(client):
        where = client.transport.url
        try:
            magic, protocol, crc = await client.read(_MAGIC_ADDRESS, 3)
        except RefusedError as error:
            raise NotANodeError(f"What answers at {where} has no identity ({error})") from error
        if magic != MAGIC:
            raise NotANodeError(f"What answers at {where} is not a QuantaCore node: its first "
                                f"word is {magic:#010x}, not {MAGIC:#010x}")
        link, layout = protocol & 0xFF, protocol >> 8 & 0xFF
        if link != LINK_VERSION:
            raise NotANodeError(f"The node at {where} speaks version {link} of the link, this "
                                f"host version {LINK_VERSION}; bring both to the same release")
        if layout != LAYOUT_VERSION or crc != MAP_CRC:
            raise MapMismatchError(
                f"The register map of the node at {where} is not this host's: node layout version "
                f"{layout}, CRC {crc:#010x}; host layout version {LAYOUT_VERSION}, CRC "
                f"{MAP_CRC:#010x}. Build the gateware from this release, or install the quantacore "
                f"that the gateware was built from")
        regs = NodeRegisters(client).identity
        build, capabilities, geometry, numerator, denominator = await asyncio.gather(
            regs.build_id.read(), regs.capabilities.read(), regs.geometry.read(),
            regs.tick_numerator.read(), regs.tick_denominator.read())
        if not numerator or not denominator:
            raise NotANodeError(f"The node at {where} says that a tick is {numerator}/"
                                f"{denominator} ps long; its gateware is broken")
        has = _flags_dict(capabilities)
        has.pop("reserved", None)
        return Identity(link, layout, crc, build, Fraction(numerator, denominator),
                        geometry.channels, geometry.samples, 1 << geometry.buffer_depth_log2,
                        1 << geometry.bins_log2, **has)

    async def reconnect(self, *, takeover=False):
        """Open a new session after a reset or a time-out; settings are the node's."""
        await self.client.reconnect(takeover=takeover)
        self.identity = await self._identify(self.client)

    async def close(self):
        """Close the session and the transport."""
        await self.client.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_exception):
        await self.close()
