"""The golden decoder: its two forms against each other, and both against exact matching."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from quantacore.gateware.layouts.decoder import (
    MAX_HOPS,
    NONE,
    DecoderImage,
    DecoderShape,
    Table,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.decoder_random import pack, random_image
from quantacore.sim.golden.decoder.fast import decode_shots
from quantacore.sim.golden.decoder.plain import Decoder
from quantacore.sim.golden.decoder.tables import unpack

networkx = pytest.importorskip("networkx")
pymatching = pytest.importorskip("pymatching")
pytest.importorskip("stim")

from quantacore.sim.qec.circuits import memory_circuit  # noqa: E402

#: Standard deviations that a statistical test allows: false alarms once in some 15 000 runs.
SIGMAS = 4


@pytest.fixture
def seed():
    number = seed_from_environment()
    print(f"QUANTACORE_SEED={number}")
    return number


# -- images and shots ------------------------------------------------------------------------------


def circuit(distance, p, rounds):
    return memory_circuit(distance, rounds, p)


@cache
def surface(distance, p, *, capacity=64, cluster=14, degenerate=False):
    """Image of a memory experiment's bulk, in a build with room for long windows."""
    from quantacore.host.qec import compile_circuit
    image = compile_circuit(lambda rounds: circuit(distance, p, rounds), capacity=capacity,
                            cluster=cluster, event_bits=10, degenerate=degenerate)
    return replace(image, shape=replace(image.shape, time_bits=5))


@cache
def experiment(distance, p, rounds):
    """Circuit, model, matching, and image of a memory experiment."""
    from quantacore.host.qec import detector_nodes
    one = circuit(distance, p, rounds)
    model = one.detector_error_model(decompose_errors=True)
    return (one, model, pymatching.Matching.from_detector_error_model(model),
            detector_nodes(surface(distance, p), model))


def as_layers(nodes, detections):
    basis, space, layer = nodes.T
    layers = np.zeros((len(detections), 2, layer.max() + 1, space.max() + 1), np.uint8)
    layers[:, basis, layer, space] = detections
    return layers


def sample(distance, p, rounds, shots, seed):
    one, model, matching, nodes = experiment(distance, p, rounds)
    detections, observables = one.compile_detector_sampler(seed=seed & 0x7FFFFFFF).sample(
        shots, separate_observables=True)
    return as_layers(nodes, detections), observables[:, 0], matching, detections


def plain_records(image, layers, erasures=None, **settings):
    """What the fast form returns as ``(windows, matches, escapes)``, from the plain form."""
    decoder = Decoder(image, **settings)
    windows, matches, escapes = [], [], []
    for shot, bases in enumerate(layers):
        length = bases.shape[1]
        for layer in range(length):
            erased = [] if erasures is None else np.flatnonzero(erasures[shot, layer]).tolist()
            verdicts = decoder.feed([np.flatnonzero(bases[basis, layer]).tolist()
                                     for basis in range(2)], erased, last=layer == length - 1)
            for v in verdicts:
                windows.append((shot, v.basis, v.first, v.committed, v.last, v.flips, v.overflow,
                                v.events_dropped, v.walk_error, v.largest, v.defects, v.weight))
                matches += [(shot, v.basis, *match.a, *(match.b or (-1, -1)), match.obs,
                             match.weight) for match in v.matches]
                escapes += [(shot, v.basis, *node) for node in v.escapes]
    return windows, matches, escapes


def assert_forms_agree(image, layers, erasures=None, **settings):
    """Both forms say the same; returns the fast form's result."""
    result = decode_shots(image, layers, erasures=erasures, records=True, **settings)
    windows, matches, escapes = plain_records(image, layers, erasures, **settings)
    assert result.windows.tolist() == [list(map(int, row)) for row in windows]
    assert result.matches.tolist() == [list(row) for row in matches]
    # An overflow is found before anything is matched, and the fast form writes it down then.
    assert sorted(result.escapes.tolist()) == sorted(map(list, escapes))
    flips = np.zeros(len(layers), int)
    for row in windows:
        flips[row[0]] ^= row[5]
    assert np.array_equal(result.flips, flips[:, None] >> np.arange(image.shape.observables) & 1)
    return result


