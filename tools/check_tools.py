"""Is there what wheels can't bring: a C++ compiler, make, perl, a shared libpython?

Says all that is missing at once and how to get it, and ends with an error then. Runs before
anything is installed, so it uses the standard library only.
"""

import ctypes.util
import shutil
import sys
import sysconfig
from pathlib import Path

#: What -> (commands that do, package on Debian, on Fedora, on macOS).
TOOLS = {
    "a C++ compiler": (("g++", "clang++", "c++"), "g++", "gcc-c++", "xcode-select --install"),
    "make": (("make", "gmake"), "make", "make", "xcode-select --install"),
    "perl": (("perl",), "perl", "perl", "brew install perl"),
}


def shared_libpython():
    """Whether this interpreter's library can be loaded by another program (cocotb does that)."""
    if sysconfig.get_config_var("Py_ENABLE_SHARED") or sys.platform == "darwin":
        return True
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix)
    return bool(ctypes.util.find_library(version)) or any(folder.glob(f"lib{version}*.so*"))


def missing():
    """``(what, how to get it)`` for everything that is not here."""
    found = []
    for what, (commands, debian, fedora, macos) in TOOLS.items():
        if not any(shutil.which(command) for command in commands):
            found.append((what, f"Debian: apt install {debian}; Fedora: dnf install {fedora}; "
                                f"macOS: {macos}"))
    if not shared_libpython():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        found.append((f"the shared library of Python {version}",
                      f"Debian: apt install libpython{version}; pyenv: build with "
                      f"PYTHON_CONFIGURE_OPTS=--enable-shared; or name another interpreter: "
                      f"make PYTHON=..."))
    return found


def main():
    lacking = missing()
    for what, remedy in lacking:
        print(f"missing: {what}\n         {remedy}", file=sys.stderr)
    if lacking:
        sys.exit("The simulator is compiled on this machine; install what is missing and run "
                 "make again.")


if __name__ == "__main__":
    main()
