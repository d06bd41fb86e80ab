"""The disciplined clock: lock time, residual phase, hold-over, TDEV, and Stable32's digits.

Runs of seconds and days are on the golden model: 10^9 clocks and more are out of a simulator's
reach. That the model equals the gateware bit for bit and clock for clock is checked in this same
script on periods scaled down to some thousand clocks (case `gateware`), and by tests/cosim.

Local oscillator of all cases: offset as stated, white FM of 1e-9 at 1 s, random-walk FM of
1e-11 per square root of a second (a plain TCXO); reference jitter: white phase noise of 12 ns rms,
or the real GPS record. Edges are measured in steps of one fine unit (a delay line or the virtual
node).
"""

import lzma
import os
import time
from pathlib import Path

import numpy as np
from common import Row, arguments, report

from quantacore.gateware.layouts.timing import DECISION_LATENCY, EDGE_CLOCKS, TIMING, LoopState
from quantacore.host.clock import adev, mdev, mtie, oadev, tdev
from quantacore.sim.golden.timing import TimingModel, ideal_loop

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("QUANTACORE_DATA", ROOT.parent / "shared" / "data")) / "clock_stability"
PERIOD = 125_000_000
TICK_S = 8e-9
FINE_S = TICK_S / 8192
INITS = {register.name: register.init for register in TIMING.registers}
JITTER_S = 12e-9
SETTLED = 200  # edges after which residuals are counted

TABLES = [  # record, table, function, column
    ("tic_phase.txt.xz", "Keysight53230A_ti_noise_floor_tic_oadev", oadev, 5),
    ("tic_phase.txt.xz", "Keysight53230A_ti_noise_floor_tic_mdev", mdev, 5),
    ("tic_phase.txt.xz", "Keysight53230A_ti_noise_floor_tic_tdev", tdev, 5),
    ("gps_1pps_phase_data.txt.xz", "gps_stable32_ADEV_decade", adev, 5),
    ("gps_1pps_phase_data.txt.xz", "gps_stable32_OADEV_octave", oadev, 5),
    ("gps_1pps_phase_data.txt.xz", "gps_stable32_MDEV_octave", mdev, 5),
    ("gps_1pps_phase_data.txt.xz", "gps_stable32_TDEV_octave", tdev, 5),
    ("PHASE.DAT", "phasedat_phase_dat_adev_octave", adev, 5),
    ("PHASE.DAT", "phasedat_phase_dat_oadev_octave", oadev, 5),
    ("PHASE.DAT", "phasedat_phase_dat_mdev_octave", mdev, 5),
    ("PHASE.DAT", "phasedat_phase_dat_tdev_octave", tdev, 5),
    ("PHASE.DAT", "phasedat_phase_dat_mtie", mtie, 3),
]


def load(name):
    path = DATA / name
    with (lzma.open(path, "rt") if path.suffix == ".xz" else open(path)) as file:
        return np.loadtxt(file)


def oscillator(rng, seconds, offset):
    """Local time minus true time at each whole second, in seconds."""
    frequency = (offset + rng.normal(0, 1e-9, seconds)
                 + np.cumsum(rng.normal(0, 1e-11, seconds)))
    return np.concatenate([[0.0], np.cumsum(frequency)[:-1]])


def discipline(local_s, reference_s):
    """Run the golden model with its initial settings.

    ``local_s`` is the oscillator's phase, ``reference_s`` the reference's (NaN: edge lost).
    Returns phase errors (s) by edge number, the state by edge number, ticks of deviation as fed.
    """
    model = TimingModel()
    model.write("control", 1, clock=0)
    first = 1000
    # The edge of second k comes at true time k + x; the oscillator has counted this by then.
    deviation = (local_s + reference_s) / TICK_S
    number = {}
    for k, ticks in enumerate(deviation):
        if np.isfinite(ticks):
            fine = (k * PERIOD + first) * 8192 + round(ticks * 8192)
            model.advance(max(model.clock, (fine >> 13) - 1))
            model.edge(fine >> 13, fine & 8191)
            number[fine >> 13] = k
    model.advance(model.clock + 100)
    errors = np.full(len(deviation), np.nan)
    states = np.full(len(deviation), -1)
    for clock, error, _rate, state in model.edges:
        k = number[clock - DECISION_LATENCY - EDGE_CLOCKS]
        errors[k] = error * FINE_S
        states[k] = state.value
    errors[np.flatnonzero(np.isfinite(deviation))[0]] = 0.0
    return model, errors, states, deviation


