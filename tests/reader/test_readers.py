"""The readers of the existing package: what they give, and how they end."""

from __future__ import annotations

import gc
import gzip
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import InputError
from sftools.objtypes import OBJECT_MAP, ObjectTypes
from sftools.reader import FlattenedSFReader, SFReader, read_trace
from sftools.schema.sysflow import Process

TRACES = Path(__file__).parents[1] / "fixtures" / "traces"
EVERY_TYPE = str(TRACES / "every-type.sf")
SHARED = Path(__file__).parents[3] / "shared" / "traces"
PRINTED = SHARED / "sysprint"


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_all_objects_with_their_types() -> None:
    got = list(SFReader(EVERY_TYPE))
    assert [record for _, record in got] == list(read_trace(EVERY_TYPE))
    assert {objtype for objtype, _ in got} == set(ObjectTypes)
    assert got[0][0] is ObjectTypes.HEADER


def test_an_event_comes_with_its_entities() -> None:
    for objtype, header, pod, cont, pproc, proc, files, evt, flow in FlattenedSFReader(EVERY_TYPE):
        assert header is not None
        assert (evt is None) == (objtype in (ObjectTypes.NET_FLOW, ObjectTypes.FILE_FLOW, ObjectTypes.PROC_FLOW))
        assert (evt is None) != (flow is None)
        if objtype is ObjectTypes.K8S_EVT:
            assert (pod, cont, pproc, proc, files) == (None,) * 5
        if proc is not None:
            assert proc.oid == (evt or flow).procOID  # type: ignore[union-attr]
            assert pproc is None or proc.poid == pproc.oid
            assert cont is None or proc.containerId == cont.id
        assert pod is None or (cont is not None and cont.podId == pod.id)
        assert files is None or objtype in (ObjectTypes.FILE_FLOW, ObjectTypes.FILE_EVT)


def test_a_tuple_has_names_and_a_row() -> None:
    for record in FlattenedSFReader(EVERY_TYPE):
        assert isinstance(record, tuple)
        assert len(record) == 9
        assert record.objtype is record[0]
        assert record.row.process is record.proc
        assert record.row.branch == record.objtype.value


def test_tuples_stay_when_the_reader_goes_on() -> None:
    kept = list(FlattenedSFReader(EVERY_TYPE))
    again = FlattenedSFReader(EVERY_TYPE)
    assert all(one == other for one, other in zip(kept, again, strict=True))


def test_entities_too_in_the_order_of_the_trace() -> None:
    plain = [objtype for objtype, _ in SFReader(EVERY_TYPE)]
    records = list(FlattenedSFReader(EVERY_TYPE, retEntities=True))
    assert [record.objtype for record in records] == plain
    names = {ObjectTypes.HEADER: "header", ObjectTypes.POD: "pod", ObjectTypes.CONT: "cont", ObjectTypes.PROC: "proc"}
    for record, (_, entity) in zip(records, SFReader(EVERY_TYPE), strict=True):
        if record.objtype in names:
            assert getattr(record, names[record.objtype]) == entity
            assert (record.pproc, record.files, record.evt, record.flow) == (None,) * 4
        elif record.objtype is ObjectTypes.FILE:
            assert record.files == (entity, None)
            assert (record.proc, record.evt, record.flow) == (None, None, None)
        else:
            assert entity in (record.evt, record.flow)


def test_enums_are_equal_to_their_symbols() -> None:
    records = list(FlattenedSFReader(EVERY_TYPE))
    assert {str(record.proc.state) for record in records if record.proc} <= {"CREATED", "MODIFIED", "REUP"}
    container = next(record.cont for record in records if record.cont)
    assert container.type == container.type.value
    assert f"{container.type:>20}".endswith(container.type.value)


