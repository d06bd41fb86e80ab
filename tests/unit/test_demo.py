"""The comparison of a recording with what came back: agreement, explained and unexplained
differences. What came back is made up here; tests/system plays through the virtual node."""

import asyncio
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from quantacore.gateware.layouts.tags import EpochRecord, LossCause, TagKind, TagRecord
from quantacore.host.demo import (
    DemoError,
    Played,
    compare,
    demo_report,
    merged_by_front_end,
    play,
    prepare,
)
from quantacore.host.tags.correlate import all_pairs
from quantacore.host.tags.decode import Columns, DecodeState, Loss, ps_to_fine
from quantacore.host.tags.files import TagFile

ORIGIN = 12_345 * 8192


def tag_file(times, channels, **more):
    times = np.asarray(times, np.int64)
    values = {"times_ps": times, "channels": np.asarray(channels, np.uint8), "format": "npz",
              "duration_ps": int(times[-1]), "meta": {"name": "made up"}} | more
    return TagFile(**values)


def pulsed_file(seed=3, pulses=60_000):
    generator = np.random.default_rng(seed)
    fires = np.flatnonzero(generator.random(pulses) < 0.2)
    times = fires * 12_500 + generator.integers(0, 400, len(fires))
    channels = generator.integers(0, 2, len(fires))
    return tag_file(times, channels)


def identity(samples=8):
    return SimpleNamespace(tick_ps=Fraction(8000), samples=samples, channels=8, simulated=True,
                           clock_hz=Fraction(125_000_000), build_id=0x1234, map_crc=0xABCD)


def histogram(fine, channels):
    counts = all_pairs(fine[channels == 0], fine[channels == 1], 64, 4096, first=-2048 * 64)
    return SimpleNamespace(counts=counts, bin_fine=64, first_edge_fine=-2048 * 64, edges_lost=0,
                           pairs_lost=0,
                           edge_ps=lambda i: (i * 64 - 2048 * 64) * Fraction(8000, 8192))


def played(recording, *, drop=(), shift=None, merged=None):
    """A node that does everything right but what is asked for."""
    fine = ps_to_fine(recording.times_ps, 8000, 1)
    channels = recording.channels
    if merged is not None:
        fine, channels = fine[~merged], channels[~merged]
    seen = histogram(fine, channels)
    number = len(fine)
    keep = np.ones(number, bool)
    keep[list(drop)] = False
    times = fine[keep] + ORIGIN
    if shift is not None:
        times[shift] += 1
    counters = SimpleNamespace(seen=[number], recorded=len(times), lost=number - len(times),
                               lost_buffer=number - len(times), lost_burst=0, in_dead_time=[0])
    return Played(columns=Columns(times=times, channels=channels[keep],
                                  falling=np.zeros(len(times), bool)),
                  state=DecodeState(tags=len(times)), histogram=seen, counters=counters,
                  node_link={"frames_sent": 1}, host_link={"retries": 0}, identity=identity(),
                  ticks=1_000_000, wall_s=0.5)


def failed(comparison):
    return [check.name.split(",")[0] for check in comparison.checks if not check.passed]


def test_everything_back_agrees():
    recording = prepare(pulsed_file())
    comparison = compare(recording, played(recording))
    assert comparison.passed
    assert comparison.origin_fine == ORIGIN
    assert comparison.fine_streamed.sum() == comparison.fine_reference.sum() > 0


def test_missing_tag_is_found():
    recording = prepare(pulsed_file())
    comparison = compare(recording, played(recording, drop=[100]))
    assert not comparison.passed
    assert "Tags streamed = tags in the file" in failed(comparison)
    assert (comparison.missing, comparison.extra) == (1, 0)


def test_missing_tag_that_the_node_reported_is_explained():
    recording = prepare(pulsed_file())
    result = played(recording, drop=[100, 101])
    result.state.losses.append(Loss(cause=LossCause.BUFFER, count=2, after_tags=100))
    comparison = compare(recording, result)
    assert comparison.passed
    assert "2 more were reported lost" in comparison.checks[0].note


def test_time_that_is_one_fine_unit_off_is_found():
    recording = prepare(pulsed_file())
    comparison = compare(recording, played(recording, shift=500))
    assert not comparison.passed
    assert comparison.checks[1].got == 1


def test_wrong_histogram_is_found():
    recording = prepare(pulsed_file())
    result = played(recording)
    result.histogram.counts[2000] += 1
    assert failed(compare(recording, result)) == ["Gateware histogram = file on the same grid (64 "
                                                  "fine units)"]


def test_histogram_that_reports_its_losses_is_explained():
    recording = prepare(pulsed_file())
    result = played(recording)
    result.histogram.counts[result.histogram.counts.argmax()] -= 1
    result.histogram.edges_lost = 1
    assert compare(recording, result).passed


