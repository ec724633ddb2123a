"""sftools.fields: names, and values in the form that is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import UsageError
from sftools.fields import FIELDS, TABLE_FIELDS, choose, known, sort_key, variants
from sftools.reader import Row, read_rows
from sftools.render.csv import csv_writer
from sftools.render.json import json_writer
from sftools.source import open_source

TRACES = Path(__file__).parent / "fixtures" / "traces"
TIMES = ("ts", "ts_uts", "endts", "endts_uts")


def rows(name: str) -> Iterator[Row]:
    with open_source(str(TRACES / f"{name}.sf")) as source:
        yield from read_rows(source)


def values(name: str, names: Sequence[str], **wanted: Any) -> list[tuple[Any, ...]]:
    fields = variants([FIELDS[each] for each in names], **wanted)
    return [tuple(field.get(row) for field in fields) for row in rows(name)]


def forms(name: str, field: str, **wanted: Any) -> dict[Any, Any]:
    """What becomes of each value of a field."""
    pairs = zip(values(name, [field]), values(name, [field], **wanted), strict=True)
    return {plain: other for (plain,), (other,) in pairs}


def test_rows_are_ordered_by_what_values_mean() -> None:
    def keys(name: str, *given: Any) -> list[Any]:
        iterator = iter(given)
        key = sort_key(replace(FIELDS[name], get=lambda row: next(iterator)))
        row = next(rows("webshell"))
        return [key(row) for _ in given]

    addresses = keys("net.sip", "10.0.0.9", "10.0.0.10", "192.0.2.1", "2001:db8::2", "2001:db8::10")
    assert addresses == sorted(addresses)
    absent, wrong, zero = keys("net.sip", None, "no address", "0.0.0.0")
    assert absent is None
    assert wrong < zero
    assert keys("proc.apid", [{"a": 1}, 2], None, ()) == [["{'a': 1}", "2"], None, []]
    assert keys("proc.exe", "b", None) == ["b", None]
    first = next(rows("webshell"))
    assert sort_key(FIELDS["ts"])(first) == FIELDS["ts_uts"].get(first)


def test_fields_by_name() -> None:
    assert [field.name for field in choose(None, TABLE_FIELDS)] == list(TABLE_FIELDS)
    assert [field.name for field in choose([" res", "sf.type ", "", "fd.name"], ())] == ["res", "type", "res"]
    with pytest.raises(UsageError, match=r"no field 'proc.exec'; do you mean proc\.exe"):
        choose(["proc.exec"], TABLE_FIELDS)
    with pytest.raises(UsageError, match="an empty list of fields"):
        choose(["", " "], TABLE_FIELDS)
    with pytest.raises(TypeError, match="a sequence of names, not 'ts'"):
        choose("ts", TABLE_FIELDS)
    assert known("nothing") is None


def test_as_they_are() -> None:
    fields = [FIELDS[name] for name in FIELDS]
    assert variants(fields) == fields
    assert variants(fields, open_flags="number") == fields


def test_iso_times_are_exact_and_have_a_zone() -> None:
    got = values("webshell", ("ts", "ts_uts"), time="iso")
    numbers = values("webshell", ("ts_uts",))
    assert all(ts == ts_uts and ts.endswith("Z") and len(ts) == 30 for ts, ts_uts in got)
    assert [ts[19:-1] for ts, _ in got] == [f".{ns % 10**9:09}" for (ns,) in numbers]


def test_iso_times_as_far_as_64_bits_go() -> None:
    texts = forms("odd-numbers", "ts_uts", time="iso")
    assert texts[-(1 << 63)] == "1677-09-21T00:12:43.145224192Z"
    assert texts[(1 << 63) - 1] == "2262-04-11T23:47:16.854775807Z"
    assert texts[0] == "1970-01-01T00:00:00.000000000Z"


def test_epoch_times_are_numbers() -> None:
    for ts, ts_uts, endts, endts_uts in values("every-type", TIMES, time="epoch"):
        assert (ts, endts) == (ts_uts, endts_uts)
        assert isinstance(ts, int)


def test_relative_times_are_seconds_since_the_first_record() -> None:
    plain = values("every-type", ("ts_uts", "endts_uts"))
    start = plain[0][0]
    seconds = [tuple(None if ns is None else (ns - start) / 1e9 for ns in row) for row in plain]
    assert values("every-type", ("ts", "endts"), time="rel") == seconds
    assert seconds[0][0] == 0
    started = ("proc.createts",)
    assert values("every-type", started, time="rel") == values("every-type", started)


def test_open_flags_by_name() -> None:
    got = forms("every-type", "file.openflags", open_flags="names")
    assert got == {None: None, 1: "RDONLY", 3: "RDWR", 262: "WRONLY,CREAT,TRUNC"}


def test_open_flags_without_a_name_are_shown() -> None:
    texts = forms("nasty", "file.openflags", open_flags="names")
    assert (texts[1], texts[2], texts[1 << 12], texts[1 << 14]) == ("RDONLY", "WRONLY", "CLOEXEC", "F_CREATED")
    assert texts[1 << 15] == "0x8000"
    assert forms("webshell", "file.openflags", open_flags="names")[0] == "NONE"


@pytest.mark.parametrize("time", ["iso", "epoch", "rel"])
def test_other_forms_hold_for_json_and_csv(time: str) -> None:
    """The writers keep what an entity decides, and render by the type of a field."""
    names = (*TIMES, "proc.createts", "file.openflags", "type")
    expected = values("every-type", names, time=time, open_flags="names")

    def fields() -> Any:
        return variants([FIELDS[name] for name in names], time=time, open_flags="names")

    out, table = BytesIO(), BytesIO()
    writers = json_writer(out, fields(), flat=True), csv_writer(table, fields())
    for row in rows("every-type"):
        for writer in writers:
            writer.row(row)
    for writer in writers:
        writer.close()
    got = [tuple(json.loads(line).values()) for line in out.getvalue().splitlines()]
    missing = [FIELDS[name].missing for name in names]
    assert got == [
        tuple(absent if value is None else value for absent, value in zip(missing, row, strict=True))
        for row in expected
    ]
    lines = table.getvalue().decode().splitlines()
    texts = [f"{value:.9f}" if isinstance(value, float) else str(value or "") for value in expected[0][:5]]
    assert lines[1].startswith(",".join(texts))
