"""The layouts as JSON, and the CRC that host and node compare."""

import enum as py_enum
import functools
import json
import zlib

from amaranth.hdl import Shape
from amaranth.lib import data

from quantacore.gateware.layouts import (
    decoder,
    decoder_registers,
    frames,
    identity,
    instructions,
    sequencer,
    tags,
)
from quantacore.gateware.layouts.node import NODE_MAP

__all__ = ["layouts_dict", "layouts_json", "map_crc"]


def _struct(struct):
    return {
        "bits": Shape.cast(struct).width,
        "doc": struct.__doc__.strip().splitlines()[0],
        "fields": [
            {"name": name, "offset": f.offset, "bits": Shape.cast(f.shape).width}
            for name, f in struct.as_shape()
        ],
    }


def _enumeration(enumeration):
    return {"bits": Shape.cast(enumeration).width,
            "values": {member.name: member.value for member in enumeration}}


def layouts_dict(register_map=NODE_MAP):
    """Every shared word as plain dictionaries and lists."""
    shapes = {}
    blocks = []
    for base, block in register_map.bases():
        registers = []
        for offset, register in block.offsets():
            entry = {
                "name": register.name, "address": base + offset, "bits": register.width,
                "access": register.access.value, "words": register.size,
                "count": register.count, "signed": register.signed,
                "memory": hasattr(register, "depth"),
                "init": register.init, "unit": register.unit, "doc": register.doc,
                "fields": [
                    {"name": name, "offset": offset, "bits": bits,
                     "values": None if values is None
                     else {member.name: member.value for member in values}}
                    for name, offset, bits, values in register.fields()
                ],
            }
            registers.append(entry)
        blocks.append({"name": block.name, "address": base, "words": block.size,
                       "doc": block.doc, "registers": registers})
    for module in (tags, frames, decoder, instructions, sequencer):
        for name in module.__all__:
            value = getattr(module, name)
            # A frame's operation is one thing, an instruction's another.
            key = f"instruction.{name}" if module is instructions else name
            if isinstance(value, py_enum.EnumMeta):
                shapes[key] = _enumeration(value)
            elif isinstance(value, type) and issubclass(value, data.Struct):
                shapes[key] = _struct(value)
    constants = {
        name: getattr(module, name)
        for module in (tags, frames, identity, decoder, decoder_registers, instructions,
                       sequencer)
        for name in module.__all__
        if isinstance(getattr(module, name), int) and not isinstance(getattr(module, name), bool)
    }
    return {"constants": constants, "shapes": shapes, "blocks": blocks}


def layouts_json(register_map=NODE_MAP):
    """The layouts as JSON text, the same on every machine."""
    return json.dumps(layouts_dict(register_map), indent=1, sort_keys=True) + "\n"


def _without_prose(value):
    if isinstance(value, dict):
        return {k: _without_prose(v) for k, v in value.items() if k not in ("doc", "unit")}
    if isinstance(value, list):
        return [_without_prose(v) for v in value]
    return value


@functools.cache
def map_crc(register_map=NODE_MAP):
    """CRC-32 of the layouts' JSON without its prose: better words are not another map."""
    text = json.dumps(_without_prose(layouts_dict(register_map)), sort_keys=True,
                      separators=(",", ":"))
    return zlib.crc32(text.encode())
