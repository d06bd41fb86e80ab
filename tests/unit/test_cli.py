"""The command line: help that teaches, errors that are one message with the fix."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from quantacore.host.cli import quantacore

COMMANDS = ["info", "node", "tags", "histogram", "replay", "demo"]


def run(*arguments):
    return CliRunner().invoke(quantacore, list(map(str, arguments)))


def test_help_lists_every_command_with_examples():
    result = run("--help")
    assert result.exit_code == 0
    for word in (*COMMANDS, "Examples:", "quantacore demo"):
        assert word in result.output


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "node"])
def test_help_of_a_command_has_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"quantacore {command}" in result.output


def test_import_is_light():
    """No driver, no numpy, no simulator before a command needs them."""
    code = ("import sys, quantacore.host.cli; "
            "print([m for m in ('numpy', 'amaranth', 'rich', 'quantacore.host.driver', "
            "'quantacore.sim') if m in sys.modules])")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("arguments", "message"), [
    (("replay", "missing.ptu"), "does not exist"),
    (("demo", "--file", "missing.ptu"), "does not exist"),
    (("demo", "--full", "--part", "1"), "--full or --part, not both"),
    (("demo", "--part", "soon"), "'soon' is not a positive number; write 0.5, 20m or 64p"),
    (("demo", "--part", "-1"), "'-1' is not a positive number"),
    (("tags", "--out", "x.txt"), "ends in .qct, .npz, .ptu or .csv, not '.txt'"),
    (("histogram", "--out", "x.png"), "ends in .svg or .csv, not '.png'"),
    (("tags", "--edges", "steep"), "'steep' is not one of"),
])
def test_bad_arguments(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize("command", ["replay", "demo"])
def test_file_of_no_known_kind(tmp_path, command):
    path = tmp_path / "noise.bin"
    path.write_bytes(bytes([0, 200, 3, 4] * 20))
    result = run(command, *(["--file"] if command == "demo" else []), path)
    assert result.exit_code == 1
    assert "of no kind that is known here" in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_debug_shows_the_traceback(tmp_path):
    path = tmp_path / "noise.bin"
    path.write_bytes(bytes([0, 200, 3, 4] * 20))
    result = run("--debug", "replay", path)
    assert type(result.exception).__name__ == "TagFileError"


def test_port_that_does_not_exist():
    pytest.importorskip("quantacore.host.driver.node", reason="needs the driver")
    result = run("info", "--port", "/dev/no-such-port")
    assert result.exit_code == 1
    assert "/dev/no-such-port" in result.output
    assert "Traceback" not in result.output


def test_port_that_is_no_url():
    pytest.importorskip("quantacore.host.driver.node", reason="needs the driver")
    result = run("info", "--port", "nonsense")
    assert result.exit_code == 1
    assert "nonsense" in result.output


def test_node_without_the_simulator(monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    result = run("node", "--pty")
    assert result.exit_code == 1
    assert "pip install 'quantacore[sim]'" in result.output
