"""Opens an input, wherever it lies and however it is compressed: the bytes that captures and traces are read from.

gzip (RFC 1952), zstd (RFC 8878) and lz4 frames are told by their first bytes, never by the name. Several members or
frames one after the other are one input, as gzip, zstd and lz4 themselves have it.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from sftools.errors import InputError
from sftools.limits import FREE_EXPANSION_BYTES, MAX_EMPTY_BYTES, MAX_EXPANSION, MAX_WINDOW_BYTES

STDIN = "-"

_INPUT = 32 * 1024
# Where compressed data is corrupt, what this much output still held is lost with it.
_OUTPUT = 32 * 1024
# While a pipe has nothing, signals are handled after this long at the latest.
_LOOK_MS = 200


class StreamDamage(InputError):
    """Compressed data is cut or corrupt; everything before was delivered. What a salvaging caller may go on after."""


class Stored(Protocol):
    """Where the stored bytes of a source come from.

    read and readinto may give fewer bytes than asked for, and give none at the end only. They raise OSError, or
    InputError with a text of their own.
    """

    def read(self, size: int, /) -> bytes: ...

    def readinto(self, room: memoryview, /) -> int: ...

    def close(self) -> None: ...


class _Descriptor:
    """An open file descriptor. Standard input stays open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def read(self, size: int, /) -> bytes:
        self._wait()
        return os.read(self._fd, size)

    def readinto(self, room: memoryview, /) -> int:
        self._wait()
        return os.readv(self._fd, [room])

    def _wait(self) -> None:
        """Until something can be read, with a look at signals now and then.

        One that comes in the moment before a read() does not end it: from a pipe it would wait for ever.
        """
        while not self._poll.poll(_LOOK_MS):
            pass

    def close(self) -> None:
        if self._fd > 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class Source:
    """An open input, and of a plain one all there is to it.

    name: for messages. size: bytes as stored, None for a pipe. consumed: how many of them are read.
    """

    def __init__(self, stored: Stored, name: str, head: bytes, size: int | None) -> None:
        self.name = name
        self.size = size
        self.consumed = len(head)
        self._stored = stored
        self._head = head

    def readinto(self, room: memoryview) -> int:
        """Fill `room` from its beginning; returns how many bytes came, 0 at the end. Raises InputError."""
        if self._head:
            n = min(len(room), len(self._head))
            room[:n] = self._head[:n]
            self._head = self._head[n:]
            return n
        try:
            n = self._stored.readinto(room)
        except OSError as error:
            raise InputError(self.name, _reason(error), self.consumed) from None
        self.consumed += n
        return n

    def starts_with(self, magic: bytes) -> bool:
        """Whether these (four at most) are the first bytes, of which none was read yet. Raises InputError."""
        return self._head.startswith(magic)

    def close(self) -> None:
        """Close the input; may be called again."""
        self._stored.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_source(path: str) -> Source:
    """Open a file, a named pipe, or `-` for standard input.

    Raises InputError where it cannot be opened or is a directory or a terminal. What stands in it is not judged.
    """
    name = "stdin" if path == STDIN else path
    try:
        fd = 0 if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise InputError(name, _reason(error)) from None
    except ValueError:
        raise InputError(repr(path), "is no file name: it contains a NUL byte") from None
    stored = _Descriptor(fd)
    try:
        size = _size(fd, name)
    except BaseException:
        stored.close()
        raise
    return open_stored(stored, name, size)


def open_stored(stored: Stored, name: str, size: int | None) -> Source:
    """The source of bytes that lie somewhere else, compressed or not. Raises InputError; then `stored` is closed."""
    head = b""
    try:
        while len(head) < 4 and (more := stored.read(_INPUT)):
            head += more
    except BaseException as error:
        stored.close()
        if isinstance(error, OSError):
            raise InputError(name, _reason(error)) from None
        raise
    for magic, mask, compression in _COMPRESSIONS:
        if _matches(head, magic, mask):
            return _Compressed(stored, name, head, size, compression)
    return Source(stored, name, head, size)


def _size(fd: int, name: str) -> int | None:
    """How many bytes an open file has, None where that is not known; InputError where it is not one to read."""
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(name, "is a directory", hint="name the files in it")
        if os.isatty(fd):
            raise InputError(name, "is a terminal", hint="redirect a file to it, or name one")
    except OSError as error:
        raise InputError(name, _reason(error)) from None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _reason(error: OSError) -> str:
    reasons = {errno.ENOENT: "does not exist", errno.EACCES: "may not be read (permission denied)"}
    return reasons.get(error.errno or 0) or f"cannot be read: {error.strerror or error}"


