"""Register operations through a line that flips, drops and doubles bytes and whole frames.

A million writes, reads and read-modify-writes of a node's registers, eight coroutines at a time,
each value checked against a dictionary. Faults come in both directions: of each byte 0.1 % are
flipped, 0.1 % dropped and 0.1 % doubled, of each frame 0.1 % dropped and 0.1 % doubled.

The anchor does as many operations through the same faults: a model of LiteX UARTBone's framing as
it is documented (command, length, address and data in big-endian bytes; no check sum, no answer
to a write, no sequence; the receiver starts over after 100 ms of silence). A read that never gets
its four bytes is a hang of that host's loop; the model then lets both sides start over, which
favours it.
"""

import asyncio
import random
import sys
import time

from common import Row, arguments, report

from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.host.driver.link import LinkClient
from quantacore.host.transport.base import TransportUnavailableError, open_transport
from quantacore.host.transport.faulty import FaultRates, FaultyTransport, damage

RATES = FaultRates(flip=1e-3, drop=1e-3, double=1e-3, frame_drop=1e-3, frame_double=1e-3)
WORKERS = 8
#: No operation may take longer.
HANG_S = 30
#: Registers that keep what is written and do nothing while the node is idle.
NAMES = ("identity.scratch", "timing.gains", "timing.divider", "timing.window",
         "timing.lock_threshold", "timing.sync_width", "tagger.dead_time", "tagger.delay",
         "tagger.rate_gate")


def registers():
    """``(address, mask)`` of each register that is used."""
    found = []
    for name in NAMES:
        placed = NODE_MAP[name]
        for index in range(placed.register.count or 1):
            found.append((placed.element(index), (1 << placed.register.width) - 1))
    return found


async def work(link, own, operations, seed, wrong):
    """Operations on registers that no other worker touches."""
    rng = random.Random(seed)
    model = {}
    for address, mask in own:
        value = rng.getrandbits(32)
        await link.write_word(address, value)
        model[address] = value & mask
    for _ in range(operations):
        address, mask = own[int(rng.random() * len(own))]
        kind = rng.random()
        if kind < 0.4:
            value = rng.getrandbits(32)
            await link.write_word(address, value)
            model[address] = value & mask
        elif kind < 0.9:
            if await link.read_word(address) != model[address]:
                wrong.append(address)
        else:
            bits, value = rng.getrandbits(32), rng.getrandbits(32)
            old = model[address]
            if await link.modify(address, bits, value) != old:
                wrong.append(address)
            model[address] = (old & ~bits | value & bits) & mask
    for address, _mask in own:
        if await link.read_word(address) != model[address]:
            wrong.append(address)


