"""sysporter: scap captures to SysFlow traces."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sftools import __version__, newfile
from sftools.avro.container import CODECS, ContainerWriter
from sftools.engine.options import CONSUME, FLOW, MODES, READ_ALL, READ_SELECTED, EngineOptions
from sftools.errors import EXIT_DAMAGED, EXIT_OK, OutputError, UsageError
from sftools.limits import MAX_ROTATE_SECONDS
from sftools.live import DEFAULT_BUFFER, DEFAULT_SNAPLEN, MAX_SNAPLEN
from sftools.schema.versions import LATEST, VERSIONS, schema_json
from sftools.source import STDIN
from sftools.tools.command import COMMAND, Command
from sftools.tools.options import Name, Number, Size, Whole
from sftools.tools.terminal import Progress, say, tell

if TYPE_CHECKING:
    from sftools.avro import outputs
    from sftools.live.session import Session
    from sftools.porter import Stats

NAME = "sysporter"
# The existing collector's drivers; there is only the first, which needs no module and no headers.
_DRIVERS = ("ebpf-core", "ebpf", "kmod")
# Options of traces only.
_TRACE = (
    "rotate", "exporter", "node_ip", "expression", "containers", "mode", "file_only", "file_read_mode", "proc_flow",
    "schema", "codec", "jobs", "salvage",
)  # fmt: skip
# Options of live capture only.
_LIVE = (
    "raw", "pids", "comms", "cgroups", "duration", "snaplen", "buffer", "driver", "cri_path", "cri_timeout",
    "sampling_ratio", "drop_mode",
)  # fmt: skip
_ROOM = 1 << 20
# A raw capture has the environment of every process, and what it read and wrote.
_PRIVATE = 0o600
# Lines of damage that are shown; --stats counts them all.
_SHOWN = 5


def _list_fields(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from sftools.filter import list_fields

        click.echo(list_fields(), nl=False)
        context.exit()


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value:
        from ipaddress import ip_address

        try:
            ip_address(value)
        except ValueError:
            raise UsageError(f"--node-ip (NODE_IP): {value!r} is no IP address") from None
    return value


class _Sysporter(Command):
    takes_command = True


@click.command(
    NAME,
    cls=_Sysporter,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.argument("inputs", nargs=-1, type=Name(), metavar="[INPUT]... [-- COMMAND...]")
@click.option(
    "-r", "--read", "read", multiple=True, type=Name(), metavar="INPUT", help="A capture to read; may be given again."
)
@click.option(
    "-w",
    "--write",
    type=Name(),
    metavar="FILE|DIR/|PREFIX|-",
    envvar="OUTPUT",
    show_envvar=True,
    help="Where traces go.",
)
@click.option("-u", "--socket", type=Name(), metavar="SOCKET", help="Send records to a unix socket (SOCK_SEQPACKET).")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option(
    "-G",
    "--rotate",
    type=Whole(0, MAX_ROTATE_SECONDS),
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
    "--node-ip",
    metavar="IP",
    default="",
    envvar="NODE_IP",
    show_envvar=True,
    callback=_address,
    help="Its address in the trace. [none]",
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
    type=Whole(READ_ALL, READ_SELECTED),
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
    type=Whole(min=1),
    default=1,
    metavar="N",
    help="Convert N of several inputs at a time (with -w DIR/). [1]",
)
@click.option("--salvage/--strict", default=True, help="Convert what is sound of a damaged input, or stop. [salvage]")
@click.option("--stats", is_flag=True, help="Say at the end what was done.")
@click.option("-d", "--debug", is_flag=True, help="Like --stats, with the engine's tables.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no notes.")
@click.option("-l", "log_config", metavar="FILE", help="Accepted, without effect.")
@click.option("--raw", is_flag=True, help="Record a capture (scap) instead of a trace.")
@click.option(
    "--pid",
    "pids",
    multiple=True,
    type=Whole(1),
    metavar="PID",
    help="Live: only this process and its children.",
)
@click.option("--comm", "comms", multiple=True, metavar="NAME", help="Live: only threads of this name.")
@click.option(
    "--cgroup", "cgroups", multiple=True, type=Name(), metavar="DIR", help="Live: only processes of this cgroup."
)
@click.option(
    "--duration",
    type=Number(0, MAX_ROTATE_SECONDS, min_open=True),
    metavar="SECONDS",
    help="Live: end after so long.",
)
@click.option(
    "--snaplen",
    type=Whole(0, MAX_SNAPLEN),
    default=DEFAULT_SNAPLEN,
    metavar="BYTES",
    help=f"Live: so much data of each read and write. [{DEFAULT_SNAPLEN}]",
)
@click.option(
    "--buffer", type=Size(), default=DEFAULT_BUFFER, metavar="SIZE", help="Live: memory for events that wait. [32M]"
)
@click.option("-k", "driver", type=click.Choice(_DRIVERS, case_sensitive=False), default=_DRIVERS[0], help="Live: how.")
@click.option("-p", "cri_path", metavar="PATH", help="Live: the CRI socket, for names of containers. [the usual ones]")
@click.option(
    "-t",
    "cri_timeout",
    type=Whole(min=1),
    default=1000,
    metavar="MS",
    help="Live: how long that may take. [1000]",
)
@click.option(
    "-s",
    "--sampling-ratio",
    type=Whole(1, 1_000_000_000),
    envvar="SAMPLING_RATIO",
    show_envvar=True,
    default=1,
    metavar="N",
    help="Live: reads and writes only in one of N parts of each second. [1]",
)
@click.option(
    "--drop-mode/--no-drop-mode",
    default=False,
    envvar="ENABLE_DROP_MODE",
    show_envvar=True,
    help="Live: leave out of a --raw capture what makes no records. [off]",
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
    """Convert system call captures of sysdig, Falco and the SysFlow collector to SysFlow traces, or trace this system.

    An INPUT is a file (plain, gzip, zstd or lz4), a directory (its *.scap* files), a pattern in quotes, or - for
    standard input. Several become one trace, or with -w DIR/ one each. Options go before environment variables.

    \b
    sysporter -r host.scap -w host.sf
    sysporter -r captures/ -w traces/ --jobs 4      one trace per capture
    sysporter -r host.scap -w traces/ -G 300        traces/<epoch>, five minutes each
    gzip -dc host.scap.gz | sysporter -r - -w - -f 'proc.name = nginx' > nginx.sf
    sysporter -w traces/ -G 30                      this system, live (as root), until interrupted
    sysporter -w make.sf -- make test               a command and what it starts
    sysporter --raw -w host.scap --duration 60      a capture of this system

    Exit status: 0 done, 1 an error, 2 wrong usage, 3 an input is damaged and what is sound of it was converted;
    that of the COMMAND where one was traced.
    """
    names = [*given["read"], *given["inputs"]]
    command = context.meta.get(COMMAND)
    if names and command:
        raise UsageError("a command is traced live: without -r")
    if not names and command == []:  # a shell's variable that is empty: not the whole system
        raise UsageError("after -- stands no command")
    if names and not given["raw"] and (live := [name for name in _LIVE if _on_command_line(context, name)]):
        _say(f"{', '.join(_option(context, name) for name in live)}: for live capture, without effect on -r")
    write, socket = given["write"], given["socket"]
    if socket and not _on_command_line(context, "write"):
        write = None  # an option goes before an environment variable
    if given["raw"]:
        return _record(context, given, command, write, socket)
    if not write and not socket:
        raise UsageError("no output: -w FILE, -w DIR/, -w - for standard output, or -u SOCKET")
    from sftools.avro import outputs  # these take their time, and --help needs none of them
    from sftools.porter import PorterOptions, Stats, check_distinct, find_captures, port, port_each, trace_name

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
    schema, codec, force, rotate = schema_json(options.schema), given["codec"], given["force"], given["rotate"]

    def container(out: Any) -> ContainerWriter:
        return ContainerWriter(out, schema, codec)

    inputs = find_captures(names)
    progress = None if given["quiet"] or not sys.stderr.isatty() else Progress("events")
    total, status = Stats(), EXIT_OK
    lost: dict[str, int] = {}
    began = time.perf_counter()
    directory = write if write and (write.endswith("/") or os.path.isdir(write)) else None
    if directory:
        _make_directory(directory)
    if names and directory and not socket and not rotate and (len(inputs) > 1 or inputs != names):
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
        patience = None if names else _patience(given)
        output = _output(write, socket, directory, rotate, container, force, patience)
        if names:
            total = port(inputs, output, options, progress)
        else:
            assert patience is not None
            with _live(given, command, patience) as session:
                total = port([session.source], output, options, progress)
                lost, status = session.statistics, session.status or EXIT_OK
    total.seconds = time.perf_counter() - began
    if progress:
        progress.clear()
    _report(total, lost, given)
    return status or (EXIT_DAMAGED if total.damaged else EXIT_OK)


def _process(pid: int) -> int:
    """The pid of --pid, which has to be a running process's. Raises UsageError."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise UsageError(f"--pid {pid}: there is no such process") from None
    process = int(text.partition("\nTgid:")[2].split()[0])
    if process != pid:
        raise UsageError(f"--pid {pid}: is a thread of process {process}")
    return pid


