"""Photonic switches on a virtual node: monitors that follow, and one that doesn't."""

from quantacore.host import sync
from quantacore.host.driver.switches import RoutePlan, RouteState

NODE = "virtual:?channels=1&samples=1&fine=no&train=no&switches=2"
PLAN = RoutePlan.from_dict({
    "routes": {
        "0": {"drives": [100, 40_000], "settle_s": 2e-6, "alternate": 1,
              "monitors": {"0": [90, 110], "1": [39_000, 41_000]}},
        "1": {"drives": [5_000, 0], "settle_s": 2e-6, "monitors": {"0": [4_900, 5_100]}}},
    "safe": [0, 0], "timeout_s": 20e-6, "debounce_s": 8e-7})


def engine(node, function):
    """Call a function of the engine between two ticks."""
    return node._worker.call(node._driver.client.transport.call, function)


def test_a_route_holds_when_its_monitors_say_so():
    with sync.connect(NODE) as node:
        node.switches.apply(PLAN)
        node.switches.enable()
        for route in (0, 1, 0):
            report = node.switches.select(route)
            assert (report.state, report.route) == (RouteState.HOLDING, route)
            assert not report.failed_over
            assert list(node.switches.drives()) == list(PLAN.routes[route].drives)
            assert list(node.switches.monitors()) == list(PLAN.routes[route].drives)
        assert not node.switches.flags()


def test_a_stuck_switch_gives_way_to_the_alternate():
    with sync.connect(NODE) as node:
        node.switches.apply(PLAN)
        node.switches.enable()
        node.switches.select(0)
        # The second switch loses its light while its route holds.
        engine(node, lambda engine: engine.set_pin("monitors__1", 77))
        engine(node, lambda engine: engine.advance(10_000))
        status = node.switches.status()
        assert (status.state, status.route) == (RouteState.HOLDING, 1)
        assert set(node.switches.flags()) == {"stuck_1", "failed_over"}