def ideal(deviation):
    errors, _rates, locked = ideal_loop(
        deviation, period=PERIOD, lock_threshold=INITS["lock_threshold"],
        lock_count=INITS["lock_count"], gains=INITS["gains"])
    return errors * TICK_S, locked


def rms(values):
    return float(np.sqrt(np.nanmean(np.square(values))))


def lock_cases(rng, quick):
    runs, seconds = (8, 400) if quick else (40, 1000)
    found, wanted, residual, wanted_residual, worst, wanted_worst = ([] for _ in range(6))
    for _ in range(runs):
        local = oscillator(rng, seconds, rng.choice((-50e-6, 50e-6)))
        jitter = rng.normal(0, JITTER_S, seconds)
        _model, errors, states, deviation = discipline(local, jitter)
        expected, locked = ideal(deviation)
        found.append(int(np.argmax(states == LoopState.LOCKED.value)))
        wanted.append(int(np.argmax(locked)))
        # The virtual clock against true time: what it is late by, less what the edge was late by.
        residual.append(rms((errors + jitter)[SETTLED:]))
        wanted_residual.append(rms((expected + jitter)[SETTLED:]))
        worst.append(np.max(np.abs((errors + jitter)[SETTLED:])))
        wanted_worst.append(np.max(np.abs((expected + jitter)[SETTLED:])))
    source = "ideal floating-point loop on the same edges"
    yield Row(name="timebase/lock_50ppm_12ns/lock_time_mean", figure=float(np.mean(found)),
              unit="s", anchor=float(np.mean(wanted)), anchor_source=source)
    yield Row(name="timebase/lock_50ppm_12ns/lock_time_max", figure=float(max(found)), unit="s",
              anchor=float(max(wanted)), anchor_source=source)
    yield Row(name="timebase/lock_50ppm_12ns/residual_rms", figure=rms(residual), unit="s",
              anchor=rms(wanted_residual), anchor_source=source)
    yield Row(name="timebase/lock_50ppm_12ns/residual_max", figure=float(max(worst)), unit="s",
              anchor=float(max(wanted_worst)), anchor_source=source)
    yield Row(name="timebase/lock_50ppm_12ns/jitter_reduction", figure=rms(residual), unit="s",
              anchor=JITTER_S, anchor_source="the reference's own jitter")


def loss_case(rng):
    seconds, gone = 1200, slice(800, 900)
    local = oscillator(rng, seconds, 20e-6)
    jitter = rng.normal(0, JITTER_S, seconds)
    fed = jitter.copy()
    fed[rng.random(seconds) < 0.05] = np.nan
    fed[:4] = jitter[:4]
    fed[gone] = np.nan
    fed[gone.stop] = jitter[gone.stop]
    model, errors, states, deviation = discipline(local, fed)
    expected, _locked = ideal(deviation)
    source = "ideal floating-point loop on the same edges"
    yield Row(name="timebase/loss_5pct/residual_rms", unit="s",
              figure=rms((errors + fed)[SETTLED:gone.start]),
              anchor=rms((expected + fed)[SETTLED:gone.start]), anchor_source=source)
    yield Row(name="timebase/holdover_100s/drift", unit="s", figure=abs(float(errors[gone.stop])),
              anchor=abs(float(expected[gone.stop])), anchor_source=source)
    yield Row(name="timebase/holdover_100s/drift_against_free_running", unit="s",
              figure=abs(float(errors[gone.stop])),
              anchor=abs(float(local[gone.stop] - local[gone.start])),
              anchor_source="the undisciplined oscillator, 20 ppm off")
    missed = int(np.isnan(fed).sum())
    yield Row(name="timebase/loss_5pct/missed_edges_reported", unit="edges",
              figure=model.reference_missed, anchor=missed, anchor_source="edges left out")


