"""Text of a condition to syntax tree, in the language that a Dialect describes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from sftools.conditions.errors import FilterError, Source
from sftools.conditions.operators import Operator, Takes
from sftools.conditions.syntax import And, Check, Expression, Not, Or, Word
from sftools.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_LIST

_TERMINALS = {Takes.NOTHING: "EXISTS", Takes.VALUE: "COMPARE", Takes.LIST: "MATCH"}
_FOLLOWS = {Takes.NOTHING: r"(?![\w.])", Takes.VALUE: r"(?=[\s\"']|$)", Takes.LIST: r"(?=[\s(\[]|$)"}

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WORD = re.compile(r"[^\s()]+|.", re.DOTALL)
_BLANKS = " \t\b\r\n"


class Fault(Exception):
    """What is wrong, and where (characters from 0). Raised by a Builder; parse makes a FilterError of it."""

    def __init__(self, cause: str, at: int) -> None:
        self.cause = cause
        self.at = at


@dataclass(frozen=True, eq=False)
class Dialect:
    """What a filter language has of its own.

    package: where its grammar.lark stands. operators: by name; refused: those it does not have, and why. bare: the
    pattern of a value that needs no quotes. any_case: whether words may be written in any case; else `and`, `or` and
    `not` in small letters or capitals, the operators in small letters. builder: makes the nodes. starts: the rules
    that parse() may start with. no_condition: given the text and the place where a check should begin, what is wrong,
    or None.
    """

    package: str
    operators: Mapping[str, Operator]
    bare: str
    builder: type[Builder]
    no_condition: Callable[[str, int], str | None]
    refused: Mapping[str, str] | None = None
    any_case: bool = False
    starts: tuple[str, ...] = ("start",)


def parse(dialect: Dialect, source: Source, start: str = "start") -> Any:
    """The syntax tree of a condition, or what the builder makes of another rule. Raises FilterError.

    Fields and types are not looked at: that is the compiler's.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    text = source.condition
    if len(text) > MAX_FILTER_CHARS:
        raise source.error(f"more than {MAX_FILTER_CHARS} characters", MAX_FILTER_CHARS)
    if not text.strip(_BLANKS):
        raise source.error("nothing to filter by", 0)
    try:
        return _parser(dialect).parse(text, start)
    except UnexpectedCharacters as error:
        raise _unexpected(dialect, source, error.pos_in_stream or 0, set(error.allowed or ())) from None
    except UnexpectedToken as error:
        at = error.token.start_pos
        if at is None or error.token.type == "$END":
            at = len(text)
        raise _unexpected(dialect, source, at, set(error.expected)) from None
    except Fault as fault:
        raise source.error(fault.cause, fault.at) from None


@cache
def _parser(dialect: Dialect) -> Any:
    # lark is slow to import (50 ms), and most runs have no filter.
    from lark import Lark

    starts = list(dialect.starts)
    return Lark(
        _grammar(dialect), start=starts, parser="lalr", lexer="contextual", transformer=dialect.builder(dialect)
    )


def _grammar(dialect: Dialect) -> str:
    """The two grammar.lark with the terminals that the tables give."""
    parts = [
        resources.files(package).joinpath("grammar.lark").read_text()
        for package in ("sftools.conditions", dialect.package)
    ]
    # The words need a blank or a parenthesis after them, so that `order` and `in.x` are no operators.
    for word in ("or", "and", "not"):
        pattern = f"(?i:{word})" if dialect.any_case else f"({word}|{word.upper()})"
        parts.append(rf"_{word.upper()}.3: /{pattern}(?=[\s(]|$)/")
    flag = "(?i:" if dialect.any_case else "(?:"
    for takes, terminal in _TERMINALS.items():
        names = sorted((name for name, o in dialect.operators.items() if o.takes is takes), key=len, reverse=True)
        if takes is Takes.VALUE:
            names += dialect.refused or {}
        words = "|".join(name for name in names if name.isalpha())
        signs = [name for name in names if not name.isalpha()]
        parts.append(f"{terminal}.1: /{'|'.join([f'{flag}{words}){_FOLLOWS[takes]}', *signs])}/")
    parts.append(f"BARE: /{dialect.bare}/\n")
    return "\n".join(parts)


