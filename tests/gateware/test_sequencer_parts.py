"""Parts of the pulse channels, in Amaranth's simulator, and what their constructors refuse."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from quantacore.gateware.sequencer.backends import ParallelDac, SigmaDelta, SpiDac
from quantacore.gateware.sequencer.channels import Channels
from quantacore.gateware.sequencer.frequency import PhaseProduct
from quantacore.gateware.sequencer.sine import Cosine
from quantacore.sim.golden.channels import (
    cosine_units,
    parallel_words,
    sigma_delta,
    spi_frame,
)

EXTREMES = [0, 1, -1, 32767, -32768, 32766, 0x3FFF, 0x2000, 0x1FFF, -0x2000, 3, 2, -2, -3]


def simulate(dut, columns, outputs, *, extra=0):
    """Drive input ports with columns of values; the outputs' values in each clock."""
    found = {name: [] for name in outputs}
    length = len(next(iter(columns.values())))

    async def testbench(ctx):
        for k in range(length + extra):
            for name, values in columns.items():
                ctx.set(getattr(dut, name), int(values[min(k, length - 1)]))
            for name in outputs:
                found[name].append(int(ctx.get(getattr(dut, name))))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    return {name: np.array(values) for name, values in found.items()}


@pytest.fixture
def rng():
    return np.random.default_rng(2026)


def test_cosine_is_the_golden_one_six_clocks_later(rng):
    quarters = [(q << 22) + d & 0xFFFFFF for q in range(5) for d in (-2, -1, 0, 1, 0x1FFF, 0x2000)]
    phase = np.array([*quarters, *rng.integers(0, 1 << 24, 3000)])
    got = simulate(Cosine(), {"phase": phase}, ["magnitude"], extra=6)["magnitude"]
    assert (got[6:] == np.abs(cosine_units(phase))).all()


def test_cosine_is_near_the_true_one(rng):
    phase = rng.integers(0, 1 << 24, 200_000)
    true = 131071 * np.cos(2 * np.pi * (phase + 0.5) / (1 << 24))
    assert np.abs(cosine_units(phase) - true).max() < 0.61


def test_product_is_right_modulo_a_turn(rng):
    frequency = rng.integers(0, 1 << 48, 300)
    tick = rng.integers(0, 1 << 48, 300)
    frequency[:4], tick[:4] = [(1 << 48) - 1, 1, 0, (1 << 48) - 1], [(1 << 48) - 1] * 3 + [1]
    got = simulate(PhaseProduct(), {"frequency": frequency, "tick": tick}, ["phase"],
                   extra=4)["phase"]
    wanted = [int(a) * int(b) % (1 << 48) for a, b in zip(frequency, tick, strict=True)]
    assert got[4:].tolist() == wanted


@pytest.mark.parametrize("width, offset_binary", [(16, True), (14, True), (14, False), (2, True),
                                                  (10, False)])
def test_parallel_word(width, offset_binary, rng):
    samples = np.array([*EXTREMES, *rng.integers(-32768, 32768, 500)])
    dut = ParallelDac(width=width, offset_binary=offset_binary)
    got = simulate(dut, {"sample": samples}, ["word"], extra=1)["word"]
    assert (got[1:] == parallel_words(samples, width=width, offset_binary=offset_binary)).all()


def test_parallel_word_is_never_half_a_step_off():
    samples = np.arange(-32768, 32768)
    words = parallel_words(samples, width=14, offset_binary=False)
    words = np.where(words >= 1 << 13, words - (1 << 14), words)
    error = words * 4 - samples
    assert (np.abs(error[:-2]) <= 2).all()
    assert words.max() == 8191


def frames_of(sclk, sync_n, mosi):
    """Frames as a converter sees them: ``(clock of sync's fall, bits)``."""
    frames, bits, begun = [], None, None
    for k in range(1, len(sclk)):
        if sync_n[k - 1] and not sync_n[k]:
            bits, begun = [], k
        if bits is not None and sclk[k - 1] and not sclk[k]:
            bits.append(int(mosi[k - 1]))
        if not sync_n[k - 1] and sync_n[k] and bits is not None:
            frames.append((begun, bits))
            bits = None
    return frames


