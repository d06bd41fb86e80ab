"""What the pulse sequencer takes on an ECP5-85F, speed grade 6, placed and routed with open tools.

Every part between registers. Clocks are the slowest path's, at the worst corner that nextpnr knows.
"""

import sys

from common import arguments, report
from placed_parts import TARGET_HZ, part_option, placed_rows

from quantacore.gateware.sequencer.channels import Channels
from quantacore.gateware.sequencer.engine import Engine
from quantacore.gateware.sequencer.unit import SequencerUnit

#: Part -> component, and whether the quick run takes it.
PARTS = {
    "channels_1": (lambda: Channels(channels=1), True),
    "channels_8": (lambda: Channels(channels=8), False),
    "engine": (Engine, False),
    # All of it, behind its registers: two images of 4096 instructions, eight channels.
    "sequencer_8": (lambda: SequencerUnit(channels=8), False),
}


def main():
    options = arguments(__doc__.splitlines()[0], only=part_option(PARTS))
    rows, missed = placed_rows("sequencer_area", PARTS, options,
                               cells=("lut4", "dff", "bram", "dsp"))
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
