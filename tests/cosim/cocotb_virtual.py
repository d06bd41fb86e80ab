"""Virtual channels as Verilog against their golden model, and the books of what they send."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.layouts.tags import EpochRecord, LossCause, LostRecord, TagKind, TagRecord
from quantacore.gateware.layouts.virtual import (
    FIRST_VIRTUAL,
    VIRTUAL,
    VIRTUAL_CHANNELS,
    VirtualChannel,
    VirtualFlags,
    VirtualKind,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.csr_bus import access_register
from quantacore.sim.golden.virtual import VirtualSettings, virtual_edges

DEPTH = int(os.environ["QC_DEPTH"])
RECORD_DEPTH = int(os.environ["QC_RECORD_DEPTH"])
REGISTERS = {register.name: (offset, register) for offset, register in VIRTUAL.offsets()}
#: Just before the epoch changes.
BEGIN = (1 << 40) - 6000
HOLD = 1024


class Bench:
    """Drives edges, records and the register bus, and keeps all that comes out."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(seed_from_environment())
        self.tick = BEGIN
        self.edges, self.source = {}, []
        self.stall = 0.0
        self.merged, self.records = [], []

    async def start(self):
        cocotb.log.info("seed %#x", seed_from_environment())
        cocotb.start_soon(Clock(self.dut.clk, 8, unit="ns").start())
        for name in ("csr__read", "csr__write", "csr__address", "csr__w_data", "edges__valid",
                     "edges__payload", "i__valid", "i__payload", "records__ready"):
            getattr(self.dut, name).value = 0
        self.dut.tick.value = self.tick
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0
        cocotb.start_soon(self._drive())
        await self.write("hold", HOLD)

    async def _drive(self):
        dut = self.dut
        while True:
            edge = self.edges.pop(self.tick, None)
            dut.edges__valid.value = edge is not None
            if edge is not None:
                time, channel = edge
                dut.edges__payload.value = Edge.const(
                    {"fine": time & 8191, "tick": time >> 13, "channel": channel}).as_bits()
            # What has been offered stays.
            if not int(dut.i__valid.value):
                self.offer(bool(self.source) and self.rng.random() < 0.5)
            dut.records__ready.value = self.rng.random() >= self.stall
            await FallingEdge(dut.clk)
            if dut.merged__valid.value == 1:
                merged = Edge.from_bits(int(dut.merged__payload.value))
                self.merged.append((merged.tick << 13 | merged.fine, merged.channel))
            if dut.records__valid.value == 1 and dut.records__ready.value == 1:
                self.records.append(int(dut.records__payload.value))
            taken = dut.i__valid.value == 1 and dut.i__ready.value == 1
            await ClockCycles(dut.clk, 1)
            if taken:
                self.source.pop(0)
                dut.i__valid.value = 0
                self.offer(bool(self.source) and self.rng.random() < 0.5)
            self.tick += 1
            dut.tick.value = self.tick

    def offer(self, offered):
        self.dut.i__valid.value = offered
        if offered:
            self.dut.i__payload.value = self.source[0]

    async def clocks(self, number):
        await ClockCycles(self.dut.clk, number)

    async def write(self, name, value, index=0):
        await access_register(self.dut, REGISTERS[name][0] + index, "write", value)

    async def read(self, name, index=0):
        offset, register = REGISTERS[name]
        address = offset + index * register.words
        words = [await access_register(self.dut, address + i, "read")
                 for i in range(register.words)]
        return sum(word << 32 * i for i, word in enumerate(words))

    async def configure(self, number, settings, *, record=True, enable=True):
        combination = settings.watched is not None
        await self.write("window", settings.window, number)
        await self.write("guard_before", settings.guard_before, number)
        await self.write("guard_after", settings.guard_after, number)
        await self.write("channels", VirtualChannel.const({
            "enable": enable, "record": record,
            "kind": VirtualKind.COMBINATION if combination else VirtualKind.COINCIDENCE,
            "detectors": sum(1 << i for i in settings.detectors),
            "watched": sum(1 << i for i in settings.watched or ()),
        }).as_bits(), number)

    def plan(self, edges, delays=(0,) * 8):
        """Raw edges, times ascending, come out of the tagger in order, one in a clock.

        Returns the edges with their delays.
        """
        due, delayed = self.tick, []
        for time, channel in edges:
            due = max(due + 1, (time >> 13) + self.rng.randrange(18, 24))
            assert due not in self.edges
            delayed.append((time + delays[channel], channel))
            self.edges[due] = delayed[-1]
        self.last = due
        return delayed

    async def finish(self):
        """Until the last edge has done all that it can do."""
        while self.edges or self.source:
            await self.clocks(10)
        await self.clocks(max(0, self.last - self.tick) + 2 * HOLD + 2048)

    def virtual(self, number):
        return [time for time, channel in self.merged if channel == FIRST_VIRTUAL + number]

    async def flags(self):
        return VirtualFlags.from_bits(await self.read("flags"))

    async def nothing_lost(self):
        for name in ("flags", "lost", "edges_lost", "edges_late"):
            assert await self.read(name) == 0, name

    def clusters(self, number, *, spacing=900):
        """Groups of edges on a coarse grid, so that equal times and exact spans are frequent."""
        edges, time = [], self.tick + 50
        for _ in range(number):
            time += self.rng.randrange(spacing // 3, spacing)
            for _ in range(self.rng.randrange(1, 7)):
                edges.append(((time << 13) + self.rng.randrange(16) * 2048,
                              self.rng.randrange(4)))
        return sorted(set(edges))

    def random_settings(self):
        rng = self.rng
        detectors = frozenset(rng.sample(range(4), rng.randrange(1, 4)))
        window = rng.randrange(8) * 2048
        if rng.random() < 0.5:
            return VirtualSettings(detectors=detectors, window=window)
        return VirtualSettings(
            detectors=detectors, watched=detectors | frozenset(rng.sample(range(4), 2)),
            window=window, guard_before=rng.randrange(4) * 2048,
            guard_after=rng.randrange(4) * 2048)


def read_stream(words):
    """``(times of tags by channel, epochs as the words saw them, lost by cause)``."""
    epoch, overflow = None, False
    tags, seen, lost = {}, [], {cause: 0 for cause in LossCause}
    for word in words:
        record = TagRecord.from_bits(word)
        if record.kind is TagKind.EPOCH:
            epoch = EpochRecord.from_bits(word).epoch
            continue
        if record.kind is TagKind.LOST:
            entry = LostRecord.from_bits(word)
            lost[entry.cause] += entry.count
            if entry.cause is LossCause.VIRTUAL:
                assert not overflow and entry.count
                continue
        elif record.kind is TagKind.TAG:
            assert not overflow and epoch is not None
            time = (epoch << 40 | record.coarse) << 13 | record.fine
            tags.setdefault(record.channel, []).append(time)
            if record.channel >= FIRST_VIRTUAL:
                continue
        else:
            overflow = record.kind is TagKind.OVERFLOW_BEGIN
        seen.append((epoch, word))
    return tags, seen, lost


def tagger_records(rng, number):
    """A stream as a tagger sends it: epochs, tags, overflows."""
    epoch = BEGIN >> 40
    words = [EpochRecord.const({"epoch": epoch, "kind": TagKind.EPOCH}).as_bits()]

    def mark(kind):
        return TagRecord.const({"coarse": rng.getrandbits(40), "fine": rng.getrandbits(13),
                                "channel": rng.randrange(8), "kind": kind}).as_bits()

    for i in range(number):
        if i == number // 2:
            words.append(EpochRecord.const({"epoch": epoch + 1, "kind": TagKind.EPOCH}).as_bits())
        words.append(mark(TagKind.TAG))
        if i % 20 == 7:
            words += [mark(TagKind.OVERFLOW_BEGIN), mark(TagKind.OVERFLOW_END),
                      LostRecord.const({"count": 5, "cause": LossCause.BUFFER,
                                        "kind": TagKind.LOST}).as_bits()]
    return words


async def begin(dut):
    bench = Bench(dut)
    await bench.start()
    return bench


@cocotb.test()
async def equals_the_model_and_the_records_say_so(dut):
    bench = await begin(dut)
    for delays in ((0,) * 8, tuple(bench.rng.randrange(-900 << 13, 900 << 13, 2048)
                                   for _ in range(8))):
        settings = [bench.random_settings() for _ in range(VIRTUAL_CHANNELS)]
        for number, some in enumerate(settings):
            await bench.configure(number, some)
        await bench.write("clear", 1)
        await bench.clocks(10)
        bench.merged, bench.records = [], []
        bench.stall = bench.rng.choice([0, 0.3])
        edges = bench.plan(bench.clusters(40), delays)
        source = tagger_records(bench.rng, 300)
        bench.source = list(source)
        await bench.finish()
        assert [edge for edge in bench.merged if edge[1] < 8] == edges
        tags, seen, lost = read_stream(bench.records)
        assert seen == read_stream(source)[1]
        assert lost[LossCause.VIRTUAL] == 0
        for number, some in enumerate(settings):
            expected = virtual_edges(edges, some)
            cocotb.log.info("%d edges of %r", len(expected), some)
            assert bench.virtual(number) == expected, (number, some)
            assert tags.get(FIRST_VIRTUAL + number, []) == expected
            assert await bench.read("generated", number) == len(expected)
        assert await bench.read("sent") == sum(map(len, (bench.virtual(i) for i in range(4))))
        await bench.nothing_lost()


@cocotb.test()
async def records_lost_in_a_stall_are_reported(dut):
    bench = await begin(dut)
    every = VirtualSettings(detectors=frozenset({2}), window=0)
    await bench.configure(0, every)
    await bench.configure(1, every, record=False)
    bench.stall = 1
    count = RECORD_DEPTH + 30
    edges = bench.plan([((bench.tick + 100 + 40 * i << 13) + 5, 2) for i in range(count)])
    await bench.finish()
    # The queue is full, and of what has left it one edge may stand at the output.
    lost = await bench.read("lost")
    assert count - RECORD_DEPTH - 1 <= lost <= count - RECORD_DEPTH
    assert (await bench.flags()).tag_lost == 1
    bench.stall = 0.3
    await bench.clocks(20 * RECORD_DEPTH)
    tags, _, reported = read_stream(bench.records)
    assert reported[LossCause.VIRTUAL] == lost == await bench.read("lost")
    assert tags == {FIRST_VIRTUAL: [time for time, _ in edges][:count - lost]}
    assert await bench.read("sent") + lost == await bench.read("generated") == count
    assert bench.virtual(0) == bench.virtual(1) == [time for time, _ in edges]


@cocotb.test()
async def edges_that_find_no_room_are_counted(dut):
    bench = await begin(dut)
    await bench.configure(3, VirtualSettings(detectors=frozenset({5}), window=0), record=False)
    count = DEPTH + 40
    edges = bench.plan([((bench.tick + 10 + i << 13), 5) for i in range(count)])
    await bench.finish()
    lost = await bench.read("edges_lost")
    assert count - DEPTH <= lost <= count - DEPTH + 2
    assert (await bench.flags()).edge_lost == 1
    assert await bench.read("generated", 3) == count - lost
    assert bench.virtual(3) == [time for time, _ in edges][:count - lost]
    assert bench.records == []


@cocotb.test()
async def edges_that_come_late_are_counted(dut):
    bench = await begin(dut)
    await bench.configure(0, VirtualSettings(detectors=frozenset({1}), window=0))
    await bench.configure(1, VirtualSettings(detectors=frozenset({0}), window=0))
    first = bench.tick + 100
    bench.last = first
    bench.edges[first] = (first << 13, 0)
    # When this comes, the first has gone; the marks have gone by then too.
    late = first + HOLD + 400
    bench.edges[late] = ((first << 13) - 1, 1)
    bench.edges[late + 10] = ((late << 13), 1)
    await bench.finish()
    assert await bench.read("edges_late") == 1
    assert (await bench.flags()).edge_late == 1
    assert bench.virtual(0) == [late << 13]
    assert bench.virtual(1) == [first << 13]


@cocotb.test()
async def clear_forgets_everything(dut):
    bench = await begin(dut)
    await bench.configure(0, VirtualSettings(detectors=frozenset({0, 1}), window=1 << 20))
    await bench.configure(1, VirtualSettings(
        detectors=frozenset({0}), watched=frozenset({0, 1}), window=0, guard_after=1 << 20))
    for wait in (20, HOLD + 80):     # still in the queue; looked at
        bench.merged = []
        bench.edges[bench.tick + 20] = (bench.tick << 13, 0)
        await bench.clocks(20 + wait)
        await bench.write("clear", 1)
        bench.last = bench.tick + 20
        bench.edges[bench.last] = (bench.last << 13, 1)
        await bench.finish()
        assert [channel for _, channel in bench.merged] == [0, 1]
        assert await bench.read("generated", 0) == await bench.read("generated", 1) == 0


@cocotb.test()
async def channel_that_is_off_makes_nothing_and_forgets(dut):
    bench = await begin(dut)
    both = VirtualSettings(detectors=frozenset({0, 1}), window=(1 << 24) - 1)
    await bench.configure(2, both)
    bench.edges[bench.tick + 20] = (bench.tick << 13, 0)
    await bench.clocks(HOLD + 200)
    await bench.configure(2, both, enable=False)
    await bench.configure(2, both)
    bench.last = bench.tick + 20
    bench.edges[bench.last] = (bench.last << 13, 1)
    await bench.finish()
    assert bench.virtual(2) == []


@cocotb.test()
async def virtual_edges_give_way_to_edges(dut):
    """An edge in every clock, for as long as the virtual ones would come out."""
    bench = await begin(dut)
    await bench.configure(0, VirtualSettings(detectors=frozenset({0}), window=0))
    edges = bench.plan([(bench.tick + 30 * i << 13, 0) for i in range(10)])
    first = bench.last + 1
    flood = [((first + i << 13), 7) for i in range(HOLD + 600)]
    for i, edge in enumerate(flood):
        bench.edges[first + i] = edge
    bench.last = first + len(flood)
    await bench.finish()
    assert [edge for edge in bench.merged if edge[1] < 8] == edges + flood
    assert bench.virtual(0) == [time for time, _ in edges]
