"""The one error of a condition."""

from __future__ import annotations

from dataclasses import dataclass

from sftools.errors import UsageError

# How much of a long condition the one-line message shows on each side of the place.
_AROUND = 30


class FilterError(UsageError):
    """A condition that cannot be used: `cause`, the whole `text`, and the place.

    column: the place in the text, counted in characters from 1.
    file: the name of the file that `text` is, where it is one; the message then has the line.
    str() is one line with the text around the place; lines() has a caret under the place.
    """

    def __init__(self, cause: str, text: str, column: int, file: str | None = None) -> None:
        self.cause = cause
        self.text = text
        self.column = column
        self.file = file
        shown = self._excerpt()[0]
        if file is None:
            super().__init__(f"filter: {cause} at column {column}: {shown}")
        else:
            super().__init__(f"{file}:{self.line}: {cause}: {shown.strip()}")

    @property
    def line(self) -> int:
        """The line of the place, from 1."""
        return self.text.count("\n", 0, self.column - 1) + 1

    def _excerpt(self) -> tuple[str, int]:
        """The text around the place on one line, and where in it the place is."""
        text, at = self.text, self.column - 1
        if self.file is not None:  # only the line
            begin = text.rfind("\n", 0, at) + 1
            end_of_line = text.find("\n", at)
            text, at = text[begin : end_of_line if end_of_line >= 0 else len(text)], at - begin
        start, end = max(0, at - _AROUND), at + _AROUND
        left = "..." if start else ""
        right = "..." if end < len(text) else ""
        shown = "".join(char if char.isprintable() else " " for char in text[start:end])
        return left + shown + right, len(left) + at - start

    def lines(self) -> list[str]:
        """The cause, the text around the place, and a caret under the place."""
        shown, at = self._excerpt()
        place = "filter" if self.file is None else f"{self.file}:{self.line}"
        return [f"{place}: {self.cause}", shown, f"{' ' * at}^"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a condition stands: text[start:end], of a file where there is a name."""

    text: str
    file: str | None = None
    start: int = 0
    end: int | None = None

    @property
    def condition(self) -> str:
        return self.text[self.start : self.end]

    def error(self, cause: str, at: int) -> FilterError:
        """The error for a place in the condition, in characters from 0."""
        return FilterError(cause, self.text, self.start + at + 1, self.file)
