"""A Stim detector error model as a graph: strict reading, parallel edges, bases.

Every mechanism of a graph-like model is a product of *edges*: one or two detectors (one: an edge
to the boundary) and the observables that it flips. Edges with the same detectors are one edge;
mechanisms with several edges are what correlates them.
"""

from dataclasses import dataclass, field

import numpy as np

from quantacore.host.qec.optional import require

__all__ = ["BOUNDARY", "ModelError", "Edge", "DetectorGraph", "read_model", "as_model"]

#: The second "detector" of an edge that ends on the boundary.
BOUNDARY = -1


class ModelError(ValueError):
    """A detector error model can't be compiled. The message says which part, and what to do."""


@dataclass(frozen=True)
class Edge:
    """What one edge does.

    Attributes
    ----------
    probability : float
        That an odd number of its mechanisms happened.
    observables : int
        Mask of the observables it flips.
    partners : dict
        Edge key -> probability that both happened through one mechanism.
    """

    probability: float
    observables: int
    partners: dict = field(default_factory=dict)


@dataclass
class DetectorGraph:
    """A graph-like detector error model.

    Attributes
    ----------
    detectors, observables : int
    coordinates : list of tuple of float
        Of each detector; empty where the model gives none.
    edges : dict
        ``(detector, detector)`` or ``(detector, BOUNDARY)``, the lower first -> :class:`Edge`.
    basis : numpy.ndarray
        Basis, 0 or 1, of each detector. Basis 0 holds the lowest observable's edges.
    report : dict
        Counts of what was left out: ``zero_probability`` (mechanisms that never happen),
        ``undetectable`` (mechanisms or parts without a detector), ``conflicting`` (less likely
        edges whose observables differ from a parallel one's), ``crossing`` (pairs of edges of
        one mechanism that lie in the same basis, whose correlation is not used).
    """

    detectors: int
    observables: int
    coordinates: list
    edges: dict
    basis: np.ndarray
    report: dict


def _either(p, q):
    return p * (1 - q) + q * (1 - p)


def _name(targets):
    return " ".join(str(target) for target in targets)


def _components(instruction):
    """Edges of one error instruction as (detectors, observable mask); parts that cancel are out."""
    parts, group = [], []
    for target in [*instruction.targets_copy(), None]:
        if target is None or target.is_separator():
            parts.append(group)
            group = []
        else:
            group.append(target)
    found = {}
    for part in parts:
        detectors, observables = set(), 0
        for target in part:
            if target.is_relative_detector_id():
                detectors ^= {target.val}
            else:
                observables ^= 1 << target.val
        if len(detectors) > 2:
            raise ModelError(
                f"{instruction}: its part `{_name(part)}` sets off {len(detectors)} detectors; an "
                f"edge has one or two. Make the model with "
                f"circuit.detector_error_model(decompose_errors=True), or the code has no "
                f"graph-like model")
        key = tuple(sorted(detectors))
        if not key:
            found.setdefault(None, []).append(observables)
            continue
        key = key if len(key) == 2 else (key[0], BOUNDARY)
        if (key, observables) in found:      # the same part twice is nothing
            del found[key, observables]
        else:
            found[key, observables] = True
    return found


def as_model(source):
    """A ``stim.DetectorErrorModel`` from one, or from the path of a ``.dem`` file."""
    stim = require("stim")
    if isinstance(source, stim.DetectorErrorModel):
        return source
    if isinstance(source, stim.Circuit):
        raise TypeError("This is a circuit: give it to compile_circuit")
    try:
        return stim.DetectorErrorModel.from_file(source)
    except (ValueError, IndexError) as error:
        raise ModelError(f"{source} is not a detector error model: {error}") from error


