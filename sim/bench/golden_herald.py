"""A golden node with a herald unit and a sequencer, as far as a host can tell.

Attempts are not timed: each piece of traffic while attempts can be armed makes those that are
waiting in ``schedule``. What the tables say is worked out here from the words as the host wrote
them.
"""

import numpy as np

from quantacore.gateware.layouts.herald import (
    ATTEMPT_BITS,
    CELLS,
    COUNT_SETS,
    COUNTS,
    DETECTORS,
    PATTERNS,
    AttemptRecord,
    HeraldAction,
    HeraldAddress,
    HeraldCodes,
    HeraldControl,
    HeraldCount,
    HeraldFlags,
    HeraldRecord,
    HeraldRecordKind,
    HeraldStatus,
    HeraldTable,
    Outcome,
    PatternEntry,
    Role,
    count_index,
)
from quantacore.gateware.layouts.identity import Capabilities
from quantacore.gateware.layouts.peer import PEER_PORTS, PeerAction
from quantacore.gateware.layouts.tags import FINE_PER_TICK, TagRecord
from quantacore.gateware.layouts.virtual import (
    FIRST_VIRTUAL,
    VIRTUAL_CHANNELS,
    VirtualChannel,
    VirtualFlags,
    VirtualKind,
)
from quantacore.sim.bench.golden_sequencer import GoldenSequencerEndpoint
from quantacore.sim.bench.golden_switches import GoldenSwitchesEndpoint
from quantacore.sim.golden.virtual import VirtualSettings, virtual_edges

__all__ = ["GoldenHeraldEndpoint", "GoldenSwitchedEndpoint"]

_FLAGS = [name for name, _ in HeraldFlags.as_shape()]
_VIRTUAL_FLAGS = [name for name, _ in VirtualFlags.as_shape()]
_PEER_COUNTS = ("sent", "received", "check_errors", "foreign", "repeats", "timeouts",
                "round_trip_max")
_VIRTUAL_COUNTS = ("sent", "lost", "edges_lost", "edges_late")
_VOID = {"missing_reference": "void_reference", "double_reference": "void_reference",
         "aborted": "void_aborted", "route_moved": "void_route", "peer_lost": "void_peer"}


