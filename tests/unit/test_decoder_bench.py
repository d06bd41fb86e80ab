"""The compiled decoder's cache: what is found again, and by what."""

import pytest

from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.sim.bench import compiled
from quantacore.sim.bench import decoder as bench

SHAPE = DecoderShape(space_bits=2, capacity=8, cluster=4, event_bits=5)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """What had to be done, in order: "verilog", "compile". The tools themselves stay at home."""
    done = []

    def to_verilog(component, name):
        done.append("verilog")
        return f"{component.shape} {component.rounds_waiting}"

    def compile_(top, verilog, header, harness, optimisation, target):
        done.append("compile")
        target.write_text(verilog)

    monkeypatch.setenv("QUANTACORE_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "to_verilog", to_verilog)
    monkeypatch.setattr(compiled, "_compile", compile_)
    return done


def test_the_same_decoder_is_found_without_its_verilog(work):
    first = bench._build(SHAPE, 64, 1)
    assert work == ["verilog", "compile"]
    assert bench._build(SHAPE, 64, 1) == first
    assert work == ["verilog", "compile"]


@pytest.mark.parametrize("shape, waiting, optimisation", [
    (DecoderShape(space_bits=2, capacity=8, cluster=5, event_bits=5), 64, 1), (SHAPE, 32, 1),
    (SHAPE, 64, 0)])
def test_another_decoder_is_another_library(work, shape, waiting, optimisation):
    assert bench._build(shape, waiting, optimisation) != bench._build(SHAPE, 64, 1)
    assert work == ["verilog", "compile"] * 2


def test_changed_sources_with_the_same_verilog_are_not_compiled_again(work, monkeypatch):
    first = bench._build(SHAPE, 64, 1)
    monkeypatch.setattr(compiled, "gateware_digest", lambda: "changed")
    assert bench._build(SHAPE, 64, 1) == first
    assert work == ["verilog", "compile", "verilog"]


def test_changed_sources_with_other_verilog_are_another_library(work, monkeypatch):
    first = bench._build(SHAPE, 64, 1)
    monkeypatch.setattr(compiled, "gateware_digest", lambda: "changed")
    monkeypatch.setattr(compiled, "to_verilog", lambda component, name: "changed")
    assert bench._build(SHAPE, 64, 1) != first


def test_a_library_that_was_deleted_is_made_again(work):
    bench._build(SHAPE, 64, 1).unlink()
    assert bench._build(SHAPE, 64, 1).exists()
    assert work == ["verilog", "compile"] * 2


def test_another_compiler_is_another_library(work, monkeypatch):
    first = bench._build(SHAPE, 64, 1)
    monkeypatch.setattr(compiled, "tool_key", lambda: "another")
    assert bench._build(SHAPE, 64, 1) != first
    assert work == ["verilog", "compile"] * 2
