"""sftools.avro.plan: what is refused of a writer's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftools.avro.container import byte_string, header, long
from sftools.avro.plan import Plan
from sftools.errors import InputError, SftoolsError
from sftools.reader import read_trace

SYNC = bytes(16)


def with_branch(*branches: Any) -> str:
    return json.dumps(
        {"type": "record", "name": "sysflow.SysFlow", "fields": [{"name": "rec", "type": list(branches)}]}
    )


def record(name: str, *types: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(types)]}


def chain(length: int) -> list[Any]:
    """Records of which each holds the one before `times` over."""
    return [record("sysflow.R0", "int"), *(record(f"sysflow.R{i}", f"sysflow.R{i - 1}") for i in range(1, length))]


def version(kind: str) -> dict[str, Any]:
    return {"type": "record", "name": "sysflow.entity.SFHeader", "fields": [{"name": "version", "type": kind}]}


HARMFUL = {
    "recursive": with_branch(record("sysflow.entity.SFHeader", "sysflow.entity.SFHeader")),
    "recursive through an array": with_branch(
        record("sysflow.entity.SFHeader", {"type": "array", "items": "sysflow.entity.SFHeader"})
    ),
    "names that lead deep": with_branch(*chain(60), record("sysflow.X", *chain(60)[-1:]), *chain(2000)[60:]),
    "deep as it stands": with_branch("[" * 5000),
    "unfolds to 2**40 values": with_branch(
        record("sysflow.R0", "int"), *(record(f"sysflow.R{i}", *[f"sysflow.R{i - 1}"] * 2) for i in range(1, 40))
    ),
    "endless array of nothing": with_branch(record("sysflow.entity.SFHeader", {"type": "array", "items": "null"})),
    "record without fields": with_branch(record("sysflow.entity.SFHeader")),
    "fixed of no bytes": with_branch(record("sysflow.entity.SFHeader", {"type": "fixed", "name": "F", "size": 0})),
    "fixed of a terabyte": with_branch(record("sysflow.A", {"type": "fixed", "name": "F", "size": 1 << 40})),
    "enum without symbols": with_branch(record("sysflow.A", {"type": "enum", "name": "E", "symbols": []})),
    "another type": with_branch(version("string")),
    "another record": with_branch(record("sysflow.entity.Pet", "int")),
    "a name of two lines": with_branch(record("sysflow.entity.SFHeader", "a\nb")),
    "no process": with_branch(record("sysflow.event.ProcessEvent", "long")),
    "a branch that is no record": with_branch("int"),
    "a name twice": with_branch(version("long"), version("long")),
    "no union": json.dumps(record("sysflow.SysFlow", "int")),
}


@pytest.mark.parametrize("schema", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_harmful_schema_is_refused(schema: str, tmp_path: Path) -> None:
    with pytest.raises(SftoolsError, match="schema"):
        Plan(schema)
    path = tmp_path / "t.sf"
    path.write_bytes(header(schema, "null", SYNC) + long(1) + byte_string(bytes(100)) + SYNC)
    with pytest.raises(InputError) as error:
        list(read_trace(str(path)))
    assert str(error.value).isprintable()


def test_a_json_too_deep_to_parse_is_refused() -> None:
    with pytest.raises(SftoolsError):
        Plan("[" * 200_000)
