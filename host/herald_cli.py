"""``quantacore herald``: channel plans, attempts, rates, histograms, the success matrix."""

import click

from quantacore.host.console import console, examples, progress, run, table, takeover_option
from quantacore.host.firmware_cli import assignments, define_option

__all__ = ["herald"]

#: Node of those who name none.
_DEFAULT_PORT = "virtual:?channels=8&samples=8&fine=no&train=no&sequencer=8&herald=yes"
#: How long a run is waited for, in seconds of the node's time.
_PATIENCE_S = 10.0
#: Between two looks at the counts, in seconds of the node's time.
_LOOK_S = 0.002
#: Looks for records after the end.
_LAST_LOOKS = 200

_port_option = click.option(
    "--port", "-p", metavar="URL", default=_DEFAULT_PORT, envvar="QUANTACORE_PORT",
    show_default=True,
    help="Which node: /dev/ttyUSB0 or COM3, tcp:HOST:PORT, virtual:?herald=yes&sequencer=8.")
_PLAN = """\
\b
PLAN is a channel plan (JSON, see docs/herald.md), or the name of a shipped one:
quantacore herald check --list names them.
"""


@click.group(short_help="Heralded attempts: plans, rates, success matrix.", epilog=examples(
    "quantacore herald check entangle                    what a plan means",
    "quantacore herald load my_plan.json --port /dev/ttyUSB0",
    "quantacore herald run entangle --program entangle --out run.json",
    "quantacore herald report run.json -o run.html"))
def herald():
    """Tell the herald unit which clicks are a success, make attempts, look at what came of them.

    A *plan* says which detector is on which input, when its windows are open in an attempt, and
    which combinations of clicked windows are which verdict. A program of the sequencer arms
    attempts (`arm`) and goes on where the verdict tells it (`brh`). `check` explains a plan
    without a node; `run` loads plan and program and shows live rates.
    """


def _read(plan):
    from quantacore.host.herald.plan import read_plan

    return read_plan(plan)


def _ns(ps):
    return f"{float(ps) / 1000:,.6g}"


def _print_plan(out, compiled):
    from quantacore.host.herald.run import asks_for

    plan, tick_ps = compiled.plan, compiled.geometry.tick_ps
    if plan.doc:
        out.print(plan.doc)
        out.print()
    since = "reference" if plan.reference else "start"
    out.print(table([
        (f"{d}.{w}", plan.number((d, w)), plan.detectors[d].input,
         *(_ns(ps) for ps in compiled.span_ps((d, w)))) for d, w in plan.cells.values()],
        ("cell", "number", "input", f"from (ns after the {since})", "to")))
    out.print()
    out.print(table([
        (p.name, p.number, p.code, f"{p.pauli:#04x}", p.early) for p in plan.in_order()],
        ("pattern", "number", "code", "Pauli", "early")))
    out.print()
    for p in plan.in_order():
        out.print(f"{p.name}: {asks_for(p)}")
    out.print()
    rows = [(f"ARM {sum(1 << n for n in numbers):#06b}", ", ".join(names),
             f"{ticks} ticks, {_ns(ticks * tick_ps)} ns")
            for numbers, names, ticks in _arms(compiled)]
    out.print(table(rows, ("attempt", "windows", f"verdict after the {since}")))
    if plan.sites:
        out.print()
        out.print(table([(s.name, s.number, ".".join(s.zero), ".".join(s.one))
                         for s in plan.sites.values()], ("site", "number", "zero", "one")))
    if plan.switches:
        out.print()
        routes = plan.switches.plan
        where = "which the node has already" if routes is None else (
            f"loaded with routes {', '.join(map(str, sorted(routes.routes)))}")
        out.print(f"Photonic switches: route {plan.switches.route}, {where}")
    if plan.codes:
        out.print()
        out.print("Codes that are no pattern: "
                  + ", ".join(f"{name} {code}" for name, code in plan.codes.items()))


def _arms(compiled):
    """Attempts worth naming: those of each pattern, and of all windows."""
    plan = compiled.plan
    chosen = {frozenset(p.windows) for p in plan.patterns.values()} | {frozenset(plan.windows)}
    for names in sorted(chosen, key=lambda n: sorted(plan.windows[w].number for w in n)):
        numbers = sorted(plan.windows[w].number for w in names)
        yield (numbers, [w for w in plan.windows if w in names],
               compiled.decide_ticks(sum(1 << n for n in numbers)))


