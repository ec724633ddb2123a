"""The last rows of many, within bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from sftools.errors import SftoolsError
from sftools.limits import MAX_TAIL_BYTES
from sftools.reader.rows_cy import Row

# What a row takes beside its bytes.
_ROW_OVERHEAD = 400


def last_rows(rows: Iterable[Row], count: int, *, ancestors: bool = False) -> Iterator[Row]:
    """The last `count` rows, in their order.

    The rows given are those that move; those that come out are, too. They know their ancestors only with `ancestors`,
    which keeps every process of their traces. Raises SftoolsError where the rows take more than limits.MAX_TAIL_BYTES.
    """
    kept: deque[tuple[Any, int, bytes, tuple[Any, ...], Any]] = deque()
    users: dict[Any, int] = {}  # of an entity, among the rows kept
    held = 0
    for row in rows:
        index, raw, entities, tables = row.packed()
        kept.append((row.plan, index, raw, entities, tables if ancestors else None))
        held += _ROW_OVERHEAD + len(raw)
        for entity in entities:
            if entity is not None:
                users[entity] = number = users.get(entity, 0) + 1
                if number == 1:
                    held += entity.cost
        if len(kept) > count:
            _, _, raw, entities, _ = kept.popleft()
            held -= _ROW_OVERHEAD + len(raw)
            for entity in entities:
                if entity is not None:
                    users[entity] = number = users[entity] - 1
                    if not number:
                        del users[entity]
                        held -= entity.cost
        if held > MAX_TAIL_BYTES:
            raise SftoolsError(f"the last {count:,} records take too much memory: choose fewer")
    users.clear()
    moving: Row | None = None
    while kept:
        plan, index, raw, entities, tables = kept.popleft()
        if moving is None or moving.plan is not plan:
            moving = Row(plan)
        moving.restore(index, raw, entities, tables)
        yield moving
