"""``quantacore switch load | routes | select | status | clear | park | off``: photonic switches."""

import click

from quantacore.host.console import console, examples, run, table, takeover_option

__all__ = ["switch"]

#: Node of those who name none: one that is built quickly.
_DEFAULT_PORT = "virtual:?channels=1&samples=1&fine=no&train=no&switches=8"

_port_option = click.option(
    "--port", "-p", metavar="URL", default=_DEFAULT_PORT, envvar="QUANTACORE_PORT",
    show_default=True,
    help="Which node: /dev/ttyUSB0 or COM3, tcp:HOST:PORT, virtual:?switches=NUMBER.")


@click.group("switch", short_help="Photonic switches: routes, and whether they hold.",
             epilog=examples(
                 "quantacore switch load plan.json --enable --port /dev/ttyUSB0",
                 "quantacore switch select 3 --port /dev/ttyUSB0",
                 "quantacore switch status --port /dev/ttyUSB0"))
def switch():
    """Load routes into a node's table, request them, and see what became of them."""


def _on_node(port, takeover, work):
    """What ``work(node)`` gives, on a node."""

    async def ask():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            return await work(node)

    return run(ask())


def _time(seconds):
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if abs(seconds) * scale >= 1 or unit == "ns":
            return f"{seconds * scale:.6g} {unit}"


# load ----------------------------------------------------------------------------------------

@switch.command("load", short_help="Put a plan of routes into a node.", epilog=examples(
    "quantacore switch load plan.json --port /dev/ttyUSB0",
    "quantacore switch load plan.json --port /dev/ttyUSB0 --enable --no-failover"))
@click.argument("plan", type=click.Path(exists=True, dir_okay=False))
@_port_option
@takeover_option
@click.option("--enable", is_flag=True, help="Switch on afterwards.")
@click.option("--no-failover", is_flag=True, help="With --enable: a stuck switch is a fault at "
              "once, no alternate route takes over.")
@click.option("--hold", is_flag=True, help="With --enable: in a fault drives keep their codes "
              "instead of taking their safe ones.")
def load(plan, port, takeover, enable, no_failover, hold):
    """Load the routes, safe codes and times of PLAN (JSON; see docs/switches.md).

    Each route is read back before the node may use it. The route in force stays.
    """
    from quantacore.host.driver.switches import RoutePlan

    if (no_failover or hold) and not enable:
        raise click.UsageError("--no-failover and --hold say how to --enable: give that too")
    routes = RoutePlan.read(plan)

    async def work(node):
        await node.switches.apply(routes)
        if enable:
            await node.switches.enable(failover=not no_failover, hold=hold)

    _on_node(port, takeover, work)
    console().print(f"{len(routes.routes)} routes loaded: "
                    f"{', '.join(map(str, sorted(routes.routes)))}")


# routes --------------------------------------------------------------------------------------

@switch.command("routes", short_help="Show the routes that a node has.", epilog=examples(
    "quantacore switch routes --port /dev/ttyUSB0"))
@_port_option
@takeover_option
def routes(port, takeover):
    """Show drive codes and ranges of all routes, as the node's table has them."""
    found = _on_node(port, takeover, lambda node: node.switches.routes())
    out = console()
    if not found:
        out.print("No routes (quantacore switch load)")
    for number, route in found.items():
        alternate = "none" if route.alternate is None else route.alternate
        out.print(f"Route {number}: settles in {_time(route.settle_s)}, alternate {alternate}")
        out.print(table([
            (f"switch {k}", code, "{:,} to {:,}".format(*route.monitors[k]).replace(",", " ")
             if k in route.monitors else "any")
            for k, code in enumerate(route.drives)], ("", "drive", "monitor")))


# select --------------------------------------------------------------------------------------

@switch.command("select", short_help="Request a route, and wait until it holds.", epilog=examples(
    "quantacore switch select 3 --port /dev/ttyUSB0",
    "quantacore switch select 3 --port /dev/ttyUSB0 --after 0.5"))
@click.argument("route", type=click.IntRange(0, 15))
@_port_option
@takeover_option
@click.option("--after", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Request it exactly so long after the node was asked what time it is, and don't "
              "wait.")
