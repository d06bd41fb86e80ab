"""``quantacore decode``: compile decoder images, run shots through a node, compare."""

import click

from quantacore.host.console import (
    console,
    examples,
    port_option,
    progress,
    run,
    table,
    takeover_option,
)

__all__ = ["decode"]

#: Ticks in a bin of the latency histogram: 64 of them are some windows of distance 7.
_LATENCY_BIN = 64

_SOURCES = """\
\b
SOURCE is one of
  FILE.stim                         a Stim circuit
  FILE.dem                          a Stim detector error model
  CODE:TASK,d=D,p=P,rounds=R        a code that Stim generates, for example
                                    surface_code:rotated_memory_z,d=5,p=0.004
                                    (every kind of noise P, 0.003 by default; 3 D rounds)
"""


@click.group(short_help="Decode syndromes in gateware.", epilog=examples(
    "quantacore decode compile surface_code:rotated_memory_z,d=5,p=0.004 -o d5.qcdi",
    "quantacore decode info d5.qcdi",
    "quantacore decode run d5.qcdi surface_code:rotated_memory_z,d=5,p=0.004,rounds=25"))
def decode():
    """Compile a code for the streaming decoder, run shots through it, compare with matching.

    The decoder is gateware. It is loaded with an *image* that `compile` makes of a circuit or an
    error model, and takes one round after the other, for ever: it decodes windows of rounds,
    commits the early ones and keeps the rest for the next window. `run` sends shots to a node (by
    default a virtual one, built with a decoder of the image's shape), takes the corrections,
    counts logical errors, and lets PyMatching decode the same shots.

    What is too hard for the gateware (a cluster of more than 14 defects, say) *escapes*: the host
    decodes those few defects and adds its answer. docs/decoder-link.md tells who does what.
    """


def _image(path):
    from pathlib import Path

    from quantacore.gateware.layouts.decoder import DecoderImage

    return DecoderImage.from_bytes(Path(path).read_bytes())


def _shape_rows(shape):
    return [
        ("Spaces per layer and basis", f"up to {1 << shape.space_bits}"),
        ("Layers in a window", f"up to {1 << shape.time_bits}"),
        ("Defects in a window", f"up to {shape.capacity} of a basis"),
        ("Largest exact cluster", f"{shape.cluster} defects"),
        ("Observables", shape.observables),
        ("Second pass (correlations)", shape.correlation),
        ("Erasure sites per round", shape.sites),
    ]


def _print_image(out, image, *, fit=True):
    from dataclasses import asdict

    from quantacore.gateware.layouts.decoder import BASES, Table
    from quantacore.host.driver.decoder import image_identity
    from quantacore.host.qec.capacity import fit as fit_report

    about, settings = image.about, image.settings
    source = about.get("source", {})
    out.print(table([
        ("Source", source.get("name") or source.get("kind", "unknown")),
        ("Kind", about.get("kind", "unknown")),
        ("Distance", about.get("distance") or "unknown"),
        ("Window", f"{settings['commit']} layers committed, {settings['buffer']} looked ahead"),
        ("Reach of correlations", settings["reach"]),
        ("Identity", f"{image_identity(image):08x}"),
        *_shape_rows(image.shape),
    ]))
    rows = []
    for name in Table:
        used = [len(image.tables.get((basis, name), ())) for basis in range(BASES)]
        if image.shape.table_depth(name):
            rows.append((name.name, *used, image.shape.table_depth(name)))
    out.print(table(rows, ("table", "basis 0", "basis 1", "room")))
    out.print("shape: " + ", ".join(f"{k}={v}" for k, v in asdict(image.shape).items()))
    if fit:
        out.print(str(fit_report(image)))
    for warning in about.get("warnings", ()):
        out.print(f"[yellow]warning: {warning}[/]")


# compile -------------------------------------------------------------------------------------

@decode.command("compile", short_help="Make an image of a circuit or model.",
                epilog=_SOURCES + "\n\n" + examples(
                    "quantacore decode compile surface_code:rotated_memory_z,d=5,p=0.004 "
                    "-o d5.qcdi",
                    "quantacore decode compile memory.stim -o memory.qcdi --commit 7 --buffer 7",
                    "quantacore decode compile measured.dem -o measured.qcdi --kind full",
                    "quantacore decode compile memory.stim -o m.qcdi --for-node /dev/ttyUSB0"))
@click.argument("source")
@click.option("--out", "-o", type=click.Path(dir_okay=False), required=True,
              help="The image file.")
