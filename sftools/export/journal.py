"""Which multipart uploads are under way: a file of fixed size, so that a full disk cannot keep it from being written.

Nothing is lost without it. It is there so that parts are not left behind in the store, and not sent again.
Each upload has a slot, each slot two halves that are written in turn: a torn write leaves the older half.
Who can write to the watched directory can write a journal, too: an entry that none of ours could be is no entry.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass, replace

HALF_BYTES = 24576
SLOTS = 32
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """An upload. upload: its id, "" before the store has given one. sha256: of the object that it becomes.

    path: of the file, in hex of its bytes. lost: another was begun for the key without an answer, and may yet appear.
    """

    place: str
    key: str
    path: str
    sha256: str
    size: int
    part_size: int
    upload: str = ""
    lost: bool = False


class Journal:
    """The journal of a watched directory; `fd` is an open file. Calls may come from several threads.

    Raises OSError only when it is opened, also when the disk is too full for the file to be made. File systems that
    never write in place (btrfs, ZFS) need room for each write, too: where there is none it goes without.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] = {}
        self._sequence = [0] * SLOTS
        if os.fstat(fd).st_size < SLOTS * 2 * HALF_BYTES:
            os.posix_fallocate(fd, 0, SLOTS * 2 * HALF_BYTES)
            os.fsync(fd)
        for slot in range(SLOTS):
            halves = [found for half in (0, 1) if (found := self._read(slot, half))]
            if halves:
                self._sequence[slot], entry = max(halves, key=lambda each: each[0])
                if entry is not None:
                    self._entries[slot] = entry

    def entries(self) -> list[tuple[int, Entry]]:
        """Slot and entry of what is under way."""
        with self._lock:
            return list(self._entries.items())

    def find(self, place: str, path: str) -> tuple[int, Entry] | None:
        """The entry for a file."""
        for slot, entry in self.entries():
            if (entry.place, entry.path) == (place, path):
                return slot, entry
        return None

    def begin(self, entry: Entry) -> int | None:
        """Note, before the store is asked, that an upload is to begin.

        Returns its slot; None where all are taken, or it cannot be written.
        """
        with self._lock:
            slot = next((slot for slot in range(SLOTS) if slot not in self._entries), None)
            if slot is None:
                return None
            try:
                self._write(slot, entry)
            except OSError:
                self._entries.pop(slot, None)
                return None
            return slot

    def begun(self, slot: int, upload: str) -> None:
        """Note the id that the store has given. Without that, the next start asks for the uploads of the key."""
        with self._lock, contextlib.suppress(OSError):
            self._write(slot, replace(self._entries[slot], upload=upload))

    def clear(self, slot: int) -> None:
        """Note that an upload is complete or dropped. Without that, the next start finds that it is gone."""
        with self._lock, contextlib.suppress(OSError):
            self._write(slot, None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _read(self, slot: int, half: int) -> tuple[int, Entry | None] | None:
        data = os.pread(self._fd, HALF_BYTES, (2 * slot + half) * HALF_BYTES)
        length = int.from_bytes(data[_DIGEST : _DIGEST + 4])
        body = data[_DIGEST + 4 : _DIGEST + 4 + length]
        if not length or hashlib.sha256(body).digest() != data[:_DIGEST]:
            return None
        try:
            sequence, entry = json.loads(body)
            return int(sequence), _checked(Entry(**entry)) if entry else None
        except (ValueError, TypeError, RecursionError):
            return None

    def _write(self, slot: int, entry: Entry | None) -> None:
        sequence = self._sequence[slot] + 1
        body = json.dumps([sequence, asdict(entry) if entry else None]).encode()
        if len(body) > HALF_BYTES - _DIGEST - 4:
            raise OSError(errno.ENAMETOOLONG, "a name is too long for the journal")
        data = hashlib.sha256(body).digest() + len(body).to_bytes(4) + body
        if entry is None:
            self._entries.pop(slot, None)
        else:
            self._entries[slot] = entry
        if os.pwrite(self._fd, data, (2 * slot + sequence % 2) * HALF_BYTES) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self._fd)
        self._sequence[slot] = sequence  # not before: what failed is written to the same half again


def _checked(entry: Entry) -> Entry:
    """An entry as read. Raises ValueError, TypeError where it is none that begin() or begun() have written."""
    texts = (entry.place, entry.key, entry.sha256, entry.upload)
    if (
        not isinstance(entry.lost, bool)
        or not all(isinstance(each, str) for each in texts)
        or not all(isinstance(each, int) and each >= 0 for each in (entry.size, entry.part_size))
    ):
        raise TypeError("wrong kinds of values")
    names = bytes.fromhex(entry.path).split(b"/")
    if b"\0" in bytes.fromhex(entry.path) or not {b"", b".", b".."}.isdisjoint(names):
        raise ValueError("a path that leads out of the directory")
    return entry
