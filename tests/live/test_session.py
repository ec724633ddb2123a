"""sysporter without -r: how a live capture begins, ends, rotates, is limited and says what it lost."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

import sftools
from sftools.errors import UsageError
from sftools.live import loader, procfs
from sftools.live.loader import ProbeOptions
from sftools.live.session import SessionOptions, capture_session
from sftools.scap.writer import ScapWriter
from sftools.tools import sysporter
from tests.live.conftest import (
    EPOLL_PWAIT,
    EPOLL_WAIT,
    POLL,
    READ,
    end_with_the_tests,
    events_of,
    eventually,
    waits,
)

PORTER = [sys.executable, "-m", sysporter.__name__]
EVERYTHING = ["--file-read-mode", "0", "--no-file-only"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(permitted: None, tmp_path: Path) -> Iterator[Start]:
    """Starts sysporter in an empty directory, and a shell that waits for a line with what it has to do: both end."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **given: Any) -> subprocess.Popen[str]:
        command = list(arguments) if arguments[0] == "sh" else [*PORTER, *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=end_with_the_tests, **given,
        )  # fmt: skip
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def shell(start: Start) -> subprocess.Popen[str]:
    """It waits already: how it began is not recorded."""
    process = start("sh", "-c", 'while read line; do eval "$line"; echo done; done')
    wait_for(lambda: waits(process.pid, READ, fd=0), process)
    return process


