"""What the pulse channels' steps add to the infidelity of an ideal STIRAP transfer.

Three levels, both lasers on resonance, no decay, a peak Rabi frequency of 40 / T. The ideal pulses
are smooth functions at the delay that is best for them. The real ones are samples of the golden
pipeline (16 bits, 8 ns, lines between the points of an envelope table), held until the next one:
no filter helps. Where a delay is no whole number of ticks the rest of it is in the pump's table.

Both are solved by QuTiP, which knows nothing of this; the held samples also exactly, a rotation
each, as a check of the solver on steps.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import qutip
from common import Row, arguments, report

from quantacore.gateware.layouts.sequencer import CHANNELS, ENVELOPE_POINTS, STEP_FRACTION_BITS
from quantacore.host.plot import Figure
from quantacore.sim.bench.channels import pulse, wave_bits
from quantacore.sim.golden.channels import Image, Issued, play

TICK_S = 8e-9
#: Peak Rabi frequency times T.
AREA = 40.0
LIMIT = 1e-5
STOKES, PUMP = 0, 1
LENGTHS_S = (100e-9, 300e-9, 1e-6, 3e-6, 10e-6)
#: Closed-form populations after Rabi frequencies of sine and cosine over T, by their peak times T.
SIN_COS = {5: 0.1926836750, 10: 0.9129214877, 20: 0.9167476148, 40: 0.9920596101}


@dataclass(frozen=True)
class Shape:
    """A pulse of T = 1: its function, where it ends, where the best delay is, and table points."""

    name: str
    function: object
    half: float
    delays: tuple
    points: int


SHAPES = (
    # At 3.5 T a Gaussian is a third of the last bit.
    Shape("gaussian", lambda x: np.exp(-x * x), 3.5, (1.38, 1.48), 256),
    Shape("sin2", lambda x: np.where(np.abs(x) < 1, np.cos(np.pi * x / 2) ** 2, 0.0), 1.0,
          (0.60, 0.66), 128),
)

_KET = [qutip.basis(3, k) for k in range(3)]
_PUMP = (_KET[0] * _KET[1].dag() + _KET[1] * _KET[0].dag()) / 2
_STOKES = (_KET[2] * _KET[1].dag() + _KET[1] * _KET[2].dag()) / 2


def smooth(pump, stokes, start, stop, *, most_step):
    """Population of the last level after pulses that are functions of time."""
    system = [[_PUMP, lambda t: float(pump(t))], [_STOKES, lambda t: float(stokes(t))]]
    result = qutip.sesolve(system, _KET[0], [start, stop], options={
        "method": "vern9", "atol": 1e-12, "rtol": 1e-11, "max_step": most_step, "nsteps": 10**6,
        "progress_bar": ""})
    return abs(result.states[-1].full()[2, 0]) ** 2


def held(pump, stokes, tick):
    """The same after pulses that are constant for a tick each, by QuTiP's propagators.

    A tick's propagator is the exponential of a constant Hamiltonian.
    """
    state = _KET[0]
    pump_matrix, stokes_matrix = _PUMP * (-1j * tick), _STOKES * (-1j * tick)
    for p, s in zip(pump.tolist(), stokes.tolist(), strict=True):
        if p or s:
            state = (pump_matrix * p + stokes_matrix * s).expm() * state
    return abs(state.full()[2, 0]) ** 2


def rotations(pump, stokes, tick):
    """The same by rotations between the middle level and what is coupled to it."""
    first, middle, last = 1 + 0j, 0j, 0j
    for p, s in zip(pump.tolist(), stokes.tolist(), strict=True):
        rabi = np.hypot(p, s)
        if rabi:
            cosine, sine = np.cos(rabi * tick / 2), np.sin(rabi * tick / 2)
            bright = (p * first + s * last) / rabi
            change = cosine * bright - 1j * sine * middle - bright
            middle = cosine * middle - 1j * sine * bright
            first, last = first + change * p / rabi, last + change * s / rabi
    return abs(last) ** 2


def ideal_infidelity(shape, delay):
    """1 - population for the smooth pulses, T = 1, the pump ``delay`` after the Stokes pulse."""
    end = shape.half + delay / 2
    return 1 - smooth(lambda t: AREA * shape.function(t - delay / 2),
                      lambda t: AREA * shape.function(t + delay / 2), -end, end, most_step=0.05)


def best_delay(shape):
    """The delay with the least infidelity, in T: a scan, then a finer one."""
    def quick(delay):
        end, steps = shape.half + delay / 2, 3000
        t = (np.arange(steps) + 0.5) * (2 * end / steps) - end
        return 1 - rotations(AREA * shape.function(t - delay / 2),
                             AREA * shape.function(t + delay / 2), 2 * end / steps)

    low, high = shape.delays
    for _ in range(2):
        grid = np.linspace(low, high, 11)
        values = [quick(delay) for delay in grid]
        best = int(np.argmin(values))
        low, high = grid[max(0, best - 1)], grid[min(10, best + 1)]
    return float(grid[best])


def program(shape, length_s, delay):
    """Image and commands of a transfer, and how many samples it takes.

    Both pulses get a table of their own. A table begins with the middle of the pulse's first tick,
    and the pump's also has the part of the delay that is no whole tick. Both are issued without
    deferring, so the delay must be a tick or more.
    """
    ticks_per_length = length_s / TICK_S
    ticks = int(np.ceil(2 * shape.half * ticks_per_length)) + 2
    whole, rest = divmod(delay * ticks_per_length, 1.0)
    step = round((shape.points - 2) / ticks * (1 << STEP_FRACTION_BITS))
    at = np.arange(ENVELOPE_POINTS) / (step / (1 << STEP_FRACTION_BITS))
    envelopes = np.zeros((CHANNELS, ENVELOPE_POINTS), np.int16)
    for channel, shift in ((STOKES, 0.0), (PUMP, rest)):
        x = (at + 0.5 - ticks / 2 - shift) / ticks_per_length
        table = np.round(32767 * shape.function(x))
        table[shape.points:] = 0
        envelopes[channel] = table
    waves = Image().waves.copy()
    waves[0] = wave_bits(step, 0, ticks)
    first = 1 + int(whole)
    commands = [Issued(1, pulse(STOKES, 0)), Issued(first, pulse(PUMP, 0))]
    return Image(waves=waves, envelopes=envelopes), commands, first + ticks + 1


def played(shape, length_s, delay):
    """Rabi frequencies of both pulses in each tick, in 1/s."""
    image, commands, stop = program(shape, length_s, delay)
    samples = play(commands, image, stop=stop, channels=2).samples / 32767
    return samples[PUMP] * AREA / length_s, samples[STOKES] * AREA / length_s


def sanity_rows():
    """QuTiP as used here against the closed form of sine and cosine pulses."""
    worst = 0.0
    for area, expected in SIN_COS.items():
        got = smooth(lambda t, a=area: a * np.sin(np.pi * t / 2),
                     lambda t, a=area: a * np.cos(np.pi * t / 2), 0.0, 1.0, most_step=0.05)
        rate = np.hypot(area / 2, np.pi / 2)
        share = np.pi / 2 / rate
        closed = (1 - 2 * share**2 * np.sin(rate / 2) ** 2) ** 2
        worst = max(worst, abs(got - closed), abs(closed - expected))
    return [Row(name="stirap_quantisation/solver/closed_form_error", figure=float(worst), unit="",
                anchor=1e-8, anchor_source="what is asked of the solver; sine and cosine pulses")]


def plot(shape, length_s, delay, folder):
    """Both pulses as they leave the converters, beside the smooth ones."""
    pump, stokes = played(shape, length_s, delay)
    edges = np.arange(len(pump) + 1) * TICK_S * 1e6
    figure = Figure(f"STIRAP, {shape.name}, T = {length_s * 1e9:g} ns", x_label="time (\u00b5s)",
                    y_label="Rabi frequency (1/\u00b5s)")
    figure.steps(edges, stokes / 1e6, "Stokes", colour=1)
    figure.steps(edges, pump / 1e6, "pump", colour=2)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"stirap_{shape.name}.svg").write_text(figure.svg(standalone=True), encoding="utf-8")


def main():
    options = arguments(__doc__.splitlines()[0], plots={
        "metavar": "FOLDER", "type": Path, "help": "write a figure of each shape there"})
    rows, failed = sanity_rows(), []
    solvers = 0.0
    for shape in SHAPES:
        delay = best_delay(shape)
        ideal = ideal_infidelity(shape, delay)
        rows += [Row(name=f"stirap_quantisation/{shape.name}/best_delay", figure=round(delay, 5),
                     unit="T"),
                 Row(name=f"stirap_quantisation/{shape.name}/ideal_infidelity", figure=ideal,
                     unit="")]
        for length_s in (LENGTHS_S[:3] if options.quick else LENGTHS_S):
            pulses = played(shape, length_s, delay)
            got = 1 - held(*pulses, TICK_S)
            solvers = max(solvers, abs(got - (1 - rotations(*pulses, TICK_S))))
            added = got - ideal
            rows.append(Row(
                name=f"stirap_quantisation/{shape.name}_{length_s * 1e9:g}ns/added_infidelity",
                figure=float(added), unit="", anchor=LIMIT,
                anchor_source=f"most that it may add; {shape.points} points"))
            if abs(added) >= LIMIT:
                failed.append(rows[-1].name)
            if length_s == LENGTHS_S[0]:
                grid = TICK_S / length_s
                rounded = 1 - rotations(*played(shape, length_s, round(delay / grid) * grid),
                                        TICK_S)
                rows.append(Row(
                    name=f"stirap_quantisation/{shape.name}_{length_s * 1e9:g}ns_delay_in_ticks"
                         "/added_infidelity", figure=float(rounded - ideal), unit="",
                    anchor_source="with a delay of whole ticks instead"))
        if options.plots:
            plot(shape, LENGTHS_S[0], delay, options.plots)
    rows.append(Row(name="stirap_quantisation/solver/two_solvers_apart", figure=float(solvers),
                    unit="", anchor_source="QuTiP's propagators and rotations, on held samples"))
    report(rows, options)
    if rows[0].figure > 1e-8 or solvers > 1e-10:
        failed.append("the solvers")
    if failed:
        sys.exit(f"not as it has to be: {', '.join(failed)}")


if __name__ == "__main__":
    main()
