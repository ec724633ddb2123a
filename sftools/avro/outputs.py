"""Where a trace goes: a file, several that are named by time, a stream, a socket.

A file gets its name when it is complete: until then it lies beside, under a temporary name (temporary_name). So does
each part of a trace that is split. Nothing is overwritten without force.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from typing import BinaryIO, NoReturn, Protocol

from sftools.avro.container import ContainerWriter
from sftools.errors import OutputError

_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)
# File systems allow names of 255 bytes; the rest of a temporary name is shorter than this.
_NAME_BYTES = 255 - 32

# File systems and sandboxes that have no hard links.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


def temporary_name(path: str) -> str:
    """A name in the directory of `path` for what becomes `path`: `.NAME.<pid>.<8 hex digits>.tmp`."""
    directory, name = os.path.split(path)
    short = os.fsdecode(os.fsencode(name)[:_NAME_BYTES])
    return os.path.join(directory, f".{short}.{os.getpid()}.{os.urandom(4).hex()}.tmp")


def is_temporary(name: str) -> bool:
    """True for a file name (without directory) that temporary_name made: a trace that is not complete, or never was."""
    return _TEMPORARY.fullmatch(name) is not None


class Output(Protocol):
    """What a conversion writes to, in this order: begin, block and datum as they come, perhaps next and so on, commit.

    Instead of the commit, or after a failed one, comes abandon. All raise OutputError, streams BrokenPipeError too.
    """

    splits: bool
    """True where the trace can go on in another file."""
    wants_datums: bool
    """True where datum() is of use."""

    @property
    def paths(self) -> list[str]:
        """Of the files begun."""

    @property
    def bytes_written(self) -> int:
        """Bytes after compression."""

    def begin(self, second: int) -> str:
        """Open it. second: capture time of the first event, in s since 1970. Returns the name for the header."""

    def block(self, data: bytes, count: int) -> None:
        """A block of `count` encoded records."""

    def datum(self, data: bytes) -> None:
        """A single encoded record. Those of a block come before it."""

    def next(self, second: int) -> str:
        """Complete what was written, and begin anew."""

    def commit(self) -> None:
        """Complete what was written."""

    def abandon(self) -> None:
        """Leave nothing of what is not complete. Raises nothing."""


Container = Callable[[Callable[[bytes], object]], ContainerWriter]
"""Begins a container with what writes bytes."""


class FileOutput:
    """A trace in one file, or in files that are named by the capture time at which they begin.

    name: given that time in s, the file's path. Two of one output that begin in the same second get `.1`, `.2`, ...
    A device, FIFO or socket of that name is written to as it is.
    """

    def __init__(self, name: Callable[[int], str], container: Container, *, splits: bool = False, force: bool = False):
        self.splits = splits
        self.wants_datums = False
        self.paths: list[str] = []
        self._taken: dict[str, int] = {}
        self._name = name
        self._container = container
        self._force = force
        self._file: NewFile | None = None
        self._writer: ContainerWriter | None = None
        self._written = 0

    @property
    def bytes_written(self) -> int:
        return self._written + (self._writer.bytes_written if self._writer else 0)

    def begin(self, second: int) -> str:
        path = self._name(second)
        again = self._taken[path] = self._taken.get(path, -1) + 1
        if again:
            path = f"{path}.{again}"
        self._file = NewFile(path, self._force)
        self._file.open()
        self.paths.append(path)
        self._writer = self._container(self._file.write)
        return path

    def block(self, data: bytes, count: int) -> None:
        assert self._writer is not None
        self._writer.block(data, count)

    def datum(self, data: bytes) -> None:
        pass

    def next(self, second: int) -> str:
        self.commit()
        return self.begin(second)

    def commit(self) -> None:
        assert self._file is not None
        self._file.commit()
        self._written = self.bytes_written
        self._file = self._writer = None

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None


class StreamOutput:
    """A trace to an open file descriptor, which stays open. Raises BrokenPipeError where its reader is gone."""

    splits = False
    wants_datums = False

    def __init__(self, fd: int, container: Container) -> None:
        self.paths: list[str] = []
        self._fd = fd
        self._container = container
        self._writer: ContainerWriter | None = None

    @property
    def bytes_written(self) -> int:
        return self._writer.bytes_written if self._writer else 0

    def begin(self, second: int) -> str:
        self._writer = self._container(lambda data: _write_all(self._fd, data, "stdout"))
        return "-"

    def block(self, data: bytes, count: int) -> None:
        assert self._writer is not None
        self._writer.block(data, count)

    def datum(self, data: bytes) -> None:
        pass

    def next(self, second: int) -> str:
        raise NotImplementedError

    def commit(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class SocketOutput:
    """A trace to a unix socket of type SOCK_SEQPACKET that somebody listens on: each record one message, bare Avro.

    The socket is connected at once: OutputError where nobody listens.
    """

    splits = True
    wants_datums = True

    def __init__(self, path: str) -> None:
        import socket

        self.bytes_written = 0
        self.paths: list[str] = []
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # A message is sent whole or not at all; a process's arguments and environment can be 128 KiB and more.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            self._socket.connect(path)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise OutputError(f"{path}: cannot be connected to: {getattr(error, 'strerror', None) or error}") from None

    def begin(self, second: int) -> str:
        return self._path

    def block(self, data: bytes, count: int) -> None:
        pass

    def datum(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except BrokenPipeError:
            raise OutputError(f"{self._path}: the reader has closed the socket") from None
        except OSError as error:
            why = f"a record of {len(data)} bytes is too long" if error.errno == errno.EMSGSIZE else error.strerror
            raise OutputError(f"{self._path}: cannot be written to: {why}") from None
        self.bytes_written += len(data)

    def next(self, second: int) -> str:
        return self._path

    def commit(self) -> None:
        self._socket.close()

    def abandon(self) -> None:
        self._socket.close()


class Both:
    """A trace to two outputs at once; the header has the first one's name."""

    wants_datums = True

    def __init__(self, first: Output, second: Output) -> None:
        self._outputs = (first, second)
        self.splits = first.splits and second.splits

    @property
    def paths(self) -> list[str]:
        return [path for output in self._outputs for path in output.paths]

    @property
    def bytes_written(self) -> int:
        return sum(output.bytes_written for output in self._outputs)

    def begin(self, second: int) -> str:
        name = self._outputs[0].begin(second)
        self._outputs[1].begin(second)
        return name

    def block(self, data: bytes, count: int) -> None:
        for output in self._outputs:
            output.block(data, count)

    def datum(self, data: bytes) -> None:
        for output in self._outputs:
            output.datum(data)

    def next(self, second: int) -> str:
        name = self._outputs[0].next(second)
        self._outputs[1].next(second)
        return name

    def commit(self) -> None:
        for output in self._outputs:
            output.commit()

    def abandon(self) -> None:
        for output in self._outputs:
            output.abandon()


