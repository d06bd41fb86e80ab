"""Directives that enclose lines: macros, repetitions, conditions, tables."""

import dataclasses
from fractions import Fraction

from quantacore.firmware.diagnostics import SourceError
from quantacore.firmware.expressions import Value
from quantacore.firmware.lexer import tokenize
from quantacore.firmware.statements import (
    BLOCKS,
    FILL,
    RESERVED,
    STATEMENTS,
    Deeper,
    ExpandedLine,
    Inside,
    Item,
    Symbol,
    first_word,
    plain,
    split,
    substituted,
)
from quantacore.gateware.layouts.instructions import BRH_ENTRIES, Op

__all__ = ["Blocks"]


class Blocks:
    """The part of the assembler that expands lines."""

    def block_macro(self, tokens, inner, line, at):
        name = self.name_after(tokens, 1, ".macro cool channel, length=2us")
        parameters = []
        for part in split(tokens[2:]):
            if not part or part[0].kind != "name" or len(part) > 1 and part[1].text != "=" or (
                    len(part) == 2):
                raise SourceError("a macro's parameters are names, or name=default",
                                  part[0] if part else name)
            if part[0].text in RESERVED:
                raise SourceError(f"{part[0].text!r} is a word of the language", part[0],
                                  "take another name")
            parameters.append((part[0].text, part[2:] if len(part) > 2 else None))
        self.define(name, "macro", (name.text, parameters, inner))

    def expand(self, macro, tokens, line):
        name, parameters, inner = macro
        names = [n for n, _ in parameters]
        values = {}
        for part in split(tokens[1:]):
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
        trace = (f"in {name}, used in {line.file}:{line.number}", *plain(line).trace)
        with Deeper(self, tokens[0]), Inside(self):
            self.block([substituted(each, values, trace) for each in inner])

    def block_repeat(self, tokens, inner, line, at):
        counter = None
        parts = split(tokens[1:])
        if not parts or not parts[0] or len(parts) > 2:
            raise SourceError(".repeat needs a number", tokens[0], ".repeat 8, i")
        if len(parts) == 2:
            counter = parts[1][0]
        count = self.whole(self.only_value(parts[0], tokens[0]), parts[0][0])
        if count < 0:
            raise SourceError(f"a repetition of {count} times", parts[0][0])
        for index in range(count):
            self.statements += 1
            if self.statements > STATEMENTS:
                raise SourceError(f"more than {STATEMENTS} statements after expansion",
                                  parts[0][0], "use loop in place of .repeat")
            with Inside(self):
                if counter is not None:
                    self.scope.names[counter.text] = Symbol("constant", Value(Fraction(index)),
                                                             plain(line))
                self.block(list(inner))

    def block_if(self, tokens, inner, line, at):
        branches, depth = [[tokens, []]], 0
        for each in inner:
            first = first_word(each)
            if first in BLOCKS:
                depth += 1
            elif first in BLOCKS.values():
                depth -= 1
            if depth == 0 and first in (".elif", ".else"):
                inside = each.tokens if isinstance(each, ExpandedLine) else tokenize(each)
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
        given = self.keywords(rest, tokens[0], {"words", "entries"})
        if "words" not in given:
            raise SourceError("a table needs the words of an entry", name, example)
        words = self.whole(*given["words"])
        if words not in [1 << n for n in range(8)]:
            raise SourceError(f"entries of {words} words", given["words"][1],
                              "1, 2, 4, 8, 16, 32, 64 or 128 words")
        entries = self.whole(*given["entries"]) if "entries" in given else BRH_ENTRIES
        if entries not in (BRH_ENTRIES, BRH_ENTRIES - 1):
            raise SourceError(f"a table of {entries} entries", given["entries"][1],
                              f"{BRH_ENTRIES}, or {BRH_ENTRIES - 1} without one for the timeout")
        cases = self.cases(inner, tokens[0], entries)
        self.define_label(name, words, entries)
        for entry in range(entries):
            start = len(self.items)
            with Inside(self):
                self.scope.names["pattern"] = Symbol("constant", Value(Fraction(entry)),
                                                      plain(line))
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
                self.emit(Item(Op.HALT, {"code": FILL}, {}, None, None,
                                dataclasses.replace(plain(line), text="; fills the table"),
                                tokens[0], self.nest()))

    def cases(self, inner, head, entries):
        """Entry -> lines."""
        found, current, default, depth = {}, None, None, 0
        for line in inner:
            first = first_word(line)
            inside = line.tokens if isinstance(line, ExpandedLine) else tokenize(line)
            depth += (first in BLOCKS) - (first in BLOCKS.values())
            if depth == 0 and first == ".case":
                current = []
                for part in split(inside[1:]):
                    if len(part) == 1 and part[0].text == "timeout":
                        entry = BRH_ENTRIES - 1
                        if entry >= entries:
                            raise SourceError("this table has no entry for the timeout", part[0],
                                              "remove the case, or leave entries= out")
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
        missing = [n for n in range(entries) if n not in found]
        if missing and default is None:
            raise SourceError("no case for " + ", ".join(
                "timeout" if n == BRH_ENTRIES - 1 else bin(n) for n in missing), head,
                "add them, or .default")
        return {n: found.get(n, default) for n in range(entries)}
