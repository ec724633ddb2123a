"""Avro's Parsing Canonical Form and the fingerprints of it (Avro specification, "Parsing Canonical Form for Schemas").

Two schemas with the same form read the same bytes the same way. The JSON may come from a hostile file.
"""

from __future__ import annotations

import json
from typing import Any

from sftools import limits
from sftools.errors import SftoolsError

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def canonical_form(schema: str) -> str:
    """The Parsing Canonical Form of a schema's JSON text. Raises SftoolsError for what is no schema, or too deep."""
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError) as error:
        cause = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise SftoolsError(f"bad Avro schema: {cause}") from None
    return json.dumps(_canonical(parsed, "", 0), ensure_ascii=False, separators=(",", ":"))


def fingerprint_sha256(schema: str) -> bytes:
    """The SHA-256 of the canonical form: 32 bytes. Raises SftoolsError."""
    import hashlib  # slow to import, and not needed to write a trace

    return hashlib.sha256(canonical_form(schema).encode("utf-8", "surrogatepass")).digest()


def _canonical(schema: Any, namespace: str, depth: int) -> Any:
    """One schema with full names, the attributes that count and their order; `depth` counts the schemas around it."""
    if depth > 2 * limits.MAX_SCHEMA_DEPTH:
        raise SftoolsError("bad Avro schema: nested too deep")
    if isinstance(schema, str):
        return schema if schema in _PRIMITIVES or "." in schema or not namespace else f"{namespace}.{schema}"
    if isinstance(schema, list):
        return [_canonical(branch, namespace, depth + 1) for branch in schema]
    if not isinstance(schema, dict):
        raise SftoolsError(f"bad Avro schema: {str(schema)[:40]} is no type")
    try:
        kind = schema["type"]
        if not isinstance(kind, str):
            return _canonical(kind, namespace, depth + 1)
        if kind == "array":
            return {"type": kind, "items": _canonical(schema["items"], namespace, depth + 1)}
        if kind == "map":
            return {"type": kind, "values": _canonical(schema["values"], namespace, depth + 1)}
        if kind not in ("record", "error", "enum", "fixed"):
            return _canonical(kind, namespace, depth + 1)
        name = schema["name"]
        if "." not in name:
            namespace = schema.get("namespace", namespace)
            name = f"{namespace}.{name}" if namespace else name
        namespace = name.rpartition(".")[0]
        if kind == "enum":
            return {"name": name, "type": kind, "symbols": [str(symbol) for symbol in schema["symbols"]]}
        if kind == "fixed":
            return {"name": name, "type": kind, "size": int(schema["size"])}
        fields = [
            {"name": str(field["name"]), "type": _canonical(field["type"], namespace, depth + 1)}
            for field in schema["fields"]
        ]
        return {"name": name, "type": kind, "fields": fields}
    except KeyError as error:
        raise SftoolsError(f"bad Avro schema: a type without {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise SftoolsError(f"bad Avro schema: {error}") from None
