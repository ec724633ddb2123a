"""The names of a file, and the rules of the Avro specification that IDL and JSON schemas share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sftools.schema.codegen.model import (
    AVRO_NAME,
    UNSET,
    Array,
    Enum,
    Field,
    Fixed,
    IdlError,
    Map,
    Named,
    Position,
    Primitive,
    Record,
    Reference,
    Schema,
    Union,
)
from sftools.schema.codegen.source import Json

_TYPE = {"aliases", "doc", "fields", "items", "name", "namespace", "size", "symbols", "type", "values"}
RESERVED = {
    "type": _TYPE,
    "enum": _TYPE | {"default"},
    "field": {"aliases", "default", "doc", "name", "order", "type"},
    "message": {"doc", "errors", "one-way", "request", "response"},
    "protocol": {"doc", "errors", "messages", "namespace", "protocol", "types"},
}
"""Attributes with a meaning of their own, which no annotation may set."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a name stands: the namespace that it gets when it has none."""

    namespace: str


@dataclass(slots=True)
class Names:
    """The names of one file, and what is checked once all of them are known.

    declared: types by full name, imported ones too; visible: these and, for a JSON schema, those of the importing file.
    """

    declared: dict[str, Named] = field(default_factory=dict)
    visible: dict[str, Named] = field(default_factory=dict)
    used: list[Reference] = field(default_factory=list)
    thrown: list[Reference] = field(default_factory=list)
    defaults: list[tuple[Field, Json]] = field(default_factory=list)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    required: dict[str, list[str]] = field(default_factory=dict)

    def declare(self, named: Named, at: Position, imported: bool = False) -> None:
        """Adds a type. Raises IdlError where another has its name; an import may bring the same definition again."""
        first = self.visible.get(named.name)
        if first is named or (first == named and (imported or named.name not in self.declared)):
            return
        if first is not None:
            raise IdlError(at, f"{named.name!r} is defined twice, first at {first.at}")
        self.declared[named.name] = named
        self.visible[named.name] = named

    def check(self) -> None:
        """Raises IdlError for an undefined name, a thrown type that is no error, a default of a wrong type."""
        for reference in self.used:
            if reference.name not in self.visible:
                few = len(self.visible) < 1000 and len(reference.name) < 100  # the search takes time
                near = difflib.get_close_matches(reference.name, self.visible, 1) if few else []
                hint = f"; did you mean {near[0]!r}?" if near else ""
                assert reference.at is not None
                raise IdlError(reference.at, f"undefined name {reference.name!r}{hint}")
        for reference in self.thrown:
            named = self.visible[reference.name]
            if not (isinstance(named, Record) and named.is_error):
                assert reference.at is not None
                raise IdlError(reference.at, f"{reference.name!r} is thrown but is not an error")
        for owner, value in self.defaults:
            self._check_default(owner.type, value)
            owner.default = value.plain()

    def _check_default(self, type_: Schema, value: Json) -> None:
        """Raises IdlError unless the JSON value stands for the type (specification, table of field defaults)."""
        plain = value.value
        if isinstance(type_, Union):
            if not type_.branches:
                raise IdlError(value.at, "a default for an empty union")
            self._check_default(type_.branches[0], value)
        elif isinstance(type_, Array):
            self._expect(isinstance(plain, list), value, "an array")
            for item in plain:
                self._check_default(type_.items, item)
        elif isinstance(type_, Map):
            self._expect(isinstance(plain, dict), value, "an object")
            for item in plain.values():
                self._check_default(type_.values, item)
        elif isinstance(type_, Primitive):
            self._check_primitive(type_.name, value)
        else:
            self._check_named(self.visible[type_.name], value)

    def _check_named(self, named: Named, value: Json) -> None:
        plain = value.value
        if isinstance(named, Enum):
            good = isinstance(plain, str) and plain in self._parts_of(named)
            self._expect(good, value, f"a symbol of {named.name}")
        elif isinstance(named, Fixed):
            good = isinstance(plain, str) and len(plain) == named.size and _is_bytes(plain)
            self._expect(good, value, f"a string of {named.size} characters up to \\u00ff")
        elif isinstance(named, Record):
            self._expect(isinstance(plain, dict), value, f"an object with the fields of {named.name}")
            fields = self._parts_of(named)
            for key, item in plain.items():
                if key not in fields:
                    raise IdlError(item.at, f"bad default: {named.name} has no field {key!r}")
                self._check_default(fields[key].type, item)
            for name in self.required[named.name]:
                if name not in plain:
                    raise IdlError(value.at, f"bad default: the field {name!r} of {named.name} is missing")

    def _parts_of(self, named: Enum | Record) -> dict[str, Any]:
        """The fields by name, or the symbols: gathered once, as a default may be an array of many of them."""
        if named.name not in self.parts:
            if isinstance(named, Enum):
                self.parts[named.name] = dict.fromkeys(named.symbols)
            else:
                self.parts[named.name] = {f.name: f for f in named.fields}
                self.required[named.name] = [f.name for f in named.fields if f.default is UNSET]
        return self.parts[named.name]

    def _check_primitive(self, name: str, value: Json) -> None:
        plain = value.value
        is_int = isinstance(plain, int) and not isinstance(plain, bool)
        match name:
            case "null":
                self._expect(plain is None, value, "null")
            case "boolean":
                self._expect(isinstance(plain, bool), value, "true or false")
            case "int":
                self._expect(is_int and -(1 << 31) <= plain < 1 << 31, value, "an integer of 32 bits")
            case "long":
                self._expect(is_int, value, "an integer")
            case "float" | "double":
                self._expect(is_int or isinstance(plain, float), value, "a number")
                value.value = float(plain)  # some readers of schemas refuse an integer here
            case "bytes":
                self._expect(isinstance(plain, str) and _is_bytes(plain), value, "a string of characters up to \\u00ff")
            case _:
                self._expect(isinstance(plain, str), value, "a string")

    def _expect(self, good: bool, value: Json, what: str) -> None:
        if not good:
            raise IdlError(value.at, f"bad default: expected {what}")


