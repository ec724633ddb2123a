"""A lane: one directory, scanned again and again, its files shipped by some threads, what fails tried again."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from sftools.errors import SftoolsError
from sftools.export.files import STATE_NAME, Changed, Identity, Removal, open_file, remove
from sftools.export.journal import Journal
from sftools.export.parts import Parts
from sftools.export.scan import Found, Scanner
from sftools.export.settings import LaneSettings, Settings
from sftools.export.ship import Rate, Result, Shipper, Stopped
from sftools.newfile import give_up
from sftools.store.objects import Denied, NoBucket, StoreError, Unavailable

log = logging.getLogger("sf-exporter")

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 300.0
ONCE_LONGEST_BACKOFF = 5.0
ONCE_ATTEMPTS = 6
HELD_SECONDS = 30.0
"""How long a file that is still open for writing is left alone."""

# Parts of 8 MiB in memory, and sent, at once; more do not make it faster, but larger.
MOST_PARTS = 4
# A disk with less is nearly full.
NEARLY_FULL = 0.05
# Scanning takes at most this part of the time.
_SCAN_SHARE = 0.2


def backoff(failures: int, longest: float = LONGEST_BACKOFF, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter of half."""
    return min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 30), longest) * (0.5 + chance() / 2)


class DirectoryGone(SftoolsError):
    """The directory is not there (now)."""


@dataclass(slots=True)
class Status:
    """What a lane has done and how it is; numbers only grow, but for pending, free and not_exported.

    pending: files that the last scan found and that are still to be exported. free: the part of the disk that was free
    then. not_exported: with --once, what could not be.
    """

    exported: int = 0
    exported_bytes: int = 0
    copies: int = 0
    failures: int = 0
    dropped: int = 0
    pending: int = 0
    free: float = 1.0
    last_success: float = 0.0
    scans: int = 0
    error: str = ""
    not_exported: int = 0