async def run(transport, operations, seed):
    """Do it; give figures back."""
    faulty = FaultyTransport(transport, RATES, seed=seed)
    link = LinkClient(faulty, retries=20)
    wrong, hangs = [], 0
    await link.open(takeover=True)
    try:
        places = registers()
        # In parts, each watched for a hang by a time-out over all of its operations.
        part = 2000
        start = time.perf_counter()
        done = 0
        while done < operations:
            number = min(part, operations - done)
            shares = [number // WORKERS + (i < number % WORKERS) for i in range(WORKERS)]
            try:
                async with asyncio.timeout(HANG_S):
                    await asyncio.gather(*(
                        work(link, places[i::WORKERS], share, seed + done + i, wrong)
                        for i, share in enumerate(shares)))
            except TimeoutError:
                hangs += 1
            done += number
        seconds = time.perf_counter() - start
    finally:
        await link.close()
    return {"wrong": len(wrong), "hangs": hangs, "seconds": seconds, "statistics": link.statistics,
            "injected": {k: v for k, v in faulty.injected.items() if v},
            "frames": faulty.frames_written}


class UARTBone:
    """The receiving side of UARTBone, from its documented format."""

    WRITE, READ = 1, 2

    def __init__(self):
        self.registers = {}
        self.restart()

    def restart(self):
        """What 100 ms of silence do."""
        self.pending = b""

    def feed(self, data):
        """Bytes in, bytes out."""
        buffer = self.pending + data
        out = []
        while buffer:
            command = buffer[0]
            if command not in (self.WRITE, self.READ):
                buffer = buffer[1:]
                continue
            if len(buffer) < 6:
                break
            length = buffer[1]
            address = int.from_bytes(buffer[2:6], "big")
            if command == self.READ:
                out += [self.registers.get(address + i, 0).to_bytes(4, "big")
                        for i in range(length)]
                buffer = buffer[6:]
                continue
            if len(buffer) < 6 + 4 * length:
                break
            for i in range(length):
                self.registers[address + i] = int.from_bytes(buffer[6 + 4 * i:10 + 4 * i], "big")
            buffer = buffer[6 + 4 * length:]
        self.pending = buffer
        return b"".join(out)


def run_uartbone(operations, seed):
    """As many writes and reads through the same byte faults."""
    rng = random.Random(seed)
    node = UARTBone()
    rates = FaultRates(flip=RATES.flip, drop=RATES.drop, double=RATES.double)
    out, back = damage(rates, seed=seed), damage(rates, seed=seed + 1)
    places = [address for address, _ in registers()]
    model = {}
    wrong = hangs = 0
    for _ in range(operations):
        address = places[int(rng.random() * len(places))]
        if address not in model or rng.random() < 0.5:
            value = rng.getrandbits(32)
            node.feed(out(b"\1\1" + address.to_bytes(4, "big") + value.to_bytes(4, "big")))
            model[address] = value
        else:
            answer = back(node.feed(out(b"\2\1" + address.to_bytes(4, "big"))))
            if len(answer) < 4:
                hangs += 1
                node.restart()
            elif int.from_bytes(answer[:4], "big") != model[address]:
                wrong += 1
    return wrong, hangs


def choose(name):
    """``(label, transport, runner)`` for ``--node``."""
    if name in (None, "virtual"):
        try:
            return "virtual", open_transport("virtual:"), asyncio.run
        except TransportUnavailableError as error:
            if name:
                sys.exit(str(error))
            print("the virtual node is not installed; using the golden node", file=sys.stderr)
            name = "golden"
    if name == "golden":
        from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time
        return "golden", GoldenTransport(), run_in_simulated_time
    return "given", open_transport(name), asyncio.run


def main():
    options = arguments(__doc__.splitlines()[0], node={
        "metavar": "NODE", "help": "golden, virtual, or any transport URL (default: virtual, or "
        "golden where the simulator is missing)"}, operations={
        "type": int, "help": "how many (default: 1000000, quick: 20000)"})
    operations = options.operations or (20_000 if options.quick else 1_000_000)
    label, transport, runner = choose(options.node)
    result = runner(run(transport, operations, options.seed))
    anchor_wrong, anchor_hangs = run_uartbone(operations, options.seed)
    source = "LiteX UARTBone: model of its documented framing, measured in this run"
    statistics = result["statistics"]
    faults = sum(result["injected"].values())
    case = f"link_faults/{label}"
    rows = [
        Row(name=f"{case}/operations", figure=operations, unit="operations"),
        Row(name=f"{case}/wrong_values", figure=result["wrong"], unit="values",
            anchor=anchor_wrong, anchor_source=source),
        Row(name=f"{case}/hangs", figure=result["hangs"], unit="hangs", anchor=anchor_hangs,
            anchor_source=source),
        Row(name=f"{case}/operations_per_second", figure=operations / result["seconds"],
            unit="1/s"),
        *(Row(name=f"{case}/injected_{kind}", figure=number, unit="faults")
          for kind, number in result["injected"].items()),
        Row(name=f"{case}/retries", figure=statistics.retries, unit="frames"),
        Row(name=f"{case}/retries_not_counted", unit="frames",
            figure=result["frames"] - statistics.requests - statistics.retries),
        Row(name=f"{case}/retries_per_fault", figure=statistics.retries / max(1, faults),
            unit="frames"),
        Row(name=f"{case}/timeouts", figure=statistics.timeouts, unit="time-outs"),
    ]
    report(rows, options)
    failed = [row.name for row in rows[1:3] if row.figure]
    failed += [row.name for row in rows if row.name.endswith("not_counted") and row.figure]
    if failed:
        sys.exit(f"should be 0: {', '.join(failed)}")


if __name__ == "__main__":
    main()
