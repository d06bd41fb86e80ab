"""``quantacore fw``: assemble, disassemble, prove and draw programs of the pulse sequencer."""

import click

from quantacore.host.console import console, examples, table

__all__ = ["assignments", "define_option", "fw", "read_program"]


@click.group(short_help="Programs of the pulse sequencer.", epilog=examples(
    "quantacore fw asm stirap_transfer.qcs -o stirap.qcfw",
    "quantacore fw prove stirap.qcfw",
    "quantacore fw plot stirap_transfer.qcs -o stirap.html"))
def fw():
    """Write, prove and look at programs of the pulse sequencer.

    A program is text (.qcs, see docs/firmware.md). `asm` makes an image (.qcfw) of it, after it has
    proven that nothing in it can overlap, be late, or overrun a queue, whatever the inputs do.
    A name of a shipped program (`quantacore fw asm --list`) is as good as a file.
    """


def assignments(example, form="NAME=VALUE"):
    """Callback of an option that is given as ``NAME=VALUE`` any number of times: a dictionary.

    Parameters
    ----------
    example, form : str
        What to write, and what it looks like, for the message where it doesn't.
    """
    def convert(ctx, param, values):
        found = {}
        for text in values:
            name, _sign, value = text.partition("=")
            if not name or not value:
                raise click.BadParameter(f"{text!r} is not {form}; write {example}")
            found[name] = value
        return found

    return convert


define_option = click.option(
    "--define", "-D", "defines", multiple=True, callback=assignments("shots=100 or T=2us"),
    metavar="NAME=VALUE", help="Replace a .const of the program; may be repeated.")


def _shipped():
    from quantacore.firmware.assembler import LIBRARY

    return {path.stem: path for path in sorted(LIBRARY.glob("*.qcs"))
            if not path.name.endswith(".inc.qcs")}


def read_program(source, defines=None):
    """The program that a file (text or image) or a name of a shipped one means."""
    from pathlib import Path

    from quantacore.firmware import Image, assemble_file
    from quantacore.firmware.image import MAGIC

    path = Path(source)
    if not path.exists():
        shipped = _shipped()
        if path.stem not in shipped or path.parent != Path("."):
            raise click.BadParameter(f"there is no file {source!r}, and no shipped program of this "
                                     f"name; shipped are {', '.join(shipped)}")
        path = shipped[path.stem]
    content = path.read_bytes()
    if content.startswith(MAGIC):
        if defines:
            raise click.UsageError("--define is for text: an image is assembled already")
        return Image.from_bytes(content).to_assembly()
    return assemble_file(path, defines=defines)


def _time(ticks, assembly):
    import math

    if ticks == math.inf:
        return "no bound"
    seconds = float(ticks * assembly.tick_s)
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if seconds * scale >= 1 or unit == "ns":
            return f"{seconds * scale:.6g} {unit}"


def _range(pair, show):
    low, high = map(show, pair)
    return low if low == high else f"{low} to {high}"


def _count(number):
    import math

    return "no bound" if number == math.inf else f"{number:,}".replace(",", " ")


def _print_proof(out, assembly, proof, seconds):
    out.print(table([(s.check, f"{s.margin} {s.unit}",
                      f"{s.line} (word {s.pc})" if s.pc >= 0 else "all of it")
                     for s in proof.slack.values()], ("check", "to spare", "where")))
    for name, entry in proof.entries.items():
        rows = [("Entry", name),
                ("Time", _range(entry.ticks, lambda t: _time(t, assembly))),
                ("Instructions", _range(entry.instructions, _count)),
                ("Output events", _range(entry.outputs, _count)),
                ("Marks", _range(entry.marks, _count))]
        if entry.rounds[1]:
            rows.append(("Rounds to the decoder", _range(entry.rounds, _count)))
        for channel, (pulses, duty) in enumerate(zip(entry.pulses, entry.duty, strict=True)):
            if pulses[1]:
                name = assembly.channels.get(channel, f"channel {channel}")
                on = ""
                if duty is None:
                    on = ", one without end"
                elif entry.ticks[1] < 2 * entry.ticks[0]:
                    # Runs of very different lengths say nothing about their busy parts.
                    on = f", {_range(duty, lambda d: f'{100 * d:.3g} %')} of the time"
                rows.append((f"Pulses on {name}", f"{_range(pulses, _count)}{on}"))
        if not entry.halts:
            rows.append(("End", "none: runs until it is stopped"))
        out.print(table(rows))
    for warning in proof.warnings:
        click.echo(str(warning), err=True)
    for error in proof.errors:
        click.echo(str(error), err=True)
    if proof.ok:
        events = proof.events[1]
        out.print(f"Proven in {seconds * 1e3:.1f} ms" + (
            f": {_count(events)} instructions of the longest run." if events != float("inf")
            else "."))


