"""The prover: what it proves is so in every run, and what it refuses it says why.

The interpreter below runs one program once, with given inputs, and shares nothing with the
prover but the decoding of words.
"""

import math
import random

import pytest

from quantacore.firmware import ProofError, R, assemble, decode, prove
from quantacore.gateware.layouts import instructions as isa
from quantacore.gateware.layouts.instructions import UNTIL_TICKS, AluFunction, Condition, Op, Source
from quantacore.gateware.layouts.sequencer import MARK_DEPTH, MARK_TICKS

M32 = 0xffffffff


def signed(value):
    value &= M32
    return value - 2**32 if value >= 2**31 else value


class Wrong(Exception):
    """Something happened that a proof excludes."""


class Run:
    """One run of a program, with what an unlucky world may do."""

    def __init__(self, assembly, entry, rng, steps=3000):
        self.a, self.rng, self.steps = assembly, rng, steps
        self.code = [decode(word) for word in assembly.words]
        self.regs = [rng.randrange(2**32) for _ in range(16)]
        for register, interval in assembly.assumptions.items():
            self.regs[register] = rng.choice([interval.low, interval.high,
                                              rng.randint(interval.low, interval.high)]) & M32
        self.pc, self.t, self.n = assembly.entries[entry], 0, 0
        self.loops, self.calls = [], []
        self.pulses = {}
        self.busy_ticks = [0] * 8
        self.marks, self.mark_end = [], 0
        self.rounds, self.round_end, self.switched = [], 0, -math.inf
        self.marked = 0

    def value(self, operand):
        return signed(self.regs[operand]) if isinstance(operand, R) else operand

    def to_halt(self):
        """Whether the run came to a HALT before the steps were over."""
        while self.n < self.steps:
            if self.pc >= len(self.code):
                raise Wrong("off the end")
            i = self.code[self.pc]
            self.n += 1
            if i.op is Op.HALT:
                return True
            self.one(i)
        return False

    def one(self, i):
        op, g, pc = i.op, i.operands, self.pc
        wait = i.dwell
        goes = None
        if op is Op.PULSE:
            self.pulse(g)
        elif op is Op.TAG:
            self.marks = [end for end in self.marks if end > self.t]
            if len(self.marks) >= MARK_DEPTH:
                raise Wrong("mark lost")
            self.mark_end = max(self.mark_end, self.t) + MARK_TICKS
            self.marks.append(self.mark_end)
            self.marked += 1
        elif op is Op.SYN and g["push"]:
            self.rounds = [end for end in self.rounds if end > self.t]
            if len(self.rounds) >= self.a.decoder.depth:
                raise Wrong("round lost")
            self.round_end = max(self.round_end, self.t) + self.a.decoder.ticks
            self.rounds.append(self.round_end)
        elif op is Op.SWITCH:
            self.switched = self.t
        elif op is Op.ARM and self.t - self.switched < self.a.settle_ticks:
            raise Wrong("not settled")
        elif op is Op.DELAY:
            wait += self.regs[g["ra"]]
        elif op is Op.WAITUNTIL:
            if g["time"] < self.t + isa.UNTIL_TICKS:
                raise Wrong("late")
            wait = g["time"] - self.t
        elif op in (Op.WAITTRIG, Op.BARRIER, Op.BRH, Op.DEC):
            goes, wait = self.wait(op, g)
        elif op is Op.LOOP:
            count = self.regs[g["count"]] if isinstance(g["count"], R) else g["count"]
            if count == 0:
                raise Wrong("empty loop")
            if len(self.loops) == 4:
                raise Wrong("loop levels")
            self.loops.append([pc + 1, pc + g["span"], count])
            self.pc, self.t = pc + 1, self.t + wait
            return
        elif op is Op.BR:
            if self.holds(g):
                goes = g["target"]
        elif op is Op.JMP:
            goes = g["target"]
        elif op is Op.CALL:
            if len(self.calls) == 8:
                raise Wrong("calls")
            self.calls.append(pc + 1)
            goes = g["target"]
        elif op is Op.RET:
            if not self.calls:
                raise Wrong("no call")
            goes = self.calls.pop()
        elif op is Op.LI:
            self.regs[g["rd"]] = g["value"]
        elif op is Op.GET:
            self.regs[g["rd"]] = self.rng.randrange(
                {Source.INPUTS: 256, Source.VERDICT: 32, Source.FRAME: 65536}.get(
                    g["source"], 2**32))
        elif op is Op.ALU:
            self.regs[g["rd"]] = self.alu(g) & M32
        self.t += wait
        if goes is not None:
            for _ in range(g.get("pop", 0)):
                if not self.loops:
                    raise Wrong("loop underflow")
                self.loops.pop()
            self.pc = goes
            return
        while self.loops and self.loops[-1][1] == pc:
            self.loops[-1][2] -= 1
            if self.loops[-1][2]:
                self.pc = self.loops[-1][0]
                return
            self.loops.pop()
        self.pc = pc + 1

    def pulse(self, g):
        number = self.regs[g["wave"]] if isinstance(g["wave"], R) else g["wave"]
        if number >= len(self.a.waves):
            raise Wrong("no wave")
        length = self.a.waves[number].length
        begin = self.t + g["defer"]
        was = self.pulses.get(g["channel"])
        if was is not None and (was[0] > self.t or was[1] > begin):
            raise Wrong("overlap")
        self.pulses[g["channel"]] = begin, begin + length
        self.busy_ticks[g["channel"]] += length

    def wait(self, op, g):
        after = isa.VERDICT_TICKS if op is Op.BRH else isa.TRIGGER_TICKS
        if self.rng.random() < 0.4:
            extra = 16 << g["size"] if op is Op.BRH else 0
            self.regs[g["rd"]] = {Op.BRH: 16, Op.DEC: 0}.get(op, g["timeout"])
            return g["target"] + extra, g["timeout"] + isa.TIMEOUT_TICKS
        took = self.rng.choice([1, g["timeout"], self.rng.randint(1, g["timeout"])])
        if op is Op.BRH:
            pattern = self.rng.randrange(16)
            self.regs[g["rd"]] = pattern
            return g["target"] + (pattern << g["size"]), took + after
        self.regs[g["rd"]] = self.rng.randrange(256) if op is Op.DEC else took
        return None, took + after

    def holds(self, g):
        a, b = signed(self.regs[g["ra"]]), self.value(g["operand"])
        return {Condition.EQ: a == b, Condition.NE: a != b, Condition.LT: a < b,
                Condition.GE: a >= b, Condition.LTU: a & M32 < b & M32,
                Condition.GEU: a & M32 >= b & M32}[g["condition"]]

    def alu(self, g):
        a, b = signed(self.regs[g["ra"]]), self.value(g["operand"])
        by = b & 31
        return {AluFunction.ADD: lambda: a + b, AluFunction.SUB: lambda: a - b,
                AluFunction.AND: lambda: a & b, AluFunction.OR: lambda: a | b,
                AluFunction.XOR: lambda: a ^ b, AluFunction.SHL: lambda: a << by,
                AluFunction.SHR: lambda: (a & M32) >> by, AluFunction.SAR: lambda: a >> by,
                AluFunction.MUL: lambda: a * b >> g["shift"]}[g["function"]]()


