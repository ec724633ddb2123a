"""Reads SysFlow traces: hostile bytes in, typed records (sftools.schema.sysflow) out, joined with their entities.

The Avro container is read here, within limits; fastavro decodes single records, and only by schemas that `_Schema` has
found harmless. A crafted writer's schema or block would otherwise crash the interpreter or fill the memory.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import struct
import sys
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeAlias, TypeVar

import fastavro
from fastavro.schema import SchemaParseException

import sftools.avro.text  # noqa: F401 - registers the error handler _UNICODE
from sftools import limits
from sftools.avro.container import MAGIC, SYNC_BYTES
from sftools.errors import InputError, SftoolsError
from sftools.schema import opflags, sysflow, versions
from sftools.schema.canonical import canonical_form
from sftools.schema.sysflow import (
    Container,
    File,
    FileEvent,
    FileFlow,
    K8sEvent,
    NetworkEvent,
    NetworkFlow,
    Pod,
    Process,
    ProcessEvent,
    ProcessFlow,
    SFHeader,
)

Entity: TypeAlias = SFHeader | Container | Process | File | Pod
Activity: TypeAlias = ProcessEvent | FileEvent | NetworkEvent | K8sEvent | NetworkFlow | FileFlow | ProcessFlow
Record: TypeAlias = Entity | Activity
"""One record of a trace. Entities are written before the activities that refer to them."""

_UNICODE = "sftools.escape"

_PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "bytes", "string"})
_INTEGERS = ("int", "long")

# What fastavro raises on bytes that do not fit the schema.
_DECODE_ERRORS = (EOFError, ValueError, LookupError, TypeError, OverflowError, AttributeError, struct.error)


def read_trace(path: str) -> Iterator[Record]:
    """The records of a trace file in their order, typed; "-" is the standard input.

    Every schema with SysFlow's record types is read, back to the first (1000): fields that it lacks get the schema's
    default, or "", 0, None. Raises InputError where the file cannot be read, is no SysFlow trace, or is damaged; the
    records before the damage have then been given. The offset is that of the damaged block in the file.
    """
    with ExitStack() as stack:
        try:
            file = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
            yield from _records(_Input(file, "stdin" if path == "-" else path))
        except OSError as error:
            raise InputError(path, error.strerror or str(error)) from None
        except ValueError:
            raise InputError(repr(path), "is no file name: it contains a NUL byte") from None


def _records(source: _Input) -> Iterator[Record]:
    codec, schema, sync = _header(source)
    try:
        decoder = Decoder(schema)
    except SftoolsError as error:
        raise InputError(source.name, f"cannot be read as a SysFlow trace: {_one_line(error)}") from None
    while not source.at_end():
        start = source.offset
        count, size = source.long("a block"), source.long("a block")
        if not 0 <= size <= limits.MAX_TRACE_BLOCK_BYTES or count < 0:
            raise InputError(source.name, f"a block claims {size} bytes with {count} records", start)
        data = source.take(size, "a block")
        if source.take(SYNC_BYTES, "a block") != sync:
            raise InputError(source.name, "damaged block: it does not end with the file's sync marker", start)
        try:
            yield from decoder.records(_expand(codec, data), count)
        except (DecodeError, *_EXPAND_ERRORS) as error:
            raise InputError(source.name, f"damaged block: {_one_line(error)}", start) from None


def _one_line(error: Exception) -> str:
    """An error's text, which may have names out of the file in it."""
    return "".join(char if char.isprintable() else "?" for char in str(error))


class _Input:
    """The bytes of a container with their offset."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.name = name
        self.offset = 0
        self.ahead = b""

    def take(self, size: int, what: str) -> bytes:
        """`size` bytes; InputError where there are fewer."""
        data = self.ahead + self.file.read(size - len(self.ahead)) if size else b""
        if len(data) < size:
            raise InputError(self.name, f"ends inside {what}", self.offset, "it is cut off or still being written")
        self.ahead = b"" if size else self.ahead
        self.offset += size
        return data

    def at_end(self) -> bool:
        if not self.ahead:
            self.ahead = self.file.read(1)
        return not self.ahead

    def long(self, what: str) -> int:
        """An Avro long."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1, what)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise InputError(self.name, f"a number of more than 64 bits in {what}", self.offset)

    def text(self, left: int) -> bytes:
        """A string or bytes of the header, of at most `left` bytes."""
        size = self.long("its header")
        if not 0 <= size <= left:
            raise InputError(self.name, f"its header has more than {limits.MAX_TRACE_HEADER_BYTES} bytes", self.offset)
        return self.take(size, "its header")