# -- the two forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("distance, p, rounds", [(3, 0.01, 14), (5, 0.004, 12), (7, 0.003, 23)])
@pytest.mark.parametrize("correlation", [False, True])
def test_forms_agree_on_sampled_shots(distance, p, rounds, correlation, seed):
    layers, *_ = sample(distance, p, rounds, 60, seed)
    assert_forms_agree(surface(distance, p), layers, correlation=correlation)


def test_forms_agree_on_random_tables(seed):
    rng = np.random.default_rng(seed)
    seen = Counter()
    rare = ("overflows", "events_dropped", "walk_errors", "escapes", "second_passes")
    # The rarest comes in one shot of ten: 80 shots, and more until each has come often enough.
    for shot in range(800):
        if shot >= 80 and all(seen[name] > 5 for name in rare):
            break
        image = random_image(rng)
        spaces = 1 << image.shape.space_bits
        length = int(rng.integers(1, 14))
        layers = rng.random((4, 2, length, spaces)) < rng.choice([0.05, 0.2, 0.5])
        erasures = rng.random((4, length, image.shape.sites)) < 0.2
        commit = int(rng.integers(1, 7))
        result = assert_forms_agree(
            image, layers, erasures, commit=commit, buffer=int(rng.integers(0, 9 - commit)),
            reach=int(rng.integers(0, 255)), correlation=bool(rng.random() < 0.8))
        seen.update({name: int(count > 0) for name, count in result.statistics.counters.items()})
    print(seen)
    for name in rare:
        assert seen[name] > 5, f"no {name} in this run: {seen}"


def test_forms_agree_on_every_pattern_of_a_small_window():
    image = surface(3, 0.01)
    patterns = np.arange(1 << 12)
    bits = (patterns[:, None] >> np.arange(12) & 1).astype(np.uint8).reshape(-1, 3, 4)
    # The other basis has the same pattern backwards, so that both passes have work.
    layers = np.stack([bits, bits[::-1, ::-1, ::-1]], axis=1)
    result = assert_forms_agree(image, layers, commit=3, buffer=0)
    assert len(result.escapes) == 0
    assert result.statistics.counters["windows"] == 2 << 12


def test_shots_do_not_see_each_other(seed):
    layers, *_ = sample(5, 0.004, 12, 40, seed)
    image = surface(5, 0.004)
    together = decode_shots(image, layers).flips
    alone = [decode_shots(image, layers[shot:shot + 1]).flips[0] for shot in range(40)]
    assert np.array_equal(together, alone)


# -- what is matched -------------------------------------------------------------------------------


def explained(result, shots):
    """Defects of matches and escapes, as in the layers' array, and how often."""
    counts = Counter()
    for shot, basis, layer, space, other_layer, other_space, _, _ in result.matches.tolist():
        counts[shot, basis, layer, space] += 1
        if other_layer >= 0:
            counts[shot, basis, other_layer, other_space] += 1
    counts.update(tuple(row) for row in result.escapes.tolist())
    return counts


@pytest.mark.parametrize("cluster, capacity", [(14, 64), (4, 64), (14, 16)])
def test_every_defect_is_explained_once(cluster, capacity, seed):
    layers, *_ = sample(7, 0.003, 30, 300, seed)
    result = decode_shots(surface(7, 0.003, cluster=cluster, capacity=capacity), layers,
                          commit=7, buffer=7, records=True)
    counters = result.statistics.counters
    assert counters["escapes"] == len(result.escapes)
    assert (counters["escapes"] > 0) >= (cluster == 4)
    assert (counters["overflows"] > 0) >= (capacity == 16)
    assert explained(result, len(layers)) == Counter(map(tuple, np.argwhere(layers).tolist()))


