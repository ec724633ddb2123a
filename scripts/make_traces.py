"""Writes tests/fixtures/traces: small SysFlow traces of every schema, and what sysprint makes of them.

    scripts/make_traces.py            write what is not up to date (after reading the difference: that is the point)
    scripts/make_traces.py --check    say what is not up to date; exit 1 where anything is not

NAME.sf is a trace; NAME.flatjson, NAME.csv are sysprint's output of all fields. webshell.sf is the conversion of
webshell.scap; the others are made up, by fastavro and not by our own encoder.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import fastavro  # noqa: E402

from sftools.avro.container import ContainerWriter  # noqa: E402
from sftools.avro.plan import Record  # noqa: E402
from sftools.errors import InputError  # noqa: E402
from sftools.fields import DEFAULT_FIELDS, FIELDS  # noqa: E402
from sftools.libsysflow import convert  # noqa: E402
from sftools.reader import read_rows  # noqa: E402
from sftools.render.csv import csv_writer  # noqa: E402
from sftools.render.json import json_writer  # noqa: E402
from sftools.schema import opflags, versions  # noqa: E402
from sftools.schema.sysflow import (  # noqa: E402
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
from sftools.source import open_source  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures"
TRACES = FIXTURES / "traces"
SYNC = b"sftools fixture."
T = 1_714_557_600_123_456_789
CREATED, REUP = SFObjectState.CREATED, SFObjectState.REUP
INIT, WEB, SHELL, STRANGER = OID(0, 1), OID(T - 5_000_000_000, 100), OID(T, 101), OID(7, 7)


def process(oid: OID, poid: OID | None, exe: str, args: str = "", container: str | None = "c1") -> Process:
    return Process(
        CREATED, oid, poid, T, exe, args, 33, "www-data", 33, "www-data", False, container, oid is WEB, "/srv",
        ["PATH=/bin", "", "=", "LANG=C"],
    )  # fmt: skip


def file(letter: str, path: str, kind: str = "f", container: str | None = "c1") -> File:
    return File(CREATED, letter.encode() * 20, T, ord(kind), path, container)


def address(text: str) -> int:
    value = int.from_bytes(bytes(map(int, text.split("."))), "little")
    return value - (1 << 32) if value >= 1 << 31 else value


def flow(source: str, sport: int, destination: str, dport: int, **more: Any) -> NetworkFlow:
    """2 receives of 300 bytes, 1 send of 80."""
    return NetworkFlow(
        SHELL, T + 3_000_000, 101, opflags.OP_CONNECT | opflags.OP_READ_RECV | opflags.OP_WRITE_SEND | opflags.OP_CLOSE,
        T + 4_000_000, address(source), sport, address(destination), dport, 6, 5, 2, 1, 300, 80, **more,
    )  # fmt: skip


POD = Pod(
    T, "pod-1", "web-0", "worker-1", [address("192.168.1.10")], [address("10.244.0.5"), address("10.244.0.6")], "prod",
    2, {"app": "web"}, {}, [Service("web", "s-1", "prod", [Port(80, 8080, 30080, "TCP")], [address("10.96.0.1")])],
)  # fmt: skip

EVERY_TYPE: list[Record] = [
    SFHeader(6, "node-1", "10.1.2.3", "every-type.sf"),
    POD,
    Container("c1", "web", "registry/web:1", "sha256:1", ContainerType.CT_CONTAINERD, False, "pod-1"),
    Container("c2", "debug", "busybox:1", "sha256:2", ContainerType.CT_DOCKER, True, None),
    process(INIT, None, "/sbin/init", container=None),
    process(WEB, INIT, "/usr/sbin/nginx", "-g daemon off;"),
    process(SHELL, WEB, "/bin/sh", "-c id; cat /etc/passwd"),
    file("a", "/etc/passwd"),
    file("b", "/tmp/out"),
    file("d", "/tmp/dir", "d"),
    file("s", "/run/app.sock", "u"),
    ProcessEvent(SHELL, T, 101, opflags.OP_CLONE, [], 101),
    ProcessEvent(SHELL, T + 1000, 101, opflags.OP_EXEC, [], 0),
    ProcessEvent(SHELL, T + 1500, 102, opflags.OP_SETUID, ["0"], -1),
    FileFlow(SHELL, T + 2_000_000, 101, opflags.OP_OPEN | opflags.OP_READ_RECV | opflags.OP_CLOSE, 1, T + 2_100_000,
             b"a" * 20, 3, 2, 0, 1182, 0),
    FileFlow(SHELL, T + 2_200_000, 101, opflags.OP_OPEN | opflags.OP_WRITE_SEND | opflags.OP_TRUNCATE, 0x106,
             T + 2_300_000, b"b" * 20, 4, 0, 3, 0, 5 * 10**12),
    FileFlow(SHELL, T + 2_400_000, 101, 0, 3, T + 2_400_000, b"?" * 20, 6, 0, 0, 0, 0),
    FileEvent(SHELL, T + 2_500_000, 101, opflags.OP_RENAME, b"a" * 20, 0, b"b" * 20),
    FileEvent(SHELL, T + 2_600_000, 101, opflags.OP_MKDIR, b"d" * 20, -17, None),
    FileEvent(SHELL, T + 2_700_000, 101, opflags.OP_SYMLINK, b"?" * 20, 0, b"b" * 20),
    flow("10.0.0.5", 40000, "93.184.216.34", 443),
    flow("0.0.0.0", 40001, "0.0.0.0", 53, sip6=bytes(15) + b"\1", dip6=bytes.fromhex("20010db8") + bytes(11) + b"\2"),
    NetworkEvent(SHELL, T + 5_000_000, 101, opflags.OP_CONNECT, address("127.0.0.1"), 1, address("127.0.0.1"), 25, 17,
                 -111),
    ProcessFlow(WEB, T + 6_000_000, 3, opflags.OP_CLONE | opflags.OP_EXIT, T + 7_000_000, 2, 1),
    ProcessEvent(STRANGER, T + 8_000_000, 7, opflags.OP_EXIT, [], 137),
    K8sEvent(K8sComponent.K8S_PODS, K8sAction.K8S_COMPONENT_ADDED, T + 9_000_000, '{"kind":"Pod","name":"web-0"}'),
    process(SHELL, STRANGER, "/bin/dash", "renamed"),
    ProcessEvent(SHELL, T + 10_000_000, 101, opflags.OP_EXIT, [], 0),
]  # fmt: skip

# Texts that break terminals, tables, CSV and JSON; a comma in an operand; U+EFE9 is the byte E9 that was no UTF-8.
NASTY = [
    "\x1b[31mred\x1b[0m\x07", "two\nlines\r\n\ttab", "a|b|c", '"quoted", with a comma', "=cmd|' /C calc'!A0", "+1",
    "@x",
    "\u4f60\u597d\u4e16\u754c", "e\u0301\u200b\u202egnp.exe", "caf\uefe9", "\x00nul", " blanks ", "'", "-flag", "\\n",
    "long/" + "x" * 300,
]  # fmt: skip


def nasty() -> list[Record]:
    records: list[Record] = [SFHeader(5, NASTY[0], NASTY[1], NASTY[2])]
    records.append(Container("c1", NASTY[0], NASTY[4], NASTY[7], ContainerType.CT_DOCKER, False, None))
    for i, text in enumerate(NASTY):
        oid = OID(T, 200 + i)
        records.append(process(oid, None, text, NASTY[-i - 1]))
        records.append(File(REUP, bytes([i]) * 20, T, i * 9 - 20, text, None))
        records.append(FileFlow(oid, T + i, 200 + i, 1 << i, 1 << i, T + i, bytes([i]) * 20, i, 1, 0, 1, 0))
    return records


ODD_NUMBERS: list[Record] = [
    SFHeader(5, "node-1", "", ""),
    process(OID(-1, -1), OID(-1, -1), "/own-parent"),
    process(OID(1, 2), OID(3, 4), "/a"),
    process(OID(3, 4), OID(1, 2), "/b"),
    *(
        ProcessEvent(oid, ts, tid, bits, [], ret)
        for oid in (OID(-1, -1), OID(1, 2), OID(3, 4))
        for ts, tid, bits, ret in (
            (0, 0, 0, 0), (-1, -1, -1, -1), (2**63 - 1, 2**63 - 1, 2**31 - 1, 2**31 - 1), (-(2**63), -(2**63), 5, 1),
            (1_999_999_999, 1, 1 << 20, 0), (999_999_999_999_999_999, 1, 1 << 21, 0),
        )
    ),
]  # fmt: skip

HISTORIES: dict[str, dict[str, Any]] = {
    # The first schemas, as the traces of 2018 to 2020 have them: what each lacks, and its own ProcessFlow.
    "old-1000": {
        "lacks": ["SFHeader.ip", "SFHeader.filename", "Container.podId", "Process.env", "Process.entry", "Process.cwd"],
        "types": ["SFHeader", "Container", "Process", "File", "ProcessEvent", "NetworkFlow", "FileFlow", "FileEvent"],
    },
    "old-1001": {
        "lacks": ["SFHeader.filename", "Container.podId", "Process.env", "Process.cwd"],
        "types": ["SFHeader", "Container", "Process", "File", "ProcessEvent", "NetworkFlow", "FileFlow", "FileEvent",
                  "NetworkEvent", "ProcessFlow"],
    },
    "old-2018": {
        "lacks": ["SFHeader.ip", "SFHeader.filename", "Container.podId", "Container.privileged", "Process.env",
                  "Process.entry", "Process.cwd", "Process.state", "Process.tty", "NetworkFlow.fd",
                  "FileFlow.openFlags", "ProcessFlow.numThreadsCloned", "ProcessFlow.endTs",
                  "ProcessFlow.numThreadsExited", "ProcessFlow.numCloneErrors"],
        "types": ["SFHeader", "Container", "Process", "File", "ProcessFlow", "NetworkFlow", "FileFlow"],
        "more": {"ProcessFlow": [("tid", "long", 101), ("args", {"type": "array", "items": "string"}, ["x"]),
                                 ("ret", "int", -2)]},
    },
}  # fmt: skip


def old(name: str) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The schema of an old version, and EVERY_TYPE in it: pairs of record name and body."""
    history = HISTORIES[name]
    schema = json.loads(versions.schema_json(5))
    union = schema["fields"][0]["type"]
    branches = [next(b for b in union if b["name"].rpartition(".")[2] == short) for short in history["types"]]
    dropped = {tuple(entry.split(".")) for entry in history["lacks"]}
    more = history.get("more", {})
    homeless: dict[str, Any] = {}  # definitions that stood in a field that is gone: they move to the next use
    for branch in branches:
        short = branch["name"].rpartition(".")[2]
        kept = []
        for field in branch["fields"]:
            if (short, field["name"]) in dropped:
                kind = field["type"]
                if isinstance(kind, dict) and "name" in kind:
                    homeless[".".join(filter(None, (kind.get("namespace"), kind["name"])))] = kind
                continue
            if isinstance(field["type"], str):
                field["type"] = homeless.pop(field["type"], field["type"])
            kept.append(field)
        branch["fields"] = kept
        branch["fields"] += [{"name": field, "type": kind} for field, kind, _ in more.get(short, ())]
        for field in branch["fields"]:
            if field["name"] == "ts":  # nanoseconds, declared as milliseconds
                field["type"] = {"type": "long", "logicalType": "timestamp-millis"}
    schema["fields"][0]["type"] = branches
    bodies = []
    for record in EVERY_TYPE:
        short = type(record).__name__
        if short in history["types"]:
            extra = {field: value for field, _, value in more.get(short, ())}
            version = {"version": 1000 if name != "old-1001" else 1001} if short == "SFHeader" else {}
            bodies.append((record.AVRO_NAME, record.to_avro() | extra | version))
    return json.dumps(schema), bodies


