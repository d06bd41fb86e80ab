"""The benchmark of the decoder's accuracy: its noise, its statistics, its rows."""

from types import SimpleNamespace

import numpy as np
import pytest

stim = pytest.importorskip("stim")
pytest.importorskip("pymatching")
pytest.importorskip("numba")

from quantacore.sim.qec.circuits import erasure_circuit  # noqa: E402


@pytest.fixture
def accuracy(script):
    return script("decoder_accuracy")


@pytest.fixture
def noise(script):
    return script("decoder_noise")


def arguments_of(circuit, name):
    return {value for item in circuit if item.name == name for value in item.gate_args_copy()}


def test_si1000_has_its_published_strengths(noise):
    circuit = noise.si1000_circuit(3, 4, 0.001)
    assert arguments_of(circuit, "DEPOLARIZE2") == {0.001}
    assert arguments_of(circuit, "DEPOLARIZE1") == {0.0001, 0.002}
    assert arguments_of(circuit, "X_ERROR") == {0.002, 0.005}


def test_si1000_gives_every_qubit_noise_in_every_moment(noise):
    every = 17
    moments = str(noise.si1000_circuit(3, 2, 0.001)).split("TICK")
    for moment in moments:
        touched = set()
        for item in stim.Circuit(moment):
            if item.name in ("DEPOLARIZE1", "DEPOLARIZE2", "X_ERROR"):
                touched.update(target.value for target in item.targets_copy())
        # The last measurement's moment has all the data qubits, and the others wait.
        assert len(touched) == every, moment


def test_si1000_leaves_the_experiment_deterministic(noise):
    quiet = noise.si1000_circuit(3, 4, 0.001).without_noise()
    events = quiet.compile_detector_sampler(seed=1).sample(20, append_observables=True)
    assert not events.any()


@pytest.mark.parametrize("basis", ["x", "z"])
def test_erasures_are_heralded_once_a_round_on_each_data_qubit(basis):
    circuit = erasure_circuit(3, 5, 0.002, 0.02, basis)
    heralds = [item for item in circuit if item.name == "HERALDED_ERASE"]
    assert [len(item.targets_copy()) for item in heralds] == [9] * 5
    assert arguments_of(circuit, "HERALDED_ERASE") == {0.02}


def test_erasures_leave_the_experiment_deterministic():
    quiet = erasure_circuit(3, 5, 0.002, 0.02).without_noise()
    events = quiet.compile_detector_sampler(seed=1).sample(20, append_observables=True)
    assert not events.any()


def test_google_experiments_are_read(noise):
    experiments = noise.google_experiments()
    if not experiments:
        pytest.skip("needs google_qec3v5 in ../shared/data or QUANTACORE_DATA")
    path = next(iter(experiments.values()))
    model, detections, flips = noise.read_google(path)
    assert detections.shape == (50_000, model.num_detectors)
    assert {part.shape for part in flips.values()} == {(50_000,)}
    wrong = [(flips[kind] ^ flips["actual"]).sum() for kind in ("pymatching",
                                                                 "correlated_matching")]
    assert 0 < wrong[1] < wrong[0] < 10_000


