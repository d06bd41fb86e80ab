"""The pulse sequencer of a node: load an image, set its parameters, run it, take what it says.

::

    async with node.sequencer as sequencer:
        await sequencer.load("rabi.qcfw")
        sequencer.set(shots=100)
        result = await sequencer.run()
        print(result.state.name, result.marks.codes)

The node has two slots for images: one can be loaded while the other runs, and one that was
activated *on trial* gives way to the other by itself if it goes wrong (:meth:`activate`).
"""

import asyncio
import logging
import os
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from quantacore.firmware.diagnostics import Line, SourceError
from quantacore.firmware.expressions import Parser, UnitError, Units
from quantacore.firmware.image import Image, ImageError, upload_words
from quantacore.firmware.lexer import tokenize
from quantacore.gateware.layouts.frames import MAX_PAYLOAD_WORDS
from quantacore.gateware.layouts.instructions import AnyInstruction, Op
from quantacore.gateware.layouts.sequencer import (
    SLOTS,
    START_TICKS,
    TTL_LINES,
    SlotState,
)
from quantacore.host.driver.block import CheckedBlockDriver
from quantacore.host.driver.errors import AchievedValueWarning, LinkError
from quantacore.host.driver.registers import Fault, SequencerState
from quantacore.host.tags.marks import Marks, decode_marks, split_marks

__all__ = ["SequencerDriver", "SequencerError", "SequencerMissingError", "SequencerBusyError",
           "StaleImageError", "ImageRefusedError", "LoadRefusedError", "StartRefusedError",
           "StartLateError", "ProgramFaultError", "TrialFailedError", "EmergencyError",
           "PulseOverlapError", "MarksLostError", "SyndromeLostError", "StillRunningError",
           "FLAG_ERRORS", "ParameterValue", "RunResult", "SequencerInfo", "SlotInfo",
           "StatusReport", "TtlSettings"]

_log = logging.getLogger(__name__)

#: Requests that a load keeps under way.
_LOAD_AHEAD = 16
#: Looks for a mark that the node has counted, before it is given up.
_PATIENCE = 200
_FULL_SCALE = 1 << 15
_TURN = 1 << 32
_FIELDS = {name: (f.offset, (1 << f.width) - 1) for name, f in AnyInstruction.as_shape()}
_ON_CHANNEL = {op.value for op in (Op.PULSE, Op.FREQ, Op.PHASE, Op.OFFSET)}
_OF_DECODER = {op.value: op.name for op in (Op.SYN, Op.DEC)}
_OF_HERALD = {op.value: op.name for op in (Op.ARM, Op.BRH, Op.LDT)}
_FAULTS = {
    Fault.ILLEGAL: "no such operation, or a dwell below the least one",
    Fault.CALL_OVERFLOW: "CALL with the call stack full",
    Fault.CALL_UNDERFLOW: "RET without a call",
    Fault.LOOP_OVERFLOW: "LOOP with all levels in use",
    Fault.LOOP_EMPTY: "LOOP with a count of 0, or without a body",
    Fault.LOOP_UNDERFLOW: "BR or JMP out of more loops than there are",
    Fault.LATE: "WAITUNTIL a time that is past, or too near",
}


class SequencerError(LinkError):
    """Base of what goes wrong with a sequencer."""


class SequencerMissingError(SequencerError):
    """The node was built without a sequencer."""


class SequencerBusyError(SequencerError):
    """A program runs, and what was asked can't be done meanwhile."""


class StaleImageError(SequencerError, ImageError):
    """The image is made for another instruction set than the node's."""


class LoadRefusedError(SequencerError):
    """The node refused words of an image: the slot runs, or a place that this build lacks."""


class ImageRefusedError(SequencerError):
    """What came to the node is not the image: another number of words, or another CRC."""


class StartRefusedError(SequencerError):
    """The node did not start, or did not activate a slot: it has no valid image there."""


class StartLateError(SequencerError):
    """The time of a timed start was past when it came to the node."""


class ProgramFaultError(SequencerError):
    """The program did what it may not, and was stopped; ``result`` says where."""

    def __init__(self, message, result=None):
        super().__init__(message)
        self.result = result


class TrialFailedError(SequencerError):
    """An image on trial failed; the other slot is active again."""


class EmergencyError(SequencerError):
    """The emergency stop came, and holds until :meth:`SequencerDriver.release`."""


class PulseOverlapError(SequencerError):
    """A pulse began before the one on its channel was over."""


