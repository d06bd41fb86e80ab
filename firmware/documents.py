"""What documents and tests keep of the firmware: ``python -m quantacore.firmware.documents``.

The first argument is the folder of the documents, the second one that of the listings. Pulse
sheets, listings and the tables of ``sequencer.md`` are made anew; a test compares them with what
is in the repository.
"""

import re
import sys
from pathlib import Path

from amaranth.hdl import Shape

from quantacore.firmware.assembler import LIBRARY, MNEMONICS, assemble_file
from quantacore.firmware.sheet import sheet_svg
from quantacore.firmware.statements import form_of
from quantacore.firmware.words import R, least
from quantacore.gateware.layouts import instructions, sequencer
from quantacore.gateware.layouts.instructions import FORMATS, AluFunction, Op

__all__ = ["programs", "sheets", "listings", "tables", "with_tables", "main"]

#: What is chosen on the sheets of the documents.
CHOICES = {"entangle": {"herald": 1}}


def programs():
    """Shipped programs: name -> file."""
    return {path.stem: path for path in sorted(LIBRARY.glob("*.qcs"))
            if not path.name.endswith(".inc.qcs")}


def sheets():
    """File name -> SVG."""
    return {f"sheet-{name}.svg": sheet_svg(assemble_file(path), choices=CHOICES.get(name))
            for name, path in programs().items()}


def listings():
    """File name -> listing."""
    return {f"{name}.txt": assemble_file(path).listing() for name, path in programs().items()}


def _formats():
    rows = ["| instruction | code | fields: name (bits), lowest first |", "|---|--:|---|"]
    for op, word in FORMATS.items():
        fields = []
        for name, field in word.as_shape():
            if name == "op" or name.startswith("reserved"):
                continue
            low, width = field.offset, Shape.cast(field.shape).width
            sign = ", signed" if Shape.cast(field.shape).signed else ""
            bits = f"{low}" if width == 1 else f"{low}..{low + width - 1}"
            fields.append(f"{name} ({bits}{sign})")
        rows.append(f"| `{op.name}` | {op.value} | {', '.join(fields) or 'none'} |")
    return rows


def _costs():
    rows = ["| instruction | least dwell, ticks |", "|---|--:|"]
    for op in Op:
        if op is Op.LOOP:
            short, full = instructions.SHORT_LOOP, {"span": instructions.SHORT_LOOP, "count": 1}
            rows.append(f"| `LOOP` of {short} words or more | {least(op, full)} |")
            rows.append(f"| the same, count in a register | {least(op, {**full, 'count': R(1)})} |")
            rows.append(f"| `LOOP` of fewer | {least(op, {**full, 'span': 1})} |")
            continue
        if op is Op.ALU:
            rows.append(f"| `ALU` but MUL | {least(op, {'function': AluFunction.ADD})} |")
            rows.append(f"| `ALU` MUL | {least(op, {'function': AluFunction.MUL})} |")
            continue
        low = least(op, {})
        rows.append(f"| `{op.name}` | {low or 'lasts as long as it waits; `HALT` ends'} |"
                    if low or op is not Op.HALT else "| `HALT` | ends the program |")
    return [r.replace("lasts as long as it waits; `HALT` ends", "as long as it waits")
            for r in rows]


def _mnemonics():
    rows = ["| statement | instruction |", "|---|---|"]
    for name, (op, fixed) in MNEMONICS.items():
        extra = ", ".join(v.name for v in fixed.values())
        form = form_of(name, op, fixed).replace("|", "\\|")
        if op is Op.LOOP:
            form += " ... `end`"
        rows.append(f"| `{form}` | `{op.name}`{' ' + extra if extra else ''} |"
                    .replace(" ... `end`` |", "` ... `end` |"))
    return rows


_CONSTANTS = {
    "COMMAND_LATENCY": "from an instruction's tick to the command on the bus to channels and lines",
    "BRANCH_TICKS": "least dwell of `JMP`, `CALL`, `RET`, `BR` (taken or not), of a short `LOOP`",
    "SHORT_LOOP": "a body of fewer words is a short one (a number of words)",
    "DATA_TICKS": "least dwell of `LI`, `ALU`, `GET`: the next instruction sees the result",
    "MUL_TICKS": "the same of a multiplication",
    "LDT_TICKS": "the same of `LDT`",
    "DELAY_TICKS": "least dwell of `DELAY`",
    "UNTIL_TICKS": "`WAITUNTIL` is issued at least so long before its time",
    "FREQ_TICKS": "from `FREQ` to the first sample at the new frequency; its least dwell",
    "TRIGGER_TICKS": "from the tick that ends `WAITTRIG`, `BARRIER`, `DEC` to the next "
                     "instruction; so from the last tick of a `BRH` with `next`",
    "TIMEOUT_TICKS": "from the last tick of a wait to the instruction at its target",
    "VERDICT_TICKS": "from a verdict to the first instruction of its entry",
    "TTL_LATENCY": "from `SET` to the level of a fast line",
    "DAC_LATENCY": "from an instruction to its sample at a channel's output, and to other lines",
    "START_TICKS": "from `start_time` to the first instruction",
    "MARK_DEPTH": "marks that may wait (a number of marks)",
    "MARK_TICKS": "ticks in which a mark leaves",
}


def _constants():
    rows = ["| name | value | what |", "|---|--:|---|"]
    for name, what in _CONSTANTS.items():
        value = getattr(instructions, name, None)
        rows.append(f"| `{name}` | {getattr(sequencer, name) if value is None else value} | "
                    f"{what} |")
    return rows


def tables():
    """Name of a marker in the documents -> lines between its ends."""
    return {"formats": _formats(), "costs": _costs(), "statements": _mnemonics(),
            "constants": _constants()}


def with_tables(text):
    """A document with its tables made anew: what stands between ``<!-- name -->`` and
    ``<!-- end -->``."""
    for name, rows in tables().items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)",
                      lambda m, rows=rows: m[1] + "\n".join(rows) + "\n" + m[2], text,
                      flags=re.DOTALL)
    return text


def main(arguments):
    """Write everything."""
    docs = Path(arguments[0])
    (docs / "img").mkdir(parents=True, exist_ok=True)
    for name, text in sheets().items():
        (docs / "img" / name).write_text(text, encoding="utf-8")
    for name in ("sequencer.md", "firmware.md"):
        page = docs / name
        if page.exists():
            page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
    if len(arguments) > 1:
        folder = Path(arguments[1])
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in listings().items():
            (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
