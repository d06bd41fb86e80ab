"""One period of a detector graph, found in a model or made of a whole one.

A node is (space, layer). In the bulk of a memory circuit the edges that start in one layer are
the same for every layer; one such layer's edges are a *cell*, and the graph is the cell repeated.
A model without a period is a cell of one layer that holds every detector and repeats nothing.
"""

from dataclasses import dataclass

from quantacore.gateware.layouts.decoder import BASES, DELTA_EDGE_BITS
from quantacore.host.qec.graph import BOUNDARY, ModelError

__all__ = ["CellEdge", "Cell", "NoPeriod", "whole_cell", "periodic_cell"]

#: Equal layers in a row that make a period.
MIN_EQUAL = 3
#: Layers that may make up one period.
MAX_PERIOD = 4
#: Probabilities in two layers that differ less than this are the same.
TOLERANCE = 1e-6


class NoPeriod(ModelError):
    """The model does not repeat, or not for long enough to see it."""


@dataclass(frozen=True)
class CellEdge:
    """An edge that starts in a cell's layer.

    Attributes
    ----------
    a, b : int
        Spaces of the ends; a is the earlier (in one layer: the lower). b is ``BOUNDARY`` for
        an edge to the boundary.
    delta : int
        Layers from a to b.
    observables : int
    probability : float
    shortcuts : tuple
        ``(u, du, v, dv, q, p, observables)``: nodes of the other basis, layers from a's, q the
        probability of u-v given this edge, p without.
    """

    a: int
    b: int
    delta: int
    observables: int
    probability: float
    shortcuts: tuple


@dataclass
class Cell:
    """A detector graph in terms of (space, layer).

    Attributes
    ----------
    periodic : bool
    spaces : list of list
        Per basis, what each space is: coordinates without the layer (a periodic model with
        ``period`` > 1: and the phase), or the detector's number (a whole model).
    edges : list of list of CellEdge
        Per basis.
    nodes : list of tuple of int
        Basis, space and layer of each detector of the model.
    period : int
        Rounds that make one layer.
    origin : int
        The last coordinate of the rounds that layer 0 starts with (modulo the period).
    bulk : tuple of int
        First and last layer of the model that repeat.
    """

    periodic: bool
    spaces: list
    edges: list
    nodes: list
    period: int = 1
    origin: int = 0
    bulk: tuple = (0, 0)


def _layers(graph, nodes):
    """Edges by basis and layer of their earlier end, as :class:`CellEdge`."""
    def oriented(key):
        one = nodes[key[0]]
        if key[1] == BOUNDARY:
            return one, None
        other = nodes[key[1]]
        return ((one, other) if (one[2], one[1]) <= (other[2], other[1]) else (other, one))

    layers = {}
    for key, edge in graph.edges.items():
        a, b = oriented(key)
        if b is not None and b[2] - a[2] >= 1 << DELTA_EDGE_BITS:
            raise ModelError(
                f"The edge D{key[0]} D{key[1]} spans {b[2] - a[2]} layers; an edge may span "
                f"{(1 << DELTA_EDGE_BITS) - 1}. Compile with kind=\"full\", or check the last "
                f"coordinate of the detectors")
        shortcuts = []
        for other, both in edge.partners.items():
            u, v = oriented(other)
            shortcuts.append((u[1], u[2] - a[2], BOUNDARY if v is None else v[1],
                              0 if v is None else v[2] - a[2], min(0.5, both / edge.probability),
                              graph.edges[other].probability, graph.edges[other].observables))
        layers.setdefault((a[0], a[2]), []).append(CellEdge(
            a[1], BOUNDARY if b is None else b[1], 0 if b is None else b[2] - a[2],
            edge.observables, edge.probability, tuple(sorted(shortcuts))))
    for edges in layers.values():
        edges.sort(key=lambda edge: (edge.a, edge.delta, edge.b))
    return layers


def whole_cell(graph):
    """The cell of a model that does not repeat: all its detectors in one layer."""
    spaces = [[], []]
    nodes = []
    for detector in range(graph.detectors):
        basis = int(graph.basis[detector])
        nodes.append((basis, len(spaces[basis]), 0))
        spaces[basis].append(detector)
    layers = _layers(graph, nodes)
    return Cell(False, spaces, [layers.get((basis, 0), []) for basis in range(BASES)],
                nodes)


