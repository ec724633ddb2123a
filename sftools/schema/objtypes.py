"""The record types of SysFlow."""

from __future__ import annotations

from sftools.schema.versions import LATEST, branches

BRANCHES = branches(LATEST)
"""Index in the union of SysFlow.rec by record name: SFHeader 0, Container 1, ... New versions only append."""

LETTERS = {
    "SFHeader": "H", "Container": "C", "Process": "P", "File": "F", "ProcessEvent": "PE", "NetworkFlow": "NF",
    "FileFlow": "FF", "FileEvent": "FE", "NetworkEvent": "NE", "ProcessFlow": "PF", "Pod": "POD", "K8sEvent": "KE",
}  # fmt: skip
"""The letters of a record type in output (field `type`) by record name."""
