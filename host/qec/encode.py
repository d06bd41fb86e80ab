"""Tables of an image from distances: integer weights and packed words."""

import numpy as np
from amaranth.hdl import Shape

from quantacore.gateware.layouts.decoder import (
    BASES,
    COUNT_BITS,
    NONE,
    OFFSET_BITS,
    DecoderShape,
    Table,
)
from quantacore.host.qec.graph import BOUNDARY, ModelError

__all__ = ["pack", "unpack", "quantise", "tables", "shortcut_lists"]

#: The largest weight there is.
LARGEST = NONE - 1


def pack(layout, **columns):
    """Words of ``layout`` from columns of field values; a list of int.

    Raises
    ------
    OverflowError
        A value does not fit its field.
    """
    word = None
    for name, field in layout:
        shape = Shape.cast(field.shape)
        values = np.asarray(columns.pop(name), np.int64)
        low = -(1 << shape.width - 1) if shape.signed else 0
        if values.size and not low <= values.min() <= values.max() < low + (1 << shape.width):
            raise OverflowError(f"{name} is {values.min()} to {values.max()}; the field holds "
                                f"{low} to {low + (1 << shape.width) - 1}")
        values = values & ((1 << shape.width) - 1)
        shifted = values.astype(np.uint64) << np.uint64(field.offset)
        word = shifted if word is None else word | shifted
    if columns:
        raise TypeError(f"The layout has no field {', '.join(columns)}")
    return [int(value) for value in np.atleast_1d(word).ravel()]


def unpack(layout, words):
    """Columns of field values, numpy int64, from words."""
    words = np.asarray(words, np.uint64)
    columns = {}
    for name, field in layout:
        shape = Shape.cast(field.shape)
        values = ((words >> np.uint64(field.offset))
                  & np.uint64((1 << shape.width) - 1)).astype(np.int64)
        if shape.signed:
            values = np.where(values >> (shape.width - 1), values - (1 << shape.width), values)
        columns[name] = values
    return columns


def quantise(weights, scale):
    """Integer weights; :data:`NONE` above 254 or where infinite."""
    scaled = np.rint(np.where(np.isfinite(weights), weights, 1e9) * scale)
    return np.where(scaled > LARGEST, NONE, scaled).astype(np.int64)


#: Lightest shortcut, as a part of the basis' median edge, and as a weight.
_FLOOR, _HIGHEST_FLOOR = 0.3, 48


def shortcut_lists(cell, scale):
    """Per basis and edge, the shortcuts worth keeping: (u, du, v, dv, weight, observables).

    One is worth keeping where it makes its edge lighter, in integers. None is made lighter than a
    part of the middle edge: a shortcut is believed only as far as the match that causes it, and
    at distance 3 single faults of three components would be decoded wrongly. Strongest first, at
    most as many as an edge word can count. Returns the lists and how many were cut off.
    """
    most = (1 << COUNT_BITS) - 1
    low, high = -(1 << (OFFSET_BITS - 1)), (1 << (OFFSET_BITS - 1)) - 1
    lists, cut = [], 0
    for basis in range(BASES):
        lists.append([])
        own = [np.rint(np.log(1 / edge.probability - 1) * scale) for edge in cell.edges[basis]]
        floor = min(_HIGHEST_FLOOR, int(_FLOOR * np.median(own))) if own else 0
        for edge in cell.edges[basis]:
            kept = []
            for u, du, v, dv, q, p, observables in edge.shortcuts:
                weight = max(floor, int(np.rint(np.log((1 - q) / q) * scale)))
                if weight > LARGEST or weight >= np.rint(np.log((1 - p) / p) * scale):
                    continue
                if not (low <= du <= high and low <= dv <= high):
                    raise ModelError(f"A mechanism joins an edge of basis {basis} with one {du} to "
                                     f"{dv} layers later; {low} to {high} is what fits")
                kept.append((u, du, v, dv, weight, observables))
            kept.sort(key=lambda short: (short[4], short))
            cut += max(0, len(kept) - most)
            lists[-1].append(kept[:most])
    return lists, cut


def short_words(shape, lists):
    """SHORT words and, per list, (start, count). Equal lists are stored once."""
    flat, places, known = [], [], {}
    for kept in lists:
        key = tuple(kept)
        if key not in known:
            known[key] = len(flat)
            flat.extend(kept)
        places.append((known[key], len(kept)))
    columns = np.array(flat, np.int64).reshape(-1, 6).T
    words = pack(shape.short_word, u=columns[0], u_layer=columns[1],
                 v=np.maximum(columns[2], 0), v_layer=columns[3],
                 boundary=columns[2] == BOUNDARY, weight=columns[4], obs=columns[5])
    return words, places


def tables(shape: DecoderShape, found, cell, lists, scale, erasures=None):
    """All tables of an image.

    Parameters
    ----------
    shape : DecoderShape
    found : list of Distances
        Per basis.
    cell : Cell
    lists : list
        Of :func:`shortcut_lists`.
    scale : float
        Integer weight per unit of log-likelihood.
    erasures : list of list, optional
        Per basis and site, shortcuts as in ``lists``.
    """
    result = {}
    size, layers = 1 << shape.space_bits, 1 << shape.delta_bits
    for basis in range(BASES):
        d = found[basis]
        spaces = len(cell.spaces[basis])

        def full(values, fill, spaces=spaces):
            table = np.full((size, size, layers), fill, np.int64)
            table[:spaces, :spaces] = values
            return table.ravel()

        weight = quantise(d.pair, scale)
        result[basis, Table.PAIR] = pack(
            shape.pair_word, weight=full(weight, NONE),
            obs=full(np.where(weight == NONE, 0, d.pair_observables), 0))
        weight = quantise(d.bound, scale)
        none = weight == NONE
        pathless = none | (not shape.correlation)
        bound = pack(
            shape.bound_word, weight=weight, obs=np.where(none, 0, d.bound_observables),
            edge=np.where(pathless, 0, np.maximum(d.bound_edge, 0)),
            at_b=np.where(pathless, 0, d.bound_at_b))
        result[basis, Table.BOUND] = bound + [NONE] * (size - len(bound))
        erased = erasures[basis] if erasures else []
        words, places = short_words(shape, [*(lists[basis] if shape.correlation else []), *erased])
        if shape.correlation:
            result[basis, Table.HOP] = pack(
                shape.hop_word, edge=full(np.maximum(d.pair_edge, 0), 0),
                at_b=full(d.pair_at_b, 0))
            edges = cell.edges[basis]
            result[basis, Table.EDGE] = pack(
                shape.edge_word, a=[edge.a for edge in edges],
                b=[max(edge.b, 0) for edge in edges], delta=[edge.delta for edge in edges],
                boundary=[edge.b == BOUNDARY for edge in edges],
                start=[start for start, _ in places[:len(edges)]],
                count=[count for _, count in places[:len(edges)]]) if edges else []
        if shape.correlation or shape.sites:
            result[basis, Table.SHORT] = words
        if shape.sites:
            sites = places[len(places) - len(erased):]
            result[basis, Table.ERASE] = pack(
                shape.erase_word, start=[start for start, _ in sites],
                count=[count for _, count in sites]) if sites else []
    return result
