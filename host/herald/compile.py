"""From a channel plan to the words of the herald unit's tables and registers.

:func:`compile_plan` is a pure function of a plan and of what a node has. Times are rounded to the
node's samples (windows, delays), or to its ticks (dead times, limits), and what came of them is
told. How a pattern's conditions become table rows is said in
:mod:`quantacore.gateware.layouts.herald`.
"""

import functools
import itertools
from dataclasses import dataclass, field, replace
from fractions import Fraction

from quantacore.gateware.layouts.herald import (
    COUNT_SETS,
    DETECTORS,
    EIGHTHS,
    PATTERNS,
    SITES,
    TICK_BITS,
    VERDICT_LATENCY,
    WINDOW_BITS,
    WINDOW_LEAD,
    WINDOWS,
    HeraldAddress,
    HeraldCodes,
    HeraldTable,
    PatternEntry,
    Role,
    SiteEntry,
)
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.gateware.layouts.virtual import (
    VIRTUAL_CHANNELS,
    VirtualChannel,
    VirtualKind,
)
from quantacore.gateware.layouts.virtual import WINDOW_BITS as VIRTUAL_WINDOW_BITS
from quantacore.host.herald.plan import Finding, PlanError

__all__ = ["HeraldGeometry", "CompiledPlan", "compile_plan"]

_COMBINATIONS = 1 << WINDOWS
#: The last row of a count set stands for this sum and all above.
_MOST = 15
_ALL = (1 << PATTERNS) - 1
#: Combinations of sums that the search for hidden patterns follows at most.
_SEARCH = 20_000
_ROLES = {"solo": Role.SOLO, "station": Role.STATION, "follower": Role.FOLLOWER}


@dataclass(frozen=True)
class HeraldGeometry:
    """What a node has, as far as a plan depends on it.

    ``tick_ps`` is the length of a tick, ``channels`` the number of inputs, ``samples`` that of
    samples in a tick, ``peers`` and ``switches`` whether it has ports to other nodes, and photonic
    switches.
    """

    tick_ps: Fraction = Fraction(8000)
    channels: int = DETECTORS
    samples: int = EIGHTHS
    peers: bool = True
    switches: bool = True

    @property
    def eighth_ps(self):
        return self.tick_ps / EIGHTHS


@dataclass(frozen=True)
class CompiledPlan:
    """A plan as a node takes it.

    Attributes
    ----------
    plan : Plan
    geometry : HeraldGeometry
    tables : dict
        ``HeraldTable`` -> list of words, from index 0 on.
    registers : dict
        Register name -> number, or list of numbers for an array.
    control : dict
        Fields of the register ``control``, without ``enable``.
    peers, virtual : dict
        The same of the blocks ``peers`` and ``virtual``; empty ``peers`` stay as they are.
    findings : list of Finding
        Warnings.
    spans : dict
        Cell -> ``(open, close)`` in eighths of a tick, as they are in the tables.
    """

    plan: object
    geometry: HeraldGeometry
    tables: dict
    registers: dict
    control: dict
    peers: dict
    virtual: dict
    findings: list
    spans: dict = field(repr=False)

    def writes(self):
        """``(table_address, words)``: all that goes into the tables, in runs."""
        for table, words in self.tables.items():
            yield HeraldAddress.const({"table": table, "index": 0}).as_bits(), words

    def span_ps(self, cell):
        """When a window of a detector is open, as the node does it: ``(from, to)``."""
        return tuple(edge * self.geometry.eighth_ps for edge in self.spans[cell])

    def decide_ticks(self, windows):
        """Ticks from an attempt's start (or its reference) to its verdict, for ``ARM windows``.

        The verdict of an attempt is known :data:`VERDICT_LATENCY` ticks after the sample word
        that has the last eighth of its last window.
        """
        last = max(self.tables[HeraldTable.DECIDE][windows], WINDOW_LEAD * EIGHTHS)
        return (last - 1) // EIGHTHS + VERDICT_LATENCY

    def holding(self, clicked, windows=_COMBINATIONS - 1):
        """Patterns, by number, that the tables say hold for clicked cells (a bit each).

        ``windows`` is the attempt's ``ARM``; clicks in other windows don't count.
        """
        tables = self.tables
        result = _ALL
        sums = [0] * COUNT_SETS
        for detector in range(DETECTORS):
            row = detector * _COMBINATIONS + (
                clicked >> WINDOWS * detector & _COMBINATIONS - 1 & windows)
            result &= tables[HeraldTable.ACCEPT][row]
            for k in range(COUNT_SETS):
                sums[k] += tables[HeraldTable.CONTRIBUTION][row] >> 3 * k & 7
        for k, total in enumerate(sums):
            result &= tables[HeraldTable.COUNT][k * _COMBINATIONS + min(total, _MOST)]
        return result & self._taking_part[windows]

    @functools.cached_property
    def _taking_part(self):
        """Patterns that take part in an attempt, by its ``ARM``."""
        entries = [PatternEntry.from_bits(word) for word in self.tables[HeraldTable.PATTERN]]
        needs = [(n, entry.windows) for n, entry in enumerate(entries) if entry.enabled]
        return [sum(1 << n for n, windows in needs if not windows & ~armed)
                for armed in range(_COMBINATIONS)]

    def verdict(self, clicked, windows=_COMBINATIONS - 1):
        """Name of the pattern that is the verdict, or None, once all windows have closed."""
        holding = self.holding(clicked, windows)
        names = {p.number: name for name, p in self.plan.patterns.items()}
        return next((names[n] for n in range(PATTERNS) if holding >> n & 1), None)


