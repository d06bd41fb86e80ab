"""The streaming decoder in plain Python: the specification of the gateware, stage by stage.

A window of each basis goes through load, fill, erasures, grow, match, walk and apply (with the
other basis), grow and match again, and commit. Integers only; every order and every tie is part
of the specification.
"""

from dataclasses import dataclass, field

from quantacore.gateware.layouts.decoder import (
    BASES,
    BUCKET_BITS,
    GROWTH_SHIFT,
    MAX_HOPS,
    NEAR_CAPACITY,
    NONE,
    WALK_AHEAD,
    Table,
)
from quantacore.sim.golden.decoder.tables import unpack

__all__ = ["BOUNDARY", "ESCAPED", "Decoder", "Match", "Verdict"]

#: Partner of a defect that is matched to the boundary.
BOUNDARY = -1
#: Partner of a defect that is left to the host.
ESCAPED = -2

_LAST_BUCKET = (1 << BUCKET_BITS) - 1
#: A steep price for "none" where two boundary distances are added and compared.
_NO_BOUNDARY = 511


@dataclass(frozen=True)
class Match:
    """A committed match of node ``a`` with node ``b`` (``None``: the boundary).

    Nodes are ``(layer, space)``, layers counted from the start of the shot; ``a`` stood before
    ``b`` in the list. ``obs`` is the mask of observables that it flips.
    """

    a: tuple
    b: tuple | None
    obs: int
    weight: int


@dataclass(frozen=True)
class Verdict:
    """What one window says about one basis.

    Parameters
    ----------
    basis : int
    first : int
        Layer of the shot that the window starts with.
    committed : int
        Layers that are decided for good: ``commit``, or all that is left in the last window.
    last : bool
    flips : int
        Mask of observables that the committed matches flip.
    matches : tuple of Match
    escapes : tuple of (int, int)
        Nodes ``(layer, space)`` that the host has to decode.
    overflow, events_dropped, walk_error : bool
    largest : int
        Defects of the largest cluster of the last pass.
    defects : int
        Defects in the window, kept ones included.
    weight : int
        Sum of the weights of the committed matches.
    """

    basis: int
    first: int
    committed: int
    last: bool
    flips: int
    matches: tuple
    escapes: tuple
    overflow: bool
    events_dropped: bool
    walk_error: bool
    largest: int
    defects: int
    weight: int

    @property
    def escaped(self):
        """Whether anything is left to the host."""
        return bool(self.escapes)


@dataclass(frozen=True)
class _Event:
    """Growth event of slots ``i`` > ``j``, or of ``i`` and the boundary (``j`` is ``None``)."""

    i: int
    j: int | None
    distance: int


@dataclass(frozen=True)
class _Shortcut:
    """An edge u-v (or u-boundary) that has become likely; nodes are ``(space, layer)``."""

    u: tuple
    v: tuple | None
    weight: int
    obs: int


def _steps(weight):
    """Growth steps of a weight, rounded up."""
    return (weight + (1 << GROWTH_SHIFT) - 1) >> GROWTH_SHIFT


