"""Edge lists to sample words and back."""

import numpy as np
import pytest

from quantacore.gateware.layouts.tags import SAMPLES_PER_CLOCK, sample_word
from quantacore.sim.golden.samples import (
    decode_words,
    encode_edges,
    fine_from_ps,
    pack_words,
    ps_from_fine,
)


def test_every_picosecond_survives_the_round_trip():
    ps = np.arange(3 * 8000)
    assert (ps_from_fine(fine_from_ps(ps)) == ps).all()
    assert ps_from_fine(fine_from_ps(10**18 + 7)) == 10**18 + 7


@pytest.mark.parametrize("samples", SAMPLES_PER_CLOCK)
def test_resolved_edges_survive_the_round_trip(samples):
    rng = np.random.default_rng(samples)
    unit = 8192 // samples
    where = np.unique(rng.integers(0, 500 * samples, 700))  # at most one edge in a sample
    times = where * unit + rng.integers(0, unit, len(where))
    words = encode_edges(times, samples=samples, initial=1)
    assert not len(words.unresolved)
    for arguments in ((words.levels, words.fines, words.ticks), (*words.dense(0, 500), None)):
        levels, fines, ticks = arguments
        back, falling = decode_words(levels, fines, samples=samples, ticks=ticks, initial=1)
        assert (back == times).all()
        assert (falling == (np.arange(len(times)) % 2 == 0)).all()


def test_two_edges_in_one_sample_are_unresolved():
    words = encode_edges([100, 200, 5000], samples=4)
    assert words.unresolved.tolist() == [0, 1]
    assert decode_words(words.levels, words.fines, samples=4,
                        ticks=words.ticks)[0].tolist() == [5000]


def test_three_edges_in_one_sample_show_the_first():
    words = encode_edges([100, 200, 300], samples=4)
    assert words.unresolved.tolist() == [1, 2]
    times, falling = decode_words(words.levels, words.fines, samples=4, ticks=words.ticks)
    assert times.tolist() == [100] and falling.tolist() == [False]


def test_without_a_delay_line_edges_fall_on_samples():
    words = encode_edges([100, 5000], samples=2, fine=False)
    assert decode_words(words.levels, samples=2)[0].tolist() == [0, 4096]


def test_an_empty_line_keeps_its_level():
    words = encode_edges([], samples=4, initial=1)
    assert words.dense(5, 3)[0].tolist() == [15, 15, 15]


@pytest.mark.parametrize("samples", SAMPLES_PER_CLOCK)
@pytest.mark.parametrize("fine", [True, False])
def test_packed_words_are_the_layout(samples, fine):
    rng = np.random.default_rng(5)
    levels = rng.integers(0, 1 << samples, 20).astype(np.uint8)
    fines = rng.integers(0, 8192 // samples, (20, samples)).astype(np.uint16)
    layout = sample_word(samples, fine=fine)
    for row, level, codes in zip(pack_words(levels, fines, samples=samples, fine=fine), levels,
                                 fines, strict=True):
        fields = {"level": int(level)} | ({"fine": codes.tolist()} if fine else {})
        assert sum(int(p) << 32 * i for i, p in enumerate(row)) == layout.const(fields).as_bits()


@pytest.mark.parametrize("arguments, message", [
    (([3, 2], {"samples": 4}), "Times must ascend: number 1 is before the one ahead of it; sort "
                               "them first"),
    (([-1], {"samples": 4}), "Times must not be negative, the first is -1"),
    (([1], {"samples": 3}), r"Samples per clock must be one of \(1, 2, 4, 8\), not 3"),
    (([1], {"samples": 4, "initial": 2}), "Initial level must be 0 or 1, not 2"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode_edges(arguments[0], **arguments[1])
