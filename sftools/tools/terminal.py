"""What the commands say on standard error, and how they end: messages on one line, the progress bar, signals."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import click

from sftools.errors import ENDING_SIGNALS
from sftools.newfile import give_up
from sftools.render.text import printable

# Work that is done sooner shows no bar.
QUIET_SECONDS = 1.0
REDRAW_SECONDS = 0.2
_BAR = 24


def _open_standard_streams() -> None:
    """Give a program that was started without one of fds 0 to 2, as daemons are, something in its place.

    Nothing can be written to fd 1 then: data that nobody gets is an error. Messages that nobody gets are none. And no
    file that is opened later gets such a number by accident.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if fd == 2 else os.O_RDONLY)  # the lowest free one: it is fd
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # PYTHONUNBUFFERED or python -u: a write may take only a part then, as on a disk that is nearly full, and
        # what has written looks like all of it.
        like = sys.stdout
        sys.stdout = open(1, "w", 1, like.encoding, like.errors, closefd=False)  # noqa: SIM115


def _end_standard_streams() -> None:
    """What they did not take has been told, or could not be: it does not change the exit status."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if not stream.closed:
                stream.flush()
        except OSError:
            give_up(fd)


_open_standard_streams()
atexit.register(_end_standard_streams)


def say(tool: str, line: str) -> None:
    """A message of a command, on one line whatever bytes the names in it have."""
    tell(f"{tool}: {printable(line)}\n")


def tell(text: str) -> None:
    """Write to standard error, unless nobody gets it any more: a terminal that was closed takes nothing."""
    with contextlib.suppress(OSError):
        click.echo(text, nl=False, err=True)


class Progress:
    """A line on the terminal, drawn over at most some times a second. unit: what is counted."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._began = self._drawn = time.monotonic()
        self._shown = False

    def __call__(self, name: str, consumed: int, size: int | None, count: int) -> None:
        """name: of the input. consumed, size: bytes of it read and in all (None for a pipe). count: of units so far."""
        now = time.monotonic()
        if now - self._began < QUIET_SECONDS or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        self._shown = True
        rate = count / (now - self._began) / 1e6
        text = f" {count / 1e6:.1f} M {self._unit}, {rate:.1f} M/s"
        if size:
            part = min(consumed / size, 1)
            text = f" [{'#' * int(part * _BAR):<{_BAR}}] {part:4.0%}" + text
        line = printable(os.path.basename(name)) + text
        with contextlib.suppress(OSError):  # the terminal was closed
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(f"\r{line[1 - columns :]}\033[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            with contextlib.suppress(OSError):
                sys.stderr.write("\r\033[K")
                sys.stderr.flush()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGHUP, SIGINT and SIGTERM end the work, which leaves nothing incomplete; the exit status is 128 + N.

    One that has ended the work, or a live capture, stays ignored while the process exits.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # once is enough: cleaning up is not interrupted
        raise SystemExit(128 + number)

    before = {}
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is end:
                signal.signal(number, handler)
