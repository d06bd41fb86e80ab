"""Instructions and their words, both ways; nothing of the assembly language.

An :class:`Instruction` has an operation, a dwell, and operands by name. :func:`encode` makes the
word of it, :func:`decode` the instruction of a word; each is the other's inverse. A word has one
form only: bits that its instruction doesn't use are 0, and :func:`decode` refuses others.
"""

import dataclasses
import functools

from amaranth.hdl import Shape

from quantacore.gateware.layouts.instructions import (
    FORMATS,
    SHORT_LOOP,
    AluFunction,
    AnyInstruction,
    Condition,
    Op,
    Source,
    TriggerMode,
    least_dwell,
)

__all__ = ["R", "Pair", "Instruction", "Operand", "OPERANDS", "WordError", "encode", "decode",
           "least", "FOREVER", "ends_no_loop"]

#: A timeout that never comes.
FOREVER = 0


class R(int):
    """A register as an operand: ``R(3)`` is r3."""

    def __new__(cls, number):
        if not 0 <= number < 16:
            raise ValueError(f"Registers are r0 to r15, not r{int(number)}")
        return super().__new__(cls, number)

    def __repr__(self):
        return f"r{int(self)}"

    __str__ = __repr__


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two registers that hold one number, the high one first."""

    high: R
    low: R

    def __str__(self):
        return f"{self.high}:{self.low}"


class WordError(ValueError):
    """An operand doesn't fit, or a word is none of the instruction set."""

    def __init__(self, message, operand=None):
        super().__init__(message)
        self.operand = operand


@dataclasses.dataclass(frozen=True)
class Operand:
    """An operand of an operation.

    Attributes
    ----------
    name : str
    kind : str
        What values it takes: see ``docs/firmware.md``, and ``assembler.py``, which reads them.
    field : str
        Of the word's format; "" for registers that stand where all formats have them.
    at : str
        "ra", "rb", "rd" for the register that it may be; "pair" for ``ra`` and ``rb``.
    flag : str
        Field that is 1 if the operand is in a register; "!immediate" is one that is 0 then. ""
        where it always is, or never.
    default : object
        Value if it isn't given; ``None`` if it must be.
    """

    name: str
    kind: str
    field: str = ""
    at: str = ""
    flag: str = ""
    default: object = None


def _flag(name):
    return Operand(name, "flag", name, default=0)


_TIMEOUT = Operand("timeout", "timeout", "timeout")
_ELSE = Operand("target", "target", "target")
_RD = Operand("rd", "register", at="rd")
_RA = Operand("ra", "register", at="ra")
_POP = Operand("pop", "pop", "pop", default=0)

#: Operands of each operation, in the order in which the language has them.
OPERANDS = {
    Op.NOP: (),
    Op.SET: (Operand("mask", "mask16", "mask"), Operand("value", "mask16", "value")),
    Op.PULSE: (Operand("channel", "channel", "channel"),
               Operand("wave", "wave", "wave", "ra", "wave_register"),
               Operand("amplitude", "amplitude", "amplitude", "rb", "amplitude_register"),
               Operand("defer", "ticks", "defer", default=0)),
    Op.FREQ: (Operand("channel", "channel", "channel"),
              Operand("frequency", "frequency", "word", "pair", "registers"), _flag("continuous")),
    Op.PHASE: (Operand("channel", "channel", "channel"),
               Operand("phase", "phase", "value", "ra", "register"), _flag("add")),
    Op.OFFSET: (Operand("channel", "channel", "channel"),
                Operand("level", "amplitude", "value", "ra", "register")),
    Op.SWITCH: (Operand("route", "whole", "route", "ra", "register"),),
    Op.DELAY: (_RA,),
    Op.WAITUNTIL: (Operand("time", "ticks", "time", "pair", "registers"),),
    Op.WAITTRIG: (_RD, Operand("mode", "mode", "mode"), Operand("mask", "mask8", "mask"),
                  _TIMEOUT, _ELSE),
    Op.BARRIER: (_RD, Operand("mask", "mask8", "mask"), _TIMEOUT, _ELSE),
    Op.BRH: (_RD, _ELSE, _TIMEOUT, Operand("size", "size", "mask", default=0),
             Operand("next", "flag", "mode", default=0), Operand("pop", "pop", "mask", default=0)),
    Op.DEC: (_RD, Operand("basis", "whole", "mask"), _TIMEOUT, _ELSE,
             Operand("last", "flag", "mask", default=0)),
    Op.LOOP: (Operand("count", "count", "count", "ra", "register"),
              Operand("span", "whole", "span", default=0)),
    Op.JMP: (_ELSE, _POP),
    Op.CALL: (_ELSE,),
    Op.RET: (),
    Op.BR: (Operand("condition", "condition", "condition"), _RA,
            Operand("operand", "value", "value", "rb", "!immediate"), _ELSE, _POP),
    Op.HALT: (Operand("code", "whole", "code", default=0),),
    Op.ARM: (Operand("windows", "whole", "windows"),),
    Op.LDT: (_RD, Operand("first", "whole", "first"), Operand("second", "whole", "second")),
    Op.LI: (_RD, Operand("value", "word", "value")),
    Op.ALU: (Operand("function", "function", "function"), _RD, _RA,
             Operand("operand", "value", "value", "rb", "!immediate"),
             Operand("shift", "whole", "shift", default=0)),
    Op.GET: (_RD, Operand("source", "source", "source")),
    Op.TAG: (Operand("code", "whole", "code", "ra", "register"),),
    Op.SYN: (Operand("word", "whole", "word"), _RA, Operand("rb", "register", at="rb"),
             _flag("push"), _flag("first"), _flag("last"), _flag("raw"), _flag("erasures")),
}

