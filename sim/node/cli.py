"""`quantacore node`: a virtual node that other programs use like a board."""

import logging
import threading

import click
from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.table import Table

from quantacore.gateware.layouts.peer import PEER_LANES
from quantacore.gateware.layouts.sequencer import CHANNELS
from quantacore.gateware.layouts.switches import MAX_SWITCHES
from quantacore.gateware.layouts.tags import MAX_CHANNELS, SAMPLES_PER_CLOCK
from quantacore.sim.node.build import BuildError, BuildProgress
from quantacore.sim.node.engine import Engine, EngineFailed
from quantacore.sim.node.options import node_options
from quantacore.sim.node.server import ServeError, serve
from quantacore.sim.node.sources import GRAMMAR
from quantacore.sim.node.verilate import ToolMissing

__all__ = ["node_command"]

_SI = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

_EPILOG = f"""\
\b
SOURCES
{GRAMMAR}

\b
REFERENCES (--pps, --ref10m, --reference)
on                                 ideal
ppm=X,jitter=PS,phase=PS,lost=A-B  any of these: the node's clock is X ppm fast; edges jitter;
                                   edges from A to B (ps) are missing
period=PS                          --reference needs it: time between pulses

\b
EXAMPLES
quantacore node --symlink /tmp/qc0 --source poisson:1e6,ch0
quantacore node --tcp 7000 --source emitter:2e8,lifetime=3000,efficiency=0.01
quantacore node --link uart --baud 3000000 --pps ppm=4.2,jitter=20000
quantacore node --distance 5 --tcp 7000
quantacore node --sequencer 8 --tcp 7000
quantacore info --port /tmp/qc0        (in another terminal)
"""


def _short(value, unit):
    for factor, letter in _SI:
        if value >= factor:
            return f"{value / factor:.2f} {letter}{unit}"
    return f"{value:.0f} {unit}"


def _status_line(server, config):
    status = server.live.status
    seconds = float(status["ticks"] * config.tick_ps) * 1e-12
    table = Table.grid(padding=(0, 2))
    lost = status["front_end_merged"]
    table.add_row(
        f"[bold]{seconds:.6f} s[/] simulated",
        _short(status["cycles_per_s"], "cycles/s"),
        f"in {_short(status['bytes_to_node'], 'B')}",
        f"out {_short(status['bytes_to_host'], 'B')}",
        f"{_short(status['edges'], 'edges')}",
        f"[yellow]{lost} merged[/]" if lost else "0 merged",
        f"host {server.connected}" if server.connected else "[dim]no host[/]",
    )
    return table


def _show(server, config, console):
    """Keep the status line up to date until the server stops."""
    if not console.is_terminal:
        return lambda: None
    over = threading.Event()

    def refresh():
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            while not over.wait(0.25):
                live.update(_status_line(server, config))

    thread = threading.Thread(target=refresh, name="status", daemon=True)
    thread.start()

    def stop():
        over.set()
        thread.join()

    return stop


@click.command("node", epilog=_EPILOG,
               context_settings={"max_content_width": 100, "show_default": True})
@click.option("--samples", type=click.Choice([str(n) for n in SAMPLES_PER_CLOCK]), default="4",
              help="Samples per clock of every input.")
@click.option("--channels", type=click.IntRange(1, MAX_CHANNELS), default=MAX_CHANNELS,
              help="Detector inputs.")
@click.option("--fine/--no-fine", default=True,
              help="Front ends that measure inside a sample, or not.")
@click.option("--link", type=click.Choice(["pipe", "uart"]), default="pipe",
              help="pipe: bytes at full simulation speed. uart: bit by bit at --baud.")
@click.option("--baud", type=click.IntRange(min=1), default=3_000_000,
              help="Rate of the UART, bits per second (only with --link uart).")
@click.option("--pty", "as_pty", is_flag=True,
              help="Serve a pseudo-terminal, to be used like a serial port (the default).")
@click.option("--symlink", type=click.Path(dir_okay=False),
              help="Make this link to the pseudo-terminal, so that its name is known.")
@click.option("--tcp", type=click.IntRange(0, 65535), metavar="PORT",
              help="Serve TCP on this port instead (0: any free one).")
@click.option("--address", default="127.0.0.1", help="Address to listen on with --tcp.")
@click.option("--source", "sources", multiple=True, metavar="SOURCE",
              help="What the detectors see; may be given several times. See below.")
@click.option("--pps", metavar="REFERENCE", help="Drive the pulse-per-second input. See below.")
@click.option("--ref10m", metavar="REFERENCE", help="Drive the 10 MHz input. See below.")
@click.option("--reference", metavar="REFERENCE",
              help="Drive the herald unit's reference input. See below.")
@click.option("--decoder", type=click.Path(exists=True, dir_okay=False), metavar="IMAGE",
              help="Build the node with a syndrome decoder that takes this image (quantacore "
              "decode compile writes one). The host still has to load it.")