def do(shell: subprocess.Popen[str], line: str) -> None:
    """Lets the shell run a line, and waits for its end; returns None, so that `or` goes on to a condition."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(line + "\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "done\n"


def programs(process: subprocess.Popen[str]) -> set[str]:
    """The ids of the eBPF programs that a process has."""
    found = set()
    for info in Path(f"/proc/{process.pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found |= set(re.findall(r"^prog_id:\s+(\d+)", info.read_text(), re.MULTILINE))
    return found


def loaded(ids: set[str]) -> list[str]:
    """Those of the programs that the kernel still has."""
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if bpftool is None:
        pytest.skip("bpftool is not installed")
    return [i for i in ids if subprocess.run([bpftool, "prog", "show", "id", i], capture_output=True).returncode == 0]


def wait_until_it_records(process: subprocess.Popen[str], shell: subprocess.Popen[str], directory: Path) -> None:
    """Until a file that the shell made is in the bytes that come out: the capture goes to standard output."""
    assert process.stdout is not None
    fd, seen, rounds = process.stdout.fileno(), b"", 0
    while b"mark-" not in seen:
        do(shell, f": > mark-{rounds}")
        rounds += 1
        while select.select([fd], [], [], 0.05)[0]:
            got = os.read(fd, 1 << 16)
            assert got, process.stderr and process.stderr.read()
            seen = seen[-10:] + got


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        select.select([], [], [], 0.01)


def writes(process: subprocess.Popen[str], directory: Path) -> bool:
    """Whether it has begun its file, which has no name yet: it has read /proc, and an event after that."""
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(fd)
            if target.startswith(str(directory)) and (target.endswith("(deleted)") or ".tmp" in target):
                return True
    return False


def paths(trace: Path) -> list[str]:
    return [record.file.path for record in sftools.open(trace) if record.type in ("FF", "FE") and record.file]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_everything_is_written(
    number: int, start: Start, shell: subprocess.Popen[str], tmp_path: Path
) -> None:
    porter = start(*EVERYTHING, "--pid", str(shell.pid), "-w", "out.sf")
    wait_for(lambda: do(shell, ":") or writes(porter, tmp_path), porter)
    assert not (tmp_path / "out.sf").exists()
    do(shell, "mkdir before; echo x > still-open; exec 7>still-open")
    ids = programs(porter)
    assert loaded(ids)
    porter.send_signal(number)
    _, said = porter.communicate()
    assert (porter.returncode, said) == (0, "")
    eventually(lambda: not loaded(ids))  # the kernel lets go of them a little later
    found = paths(tmp_path / "out.sf")
    assert str(tmp_path / "before") in found
    assert found.count(str(tmp_path / "still-open")) >= 2  # a flow for each fd
    assert sorted(os.listdir(tmp_path)) == ["before", "out.sf", "still-open"]


def test_after_kill_nothing_is_attached_and_no_half_file_has_its_name(
    start: Start, shell: subprocess.Popen[str], tmp_path: Path
) -> None:
    porter = start(*EVERYTHING, "--pid", str(shell.pid), "-w", "out.sf")
    wait_for(lambda: do(shell, ":") or writes(porter, tmp_path), porter)
    do(shell, "mkdir before")
    ids = programs(porter)
    assert loaded(ids)
    porter.kill()
    porter.wait()
    eventually(lambda: not loaded(ids))  # the kernel lets go of them a little later
    assert not (tmp_path / "out.sf").exists()


def test_files_rotate_without_a_gap_or_a_doubled_record(permitted: None, tmp_path: Path) -> None:
    """One mkdir and rmdir after the other until there are two files; the workload tells how many they were.

    It rests between them: events that no reader could keep up with are not what this is about.
    """
    script = (
        "import os, time\n"
        "end, n = time.monotonic() + 60, 0\n"
        "while sum(map(str.isdecimal, os.listdir('traces'))) < 2 and time.monotonic() < end:\n"
        "    n += 1\n"
        "    os.mkdir(f'd{n}'); os.rmdir(f'd{n}')\n"
        "    time.sleep(0.001)\n"
        "print(n)"
    )
    (tmp_path / "traces").mkdir()
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", script]
    ran = subprocess.run(
        [*PORTER, "-w", "traces/", "-G", "1", "--", *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    files = sorted((tmp_path / "traces").iterdir())
    assert len(files) >= 3
    made = [name for file in files for name in map(os.path.basename, paths(file)) if re.fullmatch(r"d\d+", name)]
    assert sorted(made) == sorted(2 * [f"d{i + 1}" for i in range(int(ran.stdout))])


def test_captures_beside_each_other_write_to_one_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    porters = [start("-w", "traces/", "--", "true") for _ in range(3)]
    for porter in porters:
        assert porter.communicate()[1] == ""
        assert porter.returncode == 0
    names = os.listdir(tmp_path / "traces")
    assert len(names) == 3
    assert all(name.isdecimal() for name in names)


def test_it_ends_after_its_duration(start: Start, tmp_path: Path) -> None:
    porter = start("--pid", str(os.getpid()), "--duration", "0.2", "-w", "out.sf")
    assert porter.communicate()[1] == ""
    assert porter.returncode == 0
    assert (tmp_path / "out.sf").exists()


@pytest.mark.parametrize("form", [[], ["--raw"]], ids=["trace", "raw"])
def test_a_fifo_that_nobody_reads_is_given_up(form: list[str], start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    porter = start(*form, "--pid", str(os.getpid()), "--duration", "0.1", "-w", "out")
    _, said = porter.communicate()
    assert said == "sysporter: out: nobody opens it for reading, and what there is for it is given up\n"
    assert porter.returncode == 1


def test_a_signal_ends_it_though_its_reader_does_not_read(start: Start) -> None:
    porter = start("--raw", "-w", "-")  # the lists of a system fill a pipe
    assert porter.stderr is not None
    wait_for(lambda: waits(porter.pid, POLL), porter)
    porter.send_signal(signal.SIGTERM)
    assert porter.stderr.read() == (
        "sysporter: stdout: its reader does not read, and what there is for it is given up\n"
    )
    assert porter.wait() == 1
    assert porter.stdout is not None
    porter.stdout.close()


def records(trace: Path) -> list[Any]:
    """All records of a trace, the header too, as another program reads them."""
    with trace.open("rb") as file:
        return [record["rec"] for record in fastavro.reader(file)]


def captures(process: subprocess.Popen[str]) -> bool:
    """Whether it waits for events: it has read /proc then, and handles signals."""
    return waits(process.pid, EPOLL_WAIT, EPOLL_PWAIT)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, None], ids=["SIGINT", "SIGTERM", "duration"])
@pytest.mark.parametrize("form", ["file", "raw"])
def test_where_nothing_happened_the_output_is_there_and_empty(
    end: int | None, form: str, start: Start, shell: subprocess.Popen[str], tmp_path: Path
) -> None:
    options = ["--raw"] if form == "raw" else []
    porter = start(*options, "--pid", str(shell.pid), "-w", "out", *(["--duration", "0.2"] if end is None else []))
    if end is not None:
        wait_for(lambda: captures(porter), porter)
        porter.send_signal(end)
    assert porter.communicate()[1] == ""
    assert porter.returncode == 0
    out = tmp_path / "out"
    if form == "raw":
        # Once a second an event tells that time goes on.
        assert {event.row.code for event in events_of(out.read_bytes())} <= {"PPME_SCAPEVENT_E"}
    else:
        assert [record["version"] for record in records(out)] == [5]


def read_all(source: sftools.source.Source) -> bytes:
    out, room = b"", memoryview(bytearray(1 << 16))
    while n := source.readinto(room):
        out += room[:n]
    return out


def test_a_duration_begins_when_proc_has_been_read(permitted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host that may take longer than what is asked for."""
    first, last = io.BytesIO(), io.BytesIO()
    ScapWriter(first).section()
    ScapWriter(last).process_list([{"tid": 1 << 22, "pid": 1 << 22, "exe": "/the/last"}])

    def slowly(*_: object, **__: object) -> Iterator[bytes]:
        time.sleep(0.2)
        yield first.getvalue()
        yield last.getvalue()

    monkeypatch.setattr(procfs, "blocks", slowly)
    options = SessionOptions(ProbeOptions(pids=frozenset({1 << 22})), duration=0.05, names=False)
    with capture_session(options) as session:
        assert read_all(session.source).startswith(first.getvalue() + last.getvalue())


