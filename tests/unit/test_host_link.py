"""The link client against a golden node: every operation, every refusal, sessions, retries."""

import asyncio

import pytest

from quantacore.gateware.layouts.frames import LINK_VERSION, Status
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.host.driver import errors
from quantacore.host.driver.framing import decode_frame, encode_frame
from quantacore.host.driver.link import LinkClient
from quantacore.host.transport.base import DisconnectedError, Transport
from quantacore.host.transport.faulty import FaultRates, FaultyTransport
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.golden.endpoint import GoldenEndpoint, cobs_encode, parse_frame

SCRATCH = NODE_MAP["identity.scratch"].address
PERIOD = NODE_MAP["timing.period"].address
GAINS = NODE_MAP["timing.gains"].address


def on_link(scenario, *, transport=None, **kwargs):
    """Run ``scenario(client, endpoint)`` on an open client."""
    transport = GoldenTransport() if transport is None else transport

    async def main():
        async with LinkClient(transport, **kwargs) as client:
            return await scenario(client, transport.endpoint)

    return run_in_simulated_time(main())


@pytest.mark.parametrize("payload", [b"", bytes(240), b"\xff" * 240, bytes(range(240)),
                                     b"\0\1\0\0" * 3])
def test_framing_agrees_with_the_golden_one(payload):
    frame = encode_frame(0x1234, 0xFFFF, 4, 0x100, payload)
    assert frame.endswith(b"\0") and b"\0" not in frame[:-1]
    golden = parse_frame(frame[:-1])
    assert (golden["session"], golden["seq"], golden["op"], golden["argument"]) == (
        0x1234, 0xFFFF, 4, 0x100)
    body = decode_frame(frame[:-1])
    assert cobs_encode(body) == frame[:-1]
    assert body[10:-4] == payload


@pytest.mark.parametrize("change", range(24))
def test_framing_refuses_any_changed_byte(change):
    frame = bytearray(encode_frame(1, 2, 3, 4, b"abcd")[:-1])
    change %= len(frame)
    frame[change] ^= 0x10
    assert decode_frame(bytes(frame)) is None


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 300, b"\x05abc"])
def test_framing_refuses_what_is_no_frame(data):
    assert decode_frame(data) is None


def test_write_and_read():
    async def scenario(link, node):
        await link.write(SCRATCH, [0xDEADBEEF])
        assert await link.read(SCRATCH) == [0xDEADBEEF]
        assert await link.read_word(SCRATCH) == 0xDEADBEEF

    on_link(scenario)


def test_modify_returns_old_value():
    async def scenario(link, node):
        await link.write_word(SCRATCH, 0xF0F0)
        assert await link.modify(SCRATCH, 0xFF, 0x12) == 0xF0F0
        assert node.get("identity.scratch") == 0xF012

    on_link(scenario)


def test_fixed_bursts_stay_at_one_register():
    async def scenario(link, node):
        await link.write_fixed(SCRATCH, [1, 2, 3])
        assert await link.read_fixed(SCRATCH, 3) == [3, 3, 3]

    on_link(scenario)


def test_long_bursts_are_split():
    async def scenario(link, node):
        bins = NODE_MAP["histogram.bins"]
        for i in range(4096):
            node.set("histogram.bins", i * i, i)
        assert await link.read(bins.address, 4096) == [i * i for i in range(4096)]

    on_link(scenario)


def test_timed_write():
    async def scenario(link, node):
        node.tick = 1000
        await link.write_at(5000, SCRATCH, 77)
        assert await link.read_word(SCRATCH) == 0
        node.tick = 5000
        assert await link.read_word(SCRATCH) == 77

    on_link(scenario)


def test_ping_gives_the_tick():
    async def scenario(link, node):
        node.tick = 1 << 40
        assert await link.ping() == 1 << 40

    on_link(scenario)


def test_concurrent_requests_share_the_window():
    async def scenario(link, node):
        assert await asyncio.gather(*(link.modify(SCRATCH, 0xFFFFFFFF, i + 1)
                                      for i in range(200))) == list(range(200))

    on_link(scenario)


def test_request_numbers_wrap(monkeypatch):
    monkeypatch.setattr("secrets.randbits", lambda bits: (1 << bits) - 10)

    async def scenario(link, node):
        assert await asyncio.gather(*(link.modify(SCRATCH, 0xFFFFFFFF, i + 1)
                                      for i in range(50))) == list(range(50))
        assert node.expected == 41

    on_link(scenario)


