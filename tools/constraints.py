"""Write ``constraints.txt``: the exact versions that this environment has of what we install.

Run it with the interpreter of the environment that passed the tests:
``.venv/bin/python tools/constraints.py``. It follows ``quantacore[test]`` and what those packages
need in turn, so nothing else that happens to be installed gets in.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

HEADER = f"""\
# Exact versions that `make` installs; they passed the tests together on Python
# {sys.version_info.major}.{sys.version_info.minor}. Made by tools/constraints.py.
"""


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(root, extras):
    """Name -> version of everything that ``root[extras]`` needs here."""
    pins, seen, queue = {}, set(), [(root, frozenset(extras))]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is needed and not installed: install quantacore[test] "
                             f"first") from None
        if name != root:
            pins[normalised(name)] = found.version
        for text in found.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or any(
                    requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                queue.append((normalised(requirement.name), frozenset(requirement.extras)))
    return pins


def main():
    pins = closure("quantacore", {"test"})
    target = Path(__file__).parents[1] / "constraints.txt"
    target.write_text(HEADER + "".join(f"{n}=={v}\n" for n, v in sorted(pins.items())))
    print(f"{target.name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
