"""A component and a C++ loop around it, compiled to a shared library once."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from quantacore.sim.node.build import cache_folder, gateware_digest, tool_key
from quantacore.sim.node.verilate import to_verilog, verilator_environment

__all__ = ["build_library", "limbs"]

_VERILATOR_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                    "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Mdir", "model")
_COMPILER_FLAGS = ("-std=c++17", "-march=native", "-fPIC", "-fvisibility=hidden", "-w", "-shared",
                   "-pthread")
# Asked for now, while the files are those that have just been imported.
gateware_digest()


def limbs(width):
    """32-bit pieces in which Verilator keeps a wide port of so many bits."""
    return -(-width // 32)


def build_library(name, make, key, *, harness, defines, optimisation=1):
    """Path of the compiled library.

    It is found by the gateware's source files, without making its Verilog, which takes as long as
    compiling it. If the files have changed, it may still be there under its Verilog.

    Parameters
    ----------
    name : str
        Of the folder in the cache; the top module is ``qc_<name>``.
    make : callable
        Returns the component; called only if it has to be.
    key : str
        What tells it from other components of this name.
    harness : pathlib.Path
        The C++ file; it includes ``ports.h``, where ``QC_TOP`` is the class.
    defines : dict
        What ``ports.h`` defines besides.
    optimisation : int
        The compiler's.
    """
    top = f"qc_{name}"
    header = "\n".join([f'#include "V{top}.h"', "#include <type_traits>", f"#define QC_TOP V{top}",
                        *(f"#define {each} {value}" for each, value in defines.items()), ""])
    tools = "\0".join([tool_key(), header, harness.read_text(), str(optimisation),
                       *_VERILATOR_FLAGS, *_COMPILER_FLAGS])
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    alias = folder / f"key-{_digest(key, gateware_digest(), tools)}"
    if target := _found(alias):
        return target
    with open(alias.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Somebody else may have made it while this one waited.
        if target := _found(alias):
            return target
        verilog = to_verilog(make(), top)
        target = folder / f"{_digest(verilog, tools)}.so"
        if not target.exists():
            _compile(top, verilog, header, harness, optimisation, target)
        # Whole or not at all: others read without the lock.
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(target.name)
        os.replace(file.name, alias)
    return target


def _digest(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _found(alias):
    """The library that ``alias`` names, or ``None``."""
    with contextlib.suppress(OSError):
        target = alias.with_name(alias.read_text())
        if target.is_file():
            return target
    return None


def _compile(top, verilog, header, harness, optimisation, target):
    environment = {**os.environ, **verilator_environment()}
    include = Path(environment["VERILATOR_ROOT"]) / "include"
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as scratch:
        scratch = Path(scratch)
        (scratch / f"{top}.v").write_text(verilog)
        (scratch / "ports.h").write_text(header)

        def run(*command):
            result = subprocess.run([str(part) for part in command], cwd=scratch,
                                    env=environment, capture_output=True, text=True)
            if result.returncode:
                raise RuntimeError(f"{command[0]} failed:\n"
                                   + (result.stdout + result.stderr)[-3000:])

        run(shutil.which("verilator", path=environment["PATH"]), *_VERILATOR_FLAGS,
            "--top-module", top, f"{top}.v")
        compiler = shutil.which("g++") or shutil.which("clang++")
        sources = [*sorted((scratch / "model").glob("*.cpp")), harness,
                   include / "verilated.cpp", include / "verilated_threads.cpp"]
        run(compiler, *_COMPILER_FLAGS, f"-O{optimisation}",
            *(["-fno-gnu-unique"] if "clang" not in compiler else []),
            f"-I{scratch}", f"-I{scratch / 'model'}", f"-I{include}",
            f"-I{include / 'vltstd'}", "-o", scratch / "out.so", *sources)
        os.replace(scratch / "out.so", target)
