"""sftools.render.template_cy: each format's text of a row, whatever is constant, kept or rendered anew."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.avro.container import long
from sftools.avro.plan import Plan
from sftools.errors import InputError
from sftools.fields import DEFAULT_FIELDS, FIELDS, Field
from sftools.reader import Row, read_rows
from sftools.render.csv import csv_writer
from sftools.render.json import json_writer
from sftools.schema.versions import schema_json
from sftools.source import open_source
from sftools.utils import getTimeStrIso8601

FIXTURES = Path(__file__).parents[1] / "fixtures"
TRACES = sorted((FIXTURES / "traces").glob("*.sf"))
DEFAULT = [FIELDS[name] for name in DEFAULT_FIELDS]


def rows(path: Path) -> list[Row]:
    got: list[Row] = []
    with open_source(str(path)) as source, contextlib.suppress(InputError):
        for row in read_rows(source):
            got.append(row.snapshot())
    return got


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def expected(field: Field, row: Row) -> Any:
    value = plain(field.get(row))
    return field.missing if value is None else value


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_flat_json_is_what_the_fields_give(path: Path) -> None:
    """Rows of several types follow each other here, and entities change: nothing kept may be stale."""
    fields = list(FIELDS.values())
    out = io.BytesIO()
    writer = json_writer(out, fields, flat=True)
    got = rows(path)
    for row in got:
        writer.row(row)
    writer.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == len(got)
    for line, row in zip(lines, got, strict=True):
        assert json.loads(line) == {field.name: expected(field, row) for field in fields}
        assert list(json.loads(line)) == list(FIELDS)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_nested_json_has_the_same_values_in_groups(path: Path) -> None:
    flat, nested, array = io.BytesIO(), io.BytesIO(), io.BytesIO()
    writers = [
        json_writer(flat, DEFAULT, flat=True), json_writer(nested, DEFAULT), json_writer(array, DEFAULT, array=True)
    ]  # fmt: skip
    for row in rows(path):
        for writer in writers:
            writer.row(row)
    for writer in writers:
        writer.close()
    documents = [json.loads(line) for line in nested.getvalue().splitlines()]
    assert json.loads(array.getvalue()) == documents
    for one, other in zip(flat.getvalue().splitlines(), documents, strict=True):
        unfolded = {}
        for name, value in other.items():
            members = (
                {f"{name}.{member}": v for member, v in value.items()} if isinstance(value, dict) else {name: value}
            )
            unfolded.update(members)
        assert unfolded == json.loads(one)


def one_line(fields: Sequence[str], **options: Any) -> Any:
    out = io.BytesIO()
    writer = json_writer(out, [FIELDS[name] for name in fields], **options)
    writer.row(rows(FIXTURES / "traces" / "every-type.sf")[0])
    writer.close()
    return out.getvalue().decode()


def test_members_of_a_group_stand_where_its_first_one_does() -> None:
    assert one_line(["proc.pid", "type", "pproc.pid", "proc.tid"]) == (
        '{"proc":{"pid":101,"tid":101},"type":"PE","pproc":{"pid":100}}\n'
    )
    assert one_line(["type", "ret"]) == '{"type":"PE","ret":101}\n'
    assert one_line(["ret", "file.path"]) == '{"ret":101,"file":{"path":""}}\n'
    assert one_line(["file.path", "ret"], flat=True) == '{"file.path":"","ret":101}\n'


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_csv_reads_back(path: Path) -> None:
    out = io.BytesIO()
    fields = list(FIELDS.values())
    writer = csv_writer(out, fields)
    got = rows(path)
    for row in got:
        writer.row(row)
    writer.close()
    head, *lines = csv.reader(io.StringIO(out.getvalue().decode(), newline=""))
    assert head == list(FIELDS)
    assert len(lines) == len(got)
    for line, row in zip(lines, got, strict=True):
        for cell, field in zip(line, fields, strict=True):
            value = field.get(row)
            text = "" if value is None else str(value)
            assert cell == ("'" + text if text.startswith(("=", "+", "@", "\t", "\r")) else text)


def test_a_single_empty_cell_is_quoted_as_it_would_be_an_empty_line() -> None:
    out = io.BytesIO()
    writer = csv_writer(out, [FIELDS["file.path"]])
    writer.row(rows(FIXTURES / "traces" / "every-type.sf")[0])
    writer.close()
    assert out.getvalue() == b'file.path\r\n""\r\n'


class Chunks:
    """A file that keeps the sizes of what is written."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def write(self, data: memoryview) -> None:
        self.sizes.append(len(data))


def test_memory_is_bounded_by_pieces() -> None:
    file = Chunks()
    writer = json_writer(file, DEFAULT)  # type: ignore[arg-type]
    got = rows(FIXTURES / "traces" / "nasty.sf")
    for _ in range(200):
        for row in got:
            writer.row(row)
    writer.close()
    assert len(file.sizes) > 10
    assert max(file.sizes) < 80_000


def test_no_rows_are_an_empty_document_of_each_kind() -> None:
    for writer_of, text in [
        (json_writer, b""), (lambda file, fields: json_writer(file, fields, array=True), b"[]\n"),
        (csv_writer, b"type,ret\r\n"),
    ]:  # fmt: skip
        out = io.BytesIO()
        writer_of(out, [FIELDS["type"], FIELDS["ret"]]).close()
        assert out.getvalue() == text


# A K8sEvent: branch, kind, action; its time comes between; then an empty message.
EVENT_HEAD, EVENT_TAIL = long(11) + long(2) + long(0), long(0)


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**61) | st.integers(-(10**10), 10**10))
def test_numbers_and_times_are_pythons(ts: int) -> None:
    row = Row(Plan(schema_json(5)))
    row.load(EVENT_HEAD + long(ts) + EVENT_TAIL, 1)
    assert row.advance()
    out = io.BytesIO()
    writer = json_writer(out, [FIELDS["ts_uts"], FIELDS["ts"]], flat=True)
    writer.row(row)
    writer.close()
    assert json.loads(out.getvalue()) == {"ts_uts": ts, "ts": getTimeStrIso8601(ts)}
