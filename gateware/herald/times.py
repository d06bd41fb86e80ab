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
        Two ticks later: time of ``first`` minus time of ``second``, or ``NO_CLICK`` if one has
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
        asked = (self.first, self.second)
        columns = [[], []]
        for i in range(self.detectors):
            write, reads = table_memory(m, f"times_{i}", width=width, depth=WINDOWS, reads=2)
            m.d.comb += [write.en.eq(self.keep[i]), write.addr.eq(self.cell[i]),
                         write.data.eq(Cat(self.fine[i], self.age))]
            for column, read, cell in zip(columns, reads, asked, strict=True):
                m.d.comb += read.addr.eq(cell[:2])
                column.append(read.data)
        times, known = [], []
        for name, column, cell in zip(("first", "second"), columns, asked, strict=True):
            time, valid = Signal(width, name=f"{name}_time"), Signal(name=f"{name}_known")
            m.d.sync += [time.eq(Array(column)[cell[2:]]),
                         valid.eq(self.clicked.bit_select(cell, 1))]
            times.append(time)
            known.append(valid)
        m.d.sync += self.delta.eq(times[0] - times[1])
        with m.If(~(known[0] & known[1])):
            m.d.sync += self.delta.eq(NO_CLICK)
        return m
