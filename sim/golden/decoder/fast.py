"""The streaming decoder at speed: whole arrays of shots, for statistics.

Needs numba, which is imported when the first shot is decoded. Equal to
:mod:`~quantacore.sim.golden.decoder.plain`, verdict by verdict and match by match.
"""

from dataclasses import dataclass

import numpy as np

from quantacore.gateware.layouts.decoder import NONE, Table
from quantacore.sim.golden.decoder.tables import columns

__all__ = ["Result", "Statistics", "decode_shots"]


@dataclass(frozen=True)
class Statistics:
    """Work done.

    Parameters
    ----------
    counters : dict of str to int
        Totals over windows of both bases: ``windows`` (one for each basis), ``defects`` (in
        windows, kept ones again), ``pairs`` filled, permanent ``events`` (summed over passes),
        ``pops`` of the growth queue, ``merges``, ``clusters``, ``dp_candidates`` of the exact
        matching, ``hops`` walked, ``shortcuts`` sent, of those ``in_window``, list entries
        ``scanned`` for them, ``survivors`` with a defect near each end, ``cross_pairs`` compared,
        distances ``improved``, ``second_passes`` made, ``matches`` committed, ``escapes``
        (defects), windows that had ``overflows``, ``events_dropped`` or ``walk_errors``.
    cluster_sizes : numpy.ndarray
        Clusters by size, both passes.
    list_lengths : numpy.ndarray
        Windows by number of defects; the last entry counts overflows.
    """

    counters: dict
    cluster_sizes: np.ndarray
    list_lengths: np.ndarray

    def per_window(self, name):
        """A counter's mean over windows (of one basis)."""
        return self.counters[name] / max(self.counters["windows"], 1)


@dataclass(frozen=True)
class Result:
    """What :func:`decode_shots` returns.

    Parameters
    ----------
    flips : numpy.ndarray
        ``(shots, observables)`` bool: without what escapes would add.
    escapes : numpy.ndarray
        Rows of shot, basis, layer, space: defects that the caller has to decode.
    matches : numpy.ndarray
        With ``records``: rows of shot, basis, layer, space, layer and space of the partner (-1:
        boundary), observables, weight; in the order in which the windows commit them.
    windows : numpy.ndarray
        With ``records``: rows of shot, basis, first layer, committed layers, last, flips,
        overflow, events_dropped, walk_error, largest cluster, defects, weight.
    statistics : Statistics
    """

    flips: np.ndarray
    escapes: np.ndarray
    matches: np.ndarray
    windows: np.ndarray
    statistics: Statistics


def _tables(image):
    """The image as the kernels want it."""
    fields = columns(image)

    def stack(table, *names):
        return np.stack([fields[table, name] for name in names], axis=-1)

    pair = [fields[Table.PAIR, name] for name in ("weight", "obs")]
    bound = [fields[Table.BOUND, name] for name in ("weight", "obs")]
    tables = np.zeros((pair[0].shape[0], 4, max(pair[0].shape[1], bound[0].shape[1])), np.int64)
    for at, column in enumerate(pair + bound):
        tables[:, at, :column.shape[1]] = column
    return (tables, stack(Table.HOP, "edge", "at_b"), stack(Table.BOUND, "edge", "at_b"),
            stack(Table.EDGE, "a", "b", "delta", "boundary", "start", "count"),
            stack(Table.SHORT, "u", "u_layer", "v", "v_layer", "boundary", "weight", "obs"),
            stack(Table.ERASE, "start", "count"))


def decode_shots(image, layers, *, erasures=None, commit=None, buffer=None, reach=None,
                 correlation=True, records=False):
    """Decode shots of equal length.

    Parameters
    ----------
    image : DecoderImage
    layers : numpy.ndarray
        ``(shots, bases, layers, spaces)``, nonzero where there is a defect.
    erasures : numpy.ndarray, optional
        ``(shots, layers, sites)``, nonzero where a site was heralded as erased.
    commit, buffer, reach : int, optional
        As for the plain form. For one window over the whole shot: ``commit`` the number of
        layers, ``buffer`` 0.
    correlation : bool
    records : bool
        Whether to return matches and windows.

    Returns
    -------
    Result
    """
    from quantacore.sim.golden.decoder import kernels

    shape = image.shape
    settings = image.settings
    commit = settings["commit"] if commit is None else commit
    buffer = settings["buffer"] if buffer is None else buffer
    reach = settings["reach"] if reach is None else reach
    layers = np.ascontiguousarray(layers, dtype=np.uint8)
    if layers.ndim != 4 or layers.shape[1] != 2 or layers.shape[3] > 1 << shape.space_bits:
        raise ValueError(f"layers must have the shape (shots, 2, layers, up to "
                         f"{1 << shape.space_bits} spaces), not {layers.shape}")
    if commit < 1 or buffer < 0 or commit + buffer > 1 << shape.time_bits:
        raise ValueError(f"a window holds 1 to {1 << shape.time_bits} layers, "
                         f"not {commit} + {buffer}")
    if not 0 <= reach < NONE:
        raise ValueError(f"reach must be 0 to {NONE - 1}, not {reach}")
    if erasures is None:
        erasures = np.zeros((layers.shape[0], layers.shape[2], 0), np.uint8)
    erasures = np.ascontiguousarray(erasures, dtype=np.uint8)
    if erasures.shape[:2] != (layers.shape[0], layers.shape[2]) or erasures.shape[2] > shape.sites:
        raise ValueError(f"erasures must have the shape ({layers.shape[0]}, {layers.shape[2]}, "
                         f"up to {shape.sites} sites), not {erasures.shape}")
    flips, escapes, matches, windows, sizes, lengths, counters = kernels.decode(
        layers, erasures, *_tables(image),
        (shape.space_bits, shape.delta_bits, shape.capacity, shape.cluster, shape.event_bits),
        (commit, buffer, reach, bool(correlation and shape.correlation)), bool(records))
    bits = (flips[:, None] >> np.arange(shape.observables) & 1).astype(bool)
    counted = dict(zip(kernels.COUNTERS, counters.tolist(), strict=True))
    return Result(bits, escapes, matches, windows, Statistics(counted, sizes, lengths))
