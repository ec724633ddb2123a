"""The syntax tree of a condition. Places (`at`, characters from 0) do not count when trees are compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as attribute


@dataclass(frozen=True, slots=True)
class Word:
    """A value as written, quotes and escapes resolved."""

    text: str
    at: int = attribute(default=0, compare=False)
    quoted: bool = attribute(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Check:
    """`field[argument] operator values`: `exists` has no value, the list operators any number, the others one.

    several: the one value is any of a list in brackets.
    """

    field: str
    argument: Word | None
    operator: str
    values: tuple[Word, ...] = ()
    at: int = attribute(default=0, compare=False)
    operator_at: int = attribute(default=0, compare=False)
    several: bool = False

    @property
    def depth(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that stands alone: a macro."""

    name: str
    at: int = attribute(default=0, compare=False)

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


Expression = Check | Reference | Not | And | Or
"""A node. depth: how many stand in each other: 1 for a check, and one more for what is around it."""


def _depth(operands: Iterable[Expression]) -> int:
    return 1 + max(operand.depth for operand in operands)