def full_name(name: str, scope: Scope, at: Position) -> str:
    """A name with its namespace. Raises IdlError for what is not an Avro name."""
    if not all(AVRO_NAME.fullmatch(part) for part in name.split(".")):
        raise IdlError(at, f"{name!r} is not an Avro name")
    return name if "." in name or not scope.namespace else f"{scope.namespace}.{name}"


def make_union(branches: Iterable[tuple[Schema, Position]]) -> Union:
    """A union of types with their places. Raises IdlError for a union in a union and for a type that stands twice."""
    union = Union([])
    kinds = set()
    for branch, at in branches:
        if isinstance(branch, Union):
            raise IdlError(at, "a union directly in a union")
        kind = branch_name(branch)
        if kind in kinds:
            raise IdlError(at, f"{kind!r} stands twice in a union")
        kinds.add(kind)
        union.branches.append(branch)
    return union


def branch_name(branch: Schema) -> str:
    """What tells a branch of a union from the others: its full name, or the kind of type."""
    if isinstance(branch, Primitive | Reference):
        return branch.name
    return type(branch).__name__.lower()


def check_property(key: str, kind: str, at: Position) -> None:
    """Raises IdlError for an annotation that would set an attribute of the language itself."""
    if key in RESERVED[kind]:
        raise IdlError(at, f"@{key} cannot be set here")


def check_order(value: Json | None) -> str | None:
    """The sort order of a field. Raises IdlError."""
    if value is None:
        return None
    order = value.text("@order").lower()
    if order not in ("ascending", "descending", "ignore"):
        raise IdlError(value.at, f"@order is ascending, descending or ignore, not {order!r}")
    return order


def check_aliases(value: Json | None, scope: Scope | None) -> list[str]:
    """The aliases of a type (scope: where it stands) or of a field (scope None: no dots). Raises IdlError."""
    if value is None:
        return []
    aliases = value.texts("@aliases")
    for alias, item in zip(aliases, value.value, strict=True):
        parts = [alias] if scope is None else alias.split(".")
        if not all(AVRO_NAME.fullmatch(part) for part in parts):
            raise IdlError(item.at, f"{alias!r} is not an Avro name")
    return aliases


def _is_bytes(text: Any) -> bool:
    return all(char <= "\xff" for char in text)
