"""Generated documents: up to date, and well formed."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from quantacore.gateware.layouts.documents import (
    DOCUMENTS,
    main,
    registers_markdown,
    registers_svd,
    write_documents,
)
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import Memory

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == DOCUMENTS[name](), (
        f"docs/{name} is not what gateware/layouts says: run `make docs` and look at the "
        f"difference")


def test_writing_again_changes_nothing(tmp_path, capsys):
    assert len(write_documents(tmp_path)) == len(DOCUMENTS)
    main([str(tmp_path)])
    assert capsys.readouterr().out == ""


def test_unknown_folder_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="Expected one existing folder to write to, got"):
        main([str(tmp_path / "nowhere")])


def test_json_has_every_register_at_its_address():
    found = {f"{block['name']}.{register['name']}": register["address"]
             for block in json.loads((DOCS / "registers.json").read_text())["blocks"]
             for register in block["registers"]}
    assert found == {placed.name: placed.address for placed in NODE_MAP.placed()}


def test_markdown_tables_have_even_rows():
    width = None
    for line in registers_markdown().splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, cells), line
        width = cells


def test_svd_is_in_the_order_of_its_schema():
    order = ["dim", "dimIncrement", "name", "description", "addressOffset", "size", "access",
             "resetValue", "modifiedWriteValues", "fields"]
    for register in ET.fromstring(registers_svd().encode()).iter("register"):
        tags = [child.tag for child in register]
        assert tags == sorted(tags, key=order.index)
        assert {"name", "addressOffset", "size", "access"} <= set(tags)


def test_svd_registers_fit_and_do_not_overlap():
    device = ET.fromstring(registers_svd().encode())
    seen, names = set(), set()
    for peripheral in device.iter("peripheral"):
        base = int(peripheral.findtext("baseAddress"), 0)
        size = int(peripheral.findtext("addressBlock/size"), 0)
        for register in peripheral.iter("register"):
            number = int(register.findtext("dim", "1"))
            step = int(register.findtext("dimIncrement", "0"), 0)
            offset = int(register.findtext("addressOffset"), 0)
            length = int(register.findtext("size")) // 8
            for i in range(number):
                taken = set(range(base + offset + i * step, base + offset + i * step + length))
                assert max(taken) < base + size
                assert not taken & seen
                seen |= taken
            names.add((peripheral.findtext("name").lower(),
                       register.findtext("name").lower().removesuffix("[%s]")))
            bits = [bit for field in register.iter("field")
                    for bit in range(int(field.findtext("bitOffset")),
                                     int(field.findtext("bitOffset"))
                                     + int(field.findtext("bitWidth")))]
            assert len(bits) == len(set(bits))
            assert all(bit < 8 * length for bit in bits)
    assert names == {(placed.block, placed.register.name) for placed in NODE_MAP.placed()}
    assert any(isinstance(placed.register, Memory) for placed in NODE_MAP.placed())
