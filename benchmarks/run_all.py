"""Run every benchmark; keep each one's figures as JSON and all of them on one page.

``--check`` also demands that every script speaks the common form and that no figure which has to
be zero (wrong values, hangs, ...) is anything else. A script that fails fails the whole run,
after the others have had their turn.
"""

import argparse
import html
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

from common import Row, number

HERE = Path(__file__).parent
#: Modules here that are not benchmarks.
HELPERS = {"common", "run_all", "readme_table", "decoder_cases", "decoder_noise", "placed_parts"}
KEYS = [field.name for field in fields(Row)]
#: Quantities that are right only if they are zero.
ZERO = {"wrong_values", "wrong", "hangs", "mismatches", "differences", "unaccounted",
        "unreported", "records_different", "missing", "retries_not_counted",
        "wrong_digits", "tag_differences", "false", "gateware_differences", "phase_error"}


@dataclass
class Run:
    """What became of one script."""

    name: str
    seconds: float
    rows: list
    problems: list


def problems_of(name, rows):
    """What is wrong with a benchmark's JSON, as sentences."""
    if not isinstance(rows, list) or not rows:
        return ["the JSON is not a list with at least one figure"]
    found, seen = [], set()
    for row in rows:
        if not isinstance(row, dict) or list(row) != KEYS:
            found.append(f"a row has not the keys {', '.join(KEYS)}: {row!r}")
            continue
        label = row["name"]
        if not isinstance(label, str) or label.count("/") < 2 or not all(label.split("/")):
            found.append(f"name must be <benchmark>/<case>/<quantity>, not {label!r}")
            continue
        if label.partition("/")[0] != name:
            found.append(f"{label} does not begin with {name}/")
        if label in seen:
            found.append(f"{label} comes twice")
        seen.add(label)
        figure = row["figure"]
        if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(
                figure):
            found.append(f"{label}: figure must be a finite number, not {figure!r}")
        elif label.rpartition("/")[2] in ZERO and figure != 0:
            found.append(f"{label} must be 0, not {figure}")
        for key in ("anchor", "ratio"):
            value = row[key]
            if value is not None and (isinstance(value, bool)
                                      or not isinstance(value, int | float)):
                found.append(f"{label}: {key} must be a number or null, not {value!r}")
        for key in ("unit", "anchor_source"):
            if not isinstance(row[key], str):
                found.append(f"{label}: {key} must be text, not {row[key]!r}")
        if row["anchor"] is not None and not row["anchor_source"]:
            found.append(f"{label}: an anchor needs its source")
    return found


def run(script, folder, flags):
    """Run one script, its output passed through."""
    name = script.stem
    target = folder / f"{name}.json"
    target.unlink(missing_ok=True)
    start = time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    result = subprocess.run([sys.executable, str(script), "--json", str(target), *flags],
                            env=environment)
    seconds = time.monotonic() - start
    rows, problems = [], []
    if result.returncode:
        problems.append(f"ended with exit code {result.returncode}")
    if target.exists():
        try:
            rows = json.loads(target.read_text())
        except json.JSONDecodeError as error:
            problems.append(f"the JSON can't be read: {error}")
        else:
            problems += problems_of(name, rows)
    elif not problems:
        problems.append("wrote no JSON")
    return Run(name, seconds, rows if isinstance(rows, list) else [], problems)


STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em;
       color: #1c2330; background: #fff }
h1, h2 { font-weight: 600 } h2 { margin-top: 1.8em }
table { border-collapse: collapse; width: 100% }
th, td { padding: .3em .7em; text-align: left; border-bottom: 1px solid #d9dee7;
         vertical-align: top }
th { font-weight: 600; color: #55607a } td.n { text-align: right;
     font-variant-numeric: tabular-nums; white-space: nowrap }
td.name { font-family: ui-monospace, monospace; font-size: 13px }
.bad { color: #a3161f } .note { color: #55607a }
@media (prefers-color-scheme: dark) {
  body { color: #dfe5f0; background: #14171d } th, .note { color: #9aa6bd }
  th, td { border-color: #303848 } .bad { color: #ff8a8f } }
"""


def page(runs, flags):
    """One self-contained HTML page."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE,
                            capture_output=True, text=True).stdout.strip() or "no git"
    parts = ["<!doctype html><html lang=en><meta charset=utf-8>",
             "<meta name=viewport content='width=device-width'>",
             f"<title>QuantaCore benchmarks</title><style>{STYLE}</style>",
             "<h1>QuantaCore benchmarks</h1>",
             f"<p class=note>{html.escape(time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()))}, "
             f"commit {html.escape(commit)}, Python {platform.python_version()}, "
             f"{html.escape(platform.machine())}, {os.cpu_count()} cores"
             f"{', quick runs' if '--quick' in flags else ''}. Every figure is printed by a script "
             f"in <code>benchmarks/</code>; ratio is figure / anchor.</p>"]
    for one in runs:
        parts.append(f"<h2>{html.escape(one.name)}</h2><p class=note>{one.seconds:.0f} s</p>")
        parts += [f"<p class=bad>{html.escape(problem)}</p>" for problem in one.problems]
        parts.append("<table><tr><th>figure<th><th>unit<th>anchor<th>ratio<th>source</tr>")
        for row in one.rows:
            if not isinstance(row, dict) or list(row) != KEYS:
                continue
            cells = [f"<td class=name>{html.escape(str(row['name']))}",
                     f"<td class=n>{number(row['figure'])}", f"<td>{html.escape(row['unit'])}",
                     f"<td class=n>{number(row['anchor'])}", f"<td class=n>{number(row['ratio'])}",
                     f"<td>{html.escape(row['anchor_source'])}"]
            parts.append("<tr>" + "".join(cells) + "</tr>")
        parts.append("</table>")
    return "\n".join(parts) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Run every benchmark and write one page.")
    parser.add_argument("--quick", action="store_true", help="less work in each")
    parser.add_argument("--check", action="store_true",
                        help="end with an error if a script fails, breaks the common form, or "
                             "reports a fault")
    parser.add_argument("--only", metavar="NAME", action="append",
                        help="only this benchmark (may be repeated)")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=Path("build/bench"))
    parser.add_argument("--scripts", metavar="FOLDER", type=Path, default=HERE,
                        help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    scripts = [path for path in sorted(options.scripts.glob("*.py"))
               if path.stem not in HELPERS and not path.stem.startswith("_")]
    if options.only:
        names = {path.stem for path in scripts}
        for name in options.only:
            if name not in names:
                parser.error(f"there is no benchmark {name!r}; there are "
                             f"{', '.join(sorted(names))}")
        scripts = [path for path in scripts if path.stem in options.only]
    options.output.mkdir(parents=True, exist_ok=True)
    flags = ["--quick"] if options.quick else []
    runs = []
    for script in scripts:
        print(f"== {script.stem}", flush=True)
        runs.append(run(script, options.output, flags))
        for problem in runs[-1].problems:
            print(f"   {script.stem}: {problem}", file=sys.stderr, flush=True)
    target = options.output / "index.html"
    target.write_text(page(runs, flags), encoding="utf-8")
    print(f"page: {target}")
    failed = [one.name for one in runs if one.problems]
    if failed:
        print(f"{len(failed)} of {len(runs)} benchmarks have problems: {', '.join(failed)}",
              file=sys.stderr)
        return 1
    print(f"{len(runs)} benchmarks, no problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
