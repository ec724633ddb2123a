"""The operators: one table, from which the parser, the compiler and the documentation come.

Meanings: falcosecurity/libs userspace/libsinsp/filter_compare.cpp.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sftools.filter.globs import glob, prefixes
from sftools.filter.values import FieldType, members, parse_bytes

Test = Callable[[Any], bool]
"""Given a field's value that is not absent."""


class Takes(Enum):
    """What stands after an operator."""

    NOTHING = "nothing"
    VALUE = "a value"
    LIST = "a list"


_EVERY = frozenset(FieldType)
_ORDERED = frozenset({FieldType.TEXT, FieldType.NUMBER})
_TEXT = frozenset({FieldType.TEXT})


@dataclass(frozen=True, slots=True)
class Operator:
    """make: given the parsed values (FieldType.parse), or the texts' bytes where `raw`, gives the test.

    Raises ValueError where a value is none for it. negated: true where the values differ.
    """

    name: str
    takes: Takes
    types: frozenset[FieldType]
    description: str
    make: Callable[[Sequence[Any]], Test]
    raw: bool = False
    negated: bool = False


def _with(compare: Callable[[Any, Any], bool]) -> Callable[[Sequence[Any]], Test]:
    def make(values: Sequence[Any]) -> Test:
        want = values[0]
        return lambda value: compare(value, want)

    return make


def _different(values: Sequence[Any]) -> Test:
    same = members(values)
    return lambda value: not same(value)


def _ignoring_case(values: Sequence[Any]) -> Test:
    want = values[0].lower()
    return lambda value: want in value.lower()


def _hex_inside(values: Sequence[Any]) -> Test:
    want = parse_bytes(values[0])
    return lambda value: want in value


def _hex_first(values: Sequence[Any]) -> Test:
    want = parse_bytes(values[0])
    return lambda value: value.startswith(want)


OPERATORS: tuple[Operator, ...] = (
    Operator("=", Takes.VALUE, _EVERY, "equal; an address also equals a network it lies in", members),
    Operator("==", Takes.VALUE, _EVERY, "the same as `=`", members),
    Operator("!=", Takes.VALUE, _EVERY, "there, and different", _different, negated=True),
    Operator("<", Takes.VALUE, _ORDERED, "less; texts in the order of their bytes", _with(operator.lt)),
    Operator("<=", Takes.VALUE, _ORDERED, "less or equal", _with(operator.le)),
    Operator(">", Takes.VALUE, _ORDERED, "greater", _with(operator.gt)),
    Operator(">=", Takes.VALUE, _ORDERED, "greater or equal", _with(operator.ge)),
    Operator("contains", Takes.VALUE, _TEXT, "the value stands in it", _with(operator.contains)),
    Operator("icontains", Takes.VALUE, _TEXT, "the same, whatever the case of ASCII letters", _ignoring_case),
    Operator("bcontains", Takes.VALUE, _TEXT, "the bytes, given as hexadecimal digits, stand in it", _hex_inside,
             raw=True),
    Operator("startswith", Takes.VALUE, _TEXT, "begins with the value", _with(bytes.startswith)),
    Operator("bstartswith", Takes.VALUE, _TEXT, "begins with the bytes, given as hexadecimal digits", _hex_first,
             raw=True),
    Operator("endswith", Takes.VALUE, _TEXT, "ends with the value", _with(bytes.endswith)),
    Operator("glob", Takes.VALUE, _TEXT, "matches a pattern with `*`, `?` and `[a-z]`; `*` also matches slashes",
             lambda values: glob(values[0])),
    Operator("iglob", Takes.VALUE, _TEXT, "the same, whatever the case of ASCII letters",
             lambda values: glob(values[0], ignore_case=True)),
    Operator("in", Takes.LIST, _EVERY, "equal to one of the list", members),
    Operator("intersects", Takes.LIST, _EVERY, "one of its values is in the list; the same as `in`", members),
    Operator("pmatch", Takes.LIST, _TEXT, "a path of the list, or below one; components may be patterns", prefixes),
    Operator("exists", Takes.NOTHING, _EVERY, "the event has that field", lambda values: lambda value: True),
)  # fmt: skip

BY_NAME: dict[str, Operator] = {operator.name: operator for operator in OPERATORS}

REFUSED = {
    "regex": "regex is not supported, as a pattern from outside can take unbounded time: use glob, pmatch or contains",
}
"""Operators that Falco has and this does not, and why."""