def _prove(assembly):
    import time

    from quantacore.firmware import prove

    began = time.perf_counter()
    proof = prove(assembly)
    return proof, time.perf_counter() - began


@fw.command(short_help="Assemble, prove, and write an image.", epilog=examples(
    "quantacore fw asm my.qcs                         my.qcfw, if it can be proven",
    "quantacore fw asm stirap_transfer -o stirap.qcfw a shipped program",
    "quantacore fw asm rabi -D steps=80 -D T=1us      other constants",
    "quantacore fw asm my.qcs --listing               words beside the lines they come from",
    "quantacore fw asm --list                         what is shipped"))
@click.argument("source", required=False)
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="The image (default: the "
              "program's name with .qcfw, in this folder).")
@define_option
@click.option("--listing", "-l", is_flag=True, help="Print words, addresses and lines.")
@click.option("--unproven", is_flag=True, help="Write the image even if it is not proven. The "
              "sequencer stays safe (it stops at what it may not do), but pulses may be cut.")
@click.option("--list", "list_", is_flag=True, help="List the shipped programs.")
def asm(source, out, defines, listing, unproven, list_):
    """Assemble SOURCE, prove its timeline, and write an image.

    What is wrong is told with file, line and column, the fix, and all at once. An image that is
    not proven is not written.
    """
    from pathlib import Path

    from quantacore.firmware import Image

    if list_:
        rows = []
        for name, path in _shipped().items():
            first = path.read_text(encoding="utf-8").splitlines()[0]
            rows.append((name, first.lstrip("; ").split(":")[0].rstrip(".")))
        console().print(table(rows, ("program", "what")))
        return
    if not source:
        raise click.UsageError("Missing SOURCE: a .qcs file, or a shipped program (--list)")
    assembly = read_program(source, defines)
    for warning in assembly.warnings:
        click.echo(str(warning), err=True)
    if listing:
        click.echo(assembly.listing(), nl=False)
    proof, seconds = _prove(assembly)
    if not unproven:
        proof.check()
    image = Image.from_assembly(assembly, proof)
    target = Path(out) if out else Path(Path(source).stem + ".qcfw")
    content = image.to_bytes()
    target.write_bytes(content)
    for finding in [*proof.warnings, *proof.errors]:
        click.echo(str(finding), err=True)
    points = sum(map(len, assembly.envelopes.values()))
    console().print(table([
        ("Program", f"{assembly.name}: {len(assembly.words)} words, {len(assembly.waves)} waves, "
                    f"{points} envelope points"),
        *((f"Parameter {name}", f"r{p.register}, {p.low}..{p.high}, default {p.default} "
                                f"{p.unit}{f' ({p.doc})' if p.doc else ''}")
          for name, p in assembly.parameters.items()),
        ("Timeline", f"proven in {seconds * 1e3:.1f} ms" if proof.ok else "NOT PROVEN"),
        ("Image", f"{target} ({len(content)} bytes, ISA {image.isa:08x})")]))


@fw.command(short_help="Show an image or program as text.", epilog=examples(
    "quantacore fw dis stirap.qcfw                    what an image does",
    "quantacore fw dis stirap.qcfw -o again.qcs       text that assembles to the same words",
    "quantacore fw dis stirap.qcfw --no-comments"))