def _warn(findings):
    for finding in findings:
        click.echo(f"warning: {finding}", err=True)


# check ---------------------------------------------------------------------------------------

@herald.command("check", short_help="Check a plan and say what it means.",
                epilog=_PLAN + "\n\n" + examples(
                    "quantacore herald check --list",
                    "quantacore herald check my_plan.json",
                    "quantacore herald check my_plan.json --samples 4 --tick 10",
                    "quantacore herald check my_plan.json --node /dev/ttyUSB0",
                    "quantacore herald check entangle --clicks c.early,d.late",
                    "quantacore herald check --schema > plan.schema.json"))
@click.argument("plan", required=False)
@click.option("--samples", type=click.Choice(["1", "2", "4", "8"]), default="8",
              show_default=True, help="Samples in a tick of the node: what window edges are "
              "rounded to.")
@click.option("--inputs", type=click.IntRange(1, 8), default=8, show_default=True,
              help="Inputs of the node.")
@click.option("--tick", type=click.FloatRange(0, min_open=True), default=8.0, show_default=True,
              metavar="NS", help="Length of its tick.")
@click.option("--node", "url", metavar="URL", help="Ask this node what it has, instead.")
@takeover_option
@click.option("--clicks", metavar="CELLS", help="Say what the verdict is if just these cells are "
              "clicked: c.early,d.late")
@click.option("--list", "listed", is_flag=True, help="List the shipped plans.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of plans.")
@click.option("--json", "as_json", is_flag=True, help="Print tables and registers as JSON.")
def check(plan, samples, inputs, tick, url, takeover, clicks, listed, schema, as_json):
    """Check PLAN without a node: names, windows, patterns that can never hold or are hidden.

    Everything that is wrong is told at once, each with its place in the file. Then it shows cells,
    patterns, and how long after an attempt's start its verdict is known.
    """
    from fractions import Fraction

    from quantacore.host.herald.compile import HeraldGeometry, compile_plan
    from quantacore.host.herald.plan import SCHEMA, shipped_plans

    if schema:
        click.echo(SCHEMA.read_text(encoding="utf-8"), nl=False)
        return
    if listed:
        for name in shipped_plans():
            console().print(f"{name}: {_read(name).doc}")
        return
    if plan is None:
        raise click.UsageError("name a PLAN (or --list, --schema)")
    if url:
        compiled = run(_compile_for(url, takeover, plan))
    else:
        compiled = compile_plan(_read(plan), HeraldGeometry(
            Fraction(str(tick)) * 1000, inputs, int(samples)))
    _warn(compiled.findings)
    if as_json:
        import json

        click.echo(json.dumps({
            "tables": {t.name: words for t, words in compiled.tables.items()},
            "registers": compiled.registers, "control": compiled.control,
            "warnings": [str(f) for f in compiled.findings]}, indent=1))
        return
    _print_plan(console(), compiled)
    if clicks is not None:
        names = [c.strip() for c in clicks.split(",") if c.strip()]
        known = {".".join(cell): n for n, cell in compiled.plan.cells.items()}
        for name in names:
            if name not in known:
                raise click.BadParameter(f"there is no cell {name!r}; there are "
                                         f"{', '.join(known)}", param_hint="--clicks")
        verdict = compiled.verdict(sum(1 << known[name] for name in set(names)))
        console().print(f"\nClicks in {', '.join(names) or 'nothing'}: "
                        f"{verdict or 'no pattern holds'}")


async def _compile_for(url, takeover, plan):
    from quantacore.host.driver.node import Node

    async with await Node.connect(url, takeover=takeover) as node:
        return node.herald.compile(plan)


# load ----------------------------------------------------------------------------------------

async def _configure(node, plan, **options):
    import warnings

    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        compiled = await node.herald.configure(plan, **options)
    for warning in raised:
        click.echo(f"warning: {warning.message}", err=True)
    return compiled


@herald.command("load", short_help="Load a plan into a node.",
                epilog=_PLAN + "\n\n" + examples(
                    "quantacore herald load my_plan.json --port /dev/ttyUSB0",
                    "quantacore herald load entangle --port tcp:localhost:7000 --verify"))
