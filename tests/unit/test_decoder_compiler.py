"""The decoder compiler against PyMatching, brute force, and every message it can give."""

import json
import os
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from quantacore.gateware.layouts.decoder import NONE, DecoderImage, DecoderShape, Table
from quantacore.host.qec import (
    DecoderCapacityError,
    ModelError,
    compile_circuit,
    compile_dem,
    detector_nodes,
    expand_match,
    fit,
    shot_heralds,
    shot_layers,
)
from quantacore.host.qec.encode import pack, unpack

stim = pytest.importorskip("stim")
pymatching = pytest.importorskip("pymatching")

from quantacore.sim.qec.circuits import erasure_circuit  # noqa: E402

DATA = Path(os.environ.get("QUANTACORE_DATA", Path(__file__).parents[3] / "shared" / "data"))


def memory(distance, rounds, p=0.003, task="surface_code:rotated_memory_z"):
    return stim.Circuit.generated(
        task, distance=distance, rounds=rounds, after_clifford_depolarization=p,
        before_round_data_depolarization=p, before_measure_flip_probability=p,
        after_reset_flip_probability=p)


def dem(text):
    return stim.DetectorErrorModel(text)


def columns(image, basis, table):
    return unpack(image.shape.table_word(table), image.words(basis, table))


def pair_address(image, early, late):
    shape = image.shape
    return (early[0] << shape.space_bits + shape.delta_bits | late[0] << shape.delta_bits
            | late[1] - early[1])


@pytest.fixture(scope="module")
def d5():
    return compile_circuit(memory(5, 5))


@pytest.fixture(scope="module")
def shortest5():
    return compile_circuit(memory(5, 5), degenerate=False)


@pytest.fixture(scope="module")
def small():
    """A measured-like model: a ring of unequal edges, both ends on the boundary, one basis."""
    return compile_dem(dem("""
        error(0.1) D0 L0
        error(0.02) D0 D1
        error(0.03) D1 D2
        error(0.08) D2 D3
        error(0.01) D0 D3
        error(0.04) D3
        error(0) D2
    """))


# Distances -----------------------------------------------------------------------------------

def matching_of(circuit):
    return pymatching.Matching.from_detector_error_model(
        circuit.detector_error_model(decompose_errors=True))


@pytest.mark.parametrize("basis", ["z", "x"])
def test_bulk_distances_are_pymatchings(basis):
    image = compile_circuit(memory(5, 5, task=f"surface_code:rotated_memory_{basis}"),
                            degenerate=False)
    circuit = memory(5, 40, task=f"surface_code:rotated_memory_{basis}")
    matching, scale = matching_of(circuit), image.about["quantisation"]["scale"]
    nodes = detector_nodes(image, circuit)
    middle = [index for index in range(len(nodes)) if nodes[index][2] == 20]
    later = [index for index in range(len(nodes)) if 20 <= nodes[index][2] < 24]
    rng = np.random.default_rng(5)
    tried = 0
    while tried < 400:
        one, other = int(rng.choice(middle)), int(rng.choice(later))
        if one == other or nodes[one][0] != nodes[other][0]:
            continue
        tried += 1
        syndrome = np.zeros(len(nodes), np.uint8)
        syndrome[[one, other]] = 1
        flips, weight = matching.decode(syndrome, return_weight=True)
        b = int(nodes[one][0])
        pair, bound = columns(image, b, Table.PAIR), columns(image, b, Table.BOUND)
        address = pair_address(image, nodes[one][1:], nodes[other][1:])
        ends = [int(nodes[one][1]), int(nodes[other][1])]
        direct, around = int(pair["weight"][address]), int(bound["weight"][ends].sum())
        direct = 1000 if direct == NONE else direct
        assert abs(min(direct, around) - weight * scale) <= 1.01
        if abs(direct - around) > 3:
            parity = (pair["obs"][address] if direct < around
                      else np.bitwise_xor.reduce(bound["obs"][ends]))
            assert int(parity) == int(flips[0])


def test_boundary_distances_are_pymatchings(shortest5):
    circuit = memory(5, 40)
    matching, scale = matching_of(circuit), shortest5.about["quantisation"]["scale"]
    for index, (basis, space, layer) in enumerate(detector_nodes(shortest5, circuit)):
        if layer == 20:
            syndrome = np.zeros(circuit.num_detectors, np.uint8)
            syndrome[index] = 1
            _, weight = matching.decode(syndrome, return_weight=True)
            stored = columns(shortest5, int(basis), Table.BOUND)["weight"][space]
            assert abs(stored - weight * scale) <= 0.51


