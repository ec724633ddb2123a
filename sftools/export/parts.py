"""Room for parts in memory, and threads that work on them: so much for all files of a lane together."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

PART_BYTES = 8 << 20
_M_MMAP_THRESHOLD = -3  # mallopt(3)


class Parts:
    """Room for `count` parts of `part_bytes`, or for many small files, and `count` threads.

    So a lone large file is sent in some parts at the same time, and of many files each in one.
    """

    def __init__(self, count: int, part_bytes: int = PART_BYTES) -> None:
        # glibc would keep freed parts for each thread, three times what is in use.
        with contextlib.suppress(AttributeError):  # other C libraries have no such call, and need none
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        self.part_bytes = part_bytes
        self._all = self._free = count * part_bytes
        self.large = threading.Semaphore(2)
        """Files of several parts: one is hashed while another is sent. More would only be unfinished for longer."""
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._count = count
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Wait for what is begun, and end the threads; there are new ones where there is more to do."""
        with self._changed:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()

    def take(self, size: int) -> None:
        """Wait for room, in the order of asking, so that many small ones do not keep a large one waiting.

        What is larger than all the room gets it alone.
        """
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._waiting[0] is me and self._free >= min(size, self._all))
            self._waiting.popleft()
            self._free -= size
            self._changed.notify_all()

    def give(self, size: int) -> None:
        """Give room back."""
        with self._changed:
            self._free += size
            self._changed.notify_all()

    def do(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call it in one of the threads."""
        with self._changed:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="ship-part")
            return self._threads.submit(work, *arguments)

    @contextlib.contextmanager
    def place(self, size: int) -> Iterator[Place]:
        """Room for `size` bytes; waits until there is."""
        place = Place(self, size)
        place.take()
        try:
            yield place
        finally:
            place.leave()


class Place:
    """Room of one thread, for a part of a file, which it may give away with the part."""

    def __init__(self, parts: Parts, size: int) -> None:
        self._parts = parts
        self._size = size
        self._taken = False

    def take(self) -> None:
        """Wait for room, unless it is taken already."""
        if not self._taken:
            self._parts.take(self._size)
            self._taken = True

    def leave(self) -> None:
        """Give it back, unless it is given away."""
        if self._taken:
            self._taken = False
            self._parts.give(self._size)

    def give_away(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Let another thread do the rest with the part; it gives the room back."""
        future = self._parts.do(work, *arguments)
        self._taken = False
        future.add_done_callback(lambda _: self._parts.give(self._size))
        return future
