"""sysprint: SysFlow traces to a table, JSON, CSV, Parquet or Arrow."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from sftools import __version__
from sftools.errors import EXIT_DAMAGED, EXIT_ERROR, EXIT_OK, OutputError, SftoolsError, UsageError
from sftools.tools.command import Command
from sftools.tools.options import Name, Whole, s3_options, s3_settings
from sftools.tools.terminal import Progress, say, tell

if TYPE_CHECKING:
    from sftools.fields import Field
    from sftools.inputs import Input
    from sftools.reader import Row
    from sftools.render import Writer

NAME = "sysprint"
STDOUT = "-"
FORMATS = ("str", "flatjson", "json", "csv", "parquet", "arrow")
_BINARY = ("parquet", "arrow")
# Messages that are shown; the exit status and --stats know of all.
_SHOWN = 20
# Rows between two looks at the progress bar.
_SLICE = 4096


@click.command(
    NAME,
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.argument("paths", nargs=-1, type=Name(), metavar="PATH...")
@click.option(
    "-i", "--input", "place", type=click.Choice(["local", "s3"]), default="local", help="Where PATHs are. [local]"
)
@click.option("-o", "--output", "form", type=click.Choice(FORMATS), default="str", help="The form. [str, a table]")
@click.option(
    "-w", "--file", "target", type=Name(), metavar="FILE", default=STDOUT, help="Where it goes. [-, standard output]"
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("-c", "--fields", default="", metavar="A,B,...", help="Only these fields, in this order.")
@click.option("-A", "--allfields", is_flag=True, help="All fields in the table.")
@click.option("-k", "--k8s", is_flag=True, help="The pod's name in the table.")
@click.option("-K", "--k8sevents", is_flag=True, help="The fields of Kubernetes events in the table.")
@click.option("-l", "--list", "list_fields", is_flag=True, help="List the fields.")
@click.option("-f", "--filter", "expression", default="", metavar="EXPR", help="Only records that meet this condition.")
@click.option(
    "-F",
    "--definitions",
    multiple=True,
    type=Name(),
    metavar="FILE",
    help="Macros and lists for -f; may be given again.",
)
@click.option("-n", "--first", type=Whole(min=1), metavar="N", help="Only the first N records.")
@click.option("--tail", type=Whole(min=1), metavar="N", help="Only the last N records.")
@click.option("--sort", metavar="FIELD", help="In the order of this field; -FIELD is the other way round.")
@click.option("--recursive", is_flag=True, help="Enter directories in directories, too.")
@click.option(
    "--time", "times", type=click.Choice(["iso", "epoch", "rel"]), help="Times: exact, in ns, or in s since the first."
)
@click.option("--open-flags", type=click.Choice(["names", "number"]), help="Open flags as RDWR,CREAT or as a number.")
@click.option("--wide", is_flag=True, help="A row of the table is one line, however long.")
@click.option("--no-color", is_flag=True, help="No colour. [colour on a terminal]")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no warnings.")
@click.option("--stats", is_flag=True, help="Say at the end what was done.")
@s3_options
@click.version_option(__version__, "-v", "--version", message="%(version)s")
def main(**given: Any) -> int:
    """Print the events and flows of SysFlow traces, each with its process, container and file.

    A PATH is a file (plain, gzip, zstd or lz4), a directory (its files that are traces), a pattern in quotes, - for
    standard input, or s3://BUCKET[/PREFIX]; with -i s3 it is BUCKET[/PREFIX]. Several become one output.

    \b
    sysprint demo.sf                                    a table
    sysprint -o json traces/ s3://bucket/2024/          a JSON document a line
    sysprint -c ts,proc.exe,res -f 'type = FF' a.sf     chosen fields, chosen records
    sysprint -o csv -w out.csv --sort ts_uts *.sf       a file, sorted

    Exit status: 0 done, 1 an error, 2 wrong usage, 3 a trace is damaged and what is sound of it was printed.
    """
    return _list() if given["list_fields"] else _print(given)


def _list() -> int:
    from sftools.fields import FIELDS

    groups: dict[str, list[Field]] = {"idx": []}
    for each in FIELDS.values():
        groups.setdefault(each.name.partition(".")[0], []).append(each)
    rule = "-" * 30
    lines = [f"{each.name:40} {each.description:40}" for group in groups.values() for each in group]
    print("\n".join([rule, "List of attributes:", rule, *lines, rule]))
    return EXIT_OK


# -- what was asked for


def _print(given: dict[str, Any]) -> int:
    form, target = given["form"], given["target"]
    if not given["paths"]:
        raise UsageError("no PATH given; --help tells more")
    if given["k8s"] and given["k8sevents"]:
        raise UsageError("-k and -K exclude each other")
    if given["first"] is not None and given["tail"] is not None:
        raise UsageError("-n and --tail exclude each other")
    if form in _BINARY and target == STDOUT and sys.stdout.isatty():
        raise UsageError(f"{form} is not for a terminal: redirect it, or name a file with -w")
    if form in _BINARY and (given["times"] or given["open_flags"]):
        raise UsageError(f"--time and --open-flags are for text; {form} has times and numbers as such")
    from sftools.inputs import find_traces
    from sftools.newfile import check

    fields = _fields(given)
    order = _order(given["sort"])
    predicate = _predicate(given["expression"], given["definitions"])
    if target != STDOUT:
        check(target, given["force"], given["paths"])
    buckets = given["place"] == "s3"
    inputs = find_traces(given["paths"], recursive=given["recursive"], s3=partial(s3_settings, given), buckets=buckets)
    progress = Progress("records") if sys.stderr.isatty() and not given["quiet"] else None
    reading = _Reading(inputs, predicate, progress)
    began = time.perf_counter()
    rows = reading.rows()
    try:
        printed = _write(_chosen(rows, given, order, fields), reading, given, fields)
    finally:
        rows.close()
        if progress:
            progress.clear()
    reading.report(given["quiet"])
    if given["stats"]:
        tell(_stats(reading, printed, time.perf_counter() - began))
    return reading.status


def _fields(given: dict[str, Any]) -> list[Field]:
    from sftools.fields import DEFAULT_FIELDS, K8S_EVENT_FIELDS, TABLE_FIELDS, choose, variants

    default: Sequence[str] = DEFAULT_FIELDS
    if given["form"] == "str" and not given["allfields"]:
        default = K8S_EVENT_FIELDS if given["k8sevents"] else TABLE_FIELDS + (("pod.name",) if given["k8s"] else ())
    names = given["fields"].split(",") if given["fields"] and not given["allfields"] else None
    return variants(choose(names, default), time=given["times"], open_flags=given["open_flags"])


@dataclass(frozen=True, slots=True)
class _Order:
    key: Callable[[Row], Any]
    descending: bool


def _order(name: str | None) -> _Order | None:
    """What --sort says."""
    if name is None:
        return None
    from sftools.fields import choose, sort_key

    chosen = choose(name.removeprefix("-").split(","), ())
    if len(chosen) != 1:
        raise UsageError("--sort takes one field")
    return _Order(sort_key(chosen[0]), name.startswith("-"))


def _predicate(expression: str, paths: Sequence[str]) -> Callable[[Row], bool] | None:
    """What -f and -F say."""
    if not expression.strip():
        if paths:
            raise UsageError("-F has macros and lists for -f, which is missing")
        return None
    from sftools.sfql import Definitions, compile_query

    return compile_query(expression, Definitions.of(paths))


# -- reading


@dataclass(slots=True)
class _Reading:
    """The inputs, one after the other, and what became of them.

    sound: of how many inputs something was read. damaged: places in them. records: events and flows read.
    """

    inputs: Iterator[Input]
    predicate: Callable[[Row], bool] | None
    progress: Progress | None
    sound: int = 0
    damaged: int = 0
    failed: int = 0
    passed_over: int = 0
    records: int = 0
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        if self.failed or not self.sound:
            return EXIT_ERROR
        return EXIT_DAMAGED if self.damaged else EXIT_OK

    def rows(self) -> Generator[Row, None, None]:
        """Those that the predicate takes. An input that fails does not keep the others from being read."""
        from sftools.inputs import NotATrace

        for each in self.inputs:
            sound = self.sound
            try:
                yield from self._rows_of(each)
            except NotATrace as error:
                self.passed_over += 1
                if self.passed_over <= _SHOWN:
                    self.warnings.append(f"passed over: {error}")
            except SftoolsError as error:
                if self.sound > sound:
                    self._damage(error)
                else:
                    self.failed += 1
                    self._tell(error)

    def _rows_of(self, each: Input) -> Iterator[Row]:
        from sftools.reader import read_rows

        predicate, progress = self.predicate, self.progress
        before, count = self.records, 0
        with each.open() as source:
            rows = read_rows(source, damaged=self._damage)
            self.sound += 1
            try:
                for count, row in enumerate(rows, 1):
                    if predicate is None or predicate(row):
                        yield row
                    if progress is not None and not count % _SLICE:
                        progress(source.name, source.consumed, source.size, before + count)
            finally:
                self.records += count

    def _damage(self, error: SftoolsError) -> None:
        self.damaged += 1
        self._tell(error)

    def _tell(self, error: SftoolsError) -> None:
        if len(self.errors) < _SHOWN:
            self.errors.append(str(error))

    def report(self, quiet: bool) -> None:
        """Say what went wrong."""
        if not quiet:
            for line in self.warnings:
                say(NAME, line)
            if self.passed_over > _SHOWN:
                say(NAME, f"passed over: {self.passed_over - _SHOWN} files more")
        for line in self.errors:
            say(NAME, line)
        if self.damaged + self.failed > _SHOWN:
            say(NAME, f"{self.damaged + self.failed - _SHOWN} errors more")
        if not self.sound and not self.failed:
            say(NAME, "there is no trace among the files")


def _chosen(rows: Iterator[Row], given: dict[str, Any], order: _Order | None, fields: Sequence[Field]) -> Iterator[Row]:
    """What --sort, -n and --tail make of the rows."""
    ancestors = any(each.ancestors for each in fields)
    if order is not None:
        from sftools.reader.sorting import sorted_rows

        rows = sorted_rows(rows, order.key, descending=order.descending, ancestors=ancestors)
    if given["first"] is not None:
        return itertools.islice(rows, min(given["first"], sys.maxsize))
    if given["tail"] is not None:
        from sftools.reader.tail import last_rows

        return last_rows(rows, given["tail"], ancestors=ancestors)
    return rows


# -- writing


def _write(rows: Iterator[Row], reading: _Reading, given: dict[str, Any], fields: Sequence[Field]) -> int:
    """Write the output, and under its name only when it is complete; nothing at all where no input could be read.

    Returns how many rows were written.
    """
    from sftools.avro.plan import DecodeError
    from sftools.newfile import NewFile

    row = next(rows, None)
    if row is None and not reading.sound:
        return 0
    target = given["target"]
    file = None if target == STDOUT else NewFile(target, given["force"])
    count = 0
    try:
        if file is not None:
            file.open()
        out = sys.stdout.buffer if file is None else file.stream()
        writer = _writer(out, given, fields)
        write = writer.row
        if row is not None:
            write(row)
            count = 1
            for count, row in enumerate(rows, 2):  # noqa: B007
                write(row)
        writer.close()
        out.flush()
        if file is not None:
            file.commit()
    except BaseException as error:
        if file is not None:
            file.abandon()
        if isinstance(error, DecodeError):
            raise SftoolsError(f"a record cannot be decoded: {error}") from None
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError) and file is not None:
            raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from None
        raise
    return count


def _writer(out: BinaryIO, given: dict[str, Any], fields: Sequence[Field]) -> Writer:
    form = given["form"]
    writer: Writer
    if form in ("json", "flatjson"):
        from sftools.render.json import json_writer

        writer = json_writer(out, fields, flat=form == "flatjson", array=given["target"] != STDOUT)
    elif form == "csv":
        from sftools.render.csv import csv_writer

        writer = csv_writer(out, fields)
    elif form == "parquet":
        from sftools.render.parquet import ParquetWriter

        writer = ParquetWriter(out, fields)
    elif form == "arrow":
        from sftools.render.arrow import ArrowWriter

        writer = ArrowWriter(out, fields)
    else:
        from sftools.render.table import table_writer

        terminal = given["target"] == STDOUT and sys.stdout.isatty()
        writer = table_writer(
            out,
            fields,
            columns=os.get_terminal_size(1).columns if terminal and not given["wide"] else None,
            color=terminal and not (given["no_color"] or os.environ.get("NO_COLOR")),
            numbered=all(each.name != "idx" for each in fields),
        )
    return writer


def _stats(reading: _Reading, printed: int, seconds: float) -> str:
    rows = [
        ("inputs", f"{reading.sound:,}"),
        ("records", f"{reading.records:,}"),
        ("printed", f"{printed:,}"),
        ("left out", f"{reading.records - printed:,}"),
        ("damaged places", f"{reading.damaged:,}"),
        ("failed inputs", f"{reading.failed:,}"),
        ("files passed over", f"{reading.passed_over:,}"),
        ("seconds", f"{seconds:.3f}"),
        ("records/s", f"{reading.records / max(seconds, 1e-9):,.0f}"),
    ]
    return "".join(f"{name:<20}{value:>15}\n" for name, value in rows)


if __name__ == "__main__":
    main()