class NewFile:
    """A file that appears under its name when it is complete: open(), write() or stream(), commit() or abandon().

    All but abandon() raise OutputError; what is written to the stream raises OSError.
    """

    def __init__(self, path: str, force: bool) -> None:
        self._path = path
        self._force = force
        self._fd = -1
        self._temporary: str | None = None

    def open(self) -> None:
        check(self._path, self._force)
        try:
            if _is_special(self._path):
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
                return
            if os.path.exists(self._path):  # what a symbolic link points at is replaced, not the link
                self._path = os.path.realpath(self._path)
            self._temporary = temporary_name(self._path)
            self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            _refuse(self._path, error)

    def write(self, data: bytes) -> None:
        _write_all(self._fd, data, self._path)

    def stream(self) -> BinaryIO:
        """For writing, instead of write(); it is to be flushed before commit()."""
        return open(self._fd, "wb", closefd=False)

    def commit(self) -> None:
        if self._temporary is None:
            os.close(self._fd)
            return
        try:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            if self._force:
                os.replace(self._temporary, self._path)
            else:
                _rename_new(self._temporary, self._path)
        except OSError as error:
            _refuse(self._path, error)
        self._temporary = None

    def abandon(self) -> None:
        try:
            if self._fd >= 0:
                os.close(self._fd)
            if self._temporary is not None:
                os.unlink(self._temporary)
        except OSError:
            pass


def check(path: str, force: bool, inputs: Iterable[str] = ()) -> None:
    """Say before the work what will not do: raises OutputError where `path` exists, or its directory does not.

    With `force` it may exist, but not be one of the inputs: a slip must not cost a recording.
    """
    if os.path.isdir(path):
        raise OutputError(f"{path}: is a directory")
    if os.path.isfile(path) and any(os.path.isfile(name) and os.path.samefile(name, path) for name in inputs):
        raise OutputError(f"{path}: is also an input")
    if os.path.lexists(path) and not force and not _is_special(path):
        raise OutputError(f"{path}: exists already; --force overwrites it")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise OutputError(f"{path}: there is no directory {directory}")


def _is_special(path: str) -> bool:
    """A device, FIFO or the like, which is no place for a temporary file beside it."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _rename_new(temporary: str, path: str) -> None:
    """Rename, but over nothing. Raises FileExistsError."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links there is a moment between looking and renaming.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(temporary, path)
    else:
        os.unlink(temporary)


def _write_all(fd: int, data: bytes, name: str) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        _refuse(name, error)


def _refuse(path: str, error: OSError) -> NoReturn:
    if isinstance(error, FileExistsError):
        raise OutputError(f"{path}: exists already; --force overwrites it") from None
    raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
