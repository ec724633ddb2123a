"""Avro IDL, feature by feature: IDL text and the JSON protocol that the Avro 1.11 specification gives it."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftools import limits
from sftools.errors import InputError
from sftools.schema.codegen import compile_idl, generate
from sftools.schema.codegen.model import IdlError


@pytest.fixture
def avpr(tmp_path: Path) -> Any:
    """Compiles the text of an IDL file to its protocol as JSON, without the mark of sf-codegen."""

    def compile_text(text: str) -> Any:
        path = tmp_path / "test.avdl"
        path.write_text(text)
        made = json.loads(generate(str(path), ["avpr"])["avpr"])
        del made["generated-by"]
        return made

    return compile_text


@pytest.fixture
def fields(avpr: Any) -> Any:
    """The fields of a record with that body, in a protocol that has an enum E, a fixed F and a record S too."""

    def compile_body(body: str) -> Any:
        types = avpr(
            f"protocol P {{ enum E {{ A, B }} fixed F(2); record S {{ int a; int b = 7; }} record R {{ {body} }} }}"
        )
        return types["types"][-1]["fields"]

    return compile_body


@pytest.fixture
def error(tmp_path: Path) -> Any:
    """The error of an IDL file, as line:column: cause."""

    def compile_text(text: str) -> str:
        path = tmp_path / "test.avdl"
        path.write_text(text)
        with pytest.raises(IdlError) as caught:
            compile_idl(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{path}:")
        return str(caught.value).removeprefix(f"{path}:")

    return compile_text


# Declarations


def test_minimal_protocol(avpr: Any) -> None:
    assert avpr("protocol MyProtocol {\n}") == {"protocol": "MyProtocol", "types": [], "messages": {}}


def test_namespaces(avpr: Any) -> None:
    made = avpr(
        """@namespace("org.first") protocol MyProto {
             @namespace("org.other") record Foo { Baz sibling; }
             @namespace("org.other") record Baz {}
             record Bar { org.other.Foo foo; Bar? self; }
             record org.third.Dotted { Inner i; }
             record org.third.Inner {}
             @namespace("") record Root {}
           }"""
    )
    assert made["namespace"] == "org.first"
    assert [(t["name"], t.get("namespace")) for t in made["types"]] == [
        ("Foo", "org.other"),
        ("Bar", None),
        ("Dotted", "org.third"),
        ("Root", ""),
    ]
    assert made["types"][0]["fields"][0]["type"] == {"type": "record", "name": "Baz", "fields": []}
    assert made["types"][1]["fields"] == [
        {"name": "foo", "type": "org.other.Foo"},
        {"name": "self", "type": ["null", "Bar"]},
    ]


def test_enum_with_default_and_fixed(avpr: Any) -> None:
    types = avpr("protocol P { enum Shapes { SQUARE, CIRCLE } = CIRCLE; enum None {} fixed MD5(16); fixed Hex(0x10); }")
    assert types["types"] == [
        {"type": "enum", "name": "Shapes", "symbols": ["SQUARE", "CIRCLE"], "default": "CIRCLE"},
        {"type": "enum", "name": "None", "symbols": []},
        {"type": "fixed", "name": "MD5", "size": 16},
        {"type": "fixed", "name": "Hex", "size": 16},
    ]


def test_errors(avpr: Any) -> None:
    made = avpr("protocol P { error Kaboom { string explanation; int result_code = -1; } }")
    assert made["types"][0]["type"] == "error"
    assert made["types"][0]["fields"][1] == {"name": "result_code", "type": "int", "default": -1}


@pytest.mark.parametrize("name", ["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
def test_primitives(fields: Any, name: str) -> None:
    assert fields(f"{name} x;") == [{"name": "x", "type": name}]


@pytest.mark.parametrize(
    ("idl", "schema"),
    [
        ("date", {"type": "int", "logicalType": "date"}),
        ("time_ms", {"type": "int", "logicalType": "time-millis"}),
        ("timestamp_ms", {"type": "long", "logicalType": "timestamp-millis"}),
        ("local_timestamp_ms", {"type": "long", "logicalType": "local-timestamp-millis"}),
        ("uuid", {"type": "string", "logicalType": "uuid"}),
        ("decimal(9, 2)", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
        ("decimal(9)", {"type": "bytes", "logicalType": "decimal", "precision": 9}),
        ('@logicalType("timestamp-micros") long', {"type": "long", "logicalType": "timestamp-micros"}),
        ("array<string>", {"type": "array", "items": "string"}),
        ("map<array<E>>", {"type": "map", "values": {"type": "array", "items": "E"}}),
        ("union { null, E, S, F, array<int>, map<int> }", None),
        ('@java-class("java.util.ArrayList") array<string>', None),
        ('array<@java-class("java.math.BigDecimal") string>', None),
        ("array<string?>", {"type": "array", "items": ["null", "string"]}),
        ("date?", ["null", {"type": "int", "logicalType": "date"}]),
        ("@p.q-r(1) string?", ["null", {"type": "string", "p.q-r": 1}]),
    ],
)
def test_types(fields: Any, idl: str, schema: Any) -> None:
    expected = {
        "union { null, E, S, F, array<int>, map<int> }": [
            *("null", "E", "S", "F"),
            {"type": "array", "items": "int"},
            {"type": "map", "values": "int"},
        ],
        '@java-class("java.util.ArrayList") array<string>': {
            **{"type": "array", "items": "string"},
            "java-class": "java.util.ArrayList",
        },
        'array<@java-class("java.math.BigDecimal") string>': {
            "type": "array",
            "items": {"type": "string", "java-class": "java.math.BigDecimal"},
        },
    }.get(idl, schema)
    assert fields(f"{idl} x;") == [{"name": "x", "type": expected}]


def test_null_goes_where_the_default_wants_it(fields: Any) -> None:
    made = fields(
        """union { null, string } optional1 = null; string? optional2 = null; string? optional3;
           union { string, null } optional4 = "something"; string? optional5 = "something else";
           string? a = null, b = "x";"""
    )
    first = {"type": ["null", "string"], "default": None}
    last = {"type": ["string", "null"]}
    assert made == [
        {"name": "optional1", **first},
        {"name": "optional2", **first},
        {"name": "optional3", "type": ["null", "string"]},
        {"name": "optional4", **last, "default": "something"},
        {"name": "optional5", **last, "default": "something else"},
        {"name": "a", **first},
        {"name": "b", **last, "default": "x"},
    ]


@pytest.mark.parametrize(
    ("idl", "default"),
    [
        ("null x = null", None),
        ("boolean x = true", True),
        ("int x = -2147483648", -(2**31)),
        ("int x = 010", 8),
        ("int x = 0xfF", 255),
        ("long x = 9223372036854775807L", 2**63 - 1),
        ("float x = 1", 1.0),
        ("double x = -1.5e3", -1500.0),
        ("double x = .5d", 0.5),
        ("double x = 1f", 1.0),
        ("double x = 0x1.8p1", 3.0),
        ("double x = 0x1p4f", 16.0),
        (r'string x = "a\"\\\n\u00e9\101\ud83d\ude00/\/"', 'a"\\\né\x41\U0001f600//'),
        (r'bytes x = "\u0000\u00ff"', "\x00\xff"),
        (r'F x = "\u0000a"', "\x00a"),
        ('E x = "B"', "B"),
        ("array<int> x = [1, 2]", [1, 2]),
        ('map<boolean> x = {"a": true, "b": false}', {"a": True, "b": False}),
        ('S x = {"a": 1}', {"a": 1}),
        ('array<S> x = [{"a": 1, "b": 2}, {"a": 3}]', [{"a": 1, "b": 2}, {"a": 3}]),
        ("union { array<int>, null } x = []", []),
    ],
)
def test_defaults(fields: Any, idl: str, default: Any) -> None:
    made = fields(f"{idl};")[0]["default"]
    assert made == default
    assert type(made) is type(default)


def test_annotations(avpr: Any) -> None:
    made = avpr(
        """@version("1.0.5") @namespace("n") protocol P {
             @aliases(["org.old.OldRecord", "AncientRecord"]) @deep.er-prop({"a": [1, null, true]})
             record MyRecord {
               string @order("ascending") a;
               string @order("descending") @aliases(["oldField", "ancientField"]) b = "x";
               string @order("ignore") @my-prop("v") c, @order("IGNORE") d;
             }
             @x(1) int send(@y(2) int a, int @z(3) b);
           }"""
    )
    assert made["version"] == "1.0.5"
    record = made["types"][0]
    assert record["aliases"] == ["org.old.OldRecord", "AncientRecord"]
    assert record["deep.er-prop"] == {"a": [1, None, True]}
    assert record["fields"] == [
        {"name": "a", "type": "string", "order": "ascending"},
        {"name": "b", "type": "string", "default": "x", "order": "descending", "aliases": ["oldField", "ancientField"]},
        {"name": "c", "type": "string", "order": "ignore", "my-prop": "v"},
        {"name": "d", "type": "string", "order": "ignore"},
    ]
    assert made["messages"]["send"]["x"] == 1
    request = made["messages"]["send"]["request"]
    assert request == [{"name": "a", "type": {"type": "int", "y": 2}}, {"name": "b", "type": "int", "z": 3}]


def test_messages(avpr: Any) -> None:
    made = avpr(
        """protocol P {
             error Kaboom {} error Other {}
             /** Adds. */
             int add(/** first */ int foo, int bar = 0);
             void logMessage(string message);
             void goKaboom() throws Kaboom, Other;
             void fireAndForget(string message) oneway;
             void `error`();
             array<string> list(union { null, int } limit);
           }"""
    )
    assert made["messages"] == {
        "add": {
            "doc": "Adds.",
            "request": [{"name": "foo", "type": "int", "doc": "first"}, {"name": "bar", "type": "int", "default": 0}],
            "response": "int",
        },
        "logMessage": {"request": [{"name": "message", "type": "string"}], "response": "null"},
        "goKaboom": {"request": [], "response": "null", "errors": ["Kaboom", "Other"]},
        "fireAndForget": {
            **{"request": [{"name": "message", "type": "string"}], "response": "null"},
            "one-way": True,
        },
        "error": {"request": [], "response": "null"},
        "list": {
            "request": [{"name": "limit", "type": ["null", "int"]}],
            "response": {"type": "array", "items": "string"},
        },
    }


def test_keywords_as_names(avpr: Any) -> None:
    made = avpr(
        """protocol `protocol` {
             record `record` { int `int`; string date; `record`? `enum`; }
             enum `enum` { `fixed`, map }
           }"""
    )
    assert made["protocol"] == "protocol"
    assert [f["name"] for f in made["types"][0]["fields"]] == ["int", "date", "enum"]
    assert made["types"][1]["symbols"] == ["fixed", "map"]


def test_names_may_be_used_before_they_are_declared(avpr: Any) -> None:
    made = avpr("protocol P { record A { B b; array<A> more; } record B { E e; } enum E { X } }")
    assert len(made["types"]) == 1
    assert made["types"][0]["fields"][0]["type"]["fields"][0]["type"]["symbols"] == ["X"]


# Comments


def test_comments_go_and_doc_comments_stay(avpr: Any) -> None:
    made = avpr(
        """/** Not for anything. */
           /** The protocol,
            *  in two lines.
            */
           @namespace("n") /* plain */ protocol P { // line
             /** Kind. */ @aliases(["K"]) enum Kind { /** ignored */ A, B /**/ }
             @a(1) /** After the annotation. */ fixed F(1);
             /**
              * Record.
              *
              *   indented
              */
             record R {
               /** For both. */ int a, b;
               int /** Own. */ @order("ignore") c, d;
               union { /** ignored */ null, int } /** Optional. */ e;
               string s = "/** not a comment */ // nor this";
             }
           }
           // the end"""
    )
    assert made["doc"] == "The protocol,\nin two lines."
    assert [t.get("doc") for t in made["types"]] == ["Kind.", "After the annotation.", "Record.\n\n  indented"]
    docs = {f["name"]: f.get("doc") for f in made["types"][2]["fields"]}
    assert docs == {"a": "For both.", "b": "For both.", "c": "Own.", "d": None, "e": "Optional.", "s": None}
    assert made["types"][2]["fields"][5]["default"] == "/** not a comment */ // nor this"


