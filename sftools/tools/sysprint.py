"""sysprint: SysFlow traces to a table or JSON."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import click

from sftools import __version__
from sftools.errors import EXIT_DAMAGED, EXIT_ERROR, EXIT_OK, InputError, UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("traces", nargs=-1, metavar="FILE...")
@click.option("-o", "--output", type=click.Choice(["str", "json"]), default="str", help="Table or JSON lines. [str]")
@click.option("-c", "--fields", default="", metavar="A,B,...", help="Only these fields, in this order.")
@click.option("-l", "--list", "list_fields", is_flag=True, help="List the fields.")
@click.version_option(__version__, "-v", "--version", message="%(version)s")
def main(traces: tuple[str, ...], output: str, fields: str, list_fields: bool) -> None:
    """Print the events and flows of SysFlow traces, each with its process. FILE - is the standard input.

    \b
    sysprint demo.sf                              a table
    sysprint -o json demo.sf                      a JSON document a line
    sysprint -c ts,proc.exe,proc.args,res *.sf    chosen fields

    Exit status: 0 done, 1 an error, 2 wrong usage, 3 a trace is damaged and what stands before that was printed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale without the characters of a path
    # A reader that goes away, as head does, is no error: no traceback, and none when Python flushes at its end.
    try:
        status = _list() if list_fields else _print(traces, output, fields)
        sys.stdout.flush()
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_OK
    except OSError as error:
        click.echo(f"sysprint: cannot write: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_ERROR
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _list() -> int:
    from sftools.render.rows import FIELDS

    for name, field in FIELDS.items():
        print(f"{name:18}{field.title}")
    return EXIT_OK


def _print(traces: tuple[str, ...], output: str, names: str) -> int:
    from sftools.reader import Joined, Joiner, read_trace
    from sftools.render.json import json_lines
    from sftools.render.rows import FIELDS, TABLE_FIELDS, choose
    from sftools.render.table import table_lines

    if not traces:
        raise UsageError("no FILE given")
    fields = choose(names, TABLE_FIELDS if output == "str" else tuple(FIELDS))
    columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    errors: list[InputError] = []
    status = EXIT_OK

    def rows(trace: str) -> Iterator[Joined]:
        """The rows of a trace; the error that ends it is told when they are printed."""
        nonlocal status
        joiner = Joiner()
        sound = False
        try:
            for record in read_trace(trace):
                sound = True
                if (joined := joiner.join(record)) is not None:
                    yield joined
        except InputError as error:
            errors.append(error)
            status = EXIT_DAMAGED if sound and status != EXIT_ERROR else EXIT_ERROR

    for trace in traces:
        lines = json_lines(rows(trace), fields) if output == "json" else table_lines(rows(trace), fields, columns)
        for line in lines:
            print(line)
        while errors:
            sys.stdout.flush()
            click.echo(f"sysprint: {errors.pop()}", err=True)
    return status
