"""The herald unit of a node: give it a channel plan, watch attempts, count verdicts.

::

    compiled = await node.herald.configure("time_bin")
    async with node.herald as herald:
        ...                                     # a program arms attempts
        print((await herald.counts()).patterns)
        matrix, totals = (await herald.verdicts()).matrix()

Attempts are armed by the sequencer's programs (``ARM``); this driver says what an attempt is, and
tells what came of them. docs/herald.md explains windows, patterns and plans.
"""

import asyncio
import warnings
from dataclasses import dataclass

import numpy as np

from quantacore.gateware.layouts.frames import MAX_PAYLOAD_WORDS
from quantacore.gateware.layouts.herald import (
    CELLS,
    COUNTS,
    DETECTORS,
    PATTERNS,
    WINDOWS,
    HeraldAddress,
    HeraldCount,
    count_index,
)
from quantacore.gateware.layouts.switches import RouteState
from quantacore.host.driver.block import CheckedBlockDriver
from quantacore.host.driver.errors import AchievedValueWarning, LinkError
from quantacore.host.driver.switches import RoutePlanError
from quantacore.host.herald.compile import HeraldGeometry, compile_plan
from quantacore.host.herald.plan import Finding, PlanError, read_plan
from quantacore.host.herald.records import (
    Verdicts,
    VerdictState,
    decode_verdicts,
    split_verdicts,
)

__all__ = ["HeraldDriver", "HeraldError", "HeraldMissingError", "HeraldBusyError",
           "TablesDifferError", "MissingReferenceError", "DoubleReferenceError",
           "AttemptAbortedError", "RouteMovedError", "DetectorSaturatedError",
           "AttemptRefusedError", "HeraldRecordsLostError", "TableBusyError", "PeerLostError",
           "PlanWarning", "FLAG_ERRORS", "HeraldReport", "HeraldCounts", "HeraldRates"]

#: Looks at an attempt in progress, before it is called one that does not end.
_PATIENCE = 100
#: Reads of counts until no high word changed meanwhile.
_READS = 20
_TOTALS = ("attempts", "succeeded", "failed", "void_reference", "void_aborted", "void_route",
           "void_peer", "refused", "records_lost")


class HeraldError(LinkError):
    """Base of what goes wrong with a herald unit."""


class HeraldMissingError(HeraldError):
    """The node was built without a herald unit."""


class HeraldBusyError(HeraldError):
    """An attempt is in progress, and does not end."""


class TablesDifferError(HeraldError):
    """The node's tables are not what was written."""


class MissingReferenceError(HeraldError):
    """An attempt had no reference pulse in time, and was void."""


class DoubleReferenceError(HeraldError):
    """An attempt had more than one reference pulse, and was void."""


class AttemptAbortedError(HeraldError):
    """An attempt was armed while another was in progress, and that one was void."""


class RouteMovedError(HeraldError):
    """A photonic route began to move in an attempt, and it was void."""


class DetectorSaturatedError(HeraldError):
    """A detector clicked more often than it may; there were no attempts for a while."""


class AttemptRefusedError(HeraldError):
    """A program armed an attempt that the node refused."""


class HeraldRecordsLostError(HeraldError):
    """Records of attempts or verdicts came faster than they could be sent."""


class TableBusyError(HeraldError):
    """A table was written while an attempt was in progress, and stayed as it was."""


class PeerLostError(HeraldError):
    """Another node of the attempt did not answer in time."""


class PlanWarning(AchievedValueWarning):
    """A channel plan can be loaded, and something about it is worth knowing."""


#: Exception of each sticky flag, for :meth:`HeraldDriver.check_flags`.
FLAG_ERRORS = {
    "missing_reference": MissingReferenceError, "double_reference": DoubleReferenceError,
    "aborted": AttemptAbortedError, "route_moved": RouteMovedError,
    "saturated": DetectorSaturatedError, "refused": AttemptRefusedError,
    "record_lost": HeraldRecordsLostError, "table_busy": TableBusyError,
    "peer_lost": PeerLostError,
}


