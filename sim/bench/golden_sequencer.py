"""A golden node with a golden sequencer behind its registers, for tests of the host.

What the gateware does with the words of the registers, without its clocks: each piece of traffic
takes :data:`TRAFFIC_TICKS`, and commands act at once. Programs are run by the golden interpreter;
of outputs there are only TTL lines and the route.
"""

import struct
import zlib

import numpy as np

from quantacore.gateware.layouts.instructions import Fault, Op, isa_crc
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    MARK_DEPTH,
    SLOTS,
    START_TICKS,
    LoadTarget,
    MarkRecord,
    SequencerAction,
    SequencerFlags,
    SequencerLoadAddress,
    SequencerRecordKind,
    SequencerSizes,
    SequencerState,
    SequencerStatus,
    SlotCommand,
    SlotState,
)
from quantacore.sim.golden.endpoint import GoldenEndpoint
from quantacore.sim.golden.sequencer import SequencerModel, World, fields

__all__ = ["GoldenSequencerEndpoint", "TRAFFIC_TICKS"]

#: Capability bit of a sequencer.
_CAPABILITY = 1 << 6
#: Ticks that pass with each piece of traffic.
TRAFFIC_TICKS = 500
_FLAGS = [name for name, _ in SequencerFlags.as_shape()]


class GoldenSequencerEndpoint(GoldenEndpoint):
    """A golden endpoint whose node has a sequencer.

    Parameters
    ----------
    channels : int
    world : World, optional
        What the programs see.
    """

    def __init__(self, *, channels=CHANNELS, world=None, **options):
        self.channels = channels
        self.world = world or World()
        super().__init__(**options)
        self.on_write = self._written

    def reset(self):
        """As of a node; both slots are empty."""
        super().reset()
        self.set("identity.capabilities", self.get("identity.capabilities") | _CAPABILITY)
        self.set("sequencer.sizes", SequencerSizes.const({
            "channels": self.channels, "program_log2": 12, "waves_log2": 9, "envelope_log2": 10,
            "sample_bits": 16}).as_bits())
        self.set("sequencer.isa", isa_crc())
        self.model = SequencerModel()
        self.memory = [{target: {} for target in LoadTarget} for _ in range(SLOTS)]
        self.states = [SlotState.EMPTY] * SLOTS
        self.crcs = [0] * SLOTS
        self.active = self.previous = 0
        self.trial = self.emergency = False
        self.state = SequencerState.IDLE
        self._place, self._half = SequencerLoadAddress.from_bits(0), None
        self._data = []
        self._seen = 0
        self._armed_for = 0
        self._waiting_marks = []
        self._show()

    # Time.

    def feed(self, data):
        self.tick = self.tick + TRAFFIC_TICKS
        self._run()
        self._show()
        return super().feed(data)

    @property
    def _busy(self):
        return self.state in (SequencerState.RUNNING, SequencerState.ARMED)

    def _run(self):
        if self.trial and self._trial_ends and self.tick >= self._trial_ends:
            self._revert()
        if self.state is SequencerState.ARMED and self.tick >= self._armed_for:
            self.state = SequencerState.RUNNING
        if self.state is not SequencerState.RUNNING:
            return
        self.model.advance(self.tick)
        for tick, word, a, _ in self.model.commands[self._seen:]:
            op, f = fields(word)
            self._bump("issued")
            if op is Op.TAG:
                self._mark(tick, a & 0xFFFF if f["register"] else f["code"])
            elif op is Op.PULSE:
                self._bump("pulses")
            elif op is Op.SET:
                self.set("sequencer.ttl", self.get("sequencer.ttl") & ~f["mask"]
                         | f["value"] & f["mask"])
            elif op is Op.SWITCH:
                self.set("sequencer.route", a & 0xFF if f["register"] else f["route"])
        self._seen = len(self.model.commands)
        if self.model.state is not SequencerState.RUNNING:
            self.state = self.model.state
            self._rest()
            if self.state is SequencerState.FAULT:
                self._flag("fault")
                self._failed()

    def _mark(self, tick, code):
        self._bump("marks")
        if len(self._waiting_marks) < MARK_DEPTH:
            self._waiting_marks.append(MarkRecord.const({
                "code": code, "coarse": tick & (1 << 40) - 1,
                "kind": SequencerRecordKind.MARK}).as_bits())
        else:
            self._bump("marks_lost")
            self._flag("mark_lost")
        taken = self.push_records(np.array(self._waiting_marks, np.uint64))
        del self._waiting_marks[:taken]

    def _rest(self):
        hold, safe = self.get("sequencer.ttl_hold"), self.get("sequencer.ttl_safe")
        self.set("sequencer.ttl", self.get("sequencer.ttl") & hold | safe & ~hold)

    # Registers.

    def _bump(self, name, number=1):
        self.set(f"sequencer.{name}", self.get(f"sequencer.{name}") + number)

    def _flag(self, name):
        bit = _FLAGS.index(name)
        flags = self.get("sequencer.flags")
        if flags >> bit & 1:
            self.set("sequencer.flag_counts", self.get("sequencer.flag_counts", bit) + 1, bit)
        else:
            self.set("sequencer.flags", flags | 1 << bit)
            self.set("sequencer.flag_counts", 1, bit)
            self.set("sequencer.flag_times", self.tick, bit)

    def _show(self):
        model = self.model
        state = SequencerState.EMERGENCY if self.emergency else self.state
        self.set("sequencer.status", SequencerStatus.const({
            "state": state, "fault": model.fault if self.state is SequencerState.FAULT
            else Fault.NONE, "pc": model.pc, "slot": self.active,
            "trial": self.trial}).as_bits())
        self.set("sequencer.slots", sum(state.value << 3 * slot
                                        for slot, state in enumerate(self.states))
                 | self.active << 6 | self.trial << 7)
        for slot in range(SLOTS):
            self.set("sequencer.slot_image", self.crcs[slot]
                     if self.states[slot] is SlotState.VALID else 0, slot)
        self.set("sequencer.slot_loaded", len(self._data))
        for name in ("started", "stopped", "halt_code", "waited"):
            self.set(f"sequencer.{name}", getattr(model, name))
        for register, value in enumerate(model.registers):
            self.set("sequencer.data", value, register)

    def set(self, name, value, index=0):
        """As of a node; a word of a memory too."""
        if name == "sequencer.data":
            self._values[name, index] = value
        else:
            super().set(name, value, index)

    def _written(self, name, index, value):
        block, _, register = name.partition(".")
        handler = getattr(self, f"_on_{register}", None) if block == "sequencer" else None
        if handler is not None:
            if register == "preset":
                handler(index, value)
            else:
                handler(value)
            self._show()

    def _on_preset(self, index, value):
        self.model.registers[index] = value

    def _on_ttl_write(self, value):
        level, mask = value & 0xFFFF, value >> 16
        self.set("sequencer.ttl", self.get("sequencer.ttl") & ~mask | level & mask)

    def _on_route_write(self, value):
        self.set("sequencer.route", value)

    def _on_action(self, value):
        action = SequencerAction.from_bits(value)
        if action.clear:
            for name in ("issued", "pulses", "marks", "marks_lost"):
                self.set(f"sequencer.{name}", 0)
        if action.emergency and not self.emergency:
            self.emergency = True
            self._flag("emergency")
            self._stop()
            self.set("sequencer.ttl", self.get("sequencer.ttl_safe"))
            self.set("sequencer.route", self.get("sequencer.route_safe"))
            self._failed()
        elif action.release:
            self.emergency = False
        if action.stop or action.reset:
            self._stop()
        if action.reset:
            self.model.registers = [0] * len(self.model.registers)
            self._rest()
            self._failed()
        if action.start:
            self._start(action.timed)

    def _stop(self):
        if self._busy:
            self.state = SequencerState.IDLE
            self.model.stopped = self.tick
            self._rest()

    def _start(self, timed):
        if self._busy or self.emergency or self.states[self.active] is not SlotState.VALID:
            self._flag("start_refused")
            return
        first = self.tick + 1
        if timed:
            first = self.get("sequencer.start_time") + START_TICKS
            if first <= self.tick + START_TICKS:
                self._flag("start_late")
                return
        words = self.memory[self.active][LoadTarget.PROGRAM]
        self.model.load([words.get(pc, 0) for pc in range(max(words, default=0) + 1)])
        self.model.start(first, self.world, pc=self.get("sequencer.start_pc"))
        self._seen = 0
        self.state = SequencerState.ARMED if timed else SequencerState.RUNNING
        self._armed_for = first

    # Slots.

    def _failed(self):
        if self.trial:
            self._revert()

    def _revert(self):
        self._stop()
        self.trial = False
        self.states[self.active] = SlotState.REJECTED
        self.active = self.previous
        self._flag("reverted")

    def _on_load_address(self, value):
        self._place, self._half = SequencerLoadAddress.from_bits(value), None
        self._at = self._place.address

    def _on_load_data(self, value):
        place = self._place
        if self.states[place.slot] is not SlotState.WRITING or (
                place.target is LoadTarget.ENVELOPE and place.channel >= self.channels):
            self._flag("load_refused")
            return
        self._data.append(value)
        if place.target is not LoadTarget.ENVELOPE:
            if self._half is None:
                self._half = value
                return
            value, self._half = self._half | value << 32, None
        key = self._at if place.target is not LoadTarget.ENVELOPE else (place.channel, self._at)
        self.memory[place.slot][place.target][key] = value
        self._at += 1

    def _on_slot(self, value):
        command = SlotCommand.from_bits(value)
        slot = command.slot
        if command.begin:
            if self._busy and slot == self.active:
                self._flag("load_refused")
                return
            self.states[slot] = SlotState.WRITING
            self.memory[slot] = {target: {} for target in LoadTarget}
            self._data = []
        elif command.commit:
            right = (self.states[slot] is SlotState.WRITING
                     and len(self._data) == self.get("sequencer.slot_words")
                     and zlib.crc32(struct.pack(f"<{len(self._data)}I", *self._data))
                     == self.get("sequencer.slot_crc"))
            if self.states[slot] is SlotState.WRITING:
                self.states[slot] = SlotState.VALID if right else SlotState.REFUSED
                self.crcs[slot] = self.get("sequencer.slot_crc")
            if not right:
                self._flag("image_refused")
        elif command.activate:
            if self._busy or self.states[slot] is not SlotState.VALID:
                self._flag("start_refused")
                return
            self.previous, self.active, self.trial = self.active, slot, bool(command.trial)
            ticks = self.get("sequencer.trial_ticks")
            self._trial_ends = self.tick + ticks if ticks else 0
        elif command.confirm:
            self.trial = False
