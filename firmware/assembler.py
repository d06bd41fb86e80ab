"""The assembler: text of the ``.qcs`` language to an :class:`Assembly`.

The language is described in ``docs/firmware.md``. One statement stands on a line. The first pass
expands macros, repetitions and conditions, evaluates all that stands in a statement and counts
words; the second one knows all labels, resolves jumps, and encodes. Errors are collected, up to
:data:`MAX_ERRORS` of them.
"""

import dataclasses
import hashlib
from fractions import Fraction
from pathlib import Path

from quantacore.firmware.assembly import Assembly
from quantacore.firmware.blocks import Blocks
from quantacore.firmware.declarations import Declarations
from quantacore.firmware.diagnostics import AssemblyError, Diagnostic, Line, SourceError
from quantacore.firmware.expressions import Parser, Units, Value
from quantacore.firmware.instruction_lines import InstructionLines
from quantacore.firmware.lexer import Token, tokenize
from quantacore.firmware.statements import (
    BLOCKS,
    BUILT_IN,
    DIRECTIVES,
    INNER,
    LIBRARY,
    MNEMONICS,
    PSEUDO,
    RESERVED,
    STATEMENTS,
    ExpandedLine,
    Label,
    Scope,
    Symbol,
    Target,
    TooMany,
    close_match,
    first_word,
    is_register,
    plain,
)
from quantacore.firmware.words import OPERANDS, Instruction, WordError, encode, least
from quantacore.gateware.layouts.instructions import BRH_ENTRIES, PROGRAM_DEPTH, Op
from quantacore.gateware.layouts.sequencer import CHANNELS

__all__ = ["assemble", "assemble_file", "MNEMONICS", "DIRECTIVES", "LIBRARY", "MAX_ERRORS"]

#: After so many errors the rest is not looked at.
MAX_ERRORS = 20


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