def test_text_after_the_substitute_character_is_ignored(avpr: Any) -> None:
    assert avpr("protocol P {}\x1a anything { at all")["protocol"] == "P"


def test_byte_order_mark_and_line_ends(avpr: Any) -> None:
    assert avpr("\ufeffprotocol P {\r\n  enum E { A } \r\n}\r\n")["types"][0]["name"] == "E"


# Imports


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory / next(iter(files))


def test_imports_of_all_kinds(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        {
            "main.avdl": """@namespace("m") protocol Main {
                              import idl "sub/types.avdl"; import protocol "remote.avpr"; import schema "point.avsc";
                              record Line { geo.Point from; geo.Point to; t.Id id; r.Far far; Kind kind; }
                              enum Kind { THIN }
                            }""",
            "sub/types.avdl": """@namespace("t") protocol Types {
                                   import idl "more.avdl"; fixed Id(4); Id next(t.More m); }""",
            "sub/more.avdl": '@namespace("t") protocol More { record More {} }',
            "remote.avpr": """{"protocol": "Remote", "namespace": "r",
                               "types": [{"type": "record", "name": "Far", "fields": []},
                                         {"type": "error", "name": "Lost", "fields": []}],
                               "messages": {"ping": {"request": [{"name": "far", "type": "Far", "default": {}}],
                                                     "response": "null", "errors": ["Lost"]}}}""",
            "point.avsc": """{"type": "record", "name": "geo.Point", "fields": [{"name": "x", "type": "double"},
                              {"name": "kind", "type": ["null", "t.Id"]}]}""",
        },
    )
    protocol = compile_idl(main)
    assert set(protocol.types) == {"t.More", "t.Id", "r.Far", "r.Lost", "geo.Point", "m.Line", "m.Kind"}
    assert protocol.own == ["m.Line", "m.Kind"]
    assert set(protocol.messages) == {"next", "ping"}
    made = json.loads(generate(str(main), ["avsc"], "Line")["avsc"])
    assert made["fields"][0]["type"]["namespace"] == "geo"
    assert made["fields"][1]["type"] == "geo.Point"


