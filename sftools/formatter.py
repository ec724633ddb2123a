"""SFFormatter: the records of a reader in the forms that people and programs want. By the existing package's names.

Each form is written by its module in sftools.render.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from sftools.fields import DEFAULT_FIELDS, FIELDS, K8S_EVENT_FIELDS, TABLE_FIELDS, Field, FieldType, choose
from sftools.newfile import NewFile
from sftools.reader.readers import FlattenedRecord, FlattenedSFReader
from sftools.reader.rows_cy import Row
from sftools.render import Writer
from sftools.utils import getTimeStrIso8601

if TYPE_CHECKING:
    import pandas
    import pyarrow


class SFFormatter:
    """The records of a reader as JSON, CSV, a table, a data frame, an Arrow table.

    reader: a FlattenedSFReader or what gives its records, such as SfqlInterpreter.filter(reader). It is read once: what
    is called second finds nothing left. defs: files with the macros and lists that `expr` uses.

    In all methods: fields are names of fields (sftools.fields; Falco's names too), without them those that sysprint has
    in that form. expr: a query; records that do not meet it are left out. It is for that call alone.

    All raise what the reader raises (InputError), UsageError for an unknown field, FilterError for a wrong query.
    """

    def __init__(self, reader: FlattenedSFReader | Iterable[FlattenedRecord], defs: Sequence[str] = ()) -> None:
        self.reader = reader
        self._defs = defs
        self._all = False
        self._table = list(TABLE_FIELDS)

    # -- which fields

    def enablePodFields(self) -> None:
        """Have the pod's name in the table."""
        if "pod.name" not in self._table:
            self._table.append("pod.name")

    def enableK8sEventFields(self) -> None:
        """Have the fields of Kubernetes events, and only these, in the table."""
        self._table = list(K8S_EVENT_FIELDS)

    def enableAllFields(self) -> None:
        """Have all fields everywhere, whatever a method is told."""
        self._all = True

    def getFields(self) -> list[tuple[str, str]]:
        """Name and description of every field."""
        return [(field.name, field.description) for field in FIELDS.values()]

    # -- forms

    def toJson(self, fields: Sequence[str] | None = None, flat: bool = False, expr: str | None = None) -> str:
        """An array of JSON documents; nested ({"proc": {"exe": ...}}) or flat ({"proc.exe": ...})."""
        out = io.BytesIO()
        self._json(out, fields, flat, expr, array=True)
        return out.getvalue().decode().rstrip("\n")

    def toJsonStdOut(self, fields: Sequence[str] | None = None, flat: bool = False, expr: str | None = None) -> None:
        """Print JSON documents, one a line."""
        self._json(_stdout(), fields, flat, expr, array=False)

    def toJsonFile(
        self, path: str | os.PathLike[str], fields: Sequence[str] | None = None, flat: bool = False,
        expr: str | None = None,
    ) -> None:  # fmt: skip
        """Write a file with an array of JSON documents. It replaces a file of that name when it is complete.

        Raises OutputError.
        """
        _to_file(path, lambda out: self._json(out, fields, flat, expr, array=True))

    def toCsvFile(
        self, path: str | os.PathLike[str], fields: Sequence[str] | None = None, header: bool = True,
        expr: str | None = None,
    ) -> None:  # fmt: skip
        """Write a CSV file, with the names of the fields as its first line. Otherwise as toJsonFile."""
        from sftools.render.csv import csv_writer

        chosen = self._choose(fields)
        _to_file(path, lambda out: self._write(csv_writer(out, chosen, header=header), expr))

    def toStdOut(
        self, fields: Sequence[str] | None = None, pretty_headers: bool = True, showindex: bool = True,
        expr: str | None = None,
    ) -> None:  # fmt: skip
        """Print a table. pretty_headers: its headings are not the names of the fields. showindex: number the rows."""
        from sftools.render.table import table_writer

        chosen = self._choose(fields, self._table)
        if not pretty_headers:
            chosen = [dataclasses.replace(field, title=field.name) for field in chosen]
        columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
        self._write(table_writer(_stdout(), chosen, columns=columns, numbered=showindex), expr)

    def applyFuncJson(
        self, func: Callable[[str], object], fields: Sequence[str] | None = None, expr: str | None = None
    ) -> None:
        """Call a function with the flat JSON document of each record."""
        from sftools.render.json import json_writer

        out = io.BytesIO()
        writer = json_writer(out, self._choose(fields), flat=True)
        for row in self._rows(expr):
            writer.row(row)
            writer.flush()
            func(out.getvalue().decode().rstrip("\n"))
            out.seek(0)
            out.truncate()

    def toDataframe(self, fields: Sequence[str] | None = None, expr: str | None = None) -> pandas.DataFrame:
        """A pandas frame with the fields as columns, also where there are no rows.

        Numbers are Int64 and booleans boolean: nanoseconds stay exact beside missing values. ts and endts are text, as
        in JSON; text that a record has none of is "". Raises SftoolsError where pandas or pyarrow is not installed.
        """
        from sftools.render.arrow import arrow_table
        from sftools.render.dataframe import dataframe

        chosen = self._choose(fields)
        table = arrow_table(self._rows(expr), chosen)
        frame = dataframe(table)
        for name, field in {field.name: field for field in chosen}.items():
            if field.type is FieldType.TIME:
                times = table.column(name).cast("int64").to_pylist()
                frame[name] = _objects("" if ns is None else getTimeStrIso8601(ns) for ns in times)
            elif field.type in (FieldType.TEXT, FieldType.ADDRESS):
                frame[name] = _objects("" if text is None else text for text in frame[name])
        return frame

    def toArrow(self, fields: Sequence[str] | None = None, expr: str | None = None) -> pyarrow.Table:
        """An Arrow table, typed as sftools.render.arrow says. Raises SftoolsError where pyarrow is not installed."""
        from sftools.render.arrow import arrow_table

        return arrow_table(self._rows(expr), self._choose(fields))

    def _json(self, out: BinaryIO, fields: Sequence[str] | None, flat: bool, expr: str | None, *, array: bool) -> None:
        from sftools.render.json import json_writer

        self._write(json_writer(out, self._choose(fields), flat=flat, array=array), expr)

    def _choose(self, names: Sequence[str] | None, default: Sequence[str] = DEFAULT_FIELDS) -> list[Field]:
        chosen = choose(DEFAULT_FIELDS if self._all else names, default)
        return list({field.name: field for field in chosen}.values())

    def _rows(self, expr: str | None) -> Iterator[Row]:
        reader = self.reader
        rows = reader.rows() if isinstance(reader, FlattenedSFReader) else (record.row for record in reader)
        if not expr:
            return rows
        from sftools.sfql import Definitions, compile_query

        return filter(compile_query(expr, Definitions.of(self._defs)), rows)

    def _write(self, writer: Writer, expr: str | None) -> None:
        for row in self._rows(expr):
            writer.row(row)
        writer.close()


def _to_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    file = NewFile(os.fspath(path), force=True)
    try:
        file.open()
        with file.stream() as out:
            write(out)
        file.commit()
    except BaseException:
        file.abandon()
        raise


class _Text(io.RawIOBase):
    """Bytes to a text stream without a binary one below, such as a notebook's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._stream.write(bytes(data).decode())
        return len(data)


class _Whole(io.RawIOBase):
    """Bytes to a file that may take a part of a write only, as standard output with PYTHONUNBUFFERED or python -u."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        while rest:
            taken = self._file.write(rest)
            if taken is None:  # it does not block, and takes nothing now
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            rest = rest[taken:]
        return len(data)


def _stdout() -> BinaryIO:
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    if isinstance(binary, io.RawIOBase):
        return _Whole(binary)  # type: ignore[return-value]
    return binary or _Text(sys.stdout)  # type: ignore[return-value]


def _objects(values: Iterable[str]) -> Any:
    import pandas

    return pandas.Series(list(values), dtype=object)
