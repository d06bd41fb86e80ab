"""The golden decoder as a sinter decoder, and what escapes it."""

import pickle

import numpy as np
import pytest

stim = pytest.importorskip("stim")
sinter = pytest.importorskip("sinter")
pymatching = pytest.importorskip("pymatching")

from quantacore.sim.qec import streaming  # noqa: E402


def circuit(distance=3, p=0.01, rounds=12):
    return stim.Circuit.generated(
        "surface_code:rotated_memory_x", distance=distance, rounds=rounds,
        after_clifford_depolarization=p, before_measure_flip_probability=p)


def shots_of(one, shots=500, seed=5):
    return one.compile_detector_sampler(seed=seed).sample(shots, separate_observables=True)


def test_sinter_predicts_with_it():
    one = circuit()
    dem = one.detector_error_model(decompose_errors=True)
    detections, observables = shots_of(one)
    for name, decoder in streaming.sinter_decoders().items():
        predicted = sinter.predict_observables(dem=dem, dets=detections, decoder=name,
                                               custom_decoders={name: decoder})
        direct, _ = decoder.compile_decoder_for_dem(dem=dem).decode(detections)
        assert np.array_equal(predicted, direct)
        assert (predicted != observables).mean() < 0.2


def test_decoder_travels_to_workers():
    decoder = pickle.loads(pickle.dumps(streaming.StreamingDecoder(cluster=6, reach=90)))
    dem = circuit().detector_error_model(decompose_errors=True)
    compiled = decoder.compile_decoder_for_dem(dem=dem)
    assert compiled.image.shape.cluster == 6
    assert compiled.settings["reach"] == 90


def test_all_escaped_is_what_pymatching_says():
    one = circuit()
    dem = one.detector_error_model(decompose_errors=True)
    detections, _ = shots_of(one)
    compiled = streaming.StreamingDecoder().compile_decoder_for_dem(dem=dem)
    shot, detector = np.nonzero(detections)
    basis, space, layer = compiled.nodes[detector].T
    escapes = np.stack([shot, basis, layer, space], axis=1)
    flips = streaming.decode_escapes(dem, compiled.nodes, escapes, len(detections))
    matching = pymatching.Matching.from_detector_error_model(dem)
    assert np.array_equal(flips, matching.decode_batch(detections).astype(bool))


def test_clusters_over_the_bound_are_decoded_all_the_same():
    one = circuit(5, 0.006, 15)
    dem = one.detector_error_model(decompose_errors=True)
    detections, observables = shots_of(one, 3000)
    compiled = streaming.StreamingDecoder(cluster=4, correlation=False).compile_decoder_for_dem(
        dem=dem)
    flips, result = compiled.decode(detections)
    assert result.statistics.counters["escapes"] > 100
    with_help = (flips != observables).sum()
    alone = (result.flips != observables).sum()
    assert with_help < alone


def test_other_detections_are_refused():
    dem = circuit().detector_error_model(decompose_errors=True)
    compiled = streaming.StreamingDecoder().compile_decoder_for_dem(dem=dem)
    with pytest.raises(ValueError, match=r"detections must have the shape \(shots, 96\), not"):
        compiled.decode(np.zeros((3, 95)))


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(streaming, "entry_points", lambda group: [])
    with pytest.raises(RuntimeError, match="No decoder compiler .compile_dem. is installed"):
        streaming.StreamingDecoder().compile_decoder_for_dem(
            dem=circuit().detector_error_model(decompose_errors=True))