@click.option("--kind", type=click.Choice(["auto", "periodic", "full"]), default="auto",
              show_default=True, help="periodic: one table for every round, for shots of any "
              "length. full: one table of all detectors, for this one circuit.")
@click.option("--commit", type=click.IntRange(1, 32), help="Layers that a window commits "
              "(default: by the distance).")
@click.option("--buffer", type=click.IntRange(0, 31), help="Layers that it looks ahead.")
@click.option("--reach", type=click.IntRange(0, 254), help="How far correlations reach.")
@click.option("--capacity", type=click.Choice(["8", "16", "32", "64"]),
              help="Defects of a basis in a window.")
@click.option("--cluster", type=click.IntRange(2, 14), help="Largest exactly matched cluster.")
@click.option("--no-correlation", is_flag=True, help="Leave the second pass out: a smaller node.")
@click.option("--for-node", metavar="URL", help="Compile for the decoder that this node has.")
@takeover_option
def compile_(source, out, kind, commit, buffer, reach, capacity, cluster, no_correlation,
             for_node, takeover):
    """Make a decoder image of SOURCE, and say what it takes.

    Prints the shape (what a node must be built with), the tables, and which FPGAs have the block
    RAM for it.
    """
    from pathlib import Path

    from quantacore.host.qec.experiment import read_source

    options = {"kind": kind, "commit": commit, "buffer": buffer, "reach": reach}
    if for_node:
        if capacity or cluster or no_correlation:
            raise click.UsageError("--for-node takes the node's shape: leave --capacity, "
                                   "--cluster and --no-correlation out")
        options["shape"] = run(_shape_of_node(for_node, takeover))
    else:
        options |= {"capacity": int(capacity) if capacity else None, "cluster": cluster,
                    "correlation": not no_correlation}
    image = read_source(source).compile(**{name: value for name, value in options.items()
                                           if value is not None})
    Path(out).write_bytes(image.to_bytes())
    _print_image(console(), image)
    console().print(f"Image: {out}")


async def _shape_of_node(url, takeover):
    from quantacore.host.driver.node import Node

    async with await Node.connect(url, takeover=takeover) as node:
        return await node.decoder.shape()


# run -----------------------------------------------------------------------------------------

@decode.command("run", short_help="Send shots through a node and count errors.",
                epilog=_SOURCES + "\n\n" + examples(
                    "quantacore decode run d5.qcdi surface_code:rotated_memory_z,d=5,p=0.004",
                    "quantacore decode run d5.qcdi memory.stim --shots 20000 --plot latency.svg",
                    "quantacore decode run d5.qcdi memory.dem --file shots.b8 --observables obs.b8",
                    "quantacore decode run d5.qcdi memory.stim --port /dev/ttyUSB0"))
@click.argument("image", type=click.Path(exists=True, dir_okay=False))
@click.argument("source")
@click.option("--port", "-p", metavar="URL", envvar="QUANTACORE_PORT",
              help="Which node. By default a virtual node that is built with the image's decoder "
              "(the first time takes minutes).")
@takeover_option
@click.option("--shots", "-n", type=click.IntRange(1), help="Shots to sample, or to take from the "
              "file.  [default: 1000, or all]")
@click.option("--seed", type=int, help="Seed of the sampling.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False),
              help="Detection events of Stim's formats (.b8, .01, .dets, .hits, .r8, .ptb64) "
              "instead of sampling.")
@click.option("--observables", type=click.Path(exists=True, dir_okay=False),
              help="The true flips, a file of the same formats.")
@click.option("--appended", is_flag=True, help="The true flips are in --file, behind the "
              "detectors.")
@click.option("--ahead", type=click.IntRange(1), help="Let at most about so many rounds wait in "
              "the node; what waits there adds to the latency.  [default: a window]")
