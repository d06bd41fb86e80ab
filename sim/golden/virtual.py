"""Virtual channels, straight from their definitions.

Edges are pairs ``(time, channel)`` of integers, times in fine units, in any order. Nothing here
knows of queues or clocks: results are what virtual channels hold that lost nothing.
"""

from dataclasses import dataclass

__all__ = ["VirtualSettings", "coincidences", "combinations", "virtual_edges"]


@dataclass(frozen=True, kw_only=True)
class VirtualSettings:
    """One virtual channel: detectors as sets, spans in fine units."""

    detectors: frozenset
    window: int
    #: None for a coincidence; the detectors that count for a combination.
    watched: frozenset | None = None
    guard_before: int = 0
    guard_after: int = 0


def coincidences(edges, *, detectors, window):
    """Times at which the last of ``detectors`` has its edge.

    Each has had one since the last coincidence, and the latest ones lie within ``window``.
    """
    found = []
    unused = {}
    for time, channel in sorted(edges):
        if channel not in detectors:
            continue
        unused[channel] = time
        if set(unused) == set(detectors) and time - min(unused.values()) <= window:
            found.append(time)
            unused = {}
    return found


def combinations(edges, *, detectors, watched, window, guard_before, guard_after):
    """Times of the first edges of groups of exactly ``detectors``, alone between the guards."""
    edges = [edge for edge in sorted(edges) if edge[1] in watched]
    found = []
    first = 0
    while first < len(edges):
        opened = edges[first][0]
        if first and opened - edges[first - 1][0] < guard_before:
            first += 1
            continue
        after = first
        while after < len(edges) and edges[after][0] <= opened + window:
            after += 1
        alone = after == len(edges) or edges[after][0] > opened + window + guard_after
        if alone and {channel for _, channel in edges[first:after]} == set(detectors):
            found.append(opened)
        first = after
    return found


def virtual_edges(edges, settings):
    """Times of the edges of one virtual channel.

    Parameters
    ----------
    edges : iterable of (int, int)
        Time and channel of every edge of the detectors.
    settings : VirtualSettings

    Returns
    -------
    list of int
        Ascending.
    """
    edges = list(edges)
    if settings.watched is None:
        return coincidences(edges, detectors=settings.detectors, window=settings.window)
    return combinations(edges, detectors=settings.detectors, watched=settings.watched,
                        window=settings.window, guard_before=settings.guard_before,
                        guard_after=settings.guard_after)
