"""Distances in a repeated cell: between nodes, to the boundary, and the first edge of each path.

A path never leads through the boundary; a match that does is two boundary matches.
"""

from dataclasses import dataclass

import numpy as np

from quantacore.host.qec.graph import BOUNDARY
from quantacore.host.qec.optional import require

__all__ = ["Distances", "distances"]

#: Repeated layers before and after the ones that are looked at. A shortest path between nodes
#: does not wander farther than its own length; 16 layers are more than any path worth a match.
PADDING = 16
#: Relative difference below which two path lengths are the same.
_EPSILON = 1e-9


@dataclass
class Distances:
    """Distances of one basis. Infinite where there is no path.

    Attributes
    ----------
    pair : numpy.ndarray of float64, (spaces, spaces, differences)
        From the earlier node to the later.
    pair_observables, pair_edge, pair_at_b : numpy.ndarray of int64, same shape
        What the path flips; its first edge from the earlier node (-1: none), and which end of
        that edge the node is.
    bound : numpy.ndarray of float64, (spaces,)
    bound_observables, bound_edge, bound_at_b : numpy.ndarray of int64, (spaces,)
    longest_path : int
        Edges of the longest path.
    """

    pair: np.ndarray
    pair_observables: np.ndarray
    pair_edge: np.ndarray
    pair_at_b: np.ndarray
    bound: np.ndarray
    bound_observables: np.ndarray
    bound_edge: np.ndarray
    bound_at_b: np.ndarray
    longest_path: int


def _weight(edge):
    return float(np.log((1 - edge.probability) / edge.probability))


def _tiles(edges, layers):
    """Inner edges of ``layers`` repeated cells: (edge, layer of end a)."""
    return [(edge, layer) for edge in edges if edge.b != BOUNDARY
            for layer in range(layers - edge.delta)]


def _reach(edges, differences):
    """Layers before and after the one that distances are taken from."""
    whole = differences == 1 and not any(edge.delta for edge in edges)
    return 0 if whole else differences - 1 + PADDING


def _all_pairs(edges, spaces, differences):
    """Shortest paths, (spaces, spaces, 2 * reach + 1): difference 0 is in the middle."""
    csr = require("scipy.sparse").csr_matrix
    dijkstra = require("scipy.sparse.csgraph").dijkstra
    reach = _reach(edges, differences)
    layers = 2 * reach + 1
    tiles = _tiles(edges, layers)
    rows = [layer * spaces + edge.a for edge, layer in tiles]
    columns = [(layer + edge.delta) * spaces + edge.b for edge, layer in tiles]
    weights = [_weight(edge) for edge, _ in tiles]
    matrix = csr((weights, (rows, columns)), shape=(layers * spaces,) * 2)
    found = dijkstra(matrix, directed=False,
                     indices=np.arange(reach * spaces, (reach + 1) * spaces))
    found = found.reshape(spaces, layers, spaces).transpose(0, 2, 1)
    # Both directions of a path are one length, to the last bit.
    return np.minimum(found, found.transpose(1, 0, 2)[:, :, ::-1])


def _follow(edges, pair, pair_edge, pair_at_b, masks, observables, hops):
    """Fill in what each pair's path flips, and its number of edges."""
    spaces, differences = pair.shape[0], pair.shape[2]
    s, t, difference = (axis.ravel() for axis in np.indices(pair.shape))
    number, at_b = pair_edge.ravel(), pair_at_b.ravel()
    used = number >= 0
    ends = np.array([(edge.b, edge.a) for edge in edges], np.int64).reshape(-1, 2)
    deltas = np.array([edge.delta for edge in edges], np.int64)
    # Where the path goes on, as an address of the same table.
    end, left = ends[number[used], at_b[used]], difference[used] - np.where(
        at_b[used], -deltas[number[used]], deltas[number[used]])
    first, last = np.where(left < 0, t[used], end), np.where(left < 0, end, t[used])
    onward = np.zeros(pair.size, np.int64)
    onward[used] = (first * spaces + last) * differences + np.abs(left)
    flips, length = np.zeros(pair.size, np.int64), np.zeros(pair.size, np.int64)
    flips[used] = masks[number[used]]
    onward, flips, length = onward.tolist(), flips.tolist(), length.tolist()
    for entry in np.argsort(pair, axis=None, kind="stable").tolist():
        if used[entry]:
            flips[entry] ^= flips[onward[entry]]
            length[entry] = 1 + length[onward[entry]]
    observables.ravel()[:] = flips
    hops.ravel()[:] = length


