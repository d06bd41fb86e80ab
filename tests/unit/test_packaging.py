"""What is installed is what is there; nothing of one machine is in the repository."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {folder: package for package, folder in
           PROJECT["tool"]["setuptools"]["package-dir"].items()}


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements():
    project = PROJECT["project"]
    listed = [*project["dependencies"],
              *(r for extra in project["optional-dependencies"].values() for r in extra)]
    return [r for r in listed if not r.startswith("quantacore")]


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git work tree: no list of tracked files")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_packages_are_the_folders():
    found = {".".join([package, *path.parent.relative_to(ROOT / folder).parts])
             for folder, package in FOLDERS.items()
             for path in (ROOT / folder).rglob("__init__.py")}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_every_module_is_in_a_package():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"


def test_tests_are_not_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_constraints_pin_every_requirement():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!_-]+)( ; .+)?", line)
            assert match, f"constraints.txt: {line!r} is not an exact version"
            pins[normalised(match[1])] = match[2]
    for requirement in requirements():
        name = normalised(re.match(r"[A-Za-z0-9._-]+", requirement)[0])
        assert name in pins, f"constraints.txt does not pin {name}: run tools/constraints.py"


def test_every_requirement_has_a_reason():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for requirement in requirements():
        at = next(i for i, line in enumerate(lines) if f'"{requirement}"' in line)
        # A comment above it, perhaps with others it shares the reason with, or above the list.
        while at and not lines[at].strip().startswith("#"):
            assert lines[at].strip() and not lines[at].startswith("["), (
                f"{requirement} needs a comment that says why it is there")
            at -= 1


def test_entry_points_name_our_modules():
    project = PROJECT["project"]
    targets = [*project["scripts"].values(),
               *(t for group in project["entry-points"].values() for t in group.values())]
    for target in targets:
        module = target.partition(":")[0].split(".")
        path = ROOT.joinpath(*module[1:])
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), target


#: Written so that this file does not match itself.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.~])/(?:root|home|Users|work)/[\w.-]",
    "a package registry": r"(?:pypi[.]org|pythonhosted[.]org|index[-_]url\s*=|/simple/)",
    "an unfinished thought": r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_has(what):
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in tracked_files():
        if path == Path(__file__) or not path.exists():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
                  for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert not found, f"{what} in\n" + "\n".join(found)


@pytest.mark.parametrize("line", [
    "see " + "/ro" + "ot/x", "open('/ho" + "me/ann/data')", "https://py" + "pi.org/project/x",
])
def test_forbidden_is_recognised(line):
    assert any(re.search(pattern, line) for pattern in FORBIDDEN.values())
