"""Query text to syntax tree: what the language has beside Falco's."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftools.conditions.errors import FilterError, Source
from sftools.conditions.syntax import And, Check, Expression, Not, Or, Reference, Word
from sftools.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_LIST
from sftools.sfql.parser import parse, parse_items, without_prefix


def check(name: str, operator: str = "=", *values: str, several: bool = False) -> Check:
    return Check(name, None, operator, tuple(map(Word, values)), several=several)


def result(text: str) -> Expression | FilterError:
    """The tree, or the error."""
    try:
        return parse(without_prefix(Source(text)))
    except FilterError as error:
        return error


FF = check("type", "=", "FF")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("type = FF", FF),
        ("type=FF", FF),
        ("webproc", Reference("webproc")),
        ("not web-proc.2", Not(Reference("web-proc.2"))),
        ("type = FF and webproc or (a)", Or((And((FF, Reference("webproc"))), Reference("a")))),
        ("type = FF AND Not webproc Or a", Or((And((FF, Not(Reference("webproc")))), Reference("a")))),
        ("a EXISTS", check("a", "exists")),
        ("exists a", check("a", "exists")),
        ("Exists a and b", And((check("a", "exists"), Reference("b")))),
        ("a IN (b)", check("a", "in", "b")),
        ("a in (b, [c, 'd e'], f)", check("a", "in", "b", "c", "d e", "f")),
        ("a in [b, c]", check("a", "in", "b", "c")),
        ("a pmatch(b)", check("a", "pmatch", "b")),
        ("a = [b, c,]", check("a", "=", "b", "c", several=True)),
        ("a != []", check("a", "!=", several=True)),
        ("ret>=-1", check("ret", ">=", "-1")),
        ("ret<-1", check("ret", "<", "-1")),
        ("a contains -c", check("a", "contains", "-c")),
        ("file.name = list", check("file.name", "=", "list")),
        ("a = exists", check("a", "=", "exists")),
        ("file.directory=/", check("file.directory", "=", "/")),
        ("a = b # and c\n or d#e", Or((check("a", "=", "b"), Reference("d")))),
        ("a = b#c", check("a", "=", "b#c")),
        ("a = kworker[0]", check("a", "=", "kworker[0]")),
        ("a = mitre:T1059.004", check("a", "=", "mitre:T1059.004")),
        (r"a = 'C:\dir\n \'x\' \\'", check("a", "=", r"C:\dir\n 'x' " + "\\")),
        ("a = \"say 'hi'\"", check("a", "=", "say 'hi'")),
        ("android and a", And((Reference("android"), Reference("a")))),
        ("notes or origin", Or((Reference("notes"), Reference("origin")))),
    ],
)
def test_expressions(text: str, tree: Expression) -> None:
    assert parse(Source(text)) == tree


@pytest.mark.parametrize("prefix", ["- sfql:", "-sfql :", "\n- sfql: >\n ", "- sfql: >- "])
def test_the_prefix_of_a_query_file_is_left_out(prefix: str) -> None:
    assert parse(without_prefix(Source(prefix + " type = FF"))) == FF


def test_errors_behind_the_prefix_name_the_place() -> None:
    text = "- sfql: type ="
    with pytest.raises(FilterError) as caught:
        parse(without_prefix(Source(text)))
    assert caught.value.lines()[1:] == [text, f"{' ' * len(text)}^"]


@pytest.mark.parametrize(
    ("text", "column", "cause"),
    [
        ("", 1, "nothing to filter by"),
        ("type =", 7, "a value expected"),
        ("type = FF garbage", 11, "'and' or 'or' expected"),
        ("type FF", 6, "unknown operator 'FF'"),
        ("a conatins b", 3, "unknown operator 'conatins' (contains?)"),
        ("a regex 'b+'", 3, "regex is not supported"),
        ("a glob b*", 3, "glob is not supported: use contains"),
        ("and a", 1, "a field, a macro, 'not' or '(' expected before 'and'"),
        ("a and", 6, "a field, a macro, 'not' or '(' expected"),
        ("'a' = b", 1, "a field expected; a quoted text may only stand on the right"),
        ("a = = b", 5, "a value expected"),
        ("a in b", 6, "a list in parentheses expected"),
        ("a in (b", 8, "',' or ')' expected"),
        ("a = [b", 7, "',' or ']' expected"),
        ("a = [b c]", 8, "',' or ']' expected"),
        ("a = [[b]]", 6, "a value expected or ']'"),
        ("a contains [b]", 3, "contains takes one value; only = and != take a list in brackets"),
        ("a = b=c", 6, "a value with '=' in it needs quotes"),
        ("a = 'b", 5, "a quoted value without its end"),
        ("(a", 3, "')' expected"),
        ("a # and b\n)", 11, "'and' or 'or' expected"),
    ],
)
def test_errors_name_the_place(text: str, column: int, cause: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(Source(text))
    assert cause in caught.value.cause
    assert caught.value.column == column


def test_items() -> None:
    text = "[mitre:T1059.004, 'a, b', /etc/passwd, g++, x=(y)] # comment"
    assert [word.text for word in parse_items(Source(text))] == [
        "mitre:T1059.004", "a, b", "/etc/passwd", "g++", "x=(y)",
    ]  # fmt: skip
    assert parse_items(Source("[]")) == ()


def test_depth_length_and_lists_are_limited() -> None:
    for text in ("not " * MAX_FILTER_DEPTH + "a", "(" * 30_000, "not " * 16_000):
        with pytest.raises(FilterError):
            parse(Source(text))
    with pytest.raises(FilterError, match="more than 65536 characters"):
        parse(Source("a" * (MAX_FILTER_CHARS + 1)))
    for opening, closing in (("a in (", ")"), ("a = [", "]")):
        with pytest.raises(FilterError, match="a list of more than 4096 values"):
            parse(Source(opening + ",".join(["b"] * (MAX_FILTER_LIST + 1)) + closing))


@given(st.text("ab.=<>!()[]\"'\\, 1notandrixs#\n-", max_size=40))
@example("a in [")
@example("exists")
@example("- sfql:")
def test_any_text_parses_or_is_refused_with_a_place(text: str) -> None:
    found = result(text)
    if isinstance(found, FilterError):
        assert 1 <= found.column <= len(text) + 1
        assert len(found.lines()) == 3