def exact_weight(image, basis, nodes):
    """Weight of the lightest matching of ``(space, layer)`` nodes by the image's own integers."""
    shape = image.shape
    pair, bound = image.words(basis, Table.PAIR), image.words(basis, Table.BOUND)
    to_bound = [unpack(shape.bound_word, bound[space])["weight"] for space, _ in nodes]
    assert NONE not in to_bound
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(nodes)))
    for i, (space, layer) in enumerate(nodes):
        for j, (other, later) in enumerate(nodes[:i]):
            weight = to_bound[i] + to_bound[j]
            if layer - later < 1 << shape.delta_bits:
                address = (other << shape.space_bits | space) << shape.delta_bits | layer - later
                between = unpack(shape.pair_word, pair[address])["weight"]
                if between != NONE:
                    weight = min(weight, between)
            graph.add_edge(i, j, weight=-weight)
        # An odd one is left for the boundary.
        if len(nodes) % 2:
            graph.add_edge(i, "boundary", weight=-to_bound[i])
    matched = networkx.max_weight_matching(graph, maxcardinality=True)
    return -sum(graph.edges[edge]["weight"] for edge in matched)


@pytest.mark.parametrize("distance, p, rounds, shots, most", [
    (3, 0.003, 20, 300, 0.01), (5, 0.003, 20, 250, 0.02), (7, 0.003, 10, 150, 0.06)])
def test_plain_weight_is_the_exact_optimum(distance, p, rounds, shots, most, seed):
    layers, *_ = sample(distance, p, rounds, shots, seed)
    image = surface(distance, p)
    result = decode_shots(image, layers, commit=rounds + 1, buffer=0, correlation=False,
                          records=True)
    left = {(shot, basis) for shot, basis, _, _ in result.escapes.tolist()}
    gaps = Counter()
    for row in result.windows.tolist():
        shot, basis, weight = row[0], row[1], row[11]
        if (shot, basis) not in left:
            nodes = [(space, layer) for layer, space in np.argwhere(layers[shot, basis]).tolist()]
            gaps[weight - exact_weight(image, basis, nodes)] += 1
    print(f"weight above the optimum: {sorted(gaps.items())}")
    assert min(gaps) >= 0
    total = sum(gaps.values())
    above = total - gaps[0]
    assert above <= most * total + SIGMAS * (most * total) ** 0.5


# -- against PyMatching, edge by edge --------------------------------------------------------------

#: Layers of bulk before and behind a shot: the tables know no first and no last round.
MARGIN = 4


def edges_of(image, basis, a, b):
    """Edges of the path of a match by the image's tables: sets of one or two nodes.

    Nodes are ``(basis, space, layer)``, ``b`` may be ``None``. Written from the documents, and
    apart from the golden model's walk.
    """
    shape = image.shape

    def word(table, address):
        return unpack(shape.table_word(table), image.words(basis, table)[address])

    def cross(node, hop):
        edge = word(Table.EDGE, hop["edge"])
        assert node[1] == edge["b" if hop["at_b"] else "a"]
        if edge["boundary"]:
            return frozenset([node]), None
        other = ((basis, edge["a"], node[2] - edge["delta"]) if hop["at_b"]
                 else (basis, edge["b"], node[2] + edge["delta"]))
        return frozenset([node, other]), other

    if b is None:
        while a is not None:
            edge, a = cross(a, word(Table.BOUND, a[1]))
            yield edge
        return
    while a != b:
        (_, early, first), (_, late, then) = (a, b) if a[2] <= b[2] else (b, a)
        hop = word(Table.HOP, ((early << shape.space_bits | late) << shape.delta_bits)
                   | then - first)
        if a[2] <= b[2]:
            edge, a = cross(a, hop)
        else:
            edge, b = cross(b, hop)
        yield edge


@cache
def bulk(distance, p, layers):
    """PyMatching's graph with a margin, detectors by node, and its edges by their ends."""
    from quantacore.host.qec import detector_nodes
    model = circuit(distance, p, layers + 2 * MARGIN).detector_error_model(decompose_errors=True)
    matching = pymatching.Matching.from_detector_error_model(model)
    nodes = [(basis, space, layer - MARGIN) for basis, space, layer in
             detector_nodes(surface(distance, p), model).tolist()]
    edges = {frozenset(nodes[end] for end in ends if end is not None):
             (data["weight"], len(data["fault_ids"]) % 2) for *ends, data in matching.edges()}
    return matching, {node: number for number, node in enumerate(nodes)}, edges


@pytest.mark.parametrize("windows", ["streamed", "one window"])
@pytest.mark.parametrize("distance, p, rounds, shots, most", [
    (3, 0.003, 20, 1000, 0.01), (5, 0.003, 20, 600, 0.02), (7, 0.003, 20, 300, 0.06),
    (7, 0.001, 20, 300, 0.01)])
