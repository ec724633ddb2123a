"""Falco's filter language over what a capture tells: text in, a predicate for the engine out. See docs/filter.md."""

from sftools.conditions.errors import FilterError
from sftools.conditions.logic import Predicate
from sftools.filter.bounds import Bounds, bounds
from sftools.filter.compiler import compile_filter
from sftools.filter.reference import filter_markdown, list_fields

__all__ = ["Bounds", "FilterError", "Predicate", "bounds", "compile_filter", "filter_markdown", "list_fields"]
