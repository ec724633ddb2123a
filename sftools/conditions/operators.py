"""The shape of an operator, and how those that both languages have compare. Each language has its own table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sftools.conditions.values import members

Test = Callable[[Any], bool]
"""Given a field's value that is not absent."""


class Takes(Enum):
    """What stands after an operator."""

    NOTHING = "nothing"
    VALUE = "a value"
    LIST = "a list"


@dataclass(frozen=True, slots=True)
class Operator:
    """types: the field types of its language that it is for. make: given the values in the form that the field's type
    parses to, or as written where `raw`, gives the test.

    Raises ValueError where a value is none for it. negated: true where the values differ.
    """

    name: str
    takes: Takes
    types: frozenset[Any]
    description: str
    make: Callable[[Sequence[Any]], Test]
    raw: bool = False
    negated: bool = False


def compared(compare: Callable[[Any, Any], bool]) -> Callable[[Sequence[Any]], Test]:
    """make of an operator that calls compare(the field's value, the one value)."""

    def make(values: Sequence[Any]) -> Test:
        want = values[0]
        return lambda value: compare(value, want)

    return make


def different(values: Sequence[Any]) -> Test:
    """make of an operator: true for what is none of the values, and in no network of them."""
    same = members(values)
    return lambda value: not same(value)


def ignoring_case(values: Sequence[Any]) -> Test:
    """make of an operator: true for text that has the one value in it, in whatever case."""
    want = values[0].lower()
    return lambda value: want in value.lower()
