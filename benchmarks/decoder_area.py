"""What the streaming decoder takes on an ECP5-85F, speed grade 6, and on an iCE40.

Both bases with correlation, tables and record output, between registers. Distances 3, 5 and 7 are
placed and routed; 9 and 13 are only synthesised, which says nothing about their clock. On an iCE40
the smallest decoder of distance 3 that decodes: 8 defects in a window, clusters of 6, distances
over two layers, no correlation.
"""

import sys
from pathlib import Path

from common import Row, arguments, report
from decoder_cases import decoder_of, placed

from quantacore.boards.ecp5 import ShiftWrapper, ToolFailed, synthesise

FOLDER = Path("build") / "pnr"
#: Half of an LFE5U-85F.
HALF = {"lut4": 83_640 // 2, "dff": 83_640 // 2, "bram": 208 // 2, "dsp": 156 // 2}
#: Helios' circuit-level RTL on the same part with the same tools: (LUT4, MHz) by distance.
HELIOS = {3: (2_915, 65), 5: (20_813, 47)}
HELIOS_SOURCE = "Helios, unweighted union-find, one basis, on the same part"
PLACED, SYNTHESISED = (3, 5, 7), (9, 13)
#: The distance that has to be within half of the part.
FLAGSHIP = 7
#: Options of the compiler for the decoder of distance 3 on an iCE40.
SMALL = {"capacity": 8, "cluster": 6, "event_bits": 7, "delta_bits": 1, "correlation": False}
#: Part: package, and its cells by what the report calls them.
ICE40 = {"hx8k": ("ct256", {"logic_cells": 7_680, "bram": 32}),
         "up5k": ("sg48", {"logic_cells": 5_280, "bram": 30})}


def cells_rows(name, cells, kind):
    """Rows of the cells that a design takes, beside half of the part."""
    return [Row(name=f"{name}/{quantity}", figure=cells[quantity], unit="cells", anchor=half,
                anchor_source=f"half of an LFE5U-85F; {kind}") for quantity, half in HALF.items()]


def helios_rows(name, distance, lut4, fmax_mhz=None):
    """Rows beside Helios, where it was measured."""
    if distance not in HELIOS:
        return []
    luts, mhz = HELIOS[distance]
    rows = [Row(name=f"{name}/lut4_over_helios", figure=lut4, unit="cells", anchor=luts,
                anchor_source=HELIOS_SOURCE)]
    if fmax_mhz is not None:
        rows.append(Row(name=f"{name}/fmax_over_helios", figure=fmax_mhz, unit="MHz", anchor=mhz,
                        anchor_source=HELIOS_SOURCE))
    return rows


def distance_rows(distance, *, route, progress):
    """Rows of the decoder of one distance."""
    name = f"decoder_area/d{distance}"
    if not route:
        component, _ = decoder_of(distance)
        cells = synthesise(ShiftWrapper(component), f"decoder_d{distance}", folder=FOLDER,
                           progress=progress)
        return (cells_rows(name, cells, "synthesised, not placed")
                + helios_rows(name, distance, cells["lut4"]))
    found = placed(distance, folder=FOLDER, progress=progress)
    mhz = round(found.fmax_hz / 1e6, 1)
    return [*cells_rows(name, vars(found), "placed and routed"),
            Row(name=f"{name}/fmax", figure=mhz, unit="MHz",
                anchor_source=f"slowest path, speed grade 6, seed {found.seed}"),
            *helios_rows(name, distance, found.lut4, mhz)]


def ice40_rows(part, progress):
    """Rows of the smallest decoder of distance 3 on an iCE40."""
    from quantacore.boards.ice40 import place_and_route

    package, whole = ICE40[part]
    component, _ = decoder_of(3, **SMALL)
    name = f"decoder_area/d3_ice40_{part}"
    found = place_and_route(ShiftWrapper(component), "decoder_d3_small", folder=FOLDER,
                            device=part, package=package, progress=progress)
    rows = [Row(name=f"{name}/{quantity}", figure=found[quantity], unit="cells", anchor=most,
                anchor_source=f"all of an iCE40 {part.upper()}; chains of the test ports included")
            for quantity, most in whole.items()]
    return [*rows, Row(name=f"{name}/fmax", figure=found["fmax_mhz"], unit="MHz",
                       anchor_source="slowest path")]


def too_large(rows):
    """Quantities of the flagship that are more than half of the part."""
    mine = f"decoder_area/d{FLAGSHIP}/"
    return [row.name for row in rows if row.name.startswith(mine)
            and row.name.removeprefix(mine) in HALF and row.figure > row.anchor]


def main():
    options = arguments(__doc__.splitlines()[0], only={
        "metavar": "BUILD", "action": "append",
        "choices": [*(f"d{distance}" for distance in PLACED + SYNTHESISED), *ICE40],
        "help": "only this build (may be repeated): d3 to d13, hx8k, up5k"})

    def progress(text):
        print(text, file=sys.stderr, flush=True)

    rows, failed = [], []
    jobs = [(f"d{distance}", lambda d=distance: distance_rows(
        d, route=d in PLACED and not options.quick, progress=progress))
        for distance in (PLACED + SYNTHESISED if not options.quick else PLACED[:1])]
    if not options.quick:
        jobs += [(part, lambda part=part: ice40_rows(part, progress)) for part in ICE40]
    for name, job in jobs:
        if options.only and name not in options.only:
            continue
        try:
            rows += job()
        except ToolFailed as error:
            # The largest ones may not fit; the others' figures are still worth having.
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    report(rows, options)
    required = [name for name in failed if name not in ("d13", *ICE40)]
    if set(ICE40) <= set(failed):
        required += list(ICE40)
    large = too_large(rows)
    if required or large:
        sys.exit("; ".join([f"not built: {', '.join(required)}"] * bool(required)
                           + [f"more than half of the part: {', '.join(large)}"] * bool(large)))


if __name__ == "__main__":
    main()
