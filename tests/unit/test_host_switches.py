"""The driver of the switches and its commands, over golden switches and a plant."""

import json
import math

import pytest
from click.testing import CliRunner

from quantacore.gateware.layouts.switches import CHANGE_TICKS, Refusal, RouteState
from quantacore.host.driver import node as node_module
from quantacore.host.driver.errors import AchievedValueWarning
from quantacore.host.driver.switches import (
    Route,
    RouteLoadError,
    RoutePlan,
    RoutePlanError,
    RouteRefusedError,
    RouteUnknownError,
    StillSettlingError,
    SwitchesMissingError,
    SwitchStuckError,
)
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.bench.golden_switches import GoldenSwitchesEndpoint
from quantacore.sim.photonics.switches import MachZehnder, Ring, SwitchPlant

TICK_S = 8e-9


def plant():
    return SwitchPlant([MachZehnder(time_constant_ticks=40), Ring(time_constant_ticks=40),
                        MachZehnder(time_constant_ticks=0)])


def route(plant, drives, *, alternate=None, used=(0, 1, 2)):
    return Route(drives=tuple(drives), alternate=alternate, settle_s=400 * TICK_S,
                 monitors={k: plant.range_for(k, drives[k], 1000) for k in used})


def routes(plant):
    """Two that stand in for each other, and one that stands alone."""
    return {0: route(plant, (0, 32768, 0), alternate=1),
            1: route(plant, (32768, 0, 0), alternate=0, used=(1, 2)),
            2: route(plant, (32768, 32768, 32768))}


def on_switches(scenario, *, load=True):
    devices = plant()

    async def main():
        port = GoldenTransport(GoldenSwitchesEndpoint(devices))
        async with await node_module.Node.connect(port) as node:
            driver = node.switches
            if load:
                for number, each in routes(devices).items():
                    await driver.load(number, each)
                await driver.configure(timeout_s=100 * TICK_S, debounce_s=10 * TICK_S,
                                       safe=(1, 2, 3))
                await driver.enable()
            return await scenario(driver, port.endpoint)

    return run_in_simulated_time(main())


def test_what_there_is():
    async def scenario(driver, golden):
        info = await driver.info()
        assert (info.switches, info.routes, info.drive_bits, info.monitor_bits) == (3, 16, 16, 16)
        report = await driver.status()
        assert report.state is RouteState.OFF and report.route is None and not report.settling
        assert await driver.routes() == {}
        assert await driver.drives() == [0, 0, 0]

    on_switches(scenario, load=False)


def test_a_node_without_switches_says_so():
    async def scenario(driver, golden):
        golden.set("switches.sizes", 0)
        with pytest.raises(SwitchesMissingError, match=r"NodeConfig\(switches=8\)"):
            await driver.status()

    on_switches(scenario, load=False)


def test_routes_come_back_as_they_were_loaded():
    async def scenario(driver, golden):
        loaded = await driver.routes()
        for number, each in routes(plant()).items():
            assert loaded[number].settle_s == pytest.approx(each.settle_s)
            assert (loaded[number].drives, loaded[number].monitors, loaded[number].alternate) == (
                each.drives, each.monitors, each.alternate)
        await driver.forget(1)
        assert set(await driver.routes()) == {0, 2}

    on_switches(scenario)


def test_a_word_that_comes_wrong_is_found():
    async def scenario(driver, golden):
        store = golden.table.word
        golden.table.word = lambda word: store(word ^ 4)
        with pytest.raises(RouteLoadError, match=r"Word 0 of route 5 came as 0x0 and reads 0x4"):
            await driver.load(5, route(golden.plant, (0, 0, 0)))
        assert 5 not in golden.table.routes

    on_switches(scenario)


@pytest.mark.parametrize(("change", "text"), [
    ({"drives": (0, 0)}, "a drive code for each of 3 switches, not 2"),
    ({"drives": (0, 0, 65536)}, "drive code of switch 2 must be 0 to 65535, not 65536"),
    ({"drives": (0, 0, 1.5)}, "not 1.5"),
    ({"monitors": {3: (0, 1)}}, "number of a monitor's switch must be 0 to 2, not 3"),
    ({"monitors": {0: (5, 4)}}, "monitor 0 can't be at least 5 and at most 4"),
    ({"monitors": {0: 5}}, "monitor 0 needs a lowest and a highest reading, not 5"),
    ({"alternate": 16}, "alternate must be 0 to 15, not 16"),
    ({"alternate": 4}, "Route 4 is its own alternate"),
])
def test_a_route_that_can_not_be(change, text):
    async def scenario(driver, golden):
        fields = {"drives": (0, 0, 0), "monitors": {}, "settle_s": 0} | change
        with pytest.raises(RoutePlanError, match=text):
            await driver.load(4, Route(**fields))
        assert golden.table.loading is None

    on_switches(scenario, load=False)


