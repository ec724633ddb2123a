"""Traces for fuzz.py: sound ones, ones of odd writers' schemas, and what changes make of them; read and printed.

A change knows what it hits: the header, a block's count and length, and in a record every number, length, text, branch
and count of items. Numbers become extreme or overlong, texts no UTF-8, branches and counts those that are not there.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import lzma
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOUND = ROOT / "tests" / "fixtures" / "traces"
KEPT = ROOT / "tests" / "corpus" / "traces"

SUFFIX = ".sf"
SYNC = b"sftools fuzzing."
_SNAPSHOTS = 20


# -- what is done with one input


class _Bytes(io.BytesIO):
    name = "input"


def run(data: bytes, checked: bool = False) -> dict[str, Any]:
    """All that reading and printing makes of a trace. Raises what it should not raise.

    checked: also compare the records with what fastavro makes of them by itself.
    """
    from sftools.errors import SftoolsError
    from sftools.fields import FIELDS
    from sftools.reader import DecodeError, read_records, read_rows
    from sftools.render.csv import csv_writer
    from sftools.render.json import json_writer

    digest = hashlib.sha256()
    errors = []
    rows = 0
    fields = list(FIELDS.values())
    for entities in (False, True):
        outputs = [io.BytesIO() for _ in range(3)]
        writers = [
            json_writer(outputs[0], fields, flat=True),
            json_writer(outputs[1], fields, array=True),
            csv_writer(outputs[2], fields),
        ]
        stay: list[tuple[Any, str]] = []
        try:
            for row in read_rows(_Bytes(data), entities):
                rows += 1
                said = [row.branch, row.index, row.record]
                try:
                    said += [row.header, row.pod, row.container, row.process, row.parent, row.file, row.new_file]
                    said += row.ancestors()
                except DecodeError as error:
                    said.append(str(error))
                digest.update(repr(said).encode("utf-8", "surrogatepass"))
                for one in writers:
                    one.row(row)
                if checked:
                    agree(row)
                if len(stay) < _SNAPSHOTS:
                    stay.append((row.snapshot(), repr(row.record)))
        except (SftoolsError, DecodeError) as error:
            errors.append(str(error))
        for one in writers:
            one.close()
        for snapshot, text in stay:
            assert repr(snapshot.record) == text, "a snapshot has moved"
        for line in outputs[0].getvalue().splitlines():
            json.loads(line)
        json.loads(outputs[1].getvalue())
        outputs[2].getvalue().decode()
        for output in outputs:
            digest.update(output.getvalue())
    damage: list[str] = []
    try:
        for _ in read_rows(_Bytes(data), True, lambda error: damage.append(str(error))):
            rows += 1
    except SftoolsError as error:
        errors.append(str(error))
    records: list[Any] = []
    try:
        for record in read_records(_Bytes(data)):
            digest.update(repr(record).encode("utf-8", "surrogatepass"))
            records.append(record)
    except SftoolsError as error:
        errors.append(str(error))
    else:
        if checked:
            check_by_fastavro(data, records)
    assert not any("\n" in error for error in errors + damage), "an error of several lines"
    return {"rows": rows, "records": len(records), "sha256": digest.hexdigest(), "error": errors, "damage": damage[:5]}


def agree(row: Any) -> None:
    """The numbers that the cursor found are those that fastavro decodes."""
    from sftools.avro.slots import NUMBERS

    for slot, path in enumerate(NUMBERS):
        number = row.number(slot)
        value: Any = row.record
        for name in path.split("."):
            value = getattr(value, name, None)
        if number is not None and isinstance(value, int):
            assert int(value) == number, f"{path} is {value} in the record and {number} in the cursor"


def check_by_fastavro(data: bytes, records: list[Any]) -> None:
    """fastavro finds the same records in a sound trace by the writer's schema, and they end where the blocks do."""
    import fastavro

    from sftools.avro.blocks import ContainerReader

    container = ContainerReader(_Bytes(data))
    schema = fastavro.parse_schema(_plain(json.loads(container.schema)))
    left = iter(records)
    for block in container.blocks():
        stream = io.BytesIO(block.data)
        for _ in range(block.number):
            read: Any = fastavro.schemaless_reader(
                stream, schema, None, handle_unicode_errors="sftools.escape", return_record_name=True
            )
            name, theirs = read["rec"]
            record = next(left)
            assert name == record.AVRO_NAME, f"a {name} is read as {record.AVRO_NAME}"
            for field, ours in record.to_avro().items():
                if isinstance(ours, int | str | bytes) and not isinstance(theirs.get(field), tuple) and field in theirs:
                    assert theirs[field] == ours, f"{name}.{field} is {theirs[field]!r}, and {ours!r} for us"
        assert not stream.read(), "bytes behind the last record"
    assert next(left, None) is None, "more records than fastavro reads"


