"""How pure the pulse channels' tones are, and how true their envelopes, against the ideal.

Tones: spectra of long pieces of the golden pipeline, which is the gateware's to the bit (shown here
once more, on Verilator). Frequencies are whole numbers of turns in a piece, so that nothing leaks
and every spur is a line of its own: all sorts of them, the worst named, among them those with so
few samples a period that rounding errors add up in one line.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import Row, arguments, report

from quantacore.gateware.layouts.instructions import FREQ_TICKS
from quantacore.gateware.layouts.sequencer import CHANNELS, ENVELOPE_POINTS, WAVES
from quantacore.sim.bench.channels import ChannelsBench, freq, phase, pulse, wave_bits
from quantacore.sim.bench.cosim import run_cocotb
from quantacore.sim.golden.channels import Image, Issued, ideal, parallel_words, play

#: The cocotb tests of the channels, whose random run is made once more, and the build they use.
COCOTB = Path(__file__).parents[1] / "tests" / "cosim" / "cocotb_channels.py"
GATEWARE_CHANNELS = 3
#: Samples of a tone.
LENGTH = 1 << 16
CLOCK_HZ = 125e6
#: What the issue asks for.
LEAST_SFDR = 80.0
#: Turns in a piece: odd ones use every phase that they can, the others repeat a short pattern.
ODD = (1, 33, 1027, 4099, 13107, 16383, 21845, 26215, 31001, 32767)
SHORT = (LENGTH // 3 // 2 * 2, LENGTH // 8, LENGTH // 16, 3 * LENGTH // 16, LENGTH // 32,
         5 * LENGTH // 64, LENGTH // 4, 3 * LENGTH // 8)


def flat_image(level=32767):
    """One wave without end, of a constant envelope."""
    waves = np.zeros(WAVES, np.uint64)
    waves[0] = wave_bits(0, 0, 0)
    return Image(waves=waves, envelopes=np.full((CHANNELS, ENVELOPE_POINTS), level, np.int16))


def tone(turns, *, amplitude, width, start_phase):
    """A piece of a tone of so many turns, as a converter of ``width`` bits is given it."""
    word = turns * (1 << 36) // LENGTH
    begin = 64
    commands = [Issued(8, pulse(0, 0, amplitude=amplitude)), Issued(9, freq(0, word)),
                Issued(10, phase(0, start_phase))]
    samples = play(commands, flat_image(), start=begin, stop=begin + LENGTH,
                   channels=1).samples[0]
    return parallel_words(samples, width=width, offset_binary=True) - (1 << width - 1)


def purity(samples, turns):
    """SFDR and SNR of a piece in dB; the mean is neither."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    line = turns if turns <= LENGTH // 2 else LENGTH - turns
    power[-1] /= 2
    signal = power[line]
    rest = power.copy()
    rest[[0, line]] = 0
    noise = rest.sum()
    return (10 * np.log10(signal / rest.max()) if rest.max() > 0 else np.inf,
            10 * np.log10(signal / noise) if noise > 0 else np.inf)


def ideal_purity(turns, *, amplitude, width, start_phase):
    """The same of a perfect cosine, rounded to ``width`` bits."""
    n = np.arange(64, 64 + LENGTH)
    angle = 2 * np.pi * ((turns * n % LENGTH) / LENGTH + start_phase / 2**32)
    full = ((1 << width - 1) - 1) * amplitude / 32768
    return purity(np.floor(full * np.cos(angle) + 0.5), turns)


