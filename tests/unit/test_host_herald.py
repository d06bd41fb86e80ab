"""The herald unit's driver, over a golden node with a golden herald unit."""

import dataclasses
import warnings

import numpy as np
import pytest

import quantacore.host.sync
from quantacore.gateware.layouts.herald import (
    AttemptRecord,
    HeraldFlags,
    HeraldRecord,
    HeraldRecordKind,
    HeraldTable,
    Outcome,
    count_index,
)
from quantacore.gateware.layouts.peer import PeerStatus
from quantacore.gateware.layouts.switches import RouteState
from quantacore.gateware.layouts.virtual import VirtualFlags
from quantacore.host.driver import herald as driver
from quantacore.host.driver import virtual as virtual_driver
from quantacore.host.driver.errors import AchievedValueWarning
from quantacore.host.driver.herald import (
    FLAG_ERRORS,
    HeraldBusyError,
    HeraldError,
    HeraldMissingError,
    HeraldRates,
    PlanWarning,
    TableBusyError,
    TablesDifferError,
)
from quantacore.host.driver.node import Node
from quantacore.host.driver.peers import PeerSilentError, PeersMissingError
from quantacore.host.driver.switches import SwitchStuckError
from quantacore.host.herald.plan import PlanError, read_plan
from quantacore.host.herald.records import (
    Verdicts,
    VerdictState,
    decode_verdicts,
    split_verdicts,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.golden_herald import GoldenHeraldEndpoint, GoldenSwitchedEndpoint
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.golden.endpoint import GoldenEndpoint
from quantacore.sim.photonics.switches import MachZehnder, SwitchPlant

#: Cells of the plan "entangle".
EARLY_C, LATE_C, EARLY_D, LATE_D = 1 << 0, 1 << 1, 1 << 4, 1 << 5


def on_herald(scenario, *, endpoint=GoldenHeraldEndpoint, **options):
    async def main():
        golden = GoldenTransport(endpoint(**options))
        async with await Node.connect(golden) as node:
            return await scenario(node.herald, golden.endpoint)

    return run_in_simulated_time(main())


def verdict(number, clicked=0, outcome=Outcome.SUCCESS, pattern=0, lost=0):
    return HeraldRecord.const({"clicked": clicked, "number": number & 0xFFFF, "pattern": pattern,
                               "outcome": outcome, "lost": lost,
                               "kind": HeraldRecordKind.HERALD}).as_bits()


def attempt(number):
    return AttemptRecord.const({"number": number & 0x7FFFFF, "pause": number == 0,
                                "coarse": number & 0xFFFF,
                                "kind": HeraldRecordKind.ATTEMPT}).as_bits()


# Records.

def test_verdicts_to_columns():
    records = np.array([5, verdict(1, 0x80000001, pattern=3), attempt(0), attempt(2), 1 << 60,
                        verdict(2, 0, Outcome.VOID, lost=15)], np.uint64)
    others, ours = split_verdicts(records)
    assert len(others) == 4 and len(ours) == 2
    found = decode_verdicts(records)
    assert found.attempts.tolist() == [1, 2] and found.patterns.tolist() == [3, 0]
    assert found.clicked.tolist() == [0x80000001, 0] and found.lost.tolist() == [0, 15]
    assert found.outcomes.tolist() == [0, 2]
    assert len(found.successes()) == 1
    assert len(Verdicts.join([])) == 0 and len(Verdicts.join([found, found])) == 4
    assert len(decode_verdicts(np.array([], np.uint64))) == 0


def test_matrix():
    records = [verdict(k, c, pattern=p) for k, (c, p) in enumerate(
        [(1, 0), (3, 0), (1 << 31, 15), (7, 2)], 1)] + [verdict(9, 1, Outcome.FAILED)]
    matrix, totals = decode_verdicts(np.array(records, np.uint64)).matrix()
    assert matrix[0, :3].tolist() == [2, 1, 0] and matrix[15, 31] == 1
    assert totals.tolist() == [2, 0, 1] + [0] * 12 + [1]
    assert matrix.sum() == 3 + 1 + 3


def test_numbers_of_attempts_go_on():
    """Numbers come out whole, however batches are cut and wherever nothing clicked for long."""
    seed = seed_from_environment()
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    start = int(rng.integers(0, 1 << 40))
    steps = rng.choice([1, 2, 5000, 60_000, 3_000_000, 8_000_000], 400)
    numbers = start + np.cumsum(steps)
    records, expected = [], []
    for number, step in zip(numbers.tolist(), steps.tolist(), strict=True):
        # After a long silence something clicked, so there is a record of the attempt.
        if step > 60_000 or rng.random() < 0.3:
            records.append(attempt(number))
        records.append(verdict(number))
        expected.append(number)
    records = np.array(records, np.uint64)
    state = VerdictState(start, started=True)
    found = [decode_verdicts(part, state).attempts for part in
             np.split(records, np.sort(rng.integers(0, len(records), 20)))]
    assert np.concatenate(found).tolist() == expected


def test_a_record_that_comes_late():
    records = np.array([verdict(k) for k in (70_000, 70_002, 70_001, 70_003)], np.uint64)
    assert decode_verdicts(records, VerdictState(70_000)).attempts.tolist() == [
        70_000, 70_002, 70_001, 70_003]
    # What waited in the node when the stream was opened is older than the register.
    assert decode_verdicts(records, VerdictState(70_010)).attempts[0] == 70_000


# Plans.

def test_a_node_without_a_herald_unit_says_so():
    async def main():
        async with await Node.connect(GoldenTransport(GoldenEndpoint())) as node:
            for ask in (node.herald.counts(), node.herald.configure("entangle"),
                        node.herald.status()):
                with pytest.raises(HeraldMissingError, match="herald=yes"):
                    await ask

    run_in_simulated_time(main())


def test_configure_writes_everything():
    async def scenario(herald, golden):
        compiled = await herald.configure("time_bin", verify=True)
        for table, words in compiled.tables.items():
            assert [golden.tables[table][k] for k in range(len(words))] == words
        assert golden.get("herald.dead_ticks", 3) == 6
        assert golden.get("herald.reinitialise_after") == 50
        assert golden.get("herald.saturation_clicks") == 200
        assert golden.get("herald.codes") == compiled.registers["codes"]
        status = await herald.status()
        assert status.enabled and status.refuses == () and not status.busy
        await herald.disable()
        assert (await herald.status()).refuses == ("off",)
        await herald.enable()
        assert (await herald.status()).enabled
        golden.tables[HeraldTable.COUNT][5] ^= 1
        with pytest.raises(TablesDifferError, match=r"COUNT\[5\] of the node is"):
            await herald.verify()

    on_herald(scenario)


def test_a_plan_that_does_not_fit_changes_nothing():
    async def scenario(herald, golden):
        await herald.configure("entangle")
        before = {table: dict(words) for table, words in golden.tables.items()}
        with pytest.raises(PlanError, match="this node has inputs 0 to 1, not 2"):
            await herald.configure("time_bin")
        assert golden.tables == before and (await herald.status()).enabled
        assert herald.compiled.plan.name == "entangle"

    on_herald(scenario, inputs=2)


def test_rounding_warns():
    plan = {**read_plan("entangle").source,
            "windows": {"early": {"from": "121ns", "to": "320ns"},
                        "late": {"from": "736ns", "to": "1us"}}}

    async def scenario(herald, golden):
        with pytest.warns(PlanWarning, match="'from' of early is 120 ns instead of 121 ns"):
            await herald.configure(plan)
        assert golden.tables[HeraldTable.OPEN][0] == 120

    on_herald(scenario, samples=1)


def test_configure_waits_for_an_attempt():
    async def scenario(herald, golden):
        golden.busy = True
        with pytest.raises(HeraldBusyError, match="stop the program, or abort"):
            await herald.configure("entangle")
        assert (await herald.status()).refuses == ("off",)
        await herald.abort()
        await herald.configure("entangle")

    on_herald(scenario)


def test_refused_table_words_are_told(monkeypatch):
    async def scenario(herald, golden):
        async def not_idle():
            golden.busy = True

        monkeypatch.setattr(herald, "_idle", not_idle)
        with pytest.raises(TableBusyError, match="an attempt was in progress"):
            await herald.configure("entangle")
        with pytest.raises(HeraldError, match="No plan was loaded"):
            await herald.verify()

    on_herald(scenario)


# Attempts.

def test_counts_by_name():
    async def scenario(herald, golden):
        await herald.configure("entangle")
        assert golden.attempt(EARLY_C | LATE_D, 3) == 0
        assert golden.attempt(EARLY_D | LATE_D, 3) == 3
        assert golden.attempt(EARLY_D, 3) is None
        assert golden.attempt(EARLY_D | LATE_D, 1) is None  # without late
        golden.void("missing_reference")
        golden.void("aborted")
        counts = await herald.counts()
        assert (counts.attempts, counts.succeeded, counts.failed, counts.void) == (6, 2, 2, 2)
        assert counts.attempts == counts.succeeded + counts.failed + counts.void
        assert counts.probability == 0.5
        assert counts.patterns == {"minus_cd": 1, "minus_dc": 0, "plus_c": 0, "plus_d": 1}
        assert counts.cells == {"c.early": 1, "c.late": 0, "d.early": 3, "d.late": 3}
        assert counts.clicks == {"c": 1, "d": 6}
        assert await herald.clicked() == ["d.early", "d.late"]
        assert (await herald.status()).attempt == 6
        await herald.clear()
        assert (await herald.counts()).attempts == 0
        assert np.isnan((await herald.counts()).probability)

    on_herald(scenario)


def test_names_without_a_plan():
    async def scenario(herald, golden):
        counts = await herald.counts()
        assert list(counts.patterns)[3] == "pattern3" and list(counts.clicks)[7] == "input7"
        assert list(counts.cells)[5] == "input1.1" and len(counts.cells) == 32

    on_herald(scenario)


def test_wide_counts_are_of_one_moment():
    async def scenario(herald, golden):
        place = count_index(driver.HeraldCount.CLICK, 2)
        golden.counts[place] = (7 << 32) - 1
        reads = []
        get = golden.get

        def counting(name, index=0):
            # Grows between the reads of its low and its high word, the first time.
            if name == "herald.counts" and index == 2 * place + 1:
                reads.append(index)
                if len(reads) == 1:
                    golden.counts[place] += 1
            return get(name, index)

        golden.get = counting
        assert (await herald.counts()).clicks["input2"] == 7 << 32
        assert len(reads) == 2

    on_herald(scenario)


def test_counts_that_never_rest():
    async def scenario(herald, golden):
        get = golden.get

        def growing(name, index=0):
            if name == "herald.counts":
                golden.counts[0] += 1 << 32
            return get(name, index)

        golden.get = growing
        with pytest.raises(HeraldError, match="high words of counts change"):
            await herald.counts()

    on_herald(scenario)


def test_rates():
    async def scenario(herald, golden):
        await herald.configure("entangle")
        before = await herald.counts()
        for _ in range(3):
            golden.attempt(EARLY_C | LATE_D)
        golden.attempt(0)
        golden.tick = before.tick + 124_000
        rates, after = await herald.rates(before)
        assert rates.seconds == pytest.approx((after.tick - before.tick) * 8e-9)
        assert rates.attempts_hz == pytest.approx(4 / rates.seconds)
        assert rates.probability == 0.75
        assert rates.patterns["minus_cd"] == pytest.approx(3 / rates.seconds)
        assert rates.clicks["c"] == pytest.approx(3 / rates.seconds)
        still = HeraldRates.between(after, after, herald.units)
        assert still.attempts_hz == 0 and np.isnan(still.probability)
        rates, _ = await herald.rates()
        assert rates.attempts_hz == 0

    on_herald(scenario)


def test_saturation_is_shown():
    async def scenario(herald, golden):
        await herald.configure("entangle")
        golden.saturated = 2
        golden.raise_herald("saturated")
        status = await herald.status()
        assert status.saturated == ("d",) and status.refuses == ("saturated",)
        assert golden.attempt(EARLY_C) == 15  # the plan's code for refused
        assert (await herald.counts()).refused == 1
        with pytest.raises(driver.DetectorSaturatedError, match="1 times, first"):
            await herald.check_flags()

    on_herald(scenario)


@pytest.mark.parametrize("name", [name for name, _ in HeraldFlags.as_shape()])
def test_every_flag_has_its_error(name):
    async def scenario(herald, golden):
        await herald.check_flags()
        golden.raise_herald(name)
        with pytest.raises(FLAG_ERRORS[name], match=r"clear_flags\(\) forgets it"):
            await herald.check_flags()
        await herald.clear_flags(name)
        await herald.check_flags()

    on_herald(scenario)


def test_frame_and_run():
    async def scenario(herald, golden):
        await herald.configure("time_bin")
        golden.attempt(1 | 1 << 1)  # both in c1: plus_c, whose Pauli bits are 1
        assert (await herald.status()).frame == 1
        await herald.clear_frame()
        assert (await herald.status()).frame == 0
        await herald.new_run()

    on_herald(scenario)


def test_verdicts_stream():
    async def scenario(herald, golden):
        await herald.configure("entangle")
        golden.attempt(EARLY_C | LATE_C)  # before the stream was opened
        async with herald:
            golden.push_records([5])
            golden.attempt(EARLY_C | LATE_C)
            golden.attempt(EARLY_C | LATE_D)
            golden.attempt(0)
            golden.attempt(EARLY_D | LATE_D)
            found = await herald.verdicts()
            for _ in range(50):
                found = Verdicts.join([found, await herald.verdicts()])
            assert found.attempts.tolist() == [2, 3, 5]
            assert found.patterns.tolist() == [2, 0, 3]
            others = np.concatenate(herald.other_records)
            assert 5 in others.tolist()
            matrix, totals = found.matrix()
            assert totals[:4].tolist() == [1, 0, 1, 1] and matrix[2, :2].tolist() == [1, 1]
            assert len(await herald.verdicts()) == 0

    on_herald(scenario)


def test_verdicts_that_another_driver_read():
    async def scenario(herald, golden):
        await herald.configure("entangle")
        golden.set("herald.attempts", 1_000_000)
        golden.set("herald.attempt", 1_000_000)
        sequencer = herald.node.sequencer
        async with sequencer:
            await herald.follow()
            golden.attempt(EARLY_C | LATE_D)
            await sequencer.marks()
            for _ in range(50):
                await sequencer.marks()
            herald.feed(np.concatenate(sequencer.other_records))
        assert (await herald.verdicts()).attempts.tolist() == [1_000_001]

    on_herald(scenario)


# Photonic switches.

#: What a switch's monitor reads for its two drive codes.
BAR, CROSS = [0, 2000], [58000, 61000]
ROUTES = {"routes": {
    "0": {"drives": [0, 32768], "monitors": {"0": BAR, "1": CROSS}, "settle_s": 4e-6,
          "alternate": 1},
    "1": {"drives": [32768, 0], "monitors": {"0": CROSS}, "settle_s": 4e-6}},
    "timeout_s": 1e-6, "debounce_s": 8e-8}


def routed(route, routes=ROUTES):
    switches = {"route": route} if routes is None else {"route": route, "plan": routes}
    return {**read_plan("entangle").source, "switches": switches}


def on_switched(scenario):
    plant = SwitchPlant([MachZehnder(time_constant_ticks=40)] * 2)
    return on_herald(scenario, endpoint=GoldenSwitchedEndpoint, plant=plant)


def test_a_plan_takes_its_route():
    async def scenario(herald, golden):
        await herald.configure(routed(0))
        report = await herald.node.switches.status()
        assert report.state is RouteState.HOLDING and report.route == 0
        assert golden.unit.drives == (0, 32768) and golden.unit.timeout == 125
        assert (await herald.status()).refuses == ()
        assert golden.attempt(EARLY_C | LATE_D, 3) == 0
        await herald.configure(routed(1))
        assert golden.unit.drives == (32768, 0)

    on_switched(scenario)


def test_a_plan_takes_a_route_that_the_node_has():
    async def scenario(herald, golden):
        with pytest.raises(PlanError, match=r"\$.switches.route: the node has no route 1; it has "
                                            r"none: give the plan its \"plan\" of routes, or load"):
            await herald.configure(routed(1, None))
        assert golden.tables[HeraldTable.OPEN] == {} and not golden.unit.enable
        await herald.configure(routed(0))
        await herald.configure(routed(1, None))
        assert golden.unit.drives == (32768, 0)

    on_switched(scenario)


def test_switches_that_a_build_lacks():
    async def scenario(herald, golden):
        for plan in (routed(0), routed(0, None)):
            with pytest.raises(PlanError, match=r"\$.switches: this node was built without "
                                                r"photonic switches; build it with NodeConfig"):
                await herald.configure(plan)
        assert golden.tables[HeraldTable.OPEN] == {}

    on_herald(scenario)


def test_routes_for_other_switches():
    async def scenario(herald, golden):
        routes = {"routes": {"0": {"drives": [0, 0, 0], "settle_s": 0}}}
        with pytest.raises(PlanError, match=r"\$.switches.plan: Route 0 must have a drive code for "
                                            r"each of 2 switches, not 3"):
            await herald.configure(routed(0, routes))
        assert golden.tables[HeraldTable.OPEN] == {} and golden.table.routes == {}

    on_switched(scenario)


def test_a_route_that_does_not_hold_leaves_attempts_disabled():
    async def scenario(herald, golden):
        golden.plant.stick(0)
        golden.plant.stick(1)
        with pytest.raises(SwitchStuckError, match="Route 0 does not hold, and no alternate does"):
            await herald.configure(routed(0))
        assert set((await herald.status()).refuses) == {"off", "settling"}
        # With the switch repaired the plan is complete.
        golden.plant.release(0)
        golden.plant.release(1)
        await herald.node.switches.clear()
        await herald.node.switches.select(0)
        await herald.enable()
        await herald.verify()
        assert golden.attempt(EARLY_C | LATE_D, 3) == 0

    on_switched(scenario)


def test_an_alternate_that_takes_over_is_told():
    async def scenario(herald, golden):
        golden.plant.stick(1)
        with pytest.warns(PlanWarning, match=r"\$.switches.route: a switch of route 0 is stuck; "
                                             r"route 1 took over"):
            await herald.configure(routed(0))
        assert (await herald.status()).enabled

    on_switched(scenario)


def test_a_plan_without_a_route_leaves_switches_alone():
    async def scenario(herald, golden):
        await herald.configure(routed(0))
        await herald.configure("entangle")
        assert golden.unit.counts.requests == 1 and golden.unit.enable

    on_switched(scenario)


# Peers and virtual channels.

STATION = {**read_plan("entangle").source, "role": "station",
           "peers": {"ports": [1], "start_delay": "2us"},
           "virtual": {"both": {"kind": "coincidence", "of": ["c", "d"], "window": "4ns"}}}


def test_peers_that_a_build_lacks():
    async def scenario(herald, golden):
        with pytest.raises(PlanError, match=r"\$.peers: this node was built without ports"):
            await herald.configure(STATION)
        with pytest.raises(PeersMissingError, match="lanes=8"):
            await herald.node.peers.ports()

    on_herald(scenario)


def test_a_peer_that_does_not_answer():
    async def scenario(herald, golden):
        await herald.configure(STATION)
        assert golden.get("peers.control") == 2 and golden.get("peers.start_delay") == 250
        assert golden.get("virtual.window", 0) == 4096
        peers = herald.node.peers
        golden.set("peers.received", 3, 1)
        with pytest.raises(PeerSilentError, match=r"(?s)the peer on port 1 in 0.001 s .port 1: 3 "
                                                  r"messages came.*Is the line there"):
            await peers.wait_up(0.001)
        golden.set("peers.status", PeerStatus.const({"up": 1, "own": 5, "other": 9}).as_bits(), 1)
        golden.set("peers.round_trip", 1250, 1)
        golden.set("peers.session_triggers", 7, 1)
        port = (await peers.wait_up())[1]
        assert port.up and port.enabled and port.round_trip_s == pytest.approx(10e-6)
        counts = await peers.counts()
        assert counts.agrees(dataclasses.replace(counts, session_started=5, session_missed=2), 1)
        assert not counts.agrees(counts, 1)
        await peers.clear()
        await peers.restart()
        await peers.check_flags()
        golden.set("peers.flags", 1)
        with pytest.raises(PeerSilentError, match=r"clear_flags\(\) forgets it"):
            await peers.check_flags()
        # Alone again.
        await herald.configure("entangle")
        assert golden.get("peers.control") == 0 and golden.get("virtual.window", 0) == 0

    on_herald(scenario, peers=True)


VIRTUAL = {**read_plan("entangle").source, "virtual": {
    "both": {"number": 2, "kind": "coincidence", "of": ["c", "d"], "window": "4ns"},
    "only_c": {"kind": "combination", "of": ["c"], "window": "4ns", "guard_before": "10ns",
               "guard_after": "10ns", "record": False}}}
#: Two pairs, and one of c alone, in fine units and inputs.
EDGES = [(100_000, 0), (103_000, 1), (200_000, 1), (204_096, 0), (300_000, 0)]


async def see(herald, edges, golden, **options):
    await herald.node.tagger.enable(0, 1)
    await herald.node.tagger.run()
    golden.detect(edges, **options)


def test_virtual_channels_are_counted_by_name():
    async def scenario(herald, golden):
        await herald.configure(VIRTUAL)
        await see(herald, EDGES, golden)
        counts = await herald.node.virtual.counts()
        assert counts.edges == {"only_c": 1, "both": 2}
        assert (counts.sent, counts.lost, counts.exact) == (2, 0, True)
        assert (await herald.counts()).virtual == counts.edges
        await herald.node.virtual.check_flags()

    on_herald(scenario)


def test_virtual_channels_without_a_plan():
    async def scenario(herald, golden):
        golden.set("virtual.generated", 1 << 47, 3)
        assert (await herald.node.virtual.counts()).edges == {
            "virtual32": 0, "virtual33": 0, "virtual34": 0, "virtual35": 1 << 47}

    on_herald(scenario)


def test_what_virtual_channels_lose_is_counted():
    async def scenario(herald, golden):
        await herald.configure(VIRTUAL)
        await see(herald, EDGES, golden, late=2)
        counts = await herald.node.virtual.counts()
        assert counts.edges["both"] == 1 and counts.edges_late == 2 and not counts.exact
        golden.push_records([0] * golden.buffer_depth)
        golden.detect(EDGES)
        counts = await herald.node.virtual.counts()
        assert (counts.edges["both"], counts.sent, counts.lost) == (3, 1, 2)

    on_herald(scenario)


def test_virtual_counts_are_cleared_by_a_plan_if_it_may():
    async def scenario(herald, golden):
        await herald.configure(VIRTUAL)
        await see(herald, EDGES, golden)
        await herald.configure(VIRTUAL, clear=False)
        assert (await herald.node.virtual.counts()).sent == 2
        await herald.configure(VIRTUAL)
        assert (await herald.node.virtual.counts()).sent == 0
        golden.detect(EDGES)
        await herald.node.virtual.clear()
        assert (await herald.counts()).virtual == {"only_c": 0, "both": 0}

    on_herald(scenario)


def test_rates_of_virtual_channels():
    async def scenario(herald, golden):
        await herald.configure(VIRTUAL)
        before = await herald.counts()
        await see(herald, EDGES, golden)
        golden.tick = before.tick + 124_000
        rates, _ = await herald.rates(before)
        assert rates.virtual["both"] == pytest.approx(2 / rates.seconds)

    on_herald(scenario)


@pytest.mark.parametrize("name", [name for name, _ in VirtualFlags.as_shape()])
def test_every_flag_of_virtual_channels_has_its_error(name):
    async def scenario(herald, golden):
        virtual = herald.node.virtual
        golden.raise_flag("virtual", [flag for flag, _ in VirtualFlags.as_shape()].index(name))
        with pytest.raises(virtual_driver.FLAG_ERRORS[name], match=r"1 times, first"):
            await virtual.check_flags()
        await virtual.clear_flags()
        await virtual.check_flags()

    on_herald(scenario)


def test_hold_of_virtual_channels():
    async def scenario(herald, golden):
        virtual = herald.node.virtual
        assert await virtual.hold() == pytest.approx(2048 * 8e-9)
        with pytest.warns(AchievedValueWarning, match="Hold"):
            assert await virtual.set_hold(20.003e-6) == pytest.approx(20e-6)
        assert golden.get("virtual.hold") == 2500
        with pytest.raises(ValueError, match="Hold must be 0 to 0.00052428 s, not 1 s"):
            await virtual.set_hold(1)

    on_herald(scenario)


def test_a_node_without_virtual_channels_says_so():
    async def main():
        async with await Node.connect(GoldenTransport(GoldenEndpoint())) as node:
            for ask in (node.virtual.counts(), node.virtual.clear(), node.virtual.hold(),
                        node.virtual.set_hold(1e-6), node.virtual.check_flags()):
                with pytest.raises(virtual_driver.VirtualMissingError, match="herald=yes"):
                    await ask

    run_in_simulated_time(main())


def test_histogram_of_a_virtual_channel():
    async def scenario(herald, golden):
        await herald.node.histogram.configure(start=0, stop=35, bin_s=1e-9)
        assert herald.node.regs.histogram.control.register.type.from_bits(
            golden.get("histogram.control")).stop_channel == 35
        with pytest.raises(ValueError, match="Stop channel must be 0 to 7, not 36"):
            await herald.node.histogram.configure(start=0, stop=36, bin_s=1e-9)

    on_herald(scenario)


def test_synchronous():
    transport = GoldenTransport(GoldenHeraldEndpoint())
    with quantacore.host.sync.connect(transport) as node, warnings.catch_warnings():
        warnings.simplefilter("error")
        node.herald.configure("entangle")
        assert node.herald.counts().attempts == 0
        assert node.virtual.counts().sent == 0
        assert node.herald.status().enabled
