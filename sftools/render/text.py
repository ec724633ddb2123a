"""Text as a terminal shows it: what it would obey is escaped, columns are counted, lines wrapped."""

from __future__ import annotations

import re
from unicodedata import category, east_asian_width

_PLAIN = re.compile(r"[ -~]*")
# An escape of printable(), or of a | in a table, stays on one line, where it fits there.
_UNIT = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|\|)|.")
_LONGEST_UNIT = 10
_BREAKS = frozenset(" /,;")


def printable(text: str) -> str:
    r"""Text that a terminal only shows, on one line.

    Controls, separators, surrogates, invisible marks and those that turn the direction of writing become \xNN below
    U+0080, then \uNNNN or \UNNNNNNNN. A byte that was no UTF-8 becomes \xNN of the byte, in text of traces
    (sftools.avro.text) and in names of files (os.fsdecode).
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if 0xEF80 <= code <= 0xEFFF or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def columns_of(text: str) -> int:
    """How many columns of a terminal printable text takes: East Asian wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of_char, text))


def _columns_of_char(char: str) -> int:
    if char < "\u0300":
        return 1
    if category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":  # Hangul vowels and finals join what is before
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns (at least 2), which joined are the text.

    A line ends behind a blank or one of /,; where there is one in the last two thirds.
    """
    if columns_of(text) <= width:
        return [text]
    lines = []
    line: list[str] = []
    used = 0
    last_break = columns_at_break = 0
    for unit in _UNIT.findall(text) if width >= _LONGEST_UNIT else text:
        columns = columns_of(unit)
        if used + columns > width:
            at, taken = (last_break, columns_at_break) if columns_at_break * 3 > width else (len(line), used)
            lines.append("".join(line[:at]))
            line = line[at:]
            used -= taken
            last_break = columns_at_break = 0
        line.append(unit)
        used += columns
        if unit in _BREAKS:
            last_break, columns_at_break = len(line), used
    return [*lines, "".join(line)]
