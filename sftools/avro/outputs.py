"""Where a trace goes: a file, several that are named by time, a stream, a socket.

A file gets its name when it is complete (sftools.newfile), and so does each part of a trace that is split.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from sftools.avro.container import ContainerWriter
from sftools.errors import ExistsError, OutputError
from sftools.newfile import NewFile, Patience, write_all


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
        """Complete what was written, and begin anew, as begin() does. Only where `splits`."""

    def commit(self) -> None:
        """Complete what was written."""

    def abandon(self) -> None:
        """Leave nothing of what is not complete. Raises nothing."""


Container = Callable[[Callable[[bytes], object]], ContainerWriter]
"""Begins a container with what writes bytes."""


class FileOutput:
    """A trace in one file, or in files that are named by the capture time at which they begin.

    name: given that time in s, the file's path. Two of one output that begin in the same second get `.1`, `.2`, ...
    later: instead, a file whose name is taken, by another output too, gets that of the next second that is free.
    A device, FIFO or socket of that name is written to as it is; patience: with its reader.
    """

    def __init__(
        self,
        name: Callable[[int], str],
        container: Container,
        *,
        splits: bool = False,
        force: bool = False,
        later: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.splits = splits
        self.wants_datums = False
        self.paths: list[str] = []
        self._taken: dict[str, int] = {}
        self._name = name
        self._container = container
        self._force = force
        self._patience = patience
        self._later = later
        self._second = 0
        self._file: NewFile | None = None
        self._writer: ContainerWriter | None = None
        self._written = 0

    @property
    def bytes_written(self) -> int:
        return self._written + (self._writer.bytes_written if self._writer else 0)

    def begin(self, second: int) -> str:
        path, self._file = self._begin_later(second) if self._later else self._begin_at(second)
        self.paths.append(path)
        self._writer = self._container(self._file.write)
        return path

    def _begin_at(self, second: int) -> tuple[str, NewFile]:
        path = self._name(second)
        again = self._taken[path] = self._taken.get(path, -1) + 1
        if again:
            path = f"{path}.{again}"
        self._file = NewFile(path, self._force, patience=self._patience)
        self._file.open()
        return path, self._file

    def _begin_later(self, second: int) -> tuple[str, NewFile]:
        """Names stay in the order of the files."""
        while True:
            self._second = second = max(second, self._second + 1)
            path = self._name(second)
            self._file = NewFile(path, self._force, patience=self._patience)
            try:
                self._file.open()
                if self._force or self._file.alone():
                    return path, self._file
            except ExistsError:
                pass
            self._file.abandon()

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
    """A trace to an open file descriptor, which stays open. Raises BrokenPipeError where its reader is gone.

    patience: with a reader that does not read.
    """

    splits = False
    wants_datums = False

    def __init__(self, fd: int, container: Container, patience: Patience | None = None) -> None:
        self.paths: list[str] = []
        self._patience = patience
        self._fd = fd
        self._container = container
        self._writer: ContainerWriter | None = None

    @property
    def bytes_written(self) -> int:
        return self._writer.bytes_written if self._writer else 0

    def begin(self, second: int) -> str:
        self._writer = self._container(lambda data: write_all(self._fd, data, "stdout", self._patience))
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

    The socket is connected at once: OutputError where nobody listens. patience: with a reader that does not read.
    """

    splits = True
    wants_datums = True

    def __init__(self, path: str, patience: Patience | None = None) -> None:
        import socket

        self.bytes_written = 0
        self.paths: list[str] = []
        self._path = path
        self._patience = patience
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
            if self._patience is not None:
                self._patience.wait_writable(self._socket.fileno(), self._path)
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
