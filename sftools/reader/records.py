"""The records of an open trace: as rows or typed, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from sftools.avro.blocks import Bytes, ContainerReader, one_line
from sftools.avro.decoder_cy import RecordCursor
from sftools.avro.plan import DecodeError, Plan, Record
from sftools.errors import InputError, SftoolsError
from sftools.reader.rows_cy import Row
from sftools.source import open_source


def read_rows(
    source: Bytes, entities: bool = False, damaged: Callable[[InputError], None] | None = None
) -> Iterator[Row]:
    """The events and flows of an open trace, joined with their entities; with `entities`, these, too.

    It is one Row, which moves: who keeps one, keeps its snapshot(). Raises InputError where the source is no SysFlow
    trace, at once, or is damaged; the records before the damage have then been given. The offset is that of the
    damaged block. With `damaged`, that is called instead of raising, and what is sound behind the damage follows.
    """
    container, plan = _open(source)
    row = Row(plan, entities)
    return _advance(container, row, damaged)


def read_records(source: Bytes) -> Iterator[Record]:
    """The records of an open trace in their order, typed.

    Fields that an older schema lacks get the schema's default, or "", 0, None. Raises InputError as read_rows does.
    """
    container, plan = _open(source)
    return _typed(container, RecordCursor(plan))


def read_trace(path: str) -> Iterator[Record]:
    """As read_records, for a trace file; "-" is the standard input."""
    with open_source(path) as source:
        yield from read_records(source)


def _advance(container: ContainerReader, row: Row, damaged: Callable[[InputError], None] | None) -> Iterator[Row]:
    for block in container.blocks(damaged):
        row.load(block.data, block.number)
        try:
            while row.advance():
                yield row
        except DecodeError as error:
            cause = InputError(container.name, f"damaged block: {error}", block.offset)
            if damaged is None:
                raise cause from None
            damaged(cause)


def _typed(container: ContainerReader, cursor: RecordCursor) -> Iterator[Record]:
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
        return container, _plan(container.schema)
    except SftoolsError as error:
        raise InputError(container.name, f"cannot be read as a SysFlow trace: {one_line(error)}") from None


@lru_cache(maxsize=16)
def _plan(schema: str) -> Plan:
    """Thousands of traces have the same schema, and what is made for a plan (a writer's program) serves them all."""
    return Plan(schema)