def test_a_file_imported_twice_is_one(tmp_path: Path) -> None:
    point = '{"type": "fixed", "name": "Point", "size": 1}'
    files = {
        "main.avdl": """protocol M { import idl "a.avdl"; import idl "b.avdl"; import idl "./a.avdl";
                                     import schema "p.avsc"; }""",
        "a.avdl": 'protocol A { import idl "c.avdl"; import schema "p.avsc"; record A { C c; Point p; } }',
        "b.avdl": 'protocol B { import idl "c.avdl"; import schema "p.avsc"; record B { C c; Point p; } }',
        **{"c.avdl": "protocol C { record C {} }", "p.avsc": point},
    }
    assert set(compile_idl(write(tmp_path, files)).types) == {"A", "B", "C", "Point"}


def test_import_cycle_names_its_files(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        {
            "main.avdl": 'protocol M { import idl "a.avdl"; }',
            "a.avdl": 'protocol A {\n  import idl "b.avdl"; }',
            "b.avdl": 'protocol B {\n\n  import idl "a.avdl"; }',
        },
    )
    with pytest.raises(IdlError, match=r"b\.avdl:3:14: import cycle: a\.avdl -> b\.avdl -> a\.avdl$"):
        compile_idl(main)


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ('import idl "none.avdl";', "cannot import '.*none.avdl': No such file or directory"),
        ('import idl "..";', "cannot import '.*': not a regular file"),
        ('import schema "/dev/zero";', "cannot import '/dev/zero': not a regular file"),
        ('import schema "\\u0000";', "test.avdl:1:28: the name of a file with a NUL"),
        ('import protocol "bad.avpr";', r"bad.avpr:2:1: the attribute 'response' is missing"),
        ('import schema "bad.json";', r"bad.json:2:1: unexpected the end of the file"),
        ('import idl "latin.avdl";', r"latin.avdl:2:3: not UTF-8"),
        ('record R {} import schema "r.avsc";', r"'R' is defined twice, first at .*test.avdl:1:21"),
        ('import idl "own.avdl"; record Later {}', r"own.avdl:1:25: undefined name 'Later'"),
    ],
)
def test_bad_imports(tmp_path: Path, statement: str, cause: str) -> None:
    main = write(
        tmp_path,
        {
            "test.avdl": f"protocol P {{ {statement} }}",
            "bad.avpr": '{"messages": {"m":\n{"request": []}}, "protocol": "P"}',
            "bad.json": '{"type": \n',
            "r.avsc": '{"type": "fixed", "name": "R", "size": 1}',
            "own.avdl": "protocol O { record R { Later x; } }",
        },
    )
    (tmp_path / "latin.avdl").write_bytes(b"protocol\nP \xe9 {}")
    with pytest.raises(IdlError, match=cause):
        compile_idl(main)