@pytest.mark.parametrize("words", [
    {}, {"frame_bits": 16, "command_bits": 4, "command": 0b0111, "width": 12, "half_period": 2},
    {"frame_bits": 20, "command_bits": 0, "width": 14, "offset_binary": False, "half_period": 3},
    {"frame_bits": 2, "command_bits": 0, "width": 2},
])
def test_spi_frames(words, rng):
    dut = SpiDac(**words)
    samples = rng.integers(-32768, 32768, 6 * dut.frame_ticks)
    got = simulate(dut, {"sample": samples}, ["sclk", "sync_n", "mosi"])
    frames = frames_of(got["sclk"], got["sync_n"], got["mosi"])
    assert len(frames) >= 5
    settings = {"frame_bits": 24, "command_bits": 8, "command": 0, "width": 16, **words}
    settings.pop("half_period", None)
    for k, (begun, bits) in enumerate(frames):
        assert begun == frames[0][0] + k * dut.frame_ticks
        frame = spi_frame(samples[max(0, begun - 2)] if begun >= 2 else 0, **settings)
        assert bits == [frame >> j & 1 for j in reversed(range(dut.frame_bits))]


@pytest.mark.parametrize("order", [1, 2])
def test_sigma_delta_bits(order, rng):
    samples = np.concatenate([
        np.full(300, 32767), np.full(300, -32768), rng.integers(-32768, 32768, 600),
        (20000 * np.sin(np.arange(2000) / 50)).astype(int), [0] * 100])
    got = simulate(SigmaDelta(order=order), {"sample": samples}, ["bit"], extra=2)["bit"]
    # From reset on it modulates zeros until the first sample is there.
    wanted = sigma_delta([0, *samples.tolist()], order=order)
    assert (got[1:] == wanted[:len(got) - 1]).all()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("level", [0, 1, -12345, 20000, -22937])
def test_sigma_delta_mean_is_the_sample(order, level):
    number = 1 << 16
    bits = sigma_delta(np.full(number, level), order=order)
    # What the integrators hold at the end is at most twice their limit.
    assert abs((2 * bits.mean() - 1) * 32768 - level) <= 2 * 8 * 32768 / number


def test_sigma_delta_noise_is_shaped():
    number = 1 << 16
    tone = 16000 * np.sin(2 * np.pi * 37 * np.arange(number) / number)
    window = np.hanning(number)
    in_band = {}
    for order in (1, 2):
        bits = sigma_delta(np.round(tone).astype(int), order=order)
        power = np.abs(np.fft.rfft((2.0 * bits - 1) * window)) ** 2
        noise = power[:number // 256].copy()
        signal = noise[34:41].sum()
        noise[34:41] = 0
        noise[:3] = 0
        in_band[order] = 10 * np.log10(signal / noise.sum())
    # Ideal modulators at an oversampling of 128 and half of full scale: 53 and 85 dB.
    assert in_band[1] > 45
    assert in_band[2] > 75


@pytest.mark.parametrize("make, error, message", [
    (lambda: Channels(channels=0), ValueError, "Number of channels must be between 1 and 8, not 0"),
    (lambda: Channels(channels=9), ValueError, "Number of channels must be between 1 and 8, not 9"),
    (lambda: Channels(channels="2"), TypeError, "Number of channels must be an integer, not '2'"),
    (lambda: ParallelDac(width=17), ValueError,
     "ParallelDac width must be between 2 and 16, not 17"),
    (lambda: SigmaDelta(order=3), ValueError, "SigmaDelta order must be between 1 and 2, not 3"),
    (lambda: SpiDac(frame_bits=20), ValueError, "SpiDac frame must have room for 8 command bits "
     "and 16 sample bits, not 20 bits in all"),
    (lambda: SpiDac(command=256), ValueError, "SpiDac command must be between 0 and 255, not 256"),
    (lambda: SpiDac(half_period=0.5), TypeError, "SpiDac half period must be an integer, not 0.5"),
])
def test_constructors_say_what_is_wrong(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message
