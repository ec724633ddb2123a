"""Rows to output, a module for each form. Which fields there are, and how their values are found, is sftools.fields.

json.py and csv.py fill templates (template_cy.py); parquet.py writes the batches of arrow.py (columns_cy.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sftools.reader.rows_cy import Row


class Writer(Protocol):
    """What the modules make: writes rows to a binary file, which stays open."""

    def row(self, row: Row, /) -> object:
        """Write the row's record, at once or with others. Raises DecodeError, and what the file raises."""

    def close(self) -> object:
        """Write what is waiting, and the end. Raises what the file raises."""
