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

from tracing import CLOSED_BY_RANGE, EVERYTHING, Account, assert_equal_to_log, strace, trace  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

pytestmark = pytest.mark.usefixtures("permitted")

SCRIPT = HERE / "workloads.py"
# The interpreter itself: a wrapper script would be recorded too.
PYTHON = os.path.realpath(sys.executable)


def capture(directory: Path, command: list[str]) -> Account:
    """Runs a command under sysporter, with everything that can be recorded."""
    out = directory.parent / "trace.sf"
    porter = [sys.executable, "-m", sysporter.__name__, *EVERYTHING, "-q", "-w", str(out), "--", *command]
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
    got.process_events -= Counter({("EXEC", 0): 1})  # of the workload's interpreter
    assert_equal_to_log(got, own)


# Ordinary programs, which use calls that nobody thought of: each on files of its own.
SCRIPTS = {
    "copies": """mkdir t; echo one > t/a; echo two > t/b; cp -a t u; mv u v; ln -s v w; ln v/a t/c; rm -r w v
                 ls -R > list""",
    "pipes": """seq 500 > n; sort -r n | uniq -c > m; head -c 900 m > o; split -b 100 o; cat x?? | wc -c > c
                tee e f < c > /dev/null""",
    "redirections": """exec 5> five; echo a >&5; echo b > six 2>&1; { read x; read y || echo none; } < six > seven
                       (cd /; pwd) >> six""",
    "sizes": """dd if=/dev/zero of=z bs=7 count=9 status=none; truncate -s 5 z; touch q; mkfifo p; chmod 600 q; rm p
                mv -f q z""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_trace_of_ordinary_programs_equals_strace(name: str, directory: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = ["/bin/sh", "-c", SCRIPTS[name]]
    got = capture(directory, command).within(directory).as_json()
    shutil.rmtree(directory)
    directory.mkdir()
    assert got == strace(command, directory, directory.parent / "strace").within(directory).as_json()
    assert len(got["opens"]) > 1
