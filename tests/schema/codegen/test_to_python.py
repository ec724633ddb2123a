"""The Python that sf-codegen writes: how it behaves, and that ruff and mypy have nothing to say about it."""

import ast
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.schema import sysflow
from sftools.schema.codegen import compile_idl, generate, to_python
from sftools.schema.codegen.to_json import schema_json

ROOT = Path(__file__).parents[3]
Compile = Callable[[str], types.ModuleType]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compile]:
    """Compiles IDL to Python and runs it as a module."""

    def load(text: str) -> types.ModuleType:
        path = tmp_path / "test.avdl"
        path.write_text(text)
        made = types.ModuleType("sf_codegen_test")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        exec(generate(str(path), ["python"])["python"], made.__dict__)
        return made

    return load


def test_a_record_is_a_class_with_slots(module: Compile) -> None:
    made = module('@namespace("a") protocol P { /** A point. */ record Point { double x; /** Up. */ double y; } }')
    point = made.Point(1.0, y=2.0)
    assert point == made.Point(1.0, 2.0)
    assert repr(point) == "Point(x=1.0, y=2.0)"
    assert point.to_avro() == {"x": 1.0, "y": 2.0}
    assert (made.Point.AVRO_NAME, made.Point.__doc__) == ("a.Point", "A point.")
    assert made.Point.__annotations__["y"] == "float"
    with pytest.raises(AttributeError):
        point.z = 3


def test_defaults_at_the_end_are_defaults_of_the_class(module: Compile) -> None:
    made = module(
        """protocol P {
             enum E { A, B } record S { int i = 3; }
             record R { int a; string b = "x"; E e = "B"; bytes c = "\\u00ff"; array<S> s = [{}, {"i": 1}];
                        map<int> m = {}; S? none = null; union { S, null } some = {}; float f = 1; }
           }"""
    )
    record, other = made.R(1), made.R(1)
    assert (record.b, record.e, record.c, record.m, record.none, record.f) == ("x", made.E.B, b"\xff", {}, None, 1.0)
    assert record.s == [made.S(3), made.S(1)]
    assert record.some == made.S(3)
    record.s.append(made.S())
    assert len(other.s) == 2


def test_defaults_before_other_fields_are_known_to_with_defaults(module: Compile) -> None:
    made = module(
        "protocol P { record R { int version = 5; array<int> list = [1]; union { array<int>, null } n = [2]; int x; } }"
    )
    with pytest.raises(TypeError):
        made.R(1)
    assert made.R.with_defaults(x=1) == made.R(5, [1], [2], 1)
    assert made.R.with_defaults(x=1, version=6, list_=[], n=None) == made.R(6, [], None, 1)
    with pytest.raises(TypeError):
        made.R.with_defaults()


def test_errors_can_be_raised(module: Compile) -> None:
    made = module('protocol P { error Kaboom { string why = "?"; string message; string args = ""; } }')
    with pytest.raises(made.Kaboom) as caught:
        raise made.Kaboom("a", "b")
    assert (caught.value.why, caught.value.message, caught.value.args_) == ("a", "b", "")


def test_an_enum_s_members_are_their_symbols(module: Compile) -> None:
    made = module("protocol P { enum E { A, title } record R { union { string, E } e; } }")
    assert made.E.A == "A"
    assert f"{made.E.A:>3}" == "  A"
    assert {made.E("title"): 1}["title"] == 1
    assert made.E.title_.title() == "Title"
    assert made.R(made.E.A).to_avro() == made.R("A").to_avro() == {"e": "A"}


def test_names_that_python_has_get_an_underscore(module: Compile) -> None:
    made = module(
        """protocol P {
             @namespace("e") enum class { None, mro, _x, name }
             @namespace("e") fixed str(2);
             @namespace("a") record R { int int; int self; int to_avro; int __init__; int R; e.class class; }
             @namespace("b") record R { a.R from; e.str str; }
             enum Any {}
           }"""
    )
    assert [member.name for member in made.class_] == ["None_", "mro_", "avro_x", "name_"]
    assert made.class_("_x").value == "_x"
    inner = made.a_R(1, 2, 3, 4, 5, made.class_.None_)
    expected = {"int": 1, "self": 2, "to_avro": 3, "__init__": 4, "R": 5, "class": "None"}
    assert made.b_R(inner, b"ab").to_avro() == {"from": expected, "str": b"ab"}


UNIONS = """@namespace("u") protocol P {
  enum E { A, B } fixed F(2); record S { int i; } record T { int i; }
  record R {
    union { S, T } records;
    union { null, S, T, E, F, array<S>, map<E>, long } anything;
    array<union { null, T, S }> list;
    map<array<E>> enums;
    union { null, array<map<S>> } no;
    E? e;
  }
}"""


