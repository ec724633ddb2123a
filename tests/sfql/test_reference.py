"""The documentation is the tables'."""

from pathlib import Path

from sftools.fields import ALIASES, FIELDS
from sftools.sfql import Definitions, compile_query, sfql_markdown
from sftools.sfql.operators import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "sfql.md"


def examples() -> list[str]:
    return [line[4:] for line in sfql_markdown().splitlines() if line.startswith("    ")]


def test_the_page_is_up_to_date() -> None:
    command = "python -c 'import sftools.sfql as s; print(s.sfql_markdown(), end=\"\")' > docs/sfql.md"
    assert PAGE.read_text() == sfql_markdown(), f"run: {command}"


def test_every_field_alias_and_operator_is_there() -> None:
    page = sfql_markdown()
    for name in [*FIELDS, *ALIASES, *(operator.name for operator in OPERATORS)]:
        assert f"| `{name}` |" in page


def test_the_examples_of_the_page_are_right() -> None:
    lines = examples()
    begin = next(number for number, line in enumerate(lines) if line.startswith("- "))
    assert begin == 6
    for query in lines[:begin]:
        compile_query(query)
    definitions = Definitions()
    definitions.read("\n".join(lines[begin:]))
    assert list(definitions.lists) == ["shells"]
    assert [rule.name for rule in definitions.rules] == ["shell in a container"]
    assert len(definitions.drops) == 1
