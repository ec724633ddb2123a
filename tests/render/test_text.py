"""sftools.render.text: what a terminal may get to see, and how much room it takes there."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.render.text import columns_of, printable, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain /a b", "plain /a b"),
        ("\u4f60\u597d", "\u4f60\u597d"),
        ("a\x1b[2J\n\t\x00\x7f", r"a\x1b[2J\x0a\x09\x00\x7f"),
        ("\x9b\xa0", r"\u009b\u00a0"),
        ("\u202egpj.exe\u2028\u200b", r"\u202egpj.exe\u2028\u200b"),
        ("\ud800\U000e0001\ue000", r"\ud800\U000e0001\ue000"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_byte_that_was_no_utf8_is_shown_as_that_byte() -> None:
    assert printable("caf\uefe9") == r"caf\xe9", "in a trace"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\xe9", "in a name"


@given(st.text())
def test_all_of_it_is_printable(text: str) -> None:
    assert printable(text).isprintable()


def test_columns() -> None:
    assert columns_of("abc") == 3
    assert columns_of("\u4f60\u597d!") == 5
    assert columns_of("e\u0301te\u0301") == 3, "combining accents"
    assert columns_of("\xe9t\xe9") == 3


def test_lines_end_behind_a_blank_or_a_slash() -> None:
    assert wrapped("short", 10) == ["short"]
    assert wrapped("-c python cos-write.py -p x", 12) == ["-c python ", "cos-write.py", " -p x"]
    assert wrapped("/usr/lib/x86_64-linux-gnu/libc.so", 14) == ["/usr/lib/", "x86_64-linux-g", "nu/libc.so"]


def test_words_longer_than_a_line_are_broken_and_escapes_are_not() -> None:
    assert wrapped("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert wrapped(r"12345678\x1b9\|0", 10) == ["12345678", r"\x1b9\|0"]
    assert wrapped("\u4f60" * 8, 11) == ["\u4f60" * 5, "\u4f60" * 3]


@given(st.text(st.sampled_from("ab/ ,;\\|\x1b\u4f60\u0301\U000e0001") | st.characters()), st.integers(2, 30))
def test_lines_are_not_too_wide_and_nothing_is_lost(text: str, width: int) -> None:
    shown = printable(text)
    lines = wrapped(shown, width)
    assert "".join(lines) == shown
    assert all(columns_of(line) <= width for line in lines)