def container(schema: str, bodies: Sequence[tuple[str, dict[str, Any]]], in_block: int = 10) -> bytes:
    """A trace with so many records in each block."""
    for reader in list(fastavro.write.LOGICAL_WRITERS):
        del fastavro.write.LOGICAL_WRITERS[reader]
    parsed = fastavro.parse_schema(json.loads(schema))
    out = bytearray()
    writer = ContainerWriter(out.extend, schema, "null", SYNC)
    for first in range(0, len(bodies), in_block):
        block = io.BytesIO()
        for body in bodies[first : first + in_block]:
            fastavro.schemaless_writer(block, parsed, {"rec": body})
        writer.block(block.getvalue(), len(bodies[first : first + in_block]))
    return bytes(out)


def bodies(records: Iterable[Record]) -> list[tuple[str, dict[str, Any]]]:
    return [(record.AVRO_NAME, record.to_avro()) for record in records]


def printed(path: Path) -> dict[str, bytes]:
    """sysprint's output of all fields; a trace that is cut gives what stands before."""
    outputs = {"flatjson": io.BytesIO(), "csv": io.BytesIO()}
    fields = [FIELDS[name] for name in DEFAULT_FIELDS]
    writers = [json_writer(outputs["flatjson"], fields, flat=True), csv_writer(outputs["csv"], fields)]
    try:
        with open_source(str(path)) as source:
            for row in read_rows(source):
                for writer in writers:
                    writer.row(row)
    except InputError:
        pass
    for writer in writers:
        writer.close()
    return {name: out.getvalue() for name, out in outputs.items()}


