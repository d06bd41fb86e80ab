"""The counter bank's constructor; what it counts is in tests/cosim and tests/formal."""

import re

import pytest

from quantacore.gateware.layouts.herald import CELLS, COUNTS, DETECTORS, PATTERNS
from quantacore.gateware.telemetry.counters import CounterBank


def test_small_counters_hold_a_walk_of_largest_increments():
    bank = CounterBank((1,) * (CELLS + PATTERNS) + (3,) * 3 * DETECTORS)
    assert bank.walk == COUNTS == 72
    assert bank.small_bits == (7,) * 48 + (9,) * 24


def test_walk_of_few_cells_is_as_long_as_a_visit():
    assert CounterBank((1,)).walk == 8


@pytest.mark.parametrize("widths, count_bits, error, text", [
    ((), 64, ValueError, "Counter bank must have at least one cell"),
    ((1, "2"), 64, TypeError, "Width of an increment must be an integer, not '2'"),
    ((1, 0), 64, ValueError, "Width of an increment must be at least 1, not 0"),
    ((1,), 7.0, TypeError, "Count bits must be an integer, not 7.0"),
    ((1,), 66, ValueError, "Count bits must be an even number from 8 to 64, not 66"),
    ((1,), 6, ValueError, "Count bits must be an even number from 8 to 64, not 6"),
])
def test_bad_arguments_are_refused(widths, count_bits, error, text):
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        CounterBank(widths, count_bits=count_bits)
