"""The command line: ``quantacore info | node | tags | histogram | decode | fw | herald | ...``.

Everything heavy is imported by the command that needs it, so that ``--help`` is quick and a host
without the simulator still drives a board.
"""

import sys

import click

from quantacore.host.console import cell as _cell
from quantacore.host.console import console as _console
from quantacore.host.console import examples as _examples
from quantacore.host.console import port_option as _port
from quantacore.host.console import progress as _progress
from quantacore.host.console import run as _run
from quantacore.host.console import table as _table
from quantacore.host.console import takeover_option as _takeover
from quantacore.host.decode_cli import decode
from quantacore.host.firmware_cli import fw
from quantacore.host.herald_cli import herald
from quantacore.host.sequencer_cli import register as _register_sequencer
from quantacore.host.switch_cli import switch

__all__ = ["main", "quantacore"]

#: A source that shows something: a pulsed single-photon emitter on inputs 0 and 1.
EXAMPLE_SOURCE = "emitter:pulse=12500,lifetime=300,efficiency=0.05,ch=0+1"
#: Exit code for a comparison that does not agree.
DIFFERENCE = 3


class _Commands(click.Group):
    """A group that turns expected errors into one message each."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.Abort() from None
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(_message(error)) from None


def _message(error):
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    ours = type(error).__module__.startswith("quantacore.") or isinstance(error, ValueError)
    if ours and str(error):
        return str(error)
    return (f"Unexpected {type(error).__name__}: {error}. Run quantacore --debug ... for the "
            f"traceback; this is a bug, please report it")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"],
                                              "max_content_width": 100},
             epilog=_examples(
                 "quantacore demo                            everything at once, with a report",
                 "quantacore info                            ask a virtual node who it is",
                 "quantacore info --port /dev/ttyUSB0        ask a board",
                 "quantacore node --pty --source poisson:1e6 serve a virtual node to others",
                 "quantacore tags --out run.ptu              record time tags"))
@click.option("--debug", is_flag=True, help="Show tracebacks and log the link's traffic.")
@click.version_option(package_name="quantacore")
def quantacore(debug):
    """Drive a QuantaCore node: a board, or a virtual node made of the same gateware.

    Without --port (or the environment variable QUANTACORE_PORT) commands start a virtual node in
    their own process; the first time it is built, which takes a few minutes.
    """
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG)


def _in_parts(number, what="number"):
    """Parse a finite positive number that may end in an SI prefix (10k, 1.5M, 20u, 64p)."""
    import math

    scale = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
    text = number.strip()
    factor = scale.get(text[-1:], 1.0)
    try:
        value = float(text[:-1] if text[-1:] in scale else text) * factor
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{number!r} is not a positive {what}; write 0.5, 20m or 64p")
    return value


class _Quantity(click.ParamType):
    name = "quantity"

    def convert(self, value, param, ctx):
        return value if isinstance(value, float) else _in_parts(value)


# info ----------------------------------------------------------------------------------------

@quantacore.command(short_help="Ask a node who it is and how it is.", epilog=_examples(
    "quantacore info",
    "quantacore info --port /dev/ttyUSB0",
    "quantacore info --port tcp:lab-pc:7000 --json"))
@_port()
@_takeover
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def info(port, takeover, as_json):
    """Ask a node who it is, what it has, and whether anything went wrong."""
    from dataclasses import asdict

    from quantacore.host.driver.node import Node

    async def ask():
        async with await Node.connect(port, takeover=takeover) as node:
            flags = {name: await block.flags() for name, block in
                     (("link", node.link), ("timing", node.timing), ("tagger", node.tagger),
                      ("histogram", node.histogram), ("decoder", node.decoder),
                      ("sequencer", node.sequencer), ("herald", node.herald))}
            return node.identity, await node.timing.time_s(), flags, await node.link.statistics()

    identity, now_s, flags, statistics = _run(ask())
    if as_json:
        import json

        click.echo(json.dumps({
            "identity": {**asdict(identity), "tick_ps": str(identity.tick_ps)},
            "time_s": now_s, "flags": flags, "link": statistics}, indent=1))
        return
    console = _console()
    console.print(_table([
        ("Node", "virtual" if identity.simulated else "board"),
        ("Gateware build", f"{identity.build_id:016x}"),
        ("Register map", f"CRC {identity.map_crc:08x}, layout version {identity.layout_version}"),
        ("Link version", identity.link_version),
        ("Clock", f"{float(identity.clock_hz) / 1e6:g} MHz (a tick is {identity.tick_ps} ps)"),
        ("Inputs", f"{identity.channels}, {identity.samples} samples per tick"
                   f"{', fine offsets' if identity.fine else ''}"),
        ("Record buffer", f"{identity.buffer_depth} records"),
        ("Histogram", f"{identity.bins} bins" if identity.histogram else "none"),
        ("Decoder", "see quantacore decode info" if identity.decoder else "none"),
        ("Sequencer", "see quantacore fw slots" if identity.sequencer else "none"),
        ("Herald unit", "see quantacore herald rates" if identity.herald else "none"),
        ("Running for", f"{now_s:.6f} s"),
    ]))
    raised = [(f"{block}.{name}", count, f"{at:.9f} s")
              for block, found in flags.items() for name, (count, at) in found.items()]
    if raised:
        console.print(_table(raised, ("flag", "times", "first at")))
    else:
        console.print("No flags are raised.")


# node ----------------------------------------------------------------------------------------

@quantacore.command(add_help_option=False, short_help="Serve a virtual node to other programs.",
                    context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.pass_context
def node(ctx):
    """Serve a virtual node (see ``quantacore node --help``, which the simulator answers)."""
    from importlib.metadata import entry_points

    found = list(entry_points(group="quantacore.virtual_node", name="command"))
    missing = "The simulator is not installed; pip install 'quantacore[sim]'"
    if not found:
        raise click.ClickException(missing)
    try:
        command = found[0].load()
    except ImportError as error:
        raise click.ClickException(f"{missing} ({error})") from None
    return command.main(args=ctx.args, prog_name="quantacore node", standalone_mode=False)


# tags ----------------------------------------------------------------------------------------

@quantacore.command(short_help="Stream time tags and save them.", epilog=_examples(
    "quantacore tags --seconds 10m",
    "quantacore tags --port /dev/ttyUSB0 -c 0 -c 1 --out run.ptu",
    "quantacore tags --count 1000000 --edges both --out run.qct",
    "quantacore tags --port 'virtual:?source=poisson:1e6,ch0' --seconds 0.1"))
@_port(EXAMPLE_SOURCE)
@_takeover
@click.option("--channel", "-c", "channels", type=click.IntRange(0), multiple=True,
              help="Input to tag; may be repeated. All inputs if none is given.")
@click.option("--edges", type=click.Choice(["rising", "falling", "both"]), default="rising",
              show_default=True, help="Which edges to tag.")
@click.option("--seconds", "-s", type=_Quantity(), help="Stop after so long on the node's clock "
              "(10m is 10 milliseconds).")
@click.option("--count", "-n", type=_Quantity(), help="Stop after so many tags.")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Save: .qct (records as they "
              "come), .npz, .ptu or .csv (rising edges, picoseconds).")
def tags(port, takeover, channels, edges, seconds, count, out):
    """Stream time tags from a node, show rates, and save them.

    Without --seconds and --count, 20 ms on the node's clock are taken. Ctrl-C ends a run early
    and keeps what has come.
    """
    from pathlib import Path

    suffix = Path(out).suffix if out else None
    if suffix not in (None, ".qct", ".npz", ".ptu", ".csv"):
        raise click.BadParameter(f"a recording ends in .qct, .npz, .ptu or .csv, not {suffix!r}",
                                 param_hint="--out")
    if seconds is None and count is None:
        seconds = 0.02
    columns, state, counters, identity, blocks = _run(
        _stream(port, takeover, channels, edges, seconds, count, suffix == ".qct"))
    console = _console()
    span = 0.0
    if len(columns):
        span = float((int(columns.times.max()) - int(columns.times.min()))
                     * identity.tick_ps / 8192 / 10**12)
    rows = [(number, int((columns.channels == number).sum()),
             float((columns.channels == number).sum()) / span if span else 0.0)
            for number in sorted(set(columns.channels.tolist()))]
    console.print(_table(rows, ("input", "tags", "per second")))
    console.print(f"{len(columns)} tags in {span:.6f} s; the node saw {sum(counters.seen)} edges, "
                  f"dropped {sum(counters.in_dead_time)} for dead time, lost {state.lost} "
                  f"in {len(state.overflows)} overflows.")
    if state.lost:
        console.print("[yellow]Tags were lost: the link or this host is slower than the inputs. "
                      "Tag fewer channels, set a dead time, or use a faster port.[/]")
    if out and len(columns):
        _save(Path(out), columns, blocks, identity)
        console.print(f"Saved {out}")


def _save(out, columns, blocks, identity):
    import numpy as np

    from quantacore.host.tags.decode import ticks_to_ps
    from quantacore.host.tags.files import qct_header, write_tags

    tick = identity.tick_ps.numerator, identity.tick_ps.denominator
    if out.suffix == ".qct":
        with out.open("wb") as file:
            file.write(qct_header(*tick))
            for block in blocks:
                file.write(block.astype("<u8").tobytes())
        return
    rising = ~columns.falling
    times = ticks_to_ps(columns.times[rising], *tick)
    order = np.argsort(times, kind="stable")
    write_tags(out, times[order], columns.channels[rising][order], start_ps=int(times.min()))


async def _stream(port, takeover, channels, edges, seconds, count, keep_blocks):
    import asyncio
    import signal

    from quantacore.host.driver.node import Node
    from quantacore.host.tags.decode import Columns, DecodeState, decode

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    except (NotImplementedError, RuntimeError):
        pass  # no signals here (Windows, or not the main thread): Ctrl-C ends it the hard way
    state, batches, blocks = DecodeState(), [], []
    try:
        async with await Node.connect(port, takeover=takeover) as node:
            tagger = node.tagger
            await tagger.stop()
            await tagger.disable()
            await tagger.clear()
            await tagger.enable(*channels, edges=edges)
            ticks = None if seconds is None else node.units.ticks(seconds)
            with _progress() as progress:
                task = progress.add_task("tags", total=count if ticks is None else ticks)
                async with tagger.stream() as records:
                    await tagger.run()
                    # The span asked for begins when the node is known to tag.
                    begin = await node.timing.tick()
                    while not stop.is_set():
                        try:
                            block = await asyncio.wait_for(records.read(), 0.2)
                        except TimeoutError:
                            block = None
                        if block is not None:
                            blocks += [block] if keep_blocks else []
                            batches.append(decode(block, state))
                        passed = (int(batches[-1].times[-1]) >> 13) - begin \
                            if batches and len(batches[-1]) else 0
                        if block is None:
                            passed = await node.timing.tick() - begin
                        rate = state.tags / max(float(passed * node.identity.tick_ps) / 1e12, 1e-9)
                        progress.update(task, completed=state.tags if ticks is None else passed,
                                        description=f"{state.tags} tags, {rate:,.0f}/s, lost "
                                                    f"{state.lost}")
                        if ticks is not None and passed >= ticks or \
                                count is not None and state.tags >= count:
                            break
                    await tagger.stop()
                    rest = await records.read_pending()
                    blocks += [rest] if keep_blocks else []
                    batches.append(decode(rest, state))
                    counters = await tagger.counters()
            columns = Columns.join(batches)
            if ticks is not None:
                # What came after the time asked for was on its way already.
                keep = columns.times < (begin + ticks) << 13
                columns = Columns(times=columns.times[keep], channels=columns.channels[keep],
                                  falling=columns.falling[keep])
            if count is not None:
                end = int(count)
                columns = Columns(times=columns.times[:end], channels=columns.channels[:end],
                                  falling=columns.falling[:end])
            return columns, state, counters, node.identity, blocks
    finally:
        try:
            loop.remove_signal_handler(signal.SIGINT)
        except (NotImplementedError, RuntimeError):
            pass


# histogram -----------------------------------------------------------------------------------

@quantacore.command(short_help="Count intervals in the gateware.", epilog=_examples(
    "quantacore histogram --seconds 50m --out g2.svg",
    "quantacore histogram --start 0 --stop 3 --bin 62.5p --out delays.csv",
    "quantacore histogram --port /dev/ttyUSB0 --mode start_stop --seconds 10"))
@_port(EXAMPLE_SOURCE)
@_takeover
@click.option("--start", type=click.IntRange(0), default=0, show_default=True,
              help="Input that starts.")
@click.option("--stop", type=click.IntRange(0), default=1, show_default=True,
              help="Input that stops.")
@click.option("--mode", type=click.Choice(["all_pairs", "start_stop"]), default="all_pairs",
              show_default=True, help="Every pair, or the first stop after each start.")
@click.option("--bin", "bin_s", type=_Quantity(), default="62.5p", show_default=True,
              help="Bin width in seconds; a power of two fine units is taken.")
@click.option("--seconds", "-s", type=_Quantity(), default="20m", show_default=True,
              help="How long, on the node's clock.")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Save as .svg or .csv.")
def histogram(port, takeover, start, stop, mode, bin_s, seconds, out):
    """Let the node count intervals between two inputs, and read the picture.

    The counting is done in the gateware, so that no rate of photons is too high for the link.
    """
    import warnings
    from pathlib import Path

    suffix = Path(out).suffix if out else None
    if suffix not in (None, ".svg", ".csv"):
        raise click.BadParameter(f"a histogram ends in .svg or .csv, not {suffix!r}",
                                 param_hint="--out")

    async def measure():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            await node.tagger.stop()
            await node.tagger.disable()
            await node.tagger.clear()
            await node.tagger.enable(*{start, stop})
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always")
                await node.histogram.configure(start=start, stop=stop, mode=mode, bin_s=bin_s)
            for warning in raised:
                click.echo(str(warning.message), err=True)
            await node.histogram.run()
            ticks = node.units.ticks(seconds)
            begin = await node.timing.tick()
            await node.tagger.run()
            with _progress() as progress:
                task = progress.add_task("counting", total=ticks)
                passed = 0
                while passed < ticks:
                    passed = await node.timing.tick() - begin
                    progress.update(task, completed=min(passed, ticks))
            await node.tagger.stop()
            await node.histogram.stop()
            return await node.histogram.read(), passed * node.identity.tick_ps

    data, duration_ps = _run(measure())
    console = _console()
    console.print(_table([
        ("Starts", data.starts), ("Stops", data.stops), ("Pairs in range", data.pairs),
        ("Bin", f"{float(data.bin_fine * data.fine_ps):g} ps"),
        ("Range", f"{float(data.edge_ps(0)) / 1000:,.3f} to "
                  f"{float(data.edge_ps(len(data.counts))) / 1000:,.3f} ns"),
        ("Edges not correlated", data.edges_lost), ("Edges forgotten", data.pairs_lost),
        ("Duration", f"{float(duration_ps) / 1e12:.6f} s"),
    ]))
    if data.edges_lost or data.pairs_lost:
        console.print("[yellow]The histogram is incomplete: take wider bins or lower rates.[/]")
    if out:
        _save_histogram(Path(out), data, start, stop)
        console.print(f"Saved {out}")


def _save_histogram(out, data, start, stop):
    import numpy as np

    edges_ps = np.array([float(data.edge_ps(index)) for index in range(len(data.counts) + 1)])
    if out.suffix == ".csv":
        rows = np.column_stack([edges_ps[:-1], data.counts])
        np.savetxt(out, rows, fmt=("%.6f", "%d"), delimiter=",", header="from_ps,pairs",
                   comments="")
        return
    from quantacore.host.plot import Figure

    figure = Figure(f"Intervals from input {start} to input {stop}", x_label="interval (ns)",
                    y_label=f"pairs per {float(data.bin_fine * data.fine_ps):g} ps")
    figure.steps(edges_ps / 1000, data.counts, fill=True).steps(edges_ps / 1000, data.counts)
    out.write_text(figure.svg(standalone=True), encoding="utf-8")


# replay and demo -----------------------------------------------------------------------------

def _print_checks(console, checks):
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for heading, justify in (("", "left"), ("comparison", "left"), ("got", "right"),
                             ("expected", "right"), ("note", "left")):
        table.add_column(heading, justify=justify, overflow="fold")
    for check in checks:
        table.add_row("[green]ok[/]" if check.passed else "[red]differs[/]", check.name,
                      _cell(check.got), _cell(check.expected), check.note)
    console.print(table)


@quantacore.command(short_help="Play a recording through a node and compare.", epilog=_examples(
    "quantacore replay run.ptu",
    "quantacore replay --part 50m --report run.html run.timeres.xz",
    "quantacore replay --port /dev/pts/3 run.ptu      # the node must see that recording"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--port", "-p", metavar="URL", help="A node whose inputs see this recording from "
              "the moment it runs; by default a virtual node that replays it.")
@_takeover
@click.option("--part", type=_Quantity(), help="Take so many seconds from the start.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write an HTML report there.")
def replay(file, port, takeover, part, report):
    """Play a recording through a node and compare what comes back, tag for tag.

    FILE is a PicoQuant .ptu/.timeres (T2 or T3), a quTAG binary, a QuantaCore .npz or .qct, or a
    CSV of time in ps and channel; .xz, .gz and .bz2 are undone. The exit code is 3 if something
    differs without an explanation.
    """
    import tempfile
    from pathlib import Path

    from quantacore.host.demo import compare, demo_report, play_recording, prepare
    from quantacore.host.tags.files import read_tags, write_tags

    console = _console()
    duration_ps = None if part is None else round(part * 1e12)

    async def drive(url, recording):
        from quantacore.host.driver.node import Node

        with _progress() as progress:
            task = progress.add_task("", total=len(recording.times_ps))
            async with await Node.connect(url, takeover=takeover) as node:
                return await play_recording(
                    node, recording,
                    progress=lambda count, _: progress.update(task, completed=count,
                                                              description=f"{count} tags"))

    with tempfile.TemporaryDirectory(prefix="quantacore-") as folder:
        recording = prepare(read_tags(file), duration_ps=duration_ps)
        for note in recording.notes:
            console.print(note)
        if port is None:
            path = Path(folder) / "replay.npz"
            write_tags(path, recording.times_ps, recording.channels)
            port = f"virtual:?source=replay:{path}"
        played = _run(drive(port, recording))
    comparison = compare(recording, played)
    _print_checks(console, comparison.checks)
    if report:
        demo_report(recording, played, comparison).write(report)
        console.print(f"Report: {report}")
    if not comparison.passed:
        raise click.exceptions.Exit(DIFFERENCE)


@quantacore.command(short_help="Photons through real gateware, with a report.", epilog=_examples(
    "quantacore demo",
    "quantacore demo --full --out report.html",
    "quantacore demo --file run.qutag --part 0.1"))
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False),
              help="Recording to play. Without it: the first one in timetags_hbt/ of the folder "
                   "QUANTACORE_DATA or ../shared/data; else the emitter model writes one.")
@click.option("--full", is_flag=True, help="Take all of the recording (a second of it is 125 "
              "million clock cycles).")
@click.option("--part", type=_Quantity(), help="Take so many seconds from the start (default: "
              "0.25, and at most two minutes on the wall).")
@click.option("--out", "-o", type=click.Path(dir_okay=False), default="quantacore-demo.html",
              show_default=True, help="Where the report goes.")
@click.option("--seed", type=int, default=2026, show_default=True, help="Of the photon models.")
@click.option("--attempts", type=click.IntRange(0), default=2000, show_default=True,
              help="Attempts at entanglement of three virtual nodes, at each setting; 0: none.")
def demo(file, full, part, out, seed, attempts):
    """Play photons through real gateware and back, compare, and write a report.

    Builds and starts a virtual node as another process on a pseudo-terminal, drives it with the
    ordinary driver, replays a recording into its detector inputs, streams the tags back, and
    compares them with the file count for count: tags, times in picoseconds, all coincidences, and
    the gateware's own histogram. Then three more virtual nodes, two with an emitter and a station
    between them, herald entanglement with two protocols, and how often they succeed is compared
    with the textbook. The exit code is 3 if something differs without an explanation.
    """
    from quantacore.host.demo import DEFAULT_PART_PS, run_demo

    if full and part is not None:
        raise click.UsageError("Give --full or --part, not both")
    duration_ps = None if full else DEFAULT_PART_PS if part is None else round(part * 1e12)
    console = _console()
    with _progress() as progress:
        task = progress.add_task("", total=1.0)
        report, comparison, played = run_demo(
            file, output=out, duration_ps=duration_ps, seed=seed, attempts=attempts,
            budget_s=120.0 if not full and part is None else None,
            status=progress.console.print,
            progress=lambda fraction, count: progress.update(
                task, completed=fraction, description=f"{count} tags"))
    _print_checks(console, report.checks)
    console.print(f"{len(played.columns)} tags in {played.wall_s:.1f} s, "
                  f"{played.ticks / max(played.wall_s, 1e-9) / 1e6:.2f} million cycles per second. "
                  f"Report: {out}")
    if not report.passed:
        raise click.exceptions.Exit(DIFFERENCE)


quantacore.add_command(decode)
_register_sequencer(fw)
quantacore.add_command(fw)
quantacore.add_command(switch)
quantacore.add_command(herald)


def main():
    """Entry point of the ``quantacore`` script."""
    # `--debug` may stand anywhere, not only before the command.
    arguments = sys.argv[1:]
    if "--debug" in arguments[1:] and "--" not in arguments and arguments[:1] != ["node"]:
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    quantacore(args=arguments, prog_name="quantacore")


if __name__ == "__main__":
    main()