@dataclass(frozen=True)
class HeraldReport:
    """What the herald unit is doing.

    Attributes
    ----------
    enabled, busy, waits : bool
        Attempts may be armed; one is in progress; one waits for a peer.
    refuses : tuple of str
        Why the next ``ARM`` would start nothing: ``off`` (not enabled, or no program runs),
        ``settling``, ``saturated``, ``limit``, ``reinitialise``.
    saturated : tuple of str
        Detectors that are saturated now, by name.
    attempt : int
        Number of the last attempt.
    frame : int
        The Pauli frame.
    """

    enabled: bool
    busy: bool
    waits: bool
    refuses: tuple
    saturated: tuple
    attempt: int
    frame: int


@dataclass(frozen=True)
class HeraldCounts:
    """The account: ``attempts = succeeded + failed + void`` (and one in progress).

    While attempts are being made each number is right for a moment of its own. ``patterns``,
    ``cells`` (``DETECTOR.WINDOW``), ``stray`` (clicks in an attempt outside all windows), ``dead``
    (edges in the dead time of another), ``clicks`` and ``virtual`` (edges of virtual channels;
    ``node.virtual`` has what they lost) are dictionaries by name; ``tick`` is when they were read.
    """

    tick: int
    attempts: int
    succeeded: int
    failed: int
    void_reference: int
    void_aborted: int
    void_route: int
    void_peer: int
    refused: int
    records_lost: int
    patterns: dict
    cells: dict
    stray: dict
    dead: dict
    clicks: dict
    virtual: dict

    @property
    def void(self):
        """Attempts that don't count, whatever the reason."""
        return self.void_reference + self.void_aborted + self.void_route + self.void_peer

    @property
    def probability(self):
        """Successes in the attempts that count; NaN without any."""
        made = self.succeeded + self.failed
        return self.succeeded / made if made else float("nan")


@dataclass(frozen=True)
class HeraldRates:
    """What happened in a span of the node's time, per second.

    ``patterns``, ``clicks`` and ``virtual`` are by name; ``probability`` is that of a success in
    an attempt.
    """

    seconds: float
    attempts_hz: float
    succeeded_hz: float
    void_hz: float
    probability: float
    patterns: dict
    clicks: dict
    virtual: dict

    @classmethod
    def between(cls, before, after, units):
        """Rates between two :class:`HeraldCounts`; 0 where no time passed or counts were cleared
        meanwhile."""
        seconds = units.ticks_s(max(after.tick - before.tick, 0))

        def rate(one, other):
            return max(other - one, 0) / seconds if seconds else 0.0

        def by_name(name):
            old, new = getattr(before, name), getattr(after, name)
            return {key: rate(old.get(key, 0), value) for key, value in new.items()}

        made = (after.succeeded + after.failed) - (before.succeeded + before.failed)
        won = after.succeeded - before.succeeded
        return cls(seconds, rate(before.attempts, after.attempts),
                   rate(before.succeeded, after.succeeded), rate(before.void, after.void),
                   won / made if made > 0 else float("nan"),
                   *(by_name(name) for name in ("patterns", "clicks", "virtual")))


