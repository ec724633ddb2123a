"""Files of /proc, stat without waiting, interfaces and users of this host."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftools.live import host
from sftools.scap.writer import ip4


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("with_statx", [True, False])
def test_stat_is_os_stat(tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch, with_statx: bool) -> None:
    if not with_statx:
        monkeypatch.setattr(host, "_statx", None)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.chmod(tmp_path / "file", 0o640)
    real = os.stat(tmp_path / "file")
    expected = host.Stat(real.st_mode, real.st_uid, real.st_gid, real.st_ino, real.st_ctime_ns, real.st_mtime_ns)
    assert host.stat(b"file", directory) == expected
    assert host.stat(b"link", directory) == expected
    assert host.stat(b"missing", directory) is None


def test_a_time_before_1970(tmp_path: Path, directory: int) -> None:
    (tmp_path / "old").write_bytes(b"")
    os.utime(tmp_path / "old", ns=(-5_000_000_001, -5_000_000_001))
    found = host.stat(b"old", directory)
    assert found is not None
    assert found.mtime == os.stat(tmp_path / "old").st_mtime_ns


def test_files_are_read_up_to_a_limit(tmp_path: Path, directory: int) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    assert host.read_file("file", directory, 4) == b"0123"
    assert host.read_file("file", directory, 4, table=True) == b"0123"
    assert host.read_file("file", directory, table=True) == b"0123456789"
    assert host.read_or_empty("missing", directory) == b""


def test_a_fifo_is_empty(tmp_path: Path, directory: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert host.read_or_empty("fifo", directory) == b""


@pytest.mark.parametrize(
    ("text", "expected"), [(b"42", 42), (b" 42\n", 42), (b"", 0), (b"x", 0), ([], 0), ([b"7", b"8"], 7), (b"257", 1)]
)
def test_numbers(text: bytes | list[bytes], expected: int) -> None:
    assert host.number(text, 8) == expected


def test_interfaces_are_those_of_the_host() -> None:
    found = host.interfaces()
    names = {name.encode() for _, name in socket.if_nameindex()}
    assert {entry["name"] for entry in found} <= names
    for entry in found:
        if entry["name"] == b"lo" and entry["type"] == 1:
            assert (entry["addr"], entry["mask"]) == (ip4("127.0.0.1"), ip4("255.0.0.0"))
    assert [entry["type"] for entry in found] == sorted(int(entry["type"]) for entry in found)


def test_users_are_those_of_the_host() -> None:
    found = host.users(None)
    assert {entry["uid"] for entry in found if "uid" in entry} == {user.pw_uid for user in pwd.getpwall()}
    assert {entry["gid"] for entry in found if "uid" not in entry} == {group.gr_gid for group in grp.getgrall()}


def test_names_are_cut_to_what_readers_take(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(b"%s:x:1:2::/:/bin/sh\n" % (b"n" * 1000))
    (entry,) = host.users(tmp_path)
    assert entry["name"] == b"n" * 255
