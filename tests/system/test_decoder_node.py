"""Shots through a virtual node with a decoder: link, registers, gateware, driver, command."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from quantacore.gateware.layouts.decoder import ImageError
from quantacore.host import sync
from quantacore.host.cli import quantacore
from quantacore.host.driver.decoder import DecoderMissingError
from quantacore.host.driver.errors import UnmappedError
from quantacore.host.qec.escapes import EscapeDecoder
from quantacore.host.qec.experiment import matching_flips, read_source, score, shot_layers_of
from quantacore.host.tags.decode import DecodeState, decode
from quantacore.sim.golden.decoder.fast import decode_shots
from quantacore.sim.node.options import decoder_shape

pytest.importorskip("stim")

NODE = "virtual:?channels=1&samples=1&distance=3"
CODE = "surface_code:rotated_memory_z,d=3,p=0.006"


@pytest.fixture(scope="module")
def source():
    return read_source(CODE)


@pytest.fixture(scope="module")
def image(source):
    return source.compile(shape=decoder_shape(distance=3))


@pytest.fixture(scope="module")
def shots(source):
    return source.sample(300, seed=11)


@pytest.fixture
def node():
    with sync.connect(NODE) as node:
        yield node


def test_gateware_says_what_the_golden_model_says(node, source, image, shots):
    layers = shot_layers_of(image, source, shots)
    golden = decode_shots(image, layers, records=True)
    node.decoder.load(image)
    node.decoder.configure(matches=True)
    with node.decoder as decoder:
        found = decoder.decode_shots(layers)
        counters, latency = decoder.counters(), decoder.latency()
        assert decoder.idle()
        assert decoder.flags() == {}
    flips = np.array([shot.observables(1) for shot in found])
    assert (flips == golden.flips).all()
    matches = [(shot.number, m.basis, *m.node, *(m.other or (-1, -1)), m.flips)
               for shot in found for m in shot.matches]
    expected = [(s, b, r, space, *((r2, s2) if s2 >= 0 else (-1, -1)), obs)
                for s, b, r, space, r2, s2, obs, _ in golden.matches.tolist()]
    assert sorted(matches) == sorted(expected)
    rounds = layers.shape[2] * len(layers)
    assert (counters.link_rounds, counters.accepted) == (rounds, rounds)
    assert (counters.lost, counters.missing, counters.duplicates) == (0, 0, 0)
    assert counters.verdicts == sum(len(shot.windows) for shot in found)
    assert counters.second_passes == sum(w.second_pass for shot in found for w in shot.windows)
    assert latency.counts.sum() == 2 * rounds
    windows = [w for shot in found for w in shot.windows]
    assert counters.clocks_max == max(w.clocks for w in windows)
    assert counters.latency_max == max(w.latency_ticks for w in windows)
    # About as good as matching, on any seed: at most half as many again, and three sigma.
    ours, theirs = score("", flips, shots), score("", matching_flips(source.model, shots), shots)
    assert ours.errors <= 1.5 * theirs.errors + 3 * max(theirs.errors, 1) ** 0.5


def test_what_overflows_is_decoded_by_the_host(node, source, image, shots):
    layers = shot_layers_of(image, source, shots)[:40]
    layers[0, :, 1:8] = 1  # more defects than the list holds
    node.decoder.load(image)
    node.decoder.configure(correlation=False)
    golden = decode_shots(image, layers, correlation=False)
    with node.decoder as decoder:
        found = decoder.decode_shots(layers)
        counters, flags = decoder.counters(), decoder.flags()
    assert counters.overflows and flags["list_overflow"][0] == counters.overflows
    escapes = [(shot.number, w.basis, *node_) for shot in found for w in shot.windows
               for node_ in w.escapes]
    assert sorted(escapes) == sorted(map(tuple, golden.escapes.tolist()))
    assert counters.escapes == len(escapes)
    assert not found[0].complete
    host = EscapeDecoder(image, source.circuit)
    assert host.flips(found).shape == (40, 1)
    assert host.decoded


def test_reset_in_the_middle_of_a_shot_leaves_nothing(node, source, image, shots):
    layers = shot_layers_of(image, source, shots)[:4]
    node.decoder.load(image)
    with node.decoder as decoder:
        fresh = decoder.decode_shots(layers)
        decoder.enqueue_syndromes(np.ones((7, 2, 4)), last=False)
        decoder.reset_decoder()
        again = decoder.decode_shots(layers)
    assert [s.flips for s in again] == [s.flips for s in fresh]
    assert [len(s.windows) for s in again] == [len(s.windows) for s in fresh]


def test_tags_and_corrections_share_the_link(source, image, shots):
    layers = shot_layers_of(image, source, shots)[:30]
    with sync.connect(NODE + "&source=poisson:2e6,ch0&seed=5") as node:
        node.decoder.load(image)
        node.tagger.enable(0)
        with node.decoder as decoder:
            node.tagger.run()
            found = decoder.decode_shots(layers)
            node.tagger.stop()
            decoder.get_corrections()
            tags = np.concatenate(decoder.other_records)
            recorded = node.tagger.counters().recorded
    state = DecodeState()
    columns = decode(tags, state)
    assert len(columns) == recorded > 0
    assert (np.diff(columns.times) > 0).all()
    golden = decode_shots(image, layers)
    assert (np.array([shot.observables(1) for shot in found]) == golden.flips).all()


def test_an_image_of_another_distance_is_refused(node):
    other = read_source("surface_code:rotated_memory_z,d=5,p=0.003").compile()
    with pytest.raises(ImageError, match=r"space_bits 2 \(the image has 4\)"):
        node.decoder.load(other)


def test_a_raw_memory_is_decoded_like_its_events(node, source, image, shots):
    layers = shot_layers_of(image, source, shots)[:50]
    layers[:, 1, 0] = 0
    raw = np.bitwise_xor.accumulate(layers, axis=2)
    node.decoder.load(image)
    with node.decoder as decoder:
        events, outcomes = decoder.decode_shots(layers), decoder.decode_shots(raw, raw=True)
    plain = [[dataclasses.replace(w, latency_ticks=0, clocks=0, backlog=0) for w in s.windows]
             for s in events]
    assert plain == [[dataclasses.replace(w, latency_ticks=0, clocks=0, backlog=0)
                      for w in s.windows] for s in outcomes]


def test_command_runs_and_compares(tmp_path, image):
    path, plot = tmp_path / "d3.qcdi", tmp_path / "latency.html"
    path.write_bytes(image.to_bytes())
    result = CliRunner().invoke(quantacore, [
        "decode", "run", str(path), CODE, "--port", NODE, "--shots", "100", "--seed", "4",
        "--plot", str(plot), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [one["name"] for one in report["scores"]][::len(report["scores"]) - 1] == [
        "this decoder", "PyMatching"]
    assert report["counters"]["accepted"] == 100 * report["rounds"]
    assert sum(report["latency"]["counts"]) == 2 * 100 * report["rounds"]
    page = plot.read_text()
    assert "<svg" in page and "src=" not in page
    result = CliRunner().invoke(quantacore, ["decode", "run", str(path), CODE, "--port", NODE,
                                             "--shots", "20"])
    assert result.exit_code == 0, result.output
    assert "PyMatching" in result.output and "below" in result.output
    result = CliRunner().invoke(quantacore, ["decode", "info", "--port", NODE])
    assert result.exit_code == 0, result.output
    assert "none loaded" in result.output


def test_a_node_without_a_decoder_reads_zero():
    with sync.connect("virtual:") as node:
        assert not node.identity.decoder
        values = node.regs.decoder.read_all()
        assert all(int(value) == 0 for held in values.values() for value in
                   (held if isinstance(held, list) else [held]))
        with pytest.raises(UnmappedError):
            node.regs.decoder.commit.write(3)
        with pytest.raises(DecoderMissingError, match="built without a decoder"):
            node.decoder.shape()
