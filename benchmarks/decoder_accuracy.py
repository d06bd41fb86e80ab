"""Logical errors of the streaming decoder beside PyMatching's, on the same shots.

The golden model makes the statistics: it equals the gateware bit for bit, which the tests prove
and a slice of each uniform case's shots, sent through the Verilated gateware as well, shows again
(``gateware_differences``: verdicts, matches and escapes that are not the same). Escapes, the
clusters that the gateware leaves undecided, are decoded by the host with PyMatching, as in a
system; ``ratio_gateware_alone`` is without that help. MWPM is PyMatching, correlated MWPM is
PyMatching's two-pass mode. Memory experiments of 5 d rounds, decoded in sliding windows.

An error bar is one standard deviation. It counts shots on which the two decoders disagree
(both are wrong on many of the same). A target is missed if the figure is above it by more than
the error bar; that ends the script with an error. Where the data folder has Google's experiments
they are decoded too (``../shared/data`` or ``QUANTACORE_DATA``).
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import pymatching
from common import Row, arguments, report
from decoder_cases import build_shape
from decoder_noise import google_experiments, read_google, si1000_circuit

from quantacore.host.console import progress as progress_bar
from quantacore.host.plot import Figure
from quantacore.host.qec import (
    compile_circuit,
    compile_dem,
    detector_nodes,
    shot_heralds,
    shot_layers,
)
from quantacore.sim.golden.decoder.fast import decode_shots
from quantacore.sim.qec.circuits import erasure_circuit, memory_circuit
from quantacore.sim.qec.streaming import decode_escapes

BENCHMARK = "decoder_accuracy"
#: Shots at a time: what memory takes, and how often the progress bar moves.
BATCH = 2000
#: Shots of a uniform case that the gateware decodes too.
SLICE = {3: 2000, 5: 500, 7: 200}


@dataclass(frozen=True)
class Case:
    """One noise; ``shots`` and ``quick`` (0: left out) are the numbers of shots.

    ``make(rounds)`` is the circuit. Targets are the largest ratios to MWPM that will do, with
    correlation and without.
    """

    name: str
    distance: int
    make: object
    shots: int
    quick: int = 0
    target: float | None = None
    plain_target: float | None = None
    gateware: bool = False
    build: dict = field(default_factory=dict)


def uniform(basis, distance, p, shots, quick=0, target=None, plain_target=None, gateware=False):
    return Case(f"{basis}_d{distance}_p{p}", distance,
                lambda rounds: memory_circuit(distance, rounds, p, basis), shots, quick, target,
                plain_target, gateware, build_shape(distance))


CASES = [
    uniform("z", 3, 0.003, 60_000, 10_000, 1.10, gateware=True),
    uniform("z", 3, 0.005, 30_000, 0, 1.10),
    uniform("z", 5, 0.004, 20_000, 4_000, 0.85, 1.05, gateware=True),
    uniform("z", 5, 0.002, 80_000, 0, 0.70, 1.05),
    uniform("z", 7, 0.003, 80_000, 0, 0.55, 1.10, gateware=True),
    uniform("x", 3, 0.003, 60_000, 0, 1.10),
    uniform("x", 3, 0.005, 30_000, 0, 1.10),
    uniform("x", 5, 0.004, 20_000, 0, 0.85, 1.05),
    uniform("x", 5, 0.002, 80_000, 0, 0.70, 1.05),
    uniform("x", 7, 0.003, 80_000, 0, 0.55, 1.10),
    Case("si1000_d5_p0.002", 5, partial(si1000_circuit, 5, p=0.002), 20_000,
         build={"capacity": 64, "cluster": 12, "event_bits": 10}),
]
#: Distance, noise of gates, chance that a data qubit is erased in a round, shots (full, quick).
ERASURES = [(3, 0.002, 0.02, 20_000, 0), (5, 0.002, 0.02, 20_000, 0)]
ERASURE_BUILDS = {3: {"capacity": 32, "cluster": 12, "event_bits": 9},
                  5: {"capacity": 64, "cluster": 12, "event_bits": 10}}
#: Ratios to the stored predictions that Google's experiments may not pass.
GOOGLE_TARGETS = {"plain": 1.03, "correlated": 1.02}
QUICK_GOOGLE = ("Z3",)


def ratio(ours, theirs):
    """Ratio of two decoders' failures on the same shots, and its standard deviation.

    Failures that both make cancel in part; each count is a Poisson number.
    """
    a, b, both = int(ours.sum()), int(theirs.sum()), int((ours & theirs).sum())
    if not b:
        return float(a), float(max(a, 1))
    if not a:
        return 0.0, 1 / b
    relative = (a - both) / a ** 2 + (b - both) / b ** 2 + both * (1 / a - 1 / b) ** 2
    return a / b, a / b * relative ** 0.5


def of_batches(total):
    return [min(BATCH, total - start) for start in range(0, total, BATCH)]


def batch_seed(seed, name, number):
    return crc32(f"{seed}/{name}/{number}".encode()) & 0x7FFFFFFF


def gateware_differences(image, layers, erasures=None):
    """Verdicts, matches and escapes of the gateware that are not the golden model's."""
    from quantacore.sim.bench.decoder import FastDecoder, round_words

    golden = decode_shots(image, layers, erasures=erasures, records=True)
    run = FastDecoder(image).run(round_words(image.shape, layers, erasures=erasures),
                                 windows=len(golden.windows))
    bad = 0
    for basis in range(2):
        mine = golden.windows[golden.windows[:, 1] == basis]
        own = run.verdicts["basis"] == basis
        theirs = np.stack([run.verdicts[k][own] for k in ("round", "layers", "obs")], axis=-1)
        columns = mine[:, [2, 3, 5]]
        if len(columns) != len(theirs):
            bad += abs(len(columns) - len(theirs))
        else:
            bad += int((columns != theirs).any(axis=1).sum())

    def pair(basis, one, other, obs):
        return basis, *sorted((one, other or one)), other is None, obs

    mine = Counter(pair(b, (t, s), None if u < 0 else (t2, u), obs)
                   for _, b, t, s, t2, u, obs, _ in golden.matches.tolist())
    names = ("basis", "round", "space", "boundary", "delta", "other_space", "obs")
    theirs = Counter(pair(b, (t, s), None if far else (t + dt, u), obs)
                     for b, t, s, far, dt, u, obs in
                     zip(*(run.matches[name].tolist() for name in names), strict=True))
    bad += ((mine - theirs) + (theirs - mine)).total()
    mine = Counter(map(tuple, golden.escapes[:, 1:].tolist()))
    theirs = Counter(zip(*(run.escapes[name].tolist() for name in ("basis", "round", "space")),
                         strict=True))
    return bad + ((mine - theirs) + (theirs - mine)).total()


