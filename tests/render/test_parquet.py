from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftools.fields import FIELDS
from sftools.reader import Row, read_rows
from sftools.render import columns_cy
from sftools.source import open_source

parquet = pytest.importorskip("pyarrow.parquet")

from sftools.render.arrow import arrow_table  # noqa: E402
from sftools.render.parquet import ParquetWriter  # noqa: E402

TRACE = Path(__file__).parents[1] / "fixtures" / "traces" / "every-type.sf"
ALL = list(FIELDS.values())


def rows() -> Iterator[Row]:
    with open_source(str(TRACE)) as source:
        yield from read_rows(source)


def written() -> io.BytesIO:
    out = io.BytesIO()
    writer = ParquetWriter(out, ALL)
    for row in rows():
        writer.row(row)
    writer.close()
    return out


def test_it_holds_what_the_arrow_table_holds() -> None:
    assert parquet.read_table(written()).to_pylist() == arrow_table(rows(), ALL).to_pylist()


def test_types_are_plain_and_exact() -> None:
    types = {field.name: str(field.type) for field in parquet.read_schema(written())}
    assert types["ts"] == "timestamp[ns, tz=UTC]"
    assert types["proc.exe"] == "string"
    assert types["ts_uts"] == "int64"
    assert types["pod.services"].startswith("list<element: struct<name: string")


def test_row_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_cy, "ROWS", 4)
    file = parquet.ParquetFile(written())
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert set(sizes[:-1]) == {4}
    assert file.read().to_pylist() == arrow_table(rows(), ALL).to_pylist()


def test_without_rows_it_has_the_columns() -> None:
    out = io.BytesIO()
    ParquetWriter(out, ALL).close()
    assert parquet.read_table(out).column_names == list(FIELDS)


def test_one_that_is_given_up_is_not_completed(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with path.open("wb") as file:
        writer = ParquetWriter(file, ALL)
        writer.row(next(rows()))
    del writer
    gc.collect()
    assert path.read_bytes() == b"PAR1"
