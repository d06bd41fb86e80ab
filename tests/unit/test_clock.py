import builtins
import lzma
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantacore.host import clock
from quantacore.host.clock import TickScale, VirtualMap

DATA = Path(os.environ.get("QUANTACORE_DATA",
                           Path(__file__).parents[2].parent / "shared" / "data"))
RECORDS = {
    "Keysight53230A_ti_noise_floor_tic": "tic_phase.txt.xz",
    "gps_stable32": "gps_1pps_phase_data.txt.xz",
    "phasedat_phase_dat": "PHASE.DAT",
}
TABLES = [
    ("Keysight53230A_ti_noise_floor_tic", "oadev"), ("Keysight53230A_ti_noise_floor_tic", "mdev"),
    ("Keysight53230A_ti_noise_floor_tic", "tdev"), ("Keysight53230A_ti_noise_floor_tic", "hdev"),
    ("gps_stable32", "ADEV_decade"), ("gps_stable32", "OADEV_octave"),
    ("gps_stable32", "MDEV_octave"), ("gps_stable32", "TDEV_octave"),
    ("gps_stable32", "HDEV_octave"), ("phasedat_phase_dat", "adev_octave"),
    ("phasedat_phase_dat", "oadev_octave"), ("phasedat_phase_dat", "mdev_octave"),
    ("phasedat_phase_dat", "tdev_octave"), ("phasedat_phase_dat", "hdev_octave"),
    ("phasedat_phase_dat", "mtie"),
]
needs_data = pytest.mark.skipif(
    not (DATA / "clock_stability").is_dir(),
    reason="the clock records are not here; name their folder with QUANTACORE_DATA")

scales = st.builds(TickScale, st.integers(1, 10**6), st.integers(1, 10**6))


@given(st.integers(0, 2**76))
def test_picoseconds_survive_fine_units_at_125_mhz(ps):
    scale = TickScale(8000)
    assert scale.fine_to_ps(scale.ps_to_fine(ps)) == ps


@given(scales, st.integers(-2**80, 2**80))
def test_conversion_is_the_nearest_integer(scale, ticks):
    exact = ticks * scale.tick_ps
    assert abs(scale.ticks_to_ps(ticks) - exact) <= Fraction(1, 2)


@given(scales, st.lists(st.integers(-2**40, 2**40), max_size=20))
def test_arrays_equal_python_integers(scale, ticks):
    got = scale.ticks_to_ps(np.array(ticks, dtype=np.int64))
    assert got.dtype == np.int64
    assert got.tolist() == [scale.ticks_to_ps(t) for t in ticks]


@given(st.integers(1, 2**63), st.integers(0, 2**63), st.integers(0, 2**44 - 1),
       st.integers(-2**31, 2**31 - 1), st.integers(-2**60, 2**60))
def test_virtual_map_there_and_back(tick, whole, fraction, rate, other):
    there = VirtualMap(tick, whole, fraction, rate)
    assert there.to_tick(there.at_tick(other)) == other
    exact = there.at_tick(Fraction(other, 8192)) * 8192
    assert abs(there.fine_to_virtual(other) - exact) <= Fraction(1, 2)


def test_map_between_snapshots_meets_both():
    first = VirtualMap(1000, 2000, 5)
    second = VirtualMap(1_001_000, 1_002_010, 7)
    line = VirtualMap.between(first, second)
    assert line.at_tick(1000) == first.virtual and line.at_tick(1_001_000) == second.virtual
    fine = np.array([1000 * 8192, 1_001_000 * 8192])
    assert line.fine_to_virtual(fine).tolist() == [2000 * 8192, 1_002_010 * 8192]


@pytest.mark.parametrize("arguments, error, message", [
    ((8000.0,), TypeError, "Tick numerator must be an integer, not 8000.0"),
    ((8000, 0), ValueError, "Tick denominator must be at least 1, not 0"),
])
def test_scale_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        TickScale(*arguments)


def test_scale_from_frequency():
    assert TickScale.from_frequency(125_000_000) == TickScale(8000)
    assert TickScale.from_frequency(Fraction(10**9, 3)).tick_ps == 3000
    with pytest.raises(TypeError, match="must be exact"):
        TickScale.from_frequency(1.25e8)


def test_arrays_of_floats_and_overflow_are_refused():
    with pytest.raises(TypeError, match="Ticks must be integers, not float64"):
        TickScale(8000).ticks_to_ps(np.array([1.0]))
    with pytest.raises(OverflowError, match="leave the range of 64-bit integers"):
        TickScale(8000).ticks_to_ps(np.array([2**60]))
    with pytest.raises(OverflowError, match="must be below 2"):
        TickScale(8000).ticks_to_ps(np.array([2**63], dtype=np.uint64))


@pytest.mark.parametrize("first, second, message", [
    (VirtualMap(10, 0, 0), VirtualMap(10, 0, 0), "must be later than the first"),
    (VirtualMap(10, 0, 0), VirtualMap(20, 500, 0), "it was set between the snapshots"),
])
def test_map_between_refuses(first, second, message):
    with pytest.raises(ValueError, match=message):
        VirtualMap.between(first, second)


def test_map_refuses_bad_words():
    with pytest.raises(ValueError, match="Fraction must be 0 to"):
        VirtualMap(0, 0, 1 << 44)
    with pytest.raises(ValueError, match="Rate must be a signed 32-bit word"):
        VirtualMap(0, 0, 0, 1 << 31)


@pytest.mark.parametrize("data, options, message", [
    ([[1.0, 2.0]], {}, "one row of samples"),
    ([1.0, 2.0], {}, "adev needs at least 3 samples of phase, not 2"),
    ([1.0, 2.0, np.nan, 1.0], {}, "sample 2 is nan, and 1 in all are not finite"),
    ([1.0, 2.0, 3.0], {"rate_hz": 0}, "rate_hz must be positive, not 0"),
    ([1.0, 2.0, 3.0], {"data_type": "frequency"}, "data_type must be"),
    ([1.0, 2.0, 3.0], {"taus_s": [-1]}, "Averaging times must be positive"),
    ([1.0, 2.0, 3.0], {"taus_s": [10]}, "longer than the record"),
])
def test_stability_refuses(data, options, message):
    with pytest.raises(ValueError, match=message):
        clock.adev(data, **options)


def test_stability_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def absent(name, *arguments, **options):
        if name == "allantools":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'quantacore\[stability\]'"):
        clock.adev([1.0, 2.0, 4.0])


@needs_data
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("record, table", TABLES)
def test_equals_stable32_to_its_printed_digits(record, table):
    path = DATA / "clock_stability" / RECORDS[record]
    with (lzma.open(path, "rt") if path.suffix == ".xz" else open(path)) as file:
        phase = np.loadtxt(file)
    text = (DATA / "clock_stability" / "stable32" / f"{record}_{table}.txt").read_text()
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    kind = table.split("_")[0].lower()
    taus = np.array([float(row[0]) for row in rows])
    printed = np.array([float(row[3 if kind == "mtie" else 5]) for row in rows])
    got_taus, got = getattr(clock, kind)(phase, taus_s=taus)
    np.testing.assert_array_equal(got_taus, taus)
    np.testing.assert_allclose(got, printed, rtol=5e-5)
