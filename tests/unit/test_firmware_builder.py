"""The Python builder: the same as the assembler, in physical units, with the script's lines."""

import numpy as np
import pytest

from quantacore.firmware import AssemblyError, ProofError, R, assemble, decode
from quantacore.firmware.builder import Program
from quantacore.firmware.library import pulse_train, stirap, switch_and_settle
from quantacore.gateware.layouts.instructions import Op


def test_builder_makes_what_the_assembler_makes():
    p = Program("demo")
    bell = p.envelope("bell", [0, 1], "gaussian", points=64, sigma=6)
    w = p.wave("w", bell, 1e-6)
    gap = p.parameter("gap", 40e-9, 2e-6, 200e-9, kind="ticks", doc="between pulses")
    n = p.register("n")
    p.li(n, 5)
    with p.loop(10):
        p.pulse(0, w, 0.5, dwell=8e-9)
        p.delay(gap)
        with p.loop(n):
            p.pulse(1, w, -0.25, defer=16e-9, dwell=1.2e-6)
        p.phase(0, 0.25, add=True)
    p.freq(0, 10e6)
    p.beq(n, 5, "done")
    p.add(n, n, -1)
    p.label("done")
    p.halt(3)
    text = """
    .name "demo"
    .envelope 0, 1 bell gaussian(points=64, sigma=6)
    .wave w bell length=1us
    .param gap r0 in 40ns..2us = 200ns "between pulses"
    .reg n r1
    li n, 5
    loop 10
        pulse 0, w, 0.5
        delay gap
        loop n
            pulse 1, w, -0.25, defer=16ns for 1200ns
        end
        phase 0, 0.25turn, add
    end
    freq 0, 10MHz
    beq n, 5, done
    add n, n, -1
    done: halt 3
    """
    built, written = p.assembly(), assemble(text)
    for name in ("words", "waves", "envelopes", "parameters", "entries", "labels", "assumptions",
                 "tick_s", "name"):
        assert getattr(built, name) == getattr(written, name), name


def test_text_assembles_to_the_same():
    p = Program("x")
    with p.loop(4):
        p.tag(1)
        p.wait("2us")
    p.halt()
    assert assemble(p.text()).words == p.assembly().words


def test_every_kind_of_operand():
    p = Program("x")
    p.freq(1, (R(2), R(3)))
    p.freq(1, 0x123)
    p.phase(1, R(4), add=False)
    p.offset(1, np.float64(-0.5))
    p.bne(R(1), -3, 0)
    p.and_(R(1), R(2), 7)
    p.mul(R(1), R(2), R(3), shift=4, dwell=8)
    p.get(R(1), "tick_low")
    p.high(1, 2)
    p.low(2, dwell=5)
    p.mov(R(1), R(2))
    p.syn(0, R(1), R(2), push=True, first=True)
    p.waittrig(R(1), "rise", 1, 2e-6, 0)
    p.waituntil(1e-3)
    words = [decode(word) for word in p.assembly().words]
    assert str(words[0]["frequency"]) == "r2:r3" and words[1]["frequency"] == 0x123
    assert words[3]["level"] == -16384 and words[4]["operand"] == -3
    assert words[6]["shift"] == 4 and words[6].dwell == 8
    assert words[-2]["timeout"] == 250 and words[-1]["time"] == 125000


def test_points_of_an_array():
    p = Program("x")
    p.envelope("e", [3], np.linspace(-1, 1, 33))
    p.halt()
    points = p.assembly().envelopes[3]
    assert len(points) == 33 and (points[0], points[16], points[-1]) == (-32767, 0, 32767)


def test_table():
    p = Program("x")
    p.brh(R(5), "t", 2e-6)
    with p.table("t", 2):
        p.case(1, 2)
        p.tag("pattern")
        p.jmp(0)
        p.case("timeout")
        p.halt(1)
        p.default()
        p.halt()
    words = [decode(word) for word in p.assembly().words]
    assert words[1 + 4].op is Op.TAG and words[1 + 32]["code"] == 1


