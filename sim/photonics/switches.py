"""Photonic switches on a chip: drive codes in, readings of power monitors out.

The unit of a switch's *position* is a drive code: where it is once a code has been there for long.
It follows the code exponentially, as a heater's temperature does, and may be stuck.
"""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["MachZehnder", "Ring", "SwitchPlant"]


def _check(name, value, *, least=0.0, strictly=True):
    if not math.isfinite(value) or value < least or strictly and value == least:
        raise ValueError(f"{name} must be {'above' if strictly else 'at least'} {least:g}, "
                         f"not {value!r}")


@dataclass(frozen=True, kw_only=True)
class MachZehnder:
    """A Mach-Zehnder interferometer with a phase shifter; the monitor is at its cross port.

    Parameters
    ----------
    time_constant_ticks : float
        After so long, 1 - 1/e of a step is done. An electro-optic one has next to none.
    pi_code : float
        Code that turns the phase by pi, from all light bar to all light cross.
    offset : float
        Phase at code 0, in radians.
    """

    time_constant_ticks: float
    pi_code: float = 32768.0
    offset: float = 0.0

    def __post_init__(self):
        _check("time_constant_ticks", self.time_constant_ticks, strictly=False)
        _check("pi_code", self.pi_code)

    def transmission(self, position):
        """Part of the light at the cross port, ``sin**2`` of half the phase."""
        return math.sin((math.pi * position / self.pi_code + self.offset) / 2) ** 2


@dataclass(frozen=True, kw_only=True)
class Ring:
    """A ring resonator with a heater; the monitor is at its drop port.

    Parameters
    ----------
    time_constant_ticks : float
    resonance_code : float
        Code that brings the ring to resonance.
    width_code : float
        Full width of the resonance at half its height, in codes.
    """

    time_constant_ticks: float
    resonance_code: float = 32768.0
    width_code: float = 2000.0

    def __post_init__(self):
        _check("time_constant_ticks", self.time_constant_ticks, strictly=False)
        _check("width_code", self.width_code)

    def transmission(self, position):
        """Part of the light that is dropped: a Lorentzian of unit height."""
        return 1 / (1 + (2 * (position - self.resonance_code) / self.width_code) ** 2)


class SwitchPlant:
    """Switches and their monitors, tick by tick.

    Parameters
    ----------
    devices : sequence of MachZehnder or Ring
    dark, bright : int
        Readings without light and with all of it.
    noise : float
        Standard deviation of a reading.
    rng : numpy.random.Generator, optional
        For the noise.
    """

    def __init__(self, devices, *, dark=400, bright=60_000, noise=0.0, rng=None):
        if not devices:
            raise ValueError("A plant needs at least one switch")
        if not 0 <= dark < bright <= 0xFFFF:
            raise ValueError(f"Readings must be 0 <= dark < bright <= 65535, not {dark!r} and "
                             f"{bright!r}")
        _check("noise", noise, strictly=False)
        if noise and not isinstance(rng, np.random.Generator):
            raise TypeError(f"Noise is drawn from a numpy.random.Generator, not {rng!r}")
        self.devices = tuple(devices)
        self.dark, self.bright, self.noise = dark, bright, noise
        self._rng = rng
        self.positions = [0.0] * len(self.devices)
        self.stuck = set()

    def stick(self, switch):
        """The switch stays where it is, whatever its code."""
        self.stuck.add(self._number(switch))

    def release(self, switch):
        """It follows its code again."""
        self.stuck.discard(self._number(switch))

    def _number(self, switch):
        if not 0 <= switch < len(self.devices):
            raise ValueError(f"Switch must be 0 to {len(self.devices) - 1}, not {switch!r}")
        return switch

    def step(self, drives, ticks=1):
        """Let the codes act for some ticks; the readings after them, as a list."""
        for k, (device, code) in enumerate(zip(self.devices, drives, strict=True)):
            if k not in self.stuck:
                tau = device.time_constant_ticks
                left = math.exp(-ticks / tau) if tau else 0.0
                self.positions[k] = code + (self.positions[k] - code) * left
        return [self._reading(k, position) for k, position in enumerate(self.positions)]

    def _reading(self, k, position):
        value = self.expected(k, position)
        if self.noise:
            value += self.noise * self._rng.standard_normal()
        return min(max(round(value), 0), 0xFFFF)

    def expected(self, switch, code):
        """Reading of a switch that is at a code, without noise; not rounded."""
        part = self.devices[self._number(switch)].transmission(code)
        return self.dark + part * (self.bright - self.dark)

    def range_for(self, switch, code, margin):
        """``(low, high)`` of readings no farther than a margin from the one at a code."""
        middle = self.expected(switch, code)
        return max(math.ceil(middle - margin), 0), min(math.floor(middle + margin), 0xFFFF)

    def settle_ticks(self, switch, distance, *, step=0xFFFF):
        """Whole ticks after which a step of so many codes is done but for a distance."""
        tau = self.devices[self._number(switch)].time_constant_ticks
        _check("distance", distance)
        return math.ceil(tau * math.log(step / distance)) if step > distance else 0