def test_merged_photons_are_explained():
    times = [0, 900, 1900, 50_000, 50_100, 90_000, 90_500]
    recording = prepare(tag_file(times, [0, 0, 0, 0, 1, 1, 1]))
    merged = merged_by_front_end(ps_to_fine(recording.times_ps, 8000, 1), recording.channels, 8)
    # Samples of 1 ns: 0, 0 (merged), 1 (merged: one sample after 0), ..., 90 and 90 (merged).
    assert merged.tolist() == [False, True, True, False, False, False, True]
    comparison = compare(recording, played(recording, merged=merged))
    assert comparison.passed
    assert comparison.merged == 3
    assert "3 photons of the file are less than 2 samples" in comparison.checks[0].note


def test_merging_follows_the_last_one_kept():
    sample = 1024
    fine = np.array([0, 1, 2, 3, 4, 6, 7]) * sample
    merged = merged_by_front_end(fine, np.zeros(7, np.uint8), 8)
    assert merged.tolist() == [False, True, False, True, False, False, True]


def test_run_that_was_stopped_early_is_compared_up_to_there():
    recording = prepare(pulsed_file())
    half = prepare(pulsed_file().first(recording.duration_ps // 2))
    result = played(half)
    result.stopped_early = True
    comparison = compare(recording, result)
    assert comparison.passed
    assert "stopped after" in comparison.checks[0].note


def test_nothing_back():
    recording = prepare(pulsed_file())
    with pytest.raises(DemoError, match="No tag came back"):
        compare(recording, played(recording, drop=range(len(recording.times_ps))))


def test_something_else_back():
    recording = prepare(pulsed_file())
    result = played(recording)
    result.columns.times[:] = ORIGIN + np.arange(len(result.columns)) * 8192 * 3 + 4097
    with pytest.raises(DemoError, match="the node's inputs saw something else"):
        compare(recording, result)


def test_busiest_channels_are_taken():
    recording = prepare(tag_file([1, 2, 3, 4, 5, 6], [5, 5, 9, 200, 200, 9]), inputs=2)
    assert recording.names == {0: 5, 1: 9} or len(recording.names) == 2
    assert any("left out" in note for note in recording.notes)


def test_recording_starts_at_zero():
    recording = prepare(tag_file([10**13, 10**13 + 7], [3, 4], start_ps=10**13, duration_ps=7))
    assert recording.times_ps.tolist() == [0, 7]
    assert recording.names == {0: 3, 1: 4}


def test_part_without_tags():
    with pytest.raises(DemoError, match="hold no tag; take more"):
        prepare(tag_file([10**9], [0]), duration_ps=10)


def test_report_shows_checks_and_provenance():
    recording = prepare(pulsed_file())
    result = played(recording)
    html = demo_report(recording, result, compare(recording, result),
                       provenance=[("Seed", "7")]).html()
    for text in ("comparisons agree", "gateware histogram", "streamed tags", "0000000000001234",
                 "0000abcd", "Seed", "simulated clock cycles per second", "retries"):
        assert text in html


class FakeBlock:
    """A block's driver that accepts every setting."""

    def __init__(self, node):
        self.node = node

    def __getattr__(self, name):
        async def method(*args, **kwargs):
            self.node.calls.append(name)
        return method


class FakeTagger(FakeBlock):
    async def counters(self):
        return SimpleNamespace(recorded=self.node.sent, lost=0, seen=[self.node.sent],
                               in_dead_time=[0])

    def stream(self):
        node = self.node

        class Records:
            async def __aenter__(self):
                return self

            async def __aexit__(self, *_):
                pass

            async def read(self):
                if not node.blocks:
                    await asyncio.sleep(60)
                block = node.blocks.pop(0)
                node.sent += len(block)
                return block

            async def read_pending(self):
                return np.empty(0, np.uint64)

        return Records()


class FakeTiming(FakeBlock):
    async def tick(self):
        return 1000


class FakeLink(FakeBlock):
    async def statistics(self):
        return {}

    def host_statistics(self):
        return {}


def fake_node(blocks):
    node = SimpleNamespace(calls=[], blocks=blocks, sent=0, identity=identity(),
                           units=SimpleNamespace(fine_ps=Fraction(8000, 8192)))
    node.tagger, node.timing, node.link = FakeTagger(node), FakeTiming(node), FakeLink(node)
    node.histogram = FakeBlock(node)
    return node


def records(*ticks, epoch=True):
    words = [EpochRecord.const({"epoch": 0, "kind": TagKind.EPOCH}).as_bits()] if epoch else []
    words += [TagRecord.const({"coarse": tick}).as_bits() for tick in ticks]
    return np.array(words, np.uint64)


def test_play_ends_with_the_last_tag():
    result = asyncio.run(play(fake_node([records(5, 6), records(9, epoch=False)]), inputs=1,
                              expected=3))
    assert (result.columns.times >> 13).tolist() == [5, 6, 9]
    assert not result.stopped_early


def test_play_ends_when_nothing_comes_any_more():
    result = asyncio.run(play(fake_node([records(5)]), inputs=1, expected=3, quiet_s=0.3))
    assert len(result.columns) == 1


def test_play_ends_with_its_budget():
    result = asyncio.run(play(fake_node([records(5)]), inputs=1, expected=3, budget_s=0.1))
    assert result.stopped_early
