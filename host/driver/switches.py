"""The photonic switches of a node: load routes, request them, see what became of them.

::

    await node.switches.load(0, Route(drives=[0, 30000], monitors={1: (50000, 61000)},
                                      settle_s=20e-6, alternate=1))
    await node.switches.enable()
    report = await node.switches.select(0)

Drive codes and monitor readings are numbers of the driver stage's converters; times are in
seconds.
"""

import asyncio
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from quantacore.gateware.layouts.switches import (
    DRIVE_BITS,
    MAX_SWITCHES,
    MONITOR_BITS,
    ROUTES,
    MonitorRange,
    Refusal,
    RouteAddress,
    RouteEntry,
    RouteLoad,
    RouteState,
    RouteWord,
)
from quantacore.host.driver.block import BlockDriver
from quantacore.host.driver.errors import LinkError

__all__ = ["Route", "RoutePlan", "SwitchesDriver", "SwitchesInfo", "SwitchesReport",
           "SwitchCounters", "SwitchesError", "SwitchesMissingError", "RoutePlanError",
           "RouteLoadError", "RouteUnknownError", "RouteRefusedError", "SwitchStuckError",
           "StillSettlingError"]

#: Settling is looked at for so long beyond settle times and time-out, in seconds of the node.
_MARGIN_S = 0.001


class SwitchesError(LinkError):
    """Base of what goes wrong with switches."""


class SwitchesMissingError(SwitchesError):
    """The node was built without switches."""


class RoutePlanError(SwitchesError, ValueError):
    """A route that this build can't have, or a plan that can't be read."""


class RouteLoadError(SwitchesError):
    """What the node has in its table is not what was sent."""


class RouteUnknownError(SwitchesError):
    """The node has no such route."""


class RouteRefusedError(SwitchesError):
    """The node can't take requests now: switched off, emergency, or a fault to be cleared."""


class SwitchStuckError(SwitchesError):
    """A switch is stuck, and there was no alternate route, or that failed too."""


class StillSettlingError(SwitchesError):
    """The route did not settle in time; it still may."""


