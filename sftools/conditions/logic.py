"""Closures of closures: not, and, or."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Predicate = Callable[[Any], bool]


def negation(operand: Predicate) -> Predicate:
    return lambda subject: not operand(subject)


def conjunction(operands: Sequence[Predicate]) -> Predicate:
    """True where all are; later ones are not called once one is false."""
    if len(operands) == 2:
        first, second = operands
        return lambda subject: first(subject) and second(subject)

    def every(subject: Any) -> bool:
        for operand in operands:  # noqa: SIM110 (all() with a generator takes twice the time)
            if not operand(subject):
                return False
        return True

    return every


def disjunction(operands: Sequence[Predicate]) -> Predicate:
    """True where one is; later ones are not called once one is true."""
    if len(operands) == 2:
        first, second = operands
        return lambda subject: first(subject) or second(subject)

    def some(subject: Any) -> bool:
        for operand in operands:  # noqa: SIM110
            if operand(subject):
                return True
        return False

    return some
