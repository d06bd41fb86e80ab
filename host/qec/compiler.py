"""Compile a Stim circuit or detector error model into what a streaming decoder is loaded with."""

import logging
import os
import zlib

import numpy as np

from quantacore.gateware.layouts.decoder import BASES, DecoderImage, DecoderShape
from quantacore.host.qec.cell import NoPeriod, periodic_cell, whole_cell
from quantacore.host.qec.distances import distances
from quantacore.host.qec.encode import LARGEST, quantise, short_words, shortcut_lists, tables
from quantacore.host.qec.erasure import (
    has_heralds,
    herald_effects,
    heralds,
    site_lists,
    unheralded,
)
from quantacore.host.qec.graph import BOUNDARY, ModelError, as_model, read_model
from quantacore.host.qec.optional import require

__all__ = ["compile_circuit", "compile_dem", "DecoderCapacityError"]

_log = logging.getLogger(__name__)

#: Rounds that a REPEAT block or a generator is given, to see a bulk in it.
LONG = 16
#: Growth events (log2) by slots: enough for every pair that is nearer than the boundary.
_EVENT_BITS = {8: 7, 16: 8, 32: 9, 64: 10}
#: Largest values of the shape's fields.
_MOST_SPACE_BITS, _MOST_EDGE_BITS, _MOST_SHORTCUT_BITS, _MOST_SITES = 8, 13, 14, 256
#: Layers to commit and to look ahead, for up to so many spaces of a layer.
_WINDOWS = ((4, (3, 3)), (12, (5, 5)), (24, (19, 5)), (256, (18, 6)))


class DecoderCapacityError(ModelError):
    """A model needs more than a decoder of the given shape, or of any shape, holds."""


def _circuit(source):
    stim = require("stim")
    if isinstance(source, stim.Circuit):
        return source
    if isinstance(source, stim.DetectorErrorModel):
        raise TypeError("This is a detector error model: give it to compile_dem")
    try:
        return stim.Circuit.from_file(source)
    except (ValueError, IndexError) as error:
        raise ModelError(f"{source} is not a Stim circuit: {error}") from error


def stretched(source, rounds=LONG):
    """A circuit or model with its longest top-level repeat block repeated ``rounds`` times.

    Other blocks are cut down to ``rounds``. One without a block is returned as it is. What
    repeats looks the same however often it does.
    """
    stim = require("stim")
    block = (stim.CircuitRepeatBlock if isinstance(source, stim.Circuit)
             else stim.DemRepeatBlock)
    counts = [(item.repeat_count, number) for number, item in enumerate(source)
              if isinstance(item, block)]
    if not counts:
        return source
    longest = max(counts)[1]
    result = type(source)()
    for number, item in enumerate(source):
        if isinstance(item, block):
            count = rounds if number == longest else min(rounds, item.repeat_count)
            item = block(count, item.body_copy())
        result.append(item)
    return result


def model_of(circuit):
    """The circuit's decomposed detector error model; disjoint errors count as independent.

    Raises
    ------
    ModelError
        Stim can't make a graph-like model of it.
    """
    try:
        return circuit.detector_error_model(decompose_errors=True,
                                            approximate_disjoint_errors=True)
    except ValueError as error:
        raise ModelError(f"The circuit has no graph-like detector error model: {error}") from error


def _check_kind(kind):
    if kind not in ("auto", "periodic", "full"):
        raise ValueError(f'kind must be "auto", "periodic" or "full", not {kind!r}')


