"""A Protocol to Avro's JSON: schemas (.avsc) and protocols (.avpr).

A named type stands in full where it is first met and by its name after that, as Avro's parsers want it.
"""

from __future__ import annotations

from typing import Any

from sftools import limits
from sftools.schema.codegen.model import (
    UNSET,
    Array,
    Enum,
    Field,
    Fixed,
    IdlError,
    Map,
    Message,
    Named,
    Position,
    Primitive,
    Protocol,
    Record,
    Reference,
    Schema,
)

Json = Any


def schema_json(protocol: Protocol, name: str) -> dict[str, Json]:
    """The schema of the named type `name` (a full name), with all that it uses. Raises IdlError where too deep."""
    made = _Writer(protocol).named(protocol.types[name], "", 0)
    assert isinstance(made, dict)
    return made


def protocol_json(protocol: Protocol) -> dict[str, Json]:
    """The protocol with its types and messages. Raises IdlError where the types nest too deep."""
    writer = _Writer(protocol)
    made: dict[str, Json] = {"protocol": protocol.name}
    if protocol.namespace:
        made["namespace"] = protocol.namespace
    _add_doc(made, protocol.doc)
    made |= protocol.props
    made["types"] = [
        writer.named(named, protocol.namespace, 0) for named in protocol.types.values() if named.name not in writer.met
    ]
    made["messages"] = {name: writer.message(item, protocol.namespace) for name, item in protocol.messages.items()}
    return made


class _Writer:
    def __init__(self, protocol: Protocol) -> None:
        self.types = protocol.types
        self.met: set[str] = set()
        self.at: Position | None = None

    def schema(self, schema: Schema, namespace: str, depth: int) -> Json:
        """The JSON of a type in a namespace. `depth` counts the types around it."""
        if depth > limits.MAX_SCHEMA_DEPTH:
            assert self.at is not None
            raise IdlError(self.at, f"the types up to here nest deeper than {limits.MAX_SCHEMA_DEPTH}")
        if isinstance(schema, Primitive):
            return {"type": schema.name, **schema.props} if schema.props else schema.name
        if isinstance(schema, Array):
            return {"type": "array", "items": self.schema(schema.items, namespace, depth + 1), **schema.props}
        if isinstance(schema, Map):
            return {"type": "map", "values": self.schema(schema.values, namespace, depth + 1), **schema.props}
        if isinstance(schema, Reference):
            return self.named(self.types[schema.name], namespace, depth)
        return [self.schema(branch, namespace, depth + 1) for branch in schema.branches]

    def named(self, named: Named, namespace: str, depth: int) -> Json:
        if named.name in self.met:
            return named.simple_name if named.namespace == namespace else named.name
        self.met.add(named.name)
        self.at = named.at
        made: dict[str, Json] = {"type": _kind(named), "name": named.simple_name}
        if named.namespace != namespace:
            made["namespace"] = named.namespace
        _add_doc(made, named.doc)
        if named.aliases:
            made["aliases"] = named.aliases
        if isinstance(named, Record):
            made["fields"] = [self.field(field, named.namespace, depth) for field in named.fields]
        elif isinstance(named, Enum):
            made["symbols"] = named.symbols
            if named.default is not None:
                made["default"] = named.default
        elif isinstance(named, Fixed):
            made["size"] = named.size
        return made | named.props

    def field(self, field: Field, namespace: str, depth: int) -> dict[str, Json]:
        made: dict[str, Json] = {"name": field.name, "type": self.schema(field.type, namespace, depth + 1)}
        _add_doc(made, field.doc)
        if field.default is not UNSET:
            made["default"] = field.default
        if field.order is not None:
            made["order"] = field.order
        if field.aliases:
            made["aliases"] = field.aliases
        return made | field.props

    def message(self, message: Message, namespace: str) -> dict[str, Json]:
        made: dict[str, Json] = {}
        _add_doc(made, message.doc)
        made |= message.props
        made["request"] = [self.field(field, namespace, 0) for field in message.request]
        made["response"] = self.schema(message.response, namespace, 0)
        if message.errors:
            made["errors"] = [self.schema(error, namespace, 0) for error in message.errors]
        if message.oneway:
            made["one-way"] = True
        return made


def _kind(named: Named) -> str:
    if isinstance(named, Record):
        return "error" if named.is_error else "record"
    return type(named).__name__.lower()


def _add_doc(made: dict[str, Json], doc: str | None) -> None:
    if doc is not None:
        made["doc"] = doc
