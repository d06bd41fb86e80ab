"""Time on the host's side: exact ticks and picoseconds, the virtual clock's map, stability.

Numbers with ``_ps`` and ``_ticks`` in their names are integers; seconds are floats and appear
only in the stability functions.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np

from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.gateware.layouts.timing import RATE_FRACTION_BITS

__all__ = ["TickScale", "VirtualMap", "adev", "oadev", "mdev", "tdev", "hdev", "mtie"]

_INT64 = np.iinfo(np.int64)
_ONE = 1 << RATE_FRACTION_BITS


def _integers(values, what):
    """``values`` as an int64 array (or a Python integer), refusing what is not whole."""
    if isinstance(values, int | np.integer) and not isinstance(values, bool):
        return int(values)
    array = np.asarray(values)
    if array.dtype == np.uint64:
        if array.size and int(array.max()) > _INT64.max:
            raise OverflowError(f"{what} must be below 2**63 in an array, not {int(array.max())}; "
                                f"pass Python integers one by one")
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integers, not {array.dtype}: round them first, so that "
                        f"the rounding is yours")
    return array.astype(np.int64)


def _scaled(values, numerator, denominator):
    """``round(values * numerator / denominator)``, halves up, without a wider type than int64.

    Splits each value into quotient and remainder by the denominator, so that only
    ``remainder * numerator`` must fit, and goes through Python integers where even that does not.
    """
    if isinstance(values, int):
        return (2 * values * numerator + denominator) // (2 * denominator)
    if values.size:
        largest = max(abs(int(values.max())), abs(int(values.min())))
        if largest * numerator // denominator >= _INT64.max:
            raise OverflowError(f"Times of {largest} units leave the range of 64-bit integers when "
                                f"they are multiplied by {numerator}/{denominator}")
    if 2 * denominator * (numerator + 1) <= _INT64.max:
        quotient, remainder = np.divmod(values, denominator)
        return quotient * numerator + (2 * remainder * numerator + denominator) // (2 * denominator)
    exact = [(2 * int(v) * numerator + denominator) // (2 * denominator) for v in values.flat]
    return np.array(exact, dtype=np.int64).reshape(values.shape)


@dataclass(frozen=True)
class TickScale:
    """How long a tick is: exactly ``numerator / denominator`` picoseconds.

    The two numbers are the node's identity registers of that name. All conversions are exact
    rational arithmetic rounded once, to the nearest integer (halves towards plus infinity), for
    Python integers of any size and for integer arrays (int64).

    Parameters
    ----------
    numerator, denominator : int

    Examples
    --------
    >>> scale = TickScale(8000, 1)  # 125 MHz
    >>> scale.fine_to_ps(scale.ps_to_fine(123_456_789))
    123456789
    """

    numerator: int
    denominator: int = 1

    def __post_init__(self):
        for name in ("numerator", "denominator"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool):
                raise TypeError(f"Tick {name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"Tick {name} must be at least 1, not {value}; a node that "
                                 f"reports this has an empty identity block")
        divisor = gcd(int(self.numerator), int(self.denominator))
        object.__setattr__(self, "numerator", int(self.numerator) // divisor)
        object.__setattr__(self, "denominator", int(self.denominator) // divisor)

    @classmethod
    def from_frequency(cls, clock_hz):
        """Scale of a clock of exactly ``clock_hz`` (int or Fraction)."""
        if isinstance(clock_hz, float):
            raise TypeError(f"Clock frequency must be exact (int or Fraction), not the float "
                            f"{clock_hz!r}")
        tick = Fraction(10**12) / Fraction(clock_hz)
        return cls(tick.numerator, tick.denominator)

    @property
    def tick_ps(self):
        """One tick in picoseconds, as a Fraction."""
        return Fraction(self.numerator, self.denominator)

    def _convert(self, values, factor, what):
        return _scaled(_integers(values, what), factor.numerator, factor.denominator)

    def ticks_to_ps(self, ticks):
        """Nearest whole picosecond of a number of ticks."""
        return self._convert(ticks, self.tick_ps, "Ticks")

    def ps_to_ticks(self, ps):
        """Nearest whole tick of a number of picoseconds."""
        return self._convert(ps, 1 / self.tick_ps, "Picoseconds")

    def fine_to_ps(self, fine):
        """Nearest whole picosecond of a time in fine units (2**-13 ticks)."""
        return self._convert(fine, self.tick_ps / FINE_PER_TICK, "Fine units")

    def ps_to_fine(self, ps):
        """Nearest fine unit of a time in picoseconds.

        Where a fine unit is not longer than a picosecond (clocks from 122.07 MHz up),
        :meth:`fine_to_ps` gives the picoseconds back.
        """
        return self._convert(ps, FINE_PER_TICK / self.tick_ps, "Picoseconds")


@dataclass(frozen=True)
class VirtualMap:
    """Fabric time to disciplined time and back, exactly, around one snapshot.

    Parameters
    ----------
    tick, whole, fraction, rate : int
        The ``snapshot_*`` registers. With ``rate`` the map is what the gateware's virtual clock
        reads as long as the rate word does not change.
    slope : Fraction or None
        Virtual ticks per tick; :meth:`between` sets it to the mean of an interval.
    """

    tick: int
    whole: int
    fraction: int
    rate: int = 0
    slope: Fraction | None = None

    def __post_init__(self):
        if not 0 <= self.fraction < _ONE:
            raise ValueError(f"Fraction must be 0 to 2**{RATE_FRACTION_BITS} - 1, "
                             f"not {self.fraction}")
        if not -(1 << 31) <= self.rate < 1 << 31:
            raise ValueError(f"Rate must be a signed 32-bit word, not {self.rate}")
        if self.slope is None:
            object.__setattr__(self, "slope", 1 + Fraction(self.rate, _ONE))

    @classmethod
    def between(cls, first, second):
        """The map through two snapshots: exact at both, a straight line between and beyond.

        Parameters
        ----------
        first, second : VirtualMap
            Snapshots, the earlier one first.
        """
        ticks = second.tick - first.tick
        if ticks <= 0:
            raise ValueError(f"The second snapshot must be later than the first: it is {-ticks} "
                             f"ticks earlier or the same; was the tick counter loaded between?")
        passed = second.virtual - first.virtual
        if abs(passed / ticks - 1) > Fraction(1, 4096):
            raise ValueError(f"The virtual clock advanced by {float(passed):.6g} in {ticks} ticks; "
                             f"it was set between the snapshots, so no straight line joins them")
        return cls(first.tick, first.whole, first.fraction, first.rate, passed / ticks)

    @property
    def virtual(self):
        """The virtual clock at the snapshot, as a Fraction."""
        return self.whole + Fraction(self.fraction, _ONE)

    def at_tick(self, tick):
        """Virtual time (Fraction of virtual ticks) at a tick (int or Fraction)."""
        return self.virtual + (Fraction(tick) - self.tick) * self.slope

    def to_tick(self, virtual):
        """Fabric time (Fraction of ticks) at which the virtual clock passes ``virtual``."""
        return self.tick + (Fraction(virtual) - self.virtual) / self.slope

    def fine_to_virtual(self, fine):
        """Tag times in fine units to virtual time in fine units, nearest, for int or int array.

        Exact: the offset from the snapshot is scaled, not the absolute time, and in Python
        integers wherever 64 bits would not do.
        """
        fine = _integers(fine, "Fine units")
        excess = self.slope - 1
        numerator, denominator = excess.numerator, excess.denominator
        base = self.tick * FINE_PER_TICK
        # virtual = fine + constant + (fine - base) * excess, rounded once.
        constant = (self.virtual - self.tick) * FINE_PER_TICK
        common = denominator * constant.denominator

        def exact(value):
            total = ((value - base) * numerator * constant.denominator
                     + constant.numerator * denominator)
            return value + (2 * total + common) // (2 * common)

        if isinstance(fine, int):
            return exact(fine)
        out = [exact(int(value)) for value in fine.flat]
        if out and not _INT64.min <= min(out) <= max(out) <= _INT64.max:
            raise OverflowError("Virtual times leave the range of 64-bit integers; convert times "
                                "one by one, or set the virtual clock nearer to zero")
        return np.array(out, dtype=np.int64).reshape(fine.shape)


def _allantools():
    try:
        import allantools
    except ImportError:
        raise ImportError("Stability needs the package allantools: "
                          "pip install 'quantacore[stability]'") from None
    return allantools


def _stability(name, data, rate_hz, data_type, taus_s, least):
    array = np.asarray(data, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"{name} needs one row of samples, not an array of shape {array.shape}")
    if data_type not in ("phase", "freq"):
        raise ValueError(f"data_type must be \"phase\" (seconds) or \"freq\" (fractional), "
                         f"not {data_type!r}")
    if not rate_hz > 0 or not np.isfinite(rate_hz):
        raise ValueError(f"rate_hz must be positive, not {rate_hz!r}")
    if len(array) < least - (data_type == "freq"):
        raise ValueError(f"{name} needs at least {least - (data_type == 'freq')} samples of "
                         f"{data_type}, not {len(array)}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"{name}: sample {bad[0]} is {array[bad[0]]}, and {bad.size} in all are "
                         f"not finite; cut the record there or fill the gaps first")
    if taus_s is None:
        taus_s = "octave"
    elif not isinstance(taus_s, str):
        taus_s = np.atleast_1d(np.asarray(taus_s, dtype=float))
        if not (taus_s > 0).all():
            raise ValueError(f"Averaging times must be positive, not {taus_s.min()}")
        longest = len(array) / rate_hz
        if taus_s.max() > longest:
            raise ValueError(f"Averaging time {taus_s.max()} s is longer than the record, "
                             f"{longest} s")
    if data_type == "phase":
        # The offset does not count, and leaving it in costs digits.
        array = array - array[0]
    else:
        array = array - array.mean()
    function = getattr(_allantools(), name)
    taus, deviations, _errors, _counts = function(array, rate=rate_hz, data_type=data_type,
                                                  taus=taus_s)
    return taus, deviations


_DOC = """{title} of a record, by allantools.

    Parameters
    ----------
    data : array of float
        Phase in seconds, or fractional frequency.
    rate_hz : float
        Samples per second.
    data_type : str
        ``"phase"`` or ``"freq"``.
    taus_s : array of float, "octave", "decade", "all" or None
        Averaging times; ``None`` is one per octave.

    Returns
    -------
    taus_s, deviations : arrays of float
        Averaging times that the record allows, and the deviation at each.

    Raises
    ------
    ValueError
        Too few samples, a sample that is not finite, a bad rate or averaging time.
    ImportError
        allantools is not installed.
    """


def _make(name, title, least):
    def function(data, *, rate_hz=1.0, data_type="phase", taus_s=None):
        return _stability(name, data, rate_hz, data_type, taus_s, least)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = _DOC.format(title=title)
    return function


adev = _make("adev", "Allan deviation", 3)
oadev = _make("oadev", "Overlapping Allan deviation", 3)
mdev = _make("mdev", "Modified Allan deviation", 4)
tdev = _make("tdev", "Time deviation (seconds)", 4)
hdev = _make("hdev", "Hadamard deviation", 4)
mtie = _make("mtie", "Maximum time interval error (seconds)", 3)