@click.argument("plan")
@_port_option
@takeover_option
@click.option("--verify", is_flag=True, help="Read every table back.")
@click.option("--keep-counts", is_flag=True, help="Don't zero the counts.")
@click.option("--disabled", is_flag=True, help="Don't let attempts be armed yet.")
def load(plan, port, takeover, verify, keep_counts, disabled):
    """Check PLAN against a node and load it: tables, limits, codes."""

    async def work():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            compiled = await _configure(node, plan, verify=verify, clear=not keep_counts,
                                        enable=not disabled)
            return compiled, await node.herald.status()

    compiled, status = run(work())
    _print_plan(console(), compiled)
    console().print(f"\nLoaded; attempts may be armed: {'yes' if status.enabled else 'no'}")


# run -----------------------------------------------------------------------------------------

def _pair(ctx, param, values):
    result = []
    for value in values:
        names = [name.strip() for name in value.split(",")]
        if len(names) != 2 or not all(names):
            raise click.BadParameter(f"{value!r} is not two detectors; write c,d")
        result.append(tuple(names))
    return result


@herald.command("run", short_help="Make attempts, with live rates.",
                epilog=_PLAN + "\n\n" + examples(
                    "quantacore herald run entangle --program entangle --port /dev/ttyUSB0",
                    "quantacore herald run my_plan.json --program my.qcs --set rounds=100 "
                    "--out run.json",
                    "quantacore herald run my_plan.json --program my.qcs --hom c,d "
                    "--report run.html"))
@click.argument("plan")
@click.option("--program", "-P", metavar="SOURCE", required=True,
              help="What arms the attempts: a program (.qcs), an image (.qcfw) or the name of a "
              "shipped program.")
@_port_option
@takeover_option
@define_option
@click.option("--set", "-s", "values", multiple=True, metavar="NAME=VALUE",
              callback=assignments("rounds=100 or delay=2us"),
              help="Give a parameter of the program a value; may be repeated.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              default=_PATIENCE_S, show_default=True,
              help="Stop it after so long, in the node's time.")
@click.option("--hom", metavar="A,B", multiple=True, callback=_pair,
              help="Count all intervals between two detectors meanwhile (one histogram a run).")
@click.option("--start-stop", "start_stop", metavar="A,B", multiple=True, callback=_pair,
              help="Count intervals from each click of A to the first of B, instead.")
@click.option("--bin", "bin_ns", type=click.FloatRange(0, min_open=True), default=1.0,
              show_default=True, metavar="NS", help="Bin width of the histogram.")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Keep the run: a .json file "
              "for `matrix` and `report`.")
@click.option("--report", "page", type=click.Path(dir_okay=False), help="Write the report page.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON instead of tables.")
def run_(plan, program, port, takeover, defines, values, timeout, hom, start_stop, bin_ns, out,
         page, as_json):
    """Load PLAN and a program, run it, show live rates, and print counts and success matrix.

    Exit code 1 if the program does not come to its HALT in time (what there is by then is printed
    and kept).
    """
    from pathlib import Path

    if len(hom) + len(start_stop) > 1:
        raise click.UsageError("a node has one histogram: give --hom or --start-stop once")
    _suffix(out, ".json", "--out")
    _suffix(page, ".html", "--report")
    from quantacore.firmware import Image, prove
    from quantacore.host.firmware_cli import read_program

    assembly = read_program(program, defines)
    proof = prove(assembly)
    proof.check()
    image = Image.from_assembly(assembly, proof)
    pairs = [(*pair, "all_pairs") for pair in hom] + [(*pair, "start_stop") for pair in start_stop]
    found, result, stopped = run(_run(plan, image, port, takeover, values, timeout,
                                      pairs[0] if pairs else None, bin_ns))
    if as_json:
        click.echo(found.to_json())
    else:
        _print_run(console(), found)
    if out:
        Path(out).write_text(found.to_json(), encoding="utf-8")
        click.echo(f"Run: {out}", err=as_json)
    if page:
        found.report().write(page)
        click.echo(f"Report: {page}", err=as_json)
    if stopped is not None:
        raise click.ClickException(f"{stopped} (stopped now; --timeout gives it longer)")
    result.check()


def _suffix(path, suffix, option):
    from pathlib import Path

    if path and Path(path).suffix != suffix:
        raise click.BadParameter(f"it ends in {suffix}, not {Path(path).suffix!r}",
                                 param_hint=option)


