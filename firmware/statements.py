"""What the parts of the assembler share: mnemonics, symbols, statements, pieces of lines."""

import dataclasses
import difflib
from pathlib import Path

from quantacore.firmware.diagnostics import Line, SourceError
from quantacore.firmware.lexer import Token, tokenize
from quantacore.firmware.words import OPERANDS, least
from quantacore.gateware.layouts import instructions
from quantacore.gateware.layouts.herald import ARM_TICKS, VERDICT_LATENCY
from quantacore.gateware.layouts.instructions import REGISTERS, AluFunction, Condition, Op

__all__ = [
    "BLOCKS", "BUILT_IN", "close_match", "Deeper", "DEPTH", "DIRECTIVES", "ExpandedLine", "FILL",
    "first_word", "form_of", "INNER", "Inside", "is_register", "Item", "Label", "LIBRARY",
    "MNEMONICS", "plain", "PSEUDO", "RESERVED", "Scope", "split",
    "STATEMENTS", "substituted", "Symbol", "Target", "TooMany", "without_dwell",
]

#: Where shipped programs and macros are; ``.include`` looks there, too.
LIBRARY = Path(__file__).parent / "programs"
#: Macros inside macros, and files inside files.
DEPTH = 32
#: Statements after expansion; more is a mistake.
STATEMENTS = 200_000
#: What fills the rest of a table's entry: nothing ever goes there.
FILL = 0xffff

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
#: Constants of the language: what instructions cost, and what the herald unit takes, in ticks.
BUILT_IN = {name: getattr(instructions, name) for name in (
    "BRANCH_TICKS", "DATA_TICKS", "MUL_TICKS", "LDT_TICKS", "DELAY_TICKS", "UNTIL_TICKS",
    "FREQ_TICKS", "TRIGGER_TICKS", "TIMEOUT_TICKS", "VERDICT_TICKS")} | {
    "ARM_TICKS": ARM_TICKS, "VERDICT_LATENCY": VERDICT_LATENCY}
#: Mnemonics that stand for others.
PSEUDO = ("end", "high", "low", "mov")


class Scope:
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
class Symbol:
    """What a name means, and where it was declared."""

    kind: str
    value: object
    line: Line


@dataclasses.dataclass
class Label:
    """A place in the program: its word, and the loops around it."""

    name: str
    address: int
    nest: tuple
    #: It stands behind the last word of a loop's body.
    dangling: bool = False
    #: Words in an entry, and entries, of a table.
    entry_words: int = 0
    entries: int = 0


@dataclasses.dataclass
class Target:
    """Where a jump goes, as it was written; labels may come later."""

    tokens: list
    scope: Scope


@dataclasses.dataclass
class Item:
    """An instruction of the first pass."""

    op: Op
    operands: dict
    tokens: dict
    dwell: int | None
    dwell_token: Token | None
    line: Line
    token: Token
    nest: tuple
    pop_given: bool = False


def close_match(name, known):
    """What was probably meant, as the fix of a message; "" if nothing is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


class TooMany(Exception):
    """There is no use in looking further."""


class ExpandedLine(Line):
    """A line of a macro's body, with arguments put in."""

    def __init__(self, line, tokens, trace):
        super().__init__(line.file, line.number, line.text, trace)
        object.__setattr__(self, "tokens", tokens)


class Deeper:
    """Inside it the assembler is a macro, or a file, deeper."""

    def __init__(self, assembler, token):
        self.assembler, self.token = assembler, token

    def __enter__(self):
        if self.assembler.depth >= DEPTH:
            raise SourceError(f"more than {DEPTH} macros or files inside each other",
                              self.token, "a macro that uses itself never ends")
        self.assembler.depth += 1

    def __exit__(self, *_):
        self.assembler.depth -= 1


class Inside:
    """Inside it names that begin with an underscore are new ones."""

    def __init__(self, assembler):
        self.assembler = assembler

    def __enter__(self):
        self.assembler.scope = Scope(self.assembler.scope)

    def __exit__(self, *_):
        self.assembler.scope = self.assembler.scope.parent


def plain(line):
    """A line without the tokens of an expansion."""
    return Line(line.file, line.number, line.text, line.trace)


def substituted(line, values, trace):
    """A macro's line with its arguments in place of their names."""
    try:
        tokens = line.tokens if isinstance(line, ExpandedLine) else tokenize(line)
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
    return ExpandedLine(line, out, trace)


def first_word(line):
    """The word that a line begins with, without labels."""
    if isinstance(line, ExpandedLine):
        tokens = line.tokens
    else:
        try:
            tokens = tokenize(line)
        except SourceError:
            return ""
    while len(tokens) >= 2 and tokens[1].text == ":" and tokens[0].kind == "name":
        tokens = tokens[2:]
    return tokens[0].text if tokens else ""


def split(tokens):
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


def without_dwell(tokens):
    """Tokens before ``for`` or ``@``."""
    for index, token in enumerate(tokens):
        if token.text in ("for", "@"):
            return tokens[:index]
    return tokens


def is_register(text):
    """Whether a name is that of a register."""
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


BLOCKS = {".macro": ".endm", ".repeat": ".endr", ".if": ".endif", ".table": ".endt"}
INNER = (".else", ".elif", ".case", ".default")
#: Names that would be taken for something else.
RESERVED = ("for", "in", "and", "or", "not", "else", "forever", "timeout",
          *sorted({o.name for found in OPERANDS.values() for o in found if o.kind == "flag"}))
#: Directives of one line, and the method that does them.
DIRECTIVES = {f".{name}": f"dir_{name}" for name in (
    "const", "channel", "line", "reg", "assume", "param", "entry", "name", "tick", "settle",
    "decoder", "raw", "error", "include", "envelope", "points", "wave")}
