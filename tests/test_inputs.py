"""From names to inputs: directories, patterns, standard input, buckets; what is passed over and what is an error."""

from __future__ import annotations

import gzip
import io
import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.avro.container import MAGIC
from sftools.errors import InputError, SftoolsError, UsageError
from sftools.inputs import expand, find_traces, natural
from sftools.newfile import temporary_name
from sftools.source import open_stored
from sftools.store import s3
from sftools.store.s3 import S3Error, S3Object

TRACE = MAGIC + b"..."


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is empty."""
    monkeypatch.chdir(tmp_path)


def make(*names: str, data: bytes = TRACE) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def found(*names: str, recursive: bool = False) -> list[str]:
    return [each.name for each in find_traces(names, recursive=recursive)]


def refusals(*names: str, recursive: bool = False) -> dict[str, str]:
    """What open() says, of the inputs for which it says something."""
    out = {}
    for each in find_traces(names, recursive=recursive):
        try:
            each.open().close()
        except SftoolsError as error:
            out[each.name] = f"{type(error).__name__}: {error}"
    return out


# -- order


def test_names_are_ordered_by_their_numbers() -> None:
    names = ["b", "1700000000", "a10.sf", "a2.sf", "999", "a2b10", "a2b9", "trace.1700000000"]
    assert sorted(names, key=natural) == [
        "999", "1700000000", "a2.sf", "a2b9", "a2b10", "a10.sf", "b", "trace.1700000000",
    ]  # fmt: skip


@given(st.lists(st.text(st.sampled_from("ab019.٣/")), max_size=8), st.randoms())
def test_the_order_is_total(names: list[str], shuffler: random.Random) -> None:
    ordered = sorted(names, key=natural)
    shuffler.shuffle(names)
    assert [natural(name) for name in sorted(names, key=natural)] == [natural(name) for name in ordered]


def test_a_number_of_any_length() -> None:
    assert natural("9" * 10_000) > natural("9" * 9_999)


# -- directories


def test_a_directory_is_its_regular_files() -> None:
    make("d/2.sf", "d/10.sf", "d/any name", "d/.hidden", "d/sub/3.sf")
    os.mkfifo("d/fifo")
    os.symlink("10.sf", "d/link")
    os.symlink("nowhere", "d/dangling")
    assert found("d") == ["d/2.sf", "d/10.sf", "d/.hidden", "d/any name", "d/link"]
    assert not refusals("d")


def test_digits_of_the_directory_take_no_part() -> None:
    make("9/2", "9/10", "10/1")
    assert found("9", "10") == ["9/2", "9/10", "10/1"]


def test_recursive() -> None:
    make("d/2", "d/sub/1", "d/sub/deeper/1")
    assert found("d", recursive=True) == ["d/2", "d/sub/1", "d/sub/deeper/1"]


def test_recursive_ends_whatever_links_there_are() -> None:
    make("d/1", "d/sub/2", "other/3")
    for name, target in (("d/self", "."), ("d/sub/up", ".."), ("d/sub/abs", os.path.abspath("d")), ("d/o", "../other")):
        os.symlink(target, name)
    assert found("d", recursive=True) == ["d/1", "d/sub/2"]
    os.symlink("d", "named")
    assert found("named", recursive=True) == ["named/1", "named/sub/2"], "a link that is named is followed"


def test_recursive_in_the_depth(tmp_path: Path) -> None:
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    make("1")
    bottom = os.getcwd()
    os.chdir(tmp_path)
    assert found("d", recursive=True) == ["d/" * 1500 + "1"]
    os.chdir(bottom)
    os.unlink("1")
    for _ in range(1500):  # pytest's own removal goes down by recursion
        os.chdir("..")
        os.rmdir("d")


def test_what_is_not_complete_is_left_out() -> None:
    make("d/1.sf", temporary_name("d/2.sf"))
    assert found("d") == ["d/1.sf"]


def test_an_empty_directory_is_an_error() -> None:
    make("d/sub/1")
    assert refusals("d") == {"d": "InputError: d: has no file in it; --recursive looks into its directories too"}
    os.mkdir("empty")
    assert refusals("empty", "d", recursive=True) == {"empty": "InputError: empty: has no file in it"}


def test_a_directory_that_cannot_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    make("d/1", "d/locked/2", "e/3")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path in ("d/locked", "e"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = {name: f"InputError: {name}: cannot be listed: Permission denied" for name in ("d/locked", "e")}
    assert refusals("d", "e", recursive=True) == expected
    assert "d/1" in found("d", "e", recursive=True)


def test_what_is_no_trace_is_passed_over_in_a_directory_only() -> None:
    make("d/readme.txt", "d/empty", data=b"")
    make("d/zipped.txt", data=gzip.compress(b"text"))
    make("d/zipped", data=gzip.compress(TRACE))
    assert refusals("d") == {
        name: f"NotATrace: {name}: is no SysFlow trace (no Avro container file)"
        for name in ("d/empty", "d/readme.txt", "d/zipped.txt")
    }
    assert refusals("d/readme.txt", "d/z*") == {}, "what is named is judged by who reads it"


def test_what_is_damaged_is_not_passed_over() -> None:
    make("d/cut", data=gzip.compress(TRACE)[:10])
    assert refusals("d")["d/cut"].startswith("StreamDamage: d/cut at offset 0: the gzip data is cut")


# -- files, patterns, standard input


def test_names_keep_their_order() -> None:
    make("b", "a", "d/1")
    assert found("b", "d", "-", "a") == ["b", "d/1", "stdin", "a"]


def test_a_missing_file_is_its_own_error() -> None:
    make("a")
    assert found("none", "a") == ["none", "a"]
    assert refusals("none", "a") == {"none": "InputError: none: does not exist"}


def test_patterns() -> None:
    make("x1", "x10", "x2", "y[1]")
    os.mkdir("x3")
    assert found("x*") == ["x1", "x2", "x10"]
    assert found("y[1]") == ["y[1]"], "a file of that name goes before the pattern"
    assert refusals("z*") == {"z*": "InputError: z*: matches no file"}


def test_what_is_no_name() -> None:
    assert refusals("a\0b") == {"a\0b": "InputError: 'a\\x00b': is no file name: it contains a NUL byte"}
    assert refusals("") == {"": "InputError: : does not exist"}


def test_expand_leaves_the_rest_alone() -> None:
    make("a")
    assert expand("a", bool) is None
    assert expand("none", bool) is None
    assert expand("-", bool) is None
    with pytest.raises(InputError, match="matches no file"):
        expand("z*", bool)


# -- buckets


class Store:
    """Buckets without a server; tests/store has the real one."""

    def __init__(self, options: object) -> None:
        pass

    def list(self, bucket: str, prefix: str = "") -> list[S3Object]:
        if bucket != "b":
            raise S3Error(f"s3://{bucket}/", "there is no such bucket")
        keys = ("day/", "day/10.sf", "day/2.sf", "day/2.sf.gz", "day/" + temporary_name("3.sf"), "notes", "other/1")
        return [S3Object(bucket, key, 9) for key in keys if key.startswith(prefix)]

    def open(self, each: S3Object) -> object:
        return open_stored(io.BytesIO(b"text" if each.key == "notes" else TRACE), each.name, each.size)


@pytest.fixture
def _buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "S3Store", Store)


@pytest.mark.usefixtures("_buckets")
def test_buckets_and_prefixes() -> None:
    day = ["s3://b/day/2.sf", "s3://b/day/2.sf.gz", "s3://b/day/10.sf"]
    assert found("s3://b") == found("s3://b/") == [*day, "s3://b/notes", "s3://b/other/1"]
    assert found("s3://b/d") == found("s3://b/day/") == day
    assert found("s3://b/day/2.sf") == ["s3://b/day/2.sf"], "the object of that name, not what its name begins"
    assert [each.name for each in find_traces(["b/day", "s3://b/o"], buckets=True)] == [*day, "s3://b/other/1"]


@pytest.mark.usefixtures("_buckets")
def test_a_bucket_that_has_it_not() -> None:
    make("a")
    assert refusals("s3://none", "s3://b/night", "a") == {
        "s3://none": "S3Error: s3://none/: there is no such bucket",
        "s3://b/night": "InputError: s3://b/night: no object's key begins so",
    }
    assert refusals("s3://b") == {
        "s3://b/notes": "NotATrace: s3://b/notes: is no SysFlow trace (no Avro container file)"
    }
    assert not refusals("s3://b/notes")
    with pytest.raises(UsageError, match="no bucket"):
        found("s3://")


def test_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    make("a")
    assert found("s3://b", "a") == ["s3://b", "a"]
    assert "pip install 'sftools[s3]'" in refusals("s3://b", "a")["s3://b"]
