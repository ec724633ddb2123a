"""The record types of SysFlow."""

from __future__ import annotations

from sftools.schema.versions import LATEST, branches

BRANCHES = branches(LATEST)
"""Index in the union of SysFlow.rec by record name: SFHeader 0, Container 1, ... New versions only append."""
