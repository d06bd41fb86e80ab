"""What parts of the herald unit take on an ECP5-85F, speed grade 6, placed and routed with open
tools.

The path from samples to verdict first, then what stands around it; every part between registers.
Clocks are the slowest path's, at the worst corner that nextpnr knows. The quick run synthesises the
path and does not place it: it says what it takes and not how fast it is.
"""

import sys
from pathlib import Path

from common import Row, arguments, report
from placed_parts import TARGET_HZ, part_option, placed_rows

from quantacore.boards.ecp5 import ShiftWrapper, synthesise
from quantacore.gateware.herald.attempts import AttemptController
from quantacore.gateware.herald.path import HeraldPath
from quantacore.gateware.herald.peers import Peers
from quantacore.gateware.herald.virtual import Virtual

PATH = "path_8x4x16"
#: Parts, and whether the quick run places them. The path: detectors x windows x patterns.
PARTS = {
    PATH: (lambda: HeraldPath(samples=4, fine=True), False),
    "attempts": (AttemptController, False),
    "peers": (Peers, False),
    "virtual": (Virtual, False),
}
CELLS = ("lut4", "dff", "bram", "dsp")
#: LUT4 of a probe of this project's for 8 detectors, 2 windows and 8 patterns: windows and
#: patterns with masks, without counts, sites, times, dead time or a shift by the reference.
PROBE_LUT4 = 918
PROBE = "a probe of 8 detectors x 2 windows x 8 patterns, measured before this was built"


def main():
    options = arguments(__doc__.splitlines()[0], only=part_option(PARTS))
    missed = []
    if options.quick:
        area = synthesise(ShiftWrapper(PARTS[PATH][0]()), "herald_path",
                          folder=Path("build") / "pnr",
                          progress=lambda text: print(text, file=sys.stderr, flush=True))
        rows = [Row(name=f"herald_area/{PATH}/{kind}_synthesised", figure=area[kind],
                    unit="cells") for kind in CELLS]
        print("not placed: that takes minutes; run without --quick for the clock", file=sys.stderr)
    else:
        rows, missed = placed_rows("herald_area", PARTS, options, cells=CELLS)
    rows += [Row(name=f"herald_area/{PATH}/lut4_beside_the_probe", figure=row.figure, unit="LUT4",
                 anchor=PROBE_LUT4, anchor_source=PROBE)
             for row in rows if row.name.startswith(f"herald_area/{PATH}/lut4")]
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
