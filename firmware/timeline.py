"""One concrete walk through a program, for the pulse sheet.

Loops are walked once (or as often as asked), waits end after a short while, branches are not taken,
unless the caller chooses otherwise. What would repeat is told by how often.
"""

import dataclasses

from quantacore.firmware.words import R, decode
from quantacore.gateware.layouts.instructions import (
    BRH_ENTRIES,
    TIMEOUT_TICKS,
    TRIGGER_TICKS,
    VERDICT_TICKS,
    AluFunction,
    Op,
)

__all__ = ["Timeline", "Shown", "walk", "wave_shape"]

#: A wait that has no other choice ends after so many ticks.
WAIT_TICKS = 25
#: Instructions of a walk.
_STEPS = 20_000
#: Visits of one word by jumps backwards.
_VISITS = 2


@dataclasses.dataclass
class Shown:
    """Something on the sheet.

    Attributes
    ----------
    kind : str
        "pulse", "set", "route", "wait", "mark", "note", "loop", "halt".
    begin, end : int
        Ticks.
    lane : int
        Channel or line, where it has one.
    text : str
        What it is.
    pc : int
    value : object
        Amplitude, level, route, code, timeout, count; by kind.
    wave : int
        Of a pulse.
    depth : int
        Of a loop.
    """

    kind: str
    begin: int
    end: int
    lane: int
    text: str
    pc: int
    value: object = None
    wave: int = -1
    depth: int = 0


@dataclasses.dataclass
class Timeline:
    """What a walk met, in the order of time, and how it ended."""

    shown: list
    ticks: int
    reason: str


def wave_shape(assembly, channel, number, count):
    """``count`` values of a wave's envelope, -1 to 1, as the channel interpolates them.

    Returns
    -------
    list of (float, float)
        Part of the length, value.
    """
    wave = assembly.waves[number]
    points = assembly.envelopes.get(channel, ())
    if not points:
        return [(0.0, 0.0), (1.0, 0.0)]
    if wave.step == 0 or wave.length == 0:
        value = points[wave.base % len(points)] / 32767
        return [(0.0, value), (1.0, value)]
    out = []
    for index in range(count):
        at = wave.base + index / (count - 1) * wave.length * wave.step / 2**24
        low = int(at)
        a, b = (points[min(i, len(points) - 1)] for i in (low, low + 1))
        out.append((index / (count - 1), (a + (b - a) * (at - low)) / 32767))
    return out


def walk(assembly, *, entry=None, choices=None, unfold=1):
    """Walk through a program.

    Parameters
    ----------
    assembly : Assembly
    entry : str, optional
        The first one if not given.
    choices : dict, optional
        Label or word -> what happens there: "taken" for a branch, a pattern for ``BRH``, ticks
        that a wait takes, or "timeout".
    unfold : int
        Turns of each loop that are shown.

    Returns
    -------
    Timeline
    """
    return _Walk(assembly, entry, choices or {}, unfold).run()