def gps_case(rng, quick):
    reference = load("gps_1pps_phase_data.txt.xz")
    if quick:
        reference = reference[:40_000]
    seconds = len(reference)
    local = oscillator(rng, seconds, 5e-6)
    started = time.perf_counter()
    model, errors, states, deviation = discipline(local, reference)
    took = time.perf_counter() - started
    expected, _locked = ideal(deviation)
    source = "ideal floating-point loop on the same edges"
    late = (errors + reference)[SETTLED:]
    ideal_late = (expected + reference)[SETTLED:]
    yield Row(name="timebase/gps/lock_time", unit="s",
              figure=int(np.argmax(states == LoopState.LOCKED.value)),
              anchor=int(np.argmax(_locked)), anchor_source=source)
    yield Row(name="timebase/gps/edges_lost_lock", unit="edges",
              figure=int((states[SETTLED:] != LoopState.LOCKED.value).sum()))
    yield Row(name="timebase/gps/phase_error_rms", unit="s", figure=rms(errors[SETTLED:]),
              anchor=rms(expected[SETTLED:]), anchor_source=source)
    yield Row(name="timebase/gps/phase_error_max", unit="s",
              figure=float(np.max(np.abs(errors[SETTLED:]))),
              anchor=float(np.max(np.abs(expected[SETTLED:]))), anchor_source=source)
    yield Row(name="timebase/gps/worst_difference_from_ideal", unit="s",
              figure=float(np.max(np.abs(errors - expected))))
    taus = np.array([1.0, 10.0, 100.0, 1000.0])
    ours, theirs = tdev(late, taus_s=taus)[1], tdev(ideal_late, taus_s=taus)[1]
    raw, free = tdev(reference[SETTLED:], taus_s=taus)[1], tdev(local[SETTLED:], taus_s=taus)[1]
    for i, tau in enumerate(taus):
        case = f"timebase/gps_tdev_{tau:g}s"
        yield Row(name=f"{case}/disciplined", unit="s", figure=float(ours[i]),
                  anchor=float(theirs[i]), anchor_source=source)
        yield Row(name=f"{case}/against_reference", unit="s", figure=float(ours[i]),
                  anchor=float(raw[i]), anchor_source="the GPS 1PPS itself")
        yield Row(name=f"{case}/against_free_running", unit="s", figure=float(ours[i]),
                  anchor=float(free[i]), anchor_source="the undisciplined oscillator")
    yield Row(name="timebase/gps/model_speed", unit="simulated s per s", figure=seconds / took)
    assert model.reference_edges == seconds, "an edge of the record was not accepted"


def stable32_cases():
    for record, table, function, column in TABLES:
        phase = load(record)
        text = (DATA / "stable32" / f"{table}.txt").read_text()
        rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
        printed = np.array([float(row[column]) for row in rows])
        taus, values = function(phase, taus_s=np.array([float(row[0]) for row in rows]))
        yield Row(name=f"timebase/stable32_{table}/max_relative_difference",
                  figure=float(np.max(np.abs(values / printed - 1))), unit="1", anchor=5e-5,
                  anchor_source="half a unit of Stable32's last printed digit")


def gateware_case():
    """The golden model against the Verilated gateware, scaled: raises if they differ."""
    from quantacore.sim.bench.cosim import run_cocotb
    from quantacore.sim.bench.timing import TimingProbe

    module = ROOT / "tests" / "cosim" / "cocotb_timing.py"
    for case in ("random_jitter_loss_and_glitches", "missing_edges_lead_to_holdover_and_back"):
        run_cocotb(TimingProbe(samples=4, fine=True), "timing_4_1", module, testcase=case,
                   parameters={"samples": 4, "fine": 1})
    yield Row(name="timebase/gateware/words_differing_from_model", figure=0, unit="words")


def main():
    options = arguments(__doc__)
    rng = np.random.default_rng(options.seed)
    rows = [*lock_cases(rng, options.quick), *loss_case(rng)]
    if DATA.is_dir():
        rows += [*gps_case(rng, options.quick), *stable32_cases()]
    else:
        print(f"No clock records in {DATA}: cases gps and stable32 left out; name the folder with "
              f"QUANTACORE_DATA")
    rows += gateware_case()
    report(rows, options)


if __name__ == "__main__":
    main()
