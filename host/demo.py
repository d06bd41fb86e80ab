"""The demonstration: a recording through a node's gateware and back, compared tag for tag.

The parts are separate so that each is of use alone: :func:`prepare` makes a recording ready for a
node's inputs, :func:`play` drives a node while its inputs see that recording,
:func:`compare` says where file and node agree, and :func:`demo_report` writes it up.
:func:`run_demo` starts a virtual node as another process and does all of it.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quantacore.host.heralding import add_section, scan
from quantacore.host.plot import Figure
from quantacore.host.report import Check, Report
from quantacore.host.tags.correlate import (
    all_pairs,
    normalise,
    pulse_period,
    pulsed_peaks,
    shortest_interval,
)
from quantacore.host.tags.decode import Columns, DecodeState, decode, ps_to_fine, ticks_to_ps
from quantacore.host.tags.files import read_tags, write_tags

__all__ = ["DemoError", "Recording", "Played", "Comparison", "find_recording", "prepare",
           "merged_by_front_end", "play", "play_recording", "compare", "demo_report",
           "run_heralding", "virtual_node", "run_demo"]

#: The reference histogram: bins of the published counts of the HydraHarp run.
FINE_BIN_PS, FINE_BINS = 16, 10_000
#: The gateware's histogram has bins of 2**6 fine units, 62.5 ps at 125 MHz.
COARSE_BIN_FINE = 64
#: Two photons on one channel need so many samples between them (a pulse and its fall).
_PULSE_SAMPLES = 2
#: What `quantacore demo` takes of a recording unless told otherwise.
DEFAULT_PART_PS = 250_000_000_000


class DemoError(RuntimeError):
    """The demonstration can't go on. The message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a node's inputs will see.

    Attributes
    ----------
    times_ps : numpy.ndarray
        int64, ascending, from the start of the recording.
    channels : numpy.ndarray
        uint8, the node's inputs, from 0.
    names : dict
        Input of the node -> channel in the file.
    duration_ps : int
    meta : dict
        Of the file.
    notes : list of str
        What was left out or odd.
    """

    times_ps: np.ndarray
    channels: np.ndarray
    names: dict
    duration_ps: int
    meta: dict
    notes: list = field(default_factory=list)

    def channel(self, number):
        return self.times_ps[self.channels == number]


def data_folder():
    """Where recordings are looked for: ``QUANTACORE_DATA``, else ``../shared/data`` beside the
    repository."""
    named = os.environ.get("QUANTACORE_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


def find_recording():
    """The first time-tag recording in the data folder, or None."""
    folder = data_folder() / "timetags_hbt"
    kinds = re.compile(r"\.(timeres|ptu|qutag|bin|npz|qct)(\.(xz|gz|bz2))?$")
    found = sorted(path for path in folder.glob("*") if kinds.search(path.name)) \
        if folder.is_dir() else []
    return found[0] if found else None


def prepare(tags, *, inputs=8, duration_ps=None):
    """Make a recording ready for a node: from time 0, channels numbered from 0.

    Parameters
    ----------
    tags : TagFile
    inputs : int
        Detector inputs of the node. If the recording has more channels, the busiest are taken.
    duration_ps : int, optional
        Take so much from the start; all by default.

    Returns
    -------
    Recording
    """
    notes = list(tags.warnings)
    part = tags if duration_ps is None else tags.first(duration_ps)
    counts = part.counts()
    if not counts:
        raise DemoError(f"The first {part.duration_ps / 1e12:g} s of the recording hold no tag; "
                        f"take more of it")
    chosen = sorted(sorted(counts, key=lambda name: -counts[name])[:inputs])
    if len(chosen) < len(counts):
        left = sorted(set(counts) - set(chosen))
        notes.append(f"Channels {', '.join(map(str, left))} were left out: the node has {inputs} "
                     f"inputs")
    number = np.full(256, 255, np.uint8)
    number[chosen] = np.arange(len(chosen))
    channels = number[part.channels]
    keep = channels != 255
    return Recording(times_ps=part.times_ps[keep] - part.start_ps, channels=channels[keep],
                     names=dict(enumerate(chosen)), duration_ps=part.duration_ps,
                     meta=part.meta, notes=notes)


def merged_by_front_end(fine, channels, samples):
    """Which tags a sampled input can't tell from the one before.

    A photon is a pulse of at least one high and one low sample, so of two photons on a channel
    less than two samples apart the second is not seen.

    Parameters
    ----------
    fine : numpy.ndarray
        int64 fine units, ascending.
    channels : numpy.ndarray
    samples : int
        Samples per tick.

    Returns
    -------
    numpy.ndarray
        bool, True for those that are lost.
    """
    merged = np.zeros(len(fine), dtype=bool)
    sample = fine // (8192 // samples)
    for channel in np.unique(channels):
        mine = np.flatnonzero(channels == channel)
        near = np.flatnonzero(np.diff(sample[mine]) < _PULSE_SAMPLES)
        last = -1
        for index in near.tolist():
            # A pair that is too near: its second is lost, unless its first already was and the
            # last one kept is far enough.
            kept = last if merged[mine[index]] else mine[index]
            if sample[mine[index + 1]] - sample[kept] < _PULSE_SAMPLES:
                merged[mine[index + 1]] = True
                last = kept
    return merged


@dataclass(kw_only=True)
class Played:
    """What came back from a node.

    ``columns`` hold the node's own times in fine units; ``wall_s`` and ``ticks`` say how long
    the run took on the wall and on the node.
    """

    columns: Columns
    state: DecodeState
    histogram: object
    counters: object
    node_link: dict
    host_link: dict
    identity: object
    ticks: int
    wall_s: float
    stopped_early: bool = False


async def play(node, *, inputs, expected=None, start=0, stop=1, bin_fine=COARSE_BIN_FINE,
               budget_s=None, progress=None, quiet_s=2.0):
    """Tag what the node's inputs see, with its histogram beside, until all has come.

    Parameters
    ----------
    node : Node
        Connected. Its settings are changed: inputs enabled, counters cleared, histogram set.
    inputs : int
        Tag rising edges on inputs 0 to ``inputs - 1``.
    expected : int, optional
        Edges that will come; the run ends with the last of them. Without it, and if they do not
        come, it ends when nothing new was recorded for ``quiet_s``.
    start, stop : int
        Inputs of the histogram.
    bin_fine : int
        Its bin width, a power of two fine units.
    budget_s : float, optional
        Stop after so long on the wall and take what has come.
    progress : callable, optional
        Called with ``(tags so far, newest time in fine units or None)``.

    Returns
    -------
    Played
    """
    tagger, histogram = node.tagger, node.histogram
    await tagger.stop()
    await tagger.disable()
    await tagger.clear()
    await tagger.enable(*range(inputs))
    await histogram.configure(start=start, stop=stop, mode="all_pairs",
                              bin_s=bin_fine * node.units.fine_ps / 10**12)
    await histogram.run()
    state, batches = DecodeState(), []
    stopped_early = False

    def take(block):
        batches.append(decode(block, state))
        if progress:
            newest = int(batches[-1].times[-1]) if len(batches[-1]) else None
            progress(state.tags, newest)

    async with tagger.stream() as records:
        first_tick = await node.timing.tick()
        began = last_news = time.monotonic()
        recorded = -1
        await tagger.run()
        while expected is None or state.tags + state.lost < expected:
            now = time.monotonic()
            if budget_s is not None and now - began > budget_s:
                stopped_early = True
                break
            try:
                take(await asyncio.wait_for(records.read(), 0.25))
                last_news = time.monotonic()
            except TimeoutError:
                counters = await tagger.counters()
                if counters.recorded + counters.lost != recorded:
                    recorded = counters.recorded + counters.lost
                    last_news = now
                elif now - last_news > quiet_s:
                    break
        await tagger.stop()
        last_tick = await node.timing.tick()
        wall = time.monotonic() - began
        await histogram.stop()
        rest = await records.read_pending()
        if len(rest):
            take(rest)
        counters = await tagger.counters()
    return Played(columns=Columns.join(batches), state=state, histogram=await histogram.read(),
                  counters=counters, node_link=await node.link.statistics(),
                  host_link=node.link.host_statistics(), identity=node.identity,
                  ticks=last_tick - first_tick, wall_s=wall, stopped_early=stopped_early)


async def play_recording(node, recording, **options):
    """Let a node tag a recording that its inputs will see from the moment it runs.

    Parameters
    ----------
    node : Node
    recording : Recording
    **options
        For :func:`play`.

    Returns
    -------
    Played

    Raises
    ------
    DemoError
        If the node has fewer inputs than the recording channels.
    """
    identity = node.identity
    inputs = max(2, len(recording.names))
    if inputs > identity.channels:
        raise DemoError(f"The node has {identity.channels} inputs and the recording "
                        f"{inputs} channels; give the node more, or take fewer channels")
    tick = identity.tick_ps.numerator, identity.tick_ps.denominator
    merged = merged_by_front_end(ps_to_fine(recording.times_ps, *tick), recording.channels,
                                 identity.samples)
    return await play(node, inputs=inputs, expected=int(np.count_nonzero(~merged)), **options)


@dataclass(kw_only=True)
class Comparison:
    """Where a recording and what came back agree.

    Attributes
    ----------
    checks : list of Check
    reference_ps, streamed_ps : tuple of numpy.ndarray
        Times of the two correlated channels: in the file, and streamed.
    fine_reference, fine_streamed : numpy.ndarray
        All-pairs counts in bins of ``FINE_BIN_PS`` over both signs.
    coarse_reference, coarse_gateware : numpy.ndarray
        All-pairs counts on the gateware's grid.
    origin_fine : int
        The node's time at which the recording began.
    compared, merged, lost, missing, extra : int
        Photons of the file that were compared; merged in the front end (predicted); reported
        lost; not streamed; and tags that were streamed and are not in the file.
    duration_ps : int
    """

    checks: list
    reference_ps: tuple
    streamed_ps: tuple
    fine_reference: np.ndarray
    fine_streamed: np.ndarray
    coarse_reference: np.ndarray
    coarse_gateware: np.ndarray
    coarse_edges_ps: np.ndarray
    origin_fine: int
    compared: int
    merged: int
    lost: int
    missing: int
    extra: int
    duration_ps: int

    @property
    def passed(self):
        return all(check.passed for check in self.checks)


def _origin(expected, columns):
    """The node's time of the recording's start: the offset that most early tags agree on."""
    candidates = {}
    width = min(32, len(expected), len(columns))
    for ours in expected[:width].tolist():
        for theirs in columns.times[:width].tolist():
            if (theirs - ours) % 8192 == 0:
                candidates[theirs - ours] = candidates.get(theirs - ours, 0) + 1
    if not candidates:
        raise DemoError("No tag that came back lies a whole number of ticks after one of the "
                        "recording: the node's inputs saw something else")
    return max(candidates, key=candidates.get)


def _two_sided(first, second):
    span = FINE_BIN_PS * FINE_BINS
    return all_pairs(first, second, FINE_BIN_PS, 2 * FINE_BINS, first=-span)


def compare(recording, played, *, start=0, stop=1):
    """Compare what came back with the recording, count for count.

    Parameters
    ----------
    recording : Recording
    played : Played
    start, stop : int
        Inputs that are correlated.

    Returns
    -------
    Comparison

    Raises
    ------
    DemoError
        If nothing came back, or nothing like the recording.
    """
    identity, columns, state = played.identity, played.columns, played.state
    tick = identity.tick_ps.numerator, identity.tick_ps.denominator
    if not len(columns):
        raise DemoError(f"No tag came back from the node; it has seen "
                        f"{sum(played.counters.seen)} edges. Are its inputs connected to the "
                        f"recording?")
    fine = ps_to_fine(recording.times_ps, *tick)
    channels = recording.channels
    times_ps = recording.times_ps
    duration_ps = recording.duration_ps
    origin = _origin(fine, columns)
    notes = []
    if played.stopped_early:
        end = int(columns.times.max()) - origin
        keep = fine <= end
        fine, channels, times_ps = fine[keep], channels[keep], times_ps[keep]
        duration_ps = max(int(times_ps[-1]), 1)
        notes.append(f"stopped after {played.wall_s:.0f} s on the wall, "
                     f"{duration_ps / 1e12:.4f} s into the recording")

    # Every tag as one number, so that the two lists compare as sorted sets; a tag that occurs
    # twice in the file can only be a merged one.
    merged = merged_by_front_end(fine, channels, identity.samples)
    wanted = np.sort((fine[~merged] << 3) | channels[~merged])
    got = np.sort((columns.times - origin << 3) | columns.channels)
    common = np.isin(wanted, got, assume_unique=True)
    missing = int(np.count_nonzero(~common))
    extra = int(len(got) - np.count_nonzero(common))
    lost = state.lost
    explained = missing == lost
    checks = [Check(
        name="Tags streamed = tags in the file", passed=explained and not extra,
        got=len(columns), expected=len(wanted) - lost,
        note="; ".join([
            *notes,
            *([f"{int(merged.sum())} photons of the file are less than {_PULSE_SAMPLES} samples "
               f"after another on their channel: one pulse to a sampled input"]
              if merged.any() else []),
            *([f"{lost} more were reported lost by the node ({len(state.overflows)} overflows)"]
              if lost else [])]))]

    # Compare times in picoseconds, each streamed tag with its own of the file.
    kept = np.zeros(len(fine), dtype=bool)
    kept[~merged] = np.isin((fine[~merged] << 3) | channels[~merged], got, assume_unique=True)
    streamed_order = np.argsort((columns.times - origin << 3) | columns.channels, kind="stable")
    streamed_ps = ticks_to_ps(columns.times[streamed_order] - origin, *tick)
    streamed_channels = columns.channels[streamed_order]
    file_order = np.argsort((fine << 3) | channels, kind="stable")
    file_order = file_order[kept[file_order]]
    if len(file_order) == len(streamed_ps):
        different = int(np.count_nonzero(times_ps[file_order] != streamed_ps))
    else:
        different = max(missing, extra)
    checks.append(Check(name="Tags whose time differs, in picoseconds",
                        passed=different == 0, got=different, expected=0))
    if played.columns.falling.any():
        checks.append(Check(name="Falling edges among rising ones", passed=False, expected=0,
                            got=int(np.count_nonzero(played.columns.falling))))

    # What the node can have seen: the file without merged and lost tags.
    first, second = (times_ps[kept & (channels == number)] for number in (start, stop))
    ours = tuple(streamed_ps[streamed_channels == number] for number in (start, stop))
    fine_reference, fine_streamed = _two_sided(first, second), _two_sided(*ours)
    for label, one, two, side in (
        (f"starts input {start}", first, second, slice(FINE_BINS, None)),
        (f"starts input {stop}", second, first, None),
    ):
        reference = all_pairs(one, two, FINE_BIN_PS, FINE_BINS)
        streamed = fine_streamed[side] if side else all_pairs(*ours[::-1], FINE_BIN_PS, FINE_BINS)
        checks.append(Check(
            name=f"All-pairs coincidences, {FINE_BIN_PS} ps × {FINE_BINS} bins, {label}",
            passed=bool(np.array_equal(reference, streamed)), got=int(streamed.sum()),
            expected=int(reference.sum()),
            note="bin for bin" if np.array_equal(reference, streamed) else
            f"{np.count_nonzero(reference != streamed)} bins differ"))

    # The gateware's histogram sees all edges, also those whose records were lost.
    histogram = played.histogram
    seen = ~merged
    coarse = all_pairs(fine[seen & (channels == start)], fine[seen & (channels == stop)],
                       histogram.bin_fine, len(histogram.counts),
                       first=histogram.first_edge_fine)
    differing = int(np.count_nonzero(coarse != histogram.counts))
    reported = histogram.edges_lost + histogram.pairs_lost
    deficit = int(coarse.sum()) - int(histogram.counts.sum())
    explained = differing == 0 or (reported > 0 and deficit > 0
                                   and bool((histogram.counts <= coarse).all()))
    checks.append(Check(
        name=f"Gateware histogram = file on the same grid ({histogram.bin_fine} fine units)",
        passed=explained, got=int(histogram.counts.sum()), expected=int(coarse.sum()),
        note="bin for bin" if not differing else
        f"{differing} bins differ; the histogram reports {histogram.edges_lost} edges not "
        f"correlated and {histogram.pairs_lost} forgotten"))

    counters = played.counters
    account = counters.recorded + counters.lost + sum(counters.in_dead_time)
    checks.append(Check(name="Edges seen = recorded + lost + in dead time",
                        passed=sum(counters.seen) == account, got=sum(counters.seen),
                        expected=account))
    checks.append(Check(name="Tags recorded by the node = tags received",
                        passed=counters.recorded == len(columns), got=len(columns),
                        expected=counters.recorded))
    edges = np.array([float(histogram.edge_ps(index))
                      for index in range(len(histogram.counts) + 1)])
    return Comparison(
        checks=checks, reference_ps=(first, second), streamed_ps=ours,
        fine_reference=fine_reference, fine_streamed=fine_streamed, coarse_reference=coarse,
        coarse_gateware=histogram.counts, coarse_edges_ps=edges, origin_fine=origin,
        compared=len(fine), merged=int(merged.sum()), lost=lost, missing=missing, extra=extra,
        duration_ps=duration_ps)


def _rebin(counts, factor):
    return counts[:len(counts) // factor * factor].reshape(-1, factor).sum(axis=1)


def demo_report(recording, played, comparison, *, title=None, provenance=()):
    """The page: figures, comparisons, rates, losses, link, simulation, provenance.

    Returns
    -------
    Report
    """
    identity = played.identity
    names = recording.names
    kind = "virtual node" if identity.simulated else "node"
    report = Report(
        title or "Photons through real gateware",
        f"{recording.meta.get('name', 'A recording')}: {comparison.duration_ps / 1e12:.4g} s of "
        f"time tags were played into the detector inputs of a {kind}, tagged by its gateware, "
        f"streamed back over the link, and compared with the file tag for tag.",
        checks=comparison.checks)
    rate = played.ticks / played.wall_s if played.wall_s else 0.0
    report.fact("tags streamed back", len(played.columns))
    report.fact("coincidences within 160 ns, both ways", int(comparison.fine_streamed.sum()))
    if identity.simulated:
        report.fact("simulated clock cycles per second", rate)
    report.fact("seconds for the run", played.wall_s)

    first, second = comparison.reference_ps
    period = pulse_period(first, second) if len(first) and len(second) else None
    peaks = pulsed_peaks(first, second, period) if period else None
    pulsed = peaks is not None and peaks.side_mean >= 5
    if pulsed and peaks.g2_zero < 0.5:
        report.fact("g²(0)", f"{peaks.g2_zero:.3f} ± {peaks.error:.3f}")
    if len(first) and len(second):
        _figures(report, comparison, peaks if pulsed else None, names)

    seconds = comparison.duration_ps / 1e12
    counters = played.counters
    rows = []
    for number, name in names.items():
        count = int(np.count_nonzero(played.columns.channels == number))
        dead = shortest_interval(recording.channel(number))
        rows.append((f"{number} (file: {name})", count, count / seconds,
                     "" if dead is None else f"{dead / 1000:.3f} ns"))
    report.table("Rates", rows,
                 headings=("input", "tags", "per second", "shortest interval"))
    report.table("Loss account", [
        ("Photons compared", comparison.compared),
        ("Merged in the front end (predicted)", comparison.merged),
        ("Edges seen by the gateware", sum(counters.seen)),
        ("Dropped for their dead time", sum(counters.in_dead_time)),
        ("Lost in the row queue", counters.lost_burst),
        ("Lost with the record buffer full", counters.lost_buffer),
        ("Reported lost in the stream", comparison.lost),
        ("Recorded", counters.recorded),
        ("Streamed and not in the file", comparison.extra),
        ("Histogram: edges not correlated", played.histogram.edges_lost),
        ("Histogram: edges forgotten", played.histogram.pairs_lost),
    ])
    if pulsed:
        report.table("Source", [
            ("Pulses", f"{1e6 / period:.4f} MHz"),
            ("Suppressed peak at", f"{peaks.zero:+,.0f} ps"),
            ("Pairs in it", peaks.suppressed),
            ("Pairs in a side peak", peaks.side_mean),
        ], caption="Computed from the file, in windows of one period around 52 peaks either side.")
    report.table("Simulation" if identity.simulated else "Run", [
        ("Clock", f"{float(identity.clock_hz) / 1e6:g} MHz, {identity.samples} samples per tick"),
        ("Ticks", played.ticks),
        ("Wall clock", f"{played.wall_s:.2f} s"),
        ("Cycles per second", rate),
        ("Tags per second of wall clock", len(played.columns) / max(played.wall_s, 1e-9)),
    ])
    report.table("Link, as the host counts", list(played.host_link.items()))
    report.table("Link, as the node counts", list(played.node_link.items()))
    report.table("Provenance", [
        ("Recording", recording.meta.get("name", "")),
        ("SHA-256 of the file", recording.meta.get("sha256", "")),
        ("Instrument", f"{recording.meta.get('device') or ''} "
                       f"{recording.meta.get('record_type', '')}".strip()),
        ("Gateware build", f"{identity.build_id:016x}"),
        ("Register map CRC", f"{identity.map_crc:08x}"),
        *provenance,
    ], code=True, wide=True, caption=" ".join(note.rstrip(".") + "." for note in recording.notes))
    return report


def _figures(report, comparison, peaks, names):
    first, second = comparison.reference_ps
    edges = comparison.coarse_edges_ps
    width = float(edges[1] - edges[0])
    grid = edges / 1000
    arguments = {"starts": len(first), "stops": len(second), "duration": comparison.duration_ps,
                 "first": float(edges[0])}
    file = normalise(comparison.coarse_reference, width, **arguments)
    gateware = normalise(comparison.coarse_gateware, width, **arguments)
    axis = f"τ = t({names.get(1, 1)}) − t({names.get(0, 0)}) (ns)"

    whole = Figure("g²(τ), gateware histogram over the file", x_label=axis, y_label="g²")
    whole.steps(grid, file.g2, "file", colour=0, fill=True)
    whole.steps(grid, gateware.g2, "gateware histogram", colour=1)
    figures = [whole]

    span = FINE_BIN_PS * FINE_BINS
    streamed = comparison.fine_streamed
    # Few counts: wider bins, so that points mean something.
    factor = next((n for n in (1, 2, 4, 8) if _rebin(streamed, n).max(initial=0) >= 30), 16)
    bins = _rebin(streamed, factor)
    reference = _rebin(comparison.fine_reference, factor)
    fine_edges = (np.arange(len(bins) + 1) * FINE_BIN_PS * factor - span) / 1000
    same = {**arguments, "first": -span}
    points = normalise(bins, FINE_BIN_PS * factor, **same)
    area = normalise(reference, FINE_BIN_PS * factor, **same)
    centre = peaks.zero / 1000 if peaks else 0.0
    reach = 4.5 * peaks.period / 1000 if peaks else 30.0
    zoom = Figure("g²(τ), streamed tags over the file, around the middle", x_label=axis,
                  y_label="g²", x_range=(centre - reach, centre + reach))
    zoom.steps(fine_edges, area.g2, "file", colour=0, fill=True)
    zoom.points(points.tau / 1000, points.g2, "streamed tags", colour=2,
                error=np.where(points.counts > 0, points.error, 0))
    if peaks:
        whole.mark(centre, "suppressed peak")
        zoom.mark(centre, "suppressed peak")
    else:
        whole.level(1)
        zoom.level(1)
    figures.append(zoom)

    left = Figure(f"Streamed tags − file, bins of {FINE_BIN_PS} ps", x_label=axis,
                  y_label="pairs", height=160)
    left.steps((np.arange(len(streamed) + 1) * FINE_BIN_PS - span) / 1000,
               streamed - comparison.fine_reference, colour=2)
    right = Figure(f"Gateware histogram − file, bins of {width:g} ps", x_label=axis,
                   y_label="pairs", height=160)
    right.steps(grid, comparison.coarse_gateware - comparison.coarse_reference, colour=1)
    report.figure(
        "Second-order correlation", *figures, left, right,
        caption="Bars are Poisson standard errors. 1 is what uncorrelated light of the same rates "
                "gives. The file's curve is computed from the file alone, on the same grid; the "
                "two lower figures are differences of counts, bin by bin.")


# The virtual node ----------------------------------------------------------------------------

def _entry_point(group, name):
    found = list(importlib.metadata.entry_points(group=group, name=name))
    if not found:
        raise DemoError(f"The simulator is not installed (no entry point {name!r} in {group!r}); "
                        f"pip install 'quantacore[sim]'")
    try:
        return found[0].load()
    except ImportError as error:
        raise DemoError(f"The simulator can't be loaded ({error}); "
                        f"pip install 'quantacore[sim]'") from error


def emitter_recording(path, *, duration_ps, seed):
    """Let the emitter model write a recording, as a PTU file, and return its path.

    The model is found by entry point: a blinking single-photon source under a pulsed laser,
    behind a beam splitter, with two detectors that have dead time, jitter and dark counts.
    """
    model = _entry_point("quantacore.models", "hbt_recording")
    times_ps, channels = model(duration_ps=duration_ps, seed=seed)
    return write_tags(path, times_ps, channels, meta={
        "comment": f"QuantaCore emitter model, seed {seed}", "device": "emitter model"})


def run_heralding(attempts, *, seed=2026, progress=None):
    """Let two emitters and a station, three virtual nodes, herald entanglement.

    Parameters
    ----------
    attempts : int
        At each setting.
    seed : int
        Of the photon model.
    progress : callable, optional
        Called with (settings done, settings in all).

    Returns
    -------
    Scan
    """
    with _entry_point("quantacore.models", "heralding_star")(seed=seed) as star:
        return asyncio.run(scan(star, attempts=attempts, progress=progress))


@contextlib.contextmanager
def virtual_node(arguments, *, wait_s=900.0):
    """Run ``quantacore node`` as another process; yield ``(url, process)``; end it afterwards.

    Parameters
    ----------
    arguments : list of str
        Options of ``quantacore node``.
    wait_s : float
        How long it may take until the node serves (it may have to be built).

    Raises
    ------
    DemoError
        If it ends before it serves; the message has what it printed.
    """
    command = [sys.executable, "-m", "quantacore.host.cli", "node", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    # A file, not a pipe: nobody reads on once the node serves.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed,
                                   stderr=subprocess.STDOUT, env=environment,
                                   start_new_session=True)
        try:
            url = _serving_url(process, printed, wait_s)
            try:
                yield url, process
            except Exception as error:
                # If the node itself has ended, what it said tells more than the broken link.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                if process.returncode is None:
                    raise
                raise DemoError(f"The virtual node ended while it was driven (exit code "
                                f"{process.returncode}). It said:\n{_tail(printed)}") from error
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


_URL = re.compile(r"^(/dev/\S+|tcp:\S+:\d+)$", re.MULTILINE)


def _serving_url(process, printed, wait_s):
    """The node prints the URL it serves on a line of its own."""
    deadline = time.monotonic() + wait_s
    while True:
        ended = process.poll() is not None
        printed.seek(0)
        text = printed.read()
        found = _URL.search(text)
        if found and not ended:
            return found.group(1)
        if ended:
            raise DemoError(f"The virtual node ended before it served (exit code "
                            f"{process.returncode}). It said:\n{_tail(printed)}")
        if time.monotonic() > deadline:
            raise DemoError(f"The virtual node did not serve within {wait_s:.0f} s. It said:\n"
                            f"{_tail(printed)}")
        time.sleep(0.02)


def _tail(printed):
    printed.seek(0)
    return printed.read()[-2000:].strip()


def run_demo(path=None, *, output, duration_ps=DEFAULT_PART_PS, budget_s=None, seed=2026,
             node_options=(), attempts=0, status=None, progress=None):
    """Do all of the demonstration against a virtual node on a pseudo-terminal.

    Parameters
    ----------
    path : path, optional
        Recording to play; by default one from the data folder, else one that the emitter model
        writes.
    output : path
        Where the report goes.
    duration_ps : int or None
        How much of the recording to take; None is all.
    budget_s : float, optional
        Stop the run after so long on the wall, compare what has come, and say so.
    seed : int
        Of the emitter model and the node.
    node_options : sequence of str
        More options of ``quantacore node``.
    attempts : int
        Attempts at entanglement of three other virtual nodes, at each setting of
        :func:`~quantacore.host.heralding.scan`; 0 leaves that out.
    status, progress : callable, optional
        Called with a sentence about what is being done; with ``(fraction, tags)`` meanwhile.

    Returns
    -------
    (Report, Comparison, Played)
    """
    say = status or (lambda text: None)
    with tempfile.TemporaryDirectory(prefix="quantacore-") as folder:
        folder = Path(folder)
        if path is None:
            path = find_recording()
        if path is None:
            say("No recording found: the emitter model writes one")
            path = emitter_recording(folder / "emitter.ptu", seed=seed,
                                     duration_ps=duration_ps or 10**12)
        say(f"Reading {path}")
        recording = prepare(read_tags(path), duration_ps=duration_ps)
        replay = write_tags(folder / "replay.npz", recording.times_ps, recording.channels,
                            duration_ps=recording.duration_ps)
        arguments = ["--pty", "--source", f"replay:{replay}", "--seed", str(seed),
                     *node_options]
        say("Building and starting the virtual node (the first time takes a few minutes)")
        with virtual_node(arguments) as (url, _process):
            say(f"Driving the node at {url}")

            async def drive():
                from quantacore.host.driver.node import Node

                total = max(len(recording.times_ps), 1)
                async with await Node.connect(url) as node:
                    return await play_recording(
                        node, recording, budget_s=budget_s,
                        progress=progress and (lambda tags, _: progress(tags / total, tags)))

            played = asyncio.run(drive())
        say("Comparing")
        comparison = compare(recording, played)
        report = demo_report(recording, played, comparison, provenance=[
            ("Seed", str(seed)), ("Node", " ".join(["quantacore node", *arguments])),
            ("Time of this run", time.strftime("%Y-%m-%d %H:%M:%S %z"))])
        if attempts:
            say("Building three nodes that herald entanglement (the first time takes a few "
                "minutes)")
            add_section(report, run_heralding(
                attempts, seed=seed, progress=progress and (
                    lambda done, count: progress(done / count, len(played.columns)))))
        report.write(output)
    return report, comparison, played