def _close(one, other):
    return abs(one - other) <= TOLERANCE * max(one, other)


def _same(one, other):
    """Whether two layers hold the same edges."""
    if len(one) != len(other):
        return False
    for e, f in zip(one, other, strict=True):
        if ((e.a, e.b, e.delta, e.observables) != (f.a, f.b, f.delta, f.observables)
                or not _close(e.probability, f.probability)
                or len(e.shortcuts) != len(f.shortcuts)):
            return False
        for s, t in zip(e.shortcuts, f.shortcuts, strict=True):
            if (s[:4] != t[:4] or s[6] != t[6] or not _close(s[4], t[4])
                    or not _close(s[5], t[5])):
                return False
    return True


def periodic_cell(graph):
    """The cell of a model whose bulk repeats.

    The last coordinate of a detector is its round, the others its place.

    Raises
    ------
    NoPeriod
        No coordinates, or fewer than three layers in a row are the same (probabilities to 1e-6).
    """
    if any(len(where) < 2 or where[-1] != int(where[-1]) for where in graph.coordinates):
        odd = next(index for index, where in enumerate(graph.coordinates)
                   if len(where) < 2 or where[-1] != int(where[-1]))
        raise NoPeriod(f"Detector D{odd} has the coordinates {graph.coordinates[odd]}: a periodic "
                       f"model needs a place and, last, a whole number that counts the rounds")
    rounds = [int(where[-1]) for where in graph.coordinates]
    origin = min(rounds)
    found = []
    for period in range(1, MAX_PERIOD + 1):
        cell, equal, total = _find(graph, rounds, origin, period)
        if cell is not None:
            return cell
        found.append((equal, total))
    equal, total = found[0]
    raise NoPeriod(f"The model has {total} layers, of which {equal} in a row are the same; a "
                   f"period takes {MIN_EQUAL}. Give more rounds (8 or more), a circuit with a "
                   f"REPEAT block, or, for a model whose rounds differ, kind=\"full\"")


def _find(graph, rounds, origin, period):
    def place(detector):
        where = graph.coordinates[detector][:-1]
        phase = (rounds[detector] - origin) % period
        return where if period == 1 else (*where, phase)

    spaces = [sorted({place(detector) for detector in range(graph.detectors)
                      if graph.basis[detector] == basis}) for basis in range(BASES)]
    if set(spaces[0]) & set(spaces[1]):
        raise NoPeriod(f"Detectors at {min(set(spaces[0]) & set(spaces[1]))} are in both bases; a "
                       f"place of a periodic model belongs to one")
    index = [{where: number for number, where in enumerate(known)} for known in spaces]
    nodes = []
    for detector in range(graph.detectors):
        basis = int(graph.basis[detector])
        nodes.append((basis, index[basis][place(detector)],
                      (rounds[detector] - origin) // period))
    if len(set(nodes)) != len(nodes):
        twice = next(node for number, node in enumerate(nodes) if node in nodes[:number])
        raise NoPeriod(f"Two detectors have the place {spaces[twice[0]][twice[1]]} in layer "
                       f"{twice[2]}: give every detector its own coordinates")
    try:
        layers = _layers(graph, nodes)
    except ModelError as error:
        raise NoPeriod(str(error)) from error
    total = max(node[2] for node in nodes) + 1
    best, start = (0, 0), 0
    for layer in range(total):
        if layer and not all(_same(layers.get((basis, layer), []),
                                   layers.get((basis, layer - 1), []))
                             for basis in range(BASES)):
            start = layer
        if layer - start + 1 > best[0]:
            best = (layer - start + 1, start)
    equal, start = best
    if equal < MIN_EQUAL or not any(layers.get((basis, start)) for basis in range(BASES)):
        return None, equal, total
    middle = start + equal // 2
    return Cell(True, spaces, [layers.get((basis, middle), []) for basis in range(BASES)],
                nodes, period, origin, (start, start + equal - 1)), equal, total
