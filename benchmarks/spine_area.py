"""What the spine takes on an ECP5-85F, speed grade 6, placed and routed with open tools.

Every block by itself between registers, then the node they make (8 channels, 4 samples a clock,
fine offsets). Clocks are the slowest path's, at the worst corner that nextpnr knows.
"""

import sys
from pathlib import Path

from common import Row, arguments, report

from quantacore.boards.ecp5 import ShiftWrapper, place_and_route
from quantacore.gateware.csr import CsrDecoder
from quantacore.gateware.herald.histogram import Histogram
from quantacore.gateware.herald.tagger import Tagger
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.link.link import Link
from quantacore.gateware.link.uart import UART
from quantacore.gateware.node import Node, NodeConfig
from quantacore.gateware.timing.unit import TimingUnit

TARGET_HZ = 125_000_000
CONFIG = NodeConfig(channels=8, samples=4, fine=True)

#: Block -> component, and whether the quick run takes it.
BLOCKS = {
    "register_bus": (lambda: CsrDecoder(NODE_MAP), True),
    "uart": (lambda: UART(clock_hz=TARGET_HZ, baud=3_000_000), True),
    "histogram": (Histogram, False),
    "link": (lambda: Link(buffer_depth=CONFIG.buffer_depth), False),
    "timing": (lambda: TimingUnit(samples=CONFIG.samples, fine=CONFIG.fine), False),
    "tagger": (lambda: Tagger(channels=CONFIG.channels, samples=CONFIG.samples, fine=CONFIG.fine,
                              row_depth=CONFIG.row_depth, buffer_depth=CONFIG.buffer_depth), False),
    "node": (lambda: Node(CONFIG), False),
}
#: Look-up tables of the device.
DEVICE = {"lut4": 83_640, "dff": 83_640, "bram": 208}


def main():
    options = arguments(__doc__.splitlines()[0], only={
        "metavar": "BLOCK", "action": "append", "choices": list(BLOCKS),
        "help": "only this block (may be repeated)"})
    rows, missed = [], []
    for name, (make, quick) in BLOCKS.items():
        if options.only and name not in options.only or options.quick and not quick:
            continue
        placed = place_and_route(
            ShiftWrapper(make()), f"spine_{name}", folder=Path("build") / "pnr",
            target_hz=TARGET_HZ, progress=lambda text: print(text, file=sys.stderr, flush=True))
        for quantity, whole in DEVICE.items():
            rows.append(Row(name=f"spine_area/{name}/{quantity}", figure=getattr(placed, quantity),
                            unit="cells", anchor=whole, anchor_source="all of an LFE5U-85F"))
        rows.append(Row(name=f"spine_area/{name}/fmax", figure=round(placed.fmax_hz / 1e6, 1),
                        unit="MHz", anchor=TARGET_HZ / 1e6,
                        anchor_source=f"the fabric clock, target (seed {placed.seed})"))
        if not placed.met:
            missed.append(f"{name} {placed.fmax_hz / 1e6:.1f} MHz")
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
