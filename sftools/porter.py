"""The conversion of captures into traces, as sysporter and programs use it: inputs, engine and output put together."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields

from sftools.avro.encoder_cy import Encoder
from sftools.avro.outputs import Output
from sftools.engine.engine_cy import Engine
from sftools.engine.options import EngineOptions
from sftools.errors import InputError, OutputError, SftoolsError, UsageError
from sftools.inputs import expand
from sftools.scap.events_cy import EventCursor
from sftools.schema.versions import branches
from sftools.source import STDIN, Source, StreamDamage, open_source

_SECOND = 1_000_000_000
# Between two calls of progress(): some 0.1 s.
_SLICE = 200_000
_SUFFIXES = re.compile(r"(\.scap)?(\.(gz|zst|zstd|lz4))?$")


@dataclass(slots=True)
class PorterOptions:
    """exporter, node_ip: for the trace's header; an empty exporter is the first capture's hostname.

    schema: 5, or 6, which has IPv6 flows. strict: damage is an error.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    exporter: str = ""
    node_ip: str = ""
    schema: int = 5
    strict: bool = False


@dataclass(slots=True)
class Stats:
    """What a conversion did. The numbers of several are added up with add().

    bytes_stored, bytes_in: bytes read, compressed and not; bytes_out: written. records: by type. damaged: places of
    damage in the inputs; damage: a line for each of the first. unknown_types: events that no event table has.
    unknown_threads: events of threads that nothing else tells of. left_out: operations that the filter or -c left out.
    ipv6_left_out: flows that the schema has no place for. paths: of the files written. tables: how the engine's tables
    stand at the end.
    """

    inputs: int = 0
    events: int = 0
    bytes_stored: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    records: dict[str, int] = field(default_factory=dict)
    damaged: int = 0
    damage: list[str] = field(default_factory=list)
    unknown_types: int = 0
    unknown_threads: int = 0
    left_out: int = 0
    ipv6_left_out: int = 0
    seconds: float = 0.0
    paths: list[str] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)

    def add(self, other: Stats) -> None:
        """Count another conversion in."""
        for name in (f.name for f in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for key, number in theirs.items():
                    mine[key] = mine.get(key, 0) + number
            else:
                setattr(self, name, mine + theirs)


@dataclass(slots=True)
class Outcome:
    """One input of port_each: what became of it. Of stats and error one is there."""

    path: str
    stats: Stats | None = None
    error: SftoolsError | None = None


Progress = Callable[[str, int, int | None, int], None]
"""Called now and then with: name of the input, bytes of it read, its size (None for a pipe), events so far in all."""


def find_captures(names: Sequence[str]) -> list[str]:
    """The inputs that names stand for: files and `-` as they are, a directory's *.scap* files, a pattern's matches.

    Files of a directory or pattern are in natural order (x.scap2 before x.scap10). Raises InputError where a directory
    or a pattern has none; whether a file exists is not looked at.
    """
    found: list[str] = []
    for name in names:
        files = expand(name, _is_capture)
        if files is not None and not files:
            raise InputError(name, "has no capture in it", hint="captures are named *.scap*")
        found += [name] if files is None else files
    return found


def _is_capture(path: str) -> bool:
    name = os.path.basename(path)
    return ".scap" in name and not name.startswith(".") and not name.endswith((".sf", ".tmp")) and os.path.isfile(path)


def trace_name(path: str) -> str:
    """The name of the trace that an input becomes: x.sf for x.scap and x.scap.gz, x.scap0.sf for x.scap0."""
    return "stdin.sf" if path == STDIN else _SUFFIXES.sub("", os.path.basename(path), count=1) + ".sf"


def port(
    inputs: Sequence[str | Source], output: Output, options: PorterOptions, progress: Progress | None = None
) -> Stats:
    """Convert captures, one after the other, into one trace. A source is one that is open already, and closed here.

    Raises InputError, OutputError, UsageError, BrokenPipeError where the output is a pipe that nobody reads; then, as
    after any other exception, nothing incomplete is left of the output. Damage raises only with options.strict.
    """
    if options.engine.rotate_seconds and not output.splits:
        raise UsageError("-G makes several files: it needs -w with a file name or a directory")
    began = time.perf_counter()
    stats = Stats()
    encoder = Encoder(output.block, options.schema, output.datum if output.wants_datums else None)
    exporter = os.fsencode(options.exporter)

    def write_header(name: str) -> None:
        encoder.header(options.schema, exporter or engine.hostname, os.fsencode(options.node_ip), os.fsencode(name))

    def start(hostname: bytes) -> None:
        write_header(output.begin(engine.first_ts // _SECOND))

    def rotate(ts: int) -> None:
        write_header(output.next(ts // _SECOND))

    engine = Engine(encoder, options.engine, start, rotate)
    try:
        for path in inputs:
            _read(path, engine, options, stats, progress)
        stats.tables = {
            "threads": len(engine.threads.by_tid),
            "processes": len(engine.threads.groups),
            "containers": len(engine.entities.containers),
            "threads evicted": engine.threads.evicted,
            "threads refused": engine.threads.refused,
            "flows dropped": engine.flows.dropped,
        }
        engine.finish()
        encoder.flush()
        output.commit()
    except BaseException:
        output.abandon()
        raise
    finally:
        engine.close()
    stats.records = {name: encoder.counts[i] for name, i in branches(options.schema).items() if encoder.counts[i]}
    stats.bytes_out = output.bytes_written
    stats.paths = list(output.paths)
    stats.unknown_types = engine.unknown_types
    stats.unknown_threads = engine.unknown_threads
    stats.left_out = engine.filtered
    stats.ipv6_left_out = engine.flows.ipv6_left_out
    stats.seconds = time.perf_counter() - began
    return stats


def _read(given: str | Source, engine: Engine, options: PorterOptions, stats: Stats, progress: Progress | None) -> None:
    """One capture to its end."""
    with given if isinstance(given, Source) else open_source(given) as source:
        cursor = EventCursor(source, source.name, options.strict)
        try:
            while engine.run(cursor, _SLICE):
                if progress:
                    progress(source.name, source.consumed, source.size, stats.events + cursor.events)
        except StreamDamage as error:
            if options.strict or cursor.block_type == 0:
                raise
            stats.damaged += 1
            stats.damage.append(str(error))
        stats.inputs += 1
        stats.events += cursor.events
        stats.bytes_stored += source.consumed
        stats.bytes_in += cursor.position
        stats.damaged += cursor.damaged
        stats.damage += [str(InputError(source.name, cause, offset)) for offset, cause in cursor.damage]
        check_capture(cursor, source.name)


def check_capture(cursor: EventCursor, name: str) -> None:
    """At the end of an input: raises InputError where it was none."""
    if not (cursor.events or cursor.damaged or cursor.known):
        hint = "a network capture (pcapng) begins in the same way"
        raise InputError(name, "has no block of a scap capture but the section header", hint=hint)


def port_each(
    pairs: Sequence[tuple[str, Output]], options: PorterOptions, jobs: int = 1, progress: Progress | None = None
) -> Iterator[Outcome]:
    """Convert each input into a trace of its own, `jobs` at a time (each in a process), and yield what became of each.

    An input that fails does not keep the others from being converted; fewer than `jobs` run where the system allows no
    more, and SftoolsError is raised where it allows none. In any order where jobs > 1; progress is not called then.
    When the iterator is closed early, what runs is ended and leaves no output.
    """
    if jobs > 1 and len(pairs) > 1:
        yield from _port_beside(pairs, options, jobs)
        return
    for path, output in pairs:
        yield _outcome(path, output, options, progress)


def _outcome(path: str, output: Output, options: PorterOptions, progress: Progress | None) -> Outcome:
    try:
        return Outcome(path, stats=port([path], output, options, progress))
    except SftoolsError as error:
        return Outcome(path, error=error)
    except OSError as error:  # too many open files, for one
        return Outcome(path, error=SftoolsError(f"{path}: cannot be converted: {error.strerror}"))


def _port_beside(pairs: Sequence[tuple[str, Output]], options: PorterOptions, jobs: int) -> Iterator[Outcome]:
    import multiprocessing
    from multiprocessing.connection import Connection, wait
    from multiprocessing.context import ForkProcess

    fork = multiprocessing.get_context("fork")  # a compiled filter cannot be sent to another process

    def work(path: str, output: Output, sender: Connection) -> None:
        outcome = _outcome(path, output, options, None)
        sender.send(outcome.stats if outcome.error is None else str(outcome.error))

    waiting = list(reversed(pairs))
    running: dict[Connection, tuple[ForkProcess, str]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                path, output = waiting.pop()
                try:
                    receiver, sender = fork.Pipe(duplex=False)
                    with sender:
                        process = fork.Process(target=work, args=(path, output, sender))
                        process.start()
                except OSError as error:  # too many files or processes
                    if not running:
                        raise SftoolsError(f"cannot start a process: {error.strerror}") from None
                    waiting.append((path, output))
                    jobs = len(running)
                    break
                running[receiver] = process, path
            ready = wait(list(running))
            for receiver in [receiver for receiver in running if receiver in ready]:
                process, path = running.pop(receiver)
                try:
                    got = receiver.recv()
                except EOFError:
                    got = None
                receiver.close()
                process.join()
                if isinstance(got, Stats):
                    yield Outcome(path, stats=got)
                else:
                    why = got or f"{path}: the process that converted it died (exit code {process.exitcode})"
                    yield Outcome(path, error=SftoolsError(why))
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def check_distinct(paths: Sequence[str], names: Sequence[str]) -> None:
    """Raises OutputError where two inputs would become traces of the same name."""
    seen: dict[str, str] = {}
    for path, name in zip(paths, names, strict=True):
        if name in seen:
            raise OutputError(f"{path} and {seen[name]} would both become {name}: convert them apart")
        seen[name] = path
