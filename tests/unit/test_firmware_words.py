"""Instructions and words, both ways; the disassembler's text assembles to the same words."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantacore.firmware import Instruction, Pair, R, WordError, assemble, decode, disassemble
from quantacore.firmware import encode as word_of
from quantacore.firmware.words import OPERANDS, least
from quantacore.gateware.layouts.instructions import (
    AluFunction,
    Condition,
    Op,
    Source,
    TriggerMode,
    least_dwell,
)

WIDTH = {
    "mask": 16, "value": 16, "channel": 3, "wave": 9, "defer": 8, "frequency": 36, "phase": 32,
    "route": 8, "time": 48, "timeout": 32, "target": 12, "size": 3, "basis": 1, "count": 28,
    "span": 12, "pop": 3, "code": 16, "windows": 4, "first": 5, "second": 5, "shift": 5, "word": 3,
}


def random_instruction(rng, op=None):
    """Any instruction there is, with operands at their ends as often as between."""
    op = op or rng.choice(list(Op))
    operands = {}
    for operand in OPERANDS[op]:
        name, kind = operand.name, operand.kind
        if kind == "register" or operand.at and operand.flag and rng.random() < 0.4:
            operands[name] = (Pair(R(rng.randrange(16)), R(rng.randrange(16)))
                              if operand.at == "pair" else R(rng.randrange(16)))
        elif kind == "flag":
            operands[name] = rng.randrange(2)
        elif name in ("mode", "condition", "function", "source"):
            operands[name] = rng.choice(list({
                "mode": TriggerMode, "condition": Condition, "function": AluFunction,
                "source": Source}[name]))
        elif name in ("amplitude", "level") or op is Op.BR and name == "operand":
            operands[name] = rng.choice([-2**15, -1, 0, 2**15 - 1, rng.randrange(-2**15, 2**15)])
        elif op is Op.ALU and name == "operand":
            operands[name] = rng.choice([-2**19, 2**19 - 1, rng.randrange(-2**19, 2**19)])
        else:
            width = 32 if op is Op.LI else WIDTH[name] - 8 * (
                name == "mask" and op is not Op.SET)
            operands[name] = rng.choice([0, 2**width - 1, rng.randrange(2**width)])
    if op is Op.ALU and operands["function"] is not AluFunction.MUL:
        operands["shift"] = 0
    low = least(op, operands)
    most = 2**46 if op is Op.NOP else 2**14
    dwell = rng.choice([low, low + 1, most - 1, rng.randrange(low, most)]) if low else 0
    return Instruction(op, operands, dwell)


@pytest.mark.parametrize("op", list(Op), ids=lambda op: op.name)
def test_word_and_instruction(op):
    rng = random.Random(op.value)
    for _ in range(200):
        instruction = random_instruction(rng, op)
        word = word_of(instruction)
        assert decode(word) == instruction
        assert word & 63 == op.value


def test_bits_that_an_instruction_does_not_use_are_refused():
    rng, refused = random.Random(4), 0
    for _ in range(3000):
        word = word_of(random_instruction(rng)) ^ 1 << rng.randrange(6, 64)
        try:
            assert word_of(decode(word)) == word
        except WordError as error:
            assert "does not use bit" in str(error) or "at least" in str(error) or (
                "has no" in str(error))
            refused += 1
    assert refused > 500


@pytest.mark.parametrize("word, text", [
    (0, "there is no operation 0"),
    (63, "there is no operation 63"),
    (1, "nop lasts at least 1 ticks here, not 0"),
    (1 | 1 << 6 | 1 << 60, "nop does not use bit 60, which must be 0"),
    (21 | 3 << 6, "halt does not use bits 6, 7"),
    (20 | 6 << 6 | 6 << 56, "br has no condition 6"),
    (33 | 6 << 6 | 9 << 56, "alu has no function 9"),
    (1 << 64, "not a word of 64 bits"),
])
def test_words_that_are_none(word, text):
    with pytest.raises(WordError, match=text):
        decode(word)
    with pytest.raises(WordError, match=text):
        disassemble([word])


@pytest.mark.parametrize("op, operands, dwell, text", [
    (Op.SET, {"mask": 1}, 1, "set needs value"),
    (Op.SET, {"mask": 1, "value": 1 << 16}, 1, "value of set must be between 0 and 65535"),
    (Op.PULSE, {"channel": 8, "wave": 0, "amplitude": 0}, 1, "channel of pulse must be"),
    (Op.HALT, {}, 3, "halt has no dwell of its own"),
    (Op.LI, {"rd": 3, "value": 0}, 3, "rd of li must be a register"),
    (Op.HALT, {"code": R(1)}, 0, "code of halt cannot be in r1"),
    (Op.LI, {"rd": R(3), "value": 0}, 1 << 14, "dwell of li must be"),
    (Op.NOP, {"x": 3}, 1, "nop has no operand x"),
    (Op.ALU, {"function": AluFunction.ADD, "rd": R(1), "ra": R(1), "operand": 1, "shift": 2}, 3,
     "only mul has a shift"),
])
def test_instructions_that_are_none(op, operands, dwell, text):
    with pytest.raises(WordError, match=text):
        word_of(Instruction(op, operands, dwell))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_any_words_survive_text(seed, count):
    rng = random.Random(seed)
    words = [word_of(random_instruction(rng)) for _ in range(count)]
    assert assemble(disassemble(words)).words == words


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_structured_words_survive_text_without_numbers(seed):
    """A program with loops and jumps is written with end and labels again."""
    rng, lines, depth, labels = random.Random(seed), [], 0, 0
    for _ in range(rng.randrange(1, 30)):
        choice = rng.random()
        if choice < 0.2 and depth < 4:
            lines.append(f"loop {rng.randrange(1, 9)}")
            depth += 1
        elif choice < 0.35 and depth:
            lines += ["nop", "end"]
            depth -= 1
        elif choice < 0.5:
            lines.append("beq r1, 5, out")
        elif choice < 0.6:
            lines += [f"l{labels}: nop", f"blt r2, 3, l{labels}"]
            labels += 1
        else:
            lines.append("tag 3")
    lines += ["nop", "end"] * depth + ["out: halt"]
    assembly = assemble("\n".join(lines))
    text = disassemble(assembly.words)
    assert ".raw" not in text
    assert text.count("\n") and "pop=" not in text and "span=" not in text
    assert assemble(text).words == assembly.words


def test_least_dwell_is_the_layouts():
    for op in Op:
        rng = random.Random(1)
        found = {least(op, random_instruction(rng, op).operands) for _ in range(100)}
        assert least_dwell(op) in found


@pytest.mark.parametrize("number", [-1, 16])
def test_registers_are_sixteen(number):
    with pytest.raises(ValueError, match=f"r0 to r15, not r{number}"):
        R(number)
