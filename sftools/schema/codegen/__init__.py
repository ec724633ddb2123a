"""The compiler behind sf-codegen: Avro IDL to .avsc, .avpr and Python classes.

parser.py reads IDL and json_schema.py imported JSON into the model of model.py, with the rules of names.py;
to_json.py and to_python.py write it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from sftools.errors import UsageError
from sftools.schema.codegen.model import Protocol
from sftools.schema.codegen.parser import compile_idl
from sftools.schema.codegen.to_json import protocol_json, schema_json
from sftools.schema.codegen.to_python import python_module

__all__ = ["compile_idl", "generate"]


def generate(path: str, formats: Iterable[str], type_name: str | None = None) -> dict[str, str]:
    """What an IDL file becomes: text by format ("avsc", "avpr", "python").

    type_name: the type of the avsc, as full name or in the protocol's namespace; by default the last one in the file.
    Raises InputError where the file cannot be read, IdlError for faults in it, UsageError where there is no such type.
    """
    protocol = compile_idl(path)
    # A name may hold a line feed, and what follows it would be code.
    origin = "".join(char if char.isprintable() else "?" for char in os.path.basename(path))
    made = {}
    for kind in formats:
        if kind == "python":
            made[kind] = python_module(protocol, origin)
            continue
        tree = (
            schema_json(protocol, _main_type(protocol, path, type_name)) if kind == "avsc" else protocol_json(protocol)
        )
        first = {key: tree[key] for key in ("type", "protocol", "name", "namespace") if key in tree}
        tree = first | {"generated-by": f"sf-codegen from {origin}"} | tree
        made[kind] = json.dumps(tree, indent=1, ensure_ascii=False) + "\n"
    return made


def _main_type(protocol: Protocol, path: str, name: str | None) -> str:
    if name is None:
        if not protocol.own:
            raise UsageError(f"{path}: declares no type, so name the one to write with --type")
        return protocol.own[-1]
    for full in (name, f"{protocol.namespace}.{name}"):
        if full in protocol.types:
            return full
    raise UsageError(f"{path}: no type {name!r}")