def _header(source: _Input) -> tuple[str, str, bytes]:
    """Codec, schema as JSON and sync marker of a container."""
    magic = source.file.read(len(MAGIC))
    source.offset = len(magic)
    if not magic:
        raise InputError(source.name, "is empty", hint="a SysFlow trace is an Avro container file")
    if magic != MAGIC:
        hint = "it is a capture: convert it with sysporter" if magic == b"\n\r\r\n" else None
        raise InputError(source.name, "is not a SysFlow trace (no Avro container file)", 0, hint)
    meta: dict[bytes, bytes] = {}
    left = limits.MAX_TRACE_HEADER_BYTES
    while count := source.long("its header"):
        if count < 0:
            source.long("its header")
        for _ in range(min(abs(count), left + 1)):
            key = source.text(left)
            meta[key] = source.text(left - len(key))
            left -= len(key) + len(meta[key]) + 100  # what an entry takes in memory, even an empty one
            if left < 0:
                raise InputError(source.name, f"its header has more than {limits.MAX_TRACE_HEADER_BYTES} bytes", 0)
    codec = meta.get(b"avro.codec", b"null").decode("ascii", "backslashreplace")
    if codec not in _CODECS:
        raise InputError(source.name, f"unknown codec {codec!r}", 0, f"known are {', '.join(_CODECS)}")
    return codec, meta.get(b"avro.schema", b"").decode("utf-8", "replace"), source.take(SYNC_BYTES, "its header")


# -- codecs: none makes more than MAX_TRACE_BLOCK_BYTES, whatever the bytes claim


class _TooLarge(ValueError):
    pass


def _expand(codec: str, data: bytes) -> bytes:
    out = _CODECS[codec](data, limits.MAX_TRACE_BLOCK_BYTES + 1)
    if len(out) > limits.MAX_TRACE_BLOCK_BYTES:
        raise _TooLarge(f"it expands to more than {limits.MAX_TRACE_BLOCK_BYTES} bytes")
    return out


def _null(data: bytes, room: int) -> bytes:
    return data


def _deflate(data: bytes, room: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, room)


def _bzip2(data: bytes, room: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, room)


def _xz(data: bytes, room: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=2 * limits.MAX_WINDOW_BYTES).decompress(data, room)


def _zstandard(data: bytes, room: int) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=limits.MAX_WINDOW_BYTES).stream_reader(data) as stream:
            return stream.read(room)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _snappy(data: bytes, room: int) -> bytes:
    """Raw snappy, its length in front as a varint, and the CRC-32 of what it makes behind."""
    import cramjam

    size = 0
    for i, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            break
    if size >= room:
        raise _TooLarge(f"it claims to expand to {size} bytes")
    try:
        out = bytes(cramjam.snappy.decompress_raw(data[:-4]))
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from None
    if zlib.crc32(out) != int.from_bytes(data[-4:], "big"):
        raise ValueError("wrong checksum")
    return out


_CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": _null,
    "deflate": _deflate,
    "zstandard": _zstandard,
    "snappy": _snappy,
    "bzip2": _bzip2,
    "xz": _xz,
}
_EXPAND_ERRORS = (ValueError, zlib.error, lzma.LZMAError, OSError, EOFError)


# -- records


class DecodeError(ValueError):
    """Bytes that are not the records they claim to be."""


