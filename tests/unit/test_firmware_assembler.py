"""The assembly language: what it makes, and what it says when it cannot."""

import re
from fractions import Fraction

import pytest

from quantacore.firmware import (
    AssemblyError,
    Interval,
    assemble,
    assemble_file,
    decode,
    disassemble,
)
from quantacore.firmware.assembler import MNEMONICS
from quantacore.gateware.layouts.instructions import (
    BRANCH_TICKS,
    DATA_TICKS,
    MUL_TICKS,
    SHORT_LOOP,
    Op,
    Source,
)
from quantacore.gateware.layouts.sequencer import STEP_FRACTION_BITS


def ops(text, **options):
    return [decode(word) for word in assemble(text, **options).words]


def one(text):
    return ops(text)[0]


def refusal(text, **options):
    with pytest.raises(AssemblyError) as caught:
        assemble(text, file="p.qcs", **options)
    return str(caught.value)


BELL = ".envelope 0, 1 bell gaussian(points=65, sigma=6)\n.wave w bell length=1us\n"


# What it makes.

@pytest.mark.parametrize("text, dwell", [
    ("nop for 100", 100), ("nop @ 5", 5), ("nop for 2us", 250), ("nop for 1us + 16ns", 127),
    ("nop for round(101ns)", 13), ("nop for ceil(101ns)", 13), ("nop for floor(101ns)", 12),
    ("nop for 10 * 8ns", 10), ("nop for 2us / 4", 62.5), ("nop for 1ms", 125000),
    ("nop", 1), ("li r1, 0", DATA_TICKS), ("jmp 0", BRANCH_TICKS), ("mul r1, r2, 3", MUL_TICKS),
    ("nop for 2 * BRANCH_TICKS", 2 * BRANCH_TICKS), ("tag 1 for 64ns", 8),
    ("nop for 1 / 1MHz", 125),
])
def test_dwell(text, dwell):
    if dwell != int(dwell):
        assert "is not a whole number of ticks" in refusal(text)
    else:
        assert one(text).dwell == dwell


@pytest.mark.parametrize("text, name, value", [
    ("freq 0, 10MHz", "frequency", round(10 / 125 * 2**36)),
    ("freq 0, -10MHz", "frequency", 2**36 - round(10 / 125 * 2**36)),
    ("freq 0, 0x123", "frequency", 0x123),
    ("phase 0, 0.25turn", "phase", 1 << 30),
    ("phase 0, 90deg", "phase", 1 << 30),
    ("phase 0, -90deg", "phase", 3 << 30),
    ("phase 0, 1us * 250kHz", "phase", 1 << 30),
    ("phase 0, 3.14159265358979rad", "phase", 1 << 31),
    ("offset 0, 0.5", "level", 16384),
    ("offset 0, 1.0", "level", 32767),
    ("offset 0, -1.0", "level", -32768),
    ("offset 0, 1", "level", 1),
    ("li r1, 2us", "value", 250),
    ("li r1, 90deg", "value", 1 << 30),
    ("li r1, 0.5", "value", 16384),
    ("li r1, -1", "value", 2**32 - 1),
    ("li r1, high(10MHz)", "value", round(10 / 125 * 2**48) >> 16),
    ("li r1, low(10MHz)", "value", (round(10 / 125 * 2**48) & 0xffff) << 16),
    ("li r1, (3 + 4) * 2 - 7 % 4 << 1", "value", 22),
    ("li r1, ~0 & 0xff | 0x100 ^ 0x11", "value", 0x1ff),
    ("li r1, max(3, 8) + min(2, 9) + abs(-4)", "value", 14),
    ("li r1, 7 // 2 + (3 == 3) + (2 < 1)", "value", 4),
    ("halt 0b101", "code", 5),
    ("waittrig r3, rise, 1, 10us, else 0", "timeout", 1250),
    ("waittrig r3, rise, 1, forever, 0", "timeout", 0),
    ("brh r3, 0, 1us, size=8", "size", 3),
])
def test_values(text, name, value):
    assert one(text)[name] == value


def test_high_and_low_set_lines():
    found = ops("high 0, 3 for 100\nlow 3")
    assert [(i.op, i["mask"], i["value"], i.dwell) for i in found] == [
        (Op.SET, 9, 9, 100), (Op.SET, 8, 0, 1)]


def test_mov_adds_nothing():
    move = one("mov r1, r2 for 5")
    assert (move.op, str(move["rd"]), str(move["ra"]), move["operand"], move.dwell) == (
        Op.ALU, "r1", "r2", 0, 5)


