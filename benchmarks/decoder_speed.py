"""How long the streaming decoder takes: clocks a round, time a round, reaction time, backlog.

The Verilated gateware decodes memory experiments whose rounds come one a microsecond at the clock
that place and route finds on an ECP5-85F, speed grade 6. PyMatching decodes the same shots on this
processor. Published figures of other hardware decoders stand beside them.
"""

import sys
import time
from pathlib import Path

import numpy as np
from common import Row, arguments, report
from decoder_cases import CLOCK_HZ, build_shape, placed

from quantacore.host.qec import compile_circuit, shot_layers
from quantacore.sim.bench.decoder import FastDecoder, round_words
from quantacore.sim.qec.circuits import memory_circuit

#: Mean time per round at p = 0.1 %, ns: Micro Blossom, arXiv:2502.14787, VMK180.
MICRO_BLOSSOM_NS = {3: 162, 5: 195, 7: 282, 9: 367, 13: 824}
#: Clocks a round at p = 0.3 %: Helios' circuit-level RTL and a parallel union-find on an
#: ECP5-85F, both probed before this decoder was designed (docs/decoder.md).
PROBED = {(5, "Helios, unweighted union-find, 47 MHz on the same part"): 4.4,
          (3, "parallel union-find of 4-bit weights, 115 MHz on the same part"): 4.5,
          (5, "parallel union-find of 4-bit weights, 75 MHz on the same part"): 11,
          (7, "parallel union-find of 4-bit weights, 69 MHz on the same part"): 13}
ROUND_NS = 1000


def case(distance, p, rounds, options, clock_hz, told):
    """Rows of one code and one noise."""
    import pymatching

    name = f"decoder_speed/d{distance}_p{p}"
    image = compile_circuit(lambda r: memory_circuit(distance, r, p),
                            **build_shape(distance))
    length = 40 * distance
    shots = -(-rounds // (length + 1))
    circuit = memory_circuit(distance, length, p)
    detections, flips = circuit.compile_detector_sampler(seed=options.seed).sample(
        shots, separate_observables=True)
    layers = shot_layers(image, circuit, detections)
    shots, _, per_shot, _ = layers.shape
    commit, buffer = image.settings["commit"], image.settings["buffer"]
    windows = 2 * shots * max(1, -(-(per_shot - buffer) // commit))
    decoder = FastDecoder(image, matches=False)
    words = round_words(image.shape, layers)
    total = shots * per_shot

    # As fast as it can: rounds always wait, so that a window takes load and decoding together.
    flat_out = decoder.run(words, windows=windows)
    per_round = flat_out.clocks / total
    times = flat_out.times[flat_out.timings["basis"] == 0].astype(np.int64)
    committed = flat_out.verdicts["layers"][flat_out.verdicts["basis"] == 0]
    each = np.diff(times) / committed[1:]

    # One round a microsecond.
    decoder.reset()
    period = round(clock_hz * ROUND_NS / 1e9)
    run = decoder.run(words, gaps=period - 1, windows=windows, throttle=False)
    latency = run.timings["latency"] * 1e9 / clock_hz
    matching = pymatching.Matching.from_detector_error_model(
        circuit.detector_error_model(decompose_errors=True))
    matching.decode_batch(detections[:10])
    started = time.perf_counter()
    matching.decode_batch(detections)
    software_ns = (time.perf_counter() - started) * 1e9 / total
    ns = per_round * 1e9 / clock_hz
    clock = f"at {clock_hz / 1e6:.1f} MHz ({told})"
    counts = decoder.counts()
    half = len(run.backlog) // 2
    rows = [
        Row(name=f"{name}/rounds", figure=total, unit="rounds"),
        Row(name=f"{name}/clocks_per_round", figure=per_round, unit="clocks",
            anchor=clock_hz / 1e6, anchor_source="clocks in a microsecond " + clock),
        Row(name=f"{name}/clocks_per_round_99.9", figure=float(np.quantile(each, 0.999)),
            unit="clocks"),
        Row(name=f"{name}/clocks_per_round_worst", figure=float(each.max()), unit="clocks"),
        Row(name=f"{name}/time_per_round", figure=ns, unit="ns", anchor=ROUND_NS,
            anchor_source=f"a round of a superconducting processor; {clock}"),
        Row(name=f"{name}/time_per_round_over_pymatching", figure=ns, unit="ns",
            anchor=software_ns, anchor_source="PyMatching 2 on this processor, same shots, "
            "one core, one basis or both as the model has them"),
        Row(name=f"{name}/reaction_mean", figure=float(latency.mean()), unit="ns",
            anchor_source="last round of a window to its verdict, rounds 1 us apart"),
        Row(name=f"{name}/reaction_99.9", figure=float(np.quantile(latency, 0.999)), unit="ns"),
        Row(name=f"{name}/backlog_largest", figure=int(run.backlog.max()), unit="rounds"),
        Row(name=f"{name}/backlog_first_half", figure=float(run.backlog[:half].mean()),
            unit="rounds"),
        Row(name=f"{name}/backlog_second_half", figure=float(run.backlog[half:].mean()),
            unit="rounds", anchor=max(float(run.backlog[:half].mean()), 1e-9),
            anchor_source="the first half: 1 where it does not grow"),
        Row(name=f"{name}/rounds_lost", figure=counts["lost"], unit="rounds"),
    ]
    if p == 0.001 and distance in MICRO_BLOSSOM_NS:
        rows.append(Row(name=f"{name}/time_per_round_over_micro_blossom", figure=ns, unit="ns",
                        anchor=MICRO_BLOSSOM_NS[distance],
                        anchor_source="Micro Blossom on a VMK180 (Versal), arXiv:2502.14787"))
    if p == 0.003:
        for (of, source), anchor in PROBED.items():
            if of == distance:
                kind = "helios" if "Helios" in source else "parallel_union_find"
                rows.append(Row(name=f"{name}/clocks_per_round_over_{kind}", figure=per_round,
                                unit="clocks", anchor=anchor, anchor_source=source))
    return rows


def main():
    options = arguments(__doc__.splitlines()[0], clock={
        "type": float, "metavar": "MHZ",
        "help": "clock to assume instead of the one that place and route finds"}, distance={
        "type": int, "action": "append", "choices": (3, 5, 7),
        "help": "only this distance (may be repeated)"})
    distances = options.distance or ((3,) if options.quick else (3, 5, 7))
    rounds = 10_000 if options.quick else 100_000
    rows = []
    for distance in distances:
        if options.clock:
            clock_hz, told = options.clock * 1e6, "assumed clock"
        elif options.quick:
            clock_hz, told = CLOCK_HZ, "assumed clock, the quick run does not place and route"
        else:
            clock_hz = placed(distance, folder=Path("build") / "pnr",
                              progress=lambda text: print(text, file=sys.stderr)).fmax_hz
            told = "placed and routed"
        for p in (0.001, 0.003):
            print(f"d={distance}, p={p}: decoding", file=sys.stderr, flush=True)
            rows += case(distance, p, rounds, options, clock_hz, told)
    report(rows, options)
    slow = [row.name for row in rows if row.name.endswith("/time_per_round") and row.ratio >= 1]
    lost = [row.name for row in rows if row.name.endswith("/rounds_lost") and row.figure]
    if slow or lost:
        sys.exit(f"slower than a round a microsecond: {slow}; rounds lost: {lost}")


if __name__ == "__main__":
    main()