def _sources(compiled, name):
    """Channel of a detector or virtual channel of a plan, and the detectors that it needs."""
    plan = compiled.plan
    if name in plan.virtual:
        return plan.virtual[name].channel, plan.virtual[name].of | plan.virtual[name].watched
    if name not in plan.detectors:
        raise click.UsageError(f"the plan has no detector {name!r}; it has "
                               f"{', '.join([*plan.detectors, *plan.virtual])}")
    return plan.detectors[name].input, {name}


async def _start_tagger(node, compiled, names):
    """Tag the edges of some detectors of a plan, and no others."""
    await node.tagger.stop()
    await node.tagger.disable()
    for detector in (compiled.plan.detectors[name] for name in names):
        await node.tagger.enable(detector.input, edges="falling" if detector.falling else "rising")
    await node.tagger.run()


async def _start_histogram(node, compiled, pair, bin_ns, more=frozenset()):
    """Count intervals; the detectors ``more`` are tagged besides."""
    import warnings

    start, stop, mode = pair
    (first, some), (second, others) = (_sources(compiled, name) for name in (start, stop))
    await node.tagger.stop()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        await node.histogram.configure(start=first, stop=second, bin_s=bin_ns * 1e-9, mode=mode)
    for warning in raised:
        click.echo(f"warning: {warning.message}", err=True)
    await node.histogram.run()
    await _start_tagger(node, compiled, some | others | more)


async def _read_histogram(node, pair):
    from quantacore.host.herald.run import HistogramResult

    await node.tagger.stop()
    await node.histogram.stop()
    data = await node.histogram.read()
    return HistogramResult(*pair, data.edges_s.tolist(), data.counts.tolist(),
                           data.edges_lost + data.pairs_lost)


async def _run(plan, image, port, takeover, values, timeout, pair, bin_ns):
    from dataclasses import asdict

    import numpy as np

    from quantacore.host.driver.node import Node
    from quantacore.host.driver.sequencer import StillRunningError
    from quantacore.host.herald.records import Verdicts
    from quantacore.host.herald.run import HeraldRun

    verdicts, rates = [], []
    with progress() as bars:
        task = bars.add_task("connecting", total=None)
        async with await Node.connect(port, takeover=takeover) as node:
            unit = node.herald
            bars.update(task, description="loading plan and program")
            compiled = await _configure(node, plan)
            await unit.clear_flags()
            await node.virtual.clear_flags()
            # They see what is tagged.
            looked_at = frozenset().union(*(v.of | v.watched
                                            for v in compiled.plan.virtual.values()))
            if compiled.peers["control"]:
                bars.update(task, description="waiting for peers")
                await node.peers.wait_up(timeout)
            async with node.sequencer as sequencer:
                await sequencer.load(image)
                sequencer.set(**values)
                if pair:
                    await _start_histogram(node, compiled, pair, bin_ns, looked_at)
                elif looked_at:
                    await _start_tagger(node, compiled, looked_at)
                await unit.follow()
                begin = await node.timing.tick()
                first = counts = await unit.counts()
                await sequencer.start()
                result, stopped = None, None

                def take():
                    if sequencer.other_records:
                        unit.feed(np.concatenate(sequencer.other_records))
                        sequencer.other_records = []

                while result is None:
                    try:
                        result = await sequencer.wait(_LOOK_S)
                    except StillRunningError as error:
                        spent = node.units.ticks_s(await node.timing.tick() - begin)
                        if spent > timeout:
                            stopped = error
                            await sequencer.stop()
                            result = await sequencer.wait()
                    take()
                    verdicts.append(await unit.verdicts())
                    unit.other_records = []
                    rate, counts = await unit.rates(counts)
                    since = node.units.ticks_s(counts.tick - begin)
                    rates.append({"seconds": since, "attempts_hz": rate.attempts_hz,
                                  "succeeded_hz": rate.succeeded_hz, "clicks": rate.clicks,
                                  "virtual": rate.virtual})
                    bars.update(task, description=_live(unit, await unit.status(), rate, counts))
                # First the tagger stops, whose records would not end.
                if looked_at:
                    await node.tagger.stop()
                histograms = [await _read_histogram(node, pair)] if pair else []
                await _last_records(sequencer, take)
                verdicts.append(await unit.verdicts())
            flags = await unit.flags() | {
                f"virtual.{name}": value for name, value in (await node.virtual.flags()).items()}
            virtual = asdict(await node.virtual.counts()) if compiled.plan.virtual else {}
            identity = node.identity
    matrix, totals = Verdicts.join(verdicts).matrix()
    found = HeraldRun(
        plan=compiled.plan.source, counts=asdict(counts),
        seconds=node.units.ticks_s(counts.tick - first.tick), matrix=matrix.tolist(),
        totals=totals.tolist(), rates=rates, histograms=histograms,
        flags={name: list(value) for name, value in flags.items()}, virtual=virtual,
        node={"tick_ps": str(identity.tick_ps), "channels": identity.channels,
              "samples": identity.samples},
        program={"name": image.name, "state": result.state.name, "halt_code": result.halt_code})
    return found, result, stopped


