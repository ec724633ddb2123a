"""The exporter as a whole: how it starts and ends, and what a mistake of ours in a lane does."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftools.errors import SftoolsError
from sftools.export.scan import MOVE_DEL, Found, Scanner
from sftools.export.service import Exporter
from sftools.export.settings import LaneSettings, Settings
from sftools.store.directory import DirectoryStore
from sftools.store.objects import Denied


class Slow(DirectoryStore):
    """One that does not answer when it is asked whether it works."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked, self.answers = threading.Event(), threading.Event()

    def check(self) -> None:
        self.asked.set()
        assert self.answers.wait(60)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    store = Slow(str(tmp_path / "out"))
    yield store
    store.answers.set()


def exporter(tmp_path: Path, store: DirectoryStore, once: bool = False) -> Exporter:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1714557600").write_bytes(b"first")
    lane = LaneSettings(str(tmp_path / "in"), MOVE_DEL, lambda: store)
    return Exporter(Settings((lane,), settle=0, interval=0.05, timeout=0.1, once=once))


def test_as_many_files_may_be_open_as_the_system_allows(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    try:
        made = exporter(tmp_path, DirectoryStore(str(tmp_path / "out")), once=True)
        made.start()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
        assert made.run() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("once", [True, False])
def test_told_to_end_while_it_starts(once: bool, tmp_path: Path, slow: Slow) -> None:
    made = exporter(tmp_path, slow, once)
    threading.Thread(target=lambda: slow.asked.wait(60) and made.stop.set()).start()
    made.start()
    assert made.run() == (3 if once else 0)
    assert made.hangs  # so that the process is ended, not waited for
    assert (tmp_path / "in" / "1714557600").exists()


def test_threads_of_others_are_no_sign_that_it_hangs(tmp_path: Path) -> None:
    """Where it is called in a process that does more, which must not be ended then."""
    may_end = threading.Event()
    other = threading.Thread(target=may_end.wait, name="ship_0")
    other.start()
    made = exporter(tmp_path, DirectoryStore(str(tmp_path / "out")), once=True)
    made.start()
    assert (made.run(), made.hangs) == (0, False)
    may_end.set()
    other.join()


def test_what_keeps_it_from_starting_is_told(tmp_path: Path) -> None:
    class Refusing(DirectoryStore):
        def check(self) -> None:
            raise Denied("no")

    made = exporter(tmp_path, Refusing(str(tmp_path / "out")))
    with pytest.raises(SftoolsError, match="no"):
        made.start()
    with pytest.raises(SftoolsError, match="no"):  # not that another one works on the directory
        made.start()


def test_a_mistake_in_a_lane_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 0.001)
    made = exporter(tmp_path, DirectoryStore(str(tmp_path / "out")))
    scan, scans, healthy = Scanner.scan, 0, []

    def broken(self: Scanner, root: int) -> list[Found]:
        nonlocal scans
        scans += 1
        if scans <= 2:
            raise ValueError("a mistake")
        if scans == 3:
            healthy.append(made.health()["status"])
        elif scans > 1000 or not (tmp_path / "in" / "1714557600").exists():
            made.stop.set()
        return scan(self, root)

    monkeypatch.setattr(Scanner, "scan", broken)
    made.start()
    assert made.run() == 0
    assert healthy == ["failing"]
    assert made.health()["status"] == "ok"
    assert (tmp_path / "out" / "2024/05/01/1714557600.sf").read_bytes() == b"first"
    assert made.lanes[0].status.failures == 2


def test_a_mistake_with_once_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exporter(tmp_path, DirectoryStore(str(tmp_path / "out")), once=True)

    def broken(self: Scanner, root: int) -> list[Found]:
        raise ValueError("a mistake")

    monkeypatch.setattr(Scanner, "scan", broken)
    made.start()
    assert made.run() == 3
    assert (tmp_path / "in" / "1714557600").exists()
