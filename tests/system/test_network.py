"""Networks of virtual nodes: every word arrives in its tick, and photons follow excitations."""

import functools
import math

import numpy as np
import pytest

from quantacore.sim.bench.peer_probe import PeerProbe, ProbeConfig, Seen, decode_seen
from quantacore.sim.node.build import build_component
from quantacore.sim.node.engine import Engine, Stop
from quantacore.sim.node.network import EmitterLines, Faults, Link, Network, Optics, Wire
from quantacore.sim.photonics.detectors import Detector
from quantacore.sim.photonics.heralding import Arm, Emitter, Fibre, Midpoint

CONFIG = ProbeConfig()
TICK_PS = 8000


@functools.cache
def library():
    return build_component(PeerProbe(CONFIG))


def probe(**options):
    return Engine(CONFIG, component=library(), **options)


def to_peer(number, word):
    return bytes([(1 + number) << 4 | word])


def ttl(*lines):
    return bytes([0x80 | sum(1 << line for line in lines)])


def seen(network, name, kind=Seen.WORD):
    return [(tick, number, value) for tick, what, number, value in
            decode_seen(network.receive(name)) if what is kind]


def test_words_take_the_delay_of_their_direction():
    link = Link(first=("a", 0), second=("b", 1), delay_ticks=37, back_ticks=5)
    with Network({"a": probe(), "b": probe()}, links=[link]) as network:
        assert network.quantum == 5
        network.advance(100)
        # The byte enters in tick 100 and the word is on the lane in tick 101.
        network.send("a", to_peer(0, 9))
        network.send("b", to_peer(1, 6))
        network.advance(300)
        assert seen(network, "b") == [(101 + 37, 1, 9)]
        assert seen(network, "a") == [(101 + 5, 0, 6)]
        assert network.counts(0) == ({"words": 1, "dropped": 0, "flipped": 0},) * 2


@pytest.mark.parametrize("delay", [1, 2, 64])
def test_back_to_back_words_keep_their_ticks(delay):
    link = Link(first=("a", 0), second=("b", 0), delay_ticks=delay)
    with Network({"a": probe(), "b": probe()}, links=[link]) as network:
        words = [1, 1, 2, 2, 2, 0, 15]
        network.send("a", b"".join(to_peer(0, word) for word in words))
        network.advance(500)
        assert seen(network, "b") == [(1 + k + delay, 0, word) for k, word in enumerate(words)]


def test_three_nodes_and_how_time_is_cut():
    """A ring, in which all talk at once; the same whatever the steps."""
    received = []
    for step in (4000, 1, 333):
        rng = np.random.default_rng(5)
        links = [Link(first=(one, 0), second=(other, 1), delay_ticks=delay, faults=Faults(
                    drop=0.1, flip=0.1)) for one, other, delay in
                 (("a", "b", 3), ("b", "c", 17), ("c", "a", 8))]
        with Network({name: probe() for name in "abc"}, links=links, seed=2) as network:
            for name in "abc":
                words = rng.integers(0, 16, 60)
                gaps = rng.integers(0, 2, 60)
                network.send(name, b"".join(to_peer(int(gap), int(word)) for gap, word in
                                            zip(gaps, words, strict=True)))
            while network.tick < 4000:
                network.advance(min(step, 4000 - network.tick))
            received.append([network.receive(name) for name in "abc"])
            counts = network.counts(1)
    assert received[0] == received[1] == received[2]
    assert sum(len(part) for part in received[0]) > 1000
    assert counts[0]["dropped"] and counts[0]["flipped"]


def test_a_network_is_what_one_clock_would_make_of_it():
    """A word that is sent back at once by a third party arrives after the sum of the delays."""
    # A beat of one node every 128 ticks reaches two others over ways of different length.
    links = [Link(first=("a", 0), second=("b", 0), delay_ticks=11)]
    wires = [Wire(source="a", output="barrier", target="b", pin="peers", bit=1, delay_ticks=4),
             Wire(source="b", output="barrier", target="a", pin="peers", bit=0, delay_ticks=90)]
    with Network({"a": probe(), "b": probe()}, links=links, wires=wires) as network:
        assert network.quantum == 4
        network.send("a", bytes([0xA3]))
        network.advance(600)
        assert seen(network, "b") == [(128 * k + 11, 0, 3) for k in range(1, 5)]
        network.send("a", bytes([0x91]))
        network.send("b", bytes([0x91]))
        network.advance(400)
        assert seen(network, "b", Seen.BARRIER) == [(601 + 4, 0, 2)]
        assert seen(network, "a", Seen.BARRIER) == [(601 + 90, 0, 1)]


