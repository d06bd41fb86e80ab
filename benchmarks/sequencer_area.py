"""What the pulse sequencer takes on an ECP5-85F, speed grade 6, placed and routed with open tools.

Every part between registers. Clocks are the slowest path's, at the worst corner that nextpnr knows.
"""

import sys
from pathlib import Path

from common import Row, arguments, report

from quantacore.boards.ecp5 import ShiftWrapper, place_and_route
from quantacore.gateware.sequencer.channels import Channels
from quantacore.gateware.sequencer.engine import Engine
from quantacore.gateware.sequencer.unit import SequencerUnit

TARGET_HZ = 125_000_000
#: Part -> component, and whether the quick run takes it.
PARTS = {
    "channels_1": (lambda: Channels(channels=1), True),
    "channels_8": (lambda: Channels(channels=8), False),
    "engine": (Engine, False),
    # All of it, behind its registers: two images of 4096 instructions, eight channels.
    "sequencer_8": (lambda: SequencerUnit(channels=8), False),
}
#: What the device has.
DEVICE = {"lut4": 83_640, "dff": 83_640, "bram": 208, "dsp": 156}


def main():
    options = arguments(__doc__.splitlines()[0], only={
        "metavar": "PART", "action": "append", "choices": list(PARTS),
        "help": "only this part (may be repeated)"})
    rows, missed = [], []
    for name, (make, quick) in PARTS.items():
        if options.only and name not in options.only or options.quick and not quick:
            continue
        placed = place_and_route(
            ShiftWrapper(make()), f"sequencer_{name}", folder=Path("build") / "pnr",
            target_hz=TARGET_HZ, progress=lambda text: print(text, file=sys.stderr, flush=True))
        for quantity, whole in DEVICE.items():
            rows.append(Row(name=f"sequencer_area/{name}/{quantity}",
                            figure=getattr(placed, quantity), unit="cells", anchor=whole,
                            anchor_source="all of an LFE5U-85F"))
        rows.append(Row(name=f"sequencer_area/{name}/fmax", figure=round(placed.fmax_hz / 1e6, 1),
                        unit="MHz", anchor=TARGET_HZ / 1e6,
                        anchor_source=f"the fabric clock, target (seed {placed.seed})"))
        if not placed.met:
            missed.append(f"{name} {placed.fmax_hz / 1e6:.1f} MHz")
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
