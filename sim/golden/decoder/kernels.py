"""Compiled inner loops of :mod:`~quantacore.sim.golden.decoder.fast`; importing it needs numba.

Arrays and integers only, written from the same document as the plain form and not from it.
Every function works on one engine (one basis of one window) unless it says otherwise.
"""

import numpy as np
from numba import njit

from quantacore.gateware.layouts.decoder import (
    BUCKET_BITS,
    GROWTH_SHIFT,
    MAX_HOPS,
    NEAR_CAPACITY,
    NONE,
    WALK_AHEAD,
)

__all__ = ["COUNTERS", "decode"]

#: Names of the counters, in the order of the array.
COUNTERS = (
    "shots", "windows", "defects", "pairs", "events", "pops", "merges", "clusters",
    "dp_candidates", "hops", "shortcuts", "in_window", "scanned", "survivors", "cross_pairs",
    "improved", "second_passes", "matches", "escapes", "overflows", "events_dropped",
    "walk_errors")
(_SHOTS, _WINDOWS, _DEFECTS, _PAIRS, _EVENTS, _POPS, _MERGES, _CLUSTERS, _DP_CANDIDATES, _HOPS,
 _SHORTCUTS, _IN_WINDOW, _SCANNED, _SURVIVORS, _CROSS_PAIRS, _IMPROVED, _SECOND_PASSES, _MATCHES,
 _ESCAPES, _OVERFLOWS, _EVENTS_DROPPED, _WALK_ERRORS) = range(len(COUNTERS))

_BUCKETS = 1 << BUCKET_BITS
_LAST = _BUCKETS - 1
_ROUND = (1 << GROWTH_SHIFT) - 1
_BOUNDARY = -1
_ESCAPED = -2
_INFINITE = 1 << 30


@njit(cache=True)
def _pair(tables, space_bits, delta_bits, s1, t1, s2, t2):
    if t2 < t1:
        s1, t1, s2, t2 = s2, t2, s1, t1
    if (t2 - t1) >> delta_bits:
        return NONE, 0
    at = (s1 << (space_bits + delta_bits)) | (s2 << delta_bits) | (t2 - t1)
    return tables[0, at], tables[1, at]


@njit(cache=True)
def _push(state, room, i, j, steps, bucket):
    """A permanent event; ``state`` is (events, heads, scalars)."""
    events, heads, scalars = state
    count = scalars[0]
    if count >= room:
        scalars[1] = 1
        return
    bucket = min(bucket, _LAST)
    events[count, 0] = i
    events[count, 1] = j
    events[count, 2] = steps
    events[count, 3] = heads[bucket]
    heads[bucket] = count
    scalars[0] = count + 1


@njit(cache=True)
def _push_pair(state, room, bw, i, j, weight):
    limit = (511 if bw[i] == NONE else bw[i]) + (511 if bw[j] == NONE else bw[j])
    if weight < NONE and weight < limit:
        steps = (weight + _ROUND) >> GROWTH_SHIFT
        _push(state, room, i, j, steps, (steps + 1) >> 1)


@njit(cache=True)
def _push_bound(state, room, i, weight):
    steps = (weight + _ROUND) >> GROWTH_SHIFT
    _push(state, room, i, _BOUNDARY, steps, steps)


@njit(cache=True)
def _fill(n, s, t, tables, space_bits, delta_bits, bw, bo, dw, do, lowest, state, events, room,
          counters):
    for i in range(n):
        bw[i] = tables[2, s[i]]
        bo[i] = tables[3, s[i]]
        if bw[i] < NONE:
            _push_bound(state, events, i, bw[i])
        lowest[i] = i
        for j in range(i - 1, -1, -1):
            if (t[i] - t[j]) >> delta_bits:
                break
            lowest[i] = j
            at = (s[j] << (space_bits + delta_bits)) | (s[i] << delta_bits) | (t[i] - t[j])
            dw[i, j] = tables[0, at]
            do[i, j] = tables[1, at]
            counters[_PAIRS] += 1
            _push_pair(state, room, bw, i, j, dw[i, j])


