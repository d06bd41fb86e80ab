"""Images: how they are loaded, checked, made active, tried, and given up."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import PROGRAM_DEPTH
from quantacore.gateware.layouts.registers import WORD_BITS
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    ENVELOPE_POINTS,
    SLOTS,
    WAVES,
    LoadTarget,
    SequencerLoadAddress,
    SlotCommand,
    SlotState,
    SlotStatus,
)
from quantacore.gateware.link.crc import CRC32
from quantacore.gateware.sequencer.channels import PointsLoad, WaveLoad, check_channels

__all__ = ["ProgramLoad", "Slots"]


class ProgramLoad(data.Struct):
    """An instruction to be stored."""

    word: 64
    index: range(PROGRAM_DEPTH)
    slot: range(SLOTS)


class Slots(wiring.Component):
    """Two images, of which one is active, and what may be done to them.

    An image is written word by word. ``commit`` makes it valid if the number of words and their
    CRC are the ones that are said: a half-written slot never does. After a reset, as after power
    was lost, both slots are empty. Only a valid slot becomes active. On trial it is active until
    ``failed``, or until the time is up; then the slot that was active before is so again, and this
    one is rejected, unless ``confirm`` came first.

    Parameters
    ----------
    channels : int
        Channels with envelopes.

    Members
    -------
    address_valid : In(1), address : In(SequencerLoadAddress)
        Where the next words go.
    word_valid : In(1), word : In(32)
        A word. A command comes two clocks after the last, or later.
    command_valid : In(1), command : In(SlotCommand)
    words, crc : In(32)
        For ``commit``.
    trial_ticks : In(64)
        How long a trial lasts; 0 is for ever.
    running : In(1)
        A program of the active slot runs.
    failed : In(1)
        It did what ends a trial.
    program, waves, points : Out(stream)
        Words for the memories.
    status : Out(SlotStatus)
    ready : Out(1)
        The active slot is valid.
    images : Out(32).array(2)
        CRC of each valid image.
    loaded : Out(32)
        Words since ``begin``.
    load_refused, image_refused, activate_refused, reverted : Out(1)
        For a clock each.
    """

    def __init__(self, *, channels=CHANNELS):
        check_channels(channels)
        self.channels = channels
        super().__init__({
            "address_valid": In(1), "address": In(SequencerLoadAddress),
            "word_valid": In(1), "word": In(WORD_BITS),
            "command_valid": In(1), "command": In(SlotCommand),
            "words": In(32), "crc": In(32), "trial_ticks": In(64),
            "running": In(1), "failed": In(1),
            "program": Out(stream.Signature(ProgramLoad, always_ready=True)),
            "waves": Out(stream.Signature(WaveLoad, always_ready=True)),
            "points": Out(stream.Signature(PointsLoad, always_ready=True)),
            "status": Out(SlotStatus), "ready": Out(1), "images": Out(32).array(SLOTS),
            "loaded": Out(32),
            "load_refused": Out(1), "image_refused": Out(1), "activate_refused": Out(1),
            "reverted": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = check = CRC32(WORD_BITS)
        status = self.status
        states = Array(status.state[i] for i in range(SLOTS))
        place = Signal(SequencerLoadAddress)

        # Words. The first half of a 64-bit one waits for the second.
        half, has_half = Signal(WORD_BITS), Signal()
        wide, inside = Signal(), Signal()
        with m.Switch(place.target):
            with m.Case(LoadTarget.PROGRAM):
                m.d.comb += [wide.eq(1), inside.eq(place.address < PROGRAM_DEPTH)]
            with m.Case(LoadTarget.WAVES):
                m.d.comb += [wide.eq(1), inside.eq(place.address < WAVES)]
            with m.Case(LoadTarget.ENVELOPE):
                m.d.comb += inside.eq((place.address < ENVELOPE_POINTS // 2)
                                      & (place.channel < self.channels))
        allowed = Signal()
        m.d.sync += allowed.eq(inside & (states[place.slot] == SlotState.WRITING))
        taken = Signal()
        m.d.comb += taken.eq(self.word_valid & allowed)
        both = Cat(half, self.word)
        for output, target in ((self.program, LoadTarget.PROGRAM), (self.waves, LoadTarget.WAVES),
                               (self.points, LoadTarget.ENVELOPE)):
            m.d.sync += output.valid.eq(taken & (place.target == target) & (~wide | has_half))
        with m.If(taken):
            m.d.sync += [
                self.program.payload.word.eq(both), self.program.payload.index.eq(place.address),
                self.program.payload.slot.eq(place.slot),
                Value.cast(self.waves.payload.wave).eq(both),
                self.waves.payload.index.eq(place.address),
                self.waves.payload.slot.eq(place.slot),
                Cat(self.points.payload.even, self.points.payload.odd).eq(self.word),
                self.points.payload.pair.eq(place.address),
                self.points.payload.channel.eq(place.channel),
                self.points.payload.slot.eq(place.slot),
                self.loaded.eq(self.loaded + 1), half.eq(self.word),
                has_half.eq(wide & ~has_half),
            ]
            with m.If(~wide | has_half):
                m.d.sync += place.address.eq(place.address + 1)
        m.d.sync += self.load_refused.eq(self.word_valid & ~allowed)
        with m.If(self.address_valid):
            m.d.sync += [place.eq(self.address), has_half.eq(0)]

        begin = self.command_valid & self.command.begin
        m.d.comb += [check.valid.eq(taken), check.data.eq(self.word)]

        # Commands. Of several in one word the first of these is carried out.
        slot = self.command.slot
        busy = self.running & (slot == status.active)
        right = Signal()
        m.d.sync += right.eq((self.loaded == self.words) & (check.crc == self.crc)
                             & ~has_half)
        m.d.sync += [self.image_refused.eq(0), self.activate_refused.eq(0), self.reverted.eq(0)]
        previous = Signal()
        since, expired, failing = Signal(64), Signal(), Signal()
        m.d.sync += [
            since.eq(since + 1),
            expired.eq((since >= self.trial_ticks) & (self.trial_ticks != 0)),
            failing.eq(status.trial & (failing | self.failed)),
        ]
        crcs = Array(Signal(32, name=f"crc_{i}") for i in range(SLOTS))
        for i in range(SLOTS):
            with m.If(status.state[i] == SlotState.VALID):
                m.d.comb += self.images[i].eq(crcs[i])
        with m.If(begin):
            with m.If(busy):
                m.d.sync += self.load_refused.eq(1)
            with m.Else():
                m.d.sync += [self.loaded.eq(0), has_half.eq(0)]
                m.d.comb += check.start.eq(1)
                m.d.sync += states[slot].eq(SlotState.WRITING)
        with m.Elif(self.command_valid & self.command.commit):
            with m.If(states[slot] != SlotState.WRITING):
                m.d.sync += self.image_refused.eq(1)
            with m.Else():
                m.d.sync += [
                    self.image_refused.eq(~right), crcs[slot].eq(self.crc),
                    states[slot].eq(Mux(right, SlotState.VALID, SlotState.REFUSED)),
                ]
        with m.Elif(self.command_valid & self.command.activate):
            with m.If(self.running | (states[slot] != SlotState.VALID)):
                m.d.sync += self.activate_refused.eq(1)
            with m.Else():
                m.d.sync += [status.active.eq(slot), status.trial.eq(self.command.trial),
                             previous.eq(status.active), since.eq(0), expired.eq(0)]
        with m.Elif(self.command_valid & self.command.confirm):
            m.d.sync += status.trial.eq(0)

        # A trial that fails.
        with m.If(status.trial & ~self.command_valid & (failing | expired)):
            m.d.sync += [status.trial.eq(0), failing.eq(0), self.reverted.eq(1),
                         status.active.eq(previous),
                         states[status.active].eq(SlotState.REJECTED)]
        m.d.comb += self.ready.eq(states[status.active] == SlotState.VALID)
        return m
