"""Text to syntax tree."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftools.conditions.errors import FilterError
from sftools.conditions.operators import Takes
from sftools.conditions.syntax import And, Check, Expression, Not, Or, Word
from sftools.filter.operators import BY_NAME, OPERATORS
from sftools.filter.parser import BARE, parse
from sftools.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_LIST


def check(name: str, operator: str = "=", *values: str, argument: str | None = None) -> Check:
    return Check(name, None if argument is None else Word(argument), operator, tuple(map(Word, values)))


A, B, C, D = (check(f"{letter}.x", "=", "1") for letter in "abcd")


def result(text: str) -> Expression | FilterError:
    """The tree, or the error."""
    try:
        return parse(text)
    except FilterError as error:
        return error


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a.x=1", A),
        ("  (a.x = 1)\n", A),
        ("((((a.x=1))))", A),
        ("a.x=1 or b.x=1 and c.x=1 or d.x=1", Or((A, And((B, C)), D))),
        ("(a.x=1 or b.x=1) and c.x=1", And((Or((A, B)), C))),
        ("(a.x=1)or(b.x=1)and(c.x=1)", Or((A, And((B, C))))),
        ("a.x=1 and b.x=1 and c.x=1", And((A, B, C))),
        ("a.x=1 and (b.x=1 and c.x=1)", And((A, And((B, C))))),
        ("not a.x=1 and b.x=1", And((Not(A), B))),
        ("not (a.x=1 and b.x=1)", Not(And((A, B)))),
        ("not(a.x=1)or b.x=1", Or((Not(A), B))),
        ("not not a.x=1", Not(Not(A))),
        ("NOT a.x=1 OR b.x=1 AND c.x=1", Or((Not(A), And((B, C))))),
        ("a.x=1\r\n\tand\nb.x=1", And((A, B))),
    ],
)
def test_precedence(text: str, tree: Expression) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("fd.name=/usr/bin/*", check("fd.name", "=", "/usr/bin/*")),
        ("fd.net = 10.0.0.0/8", check("fd.net", "=", "10.0.0.0/8")),
        ("fd.name = a-b.c:80->[::1]:9", check("fd.name", "=", "a-b.c:80->[::1]:9")),
        ("evt.dir=<", check("evt.dir", "=", "<")),
        ("evt.dir = > and a.x=1", And((check("evt.dir", "=", ">"), A))),
        ("evt.rawres<-0x1f", check("evt.rawres", "<", "-0x1f")),
        ("proc.name = and and a.x=1", And((check("proc.name", "=", "and"), A))),
        ("proc.name = exists", check("proc.name", "=", "exists")),
        ("proc.name in (in, or,not)", check("proc.name", "in", "in", "or", "not")),
        ("proc.name in(a)", check("proc.name", "in", "a")),
        ("proc.name in ()", check("proc.name", "in")),
        ("proc.name contains(a)", None),
        ("proc.aname[2]=x", check("proc.aname", "=", "x", argument="2")),
        ("proc.env[ HOME]=x", None),
        ("proc.env['A \\'B]']=x", check("proc.env", "=", "x", argument="A 'B]")),
        ("fd.name exists", check("fd.name", "exists")),
        ("fd.name exists and a.x=1", And((check("fd.name", "exists"), A))),
        ("proc.name='a b'", check("proc.name", "=", "a b")),
        ('proc.name contains"a"', check("proc.name", "contains", "a")),
        ('proc.name=""', check("proc.name", "=", "")),
        ("proc.name = 'say \"hi\"'", check("proc.name", "=", 'say "hi"')),
        (r'proc.name = "\"\\\n\t\/\b\f\r"', check("proc.name", "=", '"\\\n\t/\b\f\r')),
        (r'proc.name = "ends in \\" and a.x=1', And((check("proc.name", "=", "ends in \\"), A))),
        ("proc.name = 'é\nλ'", check("proc.name", "=", "é\nλ")),
        ("proc.name in ('a,b', \"c)\")", check("proc.name", "in", "a,b", "c)")),
        ("proc.name != \\back", check("proc.name", "!=", "\\back")),
    ],
)
def test_values(text: str, tree: Expression | None) -> None:
    if tree is None:
        with pytest.raises(FilterError):
            parse(text)
    else:
        assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "column", "cause"),
    [
        ("", 1, "nothing to filter by"),
        (" \n", 1, "nothing to filter by"),
        ("a.x = 1 b.x = 2", 9, "'and' or 'or' expected"),
        ("a.x = 1)", 8, "'and' or 'or' expected"),
        ("(a.x = 1", 9, "')' expected"),
        ("a.x = 1 and", 12, "a field, 'not' or '(' expected"),
        ("a.x = 1 or or", 12, "a field, 'not' or '(' expected"),
        ("not", 4, "a field, 'not' or '(' expected"),
        ("()", 2, "a field, 'not' or '(' expected"),
        ("spawned_process and a.x=1", 1, "'spawned_process' is no field; macros and lists"),
        ("a.x=1 and tolower(b.x) = c", 11, "tolower(), toupper(), b64(), basename() and val() are not supported"),
        ("a.x", 4, "an operator expected"),
        ("a.x like b", 5, "unknown operator 'like'"),
        ("a.x conatins b", 5, "unknown operator 'conatins' (contains?)"),
        ("a.x regex 'a+'", 5, "regex is not supported"),
        ("a.x =", 6, "a value expected"),
        ("a.x = (b)", 7, "a value expected"),
        ("a.x == = b", 8, "a value expected"),
        ("a.x = 'b", 7, "a quoted value without its end"),
        ("a.x in ('b, c)", 9, "a quoted value without its end"),
        ("a.x in b", 8, "a list in parentheses expected"),
        ("a.x in (b c)", 11, "',' or ')' expected"),
        ("a.x in (b,)", 11, "a value expected"),
        ("a.x in (b", 10, "',' or ')' expected"),
        ("a.x[] = 1", 4, "an argument is text in brackets"),
        ("a.x[1 = 1", 4, "an argument is text in brackets"),
        ("a.x = '\\q'", 8, "unknown escape \\q"),
        ("a.x = '1' and b.x = '2\\x41'", 23, "unknown escape \\x"),
    ],
)
def test_errors_name_the_place(text: str, column: int, cause: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert cause in caught.value.cause
    assert caught.value.column == column
    assert caught.value.text == text
    assert "\n" not in str(caught.value)


def deepest(operator: str) -> str:
    return operator * (MAX_FILTER_DEPTH - 1) + "a.x=1"


def test_depth_is_limited() -> None:
    assert parse(deepest("not ")).depth == MAX_FILTER_DEPTH
    with pytest.raises(FilterError, match="nested more than 100 deep"):
        parse("not " + deepest("not "))
    text = "a.x=1"
    for _ in range(MAX_FILTER_DEPTH // 2):
        text = f"(({text}) and a.x=1) or a.x=1"
    with pytest.raises(FilterError, match="nested more than 100 deep"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["(" * 30_000, "(" * 30_000 + "a.x=1" + ")" * 30_000, "not " * 16_000, "a.x=1 or " * 7000]
)
def test_deep_and_long_filters_exhaust_no_stack(text: str) -> None:
    found = result(text)
    assert isinstance(found, FilterError | Or) or found == A


def test_many_operands_are_no_depth() -> None:
    tree = parse(" or ".join(["a.x=1"] * 5000))
    assert isinstance(tree, Or)
    assert len(tree.operands) == 5000
    assert tree.depth == 2


def test_length_and_lists_are_limited() -> None:
    with pytest.raises(FilterError, match="more than 65536 characters"):
        parse("a.x=" + "b" * MAX_FILTER_CHARS)
    full = f"a.x in ({','.join(['b'] * MAX_FILTER_LIST)}"
    assert parse(full + ")")
    with pytest.raises(FilterError, match="a list of more than 4096 values") as caught:
        parse(full + ",c)")
    assert caught.value.text[caught.value.column - 1] == "c"


names = st.from_regex(r"[a-z][a-z0-9_]{0,5}(\.[a-z][a-z0-9_]{0,5}){1,2}", fullmatch=True)
words = st.builds(
    Word, st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["and", "in", "<", "-1", "[a]"])
)


@st.composite
def checks(draw: st.DrawFn) -> Check:
    operator = draw(st.sampled_from(OPERATORS))
    counts = {Takes.NOTHING: (0, 0), Takes.VALUE: (1, 1), Takes.LIST: (0, 4)}[operator.takes]
    values = draw(st.lists(words, min_size=counts[0], max_size=counts[1]))
    return Check(draw(names), draw(st.none() | words), operator.name, tuple(values))


def grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.one_of(st.builds(Not, inner), st.builds(And, several), st.builds(Or, several))


trees: st.SearchStrategy[Expression] = st.recursive(checks(), grow, max_leaves=12)


ESCAPES = {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": "\\\\", '"': r"\""}


def to_text(tree: Expression) -> str:
    """A filter that parses to that tree."""
    if isinstance(tree, Check):
        return check_text(tree)
    if isinstance(tree, Not):
        return "not " + operand_text(tree.operand)
    word = " and " if isinstance(tree, And) else " or "
    return word.join(operand_text(operand) for operand in tree.operands)


def operand_text(tree: Expression) -> str:
    text = to_text(tree)
    return text if isinstance(tree, Check | Not) else f"({text})"


def check_text(check: Check) -> str:
    argument = "" if check.argument is None else f"[{quoted(check.argument.text)}]"
    takes = BY_NAME[check.operator].takes
    values = [word_text(value.text) for value in check.values]
    if takes is Takes.NOTHING:
        return f"{check.field}{argument} {check.operator}"
    shown = values[0] if takes is Takes.VALUE else f"({', '.join(values)})"
    return f"{check.field}{argument} {check.operator} {shown}"


def word_text(text: str) -> str:
    return text if re.fullmatch(BARE, text) else quoted(text)


def quoted(text: str) -> str:
    return '"' + "".join(ESCAPES.get(char, char) for char in text) + '"'


@given(trees)
def test_a_tree_written_out_parses_to_itself(tree: Expression) -> None:
    assert parse(to_text(tree)) == tree


@given(st.text("ab.x=<>!()[]\"'\\, 1notandrin", max_size=40))
@example("a.x[")
@example("a.x in")
def test_any_text_parses_or_is_refused_with_a_place(text: str) -> None:
    found = result(text)
    if isinstance(found, FilterError):
        assert 1 <= found.column <= len(text) + 1
        assert len(found.lines()) == 3
