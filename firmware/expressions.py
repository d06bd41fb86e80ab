"""Expressions of the assembly language, exact: integers, fractions, times, frequencies, phases."""

import dataclasses
import math
from fractions import Fraction

from quantacore.firmware.diagnostics import SourceError
from quantacore.gateware.layouts.sequencer import SAMPLE_BITS

__all__ = ["Value", "Parser", "Units", "UnitError", "quantity_text"]


@dataclasses.dataclass(frozen=True)
class Value:
    """A number and what it measures.

    Attributes
    ----------
    number : Fraction
        A plain number, seconds, hertz, or turns.
    kind : str
        "int", "real" (written with a point, or the result of a division), "time", "frequency",
        "phase".
    """

    number: Fraction
    kind: str = "int"


def quantity_text(value):
    """A value as the language writes it."""
    number = value.number
    if value.kind == "time":
        for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
            if abs(number * scale) >= 1 or unit == "ns":
                return f"{float(number * scale):g}{unit}"
    if value.kind == "frequency":
        for unit, scale in (("GHz", 10**9), ("MHz", 10**6), ("kHz", 10**3), ("Hz", 1)):
            if abs(number) >= scale or unit == "Hz":
                return f"{float(number / scale):g}{unit}"
    if value.kind == "phase":
        return f"{float(number):g}turn"
    return str(int(number)) if number.denominator == 1 else f"{float(number):g}"


class UnitError(ValueError):
    """A value cannot be what it should be; ``fix`` says what to write."""

    def __init__(self, message, fix=""):
        super().__init__(message)
        self.fix = fix


class Units:
    """From physical values to the numbers in words.

    Parameters
    ----------
    tick_s : Fraction
        Length of a tick in seconds.
    """

    def __init__(self, tick_s=Fraction(8, 10**9)):
        self.tick_s = tick_s

    def ticks(self, value):
        """Whole ticks of a plain number or a time."""
        if value.kind == "time":
            ticks = value.number / self.tick_s
            if ticks.denominator != 1:
                tick = Value(self.tick_s, "time")
                near = " or ".join(quantity_text(Value(self.tick_s * n, "time"))
                                   for n in (math.floor(ticks), math.ceil(ticks)) if n)
                raise UnitError(f"{quantity_text(value)} is not a whole number of ticks of "
                                f"{quantity_text(tick)}",
                                f"write {near}, or round({quantity_text(value)})")
            return int(ticks)
        return self.whole(value, "a number of ticks or a time")

    def whole(self, value, what="a whole number"):
        """A plain whole number."""
        if value.kind not in ("int", "real"):
            raise UnitError(f"{quantity_text(value)} is not {what}")
        if value.number.denominator != 1:
            raise UnitError(f"{quantity_text(value)} is not a whole number",
                            "use round(), floor() or ceil()")
        return int(value.number)

    def frequency(self, value, bits=36):
        """A frequency word of ``bits`` bits, in turns per tick; a whole number is a word."""
        if value.kind == "frequency":
            turns = value.number * self.tick_s
            if abs(turns) >= 1:
                clock = Value(1 / self.tick_s, "frequency")
                raise UnitError(f"{quantity_text(value)} is not below the clock, "
                                f"{quantity_text(clock)}", "a channel cannot make it; mix up")
            return round(turns * 2**bits) % 2**bits
        if value.kind != "int":
            raise UnitError(f"{quantity_text(value)} is not a frequency", "write 80MHz, or a "
                            f"whole number for a word of {bits} bits")
        return self._inside(value, 0, 2**bits - 1)

    def phase(self, value):
        """A phase in 2**-32 turns; a whole number is one already."""
        if value.kind == "phase":
            return round(value.number * 2**32) % 2**32
        if value.kind != "int":
            raise UnitError(f"{quantity_text(value)} is not a phase",
                            "write 0.25turn or 90deg, or a whole number for 2**-32 turns")
        return self._inside(value, -2**31, 2**32 - 1) % 2**32

    def amplitude(self, value):
        """An amplitude in 2**-15 of full scale; 1.0 is the largest, 32767."""
        full = 2**(SAMPLE_BITS - 1)
        if value.kind == "real":
            if abs(value.number) > 1:
                raise UnitError(f"{quantity_text(value)} is more than full scale",
                                "fractions of full scale are -1.0 to 1.0; whole numbers are "
                                f"2**-{SAMPLE_BITS - 1} of it")
            return min(round(value.number * full), full - 1)
        if value.kind != "int":
            raise UnitError(f"{quantity_text(value)} is not an amplitude",
                            "write 0.5 for half of full scale")
        return self._inside(value, -full, full - 1)

    def word(self, value):
        """What a register of 32 bits holds for a value of any kind."""
        if value.kind == "time":
            number = self.ticks(value)
        elif value.kind == "phase":
            return self.phase(value)
        elif value.kind == "frequency":
            raise UnitError(f"{quantity_text(value)} needs 48 bits, a register has 32",
                            "use high(...) and low(...) in two registers")
        elif value.kind == "real" and value.number.denominator != 1 or abs(value.number) == 1 and (
                value.kind == "real"):
            number = self.amplitude(value)
        else:
            number = self.whole(value)
        if not -2**31 <= number < 2**32:
            raise UnitError(f"{number} does not fit 32 bits",
                            "a register holds -2147483648 to 4294967295")
        return number % 2**32

    def _inside(self, value, low, high):
        number = self.whole(value)
        if not low <= number <= high:
            raise UnitError(f"{number} is outside {low} to {high}")
        return number


