"""Cosine of a phase: a quarter wave in a table, and straight lines between its points."""

import math

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["COSINE_BITS", "COSINE_PHASE_BITS", "Cosine", "delayed", "sine_table"]

#: Bits of a cosine, with its sign; the largest is ``2**17 - 1``.
COSINE_BITS = 18
#: Bits of a phase: two for the quarter, nine for the point, the others between points.
COSINE_PHASE_BITS = 24

_POINTS = 512
_FRACTION_BITS = COSINE_PHASE_BITS - 2 - 9
#: Bits of a table's value and slope below those of the cosine. The value has 21 bits and the slope
#: 15.
_VALUE_SHIFT, _SLOPE_SHIFT = 4, 6


def delayed(m, value, ticks, name, *, free=False):
    """``value`` as it was so many ticks ago.

    With ``free`` the last register has no reset, as is right for a multiplier's inputs: the
    registers that some devices' multipliers have can be used only so.
    """
    for k in range(ticks):
        later = Signal.like(value, name=f"{name}_{k + 1}", reset_less=free and k == ticks - 1)
        m.d.sync += later.eq(value)
        value = later
    return value


def sine_table():
    """Points of a quarter wave: ``(value, slope)`` each.

    ``value`` is in 1/16 of the cosine's unit, with half a unit of the cosine added so that cutting
    off rounds; ``slope`` is the way to the next point in 1/64. Lines are moved outwards by half
    of what the arc is above its chord, where it is highest: the error is then as much above as
    below.
    """
    peak = (1 << COSINE_BITS - 1) - 1
    step = math.pi / 2 / _POINTS
    found = []
    for k in range(_POINTS):
        here, there = math.sin(k * step), math.sin((k + 1) * step)
        above = step * step / 16 * math.sin((k + 0.5) * step)
        found.append((round((peak * (here + above) + 0.5) * (1 << _VALUE_SHIFT)),
                      round(peak * (there - here) * (1 << _SLOPE_SHIFT))))
    return found


class Cosine(wiring.Component):
    """``round((2**17 - 1) * cos(2 pi (phase + 1/2) / 2**24))``, within 0.61 of a unit.

    The half comes from mirroring a quarter by inverting bits. A result each clock. Two block
    RAMs and one multiplier.

    Members
    -------
    phase : In(24)
        2**24 is a turn.
    minus : Out(1)
        The cosine is negative; at once.
    magnitude : Out(17)
        Without its sign; 6 clocks after its phase.
    """

    phase: In(COSINE_PHASE_BITS)
    minus: Out(1)
    magnitude: Out(COSINE_BITS - 1)

    def elaborate(self, platform):
        m = Module()
        value_bits, slope_bits = 21, 15
        # Two half memories: some devices' memories have output registers, but not at their widest.
        words = [value | slope << value_bits for value, slope in sine_table()]
        half = (value_bits + slope_bits) // 2
        tables = [memory.Memory(shape=half, depth=_POINTS, attrs={"rom_style": "block"},
                                init=[word >> k * half & (1 << half) - 1 for word in words])
                  for k in range(2)]
        m.submodules.low, m.submodules.high = tables
        ports = [table.read_port() for table in tables]

        # 1: the quarter says which way to go through the table.
        quarter = self.phase[-2:]
        folded = Signal(COSINE_PHASE_BITS - 2)
        m.d.sync += folded.eq(
            self.phase[:-2] ^ (~quarter[0]).replicate(COSINE_PHASE_BITS - 2))
        m.d.comb += self.minus.eq(quarter[0] ^ quarter[1])
        # 2: the table. 3, 4: a register near block RAM, which is slow, and one near the
        # multiplier, which is no faster.
        m.d.comb += [port.addr.eq(folded[_FRACTION_BITS:]) for port in ports]
        fraction = delayed(m, folded[:_FRACTION_BITS], 3, "fraction", free=True)
        point = delayed(m, delayed(m, Cat(port.data for port in ports), 1, "table", free=True), 1,
                        "point", free=True)
        value, slope = point[:value_bits], point[value_bits:]
        # 5: along the line. 6: from the point. Product and value differ in unit by 2**15, and bits
        # of the product below the value's half do not matter.
        product = Signal(slope_bits + _FRACTION_BITS, reset_less=True)
        m.d.sync += product.eq(slope * fraction)
        from_point = delayed(m, value, 1, "value")
        drop = _FRACTION_BITS + _SLOPE_SHIFT - _VALUE_SHIFT - 1
        total = Signal(value_bits + 2)
        m.d.comb += total.eq((from_point << 1) + (product >> drop))
        m.d.sync += self.magnitude.eq(total >> _VALUE_SHIFT + 1)
        return m
