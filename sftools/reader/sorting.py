"""Sorts the rows of traces within bounded memory: what does not fit is sorted in parts, in temporary files."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import IO, Any

from sftools.errors import SftoolsError
from sftools.limits import MAX_SORT_ENTITY_BYTES
from sftools.reader.rows_cy import Row

# A part that is sorted in memory: so many rows, or so many bytes of records.
_RUN_ROWS = 50_000
_RUN_BYTES = 16 << 20
# So many parts are merged into one. Of each there is a piece in memory, of so many rows or bytes of records.
_MERGED = 32
_PIECE_ROWS = 256
_PIECE_BYTES = 128 << 10

Packed = tuple[Any, int, int, int, bytes, tuple[int, ...]]
"""A row in a file: its sort key; then numbers of its schema, its tables; then index, bytes, numbers of its entities."""

_KEY: Callable[[Packed], Any] = itemgetter(0)


def sorted_rows(
    rows: Iterable[Row], key: Callable[[Row], Any], *, descending: bool = False, ancestors: bool = False
) -> Iterator[Row]:
    """The rows in the order of key(row) (fields.sort_key): something with an order, or None, which comes last always.

    Rows of the same key stay in their order. The rows given are those that move; those that come out are, too. They
    know their ancestors only with `ancestors`, which keeps every process of every trace. Raises SftoolsError where the
    rows have more different entities than limits.MAX_SORT_ENTITY_BYTES, OSError where a temporary file fails.
    """
    shelf = _Shelf(ancestors)
    absent: tuple[int] = (0,) if descending else (2,)

    def packed() -> Iterator[Packed]:
        for row in rows:
            value = key(row)
            yield shelf.pack(row, absent if value is None else (1, value))

    runs: list[Iterator[Packed]] = []
    run: list[Packed] = []
    size = 0
    for each in packed():
        run.append(each)
        size += len(each[4])
        if len(run) >= _RUN_ROWS or size >= _RUN_BYTES:
            run.sort(key=_KEY, reverse=descending)
            runs.append(_stored(run))
            run, size = [], 0
            if len(runs) == _MERGED:
                runs = [_stored(heapq.merge(*runs, key=_KEY, reverse=descending))]
    run.sort(key=_KEY, reverse=descending)
    for each in heapq.merge(*runs, run, key=_KEY, reverse=descending):
        yield shelf.unpack(each)


def _stored(run: Iterable[Packed]) -> Iterator[Packed]:
    """Write a sorted part to a file without a name, and read it again, little by little."""
    file: IO[bytes] = tempfile.TemporaryFile(prefix="sftools-sort-")  # noqa: SIM115 - _loaded does
    piece: list[Packed] = []
    size = 0
    for each in run:
        piece.append(each)
        size += len(each[4])
        if len(piece) == _PIECE_ROWS or size >= _PIECE_BYTES:
            pickle.dump(piece, file, pickle.HIGHEST_PROTOCOL)
            piece, size = [], 0
    pickle.dump(piece, file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)
    return _loaded(file)


def _loaded(file: IO[bytes]) -> Iterator[Packed]:
    with file:
        while True:
            try:
                piece = pickle.load(file)
            except EOFError:
                return
            yield from piece


class _Shelf:
    """What packed rows only have the numbers of: entities, schemas, tables of entities."""

    def __init__(self, ancestors: bool) -> None:
        self._ancestors = ancestors
        self._numbers: dict[Any, int] = {None: 0}
        self._things: list[Any] = [None]
        self._bytes = 0
        self._rows: dict[int, Row] = {}

    def _number(self, thing: Any) -> int:
        number = self._numbers.get(thing)
        if number is None:
            number = self._numbers[thing] = len(self._things)
            self._things.append(thing)
        return number

    def _entity(self, entity: Any) -> int:
        number = self._numbers.get(entity)
        if number is None:
            number = self._number(entity)
            self._bytes += entity.cost
            if self._bytes > MAX_SORT_ENTITY_BYTES:
                raise SftoolsError("too many different processes and files to sort: choose fewer records with a filter")
        return number

    def pack(self, row: Row, key: Any) -> Packed:
        index, raw, entities, tables = row.packed()
        numbers: tuple[Any, ...] = tuple(map(self._numbers.get, entities))
        if None in numbers:
            numbers = tuple(map(self._entity, entities))
        return key, self._number(row.plan), self._number(tables) if self._ancestors else 0, index, raw, numbers

    def unpack(self, packed: Packed) -> Row:
        _, plan, tables, index, raw, numbers = packed
        row = self._rows.get(plan)
        if row is None:
            row = self._rows[plan] = Row(self._things[plan])
        things = self._things
        row.restore(index, raw, tuple(map(things.__getitem__, numbers)), things[tables])
        return row
