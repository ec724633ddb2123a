"""One file's way into a store: read, written under its key, confirmed, and only then removed.

The state is what the disk and the store have: a crash at any point leaves the file, and the next start finds by the
key and the digest how far it came. docs/sf-exporter.md has the table of states.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from sftools.errors import SftoolsError
from sftools.export.files import (
    Changed,
    Content,
    Identity,
    Removal,
    being_written,
    digest_of_first,
    open_file,
    parent_of,
    remove,
)
from sftools.export.journal import Entry, Journal
from sftools.export.names import KeyRule, meta_text, other_version
from sftools.export.parts import Parts, Place
from sftools.store.objects import (
    MAX_PARTS,
    Condition,
    NoConditions,
    NoUpload,
    ObjectInfo,
    Part,
    Store,
    StoreError,
    Taken,
    Unavailable,
    parts_etag,
)

_MIB = 1 << 20
# Less than S3 allows: compressing what cannot be compressed makes it longer.
_FEW_PARTS = MAX_PARTS - 1000
# Below this, a first object is written twice to learn whether the store honours conditions.
_PROBE_BYTES = 1 << 20
_TRIES = 4

# Metadata of an object (`x-amz-meta-` is added by the store).
SHA256 = "sha256"
"""Of the object's bytes, in hex."""
PLAIN_SHA256 = "plain-sha256"
PLAIN_SIZE = "plain-size"
"""Of the file, where the object is compressed."""
SOURCE = "source"
"""Which file a partial object is a copy of."""
TRACE = "trace"
"""`partial`: the file was not finished."""


class Stopped(SftoolsError):
    """The exporter is to end; what was begun can be gone on with."""


class Result(Enum):
    """What became of a file."""

    REMOVED = "exported and removed"
    COPIED = "copied"
    HELD = "still open for writing"
    UNCERTAIN = "perhaps still being written"
    """The kernel does not tell whether it is open for writing."""


class Shipped(NamedTuple):
    """result, the key where there is an object, the file as it was sent, bytes sent."""

    result: Result
    key: str
    identity: Identity
    size: int


class Rate:
    """Bytes per second for all threads together; None is no bound."""

    def __init__(self, per_second: float | None, stop: threading.Event, clock: Callable[[], float] = time.monotonic):
        self.per_second = per_second
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        """Wait until `size` bytes may be sent. Raises Stopped."""
        if not self.per_second:
            return
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now)
            self._free_at = begin + size / self.per_second
        if self._stop.wait(max(begin - now, 0)):
            raise Stopped("stopped")


_BUSY: dict[tuple[str, str], tuple[threading.Lock, list[None]]] = {}
_BUSY_LOCK = threading.Lock()


@contextlib.contextmanager
def _alone(place: str, key: str) -> Iterator[None]:
    """One file at a time for a key, of all directories: where a store ignores conditions, a HEAD before a PUT is all
    that keeps one file from replacing another, which is confirmed and removed in between.
    """
    with _BUSY_LOCK:
        lock, users = _BUSY.setdefault((place, key), (threading.Lock(), []))
        users.append(None)
    try:
        with lock:
            yield
    finally:
        with _BUSY_LOCK:
            users.pop()
            if not users:
                del _BUSY[place, key]


@contextlib.contextmanager
def _telling_if_changed(part: Part) -> Iterator[None]:
    """Around a request with a part. A file that has changed since it was hashed is refused for its MD5, as if it were
    damaged on its way: that is no outage of the store, for which all other files would wait. Raises Changed then.
    """
    try:
        yield
    except (Unavailable, NoUpload):  # rclone's server drops the upload
        if part.md5_of_bytes() != part.md5:
            raise Changed("changed while it was sent") from None
        raise