HEAD = """
.settle 20
.decoder every=30, depth=3
.envelope 0, 1 e sin2(4)
.wave w0 e length=4
.wave w1 e length=9
.wave w2 e length=30
.assume r1 in 0..2
.assume r2 in 1..4
.assume r3 in 0..25
.assume r4 in -3..3
"""


class Writer:
    """Random programs, most of them near the edge of what can be proven."""

    def __init__(self, rng):
        self.rng, self.labels, self.depth, self.patience = rng, 0, 0, rng.choice([4, 20, 60])

    def label(self):
        self.labels += 1
        return f"x{self.labels}"

    def block(self, size, depth):
        lines = []
        for _ in range(self.rng.randint(1, size)):
            lines += self.statement(depth)
        return lines

    def statement(self, depth):
        rng, pause = self.rng, f"nop for {self.rng.randint(1, self.patience)}"
        kind = rng.choice(["pulse"] * 4 + ["register pulse", "delay", "tag", "tags", "syn",
                           "settle", "data", "data", "loop", "loop", "if", "wait", "herald",
                           "poll", "call", "until", "out"])
        if depth > 2 and kind in ("loop", "if", "poll", "out"):
            return [pause]
        if kind == "pulse":
            defer = rng.choice([0, 0, 3])
            return [f"pulse {rng.randrange(2)}, w{rng.randrange(3)}, 0.5, defer={defer} "
                    f"for {rng.randint(1, self.patience)}"]
        if kind == "register pulse":
            return [f"pulse {rng.randrange(2)}, r1, 0.5", pause]
        if kind == "delay":
            return [f"delay r{rng.choice([2, 3, 3, 5])}"]
        if kind == "tag":
            return ["tag 1", pause]
        if kind == "tags":
            return [f"loop {rng.choice([5, 60, 90])}", "tag 2", f"nop for {rng.randint(1, 4)}",
                    "end"]
        if kind == "syn":
            return ["syn 0, r1, r2, push", f"nop for {rng.choice([1, 30])}"]
        if kind == "settle":
            return ["switch 3", f"nop for {rng.choice([5, 19, 19])}", "arm 1"]
        if kind == "data":
            return [rng.choice([
                "li r5, 3", "add r5, r5, 1", "sub r5, r5, 2", "mov r5, r3", "add r3, r3, 1",
                "and r3, r5, 15", "mul r5, r3, 3", "shr r5, r3, 1", "get r5, inputs",
                "add r5, r3, r2", "xor r5, r3, 7", "li r2, 2", "or r5, r3, r1", "sar r5, r4, 1",
                "shl r5, r3, 2", "sub r1, r1, r1", "mul r3, r3, 900, shift=10"])]
        if kind == "loop":
            count = rng.choice(["1", "2", "7", "r2", "30"])
            return [f"loop {count}", *self.block(4, depth + 1), pause, "end"]
        if kind == "if":
            skip = self.label()
            branch = rng.choice(["beq r3, 4", "blt r4, 1", "bge r3, r2", "bltu r3, 9", "bne r5, 3"])
            return [f"{branch}, {skip}", *self.block(3, depth + 1), f"{skip}: nop"]
        if kind == "wait":
            skip = self.label()
            return [rng.choice([f"waittrig r{rng.choice([5, 6])}, rise, 1, "
                                f"{rng.randint(1, 40)}, {skip}",
                                f"barrier r6, 1, 9, {skip}", f"dec r6, 0, 30, {skip}"]),
                    *self.block(2, 3), f"{skip}: nop"]
        if kind == "herald":
            table, after = self.label(), self.label()
            return [f"brh r6, {table}, {rng.randint(1, 40)}", f".table {table}, words=2",
                    ".case 3, 5", "pulse 0, w1, 0.5 for 12", f"jmp {after}", ".default",
                    f"jmp {after}", ".endt", f"{after}: nop for {rng.randint(1, 20)}"]
        if kind == "poll":
            again = self.label()
            return ["li r7, 3", f"{again}: nop", *self.block(2, 3), "sub r7, r7, 1",
                    f"{rng.choice(['bge r7, 1', 'bne r7, 0'])}, {again}"]
        if kind == "call":
            return ["call sub"]
        if kind == "until":
            return [f"waituntil {rng.choice([30, 100, 1000, 100000])}"]
        out = self.label()
        return [f"loop {rng.choice([1, 3, 20])}", *self.block(2, depth + 1),
                f"beq r5, {rng.randint(0, 4)}, {out}", pause, "end", f"{out}: nop"]

    def program(self):
        sub = self.block(2, 3)
        while any("call" in line for line in sub):
            sub = self.block(2, 3)
        return HEAD + "\n".join([*self.block(5, 0), "halt", "sub: nop", *sub, "ret"])


