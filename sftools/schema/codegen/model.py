"""An Avro protocol as plain data: what IDL and JSON are read into, and what is written out.

Named types stand once, in `Protocol.types`; everything else refers to them by full name, so the model has no cycles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sftools.errors import SftoolsError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A simple name, and each part of a dotted one (Avro specification, "Names")."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a source text; line and column count from 1, the column in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class IdlError(SftoolsError):
    """A fault in IDL or in an imported schema: `file:line:column: cause`."""

    def __init__(self, at: Position, cause: str) -> None:
        self.at = at
        self.cause = cause if len(cause) <= 200 else f"{cause[:150]} ... {cause[-30:]}"  # a name may be a megabyte
        super().__init__(f"{at}: {self.cause}")


class Unset:
    """Says that a field has no default, since None is one."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()

Properties: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Primitive:
    """A primitive type, with its logical type and other properties."""

    name: str
    props: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Array:
    items: Schema
    props: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Map:
    values: Schema
    props: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Union:
    branches: list[Schema]


@dataclass(slots=True)
class Reference:
    """A named type, by its full name."""

    name: str
    at: Position | None = field(default=None, compare=False)


Schema: TypeAlias = Primitive | Array | Map | Union | Reference


@dataclass(slots=True)
class Field:
    """A field of a record, or a parameter of a message. `default` is JSON, or UNSET."""

    name: str
    type: Schema
    doc: str | None = None
    default: Any = UNSET
    order: str | None = None
    aliases: list[str] = field(default_factory=list)
    props: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Named:
    """What records, enums and fixed have in common. `name` is the full name."""

    name: str
    doc: str | None = field(default=None, kw_only=True)
    aliases: list[str] = field(default_factory=list, kw_only=True)
    props: Properties = field(default_factory=dict, kw_only=True)
    at: Position | None = field(default=None, compare=False, kw_only=True)

    @property
    def namespace(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def simple_name(self) -> str:
        return self.name.rpartition(".")[2]


@dataclass(slots=True)
class Record(Named):
    """is_error: declared as `error`, for messages to throw."""

    fields: list[Field]
    is_error: bool = False


@dataclass(slots=True)
class Enum(Named):
    """default: the symbol for those that a reader does not know."""

    symbols: list[str]
    default: str | None = None


@dataclass(slots=True)
class Fixed(Named):
    """size: bytes."""

    size: int


@dataclass(slots=True)
class Message:
    """A call. errors: beside the string that Avro lets every message throw. oneway: nobody waits for the response."""

    name: str
    request: list[Field]
    response: Schema
    errors: list[Reference] = field(default_factory=list)
    oneway: bool = False
    doc: str | None = None
    props: Properties = field(default_factory=dict)
    at: Position | None = field(default=None, compare=False)


@dataclass(slots=True)
class Protocol:
    """A compiled file. `types` holds all types by full name, as they were met; `own` names those not imported."""

    name: str
    namespace: str = ""
    doc: str | None = None
    types: dict[str, Named] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    props: Properties = field(default_factory=dict)
    own: list[str] = field(default_factory=list, compare=False)
