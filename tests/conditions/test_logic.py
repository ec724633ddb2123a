"""Closures of closures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.conditions.logic import Predicate, conjunction, disjunction, negation


def constant(value: bool) -> Predicate:
    return lambda subject: value


def fail(subject: object) -> bool:
    raise AssertionError("called in vain")


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_they_are_all_any_and_not(values: list[bool]) -> None:
    operands = [constant(value) for value in values]
    assert conjunction(operands)(None) is all(values)
    assert disjunction(operands)(None) is any(values)
    assert negation(operands[0])(None) is not values[0]


@pytest.mark.parametrize("more", [0, 1])
def test_what_cannot_change_the_result_is_not_called(more: int) -> None:
    assert not conjunction([constant(False), fail, *[fail] * more])(None)
    assert disjunction([constant(True), fail, *[fail] * more])(None)
