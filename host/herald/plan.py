"""Channel plans: what is on which input, when it counts, and what it means; from JSON.

A plan is read in two steps, and everything that is wrong is told at once, each with its place in
the file: first against the schema (``plan.schema.json``), then :class:`Plan` resolves names and
checks what a schema can't. Times stay exact picoseconds; what a node makes of them is
:mod:`quantacore.host.herald.compile`'s matter.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from quantacore.gateware.layouts.herald import DETECTORS, PATTERNS, SITES, WINDOWS
from quantacore.gateware.layouts.virtual import FIRST_VIRTUAL, VIRTUAL_CHANNELS

__all__ = ["FORMAT", "SCHEMA", "PLANS", "PlanError", "Finding", "Detector", "Reference", "Window",
           "Count", "Pattern", "Site", "Peers", "Virtual", "Switches", "Plan", "read_plan",
           "plan_schema", "shipped_plans", "time_ps"]

FORMAT = "quantacore-herald-1"
#: The schema, and the plans that come with the package.
SCHEMA = Path(__file__).with_name("plan.schema.json")
PLANS = Path(__file__).with_name("plans")

_UNITS = {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12}
_TIME = re.compile(r"([0-9]+(?:[.][0-9]+)?) ?(ps|ns|us|ms|s)")


class PlanError(ValueError):
    """A plan that is wrong; ``findings`` has every reason."""

    def __init__(self, findings, what="The plan"):
        self.findings = [f for f in findings if f.error]
        super().__init__(f"{what} is wrong:\n" + "\n".join(f"  {f}" for f in self.findings))


@dataclass(frozen=True)
class Finding:
    """Something to say about a place in a plan: a JSON path, an error or a warning."""

    path: str
    text: str
    error: bool = True

    def __str__(self):
        return f"{self.path}: {self.text}"


@dataclass(frozen=True)
class Detector:
    """A detector: clicks come ``delay_ps`` late, and its windows are so much later."""

    name: str
    input: int
    falling: bool
    dead_ps: Fraction
    delay_ps: Fraction


@dataclass(frozen=True)
class Reference:
    """Where the reference pulse comes from; ``input`` is ``DETECTORS`` for the separate one."""

    input: int
    earliest_ps: Fraction
    latest_ps: Fraction


@dataclass(frozen=True)
class Window:
    """A window: ``spans`` has ``(from_ps, to_ps, path)`` of each detector that it exists for."""

    name: str
    number: int
    spans: dict


@dataclass(frozen=True)
class Count:
    """At least ``low`` and at most ``high`` of some cells are clicked."""

    cells: frozenset
    low: int
    high: int
    path: str


@dataclass(frozen=True)
class Pattern:
    """A pattern over cells, which are ``(detector, window)`` names; ``windows`` are names."""

    name: str
    number: int
    must: frozenset
    veto: frozenset
    counts: tuple
    windows: frozenset
    early: bool
    code: int
    pauli: int
    path: str

    def holds(self, clicked):
        """Whether it holds when just these cells are clicked: its plain meaning."""
        return (self.must <= clicked and not self.veto & clicked
                and all(c.low <= len(c.cells & clicked) <= c.high for c in self.counts))


@dataclass(frozen=True)
class Site:
    """A photonic qubit: two cells."""

    name: str
    number: int
    zero: tuple
    one: tuple


@dataclass(frozen=True)
class Peers:
    """Ports to other nodes; times that are None stay what they are in the node."""

    ports: frozenset
    start_delay_ps: Fraction
    margin_ps: Fraction | None
    retry_ps: Fraction | None
    quiet_ps: Fraction | None


@dataclass(frozen=True)
class Virtual:
    """A virtual channel over detectors (names); ``combination`` or else a coincidence."""

    name: str
    number: int
    combination: bool
    of: frozenset
    watched: frozenset
    window_ps: Fraction
    guard_before_ps: Fraction
    guard_after_ps: Fraction
    record: bool

    @property
    def channel(self):
        """Its number in tags and for the histogram."""
        return FIRST_VIRTUAL + self.number


@dataclass(frozen=True)
class Switches:
    """The route of the photonic switches that attempts need, and the
    :class:`~quantacore.host.driver.switches.RoutePlan` that has it; ``None`` if the node's table is
    to have it already."""

    route: int
    plan: object


def time_ps(text):
    """Picoseconds of ``"1.5us"``, exact."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time; write 120ns or 1.5us")
    return Fraction(match[1]) * _UNITS[match[2]]


