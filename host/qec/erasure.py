"""Heralded errors: which flag of a round makes which edges likely.

A *site* is one herald measurement (``HERALDED_ERASE``, ``HERALDED_PAULI_CHANNEL_1``) of a round,
numbered in the order of the circuit; a herald belongs to the round of the next DETECTOR. What a
site may cause is found by asking Stim for the symptoms of X and of Z at that very place of the
circuit without any other noise; given the herald, an edge's probability is the sum over the Pauli
errors that set it off.
"""

from typing import NamedTuple

import numpy as np

from quantacore.gateware.layouts.decoder import BASES, COUNT_BITS, OFFSET_BITS
from quantacore.host.qec.encode import LARGEST
from quantacore.host.qec.graph import BOUNDARY, ModelError
from quantacore.host.qec.optional import require

__all__ = ["HERALDS", "Herald", "has_heralds", "unheralded", "heralds", "herald_effects",
           "shot_heralds"]

#: Instructions that report an error.
HERALDS = ("HERALDED_ERASE", "HERALDED_PAULI_CHANNEL_1")


class Herald(NamedTuple):
    """One herald measurement of a circuit.

    ``index``: instruction of the flattened circuit. ``measurement``: number in the shot's record.
    ``record``: number in the round's part of it, which starts after the DETECTORs of the round
    before. ``round``: the last coordinate of the next DETECTOR. ``odds``: probabilities of X, Y
    and Z given the herald.
    """

    index: int
    name: str
    qubit: int
    odds: tuple
    measurement: int
    record: int
    round: int


def has_heralds(circuit):
    """Whether any instruction of the circuit reports errors."""
    return any(has_heralds(item.body_copy()) if item.name == "REPEAT" else item.name in HERALDS
               for item in circuit)


def unheralded(circuit):
    """The circuit with heralded errors that never happen; the record keeps its numbering."""
    stim = require("stim")
    result = stim.Circuit()
    for item in circuit:
        if item.name == "REPEAT":
            item = stim.CircuitRepeatBlock(item.repeat_count, unheralded(item.body_copy()))
        elif item.name in HERALDS:
            item = stim.CircuitInstruction(item.name, item.targets_copy(),
                                           [0] * len(item.gate_args_copy()))
        result.append(item)
    return result


def _odds(item):
    arguments = item.gate_args_copy()
    if item.name == "HERALDED_ERASE":
        return (0.25, 0.25, 0.25)
    total = sum(arguments)
    return tuple(value / total for value in arguments[1:]) if total else (0.0, 0.0, 0.0)


def heralds(circuit):
    """All heralds of a circuit, in order, as :class:`Herald`. ``circuit`` must be flattened."""
    found, waiting = [], []
    measurement = record = 0
    fresh = False
    for index, item in enumerate(circuit):
        if item.name == "DETECTOR":
            where = item.gate_args_copy()
            if waiting:
                found.extend(herald._replace(round=int(where[-1]) if where else 0)
                             for herald in waiting)
                waiting = []
            fresh = True
            continue
        count = item.num_measurements
        if not count:
            continue
        if fresh:
            record, fresh = 0, False
        if item.name in HERALDS:
            waiting.extend(Herald(index, item.name, target.value, _odds(item),
                                  measurement + number, record + number, 0)
                           for number, target in enumerate(item.targets_copy()))
        measurement += count
        record += count
    if waiting:
        raise ModelError(f"The herald of qubit {waiting[0].qubit} comes after the last DETECTOR: "
                         f"no detector can see its error")
    return found


def _silent(circuit, start, stop):
    """Part of a circuit without noise; measurements stay."""
    stim = require("stim")
    result = stim.Circuit()
    for item in circuit[start:stop]:
        data = stim.gate_data(item.name)
        if data.is_noisy_gate:
            if not data.produces_measurements:
                continue
            if item.name in HERALDS:
                item = stim.CircuitInstruction(item.name, item.targets_copy(),
                                               [0] * len(item.gate_args_copy()))
            else:
                item = stim.CircuitInstruction(item.name, item.targets_copy(), [])
        result.append(item)
    return result


def _symptoms(stim, before, after, qubit):
    """Detectors and observable mask of X and of Z on a qubit."""
    found = []
    for error in ("X_ERROR", "Z_ERROR"):
        middle = stim.Circuit()
        middle.append(error, [qubit], 0.25)
        model = (before + middle + after).detector_error_model(
            approximate_disjoint_errors=True)
        detectors, mask = set(), 0
        for item in model.flattened():
            if item.type == "error":
                for target in item.targets_copy():
                    if target.is_relative_detector_id():
                        detectors ^= {target.val}
                    else:
                        mask ^= 1 << target.val
        found.append((frozenset(detectors), mask))
    return found


