"""The assembler: text of the ``.qcs`` language to an :class:`Assembly`.

The language is described in ``docs/firmware.md``. One statement stands on a line. The first pass
expands macros, repetitions and conditions, evaluates all that stands in a statement and counts
words; the second one knows all labels, resolves jumps, and encodes. Errors are collected, up to
:data:`MAX_ERRORS` of them.
"""

import dataclasses
import difflib
import hashlib
from fractions import Fraction
from pathlib import Path

from quantacore.firmware.assembly import (
    Assembly,
    DecoderRate,
    EnvelopeEntry,
    Interval,
    Parameter,
    WaveEntry,
    wave_step,
)
from quantacore.firmware.diagnostics import AssemblyError, Diagnostic, Line, SourceError
from quantacore.firmware.envelopes import shape_points
from quantacore.firmware.expressions import Parser, UnitError, Units, Value, quantity_text
from quantacore.firmware.lexer import Token, tokenize
from quantacore.firmware.words import (
    FOREVER,
    OPERANDS,
    Instruction,
    Pair,
    R,
    WordError,
    encode,
    least,
)
from quantacore.gateware.layouts import instructions
from quantacore.gateware.layouts.instructions import (
    BRH_ENTRIES,
    LOOP_LEVELS,
    PROGRAM_DEPTH,
    REGISTERS,
    AluFunction,
    Condition,
    Op,
    Source,
    TriggerMode,
)
from quantacore.gateware.layouts.sequencer import (
    CHANNELS,
    ENVELOPE_POINTS,
    TTL_LINES,
    WAVES,
    Wave,
)

__all__ = ["assemble", "assemble_file", "MNEMONICS", "DIRECTIVES", "LIBRARY", "MAX_ERRORS"]

#: Where shipped programs and macros are; ``.include`` looks there, too.
LIBRARY = Path(__file__).parent / "programs"
#: After so many errors the rest is not looked at.
MAX_ERRORS = 20
#: Macros inside macros, and files inside files.
_DEPTH = 32
#: Statements after expansion; more is a mistake.
_STATEMENTS = 200_000
#: What fills the rest of a table's entry: nothing ever goes there.
_FILL = 0xffff
#: Operations that may not end a loop's body, for the loop would not see its end.
_NO_LOOP_END = (Op.CALL, Op.RET, Op.JMP, Op.BRH, Op.HALT)

#: mnemonic -> (operation, operands that it fixes)
MNEMONICS = {
    "nop": (Op.NOP, {}), "set": (Op.SET, {}), "pulse": (Op.PULSE, {}), "freq": (Op.FREQ, {}),
    "phase": (Op.PHASE, {}), "offset": (Op.OFFSET, {}), "switch": (Op.SWITCH, {}),
    "delay": (Op.DELAY, {}), "waituntil": (Op.WAITUNTIL, {}), "waittrig": (Op.WAITTRIG, {}),
    "barrier": (Op.BARRIER, {}), "loop": (Op.LOOP, {}), "jmp": (Op.JMP, {}), "call": (Op.CALL, {}),
    "ret": (Op.RET, {}), "halt": (Op.HALT, {}), "arm": (Op.ARM, {}), "brh": (Op.BRH, {}),
    "ldt": (Op.LDT, {}), "li": (Op.LI, {}), "get": (Op.GET, {}), "tag": (Op.TAG, {}),
    "syn": (Op.SYN, {}), "dec": (Op.DEC, {}),
    **{f"b{c.name.lower()}": (Op.BR, {"condition": c}) for c in Condition},
    **{f.name.lower(): (Op.ALU, {"function": f}) for f in AluFunction},
}
#: Constants of the language: what instructions cost, in ticks.
BUILT_IN = ("BRANCH_TICKS", "DATA_TICKS", "MUL_TICKS", "LDT_TICKS", "DELAY_TICKS", "UNTIL_TICKS",
            "FREQ_TICKS", "TRIGGER_TICKS", "TIMEOUT_TICKS", "VERDICT_TICKS")
#: Mnemonics that stand for others.
PSEUDO = ("end", "high", "low", "mov")


class _Scope:
    """Names that begin with an underscore, and those of a repetition, live in a scope."""

    def __init__(self, parent=None):
        self.parent, self.names = parent, {}
        self.depth = parent.depth + 1 if parent else 0

    def find(self, name):
        scope = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None


@dataclasses.dataclass
class _Symbol:
    kind: str
    value: object
    line: Line


@dataclasses.dataclass
class _Label:
    name: str
    address: int
    nest: tuple
    #: It stands behind the last word of a loop's body.
    dangling: bool = False
    #: Words in an entry, of a table.
    entry_words: int = 0


@dataclasses.dataclass
class _Target:
    tokens: list
    scope: _Scope


@dataclasses.dataclass
class _Item:
    op: Op
    operands: dict
    tokens: dict
    dwell: int | None
    dwell_token: Token | None
    line: Line
    token: Token
    nest: tuple
    pop_given: bool = False


def assemble(text, *, file="<text>", defines=None, folder=None, name=None):
    """Assemble a program.

    Parameters
    ----------
    text : str
    file : str
        Name for messages.
    defines : dict, optional
        Constants that replace ``.const`` lines of the same name: numbers, or text such as "2us".
    folder : Path, optional
        Where ``.include`` and ``file(...)`` look first.
    name : str, optional
        Of the program, where the text has no ``.name``.

    Returns
    -------
    Assembly

    Raises
    ------
    AssemblyError
        With all that is wrong.
    """
    return _Assembler(file, folder, defines or {}, name).run(text)


def assemble_file(path, *, defines=None):
    """Assemble a file; see :func:`assemble`."""
    path = Path(path)
    file = path.name if path.parent == LIBRARY else str(path)
    return assemble(path.read_text(encoding="utf-8"), file=file, folder=path.parent,
                    defines=defines, name=path.stem)


def _close(name, known):
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


