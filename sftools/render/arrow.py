"""Rows as Arrow record batches, and as a stream of them (the Arrow IPC streaming format). Needs pyarrow.

Columns have the names of the fields. text, address: dictionary<int32, string>; number: int64; time: timestamp[ns, UTC];
boolean: bool; list: a list of strings, of numbers, or of pod.services' structs. What a row has none of is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from sftools.errors import SftoolsError
from sftools.fields import Field, FieldType
from sftools.reader.rows_cy import Row
from sftools.render.columns_cy import Columns, Numbers, Owned

if TYPE_CHECKING:
    import pyarrow

INSTALL = "pip install 'sftools[arrow]'"

_TEXT = frozenset({FieldType.TEXT, FieldType.ADDRESS})


def load_pyarrow() -> Any:
    """The module. Raises SftoolsError where it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise SftoolsError(f"Arrow and Parquet need pyarrow, which is not installed: {INSTALL}") from None
    return pyarrow


class Batches:
    """Collects rows and calls `take` with each pyarrow.RecordBatch that is full, or flushed.

    Raises SftoolsError where pyarrow is missing.
    """

    def __init__(self, fields: Sequence[Field], take: Callable[[pyarrow.RecordBatch], object]) -> None:
        self._pyarrow = load_pyarrow()
        fields = list({field.name: field for field in fields}.values())
        self.schema: pyarrow.Schema = self._pyarrow.schema([(field.name, self._type(field)) for field in fields])
        self._columns = Columns(fields)
        self._take = take

    def row(self, row: Row) -> None:
        """Add a row. Raises DecodeError, and what `take` raises."""
        if self._columns.row(row):
            self.flush()

    def flush(self) -> None:
        """Hand on the rows that are waiting, if there are any."""
        if self._columns.count:
            try:
                # Who does not keep the batch has let go of it before room is made for the next.
                self._take(self._batch())
            finally:
                self._columns.begin()

    def _type(self, field: Field) -> pyarrow.DataType:
        pa = self._pyarrow
        if field.type is FieldType.LIST:
            return pa.list_(self._item_type(field))
        return pa.dictionary(pa.int32(), pa.string()) if field.type in _TEXT else self._value_type(field)

    def _value_type(self, field: Field) -> pyarrow.DataType:
        """As _type, for what is not worked into a dictionary yet."""
        pa = self._pyarrow
        if field.type in _TEXT:
            return pa.string()
        if field.type is FieldType.BOOL:
            return pa.bool_()
        if field.type is FieldType.TIME:
            return pa.timestamp("ns", tz="UTC")
        return pa.int64() if field.type is FieldType.NUMBER else self._type(field)

    def _item_type(self, field: Field) -> pyarrow.DataType:
        pa = self._pyarrow
        if field.name != "pod.services":
            return pa.int64() if field.item is FieldType.NUMBER else pa.string()
        port = {"port": pa.int64(), "targetPort": pa.int64(), "nodePort": pa.int64(), "proto": pa.string()}
        service = {"name": pa.string(), "id": pa.string(), "namespace": pa.string()}
        lists = {"portList": pa.list_(pa.struct(port)), "clusterIP": pa.list_(pa.string())}
        return pa.struct(service | lists)

    def _batch(self) -> pyarrow.RecordBatch:
        pa = self._pyarrow
        columns = self._columns
        count = columns.count
        places: dict[Owned, pyarrow.Array] = {}
        arrays = []
        for field, column in zip(columns.fields, columns.columns, strict=True):
            kind = self._value_type(field)
            if isinstance(column, Numbers):
                arrays.append(self._numbers(column, kind, count))
            elif isinstance(column, Owned):
                if column not in places:
                    places[column] = pa.Array.from_buffers(
                        pa.int32(), count, [None, self._buffer(column.room, 4 * count)]
                    )
                values = pa.array(column.values[column.fields.index(field)], kind)
                if field.type in _TEXT:
                    # Entities share texts; readers want each once in a dictionary.
                    encoded = values.dictionary_encode()
                    indices = encoded.indices.take(places[column])
                    arrays.append(pa.DictionaryArray.from_arrays(indices, encoded.dictionary))
                else:
                    arrays.append(values.take(places[column]))
            else:
                values = pa.array(column.items[:count], kind)
                arrays.append(values.dictionary_encode() if field.type in _TEXT else values)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _numbers(self, column: Numbers, kind: pyarrow.DataType, count: int) -> pyarrow.Array:
        pa = self._pyarrow
        flags = pa.Array.from_buffers(pa.uint8(), count, [None, self._buffer(column.flags, count)])
        bits = flags.cast(pa.bool_()).buffers()[1]
        return pa.Array.from_buffers(kind, count, [bits, self._buffer(column.room, 8 * count)])

    def _buffer(self, room: bytearray, size: int) -> pyarrow.Buffer:
        """What is used of a column's room; a copy, where that is little."""
        return self._pyarrow.py_buffer(room if 2 * size > len(room) else room[:size])


def arrow_table(rows: Iterable[Row], fields: Sequence[Field]) -> pyarrow.Table:
    """Rows as one table in memory. Raises SftoolsError where pyarrow is missing, and what the rows raise."""
    taken: list[pyarrow.RecordBatch] = []
    batches = Batches(fields, taken.append)
    for row in rows:
        batches.row(row)
    batches.flush()
    return load_pyarrow().Table.from_batches(taken, batches.schema).unify_dictionaries()


def batch_reader(rows: Iterable[Row], fields: Sequence[Field]) -> pyarrow.RecordBatchReader:
    """Rows as batches that are made as they are asked for. Raises as arrow_table does."""
    taken: list[pyarrow.RecordBatch] = []
    batches = Batches(fields, taken.append)

    def made() -> Iterator[pyarrow.RecordBatch]:
        for row in rows:
            batches.row(row)
            if taken:
                yield taken.pop()
        batches.flush()
        yield from taken

    return load_pyarrow().RecordBatchReader.from_batches(batches.schema, made())


class ArrowWriter:
    """Writes rows to a binary file as an Arrow IPC stream, in batches of 32,768 rows or limits.MAX_BATCH_BYTES.

    Raises SftoolsError where pyarrow is missing, and what the file raises.
    """

    def __init__(self, file: BinaryIO, fields: Sequence[Field]) -> None:
        self._batches = Batches(fields, lambda batch: self._stream.write_batch(batch))
        self._stream = load_pyarrow().ipc.new_stream(file, self._batches.schema)

    def row(self, row: Row) -> None:
        """Write a row, with others. Raises DecodeError."""
        self._batches.row(row)

    def close(self) -> None:
        """Write what is waiting, and the end. The file stays open."""
        self._batches.flush()
        self._stream.close()