def test_missing_file() -> None:
    with pytest.raises(InputError, match=r"^none\.avdl: No such file or directory$"):
        compile_idl("none.avdl")


# Errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: unexpected the end of the file, expected '@', 'protocol'"),
        ("protocol P {", "1:13: unexpected the end of the file, expected"),
        ("protocol P {\n  record R {\n    int 3;\n  }\n}", "3:9: unexpected '3', expected '?', '@', a name"),
        ("protocol P {\n  record R { int x }\n}", "2:20: unexpected '}', expected"),
        ("protocol P { } }", "1:16: unexpected '}', expected the end of the file"),
        ("protocol P { record R { int x = 1 2; } }", "1:35: unexpected '2'"),
        ("protocol P { record R { int x = ; } }", "1:33: unexpected ';'"),
        ("protocol P { # }", "1:14: unexpected character '#'"),
        ("protocol P { /* }", "1:14: a comment without its end"),
        ('protocol P { import idl "x; }', "1:25: a string without its end"),
        ('protocol P {\n\tstring f(string s = "\\q"); }', "2:23: unknown escape \\q"),
        ('protocol P { string f(string s = "\\ud800"); }', "1:34: half of a surrogate pair in a string"),
        ("protocol P { record R { Unknown x; } }", "1:25: undefined name 'Unknown'"),
        (
            '@namespace("a") protocol P { record Colour {} record R { Color x; } }',
            "1:58: undefined name 'a.Color'; did you",
        ),
        ("protocol P { void f() throws X; }", "1:30: undefined name 'X'"),
        ("protocol P { record X {} void f() throws X; }", "1:42: 'X' is thrown but is not an error"),
        ("protocol P { record X {}\n enum X {} }", "2:7: 'X' is defined twice, first at"),
        ("protocol P { record R { int a;\n string a; } }", "2:9: the field 'a' stands twice in R"),
        ("protocol P { enum E { A, B,\n A } }", "2:2: the symbol 'A' stands twice in E"),
        ("protocol P { enum E { A } = B; }", "1:29: the default 'B' is not a symbol of E"),
        ("protocol P { void f(int a, int a); }", "1:32: the field 'a' stands twice in the message f"),
        ("protocol P { void f(); int f(); }", "1:28: the message 'f' stands twice"),
        ("protocol P { int f() oneway; }", "1:22: a oneway message returns void"),
        ("protocol P { fixed F(-1); }", "1:22: the size of a fixed is 0 to 2147483647, not -1"),
        ("protocol P { fixed F(99999999999999999999); }", "1:22: an integer of more than 64 bits"),
        ("protocol P { record R { decimal(0, 0) d; } }", "1:33: a decimal's precision is 1 or more, not 0"),
        ("protocol P { record R { decimal(2, 3) d; } }", "1:36: a decimal's scale is 0 to 2, not 3"),
        ("protocol P { record R { union { int, int } x; } }", "1:38: 'int' stands twice in a union"),
        ("protocol P { record R { union { int, R? } x; } }", "1:38: a union directly in a union"),
        ("protocol P { record R { null? x; } }", "1:25: 'null' stands twice in a union"),
        ("protocol P { record R { @a(1) union { int } x; } }", "1:28: a union cannot have properties"),
        ("protocol P { record R { @a(1) R x; } }", "1:31: a reference to a named type cannot have properties"),
        ('protocol P { record R { @logicalType("x") date d; } }', "1:38: the property 'logicalType' is already said"),
        ("protocol P { @a(1) @a(2) record R {} }", "1:21: the property 'a' stands twice"),
        ('protocol P { @doc("x") record R {} }', "1:19: @doc cannot be set here"),
        ('protocol P { record R { int @type("x") a; } }', "1:35: @type cannot be set here"),
        (
            'protocol P { record R { int @order("up") a; } }',
            "1:36: @order is ascending, descending or ignore, not 'up'",
        ),
        ("protocol P { @aliases(3) record R {} }", "1:23: @aliases must be an array of strings"),
        ('protocol P { @aliases(["a", "b-c"]) record R {} }', "1:29: 'b-c' is not an Avro name"),
        ("@namespace(1) protocol P {}", "1:12: @namespace must be a string"),
        ('@namespace("a..b") protocol P {}', "1:12: 'a..b' is not an Avro namespace"),
        ("protocol `a-b` {}", "1:10: 'a-b' is not an Avro name"),
        ("protocol P { record `int` {} }", "1:21: 'int' is the name of a primitive type"),
        ("protocol P { enum E { é } }", "1:23: 'é' is not an Avro name"),
        ("protocol P { record R { double x = NaN; } }", "1:36: NaN has no form in JSON"),
        ("protocol P { record R { double x = 1e999; } }", "1:36: 1e999 has no form in JSON"),
        ('protocol P { @a({"k": 1, "k": 2}) record R {} }', "1:26: the key 'k' stands twice"),
    ],
)
def test_errors_say_where_and_what(error: Any, text: str, message: str) -> None:
    assert error(text).startswith(message)