class Tally:
    """Failures of each decoder, shot by shot."""

    def __init__(self):
        self.wrong, self.escapes = {}, 0

    def add(self, actual, **flips):
        for name, said in flips.items():
            self.wrong.setdefault(name, []).append(said ^ actual)

    def finish(self):
        self.wrong = {name: np.concatenate(parts) for name, parts in self.wrong.items()}
        return self


class Experiment:
    """The circuit of a case, with decoders for it."""

    def __init__(self, circuit):
        self.circuit = circuit
        self.model = circuit.detector_error_model(decompose_errors=True,
                                                  approximate_disjoint_errors=True)
        self.matching = pymatching.Matching.from_detector_error_model(self.model)
        self.correlated = pymatching.Matching.from_detector_error_model(
            self.model, enable_correlations=True)

    def ours(self, image, detections, *, erasures=None, correlation=True):
        """(flips with escapes decoded by the host, flips without, number of escapes)."""
        result = decode_shots(image, shot_layers(image, self.circuit, detections),
                              erasures=erasures, correlation=correlation)
        escaped = decode_escapes(self.matching, detector_nodes(image, self.model),
                                 result.escapes, len(detections))
        return result.flips[:, 0] ^ escaped[:, 0], result.flips[:, 0], len(result.escapes)

    def theirs(self, detections):
        """Flips by MWPM and by correlated MWPM."""
        return {"mwpm": self.matching.decode_batch(detections)[:, 0].astype(bool),
                "correlated_mwpm": self.correlated.decode_batch(
                    detections, enable_correlations=True)[:, 0].astype(bool)}


