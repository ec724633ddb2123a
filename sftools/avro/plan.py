"""What a trace's own schema means for us: whether it is harmless, how records are walked, and how they become typed.

A crafted schema would crash the interpreter (fastavro recurses in C) or fill the memory. So a schema is unfolded within
limits first; what is left is walked by a program (decoder_cy.py), and fastavro gets only what that has walked.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import fastavro
from fastavro.schema import SchemaParseException

import sftools.avro.text  # noqa: F401 - registers the error handler _UNICODE
from sftools import limits
from sftools.avro.slots import NUMBERS, SLOTS
from sftools.errors import SftoolsError
from sftools.schema import sysflow, versions
from sftools.schema.canonical import canonical_form
from sftools.schema.objtypes import BRANCHES
from sftools.schema.sysflow import (
    OID,
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
_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}

# What fastavro raises on bytes that do not fit the schema.
_DECODE_ERRORS = (EOFError, ValueError, LookupError, TypeError, OverflowError, AttributeError, struct.error)

# The operations of a program, each followed by its operands. A slot of -1: the value is passed over.
OP_LONG = 0  # slot
OP_BYTES = 1  # slot; a length and so many bytes
OP_FIXED = 2  # slot, size
OP_ENUM = 3  # number of symbols
OP_UNION = 4  # number of branches, length of each one's program; then these
OP_ARRAY = 5  # slot, length of the item's program; then that
OP_MAP = 6  # the same for its values

# Where a field of an object comes from, of a record whose slots suffice.
FROM_NUMBER = 0  # slot
FROM_SPAN = 1  # slot; None where it is not there
FROM_OID = 2  # slots of createTS and hpid; then the class OID
FROM_DEFAULT = 3  # 0, 0; then what makes it
FROM_EMPTY = 4  # slot; an array, if it is empty


class DecodeError(ValueError):
    """Bytes that are not the records they claim to be."""


class Plan:
    """How the records of one writer's schema are read.

    schema: its JSON text. largest: bytes of a record beyond which it is taken for an attack.
    branches: for each branch of the schema's union, the number that objtypes.BRANCHES gives its record type.
    lacks: fields of records of the newest schema that this one has not, such as "Process.entry".
    slots: the slots that a record type has in this schema, by that number.
    shapes: by that number the class of a record type and where its fields come from, if slots suffice.
    program, starts: the program of branch i is program[starts[i] : starts[i + 1]].
    Raises SftoolsError where the schema is not one of SysFlow records, or harmful.
    """

    def __init__(self, schema: str, largest: int = limits.MAX_RECORD_BYTES) -> None:
        self.largest = largest
        canonical = json.loads(canonical_form(schema))
        theirs = _branches(_unfold(canonical))
        ours = {branch["name"]: branch for branch in _branches(_unfold(json.loads(_our_schema())))}
        self.branches: list[int] = []
        self.program: list[int] = []
        self.starts = [0]
        self.slots: dict[int, frozenset[int]] = {}
        self.shapes: dict[int, Shape] = {}
        lacks: set[str] = set()
        self._make: list[Callable[[Any], Record]] = []
        for branch in theirs:
            name = branch["name"]
            if name not in ours:
                raise SftoolsError(f"its schema has the unknown record type {name}")
            short = name.rpartition(".")[2]
            self._make.append(_maker(branch, ours[name], name))
            self.branches.append(BRANCHES[short])
            has = {field["name"] for field in branch["fields"]}
            lacks.update(f"{short}.{field['name']}" for field in ours[name]["fields"] if field["name"] not in has)
            slots: set[int] = set()
            self.program += _program(branch, "", slots)
            self.slots[BRANCHES[short]] = frozenset(slots)
            if shape := _shape(branch, ours[name]):
                self.shapes[BRANCHES[short]] = shape
            self.starts.append(len(self.program))
        self.lacks = frozenset(lacks)
        try:
            self._schema = fastavro.parse_schema(canonical)
        except (SchemaParseException, *_DECODE_ERRORS) as error:
            raise SftoolsError(f"its schema is wrong: {error}") from None

    def typed(self, datum: bytes) -> Record:
        """A record that the program has walked, as an object. Raises DecodeError."""
        read: Callable[..., Any] = fastavro.schemaless_reader
        try:
            record = read(io.BytesIO(datum), self._schema, handle_unicode_errors=_UNICODE)["rec"]
            return self._make[datum[0] >> 1](record)
        except _DECODE_ERRORS as error:
            raise DecodeError(f"{type(error).__name__} {error}".strip()) from None


Shape: TypeAlias = tuple[type[Record], list[tuple[int, int, int, Any]]]


def _shape(theirs: Any, ours: Any) -> Shape | None:
    """How an object of a record type is made of slots alone: its class and the FROM_... of its fields; None if not."""
    their_types = {field["name"]: field["type"] for field in theirs["fields"]}
    fields: list[tuple[int, int, int, Any]] = []
    for field in ours["fields"]:
        name = field["name"]
        slot = SLOTS.get(name, -1)
        if name not in their_types:
            fields.append((FROM_DEFAULT, 0, 0, _default_of(ours["name"], name, field["type"])))
            continue
        kind = _kind(their_types[name][-1] if isinstance(their_types[name], list) else their_types[name])
        if kind in _INTEGERS and slot >= 0 and isinstance(their_types[name], str):
            fields.append((FROM_NUMBER, slot, 0, None))
        elif kind == "fixed" and slot >= 0:
            fields.append((FROM_SPAN, slot, 0, None))
        elif kind == "record" and f"{name}.hpid" in SLOTS and isinstance(their_types[name], dict):
            fields.append((FROM_OID, SLOTS[f"{name}.createTS"], SLOTS[f"{name}.hpid"], OID))
        elif kind == "array" and slot >= 0:
            fields.append((FROM_EMPTY, slot, 0, None))
        else:
            return None
    return getattr(sysflow, ours["name"].rpartition(".")[2]), fields


def _program(schema: Any, path: str | None, slots: set[int]) -> list[int]:
    """The program of an unfolded schema. path: the field's Avro name from the record on; None inside arrays and maps.

    slots: gets those that it fills.
    """
    slot = SLOTS[path] if path in SLOTS and _fits(path, schema) else -1
    if isinstance(schema, list):
        bodies = [_program(branch, path, slots) for branch in schema]
        return [OP_UNION, len(bodies), *map(len, bodies), *(code for body in bodies for code in body)]
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        prefix = f"{path}." if path else ""
        return [
            code
            for field in schema["fields"]
            for code in _program(field["type"], None if path is None else prefix + field["name"], slots)
        ]
    if kind in ("array", "map"):
        if slot >= 0:
            slots.add(slot)
        body = _program(schema["items" if kind == "array" else "values"], None, slots)
        return [OP_ARRAY if kind == "array" else OP_MAP, slot, len(body), *body]
    if kind in _FIXED:
        return [OP_FIXED, -1, _FIXED[kind]] if _FIXED[kind] else []
    if kind == "enum":
        return [OP_ENUM, len(schema["symbols"])]
    if slot >= 0:
        slots.add(slot)
    if kind == "fixed":
        return [OP_FIXED, slot, schema["size"]]
    return [OP_LONG if kind in _INTEGERS else OP_BYTES, slot]


def _fits(path: str, schema: Any) -> bool:
    """Whether a type is what a slot means: records may have fields of such a name with another one."""
    kind = _kind(schema)
    if path in NUMBERS:
        return kind in _INTEGERS
    if path in ("sip6", "dip6"):
        return kind == "fixed" and bool(schema["size"] == 16)
    return kind == "array" if path == "args" else kind in ("fixed", "bytes", "string")


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
