"""libSysFlow in Python: records of a capture as typed objects, while it is converted.

convert() is the plain way. SysFlowConfig, SysFlowDriver and SysFlowException are the API that libsysflow of the
SysFlow collector publishes (sf-collector, docs/LIBS.md and src/libs/sfconfig.h), with its names and defaults;
docs/libsysflow.md tells which fields have an effect here.
"""

from __future__ import annotations

import enum
import errno
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sftools import __version__
from sftools.avro.encoder_cy import Encoder
from sftools.engine.engine_cy import Engine
from sftools.engine.options import CONSUME, FLOW, MODES, NOFILES, READ_ALL, READ_SELECTED, EngineOptions
from sftools.errors import InputError, SftoolsError, UsageError
from sftools.reader import Activity, Decoder, Joiner, Record
from sftools.scap.events_cy import EventCursor
from sftools.scap.source import StreamDamage, open_source
from sftools.schema import versions
from sftools.schema.sysflow import Container, File, Process, SFHeader

# The engine runs this many events before their records are handed over: few enough to be little memory and to stop
# within milliseconds, so many that the change from one to the other costs nothing.
_SLICE_EVENTS = 4096

Path: TypeAlias = str | os.PathLike[str]


def convert(
    paths: Path | Iterable[Path],
    *,
    schema: int = versions.LATEST,
    exporter: str = "",
    node_ip: str = "",
    filter: str = "",
    mode: str = FLOW,
    file_only: bool = True,
    file_read_mode: int = READ_SELECTED,
    proc_flow: bool = True,
    container_only: bool = False,
    strict: bool = False,
) -> Iterator[Record]:
    """The SysFlow records of one capture, or of several as one trace, as objects of sftools.schema.sysflow.

    The header comes first, and entities before what refers to them, as in a trace file. Captures are read as they are
    consumed, in bounded memory; closing the iterator closes them.

    schema: 5 leaves IPv6 flows out. exporter: the capture's host name where empty. filter: Falco's language, as
    sysporter's -f. The others are sftools.engine.options.EngineOptions, with sysporter's defaults.
    Raises UsageError for a wrong option at once. While reading, raises InputError for an input that is no capture, and
    for a damaged one: with strict at the damage, else at its end, when all that is sound has been given.
    """
    options = _options(mode, file_read_mode, filter)
    options.file_only = file_only
    options.proc_flow = proc_flow
    options.container_only = container_only
    names = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    conversion = _Conversion(options, schema, exporter, node_ip, strict)
    return conversion.records([os.fspath(name) for name in names])


def _options(mode: str, file_read_mode: int, filter: str) -> EngineOptions:
    if mode not in MODES:
        raise UsageError(f"no mode {mode!r}: there are {', '.join(MODES)}")
    if file_read_mode not in range(READ_ALL, READ_SELECTED + 1):
        raise UsageError(f"no file read mode {file_read_mode!r}: there are 0, 1 and 2")
    options = EngineOptions(mode=mode, file_read_mode=file_read_mode)
    if filter.strip():
        from sftools.filter import compile_filter  # the grammar's library takes a while

        options.predicate = compile_filter(filter)
    return options