# -- Avro, as far as changes need it


def long(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """(value, position behind it)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


class Token(NamedTuple):
    """A place in a record: a "long" (also of a branch, an enum, a count), or "text" or "bytes" with its length."""

    kind: str
    start: int
    end: int


def tokens(schema: Any, data: bytes) -> list[Token]:
    """Of one sound record."""
    named: dict[str, Any] = {}
    found: list[Token] = []

    def number(at: int) -> tuple[int, int]:
        value, end = read_long(data, at)
        found.append(Token("long", at, end))
        return value, end

    def walk(node: Any, at: int, space: str) -> int:
        if at > len(data):
            raise IndexError(at)
        if isinstance(node, list):
            branch, at = number(at)
            return walk(node[branch], at, space)
        if isinstance(node, str):
            if node not in _SIMPLE:
                full = node if node in named or "." in node else f"{space}.{node}"
                return walk(named[full], at, space)
            node = {"type": node}
        kind = node["type"]
        if "name" in node:
            space = node.get("namespace", space)
            named[node["name"] if "." in node["name"] or not space else f"{space}.{node['name']}"] = node
        if kind == "record":
            for field in node["fields"]:
                at = walk(field["type"], at, space)
            return at
        if kind in ("array", "map"):
            while True:
                count, at = number(at)
                if count == 0:
                    return at
                if count < 0:
                    _, at = number(at)
                if abs(count) > len(data):  # a lie of an earlier change
                    raise ValueError(f"{count} items")
                for _ in range(abs(count)):
                    if kind == "map":
                        at = walk("string", at, space)
                    at = walk(node["items" if kind == "array" else "values"], at, space)
        if kind in ("string", "bytes"):
            size, end = read_long(data, at)
            if not 0 <= size <= len(data) - end:  # the same
                raise ValueError(f"a text of {size} bytes")
            found.append(Token("text" if kind == "string" else "bytes", at, end + size))
            return end + size
        if kind in ("int", "long", "enum"):
            return number(at)[1]
        if kind in _SIMPLE or kind == "fixed":
            return at + (node["size"] if kind == "fixed" else _SIMPLE[kind])
        return walk(kind, at, space)

    end = walk(schema, 0, "")
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow")
    return found


_SIMPLE = {"null": 0, "boolean": 1, "float": 4, "double": 8, "int": 0, "long": 0, "string": 0, "bytes": 0}

# Types of fields that a later writer may have added, with a value of each. No name is SysFlow's.
_ADDED: tuple[tuple[Any, Any], ...] = (
    ("long", -1), ("int", 7), ("double", 1.5), ("float", -0.5), ("boolean", True), ("bytes", b"\xff\0"),
    ("string", "new"), (["null", "string"], None), (["null", "long", "string", "bytes"], "x"),
    ({"type": "array", "items": "string"}, ["a", "b"]),
    ({"type": "map", "values": "long"}, {"a": 1, "": -2}),
    ({"type": "array", "items": {"type": "array", "items": "int"}}, [[], [1]]),
    ({"type": "map", "values": ["null", {"type": "array", "items": "double"}]}, {"k": None, "l": [0.0]}),
    (["null", {"type": "map", "values": "string"}], {"a": "b"}),
    ({"type": "fixed", "name": "fuzz.Four", "size": 4}, b"abcd"),
    ({"type": "enum", "name": "fuzz.Color", "symbols": ["RED", "BLUE"]}, "BLUE"),
    ({"type": "record", "name": "fuzz.Pair", "fields": [
        {"name": "oid", "type": "long"}, {"name": "ts", "type": "string"}]}, {"oid": 5, "ts": "t"}),
    ({"type": "long", "logicalType": "timestamp-micros"}, 10**15),
)  # fmt: skip
_ADDED_NAMES = (
    "added",
    "more",
    "fd",
    "args",
    "ret",
    "oid",
    "id",
    "containerId",
    "dip6",
    "hpid",
    "exitCode",
    "ts2",
    "extra",
    "endTs",
    "podId",
    "sip6",
    "newFileOID",
)


# -- traces as something to change


class Seed(NamedTuple):
    schema: Any
    bodies: list[Any]


def seed_of(data: bytes) -> Seed:
    """Schema and decoded records of a trace, as far as it is sound."""
    import fastavro

    with io.BytesIO(data) as stream:
        reader = fastavro.reader(stream)
        schema = _plain(json.loads(reader.metadata["avro.schema"]))
    parsed = fastavro.parse_schema(schema)
    bodies = []
    for payload in _payloads(data):
        stream = io.BytesIO(payload)
        while stream.tell() < len(payload):
            bodies.append(fastavro.schemaless_reader(stream, parsed, None, return_record_name=True))
    return Seed(schema, bodies)


def _plain(node: Any) -> Any:
    """A schema without logical types: fastavro would make datetimes of nanoseconds that say they are milliseconds."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items() if key != "logicalType"}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def _payloads(data: bytes) -> Iterator[bytes]:
    """The blocks of a container without compression, as far as they are sound."""
    at, sync = _header_end(data)
    try:
        while at < len(data):
            _, at = read_long(data, at)
            size, at = read_long(data, at)
            if size < 0 or data[at + size : at + size + 16] != sync:
                return
            yield data[at : at + size]
            at += size + 16
    except IndexError:
        return


def _header_end(data: bytes) -> tuple[int, bytes]:
    """(where the first block begins, the sync marker). Raises IndexError where the header is cut or lies."""
    at = 4
    while True:
        count, at = read_long(data, at)
        if count == 0:
            return at + 16, data[at : at + 16]
        if count < 0:
            _, at = read_long(data, at)
        for _ in range(min(2 * abs(count), 1000)):
            size, at = read_long(data, at)
            if size < 0 or at + size > len(data):
                raise IndexError(size)
            at += size


_NUMBERS = (0, 1, -1, 2, 3, 7, 12, 63, 64, 127, 128, 255, 1000, 65536, 10**6, 2**21, 2**31 - 1, 2**31, -(2**31), 2**32,
            2**62, 2**63 - 1, -(2**63), -2, 10**18, 253402300800 * 10**9)  # fmt: skip
_RAW_LONGS = (
    b"\x80" * 9 + b"\x01",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10 + b"\x01",
    b"\x80\x00",
    b"\x80" * 12,
    b"\xff" * 9 + b"\x7f",
)
_TEXTS = (b"", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xee\xbf\xbf", b"\0", b'"\\\n\r',
          b"=1+1", b"\xe2\x80\xa8", b"x" * 5000, b"\xf0\x9f\x98\x80" * 50, b"a,b", b"\xee\xbe\x80",
          b"\x7f\x1b[2J")  # fmt: skip
# zstandard seldom: room for the largest block each time is what the sanitizer makes slow.
_CODECS = (*["null"] * 20, *["deflate", "snappy"] * 2, "zstandard", "bzip2", "xz", "nosuch")


class Mutator:
    """Makes inputs of the traces it was given."""

    def __init__(self, rng: random.Random, seeds: list[Seed]) -> None:
        self.rng = rng
        self.seeds = seeds

    def input(self) -> bytes:
        import fastavro

        rng = self.rng
        schema, bodies = rng.choice(self.seeds)
        if len(bodies) > 60:
            begin = rng.randrange(len(bodies) - 40)
            bodies = bodies[:10] + bodies[begin : begin + 40]
        bodies = list(bodies)
        for _ in range(rng.choice((0, 0, 1, 3))):
            bodies.insert(rng.randrange(len(bodies) + 1), rng.choice(bodies or [None]))
        if rng.random() < 0.4:
            schema, bodies = self.evolved(schema, bodies)
        parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
        records: list[Any] = []
        for body in bodies:
            if body is not None:
                stream = io.BytesIO()
                fastavro.schemaless_writer(stream, parsed, body)
                records.append(stream.getvalue())
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5, 10))):
            if records:
                i = rng.randrange(len(records))
                records[i] = self.changed(schema, records[i])
        data = bytearray(self.container(schema, records))
        for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 4))):
            self.lie(data)
        return bytes(data)

    def evolved(self, schema: Any, bodies: list[Any]) -> tuple[Any, list[Any]]:
        """The schema of another writer: fields dropped, added, in another order; the bodies to it."""
        rng = self.rng
        schema = json.loads(json.dumps(schema))
        branches = schema["fields"][0]["type"]
        added: dict[str, dict[str, Any]] = {}
        fixed = rng.sample(_ADDED, 4)
        for branch in rng.sample(branches, rng.randrange(1, len(branches) + 1)):
            fields = branch["fields"]
            more = added.setdefault(branch["name"].rpartition(".")[2], {})
            for _ in range(rng.choice((0, 1, 1, 3))):
                name = rng.choice(_ADDED_NAMES)
                if fixed and name not in [field["name"] for field in fields]:
                    kind, value = fixed[-1]
                    if isinstance(kind, dict) and "name" in kind:
                        fixed.pop()  # a name may be given a meaning once
                    fields.insert(rng.randrange(len(fields) + 1), {"name": name, "type": kind})
                    more[name] = value
            if rng.random() < 0.3:
                # Only fields that define no type that others name.
                simple = [i for i, field in enumerate(fields) if '"name"' not in json.dumps(field["type"])]
                if simple:
                    del fields[rng.choice(simple)]
            if rng.random() < 0.2 and '"name"' not in json.dumps([field["type"] for field in fields]):
                rng.shuffle(fields)
        out = []
        for body in bodies:
            if body is not None:
                name, values = body["rec"]
                out.append({"rec": (name, values | added.get(name.rpartition(".")[2], {}))})
        return schema, out

    def changed(self, schema: Any, record: bytes) -> bytes:
        """A record with one thing in it replaced."""
        rng = self.rng
        try:
            token = rng.choice(tokens(schema, record))
        except (IndexError, KeyError, ValueError, TypeError):  # changed before, and no record any more
            return record
        if token.kind == "long":
            new = rng.choice(_RAW_LONGS) if rng.random() < 0.1 else long(rng.choice(_NUMBERS))
        elif rng.random() < 0.2:
            _, begin = read_long(record, token.start)
            new = long(rng.choice(_NUMBERS)) + record[begin : token.end]
        else:
            text = rng.choice(_TEXTS)
            new = long(len(text)) + text
        return record[: token.start] + new + record[token.end :]

    def container(self, schema: Any, records: list[bytes]) -> bytes:
        rng = self.rng
        text = json.dumps(schema).encode()
        if rng.random() < 0.1:
            text = self.damaged_schema(text)
        codec = rng.choice(_CODECS)
        meta = {b"avro.schema": text, b"avro.codec": codec.encode()}
        if codec == "null" and rng.random() < 0.3:
            del meta[b"avro.codec"]
        if rng.random() < 0.1:
            meta[rng.choice((b"x", b"\xff", b"avro.sync"))] = rng.choice(_TEXTS)
        pairs = b"".join(long(len(key)) + key + long(len(value)) + value for key, value in meta.items())
        if rng.random() < 0.1:
            head = long(-len(meta)) + long(len(pairs)) + pairs
        else:
            head = long(len(meta)) + pairs
        out = bytearray(b"Obj\x01" + head + long(0) + SYNC)
        lies = rng.random() < 0.15
        step = rng.choice((1, 3, 10, 1000))
        for first in range(0, len(records), step):
            block = records[first : first + step]
            payload = _compressed(codec, b"".join(block))
            count, size = len(block), len(payload)
            if lies and rng.random() < 0.3:
                count = rng.choice((count + 1, count - 1, *_NUMBERS))
            elif lies and rng.random() < 0.3:
                size = rng.choice((size + 1, size - 1, *_NUMBERS))
            out += long(count) + long(size) + payload + SYNC
        return bytes(out)

    def damaged_schema(self, text: bytes) -> bytes:
        rng = self.rng
        pick = rng.randrange(6)
        if pick == 0:
            words = (
                b"long",
                b"string",
                b"null",
                b"record",
                b"array",
                b"SysFlow",
                b"sysflow.type.OID",
                b"int",
                b"fixed",
                b"enum",
            )
            return text.replace(b'"%b"' % rng.choice(words), b'"%b"' % rng.choice(words), rng.choice((1, 2, 100)))
        if pick == 1:
            return b"[" * 3000
        if pick == 2:
            return b'{"type":"array","items":' * rng.choice((10, 100, 2000)) + b'"long"' + b"}" * rng.choice((10, 100))
        data = bytearray(text)
        for _ in range(rng.choice((1, 2, 5))):
            at = rng.randrange(len(data))
            if pick == 3:
                del data[at : at + rng.choice((1, 5, 50))]
            else:
                data[at] = rng.choice(b'"{}[]:,0-19 \\a\xff')
        return bytes(data)

    def lie(self, data: bytearray) -> None:
        """One change of bytes, most of them behind the header."""
        rng = self.rng
        begin = data.find(SYNC) + 16 if rng.random() < 0.8 and data.find(SYNC) >= 0 else 0
        if begin >= len(data):
            return
        at = rng.randrange(begin, len(data))
        pick = rng.randrange(6)
        if pick == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif pick == 1:
            data[at] = rng.randrange(256)
        elif pick == 2:
            data[at:at] = rng.choice((long(rng.choice(_NUMBERS)), rng.choice(_RAW_LONGS), data[at : at + 40], SYNC))
        elif pick == 3:
            del data[at : at + rng.choice((1, 2, 16, 100))]
        elif pick == 4:
            data[at : at + 1] = long(rng.choice(_NUMBERS))
        else:
            del data[at:]


