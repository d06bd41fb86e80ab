"""The worked examples of docs/link.md are what the golden model makes of their fields."""

import re
from pathlib import Path

import pytest

from quantacore.gateware.layouts.frames import Op
from quantacore.sim.golden.framing import Frame, FrameDecoder, encode

_TEXT = (Path(__file__).parents[2] / "docs" / "link.md").read_text()
_EXAMPLES = re.findall(r"^```frame\n(.*)\n(.*)\n```$", _TEXT, re.MULTILINE)


def _frame(text):
    fields = dict(re.findall(r"(\w+)=(\[.*?\]|\S+)", text))
    payload = tuple(int(word, 0) for word in re.findall(r"\w+", fields.pop("payload")))
    values = {name: int(value, 0) for name, value in fields.items()}
    values["answer"] = bool(values["answer"])
    return Frame(payload=payload, **values)


def test_there_are_examples():
    assert len(_EXAMPLES) == 7


@pytest.mark.parametrize("fields, data", _EXAMPLES)
def test_example(fields, data):
    assert encode(_frame(fields)) == bytes.fromhex(data)
    assert FrameDecoder().feed(bytes.fromhex(data)) == [_frame(fields)]


def test_every_operation_is_in_the_table():
    found = dict(re.findall(r"^\| (\d+) ([A-Z_]+) \|", _TEXT, re.MULTILINE))
    assert found == {str(op.value): op.name for op in Op}