@dataclass
class _Engine:
    """One basis: its tables, its list of defects, and what a window makes of it."""

    image: object
    basis: int
    #: Defects as (space, layer of the window), in order of arrival.
    defects: list = field(default_factory=list)

    def __post_init__(self):
        self.shape = self.image.shape
        self._words = {table: self.image.words(self.basis, table) for table in Table}
        self._layouts = {table: self.shape.table_word(table) for table in Table}
        self._unpacked = {}

    def _word(self, table, address):
        key = table, address
        if key not in self._unpacked:
            self._unpacked[key] = unpack(self._layouts[table], self._words[table][address])
        return self._unpacked[key]

    def _address(self, early, late, difference):
        return (early << self.shape.space_bits | late) << self.shape.delta_bits | difference

    def _distance(self, first, second):
        """``(weight, obs)`` of two nodes; ``first`` counts as the earlier one in a tie."""
        if second[1] < first[1]:
            first, second = second, first
        difference = second[1] - first[1]
        if difference >= 1 << self.shape.delta_bits:
            return NONE, 0
        word = self._word(Table.PAIR, self._address(first[0], second[0], difference))
        return word["weight"], word["obs"]

    def _bound(self, space):
        word = self._word(Table.BOUND, space)
        return word["weight"], word["obs"]

    # -- load and fill ---------------------------------------------------------------------------

    def fill(self):
        """Distances of the listed defects, and the permanent events."""
        capacity = self.shape.capacity
        self.bound = []
        self.pair = {}
        self.lowest = []
        self.permanent = [[] for _ in range(_LAST_BUCKET + 1)]
        self.permanent_count = 0
        self.events_dropped = False
        self.walk_error = False
        assert len(self.defects) <= capacity
        for i, node in enumerate(self.defects):
            self.bound.append(self._bound(node[0]))
            if self.bound[i][0] != NONE:
                self._push_boundary(i, always=True)
            self.lowest.append(i)
            for j in reversed(range(i)):
                if node[1] - self.defects[j][1] >= 1 << self.shape.delta_bits:
                    break
                self.lowest[i] = j
                self.pair[i, j] = self._distance(self.defects[j], node)
                self._push_pair(i, j)

    def _push_boundary(self, i, always=False):
        steps = _steps(self.bound[i][0])
        self._push(_Event(i, None, steps), steps, always)

    def _push_pair(self, i, j):
        weight = self.pair[i, j][0]
        limit = sum(_NO_BOUNDARY if self.bound[x][0] == NONE else self.bound[x][0] for x in (i, j))
        if weight != NONE and weight < limit:
            steps = _steps(weight)
            self._push(_Event(i, j, steps), (steps + 1) >> 1, False)

    def _push(self, event, bucket, always):
        room = (1 << self.shape.event_bits) - self.shape.capacity
        if self.permanent_count >= room and not always:
            self.events_dropped = True
            return
        self.permanent[min(bucket, _LAST_BUCKET)].append(event)
        self.permanent_count += 1

    # -- grow ------------------------------------------------------------------------------------

    def grow(self):
        """Grow balls around the defects until no cluster is active; sets ``label``."""
        n = len(self.defects)
        label = list(range(n))
        odd = [True] * n
        bound = [False] * n
        active = [True] * n
        # The radius is `tau - value` while a cluster grows, and `value` while it rests.
        value = [0] * n
        permanent = [list(chain) for chain in self.permanent]
        temporary = [[] for _ in range(_LAST_BUCKET + 1)]
        temporary_count = 0
        tau = 0

        def radius(i):
            return tau - value[i] if active[i] else value[i]

        def settle(cluster, *, is_odd, has_boundary):
            for x in range(n):
                if label[x] == cluster:
                    odd[x], bound[x] = is_odd, has_boundary
                    if active[x] != (is_odd and not has_boundary):
                        active[x] = not active[x]
                        value[x] = tau - value[x]

        waiting = n
        while waiting > 0:
            while tau <= _LAST_BUCKET and not temporary[tau] and not permanent[tau]:
                tau += 1
            if tau > _LAST_BUCKET:
                break
            event = (temporary[tau] or permanent[tau]).pop()
            i, j = event.i, event.j
            later = None
            if j is None:
                if not active[i]:
                    continue
                gap = event.distance - radius(i)
                if gap <= 0 or tau == _LAST_BUCKET:
                    settle(label[i], is_odd=odd[i], has_boundary=True)
                    waiting -= 1
                else:
                    later = tau + gap
            else:
                if label[i] == label[j]:
                    continue
                gap = event.distance - radius(i) - radius(j)
                both = active[i] + active[j]
                if (gap <= 0 or tau == _LAST_BUCKET) and both:
                    is_odd, has_boundary = odd[i] != odd[j], bound[i] or bound[j]
                    taken = label[j]
                    # Activity changes from each cluster's own; so settle before they are one.
                    settle(taken, is_odd=is_odd, has_boundary=has_boundary)
                    settle(label[i], is_odd=is_odd, has_boundary=has_boundary)
                    for x in range(n):
                        if label[x] == taken:
                            label[x] = label[i]
                    waiting += active[i] - both
                elif both == 2:
                    later = tau + max((gap + 1) >> 1, 1)
                elif both == 1:
                    later = tau + max(gap, 1)
                else:
                    later = tau + max(gap, 4)
            if later is not None and tau < _LAST_BUCKET:
                if temporary_count == 1 << self.shape.event_bits:
                    self.events_dropped = True
                else:
                    temporary_count += 1
                    temporary[min(later, _LAST_BUCKET)].append(event)
        self.label = label

    # -- match -----------------------------------------------------------------------------------

    def match(self):
        """Exact matching in each cluster; sets ``partner`` and ``largest``."""
        n = len(self.defects)
        self.partner = [None] * n
        self.largest = 0
        for first in range(n):
            if self.partner[first] is not None:
                continue
            members = [x for x in range(n) if self.label[x] == self.label[first]]
            self.largest = max(self.largest, len(members))
            matching = self._best(members) if len(members) <= self.shape.cluster else None
            for index, x in enumerate(members):
                if matching is None:
                    self.partner[x] = ESCAPED
                elif matching[index] is None:
                    self.partner[x] = BOUNDARY
                else:
                    self.partner[x] = members[matching[index]]

    def _best(self, members):
        """Partner of each member (``None``: the boundary), or ``None`` if there is no matching.

        Dynamic programming over subsets: the highest member of a subset goes to the boundary or
        to a lower one. In a tie the boundary wins, then the lowest.
        """
        cost = {0: 0}
        choice = {}

        def solve(subset):
            if subset not in cost:
                high = subset.bit_length() - 1
                rest = subset & ~(1 << high)
                best, chosen = None, None
                weight = self.bound[members[high]][0]
                below = solve(rest)
                if weight != NONE and below is not None:
                    best = below + weight
                for low in range(high):
                    if rest >> low & 1:
                        weight = self.pair.get((members[high], members[low]), (NONE, 0))[0]
                        below = solve(rest & ~(1 << low))
                        if weight != NONE and below is not None and (
                                best is None or below + weight < best):
                            best, chosen = below + weight, low
                cost[subset], choice[subset] = best, chosen
            return cost[subset]

        subset = (1 << len(members)) - 1
        if solve(subset) is None:
            return None
        matching = [None] * len(members)
        while subset:
            high = subset.bit_length() - 1
            low = choice[subset]
            subset &= ~(1 << high)
            if low is not None:
                matching[high], matching[low] = low, high
                subset &= ~(1 << low)
        return matching

    # -- walk ------------------------------------------------------------------------------------

    def walk(self, limit):
        """Yield the shortcuts that the edges of the matches cause in the other basis.

        Matches with no end before layer ``limit`` cause none.
        """
        for i, partner in enumerate(self.partner):
            if partner == BOUNDARY and self.defects[i][1] < limit:
                yield from self._walk_to_boundary(self.defects[i])
            elif 0 <= partner < i and self.defects[partner][1] < limit:
                yield from self._walk_between(self.defects[i], self.defects[partner])

    def _walk_to_boundary(self, node):
        for _ in range(MAX_HOPS):
            hop = self._word(Table.BOUND, node[0])
            edge, anchor, other = self._cross(node, hop)
            yield from self.shortcuts(edge, anchor)
            if edge["boundary"]:
                return
            node = other
        self.walk_error = True

    def _walk_between(self, a, b):
        for _ in range(MAX_HOPS):
            from_a = a[1] <= b[1]
            early, late = (a, b) if from_a else (b, a)
            difference = late[1] - early[1]
            if difference >= 1 << self.shape.delta_bits:
                break
            hop = self._word(Table.HOP, self._address(early[0], late[0], difference))
            edge, anchor, other = self._cross(early, hop)
            yield from self.shortcuts(edge, anchor)
            a, b = (other, b) if from_a else (a, other)
            if a == b:
                return
        self.walk_error = True

    def _cross(self, node, hop):
        """The edge of a hop, the layer of its end a, and the node at its other end."""
        edge = self._word(Table.EDGE, hop["edge"])
        space, layer = node
        if hop["at_b"]:
            anchor = layer - edge["delta"]
            return edge, anchor, (edge["a"], anchor)
        return edge, layer, (edge["b"], layer + edge["delta"])

    def shortcuts(self, run, anchor):
        """Yield the run of shortcuts that an EDGE or ERASE word names."""
        for number in range(run["start"], run["start"] + run["count"]):
            word = self._word(Table.SHORT, number)
            yield _Shortcut(
                (word["u"], anchor + word["u_layer"]),
                None if word["boundary"] else (word["v"], anchor + word["v_layer"]),
                word["weight"], word["obs"])

    def erasure(self, site, layer):
        """Yield the shortcuts of an erased site."""
        yield from self.shortcuts(self._word(Table.ERASE, site), layer)

    # -- apply -----------------------------------------------------------------------------------

    def apply(self, shortcut, *, layers, reach):
        """Improve distances of listed defects by one shortcut."""
        u, v = shortcut.u, shortcut.v
        ends = [u] if v is None else [u, v]
        if not all(0 <= layer < layers for _, layer in ends):
            return
        low = min(layer for _, layer in ends) - 1
        high = max(layer for _, layer in ends) + 1
        near = [[] for _ in ends]
        for i, node in enumerate(self.defects):
            if low <= node[1] <= high:
                for end, found in zip(ends, near, strict=True):
                    weight, obs = self._distance(node, end)
                    if weight != NONE and weight <= reach and len(found) < NEAR_CAPACITY:
                        found.append((i, weight, obs))
        if v is None:
            for i, weight, obs in near[0]:
                self._improve_bound(i, weight + shortcut.weight, obs ^ shortcut.obs)
            return
        if not near[0] or not near[1]:
            return
        for found, far in ((near[0], v), (near[1], u)):
            far_weight, far_obs = self._bound(far[0])
            if far_weight == NONE:
                continue
            for i, weight, obs in found:
                self._improve_bound(i, weight + shortcut.weight + far_weight,
                                    obs ^ shortcut.obs ^ far_obs)
        for x, weight_x, obs_x in near[0]:
            for y, weight_y, obs_y in near[1]:
                if x != y:
                    self._improve_pair(max(x, y), min(x, y), weight_x + shortcut.weight + weight_y,
                                       obs_x ^ shortcut.obs ^ obs_y)

    def _improve_bound(self, i, weight, obs):
        if weight < self.bound[i][0]:
            self.bound[i] = weight, obs
            self._push_boundary(i)

    def _improve_pair(self, i, j, weight, obs):
        if j >= self.lowest[i] and weight < self.pair[i, j][0]:
            self.pair[i, j] = weight, obs
            self._push_pair(i, j)

    # -- commit ----------------------------------------------------------------------------------

    def commit(self, first, commit, layers, last):
        """Decide what can be decided; keep the rest for the next window. Returns a verdict."""
        def of_shot(node):
            return node[1] + first, node[0]

        early = [last or layer < commit for _, layer in self.defects]
        # Clusters that escape leave together or wait together.
        leaving = any(is_early and partner == ESCAPED
                      for is_early, partner in zip(early, self.partner, strict=True))
        matches, escapes, kept = [], [], []
        for i, (node, partner) in enumerate(zip(self.defects, self.partner, strict=True)):
            if partner == ESCAPED:
                decided = leaving
                if decided:
                    escapes.append(of_shot(node))
            else:
                decided = early[i] or (partner != BOUNDARY and early[partner])
                if decided and partner == BOUNDARY:
                    weight, obs = self.bound[i]
                    matches.append(Match(of_shot(node), None, obs, weight))
                elif decided and partner > i:
                    weight, obs = self.pair[partner, i]
                    matches.append(Match(of_shot(node), of_shot(self.defects[partner]), obs,
                                         weight))
            if not decided:
                kept.append((node[0], node[1] - commit))
        flips = 0
        for match in matches:
            flips ^= match.obs
        verdict = Verdict(
            self.basis, first, layers if last else commit, last, flips, tuple(matches),
            tuple(escapes), False, self.events_dropped, self.walk_error, self.largest,
            len(self.defects), sum(match.weight for match in matches))
        self.defects = kept
        return verdict

    def overflow(self, first, commit, layers, last):
        """Give every defect of the window to the host."""
        escapes = tuple((layer + first, space) for space, layer in self.defects)
        verdict = Verdict(self.basis, first, layers if last else commit, last, 0, (), escapes,
                          True, False, False, 0, len(self.defects), 0)
        self.defects = []
        return verdict


