"""Arrow: what arrives is what the fields give, whatever the batches are."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftools import limits
from sftools.errors import SftoolsError
from sftools.fields import DEFAULT_FIELDS, FIELDS, Field, FieldType
from sftools.reader import Row, read_rows
from sftools.render import columns_cy
from sftools.source import open_source

pyarrow = pytest.importorskip("pyarrow")

from sftools.render.arrow import ArrowWriter, Batches, arrow_table, batch_reader  # noqa: E402

TRACES = Path(__file__).parents[1] / "fixtures" / "traces"
SOUND = [path.name for path in sorted(TRACES.glob("*.sf")) if path.name != "cut.sf"]
ALL = list(FIELDS.values())


def rows(*names: str, entities: bool = False) -> Iterator[Row]:
    for name in names:
        with open_source(str(TRACES / name)) as source:
            yield from read_rows(source, entities)


def expected(row: Row, field: Field) -> Any:
    """A field's value as Arrow has it; a time is its nanoseconds."""
    if field.branches is not None and row.branch not in field.branches:
        return None
    if field.type is FieldType.TIME:
        return row.number(field.slot)
    value = field.get(row)
    return list(value) if field.type is FieldType.LIST and value is not None else value


def values(table: Any, field: Field) -> list[Any]:
    column = table.column(field.name)
    if field.type is FieldType.TIME:
        column = column.cast("int64")
    found: list[Any] = column.to_pylist()
    return found


def assert_equal(table: Any, *names: str, entities: bool = False) -> None:
    want = [[expected(row, field) for field in ALL] for row in rows(*names, entities=entities)]
    assert table.num_rows == len(want)
    for i, field in enumerate(ALL):
        assert values(table, field) == [line[i] for line in want], field.name


@pytest.mark.parametrize("name", SOUND)
def test_every_field_of_every_trace(name: str) -> None:
    table = arrow_table(rows(name), ALL)
    assert table.column_names == list(FIELDS)
    table.validate(full=True)
    assert_equal(table, name)


def test_entities_are_rows_too() -> None:
    assert_equal(arrow_table(rows("every-type.sf", entities=True), ALL), "every-type.sf", entities=True)


def test_batches_are_bounded_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where traces of several schemas are one output."""
    monkeypatch.setattr(columns_cy, "ROWS", 3)
    names = ("webshell.sf", "old-2018.sf", "every-type.sf", "old-1000.sf")
    sizes = [batch.num_rows for batch in arrow_table(rows(*names), ALL).to_batches()]
    assert len(sizes) > 10
    assert set(sizes[:-1]) == {3}
    assert_equal(arrow_table(rows(*names), ALL), *names)


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = len(arrow_table(rows("every-type.sf"), ALL).to_batches())
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 60)
    for fields in (ALL, [FIELDS["proc.exe"]], [FIELDS["res"]], [FIELDS["pod.services"]]):
        assert len(arrow_table(rows("every-type.sf"), fields).to_batches()) > usual
    assert_equal(arrow_table(rows("every-type.sf"), ALL), "every-type.sf")


def test_types() -> None:
    schema = Batches(ALL, print).schema
    types = {name: str(schema.field(name).type) for name in FIELDS}
    assert types["ts"] == "timestamp[ns, tz=UTC]"
    assert types["ts_uts"] == types["proc.pid"] == types["idx"] == "int64"
    assert types["proc.tty"] == "bool"
    assert types["proc.exe"] == types["net.sip"] == "dictionary<values=string, indices=int32, ordered=0>"
    assert types["pod.hostip"] == types["proc.aname"] == "list<item: string>"
    assert types["net.port"] == types["proc.apid"] == "list<item: int64>"
    assert types["pod.services"].startswith("list<item: struct<name: string, id: string")


def test_a_text_stands_once_in_a_dictionary() -> None:
    batch = arrow_table(rows("webshell.sf", "webshell.sf"), [FIELDS["proc.exe"], FIELDS["opflags"]]).to_batches()[0]
    for column in batch.columns:
        assert len(set(column.dictionary.to_pylist())) == len(column.dictionary) < batch.num_rows


def test_a_stream_has_the_rows() -> None:
    out = io.BytesIO()
    writer = ArrowWriter(out, ALL)
    for row in rows("every-type.sf"):
        writer.row(row)
    writer.close()
    out.seek(0)
    assert_equal(pyarrow.ipc.open_stream(out).read_all(), "every-type.sf")


def test_a_stream_without_rows_has_the_columns() -> None:
    out = io.BytesIO()
    ArrowWriter(out, ALL).close()
    out.seek(0)
    assert pyarrow.ipc.open_stream(out).read_all().column_names == list(FIELDS)


def test_a_field_that_is_named_twice_is_one_column() -> None:
    assert arrow_table(rows("webshell.sf"), [FIELDS["ts"], FIELDS["ts"]]).column_names == ["ts"]


def test_batches_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_cy, "ROWS", 2)
    moving = rows("every-type.sf")
    reader = batch_reader(moving, [FIELDS["idx"]])
    assert reader.read_next_batch().column("idx").to_pylist() == [0, 1]
    assert next(moving).index == 2
    assert reader.read_all().column("idx").to_pylist() == [row.index for row in rows("every-type.sf")][3:]


def test_a_row_that_fails_leaves_nothing() -> None:
    class Failing:
        name, type, owner, slot, branches, owners, constant = "late", FieldType.TEXT, -1, -1, None, {}, None
        fails = True

        def get(self, row: Row) -> str:
            if self.fails:
                raise ValueError("no")
            return "late"

    failing = Failing()
    fields: list[Any] = [FIELDS["proc.exe"], FIELDS["ret"], FIELDS["res"], failing]
    some = [row.snapshot() for row in rows("every-type.sf")]
    taken: list[Any] = []
    batches = Batches(fields, taken.append)
    with pytest.raises(ValueError, match="no"):
        batches.row(next(row for row in some if row.process is not None and FIELDS["ret"].get(row) is not None))
    failing.fails = False
    batches.row(next(row for row in some if row.process is None))
    batches.flush()
    lone = {"proc.exe": None, "late": "late"}
    assert {name: taken[0].to_pylist()[0][name] for name in lone} == lone
    assert taken[0].num_rows == 1


def test_a_reader_that_goes_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as file, pytest.raises(BrokenPipeError):
        ArrowWriter(file, [FIELDS["ts"]]).close()


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SftoolsError, match=r"pip install 'sftools\[arrow\]'"):
        ArrowWriter(io.BytesIO(), [FIELDS[name] for name in DEFAULT_FIELDS])
