"""One HTML file that says what was measured: figures, tables, checks, provenance.

Everything is inside the file (inline SVG, one style sheet, no script), so it can be mailed,
archived and opened without a network, in light or dark mode.
"""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from quantacore.host.plot import STYLE

__all__ = ["Check", "Report"]

_PAGE_STYLE = """
:root { color-scheme: light dark; --paper: #f4f6fa; --card: #ffffff; --ink: #1d2433;
  --soft: #657089; --line: #e3e7ef; --good: #13803f; --bad: #c62f2f; --accent: #1f6feb; }
@media (prefers-color-scheme: dark) { :root { --paper: #10141d; --card: #181e2a; --ink: #e8ecf5;
  --soft: #98a3bb; --line: #2b3345; --good: #56d68d; --bad: #ff7b72; --accent: #6cb2ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
header p { color: var(--soft); margin: 4px 0 0; max-width: 75ch; }
h1 { font-size: 26px; letter-spacing: -.01em; margin: 0; }
h2 { font-size: 16px; margin: 0 0 10px; }
section, .verdict { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 18px 20px; margin-top: 18px; }
.verdict { display: flex; gap: 14px; align-items: center; font-size: 17px; font-weight: 600;
  border-left: 6px solid var(--good); }
.verdict.bad { border-left-color: var(--bad); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px;
  margin-top: 18px; }
.fact { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 12px 16px; }
.fact b { display: block; font-size: 20px; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.fact span { color: var(--soft); font-size: 13px; }
.caption { color: var(--soft); font-size: 13.5px; margin: 8px 0 0; }
svg.qc-plot { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
tr:last-child td { border-bottom: 0; }
td.n { text-align: right; white-space: nowrap; } th.n { text-align: right; }
td.code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px;
  overflow-wrap: anywhere; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr));
  gap: 0 18px; }
footer { color: var(--soft); font-size: 13px; margin-top: 22px; }
@media (max-width: 480px) { .columns { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison: what was expected, what was got, whether they agree, and why if not."""

    name: str
    passed: bool
    got: object
    expected: object
    note: str = ""


def _text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, float):
        if abs(value) >= 1e4:
            return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        return f"{value:.4g}"
    return str(value)


@dataclass
class Report:
    """A page under construction; sections appear in the order they are added.

    Parameters
    ----------
    title, summary : str
    """

    title: str
    summary: str = ""
    checks: list = field(default_factory=list)
    _facts: list = field(default_factory=list)
    _sections: list = field(default_factory=list)

    @property
    def passed(self):
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def fact(self, label, value):
        """A number to show large at the top. Returns the report."""
        self._facts.append((label, value))
        return self

    def figure(self, title, *figures, caption=""):
        """One or several :class:`~quantacore.host.plot.Figure` below each other."""
        body = "".join(figure.svg() for figure in figures)
        if caption:
            body += f'<p class="caption">{escape(caption)}</p>'
        self._sections.append(("wide", title, body))
        return self

    def table(self, title, rows, *, headings=None, caption="", code=False, wide=False):
        """Rows of values; numbers are aligned right. ``code`` sets text in fixed width."""
        lines = []
        if headings:
            first = rows[0] if rows else headings
            cells = "".join(f'<th class="{_kind(cell, False)}">{escape(heading)}</th>'
                            for heading, cell in zip(headings, first, strict=True))
            lines.append(f"<tr>{cells}</tr>")
        for row in rows:
            cells = "".join(
                f'<td class="{_kind(cell, code and column > 0)}">{escape(_text(cell))}</td>'
                for column, cell in enumerate(row))
            lines.append(f"<tr>{cells}</tr>")
        body = f'<div class="scroll"><table>{"".join(lines)}</table></div>'
        if caption:
            body += f'<p class="caption">{escape(caption)}</p>'
        self._sections.append(("wide" if wide else "narrow", title, body))
        return self

    def html(self):
        """The page."""
        parts = [f"<header><h1>{escape(self.title)}</h1><p>{escape(self.summary)}</p></header>"]
        if self.checks:
            failed = [check.name for check in self.checks if not check.passed]
            if failed:
                parts.append(f'<div class="verdict bad"><span class="bad">&#10007;</span>'
                             f'Unexplained differences: {escape("; ".join(failed))}</div>')
            else:
                parts.append(f'<div class="verdict"><span class="good">&#10003;</span>All '
                             f"{len(self.checks)} comparisons agree</div>")
        if self._facts:
            facts = "".join(f'<div class="fact"><b>{escape(_text(value))}</b>'
                            f"<span>{escape(label)}</span></div>" for label, value in self._facts)
            parts.append(f'<div class="facts">{facts}</div>')
        if self.checks:
            rows = "".join(
                f'<tr><td class="{"good" if check.passed else "bad"}">'
                f'{"&#10003;" if check.passed else "&#10007;"}</td><td>{escape(check.name)}</td>'
                f'<td class="n">{escape(_text(check.got))}</td>'
                f'<td class="n">{escape(_text(check.expected))}</td>'
                f"<td>{escape(check.note)}</td></tr>" for check in self.checks)
            parts.append(f'<section><h2>Comparisons</h2><div class="scroll"><table><tr><th></th>'
                         f'<th>what</th><th class="n">got</th><th class="n">expected</th><th>note'
                         f"</th></tr>{rows}</table></div></section>")
        narrow = []
        for width, title, body in [*self._sections, ("wide", None, "")]:
            section = f"<section><h2>{escape(title or '')}</h2>{body}</section>"
            if width == "narrow":
                narrow.append(section)
                continue
            if narrow:
                parts.append(f'<div class="columns">{"".join(narrow)}</div>')
                narrow = []
            if title is not None:
                parts.append(section)
        return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
                f'<meta name="viewport" content="width=device-width, initial-scale=1">'
                f"<title>{escape(self.title)}</title><style>{_PAGE_STYLE}{STYLE}</style></head>"
                f'<body><main>{"".join(parts)}<footer>Written by QuantaCore. This page is '
                f"complete in itself.</footer></main></body></html>\n")

    def write(self, path):
        """Write the page and return its path."""
        path = Path(path)
        path.write_text(self.html(), encoding="utf-8")
        return path


def _kind(cell, code):
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return "n"
    return "code" if code else ""
