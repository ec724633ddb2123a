"""Query text to syntax tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sftools.conditions.errors import Source
from sftools.conditions.parser import Builder, Dialect, Fault
from sftools.conditions.parser import parse as parse_dialect
from sftools.conditions.syntax import Check, Expression, Reference, Word
from sftools.limits import MAX_FILTER_LIST
from sftools.sfql.operators import BY_NAME, REFUSED

BARE = r"[^()\[\]\"'=,<>#\s][^()\"'=,\s]*|[<>](?=[\s)]|$)"
"""A value that needs no quotes; `<` and `>` for evt.dir."""

_PREFIX = re.compile(r"\s*-\s*sfql\s*:(?: *>[+-]?(?=\s))?")
_NAME = re.compile(r"[\w.-]+")


def without_prefix(source: Source) -> Source:
    """What follows `- sfql:`, where the text begins so."""
    prefix = _PREFIX.match(source.condition)
    return Source(source.text, source.file, source.start + prefix.end(), source.end) if prefix else source


def parse(source: Source) -> Expression:
    """The syntax tree of an expression. Raises FilterError. Names and types are not looked at: compiler.py does."""
    tree: Expression = parse_dialect(_DIALECT, source)
    return tree


def parse_items(source: Source) -> tuple[Word, ...]:
    """The entries of a list in brackets. Raises FilterError."""
    words: tuple[Word, ...] = parse_dialect(_DIALECT, source, "brackets")
    return words


class _Builder(Builder):
    """As the language has always had it, a backslash is a backslash, but before a quote or another one."""

    def escape(self, letter: str, at: int) -> str:
        return letter if letter in "\\\"'" else "\\" + letter

    def exists_first(self, children: list[Any]) -> Check:
        operator, (name, argument) = children
        return Check(str(name), argument, self.operator(operator), (), name.start_pos, operator.start_pos)

    def any_of(self, children: list[Any]) -> Check:
        (name, argument), operator, words = children
        operator_name = self.operator(operator)
        if operator_name not in ("=", "==", "!="):
            raise Fault(f"{operator_name} takes one value; only = and != take a list in brackets", operator.start_pos)
        return Check(str(name), argument, operator_name, words, name.start_pos, operator.start_pos, several=True)

    def reference(self, children: list[Any]) -> Reference:
        return Reference(str(children[0]), children[0].start_pos)

    def brackets(self, children: Sequence[Any]) -> tuple[Word, ...]:
        if len(children) > MAX_FILTER_LIST:
            raise Fault(f"a list of more than {MAX_FILTER_LIST} values", children[MAX_FILTER_LIST].start_pos)
        return tuple(map(self.word, children))


def _no_condition(text: str, at: int) -> str:
    if text[at : at + 1] in ("'", '"'):
        return "a field expected; a quoted text may only stand on the right"
    word = _NAME.match(text, at)
    if word and word[0].lower() in ("and", "or"):
        return f"a field, a macro, 'not' or '(' expected before {word[0]!r}"
    return "a field, a macro, 'not' or '(' expected"


_DIALECT = Dialect(
    package="sftools.sfql",
    operators=BY_NAME,
    bare=BARE,
    builder=_Builder,
    no_condition=_no_condition,
    refused=REFUSED,
    any_case=True,
    starts=("start", "brackets"),
)