def test_correction_explains_the_syndrome_and_never_beats_pymatching(distance, p, rounds, shots,
                                                                     most, windows, seed):
    layers, *_ = sample(distance, p, rounds, shots, seed)
    image = surface(distance, p)
    settings = {"commit": rounds + 1, "buffer": 0} if windows == "one window" else {}
    result = decode_shots(image, layers, correlation=False, records=True, **settings)
    matching, numbers, edges = bulk(distance, p, rounds)
    corrections = [Counter() for _ in range(shots)]
    for shot, basis, layer, space, other_layer, other, _, _ in result.matches.tolist():
        corrections[shot].update(edges_of(image, basis, (basis, space, layer), None
                                          if other_layer < 0 else (basis, other, other_layer)))
    # What is left to the host is none of the correction's.
    escaped = {tuple(row) for row in result.escapes.tolist()}
    gaps = Counter()
    for shot in range(shots):
        defects = {(basis, space, layer) for basis, layer, space in
                   np.argwhere(layers[shot]).tolist()
                   if (shot, basis, layer, space) not in escaped}
        chosen = [edge for edge, times in corrections[shot].items() if times % 2]
        ends = Counter(node for edge in chosen for node in edge)
        assert {node for node, times in ends.items() if times % 2} == defects
        assert sum(edges[edge][1] for edge in chosen) % 2 == result.flips[shot, 0]
        syndrome = np.zeros(matching.num_detectors, np.uint8)
        syndrome[[numbers[node] for node in defects]] = 1
        _, least = matching.decode(syndrome, return_weight=True)
        gaps[round(sum(edges[edge][0] for edge in chosen) - least, 1) + 0.0] += 1
    above = shots - gaps[0.0]
    print(f"d={distance} p={p} {windows}: {shots} shots, weight above PyMatching's (nats): "
          f"{sorted(gaps.items())}; {len(escaped)} defects escaped")
    # PyMatching cuts its weights to 1 in 2**14, which is less than the 0.05 that are rounded off.
    assert min(gaps) >= 0
    assert above <= most * shots + SIGMAS * (most * shots) ** 0.5


def faults(model):
    """Detectors and observables of every error of a flat model."""
    for error in model.flattened():
        if error.type == "error":
            targets = error.targets_copy()
            yield ([t.val for t in targets if t.is_relative_detector_id()],
                   sum(t.is_logical_observable_id() for t in targets) % 2)


def decoded_faults(distance, rounds, pick, *, correlation, **settings):
    """``(right, right by PyMatching in the same mode)`` for combinations of faults."""
    _, model, _, nodes = experiment(distance, 0.003, rounds)
    matching = pymatching.Matching.from_detector_error_model(model,
                                                             enable_correlations=correlation)
    known = list(faults(model))
    combinations = pick(len(known))
    detections = np.zeros((len(combinations), model.num_detectors), np.uint8)
    observables = np.zeros(len(combinations), np.uint8)
    for shot, combination in enumerate(combinations):
        for number in combination:
            for detector in known[number][0]:
                detections[shot, detector] ^= 1
            observables[shot] ^= known[number][1]
    result = decode_shots(surface(distance, 0.003), as_layers(nodes, detections),
                          correlation=correlation, **settings)
    assert len(result.escapes) == 0
    reference = matching.decode_batch(detections, enable_correlations=correlation)
    right, reference = result.flips[:, 0] == observables, reference[:, 0] == observables
    print(f"{(~right).sum()} of {len(right)} wrong, {(~reference).sum()} by PyMatching, "
          f"{(~right & reference).sum()} only here")
    return right, reference


@pytest.mark.parametrize("commit, buffer", [(3, 3), (15, 0)])
def test_every_single_fault_of_distance_3_is_decoded(commit, buffer):
    right, _ = decoded_faults(3, 14, lambda count: [(number,) for number in range(count)],
                              correlation=False, commit=commit, buffer=buffer)
    assert right.all()


