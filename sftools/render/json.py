"""Rows as JSON, a document each: nested (proc.exe is {"proc": {"exe": ...}}) or flat. UTF-8, without blanks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import orjson

from sftools.fields import Field
from sftools.render.template_cy import Template


def json_writer(file: BinaryIO, fields: Sequence[Field], *, flat: bool = False, array: bool = False) -> Template:
    """A writer of a line for each row or, with `array`, of one array of them. Names stand in the order of the fields.

    Where a row has none of a value, there is null or "", as the field's `missing` says.
    """
    parts, end = _flat(fields) if flat else _nested(fields)
    if array:
        return Template(file, parts, end, orjson.dumps, _missing, b'"', b"[", b",\n", b"]\n")
    return Template(file, parts, end + b"\n", orjson.dumps, _missing, b'"')


def _missing(field: Field) -> bytes:
    return b"null" if field.missing is None else b'""'


def _flat(fields: Sequence[Field]) -> tuple[list[tuple[bytes, Field]], bytes]:
    parts = [((b"," if i else b"{") + orjson.dumps(field.name) + b":", field) for i, field in enumerate(fields)]
    return parts, b"}" if parts else b"{}"


def _nested(fields: Sequence[Field]) -> tuple[list[tuple[bytes, Field]], bytes]:
    """The members of a group stand together, where its first one does."""
    groups: dict[str, list[Field]] = {}
    for field in fields:
        group, dot, _ = field.name.partition(".")
        groups.setdefault(group + dot, []).append(field)
    parts = []
    before = b"{"
    for group, members in groups.items():
        if not group.endswith("."):
            parts.append((before + orjson.dumps(group) + b":", members[0]))
            before = b","
            continue
        before += orjson.dumps(group[:-1]) + b":{"
        for field in members:
            parts.append((before + orjson.dumps(field.name[len(group) :]) + b":", field))
            before = b","
        before = b"},"
    return parts, before.rstrip(b",") + b"}"
