"""The node's time base behind its registers."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.layouts.tags import FINE_BITS, sample_word
from quantacore.gateware.layouts.timing import (
    RATE_FRACTION_BITS,
    SYNC_OUTPUTS,
    TIMING,
    TRIGGERS,
    LoopState,
    Reference,
    TimingFlags,
)
from quantacore.gateware.telemetry.sticky import StickyFlags
from quantacore.gateware.timing.counter import SplitCounter, TickCounter
from quantacore.gateware.timing.discipline import Discipline, ReferenceEdges
from quantacore.gateware.timing.sync_out import SyncOutput
from quantacore.gateware.timing.triggers import Trigger
from quantacore.gateware.timing.virtual import VirtualClock

__all__ = ["TimingUnit"]


class TimingUnit(wiring.Component):
    """Tick counter, disciplined virtual clock, timed triggers and periodic outputs.

    Latencies are constants of ``quantacore.gateware.layouts.timing``; the registers are its
    ``TIMING``. After reset the tick counter and the virtual clock read 0 and count.

    Parameters
    ----------
    samples : int
    fine : bool
        See :func:`~quantacore.gateware.layouts.tags.sample_word`.

    Members
    -------
    csr : In(CsrSignature)
        Register bus.
    tick : Out(64)
        The tick counter.
    pps, clock : In(sample_word)
        Reference inputs; a word present while ``tick`` reads T covers tick T.
    triggers : Out(4)
        Each high for one clock, that in which ``tick`` reads its time.
    sync : Out(2)
        Periodic pulses; rise in the tick in which the virtual clock first reads their time.
    """

    def __init__(self, *, samples, fine):
        self.edges = ReferenceEdges(samples=samples, fine=fine)
        self.loop = Discipline()
        self.virtual = VirtualClock()
        self.samples = samples
        self.fine = bool(fine)
        self.bank = RegisterBank(TIMING)
        word = sample_word(samples, fine=fine)
        super().__init__({
            "csr": In(CsrSignature(len(self.bank.bus.address))),
            "tick": Out(64),
            "pps": In(word),
            "clock": In(word),
            "triggers": Out(TRIGGERS),
            "sync": Out(SYNC_OUTPUTS),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.counter = counter = TickCounter()
        m.submodules.virtual = virtual = self.virtual
        m.submodules.edges = edges = self.edges
        m.submodules.loop = loop = self.loop
        m.submodules.flags = flags = StickyFlags(Shape.cast(TimingFlags).width)
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)

        m.d.comb += [
            self.tick.eq(counter.tick),
            bank.tick.eq(counter.tick),
            virtual.rate.eq(loop.rate),
            virtual.load.eq(loop.load),
            virtual.load_whole.eq(loop.load_whole),
            virtual.load_fraction.eq(loop.load_fraction),
        ]

        # Strobes of the bus that move many bits at once, registered: decoding the address and
        # reaching every bit of them does not fit one clock.
        take_snapshot = Signal()
        clear = Signal.like(flags.clear)
        m.d.sync += [
            counter.load.eq(bank.tick_load_written),
            counter.value.eq(bank.tick_load),
            take_snapshot.eq(bank.snapshot_written & bank.snapshot),
            clear.eq(bank.flags_clear),
        ]

        # The tick and the virtual clock as they were when the edge's word came in.
        late_tick = counter.tick
        late_virtual = Cat(virtual.fraction[RATE_FRACTION_BITS - FINE_BITS:], virtual.whole[:35])
        for i in range(3):
            next_tick = Signal(64, name=f"tick_{i + 1}")
            next_virtual = Signal(48, name=f"virtual_{i + 1}")
            m.d.sync += [next_tick.eq(late_tick), next_virtual.eq(late_virtual)]
            late_tick, late_virtual = next_tick, next_virtual
        m.d.comb += [
            edges.word.eq(Mux(bank.control.reference == Reference.CLOCK,
                              Value.cast(self.clock), Value.cast(self.pps))),
            edges.enable.eq(loop.state != LoopState.FREE),
            edges.divider.eq(bank.divider),
            loop.edge.eq(edges.edge),
            loop.phase.eq(edges.phase),
            loop.edge_tick.eq(late_tick),
            loop.edge_virtual.eq(late_virtual),
            loop.discipline.eq(bank.control.discipline),
            loop.rate_write.eq(bank.rate_write_written),
            loop.rate_value.eq(bank.rate_write),
            loop.virtual_write.eq(bank.virtual_load_written),
            loop.virtual_value.eq(bank.virtual_load),
        ]
        for name in ("gains", "period", "acquire_virtual", "window", "lock_threshold",
                     "lock_count"):
            m.d.comb += getattr(loop, name).eq(getattr(bank, name))
        for name in ("state", "phase_error", "reference_tick", "reference_edges",
                     "reference_missed"):
            m.d.comb += getattr(bank, name).eq(getattr(loop, name))

        m.submodules.holdover = holdover = SplitCounter()
        m.d.comb += [
            holdover.load.eq(loop.state != LoopState.HOLDOVER),
            bank.holdover_ticks.eq(holdover.count),
        ]

        with m.If(take_snapshot):
            m.d.sync += [
                bank.snapshot_tick.eq(counter.tick),
                bank.snapshot_virtual.eq(virtual.whole),
                bank.snapshot_fraction.eq(virtual.fraction),
                bank.snapshot_rate.eq(virtual.active_rate),
            ]

        disarm = Signal(TRIGGERS)
        late = Signal(TRIGGERS)
        m.d.sync += disarm.eq(Mux(bank.trigger_disarm_written, bank.trigger_disarm, 0))
        for i in range(TRIGGERS):
            m.submodules[f"trigger_{i}"] = trigger = Trigger()
            m.d.comb += [
                trigger.ahead.eq(counter.ahead),
                trigger.time.eq(bank.trigger_time[i]),
                trigger.arm.eq(bank.trigger_time_written[i]),
                trigger.disarm.eq(disarm[i]),
                bank.trigger_armed[i].eq(trigger.armed),
                self.triggers[i].eq(trigger.fire),
                late[i].eq(trigger.late),
            ]

        sync_late = Signal(SYNC_OUTPUTS)
        for i in range(SYNC_OUTPUTS):
            m.submodules[f"sync_{i}"] = output = SyncOutput()
            m.d.comb += [
                output.ahead.eq(virtual.whole_ahead),
                output.first.eq(bank.sync_next[i]),
                output.period.eq(bank.sync_period[i]),
                output.width.eq(bank.sync_width[i]),
                output.start.eq(bank.sync_next_written[i]),
                output.stop.eq(loop.load),
                self.sync[i].eq(output.output),
                sync_late[i].eq(output.late),
            ]

        events = TimingFlags(flags.events)
        m.d.comb += [
            events.reference_missing.eq(loop.missing),
            events.reference_spurious.eq(loop.spurious),
            events.lock_lost.eq(loop.lock_lost),
            events.trigger_late.eq(late.any()),
            events.rate_limited.eq(loop.limited),
            events.sync_late.eq(sync_late.any()),
            flags.clear.eq(clear),
            flags.now.eq(counter.tick),
            bank.flags.eq(flags.flags),
        ]
        for ours, theirs in zip(bank.flag_counts, flags.counts, strict=True):
            m.d.comb += ours.eq(theirs)
        for ours, theirs in zip(bank.flag_times, flags.times, strict=True):
            m.d.comb += ours.eq(theirs)
        return m
