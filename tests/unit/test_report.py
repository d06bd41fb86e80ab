"""The HTML report: complete in itself, says what was compared."""

from html.parser import HTMLParser

import pytest

from quantacore.host.plot import Figure
from quantacore.host.report import Check, Report

_VOID = {"meta", "path", "rect", "circle", "br"}


class _Balance(HTMLParser):
    """Tags must close in order; collects what could make a request."""

    def __init__(self, text):
        super().__init__()
        self.open, self.requests = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.requests += [value for name, value in attributes if name in ("src", "href")]
        if tag in ("script", "link", "img", "iframe"):
            self.requests.append(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in _VOID:
            assert self.open.pop() == tag


@pytest.fixture
def report():
    report = Report("Title & more", "What it is.")
    report.fact("tags", 12_345).figure("Figure", Figure("f").line([0, 1], [0, 1]), caption="c < d")
    report.table("Numbers", [("a", 1, 2.5), ("b", 3, "text")], headings=("what", "count", "x"))
    report.table("Codes", [("sha", "abc")], code=True, wide=True)
    return report


def test_page_is_balanced_and_asks_for_nothing(report):
    page = _Balance(report.html())
    assert page.open == []
    assert page.requests == []
    assert "url(http" not in report.html() and "@import" not in report.html()


def test_text_is_escaped(report):
    html = report.html()
    assert "Title &amp; more" in html
    assert "c &lt; d" in html


def test_both_modes_are_styled(report):
    assert report.html().count("prefers-color-scheme: dark") == 2  # page and plots


def test_agreement_is_said(report):
    report.checks += [Check(name="n", passed=True, got=1, expected=1)]
    assert report.passed
    assert "All 1 comparisons agree" in report.html()


def test_difference_is_named(report):
    report.checks += [Check(name="same", passed=True, got=1, expected=1),
                      Check(name="counts of pairs", passed=False, got=1, expected=2, note="why")]
    assert not report.passed
    assert "Unexplained differences: counts of pairs" in report.html()
    assert "why" in report.html()


def test_write(report, tmp_path):
    path = report.write(tmp_path / "r.html")
    assert path.read_text(encoding="utf-8") == report.html()
