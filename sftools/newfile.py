"""Files that appear under their name only when they are complete.

Until then a file lies beside, under a temporary name (temporary_name). Nothing is overwritten without force.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import select
import stat
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO, NoReturn

from sftools.errors import ExistsError, OutputError

_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)
# File systems allow names of 255 bytes; the rest of a temporary name is shorter than this.
_NAME_BYTES = 255 - 32

_SPECIAL = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
_PATIENCE_SECONDS = 3.0
# How often it is looked whether patience is at its end.
_LOOK_SECONDS = 0.05

# File systems and sandboxes that have no hard links.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


def temporary_name(path: str) -> str:
    """A name in the directory of `path` for what becomes `path`: `.NAME.<pid>.<8 hex digits>.tmp`."""
    directory, name = os.path.split(path)
    short = os.fsdecode(os.fsencode(name)[:_NAME_BYTES])
    return os.path.join(directory, f".{short}.{os.getpid()}.{os.urandom(4).hex()}.tmp")


def make_directories(path: str) -> None:
    """A directory, with those above it, unless it is there. Raises OSError."""
    try:
        os.makedirs(path, exist_ok=True)
    except RecursionError:  # it calls itself for each
        raise OSError(errno.ENAMETOOLONG, "too many directories in each other", path) from None


def is_temporary(name: str) -> bool:
    """True for a file name (without directory) that temporary_name made: a trace that is not complete, or never was."""
    return _TEMPORARY.fullmatch(name) is not None


class Patience:
    """How long what is written may wait for its reader: for ever until end(), from then on some seconds at a time.

    duration: seconds after which end() is to be expected; what waits longer without it is given up too.
    """

    def __init__(self, duration: float = math.inf) -> None:
        self._duration = duration
        self._ended = math.inf

    def end(self) -> None:
        """What is to be written ends now. For signal handlers and other threads too."""
        self._ended = min(self._ended, time.monotonic())

    def wait(self, ready: Callable[[], bool], name: str, why: str) -> None:
        """Until ready() is true, which itself waits _LOOK_SECONDS at most. Raises OutputError of `name`."""
        began = time.monotonic()
        while not ready():
            if time.monotonic() > max(began, min(self._ended, began + self._duration)) + _PATIENCE_SECONDS:
                raise OutputError(f"{name}: {why}, and what there is for it is given up")

    def wait_writable(self, fd: int, name: str) -> None:
        """Until `fd` takes something without blocking. Raises OutputError."""
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        self.wait(lambda: bool(poll.poll(_LOOK_SECONDS * 1000)), name, "its reader does not read")


class NewFile:
    """A file that appears under its name when it is complete: open(), write() or stream(), commit() or abandon().

    mode: of the file, less the umask. patience: with the reader of a FIFO or the like; without it writing waits for
    ever. All but abandon() raise OutputError; what is written to the stream raises OSError.
    """

    def __init__(self, path: str, force: bool, mode: int = 0o666, patience: Patience | None = None) -> None:
        self._path = path
        self._force = force
        self._mode = mode
        self._patience = patience
        self._fd = -1
        self._temporary: str | None = None

    def open(self) -> None:
        """Begin the temporary file; a device, FIFO or socket is opened as it is.

        Raises ExistsError where the name is taken, without force.
        """
        check(self._path, self._force)
        try:
            if _is_special(self._path):
                if self._patience is None:
                    self._fd = os.open(self._path, _SPECIAL)
                else:
                    self._patience.wait(self._open_with_reader, self._path, "nobody opens it for reading")
                return
            if os.path.exists(self._path):  # what a symbolic link points at is replaced, not the link
                self._path = os.path.realpath(self._path)
            self._temporary = temporary_name(self._path)
            self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        except OSError as error:
            _refuse(self._path, error)

    def alone(self) -> bool:
        """Whether nobody else made a file of this name since open(), or is making one now.

        Of two that ask, at least one is told that it is not: whoever is told that it is may keep the name.
        """
        if self._temporary is None:
            return True
        directory, own = os.path.split(self._temporary)
        begin = f".{os.path.basename(self._path)}."
        # In this order: others have their name before they give up the temporary one.
        try:
            names = os.listdir(directory or ".")
        except OSError as error:
            _refuse(self._path, error)
        making = any(name.startswith(begin) and name != own and is_temporary(name) for name in names)
        return not making and not os.path.lexists(self._path)

    def _open_with_reader(self) -> bool:
        try:
            self._fd = os.open(self._path, _SPECIAL | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a FIFO that nobody reads
                raise
            time.sleep(_LOOK_SECONDS)
            return False
        os.set_blocking(self._fd, True)
        return True

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._fd, data, self._path, self._patience)

    def stream(self) -> BinaryIO:
        """For writing, instead of write(); it is to be flushed before commit()."""
        return open(self._fd, "wb", closefd=False)

    def commit(self) -> None:
        """Put the bytes on the disk, then give the file its name; a device, FIFO or socket is closed.

        Raises ExistsError where somebody else has taken the name since, without force; it is to be abandoned then.
        """
        if self._temporary is None:
            self._close()
            return
        try:
            os.fsync(self._fd)
            self._close()
            if self._force:
                os.replace(self._temporary, self._path)
            else:
                _rename_new(self._temporary, self._path)
        except OSError as error:
            _refuse(self._path, error)
        self._temporary = None

    def abandon(self) -> None:
        """Leave nothing of a file that has no name yet. Raises nothing; does nothing to one that has."""
        with contextlib.suppress(OSError):
            if self._fd >= 0:
                self._close()
        with contextlib.suppress(OSError):
            if self._temporary is not None:
                os.unlink(self._temporary)

    def _close(self) -> None:
        """Once, also where a signal ends the call: the number may belong to somebody else then."""
        fd, self._fd = self._fd, -1
        os.close(fd)


def check(path: str, force: bool, inputs: Iterable[str] = ()) -> None:
    """Say before the work what will not do: raises OutputError where `path` exists, or its directory does not.

    With `force` it may exist, but not be one of the inputs: a slip must not cost a recording.
    """
    if os.path.isdir(path):
        raise OutputError(f"{path}: is a directory")
    if os.path.isfile(path) and any(os.path.isfile(name) and os.path.samefile(name, path) for name in inputs):
        raise OutputError(f"{path}: is also an input")
    if os.path.lexists(path) and not force and not _is_special(path):
        raise ExistsError(path)
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


def write_all(fd: int, data: bytes | memoryview, name: str, patience: Patience | None = None) -> None:
    """Write to an open file, `name` in messages. Raises OutputError; BrokenPipeError where a pipe has no reader."""
    rest = memoryview(data)
    try:
        if patience is not None and not stat.S_ISREG(os.fstat(fd).st_mode):
            while rest:
                patience.wait_writable(fd, name)
                rest = rest[os.write(fd, rest[: select.PIPE_BUF]) :]  # which a pipe then has room for
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        _refuse(name, error)


def give_up(fd: int) -> None:
    """Let what is still written to fd go nowhere, for one what a failed write has left in a buffer.

    At its end Python tries that again, and where it fails once more the exit status is 120.
    """
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, fd)
        os.close(nowhere)
    except OSError:
        pass  # too many open files: then the status is 120


def _refuse(path: str, error: OSError) -> NoReturn:
    if isinstance(error, FileExistsError):
        raise ExistsError(path) from None
    raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
