"""What a run of attempts came to: kept as JSON, shown as a page."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from quantacore.gateware.layouts.herald import CELLS, EIGHTHS, PATTERNS
from quantacore.host.herald.compile import HeraldGeometry, compile_plan
from quantacore.host.herald.plan import read_plan

__all__ = ["FORMAT", "HistogramResult", "HeraldRun", "asks_for", "wilson"]

FORMAT = "quantacore-herald-run-1"


def wilson(successes, trials):
    """Interval of one standard deviation for a probability (Wilson's): ``(low, high)``."""
    if not trials:
        return 0.0, 1.0
    p = successes / trials
    middle = (p + 0.5 / trials) / (1 + 1 / trials)
    half = math.sqrt(p * (1 - p) / trials + 0.25 / trials**2) / (1 + 1 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass
class HistogramResult:
    """Intervals between two detectors: ``edges_s`` has one value more than ``counts``."""

    start: str
    stop: str
    mode: str
    edges_s: list
    counts: list
    lost: int = 0


@dataclass
class HeraldRun:
    """A run.

    Attributes
    ----------
    plan : dict
        The plan as JSON.
    counts : dict
        Fields of :class:`~quantacore.host.driver.herald.HeraldCounts`.
    seconds : float
        Of the node's time.
    matrix, totals : list
        See :meth:`~quantacore.host.herald.records.Verdicts.matrix`.
    rates : list of dict
        ``seconds`` since the start, ``attempts_hz``, ``succeeded_hz``, and ``clicks`` by name.
    histograms : list of HistogramResult
    flags : dict
        Flags that were raised: name -> (count, seconds).
    node : dict
        ``tick_ps``, ``channels``, ``samples``.
    program : dict
        ``name``, ``state``, ``halt_code``; empty without one.
    virtual : dict
        Fields of :class:`~quantacore.host.driver.virtual.VirtualCounts` after the end; empty if
        the plan has no virtual channels.
    """

    plan: dict
    counts: dict
    seconds: float
    matrix: list = field(default_factory=list)
    totals: list = field(default_factory=list)
    rates: list = field(default_factory=list)
    histograms: list = field(default_factory=list)
    flags: dict = field(default_factory=dict)
    node: dict = field(default_factory=dict)
    program: dict = field(default_factory=dict)
    virtual: dict = field(default_factory=dict)

    def to_json(self):
        """The run as text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def read(cls, path):
        """The run in a file.

        Raises
        ------
        ValueError
            It is something else.
        """
        path = Path(path)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} is no run of attempts: not JSON ({error})") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError(f"{path.name} is no run of attempts; quantacore herald run --out "
                             f"writes them")
        del found["format"]
        try:
            run = cls(**found)
            run.histograms = [HistogramResult(**h) for h in run.histograms]
        except TypeError as error:
            raise ValueError(f"{path.name} is of another release: {error}") from None
        return run

    def compiled(self):
        """The plan as the node took it."""
        node = self.node
        geometry = HeraldGeometry(*(
            _fraction(node[name]) if name == "tick_ps" else node[name]
            for name in ("tick_ps", "channels", "samples"))) if node else None
        return compile_plan(read_plan(self.plan), geometry)

    def success_matrix(self):
        """The success matrix for the reader.

        Returns
        -------
        (rows, columns, values, totals)
            Names of patterns and of cells, int64 of both, successes of each pattern.
        """
        plan = read_plan(self.plan)
        patterns = plan.in_order()
        cells = plan.cells
        matrix = np.array(self.matrix or np.zeros((PATTERNS, CELLS)), np.int64)
        totals = np.array(self.totals or np.zeros(PATTERNS), np.int64)
        numbers = [p.number for p in patterns]
        return ([p.name for p in patterns], [".".join(c) for c in cells.values()],
                matrix[np.ix_(numbers, list(cells))], totals[numbers])

    def report(self, title=None):
        """A :class:`~quantacore.host.report.Report`."""
        from quantacore.host.plot import Figure, MatrixFigure
        from quantacore.host.report import Check, Report

        counts, compiled = self.counts, self.compiled()
        plan = compiled.plan
        made = counts["succeeded"] + counts["failed"]
        void = sum(counts[f"void_{why}"] for why in ("reference", "aborted", "route", "peer"))
        low, high = wilson(counts["succeeded"], made)
        page = Report(title or f"Attempts with the plan {plan.name or 'without a name'}", plan.doc)
        page.fact("attempts", counts["attempts"]).fact("successes", counts["succeeded"])
        page.fact("attempts per second",
                  counts["attempts"] / self.seconds if self.seconds else 0.0)
        page.fact("success probability", counts["succeeded"] / made if made else 0.0)
        page.checks.append(Check(
            name="every attempt is accounted for",
            passed=counts["attempts"] == counts["succeeded"] + counts["failed"] + void,
            got=counts["succeeded"] + counts["failed"] + void, expected=counts["attempts"],
            note="succeeded + failed + void, by the node's counters"))
        page.checks.append(Check(
            name="successes by pattern add up",
            passed=sum(counts["patterns"].values()) == counts["succeeded"],
            got=sum(counts["patterns"].values()), expected=counts["succeeded"]))
        rows, columns, matrix, totals = self.success_matrix()
        if totals.sum():
            page.figure("Success matrix", MatrixFigure(
                matrix / np.maximum(totals, 1)[:, None], rows, columns,
                title="part of a pattern's successes in which a cell was clicked"),
                caption=f"From {int(totals.sum())} verdict records.")
        page.table("Patterns", [
            (p.name, p.code, counts["patterns"].get(p.name, 0),
             counts["patterns"].get(p.name, 0) / made if made else 0.0, asks_for(p))
            for p in plan.in_order()],
            headings=("pattern", "code", "verdicts", "of attempts", "asks for"), wide=True,
            caption=f"Success probability {counts['succeeded']}/{made}: one standard deviation is "
                    f"{low:.4g} to {high:.4g}. Void attempts do not count.")
        if len(self.rates) > 1:
            figure = Figure("Rates", x_label="time (s)", y_label="per second")
            times = [r["seconds"] for r in self.rates]
            figure.line(times, [r["attempts_hz"] for r in self.rates], "attempts")
            figure.line(times, [r["succeeded_hz"] for r in self.rates], "successes", colour=2)
            page.figure("Rates", figure)
        for h in self.histograms:
            edges = np.array(h.edges_s) * 1e9
            hom = h.mode == "all_pairs"
            figure = Figure(f"{h.start} to {h.stop}", x_label="interval (ns)", y_label="pairs")
            figure.steps(edges, h.counts, fill=True).steps(edges, h.counts)
            page.figure("Intervals between two detectors (HOM)" if hom else "Start and stop",
                        figure, caption="Counted in the node."
                        + (f" {h.lost} edges or pairs were lost." if h.lost else ""))
        page.table("Windows", [
            (".".join(cell), *(float(ps) / 1000 for ps in compiled.span_ps(cell)),
             counts["cells"].get(".".join(cell), 0),
             counts["cells"].get(".".join(cell), 0) / made if made else 0.0)
            for cell in plan.cells.values()],
            headings=("cell", "from (ns)", "to (ns)", "clicked", "of attempts"))
        page.table("Detectors", [
            (d.name, d.input, counts["clicks"].get(d.name, 0), counts["stray"].get(d.name, 0),
             counts["dead"].get(d.name, 0)) for d in plan.detectors.values()],
            headings=("detector", "input", "clicks", "outside windows", "in dead time"))
        if self.virtual:
            v = self.virtual
            page.table("Virtual channels", [
                *((f"{name}: edges", edges) for name, edges in v["edges"].items()),
                ("in the tag stream", v["sent"]), ("lost there", v["lost"]),
                ("detectors' edges that were not looked at", v["edges_lost"]),
                ("detectors' edges that came too late", v["edges_late"])])
        page.table("Attempts", [
            ("started", counts["attempts"]), ("succeeded", counts["succeeded"]),
            ("failed", counts["failed"]), ("void: reference", counts["void_reference"]),
            ("void: aborted", counts["void_aborted"]), ("void: route", counts["void_route"]),
            ("void: peer", counts["void_peer"]), ("ARMs refused", counts["refused"]),
            ("records lost", counts["records_lost"])])
        facts = [("node's time (s)", self.seconds)]
        if self.node:
            facts += [("tick (ns)", float(compiled.geometry.tick_ps) / 1000),
                      ("samples per tick", self.node["samples"]),
                      ("steps of windows (ns)",
                       float(compiled.geometry.eighth_ps) * EIGHTHS / self.node["samples"] / 1000)]
        if self.program:
            facts += [(f"program: {key}", value) for key, value in self.program.items()
                      if value is not None]
        facts += [(f"flag {name}", f"{count} times, first at {at:.9f} s")
                  for name, (count, at) in self.flags.items()]
        page.table("Run", facts)
        return page


def _fraction(text):
    from fractions import Fraction

    return Fraction(text)


def asks_for(pattern):
    """What a pattern asks for, for the reader."""
    parts = [", ".join(f"{d}.{w}" for d, w in sorted(pattern.must))] if pattern.must else []
    for c in pattern.counts:
        cells = ", ".join(f"{d}.{w}" for d, w in sorted(c.cells))
        how = f"{c.low}" if c.low == c.high else f"{c.low} to {c.high}"
        parts.append(f"{how} of {cells}")
    if pattern.veto:
        parts.append("not " + ", ".join(f"{d}.{w}" for d, w in sorted(pattern.veto)))
    return "; ".join(parts)
