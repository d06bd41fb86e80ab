"""Reference edges, and the loop that steers the virtual clock by them."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from quantacore.gateware.layouts.tags import FINE_BITS, SAMPLES_PER_CLOCK, sample_word
from quantacore.gateware.layouts.timing import (
    COMMAND_CLOCKS,
    EDGE_CLOCKS,
    INTEGRAL_BITS,
    MISS_CLOCKS,
    RATE_FRACTION_BITS,
    VIRTUAL_LOAD_LATENCY,
    LoopGains,
    LoopState,
)

__all__ = ["ReferenceEdges", "Discipline"]

#: Bits of the virtual clock's whole part that phases are computed with: 2**35 ticks are minutes.
_PHASE_BITS = 35
#: Whole part and fraction in fine units.
_PHASE_FINE_BITS = _PHASE_BITS + FINE_BITS


class ReferenceEdges(wiring.Component):
    """Finds rising edges in sample words and passes every ``divider``-th of them on.

    At most one edge per clock is seen, the oldest. Latency: 3 clocks from the word to ``edge``.

    Parameters
    ----------
    samples : int
    fine : bool
        See :func:`~quantacore.gateware.layouts.tags.sample_word`.

    Members
    -------
    word : In(sample_word)
    enable : In(1)
        While it is low no edge is passed on or counted, so that the first one after it is.
    divider : In(32)
        0 is 1.
    edge : Out(1)
        High for one clock.
    phase : Out(13)
        Where in the word the edge was, fine units.
    """

    def __init__(self, *, samples, fine):
        if samples not in SAMPLES_PER_CLOCK:
            raise ValueError(f"Samples per clock must be one of {SAMPLES_PER_CLOCK}, "
                             f"not {samples!r}")
        self.samples = samples
        self.fine = bool(fine)
        super().__init__({
            "word": In(sample_word(samples, fine=fine)),
            "enable": In(1),
            "divider": In(32),
            "edge": Out(1),
            "phase": Out(FINE_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        # Clock 1: the word, registered.
        word = Signal(self.word.shape())
        last = Signal()
        m.d.sync += [word.eq(self.word), last.eq(word.level[-1])]

        # Clock 2: the first rising edge.
        edge_2 = Signal()
        phase_2 = Signal(FINE_BITS)
        rising = Signal(self.samples)
        m.d.comb += rising.eq(word.level & ~Cat(last, word.level[:-1]))
        m.d.sync += edge_2.eq(rising.any())
        step_bits = FINE_BITS - exact_log2(self.samples)
        for i in reversed(range(self.samples)):
            with m.If(rising[i]):
                inside = word.fine[i] if self.fine else C(0, step_bits)
                m.d.sync += phase_2.eq(Cat(inside, C(i, FINE_BITS - step_bits)))

        # Clock 3: the divider.
        left = Signal(32)
        none_left = Signal(init=1)
        reload = Signal(32)
        m.d.sync += [
            self.edge.eq(edge_2 & none_left & self.enable),
            self.phase.eq(phase_2),
            reload.eq(Mux(self.divider == 0, 0, self.divider - 1)),
        ]
        with m.If(~self.enable):
            m.d.sync += [left.eq(0), none_left.eq(1)]
        with m.Elif(edge_2):
            with m.If(none_left):
                m.d.sync += [left.eq(reload), none_left.eq(reload == 0)]
            with m.Else():
                m.d.sync += [left.eq(left - 1), none_left.eq(left == 1)]
        return m


class _Limit(wiring.Component):
    """Clips a signed number to ``bits`` bits, without delay."""

    def __init__(self, wide, bits):
        self.bits = bits
        super().__init__({"i": In(signed(wide)), "o": Out(signed(bits)), "inside": Out(1)})

    def elaborate(self, platform):
        m = Module()
        upper = self.i.as_unsigned()[self.bits - 1:]
        m.d.comb += [
            self.inside.eq(upper.all() | ~upper.any()),
            self.o.eq(Mux(self.inside, self.i[:self.bits],
                          Cat((~self.i[-1]).replicate(self.bits - 1), self.i[-1]))),
        ]
        return m


class Discipline(wiring.Component):
    """The loop: expects edges on the virtual clock and steers its rate by how late it is.

    One thing is worked on at a time: an edge (26 clocks), a command of the host (12 clocks) or an
    edge that did not come (6 clocks), in this order of precedence; outputs change together at its
    end. An edge that comes while another waits or is worked on is spurious.

    Members
    -------
    edge, phase : In(1), In(13)
        From :class:`ReferenceEdges`.
    edge_tick : In(64)
        Tick of the word that the edge was in.
    edge_virtual : In(48)
        Virtual clock in that tick, fine units, modulo 2**48.
    discipline : In(1)
        Steer. Raising it leads to ACQUIRE, clearing it to FREE.
    gains, period, acquire_virtual, window, lock_threshold, lock_count :
        Settings, see the register block. Read while an edge is worked on.
    rate_write, rate_value : In(1), In(signed(32))
        Command: set the rate.
    virtual_write, virtual_value : In(1), In(64)
        Command: set the virtual clock.
    rate : Out(signed(32))
        To the virtual clock.
    load, load_whole, load_fraction :
        To the virtual clock; ``load_whole`` stands for several clocks.
    state, phase_error, reference_tick, reference_edges, reference_missed :
        Telemetry.
    missing, spurious, lock_lost, limited : Out(1)
        High for one clock each time.
    """

    edge: In(1)
    phase: In(FINE_BITS)
    edge_tick: In(64)
    edge_virtual: In(_PHASE_FINE_BITS)
    discipline: In(1)
    gains: In(LoopGains)
    period: In(32)
    acquire_virtual: In(64)
    window: In(18)
    lock_threshold: In(32)
    lock_count: In(8)
    rate_write: In(1)
    rate_value: In(signed(32))
    virtual_write: In(1)
    virtual_value: In(64)
    rate: Out(signed(32))
    load: Out(1)
    load_whole: Out(64)
    load_fraction: Out(RATE_FRACTION_BITS)
    state: Out(LoopState)
    phase_error: Out(signed(32))
    reference_tick: Out(64)
    reference_edges: Out(32)
    reference_missed: Out(32)
    missing: Out(1)
    spurious: Out(1)
    lock_lost: Out(1)
    limited: Out(1)

    def elaborate(self, platform):
        m = Module()
        free = Signal()
        tracking = Signal()  # an edge is expected at a known virtual time
        m.d.comb += [
            free.eq(self.state == LoopState.FREE),
            tracking.eq((self.state != LoopState.FREE) & (self.state != LoopState.ACQUIRE)),
        ]
        m.d.sync += [self.missing.eq(0), self.spurious.eq(0), self.lock_lost.eq(0),
                     self.limited.eq(0), self.load.eq(0)]

        # An edge waits here until it has been worked on.
        pending = Signal()
        phase = Signal(FINE_BITS)
        tick = Signal(64)
        virtual = Signal(_PHASE_FINE_BITS)
        waited = Signal(5)  # clocks since the capture
        with m.If(self.edge):
            with m.If(pending):
                m.d.sync += self.spurious.eq(1)
            with m.Else():
                m.d.sync += [pending.eq(1), phase.eq(self.phase), tick.eq(self.edge_tick),
                             virtual.eq(self.edge_virtual)]

        # Commands wait too.
        rate_pending, virtual_pending = Signal(), Signal()
        rate_value = Signal(signed(32))
        virtual_value = Signal(64)
        disciplined = Signal()
        commanded = Signal()
        m.d.comb += commanded.eq(rate_pending | virtual_pending | (disciplined != self.discipline))

        # When the next edge is expected, and from when on it is overdue. `edge_virtual` is as old
        # as an edge would be, so an edge in time is always seen before it is missed.
        expected = Signal(_PHASE_BITS)
        deadline = Signal(_PHASE_BITS)
        to_go = Signal(_PHASE_BITS)
        overdue = Signal()
        m.d.comb += to_go.eq(self.edge_virtual[FINE_BITS:] - deadline)
        m.d.sync += overdue.eq(~to_go[-1])

        def expect(time):
            """Two clocks after this, the deadline stands."""
            m.d.sync += expected.eq(time)

        # Results on their way.
        error = Signal(signed(_PHASE_FINE_BITS))
        limits = Signal(data.StructLayout({"window": 2, "lock": 2}))
        error_32 = error[:32].as_signed()
        accepted, within = Signal(), Signal()
        integral_bits = 32 + INTEGRAL_BITS
        shift_bits = 32 + 47
        shifted = Signal(signed(shift_bits))
        gain = Signal(8)
        off = Signal()
        m.submodules.limit = limit = _Limit(shift_bits, integral_bits)
        m.d.comb += limit.i.eq(shifted)
        limit_inside, limit_negative = Signal(), Signal()
        limit_value = Signal(integral_bits)
        m.d.sync += [limit_inside.eq(limit.inside), limit_negative.eq(shifted[-1]),
                     limit_value.eq(shifted[:integral_bits])]

        def limited():
            """The shifted error of the clock before, clipped; zero if its gain is off."""
            edge = Cat((~limit_negative).replicate(integral_bits - 1), limit_negative)
            return Mux(off, 0, Mux(limit_inside, limit_value, edge))

        proportional = Signal(signed(integral_bits))
        growth = Signal(signed(integral_bits))
        integral = Signal(signed(integral_bits))
        grown = Signal(signed(integral_bits + 1))
        total = Signal(signed(integral_bits + 2))
        m.submodules.total_limit = total_limit = _Limit(integral_bits + 2, integral_bits)
        m.d.comb += total_limit.i.eq(total)
        new_state = Signal(LoopState)
        run = Signal(8)  # edges in a row that speak against the present state
        new_run = Signal(8)
        was_locked, confirmed = Signal(), Signal()
        offset_low = Signal(33)
        lead = Signal(6)
        count_reached = Signal()
        # `run` changes once in a job, long before these are looked at.
        m.d.sync += [
            new_run.eq(run + 1),
            count_reached.eq(new_run >= self.lock_count),
        ]

        def shift_by(first, amount):
            """Shift right by ``gain`` in six clocks, largest part first."""
            for i in range(6):
                with m.Case(first + i):
                    with m.If(gain[5 - i]):
                        m.d.sync += shifted.eq(shifted >> (1 << (5 - i)))

        step = Signal(range(EDGE_CLOCKS))
        job = Signal(2)
        EDGE, MISS, COMMAND = range(3)
        m.d.sync += step.eq(step + 1)
        m.d.sync += waited.eq(Mux(pending, waited + 1, 0))

        with m.If(step == 0):
            with m.If(pending):
                m.d.sync += job.eq(EDGE)
            with m.Elif(commanded):
                m.d.sync += job.eq(COMMAND)
            with m.Elif(overdue & tracking):
                m.d.sync += job.eq(MISS)
            with m.Else():
                m.d.sync += step.eq(0)

        # The deadline follows the expectation; it is only looked at between jobs.
        margin = Signal(19, init=1)
        m.d.sync += [margin.eq(self.window + 1), deadline.eq(expected + margin)]

        with m.If((step != 0) & (job == EDGE)):
            with m.Switch(step):
                with m.Case(1):
                    m.d.sync += [
                        virtual.eq(virtual + phase),
                        # To what the virtual clock has to be set so that it read
                        # `acquire_virtual` at the edge. `waited` is 1 if the edge did not wait.
                        lead.eq(waited + Mux(phase == 0, VIRTUAL_LOAD_LATENCY + 3,
                                             VIRTUAL_LOAD_LATENCY + 2)),
                        self.load_fraction.eq(Cat(C(0, RATE_FRACTION_BITS - FINE_BITS),
                                                  (-phase)[:FINE_BITS])),
                    ]
                with m.Case(2):
                    m.d.sync += [
                        error.eq(Cat(C(0, FINE_BITS), expected) - virtual),
                        offset_low.eq(self.acquire_virtual[:32] + lead),
                    ]
                with m.Case(3):
                    window = Cat(C(0, FINE_BITS), self.window)
                    with m.If(self.state == LoopState.ACQUIRE):
                        m.d.sync += self.load_whole.eq(
                            Cat(offset_low[:32], self.acquire_virtual[32:] + offset_low[32]))
                    m.d.sync += [
                        limits.window.eq(Cat((window - error) >= 0, (window + error) >= 0)),
                        limits.lock.eq(Cat((self.lock_threshold - error) >= 0,
                                           (self.lock_threshold + error) >= 0)),
                    ]
                with m.Case(4):
                    m.d.sync += [
                        self.load.eq(self.state == LoopState.ACQUIRE),
                        accepted.eq(limits.window.all() & tracking),
                        within.eq(limits.lock.all()),
                    ]
                with m.Case(5):
                    # Decide. Nothing is changed yet that shows outside.
                    m.d.sync += new_state.eq(self.state)
                    with m.If(self.state == LoopState.ACQUIRE):
                        m.d.sync += [new_state.eq(LoopState.PULL_IN), run.eq(0),
                                     was_locked.eq(0), confirmed.eq(0)]
                        expect(self.acquire_virtual + self.period)
                    with m.Elif(accepted):
                        m.d.sync += confirmed.eq(1)
                        expect(expected + self.period)
                        with m.Switch(self.state):
                            with m.Case(LoopState.HOLDOVER):
                                m.d.sync += run.eq(0)
                                with m.If(was_locked & within):
                                    m.d.sync += new_state.eq(LoopState.LOCKED)
                                with m.Else():
                                    m.d.sync += new_state.eq(LoopState.PULL_IN)
                            with m.Case(LoopState.PULL_IN):
                                m.d.sync += run.eq(Mux(within, new_run, 0))
                                with m.If(within & count_reached):
                                    m.d.sync += [new_state.eq(LoopState.LOCKED), run.eq(0),
                                                 was_locked.eq(1)]
                            with m.Case(LoopState.LOCKED):
                                m.d.sync += run.eq(Mux(within, 0, new_run))
                                with m.If(~within & count_reached):
                                    m.d.sync += [new_state.eq(LoopState.PULL_IN), run.eq(0),
                                                 was_locked.eq(0)]
                with m.Case(6):
                    m.d.sync += [
                        shifted.eq(error_32 << 47),
                        gain.eq(Mux(new_state == LoopState.LOCKED,
                                    self.gains.locked_proportional,
                                    self.gains.pull_in_proportional)),
                    ]
                shift_by(7, gain)
                with m.Case(13):
                    m.d.sync += off.eq(gain[6:].any())
                with m.Case(14):
                    m.d.sync += [
                        proportional.eq(limited()),
                        shifted.eq(error_32 << 47),
                        gain.eq(Mux(new_state == LoopState.LOCKED,
                                    self.gains.locked_integral, self.gains.pull_in_integral)),
                    ]
                shift_by(15, gain)
                with m.Case(21):
                    m.d.sync += off.eq(gain[6:].any())
                with m.Case(22):
                    m.d.sync += growth.eq(limited())
                with m.Case(23):
                    m.d.sync += grown.eq(integral + growth)
                with m.Case(24):
                    m.d.sync += total.eq(grown + proportional)
                with m.Case(EDGE_CLOCKS - 1):
                    m.d.sync += [step.eq(0), pending.eq(0), self.state.eq(new_state)]
                    with m.If(accepted):
                        m.d.sync += [
                            self.phase_error.eq(error_32),
                            self.reference_tick.eq(tick),
                            self.reference_edges.eq(self.reference_edges + 1),
                            self.rate.eq(total_limit.o[INTEGRAL_BITS:].as_signed()),
                            self.limited.eq(~total_limit.inside),
                            self.lock_lost.eq((self.state == LoopState.LOCKED)
                                              & (new_state == LoopState.PULL_IN)),
                        ]
                        # At the limit the integral part does not wind up.
                        with m.If(total_limit.inside):
                            m.d.sync += integral.eq(grown)
                    with m.Elif(self.state == LoopState.ACQUIRE):
                        m.d.sync += [
                            self.phase_error.eq(0),
                            self.reference_tick.eq(tick),
                            self.reference_edges.eq(self.reference_edges + 1),
                        ]
                    with m.Elif(~free):
                        m.d.sync += self.spurious.eq(1)

        with m.If((step != 0) & (job == MISS)):
            with m.Switch(step):
                with m.Case(1):
                    expect(expected + self.period)
                with m.Case(MISS_CLOCKS - 1):
                    m.d.sync += [
                        step.eq(0),
                        self.missing.eq(1),
                        self.reference_missed.eq(self.reference_missed + 1),
                        self.rate.eq(integral[INTEGRAL_BITS:].as_signed()),
                        self.lock_lost.eq(self.state == LoopState.LOCKED),
                        # An edge that none has followed was not the reference: look for another.
                        self.state.eq(Mux(confirmed, LoopState.HOLDOVER, LoopState.ACQUIRE)),
                        run.eq(0),
                    ]

        command = Signal(2)
        SET_RATE, SET_VIRTUAL, SWITCH = range(3)
        with m.If((step != 0) & (job == COMMAND)):
            with m.Switch(step):
                with m.Case(1):
                    m.d.sync += command.eq(Mux(rate_pending, SET_RATE,
                                               Mux(virtual_pending, SET_VIRTUAL, SWITCH)))
                with m.Case(2):
                    with m.If(command == SET_VIRTUAL):
                        m.d.sync += [self.load_whole.eq(virtual_value),
                                     self.load_fraction.eq(0), virtual_pending.eq(0)]
                with m.Case(4):
                    m.d.sync += self.load.eq(command == SET_VIRTUAL)
                with m.Case(COMMAND_CLOCKS - 1):
                    m.d.sync += step.eq(0)
                    with m.Switch(command):
                        with m.Case(SET_RATE):
                            m.d.sync += [
                                rate_pending.eq(0), self.rate.eq(rate_value),
                                integral.eq(Cat(C(0, INTEGRAL_BITS), rate_value)),
                            ]
                        with m.Case(SET_VIRTUAL):
                            with m.If(tracking):
                                m.d.sync += [
                                    self.state.eq(LoopState.ACQUIRE),
                                    self.lock_lost.eq(self.state == LoopState.LOCKED),
                                ]
                        with m.Case(SWITCH):
                            m.d.sync += disciplined.eq(~disciplined)
                            with m.If(disciplined):
                                m.d.sync += [
                                    self.state.eq(LoopState.FREE),
                                    self.rate.eq(integral[INTEGRAL_BITS:].as_signed()),
                                ]
                            with m.Else():
                                m.d.sync += self.state.eq(LoopState.ACQUIRE)

        # After the jobs, so that a command given in a job's last clock is not lost.
        with m.If(self.rate_write):
            m.d.sync += [rate_pending.eq(1), rate_value.eq(self.rate_value)]
        with m.If(self.virtual_write):
            m.d.sync += [virtual_pending.eq(1), virtual_value.eq(self.virtual_value)]
        return m