def _compressed(codec: str, data: bytes) -> bytes:
    if codec == "deflate":
        pack = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        return pack.compress(data) + pack.flush()
    if codec == "zstandard":
        import zstandard

        return zstandard.compress(data)
    if codec == "snappy":
        import cramjam

        return bytes(cramjam.snappy.compress_raw(data)) + struct.pack(">I", zlib.crc32(data))
    if codec == "bzip2":
        return bz2.compress(data)
    return lzma.compress(data) if codec == "xz" else data


# -- for fuzz.py


def first() -> list[bytes]:
    """Inputs to begin with: earlier findings and the fixtures."""
    return [path.read_bytes() for path in [*sorted(KEPT.glob("*" + SUFFIX)), *sorted(SOUND.glob("*" + SUFFIX))]]


def inputs(rng: random.Random) -> Mutator:
    return Mutator(rng, [seed_of(path.read_bytes()) for path in sorted(SOUND.glob("*" + SUFFIX))])


def split(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The header, the blocks as their sync markers part them, nothing."""
    try:
        at, sync = _header_end(data)
    except IndexError:
        return data, [], b""
    blocks = data[at:].split(sync) if sync else [data[at:]]
    return data[:at], [block + sync for block in blocks[:-1]], blocks[-1]


def about(data: bytes) -> str:
    return f"a trace of {len(data)} bytes"
