"""Paths are resolved by their text alone."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.engine.paths_cy import join, normal
from sftools.limits import MAX_PATH_BYTES

TOO_LONG = b"/DIR_TOO_LONG/FILENAME_TOO_LONG"
PART = st.sampled_from([b"", b".", b"..", b"...", b"a", b"b.c", b".d", b"e..", b"\xff", b"\0", b" "]) | st.binary(
    max_size=4
)
PATH = st.builds(bytes.__add__, st.sampled_from([b"", b"/", b"//", b"///"]), st.lists(PART, max_size=8).map(b"/".join))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a//b", b"/a/b"),
        (b"//a", b"/a"),
        (b"/a/b/", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/..", b"/"),
        (b"/../../a", b"/a"),
        (b"/a/..", b"/"),
        (b"/...", b"/..."),
        (b"/.a/..b", b"/.a/..b"),
        (b"a/b", b"a/b"),
        (b"../a", b"../a"),
        (b"a/../..", b".."),
        (b"", b""),
        (b".", b""),
        (b"a/..", b""),
        (b"/\xff\xfe/../\x80", b"/\x80"),
    ],
)
def test_normal(path: bytes, expected: bytes) -> None:
    assert normal(path) == expected


@given(PATH)
def test_as_the_standard_library_does_it(path: bytes) -> None:
    """Except that nothing stays nothing ("." there) and two slashes at the beginning are one."""
    expected = posixpath.normpath(path)
    if expected.startswith(b"//"):
        expected = expected[1:]
    assert normal(path) == (b"" if expected == b"." else expected)


@given(PATH)
def test_a_normal_path_stays_as_it_is(path: bytes) -> None:
    assert normal(normal(path)) == normal(path)


@given(PATH, PATH)
def test_join_as_the_standard_library_does_it(directory: bytes, name: bytes) -> None:
    assert join(directory, name) == normal(posixpath.join(directory, name))


@given(PATH.map(lambda path: b"/" + path), PATH)
def test_nothing_leads_out_of_the_root(directory: bytes, name: bytes) -> None:
    path = join(directory, name)
    assert path.startswith(b"/")
    assert b".." not in path.split(b"/")


@pytest.mark.parametrize(
    ("directory", "name", "expected"),
    [
        (b"/srv", b"a", b"/srv/a"),
        (b"/srv/", b"a", b"/srv/a"),
        (b"/srv", b"/etc/passwd", b"/etc/passwd"),
        (b"/srv", b"../etc", b"/etc"),
        (b"/srv", b"", b"/srv"),
        (b"/srv/", b"", b"/srv"),
        (b"", b"a", b"a"),
        (b"", b"", b""),
        (b"/", b"a", b"/a"),
    ],
)
def test_join(directory: bytes, name: bytes, expected: bytes) -> None:
    assert join(directory, name) == expected


def test_a_path_of_many_components_is_no_problem() -> None:
    path = b"/a" * (MAX_PATH_BYTES // 2)
    assert normal(path) == path
    assert normal(b"/.." * 5000) == b"/"


@pytest.mark.parametrize("path", [b"/" + b"a" * MAX_PATH_BYTES, b"/a" * MAX_PATH_BYTES, b"a/../" * MAX_PATH_BYTES])
def test_a_path_that_is_too_long_has_libsinsps_name(path: bytes) -> None:
    assert normal(path) == TOO_LONG
    assert join(b"/srv", path.lstrip(b"/")) == TOO_LONG


def test_a_joined_path_does_not_grow_beyond_the_limit() -> None:
    """A working directory that every relative chdir makes longer."""
    path = b"/"
    for _ in range(200):
        path = join(path, b"x" * 1000)
        assert len(path) <= MAX_PATH_BYTES + 2
