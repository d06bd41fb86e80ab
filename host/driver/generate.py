"""Write :mod:`quantacore.host.driver.registers` from the node's map.

``python -m quantacore.host.driver.generate`` writes the file, ``--check`` only compares.
"""

import argparse
import enum
import sys
import textwrap
from pathlib import Path

from quantacore.gateware.layouts.export import map_crc
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import Memory

__all__ = ["generate", "main"]

OUTPUT = Path(__file__).with_name("registers.py")


def _camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


def _doc(text, indent):
    text = " ".join((text or "").split())
    pad = " " * indent
    lines = textwrap.wrap(text, 96 - indent) or [""]
    if len(lines) == 1 and len(lines[0]) + indent + 6 <= 100:
        return f'{pad}"""{lines[0]}"""'
    return "\n".join([f'{pad}"""{lines[0]}', *(pad + line for line in lines[1:]), f'{pad}"""'])


def _summary(shape):
    return (shape.__doc__ or shape.__name__).strip().split("\n\n")[0]


def _packed(items, indent=8):
    """Items with commas, as many to a line as fit; none is broken."""
    lines = [" " * indent]
    for item in items:
        if lines[-1].strip() and len(lines[-1]) + len(item) + 2 > 100:
            lines.append(" " * indent)
        lines[-1] += (" " if lines[-1].strip() else "") + item + ","
    return "\n".join(lines)


class _Writer:
    def __init__(self):
        self.types = {}

    def enumeration(self, shape):
        if shape.__name__ not in self.types:
            self.types[shape.__name__] = "\n".join([
                f"class {shape.__name__}(enum.IntEnum):", _doc(_summary(shape), 4), "",
                *(f"    {member.name} = {member.value}" for member in shape)])
        return shape.__name__

    def fields(self, register):
        name = register.shape.__name__
        if name not in self.types:
            rows, slots = [], []
            for field, offset, width, values in register.fields():
                kind = "None" if values is None else self.enumeration(values)
                rows.append(f'        "{field}": ({offset}, {width}, {kind}),')
                slots.append(f'"{field}"')
            slot_text = _packed(slots)
            self.types[name] = "\n".join([
                f"class {name}(Fields):", _doc(_summary(register.shape), 4), "",
                "    __slots__ = (", slot_text, "    )", "    LAYOUT = {", *rows, "    }"])
        return name

    def type_of(self, register):
        shape = register.shape
        if isinstance(shape, enum.EnumMeta):
            return self.enumeration(shape)
        if register.fields():
            return self.fields(register)
        return None

    def register(self, block, register, address):
        words = [f'"{block.name}.{register.name}"', f"{address:#06x}"]
        if register.width != 32:
            words.append(f"width={register.width}")
        if register.access.value != "rw":
            words.append(f'access="{register.access.value}"')
        if not isinstance(register, Memory):
            if register.signed:
                words.append("signed=True")
            if register.count is not None:
                words.append(f"count={register.count}")
            kind = self.type_of(register)
            if kind:
                words.append(f"type={kind}")
        else:
            words.append(f"memory={register.depth}")
        if register.unit:
            words.append(f'unit="{register.unit}"')
        call = _packed(words)
        doc = textwrap.wrap(" ".join(register.doc.split()), 84)
        if len(doc) > 1:
            doc_lines = ["        doc=("]
            doc_lines += [f"            {_quoted(line + (' ' if i < len(doc) - 1 else ''))}"
                          for i, line in enumerate(doc)] + ["        )"]
        else:
            doc_lines = [f"        doc={_quoted(doc[0])}"]
        return "\n".join([f"    {register.name} = Register(", call, *doc_lines, "    )"])


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def generate(register_map=NODE_MAP):
    """The text of the module."""
    writer = _Writer()
    blocks = []
    for base, block in register_map.bases():
        body = [writer.register(block, register, base + offset)
                for offset, register in block.offsets()]
        blocks.append("\n".join([f"class {_camel(block.name)}Registers(RegisterBlock):",
                                 _doc(block.doc, 4), "", *body]))
    node = "\n".join([
        "class NodeRegisters(Driver):", _doc("The registers of a node, by block.", 4), "",
        "    def __init__(self, client):",
        *(f"        self.{block.name} = {_camel(block.name)}Registers(client)"
          for block in register_map.blocks)])
    names = [*writer.types, *(f"{_camel(b.name)}Registers" for b in register_map.blocks),
             "NodeRegisters", "MAP_CRC"]
    exported = _packed([f'"{name}"' for name in names], indent=4)
    head = "\n".join([
        '"""The registers of a node, typed.', "",
        "Generated by ``python -m quantacore.host.driver.generate`` from "
        "``quantacore.gateware.layouts``;",
        'don\'t edit.', '"""', "", "import enum", "",
        "from quantacore.host.driver.link import Driver",
        "from quantacore.host.driver.register import Fields, Register, RegisterBlock", "",
        "__all__ = [", exported, "]", "",
        "#: CRC of the layouts that this file was generated from.",
        f"MAP_CRC = {map_crc(register_map):#010x}"])
    return "\n\n\n".join([head, *writer.types.values(), *blocks, node]) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(arguments)
    text = generate()
    if options.check:
        if not OUTPUT.exists() or OUTPUT.read_text() != text:
            sys.stderr.write(f"{OUTPUT.name} is not what the layouts say; write it anew with: "
                             f"python -m quantacore.host.driver.generate\n")
            return 1
        return 0
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