class Decoder:
    """Decodes records that were written by a schema.

    schema: its JSON text. largest: bytes of a record beyond which it is taken for an attack.
    Raises SftoolsError where the schema is not one of SysFlow records, or harmful.
    """

    def __init__(self, schema: str, largest: int = limits.MAX_RECORD_BYTES) -> None:
        self.largest = largest
        canonical = json.loads(canonical_form(schema))
        branches = _branches(_unfold(canonical))
        ours = {branch["name"]: branch for branch in _branches(_unfold(json.loads(_our_schema())))}
        self.make: list[Callable[[Any], Record]] = []
        for branch in branches:
            name = branch["name"]
            if name not in ours:
                raise SftoolsError(f"its schema has the unknown record type {name}")
            self.make.append(_maker(branch, ours[name], name))
        try:
            self.schema = fastavro.parse_schema(canonical)
        except (SchemaParseException, *_DECODE_ERRORS) as error:
            raise SftoolsError(f"its schema is wrong: {error}") from None

    def records(self, data: bytes, count: int) -> Iterator[Record]:
        """The `count` records that fill `data`. Raises DecodeError after the last sound one."""
        make, schema, largest = self.make, self.schema, self.largest
        read: Callable[..., Any] = fastavro.schemaless_reader
        base = 0
        while True:
            # A window, not the block: a record that wants more than the largest meets the window's end.
            window = io.BytesIO(data[base : base + largest])
            start = 0
            while count:
                at = base + start
                if at >= len(data):
                    raise DecodeError(f"{count} records are missing at its end")
                branch, odd = divmod(data[at], 2)
                if odd or branch >= len(make):
                    raise DecodeError(f"byte {at}: no record type")
                try:
                    record = read(window, schema, handle_unicode_errors=_UNICODE)["rec"]
                    record = make[branch](record)
                except _DECODE_ERRORS as error:
                    if start and base + largest < len(data):
                        break
                    raise DecodeError(f"byte {at}: {_cause(error, largest)}") from None
                yield record
                count -= 1
                start = window.tell()
            base += start
            if not count:
                break
        if base != len(data):
            raise DecodeError(f"byte {base}: {len(data) - base} bytes follow its last record")


def _cause(error: Exception, largest: int) -> str:
    if isinstance(error, EOFError):
        return f"a record ends outside of the block, or has more than {largest} bytes"
    return f"{type(error).__name__} {error}".strip()


def _our_schema() -> str:
    return canonical_form(versions.schema_json(versions.LATEST))


def _unfold(schema: Any) -> Any:
    """A canonical schema with every name replaced by what it stands for. Raises SftoolsError where it is harmful.

    What is returned has bounded depth and size, no recursion, and every type in it takes at least one byte of data
    (null aside, which stands only in unions): so what fastavro does is bounded by the bytes that it gets.
    """
    named: dict[str, Any] = {}
    left = limits.MAX_SCHEMA_NODES

    def unfold(node: Any, depth: int, in_union: bool = False) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > limits.MAX_SCHEMA_DEPTH:
            raise SftoolsError("its schema is too large or too deep")
        if isinstance(node, str):
            if node in _PRIMITIVES or (node == "null" and in_union):
                return node
            if node not in named:
                raise SftoolsError(f"its schema uses {node} where that has no meaning, or inside of itself")
            # Walked again, so that what it costs is counted again.
            return unfold(named[node], depth, in_union) if isinstance(named[node], dict) else named[node]
        if isinstance(node, list):
            if in_union or not node:
                raise SftoolsError("its schema has an empty union, or one in another")
            return [unfold(branch, depth + 1, True) for branch in node]
        kind = node["type"]
        if kind == "array":
            return {"type": kind, "items": unfold(node["items"], depth + 1)}
        if kind == "map":
            return {"type": kind, "values": unfold(node["values"], depth + 1)}
        if kind == "record":
            fields = [{"name": field["name"], "type": unfold(field["type"], depth + 1)} for field in node["fields"]]
            if not fields:
                raise SftoolsError(f"its schema has the record {node['name']} without fields")
            done = {**node, "fields": fields}
        elif (kind == "enum" and node["symbols"]) or (kind == "fixed" and 0 < node["size"] <= limits.MAX_RECORD_BYTES):
            done = node
        else:
            raise SftoolsError(f"its schema has the useless type {node['name']}")
        named[node["name"]] = done
        return done

    return unfold(schema, 0)


