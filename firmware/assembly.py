"""A program that is ready to be proven, drawn or put into an image."""

import dataclasses
from fractions import Fraction

from quantacore.firmware.diagnostics import Line
from quantacore.gateware.layouts.instructions import PROGRAM_DEPTH
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    ENVELOPE_POINTS,
    STEP_FRACTION_BITS,
    WAVES,
    Wave,
)

__all__ = ["Interval", "Parameter", "WaveEntry", "EnvelopeEntry", "DecoderRate", "Assembly",
           "wave_step", "wave_reach", "DEFAULT_TICK"]

#: Length of a tick where nothing else is said, in seconds.
DEFAULT_TICK = Fraction(8, 10**9)


@dataclasses.dataclass(frozen=True)
class Interval:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError(f"An interval goes upwards, not from {self.low} to {self.high}")

    def __str__(self):
        return str(self.low) if self.low == self.high else f"{self.low}..{self.high}"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A register that the host presets before a start.

    Attributes
    ----------
    register : int
    low, high : int
        Values that were proven, as 32-bit numbers with a sign.
    default : int
    unit : str
        What 1 means: "ticks", "amplitude" (2**-15 of full scale), "phase" (2**-32 turns), "count",
        or anything else, which is only shown.
    doc : str
    """

    register: int
    low: int
    high: int
    default: int
    unit: str = ""
    doc: str = ""


@dataclasses.dataclass(frozen=True)
class WaveEntry:
    """A wave of the image, with the names it was declared with.

    Attributes
    ----------
    name : str
    step, base, length : int
        As in :class:`~quantacore.gateware.layouts.sequencer.Wave`.
    channels : tuple of int
        Channels that have its envelope; empty where nothing is known about that.
    """

    name: str
    step: int
    base: int
    length: int
    channels: tuple = ()

    @property
    def word(self):
        """Its 64 bits."""
        fields = {name: field.offset for name, field in Wave.as_shape()}
        return (self.step << fields["step"] | self.base << fields["base"]
                | self.length << fields["length"])


@dataclasses.dataclass(frozen=True)
class EnvelopeEntry:
    """Where an envelope stands in the memory of its channels."""

    name: str
    channels: tuple
    base: int
    points: int


@dataclasses.dataclass(frozen=True)
class DecoderRate:
    """What the program may rely on: a round every ``ticks``, and room for ``depth`` rounds.

    ``sites``: erasure sites of a round, ``None`` if that is not said.
    """

    ticks: int
    depth: int = 1
    sites: int | None = None


def wave_step(points, length):
    """Step of a wave that goes over ``points`` points in ``length`` ticks, rounded down.

    The last point is met one tick after the pulse, as the first one in its first tick: a
    symmetric envelope gives a symmetric pulse, and no point beyond is read.
    """
    return ((points - 1) << STEP_FRACTION_BITS) // length


def wave_reach(wave):
    """How many points from ``base`` on a wave reads; more than there are: all of the ring."""
    if wave.step == 0:
        return 1
    if wave.length == 0:
        return ENVELOPE_POINTS + 1
    last = (wave.length - 1) * wave.step
    return (last >> STEP_FRACTION_BITS) + 1 + bool(last & ((1 << STEP_FRACTION_BITS) - 1))


@dataclasses.dataclass
class Assembly:
    """What an assembler or a builder makes.

    Attributes
    ----------
    name : str
    words : list of int
    lines : list of Line
        Where each word comes from.
    waves : list of WaveEntry
        In the order of their numbers.
    envelopes : dict
        Channel -> list of points from address 0 on.
    allocations : list of EnvelopeEntry
        What those points are.
    entries : dict
        Name -> word at which a start may begin; the first one is the default.
    labels : dict
        Name -> word.
    parameters : dict
        Name -> :class:`Parameter`.
    assumptions : dict
        Register -> :class:`Interval` that it is in at a start.
    ahead : dict
        Word of a ``WAITUNTIL`` with registers -> :class:`Interval`: how many ticks after its
        issue the time in the registers is.
    settle_ticks : int or None
        Least time from ``SWITCH`` to ``ARM``; ``None`` if nothing was declared.
    decoder : DecoderRate or None
    channels, ttl_lines : dict
        Number -> name, where one was declared.
    tick_s : Fraction
    source : str
        SHA-256 of the source, in hex.
    warnings : list of Diagnostic
    """

    name: str = "program"
    words: list = dataclasses.field(default_factory=list)
    lines: list = dataclasses.field(default_factory=list)
    waves: list = dataclasses.field(default_factory=list)
    envelopes: dict = dataclasses.field(default_factory=dict)
    allocations: list = dataclasses.field(default_factory=list)
    entries: dict = dataclasses.field(default_factory=lambda: {"main": 0})
    labels: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    assumptions: dict = dataclasses.field(default_factory=dict)
    ahead: dict = dataclasses.field(default_factory=dict)
    settle_ticks: int | None = None
    decoder: DecoderRate | None = None
    channels: dict = dataclasses.field(default_factory=dict)
    ttl_lines: dict = dataclasses.field(default_factory=dict)
    tick_s: Fraction = DEFAULT_TICK
    source: str = ""
    warnings: list = dataclasses.field(default_factory=list)

    def line(self, pc):
        """The source line of a word."""
        return self.lines[pc] if pc < len(self.lines) else Line("word", pc, "")

    def listing(self):
        """Every word with its address and source line, the waves and the envelopes, as text."""
        out = [f"; {self.name}: {len(self.words)} words, {len(self.waves)} waves"]
        names = {}
        for name, pc in self.labels.items():
            names.setdefault(pc, []).append(name)
        for pc, word in enumerate(self.words):
            source = self.line(pc).text.strip()
            out += [f"{name}:" for name in names.get(pc, ()) if not source.startswith(f"{name}:")]
            out.append(f"{pc:4d}  {word:016x}  {source}".rstrip())
        out += [f"{name}:" for pc, found in names.items() if pc >= len(self.words)
                for name in found]
        for number, wave in enumerate(self.waves):
            out.append(f"wave {number} {wave.name}: step {wave.step:#x} base {wave.base} "
                       f"length {wave.length}")
        for entry in self.allocations:
            channels = ",".join(map(str, entry.channels))
            out.append(f"envelope {entry.name}: channel {channels} points {entry.base} to "
                       f"{entry.base + entry.points - 1}")
        return "\n".join(out) + "\n"

    def check_sizes(self):
        """Refuse what no slot can hold.

        Raises
        ------
        ValueError
        """
        if not self.words:
            raise ValueError("The program has no instruction; the least is halt")
        if len(self.words) > PROGRAM_DEPTH:
            raise ValueError(f"The program has {len(self.words)} words, a slot has room for "
                             f"{PROGRAM_DEPTH}; use loop or call in place of .repeat and macros")
        if len(self.waves) > WAVES:
            raise ValueError(f"The program has {len(self.waves)} waves, a slot has room for "
                             f"{WAVES}")
        for channel, points in self.envelopes.items():
            if not 0 <= channel < CHANNELS:
                raise ValueError(f"Channels are 0 to {CHANNELS - 1}, not {channel}")
            if len(points) > ENVELOPE_POINTS:
                raise ValueError(f"Channel {channel} has {len(points)} envelope points, a slot has "
                                 f"room for {ENVELOPE_POINTS}")
