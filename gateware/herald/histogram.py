"""Start-stop and all-pairs histogram of two channels, in block RAM."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.herald.edge import Edge
from quantacore.gateware.layouts.tagger import (
    HISTOGRAM,
    HISTOGRAM_BINS,
    HistogramFlags,
    HistogramMode,
)
from quantacore.gateware.layouts.tags import FINE_BITS
from quantacore.gateware.ram import RAM
from quantacore.gateware.stream import Queue
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["Histogram"]

_TIME_BITS = 64 + FINE_BITS
_BIN_BITS = exact_log2(HISTOGRAM_BINS)
_HALF = HISTOGRAM_BINS // 2
#: Differences that the widest bins can still tell apart fit this many bits.
_TAU_BITS = _BIN_BITS + 31 + 2
#: Clocks that a counted pair takes from its decision to the memory, rounded up.
_SETTLE = 8
_STARTS, _STOPS = 0, 1


class _BinCounter(wiring.Component):
    """The bins: one increment per clock, to any bin, also the same one again and again.

    Members
    -------
    valid, bin : In
        Count one. Takes 6 clocks.
    zero_valid, zero : In
        Clear a bin, in a clock in which no increment is under way.
    counted : Out(1)
        High for one clock per increment done.
    full : Out(1)
        High for one clock per increment refused because the bin holds the largest number.
    address : In, data : Out
        A second reader; data is two clocks behind.
    """

    def __init__(self, *, count_bits):
        self.count_bits = count_bits
        super().__init__({
            "valid": In(1), "bin": In(_BIN_BITS),
            "zero_valid": In(1), "zero": In(_BIN_BITS),
            "counted": Out(1), "full": Out(1),
            "address": In(_BIN_BITS), "data": Out(count_bits),
        })

    def elaborate(self, platform):
        m = Module()
        # Two memories of the same content, because each has one port to read from.
        m.submodules.bins = bins = RAM(width=self.count_bits, depth=HISTOGRAM_BINS)
        m.submodules.copies = copies = RAM(width=self.count_bits, depth=HISTOGRAM_BINS)
        write, write_address = Signal(), Signal(_BIN_BITS)
        write_data = Signal(self.count_bits)
        for store in (bins, copies):
            m.d.comb += [store.write.eq(write), store.write_address.eq(write_address),
                         store.write_data.eq(write_data), store.read.eq(1)]
        m.d.comb += [bins.read_address.eq(self.bin), copies.read_address.eq(self.address)]

        # What is written in the clock in which it is read goes around the memory.
        copy, written, is_written = (Signal(self.count_bits), Signal(self.count_bits), Signal())
        address_1, write_address_1, write_1 = Signal(_BIN_BITS), Signal(_BIN_BITS), Signal()
        write_data_1 = Signal(self.count_bits)
        m.d.sync += [
            address_1.eq(self.address), write_1.eq(write), write_address_1.eq(write_address),
            write_data_1.eq(write_data), written.eq(write_data_1),
            is_written.eq(write_1 & (address_1 == write_address_1)), copy.eq(copies.read_data),
        ]
        m.d.comb += self.data.eq(Mux(is_written, written, copy))

        # An increment reads in step 0, has the word in step 2, adds in step 3 and writes in step 5.
        # What its read could not see yet are the five increments ahead; which of them had the same
        # bin is known before step 2, where all but the nearest are looked at.
        bins_at, valid_at = [self.bin], [self.valid]
        for i in range(1, 7):
            bins_at.append(Signal(_BIN_BITS, name=f"bin_{i}"))
            valid_at.append(Signal(name=f"valid_{i}"))
            m.d.sync += [bins_at[i].eq(bins_at[i - 1]), valid_at[i].eq(valid_at[i - 1])]
        old, other = Signal(self.count_bits), Signal(self.count_bits)
        # A bit more than a bin has: the carry says that the bin was full, and makes it full again.
        sum_4 = Signal(self.count_bits + 1)
        new_4 = sum_4[:-1] | sum_4[-1].replicate(self.count_bits)
        new_5, new_6, new_7 = (Signal(self.count_bits, name=f"new_{i}") for i in (5, 6, 7))
        nearest_2, nearest_3 = Signal(), Signal()
        from_2 = Signal(5)
        same = [valid_at[i] & (bins_at[1] == bins_at[i]) for i in range(2, 7)]
        for i, later in enumerate(same[1:]):
            m.d.sync += from_2[i].eq(later & ~Cat(same[1:i + 1]).any())
        m.d.sync += from_2[-1].eq(~Cat(same[1:]).any())
        sources = (new_4, new_5, new_6, new_7, old)
        m.d.sync += [
            old.eq(bins.read_data), nearest_2.eq(same[0]), nearest_3.eq(nearest_2),
            other.eq(reduce(or_, (source & from_2[i].replicate(self.count_bits)
                                  for i, source in enumerate(sources)))),
            sum_4.eq(Mux(nearest_3, new_4, other) + 1),
            new_5.eq(new_4), new_6.eq(new_5), new_7.eq(new_6),
            self.counted.eq(valid_at[4] & ~sum_4[-1]), self.full.eq(valid_at[4] & sum_4[-1]),
            write_address.eq(Mux(self.zero_valid, self.zero, bins_at[4])),
            write_data.eq(Mux(self.zero_valid, 0, new_4)),
            write.eq(self.zero_valid | valid_at[4]),
        ]
        return m


class Histogram(wiring.Component):
    """Counts time differences stop - start of two channels.

    ``START_STOP`` counts, for each start, the first stop at or after it; bin 0 is zero.
    ``ALL_PAIRS`` counts every pair; the middle bin is zero. Both go by the edges' times, whatever
    order delays have put them in. If start and stop are the same channel, each edge is paired
    with earlier ones, so that differences are positive.

    The last ``ring`` edges of each channel are remembered, as long as they can find a partner. An
    edge that must be forgotten while an edge at the time of its successor would still be in the
    range of the histogram counts as ``pairs_lost``. Edges wait in a queue of ``queue_depth``; an
    edge takes about 14 clocks and one more for each edge of the other channel inside the range.
    Edges that find the queue full are counted in ``edges_lost``.

    Clearing takes effect at once: edges on their way, and those that come while ``busy``, do not
    count. When ``run`` falls, the edges in the queue still count; then the rings are emptied.

    Parameters
    ----------
    ring : int
        A power of two from 2.
    queue_depth : int
        From 16.
    count_bits : int
        Bits of a bin, 2 to 32; bins stop at the largest number.

    Members
    -------
    csr : In(CsrSignature)
        Registers of the block :data:`~quantacore.gateware.layouts.tagger.HISTOGRAM`.
    tick : In(64)
        Tick counter.
    edges : stream of Edge, always ready
    """

    def __init__(self, *, ring=16, queue_depth=512, count_bits=32):
        for name, value in (("ring", ring), ("queue_depth", queue_depth),
                            ("count_bits", count_bits)):
            if not isinstance(value, int):
                raise TypeError(f"Histogram {name} must be an integer, not {value!r}")
        if ring < 2 or ring & (ring - 1):
            raise ValueError(f"Histogram ring must be a power of two from 2 up, not {ring}")
        if queue_depth < 16:
            raise ValueError(f"Histogram queue depth must be at least 16, not {queue_depth}")
        if not 2 <= count_bits <= 32:
            raise ValueError(f"Histogram count bits must be 2 to 32, not {count_bits}")
        self.ring = ring
        self.queue_depth = queue_depth
        self.count_bits = count_bits
        self.bank = RegisterBank(HISTOGRAM)
        super().__init__({
            "csr": In(CsrSignature(self.bank.bus.signature.flip().address_width)),
            "tick": In(64),
            "edges": In(stream.Signature(Edge, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.flags = flags = StickyFlags(len(HistogramFlags.as_shape().members))
        m.submodules.counter = counter = _BinCounter(count_bits=self.count_bits)
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        control = bank.control
        all_pairs = Signal()
        same_channel = Signal()
        busy = Signal()
        m.d.sync += [all_pairs.eq(control.mode == HistogramMode.ALL_PAIRS),
                     same_channel.eq(control.start_channel == control.stop_channel)]

        # Selected edges go to the queue, two clocks later.
        waiting = data.StructLayout({"time": _TIME_BITS, "stop": 1})
        m.submodules.queue = queue = Queue(waiting, depth=self.queue_depth)
        edge_time, is_start, is_stop = Signal(_TIME_BITS), Signal(), Signal()
        accept = Signal()
        full, edge_lost = Signal(), Signal()
        m.d.comb += accept.eq(self.edges.valid & control.run & ~busy)
        m.d.sync += [
            edge_time.eq(Cat(self.edges.payload.fine, self.edges.payload.tick)),
            is_start.eq(accept & (self.edges.payload.channel == control.start_channel)),
            is_stop.eq(accept & (self.edges.payload.channel == control.stop_channel)),
            full.eq(queue.level >= self.queue_depth - 4),
            queue.i.payload.time.eq(edge_time),
            queue.i.payload.stop.eq(is_stop),
            queue.i.valid.eq((is_start | is_stop) & ~full),
            edge_lost.eq((is_start | is_stop) & full),
        ]

        # Rings. The newest entry is just below `head`, `filled` of them hold.
        index_bits = exact_log2(self.ring)
        m.submodules.rings = rings = RAM(width=_TIME_BITS, depth=2 * self.ring, block=False)
        heads = Array(Signal(index_bits, name=f"head_{i}") for i in range(2))
        filled = Array(Signal(range(self.ring + 1), name=f"filled_{i}") for i in range(2))

        # What leaves the queue comes late in the clock: a register of its own, beside the memory.
        popped = Signal(waiting)
        m.d.sync += popped.eq(queue.o.payload)
        current, current_stop = Signal(_TIME_BITS), Signal()
        scan_ring, push_ring = Signal(), Signal()
        position, number = Signal(range(self.ring + 1)), Signal(range(self.ring + 1))
        index, oldest = Signal(index_bits), Signal(index_bits)
        probing = Signal()
        # Registered, because it reaches far: to each of the rings' many small memories.
        lookup = Signal(index_bits + 1)
        m.d.comb += [rings.read.eq(1), rings.read_address.eq(lookup)]

        # The pipe that turns an entry into a bin. `probe` marks the entry that the current edge
        # will push out, which is compared as if the current edge were its partner.
        class Step:
            def __init__(self, number, before=None):
                self.valid = Signal(name=f"step_valid_{number}")
                self.probe = Signal(name=f"step_probe_{number}")
                self.position = Signal(range(ring_size + 1), name=f"step_position_{number}")
                if before is not None:
                    m.d.sync += [self.valid.eq(before.valid), self.probe.eq(before.probe),
                                 self.position.eq(before.position)]

        ring_size = self.ring
        steps = [Step(0)]
        for i in range(1, 9):
            steps.append(Step(i, steps[-1]))
        entry_3, minuend_4, subtrahend_4 = (Signal(_TIME_BITS, name=name) for name in
                                            ("entry_3", "minuend_4", "subtrahend_4"))
        tau_5 = Signal(signed(_TIME_BITS + 1))
        tau_6, fits_6 = Signal(signed(_TAU_BITS)), Signal()
        tau_7, fits_7 = Signal(signed(_TAU_BITS)), Signal()
        tau_8, fits_8 = Signal(signed(_TAU_BITS)), Signal()
        m.d.sync += [
            entry_3.eq(rings.read_data),
            minuend_4.eq(current), subtrahend_4.eq(entry_3),
            tau_5.eq(minuend_4 - subtrahend_4),
            tau_6.eq(Cat(tau_5[:_TAU_BITS - 1], tau_5[-1])),
            fits_6.eq((tau_5[_TAU_BITS - 1:] == 0) | tau_5[_TAU_BITS - 1:].all()),
            tau_7.eq(tau_6 >> Cat(C(0, 3), control.bin_shift[3:])), fits_7.eq(fits_6),
            tau_8.eq(tau_7 >> control.bin_shift[:3]), fits_8.eq(fits_7),
        ]
        with m.If(~current_stop & ~steps[3].probe):
            m.d.sync += [minuend_4.eq(entry_3), subtrahend_4.eq(current)]

        # Stage 8 decides. Entries come newest first, so the first that is finished (without a
        # partner from now on) ends what the ring holds.
        step = steps[8]
        negative, in_range = Signal(), Signal()
        finished, hit, chosen = Signal(), Signal(), Signal()
        cut, cut_at, found, found_in_range = Signal(), Signal.like(position), Signal(), Signal()
        probe_in_range = Signal()
        middle = tau_8[_BIN_BITS - 1:]
        m.d.comb += [
            negative.eq(tau_8[-1]),
            in_range.eq(fits_8 & Mux(all_pairs, (middle == 0) | middle.all(),
                                     tau_8[_BIN_BITS:] == 0)),
            finished.eq(Mux(all_pairs, ~in_range & (negative ^ current_stop),
                            negative ^ current_stop)),
            hit.eq(in_range & (all_pairs | current_stop)),
            chosen.eq(~all_pairs & ~current_stop & ~negative),
        ]
        found_bin, count_found = Signal(_BIN_BITS), Signal()
        pair_bin = Signal(_BIN_BITS)
        m.d.comb += pair_bin.eq(tau_8[:_BIN_BITS] ^ Mux(all_pairs, _HALF, 0))
        m.d.sync += counter.valid.eq(0)
        with m.If(step.valid & ~step.probe):
            m.d.sync += [counter.valid.eq(hit), counter.bin.eq(pair_bin)]
            with m.If(finished & ~cut):
                m.d.sync += [cut.eq(1), cut_at.eq(step.position)]
            with m.If(chosen):
                m.d.sync += [found.eq(1), found_in_range.eq(in_range), found_bin.eq(pair_bin)]
        with m.If(step.valid & step.probe):
            m.d.sync += probe_in_range.eq(in_range)
        with m.If(count_found):
            m.d.sync += [counter.valid.eq(1), counter.bin.eq(found_bin)]

        sweep = Signal(_BIN_BITS + 1)
        pair_lost = Signal()
        left = Signal(range(self.ring + 1))
        keep = Signal()
        m.d.sync += pair_lost.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(busy):
                    m.d.sync += sweep.eq((1 << (_BIN_BITS + 1)) - _SETTLE)
                    m.next = "SWEEP"
                with m.Elif(queue.o.valid):
                    m.d.comb += queue.o.ready.eq(1)
                    m.next = "TAKE"
                with m.Elif(~control.run):
                    m.d.sync += [filled[0].eq(0), filled[1].eq(0)]
            with m.State("TAKE"):
                m.d.sync += [current.eq(popped.time), current_stop.eq(popped.stop)]
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                m.d.sync += [
                    scan_ring.eq(Mux(current_stop, _STARTS, _STOPS)),
                    push_ring.eq(Mux(current_stop & ~same_channel, _STOPS, _STARTS)),
                    cut.eq(0), found.eq(0), probe_in_range.eq(0), position.eq(0),
                ]
                m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.sync += [
                    number.eq(filled[scan_ring]), index.eq(heads[scan_ring] - 1),
                    oldest.eq(heads[push_ring]),
                    probing.eq(filled[push_ring] == self.ring),
                ]
                m.next = "SCAN"
            with m.State("SCAN"):
                m.d.sync += lookup.eq(Cat(index, scan_ring))
                with m.If(position == number):
                    m.d.sync += lookup.eq(Cat(oldest, push_ring))
                    m.d.comb += [steps[0].valid.eq(probing), steps[0].probe.eq(1)]
                    m.next = "WAIT"
                with m.Else():
                    m.d.comb += [steps[0].valid.eq(1), steps[0].position.eq(position)]
                    m.d.sync += [position.eq(position + 1), index.eq(index - 1)]
            with m.State("WAIT"):
                with m.If(~Cat(step.valid for step in steps).any()):
                    m.d.sync += [left.eq(Mux(cut, cut_at, number)),
                                 keep.eq(~found)]
                    m.next = "TRIM"
            with m.State("TRIM"):
                m.d.comb += count_found.eq(found & found_in_range)
                m.d.sync += filled[scan_ring].eq(left)
                m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += [
                    rings.write_address.eq(Cat(heads[push_ring], push_ring)),
                    rings.write_data.eq(current),
                    rings.write.eq(keep),
                ]
                with m.If(keep):
                    m.d.sync += heads[push_ring].eq(heads[push_ring] + 1)
                    with m.If(filled[push_ring] != self.ring):
                        m.d.sync += filled[push_ring].eq(filled[push_ring] + 1)
                    with m.Else():
                        m.d.sync += pair_lost.eq(
                            probe_in_range & (all_pairs | (push_ring == _STARTS)))
                m.next = "IDLE"
            with m.State("SWEEP"):
                # The first few clocks let increments under way finish.
                m.d.comb += [queue.o.ready.eq(1), counter.zero.eq(sweep),
                             counter.zero_valid.eq(~sweep[-1])]
                m.d.sync += [sweep.eq(sweep + 1), filled[0].eq(0), filled[1].eq(0)]
                with m.If(sweep == HISTOGRAM_BINS - 1):
                    m.d.sync += busy.eq(0)
                    m.next = "IDLE"
        with m.If(bank.clear_written & bank.clear[0]):
            m.d.sync += busy.eq(1)

        for count, event in ((bank.starts, is_start), (bank.stops, is_stop),
                             (bank.pairs, counter.counted), (bank.edges_lost, edge_lost),
                             (bank.pairs_lost, pair_lost)):
            total, was = Signal(32), Signal()
            m.d.sync += was.eq(event)
            m.d.comb += count.eq(total)
            with m.If(busy):
                m.d.sync += total.eq(0)
            with m.Elif(was & ~total.all()):
                m.d.sync += total.eq(total + 1)

        events = {"edge_lost": edge_lost, "pair_lost": pair_lost, "bin_full": counter.full}
        m.d.comb += [
            bank.busy.eq(busy),
            counter.address.eq(bank.bins_address),
            bank.bins_data.eq(counter.data),
            flags.now.eq(self.tick),
            flags.events.eq(Cat(events[name] for name, _ in HistogramFlags.as_shape())),
            bank.flags.eq(flags.flags),
        ]
        # Registered, because the bank gives it straight from its address decoder.
        m.d.sync += flags.clear.eq(bank.flags_clear)
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
