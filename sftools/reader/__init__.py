"""Reads SysFlow traces: hostile bytes in; rows, or typed records, out.

Every schema with SysFlow's record types is read, back to the first (1000).
"""

from sftools.avro.plan import DecodeError, Plan, Record
from sftools.reader.readers import FlattenedRecord, FlattenedSFReader, SFReader
from sftools.reader.records import read_records, read_rows, read_trace
from sftools.reader.rows_cy import Row

__all__ = [
    "DecodeError",
    "FlattenedRecord",
    "FlattenedSFReader",
    "Plan",
    "Record",
    "Row",
    "SFReader",
    "read_records",
    "read_rows",
    "read_trace",
]
