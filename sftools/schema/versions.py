"""The schema versions that sftools writes, from the files that `make codegen` makes of idl/sysflow_v*.avdl."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from sftools.errors import UsageError
from sftools.schema.canonical import fingerprint_sha256

_HERE = os.path.dirname(__file__)  # importlib.resources takes longer to import than all of this
_PREFIX, _SUFFIX = "sysflow_v", ".avsc"
_UNREAD = ("doc", "generated-by")  # attributes that no reader of a trace needs in its header

VERSIONS = tuple(
    sorted(
        int(name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
        for name in os.listdir(_HERE)
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    )
)
LATEST = VERSIONS[-1]


@functools.cache
def schema_json(version: int) -> str:
    """The Avro schema of a version as compact JSON without documentation, to stand in a trace's header.

    Raises UsageError for a version that does not exist.
    """
    return json.dumps(_without(_load(version)), separators=(",", ":"))


def fingerprint(version: int) -> bytes:
    """The SHA-256 of the version's canonical form. Raises UsageError for a version that does not exist."""
    return fingerprint_sha256(schema_json(version))


def branches(version: int) -> dict[str, int]:
    """Index in the union of SysFlow.rec by record name. Raises UsageError for a version that does not exist."""
    return {branch["name"]: i for i, branch in enumerate(_load(version)["fields"][0]["type"])}


def _load(version: int) -> Any:
    if version not in VERSIONS:
        raise UsageError(f"no schema version {version}: there are {', '.join(map(str, VERSIONS))}")
    with open(os.path.join(_HERE, f"{_PREFIX}{version}{_SUFFIX}"), encoding="utf-8") as file:
        return json.load(file)


def _without(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without(value) for key, value in schema.items() if key not in _UNREAD}
    return [_without(item) for item in schema] if isinstance(schema, list) else schema
