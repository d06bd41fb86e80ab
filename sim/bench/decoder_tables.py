"""Random decoder tables and lists, plain models of the units that read them, and their bench.

The models say in a few lines of integers what ``gateware/decoder`` does in pipelines; they share
nothing with it but the layouts. A bench is driven once per clock, by Amaranth's simulator or by
cocotb: it serves the unit's memories, feeds it, and collects what it writes.
"""

import dataclasses
import functools
import heapq

from quantacore.gateware.layouts.decoder import MAX_HOPS, NEAR_CAPACITY, NONE, PartnerKind

__all__ = ["World", "FillerBench", "WalkerBench", "ApplierBench", "fill", "walk", "apply"]

SLOT, BOUNDARY, ESCAPED = (kind.value for kind in PartnerKind)


def _word(layout, **fields):
    return layout.const(fields).as_bits()


def _fields(layout, value):
    return {name: getattr(layout.from_bits(value), name) for name, _ in layout}


@dataclasses.dataclass
class World:
    """Tables of one basis, and the defects of a window.

    Parameters
    ----------
    shape : DecoderShape
    pair : dict of (s1, s2, delta) to (weight, obs)
    hop : dict of (s1, s2, delta) to (edge, at_b)
    bound : list of (weight, obs, edge, at_b)
    edge : list of dict, short : list of dict
        Fields of the words.
    nodes : list of (space, layer)
        The list, ascending by layer, then space.
    top : int
        Layers loaded.
    """

    shape: object
    pair: dict
    hop: dict
    bound: list
    edge: list
    short: list
    nodes: list
    top: int

    @classmethod
    def random(cls, shape, rng, *, defects, top=None, heaviest=254, none=0.1, edges=True):
        """Tables of noise. ``heaviest`` small gives ties; ``none`` is the share of no path."""
        spaces, deltas = range(1 << shape.space_bits), range(1 << shape.delta_bits)
        obs = (1 << shape.observables) - 1

        def weight():
            return NONE if rng.random() < none else rng.randint(1, heaviest)

        pair, hop = {}, {}
        for s1 in spaces:
            for s2 in spaces:
                for delta in deltas:
                    pair[s1, s2, delta] = (weight(), rng.randint(0, obs))
                    hop[s1, s2, delta] = (rng.getrandbits(shape.edge_bits), rng.getrandbits(1))
                    if delta == 0 and s2 <= s1:
                        pair[s1, s2, 0] = pair[s2, s1, 0] if s1 != s2 else (0, 0)
        bound = [(weight(), rng.randint(0, obs), rng.getrandbits(shape.edge_bits),
                  rng.getrandbits(1)) for _ in spaces]
        depth = 1 << shape.shortcut_bits
        short = [{"u": rng.choice(spaces), "u_layer": rng.randint(-8, 7),
                  "v": rng.choice(spaces), "v_layer": rng.randint(-8, 7),
                  "boundary": int(rng.random() < 0.2), "weight": rng.randrange(256),
                  "obs": rng.randint(0, obs)} for _ in range(depth if edges else 0)]
        edge = []
        for _ in range(1 << shape.edge_bits if edges else 0):
            count = min(63, depth - 1, int(rng.expovariate(0.4)))
            edge.append({"a": rng.choice(spaces), "b": rng.choice(spaces),
                         "delta": rng.choice([0, 0, 1, 3]), "boundary": int(rng.random() < 0.3),
                         "start": rng.randrange(depth - count), "count": count})
        if top is None:
            top = rng.randint(1, 1 << shape.time_bits)
        sites = [(layer, space) for layer in range(top) for space in spaces]
        chosen = sorted(rng.sample(sites, min(defects, len(sites))))
        nodes = [(space, layer) for layer, space in chosen]
        return cls(shape, pair, hop, bound, edge, short, nodes, top)

    @classmethod
    def line(cls, shape, rng, *, defects):
        """A line of spaces through time, with paths that end: a damaged one is :meth:`random`."""
        world = cls.random(shape, rng, defects=defects, top=1 << shape.time_bits)
        spaces, deltas = 1 << shape.space_bits, 1 << shape.delta_bits
        kinds = []  # (a, b, delta, boundary, weight)
        for s in range(spaces):
            kinds.append((s, s, 1, 0, rng.randint(30, 50)))
            if s + 1 < spaces:
                kinds.append((s, s + 1, 0, 0, rng.randint(20, 60)))
                kinds.append((s + 1, s, 1, 0, rng.randint(20, 60)))
        kinds.append((0, 0, 0, 1, 25))
        kinds.append((spaces - 1, 0, 0, 1, 35))
        assert len(kinds) <= len(world.edge)
        for number, (a, b, delta, boundary, _) in enumerate(kinds):
            world.edge[number].update(a=a, b=b, delta=delta, boundary=boundary)
        layers = range(-4, deltas + 4)

        def steps(s, t):
            for number, (a, b, delta, boundary, cost) in enumerate(kinds):
                if not boundary:
                    if s == a and t + delta in layers:
                        yield number, 0, (b, t + delta), cost
                    if s == b and t - delta in layers:
                        yield number, 1, (a, t - delta), cost

        def spread(sources):
            """Cost, and the first edge towards the source, of every node."""
            best, queue = {}, [(cost, node, first) for node, cost, first in sources]
            while queue:
                cost, node, first = heapq.heappop(queue)
                if node not in best:
                    best[node] = cost, first
                    for number, at_b, other, extra in steps(*node):
                        if other not in best:
                            heapq.heappush(queue, (cost + extra, other, (number, 1 - at_b)))
            return best

        for s2 in range(spaces):
            for delta in range(deltas):
                best = spread([((s2, delta), 0, (0, 0))])
                for s1 in range(spaces):
                    cost, first = best[s1, 0]
                    world.pair[s1, s2, delta] = (min(cost, NONE), 0)
                    world.hop[s1, s2, delta] = first
        best = spread([((a, 0), cost, (number, 0))
                       for number, (a, _, _, boundary, cost) in enumerate(kinds) if boundary])
        world.bound = [(min(best[s, 0][0], NONE), 0, *best[s, 0][1]) for s in range(spaces)]
        return world

    def distance(self, first, second):
        """Distance and parity of two nodes by the table PAIR; of one layer, ``first`` leads."""
        if second[1] < first[1]:
            first, second = second, first
        delta = second[1] - first[1]
        if delta >= 1 << self.shape.delta_bits:
            return NONE, 0
        return self.pair[first[0], second[0], delta]

    def lowest(self, i):
        """The lowest slot that the table covers from slot ``i``."""
        reach = 1 << self.shape.delta_bits
        return next(j for j in range(i + 1) if self.nodes[i][1] - self.nodes[j][1] < reach)

    # The memories, by address.

    def read_node(self, slot):
        space, layer = self.nodes[slot] if slot < len(self.nodes) else (0, 0)
        return _word(self.shape.node, space=space, layer=layer)

    def read_lowest(self, slot):
        return self.lowest(slot) if slot < len(self.nodes) else 0

    def read_first(self, layer):
        return sum(node[1] < layer for node in self.nodes)

    def _triple(self, address):
        mask = (1 << self.shape.space_bits) - 1
        rest = address >> self.shape.delta_bits
        return (rest >> self.shape.space_bits, rest & mask,
                address & ((1 << self.shape.delta_bits) - 1))

    def read_pair(self, address):
        weight, obs = self.pair[self._triple(address)]
        return _word(self.shape.pair_word, weight=weight, obs=obs)

    def read_hop(self, address):
        edge, at_b = self.hop[self._triple(address)]
        return _word(self.shape.hop_word, edge=edge, at_b=at_b)

    def read_bound(self, space):
        weight, obs, edge, at_b = self.bound[space]
        return _word(self.shape.bound_word, weight=weight, obs=obs, edge=edge, at_b=at_b)

    def read_edge(self, number):
        return _word(self.shape.edge_word, **self.edge[number])

    def read_short(self, number):
        return _word(self.shape.short_word, **self.short[number])


