"""What the herald unit's path takes on an ECP5-85F, speed grade 6, placed and routed with open
tools.

Every part between registers. Clocks are the slowest path's, at the worst corner that nextpnr knows.
The quick run synthesises the path and does not place it: it says what it takes and not how fast
it is.
"""

import sys
from pathlib import Path

from common import Row, arguments, report
from placed_parts import TARGET_HZ, part_option, placed_rows

from quantacore.boards.ecp5 import ShiftWrapper, synthesise
from quantacore.gateware.herald.path import HeraldPath

#: Detectors x windows x patterns, and the samples in a word.
PARTS = {
    "path_8x4x16": (lambda: HeraldPath(samples=4, fine=True), False),
}
#: LUT4 of a probe of this project's for 8 detectors, 2 windows and 8 patterns: windows and
#: patterns with masks, without counts, sites, times, dead time or a shift by the reference.
PROBE_LUT4 = 918
PROBE = "a probe of 8 detectors x 2 windows x 8 patterns, measured before this was built"


def main():
    options = arguments(__doc__.splitlines()[0], only=part_option(PARTS))
    rows, missed = [], []
    name, (make, _quick) = next(iter(PARTS.items()))
    if options.quick:
        area = synthesise(ShiftWrapper(make()), "herald_path", folder=Path("build") / "pnr",
                          progress=lambda text: print(text, file=sys.stderr, flush=True))
        rows += [Row(name=f"herald_area/{name}/{kind}_synthesised", figure=area[kind],
                     unit="cells") for kind in ("lut4", "dff", "bram", "dsp")]
        lut4 = area["lut4"]
        print("not placed: that takes minutes; run without --quick for the clock", file=sys.stderr)
    else:
        rows, missed = placed_rows("herald_area", PARTS, options,
                                   cells=("lut4", "dff", "bram", "dsp"))
        lut4 = rows[0].figure
    rows.append(Row(name=f"herald_area/{name}/lut4_beside_the_probe", figure=lut4, unit="LUT4",
                    anchor=PROBE_LUT4, anchor_source=PROBE))
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
