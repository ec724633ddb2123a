"""The encoder's bytes, read by fastavro against the schema, are what was put in.

The methods of the records that the engine writes by the million are not visible from Python once compiled: they are
tested here uncompiled, and compiled by the engine's tests, which decode every record with fastavro too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.avro.encoder_cy import Encoder
from sftools.avro.text import from_str, to_str
from sftools.schema.objtypes import BRANCHES
from sftools.schema.versions import schema_json

SCHEMAS = {version: fastavro.parse_schema(json.loads(schema_json(version))) for version in (5, 6)}
VERSIONS = pytest.mark.parametrize("version", [5, 6])
visible = pytest.mark.skipif(not hasattr(Encoder, "file_flow"), reason="compiled: this method is C only")

LONG = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, -1, 0, 63, 64, -64, -65])
INT = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), 2**31 - 1, -1, 0])
RAW = st.binary(max_size=40) | st.sampled_from([b"", b"\xff" * 300, b"/srv/\xc3\xa9", b"x" * 70_000])
FOID = st.binary(min_size=20, max_size=20)
IP6 = st.binary(min_size=16, max_size=16)


class Blocks:
    """An encoder and what it handed on."""

    def __init__(self, version: int = 5) -> None:
        self.version = version
        self.blocks: list[tuple[bytes, int]] = []
        self.datums: list[bytes] = []
        self.encoder: Any = Encoder(lambda data, count: self.blocks.append((data, count)), version, self.datums.append)

    def read(self) -> list[tuple[str, dict[str, Any]]]:
        """All records, decoded with the version's schema."""
        self.encoder.flush()
        found = []
        for data, count in self.blocks:
            stream = io.BytesIO(data)
            for _ in range(count):
                datum: Any = fastavro.schemaless_reader(stream, SCHEMAS[self.version], None, return_record_name=True)
                name, fields = datum["rec"]
                found.append((name.rpartition(".")[2], {key: plain(value) for key, value in fields.items()}))
            assert stream.read() == b""
        return found


def encoded(version: int, write: Callable[[Any], object]) -> tuple[str, dict[str, Any]]:
    """The one record that `write` makes; the tap had the same bytes."""
    blocks = Blocks(version)
    write(blocks.encoder)
    (record,) = blocks.read()
    assert b"".join(blocks.datums) == blocks.blocks[0][0]
    return record


def plain(value: Any) -> Any:
    """A value without the type name that fastavro gives those of unions."""
    return value[1] if isinstance(value, tuple) else value


def oid(create_ts: int, hpid: int) -> dict[str, int]:
    return {"createTS": create_ts, "hpid": hpid}


@VERSIONS
@given(number=LONG, exporter=RAW, ip=RAW, filename=RAW)
def test_header(version: int, number: int, exporter: bytes, ip: bytes, filename: bytes) -> None:
    assert encoded(version, lambda e: e.header(number, exporter, ip, filename)) == (
        "SFHeader",
        {"version": number, "exporter": to_str(exporter), "ip": to_str(ip), "filename": to_str(filename)},
    )


@VERSIONS
@given(texts=st.tuples(RAW, RAW, RAW, RAW), kind=st.integers(0, 9), privileged=st.booleans(), pod=st.none() | RAW)
def test_container(version: int, texts: tuple[bytes, ...], kind: int, privileged: bool, pod: bytes | None) -> None:
    name, fields = encoded(version, lambda e: e.container(*texts, kind, privileged, pod))
    symbols = ["DOCKER", "LXC", "LIBVIRT_LXC", "MESOS", "RKT", "CUSTOM", "CRI", "CONTAINERD", "CRIO", "BPM"]
    id_, called, image, imageid = map(to_str, texts)
    assert name == "Container"
    assert fields == {
        "id": id_, "name": called, "image": image, "imageid": imageid, "type": f"CT_{symbols[kind]}",
        "privileged": privileged, "podId": None if pod is None else to_str(pod),
    }  # fmt: skip


@VERSIONS
@given(
    ts=LONG,
    texts=st.tuples(RAW, RAW, RAW),
    host=st.lists(LONG, max_size=40),
    own=st.lists(LONG, max_size=3),
    namespace=RAW,
    restarts=LONG,
    labels=st.dictionaries(st.binary(max_size=8), RAW, max_size=5),
)
def test_pod(
    version: int, ts: int, texts: tuple[bytes, ...], host: list[int], own: list[int], namespace: bytes, restarts: int,
    labels: dict[bytes, bytes],
) -> None:  # fmt: skip
    name, fields = encoded(version, lambda e: e.pod(ts, *texts, host, own, namespace, restarts, labels))
    id_, called, node = map(to_str, texts)
    assert name == "Pod"
    assert fields == {
        "ts": ts, "id": id_, "name": called, "nodeName": node, "hostIP": host, "internalIP": own,
        "namespace": to_str(namespace), "restartCount": restarts, "selectors": {}, "services": [],
        "labels": {to_str(key): to_str(value) for key, value in labels.items()},
    }  # fmt: skip