REFUSED = [
    (lambda link: link.read(31), errors.UnmappedError,
     "The node refused READ at address 0x001f: there is no register at address 0x001f; the map "
     "has identity.tick_denominator up to 0x0009 before it"),
    (lambda link: link.read(SCRATCH + 1, 3), errors.UnmappedError, "after 2 words"),
    (lambda link: link.write(SCRATCH, [1, 2]), errors.ReadOnlyError,
     "after 1 words: identity.tick_numerator (address 0x0008) can only be read"),
    (lambda link: link.read(130), errors.WriteOnlyError, "timing.tick_load (address 0x0082) can "
     "only be written"),
    (lambda link: link.request(2, 0, b""), errors.BadLengthError, "wrong length"),
    (lambda link: link.request(16), errors.BadOpError, "does not know this operation"),
    (lambda link: link.request(8, 9, bytes(12)), errors.BadChannelError, "no such channel"),
    (lambda link: link.request(8, 1, b"\1" + bytes(11)), errors.OutOfRangeError,
     "outside the node's buffer"),
    (lambda link: link.write_at(5, SCRATCH, 1), errors.LateError, "it arrived at tick 1000"),
]


@pytest.mark.parametrize("action, error, text", REFUSED, ids=[r[1].__name__ for r in REFUSED])
def test_refusals_have_names_and_reasons(action, error, text):
    async def scenario(link, node):
        node.tick = 1000
        with pytest.raises(error) as caught:
            await action(link)
        assert text in str(caught.value)
        assert isinstance(caught.value, errors.RefusedError)
        assert await link.read_word(0) == 0x51434F52  # the link goes on

    on_link(scenario)


def test_timed_writes_out_of_order_and_too_many():
    async def scenario(link, node):
        await link.write_at(5000, SCRATCH, 1)
        with pytest.raises(errors.UnorderedError, match="in order of time and apart"):
            await link.write_at(4999, SCRATCH, 1)
        for i in range(node.timed_write_depth - 1):
            await link.write_at(5008 + 8 * i, SCRATCH, 1)
        with pytest.raises(errors.QueueFullError, match="wait for some"):
            await link.write_at(9000, SCRATCH, 1)

    on_link(scenario)


def test_requests_that_fit_no_frame_are_refused_here():
    async def scenario(link, node):
        with pytest.raises(ValueError, match="Address must be 0 to 65535, not 65536"):
            await link.read_word(1 << 16)
        with pytest.raises(ValueError, match="up to 60 whole words, not 244 bytes"):
            await link.write_fixed(SCRATCH, [0] * 61)
        await link.ping()

    on_link(scenario)


def test_every_refusal_has_an_exception():
    session = {Status.ACK, Status.NO_SESSION, Status.BUSY, Status.OUT_OF_ORDER}
    assert set(errors.REFUSALS) == {s.value for s in set(Status) - session}


def test_second_host_is_told_and_may_take_over():
    endpoint = GoldenEndpoint()

    async def main():
        async with LinkClient(GoldenTransport(endpoint), session=0x11) as first:
            second = LinkClient(GoldenTransport(endpoint), session=0x22)
            with pytest.raises(errors.NodeBusyError) as caught:
                await second.open()
            assert "session 0x0011" in str(caught.value)
            assert "takeover=True" in str(caught.value)
            await second.open(takeover=True)
            await second.write_word(SCRATCH, 5)
            with pytest.raises(errors.SessionLostError, match="session 0x0022"):
                await first.read_word(SCRATCH)
            with pytest.raises(errors.SessionLostError):  # it stays so
                await first.ping()
            await first.reconnect(takeover=True)
            assert await first.read_word(SCRATCH) == 5
            await second.close()

    run_in_simulated_time(main())


def test_silent_host_may_be_replaced():
    endpoint = GoldenEndpoint()

    async def main():
        async with LinkClient(GoldenTransport(endpoint), keep_alive_s=0):
            endpoint.tick += endpoint.get("link.lease")
            async with LinkClient(GoldenTransport(endpoint)) as second:
                assert await second.read_word(SCRATCH) == 0

    run_in_simulated_time(main())


def test_keep_alive_while_idle():
    async def scenario(link, node):
        before = node.get("link.requests_done")
        await asyncio.sleep(3.05)
        assert node.get("link.requests_done") - before == link.statistics.keep_alives
        assert 9 <= link.statistics.keep_alives <= 11

    on_link(scenario)


def test_reset_in_mid_session_is_sticky_until_reconnect():
    async def scenario(link, node):
        await link.write_word(SCRATCH, 5)
        node.reset()
        with pytest.raises(errors.NodeResetError, match="settings are lost"):
            await link.read_word(SCRATCH)
        with pytest.raises(errors.NodeResetError):
            await link.write_word(SCRATCH, 6)
        await link.reconnect()
        assert await link.read_word(SCRATCH) == 0

    on_link(scenario)


def test_reset_fails_everything_in_flight():
    async def scenario(link, node):
        node.reset()
        results = await asyncio.gather(*(link.ping() for _ in range(20)), return_exceptions=True)
        assert [type(r) for r in results] == [errors.NodeResetError] * 20

    on_link(scenario)


