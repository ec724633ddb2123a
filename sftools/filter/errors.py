"""The one error of a filter."""

from __future__ import annotations

from sftools.errors import UsageError

# How much of a long filter the one-line message shows on each side of the place.
_AROUND = 30


class FilterError(UsageError):
    """A filter that cannot be used: `cause`, the whole `text`, and `column`, the place, counted in characters from 1.

    str() is one line with the text around the place; picture() adds a line with a caret under it.
    """

    def __init__(self, cause: str, text: str, column: int) -> None:
        self.cause = cause
        self.text = text
        self.column = column
        super().__init__(f"filter: {cause} at column {column}: {self._excerpt()[0]}")

    def _excerpt(self) -> tuple[str, int]:
        """The text around the place on one line, and where in it the place is."""
        at = self.column - 1
        start, end = max(0, at - _AROUND), at + _AROUND
        left = "..." if start else ""
        right = "..." if end < len(self.text) else ""
        shown = "".join(char if char.isprintable() else " " for char in self.text[start:end])
        return left + shown + right, len(left) + at - start

    def picture(self) -> str:
        """Two lines: the text around the place, and a caret under the place."""
        shown, at = self._excerpt()
        return f"{shown}\n{' ' * at}^"