async def _last_records(sequencer, take):
    """Take what is still on its way: until nothing came twice. Whoever tags all the time would
    send for ever; then it is what has come by now."""
    quiet = 0
    for _ in range(_LAST_LOOKS):
        await sequencer.marks()
        quiet = 0 if sequencer.other_records else quiet + 1
        take()
        if quiet == 2:
            break


def _live(unit, status, rate, counts):
    text = (f"{counts.attempts:,} attempts, {rate.attempts_hz:,.0f}/s; {counts.succeeded:,} "
            f"successes").replace(",", " ")
    if status.saturated:
        text += f"; [yellow]{', '.join(status.saturated)} saturated: no attempts for a while[/]"
    elif status.refuses:
        text += f"; [yellow]ARM is refused: {', '.join(status.refuses)}[/]"
    return text


def _print_counts(out, counts, seconds):
    """Counts as a dictionary, as runs have them."""
    made = counts["succeeded"] + counts["failed"]
    out.print(table([
        ("Attempts", counts["attempts"]), ("Successes", counts["succeeded"]),
        ("Failed", counts["failed"]),
        *((f"Void: {why}", counts[f"void_{why}"])
          for why in ("reference", "aborted", "route", "peer") if counts[f"void_{why}"]),
        ("ARMs refused", counts["refused"]), ("Records lost", counts["records_lost"]),
        ("Success probability", counts["succeeded"] / made if made else 0.0),
        ("Attempts per second", counts["attempts"] / seconds if seconds else 0.0),
        ("Node's time", f"{seconds:.6f} s")]))
    out.print()
    out.print(table([(name, count, count / made if made else 0.0)
                     for name, count in counts["patterns"].items()],
                    ("pattern", "verdicts", "of attempts")))
    out.print()
    out.print(table([(name, clicks, counts["stray"][name], counts["dead"][name])
                     for name, clicks in counts["clicks"].items()],
                    ("detector", "clicks", "outside windows", "in dead time")))


def _print_virtual(out, virtual):
    """The account of virtual channels as a dictionary, as runs have it."""
    out.print(table([*virtual["edges"].items()], ("virtual channel", "edges")))
    out.print()
    out.print(table([("Virtual edges in the tag stream", virtual["sent"]),
                     ("Lost there", virtual["lost"]),
                     ("Detectors' edges that were not looked at", virtual["edges_lost"]),
                     ("Detectors' edges that came too late", virtual["edges_late"])]))


def _print_matrix(out, found):
    rows, columns, matrix, totals = found.success_matrix()
    out.print(table([(name, int(total), *map(int, line)) for name, total, line in
                     zip(rows, totals, matrix, strict=True)],
                    ("success matrix", "records", *columns)))


def _print_run(out, found):
    if found.program:
        out.print(table([(f"Program {found.program['name']}", found.program["state"]),
                         ("Halt code", found.program["halt_code"])]))
    _print_counts(out, found.counts, found.seconds)
    if found.virtual:
        out.print()
        _print_virtual(out, found.virtual)
    if any(found.totals):
        out.print()
        _print_matrix(out, found)
    if found.flags:
        out.print()
        out.print(table([(name, count, f"{at:.9f} s")
                         for name, (count, at) in found.flags.items()],
                        ("flag", "times", "first at")))


# rates ---------------------------------------------------------------------------------------

