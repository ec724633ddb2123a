"""What a live capture of a workload says equals what strace says of it in another run, and what it says of itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from sftools.tools import sysporter

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from tracing import Account, strace, trace  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

pytestmark = pytest.mark.usefixtures("permitted")

SCRIPT = HERE / "workloads.py"
# The interpreter itself: a wrapper script would be recorded too.
PYTHON = os.path.realpath(sys.executable)
# What close_range closes: strace does not name it.
CLOSED_BY_RANGE = {"descriptors": Counter({"first": 1, "second": 1})}


def capture(directory: Path, command: list[str]) -> Account:
    """Runs a command under sysporter, with everything that can be recorded."""
    out = directory.parent / "trace.sf"
    everything = ["--schema", "6", "--file-read-mode", "0", "--no-file-only", "--no-proc-flow"]
    porter = [sys.executable, "-m", sysporter.__name__, *everything, "-q", "-w", str(out), "--", *command]
    ran = subprocess.run(porter, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    return trace(out)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.mark.parametrize("name", [workload.__name__ for workload in WORKLOADS])
def test_a_trace_equals_strace_and_the_workloads_own_log(name: str, directory: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = directory.parent / "log"
    command = [PYTHON, "-I", "-S", str(SCRIPT), name, str(log)]
    got = capture(directory, command).within(directory)
    own = json.loads(log.read_text())
    shutil.rmtree(directory)
    directory.mkdir()
    expected = strace(command, directory, directory.parent / "strace").within(directory)
    expected.closes += CLOSED_BY_RANGE.get(name, Counter())

    for field in fields(Account):
        assert getattr(got, field.name) == getattr(expected, field.name), field.name
    assert {key: got.read[key] for key in own["read"]} == own["read"]
    assert {key: got.written[key] for key in own["written"]} == own["written"]
    done = [[operation, paths[0]] for operation, paths, result in got.file_events if result == 0]
    assert [event for event in done if event[0] != "SYMLINK"] == own["events"]
