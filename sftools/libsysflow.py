"""libSysFlow in Python: records of a capture as typed objects, while it is converted.

convert() is the plain way. SysFlowConfig, SysFlowDriver and SysFlowException are the API that libsysflow of the
SysFlow collector publishes (sf-collector, docs/LIBS.md and src/libs/sfconfig.h), with its names and defaults;
docs/libsysflow.md tells which fields have an effect here.
"""

from __future__ import annotations

import enum
import errno
import functools
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sftools import __version__
from sftools.avro.container import ContainerWriter
from sftools.avro.decoder_cy import RecordCursor
from sftools.avro.encoder_cy import Encoder
from sftools.avro.outputs import Both, FileOutput, Output, SocketOutput
from sftools.avro.plan import Activity, Plan, Record
from sftools.engine.engine_cy import Engine
from sftools.engine.options import CONSUME, FLOW, MODES, NOFILES, READ_ALL, READ_SELECTED, EngineOptions
from sftools.errors import InputError, OutputError, SftoolsError, UsageError
from sftools.porter import PorterOptions, check_capture, port
from sftools.reader import Row
from sftools.scap.events_cy import EventCursor
from sftools.schema import versions
from sftools.schema.sysflow import Container, File, Process, SFHeader
from sftools.source import StreamDamage, open_source

# The engine runs this many events before their records are handed over: so few that they are little memory, so many
# that going from one to the other costs nothing.
_SLICE_EVENTS = 4096
# The encoder's own records are no attack: a capture's events are bounded, and so are they.
_ANY_SIZE = sys.maxsize
_CONVERTED = "what is sound was converted"

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
) -> Generator[Record, None, None]:
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
    decoded = RecordCursor(Plan(versions.schema_json(schema), _ANY_SIZE))
    blocks: list[tuple[bytes, int]] = []
    encoder = Encoder(lambda block, count: blocks.append((block, count)), schema)
    engine = Engine(
        encoder,
        options,
        lambda hostname: encoder.header(schema, os.fsencode(exporter) or hostname, os.fsencode(node_ip), b""),
    )

    def ready() -> Iterator[Record]:
        encoder.flush()
        for block, count in blocks:
            decoded.load(block, count)
            while decoded.advance():
                yield decoded.typed()
        blocks.clear()

    def records() -> Generator[Record, None, None]:
        try:
            yield from read()
        finally:
            engine.close()

    def read() -> Iterator[Record]:
        damage: InputError | None = None
        for name in names:
            with open_source(os.fspath(name)) as source:
                cursor = EventCursor(source, source.name, strict)
                more = True
                while more:
                    try:
                        more = engine.run(cursor, _SLICE_EVENTS)
                    except InputError as error:
                        yield from ready()
                        if strict or not isinstance(error, StreamDamage):
                            raise
                        more = False
                        damage = damage or error
                    yield from ready()
                check_capture(cursor, source.name)
                damage = damage or _damage(cursor, source.name)
        engine.finish()
        yield from ready()
        if damage is not None:
            raise damage

    return records()


