"""The errors of sftools: one small tree. An error's text is the one line that a user sees."""

from __future__ import annotations

import signal

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_DAMAGED = 3
"""Part of the input was damaged; the sound part was done."""
ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""What ends a command in order; its exit status is then 128 + the number."""


class SftoolsError(Exception):
    """Base of every error that sftools raises on purpose; `exit_code` is the command's exit status."""

    exit_code = EXIT_ERROR

    def lines(self) -> list[str]:
        """What a terminal shows: the message, then, where it helps, a picture of the place."""
        return [str(self)]


class UsageError(SftoolsError):
    """A wrong option, argument or expression."""

    exit_code = EXIT_USAGE


class CaptureError(SftoolsError):
    """The running system cannot be captured: what is missing, and what to do."""


class InputError(SftoolsError):
    """An input that cannot be read: the file, the offset in bytes after decompression, the cause and what to do."""

    def __init__(self, path: str, cause: str, offset: int | None = None, hint: str | None = None) -> None:
        self.path = path
        self.cause = cause
        self.offset = offset
        self.hint = hint
        at = "" if offset is None else f" at offset {offset}"
        super().__init__(f"{path}{at}: {cause}" + (f"; {hint}" if hint else ""))


class OutputError(SftoolsError):
    """An output that cannot be written or exists already."""


class ExistsError(OutputError):
    """An output that exists already, and was not to be overwritten."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: exists already")