def _whole(what, value, limit):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
        raise RoutePlanError(f"{what} must be 0 to {limit - 1}, not {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Route:
    """A state of all switches.

    Attributes
    ----------
    drives : sequence of int
        Drive code of each switch.
    monitors : dict of int to (int, int)
        Switch -> lowest and highest reading with which it is where it should be. Switches that are
        not listed are not looked at.
    settle_s : float
        The monitors are not judged before this, counted from the change of the drives.
    alternate : int or None
        Route that takes over if a switch of this one is stuck.
    """

    drives: tuple
    monitors: dict
    settle_s: float
    alternate: int | None = None

    def check(self, switches, number=None):
        """Raise :class:`RoutePlanError` if a build with so many switches can't have it."""
        name = "Route" if number is None else f"Route {number}"
        if len(self.drives) != switches:
            raise RoutePlanError(f"{name} must have a drive code for each of {switches} switches, "
                                 f"not {len(self.drives)}")
        for k, code in enumerate(self.drives):
            _whole(f"{name}: drive code of switch {k}", code, 1 << DRIVE_BITS)
        for k, limits in self.monitors.items():
            _whole(f"{name}: number of a monitor's switch", k, switches)
            try:
                low, high = limits
            except (TypeError, ValueError):
                raise RoutePlanError(f"{name}: monitor {k} needs a lowest and a highest reading, "
                                     f"not {limits!r}") from None
            for limit in (low, high):
                _whole(f"{name}: limit of monitor {k}", limit, 1 << MONITOR_BITS)
            if low > high:
                raise RoutePlanError(f"{name}: monitor {k} can't be at least {low} and at most "
                                     f"{high}")
        if self.alternate is not None:
            _whole(f"{name}: alternate", self.alternate, ROUTES)
            if self.alternate == number:
                raise RoutePlanError(f"{name} is its own alternate; name another, or none")


@dataclass(frozen=True, kw_only=True)
class RoutePlan:
    """Everything that a node's switches are told: what a plan's file holds.

    Attributes
    ----------
    routes : dict of int to Route
    safe : tuple or None
        Safe drive codes; ``None`` leaves them alone, as it does the times.
    timeout_s, debounce_s : float or None
    """

    routes: dict
    safe: tuple | None = None
    timeout_s: float | None = None
    debounce_s: float | None = None

    @classmethod
    def read(cls, path):
        """Read a JSON file; see docs/switches.md.

        Raises
        ------
        RoutePlanError
            It says where the file is wrong.
        """
        try:
            plan = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RoutePlanError(f"{path} is no JSON: {error}") from None
        try:
            return cls.from_dict(plan)
        except RoutePlanError as error:
            raise RoutePlanError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, plan):
        """A plan as the file has it, parsed."""

        def take(what, table, required, optional):
            if not isinstance(table, dict):
                raise RoutePlanError(f"{what} must be an object, not {table!r}")
            for name in table:
                if name not in required + optional:
                    raise RoutePlanError(f"{what} can't have {name!r}; it has "
                                         f"{', '.join(required + optional)}")
            for name in required:
                if name not in table:
                    raise RoutePlanError(f"{what} has no {name!r}")
            return table

        def number(what, text):
            if not text.isdecimal():
                raise RoutePlanError(f"{what} has a number as its name, not {text!r}")
            return _whole(what, int(text), ROUTES if what == "A route" else MAX_SWITCHES)

        def seconds(what, value):
            if value is None:
                return None
            if isinstance(value, bool) or not isinstance(value, int | float) or not (
                    0 <= value < math.inf):
                raise RoutePlanError(f"{what} must be a time in seconds, not {value!r}")
            return value

        take("The plan", plan, ("routes",), ("safe", "timeout_s", "debounce_s"))
        routes = {}
        for text, entry in take("routes", plan["routes"], (), tuple(plan["routes"])).items():
            at = number("A route", text)
            name = f"Route {at}"
            take(name, entry, ("drives", "settle_s"), ("monitors", "alternate", "comment"))
            if not isinstance(entry["drives"], list):
                raise RoutePlanError(f"{name}: drives must be a list, not {entry['drives']!r}")
            monitors = entry.get("monitors", {})
            take(f"{name}: monitors", monitors, (), tuple(monitors))
            route = Route(
                drives=tuple(entry["drives"]),
                monitors={number(f"{name}: a monitor", k): tuple(limits)
                          if isinstance(limits, list) else limits
                          for k, limits in monitors.items()},
                settle_s=seconds(f"{name}: settle_s", entry["settle_s"]),
                alternate=entry.get("alternate"))
            if route.settle_s is None:
                raise RoutePlanError(f"{name}: settle_s must be a time in seconds, not null")
            route.check(len(route.drives), at)
            routes[at] = route
        for at, route in routes.items():
            if route.alternate is not None and route.alternate not in routes:
                raise RoutePlanError(f"Route {at} has route {route.alternate} for its alternate, "
                                     f"and the plan has no such route")
        safe = plan.get("safe")
        if safe is not None:
            if not isinstance(safe, list):
                raise RoutePlanError(f"safe must be a list of drive codes, not {safe!r}")
            for k, code in enumerate(safe):
                _whole(f"Safe code of switch {k}", code, 1 << DRIVE_BITS)
        return cls(routes=routes, safe=None if safe is None else tuple(safe),
                   timeout_s=seconds("timeout_s", plan.get("timeout_s")),
                   debounce_s=seconds("debounce_s", plan.get("debounce_s")))


@dataclass(frozen=True)
class SwitchesInfo:
    """What a build has."""

    switches: int
    routes: int
    drive_bits: int
    monitor_bits: int


@dataclass(frozen=True)
class SwitchesReport:
    """What the switches are doing.

    Attributes
    ----------
    state : RouteState
    settling : bool
        No attempt may start.
    route : int or None
        Route that the drives are set to.
    requested : int
        Route of the last request that was carried out.
    failed_over : bool
        ``route`` came in place of ``requested``, because a switch was stuck.
    armed : bool
        A request waits for its time.
    out_of_range : tuple of int
        Switches whose monitors are not where the route wants them, now.
    """

    state: RouteState
    settling: bool
    route: int | None
    requested: int
    failed_over: bool
    armed: bool
    out_of_range: tuple


@dataclass(frozen=True)
class SwitchCounters:
    """The switches' account. ``requests = changes + refused + superseded`` (+ on their way).

    ``refused_last`` is the route and the reason of the last refusal, or ``None``.
    """

    requests: int
    changes: int
    restarts: int
    refused: int
    superseded: int
    failovers: int
    settle_last_s: float
    settle_max_s: float
    refused_last: tuple | None