class MarksLostError(SequencerError):
    """Marks came faster than the link took them."""


class SyndromeLostError(SequencerError):
    """A program pushed a round, and there is no decoder to take it."""


class StillRunningError(SequencerError):
    """The program did not come to its end in time; it still runs."""


#: Exception of each sticky flag, for :meth:`SequencerDriver.check_flags`.
FLAG_ERRORS = {
    "fault": ProgramFaultError, "overlap": PulseOverlapError, "mark_lost": MarksLostError,
    "load_refused": LoadRefusedError, "image_refused": ImageRefusedError,
    "reverted": TrialFailedError, "emergency": EmergencyError,
    "start_refused": StartRefusedError, "start_late": StartLateError,
    "syndrome_lost": SyndromeLostError,
}


@dataclass(frozen=True)
class SequencerInfo:
    """What a build has: ``decoder`` and ``herald`` tell whether programs can talk to them."""

    channels: int
    program_words: int
    waves: int
    envelope_points: int
    sample_bits: int
    decoder: bool
    herald: bool
    isa: int


@dataclass(frozen=True)
class SlotInfo:
    """A slot: ``image`` is the CRC-32 of a valid image, else 0; ``name`` is known of images that
    this driver loaded or was told about (:meth:`SequencerDriver.attach`)."""

    slot: int
    state: SlotState
    active: bool
    trial: bool
    image: int
    name: str | None


@dataclass(frozen=True)
class StatusReport:
    """What the sequencer is doing.

    ``fault`` is :attr:`Fault.NONE` where there is none; ``pc`` is the word issued last, or the
    one refused; ``active`` are the channels that have a pulse.
    """

    state: SequencerState
    fault: Fault
    pc: int
    slot: int
    trial: bool
    active: tuple


@dataclass(frozen=True)
class TtlSettings:
    """Masks of TTL lines; see the registers ``ttl_safe``, ``ttl_hold`` and ``ttl_fast``."""

    safe: int
    hold: int
    fast: int


@dataclass(frozen=True)
class ParameterValue:
    """A parameter of an image in physical units.

    ``unit`` is "s", "full scale", "turns", or what the program says; ``register`` is the data
    register, ``number`` what it gets.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    doc: str
    register: int
    number: int


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes
    ----------
    state : SequencerState
        HALTED, FAULT, EMERGENCY, or IDLE where it was stopped.
    halt_code : int or None
        Of the program's ``HALT``.
    fault : Fault
    pc : int
        The word issued last, or the one that was refused.
    where : str
        The same for the reader: with its line of the source, if the image is known.
    started, stopped : int
        Ticks of the first instruction and of the end.
    duration_s : float
    issued, pulses : int
        Instructions issued and pulses begun.
    waited : int
        Ticks that the last wait took.
    marks : Marks or None
        None if the stream of records was not open.
    marks_asked, marks_lost : int
        ``marks_asked == len(marks) + marks_lost``.
    flags : dict
        Flags raised: name -> (count, seconds), see :meth:`BlockDriver.flags`.
    """

    state: SequencerState
    halt_code: int | None
    fault: Fault
    pc: int
    where: str
    started: int
    stopped: int
    duration_s: float
    issued: int
    pulses: int
    waited: int
    marks: Marks | None
    marks_asked: int
    marks_lost: int
    flags: dict

    def check(self):
        """Return this result if the program came to its ``HALT``, else raise.

        Raises
        ------
        ProgramFaultError, EmergencyError, SequencerError
        """
        if self.state is SequencerState.HALTED:
            return self
        if self.state is SequencerState.FAULT:
            raise ProgramFaultError(
                f"The program was stopped at {self.where}: {self.fault.name}, "
                f"{_FAULTS.get(self.fault, 'a fault that this release does not know')}. Prove it "
                f"before it runs (quantacore fw prove)", self)
        if self.state is SequencerState.EMERGENCY:
            raise EmergencyError(f"The emergency stop ended the program at {self.where}; release() "
                                 f"ends it")
        raise SequencerError(f"The program was stopped at {self.where} before its HALT")


def _physical(parameter, number, tick_s):
    if parameter.unit == "ticks":
        return float(number * tick_s)
    if parameter.unit == "amplitude":
        return number / _FULL_SCALE
    if parameter.unit == "phase":
        return number / _TURN
    return number


_SHOWN_UNITS = {"ticks": "s", "amplitude": "full scale", "phase": "turns"}


