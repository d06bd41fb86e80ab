"""What the spine takes on an ECP5-85F, speed grade 6, placed and routed with open tools.

Every block by itself between registers, then the node they make (8 channels, 4 samples a clock,
fine offsets). Clocks are the slowest path's, at the worst corner that nextpnr knows.
"""

import sys

from common import arguments, report
from placed_parts import TARGET_HZ, part_option, placed_rows

from quantacore.gateware.csr import CsrDecoder
from quantacore.gateware.herald.histogram import Histogram
from quantacore.gateware.herald.tagger import Tagger
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.link.link import Link
from quantacore.gateware.link.uart import UART
from quantacore.gateware.node import Node, NodeConfig
from quantacore.gateware.timing.unit import TimingUnit

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


def main():
    options = arguments(__doc__.splitlines()[0], only=part_option(BLOCKS))
    rows, missed = placed_rows("spine_area", BLOCKS, options, cells=("lut4", "dff", "bram"))
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