class HeraldDriver(CheckedBlockDriver):
    """The herald unit.

    ``async with node.herald as herald`` opens the stream of its records. A node has one stream, so
    records of other blocks that come meanwhile are kept in ``other_records``; where another driver
    has the stream open, :meth:`feed` gives this one what came there.

    Attributes
    ----------
    compiled : CompiledPlan or None
        What :meth:`configure` loaded: names of detectors, windows and patterns come from it.
    other_records : list of numpy.ndarray
        Records of other blocks.
    """

    flag_errors = FLAG_ERRORS

    def __init__(self, node, registers):
        super().__init__(node, registers)
        self.compiled = None
        self.other_records = []
        self._stream = None
        self._verdicts = []
        self._state = VerdictState()

    def there(self):
        """Raise :class:`HeraldMissingError` if the node has no herald unit."""
        if not self.node.identity.herald:
            raise HeraldMissingError(
                "This node was built without a herald unit; build one with "
                "NodeConfig(herald=True, ...), or start a virtual node with "
                "virtual:?herald=yes&sequencer=8")

    def geometry(self):
        """:class:`~quantacore.host.herald.compile.HeraldGeometry` of this node."""
        identity = self.node.identity
        return HeraldGeometry(identity.tick_ps, identity.channels, identity.samples,
                              identity.peers, identity.switches)

    # Plans.

    def compile(self, plan):
        """A plan as this node would take it; nothing is sent.

        Parameters
        ----------
        plan : Plan, dict, path or name of a shipped plan

        Returns
        -------
        CompiledPlan

        Raises
        ------
        PlanError
            It is wrong, or needs more than this node has.
        HeraldMissingError
        """
        self.there()
        return compile_plan(read_plan(plan), self.geometry())

    async def configure(self, plan, *, enable=True, clear=True, verify=False):
        """Load a plan: tables, limits, role and peers, virtual channels, photonic switches.

        Where the plan says which route its attempts need, that one is loaded (if it is in the
        plan), the switches are switched on, and it is waited for until the route holds.

        Parameters
        ----------
        plan : Plan, dict, path or name of a shipped plan
        enable : bool
            Let attempts be armed from now on.
        clear : bool
            Zero all counts, those of virtual channels too, the numbers of attempts and what limits
            are counted from.
        verify : bool
            Read every table back.

        Returns
        -------
        CompiledPlan
            What of the plan came out; warned about where it is not what was asked for.

        Raises
        ------
        PlanError
            The node stays as it was.
        HeraldBusyError, TableBusyError, TablesDifferError
            Attempts stay disabled.
        SwitchesError
            The route could not be loaded, or does not hold. The rest of the plan is loaded, and
            attempts stay disabled.
        """
        compiled = self.compile(plan)
        await self._check_route(compiled.plan.switches)
        for finding in compiled.findings:
            warnings.warn(str(finding), PlanWarning, stacklevel=2)
        registers = self.registers
        await self.disable()
        await self._idle()
        before = await registers.flag_counts.read()
        for address, words in compiled.writes():
            await self._write_table(address, words)
        names = list(registers.flags.register.type.LAYOUT)
        busy = names.index("table_busy")
        if (await registers.flag_counts.read())[busy] != before[busy]:
            raise TableBusyError("The node refused words of its tables: an attempt was in "
                                 "progress; configure() again when none is")
        for name, value in compiled.registers.items():
            register = getattr(registers, name)
            if isinstance(value, list):
                for k, number in enumerate(value):
                    await register[k].write(number)
            else:
                await register.write(value)
        virtual = self.node.regs.virtual
        for name, values in compiled.virtual.items():
            for k, number in enumerate(values):
                await getattr(virtual, name)[k].write(number)
        if self.node.identity.peers:
            await self.node.peers.configure(compiled.peers)
        self.compiled = compiled
        if verify:
            await self.verify()
        if clear:
            await self.clear()
            await self.node.virtual.clear()
        await registers.control.write(**compiled.control, enable=0)
        await self._take_route(compiled.plan.switches)
        await registers.control.write(**compiled.control, enable=int(enable))
        return compiled

    async def _check_route(self, wanted):
        """What can't be said of a plan's route without asking the node."""
        if wanted is None:
            return
        switches = self.node.switches
        if wanted.plan is not None:
            try:
                await switches.check(wanted.plan)
            except RoutePlanError as error:
                raise PlanError([Finding("$.switches.plan", str(error))]) from None
            return
        known = await switches.known()
        if wanted.route not in known:
            raise PlanError([Finding(
                "$.switches.route", f"the node has no route {wanted.route}; it has "
                f"{', '.join(map(str, known)) or 'none'}: give the plan its \"plan\" of routes, or "
                f"load one (quantacore switch load)")])

    async def _take_route(self, wanted):
        if wanted is None:
            return
        switches = self.node.switches
        if wanted.plan is not None:
            await switches.apply(wanted.plan)
        if (await switches.status()).state is RouteState.OFF:
            await switches.enable()
        report = await switches.select(wanted.route)
        if report.failed_over:
            warnings.warn(f"$.switches.route: a switch of route {wanted.route} is stuck; route "
                          f"{report.route} took over", PlanWarning, stacklevel=3)

    async def _write_table(self, address, words):
        client, registers = self.node.client, self.registers
        await client.write_word(registers.table_address.address, address)
        await asyncio.gather(*(
            client.write_fixed(registers.table_data.address, words[at:at + MAX_PAYLOAD_WORDS])
            for at in range(0, len(words), MAX_PAYLOAD_WORDS)))

    async def verify(self):
        """Compare the node's tables, word by word, with the plan that was loaded.

        Raises
        ------
        TablesDifferError
        """
        self.there()
        if self.compiled is None:
            raise HeraldError("No plan was loaded by this driver; configure() one first")
        registers = self.registers
        for table, words in self.compiled.tables.items():
            for index, word in enumerate(words):
                address = HeraldAddress.const({"table": table, "index": index}).as_bits()
                await self.node.client.write_word(registers.table_address.address, address)
                found = await registers.table_readback.read()
                if found != word:
                    raise TablesDifferError(f"Table {table.name}[{index}] of the node is "
                                            f"{found:#x}, not {word:#x}; configure() again")

    # What it does.

    async def enable(self):
        """Let attempts be armed."""
        self.there()
        await self.registers.control.modify(enable=1)

    async def disable(self):
        """Refuse further attempts; one in progress goes on to its end."""
        self.there()
        await self.registers.control.modify(enable=0)

    async def _idle(self):
        for _ in range(_PATIENCE):
            status = await self.registers.status.read()
            if not status.busy and not status.waits:
                return
        raise HeraldBusyError("An attempt is in progress and does not end: stop the program, or "
                              "abort()")

    async def abort(self):
        """End the attempt in progress; it is void."""
        self.there()
        await self.registers.action.write(abort=1)

    async def clear(self):
        """Zero all counts, the numbers of attempts, and what limits are counted from."""
        self.there()
        await self.registers.action.write(clear=1)
        self._state = VerdictState(started=True)
        self._verdicts = []

    async def new_run(self):
        """Zero what limits are counted from; counts stay."""
        self.there()
        await self.registers.action.write(run=1)

    async def clear_frame(self):
        """Zero the Pauli frame."""
        self.there()
        await self.registers.action.write(clear_frame=1)

    async def status(self):
        """:class:`HeraldReport`."""
        self.there()
        registers = self.registers
        control, status, attempt, frame = await asyncio.gather(
            registers.control.read(), registers.status.read(), registers.attempt.read(),
            registers.frame.read())
        return HeraldReport(
            bool(control.enable), bool(status.busy), bool(status.waits),
            tuple(name for name in ("off", "settling", "saturated", "limit", "reinitialise")
                  if getattr(status, name)),
            tuple(self.detector_name(k) for k in range(DETECTORS) if status.detectors >> k & 1),
            attempt, frame)

    async def clicked(self):
        """Clicked cells of the last attempt that was decided, by name."""
        self.there()
        return self.cell_names(await self.registers.clicked.read())

    # Names.

    def detector_name(self, number):
        """Name of an input: the plan's, or ``input3``."""
        if self.compiled is not None:
            for d in self.compiled.plan.detectors.values():
                if d.input == number:
                    return d.name
        return f"input{number}"

    def cell_name(self, number):
        """Name of a cell: ``DETECTOR.WINDOW``, numbers where no plan was loaded."""
        if self.compiled is not None and number in self.compiled.plan.cells:
            return ".".join(self.compiled.plan.cells[number])
        return f"{self.detector_name(number // WINDOWS)}.{number % WINDOWS}"

    def cell_names(self, bits):
        """Names of the cells of a mask."""
        return [self.cell_name(k) for k in range(CELLS) if bits >> k & 1]

    def pattern_name(self, number):
        """Name of a pattern: the plan's, or ``pattern3``."""
        if self.compiled is not None:
            for p in self.compiled.plan.patterns.values():
                if p.number == number:
                    return p.name
        return f"pattern{number}"

    def _of_plan(self):
        """Numbers of the patterns, cells and detectors that are worth showing."""
        if self.compiled is None:
            return range(PATTERNS), range(CELLS), range(DETECTORS)
        plan = self.compiled.plan
        return (sorted(p.number for p in plan.patterns.values()), list(plan.cells),
                sorted(d.input for d in plan.detectors.values()))

    # Counts.

    async def counts(self):
        """:class:`HeraldCounts`."""
        self.there()
        registers = self.registers
        totals = dict(zip(_TOTALS, await asyncio.gather(
            *(getattr(registers, name).read() for name in _TOTALS)), strict=True))
        numbers = await self._memory()
        virtual = await self.node.virtual.counts()
        tick = await self.node.timing.tick()
        patterns, cells, detectors = self._of_plan()

        def take(kind, name_of, places):
            return {name_of(k): numbers[count_index(kind, k)] for k in places}

        return HeraldCounts(
            tick=tick, **totals,
            patterns=take(HeraldCount.PATTERN, self.pattern_name, patterns),
            cells=take(HeraldCount.CELL, self.cell_name, cells),
            stray=take(HeraldCount.STRAY, self.detector_name, detectors),
            dead=take(HeraldCount.DEAD, self.detector_name, detectors),
            clicks=take(HeraldCount.CLICK, self.detector_name, detectors),
            virtual=virtual.edges)

    async def _memory(self):
        # The words of a count are read one after the other. Where its high word was the same
        # before and after its low word, both are of one moment.
        memory = self.registers.counts
        before = await memory.read(0, 2 * COUNTS)
        for _ in range(_READS):
            after = await memory.read(0, 2 * COUNTS)
            if before[1::2] == after[1::2]:
                return [low | high << 32 for low, high in
                        zip(after[::2], after[1::2], strict=True)]
            before = after
        raise HeraldError("The high words of counts change between any two reads; is the node "
                          "well?")

    async def rates(self, before=None):
        """Rates since some counts.

        Parameters
        ----------
        before : HeraldCounts, optional
            By default counts are read now, and again.

        Returns
        -------
        (HeraldRates, HeraldCounts)
            The counts are those at the end, for the next call.
        """
        before = await self.counts() if before is None else before
        after = await self.counts()
        return HeraldRates.between(before, after, self.units), after

    # Records.

    async def __aenter__(self):
        self.there()
        stream = self.node.tagger.stream()
        await stream.open()
        self._stream = stream
        self.other_records, self._verdicts = [], []
        await self.follow()
        return self

    async def __aexit__(self, *exception):
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.__aexit__(*(exception or (None, None, None)))

    async def follow(self):
        """Count attempts in records from where the node is now; for :meth:`feed`, where another
        driver has just opened the stream."""
        self._state = VerdictState(await self.registers.attempt.read())
        self._verdicts = []

    def feed(self, records):
        """Take records that came on the node's stream: verdicts are as if read here."""
        records = np.ascontiguousarray(records, np.uint64)
        others, ours = split_verdicts(records)
        if len(ours) or len(others):
            self._verdicts.append(decode_verdicts(records, self._state))
        if len(others):
            self.other_records.append(others)

    async def verdicts(self):
        """Verdicts that have come and were not taken:
        :class:`~quantacore.host.herald.records.Verdicts`.

        Which attempts have one says the plan (``records``).
        """
        if self._stream is not None:
            self.feed(await self._stream.read_pending())
        verdicts, self._verdicts = self._verdicts, []
        return Verdicts.join(verdicts)
