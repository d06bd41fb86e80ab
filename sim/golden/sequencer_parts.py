"""What stands around the sequencer's engine: TTL lines and route, marks, images in slots.

Written from the contracts, one call for each tick; nothing here knows of shift registers, queues or
states of the gateware.
"""

import zlib
from dataclasses import dataclass, field

from quantacore.gateware.layouts.instructions import (
    PROGRAM_DEPTH,
    Op,
    SetWord,
    SwitchWord,
    TagWord,
)
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    DAC_LATENCY,
    ENVELOPE_POINTS,
    SLOTS,
    TTL_LATENCY,
    TTL_LINES,
    WAVES,
    LoadTarget,
    MarkRecord,
    SequencerLoadAddress,
    SlotCommand,
    SlotState,
)

__all__ = ["OutputsModel", "marks_of", "check_marks", "SlotsModel"]

_ALL = (1 << TTL_LINES) - 1


class OutputsModel:
    """TTL lines and route: what they show in each tick.

    Call :meth:`tick` once for each tick, with what comes in that tick; it returns what is shown
    then. A change of a tick is shown from the next one on.
    """

    def __init__(self):
        self._levels = [0]
        self._route = 0
        # Nothing from before the last emergency reaches the late lines.
        self._since, self._then = 0, 0

    def tick(self, *, command=None, rest=False, emergency=False, safe=0, hold=0, fast=0,
             route_safe=0, write=None, route_write=None):
        """``(ttl, route)``; ``command`` is ``(word, a)``, ``write`` is ``(value, mask)``."""
        now = len(self._levels) - 1
        level = self._levels[-1]
        behind = now - (DAC_LATENCY - TTL_LATENCY)
        late = self._then if behind < self._since else self._levels[behind]
        shown = (safe, route_safe) if emergency else (
            level & fast | late & ~fast & _ALL, self._route)

        if write is not None:
            value, mask = write
            level = level & ~mask | value & mask
        if route_write is not None:
            self._route = route_write
        if command is not None:
            word, a = command
            if word & 63 == Op.SET.value:
                fields = SetWord.from_bits(word)
                level = level & ~fields.mask | fields.value & fields.mask
            elif word & 63 == Op.SWITCH.value:
                fields = SwitchWord.from_bits(word)
                self._route = a & 255 if fields.register else fields.route
        if rest:
            level = self._levels[-1] & hold | safe & ~hold & _ALL
        if emergency:
            level, self._route = safe, route_safe
            self._since, self._then = now + 1, safe
        self._levels.append(level)
        return shown


def marks_of(commands):
    """``(code, tick)`` of each ``TAG`` in ``(tick of issue, word, a)``."""
    result = []
    for tick, word, a in commands:
        if word & 63 == Op.TAG.value:
            fields = TagWord.from_bits(word)
            result.append((a & 0xFFFF if fields.register else fields.code, tick))
    return result


def check_marks(asked, records, lost):
    """Compare a stream of mark records with the marks asked for; raise :exc:`AssertionError`.

    Parameters
    ----------
    asked : list of (code, tick)
    records : list of int
        All that left, in order; nothing is waiting any more.
    lost : int
        The counter.
    """
    at = 0
    for number, bits in enumerate(records):
        record = MarkRecord.from_bits(bits)
        if record.lost < 15:
            at += record.lost
        else:
            # The field stops at 15: look for the mark behind.
            at += 15
            while at < len(asked) and (asked[at][0], asked[at][1] % 2**40) != (record.code,
                                                                             record.coarse):
                at += 1
        assert at < len(asked), f"record {number} is one too many"
        code, tick = asked[at]
        assert (record.code, record.coarse) == (code, tick % 2**40), (
            f"record {number} is {record.code}, {record.coarse}, not {code}, {tick}")
        at += 1
    assert len(records) + lost == len(asked), (
        f"{len(records)} marks came and {lost} were lost, of {len(asked)}")


@dataclass
class SlotsModel:
    """Images in slots: everything that registers show, from what was written.

    Each method is one write; flags are counted in ``raised``. ``memory`` has what was stored, by
    ``(target, slot, channel, address)``.
    """

    channels: int = CHANNELS
    state: list = field(default_factory=lambda: [SlotState.EMPTY] * SLOTS)
    images: list = field(default_factory=lambda: [0] * SLOTS)
    active: int = 0
    trial: bool = False
    loaded: int = 0
    memory: dict = field(default_factory=dict)
    raised: dict = field(default_factory=lambda: dict.fromkeys(
        ("load_refused", "image_refused", "activate_refused", "reverted"), 0))
    running: bool = False
    previous: int = 0
    deadline: int | None = None
    _crc: int = 0
    _half: int | None = None
    _slot: int = 0
    _channel: int = 0
    _target: LoadTarget = LoadTarget.PROGRAM
    _address: int = 0

    def address(self, bits):
        """``load_address``."""
        value = SequencerLoadAddress.from_bits(bits)
        self._slot, self._channel, self._address = value.slot, value.channel, value.address
        self._target, self._half = value.target, None

    def word(self, word):
        """``load_data``."""
        depth = {LoadTarget.PROGRAM: PROGRAM_DEPTH, LoadTarget.WAVES: WAVES,
                 LoadTarget.ENVELOPE: ENVELOPE_POINTS // 2}.get(self._target, 0)
        there = self._address < depth and (
            self._target is not LoadTarget.ENVELOPE or self._channel < self.channels)
        if not there or self.state[self._slot] is not SlotState.WRITING:
            self.raised["load_refused"] += 1
            return
        self.loaded += 1
        self._crc = zlib.crc32(word.to_bytes(4, "little"), self._crc)
        channel = self._channel
        if self._target is not LoadTarget.ENVELOPE:
            channel = 0
            if self._half is None:
                self._half = word
                return
            word = self._half | word << 32
            self._half = None
        self.memory[self._target, self._slot, channel, self._address] = word
        self._address = self._address + 1 & 0xFFFF

    def command(self, bits, *, now, words, crc, trial_ticks):
        """``slot``, in tick ``now``."""
        value = SlotCommand.from_bits(bits)
        slot = value.slot
        if value.begin:
            if self.running and slot == self.active:
                self.raised["load_refused"] += 1
            else:
                self.state[slot] = SlotState.WRITING
                self.images[slot] = 0
                self.loaded, self._crc, self._half = 0, 0, None
        elif value.commit:
            right = (self.state[slot] is SlotState.WRITING and self._half is None
                     and (self.loaded, self._crc) == (words, crc))
            if self.state[slot] is SlotState.WRITING:
                self.state[slot] = SlotState.VALID if right else SlotState.REFUSED
                self.images[slot] = crc if right else 0
            self.raised["image_refused"] += not right
        elif value.activate:
            if self.running or self.state[slot] is not SlotState.VALID:
                self.raised["activate_refused"] += 1
            else:
                self.previous, self.active = self.active, slot
                self.trial = bool(value.trial)
                self.deadline = now + trial_ticks if trial_ticks else None
        elif value.confirm:
            self.trial = False

    def fail(self):
        """What ends a trial happened, or its time is up."""
        if self.trial:
            self.trial = False
            self.state[self.active] = SlotState.REJECTED
            self.images[self.active] = 0
            self.active = self.previous
            self.raised["reverted"] += 1
