"""The decoder on Verilator against its golden model; distance 7 is in tests/system."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from quantacore.gateware.decoder.decoder import Decoder
from quantacore.gateware.layouts.decoder import BASES
from quantacore.host.qec import compile_circuit, shot_layers
from quantacore.sim.bench.cosim import build_folder, run_cocotb, seed_from_environment
from quantacore.sim.qec.circuits import memory_circuit

WAITING = 64


def circuit(distance, p, rounds, basis="z"):
    """A memory experiment with uniform depolarizing noise."""
    return memory_circuit(distance, rounds, p, basis)


def prepare(name, source, model, *, shots, **options):
    """Image and shots in files, for the cocotb process; returns the image and its parameters."""
    image = compile_circuit(source, **options)
    seed = seed_from_environment()
    print(f"QUANTACORE_SEED={seed}")
    detections = model.compile_detector_sampler(seed=seed).sample(shots)
    layers = shot_layers(image, model, detections)
    folder = build_folder() / "decoder"
    folder.mkdir(parents=True, exist_ok=True)
    content = image.to_bytes()
    stem = f"{name}-{zlib.crc32(content):08x}-{seed:08x}"
    path = folder / f"{stem}.qcdi"
    path.write_bytes(content)
    np.save(folder / f"{stem}.npy", layers)
    spaces = max(len(image.words(basis, 2)) for basis in range(BASES))
    return image, {"image": str(path), "shots": str(folder / f"{stem}.npy"),
                   "rounds_waiting": WAITING, "spaces": min(spaces, layers.shape[3])}


@pytest.mark.parametrize("distance, p, rounds, shots, capacity", [
    (3, 0.005, 15, 300, 16),
    (5, 0.004, 25, 120, 32),
])
def test_decoder(distance, p, rounds, shots, capacity):
    image, parameters = prepare(
        f"d{distance}", lambda r: circuit(distance, p, r), circuit(distance, p, rounds),
        shots=shots, capacity=capacity)
    run_cocotb(Decoder(image.shape, rounds_waiting=WAITING), f"decoder_d{distance}",
               Path(__file__).with_name("cocotb_decoder.py"), parameters=parameters)
