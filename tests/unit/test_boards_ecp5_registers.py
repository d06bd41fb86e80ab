"""Registers that move into an ECP5's multipliers and memories, and those that must not."""

import json

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.boards import ecp5
from quantacore.boards.ecp5_registers import absorb_registers
from quantacore.gateware.ram import RAM


class Product(wiring.Component):
    """``a * b`` between registers: two before it, one behind."""

    a: In(signed(18))
    b: In(signed(18))
    enable: In(1)
    product: Out(signed(36))

    def __init__(self, *, reset=False, enable=False, logic=False):
        self.reset = reset
        self.enabled = enable
        self.logic = logic
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(36), reset_less=not self.reset)
        factors = []
        for name, value in (("a", self.a), ("b", self.b)):
            for stage in range(2):
                later = Signal(signed(18), name=f"{name}_{stage}", reset_less=True)
                m.d.sync += later.eq(value + 3 if self.logic and stage else value)
                value = later
            factors.append(value)
        made = factors[0] * factors[1]
        if self.enabled:
            with m.If(self.enable):
                m.d.sync += product.eq(made)
        else:
            m.d.sync += product.eq(made)
        m.d.comb += self.product.eq(product)
        return m


def cells_of(component, folder, name="small"):
    ecp5.synthesise(component, name, folder=folder)
    (path,) = folder.glob(f"{name}-*/{name}.json")
    return json.loads(path.read_text())["modules"][name]["cells"].values()


def parameters_of(component, folder, kind):
    (cell,) = [cell for cell in cells_of(component, folder) if cell["type"] == kind]
    return cell["parameters"]


def test_multiplier_takes_its_registers(tmp_path):
    cells = cells_of(Product(), tmp_path)
    (multiplier,) = [cell for cell in cells if cell["type"] == "MULT18X18D"]
    assert multiplier["parameters"] == {"REG_INPUTA_CLK": "CLK0", "REG_INPUTB_CLK": "CLK0",
                                        "REG_OUTPUT_CLK": "CLK0"}
    assert multiplier["connections"]["CE0"] == ["1"]
    # Of 72 + 36 the first stage is left.
    assert sum(cell["type"] == "TRELLIS_FF" for cell in cells) == 36


@pytest.mark.parametrize("words", [{"reset": True}, {"enable": True}])
def test_register_with_reset_or_enable_stays(tmp_path, words):
    parameters = parameters_of(Product(**words), tmp_path, "MULT18X18D")
    assert parameters == {"REG_INPUTA_CLK": "CLK0", "REG_INPUTB_CLK": "CLK0"}


def test_register_behind_logic_stays(tmp_path):
    assert parameters_of(Product(logic=True), tmp_path, "MULT18X18D") == {
        "REG_OUTPUT_CLK": "CLK0"}


class Lookup(wiring.Component):
    """A memory, and a register behind it that a second reader may see through."""

    write: In(1)
    address: In(10)
    data: In(16)
    o: Out(16)
    early: Out(1)

    def __init__(self, *, spy=False):
        self.spy = spy
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = RAM(width=16, depth=1024)
        word = Signal(16, reset_less=True)
        m.d.comb += [
            ram.write.eq(self.write), ram.write_address.eq(self.address),
            ram.write_data.eq(self.data), ram.read.eq(1), ram.read_address.eq(self.address),
            self.o.eq(word), self.early.eq(ram.read_data[3] if self.spy else 0),
        ]
        m.d.sync += word.eq(ram.read_data)
        return m


@pytest.mark.parametrize("spy, mode", [(False, "OUTREG"), (True, "NOREG")])
def test_memory_takes_its_register_unless_others_see_the_word(tmp_path, spy, mode):
    parameters = parameters_of(Lookup(spy=spy), tmp_path, "DP16KD")
    assert [parameters["REGMODE_A"], parameters["REGMODE_B"]].count(mode) == 1 + spy


def test_nextpnr_takes_what_comes_out(tmp_path):
    placed = ecp5.place_and_route(Product(), "small", folder=tmp_path, device="12k", seeds=(1,))
    assert (placed.dsp, placed.dff) == (1, 36)
    assert placed.fmax_hz > 150e6


def test_module_without_either_is_left_alone():
    module = {"cells": {}, "ports": {"i": {"bits": [2]}}}
    assert absorb_registers(module) == 0
