"""The syntax tree of a filter. Places (`at`, characters from 0) do not count when trees are compared."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as attribute

BARE = r"[^()\"'=, \t\n\r\f\v\b]+"
"""A value that needs no quotes (falcosecurity/libs filter/parser.cpp, RGX_BARESTR)."""

_BARE = re.compile(BARE)
_ESCAPES = {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": "\\\\", '"': r"\""}


@dataclass(frozen=True, slots=True)
class Word:
    """A value as written, quotes and escapes resolved."""

    text: str
    at: int = attribute(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Check:
    """`field[argument] operator values`: `exists` has no value, the list operators any number, the others one."""

    field: str
    argument: Word | None
    operator: str
    values: tuple[Word, ...] = ()
    at: int = attribute(default=0, compare=False)
    operator_at: int = attribute(default=0, compare=False)

    @property
    def depth(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression
    depth: int = attribute(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + self.operand.depth)


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Expression, ...]
    depth: int = attribute(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth(self.operands))


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Expression, ...]
    depth: int = attribute(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth(self.operands))


Expression = Check | Not | And | Or


def _depth(operands: Iterable[Expression]) -> int:
    return 1 + max(operand.depth for operand in operands)


def to_text(tree: Expression) -> str:
    """A filter that parses to that tree."""
    if isinstance(tree, Check):
        return _check_text(tree)
    if isinstance(tree, Not):
        return "not " + _operand_text(tree.operand)
    word = " and " if isinstance(tree, And) else " or "
    return word.join(_operand_text(operand) for operand in tree.operands)


def _operand_text(tree: Expression) -> str:
    text = to_text(tree)
    return text if isinstance(tree, Check | Not) else f"({text})"


def _check_text(check: Check) -> str:
    from sftools.filter.operators import BY_NAME, Takes

    argument = "" if check.argument is None else f"[{_quoted(check.argument.text)}]"
    takes = BY_NAME[check.operator].takes
    values = [_word_text(value.text) for value in check.values]
    if takes is Takes.NOTHING:
        return f"{check.field}{argument} {check.operator}"
    shown = values[0] if takes is Takes.VALUE else f"({', '.join(values)})"
    return f"{check.field}{argument} {check.operator} {shown}"


def _word_text(text: str) -> str:
    return text if _BARE.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'