def test_wave_goes_over_its_envelope():
    assembly = assemble(BELL + ".wave cw flat1 length=forever\npulse 0, w, 0.5"
                        .replace(".wave cw", ".envelope 0 flat1 flat\n.wave cw"))
    wave, constant = assembly.waves
    assert (wave.base, wave.length, wave.channels) == (0, 125, (0, 1))
    assert wave.step == (64 << STEP_FRACTION_BITS) // 125
    assert (constant.base, constant.length, constant.step) == (65, 0, 0)
    assert assembly.envelopes[0][64] == 0 and assembly.envelopes[0][32] == 32767
    assert assembly.envelopes[0][65] == 32767 and len(assembly.envelopes[1]) == 65


def test_equal_waves_are_one():
    assembly = assemble(BELL + ".wave v bell length=125\nhalt")
    assert len(assembly.waves) == 1


def test_envelopes_of_channels_stand_at_one_address():
    assembly = assemble(".envelope 0 a sin2(10)\n.envelope 0, 1 b sin2(10)\n"
                        ".envelope 1 c points(1.0, 0, -1.0)\nhalt")
    assert [(e.name, e.base, e.points) for e in assembly.allocations] == [
        ("a", 0, 10), ("b", 10, 10), ("c", 20, 3)]
    assert assembly.envelopes[1][20:] == [32767, 0, -32768]


@pytest.mark.parametrize("shape", ["flat", "gaussian(32, 5)", "sin2(points=32)", "triangle()",
                                   "rise", "fall(16)", "sech(32, width=8)", "tukey(32, 0.3)"])
def test_shapes(shape):
    points = assemble(f".envelope 0 e {shape}\nhalt").envelopes[0]
    assert max(points) > 32000 and min(points) >= 0


def test_envelope_from_a_file(tmp_path):
    (tmp_path / "bell.txt").write_text("0 # begins\n0.5\n1 -1\n")
    (tmp_path / "p.qcs").write_text('.envelope 0 e file("bell.txt")\nhalt')
    assembly = assemble_file(tmp_path / "p.qcs")
    assert assembly.envelopes[0] == [0, 16384, 32767, -32767] and assembly.name == "p"


def test_loops_end_at_one_word():
    words = ops("loop 3\nloop r2\nnop\nend\nend\nhalt")
    assert [(i["span"], i.dwell) for i in words[:2]] == [
        (2, BRANCH_TICKS), (1, max(BRANCH_TICKS, DATA_TICKS))]
    long = ops("loop 3\n" + "nop\n" * SHORT_LOOP + "end\nhalt")
    assert (long[0]["span"], long[0].dwell) == (SHORT_LOOP, 1)


def test_jumps_leave_as_many_loops_as_they_must():
    words = ops("loop 3\n a: loop 4\n beq r1, 0, out\n bne r1, 0, a\n nop\n end\n end\nout: halt")
    assert [i["pop"] for i in words if i.op is Op.BR] == [2, 1]


def test_macros_take_arguments_and_have_names_of_their_own():
    words = ops(".macro wait line, limit=5us, code\n_again: waittrig r1, rise, 1 << line, limit, "
                "_lost\njmp _done\n_lost: halt code\n_done: nop\n.endm\n"
                "wait 3, code=1\nwait 1 + 1, 1us, 2\nhalt")
    assert [i["mask"] for i in words if i.op is Op.WAITTRIG] == [8, 4]
    assert [i["timeout"] for i in words if i.op is Op.WAITTRIG] == [625, 125]
    assert [i["target"] for i in words if i.op is Op.JMP] == [3, 7]


def test_repeat_counts():
    assert [i["code"] for i in ops(".repeat 2, i\n.repeat 2, j\ntag i * 10 + j\n.endr\n.endr\nhalt"
                                   )[:-1]] == [0, 1, 10, 11]


def test_conditions():
    text = (".const n 2\n.if n == 1\ntag 1\n.elif n == 2\n.if 0\ntag 9\n.else\ntag 2\n.endif\n"
            ".else\ntag 3\n.endif\nhalt")
    assert [i["code"] for i in ops(text)] == [2, 0]


def test_defines_replace_constants():
    text = ".const n 2\n.const t 1us\nnop for n * t\nhalt"
    assert ops(text, defines={"n": 3, "t": "2us"})[0].dwell == 750
    assert "the program has no constant 'm'" in refusal(text, defines={"m": 3})


