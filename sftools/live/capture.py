"""A running capture as bytes of the capture format: what of a file would be read, of the system as it goes on.

First the lists of /proc, then events without end. The programs are attached before /proc is read, so that nothing is
missed in between; an event older than its thread's entry in the lists is left out, so that nothing is done twice.
"""

from __future__ import annotations

import io
import os
import select
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sftools.errors import CaptureError
from sftools.limits import MAX_LIVE_BACKLOG_BYTES
from sftools.live import procfs
from sftools.live.loader import Probe, ProbeOptions
from sftools.live.ring_cy import admitted, cgroups_seen, open_ring
from sftools.scap import blocks, lists, tables
from sftools.scap.writer import ScapWriter

# Events are taken when they are this old: by then those of other CPUs that come before them are in the ring too.
SETTLE_NS = 1_000_000
# How long a look at the ring may be put off while little is in it: the kernel wakes the reader when much is.
_PATIENCE_MS = 20
_BATCH_BYTES = 1 << 20


class Capture:
    """The running system as a source of capture bytes: has readinto(), so an EventCursor reads it as it reads a file.

    on_cgroups: called with the cgroups of each listed thread, and of each that begins or runs another program.
    on_listed: called when all lists are delivered, unless stop() came before. on_idle: called before each wait, which
    ends after 20 ms at the latest; from there stop() may be called.

    A context manager. readinto() blocks until bytes are there and returns 0 only after stop(), when all that happened
    before was delivered. Raises CaptureError where the system cannot be captured, InputError where /proc cannot be
    read.
    """

    def __init__(
        self,
        options: ProbeOptions,
        *,
        root: Path = procfs.PROC,
        on_cgroups: Callable[[bytes], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        on_listed: Callable[[], None] | None = None,
    ) -> None:
        self._on_cgroups = on_cgroups
        self.on_idle = on_idle
        self._on_listed = on_listed
        self.probe = Probe(options)
        self._stopped_at = 0
        self._ready: deque[bytes] = deque()
        self._injected: deque[bytes] = deque()
        self._batch = bytearray(_BATCH_BYTES)
        self._view = memoryview(self._batch)[:0]
        self._head = procfs.blocks(root, on_cgroups=on_cgroups)
        self._listed: dict[int, int] | None = {}
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._scan_end = 0
        self._known: dict[int, int] = {}
        self._detached = False
        self._marked = False
        try:
            self._ring = open_ring(self.probe.ring_fd, options.ring_bytes)
            self._poll = select.epoll()
            self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._poll.register(
                self.probe.ring_fd, select.EPOLLIN | select.EPOLLET
            )  # when the kernel wakes, not before
            self._poll.register(self._wake_read, select.EPOLLIN)
            self.probe.attach()
        except BaseException as error:
            self.probe.close()
            if isinstance(error, OSError):
                raise CaptureError(f"the system cannot be captured: {error.strerror}") from None
            raise

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach and unload; what was not read is lost."""
        self.probe.close()
        self._ring.close()
        self._poll.close()
        for fd in (self._wake_read, self._wake_write):
            if fd >= 0:
                os.close(fd)
        self._wake_read = self._wake_write = -1

    def stop(self) -> None:
        """End the capture at this moment: what happened until now is still delivered. For signal handlers too."""
        if not self._stopped_at:
            self._stopped_at = self.now()
            os.write(self._wake_write, b"\0")

    def inject(self, block: bytes) -> None:
        """Put a block of other origin (a container's metadata) between the events. For other threads too."""
        self._injected.append(block)

    @property
    def events(self) -> int:
        """Taken so far."""
        count: int = self._ring.events
        return count

    @property
    def statistics(self) -> dict[str, int]:
        """events: taken so far; out_of_order: those of them that were sorted; and what Probe.statistics() tells."""
        return {"events": self._ring.events, "out_of_order": self._ring.out_of_order, **self.probe.statistics()}

    def readinto(self, room: memoryview) -> int:
        """Fill `room` from its beginning; returns how many bytes came."""
        while not self._view:
            if not self._next():
                return 0
        n = min(len(room), len(self._view))
        room[:n] = self._view[:n]
        self._view = self._view[n:]
        return n

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none after the end."""
        while not self._view:
            if not self._next():
                return b""
        taken, self._view = bytes(self._view[:size]), self._view[size:]
        return taken

    def _next(self) -> bool:
        """Have bytes in _view, or wait for some; False at the end."""
        if self._listed is not None and self._lists():
            return True
        if self._backlog:
            self._view = memoryview(self._backlog.popleft())
            return True
        if self._injected:
            self._view = memoryview(self._injected.popleft())
            return True
        if self._stopped_at and not self._detached:
            self._detached = True
            self.probe.detach()
            time.sleep(SETTLE_NS / 1e9)  # programs that are running finish
        until = self._stopped_at or self.now() - SETTLE_NS
        got = self._ring.drain(self._batch, until)
        if got:
            view = memoryview(self._batch)[:got]
            if self._on_cgroups is not None:
                for cgroups in cgroups_seen(view):
                    self._on_cgroups(cgroups)
            if self._scan_end:
                view = self._admit(view)
            self._view = view
            return True
        if self._stopped_at:
            return self._last_marks()
        if self.on_idle is not None:
            self.on_idle()
        self._poll.poll(_PATIENCE_MS / 1000)
        return True

    def _lists(self) -> bool:
        """The next block of the lists; False when there is none left."""
        assert self._listed is not None
        if self._stopped_at:
            self._head = iter(())
        began = self.now()
        for block in self._head:
            kind = int.from_bytes(block[:4], "little")
            if kind in blocks.PROCESS_LISTS:
                for entry in lists.processes(kind, block[8:-4]):
                    self._listed.setdefault(entry.tid, began)
            if self._ring.waiting() * 2 > self._ring.size:
                self._put_off()
            self._view = memoryview(block)
            return True
        self._scan_end = began
        known = self._listed
        self._backlog = deque(kept for batch in self._backlog if (kept := admitted(batch, known)))
        self._known = known
        self._listed = None
        if self._on_listed is not None and not self._stopped_at:
            self._on_listed()
        return False

    def _last_marks(self) -> bool:
        """PPME_DROP_E and _X for losses at the very end, which no event comes after; False where there are none."""
        times = [] if self._marked else self.probe.unmarked_losses()
        self._marked = True
        if times:
            out = io.BytesIO()
            writer = ScapWriter(out)
            writer.event(times[0], 0, tables.PPME_DROP_E, {"ratio": 1})
            writer.event(self._stopped_at, 0, tables.PPME_DROP_X, {"ratio": 1})
            self._view = memoryview(out.getvalue())
        return bool(times)

    def now(self) -> int:
        """The time as events have it: the clock that runs on while the machine sleeps, from the epoch."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self.probe.boot_epoch_ns

    def _put_off(self) -> None:
        """The lists take long and the ring fills: what is in it waits here, as long as that is not too much."""
        until = self.now() - SETTLE_NS
        while self._backlog_bytes < MAX_LIVE_BACKLOG_BYTES and (got := self._ring.drain(self._batch, until)):
            self._backlog.append(bytes(self._batch[:got]))
            self._backlog_bytes += got

    def _admit(self, view: memoryview) -> memoryview:
        kept = memoryview(admitted(view, self._known))
        if self._ring.last_ts > self._scan_end + 1_000_000_000:
            # From here on no event can be older than the lists.
            self._scan_end = 0
            self._known = {}
        return kept
