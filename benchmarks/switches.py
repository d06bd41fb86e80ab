"""How fast photonic switches change, how fast they fail over, and what they take on an ECP5-85F.

Ticks are read off the gateware, Verilated and driven through its registers and ports, with a switch
that gets stuck for the fail-over. The full run places and routes it, speed grade 6, with open
tools.
"""

import sys

from common import Row, arguments, report
from placed_parts import TARGET_HZ, placed_rows

from quantacore.gateware.layouts.switches import (
    CHANGE_TICKS,
    FAILOVER_TICKS,
    MONITOR_TICKS,
    SAFE_TICKS,
)
from quantacore.gateware.network.switches import SwitchUnit
from quantacore.sim.bench.switches import SwitchBench
from quantacore.sim.golden.switches import Route

TICK_NS = 8
SETTLE, TIMEOUT, DEBOUNCE = 100, 50, 10
#: What each latency must be.
DECLARED = {"request_to_drives": CHANGE_TICKS, "request_to_settling": 0,
            "monitors_to_open": MONITOR_TICKS, "stuck_to_drives": FAILOVER_TICKS,
            "emergency_to_drives": SAFE_TICKS, "drives_apart": 0}


def measure(switches):
    """Latencies in ticks, by name."""
    bench = SwitchBench(switches)
    for number in (1, 2):
        bench.load(number, Route(
            drives=tuple(1000 * number + k for k in range(switches)),
            ranges=((100 * number, 100 * number + 10),) * switches, settle=SETTLE,
            used=frozenset(range(switches)), alternate=3 - number))
    bench.write("timeout", TIMEOUT)
    bench.write("debounce", DEBOUNCE)
    bench.enable()
    found = {}
    bench.monitors([205] * switches)
    bench.route(2)
    bench.step()
    bench.until(lambda: not bench.settling)

    begin = bench.now
    bench.route(1)
    found["request_to_settling"] = bench.until(lambda: bench.settling) - begin
    changed = bench.changes(20)
    found["request_to_drives"] = min(changed) - begin
    found["drives_apart"] = max(changed) - min(changed)
    bench.step(SETTLE + 20)
    right = bench.now
    bench.monitors([105] * switches)
    found["monitors_to_open"] = bench.until(lambda: not bench.settling) - right

    wrong = bench.now
    bench.monitors([105] * (switches - 1) + [99])
    found["stuck_to_drives"] = min(bench.changes(DEBOUNCE + 20)) - (wrong + DEBOUNCE)
    bench.monitors([205] * switches)
    bench.until(lambda: not bench.settling)
    begin = bench.now
    bench.emergency(1)
    found["emergency_to_drives"] = min(bench.changes(10)) - begin
    return found


def main():
    options = arguments(__doc__.splitlines()[0])
    found = measure(8)
    rows = []
    for name, ticks in found.items():
        rows.append(Row(name=f"switches/{name}/ticks", figure=ticks, unit="ticks",
                        anchor=DECLARED[name] or None,
                        anchor_source="declared in gateware/layouts/switches.py"
                        if DECLARED[name] else ""))
    rows += [Row(name="switches/request_to_drives/time", unit="ns",
                 figure=found["request_to_drives"] * TICK_NS),
             Row(name="switches/latencies/mismatches", unit="latencies",
                 figure=sum(found[name] != ticks for name, ticks in DECLARED.items()))]
    missed = []
    if not options.quick:
        options.only = None
        placed, missed = placed_rows("switches", {"unit_8": (SwitchUnit, False)}, options,
                                     cells=("lut4", "dff", "bram"))
        rows += placed
    report(rows, options)
    if missed:
        sys.exit(f"{TARGET_HZ / 1e6:g} MHz missed by {', '.join(missed)}")


if __name__ == "__main__":
    main()
