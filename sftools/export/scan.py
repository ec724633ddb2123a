"""What is to be exported: a directory is scanned, and its files are told finished or not.

The scan is the truth; events only say that it is worth scanning, and which files were closed.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sftools.export.files import STATE_NAME, Changed, Identity, being_written, open_file
from sftools.export.names import NameTime, name_time
from sftools.limits import MAX_EXPORT_DEPTH, MAX_EXPORT_EVENTS, MAX_EXPORT_WARNINGS
from sftools.newfile import is_temporary

log = logging.getLogger("sf-exporter")

MOVE_DEL = "move-del"
CONT_UPDATE = "cont-update"
CONT_UPDATE_RECUR = "cont-update-recur"
MODES = (MOVE_DEL, CONT_UPDATE, CONT_UPDATE_RECUR)

# Clocks of a machine and of its file server differ by less.
_CLOCK_SECONDS = 60
_DAY = 86_400
_HOUR = 3_600
_OWN = (STATE_NAME, ".sf-exporter-parts")
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Found(NamedTuple):
    """A file to be exported. final: it is finished; else it is copied and stays. settled: long unchanged."""

    order: tuple[int, str]
    relative: str
    final: bool
    settled: bool
    identity: Identity | None = None
    """Where the scan has looked."""


class _Observed(NamedTuple):
    identity: Identity
    since: float


class Scanner:
    """Finds what is to be exported in one directory. settle: seconds without a change after which a file is finished.

    once: there is no later scan, so that the wall clock tells how long a file has not changed; else it is observed.
    """

    def __init__(
        self,
        mode: str,
        settle: float,
        *,
        once: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.mode = mode
        self._settle = settle
        self._once = once
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._events: dict[str, bool] = {}
        self._observed: dict[str, _Observed] = {}
        self._uncertain: set[str] = set()
        self._closed: dict[str, Identity] = {}
        self._copied: dict[str, Identity] = {}
        self._newest: dict[str, int] = {}
        self._told: set[str] = set()

    def event(self, relative: str, closed: bool) -> None:
        """A file was closed by who wrote it (closed), or appeared."""
        with self._lock:
            if len(self._events) < MAX_EXPORT_EVENTS:
                self._events[relative] = closed or self._events.get(relative, False)

    def copied(self, relative: str, identity: Identity) -> None:
        """A copy of an unfinished file is in the store."""
        self._copied[relative] = identity

    def uncertain(self, relative: str) -> None:
        """It is finished by its name, but may still be open: it has to settle, too."""
        self._uncertain.add(relative)

    def scan(self, root: int) -> list[Found]:
        """What is to be exported now, oldest first, below the open directory `root`. Raises OSError."""
        with self._lock:
            events, self._events = self._events, {}
        if self.mode == CONT_UPDATE_RECUR:
            found, seen = self._tree(root)
        else:
            found, seen = self._flat(root, events)
        # What is gone is forgotten, so that memory is bounded by the directory.
        self._observed = {name: kept for name, kept in self._observed.items() if name in seen}
        self._copied = {name: kept for name, kept in self._copied.items() if name in seen}
        self._closed = {name: kept for name, kept in self._closed.items() if name in seen}
        self._uncertain &= seen
        found.sort()
        return found

    # -- one directory

    def _flat(self, root: int, events: dict[str, bool]) -> tuple[list[Found], set[str]]:
        timed: list[tuple[str, NameTime]] = []
        open_ended: list[str] = []
        # A newer one that has been here is enough: it may be exported before this one.
        newest: dict[str, int] = {}
        seen: set[str] = set()
        with os.scandir(root) as entries:
            for entry in entries:
                name = entry.name
                if name in _OWN or is_temporary(name) or not entry.is_file(follow_symlinks=False):
                    continue
                seen.add(name)
                time = name_time(name)
                if time is None:
                    open_ended.append(name)
                else:
                    timed.append((name, time))
                    newest[time.series] = max(newest.get(time.series) or self._newest.get(time.series, 0), time.ns)
        self._newest = newest
        found: list[Found] = []
        for name, when in timed:
            if when.ns < newest[when.series] and name not in self._uncertain:
                found.append(Found((when.ns, name), name, True, self._once and self._long_unchanged(root, name)))
            else:
                found += self._look(root, name, when.ns, when.ns < newest[when.series], events)
        for name in open_ended:
            found += self._look(root, name, None, False, events)
        return found, seen

    def _look(self, root: int, name: str, ns: int | None, by_name: bool, events: dict[str, bool]) -> Iterator[Found]:
        """A file that has to be looked at to tell whether it is finished."""
        try:
            identity = Identity.of(os.stat(name, dir_fd=root, follow_symlinks=False))
        except FileNotFoundError:
            return
        order = (identity.mtime_ns if ns is None else ns, name)
        settled = self._settled(name, identity)
        if settled or (not by_name and self._was_closed(root, name, identity, events)):
            yield Found(order, name, True, settled, identity)
        elif self.mode == CONT_UPDATE and self._copied.get(name) != identity:
            yield Found(order, name, False, False, identity)

    def _long_unchanged(self, root: int, name: str) -> bool:
        """Whether the wall clock says so: where the kernel does not tell of writers, no later scan can see it."""
        try:
            changed = os.stat(name, dir_fd=root, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return False
        return self._settle <= self._wall() - changed or self._settle == 0

    def _settled(self, name: str, identity: Identity) -> bool:
        if self._once:
            unchanged = self._wall() - identity.mtime_ns / 1e9
            if unchanged < -_CLOCK_SECONDS and self._settle:
                self._tell(name, "was changed in the future, says the clock: it is finished when a newer one is there")
            return self._settle <= unchanged or self._settle == 0
        observed = self._observed.get(name)
        if observed is None or observed.identity != identity:
            observed = self._observed[name] = _Observed(identity, self._clock())
        return self._clock() - observed.since >= self._settle

    def _tell(self, relative: str, text: str) -> None:
        """What keeps a file from being exported, once."""
        if relative not in self._told and len(self._told) < MAX_EXPORT_WARNINGS:
            self._told.add(relative)
            log.warning("%s: %s", relative, text)

    def _was_closed(self, root: int, name: str, identity: Identity, events: dict[str, bool]) -> bool:
        closed = events.get(name)
        if closed is None:
            return self._closed.get(name) == identity
        try:
            fd = open_file(root, name)
        except (OSError, Changed):
            return False
        try:
            writing = being_written(fd)
        finally:
            os.close(fd)
        if writing is False or (closed and writing is None):  # what appeared and is not open was moved in
            self._closed[name] = identity
            return True
        return False

    # -- a tree

    def _tree(self, root: int) -> tuple[list[Found], set[str]]:
        found: list[Found] = []
        seen: set[str] = set()
        now = self._wall()
        pending = [("", 0)]
        while pending:
            directory, depth = pending.pop()
            try:
                fd = _open_directory(root, directory)
                try:
                    with os.scandir(fd) as entries:
                        for entry in entries:
                            name = entry.name
                            if name in _OWN or is_temporary(name):
                                continue
                            relative = f"{directory}/{name}" if directory else name
                            if entry.is_file(follow_symlinks=False):
                                seen.add(relative)
                                found += self._in_tree(relative, name, entry, now)
                            elif entry.is_dir(follow_symlinks=False):
                                if depth < MAX_EXPORT_DEPTH:
                                    pending.append((relative, depth + 1))
                                else:
                                    self._tell(relative, f"lies below {MAX_EXPORT_DEPTH} directories: it is left alone")
                finally:
                    os.close(fd)
            except OSError as error:  # the others are exported all the same
                if not directory:
                    raise
                if error.errno not in _GONE:
                    self._tell(directory, f"cannot be read: {error.strerror}")
        return found, seen

    def _in_tree(self, relative: str, name: str, entry: os.DirEntry[str], now: float) -> Iterator[Found]:
        try:
            identity = Identity.of(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return
        time = name_time(name)
        ns = time.ns if time else identity.mtime_ns
        order = (ns, relative)
        settled = self._settled(relative, identity)
        second = max(ns, identity.mtime_ns) // 10**9
        if now >= (second // _DAY + 1) * _DAY + _HOUR and (relative not in self._uncertain or settled):
            yield Found(order, relative, True, settled, identity)
        elif self._copied.get(relative) != identity:
            yield Found(order, relative, False, settled, identity)


def _open_directory(root: int, relative: str) -> int:
    fd = os.dup(root)
    for part in relative.split("/") if relative else ():
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
