"""Property: a schema model written as IDL, or as JSON and imported, is read back as the same model."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftools.schema.codegen import compile_idl, generate
from sftools.schema.codegen.model import (
    UNSET,
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Message,
    Named,
    Primitive,
    Protocol,
    Record,
    Reference,
    Schema,
    Union,
)

KEYWORDS = {
    "array",
    "boolean",
    "bytes",
    "date",
    "decimal",
    "double",
    "enum",
    "error",
    "false",
    "fixed",
    "float",
    "idl",
    "import",
    "int",
    "local_timestamp_ms",
    "long",
    "map",
    "null",
    "oneway",
    "protocol",
    "record",
    "schema",
    "string",
    "throws",
    "time_ms",
    "timestamp_ms",
    "true",
    "union",
    "uuid",
    "void",
}
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
BY_KEYWORD = {
    "date": ("int", "date"),
    "time_ms": ("int", "time-millis"),
    "timestamp_ms": ("long", "timestamp-millis"),
    "local_timestamp_ms": ("long", "local-timestamp-millis"),
    "uuid": ("string", "uuid"),
}

# Models

simple_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True) | st.sampled_from(sorted(KEYWORDS))
type_names = simple_names.filter(lambda name: name not in PRIMITIVES)
docs = st.none() | st.from_regex(r"[A-Za-z\"\\'é][A-Za-z \"\\'é]{0,20}[a-z.]", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
property_names = st.from_regex(r"x-[a-z]{1,3}(\.[a-z]{1,3})?", fullmatch=True)
properties = st.dictionaries(property_names, json_values, max_size=2)


@st.composite
def primitives(draw: st.DrawFn) -> Primitive:
    if draw(st.booleans()):
        base, logical = draw(st.sampled_from(sorted(BY_KEYWORD.values())))
        return Primitive(base, {"logicalType": logical} | draw(properties))
    return Primitive(draw(st.sampled_from(PRIMITIVES)), draw(properties))


@st.composite
def schemas(draw: st.DrawFn, names: list[str], depth: int = 0, in_union: bool = False) -> Schema:
    kinds = (
        ["primitive", "reference"]
        + (["array", "map"] if depth < 3 else [])
        + ([] if in_union or depth > 2 else ["union"])
    )
    match draw(st.sampled_from(kinds)):
        case "array":
            return Array(draw(schemas(names, depth + 1)), draw(properties))
        case "map":
            return Map(draw(schemas(names, depth + 1)), draw(properties))
        case "union":
            branches = draw(st.lists(schemas(names, depth + 1, True), min_size=1, max_size=4))
            unique = {b.name if isinstance(b, Primitive | Reference) else type(b).__name__: b for b in branches}
            return Union(list(unique.values()))
        case "reference":
            return Reference(draw(st.sampled_from(names)))
    return draw(primitives())


@st.composite
def defaults(draw: st.DrawFn, type_: Schema, named_types: dict[str, Named], depth: int = 0) -> Any:
    """JSON that stands for the type; UNSET where that would go too deep."""
    if depth > 4:
        return UNSET
    if isinstance(type_, Union):
        return draw(defaults(type_.branches[0], named_types, depth))
    if isinstance(type_, Array | Map):
        inner = type_.items if isinstance(type_, Array) else type_.values
        items = [
            item for item in [draw(defaults(inner, named_types, depth + 1)) for _ in range(2)] if item is not UNSET
        ]
        return items if isinstance(type_, Array) else {f'k"{i}': item for i, item in enumerate(items)}
    if isinstance(type_, Primitive):
        small = st.text(st.characters(max_codepoint=255), max_size=4)
        return draw(
            {
                **{"null": st.none(), "boolean": st.booleans(), "int": st.integers(-(2**31), 2**31 - 1)},
                **{
                    "long": st.integers(-(2**63), 2**63 - 1),
                    "float": st.floats(-1e9, 1e9),
                    "double": st.integers(-9, 9),
                },
                **{"bytes": small, "string": texts},
            }[type_.name]
        )
    named = named_types[type_.name]
    if isinstance(named, Fixed):
        return draw(st.text(st.characters(max_codepoint=255), min_size=named.size, max_size=named.size))
    if isinstance(named, Enum):
        return draw(st.sampled_from(named.symbols)) if named.symbols else UNSET
    assert isinstance(named, Record)
    made = {field.name: draw(defaults(field.type, named_types, depth + 1)) for field in named.fields}
    return UNSET if UNSET in made.values() else made


@st.composite
def fields(draw: st.DrawFn, names: list[str]) -> list[Field]:
    return [
        Field(
            name,
            draw(schemas(names)),
            draw(docs),
            order=draw(st.sampled_from([None, "ascending", "descending", "ignore"])),
            aliases=draw(st.lists(simple_names, max_size=2)),
            props=draw(properties),
        )
        for name in draw(st.lists(simple_names, max_size=4, unique=True))
    ]


@st.composite
def protocols(draw: st.DrawFn) -> Protocol:
    namespace = draw(st.sampled_from(["", "a", "a.b_c"]))
    protocol = Protocol(draw(simple_names), namespace, draw(docs), props=draw(properties))
    others = st.sampled_from([namespace, "x.y"] if namespace else ["x.y"])
    names = draw(
        st.lists(
            st.tuples(others, type_names).map(lambda n: ".".join(n).lstrip(".")), min_size=1, max_size=5, unique=True
        )
    )
    for name in names:
        common = {"doc": draw(docs), "aliases": draw(st.lists(simple_names, max_size=2)), "props": draw(properties)}
        match draw(st.sampled_from(["record", "error", "enum", "fixed"])):
            case "enum":
                symbols = draw(st.lists(simple_names, max_size=3, unique=True))
                default = draw(st.none() | st.sampled_from(symbols)) if symbols else None
                protocol.types[name] = Enum(name, symbols, default, **common)
            case "fixed":
                protocol.types[name] = Fixed(name, draw(st.integers(0, 5)), **common)
            case kind:
                protocol.types[name] = Record(name, draw(fields(names)), kind == "error", **common)
    records = [t for t in protocol.types.values() if isinstance(t, Record)]
    for record in records:
        for field in record.fields:
            if draw(st.booleans()):
                field.default = draw(defaults(field.type, protocol.types))
    thrown = [r.name for r in records if r.is_error]
    for name in draw(st.lists(simple_names, max_size=2, unique=True)):
        oneway = draw(st.booleans())
        errors = draw(st.lists(st.sampled_from(thrown), max_size=2, unique=True)) if thrown and not oneway else []
        response = Primitive("null") if oneway else Reference(draw(st.sampled_from(names)))
        request = draw(fields(names))
        message = Message(name, request, response, [Reference(e) for e in errors], oneway, draw(docs), draw(properties))
        protocol.messages[name] = message
    return protocol


# Models as IDL


def quoted(name: str) -> str:
    return ".".join(f"`{part}`" if part in KEYWORDS else part for part in name.split("."))


def annotations(props: dict[str, Any], **more: Any) -> str:
    given = {key: value for key, value in more.items() if value not in (None, [])} | props
    return "".join(f"@{key}({json.dumps(value)}) " for key, value in given.items())


def doc_comment(doc: str | None) -> str:
    return f"/** {doc} */ " if doc else ""


def type_idl(schema: Schema) -> str:
    if isinstance(schema, Array):
        return f"{annotations(schema.props)}array<{type_idl(schema.items)}>"
    if isinstance(schema, Map):
        return f"{annotations(schema.props)}map<{type_idl(schema.values)}>"
    if isinstance(schema, Union):
        return f"union {{ {', '.join(map(type_idl, schema.branches))} }}"
    if isinstance(schema, Reference):
        return quoted(schema.name)
    props = dict(schema.props)
    for word, (base, logical) in BY_KEYWORD.items():
        if (schema.name, props.get("logicalType")) == (base, logical):
            del props["logicalType"]
            return f"{annotations(props)}{word}"
    return f"{annotations(props)}{schema.name}"


def field_idl(field: Field) -> str:
    default = "" if field.default is UNSET else f" = {json.dumps(field.default)}"
    own = annotations(field.props, order=field.order, aliases=field.aliases)
    return f"{doc_comment(field.doc)}{type_idl(field.type)} {own}{quoted(field.name)}{default}"


def named_idl(named: Named) -> str:
    start = doc_comment(named.doc) + annotations(named.props, namespace=named.namespace, aliases=named.aliases)
    if not named.namespace:
        start = f'@namespace("") {start}' if "namespace" not in start else start
    name = quoted(named.simple_name)
    if isinstance(named, Record):
        body = "".join(f"  {field_idl(field)};\n" for field in named.fields)
        return f"{start}{'error' if named.is_error else 'record'} {name} {{\n{body}}}\n"
    if isinstance(named, Enum):
        default = f" = {quoted(named.default)};" if named.default else ""
        return f"{start}enum {name} {{ {', '.join(map(quoted, named.symbols))} }}{default}\n"
    assert isinstance(named, Fixed)
    return f"{start}fixed {name}({named.size});\n"


def message_idl(message: Message) -> str:
    start = doc_comment(message.doc) + annotations(message.props)
    result = "void" if message.response == Primitive("null") else type_idl(message.response)
    end = " oneway" if message.oneway else ""
    if message.errors:
        end = f" throws {', '.join(quoted(e.name) for e in message.errors)}"
    return f"{start}{result} {quoted(message.name)}({', '.join(map(field_idl, message.request))}){end};\n"


def idl(protocol: Protocol) -> str:
    start = doc_comment(protocol.doc) + annotations(protocol.props, namespace=protocol.namespace or None)
    body = "".join(map(named_idl, protocol.types.values())) + "".join(map(message_idl, protocol.messages.values()))
    return f"{start}protocol {quoted(protocol.name)} {{\n{body}}}\n"


SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(protocol=protocols())
def test_idl(tmp_path: Path, protocol: Protocol) -> None:
    path = tmp_path / "p.avdl"
    path.write_text(idl(protocol))
    assert compile_idl(path) == protocol


@settings(SETTINGS, max_examples=15)
@given(protocol=protocols())
def test_json_and_python(tmp_path: Path, protocol: Protocol) -> None:
    """The .avpr is read back as the same model, fastavro takes each type's .avsc, and the Python runs."""
    path = tmp_path / "p.avdl"
    path.write_text(idl(protocol))
    made = generate(str(path), ["avpr", "python"])
    (tmp_path / "p.avpr").write_text(made["avpr"])
    (tmp_path / "q.avdl").write_text('protocol Q { import protocol "p.avpr"; }')
    again = compile_idl(tmp_path / "q.avdl")
    assert again.types == protocol.types
    assert again.messages == protocol.messages
    module = types.ModuleType("sf_codegen_test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        exec(made["python"], module.__dict__)
    for name in protocol.types:
        fastavro.parse_schema(json.loads(generate(str(path), ["avsc"], name)["avsc"]), _write_hint=False)


@pytest.mark.parametrize("text", ["protocol P { record R { int x; } }"])
def test_the_writer_of_this_test(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.avdl"
    path.write_text(text)
    assert idl(compile_idl(path)) == 'protocol P {\n@namespace("") record R {\n  int x;\n}\n}\n'