# Models.

def _steps(weight):
    return (weight + 3) >> 2


def fill(world):
    """Boundary words, pair words ``{(i, j): (weight, obs)}`` and events ``(i, j or None, dg)``."""
    bounds, pairs, events = [], {}, []
    for i, node in enumerate(world.nodes):
        weight, obs = world.bound[node[0]][:2]
        bounds.append((weight, obs))
        if weight != NONE:
            events.append((i, None, _steps(weight)))
        for j in range(i - 1, -1, -1):
            if node[1] - world.nodes[j][1] >= 1 << world.shape.delta_bits:
                break
            weight, obs = world.distance(world.nodes[j], node)
            pairs[i, j] = (weight, obs)
            limit = sum(511 if bounds[k][0] == NONE else bounds[k][0] for k in (i, j))
            if weight != NONE and weight < limit:
                events.append((i, j, _steps(weight)))
    return bounds, pairs, events


def walk(world, partners, before=None):
    """Shortcuts as tuples, and whether a path was given up. ``partners``: (kind, slot).

    Matches with no end in a layer under ``before`` are left out.
    """
    shape = world.shape
    limit = 1 << shape.time_bits + 1
    before = limit if before is None else before
    sent, error = [], False

    def fit(layer):
        return layer if -limit <= layer < limit else -limit

    def emit(number, anchor):
        edge = world.edge[number]
        for word in world.short[edge["start"]:edge["start"] + edge["count"]]:
            sent.append((word["u"], fit(anchor + word["u_layer"]), word["v"],
                         fit(anchor + word["v_layer"]), word["boundary"], word["weight"],
                         word["obs"]))

    def take(number, at_b, layer):
        edge = world.edge[number]
        if at_b:
            emit(number, layer - edge["delta"])
            return edge["a"], layer - edge["delta"]
        emit(number, layer)
        return edge["b"], layer + edge["delta"]

    for i, (kind, j) in enumerate(partners):
        a, hops = world.nodes[i], 0
        if kind == BOUNDARY and a[1] < before:
            while True:
                if hops == MAX_HOPS:
                    error = True
                    break
                number, at_b = world.bound[a[0]][2:]
                a, hops = take(number, at_b, a[1]), hops + 1
                if world.edge[number]["boundary"]:
                    break
        elif kind == SLOT and j < i and world.nodes[j][1] < before:
            b = world.nodes[j]
            while a != b:
                delta = b[1] - a[1]
                if hops == MAX_HOPS or abs(delta) >= 1 << shape.delta_bits:
                    error = True
                    break
                if delta < 0:
                    number, at_b = world.hop[b[0], a[0], -delta]
                    b = take(number, at_b, b[1])
                else:
                    number, at_b = world.hop[a[0], b[0], delta]
                    a = take(number, at_b, a[1])
                hops += 1
    return sent, error


