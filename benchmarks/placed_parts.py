"""Parts of the gateware, placed and routed on an ECP5-85F, speed grade 6, as rows of figures."""

import sys
from pathlib import Path

from common import Row

from quantacore.boards.ecp5 import ShiftWrapper, place_and_route

__all__ = ["TARGET_HZ", "part_option", "placed_rows"]

TARGET_HZ = 125_000_000
#: What the device has.
DEVICE = {"lut4": 83_640, "dff": 83_640, "bram": 208, "dsp": 156}


def part_option(parts):
    """The option that chooses parts, for :func:`common.arguments`."""
    return {"metavar": "PART", "action": "append", "choices": list(parts),
            "help": "only this part (may be repeated)"}


def placed_rows(benchmark, parts, options, *, cells):
    """Place and route the parts that the options choose, one after the other.

    Parameters
    ----------
    benchmark : str
        First word of the rows' names.
    parts : dict
        Name -> function that makes the component, and whether the quick run takes it.
    options
        With ``quick`` and ``only``.
    cells : sequence of str
        Kinds of cells to count, of :data:`DEVICE`.

    Returns
    -------
    list of Row, list of str
        And the parts that missed the target, with what they reach.
    """
    rows, missed = [], []
    for name, (make, quick) in parts.items():
        if options.only and name not in options.only or options.quick and not quick:
            continue
        placed = place_and_route(
            ShiftWrapper(make()), f"{benchmark.removesuffix('_area')}_{name}",
            folder=Path("build") / "pnr", target_hz=TARGET_HZ,
            progress=lambda text: print(text, file=sys.stderr, flush=True))
        for kind in cells:
            rows.append(Row(name=f"{benchmark}/{name}/{kind}", figure=getattr(placed, kind),
                            unit="cells", anchor=DEVICE[kind],
                            anchor_source="all of an LFE5U-85F"))
        rows.append(Row(name=f"{benchmark}/{name}/fmax", figure=round(placed.fmax_hz / 1e6, 1),
                        unit="MHz", anchor=TARGET_HZ / 1e6,
                        anchor_source=f"the fabric clock, target (seed {placed.seed})"))
        if not placed.met:
            missed.append(f"{name} {placed.fmax_hz / 1e6:.1f} MHz")
    return rows, missed
