"""Rows as Parquet. Needs pyarrow.

Columns as in arrow.py, but texts are plain strings (encoded by dictionaries, as Parquet does by itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from sftools.fields import Field
from sftools.limits import MAX_BATCH_BYTES
from sftools.reader.rows_cy import Row
from sftools.render.arrow import Batches


class ParquetWriter:
    """Writes rows to a binary file as Parquet, in row groups of 32,768 rows or limits.MAX_BATCH_BYTES, with zstd.

    Raises SftoolsError where pyarrow is missing, and what the file raises.
    """

    def __init__(self, file: BinaryIO, fields: Sequence[Field]) -> None:
        self._batches = Batches(fields, lambda batch: self._parquet.write_batch(batch))
        from pyarrow import parquet

        self._parquet = parquet.ParquetWriter(
            file,
            self._batches.schema,
            compression="zstd",
            # Readers then give strings, not dictionaries.
            store_schema=False,
            # Beyond that a text would stand in every row that has it.
            dictionary_pagesize_limit=4 * MAX_BATCH_BYTES,
        )

    def __del__(self) -> None:
        if hasattr(self, "_parquet"):
            self._parquet.is_open = False  # one given up is not to be completed, into a file that may be closed

    def row(self, row: Row) -> None:
        """Write a row, with others. Raises DecodeError."""
        self._batches.row(row)

    def close(self) -> None:
        """Write what is waiting, and the end. The file stays open."""
        self._batches.flush()
        self._parquet.close()
