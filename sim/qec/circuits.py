"""Memory experiments of the rotated surface code, as Stim circuits."""

import stim

__all__ = ["memory_circuit", "erasure_circuit"]


def memory_circuit(distance, rounds, p, basis="z"):
    """Stim's rotated surface code with the same probability everywhere."""
    return stim.Circuit.generated(
        f"surface_code:rotated_memory_{basis}", distance=distance, rounds=rounds,
        after_clifford_depolarization=p, before_round_data_depolarization=p,
        before_measure_flip_probability=p, after_reset_flip_probability=p)


def erasure_circuit(distance, rounds, p, erased, basis="z"):
    """A memory experiment whose data qubits are erased with probability ``erased`` every round.

    ``HERALDED_ERASE`` stands at the start of the round, after the depolarization of the data
    qubits, and its outcomes come before the round's own measurements.
    """
    result = stim.Circuit()
    renumbered, made = [], 0  # measurements of the old circuit by their number in the new one
    data = None
    for item in memory_circuit(distance, rounds, p, basis).flattened():
        if data is None and item.name in ("R", "RX"):
            data = item.targets_copy()
        # The noise of the start of a round is the only one on exactly the data qubits.
        start = item.name == "DEPOLARIZE1" and item.targets_copy() == data
        if item.name in ("DETECTOR", "OBSERVABLE_INCLUDE"):
            item = stim.CircuitInstruction(
                item.name, [stim.target_rec(renumbered[target.value] - made)
                            for target in item.targets_copy()], item.gate_args_copy())
        for _ in range(item.num_measurements):
            renumbered.append(made)
            made += 1
        result.append(item)
        if start:
            result.append("HERALDED_ERASE", data, erased)
            made += len(data)
    return result
