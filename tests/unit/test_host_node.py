"""A node's drivers in physical units, over a golden node."""

from fractions import Fraction

import numpy as np
import pytest

import quantacore.host.sync
from quantacore.host.driver.errors import (
    AchievedValueWarning,
    MapMismatchError,
    NodeBusyError,
    NodeResetError,
    NotANodeError,
)
from quantacore.host.driver.node import Node, TimeUnits
from quantacore.host.driver.registers import MAP_CRC, LoopState
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.golden.endpoint import GoldenEndpoint


def on_node(scenario, endpoint=None):
    async def main():
        golden = GoldenTransport(endpoint)
        async with await Node.connect(golden) as node:
            return await scenario(node, golden.endpoint)

    return run_in_simulated_time(main())


def test_identity():
    async def scenario(node, golden):
        identity = node.identity
        assert identity.tick_ps == 8000 and identity.clock_hz == 125_000_000
        assert (identity.channels, identity.samples, identity.buffer_depth, identity.bins) == (
            8, 4, 2048, 4096)
        assert identity.fine and identity.simulated and not identity.uart
        assert identity.map_crc == MAP_CRC

    on_node(scenario)


@pytest.mark.parametrize("register, value, error, text", [
    ("magic", 0x12345678, NotANodeError, "first word is 0x12345678, not 0x51434f52"),
    ("protocol", 2 | 1 << 8, NotANodeError, "version 2 of the link, this host version 1"),
    ("protocol", 1 | 9 << 8, MapMismatchError, "node layout version 9.*host layout version 1"),
    ("map_crc", 0xBAD, MapMismatchError,
     f"CRC 0x00000bad; host layout version 1, CRC {MAP_CRC:#010x}. Build the gateware"),
    ("tick_denominator", 0, NotANodeError, "a tick is 8000/0 ps long"),
])
def test_strangers_are_refused(register, value, error, text):
    endpoint = GoldenEndpoint()
    endpoint.set(f"identity.{register}", value)
    with pytest.raises(error, match=text):
        on_node(None, endpoint)


def test_fine_units_of_an_odd_clock_are_exact():
    units = TimeUnits(Fraction(10**12, 156_250_000))
    assert units.tick_ps == 6400
    for ps in range(-50_000, 50_000, 7):
        seconds = Fraction(ps, 10**12)
        assert round(units.fine(seconds) * units.fine_ps) == ps


def test_time():
    async def scenario(node, golden):
        golden.tick = 250_000_000
        assert await node.timing.tick() == 250_000_000
        assert await node.timing.time_s() == 2.0

    on_node(scenario)


def test_snapshot():
    async def scenario(node, golden):
        written = []
        golden.on_write = lambda name, index, value: written.append(name)
        golden.set("timing.snapshot_tick", 1000)
        golden.set("timing.snapshot_virtual", 1001)
        golden.set("timing.snapshot_fraction", 1 << 43)
        golden.set("timing.snapshot_rate", -(1 << 30))
        snapshot = await node.timing.snapshot()
        assert written == ["timing.snapshot"]
        assert snapshot.tick == 1000 and snapshot.virtual == Fraction(2003, 2)
        assert snapshot.rate == -2.0**-14

    on_node(scenario)


def test_triggers():
    async def scenario(node, golden):
        written = []
        golden.on_write = lambda *write: written.append(write)
        await node.timing.arm(2, 1 << 33)
        await node.timing.disarm(0, 3)
        await node.timing.disarm()
        assert written == [("timing.trigger_time", 2, 1 << 33), ("timing.trigger_disarm", 0, 9),
                           ("timing.trigger_disarm", 0, 15)]
        golden.set("timing.trigger_armed", 0b0101)
        assert await node.timing.armed() == [0, 2]
        with pytest.raises(ValueError, match="Trigger must be 0 to 3, not 4"):
            await node.timing.disarm(4)

    on_node(scenario)


def test_discipline():
    async def scenario(node, golden):
        await node.timing.discipline("clock", period_s=1e-3, divider=10_000, window_s=1e-6,
                                     lock_threshold_s=1e-9 * 8, lock_count=3)
        assert golden.get("timing.control") == 0b11
        assert golden.get("timing.period") == 125_000
        assert golden.get("timing.window") == 125
        assert golden.get("timing.lock_threshold") == 8192
        assert golden.get("timing.lock_count") == 3
        await node.timing.discipline(None)
        assert golden.get("timing.control") & 1 == 0
        golden.set("timing.state", 3)
        assert await node.timing.state() is LoopState.LOCKED
        golden.set("timing.phase_error", -8192)
        assert await node.timing.phase_error_s() == -8e-9
        with pytest.raises(ValueError, match='must be "pps", "clock" or None, not \'gps\''):
            await node.timing.discipline("gps")

    on_node(scenario)


