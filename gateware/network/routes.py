"""The table of routes: how words come in, and how a whole route comes out in one tick."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.switches import (
    DRIVE_BITS,
    MAX_SWITCHES,
    ROUTE_BITS,
    ROUTE_WORDS,
    ROUTES,
    SETTLE_BITS,
    MonitorRange,
    RouteAddress,
    RouteEntry,
    RouteLoad,
    RouteLoading,
    RouteWord,
)
from quantacore.gateware.logic import any_of
from quantacore.gateware.ram import RAM

__all__ = ["check_switches", "route_layout", "RouteTable"]


def check_switches(switches):
    """Raise if there can't be so many switches."""
    if not isinstance(switches, int) or isinstance(switches, bool):
        raise TypeError(f"Number of switches must be an integer, not {switches!r}")
    if not 1 <= switches <= MAX_SWITCHES:
        raise ValueError(f"Number of switches must be 1 to {MAX_SWITCHES}, not {switches}")


def route_layout(switches):
    """A whole route of a build with so many switches."""
    return data.StructLayout({
        "drives": data.ArrayLayout(DRIVE_BITS, switches),
        "ranges": data.ArrayLayout(MonitorRange, switches),
        "settle": SETTLE_BITS,
        "entry": RouteEntry,
    })


class RouteTable(wiring.Component):
    """Routes in RAM. Only one that was loaded completely, and then committed, can be looked up.

    Words of one route at a time are taken, between its ``begin`` and its ``commit``; ``begin``
    makes it unknown, so that a look-up never finds half of it.

    Parameters
    ----------
    switches : int
        Words of other switches are ignored, and not missed.

    Members
    -------
    idle : Out(4)
        What ``route`` should be where nobody looks a route up.
    look : In(1), route : In(8)
        Look a route up. The route reaches far: it should come straight from a register.
    known : Out(1)
        Whether there is such a route: in the same tick.
    found : Out(route_layout(switches))
        The route that was looked up: its drives in the tick after, the rest a tick later. Not
        reset.
    load_valid : In(1), load : In(RouteLoad)
    address_valid : In(1), address : In(RouteAddress)
    word_valid : In(1), word : In(32)
    refused : Out(1)
        High for one clock for each word and each commit that was refused.
    loading : Out(RouteLoading)
    loaded : Out(16)
        Routes that there are.
    readback : Out(32)
        The word at the address, at most 8 ticks after it was set or written, if no route is
        looked up meanwhile.
    """

    def __init__(self, *, switches):
        check_switches(switches)
        self.switches = switches
        super().__init__({
            "idle": Out(ROUTE_BITS), "look": In(1), "route": In(8), "known": Out(1),
            "found": Out(route_layout(switches)),
            "load_valid": In(1), "load": In(RouteLoad),
            "address_valid": In(1), "address": In(RouteAddress),
            "word_valid": In(1), "word": In(32),
            "refused": Out(1), "loading": Out(RouteLoading), "loaded": Out(ROUTES),
            "readback": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        at = Signal(RouteAddress)
        loading = self.loading
        absent = sum(1 << first + k for first in (RouteWord.DRIVE.value, RouteWord.RANGE.value)
                     for k in range(self.switches, MAX_SWITCHES))
        everything = (1 << ROUTE_WORDS) - 1

        # Writes.
        taken, word = Signal(), Signal(32)
        m.d.comb += taken.eq(self.word_valid & loading.active & (at.route == loading.route)
                             & (at.word < ROUTE_WORDS))
        with m.If(self.word_valid):
            m.d.sync += at.word.eq(at.word + 1)
        with m.If(taken):
            m.d.sync += loading.words.eq(loading.words | 1 << at.word)
        with m.If(self.address_valid):
            m.d.sync += at.eq(self.address)
        write_route = Signal(ROUTE_BITS)
        m.d.sync += [write_route.eq(at.route), word.eq(self.word)]

        # What may be looked up.
        load = self.load
        chosen = Signal(ROUTES)
        m.d.comb += chosen.eq(1 << load.route)
        complete = Signal()
        m.d.comb += complete.eq(loading.active & (load.route == loading.route)
                                & (loading.words == everything))
        m.d.sync += self.refused.eq(self.word_valid & ~taken)
        with m.If(self.load_valid):
            with m.If(load.begin):
                m.d.sync += [self.loaded.eq(self.loaded & ~chosen), loading.active.eq(1),
                             loading.route.eq(load.route), loading.words.eq(absent)]
            with m.Elif(load.commit):
                with m.If(complete):
                    m.d.sync += [self.loaded.eq(self.loaded | chosen), loading.active.eq(0)]
                with m.Else():
                    m.d.sync += self.refused.eq(1)
            with m.Elif(load.discard):
                m.d.sync += self.loaded.eq(self.loaded & ~chosen)
                with m.If(load.route == loading.route):
                    m.d.sync += loading.active.eq(0)
        m.d.comb += self.known.eq((self.route < ROUTES)
                                  & self.loaded.bit_select(self.route[:ROUTE_BITS], 1))

        # A memory for each word of a route, so that all of it is read at once; drives a tick before
        # the rest, so that no address reaches too far. Ticks in which nobody looks a route up are
        # for the host.
        entry = self.found
        fields = {RouteWord.SETTLE.value: entry.settle, RouteWord.ENTRY.value: entry.entry}
        for k in range(self.switches):
            fields[RouteWord.DRIVE.value + k] = entry.drives[k]
            fields[RouteWord.RANGE.value + k] = entry.ranges[k]
        host = Signal(5)
        shown, later = Signal(5), Signal(ROUTE_BITS)
        m.d.comb += self.idle.eq(at.route)
        m.d.sync += [shown.eq(at.word), host.eq(Cat(~self.look, host)),
                     later.eq(self.route[:ROUTE_BITS])]
        parts = []
        for number, field in sorted(fields.items()):
            value = Value.cast(field)
            m.submodules[f"word_{number}"] = ram = RAM(width=len(value), depth=ROUTES, block=False)
            this, write = Signal(name=f"shown_{number}"), Signal(name=f"write_{number}")
            first = number < RouteWord.RANGE.value
            m.d.sync += [this.eq(shown == number), write.eq(taken & (at.word == number))]
            m.d.comb += [
                ram.write.eq(write), ram.write_address.eq(write_route),
                ram.write_data.eq(word[:len(value)]), ram.read.eq(1),
                ram.read_address.eq(self.route[:ROUTE_BITS] if first else later),
                value.eq(ram.read_data),
            ]
            part = Signal(32, name=f"readback_{number}")
            if first:
                m.d.sync += part.eq(value & this.replicate(len(value)))
            else:
                this_later = Signal(name=f"shown_later_{number}")
                m.d.sync += this_later.eq(this)
                m.d.comb += part.eq(value & this_later.replicate(len(value)))
            parts.append(part)
        # A tree with a register for every few words.
        stage = 1
        while len(parts) > 1:
            groups = [parts[i:i + 3] for i in range(0, len(parts), 3)]
            parts = []
            for i, group in enumerate(groups):
                part = Signal(32, name=f"readback_{stage}_{i}")
                m.d.sync += part.eq(any_of(group))
                parts.append(part)
            stage += 1
        with m.If(host[stage]):
            m.d.sync += self.readback.eq(parts[0])
        return m
