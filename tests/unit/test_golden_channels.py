"""The golden model of the pulse channels, by what is known without it."""

import numpy as np
import pytest

from quantacore.gateware.layouts.instructions import FREQ_TICKS
from quantacore.gateware.layouts.sequencer import CHANNELS, ENVELOPE_POINTS, WAVES
from quantacore.sim.bench.channels import freq, offset, phase, pulse, wave_bits
from quantacore.sim.golden.channels import Image, Issued, ideal, play


def image(*waves, level=32767):
    table = np.zeros(WAVES, np.uint64)
    table[:len(waves)] = waves
    return Image(waves=table, envelopes=np.full((CHANNELS, ENVELOPE_POINTS), level, np.int16))


ENDLESS = wave_bits(0, 0, 0)


def test_tone_is_the_cosine_of_frequency_times_tick():
    word = (1 << 36) // 100
    begin = 1 << 40
    commands = [Issued(begin - 9, pulse(0, 0)), Issued(begin - 8, freq(0, word))]
    samples = play(commands, image(ENDLESS), start=begin, stop=begin + 1000).samples[0]
    turns = [word * n % (1 << 36) / (1 << 36) for n in range(begin, begin + 1000)]
    assert np.abs(samples - 32765.75 * np.cos(2 * np.pi * np.array(turns))).max() < 1


def test_phase_offset_is_in_turns():
    commands = [Issued(0, pulse(0, 0)), Issued(5, phase(0, 1 << 31)),
                Issued(10, phase(0, 1 << 30, add=True)), Issued(15, phase(0, 1 << 30, add=True))]
    samples = play(commands, image(ENDLESS), stop=20).samples[0]
    assert (samples[:5] == 32766).all()
    assert (samples[5:10] == -32766).all()
    assert (np.abs(samples[10:15]) <= 1).all()
    assert (samples[15:] == 32766).all()


def test_frequency_acts_in_its_tick_and_goes_on_if_continuous():
    quarter = 1 << 34
    commands = [Issued(0, pulse(0, 0)), Issued(10, freq(0, quarter, continuous=True)),
                Issued(20, freq(0, 0, continuous=True))]
    samples = play(commands, image(ENDLESS), stop=40).samples[0].astype(int)
    first = 10 + FREQ_TICKS
    assert (samples[:first + 1] == 32766).all()
    assert abs(samples[first + 1]) <= 1
    assert samples[first + 2] == -32766
    last = samples[20 + FREQ_TICKS]
    assert (samples[20 + FREQ_TICKS:] == last).all()


def test_pulses_are_cut_and_replaced():
    waves = image(wave_bits(0, 0, 10), ENDLESS)
    played = play([Issued(0, pulse(0, 0)), Issued(5, pulse(0, 0)), Issued(20, pulse(0, 1)),
                   Issued(30, pulse(0, 0, defer=8)), Issued(33, pulse(0, 0, defer=2)),
                   Issued(50, pulse(1, 0, defer=5)), Issued(55, pulse(1, 0, defer=10))],
                  waves, stop=100)
    assert played.begun == [(0, 0), (5, 0), (20, 0), (35, 0), (55, 1), (65, 1)]
    assert played.overlaps == [(5, 0), (33, 0)]
    assert played.active[0].nonzero()[0].tolist() == [*range(15), *range(20, 45)]
    assert played.active[1].nonzero()[0].tolist() == [*range(55, 75)]


def test_a_window_shows_the_same_as_the_whole():
    commands = [Issued(0, pulse(0, 0)), Issued(7, freq(0, 123456789)), Issued(100, offset(0, 50)),
                Issued(200, pulse(0, 1)), Issued(300, pulse(0, 0, defer=200))]
    waves = image(ENDLESS, wave_bits(1 << 22, 3, 77), level=20000)
    whole = play(commands, waves, stop=1000)
    part = play(commands, waves, start=250, stop=700)
    assert (part.samples == whole.samples[:, 250:700]).all()
    assert (part.active == whole.active[:, 250:700]).all()


def test_silence_is_the_safe_offset():
    commands = [Issued(0, pulse(0, 0)), Issued(1, offset(0, 100)), Issued(30, pulse(0, 0))]
    samples = play(commands, image(ENDLESS), stop=60, silences=[(11, 1), (21, 0)],
                   offset_safe=(-5,) * CHANNELS).samples[0]
    assert (samples[10:30] == -5).all()
    assert (samples[30:] == 32761).all()


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_within_two_steps_of_the_ideal(seed):
    rng = np.random.default_rng(seed)
    waves = np.array([wave_bits(int(rng.integers(0, 1 << 30)), int(rng.integers(0, 1024)),
                                int(rng.integers(1, 300))) for _ in range(WAVES)], np.uint64)
    envelopes = rng.integers(-32768, 32768, (CHANNELS, ENVELOPE_POINTS)).astype(np.int16)
    commands, tick = [], 0
    while tick < 20_000:
        channel = int(rng.integers(0, CHANNELS))
        word = [pulse(channel, int(rng.integers(0, WAVES)),
                      amplitude=int(rng.integers(-32768, 32768)),
                      defer=int(rng.integers(0, 256))),
                freq(channel, int(rng.integers(0, 1 << 36))),
                phase(channel, int(rng.integers(0, 1 << 32)))][int(rng.integers(0, 3))]
        commands.append(Issued(tick, word))
        tick += int(rng.integers(1, 40))
    settings = {"stop": 20_000}
    loaded = Image(waves=waves, envelopes=envelopes)
    exact, true = play(commands, loaded, **settings), ideal(commands, loaded, **settings)
    assert (exact.active == true.active).all()
    # The true sample may be one step above the largest.
    assert np.abs(exact.samples - np.minimum(true.samples, 32767)).max() < 2