@click.option("--distance", type=click.IntRange(3, 21),
              help="Build it with a decoder for a rotated surface code of this distance.")
@click.option("--sequencer", type=click.IntRange(1, CHANNELS), metavar="CHANNELS",
              help="Build it with a pulse sequencer of so many channels.")
@click.option("--herald/--no-herald", default=False,
              help="Build it with a herald unit (needs --sequencer).")
@click.option("--switches", type=click.IntRange(1, MAX_SWITCHES), metavar="SWITCHES",
              help="Build it with the control of so many photonic switches.")
@click.option("--lanes", type=click.Choice([str(lanes) for lanes in PEER_LANES]),
              help="Build the herald unit with two ports to peers, of so many data lines.")
@click.option("--drive", type=click.Choice(["pulse", "toggle"]), default="pulse",
              help="pulse: a photon is a pulse. toggle: a photon inverts the level (tag both "
              "edges); it resolves photons one sample apart instead of two.")
@click.option("--pulse-samples", type=click.IntRange(min=1), default=2,
              help="Length of a pulse in samples.")
@click.option("--start-on", type=click.Choice(["run", "reset"]), default="run",
              help="Sources start when tagging starts, or at once.")
@click.option("--seed", type=int, default=0, help="Seed of all sources.")
@click.option("--stall", type=click.Choice(["wait", "line"]), default="wait",
              help="When the host does not read. wait: simulated time stands. line: it goes on, "
              "and the node's buffer fills.")
@click.option("--rebuild-quietly", is_flag=True, help="No progress display while building.")
def node_command(samples, channels, fine, link, baud, as_pty, symlink, tcp, address, sources, pps,
                 ref10m, reference, decoder, distance, sequencer, herald, switches, lanes, drive,
                 pulse_samples, start_on, seed, stall, rebuild_quietly):
    """Run a virtual node and serve it like a board.

    The node is the real gateware, compiled to a program the first time (about a minute; after
    that it starts at once) and clocked cycle by cycle. Another program opens the printed port.
    Ctrl-C ends it.

    Simulated time goes as fast as the computer can while photons are still to come or bytes are
    on their way, and stands otherwise.
    """
    console = Console(stderr=True)
    if tcp is not None and (symlink or as_pty):
        raise click.UsageError("--tcp serves TCP, --pty and --symlink a pseudo-terminal: choose "
                               "one")
    logging.basicConfig(level=logging.INFO, format="%(message)s",
                        handlers=[RichHandler(console=console, show_path=False)])
    progress = None if rebuild_quietly or not console.is_terminal \
        else BuildProgress.rich(console)
    try:
        options = node_options(
            samples=int(samples), channels=channels, fine=fine, link=link,
            baud=baud if link == "uart" else None, sources=_read(sources, seed), pps=pps,
            ref10m=ref10m, reference=reference, decoder=decoder, distance=distance,
            sequencer=sequencer, herald=herald, switches=switches, lanes=lanes, drive=drive,
            pulse_samples=pulse_samples, start_on=start_on, seed=seed, stall=stall)
        engine = Engine(progress=progress, **options)
    except (ToolMissing, BuildError, ValueError, TypeError) as error:
        raise click.ClickException(str(error)) from None
    config = engine.config
    stop = [lambda: None]

    def ready(server):
        # The one line on standard output: what to open.
        click.echo(server.url)
        console.print(f"virtual node: {channels} channels, {samples} samples per clock of "
                      f"{float(config.tick_ps) / 1000:g} ns, link {link}"
                      f"{', with a decoder' if config.decoder else ''}"
                      f"{f', sequencer of {sequencer} channels' if sequencer else ''}"
                      f"{', with a herald unit' if herald else ''}"
                      f"{f', {switches} switches' if switches else ''}; "
                      f"Ctrl-C ends it",
                      highlight=False)
        stop[0] = _show(server, config, console)

    try:
        serve(engine, tcp=tcp, address=address, symlink=symlink, ready=ready)
    except (ServeError, EngineFailed) as error:
        raise click.ClickException(str(error)) from None
    finally:
        stop[0]()
        engine.close()


def _read(sources, seed):
    """Sources from the command line; files that are not NumPy's go to the readers plugged in."""
    from importlib.metadata import entry_points

    import numpy as np

    from quantacore.sim.node.sources import parse_source
    from quantacore.sim.photonics.sources import Replay

    result = []
    for k, text in enumerate(sources):
        kind, _, path = text.partition(":")
        if kind == "replay" and not path.endswith(".npz"):
            readers = list(entry_points(group="quantacore.tag_readers"))
            if not readers:
                raise ValueError(f"Source {text!r}: no reader for this kind of file is installed; "
                                 f"convert it to .npz with arrays times_ps and channels")
            times_ps, channels = readers[0].load()(path)
            result.append(Replay(times_ps, channels))
        else:
            result.append(parse_source(text, np.random.default_rng([seed, k])))
    return result
