"""Reads Avro object container files: hostile bytes in, a schema and blocks of encoded records out, within limits.

Source: Apache Avro specification 1.11, "Object Container Files".
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from sftools import limits
from sftools.avro.container import MAGIC, SYNC_BYTES
from sftools.errors import InputError

_CHUNK = 256 * 1024


class Bytes(Protocol):
    """Where a container's bytes come from: what sftools.source opens. name: for messages."""

    name: str

    def readinto(self, room: memoryview, /) -> int:
        """Fill `room` from its beginning; returns how many bytes came, 0 at the end. Raises InputError."""


class Block(NamedTuple):
    """Encoded records, expanded; `number`: how many; `offset`: where the block begins in the container."""

    data: bytes
    number: int
    offset: int


class ContainerReader:
    """An open container: its codec, its schema (JSON text) and its blocks.

    Raises InputError where the bytes are no container or the codec is unknown.
    """

    def __init__(self, source: Bytes) -> None:
        self._input = _Input(source)
        self.name = source.name
        self.codec, self.schema, self._sync = _header(self._input)

    def blocks(self, damaged: Callable[[InputError], None] | None = None) -> Iterator[Block]:
        """The blocks in their order.

        Raises InputError where one is cut, damaged or too large. With `damaged`, that is called with the error instead,
        and the blocks behind the next sync marker follow.
        """
        source = self._input
        finds = 0
        while not source.at_end():
            start = source.offset
            source.keep()
            try:
                stored, number = self._framed(start)
            except InputError as error:
                if damaged is None:
                    raise
                damaged(error)
                finds += 1
                if finds > limits.MAX_DAMAGED_BLOCKS or not source.find(self._sync):
                    return
                continue
            try:
                data = _expand(self.codec, stored)
            except _EXPAND_ERRORS as error:
                cause = InputError(source.name, f"damaged block: {one_line(error)}", start)
                if damaged is None:
                    raise cause from None
                damaged(cause)
            else:
                yield Block(data, number, start)

    def _framed(self, start: int) -> tuple[bytes, int]:
        """A block as it is stored, and how many records it has."""
        source = self._input
        number, size = source.long("a block"), source.long("a block")
        if not 0 <= size <= limits.MAX_TRACE_BLOCK_BYTES or number < 0:
            raise InputError(source.name, f"a block claims {size} bytes with {number} records", start)
        data = source.take(size, "a block")
        if source.take(SYNC_BYTES, "a block") != self._sync:
            raise InputError(source.name, "damaged block: it does not end with the file's sync marker", start)
        return data, number


def one_line(error: Exception) -> str:
    """An error's text, which may have names out of the file in it, as a message can have it."""
    return "".join(char if char.isprintable() else "?" for char in str(error))


