"""Rows as a table for people, in the way of GitHub's markdown. UTF-8.

The widths of the columns come from the first rows and then stay. In a file or pipe a row is one line, whatever it
holds. On a terminal the table is as wide as that: a long cell goes on in the lines below. Where there are too many
fields for that, a record is printed as a list of names and values. Nothing is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, Protocol

from sftools.fields import FIELDS, Field, FieldType
from sftools.reader.rows_cy import Row
from sftools.render.template_cy import Template
from sftools.render.text import columns_of, printable, wrapped

# The widths come from this many rows, or from fewer that have so much text; the others are not waited for.
_SAMPLE = 500
_SAMPLE_CHARS = 1 << 20
# In a file, so that one long command line does not widen every row.
_WIDEST = 100
# How a table is made to fit, the best way first: blanks beside the bars, and the least columns for a text.
_WAYS = ((1, 20), (1, 14), (0, 10))
_NARROWEST_LIST = 40

# Between the cells of a row that the template makes; printable text has none.
_CELL = "\x1f"

_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
_TYPE_COLORS = {
    "PE": "\x1b[32m", "PF": "\x1b[32m", "FE": "\x1b[36m", "FF": "\x1b[36m", "NE": "\x1b[35m", "NF": "\x1b[35m",
    "KE": "\x1b[33m",
}  # fmt: skip


class _Layout(Protocol):
    head: str

    def line(self, number: int, cells: Sequence[str]) -> str:
        """A row, with the end of its last line."""
        ...


class TableWriter:
    """Writes rows to a binary file; nothing at all where there are none. See table_writer."""

    def __init__(self, file: BinaryIO, fields: Sequence[Field], columns: int | None, color: bool, numbered: bool):
        self._file = file
        self._fields = fields
        self._columns = columns
        self._color = color
        self._numbered = numbered
        parts = [(_CELL.encode() if i else b"", field) for i, field in enumerate(fields)]
        self._template = Template(self, parts, b"\n", _cell, lambda field: b"")
        self._layout: _Layout | None = None
        self._sample: list[list[str]] = []
        self._sample_chars = 0
        self._count = 0

    def row(self, row: Row) -> None:
        """Write a row. Raises what the file raises, and DecodeError."""
        self._template.row(row)

    def close(self) -> None:
        """Write what is waiting. The file stays open."""
        self._template.close()
        if self._layout is None and self._sample:
            self._begin(more=False)

    def write(self, data: memoryview) -> None:
        """Some whole rows of the template."""
        text = bytes(data).decode()
        rows = [line.split(_CELL) for line in text.split("\n")]
        rows.pop()  # behind the last end
        if self._layout is None:
            self._sample += rows
            self._sample_chars += len(text)
            if len(self._sample) >= _SAMPLE or self._sample_chars >= _SAMPLE_CHARS:
                self._begin(more=True)
        else:
            self._put(self._layout, rows)

    def _begin(self, more: bool) -> None:
        """Settle the widths. more: whether there may be other rows than those of the sample."""
        self._layout = _layout(self._fields, self._sample, self._columns, self._color, self._numbered, more)
        self._file.write(self._layout.head.encode())
        self._put(self._layout, self._sample)
        self._sample = []

    def _put(self, layout: _Layout, rows: Iterable[Sequence[str]]) -> None:
        line = layout.line
        lines = [line(number, cells) for number, cells in enumerate(rows, self._count)]
        self._count += len(lines)
        self._file.write("".join(lines).encode())


def table_writer(
    file: BinaryIO, fields: Sequence[Field], *, columns: int | None = None, color: bool = False, numbered: bool = True
) -> TableWriter:
    """A writer of a table.

    columns: those of the terminal; None or 0: for a file or pipe. numbered: count the rows in a first column, from 0.
    color: for the headings, the record types and failed calls.
    """
    return TableWriter(file, fields, columns or None, color, numbered)


def _cell(value: Any) -> bytes:
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = f"{value:.9f}"
    elif isinstance(value, list | tuple):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return printable(text).replace("|", r"\|").encode()


# -- layouts


def _layout(
    fields: Sequence[Field],
    sample: Sequence[Sequence[str]],
    columns: int | None,
    color: bool,
    numbered: bool,
    more: bool,
) -> _Layout:
    if numbered:
        fields = [FIELDS["idx"], *fields]
        sample = [(str(number), *cells) for number, cells in enumerate(sample)]
    titles = _titles(fields)
    widths = [max(len(title), *map(columns_of, cells)) for title, *cells in zip(titles, *sample, strict=True)]
    if more and numbered:
        widths[0] = max(widths[0], fields[0].width)
    texts = [_wraps(field) for field in fields]
    if columns is None:
        widths = [min(width, _WIDEST) if text else width for width, text in zip(widths, texts, strict=True)]
        return _Table(fields, widths, 1, False, color, numbered)
    for blanks, narrowest in _WAYS:
        room = columns - (2 * blanks + 1) * len(fields) - 1
        if fitted := _fitted(widths, texts, narrowest, room):
            if more:
                _use_up(fitted, [field.width for field in fields], room)
            return _Table(fields, fitted, blanks, True, color, numbered)
    return _List(fields, max(columns, _NARROWEST_LIST), color, numbered)


def _titles(fields: Iterable[Field]) -> list[str]:
    return [field.title for field in fields]


def _wraps(field: Field) -> bool:
    """Numbers, times and addresses stay in one piece, and the letters of the operations, whose place counts."""
    return field.type in (FieldType.TEXT, FieldType.LIST) and field.name != "opflags"


def _fitted(widths: Sequence[int], texts: Sequence[bool], narrowest: int, room: int) -> list[int] | None:
    """Widths that fit: the widest texts are made narrower, all to the same width. None where that is not enough."""

    def within(most: int) -> list[int]:
        return [min(width, most) if text else width for width, text in zip(widths, texts, strict=True)]

    if sum(widths) <= room:
        return list(widths)
    most = next((most for most in range(room, narrowest - 1, -1) if sum(within(most)) <= room), None)
    if most is None:
        return None
    fitted = within(most)
    _use_up(fitted, [min(width, most + 1) for width in widths], room)  # what division left over
    return fitted


def _use_up(widths: list[int], wanted: Sequence[int], room: int) -> None:
    """Widen columns to what they want, one after the other, while there is room."""
    for at, width in enumerate(wanted):
        widths[at] += max(0, min(width - widths[at], room - sum(widths)))


class _Colors:
    """The colour of a cell, by its column."""

    def __init__(self, fields: Sequence[Field]) -> None:
        by_name: dict[str, Callable[[str], str]] = {
            "type": lambda text: _TYPE_COLORS.get(text, ""),
            "ret": lambda text: _RED if text.startswith("-") else "",
        }
        self._of = {at: by_name[field.name] for at, field in enumerate(fields) if field.name in by_name}

    def paint(self, at: int, text: str, placed: str) -> str:
        """The cell as it is placed in its column, with the colour that its text has."""
        color = self._of[at](text) if at in self._of else ""
        return f"{color}{placed}{_PLAIN}" if color else placed


class _Table:
    """Cells between bars, below a line of titles. wrap: texts that are too long go on in further lines."""

    def __init__(
        self, fields: Sequence[Field], widths: Sequence[int], blanks: int, wrap: bool, color: bool, numbered: bool
    ) -> None:
        self._widths = widths
        self._right = [field.type is FieldType.NUMBER for field in fields]
        self._wrap = wrap
        self._numbered = numbered
        self._colors = _Colors(fields) if color else None
        space = " " * blanks
        self._start, self._between, self._end = f"|{space}", f"{space}|{space}", f"{space}|\n"
        cells = [f"{{:{'>' if right else '<'}{width}}}" for width, right in zip(widths, self._right, strict=True)]
        self._plain = (self._start + self._between.join(cells) + self._end).format
        self._length = len(self._plain(*[""] * len(widths)))
        titles = self._placed(_titles(fields), None)
        if color:
            titles = "".join(f"{_BOLD}{line}{_PLAIN}\n" for line in titles.splitlines())
        rules = []
        for width, right in zip(widths, self._right, strict=True):
            rule = "-" * (width + 2 * blanks)
            rules.append(rule[:-1] + ":" if right else rule)
        self.head = f"{titles}|{'|'.join(rules)}|\n"

    def line(self, number: int, cells: Sequence[str]) -> str:
        if self._numbered:
            cells = [str(number), *cells]
        if self._colors is None:
            line: str = self._plain(*cells)
            if line.isascii() and (len(line) == self._length or not self._wrap):
                return line
        return self._placed(cells, self._colors)

    def _placed(self, cells: Sequence[str], colors: _Colors | None) -> str:
        if self._wrap:
            pieces = [wrapped(text, width) for text, width in zip(cells, self._widths, strict=True)]
        else:
            pieces = [[text] for text in cells]
        lines = []
        for i in range(max(map(len, pieces))):
            line = []
            for at, (piece, width, right) in enumerate(zip(pieces, self._widths, self._right, strict=True)):
                text = piece[i] if i < len(piece) else ""
                fill = " " * (width - columns_of(text))
                placed = fill + text if right else text + fill
                line.append(placed if colors is None or not text else colors.paint(at, cells[at], placed))
            lines.append(self._start + self._between.join(line) + self._end)
        return "".join(lines)


class _List:
    """A line for each value of a row that there is; above them one that parts it from the row before."""

    head = ""

    def __init__(self, fields: Sequence[Field], columns: int, color: bool, numbered: bool) -> None:
        self._title = FIELDS["idx"].title if numbered else ""
        self._names = [field.name for field in fields[numbered:]]
        self._name_width = max(map(len, self._names), default=0)
        self._columns = columns
        self._colors = _Colors(fields[numbered:]) if color else None

    def line(self, number: int, cells: Sequence[str]) -> str:
        title = f"{self._title} {number} " if self._title else ""
        rule = f"-- {title}".ljust(self._columns, "-")
        lines = [rule if self._colors is None else f"{_BOLD}{rule}{_PLAIN}"]
        for at, (name, text) in enumerate(zip(self._names, cells, strict=True)):
            if text:
                for i, piece in enumerate(wrapped(text, max(self._columns - self._name_width - 2, 10))):
                    placed = piece if self._colors is None else self._colors.paint(at, text, piece)
                    lines.append(f"{'' if i else name:<{self._name_width}}  {placed}")
        return "\n".join(lines) + "\n"
