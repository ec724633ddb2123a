"""The existing sysprint's output of real and made-up traces (../shared): ours is the same, but for listed defects."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sftools.errors import InputError
from sftools.fields import DEFAULT_FIELDS, FIELDS, Field, choose
from sftools.reader import read_rows
from sftools.render.csv import csv_writer
from sftools.render.json import json_writer
from sftools.source import open_source

SHARED = Path(__file__).parents[3] / "shared" / "traces"
PRINTED = SHARED / "sysprint"
KINDS = ("json", "flatjson", "csv", "c.json", "c.csv", "w.json")

# By the numbers of the specification's list of defects: what the existing one prints otherwise, and why ours is right.
DEFECTS = {
    "networkevent": "14: a NetworkEvent ends its run",
    "keycollision": "15: it takes one process for another",
}
# 5 and 9: its CSV file is empty where a trace is cut, or nothing matches. Ours has the names, and what is complete.
NO_CSV = ("empty", "truncated", "snappy", "zstandard", "zero")


def outputs() -> list[Any]:
    if not PRINTED.is_dir():
        return []
    cases = []
    for folder in (PRINTED, PRINTED / "synthetic"):
        for path in sorted(folder.iterdir()):
            trace, dot, kind = path.name.removesuffix(".gz").partition(".")
            if dot and kind in KINDS and trace != "ARGUMENTS":
                cases.append(pytest.param(path, trace, kind, id=f"{trace}.{kind}"))
    return cases


def trace_path(name: str) -> Path:
    folder = "sysflow-old" if name.startswith("v1000") else "collector"
    path = SHARED / folder / f"{name}.sf"
    return path if path.exists() else PRINTED / "synthetic" / f"{name}.sf"


def printed(trace: str, make: Callable[[BinaryIO], Any]) -> bytes:
    out = io.BytesIO()
    writer = make(out)
    with contextlib.suppress(InputError), open_source(str(trace_path(trace))) as source:
        for row in read_rows(source):
            writer.row(row)
    writer.close()
    return out.getvalue()


def fields_of(trace: str, kind: str) -> list[Field]:
    names = DEFAULT_FIELDS
    if kind.startswith("c."):
        arguments = json.loads((PRINTED / "ARGUMENTS.json").read_text())[f"{trace}.{kind}"].split()
        names = [field.name for field in choose(arguments[arguments.index("-c") + 1].split(","), ())]
    return [FIELDS[name] for name in names]


@pytest.mark.skipif(not PRINTED.is_dir(), reason="needs the shared traces")
@pytest.mark.parametrize(("path", "trace", "kind"), outputs())
def test_output_is_that_of_the_existing_sysprint(path: Path, trace: str, kind: str) -> None:
    want = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    fields = fields_of(trace, kind)
    if kind.endswith("csv"):
        got = printed(trace, lambda file: csv_writer(file, fields))
        if trace in NO_CSV:
            assert (want, got.count(b"\r\n")) == (b"", 1)
            return
        same = got == want
    elif kind == "w.json":
        got = printed(trace, lambda file: json_writer(file, fields, array=True))
        same = json.dumps(json.loads(got)) == json.dumps(json.loads(want))  # as text: the order of keys counts
    else:
        got = printed(trace, lambda file: json_writer(file, fields, flat=kind == "flatjson"))
        ours, theirs = ([json.dumps(json.loads(line)) for line in text.splitlines()] for text in (got, want))
        same = ours == theirs
    assert same != (trace in DEFECTS), DEFECTS.get(trace, "differs")


def test_a_pid_and_time_that_collide_there_are_two_processes_here() -> None:
    if not PRINTED.is_dir():
        pytest.skip("needs the shared traces")
    got = printed("keycollision", lambda file: json_writer(file, [FIELDS["proc.exe"], FIELDS["proc.pid"]], flat=True))
    processes = [{"proc.exe": "/A", "proc.pid": 1}, {"proc.exe": "/B", "proc.pid": 513}]
    assert [json.loads(line) for line in got.splitlines()] == processes
