"""make, and what it says when something is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(command, **environment):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, **environment})


def tool(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("command", [["make"], ["make", "help"]])
def test_help_lists_the_targets(command):
    result = run(command, MAKEFLAGS="")
    assert result.returncode == 0
    for target in ("demo", "test", "bench", "soak", "lint", "docs", "clean"):
        assert f"\n  {target} " in result.stdout


def test_named_python_is_used():
    result = run(["sh", "tools/find_python.sh"], PYTHON=sys.executable)
    assert result.stdout.strip() == sys.executable


def test_older_python_is_named(tmp_path):
    # An interpreter that says it is 3.9, and fails the comparison.
    tool(tmp_path, "python3", 'case "$2" in *exit*) exit 1;; *) echo 3.9;; esac')
    result = run(["/bin/sh", "tools/find_python.sh"], PATH=str(tmp_path), PYTHON="")
    assert result.returncode == 1
    assert "needs Python 3.11 or newer, and here python3 is 3.9;" in result.stderr
    assert "make PYTHON=" in result.stderr


def test_no_python_at_all(tmp_path):
    result = run(["/bin/sh", "tools/find_python.sh"], PATH=str(tmp_path), PYTHON="")
    assert result.returncode == 1
    assert "none was found" in result.stderr


def test_missing_tools_are_all_named(tmp_path):
    result = run([sys.executable, "tools/check_tools.py"], PATH=str(tmp_path))
    assert result.returncode == 1
    for text in ("missing: a C++ compiler", "apt install g++", "missing: make", "missing: perl"):
        assert text in result.stderr


def test_nothing_is_missing_here():
    result = run([sys.executable, "tools/check_tools.py"])
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == ""
