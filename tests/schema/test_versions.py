"""The SysFlow schemas: equal to the published one, readable across versions, and as the IDL says."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from sftools.errors import UsageError
from sftools.schema import versions
from sftools.schema.canonical import canonical_form
from sftools.schema.objtypes import BRANCHES

SHARED = Path(__file__).parents[3] / "shared"
PUBLISHED = SHARED / "reference" / "sysflow-v5.avsc"

# SHA-256 of the canonical forms. Version 5 is that of every current trace; neither may ever change.
FINGERPRINTS = {
    5: "f8461596f6646d37991a5691fc63a69bcf52d71740a619bd0b08bfef40c2eb5f",
    6: "059779caa6e048d370d435008e7fb460e5574210bdeed2224ba4de4e67757e2b",
}
OID = {"createTS": 1, "hpid": 2}
FLOW = {
    **{"procOID": OID, "ts": 1, "tid": 2, "opFlags": 3, "endTs": 4, "sip": 0, "sport": 5, "dip": 0, "dport": 6},
    **{"proto": 6, "fd": 7, "numRRecvOps": 8, "numWSendOps": 9, "numRRecvBytes": 10, "numWSendBytes": 11},
}


def schema(version: int) -> Any:
    return fastavro.parse_schema(json.loads(versions.schema_json(version)))


def defaults(node: Any) -> list[tuple[str, Any]]:
    """The fields of a schema with their defaults, in order."""
    if isinstance(node, list):
        return [found for item in node for found in defaults(item)]
    if not isinstance(node, dict):
        return []
    own = [(node["name"], node["default"])] if "default" in node else []
    return own + [found for value in node.values() for found in defaults(value)]


@pytest.mark.parametrize("version", FINGERPRINTS)
def test_fingerprints_stay(version: int) -> None:
    assert versions.fingerprint(version).hex() == FINGERPRINTS[version]


def test_every_version_has_its_fingerprint_here() -> None:
    assert set(versions.VERSIONS) == set(FINGERPRINTS)
    assert max(FINGERPRINTS) == versions.LATEST


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs ../shared")
def test_version_5_is_the_published_one() -> None:
    published = PUBLISHED.read_text()
    assert canonical_form(versions.schema_json(5)) == canonical_form(published)
    assert defaults(json.loads(versions.schema_json(5))) == defaults(json.loads(published))


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_header_names_its_version(version: int) -> None:
    assert ("version", version) in defaults(json.loads(versions.schema_json(version)))


def test_branches_are_in_the_order_of_the_format() -> None:
    assert versions.branches(5) == {
        "SFHeader": 0,
        "Container": 1,
        "Process": 2,
        "File": 3,
        "ProcessEvent": 4,
        "NetworkFlow": 5,
        "FileFlow": 6,
        "FileEvent": 7,
        "NetworkEvent": 8,
        "ProcessFlow": 9,
        "Pod": 10,
        "K8sEvent": 11,
    }


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_new_versions_only_append_branches(version: int) -> None:
    assert versions.branches(version).items() <= BRANCHES.items()


def test_schema_of_a_trace_has_no_documentation() -> None:
    assert '"doc"' not in versions.schema_json(6)
    assert "generated-by" not in versions.schema_json(6)
    assert '"default":false' in versions.schema_json(6)


def test_unknown_version() -> None:
    with pytest.raises(UsageError, match="no schema version 4: there are 5, 6"):
        versions.schema_json(4)


def test_version_6_file_is_read_by_a_version_5_reader() -> None:
    written = [
        {"rec": ("sysflow.entity.SFHeader", {"version": 6, "exporter": "host1", "ip": "", "filename": "x"})},
        {"rec": ("sysflow.flow.NetworkFlow", {**FLOW, "sip6": b"\0" * 15 + b"\1", "dip6": b"\xfe\x80" + b"\2" * 14})},
        {"rec": ("sysflow.flow.NetworkFlow", {**FLOW, "sip6": None, "dip6": None})},
        {
            "rec": (
                "sysflow.event.FileEvent",
                {"procOID": OID, "ts": 1, "tid": 2, "opFlags": 3, "ret": 0, "fileOID": b"\1" * 20},
            )
        },
    ]
    file = io.BytesIO()
    fastavro.writer(file, schema(6), written)
    file.seek(0)
    records = [datum["rec"] for datum in fastavro.reader(file, reader_schema=schema(5), return_record_name=True)]
    assert records[0][1] == {"version": 6, "exporter": "host1", "ip": "", "filename": "x"}
    assert records[1] == ("sysflow.flow.NetworkFlow", FLOW)
    assert records[2] == ("sysflow.flow.NetworkFlow", FLOW)
    assert records[3][0] == "sysflow.event.FileEvent"


def test_bare_datum_of_version_6_is_read_with_the_version_5_schema() -> None:
    datum = io.BytesIO()
    fastavro.schemaless_writer(datum, schema(6), {"rec": ("sysflow.flow.NetworkFlow", {**FLOW, "sip6": b"\1" * 16})})
    datum.seek(0)
    assert fastavro.schemaless_reader(datum, schema(6), schema(5)) == {"rec": FLOW}
    assert datum.read() == b""


def test_version_5_file_is_read_by_a_version_6_reader() -> None:
    file = io.BytesIO()
    fastavro.writer(file, schema(5), [{"rec": ("sysflow.flow.NetworkFlow", FLOW)}])
    file.seek(0)
    assert list(fastavro.reader(file, reader_schema=schema(6))) == [{"rec": {**FLOW, "sip6": None, "dip6": None}}]