def _show(ps):
    for unit, scale in (("s", 10**12), ("ms", 10**9), ("us", 10**6), ("ns", 10**3)):
        if abs(ps) >= scale:
            return f"{float(ps / scale):.6g} {unit}"
    return f"{float(ps):.6g} ps"


class _Compiler:
    def __init__(self, plan, geometry):
        self.plan, self.geometry = plan, geometry
        self.findings = []
        self.tick_ps = Fraction(geometry.tick_ps)
        self.sample_ps = self.tick_ps / geometry.samples

    def error(self, path, text, error=True):
        finding = Finding(path, text, error)
        if finding not in self.findings:  # the same of several detectors is said once
            self.findings.append(finding)

    def warn(self, path, text):
        self.error(path, text, error=False)

    def rounded(self, path, what, ps, step_ps, low, high, *, up=False):
        """A time in whole steps, with a warning if it is not; ``None`` out of range."""
        exact = ps / step_ps
        number = -(-exact.numerator // exact.denominator) if up else round(exact)
        if not low <= number <= high:
            self.error(path, f"{what} must be {_show(low * step_ps)} to {_show(high * step_ps)} "
                       f"on this node, not {_show(ps)}")
            return None
        if number != exact:
            self.warn(path, f"{what} is {_show(number * step_ps)} instead of {_show(ps)} (steps "
                      f"of {_show(step_ps)})")
        return number

    # Capabilities.

    def fit(self):
        geometry = self.geometry
        for d in self.plan.detectors.values():
            if d.input >= geometry.channels:
                self.error(f"$.detectors.{d.name}.input", f"this node has inputs 0 to "
                           f"{geometry.channels - 1}, not {d.input}; use another input, or a "
                           f"node with more")
        if self.plan.peers is not None and not geometry.peers:
            self.error("$.peers", "this node was built without ports to peers; build it with "
                       "lanes=1, 4 or 8, or make attempts alone (role \"solo\")")
        if self.plan.switches is not None and not geometry.switches:
            self.error("$.switches", "this node was built without photonic switches; build it with "
                       "NodeConfig(switches=8), or leave \"switches\" out")

    # Windows.

    def windows(self):
        step = EIGHTHS // self.geometry.samples
        limit = ((1 << WINDOW_BITS) - 1) // step
        spans = {}
        for window in self.plan.windows.values():
            for name, (begin, end, path) in window.spans.items():
                delay = self.plan.detectors[name].delay_ps
                number = [self.rounded(f"{path}.{key}", f"{key!r} of {window.name}" + (
                                       f" with the delay of {name}" if delay else ""), ps + delay,
                                       self.sample_ps, 0, limit)
                          for key, ps in (("from", begin), ("to", end))]
                if None in number:
                    continue
                first, last = number
                if first == last:
                    self.error(path, f"{name}.{window.name} is shorter than a sample of this node "
                               f"({_show(self.sample_ps)})")
                    continue
                if first * step < WINDOW_LEAD * EIGHTHS:
                    self.error(f"{path}.from", f"{name}.{window.name} opens "
                               f"{_show(first * self.sample_ps)} after "
                               f"{'the reference' if self.plan.reference else 'the start'}; the "
                               f"node needs {_show(WINDOW_LEAD * self.tick_ps)} (WINDOW_LEAD): "
                               f"open it later, or start earlier")
                spans[name, window.name] = (first * step, last * step)
        for name in self.plan.detectors:
            mine = sorted((span, cell[1]) for cell, span in spans.items() if cell[0] == name)
            for ((_, end), one), ((begin, _), other) in itertools.pairwise(mine):
                if begin - end < EIGHTHS:
                    how = "overlap" if begin < end else (
                        f"are {_show((begin - end) * self.geometry.eighth_ps)} apart")
                    self.error(f"$.windows.{other}", f"windows {one!r} and {other!r} of "
                               f"{name!r} {how}; leave a tick ({_show(self.tick_ps)}) between "
                               f"them")
        return spans

    def decide(self, spans):
        words = []
        for armed in range(_COMBINATIONS):
            words.append(max((close for (_, window), (_, close) in spans.items()
                              if armed >> self.plan.windows[window].number & 1), default=0))
        return words

    # Patterns.

    def simplified(self, pattern):
        """A pattern with as few counts as possible: what they fix becomes must and veto, what one
        detector knows by itself becomes local. ``None`` if it can't hold."""
        must, veto = set(pattern.must), set(pattern.veto)
        counts = list(pattern.counts)
        local, wide = [], []
        changed = True
        while changed:
            changed, local, wide = False, [], []
            for count in counts:
                free = count.cells - must - veto
                base = len(count.cells & must)
                low, high = max(0, count.low - base), count.high - base
                if high < 0 or low > len(free):
                    return None
                if not free or low == 0 and high >= len(free):
                    continue
                if low == len(free):
                    must |= free
                    changed = True
                elif high == 0:
                    veto |= free
                    changed = True
                else:
                    kept = replace(count, cells=free, low=low, high=min(high, len(free)))
                    (wide if len({d for d, _ in free}) > 1 else local).append(kept)
        if must & veto:
            return None
        return replace(pattern, must=frozenset(must), veto=frozenset(veto),
                       counts=tuple(wide)), local

    def sets(self, wide):
        """Count sets for counts, ``[(pattern, count)]``: a list of sets of cells.

        Counts share a set if what is more in it is fixed by their patterns.
        """
        sets = list(dict.fromkeys(count.cells for _, count in wide))
        users = {cells: [(p, c) for p, c in wide if c.cells == cells] for cells in sets}
        while len(sets) > COUNT_SETS:
            for one, other in itertools.combinations(sets, 2):
                joined = one | other
                if all(joined - c.cells <= p.must | p.veto
                       for p, c in users[one] + users[other]):
                    break
            else:
                return None
            users[joined] = users.pop(one) + users.pop(other)
            sets = [s for s in sets if s not in (one, other)] + [joined]
        return [(cells, users[cells]) for cells in sets]

    def patterns(self):
        """Rows of the tables ACCEPT, CONTRIBUTION, COUNT, PATTERN."""
        plan = self.plan
        accept = [_ALL] * (DETECTORS * _COMBINATIONS)
        contribution = [0] * (DETECTORS * _COMBINATIONS)
        count = [_ALL] * (COUNT_SETS * _COMBINATIONS)
        entries = [0] * PATTERNS
        wide = []
        for pattern in plan.patterns.values():
            entries[pattern.number] = PatternEntry.const({
                "enabled": 1, "early": pattern.early, "code": pattern.code,
                "pauli": pattern.pauli,
                "windows": sum(1 << plan.windows[w].number for w in pattern.windows),
            }).as_bits()
            found = self.simplified(pattern)
            if found is None:
                self.error(pattern.path, "what it asks for can't be so at once: the pattern can "
                           "never hold")
                continue
            simple, local = found
            wide += [(simple, c) for c in simple.counts]
            for detector in plan.detectors.values():
                for row in range(_COMBINATIONS):
                    clicked = {(detector.name, w.name) for w in plan.windows.values()
                               if row >> w.number & 1}
                    if not (all(c in clicked for c in simple.must if c[0] == detector.name)
                            and not simple.veto & clicked
                            and all(c.low <= len(c.cells & clicked) <= c.high for c in local
                                    if next(iter(c.cells))[0] == detector.name)):
                        accept[detector.input * _COMBINATIONS + row] &= ~(1 << pattern.number)
        sets = self.sets(wide)
        if sets is None:
            paths = ", ".join(dict.fromkeys(c.path for _, c in wide))
            self.error("$.patterns", f"counts over more than {COUNT_SETS} different sets of "
                       f"cells; the node has {COUNT_SETS} sums. Let patterns count the same cells "
                       f"({paths})")
            sets = []
        for k, (cells, users) in enumerate(sets):
            for detector in plan.detectors.values():
                for row in range(_COMBINATIONS):
                    number = sum(1 for w in plan.windows.values()
                                 if row >> w.number & 1 and (detector.name, w.name) in cells)
                    contribution[detector.input * _COMBINATIONS + row] |= number << 3 * k
            for pattern, c in users:
                shift = len((cells - c.cells) & pattern.must)
                good = [c.low + shift <= n <= c.high + shift for n in range(len(cells) + 1)]
                if len(set(good[_MOST:])) > 1:
                    self.error(c.path, f"sums of {_MOST} and more are all the same to the node; "
                               f"count fewer cells")
                for n in range(_COMBINATIONS):
                    if n >= len(good) or not good[n]:
                        count[k * _COMBINATIONS + n] &= ~(1 << pattern.number)
        return accept, contribution, count, entries

    def judge(self, compiled):
        """Patterns that can't hold, or never are the verdict."""
        plan = self.plan
        cells = plan.cells
        for pattern in plan.patterns.values():
            rivals = {p.number: p for p in plan.patterns.values()
                      if p.number < pattern.number and p.windows <= pattern.windows
                      and (p.early or not pattern.early)}
            found = _reachable(compiled, pattern, rivals,
                               [n for n, (_, w) in cells.items() if w in pattern.windows])
            if found is None:
                continue  # too many cases to say
            holds, wins, hiding = found
            if not holds:
                self.error(pattern.path, "what it asks for can't be so at once: the pattern can "
                           "never hold")
            elif not wins:
                names = ", ".join(repr(rivals[n].name) for n in sorted(hiding))
                self.warn(pattern.path, f"it never is the verdict: whenever it holds, {names} "
                          f"(of a lower number) holds too; give it a lower number, or ask for "
                          f"more there")
            if pattern.early and (pattern.veto or any(
                    c.high < len(c.cells) for c in pattern.counts)):
                self.warn(f"{pattern.path}.early", "it is the verdict as soon as it holds, so "
                          "clicks that come later than that are not vetoed")

    # Registers.

    def registers(self, decide):
        plan = self.plan
        dead = [0] * DETECTORS
        for d in plan.detectors.values():
            if d.dead_ps:
                dead[d.input] = self.rounded(f"$.detectors.{d.name}.dead_time", "dead time",
                                             d.dead_ps, self.tick_ps, 1, 255, up=True) or 0
        result = {"dead_ticks": dead, "reference_earliest": 1, "reference_latest": 125}
        r = plan.reference
        if r is not None:
            most = (1 << TICK_BITS) - 1
            source = plan.source["reference"]
            for key, ps in (("earliest", r.earliest_ps), ("latest", r.latest_ps)):
                # The default is a tick, whatever a tick is.
                ps = self.tick_ps if key not in source else ps
                result[f"reference_{key}"] = self.rounded(
                    f"$.reference.{key}", f"{key!r} of the reference", ps, self.tick_ps, 1, most)
            latest = result["reference_latest"]
            if latest is not None and latest + -(-max(decide) // EIGHTHS) > most:
                self.error("$.reference.latest", f"an attempt may take {_show(most * self.tick_ps)}"
                           f" from its start to its last window; this one could take "
                           f"{_show((latest + max(decide) // EIGHTHS) * self.tick_ps)}")
        limits, saturation = plan.limits, plan.saturation
        result["attempts_limit"] = limits.get("attempts", 0)
        result["reinitialise_after"] = limits.get("reinitialise_after", 0)
        result["time_limit"] = 0 if "time" not in limits else self.rounded(
            "$.limits.time", "time limit", limits["time"], self.tick_ps, 1, (1 << 48) - 1)
        result["saturation_clicks"] = saturation.get("clicks", 0)
        for key, register, bits, default in (("gate", "saturation_gate", 24, 10**8),
                                             ("backoff", "backoff", 32, 10**9)):
            result[register] = self.rounded(
                f"$.saturation.{key}", key, Fraction(saturation.get(key, default)), self.tick_ps,
                1, (1 << bits) - 1)
        codes = dict(plan.codes)
        codes |= {f"give_{name}": 1 for name in plan.codes}
        result["codes"] = HeraldCodes.const(codes).as_bits()
        return result

    def control(self):
        plan, r = self.plan, self.plan.reference
        return {
            "by_reference": int(r is not None), "reference": DETECTORS if r is None else r.input,
            "role": _ROLES[plan.role].value,
            "trigger": int(plan.trigger_line is not None),
            "trigger_line": plan.trigger_line or 0,
            **{f"record_{kind}": int(kind in plan.records)
               for kind in ("success", "failed", "void")},
            "falling": sum(1 << d.input for d in plan.detectors.values() if d.falling),
        }

    def peers(self):
        p = self.plan.peers
        if p is None:
            return {"control": 0}
        result = {"control": sum(1 << port for port in p.ports)}
        for name, bits in (("start_delay", 16), ("margin", 16), ("retry", 16), ("quiet", 24)):
            ps = getattr(p, f"{name}_ps")
            if ps is not None:
                result[name] = self.rounded(f"$.peers.{name}", name, ps, self.tick_ps, 0,
                                            (1 << bits) - 1)
        margin, retry = result.get("margin", 4096), result.get("retry", 256)
        if None not in (margin, retry) and margin < 4 * retry:
            self.error("$.peers.margin", f"the margin of a time-out, "
                       f"{_show(margin * self.tick_ps)}, must be at least four times the retry, "
                       f"{_show(retry * self.tick_ps)}")
        return result

    def virtual(self):
        plan, most = self.plan, (1 << VIRTUAL_WINDOW_BITS) - 1
        result = {name: [0] * VIRTUAL_CHANNELS
                  for name in ("channels", "window", "guard_before", "guard_after")}

        def bits(names):
            return sum(1 << plan.detectors[name].input for name in names)

        for v in plan.virtual.values():
            result["channels"][v.number] = VirtualChannel.const({
                "enable": 1, "record": v.record, "detectors": bits(v.of),
                "watched": bits(v.watched),
                "kind": VirtualKind.COMBINATION if v.combination else VirtualKind.COINCIDENCE,
            }).as_bits()
            for name in ("window", "guard_before", "guard_after"):
                # Fine units are below a picosecond: their rounding is not worth a word.
                number = round(getattr(v, f"{name}_ps") * FINE_PER_TICK / self.tick_ps)
                if number > most:
                    self.error(f"$.virtual.{v.name}.{name}", f"it must be up to "
                               f"{_show(most * self.tick_ps / FINE_PER_TICK)} on this node")
                result[name][v.number] = number
        return result

    def compile(self):
        plan = self.plan
        self.fit()
        spans = self.windows()
        opened, closed = [0] * (DETECTORS * WINDOWS), [0] * (DETECTORS * WINDOWS)
        for cell, (first, last) in spans.items():
            opened[plan.number(cell)], closed[plan.number(cell)] = first, last
        decide = self.decide(spans)
        accept, contribution, count, entries = self.patterns()
        sites = [0] * SITES
        for site in plan.sites.values():
            sites[site.number] = SiteEntry.const({
                "enabled": 1, "zero": plan.number(site.zero),
                "one": plan.number(site.one)}).as_bits()
        tables = {HeraldTable.OPEN: opened, HeraldTable.CLOSE: closed, HeraldTable.ACCEPT: accept,
                  HeraldTable.CONTRIBUTION: contribution, HeraldTable.COUNT: count,
                  HeraldTable.PATTERN: entries, HeraldTable.DECIDE: decide,
                  HeraldTable.SITE: sites}
        compiled = CompiledPlan(plan, self.geometry, tables, self.registers(decide),
                                self.control(), self.peers(), self.virtual(), self.findings,
                                spans)
        if not any(f.error for f in self.findings):
            self.judge(compiled)
        if any(f.error for f in self.findings):
            name = f"Plan {plan.name!r}" if plan.name else "The plan"
            raise PlanError(self.findings, name)
        self.findings[:0] = plan.findings
        return compiled


def _reachable(compiled, pattern, rivals, cells):
    """Whether a pattern can hold, whether it can be the verdict, and which rivals hide it.

    Follows, from detector to detector, what the sums can be and which patterns accept so far;
    ``None`` if that gets out of hand.
    """
    tables = compiled.tables
    mine = 1 << pattern.number
    wanted = mine | sum(1 << n for n in rivals)
    count = tables[HeraldTable.COUNT]
    # Only sums that one of them asks for.
    asked = [k for k in range(COUNT_SETS)
             if any(~word & wanted for word in count[k * _COMBINATIONS:(k + 1) * _COMBINATIONS])]
    states = {((0,) * len(asked), wanted)}
    for detector in range(DETECTORS):
        there = sum(1 << n % WINDOWS for n in cells if n // WINDOWS == detector)
        rows = {(tables[HeraldTable.ACCEPT][at] & wanted, tuple(
            tables[HeraldTable.CONTRIBUTION][at] >> 3 * k & 7 for k in asked))
            for at in (detector * _COMBINATIONS + row for row in range(_COMBINATIONS)
                       if not row & ~there)}
        states = {(tuple(map(sum, zip(sums, more, strict=True))), still & accepted)
                  for sums, still in states for accepted, more in rows if accepted & mine}
        if len(states) > _SEARCH:
            return None
    ends = set()
    for sums, still in states:
        for k, total in zip(asked, sums, strict=True):
            still &= count[k * _COMBINATIONS + min(total, _MOST)]
        if still & mine:
            ends.add(still & ~mine)
    hiding = {n for n in rivals if any(end >> n & 1 for end in ends)}
    return bool(ends), 0 in ends, hiding


def compile_plan(plan, geometry=None):
    """Words for a node.

    Parameters
    ----------
    plan : Plan
    geometry : HeraldGeometry, optional
        The node; by default one with all inputs and eight samples in a tick of 8 ns.

    Returns
    -------
    CompiledPlan
        ``findings`` has the plan's warnings and those of this node.

    Raises
    ------
    PlanError
        With all that is wrong: windows that overlap or open too soon, patterns that can never
        hold, more than the node has.
    """
    return _Compiler(plan, geometry or HeraldGeometry()).compile()
