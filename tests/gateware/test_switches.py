"""What can't be built, and how big things are."""

import pytest
from amaranth.hdl import Shape

from quantacore.gateware.layouts.switches import (
    CHANGE_TICKS,
    FAILOVER_TICKS,
    MONITOR_TICKS,
    ROUTE_WORDS,
    SWITCHES,
    RouteAddress,
    RouteEntry,
    RouteLoad,
    RouteLoading,
    RouteWord,
    SwitchFlags,
    SwitchStatus,
)
from quantacore.gateware.network.monitors import RangeWatch
from quantacore.gateware.network.mover import RouteMover
from quantacore.gateware.network.routes import RouteTable
from quantacore.gateware.network.switches import SwitchUnit


@pytest.mark.parametrize("component", [SwitchUnit, RouteMover, RouteTable, RangeWatch])
@pytest.mark.parametrize(("number", "error", "text"), [
    (0, ValueError, "Number of switches must be 1 to 8, not 0"),
    (9, ValueError, "Number of switches must be 1 to 8, not 9"),
    (2.0, TypeError, "Number of switches must be an integer, not 2.0"),
    (True, TypeError, "Number of switches must be an integer, not True"),
])
def test_numbers_of_switches_that_can_not_be(component, number, error, text):
    with pytest.raises(error, match=text):
        component(switches=number)


def test_words_have_their_sizes():
    sizes = {RouteEntry: 13, RouteAddress: 9, RouteLoad: 8, RouteLoading: 23, SwitchStatus: 32,
             SwitchFlags: 14}
    assert {word: Shape.cast(word).width for word in sizes} == sizes
    assert [word.value for word in RouteWord] == [0, 8, 16, 17] and ROUTE_WORDS == 18
    assert SWITCHES.size == 128


def test_latencies_belong_together():
    assert (CHANGE_TICKS, MONITOR_TICKS) == (4, 4)
    assert FAILOVER_TICKS == MONITOR_TICKS + CHANGE_TICKS