def test_pairs_of_faults_of_distance_5_are_decoded(seed):
    rng = np.random.default_rng(seed)
    right, _ = decoded_faults(5, 12, lambda count: rng.integers(count, size=(20_000, 2)),
                              correlation=False, commit=5, buffer=5)
    assert right.all()


# Two passes are no exact decoder: a mechanism whose two parts in one basis are edges to the
# boundary makes both bases see the wrong likely edges. PyMatching's two passes err there too.


def test_single_faults_decoded_wrong_by_correlation_are_few_and_known():
    right, reference = decoded_faults(3, 14, lambda count: [(number,) for number in range(count)],
                                      correlation=True, commit=3, buffer=3)
    assert right[reference].all()
    assert (~right).mean() < 0.03


def test_pairs_of_faults_decoded_wrong_by_correlation_are_few(seed):
    rng = np.random.default_rng(seed)
    right, reference = decoded_faults(5, 12, lambda count: rng.integers(count, size=(20_000, 2)),
                                      correlation=True, commit=5, buffer=5)
    assert (~right).sum() <= (~reference).sum() + SIGMAS * np.sqrt((right != reference).sum() + 1)
    assert (~right).mean() < 0.01


@pytest.mark.parametrize("distance, p, rounds, shots, correlation, ratio", [
    (5, 0.004, 25, 20_000, False, 1.03), (5, 0.004, 25, 20_000, True, 0.70),
    (7, 0.003, 35, 12_000, True, 0.53)])
def test_failures_against_pymatching(distance, p, rounds, shots, correlation, ratio, seed):
    from quantacore.sim.qec.streaming import decode_escapes

    layers, observables, matching, detections = sample(distance, p, rounds, shots, seed)
    nodes = experiment(distance, p, rounds)[3]
    result = decode_shots(surface(distance, p), layers, correlation=correlation, reach=90)
    flips = result.flips ^ decode_escapes(matching, nodes, result.escapes, shots)
    wrong = flips[:, 0] != observables
    reference = matching.decode_batch(detections)[:, 0] != observables
    # Shots that both get right or wrong say nothing about the difference; the others do, and
    # where the ratio is not 1, so does the number of the reference's failures.
    spread = np.sqrt((wrong != reference).sum() + ((1 - ratio) ** 2) * reference.sum())
    print(f"{wrong.sum()} / {reference.sum()} failures")
    assert abs(wrong.sum() - ratio * reference.sum()) <= SIGMAS * spread


# -- rules that samples seldom meet ----------------------------------------------------------------


def small_image(*, pair, bound, short=(), erase=(), hop=0, edge=None, **shape):
    """Both bases alike: distances ``pair[s1, s2, difference]`` (both orders), ``bound[s]``."""
    shape = DecoderShape(**{"space_bits": 2, "delta_bits": 2, "capacity": 8, "cluster": 4,
                            "edge_bits": 2, "shortcut_bits": 4, "time_bits": 3, **shape})
    words = [NONE] * (1 << shape.pair_bits)
    for (one, other, difference), (weight, obs) in pair.items():
        for s1, s2 in {(one, other), (other, one)}:
            words[(s1 << 2 | s2) << 2 | difference] = pack(shape.pair_word, weight=weight, obs=obs)
    for space in range(4):
        words[(space << 2 | space) << 2] = pack(shape.pair_word, weight=0, obs=0)
    tables = {}
    for basis in range(2):
        tables[basis, Table.PAIR] = words
        tables[basis, Table.BOUND] = [pack(shape.bound_word, weight=weight, obs=obs)
                                      for weight, obs in bound]
        tables[basis, Table.HOP] = [hop] * (1 << shape.pair_bits)
        tables[basis, Table.EDGE] = [pack(shape.edge_word, **(edge or {"boundary": 1}))]
        tables[basis, Table.SHORT] = [pack(shape.short_word, **fields) for fields in short]
        if erase:
            tables[basis, Table.ERASE] = [pack(shape.erase_word, **fields) for fields in erase]
    return DecoderImage(shape, tables, {"commit": 2, "buffer": 0, "reach": 20}, {})


def one_shot(layers, *spaces):
    """A shot with defects ``(layer, space)`` in basis 0."""
    shot = np.zeros((1, 2, layers, 4), np.uint8)
    for layer, space in spaces:
        shot[0, 0, layer, space] = 1
    return shot


