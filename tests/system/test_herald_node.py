"""Heralded attempts on a virtual node: plan, program, photons, gateware, driver."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from quantacore.firmware import Image, assemble, prove
from quantacore.gateware.layouts.herald import ARM_TICKS, NO_CLICK, VERDICT_LATENCY
from quantacore.gateware.layouts.instructions import VERDICT_TICKS
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.host import sync
from quantacore.host.cli import quantacore
from quantacore.host.driver.herald import (
    AttemptAbortedError,
    DetectorSaturatedError,
    DoubleReferenceError,
    MissingReferenceError,
    PlanWarning,
)
from quantacore.host.driver.peers import PeerSilentError
from quantacore.host.driver.sequencer import StartLateError
from quantacore.host.driver.switches import SwitchStuckError
from quantacore.host.herald.plan import PlanError
from quantacore.host.herald.records import Verdicts
from quantacore.host.herald.run import HeraldRun
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.node.transport import VirtualTransport

#: One build for all tests.
NODE = dict(channels=2, samples=4, fine=False, train=False, sequencer=2, herald=True,
            lanes=1, switches=2)
FAILED, VOID, LIMIT, AGAIN, REFUSED = 11, 12, 13, 14, 15
PLAN = {
    "format": "quantacore-herald-1",
    "name": "test",
    "detectors": {"c": {"input": 0}, "d": {"input": 1}},
    "windows": {"early": {"from": "100ns", "to": "140ns"},
                "late": {"from": "200ns", "to": "240ns"}},
    "patterns": {
        "all": {"must": ["*.*"], "code": 9},
        "minus": {"must": ["c.early", "d.late"], "others": "veto", "code": 1, "pauli": 1},
        "two": {"counts": [{"of": ["*.early"], "exactly": 2}], "others": "veto",
                "windows": ["early", "late"], "code": 2, "pauli": 2},
        "late": {"must": ["d.late"], "windows": ["late"], "code": 3},
        "one": {"counts": [{"of": ["*.*"], "exactly": 1}], "code": 4},
    },
    "codes": {"failed": FAILED, "void": VOID, "limit": LIMIT, "reinitialise": AGAIN,
              "refused": REFUSED},
    "records": ["success", "failed", "void"],
}
#: A mark of 100, an attempt, and a mark of its verdict; again and again.
PROGRAM = """
.name attempts
.param count r1 in 1..1000 = 1
again:
    tag 100
    arm {windows}
    brh r3, outcomes, 20us
.table outcomes, words=2
.case timeout
    tag 200
    jmp done
.default
    tag pattern
    jmp done
.endt
done:
    ldt r4, 0, 5
    sub r1, r1, 1
    nop for 1us
    bne r1, 0, again
    halt 5
"""
#: The second attempt is armed before the first is decided.
TWICE = """
.name twice
    arm 3
    nop for 80ns
    arm 3
    nop for 1us
    halt 6
"""
FOREVER = """
.name forever
again:
    arm 3
    nop for 800ns
    jmp again
