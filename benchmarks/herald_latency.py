"""How long from a photon's sample word to the output that depends on it.

In simulation, tick by tick: the herald path (8 detectors, 4 windows, 16 patterns, 4 samples), the
sequencer's engine in a BRH, and a fast TTL line that the SET behind it switches. From the tick in
which the word with the deciding sample is at the path's inputs to the tick in which the output's
register has the new level: what deserialisers and pins add is not in it. Nanoseconds are those
ticks at the fabric's clock of 125 MHz; and at the clock that place and route found for the path, if
a run of herald_area left it beside this one's figures or in build/bench.
"""

import json
import random
import sys
from pathlib import Path

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.sim import Simulator
from common import Row, arguments, report

from quantacore.firmware import assemble
from quantacore.gateware.herald.path import HeraldPath
from quantacore.gateware.layouts.herald import (
    ARM_TICKS,
    DETECTORS,
    PATTERNS,
    WINDOWS,
    HeraldTable,
    PatternEntry,
)
from quantacore.gateware.layouts.instructions import COMMAND_LATENCY, Op
from quantacore.gateware.sequencer.engine import Engine
from quantacore.gateware.sequencer.outputs import Outputs

SAMPLES = 4
FABRIC_HZ = 125_000_000
#: Ticks that the issue allows.
LIMIT_TICKS = 12
#: The program's memory, in words.
DEPTH = 64
#: Arms all windows; pattern p switches line p.
PROGRAM = """
arm 15
brh r1, herald, 400
.table herald, words=2
.case timeout
halt code=1
.default
set 0xffff, 1 << pattern
halt
.endt
"""
#: What others reach, in ns, and between which ends.
ANCHORS = {
    "qblox_qtm": (146, "Qblox QTM, tag to its own sequencer by the 1 ns low-latency path"),
    "opx_plus": (125, "QM OPX+, analog in to digital out (said as half of 250 ns to analog out)"),
    "zi_shfqc": (116, "ZI SHFQC, result of a readout to its own sequencer"),
    "qick_xcom": (185, "QICK XCOM, board to board, an upper bound"),
    "artiq_drtio": (292, "ARTIQ DRTIO, edge to the first satellite's output"),
    "swabian_fpgalink": (1_000, "Swabian FPGALink, to the user's logic, the least of 1 to 12 us"),
}


