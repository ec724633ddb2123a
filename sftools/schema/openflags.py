"""The open flags of FileFlow.openFlags: the capture format's PPM_O_* bits (falcosecurity/libs ppm_events_public.h)."""

from __future__ import annotations

NAMES = (
    "RDONLY", "WRONLY", "CREAT", "APPEND", "DSYNC", "EXCL", "NONBLOCK", "SYNC", "TRUNC", "DIRECT", "DIRECTORY",
    "LARGEFILE", "CLOEXEC", "TMPFILE", "F_CREATED",
)  # fmt: skip
"""Name by bit, lowest first."""

READ, WRITE = 1, 2
_READ_WRITE = READ | WRITE


def open_flag_names(flags: int) -> tuple[str, ...]:
    """The names of a bitmap's flags, lowest bit first, and RDWR where both RDONLY and WRONLY are set.

    0x7 is ("RDONLY", "WRONLY", "CREAT", "RDWR"). Unknown bits are left out.
    """
    names = tuple(name for bit, name in enumerate(NAMES) if flags >> bit & 1)
    return (*names, "RDWR") if flags & _READ_WRITE == _READ_WRITE else names
