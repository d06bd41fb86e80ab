"""The decoder's driver, over a golden node with a golden decoder."""

import dataclasses

import numpy as np
import pytest

import quantacore.host.sync
from quantacore.gateware.layouts.decoder import (
    DecoderRecordKind,
    DecoderShape,
    ImageError,
    MatchRecord,
    TimingRecord,
    VerdictRecord,
)
from quantacore.gateware.layouts.decoder_registers import RoundHeader
from quantacore.host.driver.decoder import DecoderMissingError, image_identity, pack_rounds
from quantacore.host.driver.errors import LinkError
from quantacore.host.driver.node import Node
from quantacore.host.driver.verdicts import ShotAssembler, VerdictError, split_records
from quantacore.host.qec import ModelError, compile_circuit, shot_layers
from quantacore.host.qec.escapes import EscapeDecoder
from quantacore.host.qec.experiment import erasures_of, read_source
from quantacore.sim.bench.golden_decoder import LATENCY_TICKS, GoldenDecoderEndpoint
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
from quantacore.sim.golden.decoder.plain import Decoder
from quantacore.sim.golden.endpoint import GoldenEndpoint

pytest.importorskip("stim")

from quantacore.sim.qec.circuits import erasure_circuit, memory_circuit  # noqa: E402

P = 0.008


def circuit(rounds, distance=3):
    return memory_circuit(distance, rounds, P)


IMAGE = compile_circuit(circuit)
MODEL = circuit(7).detector_error_model(decompose_errors=True)


def shots_of(count, seed=3):
    detections, flips = MODEL.compile_sampler(seed=seed).sample(count)[:2]
    return shot_layers(IMAGE, MODEL, detections), flips


def on_decoder(scenario, *, shape=IMAGE.shape):
    async def main():
        golden = GoldenTransport(GoldenDecoderEndpoint(shape))
        async with await Node.connect(golden) as node:
            return await scenario(node, golden.endpoint)

    return run_in_simulated_time(main())


def verdicts_of(shots, **settings):
    """The golden model's verdicts, shot by shot."""
    result = []
    for shot in shots:
        decoder, verdicts = Decoder(IMAGE, **settings), []
        for layer in range(shot.shape[1]):
            verdicts += decoder.feed([np.flatnonzero(shot[basis, layer]) for basis in range(2)],
                                     last=layer == shot.shape[1] - 1)
        result.append(verdicts)
    return result


def test_identity_and_shape():
    async def scenario(node, golden):
        assert node.identity.decoder
        assert await node.decoder.shape() == IMAGE.shape

    on_decoder(scenario)


def test_a_node_without_a_decoder_says_so():
    async def main():
        async with await Node.connect(GoldenTransport(GoldenEndpoint())) as node:
            assert not node.identity.decoder
            with pytest.raises(DecoderMissingError, match="built without a decoder; build one"):
                await node.decoder.load(IMAGE)

    run_in_simulated_time(main())


def test_load_brings_every_word(tmp_path):
    path = tmp_path / "d3.qcdi"
    path.write_bytes(IMAGE.to_bytes())

    async def scenario(node, golden):
        seen = []
        await node.decoder.load(path, progress=lambda done, total: seen.append((done, total)))
        for (basis, table), words in golden.tables.items():
            assert words == IMAGE.words(basis, table)
        assert set(IMAGE.tables) <= set(golden.tables)
        assert seen[-1][0] == seen[-1][1] == sorted(seen)[-1][0]
        settings = await node.decoder.settings()
        assert (settings.commit, settings.buffer, settings.reach) == tuple(
            IMAGE.settings[name] for name in ("commit", "buffer", "reach"))
        assert settings.correlation and not settings.enable and not settings.matches
        assert settings.image_id == image_identity(IMAGE)
        assert await node.decoder.check_image(IMAGE)
        # The node has it: nothing is sent again.
        seen.clear()
        await node.decoder.load(IMAGE, progress=lambda *_: seen.append(1))
        assert not seen
        await node.decoder.load(IMAGE, progress=lambda *_: seen.append(1), force=True)
        assert seen

    on_decoder(scenario)


