"""``quantacore fw load | run | slots | stop``: programs on a node."""

import click

from quantacore.host.console import console, examples, progress, run, table, takeover_option
from quantacore.host.firmware_cli import assignments, define_option, read_program

__all__ = ["register"]

#: Node of those who name none: one that is built quickly.
_DEFAULT_PORT = "virtual:?channels=1&samples=1&fine=no&train=no&sequencer=8"
#: Longest run that is waited for where the program has no bound, in seconds of the node's time.
_PATIENCE_S = 10.0
#: A bound is not waited for to the tick.
_MARGIN_S = 0.001

_port_option = click.option(
    "--port", "-p", metavar="URL", default=_DEFAULT_PORT, envvar="QUANTACORE_PORT",
    show_default=True,
    help="Which node: /dev/ttyUSB0 or COM3, tcp:HOST:PORT, virtual:?sequencer=CHANNELS.")
_unproven_option = click.option(
    "--unproven", is_flag=True, help="Take the program even if its timeline is not proven. The "
    "sequencer stays safe (it stops at what it may not do), but pulses may be cut.")
_slot_option = click.option("--slot", type=click.IntRange(0, 1),
                            help="Which slot (default: the one that is not active).")


def register(group):
    """Add the commands that talk to a node to the group ``quantacore fw``."""
    for command in (load, run_, slots, stop):
        group.add_command(command)


def _image(source, defines, unproven):
    """The image of a program or image file, and its proof; refused if it is not proven."""
    from quantacore.firmware import Image, prove

    assembly = read_program(source, defines)
    for warning in getattr(assembly, "warnings", ()):
        click.echo(str(warning), err=True)
    proof = prove(assembly)
    if not unproven:
        proof.check()
    for finding in [*proof.warnings, *proof.errors]:
        click.echo(str(finding), err=True)
    return Image.from_assembly(assembly, proof), proof


async def _load(bars, sequencer, image, slot, **options):
    task = bars.add_task(f"loading {image.name}", total=None)
    result = await sequencer.load(
        image, slot, progress=lambda done, total: bars.update(task, completed=done, total=total),
        **options)
    bars.remove_task(task)
    return result


# load ----------------------------------------------------------------------------------------

@click.command("load", short_help="Put a program into a node.", epilog=examples(
    "quantacore node --sequencer 8 --tcp 7000           (in another terminal)",
    "quantacore fw load rabi --port tcp:localhost:7000",
    "quantacore fw load my.qcfw --port /dev/ttyUSB0 --slot 1 --no-activate",
    "quantacore fw load my.qcfw --port /dev/ttyUSB0 --trial 60"))
@click.argument("source")
@_port_option
@takeover_option
@define_option
@_slot_option
@click.option("--no-activate", is_flag=True, help="Load it only; what runs stays active.")
@click.option("--trial", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Activate it on trial: the node goes back to the other slot at a fault, or if "
              "nobody confirms (quantacore fw slots --confirm) in that time.")
@_unproven_option
def load(source, port, takeover, defines, slot, no_activate, trial, unproven):
    """Put SOURCE (a program, an image, or the name of a shipped one) into a slot of a node.

    A program is assembled and proven first. The node compares length and CRC, and never runs what
    did not arrive whole. A program that runs in the other slot is not disturbed.
    """
    if no_activate and trial:
        raise click.UsageError("--trial activates the program: leave --no-activate out")
    image, _ = _image(source, defines, unproven)

    async def work():
        from quantacore.host.driver.node import Node

        with progress() as bars:
            async with await Node.connect(port, takeover=takeover) as node:
                where = await _load(bars, node.sequencer, image, slot,
                                    activate=not (no_activate or trial))
                if trial:
                    await node.sequencer.activate(where, trial=True, trial_s=trial)
                return await node.sequencer.slots()

    _print_slots(console(), run(work()))


# run -----------------------------------------------------------------------------------------

@click.command("run", short_help="Run a program and print how it ended.", epilog=examples(
    "quantacore fw run readout                                a shipped program, virtual node",
    "quantacore fw run my.qcs --set shots=100 --set delay=2us",
    "quantacore fw run rabi --port /dev/ttyUSB0 --out marks.csv",
    "quantacore fw run my.qcs --json"))