class _Assembler:
    def __init__(self, file, folder, defines, name):
        self.file, self.folder = file, Path(folder) if folder else None
        self.defines = {key: str(value) for key, value in defines.items()}
        self.used_defines = set()
        self.out = Assembly(name=name or Path(file).stem.strip("<>") or "program", entries={})
        self.units = Units(self.out.tick_s)
        self.diagnostics, self.items, self.loops = [], [], []
        self.globals = _Scope()
        for name in BUILT_IN:
            self.globals.names[name] = _Symbol("constant", Value(Fraction(
                getattr(instructions, name))), Line("<language>", 0, ""))
        self.scope = self.globals
        self.depth = self.statements = self.next_loop = 0
        self.raw = False
        self.entries, self.labels, self.ahead = [], [], {}
        self.used = {channel: 0 for channel in range(CHANNELS)}
        self.envelope_of = {}
        self.digest = hashlib.sha256()

    # Running and errors.

    def run(self, text):
        self.digest.update(text.encode())
        for key in sorted(self.defines):
            self.digest.update(f"{key}={self.defines[key]}".encode())
        try:
            self.block(self.lines_of(text, self.file))
            self.close()
        except _TooMany:
            pass
        errors = [d for d in self.diagnostics if d.severity == "error"]
        if errors:
            raise AssemblyError(self.diagnostics)
        self.out.warnings = self.diagnostics
        self.out.source = self.digest.hexdigest()
        return self.out

    @staticmethod
    def lines_of(text, file, trace=()):
        return [Line(file, number, line, trace)
                for number, line in enumerate(text.splitlines(), 1)]

    def report(self, line, error, severity="error"):
        token = error.token
        if token is not None:
            line = dataclasses.replace(token.line, trace=line.trace)
        found = Diagnostic(line, token.column if token else 0, len(token.text) if token else 0,
                           error.message, error.fix, severity)
        if found not in self.diagnostics:
            self.diagnostics.append(found)
        if sum(d.severity == "error" for d in self.diagnostics) >= MAX_ERRORS:
            raise _TooMany

    # The first pass.

    def block(self, lines):
        """Process lines; an error in one leaves the others."""
        at = 0
        while at < len(lines):
            line = lines[at]
            at += 1
            self.statements += 1
            try:
                if self.statements > _STATEMENTS:
                    raise SourceError(f"more than {_STATEMENTS} statements after expansion",
                                      None, "use loop in place of .repeat")
                tokens = line.tokens if isinstance(line, _Tokens) else tokenize(line)
                tokens = self.take_labels(tokens, line)
                if not tokens:
                    continue
                head = tokens[0]
                if head.text in _BLOCKS:
                    end = self.block_end(lines, at, head)
                    inner, last = lines[at:end], at
                    at = end + 1
                    getattr(self, f"block_{head.text[1:]}")(tokens, inner, line, last)
                else:
                    self.statement(tokens, line)
            except SourceError as error:
                self.report(_plain(line), error)
                if len(self.items) > PROGRAM_DEPTH or self.statements > _STATEMENTS:
                    raise _TooMany from None

    def block_end(self, lines, at, head):
        """Index of the line that ends the block begun before ``at``."""
        end, depth = _BLOCKS[head.text], 0
        for index in range(at, len(lines)):
            first = _first_word(lines[index])
            if first in _BLOCKS:
                depth += 1
            elif first in _BLOCKS.values():
                if depth == 0:
                    if first != end:
                        raise SourceError(f"{head.text} is closed by {first}", head,
                                          f"write {end}")
                    return index
                depth -= 1
        # What follows belongs to the block that never ends; there is nothing to go on with.
        del lines[at:]
        raise SourceError(f"{head.text} has no {end}", head, f"add {end}")

    def take_labels(self, tokens, line):
        while (len(tokens) >= 2 and tokens[0].kind == "name" and tokens[1].text == ":"
               and not tokens[0].text.startswith(".")):
            self.define_label(tokens[0])
            tokens = tokens[2:]
        return tokens

    def define_label(self, token, entry_words=0):
        label = _Label(token.text, len(self.items), self.nest(), entry_words=entry_words)
        self.define(token, "label", label)
        self.labels.append(label)

    def nest(self):
        return tuple(number for number, *_ in self.loops)

    def define(self, token, kind, value):
        name = token.text
        if _is_register(name) or name in _WORDS or kind == "macro" and (
                name in MNEMONICS or name in PSEUDO):
            raise SourceError(f"{name!r} is a word of the language", token, "take another name")
        scope = self.scope if name.startswith("_") else self.globals
        old = scope.names.get(name)
        if old is not None:
            where = f" in {old.line}" if old.line.number else ""
            raise SourceError(f"{name!r} is a {old.kind} already{where}", token,
                              "take another name; names that begin with _ are local to a macro "
                              "or repetition")
        scope.names[name] = _Symbol(kind, value, token.line)

    def find(self, token, *kinds):
        symbol = self.scope.find(token.text)
        if symbol is None:
            names, scope = set(), self.scope
            while scope is not None:
                names |= {n for n, s in scope.names.items() if not kinds or s.kind in kinds}
                scope = scope.parent
            what = kinds[0] if kinds else "name"
            raise SourceError(f"there is no {what} {token.text!r}", token,
                              _close(token.text, names) or f"declare the {what} before it is used")
        if kinds and symbol.kind not in kinds:
            raise SourceError(f"{token.text!r} is a {symbol.kind}, not a {kinds[0]}", token)
        return symbol

    def lookup(self, token):
        """The value of a name in an expression."""
        if _is_register(token.text):
            raise SourceError(f"{token.text} is a register; a number is needed here", token)
        symbol = self.find(token)
        if symbol.kind == "constant":
            return symbol.value
        if symbol.kind == "wave":
            return Value(Fraction(symbol.value))
        if symbol.kind == "label":
            raise SourceError(f"{token.text!r} is a label; a number is needed here", token)
        if symbol.kind == "register":
            raise SourceError(f"{token.text!r} is register r{int(symbol.value)}; a number is "
                              f"needed here", token)
        raise SourceError(f"{token.text!r} is a {symbol.kind}; a number is needed here", token)

    def parser(self, tokens):
        return Parser(tokens, self.lookup, self.units)

    def statement(self, tokens, line):
        head = tokens[0]
        if head.kind != "name":
            raise SourceError(f"a statement cannot begin with {head.text!r}", head)
        if head.text.startswith("."):
            handler = DIRECTIVES.get(head.text)
            if handler is None:
                if head.text in _BLOCKS.values() or head.text in _INNER:
                    raise SourceError(f"{head.text} without what it belongs to", head)
                raise SourceError(f"there is no directive {head.text}", head,
                                  _close(head.text, [*DIRECTIVES, *_BLOCKS])
                                  or "directives are " + " ".join([*DIRECTIVES, *_BLOCKS]))
            getattr(self, handler)(tokens, line)
            return
        name = head.text.lower()
        if name in MNEMONICS:
            self.instruction(tokens, line, *MNEMONICS[name])
        elif name in PSEUDO:
            getattr(self, f"pseudo_{name}")(tokens, line)
        else:
            symbol = self.scope.find(head.text)
            if symbol is None or symbol.kind != "macro":
                macros = [n for n, s in self.globals.names.items() if s.kind == "macro"]
                raise SourceError(
                    f"there is no instruction or macro {head.text!r}", head,
                    _close(name, [*MNEMONICS, *PSEUDO, *macros])
                    or "instructions are " + " ".join([*MNEMONICS, *PSEUDO]))
            self.expand(symbol.value, tokens, line)

    # Instructions.

    def instruction(self, tokens, line, op, fixed):
        try:
            tokens, dwell, dwell_token = self.take_dwell(tokens)
            operands, places = self.operands(tokens, op, fixed)
        except SourceError:
            if op is Op.LOOP and not self.raw:
                # Its end will come, and is not to be blamed.
                self.loops.append((self.next_loop, len(self.items), None))
                self.next_loop += 1
            raise
        item = _Item(op, operands, places, dwell, dwell_token, _plain(line), tokens[0],
                     self.nest(), pop_given="pop" in places)
        if "ahead" in places:
            self.ahead[len(self.items)] = self.ahead_of(places["ahead"], operands)
        if op is Op.LOOP:
            self.open_loop(item)
        else:
            self.emit(item)

    def ahead_of(self, part, operands):
        """``ahead=<low>..<high>``: what the program promises of a time in registers."""
        if not isinstance(operands["time"], Pair):
            raise SourceError("only a time in registers can be ahead of something", part[0],
                              "remove it: the time from the start is known")
        parser = self.parser(part[2:])
        first = parser.peek() or part[0]
        low = self.ticks(parser.expression(), first)
        parser.need("..")
        high = self.ticks(parser.expression(), first)
        if parser.peek() is not None or low > high:
            raise SourceError("this is no range", first, "write ahead=1us..10us")
        return Interval(low, high)

    def emit(self, item):
        if len(self.items) >= PROGRAM_DEPTH:
            self.items.append(item)
            raise SourceError(f"the program is larger than the {PROGRAM_DEPTH} words of a slot",
                              item.token, "use loop or call in place of .repeat and macros")
        self.items.append(item)

    def take_dwell(self, tokens):
        """Split ``for <dwell>`` or ``@<dwell>`` off."""
        for index, token in enumerate(tokens):
            if token.text in ("for", "@") and token.kind in ("name", "mark"):
                parser = self.parser(tokens[index + 1:])
                if parser.peek() is None:
                    raise SourceError(f"{token.text!r} without a time", token, "write for 100ns")
                first = parser.peek()
                dwell = self.ticks(parser.expression(), first)
                if parser.peek() is not None:
                    raise SourceError(f"{parser.peek().text!r} after the dwell", parser.peek(),
                                      "the dwell is the last thing of a statement")
                if dwell < 0:
                    raise SourceError(f"a dwell of {dwell} ticks", first,
                                      "time goes forwards only")
                return tokens[:index], dwell, first
        return tokens, None, None

    def operands(self, tokens, op, fixed):
        wanted = [o for o in OPERANDS[op] if o.name not in fixed]
        flags = {o.name for o in wanted if o.kind == "flag"}
        positional = [o for o in wanted if o.kind != "flag" and o.name not in ("span", "pop")]
        values, places = dict(fixed), {}
        parts = _split(tokens[1:])
        for part in parts:
            first = part[0] if part else None
            if first is None:
                raise SourceError("an operand is missing between commas", tokens[0],
                                  self.form(tokens[0], op, fixed))
            if len(part) == 1 and first.kind == "name" and first.text in flags:
                values[first.text] = 1
                places[first.text] = first
                continue
            if op is Op.WAITUNTIL and first.text == "ahead" and len(part) > 1:
                places["ahead"] = part
                continue
            if len(part) > 1 and first.kind == "name" and part[1].text == "=":
                name = {"else": "target"}.get(first.text, first.text)
                operand = next((o for o in wanted if o.name == name), None)
                if operand is None:
                    raise SourceError(f"{tokens[0].text} has no operand {first.text!r}", first,
                                      self.form(tokens[0], op, fixed))
                part = part[2:]
            else:
                operand = next((o for o in positional if o.name not in values), None)
                if operand is None:
                    raise SourceError(f"{tokens[0].text} has too many operands: "
                                      f"{' '.join(t.text for t in part)}", first,
                                      self.form(tokens[0], op, fixed))
                if first.text == "else" and operand.kind == "target":
                    part = part[1:]
            if operand.name in values:
                raise SourceError(f"{operand.name} is given twice", first)
            if not part:
                raise SourceError(f"{operand.name} has no value", first)
            values[operand.name] = self.operand(part, operand, values)
            places[operand.name] = part[0]
        for operand in wanted:
            if operand.name not in values and operand.default is None:
                raise SourceError(f"{tokens[0].text} needs {operand.name}", tokens[0],
                                  self.form(tokens[0], op, fixed))
        return values, places

    @staticmethod
    def form(token, op, fixed):
        """How an instruction is written."""
        return "write " + form_of(token.text, op, fixed)

    def operand(self, part, operand, values):
        kind, first = operand.kind, part[0]
        if kind == "target":
            return _Target(part, self.scope)
        register = self.register(part, pair=operand.at == "pair") if operand.at else None
        if register is not None:
            return register
        if kind == "register":
            raise SourceError(f"{operand.name} must be a register, not "
                              f"{' '.join(t.text for t in part)!r}", first,
                              f"registers are r0 to r{REGISTERS - 1}")
        if kind in ("mode", "source"):
            names = {m.name.lower(): m for m in (TriggerMode if kind == "mode" else Source)}
            if len(part) != 1 or first.text.lower() not in names:
                raise SourceError(f"{' '.join(t.text for t in part)!r} is no {operand.name}",
                                  first, f"it is one of {', '.join(names)}")
            return names[first.text.lower()]
        if kind == "timeout" and len(part) == 1 and first.text == "forever":
            return FOREVER
        if kind == "wave" and len(part) == 1 and first.kind == "name":
            number = self.find(first, "wave", "constant")
            if number.kind == "wave":
                self.check_wave_channel(first, number.value, values.get("channel"))
                return number.value
        parser = self.parser(part)
        value = parser.expression()
        if parser.peek() is not None:
            raise SourceError(f"{parser.peek().text!r} after {operand.name}", parser.peek(),
                              "operands are separated by commas")
        return self.convert(value, operand, first)

    def check_wave_channel(self, token, number, channel):
        wave = self.out.waves[number]
        if channel is not None and wave.channels and channel not in wave.channels:
            have = ", ".join(map(str, wave.channels))
            raise SourceError(f"wave {wave.name!r} is of an envelope of channel {have}, not of "
                              f"channel {channel}", token,
                              f"declare the envelope for channel {channel}, too: .envelope "
                              f"{have}, {channel} ...")

    def register(self, part, pair):
        found = []
        texts = [t.text for t in part]
        for token in part[::2] if pair and len(part) == 3 and texts[1] == ":" else part[:1]:
            if token.kind != "name":
                return None
            if _is_register(token.text):
                found.append(R(int(token.text[1:])))
                continue
            symbol = self.scope.find(token.text)
            if symbol is None or symbol.kind != "register":
                return None
            found.append(symbol.value)
        if len(found) == 2:
            return Pair(*found)
        if len(part) > 1:
            raise SourceError(f"{part[1].text!r} after a register", part[1],
                              "operands are separated by commas; arithmetic on registers is done "
                              "by instructions")
        if pair:
            raise SourceError(f"{part[0].text} is one register, two are needed", part[0],
                              "write r1:r2, the high one first")
        return found[0]

    def convert(self, value, operand, token):
        kind = operand.kind
        try:
            if kind in ("ticks", "timeout"):
                number = self.units.ticks(value)
                if kind == "timeout" and number == FOREVER:
                    raise UnitError("a timeout of 0 would be none",
                                    "write the most ticks that it may wait (or forever, which no "
                                    "proof takes)")
                return number
            if kind == "frequency":
                word = self.units.frequency(value)
                if value.kind == "frequency" and abs(value.number) * self.units.tick_s * 2 > 1:
                    alias = 1 / self.units.tick_s - abs(value.number)
                    self.report(token.line, SourceError(
                        f"{quantity_text(value)} is above half of the clock: the channel makes "
                        f"{quantity_text(Value(alias, 'frequency'))} and images of it", token,
                        "make sure that a filter passes the image"), "warning")
                return word
            if kind == "phase":
                return self.units.phase(value)
            if kind == "amplitude":
                return self.units.amplitude(value)
            if kind == "word":
                return self.units.word(value)
            if kind == "value":
                number = self.units.word(value)
                return number - 2**32 if number >= 2**31 else number
            if kind == "size":
                words = self.units.whole(value)
                if words not in [1 << n for n in range(8)]:
                    raise UnitError(f"entries of {words} words", "a table's entries have 1, 2, 4, "
                                    "8, 16, 32, 64 or 128 words")
                return words.bit_length() - 1
            number = self.units.whole(value, f"a number, which {operand.name} is")
            if kind == "count" and not self.raw and number < 1:
                raise UnitError(f"a loop of {number} times", "the least is 1")
            return number
        except UnitError as error:
            raise SourceError(str(error), token, error.fix) from None

    def ticks(self, value, token):
        try:
            return self.units.ticks(value)
        except UnitError as error:
            raise SourceError(str(error), token, error.fix) from None

    def whole(self, value, token):
        try:
            return self.units.whole(value)
        except UnitError as error:
            raise SourceError(str(error), token, error.fix) from None

    def pseudo_mov(self, tokens, line):
        parts = _split(_without_dwell(tokens)[1:])
        if len(parts) != 2:
            raise SourceError("mov takes two registers", tokens[0], "write mov rd, ra")
        zero = Token("number", "0", (Fraction(0), "int"), tokens[0].line, tokens[0].column)
        comma = Token("mark", ",", None, tokens[0].line, tokens[0].column)
        at = len(_without_dwell(tokens))
        self.instruction([*tokens[:at], comma, zero, *tokens[at:]], line, *MNEMONICS["add"])

    def pseudo_high(self, tokens, line):
        self.lines_to(tokens, line, True)

    def pseudo_low(self, tokens, line):
        self.lines_to(tokens, line, False)

    def lines_to(self, tokens, line, level):
        rest, dwell, dwell_token = self.take_dwell(tokens)
        mask = 0
        for part in _split(rest[1:]):
            if not part:
                raise SourceError("a line is missing between commas", tokens[0])
            number = self.whole(self.parser(part).expression(), part[0])
            if not 0 <= number < TTL_LINES:
                raise SourceError(f"there is no line {number}", part[0],
                                  f"lines are 0 to {TTL_LINES - 1}")
            mask |= 1 << number
        if not mask:
            raise SourceError(f"{tokens[0].text} needs a line", tokens[0], "write high 3")
        self.emit(_Item(Op.SET, {"mask": mask, "value": mask if level else 0}, {}, dwell,
                        dwell_token, _plain(line), tokens[0], self.nest()))

    def open_loop(self, item):
        explicit = "span" in item.tokens
        if self.raw != explicit:
            raise SourceError("after .raw a loop has a span, and no end" if self.raw else
                              "a loop has a span after .raw only", item.token,
                              "write loop 10, span=4" if self.raw else "close the body with end")
        self.emit(item)
        if explicit:
            return
        if len(self.loops) == LOOP_LEVELS:
            self.loops.append((self.next_loop, len(self.items) - 1, item))
            self.next_loop += 1
            raise SourceError(f"more than {LOOP_LEVELS} loops inside each other", item.token,
                              "put the inner ones into one, or use a register and a branch")
        self.loops.append((self.next_loop, len(self.items) - 1, item))
        self.next_loop += 1

    def pseudo_end(self, tokens, line):
        if len(tokens) > 1:
            raise SourceError("end takes nothing, and costs nothing", tokens[1])
        if not self.loops:
            raise SourceError("end without loop", tokens[0],
                              "after .raw there is none" if self.raw else "")
        number, at, item = self.loops.pop()
        if item is None:
            return
        span = len(self.items) - at - 1
        if span == 0:
            raise SourceError("this loop has no body", item.token, "the least is a nop")
        item.operands["span"] = span
        for label in self.labels:
            if label.address == len(self.items) and number in label.nest:
                label.dangling = True
        last = self.items[-1]
        if last.op in _NO_LOOP_END:
            raise SourceError(f"{last.op.name.lower()} cannot be the last word of a loop's body: "
                              f"it goes elsewhere, and the loop never sees its end", last.token,
                              "put a nop between it and end, or turn the condition around")

    # Directives.

    def dir_const(self, tokens, line):
        name = self.name_after(tokens, 1, ".const width 2us")
        rest = tokens[2:]
        if rest and rest[0].text == "=":
            rest = rest[1:]
        if name.text in self.defines:
            self.used_defines.add(name.text)
            rest = tokenize(Line("<define>", 1, self.defines[name.text]))
        self.define(name, "constant", self.only_value(rest, tokens[0]))

    def dir_channel(self, tokens, line):
        self.named_number(tokens, CHANNELS, self.out.channels, ".channel stokes 0")

    def dir_line(self, tokens, line):
        self.named_number(tokens, TTL_LINES, self.out.ttl_lines, ".line shutter 3")

    def named_number(self, tokens, count, names, example):
        """A constant that is also what a sheet shows."""
        name = self.name_after(tokens, 1, example)
        value = self.only_value(tokens[2:], tokens[0])
        number = self.whole(value, tokens[2])
        if not 0 <= number < count:
            raise SourceError(f"there is no {tokens[0].text[1:]} {number}", tokens[2],
                              f"they are 0 to {count - 1}")
        self.define(name, "constant", Value(Fraction(number)))
        names[number] = name.text

    def only_value(self, tokens, head):
        if not tokens:
            raise SourceError(f"{head.text} needs a value", head)
        parser = self.parser(tokens)
        value = parser.expression()
        if parser.peek() is not None:
            raise SourceError(f"{parser.peek().text!r} after the value", parser.peek())
        return value

    def name_after(self, tokens, index, example):
        if len(tokens) <= index or tokens[index].kind != "name":
            raise SourceError(f"{tokens[0].text} needs a name",
                              tokens[index] if len(tokens) > index else tokens[0],
                              f"for example {example}")
        return tokens[index]

    def dir_reg(self, tokens, line):
        example = ".reg count r3"
        name = self.name_after(tokens, 1, example)
        register = self.register_only(tokens[2:3], tokens[0], example)
        self.nothing_after(tokens, 3)
        self.define(name, "register", register)

    def register_only(self, part, head, example):
        register = self.register(part, False) if part else None
        if register is None:
            raise SourceError(f"{head.text} needs a register", part[0] if part else head,
                              f"for example {example}")
        return register

    def nothing_after(self, tokens, index):
        if len(tokens) > index:
            raise SourceError(f"{tokens[index].text!r} is too much for {tokens[0].text}",
                              tokens[index])

    def dir_assume(self, tokens, line):
        example = ".assume r1 in 5..1000"
        register = self.register_only(tokens[1:2], tokens[0], example)
        self.out.assumptions[int(register)] = self.range_after(tokens, 2, example)[0]

    def range_after(self, tokens, index, example, *, more=False):
        """``in <low>..<high>``: the interval, its kind, and the tokens after it."""
        if len(tokens) <= index or tokens[index].text != "in":
            raise SourceError(f"{tokens[0].text} needs a range", tokens[-1],
                              f"for example {example}")
        parser = self.parser(tokens[index + 1:])
        first = parser.peek()
        low = parser.expression()
        parser.need("..")
        high = parser.expression()
        if parser.peek() is not None and not more:
            raise SourceError(f"{parser.peek().text!r} after the range", parser.peek())
        try:
            ends = []
            for value in (low, high):
                number = self.units.word(value)
                # Above 2**31 a plain number is meant as it is written.
                ends.append(number - 2**32 if number >= 2**31 and value.number < 0
                            else number)
            kind = low.kind if low.kind != "int" else high.kind
            return Interval(*ends), kind, parser
        except (UnitError, ValueError) as error:
            raise SourceError(str(error), first, getattr(error, "fix", "")) from None

    def dir_param(self, tokens, line):
        example = '.param delay r1 in 40ns..2us = 120ns "Stokes to pump"'
        name = self.name_after(tokens, 1, example)
        register = self.register_only(tokens[2:3], tokens[0], example)
        interval, kind, parser = self.range_after(tokens, 3, example, more=True)
        for other, parameter in self.out.parameters.items():
            if parameter.register == register:
                raise SourceError(f"r{int(register)} is parameter {other!r} already", tokens[2])
        default = interval.low
        if parser.take("="):
            first = parser.peek()
            value = parser.expression()
            try:
                default = self.units.word(value)
            except UnitError as error:
                raise SourceError(str(error), first, error.fix) from None
            default -= 2**32 if default >= 2**31 and value.number < 0 else 0
            if not interval.low <= default <= interval.high:
                raise SourceError(f"{default} is outside the range {interval}", first)
        doc, token = "", parser.peek()
        if token is not None and token.kind == "string":
            doc = token.value
            parser.at += 1
        if parser.peek() is not None:
            raise SourceError(f"{parser.peek().text!r} after the parameter", parser.peek(),
                              f"for example {example}")
        unit = {"time": "ticks", "phase": "phase", "real": "amplitude"}.get(kind, "count")
        self.define(name, "register", register)
        self.out.parameters[name.text] = Parameter(int(register), interval.low, interval.high,
                                                   default, unit, doc)
        self.out.assumptions[int(register)] = interval

    def dir_entry(self, tokens, line):
        name = self.name_after(tokens, 1, ".entry main")
        self.nothing_after(tokens, 3)
        if any(name.text == other.text for other, *_ in self.entries):
            raise SourceError(f"entry {name.text!r} is there already", name)
        if self.loops and len(tokens) == 2:
            raise SourceError("an entry inside a loop's body", name)
        self.entries.append((name, len(self.items),
                             _Target([tokens[2]], self.scope) if len(tokens) > 2 else None))

    def dir_name(self, tokens, line):
        if len(tokens) != 2 or tokens[1].kind not in ("name", "string"):
            raise SourceError(".name needs one name", tokens[0], '.name "stirap"')
        self.out.name = tokens[1].value if tokens[1].kind == "string" else tokens[1].text

    def dir_tick(self, tokens, line):
        value = self.only_value(tokens[1:], tokens[0])
        if self.items or self.out.waves or any(
                s.kind == "constant" and s.line.number for s in self.globals.names.values()):
            raise SourceError(".tick comes too late", tokens[0], "make it the first statement")
        if value.kind != "time" or value.number <= 0:
            raise SourceError(f"{quantity_text(value)} is no length of a tick", tokens[1],
                              "write .tick 8ns")
        self.out.tick_s = value.number
        self.units = Units(value.number)

    def dir_settle(self, tokens, line):
        self.out.settle_ticks = self.ticks(self.only_value(tokens[1:], tokens[0]), tokens[1])
        if self.out.settle_ticks < 0:
            raise SourceError("a time below 0", tokens[1])

    def dir_decoder(self, tokens, line):
        given = self.keywords(tokens[1:], tokens[0], {"every", "depth"})
        if "every" not in given:
            raise SourceError(".decoder needs the time that a round takes", tokens[0],
                              ".decoder every=1us, depth=8")
        every = self.ticks(*given["every"])
        depth = self.whole(*given["depth"]) if "depth" in given else 1
        if every < 1 or depth < 1:
            raise SourceError("every and depth are at least 1", tokens[0])
        self.out.decoder = DecoderRate(every, depth)

    def keywords(self, tokens, head, names):
        given = {}
        for part in _split(tokens):
            if len(part) < 3 or part[1].text != "=" or part[0].text not in names:
                raise SourceError(f"{head.text} takes {', '.join(f'{n}=' for n in sorted(names))}"
                                  f" here", part[0] if part else head)
            given[part[0].text] = (self.only_value(part[2:], part[0]), part[2])
        return given

    def dir_raw(self, tokens, line):
        self.nothing_after(tokens, 1)
        if self.loops:
            raise SourceError(".raw inside a loop", tokens[0])
        self.raw = True

    def dir_error(self, tokens, line):
        text = tokens[1].value if len(tokens) > 1 and tokens[1].kind == "string" else ""
        fix = tokens[2].value if len(tokens) > 2 and tokens[2].kind == "string" else ""
        raise SourceError(text or "the program says so", tokens[0], fix)

    def dir_include(self, tokens, line):
        if len(tokens) != 2 or tokens[1].kind != "string":
            raise SourceError('.include needs a file', tokens[0], '.include "stirap.inc.qcs"')
        path = self.locate(tokens[1])
        text = path.read_text(encoding="utf-8")
        self.digest.update(text.encode())
        inside = (f"included in {line.file}:{line.number}", *_plain(line).trace)
        folder, self.folder = self.folder, path.parent
        try:
            with _Deeper(self, tokens[1]):
                # A file of the library is named without the folder, which differs by machine.
                name = path.name if path.parent == LIBRARY else str(path)
                self.block(self.lines_of(text, name, inside))
        finally:
            self.folder = folder

    def locate(self, token):
        tried = [folder / token.value for folder in (self.folder, LIBRARY) if folder]
        for path in tried:
            if path.is_file():
                return path
        library = ", ".join(sorted(p.name for p in LIBRARY.glob("*.inc.qcs")))
        raise SourceError(f"there is no file {token.value!r}", token,
                          f"it is looked for beside the program, then among the library's: "
                          f"{library}")

    # Waves and envelopes.

    def dir_envelope(self, tokens, line):
        example = ".envelope 0, 1 bell gaussian(points=64, sigma=6)"
        parser = self.parser(tokens[1:])
        if parser.peek() is None:
            raise SourceError(".envelope needs channels, a name and a shape", tokens[0],
                              f"for example {example}")
        if parser.take("*"):
            channels = list(range(CHANNELS))
        else:
            channels = []
            while True:
                first = parser.peek()
                number = self.whole(parser.expression(), first)
                if not 0 <= number < CHANNELS:
                    raise SourceError(f"there is no channel {number}", first,
                                      f"channels are 0 to {CHANNELS - 1}")
                channels.append(number)
                if not parser.take(","):
                    break
        name, shape = parser.peek(), None
        if name is not None and name.kind == "name":
            parser.at += 1
            shape = parser.peek()
        if shape is None or shape.kind != "name":
            raise SourceError(".envelope needs channels, a name and a shape", name or tokens[0],
                              f"for example {example}")
        parser.at += 1
        points = self.shape(parser, shape)
        self.add_envelope(name, tuple(sorted(set(channels))), points)

    def shape(self, parser, shape):
        arguments = parser.tokens[parser.at:]
        if arguments:
            if arguments[0].text != "(" or arguments[-1].text != ")":
                raise SourceError(f"{shape.text} needs its arguments in parentheses",
                                  arguments[0])
            arguments = arguments[1:-1]
        parts = _split(arguments)
        if shape.text == "points":
            return [self.point(part) for part in parts]
        if shape.text == "file":
            if len(parts) != 1 or parts[0][0].kind != "string":
                raise SourceError("file() needs the name of a text file", shape,
                                  'file("bell.txt"), a fraction of full scale on each line')
            return self.points_of_file(parts[0][0])
        given, names = {}, ("points", "sigma") if shape.text == "gaussian" else ("points",)
        for index, part in enumerate(parts):
            if len(part) > 2 and part[1].text == "=":
                key, part = part[0].text, part[2:]
            else:
                from quantacore.firmware.envelopes import SHAPES

                names = SHAPES[shape.text][1] if shape.text in SHAPES else ()
                key = names[index] if index < len(names) else f"number {index + 1}"
            if not part:
                raise SourceError("an argument is missing", shape)
            given[key] = self.only_value(part, shape).number
        try:
            return shape_points(shape.text, given)
        except ValueError as error:
            raise SourceError(str(error), shape) from None

    def point(self, part):
        if not part:
            raise SourceError("a point is missing between commas")
        value = self.only_value(part, part[0])
        try:
            # A point of 1.0 is the largest one; a whole number is the point itself.
            return self.units.amplitude(value)
        except UnitError as error:
            raise SourceError(str(error), part[0], error.fix) from None

    def points_of_file(self, token):
        from quantacore.firmware.envelopes import quantise

        path = self.locate(token)
        text = path.read_text(encoding="utf-8")
        self.digest.update(text.encode())
        numbers = []
        for number, line in enumerate(text.splitlines(), 1):
            content = line.partition("#")[0].strip()
            try:
                numbers += [float(part) for part in content.split()]
            except ValueError:
                raise SourceError(f"{path.name}:{number}: {content!r} is no number", token,
                                  "write fractions of full scale") from None
        try:
            return quantise(numbers)
        except ValueError as error:
            raise SourceError(f"{path.name}: {error}", token) from None

    def add_envelope(self, name, channels, points):
        base = max(self.used[channel] for channel in channels)
        if base + len(points) > ENVELOPE_POINTS:
            full = [c for c in channels if self.used[c] + len(points) > ENVELOPE_POINTS]
            raise SourceError(f"{len(points)} more points do not fit: channel "
                              f"{(full or list(channels))[0]} has {base} of {ENVELOPE_POINTS}",
                              name, "take fewer points (64 are ample, they are interpolated), or "
                                    "stretch one envelope with several waves")
        entry = EnvelopeEntry(name.text, channels, base, len(points))
        self.define(name, "envelope", entry)
        self.out.allocations.append(entry)
        for channel in channels:
            memory = self.out.envelopes.setdefault(channel, [])
            memory += [0] * (base - len(memory)) + points
            self.used[channel] = base + len(points)

    def dir_points(self, tokens, line):
        if not self.out.allocations:
            raise SourceError(".points before any .envelope", tokens[0])
        points = [self.point(part) for part in _split(tokens[1:])]
        entry = self.out.allocations[-1]
        end = entry.base + entry.points
        if any(self.used[channel] != end for channel in entry.channels) or (
                end + len(points) > ENVELOPE_POINTS):
            raise SourceError(f"{len(points)} more points do not fit", tokens[0])
        new = dataclasses.replace(entry, points=entry.points + len(points))
        self.out.allocations[-1] = new
        for scope in (self.scope, self.globals):
            if entry.name in scope.names:
                scope.names[entry.name].value = new
        for channel in entry.channels:
            self.out.envelopes[channel] += points
            self.used[channel] += len(points)

    def dir_wave(self, tokens, line):
        example = ".wave bell100 bell length=100ns"
        name = self.name_after(tokens, 1, example)
        source = self.name_after(tokens, 2, example)
        if source.text == "raw":
            wave = self.raw_wave(tokens, name)
        else:
            envelope = self.find(source, "envelope").value
            rest = tokens[3:]
            if rest and rest[0].text == ",":
                rest = rest[1:]
            wave = self.wave_of(name, envelope, rest, tokens[0])
            for number, other in enumerate(self.out.waves):
                if (other.step, other.base, other.length, other.channels) == (
                        wave.step, wave.base, wave.length, wave.channels):
                    self.define(name, "wave", number)
                    return
        if len(self.out.waves) >= WAVES:
            raise SourceError(f"a slot has room for {WAVES} waves", name,
                              "share waves between pulses; equal ones are one")
        self.define(name, "wave", len(self.out.waves))
        self.out.waves.append(wave)

    def raw_wave(self, tokens, name):
        parts = _split(tokens[4:-1])
        if len(parts) != 3 or tokens[3].text != "(" or tokens[-1].text != ")":
            raise SourceError("raw() takes step, base and length", tokens[2],
                              ".wave w raw(0x40000, 0, 100)")
        values = [self.whole(self.only_value(part, tokens[2]), part[0]) for part in parts]
        widths = {field: f.width for field, f in Wave.as_shape()}
        for (field, value), part in zip(zip(("step", "base", "length"), values, strict=True),
                                        parts, strict=True):
            if not 0 <= value < 1 << widths[field]:
                raise SourceError(f"{field} must be between 0 and {(1 << widths[field]) - 1}, "
                                  f"not {value}", part[0])
        return WaveEntry(name.text, *values)

    def wave_of(self, name, envelope, tokens, head):
        length = None
        given = {}
        for part in _split(tokens):
            if len(part) == 3 and part[0].text == "length" and part[2].text == "forever":
                length = 0
            else:
                given |= self.keywords(part, head, {"length", "points"})
        if length is None:
            if "length" not in given:
                raise SourceError("a wave needs a length", name,
                                  "length=2us, or length=forever (until the next pulse)")
            length = self.ticks(*given["length"])
            if not 1 <= length < 1 << 24:
                raise SourceError(f"a length of {length} ticks", given["length"][1],
                                  "a wave lasts 1 to 16777215 ticks, or forever")
        points = self.whole(*given["points"]) if "points" in given else envelope.points
        if not 1 <= points <= envelope.points:
            raise SourceError(f"{envelope.name} has {envelope.points} points, not {points}",
                              given["points"][1])
        if length == 0 and points > 1:
            raise SourceError(f"a wave without an end needs a flat envelope, and "
                              f"{envelope.name} has {points} points", name,
                              ".envelope 0 level flat")
        step = wave_step(points, length) if length else 0
        if step >= 1 << 30:
            raise SourceError(f"{points} points in {length} ticks is too fast", name,
                              f"the least is {-(-(points - 1) // 64) + 1} ticks, or fewer points")
        if not step and points > 1:
            raise SourceError(f"{points} points in {length} ticks is too slow", name)
        return WaveEntry(name.text, step, envelope.base, length, envelope.channels)

    # Blocks.

    def block_macro(self, tokens, inner, line, at):
        name = self.name_after(tokens, 1, ".macro cool channel, length=2us")
        parameters = []
        for part in _split(tokens[2:]):
            if not part or part[0].kind != "name" or len(part) > 1 and part[1].text != "=" or (
                    len(part) == 2):
                raise SourceError("a macro's parameters are names, or name=default",
                                  part[0] if part else name)
            if part[0].text in _WORDS:
                raise SourceError(f"{part[0].text!r} is a word of the language", part[0],
                                  "take another name")
            parameters.append((part[0].text, part[2:] if len(part) > 2 else None))
        self.define(name, "macro", (name.text, parameters, inner))

    def expand(self, macro, tokens, line):
        name, parameters, inner = macro
        names = [n for n, _ in parameters]
        values = {}
        for part in _split(tokens[1:]):
            if not part:
                raise SourceError("an argument is missing between commas", tokens[0])
            if len(part) > 2 and part[0].kind == "name" and part[1].text == "=":
                if part[0].text not in names:
                    raise SourceError(f"{name} has no argument {part[0].text!r}", part[0],
                                      f"{name} takes {', '.join(names)}")
                key, part = part[0].text, part[2:]
            else:
                key = next((n for n in names if n not in values), None)
                if key is None:
                    raise SourceError(f"{name} takes {len(names)} arguments", part[0],
                                      f"{name} {', '.join(names)}")
            if key in values:
                raise SourceError(f"{key} is given twice", part[0])
            values[key] = part
        for key, default in parameters:
            if key not in values:
                if default is None:
                    raise SourceError(f"{name} needs {key}", tokens[0],
                                      f"{name} {', '.join(names)}")
                values[key] = default
        trace = (f"in {name}, used in {line.file}:{line.number}", *_plain(line).trace)
        with _Deeper(self, tokens[0]), _Inside(self):
            self.block([_substituted(each, values, trace) for each in inner])

    def block_repeat(self, tokens, inner, line, at):
        counter = None
        parts = _split(tokens[1:])
        if not parts or not parts[0] or len(parts) > 2:
            raise SourceError(".repeat needs a number", tokens[0], ".repeat 8, i")
        if len(parts) == 2:
            counter = parts[1][0]
        count = self.whole(self.only_value(parts[0], tokens[0]), parts[0][0])
        if count < 0:
            raise SourceError(f"a repetition of {count} times", parts[0][0])
        for index in range(count):
            self.statements += 1
            if self.statements > _STATEMENTS:
                raise SourceError(f"more than {_STATEMENTS} statements after expansion",
                                  parts[0][0], "use loop in place of .repeat")
            with _Inside(self):
                if counter is not None:
                    self.scope.names[counter.text] = _Symbol("constant", Value(Fraction(index)),
                                                             _plain(line))
                self.block(list(inner))

    def block_if(self, tokens, inner, line, at):
        branches, depth = [[tokens, []]], 0
        for each in inner:
            first = _first_word(each)
            if first in _BLOCKS:
                depth += 1
            elif first in _BLOCKS.values():
                depth -= 1
            if depth == 0 and first in (".elif", ".else"):
                inside = each.tokens if isinstance(each, _Tokens) else tokenize(each)
                branches.append([inside, []])
            else:
                branches[-1][1].append(each)
        for head, body in branches:
            if head[0].text == ".else" or self.only_value(head[1:], head[0]).number:
                self.block(body)
                return

    def block_table(self, tokens, inner, line, at):
        example = ".table outcomes, words=4"
        name = self.name_after(tokens, 1, example)
        rest = tokens[2:]
        if rest and rest[0].text == ",":
            rest = rest[1:]
        given = self.keywords(rest, tokens[0], {"words"})
        if "words" not in given:
            raise SourceError("a table needs the words of an entry", name, example)
        words = self.whole(*given["words"])
        if words not in [1 << n for n in range(8)]:
            raise SourceError(f"entries of {words} words", given["words"][1],
                              "1, 2, 4, 8, 16, 32, 64 or 128 words")
        cases = self.cases(inner, tokens[0])
        self.define_label(name, words)
        for entry in range(BRH_ENTRIES):
            start = len(self.items)
            with _Inside(self):
                self.scope.names["pattern"] = _Symbol("constant", Value(Fraction(entry)),
                                                      _plain(line))
                self.block(list(cases[entry]))
            size = len(self.items) - start
            what = "timeout" if entry == BRH_ENTRIES - 1 else f"pattern {entry:#06b}"
            if size > words:
                raise SourceError(f"the entry for {what} has {size} words, not {words}",
                                  given["words"][1], "make words= larger, or jump out of it")
            if not size or self.items[-1].op not in (Op.JMP, Op.RET, Op.HALT):
                raise SourceError(f"the entry for {what} runs into the next one",
                                  self.items[-1].token if size else name,
                                  "end it with jmp, ret or halt")
            for _ in range(words - size):
                self.emit(_Item(Op.HALT, {"code": _FILL}, {}, None, None,
                                dataclasses.replace(_plain(line), text="; fills the table"),
                                tokens[0], self.nest()))

    def cases(self, inner, head):
        """Entry -> lines."""
        found, current, default, depth = {}, None, None, 0
        for line in inner:
            first = _first_word(line)
            inside = line.tokens if isinstance(line, _Tokens) else tokenize(line)
            depth += (first in _BLOCKS) - (first in _BLOCKS.values())
            if depth == 0 and first == ".case":
                current = []
                for part in _split(inside[1:]):
                    if len(part) == 1 and part[0].text == "timeout":
                        entry = BRH_ENTRIES - 1
                    else:
                        entry = self.whole(self.only_value(part, inside[0]), inside[0])
                        if not 0 <= entry < BRH_ENTRIES - 1:
                            raise SourceError(f"there is no pattern {entry}", inside[0],
                                              "patterns are 0 to 15, and timeout")
                    if entry in found:
                        raise SourceError(f"the case {part[0].text} is there twice", part[0])
                    found[entry] = current
            elif depth == 0 and first == ".default":
                current = default = []
            elif current is not None:
                current.append(line)
            elif inside:
                raise SourceError("a table begins with .case or .default", inside[0])
        missing = [n for n in range(BRH_ENTRIES) if n not in found]
        if missing and default is None:
            raise SourceError("no case for " + ", ".join(
                "timeout" if n == BRH_ENTRIES - 1 else bin(n) for n in missing), head,
                "add them, or .default")
        return {n: found.get(n, default) for n in range(BRH_ENTRIES)}

    # The second pass.

    def close(self):
        for item in (item for _, _, item in self.loops if item is not None):
            self.report(item.line, SourceError("this loop has no end", item.token, "add end"))
        if not self.items and not self.diagnostics:
            self.report(Line(self.file, 0, ""),
                        SourceError("the program has no instruction", None, "the least is halt"))
        for name in sorted(set(self.defines) - self.used_defines):
            self.report(Line("<define>", 0, ""), SourceError(
                f"the program has no constant {name!r}", None,
                _close(name, [n for n, s in self.globals.names.items() if s.kind == "constant"])))
        if any(d.severity == "error" for d in self.diagnostics):
            # Addresses are not to be relied on; but names that are nowhere can be told.
            self.unknown_labels()
            return
        for pc, item in enumerate(self.items):
            try:
                self.out.words.append(self.word(pc, item))
                self.out.lines.append(item.line)
            except SourceError as error:
                self.report(item.line, error)
        self.finish_entries()
        self.out.ahead = self.ahead
        self.out.labels = {label.name: label.address for label in self.labels
                           if not label.name.startswith("_")}

    def unknown_labels(self):
        for item in self.items:
            target = item.operands.get("target")
            if isinstance(target, _Target):
                try:
                    self.resolve(target)
                except SourceError as error:
                    self.report(item.line, error)

    def finish_entries(self):
        if not self.entries:
            self.out.entries = {"main": 0}
        for name, address, target in self.entries:
            if target is not None:
                try:
                    label, address = self.resolve(target)
                    if label is not None and label.nest:
                        raise SourceError("an entry inside a loop's body", target.tokens[0])
                except SourceError as error:
                    self.report(name.line, error)
                    continue
            if address >= len(self.items):
                self.report(name.line, SourceError("there is no instruction after this entry",
                                                   name))
            self.out.entries[name.text] = address

    def resolve(self, target):
        """Label (or ``None``) and address of a target."""
        first = target.tokens[0]
        symbol = target.scope.find(first.text) if first.kind == "name" else None
        if first.kind == "name" and (symbol is None or symbol.kind not in ("label", "constant")):
            known = [label.name for label in self.labels]
            if symbol is not None:
                raise SourceError(f"{first.text!r} is a {symbol.kind}, not a label", first)
            raise SourceError(f"there is no label {first.text!r}", first,
                              _close(first.text, known) or f"write {first.text}: before its "
                              f"instruction")
        if symbol is not None and symbol.kind == "label":
            label, offset = symbol.value, 0
            if len(target.tokens) > 1:
                offset = self.whole(self.only_value(
                    [Token("number", "0", (Fraction(0), "int"), first.line, first.column),
                     *target.tokens[1:]], first), first)
            return (label if not offset else None), label.address + offset
        value = self.only_value(target.tokens, first)
        return None, self.whole(value, first)

    def word(self, pc, item):
        operands = dict(item.operands)
        target = operands.get("target")
        if isinstance(target, _Target):
            label, address = self.resolve(target)
            operands["target"] = address
            if not 0 <= address < PROGRAM_DEPTH:
                raise SourceError(f"the target {address} is outside the memory",
                                  target.tokens[0])
            if not self.raw and not item.pop_given:
                self.structure(item, operands, target.tokens[0], label, address)
            if item.op is Op.BRH and "size" not in item.tokens and label is not None:
                operands["size"] = max(label.entry_words, 1).bit_length() - 1
        if item.op is Op.RET and item.nest and not self.raw:
            raise SourceError("ret inside a loop leaves the loop in use", item.token,
                              "jump out of the loop first, to a ret behind it")
        filled = {o.name: operands.get(o.name, o.default) for o in OPERANDS[item.op]}
        low = least(item.op, filled)
        dwell = low if item.dwell is None else item.dwell
        if item.dwell is not None and not low:
            raise SourceError(f"{item.op.name.lower()} has no dwell: it lasts as long as it waits",
                              item.dwell_token, "remove it, and put a nop behind")
        if dwell < low:
            why = ""
            if item.op is Op.LOOP and filled["span"] < 5:
                why = " (its body is short)"
            raise SourceError(f"{item.token.text} lasts at least {low} ticks{why}, not {dwell}",
                              item.dwell_token, f"write for {low}, or leave it out")
        if item.op is not Op.NOP and dwell >= 1 << 14:
            raise SourceError(f"a dwell of {dwell} ticks does not fit; the most is 16383",
                              item.dwell_token,
                              f"leave it out, and write nop for {dwell - max(low, 1)} behind")
        try:
            return encode(Instruction(item.op, operands, dwell))
        except WordError as error:
            raise SourceError(str(error), item.tokens.get(error.operand, item.token)) from None

    def structure(self, item, operands, token, label, address):
        """Check where a jump goes, and how many loops it leaves."""
        if label is not None and label.dangling:
            raise SourceError(f"{label.name!r} stands behind the last word of a loop's body",
                              token, "put a nop between the label and end: that is where the "
                                     "next turn begins")
        if label is None and address >= len(self.items):
            raise SourceError(f"there is no word {address}", token)
        nest = label.nest if label is not None else self.items[address].nest
        if item.nest[:len(nest)] != nest:
            raise SourceError("this goes into a loop's body from outside", token,
                              "go to its loop instruction")
        pop = len(item.nest) - len(nest)
        if item.op in (Op.JMP, Op.BR):
            operands["pop"] = pop
        elif item.op is Op.CALL:
            if nest:
                raise SourceError("a subroutine inside a loop's body", token, "put it outside")
        elif pop:
            raise SourceError(f"{item.op.name.lower()} cannot leave a loop: the loop would stay "
                              f"in use", token, "go to a label inside the body, and jmp out from "
                                                "there")


