"""Objects that are made of slots are those that fastavro reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.avro.decoder_cy import RecordCursor
from sftools.avro.plan import Plan
from sftools.reader import FlattenedSFReader
from sftools.schema import versions
from sftools.schema.objtypes import BRANCHES
from sftools.schema.sysflow import OID, ProcessEvent

TRACES = [
    path for path in sorted((Path(__file__).parents[1] / "fixtures" / "traces").glob("*.sf")) if path.name != "cut.sf"
]
PLAN = Plan(versions.schema_json(versions.LATEST))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_every_record_of_every_schema(path: Path) -> None:
    for row in FlattenedSFReader(path).rows():
        want = row.plan.typed(row.cursor.raw())
        assert row.record == want
        assert row.snapshot().record == want


def test_events_and_flows_need_no_fastavro() -> None:
    names = {"FileEvent", "FileFlow", "NetworkEvent", "NetworkFlow", "ProcessEvent", "ProcessFlow"}
    assert set(PLAN.shapes) == {BRANCHES[name] for name in names}


def varint(number: int, more: int = 0) -> bytes:
    """An Avro long, in `more` bytes than it needs."""
    rest = (number << 1 ^ number >> 63) & (1 << 64) - 1
    out = []
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    for _ in range(min(more, 9 - len(out))):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


longs = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(longs, min_size=6, max_size=6), st.lists(st.text(max_size=3), max_size=3), st.integers(0, 2))
def test_arguments_of_an_event(numbers: list[int], args: list[str], more: int) -> None:
    """Also where numbers take more bytes than they need, so that lengths do not tell whether the array is empty."""
    create_ts, hpid, ts, tid, flags, ret = numbers
    array = (varint(len(args)) + b"".join(varint(len(a.encode())) + a.encode() for a in args) if args else b"") + b"\0"
    body = b"".join(varint(number, more) for number in (create_ts, hpid, ts, tid, flags))
    raw = varint(BRANCHES["ProcessEvent"]) + body + array + varint(ret, more)
    cursor = RecordCursor(PLAN)
    cursor.load(raw, 1)
    assert cursor.advance()
    assert cursor.typed() == ProcessEvent(OID(create_ts, hpid), ts, tid, flags, args, ret) == PLAN.typed(raw)
