"""The virtual node's engine: Verilated gateware, its line to the host, and its input edges."""

import ctypes
import enum
import math
from fractions import Fraction

import numpy as np

from quantacore.gateware.layouts.switches import MONITOR_BITS
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.sim.node.build import Library, build_component, build_node
from quantacore.sim.node.sources import as_source
from quantacore.sim.photonics.exact import scaled_round

__all__ = ["Engine", "EngineFailed", "NoHost", "Stop", "fine_from_ps", "ps_from_fine"]

_NEVER = np.iinfo(np.int64).max
#: Edges that one request to the sources should bring.
_BATCH_EDGES = 1 << 16
_MIN_BATCH_TICKS = 1 << 12
_MAX_BATCH_TICKS = 1 << 28
#: Shorter than half the shortest batch in ticks, so that a batch always brings time forward.
_MAX_PULSE_SAMPLES = 1000


class Stop(enum.IntEnum):
    """Why :meth:`Engine.advance` came back."""

    #: The asked number of ticks has passed.
    TICKS = 0
    #: Bytes wait for the host.
    OUTPUT = 1
    #: Nothing moved on the line for as long as asked.
    QUIET = 2
    #: Used inside: edges are needed.
    EDGES = 3
    #: The host has to take bytes before time goes on.
    HOST = 4
    #: Used inside: the tagger has started.
    STARTED = 5
    #: The gateware ended the simulation.
    FAILED = 6
    #: Of a network only: a line rose that a model wakes up for.
    WOKEN = 7


class EngineFailed(RuntimeError):
    """The gateware stopped the simulation, or the engine was used after it was closed."""


class NoHost(RuntimeError):
    """Simulated time waits for the host to read, and nobody will."""


def _ratio(tick_ps):
    return Fraction(FINE_PER_TICK) / Fraction(tick_ps)


def fine_from_ps(times_ps, tick_ps):
    """Picoseconds (int64 array) to fine units, rounded to nearest, in exact integers.

    Parameters
    ----------
    times_ps : array_like of int64
    tick_ps : Fraction
        Length of a tick.
    """
    return scaled_round(times_ps, _ratio(tick_ps))


def ps_from_fine(times_fine, tick_ps):
    """Fine units (int64 array) to picoseconds; undoes :func:`fine_from_ps` where a fine unit is
    shorter than a picosecond (clocks above 122.07 MHz)."""
    return scaled_round(times_fine, 1 / _ratio(tick_ps))