@pytest.mark.parametrize(
    ("idl", "column", "cause"),
    [
        ("null x = 0", 9, "expected null"),
        ("boolean x = 1", 12, "expected true or false"),
        ("int x = 2147483648", 8, "expected an integer of 32 bits"),
        ("int x = true", 8, "expected an integer of 32 bits"),
        ("long x = 1.0", 9, "expected an integer"),
        ('double x = "1"', 11, "expected a number"),
        ("string x = null", 11, "expected a string"),
        ('bytes x = "\u0100"', 10, "expected a string of characters up to \\u00ff"),
        ('F x = "abc"', 6, "expected a string of 2 characters up to \\u00ff"),
        ('E x = "C"', 6, "expected a symbol of E"),
        ("E x = []", 6, "expected a symbol of E"),
        ("array<int> x = {}", 15, "expected an array"),
        ('array<int> x = [1, "a"]', 19, "expected an integer of 32 bits"),
        ("map<int> x = []", 13, "expected an object"),
        ('map<int> x = {"a": null}', 19, "expected an integer of 32 bits"),
        ("S x = {}", 6, "the field 'a' of S is missing"),
        ('S x = {"a": 1, "c": 2}', 20, "S has no field 'c'"),
        ('S x = {"a": "1"}', 12, "expected an integer of 32 bits"),
        ("union { null, int } x = 1", 24, "expected null"),
        ("int? x = true", 9, "expected an integer of 32 bits"),
    ],
)
def test_defaults_of_the_wrong_type(error: Any, idl: str, column: int, cause: str) -> None:
    before = "protocol P { enum E { A, B } fixed F(2); record S { int a; int b = 7; } record R { "
    assert error(f"{before}{idl}; }} }}") == f"1:{len(before) + column + 1}: bad default: {cause}"