@click.option("--no-compare", is_flag=True, help="Don't let PyMatching decode them too.")
@click.option("--no-correlation", is_flag=True, help="Switch the second pass off.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the latency histogram: .svg, "
              "or .html for a page with the figures too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def run_(image, source, port, takeover, shots, seed, file, observables, appended, ahead,
         no_compare, no_correlation, plot, as_json):
    """Decode shots of SOURCE with a node that is loaded with IMAGE.

    Prints how many shots each decoder got wrong (error bars are one standard deviation), what was
    left to the host, and how long rounds waited for their verdict. SOURCE must be what the image
    was compiled for, with any number of rounds for a periodic one.

    Rounds come as fast as the link brings them, --ahead of the decoder. The latency of a round is
    from the arrival of the last round that its window needs to the verdict, waiting included.
    """
    from pathlib import Path
    from urllib.parse import quote

    from quantacore.host.qec.experiment import matching_flips, read_shots, read_source, score

    if plot and Path(plot).suffix not in (".svg", ".html"):
        raise click.BadParameter(f"a plot ends in .svg or .html, not {Path(plot).suffix!r}",
                                 param_hint="--plot")
    if file is None and (observables or appended):
        raise click.UsageError("--observables and --appended go with --file")
    loaded, found = _image(image), read_source(source)
    if file is None:
        taken = found.sample(shots or 1000, seed)
    else:
        taken = read_shots(file, found.model, observables=observables, appended=appended)
        if shots:
            taken = taken.first(shots)
    url = port or f"virtual:?channels=1&samples=1&decoder={quote(str(Path(image).resolve()))}"
    window = loaded.settings["commit"] + loaded.settings["buffer"]
    result = run(_decode(url, takeover, loaded, found, taken, not no_correlation,
                         ahead or window))
    scores = []
    if taken.flips is not None:
        scores.append(score("this decoder", result["flips"], taken))
        if result["escaped"]:
            scores.append(score("without the host's part", result["plain"], taken))
        if not no_compare:
            scores.append(score("PyMatching", matching_flips(found.model, taken), taken))
    if as_json:
        click.echo(_json(result, scores))
    else:
        _print_run(console(), result, scores, not no_compare)
    if plot:
        _plot(Path(plot), result, scores, found.name)
        if not as_json:
            console().print(f"Plot: {plot}")


async def _decode(url, takeover, image, source, shots, correlation, ahead):
    from quantacore.host.driver.node import Node
    from quantacore.host.qec.escapes import EscapeDecoder
    from quantacore.host.qec.experiment import erasures_of, shot_layers_of

    layers = shot_layers_of(image, source, shots)
    erasures = erasures_of(image, source, shots)
    escapes = EscapeDecoder(image, source.model)
    decoded = []
    with progress() as bars:
        task = bars.add_task("connecting", total=None)
        async with await Node.connect(url, takeover=takeover) as node:
            bars.update(task, description="loading the image")
            await node.decoder.load(image, progress=lambda done, total: bars.update(
                task, completed=done, total=total))
            if not correlation:
                await node.decoder.configure(correlation=False)
            async with node.decoder as decoder:
                await decoder.set_latency_bin(_LATENCY_BIN)
                bars.update(task, description="decoding", completed=0, total=len(layers))
                step = 64
                for begin in range(0, len(layers), step):
                    decoded += await decoder.decode_shots(
                        layers[begin:begin + step], ahead=ahead,
                        erasures=None if erasures is None else erasures[begin:begin + step])
                    bars.update(task, completed=len(decoded),
                                description=f"{len(decoded)} shots")
                counters = await decoder.counters()
                latency = await decoder.latency()
                flags = await decoder.flags()
    import numpy as np

    windows = [window for shot in decoded for window in shot.windows]
    clocks = np.array([window.clocks for window in windows])
    return {
        "flips": escapes.flips(decoded), "escaped": escapes.decoded, "shots": decoded,
        "plain": np.array([shot.observables(escapes.observables) for shot in decoded]),
        "counters": counters, "latency": latency, "flags": flags, "clocks": clocks,
        "rounds": layers.shape[2], "tick_s": float(node.units.tick_ps) * 1e-12,
    }


def _facts(result):
    counters, latency = result["counters"], result["latency"]
    clocks = result["clocks"]
    tick_ns = result["tick_s"] * 1e9
    return [
        ("Shots", len(result["shots"])), ("Rounds per shot", result["rounds"]),
        ("Windows (both bases)", counters.verdicts),
        ("Windows with a second pass", counters.second_passes),
        ("Windows left to the host in part", result["escaped"]),
        ("Defects left to the host", counters.escapes),
        ("Windows that overflowed", counters.overflows),
        ("Rounds lost", counters.lost),
        ("Clocks per window, mean", float(clocks.mean()) if len(clocks) else 0.0),
        ("Clocks per window, longest", counters.clocks_max),
        ("Latency, half of the rounds below", f"{latency.quantile_s(0.5) * 1e6:g} us"),
        ("Latency, 99 % below", f"{latency.quantile_s(0.99) * 1e6:g} us"),
        ("Latency, longest", f"{counters.latency_max * tick_ns / 1e3:g} us"),
        ("Most rounds waiting", counters.backlog_max),
    ]