def _patience(given: dict[str, Any]) -> newfile.Patience:
    """With the reader of a live capture."""
    return newfile.Patience(given["duration"] or math.inf)


def _live(
    given: dict[str, Any], command: list[str] | None, patience: newfile.Patience
) -> AbstractContextManager[Session]:
    """The capture of the running system that the options ask for."""
    from sftools.engine.engine_cy import data_events, events_of_use
    from sftools.live.containers import CRI_SOCKETS
    from sftools.live.loader import ProbeOptions
    from sftools.live.session import SessionOptions, capture_session

    if given["driver"] != _DRIVERS[0]:
        raise UsageError(f"-k {given['driver']}: there is only {_DRIVERS[0]}, which needs no driver to be built")
    if "" in given["comms"]:
        raise UsageError("--comm: no thread has an empty name")
    if command and given["pids"]:
        raise UsageError("a command or --pid: what is traced is one or the other")
    events = None if given["raw"] and not given["drop_mode"] else events_of_use()
    if command and given["write"] == STDIN:
        raise UsageError("standard output is the command's: name a file with -w")
    pids = frozenset(map(_process, given["pids"]))
    if events and given["mode"] == CONSUME:
        events -= data_events()
    if events and given["expression"].strip():
        from sftools.filter import bounds
        from sftools.scap.event_table import EVENTS

        within = bounds(given["expression"])
        if within.types is not None:  # what changes the state is needed whatever the filter says
            events -= {code for code in data_events() if EVENTS[code].name not in within.types}
        if within.pids and not pids and not command:
            pids = within.pids
    probe = ProbeOptions(
        snaplen=given["snaplen"],
        buffer=given["buffer"],
        pids=pids,
        follow=bool(given["pids"]),
        comms=frozenset(os.fsencode(name)[:15] for name in given["comms"]),
        cgroups=frozenset(Path(path).resolve() for path in given["cgroups"]),
        events=events,
        sampled=data_events(),
        sampling_ratio=given["sampling_ratio"],
    )
    return capture_session(
        SessionOptions(
            probe,
            command or (),
            duration=given["duration"] or 0,
            cri_sockets=(given["cri_path"],) if given["cri_path"] else CRI_SOCKETS,
            timeout_ms=given["cri_timeout"],
            on_stop=patience.end,
        )
    )


