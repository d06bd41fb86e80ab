"""Heralded entanglement in a closed loop: three nodes, two protocols, and the textbook beside them.

Two nodes work an emitter each, a third, the station, has the detectors behind the beam splitter.
For each attempt the station tells the emitters' nodes to begin, its herald unit looks for a
pattern of clicks, and its program branches on the verdict. The nodes are virtual ones with a
statistical photon model between them (``quantacore.sim.node.heralding``, found by entry point);
how often attempts succeed is compared with the closed form.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from quantacore.firmware.assembler import assemble
from quantacore.firmware.image import Image
from quantacore.firmware.prover import prove
from quantacore.gateware.layouts.herald import ARM_TICKS
from quantacore.gateware.layouts.instructions import TRIGGER_TICKS
from quantacore.gateware.layouts.sequencer import TTL_LATENCY
from quantacore.host.driver.node import Node
from quantacore.host.plot import Figure
from quantacore.host.report import Check

__all__ = ["PROTOCOLS", "SIGMAS", "Point", "Scan", "Bench", "scan", "add_section"]

PROTOCOLS = ("single-click", "two-click")
#: How far a success probability may be from the closed form, in standard deviations.
SIGMAS = 3
#: From one excitation to the next of a two-click attempt.
_SPACING_TICKS = 30
#: Windows open before the first photon may come, and close after it.
_BEFORE_PS, _AFTER_PS = 6_000, 120_000
#: Ticks that all nodes run between two looks at the programs.
_STEP_TICKS = 1 << 16

_STATION = """
.name "station"
.param attempts r1 in 1..100000000 = 1000
.reg won r5
    li won, 0
    loop attempts
        set 0b01, 0b01                  ; tell the emitters' nodes
        arm {windows:#06b}
        set 0b01, 0
        brh r3, outcomes, {patience}
.table outcomes, words=2
.case 0, 1, 2, 3
        jmp success
.case timeout
        jmp failed
.default
        halt 3
.endt
success:
        set 0b10, 0b10                  ; the emitters are entangled now
        add won, won, 1
        set 0b10, 0
failed: nop
    end
    halt 1
"""

_EMITTER = """
.name "emitter"
.param attempts r1 in 1..100000000 = 1000
    loop attempts
        waittrig r4, rise, 0b0001, 10ms, else lost
        set 0b111, 0b001                ; prepare
        set 0b111, 0b010{wait}          ; excite
{again}        set 0b111, 0
        jmp on
lost:   jmp over
on:     nop
    end
    halt 1
over:
    halt 2
"""

_AGAIN = """        set 0b111, 0b100                ; flip
        set 0b111, 0b010                ; excite again
"""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One setting: what was counted, and what the closed form says.

    Attributes
    ----------
    protocol : str
    setting : float
        Of the scan: the population of the bright state (single-click), or the part that the
        attenuators let through (two-click).
    attempts, succeeded : int
        As the station's herald unit counts.
    judged, correct : int
        Successes, and those in which the emitters' states differed, as the photon model knows.
    probability, correct_fraction, fidelity : float
        Closed form.
    ticks : int
        That the station's program took.
    wall_s : float
    """

    protocol: str
    setting: float
    attempts: int
    succeeded: int
    judged: int
    correct: int
    probability: float
    correct_fraction: float
    fidelity: float
    ticks: int
    wall_s: float

    @property
    def measured(self):
        """Successes in an attempt."""
        return self.succeeded / self.attempts

    @property
    def error(self):
        """Standard deviation of :attr:`measured` if the closed form is right."""
        return math.sqrt(self.probability * (1 - self.probability) / self.attempts)

    @property
    def sigmas(self):
        """How far :attr:`measured` is from the closed form, in standard deviations."""
        return (self.measured - self.probability) / self.error

    @property
    def correct_sigmas(self):
        """The same of the part of successes in which the emitters' states differed."""
        if not self.judged:
            return 0.0
        spread = math.sqrt(self.correct_fraction * (1 - self.correct_fraction) * self.judged)
        return (self.correct - self.judged * self.correct_fraction) / max(spread, 1.0)

    @property
    def passed(self):
        """Whether both are within :data:`SIGMAS`, and the counts of all sides agree."""
        return max(abs(self.sigmas), abs(self.correct_sigmas)) <= SIGMAS \
            and self.judged == self.succeeded


def _image(text):
    assembly = assemble(text)
    return Image.from_assembly(assembly, prove(assembly))


def _plan(protocol, opens_ns):
    """Channel plan: a window for each excitation, and a pattern for each way to succeed."""
    width = (_BEFORE_PS + _AFTER_PS) // 1000
    plan = {
        "format": "quantacore-herald-1", "name": protocol,
        "detectors": {"c": {"input": 0}, "d": {"input": 1}},
        "windows": {name: {"from": f"{at}ns", "to": f"{at + width}ns"}
                    for name, at in zip(("early", "late"), opens_ns, strict=False)},
    }
    if protocol == "single-click":
        patterns = {"c": ["c.early"], "d": ["d.early"]}
    else:
        patterns = {f"{one}{other}": [f"{one}.early", f"{other}.late"]
                    for one in "cd" for other in "cd"}
    plan["patterns"] = {name: {"must": cells, "others": "veto", "code": code}
                        for code, (name, cells) in enumerate(patterns.items())}
    return plan


class Bench:
    """A star of nodes, connected, with the programs and windows of a protocol.

    ::

        async with Bench(star) as bench:
            await bench.configure("two-click")
            point = await bench.measure(attempts=10_000)

    Parameters
    ----------
    star : HeraldingStar
        From :mod:`quantacore.sim.node.heralding`.
    """

    def __init__(self, star):
        self.star = star
        self.nodes = {}
        self.protocol = None

    async def __aenter__(self):
        for name in self.star.names:
            self.nodes[name] = await Node.connect(self.star.network.transport(name))
        for node in self.nodes.values():
            await node.sequencer.configure_ttl(fast=range(3))
        return self

    async def __aexit__(self, *exception):
        for node in self.nodes.values():
            await node.close()

    def _windows_ns(self):
        """When windows open, counted from the start of the attempt at the station."""
        # The station's SET and ARM are issued in ticks 0 and 1; the emitter's node sees its line,
        # and issues its own SETs TRIGGER_TICKS later: prepare, then excite.
        start = 1 + ARM_TICKS
        excite = TTL_LATENCY + self.star.fibre_ticks + TRIGGER_TICKS + 1 + TTL_LATENCY
        tick_ps = int(self.nodes["station"].identity.tick_ps)
        photon_ps = (excite - start) * tick_ps + self.star.flight_ps
        # Even nanoseconds, so that every node has samples there.
        first = (photon_ps - _BEFORE_PS) // 2000 * 2
        self._before_ps = photon_ps - first * 1000
        return first, first + _SPACING_TICKS * tick_ps // 1000

    async def configure(self, protocol):
        """Load windows, patterns and programs of a protocol into the nodes."""
        if protocol not in PROTOCOLS:
            raise ValueError(f"Protocols are {' and '.join(PROTOCOLS)}, not {protocol!r}")
        two = protocol == "two-click"
        opens = self._windows_ns()[:1 + two]
        station = self.nodes["station"]
        compiled = await station.herald.configure(_plan(protocol, opens))
        windows = 0b11 if two else 0b01
        # The BRH is issued three ticks after the first SET; the verdict comes so long after it.
        patience = 1 + ARM_TICKS + compiled.decide_ticks(windows) - 3
        await station.sequencer.load(_image(_STATION.format(windows=windows, patience=patience)))
        emitter = _image(_EMITTER.format(
            wait=f" for {_SPACING_TICKS - 1}" if two else "", again=_AGAIN if two else ""))
        for name in self.star.names[:2]:
            await self.nodes[name].sequencer.load(emitter)
        self.protocol = protocol

    def _set(self, setting):
        if self.protocol == "single-click":
            self.star.set(bright=setting)
        else:
            self.star.set(bright=0.5, open=(setting, setting))

    def expected(self, setting):
        """The closed form for a setting, as :meth:`measure` takes it."""
        self._set(setting)
        return self.star.expected(self.protocol, before_ps=self._before_ps,
                                  after_ps=_BEFORE_PS + _AFTER_PS - self._before_ps)

    async def measure(self, attempts, setting=None, *, progress=None):
        """Make attempts, and compare.

        Parameters
        ----------
        attempts : int
        setting : float, optional
            Single-click: population of the emitters' bright state (0.5). Two-click: what the
            attenuators of both arms let through (1).
        progress : callable, optional
            Called with the number of attempts made.

        Returns
        -------
        Point
        """
        star, station = self.star, self.nodes["station"]
        if setting is None:
            setting = 0.5 if self.protocol == "single-click" else 1.0
        expected = self.expected(setting)
        await station.herald.clear()
        begun = time.perf_counter()
        for name in (*star.names[:2], "station"):
            self.nodes[name].sequencer.set(attempts=attempts)
            await self.nodes[name].sequencer.start()
        while await station.sequencer.running():
            star.network.advance(_STEP_TICKS)
            if progress is not None:
                progress((await station.herald.status()).attempt)
        results = {name: await self.nodes[name].sequencer.wait() for name in star.names}
        wall = time.perf_counter() - begun
        for result in results.values():
            result.check()
        counts = await station.herald.counts()
        won = await station.sequencer.data(5)
        if any(result.halt_code != 1 for result in results.values()) \
                or counts.attempts != attempts or won != counts.succeeded:
            raise RuntimeError(
                f"The nodes do not agree: programs ended with "
                f"{', '.join(f'{name} {result.halt_code}' for name, result in results.items())}; "
                f"of {attempts} attempts the herald unit counts {counts.attempts}, and "
                f"{counts.succeeded} successes, the program {won}")
        judged, correct = star.judged
        return Point(protocol=self.protocol, setting=setting, attempts=attempts,
                     succeeded=counts.succeeded, judged=judged, correct=correct,
                     probability=expected["probability"], correct_fraction=expected["correct"],
                     fidelity=expected["fidelity"],
                     ticks=results["station"].stopped - results["station"].started, wall_s=wall)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What :func:`scan` measured.

    ``points`` has every :class:`Point`; ``curves`` the closed form of each protocol as
    ``(settings, probabilities)``; ``cpu_s`` the processor time that the attempts took.
    """

    points: list
    curves: dict
    cpu_s: float

    def of(self, protocol):
        """The points of a protocol."""
        return [point for point in self.points if point.protocol == protocol]

    @property
    def attempts(self):
        return sum(point.attempts for point in self.points)

    def total(self, protocol):
        """``(succeeded, expected, standard deviation)`` of all points of a protocol together."""
        points = self.of(protocol)
        return (sum(p.succeeded for p in points), sum(p.probability * p.attempts for p in points),
                math.sqrt(sum((p.error * p.attempts) ** 2 for p in points)))


async def scan(star, *, single=(0.1, 0.2, 0.35, 0.5), two=(0.4, 0.7, 1.0), attempts=3000,
               progress=None):
    """Both protocols over a range of settings.

    Parameters
    ----------
    star : HeraldingStar
    single : sequence of float
        Populations of the bright state for the single-click protocol.
    two : sequence of float
        Parts that the attenuators let through for the two-click protocol.
    attempts : int
        For each point.
    progress : callable, optional
        Called with (points done, points in all).

    Returns
    -------
    Scan
    """
    points, curves, cpu = [], {}, 0.0
    async with Bench(star) as bench:
        for protocol, settings in zip(PROTOCOLS, (single, two), strict=True):
            await bench.configure(protocol)
            for setting in settings:
                if progress is not None:
                    progress(len(points), len(single) + len(two))
                begun = time.process_time()
                points.append(await bench.measure(attempts, setting))
                cpu += time.process_time() - begun
            fine = np.linspace(0, max(settings), 61)
            curves[protocol] = fine, np.array([bench.expected(x)["probability"] for x in fine])
    return Scan(points=points, curves=curves, cpu_s=cpu)


_AXES = {"single-click": "population of the bright state", "two-click": "attenuators let through"}


def add_section(report, result):
    """Put what :func:`scan` measured into a report: figures, a table, and a check for each
    protocol.

    Parameters
    ----------
    report : Report
    result : Scan
    """
    figures = []
    for protocol in PROTOCOLS:
        points = result.of(protocol)
        if not points:
            continue
        succeeded, expected, deviation = result.total(protocol)
        off = (succeeded - expected) / deviation
        report.checks.append(Check(
            name=f"{protocol.capitalize()} entanglement: successes within {SIGMAS} σ of the "
                 f"closed form", passed=abs(off) <= SIGMAS, got=succeeded,
            expected=f"{expected:.1f} ± {deviation:.1f}",
            note=f"{off:+.2f} σ, {sum(p.attempts for p in points)} attempts at {len(points)} "
                 f"settings"))
        report.checks.append(Check(
            name=f"{protocol.capitalize()} entanglement: nodes, programs and photon model count "
                 f"the same successes", passed=all(p.judged == p.succeeded for p in points),
            got=sum(p.judged for p in points), expected=succeeded))
        settings, curve = result.curves[protocol]
        figure = Figure(f"Success probability, {protocol}", x_label=_AXES[protocol],
                        y_label="P", height=240)
        figure.line(settings, curve, "closed form", colour=1)
        figure.points([p.setting for p in points], [p.measured for p in points], "three nodes",
                      error=[p.error for p in points])
        figures.append(figure)
    report.figure(
        "Heralded entanglement", *figures,
        caption="Two emitters' nodes and a station, all gateware, with photons drawn from a "
                "statistical model. Bars are standard deviations by the closed form: Cabrillo et "
                "al. 1999 and Bose et al. 1999 (single-click), Barrett and Kok 2005 (two-click), "
                "with losses, dark counts, windows and detectors that do not count photons.")
    report.table("Attempts at entanglement", [
        (p.protocol, p.setting, p.attempts, p.succeeded, f"{p.measured:.4f}",
         f"{p.probability:.4f} ± {p.error:.4f}", f"{p.sigmas:+.2f} σ",
         f"{p.correct / p.judged:.3f}" if p.judged else "", f"{p.correct_fraction:.3f}",
         f"{p.fidelity:.3f}") for p in result.points],
        headings=("protocol", "setting", "attempts", "successes", "P", "closed form", "off",
                  "states differ", "closed form", "fidelity (closed form)"), wide=True,
        caption=f"{result.attempts / max(result.cpu_s, 1e-9):.0f} attempts per second of "
                f"processor time, three nodes in one process; "
                f"{sum(p.ticks for p in result.points) / result.attempts:.0f} ticks an attempt.")
    return report