@click.option("--limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Wait so long at most, in the node's time.")
def select(route, port, takeover, after, limit):
    """Request ROUTE and wait until it holds, or its alternate does."""

    async def work(node):
        if after is not None:
            at = await node.timing.tick() + node.units.ticks(after)
            await node.switches.request_at(route, at)
            return at, await node.switches.status()
        return None, await node.switches.select(route, limit_s=limit)

    at, report = _on_node(port, takeover, work)
    if at is not None:
        console().print(f"Route {route} is armed for tick {at}")
        return
    console().print(table(_report_rows(report)))
    if report.failed_over:
        raise click.ClickException(f"A switch of route {route} is stuck; route {report.route} took "
                                   f"over (quantacore switch status)")


def _report_rows(report):
    where = "none" if report.route is None else str(report.route)
    if report.failed_over:
        where += f", in place of {report.requested}"
    rows = [("State", report.state.name), ("Route", where),
            ("Attempts", "wait" if report.settling else "may start")]
    if report.out_of_range:
        rows.append(("Out of range", ", ".join(f"switch {k}" for k in report.out_of_range)))
    if report.armed:
        rows.append(("Armed", "a request waits for its time"))
    return rows


# status --------------------------------------------------------------------------------------

@switch.command("status", short_help="What the switches do, and what went wrong.",
                epilog=examples("quantacore switch status --port /dev/ttyUSB0",
                                "quantacore switch status --port /dev/ttyUSB0 --json"))
@_port_option
@takeover_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def status(port, takeover, as_json):
    """Show state, drives, monitors, counts and flags that are up."""

    async def work(node):
        switches = node.switches
        return (await switches.status(), await switches.drives(), await switches.monitors(),
                await switches.counters(), await switches.flags())

    report, drives, monitors, counters, flags = _on_node(port, takeover, work)
    refused = counters.refused_last
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps({
            **asdict(report), "state": report.state.name, "drives": drives, "monitors": monitors,
            "counters": {**asdict(counters), "refused_last": refused and {
                "route": refused[0], "reason": refused[1].name}}, "flags": flags}, indent=1))
        return
    rows = _report_rows(report)
    rows += [("Settled last in", _time(counters.settle_last_s)),
             ("Longest settling", _time(counters.settle_max_s)),
             ("Requests", counters.requests), ("Changes", counters.changes),
             ("While settling", counters.restarts), ("Refused", counters.refused),
             ("Superseded", counters.superseded), ("Fail-overs", counters.failovers)]
    if refused:
        rows.append(("Refused last", f"route {refused[0]}, {refused[1].name.lower()}"))
    out = console()
    out.print(table(rows))
    out.print(table([(f"switch {k}", *pair) for k, pair in
                     enumerate(zip(drives, monitors, strict=True))], ("", "drive", "monitor")))
    if flags:
        out.print(table([(name, count, f"{at:.9f} s") for name, (count, at) in flags.items()],
                        ("flag", "times", "first at")))


# clear, park, off ----------------------------------------------------------------------------

def _simple(name, short, doc, *options):
    """A command that does one thing and prints the state."""

    def command(port, takeover, **values):
        async def work(node):
            await _ACTIONS[name](node.switches, **values)
            return await node.switches.status()

        console().print(f"State: {_on_node(port, takeover, work).state.name}")

    command.__doc__ = doc
    for option in (*options, takeover_option, _port_option):
        command = option(command)
    switch.command(name, short_help=short, epilog=examples(
        f"quantacore switch {name} --port /dev/ttyUSB0"))(command)


async def _clear(switches, flags):
    await switches.clear()
    if flags:
        await switches.clear_flags()
        await switches.clear_counts()


async def _park(switches):
    await switches.park()


async def _off(switches):
    await switches.disable()


_ACTIONS = {"clear": _clear, "park": _park, "off": _off}
_simple("clear", "End a fault.", "End a fault. Drives stay as they are, and there is no route "
        "until the next request.",
        click.option("--flags", is_flag=True, help="Clear flags and counts too."))
_simple("park", "Safe drive codes, no route.", "Put all drives to their safe codes. Attempts wait "
        "until the next request.")
_simple("off", "Switch off.", "Safe drive codes, and attempts don't wait for switches any more.")