def test_table_has_an_entry_for_each_pattern():
    assembly = assemble("brh r5, t, 2us\ndone: halt\n.table t, words=2\n.case 1, 0b110\n"
                        "tag pattern\njmp done\n.case timeout\nhalt 2\n.default\njmp done\n.endt")
    words = [decode(word) for word in assembly.words]
    assert words[0]["target"] == 2 and words[0]["size"] == 1 and len(words) == 2 + 17 * 2
    assert words[2 + 2]["code"] == 1 and words[2 + 12]["code"] == 6
    assert words[2].op is Op.JMP and words[2 + 32]["code"] == 2 and words[-1]["code"] == 0xffff


def test_table_of_attempts_is_left_by_the_loops_it_is_out_of():
    assembly = assemble("loop 3\nloop 5\narm 3\nbrh r5, t, 2us, next\nend\nnop\nend\nhalt\n"
                        ".table t, words=2, entries=16\n.default\nhalt pattern\n.endt")
    brh = decode(assembly.words[3])
    assert (brh["next"], brh["pop"], brh["size"], brh["target"]) == (1, 2, 1, 6)
    assert len(assembly.words) == 6 + 2 * 16
    assert assemble(disassemble(assembly)).words == assembly.words


def test_brh_leaves_no_loop_that_its_table_is_in():
    inside = ops("loop 2\nbrh r1, t, 5\n.table t, words=1\n.default\nhalt\n.endt\nnop\nend\nhalt")
    assert inside[1]["pop"] == 0 and inside[1]["next"] == 0
    outside = ops("loop 2\nbrh r1, t, 5\nnop\nend\n.table t, words=1\n.default\nhalt\n.endt")
    assert outside[1]["pop"] == 1


@pytest.mark.parametrize("source", ["clicked", "sites", "herald_frame", "attempt"])
def test_what_the_herald_knows(source):
    assert one(f"get r3, {source}\nhalt")["source"] is Source[source.upper()]


@pytest.mark.parametrize("head", ["", ".decoder every=1us\n", ".decoder every=1us, sites=8\n"])
def test_erasures_go_with_a_round(head):
    assembly = assemble(f"{head}syn 0, r1, r2, push, erasures\nhalt")
    assert decode(assembly.words[0])["erasures"] == 1
    assert assemble(disassemble(assembly)).decoder == assembly.decoder


def test_parameters_and_assumptions():
    assembly = assemble('.param gap r1 in 40ns..400ns = 80ns "between"\n.assume r2 in -3..7\n'
                        ".param a r4 in 0.0..0.5\n.reg n r3\ndelay gap\nli n, 5\nhalt")
    gap = assembly.parameters["gap"]
    assert (gap.register, gap.low, gap.high, gap.default, gap.unit, gap.doc) == (
        1, 5, 50, 10, "ticks", "between")
    assert assembly.parameters["a"].high == 16384 and assembly.parameters["a"].unit == "amplitude"
    assert assembly.assumptions == {1: Interval(5, 50), 2: Interval(-3, 7), 4: Interval(0, 16384)}


def test_entries_labels_and_lines():
    assembly = assemble("nop\n.entry a\nx: nop\n.entry b y\ny: halt")
    assert assembly.entries == {"a": 1, "b": 2} and assembly.labels == {"x": 1, "y": 2}
    assert [line.number for line in assembly.lines] == [1, 3, 5]
    assert assemble("halt").entries == {"main": 0}


def test_tick_is_of_the_program():
    assert assemble(".tick 10ns\nnop for 1us\nhalt").tick_s == Fraction(1, 10**8)
    assert one(".tick 10ns\nnop for 1us\nhalt").dwell == 100


def test_include(tmp_path):
    (tmp_path / "m.inc.qcs").write_text(".macro m\ntag 7\n.endm\n")
    (tmp_path / "p.qcs").write_text('.include "m.inc.qcs"\nm\nhalt')
    assert decode(assemble_file(tmp_path / "p.qcs").words[0])["code"] == 7


def test_source_digest_sees_includes_and_defines(tmp_path):
    (tmp_path / "p.qcs").write_text('.const n 1\n.include "m.qcs"\nhalt')
    digests = set()
    for text, n in (("nop", 1), ("nop\n", 1), ("nop", 2)):
        (tmp_path / "m.qcs").write_text(text)
        digests.add(assemble_file(tmp_path / "p.qcs", defines={"n": n}).source)
    assert len(digests) == 3