class _Compressed(Source):
    """A compressed input, decompressed as it is read.

    In the reader's thread. A thread beside it was measured to gain nothing: isal, zstd and lz4 take a fraction of the
    time that the engine takes for the same bytes, and the engine holds the GIL.
    """

    def __init__(self, stored: Stored, name: str, head: bytes, size: int | None, compression: _Compression) -> None:
        super().__init__(stored, name, head, size)
        self._compression = compression
        self._pieces = self._decompressed()
        self._piece = memoryview(b"")

    def readinto(self, room: memoryview) -> int:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        n = min(len(room), len(self._piece))
        room[:n] = self._piece[:n]
        self._piece = self._piece[n:]
        return n

    def starts_with(self, magic: bytes) -> bool:
        while len(self._piece) < len(magic) and (more := next(self._pieces, b"")):
            self._piece = memoryview(bytes(self._piece) + more)
        return self._piece[: len(magic)] == magic

    def _more(self) -> bytes:
        """The next bytes as they are stored."""
        head, self._head = self._head, b""
        if head:
            return head
        data = self._stored.read(_INPUT)
        self.consumed += len(data)
        return data

    def _decompressed(self) -> Iterator[bytes]:
        """What the input holds, in pieces of some 10 KiB; raises InputError behind what could be decompressed."""
        what = self._compression.name
        done = 0
        try:
            data = self._more()
            while data:
                decoder = self._compression.decoder()
                while not decoder.eof:
                    if decoder.needs_input and not data:
                        data = self._more()
                        if not data:
                            raise StreamDamage(self.name, f"the {what} data is cut", done, "is the file complete?")
                    piece = decoder.decompress(data, _OUTPUT)
                    data = b""
                    done += len(piece)
                    self._check_ratio(done)
                    if piece:
                        yield piece
                data = self._behind(decoder.unused_data or b"", done)
        except _TooWide as error:
            raise InputError(self.name, f"the {what} data {error}", done) from None
        except self._compression.errors() as error:
            raise StreamDamage(self.name, f"the {what} data is corrupt ({_first_line(error)})", done) from None
        except OSError as error:
            raise InputError(self.name, _reason(error), done) from None

    def _check_ratio(self, done: int) -> None:
        cause = ""
        if done > FREE_EXPANSION_BYTES and done > self.consumed * MAX_EXPANSION:
            cause = f"expands more than {MAX_EXPANSION} times"
        elif self.consumed - done > MAX_EMPTY_BYTES:
            cause = "is all but empty: it holds less than it takes"
        if cause:
            raise InputError(
                self.name, f"the {self._compression.name} data {cause}", done,
                "decompress it yourself if it can be trusted",
            )  # fmt: skip

    def _behind(self, data: bytes, done: int) -> bytes:
        """What stands behind a member or frame: the next one, or nothing; padding with NULs is nothing (as in gzip)."""
        data = data.lstrip(b"\0")
        while len(data) < 4 and (more := self._more()):
            data = (data + more).lstrip(b"\0")
        if data and not any(
            _matches(data, magic, mask) for magic, mask, own in _COMPRESSIONS if own is self._compression
        ):
            what = self._compression.name
            raise StreamDamage(self.name, f"the {what} data is followed by bytes that are not {what}", done)
        return data


# -- decompressors


class _Decoder(Protocol):
    """One member or frame; the interface of bz2.BZ2Decompressor."""

    eof: bool
    needs_input: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _TooWide(Exception):
    """Decompressing would take more memory than limits.MAX_WINDOW_BYTES."""


class _Compression:
    """A kind of compression: its name, how to make a decoder, and which exceptions say that data is corrupt.

    The libraries are imported when the first decoder is made.
    """

    def __init__(self, name: str, load: Callable[[], tuple[Callable[[], Any], tuple[type[Exception], ...]]]) -> None:
        self.name = name
        self._load = load
        self._loaded: tuple[Callable[[], Any], tuple[type[Exception], ...]] | None = None

    def decoder(self) -> _Decoder:
        if self._loaded is None:
            self._loaded = self._load()
        made: _Decoder = self._loaded[0]()
        return made

    def errors(self) -> tuple[type[Exception], ...]:
        return self._loaded[1] if self._loaded else ()