def _record(
    context: click.Context, given: dict[str, Any], command: list[str] | None, write: str | None, socket: str | None
) -> int:
    """--raw: the capture as it comes, into one file."""
    if given["read"] or given["inputs"]:
        raise UsageError("--raw records the running system: without -r")
    for name in _TRACE:
        if _on_command_line(context, name):  # the environment may be a service's for all
            if name == "mode" and given["drop_mode"]:  # it says what makes records
                continue
            raise UsageError(f"{_option(context, name, given[name])} is for traces, not for --raw")
    if socket or not write or write.endswith("/") or os.path.isdir(write):
        raise UsageError("--raw records into one file: -w FILE, or -w - for standard output")
    if write == STDIN and sys.stdout.isatty():
        raise UsageError("standard output is a terminal: redirect it, or name a file with -w")
    patience = _patience(given)
    file = None if write == STDIN else newfile.NewFile(write, given["force"], _PRIVATE, patience)
    progress = None if given["quiet"] or not sys.stderr.isatty() else Progress("events")
    try:
        if file:
            file.open()
        with _live(given, command, patience) as session:
            room = memoryview(bytearray(_ROOM))
            while n := session.source.readinto(room):
                if file:
                    file.write(room[:n])
                else:
                    newfile.write_all(1, room[:n], "stdout", patience)
                if progress:
                    progress(session.source.name, session.source.consumed, None, session.events)
            if file:
                file.commit()
            counts, status = session.statistics, session.status or EXIT_OK
    except BaseException:
        if file:
            file.abandon()
        raise
    if progress:
        progress.clear()
    _report_live(counts, given)
    return status


