"""Reads SysFlow traces: hostile bytes in; rows, or typed records, out.

Every schema with SysFlow's record types is read, back to the first (1000).
"""

from __future__ import annotations

from collections.abc import Iterator

from sftools.avro.blocks import Bytes, ContainerReader
from sftools.avro.decoder_cy import RecordCursor
from sftools.avro.plan import DecodeError, Plan, Record
from sftools.errors import InputError, SftoolsError
from sftools.reader.rows_cy import Row
from sftools.source import open_source

__all__ = ["DecodeError", "Plan", "Record", "Row", "read_rows", "read_trace"]


def read_rows(source: Bytes, entities: bool = False) -> Iterator[Row]:
    """The events and flows of an open trace, joined with their entities; with `entities`, these, too.

    It is one Row, which moves: who keeps one, keeps its snapshot(). Raises InputError where the source is no SysFlow
    trace, or is damaged; the records before the damage have then been given. The offset is that of the damaged block.
    """
    container, plan = _open(source)
    row = Row(plan, entities)
    for block in container.blocks():
        row.load(block.data, block.number)
        try:
            while row.advance():
                yield row
        except DecodeError as error:
            raise InputError(container.name, f"damaged block: {error}", block.offset) from None


def read_trace(path: str) -> Iterator[Record]:
    """The records of a trace file in their order, typed; "-" is the standard input.

    Fields that an older schema lacks get the schema's default, or "", 0, None. Raises InputError as read_rows does.
    """
    with open_source(path) as source:
        container, plan = _open(source)
        cursor = RecordCursor(plan)
        for block in container.blocks():
            cursor.load(block.data, block.number)
            try:
                while cursor.advance():
                    yield cursor.typed()
            except DecodeError as error:
                raise InputError(container.name, f"damaged block: {error}", block.offset) from None


def _open(source: Bytes) -> tuple[ContainerReader, Plan]:
    container = ContainerReader(source)
    try:
        return container, Plan(container.schema)
    except SftoolsError as error:
        cause = "".join(char if char.isprintable() else "?" for char in str(error))
        raise InputError(container.name, f"cannot be read as a SysFlow trace: {cause}") from None
