"""Clocks of the decoder's gateware by stage: ``python tools/decoder_stages.py [d] [p]``.

12 shots of 700 rounds, sent as fast as the decoder takes them; compiling the simulator takes
minutes the first time.
"""

import sys

import numpy as np

from quantacore.host.qec import compile_circuit, shot_layers
from quantacore.sim.bench.decoder import FastDecoder, round_words
from quantacore.sim.golden.decoder.fast import decode_shots
from quantacore.sim.qec.circuits import memory_circuit

ROUNDS, SHOTS, SEED = 700, 12, 5


def main():
    distance = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    p = float(sys.argv[2]) if len(sys.argv) > 2 else 0.003

    def memory(rounds):
        return memory_circuit(distance, rounds, p)

    image, circuit = compile_circuit(memory), memory(ROUNDS)
    detections = circuit.compile_detector_sampler(seed=SEED).sample(SHOTS)
    layers = shot_layers(image, circuit, detections)
    golden = decode_shots(image, layers, records=True)
    windows = len(golden.windows) // 2
    decoder = FastDecoder(image, matches=False)
    words = round_words(image.shape, layers)
    run = decoder.run(words, windows=2 * windows)
    print(f"d={distance} p={p} {image.settings}: {len(words)} rounds, {windows} windows of a basis")
    print(f"{run.clocks / len(words):.1f} clocks a round, {run.clocks / windows:.0f} a window")
    for stage, clocks in decoder.stages()[0].items():
        print(f"{stage.name:<12} {clocks / windows:6.0f} "
              f"{decoder.stages()[1][stage] / windows:6.0f}")
    spent = run.timings["clocks"]
    print(f"clocks of a window: 99.9 % below {np.quantile(spent, 0.999):.0f}, most {spent.max()}; "
          f"{run.verdicts['escaped'].sum()} escaped, {run.verdicts['overflow'].sum()} overflowed")
    for name in ("defects", "pairs", "pops", "clusters", "dp_candidates", "shortcuts",
                 "cross_pairs", "improved"):
        print(f"{name:<14} {golden.statistics.per_window(name):6.1f} a window and basis")


if __name__ == "__main__":
    main()