class _TooMany(Exception):
    """There is no use in looking further."""


class _Tokens(Line):
    """A line of a macro's body, with arguments put in."""

    def __init__(self, line, tokens, trace):
        super().__init__(line.file, line.number, line.text, trace)
        object.__setattr__(self, "tokens", tokens)


class _Deeper:
    def __init__(self, assembler, token):
        self.assembler, self.token = assembler, token

    def __enter__(self):
        if self.assembler.depth >= _DEPTH:
            raise SourceError(f"more than {_DEPTH} macros or files inside each other",
                              self.token, "a macro that uses itself never ends")
        self.assembler.depth += 1

    def __exit__(self, *_):
        self.assembler.depth -= 1


class _Inside:
    def __init__(self, assembler):
        self.assembler = assembler

    def __enter__(self):
        self.assembler.scope = _Scope(self.assembler.scope)

    def __exit__(self, *_):
        self.assembler.scope = self.assembler.scope.parent


def _plain(line):
    return Line(line.file, line.number, line.text, line.trace)


def _substituted(line, values, trace):
    """A macro's line with its arguments in place of their names."""
    try:
        tokens = line.tokens if isinstance(line, _Tokens) else tokenize(line)
    except SourceError:
        return Line(line.file, line.number, line.text, trace)
    out, begins = [], True
    for index, token in enumerate(tokens):
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        # What a statement begins with is an instruction, whatever the argument is called.
        head, begins = begins, token.text == ":" and begins or after == ":"
        if head and after != ":" and token.text != ":":
            out.append(token)
            continue
        if token.kind != "name" or token.text not in values or after == "=":
            out.append(token)
            continue
        argument = values[token.text]
        if len(argument) == 1 or any(t.text in (":", "..") for t in argument):
            out += argument
        else:
            text = " ".join(t.text for t in argument)
            out.append(Token("group", text, list(argument), argument[0].line, argument[0].column))
    return _Tokens(line, out, trace)


