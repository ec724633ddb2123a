"""sftools.avro.decoder_cy: one record after the other in the bytes of a block."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import fastavro
import pytest

from sftools.avro.container import byte_string, long
from sftools.avro.decoder_cy import RecordCursor
from sftools.avro.plan import DecodeError, Plan, Record
from sftools.avro.slots import SLOTS
from sftools.schema import opflags, versions
from sftools.schema.sysflow import OID, FileFlow, NetworkFlow, ProcessEvent, SFHeader

CURL = OID(17, 101)
FILE_FLOW = FileFlow(CURL, 11, 101, opflags.OP_OPEN, 1, 12, b"a" * 20, 3, 1, 0, 1182, 0)
NETWORK_FLOW = NetworkFlow(CURL, 14, 101, opflags.OP_CONNECT, 15, 0, 2, 0, 4, 6, 5, 1, 1, 1, 1, bytes(16), b"\x20" * 16)
SCHEMA = fastavro.parse_schema(json.loads(versions.schema_json(6)))


def datum(record: Record) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, {"rec": (record.AVRO_NAME, record.to_avro())})
    return out.getvalue()


def test_a_record_that_is_too_large() -> None:
    small = SFHeader(6, "h" * 60, "", "")
    large = SFHeader(6, "h" * 300, "", "")
    data = datum(small) * 10 + datum(large) + datum(small)

    def records(largest: int) -> Iterator[Record]:
        cursor = RecordCursor(Plan(versions.schema_json(6), largest))
        cursor.load(data, 12)
        while cursor.advance():
            yield cursor.typed()

    got: list[Record] = []
    with pytest.raises(DecodeError, match="more than 200 bytes"):
        got.extend(records(200))
    assert got == [small] * 10
    assert len(list(records(400))) == 12
    assert len(list(records(sys.maxsize))) == 12


def test_an_array_may_tell_its_size_in_bytes() -> None:
    """Avro allows a negative count, then the bytes of the items: so readers can pass over them."""
    plain = datum(ProcessEvent(CURL, 10, 101, opflags.OP_SETUID, [], 0))
    with_args = ProcessEvent(CURL, 10, 101, opflags.OP_SETUID, ["1000", "x"], 0)
    items = byte_string(b"1000") + byte_string(b"x")
    sized = datum(with_args).replace(long(2) + items, long(-2) + long(len(items)) + items)
    assert sized != datum(with_args)
    cursor = RecordCursor(Plan(versions.schema_json(6)))
    cursor.load(plain + sized, 2)
    assert cursor.advance()
    assert cursor.advance()
    assert cursor.typed() == with_args
    assert not cursor.advance()


def test_a_field_with_a_slot_is_read_in_place() -> None:
    cursor = RecordCursor(Plan(versions.schema_json(6)))
    flow = NETWORK_FLOW
    cursor.load(datum(flow) + datum(FILE_FLOW), 2)
    assert cursor.number(SLOTS["ts"]) is None
    assert cursor.advance()
    for name in ("ts", "tid", "opFlags", "endTs", "sport", "dport", "proto", "fd", "numRRecvBytes"):
        assert cursor.number(SLOTS[name]) == getattr(flow, name)
    assert (cursor.span(SLOTS["sip6"]), cursor.span(SLOTS["dip6"])) == (flow.sip6, flow.dip6)
    assert cursor.number(SLOTS["ret"]) is None
    kept = cursor.copy()
    assert cursor.advance()
    assert (cursor.span(SLOTS["fileOID"]), cursor.span(SLOTS["dip6"])) == (b"a" * 20, None)
    assert (kept.span(SLOTS["dip6"]), kept.typed()) == (flow.dip6, flow)
    assert not cursor.advance()
    assert cursor.number(SLOTS["ts"]) is None
    for wrong in (-1, 64, SLOTS["fileOID"]):
        with pytest.raises(IndexError):
            cursor.number(wrong)
    for wrong in (-1, 64, SLOTS["ts"]):
        with pytest.raises(IndexError):
            cursor.span(wrong)
