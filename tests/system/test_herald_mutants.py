"""Would the tests notice? Bugs planted in the herald unit's click path make it differ from the
golden model."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from quantacore.sim.bench import compiled
from quantacore.sim.bench.cosim import run_cocotb, seed_from_environment
from quantacore.sim.bench.herald_path import HeraldPathProbe
from quantacore.sim.bench.herald_random import random_settings, random_tables, random_tapes
from quantacore.sim.bench.herald_speed import FastPath
from quantacore.sim.bench.mutants import plant
from quantacore.sim.golden.herald_fast import decide_tapes

_PACKAGE = "quantacore.gateware.herald"
#: Bug: module, what stands there once, and what is to stand there.
MUTANTS = {
    "a reference of the last attempt opens windows": (
        "timer", "[found_before.eq(0), self.begin.eq(0), counting.eq(0)]",
        "[self.begin.eq(0), counting.eq(0)]"),
    "two references in a word are one": (
        "timer", "(found_before | (found & several(edges)))", "found_before"),
    "a reference in the last word in which it may come is missing": (
        "timer", "at_latest & ~found_before & ~found", "at_latest & ~found_before"),
    "the last word is never later for the reference's sample": (
        "timer", "later.eq(late)", "later.eq(0)"),
    "windows begin at the beginning of the reference's word": (
        "gate", "both[samples - shift:2 * samples - shift]", "both[samples:2 * samples]"),
    "a window that was not armed opens": (
        "gate", "past[1].eq(off | self.none | ~self.windows[i])", "past[1].eq(off | self.none)"),
    "dead time is a tick too long": (
        "clicks", "dead.eq(left != 2)", "dead.eq(left != 1)"),
    "a word has one click, dead time or not": (
        "clicks", "~(one & self.edges[:max(0, i - 1)].any())",
        "~self.edges[:max(0, i - 1)].any()"),
    "the last click counts, not the first": (
        "clicks", "new.eq(self.clicked & ~clicked_before)", "new.eq(self.clicked)"),
    "a click in the first word is in a window of the attempt before": (
        "clicks", "[self.clicked.eq(0), inside_1.eq(0)]", "self.clicked.eq(0)"),
    "an attempt begins with what the last one clicked": (
        "clicks", "self.take.eq(inside.any() | fresh)", "self.take.eq(inside.any())"),
    "a pattern takes part without its windows": (
        "patterns", "takes_part[i].eq(enabled & ~(needs & ~self.windows).any())",
        "takes_part[i].eq(enabled)"),
    "a sum of sixteen is none": (
        "patterns", "more = self.more | (self.differs_3 & carry_3)", "more = 0"),
    "an early pattern holds before the reference": (
        "patterns", "(early & self.timed_2.replicate(PATTERNS))", "early"),
    "a void attempt erases nothing": (
        "sites", "(void | (zero == seen))", "(zero == seen)"),
}
#: Bugs that only starts and aborts at odd times show.
INTERRUPTED = {
    "an abort does not end an attempt that is about to be decided": (
        "timer", "kill.eq(self.start | self.abort)", "kill.eq(self.start)"),
    "clearing the frame loses the verdict of that tick": (
        "path", "Mux(self.clear_frame, 0, self.frame) ^ Mux(success, matcher.pauli, 0)",
        "Mux(self.clear_frame, 0, self.frame ^ Mux(success, matcher.pauli, 0))"),
}
#: Those that are tried in every run; each takes a build of its own.
ALWAYS = ("a reference of the last attempt opens windows",)
#: Two rising edges fit in a word.
_SAMPLES = 4
_CASES, _ATTEMPTS = 60, 300
_SEED = 20_241


def planted(monkeypatch, name, old, new):
    plant(monkeypatch, _PACKAGE, name, old, new, users=["quantacore.sim.bench."])
    # Compiled paths are found by the gateware's files, and those are as they were.
    files = compiled.gateware_digest()
    monkeypatch.setattr(compiled, "gateware_digest", lambda: f"{files} {name} {old} {new}")


def first_difference(seed):
    """In words, or ``None`` if all attempts of all cases are the golden model's."""
    path = FastPath(samples=_SAMPLES, fine=True, optimisation=0)
    for number in range(_CASES):
        rng = random.Random(seed + number)
        settings, tables = random_settings(rng), random_tables(rng, samples=_SAMPLES)
        tapes = random_tapes(np.random.default_rng(seed + number), _ATTEMPTS, tables=tables,
                             settings=settings, samples=_SAMPLES, missing=0.1, double=0.1)
        golden = decide_tapes(tapes, tables=tables, settings=settings, samples=_SAMPLES)
        golden.delta[tapes.gap < 2] = 0
        path.configure(tables=tables, settings=settings)
        try:
            seen, wrong = path.run(tapes)
        except RuntimeError as error:
            return f"case {number}: {error}"
        differ, counts = golden.differences(seen)
        if differ.any() or counts or wrong:
            return (f"case {number}: {differ.sum()} attempts, the first {differ.argmax()}, "
                    f"{'counts, ' * counts}{wrong} ticks of {settings}")
    return None


def soak(bug):
    if bug not in ALWAYS and not os.environ.get("QUANTACORE_SOAK"):
        pytest.skip("takes a build of its own: make soak")


@pytest.mark.parametrize("bug", MUTANTS)
def test_planted_bug_is_found(bug, monkeypatch):
    soak(bug)
    planted(monkeypatch, *MUTANTS[bug])
    assert first_difference(_SEED) is not None


def test_without_a_bug_nothing_is_found():
    soak(None)
    seed = seed_from_environment()
    print(f"seed {seed:#x} (QUANTACORE_SEED repeats it)")
    assert first_difference(seed) is None


@pytest.mark.parametrize("bug", INTERRUPTED)
def test_planted_bug_is_found_by_the_cosimulation(bug, monkeypatch):
    soak(bug)
    monkeypatch.setenv("QUANTACORE_SEED", str(_SEED))
    planted(monkeypatch, *INTERRUPTED[bug])
    with pytest.raises(AssertionError) as failure:
        run_cocotb(HeraldPathProbe(samples=4, fine=True), "herald_path",
                   Path(__file__).parents[1] / "cosim" / "cocotb_herald_path.py",
                   ports_alone=True, parameters={"samples": 4, "fine": 1, "runs": 8})
    # Not for another reason than that it differs.
    assert "AssertionError: model" in str(failure.value)
