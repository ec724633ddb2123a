"""Filter text to syntax tree."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from sftools.filter.errors import FilterError
from sftools.filter.operators import BY_NAME, OPERATORS, REFUSED, Takes
from sftools.filter.syntax import And, Check, Expression, Not, Or, Word
from sftools.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_LIST

BARE = r"[^()\"'=, \t\n\r\f\v\b]+"
"""A value that needs no quotes (falcosecurity/libs filter/parser.cpp, RGX_BARESTR)."""

_TERMINALS = {Takes.NOTHING: "EXISTS", Takes.VALUE: "COMPARE", Takes.LIST: "MATCH"}
_FOLLOWS = {Takes.NOTHING: r"(?![\w.])", Takes.VALUE: r"(?=[\s\"']|$)", Takes.LIST: r"(?=[\s(]|$)"}

# The escapes in quoted strings: falcosecurity/libs filter/escaping.cpp. A backslash before a blank is a backslash
# there, as old rules rely on.
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", " ": "\\", "\\": "\\", "/": "/", '"': '"', "'": "'"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TRANSFORMER = re.compile(r"(?:tolower|toupper|b64|basename|val)\s*\(")
_WORD = re.compile(r"[^\s()]+|.", re.DOTALL)
_BLANKS = " \t\b\r\n"


class _Fault(Exception):
    """What is wrong, and where (characters from 0)."""

    def __init__(self, cause: str, at: int) -> None:
        self.cause = cause
        self.at = at


def parse(text: str) -> Expression:
    """The syntax tree of a filter. Raises FilterError. Fields and types are not looked at: compiler.py does."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    if len(text) > MAX_FILTER_CHARS:
        raise FilterError(f"more than {MAX_FILTER_CHARS} characters", text, MAX_FILTER_CHARS + 1)
    if not text.strip(_BLANKS):
        raise FilterError("nothing to filter by", text, 1)
    try:
        tree: Expression = _parser().parse(text)
    except UnexpectedCharacters as error:
        raise _unexpected(text, error.pos_in_stream or 0, set(error.allowed or ())) from None
    except UnexpectedToken as error:
        at = error.token.start_pos
        if at is None or error.token.type == "$END":
            at = len(text)
        raise _unexpected(text, at, set(error.expected)) from None
    except _Fault as fault:
        raise FilterError(fault.cause, text, fault.at + 1) from None
    return tree


@cache
def _parser() -> Any:
    # lark is slow to import (50 ms), and most runs have no filter.
    from lark import Lark

    return Lark(_grammar(), parser="lalr", lexer="contextual", transformer=_Builder())


def _grammar() -> str:
    """grammar.lark with the terminals that the tables give."""
    parts = [resources.files("sftools.filter").joinpath("grammar.lark").read_text()]
    for takes, terminal in _TERMINALS.items():
        names = sorted((operator.name for operator in OPERATORS if operator.takes is takes), key=len, reverse=True)
        if takes is Takes.VALUE:
            names += REFUSED
        words = "|".join(name for name in names if name.isalpha())
        signs = [name for name in names if not name.isalpha()]
        parts.append(f"{terminal}.1: /{'|'.join([f'(?:{words}){_FOLLOWS[takes]}', *signs])}/")
    parts.append(f"BARE: /{BARE}/\n")
    return "\n".join(parts)


class _Builder:
    """Makes the nodes while lark reduces, so that no deep tree is ever walked. A method has its rule's name."""

    def check(self, children: list[Any]) -> Check:
        (name, argument), operator, *rest = children
        if operator in REFUSED:
            raise _Fault(REFUSED[operator], operator.start_pos)
        takes = BY_NAME[operator].takes
        values = () if takes is Takes.NOTHING else rest[0] if takes is Takes.LIST else (_word(rest[0]),)
        return Check(str(name), argument, str(operator), values, name.start_pos, operator.start_pos)

    def field(self, children: list[Any]) -> tuple[Any, Word | None]:
        if len(children) == 1:
            return children[0], None
        token = children[1]
        return children[0], _unquoted(str(token)[1:-1], token.start_pos + 1)

    def list(self, children: Sequence[Any]) -> tuple[Word, ...]:
        if len(children) > MAX_FILTER_LIST:
            raise _Fault(f"a list of more than {MAX_FILTER_LIST} values", children[MAX_FILTER_LIST].start_pos)
        return tuple(map(_word, children))

    def negated(self, children: Sequence[Expression]) -> Expression:
        return _bounded(Not(children[0]))

    def conjunction(self, children: Sequence[Expression]) -> Expression:
        return _bounded(And(tuple(children)))

    def disjunction(self, children: Sequence[Expression]) -> Expression:
        return _bounded(Or(tuple(children)))


def _bounded(tree: Expression) -> Expression:
    if tree.depth > MAX_FILTER_DEPTH:
        first = tree
        while not isinstance(first, Check):
            first = first.operand if isinstance(first, Not) else first.operands[0]
        raise _Fault(f"nested more than {MAX_FILTER_DEPTH} deep", first.at)
    return tree


def _word(token: Any) -> Word:
    return _unquoted(str(token), token.start_pos)


def _unquoted(text: str, at: int) -> Word:
    if text[0] not in "\"'":
        return Word(text, at)

    def replace(escape: re.Match[str]) -> str:
        if escape[1] not in _ESCAPES:
            raise _Fault(f"unknown escape {escape[0]}", at + 1 + escape.start())
        return _ESCAPES[escape[1]]

    return Word(_ESCAPED.sub(replace, text[1:-1]), at)


def _unexpected(text: str, at: int, expected: set[str]) -> FilterError:
    """Why the text cannot go on so at that place, in the user's words."""
    found = _WORD.match(text, at)
    word = found[0] if found else ""
    if word[:1] in ("'", '"') and expected & {"QUOTED", "RPAR"}:
        cause = "a quoted value without its end"
    elif "FIELD" in expected:
        if _TRANSFORMER.match(text, at):
            cause = "tolower(), toupper(), b64(), basename() and val() are not supported"
        elif word.replace("_", "").isalnum() and word.lower() not in ("and", "or", "not"):
            cause = f"{word!r} is no field; macros and lists of Falco's rule files are not known here"
        else:
            cause = "a field, 'not' or '(' expected"
    elif "COMPARE" in expected:
        near = difflib.get_close_matches(word, BY_NAME, 1)
        one_of = f"one of {' '.join(BY_NAME)} expected"
        if word.startswith("["):
            cause = "an argument is text in brackets: [2], [NAME] or ['a b']"
        elif word.isalpha():
            cause = f"unknown operator {word!r}" + (f" ({near[0]}?)" if near else f": {one_of}")
        else:
            cause = f"an operator expected: {one_of}"
    elif "QUOTED" in expected:
        cause = "a value expected" + ("" if "RPAR" not in expected else " or ')'")
    elif "LPAR" in expected:
        cause = "a list in parentheses expected"
    elif "COMMA" in expected:
        cause = "',' or ')' expected"
    else:
        # A complete filter may only not end because of an open parenthesis.
        cause = "'and' or 'or' expected" if word else "')' expected"
    return FilterError(cause, text, at + 1)