class Builder:
    """Makes the nodes while lark reduces, so that no deep tree is ever walked. A method has its rule's name.

    Raises Fault where the tree becomes deeper than MAX_FILTER_DEPTH, or a list longer than MAX_FILTER_LIST.
    """

    # The escapes in quoted strings: falcosecurity/libs filter/escaping.cpp. A backslash before a blank is a backslash
    # there, as old rules rely on.
    escapes: Mapping[str, str] = {
        "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", " ": "\\", "\\": "\\", "/": "/", '"': '"', "'": "'",
    }  # fmt: skip

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def check(self, children: list[Any]) -> Expression:
        (name, argument), operator, *rest = children
        operator_name = self.operator(operator)
        takes = self.dialect.operators[operator_name].takes
        values = () if takes is Takes.NOTHING else rest[0] if takes is Takes.LIST else (self.word(rest[0]),)
        return Check(str(name), argument, operator_name, values, name.start_pos, operator.start_pos)

    def operator(self, token: Any) -> str:
        """The name of an operator as the dialect has it. Raises Fault for one that it refuses."""
        name = str(token).lower() if self.dialect.any_case else str(token)
        if self.dialect.refused and name in self.dialect.refused:
            raise Fault(self.dialect.refused[name], token.start_pos)
        return name

    def field(self, children: list[Any]) -> tuple[Any, Word | None]:
        """The token of a field's name, and the argument in its brackets. Raises Fault."""
        if len(children) == 1:
            return children[0], None
        token = children[1]
        return children[0], self.unquoted(str(token)[1:-1], token.start_pos + 1)

    def list(self, children: Sequence[Any]) -> tuple[Word, ...]:
        words: list[Word] = []
        for child in children:
            words += child if isinstance(child, tuple) else (self.word(child),)
        if len(words) > MAX_FILTER_LIST:
            raise Fault(f"a list of more than {MAX_FILTER_LIST} values", words[MAX_FILTER_LIST].at)
        return tuple(words)

    def word(self, token: Any) -> Word:
        """The value that a token stands for."""
        return self.unquoted(str(token), token.start_pos)

    def unquoted(self, text: str, at: int) -> Word:
        """A value written at a place, in quotes or bare. Raises Fault."""
        if text[0] not in "\"'":
            return Word(text, at)

        plain = _ESCAPED.sub(lambda found: self.escape(found[1], at + 1 + found.start()), text[1:-1])
        return Word(plain, at, quoted=True)

    def escape(self, letter: str, at: int) -> str:
        """What a backslash and a letter stand for. Raises Fault."""
        if letter not in self.escapes:
            raise Fault(f"unknown escape \\{letter}", at)
        return self.escapes[letter]

    def negated(self, children: Sequence[Expression]) -> Expression:
        return _bounded(Not(children[0]))

    def conjunction(self, children: Sequence[Expression]) -> Expression:
        return _bounded(And(tuple(children)))

    def disjunction(self, children: Sequence[Expression]) -> Expression:
        return _bounded(Or(tuple(children)))


def _bounded(tree: Expression) -> Expression:
    if tree.depth > MAX_FILTER_DEPTH:
        first = tree
        while isinstance(first, Not | And | Or):
            first = first.operand if isinstance(first, Not) else first.operands[0]
        raise Fault(f"nested more than {MAX_FILTER_DEPTH} deep", first.at)
    return tree


def _unexpected(dialect: Dialect, source: Source, at: int, expected: set[str]) -> FilterError:
    """Why the text cannot go on so at that place, in the user's words."""
    found = _WORD.match(source.condition, at)
    word = found[0] if found else ""
    closing = "')'" if "RPAR" in expected else "']'" if "RSQB" in expected else ""
    if word[:1] in ("'", '"') and (closing or "QUOTED" in expected):
        cause = "a quoted value without its end"
    elif "FIELD" in expected:
        cause = dialect.no_condition(source.condition, at) or "a field, 'not' or '(' expected"
    elif "COMPARE" in expected:
        near = difflib.get_close_matches(word.lower() if dialect.any_case else word, dialect.operators, 1)
        one_of = f"one of {' '.join(dialect.operators)} expected"
        if word.startswith("["):
            cause = "an argument is text in brackets: [2], [NAME] or ['a b']"
        elif word.isalpha():
            cause = f"unknown operator {word!r}" + (f" ({near[0]}?)" if near else f": {one_of}")
        else:
            cause = f"an operator expected: {one_of}"
    elif "QUOTED" in expected:
        cause = "a value expected" + (f" or {closing}" if closing else "")
    elif "LPAR" in expected:
        cause = "a list in parentheses expected"
    elif "COMMA" in expected:
        cause = f"',' or {closing} expected"
    elif word[:1] == "=":
        cause = "a value with '=' in it needs quotes"
    else:
        # A complete condition may only not end because of an open parenthesis.
        cause = "'and' or 'or' expected" if word else "')' expected"
    return source.error(cause, at)