def test_fastavro_writes_what_to_avro_gives(module: Compile, tmp_path: Path) -> None:
    made = module(UNIONS)
    schema = fastavro.parse_schema(schema_json(compile_idl(tmp_path / "test.avdl"), "u.R"))
    s, t, a, b = made.S(1), made.T(2), made.E.A, made.E.B
    for anything in [None, s, t, a, b"xy", [s, s], {"k": b}, 2**40]:
        record = made.R(t, anything, [None, s, t], {"k": [a, b]}, None, b)
        datum = record.to_avro()
        fastavro.validate(datum, schema)
    assert datum["records"] == ("u.T", {"i": 2})
    assert datum["list"] == [None, ("u.S", {"i": 1}), ("u.T", {"i": 2})]
    assert datum["enums"] == {"k": ["A", "B"]}
    assert (datum["no"], datum["e"]) == (None, "B")
    assert made.R(t, s, [], {}, [{"k": s}], None).to_avro()["no"] == [{"k": {"i": 1}}]


def test_sysflow_classes_take_their_fields_in_the_order_of_the_schema() -> None:
    oid = sysflow.OID(1, 2)
    flow = sysflow.NetworkFlow(oid, 1, 2, 3, 4, 5, 6, 7, 8, 6, 9, 10, 11, 12, 13)
    assert (flow.sip6, flow.dip6) == (None, None)
    assert flow.procOID is oid
    assert sysflow.SysFlow(flow).to_avro()["rec"][0] == "sysflow.flow.NetworkFlow"
    header = sysflow.SFHeader.with_defaults(exporter="host1", filename="x.sf")
    assert header == sysflow.SFHeader(6, "host1", "NA", "x.sf")


@pytest.fixture
def torture(tmp_path: Path) -> Callable[[str], str]:
    """The path of a module with all that is hard to format; a name that occurs in it is given."""

    def make(name: str) -> str:
        idl, path = tmp_path / "torture.avdl", tmp_path / "torture.py"
        record = f"record {name} {{ {name}? next = null; map<{name}> more = {{}}; }}"
        idl.write_text(TORTURE.replace("NAME", name).replace("record None {}", f"record None {{}} {record}"))
        path.write_text(generate(str(idl), ["python"])["python"])
        return str(path)

    return make


TORTURE = r'''/** "quoted" doc with \ backslash and """ triple "quote" */
@namespace("x.y")
protocol P {
  /** "starts" and ends "quoted" */
  enum class { None, mro, _x, l, O, title, isascii }
  enum Empty {}
  fixed str(4);
  /**
   * A long line: NAME
   *   indented, with	tab and \ backslash and many words that go on until the line has to be wrapped
   */
  @namespace("q") record R { int x = 1; }
  @namespace("z") record R { int x; q.R r = {}; string t; }
  record None {}
  error Bad { string args; string? message = null; q.R why = {"x": 5}; }
  record Fields {
    /** 中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文中文 */
    int int; int str; int list; int self; int __init__; int _a; int l;
    array<q.R> rs = [{"x": 2}, {}];
    array<class> cs = ["None", "mro"];
    map<map<class>> ms = {"a\"": {"'": "l"}};
    union { array<int>, null } optional = [1];
    union { null, array<q.R> } optional2 = null;
    union { q.R, z.R, class, map<q.R>, array<z.R>, string } big = {};
    bytes b = "\u0000\"'ÿ\\";
    str fx = "\u0001abc";
    string text = "é\n\t\"\u2028";
    double d = 1e300;
    union { null, string, q.R, z.R, Bad, None, class, str, map<q.R>, array<z.R>, bytes, double, boolean, int }
      long_union = null;
    Bad? bad; class? en;
    z.R? z = null;
  }
}
'''


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["word", "A_name_of_a_hundred_characters_" + "A" * 90], ids=["usual", "long"])
def test_ruff_has_nothing_to_say(torture: Callable[[str], str], name: str) -> None:
    pytest.importorskip("ruff")
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", torture(name)]
    run("ruff", "check", *options)
    run("ruff", "format", "--check", *options)


def test_mypy_has_nothing_to_say(torture: Callable[[str], str], tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    run("mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache"), torture("word"))


@given(st.text(alphabet="\"\\ a\n.'", min_size=1, max_size=12))
def test_any_documentation_makes_a_docstring(text: str) -> None:
    """Quotes and backslashes, in any order and at either end."""
    lines = list(to_python._docstring(text, "    "))
    code = "class A:\n" + "\n".join(lines) + "\n"
    found = ast.get_docstring(ast.parse(code).body[0], clean=True)  # type: ignore[arg-type]
    assert found is not None
    if text.strip():
        assert found.split() == text.split()