def proven_and_run(seed):
    """Programs proven, runs made, programs refused that went wrong in a run."""
    rng = random.Random(seed)
    source = Writer(rng).program()
    assembly = assemble(source)
    proof = prove(assembly)
    runs, wrong = 0, False
    for _ in range(6):
        run = Run(assembly, "main", rng)
        try:
            halted = run.to_halt()
        except Wrong as error:
            assert not proof.ok, f"seed {seed}: {error} at word {run.pc}, t = {run.t}\n{source}"
            wrong = True
            continue
        runs += 1
        entry = proof.entries["main"]
        if proof.ok and halted:
            for what, value, (low, high) in (
                    ("ticks", run.t, entry.ticks), ("instructions", run.n, entry.instructions),
                    ("marks", run.marked, entry.marks),
                    *((f"busy {c}", run.busy_ticks[c], entry.busy_ticks[c]) for c in range(2))):
                assert low <= value <= high, f"seed {seed}: {what} {value}, not {low}..{high}\n" + (
                    source)
    return proof.ok, runs, wrong


@pytest.mark.parametrize("part", range(5))
def test_what_is_proven_never_goes_wrong(part):
    results = [proven_and_run(part * 100_000 + seed) for seed in range(100)]
    proven = sum(ok for ok, _, _ in results)
    refused = [wrong for ok, _, wrong in results if not ok]
    # Both kinds are met, and many of the refused ones do go wrong.
    assert proven > 40 and sum(refused) > len(refused) // 4


