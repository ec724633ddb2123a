"""A directory as a store: what is on the disk when, and what a hostile journal or target can do."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sftools.store.directory import DirectoryStore
from sftools.store.objects import Condition, NoUpload, Part, StoreError, Taken, Unavailable

KEY = "2024/05/01/1714557600.sf"
NEW = Condition()


def part_of(data: bytes, number: int = 1, offset: int = 0) -> Part:
    return replace(Part.of(data, number, offset), md5=hashlib.md5(data).digest())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    made = DirectoryStore(str(tmp_path / "to"))
    made.check()
    return made


def written(store: DirectoryStore, key: str = KEY) -> bytes:
    return Path(store.root, key).read_bytes()


def test_whole_and_in_parts(store: DirectoryStore) -> None:
    store.put(KEY, part_of(b"one"), {}, NEW)
    upload = store.begin(KEY + "2", {})
    store.put_part(KEY + "2", upload, part_of(b"part", 2, 4))
    store.put_part(KEY + "2", upload, part_of(b"one "))
    assert store.uploads(KEY + "2") == [upload]
    store.complete(KEY + "2", upload, (), NEW)
    assert (written(store), written(store, KEY + "2")) == (b"one", b"one part")
    assert os.listdir(Path(store.root, ".sf-exporter-parts")) == []


def test_nothing_is_replaced_unasked(store: DirectoryStore) -> None:
    store.put(KEY, part_of(b"one"), {}, NEW)
    for condition in (NEW, Condition("another")):
        with pytest.raises(Taken):
            store.put(KEY, part_of(b"two"), {}, condition)
    assert written(store) == b"one"
    found = store.head(KEY)
    assert found is not None
    store.put(KEY, part_of(b"two"), {}, Condition(found.etag))
    assert written(store) == b"two"
    assert os.listdir(Path(store.root, ".sf-exporter-parts")) == []


def test_other_bytes_than_were_hashed_get_no_name(store: DirectoryStore) -> None:
    with pytest.raises(Unavailable, match="damaged"):
        store.put(KEY, replace(part_of(b"one"), md5=bytes(16)), {}, NEW)
    assert store.head(KEY) is None
    upload = store.begin(KEY, {})
    with pytest.raises(Unavailable, match="damaged"):
        store.put_part(KEY, upload, replace(part_of(b"one"), md5=bytes(16)))


@pytest.mark.parametrize("upload", ["../../victim", "/etc/nothing", "", ".", "..", "0" * 32 + "-whole/../../../victim"])
def test_names_of_uploads_do_not_lead_out(store: DirectoryStore, upload: str, tmp_path: Path) -> None:
    """They come from the journal, which who writes to the watched directory can make."""
    (tmp_path / "victim").write_bytes(b"precious")
    store.abort(KEY, upload)
    for call in (
        lambda: store.parts(KEY, upload),
        lambda: store.put_part(KEY, upload, part_of(b"x")),
        lambda: store.complete(KEY, upload, (), NEW),
    ):
        with pytest.raises(NoUpload):
            call()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_links_below_the_root_are_not_followed(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(store.root, "2024").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        store.put(KEY, part_of(b"x"), {}, NEW)
    assert [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()] == []


def test_a_root_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = DirectoryStore(str(tmp_path / "link"))
    store.check()
    store.put(KEY, part_of(b"x"), {}, NEW)
    assert (tmp_path / "real" / KEY).read_bytes() == b"x"


def test_a_root_too_deep(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"too many directories in each other|File name too long"):
        DirectoryStore(str(tmp_path) + "/x" * 1500).check()


def test_new_directories_are_on_the_disk_before_the_file(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each directory above it is synchronised once: a power loss does not take a file that was moved."""
    synced: list[str] = []
    monkeypatch.setattr("sftools.store.directory._sync", synced.append)
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(b"x")
        fd = os.open(tmp_path / name, os.O_RDONLY)
        here = os.open(tmp_path, os.O_RDONLY)
        assert store.adopt(fd, name, here, f"2024/05/{name}")
        os.close(fd)
        os.close(here)
    root = store.root
    assert synced == [str(tmp_path), root, f"{root}/2024", f"{root}/2024/05", f"{root}/2024/05"]


def test_a_directory_that_is_removed_is_made_again(store: DirectoryStore) -> None:
    store.put("a/b/1", part_of(b"x"), {}, NEW)
    Path(store.root, "a/b/1").unlink()
    Path(store.root, "a/b").rmdir()
    Path(store.root, "a").rmdir()
    store.put("a/b/1", part_of(b"y"), {}, NEW)
    assert written(store, "a/b/1") == b"y"
