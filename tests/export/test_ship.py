"""One file's way into a store that fails in every way: nothing is lost, nothing is sent under two keys."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sftools.errors import SftoolsError
from sftools.export import files
from sftools.export.files import Changed, Identity
from sftools.export.journal import Journal
from sftools.export.names import KeyRule
from sftools.export.parts import Parts
from sftools.export.ship import Rate, Result, Shipper, Stopped
from sftools.store.objects import (
    PIECE_BYTES,
    Condition,
    NoConditions,
    NoUpload,
    ObjectInfo,
    Part,
    StoreError,
    Taken,
    Unavailable,
    parts_etag,
)

NAME = "1714557600"
KEY = "2024/05/01/1714557600.sf"


class Memory:
    """A store in memory. honours: whether conditions hold; False ignores them, None answers 501. fault: may raise.

    wants_quotes: how it knows an ETag in a condition. loses_meta: though it is made to keep it.
    """

    place = "memory"
    quoted = True
    keeps_meta = True
    wants_quotes = True
    loses_meta = False

    def __init__(self, honours: bool | None = True, fault: Callable[[str], None] = lambda call: None) -> None:
        self.conditions: bool | None = None
        self.honours = honours
        self.fault = fault
        self.objects: dict[str, tuple[bytes, dict[str, str], str]] = {}
        self.pending: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self.truncate = False
        self.sent_parts = 0

    def renew(self) -> None: ...
    def check(self) -> None: ...

    def head(self, key: str) -> ObjectInfo | None:
        self.fault("head")
        if key not in self.objects:
            return None
        data, meta, etag = self.objects[key]
        return ObjectInfo(len(data), etag, meta)

    def sha256(self, key: str) -> str:
        return hashlib.sha256(self.objects[key][0]).hexdigest()

    def _must(self, key: str, condition: Condition | None) -> None:
        if condition is None or self.honours is False:
            return
        if self.honours is None:
            raise NoConditions("501")
        there = self.objects[key][2] if key in self.objects else None
        if there != condition.etag or (condition.etag and self.quoted != self.wants_quotes):
            raise Taken("412")

    def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
        self.fault("put")
        self._must(key, condition)
        kept = part.all()[:-1] if self.truncate else part.all()
        self.objects[key] = (kept, {} if self.loses_meta else dict(meta), hashlib.md5(kept).hexdigest())
        self.fault("put done")

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        upload = f"upload-{len(self.pending)}-{os.urandom(4).hex()}"
        self.pending[upload] = (key, dict(meta), {})
        self.fault("begun")
        return upload

    def put_part(self, key: str, upload: str, part: Part) -> str:
        self.fault("part")
        if upload not in self.pending:
            raise NoUpload("gone")
        self.pending[upload][2][part.number] = part.all()
        self.sent_parts += 1
        return part.md5.hex()

    def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        if upload not in self.pending:
            raise NoUpload("gone")
        return {n: (hashlib.md5(data).hexdigest(), len(data)) for n, data in self.pending[upload][2].items()}

    def complete(self, key: str, upload: str, etags: Sequence[str], condition: Condition | None) -> None:
        self.fault("complete")
        if upload not in self.pending:
            raise NoUpload("gone")
        self._must(key, condition)
        _, meta, parts = self.pending.pop(upload)
        data = b"".join(parts[n] for n in sorted(parts))
        self.objects[key] = (data, meta, parts_etag([hashlib.md5(parts[n]).digest() for n in sorted(parts)]))
        self.fault("completed")

    def abort(self, key: str, upload: str) -> None:
        self.pending.pop(upload, None)

    def uploads(self, key: str) -> list[str]:
        return [upload for upload, (other, *_) in self.pending.items() if other == key]

    def adopt(self, fd: int, path: str, directory: int, key: str) -> bool:
        return False


class Crash(BaseException):
    """As kill -9: nothing that follows is done."""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "in").mkdir()
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    yield fd
    os.close(fd)


def shipper(store: Any, tmp_path: Path, **more: Any) -> Shipper:
    stop = threading.Event()
    journal = Journal(os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT))
    more = {"compression": "none", "journal": journal, "parts": Parts(1, 1000), "stop": stop} | more
    return Shipper(store, KeyRule(), "in", {"nodename": "ü"}, rate=Rate(None, stop), **more)


def ship(store: Any, tmp_path: Path, root: int, final: bool = True, **more: Any) -> Result:
    return shipper(store, tmp_path, **more).ship(root, NAME, final=final, settled=True).result


@pytest.mark.parametrize("honours", [True, False, None])
@pytest.mark.parametrize("size", [0, 10, 1000, 3500])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_sent_and_removed(honours: bool | None, size: int, compression: str, tmp_path: Path, root: int) -> None:
    (tmp_path / "in" / NAME).write_bytes(os.urandom(size))
    store = Memory(honours)
    assert ship(store, tmp_path, root, compression=compression) is Result.REMOVED
    assert list(store.objects) == [KEY]
    assert not (tmp_path / "in" / NAME).exists()
    assert not store.pending


POINTS = ("before write", "upload noted", "upload begun", "part sent", "completed", "written", "verified", "removed")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("size", [10, 3500])
@pytest.mark.parametrize("honours", [True, False])
def test_a_crash_at_each_arrow(point: str, nth: int, size: int, honours: bool, tmp_path: Path, root: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "in" / NAME
    path.write_bytes(data)
    store, seen = Memory(honours), 0

    def at(where: str) -> None:
        nonlocal seen
        seen += where == point
        if where == point and seen == nth:
            raise Crash

    try:
        ship(store, tmp_path, root, at=at)
    except Crash:
        assert path.exists() or store.objects[KEY][0] == data
    if path.exists():
        assert ship(store, tmp_path, root) is Result.REMOVED
    assert [content for content, *_ in store.objects.values()] == [data]
    assert not store.pending
    assert Journal(os.open(tmp_path / "journal", os.O_RDWR)).entries() == []


@pytest.mark.parametrize("call", ["head", "put", "put done", "begun", "part", "complete", "completed"])
@pytest.mark.parametrize("size", [10, 3500])
def test_a_request_that_fails_is_gone_on_with(call: str, size: int, tmp_path: Path, root: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "in" / NAME
    path.write_bytes(data)
    failed = False

    def fault(what: str) -> None:
        nonlocal failed
        if what == call and not failed:
            failed = True
            raise Unavailable("503 SlowDown")

    store = Memory(True, fault)
    try:
        ship(store, tmp_path, root)
    except Unavailable:
        assert path.read_bytes() == data
        assert ship(store, tmp_path, root) is Result.REMOVED
    assert [content for content, *_ in store.objects.values()] == [data]
    assert not store.pending


def test_a_501_for_a_part_says_nothing_of_conditions(tmp_path: Path, root: int) -> None:
    def fault(what: str) -> None:
        if what == "part":
            raise NoConditions("501")

    store = Memory(True, fault)
    (tmp_path / "in" / NAME).write_bytes(bytes(3500))
    with pytest.raises(StoreError, match="501"):
        ship(store, tmp_path, root)
    assert store.conditions is not False
    store.fault = lambda what: None
    assert ship(store, tmp_path, root) is Result.REMOVED


def test_parts_are_not_sent_again(tmp_path: Path, root: int) -> None:
    (tmp_path / "in" / NAME).write_bytes(os.urandom(3500))
    store = Memory()
    with pytest.raises(Crash):
        ship(store, tmp_path, root, at=crash_at("part sent", 3))
    ship(store, tmp_path, root)
    assert store.sent_parts == 4


def crash_at(point: str, nth: int) -> Callable[[str], None]:
    left = [nth]

    def at(where: str) -> None:
        left[0] -= where == point
        if where == point and not left[0]:
            raise Crash

    return at


def test_other_content_is_never_replaced(tmp_path: Path, root: int) -> None:
    store = Memory()
    store.put(KEY, Part.of(b"other"), {"sha256": hashlib.sha256(b"other").hexdigest()}, None)
    (tmp_path / "in" / NAME).write_bytes(b"mine")
    assert ship(store, tmp_path, root) is Result.REMOVED
    assert sorted(data for data, *_ in store.objects.values()) == [b"mine", b"other"]


def test_what_the_store_truncates_is_not_removed(tmp_path: Path, root: int) -> None:
    store = Memory()
    store.truncate = True
    path = tmp_path / "in" / NAME
    path.write_bytes(b"0123456789")
    with pytest.raises(Unavailable):
        ship(store, tmp_path, root)
    assert path.read_bytes() == b"0123456789"
    store.truncate = False
    assert ship(store, tmp_path, root) is Result.REMOVED
    assert [data for data, *_ in store.objects.values()] == [b"0123456789"]


@pytest.mark.parametrize("point", ["before write", "written", "verified"])
@pytest.mark.parametrize("size", [10, 3500])
def test_a_file_that_changes_is_sent_again(point: str, size: int, tmp_path: Path, root: int) -> None:
    path = tmp_path / "in" / NAME
    data = os.urandom(size)
    path.write_bytes(data)
    done = False

    def at(where: str) -> None:
        nonlocal done
        if where == point and not done:
            done = True
            with path.open("ab") as file:
                file.write(b"more")

    with pytest.raises(Changed):
        ship(Memory(), tmp_path, root, at=at)
    store = Memory()
    assert ship(store, tmp_path, root) is Result.REMOVED
    assert [content for content, *_ in store.objects.values()] == [data + b"more"]


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize(("compression", "part_size"), [("none", 1 << 20), ("none", 300_000), ("gzip", 300_000)])
def test_a_file_that_changes_between_hashing_and_sending(
    compression: str, part_size: int, compares: bool, tmp_path: Path, root: int
) -> None:
    """The store refuses other bytes than their MD5 says, or stores them: neither is an outage for all files."""

    class Comparing(Memory):
        def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
            self.compare(part)
            super().put(key, part, meta, condition)

        def put_part(self, key: str, upload: str, part: Part) -> str:
            self.compare(part)
            super().put_part(key, upload, part)
            return hashlib.md5(part.all()).hexdigest()

        def compare(self, part: Part) -> None:
            if compares and hashlib.md5(part.all()).digest() != part.md5:
                raise Unavailable("BadDigest")

    size = 3 * PIECE_BYTES
    path = tmp_path / "in" / NAME
    path.write_bytes(os.urandom(size))
    unlike = os.urandom(size)

    def at(where: str) -> None:
        if where == "before write":
            path.write_bytes(unlike)

    store = Comparing()
    with pytest.raises(Changed, match="while it was sent"):
        ship(store, tmp_path, root, at=at, parts=Parts(1, part_size), compression=compression)
    assert not (compares and store.objects)
    assert ship(store, tmp_path, root, parts=Parts(1, part_size)) is Result.REMOVED
    assert unlike in [data for data, *_ in store.objects.values()]
    assert not store.pending


def test_a_change_within_a_tick_of_the_clock_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: int
) -> None:
    """As before Linux 6.13: the file's times are those of the kernel's last tick."""
    path = tmp_path / "in" / NAME
    path.write_bytes(b"before")
    found = os.stat(path)
    told = Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    monkeypatch.setattr(Identity, "of", lambda stat: told)
    monkeypatch.setattr(files.time, "time_ns", lambda: told.ctime_ns + 4_000_000)

    class Writing(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout == 0.006:
                path.write_bytes(b"within")
            return super().wait(timeout)

    store = Memory()
    assert ship(store, tmp_path, root, stop=Writing()) is Result.REMOVED
    assert [data for data, *_ in store.objects.values()] == [b"within"]


def test_a_file_that_changes_while_it_is_hashed(tmp_path: Path, root: int) -> None:
    """Two threads read it: their digests may be of different bytes, and nothing is sent."""
    path = tmp_path / "in" / NAME
    path.write_bytes(bytes(2 * PIECE_BYTES))

    class Meanwhile(Parts):
        def do(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
            future = super().do(work, *arguments)
            future.result()
            path.write_bytes(os.urandom(2 * PIECE_BYTES))
            return future

    store = Memory()
    with pytest.raises(Changed):
        ship(store, tmp_path, root, parts=Meanwhile(1, 4 * PIECE_BYTES))
    assert not store.objects


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_becomes_two_parts_by_compressing_it_is_large(compression: str, tmp_path: Path, root: int) -> None:
    """Of such files not all jobs have one, with their compressors in memory, while they wait for room."""
    parts, seen = Parts(1, 1000), []
    (tmp_path / "in" / NAME).write_bytes(os.urandom(1000))

    def at(where: str) -> None:
        if where == "part sent":
            seen.append(parts.large.acquire(blocking=False) and parts.large.acquire(blocking=False))

    ship(Memory(), tmp_path, root, at=at, parts=parts, compression=compression)
    assert seen == [False, False]


@pytest.mark.parametrize("quotes", [True, False])
@pytest.mark.parametrize("honours", [True, False, None])
def test_a_partial_copy_becomes_the_whole(honours: bool | None, quotes: bool, tmp_path: Path, root: int) -> None:
    store = Memory(honours)
    store.wants_quotes = quotes
    path = tmp_path / "in" / NAME
    for text in (b"1", b"22", b"x"):  # also when it is written anew
        path.write_bytes(text)
        assert ship(store, tmp_path, root, final=False) is Result.COPIED
        assert store.objects[KEY][0] == text
        assert store.objects[KEY][1]["trace"] == "partial"
    assert ship(store, tmp_path, root) is Result.REMOVED
    assert list(store.objects) == [KEY]
    assert "trace" not in store.objects[KEY][1]


@pytest.mark.parametrize("fails", ["", "part", "drop", "drop and restart"])
def test_an_upload_that_appears_long_after_it_was_asked_for_is_dropped(fails: str, tmp_path: Path, root: int) -> None:
    """The answer was lost; it is not there when it is looked for, nor perhaps before the exporter runs again."""
    (tmp_path / "in" / NAME).write_bytes(os.urandom(3500))
    late: list[str] = []

    class Late(Memory):
        def begin(self, key: str, meta: Mapping[str, str]) -> str:
            if not late:
                late.append(key)
                raise Unavailable("no answer")
            return super().begin(key, meta)

        def put_part(self, key: str, upload: str, part: Part) -> str:
            self.pending["late"] = (key, {}, {})
            return super().put_part(key, upload, part)

        def uploads(self, key: str) -> list[str]:
            if self.failing and "late" in self.pending and fails.startswith("drop"):
                self.failing = False
                raise Unavailable("busy")
            return super().uploads(key)

        failing = True

    def fault(call: str) -> None:
        if call == "complete" and store.failing and fails == "part":
            store.failing = False
            raise Unavailable("busy")

    store = Late(True, fault)
    again = shipper(store, tmp_path)
    for _ in range(5):
        try:
            assert again.ship(root, NAME, final=True, settled=True, look=True).result is Result.REMOVED
            break
        except Unavailable:
            if fails in ("part", "drop and restart") and not store.failing:
                again = shipper(store, tmp_path)
    assert not (tmp_path / "in" / NAME).exists()
    assert not store.pending
    assert Journal(os.open(tmp_path / "journal", os.O_RDWR)).entries() == []


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_copy_that_was_stored_without_its_mark_is_written_again(
    honours: bool, compression: str, tmp_path: Path, root: int
) -> None:
    """rclone's server stores the bytes, then what belongs to them, and may fail in between."""

    def fault(call: str) -> None:
        if call == "put done" and store.loses_meta:
            raise Unavailable("InternalError")

    store = Memory(honours, fault)
    store.loses_meta = True
    (tmp_path / "in" / NAME).write_bytes(b"text")
    with pytest.raises(Unavailable):
        ship(store, tmp_path, root, final=False, compression=compression)
    assert [meta for _, meta, _ in store.objects.values()] == [{}]
    store.loses_meta = False
    assert ship(store, tmp_path, root, final=False, compression=compression) is Result.COPIED
    assert [meta["trace"] for _, meta, _ in store.objects.values()] == ["partial"]


