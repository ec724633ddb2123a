"""Rows as a table for people: columns as wide as the first rows need, and as a terminal has room."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from sftools.reader import Joined
from sftools.render.rows import FIELDS

# The widths come from this many rows; the others are not waited for.
_SAMPLE = 500
_NARROWEST = 12
_GAP = "  "

# What a terminal obeys, or shows in another order than it stands: controls, surrogates, separators, invisible marks.
_PRINTABLE = re.compile(r"[ -~]*")


def table_lines(rows: Iterable[Joined], fields: Sequence[str], columns: int | None) -> Iterator[str]:
    """The table's lines without their ends: titles, a rule, and a line for each row. No rows, no table.

    columns: what the terminal has; None where nothing has to fit.
    """
    cells = ([_cell(FIELDS[name].get(row)) for name in fields] for row in rows)
    sample = list(islice(cells, _SAMPLE))
    if not sample:
        return
    titles = [FIELDS[name].title for name in fields]
    most = [FIELDS[name].width for name in fields]
    needed = [max(map(len, column)) for column in zip(titles, *sample, strict=True)]
    widths = _fit([min(pair) for pair in zip(needed, most, strict=True)], columns)
    # Where the rows behind the sample need more, the columns of a file or pipe overflow; a terminal's do not.
    limits = widths if columns else most
    numeric = [FIELDS[name].numeric for name in fields]

    def line(row: Sequence[str]) -> str:
        placed = []
        for text, width, limit, right in zip(row, widths, limits, numeric, strict=True):
            text = _cut(text, limit)
            placed.append(text.rjust(width) if right else text.ljust(width))
        return _GAP.join(placed).rstrip()

    yield line(titles)
    yield _GAP.join("-" * width for width in widths)
    for row in chain(sample, cells):
        yield line(row)


def printable(text: str) -> str:
    r"""Text that a terminal only shows: other characters as \xNN or \uNNNN, and escaped bytes as \xNN of the byte."""
    if _PRINTABLE.fullmatch(text):
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if 0xEF80 <= code <= 0xEFFF:  # a byte that was no UTF-8: sftools.avro.text
        code -= 0xEF00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))


def _cut(text: str, width: int) -> str:
    """The end of a path tells more than its beginning; of other text the beginning does."""
    if len(text) <= width:
        return text
    if text.startswith("/"):
        return ".." + text[len(text) - width + 2 :]
    return text[: width - 2] + ".."


def _fit(widths: list[int], columns: int | None) -> list[int]:
    """Narrower columns, the widest first, until they fit."""
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - (columns or sum(widths) * 2 + 1000)
    while over > 0 and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        widths[widest] -= 1
        over -= 1
    return widths