class Engine:
    """A node, clocked tick by tick in C++ and steered from Python in large steps.

    Time is the number of ticks since the node came out of reset. The engine is deterministic:
    the same configuration, sources, seed and sequence of calls gives the same bytes. It is not
    thread-safe; one thread calls it.

    Parameters
    ----------
    config : NodeConfig
        Which node. The library is built on first use, see :func:`~.build.build_node`.
    sources : sequence of Source or str
        Photon sources (:mod:`quantacore.sim.photonics.sources`), or their text form
        (:mod:`quantacore.sim.node.sources`). Channel *k* is detector *k*.
    link : str
        ``"pipe"``: bytes at one per tick. ``"uart"``: bit by bit on the node's UART pins.
    baud : int or None
        The UART's rate.
    host_baud : int, Fraction or None
        Rate of the host's end of the UART, if it differs.
    seed : int
        Seeds the sources that are given as text.
    drive : str
        ``"pulse"``: every photon is a pulse of ``pulse_samples`` samples, cut short to keep one
        low sample before the next photon's rise; two photons need two samples. ``"toggle"``:
        every photon inverts the level (tag both edges); two photons need one sample. Photons
        closer than that count as :attr:`merged`.
    pulse_samples : int
        Length of a pulse.
    pps, ref10m, reference : Source or None
        What drives the reference inputs, from tick 0 on (``reference``: that of a herald unit);
        :class:`~quantacore.sim.photonics.references.ReferenceClock` makes both.
    start_on : str
        ``"run"``: time 0 of the sources is the tick after ``running`` rises. ``"reset"``: tick 0.
    stall : str
        When the host leaves ``host_bytes`` bytes unread: ``"wait"`` stops simulated time,
        ``"line"`` lets it go on with the line not ready (a UART has no such signal: bytes that
        find no room are lost and counted in ``line_lost``).
    host_bytes : int
        See ``stall``.
    monitor_ticks : int
        With switches: after so many ticks a switch's power monitor reads what its drive is. For a
        stuck switch, set its pin (:meth:`set_pin`).
    component : wiring.Component, Library or None
        Simulate this instead of a node, for tests of the engine, or this library of either. Its
        ports decide the link.
    live : dict of int to int
        Channels that are fed while time passes, by :meth:`add_photons`, and the dead time of
        each one's detector in picoseconds. Not together with sources. A live channel's pulses are
        never cut short.
    progress : BuildProgress or None
        Told about the build.
    train : bool
        Compile the node twice, the second time with the profile of a run: the first start takes
        twice as long, and all simulation is a quarter faster. False for short work.
    """

    def __init__(self, config, sources=(), *, link="pipe", baud=None, host_baud=None, seed=0,
                 drive="pulse", pulse_samples=2, pps=None, ref10m=None, reference=None,
                 start_on="run", stall="wait", host_bytes=1 << 20, monitor_ticks=125,
                 component=None, live=None,
                 progress=None, settle_always=False, train=True):
        self._handle = None
        self._wires = []
        if monitor_ticks < 1:
            raise ValueError(f"A monitor follows its switch after at least 1 tick, not "
                             f"{monitor_ticks!r}")
        if drive not in ("pulse", "toggle"):
            raise ValueError(f"Drive must be \"pulse\" or \"toggle\", not {drive!r}")
        if start_on not in ("run", "reset"):
            raise ValueError(f"start_on must be \"run\" or \"reset\", not {start_on!r}")
        if stall not in ("wait", "line"):
            raise ValueError(f"Stall must be \"wait\" or \"line\", not {stall!r}")
        if not isinstance(pulse_samples, int) or not 1 <= pulse_samples <= _MAX_PULSE_SAMPLES:
            raise ValueError(f"A pulse has 1 to {_MAX_PULSE_SAMPLES} samples, "
                             f"not {pulse_samples!r}")
        if host_bytes < 1:
            raise ValueError(f"The host must have room for at least 1 byte, not {host_bytes!r}")
        live = dict(live or {})
        if live and sources:
            raise ValueError("A node has sources or live channels, not both")
        for channel, dead_ps in live.items():
            if channel not in range(config.channels):
                raise ValueError(f"There is no channel {channel!r}: this node has channels 0 to "
                                 f"{config.channels - 1}")
            if dead_ps < 0:
                raise ValueError(f"Dead time must not be negative, not {dead_ps!r}")
        self.config = config
        self.stall = stall
        self.start_on = start_on
        self._sources = [as_source(source, np.random.default_rng([seed, k]))
                         for k, source in enumerate(sources)]
        if component is None:
            self.library = build_node(config, link=link, baud=baud, progress=progress,
                                      train=train)
        elif isinstance(component, Library):
            self.library = component
        else:
            self.library = build_component(component, progress=progress)
        info = self.library.info
        self.link = info["link"]
        if (info["channels"], info["samples"], info["fine"]) != (
                config.channels, config.samples, config.fine):
            raise ValueError(f"The component has {info['channels']} channels of "
                             f"{info['samples']} samples, the configuration says "
                             f"{config.channels} of {config.samples}")
        self._lib = self.library.load()
        self._handle = ctypes.c_void_p(self._lib.qc_create())
        self._lib.qc_line(self._handle, host_bytes, stall == "line", settle_always)
        if self.link == "uart":
            bit = Fraction(config.clock_hz) / Fraction(host_baud or baud)
            if bit < 2:
                raise ValueError(f"A bit at {host_baud or baud} baud lasts {float(bit):.2f} "
                                 f"ticks; it must last at least 2")
            self._lib.qc_bit_time(self._handle, bit.numerator, bit.denominator)
        channels = config.channels
        if reference is not None and not info["reference"]:
            raise ValueError("This node has no input for reference pulses: they belong to a "
                             "herald unit, which NodeConfig(herald=True) builds")
        clocks = enumerate((pps, ref10m, reference), channels)
        self._references = {k: source for k, source in clocks if source is not None}
        for k in range(channels):
            self._lib.qc_input(self._handle, k, drive == "toggle", pulse_samples)
        for k, source in self._references.items():
            # References are square enough for any front end: high for half their period.
            half = Fraction(source.period_ps) / config.tick_ps * config.samples / 2
            width = max(1, min(math.floor(half), _MAX_PULSE_SAMPLES))
            self._lib.qc_input(self._handle, k, 0, width)
        #: Channels that are fed while time passes.
        self.live = tuple(live)
        switches = config.switches or 0 if component is None else 0
        self._wires = [self._monitor(k, monitor_ticks) for k in range(switches)]
        for channel, dead_ps in live.items():
            dead = int(fine_from_ps([dead_ps], config.tick_ps)[0])
            self._lib.qc_live(self._handle, channel, dead)
        #: Tick of the sources' time 0; None until they have started.
        self.origin_tick = None
        self._batch_ticks = {}
        self._fed_until = {}
        for k in self._references:
            self._begin(k, [k], 0)
        if self._sources:
            if start_on == "reset":
                self._start(0)
            else:
                self._lib.qc_watch_start(self._handle, 1)

    # -- life -------------------------------------------------------------------------------

    def close(self):
        """Free the simulator. Everything but a second ``close`` fails from here on."""
        if self._handle is not None:
            self._lib.qc_destroy(self._handle)
            self._handle = None
            for wire in self._wires:
                self._lib.qc_wire_destroy(wire)

    @property
    def closed(self):
        """Whether it has been closed."""
        return self._handle is None

    @property
    def native(self):
        """The simulator's library, for a network."""
        return self._lib

    @property
    def handle(self):
        """The simulator's handle in :attr:`native`."""
        return self._live()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        self.close()

    def _monitor(self, k, ticks):
        """A wire from a switch's drive to its monitor."""
        wire = ctypes.c_void_p(self._lib.qc_wire_create(ticks, 0, 0))
        info, bits = self.library.info, (1 << MONITOR_BITS) - 1
        self._lib.qc_sink(self._handle, info["pins"].index(f"monitors__{k}"), 0, bits, wire)
        self._lib.qc_tap(self._handle, info["wired"].index(f"drives__{k}"), 0, bits, wire)
        return wire

    def _live(self):
        if self._handle is None:
            raise EngineFailed("This engine is closed; make a new one")
        return self._handle

    # -- line -------------------------------------------------------------------------------

    def send(self, data):
        """Queue bytes from the host. They enter the node as time advances."""
        data = bytes(data)
        self._lib.qc_send(self._live(), data, len(data))

    @property
    def unsent(self):
        """Bytes from the host that have not entered the node yet."""
        return self._lib.qc_unsent(self._live())

    @property
    def available(self):
        """Bytes that wait for the host."""
        return self._lib.qc_available(self._live())

    def receive(self, count=None):
        """Take up to ``count`` bytes (default: all) that the node has sent."""
        have = self.available
        count = have if count is None else min(count, have)
        if not count:
            return b""
        buffer = ctypes.create_string_buffer(count)
        self._lib.qc_receive(self._handle, buffer, count)
        return buffer.raw

    # -- time -------------------------------------------------------------------------------

    @property
    def tick(self):
        """Ticks since reset."""
        return self._lib.qc_tick(self._live())

    def advance(self, ticks, *, want=0, flush=0, quiet=0):
        """Clock the node until something happens, and say what.

        Parameters
        ----------
        ticks : int
            At most so many ticks: then :attr:`Stop.TICKS`.
        want : int
            Stop with :attr:`Stop.OUTPUT` when so many bytes wait for the host (0: don't).
        flush : int
            Stop with :attr:`Stop.OUTPUT` when any byte waits and the line has been silent for so
            many ticks (0: don't).
        quiet : int
            Stop with :attr:`Stop.QUIET` when nothing waits to be sent and the line has been
            silent for so many ticks (0: don't).

        With ``stall="wait"`` and an unread line, :attr:`Stop.HOST`.

        Raises
        ------
        EngineFailed
            The gateware stopped the simulation.
        """
        handle = self._live()
        end = self.tick + ticks
        while True:
            reason = self._lib.qc_advance(handle, end, want, flush, quiet)
            if not self.resolve(reason):
                return Stop(reason)

    def resolve(self, reason):
        """See to one of the reasons to stop that are used inside; whether it was one."""
        if reason == Stop.EDGES:
            self._feed()
        elif reason == Stop.STARTED:
            # `running` reads 1 in this tick; time begins with the next one.
            self._start(self.tick + 1)
        elif reason == Stop.FAILED:
            raise EngineFailed(f"The gateware ended the simulation at tick {self.tick}")
        else:
            return False
        return True

    def exchange(self, data, count, *, max_ticks=10_000_000):
        """Send ``data`` and return the next ``count`` bytes: a convenience for tests.

        Raises
        ------
        TimeoutError
            They did not come in ``max_ticks`` ticks.
        """
        self.send(data)
        self.advance(max_ticks, want=count)
        if self.available < count:
            raise TimeoutError(f"{self.available} of {count} bytes came in {max_ticks} ticks")
        return self.receive(count)

    def power_cycle(self, ticks=1):
        """Switch the node off for ``ticks`` ticks and on again, as it was at tick 0.

        Bytes on their way to the node are gone. Time goes on, and so do sources that have
        started; the node's own counter starts again.
        """
        if ticks < 1:
            raise ValueError(f"The node is off for at least 1 tick, not {ticks!r}")
        end = self.tick + ticks
        while self._lib.qc_statistic(self._live(), 5) <= end:
            self._feed(end)
        self._lib.qc_power_cycle(self._handle, ticks)

    # -- live channels ----------------------------------------------------------------------

    def add_photons(self, channel, times):
        """Give a live channel photons, in any order.

        Parameters
        ----------
        channel : int
        times : sequence of int
            Fine units (8192 in a tick) from tick 0, none of them before the present tick.

        Raises
        ------
        ValueError
            A photon comes too late, or the channel is not live.
        """
        if channel not in self.live:
            raise ValueError(f"Channel {channel} is not live; live are "
                             f"{', '.join(map(str, self.live)) or 'none'}")
        count = len(times)
        buffer = times.ctypes.data if isinstance(times, np.ndarray) and times.dtype == np.int64 \
            and times.flags.c_contiguous else (ctypes.c_int64 * count)(*times)
        late = self._lib.qc_photons(self._live(), channel, buffer, count)
        if late:
            raise ValueError(f"{late} of {count} photons on channel {channel} are before tick "
                             f"{self.tick}, which is past")

    # -- edges ------------------------------------------------------------------------------

    def _begin(self, k, inputs, tick):
        self._fed_until[k] = 0
        self._batch_ticks[k] = _MIN_BATCH_TICKS
        for number in inputs:
            # Nothing is known of this input from here on, so time stands until it is fed.
            self._lib.qc_feed(self._live(), number, None, 0, tick * FINE_PER_TICK)

    def _start(self, tick):
        self.origin_tick = tick
        self._begin("sources", range(self.config.channels), tick)

    def _feed(self, tick=None):
        """Bring edges so that time can pass ``tick`` (default: now)."""
        tick = self.tick if tick is None else tick
        for k in list(self._fed_until):
            if self._fed_until[k] is None:
                continue
            if k == "sources":
                self._feed_sources(tick)
            else:
                self._feed_reference(k, tick)

    def _next_horizon(self, k, tick):
        """Tick up to which to ask for edges, or None if input ``k`` has enough."""
        if self._fed_until[k] > tick + _MIN_BATCH_TICKS // 2:
            return None
        return max(self._fed_until[k], tick) + self._batch_ticks[k]

    def _fed(self, k, horizon, count, exhausted):
        if count < _BATCH_EDGES // 2:
            self._batch_ticks[k] = min(self._batch_ticks[k] * 2, _MAX_BATCH_TICKS)
        elif count > _BATCH_EDGES * 2:
            self._batch_ticks[k] = max(self._batch_ticks[k] // 2, _MIN_BATCH_TICKS)
        self._fed_until[k] = None if exhausted else horizon

    def _until_ps(self, ticks):
        # Rounding to fine units may carry a time over the horizon by half a unit: stay below.
        return math.floor(ticks * self.config.tick_ps - self.config.tick_ps / FINE_PER_TICK)

    def _push(self, k, times, horizon):
        times = np.ascontiguousarray(times, dtype=np.int64)
        self._lib.qc_feed(self._live(), k, times.ctypes.data, len(times), horizon)

    def _feed_reference(self, k, tick):
        horizon = self._next_horizon(k, tick)
        if horizon is None:
            return
        source = self._references[k]
        times, _ = source.batches(self._until_ps(horizon))
        limit = _NEVER if source.exhausted else horizon * FINE_PER_TICK - FINE_PER_TICK
        self._push(k, fine_from_ps(times, self.config.tick_ps), limit)
        self._fed(k, horizon, len(times), source.exhausted)

    def _feed_sources(self, tick):
        horizon = self._next_horizon("sources", tick)
        if horizon is None:
            return
        origin = self.origin_tick
        until_ps = self._until_ps(horizon - origin)
        batches = [source.batches(until_ps) for source in self._sources]
        exhausted = all(source.exhausted for source in self._sources)
        if len(batches) == 1:
            times, channels = batches[0]
        else:
            times = np.concatenate([times for times, _ in batches])
            channels = np.concatenate([channels for _, channels in batches])
            order = np.argsort(times, kind="stable")
            times, channels = times[order], channels[order]
        if len(channels) and channels.max() >= self.config.channels:
            raise ValueError(f"A photon on channel {channels.max()}: this node has channels 0 to "
                             f"{self.config.channels - 1}")
        fine = fine_from_ps(times, self.config.tick_ps) + origin * FINE_PER_TICK
        limit = _NEVER if exhausted else (horizon - 1) * FINE_PER_TICK
        for k in range(self.config.channels):
            self._push(k, fine[channels == k], limit)
        self._fed("sources", horizon, len(times), exhausted)

    @property
    def waiting_for_start(self):
        """Whether sources wait for ``running`` to rise."""
        return bool(self._sources) and self.origin_tick is None

    @property
    def edges_to_come(self):
        """Whether any input may still change."""
        return any(until is not None for until in self._fed_until.values()) \
            or self._lib.qc_statistic(self._live(), 7) != 0

    @property
    def driven(self):
        """Photons that became edges, per channel, as far as they have been asked for."""
        return self._per_channel(self._lib.qc_driven)

    @property
    def merged(self):
        """Photons that the front end could not tell from the one before, per channel."""
        return self._per_channel(self._lib.qc_merged)

    @property
    def blind(self):
        """Photons of live channels that came in their detector's dead time, per channel."""
        return self._per_channel(self._lib.qc_blind)

    def _per_channel(self, function):
        handle = self._live()
        return np.array([function(handle, k) for k in range(self.config.channels)],
                        dtype=np.int64)

    @property
    def statistics(self):
        """Counts since the start, as a dictionary: ``ticks``, ``bytes_to_node``,
        ``bytes_to_host``, ``line_lost``, ``framing_errors`` (of the host's UART), ``edges``,
        ``front_end_merged``, ``outputs_lost`` (changes of outputs nobody took)."""
        handle = self._live()
        names = ("bytes_to_node", "bytes_to_host", "line_lost", "framing_errors", "outputs_lost")
        counts = {name: self._lib.qc_statistic(handle, k) for k, name in enumerate(names)}
        return {"ticks": self.tick, **counts, "edges": int(self.driven.sum()),
                "front_end_merged": int(self.merged.sum())}

    @property
    def silent_ticks(self):
        """Ticks since anything moved on the line."""
        return self.tick - self._lib.qc_statistic(self._live(), 6)

    @property
    def output_lines(self):
        """Names of the recorded outputs, by line number."""
        return tuple(self.library.info["outputs"])

    @property
    def pins(self):
        """Names of the inputs that :meth:`set_pin` sets."""
        return tuple(self.library.info["pins"])

    def record(self, lines=None):
        """Record only these output lines from here on (names); by default all, as at first.

        Every change of a recorded line takes memory until :meth:`take_outputs` is called.
        """
        self._lib.qc_record(self._live(), (1 << len(self.output_lines)) - 1 if lines is None
                            else self.line_mask(lines))

    def line_mask(self, lines):
        """Bits of output lines, by name."""
        unknown = [line for line in lines if line not in self.output_lines]
        if unknown:
            raise ValueError(f"This node has no output line {', '.join(map(repr, unknown))}; it "
                             f"has {', '.join(self.output_lines)}")
        return sum(1 << self.output_lines.index(line) for line in set(lines))

    def set_pin(self, name, value):
        """Set an input that stands still otherwise: a sequencer's ``emergency``, ``inputs`` or
        ``peers``. All are 0 at first; a power cycle leaves them as they are."""
        if name not in self.pins:
            raise ValueError(f"This node has no pin {name!r}; it has "
                             f"{', '.join(self.pins) or 'none'}")
        if not 0 <= value < 1 << 32:
            raise ValueError(f"A pin takes 0 to 2**32 - 1, not {value!r}")
        self._lib.qc_pin(self._live(), self.pins.index(name), value)

    def take_outputs(self):
        """Changes of the outputs (triggers, sync, running, a sequencer's) since the last call.

        Returns
        -------
        ticks : int64 array
            The first tick at which the line has the new level.
        lines : uint8 array
            Index into :attr:`output_lines`.
        levels : uint8 array
        """
        handle = self._live()
        count = self._lib.qc_output_edges(handle, None, None, None, 0)
        ticks = np.empty(count, dtype=np.int64)
        lines, levels = np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.uint8)
        if count:
            self._lib.qc_output_edges(handle, ticks.ctypes.data, lines.ctypes.data,
                                      levels.ctypes.data, count)
            order = np.argsort(ticks, kind="stable")
            ticks, lines, levels = ticks[order], lines[order], levels[order]
        return ticks, lines, levels
