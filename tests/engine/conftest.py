"""Captures in, records out: the engine, its encoder and fastavro put together, without a file in between."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import fastavro
import pytest

from sftools.avro.encoder_cy import Encoder
from sftools.engine.engine_cy import Engine
from sftools.engine.options import READ_ALL, EngineOptions
from sftools.scap.events_cy import EventCursor
from sftools.scap.scenario import build
from sftools.schema.opflags import op_names
from sftools.schema.versions import schema_json

Fields = dict[str, Any]

SCHEMAS = {version: fastavro.parse_schema(json.loads(schema_json(version))) for version in (5, 6)}


@dataclass
class Converted:
    """What became of a capture. files: the records by output file, as (type, fields); one unless it was rotated."""

    files: list[list[tuple[str, Fields]]]
    counts: dict[str, int]
    engine: Any
    cursor: Any
    seen: Any
    rotated: list[int] = field(default_factory=list)

    @property
    def records(self) -> list[tuple[str, Fields]]:
        return [record for file in self.files for record in file]

    @property
    def order(self) -> list[str]:
        """The records' types."""
        return [name for name, _ in self.records]

    def of(self, name: str) -> list[Fields]:
        return [fields for kind, fields in self.records if kind == name]

    def one(self, name: str) -> Fields:
        (found,) = self.of(name)
        return found

    def paths(self) -> dict[bytes, str]:
        """Path by file OID."""
        return {fields["oid"]: fields["path"] for fields in self.of("File")}

    def flows(self) -> list[tuple[int, int, str, str]]:
        """FileFlows as (tid, fd, path, operations)."""
        paths = self.paths()
        return [(f["tid"], f["fd"], paths[f["fileOID"]], ops(f)) for f in self.of("FileFlow")]

    def file_events(self) -> list[tuple[str, ...]]:
        """FileEvents as (operation, path) or (operation, path, new path)."""
        paths = self.paths()
        found = []
        for event in self.of("FileEvent"):
            new = event["newFileOID"]
            found.append((ops(event), paths[event["fileOID"]], *([] if new is None else [paths[new]])))
        return found

    def net(self) -> list[tuple[str, str]]:
        """NetworkFlows as (client:port->server:port, operations)."""
        return [(endpoints(f), ops(f)) for f in self.of("NetworkFlow")]

    def events(self) -> list[tuple[int, int, str, int]]:
        """ProcessEvents as (pid, tid, operation, ret)."""
        return [(e["procOID"]["hpid"], e["tid"], ops(e), e["ret"]) for e in self.of("ProcessEvent")]

    def self_contained(self) -> bool:
        """True where every file has a header, and every entity before the first record that refers to it."""
        return all(_self_contained(file) for file in self.files)


def ops(fields: Fields) -> str:
    return " ".join(op_names(fields["opFlags"]))


def endpoints(flow: Fields) -> str:
    def address(number: int) -> str:
        return ".".join(str(byte) for byte in (number & 0xFFFFFFFF).to_bytes(4, "little"))

    return f"{address(flow['sip'])}:{flow['sport']}->{address(flow['dip'])}:{flow['dport']}"


def _self_contained(records: list[tuple[str, Fields]]) -> bool:
    known: set[Any] = set()
    for i, (name, fields) in enumerate(records):
        if (name == "SFHeader") != (i == 0):
            return False
        wanted = [fields.get("containerId"), fields.get("podId"), fields.get("fileOID"), fields.get("newFileOID")]
        if "procOID" in fields:
            wanted.append(tuple(fields["procOID"].values()))
        if any(want is not None and want not in known for want in wanted):
            return False
        if name == "Process":
            known.add(tuple(fields["oid"].values()))
        elif name == "File":
            known.add(fields["oid"])
        elif name in ("Container", "Pod"):
            known.add(fields["id"])
    return True


def decode(data: bytes, count: int, version: int) -> list[tuple[str, Fields]]:
    """An Avro block's records."""
    stream = io.BytesIO(data)
    records = []
    for _ in range(count):
        datum: Any = fastavro.schemaless_reader(stream, SCHEMAS[version], None, return_record_name=True)
        name, fields = datum["rec"]
        # fastavro gives the values of unions with their type's name.
        plain = {key: value[1] if isinstance(value, tuple) else value for key, value in fields.items()}
        records.append((name.rpartition(".")[2], plain))
    assert stream.read() == b""
    return records


def run(
    capture: str | bytes,
    *more: str | bytes,
    schema: int = 5,
    decoded: bool = True,
    look: Callable[[Any], Any] | None = None,
    **options: Any,
) -> Converted:
    """Convert scenarios or captures, one after the other.

    options: of the engine; file_only and file_read_mode are off here unless given. look: called with the engine at the
    end of input, before its state is forgotten; the result is `seen`. decoded: False for captures too large to decode.
    """
    files: list[list[tuple[str, Fields]]] = []
    rotated: list[int] = []

    def sink(data: bytes, count: int) -> None:
        if decoded:
            files[-1].extend(decode(data, count, schema))

    def begin(hostname: bytes) -> None:
        files.append([])
        encoder.header(schema, hostname, b"", b"trace.sf")

    def rotate(ts: int) -> None:
        rotated.append(ts)
        begin(engine.hostname)

    encoder = Encoder(sink, schema)
    engine = Engine(
        encoder, EngineOptions(**{"file_only": False, "file_read_mode": READ_ALL, **options}), begin, rotate
    )
    cursor = None
    for item in (capture, *more):
        data = build(item) if isinstance(item, str) else item
        cursor = EventCursor(io.BytesIO(data), "test.scap")
        engine.run(cursor)
    seen = look(engine) if look else None
    engine.finish()
    encoder.flush()
    names = {i: branch["name"].rpartition(".")[2] for i, branch in enumerate(SCHEMAS[schema]["fields"][0]["type"])}
    counts = Counter({names[i]: n for i, n in enumerate(encoder.counts) if i in names and n})
    return Converted(files, counts, engine, cursor, seen, rotated)


@pytest.fixture(scope="session")
def convert() -> Callable[..., Converted]:
    """The function `run`."""
    return run


@pytest.fixture(scope="session")
def compiled() -> bool:
    """Whether the engine runs compiled."""
    return "cython" in type(Engine.run).__name__


@pytest.fixture
def needs_compiled(compiled: bool) -> None:
    """For tests over captures that take too long uncompiled."""
    if not compiled:
        pytest.skip("too long uncompiled")