def plant(monkeypatch, bug):
    from quantacore.firmware import prover

    state = prover._State
    if bug == "the longest time is taken off":
        pass_time = state.pass_time
        monkeypatch.setattr(state, "pass_time", lambda self, least, most: (
            pass_time(self, most, most), setattr(self, "low", self.low - most + least)))
    elif bug == "only the first turn is looked at":
        monkeypatch.setattr(prover._Prover, "settle", lambda self, pc, body, entry, first, *_: (
            entry, {i: (0, 0) for i in range(16)}, first))
    elif bug == "a queue does not grow in a loop":
        growing = prover._times
        monkeypatch.setattr(prover, "_times", lambda value, turns: min(growing(value, turns), 50))
    elif bug == "branches go one way":
        refine = prover._refine
        monkeypatch.setattr(prover, "_refine", lambda *a, **k: (refine(*a, **k)[0], None)
                            if refine(*a, **k)[0] else refine(*a, **k))
    elif bug == "timeouts take no time":
        monkeypatch.setattr(prover, "TIMEOUT_TICKS", 0)
    elif bug == "marks leave at once":
        monkeypatch.setattr(prover, "MARK_TICKS", 1)
    elif bug == "verdicts come later":
        monkeypatch.setattr(prover, "VERDICT_TICKS", 30)


@pytest.mark.parametrize("bug", [
    "the longest time is taken off", "only the first turn is looked at",
    "a queue does not grow in a loop", "branches go one way", "timeouts take no time",
    "marks leave at once", "verdicts come later"])
def test_a_bug_in_the_prover_is_found(monkeypatch, bug):
    plant(monkeypatch, bug)
    with pytest.raises(AssertionError, match="^seed"):
        for seed in range(600):
            proven_and_run(seed)


# Directed cases.

WAVES = """
.settle 2us
.decoder every=1us, depth=3
.envelope 0, 1 bell gaussian(points=64)
.envelope 0, 1 level flat
.wave w bell length=1us
.wave long bell length=3us
.wave on level length=forever
"""


def proof_of(text, head=WAVES):
    return prove(assemble(head + text))


JUMP, DATA, DELAY = isa.BRANCH_TICKS, isa.DATA_TICKS, isa.DELAY_TICKS


@pytest.mark.parametrize("text, ticks", [
    ("halt", 0),
    ("nop for 10\nhalt", 10),
    ("loop 100000000\nnop for 10\nend\nhalt", JUMP + 10**9),
    ("loop 1000\nloop 1000\nloop 1000\nloop 10\nnop for 5\nend\nend\nend\nend\nhalt",
     JUMP + 1000 * (JUMP + 1000 * (JUMP + 1000 * (JUMP + 10 * 5)))),
    ("call s\nhalt\ns: nop for 5\nret", JUMP + 5 + JUMP),
    ("nop for 10\nwaituntil 100\nhalt", 100),
    ("li r1, 7\ndelay r1\nhalt", DATA + DELAY + 7),
    ("li r1, 0\nloop 100\nadd r1, r1, 2\nend\ndelay r1\nhalt",
     DATA + JUMP + 100 * DATA + DELAY + 200),
])
def test_exact_times(text, ticks):
    proof = proof_of(text)
    assert proof.ok, proof.errors
    assert proof.entries["main"].ticks == (ticks, ticks)


def test_intervals_of_waits():
    proof = proof_of("waittrig r1, rise, 1, 100, x\nx: halt")
    assert proof.entries["main"].ticks == (1 + isa.TRIGGER_TICKS, 100 + isa.TIMEOUT_TICKS)
    proof = proof_of("brh r1, t, 100\n.table t, words=1\n.default\nhalt\n.endt")
    latest = 100 + max(isa.VERDICT_TICKS, isa.TIMEOUT_TICKS)
    assert proof.entries["main"].ticks == (1 + isa.VERDICT_TICKS, latest)


def test_a_billion_turns_are_not_gone_through():
    text = ("loop 1000\nloop 1000\nloop 1000\npulse 0, w, 0.5\npulse 1, w, 0.5\n"
            "tag 1 for 1us\nadd r1, r1, 3\nend\nend\nend\nhalt")
    # One after the other they would take hours.
    proof = proof_of(text)
    assert proof.ok and proof.events[0] > 4 * 10**9
    assert proof.entries["main"].marks == (10**9, 10**9)
    assert proof.entries["main"].pulses[0] == (10**9, 10**9)
    assert proof.entries["main"].duty[0] == pytest.approx(
        (125 / (127 + DATA), 125 / (127 + DATA)), rel=1e-3)