@pytest.mark.parametrize("change, text", [
    ({"space_bits": 4}, r"this one has space_bits 4 \(the image has 2\)"),
    ({"observables": 2}, r"observables 2 \(the image has 1\)"),
    ({"delta_bits": 3}, r"delta_bits 3 \(the image has 2\)"),
    ({"correlation": False}, r"correlation False \(the image has True\)"),
])
def test_an_image_for_another_build_is_refused(change, text):
    async def scenario(node, golden):
        with pytest.raises(ImageError, match=text) as caught:
            await node.decoder.load(IMAGE)
        assert f"node built with {IMAGE.shape!r}" in str(caught.value)
        assert not golden.tables

    on_decoder(scenario, shape=dataclasses.replace(IMAGE.shape, **change))


def test_a_damaged_image_is_refused(tmp_path):
    path = tmp_path / "bad.qcdi"
    content = bytearray(IMAGE.to_bytes())
    content[200] ^= 1
    path.write_bytes(content)

    async def scenario(node, golden):
        with pytest.raises(ImageError, match="damaged"):
            await node.decoder.load(path)

    on_decoder(scenario)


def test_nothing_is_decoded_without_an_image():
    async def scenario(node, golden):
        with pytest.raises(DecoderMissingError, match="has no image"):
            async with node.decoder:
                pass
        with pytest.raises(DecoderMissingError, match="has no image"):
            await node.decoder.enable()

    on_decoder(scenario)


