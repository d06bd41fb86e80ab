"""Heralded entanglement of two emitters by a beam splitter half-way: a photon model, and formulas.

Two emitters send photons through fibres to a beam splitter with a detector at each output. A click
pattern that does not tell whose photon it was leaves the emitters entangled:

- *Single-click*: each emitter is bright with probability alpha and excited once; exactly one
  detector clicks (Cabrillo et al., Phys. Rev. A 59, 1025 (1999); Bose et al., Phys. Rev. Lett. 83,
  5158 (1999); Hermans et al., New J. Phys. 25, 013011 (2023)).
- *Two-click*: each emitter is bright or dark with equal odds, is excited, flipped, and excited
  again; exactly one detector clicks in each of the two windows (Barrett and Kok, Phys. Rev. A 71,
  060310 (2005)). The two rounds may be two time bins of one attempt.

The model is statistical: which photons exist and where they go is drawn at random, with the odds
of quantum mechanics. It knows whether the emitters' states differ, as they must, and no phases.
:func:`single_click` and :func:`two_click` are the closed forms, with the fidelity. For detectors
that resolve the number of photons they give the numbers of P. Dhara's ``midswap_single_rail.m`` and
``midswap_dual_rail.m`` (in the QuantumSavory repository, 2023).

Times are integer picoseconds. Probabilities with which photons of an arm are lost may be taken
together, before or behind the beam splitter, as long as both detectors are equally good.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from quantacore.sim.photonics.detectors import Detector

__all__ = ["Emitter", "Fibre", "Arm", "Midpoint", "Attempts", "Herald", "single_click",
           "two_click", "dark_probability", "kept_fraction", "overlap", "single_click_attempts",
           "two_click_attempts"]

#: Speed of light in vacuum, metres per second.
_LIGHT = 299_792_458
#: Gaussian jitter is cut here.
_SIGMAS = 6
_DRAWS = 1 << 12
#: Photons further apart than so many lifetimes don't interfere (e**-40).
_REACH = 40
_DARK_BLOCK_PS = 10**9


def _probability(name, value):
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be 0 to 1, not {value!r}")


# -- parts ------------------------------------------------------------------------------------

@dataclass(frozen=True, kw_only=True)
class Emitter:
    """A spin with a bright and a dark state.

    Parameters
    ----------
    efficiency : float
        Probability that an excitation of the bright state ends as a photon in the fibre.
    lifetime_ps : float
        Of the excited state: photons leave it exponentially.
    wavepacket_ps : sequence of int or None
        Instead: times after the excitation, all equally likely, as measured of a real emitter.
    """

    efficiency: float = 1.0
    lifetime_ps: float = 10_000.0
    wavepacket_ps: tuple | None = None

    def __post_init__(self):
        _probability("Efficiency", self.efficiency)
        if not self.lifetime_ps > 0:
            raise ValueError(f"Lifetime must be positive (ps), not {self.lifetime_ps!r}")
        if self.wavepacket_ps is not None:
            packet = tuple(int(t) for t in self.wavepacket_ps)
            if not packet or min(packet) < 0:
                raise ValueError("A wavepacket is one or more times after the excitation, none "
                                 "of them negative")
            object.__setattr__(self, "wavepacket_ps", packet)

    def delays(self, count, rng):
        """Times from excitation to photon: int64 picoseconds."""
        if self.wavepacket_ps is not None:
            return rng.choice(np.asarray(self.wavepacket_ps, dtype=np.int64), count)
        return np.rint(rng.exponential(self.lifetime_ps, count)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Fibre:
    """From an emitter to the beam splitter.

    Parameters
    ----------
    length_m : float
    attenuation_db_per_km : float
        0.2 is usual at 1550 nm.
    group_index : float
        1.4682 is usual at 1550 nm.
    """

    length_m: float = 0.0
    attenuation_db_per_km: float = 0.2
    group_index: float = 1.4682

    def __post_init__(self):
        for name in ("length_m", "attenuation_db_per_km"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        if not self.group_index >= 1:
            raise ValueError(f"Group index must be at least 1, not {self.group_index!r}")

    @property
    def transmission(self):
        """Fraction of photons that arrive."""
        return 10 ** (-self.attenuation_db_per_km * self.length_m / 1e4)

    @property
    def delay_ps(self):
        """Time of flight."""
        return round(self.length_m * self.group_index / _LIGHT * 1e12)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """An emitter and its way to the beam splitter."""

    emitter: Emitter = field(default_factory=Emitter)
    fibre: Fibre = field(default_factory=Fibre)

    @property
    def efficiency(self):
        """Probability that an excitation of the bright state brings a photon to the splitter."""
        return self.emitter.efficiency * self.fibre.transmission


# -- closed forms -----------------------------------------------------------------------------

@dataclass(frozen=True, kw_only=True)
class Herald:
    """What an attempt comes to.

    Attributes
    ----------
    probability : float
        That an attempt succeeds.
    correct : float
        That the emitters' states then differ.
    fidelity : float
        Overlap with the Bell state that the clicks announce.
    """

    probability: float
    correct: float
    fidelity: float


def dark_probability(dark_hz, window_ps):
    """That a detector has at least one dark count in a window."""
    return -math.expm1(-dark_hz * window_ps * 1e-12)


def kept_fraction(window_ps, lifetime_ps):
    """Of exponentially emitted photons, those in a window that opens when the first may come."""
    return -math.expm1(-window_ps / lifetime_ps)


def overlap(offset_ps, lifetime_ps):
    """Visibility of two exponential photons of one lifetime, one of them ``offset_ps`` later:
    the square of the integral of the product of their amplitudes."""
    return math.exp(-abs(offset_ps) / lifetime_ps)


def _window(dark, visibility, resolving):
    """Probability of exactly one click (resolving: one photon) in a window that 0, 1, 2 photons
    reach; two that interfere are together with (1 + visibility) / 2."""
    if resolving:
        return 2 * dark * (1 - dark), (1 - dark) ** 2, 0.0
    return 2 * dark * (1 - dark), 1 - dark, (1 + visibility) / 2 * (1 - dark)


def _check(first, second, dark, visibility):
    for name, value in (("Efficiency", first), ("Efficiency", second),
                        ("Dark probability", dark), ("Visibility", visibility)):
        _probability(name, value)


def single_click(*, alpha, first, second, dark=0.0, visibility=1.0, phase_rad=0.0,
                 resolving=False):
    """Success of a single-click attempt: exactly one detector clicks.

    For small efficiencies that is ``alpha * (first + second)``, with fidelity ``1 - alpha``.

    Parameters
    ----------
    alpha : float
        Population of the bright state.
    first, second : float
        Probability that the photon of a bright emitter is detected, all losses included.
    dark : float
        Probability of a dark count in the window, for each detector.
    visibility : float
        Of the Hong-Ou-Mandel dip: two photons leave together with (1 + visibility) / 2. It is the
        square of the overlap of the photons' amplitudes.
    phase_rad : float
        Standard deviation of the optical phase between the arms.
    resolving : bool
        The detectors count photons, and success is exactly one.

    Returns
    -------
    Herald
    """
    _check(first, second, dark, visibility)
    _probability("alpha", alpha)
    none, one, two = _window(dark, visibility, resolving)
    both, single = alpha**2, alpha * (1 - alpha)
    differ = single * ((first + second) * one + (2 - first - second) * none)
    same = (1 - alpha) ** 2 * none + both * (
        first * second * two + (first * (1 - second) + second * (1 - first)) * one
        + (1 - first) * (1 - second) * none)
    coherence = single * math.sqrt(first * second * visibility) * one \
        * math.exp(-phase_rad**2 / 2)
    total = differ + same
    return Herald(probability=total, correct=differ / total if total else 0.0,
                  fidelity=(differ / 2 + coherence) / total if total else 0.0)


def two_click(*, first, second, dark=0.0, visibility=1.0, resolving=False):
    """Success of a two-click attempt: exactly one detector clicks in each of two windows.

    Without dark counts that is ``first * second / 2``, with fidelity ``(1 + visibility) / 2``.
    Parameters as for :func:`single_click`; ``dark`` is for each detector and window.

    Returns
    -------
    Herald
    """
    _check(first, second, dark, visibility)
    none, one, two = _window(dark, visibility, resolving)
    differ = (first * one + (1 - first) * none) * (second * one + (1 - second) * none) / 2
    same = (first * second * two + (first * (1 - second) + second * (1 - first)) * one
            + (1 - first) * (1 - second) * none) * none / 2
    coherence = visibility * first * second * one**2 / 4
    total = differ + same
    return Herald(probability=total, correct=differ / total if total else 0.0,
                  fidelity=(differ / 2 + coherence) / total if total else 0.0)


# -- many attempts at once --------------------------------------------------------------------

@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Attempts of a protocol, with detectors that do not count photons.

    Attributes
    ----------
    clicked : bool array (attempts, windows, 2)
        Detectors that clicked in each window.
    bright : bool array (attempts, 2)
        The emitters' states at first.
    """

    clicked: np.ndarray
    bright: np.ndarray

    @property
    def success(self):
        """Whether exactly one detector clicked in every window."""
        return (self.clicked.sum(axis=2) == 1).all(axis=1)

    @property
    def correct(self):
        """Whether the emitters' states differ."""
        return self.bright[:, 0] != self.bright[:, 1]