class Decoder:
    """Sliding-window decoder of two bases.

    Parameters
    ----------
    image : DecoderImage
    commit, buffer : int
        Layers that a window decides, and layers that it looks ahead. Default: the image's.
    reach : int
        Largest weight between a defect and the end of a shortcut, 0 to 254. Default: the image's.
    correlation : bool
        Whether the bases tell each other about likely edges, and match a second time.
    """

    def __init__(self, image, *, commit=None, buffer=None, reach=None, correlation=True):
        image.check()
        settings = image.settings
        self.commit = settings["commit"] if commit is None else commit
        self.buffer = settings["buffer"] if buffer is None else buffer
        self.reach = settings["reach"] if reach is None else reach
        self.correlation = correlation and image.shape.correlation
        if self.commit < 1 or self.buffer < 0:
            raise ValueError(f"commit must be at least 1 layer and buffer at least 0, "
                             f"not {self.commit} and {self.buffer}")
        if self.commit + self.buffer > 1 << image.shape.time_bits:
            raise ValueError(f"a window holds at most {1 << image.shape.time_bits} layers, "
                             f"not {self.commit} + {self.buffer}")
        if not 0 <= self.reach < NONE:
            raise ValueError(f"reach must be 0 to {NONE - 1}, not {self.reach}")
        self._shape = image.shape
        self._engines = [_Engine(image, basis) for basis in range(BASES)]
        self._restart()

    def _restart(self):
        for engine in self._engines:
            engine.defects = []
        self._first = 0
        self._layers = 0
        self._erased = []

    def feed(self, defects, erasures=(), *, last=False):
        """Take one layer.

        Parameters
        ----------
        defects : sequence of two iterables of int
            Spaces with a defect, for each basis.
        erasures : iterable of int
            Sites that were heralded as erased in this round.
        last : bool
            Whether the shot ends with this layer; the next one starts another shot.

        Returns
        -------
        list of Verdict
            Empty, or one verdict for each basis where this layer completes a window.
        """
        for engine, spaces in zip(self._engines, defects, strict=True):
            engine.defects += [(space, self._layers) for space in sorted(spaces)]
        self._erased += [(site, self._layers) for site in sorted(erasures)]
        self._layers += 1
        if not last and self._layers < self.commit + self.buffer:
            return []
        verdicts = self._window(last)
        if last:
            self._restart()
        else:
            self._first += self.commit
            self._layers -= self.commit
            self._erased = [(site, layer - self.commit) for site, layer in self._erased
                            if layer >= self.commit]
        return verdicts

    def _window(self, last):
        where = (self._first, self.commit, self._layers, last)
        lost = {engine.basis: engine.overflow(*where) for engine in self._engines
                if len(engine.defects) > self._shape.capacity}
        # An engine that lost its list goes on with an empty one: it matches nothing.
        for engine in self._engines:
            engine.fill()
            for site, layer in self._erased:
                for shortcut in engine.erasure(site, layer):
                    engine.apply(shortcut, layers=self._layers, reach=self.reach)
            engine.grow()
            engine.match()
        if self.correlation:
            limit = self._layers if last else self.commit + WALK_AHEAD
            crossing = [list(engine.walk(limit)) for engine in self._engines]
            for engine, shortcuts in zip(self._engines, reversed(crossing), strict=True):
                for shortcut in shortcuts:
                    engine.apply(shortcut, layers=self._layers, reach=self.reach)
            for engine in self._engines:
                engine.grow()
                engine.match()
        return [lost.get(engine.basis) or engine.commit(*where) for engine in self._engines]
