"""The time tagger: a million edges tag for tag, pair resolution, sustained rate, exact losses."""

import time

import numpy as np
from common import Row, arguments, report

from quantacore.gateware.herald.tagger import Tagger
from quantacore.gateware.layouts.tagger import TAGGER
from quantacore.gateware.layouts.tags import LossCause
from quantacore.sim.bench.csr_replay import ReplayRegisters
from quantacore.sim.bench.replay import Replay
from quantacore.sim.golden import tagger as golden
from quantacore.sim.golden.samples import encode_edges, pack_words

CHANNELS, SAMPLES = 8, 4
ROW_DEPTH, BUFFER_DEPTH = 512, 2048
TICK_NS = 8.0
PORTS = ["tick", *(f"detectors__{channel}" for channel in range(CHANNELS)), "records__ready",
         "buffer_level"]
#: Other machines' shortest time between two edges of a channel.
ARTIQ_NS, QBLOX_NS, SWABIAN_NS = 8.0, 44.0, 2.1


class Setup:
    """A fresh tagger, all channels on."""

    def __init__(self):
        component = Tagger(channels=CHANNELS, samples=SAMPLES, fine=True, row_depth=ROW_DEPTH,
                           buffer_depth=BUFFER_DEPTH)
        self.replay = Replay(component, "tagger")
        self.registers = ReplayRegisters(self.replay, TAGGER)
        self.seconds = self.clocks = 0

    def write(self, name, values):
        for index, value in enumerate(values):
            self.registers.write(name, int(value) & 0xFFFFFFFF, index)

    def run(self, levels, fines, *, first_tick, ready=None, buffer_level=None):
        """Records as uint64, and the clock of each."""
        clocks = levels.shape[1]
        ticks = first_tick + np.arange(clocks)
        columns = [np.stack([ticks & 0xFFFFFFFF, ticks >> 32], axis=1)]
        columns += [pack_words(levels[c], fines[c], samples=SAMPLES) for c in range(CHANNELS)]
        columns.append((np.ones(clocks) if ready is None else ready)[:, None])
        columns.append((np.zeros(clocks) if buffer_level is None else buffer_level)[:, None])
        vectors = np.concatenate([column.astype(np.uint32) for column in columns], axis=1)
        begin = time.perf_counter()
        when, out = self.replay.run(vectors, PORTS, ["records__payload", "records__ready"],
                                    valid="records__valid")
        self.seconds += time.perf_counter() - begin
        self.clocks += clocks
        taken = out[:, 2] == 1
        out = out[taken].astype(np.uint64)
        return out[:, 0] | out[:, 1] << np.uint64(32), when[taken]

    def read(self, name):
        return sum(self.registers.read(name, channel) for channel in range(CHANNELS))