def _branches(schema: Any) -> list[dict[str, Any]]:
    """The records in the union SysFlow.rec of an unfolded schema."""
    if isinstance(schema, dict) and schema.get("name") == "sysflow.SysFlow" and schema["type"] == "record":
        fields = schema["fields"]
        if [field["name"] for field in fields] == ["rec"] and isinstance(fields[0]["type"], list):
            branches: list[dict[str, Any]] = fields[0]["type"]
            # A branch's number is then one byte.
            if len(branches) < 64 and all(isinstance(b, dict) and b["type"] == "record" for b in branches):
                return branches
    raise SftoolsError("its schema is not that of SysFlow records")


def _maker(theirs: Any, ours: Any, where: str) -> Callable[[Any], Any]:
    """What turns a value that fastavro read by their schema into a typed one of ours. Raises SftoolsError.

    Both are unfolded. Fields that only they have are dropped, fields that only we have get defaults.
    """
    if isinstance(ours, str):
        if theirs != ours and not (theirs in _INTEGERS and ours in _INTEGERS):
            raise SftoolsError(f"its schema has another type for {where}")
        return _same
    if isinstance(ours, list):
        if isinstance(theirs, list) and [_kind(t) for t in theirs] == [_kind(o) for o in ours] and len(ours) == 2:
            inner = _maker(theirs[1], ours[1], where)
            return inner if inner is _same else lambda value: None if value is None else inner(value)
    elif isinstance(theirs, dict) and theirs["type"] == ours["type"] and theirs.get("size") == ours.get("size"):
        kind = ours["type"]
        if kind == "fixed":
            return _same
        if kind == "map":
            return _maker(theirs["values"], ours["values"], where)
        if kind == "array":
            item = _maker(theirs["items"], ours["items"], where)
            return item if item is _same else lambda values: [item(value) for value in values]
        if kind == "enum" and set(theirs["symbols"]) <= set(ours["symbols"]):
            members = getattr(sysflow, ours["name"].rpartition(".")[2])
            by_symbol = {symbol: members(symbol) for symbol in theirs["symbols"]}
            return by_symbol.__getitem__
        if kind == "record":
            return _record_maker(theirs, ours)
    raise SftoolsError(f"its schema has another type for {where}")


def _record_maker(theirs: Any, ours: Any) -> Callable[[Any], Any]:
    record_class = getattr(sysflow, ours["name"].rpartition(".")[2])
    their_types = {field["name"]: field["type"] for field in theirs["fields"]}
    fields: list[tuple[str, Callable[[Any], Any] | None, Callable[[], Any] | None]] = []
    for field in ours["fields"]:
        name = field["name"]
        if name in their_types:
            make = _maker(their_types[name], field["type"], f"{ours['name']}.{name}")
            fields.append((name, None if make is _same else make, None))
        else:
            fields.append((name, None, _default_of(ours["name"], name, field["type"])))
    if any(missing for _, _, missing in fields):
        return lambda body: record_class(
            *[missing() if missing else make(body[name]) if make else body[name] for name, make, missing in fields]
        )
    return lambda body: record_class(*[make(body[name]) if make else body[name] for name, make, _ in fields])


def _same(value: Any) -> Any:
    return value


def _kind(schema: Any) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


_ZERO: dict[str, Callable[[], Any]] = {
    "null": lambda: None,
    "boolean": bool, "int": int, "long": int, "string": str, "array": list, "map": dict,
}  # fmt: skip


def _default_of(record: str, field: str, schema: Any) -> Callable[[], Any]:
    """The value of a field that an older schema lacks."""
    schema = schema[0] if isinstance(schema, list) else schema
    if record == SFHeader.AVRO_NAME and field == "ip":
        return lambda: "NA"  # the only default in the schema that is not zero
    if _kind(schema) == "enum":
        first = getattr(sysflow, schema["name"].rpartition(".")[2])(schema["symbols"][0])
        return lambda: first
    if _kind(schema) not in _ZERO:
        raise SftoolsError(f"its schema lacks {record}.{field}")
    return _ZERO[_kind(schema)]


# -- joined