def _damage(cursor: EventCursor, name: str) -> InputError | None:
    """What a cursor that is not strict has passed over."""
    if not cursor.damaged:
        return None
    offset, cause = cursor.damage[0]
    places = f"{cursor.damaged} damaged places, the first: " if cursor.damaged > 1 else ""
    return InputError(name, f"{places}{cause}", offset, _CONVERTED)


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
        """`code`, as libSysFlow has it."""
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

    docs/libsysflow.md has what each means, and which are for live capture, which the driver does not do.
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
    """Converts the capture of a config into a trace file, to a socket, or calls with each event and flow.

    Raises SysFlowException where the config is wrong.
    """

    def __init__(self, config: SysFlowConfig) -> None:
        if not config.scapInputPath:
            raise SysFlowException(
                "no capture: set scapInputPath (live capture is sysporter's, not the driver's)",
                SysFlowError.OperationNotSupported,
            )
        if not (config.filePath or config.socketPath or config.callback):
            raise SysFlowException("no output: set callback, filePath or socketPath")
        try:
            engine = _options(config.collectionMode.value, config.fileReadMode, config.falcoFilter)
        except UsageError as error:
            raise SysFlowException(str(error)) from None
        engine.file_only = config.fileOnly
        engine.proc_flow = config.enableProcessFlow
        engine.container_only = config.filterContainers
        engine.rotate_seconds = max(config.rotateInterval, 0) if config.filePath else 0
        # Others read the file and the socket: they get the version that all know.
        schema = 5 if config.filePath or config.socketPath else versions.LATEST
        self._options = PorterOptions(engine, config.exporterID, config.nodeIP, schema)
        self._config = config
        self._exiting = False

    def run(self) -> int:
        """Convert the capture to its end, or until exit(). Returns 0.

        Raises SysFlowException; for a damaged capture at its end, when all that is sound was converted. What the
        callback raises ends the run.
        """
        config = self._config
        if self._exiting:
            return 0
        try:
            stats = port([config.scapInputPath], self._output(), self._options, self._go_on)
        except _Exit:
            return 0
        except _Raised as raised:
            raise raised.error from None
        except InputError as error:
            raise SysFlowException(str(error), _code(error)) from error
        except (OutputError, BrokenPipeError) as error:
            raise SysFlowException(str(error), SysFlowError.ErrorReadingFileSystem) from error
        if config.enableStats:
            counts = ", ".join(f"{name} {number}" for name, number in stats.records.items())
            logging.getLogger(config.appName).info("records: %s", counts)
        if stats.damaged:
            raise SysFlowException(f"{stats.damage[0]}; {_CONVERTED}", SysFlowError.EventParsingError)
        return 0

    def exit(self) -> None:
        """Stop: run() returns 0 soon. From the callback, a signal handler or another thread.

        Called in the callback, that call is the last. Flows that are open are left out, and so is a trace file that
        is not complete.
        """
        self._exiting = True

    def getVersion(self) -> str:
        """The version of sftools."""
        return __version__

    def _output(self) -> Output:
        config = self._config
        schema = versions.schema_json(self._options.schema)
        outputs: list[Output] = []
        if config.filePath:
            outputs.append(
                FileOutput(
                    self._file_name, lambda write: ContainerWriter(write, schema), splits=config.rotateInterval > 0
                )
            )
        if config.socketPath:
            outputs.append(SocketOutput(config.socketPath))
        if config.callback:
            outputs.append(_Calls(config.callback, schema, self._go_on))
        return functools.reduce(Both, outputs)

    def _file_name(self, second: int) -> str:
        path = self._config.filePath
        if path.endswith("/"):
            return f"{path}{second}"
        return f"{path}.{second}" if self._config.rotateInterval > 0 else path

    def _go_on(self, *_: object) -> None:
        if self._exiting:
            raise _Exit


class _Exit(Exception):
    """exit() was called."""


class _Raised(Exception):
    """What the callback raised, so that it is not taken for an error of the conversion."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Calls:
    """The output that calls a callback."""

    splits = True
    wants_datums = False
    bytes_written = 0

    def __init__(self, callback: SysFlowCallback, schema: str, go_on: Callable[[], None]) -> None:
        self.paths: list[str] = []
        self._callback = callback
        self._row = Row(Plan(schema, _ANY_SIZE))
        self._go_on = go_on

    def begin(self, second: int) -> str:
        return ""

    def next(self, second: int) -> str:
        return ""

    def block(self, data: bytes, count: int) -> None:
        row = self._row
        row.load(data, count)
        while row.advance():
            if row.header is not None:
                self._go_on()
                try:
                    self._callback(row.header, row.container, row.process, row.file, row.new_file, row.record)
                except Exception as error:
                    raise _Raised(error) from error

    def datum(self, data: bytes) -> None:
        pass

    def commit(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def _code(error: InputError) -> SysFlowError:
    system = error.__context__
    if isinstance(system, OSError) and system.errno == errno.ENAMETOOLONG:
        return SysFlowError.NameTooLong
    if isinstance(system, OSError) or error.offset is None:
        return SysFlowError.ErrorReadingFileSystem
    return SysFlowError.EventParsingError
