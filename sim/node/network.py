"""Several virtual nodes in one process, with lines between them and photons that they cause.

All nodes run in lock step. Time goes on in quanta that are no longer than the shortest way from
one node to another, so that whatever reaches a node in a quantum left its origin before the
quantum began; the result is the same as if all were clocked together, tick by tick, and does not
depend on how time is cut. The quanta are run in C++; Python is called when a line of an emitter
rises, when bytes for a host wait, and when photons are needed.
"""

import asyncio
import ctypes
import math
from dataclasses import dataclass

import numpy as np

from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.host.transport.base import DisconnectedError, Transport
from quantacore.sim.node.engine import Engine, EngineFailed, Stop, fine_from_ps

__all__ = ["Faults", "Link", "Wire", "EmitterLines", "Optics", "Network", "NetworkTransport"]

#: Longest quantum, where nothing asks for a shorter one.
_MOST_QUANTUM = 1 << 12
#: Bytes wait so many silent ticks for others before they are handed over.
_FLUSH_TICKS = 8
#: Dark counts are drawn so far ahead.
_DARK_TICKS = 1 << 17
#: After so many ticks without a byte a network has nothing to do for its hosts.
_QUIET_TICKS = 1 << 14
#: Ticks between two looks at what hosts have to say.
_CHUNK_TICKS = 1 << 8
_RISES = 1 << 10


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What a link does to the words on it; a word is one tick with ``valid``.

    Parameters
    ----------
    drop : float
        Probability that a word is lost.
    flip : float
        Probability that a word that is not lost has one bit of its data inverted.
    lose : float
        Probability that a burst is lost: all words up to the next tick without one.
    """

    drop: float = 0.0
    flip: float = 0.0
    lose: float = 0.0

    def __post_init__(self):
        for name in ("drop", "flip", "lose"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1, not {getattr(self, name)!r}")

    @property
    def thresholds(self):
        """The same as integers out of 2**53."""
        return tuple(int(p * (1 << 53)) for p in (self.drop, self.flip, self.lose))


@dataclass(frozen=True, kw_only=True)
class Link:
    """Lines both ways between a peer port of one node and one of another.

    Parameters
    ----------
    first, second : (str, int)
        Name of a node and number of its port.
    delay_ticks : int
        From an output of ``first`` to the input of ``second``, at least 1.
    back_ticks : int or None
        The other way; None: the same.
    faults : Faults
        Of both directions, drawn independently.
    """

    first: tuple
    second: tuple
    delay_ticks: int
    back_ticks: int | None = None
    faults: Faults = Faults()


@dataclass(frozen=True, kw_only=True)
class Wire:
    """From an output of a node to bits of an input of another, for lines that are no peer ports.

    Parameters
    ----------
    source, output : str
        Node, and one of its outputs, or a line of one, such as ``"barrier"`` or ``"ttl[3]"``.
    target, pin : str
        Node, and one of its inputs, such as ``"peers"``.
    bit : int
        The lowest bit of the pin that the output drives.
    delay_ticks : int
        At least 1.
    """

    source: str
    output: str
    target: str
    pin: str
    bit: int = 0
    delay_ticks: int = 1


@dataclass(frozen=True, kw_only=True)
class EmitterLines:
    """The output lines by which a node works its emitter: they act when they rise.

    Parameters
    ----------
    node : str
    excite : str
        Name of an output line, such as ``"ttl[1]"``.
    prepare : str or None
        Puts the emitter into a new random state; None: every excitation does so first.
    flip : str or None
        Exchanges bright and dark.
    """

    node: str
    excite: str
    prepare: str | None = None
    flip: str | None = None


class Optics:
    """Emitters that nodes work, and the detectors of a station behind a beam splitter.

    Parameters
    ----------
    midpoint : Midpoint
        From :mod:`quantacore.sim.photonics.heralding`. An excitation's time is the beginning of
        the tick in which the line is high first.
    emitters : two of EmitterLines
    station : str
        Node with the detectors. Their channels must be live (see :meth:`channels`).
    channels : (int, int)
        Its inputs.
    judge : str or None
        A line of the station that rises when it thinks that the emitters are entangled: then
        it is counted whether their states differ.
    """

    def __init__(self, midpoint, emitters, *, station, channels=(0, 1), judge=None):
        if len(emitters) != 2 or len(channels) != 2:
            raise ValueError(f"There are two emitters and two detectors, not {len(emitters)} and "
                             f"{len(channels)}")
        self.midpoint = midpoint
        self.emitters = tuple(emitters)
        self.station = station
        self.channels = tuple(channels)
        self.judge = judge

    @property
    def live(self):
        """The option ``live`` of the station's engine."""
        return {channel: detector.dead_time_ps for channel, detector in
                zip(self.channels, self.midpoint.detectors, strict=True)}