"""


def image_of(text):
    assembly = assemble(text)
    return Image.from_assembly(assembly, prove(assembly))


IMAGES = {name: image_of(text) for name, text in (
    ("both", PROGRAM.format(windows=3)), ("late", PROGRAM.format(windows=2)),
    ("twice", TWICE), ("forever", FOREVER))}


@pytest.fixture(scope="module")
def running_node():
    transport = VirtualTransport(**NODE)
    transport._options["live"] = {0: 0, 1: 0}
    with sync.connect(transport) as node:
        yield node


@pytest.fixture
def node(running_node):
    yield running_node
    running_node.herald.abort()
    running_node.herald.disable()
    running_node.herald.clear_flags()
    running_node.herald.clear_frame()
    running_node.switches.disable()
    running_node.sequencer.unset()


def changed(**parts):
    return {**json.loads(json.dumps(PLAN)), **parts}


def add_photons(node, before, photons):
    """Add ``(channel, times)`` in one go, if the node has not come to tick ``before`` yet."""
    def add(engine):
        if engine.tick >= before:
            return False
        for channel, times in photons:
            engine.add_photons(channel, sorted(times))
        return True

    return node._worker.call(node._driver.client.transport.call, add)


def fine(tick, ns):
    """A time so many nanoseconds after a tick, in fine units."""
    return tick * FINE_PER_TICK + round(ns * FINE_PER_TICK / 8)


class Run:
    """Some attempts: ``photons`` has a dictionary of each, channel -> nanoseconds after its start.

    ``starts`` are the ticks of their first marks after the first one's, which the caller knows.
    """

    def __init__(self, node, photons, image="both", starts=None):
        with node.sequencer as sequencer:
            sequencer.load(IMAGES[image])
            if image in ("both", "late"):
                sequencer.set(count=len(photons))
            node.herald.follow()
            self._start(node, sequencer, photons, starts or [0] * len(photons))
            self.result = sequencer.wait().check()
            self.data = sequencer.data()
            for _ in range(3):
                sequencer.marks()
            if sequencer.other_records:
                node.herald.feed(np.concatenate(sequencer.other_records))
        self.verdicts = node.herald.verdicts()
        self.codes = self.result.marks.codes.tolist()[1::2]
        # From each attempt's mark to its verdict's.
        self.ticks = self.result.marks.ticks
        self.latency = (self.ticks[1::2] - self.ticks[::2]).tolist()

    @staticmethod
    def _start(node, sequencer, photons, starts):
        """Start so far ahead that the photons can be added, however slow this machine is."""
        ahead = 100_000
        while True:
            at = node.timing.tick() + ahead
            try:
                sequencer.start(at_tick=at)
            except StartLateError:
                ahead *= 4
                continue
            if add_photons(node, at, [
                    (channel, [fine(at + start + 1 + ARM_TICKS, ns)
                               for start, some in zip(starts, photons, strict=True)
                               for ns in some.get(channel, ())]) for channel in (0, 1)]):
                return
            sequencer.stop()
            ahead *= 4


def period_of(node):
    """Ticks from one failed attempt to the next. After a success the next is a tick earlier,
    since a code that is no pattern's comes a tick after the decision."""
    ticks = Run(node, [{}, {}]).ticks[::2]
    return int(ticks[1] - ticks[0])


def decided(compiled_ticks):
    """From the mark before ``arm`` to the mark of the verdict."""
    return 1 + ARM_TICKS + compiled_ticks + VERDICT_TICKS


def test_a_verdict_comes_to_the_tick(node):
    compiled = node.herald.configure(PLAN, verify=True)
    # Early in c and late in d.
    run = Run(node, [{0: [120], 1: [220]}])
    assert run.codes == [1] and run.latency == [decided(compiled.decide_ticks(3))]
    assert compiled.decide_ticks(3) == 239 // 8 + VERDICT_LATENCY
    counts = node.herald.counts()
    assert counts.patterns == {"all": 0, "minus": 1, "two": 0, "late": 0, "one": 0}
    assert counts.cells == {"c.early": 1, "c.late": 0, "d.early": 0, "d.late": 1}
    assert (counts.attempts, counts.succeeded, counts.void) == (1, 1, 0)
    assert node.herald.clicked() == ["c.early", "d.late"]
    status = node.herald.status()
    assert status.frame == 1 and status.attempt == 1 and not status.busy
    assert run.verdicts.attempts.tolist() == [1] and run.verdicts.clicked.tolist() == [1 | 1 << 5]
    # LDT: first click of cell 0 minus that of cell 5.
    delta = run.data[4] - (1 << 32) if run.data[4] >> 31 else run.data[4]
    assert delta == round(-100 * FINE_PER_TICK / 8)
    run = Run(node, [{0: [120]}])
    assert run.codes == [4] and run.data[4] == NO_CLICK & 0xFFFFFFFF


