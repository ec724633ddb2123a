"""Imported JSON: Avro schemas (.avsc) and protocols (.avpr) to a Protocol, with the checks that IDL gets."""

from __future__ import annotations

from dataclasses import dataclass

from sftools.schema.codegen.model import (
    AVRO_NAME,
    PRIMITIVES,
    Array,
    Enum,
    Field,
    Fixed,
    IdlError,
    Map,
    Message,
    Primitive,
    Properties,
    Protocol,
    Record,
    Reference,
    Schema,
)
from sftools.schema.codegen.names import (
    RESERVED,
    Names,
    Scope,
    check_aliases,
    check_order,
    full_name,
    make_union,
)
from sftools.schema.codegen.source import Json


def read(json: Json, kind: str, names: Names) -> Protocol:
    """The types and messages of a schema (kind "schema") or a protocol ("protocol"). Raises IdlError."""
    reader = _JsonReader(names)
    if kind == "schema":
        protocol = Protocol("")
        reader.schema(json, Scope(""))
    else:
        protocol = reader.protocol(json)
    names.check()
    protocol.types = names.declared
    return protocol


@dataclass(slots=True)
class _JsonReader:
    names: Names

    def protocol(self, json: Json) -> Protocol:
        attributes = _object(json, "a protocol")
        name = _need(json, "protocol").text("the protocol's name")
        namespace = attributes["namespace"].text("namespace") if "namespace" in attributes else ""
        full = full_name(name, Scope(namespace), json.at)
        scope = Scope(full.rpartition(".")[0])
        made = Protocol(full.rpartition(".")[2], scope.namespace, _doc(attributes))
        for item in _array(attributes, "types"):
            self.schema(item, scope)
        messages = attributes.get("messages", Json({}, json.at))
        for key, item in _object(messages, "messages").items():
            made.messages[key] = self.message(key, item, scope)
        made.props = _rest(attributes, "protocol")
        return made

    def message(self, name: str, json: Json, scope: Scope) -> Message:
        attributes = _object(json, "a message")
        if not AVRO_NAME.fullmatch(name):
            raise IdlError(json.at, f"{name!r} is not an Avro name")
        made = Message(name, [], self.schema(_need(json, "response"), scope), doc=_doc(attributes), at=json.at)
        for item in _array(attributes, "request"):
            made.request.append(self.field(item, scope))
        for item in _array(attributes, "errors"):
            error = self.schema(item, scope)
            if not isinstance(error, Reference):
                raise IdlError(item.at, "errors are named types")
            made.errors.append(error)
        self.names.thrown.extend(made.errors)
        if "one-way" in attributes:
            made.oneway = attributes["one-way"].value is True
        made.props = _rest(attributes, "message")
        return made

    def schema(self, json: Json, scope: Scope) -> Schema:
        if isinstance(json.value, str):
            if json.value in PRIMITIVES:
                return Primitive(json.value)
            reference = Reference(full_name(json.value, scope, json.at), json.at)
            self.names.used.append(reference)
            return reference
        if isinstance(json.value, list):
            return make_union((self.schema(item, scope), item.at) for item in json.value)
        attributes = _object(json, "a schema")
        type_ = _need(json, "type")
        if not isinstance(type_.value, str):
            return self.schema(type_, scope)
        props = _rest(attributes, "type")
        match type_.value:
            case "array":
                return Array(self.schema(_need(json, "items"), scope), props)
            case "map":
                return Map(self.schema(_need(json, "values"), scope), props)
            case "record" | "error" | "enum" | "fixed":
                return self.named(type_.value, json, scope)
            case name if name in PRIMITIVES:
                return Primitive(name, props)
        return self.schema(type_, scope)

    def named(self, kind: str, json: Json, scope: Scope) -> Reference:
        attributes = _object(json, "a schema")
        name = _need(json, "name").text("a name")
        if "namespace" in attributes:
            scope = Scope(attributes["namespace"].text("namespace"))
        full = full_name(name, scope, json.at)
        made: Record | Enum | Fixed
        if kind == "enum":
            made = self.enum(full, json)
        elif kind == "fixed":
            size = _need(json, "size")
            if isinstance(size.value, bool) or not isinstance(size.value, int) or not 0 <= size.value < 1 << 31:
                raise IdlError(size.at, "the size of a fixed is 0 to 2147483647")
            made = Fixed(full, size.value)
        else:
            made = Record(full, [], kind == "error")
        made.at = json.at
        made.doc = _doc(attributes)
        made.aliases = check_aliases(attributes.get("aliases"), Scope(made.namespace))
        made.props = _rest(attributes, "enum" if kind == "enum" else "type")
        if isinstance(made, Record):
            self.fields(made, json)
        self.names.declare(made, json.at)
        return Reference(full, json.at)

    def fields(self, record: Record, json: Json) -> None:
        names = set()
        for item in _need_array(json, "fields"):
            field = self.field(item, Scope(record.namespace))
            if field.name in names:
                raise IdlError(item.at, f"the field {field.name!r} stands twice in {record.name}")
            names.add(field.name)
            record.fields.append(field)

    def enum(self, full: str, json: Json) -> Enum:
        symbols = _need(json, "symbols").texts("symbols")
        for symbol in symbols:
            if not AVRO_NAME.fullmatch(symbol):
                raise IdlError(json.at, f"{symbol!r} is not an Avro name")
        if len(set(symbols)) < len(symbols):
            raise IdlError(json.at, f"a symbol stands twice in {full}")
        default = json.value.get("default")
        if default is not None and default.value not in symbols:
            raise IdlError(default.at, f"the default {default.value!r} is not a symbol of {full}")
        return Enum(full, symbols, default.value if default else None)

    def field(self, json: Json, scope: Scope) -> Field:
        attributes = _object(json, "a field")
        name = _need(json, "name").text("a name")
        if not AVRO_NAME.fullmatch(name):
            raise IdlError(json.at, f"{name!r} is not an Avro name")
        made = Field(name, self.schema(_need(json, "type"), scope), _doc(attributes))
        made.order = check_order(attributes.get("order"))
        made.aliases = check_aliases(attributes.get("aliases"), None)
        made.props = _rest(attributes, "field")
        if "default" in attributes:
            default = attributes["default"]
            made.default = default.plain()
            self.names.defaults.append((made, default))
        return made


def _object(json: Json, what: str) -> dict[str, Json]:
    if not isinstance(json.value, dict):
        raise IdlError(json.at, f"{what} must be an object")
    return json.value


def _need(json: Json, key: str) -> Json:
    value = json.value.get(key)
    if not isinstance(value, Json):
        raise IdlError(json.at, f"the attribute {key!r} is missing")
    return value


def _need_array(json: Json, key: str) -> list[Json]:
    _need(json, key)
    return _array(json.value, key)


def _array(attributes: dict[str, Json], key: str) -> list[Json]:
    if key not in attributes:
        return []
    items = attributes[key].value
    if not isinstance(items, list):
        raise IdlError(attributes[key].at, f"{key} must be an array")
    return items


def _doc(attributes: dict[str, Json]) -> str | None:
    return attributes["doc"].text("doc") if "doc" in attributes else None


def _rest(attributes: dict[str, Json], kind: str) -> Properties:
    """The attributes that have no meaning of their own."""
    return {key: value.plain() for key, value in attributes.items() if key not in RESERVED[kind]}