# Hostile input


@pytest.mark.parametrize(
    "text",
    [
        "protocol P { record R { " + "array<" * 50_000 + "int" + ">" * 50_000 + " x; } }",
        "protocol P { record R { int x = " + "[" * 100_000 + "]" * 100_000 + "; } }",
        "protocol P { @a(" + '{"a":' * 50_000 + "1" + "}" * 50_000 + ") record R {} }",
        "{" * 100_000,
        "protocol P { record R { " + "union {" * 50_000,
    ],
)
def test_deep_nesting_is_refused_before_anything_recurses(error: Any, text: str) -> None:
    assert f"nested deeper than {limits.MAX_SCHEMA_DEPTH}" in error(text)


def test_deep_nesting_in_imported_json(tmp_path: Path) -> None:
    deep = '{"type": "array", "items": ' * 100_000 + '"int"' + "}" * 100_000
    main = write(tmp_path, {"main.avdl": 'protocol P { import schema "deep.avsc"; }', "deep.avsc": deep[:400_000]})
    with pytest.raises(IdlError, match=f"nested deeper than {limits.MAX_SCHEMA_DEPTH}"):
        compile_idl(main)


def test_long_chain_of_records_is_refused_in_json_but_not_in_python(tmp_path: Path) -> None:
    records = "".join(f"record R{i} {{ R{i + 1} next = {{}}; }}\n" for i in range(600))
    main = write(tmp_path, {"main.avdl": f"protocol P {{ {records} record R600 {{ int x = 0; }} }}"})
    with pytest.raises(IdlError, match=r"main\.avdl:65:8: the types up to here nest deeper than 64"):
        generate(str(main), ["avsc"], "R0")
    assert "class R599:" in generate(str(main), ["python"])["python"]