def _fixed(path: str, second: int) -> str:
    return path


def _output(
    write: str | None,
    socket: str | None,
    directory: str | None,
    rotate: int | None,
    container: Any,
    force: bool,
    patience: newfile.Patience | None,
) -> outputs.Output:
    """The one output of all inputs; the names are those of the existing collector."""
    from sftools.avro import outputs

    file: outputs.Output | None = None
    live = patience is not None  # another capture may write to the same directory, or have ended this second
    if write == "-":
        if rotate:
            raise UsageError("-G (INTERVAL) makes several files, which standard output cannot be")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal: redirect it, or name a file with -w")
        file = outputs.StreamOutput(1, container, patience)
    elif directory:
        path = os.path.join(directory, "")
        file = outputs.FileOutput(lambda second: f"{path}{second}", container, splits=True, force=force, later=live)
    elif write and rotate:
        if not os.path.isdir(os.path.dirname(write) or "."):
            newfile.check(write, force)
        file = outputs.FileOutput(lambda second: f"{write}.{second}", container, splits=True, force=force, later=live)
    elif write:
        file = outputs.FileOutput(partial(_fixed, write), container, force=force, patience=patience)
    if socket is None:
        assert file is not None
        return file
    stream = outputs.SocketOutput(socket, patience)
    return outputs.Both(file, stream) if file else stream


def _make_directory(directory: str) -> None:
    try:
        newfile.make_directories(directory)
    except OSError as error:
        raise OutputError(f"{directory}: cannot be made: {error.strerror}") from None


def _on_command_line(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _option(context: click.Context, name: str, value: object = True) -> str:
    """The option as it is written; of two that say yes and no the one that gives `value`."""
    parameter = next(parameter for parameter in context.command.params if parameter.name == name)
    return ((value is False and parameter.secondary_opts) or parameter.opts)[0]


def _say(line: str) -> None:
    say(NAME, line)


def _report_live(counts: dict[str, int], given: dict[str, Any]) -> None:
    """What a live capture lost, and with --stats all that it counted."""
    if lost := counts["ring_full"] + counts["too_large"] + counts["missed"]:
        _say(f"{lost} events lost ({counts['ring_full']} because the buffer was full: --buffer makes it larger)")
    if counts["unfollowed"]:
        _say(f"{counts['unfollowed']} processes were not recorded, though their parents were: there were too many")
    if counts["compat"] and not given["quiet"]:
        _say(f"{counts['compat']} system calls of 32-bit programs were not recorded")
    if given["stats"] or given["debug"]:
        tell(_columns((f"live: {name.replace('_', ' ')}", f"{count:,}") for name, count in counts.items()))


def _report(stats: Stats, live: dict[str, int], given: dict[str, Any]) -> None:
    if live:
        _report_live(live, given)
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
        tell(_table(stats, given["debug"]))


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
    return _columns(rows)


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{name:<26}{value:>15}\n" for name, value in rows)


if __name__ == "__main__":
    main()
