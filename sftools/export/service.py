"""The exporter: its lanes, the events that wake them, the files that tell how it is, and its end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import threading
import time
from typing import Any

from sftools.errors import EXIT_DAMAGED, EXIT_OK, OutputError
from sftools.export.lane import NEARLY_FULL, Lane, Status, backoff
from sftools.export.scan import CONT_UPDATE_RECUR
from sftools.export.settings import Settings
from sftools.newfile import NewFile

log = logging.getLogger("sf-exporter")

_REPORT_SECONDS = 5.0
_JOIN_SECONDS = 0.2


class Exporter:
    """start(), then run(), which returns the exit status. Both end within the timeout once `stop` is set.

    Raises UsageError and SftoolsError.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.lanes = [Lane(settings, own, self.stop) for own in settings.lanes]
        self._observer: Any = None
        self._report_failed = ""
        self._started = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Look whether everything is there. A thread does, as a server that hangs or a name that is looked up for long
        must not keep it from ending.
        """
        # Each job has a file and up to two connections open: for some directories more than the usual soft limit, 1024.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        failed: list[BaseException] = []

        def start() -> None:
            try:
                for lane in self.lanes:
                    if not self.stop.is_set():
                        lane.start()
                self._started = not self.stop.is_set()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=start, name="lanes start", daemon=True)
        self._threads.append(thread)
        thread.start()
        while thread.is_alive() and not self.stop.is_set():
            thread.join(_JOIN_SECONDS)
        thread.join(self.settings.timeout)
        if failed:
            for lane in self.lanes:
                lane.close()
            raise failed[0]
        if self._started and not self.settings.once and not self.settings.dry_run:
            self._watch()

    def run(self) -> int:
        """Work until stop is set, with --once until nothing is left. It ends within the timeout, whatever hangs."""
        if not self._started:
            return self._status()
        threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"lane {number}", daemon=True)
            for number, lane in enumerate(self.lanes)
        ]
        self._threads += threads
        for thread in threads:
            thread.start()
        log.info("started: %s", ", ".join(f"{lane.own.directory} to {lane.store.place}" for lane in self.lanes))
        reported = 0.0
        while any(thread.is_alive() for thread in threads) and not self.stop.is_set():
            self.stop.wait(0.02 if self.settings.once else 0.2)
            if time.monotonic() - reported >= min(max(self.settings.interval, 0.2), _REPORT_SECONDS):
                self.report()
                reported = time.monotonic()
        end = time.monotonic() + self.settings.timeout
        for lane in self.lanes:
            lane.wake.set()
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
        self.report()
        if any(thread.is_alive() for thread in threads):
            log.warning("ended in the middle of a request; the next start goes on")
            return self._status()
        for lane in self.lanes:
            lane.close()
        return self._status()

    def _run(self, lane: Lane) -> None:
        """A lane to its end. A mistake of ours in it is logged and counted, and it goes on: there are other files."""
        mistakes = 0
        while True:
            try:
                lane.run()
                return
            except Exception as error:
                mistakes += 1
                lane.status.failures += 1
                lane.status.error = f"{type(error).__name__}: {error}"
                lane.status.not_exported = max(lane.status.not_exported, 1)
                log.exception("%s: a mistake in sf-exporter: please report it", lane.own.directory)
            if self.settings.once or self.stop.wait(backoff(mistakes)):
                return

    @property
    def hangs(self) -> bool:
        """Whether threads have not ended, which would keep the process from ending: a lane waits for those it began."""
        return any(thread.is_alive() for thread in self._threads)

    def _status(self) -> int:
        if self.settings.once and any(lane.status.not_exported for lane in self.lanes):
            return EXIT_DAMAGED
        if self.settings.once and self.stop.is_set() and (not self._started or any(s.pending for s in self._all())):
            return EXIT_DAMAGED
        return EXIT_OK

    # -- events

    def _watch(self) -> None:
        try:
            from watchdog.observers import Observer
        except ImportError:
            log.info("without watchdog: directories are scanned only")
            return
        try:
            observer = Observer()
            for lane in self.lanes:
                observer.schedule(
                    _handler(lane), os.path.abspath(lane.own.directory), recursive=lane.own.mode == CONT_UPDATE_RECUR
                )
            observer.start()
            self._observer = observer
        except OSError as error:
            log.warning("no events of the file system (%s): directories are scanned only", error.strerror)

    # -- how it is

    def report(self) -> None:
        """Write the health and the metrics file, where they are wanted. What fails is logged once, not raised."""
        try:
            if self.settings.health_file:
                _replace(self.settings.health_file, json.dumps(self.health(), indent=1).encode() + b"\n")
            if self.settings.metrics_file:
                _replace(self.settings.metrics_file, self.metrics().encode())
            self._report_failed = ""
        except (OSError, OutputError) as error:
            if str(error) != self._report_failed:
                log.error("%s", error)
            self._report_failed = str(error)

    def health(self) -> dict[str, Any]:
        """status: ok, or failing where a lane has an error or a disk that is nearly full."""
        lanes = []
        for lane in self.lanes:
            status = lane.status
            full = status.free < NEARLY_FULL
            lanes.append(
                {
                    "directory": os.fsencode(lane.own.directory).decode(errors="backslashreplace"),
                    "to": lane.store.place,
                    "error": status.error,
                    "disk_nearly_full": full,
                    "pending": status.pending,
                    "exported": status.exported,
                    "dropped": status.dropped,
                    "last_success": status.last_success or None,
                    "ok": not status.error and not full,
                }
            )
        return {"status": "ok" if all(each["ok"] for each in lanes) else "failing", "time": time.time(), "lanes": lanes}

    def metrics(self) -> str:
        """In Prometheus's text format."""
        rows: list[tuple[str, str, str, list[float]]] = [
            ("exported_files_total", "counter", "Files exported and removed.", [s.exported for s in self._all()]),
            ("copies_total", "counter", "Copies made of files that stay.", [s.copies for s in self._all()]),
            ("exported_bytes_total", "counter", "Bytes of objects written.", [s.exported_bytes for s in self._all()]),
            ("failures_total", "counter", "Attempts that failed.", [s.failures for s in self._all()]),
            ("dropped_files_total", "counter", "Files removed that were never sent.", [s.dropped for s in self._all()]),
            ("scans_total", "counter", "Scans of the directory.", [s.scans for s in self._all()]),
            ("pending_files", "gauge", "Files still to be exported.", [s.pending for s in self._all()]),
            ("disk_free_ratio", "gauge", "Free part of the directory's disk.", [s.free for s in self._all()]),
            (
                "last_success_timestamp_seconds",
                "gauge",
                "When a file was exported.",
                [s.last_success for s in self._all()],
            ),
            ("up", "gauge", "1 while the last attempt worked.", [float(not s.error) for s in self._all()]),
        ]
        out = []
        for name, kind, text, values in rows:
            out += [f"# HELP sf_exporter_{name} {text}", f"# TYPE sf_exporter_{name} {kind}"]
            for lane, value in zip(self.lanes, values, strict=True):
                label = os.fsencode(lane.own.directory).decode(errors="replace")
                label = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
                out.append(f'sf_exporter_{name}{{dir="{label}"}} {value:.17g}')
        return "\n".join(out) + "\n"

    def _all(self) -> list[Status]:
        return [lane.status for lane in self.lanes]


def _handler(lane: Lane) -> Any:
    from watchdog.events import FileSystemEventHandler

    base = os.path.abspath(lane.own.directory)

    class Handler(FileSystemEventHandler):
        def on_closed(self, event: Any) -> None:
            self._tell(event.src_path, True)

        def on_created(self, event: Any) -> None:
            self._tell(event.src_path, False)

        def on_moved(self, event: Any) -> None:
            self._tell(event.dest_path, False)

        def _tell(self, path: str | bytes, closed: bool) -> None:
            relative = os.path.relpath(os.fsdecode(path), base)
            if not relative.startswith(".sf-exporter"):
                lane.scanner.event(relative, closed)
                lane.wake.set()

    return Handler()


def _replace(path: str, data: bytes) -> None:
    """Write a file that others read at any time."""
    file = NewFile(path, force=True)
    try:
        file.open()
        file.write(data)
        file.commit()
    except BaseException:
        file.abandon()
        raise
