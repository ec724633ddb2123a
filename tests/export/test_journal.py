"""The journal outlives its process, and a write that was torn."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from sftools.export.journal import HALF_BYTES, SLOTS, Entry, Journal

ENTRY = Entry("here", "a/key", b"name\xff".hex(), "0" * 64, 10, 5)


def journal(path: Path) -> Journal:
    return Journal(os.open(path, os.O_RDWR | os.O_CREAT))


def test_an_upload_is_remembered_until_it_is_cleared(tmp_path: Path) -> None:
    first = journal(tmp_path / "journal")
    slot = first.begin(ENTRY)
    assert slot is not None
    first.begun(slot, "id")
    first.close()
    second = journal(tmp_path / "journal")
    found = second.find("here", ENTRY.path)
    assert found is not None
    assert found[1].upload == "id"
    second.clear(found[0])
    assert journal(tmp_path / "journal").entries() == []


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"\xff" * HALF_BYTES])
def test_a_torn_write_leaves_what_was_before(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "journal"
    first = journal(path)
    slot = first.begin(ENTRY)  # sequence 1: the second half
    assert slot == 0
    first.begun(slot, "id")  # sequence 2: the first half
    with open(path, "r+b") as file:
        file.write(damage)
    (_, entry), *_ = journal(path).entries()
    assert entry.upload == ("" if damage else "id")


def test_it_never_grows(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    kept = journal(path)
    size = path.stat().st_size
    slots = [kept.begin(ENTRY) for _ in range(SLOTS + 1)]
    assert slots[-1] is None
    assert None not in slots[:-1]
    assert path.stat().st_size == size


HOSTILE: list[dict[str, object]] = [
    {"path": "zz"},
    {"path": b"../x".hex()},
    {"path": b"/etc/x".hex()},
    {"path": b"a\0b".hex()},
    {"path": ""},
    {"path": 5},
    {"place": 5},
    {"key": None},
    {"upload": ["id"]},
    {"size": "1"},
    {"part_size": -1},
]


@pytest.mark.parametrize("wrong", HOSTILE)
def test_an_entry_that_is_not_ours_is_none(wrong: dict[str, object], tmp_path: Path) -> None:
    """Who writes to the watched directory may have made the journal."""
    body = json.dumps([1, asdict(ENTRY) | wrong]).encode()
    data = hashlib.sha256(body).digest() + len(body).to_bytes(4) + body
    (tmp_path / "journal").write_bytes(data.ljust(SLOTS * 2 * HALF_BYTES, b"\0"))
    assert journal(tmp_path / "journal").entries() == []


@pytest.mark.parametrize(
    "body", [b"[" * 10000, b"[1]", b"5", b"[1, [2]]", b'[1, {"place": "x"}]', b"\xff", b'["x", null]']
)
def test_a_journal_that_is_none(body: bytes, tmp_path: Path) -> None:
    data = hashlib.sha256(body).digest() + len(body).to_bytes(4) + body
    (tmp_path / "journal").write_bytes(data.ljust(SLOTS * 2 * HALF_BYTES, b"\0"))
    assert journal(tmp_path / "journal").entries() == []


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each write needs room (btrfs, ZFS), a full disk keeps no file from being sent: there is no journal then."""
    kept = journal(tmp_path / "journal")
    slot = kept.begin(ENTRY)
    assert slot is not None
    pwrite = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda fd, data, at: pwrite(fd, data[:20], at))  # as much as there is room for
    assert kept.begin(ENTRY) is None
    kept.begun(slot, "id")
    assert [entry.upload for _, entry in kept.entries()] == ["id"]
    assert [entry.upload for _, entry in journal(tmp_path / "journal").entries()] == [""]
    kept.clear(slot)
    assert kept.entries() == []
    monkeypatch.undo()
    slot = kept.begin(ENTRY)
    assert slot is not None
    kept.begun(slot, "new")
    assert [entry.upload for _, entry in journal(tmp_path / "journal").entries()] == ["new"]
