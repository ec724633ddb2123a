"""Files are opened without following links, and removed only when they are what was sent."""

from __future__ import annotations

import gzip
import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import zstandard

from sftools.errors import SftoolsError
from sftools.export import files
from sftools.export.files import Changed, Content, Identity, Removal, being_written, open_file, remove
from sftools.store.objects import PIECE_BYTES, Part


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("age_ns", "seconds"), [(0, 0.01), (4_000_000, 0.006), (10_000_000, 0.0), (10**18, 0.0), (-(10**18), 0.01)]
)
def test_a_file_is_read_a_tick_after_its_last_change(
    age_ns: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one in the future, by a server's clock, nothing is known: a tick has to do."""
    monkeypatch.setattr(files.time, "time_ns", lambda: 10**18 + age_ns)
    assert Identity(0, 0, 0, 0, 10**18).seconds_until_told() == seconds


def test_links_are_not_followed(tmp_path: Path, root: int) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "out").symlink_to("/etc")
    for name in ("link", "out/passwd"):
        with pytest.raises(OSError):
            open_file(root, name)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Changed):
        open_file(root, "fifo")


def test_removed_only_when_unchanged(tmp_path: Path, root: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    fd = open_file(root, "a")
    before = Identity.of(os.fstat(fd))
    with path.open("ab") as file:
        file.write(b"2")
    assert remove(root, "a", fd, before) is Removal.CHANGED
    assert path.read_bytes() == b"12"
    assert remove(root, "a", fd, Identity.of(os.fstat(fd))) is Removal.REMOVED
    assert not path.exists()
    os.close(fd)


def test_another_file_of_the_same_name_stays(tmp_path: Path, root: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    fd = open_file(root, "a")
    before = Identity.of(os.fstat(fd))
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "b").rename(path)
    assert remove(root, "a", fd, before) is Removal.CHANGED
    assert path.read_bytes() == b"2"
    os.close(fd)


def test_a_file_that_is_open_for_writing_stays(tmp_path: Path, root: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    fd = open_file(root, "a")
    if being_written(fd) is None:
        pytest.skip("this file system has no leases")
    assert being_written(fd) is False
    with path.open("ab"):
        assert being_written(fd) is True
        assert remove(root, "a", fd, Identity.of(os.fstat(fd))) is Removal.HELD
    assert remove(root, "a", fd, Identity.of(os.fstat(fd))) is Removal.REMOVED
    os.close(fd)


def test_where_the_server_decides_about_leases(tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS 4 and SMB refuse them also when nobody writes: that tells nothing."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    fd = open_file(root, "a")
    if being_written(fd) is None:
        pytest.skip("this file system has no leases")
    assert files._file_system(os.stat("/proc").st_dev) == "proc"
    monkeypatch.setattr(files, "_file_system", lambda device: "nfs4")
    with path.open("ab"):
        assert being_written(fd) is None
        assert remove(root, "a", fd, Identity.of(os.fstat(fd))) is Removal.REMOVED
    os.close(fd)


def at_once(work: Callable[[Part], bytes], part: Part) -> Future[bytes]:
    future: Future[bytes] = Future()
    future.set_result(work(part))
    return future


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("size", "part_size"),
    [
        *((size, 1000) for size in (0, 1, 999, 1000, 1001, 300_000)),
        *((PIECE_BYTES + more, 2 * PIECE_BYTES) for more in (-1, 0, 1, PIECE_BYTES, PIECE_BYTES + 1)),
    ],
)
def test_content_is_the_same_each_time(tmp_path: Path, root: int, compression: str, size: int, part_size: int) -> None:
    data = hashlib.shake_128(b"x").digest(size)
    (tmp_path / "a").write_bytes(data)
    fd = open_file(root, "a")
    content = Content(fd, size, part_size, compression, at_once)
    parts = list(content.parts())
    stored = b"".join(part.all() for part in parts)
    assert len(stored) == content.size
    assert hashlib.sha256(stored).hexdigest() == content.sha256
    assert hashlib.sha256(data).hexdigest() == content.plain_sha256
    assert [part.md5 for part in parts] == content.md5s
    at = 0
    for number, part in enumerate(parts, 1):
        assert (part.number, part.offset, part.size) == (number, at, min(part_size, content.size - at))
        assert (part.md5, part.sha256) == (hashlib.md5(part.all()).digest(), hashlib.sha256(part.all()).hexdigest())
        at += part.size
    plain = {"none": lambda: stored, "gzip": lambda: gzip.decompress(stored)}
    assert plain.get(compression, lambda: zstandard.decompress(stored))() == data
    os.close(fd)


def test_a_file_is_read_in_pieces(tmp_path: Path, root: int) -> None:
    part_size, count = 8 * PIECE_BYTES, 6
    (tmp_path / "a").write_bytes(os.urandom(part_size * count))
    fd = open_file(root, "a")
    tracemalloc.start()
    try:
        content = Content(fd, part_size * count, part_size, "none", at_once)
        assert len(content.md5s) == count
        for part in content.parts():
            for piece in part.pieces():
                assert len(piece) == PIECE_BYTES
        assert tracemalloc.get_traced_memory()[1] < 3 * PIECE_BYTES
    finally:
        tracemalloc.stop()
        os.close(fd)


def test_compressed_parts_that_nobody_needs_do_not_stay(tmp_path: Path, root: int) -> None:
    part_size, count = 2 << 20, 6
    (tmp_path / "a").write_bytes(os.urandom(part_size * count))
    fd = open_file(root, "a")
    tracemalloc.start()
    try:
        content = Content(fd, part_size * count, part_size, "gzip", at_once)
        assert len(content.md5s) > count
        parts = content.parts()
        while next(parts, None):
            assert tracemalloc.get_traced_memory()[0] < 1.75 * part_size  # what is given away is not kept as well
        # The buffer, a part cut out of it, the first part, and bits.
        assert tracemalloc.get_traced_memory()[1] < 4 * part_size
    finally:
        tracemalloc.stop()
        os.close(fd)


def test_a_file_that_becomes_shorter(tmp_path: Path, root: int) -> None:
    (tmp_path / "a").write_bytes(b"12")
    fd = open_file(root, "a")
    with pytest.raises(Changed):
        Content(fd, 3, 1000, "none", at_once)
    os.close(fd)


def test_compressed_parts_of_a_file_that_has_changed(tmp_path: Path, root: int) -> None:
    (tmp_path / "a").write_bytes(os.urandom(10_000))
    fd = open_file(root, "a")
    content = Content(fd, 10_000, 1000, "gzip", at_once)
    (tmp_path / "a").write_bytes(bytes(10_000))
    with pytest.raises(Changed):
        list(content.parts())
    os.close(fd)


def test_a_file_that_cannot_be_read(root: int) -> None:
    """The error is the file's, not the connection's on which its bytes are sent."""
    with pytest.raises(SftoolsError, match="cannot be read: Is a directory"):
        Content(root, 3, 1000, "none", at_once)