def sampled(case, shots, seed, step, *, plain=True, slice_of=0):
    """Decode the shots of a case; (Tally, image, differences of the gateware or None)."""
    image = compile_circuit(case.make, **case.build)
    experiment = Experiment(case.make(5 * case.distance))
    tally, differences = Tally(), None
    for number, count in enumerate(of_batches(shots)):
        detections, flips = experiment.circuit.compile_detector_sampler(
            seed=batch_seed(seed, case.name, number)).sample(count, separate_observables=True)
        ours, alone, escapes = experiment.ours(image, detections)
        tally.escapes += escapes
        said = {"ours": ours, "gateware_alone": alone, **experiment.theirs(detections)}
        if plain:
            said["plain"], *_ = experiment.ours(image, detections, correlation=False)
        tally.add(flips[:, 0], **said)
        if not number and slice_of:
            differences = gateware_differences(
                image, shot_layers(image, experiment.circuit, detections[:slice_of]))
        step(count)
    return tally.finish(), image, differences


SOURCES = {"ours": "with what escapes decoded by the host",
           "gateware_alone": "what escapes not decoded at all",
           "plain": "no correlation between the bases",
           "mwpm": "PyMatching, same shots",
           "correlated_mwpm": "PyMatching with enable_correlations, same shots",
           "side_band": "heralds of the erasures given to the decoder",
           "blind": "heralds not used: erasures are noise"}


def errors_rows(name, tally, anchor="mwpm"):
    """Shots, and what each decoder got wrong."""
    other = tally.wrong[anchor]
    rows = [Row(name=f"{name}/shots", figure=len(other), unit="shots")]
    for who, wrong in tally.wrong.items():
        beside = {} if who == anchor or not other.any() else {"anchor": int(other.sum())}
        rows.append(Row(
            name=f"{name}/errors_{who}", figure=int(wrong.sum()), unit="shots",
            anchor_source=f"{SOURCES[who]}; anchor: {anchor}" if beside else SOURCES[who],
            **beside))
    return rows


def ratio_row(name, quantity, ours, theirs, source, target=None, missed=None):
    """The rows of a ratio and its error bar; the anchor is the target."""
    figure, error = ratio(ours, theirs)
    text = f"{source}; +- {error:.3f}"
    if target is not None:
        text += f", anchor: at most {target:g}"
        if missed is not None and figure - error > target:
            missed.append(f"{name}/{quantity} {figure:.3f} +- {error:.3f} > {target:g}")
    return [Row(name=f"{name}/{quantity}", figure=figure, unit="", anchor=target,
                anchor_source=text),
            Row(name=f"{name}/{quantity.replace('ratio', 'ratio_error', 1)}", figure=error,
                unit="", anchor_source=f"standard deviation of {quantity}")]


def case_rows(case, shots, seed, step, missed):
    """Rows of one kind of noise."""
    name = f"{BENCHMARK}/{case.name}"
    tally, image, differences = sampled(case, shots, seed, step,
                                        slice_of=SLICE[case.distance] if case.gateware else 0)
    wrong = tally.wrong
    rows = errors_rows(name, tally)
    rows += ratio_row(name, "ratio_to_mwpm", wrong["ours"], wrong["mwpm"], "the system's figure",
                      case.target, missed)
    rows += ratio_row(name, "ratio_gateware_alone", wrong["gateware_alone"], wrong["mwpm"],
                      "to MWPM, without the host")
    rows += ratio_row(name, "ratio_plain_to_mwpm", wrong["plain"], wrong["mwpm"],
                      "no correlation", case.plain_target, missed)
    rows += ratio_row(name, "ratio_to_correlated_mwpm", wrong["ours"], wrong["correlated_mwpm"],
                      "to PyMatching with enable_correlations")
    rounds = shots * (5 * case.distance + 1)
    quantisation = image.about["quantisation"]
    rows += [
        Row(name=f"{name}/escapes_per_round", figure=tally.escapes / rounds,
            unit="defects/round", anchor_source="left to the host"),
        Row(name=f"{name}/quantisation_failures", figure=quantisation["two_defect_failures"],
            unit="", anchor_source="of all two-defect syndromes, with weights of 8 bits over with "
            "real ones; the compiler's report"),
    ]
    if differences is not None:
        rows.append(Row(name=f"{name}/gateware_differences", figure=differences, unit="records",
                        anchor_source=f"to the golden model, first "
                        f"{min(SLICE[case.distance], BATCH, shots)} shots through the gateware"))
    return rows