def _print_run(out, result, scores, compared):
    if scores:
        rows = [(one.name, one.errors, f"{one.rate:.3e}", f"{one.low:.3e} to {one.high:.3e}")
                for one in scores]
        out.print(table(rows, ("decoder", "wrong shots", "rate per shot", "one sigma")))
        if compared and scores[-1].errors:
            out.print(f"This decoder makes {scores[0].errors / scores[-1].errors:.3f} times the "
                      f"errors of PyMatching on these shots.")
    else:
        out.print("The true flips are not known (--observables), so errors can't be counted.")
    out.print(table(_facts(result)))
    latency = result["latency"]
    total = latency.counts.sum()
    if total:
        used = latency.counts.nonzero()[0]
        most = latency.counts.max()
        rows = []
        for at in range(int(used[0]), int(used[-1]) + 1):
            edge = latency.edges_s[at + 1] * 1e6
            name = f"below {edge:g} us" if at < len(latency.counts) - 1 else "longer"
            rows.append((name, int(latency.counts[at]),
                         "#" * round(40 * int(latency.counts[at]) / int(most))))
        out.print(table(rows, ("latency", "rounds x bases", "")))
    if result["flags"]:
        out.print(table([(name, count, f"{at:.9f} s") for name, (count, at) in
                         result["flags"].items()], ("flag", "times", "first at")))


def _json(result, scores):
    import json
    from dataclasses import asdict

    return json.dumps({
        "scores": [{"name": s.name, "shots": s.shots, "errors": s.errors, "rate": s.rate,
                    "low": s.low, "high": s.high} for s in scores],
        "rounds": result["rounds"], "counters": asdict(result["counters"]),
        "escaped_windows_decoded": result["escaped"],
        "clocks_mean": float(result["clocks"].mean()) if len(result["clocks"]) else None,
        "latency": {"bin_ticks": result["latency"].bin_ticks,
                    "tick_s": result["tick_s"],
                    "counts": result["latency"].counts.tolist()},
        "flags": result["flags"]}, indent=1)


def _plot(path, result, scores, name):
    from quantacore.host.plot import Figure

    latency = result["latency"]
    used = latency.counts.nonzero()[0]
    end = int(used[-1]) + 1 if len(used) else 1
    edges, counts = latency.edges_s[:end + 1] * 1e6, latency.counts[:end]
    figure = Figure(f"Latency of rounds, {name}", x_label="latency (us)",
                    y_label=f"rounds per {latency.bin_ticks} ticks")
    figure.steps(edges, counts, fill=True).steps(edges, counts)
    if path.suffix == ".svg":
        path.write_text(figure.svg(standalone=True), encoding="utf-8")
        return
    from quantacore.host.report import Report

    report = Report(f"Decoder run: {name}")
    if scores:
        report.table("Logical errors", [
            (one.name, one.errors, f"{one.rate:.3e}", f"{one.low:.3e} to {one.high:.3e}")
            for one in scores], headings=("decoder", "wrong shots", "rate per shot", "one sigma"))
    report.figure("Latency", figure, caption="From the arrival of the last round that a window "
                  "needs to its verdict; each round counts once for each basis.")
    report.table("What happened", _facts(result))
    report.write(path)


# info ----------------------------------------------------------------------------------------

@decode.command("info", short_help="What an image or a node's decoder is.", epilog=examples(
    "quantacore decode info d5.qcdi",
    "quantacore decode info --port /dev/ttyUSB0",
    "quantacore decode info --port 'virtual:?distance=5'"))
@click.argument("image", type=click.Path(exists=True, dir_okay=False), required=False)
@port_option()
@takeover_option
def info(image, port, takeover):
    """Say what IMAGE is and takes; without it, what a node's decoder holds and has done."""
    out = console()
    if image:
        _print_image(out, _image(image))
        return
    from dataclasses import asdict

    async def ask():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            decoder = node.decoder
            return (await decoder.shape(), await decoder.settings(), await decoder.counters(),
                    await decoder.flags())

    shape, settings, counters, flags = run(ask())
    out.print(table(_shape_rows(shape)))
    values = asdict(settings) | {"image_id": f"{settings.image_id:08x}"
                                 if settings.image_id else "none loaded"}
    out.print(table([(name.replace("_", " "), value) for name, value in values.items()]))
    out.print(table([(name.replace("_", " "), value)
                     for name, value in asdict(counters).items()]))
    if flags:
        out.print(table([(name, count, f"{at:.9f} s") for name, (count, at) in flags.items()],
                        ("flag", "times", "first at")))
