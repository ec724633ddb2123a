"""Avro IDL to a Protocol: trees of idl.lark, imports, names and their checks.

Every file is compiled by itself, with the names that it declares and imports, as the specification has it; a file
imported on several ways is read once. Names may be used before their declaration.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from lark import Token, Tree

from sftools import limits
from sftools.schema.codegen import json_schema
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
    Position,
    Primitive,
    Properties,
    Protocol,
    Record,
    Reference,
    Schema,
    Union,
)
from sftools.schema.codegen.names import (
    Names,
    Scope,
    check_aliases,
    check_order,
    check_property,
    full_name,
    make_union,
)
from sftools.schema.codegen.source import Json, Node, Reader, Source

LOGICAL = {
    "date": ("int", "date"),
    "time_ms": ("int", "time-millis"),
    "timestamp_ms": ("long", "timestamp-millis"),
    "local_timestamp_ms": ("long", "local-timestamp-millis"),
    "uuid": ("string", "uuid"),
}


def compile_idl(path: str | os.PathLike[str]) -> Protocol:
    """The protocol of an IDL file and of what it imports.

    Raises InputError where the file cannot be read, IdlError (file:line:column: cause) for all else.
    """
    return _Compiler().compile(os.fspath(path), None)


@dataclass(slots=True)
class _Compiler:
    """The files of one run: what is done, by kind and real path, and what is being compiled, outermost first."""

    reader: Reader = field(default_factory=Reader)
    done: dict[tuple[str, str], Protocol] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    def compile(self, path: str, importer: Position | None, kind: str = "idl", outer: Names | None = None) -> Protocol:
        """The protocol of a file. `outer`: the importing file's names, which only a JSON schema may use."""
        real = os.path.realpath(path)
        if (kind, real) in self.done:
            return self.done[kind, real]
        if real in self.open:
            assert importer is not None
            chain = [os.path.basename(p) for p in [*self.open[self.open.index(real) :], real]]
            raise IdlError(importer, f"import cycle: {' -> '.join(chain)}")
        if importer is not None and len(self.open) >= limits.MAX_SCHEMA_DEPTH:
            raise IdlError(importer, f"imports nested deeper than {limits.MAX_SCHEMA_DEPTH}")
        source = self.reader.read(path, importer)
        self.open.append(real)
        if kind == "idl":
            protocol = _File(self, source).protocol(source.parse("protocol"))
        else:
            names = Names()
            if kind == "schema" and outer is not None:
                names.visible.update(outer.visible)
            protocol = json_schema.read(source.json(), kind, names)
        self.open.pop()
        if kind != "schema":  # what a schema means depends on who imports it
            self.done[kind, real] = protocol
        return protocol


