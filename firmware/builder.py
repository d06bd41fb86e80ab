"""Programs from Python: what the assembler makes of text, with Python's loops and functions.

Times are seconds where they are floats, ticks where they are integers, and text as the language
has it ("100ns"); frequencies are hertz, phases turns, amplitudes fractions of full scale where they
are floats, and the numbers in the words where they are integers. Every method writes one line of
the assembly language; errors name the line of the script.
"""

import contextlib
import dataclasses
import sys
from fractions import Fraction
from pathlib import Path

from quantacore.firmware.assembler import MNEMONICS, assemble
from quantacore.firmware.assembly import DEFAULT_TICK
from quantacore.firmware.diagnostics import AssemblyError, Line
from quantacore.firmware.disassembler import disassemble
from quantacore.firmware.envelopes import quantise
from quantacore.firmware.image import Image
from quantacore.firmware.prover import prove
from quantacore.firmware.words import OPERANDS, Pair, R
from quantacore.gateware.layouts.instructions import BRH_ENTRIES, REGISTERS

__all__ = ["Program"]

#: A time this far from a whole number of ticks is that number: what floats cost.
_ROUNDING = Fraction(1, 10**6)


class Program:
    """A program that is being written.

    Parameters
    ----------
    name : str
    tick_s : Fraction, optional
        Length of a tick.

    Every instruction of the language is a method (``p.tag(3)``, ``p.syn(0, r1, r2, push=True)``;
    ``and``, ``or`` as ``and_``, ``or_``) with its operands in order or by name, flags as
    ``flag=True``, and ``dwell=``.

    Examples
    --------
    >>> p = Program("blink")
    >>> w = p.wave("w", p.envelope("bell", [0], "gaussian", points=64), 1e-6)
    >>> with p.loop(10):
    ...     p.pulse(0, w, 0.5, dwell=2e-6)
    >>> p.halt()
    >>> p.prove().ok
    True
    """

    def __init__(self, name="program", *, tick_s=DEFAULT_TICK):
        self.name, self.tick_s = name, Fraction(tick_s)
        self._lines, self._places, self._labels, self._taken = [], [], 0, set()
        self._write(f'.name "{name}"')
        self._write(f".tick {self.tick_s.numerator}s / {self.tick_s.denominator}")

    # Writing lines.

    def _write(self, text):
        frame = sys._getframe(1)
        here = Path(__file__).parent
        while frame is not None and (Path(frame.f_code.co_filename).parent == here
                                     or frame.f_code.co_filename == contextlib.__file__):
            frame = frame.f_back
        # The name alone: images carry it, and folders are nobody's business.
        place = (Path(frame.f_code.co_filename).name, frame.f_lineno) if frame else ("built", 0)
        self._lines.append(text)
        self._places.append(place)

    def time(self, value):
        """A time as the language writes it: seconds (float), ticks (int) or text.

        Raises
        ------
        ValueError
            Seconds that are no whole number of ticks.
        """
        if isinstance(value, str | R | Pair):
            return str(value)
        if isinstance(value, int):
            return str(value)
        ticks = Fraction(value) / self.tick_s
        if abs(ticks - round(ticks)) > _ROUNDING:
            raise ValueError(f"{value} s is {float(ticks):g} ticks of {float(self.tick_s):g} s; "
                             f"round it, or give ticks as an integer")
        return str(round(ticks))

    def _operand(self, value, kind):
        if isinstance(value, R | Pair | str):
            return str(value)
        if isinstance(value, tuple):
            return f"{value[0]}:{value[1]}"
        if hasattr(value, "item"):
            value = value.item()
        if isinstance(value, bool) or value is None:
            raise TypeError(f"{value} is no {kind}")
        if isinstance(value, int):
            return f"({value})" if value < 0 else str(value)
        if isinstance(value, float | Fraction):
            if kind in ("ticks", "timeout"):
                return self.time(value)
            unit = {"frequency": "Hz", "phase": "turn"}.get(kind, "")
            exact = Fraction(value)
            # The exact value, so that nothing is lost on the way through text.
            if unit:
                return f"({exact.numerator}{unit} / {exact.denominator})"
            return f"({exact.numerator} / {exact.denominator})"
        if hasattr(value, "name"):
            return value.name.lower()
        raise TypeError(f"{value!r} is no {kind}")

    def __getattr__(self, name):
        mnemonic = name.rstrip("_")
        if mnemonic not in MNEMONICS or mnemonic == "loop":
            raise AttributeError(f"Program has no {name!r}")
        op, fixed = MNEMONICS[mnemonic]
        wanted = {o.name: o for o in OPERANDS[op] if o.name not in fixed}

        def write(*operands, dwell=None, **named):
            in_order = [o for o in wanted.values()
                        if o.kind != "flag" and o.name not in ("span", "pop")]
            if len(operands) > len(in_order):
                raise TypeError(f"{mnemonic} takes {len(in_order)} operands, not {len(operands)}")
            parts = [self._operand(value, operand.kind)
                     for value, operand in zip(operands, in_order, strict=False)]
            for key, value in named.items():
                if key not in wanted:
                    raise TypeError(f"{mnemonic} has no operand {key!r}")
                if wanted[key].kind == "flag":
                    parts += [key] if value else []
                else:
                    parts.append(f"{key}={self._operand(value, wanted[key].kind)}")
            self._write(f"{mnemonic} {', '.join(parts)}"
                        + (f" for {self.time(dwell)}" if dwell is not None else ""))

        write.__name__ = name
        write.__doc__ = f"Write ``{mnemonic}``."
        return write

    # What is declared.

    def envelope(self, name, channels, shape="gaussian", **arguments):
        """Declare an envelope.

        Parameters
        ----------
        name : str
        channels : sequence of int
        shape : str or sequence of float
            A shape with its arguments (``points=64, sigma=6``), or the points, as fractions of
            full scale.

        Returns
        -------
        str
            Its name.
        """
        where = ", ".join(map(str, channels))
        if isinstance(shape, str):
            inside = ", ".join(f"{key}={self._operand(value, 'number')}"
                               for key, value in arguments.items())
            self._write(f".envelope {where} {name} {shape}({inside})")
            return name
        points = quantise(float(value) for value in shape)
        self._write(f".envelope {where} {name} points()")
        for at in range(0, len(points), 16):
            self._write(".points " + ", ".join(f"({p})" if p < 0 else str(p)
                                               for p in points[at:at + 16]))
        return name

    def wave(self, name, envelope, length, *, points=None):
        """Declare a wave: ``envelope`` stretched over ``length`` (``None``: until the next pulse).

        Returns
        -------
        str
            Its name.
        """
        last = f", points={points}" if points is not None else ""
        self._write(f".wave {name} {envelope} length="
                    f"{'forever' if length is None else self.time(length)}{last}")
        return name

    def register(self, name=None):
        """A register that nobody else has."""
        for number in range(REGISTERS):
            if number not in self._taken:
                self._taken.add(number)
                if name:
                    self._write(f".reg {name} r{number}")
                return R(number)
        raise ValueError(f"All {REGISTERS} registers are taken; use one for two things")

    def parameter(self, name, low, high, default, *, kind="count", doc=""):
        """Declare a parameter that the host presets before a start.

        Parameters
        ----------
        name : str
        low, high, default
            Its range and value, in units of ``kind``.
        kind : str
            "ticks" (times), "amplitude", "phase" or "count".
        doc : str

        Returns
        -------
        R
            Its register.
        """
        number = next((n for n in range(REGISTERS) if n not in self._taken), None)
        if number is None:
            raise ValueError(f"All {REGISTERS} registers are taken")
        self._taken.add(number)

        def text(value):
            if kind == "ticks":
                out = self.time(value)
                return f"{out} * {self.tick_s.numerator}s / {self.tick_s.denominator}" if (
                    out.isdecimal()) else out
            if kind == "amplitude" and isinstance(value, int | float):
                return f"{float(value):.17f}"
            return self._operand(value, kind)

        note = f' "{doc}"' if doc else ""
        self._write(f".param {name} r{number} in {text(low)}..{text(high)} = {text(default)}{note}")
        return R(number)

    def assume(self, register, low, high):
        """Declare what a register is in at a start."""
        self._write(f".assume {register} in {low}..{high}")

    def constant(self, name, value):
        """Declare a constant of the language: text or a number."""
        self._write(f".const {name} = {value}")

    def channel(self, name, number):
        """Name a channel, for the language and for the sheet. Returns its number."""
        self._write(f".channel {name} {number}")
        return number

    def ttl_line(self, name, number):
        """Name a TTL line. Returns its number."""
        self._write(f".line {name} {number}")
        return number

    def settle(self, time):
        """Declare the least time from ``switch`` to ``arm``."""
        self._write(f".settle {self.time(time)}")

    def decoder(self, every, depth=1, sites=None):
        """Declare how fast the decoder takes rounds, and the erasure sites that it has."""
        last = "" if sites is None else f", sites={sites}"
        self._write(f".decoder every={self.time(every)}, depth={depth}{last}")

    def include(self, file):
        """Include a file: its macros can be used by :meth:`line`."""
        self._write(f'.include "{file}"')

    def line(self, text):
        """Write a line of the language."""
        self._write(text)

    # Places, and what is between them.

    def label(self, name=None):
        """Put a label here; a new name if none is given. Returns the name."""
        name = name or self.new_label()
        self._write(f"{name}:")
        return name

    def new_label(self, hint="at"):
        """A name for a label that is put somewhere later."""
        self._labels += 1
        return f"{hint}_{self._labels}"

    def entry(self, name):
        """Let a start begin here."""
        self._write(f".entry {name}")

    def high(self, *lines, dwell=None):
        """Set TTL lines high."""
        self._lines_to("high", lines, dwell)

    def low(self, *lines, dwell=None):
        """Set TTL lines low."""
        self._lines_to("low", lines, dwell)

    def _lines_to(self, what, lines, dwell):
        last = f" for {self.time(dwell)}" if dwell is not None else ""
        self._write(f"{what} {', '.join(map(str, lines))}{last}")

    def wait(self, time):
        """Do nothing for some time; nothing at all where it is 0."""
        if self.time(time) != "0":
            self._write(f"nop for {self.time(time)}")

    def mov(self, rd, ra):
        """Copy a register."""
        self._write(f"mov {rd}, {ra}")

    @contextlib.contextmanager
    def loop(self, count, *, dwell=None):
        """Repeat what is inside ``count`` times (a number or a register)."""
        last = f" for {self.time(dwell)}" if dwell is not None else ""
        self._write(f"loop {self._operand(count, 'count')}{last}")
        yield
        self._write("end")

    @contextlib.contextmanager
    def table(self, name, words, *, timeout=True):
        """A table of ``brh``; inside, :meth:`case` and :meth:`default`.

        Without ``timeout`` it has no entry for that: the ``brh`` goes on with the ``next`` word.
        """
        last = "" if timeout else f", entries={BRH_ENTRIES - 1}"
        self._write(f".table {name}, words={words}{last}")
        yield
        self._write(".endt")

    def case(self, *patterns):
        """The entry for these patterns; "timeout" is one."""
        self._write(".case " + ", ".join(map(str, patterns)))

    def default(self):
        """The entry for all other patterns."""
        self._write(".default")

    # What becomes of it.

    def source(self):
        """The lines that were written."""
        return "\n".join(self._lines) + "\n"

    def text(self):
        """The program as the disassembler writes it."""
        return disassemble(self.assembly())

    def assembly(self):
        """The program, assembled.

        Returns
        -------
        Assembly

        Raises
        ------
        AssemblyError
            Its lines are those of the script.
        """
        try:
            assembly = assemble(self.source(), file=self.name)
        except AssemblyError as error:
            raise AssemblyError([dataclasses.replace(d, line=self._line(d.line))
                                 for d in error.diagnostics]) from None
        assembly.lines = [self._line(line) for line in assembly.lines]
        return assembly

    def _line(self, line):
        if line.file != self.name or not line.number:
            return line
        file, number = self._places[line.number - 1]
        return Line(file, number, line.text, line.trace)

    def prove(self):
        """The proof of the program."""
        return prove(self.assembly())

    def image(self):
        """An image of the proven program.

        Raises
        ------
        ProofError
            It is not proven.
        """
        assembly = self.assembly()
        return Image.from_assembly(assembly, prove(assembly).check())
