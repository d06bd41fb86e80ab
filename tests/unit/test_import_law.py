"""Who may import whom (docs/architecture.md): read from the source, lazy imports included."""

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Folder at the top -> import name.
FOLDERS = {name: f"quantacore.{name}" for name in ("gateware", "firmware", "sim", "host", "boards")}

#: Room of the house -> import names of what is in it. The longest name that fits decides.
ROOMS = {
    "layouts": ["quantacore.gateware.layouts"],
    "gateware": ["quantacore.gateware"],
    "firmware": ["quantacore.firmware"],
    "models": [f"quantacore.sim.{name}" for name in
               ("golden", "qubitron", "photonics", "detectors", "thermal", "qec")],
    "bench": ["quantacore.sim"],
    "transport": ["quantacore.host.transport"],
    "host": ["quantacore.host"],
    "boards": ["quantacore.boards"],
}
MAY_IMPORT = {
    "layouts": {"layouts"},
    "gateware": {"layouts", "gateware"},
    "firmware": {"layouts", "firmware"},
    # A model that shares code with its subject proves nothing.
    "models": {"layouts", "firmware", "models"},
    "bench": {"layouts", "gateware", "firmware", "transport", "models", "bench"},
    # The host finds simulators by entry point.
    "transport": {"layouts", "firmware", "transport", "host"},
    "host": {"layouts", "firmware", "transport", "host"},
    "boards": {"layouts", "gateware", "boards"},
}


def room_of(name):
    """The room that an import name is in; ``None`` if it is not ours."""
    fits = [(len(prefix), room) for room, prefixes in ROOMS.items() for prefix in prefixes
            if f"{name}.".startswith(f"{prefix}.")]
    return max(fits)[1] if fits else None


def imported_names(source, module, *, is_package):
    """``(line, import name)`` for every import, at any level, by statement or by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[:len(parts) - node.level + is_package]
                base = ".".join([*parts, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(
                node.func, "id", "")
            argument = node.args[0]
            if called in ("import_module", "__import__") and isinstance(argument, ast.Constant):
                yield node.lineno, str(argument.value)


def breaches(root):
    """Every import under ``root`` that the law forbids, as text."""
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join([package, *parts[:len(parts) - is_package]])
            room = room_of(module)
            for line, name in imported_names(path.read_text(encoding="utf-8"), module,
                                             is_package=is_package):
                target = room_of(name)
                if target is not None and target not in MAY_IMPORT[room]:
                    found.append(f"{path.relative_to(root)}:{line}: {room} may not import "
                                 f"{name} ({target})")
    return found


def test_nobody_breaks_the_law():
    assert breaches(ROOT) == []


def plant(root, path, source):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))


@pytest.mark.parametrize("path, source", [
    ("gateware/layouts/x.py", "import quantacore.gateware.csr"),
    ("gateware/layouts/x.py", "from quantacore.gateware import csr"),
    ("gateware/layouts/x.py", "from .. import csr"),
    ("gateware/layouts/__init__.py", "from ..csr import RegisterBank"),
    ("gateware/link/x.py", "from quantacore.host.driver import node"),
    ("sim/golden/x.py", "from quantacore.gateware.herald.edge import Edge"),
    ("sim/golden/x.py", "from quantacore.sim.bench import cosim"),
    ("sim/photonics/x.py", "from ..node import verilate"),
    ("sim/node/x.py", "from quantacore.host.driver.node import Node"),
    ("host/x.py", "from quantacore.sim.node import server"),
    ("host/x.py", "def later():\n    import quantacore.sim.golden.tagger"),
    ("host/x.py", "from importlib import import_module\nimport_module('quantacore.sim.node')"),
    ("host/x.py", "from quantacore.gateware.node import NodeConfig"),
    ("host/transport/x.py", "from quantacore.boards import ulx3s"),
    ("boards/x.py", "from quantacore.sim.bench import formal"),
    ("firmware/x.py", "import quantacore.gateware.stream"),
])
def test_planted_breach_is_found(tmp_path, path, source):
    plant(tmp_path, path, source)
    found = breaches(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(f"{path}:")
    assert "may not import quantacore." in found[0]


@pytest.mark.parametrize("path, source", [
    ("gateware/link/x.py", "from quantacore.gateware.layouts.frames import Op"),
    ("gateware/link/x.py", "from ..layouts import frames\nfrom .. import csr"),
    ("sim/golden/x.py", "from quantacore.gateware.layouts import tags\nfrom . import other"),
    ("sim/node/x.py", "from quantacore.gateware.node import Node\n"
                      "from quantacore.host.transport.base import Transport"),
    ("host/x.py", "from quantacore.gateware.layouts.node import NODE_MAP\nimport numpy"),
    ("boards/x.py", "from quantacore.gateware.node import UARTNode"),
])
def test_lawful_import_passes(tmp_path, path, source):
    plant(tmp_path, path, source)
    assert breaches(tmp_path) == []