class _Gzip:
    """A gzip member, of a decompressobj of isal or zlib."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece: bytes = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.eof = self._inner.eof
        self.unused_data = self._inner.unused_data
        # With a full piece there may be more output without more input.
        self.needs_input = not self._inner.unconsumed_tail and len(piece) < max_length
        return piece


def _load_gzip() -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    import zlib

    try:
        from isal import igzip_lib, isal_zlib
    except ImportError:
        return lambda: _Gzip(zlib.decompressobj(31)), (zlib.error,)
    corrupt: Any = igzip_lib.IsalError  # its stub says that it is an instance
    return lambda: _Gzip(isal_zlib.decompressobj(31)), (corrupt,)


class _Zstd:
    """A zstd frame or skippable frame. python-zstandard does not bound what a call returns, and four bytes can be a
    block of 128 KiB: so it gets one block (RFC 8878, 3.1.1.2) at a time.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._data = bytearray()
        self._need = 5
        self._step: Callable[[bytes], bytes] = self._magic
        self._checksum = False
        self.eof = False
        self.needs_input = True

    @property
    def unused_data(self) -> bytes:
        return bytes(self._data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._data += data
        at = 0
        piece = b""
        while not piece and not self.eof and len(self._data) - at >= self._need:
            part = bytes(self._data[at : at + self._need])
            at += len(part)
            piece = self._step(part)
        del self._data[:at]
        self.needs_input = not self.eof and len(self._data) < self._need
        return piece

    def _magic(self, part: bytes) -> bytes:
        """The magic number, and the first byte of what follows."""
        if part[0] & 0xF0 == 0x50:
            self._lead = part[4:]
            self._need, self._step = 3, self._skippable
            return b""
        descriptor = part[4]
        single = descriptor >> 5 & 1
        self._checksum = bool(descriptor >> 2 & 1)
        self._lead = part
        self._need = 1 - single + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
        self._step = self._header
        return b""

    def _header(self, part: bytes) -> bytes:
        descriptor = self._lead[4]
        if descriptor >> 5 & 1:
            size = int.from_bytes(part[(0, 1, 2, 4)[descriptor & 3] :], "little")
            window = size + (256 if descriptor >> 6 == 1 else 0)
        else:
            base = 1 << 10 + (part[0] >> 3)
            window = base + (base >> 3) * (part[0] & 7)
        if window > MAX_WINDOW_BYTES:
            raise _TooWide(f"needs a window of {window} bytes; at most {MAX_WINDOW_BYTES} are accepted")
        self._need, self._step = 3, self._block_header
        return self._feed(self._lead + part)

    def _block_header(self, part: bytes) -> bytes:
        header = int.from_bytes(part, "little")
        self._last = header & 1
        size = 1 if header >> 1 & 3 == 1 else header >> 3
        self._need, self._step = size, self._block
        return self._feed(part)

    def _block(self, part: bytes) -> bytes:
        if self._last:
            self._need, self._step = 4 if self._checksum else 1, self._feed
        else:
            self._need, self._step = 3, self._block_header
        return self._feed(part)

    def _skippable(self, part: bytes) -> bytes:
        self._left = int.from_bytes(self._lead + part, "little")
        return self._skip(b"")

    def _skip(self, part: bytes) -> bytes:
        self._left -= len(part)
        self.eof = self._left == 0
        self._need, self._step = min(self._left, _INPUT), self._skip
        return b""

    def _feed(self, part: bytes) -> bytes:
        piece: bytes = self._inner.decompress(part)
        self.eof = self._inner.eof
        return piece


def _load_zstd() -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    import zstandard

    shared = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    return lambda: _Zstd(shared.decompressobj()), (zstandard.ZstdError,)


def _load_lz4() -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    import lz4.frame

    return lz4.frame.LZ4FrameDecompressor, (RuntimeError,)


_GZIP = _Compression("gzip", _load_gzip)
_ZSTD = _Compression("zstd", _load_zstd)
_LZ4 = _Compression("lz4", _load_lz4)

# (magic, mask, compression). 0x184D2A50 to 5F: a skippable frame, which pzstd begins with.
_COMPRESSIONS = (
    (b"\x1f\x8b\x08", b"\xff\xff\xff", _GZIP),
    (b"\x28\xb5\x2f\xfd", b"\xff\xff\xff\xff", _ZSTD),
    (b"\x50\x2a\x4d\x18", b"\xf0\xff\xff\xff", _ZSTD),
    (b"\x04\x22\x4d\x18", b"\xff\xff\xff\xff", _LZ4),
)


def _matches(head: bytes, magic: bytes, mask: bytes) -> bool:
    return len(head) >= len(magic) and all(
        byte & bits == want for byte, bits, want in zip(head, mask, magic, strict=False)
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
