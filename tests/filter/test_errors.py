"""The error shows the place."""

from sftools.errors import EXIT_USAGE
from sftools.filter.errors import FilterError


def test_one_line_and_a_picture() -> None:
    error = FilterError("unknown field proc.nme", "proc.nme = a", 1)
    assert str(error) == "filter: unknown field proc.nme at column 1: proc.nme = a"
    assert error.picture() == "proc.nme = a\n^"
    assert error.exit_code == EXIT_USAGE


def test_of_long_texts_the_part_around_the_place_is_shown() -> None:
    text = "a.x = 1 or\n" * 20 + "WRONG" + "\tor b.x = 2" * 20
    error = FilterError("no", text, text.index("WRONG") + 1)
    shown, caret = error.picture().split("\n")
    assert shown.startswith("...")
    assert shown.endswith("...")
    assert shown[caret.index("^") :].startswith("WRONG")
    assert "\n" not in str(error)
    assert len(str(error)) < 120
