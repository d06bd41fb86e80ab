"""Attempts per second that a station and its followers make together, as the gateware runs.

Windows of 20 ticks, programs that arm again 4 ticks after each verdict, ports of 8 lines. With no
line between the nodes it is what the handshake takes; with 1 km of fibre (5 us each way) it is what
light takes. An attempt takes at least two round trips: trigger, report, verdict, readiness.
"""

import sys

from amaranth.sim import Simulator
from common import Row, arguments, report

from quantacore.gateware.layouts.herald import Outcome
from quantacore.gateware.layouts.peer import PEERS, PeerControl
from quantacore.sim.bench.peer_network import PeerNetwork

TICK_S = 8e-9
#: 5 us of fibre in ticks.
KILOMETRE_TICKS = 625
OFFSETS = {register.name: offset for offset, register in PEERS.offsets()}


def ticks_per_attempt(followers, delay, attempts):
    """Ticks from trigger to trigger, over so many attempts, and attempts that were void."""
    network = PeerNetwork(followers=followers, lanes=8)
    nodes = followers + 1
    begins, void = [], 0

    async def bench(ctx):
        nonlocal void

        async def write(node, name, value):
            bus = network.csr[node]
            ctx.set(bus.address, OFFSETS[name])
            ctx.set(bus.w_data, value)
            ctx.set(bus.write, 1)
            await ctx.tick()
            ctx.set(bus.write, 0)
            await ctx.tick().repeat(3)

        for i in range(followers):
            for way in range(2):
                ctx.set(network.delay[i][way], delay)
        for node in range(nodes):
            for name, value in (("quiet", 1), ("retry", 256), ("margin", 4096),
                                ("control", PeerControl.const(
                                    {"enable": 1 if node else (1 << followers) - 1}).as_bits())):
                await write(node, name, value)
            ctx.set(network.patience[node], 0xFFFF)
            ctx.set(network.gap[node], 4)
            ctx.set(network.window[node], 20)
            ctx.set(network.outcome[node], Outcome.FAILED)
            ctx.set(network.run[node], 1)
        tick = 0
        while len(begins) <= attempts:
            seen = network.seen[0]
            if ctx.get(seen.go):
                begins.append(tick)
            if ctx.get(seen.ended):
                void += ctx.get(seen.outcome) is Outcome.VOID
            tick += 1
            await ctx.tick()

    simulator = Simulator(network)
    simulator.add_clock(TICK_S)
    simulator.add_testbench(bench)
    simulator.run()
    return (begins[-1] - begins[0]) / attempts, void


def main():
    options = arguments(__doc__.splitlines()[0])
    rows = []
    for followers in (1, 2):
        for name, delay, attempts in (("no_line", 0, 20), ("1_km", KILOMETRE_TICKS, 3)):
            if options.quick and followers == 2 and delay:
                continue
            ticks, void = ticks_per_attempt(followers, delay, attempts if options.quick
                                            else 3 * attempts)
            case = f"peers/{followers}_follower{'s' * (followers > 1)}_{name}"
            print(f"{case}: {ticks:.1f} ticks", file=sys.stderr, flush=True)
            rows += [
                Row(name=f"{case}/attempt_rate", figure=round(1 / (ticks * TICK_S)), unit="1/s",
                    anchor=round(1 / (4 * delay * TICK_S)) if delay else 1_000_000,
                    anchor_source="two round trips of light in the fibre, alone" if delay
                    else "asked for, of a node alone"),
                Row(name=f"{case}/handshake", figure=round(ticks - 4 * delay, 1), unit="ticks"),
                Row(name=f"{case}/void", figure=void, unit="attempts"),
            ]
    report(rows, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