def apply(world, bounds, pairs, shortcuts, reach):
    """Shorten ``bounds`` and ``pairs`` in place.

    Returns the stores ``(i, j or None, weight, obs)`` and the events, in order, and how many
    shortcuts had near defects.
    """
    stores, events, effective = [], [], 0
    for u, tu, v, tv, boundary, weight, obs in shortcuts:
        if not 0 <= tu < world.top or not (boundary or 0 <= tv < world.top):
            continue
        low, high = min(tu, tu if boundary else tv) - 1, max(tu, tu if boundary else tv) + 1
        near_u, near_v = [], []
        for i, node in enumerate(world.nodes):
            if low <= node[1] <= high:
                for end, near in (((u, tu), near_u), ((v, tv), near_v)):
                    far, parity = world.distance(node, end)
                    if far <= reach and far != NONE and len(near) < NEAR_CAPACITY:
                        near.append((i, far, parity))
        if not near_u or not (boundary or near_v):
            continue
        effective += 1

        def to_boundary(i, cost, parity):
            if cost < bounds[i][0]:
                bounds[i] = (cost, parity)
                stores.append((i, None, cost, parity))
                events.append((i, None, _steps(cost)))

        if boundary:
            for i, far, parity in near_u:
                to_boundary(i, far + weight, parity ^ obs)
            continue
        for near, other in ((near_u, v), (near_v, u)):
            beyond, parity_beyond = world.bound[other][:2]
            if beyond != NONE:
                for i, far, parity in near:
                    to_boundary(i, far + weight + beyond, parity ^ obs ^ parity_beyond)
        for i, far_u, parity_u in near_u:
            for j, far_v, parity_v in near_v:
                high, low = max(i, j), min(i, j)
                cost = far_u + weight + far_v
                if i != j and low >= world.lowest(high) and cost < pairs[high, low][0]:
                    pairs[high, low] = (cost, obs ^ parity_u ^ parity_v)
                    stores.append((high, low, *pairs[high, low]))
                    if cost < bounds[high][0] + bounds[low][0]:
                        events.append((high, low, _steps(cost)))
    return stores, events, effective


# Benches. ``clock(get)`` is called in every clock with a function that reads a port by its Verilog
# name, and returns the values of input ports from the next clock on.

