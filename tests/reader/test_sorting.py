"""Rows in the order of a field, in memory and through temporary files."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import SftoolsError
from sftools.fields import DEFAULT_FIELDS, FIELDS
from sftools.reader import Row, read_rows, sorting
from sftools.reader.sorting import sorted_rows
from sftools.source import open_source

TRACES = Path(__file__).parents[1] / "fixtures" / "traces"
NAMES = ("webshell", "every-type", "old-1000", "webshell")


def rows(*names: str) -> Iterator[Row]:
    for name in names:
        with open_source(str(TRACES / f"{name}.sf")) as source:
            yield from read_rows(source)


def printed(row: Row) -> tuple[Any, ...]:
    return tuple(FIELDS[name].get(row) for name in DEFAULT_FIELDS)


def reference(key: Callable[[Row], Any], descending: bool) -> list[tuple[Any, ...]]:
    """What sorted() makes of all rows at once; those without a value last."""
    every = [(key(row), printed(row)) for row in rows(*NAMES)]
    have = sorted((each for each in every if each[0] is not None), key=lambda each: each[0], reverse=descending)
    return [text for _, text in have + [each for each in every if each[0] is None]]


@pytest.fixture(params=["in memory", "in files", "in files of files"])
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "in memory":
        monkeypatch.setattr(sorting, "_RUN_ROWS", 7)
        monkeypatch.setattr(sorting, "_PIECE_ROWS", 3)
    if request.param == "in files of files":
        monkeypatch.setattr(sorting, "_MERGED", 2)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", ["ts_uts", "res", "ret", "proc.exe", "flow.rbytes", "proc.tty"])
def test_in_order_with_all_their_values(name: str, descending: bool) -> None:
    key = FIELDS[name].get
    assert [printed(row) for row in sorted_rows(rows(*NAMES), key, descending=descending)] == reference(key, descending)


@pytest.mark.usefixtures("_parts")
def test_a_part_is_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_RUN_BYTES", 1)
    monkeypatch.setattr(sorting, "_PIECE_BYTES", 1)
    key = FIELDS["res"].get
    assert [printed(row) for row in sorted_rows(rows(*NAMES), key)] == reference(key, False)


def test_ancestors_where_they_are_wanted() -> None:
    name, key = FIELDS["proc.aname"], FIELDS["idx"].get
    expected = [name.get(row) for row in rows("webshell")]
    assert max(len(names or ()) for names in expected) > 2
    assert [name.get(row) for row in sorted_rows(rows("webshell"), key, ancestors=True)] == expected


def test_nothing() -> None:
    assert list(sorted_rows(iter(()), printed)) == []


def test_entities_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "MAX_SORT_ENTITY_BYTES", 5000)
    with pytest.raises(SftoolsError, match="too many different processes and files to sort"):
        list(sorted_rows(rows("webshell"), printed))


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sorting, "_RUN_ROWS", 7)
    monkeypatch.setattr(sorting.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        list(sorted_rows(rows("webshell"), printed))