def _walks(edges, spaces, differences):
    """Sums over all walks: -log likelihood and what the likelier kind of walk flips.

    A walk counts the product of its edges' odds, p / (1 - p); the sum over all of them is the
    inverse of (1 - odds matrix). With the odds of the edges that flip an observable negated, even
    and odd walks come apart.

    Returns
    -------
    pair, pair_observables : (spaces, spaces, differences)
    bound, bound_observables : (spaces,)
    """
    sparse, linalg = require("scipy.sparse"), require("scipy.sparse.linalg")
    reach = _reach(edges, differences)
    layers = 2 * reach + 1
    nodes = layers * spaces
    tiles = _tiles(edges, layers)
    rows = np.array([layer * spaces + edge.a for edge, layer in tiles], np.int64)
    columns = np.array([(layer + edge.delta) * spaces + edge.b for edge, layer in tiles], np.int64)
    odds = np.array([np.exp(-_weight(edge)) for edge, _ in tiles])
    masks = np.array([edge.observables for edge, _ in tiles], np.int64)
    used = 0
    for edge in edges:
        used |= edge.observables
    # Every combination of the observables that occur.
    kinds = [mask for mask in range(used + 1) if mask & ~used == 0]

    def sign(mask, kind):
        return 1 - 2 * (np.bitwise_count(np.asarray(mask) & kind).astype(np.int64) & 1)

    sources = np.zeros((nodes, spaces))
    sources[reach * spaces + np.arange(spaces), np.arange(spaces)] = 1
    pair_sums, bound_sums = [], []
    for kind in kinds:
        signed = odds * sign(masks, kind)
        matrix = sparse.csc_matrix((np.concatenate([signed, signed]),
                                    (np.concatenate([rows, columns]),
                                     np.concatenate([columns, rows]))), shape=(nodes, nodes))
        solved = linalg.splu((sparse.identity(nodes, format="csc") - matrix).tocsc()).solve(sources)
        own = np.zeros(spaces)
        for edge in edges:
            if edge.b == BOUNDARY:
                own[edge.a] = np.exp(-_weight(edge)) * sign(edge.observables, kind)
        solved = solved.reshape(layers, spaces, spaces)
        pair_sums.append(solved[reach:reach + differences].transpose(2, 1, 0))
        bound_sums.append(np.einsum("tes,e->s", solved, own))

    def likeliest(sums):
        sums = np.array(sums)
        parts = np.array([sum(sign(mask, kind) * sums[index]
                              for index, kind in enumerate(kinds)) / len(kinds)
                          for mask in kinds])
        best = parts.argmax(axis=0)
        with np.errstate(divide="ignore"):
            weight = -np.log(np.maximum(parts.max(axis=0), 0))
        return np.maximum(weight, 0), np.array(kinds, np.int64)[best]

    return (*likeliest(pair_sums), *likeliest(bound_sums))