class _Bench:
    """Memories with a latency of two clocks, and the start pulse."""

    def __init__(self, tables, changing=()):
        # A table's word takes long to put together, and does not change.
        self._reads = [(address, data, functools.cache(read)) for address, data, read in tables]
        self._reads += changing
        self._late = {data: 0 for _, data, _ in self._reads}
        self.clocks = 0
        self.done = False

    def _serve(self, get):
        due = self._late
        self._late = {data: read(get(address)) for address, data, read in self._reads}
        self.clocks += 1
        return due

    def _pulse(self, get):
        """``start`` in the first clock; the end is when ``busy`` has fallen."""
        if self.clocks > 2 and not get("busy"):
            self.done = True
        return {"start": int(self.clocks == 1)}


def _push(shape, get):
    event = _fields(shape.event, get("push__payload"))
    return (event["i"], None if event["boundary"] else event["j"], event["distance"])


class _Writes:
    """What a unit stores and pushes."""

    def __init__(self, shape, pair_layout, bound_layout):
        self._shape, self._pair, self._bound = shape, pair_layout, bound_layout
        self.stores, self.events = [], []

    def collect(self, get):
        pair, bound = get("pair_write"), get("bound_write")
        if bound & 1:
            word = _fields(self._bound, bound)
            self.stores.append((word["slot"], None, word["weight"], word["obs"]))
        if pair & 1:
            word = _fields(self._pair, pair)
            self.stores.append((word["i"], word["j"], word["weight"], word["obs"]))
        if get("push__valid"):
            self.events.append(_push(self._shape, get))


class FillerBench(_Bench):
    """Runs a Filler once; ``bounds``, ``pairs`` and ``events`` are what came out.

    ``layouts`` are the layouts of the ports ``pair_write`` and ``bound_write``. The list grows by
    one slot in each clock for which ``growing(clock)``; what is not stored yet is read as noise.
    """

    def __init__(self, world, layouts, *, growing=None):
        def stored(read):
            return lambda slot: read(slot if slot < self._stored else (slot * 7 + 3) % 64)

        super().__init__([
            ("table_address", "table_data", world.read_pair),
            ("bound_table_address", "bound_table_data", world.read_bound),
        ], [
            ("row_address", "row_data", stored(world.read_node)),
            ("column_address", "column_data", stored(world.read_node)),
            ("lowest_address", "lowest_data", stored(world.read_lowest))])
        self.world = world
        self._writes = _Writes(world.shape, *layouts)
        self._growing = growing
        self._stored = 0 if growing else len(world.nodes)
        # Slots stored one clock ago, and two.
        self._before = [self._stored] * 2

    @property
    def events(self):
        return self._writes.events

    @property
    def bounds(self):
        found = {i: (weight, obs) for i, j, weight, obs in self._writes.stores if j is None}
        return [found[i] for i in sorted(found)]

    @property
    def pairs(self):
        return {(i, j): (weight, obs) for i, j, weight, obs in self._writes.stores
                if j is not None}

    def clock(self, get):
        values = self._serve(get)
        self._writes.collect(get)
        count, self._before = self._before[0], [*self._before[1:], self._stored]
        if self._stored < len(self.world.nodes):
            self._stored += bool(self._growing(self.clocks))
        return {**values, **self._pulse(get), "count": count,
                "complete": int(count == len(self.world.nodes))}


