"""What the exporter asks of a place for objects, whichever client or file system is behind it.

Objects have a key, metadata and a digest. Every call is one request: who calls decides about trying again, and the
error's class says whether that can help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sftools.errors import SftoolsError

# S3's own bound for an upload.
MAX_PARTS = 10_000


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


class Store(Protocol):
    """Objects by key. All calls raise StoreError; they may come from several threads at once."""

    place: str
    """Its name for messages."""
    conditions: bool | None
    """Whether conditional writes are refused when they must be; None while it is not known."""
    quoted: bool
    """Whether an ETag in a condition has quotes, as HTTP wants it (RFC 9110, 8.8.3); Ceph knows it without only."""

    def check(self) -> None:
        """See that the bucket is there and may be used; create it where it is missing."""

    def renew(self) -> None:
        """Read the credentials anew."""

    def head(self, key: str) -> ObjectInfo | None:
        """None where there is no such object."""

    def sha256(self, key: str) -> str:
        """Of the object's bytes as the store returns them, in hex: reads all of them."""

    def put(self, key: str, data: bytes, md5: bytes, meta: Mapping[str, str], condition: Condition | None) -> None:
        """Write an object. md5: of data, 16 bytes. Raises Taken, NoConditions."""

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        """Begin an upload in parts. Returns its name (upload id)."""

    def put_part(self, key: str, upload: str, number: int, data: bytes, md5: bytes, offset: int) -> str:
        """Write a part. number: from 1. offset: of the part in the object. Returns its ETag. Raises NoUpload."""

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
