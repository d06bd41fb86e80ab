"""Golden models of the photonic switches: the table of routes, and what becomes of requests.

Written from the contract, one call for each tick; nothing here knows of pipelines or counters of
the gateware.
"""

from dataclasses import dataclass, field

from quantacore.gateware.layouts.switches import (
    CHANGE_TICKS,
    MAX_SWITCHES,
    MONITOR_TICKS,
    ROUTE_WORDS,
    MonitorRange,
    Refusal,
    RouteAddress,
    RouteEntry,
    RouteLoad,
    RouteState,
    RouteWord,
)

__all__ = ["Route", "RouteTableModel", "SwitchesModel"]

#: Ticks after a request in which its route is looked up, and in which it is decided.
_LOOK, _DECIDE = 1, 2
#: Ticks after which monitors are judged.
_JUDGE = MONITOR_TICKS - 1
#: What becomes of the drives: these, instead of a route's.
_SAFE = "safe"


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route: ``ranges`` are (low, high), both in; ``used`` are numbers of switches."""

    drives: tuple
    ranges: tuple
    settle: int
    used: frozenset = frozenset()
    alternate: int | None = None

    def words(self, switches=MAX_SWITCHES):
        """``{number of the word: word}`` for the table of a build with so many switches."""
        entry = RouteEntry.const({
            "used": sum(1 << k for k in self.used), "alternate": self.alternate or 0,
            "has_alternate": self.alternate is not None}).as_bits()
        words = {RouteWord.SETTLE.value: self.settle, RouteWord.ENTRY.value: entry}
        for k in range(switches):
            low, high = self.ranges[k]
            words[RouteWord.DRIVE.value + k] = self.drives[k]
            words[RouteWord.RANGE.value + k] = MonitorRange.const(
                {"low": low, "high": high}).as_bits()
        return words

    @classmethod
    def from_words(cls, words, switches=MAX_SWITCHES):
        """What :meth:`words` gave."""
        ranges = [MonitorRange.from_bits(words[RouteWord.RANGE.value + k])
                  for k in range(switches)]
        entry = RouteEntry.from_bits(words[RouteWord.ENTRY.value] & (1 << 13) - 1)
        return cls(
            drives=tuple(words[RouteWord.DRIVE.value + k] & 0xFFFF for k in range(switches)),
            ranges=tuple((r.low, r.high) for r in ranges), settle=words[RouteWord.SETTLE.value],
            used=frozenset(k for k in range(switches) if entry.used >> k & 1),
            alternate=entry.alternate if entry.has_alternate else None)


class RouteTableModel:
    """The table behind its registers: what is taken, what is refused, what there is.

    Attributes
    ----------
    routes : dict of int to Route
        Routes that may be requested.
    refused : int
    """

    def __init__(self, switches=MAX_SWITCHES):
        self.switches = switches
        self.routes = {}
        self.refused = 0
        self._route = None
        self._words = {}
        self._stored = {}
        self._at = (0, 0)
        each = range(switches)
        self._needed = {RouteWord.SETTLE.value, RouteWord.ENTRY.value,
                        *(RouteWord.DRIVE.value + k for k in each),
                        *(RouteWord.RANGE.value + k for k in each)}

    def load(self, bits):
        """A write to ``load``."""
        load = RouteLoad.from_bits(bits)
        if load.begin:
            self.routes.pop(load.route, None)
            self._route, self._words = load.route, {}
        elif load.commit:
            if self._route != load.route or not self._needed <= set(self._words):
                self.refused += 1
                return
            self.routes[load.route] = Route.from_words(self._words, self.switches)
            self._route = None
        elif load.discard:
            self.routes.pop(load.route, None)
            if self._route == load.route:
                self._route = None

    def address(self, bits):
        """A write to ``table_address``."""
        address = RouteAddress.from_bits(bits)
        self._at = (address.route, address.word)

    def word(self, word):
        """A write to ``table_data``."""
        route, number = self._at
        if route == self._route and number < ROUTE_WORDS:
            self._words[number] = word
            self._stored[route, number] = word
        else:
            self.refused += 1
        self._at = (route, number + 1 & 31)

    def readback(self):
        """The word at the address; ``None`` where there never was one, or there is no such word."""
        route, number = self._at
        if number not in self._needed or (route, number) not in self._stored:
            return None
        narrow = {RouteWord.ENTRY.value: 13,
                  **{RouteWord.DRIVE.value + k: 16 for k in range(MAX_SWITCHES)}}
        return self._stored[route, number] & (1 << narrow.get(number, 32)) - 1

    @property
    def loaded(self):
        """Bits of the register."""
        return sum(1 << number for number in self.routes)

    @property
    def loading(self):
        """Route that is being loaded, or ``None``."""
        return self._route


@dataclass
class _Request:
    tick: int
    number: int
    own: bool = False
    refusal: Refusal = Refusal.NONE
    route: Route | None = None


@dataclass
class Counts:
    """As the registers of these names."""

    requests: int = 0
    changes: int = 0
    restarts: int = 0
    refused: int = 0
    superseded: int = 0
    failovers: int = 0


@dataclass
class SwitchesModel:
    """All switches: call :meth:`tick` for each tick with what comes in it.

    Parameters
    ----------
    switches : int
    routes : dict of int to Route
        As of :class:`RouteTableModel`; it may change while the model runs.

    Attributes
    ----------
    enable, failover, hold, safe, timeout, debounce
        Settings.
    drives, state, present, there, failed_over, requested
        As they are in the next tick.
    stuck : list
        How often each switch was stuck.
    refused_last : (route, reason)
    settle_last, settle_max : int
    faults : int
    """

    switches: int = MAX_SWITCHES
    routes: dict = field(default_factory=dict)
    enable: bool = False
    failover: bool = False
    hold: bool = False
    timeout: int = 0
    debounce: int = 0
    safe: list = None
    now: int = 0
    state: RouteState = RouteState.OFF

    def __post_init__(self):
        self.safe = [0] * self.switches if self.safe is None else self.safe
        self.drives = (0,) * self.switches
        self.counts = Counts()
        self.stuck = [0] * self.switches
        self.faults = 0
        self.refused_last = (0, Refusal.NONE)
        self.settle_last = self.settle_max = 0
        self.present, self.there, self.failed_over, self.requested = 0, False, False, 0
        self._level = 0
        self._under_way = []
        self._monitors = {}
        self._route = None
        self._asked = self._judge_from = self._give_up = None
        self._run = self._allowed = 0
        self._out = []
        self._coming = None

    def tick(self, *, level=0, emergency=False, host=None, timed=None, late=False, park=False,
             clear=False, monitors=None):
        """``(drives, settling, state)`` as they are in this tick.

        ``host`` and ``timed`` are routes requested in it, ``monitors`` what the monitors show.
        """
        now, on = self.now, self.state is not RouteState.OFF
        self._monitors[now] = tuple(monitors or (0,) * self.switches)
        self._monitors.pop(now - _JUDGE - 1, None)
        moved = on and not emergency and level != self._level
        self._level = level

        # Requests of this tick, in the order in which they prevail.
        asked = []
        if moved:
            asked.append(_Request(now, level))
        if timed is not None:
            asked.append(_Request(now, timed, refusal=Refusal.LATE if late else Refusal.NONE))
        if host is not None:
            asked.append(_Request(now, host))
        self.counts.requests += len(asked)
        self.counts.superseded += max(0, len(asked) - 1)
        settling = on and (bool(asked) or emergency or bool(self._under_way)
                           or self.state is not RouteState.HOLDING)
        shown = self.drives, settling, self.state

        # A stuck route waits for what is on its way, and then takes the alternate or gives up.
        waits = bool(self._under_way)
        gives_up = False
        event = None
        may = (self.failover and self._route is not None and self._route.alternate is not None
               and not self.failed_over)
        if asked:
            request = asked[0]
            if not on:
                request.refusal = Refusal.OFF
            elif emergency:
                request.refusal = Refusal.EMERGENCY
            self._under_way.append(request)
        elif self.state is RouteState.FAILING and not waits and may:
            self._under_way.append(_Request(now, self._route.alternate, own=True))
        if self.state is RouteState.FAILING and not waits and not may:
            gives_up = True

        for request in self._under_way:
            if emergency and request.refusal is Refusal.NONE:
                request.refusal = Refusal.EMERGENCY
            if not on and request.refusal is Refusal.NONE:
                request.refusal = Refusal.OFF
            if now == request.tick + _LOOK and request.refusal is Refusal.NONE:
                request.route = self.routes.get(request.number)
                if request.route is None:
                    request.refusal = Refusal.UNKNOWN

        # What is decided now.
        decided = None
        if self._under_way and self._under_way[0].tick == now - _DECIDE:
            decided = self._under_way.pop(0)
            if decided.refusal is Refusal.NONE and not self.enable:
                decided.refusal = Refusal.OFF
            if decided.refusal is Refusal.NONE and self.state is RouteState.FAULT:
                decided.refusal = Refusal.FAULT
            if decided.own:
                if self.state is not RouteState.FAILING:
                    decided = None
                elif decided.refusal is not Refusal.NONE:
                    gives_up = not any(request.tick < now for request in self._under_way)
                    decided = None
            elif decided.refusal is not Refusal.NONE:
                self.counts.refused += 1
                self.refused_last = decided.number, decided.refusal
                decided = None
        if self._judge_from is not None and self._give_up is None:
            self._give_up = self._judge_from + self.timeout
        wrong, right, stuck = self._judge(now)
        state = self.state

        if emergency:
            event = _SAFE
            self.state = RouteState.EMERGENCY if self.enable else RouteState.OFF
        elif not self.enable:
            if on:
                event = _SAFE
            self.state = RouteState.OFF
        elif decided is not None:
            self.state = RouteState.SETTLING
        elif park:
            event = _SAFE
            self.state = RouteState.IDLE
        elif state in (RouteState.OFF, RouteState.EMERGENCY):
            self.state = RouteState.IDLE
        elif stuck:
            self.state = RouteState.FAILING
        elif gives_up:
            self.faults += 1
            if not self.hold:
                event = _SAFE
            self.state = RouteState.FAULT
        elif right and state is RouteState.SETTLING:
            self.state = RouteState.HOLDING
        elif state is RouteState.FAULT and clear:
            self.state = RouteState.IDLE
        if decided is not None:
            self._force(decided, settled_before=state is not RouteState.SETTLING)
            event = decided.route.drives
        if event is _SAFE:
            self.there = False
        # Drives follow a tick later, and to the safe codes as they are then.
        if self._coming is not None:
            self.drives = tuple(self.safe) if self._coming is _SAFE else self._coming
        self._coming = event
        self.now += 1
        return shown

    def _force(self, request, *, settled_before):
        """The route is in force."""
        begins = request.tick + CHANGE_TICKS
        self._route = request.route
        self.present, self.there = request.number, True
        self.failed_over = request.own
        if request.own:
            self.counts.failovers += 1
        else:
            self.requested = request.number
            self.counts.changes += 1
            self.counts.restarts += not settled_before
        self._asked = request.tick
        self._judge_from = begins + request.route.settle
        # As it stands when the drives change.
        self._give_up = None
        self._run = 0

    def _judge(self, now):
        """Whether the monitors that are judged now are wrong, are right, and prove a switch stuck.
        """
        sample = now - _JUDGE
        holding = self.state is RouteState.HOLDING
        if self._judge_from is None or sample < self._judge_from:
            out = None
        else:
            readings = self._monitors[sample]
            out = [k for k in self._route.used
                   if not self._route.ranges[k][0] <= readings[k] <= self._route.ranges[k][1]]
        self._out = out or []
        wrong, right = bool(out), out == []
        stuck = False
        if wrong and holding:
            self._run += 1
            stuck = self._run > self._allowed
        else:
            self._run, self._allowed = 0, self.debounce
        if wrong and self.state is RouteState.SETTLING:
            stuck = sample >= self._give_up
        if stuck:
            for k in out:
                self.stuck[k] += 1
        if right and self.state is RouteState.SETTLING:
            self.settle_last = now + 1 - self._asked
            self.settle_max = max(self.settle_max, self.settle_last)
        return wrong, right, stuck

    def out_now(self):
        """Switches that are out of range in the last tick that was judged."""
        watched = self.state in (RouteState.SETTLING, RouteState.HOLDING)
        return self._out if watched else []

    def clear_counts(self):
        """What the action of that name does."""
        self.counts = Counts()
        self.settle_max = 0
