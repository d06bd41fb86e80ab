"""When cells were first clicked, and the time between two of them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.herald.tables import table_memory
from quantacore.gateware.herald.timer import AGE_BITS
from quantacore.gateware.layouts.herald import NO_CLICK, WINDOWS
from quantacore.gateware.layouts.tags import FINE_BITS

__all__ = ["ClickTimes"]


class ClickTimes(wiring.Component):
    """Keeps a time for each cell, and tells the difference of any two.

    Parameters
    ----------
    detectors : int

    Members
    -------
    age : In(17)
        Tick of what is kept now.
    keep : In(1).array(detectors), cell : In(2).array(detectors), fine : In(13).array(detectors)
        For each detector one cell's time, in fine units.
    clicked : In(4 * detectors)
        Cells whose time counts.
    first, second : In(5)
        Cells, by number.
    delta : Out(signed(32))
        Three ticks later: time of ``first`` minus time of ``second``, or ``NO_CLICK`` if one has
        none.
    """

    def __init__(self, *, detectors):
        self.detectors = detectors
        super().__init__({
            "age": In(AGE_BITS),
            "keep": In(1).array(detectors), "cell": In(range(WINDOWS)).array(detectors),
            "fine": In(FINE_BITS).array(detectors),
            "clicked": In(WINDOWS * detectors),
            "first": In(5), "second": In(5), "delta": Out(signed(32)),
        })

    def elaborate(self, platform):
        m = Module()
        width = AGE_BITS + FINE_BITS
        # All detectors' cells of that number are read, and one of them chosen a tick later: the way
        # to so many memories is long.
        asked = (self.first, self.second)
        chosen = [Signal(3, name=f"{name}_detector") for name in ("first", "second")]
        m.d.sync += [detector.eq(cell[2:]) for detector, cell in zip(chosen, asked, strict=True)]
        columns = [[], []]
        for i in range(self.detectors):
            write, reads = table_memory(m, f"times_{i}", width=width, depth=WINDOWS, reads=2)
            m.d.comb += [write.en.eq(self.keep[i]), write.addr.eq(self.cell[i]),
                         write.data.eq(Cat(self.fine[i], self.age))]
            for column, read, cell in zip(columns, reads, asked, strict=True):
                here = Signal(width, name=f"column_{i}")
                m.d.comb += read.addr.eq(cell[:2])
                m.d.sync += here.eq(read.data)
                column.append(here)
        times, known = [], []
        for name, column, cell, detector in zip(("first", "second"), columns, asked, chosen,
                                                strict=True):
            time, valid = Signal(width, name=f"{name}_time"), Signal(2, name=f"{name}_known")
            m.d.sync += [time.eq(Array(column)[detector]),
                         valid.eq(Cat(self.clicked.bit_select(cell, 1), valid))]
            times.append(time)
            known.append(valid[1])
        # By gates: as a reset it would come late.
        both = known[0] & known[1]
        m.d.sync += self.delta.eq(((times[0] - times[1]) & both.replicate(32))
                                  | (NO_CLICK & ~both.replicate(32)))
        return m
