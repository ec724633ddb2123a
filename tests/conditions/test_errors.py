"""The error shows the place."""

from sftools.conditions.errors import FilterError, Source
from sftools.errors import EXIT_USAGE


def test_one_line_and_a_picture() -> None:
    error = FilterError("unknown field proc.nme", "proc.nme = a", 1)
    assert str(error) == "filter: unknown field proc.nme at column 1: proc.nme = a"
    assert error.lines()[1:] == ["proc.nme = a", "^"]
    assert error.exit_code == EXIT_USAGE


def test_of_long_texts_the_part_around_the_place_is_shown() -> None:
    text = "a.x = 1 or\n" * 20 + "WRONG" + "\tor b.x = 2" * 20
    error = FilterError("no", text, text.index("WRONG") + 1)
    _, shown, caret = error.lines()
    assert shown.startswith("...")
    assert shown.endswith("...")
    assert shown[caret.index("^") :].startswith("WRONG")
    assert "\n" not in str(error)
    assert len(str(error)) < 120


def test_in_a_file_the_line_is_named_and_shown() -> None:
    text = "- macro: a\n  condition: x.y = 1\n- list: b\n"
    error = Source(text, "d.yaml", text.index("x.y"), text.index("\n-")).error("unknown field x.y", 0)
    assert str(error) == "d.yaml:2: unknown field x.y: condition: x.y = 1"
    assert error.lines()[1:] == ["  condition: x.y = 1", "             ^"]
    assert error.line == 2