@njit(cache=True)
def _grow(n, state, events, label, odd, bound, active, value, temporary, counters):
    permanent, heads, scalars = state
    next_permanent = heads.copy()
    next_temporary = np.full(_BUCKETS, -1, np.int64)
    used = 0
    for i in range(n):
        label[i] = i
        odd[i] = 1
        bound[i] = 0
        active[i] = 1
        value[i] = 0
    counters[_EVENTS] += scalars[0]
    waiting = n
    tau = 0
    while waiting > 0:
        while tau < _BUCKETS and next_temporary[tau] < 0 and next_permanent[tau] < 0:
            tau += 1
        if tau == _BUCKETS:
            break
        counters[_POPS] += 1
        if next_temporary[tau] >= 0:
            at = next_temporary[tau]
            i, j, steps = temporary[at, 0], temporary[at, 1], temporary[at, 2]
            next_temporary[tau] = temporary[at, 3]
        else:
            at = next_permanent[tau]
            i, j, steps = permanent[at, 0], permanent[at, 1], permanent[at, 2]
            next_permanent[tau] = permanent[at, 3]
        own = tau - value[i] if active[i] else value[i]
        if j < 0:
            if not active[i]:
                continue
            gap = steps - own
            if gap <= 0 or tau == _LAST:
                waiting -= 1
                for x in range(n):
                    if label[x] == label[i]:
                        bound[x] = 1
                        active[x] = 0
                        value[x] = tau - value[x]
                continue
            wait = gap
        else:
            if label[i] == label[j]:
                continue
            gap = steps - own - (tau - value[j] if active[j] else value[j])
            both = active[i] + active[j]
            if both > 0 and (gap <= 0 or tau == _LAST):
                counters[_MERGES] += 1
                keep, drop = label[i], label[j]
                is_odd = odd[i] ^ odd[j]
                has_bound = bound[i] | bound[j]
                now = is_odd & (1 - has_bound)
                for x in range(n):
                    if label[x] == keep or label[x] == drop:
                        label[x] = keep
                        odd[x] = is_odd
                        bound[x] = has_bound
                        if active[x] != now:
                            active[x] = now
                            value[x] = tau - value[x]
                waiting += now - both
                continue
            if both == 2:
                wait = max((gap + 1) >> 1, 1)
            elif both == 1:
                wait = max(gap, 1)
            else:
                wait = max(gap, 4)
        if tau < _LAST:
            if used == events:
                scalars[1] = 1
                continue
            bucket = min(tau + wait, _LAST)
            temporary[used, 0] = i
            temporary[used, 1] = j
            temporary[used, 2] = steps
            temporary[used, 3] = next_temporary[bucket]
            next_temporary[bucket] = used
            used += 1


@njit(cache=True)
def _best(k, members, bw, dw, lowest, cost, choice, w, partner, counters):
    """Matching of one cluster into ``partner``; False if there is none."""
    if k == 1:
        counters[_DP_CANDIDATES] += 1
        partner[members[0]] = _BOUNDARY
        return bw[members[0]] < NONE
    b = w[k]
    for x in range(k):
        i = members[x]
        b[x] = bw[i] if bw[i] < NONE else _INFINITE
        for y in range(x):
            j = members[y]
            w[x, y] = dw[i, j] if j >= lowest[i] and dw[i, j] < NONE else _INFINITE
    cost[0] = 0
    size = 1 << k
    for h in range(k):
        spare = k - 1 - h
        for rest in range(1 << h):
            # Only what the full set leads to: at most `spare` lower members are gone.
            gone = h
            left = rest
            while left:
                left &= left - 1
                gone -= 1
            if gone > spare:
                continue
            best = min(cost[rest] + b[h], _INFINITE)
            chosen = -1
            left = rest
            for j in range(h):
                if left >> j & 1:
                    counters[_DP_CANDIDATES] += 1
                    c = cost[rest & ~(1 << j)] + w[h, j]
                    if c < best:
                        best = c
                        chosen = j
            counters[_DP_CANDIDATES] += 1
            cost[rest | 1 << h] = best
            choice[rest | 1 << h] = chosen
    if cost[size - 1] >= _INFINITE:
        return False
    subset = size - 1
    h = k - 1
    while subset:
        while not subset >> h & 1:
            h -= 1
        j = choice[subset]
        subset &= ~(1 << h)
        if j < 0:
            partner[members[h]] = _BOUNDARY
        else:
            partner[members[h]] = members[j]
            partner[members[j]] = members[h]
            subset &= ~(1 << j)
    return True


