"""Filter text to syntax tree."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from sftools.filter.errors import FilterError
from sftools.filter.operators import OPERATORS, REFUSED, Takes
from sftools.filter.syntax import BARE, And, Check, Expression, Not, Or, Word
from sftools.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_LIST

if TYPE_CHECKING:
    from lark import Lark, Token

_TERMINALS = {Takes.NOTHING: "EXISTS", Takes.VALUE: "COMPARE", Takes.LIST: "MATCH"}
_OPERATOR_TERMINALS = frozenset(_TERMINALS.values())

# The escapes in quoted strings: falcosecurity/libs filter/escaping.cpp. A backslash before a blank is a backslash
# there, as old rules rely on.
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", " ": "\\", "\\": "\\", "/": "/", '"': '"', "'": "'"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TRANSFORMER = re.compile(r"(tolower|toupper|b64|basename|val)\s*\(")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FOUND = re.compile(r"[\w.]+|\S")


def parse(text: str) -> Expression:
    """The syntax tree of a filter. Raises FilterError. Fields and values are not looked at (compiler.py does)."""
    if len(text) > MAX_FILTER_CHARS:
        raise FilterError(f"longer than {MAX_FILTER_CHARS} characters", text, MAX_FILTER_CHARS + 1)
    if not text.strip(" \t\b\r\n"):
        raise FilterError("empty filter", text, 1)
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

    try:
        tree: Expression = _lark(_Builder(text)).parse(text)
    except UnexpectedCharacters as error:
        raise _unexpected(text, error.pos_in_stream or 0, set(error.allowed or ())) from None
    except UnexpectedToken as error:
        at = len(text) if error.token.type == "$END" else error.token.start_pos
        raise _unexpected(text, len(text) if at is None else at, set(error.accepts or error.expected)) from None
    except VisitError as error:
        raise error.orig_exc from None
    return tree


def _lark(builder: _Builder) -> Any:
    return _parser(builder)


@cache
def _grammar() -> str:
    """grammar.lark and the terminals that the tables give."""
    terminals = [resources.files(__package__).joinpath("grammar.lark").read_text()]
    for takes, terminal in _TERMINALS.items():
        names = sorted((op.name for op in OPERATORS if op.takes is takes), key=len, reverse=True)
        if takes is Takes.VALUE:
            names += REFUSED
        words = "|".join(name for name in names if name.isalpha())
        signs = "|".join(name for name in names if not name.isalpha())
        ends = r"(?=[\s(]|$)" if takes is not Takes.VALUE else r"(?=[\s\"'])"
        pattern = "|".join(part for part in (f"(?:{words}){ends}" if words else "", signs) if part)
        if takes is Takes.NOTHING:
            pattern = f"(?:{words})(?![\\w.])"
        terminals.append(f"{terminal}.1: /{pattern}/")
    terminals.append(f"BARE: /{BARE}/")
    return "\n".join(terminals) + "\n"
