"""The SVG plots: well formed, to scale, thinned without losing peaks."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from quantacore.host.plot import Figure, ticks


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 10, [0, 2, 4, 6, 8, 10]),
    (-0.25, 0.25, [-0.2, -0.1, 0.0, 0.1, 0.2]),
    (0, 1.2e6, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000, 1_200_000]),
])
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_axis_without_length():
    with pytest.raises(ValueError, match="two finite ends in order, not 1 and 1"):
        ticks(1, 1)


def test_figure_is_xml_with_every_label():
    figure = Figure("g² <τ>", x_label="τ & more", y_label="pairs")
    figure.steps([0, 1, 2], [3, 4], "a").line([0, 2], [1, 1], "b").area([0, 2], [1, 2], "c")
    figure.points([1], [2], "d", error=[0.5]).mark(1, "e").level(2, "f")
    root = ET.fromstring(figure.svg(standalone=True))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"g² <τ>", "τ & more", "pairs", "a", "b", "c", "d", "e", "f"} <= set(texts)


def test_same_figure_has_the_same_text():
    def draw():
        return Figure("x").line([0, 1], [0, 1]).svg()

    assert draw() == draw()


def test_points_are_to_scale():
    svg = Figure(x_range=(0, 100), y_range=(0, 10), width=878, height=178).points([50], [5]).svg()
    assert "M462.0 84.0h0" in svg


def test_thinning_keeps_every_peak():
    y = np.zeros(200_000)
    y[123_457] = 7
    svg = Figure(y_range=(0, 7)).line(np.arange(200_000), y).svg()
    assert len(svg) < 100_000
    path = re.search(r'class="line c1l" d="([^"]*)"', svg).group(1)
    heights = [float(point.split()[1]) for point in path[1:].split("L")]
    assert min(heights) == pytest.approx(34)


def test_empty_and_flat_figures_are_drawn():
    ET.fromstring(Figure().svg())
    ET.fromstring(Figure().line([1], [0]).svg())


@pytest.mark.parametrize(("draw", "message"), [
    (lambda f: f.line([1, 2], [1]), "columns of one length"),
    (lambda f: f.line([1], [np.nan]), "must be finite"),
    (lambda f: f.steps([1, 2], [1, 2]), "one edge more than values, not 2 edges for 2 values"),
])
def test_wrong_data(draw, message):
    with pytest.raises(ValueError, match=message):
        draw(Figure())