def test_frequency_above_half_of_the_clock_is_a_warning():
    assembly = assemble("freq 0, 80MHz\nhalt")
    assert "80MHz is above half of the clock: the channel makes 45MHz" in str(assembly.warnings[0])


def test_raw_programs():
    words = ops(".raw\nloop 3, span=1\nnop\njmp 0, pop=2\nhalt")
    assert words[0]["span"] == 1 and words[2]["pop"] == 2


@pytest.mark.parametrize("mnemonic", sorted(MNEMONICS))
def test_every_mnemonic_says_how_it_is_written(mnemonic):
    if mnemonic in ("nop", "ret", "halt"):
        return
    text = refusal(f"{mnemonic}\n")
    assert re.search(rf"p.qcs:1:1: error: {mnemonic} needs \w+", text)
    assert f"fix: write {mnemonic} " in text


# What it refuses. Each: source, then what the message has.

@pytest.mark.parametrize("text, said", [
    ("nop for 101ns", ["p.qcs:1:9: error: 101ns is not a whole number of ticks of 8ns",
                       "    1 | nop for 101ns", "      |         ^^^^^",
                       "fix: write 96ns or 104ns, or round(101ns)"]),
    ("nop for", ["'for' without a time"]),
    ("nop for -1", ["a dwell of -1 ticks"]),
    ("nop for 3 4", ["'4' after the dwell"]),
    ("nopp", ["no instruction or macro 'nopp'", "did you mean nop?"]),
    (".cosnt a 3", ["no directive .cosnt", "did you mean .const?"]),
    ("jmp foo\nfoo2: halt", ["p.qcs:1:5", "no label 'foo'", "did you mean foo2?"]),
    ("tag $", ["'$' means nothing here"]),
    ('.name "x', ["this string has no end"]),
    ("tag 3parsecs", ["'parsecs' is no unit"]),
    ("tag 0x_", ["'0x_' has no digits"]),
    ("tag 1 +", ["a value is missing"]),
    ("tag (1", ["')' is missing"]),
    ("tag 1 / 0", ["division by 0"]),
    ("tag 1us * 1us", ["a time times a time"]),
    ("tag 1us + 1MHz", ["'+' between a time and a frequency"]),
    ("tag foo(1)", ["no function 'foo'"]),
    ("tag 1us", ["tag", "1us is not a number, which code is"]),
    ("tag 70000", ["code of tag must be between 0 and 65535, not 70000"]),
    ("tag 1, 2", ["too many operands: 2"]),
    ("tag code=1, code=2", ["code is given twice"]),
    ("tag cod=1", ["tag has no operand 'cod'"]),
    ("tag 1,,", ["missing between commas"]),
    ("li 3, 4", ["rd must be a register, not '3'"]),
    ("add r1, r2 + 1", ["'+' after a register"]),
    ("li r16, 4", ["rd must be a register, not 'r16'"]),
    ("freq 0, r1", ["r1 is one register, two are needed", "r1:r2"]),
    ("freq 0, 200MHz", ["200MHz is not below the clock, 125MHz"]),
    ("freq 0, 0.5", ["0.5 is not a frequency"]),
    ("phase 0, 0.5", ["0.5 is not a phase"]),
    ("offset 0, 1.5", ["1.5 is more than full scale"]),
    ("offset 0, 40000", ["40000 is outside -32768 to 32767"]),
    ("li r1, 80MHz", ["80MHz needs 48 bits", "high(...) and low(...)"]),
    ("li r1, 0x1ffffffff", ["does not fit 32 bits"]),
    ("pulse 8, 0, 0.5", ["channel of pulse must be between 0 and 7, not 8"]),
    ("pulse 0, bell, 0.5", ["there is no wave 'bell'"]),
    (BELL + "pulse 2, w, 0.5", ["wave 'w' is of an envelope of channel 0, 1, not of channel 2",
                                ".envelope 0, 1, 2"]),
    (BELL + "pulse 0, w, 0.5, defer=256", ["defer of pulse must be between 0 and 255"]),
    ("waittrig r1, up, 1, 5, 0", ["'up' is no mode", "rise, fall, high, all"]),
    ("waittrig r1, rise, 1, 0, 0", ["a timeout of 0 would be none"]),
    ("get r1, time", ["'time' is no source"]),
    ("halt for 5", ["halt has no dwell"]),
    ("jmp 0 for 5", [f"jmp lasts at least {BRANCH_TICKS} ticks, not 5",
                        f"write for {BRANCH_TICKS}"]),
    ("loop 3 for 5\nnop\nend\nhalt", [f"at least {BRANCH_TICKS} ticks (its body is short)"]),
    ("li r1, 0 for 20000", ["a dwell of 20000 ticks does not fit",
                            f"nop for {20000 - DATA_TICKS} behind"]),
    ("high 16", ["there is no line 16"]),
    ("brh r1, 0, 5, size=3", ["entries of 3 words"]),
    ("loop 3\nend\nhalt", ["this loop has no body"]),
    ("loop 0\nnop\nend\nhalt", ["a loop of 0 times"]),
    ("loop 3\nnop\nhalt", ["p.qcs:1:1", "this loop has no end"]),
    ("nop\nend", ["end without loop"]),
    ("loop 3\njmp x\nend\nx: halt", ["jmp cannot be the last word of a loop's body"]),
    ("loop 3\ncall x\nend\nx: ret", ["call cannot be the last word"]),
    ("loop 3\nret\nend\nhalt", ["ret cannot be the last word"]),
    ("loop 3\nnop\nhalt\nend\nhalt", ["halt cannot be the last word"]),
    ("loop 3\nx: brh r1, x, 5\nend\nhalt", ["brh cannot be the last word", "brh ..., next"]),
    ("brh r1, t, 5\n.table t, words=1, entries=16\n.default\nhalt\n.endt",
     ["'t' has no entry for the timeout", "brh ..., next"]),
    ("brh r1, t, 5, next\n.table t, words=1, entries=16\n.case timeout\nhalt\n.endt",
     ["this table has no entry for the timeout"]),
    (".table t, words=1, entries=9\n.default\nhalt\n.endt", ["a table of 9 entries"]),
    (".decoder every=1us, sites=0\nsyn 0, r1, r2, push, erasures\nhalt",
     ["this decoder has no erasure sites", "leave erasures out"]),
    (".decoder every=1us, sites=-1\nhalt", ["-1 erasure sites"]),
    ("loop 3\nret\nnop\nend\nhalt", ["ret inside a loop leaves the loop in use"]),
    ("jmp x\nloop 3\nx: nop\nend\nhalt", ["goes into a loop's body from outside"]),
    ("loop 3\nnop\nend\nloop 2\nx: nop\nend\nbeq r1, 0, x\nhalt", ["goes into a loop's body"]),
    ("loop 3\nbeq r1, 0, x\nnop\nx: end\nhalt", ["'x' stands behind the last word of a loop"]),
    ("call x\nhalt\nloop 3\nx: nop\nend\nret", ["into a loop's body"]),
    ("loop 2\ncall x\nx: nop\nend\nret", ["a subroutine inside a loop's body"]),
    ("loop 2\nwaittrig r1, rise, 1, 5, out\nend\nout: halt", ["waittrig cannot leave a loop"]),
    ("loop 2\nbarrier r1, 1, 5, 2\nend\nhalt", ["p.qcs:2:19", "barrier cannot leave a loop"]),
    ("loop 2\nloop 2\ndec r1, 0, 5, out\nend\nout: nop\nend\nhalt",
     ["dec cannot leave a loop: the loop would stay in use"]),
    ("loop 2\n" * 5 + "nop\n" + "end\n" * 5 + "halt", ["more than 4 loops inside each other"]),
    (".const a 1\n.const a 2\nhalt", ["'a' is a constant already in p.qcs:1"]),
    (".const r3 1", ["'r3' is a word of the language"]),
    ("x: nop\nx: halt", ["'x' is a label already"]),
    (".macro nop\n.endm\nhalt", ["'nop' is a word of the language"]),
    (".macro m a\ntag a\n.endm\nm\nhalt", ["m needs a"]),
    (".macro m a\ntag a\n.endm\nm 1, 2\nhalt", ["m takes 1 arguments"]),
    (".macro m a\ntag a\n.endm\nm b=2\nhalt", ["m has no argument 'b'"]),
    (".macro m a\nli a, 1\n.endm\nm 5\nhalt", ["p.qcs:4:3", "rd must be a register",
                                               "in m, used in p.qcs:4"]),
    (".macro m\nm\n.endm\nm\nhalt", ["more than 32 macros or files inside each other"]),
    (".macro m\nnop", [".macro has no .endm"]),
    (".endm", [".endm without what it belongs to"]),
    (".repeat 3\n.endm\nhalt", [".repeat is closed by .endm"]),
    (".repeat 5000\nnop\n.endr\nhalt", ["the program is larger than the 4096 words of a slot"]),
    (".repeat 1000\n.repeat 1000\n.endr\n.endr\nhalt", ["more than 200000 statements"]),
    (".envelope 8 e flat\nhalt", ["there is no channel 8"]),
    (".envelope 0 e bump(3)\nhalt", ["there is no shape 'bump'"]),
    (".envelope 0 e gaussian(points=1)\nhalt", ["points must be a whole number, 2 to 1024"]),
    (".envelope 0 e gaussian(64, 0)\nhalt", ["sigma of gaussian must be above 0"]),
    (".envelope 0 e gaussian(64, 3, 4)\nhalt", ["gaussian has no argument 'number 3'"]),
    (".envelope 0 e sin2(1000)\n.envelope 0, 1 f sin2(100)\nhalt",
     ["100 more points do not fit: channel 0 has 1000 of 1024"]),
    (".envelope 0 e points(2.0)\nhalt", ["2 is more than full scale"]),
    (BELL + ".wave v bell\nhalt", ["a wave needs a length"]),
    (BELL + ".wave v bell length=forever\nhalt", ["a wave without an end needs a flat envelope"]),
    (BELL + ".wave v bell length=1\nhalt", ["65 points in 1 ticks is too fast"]),
    (BELL + ".wave v bell length=1s\nhalt", ["a length of 125000000 ticks"]),
    (BELL + ".wave v belt length=5\nhalt", ["there is no envelope 'belt'", "did you mean bell?"]),
    (BELL + ".repeat 512, i\n.wave _w bell length=200 + i\n.endr\nhalt", ["room for 512 waves"]),
    (".wave w raw(1, 2)\nhalt", ["raw() takes step, base and length"]),
    (".wave w raw(1, 1024, 5)\nhalt", ["base must be between 0 and 1023"]),
    (".include \"nowhere.qcs\"\nhalt", ["there is no file 'nowhere.qcs'"]),
    (".error \"no\" \"do this\"\nhalt", ["error: no", "fix: do this"]),
    ("nop\n.tick 10ns\nhalt", [".tick comes too late"]),
    (".tick 5\nhalt", ["5 is no length of a tick"]),
    (".assume r1 5..7\nhalt", [".assume needs a range"]),
    (".assume r1 in 7..5\nhalt", ["An interval goes upwards"]),
    (".param a r1 in 1..5 = 9\nhalt", ["9 is outside the range 1..5"]),
    (".param a r1 in 1..5\n.param b r1 in 1..2\nhalt", ["r1 is parameter 'a' already"]),
    (".entry a\n.entry a\nhalt", ["entry 'a' is there already"]),
    ("halt\n.entry a", ["no instruction after this entry"]),
    (".decoder depth=3\nhalt", [".decoder needs the time that a round takes"]),
    (".table t, words=3\n.endt\nhalt", ["entries of 3 words"]),
    (".table t, words=1\n.case 1\nhalt\n.endt\nhalt", ["no case for 0b0, 0b10"]),
    (".table t, words=1\n.default\nnop\n.endt\nhalt", ["pattern 0b0000 runs into the next one"]),
    (".table t, words=1\n.default\nnop\nhalt\n.endt\nhalt", ["has 2 words, not 1"]),
    (".table t, words=1\n.case 16\nhalt\n.endt\nhalt", ["there is no pattern 16"]),
    (".raw\nloop 3\nnop\nend\nhalt", ["after .raw a loop has a span"]),
    ("loop 3, span=1\nnop\nhalt", ["a loop has a span after .raw only"]),
    ("shl r1, r2, 3, shift=4", ["only mul has a shift"]),
    ("waituntil 100, ahead=5..6", ["only a time in registers can be ahead"]),
    ("", ["the program has no instruction"]),
])
def test_refusals(text, said):
    found = refusal(text)
    for part in said:
        assert part in found
    assert re.search(r"\d+ errors?$", found)


def test_several_errors_are_told_at_once():
    found = refusal("nop for 101ns\nfoo 3\ntag 1\njmp nowhere\nloop 0\nnop\nend")
    assert found.endswith("4 errors")
    assert [int(n) for n in re.findall(r"p\.qcs:(\d+)", found)] == [1, 2, 5, 4]


def test_there_is_an_end_to_errors():
    assert refusal("foo 1\n" * 100).count("error:") == 20


def test_tabs_keep_the_caret_in_its_place():
    assert "      | \t\t^^^" in refusal("\t\tfoo 1")
