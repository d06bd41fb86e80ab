"""What every benchmark shares: options, the table for people, the JSON for machines."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Row", "arguments", "number", "report"]


@dataclass(kw_only=True)
class Row:
    """One figure.

    ``name`` is ``<benchmark>/<case>/<quantity>``; ``anchor`` is what others reach on the same
    job, ``anchor_source`` where that is known from ("measured in this run", a document, ...);
    ``ratio`` is figure / anchor.
    """

    name: str
    figure: float
    unit: str
    anchor: float | None = None
    anchor_source: str = ""
    ratio: float | None = None

    def __post_init__(self):
        if self.name.count("/") < 2:
            raise ValueError(f"Name must be <benchmark>/<case>/<quantity>, not {self.name!r}")
        if self.ratio is None and self.anchor:
            self.ratio = self.figure / self.anchor


def arguments(description, **extra):
    """Parse the options all benchmarks have; ``extra`` maps a flag to ``add_argument`` words."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true",
                        help="less work: under a minute on two cores where it can be")
    parser.add_argument("--json", metavar="FILE", help="write the figures there (- is standard "
                        "output)")
    parser.add_argument("--seed", type=lambda text: int(text, 0), default=2026,
                        help="seed of all random input (default: 2026)")
    for flag, words in extra.items():
        parser.add_argument(f"--{flag.replace('_', '-')}", **words)
    return parser.parse_args()


def number(value):
    """A figure as people read it; nothing for ``None``."""
    if value is None:
        return ""
    if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.4g}"


def report(rows, options):
    """Print the table (on standard error if the JSON takes standard output); write the JSON."""
    console = Console(stderr=options.json == "-")
    table = Table(box=None, header_style="bold")
    for heading, justify in (("figure", "left"), ("", "right"), ("unit", "left"),
                             ("anchor", "right"), ("ratio", "right"), ("source", "left")):
        table.add_column(heading, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(row.name, number(row.figure), row.unit, number(row.anchor),
                      number(row.ratio), row.anchor_source)
    console.print(table)
    if options.json:
        text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            path = Path(options.json)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