def read_model(model):
    """Read a detector error model strictly.

    Parameters
    ----------
    model : stim.DetectorErrorModel

    Returns
    -------
    DetectorGraph

    Raises
    ------
    ModelError
        A part of a mechanism with more than two detectors; a probability of 1/2 or more; more
        than 8 observables; no detector at all.
    """
    if not model.num_detectors:
        raise ModelError("The model has no detectors: nothing to decode")
    if model.num_observables > 8:
        raise ModelError(f"The model has {model.num_observables} observables; a decoder follows "
                         f"up to 8. Decode fewer at a time")
    report = {"zero_probability": 0, "undetectable": 0, "conflicting": 0, "crossing": 0}
    likelihood, mechanisms = {}, []
    for instruction in model.flattened():
        if instruction.type != "error":
            continue
        probability = instruction.args_copy()[0]
        if probability >= 0.5:
            raise ModelError(f"{instruction}: a probability of 1/2 or more has no positive weight. "
                             f"Turn it around (1 - p, and flip what it sets off), or leave it out")
        if probability <= 0:
            report["zero_probability"] += 1
            continue
        parts = _components(instruction)
        report["undetectable"] += len(parts.pop(None, ()))
        for key, observables in parts:
            kinds = likelihood.setdefault(key, {})
            kinds[observables] = _either(kinds.get(observables, 0.0), probability)
        mechanisms.append((probability, tuple(parts)))
    if not likelihood:
        raise ModelError("The model has no error mechanism with a probability above 0")

    edges = {}
    for key, kinds in likelihood.items():
        observables = max(kinds, key=lambda mask: (kinds[mask], -mask))
        report["conflicting"] += len(kinds) - 1
        edges[key] = Edge(kinds[observables], observables)
    pairs = []
    for probability, parts in mechanisms:
        keys = [key for key, observables in parts if edges[key].observables == observables]
        for one in keys:
            for other in keys:
                if one != other:
                    partners = edges[one].partners
                    partners[other] = _either(partners.get(other, 0.0), probability)
                    pairs.append((one[0], other[0]))
    coordinates = model.get_detector_coordinates()
    coordinates = [tuple(coordinates[index]) for index in range(model.num_detectors)]
    basis = _bases(model.num_detectors, edges, pairs, coordinates)
    for key, edge in edges.items():
        same = [other for other in edge.partners if basis[other[0]] == basis[key[0]]]
        report["crossing"] += len(same)
        for other in same:
            del edge.partners[other]
    report["crossing"] //= 2
    return DetectorGraph(model.num_detectors, model.num_observables, coordinates, edges, basis,
                         report)


class _Groups:
    """Disjoint sets of detectors."""

    def __init__(self, count):
        self.parent = list(range(count))

    def find(self, item):
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, one, other):
        one, other = sorted((self.find(one), self.find(other)))
        self.parent[other] = one


def _bases(count, edges, pairs, coordinates):
    """Basis of each detector.

    Detectors that an edge joins share a basis; connected parts that one mechanism sets off
    together lie in different ones. So the parts are coloured with two colours along the
    mechanisms they share; where that leaves a choice, the part with the lowest observable (else
    the lowest detector) is in basis 0.
    """
    groups = _Groups(count)
    for one, other in edges:
        if other != BOUNDARY:
            groups.join(one, other)
    first, touched = {}, set()
    for (one, other), edge in edges.items():
        touched |= {one, other}
        mask = edge.observables
        if mask:
            low = (mask & -mask).bit_length()
            part = groups.find(one)
            first[part] = min(first.get(part, low), low)
    # A detector without an edge goes where its neighbours in time are.
    place = {}
    for detector in sorted(touched - {BOUNDARY}):
        if len(coordinates[detector]) > 1:
            place.setdefault(coordinates[detector][:-1], detector)
    for detector in range(count):
        if detector not in touched and coordinates[detector][:-1] in place:
            groups.join(detector, place[coordinates[detector][:-1]])

    first = {groups.find(part): low for part, low in first.items()}
    neighbours = {}
    for one, other in pairs:
        one, other = groups.find(one), groups.find(other)
        if one != other:
            neighbours.setdefault(one, set()).add(other)
    parts = sorted({groups.find(detector) for detector in range(count)},
                   key=lambda part: (first.get(part, 99), part))
    colour = {}
    for part in parts:
        if part in colour:
            continue
        colour[part] = 0
        queue = [part]
        for item in queue:
            for other in sorted(neighbours.get(item, ())):
                if other not in colour:
                    colour[other] = 1 - colour[item]
                    queue.append(other)
    return np.array([colour[groups.find(detector)] for detector in range(count)])