def million(edges, rng):
    """Random edges on all channels, with dead times and delays, equal the golden stream."""
    setup = Setup()
    dead = np.array([0, 0, 20_000, 0, 100_000, 0, 5_000, 0])
    delay = rng.integers(-(1 << 23), 1 << 23, CHANNELS)
    setup.write("edges", [3, 3, 3, 1, 3, 2, 3, 3])
    setup.write("dead_time", dead)
    setup.write("delay", delay)
    setup.registers.write("control", 1)
    # 0.45 edges per clock: bursts queue up, and nothing may be lost.
    first, block = (1 << 40) - 1000, 1 << 18
    span = int(edges / 0.45)
    lines = [encode_edges(np.sort(rng.integers(0, span * 8192, edges // CHANNELS)),
                          samples=SAMPLES) for _ in range(CHANNELS)]
    unresolved = sum(len(line.unresolved) for line in lines)
    dense = [line.dense(0, span + 4096) for line in lines]
    levels = np.stack([line[0] for line in dense])
    fines = np.stack([line[1] for line in dense])
    records = [setup.run(levels[:, i:i + block], fines[:, i:i + block], first_tick=first + i)[0]
               for i in range(0, levels.shape[1], block)]
    records = np.concatenate(records)
    times, channels, falling = golden.edges_from_words(
        levels, fines, samples=SAMPLES, first_tick=first, select=[3, 3, 3, 1, 3, 2, 3, 3])
    keep = golden.apply_dead_time(times, channels, dead)
    expected = golden.write_records(golden.apply_delay(times, channels, delay)[keep],
                                    channels[keep], falling[keep])
    if len(expected) != len(records):
        raise SystemExit(f"{len(records)} records instead of {len(expected)}")
    different = int((records != expected).sum())
    yield Row(name="tagger/random_8_channels/edges_on_the_lines", figure=edges, unit="edges")
    yield Row(name="tagger/random_8_channels/unresolved_by_the_front_end", figure=unresolved,
              unit="edges")
    yield Row(name="tagger/random_8_channels/records_compared", figure=len(records),
              unit="records")
    yield Row(name="tagger/random_8_channels/records_different", figure=different, unit="records")
    yield Row(name="tagger/random_8_channels/clocks_per_second",
              figure=setup.clocks / setup.seconds, unit="clocks/s")
    if different:
        raise SystemExit(f"{different} records differ from the golden model")


def pairs():
    """Edges of one channel in neighbouring samples are both tagged."""
    setup = Setup()
    setup.write("edges", [3] * CHANNELS)
    setup.registers.write("control", 1)
    unit = 8192 // SAMPLES
    pair = np.array([0, unit]) + 7
    times = np.concatenate([(10 + 3 * i) * 8192 + i % SAMPLES * unit + pair for i in range(500)])
    line = encode_edges(times, samples=SAMPLES).dense(0, 4000)
    levels = np.zeros((CHANNELS, 4000), np.uint8)
    fines = np.zeros((CHANNELS, 4000, SAMPLES), np.uint16)
    levels[3], fines[3] = line
    records, _ = setup.run(levels, fines, first_tick=0)
    parsed = golden.parse_records(records)
    if parsed.times != times.tolist():
        raise SystemExit("pairs of edges one sample apart are not all tagged")
    figure = TICK_NS / SAMPLES
    for anchor, value, source in (
            ("artiq", ARTIQ_NS, "ARTIQ TTL input: one edge per 8 ns and channel"),
            ("qblox", QBLOX_NS, "Qblox QTM: 44 ns"),
            ("swabian", SWABIAN_NS, "Swabian Time Tagger Ultra: 2.1 ns")):
        yield Row(name=f"tagger/pair_resolution/vs_{anchor}", figure=figure, unit="ns",
                  anchor=value, anchor_source=source)


def sustained(clocks, rng):
    """One tag per clock until the record buffer is full; then every loss is accounted for."""
    setup = Setup()
    setup.write("edges", [3] * CHANNELS)
    setup.registers.write("control", 1)
    rest = 6000
    levels = np.zeros((CHANNELS, clocks + rest), np.uint8)
    levels[5, :clocks] = np.arange(clocks) % 2 * 15
    levels[5, clocks:] = levels[5, clocks - 1]
    fines = rng.integers(0, 2048, (CHANNELS, clocks + rest, SAMPLES)).astype(np.uint16)
    # The reader is asleep: the level is what was written, with the lag of the queue ahead.
    first, when = setup.run(levels[:, :3000], fines[:, :3000], first_tick=0,
                            buffer_level=np.clip(np.arange(3000) - 24, 0, BUFFER_DEPTH - 16))
    tags = when[first >> np.uint64(60) == 0]
    longest = len(tags)
    if (np.diff(tags) != 1).any():
        raise SystemExit("there are gaps in one tag per clock")
    # Then it wakes up and reads three records in ten clocks.
    level, ready = BUFFER_DEPTH - 16, (rng.random(clocks + rest - 3000) < 0.3)
    ready[-rest:] = True
    second, _ = setup.run(levels[:, 3000:], fines[:, 3000:], first_tick=3000, ready=ready,
                          buffer_level=np.maximum(level - np.arange(len(ready)), 0))
    edges = golden.edges_from_words(levels, fines, samples=SAMPLES)
    parsed = golden.audit(np.concatenate([first, second]), *edges)
    lost = parsed.lost(LossCause.BUFFER) + parsed.lost(LossCause.BURST)
    generated, sent = len(edges[0]), len(parsed.times)
    registers = (setup.registers.read("recorded"), setup.registers.read("lost_buffer")
                 + setup.registers.read("lost_burst"), setup.read("seen"))
    if registers != (sent, lost, generated) or sent + lost != generated:
        raise SystemExit(f"the books do not balance: {sent} + {lost} != {generated}, {registers}")
    yield Row(name="tagger/one_tag_per_clock/until_full", figure=longest, unit="tags",
              anchor=BUFFER_DEPTH, anchor_source="places in the record buffer")
    yield Row(name="tagger/one_tag_per_clock/rate", figure=1e3 / TICK_NS, unit="Mtags/s")
    yield Row(name="tagger/overflow/generated", figure=generated, unit="edges")
    yield Row(name="tagger/overflow/sent", figure=sent, unit="edges")
    yield Row(name="tagger/overflow/reported_lost", figure=lost, unit="edges")
    yield Row(name="tagger/overflow/sent_plus_lost", figure=sent + lost, unit="edges",
              anchor=generated, anchor_source="generated")


def main():
    options = arguments(__doc__)
    rng = np.random.default_rng(options.seed)
    rows = [*million(100_000 if options.quick else 1_000_000, rng), *pairs(),
            *sustained(10_000 if options.quick else 100_000, rng)]
    report(rows, options)


if __name__ == "__main__":
    main()