def tables(last_eighth):
    """Every detector has four windows; pattern p holds if its detector and window were clicked."""
    for cell in range(DETECTORS * WINDOWS):
        yield HeraldTable.OPEN, cell, 32 + 24 * (cell % WINDOWS)
        yield HeraldTable.CLOSE, cell, 48 + 24 * (cell % WINDOWS)
    for pattern in range(PATTERNS):
        entry = {"enabled": 1, "early": last_eighth is None, "windows": 15, "code": pattern}
        yield HeraldTable.PATTERN, pattern, PatternEntry.const(entry).as_bits()
        for detector in range(DETECTORS):
            for clicked in range(1 << WINDOWS):
                accepted = sum(1 << number for number in range(PATTERNS)
                               if number % DETECTORS != detector
                               or clicked >> (number // DETECTORS) & 1)
                yield HeraldTable.ACCEPT, detector * 16 + clicked, accepted
    for index in range(64):
        yield HeraldTable.COUNT, index, (1 << PATTERNS) - 1
    yield HeraldTable.DECIDE, 15, 400 if last_eighth is None else last_eighth


class ClickToLine(wiring.Component):
    """The path, the engine and the outputs, and between them what the attempt controller does."""

    def __init__(self):
        self.path = HeraldPath(samples=SAMPLES, fine=True)
        self.engine = Engine()
        self.outputs = Outputs()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        path, engine, outputs = self.path, self.engine, self.outputs
        m.submodules += [path, engine, outputs]
        words = assemble(PROGRAM).words
        m.submodules.program = program = memory.Memory(shape=64, depth=DEPTH, init=words)
        port = program.read_port()
        command = engine.command
        m.d.comb += [
            port.addr.eq(engine.address), port.en.eq(engine.read), engine.data.eq(port.data),
            engine.verdict_valid.eq(path.decided), engine.verdict.eq(path.code),
            outputs.commands.valid.eq(command.valid), outputs.commands.payload.eq(command.payload),
            outputs.fast.eq(-1),
        ]
        # An attempt starts ARM_TICKS after its ARM.
        asked = Signal(ARM_TICKS - COMMAND_LATENCY)
        m.d.sync += asked.eq(
            Cat(command.valid & (command.payload.word[:6] == Op.ARM.value), asked))
        m.d.comb += [path.start.eq(asked[-1]), path.windows.eq(15), path.control.reference.eq(15)]
        return m


class Bench:
    """Makes attempts, one after the other, and notes the ticks of what happens."""

    def __init__(self, last_eighth, attempts):
        self.last_eighth, self.attempts = last_eighth, attempts
        self.found = []

    async def testbench(self, ctx):
        path, engine, outputs = self.dut.path, self.dut.engine, self.dut.outputs
        ctx.set(path.tables.valid, 1)
        for table, index, word in tables(self.last_eighth):
            ctx.set(path.tables.payload, {"table": table, "index": index, "data": word})
            await ctx.tick()
        ctx.set(path.tables.valid, 0)
        for detector, sample, pattern in self.attempts:
            ctx.set(engine.start, 1)
            await ctx.tick()
            ctx.set(engine.start, 0)
            while not ctx.get(path.start):
                await ctx.tick()
            window = pattern // DETECTORS
            word, place = divmod(sample + (32 + 24 * window) * SAMPLES // 8, SAMPLES)
            before = ctx.get(outputs.ttl)
            ticks = {"word": word if self.last_eighth is None else (self.last_eighth - 1) // 8}
            tick = 0
            while "line" not in ticks:
                level = (1 << place) if tick == word else 0
                ctx.set(path.detectors[detector].level, level)
                if ctx.get(path.decided):
                    ticks["decided"] = tick
                    assert ctx.get(path.pattern) == pattern, "another pattern"
                if ctx.get(engine.command.valid) and "decided" in ticks and "set" not in ticks:
                    ticks["set"] = tick - COMMAND_LATENCY
                if ctx.get(outputs.ttl) != before:
                    assert ctx.get(outputs.ttl) == 1 << pattern, "another line"
                    ticks["line"] = tick
                await ctx.tick()
                tick += 1
            self.found.append(ticks)
            while ctx.get(engine.running):
                await ctx.tick()
            # All lines low again.
            ctx.set(outputs.write, 1)
            ctx.set(outputs.write_mask, -1)
            await ctx.tick()
            ctx.set(outputs.write, 0)
            await ctx.tick().repeat(4)

    def run(self):
        self.dut = ClickToLine()
        simulator = Simulator(self.dut)
        simulator.add_clock(1 / FABRIC_HZ)
        simulator.add_testbench(self.testbench)
        simulator.run()
        return self.found


def spans(found, first, last):
    """Least and most ticks from one thing to another."""
    ticks = [ticks[last] - ticks[first] for ticks in found]
    return min(ticks), max(ticks)


def placed_hz(options):
    """The path's clock as herald_area found it, and where that stands; or nothing."""
    beside = [Path(options.json).with_name("herald_area.json")] if options.json not in (
        None, "-") else []
    for file in (*beside, Path("build") / "bench" / "herald_area.json"):
        if file.exists():
            for row in json.loads(file.read_text()):
                if row["name"] == "herald_area/path_8x4x16/fmax":
                    return row["figure"] * 1e6, "nextpnr's clock of the path, from herald_area"
    return None, None


def main():
    options = arguments(__doc__.splitlines()[0])
    rng = random.Random(options.seed)
    # Every detector, every sample of a word, every pattern.
    attempts = [(pattern % DETECTORS, sample, pattern)
                for pattern in range(PATTERNS) for sample in range(SAMPLES)]
    if options.quick:
        attempts = rng.sample(attempts, 4)
    rows, late = [], []
    for case, last_eighth in (("deciding_click", None), ("last_word", 104)):
        found = Bench(last_eighth, attempts).run()
        least, most = spans(found, "word", "line")
        name = f"herald_latency/{case}"
        rows += [
            Row(name=f"{name}/word_to_line", figure=most, unit="ticks", anchor=LIMIT_TICKS,
                anchor_source="the most that is allowed"),
            Row(name=f"{name}/word_to_line_spread", figure=most - least, unit="ticks"),
            Row(name=f"{name}/word_to_verdict", figure=spans(found, "word", "decided")[1],
                unit="ticks"),
            Row(name=f"{name}/verdict_to_set", figure=spans(found, "decided", "set")[1],
                unit="ticks"),
            Row(name=f"{name}/set_to_line", figure=spans(found, "set", "line")[1], unit="ticks"),
            Row(name=f"{name}/attempts", figure=len(found), unit="attempts"),
        ]
        if most > LIMIT_TICKS or most != least:
            late.append(f"{case} {least} to {most}")
    ticks = rows[0].figure
    clocks = [(FABRIC_HZ, "fabric", "at the fabric's 125 MHz")]
    hz, source = placed_hz(options)
    if hz is None:
        print("no herald_area.json with a placed clock: nanoseconds at 125 MHz only",
              file=sys.stderr)
    else:
        clocks.append((hz, "placed", f"at {hz / 1e6:g} MHz, {source}"))
    for hz, clock, words in clocks:
        rows += [Row(name=f"herald_latency/{clock}_clock/ns_over_{name}", figure=ticks * 1e9 / hz,
                     unit="ns", anchor=anchor, anchor_source=f"{ends}; here {words}")
                 for name, (anchor, ends) in ANCHORS.items()]
    report(rows, options)
    if late:
        sys.exit(f"not {LIMIT_TICKS} ticks or fewer, always the same: {', '.join(late)}")


if __name__ == "__main__":
    main()
