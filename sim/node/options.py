"""From words and numbers, as an address or a command line has them, to an engine's arguments."""

from fractions import Fraction

import numpy as np

from quantacore.sim.node.sources import as_source, parse_reference

__all__ = ["node_options"]

_CONFIG = {"channels": int, "samples": int, "fine": bool, "clock_hz": Fraction,
           "buffer_depth": int, "row_depth": int}
_ENGINE = {"link": str, "baud": int, "host_baud": Fraction, "seed": int, "drive": str,
           "pulse_samples": int, "start_on": str, "stall": str, "host_bytes": int}
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


def node_options(*, config=None, sources=(), source="", pps=None, ref10m=None, component=None,
                 **options):
    """Keyword arguments for :class:`~quantacore.sim.node.engine.Engine`.

    Parameters
    ----------
    config : NodeConfig or None
        If None, made from ``channels`` (8), ``samples`` (4), ``fine`` (yes), ``clock_hz``
        (125 000 000), ``buffer_depth`` and ``row_depth``, with ``simulated`` set.
    sources : sequence of Source or str
    source : str
        More sources, as text, separated by ``;`` (:data:`quantacore.sim.node.sources.GRAMMAR`).
    pps, ref10m : Source, str or None
        What drives the references, or text for
        :func:`~quantacore.sim.node.sources.parse_reference` (``"on"``: an ideal one).
    component : wiring.Component or None
    options
        ``link``, ``baud``, ``host_baud``, ``seed``, ``drive``, ``pulse_samples``, ``start_on``,
        ``stall``, ``host_bytes``: the engine's, as values or text.

    Raises
    ------
    ValueError
        A value is wrong; the message has the name and what it may be.
    """
    unknown = sorted(options.keys() - _CONFIG.keys() - _ENGINE.keys())
    if unknown:
        known = ", ".join(sorted(["source", "pps", "ref10m", *_CONFIG, *_ENGINE]))
        raise ValueError(f"A virtual node has no option {', '.join(unknown)}; it has {known}")
    values = {name: _convert(name, value, {**_CONFIG, **_ENGINE}[name])
              for name, value in options.items() if value is not None}
    shape = {name: values.pop(name) for name in _CONFIG if name in values}
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
    for k, (name, reference, period_ps) in enumerate((("pps", pps, 10**12),
                                                      ("ref10m", ref10m, 10**5))):
        if isinstance(reference, str):
            reference = parse_reference(reference, period_ps,
                                        np.random.default_rng([seed, 1000 + k]))
        if reference is not None:
            result[name] = reference
    if component is None:
        del result["component"]
    return result