@njit(cache=True)
def _match(n, cluster, label, bw, dw, lowest, cost, choice, w, members, partner, sizes, counters):
    """All clusters; the size of the largest."""
    largest = 0
    for i in range(n):
        partner[i] = n
    for i in range(n):
        if partner[i] != n:
            continue
        k = 0
        for x in range(i, n):
            if label[x] == label[i]:
                members[k] = x
                k += 1
        largest = max(largest, k)
        sizes[k] += 1
        counters[_CLUSTERS] += 1
        if k > cluster or not _best(k, members, bw, dw, lowest, cost, choice, w, partner,
                                    counters):
            for x in range(k):
                partner[members[x]] = _ESCAPED
    return largest


@njit(cache=True)
def _emit(start, count, layer, short, out, used):
    """Append a run of shortcuts with layers of the window; the new number of shortcuts."""
    for p in range(start, start + count):
        for f in range(7):
            out[used, f] = short[p, f]
        out[used, 1] += layer
        out[used, 3] += layer
        used += 1
    return used


@njit(cache=True)
def _walk(n, s, t, partner, tables, space_bits, delta_bits, hops, bound_hops, edges, short, out,
          scalars, counters, limit):
    """Shortcuts of the matches that begin before layer ``limit``, into ``out``; their number.

    Sets scalars[2] on a damaged path.
    """
    used = 0
    for i in range(n):
        j = partner[i]
        if j == _ESCAPED or j > i:
            continue
        if (t[i] if j < 0 else t[j]) >= limit:
            continue
        s1, t1 = s[i], t[i]
        s2, t2 = -1, 0
        if j >= 0:
            s2, t2 = s[j], t[j]
        done = False
        for _ in range(MAX_HOPS):
            swapped = j >= 0 and t2 < t1
            if swapped:
                s1, t1, s2, t2 = s2, t2, s1, t1
            if j < 0:
                e, at_b = bound_hops[s1, 0], bound_hops[s1, 1]
            else:
                if (t2 - t1) >> delta_bits:
                    break
                at = (s1 << (space_bits + delta_bits)) | (s2 << delta_bits) | (t2 - t1)
                e, at_b = hops[at, 0], hops[at, 1]
            counters[_HOPS] += 1
            anchor = t1 - edges[e, 2] if at_b else t1
            used = _emit(edges[e, 4], edges[e, 5], anchor, short, out, used)
            if at_b:
                s1, t1 = edges[e, 0], anchor
            else:
                s1, t1 = edges[e, 1], anchor + edges[e, 2]
            if j < 0 and edges[e, 3] or j >= 0 and s1 == s2 and t1 == t2:
                done = True
                break
            if swapped:
                s1, t1, s2, t2 = s2, t2, s1, t1
        if not done:
            scalars[2] = 1
    return used


