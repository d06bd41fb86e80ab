"""Heralded entanglement in a closed loop: three nodes, two protocols, and the textbook beside them.

Two nodes work an emitter each, a third, the station, has the detectors behind the beam splitter.
The emitters' nodes follow the station: it triggers each attempt when all are ready, its herald unit
looks for a pattern of clicks, and the programs of all three branch on its verdict. The nodes are
virtual ones with a
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
from quantacore.gateware.layouts.instructions import TRIGGER_TICKS
from quantacore.gateware.layouts.peer import follower_ticks
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
_STEP_TICKS = 1 << 14

#: Code of an attempt that failed.
_FAILED = 11
#: Input on which followers see an attempt begin.
_TRIGGER_LINE = 7
#: Looks at the peers until they are up.
_PATIENCE = 200

_OUTCOMES = f"""
.table outcomes, words=2
.case 0, 1, 2, 3
        jmp success
.case {_FAILED}
        jmp failed
.default
        jmp odd
.endt
"""

_STATION = """
.name "station"
.param attempts r1 in 1..100000000 = 1000
.reg won r5
    li won, 0
    loop attempts
        arm {windows:#06b}
        brh r3, outcomes, 10ms
{outcomes}
odd:    jmp over
success:
        set 1, 1                        ; the emitters are entangled now
        add won, won, 1
        set 1, 0
failed: nop
    end
    halt 1
over:
    halt 2
"""

_EMITTER = """
.name "emitter"
.param attempts r1 in 1..100000000 = 1000
.reg won r5
    li won, 0
    loop attempts
        arm {windows:#06b}
        waittrig r4, rise, {trigger:#010b}, 10ms, else odd
        set 0b111, 0b001                ; prepare
        set 0b111, 0b010{wait}          ; excite
{again}        set 0b111, 0
        brh r3, outcomes, 10ms
{outcomes}
odd:    jmp over
success:
        add won, won, 1
failed: nop
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


def _plan(protocol, opens_ns, role):
    """Channel plan: a window for each excitation, and a pattern for each way to succeed."""
    width = (_BEFORE_PS + _AFTER_PS) // 1000
    plan = {
        "format": "quantacore-herald-1", "name": f"{protocol}, {role}", "role": role,
        "peers": {"ports": [0, 1] if role == "station" else [0]}, "codes": {"failed": _FAILED},
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
    if role == "follower":
        plan["trigger_line"] = _TRIGGER_LINE
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
        self.lanes = (await self.nodes["station"].regs.peers.sizes.read()).lanes
        return self

    async def __aexit__(self, *exception):
        for node in self.nodes.values():
            await node.close()

    def _windows_ns(self):
        """When windows open, counted from the start of the attempt at the station."""
        # A follower sees its start in the tick of it, and issues its SETs TRIGGER_TICKS later:
        # prepare, then excite.
        lanes = self.lanes
        excite = follower_ticks(lanes) + self.star.fibre_ticks + TRIGGER_TICKS + 1 + TTL_LATENCY
        tick_ps = int(self.nodes["station"].identity.tick_ps)
        photon_ps = excite * tick_ps + self.star.flight_ps
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
        windows = 0b11 if two else 0b01
        emitter = _image(_EMITTER.format(
            windows=windows, trigger=1 << _TRIGGER_LINE, outcomes=_OUTCOMES,
            wait=f" for {_SPACING_TICKS - 1}" if two else "", again=_AGAIN if two else ""))
        station = _image(_STATION.format(windows=windows, outcomes=_OUTCOMES))
        for name, node in self.nodes.items():
            leads = name == "station"
            await node.herald.configure(_plan(protocol, opens, "station" if leads else "follower"))
            await node.sequencer.load(station if leads else emitter)
        for _ in range(_PATIENCE):
            ports = [port for node in self.nodes.values() for port in await node.peers.ports()]
            if all(port.up for port in ports if port.enabled):
                break
            self.star.network.advance(_STEP_TICKS)
        else:
            raise RuntimeError("The nodes do not find each other")
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
        before = {name: await node.herald.counts() for name, node in self.nodes.items()}
        begun = time.perf_counter()
        for name in star.names:
            self.nodes[name].sequencer.set(attempts=attempts)
            await self.nodes[name].sequencer.start()
        while await station.sequencer.running():
            star.network.advance(_STEP_TICKS)
            if progress is not None:
                progress((await station.herald.status()).attempt)
        results = {name: await self.nodes[name].sequencer.wait() for name in star.names}
        shared = {name: await node.peers.counts() for name, node in self.nodes.items()}
        wall = time.perf_counter() - begun
        sides = {}
        for name, result in results.items():
            result.check()
            counts = await self.nodes[name].herald.counts()
            sides[name] = (result.halt_code, counts.attempts - before[name].attempts,
                           counts.succeeded - before[name].succeeded,
                           await self.nodes[name].sequencer.data(5))
        _, _, succeeded, _ = sides["station"]
        if set(sides.values()) != {(1, attempts, succeeded, succeeded)}:
            raise RuntimeError(
                f"The nodes do not agree after {attempts} attempts; each one's halt code, "
                f"attempts, successes, and successes by its program: {sides}")
        for port, name in enumerate(star.names[:2]):
            if not shared["station"].agrees(shared[name], port):
                raise RuntimeError(f"The station and {name} do not agree which attempts they made "
                                   f"together: {shared['station']}, {shared[name]}")
        judged, correct = star.judged
        return Point(protocol=self.protocol, setting=setting, attempts=attempts,
                     succeeded=succeeded, judged=judged, correct=correct,
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


async def scan(star, *, single=(0.1, 0.2, 0.35, 0.5), two=(0.4, 0.7, 1.0), attempts=2000,
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
