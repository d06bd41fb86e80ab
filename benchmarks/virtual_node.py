"""How fast the virtual node runs, with tags flowing, and the same node in Amaranth's simulator.

Both simulators get the same gateware, the same bytes from the host and the same photons on all
eight channels, and have to send the same bytes back. Both run in one thread; speeds are per second
of this process's CPU time, the handling of the tags in Python included, so that other programs on
the machine count as little as they can.
"""

import time

import numpy as np
from amaranth.sim import Simulator
from common import Row, arguments, report

from quantacore.gateware.layouts.frames import Op
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.tagger import Edges
from quantacore.gateware.layouts.tags import FINE_BITS
from quantacore.gateware.node import Node, NodeConfig
from quantacore.sim.golden import framing
from quantacore.sim.node.build import BuildProgress
from quantacore.sim.node.engine import Engine, fine_from_ps
from quantacore.sim.photonics.sources import Poisson

SESSION = 1
CHANNELS = 8
#: Detections per second on each channel: a bright experiment, 8 M tags/s in all.
RATE_HZ = 1e6
WANTED = 1e6
WANTED_RATIO = 100


class Requests:
    """Requests in order, as bytes."""

    def __init__(self):
        self._seq = 0

    def __call__(self, op, argument=0, payload=()):
        frame = framing.Frame(session=SESSION, seq=self._seq & 0xFFFF, op=op.value,
                              argument=argument, payload=tuple(payload))
        self._seq += 1
        return framing.encode(frame)


def address(block, name):
    """Word address of a register."""
    for placed in NODE_MAP.placed():
        if (placed.block, placed.register.name) == (block, name):
            return placed.address
    raise KeyError(f"There is no register {block}.{name}")


def start_tagging(request):
    """Open a session, tag rising edges of all channels, grant the whole buffer."""
    data = request(Op.SYNC, payload=(SESSION,))
    data += request(Op.WRITE, address("tagger", "edges"), [Edges.RISING.value] * CHANNELS)
    data += request(Op.WRITE, address("tagger", "control"), [1])
    return data + request(Op.CREDIT, 1, (0, 1 << 30, 0))


def photons(seed):
    """A source on every channel."""
    return [Poisson(RATE_HZ, channel=channel, rng=np.random.default_rng([seed, channel]))
            for channel in range(CHANNELS)]


def records_until(data):
    """Index after the last record in whole stream frames, and what is left of ``data``."""
    *whole, rest = data.split(b"\0")
    for text in reversed(whole):
        frame = framing.decode(text) if text else None
        if isinstance(frame, framing.Frame) and frame.op == Op.STREAM.value:
            index, records = framing.stream_records(frame)
            return index + len(records), rest
    return None, rest


def with_tags(config, seed, ticks):
    """Seconds for ``ticks`` ticks with tags flowing, and how many came."""
    request = Requests()
    with Engine(config, photons(seed), start_on="reset") as engine:
        engine.send(start_tagging(request))
        engine.advance(20_000)
        rest, done = b"", 0
        begun, first = time.process_time(), engine.tick
        while engine.tick - first < ticks:
            engine.advance(16_384)
            index, rest = records_until(rest + engine.receive())
            if index is not None:
                done = index
                engine.send(request(Op.CREDIT, 1, (done, done + (1 << 30) & 0xFFFFFFFF, 0)))
        return time.process_time() - begun, engine.tick - first, done, engine.statistics


def idle(config, ticks):
    """Seconds for ``ticks`` ticks in which nothing happens."""
    with Engine(config) as engine:
        begun = time.process_time()
        engine.advance(ticks)
        return time.process_time() - begun


def engine_bytes(config, seed, ticks):
    """What the node sends in its first ``ticks`` ticks."""
    with Engine(config, photons(seed), start_on="reset") as engine:
        engine.send(start_tagging(Requests()))
        engine.advance(ticks)
        return engine.receive()


