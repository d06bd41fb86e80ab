"""Small SVG plots without a plotting library: lines, steps, points, bands, on linear axes.

A figure is text that any browser shows, follows the reader's light or dark mode, and asks the
network for nothing. Thousands of points are thinned to what a screen can show (the lowest and
the highest value in each column of pixels), so that no peak is lost.
"""

import math
from html import escape
from zlib import crc32

import numpy as np

__all__ = ["Figure", "MatrixFigure", "ticks", "STYLE"]

#: Style sheet of all figures; a page that shows several includes it once.
STYLE = """
.qc-plot { --ink: #1d2433; --soft: #657089; --grid: #e3e7ef; --c0: #8a94a8; --c1: #1f6feb;
  --c2: #d4570a; --c3: #138a4a; --c4: #8f3fd1; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .qc-plot { --ink: #e8ecf5; --soft: #98a3bb; --grid: #2b3345;
  --c0: #7d879d; --c1: #6cb2ff; --c2: #ffa45c; --c3: #56d68d; --c4: #c99bff; } }
.qc-plot text { fill: var(--soft); } .qc-plot .name { fill: var(--ink); }
.qc-plot .grid { stroke: var(--grid); } .qc-plot .axis { stroke: var(--soft); fill: none; }
.qc-plot .line { fill: none; stroke-width: 1.4; stroke-linejoin: round; }
.qc-plot .area { stroke: none; opacity: .35; } .qc-plot .err { stroke-width: 1; opacity: .6; }
.qc-plot .mark { stroke: var(--soft); stroke-dasharray: 4 3; }
""".strip() + "\n" + "\n".join(
    f".qc-plot .c{i}l {{ stroke: var(--c{i}); }} .qc-plot .c{i}f {{ fill: var(--c{i}); }}"
    for i in range(5)) + "\n"

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 44


def ticks(low, high, about=6):
    """Round numbers between ``low`` and ``high``: steps of 1, 2 or 5 times a power of ten.

    Returns
    -------
    list of float
    """
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise ValueError(f"An axis needs two finite ends in order, not {low} and {high}")
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _label(value):
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