@njit(cache=True)
def _apply(n, s, t, first, layers, reach, number, shortcuts, tables, space_bits, delta_bits, bw,
           bo, dw, do, lowest, near, state, room, counters):
    """Apply shortcuts in order; whether anything was improved."""
    changed = False
    counters[_SHORTCUTS] += number
    for m in range(number):
        us, ut, vs, vt = shortcuts[m, 0], shortcuts[m, 1], shortcuts[m, 2], shortcuts[m, 3]
        boundary, w, o = shortcuts[m, 4], shortcuts[m, 5], shortcuts[m, 6]
        if boundary:
            vt = ut
        if ut < 0 or ut >= layers or vt < 0 or vt >= layers:
            continue
        counters[_IN_WINDOW] += 1
        begin = first[max(min(ut, vt) - 1, 0)]
        end = first[min(max(ut, vt) + 2, layers)]
        counters[_SCANNED] += end - begin
        nu = 0
        nv = 0
        for i in range(begin, end):
            a, ao = _pair(tables, space_bits, delta_bits, s[i], t[i], us, ut)
            if a < NONE and a <= reach and nu < NEAR_CAPACITY:
                near[nu, 0] = i
                near[nu, 1] = a
                near[nu, 2] = ao
                nu += 1
            if not boundary:
                a, ao = _pair(tables, space_bits, delta_bits, s[i], t[i], vs, vt)
                if a < NONE and a <= reach and nv < NEAR_CAPACITY:
                    near[nv, 3] = i
                    near[nv, 4] = a
                    near[nv, 5] = ao
                    nv += 1
        if nu == 0 or (not boundary and nv == 0):
            continue
        counters[_SURVIVORS] += 1
        far, far_obs = (0, 0) if boundary else (tables[2, vs], tables[3, vs])
        if far < NONE:
            for x in range(nu):
                i = near[x, 0]
                c = near[x, 1] + w + far
                if c < bw[i]:
                    bw[i] = c
                    bo[i] = near[x, 2] ^ o ^ far_obs
                    _push_bound(state, room, i, c)
                    changed = True
                    counters[_IMPROVED] += 1
        if boundary:
            continue
        far, far_obs = tables[2, us], tables[3, us]
        if far < NONE:
            for x in range(nv):
                i = near[x, 3]
                c = near[x, 4] + w + far
                if c < bw[i]:
                    bw[i] = c
                    bo[i] = near[x, 5] ^ o ^ far_obs
                    _push_bound(state, room, i, c)
                    changed = True
                    counters[_IMPROVED] += 1
        counters[_CROSS_PAIRS] += nu * nv
        for x in range(nu):
            for y in range(nv):
                i = max(near[x, 0], near[y, 3])
                j = min(near[x, 0], near[y, 3])
                c = near[x, 1] + w + near[y, 4]
                if i != j and j >= lowest[i] and c < dw[i, j]:
                    dw[i, j] = c
                    do[i, j] = near[x, 2] ^ o ^ near[y, 5]
                    _push_pair(state, room, bw, i, j, c)
                    changed = True
                    counters[_IMPROVED] += 1
    return changed


@njit(cache=True)
def _grown(array):
    """A copy of twice the length."""
    copy = np.zeros((2 * array.shape[0], array.shape[1]), array.dtype)
    copy[:array.shape[0]] = array
    return copy


