"""A virtual node behind a pseudo-terminal, a socket and the in-process transport."""

import asyncio
import contextlib
import logging
import os
import select
import socket
import threading
import time

import numpy as np
import pytest

from quantacore.sim.bench.word_recorder import RecorderConfig, WordRecorder, decode_words
from quantacore.sim.node.engine import Engine, EngineFailed
from quantacore.sim.node.live import LiveNode
from quantacore.sim.node.options import node_options
from quantacore.sim.node.server import NodeServer, ServeError
from quantacore.sim.node.transport import VirtualTransport
from quantacore.sim.photonics.sources import Replay

CONFIG = RecorderConfig()
PATIENCE_S = 20


def engine(sources=(), **options):
    return Engine(CONFIG, sources, component=WordRecorder(CONFIG), **options)


@contextlib.contextmanager
def served(node, **options):
    server = NodeServer(LiveNode(node), **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def read_port(number, count):
    got = b""
    while len(got) < count:
        ready, _, _ = select.select([number], [], [], PATIENCE_S)
        assert ready, f"only {len(got)} of {count} bytes came"
        got += os.read(number, count - len(got))
    return got


def read_socket(connection, count):
    got = b""
    while len(got) < count:
        part = connection.recv(count - len(got))
        assert part, f"closed after {len(got)} of {count} bytes"
        got += part
    return got


def connect(server):
    _, address, port = server.url.split(":")
    connection = socket.create_connection((address, int(port)))
    connection.settimeout(PATIENCE_S)
    return connection


def test_pseudo_terminal_echoes_every_byte_value(tmp_path):
    link = tmp_path / "node"
    data = bytes(range(2, 256)) + bytes([2, 3])
    with served(engine(), symlink=link) as server:
        assert server.url == str(link)
        port = os.open(server.url, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(port, data)
            assert decode_words(read_port(port, 2 * len(data)), CONFIG)[0] == data
        finally:
            os.close(port)
        # The next program finds the port as the last one left it.
        port = os.open(server.url, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(port, b"again")
            assert decode_words(read_port(port, 10), CONFIG)[0] == b"again"
        finally:
            os.close(port)
    assert not link.is_symlink()


def test_pyserial_talks_to_the_pseudo_terminal():
    serial = pytest.importorskip("serial")
    with served(engine()) as server:
        with serial.Serial(server.url, 3_000_000, timeout=PATIENCE_S) as port:
            port.write(b"hello")
            assert decode_words(port.read(10), CONFIG)[0] == b"hello"


def test_a_link_left_behind_is_replaced_and_a_file_is_not(tmp_path):
    stale = tmp_path / "stale"
    stale.symlink_to("/nowhere")
    with served(engine(), symlink=stale) as server:
        assert os.path.exists(server.url)
    file = tmp_path / "file"
    file.write_text("mine")
    node = engine()
    with pytest.raises(ServeError, match="exists and is not a link; choose another name"):
        NodeServer(LiveNode(node), symlink=file)
    node.close()
    assert file.read_text() == "mine"


def test_tcp_echo_and_a_host_that_returns():
    with served(engine(), tcp=0) as server:
        for text in (b"first", b"second"):
            with connect(server) as connection:
                connection.sendall(text)
                echo = decode_words(read_socket(connection, 2 * len(text)), CONFIG)[0]
                assert echo == text
            eventually(lambda: not server.connected)


def test_a_second_tcp_host_is_refused_and_the_first_notices_nothing(caplog):
    caplog.set_level(logging.WARNING)
    with served(engine(), tcp=0) as server, connect(server) as first:
        first.sendall(b"a")
        assert read_socket(first, 2) == b"\xeca"
        with connect(server) as second:
            assert second.recv(100) == b""
        assert server.refused == 1
        first.sendall(b"b")
        assert read_socket(first, 2) == b"\xecb"
    assert "a node has one host at a time" in caplog.text


def test_time_stands_while_no_tcp_host_is_there():
    with served(engine(["poisson:1e6,ch0"], start_on="reset"), tcp=0) as server:
        before = server.live.call(lambda node: node.tick).result(PATIENCE_S)
        time.sleep(0.05)
        assert server.live.call(lambda node: node.tick).result(PATIENCE_S) == before
        with connect(server):
            eventually(lambda: server.live.call(lambda node: node.tick).result() > before)


def test_a_taken_port_is_named():
    with served(engine(), tcp=0) as server:
        port = int(server.url.rpartition(":")[2])
        node = engine()
        with pytest.raises(ServeError, match="in use.*end the program that has it"):
            NodeServer(LiveNode(node), tcp=port)
        node.close()


def test_a_slow_tcp_host_gets_every_report():
    """Far more than all buffers hold, read in trickles: simulated time waits."""
    # Exactly on a tick, every 125 ticks: the pulse rises and falls in one word, one report.
    photons = np.arange(1, 20_001) * 1_000_000
    with served(engine([Replay(photons)], host_bytes=4096), tcp=0) as server:
        with connect(server) as connection:
            connection.sendall(b"\x01")
            expected = 2 + len(photons) * (1 + len_report())
            got = bytearray()
            while len(got) < expected:
                if len(got) < 50_000:
                    time.sleep(0.002)
                got += read_socket(connection, min(4096, expected - len(got)))
            origin = server.live.call(lambda node: node.origin_tick).result(PATIENCE_S)
    _, reports = decode_words(bytes(got), CONFIG)
    assert [tick - origin for tick, _ in reports] == list(range(125, 125 * 20_001, 125))


def len_report():
    from amaranth.hdl import Shape

    from quantacore.sim.bench.word_recorder import _report

    return Shape.cast(_report(CONFIG)).width // 8


def test_live_node_stands_still_when_nothing_happens_and_goes_on_when_asked():
    with LiveNode(engine(), quiet_ticks=5000) as live:
        eventually(lambda: live.call(lambda node: node.silent_ticks).result() >= 5000)
        tick = live.call(lambda node: node.tick).result()
        time.sleep(0.05)
        assert live.call(lambda node: node.tick).result() == tick
        live.send(b"x")
        assert live.wait(PATIENCE_S)
        assert live.take() == b"\xecx"
        # The echo of two bytes, and then 5000 silent ticks.
        eventually(lambda: live.call(lambda node: node.tick).result() > tick + 4999)
        time.sleep(0.05)
        assert live.call(lambda node: node.tick).result() < tick + 5100


def test_stalled_line_lets_time_pass_for_a_host_that_does_not_read():
    node = engine(["poisson:3e6,ch0"], start_on="reset", stall="line", host_bytes=256)
    with LiveNode(node, room=512) as live:
        eventually(lambda: live.waiting >= 512)
        tick = live.call(lambda node: node.tick).result()
        eventually(lambda: live.call(lambda node: node.tick).result() > tick + 50_000)


def test_a_failing_source_ends_the_node_with_its_reason():
    with LiveNode(engine([Replay([5], 9)], start_on="reset")) as live:
        assert live.wait(PATIENCE_S)
        with pytest.raises(EngineFailed, match="A photon on channel 9"):
            live.take()
        with pytest.raises(EngineFailed):
            live.call(lambda node: node.tick).result(PATIENCE_S)


def transport(**options):
    return VirtualTransport(config=CONFIG, component=WordRecorder(CONFIG), **options)


async def read_exactly(link, count):
    got = b""
    while len(got) < count:
        got += await asyncio.wait_for(link.read(), PATIENCE_S)
    return got


def test_transport_echo_status_and_call():
    async def main():
        async with transport() as link:
            await link.open()
            await link.write(b"hello")
            assert decode_words(await read_exactly(link, 10), CONFIG)[0] == b"hello"
            assert await link.call(lambda node: node.link) == "pipe"
            assert link.status["ticks"] >= 0

    asyncio.run(main())


def test_transport_read_limit_and_cancelled_read():
    async def main():
        async with transport() as link:
            waiting = asyncio.ensure_future(link.read())
            await asyncio.sleep(0.01)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            await link.write(b"abcdef")
            assert decode_words(await read_exactly(link, 12), CONFIG)[0] == b"abcdef"
            await link.write(b"abcdef")
            assert len(await asyncio.wait_for(link.read(3), PATIENCE_S)) <= 3

    asyncio.run(main())


def test_closing_wakes_a_read():
    from quantacore.host.transport.base import DisconnectedError

    async def main():
        link = transport()
        await link.open()
        waiting = asyncio.ensure_future(link.read())
        await asyncio.sleep(0.01)
        await link.close()
        await link.close()
        with pytest.raises(DisconnectedError, match="is closed"):
            await asyncio.wait_for(waiting, PATIENCE_S)

    asyncio.run(main())


def test_missing_tools_become_a_transport_error(monkeypatch, tmp_path):
    import shutil

    from quantacore.host.transport.base import TransportError

    monkeypatch.setenv("QUANTACORE_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)

    async def main():
        with pytest.raises(TransportError, match="install the package g"):
            await transport().open()

    asyncio.run(main())


def test_options_from_text():
    options = node_options(config=CONFIG, source="poisson:1e6,ch1; pulsed:12500,mean=0.1",
                           seed="3", stall="line", pps="ppm=4.5,jitter=1000", ref10m="on")
    assert len(options["sources"]) == 2
    assert options["seed"] == 3
    assert options["pps"].period_ps == 10**12
    assert options["pps"].offset_ppm == 9 / 2
    assert options["ref10m"].period_ps == 10**5


@pytest.mark.parametrize("options, message", [
    ({"colour": 1}, "A virtual node has no option colour; it has baud, buffer_depth"),
    ({"seed": "x"}, "seed must be a whole number, not 'x'"),
    ({"samples": 2}, "samples can't be given together with a configuration"),
    ({"source": "poisson"}, "Source 'poisson': it lacks its rate. Sources are\npoisson:RATE"),
    ({"source": "poisson:x"}, "its rate must be a number, not 'x'"),
    ({"source": "poisson:1,ch0,bright"}, "'bright' is one word too many"),
    ({"source": "poisson:1,colour=2"}, "it has no 'colour'"),
    ({"source": "poisson:-1"}, "Rate must be positive (Hz), not -1.0"),
    ({"source": "emitter:1e6,lifetime=10,ch=0"}, "ch must be two channels A+B, not '0'"),
    ({"source": "replay:/no/file.npz"}, "there is no file /no/file.npz"),
    ({"pps": "fast"}, "it is on, or any of ppm=X"),
])
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError) as error:
        node_options(config=CONFIG, **options)
    assert message in str(error.value)


def test_replay_from_a_file(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, times_ps=np.array([3, 9]), channels=np.array([0, 1]))
    source = node_options(config=CONFIG, source=f"replay:{path}")["sources"][0]
    times, channels = source.batches(100)
    assert (times.tolist(), channels.tolist()) == ([3, 9], [0, 1])
    np.savez(path, times=np.array([3, 9]))
    with pytest.raises(ValueError, match="lacks the array channels and times_ps"):
        node_options(config=CONFIG, source=f"replay:{path}")
