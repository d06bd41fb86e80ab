"""Directives of one line: constants, registers, parameters, entries, waves, envelopes."""

import dataclasses
from fractions import Fraction

from quantacore.firmware.assembly import (
    DecoderRate,
    EnvelopeEntry,
    Interval,
    Parameter,
    WaveEntry,
    wave_step,
)
from quantacore.firmware.diagnostics import Line, SourceError
from quantacore.firmware.envelopes import SHAPES, quantise, shape_points
from quantacore.firmware.expressions import UnitError, Units, Value, quantity_text
from quantacore.firmware.lexer import tokenize
from quantacore.firmware.statements import LIBRARY, Deeper, Target, plain, split
from quantacore.gateware.layouts.sequencer import CHANNELS, ENVELOPE_POINTS, TTL_LINES, WAVES, Wave

__all__ = ["Declarations"]


class Declarations:
    """The part of the assembler that reads declarations."""

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
                             Target([tokens[2]], self.scope) if len(tokens) > 2 else None))

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
        given = self.keywords(tokens[1:], tokens[0], {"every", "depth", "sites"})
        if "every" not in given:
            raise SourceError(".decoder needs the time that a round takes", tokens[0],
                              ".decoder every=1us, depth=8")
        every = self.ticks(*given["every"])
        depth = self.whole(*given["depth"]) if "depth" in given else 1
        if every < 1 or depth < 1:
            raise SourceError("every and depth are at least 1", tokens[0])
        sites = self.whole(*given["sites"]) if "sites" in given else None
        if sites is not None and sites < 0:
            raise SourceError(f"{sites} erasure sites", given["sites"][1])
        self.out.decoder = DecoderRate(every, depth, sites)

    def keywords(self, tokens, head, names):
        given = {}
        for part in split(tokens):
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
        inside = (f"included in {line.file}:{line.number}", *plain(line).trace)
        folder, self.folder = self.folder, path.parent
        try:
            with Deeper(self, tokens[1]):
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
        parts = split(arguments)
        if shape.text == "points":
            return [self.point(part) for part in parts]
        if shape.text == "file":
            if len(parts) != 1 or parts[0][0].kind != "string":
                raise SourceError("file() needs the name of a text file", shape,
                                  'file("bell.txt"), a fraction of full scale on each line')
            return self.points_of_file(parts[0][0])
        given = {}
        names = SHAPES[shape.text][1] if shape.text in SHAPES else ()
        for index, part in enumerate(parts):
            if len(part) > 2 and part[1].text == "=":
                key, part = part[0].text, part[2:]
            else:
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
        points = [self.point(part) for part in split(tokens[1:])]
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
        parts = split(tokens[4:-1])
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
        for part in split(tokens):
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
