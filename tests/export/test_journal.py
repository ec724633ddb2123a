"""The journal outlives its process, and a write that was torn."""

from __future__ import annotations

import os
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
