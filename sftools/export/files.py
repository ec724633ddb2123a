"""Files of a watched directory: opened without following links, compared, hashed, removed when it is safe."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import signal
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from sftools.errors import SftoolsError
from sftools.store.objects import PIECE_BYTES, Part, pieces

STATE_NAME = ".sf-exporter"
"""The directory in a watched one that has its lock and journal."""

# Before Linux 6.13 the times of files advance with the kernel's ticks, of 10 ms at most: they do not tell the second of
# two changes in one.
_TICK_NS = 10_000_000
_COMPRESSION_LEVEL = {"gzip": 6, "zstd": 3}
SUFFIXES = {"none": "", "gzip": ".gz", "zstd": ".zst"}


class Changed(SftoolsError):
    """A file is not what it was when work on it began."""


class Identity(NamedTuple):
    """What tells that a file is the same and has not been written to. Times in ns."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Identity:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def seconds_until_told(self) -> float:
        """How long to wait until the file may be read: what is written after that changes its times."""
        return min(max(self.ctime_ns + _TICK_NS - time.time_ns(), 0), _TICK_NS) / 1e9


class Removal(Enum):
    """What became of a file that was to be removed."""

    REMOVED = "removed"
    CHANGED = "changed"
    HELD = "held"
    """Somebody has it open for writing."""


@contextlib.contextmanager
def parent_of(root: int, relative: str) -> Iterator[tuple[int, str]]:
    """An open directory and a name in it, for a path below the open directory `root`; no link is followed."""
    *directories, name = relative.split("/")
    if not directories:
        yield root, name
        return
    fd = os.dup(root)
    try:
        for directory in directories:
            below = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd, name
    finally:
        os.close(fd)


def open_file(root: int, relative: str) -> int:
    """A regular file for reading, below the open directory `root`. Raises OSError; Changed where it is no file."""
    with parent_of(root, relative) as (directory, name):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Changed("is no regular file")
    return fd


def being_written(fd: int) -> bool | None:
    """Whether anybody has the file open for writing, as the kernel knows it; None where it does not tell."""
    writing = _lease(fd)
    if writing is False:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return writing


def _lease(fd: int) -> bool | None:
    """Take a read lease; False where it is had, else whether somebody writes, or None where the kernel does not tell.

    It is granted only while nobody has the file open for writing (fcntl(2), F_SETLEASE), on local file systems, to the
    file's owner and to root. Who opens the file for writing meanwhile waits until the lease is given back.
    """
    try:
        fcntl.fcntl(fd, 10, signal.SIGURG)  # F_SETSIG: told by a signal that is ignored, not SIGIO, which ends us
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN and not _asks_server(fd) else None
    return False


def _asks_server(fd: int) -> bool:
    """Whether a lease is refused (EAGAIN) also where the server has given no delegation, though nobody writes: Linux's
    nfs4_add_lease() and cifs_setlease(). Their files would never be exported.
    """
    return _file_system(os.fstat(fd).st_dev) in ("nfs4", "cifs", "smb3")


@functools.lru_cache(maxsize=64)
def _file_system(device: int) -> str:
    """Its type, by proc_pid_mountinfo(5); "" where that does not tell."""
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == number:
                return fields[fields.index(b"-", 6) + 1].decode("ascii", "replace")
    return ""


def remove(root: int, relative: str, fd: int, expected: Identity) -> Removal:
    """Remove a file that is open as `fd`, as `expected` says, if it still is that and nobody writes to it.

    With a lease, who opens it for writing now waits until it has no name any more. Raises OSError.
    """
    writing = _lease(fd)
    if writing:
        return Removal.HELD
    try:
        with parent_of(root, relative) as (directory, name):
            try:
                there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return Removal.CHANGED
            if Identity.of(there) != expected:
                return Removal.CHANGED
            os.unlink(name, dir_fd=directory)
            return Removal.REMOVED
    finally:
        if writing is False:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def digest_of_first(fd: int, size: int) -> str:
    """SHA-256 in hex of a file's first `size` bytes. Raises SftoolsError; Changed where it has fewer."""
    digest = hashlib.sha256()
    for piece in _first(fd, size):
        digest.update(piece)
    return digest.hexdigest()


def _first(fd: int, size: int) -> Iterator[bytes]:
    return pieces(functools.partial(_read, fd, 0), size)


