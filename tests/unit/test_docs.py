"""Documents: every Python example runs, every link leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")])
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def python_blocks(text):
    """``(line number, source)`` of each Python example."""
    return [(text.count("\n", 0, match.start()) + 1, match[2])
            for match in FENCE.finditer(text) if match[1] == "python"]


def program(path):
    """All examples of a page as one program, each on the line where the page has it."""
    lines = []
    for number, source in python_blocks(path.read_text(encoding="utf-8")):
        lines += [""] * (number - len(lines))
        lines += source.splitlines()
    return "\n".join(lines) + "\n"


def anchor(heading):
    """The name that a heading gets as a target of links."""
    text = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", lambda m: m[1] or "", heading.strip().lower())
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text))


def anchors(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {anchor(match) for match in re.findall(r"^#+ +(.+)$", text, re.MULTILINE)}


def broken_links(path, root=ROOT):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, fragment = target.partition("#")
        goal = (path.parent / name).resolve() if name else path
        if not goal.exists() or not goal.is_relative_to(root):
            found.append(f"{target}: no such file")
        elif fragment and goal.suffix == ".md" and fragment not in anchors(goal):
            found.append(f"{target}: no such heading")
    return found


@pytest.mark.parametrize("path", [p for p in PAGES if python_blocks(p.read_text("utf-8"))],
                         ids=name_of)
def test_examples_run(path, tmp_path):
    script = tmp_path / f"{path.stem}.py"
    script.write_text(program(path), encoding="utf-8")
    result = subprocess.run([sys.executable, "-W", "error", str(script)], cwd=tmp_path, text=True,
                            capture_output=True, timeout=600,
                            env={**os.environ, "PYTHONPATH": ""})
    assert result.returncode == 0, (f"an example of {name_of(path)} fails; lines are the page's\n"
                                    f"{result.stderr[-3000:]}")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_resolve(path):
    assert broken_links(path) == []


def test_broken_links_are_found(tmp_path):
    (tmp_path / "there.md").write_text("# A `title` here\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md) [b](there.md#a-title-here) [c](nowhere.md)\n"
                    "[d](there.md#other) [e](https://example.org) `[f](code)`\n"
                    "```\n[g](block)\n```\n")
    assert broken_links(page, tmp_path) == ["nowhere.md: no such file",
                                           "there.md#other: no such heading"]


def test_examples_keep_their_lines_and_names(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\n```\n\n```sh\nls\n```\n\n```python\nassert x\n```\n")
    assert program(page).splitlines()[3] == "x = 1"
    assert program(page).splitlines()[11] == "assert x"


def test_readme_answers_in_order():
    headings = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert headings == ["What it can and can't do yet", "Quick start", "Map of the folders",
                        "Figures", "Licence"]