@dataclass(slots=True)
class Shipper:
    """Ships files of one directory to one store.

    directory: its path, for telling sources apart. journal: of multipart uploads; None where the disk has no room.
    """

    store: Store
    rule: KeyRule
    directory: str
    meta: Mapping[str, str]
    compression: str
    rate: Rate
    stop: threading.Event
    parts: Parts
    journal: Journal | None = None
    lost_begins: set[str] = field(default_factory=set)
    """Keys of uploads that the store was asked to begin, without an answer: it may still do so."""
    at: Callable[[str], None] = field(default=lambda point: None)
    """Called at each point where tests let it crash."""

    def ship(
        self, root: int, relative: str, *, final: bool, settled: bool, keep: bool = False, look: bool = False
    ) -> Shipped:
        """Bring a file's content into the store, confirm it, and remove the file where it is final and not to be kept.

        settled: it is known not to have changed for long. look: ask for the object first, as after a failure.
        Raises StoreError, Changed, Stopped, OSError, and SftoolsError where it cannot be read. The file is then where
        it was.
        """
        fd = open_file(root, relative)
        try:
            before = Identity.of(os.fstat(fd))
            if final and not keep:
                writing = being_written(fd)
                if writing or (writing is None and not settled):
                    return Shipped(Result.HELD if writing else Result.UNCERTAIN, "", before, 0)
            if (seconds := before.seconds_until_told()) and self.stop.wait(seconds):
                raise Stopped("stopped")
            part_bytes = self.parts.part_bytes
            if before.size > part_bytes * _FEW_PARTS:
                part_bytes = -(-before.size // _FEW_PARTS // _MIB) * _MIB
            # Room is taken last: who waits for a key must not keep others from theirs.
            alone = _alone(self.store.place, self.rule.key(relative))
            # What cannot be compressed becomes longer, by less than a 200th, and then it may be two parts.
            longest = before.size if self.compression == "none" else before.size + before.size // 200 + 100
            large = self.parts.large if longest > part_bytes else contextlib.nullcontext()
            with alone, large, self.parts.place(min(before.size, part_bytes)) as room:
                content = Content(fd, before.size, part_bytes, self.compression, self.parts.do)
                if final and Identity.of(os.fstat(fd)) != before:
                    raise Changed("changed while it was read")  # MD5 and SHA-256 may be of different bytes
                one = _One(self, root, relative, fd, before, content, final, room)
                key = one.place(look)
            before = one.before
            self.at("verified")
            if not final or keep:
                return Shipped(Result.COPIED, key, before, content.size)
            removal = remove(root, relative, fd, before)
            self.at("removed")
            if removal is Removal.CHANGED:
                raise Changed("changed while it was exported; it is sent again")
            return Shipped(Result.HELD if removal is Removal.HELD else Result.REMOVED, key, before, content.size)
        finally:
            os.close(fd)

    def part_upload_gone(self, slot: int, entry: Entry) -> None:
        """Drop an upload that nothing will complete. Raises StoreError."""
        if entry.upload:
            self.store.abort(entry.key, entry.upload)
        if entry.lost or not entry.upload:
            self.lost_begins.add(entry.key)
            self.drop_uploads(entry.key)
        if self.journal is not None:
            self.journal.clear(slot)

    def drop_uploads(self, key: str) -> None:
        """Drop all uploads of a key. Raises StoreError."""
        for upload in self.store.uploads(key):
            self.store.abort(key, upload)


class _One:
    """The work on one file."""

    def __init__(
        self,
        shipper: Shipper,
        root: int,
        relative: str,
        fd: int,
        before: Identity,
        content: Content,
        final: bool,
        room: Place,
    ) -> None:
        self.shipper = shipper
        self.store = shipper.store
        self.root = root
        self.relative = relative
        self.fd = fd
        self.before = before
        self.content = content
        self.final = final
        self.room = room
        self.path = os.fsencode(relative).hex()
        self.parts_confirmed = False
        """Whether the store has answered the MD5 of each part that the object is made of."""
        source = os.fsencode(f"{shipper.directory}\0{relative}\0{before.ino}")
        self.source = hashlib.sha256(source).hexdigest()[:32]

    def place(self, look: bool) -> str:
        """Bring the content under its key, or where other content is there, under the key of its version."""
        key = self.shipper.rule.key(self.relative)
        for each in (key, other_version(key, self.content.plain_sha256)):
            if self._at(each, look):
                self._forget_upload(each)
                return each
            if not self.final:
                break  # one copy of an unfinished file is enough
        raise StoreError(f"{self.store.place}: {key} is taken by another object, and so is the key beside it")

    def _at(self, key: str, look: bool) -> bool:
        """True when the object is there and confirmed; False where the key belongs to other content."""
        store, content = self.store, self.content
        found = None
        if look or store.conditions is not True or len(content.md5s) > 1:
            found = store.head(key)
        written = False
        for _ in range(_TRIES):
            condition = Condition()
            if found is not None:
                if self._is_ours_and_whole(key, found, written):
                    return True
                if not self._may_be_replaced(key, found):
                    return False
                condition = Condition(found.etag)
            self.shipper.at("before write")
            try:
                self._write(key, condition if store.conditions is not False else None)
            except Taken:
                before, found = found, store.head(key)
                if before is not None and found is not None and found.etag == before.etag:
                    store.quoted = not store.quoted  # nothing has changed: it is how the ETag is written
                continue
            except NoConditions:
                if store.conditions is False:
                    raise
                store.conditions = False
                continue
            self.shipper.at("written")
            written = True
            found = store.head(key)
            if found is None:
                raise Unavailable(f"{store.place}: {key} is not there after it was written")
        if self._begin(content.plain_size) != content.plain_sha256:
            raise Changed("changed while it was sent")  # to a store that does not compare the MD5
        raise Unavailable(f"{store.place}: {key} is not what was sent, {_TRIES} times")

    def _is_ours_and_whole(self, key: str, found: ObjectInfo, written: bool) -> bool:
        """Whether the object is what is to be there: size, digest, ETag; where these do not tell, it is read.

        written: it has just been. A copy without its mark is not there yet, unless the store keeps none: a server that
        breaks off may have stored the bytes alone (rclone's).
        """
        content, meta = self.content, found.meta
        partial = not self.final and (bool(meta) or (self.store.keeps_meta and not written))
        if found.size != content.size or (meta.get(TRACE) == "partial") != partial:
            return False
        stated = meta.get(SHA256)
        if stated is not None and stated != content.sha256:
            return False
        if found.etag in (content.md5s[0].hex() if len(content.md5s) == 1 else None, parts_etag(content.md5s)):
            return True
        # Elsewhere the ETag is something else: of KMS's ciphertext, or of all parts together.
        if stated is not None and (found.encrypted or self.parts_confirmed):
            return True
        return self.store.sha256(key) == content.sha256

    def _may_be_replaced(self, key: str, found: ObjectInfo) -> bool:
        """Whether replacing it loses nothing: it is a partial copy of this file, or what this file begins with."""
        meta = found.meta
        if meta.get(TRACE) == "partial" and meta.get(SOURCE) == self.source:
            return True
        if PLAIN_SIZE in meta or SHA256 in meta:
            size, digest = meta.get(PLAIN_SIZE, str(found.size)), meta.get(PLAIN_SHA256) or meta.get(SHA256, "")
            if digest == self.content.plain_sha256:
                return True  # this content, but damaged on its way or with other metadata
            return size.isdecimal() and int(size) <= self.content.plain_size and digest == self._begin(int(size))
        if self.content.compression != "none":
            return found.size == self.content.size and self.store.sha256(key) == self.content.sha256
        return 0 <= found.size <= self.content.plain_size and self.store.sha256(key) == self._begin(found.size)

    def _begin(self, size: int) -> str:
        return digest_of_first(self.fd, size)

    def _meta(self) -> dict[str, str]:
        content = self.content
        meta = {name: meta_text(value) for name, value in self.shipper.meta.items() if value}
        meta[SHA256] = content.sha256
        if content.compression != "none":
            meta |= {PLAIN_SHA256: content.plain_sha256, PLAIN_SIZE: str(content.plain_size)}
        if not self.final:
            meta |= {TRACE: "partial", SOURCE: self.source}
        return meta

    def _write(self, key: str, condition: Condition | None) -> None:
        store, content = self.store, self.content
        if self.final and content.compression == "none" and condition is not None and not condition.etag:
            with parent_of(self.root, self.relative) as (directory, name):
                if store.adopt(self.fd, name, directory, key):
                    now = Identity.of(os.fstat(self.fd))
                    self.before = self.before._replace(ctime_ns=now.ctime_ns)  # a link more is no change
                    return
        if len(content.md5s) > 1:
            self._write_parts(key, condition)
            return
        self.shipper.rate.take(content.size)
        part, meta = next(content.parts()), self._meta()
        with _telling_if_changed(part):
            store.put(key, part, meta, condition)
        if store.conditions is None and condition is not None and not condition.etag and content.size <= _PROBE_BYTES:
            # Does it honour conditions? The same object again does no harm where it does not.
            try:
                with _telling_if_changed(part):
                    store.put(key, part, meta, Condition())
                store.conditions = False
            except Taken:
                store.conditions = True

    def _write_parts(self, key: str, condition: Condition | None) -> None:
        shipper, store, content, journal = self.shipper, self.store, self.content, self.shipper.journal
        slot, upload, there = self._upload_to_go_on_with(key)
        if not upload:
            if journal is not None:
                entry = Entry(store.place, key, self.path, content.sha256, content.size, content.part_size)
                entry = replace(entry, lost=key in shipper.lost_begins)
                slot = journal.begin(entry)
            if slot is None:  # nothing will remember it: what an earlier one left is looked for now
                shipper.drop_uploads(key)
            shipper.at("upload noted")
            upload = store.begin(key, self._meta())
            shipper.at("upload begun")
            if journal is not None and slot is not None:
                journal.begun(slot, upload)
        try:
            etags = self._send_parts(key, upload, there)
            if condition is not None and not condition.etag and store.head(key) is not None:
                raise Taken(f"{store.place}: {key} is taken")  # stores that honour it for a PUT may not for this
            try:
                store.complete(key, upload, etags, condition)
            except NoConditions:
                if condition is None:
                    raise
                store.conditions = False
                store.complete(key, upload, etags, None)
            self.parts_confirmed = etags == [md5.hex() for md5 in content.md5s]
            shipper.at("completed")
        except NoUpload:
            self._clear(slot)
            raise Unavailable(f"{store.place}: the upload of {key} is gone; it is begun again") from None
        except (Changed, Taken):
            store.abort(key, upload)
            self._clear(slot)
            raise
        if key not in shipper.lost_begins:  # else it is dropped, and this noted, when the object is confirmed
            self._clear(slot)

    def _send_parts(self, key: str, upload: str, there: Container[int]) -> list[str]:
        """Send the parts that are not there yet, some at the same time. Returns the ETags of all."""
        shipper, content, room = self.shipper, self.content, self.room
        etags = [md5.hex() for md5 in content.md5s]
        sending: dict[int, Future[str]] = {}
        last = 0
        parts = content.parts()
        try:
            while True:
                room.take()
                for sent in [each for each, future in sending.items() if future.done()]:
                    etags[sent - 1] = sending.pop(sent).result()
                part = next(parts, None)
                if part is None:
                    break
                last = part.number
                if last in there:
                    del part
                    continue
                if shipper.stop.is_set():
                    raise Stopped("stopped")
                shipper.rate.take(part.size)
                sending[last] = room.give_away(self._send_part, key, upload, part)
                del part  # the sender frees it
            if last != len(etags):
                raise Changed("became shorter while it was read")
        finally:
            room.leave()
            wait(sending.values())
        for sent, future in sending.items():
            etags[sent - 1] = future.result()
        return etags

    def _send_part(self, key: str, upload: str, part: Part) -> str:
        try:
            with _telling_if_changed(part):
                etag = self.store.put_part(key, upload, part)
        except NoConditions as error:  # 501, but there was none
            raise StoreError(str(error)) from None
        self.shipper.at("part sent")
        return etag

    def _upload_to_go_on_with(self, key: str) -> tuple[int | None, str, dict[int, tuple[str, int]]]:
        """Slot, id and parts of an unfinished upload of just this content; other ones of this file are dropped."""
        journal, content = self.shipper.journal, self.content
        found = journal.find(self.store.place, self.path) if journal is not None else None
        if found is None:
            return None, "", {}
        slot, entry = found
        same = (entry.key, entry.sha256, entry.size, entry.part_size) == (
            key,
            content.sha256,
            content.size,
            content.part_size,
        )
        if same and entry.upload:
            with contextlib.suppress(NoUpload):
                there = self.store.parts(key, entry.upload)
                # One that was damaged on its way cannot be replaced everywhere (rclone): then all of it is begun again.
                ours = {number: md5.hex() for number, md5 in enumerate(content.md5s, 1)}
                if entry.lost:
                    self.shipper.lost_begins.add(key)
                if all(etag == ours.get(number) for number, (etag, _) in there.items()):
                    return slot, entry.upload, there
        self.shipper.part_upload_gone(slot, entry)
        return None, "", {}

    def _forget_upload(self, key: str) -> None:
        """Nothing of an upload is left once the object is confirmed."""
        journal, lost = self.shipper.journal, self.shipper.lost_begins
        if key in lost:
            self.shipper.drop_uploads(key)
        if journal is not None and (found := journal.find(self.store.place, self.path)):
            self.shipper.part_upload_gone(*found)
        lost.discard(key)

    def _clear(self, slot: int | None) -> None:
        if slot is not None and self.shipper.journal is not None:
            self.shipper.journal.clear(slot)