class Lane:
    """Runs until `stop` is set, or with --once until nothing is left to do."""

    def __init__(self, settings: Settings, own: LaneSettings, stop: threading.Event) -> None:
        self.settings = settings
        self.own = own
        self.status = Status()
        self.wake = threading.Event()
        self._stop = stop
        self._lock = threading.Lock()
        self._to_do: deque[Found] = deque()
        self._in_flight: set[str] = set()
        self._retry: dict[str, tuple[int, float]] = {}
        self._failed_since: dict[str, float] = {}
        self._seen_since: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._pending: set[str] = set()
        self._idle_passes = 0
        self._progress = 0
        self._outage = 0
        self._outage_since: float | None = None
        self._paused_until = 0.0
        self._room_warned = False
        self._directory_error = ""
        self._store_checked = False
        self._swept = False
        self._root = -1
        self._journal: Journal | None = None
        self.scanner = Scanner(own.mode, settings.settle, once=settings.once)
        self.store = own.make_store()
        self._shipper = Shipper(
            self.store,
            settings.rule,
            os.path.abspath(own.directory),
            settings.meta,
            settings.compression,
            Rate(settings.rate, stop),
            stop,
            Parts(min(settings.jobs, MOST_PARTS)),
        )

    def start(self) -> None:
        """Look whether it can work: the directory, its lock, the store. Raises SftoolsError for what will not mend."""
        self._open()
        if self.settings.dry_run:
            return  # which makes nothing, neither here nor there
        try:
            self._check_store()
        except Unavailable as error:
            self._outage_begins(error)
        except StoreError as error:
            raise SftoolsError(f"{error}") from None

    def run(self) -> None:
        """The loop."""
        settings = self.settings
        with (
            contextlib.closing(self._shipper.parts),
            ThreadPoolExecutor(settings.jobs, thread_name_prefix="ship") as pool,
        ):
            while not self._stop.is_set():
                self.wake.clear()
                began = time.monotonic()
                try:
                    left = self._pass(pool)
                except (OSError, SftoolsError) as error:
                    left = self._directory_failed(error)
                took = time.monotonic() - began
                if settings.once and not left:
                    return
                if settings.once:
                    self._stop.wait(max(self._next_try() - time.monotonic(), 0.02))
                else:
                    self._rest(max(settings.interval, min(took / _SCAN_SHARE, 60)), 4 * took)

    def close(self) -> None:
        """Give the directory back."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _rest(self, seconds: float, floor: float) -> None:
        """Wait for the next scan: as long as was said, or until an event, but not without any rest."""
        floor = min(seconds, max(floor, 0.05))
        self._stop.wait(floor)
        if not self._stop.is_set():
            self.wake.wait(seconds - floor)

    # -- the directory

    def _open(self) -> None:
        """Open and lock the directory, unless it still is the one that is open."""
        path = self.own.directory
        try:
            there = os.stat(path)
        except OSError as error:
            self.close()
            raise DirectoryGone(f"{path}: {error.strerror}") from None
        if self._root >= 0:
            if os.path.samestat(there, os.fstat(self._root)):
                return
            self.close()  # it vanished and another has come
        try:
            root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DirectoryGone(f"{path}: {error.strerror}") from None
        try:
            try:
                fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SftoolsError(f"{path}: another sf-exporter works on it") from None
            except OSError as error:
                raise SftoolsError(f"{path}: cannot be locked: {error.strerror}") from None
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise SftoolsError(f"{path}: files there can be removed only with read, write and search permission")
        except BaseException:
            os.close(root)
            raise
        self._root = root
        self._swept = False
        if not self.settings.dry_run:
            self._open_journal()

    def _open_journal(self) -> None:
        """A disk that is full has no room for it; then there is none until there is room."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(STATE_NAME, 0o700, dir_fd=self._root)
            state = os.open(STATE_NAME, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
            try:
                fd = os.open("journal", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=state)
            finally:
                os.close(state)
            try:
                self._journal = Journal(fd)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            if not self._room_warned:
                log.warning("%s: no journal of uploads: %s", self.own.directory, error.strerror)
                self._room_warned = True
        self._shipper.journal = self._journal

    def _directory_failed(self, error: OSError | SftoolsError) -> bool:
        """Say so, once; with --once, whether it is to be tried again."""
        text = str(error) if isinstance(error, SftoolsError) else f"{self.own.directory}: {error.strerror}"
        if self.status.error != text:
            log.error("%s", text)
        self.status.error = self._directory_error = text
        self.status.failures += 1
        self.status.not_exported = 1
        return False

    # -- the store

    def _check_store(self) -> None:
        if not self._store_checked:
            self.store.check()
            self._store_checked = True
            with self._lock:
                self._outage, self._outage_since, self.status.error = 0, None, ""

    def _outage_begins(self, error: StoreError) -> None:
        """The store does not work: everything waits. Failures of requests sent at the same time count as one."""
        with self._lock:
            self.status.failures += 1
            now = time.monotonic()
            if now < self._paused_until:
                return
            self._outage += 1
            if self._outage_since is None:
                self._outage_since = now
            seconds = backoff(self._outage, ONCE_LONGEST_BACKOFF if self.settings.once else LONGEST_BACKOFF)
            self._paused_until = now + seconds
            self.status.error = str(error)
        log.error("%s; next try in %.1f s", error, seconds)
        if isinstance(error, Denied):
            self._renew()

    # -- a pass over the directory

    def _pass(self, pool: ThreadPoolExecutor) -> bool:
        """Scan, and ship what is found. With --once, returns whether another pass is wanted."""
        self._open()
        if self._journal is None and not self.settings.dry_run:
            self._open_journal()
        found = self.scanner.scan(self._root)
        status = self.status
        if self._directory_error and status.error == self._directory_error:
            status.error = ""
        self._directory_error = ""
        status.scans += 1
        present = {each.relative for each in found}
        with self._lock:
            self._pending = present.copy()
            status.pending = len(present)
        self._look_at_disk()
        if self.settings.dry_run:
            self._tell(found)
            return False
        with self._lock:
            self._retry = {name: kept for name, kept in self._retry.items() if name in present}
            self._failed_since = {name: kept for name, kept in self._failed_since.items() if name in present}
        if self.settings.allow_drop:
            now = time.monotonic()
            self._seen_since = {name: self._seen_since.get(name, now) for name in present}
            self._drop(found)
        if time.monotonic() >= self._paused_until:
            try:
                self._check_store()
                if not self._swept:
                    self._sweep()
            except StoreError as error:
                self._outage_begins(error)
        with self._lock:
            self._waiting = present
        if found and time.monotonic() >= self._paused_until:
            self._ship_all(pool, found)
        return not self.settings.once or self._again(found)

    def _ship_all(self, pool: ThreadPoolExecutor, found: list[Found]) -> None:
        """Until all are begun with, as the next scan may come then; with --once until all are done with."""
        with self._lock:
            self._to_do.clear()  # of an outage: what an earlier scan has found may be something else by now
            # Files that the store never takes must not hold up the others.
            self._to_do = to_do = deque(sorted(found, key=lambda each: each.relative in self._retry))
        begun = threading.Event()
        jobs = [pool.submit(self._job, to_do, begun) for _ in range(min(self.settings.jobs, len(to_do)))]
        if self.settings.once:
            wait(jobs)
        else:
            begun.wait()

    def _again(self, found: list[Found]) -> bool:
        """Whether --once is to go on; else what was not exported is counted."""
        with self._lock:
            given_up = {name for name, (count, _) in self._retry.items() if count >= ONCE_ATTEMPTS}
            left = {each.relative for each in found if each.relative in self._waiting} | set(self._retry)
        progress = self.status.exported + self.status.copies
        self._idle_passes = 0 if progress > self._progress else self._idle_passes + 1
        self._progress = progress
        again = bool(left - given_up) and self._idle_passes < ONCE_ATTEMPTS
        self.status.not_exported = len(given_up if again else left | given_up)
        return again

    def _next_try(self) -> float:
        """When there is something to do again, with --once; by the monotonic clock."""
        with self._lock:
            tries = [at for name, (count, at) in self._retry.items() if count < ONCE_ATTEMPTS]
            fresh = self._waiting - set(self._retry)
        return max(self._paused_until, min(tries, default=0.0) if not fresh else 0.0)

    def _job(self, to_do: deque[Found], begun: threading.Event) -> None:
        """One of those who do what there is to do, until nothing is, or all has to wait.

        Each does at least one file, so that some that the store does not take are no outage for the others.
        begun: set when there is nothing left to begin with.
        """
        try:
            while not self._stop.is_set() and (found := self._take(to_do)) is not None:
                if not to_do:
                    begun.set()
                self._do(found)
                if time.monotonic() < self._paused_until:
                    break
        finally:
            begun.set()

    def _take(self, to_do: deque[Found]) -> Found | None:
        """The next file that nobody works on, and that need not wait; it is in flight then."""
        with self._lock:
            while to_do:
                found = to_do.popleft()
                if found.relative in self._in_flight:
                    continue
                if self._retry.get(found.relative, (0, 0.0))[1] <= time.monotonic():
                    self._in_flight.add(found.relative)
                    return found
        return None

    def _do(self, found: Found) -> None:
        try:
            if self._ship(found):
                with self._lock:
                    self._waiting.discard(found.relative)
        except BaseException as error:  # a thread's end would go unnoticed
            log.exception("%s: %s", found.relative, error)
            self._failed(found, f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._in_flight.discard(found.relative)

    def _ship(self, found: Found) -> bool:
        """False where the store does not work, so that the file waits for it."""
        relative = found.relative
        attempts = self._retry.get(relative, (0, 0.0))[0]
        began = time.monotonic()
        try:
            done = self._shipper.ship(
                self._root,
                relative,
                final=found.final,
                settled=found.settled,
                look=attempts > 0 or self._outage > 0 or self.status.exported == 0,
            )
        except Stopped:
            return False
        except (Unavailable, Denied, NoBucket) as error:
            if isinstance(error, NoBucket):
                self._store_checked = False
            self._outage_begins(error)
            with self._lock:
                self._retry[relative] = (attempts, self._paused_until)
            return False
        except FileNotFoundError:  # somebody has taken it away
            self._swept = False  # with an upload that nobody goes on with, perhaps
            with self._lock:
                self._no_longer_pending(relative)
            return True
        except Changed as error:
            log.info("%s: %s", relative, error)
            self._failed(found, str(error), quiet=True)
            return True
        except (SftoolsError, OSError) as error:
            text = str(error) if isinstance(error, SftoolsError) else f"{relative}: {error.strerror or error}"
            self._failed(found, text)
            return True
        self._done(found, done.result, done.key, done.identity, done.size, time.monotonic() - began)
        return True

    def _done(self, found: Found, result: Result, key: str, identity: Identity, size: int, seconds: float) -> None:
        relative, status = found.relative, self.status
        with self._lock:
            if key:
                self._outage, self._outage_since = 0, None
                self._failed_since.pop(relative, None)
                status.last_success = time.time()
                status.error = ""
            self._retry.pop(relative, None)
            if result in (Result.REMOVED, Result.COPIED):
                self._no_longer_pending(relative)
            if result is Result.REMOVED:
                status.exported += 1
                status.exported_bytes += size
            elif result is Result.COPIED:
                status.copies += 1
                status.exported_bytes += size
                self.scanner.copied(relative, identity)
                if not self.settings.once:
                    rest = max(self.settings.interval, 4 * seconds)
                    self._retry[relative] = (0, time.monotonic() + rest)
            elif not self.settings.once:
                self._retry[relative] = (0, time.monotonic() + HELD_SECONDS)
            if result is Result.UNCERTAIN:
                self.scanner.uncertain(relative)
        if result is Result.REMOVED:
            log.info("%s -> %s (%d bytes)", relative, key, size)
        else:
            log.debug("%s: %s %s", relative, result.value, key)

    def _no_longer_pending(self, relative: str) -> None:
        self._pending.discard(relative)
        self.status.pending = len(self._pending)

    def _failed(self, found: Found, text: str, quiet: bool = False) -> None:
        """This file could not be exported; others may."""
        with self._lock:
            count = self._retry.get(found.relative, (0, 0.0))[0] + 1
            seconds = backoff(count, ONCE_LONGEST_BACKOFF if self.settings.once else LONGEST_BACKOFF)
            self._retry[found.relative] = (count, time.monotonic() + seconds)
            self._failed_since.setdefault(found.relative, time.monotonic())
            if not quiet:
                self.status.failures += 1
                self.status.error = text
        if not quiet:
            log.error("%s: %s; next try in %.1f s", found.relative, text, seconds)

    def _renew(self) -> None:
        """New credentials may be there."""
        try:
            self.store.renew()
        except SftoolsError as error:
            log.error("%s", error)

    def _sweep(self) -> None:
        """Uploads in the journal whose files are gone are dropped; the others are gone on with."""
        journal = self._journal
        if journal is None:
            return
        for slot, entry in journal.entries():
            relative = os.fsdecode(bytes.fromhex(entry.path))
            try:
                os.close(open_file(self._root, relative))
                continue
            except (FileNotFoundError, NotADirectoryError, Changed):
                pass
            if entry.place != self.store.place:
                log.warning("an unfinished upload of %s is left in %s", entry.key, entry.place)
                journal.clear(slot)
                continue
            self._shipper.part_upload_gone(slot, entry)
            log.info("%s: an unfinished upload of a file that is gone is dropped", entry.key)
        self._swept = True

    def _look_at_disk(self) -> None:
        room = os.fstatvfs(self._root)
        free = room.f_bavail / room.f_blocks if room.f_blocks else 1.0
        if free < NEARLY_FULL <= self.status.free:
            log.error("%s: the disk is nearly full (%.1f %% are free)", self.own.directory, free * 100)
        self.status.free = free

    def _tell(self, found: list[Found]) -> None:
        try:
            for each in found:
                what = "move" if each.final else "copy"
                print(f"{what} {each.relative!r} -> {self.settings.rule.key(each.relative)}")
            sys.stdout.flush()
        except BrokenPipeError:
            pass  # a reader that goes away, as head does, is no error
        except OSError as error:
            give_up(1)
            raise SftoolsError(f"stdout: cannot be written: {error.strerror}") from None

    # -- giving up

    def _drop(self, found: list[Found]) -> None:
        """Remove what could not be sent for --agemin minutes and is older than that, oldest first."""
        now, wall, age = time.monotonic(), time.time(), self.settings.agemin * 60
        for each in found:
            with self._lock:
                if each.relative in self._in_flight or not each.final:
                    continue
                since = self._failed_since.get(each.relative, self._outage_since)
            # A clock that is set forward makes new files old: only what has been seen for so long is.
            if since is None or now - max(since, self._seen_since[each.relative]) < age:
                continue
            try:
                fd = open_file(self._root, each.relative)
                try:
                    identity = Identity.of(os.fstat(fd))
                    if wall - identity.mtime_ns / 1e9 < age:
                        continue
                    if remove(self._root, each.relative, fd, identity) is Removal.REMOVED:
                        self.status.dropped += 1
                        self._swept = False
                        with self._lock:
                            self._no_longer_pending(each.relative)
                        log.error("%s: DROPPED: %d bytes that were never sent", each.relative, identity.size)
                finally:
                    os.close(fd)
            except (OSError, SftoolsError) as error:
                log.error("%s: cannot be dropped: %s", each.relative, error)
