"""Wildcards and path prefixes."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.filter.globs import GlobError, glob, prefixes


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (b"/usr/bin/bash", [b"/usr/bin/bash"], [b"/usr/bin/bas", b"/usr/bin/bash "]),
        (b"/usr/*", [b"/usr/", b"/usr/bin/bash"], [b"/usr", b"x/usr/"]),
        (b"*.so.?", [b"libc.so.6", b".so.1"], [b"libc.so.", b"libc.so.12"]),
        (b"a*b*c", [b"abc", b"a-b-b-c-c"], [b"acb", b"abcd"]),
        (b"**", [b"", b"\n\xff"], []),
        (b"[a-cx]1", [b"a1", b"c1", b"x1"], [b"d1", b"-1"]),
        (b"[!a-c]", [b"d", b"\n"], [b"a", b""]),
        (b"[^a]", [b"b"], [b"a"]),
        (b"[]a]", [b"]", b"a"], [b"[]a]"]),
        (b"[[:digit:]_]", [b"7", b"_"], [b"a", b":"]),
        (b"[", [b"["], [b""]),
        (b"[a", [b"[a"], [b"a"]),
        (b"a\\*", [b"a*"], [b"ab", b"a\\*"]),
        (b"[\\]]", [b"]"], [b"\\"]),
        (b"a.c", [b"a.c"], [b"abc"]),
        (b"?", [b"\xff"], [b"\xc3\xa9", b""]),
    ],
)
def test_glob(pattern: bytes, matching: list[bytes], other: list[bytes]) -> None:
    assert [text for text in matching if not glob(pattern)(text)] == []
    assert [text for text in other if glob(pattern)(text)] == []


def test_glob_ignoring_case() -> None:
    assert glob(b"*.PDF", ignore_case=True)(b"/a/B.pdf")
    assert glob(b"abc", ignore_case=True)(b"ABC")
    assert not glob(b"*.PDF")(b"/a/B.pdf")


@pytest.mark.parametrize("pattern", [b"+(a|b)", b"x!(y)", b"[z-a]", b"[[:vowel:]]"])
def test_patterns_not_understood_are_refused(pattern: bytes) -> None:
    with pytest.raises(GlobError):
        glob(pattern)


@given(st.text("ab*?[!]-", max_size=10), st.text("ab-", max_size=10))
def test_glob_agrees_with_fnmatch(pattern: str, text: str) -> None:
    try:
        matches = glob(pattern.encode())
    except GlobError:
        return
    try:
        expected = fnmatch.fnmatchcase(text, pattern)
    except re.error:
        return
    assert matches(text.encode()) == expected


@pytest.mark.parametrize(
    "pattern", [b"a*" * 30 + b"b", b"*a" * 2000 + b"b", b"*?" * 500 + b"b", b"*[a-z]" * 500 + b"!"]
)
def test_many_stars_take_no_exponential_time(pattern: bytes) -> None:
    # With backtracking from star to star these would not end within the age of the universe.
    assert not glob(pattern)(b"a" * 4000)


def test_prefixes() -> None:
    match = prefixes([b"/var/run", b"/etc", b"/usr/lib*/x", b"home/"])
    for path in (b"/var/run", b"/var/run/docker", b"/etc//passwd", b"/usr/lib64/x/y", b"/home/a", b"etc"):
        assert match(path), path
    for path in (b"/var", b"/var/running", b"/", b"", b"/usr/lib64", b"/usr/lib/a/x", b"/x/etc"):
        assert not match(path), path


def test_the_root_is_a_prefix_of_all() -> None:
    assert prefixes([b"/"])(b"/any/thing")
    assert prefixes([b"/"])(b"")
    assert not prefixes([])(b"/")


@given(st.lists(st.text("ab/", max_size=6), max_size=5), st.text("ab/", max_size=8))
def test_prefixes_agree_with_the_definition(paths: list[str], path: str) -> None:
    def components(text: str) -> list[str]:
        return [part for part in text.split("/") if part]

    expected = any(components(path)[: len(components(prefix))] == components(prefix) for prefix in paths)
    assert prefixes([prefix.encode() for prefix in paths])(path.encode()) == expected
