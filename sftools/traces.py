"""sftools.open: traces to loop over, to filter, to turn into Arrow tables and data frames."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from sftools.avro.plan import Record
from sftools.avro.slots import SLOTS
from sftools.errors import UsageError
from sftools.fields import DEFAULT_FIELDS, Field, choose, known, nearest
from sftools.inputs import Input, NotATrace, find_traces
from sftools.objtypes import OBJECT_MAP, ObjectTypes
from sftools.reader.records import read_rows
from sftools.reader.rows_cy import Row
from sftools.render.text import printable
from sftools.schema.sysflow import Container, File, Pod, Process, SFHeader

if TYPE_CHECKING:
    import pandas
    import pyarrow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TS, _END_TS = SLOTS["ts"], SLOTS["endTs"]


class TraceRecord(Mapping[str, Any]):
    """An event or a flow with what it refers to. It stays as it is; entities that the trace does not tell of are None.

    As a mapping it has the fields that sysprint prints, by name: record["proc.exe"]. Other fields and Falco's names can
    be asked for, too; dict(record) has those of sysprint's JSON. What a record has none of is None.
    """

    __slots__ = ("row",)

    def __init__(self, row: Row) -> None:
        self.row = row

    @property
    def type(self) -> str:
        """The letters of its type: PE, FE, NE, NF, FF, PF or KE."""
        return OBJECT_MAP[ObjectTypes(self.row.branch)]

    @property
    def ts(self) -> int:
        """When it happened or began, nanoseconds since the epoch."""
        ts: int = self.row.number(_TS)
        return ts

    @property
    def endTs(self) -> int | None:
        """When a flow ended, nanoseconds since the epoch; None for an event."""
        end: int | None = self.row.number(_END_TS)
        return end

    @property
    def time(self) -> datetime:
        """ts as a datetime in UTC; it has microseconds only."""
        return _EPOCH + timedelta(microseconds=self.ts // 1000)

    @property
    def record(self) -> Record:
        """The event or flow itself, an object of sftools.schema.sysflow."""
        record: Record = self.row.record
        return record

    @property
    def process(self) -> Process | None:
        """The process that did it."""
        process: Process | None = self.row.process
        return process

    @property
    def parent(self) -> Process | None:
        """The process that started this one."""
        parent: Process | None = self.row.parent
        return parent

    def ancestors(self) -> list[Process]:
        """The process, its parent, and so on, as the trace tells of them when this is called."""
        ancestors: list[Process] = self.row.ancestors()
        return ancestors

    @property
    def container(self) -> Container | None:
        """The container of the process."""
        container: Container | None = self.row.container
        return container

    @property
    def pod(self) -> Pod | None:
        """The pod of the container."""
        pod: Pod | None = self.row.pod
        return pod

    @property
    def file(self) -> File | None:
        """The file of a file flow or file event."""
        file: File | None = self.row.file
        return file

    @property
    def new_file(self) -> File | None:
        """The second file of a file event: what a rename or link made."""
        new_file: File | None = self.row.new_file
        return new_file

    @property
    def header(self) -> SFHeader | None:
        """The header of the trace."""
        header: SFHeader | None = self.row.header
        return header

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str):
            raise TypeError(f"fields have names, such as 'proc.exe', not {name!r}")
        field = known(name)
        if field is None:
            near = nearest(name)
            raise KeyError(f"no field {name!r}" + (f"; do you mean {near}?" if near else ""))
        return field.get(self.row)

    def __iter__(self) -> Iterator[str]:
        return iter(DEFAULT_FIELDS)

    def __len__(self) -> int:
        return len(DEFAULT_FIELDS)

    def __repr__(self) -> str:
        shown = ("type", "ts", "proc.exe", "opflags", "res")
        text = " ".join(str(self[name]).strip() for name in shown if self[name])
        return f"<{printable(text)}>"


class Trace:
    """The events and flows of one or more traces, as often as they are asked for: each loop opens the files anew.

    Loops raise InputError where a file cannot be opened, is no SysFlow trace, or is damaged; what stands before the
    damage is given first. Files in directories that are no traces are passed over with a warning.
    """

    def __init__(self, inputs: Sequence[Input], wanted: Callable[[Row], bool] | None = None) -> None:
        self._inputs = inputs
        self._wanted = wanted
        self._running: WeakSet[Iterator[Row]] = WeakSet()

    def __iter__(self) -> Iterator[TraceRecord]:
        for row in self.rows():
            yield TraceRecord(row.snapshot())

    def rows(self) -> Iterator[Row]:
        """One Row that moves, for what has to be fast: what is to be kept of it has to be taken before the next."""
        running = self._rows()
        self._running.add(running)
        return running

    def _rows(self) -> Iterator[Row]:
        for given in self._inputs:
            try:
                source = given.open()
            except NotATrace as error:
                warnings.warn(str(error), stacklevel=2)
                continue
            with source:
                rows = read_rows(source)
                yield from rows if self._wanted is None else filter(self._wanted, rows)

    def filter(self, query: str, definitions: Sequence[str] = ()) -> Trace:
        """Those records that meet a query: sftools.open("x.sf").filter("type = FF and proc.exe endswith sh").

        definitions: files with the macros and lists that it uses. Raises FilterError where the query is wrong.
        """
        from sftools.sfql import Definitions, compile_query

        if not isinstance(query, str):
            raise TypeError(f"a query is text, not {query!r}")
        new, old = compile_query(query, Definitions.of(definitions)), self._wanted
        filtered = Trace(self._inputs, new if old is None else lambda row: old(row) and new(row))
        filtered._running = self._running
        return filtered

    def to_arrow(self, fields: Sequence[str] | None = None) -> pyarrow.Table:
        """An Arrow table with the fields as typed columns, by default those of sysprint's JSON.

        sftools.render.arrow has the types. Raises UsageError for an unknown field, SftoolsError without pyarrow.
        """
        from sftools.render.arrow import arrow_table

        return arrow_table(self.rows(), _fields(fields))

    def to_batches(self, fields: Sequence[str] | None = None) -> pyarrow.RecordBatchReader:
        """As to_arrow, but a batch at a time, in bounded memory."""
        from sftools.render.arrow import batch_reader

        return batch_reader(self.rows(), _fields(fields))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """What Arrow's consumers (pyarrow, polars, duckdb) take a table from."""
        return self.to_batches().__arrow_c_stream__(requested_schema)

    def to_dataframe(self, fields: Sequence[str] | None = None) -> pandas.DataFrame:
        """A pandas frame with the fields as columns: text as objects, numbers as Int64, times as datetime64[ns, UTC].

        What there is none of is missing. Raises as to_arrow does, and SftoolsError without pandas.
        """
        from sftools.render.dataframe import dataframe

        return dataframe(self.to_arrow(fields))

    def close(self) -> None:
        """End the loops that are running, also those of filtered traces, and close their files."""
        for running in list(self._running):
            running.close()  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open(*paths: str | bytes | os.PathLike[str], recursive: bool = False) -> Trace:
    """The traces of files, directories (recursive: and those in them), patterns, s3:// URLs, "-" (standard input).

    Several are read one after the other, a directory in natural order. Raises InputError where a file that is named
    does not exist or is no SysFlow trace, UsageError without a path.
    """
    if not paths:
        raise UsageError("no trace given")
    names = [os.fsdecode(path) for path in paths]
    inputs = list(find_traces(names, recursive=recursive))
    for given in inputs:
        # What is named wrongly is told here, not by the loop; pipes can be opened only once.
        if given.name in names and (os.path.isfile(given.name) or not os.path.exists(given.name)):
            with given.open() as source:
                read_rows(source)
    return Trace(inputs)


def _fields(names: Sequence[str] | None) -> list[Field]:
    return choose(names, DEFAULT_FIELDS)