@pytest.mark.parametrize("text, check, said", [
    ("pulse 0, w, 0.5\nnop for 123\npulse 0, w, 0.5\nhalt", "overlap",
     "a pulse on channel 0 may begin while the one before lasts for 1 ticks yet"),
    ("pulse 0, w, 0.5, defer=200\nnop for 323\npulse 0, w, 0.5\nhalt", "overlap",
     "a pulse on channel 0 may begin"),
    ("pulse 0, on, 0.5, defer=9\nnop for 8\npulse 0, w, 0.5, defer=9\nhalt", "overlap",
     "while a deferred one has not begun"),
    ("loop 2\npulse 0, w, 0.5\nend\nhalt", "overlap", "channel 0"),
    ("x: pulse 0, w, 0.5\nbeq r1, 3, x\nhalt", "overlap", "channel 0"),
    ("call s\ncall s\nhalt\ns: pulse 0, w, 0.5\nret", "overlap", "channel 0"),
    (".assume r1 in 0..1\npulse 0, r1, 0.5 for 130\npulse 0, w, 0.5\nhalt", "overlap",
     "lasts for 245 ticks"),
    ("pulse 0, r1, 0.5\nhalt", "wave memory", "declare .assume r1 in 0..2"),
    ("pulse 0, 9, 0.5\nhalt", "wave memory", "there is no wave 9"),
    ("pulse 5, 0, 0.5\nhalt", "envelope range", "of channel 5, which has 0"),
    ("nop for 95\nwaituntil 100\nhalt", "late", "may be issued up to tick 95"),
    ("delay r1\nwaituntil 100\nhalt", "late", "bound what is before it"),
    ("loop 2\nwaituntil 100\nend\nhalt", "late", "waituntil 100"),
    ("x: waituntil 100\nbeq r1, 1, x\nhalt", "late", "waituntil 100"),
    ("waituntil r1:r2\nhalt", "late", "waituntil r1:r2, ahead=1us..10us"),
    ("waituntil r1:r2, ahead=3..9\nhalt", "late", "a time 3 ticks ahead is too near"),
    ("loop 90\ntag 1\nend\nhalt", "mark queue", "find the queue of 64 full"),
    ("x: tag 1\nnop\nnop\ntag 1\njmp x", None, ""),
    ("x: tag 1\ntag 1\ntag 1\njmp x", "mark queue", "find the queue of 64 full"),
    ("loop 5\nsyn 0, r1, r2, push\nend\nhalt", "decoder queue", "find the queue of 3 full"),
    ("loop 1000\nsyn 0, r1, r2, push\nnop for 123\nend\nhalt", "decoder queue", "queue of 3"),
    ("loop 1000\nsyn 0, r1, r2, push\nnop for 124\nend\nhalt", None, ""),
    ("switch 1\narm 1\nhalt", "settle", "arm comes up to 249 ticks before the route has settled"),
    ("switch 1 for 2us\narm 1\nhalt", None, ""),
    ("waittrig r1, rise, 1, forever, x\nx: halt", "timeout", "waittrig may wait for ever"),
    ("loop r1\nnop\nend\nhalt", "loop count", "declare .assume r1 in 1..1000"),
    (".assume r1 in 1..9\nloop r1\nnop\nend\nhalt", None, ""),
    ("nop", "flow", "runs off its end"),
    ("ret", "calls", "ret without a call"),
    ("s: call s\nhalt", "calls", "calls itself"),
    ("call a\nhalt\na: call b\nret\nb: call a\nret", "calls", "calls itself"),
    ("\n".join(["call s0", "halt"] + [f"s{i}: call s{i + 1}\nret" for i in range(9)]
               + ["s9: ret"]), "calls", "more than 8 calls"),
    ("loop 2\nloop 2\ncall s\nnop\nend\nend\nhalt\ns: loop 2\nloop 2\nloop 2\nnop\nend\nend\nend\n"
     "ret", "loop levels", "more than 4 loops"),
    (".raw\nloop 2, span=3\nnop\nbeq r1, 0, 4\nnop\nhalt", "loop levels",
     "leaves a loop's body (to word 4) and keeps the loop in use"),
    (".raw\nloop 2, span=3\nnop\nbeq r1, 0, 4, pop=2\nnop\nhalt", "loop levels",
     "leaves more loops than there are"),
    (".raw\njmp 2, pop=1\nnop\nhalt", "loop levels", "leaves 1 loops more than there are"),
    (".raw\nloop 2, span=9\nnop\nhalt", "loop levels", "ends at word 9, outside"),
    (".raw\nloop 2, span=2\nloop 2, span=2\nnop\nnop\nhalt", "loop levels", "outside"),
    (".raw\nloop 2, span=2\nnop\nret\nhalt", "loop levels", "ret inside a loop's body"),
    (".raw\nloop 2, span=2\nnop\ncall 4\nhalt\nret", "loop levels", "call as the last word"),
    (".raw\nloop 2, span=3\ncall 2\nnop\nnop\nhalt\nret", "loop levels",
     "runs through the end of a loop's body"),
    (".raw\nloop 0, span=1\nnop\nhalt", "loop count", "is refused"),
    (".raw\njmp 9\nhalt", "flow", "this goes to word 9, behind the program's end"),
])
def test_checks(text, check, said):
    proof = proof_of(text)
    found = "\n".join(map(str, proof.errors))
    if check is None:
        assert proof.ok, found
        return
    assert check in {f.check for f in proof.errors}, found
    assert said in found
    with pytest.raises(ProofError, match="not proven: "):
        proof.check()