def test_times_are_rounded_with_a_warning():
    async def scenario(driver, golden):
        with pytest.warns(AchievedValueWarning, match="Debounce"):
            await driver.configure(debounce_s=12e-9)
        with pytest.raises(ValueError, match="Time-out must be"):
            await driver.configure(timeout_s=100)
        with pytest.raises(RoutePlanError, match="each of 3 switches, not 1"):
            await driver.configure(safe=(1,))

    on_switches(scenario, load=False)


def test_select_waits_until_the_route_holds():
    async def scenario(driver, golden):
        assert (await driver.status()).settling
        seen = []
        report = await driver.select(0, progress=seen.append)
        assert report.state is RouteState.HOLDING and report.route == 0 and not report.failed_over
        assert not report.settling and report.out_of_range == ()
        assert seen[0].state is RouteState.SETTLING
        assert await driver.drives() == [0, 32768, 0]
        counters = await driver.counters()
        assert (counters.requests, counters.changes, counters.refused) == (1, 1, 0)
        assert 400 * TICK_S < counters.settle_last_s == counters.settle_max_s < 500 * TICK_S
        await driver.clear_counts()
        assert (await driver.counters()).requests == 0

    on_switches(scenario)


def test_a_stuck_switch_fails_over():
    async def scenario(driver, golden):
        await driver.select(2)
        golden.plant.stick(0)
        # The alternate does not use switch 0.
        report = await driver.select(0)
        assert report.failed_over and (report.route, report.requested) == (1, 0)
        flags = await driver.flags()
        assert set(flags) == {"stuck_0", "failed_over"} and flags["stuck_0"][0] == 1
        await driver.clear_flags()
        assert await driver.flags() == {}

    on_switches(scenario)


def test_no_way_out_is_an_error_that_names_the_switch():
    async def scenario(driver, golden):
        await driver.select(2)
        golden.plant.stick(2)
        with pytest.raises(SwitchStuckError, match="Route 0 does not hold.*stuck_2"):
            await driver.select(0)
        assert await driver.drives() == [1, 2, 3]
        with pytest.raises(RouteRefusedError, match="clear"):
            await driver.select(2)
        golden.plant.release(2)
        await driver.clear()
        assert (await driver.select(2)).route == 2

    on_switches(scenario)


def test_a_fault_holds_the_drives_if_it_is_to():
    async def scenario(driver, golden):
        await driver.enable(failover=False, hold=True)
        golden.plant.stick(1)
        with pytest.raises(SwitchStuckError):
            await driver.select(0)
        assert await driver.drives() == [0, 32768, 0]
        await driver.park()
        assert await driver.drives() == [1, 2, 3]
        assert (await driver.status()).state is RouteState.IDLE

    on_switches(scenario)


def test_requests_that_can_not_be():
    async def scenario(driver, golden):
        with pytest.raises(RouteUnknownError, match="no route 7; it has 0, 1, 2"):
            await driver.select(7)
        golden.emergency = True
        with pytest.raises(RouteRefusedError, match="emergency"):
            await driver.select(0)
        golden.emergency = False
        assert await driver.drives() == [1, 2, 3]
        await driver.disable()
        with pytest.raises(RouteRefusedError, match="off"):
            await driver.select(0)
        assert (await driver.counters()).requests == 0

    on_switches(scenario)


def test_a_route_that_is_slow():
    async def scenario(driver, golden):
        await driver.configure(timeout_s=1)
        golden.plant.stick(1)
        with pytest.raises(StillSettlingError, match="out of range: 1"):
            await driver.select(0, limit_s=4000 * TICK_S)

    on_switches(scenario)


def test_a_request_at_a_tick():
    async def scenario(driver, golden):
        at = golden.tick + 5000
        await driver.request_at(2, at)
        assert (await driver.status()).armed
        golden.step(at + CHANGE_TICKS - 2 - golden.tick)
        assert golden.unit.drives == (0, 0, 0)
        golden.step(1)
        assert golden.unit.drives == (32768, 32768, 32768)
        await driver.request_at(0, golden.tick - 1)
        counters = await driver.counters()
        assert counters.refused_last == (0, Refusal.LATE)
        assert "late" in await driver.flags()
        await driver.request_at(0, golden.tick + 100_000)
        await driver.disarm()
        assert not (await driver.status()).armed

    on_switches(scenario)


# Plans.

PLAN = {
    "routes": {
        "0": {"drives": [0, 32768, 0], "monitors": {"0": [0, 1400], "1": [59000, 61000]},
              "settle_s": 4e-6, "alternate": 1, "comment": "straight"},
        "1": {"drives": [32768, 0, 0], "settle_s": 4e-6}},
    "safe": [7, 8, 9], "timeout_s": 1e-6, "debounce_s": 8e-8}


