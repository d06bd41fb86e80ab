"""Tokens of the assembly language: names, numbers with units, strings, punctuation."""

import dataclasses
import re
from fractions import Fraction

from quantacore.firmware.diagnostics import Line, SourceError

__all__ = ["Token", "tokenize", "UNITS"]

#: Suffixes of numbers: what they measure, and how much of a second, hertz or turn they are.
UNITS = {
    "ps": ("time", Fraction(1, 10**12)), "ns": ("time", Fraction(1, 10**9)),
    "us": ("time", Fraction(1, 10**6)), "ms": ("time", Fraction(1, 10**3)),
    "s": ("time", Fraction(1)),
    "mHz": ("frequency", Fraction(1, 1000)), "Hz": ("frequency", Fraction(1)),
    "kHz": ("frequency", Fraction(10**3)), "MHz": ("frequency", Fraction(10**6)),
    "GHz": ("frequency", Fraction(10**9)),
    "turn": ("phase", Fraction(1)), "deg": ("phase", Fraction(1, 360)),
    # A radian is no rational part of a turn; what is lost is far below any phase word.
    "rad": ("phase", Fraction(0.15915494309189535)),
    "ticks": ("int", Fraction(1)), "tick": ("int", Fraction(1)),
}

_TOKEN = re.compile(r"""
    (?P<space>\s+|;.*|\#.*)
  | (?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+
        |\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)(?P<unit>[A-Za-z\u00b5\u03bc]*)
  | (?P<name>\.?[A-Za-z_][A-Za-z0-9_]*)
  | (?P<string>"[^"]*")
  | (?P<mark><<|>>|<=|>=|==|!=|//|\.\.|[-+*/%&|^~()=<>,:@])
""", re.VERBOSE)


@dataclasses.dataclass(frozen=True)
class Token:
    """A token and where it stands.

    Attributes
    ----------
    kind : str
        "name", "number", "string", "mark", "group" (a macro's argument, tokens in ``value``).
    text : str
    value : object
        Of a number ``(Fraction, what it measures)``, of a string its text.
    line : Line
    column : int
        From 1.
    """

    kind: str
    text: str
    value: object
    line: Line
    column: int


def tokenize(line):
    """Tokens of a line, without comments.

    Raises
    ------
    SourceError
        A character, number or unit that the language doesn't have.
    """
    tokens, at, text = [], 0, line.text
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            wrong = Token("mark", text[at], None, line, at + 1)
            if text[at] == '"':
                raise SourceError("this string has no end", wrong, 'close it with "')
            raise SourceError(f"{text[at]!r} means nothing here", wrong,
                              "remove it; comments begin with ; or #")
        kind = match.lastgroup
        if kind == "unit":
            tokens.append(_number(match, line, at))
        elif kind == "string":
            tokens.append(Token(kind, match[0], match[0][1:-1], line, at + 1))
        elif kind != "space":
            tokens.append(Token(kind, match[0], None, line, at + 1))
        at = match.end()
    return tokens


def _number(match, line, at):
    text, unit = match["number"], match["unit"].replace("\u00b5", "u").replace("\u03bc", "u")
    token = Token("number", match[0], None, line, at + 1)
    digits = text.replace("_", "")
    prefix = digits[:2].lower()
    if prefix in ("0x", "0b"):
        if len(digits) == 2:
            raise SourceError(f"{text!r} has no digits", token)
        number = Fraction(int(digits, 0))
        kind = "int"
    else:
        number = Fraction(digits)
        kind = "real" if "." in digits or "e" in digits.lower() else "int"
    if unit:
        if unit not in UNITS:
            raise SourceError(f"{unit!r} is no unit", token, "units are " + ", ".join(UNITS))
        kind, factor = UNITS[unit]
        number *= factor
    return dataclasses.replace(token, value=(number, kind))
