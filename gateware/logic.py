"""Small pieces of combinational logic."""

from amaranth import *

__all__ = ["any_of", "sum_of"]


def any_of(values):
    """Bitwise or of all values, as a balanced tree; 0 of none."""
    values = list(values) or [C(0, 1)]
    while len(values) > 1:
        values = [values[i] | values[i + 1] if i + 1 < len(values) else values[i]
                  for i in range(0, len(values), 2)]
    return values[0]


def sum_of(values):
    """Sum of all values, as a balanced tree."""
    values = list(values)
    while len(values) > 1:
        values = [sum(values[i:i + 2], start=C(0, 1)) for i in range(0, len(values), 2)]
    return values[0]
