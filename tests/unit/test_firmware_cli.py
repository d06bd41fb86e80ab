"""``quantacore fw`` without a node."""

import json

import pytest
from click.testing import CliRunner

from quantacore.firmware import Image, assemble
from quantacore.host.cli import quantacore

GOOD = ".const n 3\n.param gap r1 in 5..9\nloop n\ntag 1 for 9\ndelay gap\nend\nhalt\n"
BAD = ".envelope 0 e sin2(9)\n.wave w e length=1us\npulse 0, w, 0.5\npulse 0, w, 0.5\nhalt\n"


def call(*arguments):
    result = CliRunner().invoke(quantacore, ["fw", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.qcs").write_text(GOOD)
    (tmp_path / "bad.qcs").write_text(BAD)
    return tmp_path


@pytest.mark.parametrize("command", [(), ("asm",), ("dis",), ("prove",), ("plot",)])
def test_help_has_examples(command):
    code, text = call(*command, "--help")
    assert code == 0
    assert "Examples:" in text and "quantacore fw" in text


def test_asm_writes_a_proven_image(folder):
    code, text = call("asm", "good.qcs")
    assert code == 0, text
    for part in ("good: 4 words", "Parameter gap", "r1, 5..9", "proven in", "good.qcfw"):
        assert part in text
    image = Image.from_bytes((folder / "good.qcfw").read_bytes())
    assert image.proof["ok"] and image.words == assemble(GOOD).words
    assert image.meta["files"] == ["good.qcs"]


def test_asm_defines_and_listing(folder):
    code, text = call("asm", "good.qcs", "-D", "n=5", "-o", "x.qcfw", "--listing")
    assert code == 0 and "loop n" in text
    assert (folder / "x.qcfw").exists() and not (folder / "good.qcfw").exists()
    assert call("asm", "good.qcs", "-D", "n")[0] == 2


def test_asm_refuses_what_is_not_proven(folder):
    code, text = call("asm", "bad.qcs")
    assert code == 1 and "bad.qcs:4: error: a pulse on channel 0" in text
    assert "not proven: 1 reason" in text
    assert not (folder / "bad.qcfw").exists()
    code, text = call("asm", "bad.qcs", "--unproven")
    assert code == 0 and "NOT PROVEN" in text and "error: a pulse on channel 0" in text
    assert not Image.from_bytes((folder / "bad.qcfw").read_bytes()).proof["ok"]


def test_asm_shows_all_errors(folder):
    (folder / "x.qcs").write_text("foo\nnop for 3ns\n")
    code, text = call("asm", "x.qcs")
    assert code == 1 and "x.qcs:1:1: error: there is no instruction" in text
    assert "x.qcs:2:9" in text and "2 errors" in text


def test_shipped_programs_by_name(folder):
    code, text = call("asm", "--list")
    assert code == 0 and "stirap_transfer" in text and "STIRAP transfer" in text
    assert call("asm", "rabi", "-D", "steps=20")[0] == 0 and (folder / "rabi.qcfw").exists()
    code, text = call("prove", "nonesuch")
    assert code == 2 and "shipped are echo" in " ".join(text.split())
    assert call("asm")[0] == 2


def test_dis_is_text_of_an_image(folder):
    call("asm", "good.qcs")
    code, text = call("dis", "good.qcfw")
    assert code == 0 and "loop 3" in text and ".param gap r1 in " in text
    assert assemble(text).words == assemble(GOOD).words
    assert call("dis", "good.qcfw", "-o", "again.qcs", "--no-comments")[0] == 0
    assert call("prove", "again.qcs")[0] == 0
    assert call("dis", "good.qcfw", "-D", "n=3")[0] == 2


def test_prove_prints_slack(folder):
    code, text = call("prove", "good.qcs")
    assert code == 0
    for part in ("mark queue", "63 marks", "Instructions", "Proven in", "Time"):
        assert part in text
    code, text = call("prove", "bad.qcs")
    assert code == 1 and "not proven: 1 reason" in text and "fix: wait longer" in text


def test_prove_as_json(folder):
    code, text = call("prove", "good.qcs", "--json")
    found = json.loads(text)
    assert code == 0 and found["ok"] and found["entries"]["main"]["instructions"] == [8, 8]
    assert call("prove", "bad.qcs", "--json")[0] == 1


def test_plot_writes_a_page_or_a_picture(folder):
    assert call("plot", "good.qcs")[0] == 0
    assert "<!DOCTYPE html>" in (folder / "good.html").read_text()
    assert call("plot", "entangle", "-o", "e.svg", "--choose", "herald=1",
                "--unfold", 2)[0] == 0
    assert (folder / "e.svg").read_text().startswith("<svg")
    assert call("plot", "good.qcs", "-o", "x.png")[0] == 2
    assert call("plot", "good.qcs", "--choose", "x")[0] == 2
    assert call("plot", "good.qcs", "--choose", "x=maybe")[0] == 2
    assert call("plot", "good.qcs", "--choose", "nowhere=taken")[0] == 1


@pytest.mark.parametrize("damage, text", [
    (lambda c: c[:-9], "is truncated"),
    (lambda c: c[:30] + b"\xff" + c[31:], "damaged"),
    (lambda c: c[:8] + b"\0\0\0\0" + c[12:], "damaged"),
])
def test_damaged_images_are_refused(folder, damage, text):
    call("asm", "good.qcs")
    path = folder / "good.qcfw"
    path.write_bytes(damage(path.read_bytes()))
    code, said = call("prove", "good.qcfw")
    assert code == 1 and text in said
