"""sftools.reader.records: what a trace holds comes out, typed or as rows, and no bytes do harm."""

from __future__ import annotations

import bz2
import functools
import io
import json
import lzma
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cramjam
import fastavro
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sftools import limits
from sftools.avro.container import byte_string, header, long
from sftools.avro.plan import Record
from sftools.avro.slots import SLOTS
from sftools.errors import InputError
from sftools.reader import Row, read_rows, read_trace
from sftools.schema import opflags, versions
from sftools.schema.sysflow import (
    OID,
    Container,
    ContainerType,
    File,
    FileEvent,
    FileFlow,
    K8sAction,
    K8sComponent,
    K8sEvent,
    NetworkEvent,
    NetworkFlow,
    Pod,
    Port,
    Process,
    ProcessEvent,
    ProcessFlow,
    Service,
    SFHeader,
    SFObjectState,
)
from sftools.source import open_source

SHARED = Path(__file__).parents[3] / "shared" / "traces"
SYNC = b"0123456789abcdef"
SHELL, CURL = OID(0, 100), OID(17, 101)


def process(oid: OID, exe: str, poid: OID | None = None, container: str | None = "c1") -> Process:
    return Process(
        SFObjectState.CREATED, oid, poid, 5, exe, "-c x", 0, "root", 0, "root", False, container, True, "/", ["A=1"]
    )


def process_event(oid: OID, op: int, ts: int = 10) -> ProcessEvent:
    return ProcessEvent(oid, ts, oid.hpid, op, [], 0)


RECORDS: list[Record] = [
    SFHeader(6, "host1", "10.0.0.1", "x.sf"),
    Pod(1, "p1", "web-0", "n", [1], [2], "prod", 0, {"a": "b"}, {}, [Service("s", "i", "n", [Port(1, 2, 3, "")], [4])]),
    Container("c1", "web", "nginx:1", "sha", ContainerType.CT_CRI, False, "p1"),
    process(SHELL, "/bin/sh"),
    process(CURL, "/usr/bin/curl", SHELL),
    File(SFObjectState.REUP, b"a" * 20, 5, ord("f"), "/etc/passwd", None),
    File(SFObjectState.CREATED, b"b" * 20, 5, ord("f"), "/tmp/\x1b[2J\u4f60", "c1"),
    process_event(CURL, opflags.OP_EXEC),
    FileFlow(CURL, 11, 101, opflags.OP_OPEN, 1, 12, b"a" * 20, 3, 1, 0, 1182, 0),
    FileEvent(CURL, 13, 101, opflags.OP_RENAME, b"a" * 20, 0, b"b" * 20),
    NetworkFlow(CURL, 14, 101, opflags.OP_CONNECT, 15, 1, 2, 3, 4, 6, 5, 1, 1, 1, 1),
    NetworkFlow(CURL, 14, 101, opflags.OP_CONNECT, 15, 0, 2, 0, 4, 6, 5, 1, 1, 1, 1, bytes(16), b"\x20" * 16),
    NetworkEvent(CURL, 15, 101, opflags.OP_CONNECT, 1, 2, 3, 4, 17, -1),
    ProcessFlow(SHELL, 16, 3, opflags.OP_CLONE, 17, 2, 0),
    K8sEvent(K8sComponent.K8S_PODS, K8sAction.K8S_COMPONENT_ADDED, 18, "{}"),
]  # fmt: skip


def container_file(schema: str, blocks: list[tuple[int, bytes]], codec: str = "null") -> bytes:
    """An Avro container with these blocks: (number of records, bytes as stored)."""
    body = b"".join(long(count) + byte_string(data) + SYNC for count, data in blocks)
    return header(schema, codec, SYNC) + body


def deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