@click.argument("source")
@_port_option
@takeover_option
@define_option
@click.option("--set", "-s", "values", multiple=True, metavar="NAME=VALUE",
              callback=assignments("shots=100, delay=2us, gain=0.5 or angle=0.25turn"),
              help="Give a parameter (.param) a value; may be repeated. Values are written as in "
              "programs: 100, 2us, 0.5 (of full scale), 0.25turn.")
@click.option("--entry", help="Where to start (default: the program's first entry).")
@click.option("--after", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Start exactly so long after the node was asked what time it is; by default at "
              "once.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Stop it after so long, in the node's time.  [default: what the proof says, or "
              f"{_PATIENCE_S:g}]")
@_slot_option
@_unproven_option
@click.option("--marks", "shown", type=click.IntRange(0), default=20, show_default=True,
              help="How many marks to print.")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Write all marks to a .csv "
              "file: tick, seconds after the start, code, marks lost before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def run_(source, port, takeover, defines, values, entry, after, timeout, slot, unproven, shown, out,
         as_json):
    """Assemble, prove and load SOURCE, run it, wait for its end, print the result and its marks.

    SOURCE is a program (.qcs), an image (.qcfw) or the name of a shipped program. What the prover
    refuses is not run. Without --port it runs on a virtual node that is built the first time.

    Exit code 1 if it does not come to its HALT.
    """
    import math

    image, proof = _image(source, defines, unproven)

    async def work():
        from quantacore.host.driver.node import Node
        from quantacore.host.driver.sequencer import StillRunningError

        with progress() as bars:
            task = bars.add_task("connecting", total=None)
            async with await Node.connect(port, takeover=takeover) as node:
                units = node.units
                async with node.sequencer as sequencer:
                    await _load(bars, sequencer, image, slot)
                    sequencer.set(**values)
                    parameters = await sequencer.parameters()
                    bound = math.inf
                    if proof.ok and (entry is None or entry in proof.entries):
                        first = next(iter(proof.entries)) if entry is None else entry
                        bound = proof.entries[first].ticks[1]
                    limit = timeout or (_PATIENCE_S if bound == math.inf
                                        else units.ticks_s(int(bound)) + _MARGIN_S)
                    at = None
                    if after is not None:
                        at = await node.timing.tick() + units.ticks(after)
                        limit += after

                    def look(status, marks):
                        bars.update(task, description=f"{status.state.name.lower()} at word "
                                                      f"{status.pc}, {marks} marks")

                    stopped = None
                    await sequencer.start(entry, at_tick=at)
                    try:
                        result = await sequencer.wait(limit, progress=look)
                    except StillRunningError as error:
                        stopped = error
                        await sequencer.stop()
                        result = await sequencer.wait()
                    return result, parameters, await sequencer.data(), stopped, units

    result, parameters, data, stopped, units = run(work())
    if out:
        _write_marks(out, result, units)
    if as_json:
        click.echo(_json(result, parameters, data, units))
    else:
        _print_run(console(), result, parameters, data, units, shown)
        if out:
            console().print(f"Marks: {out}")
    if stopped is not None:
        raise click.ClickException(f"{stopped} (stopped now; --timeout gives it longer)")
    result.check()


def _time(seconds):
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if abs(seconds) * scale >= 1 or unit == "ns":
            return f"{seconds * scale:.9g} {unit}"


def _print_run(out, result, parameters, data, units, shown):
    rows = [("State", result.state.name)]
    if result.fault:
        rows.append(("Fault", result.fault.name))
    if result.halt_code is not None:
        rows.append(("Halt code", result.halt_code))
    rows += [("Last word", result.where), ("Started at tick", result.started),
             ("Duration", _time(result.duration_s)), ("Instructions", result.issued),
             ("Pulses", result.pulses), ("Marks", result.marks_asked),
             ("Marks lost", result.marks_lost)]
    if result.waited:
        rows.append(("Last wait", _time(units.ticks_s(result.waited))))
    rows += [(f"Parameter {p.name}", f"{p.value:g} {p.unit}") for p in parameters.values()]
    rows += [(f"r{k}", f"{value:#x}") for k, value in enumerate(data) if value]
    out.print(table(rows))
    marks = result.marks
    if len(marks) and shown:
        out.print(table([
            (_time(units.ticks_s(int(tick) - result.started)), int(code))
            for tick, code in zip(marks.ticks[:shown], marks.codes[:shown], strict=True)],
            ("mark after", "code")))
        if len(marks) > shown:
            out.print(f"... and {len(marks) - shown} more (--marks, --out)")
    if result.flags:
        out.print(table([(name, count, f"{at:.9f} s") for name, (count, at) in
                         result.flags.items()], ("flag", "times", "first at")))


