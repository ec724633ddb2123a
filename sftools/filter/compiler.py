"""Syntax tree to predicate: closures over the fields' getters and the operators' tests, made once."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from sftools.conditions.errors import FilterError
from sftools.conditions.logic import Predicate, conjunction, disjunction, negation
from sftools.conditions.operators import Operator, Takes, Test
from sftools.conditions.syntax import And, Check, Expression, Not, Or, Word
from sftools.filter.fields import BY_NAME as FIELDS
from sftools.filter.fields import Argument, Field, Getter
from sftools.filter.globs import GlobError
from sftools.filter.operators import BY_NAME as OPERATORS
from sftools.filter.parser import parse
from sftools.filter.values import parse_text
from sftools.limits import MAX_ANCESTORS
from sftools.scap.event_table import EVENTS


def compile_filter(text: str) -> Predicate:
    """The predicate of a filter in Falco's language. Raises FilterError, which names the place.

    It is called with the engine (EngineOptions.predicate): whether the current event's records are wanted.
    """
    return _compile(parse(text), text)


def _compile(tree: Expression, text: str) -> Predicate:
    if isinstance(tree, Not):
        return negation(_compile(tree.operand, text))
    if isinstance(tree, And | Or):
        operands = tuple(_compile(operand, text) for operand in tree.operands)
        return conjunction(operands) if isinstance(tree, And) else disjunction(operands)
    assert isinstance(tree, Check)  # the grammar has no references
    return _check(tree, text)


def _check(check: Check, text: str) -> Predicate:
    field = _field(check, text)
    operator = OPERATORS[check.operator]
    test = _test(check, field, operator, text)
    if check.argument is not None:
        assert field.bind is not None
        return _single(field.bind(_argument(field, check.argument, text)), operator, test)
    if field.of_event is not None:
        return _by_event(field.of_event, test)
    if field.each is not None:
        return _multiple(field.each, test, every=operator.negated and field.differs_in_all)
    if field.get is None:
        raise FilterError(f"{field.name} needs an argument: {field.name}[...]", text, check.at + 1)
    return _single(field.get, operator, test)


def _field(check: Check, text: str) -> Field:
    field = FIELDS.get(check.field)
    if field is None:
        near = difflib.get_close_matches(check.field, FIELDS, 1)
        hint = f" ({near[0]}?)" if near else ""
        raise FilterError(f"unknown field {check.field}{hint}", text, check.at + 1)
    if check.argument is not None and field.bind is None:
        raise FilterError(f"{field.name} takes no argument", text, check.argument.at + 1)
    return field


def _argument(field: Field, word: Word, text: str) -> Any:
    if field.argument is Argument.NAME:
        return parse_text(word.text)
    if not word.text.isascii() or not word.text.isdigit() or len(word.text) > 9:
        raise FilterError(f"{field.name} takes a number as argument", text, word.at + 1)
    level = int(word.text)
    if level > MAX_ANCESTORS:
        raise FilterError(f"an ancestor of more than {MAX_ANCESTORS} levels up", text, word.at + 1)
    return level


def _test(check: Check, field: Field, operator: Operator, text: str) -> Test:
    if field.type not in operator.types:
        cause = f"{operator.name} cannot be used with {field.name}, which is {_article(field.type.value)}"
        raise FilterError(cause, text, check.operator_at + 1)
    values = []
    for word in check.values:
        try:
            values.append(word.text if operator.raw else field.type.parse(word.text))
        except ValueError as error:
            cause = f"{_shown(word.text)} {error}, and {field.name} is {_article(field.type.value)}"
            raise FilterError(cause, text, word.at + 1) from None
    try:
        return operator.make(values)
    except GlobError as error:
        raise FilterError(f"a pattern is wrong: {error}", text, check.values[0].at + 1) from None
    except ValueError as error:
        word = check.values[0]
        raise FilterError(f"{_shown(word.text)} {error}", text, word.at + 1) from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _article(name: str) -> str:
    return name if name == "text" else f"an {name}" if name[0] == "a" else f"a {name}"


def _single(get: Getter, operator: Operator, test: Test) -> Predicate:
    if operator.takes is Takes.NOTHING:
        return lambda engine: get(engine) is not None

    def single(engine: Any) -> bool:
        value = get(engine)
        return value is not None and test(value)

    return single


def _multiple(each: Callable[[Any], Any], test: Test, every: bool) -> Predicate:
    """every: there are values and all pass; else: one does."""

    def some(engine: Any) -> bool:
        for value in each(engine):  # noqa: SIM110
            if test(value):
                return True
        return False

    def all_of_some(engine: Any) -> bool:
        values = tuple(each(engine))
        return len(values) > 0 and all(map(test, values))

    return all_of_some if every else some


def _by_event(of_event: Callable[[Any], Any], test: Test) -> Predicate:
    """What depends on the event's id alone is decided now, for every id there is."""
    values = map(of_event, EVENTS)
    passes = tuple(value is not None and bool(test(value)) for value in values)
    return lambda engine: passes[engine.cursor.type]