def compile_circuit(source, *, kind="auto", erasures=None, **options):
    """Compile a circuit.

    Parameters
    ----------
    source : stim.Circuit, path, or callable
        A callable is given a number of rounds and returns a circuit. A circuit's longest REPEAT
        block is repeated until a period shows.
    kind : str
        ``"periodic"``: one table for every round; ``"full"``: one for every pair of detectors of
        this very circuit; ``"auto"``: periodic where the model repeats, else full.
    erasures : mapping or False, optional
        By default the circuit's own heralds (``HERALDED_ERASE``, ``HERALDED_PAULI_CHANNEL_1``)
        become erasure sites, and their errors are taken out of the model's noise. False: heralds
        are not used, and their errors are noise like any other. A mapping: see
        :func:`compile_dem`.
    **options
        As of :func:`compile_dem`.

    Returns
    -------
    DecoderImage

    Raises
    ------
    ModelError, DecoderCapacityError
        What is wrong, where, and what to do.
    """
    _check_kind(kind)
    generated = callable(source)
    circuit = _circuit(source(LONG) if generated else source)
    if generated and kind == "full":
        raise ValueError("A full table belongs to one number of rounds: give the circuit itself")
    described = {"kind": "circuit", "name": _label(source),
                 "crc32": zlib.crc32(str(circuit).encode())}
    flagged = erasures is None and has_heralds(circuit)
    reason = None
    if kind != "full":
        # A mapping of erasures speaks of the detectors of this very circuit.
        long = circuit if generated or erasures else stretched(circuit)
        graph = read_model(model_of(unheralded(long) if flagged else long))
        try:
            cell = periodic_cell(graph)
        except NoPeriod as error:
            if kind == "periodic":
                raise
            reason = error
        else:
            sites = _circuit_sites(long, graph, cell) if flagged else _sites(erasures, graph, cell)
            return _image(graph, cell, described, sites, **options)
    _check_size(circuit, reason)
    graph = read_model(model_of(unheralded(circuit) if flagged else circuit))
    cell = _whole(graph, reason)
    sites = _circuit_sites(circuit, graph, cell) if flagged else _sites(erasures, graph, cell)
    return _image(graph, cell, described, sites, **options)


def compile_dem(source, *, kind="auto", erasures=None, **options):
    """Compile a detector error model.

    Parameters
    ----------
    source : stim.DetectorErrorModel or path
    kind : str
        As of :func:`compile_circuit`.
    erasures : mapping, optional
        Site number -> (round of the herald, edges that it makes as likely as not). An edge is
        ``(detector, detector)`` or ``(detector, None)`` of this model.
    shape : DecoderShape, optional
        The build to compile for. Without it, the smallest that holds the model.
    delta_bits : int
        The distance table of a periodic model covers ``2**delta_bits`` layers. Default 2:
        matches over four layers or more are rarer than what they would cost in time.
    capacity, cluster, event_bits : int, optional
        Of the shape, where none is given. Defaults: a list that six standard deviations of the
        number of defects in a window fit, 12 (14 for a full table), and 8 to 10 with the
        capacity.
    correlation : bool
        Make the tables of the second pass.
    degenerate : bool
        Weights sum over all paths between two nodes; False: the shortest alone, as a minimum
        weight matching has it. What a pair flips is what its likelier kind of path flips, which
        can differ from the path that is walked. Costs nothing in the decoder;
        ``benchmarks/decoder_approximations.py`` has what it brings.
    commit, buffer, reach : int, optional
        Run-time settings. Defaults: ``commit``/``buffer`` 3/3 for up to 4 spaces (distance 3),
        5/5 up to 12 (distance 5), 19/5 up to 24 (distance 7), else 18/6; 1/0 for a full table,
        which is one window of one layer. ``reach``: one and a half times the median edge's weight,
        60 to 120.

    Returns
    -------
    DecoderImage

    Raises
    ------
    ModelError, DecoderCapacityError
        What is wrong, where, and what to do.
    """
    _check_kind(kind)
    model = as_model(source)
    described = {"kind": "dem", "name": _label(source), "crc32": zlib.crc32(str(model).encode())}
    reason = None
    if kind != "full":
        # A model's own numbers are what a mapping of erasures speaks of.
        graph = read_model(model if erasures else stretched(model))
        try:
            cell = periodic_cell(graph)
        except NoPeriod as error:
            if kind == "periodic":
                raise
            reason = error
        else:
            return _image(graph, cell, described, _sites(erasures, graph, cell), **options)
    _check_size(model, reason)
    graph = read_model(model)
    cell = _whole(graph, reason)
    return _image(graph, cell, described, _sites(erasures, graph, cell), **options)


def _check_size(source, reason):
    """Refuse what can't fit one layer before it is unrolled."""
    if source.num_detectors > BASES << _MOST_SPACE_BITS:
        raise _too_many(f"{source.num_detectors} detectors", BASES << _MOST_SPACE_BITS,
                        reason) from reason


def _too_many(what, most, reason):
    because = f" It is not periodic: {reason}" if reason else ""
    return DecoderCapacityError(f"The model has {what}; a full table holds {most}. Use fewer "
                                f"rounds, or a model that repeats every round.{because}")


