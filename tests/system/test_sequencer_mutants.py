"""Would the tests notice? Bugs planted in the sequencer's engine fail its cosimulation."""

import os
from pathlib import Path

import pytest

from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.bench.mutants import plant
from quantacore.sim.bench.sequencer_probe import SequencerProbe

MODULE = Path(__file__).parents[1] / "cosim" / "cocotb_sequencer.py"
_PACKAGE = "quantacore.gateware.sequencer"
#: Bug: module, what stands there once, and what is to stand there.
MUTANTS = {
    "a verdict just before the timeout lets the next word through": (
        "engine", "due & ~waits & ~until", "due & ~waiting & ~until"),
    "a time has a dwell": (
        "engine", "~self.waits & ~is_op[Op.WAITUNTIL]", "~self.waits"),
    "ARM keeps the verdict that was": (
        "engine", "verdict_seen.eq(0), verdict_waits.eq(0)]\n", "verdict_seen.eq(0)]\n"),
    "RET goes to where the call before came from": (
        "engine", "stack_read.addr.eq(calls - 1)", "stack_read.addr.eq(calls)"),
    "the barrier is where the last program left it": (
        "engine", "self.barrier.eq(0),", ""),
    "a timeout is a tick late": (
        "engine", "wait.timeout + 1", "wait.timeout + 2"),
    "the difference is taken a tick too soon": (
        "engine", "answer[1]", "answer[0]"),
    "a time that is a tick too near is taken": (
        "engine", "(left_over[:3] < UNTIL_TICKS - 1)", "(left_over[:3] < UNTIL_TICKS - 2)"),
    "an attempt goes on though its verdict came in the last tick": (
        "engine", "expired & onward & ~met_verdict", "expired & onward"),
    "a table leaves no loop": (
        "engine", "taken | found_verdict | missed", "taken | missed"),
    "what the herald clicked is read a tick later": (
        "engine", "m.d.sync += found.eq", "m.d.comb += found.eq"),
    "a branch leaves no loop": (
        "engine", "fetch.pop.eq(escapes[1] | taken |", "fetch.pop.eq(escapes[1] |"),
    "a stop before the first word is forgotten": (
        "engine", "& ~cease\n                  & ~ending", ""),
    "there is one call more": (
        "engine", "calls == CALL_LEVELS", "calls == CALL_LEVELS + 1"),
}
#: Those that are tried in every run; each takes a build of its own.
ALWAYS = ("a verdict just before the timeout lets the next word through",)
_SEED = 20_241


@pytest.mark.parametrize("bug", MUTANTS)
def test_planted_bug_is_found(bug, monkeypatch):
    if bug not in ALWAYS and not os.environ.get("QUANTACORE_SOAK"):
        pytest.skip("takes a build of its own: make soak")
    monkeypatch.setenv("QUANTACORE_SEED", str(_SEED))
    plant(monkeypatch, _PACKAGE, *MUTANTS[bug], users=["quantacore.sim.bench."])
    with pytest.raises(AssertionError) as failure:
        run_cocotb(SequencerProbe(), "sequencer", MODULE, ports_alone=True,
                   parameters={"programs": 2000})
    text = str(failure.value)
    # Not for another reason than that it differs, or never ends.
    assert "cocotb.regression" in text and ("model" in text or "SimTimeoutError" in text), text