def snappy(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big")


COMPRESS = {
    "null": bytes,
    "deflate": deflate,
    "zstandard": zstandard.ZstdCompressor().compress,
    "snappy": snappy,
    "bzip2": bz2.compress,
    "xz": functools.partial(lzma.compress, preset=0),
}


def datum(record: Record, schema: str = "") -> bytes:
    out = io.BytesIO()
    parsed = fastavro.parse_schema(json.loads(schema or versions.schema_json(6)))
    fastavro.schemaless_writer(out, parsed, {"rec": (record.AVRO_NAME, record.to_avro())})
    return out.getvalue()


def trace(records: list[Record], schema: str = "", codec: str = "null", in_block: int = 1000) -> bytes:
    """A trace with so many records in each block."""
    blocks = []
    for first in range(0, len(records), in_block):
        some = records[first : first + in_block]
        blocks.append((len(some), COMPRESS[codec](b"".join(datum(record, schema) for record in some))))
    return container_file(schema or versions.schema_json(6), blocks, codec)


def read(data: bytes, tmp_path: Path) -> tuple[list[Record], str]:
    """The records before the error, and the error's text."""
    path = tmp_path / "t.sf"
    path.write_bytes(data)
    got: list[Record] = []
    try:
        for record in read_trace(str(path)):
            got.append(record)
    except InputError as error:
        return got, str(error)
    return got, ""


@pytest.mark.parametrize("codec", COMPRESS)
def test_every_record_type_with_every_codec(codec: str, tmp_path: Path) -> None:
    assert read(trace(RECORDS, codec=codec), tmp_path) == (RECORDS, "")


def test_version_5_has_no_ipv6_addresses(tmp_path: Path) -> None:
    got, error = read(trace(RECORDS, versions.schema_json(5)), tmp_path)
    assert error == ""
    assert [type(r) for r in got] == [type(r) for r in RECORDS]
    assert got[11].sip6 is None  # type: ignore[union-attr]


def older(*dropped: tuple[str, str]) -> str:
    """The schema of version 5 without some fields, with nanoseconds declared as in 2018."""
    schema = json.loads(versions.schema_json(5))
    for branch in schema["fields"][0]["type"]:
        gone = {field for record, field in dropped if record == branch["name"]}
        branch["fields"] = [field for field in branch["fields"] if field["name"] not in gone]
        for field in branch["fields"]:
            if field["name"] == "ts":
                field["type"] = {"type": "long", "logicalType": "timestamp-millis"}
    return json.dumps(schema)


def test_fields_that_an_older_schema_lacks_get_defaults(tmp_path: Path) -> None:
    schema = older(("SFHeader", "ip"), ("Process", "env"), ("Process", "tty"), ("Container", "podId"))
    head, container, shell = (RECORDS[i] for i in (0, 2, 3))
    assert isinstance(shell, Process)
    shell.ts = 1_714_557_600_300_346_000  # as milliseconds, a year far behind 9999
    got, error = read(trace([head, container, shell], schema), tmp_path)
    assert error == ""
    assert got[0] == SFHeader(6, "host1", "NA", "x.sf")
    assert got[1] == Container("c1", "web", "nginx:1", "sha", ContainerType.CT_CRI, False, None)
    assert isinstance(got[2], Process)
    assert (got[2].env, got[2].tty, got[2].ts) == ([], False, 1_714_557_600_300_346_000)


def test_what_is_no_utf8_is_escaped_as_in_the_encoder(tmp_path: Path) -> None:
    data = datum(SFHeader(6, "caf?", "", "")).replace(b"caf?", b"caf\xe9")
    got, error = read(container_file(versions.schema_json(6), [(1, data)]), tmp_path)
    assert (got, error) == ([SFHeader(6, "caf\uefe9", "", "")], "")


def test_a_cut_trace_gives_its_complete_blocks(tmp_path: Path) -> None:
    whole = trace(RECORDS, in_block=1)
    one_block = trace(RECORDS[:1], in_block=1)
    for cut in range(len(one_block), len(whole), 3):
        got, error = read(whole[:cut], tmp_path)
        assert got == RECORDS[: len(got)]
        assert len(got) >= 1
        assert error == "" or ("t.sf at offset " in error and "ends inside a block" in error), cut
    assert len(got) == len(RECORDS) - 1, "the last block misses a few bytes"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty"),
        (b"\n\r\r\n" + bytes(100), "convert it with sysporter"),
        (b"PK\3\4", "is not a SysFlow trace"),
        (b"Obj\x01", "ends inside its header"),
        (b"Obj\x01" + long(2) + long(1 << 40), "more than"),
        (b"Obj\x01" + long(1 << 60) + bytes(3 << 20), "more than"),
        (b"Obj\x01" + b"\xff" * 30, "64 bits"),
        (container_file('"string"', []), "not that of SysFlow"),
        (container_file("{", []), "bad Avro schema"),
        (container_file(versions.schema_json(6), [], "lzo"), "unknown codec 'lzo'"),
    ],
)
def test_what_is_no_trace_is_named(data: bytes, cause: str, tmp_path: Path) -> None:
    got, error = read(data, tmp_path)
    assert got == []
    assert cause in error
    assert "\n" not in error


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "none"), "a\0b"):
        with pytest.raises(InputError):
            next(read_trace(path))