def test_edges_of_windows_are_exact(node):
    """A sample is 2 ns: the first of a window and the last, and their neighbours outside."""
    node.herald.configure(PLAN)
    cases = [(98, FAILED), (100, 4), (138, 4), (140, FAILED), (198, FAILED), (200, 3), (238, 3),
             (240, FAILED)]
    period = period_of(node)
    node.herald.clear()
    starts = np.cumsum([0, *(period - (code != FAILED) for _, code in cases[:-1])]).tolist()
    run = Run(node, [{1: [ns]} for ns, _ in cases], starts=starts)
    assert run.codes == [code for _, code in cases]
    # All of these but the one after the decision were in an attempt.
    counts = node.herald.counts()
    assert counts.cells["d.early"] == counts.cells["d.late"] == 2
    assert counts.clicks["d"] == 8 and 3 <= counts.stray["d"] <= 4


def test_an_attempt_with_one_window(node):
    compiled = node.herald.configure(PLAN)
    run = Run(node, [{0: [120], 1: [220]}], image="late")
    assert run.codes == [3]  # "minus" takes no part, and the early click is outside all windows
    assert run.latency == [decided(compiled.decide_ticks(2))]
    assert node.herald.counts().stray == {"c": 1, "d": 0}


def test_random_clicks_mean_what_the_plan_says(node):
    seed = seed_from_environment()
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    compiled = node.herald.configure(PLAN)
    plan = compiled.plan
    period = period_of(node)
    node.herald.clear()
    photons, cells, expected, starts = [], [], [], [0]
    for _ in range(60):
        clicked = {cell for cell in plan.cells.values() if rng.random() < 0.4}
        some = {0: [], 1: []}
        for detector, window in clicked:
            first = {"early": 100, "late": 200}[window]
            # Once or several times in a window.
            some[plan.detectors[detector].input] += [
                first + 2 * int(k) for k in rng.choice(5, rng.integers(1, 3), replace=False) * 4]
        for channel in some:
            if rng.random() < 0.3:
                some[channel].append(2 * int(rng.integers(75, 95)))
        photons.append(some)
        cells.append(frozenset(clicked))
        holding = [p for p in plan.in_order() if p.holds(clicked)]
        expected.append(holding[0] if holding else None)
        starts.append(starts[-1] + period - bool(holding))
    run = Run(node, photons, starts=starts[:-1])
    assert run.codes == [p.code if p else FAILED for p in expected]
    counts = node.herald.counts()
    for p in plan.in_order():
        assert counts.patterns[p.name] == sum(q is p for q in expected)
    for number, cell in plan.cells.items():
        assert counts.cells[".".join(cell)] == sum(cell in c for c in cells), number
    assert counts.attempts == counts.succeeded + counts.failed == 60
    assert run.verdicts.attempts.tolist() == list(range(1, 61))
    assert run.verdicts.clicked.tolist() == [sum(1 << plan.number(c) for c in clicked)
                                             for clicked in cells]
    matrix, totals = Verdicts.join([run.verdicts]).matrix()
    assert totals.sum() == counts.succeeded
    assert matrix.sum() == sum(len(c) for c, p in zip(cells, expected, strict=True) if p)
    assert counts.stray["c"] == sum(150 <= ns < 190 for s in photons for ns in s[0])


def test_reference_pulses(node):
    """Windows of c, counted from a pulse on d: none, one, two."""
    compiled = node.herald.configure(changed(
        reference={"input": "d", "earliest": "40ns", "latest": "400ns"},
        windows={"early": {"from": "100ns", "to": "140ns"}, "late": {"from": "200ns",
                                                                    "to": "240ns"}},
        patterns={"both": {"must": ["c.early", "c.late"], "code": 1}}))
    assert Run(node, [{1: [82], 0: [82 + 100, 82 + 238]}]).codes == [1]
    assert Run(node, [{1: [82], 0: [82 + 98, 82 + 238]}]).codes == [FAILED]
    # What came before the earliest is none; another would be one too many.
    assert Run(node, [{1: [16, 200], 0: [300, 400]}]).codes == [1]
    node.herald.check_flags()
    # None: no window opens, not even where it was in the attempt before.
    run = Run(node, [{0: [300, 400]}])
    assert run.codes == [VOID]
    # A code that is no pattern's comes a tick after the decision.
    assert run.latency == [decided(50 + VERDICT_LATENCY) + 1]
    with pytest.raises(MissingReferenceError, match="1 times, first"):
        node.herald.check_flags()
    node.herald.clear_flags()
    assert Run(node, [{1: [82, 120], 0: [182, 320]}]).codes == [VOID]
    with pytest.raises(DoubleReferenceError):
        node.herald.check_flags()
    counts = node.herald.counts()
    assert (counts.attempts, counts.succeeded, counts.failed, counts.void_reference) == (
        5, 2, 1, 2)
    assert compiled.plan.reference.input == 1