def _from_text(name, text, units):
    """A value as the assembly language writes it."""

    def lookup(token):
        raise SourceError(f"{token.text!r} is no number", token, "write 0.5, 2us, 0.25turn")

    try:
        parser = Parser(tokenize(Line(name, 1, text)), lookup, units)
        value = parser.expression()
        if parser.peek() is not None:
            raise SourceError(f"{parser.peek().text!r} after the value", parser.peek())
        number = units.word(value)
    except (SourceError, UnitError) as error:
        fix = f"; {error.fix}" if error.fix else ""
        raise ValueError(f"Parameter {name}: {error}{fix}") from None
    return number - _TURN if number >= 1 << 31 and value.number < 0 else number


class SequencerDriver(CheckedBlockDriver):
    """The pulse sequencer.

    ``async with node.sequencer as sequencer`` opens the stream of its marks; leaving stops the
    program and closes it. A node has one stream of records, so records of other blocks that come
    meanwhile are kept in ``other_records``. Without that everything works but the marks.

    Attributes
    ----------
    images : dict
        Slot -> :class:`~quantacore.firmware.image.Image`, of the slots whose image is known.
    other_records : list of numpy.ndarray
        Records of other blocks.
    """

    flag_errors = FLAG_ERRORS

    def __init__(self, node, registers):
        super().__init__(node, registers)
        self.images = {}
        self.other_records = []
        self._info = None
        self._stream = None
        self._marks = []
        self._values = {}
        self._started = None

    # What there is.

    async def info(self):
        """:class:`SequencerInfo` of this build.

        Raises
        ------
        SequencerMissingError
        """
        if self._info is None:
            if not self.node.identity.sequencer:
                raise SequencerMissingError(
                    "This node was built without a sequencer; build one with "
                    "NodeConfig(sequencer=8), or start a virtual node with quantacore node "
                    "--sequencer 8 (virtual:?sequencer=8)")
            sizes, isa = await asyncio.gather(self.registers.sizes.read(),
                                              self.registers.isa.read())
            self._info = SequencerInfo(
                sizes.channels, 1 << sizes.program_log2, 1 << sizes.waves_log2,
                1 << sizes.envelope_log2, sizes.sample_bits, bool(sizes.decoder),
                bool(sizes.herald), isa)
        return self._info

    async def status(self):
        """:class:`StatusReport`."""
        await self.info()
        status = await self.registers.status.read()
        return StatusReport(status.state, status.fault, status.pc, status.slot,
                            bool(status.trial),
                            tuple(k for k in range(8) if status.active >> k & 1))

    async def slots(self):
        """:class:`SlotInfo` of each slot."""
        await self.info()
        status, images = await asyncio.gather(self.registers.slots.read(),
                                              self.registers.slot_image.read())
        result = []
        for slot in range(SLOTS):
            state = SlotState(status.state >> 3 * slot & 7)
            if state is not SlotState.VALID or slot in self.images and (
                    images[slot] != _crc(self.images[slot])):
                self.images.pop(slot, None)
            image = self.images.get(slot)
            result.append(SlotInfo(slot, state, status.active == slot,
                                   status.active == slot and bool(status.trial), images[slot],
                                   None if image is None else image.name))
        return result

    # Images.

    async def load(self, image, slot=None, *, activate=True, progress=None, force=False):
        """Load an image, unless the node has it already.

        Parameters
        ----------
        image : Image or path
        slot : int or None
            None: the slot that has this image, else the one that is not active. A program may
            run in the other one meanwhile.
        activate : bool
            Run it from the next start on; with False, :meth:`activate` does that later.
        progress : callable, optional
            ``progress(words done, words in all)``.
        force : bool
            Load it even if the node says that it has it.

        Returns
        -------
        int
            The slot.

        Raises
        ------
        StaleImageError
            It is made for another instruction set.
        ImageError
            It is damaged, or this build can't run it.
        ImageRefusedError, LoadRefusedError
            It did not arrive as it was sent; the slot is not runnable.
        SequencerBusyError
            The slot's program runs.
        """
        if isinstance(image, str | os.PathLike):
            image = Image.from_bytes(Path(image).read_bytes())
        await self.check_image(image)
        slots = await self.slots()
        crc = _crc(image)
        has = [s.slot for s in slots if s.state is SlotState.VALID and s.image == crc]
        if slot is None:
            slot = has[0] if has and not force else next(s.slot for s in slots if not s.active)
        elif not 0 <= slot < SLOTS:
            raise ValueError(f"Slots are 0 to {SLOTS - 1}, not {slot!r}")
        if slot not in has or force:
            await self._upload(image, slot, progress)
        self.images[slot] = image
        if activate:
            await self.activate(slot)
        return slot

    async def check_image(self, image):
        """Raise if this build can't run the image; nothing is sent.

        Raises
        ------
        StaleImageError, ImageError, SequencerMissingError
        """
        info = await self.info()
        if image.isa != info.isa:
            raise StaleImageError(
                f"Image {image.name!r} is stale: made for ISA {image.isa:08x}, the node has "
                f"{info.isa:08x}; assemble it again with the release that the gateware was built "
                f"from")
        tick_s = Fraction(image.meta.get("tick_s", self.units.tick_ps / 10**12))
        if tick_s * 10**12 != self.units.tick_ps:
            raise ImageError(
                f"Image {image.name!r} is made for ticks of {float(tick_s) * 1e9:g} ns, the "
                f"node's are {float(self.units.tick_ps) / 1000:g} ns: all its times would be "
                f"wrong; assemble it with .tick {float(self.units.tick_ps) / 1000:g}ns")
        sizes = [("words", len(image.words), info.program_words),
                 ("waves", len(image.waves), info.waves)]
        sizes += [(f"envelope points on channel {channel}", len(points), info.envelope_points)
                  for channel, points in image.envelopes.items()]
        for what, has, room in sizes:
            if has > room:
                raise ImageError(f"Image {image.name!r} has {has} {what}, this build has room for "
                                 f"{room}; split the program")
        for pc, word in enumerate(image.words):
            op, channel = (word >> at & mask for at, mask in
                           (_FIELDS["op"], _FIELDS["channel"]))
            if op in _ON_CHANNEL and channel >= info.channels:
                raise ImageError(
                    f"Image {image.name!r} uses channel {channel} at {_where(image, pc)}, this "
                    f"build has channels 0 to {info.channels - 1}; build a node with "
                    f"NodeConfig(sequencer={channel + 1}) or more")
        channels = [c for c, points in image.envelopes.items() if points and c >= info.channels]
        if channels:
            raise ImageError(f"Image {image.name!r} has an envelope for channel {channels[0]}, "
                             f"this build has channels 0 to {info.channels - 1}")
        used = {word & _FIELDS["op"][1] for word in image.words}
        for there, names, what in ((info.decoder, _OF_DECODER, "decoder"),
                                   (info.herald, _OF_HERALD, "herald unit")):
            lacking = sorted(names[op] for op in used & names.keys())
            if lacking and not there:
                _log.warning("image %r uses %s, and this build has no %s to answer", image.name,
                             ", ".join(lacking), what)

    async def _upload(self, image, slot, progress):
        registers, client = self.registers, self.node.client
        upload = upload_words(image, slot)
        self.images.pop(slot, None)
        before = await self._counts()
        await registers.slot.write(begin=1, slot=slot)
        if await self._raised("load_refused", before):
            raise SequencerBusyError(f"Slot {slot} runs; stop() it, or load the other one "
                                     f"({1 - slot})")
        done = 0
        step = _LOAD_AHEAD * MAX_PAYLOAD_WORDS
        for address, words in upload.bursts:
            await registers.load_address.write(address)
            for begin in range(0, len(words), step):
                chunk = words[begin:begin + step]
                await asyncio.gather(*(
                    client.write_fixed(registers.load_data.address,
                                       chunk[at:at + MAX_PAYLOAD_WORDS])
                    for at in range(0, len(chunk), MAX_PAYLOAD_WORDS)))
                done += len(chunk)
                if progress is not None:
                    progress(done, upload.words)
        await self.commit(slot, words=upload.words, crc=upload.crc)
        if await self._raised("load_refused", before):
            raise LoadRefusedError(f"The node refused words for slot {slot}; load the image again")

    async def commit(self, slot, *, words, crc):
        """Let the node compare what it was sent for a slot with these; :meth:`load` does this.

        Raises
        ------
        ImageRefusedError
        """
        registers = self.registers
        await registers.slot_words.write(words)
        await registers.slot_crc.write(crc)
        await registers.slot.write(commit=1, slot=slot)
        status, loaded, image = await asyncio.gather(
            registers.slots.read(), registers.slot_loaded.read(), registers.slot_image[slot].read())
        state = SlotState(status.state >> 3 * slot & 7)
        if state is not SlotState.VALID or image != crc:
            why = ("nothing was begun there" if state is not SlotState.REFUSED else
                   f"{loaded} of {words} words came" if loaded != words else "another CRC")
            raise ImageRefusedError(f"The node refused the image in slot {slot}: {why} (the slot "
                                    f"is {state.name}); load it again")

    def attach(self, image, slot):
        """Say what image is in a slot that was loaded by somebody else, for its names."""
        if isinstance(image, str | os.PathLike):
            image = Image.from_bytes(Path(image).read_bytes())
        self.images[slot] = image

    async def activate(self, slot, *, trial=False, trial_s=None):
        """Run this slot from the next start on.

        Parameters
        ----------
        slot : int
        trial : bool
            On trial: the slot that was active before becomes so again, and this one is rejected,
            if a program faults, the emergency stop comes, the sequencer is reset, or
            :meth:`confirm` does not come in time.
        trial_s : float, optional
            That time, from now on. By default there is none.

        Raises
        ------
        SequencerBusyError, StartRefusedError
        """
        await self.info()
        if not 0 <= slot < SLOTS:
            raise ValueError(f"Slots are 0 to {SLOTS - 1}, not {slot!r}")
        ticks = 0
        if trial_s is not None:
            if not trial:
                raise ValueError("trial_s goes with trial=True")
            ticks = self.units.ticks(trial_s)
            if not 1 <= ticks < 1 << 64:
                raise ValueError(f"A trial lasts at least a tick "
                                 f"({self.units.ticks_s(1):g} s), not {trial_s!r} s")
        before = await self._counts()
        await self.registers.trial_ticks.write(ticks)
        await self.registers.slot.write(activate=1, trial=int(trial), slot=slot)
        if await self._raised("start_refused", before):
            status = await self.status()
            if status.state in (SequencerState.RUNNING, SequencerState.ARMED):
                raise SequencerBusyError(f"Slot {slot} can't become active while a program runs "
                                         f"in slot {status.slot}; stop() it first")
            state = (await self.slots())[slot].state
            raise StartRefusedError(f"Slot {slot} can't become active: it is {state.name}, not "
                                    f"VALID; load an image into it")

    async def confirm(self):
        """Keep the active slot: its trial is over.

        Raises
        ------
        TrialFailedError
            It is over already.
        """
        status = await self.status()
        if not status.trial:
            flags = await self.flags()
            if "reverted" in flags:
                raise TrialFailedError(f"The trial failed {flags['reverted'][1]:.9f} s after the "
                                       f"tick counter was 0: slot {status.slot} is active again")
            raise SequencerError(f"Slot {status.slot} is not on trial; there is nothing to confirm")
        await self.registers.slot.write(confirm=1)

    async def _counts(self):
        counts = await self.registers.flag_counts.read()
        return dict(zip(self.registers.flags.register.type.LAYOUT, counts, strict=False))

    async def _raised(self, name, before):
        return (await self._counts())[name] != before[name]

    # Parameters.

    async def image(self):
        """The image of the active slot.

        Raises
        ------
        SequencerError
            It is not known here.
        """
        for slot in await self.slots():
            if slot.active:
                if slot.slot not in self.images:
                    raise SequencerError(
                        f"What is in slot {slot.slot} is not known here ({slot.state.name}, CRC "
                        f"{slot.image:08x}); load() it, or attach() the image that was loaded")
                return self.images[slot.slot]
        raise AssertionError("one slot is always active")

    def set(self, **values):
        """Set parameters of the programs that are started from here on.

        Times are in seconds, amplitudes in parts of full scale, phases in turns, all others are
        whole numbers; text is read as the assembly language reads it (``"2us"``, ``"0.25turn"``).
        What is not set has the image's default. They are checked when a program is started, or
        by :meth:`parameters`.
        """
        self._values |= values

    def unset(self, *names):
        """Give parameters their defaults again, all if none is named."""
        for name in names or list(self._values):
            self._values.pop(name, None)

    async def parameters(self):
        """Parameters of the active image: name -> :class:`ParameterValue`.

        Raises
        ------
        ValueError
            One that was set is not there, or outside its range.
        """
        image = await self.image()
        known = image.parameters
        for name in self._values:
            if name not in known:
                raise ValueError(f"Image {image.name!r} has no parameter {name!r}; it has "
                                 f"{', '.join(known) or 'none'}")
        tick_s = self.units.tick_ps / 10**12
        result = {}
        for name, p in known.items():
            number = self._number(name, p, self._values[name], tick_s) \
                if name in self._values else p.default
            value, low, high = (_physical(p, n, tick_s) for n in (number, p.low, p.high))
            result[name] = ParameterValue(name, value, low, high,
                                          _SHOWN_UNITS.get(p.unit, p.unit), p.doc, p.register,
                                          number)
        return result

    @staticmethod
    def _number(name, parameter, value, tick_s):
        unit = _SHOWN_UNITS.get(parameter.unit, parameter.unit)
        if isinstance(value, str):
            number = _from_text(name, value, Units(Fraction(tick_s)))
        elif isinstance(value, bool) or not isinstance(value, int | float | Fraction | np.number):
            raise TypeError(f"Parameter {name} takes a number or text, not {value!r}")
        else:
            exact = Fraction(value.item() if isinstance(value, np.number) else value)
            scale = {"ticks": 1 / Fraction(tick_s), "amplitude": _FULL_SCALE,
                     "phase": _TURN}.get(parameter.unit)
            if scale is None:
                if exact.denominator != 1:
                    raise ValueError(f"Parameter {name} takes whole numbers, not {value!r}")
                number = int(exact)
            else:
                number = round(exact * scale)
                if parameter.unit == "amplitude" and number == _FULL_SCALE:
                    number -= 1
                elif abs(number - exact * scale) > Fraction(1, 1000) and parameter.unit == "ticks":
                    warnings.warn(f"Parameter {name} is {float(number / scale):.15g} s instead of "
                                  f"the {float(exact):.15g} s asked for (steps of a tick)",
                                  AchievedValueWarning, stacklevel=4)
        if not parameter.low <= number <= parameter.high:
            low, high = (_physical(parameter, n, tick_s) for n in (parameter.low, parameter.high))
            raise ValueError(f"Parameter {name} must be {low:.9g} to {high:.9g} {unit}, "
                             f"not {value!r}: the program is proven for nothing else")
        return number

    async def data(self, register=None):
        """The data registers as 32-bit numbers, or one by number or parameter's name."""
        await self.info()
        if isinstance(register, str):
            known = (await self.image()).parameters
            if register not in known:
                raise ValueError(f"There is no parameter {register!r}; there are "
                                 f"{', '.join(known) or 'none'}")
            register = known[register].register
        if register is None:
            return await self.registers.data.read()
        return (await self.registers.data.read(register, 1))[0]

    # Running.

    async def start(self, entry=None, *, at_tick=None, at_s=None, preset=True):
        """Start the program of the active slot.

        Parameters
        ----------
        entry : str, int or None
            Where: an entry of the image or a word. By default its first entry, word 0 where the
            image is not known.
        at_tick : int, optional
            Tick of the first instruction; by default it comes at once.
        at_s : float, optional
            The same in seconds since the tick counter was 0.
        preset : bool
            Write the parameters; without, registers are what they are.

        Raises
        ------
        SequencerBusyError, EmergencyError, StartRefusedError, StartLateError
        ValueError
            A parameter is outside the range for which the program was proven.
        """
        await self.info()
        if at_s is not None:
            if at_tick is not None:
                raise ValueError("at_tick and at_s both say when to start: give one")
            at_tick = self.units.ticks(at_s)
        if at_tick is not None and not START_TICKS <= at_tick < 1 << 63:
            raise ValueError(f"A start must be at tick {START_TICKS} or later, not {at_tick!r}")
        active = next(s for s in await self.slots() if s.active)
        image = self.images.get(active.slot)
        status = await self.status()
        if status.state in (SequencerState.RUNNING, SequencerState.ARMED):
            raise SequencerBusyError(f"A program runs already in slot {status.slot} "
                                     f"({status.state.name}); stop() it, or wait()")
        pc = self._entry(image, entry)
        registers = self.registers
        if image is not None and preset:
            for parameter in (await self.parameters()).values():
                await registers.preset[parameter.register].write(parameter.number & 0xFFFFFFFF)
        elif self._values and preset:
            await self.image()
        if self._stream is not None:
            await self._take_marks()
        self._marks = []
        before = await self._counts()
        await registers.start_pc.write(pc)
        if at_tick is not None:
            await registers.start_time.write(at_tick - START_TICKS)
        await registers.action.write(start=1, clear=1, timed=int(at_tick is not None))
        counts = await self._counts()
        if counts["start_refused"] != before["start_refused"]:
            if (await self.status()).state is SequencerState.EMERGENCY:
                raise EmergencyError("The emergency stop is on; release() ends it")
            raise StartRefusedError(f"The node did not start: slot {active.slot} is "
                                    f"{active.state.name}, not VALID; load an image into it")
        if counts["start_late"] != before["start_late"]:
            now = await self.node.timing.tick()
            raise StartLateError(f"The program did not start: tick {at_tick} was past, it is "
                                 f"{now} now; ask for a later one")
        self._started = image

    def _entry(self, image, entry):
        if entry is None:
            return 0 if image is None else next(iter(image.entries.values()), 0)
        if isinstance(entry, int):
            return entry
        if image is None:
            raise SequencerError("The entries of this image are not known here; load() it, or "
                                 "attach() the image that was loaded")
        if entry not in image.entries:
            raise ValueError(f"Image {image.name!r} has no entry {entry!r}; it has "
                             f"{', '.join(image.entries)}")
        return image.entries[entry]

    async def stop(self):
        """Stop the program; lines and channels that are not to hold become safe."""
        await self.info()
        await self.registers.action.write(stop=1)

    async def reset_sequencer(self):
        """Stop, and forget registers, loops and calls. Ends a trial."""
        await self.info()
        await self.registers.action.write(reset=1)

    async def emergency_stop(self):
        """Stop, and make all outputs safe until :meth:`release`."""
        await self.info()
        await self.registers.action.write(emergency=1)

    async def release(self):
        """End the emergency. Outputs stay safe until something sets them."""
        await self.info()
        await self.registers.action.write(release=1)

    async def running(self):
        """Whether a program runs, or waits for its start."""
        return (await self.status()).state in (SequencerState.RUNNING, SequencerState.ARMED)

    async def wait(self, timeout_s=None, *, progress=None):
        """Wait until the program is over.

        Parameters
        ----------
        timeout_s : float, optional
            How long at most, in the node's time.
        progress : callable, optional
            ``progress(StatusReport, marks so far)`` at every look.

        Returns
        -------
        RunResult

        Raises
        ------
        StillRunningError
            It takes longer; it goes on, and this may be called again.
        """
        await self.info()
        end = None if timeout_s is None else \
            await self.node.timing.tick() + self.units.ticks(timeout_s)
        while True:
            if self._stream is not None:
                # Before they fill the node's buffer.
                await self._take_marks()
            status = await self.status()
            if progress is not None:
                progress(status, sum(map(len, self._marks)))
            if status.state not in (SequencerState.RUNNING, SequencerState.ARMED):
                return await self._result(status)
            if end is not None and await self.node.timing.tick() > end:
                raise StillRunningError(
                    f"The program is {status.state.name} after {float(timeout_s):g} s, at "
                    f"{_where(self.images.get(status.slot), status.pc)}; stop() it, or wait() "
                    f"longer")

    async def run(self, entry=None, *, timeout_s=None, at_tick=None, at_s=None, progress=None):
        """:meth:`start` and :meth:`wait`: a :class:`RunResult`."""
        await self.start(entry, at_tick=at_tick, at_s=at_s)
        return await self.wait(timeout_s, progress=progress)

    async def _result(self, status):
        registers = self.registers
        halt, started, stopped, issued, waited, pulses, asked, lost = await asyncio.gather(*(
            getattr(registers, name).read() for name in
            ("halt_code", "started", "stopped", "issued", "waited", "pulses", "marks",
             "marks_lost")))
        marks = None
        if self._stream is not None:
            for _ in range(_PATIENCE):
                await self._take_marks()
                if sum(map(len, self._marks)) + lost >= asked:
                    break
            marks, self._marks = Marks.join(self._marks), []
        fault = status.fault
        # Not that of the active slot: a trial that failed has changed it.
        image = self._started or self.images.get(status.slot)
        return RunResult(
            state=status.state, fault=fault, pc=status.pc,
            halt_code=halt if status.state is SequencerState.HALTED else None,
            where=_where(image, status.pc), started=started, stopped=stopped,
            duration_s=self.units.ticks_s(stopped - started), issued=issued, pulses=pulses,
            waited=waited, marks=marks, marks_asked=asked, marks_lost=lost,
            flags=await self.flags())

    # Marks.

    async def __aenter__(self):
        await self.info()
        stream = self.node.tagger.stream()
        await stream.open()
        self._stream = stream
        self.other_records, self._marks = [], []
        return self

    async def __aexit__(self, *exception):
        stream, self._stream = self._stream, None
        try:
            if self.node.client.failure is None and await self.running():
                await self.stop()
        finally:
            if stream is not None:
                await stream.__aexit__(*(exception or (None, None, None)))

    async def _take_marks(self):
        await self.feed(await self._stream.read_pending())

    async def feed(self, records):
        """Take records that another driver read from the node's stream: its marks are as if they
        had come here."""
        others, ours = split_marks(records)
        if len(others):
            self.other_records.append(others)
        if len(ours):
            self._marks.append(decode_marks(ours, await self.node.timing.tick()))

    async def marks(self):
        """Marks that have come and were not taken: :class:`~quantacore.host.tags.marks.Marks`."""
        if self._stream is None:
            raise SequencerError("The stream of marks is not open; use "
                                 "`async with node.sequencer as sequencer:`")
        await self._take_marks()
        marks, self._marks = self._marks, []
        return Marks.join(marks)

    # Outputs.

    async def ttl(self):
        """Levels of the TTL lines: bit *n* is line *n*."""
        await self.info()
        return await self.registers.ttl.read()

    async def set_ttl(self, levels):
        """Set lines by hand: a dictionary of line -> level; the others stay."""
        await self.info()
        mask = _mask(levels)
        value = sum(1 << line for line, level in levels.items() if level)
        await self.registers.ttl_write.write(value | mask << TTL_LINES)

    async def configure_ttl(self, *, safe=None, hold=None, fast=None):
        """What lines do, each as a collection of line numbers; what is None stays.

        Parameters
        ----------
        safe : collection of int
            Lines whose safe level is high.
        hold : collection of int
            Lines that keep their level when a program ends.
        fast : collection of int
            Lines that don't wait for the pulses' way through the channels.
        """
        await self.info()
        for register, lines in (("ttl_safe", safe), ("ttl_hold", hold), ("ttl_fast", fast)):
            if lines is not None:
                await getattr(self.registers, register).write(_mask(lines))

    async def ttl_settings(self):
        """:class:`TtlSettings`."""
        await self.info()
        registers = self.registers
        return TtlSettings(*await asyncio.gather(
            registers.ttl_safe.read(), registers.ttl_hold.read(), registers.ttl_fast.read()))

    async def hold_channels(self, *channels):
        """Channels whose pulse and offset go on when a program ends; the others fall silent."""
        await self.info()
        for channel in channels:
            await self._channel(channel)
        await self.registers.channel_hold.write(sum(1 << c for c in set(channels)))

    async def _channel(self, channel):
        number = (await self.info()).channels
        if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < number:
            raise ValueError(f"Channel must be 0 to {number - 1}, not {channel!r}")
        return channel

    async def set_safe_offset(self, channel, level):
        """What a silent channel puts out, in parts of full scale; return the level achieved."""
        await self._channel(channel)
        number = round(Fraction(level) * _FULL_SCALE)
        if not -_FULL_SCALE <= number <= _FULL_SCALE:
            raise ValueError(f"An offset must be -1 to 1 of full scale, not {level!r}")
        number = min(number, _FULL_SCALE - 1)
        await self.registers.offset_safe[channel].write(number)
        return number / _FULL_SCALE

    async def safe_offsets(self):
        """The same of all channels."""
        number = (await self.info()).channels
        return [n / _FULL_SCALE for n in (await self.registers.offset_safe.read())[:number]]

    async def route(self):
        """The photonic route."""
        await self.info()
        return await self.registers.route.read()

    async def set_route(self, route):
        """Set the route by hand."""
        await self.info()
        await self.registers.route_write.write(route)

    async def set_safe_route(self, route):
        """The route in an emergency."""
        await self.info()
        await self.registers.route_safe.write(route)

    async def inputs(self):
        """Levels of the trigger inputs: bit *n* is input *n*."""
        await self.info()
        return await self.registers.inputs.read()


def _crc(image):
    return upload_words(image, 0).crc


def _mask(lines):
    for line in lines:
        if isinstance(line, bool) or not isinstance(line, int) or not 0 <= line < TTL_LINES:
            raise ValueError(f"TTL lines are 0 to {TTL_LINES - 1}, not {line!r}")
    return sum(1 << line for line in set(lines))


def _where(image, pc):
    """A word for the reader."""
    lines = image.meta.get("lines", ()) if image is not None else ()
    if pc >= len(lines):
        return f"word {pc}"
    file, number = lines[pc]
    return f"word {pc} ({image.meta['files'][file]}, line {number})"
