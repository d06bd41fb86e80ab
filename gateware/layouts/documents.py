"""Documents made from the layouts: a Markdown reference, the JSON, an SVD file.

``python -m quantacore.gateware.layouts.documents [FOLDER]`` writes all three (to ``docs`` unless
told otherwise).
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from quantacore.gateware.layouts.export import layouts_dict, layouts_json, map_crc
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import WORD_BITS, Access, Memory

__all__ = ["DOCUMENTS", "registers_markdown", "registers_svd", "write_documents", "main"]

_ACCESS = {
    Access.READ_WRITE: "read, write",
    Access.READ_ONLY: "read",
    Access.WRITE_ONLY: "write",
    Access.CLEAR_BY_ONE: "read, write 1 to clear",
}
_SVD_ACCESS = {
    Access.READ_WRITE: "read-write",
    Access.READ_ONLY: "read-only",
    Access.WRITE_ONLY: "write-only",
    Access.CLEAR_BY_ONE: "read-write",
}


def _cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def _address(base, register):
    if register.size == 1:
        return f"`{base:#06x}`"
    return f"`{base:#06x}`–`{base + register.size - 1:#06x}`"


def _form(register):
    if isinstance(register, Memory):
        return f"{register.width} bits × {register.depth} words"
    form = f"{register.width} bit{'s' if register.width > 1 else ''}"
    if register.signed:
        form += ", signed"
    return form if register.count is None else f"{form} × {register.count}"


def registers_markdown(register_map=NODE_MAP):
    """The map and every shared word as a Markdown page."""
    shared = layouts_dict(register_map)
    lines = [
        "# Registers and shared words",
        "",
        "Made by `make docs` from `gateware/layouts/`; do not edit. The same facts for machines: "
        "[registers.json](registers.json), [quantacore.svd](quantacore.svd).",
        "",
        f"CRC-32 of the map: `{map_crc(register_map):#010x}`. Addresses count 32-bit words (the "
        f"SVD file counts bytes). A 64-bit register takes two words, low word first: reading the "
        f"low word keeps the high one for the next read, writing the high word takes effect.",
        "",
        "| block | address | words | |",
        "|---|---|---|---|",
    ]
    for base, block in register_map.bases():
        lines.append(f"| [{block.name}](#{block.name}) | `{base:#06x}` | {block.size} | "
                     f"{_cell(block.doc)} |")
    for base, block in register_map.bases():
        lines += ["", f"## {block.name}", "", _cell(block.doc), "",
                  "| address | register | form | access | reset | unit | |",
                  "|---|---|---|---|---|---|---|"]
        for offset, register in block.offsets():
            reset = f"`{register.init:#x}`" if register.access is Access.READ_WRITE else ""
            lines.append(
                f"| {_address(base + offset, register)} | `{register.name}` | {_form(register)} | "
                f"{_ACCESS[register.access]} | {reset} | {_cell(register.unit)} | "
                f"{_cell(register.doc)} |")
        for _offset, register in block.offsets():
            if not register.fields():
                continue
            lines += ["", f"Fields of `{block.name}.{register.name}`:", "",
                      "| bits | field | values |", "|---|---|---|"]
            for name, low, width, values in register.fields():
                bits = f"{low}" if width == 1 else f"{low + width - 1}:{low}"
                text = "" if values is None else ", ".join(
                    f"{member.value} = {member.name}" for member in values)
                lines.append(f"| {bits} | `{name}` | {text} |")
    lines += ["", "## Shared words", "", "Structures and codes of records and link frames."]
    for name, shape in shared["shapes"].items():
        lines += ["", f"### {name}", ""]
        if "values" in shape:
            lines += [f"{shape['bits']} bits.", "", "| value | name |", "|---|---|"]
            lines += [f"| {value} | `{key}` |" for key, value in shape["values"].items()]
        else:
            lines += [f"{_cell(shape['doc'])} {shape['bits']} bits.", "", "| bits | field |",
                      "|---|---|"]
            for field in shape["fields"]:
                low, high = field["offset"], field["offset"] + field["bits"] - 1
                lines.append(f"| {low if low == high else f'{high}:{low}'} | `{field['name']}` |")
    lines += ["", "## Constants", "", "| name | value |", "|---|---|"]
    lines += [f"| `{name}` | {value} |" for name, value in sorted(shared["constants"].items())]
    return "\n".join(lines) + "\n"


def _element(parent, tag, text=None, **attributes):
    element = ET.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element


def _svd_fields(parent, register):
    fields = register.fields()
    if not fields:
        if register.width % WORD_BITS:
            fields = [("value", 0, register.width, None)]
        else:
            return
    container = _element(parent, "fields")
    for name, low, width, values in fields:
        field = _element(container, "field")
        _element(field, "name", name)
        _element(field, "bitOffset", low)
        _element(field, "bitWidth", width)
        if values is not None:
            enumerated = _element(field, "enumeratedValues")
            for member in values:
                value = _element(enumerated, "enumeratedValue")
                _element(value, "name", member.name)
                _element(value, "value", member.value)


def registers_svd(register_map=NODE_MAP):
    """The map as CMSIS-SVD text: byte addresses, one peripheral per block."""
    device = ET.Element("device", {
        "schemaVersion": "1.3",
        "xmlns:xs": "http://www.w3.org/2001/XMLSchema-instance",
        "xs:noNamespaceSchemaLocation": "CMSIS-SVD.xsd",
    })
    _element(device, "name", "QuantaCore")
    _element(device, "version", f"{map_crc(register_map):#010x}")
    _element(device, "description", "Registers of a QuantaCore node, behind its link. The version "
             "is the CRC-32 of the map.")
    _element(device, "addressUnitBits", 8)
    _element(device, "width", WORD_BITS)
    peripherals = _element(device, "peripherals")
    for base, block in register_map.bases():
        peripheral = _element(peripherals, "peripheral")
        _element(peripheral, "name", block.name.upper())
        _element(peripheral, "description", _cell(block.doc))
        _element(peripheral, "baseAddress", f"{4 * base:#x}")
        area = _element(peripheral, "addressBlock")
        _element(area, "offset", "0x0")
        _element(area, "size", f"{4 * block.size:#x}")
        _element(area, "usage", "registers")
        registers = _element(peripheral, "registers")
        for offset, register in block.offsets():
            entry = _element(registers, "register")
            number = register.size // register.words
            array = isinstance(register, Memory) or register.count is not None
            if array:
                _element(entry, "dim", number)
                _element(entry, "dimIncrement", f"{4 * register.words:#x}")
            _element(entry, "name", register.name.upper() + ("[%s]" if array else ""))
            _element(entry, "description", _cell(register.doc) + (
                f" Unit: {register.unit}." if register.unit else ""))
            _element(entry, "addressOffset", f"{4 * offset:#x}")
            _element(entry, "size", WORD_BITS * register.words)
            _element(entry, "access", _SVD_ACCESS[register.access])
            _element(entry, "resetValue", f"{register.init:#x}")
            if register.access is Access.CLEAR_BY_ONE:
                _element(entry, "modifiedWriteValues", "oneToClear")
            _svd_fields(entry, register)
    ET.indent(device)
    return ET.tostring(device, encoding="unicode", xml_declaration=True) + "\n"


#: File name and the function that makes its text.
DOCUMENTS = {
    "registers.md": registers_markdown,
    "registers.json": layouts_json,
    "quantacore.svd": registers_svd,
}


def write_documents(folder):
    """Write every document to ``folder``; return the paths of those that changed."""
    changed = []
    for name, make in DOCUMENTS.items():
        path, text = Path(folder) / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments=None):
    """Entry point of ``python -m quantacore.gateware.layouts.documents``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) > 1 or arguments and not Path(arguments[0]).is_dir():
        raise SystemExit(f"Expected one existing folder to write to, got {' '.join(arguments)!r}")
    for path in write_documents(arguments[0] if arguments else "docs"):
        print(f"written: {path}")


if __name__ == "__main__":
    main()