def distances(edges, spaces, differences, degenerate=False):
    """Shortest paths of one basis.

    Parameters
    ----------
    edges : list of CellEdge
    spaces : int
    differences : int
        Layer differences of the table, 1 for one layer.
    degenerate : bool
        Weights (and what is flipped) sum over all walks; the path stays the shortest one.

    Returns
    -------
    Distances
    """
    every = _all_pairs(edges, spaces, differences)
    reach = every.shape[2] // 2
    pair = every[:, :, reach:reach + differences].copy()
    shape = pair.shape
    pair_edge = np.full(shape, -1, np.int64)
    pair_at_b = np.zeros(shape, np.int64)
    steps = []   # per edge and direction: (edge number, at_b, from, to, layers gained)
    for number, edge in enumerate(edges):
        if edge.b != BOUNDARY:
            steps.append((number, 0, edge.a, edge.b, edge.delta))
            steps.append((number, 1, edge.b, edge.a, -edge.delta))
    limit = pair * (1 + _EPSILON)
    later = np.arange(differences)
    for number, at_b, start, end, gained in steps:
        # What is left after the step has to be in the table too, or no walk could follow it.
        left = later - gained
        ok = np.abs(left) < differences
        rest = np.full(shape[1:], np.inf)
        rest[:, ok] = every[end][:, reach + left[ok]]
        take = ((pair_edge[start] < 0) & np.isfinite(rest)
                & (rest + _weight(edges[number]) <= limit[start]))
        pair_edge[start][take] = number
        pair_at_b[start][take] = at_b
    same = np.arange(spaces)
    pair_edge[same, same, 0] = -1
    lost = np.isfinite(pair) & (pair_edge < 0)
    lost[same, same, 0] = False
    pair[lost] = np.inf

    own = np.full(spaces, np.inf)
    own_edge = np.full(spaces, -1, np.int64)
    for number, edge in enumerate(edges):
        if edge.b == BOUNDARY:
            own[edge.a], own_edge[edge.a] = _weight(edge), number
    bound = (every + own[None, :, None]).min(axis=(1, 2)) if spaces else own
    bound_edge = np.where(np.isfinite(own) & (own <= bound * (1 + _EPSILON)), own_edge, -1)
    bound_at_b = np.zeros(spaces, np.int64)
    for number, at_b, start, end, _ in steps:
        if (bound_edge[start] < 0 and np.isfinite(bound[end])
                and bound[end] + _weight(edges[number]) <= bound[start] * (1 + _EPSILON)):
            bound_edge[start], bound_at_b[start] = number, at_b

    masks = np.array([edge.observables for edge in edges], np.int64)
    pair_observables = np.zeros(shape, np.int64)
    hops = np.zeros(shape, np.int64)
    _follow(edges, pair, pair_edge, pair_at_b, masks, pair_observables, hops)
    lower = np.tril_indices(spaces, -1)
    pair_observables[lower[0], lower[1], 0] = pair_observables[lower[1], lower[0], 0]
    bound_observables = np.zeros(spaces, np.int64)
    bound_hops = np.zeros(spaces, np.int64)
    for s in np.argsort(bound, kind="stable"):
        number = bound_edge[s]
        if number < 0:
            continue
        edge = edges[number]
        if edge.b == BOUNDARY:
            bound_observables[s], bound_hops[s] = masks[number], 1
        else:
            end = edge.a if bound_at_b[s] else edge.b
            bound_observables[s] = masks[number] ^ bound_observables[end]
            bound_hops[s] = 1 + bound_hops[end]
    if degenerate and spaces:
        weight, observables, bound_weight, bound_flips = _walks(edges, spaces, differences)
        known = pair_edge >= 0
        pair[known] = weight[known]
        pair_observables[known] = observables[known]
        pair[:, :, 0] = np.minimum(pair[:, :, 0], pair[:, :, 0].T)
        pair_observables[lower[0], lower[1], 0] = pair_observables[lower[1], lower[0], 0]
        known = bound_edge >= 0
        bound[known] = bound_weight[known]
        bound_observables[known] = bound_flips[known]
    longest = int(max(hops.max(initial=0), bound_hops.max(initial=0)))
    return Distances(pair, pair_observables, pair_edge, pair_at_b, bound, bound_observables,
                     bound_edge, bound_at_b, longest)