def _signed(value, bits=32):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class _Walk:
    def __init__(self, assembly, entry, choices, unfold):
        self.a = assembly
        if entry is not None and entry not in assembly.entries:
            raise ValueError(f"There is no entry {entry!r}; there are "
                             f"{', '.join(assembly.entries)}")
        self.pc = assembly.entries[entry] if entry else next(iter(assembly.entries.values()))
        self.choices, self.unfold = {}, unfold
        for key, value in choices.items():
            pc = key if isinstance(key, int) else assembly.labels.get(key)
            if pc is None or not 0 <= pc < len(assembly.words):
                raise ValueError(f"There is no label or word {key!r} to choose at")
            self.choices[pc] = value
        self.regs = [0] * 16
        for register, interval in assembly.assumptions.items():
            self.regs[register] = interval.low
        for parameter in assembly.parameters.values():
            self.regs[parameter.register] = parameter.default
        self.t = 0
        self.out, self.loops, self.calls, self.visits = [], [], [], {}
        self.running = {}

    def run(self):
        reason = "more than is shown"
        for _ in range(_STEPS):
            if self.pc >= len(self.a.words):
                reason = "runs off the end"
                break
            instruction = decode(self.a.words[self.pc])
            if instruction.op is Op.HALT:
                code = instruction["code"]
                reason = f"halt {code}" if code else "halt"
                self.show("halt", self.t, self.t, 0, reason)
                break
            if not self.one(instruction):
                reason = "repeats"
                break
        for level in self.loops:
            self.close(level)
        for shown in self.running.values():
            if shown.end < shown.begin:
                shown.end = max(self.t, shown.begin + 1)
        return Timeline(sorted(self.out, key=lambda s: (s.begin, s.pc)), self.t, reason)

    def show(self, kind, begin, end, lane, text, value=None, **more):
        shown = Shown(kind, begin, end, lane, text, self.pc, value, **more)
        self.out.append(shown)
        return shown

    def value(self, operand):
        return _signed(self.regs[operand]) if isinstance(operand, R) else operand

    def close(self, level):
        level[3].end = self.t

    def goto(self, target):
        """Jump; ``False`` if this would go round again and again."""
        if target <= self.pc:
            self.visits[target] = self.visits.get(target, 0) + 1
            if self.visits[target] > _VISITS:
                return False
        self.pc = target
        return True

    def leave(self, levels):
        for _ in range(levels):
            if self.loops:
                self.close(self.loops.pop())

    def one(self, i):
        op, g, wait = i.op, i.operands, i.dwell
        choice = self.choices.get(self.pc)
        name = self.a.channels.get(g.get("channel"), f"channel {g.get('channel')}")
        if op is Op.PULSE:
            self.pulse(g, name)
        elif op is Op.SET:
            for line in range(16):
                if g["mask"] >> line & 1:
                    self.show("set", self.t, self.t, line,
                              self.a.ttl_lines.get(line, f"line {line}"), g["value"] >> line & 1)
        elif op in (Op.FREQ, Op.PHASE, Op.OFFSET):
            self.show("note", self.t, self.t, g["channel"], f"{op.name.lower()} of {name}")
        elif op is Op.SWITCH:
            route = self.value(g["route"]) & 255
            self.show("route", self.t, self.t, 0, f"route {route}", route)
        elif op is Op.TAG:
            code = self.value(g["code"]) & 0xffff
            self.show("mark", self.t, self.t, 0, f"mark {code}", code)
        elif op is Op.ARM:
            self.show("mark", self.t, self.t, 0, f"arm windows {g['windows']}", "arm")
        elif op is Op.SYN and g["push"]:
            self.show("mark", self.t, self.t, 0, "round to the decoder", "syn")
        elif op is Op.DELAY:
            extra = self.regs[g["ra"]] & 0xffffffff
            self.show("note", self.t, self.t + wait + extra, -1,
                      f"delay by {g['ra']} = {extra} ticks")
            wait += extra
        elif op is Op.WAITUNTIL:
            wait = max(6, g["time"] - self.t) if isinstance(g["time"], int) else WAIT_TICKS
            self.show("wait", self.t, self.t + wait, 0, "waituntil", None)
        elif op in (Op.WAITTRIG, Op.BARRIER, Op.BRH, Op.DEC):
            return self.wait(op, g, choice)
        elif op is Op.LOOP:
            count = self.value(g["count"])
            self.t += wait
            bracket = self.show("loop", self.t, self.t, 0, f"\N{MULTIPLICATION SIGN} {count}"
                                + (f" ({g['count']})" if isinstance(g["count"], R) else ""),
                                count, depth=len(self.loops))
            self.loops.append([self.pc + 1, self.pc + g["span"],
                               max(1, min(self.unfold, count)), bracket])
            self.pc += 1
            return True
        elif op is Op.BR:
            self.t += wait
            if choice == "taken":
                self.leave(g["pop"])
                return self.goto(g["target"])
            return self.next()
        elif op is Op.JMP:
            self.t += wait
            self.leave(g["pop"])
            return self.goto(g["target"])
        elif op is Op.CALL:
            self.t += wait
            self.calls.append(self.pc + 1)
            self.pc = g["target"]
            return True
        elif op is Op.RET:
            self.t += wait
            if not self.calls:
                return False
            self.pc = self.calls.pop()
            return True
        elif op is Op.LI:
            self.regs[g["rd"]] = g["value"]
        elif op is Op.ALU:
            self.regs[g["rd"]] = self.alu(g) & 0xffffffff
        elif op in (Op.GET, Op.LDT):
            self.regs[g["rd"]] = 0
        self.t += wait
        return self.next()

    def next(self):
        while self.loops and self.loops[-1][1] == self.pc:
            level = self.loops[-1]
            level[2] -= 1
            if level[2]:
                self.pc = level[0]
                return True
            self.close(self.loops.pop())
        self.pc += 1
        return True

    def pulse(self, g, name):
        wave = self.value(g["wave"])
        if not 0 <= wave < len(self.a.waves):
            raise ValueError(f"word {self.pc}: wave {wave} is none of the program's; give the "
                             f"register that chooses it a value by .assume or .param")
        entry = self.a.waves[wave]
        amplitude = _signed(self.value(g["amplitude"]), 16)
        begin = self.t + g["defer"]
        before = self.running.get(g["channel"])
        if before is not None and (before.end < before.begin or before.end > begin):
            before.end = begin
        end = begin + entry.length if entry.length else begin - 1
        self.running[g["channel"]] = self.show(
            "pulse", begin, end, g["channel"], f"{entry.name} on {name}", amplitude, wave=wave)

    def wait(self, op, g, choice):
        timeout = g["timeout"]
        if choice == "timeout":
            self.show("wait", self.t, self.t + timeout, 0, f"{op.name.lower()}: timeout", timeout)
            if g.get("next"):
                self.regs[g["rd"]] = BRH_ENTRIES - 1
                self.t += timeout + TRIGGER_TICKS
                return self.next()
            self.t += timeout + TIMEOUT_TICKS
            self.leave(g.get("pop", 0))
            extra = (BRH_ENTRIES - 1) << g["size"] if op is Op.BRH else 0
            self.regs[g["rd"]] = {Op.BRH: BRH_ENTRIES - 1, Op.DEC: 0}.get(op, timeout)
            return self.goto(g["target"] + extra)
        took = choice if isinstance(choice, int) and op is not Op.BRH else WAIT_TICKS
        took = min(took, timeout) if timeout else took
        self.show("wait", self.t, self.t + took, 0, op.name.lower(), timeout)
        if op is Op.BRH:
            pattern = choice if isinstance(choice, int) else 0
            self.regs[g["rd"]] = pattern
            self.t += took + VERDICT_TICKS
            self.leave(g["pop"])
            return self.goto(g["target"] + (pattern << g["size"]))
        self.regs[g["rd"]] = 0 if op is Op.DEC else took
        self.t += took + TRIGGER_TICKS
        return self.next()

    def alu(self, g):
        a, b = _signed(self.regs[g["ra"]]), self.value(g["operand"])
        by = b & 31
        return {AluFunction.ADD: lambda: a + b, AluFunction.SUB: lambda: a - b,
                AluFunction.AND: lambda: a & b, AluFunction.OR: lambda: a | b,
                AluFunction.XOR: lambda: a ^ b, AluFunction.SHL: lambda: a << by,
                AluFunction.SHR: lambda: (a & 0xffffffff) >> by, AluFunction.SAR: lambda: a >> by,
                AluFunction.MUL: lambda: a * b >> g["shift"]}[g["function"]]()