def test_errors_name_the_line_of_the_script():
    p = Program("x")
    p.pulse(9, 0, 0.5)
    with pytest.raises(AssemblyError) as caught:
        p.assembly()
    here = caught.value.diagnostics[0].line
    assert here.file == "test_firmware_builder.py" and here.number > 80
    p = Program("x")
    p.line("jmp nowhere")
    with pytest.raises(AssemblyError, match="test_firmware_builder.py:.*no label 'nowhere'"):
        p.assembly()


def test_lines_of_words_are_the_scripts():
    p = Program("x")
    p.halt()
    line = p.assembly().lines[0]
    assert line.file == "test_firmware_builder.py" and line.text == "halt "


@pytest.mark.parametrize("value", [101e-9, 1e-9])
def test_times_off_the_grid_are_refused(value):
    with pytest.raises(ValueError, match="ticks of 8e-09 s; round it"):
        Program("x").wait(value)


def test_wrong_operands_are_refused():
    p = Program("x")
    with pytest.raises(TypeError, match="tag takes 1 operands, not 2"):
        p.tag(1, 2)
    with pytest.raises(TypeError, match="tag has no operand 'x'"):
        p.tag(1, x=3)
    with pytest.raises(AttributeError, match="no 'nonsense'"):
        p.nonsense(1)
    with pytest.raises(TypeError, match="None is no"):
        p.tag(None)
    with pytest.raises(ValueError, match="All 16 registers are taken"):
        for _ in range(17):
            p.register()


def test_image_is_of_a_proven_program():
    p = Program("x")
    p.parameter("a", -0.5, 0.5, 0.25, kind="amplitude")
    p.tag(1)
    p.halt()
    image = p.image()
    assert image.proof["ok"] and image.parameters["a"].default == 8192
    p.nop()
    with pytest.raises(ProofError, match="runs off its end"):
        p.line("nop")
        q = Program("y")
        q.nop()
        q.image()


def test_other_tick():
    p = Program("x", tick_s="1/100000000")
    p.wait(1e-6)
    p.halt()
    assert decode(p.assembly().words[0]).dwell == 100


def channels_in_order(p):
    return [decode(word)["channel"] for word in p.assembly().words if decode(word).op is Op.PULSE]


def test_stirap_has_stokes_first():
    p = Program("x")
    stirap(p, 2, 5, 1e-6, 400e-9, "sin2", amplitude=(0.5, 0.25))
    p.halt()
    assert channels_in_order(p) == [2, 5]
    assert decode(p.assembly().words[0]).dwell == 50
    assert decode(p.assembly().words[1])["amplitude"] == 8192
    assert p.prove().ok


def test_reversed_stirap_is_refused_unless_asked_for():
    p = Program("x")
    with pytest.raises(ValueError, match="pump pulse before the Stokes pulse.*reverse=True"):
        stirap(p, 2, 5, 1e-6, -400e-9)
    stirap(p, 2, 5, 1e-6, 400e-9, reverse=True)
    p.halt()
    assert channels_in_order(p) == [5, 2]


@pytest.mark.parametrize("delay, text", [(1e-6, "no overlap"), (0, "at least one tick"),
                                         ("1us", "seconds or ticks")])
def test_stirap_with_other_delays(delay, text):
    with pytest.raises(ValueError, match=text):
        stirap(Program("x"), 0, 1, 1e-6, delay)


def test_pulse_train_and_switch():
    p = Program("x")
    w = p.wave("w", p.envelope("e", [0], "sin2", points=16), 1e-6)
    p.settle(2e-6)
    switch_and_settle(p, 3, 2e-6)
    p.arm(1)
    pulse_train(p, 0, w, 0.5, 5, 1.2e-6)
    pulse_train(p, 0, w, 0.5, 1, 1.2e-6)
    p.halt()
    assert p.prove().ok and p.prove().entries["main"].pulses[0] == (6, 6)
