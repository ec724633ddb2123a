"""SFReader and FlattenedSFReader: the readers of the existing Python package, by its names."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from sftools.avro.plan import Record
from sftools.objtypes import OBJ_NAME_MAP, ObjectTypes
from sftools.reader.records import read_records, read_rows
from sftools.reader.rows_cy import Row
from sftools.schema.sysflow import (
    OID,
    Container,
    File,
    FileEvent,
    FileFlow,
    K8sEvent,
    NetworkEvent,
    NetworkFlow,
    Pod,
    Process,
    ProcessEvent,
    ProcessFlow,
    SFHeader,
)
from sftools.source import Source, open_source

_Record = TypeVar("_Record")
_Item = TypeVar("_Item")


class _Nine(NamedTuple):
    objtype: ObjectTypes
    header: SFHeader | None
    pod: Pod | None
    cont: Container | None
    pproc: Process | None
    proc: Process | None
    files: tuple[File | None, File | None] | None
    evt: ProcessEvent | FileEvent | NetworkEvent | K8sEvent | None
    flow: NetworkFlow | FileFlow | ProcessFlow | None


class FlattenedRecord(_Nine):
    """A record with the entities that it refers to: (objtype, header, pod, cont, pproc, proc, files, evt, flow).

    What a record has not, or the trace does not tell of, is None. files: the File of a FileFlow or FileEvent and the
    second one of a FileEvent. row: the same as a Row that stays, which filters and formatters use.
    """

    row: Row


class _Reader(Generic[_Record, _Item]):
    """An open trace, to be read once. It closes itself at its end."""

    def __init__(
        self,
        filename: str | os.PathLike[str],
        read: Callable[[Source], Iterator[_Record]],
        make: Callable[[_Record], _Item],
    ) -> None:
        self.filename = os.fspath(filename)
        source = open_source(self.filename)
        self._close = weakref.finalize(self, source.close)
        try:
            self._records = read(source)
        except BaseException:
            self.close()
            raise
        self._make = make

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _Item:
        return self._make(self._next())

    def _next(self) -> _Record:
        if not self._close.alive:
            raise StopIteration
        try:
            return next(self._records)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; may be called again. There are then no more records."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class SFReader(_Reader[Record, tuple[ObjectTypes, Record]]):
    """Iterates over all records of a trace, entities among them, as (type, object of sftools.schema.sysflow).

    filename: a path, `-` for the standard input. Attributes are named as the Avro fields; those that an older trace
    lacks have the schema's default, or "", 0, None. Enums are equal to their symbols.

    Raises InputError where the file is no SysFlow trace, at once, or is damaged; what stands before is given first.
    """

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        super().__init__(filename, read_records, _typed)


class FlattenedSFReader(_Reader[Row, FlattenedRecord]):
    """Iterates over the events and flows of a trace, each with its entities: FlattenedRecord has what.

    retEntities: give the entities themselves, too, as they come, with what is above them: a Pod; a Container with its
    Pod; a Process with these two; a File, as files=(file, None), with the same. Raises as SFReader does.
    """

    def __init__(self, filename: str | os.PathLike[str], retEntities: bool = False) -> None:
        super().__init__(filename, partial(read_rows, entities=retEntities), _flattened)
        self._row: Row | None = None

    def _next(self) -> Row:
        self._row = super()._next()
        return self._row

    def rows(self) -> Iterator[Row]:
        """What is left, as one Row that moves: ten times as fast as the tuples."""
        while self._close.alive:
            try:
                yield self._next()
            except StopIteration:
                return

    def getProcessKey(self, oid: OID) -> tuple[int, int]:
        """What getProcess finds a process by: its id and the time of its start."""
        return oid.hpid, oid.createTS

    def getProcess(self, oid: OID) -> Process | None:
        """The process of an OID, as the records so far tell of it; None where they do not."""
        if self._row is None:
            return None
        process: Process | None = self._row.process_of(oid.hpid, oid.createTS)
        return process


_EVENTS = frozenset({ObjectTypes.PROC_EVT, ObjectTypes.FILE_EVT, ObjectTypes.NET_EVT, ObjectTypes.K8S_EVT})
_FLOWS = frozenset({ObjectTypes.NET_FLOW, ObjectTypes.FILE_FLOW, ObjectTypes.PROC_FLOW})
_TYPES = sorted(ObjectTypes, key=lambda objtype: objtype.value)


def _typed(record: Record) -> tuple[ObjectTypes, Record]:
    return OBJ_NAME_MAP[record.AVRO_NAME], record


def _flattened(moving: Row) -> FlattenedRecord:
    row = moving.snapshot()
    objtype = _TYPES[row.branch]
    file, new_file = row.file, row.new_file
    nine: tuple[Any, ...] = (
        objtype,
        row.header,
        row.pod,
        row.container,
        None if objtype is ObjectTypes.PROC else row.parent,
        row.process,
        None if file is None and new_file is None else (file, new_file),
        row.record if objtype in _EVENTS else None,
        row.record if objtype in _FLOWS else None,
    )
    record = FlattenedRecord(*nine)
    record.row = row
    return record
