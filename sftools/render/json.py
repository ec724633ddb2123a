"""Rows as JSON, one document a line: proc.exe is {"proc": {"exe": ...}}. ASCII only, so a terminal just shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sftools.reader import Joined
from sftools.render.rows import FIELDS


def json_lines(rows: Iterable[Joined], fields: Sequence[str]) -> Iterator[str]:
    """A line without its end for each row."""
    for row in rows:
        document: dict[str, Any] = {}
        for name in fields:
            field = FIELDS[name]
            value = field.get(row)
            group, _, member = name.rpartition(".")
            place = document.setdefault(group, {}) if group else document
            place[member] = field.missing if value is None else value
        yield json.dumps(document)