_LEVELS = (("or",), ("and",), ("==", "!=", "<", "<=", ">", ">="), ("|",), ("^",), ("&",),
           ("<<", ">>"), ("+", "-"), ("*", "/", "//", "%"))
_MAX_SHIFT = 256


class Parser:
    """Read tokens one after the other; evaluate what is between.

    Parameters
    ----------
    tokens : list of Token
    lookup : callable
        From a name's token to a :class:`Value`; raises :class:`SourceError`.
    units : Units
    """

    def __init__(self, tokens, lookup, units):
        self.tokens, self.lookup, self.units, self.at = list(tokens), lookup, units, 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, *texts):
        """The next token if it is one of these marks or names, else ``None``."""
        token = self.peek()
        if token is not None and token.kind in ("mark", "name") and token.text in texts:
            self.at += 1
            return token
        return None

    def last(self):
        """The token that errors about a missing one point at."""
        return self.tokens[min(self.at, len(self.tokens) - 1)] if self.tokens else None

    def need(self, text):
        token = self.take(text)
        if token is None:
            got = self.peek()
            raise SourceError(f"{text!r} is missing" + (f" before {got.text!r}" if got else ""),
                              got or self.last())
        return token

    def expression(self, level=0):
        """Evaluate the longest expression that begins here."""
        if level == 0 and self.at + 1 == len(self.tokens) and self.peek().kind == "number":
            # Most operands are one number, which needs no way through all levels.
            return self._primary()
        if level == len(_LEVELS):
            return self._unary()
        left = self.expression(level + 1)
        while (sign := self.take(*_LEVELS[level])) is not None:
            right = self.expression(level + 1)
            left = self._binary(sign, left, right)
        return left

    def _unary(self):
        sign = self.take("-", "+", "~", "not")
        if sign is None:
            return self._primary()
        value = self._unary()
        if sign.text == "-":
            return Value(-value.number, value.kind)
        if sign.text == "+":
            return value
        if sign.text == "not":
            return Value(Fraction(value.number == 0))
        return Value(Fraction(~self._int(value, sign)))

    def _primary(self):
        token = self.peek()
        if token is None:
            raise SourceError("a value is missing at the end of the line", self.last())
        self.at += 1
        if token.kind == "number":
            return Value(*token.value)
        if token.kind == "group":
            inner = Parser(token.value, self.lookup, self.units)
            value = inner.expression()
            if inner.peek() is not None:
                raise SourceError(f"{token.text!r} is not one value", token)
            return value
        if token.kind == "mark" and token.text == "(":
            value = self.expression()
            self.need(")")
            return value
        if token.kind == "name":
            if self.take("("):
                return self._function(token)
            return self.lookup(token)
        raise SourceError(f"{token.text!r} is not a value", token)

    def _function(self, token):
        arguments = [self.expression()]
        while self.take(","):
            arguments.append(self.expression())
        self.need(")")
        counts = {"round": (1, 1), "floor": (1, 1), "ceil": (1, 1), "abs": (1, 1), "min": (1, 99),
                  "max": (1, 99), "high": (1, 1), "low": (1, 1), "ticks": (1, 1)}
        if token.text not in counts:
            raise SourceError(f"there is no function {token.text!r}", token,
                              "functions are " + ", ".join(counts))
        least, most = counts[token.text]
        if not least <= len(arguments) <= most:
            raise SourceError(f"{token.text}() takes {least} argument, not {len(arguments)}", token)
        first = arguments[0]
        if token.text in ("round", "floor", "ceil"):
            number = first.number / self.units.tick_s if first.kind == "time" else first.number
            # Halves go up: round() of Python would go to the even number.
            whole = {"round": lambda x: math.floor(x + Fraction(1, 2)), "floor": math.floor,
                     "ceil": math.ceil}[token.text](number)
            return Value(Fraction(whole))
        if token.text == "ticks":
            number = first.number / self.units.tick_s if first.kind == "time" else first.number
            return Value(number, "int" if number.denominator == 1 else "real")
        if token.text in ("high", "low"):
            try:
                word = self.units.frequency(first, 48)
            except UnitError as error:
                raise SourceError(str(error), token, error.fix) from None
            return Value(Fraction(word >> 16 if token.text == "high" else (word & 0xffff) << 16))
        if token.text == "abs":
            return Value(abs(first.number), first.kind)
        if len({"int" if a.kind == "real" else a.kind for a in arguments}) > 1:
            raise SourceError(f"{token.text}() of different kinds: "
                              + ", ".join(a.kind for a in arguments), token)
        return {"min": min, "max": max}[token.text](arguments, key=lambda v: v.number)

    def _int(self, value, token):
        try:
            return self.units.whole(value)
        except UnitError as error:
            raise SourceError(f"{token.text!r} takes whole numbers: {error}", token,
                              error.fix) from None

    def _binary(self, sign, a, b):
        text = sign.text
        plain_a, plain_b = a.kind in ("int", "real"), b.kind in ("int", "real")
        if text in ("and", "or"):
            truth = (a.number and b.number) if text == "and" else (a.number or b.number)
            return Value(Fraction(bool(truth)))
        if text in ("|", "^", "&", "<<", ">>", "//", "%"):
            x, y = self._int(a, sign), self._int(b, sign)
            if text in ("//", "%") and y == 0:
                raise SourceError("division by 0", sign)
            if text in ("<<", ">>") and not 0 <= y <= _MAX_SHIFT:
                raise SourceError(f"a shift by {y} is outside 0 to {_MAX_SHIFT}", sign)
            return Value(Fraction({
                "|": lambda: x | y, "^": lambda: x ^ y, "&": lambda: x & y, "<<": lambda: x << y,
                ">>": lambda: x >> y, "//": lambda: x // y, "%": lambda: x % y}[text]()))
        if text == "*":
            kinds = {a.kind, b.kind}
            if plain_a or plain_b:
                kind = a.kind if not plain_a else b.kind if not plain_b else (
                    "int" if kinds == {"int"} else "real")
                return Value(a.number * b.number, kind)
            if kinds == {"time", "frequency"}:
                return Value(a.number * b.number, "phase")
            raise SourceError(f"a {a.kind} times a {b.kind} means nothing here", sign)
        if text == "/":
            if b.number == 0:
                raise SourceError("division by 0", sign)
            number = a.number / b.number
            if plain_b:
                return Value(number, "real" if plain_a else a.kind)
            if a.kind == b.kind:
                return Value(number, "real")
            if a.kind in ("int", "real", "phase") and b.kind in ("time", "frequency"):
                return Value(number, "frequency" if b.kind == "time" else "time")
            raise SourceError(f"a {a.kind} divided by a {b.kind} means nothing here", sign)
        if a.kind != b.kind and not (plain_a and plain_b):
            # A plain number beside a time is a number of ticks.
            if {a.kind, b.kind} == {"int", "time"}:
                a, b = (Value(v.number * self.units.tick_s, "time") if v.kind == "int" else v
                        for v in (a, b))
            else:
                raise SourceError(f"{text!r} between a {a.kind} and a {b.kind}", sign,
                                  "give both the same unit")
        kind = a.kind if a.kind == b.kind else "real"
        if text in ("+", "-"):
            return Value(a.number + b.number if text == "+" else a.number - b.number, kind)
        truth = {"==": a.number == b.number, "!=": a.number != b.number, "<": a.number < b.number,
                 "<=": a.number <= b.number, ">": a.number > b.number,
                 ">=": a.number >= b.number}[text]
        return Value(Fraction(truth))
