"""What a lane does with files that fail: they are tried again, hold up no others, and are dropped only when told so."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sftools.export.lane import Lane
from sftools.export.scan import MOVE_DEL
from sftools.export.settings import LaneSettings, Settings
from sftools.store.directory import DirectoryStore
from sftools.store.objects import PIECE_BYTES, Condition, Part, StoreError, Unavailable

EPOCH = 1_714_557_600


class Refusing(DirectoryStore):
    """Takes no hard links, and refuses what `refuse` raises for."""

    refuse: Callable[[str], None]

    def adopt(self, fd: int, path: str, directory: int, key: str) -> bool:
        return False

    def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
        self.refuse(key)
        super().put(key, part, meta, condition)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for n in range(30):
        (tmp_path / "in" / str(EPOCH + n)).write_bytes(b"%d" % n)
    return tmp_path / "in"


@pytest.fixture
def lane(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lane]]:
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 0.05)
    monkeypatch.setattr("sftools.export.lane.ONCE_LONGEST_BACKOFF", 0.2)
    made = []

    def make(refuse: Callable[[str], None], **more: Any) -> Lane:
        store = Refusing(str(source.parent / "out"))
        store.refuse = refuse
        own = LaneSettings(str(source), MOVE_DEL, lambda: store)
        made.append(Lane(Settings((own,), settle=0, **more), own, threading.Event()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def left(source: Path) -> int:
    return len(list(source.glob("1*")))


@pytest.mark.parametrize("fails", [1, 2, 5])
@pytest.mark.parametrize("error", [StoreError, Unavailable])
def test_once_tries_again(error: type[StoreError], fails: int, source: Path, lane: Callable[..., Lane]) -> None:
    tries = 0

    def refuse(key: str) -> None:
        nonlocal tries
        tries += str(EPOCH) in key
        if str(EPOCH) in key and tries <= fails:
            raise error("not now")

    made = lane(refuse, once=True, jobs=2)
    made.start()
    made.run()
    assert (left(source), made.status.not_exported, made.status.pending) == (0, 0, 0)


@pytest.mark.parametrize(("jobs", "poisoned"), [(1, 2), (8, 10)])
@pytest.mark.parametrize("error", [StoreError, Unavailable])
def test_files_that_are_never_taken_hold_up_no_others(
    error: type[StoreError], jobs: int, poisoned: int, source: Path, lane: Callable[..., Lane]
) -> None:
    """However many they are, and though they are the oldest."""

    def refuse(key: str) -> None:
        if any(f"{EPOCH + n}" in key for n in range(poisoned)):
            raise error("never")

    made = lane(refuse, once=True, jobs=jobs)
    made.start()
    made.run()
    assert left(source) == made.status.not_exported == made.status.pending == poisoned


@pytest.mark.parametrize("jobs", [2, 40])
def test_a_file_that_takes_long_holds_up_no_others(jobs: int, source: Path, lane: Callable[..., Lane]) -> None:
    """Nor the next scan."""
    go_on, last_done = threading.Event(), threading.Event()

    def refuse(key: str) -> None:
        if str(EPOCH) in key:
            go_on.wait(60)
        elif "last" in key:
            last_done.set()

    made = lane(refuse, interval=0.01, jobs=jobs)
    made.start()
    running = threading.Thread(target=made.run)
    running.start()
    try:
        while left(source) > 1:
            assert running.is_alive()
            time.sleep(0.01)
        scans = made.status.scans
        while made.status.scans == scans:
            assert running.is_alive()
            time.sleep(0.01)
        (source.parent / "last").write_bytes(b"new")
        (source.parent / "last").rename(source / "last")  # found while it is written, it would rest for long
        assert last_done.wait(60)
    finally:
        go_on.set()
        made._stop.set()
        running.join(60)


def test_what_an_earlier_scan_has_found_is_not_gone_on_with(
    source: Path, lane: Callable[..., Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage, when a file that was begun before is done with: names may belong to other files by then."""
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 60.0)
    go_on, asked = threading.Event(), list[str]()

    def refuse(key: str) -> None:
        if str(EPOCH) in key:
            go_on.wait(60)
        elif str(EPOCH + 1) in key and made.status.scans == 1:
            raise Unavailable("not now")

    made = lane(refuse, jobs=2)
    ship = made._shipper.ship

    def counted(root: int, relative: str, **more: Any) -> Any:
        asked.append(relative)
        return ship(root, relative, **more)

    made._shipper = SimpleNamespace(ship=counted, parts=made._shipper.parts)  # type: ignore[assignment]
    made.start()
    with ThreadPoolExecutor(2) as pool:
        made._pass(pool)
        assert left(source) == 30
        made._paused_until = 0
        made._retry.clear()
        made._pass(pool)
        go_on.set()
    assert left(source) == 0
    assert sorted(asked) == sorted([str(EPOCH + 1), *(str(EPOCH + n) for n in range(30))])


@pytest.mark.parametrize("unreadable", [True, False])
def test_a_file_that_cannot_be_sent_as_it_was_hashed_is_no_outage(
    unreadable: bool, source: Path, lane: Callable[..., Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unreadable, or changes, once it is to be written: in the midst of a request to the store."""
    path = source / str(EPOCH + 7)
    path.write_bytes(bytes(2 * PIECE_BYTES))
    outages, failing, pread = [], set[int](), os.pread
    monkeypatch.setattr(Lane, "_outage_begins", lambda self, error: outages.append(error))

    def failing_pread(fd: int, size: int, at: int) -> bytes:
        if failing and os.fstat(fd).st_ino in failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, at)

    monkeypatch.setattr("os.pread", failing_pread)

    def refuse(key: str) -> None:
        if path.name in key and unreadable:
            failing.add(path.stat().st_ino)
        elif path.name in key:
            path.write_bytes(os.urandom(2 * PIECE_BYTES))

    made = lane(refuse, once=True, jobs=4)
    made.start()
    made.run()
    assert not outages
    assert left(source) == made.status.not_exported == 1
    assert ("cannot be read: Input/output error" in made.status.error) == unreadable


def test_a_clock_that_is_set_forward_drops_no_new_files(
    source: Path, lane: Callable[..., Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What --allow-drop removes has been here, and could not be sent, for --agemin of a clock that nobody sets."""
    now, wall = [time.monotonic()], [time.time()]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.time", lambda: wall[0])

    def refuse(key: str) -> None:
        raise Unavailable("down")

    made = lane(refuse, allow_drop=True, agemin=1, once=True)
    made.start()
    with ThreadPoolExecutor(8) as pool:

        def after(seconds: float) -> tuple[int, int]:
            """How many files there are, and were dropped, when another scan is over."""
            now[0] += seconds
            wall[0] += seconds
            made._pass(pool)
            return left(source), made.status.dropped

        assert after(0) == (30, 0)
        assert after(59) == (30, 0)
        (source / str(EPOCH + 30)).write_bytes(b"new")
        assert after(0) == (31, 0)
        wall[0] += 7200
        assert after(2) == (1, 30)
        assert after(57) == (1, 30)
        assert after(2) == (0, 31)


def test_what_a_dry_run_makes(source: Path, lane: Callable[..., Lane]) -> None:
    """Nothing, neither in the directory nor where files would go."""
    made = lane(lambda key: None, once=True, dry_run=True)
    made.start()
    made.run()
    assert sorted(path.name for path in source.iterdir()) == [str(EPOCH + n) for n in range(30)]
    assert not (source.parent / "out").exists()