def test_processes_by_their_oid() -> None:
    reader = FlattenedSFReader(EVERY_TYPE)
    record = next(record for record in reader if record.pproc)
    assert record.proc is not None
    assert record.proc.poid is not None
    assert reader.getProcess(record.proc.oid) == record.proc
    assert reader.getProcess(record.proc.poid) == record.pproc
    assert reader.getProcessKey(record.proc.oid) == (record.proc.oid.hpid, record.proc.oid.createTS)
    assert FlattenedSFReader(EVERY_TYPE).getProcess(record.proc.oid) is None


def test_rows_are_what_is_left() -> None:
    reader = FlattenedSFReader(EVERY_TYPE)
    whole = len(list(FlattenedSFReader(EVERY_TYPE)))
    next(reader)
    assert sum(1 for _ in reader.rows()) == whole - 1
    assert list(reader) == []


@pytest.mark.parametrize("kind", [SFReader, FlattenedSFReader])
def test_a_file_is_closed_at_the_end_or_before(kind: Any) -> None:
    before = open_files()
    with kind(EVERY_TYPE) as reader:
        next(reader)
        assert open_files() == before + 1
    assert open_files() == before
    assert list(reader) == []
    reader.close()
    reader = kind(EVERY_TYPE)
    assert len(list(reader)) > 5
    assert open_files() == before
    reader = kind(Path(EVERY_TYPE))
    assert reader.filename == EVERY_TYPE
    next(reader)
    del reader
    assert open_files() == before


@pytest.mark.parametrize("kind", [SFReader, FlattenedSFReader])
def test_what_is_no_trace_is_told_at_once(kind: Any, tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(InputError, match="does not exist"):
        kind(str(tmp_path / "missing.sf"))
    (tmp_path / "text.sf").write_text("no trace")
    with pytest.raises(InputError, match=r"text\.sf at offset 0: is not a SysFlow trace"):
        kind(str(tmp_path / "text.sf"))
    assert open_files() == before


def test_a_cut_trace_gives_what_is_complete() -> None:
    reader = FlattenedSFReader(TRACES / "cut.sf")
    complete = len((TRACES / "cut.flatjson").read_bytes().splitlines())
    assert len(list(itertools.islice(reader, complete))) == complete > 0
    with pytest.raises(InputError, match=r"cut\.sf at offset"):
        next(reader)
    assert list(reader) == []


def goldens() -> list[Any]:
    """(trace, what the existing sysprint printed of it)"""
    cases = []
    for folder in (PRINTED, PRINTED / "synthetic") if PRINTED.is_dir() else ():
        for path in sorted(folder.glob("*.flatjson*")):
            name = path.name.partition(".")[0]
            home = "sysflow-old" if name.startswith("v1000") else "collector"
            trace = SHARED / home / f"{name}.sf" if folder == PRINTED else folder / f"{name}.sf"
            if path.stat().st_size and name != "networkevent":  # at which the existing one ends
                cases.append(pytest.param(trace, path, id=name))
    return cases


@pytest.mark.skipif(not PRINTED.is_dir(), reason="needs the shared traces")
@pytest.mark.parametrize(("trace", "printed"), goldens())
def test_as_many_records_of_each_type_as_the_existing_reader_gives(trace: Path, printed: Path) -> None:
    import orjson

    text = gzip.decompress(printed.read_bytes()) if printed.suffix == ".gz" else printed.read_bytes()
    documents = [orjson.loads(line) for line in text.splitlines()]
    records = list(FlattenedSFReader(trace))
    assert [OBJECT_MAP[record.objtype] for record in records] == [document["type"] for document in documents]
    if trace.stem != "keycollision":  # there the existing one takes one process for another
        processes = [document["proc.exe"] for document in documents]
        assert [record.proc.exe if record.proc else "" for record in records] == processes
    activities = {ObjectTypes(number) for number in (4, 5, 6, 7, 8, 9, 11)}
    assert sum(objtype in activities for objtype, _ in SFReader(trace)) == len(documents)
    assert sum(isinstance(record, Process) for _, record in SFReader(trace)) > 0