_ENUMS = {"mode": TriggerMode, "condition": Condition, "function": AluFunction, "source": Source}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes
    ----------
    op : Op
    operands : dict
        By name; see :data:`OPERANDS`. Registers are :class:`R`, pairs :class:`Pair`.
    dwell : int
        Ticks to the next one; 0 where the word has none.
    """

    op: Op
    operands: dict
    dwell: int = 0

    def __getitem__(self, name):
        return self.operands[name]


def least(op, operands):
    """Least dwell of an instruction with these operands, in ticks."""
    return least_dwell(op, multiply=operands.get("function") is AluFunction.MUL,
                       short=op is Op.LOOP and operands["span"] < SHORT_LOOP,
                       register=isinstance(operands.get("count"), R))


def ends_no_loop(op, operands):
    """Whether an instruction always goes elsewhere, so that a loop would never see its end there.
    """
    return op in (Op.CALL, Op.RET, Op.JMP, Op.HALT) or op is Op.BRH and not operands.get("next")


@functools.cache
def _fields(op):
    """name -> (offset, width, signed)"""
    return {name: (field.offset, Shape.cast(field.shape).width, Shape.cast(field.shape).signed)
            for name, field in FORMATS[op].as_shape()}


_REGISTERS = {name: field.offset for name, field in AnyInstruction.as_shape()
              if name in ("ra", "rb", "rd")}
_NOP_LOW = 14
#: Operands that are parts of the field ``mask`` or ``mode``: offset and width.
_PARTS = {(Op.BRH, "size"): (0, 3), (Op.BRH, "pop"): (3, 3), (Op.BRH, "next"): (0, 1),
          (Op.DEC, "basis"): (0, 1), (Op.DEC, "last"): (1, 1)}


def _put(op, name, value, operand):
    offset, width, signed = _fields(op)[name]
    if (op, operand) in _PARTS:
        shift, width = _PARTS[op, operand]
        offset, signed = offset + shift, False
    low, high = (-1 << (width - 1), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    if not low <= value <= high:
        raise WordError(f"{operand} of {op.name.lower()} must be between {low} and {high}, not "
                        f"{value}", operand)
    return (int(value) & ((1 << width) - 1)) << offset


def _register(value, at, op, operand):
    if not isinstance(value, R):
        raise WordError(f"{operand} of {op.name.lower()} must be a register, not {value}", operand)
    return int(value) << _REGISTERS[at]


def encode(instruction):
    """The 64-bit word of an instruction.

    Raises
    ------
    WordError
        An operand is missing, unknown or too large; the dwell is below the least or too large.
    """
    op, given = instruction.op, instruction.operands
    word = int(op.value)
    known = {operand.name for operand in OPERANDS[op]}
    for name in given:
        if name not in known:
            raise WordError(f"{op.name.lower()} has no operand {name}", name)
    filled = {}
    for operand in OPERANDS[op]:
        value = given.get(operand.name, operand.default)
        if value is None:
            raise WordError(f"{op.name.lower()} needs {operand.name}", operand.name)
        filled[operand.name] = value
        if operand.kind == "register":
            word |= _register(value, operand.at, op, operand.name)
        elif isinstance(value, Pair) and operand.at == "pair":
            word |= (_put(op, operand.flag, 1, operand.flag) | int(value.high) << _REGISTERS["ra"]
                     | int(value.low) << _REGISTERS["rb"])
        elif isinstance(value, R) and operand.at in ("ra", "rb") and operand.flag:
            word |= int(value) << _REGISTERS[operand.at]
            if not operand.flag.startswith("!"):
                word |= _put(op, operand.flag, 1, operand.flag)
        elif isinstance(value, R | Pair):
            raise WordError(f"{operand.name} of {op.name.lower()} cannot be in {value}",
                            operand.name)
        else:
            if operand.kind in _ENUMS:
                value = _ENUMS[operand.kind](value).value
            word |= _put(op, operand.field, value, operand.name)
            if operand.flag.startswith("!"):
                word |= _put(op, operand.flag[1:], 1, operand.flag)
    if op is Op.ALU and filled["function"] is not AluFunction.MUL and filled["shift"]:
        raise WordError(f"only mul has a shift, {filled['function'].name.lower()} has none",
                        "shift")
    dwell, low = instruction.dwell, least(op, filled)
    if low == 0:
        if dwell:
            raise WordError(f"{op.name.lower()} has no dwell of its own", "dwell")
        return word
    if dwell < low:
        raise WordError(f"{op.name.lower()} lasts at least {low} ticks here, not {dwell}", "dwell")
    if op is Op.NOP:
        word |= _put(op, "more", dwell >> _NOP_LOW, "dwell")
        dwell &= (1 << _NOP_LOW) - 1
    return word | _put(op, "dwell", dwell, "dwell")


def _get(op, name, word, operand=None):
    offset, width, signed = _fields(op)[name]
    if (op, operand) in _PARTS:
        shift, width = _PARTS[op, operand]
        offset, signed = offset + shift, False
    value = word >> offset & ((1 << width) - 1)
    return value - (1 << width) if signed and value >> (width - 1) else value


def _reg(word, at):
    return R(word >> _REGISTERS[at] & 15)


_OPS = {op.value: op for op in Op}


def decode(word):
    """The instruction of a word.

    Raises
    ------
    WordError
        There is no such operation or code, the dwell is below the least, or bits are set that
        the instruction doesn't use.
    """
    if not 0 <= word < 1 << 64:
        raise WordError(f"{word:#x} is not a word of 64 bits")
    op = _OPS.get(word & 63)
    if op is None:
        raise WordError(f"{word:#018x}: there is no operation {word & 63}")
    operands = {}
    for operand in OPERANDS[op]:
        if operand.kind == "register":
            operands[operand.name] = _reg(word, operand.at)
            continue
        if operand.flag:
            field = operand.flag.lstrip("!")
            if _get(op, field, word) == (0 if operand.flag.startswith("!") else 1):
                operands[operand.name] = (Pair(_reg(word, "ra"), _reg(word, "rb"))
                                          if operand.at == "pair" else _reg(word, operand.at))
                continue
        value = _get(op, operand.field, word, operand.name)
        if operand.kind in _ENUMS:
            try:
                value = _ENUMS[operand.kind](value)
            except ValueError:
                raise WordError(f"{word:#018x}: {op.name.lower()} has no {operand.kind} "
                                f"{value}") from None
        operands[operand.name] = value
    dwell = 0
    if "dwell" in _fields(op):
        dwell = _get(op, "dwell", word)
        if op is Op.NOP:
            dwell |= _get(op, "more", word) << _NOP_LOW
    instruction = Instruction(op, operands, dwell)
    try:
        again = encode(instruction)
    except WordError as error:
        raise WordError(f"{word:#018x}: {error}") from None
    if again != word:
        extra = [bit for bit in range(64) if (word ^ again) >> bit & 1]
        raise WordError(f"{word:#018x}: {op.name.lower()} does not use "
                        f"bit{'s' if len(extra) > 1 else ''} {', '.join(map(str, extra))}, which "
                        f"must be 0")
    return instruction
