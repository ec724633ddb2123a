"""What the exporter asks of a place for objects, whichever client or file system is behind it.

Objects have a key, metadata and a digest. Every call is one request: who calls decides about trying again, and the
error's class says whether that can help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sftools.errors import SftoolsError

# S3's own bound for an upload.
MAX_PARTS = 10_000
# What is read and sent at a time. The C library gives memory of this size from what it has, larger one from the kernel,
# which clears it each time: that takes longer than reading.
PIECE_BYTES = 256 << 10


class StoreError(SftoolsError):
    """A request that failed. This class itself: for a reason that lies in this object, not in the store."""


class Unavailable(StoreError):
    """The store does not answer, is overloaded or fails; the same request may work later."""


class Denied(StoreError):
    """Credentials that are wrong, expired or do not allow it; new ones may."""


class NoBucket(StoreError):
    """The bucket is missing."""


class Taken(StoreError):
    """A condition was not met: the key has an object, or another one than expected."""


class NoConditions(StoreError):
    """The store does not know conditional requests."""


class NoUpload(StoreError):
    """The multipart upload does not exist (any more)."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object. size: bytes. meta: names in lower case. encrypted: the ETag is no MD5 then."""

    size: int
    etag: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for a write: with `etag`, that the object has it; without, that there is none."""

    etag: str | None = None

    def header(self, quoted: bool) -> tuple[str, str]:
        """As HTTP has it: name and value."""
        if self.etag:
            return "If-Match", f'"{self.etag}"' if quoted else self.etag
        return "If-None-Match", "*"


def pieces(read: Callable[[int, int], bytes], size: int) -> Iterator[bytes]:
    """All bytes, PIECE_BYTES at a time."""
    return (read(at, min(PIECE_BYTES, size - at)) for at in range(0, size, PIECE_BYTES))


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to be written: all of an object, or a part of it.

    number: from 1. offset: in the object. read: some of the bytes, by where they begin and how many they are; raises
    SftoolsError. md5: 16 bytes. sha256: in hex.
    """

    number: int
    offset: int
    size: int
    read: Callable[[int, int], bytes]
    md5: bytes = b""
    sha256: str = ""

    @classmethod
    def of(cls, data: bytes, number: int = 1, offset: int = 0) -> Part:
        """Of bytes that are in memory, without the digests."""
        return cls(number, offset, len(data), lambda at, size: data[at : at + size])

    def all(self) -> bytes:
        """In memory at once. Raises what `read` raises."""
        return self.read(0, self.size)

    def pieces(self) -> Iterator[bytes]:
        """PIECE_BYTES at a time. Raises what `read` raises."""
        return pieces(self.read, self.size)

    def md5_of_bytes(self) -> bytes:
        """What `md5` is to be, or was: the bytes are read for it."""
        digest = hashlib.md5(usedforsecurity=False)
        for piece in self.pieces():
            digest.update(piece)
        return digest.digest()


class Store(Protocol):
    """Objects by key. All calls raise StoreError; they may come from several threads at once."""

    place: str
    """Its name for messages."""
    conditions: bool | None
    """Whether conditional writes are refused when they must be; None while it is not known."""
    quoted: bool
    """Whether an ETag in a condition has quotes, as HTTP wants it (RFC 9110, 8.8.3); Ceph knows it without only."""
    keeps_meta: bool
    """Whether it is made to keep metadata."""

    def check(self) -> None:
        """See that the bucket is there and may be used; create it where it is missing."""

    def renew(self) -> None:
        """Read the credentials anew."""

    def head(self, key: str) -> ObjectInfo | None:
        """None where there is no such object."""

    def sha256(self, key: str) -> str:
        """Of the object's bytes as the store returns them, in hex: reads all of them."""

    def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
        """Write an object of one part. Raises Taken, NoConditions."""

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        """Begin an upload in parts. Returns its name (upload id)."""

    def put_part(self, key: str, upload: str, part: Part) -> str:
        """Write a part. Returns its ETag. Raises NoUpload."""

    def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        """Number to ETag and size of the parts that are there. Raises NoUpload."""

    def complete(self, key: str, upload: str, etags: Sequence[str], condition: Condition | None) -> None:
        """Make the object of its parts. Raises NoUpload, Taken, NoConditions."""

    def abort(self, key: str, upload: str) -> None:
        """Drop an upload and its parts; nothing happens where there is none."""

    def uploads(self, key: str) -> list[str]:
        """The unfinished uploads for exactly this key."""

    def adopt(self, fd: int, path: str, directory: int, key: str) -> bool:
        """Take a file as it is, without copying; False where the store cannot. Raises Taken."""


def parts_etag(md5s: Sequence[bytes]) -> str:
    """The ETag that S3 gives to an object made of parts with these MD5s."""
    return f"{hashlib.md5(b''.join(md5s), usedforsecurity=False).hexdigest()}-{len(md5s)}"
