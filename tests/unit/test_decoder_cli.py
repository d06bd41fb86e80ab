"""``quantacore decode`` without a node: sources, images, files of shots, scores."""

import numpy as np
import pytest
from click.testing import CliRunner

from quantacore.gateware.layouts.decoder import DecoderImage
from quantacore.host.cli import quantacore
from quantacore.host.qec.experiment import Score, read_shots, read_source, score
from quantacore.host.qec.graph import ModelError
from quantacore.sim.node.options import decoder_shape, node_options

stim = pytest.importorskip("stim")

CODE = "surface_code:rotated_memory_z,d=3,p=0.004"


def call(*arguments):
    result = CliRunner().invoke(quantacore, ["decode", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize("command", [(), ("compile",), ("run",), ("info",)])
def test_help_has_examples(command):
    code, text = call(*command, "--help")
    assert code == 0
    assert "Examples:" in text and "quantacore decode" in text


def test_compile_and_info(tmp_path):
    path = tmp_path / "d3.qcdi"
    code, text = call("compile", CODE, "-o", path)
    assert code == 0, text
    for part in ("periodic", "PAIR", "space_bits=2", "LFE5U-85F", "Image:"):
        assert part in text
    image = DecoderImage.from_bytes(path.read_bytes())
    assert image.about["distance"] == 3
    code, again = call("info", path)
    assert code == 0
    assert [line for line in again.splitlines() if "PAIR" in line] == [
        line for line in text.splitlines() if "PAIR" in line]


def test_compile_takes_settings(tmp_path):
    path = tmp_path / "small.qcdi"
    assert call("compile", CODE, "-o", path, "--commit", 4, "--buffer", 2, "--reach", 50,
                "--capacity", 8, "--cluster", 6, "--no-correlation")[0] == 0
    image = DecoderImage.from_bytes(path.read_bytes())
    assert [image.settings[name] for name in ("commit", "buffer", "reach")] == [4, 2, 50]
    assert (image.shape.capacity, image.shape.cluster, image.shape.correlation) == (8, 6, False)


def test_compile_a_model(tmp_path):
    dem = tmp_path / "model.dem"
    read_source(CODE).model.to_file(dem)
    path = tmp_path / "full.qcdi"
    assert call("compile", dem, "-o", path, "--kind", "full")[0] == 0
    image = DecoderImage.from_bytes(path.read_bytes())
    assert image.about["kind"] == "full"
    assert decoder_shape(path) == image.shape == node_options(decoder=str(path))["config"].decoder


@pytest.mark.parametrize("distance", [3, 5, 7])
def test_shape_for_a_distance_is_the_compilers(distance):
    image = read_source(f"surface_code:rotated_memory_z,d={distance},p=0.003").compile()
    assert decoder_shape(distance=str(distance)) == image.shape


@pytest.mark.parametrize("options, text", [
    ({"distance": "4"}, "distance must be odd, 3 to 21, not 4"),
    ({"distance": "five"}, "distance must be a whole number, not 'five'"),
    ({"distance": 3, "decoder": "x"}, "give one"),
    ({"decoder": "not/there.qcdi"}, "not/there.qcdi: No such file.*decode compile"),
])
def test_wrong_decoders_of_virtual_nodes(options, text):
    with pytest.raises(ValueError, match=text):
        node_options(**options)


@pytest.mark.parametrize("source, text", [
    ("nothing", "'nothing' is no .stim or .dem file and no generated code"),
    ("missing.dem", "There is no file missing.dem"),
    (CODE + ",q=3", "'q=3' in .* means nothing"),
    ("surface_code:rotated_memory_z,d=x", "d=x is not a number"),
    ("surface_code:round", "(?i)unrecognized|not one of|should"),
])
def test_sources_that_mean_nothing(source, text, tmp_path):
    with pytest.raises(ModelError, match=text):
        read_source(source)
    code, output = call("compile", source, "-o", tmp_path / "x.qcdi")
    assert code == 1
    assert "Unexpected" not in output


@pytest.mark.parametrize("name", ["bad.stim", "bad.dem"])
def test_files_that_are_not_circuits(name, tmp_path):
    path = tmp_path / name
    path.write_text("HELLO 5\n")
    with pytest.raises(ModelError, match=f"{name} is not a"):
        read_source(str(path))


@pytest.mark.parametrize("suffix", ["b8", "01", "dets"])
def test_shots_come_back_from_files(suffix, tmp_path):
    source = read_source(CODE)
    shots = source.sample(20, seed=1)
    path, truth = tmp_path / f"shots.{suffix}", tmp_path / f"flips.{suffix}"
    detectors, flips = source.model.num_detectors, source.model.num_observables
    stim.write_shot_data_file(data=shots.detections, path=str(path), format=suffix,
                              num_detectors=detectors)
    stim.write_shot_data_file(data=shots.flips, path=str(truth), format=suffix,
                              num_observables=flips)
    alone = read_shots(path, source.model)
    assert (alone.detections == shots.detections).all() and alone.flips is None
    both = read_shots(path, source.model, observables=truth)
    assert (both.flips == shots.flips).all()
    joined = tmp_path / f"both.{suffix}"
    stim.write_shot_data_file(data=np.concatenate([shots.detections, shots.flips], axis=1),
                              path=str(joined), format=suffix, num_detectors=detectors,
                              num_observables=flips)
    appended = read_shots(joined, source.model, appended=True)
    assert (appended.detections == shots.detections).all()
    assert (appended.flips == shots.flips).all()


def test_files_of_other_shots_are_refused(tmp_path):
    source = read_source(CODE)
    (tmp_path / "x.b8").write_bytes(b"1234567")
    (tmp_path / "x.csv").write_text("0,1")
    with pytest.raises(ModelError, match="x.b8 has no shots of a model with"):
        read_shots(tmp_path / "x.b8", source.model)
    with pytest.raises(ModelError, match="x.csv: shots are in files that end in .b8, .01"):
        read_shots(tmp_path / "x.csv", source.model)
    with pytest.raises(ModelError, match="There is no file .*y.b8"):
        read_shots(tmp_path / "y.b8", source.model)


def test_scores_have_bounds():
    one = Score("x", 1000, 10)
    assert one.low < one.rate < one.high
    assert one.high - one.low == pytest.approx(2 * (0.01 * 0.99 / 1000) ** 0.5, rel=0.02)
    none = Score("x", 100, 0)
    assert (none.low, none.rate) == (0, 0) and 0.005 < none.high < 0.02


def test_a_shot_is_wrong_if_any_observable_is():
    shots = read_source(CODE).sample(4, 1)
    truth = np.array([[0, 1], [1, 1], [0, 0], [0, 0]], bool)
    shots = type(shots)(shots.detections, truth)
    found = np.array([[0, 1], [0, 1], [1, 1], [0, 0]], bool)
    assert score("x", found, shots).errors == 2


@pytest.mark.parametrize("arguments, text", [
    (("--observables", "IMAGE"), "go with --file"),
    (("--plot", "x.png"), "ends in .svg or .html"),
])
def test_run_checks_its_options(arguments, text, tmp_path):
    path = tmp_path / "d3.qcdi"
    path.write_bytes(read_source(CODE).compile().to_bytes())
    arguments = [str(path) if word == "IMAGE" else word for word in arguments]
    code, output = call("run", path, CODE, *arguments)
    assert code == 2
    assert text in output
