"""What each approximation of the streaming decoder costs: the same shots, one thing changed.

Figures are logical errors relative to minimum-weight matching of the whole shot (PyMatching), on
the same shots, with what escapes decoded by PyMatching; and the work of a window, counted by the
golden model. docs/decoder.md says what each line is about.
"""

import sys

import numpy as np
import pymatching
from common import Row, arguments, report

from quantacore.host.qec import compile_circuit, detector_nodes, shot_layers
from quantacore.sim.golden.decoder.fast import decode_shots
from quantacore.sim.qec.circuits import memory_circuit
from quantacore.sim.qec.streaming import decode_escapes

#: (distance, p, rounds, shots)
CASES = ((5, 0.004, 25, 60_000), (7, 0.003, 30, 100_000))
#: Work of a window that is worth a line, of the default alone.
WORK = ("defects", "pairs", "pops", "dp_candidates", "shortcuts", "cross_pairs", "improved")


def variants(distance, layers):
    """Name, options of the compiler, settings of the run."""
    whole = {"commit": layers, "buffer": 0}
    yield "default", {}, {}
    yield "one_window", whole, {}
    yield "no_second_pass", {}, {"correlation": False}
    yield "no_second_pass_one_window_shortest_paths", {**whole, "degenerate": False}, {
        "correlation": False}
    yield "shortest_paths", {"degenerate": False}, {}
    yield "table_of_8_layers", {"delta_bits": 3}, {}
    yield "table_of_2_layers", {"delta_bits": 1}, {}
    yield "clusters_to_14", {"cluster": 14}, {}
    yield "clusters_to_8", {"cluster": 8}, {}
    yield "reach_40", {}, {"reach": 40}
    yield "reach_160", {}, {"reach": 160}
    for commit, buffer in ((5, 3), (5, 7)) if distance == 5 else ((18, 6), (20, 4), (21, 3)):
        yield f"window_{commit}_{buffer}", {"commit": commit, "buffer": buffer}, {}


def case(distance, p, rounds, shots, seed):
    """Rows of one code and one noise."""
    name = f"decoder_approximations/d{distance}_p{p}"
    circuit = memory_circuit(distance, rounds, p)
    model = circuit.detector_error_model(decompose_errors=True)
    detections, flips = circuit.compile_detector_sampler(seed=seed).sample(
        shots, separate_observables=True)
    matching = pymatching.Matching.from_detector_error_model(model)
    errors = int((matching.decode_batch(detections)[:, 0] != flips[:, 0]).sum())
    correlated = pymatching.Matching.from_detector_error_model(model, enable_correlations=True)
    answer = correlated.decode_batch(detections, enable_correlations=True)
    rows = [Row(name=f"{name}/matching_errors", figure=errors, unit="shots"),
            Row(name=f"{name}/correlated_matching", unit="errors", anchor=errors,
                figure=int((answer[:, 0] != flips[:, 0]).sum()), anchor_source="PyMatching")]
    images = {}
    for label, options, settings in variants(distance, rounds + 1):
        key = tuple(sorted(options.items()))
        if key not in images:
            image = compile_circuit(lambda r: memory_circuit(distance, r, p), capacity=64,
                                    **options)
            images[key] = image, shot_layers(image, circuit, detections)
        image, layers = images[key]
        found = decode_shots(image, layers, **settings)
        host = decode_escapes(matching, detector_nodes(image, model), found.escapes, shots)
        wrong = int((found.flips[:, 0] ^ host[:, 0] != flips[:, 0]).sum())
        rows.append(Row(name=f"{name}/{label}", figure=wrong, unit="errors", anchor=errors,
                        anchor_source="PyMatching"))
        if label in ("default", "clusters_to_14", "clusters_to_8"):
            rows.append(Row(name=f"{name}/{label}_shots_with_escapes", unit="shots",
                            figure=len(np.unique(found.escapes[:, 0]))))
        if label == "default":
            rows += [Row(name=f"{name}/work_{what}", unit="per window and basis",
                         figure=found.statistics.per_window(what)) for what in WORK]
        print(f"{name}: {label} {wrong}", file=sys.stderr, flush=True)
    return rows


def main():
    options = arguments(__doc__.splitlines()[0])
    rows = []
    for distance, p, rounds, shots in CASES[:1] if options.quick else CASES:
        rows += case(distance, p, rounds, shots // 10 if options.quick else shots, options.seed)
    report(rows, options)


if __name__ == "__main__":
    main()