def test_full_distances_are_pymatchings():
    circuit = memory(3, 3)
    image = compile_circuit(circuit, kind="full", degenerate=False)
    matching, scale = matching_of(circuit), image.about["quantisation"]["scale"]
    nodes = detector_nodes(image, circuit)
    for one in range(len(nodes)):
        for other in range(one):
            if nodes[one][0] != nodes[other][0]:
                continue
            syndrome = np.zeros(len(nodes), np.uint8)
            syndrome[[one, other]] = 1
            _, weight = matching.decode(syndrome, return_weight=True)
            basis = int(nodes[one][0])
            pair = columns(image, basis, Table.PAIR)["weight"]
            bound = columns(image, basis, Table.BOUND)["weight"]
            direct = int(pair[pair_address(image, nodes[one][1:], nodes[other][1:])])
            assert direct == pair[pair_address(image, nodes[other][1:], nodes[one][1:])]
            around = int(bound[nodes[one][1]] + bound[nodes[other][1]])
            best = min(1000 if direct == NONE else direct, around)
            assert abs(best - weight * scale) <= 1.01


def test_a_node_is_at_no_distance_from_itself(d5):
    weights, flips = columns(d5, 0, Table.PAIR)["weight"], columns(d5, 0, Table.PAIR)["obs"]
    for space in range(12):
        address = pair_address(d5, (space, 0), (space, 0))
        assert (weights[address], flips[address]) == (0, 0)


def test_spaces_beyond_the_code_have_no_path(d5):
    weights = columns(d5, 0, Table.PAIR)["weight"].reshape(16, 16, 4)
    assert (weights[12:] == NONE).all() and (weights[:, 12:] == NONE).all()
    assert (columns(d5, 0, Table.BOUND)["weight"][12:] == NONE).all()


def test_the_farthest_boundary_is_half_the_range(d5):
    assert max(columns(d5, basis, Table.BOUND)["weight"][:12].max() for basis in range(2)) == 127


def test_sums_over_paths_are_the_inverse_matrix():
    text = "\n".join(f"error({p}) {edge}" for p, edge in (
        (0.1, "D0 L0"), (0.02, "D0 D1"), (0.03, "D1 D2 L0"), (0.05, "D0 D2"), (0.04, "D2")))
    image = compile_dem(dem(text), kind="full")
    even, odd = np.zeros((3, 3)), np.zeros((3, 3))
    for table, one, other, p in ((even, 0, 1, 0.02), (odd, 1, 2, 0.03), (even, 0, 2, 0.05)):
        table[one, other] = table[other, one] = p / (1 - p)
    # Walks of up to 60 edges, counted one by one.
    sums = [np.eye(3), np.zeros((3, 3))]
    step = [np.eye(3), np.zeros((3, 3))]
    for _ in range(60):
        step = [step[0] @ even + step[1] @ odd, step[0] @ odd + step[1] @ even]
        sums = [sums[0] + step[0], sums[1] + step[1]]
    scale = image.about["quantisation"]["scale"]
    pair = columns(image, 0, Table.PAIR)
    for one in range(3):
        for other in range(3):
            if one != other:
                address = one << 2 | other
                best = max(sums[0][one, other], sums[1][one, other])
                assert pair["weight"][address] == min(255, round(-np.log(best) * scale))
                assert pair["obs"][address] == (sums[1] > sums[0])[one, other]


def test_sums_are_never_longer_than_the_shortest_path(d5, shortest5):
    scales = [image.about["quantisation"]["scale"] for image in (d5, shortest5)]
    for basis in range(2):
        sums, paths = (columns(image, basis, Table.PAIR)["weight"] for image in (d5, shortest5))
        known = paths != NONE
        assert (sums[known] / scales[0] <= (paths[known] + 0.51) / scales[1] + 0.51 / scales[0]
                ).all()


# Paths ---------------------------------------------------------------------------------------

def check_path(image, basis, one, other, weight, flips):
    path = expand_match(image, basis, one, other)
    lit, parity, total = set(), 0, 0.0
    for edge in path:
        lit ^= {edge.a}
        if edge.b is not None:
            lit ^= {edge.b}
        parity ^= edge.observables
        p = image.about["edge_probabilities"][basis][edge.edge]
        total += np.log((1 - p) / p)
    assert lit == ({one} if other is None else {one, other})
    assert parity == flips
    assert abs(total * image.about["quantisation"]["scale"] - weight) <= 0.51