def test_nothing_of_a_session_goes_on_when_it_is_over(permitted: None) -> None:
    """The end of its duration, which another thread tells, may come late."""
    ended: list[bool] = []

    def late() -> None:
        time.sleep(0.5)
        ended.append(True)

    options = SessionOptions(ProbeOptions(pids=frozenset({1 << 22})), duration=0.01, names=False, on_stop=late)
    with capture_session(options) as session:
        read_all(session.source)
    assert ended == [True]


def test_a_command_that_is_killed_while_it_waits_ends_the_capture(permitted: None) -> None:
    with capture_session(SessionOptions(command=["true"], names=False)) as session:
        assert session._command is not None
        os.kill(session._command.pid, signal.SIGKILL)
        events_of(read_all(session.source))
        assert session.status == 128 + signal.SIGKILL


def test_a_signal_while_the_command_is_waited_for(permitted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has told that the command has ended, and a handler asks again before that is noted."""
    waitpid = os.waitpid

    def late(pid: int, options: int) -> tuple[int, int]:
        found = waitpid(pid, options)
        if found[0] == pid:
            signal.raise_signal(signal.SIGCHLD)
        return found

    monkeypatch.setattr("os.waitpid", late)
    with capture_session(SessionOptions(command=["false"], names=False)) as session:
        events_of(read_all(session.source))
        assert session.status == 1


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_the_exit_status_is_the_commands(script: str, status: int, start: Start, tmp_path: Path) -> None:
    porter = start("-w", "out.sf", "--", "sh", "-c", script)
    assert porter.communicate() == ("", "")
    assert porter.returncode == status
    assert (tmp_path / "out.sf").exists()


def test_a_terminal_that_is_closed_costs_nothing(start: Start, tmp_path: Path) -> None:
    """Its messages go nowhere then; and the kernel sends SIGHUP, and the shell."""
    main, terminal = os.openpty()
    with subprocess.Popen(
        [*PORTER, "--pid", str(os.getpid()), "--stats", "-w", "out.sf"], cwd=tmp_path, stdin=terminal, stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: end_with_the_tests() or fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # type: ignore[func-returns-value]
    ) as porter:  # fmt: skip
        os.close(terminal)
        wait_for(lambda: captures(porter), porter)
        os.close(main)
        while porter.poll() is None:  # the last one comes as late as can be
            porter.send_signal(signal.SIGHUP)
    assert porter.returncode == 0
    assert records(tmp_path / "out.sf")[0]["version"] == 5


def test_under_nohup_a_closed_terminal_is_no_end(start: Start, tmp_path: Path) -> None:
    """Neither of the capture nor of the command."""
    porter = start(
        "sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *PORTER, "-w", "out.sf", "--", "sh", "-c", "echo; read x"
    )
    assert porter.stdout is not None
    assert porter.stdin is not None
    assert porter.stdout.readline() == "\n"
    os.killpg(porter.pid, signal.SIGHUP)
    porter.stdin.write("\n")
    porter.stdin.flush()
    assert porter.communicate() == ("", "")
    assert porter.returncode == 0


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_the_command_running(first: int, second: int, start: Start, tmp_path: Path) -> None:
    """It ignores them all."""
    script = "trap '' HUP INT TERM; echo; read x; echo x > ended"
    porter = start("-w", "out.sf", "--", "sh", "-c", script)
    assert porter.stdout is not None
    assert porter.stdin is not None
    assert porter.stdout.readline() == "\n"
    porter.send_signal(first)
    wait_for(lambda: ignores(porter, signal.SIGHUP), porter)  # it has taken the first one
    porter.send_signal(signal.SIGHUP)
    porter.send_signal(second)
    assert porter.wait() == 128 + second
    assert (tmp_path / "out.sf").exists()
    assert not (tmp_path / "ended").exists()
    porter.stdin.write("\n")
    assert porter.communicate() == ("", "")
    assert (tmp_path / "ended").exists()


def ignores(process: subprocess.Popen[str], number: int) -> bool:
    (mask,) = re.findall(r"^SigIgn:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> number - 1 & 1)


def test_a_command_that_is_not_there_is_one_line(start: Start, tmp_path: Path) -> None:
    porter = start("-w", "out.sf", "--", "no-such-command")
    assert porter.communicate()[1] == "sysporter: no-such-command: no such command\n"
    assert porter.returncode == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [("/", "is a directory"), ("/etc/passwd", "may not be executed"), ("/nothing", "no such command")],
)
def test_a_command_that_cannot_be_run_is_one_line(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: {why}$"), capture_session(SessionOptions(command=[name])):
        pass


def test_only_a_process_and_what_it_starts(start: Start, shell: subprocess.Popen[str], tmp_path: Path) -> None:
    porter = start("--pid", str(shell.pid), "--raw", "-w", "-")
    other = start("sh", "-c", 'while read line; do eval "$line"; echo done; done')
    assert porter.stdout is not None
    wait_until_it_records(porter, shell, tmp_path)
    do(other, "mkdir others; sh -c 'mkdir others/deep'")
    do(shell, "mkdir own; sh -c 'sh -c \"mkdir own/deep\"; :'; :")
    porter.send_signal(signal.SIGINT)
    rest = os.fdopen(os.dup(porter.stdout.fileno()), "rb").read()
    assert porter.wait() == 0
    assert b"own/deep\0" in rest
    assert b"others" not in rest


def test_only_threads_of_a_name(start: Start, tmp_path: Path) -> None:
    script = "cp /bin/mkdir named; mkdir sub; cd sub; ../named yes; mkdir no; rm ../named"
    porter = start("--comm", "named", "-w", "out.sf", "--", "sh", "-c", script)
    assert porter.communicate() == ("", "")
    found = [path for path in paths(tmp_path / "out.sf") if path.startswith(str(tmp_path))]
    assert found == [str(tmp_path / "sub" / "yes")]


def test_only_a_cgroup(start: Start, shell: subprocess.Popen[str], tmp_path: Path) -> None:
    bases = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
    base = next((path for path in bases if (path / "cgroup.procs").exists()), None)
    if base is None or not os.access(base, os.W_OK):
        pytest.skip("no writable cgroup hierarchy")
    group = Path(tempfile.mkdtemp(prefix="sftools-session-", dir=base))
    try:
        porter = start("--cgroup", str(group), "-w", "out.sf")
        inside = f"(echo 0 > {group}/cgroup.procs; /bin/true)"
        wait_for(lambda: do(shell, inside) or writes(porter, tmp_path), porter)
        do(shell, f"mkdir outside; (echo 0 > {group}/cgroup.procs; mkdir inside)")
        porter.send_signal(signal.SIGINT)
        assert porter.communicate()[1] == ""
    finally:
        group.rmdir()
    found = paths(tmp_path / "out.sf")
    assert str(tmp_path / "inside") in found
    assert str(tmp_path / "outside") not in found


def test_without_the_programs_it_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader, "PROBE", tmp_path / "sysflow.bpf.o")
    monkeypatch.setattr(loader, "BTF", tmp_path)
    with pytest.raises(SystemExit) as ended:
        sysporter.main(["-w", str(tmp_path / "out.sf")])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == "sysporter: the eBPF programs are not built: sysflow.bpf.o is missing; run `make probe`\n"
    assert not list(tmp_path.iterdir())


def test_without_permission_it_is_one_line(permitted: None, tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    bare = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    ran = subprocess.run([*bare, *PORTER, "-w", "out.sf"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr == (
        "sysporter: live capture is not permitted: run as root, or with the capabilities CAP_BPF and CAP_PERFMON\n"
    )
    assert os.listdir(tmp_path) == []


STORM = "import os\nfor _ in range(100_000):\n    try: os.rmdir('nothing')\n    except OSError: pass"


def test_losses_are_counted_said_and_marked(start: Start, tmp_path: Path) -> None:
    """A buffer of one page: what does not fit is counted."""
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", STORM]
    porter = start("--raw", "--buffer", "4K", "--stats", "-w", "out.scap", "--", *command)
    _, said = porter.communicate()
    assert porter.returncode == 0
    events = events_of((tmp_path / "out.scap").read_bytes())
    counts = dict(
        line.removeprefix("live: ").rsplit(maxsplit=1) for line in said.splitlines() if line.startswith("live: ")
    )
    lost = int(counts["ring full"].replace(",", ""))
    recorded = [event.name for event in events].count("RMDIR_2")
    assert lost > 0
    assert 0 < recorded < 100_000
    assert 100_000 - recorded <= lost
    assert said.startswith(
        f"sysporter: {lost} events lost ({lost} because the buffer was full: --buffer makes it larger)"
    )
    marks = [event.row.code for event in events if event.row.code.startswith("PPME_DROP")]
    assert marks
    assert marks.count("PPME_DROP_E") == marks.count("PPME_DROP_X") > 0


@pytest.mark.parametrize("snaplen", [0, 5, 200])
def test_snaplen(snaplen: int, start: Start, tmp_path: Path) -> None:
    script = "printf %300s x > file"
    porter = start("--raw", "--snaplen", str(snaplen), "-w", "out.scap", "--", "sh", "-c", script)
    assert porter.communicate() == ("", "")
    (write,) = [e for e in events_of((tmp_path / "out.scap").read_bytes()) if e.name == "WRITE"]
    assert write.params["res"] == 300
    assert write.params["data"] == (b" " * snaplen or None)