def words(config, seed, ticks):
    """Sample words of every channel for the first ticks: a list of {channel: word} by tick.

    Written on its own, not with the engine's code: pulses of two samples.
    """
    samples, fine_width = config.samples, FINE_BITS - config.samples.bit_length() + 1
    levels = np.zeros((CHANNELS, ticks * samples + 64), dtype=bool)
    fines = np.zeros(levels.shape, dtype=np.int64)
    for source in photons(seed):
        times, _ = source.batches(int(ticks * config.tick_ps))
        fine = fine_from_ps(times, config.tick_ps)
        at, code = fine >> fine_width, fine & (1 << fine_width) - 1
        keep, last = [], -10
        for k, sample in enumerate(at.tolist()):
            if sample - last >= 2:
                keep.append(k)
                last = sample
        at, code = at[keep], code[keep]
        for sample, following, value in zip(at.tolist(), [*at[1:].tolist(), 1 << 62],
                                            code.tolist(), strict=True):
            end = min(sample + 2, following - 1)
            levels[source.channel, sample:end] = True
            fines[source.channel, sample] = value
            fines[source.channel, end] = value if end == sample + 2 else 0
    result = []
    for tick in range(ticks):
        now = {}
        for channel in range(CHANNELS):
            word = 0
            for i in range(samples):
                at = tick * samples + i
                word |= int(levels[channel, at]) << i
                word |= int(fines[channel, at]) << samples + i * fine_width
            now[channel] = word
        result.append(now)
    return result


def amaranth(config, seed, ticks):
    """Seconds in Amaranth's simulator for the first ``ticks`` ticks, and the bytes sent."""
    node = Node(config)
    stimulus = words(config, seed, ticks)
    to_node = start_tagging(Requests())
    sent = bytearray()

    async def testbench(ctx):
        at, last = 0, dict.fromkeys(range(CHANNELS), 0)
        ctx.set(node.tx.ready, 1)
        for now in stimulus:
            for channel, word in now.items():
                if word != last[channel]:
                    ctx.set(node.detectors[channel].as_value(), word)
            last = now
            ctx.set(node.rx.valid, at < len(to_node))
            if at < len(to_node):
                ctx.set(node.rx.payload, to_node[at])
                at += ctx.get(node.rx.ready)
            if ctx.get(node.tx.valid):
                sent.append(ctx.get(node.tx.payload))
            await ctx.tick()

    simulator = Simulator(node)
    simulator.add_clock(1 / float(config.clock_hz))
    simulator.add_testbench(testbench)
    begun = time.process_time()
    simulator.run()
    return time.process_time() - begun, bytes(sent)


def main():
    options = arguments(__doc__, rebuild={"action": "store_true",
                                          "help": "build in a fresh cache to time it"})
    config = NodeConfig(channels=CHANNELS, samples=4, simulated=True)
    if options.rebuild:
        import os
        import tempfile

        os.environ["QUANTACORE_CACHE"] = tempfile.mkdtemp(prefix="quantacore-")
    with Engine(config, progress=BuildProgress.rich()) as engine:
        info = engine.library.info
    ticks = 3_000_000 if options.quick else 20_000_000
    slow_ticks = 3000 if options.quick else 10_000
    seconds, passed, tags, statistics = with_tags(config, options.seed, ticks)
    speed = passed / seconds
    still = 2 * ticks / idle(config, 2 * ticks)
    slow_seconds, slow_sent = amaranth(config, options.seed, slow_ticks)
    slow = slow_ticks / slow_seconds
    fast_sent = engine_bytes(config, options.seed, slow_ticks)
    if fast_sent != slow_sent:
        pairs = enumerate(zip(fast_sent, slow_sent, strict=False))
        where = next((k for k, (fast, slow) in pairs if fast != slow), "the end of the shorter")
        raise SystemExit(f"The simulators disagree: {len(fast_sent)} bytes from Verilator, "
                         f"{len(slow_sent)} from Amaranth, different from byte {where} on")
    measured = "Amaranth's simulator, same node and stimulus, this run"
    name = "virtual_node/spine"
    report([
        Row(name=f"{name}/cycles_per_second", figure=speed, unit="cycles/s", anchor=slow,
            anchor_source=measured),
        Row(name=f"{name}/cycles_per_second_wanted", figure=speed, unit="cycles/s",
            anchor=WANTED, anchor_source="asked of this project"),
        Row(name=f"{name}/speedup_wanted", figure=speed / slow, unit="times",
            anchor=WANTED_RATIO, anchor_source="asked of this project, over Amaranth's"),
        Row(name=f"{name}/idle_cycles_per_second", figure=still, unit="cycles/s"),
        Row(name=f"{name}/tags_per_second", figure=tags / seconds, unit="tags/s"),
        Row(name=f"{name}/tags_per_cycle", figure=tags / statistics["ticks"], unit="tags"),
        Row(name=f"{name}/bytes_equal", figure=len(slow_sent), unit="bytes",
            anchor=len(fast_sent), anchor_source="bytes of both simulators, all equal"),
        Row(name=f"{name}/build_time", figure=info["build_s"], unit="s"),
        Row(name=f"{name}/verilog", figure=info["verilog_lines"], unit="lines"),
    ], options)


if __name__ == "__main__":
    main()