BOUND = [(10, 1), (10, 0), (10, 0), (10, 0)]
ERASURE = [{"u": 0, "v": 1, "weight": 1, "obs": 1}]


def test_erasure_joins_defects():
    image = small_image(pair={(0, 1, 0): (25, 0)}, bound=BOUND, short=ERASURE, sites=2,
                        erase=[{}, {"start": 0, "count": 1}])
    shot = one_shot(2, (1, 0), (1, 1))
    erased = np.zeros((1, 2, 2), np.uint8)
    assert assert_forms_agree(image, shot, erased).matches[:, 2:].tolist() == [
        [1, 0, -1, -1, 1, 10], [1, 1, -1, -1, 0, 10]]
    erased[0, 1, 1] = 1
    assert assert_forms_agree(image, shot, erased).matches[:, 2:].tolist() == [
        [1, 0, 1, 1, 1, 1]]


def test_erasure_of_another_round_changes_nothing():
    image = small_image(pair={(0, 1, 0): (25, 0)}, bound=BOUND, short=ERASURE, sites=1,
                        erase=[{"start": 0, "count": 1}])
    erased = np.zeros((1, 4, 1), np.uint8)
    erased[0, 3, 0] = 1
    result = assert_forms_agree(image, one_shot(4, (0, 0), (0, 1)), erased)
    assert len(result.matches) == 2


def test_erasure_in_the_buffer_counts_again_in_the_next_window():
    image = small_image(pair={(0, 1, 0): (25, 0)}, bound=BOUND, short=ERASURE, sites=1,
                        erase=[{"start": 0, "count": 1}])
    erased = np.zeros((1, 6, 1), np.uint8)
    erased[0, 2, 0] = 1
    result = assert_forms_agree(image, one_shot(6, (2, 0), (2, 1)), erased, commit=2, buffer=2)
    assert result.matches[:, 2:].tolist() == [[2, 0, 2, 1, 1, 1]]


def test_erasure_near_nothing_improves_nothing():
    image = small_image(pair={(0, 1, 0): (25, 0), (0, 2, 0): (21, 0), (1, 3, 0): (21, 0)},
                        bound=BOUND, short=ERASURE, sites=1, erase=[{"start": 0, "count": 1}])
    erased = np.ones((1, 1, 1), np.uint8)
    result = assert_forms_agree(image, one_shot(1, (0, 2), (0, 3)), erased)
    assert result.statistics.counters["in_window"] == 2
    assert result.statistics.counters["survivors"] == 0
    result = assert_forms_agree(image, one_shot(1, (0, 2), (0, 3)), erased, reach=21)
    assert result.statistics.counters["survivors"] == 1


def test_tie_goes_to_the_boundary():
    image = small_image(pair={(0, 1, 0): (20, 1)}, bound=[(10, 0)] * 4)
    result = assert_forms_agree(image, one_shot(1, (0, 0), (0, 1)))
    assert result.matches[:, 4:].tolist() == [[-1, -1, 0, 10], [-1, -1, 0, 10]]


def test_cluster_over_the_bound_escapes_whole():
    near = {(a, b, 0): (1, 0) for a in range(4) for b in range(a)}
    near |= {(a, a, 1): (1, 0) for a in range(4)}
    image = small_image(pair=near, bound=[(200, 0)] * 4, cluster=2)
    defects = [(0, 0), (0, 1), (0, 2), (1, 2)]
    result = assert_forms_agree(image, one_shot(2, *defects))
    assert result.windows[0, 9] in (2, 4)
    image = small_image(pair=near, bound=[(200, 0)] * 4, cluster=2)
    result = assert_forms_agree(image, one_shot(2, *defects[:3]))
    assert result.escapes.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]
    assert len(result.matches) == 0


def test_escaped_cluster_waits_while_it_is_all_in_the_buffer():
    near = {(a, b, 0): (1, 0) for a in range(4) for b in range(a)}
    image = small_image(pair=near, bound=[(200, 0)] * 4, cluster=2)
    result = assert_forms_agree(image, one_shot(6, (2, 0), (2, 1), (2, 2)), commit=2, buffer=2)
    assert result.windows[result.windows[:, 1] == 0, 10].tolist() == [3, 3]
    assert result.windows[result.windows[:, 1] == 0, 2].tolist() == [0, 2]
    assert len(result.escapes) == 3


