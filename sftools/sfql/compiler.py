"""Syntax tree to predicate: closures over the fields' getters and the operators' tests, made once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from sftools.conditions.errors import FilterError, Source
from sftools.conditions.logic import Predicate, conjunction, disjunction, negation
from sftools.conditions.operators import Operator, Takes, Test
from sftools.conditions.syntax import And, Check, Expression, Not, Reference, Word
from sftools.fields import FieldType, nearest
from sftools.limits import MAX_EXPANDED_CHECKS, MAX_FILTER_DEPTH, MAX_KEPT_VALUES
from sftools.reader.rows_cy import CONTAINER, HEADER, PARENT, POD, PROCESS, Row
from sftools.schema.objtypes import BRANCHES, LETTERS
from sftools.sfql.definitions import Definitions, begins_entries
from sftools.sfql.operators import BETWEEN, EQUALITY
from sftools.sfql.operators import BY_NAME as OPERATORS
from sftools.sfql.parser import parse, without_prefix
from sftools.sfql.subjects import Subject, nth_ancestor, subject

_NUMERIC = frozenset({FieldType.NUMBER, FieldType.TIME})
_TEXTUAL = frozenset({FieldType.TEXT, FieldType.ADDRESS})
# The entities that many records in a row have.
_ENTITY: dict[int, Callable[[Row], Any]] = {
    HEADER: attrgetter("header"), POD: attrgetter("pod"), CONTAINER: attrgetter("container"),
    PROCESS: attrgetter("process"), PARENT: attrgetter("parent"),
}  # fmt: skip


def compile_query(text: str, definitions: Definitions | None = None) -> Predicate:
    """The predicate of a query: called with a Row, it tells whether the row is wanted.

    The text is an expression, also after `- sfql:`, and may have definitions before that. Raises FilterError, which
    names the place.
    """
    if begins_entries(text):
        definitions = definitions.copy() if definitions else Definitions()
        definitions.query = None
        definitions.read(text, "query")
        if definitions.query is None:
            raise FilterError("definitions, but no expression after `- sfql:`", text, len(text) + 1)
        return Compiler(definitions).predicate(definitions.query.tree, definitions.query.source)
    source = without_prefix(Source(text))
    return Compiler(definitions or Definitions()).predicate(parse(source), source)


class Compiler:
    """Makes predicates of expressions that use one set of definitions.

    warnings: where it is a list, a check that cannot be compiled is false and leaves a line there, instead of raising
    FilterError. Policies that many share have a few such checks, which their authors never noticed.
    """

    def __init__(self, definitions: Definitions, warnings: list[str] | None = None) -> None:
        self.definitions = definitions
        self.warnings = warnings
        # By name: predicate, depth and number of checks, all macros in it expanded.
        self.macros: dict[str, tuple[Predicate, int, int]] = {}
        self.compiling: list[str] = []
        self.level = 0

    def predicate(self, tree: Expression, source: Source) -> Predicate:
        """The predicate of an expression. Raises FilterError."""
        predicate, depth, checks = self._compile(tree, source)
        self._bounded(depth, checks, source, 0)
        return predicate

    def _bounded(self, depth: int, checks: int, source: Source, at: int) -> None:
        if depth > MAX_FILTER_DEPTH:
            raise source.error(f"nested more than {MAX_FILTER_DEPTH} deep", at)
        if checks > MAX_EXPANDED_CHECKS:
            raise source.error(f"more than {MAX_EXPANDED_CHECKS} checks, with those in macros", at)

    def _compile(self, tree: Expression, source: Source) -> tuple[Predicate, int, int]:
        """The predicate, its depth and number of checks."""
        if isinstance(tree, Check | Reference):
            return self._leaf(tree, source)
        self.level += 1
        predicates = []
        depth = checks = 0
        for operand in (tree.operand,) if isinstance(tree, Not) else tree.operands:
            predicate, below, more = self._compile(operand, source)
            predicates.append(predicate)
            depth = max(depth, below)
            checks += more
        self.level -= 1
        if isinstance(tree, Not):
            return negation(predicates[0]), depth + 1, checks
        joined = conjunction(predicates) if isinstance(tree, And) else disjunction(predicates)
        return joined, depth + 1, checks

    def _leaf(self, tree: Check | Reference, source: Source) -> tuple[Predicate, int, int]:
        try:
            return (self._check(tree, source), 1, 1) if isinstance(tree, Check) else self._macro(tree, source)
        except FilterError as error:
            if self.warnings is None:
                raise
            self.warnings.append(str(error))
            return (lambda row: False), 1, 1

    def _macro(self, reference: Reference, source: Source) -> tuple[Predicate, int, int]:
        name = reference.name
        if name not in self.macros:
            macro = self.definitions.macros.get(name)
            if macro is None:
                raise source.error(self._no_macro(name), reference.at)
            if name in self.compiling:
                raise source.error(f"the macro {name} is in itself", reference.at)
            self._bounded(self.level + len(self.compiling) + 1, 0, source, reference.at)
            self.compiling.append(name)
            try:
                self.macros[name] = self._compile(macro.tree, macro.source)
            finally:
                self.compiling.pop()
        predicate, depth, checks = self.macros[name]
        self._bounded(depth, checks, source, reference.at)
        return predicate, depth + 1, checks

    def _no_macro(self, name: str) -> str:
        if subject(name) is not None:
            return f"{name} is a field: an operator has to follow"
        near = difflib.get_close_matches(name, self.definitions.macros, 1)
        return f"unknown macro {name}" + (f" ({near[0]}?)" if near else "")

    def _check(self, check: Check, source: Source) -> Predicate:
        left = subject(check.field)
        if left is None:
            near = nearest(check.field)
            raise source.error(f"unknown field {check.field}" + (f" ({near}?)" if near else ""), check.at)
        if check.argument is not None:
            left = self._with_argument(left, check, check.argument, source)
        operator = OPERATORS[check.operator]
        if left.type not in operator.types:
            cause = f"{operator.name} cannot be used with {check.field}, which is {_article(left.type)}"
            raise source.error(cause, check.operator_at)
        if operator.takes is Takes.NOTHING:
            return _exists(left)
        words: Sequence[Word] = check.values
        if operator.takes is Takes.LIST or check.several:
            words = self.definitions.expand(words, source)
        else:
            right = _field_meant(left, words[0])
            if right is not None:
                return self._between(left, operator, right, check, source)
        absent = False
        values = []
        for word in words:
            if operator.name in EQUALITY and not word.quoted and word.text in left.absent:
                absent = True
                continue
            try:
                values.append(word.text if operator.raw else left.parse(word.text))
            except ValueError as error:
                cause = f"{_shown(word.text)} {error}"
                if left.type is not FieldType.TEXT:
                    cause += f", and {check.field} is {_article(left.type)}"
                raise source.error(cause, word.at) from None
        return _test(left, operator, values, absent)

    def _with_argument(self, left: Subject, check: Check, argument: Word, source: Source) -> Subject:
        try:
            found = nth_ancestor(left, argument.text)
        except ValueError as error:
            raise source.error(f"{_shown(argument.text)} {error}", argument.at) from None
        if found is None:
            raise source.error(f"{check.field} takes no argument", argument.at)
        return found

    def _between(self, left: Subject, operator: Operator, right: Subject, check: Check, source: Source) -> Predicate:
        for group in (_NUMERIC, _TEXTUAL, frozenset({FieldType.BOOL})):
            if (left.type in group) != (right.type in group):
                cause = f"{check.field} is {_article(left.type)}, and {right.name} is {_article(right.type)}"
                raise source.error(cause, check.values[0].at)
        return _pairs(left, right, BETWEEN[operator.name], operator.negated)


def _field_meant(left: Subject, word: Word) -> Subject | None:
    """The field that a bare word on the right is: one with a dot always, else only number for number."""
    if word.quoted:
        return None
    right = subject(word.text)
    if right is None or "." in word.text:
        return right
    return right if left.type in _NUMERIC and right.type in _NUMERIC else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _article(kind: FieldType) -> str:
    name = kind.value
    return name if name == "text" else f"an {name}" if name[0] == "a" else f"a {name}"


# -- predicates of a single check


def _exists(left: Subject) -> Predicate:
    if left.each is not None:
        each = left.each
        return lambda row: len(each(row)) > 0
    get = _get(left)
    if left.type is FieldType.TEXT:
        return lambda row: bool(get(row))
    return lambda row: get(row) is not None


def _get(left: Subject) -> Callable[[Row], Any]:
    if left.slot < 0 or left.type not in _NUMERIC:
        return left.get
    slot = left.slot
    return lambda row: row.number(slot)


def _test(left: Subject, operator: Operator, values: Sequence[Any], absent: bool) -> Predicate:
    """absent: whether one of the values stands for there being none."""
    equal = operator.name in EQUALITY
    if equal and not values:
        if operator.negated:  # != None; != []
            return _exists(left)
        return negation(_exists(left)) if absent else lambda row: False
    if left.name == "type" and equal:
        return _of_type(frozenset(values), operator.negated)
    test = operator.make(values)
    if left.held is not None and not operator.raw:
        test = _on_held(left.held, test)
    if left.each is not None:
        return _where_it_can_be(left, _several(left, operator, values, test, absent), absent and not operator.negated)
    if left.slot >= 0 and left.type in _NUMERIC:
        return _number(left.slot, operator, values, test, absent)
    passes_absent = absent and not operator.negated
    fails_empty = absent and operator.negated
    get = left.get

    def single(row: Row) -> bool:
        value = get(row)
        if value is None or (absent and value == ""):
            return passes_absent
        return test(value)

    def plain(row: Row) -> bool:
        value = get(row)
        return value is not None and test(value)

    chosen = single if passes_absent or fails_empty else plain
    if left.owner in _ENTITY:
        return _once_for_each_entity(left.owner, chosen)
    return _where_it_can_be(left, chosen, passes_absent)


def _where_it_can_be(left: Subject, check: Predicate, if_absent: bool) -> Predicate:
    """The check only for the record types that have the field."""
    branches = left.branches
    if branches is None:
        return check
    return lambda row: check(row) if row.branch in branches else if_absent


def _of_type(letters: frozenset[str], negated: bool) -> Predicate:
    passes = tuple((LETTERS[name] in letters) != negated for name in BRANCHES)
    if sum(passes) == 1:
        only = passes.index(True)
        return lambda row: bool(row.branch == only)
    return lambda row: passes[row.branch]


def _number(slot: int, operator: Operator, values: Sequence[Any], test: Test, absent: bool) -> Predicate:
    if operator.negated:
        unwanted = frozenset(values) | {None}
        return lambda row: row.number(slot) not in unwanted
    if operator.name in EQUALITY:
        wanted = frozenset(values) | ({None} if absent else frozenset())
        return lambda row: row.number(slot) in wanted

    def ordered(row: Row) -> bool:
        value = row.number(slot)
        return value is not None and test(value)

    return ordered


def _on_held(held: Callable[[Any], Any], test: Test) -> Test:
    return lambda value: test(held(value))


def _several(left: Subject, operator: Operator, values: Sequence[Any], test: Test, absent: bool) -> Predicate:
    each = left.each
    assert each is not None
    if operator.negated:
        equal = OPERATORS["="].make(values)
        same = equal if left.held is None else _on_held(left.held, equal)

        def decide(found: Sequence[Any]) -> bool:
            return len(found) > 0 and not any(map(same, found))

    else:

        def decide(found: Sequence[Any]) -> bool:
            return any(map(test, found)) if found else absent

    if left.slot >= 0:
        return _once_for_each_number(left.slot, lambda row: decide(each(row)))
    return lambda row: decide(each(row))


def _once_for_each_number(slot: int, check: Predicate) -> Predicate:
    """Traces have few different bitmaps."""
    kept: dict[int | None, bool] = {}

    def decided(row: Row) -> bool:
        number = row.number(slot)
        found = kept.get(number)
        if found is None:
            if len(kept) >= MAX_KEPT_VALUES:
                kept.clear()
            found = kept[number] = check(row)
        return found

    return decided


def _once_for_each_entity(owner: int, check: Predicate) -> Predicate:
    """Most records are of the entities of the record before."""
    entity_of = _ENTITY[owner]
    last: tuple[Any, bool] = (_ENTITY, False)  # an entity and its result; first what is no entity

    def kept(row: Row) -> bool:
        nonlocal last
        entity = entity_of(row)
        known = last
        if entity is not known[0]:
            last = known = entity, check(row)
        return known[1]

    return kept


def _pairs(left: Subject, right: Subject, compare: Callable[[Any, Any], bool], negated: bool) -> Predicate:
    if left.each is None and right.each is None:
        get, other = _get(left), _get(right)

        def single(row: Row) -> bool:
            value = get(row)
            if value is None:
                return False
            want = other(row)
            return want is not None and compare(value, want) != negated

        return single
    lefts, rights = _all_of(left), _all_of(right)

    def several(row: Row) -> bool:
        values, wants = lefts(row), rights(row)
        fits = any(compare(value, want) for value in values for want in wants)
        return fits != negated and len(values) > 0 and len(wants) > 0

    return several


def _all_of(side: Subject) -> Callable[[Row], Sequence[Any]]:
    if side.each is not None:
        return side.each
    get = _get(side)

    def each(row: Row) -> Sequence[Any]:
        value = get(row)
        return () if value is None else (value,)

    return each
