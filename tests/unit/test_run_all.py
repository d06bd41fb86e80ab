"""The run of all benchmarks: what it lets pass, what it stops at, and the README's table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROW = {"name": "x/case/rate", "figure": 2.5, "unit": "1/s", "anchor": None, "anchor_source": "",
       "ratio": None}


def test_common_form_passes(script):
    assert script("run_all").problems_of("x", [ROW]) == []


@pytest.mark.parametrize("rows, message", [
    ([], "the JSON is not a list with at least one figure"),
    ({}, "the JSON is not a list with at least one figure"),
    ([{"name": "x"}], "a row has not the keys"),
    ([{**ROW, "name": "x/rate"}], "name must be <benchmark>/<case>/<quantity>, not 'x/rate'"),
    ([{**ROW, "name": "y/case/rate"}], "y/case/rate does not begin with x/"),
    ([ROW, ROW], "x/case/rate comes twice"),
    ([{**ROW, "figure": float("nan")}], "figure must be a finite number, not nan"),
    ([{**ROW, "figure": True}], "figure must be a finite number, not True"),
    ([{**ROW, "name": "x/case/hangs", "figure": 1}], "x/case/hangs must be 0, not 1"),
    ([{**ROW, "unit": None}], "unit must be text, not None"),
    ([{**ROW, "ratio": "2"}], "ratio must be a number or null, not '2'"),
    ([{**ROW, "anchor": 1.0}], "an anchor needs its source"),
])
def test_other_forms_are_named(script, rows, message):
    problems = script("run_all").problems_of("x", rows)
    assert len(problems) == 1
    assert message in problems[0]


GOOD = f"""\
import sys
text = {json.dumps([ROW])!r}
open(sys.argv[sys.argv.index("--json") + 1], "w").write(text)
"""


def run_all(tmp_path, sources, *flags):
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "run_all.py"), "--scripts", str(folder), "--output",
         str(tmp_path / "out"), *flags], capture_output=True, text=True, cwd=tmp_path)


def test_page_and_figures_are_written(tmp_path):
    result = run_all(tmp_path, {"x": GOOD}, "--quick", "--check")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "out" / "x.json").read_text()) == [ROW]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "x/case/rate" in page
    assert "2.5" in page
    assert "http" not in page


@pytest.mark.parametrize("source, message", [
    (GOOD + "sys.exit(3)", "x: ended with exit code 3"),
    ("pass", "x: wrote no JSON"),
    (GOOD.replace("text)", "'[')"), "x: the JSON can't be read"),
    (GOOD.replace("x/case/rate", "x/rate"), "x: name must be"),
])
def test_bad_script_fails_the_run_after_the_others(tmp_path, source, message):
    result = run_all(tmp_path, {"x": source, "z": GOOD.replace("x/case", "z/case")})
    assert result.returncode == 1
    assert message in result.stderr
    assert (tmp_path / "out" / "z.json").exists()
    assert "1 of 2 benchmarks have problems: x" in result.stderr


def test_unknown_benchmark_is_refused(tmp_path):
    result = run_all(tmp_path, {"x": GOOD}, "--only", "y")
    assert result.returncode == 2
    assert "there is no benchmark 'y'; there are x" in result.stderr


def test_readme_table_replaces_only_its_part(script):
    readme = script("readme_table")
    row = {**ROW, "name": "tag_decode/columns/tags_per_second", "figure": 12_000_000.0}
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    new = readme.with_table(text, readme.chosen([ROW, row]))
    assert new.startswith("before\n") and new.endswith("\nafter\n")
    assert "12 000 000" in new
    assert "old" not in new
    assert "x/case/rate" not in new
    assert readme.with_table(new, readme.chosen([ROW, row])) == new


def test_readme_table_needs_its_markers(script):
    with pytest.raises(ValueError, match="The text needs the lines"):
        script("readme_table").with_table("nothing", [])