class _Conversion:
    """An engine whose records come out as objects: blocks of the encoder, decoded at once."""

    def __init__(
        self,
        options: EngineOptions,
        schema: int,
        exporter: str,
        node_ip: str,
        strict: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.decoder = Decoder(versions.schema_json(schema))
        self.blocks: list[tuple[bytes, int]] = []
        self.encoder = Encoder(lambda block, count: self.blocks.append((block, count)), schema)
        self.schema = schema
        self.exporter = exporter.encode()
        self.node_ip = node_ip.encode()
        self.engine = Engine(self.encoder, options, self._header)
        self.strict = strict
        self.stopped = stopped

    def _header(self, hostname: bytes) -> None:
        self.encoder.header(self.schema, self.exporter or hostname, self.node_ip, b"")

    def records(self, paths: list[str]) -> Generator[Record]:
        """All records. Once stopped() no more is read, and flows that are open then are left out."""
        damage: InputError | None = None
        for path in paths:
            with open_source(path) as source:
                cursor = EventCursor(source, source.name, self.strict)
                more = True
                while more and not self.stopped():
                    try:
                        more = self.engine.run(cursor, _SLICE_EVENTS)
                    except InputError as error:
                        yield from self._ready()
                        if self.strict or not isinstance(error, StreamDamage):
                            raise
                        more = False
                        damage = damage or error
                    yield from self._ready()
                damage = damage or _damage(cursor, source.name)
        if self.stopped():
            return
        self.engine.finish()
        yield from self._ready()
        if damage is not None:
            raise damage

    def _ready(self) -> Iterator[Record]:
        self.encoder.flush()
        while self.blocks:
            blocks, self.blocks = self.blocks, []
            for block, count in blocks:
                yield from self.decoder.records(block, count)


def _damage(cursor: EventCursor, name: str) -> InputError | None:
    """What a cursor that is not strict has passed over."""
    if not cursor.damaged:
        return None
    offset, cause = cursor.damage[0]
    places = f"{cursor.damaged} damaged places, the first: " if cursor.damaged > 1 else ""
    return InputError(name, f"{places}{cause}", offset, "what is sound was converted")


class SysFlowError(enum.IntEnum):
    """Error codes of SysFlowException; names and numbers are those of src/libs/sysflowexception.h."""

    LibsError = 0
    ProbeAccessDenied = 1
    ProbeNotExist = 2
    ErrorReadingFileSystem = 3
    NameTooLong = 4
    ProbeCheckError = 5
    ProbeNotLoaded = 6
    DriverLibsMismatch = 7
    EventParsingError = 8
    ProcResourceNotFound = 9
    OperationNotSupported = 10


class SysFlowException(SftoolsError):
    """What SysFlowDriver raises. Here the codes in use are:

    LibsError: a wrong field of the config. ErrorReadingFileSystem, NameTooLong: a file that cannot be opened, read or
    written. EventParsingError: an input that is no capture, or damaged. OperationNotSupported: live capture.
    """

    def __init__(self, message: str, code: SysFlowError = SysFlowError.LibsError) -> None:
        super().__init__(message)
        self.code = code

    def getErrorCode(self) -> SysFlowError:
        return self.code


class SFSysCallMode(enum.Enum):
    """SysFlowConfig.collectionMode; the values are sysporter's -m."""

    SFFlowMode = FLOW
    SFConsumerMode = CONSUME
    SFNoFilesMode = NOFILES


SysFlowCallback: TypeAlias = Callable[
    [SFHeader, Container | None, Process | None, File | None, File | None, Activity], object
]
"""Called with each event and flow: the header of the trace, the process and its container, the files that a FileEvent
or FileFlow refers to (two for LINK, SYMLINK, RENAME), the record. Entities are not passed by themselves. The objects
are not changed later: a callback may keep them. What it returns is ignored; what it raises comes out of run()."""


@dataclass
class SysFlowConfig:
    """All fields of the published configuration, with the defaults of the real library.

    docs/libsysflow.md has what each means and which have no effect while there is no live capture.
    """

    filterContainers: bool = False
    rotateInterval: int = 300
    exporterID: str = ""
    nodeIP: str = ""
    filePath: str = ""
    socketPath: str = ""
    scapInputPath: str = ""
    falcoFilter: str = ""
    samplingRatio: int = 1
    criPath: str = ""
    criTO: int = 30
    enableStats: bool = False
    enableProcessFlow: bool = True
    fileOnly: bool = True
    fileReadMode: int = 2
    dropMode: bool = True
    callback: SysFlowCallback | None = None
    debugMode: bool = False
    k8sAPIURL: str = ""
    k8sAPICert: str = ""
    moduleChecks: bool = True
    singleBufferDimension: int = 0
    appName: str = "sysflowlibs"
    collectionMode: SFSysCallMode = SFSysCallMode.SFFlowMode


class SysFlowDriver:
    """Converts the capture of a config and hands each event and flow to its callback.

    Raises SysFlowException where the config is wrong.
    """

    def __init__(self, config: SysFlowConfig) -> None:
        if not config.scapInputPath:
            raise SysFlowException(
                "live capture is not supported: set scapInputPath to a capture", SysFlowError.OperationNotSupported
            )
        if config.filePath or config.socketPath:
            raise SysFlowException(
                "filePath and socketPath are not supported: use sysporter -w or -u", SysFlowError.OperationNotSupported
            )
        if config.callback is None:
            raise SysFlowException("no output: set callback")
        try:
            self._options = _options(config.collectionMode.value, config.fileReadMode, config.falcoFilter)
        except UsageError as error:
            raise SysFlowException(str(error)) from None
        self._options.file_only = config.fileOnly
        self._options.proc_flow = config.enableProcessFlow
        self._options.container_only = config.filterContainers
        self._config = config
        self._callback = config.callback
        self._exiting = False

    def run(self) -> int:
        """Convert the capture to its end, or until exit(). Returns 0.

        Raises SysFlowException; for a damaged capture at its end, when the callback has had all that is sound. What
        the callback raises ends the run.
        """
        config = self._config
        conversion = _Conversion(
            self._options, versions.LATEST, config.exporterID, config.nodeIP, stopped=lambda: self._exiting
        )
        joiner = Joiner()
        records = conversion.records([config.scapInputPath])
        try:
            while not self._exiting and (record := self._next(records)) is not None:
                joined = joiner.join(record)
                if joined is not None and joined.header is not None:
                    self._callback(
                        joined.header, joined.container, joined.process, joined.file, joined.new_file, joined.record
                    )
        finally:
            records.close()
        if config.enableStats:
            counts = zip(versions.branches(versions.LATEST), conversion.encoder.counts, strict=True)
            logging.getLogger(config.appName).info("records: %s", ", ".join(f"{name} {n}" for name, n in counts))
        return 0

    def _next(self, records: Iterator[Record]) -> Record | None:
        try:
            return next(records, None)
        except InputError as error:
            raise SysFlowException(str(error), _code(error)) from error

    def exit(self) -> None:
        """Stop: the capture is read no further and run() returns 0. From the callback, a signal handler, or a thread.

        Called in the callback, it is the last call. Flows that are open are left out.
        """
        self._exiting = True

    def getVersion(self) -> str:
        """The version of sftools."""
        return __version__


def _code(error: InputError) -> SysFlowError:
    system = error.__context__
    if isinstance(system, OSError) and system.errno == errno.ENAMETOOLONG:
        return SysFlowError.NameTooLong
    if isinstance(system, OSError) or error.offset is None:
        return SysFlowError.ErrorReadingFileSystem
    return SysFlowError.EventParsingError