@njit(cache=True)
def decode(layers, erasures, tables, hops, bound_hops, edges, short, erase, sizes_of, settings,
           want_records):
    """Decode shots in order.

    Parameters
    ----------
    layers : uint8 array (shots, bases, layers, spaces)
    erasures : uint8 array (shots, layers, sites)
    tables : array (bases, 4, addresses)
        PAIR weight and obs, BOUND weight and obs.
    hops, bound_hops, edges, short, erase : arrays (bases, address, fields)
    sizes_of : tuple
        space_bits, delta_bits, capacity, cluster, event_bits.
    settings : tuple
        commit, buffer, reach, correlation.
    want_records : bool
        Whether to keep matches and windows.

    Returns
    -------
    tuple of arrays
        flips (shots,) masks; escapes, matches, windows (rows); cluster sizes; list lengths;
        counters.
    """
    space_bits, delta_bits, capacity, cluster, event_bits = sizes_of
    commit, buffer, reach, correlation = settings
    shots, bases, length, spaces = layers.shape
    events = 1 << event_bits
    room = events - capacity
    flips = np.zeros(shots, np.int64)
    counters = np.zeros(len(COUNTERS), np.int64)
    sizes = np.zeros(capacity + 1, np.int64)
    lengths = np.zeros(capacity + 2, np.int64)
    escapes = np.zeros((64, 4), np.int32)
    matches = np.zeros((64, 8), np.int32)
    windows = np.zeros((64, 12), np.int32)
    n_escapes = 0
    n_matches = 0
    n_windows = 0

    s = np.zeros((bases, length * spaces + 1), np.int64)
    t = np.zeros((bases, length * spaces + 1), np.int64)
    n = np.zeros(bases, np.int64)
    lost = np.zeros(bases, np.int64)
    first = np.zeros((bases, commit + buffer + 1), np.int64)
    bw = np.zeros((bases, capacity), np.int64)
    bo = np.zeros((bases, capacity), np.int64)
    dw = np.zeros((bases, capacity, capacity), np.int64)
    do = np.zeros((bases, capacity, capacity), np.int64)
    lowest = np.zeros((bases, capacity), np.int64)
    partner = np.zeros((bases, capacity), np.int64)
    label = np.zeros(capacity, np.int64)
    odd = np.zeros(capacity, np.int64)
    bound = np.zeros(capacity, np.int64)
    active = np.zeros(capacity, np.int64)
    value = np.zeros(capacity, np.int64)
    members = np.zeros(capacity, np.int64)
    decided = np.zeros(capacity, np.int64)
    largest = np.zeros(bases, np.int64)
    permanent = np.zeros((bases, events, 4), np.int64)
    heads = np.zeros((bases, _BUCKETS), np.int64)
    # Per basis: permanent events, events_dropped, walk_error.
    scalars = np.zeros((bases, 3), np.int64)
    temporary = np.zeros((events, 4), np.int64)
    cost = np.zeros(1 << cluster, np.int64)
    choice = np.zeros(1 << cluster, np.int64)
    w = np.zeros((cluster + 1, cluster + 1), np.int64)
    near = np.zeros((NEAR_CAPACITY, 6), np.int64)
    most = 1
    for basis in range(bases):
        for e in range(edges.shape[1]):
            most = max(most, edges[basis, e, 5])
        for e in range(erase.shape[1]):
            most = max(most, erase[basis, e, 1])
    crossing = np.zeros((bases, capacity * MAX_HOPS * most, 7), np.int64)
    crossed = np.zeros(bases, np.int64)

    for shot in range(shots):
        counters[_SHOTS] += 1
        base = 0
        loaded = 0
        n[:] = 0
        last = False
        while not last:
            last = length - base <= commit + buffer
            top = length - base if last else commit + buffer
            for q in range(bases):
                for layer in range(loaded, base + top):
                    for x in range(spaces):
                        if layers[shot, q, layer, x]:
                            s[q, n[q]] = x
                            t[q, n[q]] = layer - base
                            n[q] += 1
                counters[_WINDOWS] += 1
                counters[_DEFECTS] += n[q]
                lengths[min(n[q], capacity + 1)] += 1
                lost[q] = 0
                if n[q] > capacity:
                    lost[q] = n[q]
                    counters[_OVERFLOWS] += 1
                    counters[_ESCAPES] += n[q]
                    for i in range(n[q]):
                        if n_escapes == escapes.shape[0]:
                            escapes = _grown(escapes)
                        escapes[n_escapes, 0] = shot
                        escapes[n_escapes, 1] = q
                        escapes[n_escapes, 2] = t[q, i] + base
                        escapes[n_escapes, 3] = s[q, i]
                        n_escapes += 1
                    n[q] = 0
            loaded = base + top

            for q in range(bases):
                k = n[q]
                i = 0
                for layer in range(top + 1):
                    while i < k and t[q, i] < layer:
                        i += 1
                    first[q, layer] = i
                heads[q, :] = -1
                scalars[q, :] = 0
                state = permanent[q], heads[q], scalars[q]
                _fill(k, s[q], t[q], tables[q], space_bits, delta_bits, bw[q], bo[q], dw[q], do[q],
                      lowest[q], state, events, room, counters)
                for layer in range(max(base, 0), base + top):
                    for site in range(erasures.shape[2]):
                        if erasures[shot, layer, site]:
                            used = _emit(erase[q, site, 0], erase[q, site, 1], layer - base,
                                         short[q], crossing[q], 0)
                            _apply(k, s[q], t[q], first[q], top, reach, used, crossing[q],
                                   tables[q], space_bits, delta_bits, bw[q], bo[q], dw[q], do[q],
                                   lowest[q], near, state, room, counters)
                _grow(k, state, events, label, odd, bound, active, value, temporary, counters)
                largest[q] = _match(k, cluster, label, bw[q], dw[q], lowest[q], cost, choice, w,
                                    members, partner[q], sizes, counters)
            if correlation:
                for q in range(bases):
                    crossed[q] = _walk(n[q], s[q], t[q], partner[q], tables[q], space_bits,
                                       delta_bits, hops[q], bound_hops[q], edges[q], short[q],
                                       crossing[q], scalars[q], counters,
                                       top if last else commit + WALK_AHEAD)
                for q in range(bases):
                    state = permanent[q], heads[q], scalars[q]
                    o = 1 - q
                    if _apply(n[q], s[q], t[q], first[q], top, reach, crossed[o], crossing[o],
                              tables[q], space_bits, delta_bits, bw[q], bo[q], dw[q], do[q],
                              lowest[q], near, state, room, counters):
                        counters[_SECOND_PASSES] += 1
                        _grow(n[q], state, events, label, odd, bound, active, value, temporary,
                              counters)
                        largest[q] = _match(n[q], cluster, label, bw[q], dw[q], lowest[q], cost,
                                            choice, w, members, partner[q], sizes, counters)

            for q in range(bases):
                kept = 0
                flip = 0
                weight = 0
                leaving = 0
                for i in range(n[q]):
                    if partner[q, i] == _ESCAPED and (last or t[q, i] < commit):
                        leaving = 1
                for i in range(n[q]):
                    j = partner[q, i]
                    if j == _ESCAPED:
                        decided[i] = leaving
                        if leaving:
                            counters[_ESCAPES] += 1
                            if n_escapes == escapes.shape[0]:
                                escapes = _grown(escapes)
                            escapes[n_escapes, 0] = shot
                            escapes[n_escapes, 1] = q
                            escapes[n_escapes, 2] = t[q, i] + base
                            escapes[n_escapes, 3] = s[q, i]
                            n_escapes += 1
                    else:
                        decided[i] = last or t[q, i] < commit or (j >= 0 and t[q, j] < commit)
                        if decided[i] and (j < 0 or j > i):
                            if j < 0:
                                obs, cost_ = bo[q, i], bw[q, i]
                            else:
                                obs, cost_ = do[q, j, i], dw[q, j, i]
                            flip ^= obs
                            weight += cost_
                            counters[_MATCHES] += 1
                            if want_records:
                                if n_matches == matches.shape[0]:
                                    matches = _grown(matches)
                                matches[n_matches, 0] = shot
                                matches[n_matches, 1] = q
                                matches[n_matches, 2] = t[q, i] + base
                                matches[n_matches, 3] = s[q, i]
                                matches[n_matches, 4] = -1 if j < 0 else t[q, j] + base
                                matches[n_matches, 5] = -1 if j < 0 else s[q, j]
                                matches[n_matches, 6] = obs
                                matches[n_matches, 7] = cost_
                                n_matches += 1
                flips[shot] ^= flip
                counters[_EVENTS_DROPPED] += scalars[q, 1]
                counters[_WALK_ERRORS] += scalars[q, 2]
                if want_records:
                    if n_windows == windows.shape[0]:
                        windows = _grown(windows)
                    row = windows[n_windows]
                    row[0] = shot
                    row[1] = q
                    row[2] = base
                    row[3] = top if last else commit
                    row[4] = last
                    row[5] = flip
                    row[6] = lost[q] > 0
                    row[7] = scalars[q, 1]
                    row[8] = scalars[q, 2]
                    row[9] = largest[q]
                    row[10] = lost[q] if lost[q] > 0 else n[q]
                    row[11] = weight
                    n_windows += 1
                for i in range(n[q]):
                    if not decided[i]:
                        s[q, kept] = s[q, i]
                        t[q, kept] = t[q, i] - commit
                        kept += 1
                n[q] = kept
            base += commit
    return (flips, escapes[:n_escapes], matches[:n_matches], windows[:n_windows], sizes, lengths,
            counters)