class WalkerBench(_Bench):
    """Runs a Walker once; ``sent`` are the shortcuts. ``patience(clock)`` says when to take one.

    With ``order``, a list of all slots, partners become known in that order, the next one in each
    clock for which ``knowing(clock)``; until then they are read as noise.
    """

    def __init__(self, world, partners, partner_layout, *, patience=lambda clock: True,
                 before=None, order=None, knowing=lambda clock: True):
        def read_partner(slot):
            if not self._known >> slot & 1:
                return (slot * 5 + self.clocks) % (1 << partner_layout.size)
            kind, other = partners[slot]
            return _word(partner_layout, kind=PartnerKind(kind), slot=other)

        super().__init__([
            ("row_address", "row_data", world.read_node),
            ("column_address", "column_data", world.read_node),
            ("hop_address", "hop_data", world.read_hop),
            ("bound_table_address", "bound_table_data", world.read_bound),
            ("edge_address", "edge_data", world.read_edge),
            ("short_address", "short_data", world.read_short),
        ], [("partner_address", "partner_data", read_partner)])
        self.world = world
        self._unknown = list(order or [])[::-1]
        self._known = 0 if order else (1 << len(partners)) - 1
        self._knowing = knowing
        self._patience = patience
        self._before = (2 << world.shape.time_bits) - 1 if before is None else before
        self._ready = 0
        self._offered = None
        self.sent = []

    def clock(self, get):
        values = self._serve(get)
        valid, payload = get("shortcuts__valid"), get("shortcuts__payload")
        if self._offered is not None:
            assert (valid, payload) == (1, self._offered), "an offer was changed or withdrawn"
        self._offered = payload if valid and not self._ready else None
        if valid and self._ready:
            word = _fields(self.world.shape.shortcut, payload)
            self.sent.append(tuple(word[name] for name in (
                "u", "u_layer", "v", "v_layer", "boundary", "weight", "obs")))
        self._ready = int(self._patience(self.clocks))
        if self._unknown and self._knowing(self.clocks):
            self._known |= 1 << self._unknown.pop()
        return {**values, **self._pulse(get), "count": len(self.world.nodes),
                "known": self._known, "limit": self._before, "shortcuts__ready": self._ready}


class ApplierBench(_Bench):
    """Runs an Applier over a list of shortcuts; ``bounds`` and ``pairs`` are changed in place.

    ``keenness(clock)`` says when the next one may be offered. For the first ``hold`` clocks the
    distances belong to somebody else.
    """

    def __init__(self, world, bounds, pairs, shortcuts, reach, layouts, *,
                 keenness=lambda clock: True, hold=0):
        address, pair_layout, bound_layout = layouts

        @functools.cache
        def slots(value):
            word = _fields(address, value)
            return word["i"], word["j"]

        def pair_weight(value):
            return pairs.get(slots(value), (7, 0))[0]  # not written: anything

        def bound_weight(slot):
            return bounds[slot][0] if slot < len(bounds) else 7

        def free(read):
            return lambda value: read(value) if self.clocks >= self._hold else 0

        super().__init__([
            ("list_address", "list_data", world.read_node),
            ("first_address", "first_data", world.read_first),
            ("u_table_address", "u_table_data", world.read_pair),
            ("v_table_address", "v_table_data", world.read_pair),
            ("bound_table_address", "bound_table_data", world.read_bound),
            ("lowest_address", "lowest_data", world.read_lowest),
        ], [
            ("bound_address", "bound_weight", free(bound_weight)),
            ("scan_address", "scan_weight", bound_weight),
            ("pair_address", "pair_weight", free(pair_weight)),
            ("cross_address", "cross_weight", pair_weight)])
        self._hold = hold
        self.world, self.bounds, self.pairs, self.reach = world, bounds, pairs, reach
        self._writes = _Writes(world.shape, pair_layout, bound_layout)
        self._shortcuts = list(shortcuts)
        self._keenness = keenness
        self._offered = False
        self._next = 0
        self._quiet = 0
        self.changed = None

    @property
    def stores(self):
        return self._writes.stores

    @property
    def events(self):
        return self._writes.events

    def clock(self, get):
        values = self._serve(get)
        before = len(self.stores)
        self._writes.collect(get)
        for i, j, weight, obs in self.stores[before:]:
            if j is None:
                self.bounds[i] = (weight, obs)
            else:
                self.pairs[i, j] = (weight, obs)
        if self._offered and get("shortcuts__ready"):
            self._offered, self._next = False, self._next + 1
        if not self._offered and self._next < len(self._shortcuts):
            self._offered = bool(self._keenness(self.clocks))
        finished = self._next == len(self._shortcuts)
        self._quiet = self._quiet + 1 if finished and get("idle") else 0
        assert self._quiet < 2 or len(self.stores) == before, "a store while idle"
        assert self.clocks > self._hold or not self.stores, "a store on hold"
        if finished and self._quiet == 3:
            self.changed = get("changed")
            self.done = True
        payload = 0
        if self._offered:
            payload = _word(self.world.shape.shortcut, **dict(zip(
                ("u", "u_layer", "v", "v_layer", "boundary", "weight", "obs"),
                self._shortcuts[self._next], strict=True)))
        return {**values, "window_layers": self.world.top, "reach": self.reach,
                "clear": int(self.clocks == 1), "hold": int(self.clocks < self._hold),
                "shortcuts__valid": int(self._offered),
                "shortcuts__payload": payload}
