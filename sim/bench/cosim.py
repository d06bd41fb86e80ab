"""Build a component as Verilog, Verilate it, and run a cocotb test module on it.

Pytest calls :func:`run_cocotb`; the cocotb module it names contains the ``@cocotb.test()``
coroutines and imports what it drives and compares. Builds are cached by content under
``build/cosim`` of the working directory (or ``QUANTACORE_BUILD``).
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import random
import sys
from pathlib import Path

from quantacore.sim.node.verilate import to_verilog, verilator_environment

__all__ = ["build_folder", "run_cocotb", "seed_from_environment"]


def build_folder():
    """Where simulators built by tests go."""
    return Path(os.environ.get("QUANTACORE_BUILD", Path.cwd() / "build"))


def seed_from_environment():
    """The seed of this run: ``QUANTACORE_SEED`` if set, else a fresh one. Print it."""
    text = os.environ.get("QUANTACORE_SEED")
    return int(text, 0) if text else random.SystemRandom().getrandbits(32)


@contextlib.contextmanager
def _alone(folder):
    """Hold the folder's lock: tests run in parallel, and two may want the same simulator."""
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ports_alone(component, name):
    """A control file for Verilator by which nothing but the ports can be seen from outside."""
    ports = ["__".join(map(str, path)) for path, _, _ in component.signature.flatten(component)]
    return "`verilator_config\n" + "".join(
        f'public_flat_rw -module "{name}" -var "{port}"\n' for port in ["clk", "rst", *ports])


def run_cocotb(component, name, test_module, *, parameters=None, testcase=None,
               ports_alone=False):
    """Run the cocotb tests of ``test_module`` on ``component``; fail if any of them fails.

    Parameters
    ----------
    component : wiring.Component
        Device under test. Its ports become Verilog ports (``a.b`` is ``a__b``), with ``clk`` and
        ``rst`` for the ``sync`` domain.
    name : str
        Top-level module name.
    test_module : str or Path
        Path of the Python file with the cocotb tests.
    parameters : dict or None
        Passed to the tests as environment variables (upper-cased, prefixed ``QC_``).
    testcase : str or None
        Only this test.
    ports_alone : bool
        Nothing inside the component can be looked at, which makes it several times faster.
    """
    from cocotb_tools.runner import get_results, get_runner

    test_path = Path(test_module).resolve()
    verilog = to_verilog(component, name)
    versions = "".join(importlib.metadata.version(p) for p in ("verilator", "cocotb"))
    control = _ports_alone(component, name) if ports_alone else ""
    digest = hashlib.sha256((verilog + versions + control).encode()).hexdigest()[:16]
    folder = build_folder() / "cosim" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.v"
    # Only what runs on every clock is optimised: the constructor of a wide design's symbol table
    # takes GCC many minutes at -O1.
    environment = verilator_environment()
    environment["MAKEFLAGS"] += " OPT_FAST=-O1 OPT_GLOBAL=-O1"
    seed = seed_from_environment()
    saved = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    # The runner hands ``sys.path`` to the simulator, and the test module must be on it.
    sys.path.insert(0, str(test_path.parent))
    log = folder / "build.log"
    try:
        runner = get_runner("verilator")
        with _alone(folder):
            if not (folder / "built").exists():
                source.write_text(verilog)
                sources, more = [source], []
                if ports_alone:
                    source.with_suffix(".vlt").write_text(control)
                    sources, more = [source.with_suffix(".vlt"), source], ["-no-public-flat-rw"]
                runner.build(
                    sources=sources, hdl_toplevel=name, build_dir=folder, always=True,
                    build_args=["-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "--x-initial", "0",
                                "-O3", *more],
                    log_file=log,
                )
                (folder / "built").touch()
        extra = {f"QC_{k.upper()}": str(v) for k, v in (parameters or {}).items()}
        extra["QUANTACORE_SEED"] = str(seed)
        # Every worker and every run gets its own folder: results must not overwrite each other.
        run = folder / f"run-{os.getpid()}-{test_path.stem}-{testcase or 'all'}"
        run.mkdir(exist_ok=True)
        log = run / "test.log"
        print(f"cosim {name}: seed {seed:#x} (QUANTACORE_SEED repeats it), folder {run}")
        results = runner.test(
            hdl_toplevel=name, hdl_toplevel_lang="verilog", test_module=test_path.stem,
            build_dir=folder, test_dir=run,
            extra_env=extra, seed=seed, testcase=testcase, results_xml=str(run / "results.xml"),
            log_file=log,
        )
    except (SystemExit, RuntimeError) as error:
        text = log.read_text()[-8000:] if log.exists() else ""
        raise AssertionError(f"cosim {name} could not be built, or did not pass (seed {seed:#x}): "
                             f"{error}\n{text}") from error
    finally:
        sys.path.remove(str(test_path.parent))
        for key, value in saved.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
    tests, failed = get_results(results)
    if failed or not tests:
        raise AssertionError(f"{failed} of {tests} cocotb tests failed (seed {seed:#x}):\n"
                             + (log.read_text()[-8000:] if log.exists() else ""))