def test_limits_and_reinitialisation(node):
    node.herald.configure(changed(limits={"attempts": 3, "reinitialise_after": 2}))
    run = Run(node, [{}] * 6)
    assert run.codes == [FAILED, FAILED, AGAIN, FAILED, LIMIT, LIMIT]
    assert "limit" in node.herald.status().refuses
    node.herald.new_run()
    assert Run(node, [{}]).codes == [FAILED]
    counts = node.herald.counts()
    assert counts.attempts == 4 and counts.refused == 3


def test_an_attempt_that_is_cut_off(node):
    node.herald.configure(PLAN)
    with node.sequencer as sequencer:
        sequencer.load(IMAGES["twice"])
        sequencer.run().check()
    counts = node.herald.counts()
    assert (counts.attempts, counts.failed, counts.void_aborted) == (2, 1, 1)
    with pytest.raises(AttemptAbortedError):
        node.herald.check_flags()


def test_a_saturated_detector_backs_off(node):
    node.herald.configure(changed(saturation={"clicks": 20, "gate": "20us", "backoff": "200us"}))
    # 60 clicks in 12 us are in two gates at most; 40 attempts take 60 us.
    light = {0: [float(ns) for ns in range(0, 12_000, 200)]}
    run = Run(node, [light, *[{}] * 39])
    assert run.codes[0] == 4 and run.codes[-1] == REFUSED
    counts = node.herald.counts()
    assert counts.refused == run.codes.count(REFUSED)
    assert counts.attempts == counts.succeeded + counts.failed == 40 - counts.refused
    with pytest.raises(DetectorSaturatedError):
        node.herald.check_flags()
    while "saturated" in node.herald.status().refuses:
        node.timing.tick()
    assert Run(node, [{}]).codes == [FAILED]


def test_a_peer_that_never_answers(node):
    node.herald.configure(changed(role="station", peers={"ports": [0], "quiet": "16us"}))
    with pytest.raises(PeerSilentError, match=r"the peer on port 0 in 0.001 s .port 0: 0 messages"):
        node.peers.wait_up(0.001)
    port = node.peers.ports()[0]
    assert port.enabled and not port.up and port.sent > 0 and port.received == 0
    # Attempts don't hang: the program is told.
    run = Run(node, [{0: [120], 1: [220]}])
    assert run.codes == [REFUSED]
    counts = node.herald.counts()
    assert counts.attempts == counts.succeeded == 0 and counts.refused == 1
    assert node.peers.counts().triggers == 0
    # Alone again.
    node.herald.configure(PLAN)
    assert Run(node, [{0: [120], 1: [220]}]).codes == [1]


def test_attempts_wait_for_the_route_of_their_plan(node):
    """Monitors of the virtual node read what the drives are set to."""
    routes = {"routes": {
        "3": {"drives": [100, 40_000], "monitors": {"0": [90, 110], "1": [39_000, 41_000]},
              "settle_s": 2e-6},
        "4": {"drives": [5_000, 0], "monitors": {"0": [0, 10]}, "settle_s": 2e-6}},
        "timeout_s": 20e-6}
    light = [{0: [120], 1: [220]}]
    node.herald.configure(changed(switches={"route": 3, "plan": routes}))
    assert node.switches.drives() == [100, 40_000]
    assert Run(node, light).codes == [1]
    # The other's monitor never reads what it should.
    with pytest.raises(SwitchStuckError, match="Route 4 does not hold"):
        node.herald.configure(changed(switches={"route": 4}))
    assert set(node.herald.status().refuses) == {"off", "settling"}
    node.herald.enable()
    assert Run(node, light).codes == [REFUSED]
    node.switches.clear()
    node.switches.clear_flags()
    node.herald.configure(changed(switches={"route": 3}))
    assert Run(node, light).codes == [1]