@pytest.mark.parametrize("promises", [True, False])
def test_a_store_that_keeps_no_marks_has_copies_all_the_same(promises: bool, tmp_path: Path, root: int) -> None:
    puts: list[str] = []
    store = Memory(True, puts.append)
    store.loses_meta, store.keeps_meta = True, promises
    (tmp_path / "in" / NAME).write_bytes(b"text")
    for _ in range(2):
        assert ship(store, tmp_path, root, final=False) is Result.COPIED
    assert puts.count("put done") == (2 if promises else 1)  # without conditions known, the first probes them
    assert ship(store, tmp_path, root) is Result.REMOVED


def test_a_file_that_is_written_to_is_left_alone(tmp_path: Path, root: int) -> None:
    path = tmp_path / "in" / NAME
    with path.open("wb") as file:
        file.write(b"1")
        file.flush()
        store = Memory()
        result = shipper(store, tmp_path).ship(root, NAME, final=True, settled=False).result
        assert result in (Result.HELD, Result.UNCERTAIN)
        assert not store.objects
    assert path.exists()


def test_stopping_keeps_what_was_sent(tmp_path: Path, root: int) -> None:
    (tmp_path / "in" / NAME).write_bytes(os.urandom(3500))
    store = Memory()
    first = shipper(store, tmp_path)
    first.at = lambda where: first.stop.set() if where == "part sent" else None
    with pytest.raises(Stopped):
        first.ship(root, NAME, final=True, settled=True)
    assert ship(store, tmp_path, root) is Result.REMOVED
    assert store.sent_parts == 4


