"""The golden model of virtual channels on cases that can be seen through."""

import pytest

from quantacore.sim.golden.virtual import VirtualSettings, virtual_edges


def coincidence(edges, *, window=10, detectors=(0, 1)):
    return virtual_edges(edges, VirtualSettings(detectors=frozenset(detectors), window=window))


def combination(edges, *, window=10, detectors=(0, 1), watched=range(8), before=0, after=0):
    return virtual_edges(edges, VirtualSettings(
        detectors=frozenset(detectors), watched=frozenset(watched), window=window,
        guard_before=before, guard_after=after))


@pytest.mark.parametrize("edges, expected", [
    ([(100, 0), (110, 1)], [110]),
    ([(100, 0), (111, 1)], []),
    ([(100, 1), (100, 0)], [100]),
    ([(110, 1), (100, 0)], [110]),
    # A later edge of the same detector is nearer.
    ([(100, 0), (105, 0), (115, 1)], [115]),
    # No edge makes two coincidences.
    ([(100, 0), (105, 1), (106, 1)], [105]),
    ([(100, 0), (105, 1), (106, 0), (107, 1)], [105, 107]),
    ([(100, 0), (101, 2), (105, 1)], [105]),
])
def test_coincidences(edges, expected):
    assert coincidence(edges) == expected


def test_coincidence_of_three():
    edges = [(100, 0), (104, 1), (108, 2), (111, 0)]
    assert coincidence(edges, detectors=(0, 1, 2)) == [108]


def test_coincidence_of_one_is_every_edge():
    assert coincidence([(1, 3), (5, 2), (7, 3)], detectors=(3,)) == [1, 7]


@pytest.mark.parametrize("edges, expected", [
    ([(100, 0), (110, 1)], [100]),
    ([(100, 0), (111, 1)], []),
    ([(100, 0), (105, 2), (110, 1)], []),
    ([(100, 0), (105, 0), (110, 1)], [100]),
    ([(100, 0), (105, 1), (120, 0), (121, 1)], [100, 120]),
    # The window goes from the first edge of a group.
    ([(100, 0), (109, 0), (115, 1)], []),
])
def test_combinations(edges, expected):
    assert combination(edges) == expected


@pytest.mark.parametrize("before, expected", [(5, [105]), (6, [])])
def test_guard_before(before, expected):
    # Edge 2 opens a group of its own, which is over by then.
    assert combination([(100, 2), (105, 0), (106, 1)], window=4, before=before) == expected


@pytest.mark.parametrize("after, expected", [(4, [100]), (5, [])])
def test_guard_after(after, expected):
    assert combination([(100, 0), (101, 1), (115, 2)], after=after) == expected


def test_edges_that_nobody_watches_are_not_there():
    edges = [(100, 0), (105, 2), (110, 1)]
    assert combination(edges, watched=(0, 1)) == [100]