def traces() -> dict[str, bytes]:
    v5, v6 = versions.schema_json(5), versions.schema_json(6)
    made = {
        "webshell": container(v5, bodies(convert(FIXTURES / "webshell.scap", schema=5))),
        "every-type": container(v6, bodies(EVERY_TYPE)),
        "nasty": container(v5, bodies(nasty())),
        "odd-numbers": container(v5, bodies(ODD_NUMBERS)),
        "empty": container(v5, []),
        "two-headers": container(v6, bodies([*EVERY_TYPE[:13], EVERY_TYPE[0], EVERY_TYPE[12]]), 3),
    }
    for name in HISTORIES:
        schema, records = old(name)
        made[name] = container(schema, records)
    made["cut"] = made["every-type"][:-100]
    return made


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = []

    def put(path: Path, data: bytes) -> None:
        if not path.exists() or path.read_bytes() != data:
            stale.append(path)
            if not arguments:
                path.write_bytes(data)

    TRACES.mkdir(exist_ok=True)
    made = traces()
    for name, data in made.items():
        put(TRACES / f"{name}.sf", data)
        for suffix, output in printed(TRACES / f"{name}.sf").items():
            put(TRACES / f"{name}.{suffix}", output)
    orphans = [path for path in TRACES.iterdir() if path.stem not in made]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is not up to date: run `make fixtures`' if arguments else 'written'}",
              file=sys.stderr)  # fmt: skip
    for path in orphans:
        print(f"{path.relative_to(ROOT)} is made by nothing: delete it", file=sys.stderr)
    return 1 if orphans or (stale and arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
