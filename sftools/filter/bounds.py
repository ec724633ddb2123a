"""What a filter lets pass at most: so much a live capture can leave out in the kernel already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from sftools.conditions.syntax import And, Check, Expression, Or
from sftools.filter.parser import parse

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """pids: of processes (proc.pid). types: names of events (evt.type). None: any."""

    pids: frozenset[int] | None = None
    types: frozenset[str] | None = None


def bounds(text: str) -> Bounds:
    """The bounds of a filter that compiles. What passes the filter is within them; not all within them passes.

    Only of what cannot change while a process lives: its name does, with exec.
    """
    return _bounds(parse(text))


def _bounds(tree: Expression) -> Bounds:
    if isinstance(tree, Check):
        values = [word.text for word in tree.values] if tree.operator in ("=", "==", "in") else []
        if tree.field == "evt.type" and values:
            return Bounds(types=frozenset(values))
        if tree.field == "proc.pid" and values and all(value.isascii() and value.isdecimal() for value in values):
            return Bounds(pids=frozenset(map(int, values)))
    elif isinstance(tree, And | Or):
        found = [_bounds(operand) for operand in tree.operands]
        join = _all_of if isinstance(tree, And) else _any_of
        return Bounds(join([each.pids for each in found]), join([each.types for each in found]))
    return Bounds()


def _all_of(sets: list[frozenset[T] | None]) -> frozenset[T] | None:
    bounded = [each for each in sets if each is not None]
    return frozenset.intersection(*bounded) if bounded else None


def _any_of(sets: list[frozenset[T] | None]) -> frozenset[T] | None:
    bounded = [each for each in sets if each is not None]
    return frozenset[T]().union(*bounded) if len(bounded) == len(sets) else None
