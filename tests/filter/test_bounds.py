"""What of a filter a live capture can push into the kernel."""

from __future__ import annotations

import pytest

from sftools.filter import Bounds, bounds


@pytest.mark.parametrize(
    ("text", "pids", "types"),
    [
        ("proc.pid = 5", {5}, None),
        ("proc.pid in (5, 6)", {5, 6}, None),
        ("evt.type in (open, connect) and proc.pid = 5", {5}, {"open", "connect"}),
        ("evt.type = open or evt.type = close", None, {"open", "close"}),
        ("proc.pid = 5 or proc.name = sh", None, None),
        ("proc.pid in (5, 6) and proc.pid in (6, 7)", {6}, None),
        ("proc.pid = 5 and proc.pid = 6", set(), None),
        ("not evt.type = open", None, None),
        ("evt.type != open", None, None),
        ("evt.type startswith op", None, None),
        ("proc.pid > 5", None, None),
        ("proc.name = sh", None, None),
        ("evt.type = open and (proc.pid = 1 or proc.pid = 2)", {1, 2}, {"open"}),
    ],
)
def test_bounds(text: str, pids: set[int] | None, types: set[str] | None) -> None:
    wanted = Bounds(None if pids is None else frozenset(pids), None if types is None else frozenset(types))
    assert bounds(text) == wanted
