"""The captures of tests/fixtures/recorded, which sysporter --raw once recorded, replayed: needs no eBPF.

What they say is what the workloads' logs and strace said when they were recorded. Their records stand in
tests/fixtures/golden too.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sftools
from sftools.scap import blocks, lists
from sftools.schema import opflags
from sftools.tools import sysporter
from tests.live import workloads
from tests.live.other_programs import assert_sysdig_agrees, assert_tshark_agrees
from tests.live.tracing import EVERYTHING, assert_equal_to_log, trace

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

import record_fixtures

CAPTURES = sorted(record_fixtures.RECORDED.glob("*.scap"))
each_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)


def said(capture: Path) -> dict[str, Any]:
    return json.loads(capture.with_suffix(".json").read_text())


def convert(capture: Path, target: Path, *options: str) -> Path:
    with pytest.raises(SystemExit) as end:
        sysporter.main(["-q", "-r", str(capture), "-w", str(target), *options])
    assert end.value.code == 0
    return target


def test_every_workload_is_recorded() -> None:
    assert [path.stem for path in CAPTURES] == sorted(workload.__name__ for workload in workloads.WORKLOADS)


@each_capture
def test_the_trace_equals_strace_and_the_workloads_own_log(capture: Path, tmp_path: Path) -> None:
    got = trace(convert(capture, tmp_path / "trace.sf", *EVERYTHING)).within(record_fixtures.WORK)
    assert got.as_json() == said(capture)["strace"]
    assert_equal_to_log(got, said(capture)["log"])


@each_capture
def test_nothing_is_damaged_or_unknown(capture: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    convert(capture, tmp_path / "trace.sf", "--strict", "--stats", *EVERYTHING)
    counts = dict(line.rsplit(None, 1) for line in capfd.readouterr().err.splitlines())
    assert counts["damaged places"] == counts["events of unknown thread"] == counts["events of unknown type"] == "0"


@each_capture
def test_the_lists_have_the_workload_alone(capture: Path) -> None:
    data = capture.read_bytes()
    (process,) = record_fixtures.processes(data)
    assert process.env.decode() == "".join(f"{name}={value}\0" for name, value in record_fixtures.ENVIRONMENT.items())
    assert process.cwd == bytes(record_fixtures.WORK)
    assert process.args.split(b"\0")[3:-2] == [capture.stem.encode(), bytes(record_fixtures.LOG)]
    found: Counter[bytes] = Counter()
    for kind, body in record_fixtures.blocks_of(data):
        if kind in blocks.MACHINE_INFOS:
            found[lists.machine_info(body).hostname] += 1
        elif kind in blocks.INTERFACE_LISTS:
            found.update(entry.name for entry in lists.interfaces(kind, body))
        elif kind in blocks.USER_LISTS:
            found.update(entry.name for entry in lists.users(kind, body))
        elif kind in blocks.FD_LISTS:
            tid, entries = lists.fds(kind, body)
            assert tid == process.tid
            assert [entry.name.partition(b":")[0] for entry in entries] == [b"pipe", b"pipe", b"/dev/null"]
    assert found == {b"demo": 3, b"root": 2, b"lo": 2}  # as host, user and group; IPv4 and IPv6
    assert record_fixtures.foreign_paths(data) == []


def test_processes_of_a_pid_namespace_are_told_apart(tmp_path: Path) -> None:
    """by-pid-1 is made by the process that is 1 in a namespace, whose pid is another on the host."""
    path = convert(record_fixtures.RECORDED / "identities.scap", tmp_path / "trace.sf", *EVERYTHING)
    (maker,) = [r.process for r in sftools.open(path) if r.file is not None and r.file.path.endswith("/by-pid-1")]
    assert maker is not None
    assert maker.oid.hpid != 1
    clones = {r["ret"]: r.process for r in sftools.open(path) if r.type == "PE" and r["ret"] > 1}
    assert clones[maker.oid.hpid].oid == maker.poid


def test_exit_statuses_are_those_of_wait(tmp_path: Path) -> None:
    path = convert(record_fixtures.RECORDED / "processes.scap", tmp_path / "trace.sf", *EVERYTHING)
    ended = [r["ret"] for r in sftools.open(path) if r.type == "PE" and r["opflags_bitmap"] & opflags.OP_EXIT]
    assert ended == [*(code << 8 for code in range(20)), *[0] * 24]  # forked; programs, threads, itself


@each_capture
def test_sysdig_reads_it_event_for_event(capture: Path) -> None:
    if shutil.which("sysdig") is None:
        pytest.skip("sysdig is not installed")
    assert assert_sysdig_agrees(capture) > 20


@each_capture
def test_tshark_reads_it_event_for_event(capture: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    assert_tshark_agrees(capture)
