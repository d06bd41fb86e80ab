"""Golden model of the time base, bit for bit and clock for clock, and an ideal loop beside it.

The model is driven by events and computes what happens between them in closed form, with Python
integers: a day of 1PPS takes about as long as a thousand short periods. It knows of the gateware
only what the register block and the latencies in ``quantacore.gateware.layouts.timing`` promise.
"""

import heapq
import itertools
from fractions import Fraction

import numpy as np

from quantacore.gateware.layouts import timing as layout
from quantacore.gateware.layouts.registers import Access
from quantacore.gateware.layouts.tags import FINE_BITS, FINE_PER_TICK
from quantacore.gateware.layouts.timing import (
    LoopGains,
    LoopState,
    Reference,
    TimingControl,
    TimingFlags,
)

__all__ = ["TimingModel", "rising_edges", "ideal_loop"]

_ONE = 1 << layout.RATE_FRACTION_BITS
_MASK = (1 << 64) - 1
_FLAGS = tuple(name for name, _ in TimingFlags.as_shape())
_RATE_MAX = (1 << 31) - 1
_RATE_MIN = -(1 << 31)
_REGISTERS = {register.name: register for register in layout.TIMING.registers}


def rising_edges(words, *, samples, start=0, level=0):
    """Reference edges in a series of sample words.

    Parameters
    ----------
    words : iterable of (int, sequence of int)
        Levels (bit 0 is the oldest sample) and fine offsets (empty for none) of each clock.
    samples : int
        Samples per clock.
    start : int
        Clock of the first word.
    level : int
        Level before it.

    Yields
    ------
    (clock, fine)
        The oldest rising edge of each word that has one; ``fine`` in fine units from the word's
        start.
    """
    for clock, (levels, fine) in enumerate(words, start):
        found = None
        for i in range(samples):
            now = levels >> i & 1
            if now and not level and found is None:
                found = i * (FINE_PER_TICK // samples) + (fine[i] if fine else 0)
            level = now
        if found is not None:
            yield clock, found


def _clip(value, low, high):
    return max(low, min(high, value))


class TimingModel:
    """The time base from its reset (clock 0) on.

    Feed it with :meth:`write` and :meth:`edge` in any order as long as their clocks are not past,
    then :meth:`advance`; attributes and :meth:`read` tell what stands in that clock.

    Attributes
    ----------
    clock : int
        The present clock.
    state : LoopState
    rate, phase_error, reference_edges, reference_missed : int
        Like the registers.
    changes : list of (clock, name, value)
        Every change of ``state``, ``phase_error``, ``rate``, ``reference_edges``,
        ``reference_missed``, ``flags``, ``trigger<i>`` (1 and the tick at which it fired) and
        ``sync<i>``, from the first clock in which it stands. Empty it when you like.
    edges : list of (clock, phase error, rate, state)
        One for each accepted edge, at the clock its results stand.
    """

    def __init__(self):
        self.clock = 0
        self.changes = []
        self.edges = []
        self._events = []
        self._order = itertools.count()
        self._settings = {}
        for register in layout.TIMING.registers:
            if register.access is Access.READ_WRITE:
                value = [register.init] * (register.count or 1)
                self._settings[register.name] = value if register.count else value[0]
        self._ticks = [(0, 0)]
        # Pieces of the virtual clock: from this clock on, this reading, advancing by 1 + rate.
        self._pieces = [(0, 0, 0)]
        self.state = LoopState.FREE
        self.rate = 0
        self.phase_error = 0
        self.reference_tick = 0
        self.reference_edges = 0
        self.reference_missed = 0
        self._integral = 0
        self._expected = 0
        self._run = 0
        self._was_locked = self._confirmed = False
        self._holdover_since = self._holdover_until = None
        self._to_divide = 0
        self._pending = None
        self._free_at = 0
        self._commands = {}
        self._disciplined = False
        self._flags = {name: [0, 0, 0] for name in _FLAGS}
        self._noted_flags = 0
        self._raised_at = dict.fromkeys(_FLAGS, -1)
        self._triggers = [None] * layout.TRIGGERS
        self._syncs = [None] * layout.SYNC_OUTPUTS
        self._sync_ends = [0] * layout.SYNC_OUTPUTS
        self._snapshot = (0, 0, 0, 0)

    # --- the user's side ---

    def write(self, name, value, *, clock, index=0):
        """The host writes a register; its (last) word is on the block's bus in ``clock``.

        ``value`` is an integer, two's complement where the register is signed. Compound
        registers take their bits.
        """
        register = _REGISTERS[name]
        value &= (1 << register.width) - 1
        if register.signed and value >> (register.width - 1):
            value -= 1 << register.width
        self._at(clock + layout.WRITE_LATENCY, 0, self._written, name, index, value)

    def edge(self, clock, fine=0, source=Reference.PPS):
        """A rising edge in the sample word of ``clock``, ``fine`` fine units after its start."""
        self._at(clock, 5, self._edge_seen, clock, fine, source)

    def advance(self, clock):
        """Go on to ``clock`` (never back)."""
        if clock < self.clock:
            raise ValueError(f"The model is at clock {self.clock}, it can't go back to {clock}")
        events = self._events
        while events and events[0][0] <= clock:
            self.clock, _priority, _number, act, arguments = heapq.heappop(events)
            act(*arguments)
        self.clock = clock

    def tick_at(self, clock):
        """The tick counter in a clock that is not long past."""
        since, value = next(p for p in reversed(self._ticks) if p[0] <= clock)
        return value + clock - since & _MASK

    def virtual_at(self, clock):
        """The virtual clock in units of 2**-44 (not wrapped), in a clock not long past."""
        since, value, rate = self._piece(clock)
        return value + (clock - since) * (_ONE + rate)

    def read(self, name, index=0):
        """What a register holds in the present clock."""
        register = _REGISTERS[name]
        if register.access is Access.READ_WRITE:
            value = self._settings[name]
            return value[index] if register.count else value
        if name == "tick":
            return self.tick_at(self.clock)
        if name.startswith("snapshot_"):
            return self._snapshot[("tick", "virtual", "fraction", "rate").index(name[9:])]
        if name == "flags":
            return sum(self._flags[flag][0] << i for i, flag in enumerate(_FLAGS))
        if name in ("flag_counts", "flag_times"):
            return self._flags[_FLAGS[index]][1 if name == "flag_counts" else 2]
        if name == "holdover_ticks":
            return self._holdover_ticks()
        if name == "trigger_armed":
            return sum(1 << i for i, t in enumerate(self._triggers)
                       if t is not None and self.clock > t["since"])
        value = getattr(self, name)
        return value.value if name == "state" else value

    # --- events ---

    def _at(self, clock, priority, act, *arguments):
        if clock < self.clock:
            raise ValueError(f"The model is at clock {self.clock}, {clock} is past")
        heapq.heappush(self._events, (clock, priority, next(self._order), act, arguments))

    def _set(self, **values):
        for name, value in values.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
                self.changes.append((self.clock, name, value))

    def _raise(self, flag):
        """An event in the present clock; the flag stands in the next one."""
        if self._raised_at[flag] != self.clock:
            self._raised_at[flag] = self.clock
            self._at(self.clock + 1, 3, self._flag_up, flag, self.tick_at(self.clock))

    def _flag_up(self, flag, tick):
        entry = self._flags[flag]
        if not entry[0]:
            entry[:] = [1, 0, tick]
        entry[1] = min(entry[1] + 1, 0xFFFFFFFF)
        self._at(self.clock, 9, self._note_flags)

    def _note_flags(self):
        flags = self.read("flags")
        if flags != self._noted_flags:
            self._noted_flags = flags
            self.changes.append((self.clock, "flags", flags))

    def _piece(self, clock):
        for piece in reversed(self._pieces):
            if piece[0] <= clock:
                return piece
        raise ValueError(f"Clock {clock} is long past")

    def _reaches(self, whole, earliest):
        """First clock from ``earliest`` on in which the virtual clock reads ``whole`` or more."""
        target = whole * _ONE
        for i, (since, value, rate) in enumerate(self._pieces):
            until = self._pieces[i + 1][0] if i + 1 < len(self._pieces) else None
            if until is not None and until <= earliest:
                continue
            reached = max(earliest, since, since - (value - target) // (_ONE + rate))
            if until is None or reached < until:
                return reached
        raise AssertionError("the last piece has no end")

    def _new_piece(self, clock, value, rate):
        if rate == self._pieces[-1][2] and value is None:
            return
        if value is None:
            value = self.virtual_at(clock)
        self._pieces = [*self._pieces[-6:], (clock, value, rate)]
        for i, sync in enumerate(self._syncs):
            if sync is not None:
                self._plan_sync(i)

    def _set_rate(self, rate):
        self._set(rate=rate)
        self._new_piece(self.clock + layout.RATE_LATENCY, None, rate)

    # --- registers ---

    def _written(self, name, index, value):
        clock = self.clock
        if name in self._settings:
            if _REGISTERS[name].count:
                self._settings[name][index] = value
            else:
                self._settings[name] = value
        if name == "tick_load":
            loaded = clock - layout.WRITE_LATENCY + layout.TICK_LOAD_LATENCY
            self._ticks = [*self._ticks[-3:], (loaded, value)]
            for i, trigger in enumerate(self._triggers):
                if trigger is not None:
                    self._plan_trigger(i)
        elif name == "snapshot" and value:
            # Taken now, and read from the next clock on.
            virtual = self.virtual_at(clock)
            self._at(clock + 1, 0, self._take, (self.tick_at(clock), virtual // _ONE & _MASK,
                                                virtual % _ONE, self._piece(clock)[2]))
        elif name in ("rate_write", "virtual_load"):
            self._commands[name] = value
            self._kick_soon()
        elif name == "control":
            self._kick_soon()
        elif name == "flags":
            self._at(clock + 1, 0, self._clear, value)
        elif name == "trigger_time":
            old = self._triggers[index]
            if old is not None and old["fires"] == clock + 1:
                self._at(clock + 1, 1, self._fire, index, old, False)
            self._triggers[index] = {"since": clock, "time": value}
            self._plan_trigger(index)
        elif name == "trigger_disarm":
            for i, trigger in enumerate(self._triggers):
                if value >> i & 1 and trigger is not None:
                    # The last chance to fire is in this very clock.
                    self._at(clock, 8, self._disarm, i, trigger)
        elif name == "sync_next":
            sync = {"since": clock, "next": value, "not_before": clock + 2, "fresh": True}
            # A pulse of what it was before still comes in the next clock.
            self._at(clock + 1, 8, self._start_sync, index, sync)
            if not self._settings["sync_period"][index]:
                self._at(clock + 2, 8, self._stop_sync, index, sync)
        elif name == "sync_period" and not value and self._syncs[index] is not None:
            self._at(clock + 2, 8, self._stop_sync, index, self._syncs[index])

    def _take(self, snapshot):
        self._snapshot = snapshot

    def _clear(self, mask):
        for i, flag in enumerate(_FLAGS):
            if mask >> i & 1:
                self._flags[flag][:] = [0, 0, 0]
        self._at(self.clock, 9, self._note_flags)

    def _kick_soon(self):
        self._at(max(self.clock, self._free_at), 7, self._kick)

    # --- triggers and periodic outputs ---

    def _plan_trigger(self, i):
        trigger = self._triggers[i]
        earliest = max(trigger["since"] + 2, self.clock)
        fires = None
        for number, (since, value) in enumerate(self._ticks):
            until = self._ticks[number + 1][0] if number + 1 < len(self._ticks) else None
            start = max(earliest, since)
            reading = value + start - since
            at = start + max(0, trigger["time"] - reading)
            if until is None or at < until:
                fires = at
                break
        trigger["fires"] = fires
        self._at(fires, 1, self._fire, i, trigger, True)

    def _fire(self, i, trigger, check):
        if check and (self._triggers[i] is not trigger or trigger["fires"] != self.clock):
            return
        tick = self.tick_at(self.clock)
        self.changes.append((self.clock, f"trigger{i}", tick))
        if tick != trigger["time"]:
            self._raise("trigger_late")
        if self._triggers[i] is trigger:
            self._triggers[i] = None

    def _disarm(self, i, trigger):
        if self._triggers[i] is trigger:
            self._triggers[i] = None

    def _start_sync(self, i, sync):
        self._syncs[i] = sync
        self._plan_sync(i)

    def _plan_sync(self, i):
        sync = self._syncs[i]
        sync["hit"] = self._reaches(sync["next"], max(sync["not_before"], self.clock))
        self._at(sync["hit"], 1, self._sync_hit, i, sync, sync["hit"])

    def _sync_hit(self, i, sync, clock):
        if self._syncs[i] is not sync or sync["hit"] != clock:
            return
        if sync["fresh"] and clock == sync["not_before"]:
            self._raise("sync_late")
            self._syncs[i] = None
            return
        width = self._settings["sync_width"][i]
        if width:
            if self._sync_ends[i] <= clock:
                self.changes.append((clock, f"sync{i}", 1))
            self._sync_ends[i] = clock + width
            self._at(clock + width, 2, self._sync_end, i)
        sync["fresh"] = False
        sync["next"] += self._settings["sync_period"][i]
        sync["not_before"] = clock + layout.SYNC_RECOVERY
        self._plan_sync(i)

    def _sync_end(self, i):
        if self._sync_ends[i] == self.clock:
            self.changes.append((self.clock, f"sync{i}", 0))

    def _stop_sync(self, i, sync):
        if self._syncs[i] is sync:
            self._syncs[i] = None

    # --- the reference ---

    def _edge_seen(self, clock, fine, source):
        control = TimingControl.from_bits(self._settings["control"])
        if source is control.reference:
            self._at(clock + 2, 4, self._divide, clock, fine, self.virtual_at(clock),
                     self.tick_at(clock))

    def _divide(self, clock, fine, virtual, tick):
        if self.state is LoopState.FREE:
            return
        if self._to_divide:
            self._to_divide -= 1
            return
        self._to_divide = max(self._settings["divider"], 1) - 1
        self._at(clock + 3, 4, self._capture, clock, fine, virtual, tick)

    def _capture(self, clock, fine, virtual, tick):
        if self._pending is not None:
            self._at(self.clock + 1, 2, self._raise, "reference_spurious")
            return
        self._pending = (clock, fine, virtual, tick)
        self._at(max(clock + layout.DECISION_LATENCY, self._free_at), 7, self._kick)

    def _tracking(self):
        return self.state in (LoopState.PULL_IN, LoopState.LOCKED, LoopState.HOLDOVER)

    def _kick(self):
        """Take up the next piece of work, if the loop has nothing to do."""
        clock = self.clock
        if clock < self._free_at:
            return
        control = TimingControl.from_bits(self._settings["control"])
        pending = self._pending
        if pending is not None and clock >= pending[0] + layout.DECISION_LATENCY:
            self._free_at = clock + layout.EDGE_CLOCKS
            if self.state is LoopState.ACQUIRE:
                _clock, fine, _virtual, _tick = pending
                read_at = clock + layout.VIRTUAL_LOAD_LATENCY
                value = ((self._settings["acquire_virtual"] + read_at - pending[0]) * _ONE
                         - (fine << layout.RATE_FRACTION_BITS - FINE_BITS))
                self._set_virtual(read_at, value)
            self._at(self._free_at, 0, self._edge_done)
        elif self._commands or bool(control.discipline) != self._disciplined:
            self._free_at = clock + layout.COMMAND_CLOCKS
            if "rate_write" in self._commands:
                self._at(self._free_at, 0, self._rate_done)
            elif "virtual_load" in self._commands:
                self._set_virtual(clock + layout.VIRTUAL_LOAD_LATENCY,
                                  self._commands.pop("virtual_load") * _ONE)
                self._at(self._free_at, 0, self._virtual_done)
            else:
                self._at(self._free_at, 0, self._switch_done)
        elif (self._tracking() and self.virtual_at(clock - layout.DECISION_LATENCY)
              >= (self._expected + self._settings["window"] + 1) * _ONE):
            self._free_at = clock + layout.MISS_CLOCKS
            self._at(self._free_at, 0, self._miss_done)
        else:
            return
        self._at(self._free_at, 7, self._kick)

    def _done(self):
        """Wait for the next edge to become overdue."""
        if self.state is LoopState.FREE:
            self._to_divide = 0
        if self._tracking():
            overdue = self._reaches(self._expected + self._settings["window"] + 1,
                                    self.clock - layout.DECISION_LATENCY)
            self._at(max(overdue + layout.DECISION_LATENCY, self.clock), 7, self._kick)

    def _go(self, state):
        if state is LoopState.HOLDOVER and self.state is not LoopState.HOLDOVER:
            self._holdover_since, self._holdover_until = self.clock, None
        elif state is not LoopState.HOLDOVER and self.state is LoopState.HOLDOVER:
            self._holdover_until = self.clock
        self._set(state=state)

    def _holdover_ticks(self):
        if self._holdover_since is None:
            return 0
        if self._holdover_until not in (None, self.clock):
            return 0
        return self.clock - self._holdover_since

    def _set_virtual(self, read_at, value):
        self._new_piece(read_at, value, self._pieces[-1][2])
        self._at(read_at - 4, 8, self._stop_syncs)

    def _stop_syncs(self):
        """The virtual clock is being set: outputs stop 4 clocks before it reads the new value."""
        for i, sync in enumerate(self._syncs):
            if sync is not None and sync["since"] < self.clock - 1:
                self._syncs[i] = None

    def _edge_done(self):
        _clock, fine, virtual, tick = self._pending
        self._pending = None
        settings = self._settings
        if self.state is LoopState.ACQUIRE:
            self._expected = settings["acquire_virtual"] + settings["period"]
            self._run = 0
            self._was_locked = self._confirmed = False
            self._go(LoopState.PULL_IN)
            self._set(phase_error=0, reference_tick=tick,
                      reference_edges=self.reference_edges + 1 & 0xFFFFFFFF)
            self._done()
            return
        if self.state is LoopState.FREE:
            return
        error = self._expected * FINE_PER_TICK - ((virtual * FINE_PER_TICK // _ONE) + fine)
        if abs(error) > settings["window"] * FINE_PER_TICK:
            self._raise("reference_spurious")
            self._done()
            return
        self._confirmed = True
        self._expected += settings["period"]
        within = abs(error) <= settings["lock_threshold"]
        state = self.state
        if state is LoopState.HOLDOVER:
            self._run = 0
            state = LoopState.LOCKED if self._was_locked and within else LoopState.PULL_IN
        elif within is (state is LoopState.LOCKED):
            self._run = 0
        else:
            self._run += 1
            if self._run >= settings["lock_count"]:
                self._run = 0
                self._was_locked = state is LoopState.PULL_IN
                state = LoopState.LOCKED if self._was_locked else LoopState.PULL_IN
        if self.state is LoopState.LOCKED and state is LoopState.PULL_IN:
            self._raise("lock_lost")

        gains = LoopGains.from_bits(settings["gains"])
        phase = "locked" if state is LoopState.LOCKED else "pull_in"
        scale = layout.INTEGRAL_BITS
        top = (1 << 31 + scale) - 1

        def term(name):
            gain = int(getattr(gains, f"{phase}_{name}"))
            if gain >= 64:
                return 0
            return _clip((error << 31 + scale) >> gain, ~top, top)

        integral = self._integral + term("integral")
        total = integral + term("proportional")
        if ~top <= total <= top:
            self._integral = integral
        else:
            self._raise("rate_limited")
            total = _clip(total, ~top, top)
        self._set_rate(total >> scale)
        self._go(state)
        self._set(phase_error=error, reference_tick=tick,
                  reference_edges=self.reference_edges + 1 & 0xFFFFFFFF)
        self.edges.append((self.clock, error, self.rate, state))
        self._done()

    def _miss_done(self):
        self._expected += self._settings["period"]
        self._raise("reference_missing")
        self._set(reference_missed=self.reference_missed + 1 & 0xFFFFFFFF)
        if self.state is LoopState.LOCKED:
            self._raise("lock_lost")
        self._run = 0
        self._set_rate(self._integral >> layout.INTEGRAL_BITS)
        self._go(LoopState.HOLDOVER if self._confirmed else LoopState.ACQUIRE)
        self._done()

    def _rate_done(self):
        rate = self._commands.pop("rate_write")
        self._integral = rate << layout.INTEGRAL_BITS
        self._set_rate(rate)
        self._done()

    def _virtual_done(self):
        if self._tracking():
            if self.state is LoopState.LOCKED:
                self._raise("lock_lost")
            self._go(LoopState.ACQUIRE)

    def _switch_done(self):
        self._disciplined = not self._disciplined
        if self._disciplined:
            self._go(LoopState.ACQUIRE)
        else:
            self._set_rate(self._integral >> layout.INTEGRAL_BITS)
            self._go(LoopState.FREE)
            self._to_divide = 0


def ideal_loop(deviation_ticks, *, period, lock_threshold, lock_count, gains, initial_rate=0.0):
    """The same loop without quantisation, latency or limits, in floating point.

    Parameters
    ----------
    deviation_ticks : array of float
        Local time of each reference edge minus its nominal time (multiples of ``period``), in
        ticks. NaN is an edge that did not come.
    period : int
        Ticks.
    lock_threshold : int
        Fine units.
    lock_count : int
        Edges.
    gains : int
        Bits of :class:`~quantacore.gateware.layouts.timing.LoopGains`.
    initial_rate : float
        Fractional.

    Returns
    -------
    errors_ticks : array of float
        Phase error at each edge, virtual clock late is positive; in hold-over NaN.
    rates : array of float
        Fractional rate after each edge.
    locked : array of bool
    """
    gains = LoopGains.from_bits(gains)
    gain = {state: tuple(2.0 ** -int(getattr(gains, f"{state}_{name}"))
                         for name in ("proportional", "integral"))
            for state in ("pull_in", "locked")}
    deviation = np.asarray(deviation_ticks, dtype=float)
    errors, rates = np.full(len(deviation), np.nan), np.empty(len(deviation))
    locked = np.zeros(len(deviation), dtype=bool)
    threshold = float(Fraction(lock_threshold, FINE_PER_TICK))
    integral = rate = initial_rate
    ahead = 0.0  # virtual minus nominal time at the last edge that came
    last, state, run = None, "pull_in", 0
    missed = False
    for k, now in enumerate(deviation):
        if not np.isnan(now):
            if last is None:
                last = k, now
                error = 0.0
            else:
                since = (k - last[0]) * period + now - last[1]
                # After a missed edge the integral rate has been in force for all but the first
                # period; the model changes over at the nominal time of that edge.
                span = period if missed else since
                ahead += now - last[1] + rate * span + integral * (since - span)
                last = k, now
                error = -ahead
                if (abs(error) <= threshold) == (state == "locked"):
                    run = 0
                else:
                    run += 1
                    if run >= lock_count:
                        run, state = 0, "pull_in" if state == "locked" else "locked"
                proportional, growth = gain[state]
                integral += error * growth
                rate = integral + error * proportional
            errors[k] = error
            missed = False
        else:
            missed = True
        rates[k] = integral if missed else rate
        locked[k] = state == "locked"
    return errors, rates, locked
