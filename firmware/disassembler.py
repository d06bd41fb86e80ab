"""The disassembler: words back to text that assembles to the same words.

Where loops and jumps are well formed the text has ``loop`` and ``end`` and jumps without numbers
of loops. Where they are not (a jump into a body, say), it begins with ``.raw`` and says everything
by number.
"""

from fractions import Fraction

from quantacore.firmware.assembly import Assembly
from quantacore.firmware.expressions import Value, quantity_text
from quantacore.firmware.words import OPERANDS, Pair, R, WordError, decode, ends_no_loop, least
from quantacore.gateware.layouts.instructions import (
    LOOP_LEVELS,
    PROGRAM_DEPTH,
    AluFunction,
    Op,
    Source,
    TriggerMode,
)

__all__ = ["disassemble", "instruction_text", "loop_structure"]



def loop_structure(instructions):
    """The loops around each word.

    Returns
    -------
    list of tuple, or None
        For each word the addresses of the ``LOOP`` around it, outermost first; ``None`` if bodies
        are empty, overlap, end outside the program or behind a word that goes elsewhere.
    """
    stack, out = [], []
    for pc, instruction in enumerate(instructions):
        out.append(tuple(at for at, _ in stack))
        if instruction.op is Op.LOOP:
            span, count = instruction["span"], instruction["count"]
            last = pc + span
            if not span or last >= len(instructions) or len(stack) == LOOP_LEVELS or (
                    stack and last > stack[-1][1]) or (not isinstance(count, R) and not count):
                return None
            stack.append((pc, last))
            continue
        if stack and stack[-1][1] == pc and ends_no_loop(
                instruction.op, instruction.operands):
            return None
        while stack and stack[-1][1] == pc:
            stack.pop()
    return None if stack else out


def _well_formed(instructions, nests):
    """Whether all jumps go where the assembler lets them."""
    if nests is None:
        return False
    for instruction, nest in zip(instructions, nests, strict=True):
        if instruction.op is Op.RET and nest:
            return False
        target = instruction.operands.get("target")
        if target is None:
            continue
        if target >= len(instructions):
            return False
        goal = nests[target]
        if nest[:len(goal)] != goal:
            return False
        pop = len(nest) - len(goal)
        if instruction.op in _JMP_POP and instruction["pop"] != pop:
            return False
        if instruction.op is Op.CALL and goal or instruction.op in _WAITS and pop:
            return False
    return True


_JMP_POP = (Op.JMP, Op.BR, Op.BRH)
_WAITS = (Op.WAITTRIG, Op.BARRIER, Op.DEC)


def disassemble(program, *, comments=True):
    """Text of a program.

    Parameters
    ----------
    program : Assembly or sequence of int
        Words alone, or with waves, envelopes, entries and the rest.
    comments : bool
        Say addresses, and physical values where words are numbers.

    Raises
    ------
    WordError
        A word is none of the instruction set; the message names its address.
    """
    whole = isinstance(program, Assembly)
    assembly = program if whole else Assembly(words=list(program), entries={})
    if len(assembly.words) > PROGRAM_DEPTH:
        raise WordError(f"{len(assembly.words)} words are more than the {PROGRAM_DEPTH} of a slot")
    instructions = []
    for pc, word in enumerate(assembly.words):
        try:
            instructions.append(decode(int(word)))
        except WordError as error:
            raise WordError(f"word {pc}: {error}") from None
    nests = loop_structure(instructions)
    structured = _well_formed(instructions, nests)
    targets = {i["target"] for i in instructions if "target" in i.operands}
    names = {target: f"L{target}" for target in sorted(targets) if target < len(instructions)}
    out = _head(assembly) if whole else []
    if not structured:
        out.append(".raw")
    entries = {}
    for name, pc in assembly.entries.items():
        entries.setdefault(pc, []).append(name)
    ends = {}
    for pc, instruction in enumerate(instructions):
        out += [f".entry {name}" for name in entries.get(pc, ())]
        if pc in names:
            out.append(f"{names[pc]}:")
        depth = len(nests[pc]) if structured else 0
        text = instruction_text(instruction, names=names, raw=not structured)
        if pc in assembly.ahead:
            text += f", ahead={assembly.ahead[pc].low}..{assembly.ahead[pc].high}"
        note = ""
        if comments:
            said = _note(instruction, assembly)
            note = f"  ; {pc}{': ' + said if said else ''}"
        out.append(f"{'    ' * (depth + 1)}{text}".ljust(44 if note else 0) + note)
        if structured:
            if instruction.op is Op.LOOP:
                ends.setdefault(pc + instruction["span"], []).append(depth)
            for level in reversed(ends.pop(pc, ())):
                out.append("    " * (level + 1) + "end")
    return "\n".join(out) + "\n"


