"""The peers' driver on both sides: a station and followers that are golden nodes."""

import contextlib

import pytest

from quantacore.host.driver.herald import PeerLostError
from quantacore.host.driver.node import Node
from quantacore.host.driver.peers import PeerMissedError, PeerRestartedError, PeerSilentError
from quantacore.host.herald.plan import read_plan
from quantacore.sim.bench.golden_herald import GoldenHeraldEndpoint
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.bench.golden_peers import GoldenLine

#: Cells of the plan "entangle": what is a success, and a failure.
PAIR, LONE = 1 << 0 | 1 << 5, 1 << 0
SOURCE = read_plan("entangle").source
FOLLOWER = {**SOURCE, "role": "follower", "peers": {"ports": [0]}}


def station_of(*ports):
    return {**SOURCE, "role": "station", "peers": {"ports": list(ports)}}


class Side:
    """A node: its golden endpoint, and the drivers of its host."""

    def __init__(self, node, golden):
        self.node, self.golden = node, golden
        self.herald, self.peers = node.herald, node.peers

    async def port(self, number=0):
        return (await self.peers.ports())[number]


def on_peers(scenario, followers=1, configured=True):
    """Run ``scenario(lines, station, *followers)``; line k takes 100 + k ticks, and 150 back."""
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            sides = []
            for _ in range(1 + followers):
                transport = GoldenTransport(GoldenHeraldEndpoint(peers=True))
                sides.append(Side(await stack.enter_async_context(await Node.connect(transport)),
                                  transport.endpoint))
            station, *others = sides
            lines = [GoldenLine(station.golden, other.golden, port=k, delay_ticks=100 + k,
                                back_ticks=150) for k, other in enumerate(others)]
            if configured:
                for other in others:
                    await other.herald.configure(FOLLOWER)
                await station.herald.configure(station_of(*range(followers)))
                for side in sides:
                    await side.peers.wait_up()
                    await side.peers.clear_flags()
            return await scenario(lines, *sides)

    return run_in_simulated_time(main())


async def agreed(station, follower, port=0):
    """Counts of both sides, which are of the same attempts."""
    counts, other = await station.peers.counts(), await follower.peers.counts()
    assert counts.agrees(other, port)
    return counts, other


def test_both_sides_know_the_round_trip():
    async def scenario(lines, station, follower):
        for side in (station, follower):
            port = await side.port()
            assert port.enabled and port.up
            assert port.round_trip_s == pytest.approx(250 * 8e-9)
            assert port.round_trip_min_s == port.round_trip_max_s == port.round_trip_s
            assert not (await side.port(1)).enabled
        assert (await station.port()).ready

    on_peers(scenario)


def test_one_side_alone_is_not_up():
    async def scenario(lines, station, follower):
        await station.herald.configure(station_of(0))
        with pytest.raises(PeerSilentError, match="No answer from the peer on port 0"):
            await station.peers.wait_up(0.001)
        await follower.herald.configure(FOLLOWER)
        assert (await station.peers.wait_up())[0].up

    on_peers(scenario, configured=False)


def test_both_sides_count_the_same_attempts():
    async def scenario(lines, station, follower):
        codes = [station.golden.attempt(clicked, 3) for clicked in (PAIR, LONE, PAIR)]
        assert codes == [0, None, 0]
        counts, other = await agreed(station, follower)
        assert (counts.triggers, counts.session_triggers) == (3, (3, 0))
        assert (other.started, other.missed) == (3, 0)
        for side in (station, follower):
            found = await side.herald.counts()
            assert (found.attempts, found.succeeded, found.failed) == (3, 2, 1)
            assert (await side.herald.status()).attempt == 3

    on_peers(scenario)


def test_a_lost_trigger_is_counted_on_both_sides():
    async def scenario(lines, station, follower):
        station.golden.attempt(PAIR, 3)
        lines[0].lose = 1
        station.golden.attempt(PAIR, 3)
        assert not (await station.port()).ran
        station.golden.attempt(PAIR, 3)
        assert (await station.port()).ran
        _, other = await agreed(station, follower)
        assert (other.started, other.missed) == (2, 1)
        found = await station.herald.counts()
        assert (found.attempts, found.succeeded, found.void_peer) == (3, 2, 1)
        with pytest.raises(PeerMissedError, match="1 times, first"):
            await follower.peers.check_flags()
        await station.peers.check_flags()

    on_peers(scenario)