def test_no_data_folder_is_no_experiments(noise, tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTACORE_DATA", str(tmp_path))
    assert noise.google_experiments() == {}


def test_ratio_of_a_decoder_to_itself_is_one_without_error(accuracy):
    wrong = np.arange(100) % 7 == 0
    assert accuracy.ratio(wrong, wrong) == (1.0, 0.0)


def test_error_bar_is_the_spread_over_repeats(accuracy):
    rng = np.random.default_rng(5)
    found = []
    for _ in range(400):
        draw = rng.random(20_000)
        ours = draw < 0.012                       # 0.009 of these both get wrong
        theirs = (draw >= 0.003) & (draw < 0.018)
        found.append(accuracy.ratio(ours, theirs))
    ratios, errors = np.array(found).T
    assert abs(ratios.mean() - 0.8) < 0.01
    # The spread of 400 values is known to 3.5 %: four of those.
    assert abs(ratios.std() / errors.mean() - 1) < 0.15


@pytest.mark.parametrize("ours, theirs, expected", [
    ([], [0, 1], (0.0, 0.5)), ([0, 1], [], (2.0, 2.0)), ([], [], (0.0, 1.0))])
def test_ratio_without_failures_is_finite(accuracy, ours, theirs, expected):
    columns = []
    for ones in (ours, theirs):
        columns.append(np.zeros(10, bool))
        columns[-1][ones] = True
    assert accuracy.ratio(*columns) == expected


@pytest.mark.parametrize("ours, missed", [(120, 0), (900, 1)])
def test_target_is_missed_beyond_the_error_bar_only(accuracy, ours, missed):
    wrong = np.arange(10_000) < ours
    theirs = np.arange(10_000)[::-1] < 110
    found = []
    rows = accuracy.ratio_row("decoder_accuracy/a", "ratio_to_mwpm", wrong, theirs, "text", 1.05,
                              found)
    assert [row.name for row in rows] == ["decoder_accuracy/a/ratio_to_mwpm",
                                          "decoder_accuracy/a/ratio_error_to_mwpm"]
    assert rows[0].anchor == 1.05
    assert len(found) == missed


def test_rate_per_round_adds_up(accuracy):
    rate, error = accuracy.per_round(1000, 10_000, 15)
    assert abs((1 - (1 - 2 * rate) ** 15) / 2 - 0.1) < 1e-12
    assert 0 < error < rate / 10


def test_rows_of_a_case_have_the_common_form(accuracy, script):
    case = next(case for case in accuracy.CASES if case.name == "z_d3_p0.005")
    steps = []
    rows = accuracy.case_rows(case, 300, 1, steps.append, [])
    assert steps == [300]
    assert script("run_all").problems_of("decoder_accuracy", [vars(row) for row in rows]) == []
    figures = {row.name.rpartition("/")[2]: row.figure for row in rows}
    assert {"shots", "errors_ours", "errors_mwpm", "errors_correlated_mwpm", "ratio_to_mwpm",
            "ratio_error_to_mwpm", "ratio_gateware_alone", "ratio_plain_to_mwpm",
            "escapes_per_round"} <= set(figures)
    assert 0 < figures["errors_mwpm"] < 60


def test_side_band_of_erasures_helps(accuracy):
    rows = accuracy.erasure_rows(3, 0.001, 0.05, 400, 1, lambda count: None)
    errors = {row.name.rpartition("_")[2]: row.figure for row in rows if "/errors_" in row.name}
    # Some hundred against half as many: three standard deviations and more.
    assert errors["band"] < errors["blind"]


class Recorded:
    """In the gateware's place: the golden model's own records, with one of them changed."""

    spoil = None

    def __init__(self, image):
        self.image = image

    def run(self, words, *, windows):
        from quantacore.sim.golden.decoder.fast import decode_shots

        golden = decode_shots(self.image, words, records=True)
        names = ("basis", "round", "layers", "obs")
        verdicts = dict(zip(names, golden.windows[:, [1, 2, 3, 5]].T.copy(), strict=True))
        matches = {name: [] for name in ("basis", "round", "space", "boundary", "delta",
                                         "other_space", "obs")}
        for _, basis, t, s, t2, u, obs, _ in golden.matches.tolist():
            ends = sorted([(t, s)] + ([] if u < 0 else [(t2, u)]))
            for name, value in zip(matches, (basis, *ends[0], u < 0, ends[-1][0] - ends[0][0],
                                             ends[-1][1], obs), strict=True):
                matches[name].append(value)
        matches = {name: np.array(column) for name, column in matches.items()}
        escapes = dict(zip(("basis", "round", "space"), golden.escapes[:, 1:].T, strict=True))
        if self.spoil == "verdict":
            verdicts["obs"][3] ^= 1
        elif self.spoil == "match":
            matches["obs"][0] ^= 1
        return SimpleNamespace(verdicts=verdicts, matches=matches, escapes=escapes)


@pytest.mark.parametrize("spoil, differences", [(None, 0), ("verdict", 1), ("match", 2)])
def test_gateware_that_differs_is_counted(accuracy, monkeypatch, spoil, differences):
    from quantacore.host.qec import compile_circuit, shot_layers
    from quantacore.sim.bench import decoder

    monkeypatch.setattr(decoder, "FastDecoder", Recorded)
    monkeypatch.setattr(Recorded, "spoil", spoil)
    monkeypatch.setattr(decoder, "round_words", lambda shape, layers, erasures=None: layers)
    case = next(case for case in accuracy.CASES if case.name == "z_d3_p0.005")
    image = compile_circuit(case.make, **case.build)
    circuit = case.make(15)
    detections = circuit.compile_detector_sampler(seed=3).sample(40)
    assert accuracy.gateware_differences(image, shot_layers(image, circuit,
                                                            detections)) == differences


def test_plot_is_self_contained(accuracy):
    points = {(who, distance): [(0.002, 1e-4, 1e-5), (0.003, 0.0, 1e-6), (0.004, 1e-3, 1e-4)]
              for who in accuracy.PLOT_WHO for distance in (3, 5)}
    text = accuracy.figure_of(points)
    assert text.startswith("<svg") and "<style>" in text
    assert text.count('class="line') == 6
    assert text.replace("http://www.w3.org/2000/svg", "").count("http") == 0
