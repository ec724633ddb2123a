"""The operators: one table, from which the parser, the compiler and the documentation come."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sftools.conditions.operators import Operator, Takes, Test, compared, different, ignoring_case
from sftools.conditions.values import members
from sftools.fields import FieldType

_EVERY = frozenset({FieldType.TEXT, FieldType.NUMBER, FieldType.BOOL, FieldType.TIME, FieldType.ADDRESS})
_NUMBERS = frozenset({FieldType.NUMBER, FieldType.TIME})
_TEXTS = frozenset({FieldType.TEXT, FieldType.ADDRESS})


def _one_inside(values: Sequence[Any]) -> Test:
    if len(values) == 1:
        return compared(operator.contains)(values)

    def test(value: Any) -> bool:
        for want in values:  # noqa: SIM110 (any() with a generator takes twice the time)
            if want in value:
                return True
        return False

    return test


OPERATORS: tuple[Operator, ...] = (
    Operator("=", Takes.VALUE, _EVERY, "equal, as a whole; `= [a, b]`: to one of them; an address also to a network it "
             "lies in", members),
    Operator("==", Takes.VALUE, _EVERY, "the same as `=`", members),
    Operator("!=", Takes.VALUE, _EVERY, "there, and not equal; `!= [a, b]`: to none of them", different, negated=True),
    Operator("<", Takes.VALUE, _NUMBERS, "less", compared(operator.lt)),
    Operator("<=", Takes.VALUE, _NUMBERS, "less or equal", compared(operator.le)),
    Operator(">", Takes.VALUE, _NUMBERS, "greater", compared(operator.gt)),
    Operator(">=", Takes.VALUE, _NUMBERS, "greater or equal", compared(operator.ge)),
    Operator("contains", Takes.VALUE, _TEXTS, "the value stands in it", compared(operator.contains), raw=True),
    Operator("icontains", Takes.VALUE, _TEXTS, "the same, whatever the case of letters", ignoring_case, raw=True),
    Operator("startswith", Takes.VALUE, _TEXTS, "begins with the value", compared(str.startswith), raw=True),
    Operator("endswith", Takes.VALUE, _TEXTS, "ends with the value", compared(str.endswith), raw=True),
    Operator("in", Takes.LIST, _EVERY, "equal to one of the list", members),
    Operator("pmatch", Takes.LIST, _TEXTS, "one of the list stands in it", _one_inside, raw=True),
    Operator("exists", Takes.NOTHING, _EVERY, "there, and not an empty text; 0 and false are there",
             lambda values: lambda value: True),
)  # fmt: skip

BY_NAME: dict[str, Operator] = {operator.name: operator for operator in OPERATORS}

EQUALITY = frozenset({"=", "==", "!=", "in"})
"""The operators that ask whether a value is one of some, of which one may be that there is none."""

BETWEEN: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.eq,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "contains": operator.contains, "icontains": lambda value, want: want.lower() in value.lower(),
    "startswith": str.startswith, "endswith": str.endswith,
}  # fmt: skip
"""How two fields' values compare; those that are not equal differ."""

REFUSED = {
    "regex": "regex is not supported, as a pattern from outside can take unbounded time: use contains or pmatch",
    "glob": "glob is not supported: use contains, startswith, endswith or pmatch",
}
"""Operators of Falco's language that this has not, and why."""
