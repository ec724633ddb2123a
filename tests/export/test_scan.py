"""Which files are finished, in which order, by the name, by events, by time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftools.export.scan import CONT_UPDATE, CONT_UPDATE_RECUR, MOVE_DEL, Scanner


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def write(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(name.encode())


def finished(scanner: Scanner, root: int) -> list[str]:
    return [found.relative for found in scanner.scan(root) if found.final]


def test_a_newer_one_of_the_series(tmp_path: Path, root: int) -> None:
    write(tmp_path, "a.1714557602", "a.1714557601", "a.1714557600", "b.1714557500", "1714557999", "other")
    assert finished(Scanner(MOVE_DEL, 60), root) == ["a.1714557600", "a.1714557601"]


def test_names_decide_without_a_look(tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files wait, only the newest of a series is looked at; what is done and gone costs nothing."""
    looked: list[str] = []
    stat = os.stat
    monkeypatch.setattr("os.stat", lambda name, **more: looked.append(str(name)) or stat(name, **more))
    scanner = Scanner(MOVE_DEL, 60)
    write(tmp_path, *(f"{1714557600 + n}" for n in range(1000)))
    for _ in range(3):
        looked.clear()
        assert len(scanner.scan(root)) == 999
        assert looked == ["1714558599"]
    for n in range(999):
        (tmp_path / f"{1714557600 + n}").unlink()
    looked.clear()
    assert scanner.scan(root) == []
    assert looked == ["1714558599"]


def test_a_newer_one_that_was_exported_first(tmp_path: Path, root: int) -> None:
    """What finished once stays finished, also in the mode in which the newest is copied."""
    scanner = Scanner(CONT_UPDATE, 60)
    write(tmp_path, "1714557600", "1714557601")
    assert finished(scanner, root) == ["1714557600"]
    (tmp_path / "1714557601").unlink()
    assert finished(scanner, root) == ["1714557600"]
    (tmp_path / "1714557600").unlink()
    assert finished(scanner, root) == []
    assert not scanner._newest


def test_not_changed_for_long(tmp_path: Path, root: int) -> None:
    clock = Clock()
    scanner = Scanner(MOVE_DEL, 60, clock=clock)
    write(tmp_path, "x")
    assert finished(scanner, root) == []
    clock.now += 59
    assert finished(scanner, root) == []
    with (tmp_path / "x").open("ab") as file:
        file.write(b"more")
    clock.now += 59
    assert finished(scanner, root) == []
    clock.now += 60
    assert finished(scanner, root) == ["x"]


def test_the_wall_clock_does_not_finish_files(tmp_path: Path, root: int) -> None:
    wall = Clock()
    scanner = Scanner(MOVE_DEL, 60, wall=wall, clock=Clock())
    write(tmp_path, "x")
    for step in (10**9, -(10**9), 0):
        wall.now = 1e9 + step
        assert finished(scanner, root) == []


def test_closed_and_moved_in(tmp_path: Path, root: int) -> None:
    write(tmp_path, "x", "y", "z")
    scanner = Scanner(MOVE_DEL, 60)
    scanner.event("x", closed=True)
    with (tmp_path / "y").open("ab"):
        scanner.event("y", closed=True)
        assert finished(scanner, root) == ["x"]
    assert finished(scanner, root) == ["x"]  # it stays finished until it changes
    with (tmp_path / "x").open("ab") as file:
        file.write(b"more")
    assert finished(scanner, root) == []


def test_what_is_never_touched(tmp_path: Path, root: int) -> None:
    write(tmp_path, ".trace.123.0123abcd.tmp", ".sf-exporter/journal", "sub/x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    assert finished(Scanner(MOVE_DEL, 0, once=True), root) == []


def test_copies_of_the_newest(tmp_path: Path, root: int) -> None:
    scanner = Scanner(CONT_UPDATE, 60)
    write(tmp_path, "1714557600", "1714557601")
    assert [(found.relative, found.final) for found in scanner.scan(root)] == [
        ("1714557600", True),
        ("1714557601", False),
    ]
    newest = scanner.scan(root)[1]
    assert newest.identity is not None
    scanner.copied("1714557601", newest.identity)
    assert [found.relative for found in scanner.scan(root)] == ["1714557600"]


def test_a_tree_until_its_day_is_over(tmp_path: Path, root: int) -> None:
    wall = Clock()
    scanner = Scanner(CONT_UPDATE_RECUR, 60, wall=wall)
    write(tmp_path, "a/1714557600", "b/c/x")
    for path in ("a/1714557600", "b/c/x"):
        os.utime(tmp_path / path, (1714557600, 1714557600))
    (tmp_path / "up").symlink_to("..")
    next_day = 1714608000  # 2024-05-02T00:00:00Z
    wall.now = next_day + 3599
    assert [(found.relative, found.final) for found in scanner.scan(root)] == [
        ("a/1714557600", False),
        ("b/c/x", False),
    ]
    wall.now = next_day + 3600
    assert finished(scanner, root) == ["a/1714557600", "b/c/x"]


def test_memory_is_bounded_by_the_directory(tmp_path: Path, root: int) -> None:
    scanner = Scanner(MOVE_DEL, 60)
    write(tmp_path, *(f"x{n}" for n in range(10)))
    scanner.scan(root)
    for path in tmp_path.iterdir():
        path.unlink()
    scanner.scan(root)
    assert not scanner._observed
