"""What must hold of attempts that nodes make together, whatever the lines do to their messages.

Written from the protocol's promises (``docs/peers.md``), not from its machinery: the checker sees
only when attempts begin and end in each node and what the programs are told.
"""

from dataclasses import dataclass, field

from quantacore.gateware.layouts.herald import Outcome

__all__ = ["Shared", "PeersChecker"]


@dataclass(kw_only=True)
class Shared:
    """An attempt that the station triggered."""

    tick: int
    number: int
    outcome: Outcome | None = None
    code: int | None = None
    #: Followers that it began in, and those that started its windows.
    begun: set = field(default_factory=set)
    ran: set = field(default_factory=set)


class PeersChecker:
    """Follows the events of a station (node 0) and its followers.

    Parameters
    ----------
    followers : int
    flight : function of a follower
        Ticks from the station's trigger to the attempt's begin in the follower, as things are.
    """

    def __init__(self, *, followers, flight):
        self._flight = flight
        self._attempts = {}
        self._current = [None] * (followers + 1)
        #: Events since each node's session began.
        self.begun = [0] * (followers + 1)
        #: How many attempts ended how, by the station.
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.verdicts = 0

    def forget(self, node):
        """The node was reset."""
        self._current[node] = None
        self.begun[node] = 0

    def event(self, tick, node, seen):
        """What happened in a node in a tick."""
        where = f"tick {tick}, node {node}"
        assert not seen.stray, f"{where}: a verdict that nobody waited for"
        if seen.opened:
            self.begun[node] = 0
        if seen.ended:
            assert self._current[node] is not None, f"{where}: an end without an attempt"
            outcome = Outcome(seen.outcome)
            (self._station_end if node == 0 else self._follower_end)(where, node, outcome, seen)
            self._current[node] = None
        if seen.go:
            assert self._current[node] is None, f"{where}: an attempt begins in another"
            self.begun[node] += 1
            if node == 0:
                shared = Shared(tick=tick, number=seen.number + 1)
                self._attempts[tick] = shared
            else:
                shared = self._attempts.get(tick - self._flight(node - 1))
                assert shared, f"{where}: began on a trigger that was not sent then"
                shared.begun.add(node)
            self._current[node] = shared
        if seen.ran:
            assert self._current[node] is not None, f"{where}: windows without an attempt"
            self._current[node].ran.add(node)

    def _station_end(self, where, node, outcome, seen):
        shared = self._current[node]
        shared.outcome = outcome
        self.outcomes[outcome] += 1
        if outcome is Outcome.VOID:
            return
        everyone = set(range(len(self._current)))
        assert shared.ran == everyone, (
            f"{where}: {outcome.name} of attempt {shared.number}, made by {shared.ran} only")
        if outcome is Outcome.SUCCESS and seen.told:
            shared.code = seen.code

    def _follower_end(self, where, node, outcome, seen):
        shared = self._current[node]
        if outcome is Outcome.VOID:
            return
        assert shared.outcome is outcome, (
            f"{where}: {outcome.name} of attempt {shared.number}, which was {shared.outcome}")
        self.verdicts += 1
        if outcome is Outcome.SUCCESS and seen.told and shared.code is not None:
            assert seen.code == shared.code, f"{where}: code {seen.code} is not {shared.code}"
