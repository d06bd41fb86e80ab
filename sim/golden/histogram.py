"""Histograms of time differences, straight from the times.

All times are integers in fine units, ascending for each channel. Nothing here knows of rings,
queues or the order in which edges come: results are what a histogram without losses holds.
"""

import numpy as np

from quantacore.gateware.layouts.tagger import HISTOGRAM_BINS

__all__ = ["start_stop", "all_pairs"]


def start_stop(starts, stops, *, bin_shift, bins=HISTOGRAM_BINS, same=False):
    """From each start to the first stop at or after it.

    Parameters
    ----------
    starts, stops : (n,) int64
    bin_shift : int
        A bin is ``2**bin_shift`` wide; bin 0 begins at zero.
    bins : int
    same : bool
        Both are the same channel: to the first edge after.

    Returns
    -------
    (bins,) int64
    """
    starts, stops = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
    first = np.searchsorted(stops, starts, side="right" if same else "left")
    has = first < len(stops)
    number = (stops[first[has]] - starts[has]) >> bin_shift
    return np.bincount(number[number < bins], minlength=bins)


def all_pairs(starts, stops, *, bin_shift, bins=HISTOGRAM_BINS, same=False):
    """Every pair with a difference stop - start in the range, of either sign.

    Parameters
    ----------
    starts, stops : (n,) int64
    bin_shift : int
        A bin is ``2**bin_shift`` wide; zero is the lower edge of bin ``bins // 2``.
    bins : int
    same : bool
        Both are the same channel: each pair of edges once, as a positive difference.

    Returns
    -------
    (bins,) int64
    """
    starts, stops = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
    half = (bins // 2) << bin_shift
    low = np.searchsorted(stops, starts if same else starts - half,
                          side="right" if same else "left")
    high = np.searchsorted(stops, starts + half, side="left")
    number = np.maximum(high - low, 0)
    start = np.repeat(np.arange(len(starts)), number)
    within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    tau = stops[low[start] + within] - starts[start]
    return np.bincount((tau >> bin_shift) + bins // 2, minlength=bins)