def test_a_wire_can_begin_at_one_line_of_an_output():
    wires = [Wire(source="a", output=f"ttl[{line}]", target="b", pin="peers", bit=bit)
             for line, bit in ((3, 0), (1, 1))]
    with Network({"a": probe(), "b": probe()}, wires=wires) as network:
        network.send("a", ttl(3) + ttl(0, 2) + ttl(1, 3))
        network.advance(100)
        assert seen(network, "b", Seen.BARRIER) == [(2, 0, 1), (3, 0, 0), (4, 0, 3), (5, 0, 0)]


def test_a_cut_link_and_a_mended_one():
    link = Link(first=("a", 0), second=("b", 0), delay_ticks=2)
    with Network({"a": probe(), "b": probe()}, links=[link]) as network:
        for cut in (True, False):
            (network.cut if cut else network.mend)(0, back=False)
            network.send("a", to_peer(0, 3))
            network.send("b", to_peer(0, 4))
            network.advance(100)
            assert len(seen(network, "b")) == (not cut)
            assert len(seen(network, "a")) == 1
        assert network.counts(0)[0] == {"words": 2, "dropped": 1, "flipped": 0}


def test_faults_have_their_rates():
    link = Link(first=("a", 0), second=("b", 0), delay_ticks=9,
                faults=Faults(drop=0.2, flip=0.3))
    words, sigmas = 4000, 5
    with Network({"a": probe(), "b": probe()}, links=[link], seed=11) as network:
        for _ in range(words // 50):
            network.send("a", to_peer(0, 5) * 50)
            network.advance(1000)
        counts, back = network.counts(0)
        came = seen(network, "b")
    assert counts["words"] == words and back["words"] == 0
    assert abs(counts["dropped"] - words * 0.2) < sigmas * math.sqrt(words * 0.2 * 0.8)
    flipped = words * 0.8 * 0.3
    assert abs(counts["flipped"] - flipped) < sigmas * math.sqrt(flipped)
    assert len(came) == words - counts["dropped"]
    assert sum(word != 5 for _, _, word in came) == counts["flipped"]
    assert {word ^ 5 for _, _, word in came} == {0, 1, 2, 4, 8}


def test_bursts_are_lost_whole():
    link = Link(first=("a", 0), second=("b", 0), delay_ticks=9, faults=Faults(lose=0.5))
    with Network({"a": probe(), "b": probe()}, links=[link], seed=1) as network:
        sizes = []
        for _ in range(200):
            network.send("a", to_peer(0, 7) * 5)
            network.advance(200)
            sizes.append(len(seen(network, "b")))
    assert set(sizes) == {0, 5}
    assert abs(sizes.count(5) - 100) < 5 * math.sqrt(50)


def test_a_power_cycle_makes_lines_low_and_keeps_the_worlds_time():
    link = Link(first=("a", 0), second=("b", 0), delay_ticks=20)
    wire = Wire(source="a", output="barrier", target="b", pin="peers", delay_ticks=1)
    with Network({"a": probe(), "b": probe()}, links=[link], wires=[wire]) as network:
        network.send("a", bytes([0x91]))
        network.advance(50)
        network.send("b", to_peer(0, 1))
        network.advance(10)
        network.power_cycle("a", 500)
        network.advance(600)
        # It went low when the power went, a tick away.
        assert seen(network, "b", Seen.BARRIER) == [(2, 0, 1), (61, 0, 0)]
        assert network.tick == 660
        # What came while it was off is gone.
        network.send("a", to_peer(0, 2))
        network.advance(200)
        assert seen(network, "a") == []
        assert seen(network, "b") == [(661 + 20, 0, 2)]


def optics(midpoint, **lines):
    lines = {"excite": "ttl[0]", **lines}
    return Optics(midpoint, [EmitterLines(node="a", **lines), EmitterLines(node="b", **lines)],
                  station="c", channels=(1, 0))


def star(optics, **options):
    return Network({"a": probe(), "b": probe(), "c": probe(live=optics.live)}, optics=[optics],
                   **options)


def test_an_excitation_clicks_at_its_exact_time():
    fibre = Fibre(length_m=100)
    arms = [Arm(emitter=Emitter(wavepacket_ps=(packet,)), fibre=fibre) for packet in (777, 5000)]
    midpoint = Midpoint(arms, bright=1, rng=np.random.default_rng(1))
    with star(optics(midpoint)) as network:
        assert network.quantum == fibre.delay_ps // TICK_PS == 61
        network.advance(1000)
        network.send("a", ttl(0))
        network.advance(500)
        network.send("b", ttl(0, 1))
        network.advance(500)
        clicks = seen(network, "c", Seen.CLICK)
    # The line is high in the tick after its byte.
    times = [1001 * TICK_PS + fibre.delay_ps + 777, 1501 * TICK_PS + fibre.delay_ps + 5000]
    assert [(tick, sample) for tick, _, sample in clicks] \
        == [(time // TICK_PS, time % TICK_PS // 2000) for time in times]
    assert midpoint.excited == [1, 1] and sum(midpoint.clicks) == 2


def test_lines_prepare_flip_and_excite_in_that_order():
    midpoint = Midpoint([Arm(fibre=Fibre(length_m=10))] * 2, bright=0,
                        rng=np.random.default_rng(1))
    lines = optics(midpoint, prepare="ttl[2]", flip="ttl[1]")
    with star(lines) as network:
        for k, rises in enumerate([(2, 0), (1, 0), (2, 1, 0), (0,), (1,), (0,)]):
            network.send("a", ttl(*rises))
            network.advance(100)
            assert len(seen(network, "c", Seen.CLICK)) == [0, 1, 1, 1, 0, 0][k]
    assert midpoint.excited == [5, 0]


def test_photons_do_not_depend_on_how_time_is_cut():
    found = []
    for step in (20_000, 7):
        arms = [Arm(emitter=Emitter(efficiency=0.8, lifetime_ps=90_000),
                    fibre=Fibre(length_m=length)) for length in (30, 600)]
        detector = Detector(dark_hz=5e5, jitter_ps=300, dead_time_ps=50_000)
        midpoint = Midpoint(arms, (detector, detector), bright=0.9, rng=np.random.default_rng(3))
        link = Link(first=("a", 0), second=("b", 0), delay_ticks=40)
        with star(optics(midpoint), links=[link]) as network:
            network.send("a", bytes([0xA1]))
            network.send("b", bytes([0xA2]))
            while network.tick < 20_000:
                network.advance(min(step, 20_000 - network.tick))
            found.append(seen(network, "c", Seen.CLICK))
            station = network.nodes["c"]
            assert len(found[-1]) == station.driven.sum()
            assert station.blind.sum() > 0
    assert len(found[0]) > 100
    assert found[0] == found[1]


def test_a_detector_is_blind_after_a_click():
    with probe(live={0: 100_000, 1: 0}) as engine:
        engine.advance(10)
        # Out of order; 12.5 ticks of dead time from the first that clicks.
        times = [(20 + k) * 8192 for k in (13, 0, 12, 26)]
        engine.add_photons(0, times)
        engine.add_photons(1, np.array(times))
        # Pulses of two samples need a low one between them.
        engine.add_photons(1, [100 * 8192 + k * 2048 for k in (2, 3, 4, 5)])
        engine.advance(1000)
        found = [(tick, number) for tick, _, number, _ in decode_seen(engine.receive())]
        assert found == [(20, 0), (20, 1), (32, 1), (33, 0), (33, 1), (46, 0), (46, 1),
                         (100, 1), (101, 1)]
        assert engine.driven.tolist() == [3, 6]
        assert engine.blind.tolist() == [1, 0] and engine.merged.tolist() == [0, 2]
        with pytest.raises(ValueError, match="1 of 2 photons on channel 0 are before tick 1010"):
            engine.add_photons(0, [0, 10**9])


def test_transports_share_one_loop():
    import asyncio

    async def talk(network):
        async with network.transport("a") as one, network.transport("b") as other:
            reader = asyncio.create_task(other.read())
            await one.write(to_peer(0, 12))
            words = decode_seen(await reader)
            assert [word[1:] for word in words] == [(Seen.WORD, 1, 12)]
            # Nothing is on its way after a while, so time stands.
            reader = asyncio.create_task(one.read())
            while network.busy:
                await asyncio.sleep(0)
            tick = network.tick
            await asyncio.sleep(0.01)
            assert network.tick == tick and not reader.done()
            await other.write(to_peer(1, 3))
            assert decode_seen(await reader)[0][1:] == (Seen.WORD, 0, 3)

    link = Link(first=("a", 0), second=("b", 1), delay_ticks=8)
    with Network({"a": probe(), "b": probe()}, links=[link]) as network:
        asyncio.run(talk(network))


def test_recording_less():
    with probe() as engine:
        engine.record(["ttl[3]"])
        engine.send(ttl(0, 3) + ttl(1))
        assert engine.advance(100) == Stop.TICKS
        assert [engine.output_lines[k] for k in engine.take_outputs()[1]] == ["ttl[3]"] * 2
        engine.record()
        engine.send(ttl(0))
        engine.advance(100)
        assert len(engine.take_outputs()[0]) == 2


def midpoint(length_m=100):
    return Midpoint([Arm(fibre=Fibre(length_m=length_m))] * 2, rng=np.random.default_rng(1))


@pytest.mark.parametrize("options, message", [
    ({"links": [Link(first=("a", 2), second=("b", 0), delay_ticks=1)]},
     "Node 'a' has no output 'peer_o__2' for a wire"),
    ({"links": [Link(first=("a", 0), second=("x", 0), delay_ticks=1)]},
     "There is no node 'x'; there are a, b, c"),
    ({"links": [Link(first=("a", 0), second=("b", 0), delay_ticks=0)]},
     "A wire takes at least 1 tick, not 0"),
    ({"wires": [Wire(source="a", output="ttl", target="b", pin="peers")]},
     "Output 'ttl' has 4 bits and does not fit into 'peers', which has 2, from bit 0 on"),
    ({"wires": [Wire(source="a", output="ttl[4]", target="b", pin="peers")]},
     "Node 'a' has no output 'ttl[4]' for a wire"),
    ({"wires": [Wire(source="a", output="barrier", target="b", pin="peer")]},
     "Node 'b' has no input 'peer'; it has peers, peer_i__0, peer_i__1"),
    ({"wires": [Wire(source="a", output="peer_o__0", target="b", pin="peers")]},
     "Output 'peer_o__0' has 5 bits and does not fit"),
    ({"optics": [optics(midpoint())]}, "Channel 1 of 'c' must be live"),
    ({"optics": [Optics(midpoint(), [EmitterLines(node="a", excite="ttl[0]")] * 2, station="c")]},
     "Channel 0 of 'c' must be live"),
])
def test_construction_errors(options, message):
    with pytest.raises(ValueError) as error:
        Network({name: probe() for name in "abc"}, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("make, message", [
    (lambda: star(optics(midpoint(length_m=0.1))), "make the fibres longer"),
    (lambda: star(optics(midpoint(), flip="ttl[0]")), "must differ, not be ttl[0], ttl[0]"),
    (lambda: star(optics(midpoint(), flip="ttl[4]")), "no output line 'ttl[4]'"),
    (lambda: Faults(drop=2), "drop is a probability, 0 to 1, not 2"),
    (lambda: Network({}), "A network needs at least one node"),
    (lambda: probe(live={2: 0}), "There is no channel 2: this node has channels 0 to 1"),
    (lambda: probe(live={0: 0}, sources=["poisson:1e6"]), "sources or live channels, not both"),
])
def test_more_construction_errors(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


def test_a_closed_network_says_so():
    network = Network({"a": probe()})
    network.close()
    network.close()
    with pytest.raises(RuntimeError, match="is closed; make a new one"):
        network.advance(1)
