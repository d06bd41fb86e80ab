"""What the commands share: options, tables, progress."""

import click

__all__ = ["examples", "port_option", "takeover_option", "console", "run", "table", "cell",
           "progress"]


def examples(*lines):
    """Text for the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def port_option(source=None):
    """The option that names a node; by default a virtual one, with ``source``."""
    default = "virtual:" if source is None else f"virtual:?source={source}"
    return click.option(
        "--port", "-p", metavar="URL", default=default, envvar="QUANTACORE_PORT",
        show_default=True,
        help="Which node: /dev/ttyUSB0 or COM3, tcp:HOST:PORT, virtual:?source=SOURCE, "
             "replay:FILE.")


def takeover_option(function):
    """The option that ends another host's session."""
    return click.option("--takeover", is_flag=True,
                        help="End another host's session with the node.")(function)


def console():
    """A console for what the user asked for."""
    from rich.console import Console

    return Console(highlight=False)


def run(coroutine):
    """Run a coroutine to its end."""
    import asyncio

    return asyncio.run(coroutine)


def table(rows, headings=()):
    """Rows as a table; the first column is aligned left, the others right."""
    from rich.table import Table

    table = Table(box=None, show_header=bool(headings), header_style="bold")
    columns = headings or ("", "") if rows or headings else ()
    for index, heading in enumerate(columns):
        table.add_column(heading, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def cell(value):
    """A value as the tables write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def progress():
    """Progress bars on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(SpinnerColumn(), BarColumn(), TimeElapsedColumn(),
                    TextColumn("{task.description}"), transient=True,
                    console=Console(stderr=True))
