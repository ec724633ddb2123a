"""sysporter: scap captures to SysFlow traces."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from sftools import __version__, newfile
from sftools.avro import outputs
from sftools.avro.container import CODECS, ContainerWriter
from sftools.engine.options import FLOW, MODES, READ_ALL, READ_SELECTED, EngineOptions
from sftools.errors import EXIT_DAMAGED, EXIT_OK, UsageError
from sftools.limits import MAX_ROTATE_SECONDS
from sftools.porter import PorterOptions, Stats, check_distinct, find_captures, port, port_each, trace_name
from sftools.schema.versions import LATEST, VERSIONS, schema_json
from sftools.source import STDIN
from sftools.tools.command import Command
from sftools.tools.terminal import Progress, say

NAME = "sysporter"
_DRIVERS = ("ebpf", "ebpf-core", "kmod")
# Lines of damage that are shown; --stats counts them all.
_SHOWN = 5


def _list_fields(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from sftools.filter import list_fields

        click.echo(list_fields(), nl=False)
        context.exit()


@click.command(
    NAME,
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-r", "--read", "read", multiple=True, metavar="INPUT", help="A capture to read; may be given again.")
@click.option("-w", "--write", metavar="FILE|DIR/|PREFIX|-", envvar="OUTPUT", show_envvar=True, help="Where traces go.")
@click.option("-u", "--socket", metavar="SOCKET", help="Send records to a unix socket (SOCK_SEQPACKET).")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option(
    "-G",
    "--rotate",
    type=click.IntRange(0, MAX_ROTATE_SECONDS),
    metavar="SECONDS",
    envvar="INTERVAL",
    show_envvar=True,
    help="Begin a new file after so much capture time; adds the time to -w's name. [0: never]",
)
@click.option(
    "-e",
    "--exporter",
    metavar="ID",
    default="",
    envvar="EXPORTER_ID",
    show_envvar=True,
    help="Name of the recording host in the trace. [the capture's host name]",
)
@click.option(
    "--node-ip", metavar="IP", default="", envvar="NODE_IP", show_envvar=True, help="Its address in the trace. [none]"
)
@click.option(
    "-f",
    "--filter",
    "expression",
    metavar="FILTER",
    default="",
    envvar="FILTER",
    show_envvar=True,
    help="Only what this filter in Falco's language accepts.",
)
@click.option(
    "--list-fields",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_fields,
    help="List the fields of filters.",
)
@click.option("-c", "--containers", is_flag=True, help="Only what happens in containers.")
@click.option(
    "-m",
    "--mode",
    type=click.Choice(MODES),
    default=FLOW,
    help="consume: no reads, writes, closes; nofiles: no files. [flow]",
)
@click.option(
    "--file-only/--no-file-only",
    default=True,
    envvar="FILE_ONLY",
    show_envvar=True,
    help="Flows of files only, not of directories, pipes, unix sockets. [on]",
)
@click.option(
    "--file-read-mode",
    type=click.IntRange(READ_ALL, READ_SELECTED),
    default=READ_SELECTED,
    metavar="0|1|2",
    envvar="FILE_READ_MODE",
    show_envvar=True,
    help="Reads of files: 0 all, 1 none, 2 not in system directories. [2]",
)
@click.option(
    "--proc-flow/--no-proc-flow",
    default=True,
    envvar="ENABLE_PROC_FLOW",
    show_envvar=True,
    help="Count thread starts and ends instead of writing each. [on]",
)
@click.option(
    "--schema",
    type=click.Choice([str(version) for version in VERSIONS]),
    default=str(VERSIONS[0]),
    help=f"{LATEST} has IPv6 flows. [{VERSIONS[0]}]",
)
@click.option("--codec", type=click.Choice(CODECS), default=CODECS[0], help=f"Compression. [{CODECS[0]}]")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Convert N of several inputs at a time (with -w DIR/). [1]",
)
@click.option("--salvage/--strict", default=True, help="Convert what is sound of a damaged input, or stop. [salvage]")
@click.option("--stats", is_flag=True, help="Say at the end what was done.")
@click.option("-d", "--debug", is_flag=True, help="Like --stats, with the engine's tables.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no notes.")
@click.option("-l", "log_config", metavar="FILE", help="Accepted, without effect.")
@click.option("-k", "driver", type=click.Choice(_DRIVERS, case_sensitive=False), help="For live capture: the driver.")
@click.option("-p", "cri_path", metavar="PATH", help="For live capture: the CRI socket.")
@click.option("-t", "cri_timeout", type=click.IntRange(min=1), metavar="MS", help="For live capture: its timeout.")
@click.option(
    "-s",
    "--sampling-ratio",
    type=click.IntRange(1, 1_000_000_000),
    envvar="SAMPLING_RATIO",
    show_envvar=True,
    metavar="N",
    help="For live capture: one of so many events.",
)
@click.option(
    "--drop-mode/--no-drop-mode",
    default=None,
    envvar="ENABLE_DROP_MODE",
    show_envvar=True,
    help="For live capture: leave out events without a use.",
)
@click.version_option(
    __version__,
    "-v",
    "--version",
    message=f"%(prog)s %(version)s, SysFlow schema {' and '.join(map(str, VERSIONS))}",
    prog_name=NAME,
)
@click.pass_context
def main(context: click.Context, /, **given: Any) -> int:
    """Convert system call captures of sysdig, Falco and the SysFlow collector to SysFlow traces.

    An INPUT is a file (plain, gzip, zstd or lz4), a directory (its *.scap* files), a pattern in quotes, or - for
    standard input. Several become one trace, or with -w DIR/ one each. Options go before environment variables.

    \b
    sysporter -r host.scap -w host.sf
    sysporter -r captures/ -w traces/ --jobs 4      one trace per capture
    sysporter -r host.scap -w traces/ -G 300        traces/<epoch>, five minutes each
    gzip -dc host.scap.gz | sysporter -r - -w - -f 'proc.name = nginx' > nginx.sf

    Exit status: 0 done, 1 an error, 2 wrong usage, 3 an input is damaged and what is sound of it was converted.
    """
    names = [*given["read"], *given["inputs"]]
    if not names:
        raise UsageError("no input: name a capture with -r; live capture does not exist yet")
    live = [f"-{letter}" for letter in "kpst" if _on_command_line(context, letter)]
    if live:
        _say(f"{' '.join(live)}: for live capture, which does not exist yet; without effect on -r")
    write, socket = given["write"], given["socket"]
    if socket and not _on_command_line(context, "w"):
        write = None  # an option goes before an environment variable
    if not write and not socket:
        raise UsageError("no output: -w FILE, -w DIR/, -w - for standard output, or -u SOCKET")

    options = PorterOptions(
        engine=EngineOptions(
            file_only=given["file_only"],
            file_read_mode=given["file_read_mode"],
            proc_flow=given["proc_flow"],
            mode=given["mode"],
            container_only=given["containers"],
            rotate_seconds=given["rotate"] or 0,
        ),
        exporter=given["exporter"],
        node_ip=given["node_ip"],
        schema=int(given["schema"]),
        strict=not given["salvage"],
    )
    if given["expression"].strip():
        from sftools.filter import compile_filter

        options.engine.predicate = compile_filter(given["expression"])
    inputs = find_captures(names)
    schema, codec, force, rotate = schema_json(options.schema), given["codec"], given["force"], given["rotate"]

    def container(out: Any) -> ContainerWriter:
        return ContainerWriter(out, schema, codec)

    progress = None if given["quiet"] or not sys.stderr.isatty() else Progress("events")
    total, status = Stats(), EXIT_OK
    began = time.perf_counter()
    directory = write if write and (write.endswith("/") or os.path.isdir(write)) else None
    if directory:
        _make_directory(directory)
    if directory and not socket and not rotate and (len(inputs) > 1 or inputs != names):
        targets = [os.path.join(directory, trace_name(path)) for path in inputs]
        check_distinct(inputs, targets)
        for target in targets:
            newfile.check(target, force, inputs)
        pairs = [
            (path, outputs.FileOutput(partial(_fixed, target), container, force=force))
            for path, target in zip(inputs, targets, strict=True)
        ]
        for outcome in port_each(pairs, options, given["jobs"], progress):
            if outcome.stats is not None:
                total.add(outcome.stats)
            else:
                assert outcome.error is not None
                if progress:
                    progress.clear()
                _say(str(outcome.error))
                status = outcome.error.exit_code
    else:
        if given["jobs"] > 1 and len(inputs) > 1:
            raise UsageError("--jobs needs a trace for each input: -w DIR/ without -G and -u")
        if write and write != STDIN and not directory and not rotate:
            newfile.check(write, force, inputs)
        total = port(inputs, _output(write, socket, directory, rotate, container, force), options, progress)
    total.seconds = time.perf_counter() - began
    if progress:
        progress.clear()
    _report(total, given)
    return status or (EXIT_DAMAGED if total.damaged else EXIT_OK)


def _fixed(path: str, second: int) -> str:
    return path


def _output(
    write: str | None, socket: str | None, directory: str | None, rotate: int | None, container: Any, force: bool
) -> outputs.Output:
    """The one output of all inputs; the names are those of the existing collector."""
    file: outputs.Output | None = None
    if write == "-":
        if rotate:
            raise UsageError("-G (INTERVAL) makes several files, which standard output cannot be")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal: redirect it, or name a file with -w")
        file = outputs.StreamOutput(1, container)
    elif directory:
        path = os.path.join(directory, "")
        file = outputs.FileOutput(lambda second: f"{path}{second}", container, splits=True, force=force)
    elif write and rotate:
        if not os.path.isdir(os.path.dirname(write) or "."):
            newfile.check(write, force)
        file = outputs.FileOutput(lambda second: f"{write}.{second}", container, splits=True, force=force)
    elif write:
        file = outputs.FileOutput(partial(_fixed, write), container, force=force)
    if socket is None:
        assert file is not None
        return file
    return outputs.Both(file, outputs.SocketOutput(socket)) if file else outputs.SocketOutput(socket)


def _make_directory(directory: str) -> None:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory}: cannot be made: {error.strerror}") from None


def _on_command_line(context: click.Context, letter: str) -> bool:
    for parameter in context.command.params:
        if f"-{letter}" in parameter.opts and parameter.name:
            return context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    return False


def _say(line: str) -> None:
    say(NAME, line)


def _report(stats: Stats, given: dict[str, Any]) -> None:
    for line in stats.damage[:_SHOWN]:
        _say(line)
    if stats.damaged:
        places = "1 place" if stats.damaged == 1 else f"{stats.damaged} places"
        _say(f"damaged in {places}; what is sound was converted (--strict stops instead)")
    if stats.ipv6_left_out and not given["quiet"]:
        _say(f"{stats.ipv6_left_out} IPv6 flows left out; --schema {LATEST} keeps them")
    if stats.unknown_types and not given["quiet"]:
        _say(f"{stats.unknown_types} events of types that this version does not know were passed over")
    if given["stats"] or given["debug"]:
        click.echo(_table(stats, given["debug"]), err=True, nl=False)


def _table(stats: Stats, debug: bool) -> str:
    rows: list[tuple[str, str]] = [
        ("inputs", f"{stats.inputs:,}"),
        ("bytes read", f"{stats.bytes_stored:,}"),
        ("decompressed", f"{stats.bytes_in:,}"),
        ("events", f"{stats.events:,}"),
        ("events/s", f"{stats.events / max(stats.seconds, 1e-9):,.0f}"),
        ("seconds", f"{stats.seconds:.3f}"),
        ("files written", f"{len(stats.paths):,}"),
        ("bytes written", f"{stats.bytes_out:,}"),
        ("records", f"{sum(stats.records.values()):,}"),
        *((f"  {name}", f"{count:,}") for name, count in stats.records.items()),
        ("left out by filter", f"{stats.left_out:,}"),
        ("IPv6 flows left out", f"{stats.ipv6_left_out:,}"),
        ("events of unknown type", f"{stats.unknown_types:,}"),
        ("events of unknown thread", f"{stats.unknown_threads:,}"),
        ("damaged places", f"{stats.damaged:,}"),
    ]
    if debug:
        rows += [(f"table: {name}", f"{count:,}") for name, count in stats.tables.items()]
    return "".join(f"{name:<26}{value:>15}\n" for name, value in rows)


if __name__ == "__main__":
    main()