def test_shots_are_decoded_as_by_the_model():
    shots, flips = shots_of(40)
    expected = verdicts_of(shots)

    async def scenario(node, golden):
        await node.decoder.load(IMAGE)
        await node.decoder.configure(matches=True)
        async with node.decoder as decoder:
            found = await decoder.decode_shots(shots, batch=16)
            counters = await decoder.counters()
            latency = await decoder.latency()
            frames = await decoder.frames()
        return found, counters, latency, frames

    found, counters, latency, frames = on_decoder(scenario)
    assert [shot.number for shot in found] == list(range(40))
    for shot, verdicts in zip(found, expected, strict=True):
        assert shot.rounds == shots.shape[2]
        ours = sorted((w.basis, w.round, w.layers, w.flips, w.last, w.defects, w.largest)
                      for w in shot.windows)
        theirs = sorted((v.basis, v.first, v.committed, v.flips, v.last, v.defects, v.largest)
                        for v in verdicts)
        assert ours == theirs
        assert sorted((m.basis, m.node, m.other or (), m.flips) for m in shot.matches) == sorted(
            (v.basis, m.a, m.b or (), m.obs) for v in verdicts for m in v.matches)
        assert shot.complete
    wrong = sum(bool(shot.observables(1)[0] != flip) for shot, flip in
                zip(found, flips[:, 0], strict=True))
    assert wrong < 12
    windows = sum(map(len, expected))
    assert (counters.verdicts, counters.accepted, counters.lost) == (windows, shots.shape[2] * 40,
                                                                     0)
    assert counters.matches == sum(len(v.matches) for vs in expected for v in vs)
    assert latency.counts.sum() == 2 * shots.shape[2] * 40
    assert np.flatnonzero(latency.counts).tolist() == [LATENCY_TICKS // latency.bin_ticks]
    assert latency.quantile_s(0.5) == pytest.approx(
        (LATENCY_TICKS // latency.bin_ticks + 1) * latency.bin_ticks * 8e-9)
    assert [frame.rounds for frame in frames] == [shots.shape[2]] * 2


def test_a_shot_may_come_in_pieces():
    shots, _ = shots_of(3)

    async def scenario(node, golden):
        await node.decoder.load(IMAGE)
        async with node.decoder as decoder:
            whole = await decoder.decode_shots(shots[:1])
            rounds = shots[0].transpose(1, 0, 2)
            for k in range(len(rounds)):
                await decoder.enqueue_syndromes(rounds[k:k + 1], last=k == len(rounds) - 1)
            pieces = await decoder.get_corrections(1)
            assert pieces[0].windows == whole[0].windows
            # Half a shot, and then none of it.
            await decoder.enqueue_syndromes(rounds[:4], last=False)
            with pytest.raises(ValueError, match="A shot of 4 rounds is open"):
                await decoder.enqueue_shots(shots)
            await decoder.reset_decoder()
            again = await decoder.decode_shots(shots[:1])
            assert again[0].windows == whole[0].windows
            assert again[0].number == 0
            assert await decoder.get_corrections() == []

    on_decoder(scenario)


def test_raw_rounds_are_compared_with_the_round_before():
    shots, _ = shots_of(5)
    shots[:, 1, 0] = 0  # the first outcomes of basis 1 are random: no detection events
    raw = np.bitwise_xor.accumulate(shots, axis=2)

    async def scenario(node, golden):
        await node.decoder.load(IMAGE)
        async with node.decoder as decoder:
            events = await decoder.decode_shots(shots)
            outcomes = await decoder.decode_shots(raw, raw=True)
            assert [s.windows for s in events] == [s.windows for s in outcomes]

    on_decoder(scenario)


def test_escapes_stand_with_their_windows():
    small = dataclasses.replace(IMAGE.shape, cluster=2)
    image = dataclasses.replace(IMAGE, shape=small)
    shots, expected = shots_of(60)

    async def scenario(node, golden):
        await node.decoder.load(image)
        async with node.decoder as decoder:
            found = await decoder.decode_shots(shots)
            assert (await decoder.counters()).escapes == sum(
                len(w.escapes) for shot in found for w in shot.windows)
        assert not all(shot.complete for shot in found)
        for shot in found:
            for window in shot.windows:
                assert bool(window.escapes) == window.escaped
                for round_, space in window.escapes:
                    assert shots[shot.number, window.basis, round_, space]
        # The host decodes them, and gets better by it.
        escapes = EscapeDecoder(image, circuit(7))
        flips = escapes.flips(found)
        assert escapes.decoded == sum(bool(w.escapes) for shot in found for w in shot.windows)
        plain = np.array([shot.observables(1) for shot in found])
        assert (flips != expected).sum() <= (plain != expected).sum()
        assert (flips != expected).sum() < 12
        with pytest.raises(ModelError, match="no detector at space 0 of basis 0 in round 99"):
            escapes.syndrome(0, [(99, 0)])

    on_decoder(scenario, shape=small)


def test_closed_decoder_refuses_rounds():
    async def scenario(node, golden):
        await node.decoder.load(IMAGE)
        with pytest.raises(LinkError, match="async with node.decoder as decoder"):
            await node.decoder.enqueue_syndromes(np.zeros((1, 2, 4)))

    on_decoder(scenario)


@pytest.mark.parametrize("settings, text", [
    ({"commit": 0}, "commit 0 and buffer 3 don't fit"),
    ({"commit": 6}, "1 to 8 layers; commit 6 and buffer 3"),
    ({"reach": 255}, "Reach must be 0 to 254, not 255"),
])
def test_settings_have_limits(settings, text):
    async def scenario(node, golden):
        await node.decoder.load(IMAGE)
        with pytest.raises(ValueError, match=text):
            await node.decoder.configure(**settings)

    on_decoder(scenario)


def test_packed_rounds():
    shape = DecoderShape(space_bits=6, sites=3)
    rounds = np.zeros((2, 2, 40), np.uint8)
    rounds[0, 0, [0, 33]] = rounds[1, 1, 39] = 1
    words = pack_rounds(shape, rounds, number=5, first=False, raw=True, erasures=[[0, 1, 0]] * 2)
    assert words.tolist() == [
        [RoundHeader.const({"number": 5, "raw": 1, "erased": 1}).as_bits(), 1, 2, 0, 0, 2],
        [RoundHeader.const({"number": 6, "raw": 1, "erased": 1, "last": 1}).as_bits(), 0, 0, 0,
         1 << 7, 2]]


@pytest.mark.parametrize("rounds, options, text", [
    (np.zeros((2, 3, 4)), {}, r"shape \(rounds, 2, up to 4 spaces\), not \(2, 3, 4\)"),
    (np.zeros((2, 2, 5)), {}, r"up to 4 spaces\), not \(2, 2, 5\)"),
    (np.zeros((2, 2, 4)), {"number": (1 << 28) - 1}, "below 2\\*\\*28"),
    (np.zeros((2, 2, 4)), {"erasures": np.zeros((2, 1))}, r"\(2, up to 0 sites\)"),
])
def test_wrong_rounds_are_refused(rounds, options, text):
    with pytest.raises(ValueError, match=text):
        pack_rounds(IMAGE.shape, rounds, **options)


def verdict(basis, round_, layers, **fields):
    return VerdictRecord.const({"basis": basis, "round": round_, "layers": layers,
                                "kind": DecoderRecordKind.VERDICT, **fields}).as_bits()


def timing(basis):
    return TimingRecord.const({"basis": basis, "latency": 9,
                               "kind": DecoderRecordKind.TIMING}).as_bits()


def test_bases_may_be_shots_apart():
    last = {"flags": {"last": 1}}
    assembler = ShotAssembler()
    records = [verdict(0, 0, 4), timing(0), verdict(0, 4, 3, obs=3, **last), timing(0),
               verdict(0, 0, 7, **last), timing(0), verdict(1, 0, 7, obs=1, **last)]
    assert assembler.feed(np.array(records, np.uint64)) == []
    assert assembler.windows_under_way == 0
    shots = assembler.feed(np.array([timing(1)], np.uint64))
    assert [(shot.number, shot.flips, shot.rounds) for shot in shots] == [(0, 2, 7)]
    assert shots[0].observables(3).tolist() == [False, True, False]


def test_late_rounds_of_matches_are_whole():
    first = (1 << 24) - 2
    assembler = ShotAssembler()
    match = MatchRecord.const({"round": 1, "delta": 2, "other_space": 3, "space": 2,
                               "kind": DecoderRecordKind.MATCH}).as_bits()
    assembler._bases[0].windows.append(type("Window", (), {"layers": first}))
    assembler.feed(np.array([match, verdict(0, first, 5), timing(0)], np.uint64))
    assert assembler._bases[0].windows[-1].matches[0].node == ((1 << 24) + 1, 2)


@pytest.mark.parametrize("records, text", [
    ([timing(0)], "without a verdict"),
    ([verdict(1, 0, 3), verdict(1, 3, 3)], "Two verdicts of basis 1"),
    ([verdict(0, 5, 3), timing(0)], "begins at round 5, not at 0"),
])
def test_missing_records_are_noticed(records, text):
    with pytest.raises(VerdictError, match=text):
        ShotAssembler().feed(np.array(records, np.uint64))


def test_records_are_split_in_order():
    others, ours = split_records(np.array([1 << 60, 8 << 60, 0, 11 << 60], np.uint64))
    assert others.tolist() == [1 << 60, 0]
    assert ours.tolist() == [8 << 60, 11 << 60]


def test_without_await():
    """The synchronous drivers have the same names."""
    assert callable(quantacore.host.sync.connect)


def test_erasures_go_along_with_their_rounds(tmp_path):
    path = tmp_path / "heralds.stim"
    erasure_circuit(3, 14, P, 0.02).to_file(path)
    source = read_source(str(path))
    image = source.compile()
    shots = source.sample(10, seed=5)
    layers = shot_layers(image, source.circuit, shots.detections)
    erasures = erasures_of(image, source, shots)
    assert erasures.any() and image.shape.sites == 9
    expected = []
    for shot, flags in zip(layers, erasures, strict=True):
        decoder = Decoder(image)
        for layer, sites in enumerate(flags):
            for verdict in decoder.feed([np.flatnonzero(shot[b, layer]) for b in range(2)],
                                        np.flatnonzero(sites), last=layer == len(flags) - 1):
                expected.append((verdict.basis, verdict.first, verdict.flips))

    async def scenario(node, golden):
        await node.decoder.load(image)
        async with node.decoder as decoder:
            found = await decoder.decode_shots(layers, erasures=erasures)
        assert sorted((w.basis, w.round, w.flips) for shot in found for w in shot.windows) == \
            sorted(expected)
        assert EscapeDecoder(image, source.circuit).flips(found).shape == (10, 1)

    on_decoder(scenario, shape=image.shape)