def test_an_attempt_that_one_of_two_missed_is_void_for_all():
    async def scenario(lines, station, one, other):
        lines[1].lose = 1
        station.golden.attempt(PAIR, 3)
        station.golden.attempt(PAIR, 3)
        counts, first = await agreed(station, one, 0)
        _, second = await agreed(station, other, 1)
        assert counts.session_triggers == (2, 2)
        assert (first.started, first.missed, second.started, second.missed) == (2, 0, 1, 1)
        for side, void in ((station, 1), (one, 1), (other, 0)):
            found = await side.herald.counts()
            assert (found.succeeded, found.void_peer) == (1, void)
        assert [port.round_trip_s for port in await station.peers.ports()] == pytest.approx(
            [250 * 8e-9, 251 * 8e-9])

    on_peers(scenario, followers=2)


def test_a_line_that_is_cut_and_mended():
    async def scenario(lines, station, follower):
        station.golden.attempt(PAIR, 3)
        lines[0].cut()
        port = await station.port()
        assert not port.up and port.timeouts == 1
        for side in (station, follower):
            with pytest.raises(PeerSilentError, match="1 times, first"):
                await side.peers.check_flags()
        with pytest.raises(PeerLostError):
            await station.herald.check_flags()
        assert station.golden.attempt(PAIR, 3) == 15  # the plan's code for refused
        assert (await station.herald.counts()).refused == 1
        lines[0].mend()
        await station.peers.wait_up()
        counts, other = await agreed(station, follower)
        # The session's counts begin anew, the others go on.
        assert counts.session_triggers == (0, 0) and counts.triggers == other.started == 1

    on_peers(scenario)


def test_a_follower_that_was_reset():
    async def scenario(lines, station, follower):
        station.golden.attempt(PAIR, 3)
        follower.golden.reset()
        assert not (await station.port()).up
        await follower.node.reconnect()
        await follower.herald.configure(FOLLOWER)
        await station.peers.wait_up()
        station.golden.attempt(PAIR, 3)
        counts, other = await agreed(station, follower)
        assert counts.triggers == 2 and other.started == counts.session_triggers[0] == 1

    on_peers(scenario)


@pytest.mark.parametrize("who", [0, 1])
def test_a_session_that_one_side_restarts(who):
    async def scenario(lines, *sides):
        sides[0].golden.attempt(PAIR, 3)
        await sides[who].peers.restart()
        await sides[0].peers.wait_up()
        counts, _ = await agreed(*sides)
        assert counts.session_triggers == (0, 0)
        await sides[who].peers.check_flags()
        with pytest.raises(PeerRestartedError):
            await sides[1 - who].peers.check_flags()

    on_peers(scenario)


def test_a_station_that_is_configured_anew_begins_a_session():
    async def scenario(lines, station, follower):
        station.golden.attempt(PAIR, 3)
        await station.herald.configure(station_of(0))
        await station.peers.wait_up()
        counts, _ = await agreed(station, follower)
        assert counts.session_triggers == (0, 0)
        station.golden.attempt(PAIR, 3)
        assert (await agreed(station, follower))[1].session_started == 1

    on_peers(scenario)


def test_a_follower_that_is_not_ready_is_waited_for():
    async def scenario(lines, station, follower):
        await follower.herald.disable()
        port = await station.port()
        assert port.up and not port.ready
        station.golden.attempt(PAIR, 3)
        assert (await station.peers.counts()).triggers == 0
        await follower.herald.enable()
        station.golden.attempt(PAIR, 3)
        assert (await agreed(station, follower))[0].triggers == 1

    on_peers(scenario)


def test_clear_keeps_the_counts_of_the_session():
    async def scenario(lines, station, follower):
        station.golden.attempt(PAIR, 3)
        for side in (station, follower):
            await side.peers.clear()
        counts, other = await agreed(station, follower)
        assert counts.triggers == other.started == 0 and counts.session_triggers == (1, 0)
        assert (await station.port()).sent == 0

    on_peers(scenario)
