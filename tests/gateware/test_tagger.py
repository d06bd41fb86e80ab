"""The tagger in Amaranth's simulator: directed cases, and what constructors refuse."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from quantacore.gateware.herald.edge import Item
from quantacore.gateware.herald.filter import LATENCY, Filter
from quantacore.gateware.herald.histogram import Histogram
from quantacore.gateware.herald.rows import RowQueue
from quantacore.gateware.herald.tagger import Tagger
from quantacore.gateware.herald.writer import Writer
from quantacore.gateware.layouts.tagger import TAGGER, Edges
from quantacore.gateware.layouts.tags import TagKind, TagRecord
from quantacore.sim.golden.samples import encode_edges
from quantacore.sim.golden.tagger import tag_records, write_records

REGISTERS = {register.name: offset for offset, register in TAGGER.offsets()}


def simulate(times, *, channels=2, samples=4, settings=(), first_tick=0, clocks=160):
    """Records, and the clock of each, for edges of channel ``c`` at ``times[c]`` (fine units)."""
    dut = Tagger(channels=channels, samples=samples, fine=True, row_depth=16, buffer_depth=64)
    words = [encode_edges(np.array(line) + first_tick * 8192, samples=samples) for line in times]
    dense = [word.dense(first_tick, clocks) for word in words]
    records = []

    async def testbench(ctx):
        async def write(name, value, index=0):
            ctx.set(dut.csr.address, REGISTERS[name] + index)
            ctx.set(dut.csr.w_data, value & 0xFFFFFFFF)
            ctx.set(dut.csr.write, 1)
            await ctx.tick()
            ctx.set(dut.csr.write, 0)
            await ctx.tick().repeat(4)

        ctx.set(dut.records.ready, 1)
        for channel in range(channels):
            await write("edges", Edges.BOTH.value, channel)
        for name, index, value in settings:
            await write(name, value, index)
        await write("control", 1)
        for n in range(clocks):
            ctx.set(dut.tick, first_tick + n)
            for channel, (levels, fines) in enumerate(dense):
                word = {"level": int(levels[n]), "fine": fines[n].tolist()}
                ctx.set(dut.detectors[channel], word)
            if ctx.get(dut.records.valid):
                records.append((n, ctx.get(dut.records.payload)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(8e-9)
    sim.add_testbench(testbench)
    sim.run()
    return [n for n, _ in records], [record for _, record in records]


def expected(*edges):
    return write_records(*(np.array(column) for column in zip(*edges, strict=True))).tolist()


def test_two_edges_in_one_clock():
    _, records = simulate([[8192 * 20 + 100, 8192 * 20 + 5000], []])
    assert records == expected((8192 * 20 + 100, 0, False), (8192 * 20 + 5000, 0, True))


def test_two_edges_one_sample_apart():
    # Samples 3 and 0 of the words of neighbouring ticks.
    at = 8192 * 21
    _, records = simulate([[at - 1, at], []])
    assert records == expected((at - 1, 0, False), (at, 0, True))


def test_the_order_is_by_sample_and_then_by_channel():
    at = 8192 * 20
    _, records = simulate([[at + 2047, at + 4000], [at + 2000, at + 4100]])
    # The edges of sample 0 come by channel, though channel 1 was earlier inside the sample.
    assert records == expected((at + 2047, 0, False), (at + 2000, 1, False), (at + 4000, 0, True),
                               (at + 4100, 1, True))


def test_latency_from_sample_word_to_record():
    clocks, records = simulate([[8192 * 20], []])
    assert len(records) == 2
    assert clocks == [20 + 25, 20 + 27]  # the EPOCH of the run, and the edge


def test_an_edge_exactly_at_the_end_of_the_dead_time_is_kept():
    at = 8192 * 20
    settings = [("dead_time", 0, 5000)]
    _, records = simulate([[at, at + 4999], []], settings=settings)
    assert records == expected((at, 0, False))
    _, records = simulate([[at, at + 5000], []], settings=settings)
    assert records == expected((at, 0, False), (at + 5000, 0, True))


def test_a_dropped_edge_does_not_extend_the_dead_time():
    at = 8192 * 20
    _, records = simulate([[at, at + 3000, at + 6000], []], settings=[("dead_time", 0, 6000)])
    assert records == expected((at, 0, False), (at + 6000, 0, False))


@pytest.mark.parametrize("delay", [1, 8191 * 512, -1, -(1 << 23), (1 << 23) - 1])
def test_a_delay_carries_into_the_tick(delay):
    at = 8192 * ((1 << 20) + 20) + 8191
    _, records = simulate([[8192 * 20 + 8191], []], first_tick=1 << 20,
                          settings=[("delay", 0, delay)])
    assert records == expected((at + delay, 0, False))


def test_a_new_epoch_when_bit_40_of_the_tick_changes():
    edges = [8192 * 20, 8192 * 60]
    _, records = simulate([edges, []], first_tick=(1 << 40) - 40)
    kinds = [TagRecord.from_bits(record).kind for record in records]
    assert kinds == [TagKind.EPOCH, TagKind.TAG, TagKind.EPOCH, TagKind.TAG]
    assert records[2] & 0xFFFFFF == 1


def test_only_selected_edges():
    at = 8192 * 20
    line = [at, at + 9000]
    for select, kept in ((Edges.RISING, [(at, 0, False)]), (Edges.FALLING, [(at + 9000, 0, True)])):
        _, records = simulate([line, []], settings=[("edges", 0, select.value)])
        assert records == expected(*kept)
    _, records = simulate([line, []], settings=[("edges", 0, Edges.NONE.value)])
    assert records == []


def test_the_filter_keeps_up_with_one_channel():
    dut = Filter(channels=2)
    times = [100, 150, 199, 200, 299, 301, 400]
    kept = []

    async def testbench(ctx):
        ctx.set(dut.dead_time[1], 100)
        for n in range(len(times) + LATENCY + 1):
            if n < len(times):
                edge = {"fine": times[n], "channel": 1}
                ctx.set(dut.i.payload, {"edge": edge})
            ctx.set(dut.i.valid, n < len(times))
            if ctx.get(dut.o.valid):
                kept.append(ctx.get(dut.o.payload.edge.fine))
            await ctx.tick()
        assert ctx.get(dut.in_dead_time[1]) == 4

    sim = Simulator(dut)
    sim.add_clock(8e-9)
    sim.add_testbench(testbench)
    sim.run()
    assert kept == [100, 200, 301]


def test_an_item_is_as_wide_as_its_fields():
    assert Item.as_shape().size == 13 + 64 + 1 + 6 + 2


def test_a_tag_record_is_built_from_its_layout():
    assert int(tag_records([5 * 8192 + 3], [6], [True])[0]) == TagRecord.const(
        {"fine": 3, "coarse": 5, "falling": 1, "channel": 6, "kind": TagKind.TAG}).as_bits()


GOOD = {"channels": 8, "samples": 4, "fine": True, "row_depth": 16, "buffer_depth": 64}


@pytest.mark.parametrize("make, error, message", [
    (lambda: Tagger(**GOOD | {"channels": 9}), ValueError, "Channels must be 1 to 8, not 9"),
    (lambda: Tagger(**GOOD | {"channels": "8"}), TypeError, "Channels must be an integer, not '8'"),
    (lambda: Tagger(**GOOD | {"samples": 3}), ValueError,
     "Samples per clock must be one of (1, 2, 4, 8), not 3"),
    (lambda: Tagger(**GOOD | {"row_depth": 3}), ValueError,
     "Row queue depth must be at least 4, not 3"),
    (lambda: RowQueue(channels=1, samples=1, fine=False, depth=4.0), TypeError,
     "Row queue depth must be an integer, not 4.0"),
    (lambda: Tagger(**GOOD | {"buffer_depth": 15}), ValueError,
     "Record buffer depth must be 16 to 65535, not 15"),
    (lambda: Writer(buffer_depth=None), TypeError,
     "Record buffer depth must be an integer, not None"),
    (lambda: Histogram(ring=3), ValueError,
     "Histogram ring must be a power of two from 2 up, not 3"),
    (lambda: Histogram(queue_depth=1), ValueError,
     "Histogram queue depth must be at least 16, not 1"),
    (lambda: Histogram(count_bits=33), ValueError, "Histogram count bits must be 2 to 32, not 33"),
    (lambda: Histogram(ring="16"), TypeError, "Histogram ring must be an integer, not '16'"),
])
def test_construction_errors(make, error, message):
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value) == message