def test_a_plan_is_read_and_applied(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))

    async def scenario(driver, golden):
        await driver.apply(RoutePlan.read(path))
        assert set(golden.table.routes) == {0, 1}
        assert golden.unit.safe == [7, 8, 9] and golden.unit.timeout == 125
        await driver.enable()
        assert (await driver.select(0)).route == 0

    on_switches(scenario, load=False)


def changed(**changes):
    plan = json.loads(json.dumps(PLAN))
    plan["routes"]["0"].update(changes)
    return plan


@pytest.mark.parametrize(("plan", "text"), [
    ([], "The plan must be an object"),
    ({}, "The plan has no 'routes'"),
    (PLAN | {"colour": 1}, "The plan can't have 'colour'; it has routes, safe"),
    (PLAN | {"routes": {"16": {}}}, "A route must be 0 to 15, not 16"),
    (PLAN | {"routes": {"left": {}}}, "A route has a number as its name, not 'left'"),
    (PLAN | {"safe": 3}, "safe must be a list"),
    (PLAN | {"timeout_s": "1us"}, "timeout_s must be a time in seconds, not '1us'"),
    (PLAN | {"timeout_s": math.inf}, "timeout_s must be a time in seconds, not inf"),
    (changed(drives=5), "Route 0: drives must be a list"),
    (changed(settle_s=None), "Route 0: settle_s must be a time in seconds"),
    (changed(alternate=3), "route 3 for its alternate, and the plan has no such route"),
    (changed(monitors={"0": [1]}), "monitor 0 needs a lowest and a highest"),
    (changed(monitors={"9": [1, 2]}), "Route 0: a monitor must be 0 to 7, not 9"),
])
def test_a_plan_that_can_not_be(tmp_path, plan, text):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    with pytest.raises(RoutePlanError, match=text) as caught:
        RoutePlan.read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(("plan", "text"), [
    (PLAN | {"safe": [7, 8]}, "a safe code for each of 3 switches, not 2"),
    (PLAN | {"timeout_s": 60}, "Time-out must be 0 to 34.3597 s, not 60 s"),
    (changed(settle_s=60), "Settle time of route 0 must be"),
    (changed(drives=[1]), "Route 0: number of a monitor's switch must be"),
])
def test_a_plan_that_this_build_can_not_have_sends_nothing(plan, text):
    async def scenario(driver, golden):
        with pytest.raises(RoutePlanError, match=text):
            await driver.apply(RoutePlan.from_dict(plan))
        assert golden.table.routes == {} and golden.unit.timeout == 125_000

    on_switches(scenario, load=False)


def test_a_plan_that_is_no_json(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("{")
    with pytest.raises(RoutePlanError, match="is no JSON"):
        RoutePlan.read(path)


# Commands.

@pytest.fixture
def command(monkeypatch):
    """Run ``quantacore switch ...`` on golden switches that stay from one call to the next."""
    from quantacore.host.cli import quantacore

    golden = GoldenSwitchesEndpoint(plant())

    def connect(transport, record=None):
        golden.session = 0  # its lease would not run out: little time passes
        return GoldenTransport(golden)

    monkeypatch.setattr(node_module, "open_transport", connect)

    def run(*arguments, code=0):
        result = CliRunner().invoke(quantacore, ["switch", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    return run, golden


def test_commands_from_a_plan_to_a_route(command, tmp_path):
    run, golden = command
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    assert "2 routes" in run("load", path, "--enable")
    text = run("routes")
    assert "32 768" in text and "59 000 to 61 000" in text
    assert "HOLDING" in run("select", 0)
    text = run("status")
    assert "Route 0" in text and "Settled last in" in text
    found = json.loads(run("status", "--json"))
    assert found["state"] == "HOLDING" and found["route"] == 0
    assert found["drives"] == [0, 32768, 0] and found["counters"]["requests"] == 1
    golden.plant.stick(1)
    golden.plant.positions[1] = 0.0
    text = run("status")
    assert "failed_over" in text and "stuck_1" in text
    assert "in place of 0" in text
    run("clear", "--flags")
    assert "stuck_1" not in run("status")
    assert "IDLE" in run("park")
    assert "OFF" in run("off")


def test_commands_say_what_is_wrong(command, tmp_path):
    run, _ = command
    assert "use enable() first" in run("select", 0, code=1)
    assert "can't have 'colour'" in _bad_plan(run, tmp_path)
    assert "does not exist" in run("load", tmp_path / "none.json", code=2)
    assert "Examples:" in run("--help") and "Examples:" in run("select", "--help")


def _bad_plan(run, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(PLAN | {"colour": 1}))
    return run("load", path, code=1)


def test_a_route_at_a_time_from_the_command_line(command, tmp_path):
    run, golden = command
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    run("load", path, "--enable")
    text = run("select", 1, "--after", 1e-3)
    assert "armed for tick" in text.lower()
