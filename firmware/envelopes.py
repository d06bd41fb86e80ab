"""Shapes of envelopes, and their points in a channel's memory."""

import math

from quantacore.gateware.layouts.sequencer import ENVELOPE_POINTS, SAMPLE_BITS

__all__ = ["SHAPES", "FULL_SCALE", "shape_points", "quantise"]

#: The largest point.
FULL_SCALE = (1 << (SAMPLE_BITS - 1)) - 1


def quantise(values):
    """Fractions of full scale as envelope points.

    Raises
    ------
    ValueError
        A value is not between -1 and 1.
    """
    points = []
    for number, value in enumerate(values):
        if not -1 <= value <= 1:
            raise ValueError(f"point {number} is {float(value):g}; points are fractions of full "
                             f"scale, -1 to 1")
        points.append(math.floor(value * FULL_SCALE + 0.5))
    return points


def _flat():
    return [1.0]


def _gaussian(points=64, sigma=6):
    """``exp(-x**2 / 2)`` over ``sigma`` standard deviations, lifted to begin and end at 0."""
    edge = math.exp(-(sigma / 2)**2 / 2)
    return [(math.exp(-((2 * i / (points - 1) - 1) * sigma / 2)**2 / 2) - edge) / (1 - edge)
            for i in range(points)]


def _sin2(points=64):
    return [math.sin(math.pi * i / (points - 1))**2 for i in range(points)]


def _triangle(points=65):
    return [1 - abs(2 * i / (points - 1) - 1) for i in range(points)]


def _rise(points=64):
    """From 0 to 1 as the first half of sin2."""
    return [math.sin(math.pi / 2 * i / (points - 1))**2 for i in range(points)]


def _fall(points=64):
    return _rise(points)[::-1]


def _sech(points=64, width=10):
    """``1 / cosh(x)`` over ``width`` units of x, lifted to begin and end at 0."""
    edge = 1 / math.cosh(width / 2)
    return [(1 / math.cosh((i / (points - 1) - 0.5) * width) - edge) / (1 - edge)
            for i in range(points)]


def _tukey(points=64, taper=0.5):
    """Flat, with sin2 flanks that take the part ``taper`` of it together."""
    out = []
    for i in range(points):
        x = min(i, points - 1 - i) / (points - 1)
        flank = taper / 2
        out.append(1.0 if x >= flank else math.sin(math.pi / 2 * x / flank)**2)
    return out


#: Shapes by name: what makes them, and the names of the arguments.
SHAPES = {
    "flat": (_flat, ()),
    "gaussian": (_gaussian, ("points", "sigma")),
    "sin2": (_sin2, ("points",)),
    "triangle": (_triangle, ("points",)),
    "rise": (_rise, ("points",)),
    "fall": (_fall, ("points",)),
    "sech": (_sech, ("points", "width")),
    "tukey": (_tukey, ("points", "taper")),
}


def shape_points(name, arguments):
    """Points of a shape.

    Parameters
    ----------
    name : str
        One of :data:`SHAPES`.
    arguments : dict
        ``points`` (2 to :data:`ENVELOPE_POINTS`) and what else the shape takes.

    Raises
    ------
    ValueError
        An unknown shape or argument, or a value outside its range.
    """
    if name not in SHAPES:
        raise ValueError(f"there is no shape {name!r}; shapes are {', '.join(SHAPES)}")
    make, names = SHAPES[name]
    for key in arguments:
        if key not in names:
            raise ValueError(f"{name} has no argument {key!r}; it takes "
                             f"{', '.join(names) or 'none'}")
    points = arguments.get("points")
    if points is not None and not (points == int(points) and 2 <= points <= ENVELOPE_POINTS):
        raise ValueError(f"points must be a whole number, 2 to {ENVELOPE_POINTS}, not "
                         f"{float(points):g}")
    for key, value in arguments.items():
        if key != "points" and not 0 < value <= (1 if key == "taper" else 100):
            raise ValueError(f"{key} of {name} must be above 0 and at most "
                             f"{1 if key == 'taper' else 100}, not {float(value):g}")
    plain = {key: int(value) if key == "points" else float(value)
             for key, value in arguments.items()}
    return quantise(make(**plain))
