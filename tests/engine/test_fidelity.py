"""The records of whole captures: beside the existing collector's, and those of our fixtures.

Where ../shared/traces is there, all its captures are converted with both settings and compared (scripts/fidelity.py);
docs/fidelity.md has what may differ. The fixtures' records stand in tests/fixtures/golden (scripts/golden.py).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sftools.avro.text import from_str
from sftools.errors import InputError
from sftools.libsysflow import convert
from sftools.reader import Record
from sftools.schema.sysflow import File, FileEvent, FileFlow, NetworkFlow, Process, ProcessEvent, ProcessFlow

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


fidelity = script("fidelity")
golden = script("golden")

CAPTURES = golden.captures()
TRACES = {trace.name: trace for trace in fidelity.traces()}
needs_traces = pytest.mark.skipif(not TRACES, reason="../shared/traces is not there")


# -- beside the existing collector


@needs_traces
@pytest.mark.parametrize("name", TRACES or ["none"])
def test_differences_are_known_defects_of_the_collector(name: str) -> None:
    report = fidelity.compare(TRACES[name])
    assert [(sign, record) for number, sign, record in report.differences if number == 0] == []
    assert report.faults == []
    # As many as before: a regression that a rule takes for a defect shows here.
    assert fidelity.row(name, report, fidelity.DEFECTS) in fidelity.DOCUMENT.read_text().splitlines()


@needs_traces
def test_the_document_has_a_row_for_each_trace_and_no_other() -> None:
    lines = fidelity.DOCUMENT.read_text().splitlines()
    rows = [line.split(" ")[1] for line in lines if line.startswith("| ")]
    assert rows == ["trace", *TRACES]


CHANGES = {
    "tid": lambda record: dataclasses.replace(record, tid=record.tid + 1),
    "fd": lambda record: dataclasses.replace(record, fd=record.fd + 1),
    "endTs": lambda record: dataclasses.replace(record, endTs=record.endTs + 1),
    "opFlags": lambda record: dataclasses.replace(record, opFlags=record.opFlags ^ 1 << 12),
    "numRRecvBytes": lambda record: dataclasses.replace(record, numRRecvBytes=record.numRRecvBytes + 1),
    "numThreadsExited": lambda record: dataclasses.replace(record, numThreadsExited=record.numThreadsExited + 1),
    "ret": lambda record: dataclasses.replace(record, ret=record.ret - 1),
    "ts": lambda record: dataclasses.replace(record, ts=record.ts + 1),
    "uid": lambda record: dataclasses.replace(record, uid=record.uid + 1),
    "path": lambda record: dataclasses.replace(record, path=record.path + "x"),
}
FIELDS = {
    NetworkFlow: ("tid", "fd", "endTs", "opFlags", "numRRecvBytes"),
    ProcessFlow: ("endTs", "numThreadsExited"),
    FileEvent: ("ts", "tid", "opFlags", "ret"),
    ProcessEvent: ("ts", "opFlags"),
    Process: ("ts", "uid"),
    File: ("ts", "path"),
    FileFlow: ("tid", "fd", "endTs", "opFlags", "numRRecvBytes"),
}


# Together they have records of every type that a rule explains.
EXPLAINED = ("container", "container.full", "longconn", "ipv6.full", "namespaces-setns", "io.full", "pyfiles")


@functools.cache
def compared(name: str) -> tuple[list[Record], list[Record], Any, list[Record]]:
    """A trace's records, ours and theirs, the capture's events, and those of ours that a rule explains."""
    trace = TRACES[name]
    ours = list(convert(trace.capture, schema=5, exporter=trace.exporter, **trace.options))
    theirs = list(fidelity.read_trace(str(trace.reference)))
    events = fidelity.Events(trace.capture)
    explained = [r for _, sign, r in fidelity.explain(trace, ours, theirs, events).differences if sign == "+"]
    return ours, theirs, events, explained


@needs_traces
@pytest.mark.parametrize("kind", FIELDS)
def test_a_rule_takes_nothing_that_differs_in_more_than_its_defect(kind: type[Record]) -> None:
    tried = 0
    for name in EXPLAINED:
        if kind is not FileEvent and name == "pyfiles":
            continue  # the largest: only it has all FileEvents
        ours, theirs, events, explained = compared(name)
        for record in [record for record in explained if isinstance(record, kind)][:3]:
            tried += 1
            for field in FIELDS[kind]:
                changed = [CHANGES[field](other) if other is record else other for other in ours]
                report = fidelity.explain(TRACES[name], changed, theirs, events)
                assert 0 in report.counts(), f"{field} of {record}"
    assert tried


# -- our fixtures


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_records_are_the_golden_ones(capture: Path) -> None:
    assert golden.golden(capture).splitlines() == golden.golden_file(capture).read_text().splitlines()


def test_every_golden_file_has_a_capture() -> None:
    assert sorted(golden.GOLDEN.rglob("*.txt")) == sorted(map(golden.golden_file, CAPTURES))


@pytest.mark.parametrize("schema", [5, 6])
@pytest.mark.parametrize("setting", golden.SETTINGS)
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_a_trace_is_self_contained(capture: Path, setting: str, schema: int) -> None:
    records = []
    try:
        for record in convert(capture, schema=schema, **golden.SETTINGS[setting]):
            records.append(record)
    except InputError:
        assert capture.stem in ("byte-swapped", "damaged", "truncated")
    assert fidelity.self_contained(records) == []
    for record in records:
        if isinstance(record, File):
            assert record.oid == hashlib.sha1((record.containerId or "").encode() + from_str(record.path)).digest()


def test_self_contained_finds_what_is_not() -> None:
    records = list(convert(ROOT / "tests" / "fixtures" / "containers.scap"))
    assert fidelity.self_contained(records) == []
    for kind in ("SFHeader", "Pod", "Container", "Process", "File"):
        first = next(i for i, record in enumerate(records) if type(record).__name__ == kind)
        assert fidelity.self_contained(records[:first] + records[first + 1 :]), kind
    backwards = [dataclasses.replace(r, endTs=r.ts - 1) if isinstance(r, FileFlow) else r for r in records]
    assert any("ends before it begins" in fault for fault in fidelity.self_contained(backwards))
