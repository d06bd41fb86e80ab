"""The decoder's clusters by plain models: how they grow, how they are matched; random cases."""

from functools import cache

from quantacore.gateware.layouts.decoder import NONE

__all__ = ["GrowthModel", "match", "random_events", "random_clusters", "MatchCase"]

_LAST = 63
_INFINITE = float("inf")


class GrowthModel:
    """The rule of growth as it is written down: buckets of two stacks, and clusters of sets.

    Parameters
    ----------
    event_bits, capacity : int
        See :class:`~quantacore.gateware.layouts.decoder.DecoderShape`.
    """

    def __init__(self, event_bits, capacity):
        self.room = 1 << event_bits
        self.limit = self.room - capacity
        self.kept = [[] for _ in range(_LAST + 1)]
        self.number = 0
        self.dropped = False

    def push(self, i, j, distance, always=False):
        """``j`` is ``None`` for the boundary."""
        if not always and self.number >= self.limit:
            self.dropped = True
            return
        self.number += 1
        bucket = min(distance, _LAST) if j is None else (distance + 1) // 2
        self.kept[bucket].append((i, j, distance))

    def grow(self, count):
        """Sets of slots, and the number of events that were taken and of merges."""
        home = {i: {"members": {i}, "odd": True, "bound": False} for i in range(count)}
        radius = dict.fromkeys(range(count), 0)
        kept = [list(stack) for stack in self.kept]
        back = [[] for _ in range(_LAST + 1)]
        room = self.room
        self.taken = self.merges = 0

        def is_active(cluster):
            return cluster["odd"] and not cluster["bound"]

        step = 0
        while any(is_active(cluster) for cluster in home.values()):
            if not back[step] and not kept[step]:
                if step == _LAST:
                    break
                step += 1
                for i in range(count):
                    radius[i] += is_active(home[i])
                continue
            self.taken += 1
            i, j, distance = (back[step] or kept[step]).pop()
            a = home[i]
            if j is None:
                if not is_active(a):
                    continue
                gap = distance - radius[i]
                if gap <= 0 or step == _LAST:
                    a["bound"] = True
                    continue
                later = gap
            else:
                b = home[j]
                if a is b:
                    continue
                gap = distance - radius[i] - radius[j]
                active = is_active(a) + is_active(b)
                if active and (gap <= 0 or step == _LAST):
                    self.merges += 1
                    a["members"] |= b["members"]
                    a["odd"] ^= b["odd"]
                    a["bound"] |= b["bound"]
                    for member in b["members"]:
                        home[member] = a
                    continue
                if step == _LAST:
                    continue
                later = (max(gap, 4), max(gap, 1), max((gap + 1) // 2, 1))[active]
            if not room:
                self.dropped = True
                continue
            room -= 1
            back[min(step + later, _LAST)].append((i, j, distance))
        return [home[i]["members"] for i in range(count)]


def random_events(rng, count, *, density, largest, bound=0.9):
    """Events as a list of defects brings them: per slot, its boundary and earlier slots."""
    events = []
    for i in range(count):
        if rng.random() < bound:
            events.append((i, None, rng.randint(0, largest)))
        for j in reversed(range(i)):
            if rng.random() < density:
                events.append((i, j, rng.randint(0, largest)))
    return events


def match(clusters, bound, pair, limit):
    """Partner of each slot (a slot, ``"boundary"`` or ``"escaped"``), largest cluster.

    ``clusters``: lists of slots; ``bound[i]``, ``pair[i, j]`` (i > j): weights, NONE for none.
    """
    partner = {}

    def cost(weight):
        return _INFINITE if weight == NONE else weight

    for cluster in clusters:
        cluster = sorted(cluster)

        @cache
        def best(subset):
            """Least cost of a tuple of slots, and what its highest slot is matched with."""
            if not subset:
                return 0, None
            *rest, high = subset
            found = best(tuple(rest))[0] + cost(bound[high]), "boundary"
            for j in rest:
                others = tuple(x for x in rest if x != j)
                candidate = best(others)[0] + cost(pair[high, j])
                if candidate < found[0]:
                    found = candidate, j
            return found

        if len(cluster) > limit or best(tuple(cluster))[0] == _INFINITE:
            partner.update(dict.fromkeys(cluster, "escaped"))
            continue
        left = tuple(cluster)
        while left:
            high, choice = left[-1], best(left)[1]
            partner[high] = choice
            if choice != "boundary":
                partner[choice] = high
            left = tuple(x for x in left if x not in (high, choice))
    return partner, max(map(len, clusters), default=0)


def random_clusters(rng, count, sizes):
    """Slots 0 to ``count`` - 1 at random in clusters of sizes drawn from ``sizes``."""
    slots = list(range(count))
    rng.shuffle(slots)
    clusters = []
    while slots:
        size = rng.choice(sizes)
        clusters.append(slots[:size])
        slots = slots[size:]
    return clusters


class MatchCase:
    """A list's weights and clusters; memory below ``lowest`` holds rubbish, as it may."""

    def __init__(self, rng, clusters, *, largest, none=0.0, far=0.0):
        self.clusters = clusters
        self.count = sum(map(len, clusters))
        slots = range(self.count)

        def weight():
            return NONE if rng.random() < none else rng.randint(0, largest)

        self.bound = [weight() for _ in slots]
        self.lowest = [0] * self.count
        for i in slots[1:]:
            low = rng.randint(0, i) if rng.random() < far else 0
            self.lowest[i] = max(self.lowest[i - 1], low)
        self.memory = {(i, j): weight() for i in slots for j in range(i)}
        self.pair = {(i, j): w if j >= self.lowest[i] else NONE
                     for (i, j), w in self.memory.items()}

    def members(self, slot):
        """Mask of the slots of a slot's cluster."""
        return sum(1 << x for cluster in self.clusters if slot in cluster for x in cluster)