@visible
@VERSIONS
@given(
    longs=st.tuples(*[LONG] * 5), state=st.integers(0, 2), texts=st.tuples(*[RAW] * 5), ids=st.tuples(INT, INT),
    flags=st.tuples(*[st.booleans()] * 3), container=st.none() | RAW, env=st.lists(RAW, max_size=4),
)  # fmt: skip
def test_process(
    version: int, longs: tuple[int, ...], state: int, texts: tuple[bytes, ...], ids: tuple[int, int],
    flags: tuple[bool, bool, bool], container: bytes | None, env: list[bytes],
) -> None:  # fmt: skip
    create_ts, hpid, parent_ts, parent_pid, ts = longs
    exe, args, user, group, cwd = texts
    has_parent, tty, entry = flags
    name, fields = encoded(
        version,
        lambda e: e.process(
            state, create_ts, hpid, has_parent, parent_ts, parent_pid, ts, exe, args, ids[0], user, ids[1], group, tty,
            container, entry, cwd, env,
        ),
    )  # fmt: skip
    assert fields.pop("poid") == (oid(parent_ts, parent_pid) if has_parent else None)
    assert name == "Process"
    assert fields == {
        "state": ("CREATED", "MODIFIED", "REUP")[state], "oid": oid(create_ts, hpid), "ts": ts, "exe": to_str(exe),
        "exeArgs": to_str(args), "uid": ids[0], "userName": to_str(user), "gid": ids[1], "groupName": to_str(group),
        "tty": tty, "containerId": None if container is None else to_str(container), "entry": entry, "cwd": to_str(cwd),
        "env": [to_str(item) for item in env],
    }  # fmt: skip


@visible
@VERSIONS
@given(state=st.integers(0, 2), foid=FOID, ts=LONG, restype=INT, path=RAW, container=st.none() | RAW)
def test_file(
    version: int, state: int, foid: bytes, ts: int, restype: int, path: bytes, container: bytes | None
) -> None:
    assert encoded(version, lambda e: e.file(state, foid, ts, restype, path, container)) == (
        "File",
        {
            "state": ("CREATED", "MODIFIED", "REUP")[state], "oid": foid, "ts": ts, "restype": restype,
            "path": to_str(path), "containerId": None if container is None else to_str(container),
        },
    )  # fmt: skip


@visible
@VERSIONS
@given(longs=st.tuples(LONG, LONG, LONG, LONG), op=INT, arg=st.none() | RAW, ret=INT)
def test_process_event(version: int, longs: tuple[int, ...], op: int, arg: bytes | None, ret: int) -> None:
    create_ts, hpid, ts, tid = longs
    assert encoded(version, lambda e: e.process_event(*longs, op, arg, ret)) == (
        "ProcessEvent",
        {
            "procOID": oid(create_ts, hpid), "ts": ts, "tid": tid, "opFlags": op,
            "args": [] if arg is None else [to_str(arg)], "ret": ret,
        },
    )  # fmt: skip


@visible
@VERSIONS
@given(
    longs=st.tuples(*[LONG] * 5),
    ints=st.tuples(*[INT] * 7),
    counts=st.tuples(*[LONG] * 4),
    six=st.none() | st.tuples(IP6, IP6),
)
def test_network_flow(
    version: int,
    longs: tuple[int, ...],
    ints: tuple[int, ...],
    counts: tuple[int, ...],
    six: tuple[bytes, bytes] | None,
) -> None:
    """The IPv6 addresses are the last fields of version 6; version 5 has none."""
    create_ts, hpid, ts, tid, end_ts = longs
    op, sip, sport, dip, dport, proto, fd = ints
    name, fields = encoded(
        version,
        lambda e: e.network_flow(
            create_ts, hpid, ts, tid, op, end_ts, sip, sport, dip, dport, proto, fd, *counts, *(six or (None, None))
        ),
    )
    expected = {
        "procOID": oid(create_ts, hpid), "ts": ts, "tid": tid, "opFlags": op, "endTs": end_ts, "sip": sip,
        "sport": sport, "dip": dip, "dport": dport, "proto": proto, "fd": fd, "numRRecvOps": counts[0],
        "numWSendOps": counts[1], "numRRecvBytes": counts[2], "numWSendBytes": counts[3],
    }  # fmt: skip
    if version == 6:
        expected |= dict(zip(("sip6", "dip6"), six or (None, None), strict=True))
    assert (name, fields) == ("NetworkFlow", expected)