def _label(source):
    return os.path.basename(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else ""


def _whole(graph, reason):
    """A cell of the whole model, or why there is none."""
    cell = whole_cell(graph)
    most = max(len(spaces) for spaces in cell.spaces)
    if most > 1 << _MOST_SPACE_BITS:
        raise _too_many(f"{most} detectors in one basis", 1 << _MOST_SPACE_BITS,
                        reason) from reason
    return cell


def _effects(found, graph, cell, layer):
    """Herald effects in nodes: (basis, u, du, v, dv, probability, observables) per site."""
    result = []
    for likely in found:
        result.append([])
        for (one, other), (probability, observables) in sorted(likely.items()):
            ends = [cell.nodes[one]] + ([] if other == BOUNDARY else [cell.nodes[other]])
            ends.sort(key=lambda node: (node[2], node[1]))
            u, v = ends[0], ends[-1]
            far = other == BOUNDARY
            result[-1].append((int(graph.basis[one]), u[1], u[2] - layer,
                               BOUNDARY if far else v[1], 0 if far else v[2] - layer,
                               probability, observables))
    return result


def _circuit_sites(circuit, graph, cell):
    """Erasure sites of one layer of a circuit: (descriptions, effects)."""
    flat = circuit.flattened()
    every = heralds(flat)
    layers = {}
    for herald in every:
        layer, phase = (divmod(herald.round - cell.origin, cell.period) if cell.periodic
                        else (0, 0))
        known = layers.setdefault(layer, [])
        occurrence = sum(1 for other, _ in known
                         if (other["qubit"], other["phase"]) == (herald.qubit, phase))
        known.append(({"phase": phase, "qubit": herald.qubit, "occurrence": occurrence,
                       "record": herald.record if cell.periodic else herald.measurement,
                       "odds": [float(value) for value in herald.odds]}, herald))
    middle = sum(cell.bulk) // 2
    described = [site for site, _ in layers.get(middle, [])]
    for layer in range(cell.bulk[0], cell.bulk[1] + 1):
        if [site for site, _ in layers.get(layer, [])] != described:
            raise ModelError(f"The heralds of layer {layer} differ from those of layer {middle}: "
                             f"sites must be the same every round. Compile with "
                             f"erasures=False to treat them as noise")
    found = herald_effects(flat, [herald for _, herald in layers.get(middle, [])], graph)
    return described, _effects(found, graph, cell, middle)


def _sites(erasures, graph, cell):
    """Erasure sites of a mapping: (descriptions, effects)."""
    if not erasures:
        return [], []
    if sorted(erasures) != list(range(len(erasures))):
        raise ValueError(f"erasures must number its sites 0 to {len(erasures) - 1}, not "
                         f"{sorted(erasures)}")
    effects = []
    for site in range(len(erasures)):
        when, edges = erasures[site]
        likely = {}
        for one, other in edges:
            key = (one, BOUNDARY) if other is None else (min(one, other), max(one, other))
            if key not in graph.edges:
                raise ModelError(f"Erasure site {site} names the edge D{one} "
                                 f"{'boundary' if other is None else f'D{other}'}, which the model "
                                 f"does not have")
            likely[key] = (0.5, graph.edges[key].observables)
        layer = (int(when) - cell.origin) // cell.period if cell.periodic else 0
        effects.extend(_effects([likely], graph, cell, layer))
    return [{"phase": 0, "qubit": None, "occurrence": site, "record": None, "odds": None}
            for site in range(len(erasures))], effects


def _bits(count):
    return max(1, (count - 1).bit_length())


def _scale(found):
    """Integer weight per unit: twice the largest boundary distance is 254."""
    bounds = np.concatenate([d.bound for d in found])
    bounds = bounds[np.isfinite(bounds)]
    if bounds.size:
        return LARGEST / (2 * float(bounds.max()))
    pairs = np.concatenate([d.pair.ravel() for d in found])
    pairs = pairs[np.isfinite(pairs)]
    return LARGEST / max(float(pairs.max()), 1e-9)


def _reach_setting(cell, scale):
    """How near a defect must be to a shortcut's end: one to two edges.

    Farther ones gain nothing that can be measured, cost clocks, and on a dense list push nearer
    ones out of the eight that are considered.
    """
    weights = [np.log((1 - edge.probability) / edge.probability)
               for edges in cell.edges for edge in edges]
    return int(np.clip(np.rint(1.5 * scale * np.median(weights)), 60, 120))


def _quantisation(found, scale):
    """How far the integer weights are from the real ones."""
    weights = np.concatenate([np.concatenate([d.pair.ravel(), d.bound]) for d in found])
    weights = weights[np.isfinite(weights) & (weights > 0)]
    integers = quantise(weights, scale)
    kept = integers <= LARGEST
    error = integers[kept] / scale / weights[kept] - 1
    return {"scale": scale, "entries": int(kept.sum()), "saturated": int((~kept).sum()),
            "rms_relative_error": float(np.sqrt(np.mean(error ** 2))) if kept.any() else 0.0,
            "max_relative_error": float(np.abs(error).max()) if kept.any() else 0.0,
            "two_defect_failures": _failures(found, scale)}


def _failures(found, scale):
    """Logical failures of all two-defect syndromes: with integer weights, relative to real ones.

    Two defects are matched with each other or each with the boundary. Where those flip different
    observables, the one not chosen is the failure. A pair that integers decide the other way
    makes the unlikelier one the choice.
    """
    exact = integers = 0.0
    for d in found:
        pair, around = d.pair, d.bound[:, None, None] + d.bound[None, :, None]
        flips = d.bound_observables[:, None, None] ^ d.bound_observables[None, :, None]
        matter = (flips != d.pair_observables) & np.isfinite(pair) & np.isfinite(around)
        whole, bound = quantise(pair, scale), quantise(d.bound, scale)
        chosen = (whole <= LARGEST) & (whole < bound[:, None, None] + bound[None, :, None])
        likely, unlikely = np.exp(-np.minimum(pair, around)), np.exp(-np.maximum(pair, around))
        wrong = np.where(chosen == (pair < around), unlikely, likely)
        exact += float(unlikely[matter].sum())
        integers += float(wrong[matter].sum())
    return integers / exact if exact else 1.0


def _defects(cell, basis):
    """Defects of one basis that a layer has on average."""
    # The product of (1 - 2p) over a node's edges is 1 - 2 x the chance that it is lit.
    keep = np.ones(max(1, len(cell.spaces[basis])))
    for edge in cell.edges[basis]:
        keep[edge.a] *= 1 - 2 * edge.probability
        if edge.b != BOUNDARY:
            keep[edge.b] *= 1 - 2 * edge.probability
    return float(((1 - keep) / 2).sum())


def _capacity(expected, most):
    """Slots of a list that overflows less than once in some millions of windows."""
    # Defects come in pairs, so their number varies with twice the mean.
    wanted = min(most, expected + 6 * (2 * expected) ** 0.5 + 4)
    return next((slots for slots in (16, 32) if slots >= wanted), 64)


def _fit_shape(shape, need):
    """Check that a build holds a model; ``need`` has the smallest value of each field."""
    short = [f"{name} {getattr(shape, name)} (needs {least})"
             for name, least in need.items() if getattr(shape, name) < least]
    if short:
        would = ", ".join(f"{name}={max(least, getattr(shape, name))}"
                          for name, least in need.items())
        raise DecoderCapacityError(f"The model does not fit this build: {'; '.join(short)}. "
                                   f"A build with {would} would hold it")


def _image(graph, cell, described, sites, *, shape=None, delta_bits=None, capacity=None,
           cluster=None, event_bits=None, correlation=True, degenerate=True, commit=None,
           buffer=None, reach=None):
    if shape is not None:
        correlation = shape.correlation
        if cell.periodic:
            delta_bits = shape.delta_bits
        elif shape.delta_bits:
            raise DecoderCapacityError(
                f"The model has no period and needs a build with delta_bits=0 (one layer that "
                f"holds {max(map(len, cell.spaces))} detectors per basis); this one has "
                f"delta_bits={shape.delta_bits}")
    if delta_bits is None:
        delta_bits = 2
    if not cell.periodic:
        delta_bits = 0
    spaces = max(len(known) for known in cell.spaces)
    if spaces > 1 << _MOST_SPACE_BITS:
        raise DecoderCapacityError(f"A layer has {spaces} detectors of one basis; a decoder holds "
                                   f"{1 << _MOST_SPACE_BITS}: distance 22 of a rotated code")
    found = [distances(cell.edges[basis], len(cell.spaces[basis]), 1 << delta_bits,
                       degenerate)
             for basis in range(BASES)]
    scale = _scale(found)
    lists, cut = shortcut_lists(cell, scale) if correlation else ([[], []], 0)

    described_sites, effects = sites
    if len(effects) > _MOST_SITES:
        raise DecoderCapacityError(f"A layer has {len(effects)} erasure sites; a decoder takes "
                                   f"{_MOST_SITES}. Compile with erasures=False")
    erased = site_lists(effects, scale)

    if cluster is None:
        cluster = 12 if cell.periodic else 14
    default_commit, default_buffer = next(
        layers for most, layers in _WINDOWS if spaces <= most) if cell.periodic else (1, 0)
    settings = {
        "commit": default_commit, "buffer": default_buffer,
        "reach": _reach_setting(cell, scale)}
    for name, value in (("commit", commit), ("buffer", buffer), ("reach", reach)):
        if value is not None:
            settings[name] = int(value)
    window = settings["commit"] + settings["buffer"]
    if settings["commit"] < 1 or settings["buffer"] < 0 or window > 32:
        raise ValueError(f"commit must be 1 or more, buffer 0 or more, and both together at most "
                         f"32 layers, not {settings['commit']} and {settings['buffer']}")
    if not 0 <= settings["reach"] <= LARGEST:
        raise ValueError(f"reach must be 0 to {LARGEST}, not {settings['reach']}")

    probe = DecoderShape(space_bits=8, shortcut_bits=14, observables=8)
    shorts = max(len(short_words(probe, [*lists[basis], *erased[basis]])[0])
                 for basis in range(BASES))
    need = {"space_bits": _bits(spaces), "delta_bits": delta_bits,
            "observables": max(1, graph.observables),
            "edge_bits": _bits(max(map(len, cell.edges))) if correlation else 1,
            "shortcut_bits": _bits(shorts),
            "time_bits": max(_bits(window), delta_bits), "sites": len(effects)}
    expected = max(_defects(cell, basis) for basis in range(BASES)) * (
        window if cell.periodic else 1)
    if shape is None:
        for name, most in (("edge_bits", _MOST_EDGE_BITS), ("shortcut_bits", _MOST_SHORTCUT_BITS)):
            if need[name] > most:
                raise DecoderCapacityError(f"The model needs {name}={need[name]}; the most is "
                                           f"{most}. Compile with correlation=False")
        if capacity is None:
            capacity = _capacity(expected, spaces * (window if cell.periodic else 1))
        shape = DecoderShape(
            **need, capacity=capacity, cluster=cluster, correlation=correlation,
            event_bits=_EVENT_BITS.get(capacity, 10) if event_bits is None else event_bits)
    else:
        _fit_shape(shape, need)

    warnings = []
    if graph.report["conflicting"]:
        warnings.append(f"{graph.report['conflicting']} parallel edges with other observables than "
                        f"a likelier one were left out")
    if cut:
        warnings.append(f"{cut} weak shortcuts were left out: an edge may cause 63")
    for warning in warnings:
        _log.warning("%s", warning)
    about = {
        "kind": "periodic" if cell.periodic else "full",
        "distance": _distance(cell) if cell.periodic else None,
        "source": {**described, "observables": graph.observables},
        "spaces": [[list(where) if cell.periodic else where for where in known]
                   for known in cell.spaces],
        "period": cell.period, "origin": cell.origin, "bulk": list(cell.bulk),
        "observables": [sorted({bit for edge in edges for bit in range(8)
                                if edge.observables >> bit & 1}) for edges in cell.edges],
        "edge_observables": [[edge.observables for edge in edges] for edges in cell.edges],
        "edge_probabilities": [[edge.probability for edge in edges] for edges in cell.edges],
        "shortcuts": [len(short_words(probe, kept)[0]) for kept in lists],
        "degenerate": bool(degenerate), "longest_path": max(d.longest_path for d in found),
        "quantisation": _quantisation(found, scale),
        "erasure": {"sites": described_sites} if effects else None,
        "report": graph.report, "warnings": warnings}
    if cell.periodic:
        about["numbering"] = (
            "A detector's place is its coordinates but the last (and, with a period above 1, the "
            "phase (round - origin) % period); the basis and the space are where the place is in "
            "`spaces`. Its layer is (round - first round) // period, its round the last "
            "coordinate; the first round is that of the shot's first detector, less the phase.")
    else:
        places = [None] * graph.detectors
        for basis, known in enumerate(cell.spaces):
            for space, detector in enumerate(known):
                places[detector] = [basis, space, 0]
        about["detectors"] = places
        about["coordinates"] = [list(where) for where in graph.coordinates]
        about["numbering"] = "`detectors` lists basis, space and layer of each detector of a shot."
    image = DecoderImage(shape, tables(shape, found, cell, lists, scale, erased), settings, about)
    image.check()
    return image


def _distance(cell):
    """Distance of a rotated surface code with as many spaces, else None."""
    sizes = sorted({len(known) for known in cell.spaces if known})
    if len(sizes) == 1:
        distance = round((2 * sizes[0] + 1) ** 0.5)
        if distance * distance == 2 * sizes[0] + 1:
            return distance
    return None
