"""How fast the sequencer issues instructions, what a branch costs, how fast programs are proven.

The gateware, Verilated and driven through its registers, runs programs made by the assembler; ticks
are read off its command bus, and seconds are ticks of 8 ns. The prover runs on this computer.
"""

import time

import numpy as np
from common import Row, arguments, report

from quantacore.firmware import assemble, prove
from quantacore.gateware.layouts.instructions import BRANCH_TICKS, Op
from quantacore.sim.bench.sequencer_unit import SequencerBench

TICK_NS = 8
#: What an output event takes there, from the projects' own documents and threads.
ARTIQ_DMA_NS, ARTIQ_CPU_NS = 65, (480, 810)

#: Every tick an output: TTL lines and pulses in turn, around a loop.
BUSY = """
.envelope 0 flat flat
.wave short flat length=8
loop {turns}
{body}
end
halt
"""
#: Every kind of branch, a mark before and one behind.
BRANCHES = {
    "jump": "tag 1\njmp there\nthere:\ntag 2\nhalt",
    "branch_taken": "li r1, 1\ntag 1\nbeq r1, 1, there\nnop\nthere:\ntag 2\nhalt",
    "branch_not_taken": "li r1, 1\ntag 1\nbne r1, 1, there\ntag 2\nhalt\nthere:\nhalt",
    "call": "tag 1\ncall sub\nhalt\nsub:\ntag 2\nret",
    "return": "call sub\ntag 2\nhalt\nsub:\ntag 1\nret",
}


def events_per_tick(bench, turns):
    """Output events, ticks from the first to the last of them, and ticks without one."""
    body = "\n".join(f"set 0xffff, {1 << i:#x}" if i % 8 else "pulse 0, short, 0.5"
                     for i in range(16))
    bench.load(BUSY.format(turns=turns, body=body))
    bench.action(start=1)
    ticks, columns = bench.record(16 * turns + 40, ["word"], valid="issued")
    ops = columns["word"][:, 0] & 63
    times = ticks[(ops == Op.SET.value) | (ops == Op.PULSE.value)]
    return len(times), int(times[-1] - times[0]) + 1, int((np.diff(times) != 1).sum())


def ticks_between_marks(bench, source):
    """From the first mark to the second."""
    bench.load(source)
    bench.action(start=1)
    ticks, columns = bench.record(80, ["word"], valid="issued")
    times = ticks[columns["word"][:, 0] & 63 == Op.TAG.value]
    return int(times[1] - times[0])


def proven_per_second(source, least_s):
    """``(instructions of a run, runs of the prover, seconds)``."""
    assembly = assemble(source)
    runs, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < least_s or not runs:
        proof = prove(assembly)
        runs += 1
    proof.check()
    return proof.events, runs, seconds


def main():
    options = arguments(__doc__.splitlines()[0])
    rows = []
    bench = SequencerBench()
    turns = 2_000 if options.quick else 100_000
    events, ticks, gaps = events_per_tick(bench, turns)
    ns = TICK_NS * ticks / events
    for anchor, source in ((ARTIQ_DMA_NS, "ARTIQ DMA, ns an event (artiq issues 946, 2592)"),
                           (ARTIQ_CPU_NS[0], "ARTIQ CPU, Kasli, ns an event"),
                           (ARTIQ_CPU_NS[1], "ARTIQ CPU, Zynq, ns an event")):
        name = source.split(",")[0].replace(" ", "_").lower()
        if "CPU" in source:
            name += "_" + source.split(", ")[1].lower()
        rows.append(Row(name=f"sequencer/sustained/time_per_event_over_{name}", figure=ns,
                        unit="ns", anchor=anchor, anchor_source=source))
    rows += [
        Row(name="sequencer/sustained/events", figure=events, unit="events"),
        Row(name="sequencer/sustained/missing", figure=gaps, unit="ticks without an event"),
    ]
    for name, source in BRANCHES.items():
        cost = ticks_between_marks(bench, source) - 1
        rows.append(Row(name=f"sequencer/{name}/ticks", figure=cost, unit="ticks",
                        anchor=BRANCH_TICKS, anchor_source="the layouts' BRANCH_TICKS"))
    least_s = 0.3 if options.quick else 3
    straight = "\n".join(["set 1, 1"] * 4000 + ["halt"])
    looped = ("loop 30000\nloop 30000\n" + "set 1, 1\n" * 8 + "end\nend\nhalt")
    for name, source in (("straight_line", straight), ("nested_loops", looped)):
        events, runs, seconds = proven_per_second(source, least_s)
        rows.append(Row(name=f"sequencer/{name}/events_proven_per_second",
                        figure=_middle(events) * runs / seconds, unit="events/s"))
    report(rows, options)


def _middle(events):
    return events if isinstance(events, int) else events[1]


if __name__ == "__main__":
    main()