def test_two_directories_with_files_of_one_key(tmp_path: Path, root: int) -> None:
    """Where the store ignores conditions, the second waits until the first is confirmed, and goes beside it."""
    store = Memory(False)
    store.conditions = False
    (tmp_path / "in" / NAME).write_bytes(b"first")
    (tmp_path / "other" / "journal").mkdir(parents=True)
    (tmp_path / "other" / NAME).write_bytes(b"second")
    other = os.open(tmp_path / "other", os.O_RDONLY)
    first, second = shipper(store, tmp_path), shipper(store, tmp_path / "other" / "journal")
    arrives = threading.Thread(target=first.ship, args=(root, NAME), kwargs={"final": True, "settled": True})

    def at(point: str) -> None:
        if point == "before write" and not arrives.ident:
            arrives.start()
            arrives.join(0.2)  # where it does not wait, it is done by now, and lost by what follows

    second.at = at
    second.ship(other, NAME, final=True, settled=True)
    arrives.join(60)
    os.close(other)
    assert sorted(data for data, *_ in store.objects.values()) == [b"first", b"second"]


def test_an_empty_etag_confirms_nothing(tmp_path: Path, root: int) -> None:
    class Careless(Memory):
        """Damages what is made of parts, and has no ETags."""

        def head(self, key: str) -> ObjectInfo | None:
            found = super().head(key)
            return found and ObjectInfo(found.size, "", found.meta)

        def put_part(self, key: str, upload: str, part: Part) -> str:
            super().put_part(key, upload, Part.of(part.all()[::-1], part.number, part.offset))
            return "unlike"

    path = tmp_path / "in" / NAME
    path.write_bytes(os.urandom(3500))
    with pytest.raises(SftoolsError):
        ship(Careless(), tmp_path, root)
    assert path.exists()


def test_rate() -> None:
    """Each waits until what was taken before it is through; all threads together, whatever the clock does between."""

    class Stop(threading.Event):
        waited: ClassVar[list[float | None]] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waited.append(timeout)
            return False

    now = [50.0]
    rate = Rate(1000, Stop(), lambda: now[0])
    for size in (500, 2000, 1):
        rate.take(size)
    now[0] = 100.0
    rate.take(1)
    assert Stop.waited == [0, 0.5, 2.5, 0]


def test_errors_are_of_one_tree() -> None:
    assert issubclass(Changed, SftoolsError)
    assert issubclass(Unavailable, SftoolsError)