class Figure:
    """One plot.

    Parameters
    ----------
    title, x_label, y_label : str
    width, height : int
        In CSS pixels; a page scales the figure to its column.
    x_range, y_range : (float, float), optional
        Ends of the axes; from the data if not given.
    """

    def __init__(self, title="", *, x_label="", y_label="", width=860, height=320, x_range=None,
                 y_range=None):
        self.title, self.x_label, self.y_label = title, x_label, y_label
        self.width, self.height = width, height
        self.x_range, self.y_range = x_range, y_range
        self._layers = []

    def _add(self, kind, x, y, label, colour, extra=None):
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"x and y must be columns of one length, not {x.shape} and {y.shape}")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("x and y must be finite")
        self._layers.append((kind, x, y, label, colour % 5, extra))
        return self

    def line(self, x, y, label="", *, colour=1):
        """Join the points by straight lines. Returns the figure, as all these methods do."""
        return self._add("line", x, y, label, colour)

    def area(self, x, y, label="", *, colour=0):
        """Fill between the points and zero."""
        return self._add("area", x, y, label, colour)

    def steps(self, edges, y, label="", *, colour=1, fill=False):
        """A histogram: ``edges`` has one value more than ``y``."""
        edges, y = np.asarray(edges, dtype=float), np.asarray(y, dtype=float)
        if len(edges) != len(y) + 1:
            raise ValueError(f"Steps need one edge more than values, not {len(edges)} edges for "
                             f"{len(y)} values")
        return self._add("area" if fill else "line", np.repeat(edges, 2)[1:-1], np.repeat(y, 2),
                         label, colour)

    def points(self, x, y, label="", *, error=None, colour=2):
        """Dots, with bars of plus and minus ``error`` if given."""
        error = None if error is None else np.asarray(error, dtype=float)
        return self._add("points", x, y, label, colour, error)

    def mark(self, x, label=""):
        """A dashed vertical line."""
        return self._add("mark", [x], [0], label, 0)

    def level(self, y, label=""):
        """A dashed horizontal line."""
        return self._add("level", [0], [y], label, 0)

    def _ranges(self):
        curves = [layer for layer in self._layers if layer[0] not in ("mark", "level")]
        xs = [x for _, x, *_ in curves if len(x)]
        x_range = self.x_range or (
            (min(x.min() for x in xs), max(x.max() for x in xs)) if xs else (0, 1))
        low, high = 0.0, 0.0
        for kind, x, y, _, _, error in curves:
            inside = (x >= x_range[0]) & (x <= x_range[1])
            if inside.any():
                shown = y[inside]
                bar = error[inside] if kind == "points" and error is not None else 0
                low, high = min(low, (shown - bar).min()), max(high, (shown + bar).max())
        for kind, _, y, *_ in self._layers:
            if kind == "level":
                low, high = min(low, y[0]), max(high, y[0])
        if low == high:
            low, high = (-1.0, 1.0)
        y_range = self.y_range or (low * 1.08, high * 1.08)
        if x_range[0] == x_range[1]:
            x_range = (x_range[0] - 1, x_range[1] + 1)
        return x_range, y_range

    def svg(self, *, standalone=False):
        """The figure as SVG text; ``standalone`` puts the style sheet inside, for a file."""
        (x0, x1), (y0, y1) = self._ranges()
        inner_width = self.width - _LEFT - _RIGHT
        inner_height = self.height - _TOP - _BOTTOM
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT

        def px(x):
            return _LEFT + (np.asarray(x, dtype=float) - x0) / (x1 - x0) * inner_width

        def py(y):
            return bottom - (np.asarray(y, dtype=float) - y0) / (y1 - y0) * inner_height

        # The same figure has the same text in every run.
        clip = f"clip-{crc32(repr((self.title, self.y_label, x0, x1, y0, y1)).encode()):08x}"
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" class="qc-plot" role="img" '
               f'viewBox="0 0 {self.width} {self.height}" aria-label="{escape(self.title)}">']
        if standalone:
            out.append(f"<style>{STYLE}</style>")
        out.append(f'<clipPath id="{clip}"><rect x="{_LEFT}" y="{_TOP}" width="{inner_width}" '
                   f'height="{inner_height}"/></clipPath>')
        for value in ticks(x0, x1, 8):
            at = float(px(value))
            out.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/><text x="{at:.1f}" '
                       f'y="{bottom + 16}" text-anchor="middle">{_label(value)}</text>')
        for value in ticks(y0, y1, max(2, inner_height // 45)):
            at = float(py(value))
            out.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/><text x="{_LEFT - 7}" '
                       f'y="{at + 4:.1f}" text-anchor="end">{_label(value)}</text>')
        out.append(f'<g clip-path="url(#{clip})">')
        for kind, x, y, _, colour, error in self._layers:
            out.append(self._layer(kind, x, y, colour, error, px, py, (x0, x1), (y0, y1)))
        out.append("</g>")
        out.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
        out.append(f'<text x="{(_LEFT + right) / 2}" y="{self.height - 8}" text-anchor="middle">'
                   f"{escape(self.x_label)}</text>")
        middle = (_TOP + bottom) / 2
        out.append(f'<text x="15" y="{middle}" text-anchor="middle" '
                   f'transform="rotate(-90 15 {middle})">{escape(self.y_label)}</text>')
        out.append(self._legend())
        out.append("</svg>")
        return "\n".join(out)

    def _layer(self, kind, x, y, colour, error, px, py, x_range, y_range):
        if kind == "mark":
            return f'<path class="mark" d="M{float(px(x[0])):.1f} {_TOP}V{self.height - _BOTTOM}"/>'
        if kind == "level":
            return f'<path class="mark" d="M{_LEFT} {float(py(y[0])):.1f}H{self.width - _RIGHT}"/>'
        margin = (x_range[1] - x_range[0]) * 0.02
        near = (x >= x_range[0] - margin) & (x <= x_range[1] + margin)
        x, y = x[near], y[near]
        if not len(x):
            return ""
        if kind == "points":
            parts = []
            if error is not None:
                bars = "".join(
                    f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in
                    zip(px(x), py(y - error[near]), py(y + error[near]), strict=True))
                parts.append(f'<path class="err c{colour}l" d="{bars}"/>')
            # A dot is a line of no length with round ends: one path for all of them.
            dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(px(x), py(y), strict=True))
            parts.append(f'<path class="c{colour}l" d="{dots}" stroke-width="3.6" '
                         f'stroke-linecap="round"/>')
            return "".join(parts)
        x, y = _thin(px(x), py(y))
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
        if kind == "area":
            zero = float(py(min(max(0.0, y_range[0]), y_range[1])))
            return (f'<path class="area c{colour}f" d="{path}L{x[-1]:.1f} {zero:.1f}L{x[0]:.1f} '
                    f'{zero:.1f}Z"/>')
        return f'<path class="line c{colour}l" d="{path}"/>'

    def _legend(self):
        out = [f'<text class="name" x="{_LEFT}" y="19" font-weight="600">'
               f"{escape(self.title)}</text>"]
        at = self.width - _RIGHT
        for kind, _, _, label, colour, _ in reversed(self._layers):
            if not label:
                continue
            at -= 7 * len(label) + 26
            swatch = {
                "area": f'<rect class="c{colour}f" opacity=".5" x="{at}" y="10" width="16" '
                        f'height="10"/>',
                "points": f'<circle class="c{colour}f" cx="{at + 8}" cy="15" r="3"/>',
                "mark": f'<path class="mark" d="M{at} 15h16"/>',
                "level": f'<path class="mark" d="M{at} 15h16"/>',
            }.get(kind, f'<path class="c{colour}l" stroke-width="2.5" d="M{at} 15h16"/>')
            out.append(f'{swatch}<text x="{at + 21}" y="19">{escape(label)}</text>')
        return "".join(out)