def test_synchronisation_output():
    async def scenario(node, golden):
        await node.timing.sync_output(1, period_s=1e-3, first_s=2, width_s=8e-7)
        assert golden.get("timing.sync_period", 1) == 125_000
        assert golden.get("timing.sync_next", 1) == 250_000_000
        assert golden.get("timing.sync_width", 1) == 100
        with pytest.raises(ValueError, match="Output must be 0 to 1, not 2"):
            await node.timing.sync_output(2, period_s=1)

    on_node(scenario)


def test_flags_by_name():
    async def scenario(node, golden):
        golden.set("timing.flags", 0b101)
        golden.set("timing.flag_counts", 7, 2)
        golden.set("timing.flag_counts", 1, 0)
        golden.set("timing.flag_times", 125_000_000, 2)
        assert await node.timing.flags() == {"reference_missing": (1, 0.0), "lock_lost": (7, 1.0)}
        await node.timing.clear_flags("lock_lost")
        assert list(await node.timing.flags()) == ["reference_missing"]
        await node.timing.clear_flags()
        assert await node.timing.flags() == {}

    on_node(scenario)


def test_channels_are_enabled():
    async def scenario(node, golden):
        await node.tagger.enable(1, 2, edges="both")
        assert await node.tagger.enabled() == ["none", "both", "both"] + ["none"] * 5
        await node.tagger.enable()
        assert await node.tagger.enabled() == ["rising"] * 8
        await node.tagger.disable(0)
        assert (await node.tagger.enabled())[0] == "none"
        with pytest.raises(ValueError, match="Channel must be 0 to 7, not 8"):
            await node.tagger.enable(8)
        with pytest.raises(ValueError, match="Edges must be one of none, rising"):
            await node.tagger.enable(0, edges="up")

    on_node(scenario)


def test_achieved_value_is_given_and_warned_of():
    async def scenario(node, golden):
        assert await node.tagger.set_dead_time(0, 8e-9) == 8e-9  # a whole tick: no warning
        with pytest.warns(AchievedValueWarning, match="Delay of channel 1 is 9.765625e-13 s "
                                                      "instead of the 1e-12 s asked for"):
            assert await node.tagger.set_delay(1, 1e-12) == 9.765625e-13
        assert await node.tagger.delay(1) == 9.765625e-13
        assert golden.get("tagger.delay", 1) == 1
        assert await node.tagger.dead_time(0) == 8e-9

    on_node(scenario)


@pytest.mark.parametrize("seconds, text", [
    (1.0, r"Delay of channel 0 must be -8.192e-06 to 8.192e-06 s, not 1 s"),
    (float("nan"), "Delay must be finite, not nan"),
])
def test_limits(seconds, text):
    async def scenario(node, golden):
        with pytest.raises(ValueError, match=text):
            await node.tagger.set_delay(0, seconds)
        with pytest.raises(TypeError, match="Delay must be a number, not '1 ns'"):
            await node.tagger.set_delay(0, "1 ns")

    on_node(scenario)


def test_run_stop_and_clear():
    async def scenario(node, golden):
        await node.tagger.run()
        assert await node.tagger.running() and golden.get("tagger.control") == 1
        await node.tagger.stop()
        assert not await node.tagger.running()
        written = []
        golden.on_write = lambda *write: written.append(write)
        await node.tagger.clear()
        assert written == [("tagger.clear", 0, 1)]

    on_node(scenario)


def test_loss_account():
    async def scenario(node, golden):
        for name, value in (("recorded", 70), ("lost_buffer", 20), ("lost_burst", 5)):
            golden.set(f"tagger.{name}", value)
        golden.set("tagger.seen", 100, 3)
        golden.set("tagger.in_dead_time", 5, 3)
        golden.set("tagger.rate", 50, 3)
        assert await node.tagger.set_rate_gate(0.5) == 0.5
        counters = await node.tagger.counters()
        assert sum(counters.seen) == counters.recorded + counters.lost + sum(counters.in_dead_time)
        assert counters.rate_hz[3] == 100.0 and counters.lost == 25

    on_node(scenario)


