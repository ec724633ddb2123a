"""How many records of real traces queries are true for, beside the existing package's counts."""

from __future__ import annotations

import json
import os.path
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftools.conditions.errors import FilterError
from sftools.reader import Row, read_rows
from sftools.schema import opflags
from sftools.schema.sysflow import FileFlow, NetworkFlow
from sftools.sfql import Definitions, compile_query
from sftools.source import open_source

TRACES = (
    "nginx-nginx", "synthetic__keycollision", "synthetic__cycle", "setuid-setuid", "synthetic__nohdr",
    "synthetic__twoheaders", "alpine-alpine", "objectstore-ls", "synthetic__synth", "client-server-tcp-client-server",
    "files-files", "mpm-event-cold_start_capture", "rename-rename", "namespaces-setns", "v1000-nodejs",
    "v1000-express",
)  # fmt: skip


def has(row: Row, name: str, test: Callable[[Any], bool]) -> bool:
    """Whether the record has an attribute that passes."""
    value = getattr(row.record, name, None)
    return value is not None and test(value)


def operation(flag: int) -> Callable[[Row], bool]:
    return lambda row: has(row, "opFlags", lambda flags: flags & flag != 0)


def of_process(test: Callable[[Any], bool]) -> Callable[[Row], bool]:
    return lambda row: row.process is not None and test(row.process)


def of_file(test: Callable[[Any], bool]) -> Callable[[Row], bool]:
    return lambda row: row.file is not None and test(row.file)


ABSENT = "a record without the attribute ends the run, and with it the count"
WARTS: dict[str, tuple[str, Callable[[Row], bool]]] = {
    "num-le-BUG": ("<= is >=", lambda row: isinstance(row.record, NetworkFlow) and row.record.dport <= 80),
    "opflag-neq-WART": (
        "!= is true if any of several values differs",
        lambda row: has(row, "opFlags", lambda flags: flags & opflags.OP_OPEN == 0),
    ),
    "openread": (
        "file.is_open_read is true for all flows with open flags",
        lambda row: isinstance(row.record, FileFlow) and row.record.openFlags & 1 == 1,
    ),
    "net-sip-BUG": (
        "net.sip is a number",
        lambda row: isinstance(row.record, NetworkFlow) and row.record.sip == 127 | 1 << 24,
    ),
    "net-port-BUG": (
        "net.port ends the run",
        lambda row: has(row, "sport", lambda port: port == 80) or has(row, "dport", lambda port: port == 80),
    ),
    "attr-neq-attr": (
        "a parent that is not known differs from everything",
        lambda row: row.process is not None and row.parent is not None and row.process.exe != row.parent.exe,
    ),
    "missing-attr-BUG": (ABSENT, lambda row: has(row, "ret", lambda ret: ret >= 0)),
    "missing-rbytes-BUG": (ABSENT, lambda row: has(row, "numRRecvBytes", lambda count: count > 100)),
    "nonnum-BUG": (ABSENT, lambda row: has(row, "dport", lambda port: port > 1024)),
    "num-pid": (ABSENT, of_process(lambda process: process.oid.hpid > 1000)),
    "opflag-open": (ABSENT, operation(opflags.OP_OPEN)),
    "opflag-write": (ABSENT, operation(opflags.OP_WRITE_SEND)),
    "opflag-contains": (ABSENT, operation(opflags.OP_WRITE_SEND)),
    "opflag-clone": (ABSENT, operation(opflags.OP_CLONE)),
    "opflag-exit": (ABSENT, operation(opflags.OP_EXIT)),
    "opflag-connect": (ABSENT, operation(opflags.OP_CONNECT)),
    "opflag-and": (ABSENT, lambda row: has(row, "opFlags", lambda flags: flags & 0x680 == 0x680)),
    "file-name": (ABSENT, of_file(lambda file: os.path.basename(file.path) == "libc.so.6")),
    "file-dir": (ABSENT, of_file(lambda file: os.path.dirname(file.path) == "/etc")),
    "file-type": (ABSENT, of_file(lambda file: file.restype == ord("f"))),
    "exists-uid": ("0 does not exist", of_process(lambda process: True)),
    "attr-eq-attr": (
        "of two processes whose keys have the same digits it takes the wrong one; and absent attributes",
        lambda row: row.process is not None and has(row, "tid", lambda tid: tid == row.process.oid.hpid),
    ),
    "createts": (
        "of two processes whose keys have the same digits it takes the wrong one; and absent attributes",
        of_process(lambda process: process.oid.createTS > 0),
    ),
    "aname": ("processes in a circle end the run", lambda row: any("bash" in each.exe for each in row.ancestors())),
    "aname-in": (
        "processes in a circle end the run",
        lambda row: any(each.exe in ("/bin/bash", "/usr/bin/bash") for each in row.ancestors()),
    ),
}
"""Where the existing package counts wrong: why, and what is right, told without the query language."""

REFUSED = {"unknown-lhs-WART": "unknown field nosuch.attr"}
"""What is an error here."""


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return json.loads((shared / "sysprint" / "sfql" / "counts.json").read_text())


@pytest.fixture(scope="module")
def queries(shared: Path, golden: Any) -> dict[str, Callable[[Row], bool]]:
    definitions = Definitions()
    definitions.load(str(shared / "sysprint" / "sfql" / "defs.yaml"))
    return {
        name: compile_query(each["expr"], definitions if each["defs"] else None)
        for name, each in golden["expressions"].items()
        if name not in REFUSED
    }


def path_of(shared: Path, trace: str) -> Path:
    if trace.startswith("synthetic__"):
        return shared / "sysprint" / "synthetic" / f"{trace.removeprefix('synthetic__')}.sf"
    return shared / ("sysflow-old" if trace.startswith("v1000") else "collector") / f"{trace}.sf"


def count_of(golden: Any) -> int | None:
    """The existing package's count; None where it broke off."""
    if isinstance(golden, dict):
        return golden.get("result")  # with a warning on stderr
    return int(golden)


def test_all_traces_are_here(golden: Any) -> None:
    assert set(golden["counts"]) == set(TRACES)


@pytest.mark.parametrize("trace", TRACES)
def test_counts(shared: Path, golden: Any, queries: dict[str, Callable[[Row], bool]], trace: str) -> None:
    found, right = dict.fromkeys(queries, 0), dict.fromkeys(WARTS, 0)
    records = 0
    with open_source(str(path_of(shared, trace))) as source:
        for row in read_rows(source):
            records += 1
            for name, wanted in queries.items():
                found[name] += wanted(row)
            for name, (_, wanted) in WARTS.items():
                right[name] += wanted(row)
    counts = golden["counts"][trace]
    assert records == counts["_records"]
    expected = {name: right[name] if name in WARTS else count_of(counts[name]) for name in queries}
    assert found == expected


def test_only_what_is_wrong_somewhere_is_listed(
    shared: Path, golden: Any, queries: dict[str, Callable[[Row], bool]]
) -> None:
    wrong = set()
    for trace in TRACES:
        counts = golden["counts"][trace]
        with open_source(str(path_of(shared, trace))) as source:
            right = dict.fromkeys(WARTS, 0)
            for row in read_rows(source):
                for name in WARTS.keys() - wrong:
                    right[name] += WARTS[name][1](row)
        wrong |= {name for name in WARTS.keys() - wrong if right[name] != count_of(counts[name])}
    assert wrong == WARTS.keys()


def test_unknown_fields_are_refused(golden: Any) -> None:
    for name, cause in REFUSED.items():
        with pytest.raises(FilterError, match=cause):
            compile_query(golden["expressions"][name]["expr"])