@herald.command("rates", short_help="Watch a node's rates.", epilog=examples(
    "quantacore herald rates --port /dev/ttyUSB0 --plan my_plan.json",
    "quantacore herald rates --port tcp:localhost:7000 --seconds 10 --json"))
@_port_option
@takeover_option
@click.option("--plan", help="For the names; without it there are numbers.")
@click.option("--seconds", "-s", type=click.FloatRange(0, min_open=True), default=0.01,
              show_default=True, help="How long, in the node's time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def rates(port, takeover, plan, seconds, as_json):
    """Show rates live, and their means at the end. Nothing in the node is changed."""

    async def watch():
        from quantacore.host.driver.herald import HeraldRates
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            unit = node.herald
            if plan:
                unit.compiled = unit.compile(plan)
            with progress() as bars:
                task = bars.add_task("", total=node.units.ticks(seconds))
                first = counts = await unit.counts()
                while counts.tick - first.tick < node.units.ticks(seconds):
                    rate, counts = await unit.rates(counts)
                    bars.update(task, completed=counts.tick - first.tick,
                                description=_live(unit, await unit.status(), rate, counts))
            return (HeraldRates.between(first, counts, node.units), await unit.status(),
                    await node.virtual.counts())

    rate, status, virtual = run(watch())
    from dataclasses import asdict

    if as_json:
        import json

        click.echo(json.dumps({"rates": asdict(rate), "status": asdict(status),
                               "virtual": asdict(virtual)}, indent=1))
        return
    out = console()
    out.print(table([
        ("Attempts per second", rate.attempts_hz), ("Successes per second", rate.succeeded_hz),
        ("Void per second", rate.void_hz), ("Success probability", rate.probability),
        ("Armed attempts are refused", ", ".join(status.refuses) or "no"),
        ("Saturated detectors", ", ".join(status.saturated) or "none"),
        ("Last attempt", status.attempt), ("Pauli frame", f"{status.frame:#04x}")]))
    out.print()
    out.print(table([*rate.patterns.items()], ("pattern", "per second")))
    out.print()
    out.print(table([*rate.clicks.items()], ("detector", "clicks per second")))
    if rate.virtual:
        out.print()
        out.print(table([*rate.virtual.items()], ("virtual channel", "edges per second")))
        out.print()
        _print_virtual(out, asdict(virtual))


# peers ---------------------------------------------------------------------------------------

@herald.command("peers", short_help="Other nodes that attempts are made with.", epilog=examples(
    "quantacore herald peers --port /dev/ttyUSB0",
    "quantacore herald peers --port tcp:localhost:7000 --wait 1"))
@_port_option
@takeover_option
@click.option("--wait", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Wait until all that take part answer, in the node's time; exit code 1 if one "
              "does not.")
def peers(port, takeover, wait):
    """Show the ports to other nodes: who answers, how far away they are, what was counted."""

    async def ask():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            ports = await (node.peers.wait_up(wait) if wait else node.peers.ports())
            return ports, await node.peers.counts(), await node.peers.flags()

    ports, counts, flags = run(ask())
    out = console()
    out.print(table([
        (f"port {p.port}", "up" if p.up else "no answer" if p.enabled else "not used",
         f"{p.round_trip_s * 1e9:,.6g} ns",
         f"{p.round_trip_min_s * 1e9:,.6g} to {p.round_trip_max_s * 1e9:,.6g} ns",
         p.session_triggers, p.received, p.check_errors, p.timeouts) for p in ports],
        ("", "peer", "round trip", "extremes", "triggers", "messages", "damaged", "time-outs")))
    out.print()
    out.print(table([("Attempts triggered (station)", counts.triggers),
                     ("Attempts begun by a trigger (follower)", counts.started),
                     ("Attempts missed (follower)", counts.missed)]))
    if flags:
        out.print()
        out.print(table([(name, count, f"{at:.9f} s") for name, (count, at) in flags.items()],
                        ("flag", "times", "first at")))


# histogram -----------------------------------------------------------------------------------

@herald.command("histogram", short_help="Intervals between two detectors of a plan.",
                epilog=_PLAN + "\n\n" + examples(
                    "quantacore herald histogram entangle c d --out hom.svg",
                    "quantacore herald histogram my_plan.json c1 d1 --start-stop --bin 0.5"))
@click.argument("plan")
@click.argument("start")
@click.argument("stop")
@_port_option
@takeover_option
@click.option("--start-stop", is_flag=True, help="From each click of START to the first of STOP. "
              "By default all pairs of either sign are counted: the HOM dip's histogram.")
@click.option("--bin", "bin_ns", type=click.FloatRange(0, min_open=True), default=1.0,
              show_default=True, metavar="NS", help="Bin width; the node takes the nearest power "
              "of two fine units.")
@click.option("--seconds", "-s", type=click.FloatRange(0, min_open=True), default=0.01,
              show_default=True, help="How long, in the node's time.")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Draw it: a .svg file.")
def histogram(plan, start, stop, port, takeover, start_stop, bin_ns, seconds, out):
    """Let the node count intervals between the detectors START and STOP of PLAN.

    A program that makes attempts goes on meanwhile; `quantacore herald run --hom` does both at
    once.
    """
    from pathlib import Path

    import numpy as np

    _suffix(out, ".svg", "--out")
    pair = (start, stop, "start_stop" if start_stop else "all_pairs")

    async def measure():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            compiled = node.herald.compile(plan)
            await _start_histogram(node, compiled, pair, bin_ns)
            begin, passed = await node.timing.tick(), 0
            with progress() as bars:
                task = bars.add_task("counting", total=node.units.ticks(seconds))
                while passed < node.units.ticks(seconds):
                    passed = await node.timing.tick() - begin
                    bars.update(task, completed=passed)
            return await _read_histogram(node, pair)

    found = run(measure())
    counts, edges = np.array(found.counts), np.array(found.edges_s) * 1e9
    rows = [("Pairs", int(counts.sum())), ("Bin", f"{edges[1] - edges[0]:.6g} ns"),
            ("Range", f"{edges[0]:.6g} to {edges[-1]:.6g} ns"), ("Lost", found.lost)]
    if counts.any():
        at = int(counts.argmax())
        rows.append(("Highest bin", f"{int(counts[at])} at {edges[at]:.6g} ns"))
    console().print(table(rows))
    if out:
        from quantacore.host.plot import Figure

        figure = Figure(f"{start} to {stop}", x_label="interval (ns)", y_label="pairs")
        figure.steps(edges, counts, fill=True).steps(edges, counts)
        Path(out).write_text(figure.svg(standalone=True), encoding="utf-8")
        console().print(f"Plot: {out}")


# matrix and report ---------------------------------------------------------------------------

@herald.command("matrix", short_help="Success matrix of a run.", epilog=examples(
    "quantacore herald matrix run.json",
    "quantacore herald matrix run.json --out matrix.svg"))
@click.argument("run_file", metavar="RUN", type=click.Path(exists=True, dir_okay=False))
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Draw it: a .svg file.")
def matrix(run_file, out):
    """Print how often each cell was clicked in each pattern's successes (RUN: `herald run --out`).
    """
    from pathlib import Path

    from quantacore.host.herald.run import HeraldRun

    _suffix(out, ".svg", "--out")
    found = HeraldRun.read(run_file)
    _print_matrix(console(), found)
    if out:
        import numpy as np

        from quantacore.host.plot import MatrixFigure

        rows, columns, values, totals = found.success_matrix()
        figure = MatrixFigure(values / np.maximum(totals, 1)[:, None], rows, columns,
                              title="part of a pattern's successes in which a cell was clicked")
        Path(out).write_text(figure.svg(standalone=True), encoding="utf-8")
        console().print(f"Plot: {out}")


@herald.command("report", short_help="A page about a run.", epilog=examples(
    "quantacore herald report run.json -o run.html"))
@click.argument("run_file", metavar="RUN", type=click.Path(exists=True, dir_okay=False))
@click.option("--out", "-o", type=click.Path(dir_okay=False), default="herald.html",
              show_default=True, help="The page.")
@click.option("--title", help="Its title.")
def report(run_file, out, title):
    """Write a page with figures, tables and the account of RUN (`herald run --out`).

    The page is complete in itself: it can be mailed and archived. Exit code 3 if the counts don't
    add up.
    """
    from quantacore.host.herald.run import HeraldRun

    _suffix(out, ".html", "--out")
    page = HeraldRun.read(run_file).report(title)
    page.write(out)
    console().print(f"Report: {out}")
    if not page.passed:
        raise click.exceptions.Exit(3)