def test_no_way_out_escapes():
    image = small_image(pair={}, bound=[(NONE, 0)] * 4)
    result = assert_forms_agree(image, one_shot(1, (0, 3)))
    assert result.escapes.tolist() == [[0, 0, 0, 3]]


def test_overflow_gives_all_to_the_host_and_goes_on():
    image = small_image(pair={}, bound=BOUND)
    shot = np.ones((1, 2, 6, 4), np.uint8)
    shot[0, 0, 3:] = 0
    shot[0, 1] = 0
    shot[0, 0, 4, 1] = 1
    result = assert_forms_agree(image, shot, commit=3, buffer=0)
    assert result.windows[result.windows[:, 1] == 0, 6].tolist() == [1, 0]
    assert result.windows[result.windows[:, 1] == 0, 10].tolist() == [12, 1]
    assert len(result.escapes) == 12
    assert result.matches[:, 2:4].tolist() == [[4, 1]]


def test_path_without_end_is_flagged():
    image = small_image(pair={}, bound=BOUND, edge={"a": 0, "b": 0})
    result = assert_forms_agree(image, one_shot(1, (0, 0)))
    assert result.statistics.counters["walk_errors"] == 1
    assert result.statistics.counters["hops"] == MAX_HOPS
    assert result.matches[:, 2:].tolist() == [[0, 0, -1, -1, 1, 10]]


def test_match_across_the_cut_is_committed_whole():
    image = small_image(pair={(0, 0, 1): (3, 1)}, bound=BOUND)
    result = assert_forms_agree(image, one_shot(5, (1, 0), (2, 0)), commit=2, buffer=1)
    assert result.matches[:, 2:].tolist() == [[1, 0, 2, 0, 1, 3]]
    assert result.windows[result.windows[:, 1] == 0, 10].tolist() == [2, 0]


def test_match_in_the_buffer_waits():
    image = small_image(pair={(0, 0, 1): (3, 1)}, bound=BOUND)
    result = assert_forms_agree(image, one_shot(5, (2, 0), (3, 0)), commit=2, buffer=2)
    assert result.windows[result.windows[:, 1] == 0, 10].tolist() == [2, 2]
    assert result.windows[result.windows[:, 1] == 0, 11].tolist() == [0, 3]


def test_shortcut_reaches_the_other_basis():
    # A match to the boundary in basis 0 makes the edge 0-1 of basis 1 likely.
    image = small_image(pair={(0, 1, 0): (25, 0)}, bound=BOUND,
                        edge={"boundary": 1, "start": 0, "count": 1}, short=ERASURE)
    shot = one_shot(1, (0, 3))
    shot[0, 1, 0, :2] = 1
    result = assert_forms_agree(image, shot)
    assert [0, 1, 0, 0, 0, 1, 1, 1] in result.matches.tolist()
    result = assert_forms_agree(image, shot, correlation=False)
    assert len(result.matches) == 3


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, message", [
    ({"commit": 0}, "commit must be at least 1 layer"),
    ({"commit": 30, "buffer": 10}, "a window holds at most 8 layers, not 30"),
    ({"reach": 255}, "reach must be 0 to 254, not 255"),
])
def test_plain_form_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        Decoder(small_image(pair={}, bound=BOUND), **settings)


@pytest.mark.parametrize("settings, message", [
    ({"commit": 0}, "a window holds 1 to 8 layers, not 0"),
    ({"commit": 30, "buffer": 10}, "a window holds 1 to 8 layers, not 30"),
    ({"reach": 255}, "reach must be 0 to 254, not 255"),
    ({"erasures": np.zeros((1, 2, 1))}, "erasures must have the shape"),
])
def test_fast_form_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        decode_shots(small_image(pair={}, bound=BOUND), one_shot(2), **settings)


def test_fast_form_refuses_other_layers():
    with pytest.raises(ValueError, match="layers must have the shape"):
        decode_shots(small_image(pair={}, bound=BOUND), np.zeros((1, 2, 5, 9)))