def _head(assembly):
    out = []
    out.append(f'.name "{assembly.name}"')
    out.append(f".tick {float(assembly.tick_s * 10**12):.17g}ps" if (
        (assembly.tick_s * 10**12).denominator == 1) else
        f".tick {assembly.tick_s.numerator}s/{assembly.tick_s.denominator}")
    out += [f".channel {name} {number}" for number, name in assembly.channels.items()]
    out += [f".line {name} {number}" for number, name in assembly.ttl_lines.items()]
    if assembly.settle_ticks is not None:
        out.append(f".settle {assembly.settle_ticks}")
    if assembly.decoder is not None:
        sites = "" if assembly.decoder.sites is None else f", sites={assembly.decoder.sites}"
        out.append(f".decoder every={assembly.decoder.ticks}, depth={assembly.decoder.depth}"
                   f"{sites}")
    taken = set()
    for name, p in assembly.parameters.items():
        taken.add(p.register)
        doc = f' "{p.doc}"' if p.doc else ""
        low, high, default = (_in_unit(v, p.unit, assembly.tick_s)
                              for v in (p.low, p.high, p.default))
        out.append(f".param {name} r{p.register} in {low}..{high} = {default}{doc}")
    out += [f".assume r{register} in {interval.low}..{interval.high}"
            for register, interval in assembly.assumptions.items() if register not in taken]
    for channel, points in sorted(assembly.envelopes.items()):
        out.append(f".envelope {channel} e{channel} points()")
        out += [".points " + ", ".join(map(str, points[at:at + 16]))
                for at in range(0, len(points), 16)]
    out += [f".wave w{number} raw({wave.step:#x}, {wave.base}, {wave.length})"
            for number, wave in enumerate(assembly.waves)]
    return out


def _in_unit(value, unit, tick_s):
    """A parameter's value such that the assembler finds its unit again."""
    if unit == "ticks":
        return f"{value} * {tick_s.numerator}s / {tick_s.denominator}"
    if unit == "amplitude":
        return f"{value} / 32768"
    return f"{value}turn / 4294967296" if unit == "phase" else str(value)


def instruction_text(instruction, *, names=None, raw=True):
    """One instruction as the assembler reads it."""
    names, op, given = names or {}, instruction.op, instruction.operands
    parts, flags = [], []
    mnemonic = op.name.lower()
    for operand in OPERANDS[op]:
        value, kind = given[operand.name], operand.kind
        if kind == "condition":
            mnemonic = f"b{value.name.lower()}"
        elif kind == "function":
            mnemonic = value.name.lower()
        elif kind == "flag":
            if value:
                flags.append(operand.name)
        elif isinstance(value, R | Pair):
            parts.append(str(value))
        elif kind in ("mode", "source"):
            parts.append((TriggerMode if kind == "mode" else Source)(value).name.lower())
        elif kind == "timeout":
            parts.append("forever" if value == 0 else str(value))
        elif kind == "target":
            parts.append(names.get(value, str(value)))
        elif kind == "size":
            parts.append(f"size={1 << value}")
        elif operand.name == "span":
            if raw:
                parts.append(f"span={value}")
        elif operand.name == "pop":
            if raw and value:
                parts.append(f"pop={value}")
        elif operand.name == "shift":
            if given["function"] is AluFunction.MUL and value:
                parts.append(f"shift={value}")
        elif operand.default is not None and value == operand.default:
            continue
        elif operand.name == "defer":
            parts.append(f"defer={value}")
        elif kind in ("mask16", "mask8", "frequency", "phase") or op is Op.LI:
            parts.append(f"{value:#x}")
        else:
            parts.append(str(value))
    text = f"{mnemonic} {', '.join(parts + flags)}".strip()
    low = least(op, given)
    return text + (f" for {instruction.dwell}" if low and instruction.dwell != low else "")


def _note(instruction, assembly):
    """Physical values of an instruction's numbers."""
    op, given, tick = instruction.op, instruction.operands, assembly.tick_s
    if op is Op.FREQ and isinstance(given["frequency"], int):
        turns = Fraction(given["frequency"], 2**36)
        turns -= 1 if turns > Fraction(1, 2) else 0
        return quantity_text(Value(turns / tick, "frequency"))
    if op is Op.PHASE and not isinstance(given["phase"], R):
        return quantity_text(Value(Fraction(given["phase"], 2**32), "phase"))
    if op is Op.PULSE:
        said = []
        wave = given["wave"]
        if not isinstance(wave, R) and wave < len(assembly.waves):
            entry = assembly.waves[wave]
            said.append(f"{entry.name}, " + (quantity_text(Value(entry.length * tick, "time"))
                                             if entry.length else "until the next"))
        if not isinstance(given["amplitude"], R):
            said.append(f"{given['amplitude'] / 2**15:.4g} of full scale")
        return ", ".join(said)
    if op is Op.NOP and instruction.dwell > 1:
        return quantity_text(Value(instruction.dwell * tick, "time"))
    if "timeout" in given and given["timeout"]:
        return "at most " + quantity_text(Value(given["timeout"] * tick, "time"))
    return ""
