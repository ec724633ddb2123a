"""Writes Avro object container files: a header with the schema, then blocks of records, each followed by a sync marker.

Source: Apache Avro specification 1.11, "Object Container Files".
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any

from sftools.errors import UsageError

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
CODECS = ("deflate", "null", "zstandard", "snappy")

# isal's fastest level but one makes traces 3 % larger than zlib's level 6 in a tenth of the time; zlib's level 1 makes
# them 4 % larger in a third of it. At level 6 compression would be a third of a conversion.
_ISAL_LEVEL = 2
_ZLIB_LEVEL = 1
_ZSTD_LEVEL = 3


def long(value: int) -> bytes:
    """An Avro long (signed, 64 bits): zig-zag, then seven bits a byte, lowest first."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def byte_string(value: bytes) -> bytes:
    """An Avro bytes or string."""
    return long(len(value)) + value


def header(schema: str, codec: str, sync: bytes) -> bytes:
    """A container's header: magic, metadata (avro.codec, avro.schema), sync marker."""
    metadata = {b"avro.codec": codec.encode(), b"avro.schema": schema.encode()}
    pairs = b"".join(byte_string(key) + byte_string(value) for key, value in metadata.items())
    return MAGIC + long(len(metadata)) + pairs + long(0) + sync


class ContainerWriter:
    """Writes one container.

    write: takes bytes, all of them. schema: JSON. codec: one of CODECS. sync: 16 bytes; unset, random ones, as the
    format wants it. bytes_written counts the header too. Raises UsageError for an unknown codec, and what `write`
    raises.
    """

    def __init__(
        self, write: Callable[[bytes], Any], schema: str, codec: str = "deflate", sync: bytes | None = None
    ) -> None:
        self._compress = compressor(codec)
        self._write = write
        self._sync = os.urandom(SYNC_BYTES) if sync is None else sync
        first = header(schema, codec, self._sync)
        self._write(first)
        self.bytes_written = len(first)

    def block(self, data: bytes, count: int) -> None:
        """Write a block of `count` encoded records: what an Encoder's sink is called with."""
        packed = self._compress(data)
        out = b"".join((long(count), long(len(packed)), packed, self._sync))
        self._write(out)
        self.bytes_written += len(out)


def compressor(codec: str) -> Callable[[bytes], bytes]:
    """What compresses a block. Raises UsageError for an unknown codec."""
    makers = {"deflate": _deflate, "null": _null, "zstandard": _zstandard, "snappy": _snappy}
    if codec not in makers:
        raise UsageError(f"no codec {codec}: there are {', '.join(CODECS)}")
    return makers[codec]()


def _null() -> Callable[[bytes], bytes]:
    return lambda data: data


def _deflate() -> Callable[[bytes], bytes]:
    """Raw deflate (RFC 1951)."""
    make: Callable[[], Any]
    try:
        from isal import isal_zlib
    except ImportError:

        def make() -> Any:
            return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, -15)
    else:

        def make() -> Any:
            return isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, -15)

    def compress(data: bytes) -> bytes:
        stream = make()
        packed: bytes = stream.compress(data) + stream.flush()
        return packed

    return compress


def _zstandard() -> Callable[[bytes], bytes]:
    import zstandard

    compress: Callable[[bytes], bytes] = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress
    return compress


def _snappy() -> Callable[[bytes], bytes]:
    """Snappy without framing, followed by the CRC-32 of what was compressed, big-endian."""
    import cramjam

    def compress(data: bytes) -> bytes:
        return bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big")

    return compress