class SwitchesDriver(BlockDriver):
    """The photonic switches."""

    def __init__(self, node, registers):
        super().__init__(node, registers)
        self._info = None

    # What there is.

    async def info(self):
        """:class:`SwitchesInfo` of this build.

        Raises
        ------
        SwitchesMissingError
        """
        if self._info is None:
            sizes = await self.registers.sizes.read()
            if not sizes.switches:
                raise SwitchesMissingError(
                    "This node was built without switches; build one with NodeConfig(switches=8), "
                    "or start a virtual node with quantacore node --switches 8")
            self._info = SwitchesInfo(sizes.switches, 1 << sizes.routes_log2, sizes.drive_bits,
                                      sizes.monitor_bits)
        return self._info

    async def status(self):
        """:class:`SwitchesReport`."""
        await self.info()
        status = await self.registers.status.read()
        return SwitchesReport(
            RouteState(int(status.state)), bool(status.settling),
            status.route if status.there else None, status.requested, bool(status.failed_over),
            bool(status.armed), tuple(k for k in range(MAX_SWITCHES) if status.out >> k & 1))

    async def drives(self):
        """Drive code of each switch."""
        count = (await self.info()).switches
        return (await self.registers.drives.read())[:count]

    async def monitors(self):
        """Reading of each power monitor."""
        count = (await self.info()).switches
        return (await self.registers.monitors.read())[:count]

    async def counters(self):
        """:class:`SwitchCounters`."""
        await self.info()
        names = ("requests", "changes", "restarts", "refused", "superseded", "failovers",
                 "settle_last", "settle_max", "refused_last")
        *counts, last, longest, refused = await asyncio.gather(
            *(getattr(self.registers, name).read() for name in names))
        reason = Refusal(int(refused.reason))
        return SwitchCounters(*counts, self.units.ticks_s(last), self.units.ticks_s(longest),
                              None if reason is Refusal.NONE else (refused.route, reason))

    async def clear_counts(self):
        """Zero the counts and the longest settle time."""
        await self.registers.action.write(clear_counts=1)

    # Routes.

    async def load(self, number, route):
        """Load a route, read it back, and make it known. What is in force stays as it is.

        Raises
        ------
        RoutePlanError
            This build can't have it; nothing was sent.
        RouteLoadError
            It did not arrive; the node doesn't know the route.
        """
        info = await self.info()
        _whole("Number of a route", number, info.routes)
        route.check(info.switches, number)
        step = self.units.tick_ps / 10**12
        ticks = self.units.ticks(route.settle_s)
        self._quantised(f"Settle time of route {number}", Fraction(route.settle_s), step, ticks,
                        ticks * step, 0, (1 << 32) - 1)
        words = _words(route, ticks, info.switches)
        registers = self.registers
        await registers.load.write(RouteLoad.const({"begin": 1, "route": number}).as_bits())
        for first, row in _rows(words):
            await registers.table_address.write(_address(number, first))
            await self.node.client.write_fixed(registers.table_data.address, row)
        found = await self._read(number, words)
        wrong = [word for word in words if found[word] != words[word]]
        if wrong:
            raise RouteLoadError(f"Word {wrong[0]} of route {number} came as {words[wrong[0]]:#x} "
                                 f"and reads {found[wrong[0]]:#x}; load it again")
        await registers.load.write(RouteLoad.const({"commit": 1, "route": number}).as_bits())
        if not await registers.loaded.read() >> number & 1:
            raise RouteLoadError(f"The node did not take route {number}; does another host load "
                                 f"its table?")

    async def _read(self, number, words):
        found = {}
        for word in words:
            await self.registers.table_address.write(_address(number, word))
            found[word] = await self.registers.table_readback.read()
        return found

    async def routes(self):
        """``{number: Route}`` of all routes that may be requested, as the node's table has them."""
        info = await self.info()
        result = {}
        for number in await self.known():
            blank = Route(drives=(0,) * info.switches, monitors={}, settle_s=0)
            words = await self._read(number, _words(blank, 0, info.switches))
            entry = RouteEntry.from_bits(words[RouteWord.ENTRY.value])
            limits = {}
            for k in range(info.switches):
                if entry.used >> k & 1:
                    pair = MonitorRange.from_bits(words[RouteWord.RANGE.value + k])
                    limits[k] = (pair.low, pair.high)
            result[number] = Route(
                drives=tuple(words[RouteWord.DRIVE.value + k] for k in range(info.switches)),
                monitors=limits,
                settle_s=self.units.ticks_s(words[RouteWord.SETTLE.value]),
                alternate=entry.alternate if entry.has_alternate else None)
        return result

    async def forget(self, *numbers):
        """Make routes unknown. If one is in force, it stays so."""
        for number in numbers:
            _whole("Number of a route", number, ROUTES)
            await self.registers.load.write(
                RouteLoad.const({"discard": 1, "route": number}).as_bits())

    async def configure(self, *, timeout_s=None, debounce_s=None, safe=None):
        """Set what is given.

        Parameters
        ----------
        timeout_s : float
            So long after the settle time a monitor out of range means a stuck switch.
        debounce_s : float
            A route that holds may be out of range for so long.
        safe : sequence of int
            Drive codes of emergencies, faults, and while switched off; from the next such event
            on.
        """
        info = await self.info()
        step = self.units.tick_ps / 10**12
        settings = []
        for what, register, value in (("Time-out", self.registers.timeout, timeout_s),
                                      ("Debounce", self.registers.debounce, debounce_s)):
            if value is not None:
                ticks = self.units.ticks(value)
                settings.append((register, self._quantised(
                    what, Fraction(value), step, ticks, ticks * step,
                    *register.register.limits)))
        if safe is not None:
            if len(safe) != info.switches:
                raise RoutePlanError(f"There must be a safe code for each of {info.switches} "
                                     f"switches, not {len(safe)}")
            settings += [(self.registers.safe[k], _whole(f"Safe code of switch {k}", code,
                                                         1 << DRIVE_BITS))
                         for k, code in enumerate(safe)]
        for register, value in settings:
            await register.write(value)

    async def known(self):
        """Numbers of the routes that may be requested."""
        info = await self.info()
        loaded = await self.registers.loaded.read()
        return [number for number in range(info.routes) if loaded >> number & 1]

    async def check(self, plan):
        """Raise :class:`RoutePlanError` if this build can't have a :class:`RoutePlan`; nothing
        is sent."""
        info = await self.info()
        for number, route in plan.routes.items():
            route.check(info.switches, number)
        if plan.safe is not None and len(plan.safe) != info.switches:
            raise RoutePlanError(f"There must be a safe code for each of {info.switches} "
                                 f"switches, not {len(plan.safe)}")
        times = [("Time-out", plan.timeout_s, self.registers.timeout),
                 ("Debounce", plan.debounce_s, self.registers.debounce)]
        times += [(f"Settle time of route {number}", route.settle_s, self.registers.table_data)
                  for number, route in plan.routes.items()]
        for what, seconds, register in times:
            low, high = register.register.limits
            if seconds is not None and not low <= self.units.ticks(seconds) <= high:
                raise RoutePlanError(f"{what} must be {self.units.ticks_s(low):g} to "
                                     f"{self.units.ticks_s(high):g} s, not {seconds:g} s")

    async def apply(self, plan):
        """Load a :class:`RoutePlan`; routes that it doesn't have stay as they are.

        Raises
        ------
        RoutePlanError
            This build can't have it; nothing was sent.
        RouteLoadError
        """
        await self.check(plan)
        await self.configure(timeout_s=plan.timeout_s, debounce_s=plan.debounce_s, safe=plan.safe)
        for number, route in plan.routes.items():
            await self.load(number, route)

    # Doing.

    async def enable(self, *, failover=True, hold=False):
        """Switch on. Attempts wait from now on until a route holds.

        Parameters
        ----------
        failover : bool
            A stuck switch makes the route's alternate take over.
        hold : bool
            In a fault the drives keep their codes; otherwise they take their safe ones.
        """
        await self.info()
        await self.registers.control.write(enable=1, failover=int(failover), hold=int(hold))

    async def disable(self):
        """Switch off: drives take their safe codes, attempts don't wait for switches any more."""
        await self.info()
        await self.registers.control.modify(enable=0)

    async def _may_request(self, number):
        info = await self.info()
        _whole("Number of a route", number, info.routes)
        loaded, report = await asyncio.gather(self.registers.loaded.read(), self.status())
        if report.state is RouteState.OFF:
            raise RouteRefusedError("The switches are off; use enable() first")
        if report.state is RouteState.EMERGENCY:
            raise RouteRefusedError("The emergency input is high; requests are refused until it "
                                    "is low")
        if report.state is RouteState.FAULT:
            raise RouteRefusedError("A switch was stuck and no route could take over; see flags(), "
                                    "then clear() or park()")
        if not loaded >> number & 1:
            there = ", ".join(str(n) for n in range(info.routes) if loaded >> n & 1)
            raise RouteUnknownError(f"The node has no route {number}; it has "
                                    f"{there or 'none'}: load() it")

    async def select(self, number, *, limit_s=None, progress=None):
        """Request a route and wait until it holds; :class:`SwitchesReport`.

        Look at ``failed_over`` of it: the alternate route may have taken over.

        Parameters
        ----------
        limit_s : float, optional
            Wait so long at most, in the node's time. By default what settle times and time-outs
            of the route and its alternate may take together.
        progress : callable, optional
            ``progress(report)`` for each look.

        Raises
        ------
        RouteUnknownError, RouteRefusedError
            Nothing was requested.
        SwitchStuckError
            Neither the route nor an alternate holds.
        StillSettlingError
        """
        await self._may_request(number)
        if limit_s is None:
            limit_s = await self._longest(number)
        begin = await self.node.client.ping()
        await self.registers.request.write(number)
        while True:
            now = await self.node.client.ping()
            report = await self.status()
            if progress is not None:
                progress(report)
            if report.state is RouteState.HOLDING:
                return report
            if report.state not in (RouteState.SETTLING, RouteState.FAILING):
                break
            if now - begin > self.units.ticks(limit_s):
                raise StillSettlingError(
                    f"Route {number} has not settled in {limit_s:g} s; switches out of range: "
                    f"{_numbers(report.out_of_range)}")
        if report.state is RouteState.FAULT:
            stuck = [name for name in await self.flags() if name.startswith("stuck_")]
            raise SwitchStuckError(
                f"Route {number} does not hold, and no alternate does; flags raised: "
                f"{', '.join(stuck) or 'none'}. clear() ends the fault")
        raise RouteRefusedError(f"Route {number} was given up: the switches are "
                                f"{report.state.name}")

    async def _longest(self, number):
        timeout, total = await self.registers.timeout.read(), 0
        for _ in range(2):
            words = await self._read(number, (RouteWord.SETTLE.value, RouteWord.ENTRY.value))
            total += words[RouteWord.SETTLE.value] + timeout
            entry = RouteEntry.from_bits(words[RouteWord.ENTRY.value])
            if not entry.has_alternate:
                break
            number = entry.alternate
        return self.units.ticks_s(total) + _MARGIN_S

    async def request_at(self, number, tick):
        """Request a route at a tick of the node; the drives change CHANGE_TICKS later.

        One that is past is refused, and raises the flag ``late``.
        """
        await self._may_request(number)
        await self.registers.start_route.write(number)
        await self.registers.start_time.write(tick)

    async def disarm(self):
        """Forget the request that waits for its time."""
        await self.registers.action.write(disarm=1)

    async def clear(self):
        """End a fault. Drives stay as they are; there is no route until the next request."""
        await self.info()
        await self.registers.action.write(clear=1)

    async def park(self):
        """Safe drive codes; there is no route, and no fault, until the next request."""
        await self.info()
        await self.registers.action.write(park=1)


def _numbers(switches):
    return ", ".join(map(str, switches)) or "none"


def _address(number, word):
    return RouteAddress.const({"route": number, "word": word}).as_bits()


def _words(route, settle_ticks, switches):
    """``{number of the word: word}``, in order."""
    words = {RouteWord.DRIVE.value + k: code for k, code in enumerate(route.drives)}
    for k in range(switches):
        low, high = route.monitors.get(k, (0, (1 << MONITOR_BITS) - 1))
        words[RouteWord.RANGE.value + k] = MonitorRange.const(
            {"low": low, "high": high}).as_bits()
    words[RouteWord.SETTLE.value] = settle_ticks
    words[RouteWord.ENTRY.value] = RouteEntry.const({
        "used": sum(1 << k for k in route.monitors), "alternate": route.alternate or 0,
        "has_alternate": route.alternate is not None}).as_bits()
    return dict(sorted(words.items()))


def _rows(words):
    """Words in a row: ``(number of the first, words)``."""
    rows = []
    for number, word in words.items():
        if rows and rows[-1][0] + len(rows[-1][1]) == number:
            rows[-1][1].append(word)
        else:
            rows.append((number, [word]))
    return rows