class Silent(Transport):
    """Takes everything; says only what it is told to."""

    url = "silent:"

    def __init__(self, says=b""):
        self.says = says
        self.writes = []

    async def open(self):
        self.said = False

    async def close(self):
        pass

    async def read(self, limit=65536):
        if self.says and not self.said:
            self.said = True
            return self.says
        await asyncio.get_running_loop().create_future()

    async def write(self, data):
        self.writes.append(data)

    def hint(self):
        return "check the plug"


def test_silent_node_times_out_with_advice():
    transport = Silent()

    async def main():
        with pytest.raises(errors.LinkTimeoutError) as caught:
            await LinkClient(transport, retries=3).open()
        assert str(caught.value) == ("silent:: no answer to SYNC after 4 tries; nothing came at "
                                     "all: check the plug")

    run_in_simulated_time(main())
    assert len(transport.writes) == 4


def test_garbage_only_is_taken_for_a_wrong_baud_rate():
    async def main():
        with pytest.raises(errors.LinkTimeoutError, match="wrong baud rate"):
            await LinkClient(Silent(bytes(range(256)) * 4)).open()

    run_in_simulated_time(main())


def test_node_that_stops_answering():
    async def main():
        golden = GoldenTransport()
        faulty = FaultyTransport(golden, FaultRates(frame_drop=1), seed=1)
        faulty.enabled = False
        async with LinkClient(faulty) as link:
            await link.ping()
            faulty.enabled = True
            with pytest.raises(errors.LinkTimeoutError, match="it answered before"):
                await link.read_word(SCRATCH)
            faulty.enabled = False
            await link.reconnect(takeover=True)
            assert await link.read_word(SCRATCH) == 0

    run_in_simulated_time(main())


def test_cut_connection_reaches_every_waiter():
    async def main():
        faulty = FaultyTransport(GoldenTransport(), FaultRates(), seed=1)
        async with LinkClient(faulty) as link:
            await link.ping()
            await faulty.cut()
            with pytest.raises(DisconnectedError, match="cut on purpose"):
                await link.ping()
            await link.reconnect(takeover=True)
            await link.ping()

    run_in_simulated_time(main())


def test_cancelled_request_leaves_the_link_in_order():
    async def scenario(link, node):
        task = asyncio.ensure_future(link.write_word(SCRATCH, 1))
        await asyncio.sleep(0)
        task.cancel()
        assert await link.read_word(0) == 0x51434F52
        with pytest.raises(asyncio.CancelledError):
            await task

    on_link(scenario)


def test_lost_request_is_sent_again_and_counted():
    async def main():
        golden = GoldenTransport()
        faulty = FaultyTransport(golden, FaultRates(frame_drop=1), seed=1)
        faulty.enabled = False
        async with LinkClient(faulty, keep_alive_s=0) as link:
            loop = asyncio.get_running_loop()
            faulty.enabled = True
            loop.call_later(0.05, setattr, faulty, "enabled", False)
            await link.write_word(SCRATCH, 3)
            assert link.statistics.retries == link.statistics.timeouts > 0
            assert golden.endpoint.get("identity.scratch") == 3

    run_in_simulated_time(main())


def test_damaged_request_is_sent_again_without_waiting():
    async def main():
        golden = GoldenTransport()
        faulty = FaultyTransport(golden, FaultRates(flip=0.01), seed=3)
        faulty.enabled = False
        async with LinkClient(faulty, keep_alive_s=0) as link:
            faulty.enabled = True
            for i in range(300):
                await link.write_word(GAINS, i)
                faulty.enabled = False
                assert await link.read_word(GAINS) == i
                faulty.enabled = True
            assert link.statistics.hints > 20
            assert golden.endpoint.get("link.frames_bad") >= link.statistics.hints

    run_in_simulated_time(main())


def test_other_version_is_refused_with_both_numbers():
    async def scenario(link, node):
        with pytest.raises(errors.NotANodeError, match=f"version {LINK_VERSION + 1} .* version "
                                                       f"{LINK_VERSION}"):
            raise link._refusal(2, 0, Status.BAD_VERSION.value,
                                (LINK_VERSION + 1).to_bytes(4, "little"))

    on_link(scenario)


def test_closed_client_says_so():
    async def main():
        link = LinkClient(GoldenTransport())
        with pytest.raises(errors.LinkError, match="not open"):
            await link.ping()
        await link.open()
        await link.close()
        with pytest.raises(errors.LinkError, match="was closed"):
            await link.ping()
        await link.close()

    run_in_simulated_time(main())


@pytest.mark.parametrize("kwargs, text", [
    ({"timeout_s": 0}, "Time-out must be positive, not 0"),
    ({"retries": -1}, "Retries must be 0 or more, not -1"),
    ({"session": 0}, "Session must be 1 to 65535, not 0"),
])
def test_arguments_are_checked(kwargs, text):
    with pytest.raises(ValueError, match=text):
        LinkClient(GoldenTransport(), **kwargs)
    with pytest.raises(TypeError, match="needs a Transport, not 'x'"):
        LinkClient("x")
