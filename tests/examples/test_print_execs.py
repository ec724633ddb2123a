"""examples/print_execs.py runs, and prints what its first line promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(ROOT / "examples" / "print_execs.py")
    return subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def test_it_prints_program_starts_and_connections() -> None:
    done = run("tests/fixtures/webshell.scap")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["accept", "exec", "exec", "exec", "connect", "accept"]
    assert lines[2].endswith("shop: exec 1312 www-data /usr/bin/cat /etc/passwd")
    assert "connect 10.0.0.7 port 38022 -> 203.0.113.66 port 8443 by 1313 www-data /usr/bin/curl" in lines[4]


def test_its_errors_have_a_code() -> None:
    assert run().returncode == 2
    done = run("no-such-file")
    assert done.returncode == 1
    assert done.stderr.startswith("ErrorReadingFileSystem: no-such-file: does not exist")


def test_a_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "examples/print_execs.py", "tests/fixtures/webshell.scap"]
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, check=False, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
