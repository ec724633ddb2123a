"""SysFlow's query language over the rows of a trace: text in, a predicate out. See docs/sfql.md."""

from sftools.conditions.errors import FilterError
from sftools.conditions.logic import Predicate
from sftools.sfql.compiler import Compiler, compile_query
from sftools.sfql.definitions import Definitions
from sftools.sfql.interpreter import SfqlInterpreter
from sftools.sfql.reference import sfql_markdown

__all__ = [
    "Compiler",
    "Definitions",
    "FilterError",
    "Predicate",
    "SfqlInterpreter",
    "compile_query",
    "sfql_markdown",
]
