"""The operators: one table, from which the parser, the compiler and the documentation come.

Meanings: falcosecurity/libs userspace/libsinsp/filter_compare.cpp.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from sftools.conditions.operators import Operator, Takes, Test, compared, different, ignoring_case
from sftools.conditions.values import members
from sftools.filter.globs import glob, prefixes
from sftools.filter.values import FieldType, parse_bytes

_EVERY = frozenset(FieldType)
_ORDERED = frozenset({FieldType.TEXT, FieldType.NUMBER})
_TEXT = frozenset({FieldType.TEXT})


def _hex_inside(values: Sequence[Any]) -> Test:
    want = parse_bytes(values[0])
    return lambda value: want in value


def _hex_first(values: Sequence[Any]) -> Test:
    want = parse_bytes(values[0])
    return lambda value: value.startswith(want)


OPERATORS: tuple[Operator, ...] = (
    Operator("=", Takes.VALUE, _EVERY, "equal; an address also equals a network it lies in", members),
    Operator("==", Takes.VALUE, _EVERY, "the same as `=`", members),
    Operator("!=", Takes.VALUE, _EVERY, "there, and different", different, negated=True),
    Operator("<", Takes.VALUE, _ORDERED, "less; texts in the order of their bytes", compared(operator.lt)),
    Operator("<=", Takes.VALUE, _ORDERED, "less or equal", compared(operator.le)),
    Operator(">", Takes.VALUE, _ORDERED, "greater", compared(operator.gt)),
    Operator(">=", Takes.VALUE, _ORDERED, "greater or equal", compared(operator.ge)),
    Operator("contains", Takes.VALUE, _TEXT, "the value stands in it", compared(operator.contains)),
    Operator("icontains", Takes.VALUE, _TEXT, "the same, whatever the case of ASCII letters", ignoring_case),
    Operator("bcontains", Takes.VALUE, _TEXT, "the bytes, given as hexadecimal digits, stand in it", _hex_inside,
             raw=True),
    Operator("startswith", Takes.VALUE, _TEXT, "begins with the value", compared(bytes.startswith)),
    Operator("bstartswith", Takes.VALUE, _TEXT, "begins with the bytes, given as hexadecimal digits", _hex_first,
             raw=True),
    Operator("endswith", Takes.VALUE, _TEXT, "ends with the value", compared(bytes.endswith)),
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