def erasure_rows(distance, p, erased, shots, seed, step):
    """Rows of an erasure noise, with and without the side-band."""
    name = f"{BENCHMARK}/erasure{erased}_d{distance}_p{p}"

    def make(rounds):
        return erasure_circuit(distance, rounds, p, erased)

    build = ERASURE_BUILDS[distance]
    flagged = compile_circuit(make, **build)
    blind = compile_circuit(make, erasures=False, **build)
    experiment = Experiment(make(5 * distance))
    sampler, converter = (experiment.circuit.compile_sampler,
                          experiment.circuit.compile_m2d_converter())
    tally = Tally()
    for number, count in enumerate(of_batches(shots)):
        measured = sampler(seed=batch_seed(seed, name, number)).sample(count)
        detections, flips = converter.convert(measurements=measured, separate_observables=True)
        heralds = shot_heralds(flagged, experiment.circuit, measured)
        with_band, _, escapes = experiment.ours(flagged, detections, erasures=heralds)
        without, *_ = experiment.ours(blind, detections)
        tally.escapes += escapes
        tally.add(flips[:, 0], side_band=with_band, blind=without,
                  **experiment.theirs(detections))
        step(count)
    wrong = tally.finish().wrong
    rows = errors_rows(name, tally)
    rows += ratio_row(name, "ratio_side_band_to_mwpm", wrong["side_band"], wrong["mwpm"],
                      "heralds used; MWPM does not know them")
    rows += ratio_row(name, "ratio_blind_to_mwpm", wrong["blind"], wrong["mwpm"],
                      "heralds not used by either")
    rows += ratio_row(name, "ratio_side_band_to_blind", wrong["side_band"], wrong["blind"],
                      "what the side-band is worth")
    rows.append(Row(name=f"{name}/escapes_per_round",
                    figure=tally.escapes / shots / (5 * distance + 1), unit="defects/round",
                    anchor_source="left to the host, side-band used"))
    return rows


def google_rows(label, path, step, missed):
    """Rows of one of Google's experiments: all its shots."""
    name = f"{BENCHMARK}/google_{label}"
    model, detections, flips = read_google(path)
    image = compile_dem(model)
    nodes = detector_nodes(image, model)
    matching = pymatching.Matching.from_detector_error_model(model)
    tally = Tally()
    start = 0
    for count in of_batches(len(detections)):
        part = slice(start, start + count)
        layers = shot_layers(image, model, detections[part])
        said = {}
        for kind in ("plain", "ours"):
            result = decode_shots(image, layers, correlation=kind == "ours")
            tally.escapes += len(result.escapes) if kind == "ours" else 0
            said[kind] = result.flips[:, 0] ^ decode_escapes(matching, nodes, result.escapes,
                                                             count)[:, 0]
        tally.add(flips["actual"][part], **said, mwpm=flips["pymatching"][part],
                  correlated_mwpm=flips["correlated_matching"][part])
        start += count
        step(count)
    wrong = tally.finish().wrong
    stored = {"plain": ("mwpm", "PyMatching"), "correlated": ("correlated_mwpm",
                                                              "correlated matching")}
    rows = [Row(name=f"{name}/shots", figure=start, unit="shots")]
    for mode, (who, text) in stored.items():
        mine = wrong["plain" if mode == "plain" else "ours"]
        rows.append(Row(name=f"{name}/errors_{mode}", figure=int(mine.sum()), unit="shots",
                        anchor=int(wrong[who].sum()),
                        anchor_source=f"the stored predictions of {text} "
                        f"(doi:10.5281/zenodo.6804040)"))
        rows += ratio_row(name, f"ratio_{mode}_to_stored", mine, wrong[who],
                          f"to the stored predictions of {text}", GOOGLE_TARGETS[mode], missed)
    rows.append(Row(name=f"{name}/escapes_per_shot", figure=tally.escapes / start,
                    unit="defects/shot", anchor_source="left to the host"))
    return rows


def per_round(failures, shots, rounds):
    """Logical error per round, and its standard deviation."""
    share = failures / shots
    error = (max(failures, 1) * (1 - share)) ** 0.5 / shots

    def each(chance):
        return (1 - max(1e-12, 1 - 2 * chance) ** (1 / rounds)) / 2

    return each(share), (each(share + error) - each(max(share - error, 0))) / 2


PLOT_P = (0.002, 0.003, 0.004, 0.005, 0.006)
PLOT_WHO = {"mwpm": ("PyMatching", 0), "correlated_mwpm": ("PyMatching, correlated", 2),
            "ours": ("QuantaCore", 1)}


