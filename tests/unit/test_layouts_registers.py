"""Registers, blocks, maps: what they refuse, where they end up, what changes their CRC."""

import dataclasses
import re

import pytest
from amaranth.hdl import signed
from amaranth.lib import data, enum

from quantacore.gateware.layouts.export import layouts_dict, map_crc
from quantacore.gateware.layouts.identity import IDENTITY
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import (
    Access,
    Block,
    Memory,
    Register,
    RegisterMap,
    sticky_registers,
)


class Two(data.Struct):
    a: 4
    b: 4


class Swapped(data.Struct):
    b: 4
    a: 4


def block(*registers, name="x"):
    return Block(name=name, doc="", registers=registers)


def of(*registers):
    return RegisterMap(blocks=(block(*registers),))


@pytest.mark.parametrize("words, message", [
    ({"name": "Upper"}, "Register name must be a lower-case identifier, not 'Upper'"),
    ({"name": "a-b"}, "Register name must be a lower-case identifier, not 'a-b'"),
    ({"shape": 65}, "Register 'r' must have 1 to 64 bits, not 65"),
    ({"shape": 0}, "Register 'r' must have 1 to 64 bits, not 0"),
    ({"count": 0}, "Register 'r' must have a count of at least 1, not 0"),
    ({"shape": 4, "init": 16}, "Initial value of register 'r' must fit 4 bits, not 0x10"),
    ({"init": -1}, "Initial value of register 'r' must fit 32 bits, not -0x1"),
    ({"init": 1, "access": Access.READ_ONLY},
     "Register 'r' is 'ro' and can't have an initial value"),
])
def test_register_refuses(words, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Register(**{"name": "r", "doc": "", **words})


def test_block_refuses_two_of_a_name():
    r = Register(name="r", doc="")
    with pytest.raises(ValueError, match=r"^Block 'x' has two registers called 'r'$"):
        block(r, r)


def test_registers_follow_each_other():
    registers = (Register(name="a", doc=""), Register(name="b", shape=33, count=2, doc=""),
                 Register(name="c", shape=1, doc=""))
    assert [offset for offset, _register in block(*registers).offsets()] == [0, 1, 5]
    assert block(*registers).size == 8


def test_memory_is_aligned_to_its_size():
    placed = of(Register(name="a", doc=""), Memory(name="m", depth=19, doc=""))["x.m"]
    assert placed.address == 32
    assert placed.element(18) == 50


def test_blocks_are_aligned_to_their_size():
    big = block(*(Register(name=f"r{i}", doc="") for i in range(5)), name="big")
    one = block(Register(name="r", doc=""), name="one")
    register_map = RegisterMap(blocks=(one, big, one))
    assert [base for base, _block in register_map.bases()] == [0, 8, 16]
    assert register_map.addr_width == 5
    assert register_map.base("big") == 8


def test_element_beyond_the_end():
    placed = of(Register(name="r", count=3, shape=64, doc=""))["x.r"]
    assert [placed.element(i) for i in range(3)] == [0, 2, 4]
    with pytest.raises(IndexError, match=r"^x.r has 3 elements, there is no number 3$"):
        placed.element(3)


@pytest.mark.parametrize("look_up, message", [
    (lambda: NODE_MAP["tagger.nothing"], "The map has no register 'tagger.nothing'"),
    (lambda: NODE_MAP.base("nothing"), "The map has no block 'nothing'"),
])
def test_unknown_names(look_up, message):
    with pytest.raises(KeyError, match=re.escape(message)):
        look_up()


def test_fields_and_values():
    class Colour(enum.Enum, shape=2):
        RED = 1

    assert Register(name="r", shape=Two, doc="").fields() == [("a", 0, 4, None), ("b", 4, 4, None)]
    assert Register(name="r", shape=Colour, doc="").fields() == [("value", 0, 2, Colour)]
    assert Register(name="r", doc="").fields() == []


def test_only_plain_shapes_are_signed():
    assert Register(name="r", shape=signed(5), doc="").signed
    assert not Register(name="r", shape=5, doc="").signed
    assert not Register(name="r", shape=Two, doc="").signed


def test_sticky_registers_have_one_count_and_time_per_flag():
    flags, counts, times = sticky_registers(Two)
    assert (flags.access, counts.count, times.count, times.width) == (
        Access.CLEAR_BY_ONE, 8, 8, 64)


def test_identity_never_moves():
    addresses = {p.register.name: p.address for p in NODE_MAP.placed() if p.block == "identity"}
    assert addresses == {"magic": 0, "protocol": 1, "map_crc": 2, "capabilities": 3,
                         "build_id": 4, "geometry": 6, "scratch": 7, "tick_numerator": 8,
                         "tick_denominator": 9}
    assert NODE_MAP.blocks[0] is IDENTITY


def test_no_two_registers_share_a_word():
    words = [placed.address + i for placed in NODE_MAP.placed()
             for i in range(placed.register.size)]
    assert len(words) == len(set(words))
    assert max(words) < 1 << 16


def test_every_register_is_explained():
    for placed in NODE_MAP.placed():
        assert placed.register.doc.endswith("."), placed.name


BASE = Register(name="r", shape=Two, doc="One.", unit="ticks")


@pytest.mark.parametrize("changed", [
    dataclasses.replace(BASE, shape=Swapped),
    dataclasses.replace(BASE, shape=8),
    dataclasses.replace(BASE, name="s"),
    dataclasses.replace(BASE, access=Access.READ_ONLY),
    dataclasses.replace(BASE, init=1),
    dataclasses.replace(BASE, count=1),
], ids=["field moved", "fields gone", "name", "access", "reset", "array"])
def test_crc_changes_with_the_map(changed):
    assert map_crc(of(changed)) != map_crc(of(BASE))


def test_crc_changes_with_an_address():
    pad = Register(name="pad", doc="")
    assert map_crc(of(pad, BASE)) != map_crc(of(BASE, pad))


def test_crc_ignores_prose():
    assert map_crc(of(dataclasses.replace(BASE, doc="Two.", unit="s"))) == map_crc(of(BASE))


def test_crc_is_of_plain_data():
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(plain(item) for item in value)
        return value is None or isinstance(value, str | int)

    assert plain(layouts_dict())