def _write_marks(path, result, units):
    from pathlib import Path

    marks = result.marks
    rows = zip(marks.ticks.tolist(), marks.codes.tolist(), marks.lost.tolist(), strict=True)
    Path(path).write_text("tick,after_s,code,lost_before\n" + "".join(
        f"{tick},{units.ticks_s(tick - result.started):.12g},{code},{lost}\n"
        for tick, code, lost in rows))


def _json(result, parameters, data, units):
    import json

    return json.dumps({
        "state": result.state.name, "fault": result.fault.name, "halt_code": result.halt_code,
        "pc": result.pc, "where": result.where, "started_tick": result.started,
        "stopped_tick": result.stopped, "duration_s": result.duration_s,
        "issued": result.issued, "pulses": result.pulses, "waited_ticks": result.waited,
        "tick_s": units.ticks_s(1), "marks_asked": result.marks_asked,
        "marks_lost": result.marks_lost,
        "marks": [{"after_ticks": int(tick) - result.started, "code": int(code)}
                  for tick, code in zip(result.marks.ticks, result.marks.codes, strict=True)],
        "parameters": {p.name: p.value for p in parameters.values()}, "data": data,
        "flags": result.flags}, indent=1)


# slots ---------------------------------------------------------------------------------------

@click.command("slots", short_help="What a node's sequencer holds and does.", epilog=examples(
    "quantacore fw slots --port tcp:localhost:7000",
    "quantacore fw slots --port /dev/ttyUSB0 --activate 0",
    "quantacore fw slots --port /dev/ttyUSB0 --confirm"))
@_port_option
@takeover_option
@click.option("--activate", type=click.IntRange(0, 1), metavar="SLOT",
              help="Run this slot from the next start on.")
@click.option("--confirm", is_flag=True, help="Keep the active slot: its trial is over.")
def slots(port, takeover, activate, confirm):
    """Show both slots, what the sequencer is doing, and flags that are up."""

    async def ask():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            sequencer = node.sequencer
            if activate is not None:
                await sequencer.activate(activate)
            if confirm:
                await sequencer.confirm()
            return (await sequencer.slots(), await sequencer.status(), await sequencer.info(),
                    await sequencer.flags())

    found, status, info, flags = run(ask())
    out = console()
    _print_slots(out, found)
    rows = [("State", status.state.name)]
    if status.fault:
        rows.append(("Fault", status.fault.name))
    rows += [("Word", status.pc),
             ("Channels with a pulse", ", ".join(map(str, status.active)) or "none"),
             ("Channels", info.channels), ("Room", f"{info.program_words} words, {info.waves} "
              f"waves, {info.envelope_points} envelope points a channel"),
             ("Instruction set", f"{info.isa:08x}")]
    out.print(table(rows))
    if flags:
        out.print(table([(name, count, f"{at:.9f} s") for name, (count, at) in flags.items()],
                        ("flag", "times", "first at")))


def _print_slots(out, found):
    out.print(table([
        (f"slot {s.slot}", s.state.name, f"{s.image:08x}" if s.image else "none",
         "on trial" if s.trial else "active" if s.active else "", s.name or "")
        for s in found], ("", "state", "image", "", "program")))


# stop ----------------------------------------------------------------------------------------

@click.command("stop", short_help="Stop a node's program.", epilog=examples(
    "quantacore fw stop --port /dev/ttyUSB0",
    "quantacore fw stop --port /dev/ttyUSB0 --emergency       all outputs safe, until",
    "quantacore fw stop --port /dev/ttyUSB0 --release         that is ended"))
@_port_option
@takeover_option
@click.option("--emergency", is_flag=True, help="Make all outputs safe too, until --release.")
@click.option("--release", is_flag=True, help="End the emergency.")
def stop(port, takeover, emergency, release):
    """Stop the program; lines and channels that are not to hold become safe."""
    if emergency and release:
        raise click.UsageError("--emergency and --release are opposites: give one")

    async def work():
        from quantacore.host.driver.node import Node

        async with await Node.connect(port, takeover=takeover) as node:
            sequencer = node.sequencer
            await (sequencer.emergency_stop() if emergency else
                   sequencer.release() if release else sequencer.stop())
            return await sequencer.status()

    console().print(f"State: {run(work()).state.name}")