@pytest.mark.parametrize("kind", ["periodic", "full"])
def test_paths_lead_from_one_end_to_the_other(kind):
    image = compile_circuit(memory(3, 9 if kind == "periodic" else 4), kind=kind,
                            degenerate=False)
    shape = image.shape
    for basis in range(2):
        pair, bound = columns(image, basis, Table.PAIR), columns(image, basis, Table.BOUND)
        spaces = len(image.about["spaces"][basis])
        for one in range(spaces):
            check_path(image, basis, (one, 4), None, bound["weight"][one], bound["obs"][one])
            for other in range(spaces):
                for difference in range(1 << shape.delta_bits):
                    ends = (one, 4), (other, 4 + difference)
                    address = pair_address(image, *ends)
                    if ends[0] != ends[1] and pair["weight"][address] != NONE:
                        check_path(image, basis, *ends, pair["weight"][address],
                                   pair["obs"][address])


def test_no_path_in_the_table(d5):
    with pytest.raises(ValueError, match="have no path in the table"):
        expand_match(d5, 0, (0, 0), (0, 9))


def test_paths_need_the_correlation_tables():
    image = compile_circuit(memory(3, 9), correlation=False)
    assert set(table for _, table in image.tables) == {Table.PAIR, Table.BOUND}
    with pytest.raises(ValueError, match="compiled without correlation"):
        expand_match(image, 0, (0, 0))


def test_the_earlier_end_of_an_edge_comes_first(d5):
    edges = columns(d5, 0, Table.EDGE)
    count = len(d5.about["edge_observables"][0])
    same = (edges["delta"][:count] == 0) & (edges["boundary"][:count] == 0)
    assert (edges["a"][:count][same] < edges["b"][:count][same]).all()


# Shortcuts -----------------------------------------------------------------------------------

def test_shortcuts_are_conditional_probabilities(d5):
    circuit = memory(5, 24)
    nodes = [tuple(map(int, node)) for node in detector_nodes(d5, circuit)]
    both, alone = {}, {}
    for item in circuit.detector_error_model(decompose_errors=True).flattened():
        if item.type != "error":
            continue
        p, keys, key = item.args_copy()[0], [], []
        for target in [*item.targets_copy(), None]:
            if target is None or target.is_separator():
                keys.append(tuple(sorted((nodes[d] for d in key), key=lambda n: (n[2], n[1]))))
                key = []
            elif target.is_relative_detector_id():
                key.append(target.val)
        for one in keys:
            alone[one] = alone.get(one, 0) * (1 - p) + p * (1 - alone.get(one, 0))
            for other in keys:
                if one[0][0] != other[0][0]:
                    was = both.setdefault(one, {}).get(other, 0)
                    both[one][other] = was * (1 - p) + p * (1 - was)
    scale = d5.about["quantisation"]["scale"]
    seen = 0
    for basis in range(2):
        edges, shorts = columns(d5, basis, Table.EDGE), columns(d5, basis, Table.SHORT)
        every = []
        for number in range(len(d5.about["edge_observables"][basis])):
            ends = [(basis, int(edges["a"][number]), 12)]
            if not edges["boundary"][number]:
                ends.append((basis, int(edges["b"][number]), 12 + int(edges["delta"][number])))
            every.append(ends)
        middle = np.median([round(np.log(1 / alone[tuple(ends)] - 1) * scale) for ends in every])
        floor = min(48, int(0.3 * middle))
        for number, ends in enumerate(every):
            expected = {}
            for other, p in both.get(tuple(ends), {}).items():
                q = min(0.5, p / alone[tuple(ends)])
                weight = max(floor, round(np.log((1 - q) / q) * scale))
                if weight < round(np.log(1 / alone[other] - 1) * scale) and weight <= 254:
                    expected[other] = weight
            start, count = int(edges["start"][number]), int(edges["count"][number])
            stored = {}
            for p in range(start, start + count):
                key = [(1 - basis, int(shorts["u"][p]), 12 + int(shorts["u_layer"][p]))]
                if not shorts["boundary"][p]:
                    key.append((1 - basis, int(shorts["v"][p]), 12 + int(shorts["v_layer"][p])))
                stored[tuple(key)] = int(shorts["weight"][p])
            assert stored == expected
            seen += count
    assert seen > 100


# Periods -------------------------------------------------------------------------------------

