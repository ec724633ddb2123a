"""SFFormatter: every form has what the fields give, and one call leaves nothing behind for the next."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import InputError, UsageError
from sftools.fields import DEFAULT_FIELDS, FIELDS, FieldType
from sftools.formatter import SFFormatter
from sftools.reader import FlattenedSFReader
from sftools.sfql import SfqlInterpreter

TRACES = Path(__file__).parent / "fixtures" / "traces"
EVERY_TYPE = TRACES / "every-type.sf"
SHARED = Path(__file__).parents[2] / "shared" / "traces"
PRINTED = SHARED / "sysprint"


def formatter(path: Path = EVERY_TYPE, **options: Any) -> SFFormatter:
    return SFFormatter(FlattenedSFReader(str(path)), **options)


def documents(path: Path = EVERY_TYPE) -> list[dict[str, Any]]:
    """The golden file of a trace: a flat document for each record."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.with_suffix(".flatjson").read_bytes()
    return [json.loads(line) for line in text.splitlines()]


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in flat.items():
        group, dot, rest = name.partition(".")
        if dot:
            out.setdefault(group, {})[rest] = value
        else:
            out[group] = value
    return out


# -- JSON and CSV


def test_json_in_every_way(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    want = documents()
    assert json.loads(formatter().toJson(flat=True)) == want
    assert json.loads(formatter().toJson()) == [nested(document) for document in want]
    formatter().toJsonStdOut(flat=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == want
    formatter().toJsonFile(tmp_path / "x.json", flat=True)
    assert json.loads((tmp_path / "x.json").read_text()) == want
    lines: list[str] = []
    formatter().applyFuncJson(lines.append)
    assert [json.loads(line) for line in lines] == want
    assert list(tmp_path.iterdir()) == [tmp_path / "x.json"]


def test_stdout_that_takes_only_text(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    formatter().toJsonStdOut(["file.path"], flat=True)
    assert [json.loads(line)["file.path"] for line in out.getvalue().splitlines()] == [
        document["file.path"] for document in documents()
    ]


class OneByte(io.RawIOBase):
    """Takes the first byte of a write only, until it has `room` of them."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = room, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int | None:
        if len(self.taken) == self.room:
            return None
        self.taken += bytes(data[:1])
        return 1


def test_stdout_that_takes_parts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONUNBUFFERED, where Python puts no buffer before it."""
    want = b"".join(json.dumps({"type": each["type"]}, separators=(",", ":")).encode() + b"\n" for each in documents())
    out = OneByte(len(want))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))  # type: ignore[type-var]
    formatter().toJsonStdOut(["type"], flat=True)
    assert out.taken == want
    with pytest.raises(BlockingIOError):
        formatter().toJsonStdOut(["type"], flat=True)


def test_csv_with_and_without_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    formatter().toCsvFile(path)
    assert path.read_bytes() == EVERY_TYPE.with_suffix(".csv").read_bytes()
    formatter().toCsvFile(path, ["type", "proc.exe"], header=False)
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [[document["type"], document["proc.exe"]] for document in documents()]


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(InputError):
        formatter(TRACES / "cut.sf").toJsonFile(path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    formatter().toJsonFile(path, ["type"])
    assert json.loads(path.read_text())[0].keys() == {"type"}


def test_no_record() -> None:
    assert formatter(TRACES / "empty.sf").toJson() == "[]"
    assert formatter().toJson(expr="type = PE and type = FF") == "[]"


# -- fields


def test_fields_in_the_order_given_by_any_of_their_names() -> None:
    document = json.loads(formatter().toJson(["proc.pexe", "sf.type", "type"], flat=True))[0]
    assert list(document) == ["pproc.exe", "type"]
    with pytest.raises(UsageError, match=r"no field 'proc\.exx'; do you mean proc\.exe\?"):
        formatter().toJson(["proc.exx"])


def test_all_fields_whatever_is_asked_for() -> None:
    every = formatter()
    every.enableAllFields()
    assert list(json.loads(every.toJson(["type"], flat=True))[0]) == list(DEFAULT_FIELDS)
    assert list(json.loads(formatter().toJson(["type"], flat=True))[0]) == ["type"]


def test_every_field_has_a_description() -> None:
    fields = formatter().getFields()
    assert [name for name, _ in fields] == list(FIELDS)
    assert all(description for _, description in fields)


def table(capsys: pytest.CaptureFixture[str], made: SFFormatter, **options: Any) -> str:
    made.toStdOut(**options)
    return capsys.readouterr().out


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    plain = table(capsys, formatter())
    assert "Rec #" in plain
    assert "Resource" in plain
    assert "Pod Name" not in plain
    assert all(document["res"] in plain for document in documents() if document["res"].isascii())
    assert "Rec #" not in table(capsys, formatter(), showindex=False)
    assert "proc.exe" in table(capsys, formatter(), pretty_headers=False, fields=["proc.exe"])
    assert "Resource" not in table(capsys, formatter(), fields=["type"])


def test_the_table_s_fields_belong_to_one_formatter(capsys: pytest.CaptureFixture[str]) -> None:
    pods = formatter()
    pods.enablePodFields()
    pods.enablePodFields()
    assert table(capsys, pods).count("Pod Name") == 1
    events = formatter()
    events.enableK8sEventFields()
    shown = table(capsys, events, expr="type = KE")
    assert "K8s EV Action" in shown
    assert "Resource" not in shown
    assert "K8s EV Action" not in table(capsys, formatter())


# -- queries


def test_a_query_is_for_one_call() -> None:
    made = formatter()
    made.reader = list(FlattenedSFReader(EVERY_TYPE))
    assert {document["type"] for document in json.loads(made.toJson(expr="type in (FF, NF)"))} == {"FF", "NF"}
    assert len(json.loads(made.toJson())) == len(documents())


def test_a_query_uses_definitions(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text("- list: flows\n  items: [FF, NF]\n- macro: flow\n  condition: sf.type in (flows)\n")
    got = json.loads(formatter(defs=[str(path)]).toJson(expr="flow"))
    assert {document["type"] for document in got} == {"FF", "NF"}


def test_what_a_filter_leaves_is_a_reader() -> None:
    left = SfqlInterpreter("type = FE").filter(FlattenedSFReader(EVERY_TYPE))
    assert {document["type"] for document in json.loads(SFFormatter(left).toJson())} == {"FE"}


# -- frames and Arrow tables


def test_frames_have_every_number_as_it_is() -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = formatter().toDataframe()
    assert list(frame.columns) == list(DEFAULT_FIELDS)
    for name in DEFAULT_FIELDS:
        field = FIELDS[name]
        got = [None if value is pandas.NA else value for value in frame[name]]
        want = [document[name] for document in documents()]
        if field.type not in (FieldType.TEXT, FieldType.ADDRESS, FieldType.TIME):
            want = [None if value == "" else value for value in want]
        assert got == want, name
    assert str(frame["endts_uts"].dtype) == str(frame["proc.pid"].dtype) == "Int64"
    assert str(frame["proc.tty"].dtype) == "boolean"


def test_frames_without_rows_have_columns() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = formatter(TRACES / "empty.sf").toDataframe(["ts", "proc.pid", "pod.services"])
    assert frame.shape == (0, 3)
    assert str(frame["proc.pid"].dtype) == "Int64"


def test_frames_can_be_worked_with() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = formatter(TRACES / "webshell.sf").toDataframe()
    want = documents(TRACES / "webshell.sf")
    assert len(frame[frame["file.path"].str.startswith("/etc")]) == sum(
        document["file.path"].startswith("/etc") for document in want
    )
    assert frame["flow.rbytes"].sum() == sum(document["flow.rbytes"] or 0 for document in want)
    counts = frame.groupby("proc.exe").size().to_dict()
    assert counts == {
        exe: len(list(group)) for exe, group in itertools.groupby(sorted(document["proc.exe"] for document in want))
    }


def test_arrow_tables() -> None:
    pytest.importorskip("pyarrow")
    made = formatter().toArrow(["type", "res", "ts_uts"], expr="type = FF")
    want = [{name: document[name] for name in ("type", "res", "ts_uts")} for document in documents()]
    assert made.to_pylist() == [
        {**document, "res": document["res"] or None} for document in want if document["type"] == "FF"
    ]


# -- beside the existing package


def goldens() -> list[Any]:
    cases = []
    for folder in (PRINTED, PRINTED / "synthetic") if PRINTED.is_dir() else ():
        for path in sorted(folder.glob("*.flatjson*")):
            name = path.name.partition(".")[0]
            home = "sysflow-old" if name.startswith("v1000") else "collector"
            trace = SHARED / home / f"{name}.sf" if folder == PRINTED else folder / f"{name}.sf"
            # At a NetworkEvent the existing one ends; where keys collide it takes one process for another.
            if path.stat().st_size and name not in ("networkevent", "keycollision"):
                cases.append(pytest.param(trace, path, id=name))
    return cases


@pytest.mark.skipif(not PRINTED.is_dir(), reason="needs the shared traces")
@pytest.mark.parametrize(("trace", "printed"), goldens())
def test_frames_and_documents_are_those_of_the_existing_package(trace: Path, printed: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    want = documents(printed if printed.suffix == ".gz" else printed.with_suffix(""))
    assert json.loads(formatter(trace).toJson(flat=True)) == want
    frame = formatter(trace).toDataframe()
    for name in DEFAULT_FIELDS:
        text = FIELDS[name].type in (FieldType.TEXT, FieldType.ADDRESS, FieldType.TIME)
        column = [document[name] if text or document[name] != "" else None for document in want]
        assert [None if value is pandas.NA else value for value in frame[name]] == column, name
