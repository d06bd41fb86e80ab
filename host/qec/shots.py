"""Between shots of a model and nodes of an image."""

from typing import NamedTuple

import numpy as np

from quantacore.gateware.layouts.decoder import BASES, MAX_HOPS, NONE, ImageError, Table
from quantacore.host.qec.encode import unpack
from quantacore.host.qec.graph import ModelError

__all__ = ["detector_nodes", "shot_layers", "CorrectionEdge", "expand_match"]


def detector_nodes(image, model):
    """Node of each detector of ``model``: int64 array (detectors, 3) of basis, space, layer.

    Parameters
    ----------
    image : DecoderImage
    model : stim.Circuit or stim.DetectorErrorModel
        Of a periodic image: any number of rounds of what was compiled.

    Raises
    ------
    ModelError
        The model is not one of this image's.
    """
    count, about = model.num_detectors, image.about
    if about["kind"] == "full":
        known = about["detectors"]
        if len(known) != count:
            raise ModelError(f"The model has {count} detectors; the image was compiled for one "
                             f"with {len(known)}: compile it for this model")
        return np.array(known, np.int64).reshape(-1, 3)
    place = {tuple(where): (basis, space) for basis, known in enumerate(about["spaces"])
             for space, where in enumerate(known)}
    coordinates = model.get_detector_coordinates()
    period = about["period"]
    rounds = [coordinates[index][-1] if coordinates[index] else None for index in range(count)]
    if None in rounds:
        raise ModelError(f"Detector D{rounds.index(None)} has no coordinates; a periodic image "
                         f"finds detectors by them")
    origin = int(min(rounds, default=0))
    # Whole periods from the image's own origin, so that phases agree.
    origin -= (origin - about["origin"]) % period
    nodes = np.zeros((count, 3), np.int64)
    for index in range(count):
        where, when = tuple(coordinates[index][:-1]), int(rounds[index]) - origin
        if period > 1:
            where = (*where, when % period)
        if where not in place:
            raise ModelError(f"Detector D{index} is at {where}, where the image (distance "
                             f"{about['distance']}, {[len(s) for s in about['spaces']]} places) "
                             f"has none: it is for another distance or code")
        nodes[index] = (*place[where], when // period)
    return nodes


def shot_layers(image, model, detections):
    """Detection events in the decoder's order.

    Parameters
    ----------
    image : DecoderImage
    model : stim.Circuit or stim.DetectorErrorModel
        What the shots were taken with.
    detections : array of bool, (shots, detectors)

    Returns
    -------
    numpy.ndarray of uint8, (shots, 2 bases, layers, spaces)
        ``spaces`` is the larger number of both bases; a layer is what goes in per round.

    Raises
    ------
    ModelError
        The model is not one of this image's, or the array has another number of detectors.
    """
    detections = np.atleast_2d(np.asarray(detections))
    if detections.shape[1] != model.num_detectors:
        raise ModelError(f"A shot has {detections.shape[1]} detectors, the model "
                         f"{model.num_detectors}")
    nodes = detector_nodes(image, model)
    spaces = max(len(known) for known in image.about["spaces"])
    layers = int(nodes[:, 2].max(initial=0)) + 1
    result = np.zeros((len(detections), BASES, layers, spaces), np.uint8)
    result[:, nodes[:, 0], nodes[:, 2], nodes[:, 1]] = detections
    return result


class CorrectionEdge(NamedTuple):
    """An edge of a correction: its number, its ends (space, layer), b None on the boundary."""

    edge: int
    a: tuple
    b: tuple | None
    observables: int


def expand_match(image, basis, node_i, node_j=None):
    """Edges of the path that a match stands for.

    Parameters
    ----------
    image : DecoderImage
        With correlation tables.
    basis : int
    node_i, node_j : tuple of int
        (space, layer). Without ``node_j``: the path to the boundary.

    Returns
    -------
    list of CorrectionEdge

    Raises
    ------
    ImageError
        The image has no path tables, no such path, or one that does not end.
    """
    shape = image.shape
    if not shape.correlation:
        raise ImageError("The image was compiled without correlation and has no paths")
    edges = _columns(image, basis, Table.EDGE)
    masks = image.about["edge_observables"][basis]
    path = []

    def step(node, number, at_b):
        if not 0 <= number < len(masks):
            raise ImageError(f"The path at {node} of basis {basis} leads over edge {number}; there "
                             f"are {len(masks)}")
        a, b = int(edges["a"][number]), int(edges["b"][number])
        delta = int(edges["delta"][number])
        if edges["boundary"][number]:
            path.append(CorrectionEdge(number, node, None, masks[number]))
            return None
        one = (a, node[1] - delta) if at_b else node
        other = node if at_b else (b, node[1] + delta)
        path.append(CorrectionEdge(number, one, other, masks[number]))
        return one if at_b else other

    node = tuple(node_i)
    if node_j is None:
        bounds = _columns(image, basis, Table.BOUND)
        while node is not None:
            if bounds["weight"][node[0]] == NONE:
                raise ImageError(f"Space {node[0]} of basis {basis} has no path to the boundary")
            if len(path) == MAX_HOPS:
                raise ImageError(f"The path from {node_i} to the boundary does not end")
            node = step(node, int(bounds["edge"][node[0]]), bool(bounds["at_b"][node[0]]))
        return path
    other = tuple(node_j)
    pairs, hops = _columns(image, basis, Table.PAIR), _columns(image, basis, Table.HOP)
    while node != other:
        early, late = (node, other) if node[1] <= other[1] else (other, node)
        difference = late[1] - early[1]
        address = (early[0] << shape.space_bits + shape.delta_bits
                   | late[0] << shape.delta_bits | difference)
        if difference >= 1 << shape.delta_bits or pairs["weight"][address] == NONE:
            raise ImageError(f"{early} and {late} of basis {basis} have no path in the table")
        if len(path) == MAX_HOPS:
            raise ImageError(f"The path from {node_i} to {node_j} does not end")
        moved = step(early, int(hops["edge"][address]), bool(hops["at_b"][address]))
        if moved is None:
            raise ImageError(f"The path from {early} to {late} leads to the boundary")
        node, other = moved, late
    return path


def _columns(image, basis, table):
    """A table's columns, unpacked once per image."""
    cache = image.__dict__.setdefault("_columns", {})
    if (basis, table) not in cache:
        cache[basis, table] = unpack(image.shape.table_word(table), image.words(basis, table))
    return cache[basis, table]