def tone_rows(width, rng, *, quick):
    """Worst SFDR and SNR over frequencies, starting phases and amplitudes."""
    found = []
    turns_list = [*ODD, *(2 * int(k) + 1 for k in rng.integers(0, LENGTH // 4, 4 if quick else 40)),
                  *SHORT]
    for turns in turns_list:
        for start_phase in (0, int(rng.integers(0, 1 << 32))):
            for amplitude in (32767, 30000):
                settings = {"amplitude": amplitude, "width": width, "start_phase": start_phase}
                got = purity(tone(turns, **settings), turns)
                best = ideal_purity(turns, **settings)
                found.append((turns, *got, *best))
    found = np.array(found)
    odd = found[:, 0] % 2 == 1
    rows = []
    for name, mask in (("tones", odd), ("short_patterns", ~odd)):
        for quantity, column in (("sfdr", 1), ("snr", 2)):
            values = np.where(mask, found[:, column], np.inf)
            worst = int(values.argmin())
            mhz = found[worst, 0] / LENGTH * CLOCK_HZ / 1e6
            rows.append(Row(
                name=f"dds/{name}_{width}bit/{quantity}", figure=round(float(values[worst]), 2),
                unit="dBc" if quantity == "sfdr" else "dB",
                anchor=round(float(np.where(mask, found[:, column + 2], np.inf).min()), 2),
                anchor_source=f"worst of the same tones ideally rounded; ours is at {mhz:.4g} MHz "
                              f"of 125"))
    return rows


def small_rows(rng, quick):
    """SFDR of small tones: what the steps of 16 bits leave of it."""
    rows = []
    for back in (20, 40):
        values, best = [], []
        for turns in (*ODD[1:6 if quick else None],):
            settings = {"amplitude": round(32767 * 10 ** (-back / 20)), "width": 16,
                        "start_phase": int(rng.integers(0, 1 << 32))}
            values.append(purity(tone(turns, **settings), turns)[0])
            best.append(ideal_purity(turns, **settings)[0])
        rows.append(Row(name=f"dds/tones_{back}db_down_16bit/sfdr", figure=round(min(values), 2),
                        unit="dBc", anchor=round(min(best), 2),
                        anchor_source="worst of the same tones ideally rounded"))
    return rows


def image_of(rng):
    """Waves of all speeds over smooth and over wild envelopes."""
    x = np.arange(ENVELOPE_POINTS) / ENVELOPE_POINTS
    smooth = [np.exp(-((x - 0.5) / 0.15) ** 2), np.sin(np.pi * x) ** 2,
              np.sin(2 * np.pi * x) * np.exp(-((x - 0.5) / 0.2) ** 2), x]
    envelopes = np.zeros((CHANNELS, ENVELOPE_POINTS), np.int16)
    for k in range(CHANNELS):
        envelopes[k] = (np.round(32767 * smooth[k]) if k < len(smooth)
                        else rng.integers(-32768, 32768, ENVELOPE_POINTS))
    waves = np.array([wave_bits(int(2 ** rng.uniform(12, 30)), int(rng.integers(0, 1024)),
                                int(rng.integers(1, 5000))) for _ in range(WAVES)], np.uint64)
    return Image(waves=waves, envelopes=envelopes)


def envelope_rows(rng, quick):
    """The greatest distance between a 14-bit output and the exact value, in its steps."""
    image = image_of(rng)
    worst_16, worst_14, count = 0.0, 0.0, 0
    for _ in range(4 if quick else 40):
        commands, tick = [], 8
        while tick < 60_000:
            channel = int(rng.integers(0, CHANNELS))
            commands.append(Issued(tick, pulse(
                channel, int(rng.integers(0, WAVES)), amplitude=int(rng.integers(-32768, 32768)),
                defer=int(rng.integers(0, 256)))))
            tick += int(rng.integers(1, 400))
        settings = {"start": 0, "stop": 64_000}
        got = play(commands, image, **settings).samples.astype(np.int64)
        exact = ideal(commands, image, **settings).samples
        # The largest word is as far as a converter goes.
        exact = np.minimum(exact, 32767)
        worst_16 = max(worst_16, np.abs(got - exact).max())
        words = parallel_words(got, width=14) - (1 << 13)
        worst_14 = max(worst_14, np.abs(words - np.minimum(exact / 4, 8191)).max())
        count += np.count_nonzero(got)
    source = "a perfect converter: half a step"
    return [
        Row(name="dds/envelope_14bit/worst_error", figure=round(float(worst_14), 4),
            unit="steps of 14 bits", anchor=0.5, anchor_source=source),
        Row(name="dds/envelope_16bit/worst_error", figure=round(float(worst_16), 4),
            unit="steps of 16 bits", anchor=0.5, anchor_source=source),
        Row(name="dds/envelope_14bit/samples", figure=int(count), unit="samples, not 0"),
    ]


def coherence_rows(rng, quick):
    """Leave a frequency, come back: the output is as if it had never been left."""
    image, worst, visits = flat_image(), 0, 0
    for _ in range(10 if quick else 100):
        start = int(rng.integers(0, 1 << 62))
        word = int(rng.integers(0, 1 << 36))
        stays = [Issued(start + 1, pulse(0, 0)), Issued(start + 2, freq(0, word))]
        away, tick, back = list(stays), start + 10, []
        for _ in range(20):
            for _ in range(int(rng.integers(1, 4))):
                tick += int(rng.integers(1, 100))
                away.append(Issued(tick, freq(0, int(rng.integers(0, 1 << 36)),
                                              continuous=bool(rng.integers(0, 2)))))
            tick += int(rng.integers(1, 100))
            away.append(Issued(tick, freq(0, word)))
            back.append((tick + FREQ_TICKS, (tick := tick + int(rng.integers(1, 100)))))
            visits += 1
        settings = {"start": start, "stop": tick + 100, "channels": 1}
        one = play(stays, image, **settings).samples[0].astype(int)
        two = play(away, image, **settings).samples[0].astype(int)
        for begin, end in back:
            worst = max(worst, int(np.abs(one - two)[begin - start:end - start].max(initial=0)))
    return [Row(name="dds/coherence/phase_error", figure=worst, unit="steps of 16 bits", anchor=0,
                anchor_source="never left"),
            Row(name="dds/coherence/returns", figure=visits, unit="branches")]


def gateware_rows(seed, quick):
    """A random run of the gateware beside the golden pipeline, sample for sample."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        os.environ["QUANTACORE_SEED"] = str(seed)
        run_cocotb(ChannelsBench(channels=GATEWARE_CHANNELS), "channels", COCOTB,
                   parameters={"channels": GATEWARE_CHANNELS, "counts": counts,
                               "ticks": 10_000 if quick else 100_000},
                   testcase="random_programs")
        found = json.loads(counts.read_text())
    return [Row(name="dds/gateware/samples_compared", figure=found["compared"], unit="samples"),
            Row(name="dds/gateware/gateware_differences", figure=found["different"],
                unit="samples", anchor=0,
                anchor_source="the golden pipeline that the other figures are from")]


def main():
    options = arguments(__doc__.splitlines()[0])
    rng = np.random.default_rng(options.seed)
    rows = []
    for width in (16, 14):
        rows += tone_rows(width, rng, quick=options.quick)
    rows += small_rows(rng, options.quick)
    rows += envelope_rows(rng, options.quick)
    rows += coherence_rows(rng, options.quick)
    rows += gateware_rows(options.seed, options.quick)
    report(rows, options)
    figures = {row.name: row.figure for row in rows}
    wrong = [name for name, figure in figures.items() if "db_down" not in name
             and name.endswith("/sfdr") and figure < LEAST_SFDR]
    if figures["dds/envelope_14bit/worst_error"] > 1:
        wrong.append("dds/envelope_14bit/worst_error")
    if figures["dds/coherence/phase_error"]:
        wrong.append("dds/coherence/phase_error")
    if figures["dds/gateware/gateware_differences"]:
        wrong.append("dds/gateware/gateware_differences")
    if wrong:
        sys.exit(f"not as it has to be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