def test_a_longer_circuit_has_the_same_tables(d5):
    assert compile_circuit(memory(5, 23)).tables == d5.tables


def test_a_generator_has_the_same_tables(d5):
    assert compile_circuit(lambda rounds: memory(5, rounds)).tables == d5.tables


def test_a_circuit_without_repeat_shows_its_period(d5):
    assert compile_circuit(memory(5, 12).flattened()).tables == d5.tables


def test_a_model_has_the_same_tables_as_its_circuit(d5):
    model = memory(5, 14).detector_error_model(decompose_errors=True)
    assert compile_dem(model).tables == d5.tables


def test_a_huge_repeat_count_takes_no_time(d5):
    assert compile_circuit(memory(5, 1_000_000)).tables == d5.tables


def test_a_folded_model_is_not_unrolled():
    body = "\n".join(f"error(0.0{2 + k}) D{k} D{k + 1}\nerror(0.01) D{k} D{k + 3}" for k in (0, 1))
    folded = dem(f"""
        error(0.05) D0
        repeat 1000000000 {{
            {body}
            error(0.01) D2 D5
            error(0.05) D0
            error(0.04) D2 L0
            detector(0, 0) D0
            detector(1, 0) D1
            detector(2, 0) D2
            shift_detectors(0, 1) 3
        }}
        detector(0, 0) D0
        detector(1, 0) D1
        detector(2, 0) D2
    """)
    assert compile_dem(folded).about["spaces"] == [[[0.0], [1.0], [2.0]], []]


def test_a_period_of_two_rounds_is_one_layer():
    lines = []
    for layer in range(16):
        p = 0.01 if layer % 2 else 0.02
        lines += [f"detector(0, {layer}) D{layer}", f"error(0.03) D{layer} L0",
                  f"error({p}) D{layer} D{layer + 1}"]
    image = compile_dem(dem("\n".join([*lines, "detector(0, 16) D16"])))
    assert image.about["period"] == 2
    assert image.about["spaces"][0] == [[0.0, 0], [0.0, 1]]
    shot = np.zeros((1, 17), bool)
    shot[0, [3, 8]] = True
    layers = shot_layers(image, dem("\n".join([*lines, "detector(0, 16) D16"])), shot)
    assert np.argwhere(layers[0, 0]).tolist() == [[1, 1], [4, 0]]


def test_repetition_code_has_one_basis():
    image = compile_circuit(memory(5, 9, task="repetition_code:memory"))
    assert image.about["spaces"] == [[[1.0], [3.0], [5.0], [7.0]], []]
    assert image.about["observables"] == [[0], []]
    assert image.tables[1, Table.EDGE] == []


def test_unequal_rounds_fall_back_to_a_full_table():
    image = compile_circuit(memory(3, 4).flattened())
    assert image.about["kind"] == "full" and image.shape.delta_bits == 0
    assert image.settings["commit"] == 1 and image.settings["buffer"] == 0


def test_basis_0_carries_the_observable(d5):
    assert d5.about["observables"] == [[0], []]
    assert d5.about["distance"] == 5


# The strict front end ------------------------------------------------------------------------

def test_hyperedge():
    with pytest.raises(ModelError, match=r"its part `D0 D1 D2` sets off 3 detectors; an edge has "
                                         r"one or two\. Make the model with "
                                         r"circuit\.detector_error_model\(decompose_errors=True\)"):
        compile_dem(dem("error(0.1) D3 ^ D0 D1 D2\nerror(0.1) D0"))


def test_circuit_that_does_not_decompose():
    circuit = stim.Circuit("""
        R 0 1 2
        X_ERROR(0.1) 0
        CX 0 1 0 2
        M 0 1 2
        DETECTOR rec[-1]
        DETECTOR rec[-2]
        DETECTOR rec[-3]
    """)
    with pytest.raises(ModelError, match="no graph-like detector error model"):
        compile_circuit(circuit)


def test_probability_of_a_half():
    with pytest.raises(ModelError, match=r"error\(0\.5\) D0: a probability of 1/2 or more has no "
                                         r"positive weight"):
        compile_dem(dem("error(0.5) D0"))


def test_zero_probability_is_dropped_and_counted(small):
    assert small.about["report"]["zero_probability"] == 1
    edges = columns(small, 0, Table.EDGE)
    assert (edges["a"][edges["boundary"] == 1]).tolist() == [0, 3]


def test_only_zero_probabilities():
    with pytest.raises(ModelError, match="no error mechanism with a probability above 0"):
        compile_dem(dem("error(0) D0"))