# What a rise does, in the order in which rises in one tick act.
_PREPARE, _FLIP, _EXCITE, _JUDGE = range(4)


class Network:
    """Virtual nodes that run together. It owns them: closing the network closes them.

    Not thread-safe. Deterministic: the same nodes, seeds and calls give the same bytes, and how
    time is cut into calls changes nothing but when hosts' bytes enter.

    Parameters
    ----------
    nodes : dict of str to Engine
        All at the same tick and with the same clock frequency.
    links : sequence of Link
    wires : sequence of Wire
    optics : sequence of Optics
    seed : int
        Seeds the links' faults.
    """

    def __init__(self, nodes, *, links=(), wires=(), optics=(), seed=0):
        self._network = None
        self._wires = []
        self.nodes = dict(nodes)
        if not self.nodes:
            raise ValueError("A network needs at least one node")
        for name, engine in self.nodes.items():
            if not isinstance(engine, Engine):
                raise TypeError(f"Node {name!r} must be an Engine, not {engine!r}")
        engines = list(self.nodes.values())
        if len({engine.tick for engine in engines}) > 1:
            raise ValueError("All nodes of a network begin at the same tick, these are at "
                             + ", ".join(f"{engine.tick}" for engine in engines))
        if len({engine.config.tick_ps for engine in engines}) > 1:
            raise ValueError("All nodes of a network have the same clock frequency")
        self._engines = engines
        self._names = list(self.nodes)
        self._tick_ps = engines[0].config.tick_ps
        self._lib = engines[0].library.load()
        self._inbox = {name: bytearray() for name in self.nodes}
        self._listeners = {}
        self._pump = None
        self._reading = 0
        self._seeds = np.random.SeedSequence(seed)
        self.links = tuple(links)
        self.optics = tuple(optics)
        delays = [_MOST_QUANTUM]
        self._directions = []
        for link in self.links:
            delays += self._join(link)
        for wire in wires:
            delays.append(wire.delay_ticks)
            self._wire(wire.source, wire.output, wire.target, wire.pin, wire.delay_ticks,
                       low=wire.bit)
        self._actions = {}
        for each in self.optics:
            delays.append(self._attach(each))
        self._workers = sorted({node for node, _ in self._actions})
        self._dark_until = None if any(d.dark_hz for each in self.optics
                                       for d in each.midpoint.detectors) else math.inf
        #: Ticks that are run at a time.
        self.quantum = min(delays)
        self._network = ctypes.c_void_p(
            self._lib.qc_network_create(self.quantum, engines[0].tick))
        for engine in engines:
            library = engine.library.load()
            advance = ctypes.cast(library.qc_advance, ctypes.c_void_p)
            self._lib.qc_network_add(self._network, engine.handle, advance,
                                     ctypes.c_void_p(library.qc_woken(engine.handle)))
        self._ticks = (ctypes.c_int64 * _RISES)()
        self._lines = (ctypes.c_uint8 * _RISES)()

    # -- building ---------------------------------------------------------------------------

    def _engine(self, name):
        if name not in self.nodes:
            raise ValueError(f"There is no node {name!r}; there are {', '.join(self.nodes)}")
        return self.nodes[name]

    def _wire(self, source, output, target, pin, delay, *, low=0, faults=None):
        one, other = self._engine(source), self._engine(target)
        info, there = one.library.info, other.library.info
        port, _, line = output.partition("[")
        line = int(line[:-1]) if line.endswith("]") and line[:-1].isdigit() else None
        if port not in info["wired"] or line is None and port != output \
                or line is not None and line >= info["widths"][port]:
            raise ValueError(f"Node {source!r} has no output {output!r} for a wire; it has "
                             f"{', '.join(info['wired'])}")
        if pin not in there["pins"]:
            raise ValueError(f"Node {target!r} has no input {pin!r}; it has "
                             f"{', '.join(there['pins']) or 'none'}")
        width = info["widths"][port] if line is None else 1
        if low < 0 or low + width > there["widths"][pin]:
            raise ValueError(f"Output {output!r} has {width} bits and does not fit into {pin!r}, "
                             f"which has {there['widths'][pin]}, from bit {low} on")
        if not isinstance(delay, int) or delay < 1:
            raise ValueError(f"A wire takes at least 1 tick, not {delay!r}")
        lanes = info["lanes"].get(output, 0)
        if lanes != there["lanes"].get(pin, 0):
            raise ValueError(f"Port {output!r} of {source!r} has {lanes} lanes and {pin!r} of "
                             f"{target!r} {there['lanes'].get(pin, 0)}")
        wire = ctypes.c_void_p(one.native.qc_wire_create(delay, lanes and 1 << lanes, lanes))
        # Whatever happens below, it is freed.
        self._wires.append(wire)
        (seed,) = self._seeds.spawn(1)
        if faults is not None:
            one.native.qc_wire_faults(wire, *faults.thresholds,
                                      int(seed.generate_state(1, np.uint64)[0]))
        other.native.qc_sink(other.handle, there["pins"].index(pin), low,
                             ((1 << width) - 1) << low, wire)
        one.native.qc_tap(one.handle, info["wired"].index(port), line or 0, (1 << width) - 1,
                          wire)
        return wire

    def _join(self, link):
        back = link.delay_ticks if link.back_ticks is None else link.back_ticks
        directions = []
        for (source, port), (target, peer), delay in (
                (link.first, link.second, link.delay_ticks), (link.second, link.first, back)):
            wire = self._wire(source, f"peer_o__{port}", target, f"peer_i__{peer}", delay,
                              faults=link.faults)
            directions.append(wire)
        self._directions.append(directions)
        return link.delay_ticks, back

    def _attach(self, optics):
        station = self._engine(optics.station)
        for channel in optics.channels:
            if channel not in station.live:
                raise ValueError(f"Channel {channel} of {optics.station!r} must be live: make "
                                 f"its engine with live=optics.live")
        if len({lines.node for lines in optics.emitters}) < 2:
            raise ValueError("Each emitter is worked by a node of its own")
        for arm, lines in enumerate(optics.emitters):
            roles = {_EXCITE: lines.excite, _PREPARE: lines.prepare, _FLIP: lines.flip}
            roles = {role: line for role, line in roles.items() if line is not None}
            if len(set(roles.values())) < len(roles):
                raise ValueError(f"Lines of the emitter at {lines.node!r} must differ, not be "
                                 f"{', '.join(roles.values())}")
            self._listen(lines.node, {line: (role, optics, arm, lines.prepare is None)
                                      for role, line in roles.items()}, lines.excite)
        if optics.judge is not None:
            self._listen(optics.station, {optics.judge: (_JUDGE, optics, 0, False)}, optics.judge)
        least = math.floor(optics.midpoint.least_delay_ps / self._tick_ps)
        if least < 1:
            raise ValueError(f"Photons take at least a tick ({float(self._tick_ps):g} ps) from "
                             f"excitation to click, jitter taken away, not "
                             f"{optics.midpoint.least_delay_ps} ps: make the fibres longer")
        return least

    def _listen(self, name, actions, waking):
        engine, node = self._engine(name), self._names.index(name)
        if node in {node for node, _ in self._actions}:
            raise ValueError(f"Node {name!r} has more than one part in the optics; it can have one")
        engine.native.qc_listen(engine.handle, engine.line_mask(actions),
                                engine.line_mask([waking]))
        for line, action in actions.items():
            self._actions[node, engine.output_lines.index(line)] = action

    # -- life -------------------------------------------------------------------------------

    def close(self):
        """Close all nodes. May be called twice."""
        for engine in self.nodes.values():
            if isinstance(engine, Engine):
                engine.close()
        if self._network is not None:
            self._lib.qc_network_destroy(self._network)
            self._network = None
        while self._wires:
            self._lib.qc_wire_destroy(self._wires.pop())
        self._wake()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if getattr(self, "_network", None) is not None:
            self.close()

    @property
    def closed(self):
        """Whether the network, or a node of it, has been closed."""
        return self._network is None or any(engine.closed for engine in self._engines)

    def _live(self):
        if self.closed:
            raise EngineFailed("This network, or a node of it, is closed; make a new one")
        return self._network

    # -- hosts ------------------------------------------------------------------------------

    def send(self, name, data):
        """Queue bytes from a node's host."""
        self._live()
        self._engine(name).send(data)
        self._wake()

    def receive(self, name):
        """Take all bytes for a node's host."""
        self._collect(self._names.index(name))
        data = bytes(self._inbox[name])
        self._inbox[name].clear()
        return data

    def inbox(self, name):
        """Bytes that wait for a node's host, to be taken away."""
        return self._inbox[name]

    def transport(self, name):
        """A transport to a node, for a driver; see :class:`NetworkTransport`."""
        self._engine(name)
        return NetworkTransport(self, name)

    @property
    def busy(self):
        """Whether bytes are on their way from or to a host, or were a moment ago."""
        return any(engine.unsent or engine.silent_ticks < _QUIET_TICKS
                   for engine in self._engines)

    def _collect(self, number):
        engine, name = self._engines[number], self._names[number]
        if not engine.available:
            return False
        self._inbox[name] += engine.receive()
        self._wake(name)
        return True

    def listen(self, name, function):
        """Call ``function()`` when bytes for a node's host arrive, or any host sends."""
        self._listeners[name] = function

    def _wake(self, name=None):
        for listener, function in list(self._listeners.items()):
            if name in (None, listener):
                function()

    # -- time -------------------------------------------------------------------------------

    @property
    def tick(self):
        """Ticks since the nodes came out of their first reset."""
        return self._lib.qc_network_tick(self._live())

    async def waiting(self, event):
        """Wait for an event while all nodes run, as long as bytes are on their way."""
        self._reading += 1
        try:
            # One task lets time pass, however many hosts wait.
            if self._pump is None or self._pump.done():
                self._pump = asyncio.get_running_loop().create_task(self._run())
            await event.wait()
        finally:
            self._reading -= 1

    async def _run(self):
        try:
            while self._reading and not self.closed and self.busy:
                self.advance(_CHUNK_TICKS, until_output=True)
                await asyncio.sleep(0)
        except EngineFailed:
            self.close()

    def advance(self, ticks, *, until_output=False):
        """Let all nodes run.

        Parameters
        ----------
        ticks : int
            So many ticks, then :attr:`Stop.TICKS`.
        until_output : bool
            Stop with :attr:`Stop.OUTPUT` when bytes have come for any host.

        Raises
        ------
        EngineFailed
            The gateware of a node stopped the simulation.
        """
        network = self._live()
        run, now = self._lib.qc_network_run, self._lib.qc_network_tick
        end = now(network) + ticks
        while True:
            tick = now(network)
            if self._dark_until is None or tick >= self._dark_until:
                self._add_darks(tick)
            reason = run(network, min(end, self._dark_until), _FLUSH_TICKS)
            if reason == Stop.WOKEN:
                self._react()
            elif reason == Stop.TICKS:
                if now(network) >= end:
                    return Stop.TICKS
            else:
                who = self._lib.qc_network_who(network)
                if not self._engines[who].resolve(reason) and self._collect(who) \
                        and until_output:
                    return Stop.OUTPUT

    def power_cycle(self, name, ticks=1):
        """Switch a node off for ``ticks`` ticks and on again; its lines are low meanwhile."""
        self._live()
        self._engine(name).power_cycle(ticks)

    # -- links ------------------------------------------------------------------------------

    def cut(self, number, *, forward=True, back=True):
        """Cut link ``number``, or one direction of it: nothing passes until :meth:`mend`."""
        self._switch(number, forward, back, True)

    def mend(self, number, *, forward=True, back=True):
        """Undo :meth:`cut`."""
        self._switch(number, forward, back, False)

    def _switch(self, number, forward, back, cut):
        self._live()
        for wire, chosen in zip(self._directions[number], (forward, back), strict=True):
            if chosen:
                self._lib.qc_wire_cut(wire, cut)

    def counts(self, number):
        """Words on link ``number`` so far: for each direction a dictionary of ``words`` sent,
        ``dropped`` and ``flipped``."""
        self._live()
        return tuple({name: self._lib.qc_wire_count(wire, k)
                      for k, name in enumerate(("words", "dropped", "flipped"))}
                     for wire in self._directions[number])

    # -- photons ----------------------------------------------------------------------------

    def _add_darks(self, tick):
        until_ps = math.ceil((tick + _DARK_TICKS) * self._tick_ps)
        known = math.inf
        for optics in self.optics:
            station = self.nodes[optics.station]
            found, until = optics.midpoint.darks(until_ps)
            known = min(known, until)
            for channel, times in zip(optics.channels, found, strict=True):
                fine = fine_from_ps(times, self._tick_ps)
                # A power cycle may have carried the node past them.
                station.add_photons(channel, fine[fine >= station.tick * FINE_PER_TICK])
        self._dark_until = math.floor(known / self._tick_ps)

    def _rises(self):
        events = []
        for node in self._workers:
            engine = self._engines[node]
            count = engine.native.qc_rises(engine.handle, self._ticks, self._lines,
                                           len(self._ticks))
            if count > len(self._ticks):
                self._ticks, self._lines = (ctypes.c_int64 * count)(), (ctypes.c_uint8 * count)()
                engine.native.qc_rises(engine.handle, self._ticks, self._lines, count)
            for tick, line in zip(self._ticks[:count], self._lines[:count], strict=True):
                events.append((tick, *self._actions[node, line]))
        events.sort(key=lambda event: event[:2])
        return events

    def _react(self):
        # Python's fractions would take longer than all the rest.
        numerator, denominator = self._tick_ps.numerator, self._tick_ps.denominator
        for tick, role, optics, arm, fresh in self._rises():
            midpoint = optics.midpoint
            if role == _PREPARE:
                midpoint.prepare(arm)
                continue
            if role == _FLIP:
                midpoint.flip(arm)
                continue
            if role == _JUDGE:
                midpoint.judge()
                continue
            if fresh:
                midpoint.prepare(arm)
            click = midpoint.excite(arm, tick * numerator // denominator)
            if click is not None:
                detector, time_ps = click
                station = self.nodes[optics.station]
                fine = time_ps * FINE_PER_TICK * denominator // numerator
                if fine >= station.tick * FINE_PER_TICK:
                    station.add_photons(optics.channels[detector], (fine,))


class NetworkTransport(Transport):
    """A byte stream to one node of a network, in the event loop's own thread.

    While a driver waits for bytes, all nodes run, as long as bytes are on their way or were within
    16 384 ticks; else time stands until somebody calls :meth:`Network.advance` or sends. All hosts
    of a network live in one event loop.
    """

    def __init__(self, network, name):
        self.network = network
        self.name = name
        self.url = f"network:{name}"
        self._event = None

    async def open(self):
        self._event = asyncio.Event()
        self.network.listen(self.name, self._event.set)

    async def close(self):
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def read(self, limit=65536):
        while True:
            event = self._event
            if event is None or self.network.closed:
                raise DisconnectedError(f"{self.url} is closed")
            event.clear()
            inbox = self.network.inbox(self.name)
            if inbox:
                data = bytes(inbox[:limit])
                del inbox[:limit]
                return data
            await self.network.waiting(event)

    async def write(self, data):
        if self._event is None or self.network.closed:
            raise DisconnectedError(f"{self.url} is closed")
        self.network.send(self.name, data)

    def hint(self):
        return "the virtual node runs in this process, and time goes on while its network advances"