def _thin(x, y):
    """At most four points in each column of pixels: first, lowest, highest, last."""
    if len(x) < 2000:
        return x, y
    column = np.floor(x).astype(np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    keep = []
    for begin, end in zip(starts, np.append(starts[1:], len(x)), strict=True):
        part = y[begin:end]
        keep += sorted({begin, begin + int(part.argmin()), begin + int(part.argmax()), end - 1})
    return x[keep], y[keep]


class MatrixFigure:
    """A matrix as coloured squares with the numbers in them.

    Parameters
    ----------
    values : 2-D array
        Not negative; the largest gets the fullest colour.
    rows, columns : sequences of str
    title : str
    width : int
    """

    def __init__(self, values, rows, columns, *, title="", width=860):
        self.values = np.asarray(values, dtype=float)
        if self.values.shape != (len(rows), len(columns)):
            raise ValueError(f"The matrix is {self.values.shape}, its labels are for "
                             f"{(len(rows), len(columns))}")
        if not (np.isfinite(self.values).all() and (self.values >= 0).all()):
            raise ValueError("The matrix must be finite and not negative")
        self.rows, self.columns = list(rows), list(columns)
        self.title, self.width = title, width

    def svg(self, *, standalone=False):
        """The figure as SVG text; ``standalone`` brings the style sheet along."""
        left = 20 + 7 * max(map(len, self.rows), default=0)
        names = 20 + 6 * max(map(len, self.columns), default=0)
        step_x = (self.width - left - _RIGHT) / max(len(self.columns), 1)
        step_y = 28
        top = _TOP + names
        height = top + step_y * len(self.rows) + 12
        out = [f'<svg class="qc-plot" xmlns="http://www.w3.org/2000/svg" '
               f'viewBox="0 0 {self.width} {height}" width="{self.width}" height="{height}">']
        if standalone:
            out.append(f"<style>{STYLE}</style>")
        out.append(f'<text class="name" x="{left}" y="19" font-weight="600">'
                   f"{escape(self.title)}</text>")
        for i, name in enumerate(self.columns):
            x = left + (i + 0.5) * step_x
            out.append(f'<text x="{x:.1f}" y="{top - 8}" transform="rotate(-60 {x:.1f} '
                       f'{top - 8})">{escape(name)}</text>')
        most = self.values.max() if self.values.size else 0.0
        for j, name in enumerate(self.rows):
            y = top + j * step_y
            out.append(f'<text x="{left - 8}" y="{y + 18}" text-anchor="end">'
                       f"{escape(name)}</text>")
            for i, value in enumerate(self.values[j]):
                x = left + i * step_x
                part = value / most if most else 0.0
                out.append(f'<rect class="c1f" x="{x:.1f}" y="{y}" width="{step_x - 2:.1f}" '
                           f'height="{step_y - 2}" rx="3" opacity="{0.06 + 0.74 * part:.3f}"/>'
                           f'<text class="name" x="{x + step_x / 2 - 1:.1f}" y="{y + 18}" '
                           f'text-anchor="middle">{value:.3g}</text>')
        out.append("</svg>")
        return "\n".join(out)