def test_virtual_channels_are_counted(node):
    node.herald.configure(changed(virtual={
        "pair": {"number": 1, "kind": "coincidence", "of": ["c", "d"], "window": "6ns"},
        "alone": {"kind": "combination", "of": ["c"], "window": "6ns", "record": False}}))
    node.tagger.enable(0, 1)
    node.tagger.run()
    Run(node, [{0: [120, 210, 400], 1: [124, 300, 396]}])
    after = node.timing.tick() + 3000  # edges wait for 2048 ticks
    while node.timing.tick() < after:
        pass
    node.tagger.stop()
    counts = node.virtual.counts()
    assert counts.edges == {"alone": 1, "pair": 2}
    assert (counts.sent, counts.lost, counts.exact) == (2, 0, True)
    assert node.virtual.flags() == {}
    node.herald.configure(PLAN)
    assert node.virtual.counts().sent == 0


def test_a_unit_that_is_off_refuses(node):
    node.herald.configure(PLAN, enable=False)
    assert node.herald.status().refuses == ("off",)
    assert Run(node, [{0: [120]}]).codes == [REFUSED]
    assert node.herald.counts().attempts == 0


def test_a_plan_that_does_not_match_the_node(node):
    node.herald.configure(PLAN)
    with pytest.raises(PlanError, match=r"\$.detectors.d1.input: this node has inputs 0 to 1"):
        node.herald.configure("time_bin")
    assert Run(node, [{0: [120], 1: [220]}]).codes == [1]  # what was loaded is still there
    with pytest.warns(PlanWarning, match="'from' of early is 104 ns instead of 103 ns"):
        node.herald.configure(changed(windows={
            "early": {"from": "103ns", "to": "140ns"}, "late": {"from": "200ns", "to": "240ns"}}))
    node.herald.verify()


def test_plan_while_attempts_are_made(node):
    """A plan can be changed under a running program: attempts are refused meanwhile."""
    node.herald.configure(PLAN)
    with node.sequencer as sequencer:
        sequencer.load(IMAGES["forever"])
        sequencer.start()
        while not node.herald.counts().attempts:
            pass
        node.herald.configure(PLAN, verify=True, clear=False)
        before = node.herald.counts()
        while node.herald.counts().attempts == before.attempts:
            pass
        sequencer.stop()
    counts = node.herald.counts()
    assert counts.attempts == counts.succeeded + counts.failed + counts.void
    assert counts.refused > 0 and "table_busy" not in node.herald.flags()


def test_command_line_on_a_node(tmp_path):
    """The commands, each on a node of its own of the same build, with light on both detectors."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(PLAN))
    program = tmp_path / "attempts.qcs"
    program.write_text(PROGRAM.format(windows=3))
    port = (f"virtual:?{'&'.join(f'{name}={value}' for name, value in NODE.items())}"
            f"&source=poisson:2e6,ch0;poisson:2e6,ch1")

    def call(*arguments):
        result = CliRunner().invoke(quantacore, ["herald", *map(str, arguments), "--port", port])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    assert "attempts may be armed: yes" in call("load", plan, "--verify")
    told = call("run", plan, "--program", program, "--set", "count=200", "--out",
                tmp_path / "run.json", "--report", tmp_path / "run.html", "--hom", "c,d")
    assert "Attempts 200" in told and "Halt code 5" in told
    assert "All 2 comparisons agree" in (tmp_path / "run.html").read_text()
    run = HeraldRun.read(tmp_path / "run.json")
    assert sum(run.totals) == run.counts["succeeded"] > 0
    assert sum(run.histograms[0].counts) > 0
    assert "Attempts per second" in call("rates", "--plan", plan, "--seconds", "0.0005")