class GoldenHeraldEndpoint(GoldenSequencerEndpoint):
    """A golden endpoint whose node has a sequencer and a herald unit.

    Parameters
    ----------
    inputs, samples : int
        What the identity says.
    peers : bool
        Whether there are ports to peers; a :class:`~quantacore.sim.bench.golden_peers.GoldenLine`
        puts somebody there.

    Attributes
    ----------
    schedule : list of (int, int), str or list
        Attempts to come while a program runs, one with each piece of traffic: clicked cells and
        the ``ARM``'s windows, or the flag of what makes it void. A list is no attempt, but edges
        for :meth:`detect`.
    busy : bool
        Set it for an attempt that does not end.
    lines : dict of int to GoldenLine
        By port.
    """

    #: Whether attempts wait for a route.
    settling = False

    def __init__(self, *, inputs=8, samples=8, peers=False, **options):
        self.inputs, self.samples, self.peers = inputs, samples, peers
        self.lines = {}
        super().__init__(**options)

    def reset(self):
        """As of a node: off, no table written, no attempt made."""
        super().reset()
        self.set("identity.capabilities", self.get("identity.capabilities") | sum(
            1 << place.offset for name, place in Capabilities.as_shape()
            if name == "herald" or name == "peers" and self.peers))
        self.set("identity.geometry", self.get("identity.geometry") & ~0xFFFF
                 | self.inputs | self.samples << 8)
        self.tables = {table: {} for table in HeraldTable}
        self._table, self._index = HeraldTable.OPEN, 0
        self.schedule, self.busy, self.saturated = [], False, 0
        self.counts = [0] * COUNTS

    def feed(self, data):
        for line in self.lines.values():
            line.look()
        if self.schedule and self._busy and not self._waits:
            one = self.schedule.pop(0)
            if isinstance(one, str):
                self.void(one)
            elif isinstance(one, list):
                self.detect(one)
            else:
                self.attempt(*one)
        return super().feed(data)

    # Registers.

    def get(self, name, index=0):
        if name == "herald.status":
            control = HeraldControl.from_bits(self.get("herald.control"))
            return HeraldStatus.const({
                "busy": self.busy, "off": not control.enable, "saturated": bool(self.saturated),
                "settling": self.settling, "detectors": self.saturated}).as_bits()
        if name == "herald.table_readback":
            return self.tables[self._table].get(self._index, 0)
        if name == "herald.counts":
            return self.counts[index // 2] >> 32 * (index % 2) & 0xFFFFFFFF \
                if index < 2 * COUNTS else 0
        return super().get(name, index)

    def _written(self, name, index, value):
        super()._written(name, index, value)
        block, _, register = name.partition(".")
        if name == "peers.action":
            self._act_on_peers(PeerAction.from_bits(value))
        if name == "virtual.clear" and value:
            for count in _VIRTUAL_COUNTS:
                self.set(f"virtual.{count}", 0)
            for v in range(VIRTUAL_CHANNELS):
                self.set("virtual.generated", 0, v)
        if block != "herald":
            return
        if register == "table_address":
            address = HeraldAddress.from_bits(value)
            self._table, self._index = address.table, address.index
        elif register == "table_data":
            if self.busy:
                self.raise_herald("table_busy")
            else:
                self.tables[self._table][self._index] = value
            self._index += 1
        elif register == "action":
            self._act(HeraldAction.from_bits(value))

    def _act_on_peers(self, action):
        for port in range(PEER_PORTS):
            if action.restart and port in self.lines:
                self.lines[port].restart(self)
            if action.clear:
                for name in _PEER_COUNTS:
                    self.set(f"peers.{name}", 0, port)
                self.set("peers.round_trip_min", (1 << 24) - 1, port)
        if action.clear:
            for name in ("triggers", "started", "missed"):
                self.set(f"peers.{name}", 0)

    def lost_peer(self):
        """A peer was not heard for too long."""
        self.raise_herald("peer_lost")

    def _act(self, action):
        if action.clear:
            if self._role is Role.STATION:
                for line in self.lines.values():
                    line.restart(self)
            self.counts = [0] * COUNTS
            for name in ("attempt", "attempts", "succeeded", "failed", "void_reference",
                         "void_aborted", "void_route", "void_peer", "refused", "records_lost"):
                self.set(f"herald.{name}", 0)
        if action.abort and self.busy:
            self.busy = False
        if action.clear_frame:
            self.set("herald.frame", 0)

    def raise_herald(self, name):
        """Raise one of its flags."""
        self.raise_flag("herald", _FLAGS.index(name))

    def raise_flag(self, block, bit):
        """Raise a flag of a block, by its number."""
        self.set(f"{block}.flags", self.get(f"{block}.flags") | 1 << bit)
        self.set(f"{block}.flag_counts", self.get(f"{block}.flag_counts", bit) + 1, bit)
        self.set(f"{block}.flag_times", self.tick, bit)

    def add(self, name, number=1):
        """Add to one of the unit's counts."""
        self.set(f"herald.{name}", self.get(f"herald.{name}") + number)

    # Virtual channels.

    def detect(self, edges, *, late=0):
        """Let detectors have edges, ``(fine units, channel)``, of which the virtual channels see
        those that the tagger tags; of these so many come too late, the last ones."""
        if not self.get("tagger.control") & 1:
            return
        edges = sorted(edge for edge in edges if self.get("tagger.edges", edge[1]))
        if late:
            edges = edges[:-late]
            self.set("virtual.edges_late", self.get("virtual.edges_late") + late)
            self.raise_flag("virtual", _VIRTUAL_FLAGS.index("edge_late"))
        for v in range(VIRTUAL_CHANNELS):
            channel = VirtualChannel.from_bits(self.get("virtual.channels", v))
            if not channel.enable:
                continue
            combination = channel.kind == VirtualKind.COMBINATION
            found = virtual_edges(edges, VirtualSettings(
                detectors=_numbers(channel.detectors), window=self.get("virtual.window", v),
                watched=_numbers(channel.watched) if combination else None,
                guard_before=self.get("virtual.guard_before", v),
                guard_after=self.get("virtual.guard_after", v)))
            self.set("virtual.generated", self.get("virtual.generated", v) + len(found), v)
            if channel.record:
                sent = self.push_records(np.array([TagRecord.const({
                    "coarse": time // FINE_PER_TICK & 0xFFFFFFFF, "fine": time % FINE_PER_TICK,
                    "channel": FIRST_VIRTUAL + v}).as_bits() for time in found], np.uint64))
                self.set("virtual.sent", self.get("virtual.sent") + sent)
                self.set("virtual.lost", self.get("virtual.lost") + len(found) - sent)

    # Attempts.

    def holding(self, clicked, windows):
        """Numbers of the patterns that hold for clicked cells."""
        accept, added = self.tables[HeraldTable.ACCEPT], self.tables[HeraldTable.CONTRIBUTION]
        rows = [16 * d + (clicked >> 4 * d & 15) for d in range(DETECTORS)]
        found = []
        for n in range(PATTERNS):
            entry = PatternEntry.from_bits(self.tables[HeraldTable.PATTERN].get(n, 0))
            sums = [sum(added[row] >> 3 * k & 7 for row in rows) for k in range(COUNT_SETS)]
            if (entry.enabled and not entry.windows & ~windows
                    and all(accept[row] >> n & 1 for row in rows)
                    and all(self.tables[HeraldTable.COUNT][16 * k + min(total, 15)] >> n & 1
                            for k, total in enumerate(sums))):
                found.append((n, entry))
        return found

    @property
    def _role(self):
        return Role(HeraldControl.from_bits(self.get("herald.control")).role)

    def _ports(self):
        """Ports of a station's followers."""
        if self._role is not Role.STATION:
            return []
        return [p for p in range(PEER_PORTS) if self.get("peers.control") >> p & 1]

    @property
    def _waits(self):
        """Whether an attempt waits until all followers are ready."""
        lines = [self.lines.get(port) for port in self._ports()]
        return all(line and line.up for line in lines) and not all(line.ready for line in lines)

    def _begin(self):
        """Whether there is an attempt; it has its number."""
        control = HeraldControl.from_bits(self.get("herald.control"))
        up = all(p in self.lines and self.lines[p].up for p in self._ports())
        if not control.enable or self.saturated or self.settling or not up:
            self.add("refused")
            self.raise_herald("refused")
            return None
        self.add("attempts")
        self.set("herald.attempt", self.get("herald.attempts") & 0xFFFFFFFF)
        return control

    def _triggered(self):
        """Trigger the followers: their lines, and whether all of them take part."""
        lines = [self.lines[p] for p in self._ports()]
        if lines:
            self.set("peers.triggers", self.get("peers.triggers") + 1)
        came = [line for line in lines if line.trigger(self.get("herald.attempt"))]
        return came, len(came) == len(lines)

    def _record(self, clicked, outcome, pattern=0):
        number = self.get("herald.attempts")
        records = []
        if clicked:
            records.append(AttemptRecord.const({
                "coarse": self.tick & 0xFFFFFFFF, "number": number % (1 << ATTEMPT_BITS),
                "kind": HeraldRecordKind.ATTEMPT}).as_bits())
        records.append(HeraldRecord.const({
            "clicked": clicked, "number": number & 0xFFFF, "pattern": pattern,
            "outcome": outcome, "kind": HeraldRecordKind.HERALD}).as_bits())
        lost = len(records) - self.push_records(np.array(records, np.uint64))
        if lost:
            self.add("records_lost", lost)
            self.raise_herald("record_lost")

    def attempt(self, clicked, windows=15):
        """Make an attempt; return the code that the sequencer gets, or None.

        A station's is made with its followers, and void if one of them misses it; where one is not
        ready nothing happens.
        """
        if self._waits:
            return None
        control = self._begin()
        codes = HeraldCodes.from_bits(self.get("herald.codes"))
        if control is None:
            return codes.refused if codes.give_refused else None
        lines, everybody = self._triggered()
        if not everybody:
            self._tell(lines, Outcome.VOID)
            self.add("void_peer")
            if control.record_void:
                self._record(0, Outcome.VOID)
            return codes.void if codes.give_void else None
        for cell in range(CELLS):
            if clicked >> cell & 1:
                self.counts[count_index(HeraldCount.CELL, cell)] += 1
                self.counts[count_index(HeraldCount.CLICK, cell // 4)] += 1
        self.set("herald.clicked", clicked)
        holding = self.holding(clicked, windows)
        self._tell(lines, Outcome.SUCCESS if holding else Outcome.FAILED)
        if holding:
            number, entry = holding[0]
            self.add("succeeded")
            self.counts[count_index(HeraldCount.PATTERN, number)] += 1
            self.set("herald.frame", self.get("herald.frame") ^ entry.pauli)
            if control.record_success:
                self._record(clicked, Outcome.SUCCESS, number)
            return entry.code
        self.add("failed")
        if control.record_failed:
            self._record(clicked, Outcome.FAILED)
        return None

    @staticmethod
    def _tell(lines, outcome):
        for line in lines:
            line.verdict(outcome)

    def void(self, flag):
        """Make an attempt that is void, for the reason that a flag has."""
        control = None if self._waits else self._begin()
        if control is None:
            return
        self._tell(self._triggered()[0], Outcome.VOID)
        self.add(_VOID[flag])
        self.raise_herald(flag)
        if control.record_void:
            self._record(0, Outcome.VOID)


class GoldenSwitchedEndpoint(GoldenSwitchesEndpoint, GoldenHeraldEndpoint):
    """A golden endpoint whose node has a sequencer, a herald unit and photonic switches.

    Switches move in the ticks of :class:`~quantacore.sim.bench.golden_switches
    .GoldenSwitchesEndpoint` only, which are some of those that pass.
    """


def _numbers(bits):
    return frozenset(k for k in range(DETECTORS) if bits >> k & 1)
