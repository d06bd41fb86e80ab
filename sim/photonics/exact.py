"""Exact scaling of integer times by rational factors."""

import numpy as np

__all__ = ["scaled_round"]


def scaled_round(values, ratio):
    """``round(values * ratio)`` in exact integers, halves up.

    Parameters
    ----------
    values : array_like of int64
    ratio : Fraction
        Positive.

    Returns
    -------
    int64 array of the same shape
    """
    values = np.asarray(values, dtype=np.int64)
    numerator, denominator = ratio.numerator, ratio.denominator
    if (2 * numerator + 1) * denominator >= 1 << 62:
        # Too long for 64 bits: Python's integers, slowly.
        exact = [(2 * int(v) * numerator + denominator) // (2 * denominator) for v in values.flat]
        return np.array(exact, dtype=np.int64).reshape(values.shape)
    whole, part = np.divmod(values, denominator)
    return whole * numerator + (2 * part * numerator + denominator) // (2 * denominator)
