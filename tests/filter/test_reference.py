"""The documentation is the tables'."""

from pathlib import Path

from sftools.filter import compile_filter, filter_markdown, list_fields
from sftools.filter.fields import FIELDS
from sftools.filter.operators import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "filter.md"


def test_the_page_is_up_to_date() -> None:
    command = "python -c 'import sftools.filter as f; print(f.filter_markdown(), end=\"\")' > docs/filter.md"
    assert PAGE.read_text() == filter_markdown(), f"run: {command}"


def test_every_field_and_operator_is_there() -> None:
    page = filter_markdown()
    lines = list_fields().splitlines()
    assert len(lines) == len(FIELDS)
    for field, line in zip(FIELDS, lines, strict=True):
        assert line.startswith(field.name)
        assert f"`{field.name}" in page
    for operator in OPERATORS:
        assert f"| `{operator.name}` |" in page


def test_the_examples_of_the_page_are_filters() -> None:
    examples = [line for line in filter_markdown().splitlines() if line.startswith("    ")]
    assert len(examples) == 4
    for example in examples:
        compile_filter(example)


def test_names_are_unique() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    assert len({operator.name for operator in OPERATORS}) == len(OPERATORS)
