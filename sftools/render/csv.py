"""Rows as CSV (RFC 4180): a line of names, then a line for each row, ended by CR LF. UTF-8."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, BinaryIO

from sftools.fields import Field
from sftools.render.template_cy import Template

_QUOTED = re.compile(r'[,"\r\n]')
# A spreadsheet would run such a text as a formula. A minus is left alone: arguments begin with one.
_FORMULA = ("=", "+", "@", "\t", "\r")


def csv_writer(file: BinaryIO, fields: Sequence[Field], *, header: bool = True) -> Template:
    """A writer of CSV. What a row has none of is empty; booleans are True and False, lists as Python writes them.

    header: whether the names come first. A text that begins like a formula gets a ' in front: a trace may be hostile.
    """
    # One empty cell would be an empty line, which readers pass over.
    empty = b'""' if len(fields) == 1 else b""

    def encode(value: Any) -> bytes:
        if isinstance(value, str):
            return _text(value).encode() or empty
        if isinstance(value, list | tuple | dict):
            return _text(str(value)).encode()
        return (f"{value:.9f}" if isinstance(value, float) else str(value)).encode()

    parts = [(b"," if i else b"", field) for i, field in enumerate(fields)]
    first = ",".join(field.name for field in fields).encode() + b"\r\n" if header else b""
    return Template(file, parts, b"\r\n", encode, lambda field: empty, b"", first)


def _text(value: str) -> str:
    if value.startswith(_FORMULA):
        value = "'" + value
    if _QUOTED.search(value):
        return '"' + value.replace('"', '""') + '"'
    return value