def test_no_detectors():
    with pytest.raises(ModelError, match="has no detectors"):
        compile_dem(dem("error(0.1) L0"))


def test_too_many_observables():
    with pytest.raises(ModelError, match="has 9 observables; a decoder follows up to 8"):
        compile_dem(dem("error(0.1) D0 L8"))


def test_parallel_edges_combine():
    image = compile_dem(dem("error(0.1) D0 D1\nerror(0.2) D1 D0\nerror(0.1) D0"))
    assert image.about["edge_probabilities"][0] == pytest.approx([0.1, 0.1 * 0.8 + 0.2 * 0.9])


def test_parallel_edges_with_other_observables_keep_the_likelier(caplog):
    image = compile_dem(dem("error(0.1) D0 L0\nerror(0.2) D0\nerror(0.1) D0 D1"))
    assert image.about["edge_observables"][0] == [0, 0]
    assert image.about["report"]["conflicting"] == 1
    assert "1 parallel edges with other observables" in caplog.text


def test_repeated_targets_cancel():
    image = compile_dem(dem("error(0.1) D0 D1 D1\nerror(0.1) D0 D1 ^ D2 D3 ^ D0 D1\n"
                            "error(0.1) D0 D1\nerror(0.1) D2"))
    edges = columns(image, 0, Table.EDGE)
    assert len(image.about["edge_observables"][0]) + len(image.about["edge_observables"][1]) == 4
    assert image.about["report"]["undetectable"] == 0
    assert edges["boundary"].sum() >= 1


def test_undetectable_errors_are_counted():
    assert compile_dem(dem("error(0.1) L0\nerror(0.1) D0")).about["report"]["undetectable"] == 1


def test_several_observables():
    image = compile_dem(dem("error(0.1) D0 L0\nerror(0.05) D0 D1 L2\nerror(0.1) D1 L1"))
    assert image.shape.observables == 3
    assert columns(image, 0, Table.BOUND)["obs"][:2].tolist() == [1, 2]
    assert columns(image, 0, Table.PAIR)["obs"][1] == 4


def test_parts_of_one_mechanism_are_in_different_bases():
    image = compile_dem(dem("error(0.1) D0 D1 ^ D2 D3\nerror(0.1) D0\nerror(0.1) D2 L0"))
    assert image.about["spaces"] == [[2, 3], [0, 1]]


def test_edge_over_four_layers():
    lines = [f"detector(0, {t}) D{t}\nerror(0.1) D{t}\nerror(0.1) D{t} D{t + 4}" for t in range(12)]
    lines += [f"detector(0, {t}) D{t}" for t in range(12, 16)]
    with pytest.raises(ModelError, match="spans 4 layers; an edge may span 3"):
        compile_dem(dem("\n".join(lines)), kind="periodic")


# Arguments -----------------------------------------------------------------------------------

def test_too_few_rounds():
    with pytest.raises(ModelError, match=r"has 5 layers, of which \d in a row are the same; a "
                                         r"period takes 3\. Give more rounds"):
        compile_circuit(memory(3, 4).flattened(), kind="periodic")


def test_no_coordinates():
    with pytest.raises(ModelError, match=r"Detector D0 has the coordinates \(\): a periodic model "
                                         r"needs a place"):
        compile_dem(dem("error(0.1) D0"), kind="periodic")


def test_too_many_detectors_for_a_full_table():
    text = "\n".join(f"error(0.1) D{k}\nerror(0.1) D{k} D{k + 1}" for k in range(300))
    with pytest.raises(DecoderCapacityError, match=r"The model has 301 detectors in one basis; a "
                                                   r"full table holds 256\. .*It is not periodic: "
                                                   r"Detector D0"):
        compile_dem(dem(text))


def test_too_many_detectors_are_not_even_read():
    text = "repeat 1000000000 {\nerror(0.1) D0\nerror(0.1) D0 D1\nshift_detectors 1\n}"
    with pytest.raises(DecoderCapacityError, match="1000000001 detectors; a full table holds 512"):
        compile_dem(dem(text), kind="full")


def test_model_larger_than_the_build():
    shape = DecoderShape(space_bits=2, edge_bits=4, shortcut_bits=7)
    with pytest.raises(DecoderCapacityError, match=r"space_bits 2 \(needs 4\); edge_bits 4 \(needs "
                                                   r"6\); .*A build with space_bits=4, "):
        compile_circuit(memory(5, 5), shape=shape)