# -- hostile blocks


COMPRESSED = [codec for codec in COMPRESS if codec != "null"]


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_bomb_is_not_expanded(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TRACE_BLOCK_BYTES", 1 << 20)
    data = COMPRESS[codec](bytes(1 << 24))
    tracemalloc.start()
    got, error = read(container_file(versions.schema_json(6), [(1, data)], codec), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert got == []
    assert "expand" in error
    assert peak < 1 << 23


@pytest.mark.parametrize("codec", COMPRESSED)
def test_compressed_data_that_is_none(codec: str, tmp_path: Path) -> None:
    for data in (b"", b"\xff" * 100, b"\0"):
        got, error = read(container_file(versions.schema_json(6), [(1, data)], codec), tmp_path)
        assert got == []
        assert "damaged block" in error


def test_lengths_that_lie(tmp_path: Path) -> None:
    head = datum(SFHeader(6, "h", "", ""))
    process_start = long(2) + long(0) * 5 + long(1 << 40)
    for block in [(2, head), (1, head * 2), (1 << 62, head), (1, process_start), (1, b"\x01"), (1, long(40))]:
        got, error = read(container_file(versions.schema_json(6), [(1, head), block]), tmp_path)
        assert got[:1] == [SFHeader(6, "h", "", "")]
        assert "damaged block" in error
    start = container_file(versions.schema_json(6), [])
    for size in (-1, 1 << 50):
        _, error = read(start + long(1) + long(size), tmp_path)
        assert "claims" in error


TRACE = trace(RECORDS, in_block=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TRACE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_bytes_give_records_or_one_line(tmp_path_factory: pytest.TempPathFactory, changes: Any) -> None:
    data = bytearray(TRACE)
    for at, value in changes:
        data[at] = value
    typed, error = read(bytes(data), tmp_path_factory.getbasetemp())
    assert "\n" not in error
    rows, _ = read_as_rows(bytes(data), tmp_path_factory.getbasetemp())
    assert [row.record for row in rows] == [item for item in typed if isinstance(item, ACTIVITIES)][: len(rows)]


def test_a_zstandard_block_may_tell_its_size_or_not(tmp_path: Path) -> None:
    data = datum(RECORDS[0])
    told = zstandard.ZstdCompressor().compress(data)
    assert zstandard.frame_content_size(told) == len(data)
    untold = zstandard.ZstdCompressor(write_content_size=False).compress(data)
    lies = told.replace(bytes([len(data)]), bytes([len(data) - 1]), 1)
    schema = versions.schema_json(6)
    for block in (told, untold):
        assert read(container_file(schema, [(1, block)], "zstandard"), tmp_path) == (RECORDS[:1], "")
    assert "damaged block" in read(container_file(schema, [(1, lies)], "zstandard"), tmp_path)[1]


# -- behind damage


def salvaged(data: bytes, tmp_path: Path) -> tuple[list[int], list[str]]:
    """The times of the rows, and the damage that was told."""
    path = tmp_path / "damaged.sf"
    path.write_bytes(data)
    damage: list[str] = []
    with open_source(str(path)) as source:
        times = [row.number(SLOTS["ts"]) for row in read_rows(source, damaged=lambda error: damage.append(str(error)))]
    return times, damage


def test_what_is_sound_behind_damage_is_read(tmp_path: Path) -> None:
    events = [process_event(CURL, opflags.OP_EXEC, ts) for ts in range(1000, 1600, 100)]
    whole = trace(list(events), in_block=1)
    start = len(container_file(versions.schema_json(6), []))
    size = (len(whole) - start) // len(events)
    assert salvaged(whole, tmp_path) == (list(range(1000, 1600, 100)), [])
    third = start + 2 * size

    def with_bytes(at: int, new: bytes) -> bytes:
        return whole[:at] + new + whole[at + len(new) :]

    for damaged, cause in [
        (with_bytes(third, b"\xff" * 12), "64 bits"),
        (with_bytes(third + 1, long(-9)), "claims"),
        (with_bytes(third + 1, long(3)), "sync marker"),
        (with_bytes(third + 1, long(1 << 20)[:1]), "sync marker"),
        (with_bytes(third + size - 5, b"?????"), "sync marker"),
        (with_bytes(third + 2, b"\x7f"), "no record type"),
        (whole[:third] + whole[third + 9 :], "sync marker"),
        (whole[:third] + b"some garbage" * 1000 + whole[third:], "bytes with"),
    ]:
        times, damage = salvaged(damaged, tmp_path)
        assert set(times) >= {1000, 1100, 1400, 1500}, cause
        assert set(times) <= set(range(1000, 1600, 100))
        assert len(damage) == 1, damage
        assert "damaged.sf at offset" in damage[0]
    cut, damage = salvaged(whole[:-3], tmp_path)
    assert cut == [1000, 1100, 1200, 1300, 1400]
    assert len(damage) == 1


def test_a_search_goes_over_the_edges_of_what_is_buffered(tmp_path: Path) -> None:
    for garbage in range(256 * 1024 - 40, 256 * 1024 + 40, 7):
        head = container_file(versions.schema_json(6), [])
        event = datum(process_event(CURL, opflags.OP_EXEC, 77))
        data = head + b"\xff" * (garbage - len(head)) + SYNC + long(1) + byte_string(event) + SYNC
        assert salvaged(data, tmp_path)[0] == [77]


def test_markers_without_end_are_given_up(tmp_path: Path) -> None:
    times, damage = salvaged(container_file(versions.schema_json(6), []) + SYNC * 100_000, tmp_path)
    assert times == []
    assert len(damage) == limits.MAX_DAMAGED_BLOCKS + 1


# -- joined


ACTIVITIES = (ProcessEvent, FileEvent, NetworkEvent, K8sEvent, NetworkFlow, FileFlow, ProcessFlow)


def read_as_rows(data: bytes, tmp_path: Path, entities: bool = False) -> tuple[list[Row], str]:
    """Snapshots of the rows before the error, and the error's text."""
    path = tmp_path / "rows.sf"
    path.write_bytes(data)
    got: list[Row] = []
    try:
        with open_source(str(path)) as source:
            for row in read_rows(source, entities):
                got.append(row.snapshot())
    except InputError as error:
        return got, str(error)
    return got, ""


def test_activities_are_joined_with_their_entities(tmp_path: Path) -> None:
    rows, error = read_as_rows(trace(RECORDS), tmp_path)
    assert error == ""
    assert [row.record for row in rows] == RECORDS[7:]
    assert [row.index for row in rows] == list(range(len(rows)))
    execution, flow, rename = rows[:3]
    assert execution.header == RECORDS[0]
    assert (execution.pod, execution.container, execution.parent, execution.process) == tuple(RECORDS[1:5])
    assert (flow.file, flow.new_file) == (RECORDS[5], None)
    assert (rename.file, rename.new_file) == (RECORDS[5], RECORDS[6])
    assert [process.exe for process in flow.ancestors()] == ["/usr/bin/curl", "/bin/sh"]
    assert (rows[-1].process, rows[-1].header) == (None, RECORDS[0])


def test_entities_come_too_where_they_are_wanted(tmp_path: Path) -> None:
    rows, _ = read_as_rows(trace(RECORDS), tmp_path, entities=True)
    assert [row.record for row in rows] == RECORDS
    header, pod, container, shell, curl, _, file = rows[:7]
    assert (header.header, header.process) == (RECORDS[0], None)
    assert pod.pod == RECORDS[1]
    assert (container.container, container.pod) == (RECORDS[2], RECORDS[1])
    assert (shell.process, shell.parent, shell.container, shell.pod) == (RECORDS[3], None, RECORDS[2], RECORDS[1])
    assert (curl.process, curl.parent) == (RECORDS[4], RECORDS[3])
    assert (file.file, file.container, file.pod, file.process) == (RECORDS[6], RECORDS[2], RECORDS[1], None)


def test_a_header_starts_anew(tmp_path: Path) -> None:
    rows, _ = read_as_rows(trace([*RECORDS, RECORDS[0], process_event(CURL, opflags.OP_EXEC)]), tmp_path)
    assert (rows[-1].header, rows[-1].process) == (RECORDS[0], None)


def test_a_newer_entity_replaces_the_older_one_from_then_on(tmp_path: Path) -> None:
    event = process_event(CURL, opflags.OP_EXEC)
    later = process(SHELL, "/bin/dash")
    rows, _ = read_as_rows(trace([*RECORDS[:5], event, later, event, process(CURL, "/b"), event]), tmp_path)
    exes = [(row.process and row.process.exe, row.parent and row.parent.exe) for row in rows]
    assert exes == [("/usr/bin/curl", "/bin/sh"), ("/usr/bin/curl", "/bin/dash"), ("/b", None)]


def test_parents_that_go_round_end(tmp_path: Path) -> None:
    event = process_event(CURL, opflags.OP_EXEC)
    circle = [process(SHELL, "/a", CURL), process(CURL, "/b", SHELL)]
    rows, _ = read_as_rows(trace([*circle, event, process(CURL, "/c", CURL), event]), tmp_path)
    assert [[process.exe for process in row.ancestors()] for row in rows] == [["/b", "/a"], ["/c"]]


def test_a_pid_and_a_time_are_one_key_and_not_a_run_of_bytes(tmp_path: Path) -> None:
    first, second = OID(2, 1), OID(0, 0x0201)
    records = [process(first, "/a"), process(second, "/b"), process_event(first, opflags.OP_EXEC)]
    rows, _ = read_as_rows(trace(records), tmp_path)
    assert [row.process and row.process.exe for row in rows] == ["/a"]


def test_entities_without_end_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "MAX_JOINED_FILE_BYTES", 100_000)
    records: list[Record] = []
    for i in range(1000):
        records.append(File(SFObjectState.REUP, i.to_bytes(20, "big"), 0, 102, f"/{i}", None))
        records.append(FileFlow(CURL, 1, 1, 1, 1, 1, bytes(20), 3, 1, 0, 1, 0))
        records.append(FileFlow(CURL, 1, 1, 1, 1, 1, max(0, i - 500).to_bytes(20, "big"), 3, 1, 0, 1, 0))
    rows, error = read_as_rows(trace(records), tmp_path)
    assert error == ""
    used, unused = rows[-2:]
    assert used.file is not None, "the file that was used all the time"
    assert used.file.path == "/0"
    assert unused.file is None


# -- real traces


REAL = [*sorted(SHARED.glob("sysflow-old/*.sf")), *sorted(SHARED.glob("collector/*.sf"))]


@pytest.mark.skipif(not REAL, reason="needs the shared traces")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_traces_read_as_fastavro_reads_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(fastavro.read.LOGICAL_READERS):  # nanoseconds declared as milliseconds
        monkeypatch.delitem(fastavro.read.LOGICAL_READERS, name)
    with path.open("rb") as file:
        wanted = fastavro.reader(file, return_record_name=True, return_record_name_override=True)
        for got, want in zip(read_trace(str(path)), wanted, strict=True):
            name, body = want["rec"]
            assert name == got.AVRO_NAME
            fields = got.to_avro()
            assert fields == fields | {field: value for field, value in body.items() if field in fields}


@pytest.mark.skipif(not REAL, reason="needs the shared traces")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_every_row_of_a_real_trace_has_its_process(path: Path) -> None:
    with open_source(str(path)) as source:
        assert all(row.process is not None for row in read_rows(source))