def test_histogram_all_pairs():
    async def scenario(node, golden):
        assert await node.histogram.configure(start=1, stop=2, bin_s=8e-9) == 8e-9
        await node.histogram.run()
        assert golden.get("histogram.control") == 1 | 1 << 1 | 1 << 2 | 2 << 8 | 13 << 14
        golden.set("histogram.bins", 9, 2048)
        golden.set("histogram.pairs", 9)
        data = await node.histogram.read()
        assert data.counts.dtype == np.int64 and data.counts[2048] == 9 and data.counts.sum() == 9
        assert data.edges_s[2048] == 0 and data.edges_s[0] == pytest.approx(-2048 * 8e-9, rel=1e-15)
        assert data.edge_ps(2049) == 8000 and data.pairs == 9
        await node.histogram.stop()
        assert golden.get("histogram.control") & 1 == 0

    on_node(scenario)


def test_histogram_start_stop_begins_at_zero_and_warns_of_width():
    async def scenario(node, golden):
        with pytest.warns(AchievedValueWarning, match="powers of two"):
            await node.histogram.configure(start=0, stop=1, bin_s=1.5e-9, mode="start_stop")
        data = await node.histogram.read()
        assert data.first_edge_fine == 0 and data.bin_fine == 2048

    on_node(scenario)


@pytest.mark.parametrize("kwargs, text", [
    ({"start": 9, "stop": 0, "bin_s": 1e-9}, "Start channel must be 0 to 7, not 9"),
    ({"start": 0, "stop": 1, "bin_s": 0}, "Bin width must be 9.76563e-13 to 0.00209715 s, not 0"),
    ({"start": 0, "stop": 1, "bin_s": 1e-9, "mode": "g2"}, "Mode must be one of start_stop"),
])
def test_histogram_arguments(kwargs, text):
    async def scenario(node, golden):
        with pytest.raises(ValueError, match=text):
            await node.histogram.configure(**kwargs)

    on_node(scenario)


def test_link_statistics_of_both_sides():
    async def scenario(node, golden):
        statistics = await node.link.statistics()
        assert statistics["requests_done"] > 5 and statistics["frames_bad"] == 0
        assert node.link.host_statistics()["retries"] == 0
        await node.link.set_lease(2)
        assert golden.get("link.lease") == 250_000_000
        golden.tick = 77
        assert await node.link.ping() == 77

    on_node(scenario)


def test_reconnect_after_reset():
    async def scenario(node, golden):
        golden.reset()
        with pytest.raises(NodeResetError):
            await node.tagger.run()
        await node.reconnect()
        await node.tagger.run()

    on_node(scenario)


def test_tags_stream():
    async def main():
        golden = GoldenTransport()
        async with await Node.connect(golden) as node, node.tagger.stream() as stream:
            golden.push_records([5, 6])
            return list(await stream.read())

    assert run_in_simulated_time(main()) == [5, 6]


# Without await.


def test_sync_facade():
    golden = GoldenTransport()
    with quantacore.host.sync.connect(golden) as node:
        node.tagger.run()
        assert node.tagger.running() is True
        assert node.identity.channels == 8
        node.regs.tagger.dead_time[3].write(17)
        assert node.regs.tagger.dead_time.read()[3] == 17
        assert len(node.regs.tagger.dead_time) == 8
        assert "run" in dir(node.tagger) and node.tagger.run.__doc__ == "Start tagging."
        with pytest.raises(ValueError, match="Channel must be"):
            node.tagger.enable(99)
    node.close()  # twice is allowed
    with pytest.raises(RuntimeError, match="connection is closed"):
        node.tagger.run()


def test_sync_stream_is_iterable():
    golden = GoldenTransport()
    golden.endpoint.push_records([1, 2, 3])
    with quantacore.host.sync.connect(golden) as node:
        with node.tagger.stream(keep_backlog=True) as stream:
            for block in stream:
                assert list(block) == [1, 2, 3]
                break
            assert len(stream.read_pending()) == 0


def test_sync_errors_are_the_drivers_and_leave_no_thread():
    endpoint = GoldenEndpoint()
    with quantacore.host.sync.connect(GoldenTransport(endpoint)):
        with pytest.raises(NodeBusyError):
            quantacore.host.sync.connect(GoldenTransport(endpoint))