class _Assembler(InstructionLines, Declarations, Blocks):
    def __init__(self, file, folder, defines, name):
        self.file, self.folder = file, Path(folder) if folder else None
        self.defines = {key: str(value) for key, value in defines.items()}
        self.used_defines = set()
        self.out = Assembly(name=name or Path(file).stem.strip("<>") or "program", entries={})
        self.units = Units(self.out.tick_s)
        self.diagnostics, self.items, self.loops = [], [], []
        self.globals = Scope()
        for name, value in BUILT_IN.items():
            self.globals.names[name] = Symbol("constant", Value(Fraction(value)),
                                              Line("<language>", 0, ""))
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
        except TooMany:
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
            raise TooMany

    # The first pass.

    def block(self, lines):
        """Process lines; an error in one leaves the others."""
        at = 0
        while at < len(lines):
            line = lines[at]
            at += 1
            self.statements += 1
            try:
                if self.statements > STATEMENTS:
                    raise SourceError(f"more than {STATEMENTS} statements after expansion",
                                      None, "use loop in place of .repeat")
                tokens = line.tokens if isinstance(line, ExpandedLine) else tokenize(line)
                tokens = self.take_labels(tokens, line)
                if not tokens:
                    continue
                head = tokens[0]
                if head.text in BLOCKS:
                    end = self.block_end(lines, at, head)
                    inner, last = lines[at:end], at
                    at = end + 1
                    getattr(self, f"block_{head.text[1:]}")(tokens, inner, line, last)
                else:
                    self.statement(tokens, line)
            except SourceError as error:
                self.report(plain(line), error)
                if len(self.items) > PROGRAM_DEPTH or self.statements > STATEMENTS:
                    raise TooMany from None

    def block_end(self, lines, at, head):
        """Index of the line that ends the block begun before ``at``."""
        end, depth = BLOCKS[head.text], 0
        for index in range(at, len(lines)):
            first = first_word(lines[index])
            if first in BLOCKS:
                depth += 1
            elif first in BLOCKS.values():
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

    def define_label(self, token, entry_words=0, entries=0):
        label = Label(token.text, len(self.items), self.nest(), entry_words=entry_words,
                      entries=entries)
        self.define(token, "label", label)
        self.labels.append(label)

    def nest(self):
        return tuple(number for number, *_ in self.loops)

    def define(self, token, kind, value):
        name = token.text
        if is_register(name) or name in RESERVED or kind == "macro" and (
                name in MNEMONICS or name in PSEUDO):
            raise SourceError(f"{name!r} is a word of the language", token, "take another name")
        scope = self.scope if name.startswith("_") else self.globals
        old = scope.names.get(name)
        if old is not None:
            where = f" in {old.line}" if old.line.number else ""
            raise SourceError(f"{name!r} is a {old.kind} already{where}", token,
                              "take another name; names that begin with _ are local to a macro "
                              "or repetition")
        scope.names[name] = Symbol(kind, value, token.line)

    def find(self, token, *kinds):
        symbol = self.scope.find(token.text)
        if symbol is None:
            names, scope = set(), self.scope
            while scope is not None:
                names |= {n for n, s in scope.names.items() if not kinds or s.kind in kinds}
                scope = scope.parent
            what = kinds[0] if kinds else "name"
            raise SourceError(f"there is no {what} {token.text!r}", token,
                              close_match(token.text, names)
                              or f"declare the {what} before it is used")
        if kinds and symbol.kind not in kinds:
            raise SourceError(f"{token.text!r} is a {symbol.kind}, not a {kinds[0]}", token)
        return symbol

    def lookup(self, token):
        """The value of a name in an expression."""
        if is_register(token.text):
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
                if head.text in BLOCKS.values() or head.text in INNER:
                    raise SourceError(f"{head.text} without what it belongs to", head)
                raise SourceError(f"there is no directive {head.text}", head,
                                  close_match(head.text, [*DIRECTIVES, *BLOCKS])
                                  or "directives are " + " ".join([*DIRECTIVES, *BLOCKS]))
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
                    close_match(name, [*MNEMONICS, *PSEUDO, *macros])
                    or "instructions are " + " ".join([*MNEMONICS, *PSEUDO]))
            self.expand(symbol.value, tokens, line)

    # The second pass.

    def close(self):
        for item in (item for _, _, item in self.loops if item is not None):
            self.report(item.line, SourceError("this loop has no end", item.token, "add end"))
        if not self.items and not self.diagnostics:
            self.report(Line(self.file, 0, ""),
                        SourceError("the program has no instruction", None, "the least is halt"))
        for name in sorted(set(self.defines) - self.used_defines):
            constants = [n for n, s in self.globals.names.items() if s.kind == "constant"]
            self.report(Line("<define>", 0, ""), SourceError(
                f"the program has no constant {name!r}", None, close_match(name, constants)))
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
            if isinstance(target, Target):
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
                              close_match(first.text, known) or f"write {first.text}: before its "
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
        if isinstance(target, Target):
            label, address = self.resolve(target)
            operands["target"] = address
            if not 0 <= address < PROGRAM_DEPTH:
                raise SourceError(f"the target {address} is outside the memory",
                                  target.tokens[0])
            if not self.raw and not item.pop_given:
                self.structure(item, operands, target.tokens[0], label, address)
            if item.op is Op.BRH and "size" not in item.tokens and label is not None:
                operands["size"] = max(label.entry_words, 1).bit_length() - 1
            if item.op is Op.BRH and label is not None and not operands.get("next") and (
                    label.entries == BRH_ENTRIES - 1):
                raise SourceError(f"{label.name!r} has no entry for the timeout",
                                  target.tokens[0], "go on with the next word (brh ..., next), or "
                                  "leave entries= out of the table")
        if item.op is Op.SYN and operands.get("erasures") and self.out.decoder is not None and (
                self.out.decoder.sites == 0):
            raise SourceError("this decoder has no erasure sites", item.tokens["erasures"],
                              "leave erasures out, or declare .decoder ..., sites=8")
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
        if item.op in (Op.JMP, Op.BR, Op.BRH):
            operands["pop"] = pop
        elif item.op is Op.CALL:
            if nest:
                raise SourceError("a subroutine inside a loop's body", token, "put it outside")
        elif pop:
            raise SourceError(f"{item.op.name.lower()} cannot leave a loop: the loop would stay "
                              f"in use", token, "go to a label inside the body, and jmp out from "
                                                "there")