def _read(fd: int, begin: int, at: int, size: int) -> bytes:
    """Bytes of a file, `at` after `begin`. Raises SftoolsError; Changed where there are fewer."""
    at += begin
    try:
        piece = os.pread(fd, size, at)
        while len(piece) < size:
            more = os.pread(fd, size - len(piece), at + len(piece))
            if not more:
                raise Changed("became shorter while it was read")
            piece += more
    except OSError as error:  # not of the connection on which the bytes are sent
        raise SftoolsError(f"cannot be read: {error.strerror}") from None
    return piece


def _cut(buffer: bytearray, size: int) -> bytes:
    """Take the first bytes out of a buffer."""
    part = bytes(memoryview(buffer)[:size])
    del buffer[:size]
    return part


class Content:
    """What is sent for a file's first `size` bytes: parts of `part_size`, as they are or compressed.

    Reads everything once, for the digests. beside: makes a call in another thread (Parts.do).
    Raises SftoolsError; Changed where there are fewer bytes.
    """

    def __init__(
        self,
        fd: int,
        size: int,
        part_size: int,
        compression: str,
        beside: Callable[[Callable[[Part], bytes], Part], Future[bytes]],
    ) -> None:
        self._fd = fd
        self.plain_size = size
        self.part_size = part_size
        self.compression = compression
        self.size = 0
        self._parts: list[Part] = []
        self._beside = beside
        plain = hashlib.sha256()
        self._stored = plain if compression == "none" else hashlib.sha256()
        for part in map(self._digested, self._read_parts(None if self._stored is plain else plain)):
            self._parts.append(part)
            self.size += part.size
            if compression != "none" and part.number > 1:  # they are made again: not all have room in memory
                self._parts[-2:] = [replace(each, read=_gone) for each in self._parts[-2:]]
            del part  # it would stay until the next has been made
        self.sha256: str = self._stored.hexdigest()
        self.plain_sha256: str = plain.hexdigest()
        self.md5s = [part.md5 for part in self._parts]

    def parts(self) -> Iterator[Part]:
        """The parts, whose bytes are read or made again. Raises Changed where they cannot be what they were."""
        if self.compression == "none" or len(self._parts) == 1:
            return iter(self._parts)
        return map(self._again, self._read_parts(None))

    def _digested(self, part: Part) -> Part:
        md5 = self._beside(Part.md5_of_bytes, part) if part.size > PIECE_BYTES else None
        whole = self.compression == "none" and part.size == self.plain_size
        sha256 = self._stored if whole else hashlib.sha256()
        for piece in part.pieces():
            sha256.update(piece)
            if not whole:
                self._stored.update(piece)
        return replace(part, md5=md5.result() if md5 else part.md5_of_bytes(), sha256=sha256.hexdigest())

    def _again(self, part: Part) -> Part:
        if part.number > len(self._parts) or part.size != self._parts[part.number - 1].size:
            raise Changed("changed while it was read")
        return replace(self._parts[part.number - 1], read=part.read)

    def _read_parts(self, plain: Any) -> Iterator[Part]:
        """Parts without digests. plain: takes the bytes as they are in the file, where they are compressed.

        A generator that waits keeps what its variables name: here, and in what passes bytes on, none names any.
        """
        size, part_size, number = self.plain_size, self.part_size, 0
        if self.compression == "none":
            if size <= min(part_size, PIECE_BYTES):  # no need to read it twice
                yield Part.of(_read(self._fd, 0, 0, size))
                return
            for at in range(0, size, part_size):
                number += 1
                yield Part(number, at, min(part_size, size - at), functools.partial(_read, self._fd, at))
            return
        buffer = bytearray()
        for piece in self._compressed(plain):
            buffer += piece
            while len(buffer) >= part_size:
                number += 1
                yield Part.of(_cut(buffer, part_size), number, (number - 1) * part_size)
        if buffer:
            yield Part.of(_cut(buffer, part_size), number + 1, number * part_size)

    def _compressed(self, plain: Any) -> Iterator[bytes]:
        compressor: Any
        if self.compression == "gzip":
            compressor = zlib.compressobj(_COMPRESSION_LEVEL["gzip"], zlib.DEFLATED, 31)
        else:
            import zstandard

            compressor = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL["zstd"]).compressobj(size=self.plain_size)
        for piece in _first(self._fd, self.plain_size):
            if plain is not None:
                plain.update(piece)
            yield compressor.compress(piece)
        yield compressor.flush()


def _gone(at: int, size: int) -> bytes:
    raise ValueError("these bytes have to be made again")