@visible
@VERSIONS
@given(longs=st.tuples(*[LONG] * 5), ints=st.tuples(INT, INT, INT), foid=FOID, counts=st.tuples(*[LONG] * 4))
def test_file_flow(
    version: int, longs: tuple[int, ...], ints: tuple[int, ...], foid: bytes, counts: tuple[int, ...]
) -> None:
    create_ts, hpid, ts, tid, end_ts = longs
    op, open_flags, fd = ints
    assert encoded(
        version, lambda e: e.file_flow(create_ts, hpid, ts, tid, op, open_flags, end_ts, foid, fd, *counts)
    ) == (
        "FileFlow",
        {
            "procOID": oid(create_ts, hpid), "ts": ts, "tid": tid, "opFlags": op, "openFlags": open_flags,
            "endTs": end_ts, "fileOID": foid, "fd": fd, "numRRecvOps": counts[0], "numWSendOps": counts[1],
            "numRRecvBytes": counts[2], "numWSendBytes": counts[3],
        },
    )  # fmt: skip


@visible
@VERSIONS
@given(longs=st.tuples(*[LONG] * 4), op=INT, foid=FOID, ret=INT, new=st.none() | FOID)
def test_file_event(version: int, longs: tuple[int, ...], op: int, foid: bytes, ret: int, new: bytes | None) -> None:
    create_ts, hpid, ts, tid = longs
    assert encoded(version, lambda e: e.file_event(*longs, op, foid, ret, new)) == (
        "FileEvent",
        {
            "procOID": oid(create_ts, hpid), "ts": ts, "tid": tid, "opFlags": op, "fileOID": foid, "ret": ret,
            "newFileOID": new,
        },
    )  # fmt: skip


@visible
@VERSIONS
@given(longs=st.tuples(*[LONG] * 7), op=INT)
def test_process_flow(version: int, longs: tuple[int, ...], op: int) -> None:
    create_ts, hpid, ts, cloned, end_ts, exited, errors = longs
    assert encoded(version, lambda e: e.process_flow(create_ts, hpid, ts, cloned, op, end_ts, exited, errors)) == (
        "ProcessFlow",
        {
            "procOID": oid(create_ts, hpid), "ts": ts, "numThreadsCloned": cloned, "opFlags": op, "endTs": end_ts,
            "numThreadsExited": exited, "numCloneErrors": errors,
        },
    )  # fmt: skip


# Blocks


def test_a_block_is_handed_on_at_80_kb() -> None:
    """Not much later: a reader holds one block at a time."""
    blocks = Blocks()
    for i in range(5000):
        blocks.encoder.header(i, b"x" * 90, b"", b"")
    sizes = [len(data) for data, _ in blocks.blocks]
    assert len(sizes) > 4
    assert all(80_000 <= size < 80_200 for size in sizes)
    assert [fields["version"] for _, fields in blocks.read()] == list(range(5000))


def test_a_record_larger_than_a_block_is_a_block() -> None:
    blocks = Blocks()
    blocks.encoder.header(1, b"x" * 3_000_000, b"", b"")
    assert [count for _, count in blocks.blocks] == [1]
    blocks.encoder.header(2, b"", b"", b"")
    assert [fields["version"] for _, fields in blocks.read()] == [1, 2]


def test_flush_without_records_hands_nothing_on() -> None:
    blocks = Blocks()
    blocks.encoder.flush()
    blocks.encoder.header(5, b"", b"", b"")
    blocks.encoder.flush()
    blocks.encoder.flush()
    assert [count for _, count in blocks.blocks] == [1]


def test_a_block_does_not_change_after_it_was_handed_on() -> None:
    blocks = Blocks()
    blocks.encoder.header(1, b"first", b"", b"")
    blocks.encoder.flush()
    before = bytes(blocks.blocks[0][0])
    blocks.encoder.header(2, b"second", b"", b"")
    blocks.encoder.flush()
    assert blocks.blocks[0][0] == before


def test_counts_are_by_branch_of_the_union() -> None:
    blocks = Blocks()
    blocks.encoder.header(5, b"", b"", b"")
    for _ in range(3):
        blocks.encoder.container(b"", b"", b":", b"", 0, False, None)
    counts = blocks.encoder.counts
    assert counts[BRANCHES["SFHeader"]] == 1
    assert counts[BRANCHES["Container"]] == 3
    assert sum(counts) == 4


@given(st.lists(st.tuples(LONG, RAW), max_size=30))
def test_any_sequence_of_records_is_read_back(items: list[tuple[int, bytes]]) -> None:
    blocks = Blocks()
    for number, text in items:
        blocks.encoder.header(number, text, b"", b"")
    assert [(fields["version"], from_str(fields["exporter"])) for _, fields in blocks.read()] == items
    assert len(blocks.datums) == len(items)


def test_a_failing_sink_is_heard_of() -> None:
    """A full disk must not pass for a trace."""

    def sink(data: bytes, count: int) -> None:
        raise OSError("disk full")

    encoder: Any = Encoder(sink, 5)
    encoder.header(5, b"", b"", b"")
    with pytest.raises(OSError, match="disk full"):
        encoder.flush()
