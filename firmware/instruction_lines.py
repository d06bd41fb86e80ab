"""Statements that become words: mnemonics, operands, dwells, loops."""

from fractions import Fraction

from quantacore.firmware.assembly import Interval
from quantacore.firmware.diagnostics import SourceError
from quantacore.firmware.expressions import UnitError, Value, quantity_text
from quantacore.firmware.lexer import Token
from quantacore.firmware.statements import (
    MNEMONICS,
    Item,
    Target,
    form_of,
    is_register,
    plain,
    split,
    without_dwell,
)
from quantacore.firmware.words import FOREVER, OPERANDS, Pair, R, ends_no_loop
from quantacore.gateware.layouts.instructions import (
    LOOP_LEVELS,
    PROGRAM_DEPTH,
    REGISTERS,
    Op,
    Source,
    TriggerMode,
)
from quantacore.gateware.layouts.sequencer import TTL_LINES

__all__ = ["InstructionLines"]


class InstructionLines:
    """The part of the assembler that reads instructions."""

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
        item = Item(op, operands, places, dwell, dwell_token, plain(line), tokens[0],
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
        parts = split(tokens[1:])
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
            return Target(part, self.scope)
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
            if is_register(token.text):
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
        parts = split(without_dwell(tokens)[1:])
        if len(parts) != 2:
            raise SourceError("mov takes two registers", tokens[0], "write mov rd, ra")
        zero = Token("number", "0", (Fraction(0), "int"), tokens[0].line, tokens[0].column)
        comma = Token("mark", ",", None, tokens[0].line, tokens[0].column)
        at = len(without_dwell(tokens))
        self.instruction([*tokens[:at], comma, zero, *tokens[at:]], line, *MNEMONICS["add"])

    def pseudo_high(self, tokens, line):
        self.lines_to(tokens, line, True)

    def pseudo_low(self, tokens, line):
        self.lines_to(tokens, line, False)

    def lines_to(self, tokens, line, level):
        rest, dwell, dwell_token = self.take_dwell(tokens)
        mask = 0
        for part in split(rest[1:]):
            if not part:
                raise SourceError("a line is missing between commas", tokens[0])
            number = self.whole(self.parser(part).expression(), part[0])
            if not 0 <= number < TTL_LINES:
                raise SourceError(f"there is no line {number}", part[0],
                                  f"lines are 0 to {TTL_LINES - 1}")
            mask |= 1 << number
        if not mask:
            raise SourceError(f"{tokens[0].text} needs a line", tokens[0], "write high 3")
        self.emit(Item(Op.SET, {"mask": mask, "value": mask if level else 0}, {}, dwell,
                        dwell_token, plain(line), tokens[0], self.nest()))

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
        if ends_no_loop(last.op, last.operands):
            raise SourceError(f"{last.op.name.lower()} cannot be the last word of a loop's body: "
                              f"it goes elsewhere, and the loop never sees its end", last.token,
                              "brh ..., next goes on with the loop after its timeout"
                              if last.op is Op.BRH else
                              "put a nop between it and end, or turn the condition around")