def test_defaults_that_double_do_not_grow(tmp_path: Path) -> None:
    records = "".join(f"record R{i} {{ R{i + 1} a = {{}}; R{i + 1} b = {{}}; }}\n" for i in range(40))
    main = write(tmp_path, {"main.avdl": f"protocol P {{ {records} record R40 {{ int x = 0; }} }}"})
    assert len(generate(str(main), ["python"])["python"]) < 100_000


def test_large_files_are_refused(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.avdl": "protocol P {" + " " * limits.MAX_IDL_BYTES + "}"})
    with pytest.raises(InputError, match=f"the files have more than {limits.MAX_IDL_BYTES} bytes"):
        compile_idl(main)


def test_the_bound_is_on_all_files_together(tmp_path: Path) -> None:
    half = f"/* {'x' * (limits.MAX_IDL_BYTES // 2)} */"
    imports = 'import idl "a.avdl"; import idl "b.avdl";'
    files = {"main.avdl": f"protocol P {{ {imports} }}"} | {f"{n}.avdl": f"protocol P {{}} {half}" for n in "ab"}
    with pytest.raises(IdlError, match=r"main.avdl:1:46: cannot import .*b\.avdl': the files have more than"):
        compile_idl(write(tmp_path, files))


def test_long_chain_of_imports_is_refused(tmp_path: Path) -> None:
    files = {f"{i}.avdl": f'protocol P {{ import idl "{i + 1}.avdl"; }}' for i in range(200)}
    with pytest.raises(IdlError, match=f"imports nested deeper than {limits.MAX_SCHEMA_DEPTH}"):
        compile_idl(write(tmp_path, files))


def test_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_IDL_FILES", 10)
    imports = "".join(f'import idl "{i}.avdl";' for i in range(10))
    files = {"main.avdl": f"protocol P {{ {imports} }}"} | {f"{i}.avdl": "protocol P {}" for i in range(10)}
    with pytest.raises(IdlError, match="more than 10 files"):
        compile_idl(write(tmp_path, files))


@pytest.mark.parametrize(
    "text", ['"' + '\\"' * 200_000, "/*" * 200_000, "/**" * 150_000, "\n" * 500_000, "`" * 500_000, "\0" * 500_000]
)
def test_text_without_ends_is_searched_once(error: Any, text: str) -> None:
    assert error(text)


def test_error_text_is_bounded(error: Any) -> None:
    assert len(error(f"protocol P {{ record R {{ {'a' * 100_000} x; }} }}")) < 300
