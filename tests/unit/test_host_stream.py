"""Record streams: in order, none twice, none missing, whatever the line does."""

import asyncio

import numpy as np
import pytest

from quantacore.host.driver import errors
from quantacore.host.driver.link import LinkClient
from quantacore.host.transport.faulty import FaultRates, FaultyTransport
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.golden.endpoint import GoldenEndpoint

BIG = 0x1000_0000_0000_0000


async def produce(golden, total, *, burst=500, pause_s=0.001):
    """Record ``total`` numbers as fast as the ring takes them."""
    at = 0
    while at < total:
        values = range(at, min(total, at + burst))
        at += golden.push_records([BIG | v for v in values])
        await asyncio.sleep(pause_s)


async def consume(stream, total):
    parts, got = [], 0
    while got < total:
        block = await asyncio.wait_for(stream.read(), 60)
        assert block.dtype == np.uint64
        parts.append(block)
        got += len(block)
    return np.concatenate(parts)


def transfer(total, rates=None, *, seed=1, **kwargs):
    async def main():
        golden = GoldenTransport()
        transport = golden if rates is None else FaultyTransport(golden, rates, seed=seed)
        async with LinkClient(transport) as link, link.records(**kwargs) as stream:
            got, _ = await asyncio.gather(consume(stream, total), produce(golden, total))
            return got, link.statistics

    got, statistics = run_in_simulated_time(main())
    np.testing.assert_array_equal(got, np.arange(total, dtype=np.uint64) | np.uint64(BIG))
    return statistics


def test_clean_stream():
    statistics = transfer(20_000)
    assert statistics.rewinds == 0


@pytest.mark.parametrize("seed", range(4))
def test_noisy_stream_loses_nothing(seed):
    statistics = transfer(20_000, FaultRates(flip=1e-3, drop=2e-4, double=2e-4), seed=seed)
    assert statistics.rewinds > 10


@pytest.mark.parametrize("kind", ["frame_drop", "frame_double", "frame_delay", "frame_cut"])
def test_frame_faults_lose_nothing(kind):
    transfer(20_000, FaultRates(**{kind: 0.05}))


def test_small_host_buffer_holds_the_node_back():
    transfer(20_000, buffer_records=512)


def test_single_record_comes_at_once():
    async def main():
        golden = GoldenTransport()
        async with LinkClient(golden) as link, link.records() as stream:
            golden.push_records([42])
            assert list(await stream.read()) == [42]

    run_in_simulated_time(main())


def test_lost_tail_is_found():
    async def main():
        golden = GoldenTransport()
        faulty = FaultyTransport(golden, FaultRates(frame_drop=1), seed=1)
        faulty.enabled = False
        async with LinkClient(faulty) as link, link.records() as stream:
            await link.ping()  # the credit has arrived
            faulty.enabled = True
            golden.push_records(list(range(10)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            faulty.enabled = False
            assert list(await asyncio.wait_for(stream.read(), 10)) == list(range(10))
            assert link.statistics.rewinds == 1

    run_in_simulated_time(main())


def test_slow_host_leaves_the_loss_to_the_node_and_stays_in_order():
    async def main():
        golden = GoldenTransport(GoldenEndpoint(buffer_depth=256))
        async with LinkClient(golden) as link:
            stream = link.records(buffer_records=64, acknowledge_every=32)
            async with stream:
                taken = []
                for start in range(0, 2000, 50):
                    number = golden.push_records(list(range(start, start + 50)))
                    taken += range(start, start + number)
                    await asyncio.sleep(0.01)
                assert len(taken) < 2000  # the node had to drop some, and knows how many
                got = await consume(stream, len(taken))
                assert list(got) == taken

    run_in_simulated_time(main())


def test_drop_policy_forgets_the_oldest_and_counts():
    async def main():
        golden = GoldenTransport()
        async with LinkClient(golden) as link:
            async with link.records(buffer_records=512, when_full="drop") as stream:
                await produce(golden, 5000)
                got = await stream.read_pending()
                assert stream.dropped + len(got) == 5000
                assert got[-1] == BIG | 4999 and 400 < len(got) <= 512

    run_in_simulated_time(main())


@pytest.mark.parametrize("keep", [True, False])
def test_second_session_finds_the_ring_as_it_was(keep):
    endpoint = GoldenEndpoint()

    async def main():
        golden = GoldenTransport(endpoint)
        async with LinkClient(golden) as link, link.records() as stream:
            golden.push_records(list(range(300)))
            assert len(await stream.read()) >= 1
        endpoint.push_records(list(range(300, 400)))
        endpoint.tick += endpoint.get("link.lease")
        second = GoldenTransport(endpoint)
        async with LinkClient(second) as link, link.records(keep_backlog=keep) as stream:
            second.push_records([400])
            got = list(await asyncio.wait_for(stream.read(), 10))
            assert got == (list(range(300, 401)) if keep else [400])

    run_in_simulated_time(main())


def test_read_pending_ends_where_the_node_stood():
    async def main():
        golden = GoldenTransport()
        async with LinkClient(golden) as link, link.records() as stream:
            assert len(await stream.read_pending()) == 0
            golden.endpoint.push_records(list(range(1000)))
            assert list(await stream.read_pending()) == list(range(1000))

    run_in_simulated_time(main())


def test_iteration_ends_with_the_stream():
    async def main():
        golden = GoldenTransport()
        async with LinkClient(golden) as link:
            async with link.records() as stream:
                golden.push_records([1])
                async for block in stream:
                    assert list(block) == [1]
                    await stream.close()
            with pytest.raises(errors.LinkError, match="stream is closed"):
                await stream.read()

    run_in_simulated_time(main())


def test_reset_ends_the_stream():
    async def main():
        golden = GoldenTransport()
        async with LinkClient(golden) as link, link.records() as stream:
            golden.endpoint.reset()
            with pytest.raises(errors.NodeResetError):
                await asyncio.wait_for(stream.read(), 10)

    run_in_simulated_time(main())


def test_one_stream_a_channel():
    async def main():
        async with LinkClient(GoldenTransport()) as link, link.records():
            with pytest.raises(errors.LinkError, match="has a stream already"):
                await link.records().open()

    run_in_simulated_time(main())


@pytest.mark.parametrize("kwargs, text", [
    ({"when_full": "panic"}, 'must be "hold" or "drop", not \'panic\''),
    ({"buffer_records": 100}, "must be at least 512"),
])
def test_arguments_are_checked(kwargs, text):
    with pytest.raises(ValueError, match=text):
        LinkClient(GoldenTransport()).records(**kwargs)
