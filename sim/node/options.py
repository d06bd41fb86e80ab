"""From words and numbers, as an address or a command line has them, to an engine's arguments."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from quantacore.sim.node.sources import as_source, parse_reference

__all__ = ["decoder_shape", "node_options"]

_CONFIG = {"channels": int, "samples": int, "fine": bool, "clock_hz": Fraction,
           "buffer_depth": int, "row_depth": int, "sequencer": int, "herald": bool, "switches": int,
           "lanes": int}
_ENGINE = {"link": str, "baud": int, "host_baud": Fraction, "seed": int, "drive": str,
           "pulse_samples": int, "start_on": str, "stall": str, "host_bytes": int,
           "monitor_ticks": int, "train": bool}
_YES = {"1": True, "true": True, "yes": True, "on": True,
        "0": False, "false": False, "no": False, "off": False}


def _convert(name, value, kind):
    if value is None:
        return None
    try:
        if kind is bool:
            return value if isinstance(value, bool) else _YES[str(value).lower()]
        if kind is int:
            return value if isinstance(value, int) else int(str(value), 0)
        return kind(str(value))
    except (KeyError, ValueError, ZeroDivisionError):
        what = {bool: "yes or no", int: "a whole number", Fraction: "a number"}[kind]
        raise ValueError(f"{name} must be {what}, not {value!r}") from None


def _for_distance(distance):
    """Shape of a decoder for a rotated surface code with circuit noise."""
    from quantacore.gateware.layouts.decoder import DecoderShape

    if distance < 3 or distance % 2 == 0 or distance > 21:
        raise ValueError(f"distance must be odd, 3 to 21, not {distance}")
    spaces = (distance**2 - 1) // 2
    # Edges and shortcuts of one round of such a code, counted by the compiler.
    edges, shortcuts = 3 * distance**2 - 4 * distance + 1, 17 * distance**2 - 34 * distance + 15
    # Windows and lists that such codes need at useful noise, as the compiler chooses them.
    time_bits, capacity, event_bits = {3: (3, 16, 8), 5: (4, 32, 9)}.get(distance, (5, 64, 10))
    return DecoderShape(
        space_bits=(spaces - 1).bit_length(), edge_bits=(edges - 1).bit_length(),
        shortcut_bits=(shortcuts - 1).bit_length(), time_bits=time_bits, capacity=capacity,
        event_bits=event_bits)


def decoder_shape(decoder=None, distance=None):
    """The decoder that a node is built with, or None.

    Parameters
    ----------
    decoder : DecoderShape, DecoderImage, path or None
        A path is that of an image, which names the shape it was compiled for.
    distance : int, str or None
        Instead: a rotated surface code of that distance.
    """
    if decoder is not None and distance not in (None, ""):
        raise ValueError("decoder and distance both say which decoder to build: give one")
    if distance not in (None, ""):
        return _for_distance(_convert("distance", distance, int))
    if isinstance(decoder, str | os.PathLike) and str(decoder):
        from quantacore.gateware.layouts.decoder import DecoderImage

        try:
            content = Path(decoder).read_bytes()
        except OSError as error:
            raise ValueError(f"Decoder image {decoder}: {error.strerror}; write one with "
                             f"quantacore decode compile") from None
        return DecoderImage.from_bytes(content).shape
    return getattr(decoder, "shape", decoder) or None


def node_options(*, config=None, sources=(), source="", pps=None, ref10m=None, reference=None,
                 component=None, decoder=None, distance=None, **options):
    """Keyword arguments for :class:`~quantacore.sim.node.engine.Engine`.

    Parameters
    ----------
    config : NodeConfig or None
        If None, made from ``channels`` (8), ``samples`` (4), ``fine`` (yes), ``clock_hz``
        (125 000 000), ``buffer_depth``, ``row_depth``, ``sequencer`` (pulse channels, 1 to 8;
        none by default), ``herald`` (no), ``switches`` (1 to 8; none by default) and ``lanes``
        (1, 4 or 8; no ports to peers by default), with ``simulated`` set.
    sources : sequence of Source or str
    source : str
        More sources, as text, separated by ``;`` (:data:`quantacore.sim.node.sources.GRAMMAR`).
    pps, ref10m : Source, str or None
        What drives the references, or text for
        :func:`~quantacore.sim.node.sources.parse_reference` (``"on"``: an ideal one).
    reference : Source, str or None
        The same for the reference pulses of a herald unit: ``"period=PS"`` and more.
    component : wiring.Component or None
    decoder, distance
        See :func:`decoder_shape`; by default the node has no decoder.
    options
        ``link``, ``baud``, ``host_baud``, ``seed``, ``drive``, ``pulse_samples``, ``start_on``,
        ``stall``, ``host_bytes``, ``monitor_ticks``, ``train``: the engine's, as values or text.

    Raises
    ------
    ValueError
        A value is wrong; the message has the name and what it may be.
    """
    unknown = sorted(options.keys() - _CONFIG.keys() - _ENGINE.keys())
    if unknown:
        known = ", ".join(sorted(["source", "pps", "ref10m", "reference", "decoder", "distance",
                                  *_CONFIG, *_ENGINE]))
        raise ValueError(f"A virtual node has no option {', '.join(unknown)}; it has {known}")
    values = {name: _convert(name, value, {**_CONFIG, **_ENGINE}[name])
              for name, value in options.items() if value is not None}
    shape = {name: values.pop(name) for name in _CONFIG if name in values}
    built = decoder_shape(decoder, distance)
    if built is not None:
        shape["decoder"] = built
    if config is None:
        from quantacore.gateware.node import NodeConfig

        config = NodeConfig(simulated=True, **shape)
    elif shape:
        raise ValueError(f"{', '.join(shape)} can't be given together with a configuration")
    seed = values.get("seed", 0)
    # "+" in an address arrives as a space.
    words = [text.strip().replace(" ", "+") for text in source.split(";") if text.strip()]
    every = [*sources, *words]
    result = {"config": config, **values, "component": component,
              "sources": [as_source(one, np.random.default_rng([seed, k]))
                          for k, one in enumerate(every)]}
    for k, (name, clock, period_ps) in enumerate((
            ("pps", pps, 10**12), ("ref10m", ref10m, 10**5), ("reference", reference, None))):
        if isinstance(clock, str):
            clock = parse_reference(clock, period_ps, np.random.default_rng([seed, 1000 + k]))
        if clock is not None:
            result[name] = clock
    if component is None:
        del result["component"]
    return result