@click.argument("source")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Write to a file.")
@click.option("--no-comments", is_flag=True, help="Without addresses and physical values.")
@define_option
def dis(source, out, no_comments, defines):
    """Show SOURCE (an image, or text that is assembled first) word by word, as assembly text."""
    from quantacore.firmware import disassemble

    text = disassemble(read_program(source, defines), comments=not no_comments)
    if out:
        from pathlib import Path

        Path(out).write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


@fw.command(short_help="Prove a timeline and print its slack.", epilog=examples(
    "quantacore fw prove my.qcs                       slack of each check, times, duty",
    "quantacore fw prove stirap.qcfw --json           the same for a script",
    "quantacore fw prove rabi -D steps=100"))
@click.argument("source")
@define_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_context
def prove(ctx, source, defines, as_json):
    """Prove that SOURCE never overlaps, is late, or overruns; print how near it comes.

    Exit code 1 if it is not proven: each reason names the line and what to do. What the prover
    cannot know has to be declared (.assume, .param, .settle, .decoder).
    """
    assembly = read_program(source, defines)
    proof, seconds = _prove(assembly)
    if as_json:
        import json

        click.echo(json.dumps({**proof.summary(), "seconds": seconds,
                               "errors": [str(f) for f in proof.errors],
                               "warnings": [str(f) for f in proof.warnings]}, indent=1))
    else:
        _print_proof(console(), assembly, proof, seconds)
        if not proof.ok:
            click.echo(f"not proven: {len(proof.errors)} "
                       f"reason{'s' if len(proof.errors) > 1 else ''}", err=True)
    if not proof.ok:
        ctx.exit(1)


def _choose(ctx, param, values):
    found = {}
    texts = assignments("herald=0b0110 or dark=timeout", "WHERE=WHAT")(ctx, param, values)
    for where, what in texts.items():
        try:
            choice = int(what, 0)
        except ValueError:
            if what not in ("taken", "timeout"):
                raise click.BadParameter(f"{what!r} is neither taken, nor timeout, nor a "
                                         f"number") from None
            choice = what
        found[int(where) if where.isdecimal() else where] = choice
    return found


@fw.command(short_help="Draw a pulse sheet.", epilog=examples(
    "quantacore fw plot my.qcs                        my.html: zoom, pan, look at pulses",
    "quantacore fw plot stirap_transfer -o stirap.svg a picture",
    "quantacore fw plot entangle --choose herald=1        the way after that pattern",
    "quantacore fw plot my.qcs --unfold 3             three turns of each loop"))
@click.argument("source")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="A page (.html) to zoom and "
              "pan, or a picture (.svg). Default: the program's name with .html.")
@define_option
@click.option("--entry", help="Where the program starts (default: its first entry).")
@click.option("--choose", multiple=True, callback=_choose, metavar="WHERE=WHAT",
              help="What happens at a label or word: taken (a branch), a pattern (brh), the ticks "
              "that a wait takes, or timeout. Branches are not taken by default.")
@click.option("--unfold", type=click.IntRange(1, 100), default=1, show_default=True,
              help="Turns of each loop that are drawn.")
def plot(source, out, defines, entry, choose, unfold):
    """Draw SOURCE's timeline: pulses, lines, waits, marks, loops. Nothing is loaded from the net.
    """
    from pathlib import Path

    from quantacore.firmware.sheet import sheet_html, sheet_svg

    assembly = read_program(source, defines)
    target = Path(out) if out else Path(Path(source).stem + ".html")
    options = {"entry": entry, "choices": choose, "unfold": unfold}
    if target.suffix == ".svg":
        text = sheet_svg(assembly, **options)
    elif target.suffix == ".html":
        text = sheet_html(assembly, proof=_prove(assembly)[0], **options)
    else:
        raise click.BadParameter(f"a sheet ends in .html or .svg, not {target.suffix!r}",
                                 param_hint="--out")
    target.write_text(text, encoding="utf-8")
    console().print(f"Sheet: {target}")