class _File:
    """One IDL file: its trees to its protocol."""

    def __init__(self, compiler: _Compiler, source: Source) -> None:
        self.compiler = compiler
        self.source = source
        self.names = Names()

    def protocol(self, tree: Node) -> Protocol:
        properties, name = tree.children[:2]
        assert isinstance(properties, Tree)
        assert isinstance(name, Token)
        props = self.properties(properties)
        scope = Scope(_take_text(props, "namespace") or "")
        full = full_name(self.simple_name(name), scope, self.source.at(name))
        protocol = Protocol(full.rpartition(".")[2], scope.namespace, self.doc(tree))
        protocol.props = _plain(props, "protocol")
        for child in tree.children[2:]:
            assert isinstance(child, Tree)
            if child.data == "import_statement":
                self.import_(child, protocol)
            else:
                self.member(child, scope, protocol)
        self.names.check()
        protocol.types = self.names.declared
        return protocol

    def import_(self, tree: Node, protocol: Protocol) -> None:
        kind_tree, location = tree.children
        assert isinstance(kind_tree, Tree)
        assert isinstance(location, Token)
        at = self.source.at(location)
        path = os.path.join(os.path.dirname(self.source.file), self.source.string(location))
        if "\0" in path:
            raise IdlError(at, "the name of a file with a NUL")
        imported = self.compiler.compile(path, at, str(kind_tree.children[0]), self.names)
        for named in imported.types.values():
            self.names.declare(named, at, imported=True)
        for message in imported.messages.values():
            self.add_message(message, protocol, at)

    def add_message(self, message: Message, protocol: Protocol, at: Position) -> None:
        first = protocol.messages.setdefault(message.name, message)
        if first is not message and first != message:
            raise IdlError(at, f"the message {message.name!r} stands twice, first at {first.at}")

    def member(self, tree: Node, scope: Scope, protocol: Protocol) -> None:
        properties, declaration = tree.children
        assert isinstance(properties, Tree)
        assert isinstance(declaration, Tree)
        props = self.properties(properties)
        doc = self.doc(tree, declaration)
        if declaration.data == "message":
            message = self.message(declaration, scope)
            message.doc = doc
            message.props = _plain(props, "message")
            assert message.at is not None
            self.add_message(message, protocol, message.at)
            return
        namespace = _take_text(props, "namespace")
        if namespace is not None:
            scope = Scope(namespace)
        aliases = check_aliases(props.pop("aliases", None), scope)
        build: Callable[[Node, Scope], Record | Enum | Fixed] = getattr(self, str(declaration.data))
        named = build(declaration, scope)
        named.doc = doc
        named.aliases = aliases
        named.props = _plain(props, "enum" if isinstance(named, Enum) else "type")
        protocol.own.append(named.name)

    def fixed(self, tree: Node, scope: Scope) -> Fixed:
        name, size_token = tree.children
        assert isinstance(size_token, Token)
        size = self.source.integer(size_token)
        if not 0 <= size < 1 << 31:
            raise IdlError(self.source.at(size_token), f"the size of a fixed is 0 to 2147483647, not {size}")
        full, at = self.declared_name(name, scope)
        named = Fixed(full, size, at=at)
        self.names.declare(named, at)
        return named

    def enum(self, tree: Node, scope: Scope) -> Enum:
        full, at = self.declared_name(tree.children[0], scope)
        named = Enum(full, [], at=at)
        self.names.declare(named, at)
        symbols = set()
        for child in tree.children[1:]:
            if isinstance(child, Token):
                symbol = self.simple_name(child)
                if symbol in symbols:
                    raise IdlError(self.source.at(child), f"the symbol {symbol!r} stands twice in {full}")
                symbols.add(symbol)
                named.symbols.append(symbol)
            else:
                token = child.children[0]
                assert isinstance(token, Token)
                named.default = self.simple_name(token)
                if named.default not in named.symbols:
                    raise IdlError(self.source.at(token), f"the default {named.default!r} is not a symbol of {full}")
        return named

    def record(self, tree: Node, scope: Scope) -> Record:
        kind, name, *fields = tree.children
        assert isinstance(kind, Tree)
        full, at = self.declared_name(name, scope)
        named = Record(full, [], kind.children[0] == "error", at=at)
        self.names.declare(named, at)
        inner = Scope(named.namespace)
        made: dict[str, Field] = {}
        for child in fields:
            assert isinstance(child, Tree)
            self.variables(child, inner, made, full)
        named.fields = list(made.values())
        return named

    def variables(self, tree: Node, scope: Scope, fields: dict[str, Field], owner: str) -> None:
        """Adds the fields of a field declaration, or the parameter, to `fields`."""
        type_tree, *variables = tree.children
        assert isinstance(type_tree, Tree)
        for variable in variables:
            assert isinstance(variable, Tree)
            made = self.variable(variable, type_tree, scope)
            made.doc = self.doc(variable, self.name_token(variable)) or self.doc(tree)
            if made.name in fields:
                at = self.source.at(self.name_token(variable))
                raise IdlError(at, f"the field {made.name!r} stands twice in {owner}")
            fields[made.name] = made

    def name_token(self, variable: Node) -> Token:
        token = variable.children[1]
        assert isinstance(token, Token)
        return token

    def variable(self, tree: Node, type_tree: Node, scope: Scope) -> Field:
        properties, name_token, *default = tree.children
        assert isinstance(properties, Tree)
        assert isinstance(name_token, Token)
        props = self.properties(properties)
        order = check_order(props.pop("order", None))
        aliases = check_aliases(props.pop("aliases", None), None)
        type_ = self.type(type_tree, scope)
        made = Field(self.simple_name(name_token), type_, order=order, aliases=aliases, props=_plain(props, "field"))
        if default:
            assert isinstance(default[0], Tree)
            value = self.source.json_of(default[0])
            made.default = value.plain()
            if _is_optional(type_tree) and value.value is not None:
                assert isinstance(type_, Union)
                type_.branches.reverse()
            self.names.defaults.append((made, value))
        return made

    def message(self, tree: Node, scope: Scope) -> Message:
        result, name_token, *rest = tree.children
        assert isinstance(result, Tree)
        assert isinstance(name_token, Token)
        response = Primitive("null") if result.data == "void" else self.plain_type(result, scope, {})
        at = self.source.at(name_token)
        made = Message(self.simple_name(name_token), [], response, at=at)
        request: dict[str, Field] = {}
        for child in rest:
            assert isinstance(child, Tree)
            if child.data == "parameter":
                self.variables(child, scope, request, f"the message {made.name}")
            elif child.data == "oneway":
                made.oneway = True
                if response != Primitive("null"):
                    raise IdlError(self.source.at(child), "a oneway message returns void")
            else:
                made.errors = [self.reference(name, scope) for name in child.children if isinstance(name, Tree)]
        made.request = list(request.values())
        self.names.thrown.extend(made.errors)
        return made

    def type(self, tree: Node, scope: Scope) -> Schema:
        properties, plain = tree.children
        assert isinstance(properties, Tree)
        assert isinstance(plain, Tree)
        return self.plain_type(plain, scope, self.properties(properties))

    def plain_type(self, tree: Node, scope: Scope, props: dict[str, Json]) -> Schema:
        trees = [child for child in tree.children if isinstance(child, Tree)]
        if tree.data == "array":
            return Array(self.type(trees[0], scope), _plain(props, "type"))
        if tree.data == "map":
            return Map(self.type(trees[0], scope), _plain(props, "type"))
        if tree.data == "union":
            if props:
                raise IdlError(next(iter(props.values())).at, "a union cannot have properties")
            return make_union((self.type(branch, scope), self.source.at(branch)) for branch in trees)
        inner = trees[0]
        if inner.data == "reference":
            if props:
                raise IdlError(self.source.at(inner), "a reference to a named type cannot have properties")
            name = inner.children[0]
            assert isinstance(name, Tree)
            made: Schema = self.reference(name, scope)
        elif inner.data == "decimal":
            made = self.decimal(inner, props)
        else:
            word = str(inner.children[0])
            base, logical = LOGICAL.get(word, (word, None))
            made = Primitive(base, self.with_logical(props, inner, {"logicalType": logical} if logical else {}))
        if len(tree.children) > len(trees):  # the question mark
            at = self.source.at(inner)
            return make_union([(Primitive("null"), at), (made, at)])
        return made

    def with_logical(self, props: dict[str, Json], tree: Node, own: Properties) -> Properties:
        """The properties that a logical type's keyword stands for, then those of its annotations."""
        for key in own:
            if key in props:
                raise IdlError(props[key].at, f"the property {key!r} is already said by the type")
        return own | _plain(props, "type")

    def decimal(self, tree: Node, props: dict[str, Json]) -> Primitive:
        tokens = [child for child in tree.children if isinstance(child, Token)]
        precision, *scale = (self.source.integer(token) for token in tokens)
        if precision < 1:
            raise IdlError(self.source.at(tokens[0]), f"a decimal's precision is 1 or more, not {precision}")
        own: Properties = {"logicalType": "decimal", "precision": precision}
        if scale:
            if not 0 <= scale[0] <= precision:
                raise IdlError(self.source.at(tokens[1]), f"a decimal's scale is 0 to {precision}, not {scale[0]}")
            own["scale"] = scale[0]
        return Primitive("bytes", self.with_logical(props, tree, own))

    def reference(self, tree: Node, scope: Scope) -> Reference:
        at = self.source.at(tree)
        made = Reference(full_name(self.dotted(tree), scope, at), at)
        self.names.used.append(made)
        return made

    def properties(self, tree: Node) -> dict[str, Json]:
        props: dict[str, Json] = {}
        for prop in tree.children:
            assert isinstance(prop, Tree)
            name, value = prop.children
            assert isinstance(name, Tree)
            assert isinstance(value, Tree)
            key = self.dotted(name)
            if key in props:
                raise IdlError(self.source.at(name), f"the property {key!r} stands twice")
            props[key] = self.source.json_of(value)
        return props

    def declared_name(self, tree: Token | Node, scope: Scope) -> tuple[str, Position]:
        assert isinstance(tree, Tree)
        at = self.source.at(tree)
        name = self.dotted(tree)
        if name in PRIMITIVES:
            raise IdlError(at, f"{name!r} is the name of a primitive type")
        return full_name(name, scope, at), at

    def simple_name(self, token: Token) -> str:
        name = token.strip("`")
        if not AVRO_NAME.fullmatch(name):
            raise IdlError(self.source.at(token), f"{name!r} is not an Avro name")
        return name

    def dotted(self, tree: Node) -> str:
        return "".join(str(token).strip("`") for token in tree.children)

    def doc(self, *places: Node | Token) -> str | None:
        """The doc comment before the first of `places` that has one."""
        for place in places:
            start = place.meta.start_pos if isinstance(place, Tree) else place.start_pos
            if start in self.source.docs:
                return self.source.docs[start]
        return None


def _is_optional(type_tree: Node) -> bool:
    plain = type_tree.children[1]
    return isinstance(plain, Tree) and plain.data == "nullable" and len(plain.children) == 2


def _take_text(props: dict[str, Json], key: str) -> str | None:
    value = props.pop(key, None)
    if value is None:
        return None
    text = value.text(f"@{key}")
    if key == "namespace" and text and not all(AVRO_NAME.fullmatch(part) for part in text.split(".")):
        raise IdlError(value.at, f"{text!r} is not an Avro namespace")
    return text


def _plain(props: dict[str, Json], kind: str) -> Properties:
    for key, value in props.items():
        check_property(key, kind, value.at)
    return {key: value.plain() for key, value in props.items()}
