"""What the drivers of a node's blocks share."""

import asyncio
import warnings
from fractions import Fraction

from quantacore.host.driver.errors import AchievedValueWarning
from quantacore.host.driver.link import Driver

__all__ = ["EXACT", "BlockDriver", "CheckedBlockDriver"]

#: A request is met if it is off by less than this part of a fine unit.
EXACT = Fraction(1, 1000)


class BlockDriver(Driver):
    """What drivers of a block share."""

    def __init__(self, node, registers):
        self.node = node
        self.registers = registers
        self.units = node.units

    async def flags(self):
        """Sticky flags: name -> (count, seconds since the tick counter was 0), raised ones only."""
        flags, counts, times = await asyncio.gather(
            self.registers.flags.read(), self.registers.flag_counts.read(),
            self.registers.flag_times.read())
        return {name: (counts[i], self.units.ticks_s(times[i]))
                for i, name in enumerate(flags.LAYOUT) if getattr(flags, name)}

    async def clear_flags(self, *names):
        """Clear flags by name, all by default."""
        layout = self.registers.flags.register.type
        await self.registers.flags.write(**dict.fromkeys(names or layout.LAYOUT, 1))

    def _quantised(self, what, seconds, step_s, number, achieved, low, high):
        """Check the limits of a setting, warn if it was rounded."""
        if not low <= number <= high:
            raise ValueError(f"{what} must be {float(low * step_s):g} to {float(high * step_s):g} "
                             f"s, not {float(seconds):g} s")
        if abs(seconds - achieved) > step_s * EXACT:
            warnings.warn(f"{what} is {float(achieved):.15g} s instead of the {float(seconds):.15g}"
                          f" s asked for (steps of {float(step_s):.6g} s)", AchievedValueWarning,
                          stacklevel=4)
        return number


class CheckedBlockDriver(BlockDriver):
    """A driver with an exception of its own for each sticky flag, in ``flag_errors``."""

    async def check_flags(self):
        """Raise the error of the first sticky flag that is up; the module's ``FLAG_ERRORS``."""
        for name, (count, at_s) in (await self.flags()).items():
            error = self.flag_errors[name]
            raise error(f"{error.__doc__.splitlines()[0]} {count} times, first {at_s:.9f} s after "
                        f"the tick counter was 0; clear_flags() forgets it")
