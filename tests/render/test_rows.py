"""sftools.render.rows: values of fields."""

from __future__ import annotations

import pytest

from sftools.errors import UsageError
from sftools.reader import Joined
from sftools.render.rows import FIELDS, TABLE_FIELDS, choose, ip_text, op_text, time_text
from sftools.schema import opflags
from sftools.schema.sysflow import OID, File, FileEvent, FileFlow, SFObjectState


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, " " * 11),
        (opflags.OP_OPEN | opflags.OP_WRITE_SEND | opflags.OP_CLOSE, "O  W    C  "),
        (opflags.OP_ACCEPT | opflags.OP_READ_RECV | opflags.OP_TRUNCATE, " A  R    T "),
        (
            opflags.OP_CONNECT | opflags.OP_SETNS | opflags.OP_MMAP | opflags.OP_SHUTDOWN | opflags.OP_DIGEST,
            "  C  NMS  D",
        ),
        (opflags.OP_EXEC, "EXEC"),
        (opflags.OP_CLONE | opflags.OP_EXIT, "CLONE,EXIT"),
        (opflags.OP_RENAME | opflags.OP_EXEC, "RENAME"),
    ],
)
def test_operations(flags: int, text: str) -> None:
    assert op_text(flags) == text


def test_times_are_utc_with_microseconds() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000000"
    assert time_text(1_714_557_600_300_346_999) == "2024-05-01T10:00:00.300346"
    assert time_text(-1) == "1969-12-31T23:59:59.999999"
    assert time_text((1 << 63) - 1).startswith("2262-04-11")
    assert time_text(-(1 << 63)).startswith("1677-09-21")


def test_addresses() -> None:
    assert ip_text(0x0100007F, None) == "127.0.0.1"
    assert ip_text(-1, None) == "255.255.255.255"
    assert ip_text(0, bytes(15) + b"\1") == "::1"


def test_a_resource_is_one_path_or_two() -> None:
    oid = OID(0, 1)
    old = File(SFObjectState.REUP, b"a" * 20, 0, 102, "/old", None)
    new = File(SFObjectState.REUP, b"b" * 20, 0, -5, "/new", None)
    event = FileEvent(oid, 0, 1, opflags.OP_RENAME, old.oid, 0, new.oid)
    resource, kind = FIELDS["res"].get, FIELDS["file.type"].get
    assert resource(Joined(event, None, file=old)) == "/old"
    assert resource(Joined(event, None, file=old, new_file=new)) == "/old, /new"
    assert resource(Joined(event, None, new_file=new)) == ", /new"
    assert (kind(Joined(event, None, file=old)), kind(Joined(event, None, file=new))) == ("f", "?")


def test_every_field_has_a_value_or_none_for_a_record_without_entities() -> None:
    row = Joined(FileFlow(OID(0, 1), 0, 1, 0, 0, 0, bytes(20), 3, 0, 0, 0, 0), None)
    values = {name: field.get(row) for name, field in FIELDS.items()}
    assert (values["type"], values["proc.pid"], values["proc.exe"], values["net.sip"]) == ("FF", 1, None, None)


def test_fields_by_name() -> None:
    assert choose("", TABLE_FIELDS) == TABLE_FIELDS
    assert choose(" res,type ,", TABLE_FIELDS) == ("res", "type")
    with pytest.raises(UsageError, match=r"do you mean proc\.exe"):
        choose("proc.exec", TABLE_FIELDS)
