"""Filter text to syntax tree."""

from __future__ import annotations

import re

from sftools.conditions.errors import Source
from sftools.conditions.parser import Builder, Dialect
from sftools.conditions.parser import parse as parse_dialect
from sftools.conditions.syntax import Expression
from sftools.filter.operators import BY_NAME, REFUSED

BARE = r"[^()\"'=, \t\n\r\f\v\b]+"
"""A value that needs no quotes (falcosecurity/libs filter/parser.cpp, RGX_BARESTR)."""

_TRANSFORMER = re.compile(r"(?:tolower|toupper|b64|basename|val)\s*\(")
_NAME = re.compile(r"\w+(?![^\s()])")


def parse(text: str) -> Expression:
    """The syntax tree of a filter. Raises FilterError. Fields and types are not looked at: compiler.py does."""
    tree: Expression = parse_dialect(_DIALECT, Source(text))
    return tree


def _no_condition(text: str, at: int) -> str | None:
    if _TRANSFORMER.match(text, at):
        return "tolower(), toupper(), b64(), basename() and val() are not supported"
    name = _NAME.match(text, at)
    if name and name[0].lower() not in ("and", "or", "not"):
        return f"{name[0]!r} is no field; macros and lists of Falco's rule files are not known here"
    return None


_DIALECT = Dialect("sftools.filter", BY_NAME, BARE, Builder, _no_condition, REFUSED)
