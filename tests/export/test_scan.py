"""Which files are finished, in which order, by the name, by events, by time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sftools.export.names import KeyRule
from sftools.export.scan import CONT_UPDATE, CONT_UPDATE_RECUR, MOVE_DEL, Scanner
from sftools.limits import MAX_EXPORT_DEPTH


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What has been logged; also after another test has run the command, which sends it elsewhere."""
    monkeypatch.setattr(logging.getLogger("sf-exporter"), "propagate", True)
    caplog.set_level(logging.DEBUG, "sf-exporter")
    return lambda: sorted(record.getMessage() for record in caplog.records)


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


class Counted:
    """How often a scan asks the file system: entries read, files looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries = self.looked = 0
        stat, scandir = os.stat, os.scandir

        def counted_stat(path: Any, **more: Any) -> os.stat_result:
            self.looked += 1
            return stat(path, **more)

        @contextlib.contextmanager
        def counted_scandir(path: int) -> Iterator[Iterator[os.DirEntry[str]]]:
            with scandir(path) as entries:
                yield self._each(entries)

        monkeypatch.setattr("os.stat", counted_stat)
        monkeypatch.setattr("os.scandir", counted_scandir)

    def _each(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            self.entries += 1
            yield entry

    def take(self) -> tuple[int, int]:
        taken, self.entries, self.looked = (self.entries, self.looked), 0, 0
        return taken


def test_a_hundred_thousand_files(tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All found in one scan that looks at the newest only; those that are done cost later scans nothing, nor memory."""
    names = [f"trace.{1714557600 + n}" for n in range(100_000)]
    for name in names:
        os.mknod(name, dir_fd=root)
    scanner = Scanner(MOVE_DEL, 60)
    counted = Counted(monkeypatch)
    assert [found.relative for found in scanner.scan(root)] == names[:-1]
    assert counted.take() == (100_000, 1)
    for name in names[:99_000]:
        os.unlink(name, dir_fd=root)
    for _ in range(3):
        assert len(scanner.scan(root)) == 999
        assert counted.take() == (1000, 1)
    held = (scanner._observed, scanner._closed, scanner._copied, scanner._uncertain, scanner._newest, scanner._events)
    assert [len(each) for each in held] == [1, 0, 0, 0, 1, 0]
    for name in names[99_000:]:
        os.unlink(name, dir_fd=root)


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


ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago")
# Days on which clocks in the north are set, and others: 00:00 UTC.
DAYS = (1710028800, 1711843200, 1729987200, 1730592000, 1709164800, 1735603200)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", DAYS)
def test_a_day_ends_at_the_same_time_everywhere(
    zone: str, day: int, tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """01:00 UTC of the next day, as the day in the key is UTC's: neither zones nor summer time count."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        wall = Clock()
        scanner = Scanner(CONT_UPDATE_RECUR, 60, wall=wall)
        write(tmp_path, "first", "last")
        os.utime(tmp_path / "first", (day, day))
        os.utime(tmp_path / "last", (day + 86_399, day + 86_399))
        next_one = day + 86_400 + 3600
        for now, expected in ((next_one - 1, []), (next_one, ["first", "last"])):
            wall.now = now
            assert finished(scanner, root) == expected
        key = KeyRule().key(str(day + 86_399))
        assert key.startswith(f"{datetime.fromtimestamp(day, UTC):%Y/%m/%d}/")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_day_is_that_of_the_last_change(tmp_path: Path, root: int) -> None:
    """Or of the name, where that is later."""
    wall = Clock()
    scanner = Scanner(CONT_UPDATE_RECUR, 60, wall=wall)
    day = DAYS[0]
    write(tmp_path, str(day), str(day + 86_400))
    for name, changed in ((str(day), day + 2 * 86_400), (str(day + 86_400), day)):
        os.utime(tmp_path / name, (changed, changed))
    wall.now = day + 2 * 86_400 + 3600
    assert finished(scanner, root) == [str(day + 86_400)]
    wall.now += 86_400
    assert len(finished(scanner, root)) == 2


def test_a_clock_that_is_set(tmp_path: Path, root: int) -> None:
    """Set forward, what is open still has to settle by the other clock; set back, days last longer."""
    wall, clock = Clock(), Clock()
    scanner = Scanner(CONT_UPDATE_RECUR, 60, wall=wall, clock=clock)
    write(tmp_path, "x")
    os.utime(tmp_path / "x", (DAYS[0], DAYS[0]))
    wall.now = DAYS[0] + 10
    assert finished(scanner, root) == []
    scanner.uncertain("x")  # as where the kernel does not tell whether it is open
    wall.now += 10 * 86_400
    assert finished(scanner, root) == []
    clock.now += 60
    assert finished(scanner, root) == ["x"]
    wall.now -= 10 * 86_400
    assert finished(scanner, root) == []


def test_once_where_the_kernel_does_not_tell_of_writers(tmp_path: Path, root: int) -> None:
    """There, what is finished by its name has to be long unchanged, too, and no later scan can see that."""
    wall = Clock()
    wall.now = DAYS[0]
    names = ["1714557600", "1714557601", "1714557602"]
    write(tmp_path, *names)
    for name, changed in zip(names, (-60, -59, 0), strict=True):
        os.utime(tmp_path / name, (DAYS[0] + changed, DAYS[0] + changed))
    found = Scanner(MOVE_DEL, 60, once=True, wall=wall).scan(root)
    assert [(each.relative, each.settled) for each in found] == [("1714557600", True), ("1714557601", False)]
    assert all(each.settled for each in Scanner(MOVE_DEL, 0, once=True, wall=wall).scan(root))


def test_once_with_a_clock_that_is_behind(tmp_path: Path, root: int, said: Callable[[], list[str]]) -> None:
    """A file from the future is told of, and left to a newer one, or to --settle 0."""
    wall = Clock()
    wall.now = DAYS[0]
    write(tmp_path, "now", "old", "future")
    for name, changed in (("now", 0), ("old", -61), ("future", 7200)):
        os.utime(tmp_path / name, (DAYS[0] + changed, DAYS[0] + changed))
    scanner = Scanner(MOVE_DEL, 60, once=True, wall=wall)
    for _ in range(2):
        assert finished(scanner, root) == ["old"]
    assert [text.partition(":")[0] for text in said()] == ["future"]
    assert finished(Scanner(MOVE_DEL, 0, once=True, wall=wall), root) == ["old", "now", "future"]


def test_directories_that_cannot_be_read(
    tmp_path: Path, root: int, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told of once, and the others go on; root reads all, so that it is an open that is refused here."""
    deep = "/".join("d" * (MAX_EXPORT_DEPTH + 1))
    write(tmp_path, "a/x", "closed/x", "z/x", f"{deep}/x")
    opened = os.open

    def refuse(path: str, *more: Any, **named: Any) -> int:
        if path == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *more, **named)

    monkeypatch.setattr("os.open", refuse)
    scanner = Scanner(CONT_UPDATE_RECUR, 60)
    for _ in range(2):
        assert [found.relative for found in scanner.scan(root)] == ["a/x", "z/x"]
    too_deep = f"{deep}: lies below {MAX_EXPORT_DEPTH} directories: it is left alone"
    assert said() == ["closed: cannot be read: Permission denied", too_deep]


def test_memory_is_bounded_by_the_directory(tmp_path: Path, root: int) -> None:
    scanner = Scanner(MOVE_DEL, 60)
    write(tmp_path, *(f"x{n}" for n in range(10)))
    scanner.scan(root)
    for path in tmp_path.iterdir():
        path.unlink()
    scanner.scan(root)
    assert not scanner._observed
