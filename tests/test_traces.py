"""sftools.open: loops, filters, Arrow tables and frames."""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import sftools
from sftools.errors import InputError, SftoolsError, UsageError
from sftools.fields import DEFAULT_FIELDS
from sftools.reader import FlattenedSFReader

TRACES = Path(__file__).parent / "fixtures" / "traces"
EVERY_TYPE = TRACES / "every-type.sf"
WEBSHELL = TRACES / "webshell.sf"


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_records_have_attributes_and_fields() -> None:
    kept = list(sftools.open(EVERY_TYPE))
    documents = [json.loads(line) for line in EVERY_TYPE.with_suffix(".flatjson").read_bytes().splitlines()]
    for record, nine, document in zip(kept, FlattenedSFReader(EVERY_TYPE), documents, strict=True):
        assert (record.type, record.ts) == (document["type"], document["ts_uts"])
        assert record.endTs == document["endts_uts"]
        assert record.record in (nine.evt, nine.flow)
        assert (record.header, record.pod, record.container) == (nine.header, nine.pod, nine.cont)
        assert (record.process, record.parent) == (nine.proc, nine.pproc)
        assert (record.file, record.new_file) == (nine.files or (None, None))
        assert [process.oid for process in record.ancestors()][:1] == ([nine.proc.oid] if nine.proc else [])
        for name in DEFAULT_FIELDS:
            value = record[name]
            value = list(value) if name == "tags" else value
            assert value == document[name] or (value is None and document[name] == "")


def test_a_record_is_a_mapping() -> None:
    record = next(record for record in sftools.open(WEBSHELL) if record.type == "FF")
    assert list(record) == list(dict(record)) == list(DEFAULT_FIELDS)
    assert record["proc.pname"] == record["pproc.name"]
    assert record["sf.proc.name"] == os.path.basename(record["proc.exe"])
    assert record.get("ret", "none") is None
    assert "proc.name" in record
    assert "proc.nme" not in record
    with pytest.raises(KeyError, match=r"do you mean proc\.name\?"):
        record["proc.nme"]


def test_times() -> None:
    record = next(iter(sftools.open(EVERY_TYPE)))
    assert record.time == datetime.fromtimestamp(record.ts // 1000 / 1e6, UTC)


def test_what_is_shown_of_a_record_obeys_nobody() -> None:
    shown = [repr(record) for record in sftools.open(TRACES / "nasty.sf")]
    assert all(text.isprintable() for text in shown)
    assert any("\\x1b" in text for text in shown)


def test_a_trace_can_be_read_again() -> None:
    trace = sftools.open(EVERY_TYPE)
    assert [record.ts for record in trace] == [record.ts for record in trace] != []


def test_filters_come_one_after_the_other() -> None:
    trace = sftools.open(EVERY_TYPE)
    flows = trace.filter("type in (FF, NF)")
    assert {record.type for record in flows} == {"FF", "NF"}
    assert {record.type for record in flows.filter("type != NF")} == {"FF"}
    assert len(list(trace)) > len(list(flows))
    with pytest.raises(SftoolsError):
        trace.filter("type =")


def test_a_filter_with_definitions(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text("- macro: flow\n  condition: sf.type in (FF, NF)\n")
    flows = sftools.open(EVERY_TYPE).filter("not flow", [str(tmp_path / "defs.yaml")])
    assert {"FF", "NF"}.isdisjoint({record.type for record in flows})


def test_several_traces_are_one(tmp_path: Path) -> None:
    for name in ("t10.sf", "t2.sf"):
        shutil.copy(EVERY_TYPE if name == "t2.sf" else WEBSHELL, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no trace")
    want = [record.ts for path in (EVERY_TYPE, WEBSHELL) for record in sftools.open(path)]
    assert [record.ts for record in sftools.open(EVERY_TYPE, str(WEBSHELL))] == want
    assert [record.ts for record in sftools.open(f"{tmp_path}/*.sf")] == want
    with pytest.warns(UserWarning, match=r"notes\.txt"):
        assert [record.ts for record in sftools.open(tmp_path)] == want


def test_what_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        sftools.open()
    with pytest.raises(InputError, match="does not exist"):
        sftools.open(tmp_path / "missing.sf")
    (tmp_path / "text").write_text("text")
    with pytest.raises(InputError, match="is not a SysFlow trace"):
        sftools.open(tmp_path / "text")


def test_damage_is_told_behind_what_is_sound() -> None:
    complete = len((TRACES / "cut.flatjson").read_bytes().splitlines())
    records = iter(sftools.open(TRACES / "cut.sf"))
    assert len(list(itertools.islice(records, complete))) == complete
    with pytest.raises(InputError, match=r"cut\.sf at offset"):
        next(records)


def test_files_are_closed() -> None:
    before = open_files()
    with sftools.open(EVERY_TYPE) as trace:
        first, second = iter(trace), iter(trace.filter("type exists"))
        next(first)
        next(second)
        assert open_files() == before + 2
    assert open_files() == before
    assert list(first) == list(second) == []
    assert len(list(trace)) > 1
    assert open_files() == before


def test_arrow_tables() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    trace = sftools.open(EVERY_TYPE, WEBSHELL)
    table = trace.to_arrow()
    assert table.column_names == list(DEFAULT_FIELDS)
    assert table.column("ts_uts").to_pylist() == [record.ts for record in trace]
    assert pyarrow.table(trace).equals(trace.to_batches().read_all())
    assert trace.filter("type = FF").to_arrow(["type", "proc.pname"]).column_names == ["type", "pproc.name"]
    with pytest.raises(UsageError):
        trace.to_arrow(["proc.exx"])


def test_frames() -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = sftools.open(EVERY_TYPE).to_dataframe(["ts", "proc.exe", "endts"])
    records = list(sftools.open(EVERY_TYPE))
    assert [time.value for time in frame["ts"]] == [record.ts for record in records]
    assert list(frame["proc.exe"]) == [record["proc.exe"] for record in records]
    assert list(frame["endts"].isna()) == [record.endTs is None for record in records]
    assert str(frame["ts"].dtype) == "datetime64[ns, UTC]"
    assert isinstance(frame, pandas.DataFrame)


def test_names_of_the_package_come_when_they_are_asked_for() -> None:
    assert {"open", "convert"} <= set(sftools.__all__)
    with pytest.raises(AttributeError):
        sftools.nothing  # noqa: B018


def test_what_is_no_name_or_query_is_a_type_error() -> None:
    trace = sftools.open(os.fsencode(EVERY_TYPE))  # a path in bytes is one
    record = next(iter(trace))
    with pytest.raises(TypeError, match="fields have names"):
        record[3]  # type: ignore[index]
    with pytest.raises(TypeError, match="a query is text, not None"):
        trace.filter(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="definitions is a sequence of names"):
        trace.filter("type = FF", "defs.yaml")
    with pytest.raises(TypeError, match="fields is a sequence of names"):
        trace.to_batches("proc.exe")