def herald_effects(circuit, chosen, graph):
    """What each of the chosen heralds makes likely.

    Parameters
    ----------
    circuit : stim.Circuit
        Flattened.
    chosen : list of Herald
    graph : DetectorGraph
        Of the circuit's other noise; gives the detectors' bases and the edges' observables.

    Returns
    -------
    list of dict
        Per herald: (detector, detector or ``BOUNDARY``) -> (probability, observables).

    Raises
    ------
    ModelError
        An error there sets off more than two detectors of one basis.
    """
    stim = require("stim")
    carries = [0] * BASES
    for key, edge in graph.edges.items():
        carries[graph.basis[key[0]]] |= edge.observables
    first = min((herald.index for herald in chosen), default=0)
    last = max((herald.index for herald in chosen), default=0) + 1
    head, tail = _silent(circuit, 0, first), _silent(circuit, last, len(circuit))
    parts = {}
    effects = []
    for herald in chosen:
        if herald.index not in parts:
            parts[herald.index] = (head + _silent(circuit, first, herald.index + 1),
                                   _silent(circuit, herald.index + 1, last) + tail)
        x, z = _symptoms(stim, *parts[herald.index], herald.qubit)
        likely = {}
        for odds, (detectors, mask) in zip(
                herald.odds, (x, (x[0] ^ z[0], x[1] ^ z[1]), z), strict=True):
            for basis in range(BASES):
                lit = sorted(d for d in detectors if graph.basis[d] == basis)
                if len(lit) > 2:
                    raise ModelError(
                        f"An error that the herald of qubit {herald.qubit} in round "
                        f"{herald.round} reports sets off {len(lit)} detectors of one basis (D"
                        f"{', D'.join(map(str, lit))}); an edge has one or two")
                if not lit or not odds:
                    continue
                key = (lit[0], lit[1] if len(lit) == 2 else BOUNDARY)
                known = graph.edges.get(key)
                flips = mask & carries[basis] if known is None else known.observables
                p, _ = likely.get(key, (0.0, 0))
                likely[key] = (p + odds, flips)
        effects.append(likely)
    return effects


def site_lists(per_site, scale):
    """Shortcut lists per basis and site from (basis, u, du, v, dv, probability, observables)."""
    most = (1 << COUNT_BITS) - 1
    low, high = -(1 << (OFFSET_BITS - 1)), (1 << (OFFSET_BITS - 1)) - 1
    lists = [[[] for _ in per_site] for _ in range(BASES)]
    for site, effects in enumerate(per_site):
        for basis, u, du, v, dv, probability, observables in effects:
            q = min(0.5, probability)
            weight = int(np.rint(np.log((1 - q) / q) * scale))
            if weight > LARGEST:
                continue
            if not (low <= du <= high and low <= dv <= high):
                raise ModelError(f"Erasure site {site} reaches {du} to {dv} layers from its round; "
                                 f"{low} to {high} is what fits")
            lists[basis][site].append((u, du, v, dv, weight, observables))
        for basis in range(BASES):
            lists[basis][site].sort(key=lambda short: (short[4], short))
            if len(lists[basis][site]) > most:
                raise ModelError(f"Erasure site {site} makes {len(lists[basis][site])} edges of "
                                 f"one basis likely; {most} is what fits")
    return lists


def shot_heralds(image, circuit, measurements):
    """Herald flags of shots in the decoder's order.

    Parameters
    ----------
    image : DecoderImage
        Compiled from a circuit with heralds.
    circuit : stim.Circuit
        What the shots were taken with; of a periodic image, with any number of rounds.
    measurements : array of bool, (shots, measurements)

    Returns
    -------
    numpy.ndarray of uint8, (shots, layers, sites)
        One layer per layer of :func:`~quantacore.host.qec.shots.shot_layers`.

    Raises
    ------
    ModelError
        A herald is not one of the image's sites.
    """
    measurements = np.atleast_2d(np.asarray(measurements))
    if measurements.shape[1] != circuit.num_measurements:
        raise ModelError(f"A shot has {measurements.shape[1]} measurements, the circuit "
                         f"{circuit.num_measurements}")
    about = image.about
    if not about.get("erasure"):
        raise ModelError("The image has no erasure sites: compile it from a circuit with "
                         "HERALDED_ERASE")
    known = {(site["phase"], site["qubit"], site["occurrence"]): number
             for number, site in enumerate(about["erasure"]["sites"])}
    coordinates = circuit.get_detector_coordinates()
    periodic = about["kind"] == "periodic"
    layers, period, origin = 1, about["period"], 0
    if periodic:
        rounds = [where[-1] for where in coordinates.values()]
        origin = int(min(rounds, default=0))
        origin -= (origin - about["origin"]) % period
        layers = (int(max(rounds, default=0)) - origin) // period + 1
    result = np.zeros((len(measurements), layers, image.shape.sites), np.uint8)
    seen = {}
    for herald in heralds(circuit.flattened()):
        layer, phase = divmod(herald.round - origin, period) if periodic else (0, 0)
        count = seen.get((layer, phase, herald.qubit), 0)
        seen[layer, phase, herald.qubit] = count + 1
        if (phase, herald.qubit, count) not in known:
            raise ModelError(f"Herald {count} of qubit {herald.qubit} in round {herald.round} is "
                             f"no site of this image")
        result[:, layer, known[phase, herald.qubit, count]] = measurements[:, herald.measurement]
    return result