def _clicks(bright, arms, detectors, visibility, window_ps, rng):
    """Detectors that click in one window: bool array (attempts, 2)."""
    attempts = len(bright)
    present = np.empty((attempts, 2), dtype=bool)
    for k, arm in enumerate(arms):
        inside = arm.emitter.delays(attempts, rng) < window_ps
        present[:, k] = bright[:, k] & inside & (rng.random(attempts) < arm.efficiency)
    port = rng.integers(0, 2, (attempts, 2))
    together = rng.random(attempts) < (1 + visibility) / 2
    port[:, 1] = np.where(present.all(axis=1), np.where(together, port[:, 0], 1 - port[:, 0]),
                          port[:, 1])
    clicked = np.empty((attempts, 2), dtype=bool)
    for number, detector in enumerate(detectors):
        seen = present & (port == number) & (rng.random((attempts, 2)) < detector.efficiency)
        dark = rng.random(attempts) < dark_probability(detector.dark_hz, window_ps)
        clicked[:, number] = seen.any(axis=1) | dark
    return clicked


def _sampled(arms, detectors, visibility, rng):
    _probability("Visibility", visibility)
    if len(arms) != 2 or len(detectors) != 2:
        raise ValueError(f"A beam splitter has two arms and two detectors, not {len(arms)} and "
                         f"{len(detectors)}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"The model draws from a numpy.random.Generator, not {rng!r}")


def single_click_attempts(arms, detectors, attempts, *, alpha, visibility=1.0, window_ps, rng):
    """Draw attempts of the single-click protocol.

    Parameters
    ----------
    arms : two of Arm
    detectors : two of Detector
        Jitter and dead time play no part.
    attempts : int
    alpha, visibility : float
        See :func:`single_click`.
    window_ps : int
        Opens when the first photon may come.
    rng : numpy.random.Generator

    Returns
    -------
    Attempts
        With one window.
    """
    _sampled(arms, detectors, visibility, rng)
    _probability("alpha", alpha)
    bright = rng.random((attempts, 2)) < alpha
    clicked = _clicks(bright, arms, detectors, visibility, window_ps, rng)
    return Attempts(clicked=clicked[:, np.newaxis], bright=bright)


def two_click_attempts(arms, detectors, attempts, *, visibility=1.0, window_ps, rng):
    """Draw attempts of the two-click protocol; as :func:`single_click_attempts`.

    Returns
    -------
    Attempts
        With two windows; in the second one the emitters are flipped.
    """
    _sampled(arms, detectors, visibility, rng)
    bright = rng.random((attempts, 2)) < 0.5
    windows = [_clicks(state, arms, detectors, visibility, window_ps, rng)
               for state in (bright, ~bright)]
    return Attempts(clicked=np.stack(windows, axis=1), bright=bright)


# -- photon by photon -------------------------------------------------------------------------

class Midpoint:
    """Two emitters and the splitter between them, driven by events, in any protocol.

    An emitter is prepared, flipped and excited when its controller says so; what that brings to
    the detectors is drawn then. Events of one arm come in the order of their times; those of
    different arms may come in any order, so fibres may be of any length.

    Parameters
    ----------
    arms : two of Arm
    detectors : two of Detector
        Dead time is left to whoever brings the clicks into order.
    bright : float
        Probability that a prepared emitter is in its bright state; may be changed at any time.
    visibility : float
        Of two photons that arrive at once; :func:`overlap` takes away from it if they don't.
    rng : numpy.random.Generator
    """

    def __init__(self, arms, detectors=(Detector(), Detector()), *, bright=0.5, visibility=1.0,
                 rng):
        _sampled(arms, detectors, visibility, rng)
        _probability("bright", bright)
        self.arms = tuple(arms)
        self.detectors = tuple(detectors)
        self.bright = bright
        self.visibility = visibility
        photon_rng, *dark_rngs = rng.spawn(3)
        self._uniform = self._uniforms(photon_rng)
        self._normal = self._normals(photon_rng)
        self._dark_rngs = dark_rngs
        self._dark_until = 0
        #: Setting of a variable attenuator in each arm, the part that it lets through.
        self.open = [1.0, 1.0]
        #: State of each emitter: whether it is bright.
        self.states = [False, False]
        #: Excitations, photons at the splitter, and clicks so far, dark counts apart.
        self.excited, self.arrived, self.clicks = [0, 0], [0, 0], [0, 0]
        #: Times that somebody thought them entangled, and in which their states differed.
        self.judged = self.correct = 0
        # Photons of each arm that have met no other: when they come, and where they went.
        self._alone = [deque(), deque()]
        self._lifetime = max(arm.emitter.lifetime_ps for arm in self.arms)
        self._odds = [arm.efficiency for arm in self.arms]
        self._flight = [arm.fibre.delay_ps for arm in self.arms]

    @staticmethod
    def _uniforms(rng):
        while True:
            yield from rng.random(_DRAWS).tolist()

    @staticmethod
    def _normals(rng):
        while True:
            yield from rng.standard_normal(_DRAWS).clip(-_SIGMAS, _SIGMAS).tolist()

    @property
    def least_delay_ps(self):
        """No click of an excitation comes sooner after it."""
        jitter = max(math.ceil(_SIGMAS * detector.jitter_ps) for detector in self.detectors)
        return min(self._flight) - jitter

    def prepare(self, arm):
        """Put an emitter into a new state; whether it is bright."""
        self.states[arm] = bright = next(self._uniform) < self.bright
        return bright

    def flip(self, arm):
        """Exchange bright and dark."""
        self.states[arm] = not self.states[arm]

    def judge(self):
        """Look whether the emitters' states differ, as they do when they are entangled."""
        self.judged += 1
        self.correct += self.states[0] != self.states[1]

    def excite(self, arm, time_ps):
        """Excite an emitter; the click it leads to: (detector, time in ps), or None."""
        draw = self._uniform
        self.excited[arm] += 1
        if not self.states[arm] or next(draw) >= self._odds[arm] * self.open[arm]:
            return None
        self.arrived[arm] += 1
        at = time_ps + self._flight[arm]
        others = self._alone[1 - arm]
        reach = _REACH * self._lifetime
        # This arm's photons come in order: what they have left behind they never meet.
        while others and others[0][0] < at - reach:
            others.popleft()
        if others and others[0][0] <= at + reach:
            there, theirs = others.popleft()
            same = (1 + self.visibility * overlap(at - there, self._lifetime)) / 2
            port = theirs if next(draw) < same else not theirs
        else:
            port = next(draw) < 0.5
            self._alone[arm].append((at, port))
        detector = self.detectors[port]
        if next(draw) >= detector.efficiency:
            return None
        self.clicks[port] += 1
        packet = self.arms[arm].emitter.wavepacket_ps
        if packet is not None:
            at += packet[int(next(draw) * len(packet))]
        else:
            at += round(-math.log(1 - next(draw)) * self.arms[arm].emitter.lifetime_ps)
        if detector.jitter_ps:
            at += round(next(self._normal) * detector.jitter_ps)
        return int(port), at

    def darks(self, until_ps):
        """Dark counts from where the last call ended to at least ``until_ps``.

        Returns
        -------
        (list of int64 array, int)
            For each detector its times; and the time up to which there are no others.
        """
        found = [[], []]
        while self._dark_until < until_ps:
            begin, self._dark_until = self._dark_until, self._dark_until + _DARK_BLOCK_PS
            for times, detector, rng in zip(found, self.detectors, self._dark_rngs, strict=True):
                if detector.dark_hz:
                    count = rng.poisson(detector.dark_hz * _DARK_BLOCK_PS * 1e-12)
                    times.append(np.sort(rng.integers(begin, self._dark_until, count)))
        return [np.concatenate(times) if times else np.empty(0, dtype=np.int64)
                for times in found], self._dark_until