def plot_shots(distance, p, quick):
    """Fewer where errors are many and decoding is slow."""
    many = {3: 10_000, 5: 10_000, 7: 6_000}[distance]
    return (many * (4 if p == 0.002 else 2 if p == 0.003 else 1)) // (10 if quick else 1)


def figure_of(points):
    """The plot of ``{(who, distance): [(p, chance, error), ...]}``, self-contained SVG text."""
    shown = [chance for curve in points.values() for _, chance, _ in curve if chance > 0]
    lowest = np.log10(min(shown, default=1e-6))
    highest = np.log10(max(shown, default=1e-2))
    figure = Figure("Logical error per round, d = 3, 5, 7", x_label="physical error, %",
                    y_label="log10 of logical error per round", height=460,
                    x_range=(100 * PLOT_P[0] - 0.02, 100 * PLOT_P[-1] + 0.02),
                    y_range=(lowest - 0.3, highest + 0.2))
    named = set()
    for (who, _distance), curve in points.items():
        curve = [(100 * p, chance, error) for p, chance, error in curve if chance > 0]
        if not curve:
            continue
        x, chance, error = (np.array(column) for column in zip(*curve, strict=True))
        label, colour = PLOT_WHO[who]
        figure.line(x, np.log10(chance), "" if who in named else label, colour=colour)
        figure.points(x, np.log10(chance), error=error / chance / np.log(10), colour=colour)
        named.add(who)
    return figure.svg(standalone=True)


def plot(target, quick, seed, step, tell):
    """Decode the points of the plot and write it."""
    points = {}
    for distance in (3, 5, 7):
        for p in PLOT_P:
            case = uniform("z", distance, p, 0)
            tell(f"plot: {case.name}")
            shots = plot_shots(distance, p, quick)
            tally, *_ = sampled(case, shots, seed, step, plain=False)
            for who in PLOT_WHO:
                chance, error = per_round(int(tally.wrong[who].sum()), shots, 5 * distance)
                points.setdefault((who, distance), []).append((p, chance, error))
    Path(target).write_text(figure_of(points), encoding="utf-8")


def main():
    options = arguments(
        __doc__.splitlines()[0],
        only={"metavar": "CASE", "action": "append",
              "help": "only cases whose name has this in it (may be repeated)"},
        plot={"metavar": "FILE", "help": "also write an SVG of logical error against noise"})
    quick, seed = options.quick, options.seed
    missed, jobs = [], []
    for case in CASES:
        shots = case.quick if quick else case.shots
        jobs.append((case.name, shots, lambda step, case=case, shots=shots: case_rows(
            case, shots, seed, step, missed)))
    for distance, p, erased, full, few in ERASURES:
        shots = few if quick else full
        jobs.append((f"erasure{erased}_d{distance}_p{p}", shots,
                     lambda step, a=(distance, p, erased, shots): erasure_rows(*a, seed, step)))
    experiments = google_experiments()
    if not experiments:
        print("Google's experiments are not in ../shared/data or QUANTACORE_DATA: left out",
              file=sys.stderr)
    for label, path in experiments.items():
        jobs.append((f"google_{label}", 0 if quick and label not in QUICK_GOOGLE else 50_000,
                     lambda step, a=(label, path): google_rows(*a, step, missed)))
    jobs = [job for job in jobs if job[1] and (
        not options.only or any(part in job[0] for part in options.only))]
    if not jobs:
        sys.exit(f"no case has {' or '.join(options.only or ['shots'])} in its name")
    rows = []
    total = sum(shots for _, shots, _ in jobs)
    if options.plot:
        total += sum(plot_shots(d, p, quick) for d in (3, 5, 7) for p in PLOT_P)
    with progress_bar() as bar:
        task = bar.add_task("", total=total)

        def step(count):
            bar.advance(task, count)

        def tell(text):
            bar.update(task, description=text)

        for label, _, job in jobs:
            tell(label)
            rows += job(step)
        if options.plot:
            plot(options.plot, quick, seed, step, tell)
    report(rows, options)
    different = [row.name for row in rows
                 if row.name.endswith("/gateware_differences") and row.figure]
    if missed or different:
        sys.exit("; ".join(["targets missed: " + ", ".join(missed)] * bool(missed)
                           + ["gateware is not the golden model: " + ", ".join(different)]
                           * bool(different)))


if __name__ == "__main__":
    main()