def plan_schema():
    """The schema as a dictionary."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def shipped_plans():
    """Name -> path of the plans that come with the package."""
    return {path.stem: path for path in sorted(PLANS.glob("*.json"))}


def _unique(pairs):
    found = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice in one object")
        found[name] = value
    return found


def read_plan(source):
    """Read and check a plan.

    Parameters
    ----------
    source : path, name of a shipped plan, or dict
        A dictionary is a plan that was parsed already; a file that it names is looked for in the
        working directory.

    Returns
    -------
    Plan

    Raises
    ------
    PlanError
        With all that is wrong.
    OSError
    """
    if isinstance(source, Plan):
        return source
    what, folder = "The plan", Path()
    if not isinstance(source, dict):
        path = Path(source)
        if not path.exists() and str(source) in shipped_plans():
            path = shipped_plans()[str(source)]
        what, folder = f"Plan {path.name}", path.parent
        try:
            source = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
        except ValueError as error:
            raise PlanError([Finding("$", f"not JSON: {error}")], what) from None
    findings = list(_by_schema(source))
    if not findings:
        source, findings = _with_routes(source, folder)
    if not findings:
        plan = Plan.parse(source)
        findings = plan.findings
    if any(f.error for f in findings):
        raise PlanError(findings, what)
    return plan


def _with_routes(source, folder):
    """The plan with its plan of routes in it, where that is in a file; and what is wrong."""
    name = source.get("switches", {}).get("plan")
    if not isinstance(name, str):
        return source, []
    path = folder / name
    try:
        routes = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except OSError as error:
        text = (f"{name!r} can't be read: {error.strerror or error}; it is looked for beside the "
                "plan")
    except ValueError as error:
        text = f"{name!r} is not JSON: {error}"
    else:
        return {**source, "switches": {**source["switches"], "plan": routes}}, []
    return source, [Finding("$.switches.plan", text)]


@functools.cache
def _validator():
    # Imported here: it takes a while, and not every command needs it.
    import jsonschema

    return jsonschema.Draft202012Validator(plan_schema())


def _by_schema(source):
    for error in sorted(_validator().iter_errors(source), key=lambda e: (list(map(str, e.path)))):
        text = error.message
        if error.validator in ("pattern", "type", "enum", "const", "minimum", "maximum"):
            hint = error.schema.get("description") if isinstance(error.schema, dict) else None
            shown = json.dumps(error.instance)
            shown = shown if len(shown) < 60 else f"{shown[:57]}..."
            text = f"{shown} is not {hint}" if hint else text
        elif error.validator == "additionalProperties":
            known = ", ".join(error.schema.get("properties", {}))
            text = f"{text[0].lower()}{text[1:]}; known are {known}"
        yield Finding(error.json_path, text)


class _Reader:
    """What resolving a plan needs: names, and a list of what is wrong."""

    def __init__(self):
        self.findings = []

    def error(self, path, text):
        self.findings.append(Finding(path, text))

    def warn(self, path, text):
        self.findings.append(Finding(path, text, error=False))

    def numbers(self, items, path, limit, what):
        """Numbers of named things: their own, or the lowest that is free, in their order."""
        taken = {}
        for name, item in items.items():
            if "number" in item:
                if item["number"] in taken:
                    self.error(f"{path}.{name}.number", f"{item['number']} is the number of "
                               f"{taken[item['number']]!r} already")
                taken[item["number"]] = name
        result = {}
        free = iter(n for n in range(len(items) + limit) if n not in taken)
        for name, item in items.items():
            result[name] = item["number"] if "number" in item else next(free)
        if len(items) > limit:
            self.error(path, f"{len(items)} {what}, a node has {limit}; leave "
                       f"{len(items) - limit} out")
        return result


def _listed(names):
    return ", ".join(names) or "none"


@dataclass(frozen=True)
class Plan:
    """A plan with its names resolved. Use :func:`read_plan`.

    Attributes
    ----------
    name, doc : str
    detectors, windows, patterns, sites : dict
        By name: :class:`Detector`, :class:`Window`, :class:`Pattern`, :class:`Site`.
    reference : Reference or None
    codes : dict
        ``limit``, ``reinitialise``, ``refused``, ``void``, ``failed`` -> code, those given.
    limits, saturation : dict
        As in the file, times in picoseconds.
    role : str
    peers : Peers or None
    virtual : dict
        By name: :class:`Virtual`.
    switches : Switches or None
    trigger_line : int or None
    records : frozenset
    source : dict
        The plan as it was parsed from JSON, with the plan of routes that it names in it.
    findings : list of Finding
        Warnings; errors are raised by :func:`read_plan`.
    """

    name: str
    doc: str
    detectors: dict
    reference: Reference | None
    windows: dict
    patterns: dict
    sites: dict
    codes: dict
    limits: dict
    saturation: dict
    role: str
    peers: Peers | None
    virtual: dict
    switches: Switches | None
    trigger_line: int | None
    records: frozenset
    source: dict = field(repr=False)
    findings: list = field(repr=False)

    def number(self, cell):
        """The number of a cell, ``(detector, window)``."""
        detector, window = cell
        return WINDOWS * self.detectors[detector].input + self.windows[window].number

    def in_order(self):
        """The patterns by number."""
        return sorted(self.patterns.values(), key=lambda p: p.number)

    @property
    def cells(self):
        """All cells that there are, by number: number -> ``(detector, window)``."""
        found = {self.number((detector, window.name)): (detector, window.name)
                 for window in self.windows.values() for detector in window.spans}
        return dict(sorted(found.items()))

    @classmethod
    def parse(cls, source):
        """Resolve a plan that fits the schema; errors are in ``findings``."""
        return _parse(source)


def _parse(source):
    reader = _Reader()
    detectors = _detectors(reader, source)
    groups = _groups(reader, source, detectors)
    reference, carrier = _reference(reader, source, detectors)
    windows = _windows(reader, source, detectors, groups, carrier)
    patterns = _patterns(reader, source, detectors, groups, windows)
    sites = _sites(reader, source, detectors, windows)
    codes = source.get("codes", {})
    of_pattern = {p.code: p.name for p in patterns.values()}
    for kind, code in codes.items():
        if code in of_pattern:
            reader.error(f"$.codes.{kind}", f"{code} is the code of pattern {of_pattern[code]!r} "
                         f"too, and a program could not tell them apart; take another")
    limits = {k: time_ps(v) if k == "time" else v for k, v in source.get("limits", {}).items()}
    saturation = {k: v if k == "clicks" else time_ps(v)
                  for k, v in source.get("saturation", {}).items()}
    for needed, key in (("limit", "attempts"), ("limit", "time"),
                        ("reinitialise", "reinitialise_after")):
        if key in limits and needed not in codes:
            reader.warn(f"$.limits.{key}", f"no code {needed!r} is given: a program's BRH waits "
                        f"for its timeout when this is reached")
    return Plan(
        name=source.get("name", ""), doc=source.get("doc", ""), detectors=detectors,
        reference=reference, windows=windows, patterns=patterns, sites=sites, codes=codes,
        limits=limits, saturation=saturation, role=source.get("role", "solo"),
        peers=_peers(reader, source), virtual=_virtual(reader, source, detectors, groups),
        switches=_switches(reader, source), trigger_line=source.get("trigger_line"),
        records=frozenset(source.get("records", ["success"])), source=source,
        findings=reader.findings)


def _detectors(reader, source):
    result, inputs = {}, {}
    for name, d in source["detectors"].items():
        path = f"$.detectors.{name}"
        if name == "reference":
            reader.error(path, "this name is the reference input's; take another")
        if d["input"] in inputs:
            reader.error(f"{path}.input", f"input {d['input']} is that of "
                         f"{inputs[d['input']]!r} already")
        inputs[d["input"]] = name
        result[name] = Detector(name, d["input"], d.get("edge", "rising") == "falling",
                                time_ps(d.get("dead_time", "0ns")),
                                time_ps(d.get("delay", "0ns")))
    return result


def _groups(reader, source, detectors):
    result = {}
    for name, members in source.get("groups", {}).items():
        if name in detectors:
            reader.error(f"$.groups.{name}", "a detector has this name; take another")
        for k, member in enumerate(members):
            if member not in detectors:
                reader.error(f"$.groups.{name}[{k}]", f"there is no detector {member!r}; there "
                             f"are {_listed(detectors)}")
        result[name] = [m for m in members if m in detectors]
    return result


def _reference(reader, source, detectors):
    if "reference" not in source:
        return None, None
    r = source["reference"]
    carrier = None
    if r["input"] == "reference":
        number = DETECTORS
    elif r["input"] in detectors:
        carrier = r["input"]
        number = detectors[carrier].input
    else:
        reader.error("$.reference.input", f"there is no detector {r['input']!r}; write "
                     f"\"reference\" for the reference input, or one of {_listed(detectors)}")
        return None, None
    earliest, latest = time_ps(r.get("earliest", "8ns")), time_ps(r["latest"])
    if latest < earliest:
        reader.error("$.reference.latest", f"{r['latest']} is before the earliest, "
                     f"{r.get('earliest', '8ns')}")
    return Reference(number, earliest, latest), carrier


def _members(reader, names, path, detectors, groups):
    """Detectors that a list of detectors and groups means, with their paths."""
    found = {}
    for k, name in enumerate(names):
        members = groups.get(name, [name] if name in detectors else None)
        if members is None:
            reader.error(f"{path}[{k}]", f"there is no detector or group {name!r}; there are "
                         f"{_listed([*detectors, *groups])}")
            continue
        for member in members:
            found.setdefault(member, f"{path}[{k}]")
    return found


def _windows(reader, source, detectors, groups, carrier):
    numbers = reader.numbers(source["windows"], "$.windows", WINDOWS, "windows")
    result = {}
    for name, w in source["windows"].items():
        path = f"$.windows.{name}"
        if ("spans" in w) == ("from" in w or "to" in w) or ("from" in w) != ("to" in w) or (
                "spans" in w and "detectors" in w):
            reader.error(path, "a window has \"from\" and \"to\" (and \"detectors\", if it is not "
                         "for all), or \"spans\"")
            continue
        spans = {}
        parts = [(path, w)] if "from" in w else [
            (f"{path}.spans[{k}]", part) for k, part in enumerate(w["spans"])]
        for where, part in parts:
            begin, end = time_ps(part["from"]), time_ps(part["to"])
            if end <= begin:
                reader.error(f"{where}.to", f"{part['to']} is not after {part['from']}")
                continue
            if "detectors" in part:
                members = _members(reader, part["detectors"], f"{where}.detectors", detectors,
                                   groups)
            else:
                members = {d: where for d in detectors if d != carrier}
            for member, at in members.items():
                if member == carrier:
                    reader.error(at, f"{member!r} carries the reference, and its edges are no "
                                 f"clicks; leave it out")
                elif member in spans:
                    reader.error(at, f"{member!r} has this window already; a detector has each "
                                 f"window once")
                else:
                    spans[member] = (begin, end, where)
        result[name] = Window(name, numbers[name], spans)
    return result


def _cells(reader, names, path, detectors, groups, windows):
    """Cells that a list means."""
    found = set()
    for k, text in enumerate(names):
        of, _, at = text.partition(".")
        where = f"{path}[{k}]"
        members = list(detectors) if of == "*" else groups.get(
            of, [of] if of in detectors else None)
        if members is None:
            reader.error(where, f"{text!r}: there is no detector or group {of!r}; there are "
                         f"{_listed([*detectors, *groups])}")
            continue
        if at != "*" and at not in windows:
            reader.error(where, f"{text!r}: there is no window {at!r}; there are "
                         f"{_listed(windows)}")
            continue
        chosen = windows.values() if at == "*" else [windows[at]]
        cells = {(d, w.name) for d in members for w in chosen if d in w.spans}
        absent = [d for d in members if not any((d, w.name) in cells for w in chosen)]
        if absent and of != "*" or not cells:
            reader.error(where, f"{text!r}: {_listed(absent)} has no window "
                         f"{'at all' if at == '*' else repr(at)}; add it to the window's "
                         f"detectors")
        found |= cells
    return frozenset(found)


def _patterns(reader, source, detectors, groups, windows):
    numbers = reader.numbers(source["patterns"], "$.patterns", PATTERNS, "patterns")
    result = {}
    for name, p in source["patterns"].items():
        path = f"$.patterns.{name}"

        def cells(key, item=p, path=path):
            return _cells(reader, item.get(key, ()), f"{path}.{key}", detectors, groups, windows)

        must, veto, free = cells("must"), cells("veto"), cells("dont_care")
        counts = []
        for k, c in enumerate(p.get("counts", ())):
            where = f"{path}.counts[{k}]"
            of = cells("of", c, where)
            if "exactly" in c and ("at_least" in c or "at_most" in c) or not (
                    c.keys() & {"exactly", "at_least", "at_most"}):
                reader.error(where, "a count has \"exactly\", or \"at_least\", \"at_most\" or "
                             "both")
                continue
            low = c.get("exactly", c.get("at_least", 0))
            high = c.get("exactly", c.get("at_most", len(of)))
            if low > min(high, len(of)):
                reader.error(where, f"it can't be at least {low} and at most {high} of "
                             f"{len(of)} cells: the pattern can never hold")
            counts.append(Count(of, low, high, where))
        for one, other, what in ((must, veto, "must click and must not"),
                                 (must, free, "must click and is don't-care"),
                                 (veto, free, "must not click and is don't-care")):
            for d, w in sorted(one & other):
                reader.error(path, f"{d}.{w} {what}: the pattern can never hold"
                             if one is must and other is veto else f"{d}.{w} {what}")
        named = must | veto | frozenset().union(*(c.cells for c in counts))
        chosen = {w for _, w in named}
        if "windows" in p:
            wrong = [w for w in p["windows"] if w not in windows]
            for w in wrong:
                reader.error(f"{path}.windows[{p['windows'].index(w)}]", f"there is no window "
                             f"{w!r}; there are {_listed(windows)}")
            outside = sorted(f"{d}.{w}" for d, w in named if w not in p["windows"])
            if outside and not wrong:
                reader.error(f"{path}.windows", f"the pattern looks at {_listed(outside)} too; "
                             f"add the window, or leave them out")
            chosen = set(p["windows"]) - set(wrong)
        if p.get("others") == "veto":
            every = {(d, w) for w in chosen for d in windows[w].spans}
            veto |= every - named - free
        if not (must or veto or counts or p.keys() & {"must", "veto", "counts"}):
            reader.error(path, "it asks for nothing and would always hold; give it \"must\", "
                         "\"veto\" or \"counts\"")
        result[name] = Pattern(name, numbers[name], must, veto, tuple(counts), frozenset(chosen),
                               p.get("early", False), p.get("code", numbers[name] & 15),
                               p.get("pauli", 0), path)
        if not any(f.path.startswith(path) for f in reader.findings) and \
                result[name].holds(frozenset()):
            reader.warn(path, "it holds when nothing clicks at all; is a \"must\" missing?")
    return result


def _sites(reader, source, detectors, windows):
    sites = source.get("sites", {})
    numbers = reader.numbers(sites, "$.sites", SITES, "sites")
    result = {}
    for name, s in sites.items():
        path = f"$.sites.{name}"
        pair = []
        for key in ("zero", "one"):
            d, _, w = s[key].partition(".")
            if d not in detectors or w not in windows or d not in windows[w].spans:
                known = sorted(f"{x}.{n}" for n, win in windows.items() for x in win.spans)
                reader.error(f"{path}.{key}", f"there is no cell {s[key]!r}; there are "
                             f"{_listed(known)}")
            pair.append((d, w))
        if pair[0] == pair[1]:
            reader.error(path, f"{s['zero']} is both its values: every click would be an erasure")
        result[name] = Site(name, numbers[name], *pair)
    return result


def _peers(reader, source):
    role, peers = source.get("role", "solo"), source.get("peers")
    if peers is None:
        if role == "follower":
            reader.error("$.peers", "a follower needs a station: write \"peers\": "
                         "{\"ports\": [0]}")
        return None
    if role == "solo":
        reader.error("$.peers", "a node that is alone (role \"solo\") has no peers; write "
                     "\"role\": \"station\" or \"follower\"")
    if role == "follower" and peers["ports"] != [0]:
        reader.error("$.peers.ports", "a follower has its station on port 0, and no other")
    times = {key: time_ps(peers[key]) if key in peers else None
             for key in ("margin", "retry", "quiet")}
    return Peers(frozenset(peers["ports"]), time_ps(peers.get("start_delay", "0ns")),
                 *times.values())


def _switches(reader, source):
    if "switches" not in source:
        return None
    # Imported here: most plans have none.
    from quantacore.host.driver.switches import RoutePlan, RoutePlanError

    number, routes = source["switches"]["route"], source["switches"].get("plan")
    if routes is not None:
        try:
            routes = RoutePlan.from_dict(routes)
        except RoutePlanError as error:
            reader.error("$.switches.plan", str(error))
            return None
        if number not in routes.routes:
            reader.error("$.switches.route", f"the plan of routes has no route {number}; it has "
                         f"{_listed(map(str, sorted(routes.routes)))}")
    return Switches(number, routes)


def _virtual(reader, source, detectors, groups):
    items = source.get("virtual", {})
    numbers = reader.numbers(items, "$.virtual", VIRTUAL_CHANNELS, "virtual channels")
    result = {}
    for name, v in items.items():
        path = f"$.virtual.{name}"
        of = frozenset(_members(reader, v["of"], f"{path}.of", detectors, groups))
        watched = frozenset(_members(reader, v["watched"], f"{path}.watched", detectors, groups)
                            ) if "watched" in v else frozenset(detectors)
        combination = v["kind"] == "combination"
        if not combination:
            for key in ("watched", "guard_before", "guard_after"):
                if key in v:
                    reader.error(f"{path}.{key}", "only a combination looks at it; leave it out")
        elif not of <= watched:
            reader.error(f"{path}.watched", f"{_listed(sorted(of - watched))} must be watched too")
        if name in detectors or name in groups:
            reader.error(path, "a detector or group has this name; take another")
        result[name] = Virtual(
            name, numbers[name], combination, of, watched, time_ps(v["window"]),
            time_ps(v.get("guard_before", "0ns")), time_ps(v.get("guard_after", "0ns")),
            v.get("record", True))
    return result
