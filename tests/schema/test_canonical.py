"""The Parsing Canonical Form and its fingerprints, against the specification's rules and fastavro's implementation."""

import json

import fastavro.schema
import pytest

from sftools.errors import SftoolsError
from sftools.schema import versions
from sftools.schema.canonical import canonical_form, fingerprint_sha256


def test_attributes_that_count_keep_and_others_go() -> None:
    schema = """{"doc": "d", "fields": [{"default": 1, "type": {"type": "int"}, "name": "f", "order": "ignore"}],
                 "aliases": ["x"], "type": "record", "namespace": "a", "name": "R"}"""
    assert canonical_form(schema) == '{"name":"a.R","type":"record","fields":[{"name":"f","type":"int"}]}'


def test_names_become_full_names() -> None:
    schema = {
        "type": "record",
        "name": "a.R",
        "fields": [
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"], "default": "A"}},
            {"name": "again", "type": ["null", "E"]},
            {"name": "fixed", "type": {"type": "fixed", "name": "F", "namespace": "b", "size": "016"}},
            {"name": "self", "type": {"type": "array", "items": "R"}},
            {"name": "map", "type": {"type": "map", "values": {"type": "string", "logicalType": "uuid"}}},
        ],
    }
    fields = json.loads(canonical_form(json.dumps(schema)))["fields"]
    assert fields == [
        {"name": "e", "type": {"name": "a.E", "type": "enum", "symbols": ["A"]}},
        {"name": "again", "type": ["null", "a.E"]},
        {"name": "fixed", "type": {"name": "b.F", "type": "fixed", "size": 16}},
        {"name": "self", "type": {"type": "array", "items": "a.R"}},
        {"name": "map", "type": {"type": "map", "values": "string"}},
    ]


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_agrees_with_fastavro_on_sysflow(version: int) -> None:
    schema = versions.schema_json(version)
    assert canonical_form(schema) == fastavro.schema.to_parsing_canonical_form(json.loads(schema))
    assert fingerprint_sha256(schema).hex() == fastavro.schema.fingerprint(canonical_form(schema), "sha256")


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "{",
        "1",
        "null",
        "{}",
        '{"type": "record"}',
        '{"type": "record", "name": 1, "fields": []}',
        '{"type": "record", "name": ["a."], "fields": []}',
        '{"type": "record", "name": "R", "fields": 3}',
        '{"type": "enum", "name": "R", "symbols": null}',
        '{"type": "fixed", "name": "R", "size": "x"}',
        "[" * 200 + "]" * 200,
        "[" * 100_000,
        '{"type":' * 100_000 + '"int"' + "}" * 100_000,
    ],
)
def test_what_is_no_schema_is_refused(schema: str) -> None:
    with pytest.raises(SftoolsError, match="bad Avro schema"):
        canonical_form(schema)
