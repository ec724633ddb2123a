"""The last rows of several traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import SftoolsError
from sftools.fields import DEFAULT_FIELDS, FIELDS
from sftools.reader import Row, read_rows, tail
from sftools.reader.tail import last_rows
from sftools.source import open_source

TRACES = Path(__file__).parents[1] / "fixtures" / "traces"
NAMES = ("webshell", "every-type", "old-1000")


def rows() -> Iterator[Row]:
    for name in NAMES:
        with open_source(str(TRACES / f"{name}.sf")) as source:
            yield from read_rows(source)


def printed(row: Row, names: tuple[str, ...] = DEFAULT_FIELDS) -> tuple[Any, ...]:
    return tuple(FIELDS[name].get(row) for name in names)


@pytest.mark.parametrize("count", [1, 2, 17, 1000])
def test_the_last_rows_have_all_their_values(count: int) -> None:
    """Of several traces with schemas of their own."""
    every = [printed(row) for row in rows()]
    assert [printed(row) for row in last_rows(rows(), count)] == every[-count:]


def test_ancestors_where_they_are_wanted() -> None:
    names = ("proc.aname", "proc.apid", "idx")
    every = [printed(row, names) for row in rows()]
    assert max(len(each[0]) for each in every) > 2
    assert [printed(row, names) for row in last_rows(rows(), 1000, ancestors=True)] == every


def test_nothing() -> None:
    assert list(last_rows(iter(()), 5)) == []


def test_memory_is_bounded_and_counts_what_is_kept_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MAX_TAIL_BYTES", 20_000)
    many = [row for _ in range(50) for row in (row.snapshot() for row in rows())]
    assert len(list(last_rows(iter(many), 5))) == 5
    with pytest.raises(SftoolsError, match="the last 1,000 records take too much memory"):
        list(last_rows(iter(many), 1000))