class _Input:
    """The bytes of a container with their offset."""

    def __init__(self, source: Bytes) -> None:
        self.name = source.name
        self.offset = 0
        self._source = source
        self._chunk = self._room = memoryview(bytearray(_CHUNK))
        self._at = 0
        self._end = 0
        self._kept = bytearray()

    def take(self, size: int, what: str) -> bytes:
        """`size` bytes; InputError where there are fewer. Memory grows only with bytes that arrive."""
        data = self.up_to(size)
        if len(data) < size:
            cut = self.offset - len(data)
            raise InputError(self.name, f"ends inside {what}", cut, "it is cut off or still being written")
        return data

    def up_to(self, size: int) -> bytes:
        """`size` bytes, or what there is."""
        begin = len(self._kept)
        while (missing := size - len(self._kept) + begin) and not self.at_end():
            stop = min(self._end, self._at + missing)
            self._kept += self._room[self._at : stop]
            self.offset += stop - self._at
            self._at = stop
        return bytes(self._kept[begin:])

    def at_end(self) -> bool:
        if self._at == self._end:
            self._room = self._chunk
            self._at, self._end = 0, self._source.readinto(self._chunk)
        return self._end == 0

    def keep(self) -> None:
        """What is taken from now on is kept, for find()."""
        self._kept.clear()

    def find(self, marker: bytes) -> bool:
        """Stand behind the first marker in what was kept and what follows; false where there is none."""
        tail = bytes(self._kept)
        self._kept.clear()
        while (at := tail.find(marker)) < 0:
            tail = tail[-len(marker) + 1 :]
            if self.at_end():
                return False
            tail += self.up_to(self._end - self._at)
            self._kept.clear()
        rest = tail[at + len(marker) :] + bytes(self._room[self._at : self._end])
        self.offset -= len(tail) - at - len(marker)
        self._room, self._at, self._end = memoryview(rest), 0, len(rest)
        return True

    def long(self, what: str) -> int:
        """An Avro long."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1, what)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise InputError(self.name, f"a number of more than 64 bits in {what}", self.offset)

    def text(self, left: int) -> bytes:
        """A string or bytes of the header, of at most `left` bytes."""
        size = self.long("its header")
        if not 0 <= size <= left:
            raise InputError(self.name, f"its header has more than {limits.MAX_TRACE_HEADER_BYTES} bytes", self.offset)
        return self.take(size, "its header")


def _header(source: _Input) -> tuple[str, str, bytes]:
    """Codec, schema as JSON and sync marker of a container."""
    magic = source.up_to(len(MAGIC))
    if not magic:
        raise InputError(source.name, "is empty", hint="a SysFlow trace is an Avro container file")
    if magic != MAGIC:
        hint = "it is a capture: convert it with sysporter" if magic == b"\n\r\r\n" else None
        raise InputError(source.name, "is not a SysFlow trace (no Avro container file)", 0, hint)
    meta: dict[bytes, bytes] = {}
    left = limits.MAX_TRACE_HEADER_BYTES
    while count := source.long("its header"):
        if count < 0:
            source.long("its header")
        for _ in range(min(abs(count), left + 1)):
            key = source.text(left)
            meta[key] = source.text(left - len(key))
            left -= len(key) + len(meta[key]) + 100  # what an entry takes in memory, even an empty one
            if left < 0:
                raise InputError(source.name, f"its header has more than {limits.MAX_TRACE_HEADER_BYTES} bytes", 0)
    codec = meta.get(b"avro.codec", b"null").decode("ascii", "backslashreplace")
    if codec not in _CODECS:
        raise InputError(source.name, f"unknown codec {codec!r}", 0, f"known are {', '.join(_CODECS)}")
    return codec, meta.get(b"avro.schema", b"").decode("utf-8", "replace"), source.take(SYNC_BYTES, "its header")


# -- codecs: none makes more than MAX_TRACE_BLOCK_BYTES, whatever the bytes claim


class _TooLarge(ValueError):
    pass


def _expand(codec: str, data: bytes) -> bytes:
    out = _CODECS[codec](data, limits.MAX_TRACE_BLOCK_BYTES + 1)
    if len(out) > limits.MAX_TRACE_BLOCK_BYTES:
        raise _TooLarge(f"it expands to more than {limits.MAX_TRACE_BLOCK_BYTES} bytes")
    return out


def _null(data: bytes, room: int) -> bytes:
    return data


def _deflate(data: bytes, room: int) -> bytes:
    """Raw deflate; by isal where it is, which takes a third of the time."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, room)
    corrupt: Any = isal_zlib.error  # its stub says that it is an instance
    try:
        out: bytes = isal_zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, room)
    except corrupt as error:
        raise ValueError(str(error)) from None
    return out


def _bzip2(data: bytes, room: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, room)


def _xz(data: bytes, room: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=2 * limits.MAX_WINDOW_BYTES).decompress(data, room)


def _zstandard(data: bytes, room: int) -> bytes:
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        # Frames of streaming writers do not say it (-1). One that claims too little: the reader ends there, no more.
        room = min(room, size + 1) if size >= 0 else room
        with zstandard.ZstdDecompressor(max_window_size=limits.MAX_WINDOW_BYTES).stream_reader(data) as stream:
            return stream.read(room)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _snappy(data: bytes, room: int) -> bytes:
    """Raw snappy, its length in front as a varint, and the CRC-32 of what it makes behind."""
    import cramjam

    size = 0
    for i, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            break
    if size >= room:
        raise _TooLarge(f"it claims to expand to {size} bytes")
    try:
        out = bytes(cramjam.snappy.decompress_raw(data[:-4]))
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from None
    if zlib.crc32(out) != int.from_bytes(data[-4:], "big"):
        raise ValueError("wrong checksum")
    return out


_CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": _null,
    "deflate": _deflate,
    "zstandard": _zstandard,
    "snappy": _snappy,
    "bzip2": _bzip2,
    "xz": _xz,
}
_EXPAND_ERRORS = (ValueError, zlib.error, lzma.LZMAError, OSError, EOFError)