def test_a_finding_shows_the_line():
    proof = proof_of("nop\npulse 0, w, 0.5\npulse 0, w, 0.5\nhalt", WAVES)
    assert "<text>:11: error: a pulse on channel 0" in str(proof.errors[0])
    assert "   11 | pulse 0, w, 0.5" in str(proof.errors[0])


def test_slack_is_the_smallest_margin_and_where():
    proof = proof_of("pulse 0, w, 0.5 for 130\npulse 0, w, 0.5 for 127\npulse 0, w, 0.5\n"
                     "waituntil 300\ntag 1\ntag 2\nhalt")
    assert (proof.slack["overlap"].margin, proof.slack["overlap"].pc) == (2, 2)
    assert (proof.slack["late"].margin, proof.slack["late"].pc) == (300 - 258 - UNTIL_TICKS, 3)
    assert (proof.slack["mark queue"].margin, proof.slack["mark queue"].pc) == (62, 5)
    assert proof.slack["program memory"].margin == 4096 - 7
    assert str(proof.slack["overlap"]) == "overlap: 2 ticks to spare at <text>:11"


def test_unreachable_words_are_a_warning():
    proof = proof_of("halt\nnop\nhalt")
    assert proof.ok and "words 1 to 2 are never reached" in str(proof.warnings[0])


def test_amplitudes_beyond_full_scale_are_a_warning():
    assert proof_of("pulse 0, w, r1\nhalt").warnings
    assert not proof_of(".assume r1 in -1.0..1.0\npulse 0, w, r1\nhalt").warnings


def test_without_settle_time_arm_is_free():
    assert proof_of("switch 1\narm 1\nhalt", head="").ok


def test_a_round_needs_a_declared_decoder():
    proof = proof_of("syn 0, r1, r2, push\nhalt", head="")
    assert "declare .decoder every=1us, depth=8" in str(proof.errors[0])


def test_every_entry_is_proven():
    proof = proof_of(".entry a\nnop\nhalt\n.entry b\npulse 0, w, 0.5\npulse 0, w, 0.5\nhalt")
    assert set(proof.entries) == {"a", "b"} and not proof.ok


def test_a_program_without_end_has_no_longest_run():
    entry = proof_of("x: nop for 10\njmp x").entries["main"]
    assert not entry.halts and entry.ticks[1] == math.inf


def test_duty_of_a_pulse_without_end_is_not_known():
    assert proof_of("pulse 0, on, 0.5\nhalt").entries["main"].duty[:2] == [None, (0.0, 0.0)]


def test_damaged_words_are_refused():
    assembly = assemble("nop\nhalt")
    assembly.words[0] |= 1 << 60
    assert "does not use bit 60" in str(prove(assembly).errors[0])


def test_summary_is_json():
    import json

    proof = proof_of("x: nop for 10\nbeq r1, 3, x\nhalt")
    summary = json.loads(json.dumps(proof.summary()))
    assert summary["ok"] and summary["entries"]["main"]["ticks"] == [10 + JUMP, None]
    assert summary["slack"]["program memory"] == {"margin": 4093, "unit": "words", "word": -1}