def test_full_model_on_a_periodic_build():
    with pytest.raises(DecoderCapacityError, match="needs a build with delta_bits=0"):
        compile_dem(dem("error(0.1) D0"), shape=DecoderShape(space_bits=2))


def test_compile_for_a_larger_build(d5):
    shape = DecoderShape(space_bits=5, delta_bits=2, edge_bits=8, shortcut_bits=11, observables=2)
    image = compile_circuit(memory(5, 5), shape=shape)
    assert image.shape is shape
    wide, narrow = columns(image, 0, Table.PAIR), columns(d5, 0, Table.PAIR)
    assert (wide["weight"].reshape(32, 32, 4)[:12, :12]
            == narrow["weight"].reshape(16, 16, 4)[:12, :12]).mean() > 0.99


@pytest.mark.parametrize("options, message", [
    ({"kind": "x"}, 'kind must be "auto", "periodic" or "full", not \'x\''),
    ({"commit": 0}, "commit must be 1 or more"),
    ({"commit": 30, "buffer": 3}, "both together at most 32 layers, not 30 and 3"),
    ({"reach": 255}, "reach must be 0 to 254, not 255"),
    ({"capacity": 12}, "capacity must be 8, 16, 32 or 64, not 12"),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        compile_circuit(memory(3, 9), **options)


def test_wrong_kinds_of_source():
    with pytest.raises(TypeError, match="give it to compile_dem"):
        compile_circuit(dem("error(0.1) D0"))
    with pytest.raises(TypeError, match="give it to compile_circuit"):
        compile_dem(memory(3, 3))


def test_a_full_table_of_a_generator():
    with pytest.raises(ValueError, match="one number of rounds: give the circuit itself"):
        compile_circuit(lambda rounds: memory(3, rounds), kind="full")


def test_files(tmp_path, d5):
    circuit, model = tmp_path / "memory.stim", tmp_path / "memory.dem"
    memory(5, 14).to_file(circuit)
    memory(5, 14).detector_error_model(decompose_errors=True).to_file(model)
    assert compile_circuit(circuit).tables == d5.tables
    assert compile_dem(str(model)).tables == d5.tables
    assert compile_dem(model).about["source"]["name"] == "memory.dem"


def test_files_that_are_something_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("surely not a model\n")
    with pytest.raises(ModelError, match="is not a Stim circuit"):
        compile_circuit(path)
    with pytest.raises(ModelError, match="is not a detector error model"):
        compile_dem(path)


def test_without_stim(monkeypatch):
    monkeypatch.setitem(sys.modules, "stim", None)
    with pytest.raises(ImportError, match=r"pip install 'quantacore\[decoder\]'"):
        compile_circuit("memory.stim")


# Images --------------------------------------------------------------------------------------

def test_image_file_round_trip(d5):
    again = DecoderImage.from_bytes(d5.to_bytes())
    assert again == d5
    assert json.loads(json.dumps(d5.about)) == d5.about


def test_quantisation_is_reported(d5):
    report = d5.about["quantisation"]
    weights = np.array([columns(d5, basis, Table.PAIR)["weight"].reshape(16, 16, 4)[:12, :12]
                        for basis in range(2)])
    assert report["saturated"] == (weights == NONE).sum()
    assert report["entries"] == (weights != NONE).sum()       # 24 zeros are not, 24 bounds are
    assert 0 < report["rms_relative_error"] < report["max_relative_error"] < 0.02
    assert 1 <= report["two_defect_failures"] < 1.05


def test_coarse_weights_cost_failures():
    # The boundary is far from D2 only, so D0 and D1 have few steps to tell paths apart by.
    image = compile_dem(dem("""
        error(0.45) D0 L0
        error(0.44) D1
        error(0.38) D0 D1
        error(0.00000001) D1 D2
        error(0.000000001) D2
    """))
    report = image.about["quantisation"]
    assert report["max_relative_error"] > 0.1
    assert report["two_defect_failures"] >= 1


def test_pack_and_unpack_are_inverse():
    layout = DecoderShape(space_bits=4).short_word
    values = {"u": [3], "u_layer": [-8], "v": [15], "v_layer": [7], "boundary": [1],
              "weight": [254], "obs": [1]}
    assert {k: v.tolist() for k, v in unpack(layout, pack(layout, **values)).items()} == values


def test_pack_refuses_what_does_not_fit():
    with pytest.raises(OverflowError, match="edge is 0 to 16; the field holds 0 to 15"):
        pack(DecoderShape(space_bits=4, edge_bits=4).hop_word, edge=[0, 16], at_b=[0, 0])


def test_fit_names_what_would_hold_it(d5):
    report = fit(d5)
    assert report.fits["LFE5U-25F"] and report.largest_distance["LFE5U-85F"] >= 9
    assert "LFE5U-85F" in str(report)
    pair = next(memory for memory in report.memories if memory.name == "PAIR")
    assert pair.bits == 2 * 2 * 1024 * 9
    with pytest.raises(DecoderCapacityError, match=r"iCE40UP5K has 30: .*LFE5U-25F"):
        fit(d5, "iCE40UP5K")
    with pytest.raises(ValueError, match="Unknown part"):
        fit(d5, "XC7A35T")


# Shots ---------------------------------------------------------------------------------------

def test_shots_keep_every_detection(d5):
    circuit = memory(5, 11)
    shots = circuit.compile_detector_sampler(seed=1).sample(50)
    layers = shot_layers(d5, circuit, shots)
    assert layers.shape == (50, 2, 12, 12)
    assert (layers.sum(axis=(1, 2, 3)) == shots.sum(axis=1)).all()
    coordinates = circuit.get_detector_coordinates()
    for shot, (basis, layer, space) in ((s, tuple(hit)) for s in range(3)
                                        for hit in np.argwhere(layers[s])):
        index = next(i for i, where in coordinates.items()
                     if where == [*d5.about["spaces"][basis][space], layer])
        assert shots[shot, index]


def test_an_image_for_another_distance(d5):
    with pytest.raises(ModelError, match="it is for another distance or code"):
        shot_layers(d5, memory(7, 7), np.zeros((1, memory(7, 7).num_detectors)))


def test_a_shot_of_another_length(d5):
    with pytest.raises(ModelError, match="A shot has 3 detectors, the model 120"):
        shot_layers(d5, memory(5, 5), np.zeros((1, 3)))


def test_a_full_image_of_another_model(small):
    with pytest.raises(ModelError, match="compiled for one with 4"):
        detector_nodes(small, dem("error(0.1) D5"))


# Erasures ------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["periodic", "full"])
def test_an_erasure_lights_what_its_site_says(kind):
    rounds = 14 if kind == "periodic" else 3
    image = compile_circuit(erasure_circuit(3, rounds, 0.002, 0.01), kind=kind)
    assert image.shape.sites == 9 if kind == "periodic" else 27
    circuit = erasure_circuit(3, rounds, 0.002, 0.01)
    quiet = stim.Circuit()
    for item in circuit:     # only the erasures are left
        if item.name == "HERALDED_ERASE":
            quiet.append("HERALDED_ERASE", item.targets_copy(), 0.01)
        elif stim.gate_data(item.name).is_noisy_gate:
            if stim.gate_data(item.name).produces_measurements:
                quiet.append(item.name, item.targets_copy())
        else:
            quiet.append(item)
    measured = quiet.compile_sampler(seed=7).sample(3000)
    lit = shot_layers(image, quiet, quiet.compile_m2d_converter().convert(
        measurements=measured, append_observables=False))
    flags = shot_heralds(image, quiet, measured)
    assert flags.sum() == sum(measured[:, k].sum() for k in herald_records(quiet))
    tables = [(columns(image, b, Table.ERASE), columns(image, b, Table.SHORT)) for b in range(2)]
    seen = 0
    for shot in range(len(flags)):
        hits = np.argwhere(flags[shot])
        if len(hits) != 1 or (kind == "periodic" and not 3 <= hits[0][0] <= 10):
            continue
        layer, site = hits[0]
        for basis in range(2):
            erase, shorts = tables[basis]
            options = [[]]
            for p in range(erase["start"][site], erase["start"][site] + erase["count"][site]):
                ends = [[int(layer + shorts["u_layer"][p]), int(shorts["u"][p])]]
                if not shorts["boundary"][p]:
                    ends.append([int(layer + shorts["v_layer"][p]), int(shorts["v"][p])])
                assert shorts["weight"][p] == 0
                options.append(sorted(ends))
            found = sorted(np.argwhere(lit[shot, basis]).tolist())
            assert found in options
            seen += bool(found)
    assert seen > 100


def herald_records(circuit):
    count = 0
    for item in circuit:
        for number in range(item.num_measurements):
            if item.name == "HERALDED_ERASE":
                yield count + number
        count += item.num_measurements


def test_heralds_can_be_treated_as_noise():
    circuit = erasure_circuit(3, 12, 0.002, 0.01)
    image = compile_circuit(circuit, erasures=False)
    assert image.shape.sites == 0 and image.about["erasure"] is None
    quiet = compile_circuit(circuit)
    assert min(image.about["edge_probabilities"][0]) > 0
    assert sum(image.about["edge_probabilities"][0]) > sum(quiet.about["edge_probabilities"][0])


def test_sites_name_their_measurement():
    sites = compile_circuit(erasure_circuit(3, 12, 0.002, 0.01)).about["erasure"]["sites"]
    assert [site["record"] for site in sites] == list(range(9))
    assert [site["qubit"] for site in sites] == [1, 3, 5, 8, 10, 12, 15, 17, 19]


def test_unequal_rounds_of_heralds():
    circuit = erasure_circuit(3, 12, 0.002, 0.01)
    odd, number = stim.Circuit(), 0
    for item in circuit:
        if item.name == "HERALDED_ERASE":
            number += 1
            if number == 8:
                targets = [target.value for target in item.targets_copy()]
                odd.append("HERALDED_ERASE", targets[::-1], 0.01)
                continue
        odd.append(item)
    with pytest.raises(ModelError, match=r"The heralds of layer \d+ differ from those of layer"):
        compile_circuit(odd)


def test_a_mapping_of_erasures():
    model = dem("error(0.1) D0 L0\nerror(0.05) D0 D1\nerror(0.1) D1")
    image = compile_dem(model, erasures={0: (0, [(0, 1)]), 1: (0, [(0, None)])})
    erase, shorts = columns(image, 0, Table.ERASE), columns(image, 0, Table.SHORT)
    assert erase["count"][:2].tolist() == [1, 1]
    boundary = shorts["boundary"][erase["start"][:2]].tolist()
    assert boundary == [0, 1] and shorts["obs"][erase["start"][1]] == 1


def test_a_mapping_that_names_no_edge():
    with pytest.raises(ModelError, match="site 0 names the edge D0 D7, which the model does not"):
        compile_dem(dem("error(0.1) D0\nerror(0.1) D7"), erasures={0: (0, [(0, 7)])})


def test_a_mapping_with_a_gap():
    with pytest.raises(ValueError, match=r"must number its sites 0 to 0, not \[3\]"):
        compile_dem(dem("error(0.1) D0"), erasures={3: (0, [(0, None)])})


def test_heralds_of_an_image_without_sites(d5):
    circuit = memory(5, 5)
    with pytest.raises(ModelError, match="no erasure sites"):
        shot_heralds(d5, circuit, np.zeros((1, circuit.num_measurements)))


# Measured models -----------------------------------------------------------------------------

@pytest.mark.parametrize("name, spaces", [
    ("surface_code_bX_d3_r05_center_3_5", [24, 16]),
    ("surface_code_bZ_d5_r05_center_5_5", [72, 48])])
def test_measured_models(name, spaces):
    path = DATA / "google_qec3v5" / f"{name}.tar.xz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in QUANTACORE_DATA")
    with tarfile.open(path) as archive:
        member = next(member for member in archive.getmembers()
                      if member.name.endswith("circuit_detector_error_model.dem"))
        model = stim.DetectorErrorModel(archive.extractfile(member).read().decode())
    image = compile_dem(model, degenerate=False)
    assert image.about["kind"] == "full"
    assert [len(known) for known in image.about["spaces"]] == spaces
    assert image.about["observables"] == [[0], []]
    matching = pymatching.Matching.from_detector_error_model(model)
    scale = image.about["quantisation"]["scale"]
    rng = np.random.default_rng(2)
    for _ in range(100):
        one, other = rng.choice(image.about["spaces"][0], 2, replace=False)
        syndrome = np.zeros(model.num_detectors, np.uint8)
        syndrome[[one, other]] = 1
        _, weight = matching.decode(syndrome, return_weight=True)
        nodes = [image.about["detectors"][k][1:] for k in (one, other)]
        pair = int(columns(image, 0, Table.PAIR)["weight"][pair_address(image, *nodes)])
        bound = columns(image, 0, Table.BOUND)["weight"]
        around = int(bound[nodes[0][0]] + bound[nodes[1][0]])
        # Parallel edges that flip different observables: PyMatching joins them, we keep the best.
        if not image.about["report"]["conflicting"]:
            assert abs(min(pair if pair != NONE else 1000, around) - weight * scale) <= 1.01