@dataclass(slots=True)
class Joined:
    """An activity with the entities that it refers to; None where there is none, or the trace lacks it.

    container: the process's. parent: the process that poid names. file, new_file: of a FileEvent or FileFlow.
    """

    record: Activity
    header: SFHeader | None
    pod: Pod | None = None
    container: Container | None = None
    process: Process | None = None
    parent: Process | None = None
    file: File | None = None
    new_file: File | None = None


class Joiner:
    """Remembers entities as they pass and joins activities with them.

    Bounded: a process is forgotten when it has exited and a little later; of entities beyond limits.MAX_JOINED_* those
    longest without use are. A header starts anew, as the entities of a file stand in the same file.
    """

    def __init__(self) -> None:
        self._start(None)

    def _start(self, header: SFHeader | None) -> None:
        self.header = header
        self.files: _Recent[bytes, File] = _Recent(limits.MAX_JOINED_FILES)
        self.containers: _Recent[str, Container] = _Recent(limits.MAX_JOINED_CONTAINERS)
        self.pods: _Recent[str, Pod] = _Recent(limits.MAX_JOINED_CONTAINERS)
        # With its parent, which may be forgotten before.
        self.processes: _Recent[tuple[int, int], tuple[Process, Process | None]] = _Recent(limits.MAX_JOINED_PROCESSES)
        self.exited: deque[tuple[int, tuple[int, int]]] = deque()

    def join(self, record: Record) -> Joined | None:
        """The joined activity; None for an entity, which is remembered."""
        match record:
            case Process():
                self.processes.put(_key(record.oid), (record, self._process(record.poid)))
            case File():
                self.files.put(record.oid, record)
            case Container():
                self.containers.put(record.id, record)
            case Pod():
                self.pods.put(record.id, record)
            case SFHeader():
                self._start(record)
            case K8sEvent():
                return Joined(record, self.header)
            case _:
                return self._joined(record)
        return None

    def _joined(self, record: ProcessEvent | FileEvent | NetworkEvent | NetworkFlow | FileFlow | ProcessFlow) -> Joined:
        joined = Joined(record, self.header)
        key = _key(record.procOID)
        process, parent = self.processes.get(key) or (None, None)
        if process is not None:
            joined.process = process
            joined.parent = self._process(process.poid) or parent
            if process.containerId is not None:
                joined.container = self.containers.get(process.containerId)
                if joined.container is not None and joined.container.podId is not None:
                    joined.pod = self.pods.get(joined.container.podId)
        if isinstance(record, FileEvent | FileFlow):
            joined.file = self.files.get(record.fileOID)
            if isinstance(record, FileEvent) and record.newFileOID is not None:
                joined.new_file = self.files.get(record.newFileOID)
        elif isinstance(record, ProcessEvent) and record.opFlags & opflags.OP_EXIT and record.tid == key[0]:
            self._exit(record.ts, key)
        return joined

    def _process(self, oid: sysflow.OID | None) -> Process | None:
        known = None if oid is None else self.processes.get(_key(oid))
        return known[0] if known else None

    def _exit(self, ts: int, key: tuple[int, int]) -> None:
        # Children, and flows of other threads, still refer to a process for a moment.
        while self.exited and not 0 <= ts - self.exited[0][0] < _LINGER_NS:
            self.processes.drop(self.exited.popleft()[1])
        self.exited.append((ts, key))


_LINGER_NS = 5_000_000_000


def _key(oid: sysflow.OID) -> tuple[int, int]:
    return oid.hpid, oid.createTS


_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class _Recent(Generic[_K, _V]):
    """A dict of at most `room` entries, which drops those that were not used while half of it filled up."""

    def __init__(self, room: int) -> None:
        self.half = room // 2
        self.young: dict[_K, _V] = {}
        self.old: dict[_K, _V] = {}

    def get(self, key: _K) -> _V | None:
        value = self.young.get(key)
        if value is None and (value := self.old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: _K, value: _V) -> None:
        if len(self.young) >= self.half:
            self.old, self.young = self.young, {}
        self.young[key] = value

    def drop(self, key: _K) -> None:
        self.young.pop(key, None)
        self.old.pop(key, None)
