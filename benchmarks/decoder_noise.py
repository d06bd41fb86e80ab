"""Noise for the decoder's benchmarks on Stim's circuits, and real shots from the data folder."""

import tarfile
import tempfile
from pathlib import Path

import stim

from quantacore.host.demo import data_folder
from quantacore.sim.qec.circuits import memory_circuit

__all__ = ["si1000_circuit", "google_experiments", "read_google"]

_MEASURES = {"M", "MZ", "MR", "MRZ"}
_RESETS = {"R", "RZ", "MR", "MRZ"}


def si1000_circuit(distance, rounds, p):
    """The Z memory of the rotated code under SI1000 noise.

    Gidney, Newman, Fowler and Broughton, "A fault-tolerant honeycomb memory" (2021): two-qubit
    Clifford gates depolarize with p, single-qubit ones with p/10, idle qubits with p/10, qubits
    that wait for others' measurement or reset with 2p; a reset leaves the other state with 2p, a
    measurement's outcome is wrong with 5p. Stim's circuit has CX where SI1000 speaks of CZ, and
    measures and resets in one step: both are taken as they stand.
    """
    result = stim.Circuit()
    moment = []
    quiet = memory_circuit(distance, rounds, 0).flattened()
    every = {target.value for item in quiet for target in item.targets_copy()
             if item.name not in ("QUBIT_COORDS", "SHIFT_COORDS", "DETECTOR",
                                  "OBSERVABLE_INCLUDE")}

    def finish():
        busy, slow, after = set(), False, stim.Circuit()
        for item in moment:
            targets = [target.value for target in item.targets_copy()
                       if target.is_qubit_target]
            if item.name in _MEASURES:
                result.append("X_ERROR", targets, 5 * p)
            result.append(item)
            if item.name in _MEASURES | _RESETS:
                slow = True
                if item.name in _RESETS:
                    after.append("X_ERROR", targets, 2 * p)
            elif stim.gate_data(item.name).is_unitary:
                two = stim.gate_data(item.name).is_two_qubit_gate
                after.append("DEPOLARIZE2" if two else "DEPOLARIZE1", targets,
                             p if two else p / 10)
            else:
                continue
            busy.update(targets)
        if busy and every - busy:
            after.append("DEPOLARIZE1", sorted(every - busy), 2 * p if slow else p / 10)
        # Noise of a measurement's moment precedes the moment's detectors, which hides nothing.
        result.__iadd__(after)
        moment.clear()

    for item in quiet:
        if item.name == "TICK":
            finish()
            result.append(item)
        elif item.name in ("DEPOLARIZE1", "DEPOLARIZE2", "X_ERROR", "Z_ERROR"):
            continue  # of probability 0
        else:
            moment.append(item)
    finish()
    return result


def google_experiments():
    """Archives of Google's surface-code experiments by short name (``X3``); may be none."""
    folder = data_folder() / "google_qec3v5"
    found = {}
    for path in sorted(folder.glob("surface_code_b?_d?_*.tar.xz")) if folder.is_dir() else []:
        _, _, basis, distance, *_ = path.name.split("_")
        found[basis[1] + distance[1:]] = path
    return found


def read_google(path):
    """Shots of one archive, which is read in memory.

    Returns
    -------
    model : stim.DetectorErrorModel
    detections : numpy.ndarray
        ``(shots, detectors)`` bool.
    flips : dict of str to numpy.ndarray
        ``(shots,)`` bool of the first observable: ``actual``, ``pymatching`` and
        ``correlated_matching``.
    """
    wanted = {"circuit_detector_error_model.dem", "detection_events.b8", "obs_flips_actual.01",
              "obs_flips_predicted_by_pymatching.01",
              "obs_flips_predicted_by_correlated_matching.01"}
    with tarfile.open(path) as archive:
        files = {Path(member.name).name: archive.extractfile(member).read()
                 for member in archive if Path(member.name).name in wanted}
    missing = wanted - set(files)
    if missing:
        raise ValueError(f"{path.name} has no {', '.join(sorted(missing))}")
    model = stim.DetectorErrorModel(files["circuit_detector_error_model.dem"].decode())

    def shots(name, **known):
        # Stim reads shots from files only.
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / name
            target.write_bytes(files[name])
            return stim.read_shot_data_file(path=str(target), format=target.suffix[1:], **known)

    flips = {kind: shots(f"obs_flips_{prefix}{kind}.01", num_observables=1)[:, 0]
             for prefix, kind in (("", "actual"), ("predicted_by_", "pymatching"),
                                  ("predicted_by_", "correlated_matching"))}
    return model, shots("detection_events.b8", num_detectors=model.num_detectors), flips