def _first_word(line):
    """The word that a line begins with, without labels."""
    if isinstance(line, _Tokens):
        tokens = line.tokens
    else:
        try:
            tokens = tokenize(line)
        except SourceError:
            return ""
    while len(tokens) >= 2 and tokens[1].text == ":" and tokens[0].kind == "name":
        tokens = tokens[2:]
    return tokens[0].text if tokens else ""


def _split(tokens):
    """Parts between commas that are in no parentheses."""
    if not tokens:
        return []
    parts, depth = [[]], 0
    for token in tokens:
        if token.kind == "mark" and token.text in "()":
            depth += 1 if token.text == "(" else -1
        if token.kind == "mark" and token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _without_dwell(tokens):
    for index, token in enumerate(tokens):
        if token.text in ("for", "@"):
            return tokens[:index]
    return tokens


def _is_register(text):
    return text[:1] == "r" and text[1:].isdecimal() and int(text[1:]) < REGISTERS and (
        text[1:] == str(int(text[1:])))


def form_of(mnemonic, op, fixed):
    """How an instruction is written, for help and messages."""
    out = []
    for operand in OPERANDS[op]:
        if operand.name in fixed or operand.name == "span" or (
                operand.name == "shift" and fixed.get("function") is not AluFunction.MUL):
            continue
        if operand.kind == "flag":
            out.append(f"[{operand.name}]")
        elif operand.default is not None:
            out.append(f"[{operand.name}=...]")
        else:
            out.append(operand.name)
    dwell = "" if least(op, {"span": 9, **fixed}) == 0 else " [for dwell]"
    return f"{mnemonic} {', '.join(out)}".strip() + dwell


_BLOCKS = {".macro": ".endm", ".repeat": ".endr", ".if": ".endif", ".table": ".endt"}
_INNER = (".else", ".elif", ".case", ".default")
#: Names that would be taken for something else.
_WORDS = ("for", "in", "and", "or", "not", "else", "forever", "timeout",
          *sorted({o.name for found in OPERANDS.values() for o in found if o.kind == "flag"}))
#: Directives of one line, and the method that does them.
DIRECTIVES = {f".{name}": f"dir_{name}" for name in (
    "const", "channel", "line", "reg", "assume", "param", "entry", "name", "tick", "settle",
    "decoder", "raw", "error", "include", "envelope", "points", "wave")}
